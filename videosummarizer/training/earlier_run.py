"""The files of an earlier run in --ckpt_dir. A new run replaces them only if it is asked to, and then all of them."""

import shutil
from pathlib import Path

from videosummarizer.atomic_file import FolderError
from videosummarizer.training import resume_point

# The files of a training run and of its test, as patterns. A run with --folds has them in a folder for each fold, too.
FILE_PATTERNS = (
    "ckpt-*.hdf5",
    "history.csv",
    "history.png",
    resume_point.FILE_NAME,
    "fold_scores.npz",
    "test_report.json",
    "predictions.csv",
    "precision_recall.png",
    "calibration.png",
    "test_matches*.png",
    "label_doubts.csv",
    "label_doubts.html",
)
FOLD_PATTERN = "fold_*"
# Folders of TensorBoard's logs, one for each run.
LOG_PATTERN = "logs/ckpt-*"
# The most names in a message.
MAX_NAMES = 3


def find_files(ckpt_dir: Path) -> list[Path]:
    """Return the files of earlier runs in a folder, which need not exist. TensorBoard's logs are not among them."""
    folders = [ckpt_dir, *sorted(ckpt_dir.glob(FOLD_PATTERN))]
    return [path for folder in folders for pattern in FILE_PATTERNS for path in sorted(folder.glob(pattern))]


def require_none(ckpt_dir: Path) -> None:
    """Check that a folder has no files of an earlier run.

    Raises:
        atomic_file.FolderError: It has some. The message names the first ones, and says what to do.
    """
    paths = find_files(ckpt_dir)
    if not paths:
        return
    names = [str(path.relative_to(ckpt_dir)) for path in paths]
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    can_resume = any(path.name == resume_point.FILE_NAME for path in paths)
    resuming = "continue that run with --resume, " if can_resume else ""
    raise FolderError(
        f"{ckpt_dir}: received the folder of an earlier run ({', '.join(names[:MAX_NAMES])}{more}), expected an empty "
        f"one: {resuming}replace it with --overwrite, or choose another --ckpt_dir"
    )


def delete(ckpt_dir: Path) -> None:
    """Delete the files of earlier runs in a folder, and print how many. Other files stay.

    Raises:
        OSError: A file cannot be deleted.
    """
    paths = find_files(ckpt_dir)
    for path in paths:
        path.unlink()
    for folder in (ckpt_dir, *ckpt_dir.glob(FOLD_PATTERN)):
        for log_dir in folder.glob(LOG_PATTERN):
            shutil.rmtree(log_dir)
    for folder in ckpt_dir.glob(FOLD_PATTERN):
        for empty in (folder / "logs", folder):
            if empty.is_dir() and not any(empty.iterdir()):
                empty.rmdir()
    if paths:
        print(f"{ckpt_dir}: {len(paths)} files of an earlier run were deleted (--overwrite)")
