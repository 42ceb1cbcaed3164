"""Describe the cut of a reel: which frames of which matches follow one another. All export formats are written from it.

Frames are numbered by the file's own timecode track where it has one, drop-frame where the track says so.
"""

import math
import os
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import av
import numpy as np

from videosummarizer import media
from videosummarizer.extraction.exports import timecode
from videosummarizer.extraction.exports.timecode import RATES_FPS
from videosummarizer.match_files import absolute_path, title_of


class ExportError(Exception):
    """An export cannot be written; the message says why and how to fix it."""


@dataclass(frozen=True)
class MediaReference:
    """A match as editing software refers to it.

    Attributes:
        path: The absolute path of the video, with the names that the user gave where they are links.
        rate_fps: One of RATES_FPS.
        is_drop_frame: Whether its timecode is drop-frame.
        start_frame: The timecode of its first frame, as a number of frames.
        num_frames: Its length.
        width_px: Its width as shown.
        height_px: Its height as shown.
        num_channels: The channels of the audio tracks that are read, 0 without audio.
        is_exact: Whether each frame of the video is one frame at rate_fps. If not (a variable frame rate, or 35 fps),
            clips are cut by time, at the nearest frame at rate_fps.
        first_channel: The number of channels in the audio tracks before those that are read.
        channels_of_tracks: The number of channels of each audio track of the file.
    """

    path: Path
    rate_fps: Fraction
    is_drop_frame: bool
    start_frame: int
    num_frames: int
    width_px: int
    height_px: int
    num_channels: int
    is_exact: bool
    first_channel: int = 0
    channels_of_tracks: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Return the title of the match."""
        return title_of(self.path)

    @property
    def timecode_format(self) -> str:
        """Return the name of the way in which timecode is counted, as Final Cut's formats have it."""
        return "DF" if self.is_drop_frame else "NDF"


@dataclass(frozen=True)
class Clip:
    """A section of a match.

    Attributes:
        reference: The match.
        start_frame: The first frame, counted from 0.
        end_frame: The frame after the last.
        score: In [0, 1], None if the match was not scored.
        score_name: What the score is called.
    """

    reference: MediaReference
    start_frame: int
    end_frame: int
    score: float | None
    score_name: str = "score"

    @property
    def num_frames(self) -> int:
        """Return the length in frames of the match."""
        return self.end_frame - self.start_frame


@dataclass(frozen=True)
class Timeline:
    """The clips of a reel, which may be of several matches, one after another.

    Attributes:
        title: The title of the reel's match, or of the reel.
        settings: The match whose frame rate, count of timecode, size and audio the timeline has.
        clips: At their own frame rates.
    """

    title: str
    settings: MediaReference
    clips: list[Clip]

    @property
    def name(self) -> str:
        """Return the name of the timeline in editing software."""
        return f"{self.title} highlights"

    @property
    def references(self) -> list[MediaReference]:
        """Return the matches, each once, in the order of their first clips."""
        return list(dict.fromkeys(clip.reference for clip in self.clips))

    @property
    def clip_names(self) -> list[str]:
        """Return a name for each clip: the title of its match and its number in the reel."""
        return [f"{clip.reference.name} {number:03d}" for number, clip in enumerate(self.clips, start=1)]

    @property
    def edges(self) -> list[int]:
        """Return where each clip starts and the last one ends, in frames of the timeline.

        Each edge is rounded by itself, so that the clips of matches with other frame rates leave no gaps and errors do
        not add up.
        """
        edges_sec = accumulate((clip.num_frames / clip.reference.rate_fps for clip in self.clips), initial=Fraction(0))
        return [round(edge_sec * self.settings.rate_fps) for edge_sec in edges_sec]


def describe_match(
    video_path: str | os.PathLike,
    video_info: media.VideoInfo,
    sections: np.ndarray,
    scores: np.ndarray | None,
    score_name: str = "score",
) -> tuple[MediaReference, list[Clip]]:
    """Return the media reference of a match, and its sections as clips.

    Args:
        video_path: The match.
        video_info: The result of `media.probe`.
        sections: (num_sections, 2) int64, the first frame and the frame after the last, in display order.
        scores: (num_sections,) float in [0, 1], None if the match was not scored.
        score_name: What the scores are called.

    Raises:
        media.MediaError: The file cannot be read.
    """
    edges_sec = video_info.frame_edges_sec
    relative_sec = edges_sec - edges_sec[0]
    rate_fps, is_exact = find_timebase(video_info.frame_rate_fps, relative_sec)
    frame_of = np.arange(len(edges_sec)) if is_exact else np.rint(relative_sec * float(rate_fps)).astype(np.int64)
    reference = read_reference(video_path, video_info, rate_fps, is_exact, int(frame_of[-1]))
    scores = [None] * len(sections) if scores is None else scores
    clips = [
        Clip(
            reference,
            int(frame_of[start]),
            int(frame_of[end]),
            None if score is None or np.isnan(score) else float(score),
            score_name,
        )
        for (start, end), score in zip(sections, scores, strict=True)
        if frame_of[end] > frame_of[start]
    ]
    return reference, clips


def read_reference(
    video_path: str | os.PathLike, video_info: media.VideoInfo, rate_fps: Fraction, is_exact: bool, num_frames: int
) -> MediaReference:
    """Read the timecode and the audio channels of a match, and return its media reference.

    Args:
        video_path: The match.
        video_info: The result of `media.probe`.
        rate_fps: The rate at which its frames are counted.
        is_exact: Whether each frame of the video is one frame at that rate.
        num_frames: Its length at that rate.

    Raises:
        media.MediaError: The file cannot be read.
    """
    with media.open_media(video_path) as container:
        stream = media.video_stream(container, video_path)
        start_frame, is_drop_frame = timecode.read_start(container, stream, rate_fps)
        channels_of = {track.index: count_channels(track) for track in container.streams.audio}
    return MediaReference(
        path=absolute_path(video_path),
        rate_fps=rate_fps,
        is_drop_frame=is_drop_frame,
        start_frame=start_frame,
        num_frames=num_frames,
        width_px=video_info.width_px,
        height_px=video_info.height_px,
        num_channels=sum(channels_of[index] for index in video_info.audio_indices),
        is_exact=is_exact,
        first_channel=sum(
            count for index, count in channels_of.items() if index < min(video_info.audio_indices, default=0)
        ),
        channels_of_tracks=tuple(channels_of.values()),
    )


def count_channels(track: av.AudioStream) -> int:
    """Return the number of channels of an audio track, 0 if FFmpeg has no decoder for it."""
    return track.layout.nb_channels if track.codec_context else 0


def find_timebase(frame_rate_fps: float, relative_sec: np.ndarray) -> tuple[Fraction, bool]:
    """Choose the rate of RATES_FPS to cut a video at.

    Args:
        frame_rate_fps: The video's average frame rate. The median distance between frames is tried as well, for videos
            whose rate varies.
        relative_sec: (num_frames + 1,) float64, presentation times relative to the first frame, and the end.

    Returns:
        The rate, and whether each frame of the video is one frame at that rate.
    """
    for estimate_fps in (frame_rate_fps, 1 / np.median(np.diff(relative_sec))):
        rate_fps = min(RATES_FPS, key=lambda rate: abs(math.log(rate / estimate_fps)))
        error = np.abs(relative_sec * float(rate_fps) - np.arange(len(relative_sec)))
        if error.max() < 0.5:
            return rate_fps, True
    return rate_fps, False
