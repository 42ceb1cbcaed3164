"""Refer to a match from a file for editing software, by a relative URL where there is one."""

import os
from pathlib import Path
from urllib.parse import quote

from videosummarizer.match_files import absolute_path


def relative_url(video_path: Path, folder: str | os.PathLike) -> str:
    """Return the URL of a match relative to a folder, so that both can be moved or opened on another computer together.

    Links are not followed: the URL has the names that the user gave. It is a file URL where no relative one leads to
    the match for certain: on another drive of Windows, and where a link leads to the folder, as programs that resolve
    ".." by themselves would look elsewhere than those that leave it to the system.

    Args:
        video_path: The absolute path of the match.
        folder: The folder of the file that refers to the match.
    """
    folder = absolute_path(folder)
    try:
        path = os.path.relpath(video_path, folder)
        path_for_system = os.path.relpath(video_path, os.path.realpath(folder))
    except ValueError:
        return video_path.as_uri()
    return quote(os.fsencode(Path(path).as_posix())) if path == path_for_system else video_path.as_uri()
