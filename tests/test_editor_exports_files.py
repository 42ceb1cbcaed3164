"""What stands in export files apart from times: names, audio, size, headers; titles with special characters."""

import dataclasses
import re
from xml.etree import ElementTree

import numpy as np
import opentimelineio
import pytest
import timelines
from timelines import FOLDER, Cut, timeline_of

from videosummarizer.extraction.exports.chapters import write_webvtt
from videosummarizer.extraction.exports.edl import write_edl
from videosummarizer.extraction.exports.fcpxml import write_fcpxml
from videosummarizer.extraction.exports.otio import write_otio
from videosummarizer.extraction.exports.timeline import ExportError

CUTS = [Cut(25, 125, 0.5), Cut(1000, 1025, 0.25), Cut(10050, 10100, 0.98765)]
TITLES = ["a <b> & \"c\" 'd'", "100% #1?", "경기 ∕ 1", "\\1 AX V     C", "001  AX       V     C"]


def footage(title="a match", num_channels=2, rate="50", start_frame=150):
    return timelines.footage(rate, False, start_frame, num_channels, title, num_frames=20_000)


def element(content, path):
    elements = ElementTree.fromstring(content).findall(path)
    assert len(elements) == 1
    return elements[0]


@pytest.mark.parametrize(
    ("num_channels", "audio"),
    [
        (0, {}),
        (1, {"hasAudio": "1", "audioSources": "1", "audioChannels": "1"}),
        (6, {"hasAudio": "1", "audioSources": "1", "audioChannels": "6"}),
    ],
)
def test_a_final_cut_file_claims_the_audio_that_is_there(num_channels, audio):
    asset = element(write_fcpxml(timeline_of(footage(num_channels=num_channels), CUTS), FOLDER), "resources/asset")
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
    content = write_fcpxml(timeline_of(footage(), CUTS), FOLDER)
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
    content = write_fcpxml(timeline_of(footage(start_frame=0), CUTS), FOLDER).decode()
    (timeline,) = opentimelineio.adapters.read_from_string(content, "fcpx_xml")
    ranges = [clip.source_range for clip in timeline.find_clips()]
    received = [(part.start_time.to_seconds(), part.end_time_exclusive().to_seconds()) for part in ranges]
    assert received == [(0.5, 2.5), (20, 20.5), (201, 202)]  # halves of seconds, which floats hold exactly


@pytest.mark.parametrize("title", TITLES)
def test_any_title_arrives_in_every_format(title):
    match = footage(title)
    names = [f"{title} {number:03d}" for number in (1, 2, 3)]
    url = "../" + match.path.as_uri().removeprefix("file:///matches/")
    otio = opentimelineio.adapters.read_from_string(write_otio(timeline_of(match, CUTS), FOLDER).decode(), "otio_json")
    assert otio.name == f"{title} highlights"
    assert [clip.name for clip in otio.tracks[0]] == names
    assert {clip.media_reference.target_url for clip in otio.find_clips()} == {url}
    content = write_fcpxml(timeline_of(match, CUTS), FOLDER)
    assert [clip.get("name") for clip in ElementTree.fromstring(content).iter("asset-clip")] == names
    assert element(content, "resources/asset").get("src") == url
    assert element(content, "event/project").get("name") == f"{title} highlights"
    text = write_edl(timeline_of(match, CUTS)).decode()
    assert text.splitlines()[0] == f"TITLE: {title} highlights"
    edl = opentimelineio.adapters.read_from_string(text, "cmx_3600", rate=50)
    assert [track.name for track in edl.tracks] == ["V", "A1", "A2"]
    assert [clip.source_range.start_time.value for clip in edl.tracks[0].find_clips()] == [175, 1150, 10200]
    assert re.findall(r"FROM CLIP NAME: +(.*)", text) == [f"{title}.mp4"] * 3


def test_an_otio_timeline_has_a_video_and_an_audio_track_with_scores_and_the_whole_match_as_media():
    content = write_otio(timeline_of(footage(), CUTS), FOLDER).decode()
    timeline = opentimelineio.adapters.read_from_string(content, "otio_json")
    track, audio = timeline.tracks
    assert [(part.name, part.kind) for part in (track, audio)] == [
        ("Highlights", "Video"),
        ("Highlights audio", "Audio"),
    ]
    assert [clip.metadata["video_summarizer"]["score"] for clip in track] == [0.5, 0.25, 0.98765]
    for clip in track:
        available = clip.media_reference.available_range
        assert (available.start_time.value, available.duration.value) == (150, 20_000)
        assert (available.start_time.rate, available.duration.rate) == (50, 50)
        assert clip.source_range.duration.rate == 50
    assert [clip.range_in_parent().start_time.value for clip in track] == [0, 100, 125]


@pytest.mark.parametrize(("num_channels", "channels"), [(0, "V    "), (1, "B    "), (2, "AA/V "), (6, "AA/V ")])
def test_an_edl_names_the_channels_of_every_cut(num_channels, channels):
    lines = write_edl(timeline_of(footage(num_channels=num_channels), CUTS)).decode().splitlines()
    assert lines[:2] == ["TITLE: a match highlights", "FCM: NON-DROP FRAME"]
    events = [line for line in lines if re.match(r"\d{3} ", line)]
    assert [line[:3] for line in events] == ["001", "002", "003"]
    assert all(re.match(rf"\d+ +AX +{channels} *C ", line) for line in events)
    assert events[0].endswith("00:00:03:25 00:00:05:25 00:00:00:00 00:00:02:00")


def test_an_edl_holds_events_and_the_names_of_files_and_says_nothing_else():
    title = "a title of far more than eight letters"  # to which old systems cut a reel's name
    lines = write_edl(timeline_of(footage(title), CUTS)).decode().splitlines()
    others = {re.sub(r"\d{3} .*", "an event", line) for line in lines[2:] if line}
    assert others == {"an event", f"* FROM CLIP NAME:  {title}.mp4", f"* OTIO REFERENCE FROM: {title}.mp4"}


def test_footage_and_cuts_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        footage().start_frame = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        timeline_of(footage(), CUTS).clips[0].start_frame = 1


def test_without_sections_there_are_no_chapters_and_no_clips():
    assert write_webvtt(np.zeros((0, 2)), np.zeros(0)) == b"WEBVTT\n"
    assert list(ElementTree.fromstring(write_fcpxml(timeline_of(footage(), []), FOLDER)).iter("asset-clip")) == []
    content = write_otio(timeline_of(footage(), []), FOLDER).decode()
    assert list(opentimelineio.adapters.read_from_string(content, "otio_json").find_clips()) == []


def test_chapters_are_written_to_the_byte():
    sections_sec = np.array([[0.0004, 1.0000000001], [59.9999, 3599.9991], [3661.5, 36000]])
    content = write_webvtt(sections_sec, np.array([0.5, 0.126, 1]))
    assert content == (
        b"WEBVTT\n\n"
        b"1\n00:00:00.001 --> 00:00:01.000\nHighlight 1 (score 0.50)\n\n"
        b"2\n00:01:00.000 --> 01:00:00.000\nHighlight 2 (score 0.13)\n\n"
        b"3\n01:01:01.500 --> 10:00:00.000\nHighlight 3 (score 1.00)\n"
    )


def test_scores_and_sections_of_different_number_are_refused():
    with pytest.raises(ValueError, match="argument"):
        write_webvtt(np.zeros((2, 2)), np.zeros(3))


def test_without_the_adapter_for_edls_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(opentimelineio.adapters, "available_adapter_names", lambda: ["otio_json"])
    with pytest.raises(ExportError, match="pip install opentimelineio otio-cmx3600-adapter otio-fcp-adapter, then run"):
        write_edl(timeline_of(footage(), CUTS))
    assert write_otio(timeline_of(footage(), CUTS), FOLDER).startswith(b"{")
