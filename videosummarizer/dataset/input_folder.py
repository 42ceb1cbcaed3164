"""Find the matches in the folder that is converted: each video and its label file."""

import os
import re
from collections.abc import Set
from pathlib import Path

from videosummarizer import match_files, undecided
from videosummarizer.dataset import output_folder
from videosummarizer.match_files import compose
from videosummarizer.undecided import find_undecided_path

# What browsers call a download whose name was taken: "match (1).txt", in Firefox "match(1).txt".
NUMBERED_NAME = re.compile(r"(.+?) ?\(\d+\)")
# The end of the name under which the review page saves starred sections.
STARRED_ENDING = "_starred"


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
    stray = find_stray_undecided(input_video_dir, videos.keys() | refused_videos.keys())
    reserved = {title: output_folder.describe_reserved_title(path) for title, path in videos.items()}
    refused = (
        stray | refused_labels | refused_videos | {title: problem for title, problem in reserved.items() if problem}
    )
    refused = dict(sorted(refused.items()))
    videos, labels = (
        {title: path for title, path in path_of.items() if title not in refused} for path_of in (videos, labels)
    )
    return videos, labels, refused


def find_matches(input_video_dir: Path) -> tuple[list[Path], dict[str, str]]:
    """Find the videos of a folder that have a txt next to them.

    Returns:
        paths: of the videos, sorted by title.
        refused: for each title whose file names cannot be used or that lacks a file, an error message.

    Raises:
        InputError: as `find_files` does.
    """
    videos, labels, refused = find_files(input_video_dir)
    unlabelled = {title: describe_missing_labels(title, videos[title]) for title in videos.keys() - labels.keys()}
    videoless = {title: describe_missing_video(labels[title]) for title in labels.keys() - videos.keys()}
    paths = [videos[title] for title in sorted(videos.keys() & labels.keys())]
    return paths, dict(sorted((refused | unlabelled | videoless).items()))


def describe_missing_labels(title: str, video_path: Path) -> str:
    """Return the error message about a match without a label file."""
    undecided_path = find_undecided_path(video_path)
    if os.path.lexists(undecided_path):
        return (
            f"{video_path} has no {title}.txt, but {compose(undecided_path.name)} names time that nobody has looked "
            "at: save the labels on the review page, which writes both, or move the video elsewhere"
        )
    advice = "add it (an empty one is a match without highlights), or move the video elsewhere"
    return f"{video_path} has no {title}.txt: {advice}"


def find_stray_undecided(folder: Path, titles: Set[str]) -> dict[str, str]:
    """Return an error message about each file of undecided time that belongs to no match, by its stem."""
    paths, messages = match_files.find_by_title(folder, ".json")[0], {}
    for stem, path in paths.items():
        numbered = NUMBERED_NAME.fullmatch(stem)
        name = f"{numbered[1] if numbered else stem}.json"
        title = name.removesuffix(undecided.ENDING)
        if title == name or stem in titles or (title in titles and not numbered):
            continue
        if title in titles:
            messages[stem] = (
                f"{path} is not read: browsers name a download like this where {name} was taken: rename it to that if "
                "it is the newer one, otherwise move it elsewhere"
            )
        else:
            messages[stem] = f"{path} has no video: add it, or move the json elsewhere"
    return messages


def describe_no_labels(input_video_dir: Path) -> str | None:
    """Return what to do about a folder of videos without any txt; None if there is one."""
    labels, refused = match_files.find_by_title(input_video_dir, ".txt")
    if labels or refused:
        return None
    return (
        f"{input_video_dir}: has no label file at all: label_finder.py writes them from highlight videos; without "
        "those, highlight_extractor.py finds the most active sections of a match, to be corrected and saved on its page"
    )


def describe_missing_video(label_path: Path) -> str:
    """Return the error message about a label file without a video, with the cause where its name shows it."""
    advice, stem = "add it, or move the txt elsewhere", label_path.stem
    if (numbered := NUMBERED_NAME.fullmatch(stem)) and match_files.has_video(label_path.parent, numbered[1]):
        advice = (
            f"browsers name a download like this where {numbered[1]}.txt was taken: rename it to {numbered[1]}.txt if "
            "its labels are the newer ones, otherwise move it elsewhere"
        )
    elif stem.endswith(STARRED_ENDING) and match_files.has_video(label_path.parent, stem.removesuffix(STARRED_ENDING)):
        advice = "it has the starred sections of a review page, for a reel and not for training: move it elsewhere"
    return f"{label_path} has no video: {advice}"
