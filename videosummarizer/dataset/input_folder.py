"""Find the matches in the folder that is converted: each video and its label file."""

from pathlib import Path

from videosummarizer import match_files
from videosummarizer.dataset import output_folder


class InputError(Exception):
    """The input of the command cannot be converted. The message says why and what to do."""


def find_files(input_video_dir: Path) -> tuple[dict[str, Path], dict[str, Path], dict[str, str]]:
    """Find the videos and the txt files of a folder.

    Returns:
        videos: paths of the videos by title.
        labels: paths of the txt files by title.
        refused: for each title whose file names cannot be used, which is in neither dict, an error message.

    Raises:
        InputError: the folder does not exist or contains no video.
    """
    if not input_video_dir.is_dir():
        raise InputError(f"{input_video_dir}: no such folder, expected one with videos and a txt next to each")
    videos, refused_videos = match_files.find_videos(input_video_dir)
    labels, refused_labels = match_files.find_by_title(input_video_dir, ".txt")
    if not videos and not refused_videos:
        raise InputError(
            f"{input_video_dir}: received a folder without a video, expected videos and a txt next to each"
        )
    reserved = {title: output_folder.describe_reserved_title(path) for title, path in videos.items()}
    refused = refused_labels | refused_videos | {title: problem for title, problem in reserved.items() if problem}
    refused = dict(sorted(refused.items()))
    videos, labels = (
        {title: path for title, path in path_of.items() if title not in refused} for path_of in (videos, labels)
    )
    return videos, labels, refused


def find_matches(input_video_dir: Path) -> tuple[list[Path], dict[str, str]]:
    """Find the videos of a folder and check that each has a txt next to it.

    Returns:
        paths: of the videos, sorted by title.
        refused: as `find_files` returns it.

    Raises:
        InputError: as `find_files` does, or there are files without their counterpart. All of them are listed.
    """
    videos, labels, refused = find_files(input_video_dir)
    missing = [f"{videos[title].name} has no {title}.txt" for title in sorted(videos.keys() - labels.keys())]
    missing += [f"{labels[title].name} has no video" for title in sorted(labels.keys() - videos.keys())]
    if missing:
        raise InputError(
            f"{input_video_dir}: expected a txt next to each video and a video next to each txt, but "
            f"{'; '.join(missing)}. Add what is missing (an empty txt is a match without highlights) "
            "or move the rest elsewhere"
        )
    return [videos[title] for title in sorted(videos)], refused
