"""Check which stretches of unlabelled matches are chosen to be labelled next, on scores and features that are given."""

import numpy as np
import pytest

from videosummarizer.dataset.temporal_context import choose_temporal_context
from videosummarizer.extraction import label_choice
from videosummarizer.extraction.label_choice import (
    Candidates,
    choose_stretches,
    count_stretch_segments,
    describe_reasons,
    disagreements,
    divide_match,
    ranks_of,
    uncertainties,
)
from videosummarizer.extraction.match_signals import MatchSignals


def candidates_of(titles, uncertainty=None, disagreement=None, features=None, length_sec=10.0):
    """Return stretches of some matches, one after the other in each."""
    num_before = [titles[:index].count(title) for index, title in enumerate(titles)]
    starts = np.array(num_before, np.float64) * length_sec
    num = len(titles)
    return Candidates(
        titles,
        np.stack([starts, starts + length_sec], axis=1),
        np.full(num, 0.5) if uncertainty is None else np.array(uncertainty),
        np.full(num, 0.1) if disagreement is None else np.array(disagreement),
        np.eye(num) if features is None else np.array(features, np.float64),
        np.full(num, 0.4),
        [(0.0, np.array([0.1, 0.9, 0.2]))] * num,
    )


def signals_of(steps, modality_steps=None, features=None, fusion_weights=(0.0, 1.0, 1.0)):
    steps = np.array(steps, np.float64)
    modality_steps = np.repeat(steps[:, np.newaxis], 3, axis=1) if modality_steps is None else modality_steps
    features = np.zeros((len(steps), 2)) if features is None else np.array(features)
    return MatchSignals(steps, modality_steps, features, np.array(fusion_weights), np.array(3))


def indices(choices):
    return [choice.index for choice in choices]


def test_scores_are_most_uncertain_at_the_threshold():
    at, above, below, sure = uncertainties(np.array([0.3, 0.6, 0.1, 1.0]), 0.3)
    assert at == pytest.approx(1)
    # The variance of a decision whose log-odds are log(0.6 / 0.4) - log(0.3 / 0.7), times four.
    odds = 0.6 / 0.4 / (0.3 / 0.7)
    assert above == pytest.approx(4 * odds / (1 + odds) ** 2)
    assert sure < 1e-6 < below < 1


@pytest.mark.parametrize(
    ("scores", "weights", "expected"),
    [
        ([0.0, 1.0, 0.0], (0, 1, 1), 1.0),  # audio is sure that it is one, video that it is none: one bit
        ([0.9, 0.4, 0.4], (0, 1, 1), 0.0),  # loudness does not count
        ([0.9, 0.4, 0.1], (0, 1, 0), 0.0),  # one alone cannot disagree
        ([0.9, 0.4, 0.1], (0, 0, 0), 0.0),
        ([0.0, 1.0, 0.0], (0, 1, 3), 0.8113),  # the entropy of one in four
    ],
)
def test_the_modalities_disagree_as_far_as_they_count(scores, weights, expected):
    found = disagreements(np.array(scores)[:, np.newaxis], np.array(weights, float))
    assert found == pytest.approx([expected], abs=1e-4)


def test_a_stretch_is_as_long_as_the_network_looks_to_either_side():
    for highlight_sec, expected_sec in ((22.0, 33), (4.0, 9)):  # segments of 3 s, steps of half a second
        dilations = choose_temporal_context(highlight_sec, 3.0, 6).dilations
        assert count_stretch_segments(sum(dilations), 6) * 3 == expected_sec
    assert count_stretch_segments(0, 6) == 1


def test_a_match_is_divided_into_stretches_of_whole_segments_up_to_its_end():
    steps = np.array([[0.1, 0.9]] * 6 + [[0.5, 0.5]])
    found = divide_match("a", signals_of(steps, features=np.arange(14).reshape(7, 2)), 13.5, 2.0, 4, 0.5)
    assert found.spans_sec.tolist() == [[0, 8], [4, 12], [6, 13.5]]
    assert found.features.tolist() == [[3, 4], [7, 8], [9, 10]]
    assert found.mean_scores == pytest.approx([0.5, 0.5, 0.5])
    assert found.uncertainty[0] < found.uncertainty[2]  # the last one has the segment at the threshold
    assert divide_match("a", signals_of(steps), 13.5, 2.0, 99, 0.5).spans_sec.tolist() == [[0, 13.5]]


def test_the_dispute_is_where_the_modalities_that_count_disagree_most():
    modality_steps = np.full((4, 3, 2), 0.5)
    modality_steps[2, :, 1] = 0.99, 0.8, 0.3
    found = divide_match("a", signals_of(np.full((4, 2), 0.5), modality_steps), 8.0, 2.0, 4, 0.5)
    ((time_sec, scores),) = found.disputes
    assert time_sec == 5.0
    assert scores == pytest.approx([np.nan, 0.8, 0.3], nan_ok=True)


def test_ranks_count_the_lower_values_and_half_of_the_equal_ones():
    assert ranks_of(np.array([3.0, 1.0, 2.0])).tolist() == [1, 0, 0.5]
    assert ranks_of(np.array([7.0, 7.0, 7.0])).tolist() == [0.5, 0.5, 0.5]
    assert ranks_of(np.array([7.0])).tolist() == [0]


def test_the_most_uncertain_and_the_most_disputed_stretches_come_first():
    titles = list("abcde")
    found = choose_stretches(candidates_of(titles, uncertainty=[0.1, 0.2, 0.9, 0.3, 0.4]), 10)
    assert indices(found) == [2]
    found = choose_stretches(candidates_of(titles, disagreement=[0.1, 0.2, 0.0, 0.3, 0.9]), 10)
    assert indices(found) == [4]


def test_the_stretch_that_is_least_like_the_training_set_comes_first():
    features = [[0.1, 0], [0, 0.2], [2, 2], [0.3, 0], [0.4, 0]]
    (choice,) = choose_stretches(candidates_of(list("abcde"), features=features), 10)
    assert (choice.index, choice.ranks[2]) == (2, 1.0)


def test_near_duplicates_of_a_chosen_stretch_come_last():
    # Three of the same scene, the most uncertain ones, and three others.
    features = [[5.002, 0], [5.001, 0], [5.0, 0], [0, 5], [-5, 0], [0, -5]]
    uncertainty = [0.99, 0.98, 0.97, 0.5, 0.4, 0.3]
    found = indices(choose_stretches(candidates_of(list("abcdef"), uncertainty, features=features), 60))
    assert found[0] == 0
    assert set(found[1:4]) == {3, 4, 5}
    assert set(found[4:]) == {1, 2}


def test_scores_fall_from_one_choice_to_the_next():
    rng = np.random.default_rng(0)
    titles = [str(number) for number in range(40)]
    candidates = candidates_of(titles, rng.uniform(size=40), rng.uniform(size=40), rng.normal(size=(40, 3)))
    scores = [choice.score for choice in choose_stretches(candidates, 400)]
    assert len(scores) == 40
    assert scores == sorted(scores, reverse=True)
    assert 0 <= scores[-1] < 0.1 < 0.4 < scores[0] <= 1


def test_without_any_differences_the_most_uncertain_stretches_come_first():
    candidates = candidates_of(list("abc"), [0.3, 0.9, 0.6], features=np.zeros((3, 2)))
    assert indices(choose_stretches(candidates, 30)) == [1, 2, 0]


def test_one_match_gets_a_quarter_of_the_budget_while_others_have_stretches_left():
    titles = ["a"] * 10 + ["b", "c", "d", "e"]
    uncertainty = [0.9] * 10 + [0.1] * 4
    candidates = candidates_of(titles, uncertainty)
    found = [titles[index] for index in indices(choose_stretches(candidates, 80))]
    assert len(found) == 8
    assert sorted(found[:6]) == ["a", "a", "b", "c", "d", "e"]
    assert found[6:] == ["a", "a"]  # what remains goes to any match


def test_a_single_match_may_take_the_whole_budget():
    assert len(choose_stretches(candidates_of(["a"] * 5), 30)) == 3


def test_stretches_do_not_overlap_and_stay_within_the_budget():
    rng = np.random.default_rng(3)
    parts = []
    for title in "abc":
        signals = signals_of(rng.uniform(size=(40, 2)), rng.uniform(size=(40, 3, 2)), rng.normal(size=(40, 4)))
        parts.append(divide_match(title, signals, 79.0, 2.0, 4, 0.4))
    candidates = Candidates.join(parts)
    chosen = indices(choose_stretches(candidates, 100))
    assert len(chosen) == 12  # of 8 s each; a thirteenth does not fit
    taken = np.zeros((3, 80), int)
    for index in chosen:
        start, end = candidates.spans_sec[index].astype(int)
        taken["abc".index(candidates.titles[index]), start:end] += 1
    assert taken.max() == 1
    lengths_sec = np.diff(candidates.spans_sec, axis=1)[:, 0]
    assert lengths_sec[chosen].sum() <= 100
    everything = indices(choose_stretches(candidates, 10_000))
    assert lengths_sec[everything].sum() > 200  # the gaps between stretches are shorter than a stretch


def test_reasons_name_what_is_high_and_only_modalities_that_count():
    candidates = candidates_of(list("abcde"), uncertainty=[0.1, 0.2, 0.9, 0.3, 0.4])
    candidates.disputes[2] = (65.0, np.array([np.nan, 0.81, 0.12]))
    (choice,) = choose_stretches(candidates, 10)
    text = "its scores are close to the threshold (mean 0.40, threshold 0.35)"
    assert describe_reasons(candidates, choice, 0.35) == text
    both = label_choice.Choice(2, 0.9, (0.8, 0.9, 0.1))
    assert describe_reasons(candidates, both, 0.35) == f"audio and video disagree (0.81 and 0.12 at 00:01:05); {text}"
    none_high = label_choice.Choice(2, 0.1, (0.2, 0.3, 0.4))
    assert describe_reasons(candidates, none_high, 0.35).startswith("it is unlike the training set")
