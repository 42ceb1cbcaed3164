"""Check candidate offsets and scores on small arrays against plain loops."""

import numpy as np
import pytest

from videosummarizer.labelling import evidence
from videosummarizer.labelling.fingerprints import Descriptors


def unit_rows(seed, num_rows, num_dimensions=8):
    rows = np.random.default_rng(seed).normal(size=(num_rows, num_dimensions))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def rows_of_lengths(seed, num_rows):
    """Return rows with norms between 0.2 and 0.9, as louder and quieter audio has."""
    return unit_rows(seed, num_rows) * np.random.default_rng(seed).uniform(0.2, 0.9, (num_rows, 1)).astype(np.float32)


def smooth_rows(seed, num_rows):
    """Return rows that turn slowly, so that peaks of the similarity are several frames wide."""
    steps = np.random.default_rng(seed).normal(size=(num_rows, 6))
    rows = np.cumsum(steps, axis=0)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_hours_of_silence_in_the_query_suggest_no_offset_and_change_none():
    reference, shot = rows_of_lengths(1, 200), rows_of_lengths(1, 200)[50:98]
    silence = np.zeros((160_000, reference.shape[1]), np.float32)
    offsets = evidence.audio_offset_candidates(np.concatenate([shot, silence, shot]), reference)
    assert {50, 50 - len(shot) - len(silence)} <= set(offsets.tolist())
    assert len(offsets) <= 2 * len(evidence.audio_offset_candidates(shot, reference)) + 50


def plain_audio_offsets(query, reference):
    """Do as audio_offset_candidates, by loops: the best 6 peaks of each block of 16 steps and of each 4 blocks."""
    offsets = range(-len(query), len(reference))
    scores = []
    for first in range(0, len(query) - 15, 16):
        scores.append(
            [
                sum(float(query[i] @ reference[i + o]) for i in range(first, first + 16) if 0 <= i + o < len(reference))
                for o in offsets
            ]
        )
    actual = set()
    for block in range(len(scores)):
        for num_blocks in (1, 4):
            window = np.sum(scores[max(0, block + 1 - num_blocks) : block + 1], axis=0)
            best = np.argsort(window)[-24:]
            peaks = [i for i in best if window[i] > 0 and window[i] == max(window[max(0, i - 2) : i + 3])]
            actual |= {offsets[i] for i in sorted(peaks, key=lambda i: -window[i])[:6]}
    return sorted(actual)


@pytest.mark.parametrize(("num_query", "num_reference"), [(230, 301), (95, 60), (16, 40)])
@pytest.mark.parametrize(("make_rows", "length"), [(unit_rows, 1), (unit_rows, 0.2), (smooth_rows, 1)])
def test_every_offset_of_the_audio_is_tried(make_rows, length, num_query, num_reference):
    query, reference = make_rows(1, num_query), np.float32(length) * make_rows(2, num_reference)
    actual = evidence.audio_offset_candidates(query, reference)
    assert actual.tolist() == plain_audio_offsets(query, reference)
    assert actual.dtype == np.int64


def test_audio_that_is_opposite_everywhere_suggests_no_offset():
    rows = np.ones((48, 2), np.float32)
    assert evidence.audio_offset_candidates(rows, -rows).tolist() == []


def test_a_query_shorter_than_a_block_suggests_no_offset_by_its_audio():
    assert evidence.audio_offset_candidates(unit_rows(1, 15), unit_rows(2, 40)).tolist() == []


def test_the_audio_of_shots_suggests_their_offsets_at_both_ends_of_the_match():
    reference = unit_rows(3, 400, 32)
    query = np.concatenate([reference[383:400], reference[:17], reference[200:216]])
    assert {383, -17, 166} <= set(evidence.audio_offset_candidates(query, reference).tolist())


def plain_video_offsets(query, reference, max_offsets):
    actual = []
    for time_sec, row in zip(reference.times_sec, reference.rows, strict=True):
        similarity = [float(row @ other) for other in query.rows]
        peaks = [
            i for i, value in enumerate(similarity) if value > 0.12 and value == max(similarity[max(0, i - 7) : i + 8])
        ]
        for i in sorted(peaks, key=lambda i: -similarity[i])[:6]:
            actual.append((round((time_sec - query.times_sec[i]) * 16), similarity[i]))
    support = {
        offset: sum(weight for other, weight in actual if abs(other - offset) <= 1) for offset in {o for o, _ in actual}
    }
    return sorted(sorted(support, key=lambda offset: -support[offset])[:max_offsets])


@pytest.mark.parametrize(("num_query", "max_offsets"), [(150, 1), (150, 20), (150, 10_000), (700, 10_000)])
def test_offsets_that_several_frames_agree_on_come_first(num_query, max_offsets):
    query = Descriptors(np.arange(num_query) / 23.7, smooth_rows(4, num_query))
    reference = Descriptors(3.3 + np.arange(70) * 0.71, smooth_rows(5, 70))
    expected = plain_video_offsets(query, reference, max_offsets)
    assert evidence.video_offset_candidates(query, reference, max_offsets).tolist() == expected
    assert len(expected) == max_offsets or max_offsets == 10_000


def test_dissimilar_frames_suggest_no_offset():
    query = Descriptors(np.arange(20) / 25, np.tile(np.float32([1, 0]), (20, 1)))
    reference = Descriptors(np.arange(3.0), np.tile(np.float32([0.12, 1]), (3, 1)))
    assert evidence.video_offset_candidates(query, reference, 10).tolist() == []


@pytest.mark.parametrize("num_steps", [21, 30])  # fewer and more than the query's audio has
def test_an_audio_score_is_similarity_minus_the_baseline(num_steps):
    query, reference = rows_of_lengths(7, 25), rows_of_lengths(8, 33)
    offsets = np.array([-40, -25, -24, -6, 0, 5, 20, 32, 33, 50])
    expected = np.zeros((num_steps, len(offsets)))
    for step in range(min(num_steps, 25)):
        for column, offset in enumerate(offsets):
            if 0 <= step + offset < 33:
                one, other = query[step], reference[step + offset]
                baseline = 0.3 * np.sqrt((one**2).sum() * (other**2).sum())
                expected[step, column] = (one @ other - baseline) * 2.5 / 16
    actual = evidence.audio_scores(query, reference, offsets, num_steps)
    np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_the_score_of_a_frame_lasts_half_way_to_its_neighbours():
    query = Descriptors(np.arange(40) / 23.7, rows_of_lengths(9, 40))
    gaps_sec = np.random.default_rng(10).choice([0.1, 0.3, 0.7], 80)
    reference = Descriptors(5 + np.cumsum(gaps_sec), rows_of_lengths(11, 80))
    offsets, num_steps = np.array([40, *range(70, 560, 9), 600]), 26
    expected = np.zeros((num_steps, len(offsets)))
    for number, (time_sec, row) in enumerate(zip(reference.times_sec, reference.rows, strict=True)):
        before = time_sec - reference.times_sec[number - 1] if number > 0 else 1e9
        after = reference.times_sec[number + 1] - time_sec if number < 79 else 1e9
        lasts_sec = min((before + after) / 2, 0.5)
        for column, offset in enumerate(offsets):
            step = int(np.floor(time_sec * 16 - offset + 0.5))
            if 0 <= step < num_steps:
                query_sec = time_sec - offset / 16
                shown = max((i for i in range(40) if query.times_sec[i] <= query_sec + 1e-6), default=0)
                reach = [float(row @ query.rows[i]) for i in range(max(0, shown - 2), min(40, shown + 3))]
                baseline = 0.2 * np.sqrt((row**2).sum() * (query.rows[shown] ** 2).sum())
                expected[step, column] += lasts_sec * 2.5 * (max(reach) - baseline)
    actual = evidence.video_scores(query, reference, offsets, num_steps)
    np.testing.assert_allclose(actual, expected, atol=1e-5)
    assert (actual != 0).any(axis=0).tolist() == [False, *[True] * 55, False]
