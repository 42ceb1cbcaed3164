"""Play Freedoom in ViZDoom by random rules, for benchmarks/record_matches.py. The same seed plays the same match."""

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.label_fights import FRAME_RATE_FPS  # noqa: E402

MONSTERS = ("Zombieman", "ShotgunGuy", "ChaingunGuy", "DoomImp", "Demon", "Spectre", "Cacodemon", "HellKnight",
            "BaronOfHell", "LostSoul", "MarineChainsawVzd", "MarineChainsaw", "Revenant", "Arachnotron",
            "PainElemental", "Fatso", "Archvile", "WolfensteinSS")  # fmt: skip
WEAPONS = ("shotgun", "chaingun", "supershotgun", "rocketlauncher", "plasmarifle")
BUTTONS = ("ATTACK", "MOVE_FORWARD", "MOVE_LEFT", "MOVE_RIGHT", "TURN_LEFT_RIGHT_DELTA", "SELECT_NEXT_WEAPON", "USE",
           "SPEED")  # fmt: skip
ATTACK, FORWARD, LEFT, TURN, NEXT_WEAPON, USE, SPEED = 0, 1, 2, 4, 5, 6, 7
ROAM, HUNT, LOOK_AROUND = range(3)
# Range of the length of the first quiet stretch of a slow match, in seconds.
FIRST_QUIET_SEC = (20, 90)
# Directions in which the player looks for free space.
NUM_DIRECTIONS = 16


class Phase(NamedTuple):
    """A part of a match in which the player acts by the same random rules.

    Attributes:
        mode_probabilities: probabilities of the modes ROAM, HUNT and LOOK_AROUND.
        shot_probability: probability of a shot, per frame in which a roaming player sees a monster.
        length_sec: range of the phase's length. None stands for the whole match.
    """

    mode_probabilities: tuple[float, float, float]
    shot_probability: float
    length_sec: tuple[float, float] | None


# The only phase of a fast match.
FAST = Phase((0.45, 0.35, 0.2), 0.03, None)
# The phases of a slow match, which alternate.
QUIET = Phase((0.75, 0.005, 0.245), 0.002, (40, 150))
FIGHT = Phase((0.1, 0.9, 0.0), 0.03, (6, 30))


class Player:
    """Plays by random rules: for some seconds it roams, hunts, or looks around, then it changes its mode.

    It does not play well, so that a match has quiet minutes, fights without a kill, and deaths.

    Args:
        seed: of all random decisions.
        pace: "fast", or "slow" for quiet stretches that alternate with fights.
    """

    def __init__(self, seed: int, pace: str = "fast"):
        self.rng = np.random.default_rng(seed)
        self.phase = FAST if pace == "fast" else QUIET
        self.num_phase_frames_left = None
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
        if self.phase is not FAST:
            self.alternate()
        if self.num_frames_left <= 0:
            self.mode = int(self.rng.choice([ROAM, HUNT, LOOK_AROUND], p=self.phase.mode_probabilities))
            self.num_frames_left = int(self.rng.integers(70, 350))
        self.num_frames_left -= 1
        monsters = [label for label in state.labels if label.object_name in MONSTERS]
        if monsters and self.mode == HUNT:
            self.attack(action, max(monsters, key=lambda m: m.width * m.height), *state.depth_buffer.shape)
        elif monsters and self.mode == ROAM and self.rng.random() < self.phase.shot_probability:
            action[ATTACK] = 1.0
        else:
            self.walk(action, state, frame)
        action[NEXT_WEAPON] = float(self.rng.random() < 0.004)
        return action

    def alternate(self) -> None:
        """Change between QUIET and FIGHT, and choose another mode, when the phase ends."""
        if self.num_phase_frames_left is None:  # drawn after the weapons of the first life, not in the constructor
            self.num_phase_frames_left = self.draw_num_frames(FIRST_QUIET_SEC)
        self.num_phase_frames_left -= 1
        if self.num_phase_frames_left < 0:
            self.phase = QUIET if self.phase is FIGHT else FIGHT
            self.num_phase_frames_left = self.draw_num_frames(self.phase.length_sec)
            self.num_frames_left = 0

    def draw_num_frames(self, length_sec: tuple[float, float]) -> int:
        """Draw a length in a range of seconds, and return it in frames."""
        return int(self.rng.uniform(*length_sec) * FRAME_RATE_FPS)

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
