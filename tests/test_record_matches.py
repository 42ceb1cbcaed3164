"""Check what benchmarks/record_matches.py makes of kills; no game is needed."""

import struct
import sys
from types import SimpleNamespace

import av
import numpy as np
import pytest

from benchmarks import record_matches
from benchmarks.label_fights import highlight_sections
from benchmarks.record_matches import HIGHLIGHT_RULES, Recorder, map_names, play


@pytest.mark.parametrize(
    ("kill_frames", "sections"),
    [
        ([], []),
        ([580], [(510, 615)]),  # 2 s before and 1 s after, at 35 frames a second
        ([10], [(0, 45)]),
        ([1040], [(970, 1050)]),
        ([580, 580], [(510, 615)]),
        ([580, 720], [(510, 755)]),  # exactly 1 s between them
        ([580, 721], [(510, 615), (651, 756)]),
        ([100, 150, 900], [(30, 185), (830, 935)]),
    ],
)
def test_a_highlight_is_the_time_around_a_kill(kill_frames, sections):
    assert highlight_sections(kill_frames, 1050, HIGHLIGHT_RULES["fast"]) == sections


@pytest.mark.parametrize(
    ("kill_frames", "sections"),
    [
        ([1000, 1100, 1200], []),
        ([1000, 1100, 1200, 1300], [(825, 1405)]),  # 5 s before the first and 3 s after the last
        ([1000, 1210, 1420, 1630], [(825, 1735)]),  # exactly 6 s between them
        ([1000, 1210, 1421, 1631], []),
        ([1000, 1000, 1000, 1000], [(825, 1105)]),
        ([10, 20, 30, 40], [(0, 145)]),
        ([5000, 5100, 5200, 5240], [(4825, 5250)]),
        ([1000, 1010, 1020, 1030, 1241, 1251, 1261, 1271], [(825, 1376)]),  # two fights, merged
    ],
)
def test_a_highlight_of_a_slow_match_is_a_fight_of_four_kills(kill_frames, sections):
    assert highlight_sections(kill_frames, 5250, HIGHLIGHT_RULES["slow"]) == sections


def test_the_maps_of_a_game_are_those_with_things_in_them(tmp_path):
    names = [b"PALETTE", b"MAP01", b"THINGS", b"LINEDEFS", b"MAP02", b"TEXTMAP"]
    entries = b"".join(struct.pack("<ii8s", 12, 0, name) for name in names)
    (tmp_path / "game.wad").write_bytes(struct.pack("<4sii", b"IWAD", len(names), 12) + entries)
    assert map_names(tmp_path / "game.wad") == ["MAP01", "MAP02"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--duration_sec", "0"], "--duration_sec: received 0.0, expected 1 or more"),
        (["--crf", "60"], "--crf: received 60, expected 0 to 51"),
        (["--pace", "still"], "argument --pace: invalid choice: 'still'"),
        (["--seeds", "1", "-1"], "--seeds: received -1, expected whole numbers of 0 or more"),
    ],
)
def test_wrong_arguments_are_named(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        record_matches.parse_args(["out", *arguments])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_without_vizdoom_it_says_how_to_get_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "vizdoom", None)
    assert record_matches.main([str(tmp_path / "out")]) == 1
    assert "pip install vizdoom==1.3.2" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def test_existing_matches_are_kept(tmp_path, capsys):
    (tmp_path / "freedoom2_map01_7.json").write_text("{}")
    assert record_matches.main([str(tmp_path), "--scenarios", "freedoom2:map01", "--seeds", "7"]) == 0
    assert capsys.readouterr().out == "freedoom2_map01_7: kept\n"


@pytest.mark.parametrize(
    ("is_small", "size_px", "rate_fps", "num_frames", "rate_hz", "num_channels"),
    [(False, (256, 144), 35, 71, 44100, 2), (True, (128, 72), 17.5, 36, 22050, 1)],
)
def test_a_recording_has_every_frame_or_is_small(
    is_small, size_px, rate_fps, num_frames, rate_hz, num_channels, tmp_path
):
    with Recorder(tmp_path / "match.mp4", 256, 145, 20, is_small) as recorder:
        for number in range(71):
            audio = np.full((1260, 2), 8000 * (number // 35 % 2), np.int16)
            recorder.write(np.full((145, 256, 3), 3 * number, np.uint8), audio)
    with av.open(str(tmp_path / "match.mp4")) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert ((video.width, video.height), video.average_rate, video.frames) == (size_px, rate_fps, num_frames)
        assert (audio.rate, audio.channels) == (rate_hz, num_channels)
        frames = list(container.decode(video))
        container.seek(0)
        samples = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio)])
    step = 2 if is_small else 1
    assert [round(frame.time * 35) for frame in frames] == list(range(0, 71, step))
    assert frames[-1].to_ndarray(format="rgb24").mean() == pytest.approx(210, abs=3)
    assert len(samples) == pytest.approx(71 / 35 * rate_hz, abs=1100)  # AAC frames are of 1024 samples
    levels = [np.abs(samples[int(t * rate_hz) :][: rate_hz // 2]).mean() for t in (0.25, 1.25)]
    mix = np.sqrt(2) if is_small else 1  # FFmpeg's mono is (left + right) / sqrt(2)
    assert levels == pytest.approx([0, mix * 8000 / 32768], abs=0.03)


class ScriptedGame:
    """A game in which the player dies in frame 3, and kills one monster in frame 1, two in frame 2 and one in frame 4.

    Stands in for vizdoom.DoomGame and for the player: it counts the lives that begin.
    """

    def __init__(self):
        self.frame = self.num_lives = 0
        self.is_dead = False

    def new_episode(self):
        self.is_dead = False

    def is_episode_finished(self):
        return self.is_dead

    def get_state(self):
        num_kills = [0, 1, 3, 0, 1][self.frame]
        return SimpleNamespace(game_variables=[num_kills], screen_buffer=self.frame, audio_buffer=None)

    def make_action(self, action, num_frames):
        self.frame += num_frames
        self.is_dead = self.frame == 3

    def begin_life(self, game):
        self.num_lives += 1

    def act(self, state, frame):
        return []


def test_kills_and_deaths_are_counted_across_lives():
    game, written = ScriptedGame(), []
    recorder = SimpleNamespace(write=lambda image, audio: written.append(image))
    assert play(game, game, recorder, 5) == ([1, 2, 2, 4], [3])
    assert written == [0, 1, 2, 3, 4]
    assert game.num_lives == 2
