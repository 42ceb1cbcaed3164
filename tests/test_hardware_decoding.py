"""Whatever a device does, data sets, scores and labels are those of software. Devices are fake: no test needs one."""

import contextlib
import logging
from types import SimpleNamespace

import fake_devices
import numpy as np
import pytest
from av.codec.hwaccel import hwdevices_available
from clips import write_clip, write_two_matches
from dataset_files import contents
from edits import MATCH
from test_media_damage import write_damaged

import data_converter
import highlight_extractor
import label_finder
from videosummarizer import hardware_decoding, media, video_track
from videosummarizer.hardware_decoding import Choice
from videosummarizer.labelling.thumbnails import read_thumbnails
from videosummarizer.worker_processes import WorkerPool

SETTINGS = ["0.5", "4", "16", "16", "4000", "0"]
# Each device, and what the message says about a video that it does not decode; empty where it does.
DEVICES = {
    "EqualDevice": "",
    "ChangedPixelDevice": "its pictures differ from those of software",
    "FailingDevice": "a packet does not decode",
    "FrameDroppingDevice": "a picture is missing or damaged",
    "TruncatingDevice": "pictures at the end are missing",
    "UnsupportedCodecDevice": "it does not decode h264",
}


@pytest.fixture
def install(monkeypatch):
    """Put a device into the machine: return its class, which counts what it decodes."""

    def install(name):
        device = type(name, (getattr(fake_devices, name),), {})
        monkeypatch.setattr(hardware_decoding, "Device", device)
        return device

    return install


@pytest.fixture(scope="module")
def matches_dir(tmp_path_factory):
    """Make two matches of 4 s."""
    return write_two_matches(tmp_path_factory.mktemp("matches"), 4)


def convert(folder, out, hwaccel="none"):
    return data_converter.main([str(folder), *SETTINGS, str(out), "--hwaccel", hwaccel, "--debug"])


def read_frames(path, damaged_sec=None):
    """Return 8 frames for each second of a video."""
    info = media.probe(path)
    times_sec = np.arange(0, info.duration_sec, 1 / 8)
    return np.array(list(video_track.read_frames(path, info, times_sec, 16, 16, 1, damaged_sec)))


# ---- The stages


@pytest.mark.parametrize("hwaccel", ["auto", "cuda"])
@pytest.mark.parametrize(("name", "message"), DEVICES.items())
def test_a_data_set_is_the_same_with_any_device(
    matches_dir, tmp_path, undisturbed, install, caplog, name, message, hwaccel
):
    device = install(name)
    assert convert(matches_dir, tmp_path / "out", hwaccel) == 0
    assert contents(tmp_path / "out") == undisturbed
    assert (device.num_packets > 0) == (name != "UnsupportedCodecDevice")
    records = [record for record in caplog.records if "decoded in software" in record.message]
    if not message:
        assert not records
        return
    assert {record.levelname for record in records} == {"DEBUG" if hwaccel == "auto" else "WARNING"}
    assert len(records) == 2
    for record, title in zip(records, ("first", "second"), strict=True):
        assert record.message.startswith(f"{matches_dir / title}.mp4: decoded in software, not on ")
        assert message in record.message


def test_without_debug_nothing_is_said_of_auto(matches_dir, tmp_path, install, caplog):
    install("ChangedPixelDevice")
    arguments = [str(matches_dir), *SETTINGS, str(tmp_path / "out")]
    assert data_converter.main(arguments) == 0
    assert "software" not in caplog.text


def test_a_machine_without_a_device_is_asked_once(matches_dir, tmp_path, undisturbed, install, caplog):
    device = install("UnavailableDevice")
    assert convert(matches_dir, tmp_path / "out", "auto") == 0
    assert contents(tmp_path / "out") == undisturbed
    assert device.num_opened == len(hardware_decoding.device_names()) >= 1
    (note,) = [record for record in caplog.records if "no device decodes video" in record.message]
    assert "cuda: no driver" in note.message
    assert note.levelno == logging.DEBUG


def test_pictures_that_differed_before_the_device_failed_cost_the_match(matches_dir, tmp_path, install, caplog):
    install("LateDifferenceDevice")
    assert convert(matches_dir, tmp_path / "out", "auto") == 1
    errors = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert (
        f"{matches_dir}/first.mp4: the device delivered other pictures than software before it failed: run the "
        in (errors[0])
    )
    assert "--hwaccel none" in errors[0]
    assert "download" not in errors[0]


@pytest.mark.parametrize(("hwaccel", "level"), [("cuda", logging.WARNING), ("auto", logging.DEBUG)])
def test_the_extractor_says_that_the_device_failed_of_a_match_that_cannot_be_read(
    tmp_path, install, caplog, hwaccel, level
):
    path, device = write_clip(tmp_path / "match.mp4", num_frames=240), install("LateDifferenceDevice")
    device.differs_sec, device.lost_sec = 6.0, 7.0
    arguments = [str(path), "--output_dir", str(tmp_path / "out"), "--hwaccel", hwaccel, "--debug"]
    assert highlight_extractor.main(arguments) == 1
    reason, error = caplog.records
    assert (reason.levelno, error.levelno) == (level, logging.ERROR)
    assert f"{path}: decoded in software, not on " in reason.message
    assert DEVICES["FailingDevice"] in reason.message
    assert "the device delivered other pictures than software before it failed" in error.message


@pytest.mark.parametrize("name", DEVICES)
def test_scores_are_the_same_with_any_device(matches_dir, tmp_path, install, name):
    files = []
    device = install(name)
    for hwaccel in ("none", "auto"):
        out = tmp_path / hwaccel
        arguments = [str(matches_dir / "second.mp4"), "--output_dir", str(out), "--hwaccel", hwaccel]
        assert device.num_packets == 0
        assert highlight_extractor.main(arguments) == 0
        files.append([(out / name).read_bytes() for name in ("second_scores.csv", "second.txt")])
    assert files[0] == files[1]
    assert (device.num_packets > 0) == (name != "UnsupportedCodecDevice")


def test_another_device_keeps_the_files_of_the_extractor(matches_dir, tmp_path, install):
    arguments = [str(matches_dir / "first.mp4"), "--output_dir", str(tmp_path / "out")]
    assert highlight_extractor.main([*arguments, "--hwaccel", "none"]) == 0
    device = install("EqualDevice")
    assert highlight_extractor.main([*arguments, "--hwaccel", "cuda"]) == 0
    assert device.num_packets == 0


@pytest.mark.parametrize(("name", "hwaccel"), [("EqualDevice", "cuda"), ("ChangedPixelDevice", "auto")])
def test_labels_are_the_same_with_any_device(tmp_path, plain_edit, install, caplog, name, hwaccel):
    matches, highlights = tmp_path / "matches", tmp_path / "highlights"
    for folder, path in ((matches, MATCH), (highlights, plain_edit)):
        folder.mkdir()
        (folder / "city_03.mp4").symlink_to(path)
    device = install(name)
    for out in ("none", hwaccel):
        assert device.num_packets == 0
        assert label_finder.main([*map(str, (matches, highlights, tmp_path / out)), "--hwaccel", out]) == 0
    assert device.num_packets > 0
    assert "decoded in software" not in caplog.text
    texts = [(tmp_path / out / "city_03.txt").read_text() for out in ("none", hwaccel)]
    assert texts[0] == texts[1] != ""


@pytest.mark.parametrize("rate_fps", [np.inf, 5])
@pytest.mark.parametrize("name", DEVICES)
def test_thumbnails_are_the_same_with_any_device(matches_dir, install, name, rate_fps):
    path = matches_dir / "first.mp4"
    device = install("UnsupportedCodecDevice")
    with hardware_decoding.using("cuda"):  # software, without the options that change pixels
        expected = read_thumbnails(path, rate_fps=rate_fps)
    device = install(name)
    with hardware_decoding.using("cuda"):
        received = read_thumbnails(path, rate_fps=rate_fps)
        assert (device.num_packets > 0) == (name != "UnsupportedCodecDevice")
        if rate_fps == np.inf or name != "FrameDroppingDevice":  # the picture that is lost is not asked for otherwise
            assert bool(hardware_decoding.take_messages()[0]) == (name != "EqualDevice")
    np.testing.assert_array_equal(received.times_sec, expected.times_sec)
    np.testing.assert_array_equal(received.thumbnails, expected.thumbnails)
    assert received.aspect_ratio == expected.aspect_ratio


# ---- Which videos a device decodes


def test_only_pictures_that_are_needed_or_referred_to_reach_the_device(tmp_path, install):
    path = write_clip(tmp_path / "a.mp4", num_frames=120, options={"x264-params": "bframes=3:b-adapt=0:b-pyramid=0"})
    device = install("EqualDevice")
    info, times_sec = media.probe(path), np.array([0.0, 3.0])
    with hardware_decoding.using("auto"):
        device_frames = list(video_track.read_frames(path, info, times_sec, 16, 16))
    np.testing.assert_array_equal(device_frames, list(video_track.read_frames(path, info, times_sec, 16, 16)))
    assert 0 < device.num_packets < 120  # of three passes, two of which are the comparison


def test_another_video_under_the_same_path_is_compared_anew(tmp_path, install):
    path, expected = tmp_path / "match.mp4", []
    for first_number in (0, 200):
        write_clip(path, num_frames=120, first_number=first_number)
        expected.append(read_frames(path))
    with hardware_decoding.using("cuda"):
        install("EqualDevice")
        write_clip(path, num_frames=120)
        np.testing.assert_array_equal(read_frames(path), expected[0])
        assert hardware_decoding.take_messages() == ([], [])
        hardware_decoding.current.device.change = lambda frames: [fake_devices.change_pixel(frame) for frame in frames]
        write_clip(path, num_frames=120, first_number=200)
        np.testing.assert_array_equal(read_frames(path), expected[1])
        (warning,), _ = hardware_decoding.take_messages()
        assert DEVICES["ChangedPixelDevice"] in warning


def test_a_kind_of_video_whose_pictures_differ_is_compared_once(matches_dir, tmp_path, install):
    device = install("ChangedPixelDevice")
    small = write_clip(tmp_path / "intra.mp4", num_frames=60, codec="mpeg4", options={"qscale": "2"})
    with hardware_decoding.using("auto"):
        read_frames(matches_dir / "first.mp4")
        num_packets = device.num_packets
        read_frames(matches_dir / "second.mp4")
        assert device.num_packets == num_packets > 0
        read_frames(small)
        assert device.num_packets > num_packets


def test_a_damaged_video_is_read_in_software_and_others_of_its_kind_are_not(tmp_path, install):
    damaged = write_damaged(tmp_path / "damaged.mp4", [4, 70])
    intact = write_damaged(tmp_path / "intact.mp4", [])
    expected_sec, received_sec = set(), set()
    expected = read_frames(damaged, expected_sec)
    device = install("EqualDevice")
    with hardware_decoding.using("auto"):
        np.testing.assert_array_equal(read_frames(damaged, received_sec), expected)
        _, notes = hardware_decoding.take_messages()
        assert len(notes) == 1
        before = device.num_packets
        read_frames(intact)
        assert device.num_packets > before
        assert hardware_decoding.take_messages() == ([], [])
    assert received_sec == expected_sec == {0, 2}


def test_damage_behind_the_compared_pictures_is_found_and_the_device_decodes_other_videos(tmp_path, install):
    damaged = write_damaged(tmp_path / "damaged.mp4", [125])
    intact = write_damaged(tmp_path / "intact.mp4", [])
    received_sec = set()
    device = install("EqualDevice")
    with hardware_decoding.using("auto"):
        received = read_frames(damaged, received_sec)
        assert len(hardware_decoding.take_messages()[1]) == 1
        assert (num_packets := device.num_packets) > 125
        read_frames(intact)
        assert device.num_packets > num_packets
        assert hardware_decoding.take_messages() == ([], [])
    np.testing.assert_array_equal(received, read_frames(damaged))
    assert received_sec == {4}


def test_a_device_that_was_lost_is_not_tried_again_by_the_same_command(matches_dir, install):
    first, second = (matches_dir / f"{title}.mp4" for title in ("first", "second"))
    device = install("FailingDevice")
    device.lost_sec = np.inf
    with hardware_decoding.using("cuda"):
        read_frames(first)
        assert hardware_decoding.take_messages() == ([], [])
        device.lost_sec = fake_devices.FAILURE_SEC
        read_frames(second)
        num_packets = device.num_packets
        for path in (first, second):  # also a video that was proved before
            read_frames(path)
        assert device.num_packets == num_packets
        assert hardware_decoding.take_messages()[0] == [
            f"{second}: decoded in software, not on cuda (a packet does not decode: ExternalError: [Errno 5] out of "
            "sessions)",
            f"{first}: decoded in software, not on cuda (the device failed before: a packet does not decode: "
            "ExternalError: [Errno 5] out of sessions)",
        ]


def test_a_process_that_outlives_a_command_proves_videos_again_for_the_next_one(matches_dir, install, monkeypatch):
    """The workers of a cluster do."""
    monkeypatch.setattr(hardware_decoding, "current", None)
    device, path, messages = install("FailingDevice"), matches_dir / "first.mp4", []
    for lost_sec, change in ((fake_devices.FAILURE_SEC, list), (np.inf, list), (np.inf, lambda frames: frames[:-1])):
        device.lost_sec, device.change = lost_sec, staticmethod(change)
        with hardware_decoding.using("cuda"):
            choice = hardware_decoding.chosen()
        for _ in range(2):
            hardware_decoding.call(choice, read_frames, path)
        messages.append(hardware_decoding.take_messages()[0])
    assert [len(part) for part in messages] == [1, 0, 1]
    assert "a packet does not decode" in messages[0][0]
    assert "a picture is missing" in messages[2][0]


class Packet(bytes):
    """A packet without a picture."""

    is_corrupt, is_discard, pts = False, False, None
    stream = SimpleNamespace(codec_context=SimpleNamespace(name="h264"))

    @property
    def size(self):
        return len(self)


@pytest.mark.parametrize(("content", "is_corrupt"), [(b"\1" * 99, True), (bytes(99), False)], ids=["marked", "zeros"])
def test_a_damaged_packet_does_not_reach_the_device(content, is_corrupt):
    packets, received = [Packet(b"\1" * 99), Packet(content)], []
    packets[1].is_corrupt = is_corrupt
    device = SimpleNamespace(decode=lambda packet: received.append(packet) or [])
    with pytest.raises(hardware_decoding.DeviceError, match="the video is damaged"):
        list(hardware_decoding.decode(device, iter(packets)))
    assert received == packets[:1]


# ---- What the commands say, and which processes follow


@pytest.mark.parametrize(
    ("main", "arguments"),
    [
        (data_converter.main, ["{matches}", *SETTINGS, "{out}"]),
        (highlight_extractor.main, ["{matches}/first.mp4", "--output_dir", "{out}"]),
        (label_finder.main, ["{matches}", "{matches}", "{out}"]),
    ],
)
class TestCommands:
    def test_a_named_device_that_cannot_be_opened_is_refused(
        self, main, arguments, matches_dir, tmp_path, install, caplog
    ):
        install("UnavailableDevice")
        out = tmp_path / "out"
        arguments = [argument.format(matches=matches_dir, out=out) for argument in arguments]
        assert main([*arguments, "--hwaccel", "cuda"]) == 1
        (record,) = caplog.records
        assert record.message == (
            "--hwaccel: received a device that cannot be opened on this machine (cuda: no driver), expected one that "
            "is present: install its driver, or use --hwaccel auto, which decodes in software without one"
        )
        assert not out.exists()

    def test_an_unknown_name_is_refused(self, main, arguments, capsys):
        with pytest.raises(SystemExit):
            main([*arguments, "--hwaccel", "abacus"])
        assert "argument --hwaccel: invalid choice: 'abacus' (choose from 'auto', 'none', 'cuda'" in (
            capsys.readouterr().err
        )

    def test_help_names_it(self, main, arguments, capsys):
        with pytest.raises(SystemExit):
            main(["--help"])
        assert "--hwaccel {auto,none,cuda" in capsys.readouterr().out


def test_a_machine_without_a_driver_refuses_cuda(matches_dir, tmp_path, caplog):
    assert convert(matches_dir, tmp_path / "out", "cuda") == 1
    assert "--hwaccel: received a device that cannot be opened on this machine (cuda: " in caplog.text


def test_a_device_that_no_decoder_uses_is_refused(matches_dir, tmp_path, capsys):
    assert "drm" in hwdevices_available()
    with pytest.raises(SystemExit):
        convert(matches_dir, tmp_path / "out", "drm")
    assert "argument --hwaccel: invalid choice: 'drm'" in capsys.readouterr().err


def test_worker_processes_decode_as_the_command_says(real_processes):
    with hardware_decoding.using("cuda"), WorkerPool(1) as pool:
        choice = hardware_decoding.chosen()
        assert choice.hwaccel == "cuda"
        assert list(pool.run(hardware_decoding.chosen, [()])) == [((), choice)]
    with WorkerPool(1) as pool:
        assert list(pool.run(hardware_decoding.chosen, [()])) == [((), Choice("none"))]


def test_a_process_opens_its_own_device(monkeypatch):
    with hardware_decoding.using("auto"):
        inherited = hardware_decoding.current
        hardware_decoding.choose(inherited.choice)
        assert hardware_decoding.current is inherited
        monkeypatch.setattr(hardware_decoding.os, "getpid", lambda: inherited.process_id + 1)
        hardware_decoding.choose(inherited.choice)  # as after a fork
        assert hardware_decoding.current is not inherited
    assert hardware_decoding.current is None


def test_the_choice_ends_with_its_context():
    with contextlib.suppress(ValueError), hardware_decoding.using("auto"):
        raise ValueError
    assert hardware_decoding.chosen() == Choice("none")
