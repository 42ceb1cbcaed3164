"""What a network shows of an unlabelled match: scores, also of each modality alone, and features of each segment.

Reading a match takes minutes, so its signals are kept in a file. They are read again where checkpoint and match are the
same, so that an interrupted command continues.
"""

import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from videosummarizer import media
from videosummarizer.atomic_file import atomic_write
from videosummarizer.extraction import decoding_process, scoring
from videosummarizer.extraction.progress_bar import progress
from videosummarizer.training.checkpoint import Checkpoint
from videosummarizer.untrusted_file import read_limited

# The end of the name of the file with a match's signals.
SIGNALS_SUFFIX = "_signals.npz"
# The largest such file that is read. It has about a kilobyte per segment.
MAX_SIGNALS_BYTES = 2**26
# The modalities in the order of their scores: `fusion.MODALITIES`, which cannot be imported without loading Keras.
MODALITIES = ("loudness", "audio", "video")


@dataclass(frozen=True)
class MatchSignals:
    """The outputs of a network for a match.

    Attributes:
        steps: (num_segments, K) float64 in [0, 1], the scores of the time steps.
        modality_steps: (num_segments, 3, K) float64 in [0, 1], the scores of each of MODALITIES alone.
        features: (num_segments, num_features) float64, in standard deviations of the training set; 0 is its mean.
        fusion_weights: (3,) float64, how much each modality counts in the scores.
        reach_steps: () int64, the number of time steps on either side that a score depends on.
    """

    steps: np.ndarray
    modality_steps: np.ndarray
    features: np.ndarray
    fusion_weights: np.ndarray
    reach_steps: np.ndarray

    @property
    def is_valid(self) -> bool:
        """Return whether shapes and values are possible, also of arrays from a damaged file."""
        arrays = list(vars(self).values())
        if [array.ndim for array in arrays] != [2, 3, 2, 1, 0] or not all(np.isfinite(array).all() for array in arrays):
            return False
        (num_segments, num_steps), num_modalities = self.steps.shape, len(self.fusion_weights)
        return (
            self.steps.size > 0
            and self.modality_steps.shape == (num_segments, num_modalities, num_steps)
            and len(self.features) == num_segments
            and all(((array >= 0) & (array <= 1)).all() for array in (self.steps, self.modality_steps))
        )


def find_signals(
    video_path: Path,
    info: media.VideoInfo,
    checkpoint: Checkpoint,
    network: Callable[[], object],
    path: Path,
    source: dict,
) -> MatchSignals:
    """Return the signals of a match: those in its file if they are the same, otherwise new ones, which are kept there.

    Args:
        video_path: The match.
        info: The result of `media.probe`.
        checkpoint: The checkpoint of the network.
        network: A function that returns the network of `network_features.add_features`.
        path: The file.
        source: What identifies the version of the match, as of `output_folder.file_signature`.

    Raises:
        media.MediaError: The match cannot be read.
        checkpoint.CheckpointError: The network cannot be read.
        OSError: The file cannot be written.
    """
    made_with = json.dumps({"checkpoint_sha256": checkpoint.sha256, "source": source}, sort_keys=True)
    num_segments = checkpoint.config.num_segments(info.duration_sec)
    signals = read_signals(path, made_with)
    if signals is not None and len(signals.steps) == num_segments:
        return signals
    signals = compute_signals(video_path, info, checkpoint, network, path.parent)
    content = io.BytesIO()
    np.savez(content, made_with=np.array(made_with), **asdict(signals))
    atomic_write(path, content.getvalue())
    return signals


def compute_signals(
    video_path: Path,
    info: media.VideoInfo,
    checkpoint: Checkpoint,
    network: Callable[[], object],
    scratch_dir: Path,
) -> MatchSignals:
    """Read a match and compute its signals; see `find_signals`."""
    from videosummarizer.training import inference, network_features

    names = ["steps", *(f"{modality}_steps" for modality in MODALITIES), *network_features.FEATURE_OUTPUTS]
    with progress("Scoring", info.duration_sec) as add_sec:
        match = (video_path, info, checkpoint.config)
        rows = scoring.score_outputs(*match, lambda: (network(), names), add_sec, scratch_dir)
    scoring.require_finite(rows, video_path)
    num_steps = network().output["steps"].shape[-1]
    scores, features = np.split(rows, [num_steps * (1 + len(MODALITIES))], axis=1)
    scores = scores.reshape(len(rows), 1 + len(MODALITIES), num_steps)
    return MatchSignals(
        scores[:, 0],
        scores[:, 1:],
        features.astype(np.float32),
        np.array(network_features.read_fusion_weights(network())),
        np.array(inference.reach_steps(network())),
    )


def read_signals(path: Path, made_with: str) -> MatchSignals | None:
    """Read the signals of an earlier run; None where they are missing, damaged, or made of something else."""
    try:
        with np.load(io.BytesIO(read_limited(path, MAX_SIGNALS_BYTES)), allow_pickle=False) as file:
            if str(file["made_with"]) != made_with:
                return None
            signals = MatchSignals(**{name: file[name] for name in MatchSignals.__annotations__})
        return signals if signals.is_valid else None
    except Exception:  # of a damaged file NumPy raises many types
        return None


def probe(video_path: Path, checkpoint: Checkpoint) -> media.VideoInfo:
    """Return the result of `media.probe` for the audio that the checkpoint was trained on."""
    track = checkpoint.config.audio_track
    return decoding_process.call(video_path, media.probe, video_path, track)
