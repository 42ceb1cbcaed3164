"""The review page of a match without scores, and of one of which only a part is scored."""

import numpy as np
import pytest
from review_page_browser import SEGMENT_LENGTH_SEC

pytest_plugins = ["review_page_browser"]
TIMES_SEC = np.arange(100) / 10


def test_without_scores_sections_are_edited_and_no_curve_is_shown(open_page):
    page = open_page(TIMES_SEC, 10, sections=[[10, 20], [50, 70]], labelled=None, scores=None)
    assert page.texts("#list .meter") == ["", ""]
    assert page("return [scoreLegend, threshold, labelledLegend, order].map((e) => e.checkVisibility())") == [False] * 4
    assert page("return foundLegend.textContent") == "sections"
    assert not [call for call in page.drawn("fillRect") if call[0] == "curves"]
    page("select(sections[1].id)")
    page.wait_until("return element.selection.textContent === 'Section 2 of 2 selected: 00:05.00 to 00:07.00'")
    page.press("s")  # the start one frame later
    assert page("return sections.map(({start, end}) => [start, end])") == [[10, 20], [51, 70]]


def test_scores_of_a_part_are_shown_where_it_lies_in_the_match(open_page):
    scores = np.array([0.1, 0.9, 0.4])
    assert SEGMENT_LENGTH_SEC == 2
    page = open_page(TIMES_SEC, 10, sections=[[10, 20], [55, 65], [70, 91], [80, 95]], scores=scores, start_sec=3.1)
    # The steps begin at 3.1, 5.1 and 7.1 s and end at 9.1 s.
    columns = page("return envelope(match.scores, 1000)")
    assert np.array(columns) == pytest.approx(
        np.array([[310, 510, 0.1, 0.1], [510, 710, 0.9, 0.9], [710, 910, 0.4, 0.4]])
    )
    expected = (0.9 * 0.1 + 0.4 * 2.0) / 2.1  # from 7 s to 9.1 s
    assert page.texts("#list .meter") == ["", "0.90", f"{expected:.2f}", ""]
