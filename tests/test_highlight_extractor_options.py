"""The extractor's options, each by what it changes; and what the command shows."""

from pathlib import Path

import numpy as np
import pytest
from clips import frames_in, write_clip
from extractor import LABELS, POINT, all_files

import highlight_extractor
from highlight_extractor import parse_args
from videosummarizer import media
from videosummarizer.extraction import label_sections, progress_bar


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("silent") / "clip.mp4", num_frames=72)


@pytest.mark.parametrize(
    ("arguments", "labels", "threshold"),
    [
        (["--threshold", "0"], "0,72,00:00:00,00:00:02\n", 0),
        (["--threshold", "0.876543"], "15,30,00:00:00,00:00:01\n", 0.876543),
        (["--threshold", "0.876544"], "15,23,00:00:00,00:00:00\n", 0.876544),
        (["--padding", "0.1"], "12,41,00:00:00,00:00:01\n57,72,00:00:01,00:00:02\n", 0.5),
        (["--padding", "0.1", "--threshold", "0.65"], "12,33,00:00:00,00:00:01\n57,71,00:00:01,00:00:02\n", 0.65),
        # At 0.7 are 0.5 s and 0.25 s, of which the first 0.1 s complete the length.
        (["--length", "0.6"], "15,30,00:00:00,00:00:01\n60,63,00:00:02,00:00:02\n", 0.7),
        # Padded, the best section alone is long enough; its best 0.6 s begin with it and end in 0.5, not in 0.2.
        (["--length", "0:00.6", "--padding", "0.1"], "15,33,00:00:00,00:00:01\n", 0.876543),
    ],
)
def test_each_option_changes_the_selected_sections(extract, arguments, labels, threshold):
    assert extract(extract.match(), *arguments) == 0
    assert extract.labels() == labels
    if "--length" in arguments:  # searched to a thousandth of a nat
        assert extract.report()["threshold"] <= threshold
        threshold = pytest.approx(threshold, abs=3e-4)
    assert extract.report()["threshold"] == threshold
    expected = [frame for row in labels.split() for frame in range(*map(int, row.split(",")[:2]))]
    assert frames_in(extract.out / "match_highlights.mp4") == expected


def test_the_checkpoints_operating_point_holds_but_for_the_threshold(extract):
    # The last 0.4 s hold 0.21 and 0.06 nats x seconds.
    ckpt = extract.write_checkpoint("point.hdf5", POINT | {"section_penalty": 0.27})
    assert extract(extract.match(), ckpt=ckpt) == 0
    assert extract.labels() == LABELS
    dear = extract.write_checkpoint("dear.hdf5", POINT | {"section_penalty": 0.28})
    assert extract(extract.match("other"), ckpt=dear) == 0
    assert extract.labels("other") == "15,38,00:00:00,00:00:01\n"
    # At 0.3, the dip to 0.2 and 0.25 holds 0.20 nats x seconds against a highlight.
    assert extract(extract.match("third"), "--threshold", "0.3", ckpt=dear) == 0
    assert extract.labels("third") == "15,72,00:00:00,00:00:02\n"
    assert extract(extract.match("fourth"), "--threshold", "0.3") == 0
    assert extract.labels("fourth") == "15,45,00:00:00,00:00:01\n60,72,00:00:02,00:00:02\n"
    # With a length, too: just below 0.5, 0.75 s of the first section are found, and the end is not worth the penalty.
    assert extract(extract.match("fifth"), "--length", "0.7", ckpt=dear) == 0
    assert extract.labels("fifth") == "15,36,00:00:00,00:00:01\n"


def test_the_reel_has_the_height_that_is_asked_for(extract):
    assert extract(extract.match("first"), "--reel_height", "32") == 0
    assert extract(extract.match("second")) == 0
    sizes = [media.probe(extract.out / f"{title}_highlights.mp4") for title in ("first", "second")]
    assert [(info.width_px, info.height_px) for info in sizes] == [(80, 32), (160, 64)]


def test_files_go_to_the_folder_highlights_by_default(extract, monkeypatch):
    match = extract.match()
    monkeypatch.chdir(extract.folder)
    assert highlight_extractor.main([str(match), "--ckpt", str(extract.ckpt)]) == 0
    assert {path.name for path in Path("highlights").iterdir()} == all_files("match")
    arguments = [str(match), "--ckpt", str(extract.ckpt), "--output_dir", "new/folder"]
    assert highlight_extractor.main(arguments) == 0
    assert {path.name for path in Path("new/folder").iterdir()} == all_files("match")


def test_what_is_not_given_has_a_default():
    expected = {
        "videos": [Path("a.mp4"), Path("b.mp4")],
        "ckpt": Path("best.hdf5"),
        "sections": None,
        "clips": False,
        "output_dir": Path("highlights"),
        "threshold": None,
        "length": None,
        "padding": 0.0,
        "reel_height": None,
        "overwrite": False,
        "debug": False,
    }
    assert vars(parse_args(["a.mp4", "b.mp4", "--ckpt", "best.hdf5"])).items() >= expected.items()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("threshold", "0", 0),
        ("threshold", "1", 1),
        ("padding", "0", 0),
        ("padding", "2.5", 2.5),
        ("reel_height", "2", 2),
        ("reel_height", "4320", 4320),
        ("length", "8:00", 480),
        ("length", "1:02:30", 3750),
        ("length", "90", 90),
        ("length", "0.5", 0.5),
    ],
)
def test_values_at_their_limits_are_taken(name, text, value):
    received = getattr(parse_args(["a.mp4", "--ckpt", "best.hdf5", f"--{name}", text]), name)
    assert received == value
    assert isinstance(received, int) == (name == "reel_height")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.mp4", "--threshold", "1.001"], "received '1.001', expected a number from 0 to 1"),
        (["a.mp4", "--threshold=-0.001"], "received '-0.001', expected a number from 0 to 1"),
        (["a.mp4", "--threshold", "nan"], "received 'nan', expected a number from 0 to 1"),
        (["a.mp4", "--threshold", "high"], "received 'high', expected a number from 0 to 1"),
        (["a.mp4", "--padding=-0.001"], "received '-0.001', expected a number of 0 or more"),
        (["a.mp4", "--padding", "inf"], "--padding: received 'inf', expected a number of 0 or more and below 1e9"),
        (["a.mp4", "--padding", "1e999"], "--padding: received '1e999', expected a number of 0 or more and below 1e9"),
        (["a.mp4", "--padding", "nan"], "--padding: received 'nan', expected a number of 0 or more"),
        (["a.mp4", "--threshold", "inf"], "--threshold: received 'inf', expected a number from 0 to 1"),
        (["a.mp4", "--length", "9" * 400], "--length: received '9999"),
        (["a.mp4", "--padding", "much"], "received 'much', expected a number of 0 or more"),
        (["a.mp4", "--reel_height", "1"], "received '1', expected a whole number from 2 to 4320"),
        (["a.mp4", "--reel_height", "4321"], "received '4321', expected a whole number from 2 to 4320"),
        (["a.mp4", "--length=-1"], "expected a length such as 8:00, 1:02:30 or 90 (seconds)"),
        (["a.mp4", "--length", "1:60"], "expected a length such as 8:00, 1:02:30 or 90 (seconds)"),
        ([], "the following arguments are required: MATCH.mp4"),
    ],
)
def test_values_past_their_limits_are_refused(capsys, arguments, words):
    with pytest.raises(SystemExit) as exit_info:
        parse_args([*arguments, "--ckpt", "best.hdf5"])
    assert exit_info.value.code == 2
    assert words in capsys.readouterr().err


# ---- Several matches


def test_the_network_is_loaded_once_and_only_where_something_is_scored(extract, caplog):
    matches = [extract.match("first"), extract.match("second")]
    assert extract(*matches) == 0
    assert caplog.messages == []
    assert (extract.scored, extract.loaded) == (["first", "second"], ["best.hdf5"])
    assert extract(*matches, "--overwrite", "--threshold", "0.8") == 0
    assert (extract.scored, extract.loaded) == (["first", "second"], ["best.hdf5"])


def test_a_match_that_is_given_twice_is_looked_through_once(extract, capsys):
    match = extract.match()
    assert extract(match, match, "--overwrite") == 0
    assert extract.scored == ["match"]
    assert capsys.readouterr().out.count("2 sections") == 1


def test_files_would_not_go_where_a_match_lies_by_another_name_of_the_folder(extract, caplog, monkeypatch):
    (extract.folder / "sub").mkdir()
    match = extract.match()
    extract.out = extract.folder / "sub" / ".."
    assert extract(extract.folder / "sub" / "gone.mp4", match) == 1
    assert [message.split(": ")[:2] for message in caplog.messages] == [
        ["--output_dir", f"received {extract.out}, the folder of match.mp4"],
        [str(extract.folder / "sub" / "gone.mp4"), "no such file, expected the video of a match"],
        ["2 of 2 matches failed", f"{match}, {extract.folder / 'sub' / 'gone.mp4'}"],
    ]


def test_matches_of_one_title_are_both_named(extract, caplog):
    (extract.folder / "sub").mkdir()
    match, twin = extract.match(), extract.match("sub/match")
    assert extract(match, twin) == 1
    assert [message[: message.index(": their files")] for message in caplog.messages] == [
        f"{match}: received 2 matches with the title match, also {twin}",
        f"{twin}: received 2 matches with the title match, also {match}",
    ]
    assert not extract.out.exists()
    other = extract.match("other")
    assert extract(match, other, twin) == 1
    assert caplog.messages[-1] == f"2 of 3 matches failed: {match}, {twin}"
    assert extract.names() == all_files("other")


# ---- What is shown


def test_the_command_shows_what_was_selected_and_where_it_is(extract, capsys, caplog):
    match, out = extract.match(), extract.out
    assert extract(match, "--threshold", "0.8") == 0
    assert capsys.readouterr().out == (
        "match: 1 section, 00:00:00 of 00:00:02\n"
        f"  reel      {out / 'match_highlights.mp4'}\n"
        f"  page      {out / 'match.html'}\n"
        f"  timeline  {out / 'match_timeline.png'}\n"
    )
    assert caplog.messages == []
    assert extract(match, "--threshold", "0.95", "--overwrite") == 0
    assert capsys.readouterr().out == (
        "match: 0 sections, 00:00:00 of 00:00:02\n"
        f"  page      {out / 'match.html'}\n"
        f"  timeline  {out / 'match_timeline.png'}\n"
    )
    assert caplog.messages == [
        f"{match}: no section is found: the highest score in context is 0.900, below the threshold of 0.950. Lower "
        "--threshold or ask for a --length"
    ]
    assert extract.names() == {f"match{e}" for e in (".json", "_scores.csv", ".txt", ".vtt", ".html", "_timeline.png")}


class Bar:
    """Takes the place of tqdm's progress bar."""

    shown = ()

    def __init__(self, total, desc, bar_format, leave):
        self.total, self.desc, self.n, self.leave = total, desc, 0, leave
        Bar.shown.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *arguments):
        pass

    def update(self, seconds):
        self.n += seconds


def test_bars_count_the_seconds_that_are_scored_and_cut_and_never_more(extract, monkeypatch):
    monkeypatch.setattr(Bar, "shown", [])
    monkeypatch.setattr(progress_bar, "tqdm", Bar)
    assert extract(extract.match()) == 0
    scoring, cutting = Bar.shown
    # 2.5 s of segments are read, of a match of 2.4 s.
    assert (scoring.desc, scoring.total, scoring.n) == ("Scoring", pytest.approx(2.4), pytest.approx(2.4))
    assert (cutting.desc, cutting.total, cutting.n) == ("Cutting", pytest.approx(35 / 30), pytest.approx(35 / 30))
    assert not scoring.leave


@pytest.mark.parametrize("is_usual", [True, False])
def test_a_frame_rate_that_is_none_of_timecode_is_named_once(extract, caplog, is_usual):
    # 24 frames at 30 fps, 12 at 10 fps, and 13 at 30 fps.
    ticks = list(range(72)) if is_usual else [*range(24), *range(24, 60, 3), *range(60, 72)]
    match = write_clip(extract.folder / "vfr.mp4", ticks=ticks)
    assert extract(match) == 0
    if is_usual:
        assert caplog.messages == []
    else:
        (message,) = caplog.messages
        assert message == (
            f"{match}: its frame rate (20 per second) is not a timecode rate: the files for editing software cut at "
            "the nearest frame at 30 per second"
        )


def test_labels_by_time_are_shown_as_frames_next_to_detected_sections(extract):
    match = extract.match()
    match.with_suffix(".txt").write_text("00:00:01.0,00:00:02.05\n")
    assert extract(match) == 0
    page = (extract.out / "match.html").read_text()
    assert '"sections": [[15, 38], [60, 72]], "labelled": [[30, 62]]' in page
    assert extract.labels() == LABELS
    assert match.with_suffix(".txt").read_text() == "00:00:01.0,00:00:02.05\n"


def test_without_a_label_file_nothing_is_shown_as_labelled(extract):
    match = extract.match()
    info = media.probe(match)
    assert label_sections.read_labelled_sections(match, info) is None
    match.with_suffix(".txt").write_text("")
    np.testing.assert_array_equal(label_sections.read_labelled_sections(match, info), np.empty((0, 2)))
