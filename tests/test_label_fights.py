"""Check the labels that benchmarks/label_fights.py makes from the kills of recorded matches."""

import json

import pytest
from clips import write_clip

from benchmarks import label_fights
from benchmarks.label_fights import FIGHTS, highlight_sections, label_file


@pytest.mark.parametrize(
    ("kill_frames", "sections"),
    [
        ([], []),
        ([1000], []),
        ([1000, 1000], [(825, 1140)]),  # 5 s before the first and 4 s after the last
        ([1000, 1280], [(825, 1420)]),  # exactly 8 s between them
        ([1000, 1281], []),
        ([10, 20], [(0, 160)]),
        ([5000, 5200], [(4825, 5250)]),
        ([1000, 1010, 1325, 1335], [(825, 1475)]),  # two fights that touch
        ([1000, 1010, 1326, 1336], [(825, 1150), (1151, 1476)]),
    ],
)
def test_a_fight_is_two_kills_or_more(kill_frames, sections):
    assert highlight_sections(kill_frames, 5250, FIGHTS) == sections


def test_the_label_file_has_frames_and_times():
    assert label_file([(510, 615), (2653, 2795)]) == "510,615,00:00:14,00:00:17\n2653,2795,00:01:15,00:01:19\n"
    assert label_file([]) == ""


def test_the_label_file_of_a_small_recording_counts_every_second_frame():
    assert label_file([(510, 615), (2653, 2795)], 2) == "255,307,00:00:14,00:00:17\n1326,1397,00:01:15,00:01:19\n"


def write_match(folder, title, kill_frames, num_frames, num_pictures):
    """Write a match as record_matches.py does, with black frames."""
    folder.mkdir(exist_ok=True)
    write_clip(folder / f"{title}.mp4", num_frames=num_pictures)
    (folder / f"{title}.txt").write_text("1,2\n")
    (folder / f"{title}.json").write_text(json.dumps({"kills": kill_frames, "frames": num_frames, "fps": 35}))


def test_every_match_gets_a_link_and_a_label_file(tmp_path, capsys):
    matches, output_dir = tmp_path / "matches", tmp_path / "new" / "fights"
    write_match(matches, "large", [200, 210], 420, 420)
    write_match(matches, "small", [200, 210], 421, 211)
    write_match(matches, "quiet", [200], 420, 420)
    for _ in range(2):  # the second run replaces the labels and keeps the links
        assert label_fights.main([str(matches), str(output_dir)]) == 0
        expected = "3 matches, 2 highlights, median 9.3 s, highlight ratio 0.52\n"
        assert capsys.readouterr().out == expected
        texts = {path.name: path.read_text() for path in output_dir.glob("*.txt")}
        assert texts == {
            "large.txt": "25,350,00:00:00,00:00:10\n",
            "small.txt": "12,175,00:00:00,00:00:10\n",
            "quiet.txt": "",
        }
        assert sorted(path.name for path in output_dir.glob("*.mp4")) == ["large.mp4", "quiet.mp4", "small.mp4"]
        assert (output_dir / "small.mp4").samefile(matches / "small.mp4")
    assert (matches / "large.txt").read_text() == "1,2\n"


def test_without_links_the_match_is_copied(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    write_match(tmp_path / "matches", "match", [], 30, 30)
    monkeypatch.setattr("pathlib.Path.symlink_to", refuse)
    assert label_fights.main([str(tmp_path / "matches"), str(tmp_path / "fights")]) == 0
    copy = tmp_path / "fights" / "match.mp4"
    assert not copy.is_symlink()
    assert copy.read_bytes() == (tmp_path / "matches" / "match.mp4").read_bytes()


def test_a_folder_that_cannot_be_labelled_is_named(tmp_path, capsys):
    matches = tmp_path / "matches"

    def error_of(output_dir=tmp_path / "fights"):
        assert label_fights.main([str(matches), str(output_dir)]) == 1
        assert not (tmp_path / "fights").exists()
        return capsys.readouterr().err

    matches.mkdir()
    assert "matches: received no .json file, expected matches of benchmarks/record_matches.py" in error_of()
    write_match(matches, "match", [], 31, 30)
    assert "match.mp4: received 30 frames, expected all or every second one of the 31 frames" in error_of()
    write_match(matches, "match", [], 30, 30)
    assert "expected another folder than VIDEO_DIR" in error_of(matches)
    (matches / "match.json").write_text("{")
    assert "match.json: JSONDecodeError" in error_of()
    (matches / "match.json").write_text('{"kills": []}')
    assert "match.json: KeyError('frames'): expected a match of benchmarks/record_matches.py" in error_of()
    write_match(matches, "match", [], 30, 30)
    (matches / "match.mp4").unlink()
    assert "match.json: FileNotFoundError" in error_of()
