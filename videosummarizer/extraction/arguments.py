"""The arguments of highlight_extractor.py, by what they are about: sections, reel, files."""

import argparse
from pathlib import Path

from videosummarizer import hardware_decoding
from videosummarizer.argument_types import (
    ALL_TRACKS,
    audio_choice_or_all,
    length_sec,
    number_between,
    reel_name,
    time_sec,
)
from videosummarizer.extraction.reel_style import ASPECTS, FITS, MAX_TRANSITION_SEC, ReelStyle

# The longest text of the title card.
MAX_INTRO_LENGTH = 200
EXAMPLES = """\
examples:
  python highlight_extractor.py match.mp4 --ckpt checkpoints/ckpt-20261124-120000-0007-0.4321.hdf5
  python highlight_extractor.py match.mp4 --sections match.txt
  python highlight_extractor.py match.mp4 --length 5:00
  python highlight_extractor.py first.mp4 second.mp4 --ckpt best.hdf5 --output_dir reels --length 8:00
  python highlight_extractor.py match.mp4 --ckpt best.hdf5 --output_dir phone --aspect 9:16 --transition 0.5 --captions
"""

# What a command that cuts the same match from a label file does not take over: which matches and sections, where the
# files go, and what concerns one run.
NOT_REPEATED = frozenset(
    (
        "videos", "ckpt", "sections", "threshold", "length", "from_sec", "to_sec", "padding", "output_dir", "overwrite",
        "debug", "together", "order", "hwaccel",
    )
)  # fmt: skip


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the arguments. Wrong ones exit with status 2 and a message that names them."""
    parser = argparse.ArgumentParser(
        prog="highlight_extractor.py",
        description="Find the highlights of matches with a checkpoint of main.py, cut them into a reel, and write a "
        "page on which they can be corrected.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("videos", nargs="+", type=Path, metavar="MATCH.mp4", help="The videos of the matches.")
    add_section_arguments(parser.add_argument_group("which sections"))
    add_reel_arguments(parser.add_argument_group("the reel"))
    add_file_arguments(parser.add_argument_group("files"))
    args = parser.parse_args(argv)
    if problem := describe_conflict_of_arguments(args):
        parser.error(problem)
    if args.aspect and args.fit is None:
        args.fit = FITS[0]
    args.transition = args.transition or None  # 0 is no transition
    return args


def add_section_arguments(group: argparse._ArgumentGroup) -> None:
    """Add the arguments that decide which sections are cut."""
    group.add_argument(
        "--ckpt",
        type=Path,
        metavar="FILE",
        help="The checkpoint, a .hdf5 file that main.py saved, or a folder, of which the checkpoint with the lowest "
        "validation loss is used. Without it, and without --sections, the sections are those with the most activity in "
        "audio and video; nothing has been learned then.",
    )
    group.add_argument(
        "--sections",
        type=Path,
        metavar="LABELS",
        help="Cut the sections of this label file instead of detecting any: a .txt file such as the review page saves "
        "or, for several matches, a folder that has a <title>.txt for each. With --ckpt as well, the match is scored "
        "and the scores are shown under these sections.",
    )
    group.add_argument(
        "--threshold",
        type=number_between(0, 1),
        help="Scores above this are evidence for a highlight, scores below it against one (default: the checkpoint's "
        "threshold).",
    )
    group.add_argument(
        "--length",
        type=length_sec,
        metavar="8:00",
        help="Select the best sections with this total length instead, in minutes:seconds (default without a "
        "checkpoint: a tenth of the match). With --together, it is the length of that reel.",
    )
    group.add_argument(
        "--from",
        type=time_sec,
        dest="from_sec",
        metavar="0:12:00",
        help="Decode and score each match only from this time on, such as after an hour of talk. All times in the "
        "files stay those of the whole match.",
    )
    group.add_argument(
        "--to",
        type=time_sec,
        dest="to_sec",
        metavar="0:55:30",
        help="Decode and score each match only up to this time.",
    )
    group.add_argument(
        "--padding",
        type=number_between(0, float("inf")),
        default=0.0,
        metavar="SECONDS",
        help="Extend each section by this much at both ends (default: %(default)s).",
    )


def add_reel_arguments(group: argparse._ArgumentGroup) -> None:
    """Add the arguments that decide what the reel looks and sounds like."""
    group.add_argument(
        "--together",
        type=reel_name,
        metavar="week.mp4",
        help="Also put the best sections of all matches into one reel of this name in the folder for the files, with "
        "files for editing software. Sizes, frame rates and sound are made alike.",
    )
    group.add_argument(
        "--order",
        choices=("score", "time"),
        help="The order of the sections in the reel of --together: the best first, or by match and time (default: "
        "score if there are scores).",
    )
    group.add_argument(
        "--reel_height",
        type=number_between(2, 4320, int),
        metavar="PX",
        help="The height of the reel (default: the match's height).",
    )
    group.add_argument(
        "--aspect",
        choices=ASPECTS,
        help="Make a reel of this shape, for example 9:16 for phones (default: the match's shape).",
    )
    group.add_argument(
        "--fit",
        choices=FITS,
        help="How the picture fits into --aspect: crop follows the motion with a part of the picture, blur shows the "
        "whole picture in front of a blurred copy, pad shows it on black (default: crop).",
    )
    group.add_argument(
        "--transition",
        type=number_between(0, MAX_TRANSITION_SEC),
        metavar="SECONDS",
        help="Cross-fade the picture and the audio of successive sections over this time, at most half of the shorter "
        "one (default: cuts).",
    )
    group.add_argument(
        "--captions",
        action="store_const",
        const=True,
        help="Show the match's title, its clock, and the section's rank by score in the reel.",
    )
    group.add_argument(
        "--intro", type=title_card, metavar="TEXT", help="Begin the reel with a title card of 3 seconds with this text."
    )
    group.add_argument(
        "--audio_track",
        metavar="N|mix|all",
        type=audio_choice_or_all,
        help="Score and cut the Nth audio track of the match, or the sum of all; or keep every track in the reel, and "
        "score as without this (default: what the checkpoint was trained on).",
    )


def add_file_arguments(group: argparse._ArgumentGroup) -> None:
    """Add the arguments that decide where files go and which are written."""
    group.add_argument(
        "--output_dir",
        type=Path,
        default="highlights",
        metavar="DIR",
        help="The folder for the files (default: %(default)s).",
    )
    group.add_argument(
        "--clips",
        action="store_true",
        help="Also write each section as a file of its own into the folder <title>_clips, named by rank, score, time, "
        "in the reel's shape and with its captions.",
    )
    group.add_argument(
        "--preview",
        action="store_const",
        const=True,
        help="Copy a match that not all browsers play (ts, mts, flv, avi, mkv), without encoding it again, into "
        "<title>_preview.mp4, which the page plays.",
    )
    hardware_decoding.add_argument(group)
    group.add_argument("--overwrite", action="store_true", help="Replace existing files of the matches.")
    group.add_argument("--debug", action="store_true", help="Show a traceback with each error.")


def title_card(text: str) -> str:
    """Parse the text of the title card.

    Raises:
        argparse.ArgumentTypeError: It is empty or too long.
    """
    text = " ".join(text.split())
    if not 0 < len(text) <= MAX_INTRO_LENGTH:
        raise argparse.ArgumentTypeError(
            f"received a text of {len(text)} characters, expected from 1 to {MAX_INTRO_LENGTH}"
        )
    return text


def describe_conflict_of_arguments(args: argparse.Namespace) -> str | None:
    """Return the error message about arguments that cannot work together, None if all can."""
    if args.ckpt is None and args.sections is None and args.threshold is not None:
        return (
            "argument --threshold: only with argument --ckpt: the activity of one match says nothing about another, so "
            "that --length says how much of each is selected"
        )
    if args.order and not args.together:
        return "argument --order: only with argument --together"
    if args.threshold is not None and args.length is not None and not args.together:
        return "argument --length: not allowed with argument --threshold"
    for name, value in (
        ("threshold", args.threshold),
        ("length", None if args.together else args.length),
        ("from", args.from_sec),
        ("to", args.to_sec),
    ):
        if args.sections and value is not None:
            return f"argument --{name}: not allowed with argument --sections, whose label file says what is cut"
    if args.from_sec is not None and args.to_sec is not None and args.from_sec >= args.to_sec:
        return f"argument --to: received {args.to_sec:g} s, expected a time after --from {args.from_sec:g} s"
    if args.fit and not args.aspect:
        return f"argument --fit: received {args.fit} without --aspect, expected both: --aspect 9:16, for example"
    if args.audio_track == ALL_TRACKS and not ReelStyle.from_arguments(args).is_plain:
        return (
            "argument --audio_track: received all together with --aspect, --transition, --captions or --intro, whose "
            "reels have one track: expected the number of a track, or mix"
        )
    return None


def repeated_options(args: argparse.Namespace) -> list[str]:
    """Return the options that a command for the same match with other sections has to repeat, as words of a shell."""
    words = []
    for name, value in vars(args).items():
        if name in NOT_REPEATED or value is None or value is False:
            continue
        text = f"{value:g}" if isinstance(value, float) else str(value)
        if value is True:
            words.append(f"--{name}")
        else:
            words += [f"--{name}={text}"] if text.startswith("-") else [f"--{name}", text]
    return words
