"""Check the random decisions of benchmarks/scripted_player.py; no game is needed.

The numbers of a seed are those of the matches that docs/benchmarks.md measures: recording them again has to give the
same matches, and the order of the random draws decides it.
"""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.scripted_player import ATTACK, BUTTONS, FAST, FIGHT, FORWARD, HUNT, QUIET, TURN, USE, Player

# A monster of 30 x 20 pixels, left of the centre of a picture of 256 pixels.
MONSTER = SimpleNamespace(object_name="Demon", x=20, width=30, height=20)


def make_state(*labels):
    """Make a state in which the player stands still, in a room that is deeper on its right."""
    depth = np.broadcast_to(np.linspace(20, 60, 256), (144, 256))
    return SimpleNamespace(labels=labels, depth_buffer=depth, game_variables=np.zeros(3))


def begin(seed, pace):
    """Return a player whose first life has begun, and the commands that it gave."""
    player, commands = Player(seed, pace), []
    player.begin_life(SimpleNamespace(send_game_command=commands.append))
    return player, commands


def play(seed, pace, num_frames, *labels):
    """Return the action, the mode and the phase of each frame."""
    player, _ = begin(seed, pace)
    state = make_state(*labels)
    return [(player.act(state, frame), player.mode, player.phase) for frame in range(num_frames)]


def test_a_slow_match_alternates_quiet_stretches_and_fights():
    for seed in range(5):
        phases = [phase for _, _, phase in play(seed, "slow", 20_000)]
        runs = [(phase, len(list(frames)) / 35) for phase, frames in itertools.groupby(phases)]
        assert [phase for phase, _ in runs] == ([QUIET, FIGHT] * len(runs))[: len(runs)]
        assert 20 <= runs[0][1] <= 90
        for phase, length_sec in runs[1:-1]:
            shortest, longest = phase.length_sec
            assert shortest <= length_sec <= longest + 1 / 35


def test_a_seed_always_gives_the_same_slow_match():
    played = play(2201, "slow", 12_000)
    starts = [frame for frame in range(1, 12_000) if played[frame][2] != played[frame - 1][2]]
    assert starts == [2415, 3387, 7107, 7937, 11033, 11805]
    assert int(np.array([action for action, _, _ in played])[:, USE].sum()) == 570


def test_a_seed_always_gives_the_same_fast_match():
    played = play(1101, "fast", 3000)
    assert {phase for _, _, phase in played} == {FAST}
    changes = [frame for frame in range(1, 3000) if played[frame][1] != played[frame - 1][1]]
    assert changes == [484, 974, 1299, 1632, 2097, 2314, 2616, 2875]
    assert begin(1101, "fast")[1] == ["give plasmarifle", "give ammo", "give armor"]


def test_a_player_hunts_in_fights_and_hardly_ever_between_them():
    played = [frame for seed in range(8) for frame in play(seed, "slow", 10_000)]
    for phase, low, high in ((FIGHT, 0.75, 1), (QUIET, 0, 0.05)):
        hunts = [mode == HUNT for _, mode, of_frame in played if of_frame == phase]
        assert low < np.mean(hunts) < high


def test_a_fight_begins_with_another_draw_of_the_mode():
    player, _ = begin(0, "slow")
    state = make_state()
    while player.phase is QUIET:
        player.num_frames_left = 1000  # would outlast the quiet stretch
        player.act(state, 0)
    assert player.num_frames_left < 350


@pytest.mark.parametrize(("pace", "low", "high"), [("fast", 0.02, 0.04), ("slow", 0.0005, 0.004)])
def test_a_roaming_player_shoots_now_and_then(pace, low, high):
    player, _ = begin(3, pace)
    state, num_shots = make_state(MONSTER), 0
    player.act(state, 0)
    for frame in range(5000):
        player.mode, player.num_frames_left, player.num_phase_frames_left = 0, 10, 10
        num_shots += player.act(state, frame)[ATTACK]
    assert low < num_shots / 5000 < high


def test_a_hunting_player_turns_to_the_monster_and_comes_nearer():
    player, _ = begin(0, "fast")
    player.mode, player.num_frames_left = HUNT, 10
    action = player.act(make_state(MONSTER), 0)
    assert len(action) == len(BUTTONS)
    assert (action[TURN], action[ATTACK], action[FORWARD]) == (-12, 0, 1)
    larger = SimpleNamespace(object_name="Demon", x=110, width=40, height=100)
    action = player.act(make_state(MONSTER, larger), 1)
    assert (action[TURN], action[ATTACK], action[FORWARD]) == (pytest.approx(2 / 256 * 90), 1, 0)
