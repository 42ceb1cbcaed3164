"""Check what label_next.py writes and prints for given signals: the table, the pages, messages and exit statuses."""

import csv
import json
import re
import shutil
import subprocess
import sys
import unicodedata
from dataclasses import asdict, replace
from pathlib import Path

import h5py
import numpy as np
import pytest

import label_next
from videosummarizer import media
from videosummarizer.dataset.metadata import DataConfig
from videosummarizer.extraction import label_choice, match_signals, stretch_page
from videosummarizer.extraction.match_signals import MatchSignals
from videosummarizer.extraction.reasons import Reasons
from videosummarizer.labels import read_label_file, resolve_sections
from videosummarizer.training import inference, network_features
from videosummarizer.training.checkpoint import (
    CheckpointError,
    read_checkpoint_attributes,
    write_checkpoint_attributes,
)

ROOT = Path(__file__).resolve().parent.parent
CONFIG = DataConfig(0.5, 2, 16, 16, 4000, False)
# Of a clip of 2.4 s: five segments of half a second, with one step each. A stretch is two segments long.
STEPS = {
    "sure": [0.01, 0.02, 0.01, 0.02, 0.01],
    "doubtful": [0.5, 0.6, 0.95, 0.97, 0.5],
    "경기": [0.02, 0.03, 0.45, 0.55, 0.02],
}


def signals_of(title):
    steps = np.array(STEPS[title])[:, np.newaxis]
    modality_steps = np.stack([steps, steps, 1 - steps], axis=1)
    features = np.eye(5, 4) + {"sure": 0.0, "doubtful": 5.0, "경기": -4.0}[title]
    parts = np.stack([steps - 0.5, 2 * steps], axis=2)
    reasons = Reasons(("audio", "video"), parts[:, 0], parts, ("motion",), 9 * steps[..., np.newaxis])
    return MatchSignals(steps, modality_steps, features, np.array([0.0, 1.0, 0.5]), np.array(2), reasons)


@pytest.fixture
def run(tmp_path, clip, monkeypatch):
    """Run the command on copies of a clip; returns its exit status. `run.scored` has the titles that were scored."""
    folder, ckpt = tmp_path / "matches", tmp_path / "best.hdf5"
    folder.mkdir()
    for title in (*STEPS, "labelled"):
        shutil.copy(clip, folder / f"{title}.mp4")
    (folder / "labelled.txt").write_text("1,20,00:00:00,00:00:00\n")
    with h5py.File(ckpt, "w"):
        pass
    point = {"threshold": 0.5, "section_penalty": 0.0}
    write_checkpoint_attributes(ckpt, {"config": asdict(CONFIG), "operating_point": point})

    def compute_signals(video_path, *arguments):
        run.scored.append(video_path.stem)
        return signals_of(video_path.stem)

    monkeypatch.setattr(match_signals, "compute_signals", compute_signals)
    monkeypatch.setattr(match_signals, "measure_reach", lambda network: (2, 1))
    monkeypatch.setattr(inference, "load_network", lambda checkpoint: None)
    monkeypatch.setattr(network_features, "add_features", lambda network: network)

    def run(*arguments, budget="0:02"):
        output = ["--ckpt", str(ckpt), "--output_dir", str(tmp_path / "out"), "--budget", budget]
        return label_next.main([str(folder), *output, *arguments])

    run.scored, run.folder, run.out, run.ckpt = [], folder, tmp_path / "out", ckpt
    return run


def rows_of(out):
    with open(out / "label_next.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def match_of_page(path):
    (content,) = re.findall(r'<script type="application/json" id="match">(.*?)</script>', path.read_text("utf-8"))
    return json.loads(content)


def test_the_table_has_the_stretches_of_unlabelled_matches_the_best_first(run, capsys):
    assert run() == 0
    output = capsys.readouterr().out
    assert "matches: 1 of 4 matches have a label file and are left out" in output
    assert "2 stretches of 2 matches, 00:00:01 of 00:00:07 without labels" in output
    assert sorted(run.scored) == sorted(STEPS)
    rows = rows_of(run.out)
    assert [(row["rank"], row["title"]) for row in rows] == [("1", "doubtful"), ("2", "경기")]
    assert list(rows[0]) == list(label_choice.TABLE_HEADER)
    for row in rows:  # whole segments: 15 frames each, 30 per second
        assert (int(row["start_frame"]) % 15, int(row["end_frame"]) - int(row["start_frame"])) in ((0, 30), (0, 27))
        signals, first = signals_of(row["title"]), int(row["start_frame"]) // 15
        scores = signals.steps[first : first + 2, 0]
        assert float(row["uncertainty"]) == pytest.approx((4 * scores * (1 - scores)).mean(), abs=1e-4)
        assert 0 < float(row["score"]) <= 1
    assert "close to the threshold" in rows[0]["reason"]
    assert "sure" not in {row["title"] for row in rows}
    assert {path.name for path in run.out.glob("*.html")} == {"doubtful_label_next.html", "경기_label_next.html"}


def test_a_page_proposes_the_sections_that_are_found_in_its_stretches(run):
    assert run(budget="0:09") == 0
    for title in STEPS:
        row_spans = [
            (int(row["start_frame"]), int(row["end_frame"])) for row in rows_of(run.out) if row["title"] == title
        ]
        is_chosen, is_found = np.zeros(72, bool), np.repeat(np.array(STEPS[title]) >= 0.5, 15)[:72]
        for start, end in row_spans:
            is_chosen[start:end] = True
        proposed = np.zeros(72, bool)
        for start, end in match_of_page(run.out / f"{title}_label_next.html")["sections"]:
            proposed[start:end] = True
        assert np.array_equal(proposed, is_chosen & is_found), title
    pages = [match_of_page(path) for path in run.out.glob("*.html")]
    assert [[0, 60]] in [page["sections"] for page in pages]  # across two stretches


def test_a_page_shows_what_the_scores_are_made_of(run):
    for _ in range(2):  # the second time, the signals are those of the first one
        assert run() == 0
        page = match_of_page(run.out / "doubtful_label_next.html")
        why = signals_of("doubtful").reasons
        assert page["reasons"]["parts"] == {"audio": why.steps[:, 0, 0].tolist(), "video": why.steps[:, 0, 1].tolist()}
        assert [measure["values"] for measure in page["reasons"]["measures"]] == [why.measured[:, 0, 0].tolist()]


def test_the_same_command_continues_with_what_is_scored(run, monkeypatch):
    compute = match_signals.compute_signals

    def interrupt(video_path, *arguments):
        if len(run.scored) == 2:
            raise KeyboardInterrupt
        return compute(video_path, *arguments)

    monkeypatch.setattr(match_signals, "compute_signals", interrupt)
    assert run() == 130
    assert not (run.out / "label_next.csv").exists()
    before = list(run.scored)
    monkeypatch.setattr(match_signals, "compute_signals", compute)
    assert run() == 0
    assert len(run.scored) == 3
    assert run.scored[:2] == before
    table = (run.out / "label_next.csv").read_bytes()
    assert run() == 0
    assert (len(run.scored), (run.out / "label_next.csv").read_bytes()) == (3, table)


def test_another_checkpoint_scores_the_matches_again(run):
    assert run() == 0
    write_checkpoint_attributes(run.ckpt, {"config": asdict(CONFIG)})
    assert run() == 0
    assert len(run.scored) == 6


def test_a_match_that_fails_costs_no_other(run, monkeypatch, caplog, capsys):
    compute = match_signals.compute_signals

    def fail(video_path, *arguments):
        if video_path.stem == "sure":
            raise RuntimeError("two\nlines")
        return compute(video_path, *arguments)

    monkeypatch.setattr(match_signals, "compute_signals", fail)
    (run.folder / "broken.mp4").write_bytes(b"no video")
    assert run() == 1
    assert [row["title"] for row in rows_of(run.out)] == ["doubtful", "경기"]
    with pytest.raises(media.MediaError) as raised:
        media.probe(run.folder / "broken.mp4")
    broken, sure = run.folder / "broken.mp4", run.folder / "sure.mp4"
    assert [record.message for record in caplog.records] == [
        media.describe_error(raised.value),
        f"{sure}: cannot be scored (RuntimeError: two lines): --debug shows where it comes from",
        f"2 of 4 matches failed: {broken}, {sure}",
    ]


def test_a_network_that_cannot_be_read_ends_the_command(run, monkeypatch, caplog):
    def fail(*arguments):
        raise CheckpointError(f"{run.ckpt}: the network in it is not one that main.py saved")

    monkeypatch.setattr(match_signals, "compute_signals", fail)
    assert run() == 1
    assert [record.message for record in caplog.records] == [
        f"{run.ckpt}: the network in it is not one that main.py saved"
    ]
    assert not (run.out / "label_next.csv").exists()


def test_a_page_that_cannot_be_written_costs_no_other(run, caplog):
    (run.out / "doubtful_label_next.html.part").mkdir(parents=True)
    assert run() == 1
    assert (run.out / "경기_label_next.html").exists()
    assert "doubtful_label_next.html: cannot be written" in caplog.text


def test_a_budget_below_the_length_of_a_stretch_is_refused(run, caplog):
    message = "--budget: received 00:00:00, expected at least 00:00:01, the length of a stretch"
    assert run(budget="0.8") == 1  # the last stretch of each match has 0.9 s
    assert caplog.records[0].message.startswith(message)
    assert run.scored == []
    assert not run.out.exists()
    assert run(budget="0.9") == 0
    caplog.clear()
    assert run(budget="0.8") == 1
    assert caplog.records[0].message.startswith(message)


def test_a_budget_is_compared_with_the_stretches_of_the_matches_that_can_be_scored(run, monkeypatch, caplog):
    compute = match_signals.compute_signals

    def fail(video_path, *arguments):
        if video_path.stem != "doubtful":
            raise RuntimeError("cannot be read")
        return compute(video_path, *arguments)

    monkeypatch.setattr(match_signals, "compute_signals", fail)
    mark_undecided(run.folder, "doubtful", "", [[0, 30]])
    assert run(budget="0.9") == 1
    assert caplog.records[-1].message.startswith("--budget: received 00:00:00, expected at least 00:00:01")


def test_pages_of_earlier_runs_are_named_and_kept(run, capsys):
    assert run(budget="0:09") == 0
    assert "pages of earlier runs" not in capsys.readouterr().out
    pages = {path.name: path.read_bytes() for path in run.out.glob("*.html")}
    (run.folder / "경기.txt").touch()
    assert run(budget="0:01") == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "2 pages of earlier runs are of matches without a stretch in this table: sure_label_next.html, "
        "경기_label_next.html. Nothing is deleted, as corrections made there may not be saved yet. Delete a page whose "
        "labels are saved: saving there again would replace newer labels"
    )
    assert {path.name for path in run.out.glob("*.html")} == set(pages)
    for title in ("sure", "경기"):
        assert (run.out / f"{title}_label_next.html").read_bytes() == pages[f"{title}_label_next.html"]
    (run.out / "sure_label_next.html").unlink()
    (run.out / "경기_label_next.html").rename(run.out / unicodedata.normalize("NFD", "경기_label_next.html"))
    (run.folder / "경기.txt").unlink()
    assert run(budget="0:09") == 0
    assert "pages of earlier runs" not in capsys.readouterr().out


def test_of_many_pages_of_earlier_runs_some_are_named(tmp_path):
    paths = [tmp_path / f"{number:02}_label_next.html" for number in range(12)]
    for path in paths:
        path.touch()
    (tmp_path / "label_next.csv").touch()
    found = stretch_page.find_earlier_pages(tmp_path, {"00"})
    assert found == paths[1:]
    assert "09_label_next.html, 10_label_next.html, and 1 more. Nothing is" in stretch_page.describe_earlier_pages(
        found
    )
    assert stretch_page.describe_earlier_pages(paths[:1]).startswith("1 page of an earlier run is of a match without")


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: shutil.rmtree(folder), "matches: no such folder, expected one with videos of matches"),
        (
            lambda folder: [path.unlink() for path in folder.glob("*.mp4")],
            "matches: received a folder without a video, expected videos of matches",
        ),
        (
            lambda folder: [path.with_suffix(".txt").touch() for path in folder.glob("*.mp4")],
            "matches: every match has a label file: add matches without one",
        ),
    ],
)
def test_a_folder_with_nothing_to_label_is_refused(run, caplog, prepare, message):
    prepare(run.folder)
    assert run() == 1
    assert [record.message for record in caplog.records] == [f"{run.folder.parent}/{message}"]
    assert not run.out.exists()


def test_names_that_cannot_be_used_are_refused_alone(run, caplog, clip):
    shutil.copy(clip, run.folder / f"{'x' * 235}.mp4")
    assert run() == 1
    assert len(rows_of(run.out)) == 2
    assert "received a title of 235 bytes, expected at most 234" in caplog.text
    shutil.copy(clip, run.folder / "doubtful_undecided.mp4")
    assert run() == 1
    assert "doubtful_undecided.json is the undecided time of that match: rename the file" in caplog.text


def test_a_missing_checkpoint_is_named(run, caplog):
    run.ckpt.unlink()
    assert run() == 1
    assert f"{run.ckpt}: no such file, expected a .hdf5 file that main.py saved" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["matches"], "the following arguments are required: --ckpt"),
        (["matches", "--ckpt", "a", "--budget", "soon"], "argument --budget: received 'soon', expected a length"),
    ],
)
def test_wrong_arguments_are_named(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit_info:
        label_next.main(arguments)
    assert exit_info.value.code == 2
    assert message in capsys.readouterr().err


def test_help_does_not_load_tensorflow():
    code = (
        "import sys, label_next\ntry: label_next.main(['--help'])\nexcept SystemExit: pass\n"
        "assert not {'keras', 'tensorflow', 'librosa', 'matplotlib'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "usage: label_next.py" in result.stdout
    assert label_next.parse_args(["matches", "--ckpt", "a"]).budget == 1800


def mark_undecided(folder, title, labels, undecided):
    (folder / f"{title}.txt").write_text(labels)
    (folder / f"{title}_undecided.json").write_text(json.dumps({"schema_version": 1, "undecided": undecided}))


def test_undecided_time_of_a_labelled_match_is_read_like_that_of_others(run, capsys):
    # The first second is decided, with a section; the rest of the 72 frames is not.
    mark_undecided(run.folder, "doubtful", "5,20,00:00:00,00:00:00\n", [[30, 72]])
    assert run(budget="0:09") == 0
    assert "2 of 4 matches have a label file and are left out, apart from the undecided time of 1" in (
        capsys.readouterr().out
    )
    spans = [(int(row["start_frame"]), int(row["end_frame"])) for row in rows_of(run.out) if row["title"] == "doubtful"]
    assert spans == [(30, 60)] or spans == [(45, 72)]
    match = match_of_page(run.out / "doubtful_label_next.html")
    assert match["undecided"] == [[30, 72]]
    assert match["sections"][0] == [5, 20]  # it is saved again
    proposed = np.zeros(72, bool)
    for start, end in match["sections"][1:]:
        proposed[start:end] = True
    is_chosen = np.zeros(72, bool)
    is_chosen[slice(*spans[0])] = True
    assert np.array_equal(proposed, is_chosen & np.repeat(np.array(STEPS["doubtful"]) >= 0.5, 15)[:72])
    assert match_of_page(run.out / "sure_label_next.html")["undecided"] == [[0, 72]]


def test_a_labelled_section_that_reaches_into_a_stretch_is_not_proposed_again(run):
    mark_undecided(run.folder, "doubtful", "20,50,00:00:00,00:00:01\n", [[30, 72]])
    assert run(budget="0:09") == 0
    sections = match_of_page(run.out / "doubtful_label_next.html")["sections"]
    assert sections[0] == [20, 50]
    assert all(start >= 50 for start, _ in sections[1:])


def test_the_rest_of_a_section_that_was_cut_at_its_stretch_is_proposed_and_joins_it_in_training(run):
    mark_undecided(run.folder, "doubtful", "15,45,00:00:00,00:00:01\n", [[0, 15], [45, 72]])
    assert run(budget="0:09") == 0
    page = match_of_page(run.out / "doubtful_label_next.html")
    assert page["sections"] == [[15, 45], [45, 72]]
    path = run.folder / "doubtful.txt"
    path.write_text("15,45,00:00:00,00:00:01\n45,72,00:00:01,00:00:02\n")  # as the page saves them
    info = media.probe(run.folder / "doubtful.mp4")
    sections_sec, _ = resolve_sections(path, read_label_file(path), info.frame_times_sec, info.duration_sec)
    assert sections_sec.tolist() == [[pytest.approx(0.5), pytest.approx(2.4)]]


def test_damaged_undecided_time_costs_only_its_match(run, caplog):
    (run.folder / "doubtful.txt").touch()
    (run.folder / "doubtful_undecided.json").write_text("{")
    assert run() == 1
    assert caplog.records[0].message.startswith(
        f"{run.folder / 'doubtful_undecided.json'}: cannot be read as undecided"
    )
    assert len(rows_of(run.out)) == 2


def test_no_stretch_that_is_undecided_is_one_line(run, caplog):
    for title in STEPS:
        mark_undecided(run.folder, title, "", [[0, 15]])
    assert run() == 1
    assert [record.message for record in caplog.records] == [
        "no stretch of 1 s is undecided: add matches without a label file"
    ]
    assert run.scored == []


def test_a_match_unlike_those_of_training_is_named_each_time(run, monkeypatch, caplog, capsys):
    assert run() == 0
    note = f"{run.ckpt}: holds no statistics of the matches that it was trained with, so no warning says"
    assert capsys.readouterr().out.count(note) == 1
    attributes = read_checkpoint_attributes(run.ckpt)
    statistics = {"schema_version": 1, "matches": 7, "shortest_sec": 2.0, "statistics": {}}
    write_checkpoint_attributes(run.ckpt, attributes | {"training_statistics": statistics})
    compute = match_signals.compute_signals

    def compute_signals(video_path, *arguments):
        found = ("no audio, or constant audio", "black bars") if video_path.stem == "sure" else ()
        return replace(compute(video_path, *arguments), unlike_training=found)

    monkeypatch.setattr(match_signals, "compute_signals", compute_signals)
    expected = (
        f"{run.folder / 'sure.mp4'}: unlike the 7 matches that the checkpoint was trained with: no audio, or constant "
        "audio; black bars. Its scores may be wrong"
    )
    for num_scored in (6, 6):  # the second time, the signals are those of the first one
        caplog.clear()
        assert run() == 0
        assert len(run.scored) == num_scored
        (warning,) = caplog.messages
        assert warning.startswith(expected)
    assert note not in capsys.readouterr().out
