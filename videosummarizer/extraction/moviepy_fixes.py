"""moviepy 1.0.3 with today's Python, NumPy and Pillow: the parts that are used, around the errors that they have.

- Importing it prints warnings about escape sequences the first time, before Python has stored its bytecode.
- `VideoClip(make_frame)` and `AudioClip(make_frame)` ask for the frame at 0 at once, and so does each `fl` and
  `subclip`. The readers of a match only go forward, so clips are made with a known size instead.
- `ColorClip` stores each colour as an 8-byte number, 50 MB for a frame of 1080p and again as the mask of each
  cross-fade. A still picture is used instead, whose mask takes no memory.
- `CompositeVideoClip` does so for its background too, unless the first clip is the background.
- `is_playing` counts the time at which a clip ends, and times are rounded. All times asked for are therefore halfway
  between two frames or samples.
- `resize` needs `Image.ANTIALIAS`, which Pillow 10 removed, and `FFMPEG_VideoWriter` rounds the frame rate to two
  decimals and ignores FFmpeg's exit status. Neither is used: frames are scaled when they are read, and reel.py encodes.
"""

import warnings
from collections.abc import Callable

import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from moviepy.audio.AudioClip import AudioClip, CompositeAudioClip
    from moviepy.video.compositing.CompositeVideoClip import CompositeVideoClip
    from moviepy.video.compositing.transitions import crossfadein
    from moviepy.video.VideoClip import ImageClip, VideoClip


def video_clip(
    make_frame: Callable[[float], np.ndarray], size_px: tuple[int, int], duration_sec: float, is_mask: bool = False
) -> VideoClip:
    """Return a clip whose frames are asked for only when it plays.

    Args:
        make_frame: Returns the frame at a time of the clip: (H, W, 3) uint8, or (H, W) float64 in [0, 1] of a mask.
        size_px: The width and the height.
        duration_sec: The length of the clip.
        is_mask: Whether it is the mask of another clip.
    """
    clip = VideoClip(ismask=is_mask, duration=duration_sec)
    clip.make_frame, clip.size = make_frame, size_px
    return clip


def audio_clip(make_frame: Callable[[np.ndarray], np.ndarray], num_channels: int, duration_sec: float) -> AudioClip:
    """Return a clip whose samples are asked for only when it plays.

    Args:
        make_frame: Returns (n, num_channels) float for (n,) times of the clip, which may lie outside of it.
        num_channels: 1 or 2.
        duration_sec: The length of the clip.
    """
    clip = AudioClip(duration=duration_sec)
    clip.make_frame, clip.nchannels = make_frame, num_channels
    return clip


def still_clip(picture: np.ndarray, duration_sec: float) -> ImageClip:
    """Return a clip that shows a picture: (H, W, 3) uint8, or (H, W, 4) with an opacity."""
    return ImageClip(picture, duration=duration_sec)


def fade_in(clip: VideoClip, fade_sec: float) -> VideoClip:
    """Return a clip that appears gradually over those before it."""
    width_px, height_px = clip.size
    opaque = ImageClip(np.broadcast_to(1.0, (height_px, width_px)), ismask=True, duration=clip.duration)
    return crossfadein(clip.set_mask(opaque), fade_sec)


def stack(clips: list[VideoClip]) -> VideoClip:
    """Return a clip in which each clip lies over those before it; the first one fills the picture all the time."""
    return CompositeVideoClip(clips, use_bgclip=True) if len(clips) > 1 else clips[0]


def mix(clips: list[AudioClip]) -> AudioClip:
    """Return the sum of audio clips."""
    return CompositeAudioClip(clips)
