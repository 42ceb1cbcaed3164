"""Write the review page, on which an editor checks and corrects a match's sections: one HTML file, opened from disk.

`page/page.html` is the template for the style, the scripts and, as JSON, the match. The page needs no server and no
network: it plays the match by its path relative to the page.
"""

import base64
import hashlib
import html
import json
import os
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from videosummarizer import media
from videosummarizer.evaluation import decoding
from videosummarizer.extraction.exports.media_url import relative_url
from videosummarizer.extraction.outputs import NUM_SCORE_DECIMALS, MatchResult
from videosummarizer.extraction.reasons import describe_rules
from videosummarizer.match_files import title_of

PAGE_DIR = Path(__file__).with_name("page")
# The script that cuts, next to the package.
SCRIPT_PATH = Path(__file__).resolve().parents[2] / "highlight_extractor.py"
# The folder for what is cut from starred sections, below that of the page.
STARRED_DIR = "starred"
SCRIPTS = (
    "match.js", "draft.js", "labels.js", "stretches.js", "saving.js", "playing.js", "video_file.js", "reasons.js",
    "timeline.js", "pointer.js", "controls.js", "keys.js",
)  # fmt: skip


def render_page(
    video_path: str | os.PathLike,
    page_dir: str | os.PathLike,
    video_info: media.VideoInfo,
    sections: np.ndarray,
    labelled_sections: np.ndarray | None,
    scores: np.ndarray | None,
    decoded_scores: np.ndarray | None,
    step_sec: float | None,
    threshold: float | None,
    start_sec: float = 0.0,
    preview_path: str | os.PathLike | None = None,
    options: Sequence[str] = (),
    score_name: str = "score",
    selected_by: str = "threshold",
    penalty: float = 0.0,
    reasons: dict | None = None,
    stretches: Sequence[tuple[int, int, str]] = (),
    undecided: np.ndarray | None = None,
) -> bytes:
    """Return the review page of a match, in UTF-8.

    Args:
        video_path: The match.
        page_dir: The folder that the page will be in.
        video_info: The result of `media.probe`.
        sections: (num_sections, 2) int64, the first frame and the frame after the last, in display order.
        labelled_sections: (num_labelled, 2) int64, the same for the match's label file; None without one.
        scores: (num_steps,) float in [0, 1], of consecutive time steps. None for a match without scores, as are the
            three that follow; the page then shows no curve.
        decoded_scores: Float in [0, 1] of the steps that begin before the match's end, as of `decoding.decoded_scores`.
        step_sec: Seconds of a step.
        start_sec: Where the first step begins in the match.
        threshold: The threshold at which the sections were detected, in [0, 1].
        preview_path: A file with the match's frames that browsers play; by default they play the match itself.
        options: Further words of the command that cuts from saved labels, such as `--captions`.
        score_name: What the scores are called.
        selected_by: What selected the sections, see `outputs.MatchResult`.
        penalty: What each section costs, see `decoding`.
        reasons: What the scores are made of and what was measured, as of `reasons.describe_rules`; None if not known.
        stretches: The stretches to label, the one that teaches most first: their first frame, the frame after their
            last, and why they were chosen. All other time of such a page is undecided.
        undecided: (num_ranges, 2) int64, the frames that nobody has looked at; None without any and, where stretches
            are given, for the whole match.
    """
    title = title_of(Path(video_path))
    if undecided is None:
        undecided = [[0, len(video_info.frame_times_sec)]] if stretches else []
    undecided = np.asarray(undecided).tolist()
    match = {
        "title": title,
        "labels_name": f"{title}.txt",
        "match_id": match_id(title, video_path, video_info),
        "sections_id": sections_id(np.asarray(sections).tolist(), [stretch[:2] for stretch in stretches] or undecided),
        "command": command_paths(video_path, page_dir) | {"options": list(options)},
        "video_url": relative_url(preview_path or video_path, page_dir),
        "frame_times": pack_frame_times(video_info.frame_times_sec, video_info.duration_sec),
        "step_sec": step_sec,
        "start_sec": start_sec,
        "scores": [] if scores is None else np.round(scores, NUM_SCORE_DECIMALS).tolist(),
        "decoded_scores": [] if scores is None else round_decoded(decoded_scores, threshold).tolist(),
        "threshold": threshold,
        "too_short": [] if scores is None else list_too_short(scores, decoded_scores, step_sec, threshold, penalty),
        "selected_by": selected_by,
        "reasons": reasons,
        "score_name": score_name,
        "sections": np.asarray(sections).tolist(),
        "labelled": None if labelled_sections is None else np.asarray(labelled_sections).tolist(),
        "stretches": list(stretches),
        "undecided": undecided,
    }
    return assemble(match)


def render_result(result: MatchResult, page_dir: str | os.PathLike, **more) -> bytes:
    """Return the review page of a match's sections and scores, see `render_page`.

    Args:
        result: The sections, and the scores if there are any.
        page_dir: The folder that the page will be in.
        more: Further arguments of `render_page`.
    """
    scores, curve = result.scores, (None, None, None, None, 0.0)
    if scores is not None:
        curve = (result.shown_steps, result.decoded_scores, scores.step_sec, scores.point.threshold, scores.start_sec)
        more |= {"selected_by": result.selected_by, "penalty": scores.point.section_penalty}
        if scores.reasons is not None:
            more["reasons"] = describe_rules(scores.reasons, len(result.shown_steps))
    sections = (result.sections, result.labelled_sections)
    more |= {"score_name": result.score_name, "undecided": result.undecided}
    return render_page(result.video_path, page_dir, result.info, *sections, *curve, **more)


def assemble(match: dict) -> bytes:
    """Put the scripts, the style and the data of a match into the template of the page."""
    # Inside <script>, "</script>" and "<!--" would end or change the JSON: no "<" appears in it.
    # All but ASCII is escaped, as the name of a folder may have bytes that are not UTF-8.
    content = json.dumps(match).replace("<", "\\u003c")
    substitutions = {
        "PAGE_SCRIPT": "\n".join(read_page_file(name) for name in SCRIPTS),
        "MATCH_DATA": content,
        "PAGE_STYLE": read_page_file("page.css"),
        "MATCH_TITLE": html.escape(match["title"]),
    }
    page = read_page_file("page.html")
    # From the last placeholder to the first: a text that was put in may contain the name of a placeholder.
    for placeholder, text in substitutions.items():
        page = page.replace(placeholder, text, 1)
    return page.encode()


def round_decoded(decoded_scores: np.ndarray, threshold: float) -> np.ndarray:
    """Round scores in context so that they reach the threshold where they did before, and only there."""
    rounded, is_inside = np.round(decoded_scores, NUM_SCORE_DECIMALS), decoded_scores >= threshold
    return np.where(is_inside, np.maximum(rounded, threshold), np.minimum(rounded, np.nextafter(threshold, -1)))


def list_too_short(
    scores: np.ndarray, decoded_scores: np.ndarray, step_sec: float, threshold: float, penalty: float
) -> list[list[float]]:
    """Return the runs of steps that are too short for a section, for JSON.

    Returns:
        For each, its first step, the step after its last, and how much of the evidence that a section needs it holds.
    """
    runs = decoding.find_too_short(scores, decoded_scores, threshold)
    durations_sec = np.full(len(decoded_scores), step_sec)
    ratios = decoding.evidence_ratios(runs, decoded_scores, durations_sec, threshold, penalty)
    return [[*run, round(ratio, 2)] for run, ratio in zip(runs.tolist(), ratios.tolist(), strict=True)]


def read_page_file(name: str) -> str:
    """Read a file that the page is made of."""
    return (PAGE_DIR / name).read_text(encoding="utf-8")


def match_id(title: str, video_path: str | os.PathLike, video_info: media.VideoInfo) -> str:
    """Return an identifier of a match by its title, size and frame times, under which browsers keep corrections."""
    num_bytes = os.path.getsize(video_path) if os.path.exists(video_path) else 0
    digest = hashlib.sha256(f"{title}\n{num_bytes}\n{video_info.duration_sec:.6f}\n".encode())
    digest.update(np.ascontiguousarray(video_info.frame_times_sec, "<f8").tobytes())
    return digest.hexdigest()[:16]


def sections_id(sections: list[list[int]], stretches: Sequence[Sequence[int]]) -> str:
    """Return an identifier of what was found in a match, under which browsers keep corrections.

    Args:
        sections: The first frame and the frame after the last of each section.
        stretches: The same for the stretches to label, or for undecided time.
    """
    frames = [list(stretch) for stretch in stretches]
    return hashlib.sha256(json.dumps([sections, frames] if frames else sections).encode()).hexdigest()[:16]


def command_paths(video_path: str | os.PathLike, page_dir: str | os.PathLike) -> dict[str, str | list[str]]:
    """Return the parts of the command that cuts from saved labels, with paths as the user gave them.

    What is cut from corrected labels replaces the files in the page's folder, so that the scores there are used again.
    What is cut from the starred sections alone goes to a folder below it.

    Returns:
        "program", see `program_words`; "video"; "labels_dir", the match's folder, and "page_dir", that of the page, to
        which the name of a file can be appended; "output_dir"; "starred_output_dir"; and "shell", which is "posix" or
        "windows".
    """
    video_path, page_dir = Path(video_path), Path(page_dir)
    return {
        "program": program_words(),
        "video": str(video_path),
        "labels_dir": str(video_path).removesuffix(video_path.name),
        "page_dir": str(page_dir / "_").removesuffix("_"),
        "output_dir": str(page_dir),
        "starred_output_dir": str(page_dir if page_dir.name == STARRED_DIR else page_dir / STARRED_DIR),
        "shell": "windows" if os.name == "nt" else "posix",
    }


def program_words() -> list[str]:
    """Return how the script was called, so that the same words work in the same folder: the interpreter, its path.

    Where another program imported it, as a notebook does, the path is relative only in the script's own folder.
    """
    if os.path.exists(sys.argv[0]) and os.path.samefile(sys.argv[0], SCRIPT_PATH):
        return [sys.orig_argv[0], sys.argv[0]]
    return ["python", SCRIPT_PATH.name if Path.cwd() == SCRIPT_PATH.parent else str(SCRIPT_PATH)]


def pack_frame_times(frame_times_sec: np.ndarray, duration_sec: float) -> dict:
    """Pack frame times for the page, zlib-compressed and in base64.

    They are differences in whole microseconds, as little-endian float64. Three hours at a constant frame rate take some
    kilobytes, at a variable one about a byte per frame. Rounding errors do not add up: each time is exact to half a
    microsecond.

    Args:
        frame_times_sec: (num_frames,) float64, ascending.
        duration_sec: The end of the last frame.

    Returns:
        "deltas", the packed differences, and "end_sec".
    """
    microseconds = np.rint(frame_times_sec * 1e6).astype(np.int64)
    differences = np.diff(microseconds, prepend=0).astype("<f8")
    return {"deltas": base64.b64encode(zlib.compress(differences.tobytes(), 9)).decode(), "end_sec": duration_sec}
