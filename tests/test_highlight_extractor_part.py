"""The extractor with --from and --to: only that part of a match is decoded and scored, in the match's own time."""

import csv

import numpy as np
import pytest
from clips import HEIGHT_PX, WIDTH_PX, frames_in, read_number, tone, write_clip
from extractor import CONFIG, STEP_SCORES, all_files

from highlight_extractor import parse_args
from videosummarizer import audio_track, media
from videosummarizer.dataset import sampling
from videosummarizer.dataset.metadata import DataConfig
from videosummarizer.extraction import scoring


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory):
    """A match of 12 s with a keyframe each second; its loudest sound is in the first two seconds."""
    sound = tone(440, 12, amplitude=0.1)
    sound[: 2 * 44100] *= 8
    sound[9 * 44100 :] *= 4
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    return write_clip(path, num_frames=360, audio=sound, options={"crf": "10", "g": "30"})


def test_a_part_is_sampled_as_a_match_that_consists_of_it(long_clip, monkeypatch):
    info, decoded, config = media.probe(long_clip), [], DataConfig(0.5, 4, WIDTH_PX, HEIGHT_PX, 4000, False)
    decode = media.decode

    def count(packets, *arguments):
        for frame in decode(packets, *arguments):
            decoded.append(frame.time)
            yield frame

    monkeypatch.setattr(media, "decode", count)
    segments = list(sampling.read_segments(long_clip, info, config, part_sec=(4.2, 6.9)))
    assert (min(decoded) > 3, max(decoded) < 9) == (True, True)
    frames = np.concatenate([frames for frames, _ in segments])
    assert len(frames) == 12
    # Every quarter of a second, 7.5 frames, from frame 126 on.
    assert [read_number(frame) for frame in frames[:11]] == [126 + 15 * n // 2 for n in range(11)]
    assert not frames[11].any()  # at 6.95 s, after the part
    whole = np.concatenate(list(audio_track.read_audio(long_clip, info, 4000)))
    part = whole[round(4.2 * 4000) : round(6.9 * 4000)]
    sound = np.concatenate([audio for _, audio in segments])
    # The peak is that of the part, which is an eighth of the whole match's. Its phase may differ by half a sample.
    assert np.abs(sound).max() == 1
    assert np.corrcoef(sound[: len(part)], part)[0, 1] > np.cos(2 * np.pi * 440 * 0.5 / 4000)
    assert not sound[len(part) :].any()


def test_the_whole_match_is_the_part_from_its_beginning_to_its_end(long_clip):
    info = media.probe(long_clip)
    whole = list(sampling.read_segments(long_clip, info, CONFIG))
    part = list(sampling.read_segments(long_clip, info, CONFIG, part_sec=(0, info.duration_sec)))
    for (frames, audio), (part_frames, part_audio) in zip(whole, part, strict=True):
        np.testing.assert_array_equal(frames, part_frames)
        np.testing.assert_array_equal(audio, part_audio)


@pytest.fixture
def parts(extract, monkeypatch):
    """The parts that were scored, each with the first of STEP_SCORES."""
    scored = []

    def score_match(video_path, info, config, network, on_progress, scratch_dir, part_sec):
        scored.append(part_sec)
        num_segments = config.num_segments(part_sec[1] - part_sec[0])
        return np.array(STEP_SCORES)[:num_segments, 0], np.array(STEP_SCORES)[:num_segments], None

    monkeypatch.setattr(scoring, "score_match", score_match)
    return scored


def test_files_of_a_part_have_the_times_of_the_match(extract, parts):
    assert extract(extract.match(), "--from", "0.4", "--to", "0:02.1") == 0
    assert parts == [(0.4, 2.1)]
    # Steps of 0.25 s from 0.4 s on: the third to fifth are a section, from 0.9 s to 1.65 s.
    assert extract.labels() == "27,50,00:00:00,00:00:01\n"
    assert frames_in(extract.out / "match_highlights.mp4") == [*range(27, 50)]
    rows = list(csv.DictReader((extract.out / "match_scores.csv").read_text().splitlines()))
    spans = [(row["start_sec"], row["end_sec"], row["start_frame"], row["end_frame"]) for row in rows]
    assert spans == [
        ("0.400000", "0.900000", "12", "27"),
        ("0.900000", "1.400000", "27", "42"),
        ("1.400000", "1.900000", "42", "57"),
        ("1.900000", "2.100000", "57", "63"),
    ]
    assert [row["highlight"] for row in rows] == ["0", "1", "1", "0"]
    report = extract.report()
    assert (report["scored_with"]["from"], report["scored_with"]["to"]) == (0.4, 2.1)
    scores = np.array(STEP_SCORES).ravel().round(6)
    expected = (0.25 * scores[2:5].sum() + (50 / 30 - 1.65) * scores[5]) / (23 / 30)
    assert report["sections"][0]["score"] == pytest.approx(expected, abs=1e-6)
    assert (
        '"step_sec": 0.25, "start_sec": 0.4, "scores": [0.123457, 0.2, 0.9' in (extract.out / "match.html").read_text()
    )


@pytest.mark.parametrize(
    ("arguments", "labels"),
    [
        (["--from", "0", "--threshold", "0"], "0,72,00:00:00,00:00:02\n"),
        (["--to", "1.7", "--threshold", "0"], "0,51,00:00:00,00:00:01\n"),
        (["--from", "0.4", "--to", "2.1", "--threshold", "0", "--padding", "5"], "12,63,00:00:00,00:00:02\n"),
        (["--from", "0.4", "--to", "2.1", "--length", "0.4"], "27,39,00:00:00,00:00:01\n"),
    ],
)
def test_sections_stay_within_the_part(extract, parts, arguments, labels):
    assert extract(extract.match(), *arguments) == 0
    assert extract.labels() == labels


def test_another_part_is_another_run_and_the_same_one_is_finished(extract, parts, caplog, capsys):
    match = extract.match()
    assert extract(match, "--from", "0.4") == 0
    capsys.readouterr()
    assert extract(match, "--from", "0:00.4") == 0
    assert capsys.readouterr().out == "match: finished already and kept\n"
    for arguments, words in (
        (["--from", "0.5"], "was made with --from 0.4, not --from 0.5: --overwrite"),
        ([], "was made with --from 0.4, not no --from: --overwrite"),
        (["--from", "0.4", "--to", "2"], "was made with no --to, not --to 2: --overwrite"),
    ):
        assert extract(match, *arguments) == 1
        assert words in caplog.messages[-1]
    assert extract(match, "--from", "0.4", "--threshold", "0.7", "--overwrite") == 0
    assert parts == [(0.4, pytest.approx(2.4))]  # scored once
    assert extract(match, "--overwrite") == 0
    assert parts[1:] == [(0, pytest.approx(2.4))]


def test_scores_of_a_part_are_kept_for_corrected_sections_and_absent_outside_it(extract, parts):
    match = extract.match()
    assert extract(match, "--from", "0.9", "--to", "2.1") == 0
    labels = extract.folder / "labels.txt"
    labels.write_text("3,12\n24,30\n30,33\n60,66\n")
    assert extract.cut(match, "--sections", labels, "--overwrite", "--clips") == 0
    sections = extract.report()["sections"]
    # The part has the frames 27 to 62.
    assert [section.get("score") for section in sections] == [None, None, pytest.approx(0.123457, abs=1e-6), None]
    assert (extract.out / "match.vtt").read_text().count("(score") == 1
    assert sorted(path.name for path in (extract.out / "match_clips").iterdir()) == [
        "01_0.12_00-00-01.mp4",
        "02_00-00-00.mp4",
        "03_00-00-00.mp4",
        "04_00-00-02.mp4",
    ]
    assert extract.names() == {*all_files("match"), "match_clips"}
    assert extract.cut(match, "--sections", labels, "--clips") == 0
    assert parts == [(0.9, 2.1)]


def test_a_part_that_a_match_does_not_have_costs_only_that_match(extract, parts, caplog):
    short, long = extract.match("short"), write_clip(extract.folder / "long.mp4", num_frames=90)
    assert extract(short, long, "--from", "2.6", "--to", "5") == 1
    refused, clipped, *_ = caplog.messages
    assert refused == f"{short}: received --from 00:00:02, expected a time before the match's end (00:00:02)"
    assert clipped == f"{long}: --to 00:00:05 is after the match's end (00:00:03): it is scored up to there"
    assert parts == [(2.6, 3.0)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "1:00", "--to", "1:00"], "argument --to: received 60 s, expected a time after --from 60 s"),
        (["--from", "-1"], "argument --from: received '-1', expected a time such as 0:12:00, 12:00 or 720"),
        (["--from", "soon"], "argument --from: received 'soon', expected a time such as 0:12:00, 12:00 or 720"),
        (["--to", "1:75"], "argument --to: received '1:75', expected a time such as 0:12:00, 12:00 or 720"),
        (["--sections", "a.txt", "--from", "1"], "argument --from: not allowed with argument --sections"),
        (["--sections", "a.txt", "--to", "1"], "argument --to: not allowed with argument --sections"),
    ],
)
def test_times_that_make_no_part_are_refused(capsys, arguments, message):
    with pytest.raises(SystemExit, match="2"):
        parse_args(["match.mp4", "--ckpt", "best.hdf5", *arguments])
    assert message in capsys.readouterr().err
