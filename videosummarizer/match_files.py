"""Find the files of matches by their titles, and refuse names that cannot be used.

A title is the name of a match's video without its suffix, in composed characters (Unicode NFC). Names of files from a
Mac may have decomposed ones (NFD), which look the same. Both are one title.
"""

import logging
import os
import unicodedata
from collections.abc import Container
from pathlib import Path

from videosummarizer.atomic_file import existing_folder

# The suffixes of the videos that all stages take, in lower case: what recorders and downloaders write.
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".ts", ".mts", ".flv", ".avi")
# The suffixes of other videos in a folder, of which a warning says that they are not used.
OTHER_VIDEO_SUFFIXES = (
    ".3g2", ".3gp", ".asf", ".divx", ".f4v", ".m2ts", ".m2v", ".mpeg", ".mpg", ".mxf", ".ogm", ".ogv", ".rm", ".rmvb",
    ".vob", ".wmv",
)  # fmt: skip

# What operating systems and network drives leave in folders, in lower case. Hidden files count as such, too.
SYSTEM_NAMES = frozenset(
    (
        "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "@eadir", "#recycle", "$recycle.bin",
        "system volume information", "lost+found", "__macosx",
    )
)  # fmt: skip
# The end of the name of a file of undecided time after the title of its match, without its suffix, see `undecided`.
UNDECIDED_ENDING = "_undecided"
# The longest file name in bytes where the system does not state it.
MAX_NAME_BYTES = 255

logger = logging.getLogger(__name__)


def compose(text: str) -> str:
    """Return a text in composed characters (Unicode NFC)."""
    return unicodedata.normalize("NFC", text)


def title_of(video_path: Path) -> str:
    """Return the title of a match."""
    return compose(video_path.stem)


def is_system_file(name: str) -> bool:
    """Return whether a file or folder is hidden, or of a name that systems use for files of their own."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def absolute_path(path: str | os.PathLike) -> Path:
    """Return a path as an absolute one without "..". Links keep their names, except before a ".."."""
    path = Path(path).absolute()
    return Path(os.path.realpath(path.parent), path.name) if ".." in path.parts else path


def find_file(path: Path) -> Path:
    """Return a path or, if nothing exists there, that of a file whose name differs only in composition (NFC, NFD)."""
    if path.name.isascii() or os.path.exists(path) or not os.path.isdir(path.parent):
        return path
    return next((other for other in path.parent.iterdir() if compose(other.name) == compose(path.name)), path)


def find_label_path(video_path: Path) -> Path:
    """Return the label file of a match: `<title>.txt` next to its video, whatever the case of the suffix.

    Where none exists, the path is the one that it should have.
    """
    label_path = video_path.with_suffix(".txt")
    if os.path.exists(label_path) or not os.path.isdir(label_path.parent):
        return label_path
    labels = (other for other in sorted(label_path.parent.iterdir()) if other.suffix.lower() == ".txt")
    title = title_of(video_path)
    return next((other for other in labels if title_of(other) == title), label_path.with_name(f"{title}.txt"))


def find_videos(folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Find the videos of a folder as `videos_by_title` does. A warning names each video that is not used."""
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in OTHER_VIDEO_SUFFIXES and not is_system_file(path.name):
            logger.warning(describe_other_suffix(path))
    return videos_by_title(folder)


def videos_by_title(folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Find the videos of a folder as `find_by_title` does, and refuse the title of another match's undecided time."""
    videos, refused = find_by_title(folder, *VIDEO_SUFFIXES)
    ambiguous = {title: describe_undecided_title(path) for title, path in videos.items()}
    ambiguous = {title: problem for title, problem in ambiguous.items() if problem}
    return {title: path for title, path in videos.items() if title not in ambiguous}, refused | ambiguous


def describe_undecided_title(path: Path, titles: Container[str] = ()) -> str | None:
    """Return the error message about a match whose name is that of another one's undecided time; None for any other.

    Args:
        path: The video of the match. The other one lies next to it.
        titles: Those of further matches that it must not be mistaken for.
    """
    title = title_of(path)
    other = title.removesuffix(UNDECIDED_ENDING)
    if other == title or not (other in titles or has_video(path.parent, other)):
        return None
    return (
        f"{path}: received a name that ends in {UNDECIDED_ENDING} and a match named {other}, but {title}.json is the "
        "undecided time of that match: rename the file"
    )


def has_video(folder: Path, title: str) -> bool:
    """Return whether a folder has a video with a title."""
    videos = (path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES) if folder.is_dir() else ()
    return any(title_of(path) == compose(title) for path in videos)


def describe_other_suffix(path: Path) -> str:
    """Return the message about a video whose suffix is not one of VIDEO_SUFFIXES."""
    name = escape(str(path))
    expected = f"expected {', '.join(VIDEO_SUFFIXES[:-1])} or {VIDEO_SUFFIXES[-1]}"
    return f"{name}: received a video with the suffix {escape(path.suffix)}, {expected}: not used, convert it to one"


def find_by_title(folder: Path, *suffixes: str) -> tuple[dict[str, Path], dict[str, str]]:
    """Find the files of a folder that have one of some suffixes, such as ".mp4", in upper or lower case.

    Returns:
        path_of: their paths by title.
        refused: for each title whose file names cannot be used, an error message.
    """
    paths_of: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes and not is_system_file(path.name):
            paths_of.setdefault(title_of(path), []).append(path)
    problem_of = {title: describe_bad_name(paths[0]) or describe_twins(paths) for title, paths in paths_of.items()}
    path_of = {title: paths[0] for title, paths in paths_of.items() if not problem_of[title]}
    return path_of, {title: problem for title, problem in problem_of.items() if problem}


def describe_bad_name(path: Path) -> str | None:
    """Return the error message about a file name that is not UTF-8 or has control characters, None for any other."""
    categories = {unicodedata.category(character) for character in path.name}
    if "Cs" in categories:  # a byte that is not UTF-8 becomes a lone surrogate (PEP 383)
        problem = "a file name that is not UTF-8"
    elif "Cc" in categories or {"\ufffe", "\uffff"} & set(path.name):  # no XML may contain these
        problem = "a file name with control characters"
    else:
        return None
    return f"{escape(str(path))}: received {problem}, expected one in plain characters: rename the file"


def describe_twins(paths: list[Path]) -> str | None:
    """Return the error message about files with one title, None for a single file."""
    if len(paths) == 1:
        return None
    is_composition = len({compose(path.name) for path in paths}) == 1
    why = " (their names differ only in composed and decomposed characters, Unicode NFC and NFD)" * is_composition
    return (
        f"{', '.join(map(str, paths))}: received {len(paths)} files with one title{why}, expected one: rename the "
        "others, or move them elsewhere"
    )


def describe_long_name(
    path: Path, output_dir: Path, longest_ending: str, advice: str = "rename the file"
) -> str | None:
    """Return the error message about a title for which files cannot be written, None if it is short enough.

    Args:
        path: the video of a match, or the name of another file whose title is used.
        output_dir: the folder for its files, which may not exist yet.
        longest_ending: what is appended to the title in the longest name of its files.
        advice: what to do.
    """
    try:
        limit = os.pathconf(existing_folder(output_dir), "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):  # Windows, or a file system that does not say
        limit = MAX_NAME_BYTES
    num_bytes, max_bytes = len(title_of(path).encode()), limit - len(longest_ending)
    if num_bytes <= max_bytes:
        return None
    return (
        f"{path}: received a title of {num_bytes} bytes, expected at most {max_bytes}, as {output_dir} takes no file "
        f"name <title>{longest_ending} of more than {limit} bytes: {advice}"
    )


def escape(text: str) -> str:
    """Return a text with escapes for characters that cannot be shown, such as bytes that are not UTF-8."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
