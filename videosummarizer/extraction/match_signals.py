"""What a network shows of an unlabelled match: scores, also of each modality alone, and features of each segment.

Reading a match takes minutes, so its signals are kept in a file. They are read again where checkpoint and match are the
same, so that an interrupted command continues.
"""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from videosummarizer import media
from videosummarizer.atomic_file import atomic_write
from videosummarizer.dataset import output_folder
from videosummarizer.extraction import decoding_process, scoring
from videosummarizer.extraction.progress_bar import progress
from videosummarizer.extraction.reasons import Reasons
from videosummarizer.extraction.unlike_training import TrainingComparison
from videosummarizer.training.checkpoint import Checkpoint
from videosummarizer.untrusted_file import excerpt, read_limited

# The end of the name of the file with a match's signals.
SIGNALS_SUFFIX = "_signals.npz"
# The largest such file that is read. It has one or two kilobytes per segment.
MAX_SIGNALS_BYTES = 2**26
# The arrays of MatchSignals, in their order.
ARRAYS = ("steps", "modality_steps", "features", "fusion_weights", "reach_steps")
# The names of the arrays of Reasons in the file begin with this.
REASONS_PREFIX = "reasons_"
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
        reasons: What the scores are made of, and what was measured in the match; None if that is not known.
        unlike_training: What is different from the matches of training, see `training_statistics.find_differences`.
    """

    steps: np.ndarray
    modality_steps: np.ndarray
    features: np.ndarray
    fusion_weights: np.ndarray
    reach_steps: np.ndarray
    reasons: Reasons | None = None
    unlike_training: tuple[str, ...] = ()

    @property
    def is_valid(self) -> bool:
        """Return whether shapes and values are possible, also of arrays from a damaged file."""
        arrays = [getattr(self, name) for name in ARRAYS]
        if [array.ndim for array in arrays] != [2, 3, 2, 1, 0] or not all(np.isfinite(array).all() for array in arrays):
            return False
        (num_segments, num_steps), num_modalities = self.steps.shape, len(self.fusion_weights)
        return (
            self.steps.size > 0
            and self.modality_steps.shape == (num_segments, num_modalities, num_steps)
            and len(self.features) == num_segments
            and all(((array >= 0) & (array <= 1)).all() for array in (self.steps, self.modality_steps))
            and (self.reasons is None or self.reasons.fits(self.steps.shape))
        )


def identify(video_path: Path, checkpoint: Checkpoint) -> str:
    """Return what the signals of a match are made with: this version of its file, and this checkpoint."""
    source = output_folder.file_signature(video_path)
    return json.dumps({"checkpoint_sha256": checkpoint.sha256, "source": source}, sort_keys=True)


def compute_signals(
    video_path: Path,
    info: media.VideoInfo,
    checkpoint: Checkpoint,
    network: Callable[[], object],
    scratch_dir: Path,
) -> MatchSignals:
    """Read a match and compute its signals.

    Args:
        video_path: The match.
        info: The result of `media.probe`.
        checkpoint: The checkpoint of the network.
        network: A function that returns the network of `network_features.add_features`.
        scratch_dir: As for `sampling.SegmentAudio`.

    Raises:
        media.MediaError: The match cannot be read.
        checkpoint.CheckpointError: The network cannot be read.
    """
    from videosummarizer.training import network_features

    names = ["steps", *(f"{modality}_steps" for modality in MODALITIES), *network_features.FEATURE_OUTPUTS]
    comparison = TrainingComparison(checkpoint, info, info.duration_sec)
    with progress("Scoring", info.duration_sec) as add_sec:
        match = (video_path, info, checkpoint.config, network, names, add_sec, scratch_dir)
        rows, reasons = scoring.score_with_reasons(*match, **comparison.measuring)
    reach_steps, num_steps = measure_reach(network())
    scores, features = np.split(rows, [num_steps * (1 + len(MODALITIES))], axis=1)
    scores = scores.reshape(len(rows), 1 + len(MODALITIES), num_steps)
    return MatchSignals(
        scores[:, 0],
        scores[:, 1:],
        features.astype(np.float32),
        np.array(network_features.read_fusion_weights(network())),
        np.array(reach_steps),
        reasons and reasons.rounded(),
        comparison.differences(),
    )


def measure_reach(network) -> tuple[int, int]:
    """Return on how many time steps on either side a score of a network depends, and its time steps per segment."""
    from videosummarizer.training import inference

    return inference.reach_steps(network), network.output["steps"].shape[-1]


def write_signals(path: Path, made_with: str, signals: MatchSignals) -> None:
    """Keep the signals of a match in a file.

    Args:
        path: The file.
        made_with: The result of `identify` from before the match was read.
        signals: The signals.

    Raises:
        OSError: The file cannot be written.
    """
    content = io.BytesIO()
    arrays = vars(signals) | {"made_with": np.array(made_with)}
    if (reasons := arrays.pop("reasons")) is not None:
        arrays |= {f"{REASONS_PREFIX}{name}": value for name, value in vars(reasons).items()}
    np.savez(content, **arrays)
    atomic_write(path, content.getvalue())


def read_signals(path: Path, made_with: str, num_segments: int) -> MatchSignals | None:
    """Read the signals of a match that an earlier run kept.

    Args:
        path: The file.
        made_with: The result of `identify`.
        num_segments: The number of segments of the match.

    Returns:
        None where they are missing, damaged, or made of something else.
    """
    try:
        with np.load(io.BytesIO(read_limited(path, MAX_SIGNALS_BYTES)), allow_pickle=False) as file:
            if str(file["made_with"]) != made_with:
                return None
            differences = tuple(excerpt(str(text)) for text in file["unlike_training"])
            signals = MatchSignals(*(file[name] for name in ARRAYS), read_reasons(file), differences)
        return signals if signals.is_valid and len(signals.steps) == num_segments else None
    except Exception:  # of a damaged file NumPy raises many types
        return None


def read_reasons(file: Mapping[str, np.ndarray]) -> Reasons | None:
    """Return the reasons among the arrays of a file; None where it has none."""
    part_names, segments, steps, measure_names, measured = (
        file.get(f"{REASONS_PREFIX}{name}") for name in Reasons.__annotations__
    )
    if part_names is None:
        return None
    return Reasons(tuple(part_names.tolist()), segments, steps, tuple(measure_names.tolist()), measured)


def probe(video_path: Path, checkpoint: Checkpoint) -> media.VideoInfo:
    """Return the result of `media.probe` for the audio that the checkpoint was trained on."""
    track = checkpoint.config.audio_track
    return decoding_process.call(video_path, media.probe, video_path, track)
