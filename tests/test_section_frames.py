"""The frames of a reel's sections are exact, and no packet is decoded for more than one section."""

import subprocess
from dataclasses import replace

import imageio_ffmpeg
import numpy as np
import pytest
from clips import read_number, write_clip

from videosummarizer import media
from videosummarizer.extraction.section_frames import SectionFrames

ONE_KEYFRAME = {"g": "200", "keyint_min": "200", "sc_threshold": "0", "bf": "0"}


def clip_in(tmp_path, suffix="mp4", options=ONE_KEYFRAME):
    """Write 90 numbered frames, in any container."""
    path = write_clip(tmp_path / "a.mp4", num_frames=90, options=options)
    if suffix != "mp4":
        command = [
            imageio_ffmpeg.get_ffmpeg_exe(),
            "-v",
            "error",
            "-i",
            path,
            "-c",
            "copy",
            path.with_suffix("." + suffix),
        ]
        subprocess.run(list(map(str, command)), check=True)
    return path.with_suffix("." + suffix)


@pytest.fixture
def num_decoded(monkeypatch):
    """Count the packets that are decoded."""
    counts, decode = [0], media.decode

    def counted(packets):
        for packet in packets:
            counts[0] += packet.size > 0
            yield packet

    monkeypatch.setattr(media, "decode", lambda packets, *more: decode(counted(packets), *more))
    return counts


def numbers_of(path, sections, info=None, seeks=None):
    """Return the numbers that the frames of each section show."""
    info = info or media.probe(path)
    with media.open_media(path) as container:
        frames = SectionFrames(container, info)
        seek, time_base = frames.start_decoding, float(frames.stream.time_base)
        frames.start_decoding = lambda *arguments: (seeks or []).append(arguments) or seek(*arguments)
        edges_sec = info.frame_edges_sec + media.start_time_sec(container)
        pts = [np.rint(edges_sec[section] / time_base).astype(int).tolist() for section in sections]
        return [[read_number(frame.to_ndarray(format="rgb24")) for frame in frames.read(*edges)] for edges in pts]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_video_with_one_keyframe_is_decoded_once_for_all_sections(tmp_path, num_decoded, suffix):
    path = clip_in(tmp_path, suffix)
    sections = [[5, 7], [20, 22], [22, 24], [50, 51], [70, 73]]
    assert numbers_of(path, sections) == [[5, 6], [20, 21], [22, 23], [50], [70, 71, 72]]
    assert 73 <= num_decoded[0] <= 90


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_what_lies_between_two_sections_is_not_decoded_where_a_keyframe_allows_it(tmp_path, num_decoded, suffix):
    path = clip_in(tmp_path, suffix, {"g": "20", "keyint_min": "20", "sc_threshold": "0", "bf": "2", "b_strategy": "0"})
    assert numbers_of(path, [[3, 5], [61, 63], [66, 67]]) == [[3, 4], [61, 62], [66]]
    info = media.probe(path)
    np.testing.assert_allclose(info.keyframe_times_sec * 30, [0, 20, 40, 60, 80], atol=0.02)
    assert num_decoded[0] < 60  # a decoder with several threads is some frames ahead


@pytest.mark.parametrize("first", [0, 20, 25])
def test_a_section_is_sought_once_where_the_seek_lands_at_its_keyframe(tmp_path, first):
    path = clip_in(tmp_path, options={"g": "20", "bf": "0"})
    seeks = [None]
    assert numbers_of(path, [[first, first + 3]], seeks=seeks) == [[first, first + 1, first + 2]]
    assert len(seeks) == 2


def test_sections_in_any_order_are_exact(tmp_path):
    path = clip_in(tmp_path)
    assert numbers_of(path, [[50, 52], [10, 12], [11, 13], [88, 90], [0, 1]]) == [
        [50, 51], [10, 11], [11, 12], [88, 89], [0],
    ]  # fmt: skip


@pytest.mark.parametrize("keyframes", [[], [0, 30, 60], [0.5]])
def test_where_decoding_cannot_start_at_the_stated_keyframes_it_starts_once_at_the_beginning(
    tmp_path, num_decoded, keyframes
):
    path = clip_in(tmp_path)
    info = media.probe(path)
    stated = info.frame_times_sec[[int(number) for number in keyframes]] + np.array(keyframes) % 1 / 30
    sections = [[31, 33], [40, 41], [65, 67]]
    assert numbers_of(path, sections, replace(info, keyframe_times_sec=stated)) == [[31, 32], [40], [65, 66]]
    assert 67 <= num_decoded[0] <= 90


def make_zero(path, numbers):
    """Overwrite the packets of some frames of a video without B-frames with zeros, as in an unfinished download."""
    with media.open_media(path) as container:
        packets = [packet for packet in container.demux(container.streams.video[0]) if packet.size]
    content = bytearray(path.read_bytes())
    for number in numbers:
        content[packets[number].pos : packets[number].pos + packets[number].size] = bytes(packets[number].size)
    path.write_bytes(content)


def test_frames_that_do_not_decode_at_the_edges_of_sections_are_the_last_ones_before(tmp_path, num_decoded):
    path = clip_in(tmp_path, options={"g": "10", "keyint_min": "10", "sc_threshold": "0", "bf": "0"})
    make_zero(path, [*range(10, 13), *range(45, 90)])
    sections = [[5, 11], [11, 25], [40, 60], [60, 70], [89, 90]]
    times, num_seeks = [], []
    info = media.probe(path)
    with media.open_media(path) as container:
        frames = SectionFrames(container, info)
        seek, time_base = frames.start_decoding, float(frames.stream.time_base)
        frames.start_decoding = lambda *arguments: num_seeks.append(1) or seek(*arguments)
        for section in sections:
            read = []
            for frame in frames.read(*frames.pts_at(info.frame_edges_sec[section])):
                read.append((round(frame.pts * time_base * 30), read_number(frame.to_ndarray(format="rgb24"))))
            times.append(read)
    assert times[0] == [*((n, n) for n in range(5, 10)), (10, 9)]
    assert times[1][0] == (11, 9)
    assert times[1][-1] == (24, 24)
    assert times[2] == [*((n, n) for n in range(40, 45)), (59, 44)]
    assert times[3:] == [[(60, 44), (69, 44)], [(89, 44)]]
    assert len(num_seeks) <= 4  # not again for sections behind the last frame
