"""What is different in a match from those of training: the limits, the phrases, and where they are said."""

import json
import math

import numpy as np
import pytest

from data_loader import DataLoader
from videosummarizer.dataset.match_statistics import StatisticsMeter
from videosummarizer.dataset.metadata import DataConfig
from videosummarizer.training import training_statistics
from videosummarizer.training.training_statistics import (
    ATTRIBUTE,
    describe_differences,
    find_differences,
    find_limit,
    parse_statistics,
    summarise,
)

CONFIG = DataConfig(1.0, 4.0, 32, 32, 8000, False)
NUM_SEGMENTS = 20


def game(seed, brightness=90, frequency_hz=300):
    """Segments of a match of a game: bursts of noise over a hum, and a textured picture that moves."""
    rng = np.random.default_rng(seed)
    texture = rng.normal(brightness + rng.normal(0, 5), 40, (48, 48, 3)).clip(0, 255)
    segments = []
    for _ in range(NUM_SEGMENTS):
        places = rng.integers(0, 16, (4, 2))
        frames = np.stack([texture[y : y + 32, x : x + 32] for y, x in places]).astype(np.uint8)
        hum = np.sin(2 * np.pi * frequency_hz * rng.uniform(0.95, 1.05) * np.arange(8000) / 8000)
        envelope = np.repeat(rng.random(16) ** 6, 500)
        audio = 0.1 * hum + 0.9 * envelope * rng.uniform(-1, 1, 8000) * rng.uniform(0.8, 1)
        segments.append((frames, audio.astype(np.float32)))
    return segments


class Loader:
    """Stands for a DataLoader with matches of a game."""

    config, data_shape = CONFIG, CONFIG.data_shape

    def __init__(self, num_train, num_valid, frame_rates=(30.0,), make=game):
        self.of_subset = {"train": range(num_train), "valid": range(100, 100 + num_valid), "test": range(200, 206)}
        self.frame_rates, self.make = frame_rates, make

    @property
    def video_records(self):
        numbers = [number for numbers in self.of_subset.values() for number in numbers]
        return {str(n): {"frame_rate": self.frame_rates[n % len(self.frame_rates)]} for n in numbers}

    def files_by_match(self, subset):
        return [[File(str(n), s) for s in self.make(n)] for n in self.of_subset[subset]]

    def matches(self, subset):
        return [type("Match", (), {"duration_sec": 20.0 + n % 3, "title": str(n)}) for n in self.of_subset[subset]]


class File:
    """Stands for a SegmentFile."""

    def __init__(self, title, arrays):
        self.title, self.arrays = title, arrays


@pytest.fixture(autouse=True)
def arrays_in_memory(monkeypatch):
    plain = training_statistics.storage.read_arrays
    monkeypatch.setattr(
        training_statistics.storage,
        "read_arrays",
        lambda file, shape: file.arrays if isinstance(file, File) else plain(file, shape),
    )


def measure(segments, frame_rate_fps=30.0):
    meter = StatisticsMeter(CONFIG, len(segments))
    for frames, audio in segments:
        meter.add(frames, audio)
    return meter.statistics(frame_rate_fps)


@pytest.fixture(scope="module")
def expected():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(training_statistics.storage, "read_arrays", lambda file, shape: file.arrays)
        stored = summarise(Loader(12, 4))
    return parse_statistics(json.loads(json.dumps({ATTRIBUTE: stored})))


def differences_of(expected, segments, frame_rate_fps=30.0, duration_sec=20.0):
    return find_differences(expected, measure(segments, frame_rate_fps), CONFIG, duration_sec)


def music(num_segments=NUM_SEGMENTS):
    times_sec = np.arange(8000 * num_segments) / 8000
    chord = sum(np.sin(2 * np.pi * f * times_sec) for f in (220, 277, 330, 440, 554, 660, 880, 1108, 1320))
    sound = chord * (1 + 0.2 * np.sin(2 * np.pi * 1.5 * times_sec))
    return np.split((sound / np.abs(sound).max()).astype(np.float32), num_segments)


def color_bars():
    colours = np.array([[191, 191, 0], [0, 191, 191], [191, 0, 191], [0, 0, 191]], np.uint8)
    return np.broadcast_to(colours[np.arange(32) // 8], (4, 32, 32, 3)).copy()


def letterboxed(frames):
    boxed = np.zeros_like(frames)
    boxed[:, 4:-4] = frames[:, (np.arange(24) * 32 // 24)]
    return boxed


# ---- Which matches are different


def test_other_matches_of_the_same_game_are_not_different(expected):
    assert (expected.num_matches, expected.shortest_sec) == (16, 20.0)
    assert [differences_of(expected, game(seed)) for seed in range(200, 212)] == [[]] * 12


def test_silence_is_named_alone(expected):
    segments = [(frames, 0 * audio) for frames, audio in game(300)]
    assert differences_of(expected, segments) == ["no audio, or constant audio"]


def test_music_alone_is_another_sound(expected):
    segments = [(frames, audio) for (frames, _), audio in zip(game(300), music(), strict=True)]
    (*_, sound) = found = differences_of(expected, segments)
    assert sound.startswith("its sound has")
    assert not any("picture" in text or "bars" in text for text in found)


def test_a_test_pattern_stands_still_and_is_another_picture(expected):
    found = differences_of(expected, [(color_bars(), audio) for _, audio in game(300)])
    assert found[0] == "the picture stands still for 100% of the time (there 0%)"
    assert "picture" in found[1]
    assert len(found) == 2


def test_a_letterboxed_match_has_bars_and_nothing_else(expected):
    found = differences_of(expected, [(letterboxed(frames), audio) for frames, audio in game(300)])
    assert found == ["black bars over 25% of its height (there 0%)"]
    pillars = [(letterboxed(frames).swapaxes(1, 2), audio) for frames, audio in game(300)]
    assert differences_of(expected, pillars) == ["black bars over 25% of its width (there 0%)"]


def test_another_frame_rate_is_named(expected):
    assert differences_of(expected, game(300), 60.0) == ["60 frames per second (there 30)"]
    assert differences_of(expected, game(300), 29.97) == []
    assert differences_of(expected, game(300), None) == []


def test_a_set_of_many_frame_rates_knows_them():
    stored = summarise(Loader(12, 4, frame_rates=(30.0, 60.0)))
    known = parse_statistics({ATTRIBUTE: stored})
    assert [differences_of(known, game(300), rate) for rate in (30.0, 60.0)] == [[], []]


def test_another_level_is_named(expected):
    found = differences_of(expected, [(frames, audio / 10) for frames, audio in game(300)])
    assert len(found) == 1
    assert found[0].startswith("the level of its sound is ")


def test_another_sound_and_another_picture_are_another_game(expected):
    segments = [
        (255 - frames // 8, audio) for (frames, _), audio in zip(game(300, brightness=20), music(), strict=True)
    ]
    assert differences_of(expected, segments)[-1] == "so perhaps another game"


def test_a_short_part_is_only_asked_for_what_never_changes(expected):
    silent = [(letterboxed(frames), 0 * audio) for frames, audio in game(300)]
    assert differences_of(expected, silent, 60.0, duration_sec=9.9) == [
        "60 frames per second (there 30)",
        "black bars over 25% of its height (there 0%)",
    ]
    assert differences_of(expected, silent, 60.0, duration_sec=10.1)[0] == "no audio, or constant audio"


def test_silence_is_nothing_new_where_a_match_of_training_was_silent():
    def make(number):
        return [(frames, audio * (number != 3)) for frames, audio in game(number)]

    known = parse_statistics({ATTRIBUTE: summarise(Loader(12, 4, make=make))})
    assert not known.expectations["audio_level"].is_always_known
    assert differences_of(known, [(frames, 0 * audio) for frames, audio in game(300)]) == []


@pytest.mark.parametrize("num_matches", [3, 4, 5, 8])
def test_few_matches_cause_no_false_warning_and_still_show_bars_and_silence(num_matches):
    known = parse_statistics({ATTRIBUTE: summarise(Loader(num_matches - 1, 1))})
    for seed in range(200, 206):
        brighter = [(np.minimum(frames + 8, 255).astype(np.uint8), audio) for frames, audio in game(seed)]
        assert differences_of(known, brighter) == []
    assert differences_of(known, [(letterboxed(frames), audio) for frames, audio in game(300)])
    assert differences_of(known, [(frames, 0 * audio) for frames, audio in game(300)])
    assert summarise(Loader(1, 1)) is None


def test_the_limit_is_that_of_a_prediction_interval_and_at_least_the_furthest_match():
    values = np.array([1.0, 2, 3, 4, 5])
    # The upper 0.001 / 2 / 35 quantile of Student's t with 4 degrees of freedom is 21.2.
    assert find_limit(values) == pytest.approx(21.2 * np.std(values, ddof=1) * math.sqrt(1.2), rel=0.02)
    rng = np.random.default_rng(0)
    assert 4 < find_limit(rng.normal(0, 1, 1000)) < 5.2
    far = np.array([0.0] * 999 + [100.0])
    assert find_limit(far) == pytest.approx(99.9)


# ---- What a checkpoint stores


@pytest.mark.parametrize(
    "damage",
    [
        lambda stored: stored.update(schema_version=2),
        lambda stored: stored.pop("statistics"),
        lambda stored: stored.update(matches="many"),
        lambda stored: stored["statistics"].update(motion=3),
        lambda stored: stored["statistics"]["motion"].update(limit=math.inf),
        lambda stored: stored["statistics"]["motion"].update(mean=None),
        lambda stored: stored["statistics"]["frame_rate"].update(mean=5000.0),
        lambda stored: stored.update(shortest_sec=math.nan),
    ],
)
def test_what_cannot_be_read_causes_no_warning(damage):
    stored = summarise(Loader(3, 1))
    assert parse_statistics({ATTRIBUTE: stored}) is not None
    damage(stored)
    assert parse_statistics({ATTRIBUTE: stored}) is None


def test_wide_limits_of_few_matches_can_be_read():
    def make(number):
        return [(frames // (1 + 2 * (number == 1)), audio) for frames, audio in game(number)]

    known = parse_statistics({ATTRIBUTE: summarise(Loader(2, 1, make=make))})
    assert known.expectations["brightness"].limit > 5000


def test_old_checkpoints_have_no_statistics():
    assert parse_statistics({"config": {}}) is None
    assert parse_statistics({ATTRIBUTE: None}) is None


def test_statistics_of_another_version_are_left_out():
    stored = summarise(Loader(3, 1))
    stored["statistics"]["smell"] = {"mean": 1.0, "limit": 0.1, "matches": 4}
    assert "smell" not in parse_statistics({ATTRIBUTE: stored}).expectations


def test_a_dataset_is_measured_by_match(dataset_dir):
    loader = DataLoader(dataset_dir)
    stored = summarise(loader)
    assert (stored["schema_version"], stored["matches"], stored["shortest_sec"]) == (1, 4, 5.0)
    found = training_statistics.measure_matches(loader, "test")
    assert list(found) == ["match_08", "match_10"]
    assert 2 ** found["match_08"]["frame_rate"] == pytest.approx(30, rel=0.01)
    rows = [*training_statistics.measure_matches(loader, "train").values()]
    rows += training_statistics.measure_matches(loader, "valid").values()
    level = stored["statistics"]["audio_level"]
    assert level["mean"] == pytest.approx(np.mean([row["audio_level"] for row in rows]))
    assert level["limit"] == max(8, find_limit(np.array([row["audio_level"] for row in rows])))


def test_the_warning_names_the_match_the_differences_and_what_to_do():
    text = describe_differences("m.mp4", ["black bars over 25% of its height (there 0%)", "60 frames per second"], 9)
    assert text == (
        "m.mp4: unlike the 9 matches that the checkpoint was trained with: black bars over 25% of its height (there "
        "0%); 60 frames per second. Its scores may be wrong: look through its sections, and train with such matches if "
        "you have more of them"
    )
