"""Statistics of the matches that a network was trained on, and what is different in another match.

A checkpoint stores for each statistic (`dataset.match_statistics`) the mean over the matches of training and
validation, and a limit: a match that is further away from the mean is unlike them. The limit follows from how much
these matches differ from each other. It is that of a prediction interval of Student's t distribution, which is wide for
few matches; at least the distance of the furthest of them; and at least a difference that is worth a warning.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from videosummarizer.dataset import match_statistics, storage
from videosummarizer.dataset.match_statistics import NUM_BANDS, NUM_BLOCKS, StatisticsMeter
from videosummarizer.dataset.metadata import DataConfig, is_count

# Name of the attribute of a checkpoint, and the version of what is in it.
ATTRIBUTE = "training_statistics"
SCHEMA_VERSION = 1
# Fewer matches than this say nothing of how matches differ.
MIN_MATCHES = 3
# The probability that a match of the same kind exceeds any limit, if all statistics are normally distributed.
FALSE_WARNING_RATE = 0.001
# Differences that are worth a warning however alike the matches of training are: decibels, decibels per window of the
# audio, parts of the picture, grey levels, parts of the time, octaves. For MFCCs, decibels are standard deviations.
SMALLEST_DIFFERENCES = {
    "audio_level": 8.0,
    "audio_onsets": 0.6,
    **{f"audio_band_{number}": 6.0 for number in range(NUM_BANDS)},
    **dict.fromkeys(("black_rows", "black_columns"), 0.05),
    **{"brightness": 30.0, "contrast": 15.0, "blue": 15.0, "red": 15.0, "detail": 3.0, "motion": 10.0},
    "still_picture": 0.5,
    **{f"block_{number}": 25.0 for number in range(NUM_BLOCKS**2)},
    "frame_rate": 0.2,
}
MFCC_UNIT = 0.1
# Statistics of which a part of a match says as much as the whole. Of short parts, only these are compared.
CONSTANT_STATISTICS = ("frame_rate", "black_rows", "black_columns")
# A part is short if it has less than this fraction of the seconds of the shortest match of training.
MIN_LENGTH_RATIO = 0.5
# Statistics of which each difference is named, and groups of which the strongest one is.
NAMED_STATISTICS = ("frame_rate", "audio_level", "black_rows", "black_columns", "still_picture")
SOUND_STATISTICS = ("audio_onsets", *(f"audio_band_{number}" for number in range(NUM_BANDS)))
PICTURE_STATISTICS = (
    *("brightness", "contrast", "blue", "red", "detail", "motion"),
    *(f"block_{number}" for number in range(NUM_BLOCKS**2)),
)
# No mean is larger than this. Limits may be, as those of few matches are wide.
MAX_MEAN = 1e3


@dataclass(frozen=True)
class Expectation:
    """What a statistic is expected to be.

    Attributes:
        mean: Its mean over the matches of training and validation.
        limit: How far from the mean a match may be.
        is_always_known: Whether it is known of all of these matches.
    """

    mean: float
    limit: float
    is_always_known: bool


@dataclass(frozen=True)
class TrainingStatistics:
    """The statistics of the matches of training and validation.

    Attributes:
        num_matches: The number of matches.
        shortest_sec: Seconds of the shortest one.
        expectations: By the names of the statistics.
    """

    num_matches: int
    shortest_sec: float
    expectations: dict[str, Expectation]


def measure_matches(loader, subset: str) -> dict[str, dict[str, float]]:
    """Compute the statistics of the matches of a subset, by their titles.

    Args:
        loader: The dataset, a `data_loader.DataLoader`.
        subset: The name of the subset.
    """
    found = {}
    for files in loader.files_by_match(subset):
        sampled = [files[index] for index in match_statistics.sampled_indices(len(files))]
        meter = StatisticsMeter(loader.config, len(sampled))
        for file in sampled:
            meter.add(*storage.read_arrays(file, loader.data_shape))
        frame_rate_fps = loader.video_records.get(files[0].title, {}).get("frame_rate")
        is_known = isinstance(frame_rate_fps, int | float) and 0 < frame_rate_fps < math.inf
        found[files[0].title] = meter.statistics(frame_rate_fps if is_known else None)
    return found


def summarise(loader) -> dict | None:
    """Return the statistics of the matches of training and validation, as checkpoints hold them.

    Args:
        loader: The dataset, a `data_loader.DataLoader`.

    Returns:
        A dict that `parse_statistics` reads; None for fewer than MIN_MATCHES matches.
    """
    rows = [*measure_matches(loader, "train").values(), *measure_matches(loader, "valid").values()]
    if len(rows) < MIN_MATCHES:
        return None
    shortest_sec = min(match.duration_sec for subset in ("train", "valid") for match in loader.matches(subset))
    unit = MFCC_UNIT if loader.config.apply_mfcc else 1.0
    expected = {}
    for name, smallest in SMALLEST_DIFFERENCES.items():
        values = [row[name] for row in rows if name in row]
        if len(values) >= MIN_MATCHES:
            smallest *= unit if name.startswith("audio_") else 1.0
            limit = max(find_limit(np.array(values)), smallest)
            expected[name] = {"mean": float(np.mean(values)), "limit": limit, "matches": len(values)}
    return {
        "schema_version": SCHEMA_VERSION,
        "matches": len(rows),
        "shortest_sec": shortest_sec,
        "statistics": expected,
    }


def find_limit(values: np.ndarray) -> float:
    """Return how far from the mean of a statistic a further match may be.

    Args:
        values: (num_matches,) float64, at least two.
    """
    from scipy.stats import t

    num_matches, num_statistics = len(values), len(SMALLEST_DIFFERENCES)
    quantile = t.isf(FALSE_WARNING_RATE / (2 * num_statistics), num_matches - 1)
    deviation = np.std(values, ddof=1) * math.sqrt(1 + 1 / num_matches)
    return float(max(quantile * deviation, np.abs(values - values.mean()).max()))


def parse_statistics(attributes: dict) -> TrainingStatistics | None:
    """Return the statistics among the attributes of a checkpoint; None where this version can read none."""
    try:
        stored = attributes[ATTRIBUTE]
        if stored["schema_version"] != SCHEMA_VERSION:
            return None
        num_matches, shortest_sec = stored["matches"], stored["shortest_sec"]
        expectations = {
            name: Expectation(values["mean"], values["limit"], values["matches"] == num_matches)
            for name, values in stored["statistics"].items()
            if name in SMALLEST_DIFFERENCES
        }
        numbers = [number for one in expectations.values() for number in (one.mean, one.limit)]
        is_valid = all(type(number) in (int, float) and math.isfinite(number) for number in numbers)
        is_valid = is_valid and all(abs(one.mean) < MAX_MEAN for one in expectations.values())
        is_valid = is_valid and is_count(num_matches) and 0 < shortest_sec < math.inf
    except (KeyError, TypeError, AttributeError, OverflowError):
        return None
    return TrainingStatistics(num_matches, shortest_sec, expectations) if is_valid else None


def find_differences(
    expected: TrainingStatistics, found: dict[str, float], config: DataConfig, duration_sec: float
) -> list[str]:
    """Name what is different in a match.

    Args:
        expected: The statistics of the matches of training.
        found: The statistics of the match, or of a part of it.
        config: How it was sampled.
        duration_sec: Seconds of the match or the part.

    Returns:
        Phrases, the most telling first; none where the match is like those of training.
    """
    excesses = {
        name: (found[name] - one.mean) / one.limit
        for name, one in expected.expectations.items()
        if name in found and abs(found[name] - one.mean) > one.limit > 0
    }
    is_silent = "audio_level" not in found and "audio_level" in expected.expectations
    is_silent = is_silent and expected.expectations["audio_level"].is_always_known
    if duration_sec < MIN_LENGTH_RATIO * expected.shortest_sec:
        excesses = {name: excess for name, excess in excesses.items() if name in CONSTANT_STATISTICS}
        is_silent = False
    differences = ["no audio, or constant audio"] if is_silent else []
    names = sorted(excesses, key=lambda name: -abs(excesses[name]))
    sounds, pictures = ([name for name in names if name in group] for group in (SOUND_STATISTICS, PICTURE_STATISTICS))
    shown = [name for name in NAMED_STATISTICS if name in names]
    has_bars = {"black_rows", "black_columns"} & excesses.keys()
    shown += sounds[:1] + ([] if has_bars else pictures[:1])  # bars change the picture as a whole
    differences += [describe(name, found[name], expected.expectations[name].mean, config) for name in shown]
    if sounds and pictures and not has_bars:
        differences.append("so perhaps another game")
    return differences


def describe(name: str, found: float, expected: float, config: DataConfig) -> str:
    """Return a phrase about a statistic that is not what is expected."""
    if name == "frame_rate":
        return f"{2**found:.5g} frames per second (there {2**expected:.5g})"
    if name == "audio_level":
        return f"the level of its sound is {-found:.0f} dB below its peak (there {-expected:.0f})"
    if name in ("black_rows", "black_columns"):
        where = "height" if name == "black_rows" else "width"
        return f"black bars over {found:.0%} of its {where} (there {expected:.0%})"
    if name == "still_picture":
        return f"the picture stands still for {found:.0%} of the time (there {expected:.0%})"
    change = "more" if found > expected else "less"
    if name == "audio_onsets":
        return f"its sound has {change} onsets"
    if name.startswith("audio_band_"):
        if config.apply_mfcc:
            return "its sound has another spectrum"
        number = int(name.rpartition("_")[2])
        low_hz, high_hz = match_statistics.band_edges_hz(config.audio_sample_rate)[number : number + 2]
        return f"its sound has {abs(found - expected):.0f} dB {change} from {low_hz:.0f} to {high_hz:.0f} Hz"
    if name.startswith("block_"):
        change = "brighter" if found > expected else "darker"
        return f"parts of its picture are {abs(found - expected):.0f} grey levels {change}"
    return f"its picture has {change} {name} ({found:.1f}, there {expected:.1f} grey levels)"


def describe_differences(name: object, differences: Sequence[str], num_matches: int) -> str:
    """Return the warning about a match.

    Args:
        name: The match's path or title.
        differences: Phrases of `find_differences`.
        num_matches: The number of matches of training and validation.
    """
    return (
        f"{name}: unlike the {num_matches} matches that the checkpoint was trained with: {'; '.join(differences)}. Its "
        "scores may be wrong: look through its sections, and train with such matches if you have more of them"
    )


def describe_missing(ckpt_path: object) -> str:
    """Return the note about a checkpoint without statistics that this version can read."""
    return (
        f"{ckpt_path}: holds no statistics of the matches that it was trained with, so no warning says whether a match "
        "is unlike them: train again with at least three matches to have them"
    )
