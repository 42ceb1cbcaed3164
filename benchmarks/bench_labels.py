"""Measure how many minutes of labels `label_next.py` saves: its choice is replayed on a labelled dataset.

    python benchmarks/bench_labels.py --data_dir DATASET                  seeds 0 to 4
    python benchmarks/bench_labels.py --data_dir A B --seeds 0 --quick    a few updates, to try it
    python benchmarks/bench_labels.py --report                            only the tables of what is finished

A tenth of the time of the training matches is labelled at random; the rest is undecided. A network is trained on it.
Then another tenth is labelled, up to a half: the stretches that the network of the step before chooses
(videosummarizer/extraction/label_choice.py), or random stretches of the same length. After each step, a new network is
trained, and measured on test. The reference is a network with all training labels. Epoch, fusion weights and operating
point come from valid, which is labelled in any case.

A training of main.py takes too long for 50 of them: the network has its heads on features that are not learned
(benchmarks/feature_network.py). So the figures say what the choice of labels is worth, and nothing about main.py.

Each finished row is appended to the file of --results at once, and is not measured again: the benchmark can be
interrupted and continued.
"""

import argparse
import hashlib
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import feature_network  # noqa: E402
from benchmarks.bench_quality import DIGEST_LENGTH, append_row  # noqa: E402
from benchmarks.feature_network import FeatureMatch  # noqa: E402
from data_loader import DataLoader  # noqa: E402
from videosummarizer.dataset.metadata import SUBSETS, DatasetError  # noqa: E402
from videosummarizer.evaluation import metrics, quality_report  # noqa: E402
from videosummarizer.evaluation.operating_point import choose_operating_point  # noqa: E402
from videosummarizer.extraction import label_choice  # noqa: E402
from videosummarizer.extraction.label_choice import Candidates  # noqa: E402
from videosummarizer.extraction.match_signals import MODALITIES, MatchSignals  # noqa: E402
from videosummarizer.interruption import EXIT_STATUS  # noqa: E402

# Parts of the training time that are labelled, one after the other.
RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5)
QUICK_RATIOS = (0.1, 0.2)
NUM_UPDATES = 400
QUICK_NUM_UPDATES = 20
# The quality that the chosen labels have to reach, below that of all labels, and with which part of the time.
MAX_LOSS = 0.02
MAX_RATIO = 0.5
START, CHOSEN, RANDOM, ALL = "start", "chosen", "random", "all"
# Python files that decide the result, relative to the repository.
CODE = ("benchmarks/bench_labels.py", "benchmarks/feature_network.py", "model.py",
        "videosummarizer/extraction/label_choice.py", "videosummarizer/training/fusion.py",
        "videosummarizer/training/layers.py", "videosummarizer/training/optimization.py")  # fmt: skip

# Stretches of matches: title, first segment, and the segment after the last.
Spans = list[tuple[str, int, int]]


@dataclass(frozen=True)
class RowKey:
    """What decides a result, so that it is not measured twice.

    Attributes:
        dataset: Name of the dataset's folder or .zip.
        dataset_digest: Digest of its metadata.json.
        method: START, CHOSEN, RANDOM or ALL.
        ratio: The part of the training time that is labelled.
        seed: Of the network and of what is random.
        num_updates: Of the weights, in each training.
        code_digest: Digest of CODE.
    """

    dataset: str
    dataset_digest: str
    method: str
    ratio: float
    seed: int
    num_updates: int
    code_digest: str


class Dataset:
    """A dataset to measure.

    Attributes:
        loader: The dataset, as main.py opens it.
        name: Name of its folder or .zip.
        digest: Digest of its metadata.json.
        matches: The FeatureMatches of each subset.

    Raises:
        DatasetError: The dataset is damaged, or a subset lacks a class.
    """

    def __init__(self, data_dir: str):
        self.loader = DataLoader(data_dir)
        self.loader.require_both_classes(*SUBSETS)
        self.name = Path(data_dir).resolve().name
        content = json.dumps(self.loader.metadata, sort_keys=True)
        self.digest = hashlib.sha256(content.encode()).hexdigest()[:DIGEST_LENGTH]
        self.matches: dict[str, list[FeatureMatch]] = {}

    def read(self) -> None:
        """Compute the features, unless that is done."""
        if not self.matches:
            self.matches = {subset: feature_network.read_subset(self.loader, subset) for subset in SUBSETS}

    @property
    def num_stretch_segments(self) -> int:
        """Return the number of segments of a stretch."""
        return label_choice.count_stretch_segments(sum(self.loader.context.dilations), self.loader.num_steps)

    @property
    def train_sec(self) -> float:
        """Return the seconds of the training matches."""
        return sum(match.duration_sec for match in self.loader.matches("train"))


def digest_code() -> str:
    """Return a digest of the files in CODE."""
    digest = hashlib.sha256()
    for name in CODE:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()[:DIGEST_LENGTH]


# ---- Which time is labelled


def decided_segments(matches: list[FeatureMatch], spans: Spans | None) -> dict[str, np.ndarray]:
    """Return for each title (num_segments,) bool: the segments of the spans; None stands for all."""
    is_decided_of = {match.title: np.full(len(match.labels), spans is None) for match in matches}
    for title, first, end in spans or ():
        is_decided_of[title][first:end] = True
    return is_decided_of


def find_undecided(candidates: Candidates, is_decided_of: dict[str, np.ndarray], segment_length: float) -> Candidates:
    """Return the stretches without a decided segment."""
    spans = list_spans(candidates, segment_length)
    return candidates.take(np.array([not is_decided_of[title][first:end].any() for title, first, end in spans], bool))


def list_spans(candidates: Candidates, segment_length: float) -> Spans:
    """Return the segments of each stretch."""
    edges = np.ceil(np.round(candidates.spans_sec / segment_length, 6)).astype(int).tolist()
    return [(title, first, end) for title, (first, end) in zip(candidates.titles, edges, strict=True)]


def choose_randomly(candidates: Candidates, budget_sec: float, rng: np.random.Generator) -> list[int]:
    """Choose stretches at random that do not overlap, within a budget. Returns their indices."""
    _, match_of = np.unique(candidates.titles, return_inverse=True)
    lengths_sec = np.diff(candidates.spans_sec, axis=1)[:, 0]
    is_free, chosen = np.ones(len(lengths_sec), bool), []
    for index in rng.permutation(len(lengths_sec)):
        if is_free[index] and lengths_sec[index] <= budget_sec + 1e-6:
            chosen.append(int(index))
            budget_sec -= lengths_sec[index]
            is_free &= ~label_choice.overlaps(candidates, match_of, index)
    return chosen


def plain_candidates(dataset: Dataset) -> Candidates:
    """Return the stretches of the training matches, without what a network shows of them."""
    signals = []
    for match in dataset.matches["train"]:
        steps = np.full(match.steps.shape, 0.5)
        features = np.zeros((len(steps), 1))
        signals.append(MatchSignals(steps, np.repeat(steps[:, None], 3, axis=1), features, np.ones(3), np.array(0)))
    return divide(dataset, signals, 0.5)


def divide(dataset: Dataset, signals: list[MatchSignals], threshold: float) -> Candidates:
    """Return the stretches of the training matches."""
    length, num_segments = dataset.loader.config.segment_length, dataset.num_stretch_segments
    return Candidates.join(
        [
            label_choice.divide_match(match.title, of_match, match.duration_sec, length, num_segments, threshold)
            for match, of_match in zip(dataset.matches["train"], signals, strict=True)
        ]
    )


def choose_next(dataset: Dataset, network, is_decided_of: dict[str, np.ndarray], budget_sec: float) -> Spans:
    """Return the stretches that a network chooses, of the undecided time of the training matches."""
    from videosummarizer.training import network_features

    loader, valid = dataset.loader, dataset.matches["valid"]
    rows = feature_network.predict(network, valid, ("highlight", "steps"))
    point = choose_operating_point(quality_report.score_matches(loader.matches("valid"), rows[:, 0], rows[:, 1:]))
    extended, signals = network_features.add_features(network), []
    names = ["steps", *(f"{modality}_steps" for modality in MODALITIES), *network_features.FEATURE_OUTPUTS]
    for match in dataset.matches["train"]:
        rows = feature_network.predict(extended, [match], names)
        scores, features = np.split(rows, [loader.num_steps * 4], axis=1)
        scores = scores.reshape(len(rows), 4, -1).astype(np.float64)
        weights = np.array(network_features.read_fusion_weights(network))
        signals.append(MatchSignals(scores[:, 0], scores[:, 1:], features, weights, np.array(0)))
    candidates = divide(dataset, signals, point.threshold)
    candidates = find_undecided(candidates, is_decided_of, loader.config.segment_length)
    spans = list_spans(candidates, loader.config.segment_length)
    return [spans[choice.index] for choice in label_choice.choose_stretches(candidates, budget_sec)]


def draw_next(dataset: Dataset, is_decided_of: dict[str, np.ndarray], budget_sec: float, seed: tuple) -> Spans:
    """Return random stretches of the undecided time of the training matches."""
    length = dataset.loader.config.segment_length
    candidates = find_undecided(plain_candidates(dataset), is_decided_of, length)
    spans = list_spans(candidates, length)
    return [spans[index] for index in choose_randomly(candidates, budget_sec, np.random.default_rng(seed))]


# ---- Rows


def measure(dataset: Dataset, key: RowKey, spans: Spans | None, next_ratio: float | None) -> dict:
    """Train a network on the labels of some spans, measure it on test, and find what is labelled next.

    Args:
        dataset: The dataset.
        key: The row.
        spans: What is labelled; None for everything.
        next_ratio: The part of the training time after the next step, None after the last one.

    Returns:
        The average precision, the minutes, the number of highlights, and for each method that goes on from here the
        spans that are labelled next.
    """
    begin, train_matches = time.perf_counter(), dataset.matches["train"]
    is_decided_of = decided_segments(train_matches, spans)
    network = feature_network.train(
        train_matches, dataset.matches["valid"], is_decided_of, dataset.loader, key.seed, key.num_updates
    )
    decided = np.concatenate([match.labels[is_decided_of[match.title]] for match in train_matches])
    result = {
        "average_precision": average_precision(network, dataset.matches["test"]),
        "valid_average_precision": average_precision(network, dataset.matches["valid"]),
        "minutes": len(decided) * dataset.loader.config.segment_length / 60,
        "num_highlights": int(decided.sum()),
    }
    if next_ratio is not None:
        budget_sec = next_ratio * dataset.train_sec - result["minutes"] * 60
        if key.method in (START, CHOSEN):
            result[f"next_{CHOSEN}"] = choose_next(dataset, network, is_decided_of, budget_sec)
        if key.method in (START, RANDOM):
            seed = (key.seed, round(100 * next_ratio))
            result[f"next_{RANDOM}"] = draw_next(dataset, is_decided_of, budget_sec, seed)
    return result | {"training_sec": time.perf_counter() - begin}


def average_precision(network, matches: list[FeatureMatch]) -> float:
    """Return the average precision of a network's scores for the segments of matches."""
    scores = feature_network.predict(network, matches, ("highlight",))[:, 0]
    labels = np.concatenate([match.labels for match in matches])
    return metrics.evaluate(labels, scores, scores >= 0.5)["average_precision"]


def read_results(path: Path) -> dict[RowKey, dict]:
    """Read all finished rows; a line that is no row is left out with a warning. A missing file has none."""
    results = {}
    for number, line in enumerate(path.read_bytes().splitlines() if path.exists() else [], 1):
        try:
            row = json.loads(line)
            key = RowKey(**{name: row.pop(name) for name in RowKey.__annotations__})
            float(row["average_precision"]), float(row["minutes"])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            print(f"warning: {path}, line {number}: left out, no result: {error!r}", file=sys.stderr)
            continue
        results[key] = row
    return results


def run_seed(dataset: Dataset, seed: int, args: argparse.Namespace, code_digest: str) -> None:
    """Measure the rows of a seed that are not in the file yet, and append each to it."""

    def row(method: str, ratio: float, spans: Spans | None, next_ratio: float | None) -> dict:
        key = RowKey(dataset.name, dataset.digest, method, ratio, seed, args.num_updates, code_digest)
        result = read_results(args.results).get(key)
        if result is None:
            dataset.read()
            result = measure(dataset, key, spans, next_ratio)
            append_row(args.results, key, result)
        values = f"{result['minutes']:.1f} minutes, average precision {result['average_precision']:.3f}"
        print(f"{dataset.name}, seed {seed}, {method}: {values}", file=sys.stderr)
        return result

    ratios, stretch_sec = args.ratios, dataset.num_stretch_segments * dataset.loader.config.segment_length
    if ratios[0] * dataset.train_sec < stretch_sec:
        raise DatasetError(
            f"{dataset.name}: received {dataset.train_sec:.0f} s of training matches, expected more, as "
            f"{ratios[0]:.0%} of it is shorter than a stretch ({stretch_sec:.0f} s)"
        )
    row(ALL, 1.0, None, None)
    dataset.read()
    nothing = decided_segments(dataset.matches["train"], [])
    start = draw_next(dataset, nothing, ratios[0] * dataset.train_sec, (seed, round(100 * ratios[0])))
    first = row(START, ratios[0], start, ratios[1])
    for method in (CHOSEN, RANDOM):
        spans, result = start, first
        for ratio, next_ratio in zip(ratios[1:], (*ratios[2:], None), strict=True):
            spans = [*spans, *map(tuple, result[f"next_{method}"])]
            result = row(method, ratio, spans, next_ratio)


# ---- Report


def format_table(results: dict[RowKey, dict]) -> str:
    """Return a table for each dataset and version of the code: average precision against minutes, and the bar."""
    tables = []
    for name in sorted({(key.dataset, key.dataset_digest, key.code_digest, key.num_updates) for key in results}):
        rows = {
            key: row
            for key, row in results.items()
            if (key.dataset, key.dataset_digest, key.code_digest, key.num_updates) == name
        }
        lines = ["{}, metadata {}, code {}, {} updates".format(*name)]
        lines.append(f"{'labelled':>10}{'minutes':>10}{'chosen':>24}{'random':>24}{'seeds':>8}")
        for ratio in sorted({key.ratio for key in rows}):
            of_ratio = {
                method: [row for key, row in rows.items() if (key.method, key.ratio) == (method, ratio)]
                for method in (START, CHOSEN, RANDOM, ALL)
            }
            both = of_ratio[START] + of_ratio[ALL]
            chosen, random = both + of_ratio[CHOSEN], both + of_ratio[RANDOM]
            minutes = np.mean([row["minutes"] for row in chosen + random])
            cells = "".join(f"{format_values(part):>24}" for part in (chosen, random))
            lines.append(f"{ratio:>10.0%}{minutes:>10.1f}{cells}{max(len(chosen), len(random)):>8}")
        lines.append(describe_bar(rows))
        tables.append("\n".join(lines))
    return "\n\n".join(tables)


def format_values(rows: list[dict]) -> str:
    """Return the mean of the average precisions and, of several, the lowest and the highest."""
    values = [row["average_precision"] for row in rows]
    if len(values) < 2:
        return f"{values[0]:.3f}" if values else "-"
    return f"{np.mean(values):.3f} [{min(values):.3f}, {max(values):.3f}]"


def describe_bar(rows: dict[RowKey, dict]) -> str:
    """Return with which part of the labels the chosen ones are as good as all, less MAX_LOSS, in seeds with both."""
    values = {
        (key.ratio, key.seed): row["average_precision"]
        for key, row in rows.items()
        if key.method in (START, CHOSEN, ALL)
    }
    loss_of = {}
    for ratio in sorted({ratio for ratio, _ in values} - {1.0}):
        seeds = [seed for of_ratio, seed in values if of_ratio == ratio and (1.0, seed) in values]
        if seeds:
            loss_of[ratio] = float(np.mean([values[1.0, seed] - values[ratio, seed] for seed in seeds])), len(seeds)
    reached = [ratio for ratio, (loss, _) in loss_of.items() if loss <= MAX_LOSS]
    if not reached:
        return f"chosen labels are nowhere within {MAX_LOSS} of all labels"
    loss, num_seeds = loss_of[reached[0]]
    verdict = "the bar is met" if reached[0] <= MAX_RATIO else "the bar is missed"
    return f"{reached[0]:.0%} chosen labels lose {loss:.3f} against all labels ({num_seeds} seeds): {verdict}"


# ---- Command


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line. A wrong argument exits with status 2 and a message that names it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data_dir", nargs="+", default=[], metavar="DATASET", help="Datasets of data_converter.py.")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="Seeds (default: 0 to 4).")
    add("--results", type=Path, default=Path("label_results.jsonl"), metavar="FILE",
        help="File of the finished rows (default: %(default)s).")  # fmt: skip
    add("--quick", action="store_true", help="Train little, and label only twice, to try the benchmark.")
    add("--report", action="store_true", help="Only print the tables of the finished rows.")
    args = parser.parse_args(argv)
    if not args.data_dir and not args.report:
        parser.error("expected --data_dir DATASET, or --report")
    if not all(0 <= seed < 2**32 for seed in args.seeds):
        parser.error(f"argument --seeds: received {args.seeds}, expected whole numbers from 0 to {2**32 - 1}")
    args.ratios = QUICK_RATIOS if args.quick else RATIOS
    args.num_updates = QUICK_NUM_UPDATES if args.quick else NUM_UPDATES
    return args


def main(argv: list[str] | None = None) -> int:
    """Measure or report, and return the exit status: 0, 1 for bad input, 130 for Ctrl-C."""
    args = parse_args(argv)
    try:
        if not args.report:
            code_digest = digest_code()
            for dataset in map(Dataset, args.data_dir):
                for seed in args.seeds:
                    run_seed(dataset, seed, args, code_digest)
        print(format_table(read_results(args.results)) or f"{args.results}: no results")
    except (DatasetError, OSError) as error:
        print(f"bench_labels.py: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"Interrupted. Finished rows are in {args.results}; the same command continues", file=sys.stderr)
        return EXIT_STATUS
    return 0


if __name__ == "__main__":
    sys.exit(main())
