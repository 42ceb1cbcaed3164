"""Read the audio of a video file by presentation time: seconds from the container's start time, as in media.py."""

import os
from collections.abc import Iterator

import av
import numpy as np

from videosummarizer import media

# The number of audio samples that are resampled in one call.
NUM_SAMPLES_PER_RESAMPLING = 65_536
# Timestamps of continuous audio jitter by less. A larger jump is silence or an overlap.
MAX_AUDIO_GAP_SEC = 0.05


def read_audio(path: str | os.PathLike, sample_rate_hz: int) -> Iterator[np.ndarray]:
    """Read a file's audio from time 0 on: mono, low-pass filtered and resampled by FFmpeg, placed by its timestamps.

    A gap between timestamps is filled with silence. Where they overlap, the earlier audio is kept.

    Args:
        path: The video.
        sample_rate_hz: The sample rate of the returned audio.

    Yields:
        (n,) float32 blocks, nominally in [-1, 1], that follow each other without a gap; sample i is at
        i / sample_rate_hz seconds.

    Raises:
        media.MediaError: The file cannot be read, or has no audio track.
    """
    with media.open_media(path) as container:
        stream = media.best_stream(container, "audio", path)
        start_sec = media.start_time_sec(container)
        num_yielded = 0
        for run_start_sec, run in audio_runs(media.decode(container.demux(stream)), start_sec):
            position = round(run_start_sec * sample_rate_hz)
            while num_yielded < position:
                silence = np.zeros(min(position - num_yielded, NUM_SAMPLES_PER_RESAMPLING), np.float32)
                num_yielded += len(silence)
                yield silence
            for block in resample_audio(run, sample_rate_hz):
                num_late = max(0, min(num_yielded - position, len(block)))
                position += len(block)
                num_yielded = max(num_yielded, position)
                yield block[num_late:]


def audio_runs(frames: Iterator[av.AudioFrame], start_sec: float) -> Iterator[tuple[float, Iterator[av.AudioFrame]]]:
    """Group frames into runs of one format whose timestamps follow each other within MAX_AUDIO_GAP_SEC.

    Args:
        frames: The decoded frames of one stream.
        start_sec: The container's start time.

    Yields:
        (start of the run in seconds, iterator over its frames). The iterator has to be exhausted before the next run is
        requested.
    """
    pending = next(frames, None)

    def run(run_start_sec: float) -> Iterator[av.AudioFrame]:
        nonlocal pending
        first, num_samples = pending, 0
        while pending is not None and (pending.format.name, pending.layout.name, pending.sample_rate) == (
            first.format.name,
            first.layout.name,
            first.sample_rate,
        ):
            expected_sec = run_start_sec + num_samples / first.sample_rate
            if abs(pending.time - start_sec - expected_sec) > MAX_AUDIO_GAP_SEC:
                return
            num_samples += pending.samples
            yield pending
            pending = next(frames, None)

    while pending is not None:
        run_start_sec = pending.time - start_sec
        yield run_start_sec, run(run_start_sec)


def resample_audio(frames: Iterator[av.AudioFrame], sample_rate_hz: int) -> Iterator[np.ndarray]:
    """Yield (n,) float32 mono blocks of frames of one format, including the resampler's last samples."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=sample_rate_hz)
    fifo = av.AudioFifo()  # resampling a codec frame of 1,000 samples takes nearly as long as resampling 65,536
    for frame in frames:
        frame.pts = None  # the run's position is known; resampler and FIFO must not fill gaps or drop samples
        fifo.write(frame)
        if fifo.samples >= NUM_SAMPLES_PER_RESAMPLING:
            yield from (block.to_ndarray()[0] for block in resampler.resample(fifo.read()))
    rest = fifo.read(partial=True)
    for blocks in (resampler.resample(rest) if rest else (), resampler.resample(None)):
        yield from (block.to_ndarray()[0] for block in blocks)
