"""Check how benchmarks/bench_labels.py replays the choice of labels, and how it keeps and reports its rows."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import bench_labels, feature_network
from benchmarks.bench_labels import RowKey, choose_randomly, decided_segments, format_table, list_spans, read_results
from benchmarks.bench_quality import append_row
from benchmarks.feature_network import FeatureMatch
from videosummarizer.extraction.label_choice import Candidates

# Of 20 s of training matches, for stretches of 8 s.
RATIOS = (0.4, 0.8)
KEY = RowKey("arena", "1234abcd", "all", 1.0, 0, 400, "c0de")


def stretches(titles, spans_sec):
    num = len(titles)
    values = np.zeros(num)
    return Candidates(titles, np.array(spans_sec, float), values, values, np.zeros((num, 1)), values, [None] * num)


def make_match(title, labels):
    labels = np.array(labels)
    num = len(labels)
    features = {
        "audio": np.repeat(labels[:, None, None], 2, axis=1).astype(np.float32),
        "video": np.zeros((num, 2, 3), np.float32),
        "energy": np.repeat(labels[:, None, None], 2, axis=1).astype(np.float32),
        "segment_energy": labels[:, None].astype(np.float32),
    }
    steps = np.repeat(labels[:, None], 2, axis=1).astype(np.float32)
    return FeatureMatch(title, 3.0 * num, features, labels, steps)


@pytest.fixture(scope="module")
def results(dataset_dir, tmp_path_factory):
    """Run the benchmark once, with networks that are not trained; returns the file of its rows."""
    path = tmp_path_factory.mktemp("results") / "rows.jsonl"

    def build(train_matches, valid_matches, is_decided_of, loader, seed, num_updates):
        shapes = {name: train_matches[0].features[name].shape[1:] for name in feature_network.FEATURES}
        network = feature_network.build_network(shapes, loader.context.dilations)
        network.compile(run_eagerly=True)
        return network

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(feature_network, "train", build)
        patched.setattr(bench_labels, "QUICK_RATIOS", RATIOS)
        run_quickly(dataset_dir, path)
    return path


def run_quickly(dataset_dir, path):
    assert bench_labels.main(["--data_dir", str(dataset_dir), "--seeds", "3", "--quick", "--results", str(path)]) == 0


def test_the_replay_labels_the_same_minutes_in_both_ways(results):
    rows = {key.method: row for key, row in read_results(results).items()}
    assert [(key.method, key.ratio) for key in read_results(results)] == [
        ("all", 1.0), ("start", 0.4), ("chosen", 0.8), ("random", 0.8),
    ]  # fmt: skip
    assert rows["all"]["minutes"] == 20 / 60
    assert rows["all"]["num_highlights"] == 5
    assert rows["start"]["minutes"] == 8 / 60  # a stretch of eight segments of a second
    assert rows["chosen"]["minutes"] == rows["random"]["minutes"] == 16 / 60
    for name in ("next_chosen", "next_random"):
        ((title, first, end),) = rows["start"][name]
        assert title in ("match_00", "match_01")
        assert end - first == 8
    assert all(0 <= row["average_precision"] <= 1 for row in rows.values())


def test_finished_rows_are_not_measured_again(results, dataset_dir, monkeypatch, capsys):
    def fail(*arguments):
        raise AssertionError("trained again")

    monkeypatch.setattr(feature_network, "train", fail)
    monkeypatch.setattr(bench_labels, "QUICK_RATIOS", RATIOS)
    before = results.read_bytes()
    arguments = ["--data_dir", str(dataset_dir), "--quick", "--results", str(results)]
    assert bench_labels.main([*arguments, "--seeds", "3"]) == 0
    assert results.read_bytes() == before
    assert "20 updates\n" in capsys.readouterr().out
    with pytest.raises(AssertionError, match="trained again"):
        bench_labels.main([*arguments, "--seeds", "4"])


def test_an_interrupted_run_keeps_its_rows(dataset_dir, tmp_path, monkeypatch, capsys):
    def measure(dataset, key, spans, next_ratio):
        if key.method == "start":
            raise KeyboardInterrupt
        return {"average_precision": 0.5, "minutes": 1.0}

    monkeypatch.setattr(bench_labels, "measure", measure)
    monkeypatch.setattr(bench_labels, "QUICK_RATIOS", RATIOS)
    path = tmp_path / "rows.jsonl"
    assert bench_labels.main(["--data_dir", str(dataset_dir), "--seeds", "0", "--quick", "--results", str(path)]) == 130
    assert [key.method for key in read_results(path)] == ["all"]
    assert "the same command continues" in capsys.readouterr().err


def test_a_line_that_is_no_row_is_left_out(tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    append_row(path, KEY, {"average_precision": 0.5, "minutes": 10})
    path.write_text(path.read_text() + json.dumps({"dataset": "arena"}) + "\n")
    assert list(read_results(path)) == [KEY]
    assert "line 2: left out, no result" in capsys.readouterr().err


def make_results(chosen_at_half):
    """Return the rows of two seeds: 0.9 with all labels, and chosen_at_half with half of them."""
    values = {("start", 0.1): 0.5, ("chosen", 0.3): 0.7, ("random", 0.3): 0.6, ("chosen", 0.5): chosen_at_half}
    values |= {("random", 0.5): 0.8, ("all", 1.0): 0.9}
    return {
        replace(KEY, method=method, ratio=ratio, seed=seed): {
            "average_precision": value + (seed - 0.5) / 50,
            "minutes": ratio * 60,
        }
        for (method, ratio), value in values.items()
        for seed in (0, 1)
    }


def test_the_table_has_average_precision_against_minutes_and_the_bar():
    lines = format_table(make_results(0.885)).splitlines()
    assert lines[0] == "arena, metadata 1234abcd, code c0de, 400 updates"
    assert [line.split() for line in lines[2:-1]] == [
        ["10%", "6.0", "0.500", "[0.490,", "0.510]", "0.500", "[0.490,", "0.510]", "2"],
        ["30%", "18.0", "0.700", "[0.690,", "0.710]", "0.600", "[0.590,", "0.610]", "2"],
        ["50%", "30.0", "0.885", "[0.875,", "0.895]", "0.800", "[0.790,", "0.810]", "2"],
        ["100%", "60.0", "0.900", "[0.890,", "0.910]", "0.900", "[0.890,", "0.910]", "2"],
    ]
    assert lines[-1] == "50% chosen labels lose 0.015 against all labels (2 seeds): the bar is met"
    assert format_table(make_results(0.87)).splitlines()[-1] == "chosen labels are nowhere within 0.02 of all labels"


def test_the_bar_compares_the_same_seeds():
    # The second seed is not finished: its reference, which is higher, does not count.
    results = {key: row for key, row in make_results(0.885).items() if key.seed == 0 or key.method in ("all", "start")}
    assert format_table(results).splitlines()[-1] == (
        "50% chosen labels lose 0.015 against all labels (1 seeds): the bar is met"
    )


def test_random_stretches_do_not_overlap_and_stay_within_the_budget():
    starts = np.arange(0, 90, 5)
    candidates = stretches(["a"] * 18 + ["b"] * 18, np.tile(np.stack([starts, starts + 10], axis=1), (2, 1)))
    chosen = choose_randomly(candidates, 75, np.random.default_rng(1))
    assert len(chosen) == 7
    for title in "ab":
        spans = sorted(candidates.spans_sec[index].tolist() for index in chosen if candidates.titles[index] == title)
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
    assert chosen != choose_randomly(candidates, 75, np.random.default_rng(2))


def test_only_stretches_without_a_decided_segment_are_left():
    candidates = stretches(["a", "a", "b"], [[0, 6], [6, 13.5], [0, 6]])
    assert list_spans(candidates, 3.0) == [("a", 0, 2), ("a", 2, 5), ("b", 0, 2)]
    matches = [make_match("a", [0] * 5), make_match("b", [0] * 4)]
    is_decided_of = decided_segments(matches, [("a", 4, 5), ("b", 3, 4)])
    assert {title: decided.tolist() for title, decided in is_decided_of.items()} == {
        "a": [False] * 4 + [True],
        "b": [False] * 3 + [True],
    }
    left = bench_labels.find_undecided(candidates, is_decided_of, 3.0)
    assert list_spans(left, 3.0) == [("a", 0, 2), ("b", 0, 2)]


def test_undecided_segments_and_padding_have_no_weight():
    matches = [make_match("a", [0, 1, 1, 0, 0, 0, 1]), make_match("b", [0] * 6)]
    is_decided_of = {"a": np.array([1, 1, 0, 0, 0, 0, 0], bool), "b": np.array([0, 0, 0, 0, 1, 1], bool)}
    weights_of, num_sequences = {"0": 0.0, "1": 0.0}, 0
    for inputs, targets, weights in feature_network.batches(matches, is_decided_of, 3, np.random.default_rng(0)):
        assert inputs["audio"].shape == (feature_network.BATCH_SIZE, 3, 2, 1)
        assert weights.shape == (feature_network.BATCH_SIZE, 3)
        assert np.array_equal(targets["highlight"][..., 0], inputs["segment_energy"][..., 0])
        num_sequences += int(weights.any(axis=1).sum())
        for label in (0, 1):
            weights_of[str(label)] += weights[targets["highlight"][..., 0] == label].sum()
    # Decided are one highlight and three others: both classes weigh the same, half of the four segments.
    assert weights_of == pytest.approx({"0": 2.0, "1": 2.0})
    assert 2 <= num_sequences <= 4


def test_video_features_are_the_mean_colours_and_their_changes():
    video = np.zeros((2, 4, 16, 16, 3), np.uint8)
    video[1, 2:, :8] = 255
    features = feature_network.video_features(video, 2)  # of the frames 1 and 3 of each segment
    colours, motion = np.split(features, [8 * 8 * 3], axis=-1)
    assert colours[1, 1].reshape(8, 8, 3)[:4].tolist() == np.ones((4, 8, 3)).tolist()
    assert colours[0].max() == colours[1, 0].max() == colours[1, 1].reshape(8, 8, 3)[4:].max() == 0
    assert motion.max() == 0  # it changes between the frames 1 and 2
    assert feature_network.video_features(video, 4)[1, 2, -64:].max() == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "expected --data_dir DATASET, or --report"), (["--data_dir", "a", "--seeds", "-1"], "--seeds: received")],
)
def test_wrong_arguments_are_named(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit_info:
        bench_labels.main(arguments)
    assert exit_info.value.code == 2
    assert message in capsys.readouterr().err


def test_a_dataset_that_is_too_small_is_refused(dataset_dir, tmp_path, capsys):
    assert bench_labels.main(["--data_dir", str(dataset_dir), "--results", str(tmp_path / "rows.jsonl")]) == 1
    assert "received 20 s of training matches, expected more, as 10% of it is shorter" in capsys.readouterr().err


def test_a_folder_that_is_no_dataset_is_one_line(tmp_path, capsys):
    assert bench_labels.main(["--data_dir", str(tmp_path / "gone"), "--results", str(tmp_path / "rows.jsonl")]) == 1
    assert capsys.readouterr().err.startswith("bench_labels.py: error: ")
