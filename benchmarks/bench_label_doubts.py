"""Measure how well `main.py --folds` finds wrong labels: in a copy of a dataset, some labels are made wrong on purpose.

    python benchmarks/bench_label_doubts.py --data_dir DATASET
    python benchmarks/bench_label_doubts.py --data_dir A B --ratio 0.1 --seeds 0 1 2 --folds 5

A part of the sections, 5 % by default, is shifted by its own length, removed or invented, a third each. Networks are
trained on these labels. An error counts as found if its section, or the one that it was shifted from, is in the first
tenth of label_doubts.csv. The segments of the copy are links to those of the dataset. With --work_dir, an interrupted
run continues, as main.py --resume does.
"""

import argparse
import csv
import json
import math
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import main as training  # noqa: E402
from videosummarizer.dataset import storage  # noqa: E402
from videosummarizer.dataset.metadata import DatasetError, parse_match  # noqa: E402
from videosummarizer.sections import label_segments, merge_sections  # noqa: E402

KINDS = ("shifted", "removed", "invented")
# An error is found by a row of the list that covers more than this part of it.
MIN_COVERED = 0.5
# The part of the list that an editor looks at.
LOOKED_AT = 0.1


def make_errors(sections_of: dict, durations_sec: dict, ratio: float, seed: int) -> tuple[dict, list[dict]]:
    """Shift, remove or invent sections.

    Args:
        sections_of: for each title (num_sections, 2) float64 seconds.
        durations_sec: the length of each match.
        ratio: number of errors, as a fraction of the number of sections.
        seed: of the choice.

    Returns:
        The sections with errors, by title; and a dict for each error: its title, its kind, and the sections, `spans`,
        that a list of doubts can name.
    """
    rng = np.random.default_rng(seed)
    sections = {title: rows.tolist() for title, rows in sections_of.items()}
    places = [(title, section) for title, rows in sections.items() for section in rows]
    lengths_sec = [end - start for _, (start, end) in places]
    errors = []
    chosen = rng.permutation(len(places))[: max(len(KINDS), round(ratio * len(places)))]
    for number, index in enumerate(chosen):
        kind, (title, (start, end)) = KINDS[number % len(KINDS)], places[index]
        if kind == "invented":
            taken = {title: [*rows, *sections_of[title].tolist()] for title, rows in sections.items()}
            title, span = invent(taken, durations_sec, rng.choice(lengths_sec), rng)
            sections[title].append(span)
            errors.append({"title": title, "kind": kind, "spans": [span]})
            continue
        sections[title].remove([start, end])
        spans = [[start, end]]
        if kind == "shifted":
            shift = (end - start) * rng.choice((-1, 1))
            if not 0 <= start + shift < end + shift <= durations_sec[title]:
                shift = -shift
            shifted = [max(0.0, start + shift), min(durations_sec[title], end + shift)]
            sections[title].append(shifted)
            spans.append(shifted)
        errors.append({"title": title, "kind": kind, "spans": spans})
    return {title: merge_sections(sorted(map(tuple, rows))) for title, rows in sections.items()}, errors


def invent(taken: dict, durations_sec: dict, length_sec: float, rng: np.random.Generator) -> tuple[str, list[float]]:
    """Return a title, and a section of a length that overlaps none of the sections that are taken in this match."""
    titles = sorted(title for title in taken if durations_sec[title] > length_sec)
    while True:
        title = titles[rng.integers(len(titles))]
        start = float(rng.uniform(0, durations_sec[title] - length_sec))
        if all(start + length_sec < other[0] or start > other[1] for other in taken[title]):
            return title, [start, start + length_sec]


def copy_with_errors(data_dir: Path, copy_dir: Path, ratio: float, seed: int) -> list[dict]:
    """Make a dataset of the same segments with wrong labels, and return its errors as of `make_errors`.

    Raises:
        DatasetError: the dataset cannot be read, or does not name its sections.
    """
    files = storage.open_dataset(data_dir)
    metadata, config = json.loads((data_dir / "metadata.json").read_text()), training.DataLoader(data_dir).config
    if "videos" not in metadata:
        raise DatasetError(f"{data_dir}: received a dataset of the first version, expected one that names its sections")
    records = {record["title"]: record for record in metadata["videos"]}
    segments = {title: storage.list_segments(files, title, r["segment_count"]) for title, r in records.items()}
    matches = {
        title: parse_match(data_dir, title, [file.label for file in segments[title]], config, records)
        for title in records
    }
    durations_sec = {title: match.duration_sec for title, match in matches.items()}
    sections_of, errors = make_errors(
        {title: match.sections_sec for title, match in matches.items()}, durations_sec, ratio, seed
    )
    for title, record in records.items():
        labels = label_segments(sections_of[title], len(segments[title]), config.segment_length)
        record |= {"sections": sections_of[title].tolist(), "highlight_count": int(labels.sum())}
        (copy_dir / title).mkdir(parents=True)
        for file, label in zip(segments[title], labels, strict=True):
            os.symlink((data_dir / title / file.name).resolve(), copy_dir / title / f"seg_{file.index:05d}_{label}.pkl")
    (copy_dir / "metadata.json").write_text(json.dumps(metadata))
    return errors


def count_found(errors: list[dict], rows: list[dict]) -> dict[str, list[bool]]:
    """Return for each kind of error which ones are in the first tenth of the rows of label_doubts.csv."""
    first = rows[: math.ceil(LOOKED_AT * len(rows))]
    found = {kind: [] for kind in KINDS}
    for error in errors:
        covered = [
            (min(end, float(row["end_sec"])) - max(start, float(row["start_sec"]))) / (end - start)
            for row in first
            if row["title"] == error["title"]
            for start, end in error["spans"]
        ]
        found[error["kind"]].append(max(covered, default=0) > MIN_COVERED)
    return found


def measure(data_dir: Path, work_dir: Path, ratio: float, seed: int, main_flags: list[str]) -> dict[str, list[bool]]:
    """Train on a copy of a dataset with errors, and return which of them are found, as of `count_found`.

    Raises:
        DatasetError: the dataset cannot be used.
        SystemExit: main.py failed.
    """
    errors_path, copy_dir, ckpt_dir = work_dir / "errors.json", work_dir / "dataset", work_dir / "checkpoints"
    if not errors_path.exists():
        shutil.rmtree(copy_dir, ignore_errors=True)
        errors_path.parent.mkdir(parents=True, exist_ok=True)
        errors = copy_with_errors(data_dir, copy_dir, ratio, seed)
        errors_path.write_text(json.dumps(errors))
    resume = ["--resume"] if ckpt_dir.exists() else []
    if status := training.main(["--data_dir", str(copy_dir), "--ckpt_dir", str(ckpt_dir), *main_flags, *resume]):
        raise SystemExit(status)
    with open(ckpt_dir / "label_doubts.csv", newline="", encoding="utf-8") as file:
        return count_found(json.loads(errors_path.read_text()), list(csv.DictReader(file)))


def format_found(name: str, seed: int, found: dict[str, list[bool]]) -> str:
    """Return a line with the number of errors that were found, in total and by kind."""
    everything = [is_found for kind in KINDS for is_found in found[kind]]
    kinds = ", ".join(f"{kind} {sum(found[kind])} of {len(found[kind])}" for kind in KINDS)
    total = f"{sum(everything)} of {len(everything)} wrong labels ({np.mean(everything):.0%})"
    return f"{name}, seed {seed}: {total} are in the first tenth of the list: {kinds}"


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark and return the exit status: 0, or 1 if a dataset cannot be used or main.py failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--data_dir", nargs="+", type=Path, required=True, help="Folders of datasets.")
    add("--ratio", type=float, default=0.05, help="Errors, as a fraction of the sections (default: %(default)s).")
    add("--seeds", nargs="+", type=int, default=[0], help="Seeds of the errors (default: 0).")
    add("--folds", type=int, default=5, help="Number of folds (default: %(default)s).")
    add("--epochs", type=int, help="Epochs of each fold (default: that of main.py).")
    add("--work_dir", type=Path, help="Folder that is kept, so that an interrupted run continues (default: a new one).")
    args = parser.parse_args(argv)
    main_flags = ["--folds", str(args.folds), *([] if args.epochs is None else ["--epochs", str(args.epochs)])]
    lines = []
    with tempfile.TemporaryDirectory() as temporary:
        for data_dir in args.data_dir:
            for seed in args.seeds:
                work_dir = (args.work_dir or Path(temporary)) / f"{data_dir.resolve().name}_{seed}"
                try:
                    found = measure(data_dir, work_dir, args.ratio, seed, main_flags)
                except DatasetError as error:
                    print(f"error: {error}", file=sys.stderr)
                    return 1
                lines.append(format_found(data_dir.resolve().name, seed, found))
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
