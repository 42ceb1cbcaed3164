"""Cross-validation: each match is tested once, by a network that has not seen it, and an interrupted run continues."""

import csv
import json
import logging
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import LABELS
from test_data_loader import write_dataset

import main as trainer
import model
from data_loader import DataLoader
from videosummarizer.dataset.split import fold_of
from videosummarizer.evaluation import metrics
from videosummarizer.evaluation.operating_point import ScoredMatch, choose_operating_point
from videosummarizer.training import folds, testing
from videosummarizer.training.checkpoint import CheckpointError, read_checkpoint_attributes, write_checkpoint_attributes
from videosummarizer.training.trained_split import read_trained_split
from videosummarizer.training.validation import TrainingError

NUM_FOLDS = 3
TESTED = {n: [title for title in sorted(LABELS) if fold_of(title, NUM_FOLDS) == n] for n in (1, 2, 3)}
FLAGS = ["--folds", str(NUM_FOLDS), "--epochs", "1", "--batch_size", "4"]


def run(dataset_dir, ckpt_dir, *flags):
    return trainer.main(["--data_dir", str(dataset_dir), "--ckpt_dir", str(ckpt_dir), *FLAGS, *flags])


@pytest.fixture(scope="module")
def trained(dataset_dir, tmp_path_factory):
    """A finished run of folds of the small network: its folder, and the titles that each training saw."""
    from small_network import build_small_network

    ckpt_dir, seen = tmp_path_factory.mktemp("folds"), []
    plain = trainer.train
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "build_model", build_small_network)
        patch.setattr(trainer, "train", lambda args, loader: seen.append(dict(loader.subset_of)) or plain(args, loader))
        assert run(dataset_dir, ckpt_dir) == 0
    return SimpleNamespace(ckpt_dir=ckpt_dir, seen=seen)


def predictions_of(ckpt_dir):
    with open(ckpt_dir / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return {title: [float(row["score"]) for row in rows if row["title"] == title] for title in LABELS}


def test_each_match_is_tested_once_by_a_network_that_has_not_seen_it(trained, dataset_dir):
    assert len(TESTED[1]) + len(TESTED[2]) + len(TESTED[3]) == len(trained.seen[0]) == 6
    report = json.loads((trained.ckpt_dir / "test_report.json").read_text())
    assert report["videos"] == sorted(LABELS)
    assert report["model"]["per_segment"]["segments"] == sum(map(len, LABELS.values()))
    assert len(report["model"]["intervals"]["per_segment"]["f1"]) == 2
    predicted = predictions_of(trained.ckpt_dir)
    for number, subset_of in enumerate(trained.seen, 1):
        assert [title for title, subset in sorted(subset_of.items()) if subset == "test"] == TESTED[number]
        loader = DataLoader(dataset_dir, fold=(number, NUM_FOLDS))
        (ckpt_path,) = (trained.ckpt_dir / f"fold_{number}").glob("*.hdf5")
        for match in testing.score(loader, str(ckpt_path), "test")[0]:
            np.testing.assert_allclose(predicted[match.title], match.scores, atol=1e-5)


def test_the_operating_point_is_chosen_on_all_scores_and_kept_with_the_last_folds_network(trained, dataset_dir):
    report = json.loads((trained.ckpt_dir / "test_report.json").read_text())
    assert (report["subset"], report["folds"]) == ("all folds", NUM_FOLDS)
    assert report["operating_point_chosen_on"] == "the scores of all folds"
    finished = []
    for number in range(1, NUM_FOLDS + 1):
        loader = DataLoader(dataset_dir, fold=(number, NUM_FOLDS))
        (ckpt_path,) = (trained.ckpt_dir / f"fold_{number}").glob("*.hdf5")
        finished += testing.score(loader, str(ckpt_path), "test")[0]
    point = choose_operating_point(sorted(finished, key=lambda match: match.title))
    assert report["model"]["operating_point"] == pytest.approx(vars(point), abs=1e-6)
    (ckpt_path,) = trained.ckpt_dir.glob("*.hdf5")
    last = trained.ckpt_dir / "fold_3" / ckpt_path.name
    attributes, of_last = read_checkpoint_attributes(ckpt_path), read_checkpoint_attributes(last)
    assert attributes.pop("operating_point") == report["model"]["operating_point"]
    of_last.pop("operating_point")
    assert attributes == of_last
    assert attributes["fold"] == [3, 3]
    assert "split" not in attributes


def test_each_match_unlike_those_of_its_folds_training_is_named_once(trained, dataset_dir, tmp_path, caplog):
    ckpt_dir = shutil.copytree(trained.ckpt_dir, tmp_path / "folds")
    report = json.loads((ckpt_dir / "test_report.json").read_text())
    assert report["unlike_training"] == {}
    (path,) = (ckpt_dir / "fold_2").glob("*.hdf5")
    attributes = read_checkpoint_attributes(path)
    attributes["training_statistics"]["statistics"]["frame_rate"]["mean"] -= 1
    write_checkpoint_attributes(path, attributes)
    assert run(dataset_dir, ckpt_dir, "--resume") == 0  # the finished folds are kept, and their matches named
    report = json.loads((ckpt_dir / "test_report.json").read_text())
    assert report["unlike_training"] == {title: ["30 frames per second (there 15)"] for title in TESTED[2]}
    assert [text.partition(": unlike the ")[0] for text in caplog.messages if "unlike" in text] == TESTED[2]


def test_the_list_of_doubts_names_each_label(trained):
    with open(trained.ckpt_dir / "label_doubts.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    labelled = [row["title"] for row in rows if row["label"] == "1"]
    assert sorted(labelled) == [title for title in sorted(LABELS) if title != "match_10"]
    doubts = [float(row["doubt"]) for row in rows]
    assert doubts == sorted(doubts, reverse=True)
    assert b"Labels that the scores contradict most" in (trained.ckpt_dir / "label_doubts.html").read_bytes()


def test_a_folds_checkpoint_is_tested_on_its_own_matches_only(trained, dataset_dir, tmp_path, caplog):
    (ckpt_path,) = trained.ckpt_dir.glob("*.hdf5")
    test = ["--mode", "test", "--ckpt", str(ckpt_path), "--data_dir", str(dataset_dir)]
    args = trainer.parse_args(test)
    loader = trainer.load_data(args)
    assert sorted(title for title, subset in loader.subset_of.items() if subset == "test") == TESTED[3]
    assert trainer.main([*test, "--split", "0.5", "0.2"]) == 1
    assert f"--split: received [0.5, 0.2], expected --folds 3 as {ckpt_path} was trained with" in caplog.text


@pytest.mark.parametrize("fold", [[0, 3], [4, 3], [1, 2], [1, 51], [1.0, 3], [True, 3], [1], "1", None, {"1": 3}])
def test_a_fold_that_no_run_has_is_refused(dataset_dir, trained, tmp_path, fold):
    (ckpt_path,) = trained.ckpt_dir.glob("*.hdf5")
    shutil.copy(ckpt_path, tmp_path / "x.hdf5")
    write_checkpoint_attributes(tmp_path / "x.hdf5", read_checkpoint_attributes(ckpt_path) | {"fold": fold})
    with pytest.raises(CheckpointError, match="received a checkpoint with the split "):
        read_trained_split(tmp_path / "x.hdf5", dataset_dir, None)


def test_an_interrupted_run_keeps_the_finished_folds(
    trained, small_network, dataset_dir, tmp_path, monkeypatch, caplog, capsys
):
    plain_train, trained_folds = trainer.train, []

    def train(args, loader):
        trained_folds.append(loader.fold[0])
        path = plain_train(args, loader)
        if stop_after == loader.fold[0]:
            raise KeyboardInterrupt
        return path

    monkeypatch.setattr(trainer, "train", train)
    stop_after = 2  # once its epochs are done, before it is scored
    assert run(dataset_dir, tmp_path) == 130
    (tmp_path / "fold_3").mkdir()
    (tmp_path / "fold_3" / "ckpt-20261124-120000-0001-0.4321.hdf5").write_bytes(b"killed in its first epoch")
    assert run(dataset_dir, tmp_path) == 1
    assert "continue that run with --resume" in caplog.messages[-1]
    stop_after = None
    assert run(dataset_dir, tmp_path, "--resume", "--seed", "3") == 1
    assert "fold_scores.npz: this run was started with --seed 0, received --seed 3" in caplog.messages[-1]
    assert trained_folds == [1, 2]
    assert run(dataset_dir, tmp_path, "--resume") == 0
    assert trained_folds == [1, 2, 2, 3]
    assert "Resuming after epoch 1 of 1" in capsys.readouterr().out  # the second fold's
    assert predictions_of(tmp_path) == predictions_of(trained.ckpt_dir)  # to the last digit
    assert len(list((tmp_path / "fold_3").glob("*.hdf5"))) == 1
    # Damaged scores are computed again.
    (tmp_path / "fold_1" / "fold_scores.npz").write_bytes(b"junk")
    assert run(dataset_dir, tmp_path, "--resume") == 0
    assert trained_folds == [1, 2, 2, 3, 1]
    assert predictions_of(tmp_path) == predictions_of(trained.ckpt_dir)


def test_folds_that_cannot_be_trained_are_refused_before_the_first(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(trainer, "train", lambda args, loader: pytest.fail("too early"))
    folder = write_dataset(tmp_path / "few", {"match_07": [0, 1], "match_08": [0, 1], "match_09": [0, 1]})
    assert run(folder, tmp_path / "ckpt") == 1
    assert re.search(
        r"expected segments of both classes in train and valid, but .*\(--folds 3, here fold \d\): ", caplog.text
    )
    assert not (tmp_path / "ckpt").exists()


def test_a_folder_without_folds_is_not_resumed(dataset_dir, tmp_path, caplog):
    (tmp_path / "test_report.json").write_bytes(b"of another run")
    assert run(dataset_dir, tmp_path, "--resume") == 1
    assert caplog.messages[-1] == f"{tmp_path}: no fold to resume, no fold was started: train without --resume"
    assert (tmp_path / "test_report.json").read_bytes() == b"of another run"


def test_copies_in_two_folds_are_named(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(trainer, "test_folds", lambda args: ([], "x.hdf5"))
    folder = write_dataset(tmp_path / "series", {title: [0, 1] for title in LABELS})
    assert run(folder, tmp_path / "ckpt", "--group_by", "^match", "--init_ckpt", "old.hdf5") == 0
    (series,) = (message for message in caplog.messages if message.startswith("series"))
    parts = [f"fold {number}: {', '.join(titles)}" for number, titles in TESTED.items() if titles]
    assert series == f"series 'match' is in {len(parts)} subsets: {'; '.join(parts)}"
    assert "--init_ckpt: the folds test it fairly only if it was trained without these matches" in caplog.messages
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


# ---- Figures


def make_fold(number, titles, level, has_levels=True):
    """A fold whose network gives the score `level` in highlights and a tenth of it elsewhere."""
    steps = np.where(np.arange(20).reshape(10, 2) // 4 == 1, level, level / 10)
    sections = np.array([[4.0, 8.0]])
    labels = (np.arange(10) // 2 == 1).astype(int)
    scored = [ScoredMatch(title, 2.0, 20.0, labels, sections, steps.mean(1), steps) for title in titles]
    return folds.Fold(number, f"fold_{number}/ckpt-{number}.hdf5", scored, scored if has_levels else None)


def test_the_report_is_of_the_matches_of_all_folds_by_title():
    finished = [make_fold(1, ["b", "d"], 0.9), make_fold(2, ["c", "a"], 0.8)]
    report, scored, point = folds.combine(finished, 2, "matches")
    assert report["videos"] == [match.title for match in scored] == ["a", "b", "c", "d"]
    assert report["checkpoint"] == ["fold_1/ckpt-1.hdf5", "fold_2/ckpt-2.hdf5"]
    assert report["model"]["operating_point"] == vars(point)
    assert report["model"]["per_event"]["iou_0.5"]["f1"] == report["loudness"]["per_event"]["iou_0.5"]["f1"] == 1
    assert len(folds.levels_of(finished)) == 40
    text = folds.format_report(report)
    assert text.startswith(
        "All folds: 4 videos, 40 segments, 8 highlights, 4 labelled sections\nOperating point, chosen on"
    )
    assert "Each of these 4 matches was scored by a network that was trained without it: expect such" in text
    without = [finished[0], make_fold(2, ["a"], 0.8, has_levels=False)]
    assert folds.combine(without, 2, "matches")[0]["loudness"] is None
    assert folds.levels_of(without) is None


def test_the_operating_point_of_the_other_folds_may_do_worse():
    # Scores of the second fold are so low that no threshold of the first finds anything.
    finished = [make_fold(1, ["a"], 0.9), make_fold(2, ["b"], 0.05)]
    f1 = folds.cross_fitted_f1(finished)
    expected = []
    for fold, other in (finished, finished[::-1]):
        point = choose_operating_point(other.scored)
        expected += [fold.scored[0].predicted_sections_sec(point)]
    references = [fold.scored[0].sections_sec for fold in finished]
    assert f1 == {
        name: metrics.evaluate_events(references, expected, iou)["f1"]
        for name, iou in (("iou_0.3", 0.3), ("iou_0.5", 0.5))
    }
    assert f1["iou_0.5"] < 1
    assert folds.cross_fitted_f1(finished[:1]) is None


def test_a_report_without_loudness_is_formatted():
    report, *_ = folds.combine([make_fold(1, ["a", "b"], 0.9, has_levels=False)], 3, "matches")
    assert "other folds" not in folds.format_report(report)


def test_a_network_whose_scores_are_not_numbers_is_named(trained, dataset_dir, monkeypatch):
    monkeypatch.setattr(testing.validation, "predict", lambda network, loader, subset: (np.full(2, np.nan),) * 2)
    (ckpt_path,) = (trained.ckpt_dir / "fold_1").glob("*.hdf5")
    with pytest.raises(TrainingError, match="test: the network's scores are not numbers"):
        folds.score(DataLoader(dataset_dir, fold=(1, 3)), str(ckpt_path), {})
