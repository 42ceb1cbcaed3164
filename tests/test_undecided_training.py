"""Undecided time in training, validation and tests: nothing depends on what is labelled or scored there."""

import csv
import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import TITLES
from small_network import build_fused_network, build_small_network

import main as trainer
from data_loader import DataLoader
from videosummarizer.dataset import audit
from videosummarizer.dataset.metadata import write_metadata
from videosummarizer.dataset.time_shift import UNDECIDED
from videosummarizer.evaluation import label_doubts, plots, quality_report
from videosummarizer.evaluation.operating_point import OperatingPoint, ScoredMatch, choose_operating_point
from videosummarizer.training import compiled_steps, optimization, validation
from videosummarizer.training.validation import TrainingError

# Of the matches of conftest.py; of each class some segments are decided.
UNDECIDED_SEC = {
    "match_00": [[0.0, 1.0], [5.5, 8.0]],
    "match_01": [[2.0, 6.25]],
    "match_07": [[2.5, 4.0], [5.5, 6.0]],  # half of the last segment, whose label is 0 in any case
    "match_09": [[0.0, 1.5]],
    "match_08": [[1.0, 5.0]],
    "match_10": [[0.0, 8.0]],
}


@pytest.fixture(scope="module")
def undecided_dir(dataset_dir, tmp_path_factory):
    """The dataset of conftest.py with undecided time."""
    folder = tmp_path_factory.mktemp("undecided") / "dataset"
    folder.mkdir()
    loader = DataLoader(dataset_dir)
    for title in loader.subset_of:
        (folder / title).symlink_to(dataset_dir / title)
    records = [record | {"undecided_sec": UNDECIDED_SEC[record["title"]]} for record in loader.metadata["videos"]]
    write_metadata(folder, loader.config, records, missing=[])
    return folder


@pytest.fixture(scope="module")
def loader(undecided_dir):
    return DataLoader(undecided_dir)


# ---- Training


def loss_of(targets, scores, loss):
    return keras.ops.convert_to_numpy(loss(np.array([targets], np.float32), np.array([scores], np.float32)))


def test_undecided_steps_are_left_out_of_the_loss():
    smoothed = {"label_smoothing": 0.1, "reduction": None}
    loss, plain = optimization.DecidedBinaryCrossentropy(**smoothed), keras.losses.BinaryCrossentropy(**smoothed)
    targets, scores = [[1, 0, 0.25], [0, 1, 1]], [[0.9, 0.2, 0.4], [0.3, 0.5, 0.6]]
    np.testing.assert_allclose(loss_of(targets, scores, loss), loss_of(targets, scores, plain), rtol=1e-6)
    expected = loss_of([[1, 0.25], [1, 1]], [[0.9, 0.4], [0.5, 0.6]], plain)
    for score in (0.0, 0.3, 1.0):
        received = loss_of([[1, -1, 0.25], [-1, 1, 1]], [[0.9, score, 0.4], [score, 0.5, 0.6]], loss)
        np.testing.assert_allclose(received, expected, rtol=1e-6)
    assert loss_of([[UNDECIDED] * 3], [[0.0, 0.5, 1.0]], loss).tolist() == [[0]]


def make_batch(loader, is_undecided):
    """A batch of one sequence of two segments, whose second one is undecided or has other labels."""
    rng = np.random.default_rng(0)
    inputs = {
        "video": rng.integers(0, 256, (1, 2, *loader.data_shape["video"]), np.uint8),
        "audio": rng.random((1, 2, *loader.data_shape["audio"]), np.float32),
    }
    steps = np.array([[[0, 1], [UNDECIDED] * 2 if is_undecided else [1, 1]]], np.float32)
    return inputs, {"highlight": np.array([[[1], [1]]], np.float32), "steps": steps}


def trained_weights(loader, targets_of, weights, has_undecided):
    """The weights of the small network after a batch, none of which may be NaN."""
    keras.utils.set_random_seed(0)
    network = build_small_network(loader.data_shape, 4000, 2)
    optimization.compile_network(network, 0.1, 3, has_undecided)
    network.run_eagerly = True
    average = optimization.ExponentialMovingAverage(network)
    inputs, targets = make_batch(loader, targets_of)
    batches = [(inputs, targets, np.array([weights], np.float32))]
    loss = optimization.train_epoch(compiled_steps.CompiledSteps(network, average), batches, lambda: None)
    trained = [*network.get_weights(), *(value.numpy() for value in average.values)]
    assert np.isfinite(loss)
    assert all(np.isfinite(weight).all() for weight in trained)
    return trained


def test_undecided_segments_teach_nothing_and_a_batch_of_them_is_no_nan(loader):
    expected = trained_weights(loader, False, [1, 0], has_undecided=False)
    for value, by_default in zip(trained_weights(loader, True, [1, 0], has_undecided=True), expected, strict=True):
        np.testing.assert_allclose(value, by_default, rtol=1e-4, atol=1e-6)
    trained_weights(loader, True, [0, 0], has_undecided=True)


def test_a_dataset_with_undecided_time_is_trained_and_tested(small_network, undecided_dir, tmp_path, capsys):
    flags = ["--epochs", "1", "--batch_size", "8", "--data_dir", str(undecided_dir), "--ckpt_dir", str(tmp_path)]
    assert trainer.main(flags) == 0
    printed = capsys.readouterr().out
    assert "train: 2 videos, 20 segments, 3 highlights, 9 undecided" in printed
    assert "test : 2 videos, 20 segments, 1 highlights, 12 undecided" in printed
    report = json.loads((tmp_path / "test_report.json").read_text())
    assert report["videos"] == ["match_08"]  # nobody has looked at the other one
    assert report["model"]["per_segment"]["segments"] == 8
    with open(tmp_path / "predictions.csv", newline="") as file:
        labels = {
            title: [row["label"] for row in csv.DictReader(file) if row["title"] == title] for title in ["match_08"]
        }
    assert labels["match_08"] == ["0", *[""] * 4, *"0001000"]
    with open(tmp_path / "history.csv", newline="") as file:
        values = [float(value) for row in csv.DictReader(file) for value in row.values()]
    assert values
    assert np.isfinite(values).all()


# ---- Validation


def test_validation_does_not_depend_on_the_scores_of_undecided_time(undecided_dir, loader):
    network, rng = build_fused_network(loader.data_shape), np.random.default_rng(0)
    steps = np.concatenate(list(loader.steps("valid").values()))
    assert (steps == UNDECIDED).sum() == 7
    is_undecided = np.concatenate([~loader.is_decided("valid")[:, np.newaxis], steps == UNDECIDED], axis=1)
    assert is_undecided[:, 0].sum() == 4
    rows = rng.random((11, 3, 3))
    results = []
    for _ in range(3):
        # Rows hold a segment and its two steps for each of the three modalities.
        unimodal = np.where(is_undecided[:, np.newaxis], rng.random((11, 3, 3)), rows).reshape(11, 9)
        scores = validation.tune_fusion_weights(network, unimodal, loader)
        weights = [network.get_layer(f"fusion_{name}").fusion_weights.numpy() for name in ("highlight", "steps")]
        found = validation.validate(scores[:, 0], loader), validation.calibrate(network, scores, loader)
        results.append((np.concatenate(weights).tolist(), *found))
    assert results[0] == results[1] == results[2]
    # The same scores without undecided time.
    other = DataLoader(undecided_dir)
    other.is_decided_of = {title: np.ones_like(decided) for title, decided in other.is_decided_of.items()}
    assert validation.validate(scores[:, 0], other) != results[0][1]


def test_sections_of_validation_that_are_all_mostly_undecided_are_an_error(undecided_dir):
    loader = DataLoader(undecided_dir)
    for title in TITLES["valid"]:
        loader.video_records[title] = loader.video_records[title] | {"undecided_sec": [[0.0, 3.5]]}
    with pytest.raises(TrainingError, match="received validation matches whose sections are mostly undecided"):
        validation.fit_operating_point(np.zeros(11), np.zeros((11, 2)), loader)


# ---- Tests

POINT = OperatingPoint(0.5)


def make_match(sections_sec, steps, undecided_sec, title="a"):
    """A match of segments of 2 s with two steps each."""
    sections_sec, undecided_sec = (np.array(each, float).reshape(-1, 2) for each in (sections_sec, undecided_sec))
    steps = np.array(steps, float).reshape(-1, 2)
    middles_sec = np.arange(len(steps)) * 2 + 1
    labels = np.array([int(any(start <= middle < end for start, end in sections_sec)) for middle in middles_sec])
    scores = steps.mean(axis=1)
    return ScoredMatch(title, 2.0, 2.0 * len(steps), labels, sections_sec, scores, steps, undecided_sec)


def scored_steps(*found):
    steps = np.full(40, 0.1)
    for start, end in found:
        steps[start:end] = 0.9
    return steps


# Found and labelled from 4 to 8 s; labelled alone from 12 to 16 s; found alone from 18 to 20 s.
DECIDED = [(4, 8), (12, 16)], [(4, 8), (18, 20)]
# What nobody has looked at, and what may be labelled and found there.
UNKNOWN_SEC = [[24.0, 40.0]]
UNKNOWN = [([], []), ([(26, 30)], []), ([], [(26, 30), (34, 39)]), ([(26, 30)], [(26, 30)]), ([(23, 38)], [(23, 40)])]


@pytest.fixture(scope="module")
def matches():
    labelled, found = DECIDED
    return [make_match(labelled + more[0], scored_steps(*found, *more[1]), UNKNOWN_SEC) for more in UNKNOWN]


def test_the_report_does_not_depend_on_undecided_time(matches):
    short = make_match(DECIDED[0], scored_steps(*DECIDED[1])[:24], [])  # the same match, which ends there
    unknown = make_match([(0, 20)], scored_steps((0, 30)), [[0.0, 40.0]], "b")
    (expected, *others) = [
        quality_report.compare(of, POINT, of, OperatingPoint(0.3)) for of in ([short], *([match] for match in matches))
    ]
    assert (
        expected["model"]["per_event"]["iou_0.5"] | {"precision": 0.5, "recall": 0.5}
        == expected["model"]["per_event"]["iou_0.5"]
    )
    for report in others[:4]:
        for name in ("model", "loudness"):
            assert report[name] == expected[name]
        assert report["by_match"][0]["per_event"] == expected["by_match"][0]["per_event"]
    both = quality_report.compare([matches[0], unknown], POINT, None, None)
    assert both["videos"] == ["a"]
    assert both["model"] == expected["model"]


def test_a_section_that_is_mostly_undecided_is_neither_right_nor_wrong(matches):
    assert matches[4].reference_sections_sec.tolist() == matches[0].reference_sections_sec.tolist()
    assert matches[4].counted_sections_sec(POINT).tolist() == [[4, 8], [18, 20]]
    half = make_match([(20, 28)], scored_steps((20, 28)), UNKNOWN_SEC)
    assert half.reference_sections_sec.tolist() == half.counted_sections_sec(POINT).tolist() == [[20, 28]]


def test_the_operating_point_does_not_depend_on_undecided_time(matches):
    rng = np.random.default_rng(0)
    points = set()
    for _ in range(4):
        noisy = []
        for seed in range(3):
            steps = 0.1 + 0.8 * np.random.default_rng(seed).random(24)
            # Steps at the border are low, so that no section crosses it.
            steps = np.concatenate([steps[:22], [0.0, 0.0], [0.0, 0.0], rng.random(14)])
            noisy.append(make_match([(4, 8), (12, 16)], steps, UNKNOWN_SEC))
        points.add(choose_operating_point(noisy))
        steps[24:] = 0.5
        assert noisy[-1].kept_scores().tolist() == noisy[-1].step_scores.ravel()[:24].tolist()
    thresholds = {point.threshold for point in points}
    assert len(thresholds) == 1


def test_labels_of_undecided_time_are_not_doubted(matches):
    kinds = [(doubt.kind, doubt.start_sec) for doubt in label_doubts.find_doubts([matches[0]], POINT)]
    assert kinds == [(label_doubts.NOT_FOUND, 12), (label_doubts.UNLABELLED, 18), (label_doubts.FOUND, 4)]
    for match in matches[1:]:
        assert [(doubt.kind, doubt.start_sec) for doubt in label_doubts.find_doubts([match], POINT)] == kinds
    # A found section that is mostly decided, next to a label that is not.
    match = make_match([(22, 30)], scored_steps((20, 26)), [[22.5, 23.0], [24.0, 40.0]])
    assert label_doubts.find_doubts([match], POINT) == []


def test_figures_show_undecided_time_hatched_and_only_there(matches, monkeypatch):
    figures, plain = [], plots.to_png
    monkeypatch.setattr(plots, "to_png", lambda figure: figures.append(figure) or plain(figure))
    plots.plot_test([matches[2], replace(matches[0], undecided_sec=np.empty((0, 2)))], POINT, None)
    rows = next(figure for figure in figures if len(figure.axes) == 2 and figure.axes[0].get_title(loc="left")).axes
    hatched = [[bars for bars in axes.collections if bars.get_hatch()] for axes in rows]
    assert [len(bars) for bars in hatched] == [1, 0]
    (bars,) = hatched[0]
    assert bars.get_label() == "undecided"
    assert bars.get_paths()[0].get_extents().intervalx.tolist() == [24, 40]


def test_a_match_that_nobody_has_looked_at_leaks_nothing(undecided_dir, dataset_dir):
    for folder, num_pairs in ((dataset_dir, 1), (undecided_dir, 0)):
        loader = DataLoader(folder)
        for record in loader.metadata["videos"]:
            if record["title"] in ("match_00", "match_10"):
                record |= {"source": "x.mp4", "source_files": {"x.mp4": [7, 0]}, "duration": 5.0}
        assert len(audit.same_files(loader.metadata, loader.subset_of)) == 1
        assert sum("same size" in line for line in audit.find_leaks(loader)) == num_pairs
