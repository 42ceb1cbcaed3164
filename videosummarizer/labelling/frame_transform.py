"""Fit of the transform (crop, zoom or letterbox) between the frames of a full match and of a highlight video."""

from collections.abc import Callable

import numpy as np

from videosummarizer.labelling.fingerprints import IDENTITY, FrameDescriber, FrameTransform
from videosummarizer.labelling.thumbnails import Thumbnails

# Query frames that are used to fit the transform of the frame.
MAX_FIT_FRAMES = 1000
# Relative sizes of the match's frame, across and down, that the coarse search tries.
COARSE_SIZES = (0.75, 0.85, 1.0, 1.1, 1.2, 1.33)
# Highlight videos whose aspect ratio differs by more than this factor (its logarithm) are cropped or letterboxed.
MIN_REFRAMING = 0.1
# Sizes of the match's frame that are tried for them, relative to that which just fills the highlight video's frame.
REFRAMED_ZOOMS = (0.85, 1.0, 1.15, 1.33)
# Positions of the crop that are tried, from one side of the match's frame to the other.
REFRAMED_POSITIONS = tuple(np.linspace(-0.5, 0.5, 9))


def fit_frame_transform(query: Thumbnails, reference: Thumbnails) -> FrameTransform:
    """Return the transform under which frames of the match are most similar to frames of the highlight video.

    A coarse search over sizes finds pairs of similar frames. Hill climbing then fits the transform to these pairs.

    Args:
        query: thumbnails from the whole highlight video.
        reference: thumbnails from the whole match.
    """
    duration_sec = float(np.ptp(query.times_sec))
    query = query.subsample(min(MAX_FIT_FRAMES, int(10 * duration_sec) + 1))
    reference = reference.subsample(MAX_FIT_FRAMES // 3)
    transform = coarse_transform(query, reference)
    similarities = frame_similarities(query, reference, transform)
    chosen = np.argsort(similarities.max(axis=1))[-max(20, len(similarities) // 8) :]
    query_pairs, reference_pairs = query.select(similarities[chosen].argmax(axis=1)), reference.select(chosen)

    def mean_similarity(transform: FrameTransform) -> float:
        query_rows, reference_rows = normalised_pair(query_pairs, reference_pairs, transform)
        return float((query_rows * reference_rows).sum(axis=1).mean())

    return hill_climb(mean_similarity, transform)


def normalised_pair(
    query: Thumbnails, reference: Thumbnails, transform: FrameTransform
) -> tuple[np.ndarray, np.ndarray]:
    """Return the normalised frames of query and reference under a transform, (n, num_used) float32 each."""
    describer = FrameDescriber(query, reference, transform)
    return describer.normalised_rows(query, IDENTITY), describer.normalised_rows(reference, transform)


def frame_similarities(query: Thumbnails, reference: Thumbnails, transform: FrameTransform) -> np.ndarray:
    """Return the similarity of each reference frame to each query frame, (num_reference, num_query) float32."""
    query_rows, reference_rows = normalised_pair(query, reference, transform)
    return reference_rows @ query_rows.T


def coarse_transform(query: Thumbnails, reference: Thumbnails) -> FrameTransform:
    """Return the best of some transforms of different sizes.

    Transforms are ranked by the tenth of the match's frames that are most similar to a query frame. Few blocks are
    similar by chance to one of many frames. Therefore a similarity is multiplied by its distance from the mean over all
    query frames, in standard deviations.
    """

    def best_pairs_similarity(transform: FrameTransform) -> float:
        similarities = frame_similarities(query, reference, transform)
        maxima = similarities.max(axis=1)
        scores = maxima * (maxima - similarities.mean(axis=1)) / (similarities.std(axis=1) + 1e-6)
        return float(np.sort(scores)[-max(10, len(scores) // 10) :].mean())

    sizes = COARSE_SIZES
    candidates = [FrameTransform(width=w, height=h) for w in sizes for h in sizes if 0.7 < w / h < 1.4]
    candidates += reframed_transforms(reference.aspect_ratio / query.aspect_ratio)
    return max(candidates, key=best_pairs_similarity)


def reframed_transforms(ratio: float) -> list[FrameTransform]:
    """Return transforms of a match that was cropped or letterboxed into another aspect ratio without distorting it.

    Args:
        ratio: the match's aspect ratio by that of the highlight video; near 1, there are no such transforms.
    """
    if abs(np.log(ratio)) < MIN_REFRAMING:
        return []
    transforms = []
    for zoom in REFRAMED_ZOOMS:
        # The match fills the frame, and is wider or higher than it.
        width, height = max(ratio, 1) * zoom, max(1 / ratio, 1) * zoom
        for position in REFRAMED_POSITIONS:
            centre = (
                {"centre_x": 0.5 + position * (width - 1)} if ratio > 1 else {"centre_y": 0.5 + position * (height - 1)}
            )
            transforms.append(FrameTransform(**centre, width=width, height=height))
        if zoom >= 1:  # the match is letterboxed or pillarboxed
            transforms.append(FrameTransform(width=min(ratio, 1) * zoom, height=min(1 / ratio, 1) * zoom))
    return transforms


def hill_climb(objective: Callable[[FrameTransform], float], start: FrameTransform) -> FrameTransform:
    """Return a transform near a start at which an objective has a local maximum.

    Every round tries a step up and down in each of the four numbers and takes the best; where none is better, the step
    is halved.
    """
    best, step, score = start, 0.06, objective(start)
    while step > 0.004:
        neighbours = [
            FrameTransform(**{**vars(best), name: getattr(best, name) + change})
            for name in vars(best)
            for change in (-step, step)
        ]
        scores = [objective(neighbour) for neighbour in neighbours]
        if max(scores) > score + 1e-4:
            best, score = neighbours[int(np.argmax(scores))], max(scores)
        else:
            step /= 2
    return best
