"""The test of a checkpoint: which matches, labels and operating points a figure of the report is of."""

import csv
import json
import pickle

import numpy as np
import pytest
import sklearn.metrics
from conftest import LABELS, TITLES
from small_network import build_fused_network, outputs_of

import main as trainer
from data_loader import DataLoader
from videosummarizer.training import testing, validation
from videosummarizer.training.checkpoint import write_checkpoint_attributes
from videosummarizer.training.training_statistics import summarise
from videosummarizer.training.validation import TrainingError

POINT = {"threshold": 0.6, "section_penalty": 0.5}
LOUDNESS_POINT = {"threshold": 0.2, "section_penalty": 0.0}


@pytest.fixture(scope="module")
def loader(dataset_dir):
    return DataLoader(dataset_dir)


@pytest.fixture(scope="module")
def network(loader):
    return build_fused_network(loader.data_shape)


@pytest.fixture(scope="module")
def checkpoint(network, loader, tmp_path_factory):
    """A checkpoint with operating points that nobody would choose."""
    path = tmp_path_factory.mktemp("own") / "own.hdf5"
    network.save(path)
    attributes = {"config": loader.config.to_dict(), "split": [0.6, 0.2], "operating_point": POINT}
    write_checkpoint_attributes(path, attributes | {"loudness_operating_point": LOUDNESS_POINT})
    return path


def sounds_of(dataset_dir, title):
    paths = sorted((dataset_dir / title).glob("*.pkl"))
    return np.stack([pickle.loads(path.read_bytes())["audio"] for path in paths])


def test_a_report_is_of_the_tests_matches_at_the_checkpoints_points(checkpoint, network, loader, dataset_dir):
    report, scored, point, levels = testing.evaluate(loader, str(checkpoint), "test")
    assert {name: report[name] for name in ("checkpoint", "dataset", "subset", "split")} == {
        "checkpoint": "own.hdf5",
        "dataset": "dataset",
        "subset": "test",
        "split": [0.6, 0.2],
    }
    assert report["operating_point_chosen_on"] == "valid"
    assert report["videos"] == [row["title"] for row in report["by_match"]] == ["match_08", "match_10"]
    assert [match.title for match in scored] == ["match_08", "match_10"]
    assert (report["model"]["operating_point"], report["loudness"]["operating_point"]) == (POINT, LOUDNESS_POINT)
    assert vars(point) == POINT
    labels = np.array(LABELS["match_08"] + LABELS["match_10"])
    loud = np.concatenate([np.sqrt(np.square(sounds_of(dataset_dir, t), dtype=float).mean(1)) for t in TITLES["test"]])
    np.testing.assert_allclose(levels, loud, rtol=1e-6)
    scores = np.concatenate([outputs_of(network, dataset_dir, title)["highlight"][:, 0] for title in TITLES["test"]])
    np.testing.assert_allclose(np.concatenate([match.scores for match in scored]), scores, atol=1e-5)
    for who, values in (("model", scores), ("loudness", loud)):
        figures = report[who]["per_segment"]
        assert (figures["segments"], figures["highlights"]) == (20, 1)
        expected = sklearn.metrics.average_precision_score(labels, values)
        assert figures["average_precision"] == pytest.approx(expected, abs=1e-5)
        assert figures["roc_auc"] == pytest.approx(sklearn.metrics.roc_auc_score(labels, values), abs=1e-5)
        assert figures["loss"] == pytest.approx(sklearn.metrics.log_loss(labels, values), abs=1e-4)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ({"highlight": {"held_out_error": 0.25}, "steps": {"held_out_error": 0.125}},
         {"per_segment": 0.25, "per_step": 0.125}),
        ({"highlight": {"held_out_error": None}, "steps": {"held_out_error": None}}, None),
        ("damaged", None),
        (None, None),
    ],
)  # fmt: skip
def test_a_report_has_the_calibration_error_that_the_checkpoint_states(stored, expected):
    assert testing.read_held_out_errors({} if stored is None else {"calibration": stored}) == expected


def test_a_report_has_the_calibration_of_its_scores(checkpoint, loader, network, dataset_dir):
    report, *_ = testing.evaluate(loader, str(checkpoint), "test")
    assert report["calibration"]["held_out_on_valid"] is None
    labels = np.array(LABELS["match_08"] + LABELS["match_10"])
    scores = np.concatenate([outputs_of(network, dataset_dir, title)["highlight"][:, 0] for title in TITLES["test"]])
    found = report["calibration"]["per_segment"]
    assert found["counts"] == np.histogram(scores, 10, (0, 1))[0].tolist()
    assert sum(found["counts"]) == 20
    tenths = (scores * 10).astype(int)
    differences = [abs(scores[tenths == tenth].sum() - labels[tenths == tenth].sum()) for tenth in range(10)]
    assert found["expected_calibration_error"] == pytest.approx(sum(differences) / 20, abs=1e-5)
    # The last segment of the first match is 0.67 s long, so that its second step begins before its end, too.
    assert sum(report["calibration"]["per_step"]["counts"]) == 40


def test_matches_unlike_those_of_training_are_named(loader, network, tmp_path, caplog):
    path, statistics = tmp_path / "copy.hdf5", summarise(loader)
    network.save(path)
    attributes = {"config": loader.config.to_dict(), "split": [0.6, 0.2], "operating_point": POINT}
    write_checkpoint_attributes(path, {**attributes, "training_statistics": statistics})
    assert testing.evaluate(loader, str(path), "test")[0]["unlike_training"] == {}
    assert not caplog.messages
    statistics["statistics"]["frame_rate"]["mean"] -= 1
    write_checkpoint_attributes(path, {**attributes, "training_statistics": statistics})
    found = testing.evaluate(loader, str(path), "test")[0]["unlike_training"]
    assert found == {title: ["30 frames per second (there 15)"] for title in TITLES["test"]}
    assert [text.partition(": 30")[0] for text in caplog.messages] == [
        f"{title}: unlike the 4 matches that the checkpoint was trained with" for title in TITLES["test"]
    ]


def test_another_subset_can_be_evaluated(checkpoint, loader):
    report, _, _, levels = testing.evaluate(loader, str(checkpoint), "valid")
    assert (report["subset"], report["videos"], len(levels)) == ("valid", ["match_07", "match_09"], 11)


def test_the_files_of_a_test_hold_what_was_scored(checkpoint, dataset_dir, tmp_path, capsys):
    args = trainer.parse_args(["--mode", "test", "--ckpt", str(checkpoint), "--data_dir", str(dataset_dir)])
    args.ckpt_dir = tmp_path / "deep" / "results"
    loader = trainer.load_data(args)
    report, scored, _, _ = testing.evaluate(loader, str(checkpoint), "test")
    names = trainer.test_checkpoint(args, loader, str(checkpoint))
    assert names == [
        "test_report.json",
        "predictions.csv",
        "precision_recall.png",
        "calibration.png",
        "test_matches.png",
    ]
    assert sorted(path.name for path in args.ckpt_dir.iterdir()) == sorted(names)
    written = json.loads((args.ckpt_dir / "test_report.json").read_text())
    assert written["model"]["per_event"] == report["model"]["per_event"]
    with open(args.ckpt_dir / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["title"], int(row["index"])) for row in rows] == [
        *(("match_08", index) for index in range(12)),
        *(("match_10", index) for index in range(8)),
    ]
    labels, scores, found = (np.array([float(row[name]) for row in rows]) for name in ("label", "score", "found"))
    assert labels.tolist() == LABELS["match_08"] + LABELS["match_10"]
    np.testing.assert_allclose(scores, np.concatenate([match.scores for match in scored]), atol=5.1e-7)
    figures = written["model"]["per_segment"]
    assert figures["confusion_matrix"] == sklearn.metrics.confusion_matrix(labels, found).tolist()
    assert figures["average_precision"] == pytest.approx(
        sklearn.metrics.average_precision_score(labels, scores), abs=1e-5
    )
    assert "Test: 2 videos, 20 segments, 1 highlights, 1 labelled sections" in capsys.readouterr().out


def test_loudness_is_left_out_where_no_point_was_chosen_for_it(checkpoint, loader, network, tmp_path):
    path = tmp_path / "copy.hdf5"
    network.save(path)
    write_checkpoint_attributes(path, {"config": loader.config.to_dict(), "split": [0.6, 0.2]})
    report, _, point, levels = testing.evaluate(loader, str(path), "test")
    assert (report["loudness"], levels, report["operating_point_chosen_on"]) == (None, None, None)
    assert (point.threshold, point.section_penalty) == (0.5, 0)
    attributes = {"config": loader.config.to_dict(), "split": [0.6, 0.2], "operating_point": POINT}
    write_checkpoint_attributes(path, attributes)  # of the network alone
    report, _, point, levels = testing.evaluate(loader, str(path), "test")
    assert (report["loudness"], levels, report["operating_point_chosen_on"]) == (None, None, "valid")
    assert vars(point) == POINT


def test_steps_that_are_no_numbers_end_a_test(checkpoint, loader, monkeypatch):
    nothing = np.full((20, 2), np.nan)
    monkeypatch.setattr(validation, "predict", lambda network, loader, subset: (np.zeros(20), nothing))
    with pytest.raises(TrainingError, match=r"^test: the network's scores are not numbers"):
        testing.evaluate(loader, str(checkpoint), "test")


def test_a_figure_that_cannot_be_drawn_costs_no_other_result(checkpoint, loader, tmp_path, monkeypatch):
    results = testing.evaluate(loader, str(checkpoint), "test")
    assert testing.write_results(tmp_path / "expected", *results)[:2] == ["test_report.json", "predictions.csv"]

    def fail(*_):
        raise ValueError("no\nfont")

    monkeypatch.setattr(testing.plots, "plot_test", fail)
    (tmp_path / "out" / "predictions.csv.part").mkdir(parents=True)  # in the way
    with pytest.raises(TrainingError) as error_info:
        testing.write_results(tmp_path / "out", *results)
    out = tmp_path / "out"
    assert str(error_info.value) == (
        f"{out}: the figures cannot be drawn (ValueError: no font), predictions.csv cannot be written (Is a directory: "
        f"{out / 'predictions.csv.part'}): the checkpoint is kept, test it again with --mode test --ckpt"
    )
    received, expected = ((tmp_path / name / "test_report.json").read_text() for name in ("out", "expected"))
    assert received == expected
