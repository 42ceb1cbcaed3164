"""Honest evaluation: which matches, labels and weights a figure of main.py is of, and which were used to choose."""

import csv
import itertools
import json
import math
import pickle

import numpy as np
import pytest
import sklearn.metrics
from conftest import LABELS, NUM_FRAMES, SECTIONS, TITLES
from scipy.special import expit
from small_network import build_small_network
from test_data_loader import write_dataset

import main as trainer
from data_loader import DataLoader
from videosummarizer.dataset import storage
from videosummarizer.dataset.metadata import DataConfig, DatasetError, write_metadata
from videosummarizer.evaluation import plots
from videosummarizer.evaluation.operating_point import ScoredMatch, choose_operating_point
from videosummarizer.training import inference, optimization, validation
from videosummarizer.training.checkpoint import CheckpointError, read_checkpoint_attributes, write_checkpoint_attributes
from videosummarizer.training.keras_backend import keras
from videosummarizer.training.validation import TrainingError

POINT = {"threshold": 0.6, "smoothing": 3, "min_length_sec": 1.0, "max_gap_sec": 0.5, "nms_ratio": 0.7}
LOUDNESS_POINT = {"threshold": 0.2, "smoothing": 1, "min_length_sec": 0.0, "max_gap_sec": 0.0, "nms_ratio": 0.5}


@pytest.fixture(scope="module")
def loader(dataset_dir):
    return DataLoader(dataset_dir)


@pytest.fixture(scope="module")
def network(loader):
    """A network whose outputs all differ."""
    keras.utils.set_random_seed(5)
    network = build_small_network(loader.data_shape, 4000, 2)
    for number, name in enumerate(("highlight", "steps")):
        network.get_layer(f"fusion_{name}").fusion_weights.assign((0.02 + number / 100, 0.5, 1.0))
    return network


@pytest.fixture(scope="module")
def checkpoint(network, loader, tmp_path_factory):
    """A checkpoint with operating points that nobody would choose."""
    path = tmp_path_factory.mktemp("own") / "own.hdf5"
    network.save(path)
    attributes = {"config": vars(loader.config), "split": [0.6, 0.2], "operating_point": POINT}
    write_checkpoint_attributes(path, attributes | {"loudness_operating_point": LOUDNESS_POINT})
    return path


def sounds_of(dataset_dir, title):
    paths = sorted((dataset_dir / title).glob("*.pkl"))
    return np.stack([pickle.loads(path.read_bytes())["audio"] for path in paths])


def outputs_of(network, dataset_dir, title):
    """What the network says of a match, all its segments at once."""
    paths = sorted((dataset_dir / title).glob("*.pkl"))
    read = [pickle.loads(path.read_bytes()) for path in paths]
    inputs = {name: np.stack([segment[name] for segment in read])[np.newaxis] for name in ("video", "audio")}
    return {name: output[0] for name, output in network.predict_on_batch(inputs).items()}


# ---- Scores


@pytest.mark.parametrize("subset", ["train", "valid", "test"])
def test_scores_are_those_of_the_subset_in_order(network, loader, dataset_dir, subset):
    scores, step_scores = validation.predict(network, loader, subset)
    expected = [outputs_of(network, dataset_dir, title) for title in TITLES[subset]]
    np.testing.assert_allclose(scores, np.concatenate([each["highlight"] for each in expected])[:, 0], atol=1e-5)
    np.testing.assert_allclose(step_scores, np.concatenate([each["steps"] for each in expected]), atol=1e-5)
    names = ("video_steps", "loudness_highlight")
    rows = validation.predict_outputs(network, loader, subset, names)
    expected = [np.concatenate([each[name] for name in names], axis=1) for each in expected]
    np.testing.assert_allclose(rows, np.concatenate(expected), atol=1e-5)
    assert np.ptp(rows, axis=0).min() > 1e-3


# ---- Validation


def test_validations_classes_count_as_trainings(loader):
    labels, weights = validation.labels_and_weights(loader)
    assert labels.tolist() == LABELS["match_07"] + LABELS["match_09"]
    # Of 20 segments of training 5 are highlights; of 11 of validation 7 are.
    assert weights.tolist() == pytest.approx([20 / (2 * (5 if label else 15)) for label in labels])


def test_a_score_of_a_half_is_a_highlight(loader):
    scores = np.where(validation.labels_and_weights(loader)[0], 0.5, 0.49)
    found = validation.validate(scores, loader)
    assert (found["val_precision"], found["val_recall"]) == (1, 1)


def test_the_operating_point_is_the_best_on_the_sections_of_validation(loader):
    rng = np.random.default_rng(3)
    labels = np.array(LABELS["match_07"] + LABELS["match_09"])
    steps = np.clip(0.4 + 0.2 * labels[:, np.newaxis] + rng.normal(0, 0.15, (11, 2)), 0, 1)
    matches = []
    for title, part in (("match_07", slice(0, 6)), ("match_09", slice(6, 11))):
        sections_sec = np.array([SECTIONS[title]]) / 30
        duration_sec = NUM_FRAMES[title] / 30
        matches.append(
            ScoredMatch(title, 1.0, duration_sec, labels[part], sections_sec, steps[part].mean(axis=1), steps[part])
        )
    expected = vars(choose_operating_point(matches))
    assert validation.fit_operating_point(rng.random(11), steps, loader) == expected
    assert json.loads(json.dumps(expected)) == expected


def plain_loss(labels, scores, weights):
    losses = [-(label * math.log(p) + (1 - label) * math.log(1 - p)) for label, p in zip(labels, scores, strict=True)]
    weights = [1] * len(losses) if weights is None else weights
    return sum(weight * loss for weight, loss in zip(weights, losses, strict=True)) / sum(weights)


@pytest.mark.parametrize("seed", [0, 2])
def test_fusion_weights_have_the_lowest_weighted_loss_on_validation(seed, network, loader):
    rng = np.random.default_rng(seed)
    labels = np.array(LABELS["match_07"] + LABELS["match_09"])
    targets = [labels[:, np.newaxis], np.array([*[[0, 0]], *[[1, 1]] * 4, *[[0, 0]] * 2, *[[1, 1]] * 3, [1, 0]])]
    weights = np.where(labels, 20 / 10, 20 / 30)
    logits = [target[:, np.newaxis] * 2 - 2 + rng.normal(0, 2, (11, 3, target.shape[1])) for target in targets]
    rows = expit(np.concatenate(logits, axis=2)).reshape(11, -1)
    received = validation.tune_fusion_weights(network, rows, loader)
    expected, unweighted = [], []
    for name, values, target in zip(("highlight", "steps"), logits, targets, strict=True):
        for found, sample_weight in ((expected, np.repeat(weights, target.shape[1])), (unweighted, None)):
            losses = {}
            for tried in itertools.product((1.0, 0.5, 0.0), repeat=3):
                if any(tried):
                    scores = expit(sum(share * values[:, place] for place, share in enumerate(tried)))
                    losses[tried] = plain_loss(target.ravel(), scores.ravel(), sample_weight)
            best = min(losses, key=losses.get)
            found.append((best, expit(sum(share * values[:, place] for place, share in enumerate(best)))))
        assert tuple(network.get_layer(f"fusion_{name}").fusion_weights.numpy()) == expected[-1][0]
    np.testing.assert_allclose(received, np.concatenate([scores for _, scores in expected], axis=1), atol=1e-9)
    # The weights decide, of which train's classes are the source.
    assert [chosen for chosen, _ in expected] != [chosen for chosen, _ in unweighted]


def test_outputs_that_are_no_numbers_are_named(network, loader):
    rows = np.full((11, 9), 0.5)
    rows[7, 8] = np.nan
    with pytest.raises(TrainingError, match=r"^valid: the network's scores are not numbers"):
        validation.tune_fusion_weights(network, rows, loader)


# ---- The test


def test_a_report_is_of_the_tests_matches_at_the_checkpoints_points(checkpoint, network, loader, dataset_dir):
    report, scored, point, levels = trainer.evaluate(loader, str(checkpoint), "test")
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


def test_another_subset_can_be_evaluated(checkpoint, loader):
    report, _, _, levels = trainer.evaluate(loader, str(checkpoint), "valid")
    assert (report["subset"], report["videos"], len(levels)) == ("valid", ["match_07", "match_09"], 11)


def test_the_files_of_a_test_hold_what_was_scored(checkpoint, dataset_dir, tmp_path, capsys):
    args = trainer.parse_args(["--mode", "test", "--ckpt", str(checkpoint), "--data_dir", str(dataset_dir)])
    args.ckpt_dir = tmp_path / "deep" / "results"
    loader = trainer.load_data(args)
    report, scored, _, _ = trainer.evaluate(loader, str(checkpoint), "test")
    names = trainer.test_checkpoint(args, loader, str(checkpoint))
    assert names == ["test_report.json", "predictions.csv", "precision_recall.png", "test_matches.png"]
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
    write_checkpoint_attributes(path, {"config": vars(loader.config), "split": [0.6, 0.2]})
    report, _, point, levels = trainer.evaluate(loader, str(path), "test")
    assert (report["loudness"], levels, report["operating_point_chosen_on"]) == (None, None, None)
    assert (point.threshold, point.smoothing) == (0.5, 1)


def test_steps_that_are_no_numbers_end_a_test(checkpoint, loader, monkeypatch):
    nothing = np.full((20, 2), np.nan)
    monkeypatch.setattr(validation, "predict", lambda network, loader, subset: (np.zeros(20), nothing))
    with pytest.raises(TrainingError, match=r"^test: the network's scores are not numbers"):
        trainer.evaluate(loader, str(checkpoint), "test")


@pytest.mark.parametrize("values", [{"cut": 3}, {}, {"threshold": "x"}, {"threshold": 0.5, "smoothing": 0}, [0.5]])
def test_a_point_of_another_version_is_named(values, tmp_path):
    path = tmp_path / "other.hdf5"
    keras.Sequential([keras.layers.Input((1,))]).save(path)
    write_checkpoint_attributes(path, {"loudness_operating_point": values})
    with pytest.raises(CheckpointError, match=r"other\.hdf5: received an loudness_operating_point of another"):
        trainer.read_operating_point(str(path), "loudness_operating_point")
    assert trainer.read_operating_point(str(path), "operating_point") is None


# ---- The split of a checkpoint

# The XORed bytes of SHA-512 of these titles over 255: their places in the split.
PLACES_OF_SPLIT = {
    **{"match_01": 0.004, "match_75": 0.173, "match_35": 0.259, "match_28": 0.396},
    **{"match_70": 0.510, "match_06": 0.557, "match_36": 0.608, "match_08": 0.867},
}


def write_loud_dataset(folder, labels_of):
    """A dataset of grey frames and noise that is loud in highlights."""
    config, rng = DataConfig(1, 1, 1, 1, 400, False), np.random.default_rng(0)
    videos = []
    for title, labels in labels_of.items():
        (folder / title).mkdir(parents=True)
        for index, label in enumerate(labels):
            audio = rng.normal(0, 0.3 if label else 0.02, 400).astype(np.float32)
            video = rng.integers(0, 256, config.data_shape["video"], np.uint8)
            storage.write_segment(folder / title, index, label, video, audio, config, float(len(labels)))
        videos.append({"title": title, "segment_count": len(labels)})
    write_metadata(folder, config, videos, missing=[], created="2026-11-24")
    return folder


def test_a_checkpoint_is_tested_by_the_split_that_it_was_trained_with(small_network, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(plots, "plot_test", lambda scored, point, levels: {})
    labels_of = {title: [0, 1, 0, 0] for title in PLACES_OF_SPLIT}
    dataset = write_loud_dataset(tmp_path / "dataset", labels_of)
    arguments = ["--data_dir", str(dataset), "--epochs", "1", "--split", "0.2", "0.25"]
    assert trainer.main([*arguments, "--ckpt_dir", str(tmp_path / "ckpt")]) == 0
    assert "train: 2 videos, 8 segments, 2 highlights" in capsys.readouterr().out
    (path,) = (tmp_path / "ckpt").glob("*.hdf5")
    expected = [title for title, place in PLACES_OF_SPLIT.items() if place >= 0.45]
    assert any(PLACES_OF_SPLIT[title] < 0.6 for title in expected)  # of the default split's train
    assert read_checkpoint_attributes(path)["split"] == [0.2, 0.25]
    arguments = ["--mode", "test", "--ckpt", str(path), "--data_dir", str(dataset)]
    assert trainer.main([*arguments, "--ckpt_dir", str(tmp_path / "tested")]) == 0
    for folder in ("ckpt", "tested"):
        report = json.loads((tmp_path / folder / "test_report.json").read_text())
        assert (sorted(report["videos"]), report["split"]) == (sorted(expected), [0.2, 0.25])
        with open(tmp_path / folder / "predictions.csv", newline="") as file:
            assert {row["title"] for row in csv.DictReader(file)} == set(expected)
    loader = trainer.load_data(trainer.parse_args([*arguments, "--split", "0.2", "0.25"]))
    assert sorted(match.title for match in loader.matches("test")) == sorted(expected)
    for split in (["0.6", "0.2"], ["0.25", "0.2"]):
        with pytest.raises(TrainingError, match="another split would test it on videos that it has seen"):
            trainer.load_data(trainer.parse_args([*arguments, "--split", *split]))


def test_only_the_subset_that_is_tested_needs_both_classes(tmp_path, checkpoint):
    labels_of = {"match_00": [0, 0], "match_07": [1, 1], "match_08": [0, 1]}
    dataset = write_dataset(tmp_path / "few", labels_of)
    config = vars(DataLoader(dataset).config)
    path = tmp_path / "x.hdf5"
    keras.Sequential([keras.layers.Input((1,))]).save(path)
    write_checkpoint_attributes(path, {"config": config, "split": [0.6, 0.2]})
    args = trainer.parse_args(["--mode", "test", "--ckpt", str(path), "--data_dir", str(dataset), "--batch_size", "5"])
    loader = trainer.load_data(args)
    assert (loader.num_videos, loader.batch_size) == ({"train": 1, "valid": 1, "test": 1}, 5)
    write_checkpoint_attributes(path, {"config": config, "split": [0.7, 0.28]})  # its test is empty
    with pytest.raises(DatasetError, match="both classes in test, but test lacks one"):
        trainer.load_data(args)


def test_a_loader_for_training_needs_both_classes_in_every_subset(tmp_path):
    for number, lacking in enumerate(("match_00", "match_07", "match_08")):
        labels_of = {title: [0, 1] for title in ("match_00", "match_07", "match_08")} | {lacking: [0, 0]}
        dataset = write_dataset(tmp_path / str(number), labels_of)
        with pytest.raises(DatasetError, match=f"but {('train', 'valid', 'test')[number]} lacks one"):
            trainer.load_data(trainer.parse_args(["--data_dir", str(dataset)]))


@pytest.mark.parametrize("title", ["match_07", "match_08"])
def test_damaged_sections_are_named_before_training(tmp_path, title):
    sections_of = {"match_00": [[0, 1]], "match_07": [[0, 1]], "match_08": [[0, 1]], title: [[5, 4]]}
    dataset = write_dataset(tmp_path / "damaged", {name: [1, 0] for name in sections_of}, sections_of=sections_of)
    with pytest.raises(DatasetError, match=f"sections of {title}"):
        trainer.load_data(trainer.parse_args(["--data_dir", str(dataset)]))


@pytest.mark.parametrize(
    ("ratios", "is_one"),
    [
        ([0.6, 0.2], True),
        ([0.5, 0.5], False),
        ([0.5, 0.4999], True),
        ([0.0, 0.5], False),
        ([0.5, 0.0], False),
        ([-0.1, 0.5], False),
        ([0.5, 1], False),
        ([0.2, 0.2, 0.2], False),
        ([0.2], False),
        ((0.6, 0.2), False),
        ("ab", False),
        (None, False),
        ([0.2, None], False),
    ],
)
def test_a_split_leaves_something_to_each_subset(ratios, is_one):
    assert trainer.is_split(ratios) is is_one


# ---- Few highlights


def test_rare_highlights_count_as_much_as_all_the_rest(small_network, tmp_path, monkeypatch):
    # Silence and grey frames, of which nothing can be learned but how often highlights are: 1 of 20 segments.
    rare = [int(index == 7) for index in range(20)]
    labels_of = {"match_00": rare, "match_01": rare, "match_07": rare, "match_08": rare}
    dataset, seen = write_dataset(tmp_path / "rare", labels_of), []
    plain = optimization.train_epoch

    def train_epoch(network, average, batches, on_batch):
        batches = list(batches)
        labels = np.concatenate([targets["highlight"].ravel() for _, targets, _ in batches])
        weights = np.concatenate([weights.ravel() for _, _, weights in batches])
        seen.append((weights[labels == 1].sum(), weights[labels == 0].sum(), (weights > 0).sum()))
        return plain(network, average, batches, on_batch)

    monkeypatch.setattr(optimization, "train_epoch", train_epoch)
    monkeypatch.setattr(validation, "fit_operating_point", lambda *arguments: {"threshold": 0.5})  # takes long
    arguments = ["--data_dir", str(dataset), "--ckpt_dir", str(tmp_path / "ckpt"), "--learning_rate", "0.1"]
    args = trainer.parse_args([*arguments, "--epochs", "12", "--batch_size", "40"])
    path = trainer.train(args, trainer.load_data(args))
    for highlights, others, num_counted in seen:
        assert (highlights, others, num_counted) == (pytest.approx(20), pytest.approx(20), 40)
    scores, _ = validation.predict(inference.load_checkpoint(path), DataLoader(dataset), "test")
    assert scores == pytest.approx(np.full(20, 0.5), abs=0.05)
    # As if half of the segments were highlights; 19 of 20 would be at a loss of less than 0.4 each otherwise.
    val_loss = read_checkpoint_attributes(path)["val_loss"]
    assert val_loss == pytest.approx(math.log(2), abs=0.01)
