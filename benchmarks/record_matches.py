"""Record matches of Freedoom, played by a scripted player in ViZDoom, with their labels: a free data set.

    python benchmarks/record_matches.py OUTPUT_DIR --scenarios deathmatch freedoom2:map01 --seeds 1101 1102
    python data_converter.py OUTPUT_DIR 5 3 64 64 11025 0

Records every scenario with every seed. Out, for each match: `<scenario>[_<map>]_<seed>.mp4` with video and audio, a
label file .txt, and .json with the frame of every kill and of every death of the player. Matches whose .json is there
are kept. The same arguments give the same match.

A highlight is a kill, from 2 s before it to 1 s after it; sections at most 1 s apart are merged. Fights without a kill,
missed shots and the player's own death are no highlights.

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

from videosummarizer.atomic_file import atomic_write  # noqa: E402
from videosummarizer.labels import format_sections  # noqa: E402

# The game's own rate: every step gives a frame and its audio.
FRAME_RATE_FPS = 35
SAMPLE_RATE_HZ = 44100
# A highlight starts this long before a kill.
BEFORE_KILL_SEC = 2
# A highlight ends this long after a kill.
AFTER_KILL_SEC = 1
# Highlights with at most this gap are merged.
MAX_GAP_SEC = 1
MONSTERS = ("Zombieman", "ShotgunGuy", "ChaingunGuy", "DoomImp", "Demon", "Spectre", "Cacodemon", "HellKnight",
            "BaronOfHell", "LostSoul", "MarineChainsawVzd", "MarineChainsaw", "Revenant", "Arachnotron",
            "PainElemental", "Fatso", "Archvile", "WolfensteinSS")  # fmt: skip
WEAPONS = ("shotgun", "chaingun", "supershotgun", "rocketlauncher", "plasmarifle")
BUTTONS = ("ATTACK", "MOVE_FORWARD", "MOVE_LEFT", "MOVE_RIGHT", "TURN_LEFT_RIGHT_DELTA", "SELECT_NEXT_WEAPON", "USE",
           "SPEED")  # fmt: skip
ATTACK, FORWARD, LEFT, TURN, NEXT_WEAPON, USE, SPEED = 0, 1, 2, 4, 5, 6, 7
VARIABLES = ("KILLCOUNT", "POSITION_X", "POSITION_Y")
ROAM, HUNT, LOOK_AROUND = range(3)
# Probabilities of the modes ROAM, HUNT and LOOK_AROUND.
MODE_PROBABILITIES = (0.45, 0.35, 0.2)
# Directions in which the player looks for free space.
NUM_DIRECTIONS = 16


class RecordingError(Exception):
    """A match cannot be recorded; the message says why and what to do."""


def kill_sections(kill_frames: list[int], num_frames: int) -> list[tuple[int, int]]:
    """Return (start, end) frames of the highlights, half-open, ascending, within [0, num_frames].

    Args:
        kill_frames: the frame in which each kill is visible, ascending.
        num_frames: frames of the match.
    """
    sections: list[tuple[int, int]] = []
    for frame in kill_frames:
        start = max(0, frame - BEFORE_KILL_SEC * FRAME_RATE_FPS)
        end = min(num_frames, frame + AFTER_KILL_SEC * FRAME_RATE_FPS)
        if sections and start - sections[-1][1] <= MAX_GAP_SEC * FRAME_RATE_FPS:
            start = sections.pop()[0]
        sections.append((start, end))
    return sections


def label_file(sections: list[tuple[int, int]]) -> str:
    """Return the text of a label file with frames and times."""
    sections_sec = np.array(sections).reshape(-1, 2) / FRAME_RATE_FPS
    return format_sections(sections, sections_sec)


# ---- The game and its player


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


class Player:
    """Plays by random rules: for some seconds it roams, hunts, or looks around, then it changes its mode.

    It does not play well, so that a match has quiet minutes, fights without a kill, and deaths.
    """

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.mode, self.num_frames_left = ROAM, 0
        self.turn_deg, self.position, self.num_frames_stuck = 0.0, None, 0

    def begin_life(self, game) -> None:
        """Take some weapons."""
        num_weapons = int(self.rng.integers(1, 4))
        for weapon in self.rng.choice(WEAPONS, size=num_weapons, replace=False):
            game.send_game_command(f"give {weapon}")
        game.send_game_command("give ammo")
        if self.rng.random() < 0.5:
            game.send_game_command("give armor")

    def act(self, state, frame: int) -> list[float]:
        """Return the action in a state of the game: a value for each of BUTTONS."""
        action = [0.0] * len(BUTTONS)
        if self.num_frames_left <= 0:
            self.mode = int(self.rng.choice([ROAM, HUNT, LOOK_AROUND], p=MODE_PROBABILITIES))
            self.num_frames_left = int(self.rng.integers(70, 350))
        self.num_frames_left -= 1
        monsters = [label for label in state.labels if label.object_name in MONSTERS]
        if monsters and self.mode == HUNT:
            self.attack(action, max(monsters, key=lambda m: m.width * m.height), *state.depth_buffer.shape)
        elif monsters and self.mode == ROAM and self.rng.random() < 0.03:
            action[ATTACK] = 1.0
        else:
            self.walk(action, state, frame)
        action[NEXT_WEAPON] = float(self.rng.random() < 0.004)
        return action

    def attack(self, action: list[float], monster, height_px: int, width_px: int) -> None:
        """Turn to a monster, shoot where it is ahead, come nearer where it is far off."""
        off_center_px = monster.x + monster.width / 2 - width_px / 2
        action[TURN] = float(np.clip(off_center_px / width_px * 90, -12, 12))
        action[ATTACK] = float(abs(off_center_px) < max(8, monster.width * 0.7))
        action[FORWARD] = float(monster.height < height_px * 0.35)
        sidesteps = self.rng.random() < 0.4
        action[LEFT + int(self.rng.integers(2))] = float(sidesteps)

    def walk(self, action: list[float], state, frame: int) -> None:
        """Walk towards free space, and turn away when stuck."""
        position = state.game_variables[1:3]
        is_stuck = self.position is not None and np.abs(position - self.position).sum() < 0.5
        self.num_frames_stuck = self.num_frames_stuck + 1 if is_stuck else 0
        self.position = position
        if frame % 6 == 0:
            self.turn_deg = self.find_free_direction(state.depth_buffer)
        if self.num_frames_stuck > 10:
            self.turn_deg = float(self.rng.choice([-1, 1]) * self.rng.uniform(15, 30))
            self.num_frames_stuck = 0
            action[LEFT + int(self.rng.integers(2))] = 1.0
        action[TURN] = self.turn_deg
        self.turn_deg *= 0.8
        if self.mode != LOOK_AROUND:
            action[FORWARD] = 1.0
            action[SPEED] = float(self.rng.random() < 0.5)
        action[USE] = float(self.rng.random() < 0.05)

    def find_free_direction(self, depth: np.ndarray) -> float:
        """Return the degrees to turn; directions with a large depth at eye level are more probable.

        Args:
            depth: (H, W) depth buffer.
        """
        height_px, width_px = depth.shape
        level = depth[int(height_px * 0.4) : int(height_px * 0.5)].astype(float).mean(axis=0)
        directions = level[: width_px // NUM_DIRECTIONS * NUM_DIRECTIONS].reshape(NUM_DIRECTIONS, -1).mean(axis=1)
        chances = (directions - directions.min() + 1) ** 3
        chosen = int(self.rng.choice(NUM_DIRECTIONS, p=chances / chances.sum()))
        if directions.max() < 14:  # a wall
            return float(self.rng.choice([-1, 1]) * 25)
        return ((chosen + 0.5) / NUM_DIRECTIONS - 0.5) * 30


# ---- Recording


class Recorder:
    """Writes an mp4 with H.264 video and stereo AAC audio. A context manager."""

    def __init__(self, path: Path, width_px: int, height_px: int, crf: int):
        self.container = av.open(str(path), "w", format="mp4")
        self.video = self.container.add_stream(
            "libx264", rate=FRAME_RATE_FPS, options={"crf": str(crf), "preset": "fast"}
        )
        self.video.width, self.video.height, self.video.pix_fmt = width_px, height_px // 2 * 2, "yuv420p"
        self.audio = self.container.add_stream("aac", rate=SAMPLE_RATE_HZ, options={"b": "64k"})
        self.audio.layout = "stereo"
        self.num_frames = self.num_samples = 0
        self.waiting: list[np.ndarray] = []  # audio of less than a second

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *_) -> None:
        self.write_audio()
        for stream in (self.video, self.audio):
            self.container.mux(stream.encode())
        self.container.close()

    def write(self, image: np.ndarray, audio: np.ndarray) -> None:
        """Write a frame and its audio.

        Args:
            image: (H, W, 3) uint8.
            audio: (num_samples, 2) int16, for as long as the frame is shown.
        """
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image[: self.video.height]), format="rgb24")
        frame.pts, frame.time_base = self.num_frames, Fraction(1, FRAME_RATE_FPS)
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
        self.container.mux(self.audio.encode(frame))


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
            with Recorder(part, game.get_screen_width(), game.get_screen_height(), args.crf) as recorder:
                kill_frames, death_frames = play(game, Player(seed), recorder, num_frames)
            part.replace(args.output_dir / f"{title}.mp4")
        finally:
            part.unlink(missing_ok=True)
            game.close()
    sections = kill_sections(kill_frames, num_frames)
    about = {"kills": kill_frames, "deaths": death_frames, "frames": num_frames, "fps": FRAME_RATE_FPS}
    about |= {"scenario": scenario, "map": map_name, "seed": seed}
    atomic_write(args.output_dir / f"{title}.txt", label_file(sections).encode())
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
