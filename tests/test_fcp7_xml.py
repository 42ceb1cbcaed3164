"""Final Cut Pro 7 XML, read back with OpenTimelineIO and compared frame by frame; and what only Premiere reads."""

import dataclasses
from fractions import Fraction
from xml.etree import ElementTree

import opentimelineio
import pytest
from timelines import COUNTS, CUTS, NUM_FRAMES, SHORT_CUTS, TITLES, footage, mixed_timeline, recording, timeline_of

from videosummarizer.extraction.exports.fcp7_xml import write_fcp7_xml

# How the format counts each rate: a whole number of frames per second, and whether it is slower by 1000/1001.
TIMEBASES = {"24000/1001": ("24", "TRUE"), "30000/1001": ("30", "TRUE"), "60000/1001": ("60", "TRUE")}


def numbers(items, *tags):
    return [tuple(int(item.findtext(tag)) for tag in tags) for item in items]


def expected_places(timeline):
    return list(zip(timeline.edges[:-1], timeline.edges[1:], strict=True))


@pytest.mark.parametrize("start_frame", [0, 107892])
@pytest.mark.parametrize(("rate", "is_drop_frame"), COUNTS)
def test_opentimelineio_reads_the_same_frames(rate, is_drop_frame, start_frame):
    content = write_fcp7_xml(timeline_of(footage(rate, is_drop_frame, start_frame), CUTS)).decode()
    timeline = opentimelineio.adapters.read_from_string(content, "fcp_xml")
    assert {track.kind for track in timeline.tracks} == {"Video", "Audio"}
    for track in timeline.tracks:
        ranges = [clip.source_range for clip in track.find_clips()]
        received = [
            (part.start_time.value - start_frame, part.end_time_exclusive().value - start_frame) for part in ranges
        ]
        assert received == [(cut.start_frame, cut.end_frame) for cut in CUTS]
        assert all(abs(part.start_time.rate - Fraction(rate)) < 0.01 for part in ranges)
        for clip in track.find_clips():
            assert clip.media_reference.target_url == "file:///matches/a%20match.mp4"
            assert clip.media_reference.available_range.start_time.value == start_frame
            assert clip.media_reference.available_range.duration.value == NUM_FRAMES


@pytest.mark.parametrize(("rate", "is_drop_frame"), COUNTS)
def test_every_track_has_the_clips_at_their_places_and_rates(rate, is_drop_frame):
    timeline = timeline_of(footage(rate, is_drop_frame), CUTS)
    root = ElementTree.fromstring(write_fcp7_xml(timeline))
    tracks = root.findall(".//sequence/media/*/track")
    assert len(tracks) == 3  # video, and two channels
    for track in tracks:
        items = track.findall("clipitem")
        assert numbers(items, "in", "out") == [(cut.start_frame, cut.end_frame) for cut in CUTS]
        assert numbers(items, "start", "end") == expected_places(timeline)
        assert all(len(item.findall("rate")) == 1 for item in items)
    rates = {(part.findtext("timebase"), part.findtext("ntsc")) for part in root.iter("rate")}
    assert rates == {TIMEBASES.get(rate, (rate, "FALSE"))}
    assert {part.text for part in root.iter("displayformat")} == {"DF" if is_drop_frame else "NDF"}
    assert root.findtext(".//sequence/duration") == str(timeline.edges[-1])


@pytest.mark.parametrize(
    ("rate", "is_drop_frame", "start_frame", "timecode"),
    [
        ("30000/1001", True, 107892, "01:00:00;00"),
        ("30000/1001", False, 108000, "01:00:00:00"),
        ("60000/1001", True, 35964, "00:10:00;00"),
        ("60000/1001", False, 60, "00:00:01:00"),
        ("24000/1001", False, 25, "00:00:01:01"),
        ("25", False, 900005, "10:00:00:05"),
    ],
)
def test_the_timecode_of_the_match_is_counted_as_it_is_recorded(rate, is_drop_frame, start_frame, timecode):
    root = ElementTree.fromstring(write_fcp7_xml(timeline_of(footage(rate, is_drop_frame, start_frame), CUTS)))
    file = root.find(".//file/timecode")
    assert file.findtext("string") == timecode
    assert file.findtext("frame") == str(start_frame)


def test_video_and_audio_of_each_clip_are_linked():
    root = ElementTree.fromstring(write_fcp7_xml(timeline_of(recording(), SHORT_CUTS)))
    tracks = root.findall(".//sequence/media/*/track")
    ids = [[item.get("id") for item in track.findall("clipitem")] for track in tracks]
    assert len({name for track in ids for name in track}) == 9  # each clip of each track is one of its own
    for track in tracks:
        for index, item in enumerate(track.findall("clipitem")):
            links = [tuple(part.text for part in link) for link in item.findall("link")]
            assert links == [
                (ids[0][index], "video", "1", str(index + 1)),
                (ids[1][index], "audio", "1", str(index + 1), "1"),
                (ids[2][index], "audio", "2", str(index + 1), "1"),
            ]


@pytest.mark.parametrize(
    ("num_channels", "types"), [(0, []), (1, ["Mono"]), (2, ["Stereo", "Stereo"]), (6, [None] * 6)]
)
def test_every_channel_of_the_match_arrives(num_channels, types):
    root = ElementTree.fromstring(write_fcp7_xml(timeline_of(recording(num_channels=num_channels), SHORT_CUTS)))
    tracks = root.findall(".//sequence/media/audio/track")
    assert [track.get("premiereTrackType") for track in tracks] == types
    for channel, track in enumerate(tracks, start=1):
        assert {item.findtext("sourcetrack/trackindex") for item in track.findall("clipitem")} == {str(channel)}
        assert track.findtext("outputchannelindex") == str(2 - channel % 2)
        channel_types = {item.get("premiereChannelType") for item in track.findall("clipitem")}
        assert channel_types == {"stereo" if num_channels == 2 else "mono"}
    outputs = root.findall(".//sequence/media/audio/outputs/group")
    assert [output.findtext("channel/index") for output in outputs] == ["1", "2"]
    assert root.findtext(".//file/media/audio/channelcount") == (str(num_channels) if num_channels else None)
    assert len(root.findall(".//clipitem/link")) == (0 if num_channels == 0 else 3 * (1 + num_channels) ** 2)


def test_sizes_names_and_scores_arrive():
    content = write_fcp7_xml(timeline_of(recording(), SHORT_CUTS))
    assert content.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE xmeml>\n<xmeml version="4">\n')
    root = ElementTree.fromstring(content)
    for part in (".//sequence/media/video/format", ".//file/media/video"):
        characteristics = root.find(f"{part}/samplecharacteristics")
        assert [characteristics.findtext(tag) for tag in ("width", "height")] == ["1280", "720"]
        assert [characteristics.findtext(f"rate/{tag}") for tag in ("timebase", "ntsc")] == ["50", "FALSE"]
    assert root.findtext(".//sequence/name") == "a match highlights"
    assert root.findtext(".//file/name") == "a match.mp4"
    items = root.findall(".//sequence/media/video/track/clipitem")
    assert [item.findtext("name") for item in items] == ["a match 001", "a match 002", "a match 003"]
    notes = [item.findtext("logginginfo/lognote") for item in items]
    assert notes == ["score 0.500", "score 0.250", "score 0.988"]


@pytest.mark.parametrize("title", TITLES)
def test_any_title_arrives(title):
    match = recording(title)
    root = ElementTree.fromstring(write_fcp7_xml(timeline_of(match, SHORT_CUTS)))
    assert root.findtext(".//file/pathurl") == match.path.as_uri()
    assert root.findtext(".//file/name") == f"{title}.mp4"
    assert root.findtext(".//sequence/media/video/track/clipitem/name") == f"{title} 001"


@pytest.mark.parametrize("rate", ["24000/1001", "25", "30000/1001", "60"])
def test_clips_of_matches_of_several_rates_follow_one_another(rate):
    timeline = mixed_timeline(rate)
    root = ElementTree.fromstring(write_fcp7_xml(timeline))
    video, left, right = root.findall(".//sequence/media/*/track")
    items = video.findall("clipitem")
    assert numbers(items, "in", "out") == [(clip.start_frame, clip.end_frame) for clip in timeline.clips]
    assert numbers(items, "start", "end") == expected_places(timeline)
    assert root.findtext(".//sequence/duration") == str(timeline.edges[-1])
    assert root.findtext(".//sequence/rate/timebase") == TIMEBASES.get(rate, (rate,))[0]
    urls = [file.findtext("pathurl") for file in root.iter("file") if file.find("pathurl") is not None]
    assert urls == [reference.path.as_uri() for reference in timeline.references]
    places = list(zip(timeline.clips, expected_places(timeline), strict=True))
    for channel, track in enumerate((left, right)):
        expected = [place for clip, place in places if clip.reference.num_channels > channel]
        assert numbers(track.findall("clipitem"), "start", "end") == expected


def test_without_clips_the_file_is_empty_but_readable():
    content = write_fcp7_xml(timeline_of(recording(), [])).decode()
    assert list(opentimelineio.adapters.read_from_string(content, "fcp_xml").find_clips()) == []


def test_of_a_file_with_several_audio_tracks_the_one_that_is_read_is_cut():
    match = dataclasses.replace(recording(), first_channel=3, channels_of_tracks=(2, 1, 2))
    root = ElementTree.fromstring(write_fcp7_xml(timeline_of(match, SHORT_CUTS)))
    tracks = root.findall(".//sequence/media/audio/track")
    received = [{item.findtext("sourcetrack/trackindex") for item in track.findall("clipitem")} for track in tracks]
    assert received == [{"4"}, {"5"}]
    assert [part.text for part in root.findall(".//file/media/audio/channelcount")] == ["2", "1", "2"]
