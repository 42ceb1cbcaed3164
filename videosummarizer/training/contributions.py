"""What each modality contributes to the scores: the fused logit is a sum, and these are its terms."""

import functools

import numpy as np

from videosummarizer.training.fusion import FUSION_LAYER, MODALITIES, OUTPUTS, LateFusion
from videosummarizer.training.keras_backend import keras, layers

# Names of the outputs that `add_logits` adds: the logits of all modalities, one after another.
LOGITS_OUTPUTS = tuple(f"{name}_logits" for name in OUTPUTS)

# The size to which logits are limited, so that contributions are finite.
MAX_LOGIT = 1e4


@functools.lru_cache(maxsize=1)  # of many matches, the network is divided and compiled once
def add_logits(network: keras.Model) -> keras.Model | None:
    """Return a network that also outputs the logits of the modalities.

    Args:
        network: Network of `inference.load_network`.

    Returns:
        A network with the same variables and, in addition, LOGITS_OUTPUTS: (B, S, 3) for segments and (B, S, 3 * K) for
        time steps, float32, in the order of MODALITIES. None for a network without late fusion.
    """
    outputs = {}
    for name, logits_name in zip(OUTPUTS, LOGITS_OUTPUTS, strict=True):
        fusion = find_fusion(network, name)
        if fusion is None or not isinstance(fusion.input, list) or len(fusion.input) != len(MODALITIES):
            return None
        outputs[logits_name] = layers.Concatenate(name=logits_name)(fusion.input)
    return keras.Model(network.input, {**network.output, **outputs})


def find_fusion(network: keras.Model, name: str) -> LateFusion | None:
    """Return the layer that fuses the modalities for one of OUTPUTS; None if the network has none."""
    try:
        layer = network.get_layer(FUSION_LAYER.format(name))
    except (AttributeError, ValueError):
        return None
    return layer if isinstance(layer, LateFusion) else None


def split_contributions(network: keras.Model, logits: np.ndarray) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Return what each modality contributes to the log-odds of the scores: its logit times its fusion weight.

    Args:
        network: Network of `add_logits`.
        logits: (num_segments, 3 + 3 * K) float64, its LOGITS_OUTPUTS; those of infinite size are limited.

    Returns:
        The names of the contributions, those of MODALITIES and, for a calibrated network, "offset"; those to the scores
        of the segments, (num_segments, N), and to those of their time steps, (num_segments, K, N). Their sums over the
        last axis are the log-odds of the scores.
    """
    names, contributions = MODALITIES, []
    for name, parts in zip(OUTPUTS, np.split(logits, [len(MODALITIES)], axis=1), strict=True):
        fusion = find_fusion(network, name)
        parts = np.clip(parts, -MAX_LOGIT, MAX_LOGIT).reshape(len(logits), len(MODALITIES), -1).swapaxes(1, 2)
        terms = parts * np.asarray(fusion.fusion_weights, np.float64)
        if getattr(fusion, "offset", None) is not None:
            names = (*MODALITIES, "offset")
            terms = np.concatenate([terms, np.full((*terms.shape[:2], 1), float(fusion.offset))], axis=2)
        contributions.append(terms)
    return names, contributions[0][:, 0], contributions[1]
