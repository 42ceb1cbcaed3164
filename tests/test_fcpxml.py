"""Final Cut Pro X files, compared as exact fractions, and read back with OpenTimelineIO."""

from fractions import Fraction
from xml.etree import ElementTree

import numpy as np
import opentimelineio
import pytest
from timelines import (
    COUNTS,
    CUTS,
    FOLDER,
    NUM_FRAMES,
    SHORT_CUTS,
    Cut,
    element,
    footage,
    frames_of,
    mixed_timeline,
    record_starts,
    recording,
    timeline_of,
)

from videosummarizer.extraction.exports.fcpxml import write_fcpxml


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


@pytest.mark.parametrize(
    ("num_channels", "audio"),
    [
        (0, {}),
        (1, {"hasAudio": "1", "audioSources": "1", "audioChannels": "1"}),
        (6, {"hasAudio": "1", "audioSources": "1", "audioChannels": "6"}),
    ],
)
def test_a_final_cut_file_claims_the_audio_that_is_there(num_channels, audio):
    asset = element(
        write_fcpxml(timeline_of(recording(num_channels=num_channels), SHORT_CUTS), FOLDER), "resources/asset"
    )
    assert asset.attrib == {
        "id": "r2",
        "name": "a match",
        "src": "../a%20match.mp4",
        "start": "150/50s",
        "duration": "20000/50s",
        "hasVideo": "1",
        "format": "r1",
        **audio,
    }


def test_a_final_cut_file_is_complete():
    content = write_fcpxml(timeline_of(recording(), SHORT_CUTS), FOLDER)
    assert content.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n<fcpxml version="1.8">\n')
    assert content.endswith(b"</fcpxml>\n")
    size = {"id": "r1", "frameDuration": "1/50s", "width": "1280", "height": "720"}
    assert element(content, "resources/format").attrib == size
    assert element(content, "event").attrib == {"name": "Highlights"}
    assert element(content, "event/project").attrib == {"name": "a match highlights"}
    assert element(content, "event/project/sequence").attrib == {
        "format": "r1",
        "duration": "175/50s",
        "tcStart": "0s",
        "tcFormat": "NDF",
    }
    clips = ElementTree.fromstring(content).findall("event/project/sequence/spine/asset-clip")
    assert [clip.find("note").text for clip in clips] == ["score 0.500", "score 0.250", "score 0.988"]
    assert clips[1].attrib == {
        "ref": "r2",
        "name": "a match 002",
        "offset": "100/50s",
        "start": "1150/50s",
        "duration": "25/50s",
        "format": "r1",
        "tcFormat": "NDF",
    }


def test_opentimelineio_reads_the_final_cut_file_to_the_frame():
    content = write_fcpxml(timeline_of(recording(start_frame=0), SHORT_CUTS), FOLDER).decode()
    (timeline,) = opentimelineio.adapters.read_from_string(content, "fcpx_xml")
    ranges = [clip.source_range for clip in timeline.find_clips()]
    received = [(part.start_time.to_seconds(), part.end_time_exclusive().to_seconds()) for part in ranges]
    assert received == [(0.5, 2.5), (20, 20.5), (201, 202)]  # halves of seconds, which floats hold exactly


@pytest.mark.parametrize("rate", ["24000/1001", "25", "30000/1001", "60"])
def test_clips_of_several_matches_follow_one_another_in_frames_of_the_timeline(rate):
    timeline = mixed_timeline(rate)
    root = ElementTree.fromstring(write_fcpxml(timeline, FOLDER))
    formats = {part.get("id"): part for part in root.findall("resources/format")}
    assets = {part.get("id"): part for part in root.findall("resources/asset")}
    assert (len(formats), len(assets)) == (8, 8)
    frame_sec = seconds(formats[root.find("event/project/sequence").get("format")].get("frameDuration"))
    assert frame_sec == 1 / Fraction(rate)
    clips, edges = root.findall("event/project/sequence/spine/asset-clip"), timeline.edges
    assert [seconds(clip.get("offset")) / frame_sec for clip in clips] == edges[:-1]
    assert [seconds(clip.get("duration")) / frame_sec for clip in clips] == np.diff(edges).tolist()
    for item, clip in zip(clips, timeline.clips, strict=True):
        reference = clip.reference
        assert seconds(item.get("start")) == clip.start_frame / reference.rate_fps
        assert assets[item.get("ref")].get("src") == f"../{reference.path.name}"
        assert seconds(formats[item.get("format")].get("frameDuration")) == 1 / reference.rate_fps
        conform = item.find("conform-rate")
        assert (conform is None) == (reference.rate_fps == Fraction(rate))
        if conform is not None:
            assert conform.get("scaleEnabled") == "0"
            assert abs(float(conform.get("srcFrameRate")) - reference.rate_fps) < 0.01


def test_a_clip_without_a_score_has_no_note():
    root = ElementTree.fromstring(write_fcpxml(timeline_of(recording(), [Cut(3, 5, None)]), FOLDER))
    assert root.find(".//asset-clip") is not None
    assert root.find(".//note") is None
