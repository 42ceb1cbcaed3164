"""Exports, read back and compared frame by frame: with OpenTimelineIO, and as exact fractions."""

import re
import sys
from fractions import Fraction
from xml.etree import ElementTree

import av
import numpy as np
import opentimelineio
import pytest
from clips import write_clip
from timelines import FOLDER, Cut, footage, timeline_of

from videosummarizer import media
from videosummarizer.extraction.exports.chapters import write_webvtt
from videosummarizer.extraction.exports.edl import write_edl
from videosummarizer.extraction.exports.fcpxml import write_fcpxml
from videosummarizer.extraction.exports.otio import write_otio
from videosummarizer.extraction.exports.timeline import Clip, ExportError, Timeline, describe_match, find_timebase

RATES = ["24000/1001", "24", "25", "30000/1001", "30", "50", "60000/1001", "60"]
DROP_RATES = ["30000/1001", "60000/1001"]
NUM_FRAMES = 60 * 60 * 60 * 3
# Around minutes, where drop-frame timecode leaves numbers out; one frame long; up to the match's last frame.
CUTS = [
    Cut(0, 7, 0.5),
    Cut(1797, 1805, 0.25),
    Cut(3596, 3597, 0.75),
    Cut(17981, 17983, 1.0),
    Cut(107891, 215788, 0.0),
    Cut(NUM_FRAMES - 1, NUM_FRAMES, 0.875),
]
COUNTS = [(rate, False) for rate in RATES] + [(rate, True) for rate in DROP_RATES]


def frames_of(clips, start_frame=0):
    """(first frame, frame after the last) of OpenTimelineIO clips."""
    ranges = [clip.source_range for clip in clips]
    return [(r.start_time.value - start_frame, r.end_time_exclusive().value - start_frame) for r in ranges]


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


def record_starts():
    """Where each cut begins in the reel, in frames."""
    return np.cumsum([0] + [cut.end_frame - cut.start_frame for cut in CUTS])[:-1].tolist()


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


@pytest.mark.parametrize(("rate", "is_drop_frame"), COUNTS)
def test_an_otio_file_read_back_has_the_same_frames(rate, is_drop_frame):
    content = write_otio(timeline_of(footage(rate, is_drop_frame, 1000), CUTS), FOLDER).decode()
    timeline = opentimelineio.adapters.read_from_string(content, "otio_json")
    clips, audio = (list(track) for track in timeline.tracks)
    assert frames_of(clips, 1000) == frames_of(audio, 1000) == [(cut.start_frame, cut.end_frame) for cut in CUTS]
    assert {clip.source_range.start_time.rate for clip in clips} == {float(Fraction(rate))}
    assert {clip.media_reference.target_url for clip in clips} == {"../a%20match.mp4"}
    assert {clip.media_reference.available_range.duration.value for clip in clips} == {NUM_FRAMES}
    assert [clip.metadata["video_summarizer"]["score"] for clip in clips] == [cut.score for cut in CUTS]


def seconds(text):
    return Fraction(text.removesuffix("s"))


@pytest.mark.parametrize(("rate", "is_drop_frame"), COUNTS)
def test_a_final_cut_file_has_the_same_frames(rate, is_drop_frame):
    content = write_fcpxml(timeline_of(footage(rate, is_drop_frame, 1000), CUTS), FOLDER)
    root = ElementTree.fromstring(content)
    frame_sec = seconds(root.find("resources/format").get("frameDuration"))
    assert frame_sec == 1 / Fraction(rate)
    asset = root.find("resources/asset")
    assert seconds(asset.get("start")) / frame_sec == 1000
    assert seconds(asset.get("duration")) / frame_sec == NUM_FRAMES
    assert (asset.get("src"), asset.get("hasAudio")) == ("../a%20match.mp4", "1")
    clips = root.findall("event/project/sequence/spine/asset-clip")
    starts = [seconds(clip.get("start")) / frame_sec - 1000 for clip in clips]
    lengths = [seconds(clip.get("duration")) / frame_sec for clip in clips]
    assert starts == [cut.start_frame for cut in CUTS]
    assert [start + length for start, length in zip(starts, lengths, strict=True)] == [cut.end_frame for cut in CUTS]
    assert [seconds(clip.get("offset")) / frame_sec for clip in clips] == record_starts()
    assert {clip.get("tcFormat") for clip in clips} == {"DF" if is_drop_frame else "NDF"}
    sequence = root.find("event/project/sequence")
    assert seconds(sequence.get("duration")) / frame_sec == sum(lengths)


@pytest.mark.parametrize("rate", ["24", "25", "30", "50", "60"])  # it drops the fraction of a rate
def test_opentimelineio_reads_the_final_cut_file(rate):
    content = write_fcpxml(timeline_of(footage(rate), CUTS), FOLDER).decode()
    (timeline,) = opentimelineio.adapters.read_from_string(content, "fcpx_xml")
    clips = list(timeline.find_clips())
    assert [clip.name for clip in clips] == [f"a match {number:03d}" for number in range(1, len(CUTS) + 1)]
    assert {clip.source_range.duration.rate for clip in clips} == {int(rate)}
    assert frames_of(clips) == [(cut.start_frame, cut.end_frame) for cut in CUTS]


@pytest.mark.parametrize("rate", RATES)
def test_chapters_begin_and_end_within_their_frames(rate):
    frame_sec = float(1 / Fraction(rate))
    sections = np.array([[cut.start_frame, cut.end_frame] for cut in CUTS])
    text = write_webvtt(sections * frame_sec, np.array([cut.score for cut in CUTS])).decode()
    assert text.startswith("WEBVTT\n\n1\n00:00:00.000 --> 00:00:00.")
    times = [int(h) * 3600 + int(m) * 60 + float(s) for h, m, s in re.findall(r"(\d\d):(\d\d):(\d\d\.\d{3})", text)]
    assert [int(time_sec / frame_sec + 1e-6) for time_sec in times] == sections.ravel().tolist()
    assert "Highlight 2 (score 0.25)" in text


def describe(path, sections, scores=None):
    return describe_match(path, media.probe(path), np.array(sections), scores or [0.5] * len(sections))


def test_footage_of_a_clip(tmp_path):
    match, cuts = describe(write_clip(tmp_path / "a.mp4"), [[3, 10], [20, 60]], [0.25, 0.75])
    assert (match.rate_fps, match.num_frames, match.start_frame, match.is_drop_frame) == (30, 60, 0, False)
    assert (match.width_px, match.height_px, match.num_channels, match.is_exact) == (160, 64, 0, True)
    assert cuts == [Clip(match, 3, 10, 0.25), Clip(match, 20, 60, 0.75)]


def test_a_variable_frame_rate_is_cut_by_time(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", ticks=[*range(0, 20), *range(20, 60, 2), *range(60, 90)])
    match, cuts = describe(clip, [[10, 20], [25, 40], [45, 70]])
    assert not match.is_exact
    assert match.rate_fps == 30  # most frames are that far apart; there are 70 in 3 s
    assert [(cut.start_frame, cut.end_frame) for cut in cuts] == [(10, 20), (30, 60), (65, 90)]


def test_times_in_whole_milliseconds_are_a_constant_rate():
    places_sec = np.round(np.arange(30000) * 1001 / 30000, 3)
    assert find_timebase(30000 / 1001, places_sec) == (Fraction(30000, 1001), True)


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
    match, cuts = describe(path, [[2, 5]])
    assert (match.start_frame, match.is_drop_frame, match.rate_fps) == (start_frame, is_drop_frame, Fraction(rate))
    assert opentimelineio.opentime.from_timecode(timecode, float(Fraction(rate))).value == start_frame
    first = timecode[:-1] + str(int(timecode[-1]) + 2)
    assert first in write_edl(Timeline(match.name, match, cuts)).decode()


def test_without_opentimelineio_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentimelineio", None)
    timeline = timeline_of(footage("25"), CUTS)
    with pytest.raises(ExportError, match="pip install opentimelineio otio-cmx3600-adapter otio-fcp-adapter, then run"):
        write_edl(timeline)
    with pytest.raises(ExportError, match="pip install opentimelineio otio-cmx3600-adapter otio-fcp-adapter, then run"):
        write_otio(timeline, FOLDER)
    assert write_fcpxml(timeline, FOLDER).startswith(b"<?xml")
