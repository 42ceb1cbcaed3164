"""The shots of a highlight video, and where in the full match they were cut from."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from videosummarizer import audio_track, media
from videosummarizer.labelling import fingerprints
from videosummarizer.labelling.dissolves import DissolveRefiner
from videosummarizer.labelling.fingerprints import FrameDescriber
from videosummarizer.labelling.frame_transform import fit_frame_transform
from videosummarizer.labelling.thumbnails import (
    Thumbnails,
    find_cuts,
    join_thumbnails,
    read_thumbnails,
    read_thumbnails_near,
)

# A shot boundary within this distance of a cut in the highlight video is moved to the cut.
SNAP_SEC = 0.3
# Coarse-to-fine rounds: each reads match frames where the previous round left the alignment ambiguous.
NUM_REFINEMENTS = 3
# Rate at which the whole match is read where the audio is of no use, and to fit crop and zoom where keyframes are few.
FULL_SCAN_RATE_FPS = 5
# Rate at which match frames are read in a refinement round.
REFINEMENT_RATE_FPS = 8
# With fewer keyframes than this, crop and zoom are fitted to frames that are read evenly in time.
MIN_KEYFRAMES_TO_FIT = 20
# With fewer keyframes than this, the match is aligned by frames that are read evenly in time.
MIN_KEYFRAMES_TO_ALIGN = 5
# So it is where more seconds than this are decoded on average to reach a frame from its keyframe.
MAX_SECONDS_FROM_KEYFRAME = 10
# Frames per second that are read then, fewer in long matches.
SAMPLING_RATE_FPS = 16
# The most frames that are read then; limits memory and time.
MAX_SAMPLED_FRAMES = 50_000


@dataclass
class Shot:
    """A part [edit_start_sec, edit_end_sec) of the highlight video, and the part of the match that it was cut from.

    Attributes:
        edit_start_sec: start in the highlight video.
        edit_end_sec: end in the highlight video.
        match_start_sec: start in the match.
        match_end_sec: end in the match.
        confidence: in [0, 1).
        sound_sec: score of the audio, in seconds of perfect similarity; negative where it contradicts the position.
        picture_sec: score of the frames, likewise.
    """

    edit_start_sec: float
    edit_end_sec: float
    match_start_sec: float
    match_end_sec: float
    confidence: float
    sound_sec: float
    picture_sec: float


def find_shots(
    match_path: Path,
    match_info: media.VideoInfo,
    highlight_path: Path,
    highlight_info: media.VideoInfo,
    match_damage: audio_track.AudioDamage | None = None,
    highlight_damage: audio_track.AudioDamage | None = None,
) -> list[Shot]:
    """Find where the shots of a highlight video were cut from a match.

    The whole audio is compared, and frames at the match's keyframes. More frames are read where the alignment is still
    ambiguous, and around the boundaries of shots that fade or dissolve. A match with few keyframes is decoded once.

    Args:
        match_path: the full match.
        match_info: of the match.
        highlight_path: the highlight video.
        highlight_info: of the highlight video.
        match_damage: takes the damage in the audio of the match, if its audio is compared.
        highlight_damage: likewise of the highlight video.

    Returns:
        The shots that were found, in the order of the highlight video.

    Raises:
        media.MediaError: one of the videos cannot be read.
    """
    from videosummarizer.labelling import alignment  # not at the top: SciPy is slow to import, and `--help` needs none

    has_audio = match_info.audio and highlight_info.audio
    with ThreadPoolExecutor() as pool:  # FFmpeg decodes without holding Python's global lock
        videos = (highlight_path, highlight_info, highlight_damage), (match_path, match_info, match_damage)
        features = pool.map(fingerprints.read_audio_features, *zip(*videos, strict=True)) if has_audio else ()
        query = read_thumbnails(highlight_path)
        reference, has_keyframes = read_reference(match_path, match_info)
        audio = fingerprints.describe_audio(*features) if has_audio else None
    cuts_sec = find_cuts(query)
    has_few = has_keyframes and len(reference.times_sec) < MIN_KEYFRAMES_TO_FIT
    fit_reference = read_thumbnails(match_path, rate_fps=FULL_SCAN_RATE_FPS) if has_few else reference
    transform = fit_frame_transform(query, fit_reference)
    describer = FrameDescriber(query, reference, transform)
    aligner = alignment.Aligner(highlight_info.duration_sec, match_info.duration_sec, cuts_sec, audio)
    reference = refine_alignment(aligner, describer, query, reference, match_path if has_keyframes else None)
    boundaries_sec = np.array([0, *cuts_sec, highlight_info.duration_sec])
    refiner = DissolveRefiner(query, reference, describer, match_path if has_keyframes else None)
    shots = []
    for run in aligner.runs():
        offset_sec, edit_sec = aligner.refine_offset_sec(run), []
        for step, is_start in ((run.first, True), (run.last, False)):
            time_sec = snap(step * fingerprints.HOP_SEC, boundaries_sec)
            if time_sec not in boundaries_sec and run.confidence >= alignment.PROBABLE:
                time_sec = refiner.boundary_sec(time_sec, is_start, offset_sec)
            edit_sec.append(min(max(time_sec, 0.0), highlight_info.duration_sec))
        match_sec = np.clip(np.add(edit_sec, offset_sec), 0, match_info.duration_sec).tolist()
        if edit_sec[0] < edit_sec[1] and match_sec[0] < match_sec[1]:
            shots.append(Shot(*edit_sec, *match_sec, run.confidence, run.audio_score_sec, run.video_score_sec))
    return shots


def read_reference(match_path: Path, match_info: media.VideoInfo) -> tuple[Thumbnails, bool]:
    """Read frames from the whole match: keyframes, or frames evenly in time where these are too few or too far apart.

    Returns:
        The frames, and whether they are keyframes, so that more frames can be read from them on.

    Raises:
        media.MediaError: the match cannot be read.
    """
    gaps_sec = np.diff(match_info.keyframe_times_sec, append=match_info.duration_sec)
    seconds_from_keyframe = (gaps_sec**2).sum() / 2 / match_info.duration_sec
    if len(gaps_sec) >= MIN_KEYFRAMES_TO_ALIGN and seconds_from_keyframe <= MAX_SECONDS_FROM_KEYFRAME:
        reference = read_thumbnails(match_path, keyframes=True)
        if len(reference.times_sec) >= MIN_KEYFRAMES_TO_ALIGN:
            return reference, True
    num_samples = len(np.unique(np.floor(match_info.frame_times_sec * SAMPLING_RATE_FPS)))
    rate_fps = SAMPLING_RATE_FPS * min(1, MAX_SAMPLED_FRAMES / num_samples)
    return read_thumbnails(match_path, rate_fps=rate_fps), False


def refine_alignment(
    aligner, describer: FrameDescriber, query: Thumbnails, reference: Thumbnails, match_path: Path | None
) -> Thumbnails:
    """Align coarse to fine: read frames of the match where they settle most.

    Args:
        aligner: alignment.Aligner, in which the result is.
        describer: made from both videos.
        query: every frame of the highlight video.
        reference: the match's keyframes, or frames evenly in time.
        match_path: the match, None where no more frames are needed.

    Returns:
        All frames of the match that were read.

    Raises:
        media.MediaError: the match cannot be read.
    """
    query_rows = describer.describe_query(query)
    for _ in range(NUM_REFINEMENTS if match_path else 0):
        aligner.set_descriptors(query_rows, describer.describe_reference(reference))
        near = read_thumbnails_near(match_path, aligner.regions_to_refine(), REFINEMENT_RATE_FPS)
        reference = join_thumbnails([reference, near])
    aligner.set_descriptors(query_rows, describer.describe_reference(reference))
    if match_path and aligner.needs_full_scan():
        every = read_thumbnails(match_path, rate_fps=FULL_SCAN_RATE_FPS)
        reference = join_thumbnails([reference, every])
        aligner.set_descriptors(query_rows, describer.describe_reference(reference), search_offsets=True)
    return reference


def snap(time_sec: float, boundaries_sec: np.ndarray) -> float:
    """Return the nearest boundary if it is within SNAP_SEC, else the time itself."""
    nearest_sec = float(boundaries_sec[np.abs(boundaries_sec - time_sec).argmin()])
    return nearest_sec if abs(nearest_sec - time_sec) <= SNAP_SEC else float(time_sec)
