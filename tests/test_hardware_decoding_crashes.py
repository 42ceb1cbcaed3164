"""A driver that ends the process that decodes costs no match: after a crash, software decodes."""

import logging
import os
import signal
from dataclasses import replace
from pathlib import Path

import fake_devices
import pytest
from calls_in_processes import end, end_on_device
from clips import write_two_matches
from dataset_files import contents
from edits import MATCH
from held_process import ROOT

import data_converter
import highlight_extractor
import label_finder
from videosummarizer import hardware_decoding
from videosummarizer.extraction import decoding_process
from videosummarizer.media import ProcessError
from videosummarizer.worker_processes import WorkerPool

REASON = "no device is used after a crash: its process was ended by "
# Python imports a module of this name when it starts, in every process that inherits PYTHONPATH.
SITE_CUSTOMIZE = """
import fake_devices
from videosummarizer import hardware_decoding

fake_devices.CrashingDevice.lost_sec = 7.0  # behind the pictures that are compared
hardware_decoding.Device = fake_devices.CrashingDevice
"""

pytestmark = pytest.mark.usefixtures("real_processes")


@pytest.fixture
def crashing_driver(tmp_path, monkeypatch):
    """Give a device to this process, and one whose driver crashes to those that it starts."""
    folder = tmp_path / "customize"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SITE_CUSTOMIZE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (folder, ROOT, ROOT / "tests"))))
    monkeypatch.setattr(hardware_decoding, "Device", fake_devices.EqualDevice)


@pytest.fixture(scope="module")
def matches_dir(tmp_path_factory):
    """Make two matches of 8 s."""
    return write_two_matches(tmp_path_factory.mktemp("matches"), 8)


def expect_messages(caplog, hwaccel, *paths):
    """Check that there is no error, and one message for each video that was decoded in software."""
    assert max(record.levelno for record in caplog.records) < logging.ERROR
    records = [record for record in caplog.records if "software" in record.message]
    level, place = (logging.DEBUG, "") if hwaccel == "auto" else (logging.WARNING, ", not on cuda")
    expected = [(level, f"{path}: decoded in software{place} ({REASON}SIGSEGV)") for path in paths]
    assert sorted((record.levelno, record.message) for record in records) == sorted(expected)


@pytest.mark.parametrize("hwaccel", ["auto", "cuda"])
def test_the_converter_decodes_in_software(matches_dir, tmp_path, crashing_driver, caplog, hwaccel):
    settings = ["0.5", "4", "16", "16", "4000", "0"]
    for name in ("none", hwaccel):
        flags = ["--workers", "1", "--hwaccel", name, "--debug"]
        assert data_converter.main([str(matches_dir), *settings, str(tmp_path / name), *flags]) == 0
    assert contents(tmp_path / hwaccel) == contents(tmp_path / "none")
    expect_messages(caplog, hwaccel, *matches_dir.glob("*.mp4"))


@pytest.mark.parametrize("hwaccel", ["auto", "cuda"])
def test_the_extractor_decodes_in_software(matches_dir, tmp_path, crashing_driver, caplog, hwaccel):
    paths = sorted(matches_dir.glob("*.mp4"))
    for name in ("none", hwaccel):
        flags = ["--output_dir", str(tmp_path / name), "--hwaccel", name, "--debug"]
        assert highlight_extractor.main([*map(str, paths), *flags]) == 0
    for name in ("first_scores.csv", "second_scores.csv", "first.txt", "second.txt"):
        assert (tmp_path / hwaccel / name).read_bytes() == (tmp_path / "none" / name).read_bytes()
    expect_messages(caplog, hwaccel, *paths)


def test_the_label_finder_decodes_in_software(tmp_path, plain_edit, crashing_driver, caplog):
    folders = tmp_path / "matches", tmp_path / "highlights"
    for folder, path in zip(folders, (MATCH, plain_edit), strict=True):
        folder.mkdir()
        (folder / "city_03.mp4").symlink_to(path)
    for name in ("none", "cuda"):
        assert label_finder.main([*map(str, folders), str(tmp_path / name), "--workers", "1", "--hwaccel", name]) == 0
    texts = [(tmp_path / name / "city_03.txt").read_text() for name in ("none", "cuda")]
    assert texts[0] == texts[1] != ""
    paths = [folder / "city_03.mp4" for folder in folders]
    expect_messages(caplog, "cuda", *[path for path in paths if str(path) in caplog.text])
    assert caplog.records


def test_processes_of_a_pool_use_no_device_after_a_crash_until_the_next_run():
    with hardware_decoding.using("cuda"), WorkerPool(1) as pool:
        choice = hardware_decoding.chosen()
        software = replace(choice, failure=f"{REASON}SIGSEGV")
        assert list(pool.run(end_on_device, [(1,), (2,)])) == [((2,), software), ((1,), software)]
        assert list(pool.run(hardware_decoding.chosen, [()])) == [((), choice)]


def test_the_decoding_process_uses_no_device_after_a_crash():
    match = Path("match.mp4")
    with hardware_decoding.using("auto"), decoding_process.running():
        software = replace(hardware_decoding.chosen(), failure=f"{REASON}SIGSEGV")
        assert decoding_process.retry_in_software(decoding_process.call, match, end_on_device, 1) == software
        assert decoding_process.call(match, end_on_device, 2) == software


@pytest.mark.parametrize(("hwaccel", "num_calls"), [("none", 1), ("auto", 2)])
def test_a_call_that_ends_its_process_in_software_is_not_made_again(hwaccel, num_calls):
    calls = []

    def decode():
        calls.append(1)
        decoding_process.call(Path("match.mp4"), end, signal.SIGKILL, 0)

    with hardware_decoding.using(hwaccel), decoding_process.running():
        with pytest.raises(ProcessError):
            decoding_process.retry_in_software(decode)
        assert len(calls) == num_calls
        with pytest.raises(ProcessError):
            decoding_process.retry_in_software(decode)
    assert len(calls) == num_calls + 1
