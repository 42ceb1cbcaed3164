"""Training one network on several devices, of one machine or of many: data parallelism of `keras.distribution` on JAX.

Each device takes its part of every batch; loss, gradients and batch statistics are those of the whole batch, so that
every device holds the same weights. Loaded only where there is more than one device.
"""

import json
import socket
import time
import zlib
from collections.abc import Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils

from videosummarizer.training.inference import score_segments
from videosummarizer.training.keras_backend import keras


class DistributionError(Exception):
    """These processes cannot train together; the message says why and what to do."""


MAX_WAIT_SEC = 300  # for process 0; JAX waits as long for the others


def wait_until_listening(coordinator: str) -> None:
    """Return once something listens at HOST:PORT. JAX itself, not finding it, would end the process with a trace.

    Raises:
        OSError: there is no such host, or nothing listens there within MAX_WAIT_SEC.
    """
    host, _, port = coordinator.rpartition(":")
    deadline_sec = time.monotonic() + MAX_WAIT_SEC
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
            return
        except socket.gaierror:
            raise
        except OSError:
            if time.monotonic() > deadline_sec:
                raise
        time.sleep(0.5)


class DataParallelRun:
    """The processes and devices that train together. Networks built from now on are spread over all devices.

    Args:
        coordinator: "HOST:PORT" of process 0, at which the num_processes processes find each other; None for the
            devices of this process alone.
        settings: JSON-able, has to be the same in all processes.
        sequence_length: segments in a sequence; batches are divided among devices by sequences.

    Attributes:
        shard: (process_id, num_processes), for `DataLoader.batches`.

    Raises:
        DistributionError: not all processes came, their settings differ, or batches cannot be divided among devices.
    """

    def __init__(
        self,
        coordinator: str | None,
        num_processes: int | None,
        process_id: int | None,
        settings: dict,
        sequence_length: int,
    ):
        if coordinator:
            try:
                if process_id > 0:
                    wait_until_listening(coordinator)
                keras.distribution.initialize(coordinator, num_processes, process_id)
            except (OSError, OverflowError, RuntimeError, ValueError) as error:
                raise DistributionError(
                    f"--coordinator: received {coordinator}, expected {num_processes} processes to meet there, each "
                    f"with a --process_id of its own ({str(error).splitlines()[0]})"
                ) from error
        self.shard = jax.process_index(), jax.process_count()
        digests = multihost_utils.process_allgather(np.uint32(zlib.crc32(json.dumps(settings).encode())))
        if len(set(digests.ravel().tolist())) > 1:
            raise DistributionError(
                f"--coordinator: this process has {settings}, another has other settings or data: start all with the "
                "same flags, --process_id apart, on copies of one dataset"
            )
        num_segments = sequence_length * jax.device_count()
        if settings["--batch_size"] % num_segments:
            raise DistributionError(
                f"--batch_size: received {settings['--batch_size']}, expected a multiple of {num_segments}: "
                f"{sequence_length} segments for each of {jax.device_count()} devices"
            )
        self.distribution = keras.distribution.DataParallel(auto_shard_dataset=False)
        keras.distribution.set_distribution(self.distribution)
        self.scorer = None

    def predict_outputs(self, network: keras.Model, loader, subset: str, names: Sequence[str]) -> np.ndarray:
        """Return what `validation.predict_outputs` does, the same in all processes.

        Each process scores its shard of the matches, with a copy of the network on one device.
        """
        keras.distribution.set_distribution(None)
        self.scorer = self.scorer or keras.Model.from_config(network.get_config())
        self.scorer.set_weights(network.get_weights())
        process_id, num_processes = self.shard
        num_columns = sum(network.output[name].shape[-1] for name in names)
        rows = np.zeros((loader.num_segments[subset], num_columns), np.float32)
        start = 0
        for number, files in enumerate(loader.files_by_match(subset)):
            if number % num_processes == process_id:
                scored = score_segments(self.scorer, loader.read_match(files), names=names)
                rows[start : start + len(files)] = list(scored)
            start += len(files)
        keras.distribution.set_distribution(self.distribution)
        return multihost_utils.process_allgather(rows).reshape(num_processes, *rows.shape).sum(axis=0)

    def shutdown(self) -> None:
        """End the work together; each process can go on alone, on its first device."""
        keras.distribution.set_distribution(None)
        if self.shard[1] > 1:
            jax.distributed.shutdown()
