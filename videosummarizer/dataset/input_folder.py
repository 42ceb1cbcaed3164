"""Find the matches in the folder that is converted: each mp4 file and its label file."""

from pathlib import Path


class InputError(Exception):
    """The input of the command cannot be converted. The message says why and what to do."""


def find_files(input_video_dir: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Find the mp4 files and the txt files of a folder.

    Returns:
        Two dicts of paths by title, for mp4 and txt files.

    Raises:
        InputError: the folder does not exist or contains no mp4.
    """
    if not input_video_dir.is_dir():
        raise InputError(f"{input_video_dir}: no such folder, expected one with mp4 files and a txt next to each")
    visible = [path for path in input_video_dir.iterdir() if not path.name.startswith(".")]
    videos = {path.stem: path for path in visible if path.suffix.lower() == ".mp4"}
    labels = {path.stem: path for path in visible if path.suffix.lower() == ".txt"}
    if not videos:
        raise InputError(f"{input_video_dir}: received a folder without mp4, expected mp4 files and a txt next to each")
    return videos, labels


def find_matches(input_video_dir: Path) -> list[Path]:
    """Find the mp4 files of a folder and check that each has a txt next to it.

    Returns:
        Their paths, sorted by title.

    Raises:
        InputError: as `find_files` does, or there are files without their counterpart. All of them are listed.
    """
    videos, labels = find_files(input_video_dir)
    missing = [f"{videos[title].name} has no {title}.txt" for title in sorted(videos.keys() - labels.keys())]
    missing += [f"{labels[title].name} has no {title}.mp4" for title in sorted(labels.keys() - videos.keys())]
    if missing:
        raise InputError(
            f"{input_video_dir}: expected a txt next to each mp4 and an mp4 next to each txt, but "
            f"{'; '.join(missing)}. Add what is missing (an empty txt is a match without highlights) "
            "or move the rest elsewhere"
        )
    return [videos[title] for title in sorted(videos)]
