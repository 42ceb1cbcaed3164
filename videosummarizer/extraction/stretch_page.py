"""Write the review page of a match that opens at the stretches to label, with proposed sections."""

from collections.abc import Container, Sequence
from pathlib import Path

import numpy as np

from videosummarizer.atomic_file import atomic_write
from videosummarizer.extraction import review_page, selection
from videosummarizer.extraction.outputs import MatchResult, MatchScores
from videosummarizer.extraction.unlabelled_matches import UnlabelledMatch
from videosummarizer.match_files import compose, escape
from videosummarizer.sections import subtract_sections, to_frames
from videosummarizer.training.checkpoint import Checkpoint

# The end of the name of a page, after the title of its match.
PAGE_SUFFIX = "_label_next.html"
# So many pages of earlier runs are named.
MAX_NAMED_PAGES = 10
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


def find_earlier_pages(output_dir: Path, titles: Container[str]) -> list[Path]:
    """Return the pages in a folder that are not those of some titles, sorted by name."""
    pages = (path for path in sorted(output_dir.iterdir()) if path.name.endswith(PAGE_SUFFIX))
    return [path for path in pages if compose(path.name.removesuffix(PAGE_SUFFIX)) not in titles]


def describe_earlier_pages(paths: Sequence[Path]) -> str:
    """Return the note about pages of earlier runs. They are kept: a browser may hold corrections made on them."""
    names = [escape(path.name) for path in paths[:MAX_NAMED_PAGES]]
    if more := len(paths) - len(names):
        names.append(f"and {more} more")
    is_one = len(paths) == 1
    found = "1 page of an earlier run is of a match" if is_one else f"{len(paths)} pages of earlier runs are of matches"
    return (
        f"{found} without a stretch in this table: {', '.join(names)}. Nothing is deleted, as corrections made there "
        "may not be saved yet. Delete a page whose labels are saved: saving there again would replace newer labels"
    )
