"""OpenTimelineIO files, read back and compared frame by frame."""

import subprocess
import sys
from fractions import Fraction

import opentimelineio
import pytest
from timelines import (
    COUNTS,
    CUTS,
    FOLDER,
    NUM_FRAMES,
    SHORT_CUTS,
    Cut,
    footage,
    frames_of,
    mixed_timeline,
    recording,
    timeline_of,
)

from videosummarizer.extraction.exports.edl import write_edl
from videosummarizer.extraction.exports.fcpxml import write_fcpxml
from videosummarizer.extraction.exports.otio import write_otio
from videosummarizer.extraction.exports.timeline import ExportError


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


def test_without_opentimelineio_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentimelineio", None)
    timeline = timeline_of(footage("25"), CUTS)
    with pytest.raises(ExportError, match="pip install opentimelineio otio-cmx3600-adapter otio-fcp-adapter, then run"):
        write_edl(timeline)
    with pytest.raises(ExportError, match="pip install opentimelineio otio-cmx3600-adapter otio-fcp-adapter, then run"):
        write_otio(timeline, FOLDER)
    assert write_fcpxml(timeline, FOLDER).startswith(b"<?xml")


def test_an_otio_timeline_has_a_video_and_an_audio_track_with_scores_and_the_whole_match_as_media():
    content = write_otio(timeline_of(recording(), SHORT_CUTS), FOLDER).decode()
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


@pytest.mark.parametrize("num_channels", [0, 1, 2, 6])
def test_an_otio_file_has_an_audio_track_with_the_same_clips_if_the_match_has_audio(num_channels):
    content = write_otio(timeline_of(recording(num_channels=num_channels), SHORT_CUTS), FOLDER).decode()
    tracks = opentimelineio.adapters.read_from_string(content, "otio_json").tracks
    assert [track.kind for track in tracks] == ["Video", "Audio"][: 2 if num_channels else 1]
    for track in tracks:
        assert frames_of(track, 150) == [cut[:2] for cut in SHORT_CUTS]
        assert [clip.name for clip in track] == ["a match 001", "a match 002", "a match 003"]
        assert {clip.media_reference.name for clip in track} == {"a match.mp4"}


@pytest.mark.parametrize("rate", ["24000/1001", "25", "30000/1001", "60"])
def test_clips_of_several_matches_are_counted_at_their_own_rates(rate):
    timeline = mixed_timeline(rate)
    content = write_otio(timeline, FOLDER).decode()
    result = opentimelineio.adapters.read_from_string(content, "otio_json")
    assert result.global_start_time.rate == float(Fraction(rate))
    video, audio = result.tracks
    for item, heard, clip in zip(video, audio, timeline.clips, strict=True):
        reference = clip.reference
        assert frames_of([item]) == [(clip.start_frame, clip.end_frame)]
        assert item.source_range.start_time.rate == float(reference.rate_fps)
        assert item.media_reference.target_url == f"../{reference.path.name}"
        assert isinstance(heard, opentimelineio.schema.Clip) == (reference.num_channels > 0)
        assert heard.source_range.duration == item.source_range.duration


def test_clips_without_scores_have_none():
    content = write_otio(timeline_of(recording(), [Cut(3, 5, None)]), FOLDER).decode()
    clip = next(iter(opentimelineio.adapters.read_from_string(content, "otio_json").find_clips()))
    assert dict(clip.metadata) == {}


def test_the_library_is_imported_when_it_is_needed():
    code = "import sys; from videosummarizer.extraction import match_writers; print('opentimelineio' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"
