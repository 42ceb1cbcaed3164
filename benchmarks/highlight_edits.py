"""Make highlight videos from match videos, with one editing property at a time or all of them together.

Every choice is seeded. The reference sections are returned, so that predictions can be evaluated.
"""

import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from scipy.io import wavfile

SAMPLE_RATE_HZ = 44100
# Shortest shot.
MIN_SHOT_SEC = 1.0
# Longest shot.
MAX_SHOT_SEC = 60.0
# Longest dissolve between two shots.
DISSOLVE_SEC = 1.0
# Parts that are removed from a recording: its start and a pause.
PAUSE_CUTS_SEC = ((0.0, 40.0), (200.0, 230.0))
# Sources of FFmpeg that stand for a studio and for a black screen.
STUDIO, BLACK = "mandelbrot=size=256x144:rate=30", "color=black:size=256x144:rate=30"

VIDEO_FILTERS = {
    "crop": "crop=iw*0.85:ih*0.9",
    "zoom": "crop=iw/1.05:ih/1.05",
    "1:1, other audio": "crop=ih:ih:iw*0.3:0",
    "9:16, other audio": "crop=ih*9/16:ih:iw*0.25:0",
    "letterbox": "pad=iw:ih*4/3:0:(oh-ih)/2",
    "logo": "drawbox=x=iw*0.8:y=ih*0.06:w=iw*0.15:h=ih*0.15:color=orange:t=fill,"
    "drawbox=x=0:y=ih*0.86:w=iw:h=ih*0.14:color=navy:t=fill",
    "colour": "eq=brightness=0.12:contrast=1.3:saturation=0.4:gamma=1.3,hue=h=40",
}
AUDIO_FILTERS = {
    "louder": "volume=4,alimiter=limit=0.9",
    "quieter": "volume=0.1",
    "compressed": "acompressor=threshold=0.03:ratio=8:attack=5:release=80:makeup=6",
}


@dataclass(frozen=True)
class Shot:
    """A shot of a highlight video.

    Attributes:
        source: a video file, or a video generator of FFmpeg.
        start_sec: start in the source.
        length_sec: length in the source.
        audio: file of the audio, None for the source's own.
        speed: below 1 for slow motion.
    """

    source: str
    start_sec: float
    length_sec: float
    audio: str | None = None
    speed: float = 1.0

    @property
    def shown_sec(self) -> float:
        return self.length_sec / self.speed


@dataclass
class Edit:
    """The shots of a highlight video, and how it is rendered."""

    shots: list[Shot]
    video_filters: list[str] = field(default_factory=list)
    audio_filters: list[str] = field(default_factory=list)
    encoder: tuple = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "23")
    size_px: tuple[int, int] = (256, 144)
    frame_rate_fps: float = 35
    dissolve: bool = False
    fade: bool = False
    music: str | None = None
    has_audio: bool = True


def ffmpeg(*arguments: str) -> None:
    """Run the FFmpeg that imageio-ffmpeg brings. Raises subprocess.CalledProcessError."""
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *map(str, arguments)], check=True)


def join(paths: list[Path], output: Path, *options: str) -> Path:
    """Join videos of the same size, unless the output exists already."""
    if not output.exists():
        output.parent.mkdir(parents=True, exist_ok=True)
        inputs = [argument for path in paths for argument in ("-i", path)]
        streams = "".join(f"[{i}:v][{i}:a]" for i in range(len(paths)))
        part = output.with_suffix(".part.mp4")
        ffmpeg(*inputs, "-filter_complex", f"{streams}concat=n={len(paths)}:v=1:a=1[v][a]", "-map", "[v]", "-map",
               "[a]", *(options or Edit([]).encoder), "-c:a", "aac", "-b:a", "128k", part)  # fmt: skip
        part.replace(output)
    return output


def write_music(path: Path, duration_sec: float, seed: int) -> Path:
    """Write a tune of chords, bass and drums, as loud as a match."""
    rng = np.random.default_rng(seed)
    beat_sec = 0.5
    music = np.zeros(int((duration_sec + 1) * SAMPLE_RATE_HZ), np.float32)
    time_sec = np.arange(int(4 * beat_sec * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    for bar in range(int(duration_sec / (4 * beat_sec))):
        first = int(bar * 4 * beat_sec * SAMPLE_RATE_HZ)
        root_hz = 110 * 2 ** (rng.choice([0, 3, 5, 7, 8, 10]) / 12)
        for ratio in (0.5, 1, 1.25, 1.5, 2, 3):
            chord = np.sin(2 * np.pi * root_hz * ratio * time_sec) * np.exp(-time_sec)
            music[first : first + len(time_sec)] += 0.06 * chord.astype(np.float32)
        for beat in range(8):
            hit = rng.normal(size=4000) * np.exp(-np.arange(4000) / 600) * (0.25 if beat % 2 else 0.12)
            start = first + int(beat * beat_sec / 2 * SAMPLE_RATE_HZ)
            music[start : start + 4000] += hit[: len(music) - start].astype(np.float32)
    wavfile.write(path, SAMPLE_RATE_HZ, music)
    return path


def write_talk(path: Path, duration_sec: float, seed: int) -> Path:
    """Write something like studio talk: a buzz through moving formants, in syllables."""
    rng = np.random.default_rng(seed)
    num_samples = int(duration_sec * SAMPLE_RATE_HZ)
    talk = np.zeros(num_samples, np.float32)
    start = 0
    while start < num_samples:
        length = int(rng.uniform(0.08, 0.3) * SAMPLE_RATE_HZ)
        time_sec = np.arange(length) / SAMPLE_RATE_HZ
        pitch_hz, formants_hz = rng.uniform(90, 180), rng.uniform([300, 900, 2200], [800, 2000, 3200])
        syllable = sum(
            np.sin(2 * np.pi * pitch_hz * k * time_sec) * np.exp(-(((pitch_hz * k - formants_hz) / 200) ** 2)).sum()
            for k in range(1, 25)
        )
        piece = 0.1 * syllable * np.hanning(length)
        talk[start : start + length] = piece[: num_samples - start]
        start += length + int(rng.exponential(0.05) * SAMPLE_RATE_HZ)
    wavfile.write(path, SAMPLE_RATE_HZ, talk)
    return path


def draw_shots(rng: np.random.Generator, match: Path, match_sec: float, total_sec: float) -> list[Shot]:
    """Draw shots that do not overlap, in the match's order, with log-uniform lengths from 1 to 60 s."""
    lengths = []
    while sum(lengths) < total_sec:
        length = np.exp(rng.uniform(np.log(MIN_SHOT_SEC), np.log(MAX_SHOT_SEC)))
        lengths.append(round(min(length, max(total_sec - sum(lengths), MIN_SHOT_SEC)), 2))
    gaps = rng.dirichlet(np.ones(len(lengths) + 1)) * (match_sec - sum(lengths) - 0.5 * (len(lengths) + 1)) + 0.5
    starts = np.cumsum(gaps[:-1]) + np.cumsum([0, *lengths[:-1]])
    return [Shot(str(match), round(float(start), 2), length) for start, length in zip(starts, lengths, strict=True)]


def render(edit: Edit, output: Path) -> Path:
    """Write a highlight video as mp4, unless the output exists already."""
    if output.exists():
        return output
    width_px, height_px = edit.size_px
    inputs, chains = [], []
    for index, shot in enumerate(edit.shots):
        is_file = Path(shot.source).exists()
        source = ["-ss", shot.start_sec, "-i", shot.source] if is_file else ["-f", "lavfi", "-i", shot.source]
        inputs += ["-t", shot.length_sec, *source, "-ss", shot.start_sec, "-t", shot.length_sec]
        inputs += ["-i", shot.audio or shot.source]
        video = [f"setpts=(PTS-STARTPTS)/{shot.speed}", f"fps={edit.frame_rate_fps}", *edit.video_filters]
        video += [f"scale={width_px}:{height_px}", "setsar=1", "format=yuv420p", "settb=AVTB"]
        audio = ["asetpts=PTS-STARTPTS", *([f"atempo={shot.speed}"] if shot.speed != 1 else []), *edit.audio_filters]
        audio += ["aresample=44100", "aformat=channel_layouts=stereo", "apad", f"atrim=0:{shot.shown_sec}"]
        if edit.fade and shot.shown_sec > 2:
            end = shot.shown_sec - 0.5
            video.insert(2, f"fade=in:st=0:d=0.5,fade=out:st={end}:d=0.5")
            audio.append(f"afade=in:st=0:d=0.5,afade=out:st={end}:d=0.5")
        chains.append(f"[{2 * index}:v]{','.join(video)}[v{index}]")
        chains.append(f"[{2 * index + 1}:a]{','.join(audio)}[a{index}]")
    chains += dissolves(edit) if edit.dissolve else [
        "".join(f"[v{i}][a{i}]" for i in range(len(edit.shots))) + f"concat=n={len(edit.shots)}:v=1:a=1[v][a]"
    ]  # fmt: skip
    if edit.music:
        inputs += ["-i", edit.music]
        chains[-1] = chains[-1].replace("[a]", "[game]")
        chains.append(f"[game][{2 * len(edit.shots)}:a]amix=inputs=2:duration=first:normalize=0[a]")
    audio_options = ["-map", "[a]", "-c:a", "aac", "-b:a", "96k"]
    if not edit.has_audio:
        chains.append("[a]anullsink")
        audio_options = []
    part = output.with_suffix(".part.mp4")
    ffmpeg(*inputs, "-filter_complex", ";".join(chains), "-map", "[v]", *edit.encoder, *audio_options, part)
    part.replace(output)
    return output


def dissolves(edit: Edit) -> list[str]:
    """Return filter chains that dissolve each shot into the next, for at most a third of either shot."""
    chains, shown_sec = [], edit.shots[0].shown_sec
    video, audio = "[v0]", "[a0]"
    for index in range(1, len(edit.shots)):
        duration = min(DISSOLVE_SEC, edit.shots[index].shown_sec / 3, edit.shots[index - 1].shown_sec / 3)
        is_last = index == len(edit.shots) - 1
        next_video, next_audio = ("[v]", "[a]") if is_last else (f"[x{index}]", f"[y{index}]")
        chains.append(f"{video}[v{index}]xfade=duration={duration}:offset={shown_sec - duration}{next_video}")
        chains.append(f"{audio}[a{index}]acrossfade=d={duration}{next_audio}")
        shown_sec += edit.shots[index].shown_sec - duration
        video, audio = next_video, next_audio
    return chains


def reference_sections(shots: list[Shot], match: Path) -> list[tuple[float, float]]:
    """Return (start, end) in seconds of the match of each shot whose video or audio was cut from it at normal speed."""
    cut = [shot for shot in shots if str(match) in (shot.source, shot.audio) and shot.speed == 1]
    return [(shot.start_sec, shot.start_sec + shot.length_sec) for shot in cut]


def replace_shots(shots: list[Shot], indices: list[int], **changes) -> list[Shot]:
    """Return the shots with some of them changed."""
    return [replace(shot, **changes) if index in indices else shot for index, shot in enumerate(shots)]
