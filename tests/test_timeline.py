"""The cut that all exports are written from: rates, variable frame rates, clips of several matches."""

import dataclasses
import math
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree

import av
import numpy as np
import opentimelineio
import pytest
from clips import tone, write_clip
from timelines import FOLDER, RATES, SHORT_CUTS, recording, timeline_of

from videosummarizer import media
from videosummarizer.extraction.exports.edl import write_edl
from videosummarizer.extraction.exports.fcp7_xml import write_fcp7_xml
from videosummarizer.extraction.exports.fcpxml import write_fcpxml
from videosummarizer.extraction.exports.otio import write_otio
from videosummarizer.extraction.exports.timeline import (
    Clip,
    MediaReference,
    Timeline,
    describe_match,
    find_timebase,
)


def seconds(text):
    return Fraction(text.removesuffix("s"))


def describe(path, info, sections, scores=None):
    scores = [0.5] * len(sections) if scores is None else scores
    return describe_match(path, info, np.array(sections), np.array(scores))


def test_footage_of_a_clip(tmp_path):
    path = write_clip(tmp_path / "a.mp4")
    match, cuts = describe(path, media.probe(path), [[3, 10], [20, 60]], [0.25, 0.75])
    assert (match.rate_fps, match.num_frames, match.start_frame, match.is_drop_frame) == (30, 60, 0, False)
    assert (match.width_px, match.height_px, match.num_channels, match.is_exact) == (160, 64, 0, True)
    assert cuts == [Clip(match, 3, 10, 0.25), Clip(match, 20, 60, 0.75)]


def test_a_variable_frame_rate_is_cut_by_time(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", ticks=[*range(0, 20), *range(20, 60, 2), *range(60, 90)])
    match, cuts = describe(clip, media.probe(clip), [[10, 20], [25, 40], [45, 70]])
    assert not match.is_exact
    assert match.rate_fps == 30  # most frames are that far apart; there are 70 in 3 s
    assert [(cut.start_frame, cut.end_frame) for cut in cuts] == [(10, 20), (30, 60), (65, 90)]


def test_times_in_whole_milliseconds_are_a_constant_rate():
    places_sec = np.round(np.arange(30000) * 1001 / 30000, 3)
    assert find_timebase(30000 / 1001, places_sec) == (Fraction(30000, 1001), True)


def test_footage_and_cuts_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        recording().start_frame = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        timeline_of(recording(), SHORT_CUTS).clips[0].start_frame = 1


def info_of(times_sec, end_sec):
    """What media.probe would say of a video with frames at these times."""
    times_sec = np.asarray(times_sec, np.float64)
    rate_fps = len(times_sec) / (end_sec - times_sec[0])
    return media.VideoInfo(end_sec, end_sec, rate_fps, 854, 480, "h264", None, times_sec, np.zeros((0, 2), np.int64))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A file to open: what its frames' times are is told by `info_of`."""
    return write_clip(tmp_path_factory.mktemp("clip") / "a.mp4", num_frames=3)


def ranges_in_exports(footage, cuts):
    """Of each format, as its own reader reads it: [(start, end)] of the cuts in the match, in frames at its rate."""
    timeline = Timeline("a", footage, cuts)
    rate_fps = float(footage.rate_fps)
    edl = write_edl(timeline).decode()
    in_edl = opentimelineio.adapters.read_from_string(edl, "cmx_3600", rate=rate_fps).tracks[0]
    otio = write_otio(timeline, FOLDER).decode()
    in_otio = opentimelineio.adapters.read_from_string(otio, "otio_json").tracks[0]
    ranges = [
        [
            (clip.source_range.start_time.value, clip.source_range.end_time_exclusive().value)
            for clip in track.find_clips()
        ]
        for track in (in_edl, in_otio)
    ]
    clips = ElementTree.fromstring(write_fcpxml(timeline, FOLDER)).iter("asset-clip")
    pairs = [(seconds(clip.get("start")), seconds(clip.get("duration"))) for clip in clips]
    ranges.append([(start * footage.rate_fps, (start + length) * footage.rate_fps) for start, length in pairs])
    premiere = ElementTree.fromstring(write_fcp7_xml(timeline)).findall(".//video/track/clipitem")
    ranges.append([(int(item.findtext("in")), int(item.findtext("out"))) for item in premiere])
    return ranges


@pytest.mark.parametrize("rate", RATES)
def test_a_constant_rate_is_derived_from_its_neighbors_and_every_frame_keeps_its_number(clip, rate):
    rate_fps = Fraction(rate)
    # It does not start at 0, and times are rounded to a tick of 1/90000 s.
    times_sec = np.round((0.4 + np.arange(3001) / float(rate_fps)) * 90000) / 90000
    sections = [[0, 1], [719, 720], [1000, 2999], [2999, 3000]]
    footage, cuts = describe(clip, info_of(times_sec[:-1], times_sec[-1]), sections)
    assert (footage.rate_fps, footage.is_exact, footage.num_frames) == (rate_fps, True, 3000)
    for ranges in ranges_in_exports(footage, cuts):
        assert ranges == [tuple(section) for section in sections]


@pytest.mark.parametrize("rate", RATES)
def test_a_variable_rate_is_cut_at_the_nearest_frame_of_the_most_usual_rate(clip, rate):
    rng = np.random.default_rng(7)
    steps = np.where(rng.random(400) < 0.7, 1, rng.integers(2, 9, 400)) / float(Fraction(rate))
    edges_sec = 1.7 + np.append(0, np.cumsum(steps * rng.uniform(0.999, 1.001, 400)))
    sections = [[0, 13], [57, 58], [101, 250], [399, 400]]
    footage, cuts = describe(clip, info_of(edges_sec[:-1], edges_sec[-1]), sections)
    assert (footage.rate_fps, footage.is_exact) == (Fraction(rate), False)
    nearest = [math.floor((edge_sec - 1.7) * float(Fraction(rate)) + 0.5) for edge_sec in edges_sec]
    assert footage.num_frames == nearest[-1]
    for ranges in ranges_in_exports(footage, cuts):
        assert ranges == [(nearest[start], nearest[end]) for start, end in sections]


def test_of_sections_that_last_no_frame_none_is_cut_and_scores_stay_with_theirs(clip):
    # At 30 fps for 2 s, then a burst at 300 fps, of which ten frames lie within one at 30 fps.
    times_sec = np.concatenate([np.arange(60) / 30, 2 + np.arange(10) / 300, 2 + np.arange(1, 31) / 30])
    sections = [[3, 5], [62, 64], [63, 75], [80, 100]]
    footage, cuts = describe(clip, info_of(times_sec, 91 / 30), sections, [0.1, 0.2, 0.3, 0.4])
    assert not footage.is_exact
    # Frame 63 is shown at 2.01 s: 60.3 frames at 30 fps. Frame 75 is the 66th at 30 fps, 80 the 71st.
    assert cuts == [Clip(footage, 3, 5, 0.1), Clip(footage, 60, 66, 0.3), Clip(footage, 71, 91, 0.4)]


@pytest.mark.parametrize(
    ("frame_rate_fps", "times_sec", "expected"),
    [
        (35, np.arange(100) / 35, ("30", False)),
        (27.42, np.arange(200) / 27.42, ("30000/1001", False)),  # by ratio; by difference 25 would be nearer
        (27.3, np.arange(200) / 27.3, ("25", False)),
        (100, np.arange(200) / 100, ("60", False)),
        (24, np.arange(200) / 25, ("25", True)),  # the average is off, the distances tell
        (25, np.append(np.arange(100), np.arange(300, 400)) / 25, ("25", False)),
        (12.5, np.append(np.arange(100), np.arange(300, 400)) / 25, ("25", False)),
        (25, np.array([0, 0.06, 0.08, 0.12, 0.16]), ("25", False)),  # a frame that is half a frame late
        (25, np.array([0, 0.059, 0.08, 0.12, 0.16]), ("25", True)),
        (25, np.array([0, 0.021, 0.08, 0.12, 0.16]), ("25", True)),
    ],
)
def test_the_rate_to_cut_at(frame_rate_fps, times_sec, expected):
    assert find_timebase(frame_rate_fps, times_sec) == (Fraction(expected[0]), expected[1])


@pytest.mark.parametrize("num_channels", [0, 1, 2, 6])
def test_media_reference_holds_the_files_audio_size_and_absolute_path(tmp_path, monkeypatch, num_channels):
    audio = np.tile(tone(440, 1), (num_channels, 1)) if num_channels else None
    path = write_clip(tmp_path / "a match.mp4", num_frames=30, audio=audio)
    monkeypatch.chdir(tmp_path)
    footage, _ = describe(Path("a match.mp4"), media.probe(path), [[0, 5]])
    expected = MediaReference(path, Fraction(30), False, 0, 30, 160, 64, num_channels, True)
    assert dataclasses.replace(footage, channels_of_tracks=()) == expected
    assert footage.channels_of_tracks == (num_channels,) * (num_channels > 0)
    assert footage.name == "a match"


def test_a_file_without_a_frame_is_refused(tmp_path):
    path = tmp_path / "audio.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        block = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        block.sample_rate = 8000
        container.mux(stream.encode(block))
    with pytest.raises(media.MediaError, match="without a video stream"):
        describe(path, info_of(np.arange(10) / 25, 0.4), [[0, 5]])


def write_tracks(path, layouts):
    """Write a file with 10 frames and an audio track of a second per layout."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=30)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        tracks = [container.add_stream("pcm_s16le", rate=8000, layout=layout) for layout in layouts]
        for _ in range(10):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for track in tracks:
            samples = np.zeros((1, 8000 * track.layout.nb_channels), np.int16)
            block = av.AudioFrame.from_ndarray(samples, format="s16", layout=track.layout.name)
            block.sample_rate = 8000
            container.mux(track.encode(block))


@pytest.mark.parametrize(
    ("audio_track", "first_channel", "num_channels"), [(None, 0, 2), (1, 0, 2), (2, 2, 1), (3, 3, 2), ("mix", 0, 5)]
)
def test_the_channels_of_the_audio_tracks_that_are_read(tmp_path, audio_track, first_channel, num_channels):
    path = tmp_path / "a.mkv"
    write_tracks(path, ["stereo", "mono", "stereo"])
    match, _ = describe(path, media.probe(path, audio_track), [[0, 5]])
    assert (match.first_channel, match.num_channels) == (first_channel, num_channels)
    assert match.channels_of_tracks == (2, 1, 2)
