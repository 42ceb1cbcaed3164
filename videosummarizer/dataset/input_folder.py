"""Find the matches in the folder that is converted: each mp4 file and its label file."""

from pathlib import Path

from videosummarizer import match_files
from videosummarizer.dataset import output_folder


class InputError(Exception):
    """The input of the command cannot be converted. The message says why and what to do."""


def find_files(input_video_dir: Path) -> tuple[dict[str, Path], dict[str, Path], dict[str, str]]:
    """Find the mp4 files and the txt files of a folder.

    Returns:
        videos: paths of the mp4 files by title.
        labels: paths of the txt files by title.
        refused: for each title whose file names cannot be used, which is in neither dict, an error message.

    Raises:
        InputError: the folder does not exist or contains no mp4.
    """
    if not input_video_dir.is_dir():
        raise InputError(f"{input_video_dir}: no such folder, expected one with mp4 files and a txt next to each")
    videos, refused_videos = match_files.find_by_title(input_video_dir, ".mp4")
    labels, refused_labels = match_files.find_by_title(input_video_dir, ".txt")
    if not videos and not refused_videos:
        raise InputError(f"{input_video_dir}: received a folder without mp4, expected mp4 files and a txt next to each")
    reserved = {
        title: f"{path}: received a title that a file of the dataset has, expected another one: rename the file"
        for title, path in videos.items()
        if output_folder.is_reserved(title)
    }
    refused = dict(sorted((refused_labels | refused_videos | reserved).items()))
    videos, labels = (
        {title: path for title, path in path_of.items() if title not in refused} for path_of in (videos, labels)
    )
    return videos, labels, refused


def find_matches(input_video_dir: Path) -> tuple[list[Path], dict[str, str]]:
    """Find the mp4 files of a folder and check that each has a txt next to it.

    Returns:
        paths: of the mp4 files, sorted by title.
        refused: as `find_files` returns it.

    Raises:
        InputError: as `find_files` does, or there are files without their counterpart. All of them are listed.
    """
    videos, labels, refused = find_files(input_video_dir)
    missing = [f"{videos[title].name} has no {title}.txt" for title in sorted(videos.keys() - labels.keys())]
    missing += [f"{labels[title].name} has no {title}.mp4" for title in sorted(labels.keys() - videos.keys())]
    if missing:
        raise InputError(
            f"{input_video_dir}: expected a txt next to each mp4 and an mp4 next to each txt, but "
            f"{'; '.join(missing)}. Add what is missing (an empty txt is a match without highlights) "
            "or move the rest elsewhere"
        )
    return [videos[title] for title in sorted(videos)], refused
