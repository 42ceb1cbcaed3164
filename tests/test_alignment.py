"""Evidence, paths and runs against plain loops and values by hand, on small arrays."""

import itertools

import numpy as np
import pytest

from videosummarizer.labelling import alignment, evidence
from videosummarizer.labelling.alignment import AlignedRun
from videosummarizer.labelling.fingerprints import Descriptors

BOTH, SOUND_ALONE, PICTURE_ALONE = 0, 1, 2
STEP_SEC = 0.0625  # 16 steps a second


def unit_rows(seed, num_rows, num_dimensions=8):
    rows = np.random.default_rng(seed).normal(size=(num_rows, num_dimensions))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def rows_of_lengths(seed, num_rows):
    """Rows of lengths between 0.2 and 0.9, as louder and quieter sound has."""
    return unit_rows(seed, num_rows) * np.random.default_rng(seed).uniform(0.2, 0.9, (num_rows, 1)).astype(np.float32)


def smooth_rows(seed, num_rows):
    """Rows that turn slowly, so that likeness has peaks of several pictures."""
    steps = np.random.default_rng(seed).normal(size=(num_rows, 6))
    rows = np.cumsum(steps, axis=0)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


# A run of 2 s, in which up to 0.2 s of evidence_scores against a place are chance.
@pytest.mark.parametrize(
    ("sound_sec", "picture_sec", "kind", "evidence_sec"),
    [
        (1.0, 0.5, BOTH, 1.5),
        (1.0, -0.2, BOTH, 0.8),
        (1.0, -0.21, SOUND_ALONE, 1.0),
        (-0.2, 1.0, BOTH, 0.8),
        (-0.21, 1.0, PICTURE_ALONE, 1.0),
        (-0.3, -0.4, SOUND_ALONE, -0.3),
    ],
)
def test_what_speaks_clearly_against_a_place_is_left_out_of_account(sound_sec, picture_sec, kind, evidence_sec):
    run = AlignedRun(100, 132, 7, sound_sec, picture_sec)
    assert run.evidence() == (kind, pytest.approx(evidence_sec))


@pytest.mark.parametrize(
    ("sound_sec", "picture_sec", "rival_sec", "required_factor", "confidence"),
    [
        (0.3, 0.2, 0.0, 1.0, 0.5),  # both: half a second for a half
        (0.6, 0.4, 0.0, 1.0, 0.75),
        (0.6, 0.4, 1.0, 1.0, 0.5),  # half of what there is for another place counts against it
        (0.6, 0.4, -1.0, 1.0, 0.75),
        (0.6, 0.4, 2.5, 1.0, 0.0),
        (0.6, 0.4, 0.0, 2.0, 0.5),
        (2.5, -1.0, 0.0, 1.0, 0.5),  # sound alone
        (-1.0, 0.8, 0.0, 1.0, 0.5),  # pictures alone
        (-1.0, 1.6, 0.0, 4.0, 1 - 0.5**0.5),
    ],
)
def test_confidence_grows_with_what_evidence_there_is_beyond_the_rivals(
    sound_sec, picture_sec, rival_sec, required_factor, confidence
):
    run = AlignedRun(10, 26, -3, sound_sec, picture_sec, rival_sec)
    rated = run.rate(required_factor)
    assert rated.confidence == pytest.approx(confidence)
    assert (rated.first, rated.last, rated.offset, rated.rival_sec) == (10, 26, -3, rival_sec)


def test_a_run_has_no_rival_and_no_confidence_at_first():
    assert (AlignedRun(1, 2, 3, 4.0, 5.0).rival_sec, AlignedRun(1, 2, 3, 4.0, 5.0).confidence) == (0, 0)


def plain_sound_offsets(edit, match):
    """As sound_offsets, by loops: of each block of 16 steps, alone and with the three before, the best 6 peaks."""
    offsets = range(-len(edit), len(match))
    scores = []
    for first in range(0, len(edit) - 15, 16):
        scores.append(
            [
                sum(float(edit[i] @ match[i + o]) for i in range(first, first + 16) if 0 <= i + o < len(match))
                for o in offsets
            ]
        )
    found = set()
    for block in range(len(scores)):
        for num_blocks in (1, 4):
            window = np.sum(scores[max(0, block + 1 - num_blocks) : block + 1], axis=0)
            best = np.argsort(window)[-24:]
            peaks = [i for i in best if window[i] > 0 and window[i] == max(window[max(0, i - 2) : i + 3])]
            found |= {offsets[i] for i in sorted(peaks, key=lambda i: -window[i])[:6]}
    return sorted(found)


@pytest.mark.parametrize(("num_edit", "num_match"), [(230, 301), (95, 60), (16, 40)])
@pytest.mark.parametrize(("make_rows", "length"), [(unit_rows, 1), (unit_rows, 0.2), (smooth_rows, 1)])
def test_every_offset_of_the_sound_is_tried(make_rows, length, num_edit, num_match):
    edit, match = make_rows(1, num_edit), np.float32(length) * make_rows(2, num_match)
    found = evidence.audio_offset_candidates(edit, match)
    assert found.tolist() == plain_sound_offsets(edit, match)
    assert found.dtype == np.int64


def test_sound_that_is_the_contrary_everywhere_suggests_no_offset():
    rows = np.ones((48, 2), np.float32)
    assert evidence.audio_offset_candidates(rows, -rows).tolist() == []


def test_an_edit_shorter_than_a_block_suggests_no_offset_by_its_sound():
    assert evidence.audio_offset_candidates(unit_rows(1, 15), unit_rows(2, 40)).tolist() == []


def test_the_sound_of_shots_suggests_their_offsets_at_either_end_of_the_match():
    match = unit_rows(3, 400, 32)
    edit = np.concatenate([match[383:400], match[:17], match[200:216]])
    assert {383, -17, 166} <= set(evidence.audio_offset_candidates(edit, match).tolist())


def plain_picture_offsets(edit, match, max_offsets):
    found = []
    for time_sec, row in zip(match.times_sec, match.rows, strict=True):
        likeness = [float(row @ other) for other in edit.rows]
        peaks = [
            i for i, value in enumerate(likeness) if value > 0.12 and value == max(likeness[max(0, i - 7) : i + 8])
        ]
        for i in sorted(peaks, key=lambda i: -likeness[i])[:6]:
            found.append((round((time_sec - edit.times_sec[i]) * 16), likeness[i]))
    support = {
        offset: sum(weight for other, weight in found if abs(other - offset) <= 1) for offset in {o for o, _ in found}
    }
    return sorted(sorted(support, key=lambda offset: -support[offset])[:max_offsets])


@pytest.mark.parametrize(("num_edit", "max_offsets"), [(150, 1), (150, 20), (150, 10_000), (700, 10_000)])
def test_offsets_that_several_pictures_agree_on_come_first(num_edit, max_offsets):
    edit = Descriptors(np.arange(num_edit) / 23.7, smooth_rows(4, num_edit))
    match = Descriptors(3.3 + np.arange(70) * 0.71, smooth_rows(5, 70))
    expected = plain_picture_offsets(edit, match, max_offsets)
    assert evidence.video_offset_candidates(edit, match, max_offsets).tolist() == expected
    assert len(expected) == max_offsets or max_offsets == 10_000


def test_pictures_that_are_not_alike_suggest_no_offset():
    edit = Descriptors(np.arange(20) / 25, np.tile(np.float32([1, 0]), (20, 1)))
    match = Descriptors(np.arange(3.0), np.tile(np.float32([0.12, 1]), (3, 1)))
    assert evidence.video_offset_candidates(edit, match, 10).tolist() == []


def test_the_best_stretch_is_the_best_of_all_sums():
    evidence_scores = np.random.default_rng(6).normal(size=(9, 12))
    evidence_scores[:, 3] = -1
    expected = [
        max(0, *(column[i:j].sum() for i in range(9) for j in range(i + 1, 10))) if column.max() > 0 else 0
        for column in evidence_scores.T
    ]
    np.testing.assert_allclose(alignment.max_subarray_sum(evidence_scores), expected)


@pytest.mark.parametrize("num_steps", [21, 30])  # fewer and more than the edit's sound has
def test_evidence_of_the_sound_is_likeness_less_what_chance_gives(num_steps):
    edit, match = rows_of_lengths(7, 25), rows_of_lengths(8, 33)
    offsets = np.array([-40, -25, -24, -6, 0, 5, 20, 32, 33, 50])
    expected = np.zeros((num_steps, len(offsets)))
    for step in range(min(num_steps, 25)):
        for column, offset in enumerate(offsets):
            if 0 <= step + offset < 33:
                one, other = edit[step], match[step + offset]
                chance = 0.3 * np.sqrt((one**2).sum() * (other**2).sum())
                expected[step, column] = (one @ other - chance) * 2.5 / 16
    found = evidence.audio_evidence(edit, match, offsets, num_steps)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_evidence_of_a_picture_lasts_half_way_to_its_neighbours():
    edit = Descriptors(np.arange(40) / 23.7, rows_of_lengths(9, 40))
    gaps_sec = np.random.default_rng(10).choice([0.1, 0.3, 0.7], 80)
    match = Descriptors(5 + np.cumsum(gaps_sec), rows_of_lengths(11, 80))
    offsets, num_steps = np.array([40, *range(70, 560, 9), 600]), 26
    expected = np.zeros((num_steps, len(offsets)))
    for number, (time_sec, row) in enumerate(zip(match.times_sec, match.rows, strict=True)):
        before = time_sec - match.times_sec[number - 1] if number > 0 else 1e9
        after = match.times_sec[number + 1] - time_sec if number < 79 else 1e9
        lasts_sec = min((before + after) / 2, 0.5)
        for column, offset in enumerate(offsets):
            step = int(np.floor(time_sec * 16 - offset + 0.5))
            if 0 <= step < num_steps:
                edit_sec = time_sec - offset / 16
                shown = max((i for i in range(40) if edit.times_sec[i] <= edit_sec + 1e-6), default=0)
                reach = [float(row @ edit.rows[i]) for i in range(max(0, shown - 2), min(40, shown + 3))]
                chance = 0.2 * np.sqrt((row**2).sum() * (edit.rows[shown] ** 2).sum())
                expected[step, column] += lasts_sec * 2.5 * (max(reach) - chance)
    found = evidence.video_evidence(edit, match, offsets, num_steps)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert (found != 0).any(axis=0).tolist() == [False, *[True] * 55, False]


def plain_best_path(sound, picture, switch_costs):
    """Of all the sequences of explanations the one with most evidence_scores, each tried."""
    num_steps, num_offsets = sound.shape
    states = [(None, None), *itertools.product(range(num_offsets), ("both", "sound", "picture"))]
    best = None
    for path in itertools.product(states, repeat=num_steps):
        gain, previous = 0.0, (None, None)
        for step, (column, kind) in enumerate(path):
            if column is not None:
                gain -= switch_costs[step] if path[step] != previous else 0
                gain += sound[step, column] if kind != "picture" else 0
                gain += picture[step, column] if kind != "sound" else 0
                gain -= 0.04 / 16 if kind != "both" else 0
            previous = path[step]
        if best is None or gain > best[0] + 1e-6:
            best = gain, [-1 if column is None else column for column, _ in path]
    return best[1]


@pytest.mark.parametrize("seed", range(12))
def test_the_best_path_is_the_best_of_all_paths(seed):
    random = np.random.default_rng(seed)
    sound, picture = (random.normal(0.05, 0.3, (4, 2)).astype(np.float32) for _ in range(2))
    switch_costs = random.choice([0.05, 0.4], 4)
    assert alignment.viterbi_path(sound, picture, switch_costs).tolist() == plain_best_path(
        sound, picture, switch_costs
    )


def test_leaving_one_of_both_out_costs_a_little():
    # Against 0.0025 (0.04 s a second) of each step, the pictures' -0.002 weigh less and -0.003 more.
    sound = np.full((8, 1), 0.2, np.float32)
    for against, total in ((-0.0020, 8 * 0.1980), (-0.0030, 8 * 0.1975)):
        picture = np.full((8, 1), against, np.float32)
        for cost, expected in ((total - 1e-4, 0), (total + 1e-4, -1)):
            for first, second in ((sound, picture), (picture, sound)):
                path = alignment.viterbi_path(first, second, np.full(8, cost))
                assert path.tolist() == [expected] * 8


def test_without_offsets_nothing_explains_an_edit():
    empty = np.zeros((5, 0), np.float32)
    with np.errstate(all="raise"):
        assert alignment.viterbi_path(empty, empty, np.full(5, 0.6)).tolist() == [-1] * 5
    assert alignment.find_runs(empty, empty, np.zeros(0, np.int64), np.full(5, 0.6)) == []


def blocks(num_steps, offsets, parts):
    """Evidence (num_steps, num_offsets): the value in each (first, last, offset, value), -1 elsewhere."""
    evidence_scores = np.full((num_steps, len(offsets)), -1, np.float32)
    for first, last, offset, value in parts:
        evidence_scores[first:last, list(offsets).index(offset)] = value
    return evidence_scores


def test_runs_come_in_order_with_their_evidence_and_nothing_between():
    offsets = np.array([-5, 40, 90])
    sound = blocks(60, offsets, [(3, 20, 90, 0.25), (25, 40, -5, 0.5), (40, 55, 40, 0.5)])
    picture = blocks(60, offsets, [(3, 20, 90, 0.5), (25, 40, -5, 0.25), (40, 55, 40, 0.125)])
    runs = alignment.find_runs(sound, picture, offsets, np.full(60, 0.6))
    assert runs == [
        AlignedRun(3, 20, 90, 4.25, 8.5),
        AlignedRun(25, 40, -5, 7.5, 3.75),
        AlignedRun(40, 55, 40, 7.5, 1.875),
    ]


@pytest.mark.parametrize("offset", [10, 20, 30, 40])
def test_a_run_may_last_from_the_first_step_to_the_last(offset):
    offsets = np.array([10, 20, 30, 40])
    evidence_scores = blocks(30, offsets, [(0, 30, offset, 0.5)])
    runs = alignment.find_runs(evidence_scores, evidence_scores, offsets, np.full(30, 0.6))
    assert runs == [AlignedRun(0, 30, offset, 15.0, 15.0)]


def test_only_the_run_before_is_of_the_same_place():
    offsets = np.array([40, 42, 90])
    evidence_scores = blocks(60, offsets, [(0, 10, 40, 0.5), (10, 20, 90, 0.5), (20, 30, 42, 0.5), (30, 50, 40, 0.25)])
    runs = alignment.find_runs(evidence_scores, evidence_scores, offsets, np.full(60, 0.1))
    assert runs == [
        AlignedRun(0, 10, 40, 5.0, 5.0),
        AlignedRun(10, 20, 90, 5.0, 5.0),
        AlignedRun(20, 50, 40, 10.0, 10.0),
    ]


@pytest.mark.parametrize(
    ("second_offset", "split", "expected"),
    [
        (43, 20, [AlignedRun(5, 40, 40, 17.5, 8.75)]),  # the same place; the longer's offset
        (37, 20, [AlignedRun(5, 40, 40, 17.5, 8.75)]),
        (43, 30, [AlignedRun(5, 40, 40, 17.5, 8.75)]),
        (44, 20, [AlignedRun(5, 20, 44, 7.5, 3.75), AlignedRun(20, 40, 40, 10.0, 5.0)]),
    ],
)
def test_runs_of_nearly_one_offset_are_one_run(second_offset, split, expected):
    # The offset of the longer part is 40, whichever comes first.
    offsets = np.array(sorted({40, second_offset}))
    first, second = (second_offset, 40) if split == 20 else (40, second_offset)
    parts = [(5, split, first), (split, 40, second)]
    sound = blocks(50, offsets, [(*part, 0.5) for part in parts])
    picture = blocks(50, offsets, [(*part, 0.25) for part in parts])
    assert alignment.find_runs(sound, picture, offsets, np.full(50, 0.1)) == expected


def test_runs_of_one_offset_with_a_gap_between_stay_two():
    offsets = np.array([40])
    evidence_scores = blocks(50, offsets, [(5, 20, 40, 0.5), (24, 45, 40, 0.5)])
    runs = alignment.find_runs(evidence_scores, evidence_scores, offsets, np.full(50, 0.1))
    assert [(run.first, run.last) for run in runs] == [(5, 20), (24, 45)]


def grown(evidence_scores, is_cut, first=30, last=50):
    run = alignment.extend_to_dissolve(
        AlignedRun(first, last, 7, 1.0, 2.0, 0.5, 0.9), np.float32(evidence_scores), is_cut
    )
    assert (run.offset, run.sound_sec, run.picture_sec, run.rival_sec, run.confidence) == (7, 1.0, 2.0, 0.5, 0.9)
    return run.first, run.last


def test_a_run_grows_while_evidence_goes_on():
    # Growing costs 0.03 s a second, 0.001875 a step, and has to bring 0.02 s in all.
    evidence_scores, no_cut = np.full(80, -1.0), np.zeros(80, bool)
    assert grown(evidence_scores, no_cut) == (30, 50)
    evidence_scores[50:56], evidence_scores[27:30] = 0.01, 0.01
    assert grown(evidence_scores, no_cut) == (27, 56)
    evidence_scores[27:30] = 0.0085  # 3 * (0.0085 - 0.001875) = 0.0199
    assert grown(evidence_scores, no_cut) == (30, 56)
    evidence_scores[27:30] = 0.0086
    assert grown(evidence_scores, no_cut) == (27, 56)
    evidence_scores[56:60], evidence_scores[20:27] = 0.0018, 0.0019  # less and more than growing costs
    assert grown(evidence_scores, no_cut) == (20, 56)


def test_a_run_grows_by_at_most_a_second_and_not_past_a_cut():
    evidence_scores, is_cut = np.full(80, 0.1), np.zeros(80, bool)
    assert grown(evidence_scores, is_cut) == (14, 66)
    is_cut[[20, 60]] = True
    assert grown(evidence_scores, is_cut) == (21, 60)
    is_cut[[29, 50]] = True
    assert grown(evidence_scores, is_cut) == (30, 50)
    assert grown(np.full(80, 0.1), np.zeros(80, bool), first=5, last=77) == (0, 80)
    assert grown(np.full(80, 0.1), np.zeros(80, bool), first=0, last=80) == (0, 80)
