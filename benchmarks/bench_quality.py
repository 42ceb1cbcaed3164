"""Compare the quality of `python main.py --data_dir DATASET` with the 2020 release and with baselines.

    python benchmarks/bench_quality.py --data_dir DATASET                     everything, seeds 0, 1 and 2
    python benchmarks/bench_quality.py --data_dir A B --methods main.py loudness --seeds 0
    python benchmarks/bench_quality.py --report                               only the tables of what is finished

Each network is trained on train; its epoch (lowest log loss) and its operating point are chosen on valid; test is read
once, at the end. The loudness threshold and the activity (videosummarizer/extraction/activity.py) get their operating
points by the same rule. Metrics are means over the seeds, with the lowest and the highest. The training time includes
validation and saving, and for main.py reading; the networks of the 2020 release (benchmarks/release_2020.py) get their
arrays from memory.

Each finished row is appended to the file of --results at once: one line of JSON with the dataset, the method, the seed,
the epochs, a digest of the code that decides the result, the metrics, the training time and the number of cores. A row
that is in the file is not measured again. So the benchmark can be interrupted and continued, and several processes can
share the file.
"""

import argparse
import contextlib
import hashlib
import importlib
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import joblib
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import main as training  # noqa: E402
from benchmarks import release_2020  # noqa: E402
from data_loader import DataLoader  # noqa: E402
from videosummarizer.dataset.metadata import SUBSETS, DatasetError  # noqa: E402
from videosummarizer.evaluation import quality_report  # noqa: E402
from videosummarizer.evaluation.operating_point import OperatingPoint, ScoredMatch, choose_operating_point  # noqa: E402
from videosummarizer.extraction import activity  # noqa: E402
from videosummarizer.interruption import EXIT_STATUS  # noqa: E402
from videosummarizer.training import inference, validation  # noqa: E402
from videosummarizer.training.checkpoint import CheckpointError, read_checkpoint  # noqa: E402
from videosummarizer.training.validation import TrainingError  # noqa: E402

# Names of the methods in the tables, by their names in --methods.
METHODS = {
    "main.py": "main.py",
    "basic": "2020 release, basic",
    "sequence": "2020 release, sequence",
    "loudness": "loudness threshold",
    "activity": "activity, nothing learned",
    "everything": "everything is a highlight",
}
# Methods without a network, which give the same result with every seed.
SEEDLESS_METHODS = ("loudness", "activity", "everything")
# Columns of the tables, as functions of a result.
METRICS = {
    "AP by segment": lambda result: result["per_segment"]["average_precision"],
    "F1 by segment": lambda result: result["per_segment"]["f1"],
    "event F1, IoU 0.3": lambda result: result["per_event"]["iou_0.3"]["f1"],
    "event F1, IoU 0.5": lambda result: result["per_event"]["iou_0.5"]["f1"],
    "ECE by segment": lambda result: result.get("calibration_error"),
    "training, s": lambda result: result["training_sec"],
}
# Python files that decide the result, relative to the repository.
CODE = (
    *("model.py", "data_loader.py", "main.py", "benchmarks/bench_quality.py", "benchmarks/release_2020.py"),
    *("videosummarizer/dataset/*.py", "videosummarizer/training/*.py", "videosummarizer/evaluation/*.py"),
    *(
        "videosummarizer/extraction/activity.py",
        "videosummarizer/extraction/measures.py",
        "videosummarizer/sections.py",
    ),
)
# Characters of a digest in the file and in the tables.
DIGEST_LENGTH = 12

# The scores of a subset: of its segments, (num_segments,) float, and of their time steps, (num_segments, K) float.
Scores = tuple[np.ndarray, np.ndarray]


# ---- Results on disk


@dataclass(frozen=True)
class RowKey:
    """What decides a result, so that it is not measured twice.

    Attributes:
        dataset: name of the dataset's folder or .zip.
        dataset_digest: digest of its metadata.json.
        method: key of METHODS.
        seed: of the network. None for a method without a network.
        epochs: of the network. None for a method without a network.
        code_digest: as of `digest_code`.
    """

    dataset: str
    dataset_digest: str
    method: str
    seed: int | None
    epochs: int | None
    code_digest: str


def digest_code() -> str:
    """Return a digest of the files in CODE: their paths and contents."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in CODE for path in ROOT.glob(pattern)):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(ROOT).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:DIGEST_LENGTH]


def append_row(path: Path, key: RowKey, result: dict) -> None:
    """Append a finished row. Other processes may append to the same file at the same time."""
    line = (json.dumps(asdict(key) | result) + "\n").encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        if os.write(descriptor, line) != len(line):  # in one call, so that no other process writes in between
            raise OSError(f"{path}: only a part of the line could be written")
    finally:
        os.close(descriptor)


def read_results(path: Path) -> dict[RowKey, dict]:
    """Read all finished rows; a line that is no row is left out with a warning. A missing file has none."""
    results = {}
    for number, line in enumerate(path.read_bytes().splitlines() if path.exists() else [], 1):
        try:
            row = json.loads(line)
            key = RowKey(**{name: row.pop(name) for name in RowKey.__annotations__})
            format_row(METHODS[key.method], [row])  # fails if anything is missing
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            print(f"warning: {path}, line {number}: left out, no result: {error!r}", file=sys.stderr)
            continue
        results[key] = row
    return results


# ---- Methods


class Dataset:
    """A dataset to measure.

    Attributes:
        data_dir: its folder or .zip.
        epochs: epochs of main.py, or None for its default.
        loader: the dataset, as main.py opens it.
        digest: digest of its metadata.json.
        num_epochs: epochs of each method with a network.

    Raises:
        DatasetError: the dataset is damaged, or a subset lacks a class.
    """

    def __init__(self, data_dir: str, epochs: int | None):
        self.data_dir, self.epochs = data_dir, epochs
        self.name = Path(data_dir).resolve().name
        args = self.main_args()
        self.loader = training.load_data(args)
        metadata = json.dumps(self.loader.metadata, sort_keys=True)
        self.digest = hashlib.sha256(metadata.encode()).hexdigest()[:DIGEST_LENGTH]
        of_release = epochs or release_2020.NUM_EPOCHS
        self.num_epochs = {"main.py": args.epochs, "basic": of_release, "sequence": of_release}

    def main_args(self, *further: str) -> argparse.Namespace:
        """Return the arguments of `python main.py --data_dir DATASET`."""
        epochs = [] if self.epochs is None else ["--epochs", str(self.epochs)]
        return training.parse_args(["--data_dir", self.data_dir, *epochs, *further])

    @cached_property
    def subsets(self) -> dict[str, release_2020.Subset]:
        """Return the subsets in memory, for the networks of the 2020 release."""
        return {subset: release_2020.read_subset(self.loader, subset) for subset in SUBSETS}

    def row_keys(self, methods: list[str], seeds: list[int], code_digest: str) -> list[RowKey]:
        """Return the rows to measure, one seed after the other."""
        return [
            RowKey(self.name, self.digest, method, seed, self.num_epochs.get(method), code_digest)
            for seed in [None, *seeds]
            for method in methods
            if (method in SEEDLESS_METHODS) == (seed is None) and not self.is_unavailable(method)
        ]

    def is_unavailable(self, method: str) -> bool:
        """Return whether a method needs waveforms, which a dataset of MFCCs lacks."""
        return method in ("loudness", "activity") and self.loader.config.apply_mfcc


def measure(dataset: Dataset, key: RowKey) -> dict:
    """Measure a row.

    Returns:
        The metrics of `evaluate`; `training_sec`, None for a method without a network; and for main.py, whose scores
        are calibrated, `calibration_error` by segment.
    """
    loader, point, training_sec = dataset.loader, None, None
    if key.method == "main.py":
        scores, point, training_sec = run_main(dataset, key.seed)
    elif key.method == "loudness":
        scores = {subset: validation.rms_levels(loader, subset) for subset in ("valid", "test")}
    elif key.method == "activity":
        scores = {subset: activity_scores(loader, subset) for subset in ("valid", "test")}
    elif key.method == "everything":
        scores = {"test": one_step_scores(np.ones((loader.num_segments["test"], 1)))}
        point = quality_report.ALWAYS_HIGHLIGHT
    else:
        scores, training_sec = release_2020.train(dataset.subsets, key.method == "sequence", key.seed, key.epochs)
        scores = {subset: one_step_scores(of_subset) for subset, of_subset in scores.items()}
    result = evaluate(loader, scores, point) | {"training_sec": training_sec}
    if key.method == "main.py":
        calibration = quality_report.evaluate_calibration(score_test_matches(loader, scores))
        result["calibration_error"] = calibration["per_segment"]["expected_calibration_error"]
    return result


def run_main(dataset: Dataset, seed: int) -> tuple[dict[str, Scores], OperatingPoint, float]:
    """Run `python main.py --data_dir DATASET`.

    Returns:
        The scores of test, the operating point in the checkpoint, and the seconds of the training.
    """
    with tempfile.TemporaryDirectory() as ckpt_dir:
        args = dataset.main_args("--seed", str(seed), "--ckpt_dir", ckpt_dir)
        loader = training.load_data(args)
        begin = time.perf_counter()
        ckpt_path = training.train(args, loader)
        training_sec = time.perf_counter() - begin
        checkpoint = read_checkpoint(Path(ckpt_path))
        network = inference.load_network(checkpoint)
    return {"test": validation.predict(network, loader, "test")}, checkpoint.point, training_sec


def activity_scores(loader: DataLoader, subset: str) -> Scores:
    """Return the activity of a subset, by which highlight_extractor.py finds sections without a checkpoint."""
    scores = [
        activity.score_segments(loader.read_match(files), loader.config, loader.num_steps, match.duration_sec)[:2]
        for match, files in zip(loader.matches(subset), loader.files_by_match(subset), strict=True)
    ]
    return tuple(map(np.concatenate, zip(*scores, strict=True)))


def one_step_scores(scores: np.ndarray) -> Scores:
    """Return segment scores, (num_segments, 1) float, as `validation.predict` does, with one step per segment."""
    return scores[:, 0], scores


def evaluate(loader: DataLoader, scores: dict[str, Scores], point: OperatingPoint | None) -> dict[str, dict]:
    """Compute the test metrics of `quality_report.evaluate_once`.

    Args:
        loader: the dataset.
        scores: of test and, if the operating point is chosen here, of valid.
        point: the operating point; None to choose it on valid.
    """
    if point is None:
        point = choose_operating_point(quality_report.score_matches(loader.matches("valid"), *scores["valid"]))
    return quality_report.evaluate_once(score_test_matches(loader, scores), point)


def score_test_matches(loader: DataLoader, scores: dict[str, Scores]) -> list[ScoredMatch]:
    """Return the test matches with their scores."""
    return quality_report.score_matches(loader.matches("test"), *scores["test"])


# ---- Tables


def format_tables(results: dict[RowKey, dict]) -> str:
    """Return a table for each dataset, and for each state of the code that it was measured with."""

    def table_of(key: RowKey) -> tuple[str, str, str]:
        return key.dataset, key.dataset_digest, key.code_digest

    def row_of(key: RowKey) -> tuple[int, int]:
        return list(METHODS).index(key.method), key.epochs or 0

    tables = []
    for table, keys in itertools.groupby(sorted(results, key=table_of), key=table_of):
        lines = ["{}, metadata {}, code {}".format(*table)]
        lines.append(f"{'':36}" + "".join(f"{title:>23}" for title in METRICS) + f"{'seeds':>7}")
        for (_, epochs), of_row in itertools.groupby(sorted(keys, key=row_of), key=row_of):
            of_row = list(of_row)
            name = METHODS[of_row[0].method] + (f", {epochs} epochs" if epochs else "")
            lines.append(format_row(name, [results[key] for key in of_row]))
        tables.append("\n".join(lines))
    return "\n\n".join(tables)


def format_row(name: str, results: list[dict]) -> str:
    """Return a line of a table: the mean of each metric and, of several results, the lowest and the highest."""
    cells = []
    for title, metric in METRICS.items():
        values = [metric(result) for result in results if metric(result) is not None]
        digits = 0 if title == "training, s" else 3
        cell = f"{np.mean(values):.{digits}f}" if values else "-"
        cells.append(f"{cell} [{min(values):.{digits}f}, {max(values):.{digits}f}]" if len(values) > 1 else cell)
    return f"{name:36}" + "".join(f"{cell:>23}" for cell in cells) + f"{len(results):>7}"


# ---- Command


def run(args: argparse.Namespace) -> None:
    """Measure the rows that are not in the file yet, and append each to it."""
    code_digest = digest_code()
    for module in ("model", "videosummarizer.training.training_run"):
        importlib.import_module(module)  # now, so that an edit of the code does not change a run that has begun
    with args.results.open("ab"):  # a file that cannot be written fails here, not after the first training
        pass
    datasets = [Dataset(data_dir, args.epochs) for data_dir in args.data_dir]  # all are checked before the first row
    for dataset in datasets:
        if any(map(dataset.is_unavailable, args.methods)):
            print(
                f"{dataset.name}: no loudness threshold and no activity, because MFCCs have no level", file=sys.stderr
            )
        for key in dataset.row_keys(args.methods, args.seeds, code_digest):
            name = f"{key.dataset}: {METHODS[key.method]}" + ("" if key.seed is None else f", seed {key.seed}")
            if key in read_results(args.results):  # again for each row: another process may have finished it
                print(f"{name}: in {args.results}", file=sys.stderr)
                continue
            print(f"{name} ...", file=sys.stderr)
            with contextlib.redirect_stdout(sys.stderr):  # keeps main.py's epoch lines out of the tables
                result = measure(dataset, key)
            append_row(args.results, key, result | {"num_cores": joblib.cpu_count()})
    measured = {(dataset.digest, code_digest) for dataset in datasets}
    print_tables(args, lambda key: (key.dataset_digest, key.code_digest) in measured)


def print_tables(args: argparse.Namespace, is_shown: Callable[[RowKey], bool] = lambda key: True) -> None:
    """Print the tables of --methods and --data_dir, with all seeds and epochs that are in the file."""
    names = {Path(data_dir).resolve().name for data_dir in args.data_dir}
    results = read_results(args.results)
    shown = [key for key in results if key.method in args.methods and (not names or key.dataset in names)]
    print(format_tables({key: results[key] for key in shown if is_shown(key)}) or f"{args.results}: no results")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line. A wrong argument exits with status 2 and a message that names it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data_dir", nargs="+", default=[], metavar="DATASET", help="Datasets of data_converter.py.")
    add("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD",
        help=f"Methods to measure: {', '.join(METHODS)} (default: all).")  # fmt: skip
    add("--seeds", type=int, nargs="+", default=[0, 1, 2], help="Seeds of every network (default: 0 1 2).")
    add("--epochs", type=int, help="Epochs of every network (default: main.py's own, and "
        f"{release_2020.NUM_EPOCHS} for the 2020 release).")  # fmt: skip
    add("--results", type=Path, default=Path("quality_results.jsonl"), metavar="FILE",
        help="File of the finished rows (default: %(default)s).")  # fmt: skip
    add("--report", action="store_true", help="Only print the tables of the finished rows, of all datasets by default.")
    args = parser.parse_args(argv)
    if not args.data_dir and not args.report:
        parser.error("expected --data_dir DATASET, or --report")
    if args.epochs is not None and args.epochs < 1:
        parser.error(f"argument --epochs: received {args.epochs}, expected a number above 0")
    if not all(0 <= seed < 2**32 for seed in args.seeds):
        parser.error(f"argument --seeds: received {args.seeds}, expected whole numbers from 0 to {2**32 - 1}")
    return args


def main(argv: list[str] | None = None) -> int:
    """Measure or report, and return the exit status: 0, 1 for bad input, 130 for Ctrl-C."""
    args = parse_args(argv)
    try:
        if args.report:
            print_tables(args)
        else:
            run(args)
    except (DatasetError, CheckpointError, TrainingError, OSError) as error:
        print(f"bench_quality.py: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"Interrupted. Finished rows are in {args.results}; the same command continues", file=sys.stderr)
        return EXIT_STATUS
    return 0


if __name__ == "__main__":
    sys.exit(main())
