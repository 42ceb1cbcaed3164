"""Find which match and which highlight video belong together: by their names, or by a CSV file."""

import csv
import logging
import os
from pathlib import Path

from videosummarizer import match_files
from videosummarizer.untrusted_file import excerpt, read_limited

# A CSV file of this size names 10,000 pairs.
MAX_PAIRS_BYTES = 2**20

logger = logging.getLogger(__name__)


class InputError(Exception):
    """The command's input cannot be used; the message says why and what to do."""


def find_pairs(
    full_match_dir: Path, highlight_dir: Path, pairs_path: Path | None
) -> tuple[dict[str, tuple[Path, Path]], dict[str, str]]:
    """Find the videos of each match.

    Args:
        full_match_dir: folder of the matches.
        highlight_dir: folder of the highlight videos.
        pairs_path: CSV file with lines `match,highlight_video`; without it, videos of the same name are pairs.

    Returns:
        pairs: paths of match and highlight video by the match's title.
        refused: error messages about matches whose names cannot be used, by title.

    Raises:
        InputError: a folder or a file is missing, or no pair is left.
    """
    for folder in (full_match_dir, highlight_dir):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder, expected one with videos")
    if pairs_path:
        pairs = read_pairs(full_match_dir, highlight_dir, pairs_path)
        return pairs, refuse_pairs(pairs, full_match_dir)
    matches, refused_matches = match_files.find_videos(full_match_dir)
    highlights, refused_highlights = match_files.find_videos(highlight_dir)
    refused = dict(sorted((refused_highlights | refused_matches).items()))
    titles = sorted((matches.keys() & highlights.keys()) - refused.keys())
    if not titles and not refused:
        raise InputError(
            f"{full_match_dir}, {highlight_dir}: received {len(matches)} and {len(highlights)} videos, none of the "
            "same name, expected videos of one name in both: give them the same names, or use --pairs FILE.csv"
        )
    for title in sorted((matches.keys() ^ highlights.keys()) - refused.keys()):
        path = matches.get(title) or highlights[title]
        logger.warning("%s: there is no video of this name in the other folder: left out", path)
    return {title: (matches[title], highlights[title]) for title in titles}, refused


def refuse_pairs(pairs: dict[str, tuple[Path, Path]], full_match_dir: Path) -> dict[str, str]:
    """Return error messages, by title, about matches of a CSV file that data_converter.py refuses in their folder."""
    _, refused = match_files.videos_by_title(full_match_dir)
    refused = {title: refused[title] for title in pairs if title in refused}
    for title, (match_path, _) in pairs.items():
        if match_path.suffix.lower() not in match_files.VIDEO_SUFFIXES:
            refused[title] = match_files.describe_other_suffix(match_path)
    return refused


def read_pairs(full_match_dir: Path, highlight_dir: Path, pairs_path: Path) -> dict[str, tuple[Path, Path]]:
    """Read pairs of videos from a CSV file with lines `match,highlight_video`.

    Args:
        full_match_dir: folder of the matches.
        highlight_dir: folder of the highlight videos.
        pairs_path: the CSV file.

    Returns:
        The paths of match and highlight video by the match's title.

    Raises:
        InputError: the CSV file cannot be read, a video does not exist, a line does not have two fields, or a match
            occurs twice.
    """
    try:
        lines = list(csv.reader(read_limited(pairs_path, MAX_PAIRS_BYTES).decode("utf-8-sig").splitlines()))
    except UnicodeDecodeError as error:
        raise InputError(
            f"{pairs_path}: received bytes that are not UTF-8 text, expected lines of match.mp4,highlight_video.mp4: "
            "save it as UTF-8 (in Excel, as CSV UTF-8)"
        ) from error
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{pairs_path}: cannot be read ({error}), expected lines of match,highlight_video") from error
    pairs: dict[str, tuple[Path, Path]] = {}
    for number, line in enumerate(lines, start=1):
        names = [name.strip() for name in line]
        while names and not names[-1]:
            names.pop()  # spreadsheets write empty columns
        if not names:
            continue
        source = f"{pairs_path}, line {number}"
        if problem := describe_form(names):
            raise InputError(f"{source}: received {problem}")
        paths = match_files.find_file(full_match_dir / names[0]), match_files.find_file(highlight_dir / names[1])
        for path, name in zip(paths, names, strict=True):
            if not os.path.isfile(path):  # False for a name that is too long, too
                if not any(Path(part).suffix for part in names):
                    raise InputError(
                        f"{source}: received a header or names without endings ({excerpt(','.join(names))!r}), "
                        "expected match.mp4,highlight_video.mp4: delete the header, or complete the names"
                    )
                raise InputError(
                    f"{source}: no such file {path.parent / excerpt(name)}, expected the name of a video in its folder"
                )
        title = match_files.title_of(paths[0])
        if title in pairs:
            raise InputError(f"{source}: received {names[0]} a second time, expected each match once")
        pairs[title] = paths
    if not pairs:
        raise InputError(f"{pairs_path}: received no pair, expected lines of match.mp4,highlight_video.mp4")
    return pairs


def describe_form(names: list[str]) -> str | None:
    """Return the message about a line that does not have two columns, from the word after "received" on, or None."""
    expected = "expected 2: match.mp4,highlight_video.mp4"
    separator = next((name for sign, name in ((";", "semicolons"), ("\t", "tabs")) if sign in names[0]), None)
    if len(names) == 1 and separator:
        return f"columns separated by {separator} ({excerpt(names[0])!r}), expected commas: replace them"
    if len(names) == 1:
        return f"1 field ({excerpt(names[0])!r}), {expected}: add the highlight video, or delete the line"
    if not names[0]:
        return f"no match for {excerpt(names[1])!r}, {expected}: add the match, or delete the line"
    if len(names) > 2:
        return f"{len(names)} fields, {expected}: delete the others, such as notes, and put names with commas in quotes"
    return None
