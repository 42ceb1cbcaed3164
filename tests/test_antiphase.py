"""Stereo audio that cancels in mono, in every sample format, from the check and the conversion alike."""

import av
import numpy as np
import pytest
from clips import tone, write_clip
from test_missing_audio import zero_packets

import label_finder
from videosummarizer.antiphase import AntiphaseMeter
from videosummarizer.dataset import conversion, input_check
from videosummarizer.dataset.metadata import DataConfig

MESSAGE = "the audio channels are in antiphase at {} s: they cancel to silence in mono, invert one"


def measure(left, right, sample_format="fltp", num_frames=1, time_sec=0.5):
    """Return the seconds that are found in frames of two channels, (num_samples,) float in [-1, 1]."""
    meter = AntiphaseMeter()
    dtype, scale, middle = {"u8": ("uint8", 127, 128), "s16": ("int16", 32767, 0), "s32": ("int32", 2**31 - 1, 0)}.get(
        sample_format.rstrip("p"), ("float32" if sample_format.startswith("flt") else "float64", 1, 0)
    )
    samples = (np.stack([left, right]) * scale + middle).astype(dtype)
    planes = samples if sample_format.endswith("p") else samples.T.reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(planes), sample_format, "stereo")
    frame.sample_rate = 44100
    for _ in range(num_frames):
        meter.measure(frame, time_sec)
    return meter.cancelled_sec(1)


@pytest.mark.parametrize("sample_format", ["u8", "u8p", "s16", "s16p", "s32", "s32p", "flt", "fltp", "dbl", "dblp"])
def test_every_sample_format_is_measured(sample_format):
    left, other = tone(440, 0.1), tone(570, 0.1)
    assert measure(left, -left, sample_format) == {0}
    for right in (left, other, 0 * left, -0.5 * left):
        assert measure(left, right, sample_format) == set()
    assert measure(0 * left, 0 * left, sample_format) == set()


def test_what_cancels_by_20_db_counts_and_what_is_silent_anyway_does_not():
    left = tone(440, 0.1)
    assert measure(left, -0.85 * left) == {0}
    assert measure(left, -0.78 * left) == set()
    assert measure(left / 100, -left / 100) == {0}
    assert measure(left / 1000, -left / 1000) == set()
    assert measure(left, -left, time_sec=-0.01) == {0}
    assert measure(left, -left, time_sec=1.5) == set()  # after the end


@pytest.mark.parametrize(("first", "end", "expected"), [(0, 3, "0, 1, 2"), (2, 3, "2"), (3, 3, None)])
def test_the_check_and_the_conversion_warn_of_the_same_seconds(tmp_path, first, end, expected):
    sound = tone(440, 3)
    right = sound.copy()
    right[44_100 * first : 44_100 * end] *= -1
    path = write_clip(tmp_path / "match.mp4", num_frames=90, audio=np.stack([sound, right]))
    path.with_suffix(".txt").write_text("")
    warnings = [f"{path}: {MESSAGE.format(expected)}"] if expected else []
    assert input_check.check_match("match", path, path.with_suffix(".txt"), decode=True).warnings == warnings
    (tmp_path / "dataset").mkdir()
    result = conversion.convert_match(path, DataConfig(1, 2, 8, 8, 8000, False), tmp_path / "dataset", 1)
    assert result.warnings == warnings


def test_the_label_finder_names_antiphase_and_damage_of_either_video(tmp_path):
    sound = tone(440, 3)
    cancelled = write_clip(tmp_path / "match.mp4", num_frames=90, audio=np.stack([sound, -sound]))
    damaged = write_clip(tmp_path / "highlights.mp4", num_frames=90, audio=sound)
    damaged.write_bytes(zero_packets(damaged, "audio", 1, 2))
    assert sorted(label_finder.find_labels("match", cancelled, damaged, tmp_path, 0.5).warnings)[:2] == [
        f"{damaged}: the audio is damaged at 1 s: it is silent there",
        f"{cancelled}: {MESSAGE.format('0, 1, 2')}",
    ]


def test_all_seconds_of_long_frames_are_measured():
    meter, sound = AntiphaseMeter(), tone(440, 2, 8000)
    for first in range(3):
        frame = av.AudioFrame.from_ndarray(np.stack([sound, -sound]), "fltp", "stereo")
        frame.sample_rate = 8000
        meter.measure(frame, 2.0 * first)
    assert meter.cancelled_sec(6) == {0, 1, 2, 3, 4, 5}


def test_mono_and_frames_without_samples_are_not_measured():
    meter = AntiphaseMeter()
    for layout, num_samples in (("stereo", 0), ("mono", 1024)):
        frame = av.AudioFrame("fltp", layout, num_samples)
        frame.sample_rate = 8000
        meter.measure(frame, 0.5)
    assert meter.cancelled_sec(1) == set()
    assert meter.powers == {}
