"""Unpack the dataset in a .zip once, unless it would fill the disk.

The .zip may be untrusted: only metadata.json and the files of segments are written, into the dataset's own folder.
"""

import os
import shutil
from pathlib import Path

from tqdm import tqdm

from videosummarizer.dataset.metadata import DatasetError, segment_counts
from videosummarizer.dataset.output_folder import unexpected_files
from videosummarizer.dataset.storage import FolderFiles, ZipFiles
from videosummarizer.dataset.zip_archive import ZipArchive

# A .zip that unpacks to more than 20 times its size is a zip bomb. Video compresses to a third or a fifth.
MAX_UNPACKED_RATIO = 20
# Up to 1 GiB is no zip bomb: small test data of still frames and silence compresses much further.
MIN_BOMB_BYTES = 2**30


def unpack_dataset(zip_path: str | os.PathLike, folder: str | os.PathLike | None = None) -> Path:
    """Unpack the dataset in a .zip.

    A folder that already contains the complete dataset is used as it is. An interrupted unpacking leaves
    `<folder>.part`, which the next one replaces.

    Args:
        zip_path: the .zip.
        folder: where to unpack it, by default next to the .zip, under its name without .zip.

    Returns:
        The path of the folder.

    Raises:
        metadata.DatasetError: the .zip contains no dataset or a damaged one. Or it unpacks to more than the disk has
            free, or to more than both MIN_BOMB_BYTES and MAX_UNPACKED_RATIO times its size. Or the folder contains
            something else, which is not changed.
    """
    files = ZipFiles(Path(zip_path))
    folder = Path(folder) if folder else Path(zip_path).with_suffix("")
    sizes = files.segment_sizes()
    if os.path.lexists(folder):
        if not is_unpacked(files, sizes, folder):
            raise DatasetError(
                f"{folder}: received a folder with other files than {zip_path} contains: move or delete it, and the "
                "dataset is unpacked there"
            )
        return folder
    part = folder.with_name(f"{folder.name}.part")
    if part.is_dir() and (unexpected := unexpected_files(part)):
        raise DatasetError(
            f"{part}: received a folder with files that no unpacking writes ({', '.join(unexpected[:5])}): move or "
            "delete it, as the dataset is unpacked there first"
        )
    num_bytes = sum(sizes.values()) + len(files.metadata_content)
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        check_disk_space(files.archive, num_bytes, part)
        with tqdm(total=num_bytes, desc=f"Unpacking {files.path.name}", unit="B", unit_scale=True) as bar:
            for (title, name), size in sizes.items():
                (part / title).mkdir(exist_ok=True)
                (part / title / name).write_bytes(files.read(title, name))
                bar.update(size)
            (part / "metadata.json").write_bytes(files.metadata_content)
            bar.update(len(files.metadata_content))
        part.rename(folder)
    except OSError as error:
        raise DatasetError(f"{folder}: the dataset cannot be unpacked there ({error})") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def is_unpacked(files: ZipFiles, sizes: dict[tuple[str, str], int], folder: Path) -> bool:
    """Return whether a folder contains the dataset of a .zip.

    It does if its metadata.json is the same and it has all segments, each with the same size.
    """
    try:
        existing = FolderFiles(folder)
        is_same = (folder / "metadata.json").read_bytes() == files.metadata_content
        names = {(title, name) for title in segment_counts(existing.metadata) for name in existing.names(title)}
        return is_same and names == set(sizes) and all(existing.size(*name) == sizes[name] for name in names)
    except (DatasetError, OSError):
        return False


def check_disk_space(archive: ZipArchive, num_bytes: int, folder: Path) -> None:
    """Check that a .zip is not a zip bomb and that its contents fit on the disk.

    Args:
        archive: the .zip.
        num_bytes: the size of its contents.
        folder: where they are unpacked.

    Raises:
        metadata.DatasetError: they are too large.
    """
    limit, free = max(MAX_UNPACKED_RATIO * archive.size, MIN_BOMB_BYTES), shutil.disk_usage(folder).free
    sizes = f"{archive.size / 1e9:.3f} GB that unpacks to {num_bytes / 1e9:.3f} GB"
    received = f"{archive.path}: received a .zip of {sizes}"
    if num_bytes > limit:
        raise DatasetError(
            f"{received}, expected at most {limit / 1e9:.3f} GB, {MAX_UNPACKED_RATIO} times its size: such a .zip is "
            "made to fill the disk"
        )
    if num_bytes > free:
        raise DatasetError(
            f"{received}, expected at most {free / 1e9:.3f} GB, which is free in {folder.parent}: make room there"
        )
