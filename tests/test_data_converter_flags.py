"""What each flag of data_converter.py changes, and the exit status of each ending."""

import json
import logging
import os
import re

import pytest
from clips import write_clip

import data_converter
from data_converter import main
from videosummarizer.argument_types import positive_number
from videosummarizer.dataset import conversion, output_folder
from videosummarizer.worker_processes import WorkerPool

SETTINGS = ["0.8", "2.5", "40", "16", "8000", "0"]


def convert(folder, out, *more):
    return main([str(folder), *SETTINGS, str(out), *more])


def metadata_of(out):
    return json.loads((out / "metadata.json").read_text())


def test_counts_of_unequal_matches_are_each_matchs_own(unequal_dir, tmp_path, capsys):
    out = tmp_path / "out"
    assert convert(unequal_dir, out, "--workers", "1") == 0
    metadata = metadata_of(out)
    assert [video["title"] for video in metadata["videos"]] == ["a_mid", "b_short", "c_long"]
    assert [video["segment_count"] for video in metadata["videos"]] == [4, 2, 9]  # 3.17 s, 1.33 s and 6.67 s by 0.8 s
    assert [video["highlight_count"] for video in metadata["videos"]] == [1, 2, 2]
    assert metadata["total_segment_count"] == 15
    assert [video["source"] for video in metadata["videos"]] == ["a_mid.mp4", "b_short.mp4", "c_long.mp4"]
    assert [video["duration"] for video in metadata["videos"]] == pytest.approx([95 / 30, 40 / 30, 200 / 30], abs=1e-6)
    sections = [section for video in metadata["videos"] for section in video["sections"]]
    expected = [[50 / 30, 70 / 30], [0, 40 / 30], [1.0, 2.5], [5.0, 5.2]]
    assert sections == [pytest.approx(section, abs=1e-6) for section in expected]
    labels = {
        title: "".join(path.stem[-1] for path in sorted((out / title).iterdir()))
        for title in ("a_mid", "b_short", "c_long")
    }
    assert labels == {"a_mid": "0010", "b_short": "11", "c_long": "011000000"}
    printed = capsys.readouterr().out
    assert "a_mid: 4 segments, 1 highlights\n" in printed
    assert "b_short: 2 segments, 2 highlights\n" in printed
    assert "c_long: 9 segments, 2 highlights\n" in printed
    assert printed.endswith(f"{out}: 3 matches, 15 segments, 5 highlights\n")
    assert "finished already" not in printed


def test_a_folder_of_broken_matches_alone_ends_with_1_and_no_dataset(tmp_path, caplog, capsys):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / "junk.mp4").write_bytes(b"no video")
    (folder / "junk.txt").touch()
    assert convert(folder, out) == 1
    assert [path.name for path in out.iterdir()] == [".lock"]
    assert "1 of 1 matches are not in the dataset: junk" in caplog.text
    assert f"{out}: 0 matches, 0 segments, 0 highlights" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (
            KeyboardInterrupt(),
            130,
            "Interrupted: run the same command again, it continues with the matches that",
        ),
        (
            OSError(28, "No space left on device"),
            1,
            "/out: No space left on device: free some space and run the same command again",
        ),
        (
            OSError(28, "No space left on device", "metadata.json"),
            1,
            "No space left on device: metadata.json: free some space and run the same command again",
        ),
        (OSError("no process: close others"), 1, "no process: close others"),
    ],
)
def test_a_run_that_ends_early_keeps_the_matches_that_are_finished(
    unequal_dir, tmp_path, monkeypatch, caplog, capsys, error, status, message
):
    def run(pool, function, calls):
        for number, arguments in enumerate(calls):
            if function is conversion.convert_match and number == 1:
                raise error
            yield arguments, function(*arguments)

    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(WorkerPool, "run", run)
        assert convert(unequal_dir, out) == status
    assert message in caplog.messages[-1]
    assert caplog.records[-1].exc_info in (None, False)
    assert [video["title"] for video in metadata_of(out)["videos"]] == ["c_long"]
    assert metadata_of(out)["missing"] == ["a_mid", "b_short"]
    assert sorted(path.name for path in out.iterdir()) == [".lock", "c_long", "metadata.json"]
    capsys.readouterr()
    before = {path: path.stat().st_mtime_ns for path in (out / "c_long").iterdir()}
    assert convert(unequal_dir, out, "--workers", "1") == 0
    assert f"{out}: 1 matches are finished already and are kept\n" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in (out / "c_long").iterdir()} == before
    assert metadata_of(out)["missing"] == []


@pytest.mark.parametrize(("flags", "is_kept"), [([], True), (["--overwrite"], False)])
def test_overwrite_converts_again_with_the_same_settings_too(tmp_path, pools, caplog, capsys, flags, is_kept):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for title in ("left", "stays"):
        write_clip(folder / f"{title}.mp4", num_frames=24)
        (folder / f"{title}.txt").touch()
    assert convert(folder, out) == 0
    (out / "stays" / "seg_00000_0.pkl").write_bytes(b"an old one")
    for suffix in (".mp4", ".txt"):
        (folder / f"left{suffix}").unlink()
    caplog.clear()
    capsys.readouterr()
    assert convert(folder, out, *flags) == 0
    assert ("2 matches are finished already" in capsys.readouterr().out) == is_kept
    assert ("left: no longer in" in caplog.text) == is_kept
    assert ((out / "stays" / "seg_00000_0.pkl").read_bytes() == b"an old one") == is_kept
    assert (out / "left").exists() == is_kept
    assert [video["title"] for video in metadata_of(out)["videos"]] == (["left"] * is_kept + ["stays"])


def test_a_match_that_is_broken_by_now_leaves_the_dataset(unequal_dir, tmp_path, pools, caplog, capsys):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for path in unequal_dir.iterdir():
        os.link(path, folder / path.name)
    assert convert(folder, out) == 0
    (folder / "c_long.mp4").unlink()
    (folder / "c_long.mp4").write_bytes(b"no video")
    capsys.readouterr()
    assert convert(folder, out) == 1
    assert not (out / "c_long").exists()
    assert metadata_of(out)["missing"] == ["c_long"]
    assert metadata_of(out)["total_segment_count"] == 6
    assert "1 of 3 matches are not in the dataset: c_long" in caplog.messages[-1]
    assert capsys.readouterr().out.splitlines() == [
        f"{out}: 2 matches are finished already and are kept",
        f"{out}: 2 matches, 6 segments, 3 highlights",
    ]


@pytest.mark.parametrize("flags", [[], ["--overwrite"]])
def test_a_second_converter_changes_nothing(tmp_path, pools, caplog, flags):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    write_clip(folder / "match.mp4", num_frames=24)
    (folder / "match.txt").touch()
    assert convert(folder, out) == 0
    (out / ".part" / "x").mkdir(parents=True)
    os.utime(folder / "match.mp4")  # which would be a reason to convert it again
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name != ".lock"}
    with output_folder.lock(out):
        assert convert(folder, out, *flags) == 1
    assert f"process {os.getpid()} on " in caplog.messages[-1]
    assert "is writing to this folder: wait until it has finished" in caplog.messages[-1]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name != ".lock"} == before
    assert convert(folder, out, *flags) == 0


@pytest.mark.parametrize(("flags", "is_shown"), [([], False), (["--debug"], True)])
def test_debug_alone_shows_tracebacks(tmp_path, caplog, flags, is_shown):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "junk.mp4").write_bytes(b"no video")
    (folder / "junk.txt").touch()
    assert convert(folder, tmp_path / "out", *flags) == 1
    assert ("Traceback" in caplog.text) == is_shown
    assert logging.getLogger("data_converter").level == (logging.DEBUG if is_shown else logging.INFO)
    caplog.clear()
    assert convert(tmp_path / "nowhere", tmp_path / "out", *flags) == 1
    assert "nowhere: no such folder" in caplog.text
    assert ("Traceback" in caplog.text) == is_shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--decode"], r"argument --decode: goes together with --check"),
        (["--workers", "0"], r"argument --workers: received '0', expected a whole number above 0"),
        (["--workers", "1.5"], r"argument --workers: received '1\.5', expected a whole number above 0"),
        (["--workers", "many"], r"argument --workers: received 'many', expected a whole number above 0"),
        (["surplus"], r"unrecognized arguments: surplus"),
    ],
)
def test_flags_that_are_wrong_usage_exit_with_2(tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit) as exit_info:
        convert(tmp_path, tmp_path / "out", *arguments)
    assert exit_info.value.code == 2
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["0.3", "3.3", "8", "8", "8000", "0"], r"segments of 0\.3 s, .* has no frame: expected at least 3\.33333"),
        (["inf", "3", "8", "8", "8000", "0"], r"segment_length\(sec\): received 'inf', expected a number above 0"),
        (["1e400", "3", "8", "8", "8000", "0"], r"segment_length\(sec\): received '1e400', expected a number above 0"),
        (["0.25", "8", "8", "8", "3", "0"], r"argument audio_sample_rate\(hz\): received 3 Hz for segments of 0\.25 s"),
    ],
)
def test_segments_without_a_frame_or_a_sample_are_refused(tmp_path, capsys, settings, message):
    with pytest.raises(SystemExit) as exit_info:
        main([str(tmp_path), *settings])
    assert exit_info.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def test_the_least_settings_that_are_accepted():
    args = data_converter.parse_args(["in", "0.25", "4", "1", "1", "4", "1"])
    assert vars(data_converter.config_of(args)) == {
        "segment_length": 0.25,
        "video_sample_rate": 4.0,
        "video_width": 1,
        "video_height": 1,
        "audio_sample_rate": 4,
        "apply_mfcc": True,
        "audio_track": None,
    }
    flags = {
        name: value for name, value in vars(args).items() if name in ("workers", "scheduler", "output_dataset_dir")
    }
    assert flags == {"workers": None, "scheduler": None, "output_dataset_dir": None}
    assert [args.check, args.decode, args.overwrite, args.debug] == [False] * 4
    assert positive_number(float)("1e-9") == 1e-9
    assert positive_number(int)("1") == 1
