"""Matches, checkpoints and arguments that the extractor cannot use: one line names each, and other matches are cut."""

import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import h5py
import pytest
from clips import write_clip
from extractor import CONFIG, POINT, all_files

from highlight_extractor import main
from videosummarizer import atomic_file, media
from videosummarizer.extraction import outputs, reel, scoring
from videosummarizer.extraction.exports import chapters
from videosummarizer.training import inference
from videosummarizer.training.checkpoint import CheckpointError, read_checkpoint, write_checkpoint_attributes

ROOT = Path(__file__).resolve().parent.parent


def write_attributes(path, **attributes):
    """Write a checkpoint without a network, with valid attributes except for those given."""
    with h5py.File(path, "w"):
        pass
    write_checkpoint_attributes(path, {"config": asdict(CONFIG), "operating_point": POINT, **attributes})
    return path


def test_a_match_that_fails_costs_only_itself(extract, tmp_path, caplog):
    match = extract.match()
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video at all")
    good = write_clip(tmp_path / "good.mp4", num_frames=72)
    assert extract(broken, match, tmp_path / "missing.mp4", good) == 1
    assert "broken.mp4: cannot be read as a video" in caplog.text
    assert f"{tmp_path / 'missing.mp4'}: no such file, expected the video of a match" in caplog.messages
    assert "2 of 4 matches failed" in caplog.text
    assert "Traceback" not in caplog.text
    for title in ("match", "good"):
        assert (tmp_path / "out" / f"{title}_highlights.mp4").exists()
    assert not list((tmp_path / "out").glob("broken*"))
    assert media.probe(tmp_path / "out" / "good_highlights.mp4").audio is None


def test_files_that_would_be_mistaken_for_others_are_refused(extract, tmp_path, clip, caplog):
    (tmp_path / "matches").mkdir()
    match = Path(shutil.copy(clip, tmp_path / "matches" / "match.mp4"))
    extract.out = match.parent
    assert extract(match) == 1
    assert "would be taken for its labels, expected another folder" in caplog.text
    extract.out = tmp_path / "out"
    twin = write_clip(tmp_path / "match.mp4", num_frames=3)
    assert extract(match, twin) == 1
    assert "received 2 matches with the title match" in caplog.text
    assert sorted(path.name for path in match.parent.iterdir()) == ["match.mp4"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "no such file, expected a .hdf5 file that main.py saved"),
        (lambda path: path.write_text("weights"), "cannot be read as a checkpoint"),
        (lambda path: h5py.File(path, "w").close(), "without this toolkit's attributes"),
        (lambda path: path.write_bytes(write_attributes(path).read_bytes()[:500]), "cannot be read as a checkpoint"),
        (lambda path: write_attributes(path, config={"fps": 3}), "another version's"),
        (lambda path: write_attributes(path, operating_point={"cut": 3}), "another version's"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_a_one_line_error(extract, tmp_path, caplog, make, words):
    path = tmp_path / "strange.hdf5"
    make(path)
    assert extract(extract.match(), ckpt=path) == 1
    (message,) = caplog.messages
    assert "strange.hdf5" in message
    assert words in message
    assert "\n" not in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [[], ["--threshold", "0.7"], ["--length", "0:02"]])
def test_without_an_operating_point_it_says_so_where_that_matters(extract, tmp_path, caplog, arguments):
    path = tmp_path / "old.hdf5"
    with h5py.File(path, "w"):
        pass
    write_checkpoint_attributes(path, {"config": asdict(CONFIG)})
    assert extract(extract.match(), *arguments, ckpt=path) == 0
    says_so = "stores no operating point, sections are detected at a score of 0.5" in caplog.text
    assert says_so == (arguments == [])
    assert (extract.report()["threshold"] == 0.5) == says_so


def test_a_reel_that_cannot_be_written_is_one_line(extract, monkeypatch, caplog):
    def refuse(*arguments):
        raise reel.ReelError("match_highlights.mp4: the reel cannot be written (No space left on device)")

    monkeypatch.setattr(reel, "render_reel", refuse)
    assert extract(extract.match()) == 1
    assert caplog.messages == ["match_highlights.mp4: the reel cannot be written (No space left on device)"]


def test_a_file_that_fails_costs_no_other_one(extract, tmp_path, monkeypatch, caplog):
    def fail(error):
        def write(*_):
            raise error

        return write

    monkeypatch.setattr(outputs, "draw_timeline", fail(ValueError("no\n\nfont")))
    monkeypatch.setattr(chapters, "write_webvtt", fail(OSError(28, "No space left on device")))
    match, good = extract.match(), extract.match("good")
    assert extract(match, good) == 1
    failed = {f"{title}{suffix}" for title in ("match", "good") for suffix in ("_timeline.png", ".vtt")}
    assert extract.names() == all_files("match", "good") - failed
    out = tmp_path / "out"
    assert caplog.messages == [
        f"{out / 'match.vtt'}: cannot be written (No space left on device): free some space and run the same command "
        "again",
        f"{out / 'match_timeline.png'}: cannot be written (ValueError: no font): --debug shows where it comes from",
        f"{out / 'good.vtt'}: cannot be written (No space left on device): free some space and run the same command "
        "again",
        f"{out / 'good_timeline.png'}: cannot be written (ValueError: no font): --debug shows where it comes from",
        f"2 of 2 matches failed: {match}, {good}",
    ]
    monkeypatch.undo()
    monkeypatch.setattr(outputs, "draw_timeline", lambda result: b"a picture")
    assert extract(match, good) == 0
    assert extract.names() == all_files("match", "good")


@pytest.mark.parametrize("error", [RuntimeError("cannot\ncache"), MemoryError(), OSError(5, "Input/output error")])
def test_any_error_with_one_match_costs_only_itself(extract, monkeypatch, caplog, error):
    score_match = scoring.score_match

    def fail(video_path, *arguments):
        if video_path.stem == "match":
            raise error
        return score_match(video_path, *arguments)

    monkeypatch.setattr(scoring, "score_match", fail)
    match = extract.match()
    assert extract(match, extract.match("good")) == 1
    reason = {RuntimeError: "RuntimeError: cannot cache", MemoryError: "memory ran out"}.get(
        type(error), "Input/output error"
    )
    assert caplog.messages[0].startswith(f"{match}: no highlights can be extracted ({reason}): ")
    assert caplog.messages[1:] == [f"1 of 2 matches failed: {match}"]
    assert "Traceback" not in caplog.text
    assert extract.names() == all_files("good")
    assert extract(match, "--debug") == 1
    assert "Traceback" in caplog.text


def test_a_folder_that_cannot_be_written_to_is_found_out_before_scoring(extract, tmp_path, monkeypatch, caplog):
    def refuse(**_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(atomic_file.tempfile, "TemporaryFile", refuse)
    assert extract(extract.match()) == 1
    assert caplog.messages == [
        f"{tmp_path}: no files can be written into this folder (Read-only file system): correct its "
        "permissions, make room, or choose another --output_dir"
    ]
    assert extract.scored == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--threshold", "2"], "received '2', expected a number from 0 to 1"),
        (["--length", "soon"], "received 'soon', expected a length such as 8:00"),
        (["--length", "0"], "received '0', expected a length such as 8:00"),
        (["--threshold", "0.5", "--length", "8:00"], "not allowed with argument"),
        (["--padding", "-1"], "received '-1', expected a number of 0 or more"),
        (["--reel_height", "7.5"], "received '7.5', expected a whole number from 2"),
    ],
)
def test_wrong_usage_exits_with_2(extract, capsys, arguments, words):
    with pytest.raises(SystemExit) as exit_info:
        main([str(extract.match()), "--ckpt", str(extract.ckpt), *arguments])
    assert exit_info.value.code == 2
    assert words in capsys.readouterr().err


def test_a_network_with_other_inputs_is_a_one_line_error(tmp_path):
    from model import build_model

    path = tmp_path / "other.hdf5"
    build_model({"video": (4, 8, 8, 3), "audio": (500,)}).save(path)
    write_checkpoint_attributes(path, {"config": asdict(CONFIG), "operating_point": POINT})
    checkpoint = read_checkpoint(path)
    with pytest.raises(CheckpointError, match=r"other\.hdf5: received a network whose input 'video' is"):
        inference.load_network(checkpoint)


def test_the_command_says_what_is_wrong_in_one_line(tmp_path):
    command = [sys.executable, str(ROOT / "highlight_extractor.py"), "gone.mp4", "--ckpt", "gone.hdf5"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("ERROR: gone.hdf5: no such file, expected a .hdf5 file")
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_every_match_that_fails_is_named_and_one_alone_is_named_once(extract, caplog):
    gone, good = extract.folder / "gone.mp4", extract.match("good")
    assert extract(gone) == 1
    assert caplog.messages == [f"{gone}: no such file, expected the video of a match"]
    caplog.clear()
    assert extract(gone, good, extract.folder / "lost.mp4") == 1
    assert caplog.messages[-1] == f"2 of 3 matches failed: {gone}, {extract.folder / 'lost.mp4'}"
    assert len(caplog.messages) == 3
    assert extract.names() == all_files("good")


def test_a_network_that_cannot_be_read_stops_the_command(extract, monkeypatch, caplog):
    def refuse(checkpoint):
        raise CheckpointError("best.hdf5: received a network without the outputs")

    monkeypatch.setattr(inference, "load_network", refuse)
    assert extract(extract.match("first"), extract.match("second")) == 1
    assert caplog.messages == ["best.hdf5: received a network without the outputs"]


def test_an_output_folder_that_is_a_file_is_one_line(extract, caplog):
    extract.out.write_text("a file")
    assert extract(extract.match()) == 1
    (message,) = caplog.messages
    assert "no files can be written into this folder (Not a directory)" in message


@pytest.mark.parametrize("arguments", [[], ["--debug"]])
def test_debug_shows_where_an_error_comes_from(extract, caplog, arguments):
    assert extract(extract.folder / "gone.mp4", *arguments) == 1
    assert extract(extract.match(), *arguments, ckpt=extract.folder / "gone.hdf5") == 1
    assert len(caplog.records) == 2
    assert all(bool(record.exc_info) == bool(arguments) for record in caplog.records)
