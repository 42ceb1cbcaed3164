"""Google Colab: the project's folder on the Drive, which stays, and the machine's own disk, which is fast and goes when
the session ends.

Imports at the top what Colab has, and no more: this module installs the rest.
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

from videosummarizer.training import resume_point


class DriveError(Exception):
    """The Drive's folder or this machine lacks something; the message says what and what to do."""


SOURCES = ("*.py", "requirements.txt", "videosummarizer/**/*")
CHUNK_BYTES = 2**22


def copy_source(project_dir: Path, source_dir: Path) -> None:
    """Copy the project's modules from the Drive, and import them from the copy from now on."""
    paths = [path for pattern in SOURCES for path in project_dir.glob(pattern) if path.is_file()]
    copy_files(project_dir, source_dir, paths, "Copying the source")
    if str(source_dir) not in sys.path:
        sys.path.insert(0, str(source_dir))
    importlib.invalidate_caches()


def find_dataset_zip(project_dir: Path, name: str) -> Path:
    """The dataset's .zip in the project's folder, by its name or, without one, the only `dataset*.zip`.

    Raises:
        DriveError: it is not there, or there are several.
    """
    paths = [project_dir / name] if name else sorted(project_dir.glob("dataset*.zip"))
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
    """Copy a dataset's .zip from the Drive into a folder of its own and unpack it beside its copy; the dataset folder.

    Raises:
        metadata.DatasetError: it is none, or cannot be unpacked safely.
    """
    from videosummarizer.dataset.storage import unpack_dataset

    if copy_files(zip_path.parent, local_dir, [zip_path], f"Copying {zip_path.name}"):
        shutil.rmtree((local_dir / zip_path.name).with_suffix(""), ignore_errors=True)  # of an earlier .zip
    return unpack_dataset(local_dir / zip_path.name)


def fetch_match(path: Path, local_dir: Path) -> Path:
    """Copy a match, and its label file if there is one, from the Drive into a folder; the copy's path."""
    paths = [path for path in (path, path.with_suffix(".txt")) if path.is_file()]
    copy_files(path.parent, local_dir, paths, f"Copying {path.name}")
    return local_dir / path.name


def copy_files(source_dir: Path, target_dir: Path, paths: Iterable[Path], description: str) -> list[Path]:
    """Copy files below one folder to the same places below another, each whole or not at all, with a bar of all bytes.
    Those that are there with the same size and time are left out; returns what was copied."""
    states = {path: path.stat() for path in paths}
    target_of = {path: target_dir / path.relative_to(source_dir) for path in states}
    new = [path for path, state in states.items() if not is_copy(state, target_of[path])]
    num_bytes = sum(states[path].st_size for path in new)
    with tqdm(total=num_bytes, desc=description, unit="B", unit_scale=True, disable=not new) as bar:
        for path in new:
            atomic_copy(path, target_of[path], bar.update)
    return new


def is_copy(state: os.stat_result, target: Path) -> bool:
    """Whether a file is there with the size and the time, to the second, of another."""
    if not target.is_file():
        return False
    there = target.stat()
    return (there.st_size, int(there.st_mtime)) == (state.st_size, int(state.st_mtime))


def atomic_copy(source: Path, target: Path, on_bytes=lambda num_bytes: None) -> None:
    """Copy a file and its time, whole or not at all; on_bytes is called with the bytes of each chunk."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    with open(source, "rb") as reader, open(part, "wb") as writer:
        while chunk := reader.read(CHUNK_BYTES):
            on_bytes(writer.write(chunk))
    state = source.stat()
    os.utime(part, ns=(state.st_atime_ns, state.st_mtime_ns))
    part.replace(target)


def installed_versions() -> dict[str, str]:
    """The version of each installed package by its canonical name."""
    return {canonicalize_name(found.name): found.version for found in importlib.metadata.distributions() if found.name}


def unmet_requirements(requirements: Iterable[str], installed: dict[str, str]) -> list[str]:
    """The requirements that installed packages do not meet. A TensorFlow that is there always does: Colab's own fits
    the machine's GPU."""

    def is_met(line: str) -> bool:
        requirement = Requirement(line)
        version = installed.get(canonicalize_name(requirement.name))
        return version is not None and (requirement.name == "tensorflow" or version in requirement.specifier)

    return [line for line in requirements if not is_met(line)]


def constraints_for(missing: Iterable[str], installed: dict[str, str]) -> list[str]:
    """Constraints for pip that keep every installed package as it is, but those that are to be brought up to date."""
    changing = {canonicalize_name(Requirement(line).name) for line in missing}
    return [f"{name}=={version}" for name, version in installed.items() if name not in changing and is_version(version)]


def is_version(text: str) -> bool:
    """Whether pip reads a version; systems have packages with others."""
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


def install_missing(requirements_path: Path) -> None:
    """Install with pip what the requirements ask for and the machine lacks; everything else stays as it is.

    Raises:
        DriveError: pip could not.
    """
    installed = installed_versions()
    missing = unmet_requirements(requirements_path.read_text().split(), installed)
    if not missing:
        print(f"Nothing to install; TensorFlow {installed['tensorflow']}")
        return
    print(f"Installing {', '.join(missing)}; TensorFlow {installed.get('tensorflow', 'is not there yet')}")
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
    """A sentence on the GPU that TensorFlow sees here, or on how to get one."""
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
    """A folder on the machine whose files are copied to one on the Drive as they appear, each whole or not at all.

    Args:
        local_dir: the folder on the machine, which belongs to this alone.
        project_dir, name: the project's folder on the Drive, and the folder in it.

    Raises:
        DriveError: the name leads elsewhere.
    """

    def __init__(self, local_dir: Path, project_dir: Path, name: str):
        if name in ("", "..") or Path(name).name != name:
            raise DriveError(
                f"received {name!r}, expected the name of a folder for results in {project_dir}: checkpoints"
            )
        self.local_dir, self.drive_dir = local_dir, project_dir / name
        self.saved: dict[Path, tuple[int, int]] = {}  # size and time; the Drive does not keep times for sure

    def restore(self) -> None:
        """Make the folder on the machine what the one on the Drive is."""
        shutil.rmtree(self.local_dir, ignore_errors=True)
        self.local_dir.mkdir(parents=True)
        copy_files(
            self.drive_dir, self.local_dir, files_in(self.drive_dir), f"Copying {self.drive_dir.name} from the Drive"
        )
        self.saved = self.states()

    def save(self) -> None:
        """Copy what is new or has changed to the Drive. Where that fails, it is told, and tried again the next time."""
        for path, state in self.states().items():
            if self.saved.get(path) == state:
                continue
            try:
                atomic_copy(path, self.drive_dir / path.relative_to(self.local_dir))
            except OSError as error:
                tqdm.write(f"{path.name}: not copied to the Drive, it stays in {self.local_dir} for now ({error})")
                return
            self.saved[path] = state

    def states(self) -> dict[Path, tuple[int, int]]:
        """Size in bytes and time in nanoseconds of each file."""
        return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in files_in(self.local_dir)}


def files_in(folder: Path) -> list[Path]:
    """All whole files in a folder, the resume point last: it counts on the others."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not is_unfinished(path)]
    return sorted(paths, key=lambda path: (path.name == resume_point.FILE_NAME, path))


def is_unfinished(path: Path) -> bool:
    """Whether a file's name says that it is being written."""
    return path.name.endswith(".part") or path.name.startswith(".")


def resume_flags(ckpt_dir: Path, settings: dict[str, float]) -> list[str]:
    """The flags with which main.py goes on with the run in ckpt_dir; says how far it is.

    Args:
        settings: --epochs, --batch_size and --learning_rate, which have to be those that the run was started with.

    Raises:
        resume_point.ResumeError: what there is of it is damaged, or of other settings.
    """
    from videosummarizer.training import resume_point

    if not (ckpt_dir / resume_point.FILE_NAME).exists():
        print("Nothing was trained before: training starts.")
        return []
    num_done, num_epochs = len(resume_point.read(ckpt_dir, settings).history), settings["--epochs"]
    rest = "training is finished" if num_done == num_epochs else f"training goes on with epoch {num_done + 1}"
    print(f"{num_done} of {num_epochs} epochs are on the Drive: {rest}.")
    return ["--resume"]
