"""Rates, timecodes and variable frame rates in exports, against opentimelineio, plain loops and exact fractions."""

import math
import re
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree

import av
import numpy as np
import opentimelineio
import pytest
from clips import tone, write_clip
from timelines import FOLDER, Cut, timeline_of

from videosummarizer import media
from videosummarizer.extraction.exports.edl import write_edl
from videosummarizer.extraction.exports.fcpxml import write_fcpxml
from videosummarizer.extraction.exports.otio import write_otio
from videosummarizer.extraction.exports.timecode import parse_timecode
from videosummarizer.extraction.exports.timeline import (
    Clip,
    MediaReference,
    Timeline,
    describe_match,
    find_timebase,
)

RATES = ["24000/1001", "24", "25", "30000/1001", "30", "50", "60000/1001", "60"]


def info_of(times_sec, end_sec):
    """What media.probe would say of a video with frames at these times."""
    times_sec = np.asarray(times_sec, np.float64)
    rate_fps = len(times_sec) / (end_sec - times_sec[0])
    return media.VideoInfo(end_sec, end_sec, rate_fps, 854, 480, "h264", None, times_sec, np.zeros((0, 2), np.int64))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A file to open: what its frames' times are is told by `info_of`."""
    return write_clip(tmp_path_factory.mktemp("clip") / "a.mp4", num_frames=3)


def describe(path, info, sections, scores=None):
    scores = [0.5] * len(sections) if scores is None else scores
    return describe_match(path, info, np.array(sections), np.array(scores))


def seconds(text):
    return Fraction(text.removesuffix("s"))


def ranges_in_exports(footage, cuts):
    """Of each format, as its own reader reads it: [(start, end)] of the cuts in the match, in frames at its rate."""
    timeline = Timeline("a", footage, cuts)
    rate_fps = float(footage.rate_fps)
    edl = write_edl(timeline).decode()
    in_edl = opentimelineio.adapters.read_from_string(edl, "cmx_3600", rate=rate_fps).tracks[0]
    otio = write_otio(timeline, FOLDER).decode()
    in_otio = opentimelineio.adapters.read_from_string(otio, "otio_json").tracks[0]
    ranges = [
        [
            (clip.source_range.start_time.value, clip.source_range.end_time_exclusive().value)
            for clip in track.find_clips()
        ]
        for track in (in_edl, in_otio)
    ]
    clips = ElementTree.fromstring(write_fcpxml(timeline, FOLDER)).iter("asset-clip")
    pairs = [(seconds(clip.get("start")), seconds(clip.get("duration"))) for clip in clips]
    ranges.append([(start * footage.rate_fps, (start + length) * footage.rate_fps) for start, length in pairs])
    return ranges


@pytest.mark.parametrize("rate", RATES)
def test_a_constant_rate_is_derived_from_its_neighbors_and_every_frame_keeps_its_number(clip, rate):
    rate_fps = Fraction(rate)
    # It does not start at 0, and times are rounded to a tick of 1/90000 s.
    times_sec = np.round((0.4 + np.arange(3001) / float(rate_fps)) * 90000) / 90000
    sections = [[0, 1], [719, 720], [1000, 2999], [2999, 3000]]
    footage, cuts = describe(clip, info_of(times_sec[:-1], times_sec[-1]), sections)
    assert (footage.rate_fps, footage.is_exact, footage.num_frames) == (rate_fps, True, 3000)
    for ranges in ranges_in_exports(footage, cuts):
        assert ranges == [tuple(section) for section in sections]


@pytest.mark.parametrize("rate", RATES)
def test_a_variable_rate_is_cut_at_the_nearest_frame_of_the_most_usual_rate(clip, rate):
    rng = np.random.default_rng(7)
    steps = np.where(rng.random(400) < 0.7, 1, rng.integers(2, 9, 400)) / float(Fraction(rate))
    edges_sec = 1.7 + np.append(0, np.cumsum(steps * rng.uniform(0.999, 1.001, 400)))
    sections = [[0, 13], [57, 58], [101, 250], [399, 400]]
    footage, cuts = describe(clip, info_of(edges_sec[:-1], edges_sec[-1]), sections)
    assert (footage.rate_fps, footage.is_exact) == (Fraction(rate), False)
    nearest = [math.floor((edge_sec - 1.7) * float(Fraction(rate)) + 0.5) for edge_sec in edges_sec]
    assert footage.num_frames == nearest[-1]
    for ranges in ranges_in_exports(footage, cuts):
        assert ranges == [(nearest[start], nearest[end]) for start, end in sections]


def test_of_sections_that_last_no_frame_none_is_cut_and_scores_stay_with_theirs(clip):
    # At 30 fps for 2 s, then a burst at 300 fps, of which ten frames lie within one at 30 fps.
    times_sec = np.concatenate([np.arange(60) / 30, 2 + np.arange(10) / 300, 2 + np.arange(1, 31) / 30])
    sections = [[3, 5], [62, 64], [63, 75], [80, 100]]
    footage, cuts = describe(clip, info_of(times_sec, 91 / 30), sections, [0.1, 0.2, 0.3, 0.4])
    assert not footage.is_exact
    # Frame 63 is shown at 2.01 s: 60.3 frames at 30 fps. Frame 75 is the 66th at 30 fps, 80 the 71st.
    assert cuts == [Clip(footage, 3, 5, 0.1), Clip(footage, 60, 66, 0.3), Clip(footage, 71, 91, 0.4)]


@pytest.mark.parametrize(
    ("frame_rate_fps", "times_sec", "expected"),
    [
        (35, np.arange(100) / 35, ("30", False)),
        (27.42, np.arange(200) / 27.42, ("30000/1001", False)),  # by ratio; by difference 25 would be nearer
        (27.3, np.arange(200) / 27.3, ("25", False)),
        (100, np.arange(200) / 100, ("60", False)),
        (24, np.arange(200) / 25, ("25", True)),  # the average is off, the distances tell
        (25, np.append(np.arange(100), np.arange(300, 400)) / 25, ("25", False)),
        (12.5, np.append(np.arange(100), np.arange(300, 400)) / 25, ("25", False)),
        (25, np.array([0, 0.06, 0.08, 0.12, 0.16]), ("25", False)),  # a frame that is half a frame late
        (25, np.array([0, 0.059, 0.08, 0.12, 0.16]), ("25", True)),
        (25, np.array([0, 0.021, 0.08, 0.12, 0.16]), ("25", True)),
    ],
)
def test_the_rate_to_cut_at(frame_rate_fps, times_sec, expected):
    assert find_timebase(frame_rate_fps, times_sec) == (Fraction(expected[0]), expected[1])


TIMECODES = ["00:00:00:01", "00:00:59:23", "00:01:00:02", "00:09:59:20", "00:10:00:00", "01:02:03:04", "23:59:59:22"]


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("mark", [":", ";", "."])
def test_timecodes_count_as_opentimelineio_counts_them(rate, mark):
    rate_fps = Fraction(rate)
    drops = mark != ":" and rate in ("30000/1001", "60000/1001")
    for timecode in TIMECODES:
        if drops:  # with ";" it counts drop-frame
            expected = opentimelineio.opentime.from_timecode(timecode[:8] + ";" + timecode[9:], float(rate_fps)).value
        else:
            expected = opentimelineio.opentime.from_timecode(timecode, math.ceil(rate_fps)).value
        text = timecode[:8] + mark + timecode[9:]
        assert parse_timecode(text, rate_fps) == (expected, drops), text


def test_drop_frame_numbers_follow_each_other_over_every_minute():
    for rate, num_dropped, num_numbers in (("30000/1001", 2, 30), ("60000/1001", 4, 60)):
        count = 0
        for minute in range(21):
            first = num_dropped if minute % 10 else 0
            for second in (0, 59):
                number = first if second == 0 else 0
                text = f"00:{minute:02d}:{second:02d};{number:02d}"
                expected = count + (second * num_numbers - first if second else 0)
                assert parse_timecode(text, Fraction(rate)) == (expected, True), text
            count += 60 * num_numbers - first


@pytest.mark.parametrize("text", ["", "1:00:00:00", "01:00:00", "01:00:00:000", "01:00:00:00 ", "01:00:00,00", "x"])
def test_what_is_no_timecode_counts_from_zero(text):
    assert parse_timecode(text, Fraction(25)) == (0, False)


@pytest.mark.parametrize(("suffix", "codec"), [("mov", "libx264"), ("mkv", "libx264"), ("mxf", "mpeg2video")])
def test_a_timecode_is_found_wherever_a_format_keeps_it(tmp_path, suffix, codec):
    path = tmp_path / f"a.{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        (container if suffix == "mkv" else stream).metadata["timecode"] = "10:00:00:05"
        for _ in range(10):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    footage, _ = describe(path, media.probe(path), [[0, 5]])
    assert (footage.start_frame, footage.is_drop_frame) == ((10 * 3600) * 25 + 5, False)


@pytest.mark.parametrize("num_channels", [0, 1, 2, 6])
def test_media_reference_holds_the_files_audio_size_and_absolute_path(tmp_path, monkeypatch, num_channels):
    audio = np.tile(tone(440, 1), (num_channels, 1)) if num_channels else None
    path = write_clip(tmp_path / "a match.mp4", num_frames=30, audio=audio)
    monkeypatch.chdir(tmp_path)
    footage, _ = describe(Path("a match.mp4"), media.probe(path), [[0, 5]])
    assert footage == MediaReference(path, Fraction(30), False, 0, 30, 160, 64, num_channels, True)
    assert footage.name == "a match"


def test_a_file_without_a_frame_is_refused(tmp_path):
    path = tmp_path / "audio.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        block = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        block.sample_rate = 8000
        container.mux(stream.encode(block))
    with pytest.raises(media.MediaError, match="without a video stream"):
        describe(path, info_of(np.arange(10) / 25, 0.4), [[0, 5]])


def test_cuts_around_dropped_numbers_are_neither_a_frame_short_nor_long(clip):
    match = MediaReference(Path("/a.mp4"), Fraction(30000, 1001), True, 107892, 200_000, 16, 9, 2, True)
    cuts = [Cut(first, first + length, 0) for first in (1798, 1799, 1800, 17981, 17982) for length in (1, 2, 1801)]
    text = write_edl(timeline_of(match, cuts)).decode()
    rows = re.findall(r"C +(\S+) (\S+) (\S+) (\S+)\n", text)
    frames = [[opentimelineio.opentime.from_timecode(code, 30000 / 1001).value for code in row] for row in rows]
    record = 0
    for (start, end, record_start, record_end), cut in zip(frames, cuts, strict=True):
        assert (start - 107892, end - 107892) == (cut.start_frame, cut.end_frame)
        assert (record_start, record_end) == (record, record + cut.end_frame - cut.start_frame)
        record = record_end
