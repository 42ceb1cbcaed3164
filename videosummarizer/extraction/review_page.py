"""The page on which an editor looks through a match's found sections and corrects them: one file, opened from disk.

`page/page.html` is its template, into which the style, the scripts and, as JSON, the match are put. No server, no
network: the match is played by its path relative to the page.
"""

import base64
import html
import json
import os
import zlib
from pathlib import Path
from urllib.parse import quote

import numpy as np

from videosummarizer import media

PARTS_DIR = Path(__file__).with_name("page")
SCRIPTS = ("match.js", "timeline.js", "controls.js")


def render_page(
    video_path: str | os.PathLike,
    page_dir: str | os.PathLike,
    video_info: media.VideoInfo,
    sections: np.ndarray,
    labelled_sections: np.ndarray | None,
    scores: np.ndarray,
    step_sec: float,
    threshold: float,
) -> bytes:
    """The page of a match, in UTF-8.

    Args:
        video_path: the match.
        page_dir: the folder where the page will lie.
        video_info: of `media.probe`.
        sections: (num_sections, 2) int64, first frame and the frame after the last, in display order.
        labelled_sections: (num_labelled, 2) int64, the same of the match's label file, None without one.
        scores: (num_steps,) float in [0, 1], of consecutive steps of step_sec seconds.
        threshold: at which sections were found, in [0, 1].
    """
    title = Path(video_path).stem
    match = {
        "title": title,
        "labels_name": f"{title}.txt",
        "video_url": relative_url(video_path, page_dir),
        "frame_times": pack_frame_times(video_info.frame_times_sec, video_info.duration_sec),
        "step_sec": step_sec,
        "scores": np.round(scores, 4).tolist(),
        "threshold": threshold,
        "sections": np.asarray(sections).tolist(),
        "labelled": None if labelled_sections is None else np.asarray(labelled_sections).tolist(),
    }
    # Inside <script>, "</script>" and "<!--" would end or change the JSON: no "<" appears in it.
    content = json.dumps(match, ensure_ascii=False).replace("<", "\\u003c")
    parts = {
        "PAGE_SCRIPT": "\n".join(read_part(name) for name in SCRIPTS),
        "MATCH_DATA": content,
        "PAGE_STYLE": read_part("page.css"),
        "MATCH_TITLE": html.escape(title),
    }
    page = read_part("page.html")
    for place, part in parts.items():  # from the last place to the first: a part may hold the name of a place
        page = page.replace(place, part, 1)
    return page.encode()


def read_part(name: str) -> str:
    """Text of a file that the page is made of."""
    return (PARTS_DIR / name).read_text(encoding="utf-8")


def relative_url(video_path: str | os.PathLike, page_dir: str | os.PathLike) -> str:
    """How a page in a folder names the video: by a relative path, or where there is none (another drive) a file URL."""
    video_path = Path(video_path).resolve()
    try:
        return quote(Path(os.path.relpath(video_path, Path(page_dir).resolve())).as_posix())
    except ValueError:
        return video_path.as_uri()


def pack_frame_times(frame_times_sec: np.ndarray, duration_sec: float) -> dict:
    """Frame times for the page: differences in whole microseconds as little-endian float64, zlib-compressed, in base64.

    Three hours at a constant rate take some kilobytes, at a varying one about a byte a frame. Rounding does not add up:
    each time is right to half a microsecond.

    Args:
        frame_times_sec: (num_frames,) float64, ascending.
        duration_sec: where the last frame ends.
    """
    microseconds = np.rint(frame_times_sec * 1e6).astype(np.int64)
    differences = np.diff(microseconds, prepend=0).astype("<f8")
    return {"deltas": base64.b64encode(zlib.compress(differences.tobytes(), 9)).decode(), "end_sec": duration_sec}
