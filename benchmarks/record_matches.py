"""Record matches of Freedoom, played by a scripted player in ViZDoom, with their labels: a free dataset.

    python benchmarks/record_matches.py OUTPUT_DIR --scenarios deathmatch freedoom2:map01 --seeds 1101 1102
    python data_converter.py OUTPUT_DIR 5 3 64 64 11025 0

Records every scenario with every seed. Out, for each match: `<scenario>[_<map>]_<seed>.mp4` with video and audio, a
label file .txt, and .json with the frame of every kill and of every death of the player. Matches whose .json exists
are kept. The same arguments give the same match.

A highlight is a kill, from 2 s before it to 1 s after it; sections at most 1 s apart are merged. Fights without a kill,
missed shots and the player's own death are no highlights.

    python benchmarks/record_matches.py OUTPUT_DIR --pace slow --small --duration_sec 600 --seeds 2201 2202

With --pace slow, quiet stretches of 40 to 150 s alternate with fights of 6 to 30 s, as in a long match. A highlight is
then a fight: four kills or more, each at most 6 s after the one before, from 5 s before the first to 3 s after the
last. The frames in the .json are always counted at 35 per second, also if --small stores every second one.

Needs `pip install vizdoom==1.3.2`, and the system library libopenal1: without it the audio is silent.
"""

import argparse
import contextlib
import itertools
import json
import struct
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.label_fights import FRAME_RATE_FPS, HighlightRule, highlight_sections, label_file  # noqa: E402
from benchmarks.scripted_player import BUTTONS, Player  # noqa: E402
from videosummarizer.atomic_file import atomic_write  # noqa: E402

SAMPLE_RATE_HZ = 44100
# Width and height of the frames of a small recording, in pixels.
SMALL_SIZE_PX = (128, 72)
# How kills become highlights, by the pace of the match.
HIGHLIGHT_RULES = {
    "fast": HighlightRule(min_kills=1, max_kill_gap_sec=0, before_sec=2, after_sec=1, max_gap_sec=1),
    "slow": HighlightRule(min_kills=4, max_kill_gap_sec=6, before_sec=5, after_sec=3, max_gap_sec=1),
}
# Variables of the game that the player and the labels need.
VARIABLES = ("KILLCOUNT", "POSITION_X", "POSITION_Y")


class RecordingError(Exception):
    """A match cannot be recorded; the message says why and what to do."""


# ---- The game


def start_game(scenario: str, map_name: str | None, seed: int, resolution: str):
    """Start a game. Raises RecordingError if ViZDoom has no such scenario, map or resolution."""
    import vizdoom

    scenarios_dir = Path(vizdoom.scenarios_path)
    known = sorted(path.stem for path in scenarios_dir.glob("*.cfg"))
    if scenario not in known:
        raise RecordingError(f"--scenarios: received {scenario!r}, expected one of {', '.join(known)}")
    resolutions = {name.removeprefix("RES_").lower(): value for name, value in vars(vizdoom.ScreenResolution).items()}
    if resolution not in resolutions:
        raise RecordingError(f"--resolution: received {resolution!r}, expected one of ViZDoom's, such as 640x360")
    game = vizdoom.DoomGame()
    game.load_config(str(scenarios_dir / f"{scenario}.cfg"))
    if map_name:
        game_path = Path(vizdoom.__file__).parent / Path(game.get_doom_game_path()).name
        maps = map_names(Path(game.get_doom_scenario_path() or game_path))
        if map_name not in maps:  # ViZDoom would wait forever for an unknown map
            raise RecordingError(f"--scenarios: received {scenario}:{map_name}, expected one of {', '.join(maps)}")
        game.set_doom_map(map_name)
    game.set_screen_resolution(resolutions[resolution])
    game.set_screen_format(vizdoom.ScreenFormat.RGB24)
    game.set_audio_sampling_rate(vizdoom.SamplingRate.SR_44100)
    game.set_audio_buffer_size(1)
    for switch in ("audio_buffer_enabled", "labels_buffer_enabled", "depth_buffer_enabled", "render_hud"):
        getattr(game, f"set_{switch}")(True)
    game.set_window_visible(False)
    game.set_mode(vizdoom.Mode.PLAYER)
    game.set_doom_skill(3)
    game.set_seed(seed)
    game.set_episode_timeout(0)
    game.set_available_buttons([getattr(vizdoom.Button, name) for name in BUTTONS])
    game.set_available_game_variables([getattr(vizdoom.GameVariable, name) for name in VARIABLES])
    game.add_game_args("+sv_cheats 1 +snd_efx 0")
    game.init()
    return game


def map_names(game_path: Path) -> list[str]:
    """Return the maps in a .wad: the entries before a "THINGS" or, in newer files, a "TEXTMAP".

    Source of the format: The Unofficial Doom Specs, chapter 2.
    """
    content = game_path.read_bytes()
    _, num_entries, start = struct.unpack_from("<4sii", content)
    entries = struct.iter_unpack("<ii8s", content[start : start + 16 * num_entries])
    names = [name.rstrip(b"\0").decode("latin-1") for _, _, name in entries]
    return sorted(name for name, following in itertools.pairwise(names) if following in ("THINGS", "TEXTMAP"))


# ---- Recording


class Recorder:
    """Writes an mp4 with H.264 video and AAC audio. A context manager.

    Args:
        path: of the mp4.
        width_px: width of the frames that `write` gets.
        height_px: height of the frames that `write` gets.
        crf: H.264 quality.
        is_small: whether to store every second frame at SMALL_SIZE_PX, and mono audio at half the sample rate.
    """

    def __init__(self, path: Path, width_px: int, height_px: int, crf: int, is_small: bool = False):
        self.frame_step = 2 if is_small else 1
        self.height_px = height_px // 2 * 2
        self.size_px = SMALL_SIZE_PX if is_small else (width_px, self.height_px)
        self.container = av.open(str(path), "w", format="mp4")
        self.rate_fps = Fraction(FRAME_RATE_FPS, self.frame_step)
        self.video = self.container.add_stream(
            "libx264", rate=self.rate_fps, options={"crf": str(crf), "preset": "fast"}
        )
        self.video.width, self.video.height, self.video.pix_fmt = *self.size_px, "yuv420p"
        rate_hz, bit_rate = SAMPLE_RATE_HZ // self.frame_step, "32k" if is_small else "64k"
        self.audio = self.container.add_stream("aac", rate=rate_hz, options={"b": bit_rate})
        self.audio.layout = "mono" if is_small else "stereo"
        self.resampler = av.AudioResampler("fltp", "mono", rate_hz) if is_small else None
        self.num_frames = self.num_samples = 0
        self.waiting: list[np.ndarray] = []  # audio of less than a second

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *_) -> None:
        self.write_audio()
        if self.resampler:
            self.encode_audio(None)
        for stream in (self.video, self.audio):
            self.container.mux(stream.encode())
        self.container.close()

    def write(self, image: np.ndarray, audio: np.ndarray) -> None:
        """Write a frame and its audio.

        Args:
            image: (H, W, 3) uint8.
            audio: (num_samples, 2) int16, for as long as the frame is shown.
        """
        if self.num_frames % self.frame_step == 0:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image[: self.height_px]), format="rgb24")
            if self.size_px == SMALL_SIZE_PX:
                frame = frame.reformat(*SMALL_SIZE_PX, "yuv420p", interpolation="AREA")
            frame.pts, frame.time_base = self.num_frames // self.frame_step, 1 / self.rate_fps
            self.container.mux(self.video.encode(frame))
        self.num_frames += 1
        self.waiting.append(audio)
        if len(self.waiting) == FRAME_RATE_FPS:
            self.write_audio()

    def write_audio(self) -> None:
        if not self.waiting:
            return
        audio = np.concatenate(self.waiting).astype(np.int16)
        self.waiting = []
        frame = av.AudioFrame.from_ndarray(audio.reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE_HZ, self.num_samples, Fraction(1, SAMPLE_RATE_HZ)
        self.num_samples += len(audio)
        self.encode_audio(frame)

    def encode_audio(self, frame: av.AudioFrame | None) -> None:
        """Resample, encode and mux audio; None takes the last samples out of the resampler."""
        for resampled in self.resampler.resample(frame) if self.resampler else [frame]:
            self.container.mux(self.audio.encode(resampled))


def play(game, player: Player, recorder: Recorder, num_frames: int) -> tuple[list[int], list[int]]:
    """Play and record so many frames, and return the frame of every kill and of every death of the player."""
    kill_frames, death_frames, num_kills = [], [], 0
    game.new_episode()
    player.begin_life(game)
    for frame in range(num_frames):
        while game.is_episode_finished():
            death_frames.append(frame)
            game.new_episode()
            player.begin_life(game)
            num_kills = 0
        state = game.get_state()
        kill_frames += [frame] * int(state.game_variables[0] - num_kills)
        num_kills = state.game_variables[0]
        recorder.write(state.screen_buffer, state.audio_buffer)
        game.make_action(player.act(state, frame), 1)
    return kill_frames, death_frames


def record(args: argparse.Namespace, title: str, scenario: str, map_name: str | None, seed: int) -> str:
    """Record a match, and return a line that describes it. Raises RecordingError."""
    num_frames = round(args.duration_sec * FRAME_RATE_FPS)
    part = args.output_dir / f"{title}.mp4.part"
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):  # where ViZDoom leaves its settings
        game = start_game(scenario, map_name, seed, args.resolution)
        try:
            size_px = game.get_screen_width(), game.get_screen_height()
            with Recorder(part, *size_px, args.crf, args.small) as recorder:
                kill_frames, death_frames = play(game, Player(seed, args.pace), recorder, num_frames)
            part.replace(args.output_dir / f"{title}.mp4")
        finally:
            part.unlink(missing_ok=True)
            game.close()
    sections = highlight_sections(kill_frames, num_frames, HIGHLIGHT_RULES[args.pace])
    about = {"kills": kill_frames, "deaths": death_frames, "frames": num_frames, "fps": FRAME_RATE_FPS}
    about |= {"scenario": scenario, "map": map_name, "seed": seed}
    atomic_write(args.output_dir / f"{title}.txt", label_file(sections, recorder.frame_step).encode())
    atomic_write(args.output_dir / f"{title}.json", json.dumps(about).encode())
    ratio = sum(end - start for start, end in sections) / num_frames
    return f"{title}: {len(kill_frames)} kills, {len(death_frames)} deaths, highlight ratio {ratio:.2f}"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line. A wrong argument exits with status 2 and a message that names it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add(
        "output_dir", type=lambda path: Path(path).resolve(), help="Folder for the matches; it is created if necessary."
    )
    add("--scenarios", nargs="+", default=["deathmatch"], metavar="NAME[:MAP]",
        help="ViZDoom's scenarios, with a map if there are many: freedoom2:map01 (default: deathmatch).")  # fmt: skip
    add("--seeds", type=int, nargs="+", default=[0], help="Seeds of game and player (default: 0).")
    add("--duration_sec", type=float, default=150, help="Length of each match (default: %(default)s).")
    add("--resolution", default="256x144", help="One of ViZDoom's resolutions (default: %(default)s).")
    add("--crf", type=int, default=33, help="H.264 quality from 0 to 51, lower is better (default: %(default)s).")
    add("--pace", choices=("fast", "slow"), default="fast",
        help="slow: long quiet stretches and then a fight; the fights are the highlights (default: fast).")  # fmt: skip
    add("--small", action="store_true",
        help="Store every second frame, at 128x72 pixels, and mono audio at 22,050 Hz.")  # fmt: skip
    args = parser.parse_args(argv)
    if not 1 <= args.duration_sec < float("inf"):
        parser.error(f"argument --duration_sec: received {args.duration_sec}, expected 1 or more")
    if not 0 <= args.crf <= 51:
        parser.error(f"argument --crf: received {args.crf}, expected 0 to 51")
    if min(args.seeds) < 0:
        parser.error(f"argument --seeds: received {min(args.seeds)}, expected whole numbers of 0 or more")
    return args


def main(argv: list[str] | None = None) -> int:
    """Record the matches and return the exit status: 0, or 1 if one cannot be recorded."""
    args = parse_args(argv)
    matches = [(*name.partition(":")[::2], seed) for name in args.scenarios for seed in args.seeds]
    try:
        args.output_dir.mkdir(parents=True, exist_ok=True)
        for scenario, map_name, seed in tqdm(matches, desc="Recording", unit="match"):
            title = "_".join(filter(None, [scenario, map_name.lower(), str(seed)]))
            if (args.output_dir / f"{title}.json").exists():
                tqdm.write(f"{title}: kept", file=sys.stdout)
                continue
            tqdm.write(record(args, title, scenario, map_name.upper() or None, seed), file=sys.stdout)
    except ModuleNotFoundError as error:
        if error.name != "vizdoom":
            raise
        print("error: ViZDoom is not installed: pip install vizdoom==1.3.2", file=sys.stderr)
        return 1
    except (RecordingError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
