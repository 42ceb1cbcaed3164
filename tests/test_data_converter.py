"""The converter's command: its arguments, its errors, and the dataset it writes."""

import itertools
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from clips import read_number, tone, write_clip
from dataset_files import contents

from data_converter import main
from videosummarizer import media
from videosummarizer.dataset import storage
from videosummarizer.dataset.metadata import SCHEMA_VERSION, read_metadata

ROOT = Path(__file__).resolve().parent.parent
SMALL = ["1", "2", "40", "16", "8000", "0"]  # segment length, frame rate, size, audio rate, waveform


def convert(matches_dir, output_dir, *more, settings=SMALL):
    return main([str(matches_dir), *settings, str(output_dir), "--workers", "1", *more])


def files_in(folder):
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def pickles_in(folder):
    return {name: content for name, content in files_in(folder).items() if name.endswith(".pkl")}


def visible_names(folder):
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def test_dataset_of_two_matches(matches_dir, tmp_path, capsys):
    output_dir = tmp_path / "new" / "dataset"
    assert convert(matches_dir, output_dir) == 0
    out, err = capsys.readouterr()
    assert "first: 4 segments, 2 highlights" in out
    assert "second: 4 segments, 0 highlights" in out
    assert "2 matches, 8 segments, 2 highlights" in out
    assert "8/8 s of video" in err
    labels = "0110"
    expected = {f"first/seg_{i:05d}_{label}.pkl" for i, label in enumerate(labels)}
    expected |= {f"second/seg_{i:05d}_0.pkl" for i in range(4)} | {"metadata.json"}
    assert set(files_in(output_dir)) == expected
    segment = pickle.loads((output_dir / "first" / "seg_00002_1.pkl").read_bytes())
    assert [read_number(frame) for frame in segment["video"]] == [60, 75]
    assert (segment["title"], segment["index"], segment["label"]) == ("first", 2, 1)
    assert (segment["start_sec"], segment["end_sec"], segment["total_duration"]) == (2, 3, 4)
    assert segment["audio"].shape == (8000,)
    metadata = json.loads((output_dir / "metadata.json").read_text())
    assert metadata["schema_version"] == SCHEMA_VERSION
    assert metadata["config"] == {
        "segment_length": 1.0,
        "video_sample_rate": 2.0,
        "video_width": 40,
        "video_height": 16,
        "audio_sample_rate": 8000,
        "apply_mfcc": False,
    }
    assert metadata["data_shape"] == {"video": [2, 16, 40, 3], "audio": [8000]}
    assert metadata["total_segment_count"] == 8
    stat = (matches_dir / "first.txt").stat()
    assert metadata["videos"][0].pop("source_files")["first.txt"] == [stat.st_size, stat.st_mtime_ns]
    assert metadata["missing"] == []
    assert metadata["videos"][0] == {
        "title": "first",
        "source": "first.mp4",
        "duration": 4.0,
        "frame_rate": 30.0,
        "sections": [[1.0, 3.0]],
        "segment_count": 4,
        "highlight_count": 2,
    }


def test_the_same_input_gives_the_same_pickles_with_any_number_of_workers(matches_dir, tmp_path):
    for name, workers in (("one", "1"), ("two", "2")):
        assert main([str(matches_dir), *SMALL, str(tmp_path / name), "--workers", workers]) == 0
    assert pickles_in(tmp_path / "one") == pickles_in(tmp_path / "two")


@pytest.mark.parametrize(
    ("example", "name", "num_frames", "audio_shape", "num_segments"),
    [
        ("data/raw 5 3 64 64 11025 0", "dataset_sl5_vsr3_vw64_vh64_asr11025", 15, (55125,), 12),
        ("data/raw 3 6 128 128 22050 1 data/dataset1", "data/dataset1", 18, (40, 130), 20),
    ],
)
def test_the_users_examples_work_as_written(tmp_path, example, name, num_frames, audio_shape, num_segments):
    (tmp_path / "data" / "raw").mkdir(parents=True)
    for title in ("arena_01", "pit_04"):
        for suffix in (".mp4", ".txt"):
            shutil.copy(ROOT / "data" / "raw" / (title + suffix), tmp_path / "data" / "raw")
    command = [sys.executable, str(ROOT / "data_converter.py"), *example.split()]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert f"{name}: 2 matches" in result.stdout
    paths = sorted((tmp_path / name / "arena_01").iterdir())
    assert len(paths) == num_segments
    segment = pickle.loads(paths[0].read_bytes())
    assert segment["video"].shape[0] == num_frames
    assert segment["audio"].shape == audio_shape
    assert segment["video"].std() > 10
    metadata = read_metadata(tmp_path / name)
    assert metadata["data_shape"]["audio"] == audio_shape


def test_default_output_folder_is_named_after_the_settings(matches_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([str(matches_dir), "2.50", "2.0", "8", "8", "4000", "1", "--workers", "1"]) == 0
    assert (tmp_path / "dataset_sl2.5_vsr2_vw8_vh8_asr4000_mfcc" / "metadata.json").exists()


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, "0", r"argument segment_length\(sec\): received '0', expected a number above 0"),
        (0, "five", r"argument segment_length\(sec\): received 'five'"),
        (1, "-3", r"argument video_sample_rate\(fps\): received '-3', expected a number above 0"),
        (1, "nan", r"argument video_sample_rate\(fps\): received 'nan'"),
        (0, "1e999", r"argument segment_length\(sec\): received '1e999', expected a number above 0 and below 1e9"),
        (1, "1e300", r"argument video_sample_rate\(fps\): received '1e300', expected a number above 0 and below 1e9"),
        (2, "900000000", r"received settings that make segments of \d+ GB, expected segments of at most 1 GB"),
        (2, "0", r"argument video_width\(px\): received '0', expected a whole number above 0"),
        (3, "1.5", r"argument video_height\(px\): received '1.5', expected a whole number above 0"),
        (4, "-1", r"argument audio_sample_rate\(hz\): received '-1', expected a whole number above 0"),
        (5, "2", r"argument apply_mfcc\(0 or 1\): received '2', expected 0 \(waveform\) or 1 \(MFCC\)"),
        (5, "True", r"argument apply_mfcc\(0 or 1\): received 'True'"),
        (1, "0.5", r"argument video_sample_rate\(fps\): received 0\.5 .* segment has no frame: expected at least 1"),
    ],
)
def test_wrong_values_are_refused_by_name(tmp_path, capsys, position, value, message):
    settings = SMALL.copy()
    settings[position] = value
    with pytest.raises(SystemExit) as exit_info:
        main([str(tmp_path), *settings])
    assert exit_info.value.code == 2
    assert_matches(message, capsys.readouterr().err)


def assert_matches(pattern, text):
    assert re.search(pattern, text), text


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, r"in: no such folder, expected one with videos"),
        ([], r"in: received a folder without a video, expected videos and a txt next to each"),
        (["a.txt"], r"received a folder without a video"),
        (["a.mp4", "d.txt"], r"in/a\.mp4 has no a\.txt: add it [^\n]*\n[^\n]*in/d\.txt has no video: add it"),
    ],
)
def test_input_folders_that_cannot_be_converted(tmp_path, caplog, files, message):
    folder = tmp_path / "in"
    if files is not None:
        folder.mkdir()
        for name in files:
            (folder / name).touch()
    assert convert(folder, tmp_path / "out") == 1
    assert_matches(message, caplog.text)
    assert not (tmp_path / "out").exists()


def test_one_bad_video_among_many_costs_that_video(matches_dir, tmp_path, caplog, capsys):
    (matches_dir / "broken.mp4").write_bytes((matches_dir / "first.mp4").read_bytes()[:500])
    (matches_dir / "broken.txt").touch()
    write_clip(matches_dir / "mislabelled.mp4", num_frames=30)
    (matches_dir / "mislabelled.txt").write_text("10,20\n40,50\n")
    write_clip(matches_dir / "typo.mp4", num_frames=30)
    (matches_dir / "typo.txt").write_text("ten,20\n")
    assert convert(matches_dir, tmp_path / "out") == 1
    assert_matches(r"broken\.mp4: cannot be read as a video", caplog.text)
    assert_matches(r"mislabelled\.txt, line 2: received a section that begins at frame 40", caplog.text)
    assert_matches(r"typo\.txt, line 1: received 'ten' as start frame number", caplog.text)
    assert_matches(r"3 of 5 matches are not in the dataset: broken, mislabelled, typo", caplog.text)
    assert "Traceback" not in caplog.text + capsys.readouterr().err
    assert visible_names(tmp_path / "out") == {"first", "second", "metadata.json"}
    assert len(json.loads((tmp_path / "out" / "metadata.json").read_text())["videos"]) == 2


def test_a_missing_txt_or_video_costs_only_its_match_and_keeps_what_was_converted(
    matches_dir, tmp_path, caplog, capsys
):
    out = tmp_path / "out"
    assert convert(matches_dir, out) == 0
    before, _ = contents(out)
    shutil.copy(matches_dir / "first.mp4", matches_dir / "third.mp4")
    (matches_dir / "fourth.txt").write_text("30,60\n")
    (matches_dir / "second.txt").rename(tmp_path / "second.txt")
    (matches_dir / "first.txt").write_text("60,90\n")  # is converted again
    assert convert(matches_dir, out) == 1
    errors = caplog.messages
    assert [re.sub(r".*/(\w+\.\w+ has no [\w.]+):.*", r"\1", line) for line in errors] == [
        "fourth.txt has no video",
        "second.mp4 has no second.txt",
        "third.mp4 has no third.txt",
        "2 of 4 matches are not in the dataset: fourth, third",
    ]
    after, _ = contents(out)
    kept = [name for name in before if name.startswith("second")]
    assert len(kept) == 4
    assert all(after[name] == before[name] for name in kept)
    assert [video["title"] for video in read_metadata(out)["videos"]] == ["first", "second"]
    assert read_metadata(out)["missing"] == ["fourth", "third"]
    assert [path.name[-5] for path in sorted(out.glob("first/*.pkl"))] == ["0", "0", "1", "0"]
    capsys.readouterr()
    assert convert(matches_dir, out, "--check") == 1
    checked = [
        line.removeprefix("error: ") for line in capsys.readouterr().out.splitlines() if line.startswith("error")
    ]
    assert checked == [errors[0], errors[1], errors[2]]


def test_debug_shows_where_an_error_comes_from(matches_dir, tmp_path, caplog):
    (matches_dir / "first.mp4").write_bytes(b"no video")
    assert convert(matches_dir, tmp_path / "out", "--debug") == 1
    assert "Traceback" in caplog.text


def test_a_match_without_sound_is_converted_with_silence_and_a_warning(tmp_path, caplog):
    folder = tmp_path / "in"
    folder.mkdir()
    write_clip(folder / "mute.mp4", num_frames=45)
    (folder / "mute.txt").touch()
    assert convert(folder, tmp_path / "out") == 0
    assert_matches(r"WARNING.*mute\.mp4: the video has no audio track: converted with silence", caplog.text)
    segment = pickle.loads((tmp_path / "out" / "mute" / "seg_00001_0.pkl").read_bytes())
    assert not segment["audio"].any()
    assert read_number(segment["video"][0]) == 30


def test_label_warnings_reach_the_user(matches_dir, tmp_path, caplog):
    (matches_dir / "first.txt").write_text("30,9999\n")
    assert convert(matches_dir, tmp_path / "out") == 0
    assert_matches(r"first\.txt, line 1: the section ends at frame 9999, past the video's end", caplog.text)


def test_a_dataset_with_other_settings_is_refused_unless_overwrite(matches_dir, tmp_path, caplog):
    out = tmp_path / "out"
    assert convert(matches_dir, out) == 0
    before = files_in(out)
    assert convert(matches_dir, out, settings=["2", *SMALL[1:]]) == 1
    assert_matches(
        r"contains a dataset made with segment_length 1\.0, .* expected segment_length 2\.0, .*--overwrite", caplog.text
    )
    assert files_in(out) == before
    assert convert(matches_dir, out, "--overwrite", settings=["2", *SMALL[1:]]) == 0
    assert read_metadata(out)["config"]["segment_length"] == 2
    assert len(pickles_in(out)) == 4


def test_a_folder_that_holds_something_else_is_refused(matches_dir, tmp_path, caplog):
    out = tmp_path / "out"
    out.mkdir()
    (out / "diary.txt").touch()
    assert convert(matches_dir, out) == 1
    assert_matches(r"out: the folder contains files that are not part of a dataset \(diary\.txt\)", caplog.text)
    assert [path.name for path in out.iterdir()] == ["diary.txt"]


def test_overwrite_deletes_nothing_but_datasets(matches_dir, caplog):
    before = files_in(matches_dir)
    assert convert(matches_dir, matches_dir, "--overwrite") == 1
    assert_matches(
        r"contains files that are not part of a dataset \(first\.mp4, first\.txt.*--overwrite changes such a folder",
        caplog.text,
    )
    assert files_in(matches_dir) == before
    assert not (matches_dir / ".lock").exists()


def test_help_shows_the_arguments_as_written_and_both_examples(capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(["--help"])
    assert exit_info.value.code == 0
    text = capsys.readouterr().out
    for words in (
        "input_video_dir segment_length(sec) video_sample_rate(fps) video_width(px)",
        "video_height(px) audio_sample_rate(hz) apply_mfcc(0 or 1) [output_dataset_dir]",
        "python data_converter.py data/raw 5 3 64 64 11025 0",
        "python data_converter.py data/raw 3 6 128 128 22050 1 data/dataset1",
        "--workers",
        "--scheduler",
        "--overwrite",
        "--debug",
    ):
        assert words in text


@pytest.mark.parametrize(
    "statement", ["import data_converter", "import data_converter; data_converter.main(['--help'])"]
)
def test_importing_and_help_load_neither_tensorflow_nor_keras(statement):
    code = (
        f"import sys\ntry:\n    {statement}\nexcept SystemExit: pass\n"
        "print([name for name in ('tensorflow', 'keras', 'librosa') if name in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stderr.strip() == "[]"


def test_conversion_loads_neither_tensorflow_nor_keras(matches_dir, tmp_path):
    arguments = [str(matches_dir), "1", "2", "8", "8", "8000", "1", str(tmp_path / "out"), "--workers", "1"]
    code = (
        f"import sys, data_converter; assert data_converter.main({arguments!r}) == 0\n"
        "print('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "False"


def test_each_file_is_decoded_once_for_the_picture_and_once_for_the_sound(matches_dir, tmp_path, monkeypatch):
    decoded = []
    original = media.decode

    def decode(packets, *more):
        frames = original(packets, *more)
        if isinstance(packets, list):  # one packet, to find out whether its track decodes
            return frames
        first = next(frames)
        decoded.append(type(first).__name__)
        return itertools.chain([first], frames)

    monkeypatch.setattr(media, "decode", decode)
    assert convert(matches_dir, tmp_path / "out") == 0
    assert sorted(decoded) == ["AudioFrame", "AudioFrame", "VideoFrame", "VideoFrame"]


def test_a_failing_write_leaves_no_half_match(matches_dir, tmp_path, monkeypatch, caplog):
    original = storage.write_segment

    def write_segment(segment_dir, index, *arguments):
        if segment_dir.name == "first" and index == 2:
            raise OSError(28, "No space left on device", "seg")
        original(segment_dir, index, *arguments)

    monkeypatch.setattr(storage, "write_segment", write_segment)
    assert convert(matches_dir, tmp_path / "out") == 1
    assert_matches("No space left on device", caplog.text)
    assert visible_names(tmp_path / "out") == {"second", "metadata.json"}


def test_titles_with_spaces_and_signs(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    titles = ["결승전 1세트", "a b #1 100%", 'it\'s "it"', "-dash", "v1.0"]
    write_clip(folder / "x.mp4", num_frames=30, audio=tone(440, 1))
    for title in titles:
        shutil.copy(folder / "x.mp4", folder / f"{title}.mp4")
        (folder / f"{title}.txt").touch()
    os.remove(folder / "x.mp4")
    assert convert(folder, tmp_path / "out") == 0
    assert visible_names(tmp_path / "out") == {*titles, "metadata.json"}
    loaded = pickle.loads((tmp_path / "out" / "v1.0" / "seg_00000_0.pkl").read_bytes())
    assert np.abs(loaded["audio"]).max() == pytest.approx(1)


def test_check_lists_missing_counterparts_with_the_rest(matches_dir, tmp_path, capsys):
    shutil.copy(matches_dir / "first.mp4", matches_dir / "unlabelled.mp4")
    (matches_dir / "videoless.txt").write_text("30,60\n")
    shutil.copy(matches_dir / "first.mp4", matches_dir / "typo.mp4")
    (matches_dir / "typo.txt").write_text("30,60\nten,20\n")
    assert convert(matches_dir, tmp_path / "out", "--check") == 1
    out = capsys.readouterr().out
    rows = {row[0]: row[1:] for row in (re.split("  +", line) for line in out.splitlines()[1:6])}
    video = ["00:00:04", "30.00 constant", "160x64", "h264", "aac mono 44100 Hz"]
    assert rows == {
        "first": [*video, "1", "50.0%"],
        "second": [*video, "0", "0.0%"],
        "typo": [*video, "-", "-"],
        "unlabelled": [*video, "-", "-"],
        "videoless": ["-"] * 7,
    }
    assert f"error: {matches_dir / 'unlabelled.mp4'} has no unlabelled.txt: add it (an empty one is a match" in out
    assert f"error: {matches_dir / 'videoless.txt'} has no video: add it, or move the txt elsewhere" in out
    assert "typo.txt, line 2: received 'ten' as start frame number" in out
    assert out.endswith("2 of 5 matches can be converted\n")
    assert not (tmp_path / "out").exists()
