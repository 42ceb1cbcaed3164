"""Check paths and runs on small arrays against plain loops and values computed by hand."""

import itertools

import numpy as np
import pytest

from videosummarizer.labelling import runs
from videosummarizer.labelling.runs import AlignedRun

BOTH, AUDIO_ONLY, VIDEO_ONLY = 0, 1, 2


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


@pytest.mark.parametrize(
    ("scored", "parts"),
    [
        ([], []),
        ([5], [(0, 6)]),
        ([900, 1850, 2100], [(0, 3000)]),
        ([0, 10, 971, 1000, 2999], [(0, 11), (971, 1001), (2999, 3000)]),
        ([1000, 1500], [(1000, 1501)]),
    ],
)
def test_a_minute_without_any_score_parts_the_runs(scored, parts):
    audio, video = np.zeros((2, 3000, 2), np.float32)
    audio[scored[::2], 1] = 0.1
    video[scored[1::2], 0] = -0.1
    assert runs.parts_with_evidence(audio, video) == parts


def test_a_run_does_not_span_hours_without_any_score():
    scores = np.zeros((200_000, 1), np.float32)
    scores[[*range(20), *range(199_980, 200_000)]] = 0.1
    found = runs.find_runs(scores, scores, np.array([7]), np.full(len(scores), 0.6))
    assert [(run.first, run.last) for run in found] == [(0, 20), (199_980, 200_000)]


def test_a_run_has_no_runner_up_and_no_confidence_at_first():
    assert (AlignedRun(1, 2, 3, 4.0, 5.0).runner_up_score_sec, AlignedRun(1, 2, 3, 4.0, 5.0).confidence) == (0, 0)


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
    assert runs.viterbi_path(audio, video, switch_costs).tolist() == plain_viterbi_path(audio, video, switch_costs)


def test_ignoring_one_modality_costs_a_little():
    # Ignoring costs 0.0025 per step (0.04 s per second): more than the frames' -0.002 and less than their -0.003.
    audio = np.full((8, 1), 0.2, np.float32)
    for against, total in ((-0.0020, 8 * 0.1980), (-0.0030, 8 * 0.1975)):
        video = np.full((8, 1), against, np.float32)
        for cost, expected in ((total - 1e-4, 0), (total + 1e-4, -1)):
            for first, second in ((audio, video), (video, audio)):
                path = runs.viterbi_path(first, second, np.full(8, cost))
                assert path.tolist() == [expected] * 8


def test_without_offsets_nothing_explains_a_query():
    empty = np.zeros((5, 0), np.float32)
    with np.errstate(all="raise"):
        assert runs.viterbi_path(empty, empty, np.full(5, 0.6)).tolist() == [-1] * 5
    assert runs.find_runs(empty, empty, np.zeros(0, np.int64), np.full(5, 0.6)) == []


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
    found = runs.find_runs(audio, video, offsets, np.full(60, 0.6))
    assert found == [
        AlignedRun(3, 20, 90, 4.25, 8.5),
        AlignedRun(25, 40, -5, 7.5, 3.75),
        AlignedRun(40, 55, 40, 7.5, 1.875),
    ]


@pytest.mark.parametrize("offset", [10, 20, 30, 40])
def test_a_run_may_last_from_the_first_step_to_the_last(offset):
    offsets = np.array([10, 20, 30, 40])
    scores = blocks(30, offsets, [(0, 30, offset, 0.5)])
    found = runs.find_runs(scores, scores, offsets, np.full(30, 0.6))
    assert found == [AlignedRun(0, 30, offset, 15.0, 15.0)]


def test_a_run_is_merged_only_with_the_run_before_it():
    offsets = np.array([40, 42, 90])
    scores = blocks(60, offsets, [(0, 10, 40, 0.5), (10, 20, 90, 0.5), (20, 30, 42, 0.5), (30, 50, 40, 0.25)])
    found = runs.find_runs(scores, scores, offsets, np.full(60, 0.1))
    assert found == [
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
    assert runs.find_runs(audio, video, offsets, np.full(50, 0.1)) == expected


def test_runs_of_the_same_offset_with_a_gap_stay_separate():
    offsets = np.array([40])
    scores = blocks(50, offsets, [(5, 20, 40, 0.5), (24, 45, 40, 0.5)])
    found = runs.find_runs(scores, scores, offsets, np.full(50, 0.1))
    assert [(run.first, run.last) for run in found] == [(5, 20), (24, 45)]


def extended(scores, is_cut, first=30, last=50):
    run = runs.extend_to_dissolve(AlignedRun(first, last, 7, 1.0, 2.0, 0.5, 0.9), np.float32(scores), is_cut)
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
