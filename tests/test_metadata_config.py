"""Data configs and titles that a file may state, and their limits."""

import pytest

from videosummarizer.dataset import metadata
from videosummarizer.dataset.metadata import DataConfig, is_safe_folder_name, max_segment_bytes, parse_config

CONFIG = {
    "segment_length": 2.5,
    "video_sample_rate": 4.0,
    "video_width": 20,
    "video_height": 10,
    "audio_sample_rate": 8000,
    "apply_mfcc": False,
}


@pytest.mark.parametrize(
    "changes",
    [
        {"segment_length": "5"},
        {"segment_length": None},
        {"segment_length": float("nan")},
        {"segment_length": float("inf")},
        {"segment_length": -2.5, "video_sample_rate": -4.0, "audio_sample_rate": -8000},  # products are as before
        {"segment_length": 0.0},
        {"segment_length": 0.1},  # less than a frame
        {"video_sample_rate": 0.3},
        {"video_width": 0},
        {"video_height": 0},
        {"audio_sample_rate": 0},
        {"apply_mfcc": "0"},
        {"apply_mfcc": -1},
    ],
)
def test_configs_of_which_no_segment_can_be_made_are_refused(changes):
    with pytest.raises((ValueError, TypeError)):
        parse_config({**CONFIG, **changes})
    assert parse_config(CONFIG) == DataConfig(2.5, 4.0, 20, 10, 8000, False)


@pytest.mark.parametrize("name", CONFIG)
def test_configs_name_all_of_their_values(name):
    with pytest.raises(TypeError):
        parse_config({key: value for key, value in CONFIG.items() if key != name})


def test_numbers_of_a_config_are_below_a_thousand_million():
    tiny = {**CONFIG, "segment_length": 1e-5, "video_sample_rate": 1e5, "video_width": 1, "video_height": 1}
    assert parse_config({**tiny, "audio_sample_rate": 999_999_999}).num_samples == 9999
    with pytest.raises(ValueError, match=r"^config {'segment_length': 1e-05"):
        parse_config({**tiny, "audio_sample_rate": 1_000_000_000})


def test_the_smallest_segment_is_one_frame_of_one_pixel_and_one_sample():
    config = {**CONFIG, "segment_length": 1, "video_sample_rate": 1, "video_width": 1, "video_height": 1}
    assert parse_config({**config, "audio_sample_rate": 1}).data_shape == {
        "video": (1, 1, 1, 3),
        "audio": (1,),
    }


def test_a_segment_takes_two_bytes_a_pixel_eight_a_sample_and_some_around_them():
    assert max_segment_bytes({"video": (15, 36, 64, 3), "audio": (55_125,)}) == 207_360 + 441_000 + 65_536
    assert max_segment_bytes({"video": (2, 5, 9, 3), "audio": (40, 11)}) == 540 + 3520 + 65_536


def test_segments_of_a_gibibyte_are_the_largest():
    # 2 * 8 * 8 * 3 bytes of pixels, 65536 around them, and the rest in samples of 8 bytes.
    largest = (2**30 - 384 - 65_536) // 8
    config = {**CONFIG, "segment_length": 1, "video_sample_rate": 1, "video_width": 8, "video_height": 8}
    assert parse_config({**config, "audio_sample_rate": largest}).num_samples == largest
    with pytest.raises(ValueError, match=r"^segments of 1 GB$"):
        parse_config({**config, "audio_sample_rate": largest + 1})
    with pytest.raises(ValueError, match=r"^segments of 6 GB$"):
        parse_config({**config, "audio_sample_rate": 750_000_000})


# ---- Names


@pytest.mark.parametrize(
    ("title", "is_name"),
    [
        ("match", True),
        ("결승전 1세트", True),
        ("🏆", True),
        (".hidden", True),
        ("...", True),
        ("a..b", True),
        (" ", True),
        ("\ud7ff", True),
        ("\ue000", True),
        ("", False),
        (".", False),
        ("..", False),
        ("/", False),
        ("a/b", False),
        ("../a", False),
        ("/etc", False),
        ("a/", False),
        ("a\0b", False),
        ("\ud800", False),
        ("a\udfff", False),
        ("a\udc00b", False),
        (None, False),
        (5, False),
        (b"match", False),
        (["match"], False),
    ],
)
def test_titles_that_name_a_folder_in_the_dataset_and_nothing_else(title, is_name):
    assert is_safe_folder_name(title) is is_name


def test_where_the_separator_is_another_it_is_no_part_of_a_name(monkeypatch):
    monkeypatch.setattr(metadata.os, "sep", "\\")
    assert not is_safe_folder_name("a\\b")
    assert not is_safe_folder_name("a/b")
