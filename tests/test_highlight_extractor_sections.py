"""The extractor with --sections: what is cut from a label file, with scores and without."""

import json
import re

import numpy as np
import opentimelineio
import pytest
from clips import frames_in
from extractor import STEP_SCORES, all_files
from matplotlib.figure import Figure
from test_highlight_extractor import contents

from highlight_extractor import parse_args
from videosummarizer import audio_track, media
from videosummarizer.evaluation import plots

WITHOUT_SCORES = all_files("match") - {"match_scores.csv"}


@pytest.fixture
def labels(tmp_path):
    """A label file of 12 to 30 and 45 to 60 frames, which is not next to the match."""
    path = tmp_path / "corrected" / "match.txt"
    path.parent.mkdir()
    path.write_text("12,30\n45,60\n")
    return path


@pytest.mark.parametrize(
    "text",
    [
        "12,30,00:00:00,00:00:01\n45,60,00:00:01,00:00:02\n",
        "12,30\n45,60\n",
        "0.4,1.0\n1.5,2.0\n",
        "00:00:00.4,00:00:01\n00:01.5,00:02\n",
        "\ufeff45, 60\r\n\r\n12, 30\r\n",
    ],
)
def test_each_form_of_a_label_file_is_cut_to_the_frame_without_a_checkpoint(extract, labels, text):
    labels.write_text(text, encoding="utf-8", newline="")
    assert extract.cut(extract.match(), "--sections", labels) == 0
    assert extract.names() == WITHOUT_SCORES
    assert (extract.scored, extract.loaded) == ([], [])
    assert extract.labels() == "12,30,00:00:00,00:00:01\n45,60,00:00:01,00:00:02\n"
    assert frames_in(extract.out / "match_highlights.mp4") == [*range(12, 30), *range(45, 60)]
    timeline = opentimelineio.adapters.read_from_file(str(extract.out / "match.otio"))
    ranges = [clip.source_range for clip in timeline.video_tracks()[0].find_clips()]
    assert [(r.start_time.value, r.duration.value) for r in ranges] == [(12, 18), (45, 15)]
    assert len(re.findall(r"^\d{3} ", (extract.out / "match.edl").read_text(), re.MULTILINE)) == 2
    chapters = (extract.out / "match.vtt").read_text()
    assert chapters.splitlines()[2:5] == ["1", "00:00:00.400 --> 00:00:01.000", "Highlight 1"]


def test_without_a_checkpoint_no_file_has_numbers_of_one(extract, labels, monkeypatch):
    monkeypatch.undo()  # the timeline is drawn
    drawn, plot = [], plots.plot_timeline
    monkeypatch.setattr(plots, "plot_timeline", lambda axes, *given: (plot(axes, *given), drawn.append(axes)))
    assert extract.cut(extract.match(), "--sections", labels) == 0
    report = extract.report()
    assert not {"checkpoint", "operating_point", "threshold", "segment_length", "step_scores"} & report.keys()
    assert all("score" not in section for section in report["sections"])
    for ending in (".otio", ".fcpxml", ".vtt", ".edl"):
        assert "score" not in (extract.out / f"match{ending}").read_text()
    page = (extract.out / "match.html").read_text()
    assert '"scores": [], "decoded_scores": [], "threshold": null' in page
    assert '"sections": [[12, 30], [45, 60]], "labelled": null' in page
    (axes,) = drawn
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["sections"]
    assert (len(axes.patches), len(axes.lines), axes.get_ylabel(), list(axes.get_yticks())) == (0, 0, "", [])


def test_with_a_checkpoint_the_scores_are_those_under_the_sections(extract, labels):
    assert extract(extract.match(), "--sections", labels) == 0
    assert extract.names() == all_files("match")
    assert extract.scored == ["match"]
    # Steps of 0.25 s: 0.1 s of the second, and the third and fourth; then the seventh and eighth.
    scores = np.array(STEP_SCORES).ravel()
    expected = [(0.1 * scores[1] + 0.25 * (scores[2] + scores[3])) / 0.6, (scores[6] + scores[7]) / 2]
    assert [section["score"] for section in extract.report()["sections"]] == pytest.approx(expected, abs=1e-5)
    assert f"(score {expected[0]:.2f})" in (extract.out / "match.vtt").read_text()
    assert frames_in(extract.out / "match_highlights.mp4") == [*range(12, 30), *range(45, 60)]


def test_sections_that_touch_stay_two_and_sound_as_one(extract, labels):
    labels.write_text("12,30\n30,48\n")
    assert extract.cut(extract.match(), "--sections", labels) == 0
    assert extract.labels() == "12,30,00:00:00,00:00:01\n30,48,00:00:01,00:00:01\n"
    assert len(re.findall(r"^\d{3} ", (extract.out / "match.edl").read_text(), re.MULTILINE)) == 2
    reel_path = extract.out / "match_highlights.mp4"
    assert frames_in(reel_path) == [*range(12, 48)]
    sound = np.concatenate(list(audio_track.read_audio(reel_path, media.probe(reel_path), 8000)))
    loudness = np.abs(sound[: 8000 * 36 // 30]).reshape(-1, 40).max(axis=1)  # by 5 ms
    assert loudness[100:140].min() > 0.8 * loudness[100:140].max()  # around the end of the first, at 0.6 s


def test_padding_extends_the_sections_of_a_label_file(extract, labels):
    assert extract.cut(extract.match(), "--sections", labels, "--padding", "0.2") == 0
    assert extract.labels() == "6,36,00:00:00,00:00:01\n39,66,00:00:01,00:00:02\n"


def test_a_file_without_sections_cuts_nothing_and_says_so(extract, labels, caplog):
    labels.write_text("")
    match = extract.match()
    assert extract.cut(match, "--sections", labels) == 0
    assert caplog.messages == [f"{match}: no section is cut: the label file {labels} has none"]
    assert extract.names() == {f"match{ending}" for ending in (".json", ".txt", ".vtt", ".html", "_timeline.png")}
    assert extract.cut(match, "--sections", labels) == 0
    assert len(caplog.messages) == 1  # finished already


def test_a_folder_has_the_sections_of_each_match_and_one_that_is_missing_costs_no_other(extract, labels, caplog):
    matches = [extract.match(title) for title in ("match", "없음", "third")]
    (labels.parent / "third.TXT").write_text("3,5\n")
    assert extract.cut(*matches, "--sections", labels.parent) == 1
    missing, summary = caplog.messages
    assert missing == f"{labels.parent / '없음.txt'}: no such label file, expected the sections of {matches[1]}"
    assert summary == f"1 of 3 matches failed: {matches[1]}"
    assert frames_in(extract.out / "match_highlights.mp4") == [*range(12, 30), *range(45, 60)]
    assert frames_in(extract.out / "third_highlights.mp4") == [3, 4]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ("corrected/match.txt", "for 2 matches, expected a folder that has a <title>.txt for each: give the folder"),
        ("gone", "gone, which does not exist, expected a label file or a folder of them"),
    ],
)
def test_a_sections_path_that_cannot_be_meant_is_refused_once(extract, labels, caplog, sections, message):
    matches = [extract.match("match"), extract.match("second")]
    assert extract.cut(*matches, "--sections", extract.folder / sections) == 1
    (received,) = caplog.messages
    assert received.startswith("--sections: received ")
    assert message in received
    assert not extract.out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--threshold", "0.5"], "argument --threshold: only with argument --ckpt"),
        (["--sections", "a.txt", "--threshold", "0.5"], "argument --threshold: not allowed with argument --sections"),
        (["--sections", "a.txt", "--length", "1:00"], "argument --length: not allowed with argument --sections"),
    ],
)
def test_arguments_that_cannot_work_together_are_refused(capsys, arguments, message):
    with pytest.raises(SystemExit, match="2"):
        parse_args(["match.mp4", *arguments])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("has_ckpt", [False, True])
def test_an_error_in_the_label_file_is_one_line_before_anything_is_scored(extract, labels, caplog, has_ckpt):
    labels.write_text("12,30\n40,x\n")
    matches = [extract.match("match"), extract.match("second")]
    (labels.parent / "second.txt").write_text("72,80\n")  # after the end, which only the match tells
    run = extract if has_ckpt else extract.cut
    assert run(*matches, "--sections", labels.parent) == 1
    first, second, _ = caplog.messages
    assert first == f"{labels}, line 2: received 'x' as end frame number, expected a whole number of 0 or more"
    assert second.startswith(f"{labels.parent / 'second.txt'}, line 1: received a section that begins at frame 72")
    assert extract.scored == []
    assert not list(extract.out.glob("*"))


def test_what_is_corrected_in_a_label_file_is_named(extract, labels, caplog):
    labels.write_text("45,80\n12,30\n")
    assert extract.cut(extract.match(), "--sections", labels) == 0
    assert caplog.messages == [
        f"{labels}, line 1: the section ends at frame 80, past the video's end (72 frames, 2.40 s): clipped",
        f"{labels}, line 2: the section begins before the one above it: sorted",
    ]


# ---- Runs again


def test_the_content_of_the_label_file_decides_what_is_finished(extract, labels, caplog, capsys):
    match = extract.match()
    assert extract.cut(match, "--sections", labels) == 0
    before = contents(extract.out)
    labels.touch()
    assert extract.cut(match, "--sections", labels) == 0
    assert capsys.readouterr().out.endswith("match: finished already and kept\n")
    labels.write_text("12,31\n45,60\n")
    assert extract.cut(match, "--sections", labels) == 1
    (message,) = caplog.messages
    assert message == (
        f"{extract.out / 'match.json'}: was made with other sections than {labels} has now: --overwrite replaces it "
        "and the match's other files, another --output_dir keeps them"
    )
    assert contents(extract.out) == before
    assert extract.cut(match, "--sections", labels, "--overwrite") == 0
    assert frames_in(extract.out / "match_highlights.mp4") == [*range(12, 31), *range(45, 60)]
    assert extract(match) == 1
    assert "was made with the sections of a label file and no --ckpt: --overwrite" in caplog.messages[-1]


def test_cutting_corrected_sections_keeps_the_scores_of_the_run_before(extract, labels, caplog):
    match = extract.match()
    assert extract(match) == 0
    before = extract.report()
    assert extract.cut(match, "--sections", labels) == 1
    assert f"was made with detected sections, not those of {labels}: --overwrite" in caplog.messages[-1]
    assert extract.cut(match, "--sections", labels, "--overwrite") == 0
    after = extract.report()
    same = ("checkpoint", "operating_point", "scored_with", "threshold", "segment_length", "step_scores")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert [section["start_frame"] for section in after["sections"]] == [12, 45]
    assert '"scores": [0.123457, 0.2, 0.9' in (extract.out / "match.html").read_text()
    assert extract.names() == all_files("match")
    for run in (extract.cut, extract):  # both find these files finished
        assert run(match, "--sections", labels) == 0
    assert extract(match, "--overwrite") == 0
    assert extract.scored == ["match"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("segment_length", 0),
        ("segment_length", 1e-300),
        ("operating_point", {"threshold": 5}),
        ("threshold", -1),
        ("threshold", "x"),
        ("step_scores", [[2]]),
    ],
)
def test_scores_of_the_run_before_that_are_damaged_are_left_out(extract, labels, name, value):
    match = extract.match()
    assert extract(match) == 0
    report = extract.report()
    (extract.out / "match.json").write_text(json.dumps({**report, name: value}))
    assert extract.cut(match, "--sections", labels, "--overwrite") == 0
    assert "step_scores" not in extract.report()
    assert frames_in(extract.out / "match_highlights.mp4") == [*range(12, 30), *range(45, 60)]


def test_a_label_file_in_the_output_folder_is_cut_and_never_replaced(extract):
    match = extract.match()
    assert extract(match) == 0
    labels = extract.out / "match.txt"
    labels.write_text("# 한글\n3,5\n".replace("# 한글\n", "\n"))
    before = labels.read_bytes()
    assert extract.cut(match, "--sections", labels, "--overwrite") == 0
    assert labels.read_bytes() == before
    assert frames_in(extract.out / "match_highlights.mp4") == [3, 4]
    for path in extract.out.iterdir():
        if path != labels:
            path.unlink()
    assert extract.cut(match, "--sections", extract.out) == 0  # alone it is no file of an earlier run
    assert (labels.read_bytes(), extract.names()) == (before, WITHOUT_SCORES)


def test_page_and_timeline_follow_the_labels_next_to_the_match(extract, capsys):
    match = extract.match()
    assert extract(match) == 0
    for text, labelled in (("30,62\n", "[[30, 62]]"), ("30,60\n", "[[30, 60]]"), (None, "null")):
        before = contents(extract.out)
        if text is None:
            match.with_suffix(".txt").unlink()
        else:
            match.with_suffix(".txt").write_text(text)
        assert extract(match) == 0
        after = contents(extract.out)
        assert f'"labelled": {labelled}' in (extract.out / "match.html").read_text()
        assert {name for name in after if after[name] != before[name]} == {
            "match.json",
            "match.html",
            "match_timeline.png",
        }
        capsys.readouterr()
        assert extract(match) == 0
        assert capsys.readouterr().out == "match: finished already and kept\n"
    assert extract.scored == ["match"]


def test_the_label_file_that_is_cut_is_not_shown_once_more(extract):
    match = extract.match()
    match.with_suffix(".txt").write_text("12,30\n")
    assert extract.cut(match, "--sections", match.with_suffix(".txt")) == 0
    assert '"labelled": null' in (extract.out / "match.html").read_text()


def test_a_timeline_without_scores_has_bars_for_sections_only():
    axes = Figure().add_subplot()
    plots.plot_timeline(axes, None, None, None, 60.0, None, np.array([[5.0, 9.0]]), np.array([[6.0, 10.0]]))
    found, labelled, shade = axes.collections
    boxes = [collection.get_paths()[0].get_extents() for collection in (found, labelled, shade)]
    assert [(box.x0, box.x1) for box in boxes] == [(5, 9), (6, 10), (5, 9)]
    assert axes.get_xlim() == (0, 60)


def write_undecided(labels, ranges, version=1):
    labels.with_name("match_undecided.json").write_text(json.dumps({"schema_version": version, "undecided": ranges}))


def test_undecided_time_next_to_the_labels_is_on_page_and_timeline(extract, labels, monkeypatch):
    monkeypatch.undo()  # the timeline is drawn
    drawn, plot = [], plots.plot_timeline
    monkeypatch.setattr(plots, "plot_timeline", lambda axes, *given: (plot(axes, *given), drawn.append(axes)))
    write_undecided(labels, [[0, 15], [50, 72]])
    assert extract.cut(extract.match(), "--sections", labels) == 0
    page = (extract.out / "match.html").read_text()
    assert '"stretches": [], "undecided": [[0, 15], [50, 72]]' in page  # the page divides it
    assert '"sections": [[12, 30], [45, 60]]' in page
    assert "undecided" in [text.get_text() for text in drawn[0].get_legend().get_texts()]
    assert extract.labels() == "12,30,00:00:00,00:00:01\n45,60,00:00:01,00:00:02\n"


def test_the_page_is_written_again_when_the_undecided_time_next_to_the_match_changes(extract):
    match = extract.match()
    labels = match.with_suffix(".txt")
    labels.write_text("12,30\n")
    for ranges in ([], [[0, 15]], [[0, 20]]):
        write_undecided(labels, ranges)
        assert extract(match) == 0
        assert f'"undecided": {ranges}' in (extract.out / "match.html").read_text()
    assert extract.scored == ["match"]


@pytest.mark.parametrize(
    ("ranges", "version", "message"),
    [
        ([], 2, "received undecided time of schema version 2, expected 1"),
        ([[72, 80]], 1, "received undecided time that begins at frame 72"),
    ],
)
def test_undecided_time_that_cannot_be_used_is_named_and_not_shown(extract, labels, caplog, ranges, version, message):
    write_undecided(labels, ranges, version)
    assert extract.cut(extract.match(), "--sections", labels) == 0
    (warning,) = [record.getMessage() for record in caplog.records if "undecided" in record.getMessage()]
    assert warning.startswith(f"{labels.with_name('match_undecided.json')}: {message}")
    assert warning.endswith(". The undecided time is not shown")
    assert '"undecided": []' in (extract.out / "match.html").read_text()
