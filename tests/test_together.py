"""The reel of several matches: which sections it has, in which order, and what is seen and heard of each."""

import json
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import opentimelineio
import pytest
from clips import frames_in, tone, write_clip
from extractor import all_files
from test_highlight_extractor import contents

from highlight_extractor import parse_args
from videosummarizer import audio_track, media
from videosummarizer.evaluation.operating_point import OperatingPoint
from videosummarizer.extraction import captions, joined_reel, scoring, together
from videosummarizer.extraction.job import ExtractionError
from videosummarizer.extraction.outputs import MatchResult, MatchScores
from videosummarizer.extraction.reel_style import ReelStyle

FILES = {f"week{suffix}" for suffix in (".json", ".edl", ".fcpxml", ".otio", ".xml", ".mp4")}


@pytest.fixture
def week(extract):
    """Two matches with label files: one of 30 frames per second with sound, one of 15 without, from number 200 on."""
    first = write_clip(extract.folder / "결승.mp4", num_frames=72, audio=tone(440, 2.4))
    second = write_clip(extract.folder / "second.mp4", ticks=list(range(0, 60, 2)), first_number=200)
    labels = extract.folder / "labels"
    labels.mkdir()
    (labels / "결승.txt").write_text("12,30\n45,60\n")
    (labels / "second.txt").write_text("10,20\n")
    return first, second, "--sections", labels, "--together", "week.mp4"


def test_the_reel_has_the_frames_and_sounds_of_all_matches_at_one_rate(extract, week, capsys):
    assert extract.cut(*week) == 0
    assert extract.names() >= FILES - {"week.edl"}  # which cannot have two frame rates
    reel_path = extract.out / "week.mp4"
    # The second match's frames are shown twice at the first one's rate.
    assert frames_in(reel_path) == [*range(12, 30), *range(45, 60), *np.repeat(range(210, 220), 2)]
    info = media.probe(reel_path)
    np.testing.assert_allclose(np.diff(info.frame_times_sec), 1 / 30, atol=1e-6)
    assert (info.duration_sec, info.audio) == (pytest.approx(53 / 30, abs=1e-3), "aac stereo 48000 Hz")
    sound = np.concatenate(list(audio_track.read_audio(reel_path, info, 8000)))
    loudness = [np.abs(sound[int(8000 * start) : int(8000 * end)]).max() for start, end in ((0.1, 1.0), (1.2, 1.7))]
    assert loudness[0] > 0.4
    assert loudness[1] < 0.01
    assert capsys.readouterr().out.splitlines()[-4:] == [
        "week: 3 sections of 2 matches, 00:00:01",
        "  결승: 2 sections, 00:00:01",
        "  second: 1 section, 00:00:00",
        f"  reel      {reel_path}",
    ]
    with av.open(str(reel_path)) as container:
        chapters = container.chapters()
    assert [chapter["metadata"]["title"] for chapter in chapters] == [
        "결승 00:00:00",
        "결승 00:00:01",
        "second 00:00:00",
    ]


def test_it_can_have_a_style_whose_times_its_report_and_chapters_have(extract, week, monkeypatch):
    drawn, find_font = set(), captions.find_font
    draw = captions.draw_caption
    monkeypatch.setattr(captions, "find_font", lambda text, subject: find_font("a", subject))
    monkeypatch.setattr(captions, "draw_caption", lambda *arguments: drawn.add(arguments[0]) or draw(*arguments))
    style = ["--aspect", "1:1", "--fit", "pad", "--transition", "0.2", "--captions", "--intro", "Week 48"]
    assert extract.cut(*week, *style) == 0
    info = media.probe(extract.out / "week.mp4")
    assert (info.width_px, info.height_px, info.frame_rate_fps) == (64, 64, pytest.approx(30))
    assert len(info.frame_times_sec) == 90 + 18 + 15 + 20 - 3 * 6
    assert {title for title, _ in drawn} == {"결승", "second"}
    report = json.loads((extract.out / "week.json").read_text())
    assert report["sections_sec"] == pytest.approx(53 / 30, abs=1e-3)
    assert report["settings"]["aspect"] == "1:1"
    with av.open(str(extract.out / "week.mp4")) as container:
        starts_sec = [chapter["start"] / 1000 for chapter in container.chapters()]
    assert starts_sec == pytest.approx([0, (90 + 18 - 12) / 30, (90 + 18 + 15 - 18) / 30], abs=0.001)
    assert extract.cut(*week, *style[:-2]) == 1  # made with a title card


def test_captions_rank_sections_among_all_matches(tmp_path):
    info = media.probe(write_clip(tmp_path / "a.mp4", num_frames=30))
    result = SimpleNamespace(video_path=tmp_path / "a.mp4", info=info, title="a")
    chosen = [together.ChosenSection(result, np.array([3, 9]), score) for score in (0.4, 0.9, 0.6)]
    sections = together.list_chosen(chosen)
    assert [(section.index, section.rank) for section in sections] == [(0, "#3 of 3"), (1, "#1 of 3"), (2, "#2 of 3")]


def test_times_in_the_reel_leave_out_the_hours_in_which_a_match_has_nothing(tmp_path):
    ticks = [*range(30), *range(30 + 2000 * 30, 60 + 2000 * 30)]
    path = write_clip(tmp_path / "gap.mp4", num_frames=60, ticks=ticks)
    result = MatchResult(path, media.probe(path), np.array([[10, 50], [50, 56]]), None, None)
    chosen = [together.ChosenSection(result, section, np.nan) for section in result.sections]
    # Frames 10 to 28, frame 29 for a second, frames 30 to 49; then 50 to 55.
    expected_sec = np.cumsum([0, 19 / 30 + 1 + 20 / 30, 6 / 30])
    assert together.chosen_edges_sec(chosen, ReelStyle()) == pytest.approx(expected_sec, abs=1e-3)


def test_its_files_refer_to_all_matches(extract, week):
    assert extract.cut(*week) == 0
    timeline = opentimelineio.adapters.read_from_file(str(extract.out / "week.otio"))
    clips = list(timeline.video_tracks()[0].find_clips())
    assert [Path(clip.media_reference.target_url).name for clip in clips][2] == "second.mp4"
    assert len({clip.media_reference.target_url for clip in clips}) == 2
    ranges = [clip.source_range for clip in clips]
    assert [(r.start_time.value, r.duration.value) for r in ranges][:2] == [(12, 18), (45, 15)]
    assert ranges[2].start_time.to_seconds() == pytest.approx(10 / 15, abs=1 / 24)
    assert (extract.out / "week.fcpxml").read_text().count("<asset ") == 2
    report = json.loads((extract.out / "week.json").read_text())
    assert report["matches"] == [
        {"match": "결승", "num_sections": 2, "sections_sec": pytest.approx(1.1)},
        {"match": "second", "num_sections": 1, "sections_sec": pytest.approx(2 / 3, abs=1e-6)},
    ]
    assert [(section["start_frame"], section["end_frame"]) for section in report["sections"]] == [
        (12, 30),
        (45, 60),
        (10, 20),
    ]
    assert all("score" not in section for section in report["sections"])


def test_the_same_command_keeps_the_reel_and_other_sections_are_refused(extract, week, caplog, capsys):
    assert extract.cut(*week) == 0
    before = (extract.out / "week.mp4").stat().st_mtime_ns
    capsys.readouterr()
    assert extract.cut(*week) == 0
    assert capsys.readouterr().out.splitlines() == [
        "결승: finished already and kept",
        "second: finished already and kept",
        "week: finished already and kept",
    ]
    assert extract.cut(*week, "--order", "time") == 1
    assert "was made with no --order, not --order time: delete it and the reel's other files" in caplog.messages[-1]
    assert extract.cut(week[0], *week[2:]) == 1
    assert "was made with other sections or matches: delete it" in caplog.messages[-1]
    assert (extract.out / "week.mp4").stat().st_mtime_ns == before
    (extract.out / "week.json").write_text("{}")
    assert extract.cut(*week) == 1
    assert "exists, and it is unknown how it was made: --overwrite replaces it" in caplog.messages[-1]
    assert extract.cut(*week, "--overwrite") == 0
    assert len(frames_in(extract.out / "week.mp4")) == 53


def test_a_match_that_fails_costs_only_its_part(extract, week, caplog):
    week[0].write_bytes(b"no video")
    assert extract.cut(*week) == 1
    assert frames_in(extract.out / "week.mp4") == [*range(210, 220)]
    assert f"1 of 2 matches failed: {week[0]}" in caplog.messages


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--length", "1"], "--together: received --length and sections without scores, expected --ckpt as well"),
        (["--order", "score"], "--together: received --order score and sections without scores, expected --ckpt"),
    ],
)
def test_sections_without_scores_cannot_be_ranked_and_nothing_is_cut(extract, week, caplog, arguments, message):
    assert extract.cut(*week, *arguments) == 1
    (received,) = caplog.messages
    assert message in received
    assert not extract.out.exists()


def test_scores_of_an_earlier_run_rank_sections_and_one_match_without_them_is_refused(extract, week, caplog):
    write_clip(week[1], num_frames=72, first_number=200)
    assert extract(*week[:2]) == 0
    for path in (extract.out / "결승.json", extract.out / "결승_scores.csv"):
        path.unlink()
    before = contents(extract.out)
    assert extract.cut(*week, "--order", "score", "--overwrite") == 1
    assert caplog.messages[-1].startswith("--together: received --order score and sections without scores")
    assert contents(extract.out) == before
    (week[3] / "결승.txt").write_text("")  # without sections it needs none
    assert extract.cut(*week, "--order", "score", "--overwrite") == 0
    assert frames_in(extract.out / "week.mp4") == [*range(210, 220)]


def test_a_reel_that_is_replaced_stays_until_the_new_one_is_cut(extract, week, monkeypatch, caplog):
    assert extract.cut(*week) == 0
    files = {f"week{suffix}" for suffix in together.REEL_SUFFIXES}
    before = {name: value for name, value in contents(extract.out).items() if name in files}

    def fail(*arguments):
        assert {name: value for name, value in contents(extract.out).items() if name in files} == before
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(joined_reel.JoinedReelWriter, "write_frame", fail)
        assert extract.cut(*week, "--order", "time", "--overwrite") == 1
    assert "No space left on device" in caplog.messages[-1]
    assert {name: value for name, value in contents(extract.out).items() if name in files} == before
    assert extract.cut(*week, "--order", "time", "--overwrite") == 0
    assert json.loads((extract.out / "week.json").read_text())["settings"]["order"] == "time"


def test_the_name_of_the_reel_is_composed_and_short_enough_before_anything_is_cut(extract, week, caplog):
    decomposed = unicodedata.normalize("NFD", "결승 주간.mp4")
    assert extract.cut(*week[:-1], decomposed) == 0
    assert extract.names() >= {"결승 주간.mp4", "결승 주간.json"}
    (extract.out / "결승 주간.mp4").rename(extract.out / decomposed)  # as on a drive that was written by a Mac
    assert extract.cut(*week[:-1], "결승 주간.mp4") == 0
    assert "결승 주간.mp4" not in extract.names()
    extract.out = extract.folder / "other"
    assert extract.cut(*week[:-1], f"{'가' * 82}.mp4") == 1
    assert caplog.messages[-1] == (
        f"--together: {'가' * 82}.mp4: received a title of 246 bytes, expected at most 243, as {extract.out} takes no "
        "file name <title>.fcpxml.part of more than 255 bytes: choose a shorter one"
    )
    assert not extract.out.exists()


@pytest.mark.parametrize("name", ["경기.mp4", "경기_highlights.mp4"])
def test_a_name_of_the_files_of_a_match_is_refused(extract, caplog, name):
    match = extract.match("경기")
    assert extract(match, "--together", unicodedata.normalize("NFD", name)) == 1
    (message,) = caplog.messages
    assert message.endswith(f", whose files would replace those of {match}: choose another")
    assert not extract.out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--together", "a/week.mp4"], "received 'a/week.mp4', expected a file name without a folder, such as week"),
        (["--together", "week.mkv"], "received 'week.mkv', expected a file name without a folder, such as week.mp4"),
        (["--order", "time"], "argument --order: only with argument --together"),
        (["--together", "week.mp4", "--order", "best"], "invalid choice: 'best'"),
        (["--length", "1:00", "--threshold", "0.5"], "argument --length: not allowed with argument --threshold"),
    ],
)
def test_arguments_that_cannot_work_are_refused(capsys, arguments, message):
    with pytest.raises(SystemExit, match="2"):
        parse_args(["match.mp4", "--ckpt", "best.hdf5", *arguments])
    assert message in capsys.readouterr().err
    parse_args(["a.mp4", "--ckpt", "c", "--together", "week.mp4", "--length", "1:00", "--threshold", "0.5"])


def test_the_best_sections_of_all_matches_are_first_in_the_reel(extract, monkeypatch):
    scores = {
        "first": [[0.1, 0.1], [0.9, 0.9], [0.1, 0.1], [0.1, 0.1], [0.7, 0.7]],
        "second": [[0.8, 0.8]] + [[0, 0]] * 4,
    }

    def score_match(video_path, *arguments):
        steps = np.array(scores[video_path.stem])
        return steps[:, 0], steps, None

    monkeypatch.setattr(scoring, "score_match", score_match)
    first = extract.match("first")
    second = write_clip(extract.folder / "second.mp4", num_frames=72, first_number=200)
    assert extract(first, second, "--together", "week.mp4", "--length", "1.2") == 0
    # 0.5 s of 0.9, 0.5 s of 0.8, and 0.2 of the 0.4 s of 0.7.
    assert frames_in(extract.out / "week.mp4") == [*range(15, 30), *range(200, 215), *range(60, 66)]
    sections = json.loads((extract.out / "week.json").read_text())["sections"]
    assert [(section["match"], section["score"]) for section in sections] == [
        ("first", 0.9),
        ("second", 0.8),
        ("first", 0.7),
    ]
    assert extract.labels("first") == "15,30,00:00:00,00:00:01\n60,72,00:00:02,00:00:02\n"  # not shortened
    assert extract.names() >= all_files("first", "second") | FILES


# ---- Which sections


def result_of(title, sections, step_scores, penalty=0.0):
    """A match of 100 s at 10 frames per second, with a step per second."""
    info = media.VideoInfo(100, 100, 10, 64, 36, "h264", None, np.arange(1000) / 10, np.empty((0, 2), int))
    steps = np.array(step_scores, float)[:, np.newaxis]
    scores = MatchScores(1.0, steps[:, 0], steps, OperatingPoint(0.5, section_penalty=penalty))
    return MatchResult(Path(f"{title}.mp4"), info, np.array(sections, int).reshape(-1, 2), None, scores)


def chosen(results, length_sec=None, order=None):
    return [
        (one.result.title, *one.section.tolist(), round(float(one.score), 3))
        for one in together.choose_sections(results, length_sec, order)
    ]


A = result_of("a", [[100, 200], [400, 500]], [0.6] * 30 + [0.9] * 70)
B = result_of("b", [[0, 100], [500, 540]], [0.7] * 50 + [0.8, 0.8, 0.99, 0.99] + [0] * 46)
ALL = [("a", 400, 500, 0.9), ("b", 500, 540, 0.895), ("b", 0, 100, 0.7), ("a", 100, 200, 0.6)]


def test_sections_are_ranked_across_matches():
    assert chosen([A, B]) == ALL
    assert chosen([A, B], order="score") == ALL
    assert chosen([A, B], order="time") == [ALL[3], ALL[0], ALL[2], ALL[1]]
    assert chosen([B, A], order="time") == [ALL[2], ALL[1], ALL[3], ALL[0]]


@pytest.mark.parametrize(
    ("length_sec", "expected"),
    [
        (14, ALL[:2]),
        (12, [ALL[0], ("b", 520, 540, 0.99)]),  # its best two seconds
        (4, [("a", 400, 440, 0.9)]),
        (24, ALL[:3]),
        (34, ALL),
    ],
)
def test_a_length_takes_the_best_and_cuts_the_last_one(length_sec, expected, caplog):
    assert chosen([A, B], length_sec) == expected
    assert caplog.messages == []
    by_time = chosen([A, B], length_sec, "time")
    assert by_time == sorted(expected)


def test_a_rest_too_short_for_a_section_is_left_out():
    costly = result_of("b", [[0, 100], [500, 540]], [0.7] * 50 + [0.8, 0.8, 0.99, 0.99] + [0] * 46, penalty=20.0)
    assert chosen([A, costly], 12) == ALL[:1]
    assert chosen([costly], 2) == [("b", 520, 540, 0.99)]  # the only one stays


def test_a_length_longer_than_all_sections_gives_a_warning(caplog):
    assert chosen([A, B], 600) == ALL
    assert caplog.messages == [
        "--together: --length 00:10:00 is longer than all sections together (00:00:34): all are in the reel; a lower "
        "--threshold finds more"
    ]


def test_without_a_section_there_is_no_reel(tmp_path):
    args = parse_args(["a.mp4", "b.mp4", "--ckpt", "c", "--together", "week.mp4", "--output_dir", str(tmp_path)])
    with pytest.raises(ExtractionError, match=r"week\.mp4: no match has a section, so there is nothing to cut"):
        together.write_reel_of_all([result_of("a", [], [0.1] * 100)], args)
