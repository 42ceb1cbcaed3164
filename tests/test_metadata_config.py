"""Data configs and titles: the frames, samples and segments of a config, and what a file may state."""

import math
from fractions import Fraction
from pathlib import PureWindowsPath

import pytest

from videosummarizer.dataset import metadata
from videosummarizer.dataset.metadata import DataConfig, is_safe_folder_name, max_segment_bytes, parse_config

LENGTHS = ["0.1", "0.3", "0.7", "1.1", "2.3", "2.5", "5", "7"]
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
    with pytest.raises(ValueError, match=r"^(config \{|segments of shapes \{)"):
        parse_config({**CONFIG, **changes})
    assert parse_config(CONFIG) == DataConfig(2.5, 4.0, 20, 10, 8000, False)


@pytest.mark.parametrize("name", CONFIG)
def test_configs_name_all_of_their_values(name):
    with pytest.raises(TypeError, match=f"missing 1 required positional argument: '{name}'"):
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


def test_titles_that_lead_to_another_drive_of_windows_are_no_folder_names(monkeypatch):
    assert is_safe_folder_name("C:match")
    monkeypatch.setattr(metadata, "Path", PureWindowsPath)
    assert not is_safe_folder_name("C:match")
    assert is_safe_folder_name("결승전 #3 (재경기)")


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (DataConfig(5.0, 3.0, 64, 64, 11025, False), "dataset_sl5_vsr3_vw64_vh64_asr11025"),
        (DataConfig(2.5, 29.97, 128, 72, 22050, True), "dataset_sl2.5_vsr29.97_vw128_vh72_asr22050_mfcc"),
    ],
)
def test_default_dataset_name(config, name):
    assert config.dataset_name == name


@pytest.mark.parametrize(
    ("segment_length", "rate", "num_frames"), [(5, 3, 15), (0.1, 30, 3), (2.5, 3, 7), (1, 29.97, 29), (0.7, 10, 7)]
)
def test_frames_of_a_segment(segment_length, rate, num_frames):
    assert DataConfig(segment_length, rate, 8, 8, 8000, False).num_frames == num_frames


@pytest.mark.parametrize("length", LENGTHS)
def test_segments_of_a_video_are_counted_as_with_fractions(length):
    # Whole multiples are where float division goes wrong: 2.1 / 0.7 is 3.0000000000000004.
    config = DataConfig(float(length), 1, 8, 8, 8000, False)
    for tenths in range(1, 801):
        duration = Fraction(tenths, 10)
        expected = math.ceil(duration / Fraction(length))
        assert config.num_segments(tenths / 10) == expected, f"{tenths / 10} s in segments of {length} s"
    for num_segments in range(1, 200):  # a sum of lengths, as durations are
        assert config.num_segments(sum([float(length)] * num_segments)) == num_segments


@pytest.mark.parametrize(
    ("duration_sec", "segment_length", "num_segments"),
    [
        (2.1, 0.7, 3),
        (0.1 + 0.2, 0.1, 3),
        (12, 5, 3),
        (10, 5, 2),
        (10.04, 5, 3),
        (9.96, 5, 2),
        (0.04, 5, 1),
        (0, 5, 0),
        (3.0000004, 1, 3),  # a rounding error is no segment
        (3.000002, 1, 4),
        (2.999999, 1, 3),
        (5400.04, 2.5, 2161),
    ],
)
def test_the_short_last_segment_counts_and_a_rounding_error_does_not(duration_sec, segment_length, num_segments):
    assert DataConfig(segment_length, 1, 8, 8, 8000, False).num_segments(duration_sec) == num_segments


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("rate", ["0.5", "3", "10", "29.97", "30", "100", "11025", "44100"])
def test_frames_and_samples_of_a_segment_are_counted_as_with_fractions(length, rate):
    expected = math.floor(Fraction(length) * Fraction(rate))
    assert DataConfig(float(length), float(rate), 8, 8, 8000, False).num_frames == expected
    if rate.isdecimal():
        assert DataConfig(float(length), 3, 8, 8, int(rate), False).num_samples == expected


def test_counts_of_frames_and_samples_forgive_a_millionth_and_no_more():
    assert [DataConfig(length, 1, 8, 8, 1, False).num_frames for length in (2.9999996, 2.999998)] == [3, 2]
    assert [DataConfig(length, 1, 8, 8, 1, False).num_samples for length in (2.9999996, 2.999998)] == [3, 2]


@pytest.mark.parametrize(
    ("config", "shapes"),
    [
        (DataConfig(5, 3, 64, 36, 11025, False), {"video": (15, 36, 64, 3), "audio": (55_125,)}),
        (DataConfig(5, 3, 64, 36, 11025, True), {"video": (15, 36, 64, 3), "audio": (40, 108)}),
        (DataConfig(0.7, 10, 20, 30, 8000, True), {"video": (7, 30, 20, 3), "audio": (40, 11)}),
        (DataConfig(0.5, 4, 9, 5, 1024, True), {"video": (2, 5, 9, 3), "audio": (40, 2)}),  # 512 samples: 1 + 1
        (DataConfig(0.5, 4, 9, 5, 1022, True), {"video": (2, 5, 9, 3), "audio": (40, 1)}),  # 511 samples
    ],
)
def test_shapes_of_a_segments_arrays(config, shapes):
    assert config.data_shape == shapes
