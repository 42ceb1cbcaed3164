"""Measure what fine-tuning on a few matches of another kind gains on that kind, and what it costs on the old one.

    python benchmarks/bench_fine_tuning.py --data_dir DATASET --other '^freedoom1'

The matches whose titles match the expression are of the other kind: other maps, for example. A network is trained on
the old kind, then fine-tuned with `main.py --init_ckpt` on five matches of the other kind, four to train on and one for
validation. Both are tested on the remaining matches of each kind, and so is a network trained on the five alone.
The test subset of the dataset is left out. Segments are links to those of the dataset. With --work_dir, trainings that
are finished are kept, and an interrupted run continues.
"""

import argparse
import json
import os
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import main as training  # noqa: E402
from videosummarizer.dataset import storage  # noqa: E402
from videosummarizer.dataset.metadata import DatasetError  # noqa: E402
from videosummarizer.dataset.split import assign_subset  # noqa: E402

NUM_FINE_TUNED = 5


def divide(titles: list[str], other: re.Pattern) -> tuple[dict[str, str], dict[str, str]]:
    """Give each match of train and valid a new subset.

    Args:
        titles: Of all matches.
        other: Matches the titles of the other kind.

    Returns:
        old_kind: A subset for each title of the old kind. Those of train stay there; every second one of valid is
            tested.
        other_kind: The same for the other kind: four to train on and one to validate on, of as many maps as there are
            (what a title begins with, up to its last underscore), the others to test on.

    Raises:
        DatasetError: A kind has too few matches.
    """
    subset_of = {title: assign_subset(title) for title in sorted(titles)}
    used = [title for title, subset in subset_of.items() if subset != "test"]
    old_kind = {title: subset_of[title] for title in used if not other.search(title)}
    validated = [title for title, subset in old_kind.items() if subset == "valid"]
    old_kind |= dict.fromkeys(validated[1::2], "test")
    counts, order = Counter(), []
    for title in filter(other.search, used):
        group = title.rpartition("_")[0]
        order.append((counts[group], title))
        counts[group] += 1
    others = [title for _, title in sorted(order)]
    if len(set(old_kind.values())) < 3 or len(others) <= NUM_FINE_TUNED:
        raise DatasetError(
            f"--other: received an expression that {len(others)} of the {len(used)} matches of train and valid match, "
            f"expected more than {NUM_FINE_TUNED}, and others to train, validate and test on"
        )
    subsets = ["train"] * (NUM_FINE_TUNED - 1) + ["valid"] + ["test"] * (len(others) - NUM_FINE_TUNED)
    return old_kind, dict(zip(others, subsets, strict=True))


def retitle(title: str, subset: str) -> str:
    """Return a title that begins like another one and whose hash assigns it to a subset."""
    return next(name for n in range(10_000) if assign_subset(name := f"{title}_{n}") == subset)


def write_dataset(data_dir: Path, copy_dir: Path, subset_of: dict[str, str]) -> None:
    """Write a dataset of some matches of another one, in given subsets. The segments are links.

    Raises:
        DatasetError: The dataset cannot be read.
    """
    storage.open_dataset(data_dir)
    metadata, records = json.loads((data_dir / "metadata.json").read_text()), []
    for record in metadata["videos"]:
        if record["title"] not in subset_of:
            continue
        title = retitle(record["title"], subset_of[record["title"]])
        (copy_dir / title).mkdir(parents=True, exist_ok=True)
        for path in (data_dir / record["title"]).iterdir():
            if not (copy_dir / title / path.name).exists():
                os.symlink(path.resolve(), copy_dir / title / path.name)
        records.append(record | {"title": title})
    metadata |= {"videos": records, "total_segment_count": sum(record["segment_count"] for record in records)}
    (copy_dir / "metadata.json").write_text(json.dumps(metadata))


def train(data_dir: Path, ckpt_dir: Path, flags: list[str]) -> Path:
    """Train unless it is done already. Returns the best checkpoint, the last that was saved."""
    if not (ckpt_dir / "test_report.json").exists():
        call_main(
            ["--data_dir", data_dir, "--ckpt_dir", ckpt_dir, *flags, *(["--resume"] if ckpt_dir.exists() else [])]
        )
    return max(ckpt_dir.glob("*.hdf5"))


def test(ckpt_path: Path, data_dir: Path, output_dir: Path) -> str:
    """Test a checkpoint and return its figures: average precision by segment, event F1 at IoU 0.3 and 0.5."""
    if not (output_dir / "test_report.json").exists():
        call_main(["--mode", "test", "--ckpt", ckpt_path, "--data_dir", data_dir, "--ckpt_dir", output_dir])
    metrics = json.loads((output_dir / "test_report.json").read_text())["model"]
    f1 = " / ".join(f"{metrics['per_event'][f'iou_{iou}']['f1']:.3f}" for iou in (0.3, 0.5))
    return f"{metrics['per_segment']['average_precision']:.3f}; {f1}"


def call_main(arguments: list) -> None:
    """Run main.py. Raises SystemExit if it fails."""
    if status := training.main(list(map(str, arguments))):
        raise SystemExit(status)


def measure(args: argparse.Namespace, work_dir: Path) -> list[str]:
    """Train and test the networks. Returns the lines of the table.

    Raises:
        DatasetError: The dataset cannot be used.
    """
    titles = [record["title"] for record in json.loads((args.data_dir / "metadata.json").read_text())["videos"]]
    kinds = dict(zip(("old", "other"), divide(titles, args.other), strict=True))
    for kind, subset_of in kinds.items():
        write_dataset(args.data_dir, work_dir / kind, subset_of)
    seed = ["--seed", str(args.seed)]
    before = train(work_dir / "old", work_dir / "ckpt_old", seed)
    fine_tuning = ["--learning_rate", str(args.learning_rate), "--epochs", str(args.epochs), "--init_ckpt", str(before)]
    ckpt_paths = {
        "before": before,
        "fine-tuned": train(work_dir / "other", work_dir / "ckpt_fine_tuned", [*seed, *fine_tuning]),
        "trained on the five alone": train(work_dir / "other", work_dir / "ckpt_alone", seed),
    }
    lines = [f"{'AP; event F1, IoU 0.3 / 0.5':28}{'other kind':>24}{'old kind':>24}"]
    for name, ckpt_path in ckpt_paths.items():
        cells = [test(ckpt_path, work_dir / kind, ckpt_path.parent / f"test_{kind}") for kind in ("other", "old")]
        lines.append(f"{name:28}" + "".join(f"{cell:>24}" for cell in cells))
    return lines


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark and return the exit status: 0, or 1 if the dataset cannot be used or main.py failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--data_dir", type=Path, required=True, help="Folder of a dataset.")
    add("--other", type=re.compile, required=True, metavar="REGEX", help="Matches the titles of the other kind.")
    add("--learning_rate", type=float, default=0.0003, help="Of the fine-tuning (default: %(default)s).")
    add("--epochs", type=int, default=24, help="Of the fine-tuning (default: %(default)s).")
    add("--seed", type=int, default=0, help="Of all networks (default: %(default)s).")
    add("--work_dir", type=Path, help="Folder that is kept, so that an interrupted run continues (default: a new one).")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        try:
            print("\n".join(measure(args, args.work_dir or Path(temporary))))
        except (DatasetError, OSError) as error:
            print(f"bench_fine_tuning.py: error: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
