"""Makes highlight videos from match videos, as editors do, one property of edits at a time or all of them together.

Every choice is seeded. What was cut from where is returned, so that what a finder finds can be judged.
"""

import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from scipy.io import wavfile

SAMPLE_RATE_HZ = 44100
MIN_SHOT_SEC, MAX_SHOT_SEC = 1.0, 60.0
DISSOLVE_SEC = 1.0
PAUSE_CUTS_SEC = ((0.0, 40.0), (200.0, 230.0))  # what the recording lacks: its start, and a pause
STUDIO, BLACK = "mandelbrot=size=256x144:rate=30", "color=black:size=256x144:rate=30"

PICTURE_FILTERS = {
    "crop": "crop=iw*0.85:ih*0.9",
    "zoom": "crop=iw/1.05:ih/1.05",
    "letterbox": "pad=iw:ih*4/3:0:(oh-ih)/2",
    "logo": "drawbox=x=iw*0.8:y=ih*0.06:w=iw*0.15:h=ih*0.15:color=orange:t=fill,"
    "drawbox=x=0:y=ih*0.86:w=iw:h=ih*0.14:color=navy:t=fill",
    "colour": "eq=brightness=0.12:contrast=1.3:saturation=0.4:gamma=1.3,hue=h=40",
}
SOUND_FILTERS = {
    "louder": "volume=4,alimiter=limit=0.9",
    "quieter": "volume=0.1",
    "compressed": "acompressor=threshold=0.03:ratio=8:attack=5:release=80:makeup=6",
}


@dataclass(frozen=True)
class Shot:
    """A piece of an edit. `source` is a video file or a picture generator of FFmpeg; `sound` a file, by default the
    source; `speed` below 1 is slow motion."""

    source: str
    start_sec: float
    length_sec: float
    sound: str | None = None
    speed: float = 1.0

    @property
    def shown_sec(self) -> float:
        return self.length_sec / self.speed


@dataclass
class Edit:
    """What an edit consists of, and how it is rendered."""

    shots: list[Shot]
    picture: list[str] = field(default_factory=list)
    sound: list[str] = field(default_factory=list)
    encoder: tuple = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "23")
    size_px: tuple[int, int] = (256, 144)
    frame_rate_fps: float = 35
    dissolve: bool = False
    fade: bool = False
    music: str | None = None
    has_sound: bool = True


def ffmpeg(*arguments: str) -> None:
    """Run the FFmpeg that imageio-ffmpeg brings. Raises subprocess.CalledProcessError."""
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *map(str, arguments)], check=True)


def join(paths: list[Path], output: Path, *options: str) -> Path:
    """One video of several of the same size, made where it is not there yet."""
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
    """A tune of chords, bass and drums, as loud as a match."""
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
            place = first + int(beat * beat_sec / 2 * SAMPLE_RATE_HZ)
            music[place : place + 4000] += hit[: len(music) - place].astype(np.float32)
    wavfile.write(path, SAMPLE_RATE_HZ, music)
    return path


def write_talk(path: Path, duration_sec: float, seed: int) -> Path:
    """Something like studio talk: a buzz through moving formants, in syllables."""
    rng = np.random.default_rng(seed)
    num_samples = int(duration_sec * SAMPLE_RATE_HZ)
    talk = np.zeros(num_samples, np.float32)
    place = 0
    while place < num_samples:
        length = int(rng.uniform(0.08, 0.3) * SAMPLE_RATE_HZ)
        time_sec = np.arange(length) / SAMPLE_RATE_HZ
        pitch_hz, formants_hz = rng.uniform(90, 180), rng.uniform([300, 900, 2200], [800, 2000, 3200])
        syllable = sum(
            np.sin(2 * np.pi * pitch_hz * k * time_sec) * np.exp(-(((pitch_hz * k - formants_hz) / 200) ** 2)).sum()
            for k in range(1, 25)
        )
        piece = 0.1 * syllable * np.hanning(length)
        talk[place : place + length] = piece[: num_samples - place]
        place += length + int(rng.exponential(0.05) * SAMPLE_RATE_HZ)
    wavfile.write(path, SAMPLE_RATE_HZ, talk)
    return path


def draw_shots(rng: np.random.Generator, match: Path, match_sec: float, total_sec: float) -> list[Shot]:
    """Shots in the match's order that do not overlap, their lengths log-uniform from 1 to 60 s."""
    lengths = []
    while sum(lengths) < total_sec:
        length = np.exp(rng.uniform(np.log(MIN_SHOT_SEC), np.log(MAX_SHOT_SEC)))
        lengths.append(round(min(length, max(total_sec - sum(lengths), MIN_SHOT_SEC)), 2))
    gaps = rng.dirichlet(np.ones(len(lengths) + 1)) * (match_sec - sum(lengths) - 0.5 * (len(lengths) + 1)) + 0.5
    starts = np.cumsum(gaps[:-1]) + np.cumsum([0, *lengths[:-1]])
    return [Shot(str(match), round(float(start), 2), length) for start, length in zip(starts, lengths, strict=True)]


def render(edit: Edit, output: Path) -> Path:
    """Write an edit as mp4, made where it is not there yet."""
    if output.exists():
        return output
    width_px, height_px = edit.size_px
    inputs, chains = [], []
    for index, shot in enumerate(edit.shots):
        is_file = Path(shot.source).exists()
        source = ["-ss", shot.start_sec, "-i", shot.source] if is_file else ["-f", "lavfi", "-i", shot.source]
        inputs += ["-t", shot.length_sec, *source, "-ss", shot.start_sec, "-t", shot.length_sec]
        inputs += ["-i", shot.sound or shot.source]
        picture = [f"setpts=(PTS-STARTPTS)/{shot.speed}", f"fps={edit.frame_rate_fps}", *edit.picture]
        picture += [f"scale={width_px}:{height_px}", "setsar=1", "format=yuv420p", "settb=AVTB"]
        sound = ["asetpts=PTS-STARTPTS", *([f"atempo={shot.speed}"] if shot.speed != 1 else []), *edit.sound]
        sound += ["aresample=44100", "aformat=channel_layouts=stereo", "apad", f"atrim=0:{shot.shown_sec}"]
        if edit.fade and shot.shown_sec > 2:
            end = shot.shown_sec - 0.5
            picture.insert(2, f"fade=in:st=0:d=0.5,fade=out:st={end}:d=0.5")
            sound.append(f"afade=in:st=0:d=0.5,afade=out:st={end}:d=0.5")
        chains.append(f"[{2 * index}:v]{','.join(picture)}[v{index}]")
        chains.append(f"[{2 * index + 1}:a]{','.join(sound)}[a{index}]")
    chains += dissolves(edit) if edit.dissolve else [
        "".join(f"[v{i}][a{i}]" for i in range(len(edit.shots))) + f"concat=n={len(edit.shots)}:v=1:a=1[v][a]"
    ]  # fmt: skip
    if edit.music:
        inputs += ["-i", edit.music]
        chains[-1] = chains[-1].replace("[a]", "[game]")
        chains.append(f"[game][{2 * len(edit.shots)}:a]amix=inputs=2:duration=first:normalize=0[a]")
    sound_options = ["-map", "[a]", "-c:a", "aac", "-b:a", "96k"]
    if not edit.has_sound:
        chains.append("[a]anullsink")
        sound_options = []
    part = output.with_suffix(".part.mp4")
    ffmpeg(*inputs, "-filter_complex", ";".join(chains), "-map", "[v]", *edit.encoder, *sound_options, part)
    part.replace(output)
    return output


def dissolves(edit: Edit) -> list[str]:
    """Filter chains that let each shot dissolve into the next, the short ones less long."""
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
    """(start, end) in seconds of the match, of each shot whose picture or sound was cut from it at its speed."""
    cut = [shot for shot in shots if str(match) in (shot.source, shot.sound) and shot.speed == 1]
    return [(shot.start_sec, shot.start_sec + shot.length_sec) for shot in cut]


def replace_shots(shots: list[Shot], indices: list[int], **changes) -> list[Shot]:
    """The shots with some of them changed."""
    return [replace(shot, **changes) if index in indices else shot for index, shot in enumerate(shots)]
