"""Data leakage: the same match, or games of one series, in different subsets."""

import re
import shutil
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from test_data_loader import write_dataset

import main as trainer
from data_converter import main
from data_loader import DataLoader
from videosummarizer.dataset import audit

RAW = Path(__file__).resolve().parent.parent / "data" / "raw"


def encode_again(source, target):
    """Make a copy with another size, bit rate and frame rate, with mono audio at half the level."""
    video_options = ["-vf", "scale=160:96", "-r", "25", "-crf", "32", "-preset", "ultrafast"]
    audio_options = ["-ac", "1", "-ar", "22050", "-b:a", "48k", "-af", "volume=0.5"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", source, *video_options, *audio_options, target]
    subprocess.run([str(part) for part in command], check=True)


@pytest.fixture(scope="module", params=["0", "1"], ids=["waveform", "mfcc"])
def leaky_dataset(request, tmp_path_factory):
    """Convert the 14 sample matches, one of them also under another title, and a re-encoded copy of another one."""
    folder, out = tmp_path_factory.mktemp("leaky"), tmp_path_factory.mktemp("out") / "dataset"
    for path in RAW.glob("*.[mt][px][4t]"):
        shutil.copy(path, folder)
    encode_again(RAW / "pit_04.mp4", folder / "again.mp4")
    shutil.copy(RAW / "arena_02.mp4", folder / "same.mp4")
    for title in ("again", "same"):
        (folder / f"{title}.txt").touch()
    command = [str(folder), "3", "2", "32", "32", "8000", request.param, str(out), "--workers", "1"]
    assert main(command) == 0
    return out


def test_copies_are_found_and_nothing_else(leaky_dataset, monkeypatch):
    # Only the copies are in one subset, so that each is compared with every match.
    monkeypatch.setattr(
        "data_loader.assign_subset", lambda title, *_: "valid" if title in ("again", "same") else "train"
    )
    warnings = audit.find_leaks(DataLoader(leaky_dataset))
    assert [re.sub(r" (have|were) .*", "", line) for line in warnings[:-1]] == [
        "again (valid) and pit_04 (train)",
        "arena_02 (train) and same (valid)",
    ]
    assert warnings[-1].startswith("Scores on matches that were trained on are too good: convert each match once")


def test_the_sample_matches_are_all_different(leaky_dataset):
    loader = DataLoader(leaky_dataset)
    titles = sorted({file.title for files in loader.segment_files.values() for file in files} - {"again", "same"})
    matches = {title: [] for title in titles}
    for files in loader.segment_files.values():
        for file in files:
            if file.title in matches:
                matches[file.title].append(file)
    signatures = [audit.signature(loader, files) for files in matches.values()]
    for modality in ("video", "audio"):
        num_similar, num_compared = audit.count_similar([match[modality] for match in signatures])
        pairs = ~np.eye(len(titles), dtype=bool)
        assert num_compared[pairs].min() >= 6
        assert (num_similar[pairs] / num_compared[pairs]).max() < audit.MIN_SIMILAR_RATIO / 2


def test_the_same_file_is_recognised_by_size_and_length_only():
    videos = [
        {"title": title, "source": f"{title}.mp4", "source_files": {f"{title}.mp4": [size, 1]}, "duration": duration}
        for title, size, duration in (("a", 9, 60.0), ("b", 9, 60.0), ("c", 9, 61.0), ("d", 8, 60.0), ("e", 9, 60.0))
    ]
    subset_of = {"a": "train", "b": "test", "c": "test", "d": "test", "e": "test"}
    assert list(audit.same_files({"videos": videos}, subset_of)) == [("a", "b")]
    assert audit.same_files({"segment_counts": {}}, subset_of) == {}
    odd = [{"source_files": None}, {"source_files": []}, {"source_files": {"x": []}}, {"source": []}, {"duration": []}]
    videos = [video | (odd[index] if index < len(odd) else {}) for index, video in enumerate(videos)]
    assert audit.same_files({"videos": videos}, subset_of) == {}


@pytest.mark.parametrize(
    ("pattern", "lines"),
    [
        ("^[a-z]+", ["series 'final' is in 2 subsets: train: final_0, final_1; test: final_2"]),
        (r"_(\d)", ["series '1' is in 2 subsets: train: final_1; valid: semi_1"]),
        ("nothing", []),
    ],
)
def test_series_in_two_subsets_are_listed(pattern, lines):
    subset_of = {"final_0": "train", "final_1": "train", "final_2": "test", "semi_1": "valid"}
    assert audit.split_series(re.compile(pattern), subset_of) == lines


def test_few_lines_on_the_screen(tmp_path, caplog):
    titles = [f"game{number % 30:02d}_{number}" for number in range(300)]
    loader = DataLoader(write_dataset(tmp_path / "many", {title: [0] for title in titles}))
    warnings = audit.find_leaks(loader, re.compile("^game.."))
    assert len(warnings) == 7
    assert re.fullmatch(r"series 'game00' is in \d subsets: train: game00_\d+, .* and \d more; .*", warnings[0])
    assert warnings[5] == "... and 25 more series"
    assert warnings[6].startswith("Scores on games of a series that was trained on may be too good")


def test_damaged_segments_are_left_to_training(tmp_path):
    dataset = write_dataset(tmp_path / "damaged", {"match_00": [0, 1], "match_07": [0, 1]})
    (dataset / "match_00" / "seg_00000_0.pkl").write_bytes(b"junk")
    assert audit.find_leaks(DataLoader(dataset)) == []


def test_an_invalid_pattern_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as exit_info:
        trainer.parse_args(["--group_by", "("])
    assert exit_info.value.code == 2
    assert "argument --group_by: received '(', expected a regular expression" in capsys.readouterr().err


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Return a function that runs main.py on a small dataset and stops where training would start."""
    labels_of = {f"match_{number:02d}": [0, 1] for number in (0, 1, 7, 8)}  # two train, one valid, one test
    dataset = write_dataset(tmp_path / "dataset", labels_of)
    began = []
    monkeypatch.setattr(trainer, "train", lambda args, loader: began.append(loader))

    def train(*flags):
        status = trainer.main(["--data_dir", str(dataset), "--ckpt_dir", str(tmp_path / "ckpt"), *flags])
        return status, len(began)

    train.dataset = dataset
    return train


def test_group_by_of_the_command_warns_of_series_before_training(train, caplog):
    assert train() == (0, 1)
    assert caplog.messages == []
    assert train("--group_by", "_0(0|7)") == (0, 2)
    assert caplog.messages == []  # each a series of one match
    assert train("--group_by", "_0[07]|atch") == (0, 3)
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert caplog.messages[0] == (
        "series 'atch' is in 3 subsets: train: match_00, match_01; valid: match_07; test: match_08"
    )


def test_check_data_of_the_command_stops_before_training(train, caplog):
    assert train("--check_data") == (0, 1)
    assert caplog.messages == []
    (train.dataset / "match_08" / "seg_00001_1.pkl").write_bytes(b"junk")
    assert train("--check_data") == (1, 1)
    assert "match_08/seg_00001_1.pkl: " in caplog.messages[0]
    assert caplog.messages[1].endswith("dataset: 1 of 8 segments cannot be used")
