"""videosummarizer.training.fusion."""

import itertools

import numpy as np

from videosummarizer.evaluation import metrics
from videosummarizer.training.keras_backend import keras, layers, ops

MODALITIES = ("loudness", "audio", "video")
OUTPUTS = ("highlight", "steps")
UNIMODAL_OUTPUTS = tuple(f"{sense}_{name}" for sense in MODALITIES for name in OUTPUTS)
TRAINING_FUSION_WEIGHTS = (0.0, 1.0, 1.0)  # of the senses in their sum
FUSION_WEIGHT_GRID = (1.0, 0.5, 0.0)  # on validation
FUSION_LAYER = "fusion_{}"  # of an output
EPSILON = 1e-7  # of which a logit is taken


@keras.saving.register_keras_serializable(package="video_summarizer")
class LateFusion(layers.Layer):
    """The sum of the senses' logits, in training by TRAINING_FUSION_WEIGHTS, otherwise by `shares`, (3,) float32, which
    `search_fusion_weights` chooses."""

    def build(self, input_shape):
        def initial_weights(shape, dtype):
            return ops.convert_to_tensor(TRAINING_FUSION_WEIGHTS, dtype)

        self.fusion_weights = self.add_weight(
            shape=(len(MODALITIES),), initializer=initial_weights, trainable=False, name="fusion_weights"
        )

    def call(self, logits, training=False):
        weights = TRAINING_FUSION_WEIGHTS if training else self.fusion_weights
        return sum(logits[index] * weights[index] for index in range(len(MODALITIES)))

    def compute_output_shape(self, input_shape):
        return input_shape[0]


def search_fusion_weights(
    scores_of_senses: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> tuple[tuple[float, ...], np.ndarray]:
    """How much each sense counts in an output: the FUSION_WEIGHT_GRID of the SENSES with the lowest log loss.

    Args:
        scores_of_senses: (num_segments, 3, N) float in [0, 1], what each of the SENSES says; N is 1 or K.
        labels: (num_segments, N) in [0, 1]. weights: (num_segments,) above 0, of the segments in the loss.

    Returns:
        The shares, and (num_segments, N) float64, what the network says with them.
    """
    from scipy.special import expit, logit

    logits = logit(np.clip(scores_of_senses.astype(np.float64), EPSILON, 1 - EPSILON))
    weights = np.broadcast_to(weights[:, np.newaxis], labels.shape)
    tried = [shares for shares in itertools.product(FUSION_WEIGHT_GRID, repeat=len(MODALITIES)) if any(shares)]
    scores = [expit(np.tensordot(logits, shares, (1, 0))) for shares in tried]
    best = int(np.argmin([metrics.log_loss(labels, tried_scores, weights) for tried_scores in scores]))
    return tried[best], scores[best]
