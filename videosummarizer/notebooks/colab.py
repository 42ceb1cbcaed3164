"""Copy between Google Drive and a Colab machine, and install on the machine what the project needs.

The project's folder on the Drive is permanent. The machine's own disk is fast, but is deleted when the session ends.

This module imports at the top only what Colab has already, because it installs the rest.
"""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from tqdm import tqdm

from videosummarizer.match_files import find_file, find_label_path, is_system_file
from videosummarizer.training import earlier_run, resume_point


class DriveError(Exception):
    """Something is missing on the Drive or on this machine; the message says what it is and what to do."""


# Patterns of the files, in the project's folder, that are copied to the machine.
SOURCES = ("*.py", "requirements.txt", "videosummarizer/**/*")
# Bytes that are copied between two updates of the progress bar.
CHUNK_BYTES = 2**22


def copy_source(project_dir: Path, source_dir: Path) -> None:
    """Copy the project's modules from the Drive, and put the copy at the front of the import path.

    Args:
        project_dir: the project's folder on the Drive.
        source_dir: folder on the machine.
    """
    paths = [path for pattern in SOURCES for path in project_dir.glob(pattern) if path.is_file()]
    copy_files(project_dir, source_dir, paths, "Copying the source")
    if str(source_dir) not in sys.path:
        sys.path.insert(0, str(source_dir))
    importlib.invalidate_caches()


def find_dataset_zip(project_dir: Path, name: str) -> Path:
    """Return the path of the dataset's .zip.

    Args:
        project_dir: the project's folder on the Drive.
        name: name of the .zip; if it is empty, the only `dataset*.zip` is returned.

    Raises:
        DriveError: no such file exists, or the name is empty and several exist.
    """
    paths = [find_file(project_dir / name)] if name else sorted(project_dir.glob("dataset*.zip"))
    if len(paths) > 1:
        names = ", ".join(path.name for path in paths)
        raise DriveError(f"{project_dir}: received several datasets ({names}), expected one: name it in the first cell")
    if not paths or not paths[0].is_file():
        raise DriveError(
            f"{project_dir}: there is no {name or 'dataset*.zip'}, expected the .zip of a dataset folder, such as "
            "dataset14_sl5_vsr3_vw64_vh64_asr11025.zip: put it there"
        )
    return paths[0]


def fetch_dataset(zip_path: Path, local_dir: Path) -> Path:
    """Copy a dataset's .zip from the Drive, unpack it, and return the dataset folder.

    Args:
        zip_path: the .zip on the Drive.
        local_dir: folder on the machine, for the copy and, next to it, the dataset folder.

    Raises:
        metadata.DatasetError: the .zip holds no dataset, or cannot be unpacked safely.
    """
    from videosummarizer.dataset.unpacking import unpack_dataset

    if copy_files(zip_path.parent, local_dir, [zip_path], f"Copying {zip_path.name}"):
        shutil.rmtree((local_dir / zip_path.name).with_suffix(""), ignore_errors=True)  # unpacked from an earlier .zip
    return unpack_dataset(local_dir / zip_path.name)


def fetch_match(path: Path, local_dir: Path) -> Path:
    """Copy a match and its label file, if it has one, from the Drive, and return the path of the copied match.

    Args:
        path: the match on the Drive.
        local_dir: folder on the machine.
    """
    path = find_file(path)
    paths = [path for path in (path, find_label_path(path)) if path.is_file()]
    copy_files(path.parent, local_dir, paths, f"Copying {path.name}")
    return local_dir / path.name


def copy_files(source_dir: Path, target_dir: Path, paths: Iterable[Path], description: str) -> list[Path]:
    """Copy files of one folder to the same relative paths in another, atomically, with a progress bar in bytes.

    Files that exist there with the same size and time are left out.

    Args:
        source_dir: folder of the files.
        target_dir: folder of the copies.
        paths: the files, in `source_dir` or in folders inside it.
        description: label of the progress bar.

    Returns:
        The files that were copied.
    """
    stats = {path: path.stat() for path in paths}
    target_of = {path: target_dir / path.relative_to(source_dir) for path in stats}
    new = [path for path, stat in stats.items() if not is_copy(stat, target_of[path])]
    num_bytes = sum(stats[path].st_size for path in new)
    with tqdm(total=num_bytes, desc=description, unit="B", unit_scale=True, disable=not new) as bar:
        for path in new:
            atomic_copy(path, target_of[path], bar.update)
    return new


def is_copy(source_stat: os.stat_result, target: Path) -> bool:
    """Return whether a file exists and has the source's size and, to the second, its modification time."""
    if not target.is_file():
        return False
    stat = target.stat()
    return (stat.st_size, int(stat.st_mtime)) == (source_stat.st_size, int(source_stat.st_mtime))


def atomic_copy(source: Path, target: Path, on_bytes=lambda num_bytes: None) -> None:
    """Copy a file and its modification time; the target is complete or unchanged.

    Args:
        source: the file.
        target: the copy; its folder is created if necessary.
        on_bytes: called with the number of bytes of each chunk.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    with open(source, "rb") as reader, open(part, "wb") as writer:
        while chunk := reader.read(CHUNK_BYTES):
            on_bytes(writer.write(chunk))
    stat = source.stat()
    os.utime(part, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    part.replace(target)


def installed_versions() -> dict[str, str]:
    """Return the version of each installed package by its canonical name."""
    distributions = importlib.metadata.distributions()
    return {canonicalize_name(package.name): package.version for package in distributions if package.name}


def unmet_requirements(requirements: Iterable[str], installed: dict[str, str]) -> list[str]:
    """Return the requirements that the installed packages do not meet.

    Any installed TensorFlow is accepted, because Colab's own fits the machine's GPU.

    Args:
        requirements: lines of a requirements file.
        installed: from `installed_versions`.
    """

    def is_met(line: str) -> bool:
        requirement = Requirement(line)
        version = installed.get(canonicalize_name(requirement.name))
        return version is not None and (requirement.name == "tensorflow" or version in requirement.specifier)

    return [line for line in requirements if not is_met(line)]


def constraints_for(missing: Iterable[str], installed: dict[str, str]) -> list[str]:
    """Return constraints for pip that keep every installed package unchanged except those to be updated.

    Args:
        missing: requirements that are going to be installed.
        installed: from `installed_versions`.
    """
    changing = {canonicalize_name(Requirement(line).name) for line in missing}
    return [f"{name}=={version}" for name, version in installed.items() if name not in changing and is_version(version)]


def is_version(text: str) -> bool:
    """Return whether pip accepts a version; some system packages have other ones."""
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


def install_missing(requirements_path: Path) -> None:
    """Install with pip the requirements that the machine does not meet; all other packages stay unchanged.

    Args:
        requirements_path: a requirements file.

    Raises:
        DriveError: pip failed.
    """
    installed = installed_versions()
    missing = unmet_requirements(requirements_path.read_text().split(), installed)
    if not missing:
        print(f"Nothing to install; TensorFlow {installed['tensorflow']}")
        return
    print(f"Installing {', '.join(missing)}; TensorFlow {installed.get('tensorflow', 'is not installed yet')}")
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder, "constraints.txt")
        constraints.write_text("\n".join(constraints_for(missing, installed)))
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *missing]
        result = subprocess.run([*command, "-c", str(constraints)], capture_output=True, text=True)
    if result.returncode:
        lines = result.stderr.strip().splitlines() or ["no reason given"]
        raise DriveError(
            f"pip cannot install {', '.join(missing)} ({lines[-1]}): run this cell again, or choose a newer runtime"
        )
    importlib.invalidate_caches()


def describe_gpu() -> str:
    """Return a sentence that names the GPU TensorFlow uses, or says how to get one."""
    from videosummarizer.training.keras_backend import silence_native_stderr

    with silence_native_stderr():
        import tensorflow

        gpus = tensorflow.config.list_physical_devices("GPU")
        names = [tensorflow.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
    if names:
        return f"TensorFlow {tensorflow.__version__} trains on the GPU {', '.join(names)}."
    return (
        f"TensorFlow {tensorflow.__version__} sees no GPU and trains on the processor. On Colab, choose a GPU under "
        "Runtime, Change runtime type, and run the notebook again."
    )


class DriveSync:
    """Synchronises a folder on the machine with a folder on the Drive; every file is copied atomically.

    Args:
        local_dir: the folder on the machine; nothing else may use it.
        project_dir: the project's folder on the Drive.
        name: name of the folder on the Drive, inside the project's folder.

    Attributes:
        local_dir: as given.
        drive_dir: the folder on the Drive.
        pushed: size in bytes and time in nanoseconds of each file when it was last copied.

    Raises:
        DriveError: the name is not that of a folder inside the project's folder.
    """

    def __init__(self, local_dir: Path, project_dir: Path, name: str):
        if name in ("", "..") or Path(name).name != name:
            raise DriveError(
                f"received {name!r}, expected the name of a folder for results in {project_dir}: checkpoints"
            )
        self.local_dir, self.drive_dir = local_dir, project_dir / name
        # The machine's times are remembered, because the Drive does not always keep times.
        self.pushed: dict[Path, tuple[int, int]] = {}

    def pull(self) -> None:
        """Replace the folder on the machine by a copy of the one on the Drive."""
        shutil.rmtree(self.local_dir, ignore_errors=True)
        self.local_dir.mkdir(parents=True)
        copy_files(
            self.drive_dir, self.local_dir, files_in(self.drive_dir), f"Copying {self.drive_dir.name} from the Drive"
        )
        self.pushed = self.signatures()

    def push(self) -> None:
        """Copy new and changed files to the Drive. A failure is printed, and the next call tries again."""
        for path, signature in self.signatures().items():
            if self.pushed.get(path) == signature:
                continue
            try:
                atomic_copy(path, self.drive_dir / path.relative_to(self.local_dir))
            except OSError as error:
                tqdm.write(f"{path.name}: not copied to the Drive, it stays in {self.local_dir} for now ({error})")
                return
            self.pushed[path] = signature

    def signatures(self) -> dict[Path, tuple[int, int]]:
        """Return the size in bytes and the modification time in nanoseconds of each file on the machine."""
        return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in files_in(self.local_dir)}


def files_in(folder: Path) -> list[Path]:
    """Return all complete files in a folder, the resume point last, because it refers to the others."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not is_ignored(path.relative_to(folder))]
    return sorted(paths, key=lambda path: (path.name == resume_point.FILE_NAME, path))


def is_ignored(relative_path: Path) -> bool:
    """Return whether the name of a file marks it as being written, or it or its folder is one that systems leave."""
    return relative_path.name.endswith(".part") or any(map(is_system_file, relative_path.parts))


def resume_flags(ckpt_dir: Path, settings: dict[str, float]) -> list[str]:
    """Return the flags with which main.py resumes the run in a folder, and print its progress.

    A run of which no epoch was copied completely is started again. Its files on the Drive stay.

    Args:
        ckpt_dir: folder of the run.
        settings: flags that are given, such as --epochs; they have to be those that the run was started with.

    Raises:
        resume_point.ResumeError: the run's resume point is damaged, or the run was started with other settings.
    """
    if not (ckpt_dir / resume_point.FILE_NAME).exists():
        print("No earlier run was found: training starts.")
        return ["--overwrite"] if earlier_run.find_files(ckpt_dir) else []
    state = resume_point.read(ckpt_dir, settings)
    num_done, num_epochs = len(state.history), state.settings["--epochs"]
    rest = "training is finished" if num_done == num_epochs else f"training resumes with epoch {num_done + 1}"
    print(f"{num_done} of {num_epochs} epochs are on the Drive: {rest}.")
    return ["--resume"]
