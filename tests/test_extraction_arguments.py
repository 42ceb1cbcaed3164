"""The arguments of highlight_extractor.py that the command on the review page repeats."""

import pytest

from videosummarizer.extraction.arguments import parse_args, repeated_options


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--reel_height", "360", "--aspect", "9:16", "--fit", "blur", "--transition", "0.5", "--captions", "--clips"],
        ["--intro", "결승전 1세트's best"],
        ["--intro=--best--"],
    ],
)
def test_what_decides_the_look_of_the_files_is_repeated(options):
    args = parse_args(["match.mp4", "--ckpt", "best.hdf5", *options])
    repeated = repeated_options(args)
    assert sorted(repeated) == sorted(options)
    again = parse_args(["match.mp4", "--sections", "match.txt", *repeated])
    ignored = {"ckpt": None, "sections": None}
    assert vars(again) | ignored == vars(args) | ignored


def test_which_sections_where_and_how_often_are_not_repeated():
    which = ["--length", "8:00", "--from", "0:01:00", "--to", "0:09:00", "--padding", "1.5"]
    args = parse_args(["a.mp4", "b.mp4", "--ckpt", "best.hdf5", *which, "--output_dir", "x", "--overwrite", "--debug"])
    assert repeated_options(args) == []
