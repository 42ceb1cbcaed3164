"""Statistics of matches against values worked out by hand."""

import math

import numpy as np
import pytest

from videosummarizer.dataset.match_statistics import (
    MAX_SEGMENTS,
    NUM_BLOCKS,
    StatisticsMeter,
    band_edges_hz,
    sampled_indices,
)
from videosummarizer.dataset.metadata import DataConfig

CONFIG = DataConfig(2.0, 2.0, 32, 16, 8000, False)
TIMES_SEC = np.arange(16000) / 8000


def tone(frequency_hz, amplitude=1.0):
    return (amplitude * np.sin(2 * np.pi * frequency_hz * TIMES_SEC)).astype(np.float32)


def frames_of(*greys, height=16, width=32):
    return np.stack([np.full((height, width, 3), grey, np.uint8) for grey in greys])


def measure(segments, frame_rate_fps=None, config=CONFIG):
    meter = StatisticsMeter(config, len(segments))
    for segment in segments:
        meter.add(*segment)
    return meter.statistics(frame_rate_fps)


GREY = frames_of(100, 100, 100, 100)


def test_short_matches_are_measured_completely_and_long_ones_evenly():
    assert sampled_indices(5) == [0, 1, 2, 3, 4]
    assert sampled_indices(MAX_SEGMENTS) == list(range(MAX_SEGMENTS))
    indices = sampled_indices(1000)
    assert len(indices) == MAX_SEGMENTS
    assert set(np.diff(indices)) == {15, 16}
    assert (indices[0], indices[-1]) == (7, 992)


def test_of_many_segments_the_sampled_ones_count():
    meter = StatisticsMeter(CONFIG, 1000)
    for index in range(1000):
        meter.add(GREY if index in sampled_indices(1000) else frames_of(0, 0, 0, 0), tone(440))
    assert len(meter.pictures) == MAX_SEGMENTS
    assert meter.statistics(None)["brightness"] == pytest.approx(100)


def test_the_level_is_that_of_the_louder_half():
    segments = [(GREY, tone(440, amplitude)) for amplitude in (1.0, 0.5, 0.01, 0.001)]
    found = measure([*segments, (GREY, tone(440, 0))])
    # The mean of 0 and -6.02 dB, 3.01 dB below full scale because it is a sine.
    assert found["audio_level"] == pytest.approx(-3.0103 - 6.0206 / 2, abs=0.01)


def test_audio_that_does_not_vary_is_not_known():
    for constant in (0.0, 0.3):
        found = measure([(GREY, np.full(16000, constant, np.float32))] * 3)
        assert not any(name.startswith("audio") for name in found)
    mfcc = DataConfig(2.0, 2.0, 32, 16, 8000, True)
    assert not any(name.startswith("audio") for name in measure([(GREY, np.zeros((40, 32), np.float32))], config=mfcc))


def test_a_tone_is_in_its_band():
    edges_hz = band_edges_hz(8000)
    assert (edges_hz[0], edges_hz[-1]) == pytest.approx((60, 4000))
    for number in range(1, 8):
        found = measure([(GREY, tone(math.sqrt(edges_hz[number] * edges_hz[number + 1])))])
        bands = [found[f"audio_band_{band}"] for band in range(8)]
        assert np.argmax(bands) == number
        assert sum(bands) == pytest.approx(0, abs=1e-3)


def test_repeated_clicks_are_onsets_and_a_steady_tone_is_none():
    clicks = np.zeros(16000, np.float32)
    clicks[::2000] = 1
    steady, sudden = (measure([(GREY, audio)])["audio_onsets"] for audio in (tone(440), clicks))
    assert steady < 1
    assert sudden > 5 * steady


def test_black_bars_are_measured_where_they_stay_black():
    picture = frames_of(100, 90, 80, 120)
    picture[:, :2] = picture[:, -2:] = 5
    picture[:, :, :8] = 0
    dark = frames_of(2, 2, 2, 2)
    found = measure([(dark, tone(440)), (picture, tone(440))])
    assert (found["black_rows"], found["black_columns"]) == (pytest.approx(4 / 16), pytest.approx(8 / 32))
    assert measure([(GREY, tone(440))])["black_rows"] == 0
    assert measure([(dark, tone(440))])["black_rows"] == 1


def test_large_frames_are_measured_at_a_part_of_their_pixels():
    config = DataConfig(2.0, 2.0, 300, 199, 8000, False)
    picture = frames_of(100, 90, 80, 120, height=199, width=300)
    picture[:, :20] = picture[:, -20:] = 5
    picture[:, 1::3] = 255  # between the pixels that are measured
    found = measure([(picture, tone(440))], config=config)
    assert found["brightness"] == pytest.approx(5 * 0.2 + 97.5 * 0.8, abs=1)
    assert found["black_rows"] == pytest.approx(0.2, abs=0.02)
    assert found["black_columns"] == 0


def test_a_picture_is_described_by_its_luma_colours_and_changes():
    frames = frames_of(10, 30, 30, 30)
    frames[..., :16, 0] += 100  # red on the left
    found = measure([(frames, tone(440))])
    assert found["brightness"] == pytest.approx(25 + 0.299 * 50, abs=0.01)
    assert found["red"] == pytest.approx(50 - 0.299 * 50, abs=0.01)
    assert found["blue"] == pytest.approx(-0.299 * 50, abs=0.01)
    assert found["motion"] == pytest.approx(20 / 3, abs=0.01)
    assert found["still_picture"] == pytest.approx(2 / 3)
    assert found["detail"] == pytest.approx(29.9 / 31 / 2, abs=0.01)  # one edge of 29.9 along 31 pairs of columns
    blocks = np.array([found[f"block_{number}"] for number in range(NUM_BLOCKS**2)]).reshape(NUM_BLOCKS, NUM_BLOCKS)
    np.testing.assert_allclose(blocks, [[14.95, 14.95, -14.95, -14.95]] * 4, atol=0.01)


def test_the_frame_rate_is_in_octaves_where_it_is_known():
    assert measure([(GREY, tone(440))], 60.0)["frame_rate"] == pytest.approx(math.log2(60))
    assert "frame_rate" not in measure([(GREY, tone(440))])


@pytest.mark.parametrize(("width", "height", "rate"), [(1, 1, 0.5), (3, 2, 1.0)])
def test_the_smallest_segments_can_be_measured(width, height, rate):
    config = DataConfig(2.0, rate, width, height, 100, False)
    segment = np.zeros(config.data_shape["video"], np.uint8), np.array([0.5, -0.5] * 100, np.float32)
    found = measure([segment], config=config)
    assert ("motion" in found) == (config.num_frames > 1)
    assert all(map(math.isfinite, found.values()))
