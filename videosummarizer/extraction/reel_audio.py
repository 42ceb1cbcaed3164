"""The audio of a reel: its tracks, and what is read from the source for each section."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import numpy as np
from av.stream import Disposition

from videosummarizer import audio_mix, audio_track, media

AUDIO_BIT_RATE_PER_CHANNEL = 96_000
# The fade at each cut: long enough to avoid a click, short enough to keep every word.
AUDIO_FADE_SEC = 0.01
NUM_SAMPLES_PER_AAC_FRAME = 1024
# The sample rate of the reel where AAC does not support the source's.
FALLBACK_SAMPLE_RATE_HZ = 48_000
# A container, and the audio track in it that is read.
AudioSource = tuple[av.container.InputContainer, av.AudioStream]


def read_section_audio(
    container: av.container.InputContainer,
    source: av.AudioStream,
    first_sec: float,
    num_samples: int,
    output: av.AudioStream,
) -> Iterator[np.ndarray]:
    """Read audio from first_sec on in the sample rate and layout of an output stream.

    It is placed by timestamps, gaps are silent, and both ends have a linear fade.

    Args:
        container: The source.
        source: Its audio stream.
        first_sec: Where to begin.
        num_samples: How many samples to read.
        output: The output stream.

    Yields:
        (num_channels, n) float32 blocks, num_samples in all.
    """
    origin_sec = media.start_time_sec(container)
    preroll_pts = int((first_sec + origin_sec - audio_track.PREROLL_SEC) / source.time_base)
    media.seek(container, source, preroll_pts)
    num_fade, position = AUDIO_FADE_SEC * output.rate, 0
    decoded = audio_track.decode_audio(media.demux(container, source), origin_sec)
    for start_sec, run in audio_track.audio_runs(decoded, origin_sec):
        start = round((start_sec - first_sec) * output.rate)
        for num_silent in audio_track.split_silence(min(start, num_samples) - position):
            yield np.zeros((output.layout.nb_channels, num_silent), np.float32)
            position += num_silent
        for block in resample_audio(run, output):
            kept = block[:, max(0, position - start) : max(0, num_samples - start)]
            positions = position + np.arange(kept.shape[1]) + 0.5
            yield kept * np.clip(np.minimum(positions, num_samples - positions) / num_fade, 0, 1).astype(np.float32)
            start += block.shape[1]
            position += kept.shape[1]
            if position == num_samples:
                return
    for num_silent in audio_track.split_silence(num_samples - position):
        yield np.zeros((output.layout.nb_channels, num_silent), np.float32)


def resample_audio(frames: Iterator[av.AudioFrame], output: av.AudioStream) -> Iterator[np.ndarray]:
    """Yield (num_channels, n) float32 blocks of frames of one format, in an output stream's rate and layout."""
    resampler = av.AudioResampler(format="fltp", layout=output.layout, rate=output.rate)
    for frame in frames:
        frame.pts = None  # the run's position is known; the resampler must not fill gaps or drop samples
        for block in resampler.resample(frame):
            yield block.to_ndarray()
    for block in resampler.resample(None):
        yield block.to_ndarray()


def open_sources(
    video_path: str | os.PathLike, tracks: tuple[tuple[int, ...], ...], stack: contextlib.ExitStack
) -> list[list[AudioSource]]:
    """Open the source once for each track that is read, so that each can be sought.

    Args:
        video_path: The source.
        tracks: The indices of the streams whose sum is an audio track of the reel, for each of its audio tracks.
        stack: Closes the containers.
    """

    def open_source(index: int) -> AudioSource:
        container = stack.enter_context(media.open_media(video_path))
        return container, container.streams[index]

    return [[open_source(index) for index in indices] for indices in tracks]


def widest(sources: Iterable[av.AudioStream]) -> av.AudioStream:
    """Return the track with the most channels."""
    return max(sources, key=lambda source: source.layout.nb_channels)


def read_section_sum(
    sources: list[AudioSource], first_sec: float, num_samples: int, output: av.AudioStream
) -> Iterator[np.ndarray]:
    """Yield the sum of several tracks as `read_section_audio` does, limited to full scale."""
    parts = [read_section_audio(*source, first_sec, num_samples, output) for source in sources]
    if len(parts) == 1:
        yield from parts[0]
        return
    for block in audio_mix.add_up(parts):
        yield np.clip(block, -1, 1)


def copy_names(source: av.AudioStream, output: av.AudioStream) -> None:
    """Give a track of the reel the name, the language and the default flag of its source."""
    names = {name: source.metadata[name] for name in ("title", "language") if source.metadata.get(name)}
    if "title" in names:
        names["handler_name"] = names["title"]  # which other software shows
    output.metadata.update(names)
    output.disposition = source.disposition & Disposition.default


def add_audio_stream(
    output: av.container.OutputContainer, source: av.AudioStream | None, rate_hz: int | None = None
) -> av.AudioStream | None:
    """Add an AAC stream in the sample rate of a source, or another one, mono or stereo; None without a source."""
    if source is None:
        return None
    known_rates_hz = av.Codec("aac", "w").audio_rates
    rate_hz = rate_hz or (source.rate if source.rate in known_rates_hz else FALLBACK_SAMPLE_RATE_HZ)
    layout = "mono" if source.layout.nb_channels == 1 else "stereo"
    stream = output.add_stream("aac", rate=rate_hz, layout=layout)
    stream.bit_rate = AUDIO_BIT_RATE_PER_CHANNEL * stream.layout.nb_channels
    return stream


def encode_audio(stream: av.AudioStream, fifo: av.AudioFifo, samples: np.ndarray) -> Iterator[av.Packet]:
    """Yield the packets of an output stream that (num_channels, n) float32 samples fill; its FIFO keeps the rest."""
    block = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", stream.layout.name)
    block.sample_rate, block.time_base = stream.rate, Fraction(1, stream.rate)
    block.pts = fifo.samples_written
    fifo.write(block)
    for frame in fifo.read_many(NUM_SAMPLES_PER_AAC_FRAME):
        yield from stream.encode(frame)


def finish_audio(stream: av.AudioStream, fifo: av.AudioFifo) -> Iterator[av.Packet]:
    """Yield the last packets of an output stream: those of the samples in its FIFO, and those that the encoder holds.

    The FIFO is empty where the audio fills all packets. Encoding None then ends the stream, which works only once.
    """
    rest = fifo.read(0, partial=True)
    if rest is not None:
        yield from stream.encode(rest)
    yield from stream.encode(None)
