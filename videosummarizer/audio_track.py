"""Read the audio of a video file by presentation time: seconds from the container's start time, as in media.py."""

import os
from collections.abc import Iterator

import av
import numpy as np

from videosummarizer import audio_mix, media
from videosummarizer.antiphase import AntiphaseMeter
from videosummarizer.timestamps import MIN_GAP_SEC

# The number of audio samples that are resampled in one call.
NUM_SAMPLES_PER_RESAMPLING = 65_536
# Timestamps of continuous audio jitter by less. A larger jump is silence or an overlap.
MAX_AUDIO_GAP_SEC = 0.05
# Audio decoded before the time at which reading begins, since audio codecs refer to earlier packets.
PREROLL_SEC = 0.5
# Larger samples are damage. Full scale is 1, and loud audio decodes to up to 2.
MAX_AMPLITUDE = 4.0
# The NumPy types of the sample formats that can hold more than full scale.
FLOAT_TYPES = {"flt": np.float32, "fltp": np.float32, "dbl": np.float64, "dblp": np.float64}


class AudioDamage:
    """Collect where the audio of a file is damaged.

    Attributes:
        tenths: The tenths of a second, rounded down, in which packets do not decode, or samples are not finite or
            larger than MAX_AMPLITUDE.
        antiphase: Finds where the channels cancel in mono.
    """

    def __init__(self):
        self.tenths: set[int] = set()
        self.antiphase = AntiphaseMeter()

    def add(self, time_sec: float) -> None:
        """Add a time."""
        self.tenths.add(int(time_sec * 10))

    def add_span(self, start_sec: float, end_sec: float) -> None:
        """Add the times from a packet that does not decode to the next frame, unless that is a gap of its own."""
        if end_sec - start_sec < MIN_GAP_SEC:
            self.tenths.update(range(int(start_sec * 10), int(end_sec * 10)))

    def of_track(self) -> "AudioDamage":
        """Return one for a track that is mixed with others. What it collects is in this one, too."""
        part = AudioDamage()
        part.tenths, part.antiphase.powers = self.tenths, self.antiphase.powers
        return part

    def seconds(self, end_sec: float) -> set[int]:
        """Return the damaged seconds, rounded down, before end_sec."""
        return {tenth // 10 for tenth in self.tenths if tenth < end_sec * 10}


def read_audio(
    path: str | os.PathLike,
    video_info: media.VideoInfo,
    sample_rate_hz: int,
    damage: AudioDamage | None = None,
    from_sec: float = 0.0,
) -> Iterator[np.ndarray]:
    """Read a file's audio from a time on: mono, low-pass filtered and resampled by FFmpeg, placed by its timestamps.

    A gap between timestamps is filled with silence, and so is damage. Where timestamps overlap, the earlier audio is
    kept. Several tracks are added up, each at its own level.

    Args:
        path: The video.
        video_info: The result of `media.probe`.
        sample_rate_hz: The sample rate of the returned audio.
        damage: Takes the times of damage.
        from_sec: Where to begin. What comes before is not decoded, apart from PREROLL_SEC.

    Yields:
        (n,) float32 blocks, nominally in [-1, 1] for each track, that follow each other without a gap; sample i is at
        from_sec + i / sample_rate_hz seconds.

    Raises:
        media.MediaError: The file cannot be read, or has no audio track.
    """
    if not video_info.audio_indices:
        raise media.MediaError(f"{path}: received a file without an audio stream, expected one")
    damage = AudioDamage() if damage is None else damage
    # Each track is read by itself: where one ends or has a gap, the packets of the others would wait in memory.
    tracks = [
        read_track(path, index, sample_rate_hz, damage.of_track(), from_sec) for index in video_info.audio_indices
    ]
    yield from audio_mix.add_up(tracks) if len(tracks) > 1 else tracks[0]


def read_track(
    path: str | os.PathLike, index: int, sample_rate_hz: int, damage: AudioDamage, from_sec: float
) -> Iterator[np.ndarray]:
    """Yield the audio of one track as `read_audio` does.

    Args:
        path: The video.
        index: The index of the track among the file's streams.
        sample_rate_hz: The sample rate of the returned audio.
        damage: Takes the times of damage.
        from_sec: Where to begin.
    """
    with media.open_media(path) as container:
        stream, start_sec, num_yielded = container.streams[index], media.start_time_sec(container), 0
        if from_sec:
            media.seek(container, stream, int((from_sec + start_sec - PREROLL_SEC) / stream.time_base))
        decoded = decode_audio(media.demux(container, stream), start_sec, damage)
        for run_start_sec, run in audio_runs(decoded, start_sec):
            position = round((run_start_sec - from_sec) * sample_rate_hz)
            for num_silent in split_silence(position - num_yielded):
                yield np.zeros(num_silent, np.float32)
            num_yielded = max(num_yielded, position)
            for block in resample_audio(run, sample_rate_hz):
                num_late = max(0, min(num_yielded - position, len(block)))
                position += len(block)
                num_yielded = max(num_yielded, position)
                yield block[num_late:]


def split_silence(num_samples: int) -> Iterator[int]:
    """Yield the lengths of blocks that make up so many samples together: a gap may be hours long."""
    for first in range(0, num_samples, NUM_SAMPLES_PER_RESAMPLING):
        yield min(NUM_SAMPLES_PER_RESAMPLING, num_samples - first)


def find_damage(path: str | os.PathLike, video_info: media.VideoInfo) -> AudioDamage:
    """Decode all audio of a file, and return where it is damaged.

    Args:
        path: The video.
        video_info: The result of `media.probe`.

    Raises:
        media.MediaError: The file cannot be read.
    """
    damage = AudioDamage()
    for index in range(len(video_info.audio_indices)):
        with media.open_media(path) as container:
            packets = media.demux(container, media.audio_streams(container, video_info)[index])
            for _ in decode_audio(packets, media.start_time_sec(container), damage.of_track()):
                pass
    return damage


def decode_audio(
    packets: Iterator[av.Packet], start_sec: float, damage: AudioDamage | None = None
) -> Iterator[av.AudioFrame]:
    """Decode audio packets as `media.decode` does, and replace distorted frames with silence.

    These are frames with samples that are not finite or not plausible, and the first frame after a packet that does
    not decode, because a codec adds the end of one packet to the beginning of the next.

    Args:
        packets: The packets of one audio stream.
        start_sec: The container's start time.
        damage: Takes the times of damage.
    """
    damage = AudioDamage() if damage is None else damage
    follows_damage, first_damage_sec = False, 0.0

    def on_damage(time_sec: float) -> None:
        nonlocal follows_damage, first_damage_sec
        follows_damage, first_damage_sec = True, first_damage_sec if follows_damage else time_sec
        damage.add(time_sec)

    for frame in media.decode(packets, start_sec, on_damage):
        implausible_sec = implausible_times_sec(frame)
        if follows_damage or len(implausible_sec):
            if follows_damage:  # the frame is part of it; packets may be missing in between
                damage.add_span(first_damage_sec, frame.time - start_sec)
            else:
                for time_sec in (implausible_sec[0], implausible_sec[-1]):
                    damage.add(max(0.0, time_sec - start_sec))
            make_silent(frame)
            follows_damage = False
        damage.antiphase.measure(frame, frame.time - start_sec)
        yield frame


def implausible_times_sec(frame: av.AudioFrame) -> np.ndarray:
    """Return (n,) float64: the ascending times of a frame's samples that are not finite or exceed MAX_AMPLITUDE."""
    sample_type = FLOAT_TYPES.get(frame.format.name)
    if sample_type is None:
        return np.zeros(0)
    num_interleaved = 1 if frame.format.is_planar else frame.layout.nb_channels
    planes = [np.frombuffer(plane, sample_type, frame.samples * num_interleaved) for plane in frame.planes]
    if all(plane.min() >= -MAX_AMPLITUDE and plane.max() <= MAX_AMPLITUDE for plane in planes):  # False for NaN
        return np.zeros(0)
    is_implausible = np.any([~(np.abs(plane) <= MAX_AMPLITUDE) for plane in planes], axis=0)
    return frame.time + np.unique(np.flatnonzero(is_implausible) // num_interleaved) / frame.sample_rate


def make_silent(frame: av.AudioFrame) -> None:
    """Set all samples of a frame to 0."""
    frame.make_writable()
    silence = b"\x80" if frame.format.name.startswith("u8") else b"\0"
    for plane in frame.planes:
        plane.update(silence * plane.buffer_size)


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
