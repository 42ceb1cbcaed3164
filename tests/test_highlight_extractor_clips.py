"""The extractor with --clips, and with a folder of checkpoints."""

import numpy as np
import pytest
from clips import frames_in
from extractor import all_files
from test_highlight_extractor import contents

from videosummarizer import media
from videosummarizer.extraction import clip_files, reel

# The first section has steps of 0.9, 0.8765434 and 0.4999996, the second has 0.7 and 0.6 (0.15 s of it).
CLIPS = {"01_0.75_00-00-00.mp4": [*range(15, 38)], "02_0.66_00-00-02.mp4": [*range(60, 72)]}


def test_each_section_becomes_a_clip_with_rank_score_and_time(extract):
    assert extract(extract.match(), "--clips", "--reel_height", "30") == 0
    clips_dir = extract.out / "match_clips"
    assert extract.names() == {*all_files("match"), "match_clips"}
    assert {path.name: frames_in(path) for path in sorted(clips_dir.iterdir())} == CLIPS
    info = media.probe(clips_dir / "01_0.75_00-00-00.mp4")
    assert (info.height_px, info.audio_index) == (30, 1)
    assert info.duration_sec == pytest.approx(23 / 30, abs=1e-3)


def test_clips_are_ranked_by_score_and_without_scores_numbered_in_time():
    starts_sec = np.array([3.9999999, 751.2, 36_000.0])
    assert clip_files.name_clips(starts_sec, np.array([0.5, 0.926, 0.5])) == [
        "02_0.50_00-00-04.mp4",
        "01_0.93_00-12-31.mp4",
        "03_0.50_10-00-00.mp4",
    ]
    assert clip_files.name_clips(starts_sec, None) == ["01_00-00-04.mp4", "02_00-12-31.mp4", "03_10-00-00.mp4"]
    scores = np.array([0.3349999996, 0.5, 0.5000000004])  # a report has six decimals
    assert clip_files.name_clips(starts_sec, scores) == clip_files.name_clips(starts_sec, np.round(scores, 6))
    names = clip_files.name_clips(np.arange(120.0), np.linspace(0, 1, 120))
    assert (names[0], names[-1]) == ("120_0.00_00-00-00.mp4", "001_1.00_00-01-59.mp4")
    assert all(clip_files.CLIP_NAME.fullmatch(name) for name in [*names, "01_00-00-04.mp4"])


def test_clips_of_a_label_file_have_no_score_in_their_names(extract):
    labels = extract.folder / "labels.txt"
    labels.write_text("40,45\n3,5\n")
    assert extract.cut(extract.match(), "--sections", labels, "--clips") == 0
    clips = {path.name: frames_in(path) for path in (extract.out / "match_clips").iterdir()}
    assert clips == {"01_00-00-00.mp4": [3, 4], "02_00-00-01.mp4": [*range(40, 45)]}


def test_clips_continue_after_an_interruption_and_come_to_a_finished_match_later(extract, monkeypatch, capsys, caplog):
    match, render_reel, rendered = extract.match(), reel.render_reel, []
    assert extract(match) == 0
    finished = {name: (extract.out / name).read_bytes() for name in extract.names()}

    def fail_at_the_second(*arguments):
        rendered.append(arguments[3].name)
        if len(rendered) == 2:
            raise reel.ReelError("the disk is full")
        render_reel(*arguments)

    monkeypatch.setattr(reel, "render_reel", fail_at_the_second)
    assert extract(match, "--clips") == 1
    assert caplog.messages == ["1 of 2 clips are not written: the disk is full"]
    assert [path.name for path in (extract.out / "match_clips").iterdir()] == ["01_0.75_00-00-00.mp4"]
    assert extract(match, "--clips") == 0
    assert rendered == ["01_0.75_00-00-00.mp4", "02_0.66_00-00-02.mp4", "02_0.66_00-00-02.mp4"]
    clips = contents(extract.out / "match_clips")
    assert clips.keys() == CLIPS.keys()
    assert {name: (extract.out / name).read_bytes() for name in finished} == finished
    capsys.readouterr()
    for arguments in (["--clips"], []):
        assert extract(match, *arguments) == 0
        assert capsys.readouterr().out == "match: finished already and kept\n"
    (extract.out / "match_clips" / "01_0.75_00-00-00.mp4").unlink()
    assert extract(match, "--clips") == 0
    assert contents(extract.out / "match_clips").keys() == CLIPS.keys()
    assert extract.scored == ["match"]


def test_a_clip_that_fails_does_not_cost_those_after_it(extract, monkeypatch, caplog):
    render_reel = reel.render_reel

    def fail_at_the_first(*arguments):
        if arguments[3].name.startswith("01"):
            raise ValueError("of a library")
        render_reel(*arguments)

    monkeypatch.setattr(reel, "render_reel", fail_at_the_first)
    assert extract(extract.match(), "--clips") == 1
    clips_dir = extract.out / "match_clips"
    assert [path.name for path in clips_dir.iterdir()] == ["02_0.66_00-00-02.mp4"]
    (message,) = caplog.messages
    assert message.startswith(
        f"1 of 2 clips are not written: {clips_dir}: cannot be written (ValueError: of a library)"
    )


def test_overwriting_replaces_the_clips_and_nothing_else_in_their_folder(extract):
    match = extract.match()
    assert extract(match, "--clips") == 0
    note = extract.out / "match_clips" / "cut list.txt"
    note.write_text("mine")
    assert extract(match, "--clips", "--threshold", "0.876544", "--overwrite") == 0
    assert note.read_text() == "mine"
    note.unlink()
    (clip,) = (extract.out / "match_clips").iterdir()
    assert frames_in(clip) == [*range(15, 23)]
    assert extract(match, "--threshold", "1", "--overwrite") == 0
    assert not (extract.out / "match_clips").exists()


# ---- A folder of checkpoints


def test_of_a_folder_the_checkpoint_with_the_lowest_validation_loss_is_used(extract, capsys, caplog):
    extract.ckpt.unlink()
    folder = extract.folder / "checkpoints"
    folder.mkdir()
    for name, attributes in (
        ("ckpt-a-0001-0.9000.hdf5", {"val_loss": 0.35}),  # what it states counts more than its name
        ("ckpt-a-0002-0.3000.hdf5", {"val_loss": 0.42}),
        ("ckpt-b-0007-0.3900.hdf5", {}),
        ("ckpt-b-0009-nan.hdf5", {"val_loss": float("nan")}),
        (".ckpt-c-0001-0.1000.hdf5", {"val_loss": 0.1}),
    ):
        extract.write_checkpoint(f"checkpoints/{name}", **attributes)
    (folder / "ckpt-d-0001-0.0100.hdf5").write_bytes(b"half a file")
    (folder / "history.csv").write_text("epoch\n")
    match = extract.match()
    assert extract(match, ckpt=folder) == 0
    (warning,) = caplog.messages
    assert warning.startswith(f"{folder / 'ckpt-d-0001-0.0100.hdf5'}: cannot be read as a checkpoint (")
    assert warning.endswith(". It is left out")
    first_line = capsys.readouterr().out.splitlines()[0]
    best = folder / "ckpt-a-0001-0.9000.hdf5"
    assert first_line == f"{best}: of 3 checkpoints the one with the lowest validation loss (0.3500)"
    assert extract.report()["checkpoint"] == best.name
    assert extract(match, ckpt=best) == 0  # the same checkpoint by name: finished
    assert extract.scored == ["match"]


def test_a_folder_without_a_checkpoint_is_named(extract, caplog):
    (extract.folder / "empty").mkdir()
    assert extract(extract.match(), ckpt=extract.folder / "empty") == 1
    assert caplog.messages == [
        f"{extract.folder / 'empty'}: received a folder without a checkpoint whose validation loss is known, expected "
        "one with a .hdf5 file that main.py saved: give the file"
    ]


# ---- A length that is longer than the match


def test_a_length_longer_than_the_match_gives_a_warning(extract, caplog):
    match = extract.match()
    assert extract(match, "--length", "2:00") == 0
    assert caplog.messages == [f"{match}: --length 00:02:00 is longer than the match (00:00:02): all of it is selected"]
    assert frames_in(extract.out / "match_highlights.mp4") == [*range(72)]
    assert extract(match, "--length", "2.4", "--overwrite") == 0
    assert len(caplog.messages) == 1
