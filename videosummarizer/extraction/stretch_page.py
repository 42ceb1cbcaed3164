"""Write the review page of a match that opens at the stretches to label, with proposed sections."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from videosummarizer.atomic_file import atomic_write
from videosummarizer.extraction import review_page, selection
from videosummarizer.extraction.outputs import MatchResult, MatchScores
from videosummarizer.extraction.unlabelled_matches import UnlabelledMatch
from videosummarizer.sections import subtract_sections, to_frames
from videosummarizer.training.checkpoint import Checkpoint

# Proposed sections that are cut shorter than this at the end of a stretch are left out.
MIN_SECTION_SEC = 0.5


def propose_sections(match: UnlabelledMatch, stretches: np.ndarray, checkpoint: Checkpoint) -> MatchResult:
    """Return the labelled sections of a match and, in its stretches, those that are found.

    Args:
        match: The match.
        stretches: (num_stretches, 2) int64, the first frame and the frame after the last, disjoint.
        checkpoint: The checkpoint, whose operating point decides.
    """
    info, steps, point = match.info, match.signals.steps, checkpoint.point
    step_sec = checkpoint.config.segment_length / steps.shape[1]
    found_sec = selection.detect_with_margin(steps.ravel(), step_sec, info.duration_sec, point, 0.0)
    edges_sec, proposed = info.frame_edges_sec, []
    for start, end in to_frames(found_sec, info.frame_times_sec).tolist():
        for first, last in np.clip([start, end], stretches[:, :1], stretches[:, 1:]).tolist():
            if edges_sec[last] - edges_sec[first] >= MIN_SECTION_SEC:
                proposed.append((first, last))
    scores = MatchScores(
        checkpoint.config.segment_length, steps.mean(axis=1), steps, point, reasons=match.signals.reasons
    )
    labelled = match.labelled.astype(np.float64)
    # A section across two stretches becomes one again.
    proposed = subtract_sections(np.array(proposed, np.float64).reshape(-1, 2), labelled)
    sections = np.array(sorted([*labelled.tolist(), *proposed.tolist()]), np.int64).reshape(-1, 2)
    more = {"scores": scores, "selected_by": "stretches", "undecided": match.undecided}
    return MatchResult(match.path, info, sections, **more)


def write_page(
    match: UnlabelledMatch, stretches: np.ndarray, reasons: Sequence[str], checkpoint: Checkpoint, path: Path
) -> None:
    """Write the page of a match, which opens at its stretches.

    Args:
        match: The match.
        stretches: (num_stretches, 2) int64 frames, the one that teaches most first.
        reasons: Why each was chosen.
        checkpoint: The checkpoint.
        path: The page.

    Raises:
        OSError: The page cannot be written.
    """
    result = propose_sections(match, stretches, checkpoint)
    shown = [(*frames, reason) for frames, reason in zip(stretches.tolist(), reasons, strict=True)]
    page = review_page.render_result(result, path.parent, stretches=shown)
    atomic_write(path, page)
