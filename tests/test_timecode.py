"""Timecode, against OpenTimelineIO and plain loops; and where recordings keep it."""

import math
import struct
from fractions import Fraction

import av
import numpy as np
import opentimelineio
import pytest
from timelines import RATES

from videosummarizer import media
from videosummarizer.extraction.exports.edl import write_edl
from videosummarizer.extraction.exports.timecode import parse_timecode
from videosummarizer.extraction.exports.timeline import Timeline, describe_match

TIMECODES = ["00:00:00:01", "00:00:59:23", "00:01:00:02", "00:09:59:20", "00:10:00:00", "01:02:03:04", "23:59:59:22"]


def describe(path, info, sections, scores=None):
    scores = [0.5] * len(sections) if scores is None else scores
    return describe_match(path, info, np.array(sections), np.array(scores))


def write_with_timecode(path, rate, timecode):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(rate))
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        stream.metadata["timecode"] = timecode
        for _ in range(10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("rate", "timecode", "start_frame", "is_drop_frame"),
    [
        ("30000/1001", "01:00:00;00", 107892, True),
        ("30000/1001", "01:00:00:00", 108000, False),
        ("60000/1001", "00:10:00;00", 35964, True),
        ("25", "10:00:00:05", 900005, False),
    ],
)
def test_the_files_own_timecode_counts(tmp_path, rate, timecode, start_frame, is_drop_frame):
    path = write_with_timecode(tmp_path / "a.mp4", rate, timecode)
    match, cuts = describe(path, media.probe(path), [[2, 5]])
    assert (match.start_frame, match.is_drop_frame, match.rate_fps) == (start_frame, is_drop_frame, Fraction(rate))
    assert opentimelineio.opentime.from_timecode(timecode, float(Fraction(rate))).value == start_frame
    first = timecode[:-1] + str(int(timecode[-1]) + 2)
    assert first in write_edl(Timeline(match.name, match, cuts)).decode()


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("mark", [":", ";", "."])
def test_timecodes_count_as_opentimelineio_counts_them(rate, mark):
    rate_fps = Fraction(rate)
    drops = mark != ":" and rate in ("30000/1001", "60000/1001")
    for timecode in TIMECODES:
        if drops:  # with ";" it counts drop-frame
            expected = opentimelineio.opentime.from_timecode(timecode[:8] + ";" + timecode[9:], float(rate_fps)).value
        else:
            expected = opentimelineio.opentime.from_timecode(timecode, math.ceil(rate_fps)).value
        text = timecode[:8] + mark + timecode[9:]
        assert parse_timecode(text, rate_fps) == (expected, drops), text


def test_drop_frame_numbers_follow_each_other_over_every_minute():
    for rate, num_dropped, num_numbers in (("30000/1001", 2, 30), ("60000/1001", 4, 60)):
        count = 0
        for minute in range(21):
            first = num_dropped if minute % 10 else 0
            for second in (0, 59):
                number = first if second == 0 else 0
                text = f"00:{minute:02d}:{second:02d};{number:02d}"
                expected = count + (second * num_numbers - first if second else 0)
                assert parse_timecode(text, Fraction(rate)) == (expected, True), text
            count += 60 * num_numbers - first


@pytest.mark.parametrize("text", ["", "1:00:00:00", "01:00:00", "01:00:00:000", "01:00:00:00 ", "01:00:00,00", "x"])
def test_what_is_no_timecode_counts_from_zero(text):
    assert parse_timecode(text, Fraction(25)) == (0, False)


@pytest.mark.parametrize(("suffix", "codec"), [("mov", "libx264"), ("mkv", "libx264"), ("mxf", "mpeg2video")])
def test_a_timecode_is_found_wherever_a_format_keeps_it(tmp_path, suffix, codec):
    path = tmp_path / f"a.{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        (container if suffix == "mkv" else stream).metadata["timecode"] = "10:00:00:05"
        for _ in range(10):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    footage, _ = describe(path, media.probe(path), [[0, 5]])
    assert (footage.start_frame, footage.is_drop_frame) == ((10 * 3600) * 25 + 5, False)


@pytest.mark.parametrize(
    ("rate", "counted", "drops", "text", "start_frame"),
    [
        ("60000/1001", "30000/1001", True, "01:00:00;10", 2 * 107902),
        ("60000/1001", "30000/1001", True, "00:59:59;29", 2 * 107891),
        ("60000/1001", "30000/1001", False, "10:00:00:29", 2 * (36_000 * 30 + 29)),
        ("60000/1001", "60000/1001", True, "01:00:00;10", 215794),
        ("60", "30", False, "01:00:01:15", 2 * (3601 * 30 + 15)),
        ("50", "25", False, "00:01:00:24", 2 * (60 * 25 + 24)),
        ("50", "50", False, "00:01:00:24", 60 * 50 + 24),
    ],
)
def test_timecode_is_counted_at_the_rate_of_its_track(tmp_path, rate, counted, drops, text, start_frame):
    path = write_with_timecode(tmp_path / "a.mov", rate, "01:00:00" + (";" if drops else ":") + "10")
    # FFmpeg counts at the rate of the video: the track's rate and number are replaced.
    content, counted = bytearray(path.read_bytes()), Fraction(counted)
    entry = content.rindex(b"tmcd") + 16  # after a reserved field: flags, time scale, frame duration, frames per second
    number = 215794 if drops else 3600 * math.ceil(Fraction(rate)) + 10
    expected = opentimelineio.opentime.from_timecode(text, float(counted) if drops else math.ceil(counted)).value
    content[entry + 4 : entry + 13] = struct.pack(">IIB", counted.numerator, counted.denominator, math.ceil(counted))
    stored = content.index(struct.pack(">I", number))
    content[stored : stored + 4] = struct.pack(">I", int(expected))
    path.write_bytes(content)
    with av.open(str(path)) as container:
        assert container.streams.video[0].metadata["timecode"] == text
    match, _ = describe(path, media.probe(path), [[2, 5]])
    assert (match.start_frame, match.is_drop_frame, match.rate_fps) == (start_frame, drops, Fraction(rate))
