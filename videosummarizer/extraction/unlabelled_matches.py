"""Matches that are not labelled, or only in part: find them, read what is known of them, and list their stretches."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from videosummarizer import match_files, media
from videosummarizer.dataset.metadata import DataConfig
from videosummarizer.extraction import label_choice, label_sections, match_signals
from videosummarizer.extraction.job import ExtractionError
from videosummarizer.extraction.match_signals import MatchSignals
from videosummarizer.labels import format_time
from videosummarizer.sections import overlaps_sec, to_frames, to_seconds
from videosummarizer.training.checkpoint import Checkpoint
from videosummarizer.undecided import find_undecided_path, read_undecided, resolve_undecided

# A stretch may have this part of a segment of decided time, as both end at frames, and segments do not.
MAX_DECIDED_RATIO = 0.1


@dataclass(frozen=True)
class UnlabelledMatch:
    """A match without a label file, or with undecided time.

    Attributes:
        path: Its video.
        info: The result of `media.probe`.
        labelled: (num_sections, 2) int64 frames, the sections of its label file.
        undecided: (num_ranges, 2) int64 frames, what nobody has looked at.
        signals: What a network shows of it; None for one that is not scored yet.
    """

    path: Path
    info: media.VideoInfo
    labelled: np.ndarray
    undecided: np.ndarray
    signals: MatchSignals | None

    @property
    def title(self) -> str:
        """Return the title of the match."""
        return match_files.title_of(self.path)

    @property
    def undecided_sec(self) -> np.ndarray:
        """Return (num_ranges, 2) float64 seconds: what nobody has looked at."""
        return to_seconds(self.undecided, self.info.frame_times_sec, self.info.duration_sec)


# ---- Reading


def find_unlabelled(video_dir: Path, output_dir: Path, longest_ending: str) -> tuple[list[Path], dict[str, str]]:
    """Find the videos of a folder that have no label file or undecided time, and say how many have a label file.

    Args:
        video_dir: The folder.
        output_dir: The folder for the files of the matches.
        longest_ending: The end of the longest name of such a file, after the title.

    Returns:
        paths: Of the videos, sorted by title.
        refused: For each title whose name cannot be used an error message.

    Raises:
        ExtractionError: The folder has no video without a label file.
    """
    if not video_dir.is_dir():
        raise ExtractionError(f"{video_dir}: no such folder, expected one with videos of matches")
    videos, refused = match_files.find_videos(video_dir)
    labels, _ = match_files.find_by_title(video_dir, ".txt")
    if not videos and not refused:
        raise ExtractionError(f"{video_dir}: received a folder without a video, expected videos of matches")
    for title, path in videos.items():
        if problem := match_files.describe_long_name(path, output_dir, longest_ending):
            refused[title] = problem
    labelled = videos.keys() & labels.keys()
    partly = {title for title in labelled if os.path.lexists(find_undecided_path(labels[title]))}
    unlabelled = [videos[title] for title in sorted(videos.keys() - (labelled - partly) - refused.keys())]
    left_out = f"{video_dir}: {len(labelled)} of {len(videos)} matches have a label file and are left out"
    print(left_out + f", apart from the undecided time of {len(partly)}" * bool(partly))
    if not unlabelled and not refused:
        raise ExtractionError(f"{video_dir}: every match has a label file: add matches without one")
    return unlabelled, refused


def read_match(video_path: Path, checkpoint: Checkpoint, output_dir: Path) -> UnlabelledMatch:
    """Read how long a match is, its labels, and its signals if an earlier run kept them. None of it takes long.

    Raises:
        media.MediaError, LabelError: The match or its labels cannot be read.
    """
    info = match_signals.probe(video_path, checkpoint)
    labelled, undecided = read_labels(video_path, info)
    made_with = match_signals.identify(video_path, checkpoint)
    num_segments = checkpoint.config.num_segments(info.duration_sec)
    signals = match_signals.read_signals(find_signals_path(video_path, output_dir), made_with, num_segments)
    return UnlabelledMatch(video_path, info, labelled, undecided, signals)


def find_signals_path(video_path: Path, output_dir: Path) -> Path:
    """Return the file for the signals of a match."""
    return match_files.find_file(output_dir / f"{match_files.title_of(video_path)}{match_signals.SIGNALS_SUFFIX}")


def read_labels(video_path: Path, info: media.VideoInfo) -> tuple[np.ndarray, np.ndarray]:
    """Read the labelled sections of a match and what of it is undecided, (n, 2) int64 frames each.

    Raises:
        LabelError: The label file or the undecided time next to it cannot be used.
    """
    label_path = match_files.find_label_path(video_path)
    if not label_path.exists():
        return np.zeros((0, 2), np.int64), np.array([[0, len(info.frame_times_sec)]])
    labelled = label_sections.read_sections(label_path, info)
    undecided = read_undecided(find_undecided_path(label_path))
    undecided_sec, _ = resolve_undecided(label_path, undecided, info, np.empty((0, 2)))
    return labelled, to_frames(undecided_sec, info.frame_times_sec)


def score_match(
    match: UnlabelledMatch, checkpoint: Checkpoint, network: Callable[[], object], output_dir: Path
) -> UnlabelledMatch:
    """Return a match with its signals: those that it has, otherwise new ones, which are kept in a file.

    Raises:
        media.MediaError, OSError: The match cannot be read, or the file cannot be written.
        checkpoint.CheckpointError: The network cannot be read.
    """
    if match.signals is not None:
        return match
    made_with = match_signals.identify(match.path, checkpoint)
    signals = match_signals.compute_signals(match.path, match.info, checkpoint, network, output_dir)
    match_signals.write_signals(find_signals_path(match.path, output_dir), made_with, signals)
    return replace(match, signals=signals)


# ---- Stretches


def find_stretch_length(matches: Sequence[UnlabelledMatch], network: Callable[[], object]) -> int:
    """Return the segments of a stretch. The network is only loaded if no match has signals of it.

    Raises:
        checkpoint.CheckpointError: The network cannot be read.
    """
    for match in matches:
        if match.signals is not None:
            return label_choice.count_stretch_segments(int(match.signals.reach_steps), match.signals.steps.shape[1])
    return label_choice.count_stretch_segments(*match_signals.measure_reach(network()))


def are_undecided(match: UnlabelledMatch, spans_sec: np.ndarray, segment_length: float) -> np.ndarray:
    """Return (num_stretches,) bool: of which stretches of a match, (num_stretches, 2) seconds, all is undecided."""
    decided_sec = np.diff(spans_sec, axis=1)[:, 0] - overlaps_sec(spans_sec, match.undecided_sec)
    return decided_sec <= MAX_DECIDED_RATIO * segment_length


def require_stretches(
    matches: Sequence[UnlabelledMatch], config: DataConfig, num_segments: int, budget_sec: float
) -> None:
    """Raise ExtractionError if no stretch of the matches is undecided, or if all are longer than the budget.

    Args:
        matches: The matches, which need not be scored.
        config: How they are sampled.
        num_segments: Segments of a stretch.
        budget_sec: The most seconds to choose.
    """
    lengths_sec = []
    for match in matches:
        duration_sec, segment_length = match.info.duration_sec, config.segment_length
        lengths = (config.num_segments(duration_sec), duration_sec, segment_length, num_segments)
        spans_sec = label_choice.list_spans_sec(*lengths)
        lengths_sec += np.diff(spans_sec[are_undecided(match, spans_sec, segment_length)], axis=1)[:, 0].tolist()
    if not lengths_sec:
        length_sec = num_segments * config.segment_length
        raise ExtractionError(f"no stretch of {length_sec:g} s is undecided: add matches without a label file")
    if budget_sec < min(lengths_sec):
        shortest = format_time(np.ceil(min(lengths_sec)))
        raise ExtractionError(
            f"--budget: received {format_time(budget_sec)}, expected at least {shortest}, the length of a stretch, "
            "which follows from the lengths of the highlights that the network was trained on"
        )
