"""Find the scores and the sections of a match: by a checkpoint, from a label file, or from a previous run."""

import argparse
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from videosummarizer import media
from videosummarizer.evaluation.operating_point import OperatingPoint
from videosummarizer.extraction import decoding_process, label_sections, scoring, selection
from videosummarizer.extraction.job import Job, read_kept_scores, read_previous_scores
from videosummarizer.extraction.outputs import NUM_SCORE_DECIMALS, MatchResult, MatchScores
from videosummarizer.extraction.progress_bar import progress
from videosummarizer.labels import format_time
from videosummarizer.sections import extend_sections, to_frames, to_seconds
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
    info = decoding_process.call(job.video_path, media.probe, job.video_path)
    labelled_sections = label_sections.read_labelled_sections(job.video_path, info, job.sections_path)
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
    return MatchResult(job.video_path, info, sections, labelled_sections, scores)


def find_scores(
    job: Job,
    info: media.VideoInfo,
    checkpoint: Checkpoint | None,
    network: Callable[[], object],
    args: argparse.Namespace,
) -> MatchScores | None:
    """Return the scores of a match, those of a previous run where they are the same.

    Without a checkpoint these are the ones of the previous run, or None.

    Raises:
        media.MediaError, checkpoint.CheckpointError: See `score_and_select`.
    """
    if checkpoint is None:
        return read_kept_scores(job, info.duration_sec) if job.has_same_scores else None
    config = checkpoint.config
    scores = read_previous_scores(job, config.num_segments(info.duration_sec)) if job.has_same_scores else None
    if scores is None:
        with progress("Scoring", info.duration_sec) as add_sec:
            scores = scoring.score_match(job.video_path, info, config, network, add_sec, args.output_dir)
        scores = tuple(np.round(part, NUM_SCORE_DECIMALS) for part in scores)
        if job.path_of["_scores.csv"].exists():  # the scores in one of these files are damaged
            for suffix in ("_scores.csv", ".json"):
                job.path_of[suffix].unlink(missing_ok=True)
    return MatchScores(config.segment_length, *scores, checkpoint.point)


def select_sections(
    video_path: Path, scores: MatchScores, info: media.VideoInfo, args: argparse.Namespace
) -> tuple[np.ndarray, OperatingPoint]:
    """Select sections as the checkpoint and the arguments say.

    Returns:
        sections: (num_sections, 2) int64, the first frame and the frame after the last, in display order.
        point: The operating point at which they were detected.
    """
    point = scores.point if args.threshold is None else replace(scores.point, threshold=args.threshold)
    match = (scores.steps.ravel(), scores.step_sec, info.duration_sec)
    if args.length is None:
        sections_sec = selection.detect_with_margin(*match, point, args.padding)
    else:
        if args.length > info.duration_sec:
            logger.warning(
                "%s: --length %s is longer than the match (%s): all of it is selected",
                video_path,
                format_time(args.length),
                format_time(info.duration_sec),
            )
        sections_sec, point = selection.select_within_budget(*match, point, args.padding, args.length)
    return to_frames(sections_sec, info.frame_times_sec), point
