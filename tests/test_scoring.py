"""What a checkpoint says of itself, and a match on its way through the network."""

import hashlib
import logging
import threading
import time
from dataclasses import asdict
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from clips import tone, write_clip

from videosummarizer import media
from videosummarizer.dataset import sampling
from videosummarizer.dataset.metadata import DataConfig
from videosummarizer.evaluation.operating_point import OperatingPoint
from videosummarizer.extraction import scoring
from videosummarizer.extraction.job import ExtractionError
from videosummarizer.extraction.scoring import score_match
from videosummarizer.prefetching import prefetch_iterator
from videosummarizer.training import inference
from videosummarizer.training.checkpoint import CheckpointError, read_checkpoint, write_checkpoint_attributes
from videosummarizer.training.inference import load_network

CONFIG = DataConfig(0.7, 4, 16, 8, 4000, False)  # 2 frames of 8 by 16, 2800 samples
POINT = {"threshold": 0.25, "section_penalty": 1.5}
DEADLINE_SEC = 60


def write_network(path, video=(2, 8, 16, 3), audio=(2800,), outputs=("highlight", "steps"), **attributes):
    """A checkpoint of a network that is small but has these inputs and outputs."""
    inputs = {"video": keras.Input((None, *video), dtype="uint8", name="video")}
    inputs["audio"] = keras.Input((None, *audio), name="audio")
    x = keras.layers.Dense(1, name="last")(inputs["audio"])
    network = keras.Model(inputs, dict.fromkeys(outputs, x) if outputs else x)
    network.save(path)
    write_checkpoint_attributes(path, {"config": asdict(CONFIG), **attributes})
    return path


# ---- What a checkpoint says


@pytest.fixture(scope="module")
def ckpt(tmp_path_factory):
    return write_network(tmp_path_factory.mktemp("ckpt") / "named.hdf5", operating_point=POINT)


def test_a_checkpoint_is_read_with_its_point_and_its_fingerprint(ckpt):
    checkpoint = read_checkpoint(ckpt)
    assert checkpoint.path == ckpt
    assert checkpoint.sha256 == hashlib.sha256(ckpt.read_bytes()).hexdigest()
    assert (checkpoint.config, checkpoint.has_operating_point) == (CONFIG, True)
    assert asdict(checkpoint.point) == POINT


def test_warnings_say_that_a_match_is_scored_not_converted(tmp_path):
    path, warnings = write_clip(tmp_path / "mute.mp4", num_frames=60), []

    def read():
        warnings.extend((yield from scoring.read_match(path, media.probe(path), CONFIG, None, None)))

    list(read())
    assert warnings == [f"{path}: the video has no audio track: scored with silence"]


def test_a_checkpoint_without_a_point_calls_half_a_highlight(tmp_path):
    checkpoint = read_checkpoint(write_network(tmp_path / "a.hdf5"))
    assert not checkpoint.has_operating_point
    assert checkpoint.point == OperatingPoint(0.5, 0.0)


def test_a_checkpoint_that_is_not_there_is_named(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"/gone\.hdf5: no such file, expected a \.hdf5 file that main\.py saved$"
    ):
        read_checkpoint(tmp_path / "gone.hdf5")


@pytest.mark.parametrize(
    "attributes",
    [
        {"config": {**asdict(CONFIG), "new_setting": 1}},
        {"operating_point": {**POINT, "new_setting": 1}},
        {"operating_point": {"section_penalty": 3}},
        {"operating_point": {"threshold": 0.5, "smoothing": 3}},
        {"operating_point": None},
    ],
)
def test_another_versions_settings_are_named(tmp_path, ckpt, attributes):
    path = tmp_path / "other.hdf5"
    path.write_bytes(ckpt.read_bytes())
    write_checkpoint_attributes(path, {"config": asdict(CONFIG), "operating_point": POINT, **attributes})
    with pytest.raises(CheckpointError, match=r"other\.hdf5: received a checkpoint whose .* is another version's \("):
        read_checkpoint(path)


# ---- The network


def test_a_network_that_fits_its_config_is_loaded(ckpt):
    network = load_network(read_checkpoint(ckpt))
    assert sorted(network.output) == ["highlight", "steps"]


def test_further_outputs_do_no_harm(tmp_path):
    path = write_network(tmp_path / "a.hdf5", outputs=("highlight", "more", "steps"))
    assert len(load_network(read_checkpoint(path)).output) == 3


@pytest.mark.parametrize("outputs", [("highlight",), ("steps",), ("highlights", "steps"), None])
def test_a_network_without_both_outputs_is_refused(tmp_path, outputs):
    path = write_network(tmp_path / "a.hdf5", outputs=outputs)
    with pytest.raises(
        CheckpointError, match=r"a\.hdf5: received a network without the outputs 'highlight' and 'steps'"
    ):
        load_network(read_checkpoint(path))


@pytest.mark.parametrize(
    ("shapes", "named"),
    [
        ({"video": (3, 8, 16, 3)}, r"'video' is \(None, None, 3, 8, 16, 3\), expected \(2, 8, 16, 3\)"),
        ({"video": (2, 16, 8, 3)}, r"'video' is \(None, None, 2, 16, 8, 3\), expected \(2, 8, 16, 3\)"),
        ({"video": (16, 3)}, r"'video' is \(None, None, 16, 3\), expected \(2, 8, 16, 3\)"),
        ({"audio": (2801,)}, r"'audio' is \(None, None, 2801\), expected \(2800,\)"),
        ({"audio": (40, 6)}, r"'audio' is \(None, None, 40, 6\), expected \(2800,\)"),
    ],
)
def test_a_network_for_other_arrays_is_refused(tmp_path, shapes, named):
    path = write_network(tmp_path / "a.hdf5", **shapes)
    with pytest.raises(CheckpointError, match=rf"a\.hdf5: received a network whose input {named} as its data config"):
        load_network(read_checkpoint(path))


# ---- Reading ahead


def wait_until(is_true):
    deadline = time.monotonic() + DEADLINE_SEC
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def reader_threads():
    return [thread for thread in threading.enumerate() if thread.name.endswith("(read)")]


def test_items_are_read_before_they_are_asked_for_and_no_more_than_requested():
    taken = []

    def items():
        for number in range(50):
            taken.append(number)
            yield number

    with prefetch_iterator(items(), 3) as ahead:
        wait_until(lambda: len(taken) == 4)  # three wait, the fourth is in the reader's hands
        assert next(ahead) == 0
        wait_until(lambda: len(taken) == 5)
        assert list(ahead) == list(range(1, 50))
        assert next(ahead, "end") == "end"


def test_items_of_any_kind_pass_and_an_empty_sequence_ends():
    odd = [None, "end", "error", ValueError("an item, not an error"), ("end", None)]
    with prefetch_iterator(iter(odd), 2) as ahead:
        assert list(ahead) == odd
    with prefetch_iterator(iter([]), 1) as ahead:
        assert list(ahead) == []


def test_an_error_comes_after_the_items_before_it():
    def items():
        yield from (1, 2, 3)
        raise media.MediaError("a.mp4: cannot be read")

    with prefetch_iterator(items(), 10) as ahead:
        assert [next(ahead) for _ in range(3)] == [1, 2, 3]
        with pytest.raises(media.MediaError, match=r"a\.mp4: cannot be read"):
            next(ahead)
    assert reader_threads() == []


def finish(function):
    """Run a function in a thread that the tests do not wait for longer than the deadline; raises what it raises."""
    ending = []

    def run():
        try:
            function()
            ending.append(None)
        except BaseException as error:
            ending.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(DEADLINE_SEC)
    assert ending, "still running at the deadline"
    if ending[0] is not None:
        raise ending[0]


@pytest.mark.parametrize("num_taken", [0, 1, 5])
def test_a_reader_with_a_full_queue_stops_when_its_items_are_not_wanted(num_taken):
    read = []

    def endless():
        while True:
            read.append(1)
            yield 1

    def use():
        with prefetch_iterator(endless(), 2) as ahead:
            for _ in range(num_taken):
                next(ahead)
            wait_until(lambda: len(read) == num_taken + 3)
            assert [thread.daemon for thread in reader_threads()] == [True]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finish(use)
    assert reader_threads() == []
    assert len(read) == num_taken + 3


def test_a_reader_stops_where_nothing_fails_and_items_are_left():
    def use():
        with prefetch_iterator(iter(range(10**9)), 1) as ahead:
            assert next(ahead) == 0

    finish(use)
    assert reader_threads() == []


# ---- A match


@pytest.fixture(scope="module")
def match(tmp_path_factory):
    """A match of 10.1 s, 15 segments of 0.7 s of which the last is short, louder at its end."""
    path = tmp_path_factory.mktemp("match") / "match.mp4"
    audio = np.concatenate([tone(440, 5, amplitude=0.1), tone(660, 5.1, amplitude=0.8)])
    return write_clip(path, num_frames=303, audio=audio)


@pytest.fixture
def average(monkeypatch):
    """Let networks score a segment by its frames' mean and its steps by its audio's level. Return their windows."""
    windows = []

    def score_segments(network, segment_arrays, window_length, names):
        windows.append(window_length)
        for video, audio in segment_arrays:
            yield np.array([video.mean() / 255, *[np.abs(audio).mean()] * 5], np.float32)

    monkeypatch.setattr(inference, "score_segments", score_segments)
    return windows


def test_a_match_is_scored_segment_by_segment_as_it_would_be_converted(match, average):
    info, seconds = media.probe(match), []
    scores, step_scores, _ = score_match(match, info, CONFIG, lambda: None, seconds.append)
    arrays = list(sampling.read_segments(match, info, CONFIG))
    assert (scores.shape, step_scores.shape, scores.dtype, step_scores.dtype) == ((15,), (15, 5), "f8", "f8")
    np.testing.assert_allclose(scores, [video.mean() / 255 for video, _ in arrays], atol=1e-6)
    np.testing.assert_allclose(step_scores, [[np.abs(audio).mean()] * 5 for _, audio in arrays], atol=1e-6)
    assert np.ptp(scores) > 0.01
    assert np.ptp(step_scores) > 0.1
    assert seconds == [0.7] * 15
    assert average == [8]
    assert reader_threads() == []


def test_progress_follows_what_was_read(match, monkeypatch):
    """Each segment's seconds are told once it is taken and before the next is, not all at the end."""
    told, at_segments = [], []

    def score_segments(network, segment_arrays, window_length, names):
        for _ in segment_arrays:
            at_segments.append(len(told))
            yield np.zeros(6, np.float32)

    monkeypatch.setattr(inference, "score_segments", score_segments)
    score_match(match, media.probe(match), CONFIG, lambda: None, told.append)
    assert at_segments == list(range(15))


def test_the_match_is_read_while_the_network_is_made(match, monkeypatch, average):
    read = []

    def read_segments(*arguments):
        for number in range(40):
            read.append(number)
            yield np.zeros((2, 8, 16, 3), np.uint8), np.zeros(2800, np.float32)

    monkeypatch.setattr(sampling, "read_segments", read_segments)

    def make_network():
        wait_until(lambda: len(read) == 25)  # 24 wait, one is in the reader's hands
        return None

    scores, _, _ = score_match(match, media.probe(match), CONFIG, make_network)
    assert len(scores) == 40


def test_damage_is_said_once_the_match_is_scored(match, monkeypatch, caplog, average):
    info = media.probe(match)
    original = sampling.read_segments

    def damaged(video_path, info, config, damaged_sec, scratch_dir, damaged_audio_sec, cancelled_audio_sec, part_sec):
        yield from original(video_path, info, config, damaged_sec)
        damaged_sec |= {7, 3}
        damaged_audio_sec |= {5}
        cancelled_audio_sec |= {6}

    monkeypatch.setattr(sampling, "read_segments", damaged)
    with caplog.at_level(logging.WARNING):
        score_match(match, info, CONFIG, lambda: None)
    assert caplog.messages == [
        f"{match}: damaged at 3, 7 s: the last undamaged frame is repeated there",
        f"{match}: the audio is damaged at 5 s: it is silent there",
        f"{match}: the audio channels are in antiphase at 6 s: they cancel to silence in mono, invert one",
    ]
    assert caplog.records[0].name == "videosummarizer.extraction.scoring"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_an_error_in_one_line(match, value, monkeypatch):
    def score_segments(network, segment_arrays, window_length, names):
        yield from (np.full(6, value, np.float32) for _ in segment_arrays)

    monkeypatch.setattr(inference, "score_segments", score_segments)
    with pytest.raises(
        ExtractionError, match=r"match\.mp4: the network gives scores that are not finite numbers, .*use an"
    ):
        score_match(match, media.probe(match), CONFIG, lambda: None)
    assert reader_threads() == []


def test_an_undamaged_match_is_scored_without_a_word(match, caplog, average):
    score_match(match, media.probe(match), CONFIG, lambda: None)
    assert caplog.messages == []


@pytest.mark.parametrize("failing", ["network", "window"])
def test_a_network_that_fails_ends_the_reading(match, failing, monkeypatch):
    def fail(*_):
        raise CheckpointError("a.hdf5: bad")

    monkeypatch.setattr(inference, "score_segments", fail)
    with pytest.raises(CheckpointError, match="bad"):
        score_match(match, media.probe(match), CONFIG, fail if failing == "network" else lambda: None)
    assert reader_threads() == []


def test_what_does_not_decode_is_handed_on(match, monkeypatch):
    asked = []

    def read_segment_range(video_path, info, config, segment_audio, indices, num_threads=0, damaged_sec=None):
        asked.append((video_path, info.duration_sec, config, list(indices)))
        assert isinstance(segment_audio, sampling.SegmentAudio)
        assert not segment_audio.spool.file.closed
        opened.append(segment_audio.spool.file)
        damaged_sec.add(5)
        yield "arrays"

    opened, damaged_sec = [], set()
    monkeypatch.setattr(sampling, "read_segment_range", read_segment_range)
    info = media.probe(match)
    assert list(sampling.read_segments(match, info, CONFIG, damaged_sec)) == ["arrays"]
    assert asked == [(match, info.duration_sec, CONFIG, list(range(15)))]
    assert damaged_sec == {5}
    assert opened[0].closed


def test_memory_is_given_back_after_each_segment(match, monkeypatch, average):
    calls = []
    monkeypatch.setattr(scoring, "media", SimpleNamespace(**{**vars(media), "trim_malloc": lambda: calls.append(1)}))
    score_match(match, media.probe(match), CONFIG, lambda: None)
    assert len(calls) == 15
