"""What a process of several does, with the others played by the test."""

import socket
from types import SimpleNamespace

import numpy as np
import pytest
from small_network import build_small_network

from data_loader import DataLoader
from videosummarizer.training import distribution
from videosummarizer.training.distribution import DataParallelRun, DistributionError, wait_until_listening

SETTINGS = {"--batch_size": 32, "--seed": 0}


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self):
        self.now_sec, self.sleeps = 1000.0, []

    def monotonic(self):
        return self.now_sec

    def sleep(self, seconds):
        self.sleeps.append(seconds)
        self.now_sec += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(distribution, "time", clock)
    return clock


def connections(monkeypatch, *answers):
    """Let connections end as told, the last answer over and over; gives what is asked for."""
    asked, answers = [], list(answers)

    def create_connection(address, timeout):
        asked.append((*address, timeout))
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer is not None:
            raise answer
        return SimpleNamespace(close=lambda: asked.append("closed"))

    monkeypatch.setattr(distribution.socket, "create_connection", create_connection)
    return asked


@pytest.mark.parametrize(
    ("coordinator", "address"),
    [("10.0.0.7:8123", ("10.0.0.7", 8123)), ("[::1]:80", ("::1", 80)), ("host-a.local:1", ("host-a.local", 1))],
)
def test_waiting_ends_once_something_listens(coordinator, address, monkeypatch, clock):
    asked = connections(monkeypatch, ConnectionRefusedError(), TimeoutError(), None)
    assert wait_until_listening(coordinator) is None
    assert asked == [(*address, 5)] * 3 + ["closed"]
    assert clock.sleeps == [0.5, 0.5]


def test_waiting_ends_after_five_minutes(monkeypatch, clock):
    asked = connections(monkeypatch, ConnectionRefusedError("nobody"))
    with pytest.raises(ConnectionRefusedError, match="nobody"):
        wait_until_listening("h:1")
    assert clock.now_sec == 1300.5  # the first moment after 300 s
    assert len(asked) == 602


def test_a_host_that_is_none_is_not_waited_for(monkeypatch, clock):
    asked = connections(monkeypatch, socket.gaierror("no such host"))
    with pytest.raises(socket.gaierror, match="no such host"):
        wait_until_listening("h:1")
    assert (len(asked), clock.sleeps) == (1, [])


class Jax:
    """Plays JAX and Keras's part of it: a process of several that have equal or other settings."""

    def __init__(self, monkeypatch, process_id=0, num_processes=2, num_devices=4):
        self.calls, self.waits, self.others_differ = [], [], False
        jax = SimpleNamespace(
            process_index=lambda: process_id,
            process_count=lambda: num_processes,
            device_count=lambda: num_devices,
            distributed=SimpleNamespace(shutdown=lambda: self.calls.append("shutdown")),
        )
        monkeypatch.setattr(distribution, "jax", jax)
        monkeypatch.setattr(
            distribution, "wait_until_listening", lambda coordinator: self.calls.append(("wait", coordinator))
        )
        self.gathered = []
        monkeypatch.setattr(distribution.multihost_utils, "process_allgather", self.gather)
        keras_distribution = SimpleNamespace(
            initialize=lambda *arguments: self.calls.append(("initialize", *arguments)),
            set_distribution=lambda value: self.calls.append(("set", value)),
            DataParallel=lambda auto_shard_dataset: ("data parallel", auto_shard_dataset),
        )
        keras = SimpleNamespace(distribution=keras_distribution, Model=distribution.keras.Model)
        monkeypatch.setattr(distribution, "keras", keras)

    def gather(self, array):
        self.gathered.append(np.array(array))
        return np.array([array, array + 1 if self.others_differ else array])


DATA_PARALLEL = ("data parallel", False)


@pytest.mark.parametrize("process_id", [0, 1])
def test_processes_meet_at_the_coordinator(process_id, monkeypatch):
    jax = Jax(monkeypatch, process_id)
    workers = DataParallelRun("h:1", 2, process_id, SETTINGS, 8)
    waiting = [("wait", "h:1")] * process_id  # process 0 is where the others wait
    assert jax.calls == [*waiting, ("initialize", "h:1", 2, process_id), ("set", DATA_PARALLEL)]
    assert workers.shard == (process_id, 2)
    workers.shutdown()
    assert jax.calls[-2:] == [("set", None), "shutdown"]


def test_the_devices_of_one_process_need_no_coordinator(monkeypatch):
    jax = Jax(monkeypatch, num_processes=1)
    workers = DataParallelRun(None, None, None, SETTINGS, 8)
    workers.shutdown()
    assert jax.calls == [("set", DATA_PARALLEL), ("set", None)]


@pytest.mark.parametrize("error", [OSError("a\nb"), OverflowError("a\nb"), RuntimeError("a\nb"), ValueError("a\nb")])
def test_processes_that_do_not_meet_are_told_so_in_a_line(error, monkeypatch):
    Jax(monkeypatch)

    def initialize(*arguments):
        raise error

    monkeypatch.setattr(distribution.keras.distribution, "initialize", initialize)
    with pytest.raises(DistributionError) as refused:
        DataParallelRun("h:1", 3, 0, SETTINGS, 8)
    assert str(refused.value) == (
        "--coordinator: received h:1, expected 3 processes to meet there, each with its own --process_id (a)"
    )


def test_processes_with_other_settings_are_refused(monkeypatch):
    jax = Jax(monkeypatch)
    jax.others_differ = True
    with pytest.raises(
        DistributionError, match=r"^--coordinator: received .*'--seed': 0.*expected the settings and data of the other"
    ):
        DataParallelRun("h:1", 2, 0, SETTINGS, 8)
    Jax(monkeypatch)
    digests = []
    for settings in (SETTINGS, dict(SETTINGS), {**SETTINGS, "--seed": 1}):
        jax = Jax(monkeypatch)
        DataParallelRun(None, None, None, settings, 8)
        digests.append(int(jax.gathered[0]))
    assert digests[0] == digests[1] != digests[2]


def test_a_batch_holds_a_sequence_for_each_device(monkeypatch):
    Jax(monkeypatch, num_devices=4)
    for length, batch_sizes in ((8, (32, 64, 96)), (13, (52, 104))):
        for batch_size in batch_sizes:
            DataParallelRun(None, None, None, {"--batch_size": batch_size}, length)
    for length, batch_sizes in ((8, (8, 16, 31, 33, 48)), (13, (13, 26, 32, 64))):
        for batch_size in batch_sizes:
            with pytest.raises(DistributionError) as refused:
                DataParallelRun(None, None, None, {"--batch_size": batch_size}, length)
            assert str(refused.value) == (
                f"--batch_size: received {batch_size}, expected a multiple of {4 * length}: {length} segments for each "
                "of 4 devices"
            )


@pytest.mark.parametrize("process_id", [0, 1])
def test_each_process_scores_every_other_match(process_id, dataset_dir, monkeypatch):
    loader, names = DataLoader(dataset_dir), ("audio_steps", "highlight")
    network = build_small_network(loader.data_shape, 4000, 2)
    jax = Jax(monkeypatch, process_id)
    workers = DataParallelRun(None, None, None, SETTINGS, 8)
    scored = []

    def score_segments(scorer, arrays, names):
        scored.append(([audio for _, audio in arrays], tuple(names)))
        assert scorer is not network
        for weights, expected in zip(scorer.get_weights(), network.get_weights(), strict=True):
            np.testing.assert_array_equal(weights, expected)
        assert jax.calls[-1] == ("set", None)  # on one device
        return iter(np.arange(3 * len(scored[-1][0]), dtype=np.float32).reshape(-1, 3) + 1)

    monkeypatch.setattr(distribution, "score_segments", score_segments)
    rows = workers.predict_outputs(network, loader, "test", names)
    assert jax.calls[-1] == ("set", DATA_PARALLEL)
    files = loader.files_by_match("test")[process_id]  # of 12 and 8 segments
    ((waveforms, received_names),) = scored
    assert received_names == names
    for waveform, (_, expected) in zip(waveforms, loader.read_match(files), strict=True):
        np.testing.assert_array_equal(waveform, expected)
    own = np.zeros((20, 3), np.float32)
    part = slice(0, 12) if process_id == 0 else slice(12, 20)
    own[part] = np.arange(3 * len(files)).reshape(-1, 3) + 1
    np.testing.assert_array_equal(jax.gathered[-1], own)
    np.testing.assert_array_equal(rows, 2 * own)  # the other process's rows, here the same, are added
    # Later epochs score with the weights that the network has then.
    network.set_weights([weights + 1 for weights in network.get_weights()])
    scorer = workers.scorer
    workers.predict_outputs(network, loader, "valid", names)
    assert workers.scorer is scorer
