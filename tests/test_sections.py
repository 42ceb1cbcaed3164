"""Sections: the coverage and the labels of segments, and runs of True."""

import numpy as np
import pytest

from videosummarizer.sections import (
    coverage,
    label_segments,
    median_length_sec,
    overlaps_sec,
    runs_of,
    subtract_sections,
)


@pytest.mark.parametrize(
    ("sections", "length", "parts"),
    [
        ([], 5, [0, 0]),
        ([(0, 5)], 5, [1, 0]),
        ([(2, 3)], 5, [0.2, 0]),
        ([(4, 6)], 5, [0.2, 0.2]),
        ([(1, 2), (3, 3.5), (9, 10)], 5, [0.3, 0.2]),
        ([(1, 14)], 5, [0.8, 1, 0.8]),
        ([(0.5, 4.25)], 2, [0.75, 1, 0.125]),
        ([(0, 100)], 2.5, [1, 1, 1, 1]),
        ([(5, 10)], 5, [0, 1, 0]),
    ],
)
def test_coverage_is_the_part_of_each_segment_that_sections_fill(sections, length, parts):
    sections_sec = np.array(sections, float).reshape(-1, 2)
    received = coverage(sections_sec, len(parts), length)
    assert received.shape == (len(parts),)
    np.testing.assert_allclose(received, parts, atol=1e-12)


@pytest.mark.parametrize(
    ("sections", "segment_length", "labels"),
    [
        ([], 5, [0, 0]),
        ([(0, 10)], 5, [1, 1]),
        ([(0, 2.5)], 5, [0, 0]),  # half is not more than half
        ([(0, 2.51)], 5, [1, 0]),
        ([(2.4, 7.6)], 5, [1, 1]),
        ([(0, 1.3), (3, 4.3)], 5, [1, 0]),  # pieces add up
        ([(4, 6)], 5, [0, 0]),
        ([(3, 6), (9, 10)], 3, [0, 1, 0, 0]),  # the last segment holds 1 s of its 3
        ([(7.4, 10)], 2.5, [0, 0, 0, 1]),
        ([(0.1, 0.2)], 0.1, [0, 1] + [0] * 98),
    ],
)
def test_golden_labels(sections, segment_length, labels):
    sections_sec = np.array(sections, dtype=float).reshape(-1, 2)
    assert label_segments(sections_sec, len(labels), segment_length).tolist() == labels


@pytest.mark.parametrize(
    ("is_true", "runs"),
    [
        ("", []),
        (".", []),
        ("#", [[0, 1]]),
        ("....", []),
        ("####", [[0, 4]]),
        ("#..#", [[0, 1], [3, 4]]),
        (".##.#.", [[1, 3], [4, 5]]),
        ("#.#.#", [[0, 1], [2, 3], [4, 5]]),
        (".###", [[1, 4]]),
        ("###.", [[0, 3]]),
    ],
)
def test_runs_end_where_nothing_follows(is_true, runs):
    is_true = np.array([letter == "#" for letter in is_true], bool)
    found = runs_of(is_true)
    assert (found.shape, found.tolist()) == ((len(runs), 2), runs)


def test_overlaps_are_the_seconds_of_each_section_that_other_ones_cover():
    sections_sec, others_sec = np.array([[0.0, 2.0], [3.0, 7.0], [8.0, 9.0]]), np.array([[1.5, 4.0], [5.0, 6.0]])
    assert overlaps_sec(sections_sec, others_sec).tolist() == [0.5, 2.0, 0.0]
    assert overlaps_sec(sections_sec, others_sec[:0]).tolist() == [0.0, 0.0, 0.0]
    assert overlaps_sec(sections_sec[:0], others_sec).tolist() == []


def test_what_other_sections_do_not_cover_is_left():
    sections_sec = np.array([[0.0, 4.0], [6.0, 9.0], [10.0, 11.0]])
    others_sec = np.array([[1.0, 2.0], [3.0, 7.0], [10.0, 11.0]])
    assert subtract_sections(sections_sec, others_sec).tolist() == [[0, 1], [2, 3], [7, 9]]
    assert subtract_sections(others_sec, sections_sec).tolist() == [[4, 6]]
    none = np.empty((0, 2))
    assert subtract_sections(sections_sec, none).tolist() == sections_sec.tolist()
    assert subtract_sections(none, others_sec).shape == (0, 2)
    assert subtract_sections(none, none).shape == (0, 2)


@pytest.mark.parametrize(
    ("sections", "undecided", "expected"),
    [
        ([(0, 2), (3, 7), (9, 10)], [], 2),
        ([(0, 2), (3, 7)], [], 3),
        ([(0, 2), (3, 7)], [(2.5, 2.9)], 3),
        # 2 s, at least 3, 4 and 10 s: three quarters are longer than 2 s, and half of these longer than 4 s.
        ([(0, 2), (5, 8), (10, 14), (20, 30)], [(8, 9)], 4),
        ([(0, 2), (5, 8), (10, 14), (20, 30)], [(8 + 1e-7, 9)], 4),
        # Of the one that is cut at its start, nothing is known: the others count as they are.
        ([(0, 2), (5, 8), (10, 14), (20, 30)], [(4, 5)], 4),
        ([(0, 2), (5, 8), (10, 16)], [(4, 5)], 4),
        # At least 3 s, twice, and 2 s: more than half are longer than the longest that is known.
        ([(0, 2), (5, 8), (10, 13)], [(8, 9), (13, 20)], 3),
        # Of equal lengths, those that are known come first.
        ([(0, 2), (5, 7)], [(7, 9)], 2),
        # No start is known: they count as they are.
        ([(5, 8), (10, 11)], [(0, 5), (9, 10)], 2),
        # Most of it is undecided: it does not count.
        ([(0, 20), (30, 33)], [(5, 25)], 3),
        ([], [(0, 5)], None),
    ],
)
def test_the_median_length_counts_a_section_that_is_cut_as_at_least_so_long(sections, undecided, expected):
    given = [np.array(spans, float).reshape(-1, 2) for spans in (sections, undecided)]
    assert median_length_sec([given]) == (expected if expected is None else pytest.approx(expected))
    apart = [(section[np.newaxis], given[1]) for section in given[0]]  # in matches of their own
    assert median_length_sec(apart) == median_length_sec([given])


def test_the_median_length_of_highlights_is_found_from_stretches_that_cut_most_of_them():
    rng = np.random.default_rng(0)
    lengths_sec = rng.lognormal(np.log(20), 0.6, 2000)
    starts_sec = np.cumsum(lengths_sec + rng.exponential(60, 2000)) - lengths_sec
    ends_sec, matches, clipped_sec = starts_sec + lengths_sec, [], []
    for start_sec in rng.uniform(0, ends_sec[-1] - 40, 1000):
        span_sec = start_sec, start_sec + 40
        sections_sec = np.clip(np.stack([starts_sec, ends_sec], axis=1), *span_sec)
        sections_sec = sections_sec[sections_sec[:, 1] > sections_sec[:, 0]]
        clipped_sec.append(sections_sec[:, 1] - sections_sec[:, 0])
        matches.append((sections_sec, np.array([[0, span_sec[0]], [span_sec[1], ends_sec[-1]]])))
    true_sec = np.median(lengths_sec)
    assert np.median(np.concatenate(clipped_sec)) < 0.75 * true_sec
    assert median_length_sec(matches) == pytest.approx(true_sec, rel=0.1)
