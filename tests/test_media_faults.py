"""What is said of a file without decoding it, and of one that cannot be read in part or at all."""

import errno
import sys
from contextlib import contextmanager
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
from clips import tone, write_clip

from videosummarizer import media, problems

TICKS_PER_SEC = 90_000


class FakePacket(bytes):
    """A packet as a demuxer gives it, its times in ticks of 1/90000 s."""

    def __new__(cls, pts, duration=3000, dts=None, content=b"", is_keyframe=False, is_discard=False):
        packet = super().__new__(cls, content)
        packet.pts, packet.dts, packet.duration = pts, pts if dts is None else dts, duration
        packet.is_keyframe, packet.is_discard = is_keyframe, is_discard
        packet.time_base, packet.stream = Fraction(1, TICKS_PER_SEC), SimpleNamespace(index=0, type="data")
        packet.pos, packet.size = None, len(content)
        return packet

    def has_sidedata(self, kind):
        return False

    def decode(self):
        return [SimpleNamespace(pts=self.pts, width=320, height=200, rotation=0, side_data={})]


@pytest.fixture
def probe(monkeypatch):
    """Probes a file of which packets, container and streams are given."""

    def probe_fake(packets, start_time_us=0, audio=None, **of_stream):
        stream = SimpleNamespace(
            **{
                "index": 0,
                "frames": 0,
                "time_base": Fraction(1, TICKS_PER_SEC),
                "average_rate": None,
                "start_time": 0,
                "duration": 0,
                "type": "video",
                "disposition": 0,
                "codec_context": SimpleNamespace(name="h264", extradata=b"\x01\x64\0\x1f\xff", codec=None),
                **of_stream,
            }
        )
        streams = [stream, audio] if audio else [stream]
        container = SimpleNamespace(
            streams=streams,
            start_time=start_time_us,
            format=SimpleNamespace(name="mov"),
            size=0,
            demux=lambda *wanted: iter(packets),
        )

        stream.container = container

        @contextmanager
        def open_media(path):
            yield container

        monkeypatch.setattr(media, "open_media", open_media)
        return media.probe("film.mp4")

    return probe_fake


def test_frames_are_sorted_and_the_last_shown_ends_the_film(probe):
    # In decoding order; the last packet is not the last picture, and each has a length of its own.
    packets = [FakePacket(0, 3000), FakePacket(27_000, 4500), FakePacket(9000, 18_000), FakePacket(3000, 6000)]
    info = probe(packets)
    np.testing.assert_allclose(info.frame_times_sec, [0, 1 / 30, 0.1, 0.3], atol=1e-12)
    np.testing.assert_allclose(info.frame_edges_sec, [0, 1 / 30, 0.1, 0.3, 0.35], atol=1e-12)
    assert info.duration_sec == pytest.approx(0.35, abs=1e-12)
    assert info.frame_rate_fps == pytest.approx(4 / 0.35)
    assert (info.width_px, info.height_px, info.codec, info.audio) == (320, 200, "h264", None)


def test_times_count_from_the_containers_start(probe):
    info = probe([FakePacket(180_000), FakePacket(270_000, 9000)], start_time_us=1_500_000)
    np.testing.assert_allclose(info.frame_times_sec, [0.5, 1.5], atol=1e-12)
    assert info.duration_sec == pytest.approx(1.6, abs=1e-12)
    assert info.frame_rate_fps == pytest.approx(2 / 1.1)


def test_pictures_that_are_not_shown_are_no_frames(probe):
    packets = [
        FakePacket(-9000),  # before time 0, as behind an edit list
        FakePacket(0),
        FakePacket(None, dts=1),
        FakePacket(3000, is_discard=True),
        FakePacket(6000),
        FakePacket(99_000, 9000, is_discard=True),
    ]
    info = probe(packets)
    np.testing.assert_allclose(info.frame_times_sec, [0, 6000 / 90_000], atol=1e-12)
    assert info.duration_sec == pytest.approx(0.1, abs=1e-12)
    with pytest.raises(
        media.MediaError, match=r"film\.mp4: received a video stream without a frame, expected at least one"
    ):
        probe([FakePacket(None, dts=0), FakePacket(0, is_discard=True)])


def test_a_first_frame_a_rounding_error_before_time_0_is_a_frame(probe):
    # Containers state their start in whole microseconds: a third of a second is 333,333 of them and a bit.
    info = probe([FakePacket(30_000), FakePacket(60_000)], start_time_us=333_334)
    assert len(info.frame_times_sec) == 2
    info = probe([FakePacket(30_000), FakePacket(60_000)], start_time_us=333_336)
    assert len(info.frame_times_sec) == 1


def test_frames_at_the_same_time_are_all_counted(probe):
    info = probe([FakePacket(0), FakePacket(3000), FakePacket(3000), FakePacket(6000)])
    np.testing.assert_allclose(info.frame_times_sec, [0, 1 / 30, 1 / 30, 1 / 15], atol=1e-12)
    assert info.frame_rate_fps == pytest.approx(40)


@pytest.mark.parametrize(
    ("duration", "average_rate", "last_sec"),
    [
        (4500, Fraction(50), 0.05),
        (0, Fraction(50), 0.02),
        (None, Fraction(30_000, 1001), 1001 / 30_000),
        (0, None, 0.04),
    ],
)
def test_a_last_frame_without_a_length_lasts_as_long_as_the_average(probe, duration, average_rate, last_sec):
    info = probe([FakePacket(0, 3000), FakePacket(90_000, duration)], average_rate=average_rate)
    assert info.duration_sec == pytest.approx(1 + last_sec, abs=1e-12)


@pytest.mark.parametrize(
    ("start_time", "duration", "start_time_us", "stated_sec"),
    [(0, 270_000, 0, 3), (180_000, 270_000, 1_500_000, 3.5), (None, 270_000, 0, 3), (90_000, None, 0, 1)],
)
def test_the_stated_duration_ends_where_the_header_says_that_the_picture_does(
    probe, start_time, duration, start_time_us, stated_sec
):
    info = probe([FakePacket(180_000)], start_time_us=start_time_us, start_time=start_time, duration=duration)
    assert info.stated_duration_sec == pytest.approx(stated_sec, abs=1e-12)


def test_random_access_points_are_idr_pictures_that_are_keyframes_and_have_both_times(probe):
    idr, other = b"\0\0\0\2\x65\x88", b"\0\0\0\2\x61\x88"
    packets = [
        FakePacket(6000, dts=0, content=idr, is_keyframe=True),
        FakePacket(9000, dts=3000, content=other, is_keyframe=True),
        FakePacket(12_000, dts=6000, content=idr, is_keyframe=False),
        FakePacket(15_000, dts=9000, content=idr, is_keyframe=True, is_discard=True),
        FakePacket(21_000, dts=12_000, content=idr, is_keyframe=True),
    ]
    without = FakePacket(30_000, content=idr, is_keyframe=True)
    without.dts = None
    info = probe([*packets, without])
    assert info.random_access_points.tolist() == [[6000, 0], [21_000, 12_000]]
    assert probe([FakePacket(0)]).random_access_points.shape == (0, 2)


def test_the_audio_is_named_for_people(probe):
    sound = SimpleNamespace(codec_context=SimpleNamespace(name="opus"), layout=SimpleNamespace(name="5.1"), rate=48_000)
    sound.index, sound.type, sound.disposition, sound.time_base = 1, "audio", 0, Fraction(1, 48_000)
    sound.metadata = {}
    block = FakePacket(0)
    block.stream = sound
    info = probe([FakePacket(0), block], audio=sound)
    assert (info.audio, info.audio_indices, info.track_problems) == ("opus 5.1 48000 Hz", (1,), ())


def test_the_header_alone_gives_a_length(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", num_frames=75, audio=tone(440, 1))
    assert media.probe_duration_sec(path) == pytest.approx(2.5, abs=1e-6)
    late = write_clip(tmp_path / "late.mp4", num_frames=75, audio=tone(440, 4), start_sec=1.5)
    assert media.probe_duration_sec(late) == pytest.approx(4, abs=0.05)  # of the longest stream, from its start on
    bare = write_clip(tmp_path / "clip.h264", num_frames=3)  # a stream without a container has no header
    assert media.probe_duration_sec(bare) == 0
    with pytest.raises(media.MediaError, match=r"nothing\.mp4: cannot be read as a video \(No such file"):
        media.probe_duration_sec(tmp_path / "nothing.mp4")


# ---- Problems


def info(**changes):
    known = {"duration_sec": 60.0, "stated_duration_sec": 60.0, "frame_rate_fps": 30.0, "width_px": 4, "height_px": 2}
    more = {
        "codec": "h264",
        "audio": "aac",
        "frame_times_sec": np.zeros(1),
        "random_access_points": np.zeros((0, 2), np.int64),
    }
    return media.VideoInfo(**{**known, **more, **changes})


def test_an_intact_film_has_no_problems():
    assert problems.describe_problems("a/film.mp4", info(), set()) == []


def test_problems_are_reported_one_by_one():
    assert problems.describe_problems("film.mp4", info(audio=None), set()) == [
        "film.mp4: the video has no audio track: converted with silence"
    ]
    assert problems.describe_problems("film.mp4", info(stated_duration_sec=71.26), set()) == [
        "film.mp4: the video ends at 60.0 s of the 71.3 s that the header states: converted up to there"
    ]
    assert problems.describe_problems("film.mp4", info(), {12, 7, 100}) == [
        "film.mp4: damaged at 7, 12, 100 s: the last undamaged frame is repeated there"
    ]
    assert problems.describe_problems("film.mp4", info(), set(), {12, 7}) == [
        "film.mp4: the audio is damaged at 7, 12 s: it is silent there"
    ]
    assert len(problems.describe_problems("film.mp4", info(audio=None, stated_duration_sec=90.0), {1}, {1})) == 4


@pytest.mark.parametrize(("stated_sec", "is_fault"), [(0.0, False), (50.0, False), (61.0, False), (61.001, True)])
def test_a_second_more_in_the_header_is_no_fault(stated_sec, is_fault):
    assert len(problems.describe_problems("film.mp4", info(stated_duration_sec=stated_sec), set())) == is_fault


def test_of_many_damaged_seconds_the_first_20_are_named():
    (fault,) = problems.describe_problems("film.mp4", info(), set(range(50, 30, -1)))
    assert fault.startswith(f"film.mp4: damaged at {', '.join(map(str, range(31, 51)))} s: ")
    (fault,) = problems.describe_problems("film.mp4", info(), set(range(51, 30, -1)))
    assert fault.startswith(f"film.mp4: damaged at {', '.join(map(str, range(31, 51)))} and more s: ")


# ---- Opening


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (OSError("gone"), "gone"),
        (av.error.InvalidDataError(1, "Invalid data found"), "Invalid data found"),
        (av.error.EOFError(2, "End of file"), "End of file"),
    ],
)
def test_what_fails_while_a_film_is_read_is_named_with_its_file(tmp_path, error, said):
    path = write_clip(tmp_path / "clip.mp4", num_frames=2)
    with pytest.raises(media.MediaError) as raised, media.open_media(path):
        raise error
    assert str(raised.value) == f"{path}: cannot be read as a video ({said})"
    assert raised.value.__cause__ is error


def test_the_advice_of_an_error_is_given_once():
    assert media.describe_error(media.ProcessError("a.mp4: ended: use fewer --workers")).endswith("fewer --workers")
    assert media.describe_error(media.TimestampError("a.mp4: join them")) == "a.mp4: join them"
    advised = media.describe_error(media.MediaError("a.mp4: no frame"))
    assert advised == "a.mp4: no frame: record or download it again, or move it elsewhere"
    assert media.describe_error(media.MediaError(advised)) == advised


def test_other_errors_are_not_taken_for_those_of_the_film(tmp_path):
    with pytest.raises(ValueError, match="ours"), media.open_media(write_clip(tmp_path / "clip.mp4", num_frames=2)):
        raise ValueError("ours")


def test_free_memory_is_given_back_whenever_a_film_is_closed(tmp_path, monkeypatch):
    path, calls = write_clip(tmp_path / "clip.mp4", num_frames=2), []
    monkeypatch.setattr(media, "trim_malloc", lambda: calls.append(1))
    with media.open_media(path):
        assert calls == []
    assert calls == [1]
    with pytest.raises(media.MediaError, match="No such file"), media.open_media(tmp_path / "nothing.mp4"):
        pass
    assert calls == [1, 1]


def test_memory_is_given_back_where_the_system_takes_it(monkeypatch):
    calls = []
    libraries = {"glibc": SimpleNamespace(malloc_trim=calls.append), "musl": SimpleNamespace()}
    for platform, library, expected in (("linux", "glibc", [0]), ("linux", "musl", []), ("darwin", "glibc", [])):
        calls.clear()
        monkeypatch.setattr(sys, "platform", platform)
        monkeypatch.setattr(media.ctypes, "CDLL", lambda name, library=library: libraries[library])
        media.trim_malloc()
        assert calls == expected
