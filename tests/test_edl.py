"""EDLs, read back with OpenTimelineIO and compared frame by frame."""

import re
from fractions import Fraction
from pathlib import Path

import opentimelineio
import pytest
from timelines import COUNTS, CUTS, FOLDER, SHORT_CUTS, Cut, footage, frames_of, record_starts, recording, timeline_of

from videosummarizer.extraction.exports.edl import write_edl
from videosummarizer.extraction.exports.otio import write_otio
from videosummarizer.extraction.exports.timeline import Clip, ExportError, MediaReference, Timeline


@pytest.mark.parametrize("start_frame", [0, 107892])
@pytest.mark.parametrize(("rate", "is_drop_frame"), COUNTS)
def test_an_edl_read_back_has_the_same_frames(rate, is_drop_frame, start_frame):
    match = footage(rate, is_drop_frame, start_frame)
    text = write_edl(timeline_of(match, CUTS)).decode()
    mode = "DROP FRAME" if is_drop_frame else "NON-DROP FRAME"
    assert text.startswith(f"TITLE: a match highlights\nFCM: {mode}\n")
    assert (";" in text) == is_drop_frame
    timeline = opentimelineio.adapters.read_from_string(text, "cmx_3600", rate=float(Fraction(rate)))
    assert [track.name for track in timeline.tracks] == ["V", "A1", "A2"]
    expected = [(cut.start_frame, cut.end_frame) for cut in CUTS]
    for track in timeline.tracks:
        assert frames_of(track.find_clips(), start_frame) == expected
        assert [c.range_in_parent().start_time.value for c in track] == record_starts()
    assert re.findall(r"FROM CLIP NAME: +(.*)", text) == ["a match.mp4"] * len(CUTS)


def test_drop_frame_timecode_counts_as_smpte_says():
    cuts = [Cut(1799, 1800, 0), Cut(17982, 107892, 0)]
    text = write_edl(timeline_of(footage("30000/1001", is_drop_frame=True), cuts))
    assert re.findall(r"AA/V +C +(\S+) (\S+)", text.decode()) == [
        ("00:00:59;29", "00:01:00;02"),
        ("00:10:00;00", "01:00:00;00"),
    ]


@pytest.mark.parametrize(("num_channels", "tracks"), [(0, ["V"]), (1, ["V", "A1"]), (6, ["V", "A1", "A2"])])
def test_an_edl_cuts_the_audio_that_is_there(num_channels, tracks):
    text = write_edl(timeline_of(footage("25", num_channels=num_channels), CUTS)).decode()
    timeline = opentimelineio.adapters.read_from_string(text, "cmx_3600", rate=25)
    assert [track.name for track in timeline.tracks] == tracks


@pytest.mark.parametrize(("num_channels", "channels"), [(0, "V    "), (1, "B    "), (2, "AA/V "), (6, "AA/V ")])
def test_an_edl_names_the_channels_of_every_cut(num_channels, channels):
    lines = write_edl(timeline_of(recording(num_channels=num_channels), SHORT_CUTS)).decode().splitlines()
    assert lines[:2] == ["TITLE: a match highlights", "FCM: NON-DROP FRAME"]
    events = [line for line in lines if re.match(r"\d{3} ", line)]
    assert [line[:3] for line in events] == ["001", "002", "003"]
    assert all(re.match(rf"\d+ +AX +{channels} *C ", line) for line in events)
    assert events[0].endswith("00:00:03:25 00:00:05:25 00:00:00:00 00:00:02:00")


def test_an_edl_holds_events_and_the_names_of_files_and_says_nothing_else():
    title = "a title of far more than eight letters"  # to which old systems cut a reel's name
    lines = write_edl(timeline_of(recording(title), SHORT_CUTS)).decode().splitlines()
    others = {re.sub(r"\d{3} .*", "an event", line) for line in lines[2:] if line}
    assert others == {"an event", f"* FROM CLIP NAME:  {title}.mp4", f"* OTIO REFERENCE FROM: {title}.mp4"}


def test_without_the_adapter_for_edls_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(opentimelineio.adapters, "available_adapter_names", lambda: ["otio_json"])
    with pytest.raises(ExportError, match="pip install opentimelineio otio-cmx3600-adapter otio-fcp-adapter, then run"):
        write_edl(timeline_of(recording(), SHORT_CUTS))
    assert write_otio(timeline_of(recording(), SHORT_CUTS), FOLDER).startswith(b"{")


def test_cuts_around_dropped_numbers_are_neither_a_frame_short_nor_long(clip):
    match = MediaReference(Path("/a.mp4"), Fraction(30000, 1001), True, 107892, 200_000, 16, 9, 2, True)
    cuts = [Cut(first, first + length, 0) for first in (1798, 1799, 1800, 17981, 17982) for length in (1, 2, 1801)]
    text = write_edl(timeline_of(match, cuts)).decode()
    rows = re.findall(r"C +(\S+) (\S+) (\S+) (\S+)\n", text)
    frames = [[opentimelineio.opentime.from_timecode(code, 30000 / 1001).value for code in row] for row in rows]
    record = 0
    for (start, end, record_start, record_end), cut in zip(frames, cuts, strict=True):
        assert (start - 107892, end - 107892) == (cut.start_frame, cut.end_frame)
        assert (record_start, record_end) == (record, record + cut.end_frame - cut.start_frame)
        record = record_end


def test_an_edl_of_several_matches_names_each_file_and_its_audio():
    first, second = recording("first"), recording("second", num_channels=0, start_frame=0)
    clips = [Clip(first, 25, 125, 0.5), Clip(second, 0, 5, 0.5), Clip(first, 200, 210, 0.5)]
    text = write_edl(Timeline("week", first, clips)).decode()
    assert re.findall(r"FROM CLIP NAME: +(.*)", text) == ["first.mp4", "second.mp4", "first.mp4"]
    assert re.findall(r"AX +(\S+) +C +(.*)", text) == [
        ("AA/V", "00:00:03:25 00:00:05:25 00:00:00:00 00:00:02:00"),
        ("V", "00:00:00:00 00:00:00:05 00:00:02:00 00:00:02:05"),
        ("AA/V", "00:00:07:00 00:00:07:10 00:00:02:05 00:00:02:15"),
    ]


@pytest.mark.parametrize(("other", "counted"), [("25", "b at 25 fps"), ("30000/1001", "b at 29.97 fps drop-frame")])
def test_matches_that_are_counted_differently_cannot_be_in_one_edl(other, counted):
    match, other = footage("30000/1001"), footage(other, other != "25", title="b")
    with pytest.raises(ExportError, match=f"counts all timecode alike, received a match at 29.97 fps, {counted}: use"):
        write_edl(Timeline("week", match, [Clip(match, 0, 5, 0.5), Clip(other, 0, 5, 0.5)]))
