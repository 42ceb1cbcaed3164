"""The kinds of small files that fuzz.py mutates: label files, pairs CSV, JSON, scores, resume points, zips, checkpoints
and segment pickles, with the functions of the toolkit that read them.
"""

import csv
import dataclasses
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import SimpleNamespace

import mutations
import numpy as np

import label_finder
from data_loader import DataLoader
from videosummarizer import labels, undecided
from videosummarizer.dataset import array_reader, audit, metadata, output_folder, safe_pickle, storage, unpacking
from videosummarizer.extraction import job, match_writers, outputs, reasons
from videosummarizer.training import checkpoint, resume_point, trained_split, validation

CONFIG = metadata.DataConfig(1.0, 2.0, 8, 8, 100, False)
LABELS = (
    "".join(f"{n},{n + 20},00:00:{n // 30:02d},00:00:{(n + 20) // 30:02d}\n" for n in range(0, 300, 30)) + "1.5,2.5\n"
)
PAIRS = "match_1.mp4,cut_1.mp4\nmatch_2.mp4,cut_2.mp4\n"
# Titles of which each subset has one, and two.
TITLES = ["match_00", "match_01", "match_07", "match_09", "match_08", "match_10"]
SETTINGS = {"--seed": 0, "--epochs": 3, "--learning_rate": 0.0015}
SCORED_WITH = {"checkpoint_sha256": "0" * 64, "source": {"match.mp4": [10, 20]}}
JOB_SETTINGS = {"threshold": None, "length": None, "padding": 0.0, "reel_height": None}


class Violation(Exception):
    """Something that must not happen. The first argument is its column in the table, the second describes it."""


@dataclasses.dataclass(frozen=True)
class Target:
    """A kind of files, and how they are read.

    Attributes:
        name: The kind, for the table.
        prepare: Makes the other files that are needed in an empty folder. Called once for each folder.
        mutate: Returns the bytes of a mutated file.
        file_name: The path of the mutated file in the folder.
        read: Reads the mutated file, as the toolkit does. Raises one of `refusals` or a Violation.
        refusals: The errors that the scripts turn into one line.
    """

    name: str
    prepare: Callable[[Path], None]
    mutate: Callable[[Random], bytes]
    file_name: str
    read: Callable[[Path], None]
    refusals: tuple[type[Exception], ...]


# ---- Label files and pairs


def read_labels(folder: Path) -> None:
    path, errors = folder / "match.txt", []
    rows = labels.read_label_file(path, errors)
    sections_sec, warnings = labels.resolve_sections(path, rows, np.arange(320) / 30, 11.0, errors)
    if not np.isfinite(sections_sec).all() or (
        sections_sec.size and not 0 <= sections_sec.min() <= sections_sec.max() <= 11
    ):
        raise Violation("wrong", f"sections {sections_sec}")
    for message in [*map(str, errors), *warnings]:
        check_message(message)
    labels.read_label_file(path)


def read_undecided_time(folder: Path) -> None:
    path, info = folder / "match.txt", SimpleNamespace(frame_times_sec=np.arange(320) / 30, duration_sec=11.0)
    frames = undecided.read_undecided(undecided.find_undecided_path(path))
    undecided_sec, warnings = undecided.resolve_undecided(path, frames, info, np.array([[1.0, 2.0]]))
    boundaries_sec = np.concatenate([[0], undecided_sec.ravel(), [11]])
    if not (np.diff(boundaries_sec) >= 0).all():
        raise Violation("wrong", f"undecided time {undecided_sec}")
    for message in warnings:
        check_message(message)


def prepare_pairs(folder: Path) -> None:
    for kind, name in (("matches", "match"), ("cuts", "cut")):
        (folder / kind).mkdir()
        for number in (1, 2):
            (folder / kind / f"{name}_{number}.mp4").touch()


def read_pairs(folder: Path) -> None:
    label_finder.find_pairs(folder / "matches", folder / "cuts", folder / "pairs.csv")


# ---- Datasets


def write_dataset(folder: Path) -> None:
    """Write a dataset of six matches with four segments each."""
    records = []
    for title in TITLES:
        (folder / title).mkdir(parents=True)
        for index in range(4):
            storage.write_segment(folder / title, index, index % 2, *random_arrays(index), CONFIG, 4.0)
        sections = [[1.0, 2.0], [3.0, 4.0]]
        source = {"source": f"{title}.mp4", "source_files": {f"{title}.mp4": [1, 2]}, "frame_rate": 30.0}
        counts = {"segment_count": 4, "highlight_count": 2, "undecided_sec": [[1.5, 1.75]]}
        records.append({"title": title, **source, "duration": 4.0, "sections": sections, **counts})
    metadata.write_metadata(folder, CONFIG, records, [], created="2026-01-01", versions={})


def random_arrays(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the frames and the audio of a segment."""
    generator = np.random.default_rng(seed)
    shape = CONFIG.data_shape
    return generator.integers(256, size=shape["video"], dtype=np.uint8), generator.random(shape["audio"], np.float32)


def read_dataset(path: Path) -> None:
    """Read all that training reads of a dataset: its metadata, matches, labels and one segment of each match."""
    loader = DataLoader(path)
    for subset in metadata.SUBSETS:
        for match in loader.matches(subset):
            if not np.isfinite(match.sections_sec).all():
                raise Violation("wrong", f"sections {match.sections_sec}")
        loader.steps(subset)
        for files in loader.files_by_match(subset):
            storage.read_arrays(files[0], loader.data_shape)
    for warning in audit.find_leaks(loader):
        check_message(warning)
    if loader.num_segments["train"]:
        loader.require_both_classes("train")
        loader.batches("train")[0]


def read_metadata(folder: Path) -> None:
    """Read a dataset as training does, and as a conversion does that continues."""
    sources = {title: {f"{title}.mp4": [1, 2]} for title in TITLES}
    records = output_folder.finished_matches(folder / "data", CONFIG, sources)
    sum(record["segment_count"] + record["highlight_count"] for record in records.values())
    metadata.write_metadata(folder, CONFIG, list(records.values()), [])
    read_dataset(folder / "data")


def mutate_zip(members: dict[str, bytes]) -> Callable[[Random], bytes]:
    """Return a function that makes a mutated .zip."""

    def mutate(rng: Random) -> bytes:
        changed = dict(members)
        choice = rng.random()
        if choice < 0.3:
            changed["metadata.json"] = mutations.mutate_json(json.loads(members["metadata.json"]), rng)
        elif choice < 0.5:
            name = rng.choice(list(members))
            new_name = rng.choice(
                ["../x.pkl", "/tmp/fuzz/x", "a/../../x", name.upper(), "x" * 60_000, f"\ud55c/{name}", "C:x"]
            )
            changed[new_name] = changed.pop(name) if rng.random() < 0.5 else b"x"
        elif choice < 0.6:
            changed[rng.choice(list(members))] = bytes(rng.choice([10**5, 5 * 10**7]))
        text = io.BytesIO()
        method = rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED])
        with zipfile.ZipFile(text, "w", method) as archive:
            for name, content in changed.items():
                archive.writestr(name, content)
        return mutations.mutate_bytes(text.getvalue(), rng) if choice > 0.5 else text.getvalue()

    return mutate


def read_zip(folder: Path) -> None:
    before = set(folder.parent.iterdir())
    try:
        read_dataset(folder / "data.zip")
        unpacking.unpack_dataset(folder / "data.zip", folder / "unpacked" / "data")
    finally:
        shutil.rmtree(folder / "unpacked", ignore_errors=True)
        if set(folder.parent.iterdir()) != before or {path.name for path in folder.iterdir()} != {"data.zip"}:
            raise Violation("written", "files outside of the folder")


# ---- Files of stage 3 and 4


def report_value() -> dict:
    sections = [{"start_frame": 10, "end_frame": 20, "start_sec": 0.5, "end_sec": 1.0, "score": 0.9}]
    return {
        "title": "match",
        "duration_sec": 4.0,
        "settings": JOB_SETTINGS,
        "scored_with": SCORED_WITH,
        "sections": sections,
        "operating_point": {"threshold": 0.5, "section_penalty": 0.2},
        "threshold": 0.5,
        "segment_length": 1.0,
        "step_scores": [[0.1, 0.9], [0.2, 0.3], [0.5, 0.5], [1.0, 0.0]],
        "step_contributions": {"audio": [[-2.1, 2.0], [-1.3, -0.8], [0.0, 0.0], [9.0, -9.0]]},
        "step_measures": {"level": [[0.1, 0.3], [0.1, 0.2], [0.2, 0.2], [0.5, 0.0]]},
    }


def scores_text() -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*outputs.SCORES_HEADER.split(","), "audio_log_odds", "words"])
    writer.writerows([n, n, n + 1, "00:00:00", "00:00:01", n, n + 9, f"{n / 4:.6f}", 0, 0.5, "loud"] for n in range(4))
    return text.getvalue()


def prepare_job(folder: Path) -> None:
    (folder / "match.json").write_text(json.dumps(report_value()))
    (folder / "match_scores.csv").write_text(scores_text())


def read_report(folder: Path) -> None:
    """Do what stage 4 does with the files of a previous run."""
    path_of = {suffix: folder / f"match{suffix}" for suffix in job.MATCH_SUFFIXES}
    report = job.read_previous_report(path_of[".json"])
    for settings in (JOB_SETTINGS, {**JOB_SETTINGS, "length": 480.0}):
        match = job.Job(folder / "match.mp4", path_of, SCORED_WITH, settings, report, list(match_writers.WRITERS))
        scores = job.read_previous_scores(match, 4) if match.has_same_scores else None
        if scores is not None:
            rows = np.column_stack(scores[:2])
            if len(rows) != 4 or not (rows >= 0).all() or not (rows <= 1).all():
                raise Violation("wrong", f"scores {rows}")
        if scores is not None and scores[2] is not None:
            words = reasons.describe_steps(scores[2], 8, 0.5)
            if not np.isfinite(scores[2].steps).all() or words[1].shape != (len(words[0]), 8):
                raise Violation("wrong", f"reasons {scores[2]}")
        kept = job.read_kept_scores(match, 4.0) if match.has_same_scores else None
        if kept is not None and not (len(kept.steps) and 0 <= kept.point.threshold <= 1 and kept.step_sec > 0):
            raise Violation("wrong", f"scores {kept}")
        _ = match.is_finished
        if not match.is_up_to_date:
            check_message(job.describe_conflict(match))


def resume_bytes(folder: Path) -> bytes:
    history = [{"epoch": 1, "loss": 0.5, "val_loss": 0.4}]
    arrays = [np.array(3), np.ones((20, 3), np.float32), np.arange(9.0)]
    resume_point.write(folder, resume_point.TrainingState(SETTINGS, history, "ckpt-20260101-000000", None, arrays))
    return (folder / resume_point.FILE_NAME).read_bytes()


def mutate_resume(content: bytes) -> Callable[[Random], bytes]:
    """Return a function that mutates the bytes of a resume point, or the JSON in it."""

    def mutate(rng: Random) -> bytes:
        if rng.random() < 0.5:
            return mutations.mutate_bytes(content, rng)
        arrays = dict(np.load(io.BytesIO(content)))
        rest = mutations.mutate_json(json.loads(arrays["rest"].tobytes()), rng)
        arrays["rest"] = np.frombuffer(rest, np.uint8)
        changed = io.BytesIO()
        np.savez(changed, **arrays)
        return changed.getvalue()

    return mutate


def read_resume(folder: Path) -> None:
    state = resume_point.read(folder, SETTINGS)
    min(row["val_loss"] for row in state.history)


# ---- Checkpoints and pickles


def make_checkpoint(path: Path) -> None:
    """Write a checkpoint of a small network, as main.py does."""
    import keras

    video = keras.Input((None, *CONFIG.data_shape["video"]), dtype="uint8", name="video")
    audio = keras.Input((None, *CONFIG.data_shape["audio"]), name="audio")
    flat = keras.layers.Reshape((-1, int(np.prod(CONFIG.data_shape["video"]))))(keras.layers.Rescaling(1 / 255)(video))
    both = keras.layers.Concatenate()([keras.layers.Dense(2)(flat), keras.layers.Dense(2)(audio)])
    scores = {
        name: keras.layers.Dense(size, activation="sigmoid", name=name)(keras.layers.BatchNormalization()(both))
        for name, size in (("highlight", 1), ("steps", 2))
    }
    keras.Model({"video": video, "audio": audio}, scores).save(path)
    attributes = {
        "config": vars(CONFIG),
        "split": [0.6, 0.2],
        "operating_point": {"threshold": 0.5, "section_penalty": 1.0},
    }
    checkpoint.write_checkpoint_attributes(path, attributes)


def prepare_checkpoint(folder: Path) -> None:
    import keras  # noqa: F401 (before the first checkpoint is timed)

    from videosummarizer.training import inference  # noqa: F401

    write_dataset(folder / "data")


def read_checkpoint(folder: Path) -> None:
    """Read a checkpoint as stages 3 and 4 do."""
    from videosummarizer.training import inference

    path = folder / "match.hdf5"
    inference.load_network(checkpoint.read_checkpoint(path))
    checkpoint.read_operating_point(path, "operating_point")
    trained_split.read_trained_split(path, folder / "data", None)


# Pickles that run a command where nothing forbids it.
PAYLOADS = (b"cos\nsystem\n(Vtouch %s\ntR.", b"(Vtouch %s\nios\nsystem\n.", b"cbuiltins\neval\n(Vopen('%s','w')\ntR.")


def pickle_bytes(folder: Path) -> bytes:
    (folder / "match").mkdir()
    storage.write_segment(folder / "match", 0, 1, *random_arrays(0), CONFIG, 4.0)
    return (folder / "match" / "seg_00000_1.pkl").read_bytes()


def mutate_pickle(content: bytes, marker: Path) -> Callable[[Random], bytes]:
    """Return a function that mutates a pickle, of which one in ten then tries to make the file `marker`."""

    def mutate(rng: Random) -> bytes:
        changed = mutations.mutate_bytes(content, rng)
        if rng.random() < 0.1:
            place = rng.choice([0, 2, rng.randrange(len(changed) + 1)])
            changed = changed[:place] + rng.choice(PAYLOADS) % str(marker).encode() + changed[place:]
        return changed

    return mutate


def read_pickle(folder: Path) -> None:
    content = (folder / "segment.pkl").read_bytes()
    reader = array_reader.ArrayReader()
    for _ in range(2):  # the second time without unpickling
        for array in reader.load(content, "match"):
            array.sum()


def check_message(message: str) -> None:
    """Raise a Violation unless a message is one line of at most 1,500 characters."""
    if len(message) > 1500 or len(message.splitlines()) > 1:
        raise Violation("message", f"{len(message)} characters: {message[:300]!r}")


def all_targets(scratch: Path, marker: Path) -> dict[str, Target]:
    """Return the kinds of files by name.

    Args:
        scratch: An empty folder for the intact files.
        marker: A path that does not exist. A file there means that a pickle was executed.
    """
    write_dataset(scratch / "data")
    members = {str(p.relative_to(scratch / "data")): p.read_bytes() for p in sorted((scratch / "data").rglob("*.*"))}
    about = json.loads(members["metadata.json"])
    resume, pickled = resume_bytes(scratch), pickle_bytes(scratch)
    intact = scratch / "intact.hdf5"

    def mutate_checkpoint(rng: Random) -> bytes:
        if not intact.exists():
            make_checkpoint(intact)
        return mutations.mutate_bytes(intact.read_bytes(), rng)

    def nothing(folder: Path) -> None:
        pass

    targets = [
        Target("<title>_undecided.json", nothing,
               lambda r: mutations.mutate_json({"schema_version": 1, "undecided": [[0, 30], [60, 320]]}, r),
               "match_undecided.json", read_undecided_time, (labels.LabelError, OSError)),
        Target("label files", nothing, lambda r: mutations.mutate_text(LABELS, r), "match.txt", read_labels,
               (labels.LabelError,)),
        Target("pairs CSV", prepare_pairs, lambda r: mutations.mutate_text(PAIRS, r), "pairs.csv", read_pairs,
               (label_finder.InputError,)),
        Target("metadata.json", lambda folder: write_dataset(folder / "data"),
               lambda r: mutations.mutate_json(about, r), "data/metadata.json", read_metadata,
               (metadata.DatasetError,)),
        Target("zips", nothing, mutate_zip(members), "data.zip", read_zip, (metadata.DatasetError,)),
        Target("<title>.json", prepare_job, lambda r: mutations.mutate_json(report_value(), r), "match.json",
               read_report, (job.ExtractionError,)),
        Target("scores CSV", prepare_job, lambda r: mutations.mutate_text(scores_text(), r), "match_scores.csv",
               read_report, (job.ExtractionError,)),
        Target("resume.npz", nothing, mutate_resume(resume), resume_point.FILE_NAME, read_resume,
               (resume_point.ResumeError,)),
        Target("checkpoints", prepare_checkpoint, mutate_checkpoint, "match.hdf5", read_checkpoint,
               (checkpoint.CheckpointError, validation.TrainingError, metadata.DatasetError)),
        Target("segment pickles", nothing, mutate_pickle(pickled, marker), "segment.pkl", read_pickle,
               (safe_pickle.ForbiddenError, safe_pickle.DamagedError)),
    ]  # fmt: skip
    return {target.name: target for target in targets}
