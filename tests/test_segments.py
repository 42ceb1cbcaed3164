"""Label files, labels, segments and their pickles."""

import math
import pickle
import re
from fractions import Fraction

import librosa
import numpy as np
import pytest
from clips import read_number, tone, write_clip

from videosummarizer import media
from videosummarizer.dataset import sampling, storage
from videosummarizer.dataset.metadata import DataConfig, DatasetError, read_metadata, write_metadata
from videosummarizer.labels import (
    LabelError,
    format_time,
    is_time,
    parse_frame,
    parse_time,
    read_label_file,
    resolve_sections,
)
from videosummarizer.sections import label_segments

FRAME_TIMES_SEC = np.arange(300) / 30  # ten seconds at 30 fps
DURATION_SEC = 10.0


def resolve(tmp_path, text, frame_times_sec=FRAME_TIMES_SEC, duration_sec=DURATION_SEC):
    path = tmp_path / "match.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    rows = read_label_file(path)
    return resolve_sections(path, rows, frame_times_sec, duration_sec)


@pytest.mark.parametrize(
    ("text", "sections"),
    [
        ("", []),
        ("\n \n\n", []),
        ("30,60,00:00:01,00:00:02", [(1, 2)]),
        ("30,60,00:00:01,00:00:02\n90,120,00:00:03,00:00:04\n", [(1, 2), (3, 4)]),
        (b"\xef\xbb\xbf30,60,00:00:01,00:00:02\r\n\r\n 90 , 120 ,00:00:03 , 00:00:04 \r\n", [(1, 2), (3, 4)]),
        ("30,60", [(1, 2)]),
        ("00:00:01,00:00:02.500", [(1, 2.5)]),
        ("00:01,0:02", [(1, 2)]),
        ("1.0,2.25", [(1, 2.25)]),
        ("1.5,00:02", [(1.5, 2)]),
        ("0,300,00:00:00,00:00:10", [(0, 10)]),
        ("30,60,1,2", [(1, 2)]),
    ],
)
def test_label_files_as_people_have_them(tmp_path, text, sections):
    found, warnings = resolve(tmp_path, text)
    np.testing.assert_allclose(found, np.array(sections).reshape(-1, 2))
    assert warnings == []


def test_frame_numbers_turn_to_seconds_through_the_frames_own_times(tmp_path):
    uneven = np.array([0.0, 0.1, 0.5, 0.6, 3.0, 3.1])
    found, _ = resolve(tmp_path, "1,3\n4,6", uneven, 3.2)
    np.testing.assert_allclose(found, [(0.1, 0.6), (3.0, 3.2)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "30,60\nx1,60",
            r"match\.txt, line 2: received 'x1' as start frame number, expected a whole number of 0 or more",
        ),
        ("-3,60", r"line 1: received '-3' as start frame number, expected a whole number"),
        ("30,60.5x,00:00:01,00:00:02", r"line 1: received '60\.5x' as end frame number"),
        ("30,60,00:00:01,00:61:02", r"received '00:61:02' as end time, expected HH:MM:SS\[\.fff\], MM:SS or seconds"),
        ("00:00:01,00:00:75", r"received '00:00:75' as end time"),
        ("30,60,,00:00:02", r"received '' as start time"),
        ("60,60", r"line 1: received a section from frame number 60 to 60, expected its end after its start"),
        ("\n60,30,00:00:02,00:00:01", r"line 2: received a section from frame number 60 to 30"),
        ("00:00:05,00:00:04", r"received a section from time 00:00:05 to 00:00:04, expected its end after its start"),
        (
            "300,310",
            r"line 1: received a section that begins at frame 300, expected it to begin before the video's end \(300",
        ),
        ("11.0,12.0", r"begins at 11\.00 s, expected it to begin before the video's end \(300 frames, 10\.00 s\)"),
        ("30", r"line 1: received 1 column \('30'\), expected 4 \(start_frame,end_frame,start_time,end_time\) or 2"),
        ("30;60", r"received 1 column \('30;60'\)"),
        ("30,60,00:00:01", r"received 3 columns .* expected 4 .* or 2"),
        ("30,60,00:00:01,00:00:02,5", r"received 5 columns"),
        (
            "start_frame,end_frame,start_time,end_time\n30,60",
            r"line 1: received a header .* no header, delete the line",
        ),
        ("start,end\n30,60", r"line 1: received a header"),
        ("30,2.5", r"received one time and one whole number \('30,2\.5'\), expected two times .* or two frame numbers"),
        (b"\xff\xfe3\x000\x00", r"match\.txt: received bytes that are not UTF-8 text"),
    ],
)
def test_label_errors_name_file_line_received_and_expected(tmp_path, text, message):
    with pytest.raises(LabelError, match=message):
        resolve(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "sections", "warning"),
    [
        ("90,120\n30,60", [(1, 2), (3, 4)], r"match\.txt, line 2: the section begins before the one above it: sorted"),
        ("30,90\n60,120", [(1, 4)], r"match\.txt, line 2: the section overlaps one above it: merged"),
        ("30,120\n60,90", [(1, 4)], r"line 2: the section overlaps one above it: merged"),
        ("270,330", [(9, 10)], r"line 1: the section ends at frame 330, past the video's end \(300 frames.*clipped"),
        ("9.0,12.5", [(9, 10)], r"line 1: the section ends at 12\.50 s, past the video's end .*clipped"),
        (
            "30,60,00:00:01,00:00:05",
            [(1, 2)],
            r"line 1: frames 30,60 are shown at 1\.00,2\.00 s, 3\.0 s from the times",
        ),
        ("90,120,00:00:01,00:00:04", [(3, 4)], r"line 1: .*2\.0 s from the times given: the frames are used"),
    ],
)
def test_label_warnings_name_file_and_line_and_go_on(tmp_path, text, sections, warning):
    found, warnings = resolve(tmp_path, text)
    np.testing.assert_allclose(found, sections)
    assert len(warnings) == 1
    assert re.search(warning, warnings[0])


def test_times_less_than_a_second_off_are_no_warning(tmp_path):
    assert resolve(tmp_path, "50,119,00:00:01,00:00:03")[1] == []


@pytest.mark.parametrize(
    ("sections", "segment_length", "labels"),
    [
        ([], 5, [0, 0]),
        ([(0, 10)], 5, [1, 1]),
        ([(0, 2.5)], 5, [0, 0]),  # half is not more than half
        ([(0, 2.51)], 5, [1, 0]),
        ([(2.4, 7.6)], 5, [1, 1]),
        ([(0, 1.3), (3, 4.3)], 5, [1, 0]),  # pieces add up
        ([(4, 6)], 5, [0, 0]),
        ([(3, 6), (9, 10)], 3, [0, 1, 0, 0]),  # the last segment holds 1 s of its 3
        ([(7.4, 10)], 2.5, [0, 0, 0, 1]),
        ([(0.1, 0.2)], 0.1, [0, 1] + [0] * 98),
    ],
)
def test_golden_labels(sections, segment_length, labels):
    sections_sec = np.array(sections, dtype=float).reshape(-1, 2)
    assert label_segments(sections_sec, len(labels), segment_length).tolist() == labels


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (DataConfig(5.0, 3.0, 64, 64, 11025, False), "dataset_sl5_vsr3_vw64_vh64_asr11025"),
        (DataConfig(2.5, 29.97, 128, 72, 22050, True), "dataset_sl2.5_vsr29.97_vw128_vh72_asr22050_mfcc"),
    ],
)
def test_default_dataset_name(config, name):
    assert config.dataset_name == name


@pytest.mark.parametrize(
    ("segment_length", "rate", "num_frames"), [(5, 3, 15), (0.1, 30, 3), (2.5, 3, 7), (1, 29.97, 29), (0.7, 10, 7)]
)
def test_frames_of_a_segment(segment_length, rate, num_frames):
    assert DataConfig(segment_length, rate, 8, 8, 8000, False).num_frames == num_frames


LENGTHS = ["0.1", "0.3", "0.7", "1.1", "2.3", "2.5", "5", "7"]


@pytest.mark.parametrize("length", LENGTHS)
def test_segments_of_a_video_are_counted_as_with_fractions(length):
    # Whole multiples are where float division goes wrong: 2.1 / 0.7 is 3.0000000000000004.
    config = DataConfig(float(length), 1, 8, 8, 8000, False)
    for tenths in range(1, 801):
        duration = Fraction(tenths, 10)
        expected = math.ceil(duration / Fraction(length))
        assert config.num_segments(tenths / 10) == expected, f"{tenths / 10} s in segments of {length} s"
    for num_segments in range(1, 200):  # a sum of lengths, as durations are
        assert config.num_segments(sum([float(length)] * num_segments)) == num_segments


@pytest.mark.parametrize(
    ("duration_sec", "segment_length", "num_segments"),
    [
        (2.1, 0.7, 3),
        (0.1 + 0.2, 0.1, 3),
        (12, 5, 3),
        (10, 5, 2),
        (10.04, 5, 3),
        (9.96, 5, 2),
        (0.04, 5, 1),
        (0, 5, 0),
        (3.0000004, 1, 3),  # a rounding error is no segment
        (3.000002, 1, 4),
        (2.999999, 1, 3),
        (5400.04, 2.5, 2161),
    ],
)
def test_the_short_last_segment_counts_and_a_rounding_error_does_not(duration_sec, segment_length, num_segments):
    assert DataConfig(segment_length, 1, 8, 8, 8000, False).num_segments(duration_sec) == num_segments


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("rate", ["0.5", "3", "10", "29.97", "30", "100", "11025", "44100"])
def test_frames_and_samples_of_a_segment_are_counted_as_with_fractions(length, rate):
    expected = math.floor(Fraction(length) * Fraction(rate))
    assert DataConfig(float(length), float(rate), 8, 8, 8000, False).num_frames == expected
    if rate.isdecimal():
        assert DataConfig(float(length), 3, 8, 8, int(rate), False).num_samples == expected


def test_counts_of_frames_and_samples_forgive_a_millionth_and_no_more():
    assert [DataConfig(length, 1, 8, 8, 1, False).num_frames for length in (2.9999996, 2.999998)] == [3, 2]
    assert [DataConfig(length, 1, 8, 8, 1, False).num_samples for length in (2.9999996, 2.999998)] == [3, 2]


@pytest.mark.parametrize(
    ("config", "shapes"),
    [
        (DataConfig(5, 3, 64, 36, 11025, False), {"video": (15, 36, 64, 3), "audio": (55_125,)}),
        (DataConfig(5, 3, 64, 36, 11025, True), {"video": (15, 36, 64, 3), "audio": (40, 108)}),
        (DataConfig(0.7, 10, 20, 30, 8000, True), {"video": (7, 30, 20, 3), "audio": (40, 11)}),
        (DataConfig(0.5, 4, 9, 5, 1024, True), {"video": (2, 5, 9, 3), "audio": (40, 2)}),  # 512 samples: 1 + 1
        (DataConfig(0.5, 4, 9, 5, 1022, True), {"video": (2, 5, 9, 3), "audio": (40, 1)}),  # 511 samples
    ],
)
def test_shapes_of_a_segments_arrays(config, shapes):
    assert config.data_shape == shapes


@pytest.mark.parametrize(("seconds", "text"), [(0, "00:00:00"), (59.999, "00:00:59"), (3661.5, "01:01:01")])
def test_format_time(seconds, text):
    assert format_time(seconds) == text
    assert parse_time(text) == int(seconds)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (59.9999995, "00:01:00"),  # a rounding error before the full second
        (59.999998, "00:00:59"),
        (60, "00:01:00"),
        (3599, "00:59:59"),
        (3600, "01:00:00"),
        (7325, "02:02:05"),
        (36_000, "10:00:00"),
        (360_000 + 60 * 34 + 56, "100:34:56"),
    ],
)
def test_times_of_every_length_are_written_as_people_write_them(seconds, text):
    assert format_time(seconds) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("01:02:03", 3723),
        ("10:20:30.25", 37_230.25),
        ("02:03", 123),
        ("59:59", 3599),
        ("00:59:59.999", 3599.999),
        ("90:00", 5400),  # without hours, minutes may be as many as they like
        ("75", 75),
        ("3600.5", 3600.5),
        (".5", 0.5),
        ("7.", 7),
        ("1:2:3", 3723),
        ("100:00:00", 360_000),
    ],
)
def test_times_as_people_write_them(text, seconds):
    assert parse_time(text) == pytest.approx(seconds, abs=1e-9)
    assert is_time(text)


@pytest.mark.parametrize(
    "text",
    ["00:60", "00:00:60", "00:60:00", "1:99:00", "1:2:3:4", "", ".", ":30", "1:", "-5", "1,5", "1e3", "５", "٣", " 5"],
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        parse_time(text)
    assert not is_time(text)


@pytest.mark.parametrize("text", ["", "-1", "1.5", "1e3", "５", "٣", " 5", "5\n", "x"])
def test_what_is_no_frame_number_is_refused(text):
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        parse_frame(text)
    assert [parse_frame(number) for number in ("0", "007", "123456")] == [0, 7, 123456]


def segments_of(path, config):
    return list(sampling.read_segments(path, media.probe(path), config))


def test_segments_hold_the_frames_of_their_seconds_and_the_last_is_padded(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", num_frames=130, audio=tone(440, 130 / 30))
    found = segments_of(path, DataConfig(2, 5, 40, 16, 8000, False))
    assert len(found) == 3
    numbers = [[read_number(frame) for frame in frames] for frames, _ in found]
    assert numbers[0] == [0, 6, 12, 18, 24, 30, 36, 42, 48, 54]
    assert numbers[1] == [60, 66, 72, 78, 84, 90, 96, 102, 108, 114]
    assert numbers[2] == [120, 126] + [0] * 8
    frames, audio = found[2]
    assert (frames.dtype, audio.dtype, audio.shape) == (np.uint8, np.float32, (16000,))
    assert not frames[2:].any()
    assert not audio[2700:].any()
    assert np.abs(audio[:2600]).max() > 0.9


def test_the_peak_of_the_whole_video_is_one(tmp_path):
    audio = np.append(tone(440, 2, amplitude=0.1), tone(440, 2, amplitude=0.4))
    path = write_clip(tmp_path / "clip.mp4", num_frames=120, audio=audio)
    quiet, loud = (np.abs(audio).max() for _, audio in segments_of(path, DataConfig(2, 1, 8, 8, 8000, False)))
    assert loud == pytest.approx(1)
    assert quiet == pytest.approx(0.25, abs=0.05)


def test_no_audio_track_and_silence_give_zeros(tmp_path):
    config = DataConfig(1, 1, 8, 8, 8000, False)
    mute = write_clip(tmp_path / "mute.mp4", num_frames=30)
    silent = write_clip(tmp_path / "silent.mp4", num_frames=30, audio=np.zeros(44100, np.float32))
    for path in (mute, silent):
        ((_, audio),) = segments_of(path, config)
        assert audio.shape == (8000,)
        assert not audio.any()
    ((_, mfcc),) = segments_of(mute, DataConfig(1, 1, 8, 8, 8000, True))
    # Equal decibels: the first coefficient is below 0 and the others 0, before mean and deviation are taken out.
    np.testing.assert_allclose(mfcc, np.repeat([[-(39**0.5)], [39**-0.5]], [1, 39], axis=0) + np.zeros(16), rtol=1e-3)


def test_mfccs_equal_those_of_librosa(tmp_path):
    # Loud and quiet segments in one file: librosa's 80 dB floor must be each segment's own.
    noise = np.random.default_rng(0).standard_normal(44100 * 9).astype(np.float32)
    noise *= np.repeat([0.2, 1e-5, 0.001], 44100 * 3)
    path = write_clip(tmp_path / "clip.mp4", num_frames=270, audio=noise)
    waveforms = [audio for _, audio in segments_of(path, DataConfig(3, 1, 8, 8, 22050, False))]
    found = [mfcc for _, mfcc in segments_of(path, DataConfig(3, 1, 8, 8, 22050, True))]
    for waveform, mfcc in zip(waveforms, found, strict=True):
        expected = librosa.feature.mfcc(y=waveform, sr=22050, n_mfcc=40)
        assert (mfcc.shape, mfcc.dtype) == ((40, 130), np.float32)
        np.testing.assert_allclose(mfcc, (expected - expected.mean()) / expected.std(), atol=1e-4)


def write_one_segment(tmp_path):
    """Write a dataset of one segment; return the segment's file and its arrays."""
    config = DataConfig(1, 2, 4, 3, 10, False)
    frames = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    audio = np.linspace(-1, 1, 10, dtype=np.float32)
    folder = tmp_path / "경기 #1"
    folder.mkdir()
    storage.write_segment(folder, 7, 1, frames, audio, config, 12.5)
    write_metadata(tmp_path, config, [{"title": folder.name, "segment_count": 1}], missing=[])
    return storage.SegmentFile(storage.open_dataset(tmp_path), folder.name, 7, 1), frames, audio


def read_arrays(file):
    return storage.read_arrays(file, file.files.metadata["data_shape"])


def test_a_pickle_holds_what_the_design_says(tmp_path):
    file, frames, audio = write_one_segment(tmp_path)
    segment = pickle.loads((tmp_path / "경기 #1" / "seg_00007_1.pkl").read_bytes())
    keys = "schema_version title index label start_sec end_sec total_duration video audio"
    assert " ".join(segment) == keys
    assert [segment[key] for key in list(segment)[1:7]] == ["경기 #1", 7, 1, 7, 8, 12.5]
    np.testing.assert_array_equal(segment["video"], frames)
    np.testing.assert_array_equal(segment["audio"], audio)
    for read, written in zip(read_arrays(file), (frames, audio), strict=True):
        np.testing.assert_array_equal(read, written)


class Evil:
    def __reduce__(self):
        return (eval, ("__import__('pathlib').Path('ran').touch()",))


def test_an_untrusted_pickle_is_data_and_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file, _, _ = write_one_segment(tmp_path)
    file.path.write_bytes(pickle.dumps({"video": Evil(), "audio": np.zeros(3)}))
    with pytest.raises(DatasetError, match=r"seg_00007_1\.pkl: not a segment pickle \(it names builtins\.eval"):
        read_arrays(file)
    assert not (tmp_path / "ran").exists()


def test_a_damaged_pickle_is_named(tmp_path):
    file, _, _ = write_one_segment(tmp_path)
    file.path.write_bytes(file.path.read_bytes()[:100])
    with pytest.raises(DatasetError, match=r"seg_00007_1\.pkl: .*segment"):
        read_arrays(file)
    file.path.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(DatasetError, match="it holds no dict with the arrays"):
        read_arrays(file)


def test_metadata_that_is_missing_or_damaged_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"received a folder without metadata\.json, expected a dataset"):
        read_metadata(tmp_path)
    (tmp_path / "metadata.json").write_text("{}")
    with pytest.raises(
        DatasetError, match=r"metadata\.json: damaged or not from data_converter\.py .*convert the videos again"
    ):
        read_metadata(tmp_path)
