"""Score a match by its activity, without a checkpoint: how loud it is, and how much happens in sound and picture.

The activity of a time step is in [0, 1]. It is `(loudness * (1 + (onsets + motion + shots) / 3) / 2) ** 0.6`:

- loudness: root mean square of the audio, relative to the match's peak, and at least SILENCE; without audio, 1.
- onsets: spectral flux, which is large at sudden sounds.
- motion: mean absolute difference of successive frames.
- shots: distance of the color histograms of successive frames, which is large at a change of shot.

`measures` computes them. The last three are relative to what the match exceeds in one step of a hundred (QUANTILE), and
at most 1. All are smoothed over a few seconds (SMOOTHING_SEC). The exponent is that of Stevens' power law: perceived
loudness grows with the 0.6th power of sound pressure. Nothing is learned. Loudness is a factor of its own because, on
labelled matches of two data sets, it ranks highlights better than each of the others, and better than the mean of all
four.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from videosummarizer import media
from videosummarizer.dataset.metadata import DataConfig
from videosummarizer.evaluation.decoding import log_odds, step_durations
from videosummarizer.evaluation.operating_point import OperatingPoint
from videosummarizer.extraction import scoring
from videosummarizer.extraction.measures import StepMeter
from videosummarizer.extraction.reasons import ACTIVITY, Reasons

# What the scores are called in files and on the page.
SCORE_NAME = ACTIVITY
# What the activity is made of.
PART_NAMES = ("loudness", "onsets", "motion", "shots")
# A number for the formula, stored with the scores: those of another formula are not read again.
VERSION = 1
# How a match is sampled: in segments of 3 s, with 2 frames of 64 x 64 pixels a second and audio at 22,050 Hz.
CONFIG = DataConfig(3.0, 2.0, 64, 64, 22050, False)
# Time steps of a segment; each has a frame.
NUM_STEPS = 6
# Without --length, this fraction of a match is selected.
LENGTH_RATIO = 0.1
# Onsets, motion and shots are relative to this quantile of the match, so that a single flash decides nothing.
QUANTILE = 0.99
# A step is averaged with its neighbours up to this far away; their weights fall linearly.
SMOOTHING_SEC = 3.0
# What is less loud than this, -60 dB, counts as this loud, so that the activity of a step is above 0.
SILENCE = 1e-3
# Exponent of Stevens' power law for loudness.
LOUDNESS_EXPONENT = 0.6
# A section costs as much as this many seconds hold whose log-odds are one standard deviation above the threshold. Most
# sections then last 5 to 30 s.
PENALTY_SEC = 2.0
# Onsets (log magnitudes), motion (grey levels) and distances of histograms below these come from an encoder's rounding.
SMALLEST = (0.01, 1.0, 0.02)
# If the activity varies less than this over a match, no section is better than another.
MIN_VARIATION = 0.02


def activity_parts(features: np.ndarray, step_sec: float) -> np.ndarray:
    """Return (num_steps, 4) float64: what the activity of the time steps of a match is made of, by PART_NAMES.

    Args:
        features: (num_steps, 4), as of `measures.StepMeter`, of the steps that begin before the match's end.
        step_sec: Seconds of a step.
    """
    level, *others = features.T
    loudness = np.sqrt(smooth(np.square(level), step_sec)).clip(SILENCE) if level.any() else np.ones(len(level))
    limits = [max(np.quantile(values, QUANTILE), least) for values, least in zip(others, SMALLEST, strict=True)]
    parts = [smooth(np.minimum(values / limit, 1), step_sec) for values, limit in zip(others, limits, strict=True)]
    return np.stack([loudness, *parts], axis=1)


def activity_of(parts: np.ndarray) -> np.ndarray:
    """Return (num_steps,) float64 in [0, 1]: the activity of time steps with the given parts, (num_steps, 4)."""
    activity = parts[:, 0] * (1 + parts[:, 1:].mean(axis=1)) / 2
    return np.clip(activity, 0, 1) ** LOUDNESS_EXPONENT


def smooth(values: np.ndarray, step_sec: float) -> np.ndarray:
    """Return (num_steps,) float64: the weighted mean over SMOOTHING_SEC around each step; see there."""
    reach = max(1, round(SMOOTHING_SEC / step_sec))
    weights = np.bartlett(2 * reach + 1)[1:-1]
    around = slice(reach - 1, reach - 1 + len(values))
    return np.convolve(values, weights)[around] / np.convolve(np.ones(len(values)), weights)[around]


def score_segments(
    segments: Iterable[tuple[np.ndarray, np.ndarray]], config: DataConfig, num_steps: int, duration_sec: float
) -> tuple[np.ndarray, np.ndarray, Reasons]:
    """Compute the activity of the segments and the time steps of a match.

    Args:
        segments: (frames, audio) of each segment, with waveforms, as of `sampling.read_segments`.
        config: How the match is sampled.
        num_steps: K, the time steps of a segment.
        duration_sec: Seconds of the match.

    Returns:
        The activity of the segments, (num_segments,) float64 in [0, 1], and of their time steps, (num_segments, K); 0
        after the end of the match. And what it is made of.
    """
    meter = StepMeter(config, num_steps)
    measured = np.stack([meter.measure(*segment) for segment in segments])
    features, step_sec = measured.reshape(-1, len(meter.names)), config.segment_length / num_steps
    num_kept = len(step_durations(len(features), step_sec, duration_sec))
    steps, parts = np.zeros(len(features)), np.zeros((len(features), len(PART_NAMES)))
    parts[:num_kept] = activity_parts(features[:num_kept], step_sec)
    steps[:num_kept] = activity_of(parts[:num_kept])
    steps, parts = steps.reshape(-1, num_steps), parts.reshape(-1, num_steps, len(PART_NAMES))
    num_steps_of = np.clip(num_kept - np.arange(len(steps)) * num_steps, 1, num_steps)
    segment_parts = parts.sum(axis=1) / num_steps_of[:, np.newaxis]
    reasons = Reasons(PART_NAMES, segment_parts, parts, meter.names, measured)
    return steps.sum(axis=1) / num_steps_of, steps, reasons


def score_match(
    video_path: Path,
    info: media.VideoInfo,
    on_progress: Callable[[float], object],
    scratch_dir: Path | None,
    part_sec: tuple[float, float],
) -> tuple[np.ndarray, np.ndarray, Reasons]:
    """Compute the activity of a match; see `scoring.score_match` for the arguments, and `score_segments`.

    Raises:
        media.MediaError: The match cannot be read.
    """

    def with_progress(segments: Iterator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for segment in segments:
            yield segment
            on_progress(CONFIG.segment_length)

    with closing(scoring.read_in_process(video_path, info, CONFIG, scratch_dir, part_sec)) as segments:
        return score_segments(with_progress(segments), CONFIG, NUM_STEPS, part_sec[1] - part_sec[0])


def operating_point(steps: np.ndarray) -> OperatingPoint:
    """Return the operating point of a match's activity, (num_segments, K); a length decides its threshold."""
    penalty = PENALTY_SEC * float(np.std(log_odds(steps[steps > 0]))) if steps.any() else 0.0
    return OperatingPoint(0.5, round(penalty, 6))


def is_uniform(steps: np.ndarray) -> bool:
    """Return whether a match has the same activity everywhere, (num_segments, K), so that no section is the best."""
    return not steps.any() or bool(np.ptp(steps[steps > 0]) < MIN_VARIATION)
