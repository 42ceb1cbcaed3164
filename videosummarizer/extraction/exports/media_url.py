"""Refer to a match from the review page or a file for editing software, by a relative URL where there is one."""

import os
from pathlib import Path
from urllib.parse import quote

from videosummarizer.match_files import absolute_path


def relative_url(video_path: str | os.PathLike, folder: str | os.PathLike) -> str:
    """Return the URL of a match relative to a folder, or a file URL where there is none (another drive of Windows).

    Links are not followed: the URL has the names that the user gave.
    """
    video_path = absolute_path(video_path)
    try:
        return quote(os.fsencode(Path(os.path.relpath(video_path, absolute_path(folder))).as_posix()))
    except ValueError:
        return video_path.as_uri()


def export_url(video_path: Path, folder: str | os.PathLike) -> str:
    """Return the relative URL of a match for editing software, so that both can be moved together.

    It is a file URL where no relative one leads to the match for certain: on another drive, and where a link leads to
    the folder, as programs that resolve ".." by themselves would look elsewhere than those that leave it to the system.

    Args:
        video_path: The absolute path of the match.
        folder: The folder of the file that refers to the match.
    """
    url = relative_url(video_path, folder)
    real_folder = os.path.realpath(absolute_path(folder))
    return url if url == relative_url(video_path, real_folder) else video_path.as_uri()
