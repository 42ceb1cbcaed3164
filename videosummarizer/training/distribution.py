"""Data-parallel training on several devices of one or more machines, with `keras.distribution` on JAX.

Each device takes a shard of every batch. Loss, gradients and batch statistics are those of the whole batch, so that all
devices hold the same weights. main.py imports this module only if there is more than one device.
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
    """The processes cannot train together; the message says why and what to do."""


# Longest wait for process 0 to listen. JAX waits as long for the other processes.
MAX_WAIT_SEC = 300


def wait_until_listening(coordinator: str) -> None:
    """Wait until a process listens at HOST:PORT. JAX would end this process with a stack trace instead.

    Raises:
        OSError: The host does not exist, or nothing listens there within MAX_WAIT_SEC.
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
    """The processes and devices that train together. Networks that are built afterwards are replicated on all devices.

    Args:
        coordinator: "HOST:PORT" of process 0, where the processes meet. None for the devices of this process alone.
        num_processes: Number of processes.
        process_id: Number of this process, from 0 on.
        settings: Settings that all processes must share, by flag. Serialisable as JSON.
        sequence_length: Segments in a sequence. A sequence is never divided among devices.

    Attributes:
        shard: (process_id, num_processes), for `DataLoader.batches`.

    Raises:
        DistributionError: A process is missing, the settings differ, or the batch size is not a multiple of what the
            devices need.
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
                    f"with its own --process_id ({str(error).splitlines()[0]})"
                ) from error
        self.shard = jax.process_index(), jax.process_count()
        digests = multihost_utils.process_allgather(np.uint32(zlib.crc32(json.dumps(settings).encode())))
        if len(set(digests.ravel().tolist())) > 1:
            raise DistributionError(
                f"--coordinator: received {settings}, expected the settings and data of the other processes: start all "
                "with the same flags except --process_id, on copies of one dataset"
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

    def to_devices(self, array: np.ndarray) -> jax.Array:
        """Divide this process's shard of a batch among its devices. The result stands for the whole batch."""
        mesh = jax.sharding.Mesh(np.array(jax.devices()), "batch")
        sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
        return jax.make_array_from_process_local_data(sharding, array)

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
        """Leave the run, together with the other processes. Each process can continue on its own first device."""
        keras.distribution.set_distribution(None)
        if self.shard[1] > 1:
            jax.distributed.shutdown()
