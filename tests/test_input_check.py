"""What `data_converter.py --check` prints, with and without `--decode`: cells, errors, warnings, the exit status."""

import re
import subprocess

import av
import imageio_ffmpeg
import numpy as np
import pytest
from clips import tone, write_clip

import data_converter
from videosummarizer import media, problems
from videosummarizer.dataset import conversion, input_check
from videosummarizer.dataset.metadata import DataConfig
from videosummarizer.worker_processes import WorkerPool

SETTINGS = ["0.8", "2.5", "40", "16", "8000", "0"]


def info_of(times_sec, duration_sec, **more):
    """A VideoInfo by hand."""
    values = {"stated_duration_sec": duration_sec, "frame_rate_fps": 29.966, "width_px": 64, "height_px": 48}
    values |= {"codec": "h264", "audio": "aac stereo 48000 Hz", "random_access_points": np.empty((0, 2), np.int64)}
    return media.VideoInfo(duration_sec, frame_times_sec=np.array(times_sec, np.float64), **values | more)


@pytest.fixture
def check(tmp_path, monkeypatch):
    """A function that checks a match of the given VideoInfo and lines of labels."""

    def check(info, labels, decode=False, damaged_sec=()):
        asked = []
        monkeypatch.setattr(media, "probe", lambda path, track: info)
        monkeypatch.setattr(problems, "find_damage", lambda path, info: asked.append(path) or set(damaged_sec))
        label_path = tmp_path / "match.txt"
        label_path.write_text(labels)
        result = input_check.check_match("match", tmp_path / "match.mp4", label_path, decode)
        assert asked == ([tmp_path / "match.mp4"] if decode else [])
        return result

    return check


def test_the_cells_of_a_match(check):
    result = check(info_of(np.arange(40000) / 10, 3999.999), "00:10:00,00:12:00\n2000.5,2100.5\n00:11:50,00:12:10\n")
    assert result.cells == [
        "match",
        "01:06:39",
        "29.97 constant",
        "64x48",
        "h264",
        "aac stereo 48000 Hz",
        "2",  # 600 to 730 s and 2000.5 to 2100.5 s
        "5.8%",  # 230 of 4000 s
    ]
    assert result.errors == []
    assert [warning.split(", ", 1)[1] for warning in result.warnings] == [
        "line 3: the section begins before the one above it: sorted"
    ]


@pytest.mark.parametrize(
    ("times_sec", "word"),
    [
        ([0], "constant"),
        ([0, 0.5], "constant"),
        ([0, 0.033, 0.067, 0.1], "constant"),  # whole milliseconds of 30 frames a second
        ([0, 0.033, 0.0679], "constant"),  # 1.9 ms of jitter
        ([0, 0.033, 0.0681], "variable"),  # 2.1 ms
        ([0, 0.033, 0.066, 0.132], "variable"),
        ([0, 0.066, 0.099, 0.132], "variable"),
    ],
)
def test_frame_rates_are_constant_up_to_two_milliseconds(check, times_sec, word):
    assert check(info_of(times_sec, 1), "").cells[2] == f"29.97 {word}"


def test_a_match_without_sound_and_highlights(check, tmp_path):
    result = check(info_of([0, 0.5], 1, audio=None), "")
    assert result.cells[5:] == ["none", "0", "0.0%"]
    assert result.errors == []
    assert result.warnings == [f"{tmp_path / 'match.mp4'}: the video has no audio track: converted with silence"]


def test_all_errors_of_a_label_file_are_listed_and_its_cells_stay_open(check, tmp_path):
    result = check(info_of([0, 0.5], 1), "ten,20\n0,1\n7,9\n5,4\n")
    assert [re.match(r".*(line \d): (received \S+ \S+ \S+)", error).groups() for error in result.errors] == [
        ("line 1", "received 'ten' as start"),
        ("line 4", "received a section from"),
        ("line 3", "received a section that"),
    ]
    assert all(isinstance(error, str) for error in result.errors)
    assert result.cells == ["match", "00:00:01", "29.97 constant", "64x48", "h264", "aac stereo 48000 Hz", "-", "-"]


def test_warnings_of_labels_and_video_follow_each_other(check, tmp_path):
    info = info_of([0, 0.5], 1, stated_duration_sec=9, audio=None)
    result = check(info, "0,5\n", decode=True, damaged_sec=[4, 0])
    label_path, video_path = tmp_path / "match.txt", tmp_path / "match.mp4"
    assert [warning[:90] for warning in result.warnings] == [
        warning[:90]
        for warning in (
            f"{label_path}, line 1: the section ends at frame 5, past the video's end (2 frames, 1.00 s): clipped",
            f"{video_path}: the video has no audio track: converted with silence",
            f"{video_path}: the video ends at 1.0 s of the 9.0 s that the header states",
            f"{video_path}: damaged at 0, 4 s: the last undamaged frame is repeated there",
        )
    ]


def test_a_missing_video_is_the_only_error_of_its_title(tmp_path):
    (tmp_path / "match.txt").write_text("ten,20\n")
    result = input_check.check_match("match", None, tmp_path / "match.txt", True)
    assert result.cells == ["match", "-", "-", "-", "-", "-", "-", "-"]
    assert result.errors == [f"{tmp_path / 'match.txt'} has no video: add it, or move the txt elsewhere"]
    assert result.warnings == []


def test_a_broken_video_and_its_label_files_errors_are_reported_together(tmp_path):
    (tmp_path / "match.mp4").write_bytes(b"no video")
    (tmp_path / "match.txt").write_text("ten,20\n0,9\nx,2\n")
    result = input_check.check_match("match", tmp_path / "match.mp4", tmp_path / "match.txt", True)
    assert result.cells == ["match", "-", "-", "-", "-", "-", "-", "-"]
    assert len(result.errors) == 3
    assert re.search(
        r"match\.mp4: cannot be read as a video .*: record or download it again, or move", result.errors[0]
    )
    assert "match.txt, line 1: received 'ten'" in result.errors[1]
    assert "match.txt, line 3: received 'x'" in result.errors[2]


def test_the_conversion_says_what_to_do_in_the_same_words(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", num_frames=30, audio=tone(440, 1))
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", clip, "-c", "copy"]
    key = ["-encryption_scheme", "cenc-aes-ctr", "-encryption_key", "0" * 32, "-encryption_kid", "1" * 32]
    subprocess.run([*command, *key, tmp_path / "encrypted.mp4"], check=True)
    subprocess.run([*command, "-vn", tmp_path / "sound.mp4"], check=True)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    for title, reason in (
        ("encrypted", "received encrypted video, .*: decrypt it, record it without"),
        ("sound", "received a file without a video stream, expected one: record or download it again"),
        ("broken", r"cannot be read as a video \(.*\): record or download it again"),
    ):
        video_path, label_path = tmp_path / f"{title}.mp4", tmp_path / f"{title}.txt"
        label_path.write_text("0,9\n")
        (error,) = input_check.check_match(title, video_path, label_path, False).errors
        assert re.fullmatch(rf"{video_path}: {reason}, or move it elsewhere", error)
        config = DataConfig(1, 2, 16, 16, 8000, False)
        assert conversion.convert_match(video_path, config, tmp_path / "out", 1).error == error
        if title == "broken":
            assert conversion.probe_match(video_path).error == error


def test_of_many_errors_in_a_label_file_the_first_20_are_printed(check, tmp_path):
    result = check(info_of([0, 1], 2), "x,2\n" * 100)
    assert result.errors[19].startswith(f"{tmp_path / 'match.txt'}, line 20: received ")
    assert result.errors[20:] == [f"{tmp_path / 'match.txt'}: and 80 more like these"]


def test_a_label_file_that_is_no_text_is_an_error(check, tmp_path, monkeypatch):
    monkeypatch.setattr(media, "probe", lambda path, track: info_of([0, 0.5], 1))
    (tmp_path / "match.txt").write_bytes(b"\xff\xfe1\x00")
    result = input_check.check_match("match", tmp_path / "match.mp4", tmp_path / "match.txt", False)
    assert len(result.errors) == 1
    assert "match.txt: received bytes that are not UTF-8 text" in result.errors[0]
    (tmp_path / "match.txt").unlink()
    (tmp_path / "match.txt").mkdir()
    result = input_check.check_match("match", tmp_path / "match.mp4", tmp_path / "match.txt", False)
    assert len(result.errors) == 1
    assert "match.txt" in result.errors[0]


def test_the_table_and_the_messages_below_it(tmp_path, monkeypatch, capsys):
    def check_match(title, video_path, label_path, decode, track):
        assert (decode, track) == (True, "mix")
        cells = [title, "1", "22", "333", "4", "", "6", "77" if title == "b" else "-"]
        has_both = video_path is not None and label_path is not None
        errors = [] if has_both else [f"{title} lacks a file", f"{title} is no match"]
        return input_check.MatchCheck(cells, errors, [f"{title} is short"], ["two tracks"] if title == "b" else [])

    monkeypatch.setattr(input_check, "check_match", check_match)
    videos = {title: tmp_path / f"{title}.mp4" for title in ("long title", "b")}
    labels = {title: tmp_path / f"{title}.txt" for title in ("a", "b")}
    refused = {"\udcb0": "a name is refused"}
    assert input_check.check_matches(videos, labels, refused, True, WorkerPool(1), "mix") == 1
    assert capsys.readouterr().out.splitlines() == [
        "title       length  frame rate  size  codec  audio  sections  highlight",
        "a           1       22          333   4             6         -",
        "b           1       22          333   4             6         77",
        "long title  1       22          333   4             6         -",
        r"\udcb0      -       -           -     -      -      -         -",
        "error: a lacks a file",
        "error: a is no match",
        "warning: a is short",
        "warning: b is short",
        "note: two tracks",
        "error: long title lacks a file",
        "error: long title is no match",
        "warning: long title is short",
        "error: a name is refused",
        "1 of 4 matches can be converted",
    ]
    assert input_check.check_matches({"b": videos["b"]}, {"b": labels["b"]}, {}, True, WorkerPool(1), "mix") == 0
    assert capsys.readouterr().out.endswith("\n1 of 1 matches can be converted\n")


def damage_frame(path, number):
    """Overwrite the packet of one frame of a clip, so that a decoder refuses it."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.pts is not None]
    (packet,) = (packet for packet in packets if round(packet.pts * packet.time_base * 30) == number)
    content = bytearray(path.read_bytes())
    content[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    path.write_bytes(content)


@pytest.fixture(scope="module")
def checked_dir(tmp_path_factory):
    """Two matches of 5 s of which one has a damaged frame at 2.07 s, in the middle of the file."""
    folder = tmp_path_factory.mktemp("result")
    for title in ("intact", "damaged"):
        write_clip(folder / f"{title}.mp4", num_frames=150, audio=tone(440, 5), options={"crf": "10", "g": "30"})
        (folder / f"{title}.txt").write_text("30,90\n")
    damage_frame(folder / "damaged.mp4", 62)
    return folder


@pytest.mark.parametrize("flags", [["--check"], ["--check", "--decode"]])
def test_decoding_finds_the_damage_in_the_middle_that_check_alone_does_not(checked_dir, tmp_path, capsys, flags):
    out = tmp_path / "out"
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in checked_dir.iterdir()}
    assert data_converter.main([str(checked_dir), *SETTINGS, str(out), *flags]) == 0
    lines = capsys.readouterr().out.splitlines()
    cells = ["00:00:05", "30.00 constant", "160x64", "h264", "aac mono 44100 Hz", "1", "40.0%"]
    assert [re.split("  +", line) for line in lines[1:3]] == [["damaged", *cells], ["intact", *cells]]
    warning = f"warning: {checked_dir / 'damaged.mp4'}: damaged at 2 s: the last undamaged frame is repeated there"
    assert lines[3:] == ([warning] if "--decode" in flags else []) + ["2 of 2 matches can be converted"]
    assert not out.exists()
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in checked_dir.iterdir()} == before


def test_check_names_a_folder_that_a_conversion_would_refuse_and_writes_nothing(
    checked_dir, tmp_path, monkeypatch, capsys, caplog
):
    out = tmp_path / "out"
    out.mkdir()
    (out / "diary.txt").touch()
    monkeypatch.setattr(data_converter, "convert_matches", None)
    assert data_converter.main([str(checked_dir), *SETTINGS, str(out), "--check", "--overwrite"]) == 1
    (checked,) = caplog.messages
    assert checked.startswith(f"{out}: the folder contains files that are not part of a dataset (diary.txt)")
    assert capsys.readouterr().out.endswith("2 of 2 matches can be converted\n")
    assert data_converter.main([str(checked_dir), *SETTINGS, str(out), "--overwrite"]) == 1
    assert caplog.messages == [checked, checked]
    assert [path.name for path in out.iterdir()] == ["diary.txt"]


def test_a_folder_that_does_not_exist_cannot_be_checked(tmp_path, caplog):
    assert data_converter.main([str(tmp_path / "in"), *SETTINGS, "--check"]) == 1
    assert "in: no such folder" in caplog.text
