"""Find the scores and the sections of a match: by a checkpoint, from a label file, or from a previous run."""

import argparse
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from videosummarizer import media
from videosummarizer.argument_types import ALL_TRACKS
from videosummarizer.dataset.metadata import is_count
from videosummarizer.evaluation.operating_point import OperatingPoint
from videosummarizer.extraction import activity, decoding_process, label_sections, scoring, selection
from videosummarizer.extraction.job import (
    ExtractionError,
    Job,
    find_part,
    read_kept_scores,
    read_previous_differences,
    read_previous_scores,
)
from videosummarizer.extraction.outputs import NUM_SCORE_DECIMALS, SCORE_NAMES, MatchResult, MatchScores
from videosummarizer.extraction.progress_bar import progress
from videosummarizer.extraction.unlike_training import TrainingComparison, warn_of_differences
from videosummarizer.labels import format_time
from videosummarizer.match_files import find_label_path
from videosummarizer.sections import extend_sections, to_frames, to_seconds
from videosummarizer.tracks import MIX
from videosummarizer.training.checkpoint import Checkpoint

logger = logging.getLogger(__name__)


def score_and_select(
    job: Job, checkpoint: Checkpoint | None, network: Callable[[], object], args: argparse.Namespace
) -> MatchResult:
    """Score a match, or read the scores of a previous run where they are the same, and select its sections.

    Raises:
        LabelError: The label file with the sections cannot be used.
        media.MediaError: The match cannot be read.
        checkpoint.CheckpointError: The network cannot be read.
    """
    info = decoding_process.call(job.video_path, media.probe, job.video_path, find_audio_track(job, args))
    labelled_sections = label_sections.read_labelled_sections(job.video_path, info, job.sections_path)
    undecided = label_sections.read_undecided_time(job.sections_path or find_label_path(job.video_path), info)
    if job.sections_path is None:
        scores = find_scores(job, info, checkpoint, network, args)
        sections, point = select_sections(job.video_path, scores, info, args)
        scores = replace(scores, point=point)
    else:
        sections = label_sections.read_sections(job.sections_path, info)  # before the scores, which take long
        scores = find_scores(job, info, checkpoint, network, args)
        if args.padding:
            sections_sec = to_seconds(sections, info.frame_times_sec, info.duration_sec)
            sections = to_frames(extend_sections(sections_sec, args.padding, info.duration_sec), info.frame_times_sec)
    selected_by = "labels" if job.sections_path else "length" if args.length is not None else "threshold"
    if selected_by == "threshold" and scores.name == activity.SCORE_NAME:
        selected_by = "activity"
    return MatchResult(job.video_path, info, sections, labelled_sections, scores, selected_by, undecided)


def find_audio_track(job: Job, args: argparse.Namespace) -> int | str | None:
    """Return which audio of a match is scored and cut, see `tracks.AudioChoice`.

    Without a checkpoint it is what the previous run scored, unless another one is asked for.
    """
    if args.audio_track not in (None, ALL_TRACKS):
        return args.audio_track
    before = job.previous_report.get("scored_with", {}) if job.has_same_scores else {}
    track = job.scored_with.get("scored_track", before.get("scored_track"))
    return track if track == MIX or is_count(track) else None


def find_scores(
    job: Job,
    info: media.VideoInfo,
    checkpoint: Checkpoint | None,
    network: Callable[[], object],
    args: argparse.Namespace,
) -> MatchScores | None:
    """Return the scores of a match, those of a previous run where they are the same.

    Without a checkpoint they are the activity; where sections are given, the scores of the previous run, or None.

    Raises:
        media.MediaError, checkpoint.CheckpointError: See `score_and_select`.
    """
    if checkpoint is None and job.sections_path:
        return read_kept_scores(job, info.duration_sec) if job.has_same_scores else None
    config, part_sec = checkpoint.config if checkpoint else activity.CONFIG, select_part(job, info, args)
    scored_sec = part_sec[1] - part_sec[0]
    scores, unlike = None, ()
    if job.has_same_scores:
        scores, unlike = read_previous_scores(job, config.num_segments(scored_sec)), read_previous_differences(job)
    if scores is None:
        with progress("Scoring", scored_sec) as add_sec:
            if checkpoint:
                match = (job.video_path, info, config, network, add_sec, args.output_dir, part_sec)
                comparison = TrainingComparison(checkpoint, info, scored_sec)
                *scores, reasons = scoring.score_match(*match, **comparison.measuring)
                unlike = comparison.differences()
            else:
                *scores, reasons = activity.score_match(job.video_path, info, add_sec, args.output_dir, part_sec)
        scores = (*(np.round(part, NUM_SCORE_DECIMALS) for part in scores), reasons and reasons.rounded())
        if job.path_of["_scores.csv"].exists():  # the scores in one of these files are damaged
            for suffix in ("_scores.csv", ".json"):
                job.path_of[suffix].unlink(missing_ok=True)
    *scores, reasons = scores
    name = SCORE_NAMES[checkpoint is None]
    point = checkpoint.point if checkpoint else activity.operating_point(scores[1])
    if checkpoint:
        warn_of_differences(job.video_path, unlike, checkpoint)
    return MatchScores(config.segment_length, *scores, point, *part_sec, name, reasons, unlike)


def select_part(job: Job, info: media.VideoInfo, args: argparse.Namespace) -> tuple[float, float]:
    """Return where the part of a match that is scored begins and ends, in seconds.

    Raises:
        ExtractionError: The match ends before it begins.
    """
    duration_sec = info.duration_sec
    if args.from_sec is not None and args.from_sec >= duration_sec:
        raise ExtractionError(
            f"{job.video_path}: received --from {format_time(args.from_sec)}, expected a time before the match's end "
            f"({format_time(duration_sec)})"
        )
    if args.to_sec is not None and args.to_sec > duration_sec:
        logger.warning(
            "%s: --to %s is after the match's end (%s): it is scored up to there",
            job.video_path,
            format_time(args.to_sec),
            format_time(duration_sec),
        )
    return find_part(job.scored_with, duration_sec)


def select_sections(
    video_path: Path, scores: MatchScores, info: media.VideoInfo, args: argparse.Namespace
) -> tuple[np.ndarray, OperatingPoint]:
    """Select sections as the checkpoint and the arguments say; by activity, a part of the match (LENGTH_RATIO).

    Returns:
        sections: (num_sections, 2) int64, the first frame and the frame after the last, in display order.
        point: The operating point at which they were detected.
    """
    point = scores.point if args.threshold is None else replace(scores.point, threshold=args.threshold)
    start_sec, end_sec = scores.part_sec(info.duration_sec)
    scored_sec, length_sec = end_sec - start_sec, args.length
    match = (scores.steps.ravel(), scores.step_sec, scored_sec)
    if scores.name == activity.SCORE_NAME:
        if activity.is_uniform(scores.steps):
            return np.zeros((0, 2), np.int64), replace(point, threshold=1.0)
        length_sec = activity.LENGTH_RATIO * scored_sec if length_sec is None else length_sec
    if length_sec is None:
        sections_sec = selection.detect_with_margin(*match, point, args.padding)
    else:
        if length_sec > scored_sec:
            logger.warning(
                "%s: --length %s is longer than %s (%s): all of it is selected",
                video_path,
                format_time(length_sec),
                "the match" if scored_sec == info.duration_sec else "the part from --from to --to",
                format_time(scored_sec),
            )
        sections_sec, point = selection.select_within_budget(*match, point, args.padding, length_sec)
    return to_frames(sections_sec + start_sec, info.frame_times_sec), point
