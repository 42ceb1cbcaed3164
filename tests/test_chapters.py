"""Chapters: of matches for players, and of reels for YouTube and in their mp4."""

import dataclasses
import re
from fractions import Fraction
from xml.etree import ElementTree

import av
import numpy as np
import opentimelineio
import pytest
from clips import HEIGHT_PX, WIDTH_PX, read_number, tone, write_clip
from timelines import CUTS, FOLDER, RATES, recording, timeline_of

from videosummarizer import media, video_track
from videosummarizer.extraction import reel
from videosummarizer.extraction.exports.chapters import section_names, write_webvtt, write_youtube_chapters
from videosummarizer.extraction.exports.fcpxml import write_fcpxml
from videosummarizer.extraction.exports.otio import write_otio


@pytest.mark.parametrize("rate", RATES)
def test_chapters_begin_and_end_within_their_frames(rate):
    frame_sec = float(1 / Fraction(rate))
    sections = np.array([[cut.start_frame, cut.end_frame] for cut in CUTS])
    text = write_webvtt(sections * frame_sec, np.array([cut.score for cut in CUTS])).decode()
    assert text.startswith("WEBVTT\n\n1\n00:00:00.000 --> 00:00:00.")
    times = [int(h) * 3600 + int(m) * 60 + float(s) for h, m, s in re.findall(r"(\d\d):(\d\d):(\d\d\.\d{3})", text)]
    assert [int(time_sec / frame_sec + 1e-6) for time_sec in times] == sections.ravel().tolist()
    assert "Highlight 2 (score 0.25)" in text


def test_without_sections_there_are_no_chapters_and_no_clips():
    assert write_webvtt(np.zeros((0, 2)), np.zeros(0)) == b"WEBVTT\n"
    assert list(ElementTree.fromstring(write_fcpxml(timeline_of(recording(), []), FOLDER)).iter("asset-clip")) == []
    content = write_otio(timeline_of(recording(), []), FOLDER).decode()
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


def test_chapters_of_a_match_without_scores_have_none():
    content = write_webvtt(np.array([[0, 1.5]]), None)
    assert content == b"WEBVTT\n\n1\n00:00:00.000 --> 00:00:01.500\nHighlight 1\n"


def test_youtube_chapters_start_at_0_00_and_show_hours_from_an_hour_on():
    edges_sec = [0, 22.98, 83.0, 599.9999, 3599.2, 3661.7, 36_000]
    content = write_youtube_chapters(edges_sec, [f"Highlight {number}" for number in range(1, 7)])
    assert content.decode().splitlines() == [
        "0:00 Highlight 1",
        "0:22 Highlight 2",
        "1:23 Highlight 3",
        "10:00 Highlight 4",  # float rounding is no second
        "59:59 Highlight 5",
        "1:01:01 Highlight 6",
    ]


def test_three_chapters_of_ten_seconds_are_enough_for_youtube():
    assert write_youtube_chapters([0, 10, 20, 30], ["a", "b", "c"]) == b"0:00 a\n0:10 b\n0:20 c\n"


@pytest.mark.parametrize(
    ("edges_sec", "expected"),
    [
        ([0, 10, 19.9, 30, 60], "0:00 1|0:10 2 to 3|0:30 4"),
        ([0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 46], "0:00 1 to 3|0:12 4 to 6|0:24 7 to 9|0:36 10 to 12"),
        ([0, 20, 40, 60, 69.9], "0:00 1|0:20 2|0:40 3 to 4"),
        ([0, 3, 20, 40, 60], "0:00 1 to 2|0:20 3|0:40 4"),
    ],
)
def test_sections_that_are_too_short_for_youtube_share_a_chapter(edges_sec, expected):
    names = [str(number) for number in range(1, len(edges_sec))]
    assert write_youtube_chapters(edges_sec, names).decode().splitlines() == expected.split("|")


@pytest.mark.parametrize(
    ("edges_sec", "reason"),
    [
        ([0, 30, 60], "2 sections of 60 seconds in all"),
        ([0, 30], "1 section of 30 seconds in all"),
        ([0, 10, 20, 29.9], "3 sections of 29 seconds in all"),
        ([0, 9.5, 19.99, 40], "3 sections of 40 seconds in all"),
        ([0, 3, 6, 9, 12, 15], "5 sections of 15 seconds in all"),
    ],
)
def test_where_youtube_would_show_no_chapters_the_file_says_why(edges_sec, reason):
    content = write_youtube_chapters(edges_sec, section_names(len(edges_sec) - 1)).decode()
    rule = "No chapters: YouTube shows them only if there are at least 3, each of at least 10 seconds, "
    assert content == f"{rule}and the reel has {reason}.\n"


@pytest.mark.parametrize("seed", range(5))
def test_youtube_chapters_keep_the_rules_whatever_the_sections_are(seed):
    edges_sec = np.cumsum([0, *np.random.default_rng(seed).uniform(0.5, 25, 40)])
    lines = write_youtube_chapters(edges_sec, section_names(40)).decode().splitlines()
    starts_sec = [60 * int(line.split(":")[0]) + int(line.split(":")[1][:2]) for line in lines]
    assert (starts_sec[0], len(starts_sec) >= 3) == (0, True)
    assert np.diff([*starts_sec, int(edges_sec[-1])]).min() >= 10
    named = re.findall(r"Highlight (\d+)(?: to Highlight (\d+))?$", "\n".join(lines), re.MULTILINE)
    covered = [range(int(first), int(last or first) + 1) for first, last in named]
    assert [number for part in covered for number in part] == list(range(1, 41))


def test_chapters_in_the_reel_start_with_the_first_frames_of_its_sections(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", num_frames=120, ticks=[*range(60), *range(60, 180, 2)], audio=tone(440, 6))
    info, sections = media.probe(clip), np.array([[7, 19], [30, 75], [100, 120]])
    names = ["하이라이트 1", "b", "c"]
    reel.render_reel(clip, info, sections, tmp_path / "reel.mp4", chapter_names=names)
    made = media.probe(tmp_path / "reel.mp4")
    with av.open(str(tmp_path / "reel.mp4")) as container:
        chapters = container.chapters()
    assert [chapter["metadata"]["title"] for chapter in chapters] == names
    times_sec = [float(chapter["start"] * chapter["time_base"]) for chapter in chapters]
    frames = video_track.read_frames(tmp_path / "reel.mp4", made, np.array(times_sec), WIDTH_PX, HEIGHT_PX)
    assert [read_number(frame) for frame in frames] == [7, 30, 100]
    ends_sec = [float(chapter["end"] * chapter["time_base"]) for chapter in chapters]
    assert ends_sec == [*times_sec[1:], pytest.approx(made.duration_sec, abs=0.001)]


def test_a_reel_without_names_has_no_chapters(tmp_path):
    clip = write_clip(tmp_path / "a.mp4")
    reel.render_reel(clip, media.probe(clip), np.array([[7, 19]]), tmp_path / "reel.mp4")
    with av.open(str(tmp_path / "reel.mp4")) as container:
        assert container.chapters() == []
        assert len(container.streams) == 1


def test_a_jump_of_the_clock_is_a_second_of_the_reel_and_of_its_chapters():
    times_sec = np.concatenate([np.arange(60) / 30, 7200 + np.arange(60) / 30])
    gaps_sec = np.array([[60 / 30, 7200.0]])
    info = media.VideoInfo(7202, 7202, 30, 160, 64, "h264", None, times_sec, np.zeros((0, 2), np.int64))
    info = dataclasses.replace(info, video_gaps_sec=gaps_sec)
    edges_sec = reel.reel_edges_sec(info, np.array([[0, 30], [45, 75], [90, 120]]))
    # From frame 45 on, 14 frames, then the last one before the jump for a second, then 15 frames.
    np.testing.assert_allclose(edges_sec, [0, 1, 1 + 14 / 30 + 1 + 15 / 30, 2 + 14 / 30 + 1 + 15 / 30])
