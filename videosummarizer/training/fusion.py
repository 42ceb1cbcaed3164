"""Late fusion: the modalities' logits are added with weights, which are chosen on validation after each epoch.

The sum is then calibrated (`calibration`).
"""

import itertools
from collections.abc import Sequence

import numpy as np

from videosummarizer.evaluation import metrics
from videosummarizer.training.keras_backend import keras, layers, ops

# What a score can come from. The order is that of LateFusion's inputs and weights.
MODALITIES = ("loudness", "audio", "video")
# The network's fused outputs: scores of segments, and scores of their time steps.
OUTPUTS = ("highlight", "steps")
# The network's outputs that come from one modality alone.
UNIMODAL_OUTPUTS = tuple(f"{modality}_{name}" for modality in MODALITIES for name in OUTPUTS)
# In training, loudness is left out of the fused logit, so that audio and video learn without its help.
TRAINING_FUSION_WEIGHTS = (0.0, 1.0, 1.0)
# The weights that are tried for each modality, in every combination but all zeros.
FUSION_WEIGHT_GRID = (1.0, 0.5, 0.0)
# Name of the layer that fuses the modalities for an output.
FUSION_LAYER = "fusion_{}"
# Scores are clipped this far away from 0 and 1, so that their logits are finite.
EPSILON = 1e-7


@keras.saving.register_keras_serializable(package="video_summarizer")
class LateFusion(layers.Layer):
    """Add the logits of the modalities, each multiplied by its fusion weight.

    Maps a list of three tensors of one shape, in the order of MODALITIES, to one tensor of that shape. The sum can be
    calibrated: `calibration.fit` finds a scale, which is a factor of all fusion weights, and an offset.

    Args:
        has_offset: Whether the layer has an offset. Those of checkpoints from before calibration have none.

    Attributes:
        fusion_weights: (3,) float32 variable, set by `assign`. Training uses TRAINING_FUSION_WEIGHTS
            instead, which are also its initial values.
        offset: () float32 variable, added to the sum except in training; None without an offset.
    """

    def __init__(self, has_offset: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.has_offset, self.offset = has_offset, None

    def build(self, input_shape):
        def initial_weights(shape, dtype):
            return ops.convert_to_tensor(TRAINING_FUSION_WEIGHTS, dtype)

        self.fusion_weights = self.add_weight(
            shape=(len(MODALITIES),), initializer=initial_weights, trainable=False, name="fusion_weights"
        )
        if self.has_offset:
            self.offset = self.add_weight(shape=(), initializer="zeros", trainable=False, name="offset")

    def call(self, logits, training=False):
        weights = TRAINING_FUSION_WEIGHTS if training else self.fusion_weights
        fused = sum(logits[index] * weights[index] for index in range(len(MODALITIES)))
        return fused if training or self.offset is None else fused + self.offset

    def assign(self, fusion_weights: Sequence[float], offset: float = 0.0) -> None:
        """Set the fusion weights and the offset."""
        self.fusion_weights.assign(fusion_weights)
        if self.offset is not None:
            self.offset.assign(offset)

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def get_config(self) -> dict:
        return {**super().get_config(), "has_offset": self.has_offset}


def search_fusion_weights(
    unimodal_scores: np.ndarray, labels: np.ndarray, sample_weights: np.ndarray
) -> tuple[tuple[float, ...], np.ndarray]:
    """Search FUSION_WEIGHT_GRID for the fusion weights with which an output has the lowest log loss.

    Args:
        unimodal_scores: (num_segments, 3, N) float in [0, 1], the scores of each modality alone. The second axis is in
            the order of MODALITIES; N is 1 for segments and K for their time steps.
        labels: (num_segments, N) in [0, 1], or anything where the weight is 0.
        sample_weights: (num_segments,) or (num_segments, N), the weight of each segment or label in the loss.

    Returns:
        The fusion weights, one for each modality, and the fused scores, (num_segments, N) float64 in [0, 1].
    """
    from scipy.special import expit, logit

    logits = logit(np.clip(unimodal_scores.astype(np.float64), EPSILON, 1 - EPSILON))
    sample_weights = np.broadcast_to(sample_weights.reshape(len(labels), -1), labels.shape)
    candidates = [weights for weights in itertools.product(FUSION_WEIGHT_GRID, repeat=len(MODALITIES)) if any(weights)]
    fused_scores = [expit(np.tensordot(logits, weights, (1, 0))) for weights in candidates]
    best = int(np.argmin([metrics.log_loss(labels, scores, sample_weights) for scores in fused_scores]))
    return candidates[best], fused_scores[best]
