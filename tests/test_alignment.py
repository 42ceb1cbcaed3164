"""Check scores, paths and runs on small arrays against plain loops and values computed by hand."""

import itertools

import numpy as np
import pytest

from videosummarizer.labelling import alignment, evidence
from videosummarizer.labelling.alignment import AlignedRun
from videosummarizer.labelling.fingerprints import Descriptors

BOTH, AUDIO_ONLY, VIDEO_ONLY = 0, 1, 2
STEP_SEC = 0.0625  # 16 steps per second


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


# A run of 2 s, in which a score down to -0.2 s is baseline.
@pytest.mark.parametrize(
    ("audio_score_sec", "video_score_sec", "modalities", "score_sec"),
    [
        (1.0, 0.5, BOTH, 1.5),
        (1.0, -0.2, BOTH, 0.8),
        (1.0, -0.21, AUDIO_ONLY, 1.0),
        (-0.2, 1.0, BOTH, 0.8),
        (-0.21, 1.0, VIDEO_ONLY, 1.0),
        (-0.3, -0.4, AUDIO_ONLY, -0.3),
    ],
)
def test_a_modality_that_clearly_contradicts_is_ignored(audio_score_sec, video_score_sec, modalities, score_sec):
    run = AlignedRun(100, 132, 7, audio_score_sec, video_score_sec)
    assert run.best_score() == (modalities, pytest.approx(score_sec))


@pytest.mark.parametrize(
    ("audio_score_sec", "video_score_sec", "runner_up_score_sec", "required_factor", "confidence"),
    [
        (0.3, 0.2, 0.0, 1.0, 0.5),  # both modalities: half a second for 0.5
        (0.6, 0.4, 0.0, 1.0, 0.75),
        (0.6, 0.4, 1.0, 1.0, 0.5),  # half of the runner-up's score is subtracted
        (0.6, 0.4, -1.0, 1.0, 0.75),
        (0.6, 0.4, 2.5, 1.0, 0.0),
        (0.6, 0.4, 0.0, 2.0, 0.5),
        (2.5, -1.0, 0.0, 1.0, 0.5),  # audio only
        (-1.0, 0.8, 0.0, 1.0, 0.5),  # video only
        (-1.0, 1.6, 0.0, 4.0, 1 - 0.5**0.5),
    ],
)
def test_confidence_grows_with_the_margin_over_the_runner_up(
    audio_score_sec, video_score_sec, runner_up_score_sec, required_factor, confidence
):
    run = AlignedRun(10, 26, -3, audio_score_sec, video_score_sec, runner_up_score_sec)
    rated = run.with_confidence(required_factor)
    assert rated.confidence == pytest.approx(confidence)
    assert (rated.first, rated.last, rated.offset, rated.runner_up_score_sec) == (10, 26, -3, runner_up_score_sec)


def test_a_run_has_no_runner_up_and_no_confidence_at_first():
    assert (AlignedRun(1, 2, 3, 4.0, 5.0).runner_up_score_sec, AlignedRun(1, 2, 3, 4.0, 5.0).confidence) == (0, 0)


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


def test_the_maximum_subarray_has_the_largest_of_all_sums():
    scores = np.random.default_rng(6).normal(size=(9, 12))
    scores[:, 3] = -1
    expected = [
        max(0, *(column[i:j].sum() for i in range(9) for j in range(i + 1, 10))) if column.max() > 0 else 0
        for column in scores.T
    ]
    np.testing.assert_allclose(alignment.max_subarray_sum(scores), expected)


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


def plain_viterbi_path(audio, video, switch_costs):
    """Try all sequences of states and return the one with the highest score."""
    num_steps, num_offsets = audio.shape
    states = [(None, None), *itertools.product(range(num_offsets), ("both", "audio", "video"))]
    best = None
    for path in itertools.product(states, repeat=num_steps):
        gain, previous = 0.0, (None, None)
        for step, (column, modalities) in enumerate(path):
            if column is not None:
                gain -= switch_costs[step] if path[step] != previous else 0
                gain += audio[step, column] if modalities != "video" else 0
                gain += video[step, column] if modalities != "audio" else 0
                gain -= 0.04 / 16 if modalities != "both" else 0
            previous = path[step]
        if best is None or gain > best[0] + 1e-6:
            best = gain, [-1 if column is None else column for column, _ in path]
    return best[1]


@pytest.mark.parametrize("seed", range(12))
def test_the_viterbi_path_is_the_best_of_all_paths(seed):
    random = np.random.default_rng(seed)
    audio, video = (random.normal(0.05, 0.3, (4, 2)).astype(np.float32) for _ in range(2))
    switch_costs = random.choice([0.05, 0.4], 4)
    assert alignment.viterbi_path(audio, video, switch_costs).tolist() == plain_viterbi_path(audio, video, switch_costs)


def test_ignoring_one_modality_costs_a_little():
    # Ignoring costs 0.0025 per step (0.04 s per second): more than the frames' -0.002 and less than their -0.003.
    audio = np.full((8, 1), 0.2, np.float32)
    for against, total in ((-0.0020, 8 * 0.1980), (-0.0030, 8 * 0.1975)):
        video = np.full((8, 1), against, np.float32)
        for cost, expected in ((total - 1e-4, 0), (total + 1e-4, -1)):
            for first, second in ((audio, video), (video, audio)):
                path = alignment.viterbi_path(first, second, np.full(8, cost))
                assert path.tolist() == [expected] * 8


def test_without_offsets_nothing_explains_a_query():
    empty = np.zeros((5, 0), np.float32)
    with np.errstate(all="raise"):
        assert alignment.viterbi_path(empty, empty, np.full(5, 0.6)).tolist() == [-1] * 5
    assert alignment.find_runs(empty, empty, np.zeros(0, np.int64), np.full(5, 0.6)) == []


def blocks(num_steps, offsets, parts):
    """Return scores (num_steps, num_offsets): the value in each (first, last, offset, value), -1 elsewhere."""
    scores = np.full((num_steps, len(offsets)), -1, np.float32)
    for first, last, offset, value in parts:
        scores[first:last, list(offsets).index(offset)] = value
    return scores


def test_runs_come_in_order_with_their_scores_and_nothing_between():
    offsets = np.array([-5, 40, 90])
    audio = blocks(60, offsets, [(3, 20, 90, 0.25), (25, 40, -5, 0.5), (40, 55, 40, 0.5)])
    video = blocks(60, offsets, [(3, 20, 90, 0.5), (25, 40, -5, 0.25), (40, 55, 40, 0.125)])
    runs = alignment.find_runs(audio, video, offsets, np.full(60, 0.6))
    assert runs == [
        AlignedRun(3, 20, 90, 4.25, 8.5),
        AlignedRun(25, 40, -5, 7.5, 3.75),
        AlignedRun(40, 55, 40, 7.5, 1.875),
    ]


@pytest.mark.parametrize("offset", [10, 20, 30, 40])
def test_a_run_may_last_from_the_first_step_to_the_last(offset):
    offsets = np.array([10, 20, 30, 40])
    scores = blocks(30, offsets, [(0, 30, offset, 0.5)])
    runs = alignment.find_runs(scores, scores, offsets, np.full(30, 0.6))
    assert runs == [AlignedRun(0, 30, offset, 15.0, 15.0)]


def test_a_run_is_merged_only_with_the_run_before_it():
    offsets = np.array([40, 42, 90])
    scores = blocks(60, offsets, [(0, 10, 40, 0.5), (10, 20, 90, 0.5), (20, 30, 42, 0.5), (30, 50, 40, 0.25)])
    runs = alignment.find_runs(scores, scores, offsets, np.full(60, 0.1))
    assert runs == [
        AlignedRun(0, 10, 40, 5.0, 5.0),
        AlignedRun(10, 20, 90, 5.0, 5.0),
        AlignedRun(20, 50, 40, 10.0, 10.0),
    ]


@pytest.mark.parametrize(
    ("second_offset", "split", "expected"),
    [
        (43, 20, [AlignedRun(5, 40, 40, 17.5, 8.75)]),  # the same position; the longer run's offset
        (37, 20, [AlignedRun(5, 40, 40, 17.5, 8.75)]),
        (43, 30, [AlignedRun(5, 40, 40, 17.5, 8.75)]),
        (44, 20, [AlignedRun(5, 20, 44, 7.5, 3.75), AlignedRun(20, 40, 40, 10.0, 5.0)]),
    ],
)
def test_runs_of_nearly_the_same_offset_are_one_run(second_offset, split, expected):
    # The offset of the longer part is 40, whichever comes first.
    offsets = np.array(sorted({40, second_offset}))
    first, second = (second_offset, 40) if split == 20 else (40, second_offset)
    parts = [(5, split, first), (split, 40, second)]
    audio = blocks(50, offsets, [(*part, 0.5) for part in parts])
    video = blocks(50, offsets, [(*part, 0.25) for part in parts])
    assert alignment.find_runs(audio, video, offsets, np.full(50, 0.1)) == expected


def test_runs_of_the_same_offset_with_a_gap_stay_separate():
    offsets = np.array([40])
    scores = blocks(50, offsets, [(5, 20, 40, 0.5), (24, 45, 40, 0.5)])
    runs = alignment.find_runs(scores, scores, offsets, np.full(50, 0.1))
    assert [(run.first, run.last) for run in runs] == [(5, 20), (24, 45)]


def extended(scores, is_cut, first=30, last=50):
    run = alignment.extend_to_dissolve(AlignedRun(first, last, 7, 1.0, 2.0, 0.5, 0.9), np.float32(scores), is_cut)
    assert (run.offset, run.audio_score_sec, run.video_score_sec, run.runner_up_score_sec, run.confidence) == (
        7,
        1.0,
        2.0,
        0.5,
        0.9,
    )
    return run.first, run.last


def test_a_run_is_extended_while_scores_stay_positive():
    # An extension costs 0.03 s per second, 0.001875 per step, and has to be worth 0.02 s in all.
    scores, no_cut = np.full(80, -1.0), np.zeros(80, bool)
    assert extended(scores, no_cut) == (30, 50)
    scores[50:56], scores[27:30] = 0.01, 0.01
    assert extended(scores, no_cut) == (27, 56)
    scores[27:30] = 0.0085  # 3 * (0.0085 - 0.001875) = 0.0199
    assert extended(scores, no_cut) == (30, 56)
    scores[27:30] = 0.0086
    assert extended(scores, no_cut) == (27, 56)
    scores[56:60], scores[20:27] = 0.0018, 0.0019  # less and more than an extension costs
    assert extended(scores, no_cut) == (20, 56)


def test_a_run_is_extended_by_at_most_a_second_and_not_past_a_cut():
    scores, is_cut = np.full(80, 0.1), np.zeros(80, bool)
    assert extended(scores, is_cut) == (14, 66)
    is_cut[[20, 60]] = True
    assert extended(scores, is_cut) == (21, 60)
    is_cut[[29, 50]] = True
    assert extended(scores, is_cut) == (30, 50)
    assert extended(np.full(80, 0.1), np.zeros(80, bool), first=5, last=77) == (0, 80)
    assert extended(np.full(80, 0.1), np.zeros(80, bool), first=0, last=80) == (0, 80)
