"""Damaged packets: where they are found, and which frames are shown instead, with any number of threads."""

import errno
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
from clips import FRAME_RATE_FPS, read_number, tone, write_av1_clip, write_clip

from videosummarizer import media, problems, video_track


def write_damaged(path, numbers, start_sec=0.0):
    """A film of 150 frames, each of which is decoded on its own but for those of the numbers, which are not decoded."""
    write_clip(path, num_frames=150, start_sec=start_sec, options={"x264-params": "keyint=1", "crf": "10"})
    with media.open_media(path) as container:
        places = [packet.pos for packet in container.demux(container.streams.video[0]) if packet.size]
    content = bytearray(path.read_bytes())
    for number in numbers:
        content[places[number] : places[number] + 4] = b"\x7f\xff\xff\xff"  # a slice longer than the file
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("start_sec", [0, 1.5])
def test_damage_is_found_in_its_second_counted_from_time_0(tmp_path, start_sec):
    path = write_damaged(tmp_path / "clip.mp4", [32, 33, 125], start_sec)
    assert problems.find_damage(path, media.probe(path)) == {1, 4}
    whole = write_damaged(tmp_path / "whole.mp4", [])
    assert problems.find_damage(whole, media.probe(whole)) == set()


def test_damaged_audio_is_no_damage_of_the_video(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", num_frames=60, audio=tone(440, 2))
    with media.open_media(path) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(container.streams.audio[0]) if packet.size]
    content = bytearray(path.read_bytes())
    for position, size in places:
        content[position : position + size] = bytes(size)
    path.write_bytes(content)
    with media.open_media(path) as container:
        times_sec = []
        assert list(media.decode(container.demux(container.streams.audio[0]), 0, times_sec.append)) == []
    assert {int(time_sec) for time_sec in times_sec} == {0, 1}
    assert problems.find_damage(path, media.probe(path)) == set()


@pytest.mark.parametrize("start_sec", [0, 1.5])
def test_for_a_damaged_frame_the_last_one_before_it_is_taken(tmp_path, start_sec):
    path = write_damaged(tmp_path / "clip.mp4", [0, 32, 33, 125], start_sec)
    damaged_sec = set()
    times_sec = np.array([0, 1, 31, 32, 33, 34, 124, 125, 126]) / FRAME_RATE_FPS
    frames = video_track.read_frames(path, media.probe(path), times_sec, 40, 16, num_threads=1, damaged_sec=damaged_sec)
    assert [read_number(frame) for frame in frames] == [1, 1, 31, 31, 31, 34, 124, 124, 126]
    assert damaged_sec == {0, 1, 4}
    frames = video_track.read_frames(path, media.probe(path), times_sec, 40, 16)  # the seconds need not be asked for
    assert len(list(frames)) == 9


def test_a_film_of_which_nothing_decodes_is_named(tmp_path):
    path = write_damaged(tmp_path / "clip.mp4", range(150))
    with pytest.raises(
        media.MediaError, match=r"clip\.mp4: received a video stream of which no frame decodes, expected"
    ):
        media.probe(path)


def packet(pts, *frame_times, error=None, delay=0):
    """A packet that decodes to frames with presentation times, or to none where they are an error."""

    def decode():
        if error or "damaged" in frame_times:
            raise error or av.error.InvalidDataError(errno.EINVAL, "damaged")
        return [SimpleNamespace(pts=frame_pts) for frame_pts in frame_times]

    container = SimpleNamespace(format=SimpleNamespace(name="mov"))
    stream = SimpleNamespace(type="video", container=container, codec_context=SimpleNamespace(delay=delay))
    return SimpleNamespace(pts=pts, time_base=Fraction(1, 10), decode=decode, stream=stream, size=0)


def test_what_does_not_decode_is_passed_over_and_its_time_noted():
    packets = [packet(0, 0), packet(9, "damaged"), packet(20, 10, None, 20), packet(None, "damaged"), packet(39, 39)]
    times_sec = []
    assert [frame.pts for frame in media.decode(iter(packets), 0, times_sec.append)] == [0, 10, 20, 39]
    assert times_sec == [0.9]
    assert [frame.pts for frame in media.decode(iter(packets))] == [0, 10, 20, 39]
    times_sec.clear()
    late = [packet(pts, "damaged") for pts in (3, 12, 25, 39, 40)]  # two of them from before time 0
    assert list(media.decode(iter(late), 1.5, times_sec.append)) == []
    assert times_sec == pytest.approx([0, 0, 1, 2.4, 2.5])


@pytest.mark.parametrize(
    "error",
    [
        av.error.PermissionError(errno.EPERM, "Operation not permitted"),
        av.error.UndefinedError(1, "Error number 1 occurred"),
        av.error.FFmpegError(errno.EIO, "Input/output error"),
    ],
)
def test_any_error_of_a_decoder_is_damage(error):
    times_sec = []
    packets = [packet(0, 0), packet(12, error=error), packet(20, 20)]
    assert [frame.pts for frame in media.decode(iter(packets), 0, times_sec.append)] == [0, 20]
    assert times_sec == [1.2]


def test_an_error_while_packets_are_read_is_no_damage():
    def packets():
        yield packet(0, 0)
        raise av.error.FFmpegError(errno.EIO, "Input/output error")

    times_sec = []
    with pytest.raises(av.error.FFmpegError, match="Input/output error"):
        list(media.decode(packets(), 0, times_sec.append))
    assert times_sec == []


def test_several_threads_report_an_error_some_packets_late():
    times_sec = []
    packets = [packet(pts, *([] if pts != 40 else ["damaged"]), delay=2) for pts in (0, 10, 20, 30, 40, 50)]
    assert list(media.decode(iter(packets), 0, times_sec.append)) == []
    assert times_sec == [2]
    times_sec.clear()
    assert list(media.decode(iter([packet(30, "damaged", delay=2)]), 0, times_sec.append)) == []
    assert times_sec == [3]


@pytest.mark.parametrize("num_threads", [1, 2, 4])
@pytest.mark.parametrize("damaged", [[147], [148], [146, 147], [147, 149]])
def test_damage_in_the_last_frames_is_found_and_costs_no_others_with_any_number_of_threads(
    tmp_path, num_threads, damaged
):
    path = write_damaged(tmp_path / "clip.mp4", damaged)
    info, damaged_sec = media.probe(path), set()
    times_sec = np.arange(145, 150) / FRAME_RATE_FPS
    frames = video_track.read_frames(path, info, times_sec, 40, 16, num_threads, damaged_sec)
    expected = [max(set(range(number + 1)) - set(damaged)) for number in range(145, 150)]
    assert [read_number(frame) for frame in frames] == expected
    assert damaged_sec == {4}
    assert problems.find_damage(path, info) == {4}


@pytest.mark.parametrize("num_threads", [1, 2, 4])
def test_the_only_frame_that_decodes_is_found_with_any_number_of_threads(tmp_path, num_threads):
    path = write_clip(tmp_path / "clip.mp4", num_frames=60)
    with media.open_media(path) as container:
        places = [(p.pos, p.size) for p in container.demux(container.streams.video[0]) if p.size]
    content = bytearray(path.read_bytes())
    for position, size in places[1:]:
        content[position : position + size] = b"\x7f\xff\xff\xff" + bytes(size - 4)
    path.write_bytes(content)
    info = media.probe(path)
    frames = video_track.read_frames(path, info, np.array([0, 0.5, 1.9]), 40, 16, num_threads)
    assert [read_number(frame) for frame in frames] == [0, 0, 0]
    assert problems.find_damage(path, info) == {0, 1}


def test_damaged_av1_is_read_alike_with_any_number_of_threads(tmp_path):
    path = write_av1_clip(tmp_path / "clip.mp4", num_frames=60, options={"preset": "12"})
    with media.open_media(path) as container:
        ends = [p.pos + p.size for p in container.demux(container.streams.video[0]) if p.size]
    intact, all_damaged_sec = path.read_bytes(), set()
    for number in (40, 41, 43, 45):
        path.write_bytes(intact[: ends[number] - 4] + bytes(4) + intact[ends[number] :])
        info, seen = media.probe(path), []
        for num_threads in (1, 4):
            damaged_sec = set()
            frames = video_track.read_frames(path, info, info.frame_times_sec, 40, 16, num_threads, damaged_sec)
            seen.append(([frame.tobytes() for frame in frames], damaged_sec))
        assert seen[0] == seen[1]
        all_damaged_sec |= damaged_sec
    assert all_damaged_sec == {1}
