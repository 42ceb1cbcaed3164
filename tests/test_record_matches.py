"""Check what benchmarks/record_matches.py makes of kills; no game is needed."""

import struct
import sys

import pytest

from benchmarks import record_matches
from benchmarks.record_matches import kill_sections, label_file, map_names


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
    assert kill_sections(kill_frames, num_frames=1050) == sections


def test_the_label_file_has_frames_and_times():
    assert label_file([(510, 615), (2653, 2795)]) == "510,615,00:00:14,00:00:17\n2653,2795,00:01:15,00:01:19\n"
    assert label_file([]) == ""


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
