"""Make small videos whose frames show their number, and audio of known pitch, for the tests."""

import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np

from videosummarizer import media, video_track

NUM_BITS = 10  # frame numbers up to 1023, one vertical bar a bit
BAR_WIDTH_PX = 16
WIDTH_PX, HEIGHT_PX = NUM_BITS * BAR_WIDTH_PX, 64
FRAME_RATE_FPS = 30


def ffmpeg(*arguments) -> bytes:
    """Run the FFmpeg program, which may replace files, and return what it writes to standard output."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True).stdout


def draw_number(number: int) -> np.ndarray:
    """Return a frame that shows its number in black and white bars, highest bit left: (64, 160, 3) uint8."""
    bits = [(number >> bit) & 1 for bit in reversed(range(NUM_BITS))]
    row = np.repeat(np.array(bits, np.uint8) * 255, BAR_WIDTH_PX)
    return np.broadcast_to(row[np.newaxis, :, np.newaxis], (HEIGHT_PX, WIDTH_PX, 3)).copy()


def read_number(frame: np.ndarray) -> int:
    """Return the number that a frame (H, W, 3) of any size shows."""
    bars = np.array_split(frame.mean(axis=(0, 2)), NUM_BITS)
    return sum(1 << bit for bit, bar in enumerate(reversed(bars)) if bar.mean() > 128)


def frames_in(path: Path) -> list[int]:
    """Return the number that each frame of a clip shows."""
    info = media.probe(path)
    frames = video_track.read_frames(path, info, info.frame_times_sec, info.width_px, info.height_px)
    return [read_number(frame) for frame in frames]


def tone(frequency_hz: float, duration_sec: float, sample_rate_hz: int = 44100, amplitude: float = 0.5) -> np.ndarray:
    """Return a sine tone: (num_samples,) float32."""
    time_sec = np.arange(round(duration_sec * sample_rate_hz)) / sample_rate_hz
    return (amplitude * np.sin(2 * np.pi * frequency_hz * time_sec)).astype(np.float32)


def write_clip(
    path: Path,
    num_frames: int = 60,
    ticks: list[int] | None = None,
    audio: np.ndarray | None = None,
    sample_rate_hz: int = 44100,
    start_sec: float = 0,
    audio_start_sec: float | None = None,
    audio_gap_sec: float = 0,
    codec: str = "libx264",
    options: dict | None = None,
    first_number: int = 0,
) -> Path:
    """Write an mp4 with numbered frames.

    Args:
        num_frames, ticks: frame i is shown at ticks[i] / 30 s; by default at i / 30 s.
        audio: (num_samples,) or (num_channels, num_samples) float32, encoded as AAC; None for no sound track.
        start_sec: presentation time of the first frame. audio_start_sec: of the first sample, by default the same.
        audio_gap_sec: by how much the timestamps of the second half of the sound are later.
        options: of the video encoder. first_number: that the first frame shows.
    """
    ticks = ticks or list(range(num_frames))
    audio_start_sec = start_sec if audio_start_sec is None else audio_start_sec
    time_base = Fraction(1, 600)
    with av.open(str(path), "w") as container:
        video_stream = container.add_stream(codec, rate=FRAME_RATE_FPS, options=options or {"crf": "10"})
        video_stream.width, video_stream.height, video_stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        video_stream.codec_context.time_base = time_base
        packets = []
        if audio is not None:
            audio = np.atleast_2d(audio)
            layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(audio)]
            audio_stream = container.add_stream("aac", rate=sample_rate_hz, layout=layout)
            audio_stream.bit_rate = 192_000
        for number, tick in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(draw_number(first_number + number), format="rgb24")
            frame.pts = round(start_sec * 600) + tick * 600 // FRAME_RATE_FPS
            frame.time_base = time_base
            packets += video_stream.encode(frame)
        packets += video_stream.encode(None)
        if audio is not None:
            for first in range(0, audio.shape[1], 1024):
                block = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(audio[:, first : first + 1024]), format="fltp", layout=layout
                )
                block.sample_rate, block.time_base = sample_rate_hz, Fraction(1, sample_rate_hz)
                block.pts = round(audio_start_sec * sample_rate_hz) + first
                block.pts += round(audio_gap_sec * sample_rate_hz) if first >= audio.shape[1] // 2 else 0
                packets += audio_stream.encode(block)
            packets += audio_stream.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


def write_av1_clip(path: Path, **arguments) -> Path:
    """Write an AV1 clip with the arguments of `write_clip`, in a thread of its own.

    As root, SVT-AV1 makes the thread that opens it real-time (SCHED_FIFO). All processes that this thread starts later
    are real-time too: Chromium's would keep others, and one another, from running.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(write_clip, path, codec="libsvtav1", **arguments).result()


def write_exact_audio(
    path: Path,
    pieces: list[tuple[float, np.ndarray]],
    sample_rate_hz: int = 8000,
    frame_ticks: list[int] = (0,),
    block_samples: int = 400,
) -> Path:
    """Write an .mkv with uncompressed audio, so that every sample is read back unchanged, at its own time.

    Args:
        pieces: (time of the first sample in seconds, (num_samples,) or (num_channels, num_samples) float32) of each.
        frame_ticks: numbered frame i is shown at frame_ticks[i] / 30 s; none for sound alone.
        block_samples: in a packet; packets should begin at whole milliseconds, as .mkv rounds to them.
    """
    num_channels = np.atleast_2d(pieces[0][1]).shape[0]
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[num_channels]
    with av.open(str(path), "w") as container:
        packets = []
        if frame_ticks:
            video_stream = container.add_stream("mpeg4", rate=FRAME_RATE_FPS, options={"qscale": "2"})
            video_stream.width, video_stream.height, video_stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
            for number, tick in enumerate(frame_ticks):
                frame = av.VideoFrame.from_ndarray(draw_number(number), format="rgb24")
                frame.pts, frame.time_base = tick, Fraction(1, FRAME_RATE_FPS)
                packets += video_stream.encode(frame)
            packets += video_stream.encode(None)
        audio_stream = container.add_stream("pcm_f32le", rate=sample_rate_hz, layout=layout)
        for start_sec, samples in pieces:
            samples = np.atleast_2d(samples).astype(np.float32)
            for first in range(0, samples.shape[1], block_samples):
                interleaved = samples[:, first : first + block_samples].T.reshape(1, -1)
                block = av.AudioFrame.from_ndarray(np.ascontiguousarray(interleaved), format="flt", layout=layout)
                block.sample_rate, block.time_base = sample_rate_hz, Fraction(1, sample_rate_hz)
                block.pts = round(start_sec * sample_rate_hz) + first
                packets += audio_stream.encode(block)
        packets += audio_stream.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


def write_pictures(
    path: Path,
    pictures: Iterable[np.ndarray],
    rate_fps: Fraction | int = FRAME_RATE_FPS,
    audio: np.ndarray | None = None,
    sample_rate_hz: int = 48000,
    **attributes,
) -> Path:
    """Write an mp4 of any pictures (H, W, 3) uint8 at a constant frame rate, with uncompressed-like quality.

    Args:
        audio: (num_samples,) or (num_channels, num_samples) float32, encoded as AAC; None for no sound track.
        attributes: of the video's codec context, such as colorspace.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate_fps, options={"crf": "6", "preset": "veryfast", "g": "40"})
        audio_stream = None
        if audio is not None:
            audio = np.atleast_2d(audio)
            layout = {1: "mono", 2: "stereo"}[len(audio)]
            audio_stream = container.add_stream("aac", rate=sample_rate_hz, layout=layout)
            audio_stream.bit_rate = 192_000
        packets = []
        for index, picture in enumerate(pictures):
            if index == 0:
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv420p"
                for name, value in attributes.items():
                    setattr(stream.codec_context, name, value)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=attributes.get("colorspace"), dst_color_range=1)
            frame.pts, frame.time_base = index, 1 / Fraction(rate_fps)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        if audio is not None:
            for first in range(0, audio.shape[1], 1024):
                block = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(audio[:, first : first + 1024]), format="fltp", layout=layout
                )
                block.sample_rate, block.time_base, block.pts = sample_rate_hz, Fraction(1, sample_rate_hz), first
                packets += audio_stream.encode(block)
            packets += audio_stream.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


def write_two_matches(folder: Path, duration_sec: int) -> Path:
    """Write two labelled matches with different pictures, and return the folder."""
    for number, title in enumerate(("first", "second")):
        path, audio = folder / f"{title}.mp4", tone(440, duration_sec)
        write_clip(path, num_frames=30 * duration_sec, audio=audio, first_number=150 * number)
        path.with_suffix(".txt").write_text("30,90\n")
    return folder


def write_recording(path: Path) -> Path:
    """Write an .mkv of 2.4 s as a recorder does, with three audio tracks of 8000 Hz that are read back exactly.

    They are 440 Hz; 1000 Hz, flagged as default; and 2500 Hz in stereo from 1 s on. All end at 2 s. Their amplitudes
    are 0.1, 0.2 and 0.3.
    """
    inputs = ["-i", write_clip(path.with_name("video.mp4"), num_frames=72)]
    for number, hz in enumerate((440, 1000, 2500)):
        start_sec, num_channels = (1, 2) if number == 2 else (0, 1)
        samples = np.tile(tone(hz, 2 - start_sec, 8000, 0.1 * (number + 1)), (num_channels, 1))
        inputs += ["-i", write_exact_audio(path.with_name(f"{hz}.mkv"), [(start_sec, samples)], 8000, [])]
    maps = ["-map", "0:v", *(part for number in (1, 2, 3) for part in ("-map", f"{number}:a"))]
    flags = ["-disposition:a:0", "0", "-disposition:a:1", "default", "-disposition:a:2", "0"]
    names = ["-metadata:s:a:1", "title=Game", "-metadata:s:a:2", "title=마이크", "-metadata:s:a:2", "language=kor"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-copyts", *inputs, *maps, "-c", "copy"]
    subprocess.run([*map(str, command), *flags, *names, str(path)], check=True)
    return path
