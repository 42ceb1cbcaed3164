"""Write the files of a match. Each has an entry in WRITERS, which says when it is written and how.

To add a file, add an entry. The quick ones come first, and the reel last.
"""

import argparse
import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from videosummarizer import media
from videosummarizer.argument_types import ALL_TRACKS
from videosummarizer.atomic_file import atomic_write
from videosummarizer.error_messages import count_of, describe_match_error
from videosummarizer.extraction import (
    clip_files,
    decoding_process,
    outputs,
    preview,
    reel,
    reel_sections,
    review_page,
)
from videosummarizer.extraction.arguments import repeated_options
from videosummarizer.extraction.exports import chapters, edl, fcp7_xml, fcpxml, losslesscut, otio
from videosummarizer.extraction.exports.chapters import section_names
from videosummarizer.extraction.exports.timeline import Timeline, describe_match
from videosummarizer.extraction.outputs import MatchResult
from videosummarizer.extraction.progress_bar import progress
from videosummarizer.extraction.reel_style import ReelStyle
from videosummarizer.match_files import find_file
from videosummarizer.sections import total_sec
from videosummarizer.tracks import MIX

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cut:
    """What the files of a match are made of.

    Attributes:
        result: The match with its sections and scores.
        args: The arguments of the command.
    """

    result: MatchResult
    args: argparse.Namespace

    @functools.cached_property
    def timeline(self) -> Timeline:
        """Return the match and its sections as editing software refers to them."""
        result = self.result
        reference, clips = describe_match(
            result.video_path, result.info, result.sections, result.section_scores, result.score_name
        )
        if not reference.is_exact:
            logger.warning(
                "%s: its frame rate (%.4g per second) is not a timecode rate: the files for editing software cut at "
                "the nearest frame at %.4g per second",
                result.video_path,
                result.info.frame_rate_fps,
                reference.rate_fps,
            )
        return Timeline(result.title, reference, clips)

    @property
    def style(self) -> ReelStyle:
        """Return the style of the reel."""
        return ReelStyle.from_arguments(self.args)

    @property
    def styled_sections(self) -> list[reel_sections.ReelSection]:
        """Return the sections of a reel that is not plain."""
        result = self.result
        return reel_sections.list_sections(
            result.video_path, result.info, result.sections, result.title, result.section_scores
        )

    @property
    def reel_edges_sec(self) -> np.ndarray:
        """Return (num_sections + 1,) float64: where each section starts in the reel, and the reel's end."""
        if self.style.is_plain:
            return reel.reel_edges_sec(self.result.info, self.result.sections)
        return reel_sections.styled_edges_sec(self.styled_sections, self.style)

    @property
    def preview_path(self) -> Path | None:
        """Return the copy of the match that the page plays, None where it plays the match."""
        path = find_file(self.args.output_dir / f"{self.result.title}{preview.SUFFIX}")
        return path if self.args.preview and path.exists() else None

    @functools.cached_property
    def audio_tracks(self) -> tuple[tuple[int], ...] | None:
        """Return what `reel.render_reel` needs to keep every audio track that can be read, if that is asked for."""
        if self.args.audio_track != ALL_TRACKS:
            return None
        info = decoding_process.call(self.result.video_path, media.probe, self.result.video_path, MIX)
        return tuple((index,) for index in info.audio_indices)


@dataclass(frozen=True)
class FileWriter:
    """One file of a match.

    Attributes:
        suffix: The end of its name, after the title.
        write: A function that writes it, of the cut and the path.
        needs_sections: Whether it is left out for a match without sections.
        needs_scores: Whether it is left out for a match without scores.
        is_folder: Whether it is a folder of files, some of which may exist already.
        shows_labels: Whether it shows the label file next to the match: it is written again when that changes.
        copies_match: Whether it depends on the match and its audio track alone, and stays while these are the same.
        argument: The argument that asks for it; without one it is always written.
    """

    suffix: str
    write: Callable[[Cut, Path], None]
    needs_sections: bool = False
    needs_scores: bool = False
    is_folder: bool = False
    shows_labels: bool = False
    copies_match: bool = False
    argument: str | None = None


def content(make: Callable[[Cut], bytes]) -> Callable[[Cut, Path], None]:
    """Return a function that writes atomically the bytes that `make` returns."""
    return lambda cut, path: atomic_write(path, make(cut))


def render_page(cut: Cut) -> bytes:
    """Return the review page."""
    more = {"preview_path": cut.preview_path, "options": repeated_options(cut.args)}
    return review_page.render_result(cut.result, cut.args.output_dir, **more)


def write_preview(cut: Cut, path: Path) -> None:
    """Copy the match into an mp4."""
    result = cut.result
    with progress("Copying", result.info.duration_sec) as add_sec:
        arguments = (result.video_path, result.info, path)
        decoding_process.write(result.video_path, path, preview.write_preview, *arguments, on_progress=add_sec)


def write_reel(cut: Cut, path: Path) -> None:
    """Cut the reel, with a chapter for each section."""
    num_sections = len(cut.result.sections)
    with progress("Cutting", float(cut.reel_edges_sec[-1])) as add_sec:
        render_sections(cut, cut.style, range(num_sections), path, section_names(num_sections), add_sec)


def write_clips(cut: Cut, clips_dir: Path) -> None:
    """Cut each section into a file of its own, unless it exists. Clips have no title card.

    Raises:
        reel.ReelError: Some clips cannot be written. The others are.
    """
    result, style = cut.result, replace(cut.style, transition_sec=0.0, intro=None)
    clips_dir.mkdir(exist_ok=True)
    names, errors = clip_files.name_clips(result.sections_sec[:, 0], result.section_scores), []
    with progress("Cutting clips", total_sec(result.sections_sec)) as add_sec:
        for index, (name, (start_sec, end_sec)) in enumerate(zip(names, result.sections_sec, strict=True)):
            if (clips_dir / name).exists():
                add_sec(end_sec - start_sec)
                continue
            try:
                render_sections(cut, style, range(index, index + 1), clips_dir / name, None, add_sec)
            except Exception as error:  # also of libraries: the other clips do not depend on this one
                errors.append(error)
    if errors:
        cause = errors[0]
        if not isinstance(cause, media.MediaError | reel.ReelError):
            cause = describe_match_error(clips_dir, "cannot be written", cause)
        raise reel.ReelError(f"{len(errors)} of {count_of(len(names), 'clip')} are not written: {cause}") from errors[0]


def render_sections(
    cut: Cut,
    style: ReelStyle,
    indices: range,
    path: Path,
    chapter_names: list[str] | None,
    add_sec: Callable[[float], object],
) -> None:
    """Cut sections of the match into an mp4.

    Args:
        cut: The match.
        style: The style of the mp4.
        indices: The numbers of its sections, from 0.
        path: The mp4.
        chapter_names: The names of its chapters, one for each section; None for no chapters.
        add_sec: Called with the seconds that were added to it.
    """
    result = cut.result
    render = reel.render_reel
    arguments = (result.video_path, result.info, result.sections[indices.start : indices.stop], path)
    if not style.is_plain:
        from videosummarizer.extraction import styled_reel  # moviepy takes a second

        render = styled_reel.render_styled_reel
        arguments = ([section for section in cut.styled_sections if section.index in indices], path, style)
    arguments = (*arguments, cut.args.reel_height, chapter_names)
    arguments += (cut.audio_tracks,) if style.is_plain else ()
    decoding_process.write(result.video_path, path, render, *arguments, on_progress=add_sec)


def write_webvtt(cut: Cut) -> bytes:
    """Return the match's chapters for video players."""
    return chapters.write_webvtt(cut.result.sections_sec, cut.result.section_scores, cut.result.score_name)


def write_youtube_chapters(cut: Cut) -> bytes:
    """Return the reel's chapters for YouTube."""
    return chapters.write_youtube_chapters(cut.reel_edges_sec, section_names(len(cut.result.sections)))


def write_losslesscut(cut: Cut) -> bytes:
    """Return the segments for LosslessCut."""
    result = cut.result
    return losslesscut.write_losslesscut(
        result.sections_sec, section_names(len(result.sections), result.section_scores, cut.result.score_name)
    )


WRITERS = (
    FileWriter("_scores.csv", content(lambda cut: outputs.write_scores(cut.result)), needs_scores=True),
    FileWriter(".txt", content(lambda cut: outputs.write_labels(cut.result))),
    FileWriter(".vtt", content(write_webvtt)),
    FileWriter(preview.SUFFIX, write_preview, copies_match=True, argument="preview"),
    FileWriter(".html", content(render_page), shows_labels=True),
    FileWriter("_timeline.png", content(lambda cut: outputs.draw_timeline(cut.result)), shows_labels=True),
    FileWriter(
        ".fcpxml", content(lambda cut: fcpxml.write_fcpxml(cut.timeline, cut.args.output_dir)), needs_sections=True
    ),
    FileWriter(".otio", content(lambda cut: otio.write_otio(cut.timeline, cut.args.output_dir)), needs_sections=True),
    FileWriter(".edl", content(lambda cut: edl.write_edl(cut.timeline)), needs_sections=True),
    FileWriter(".xml", content(lambda cut: fcp7_xml.write_fcp7_xml(cut.timeline)), needs_sections=True),
    FileWriter("_lossless.csv", content(write_losslesscut), needs_sections=True),
    FileWriter("_chapters.txt", content(write_youtube_chapters), needs_sections=True),
    FileWriter("_highlights.mp4", write_reel, needs_sections=True),
    FileWriter("_clips", write_clips, needs_sections=True, is_folder=True, argument="clips"),
)


def select_writers(args: argparse.Namespace, has_sections: bool, has_scores: bool) -> list[FileWriter]:
    """Return the entries of WRITERS for a match, in their order."""
    return [
        writer
        for writer in WRITERS
        if (has_sections or not writer.needs_sections)
        and (has_scores or not writer.needs_scores)
        and (writer.argument is None or getattr(args, writer.argument))
    ]
