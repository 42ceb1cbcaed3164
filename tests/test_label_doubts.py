"""The labels that scores contradict most: their order, their kinds, the table and the page."""

import csv
import io
import json
import re

import numpy as np
import pytest

from videosummarizer.evaluation import label_doubts
from videosummarizer.evaluation.label_doubts import FOUND, NOT_FOUND, PARTLY_FOUND, UNLABELLED
from videosummarizer.evaluation.operating_point import OperatingPoint, ScoredMatch

POINT = OperatingPoint(0.5)
# Ten segments of 2 s with steps of 1 s. High from 2 to 6 s and from 12 to 15 s.
SCORES = np.full(20, 0.1)
SCORES[2:6] = 0.9
SCORES[12:15] = 0.8


def make_match(sections_sec, title="a", scores=SCORES, duration_sec=20.0):
    sections_sec = np.array(sections_sec, np.float64).reshape(-1, 2)
    return ScoredMatch(title, 2.0, duration_sec, np.zeros(10, int), sections_sec, np.zeros(10), scores.reshape(10, 2))


def kinds_of(doubts):
    return [(doubt.kind, doubt.start_sec, doubt.end_sec) for doubt in doubts]


def test_labels_that_the_scores_agree_with_come_last():
    doubts = label_doubts.find_doubts([make_match([(2, 6), (12, 15)])], POINT)
    assert kinds_of(doubts) == [(FOUND, 12, 15), (FOUND, 2, 6)]
    assert [doubt.score for doubt in doubts] == pytest.approx([0.8, 0.9])
    assert [doubt.doubt for doubt in doubts] == pytest.approx([-np.log(4) * 3**0.5, -np.log(9) * 4**0.5])


@pytest.mark.parametrize(
    ("sections", "first"),
    [
        ([(2, 6), (12, 15), (8, 11)], (NOT_FOUND, 8, 11)),  # invented
        ([(2, 6)], (UNLABELLED, 12, 15)),  # removed
        ([(12, 15)], (UNLABELLED, 2, 6)),
        ([(2, 6), (15, 18)], (NOT_FOUND, 15, 18)),  # shifted by its length
        ([(5, 9), (12, 15)], (PARTLY_FOUND, 5, 9)),  # by less
    ],
)
def test_a_wrong_label_comes_first(sections, first):
    doubts = label_doubts.find_doubts([make_match(sections)], POINT)
    assert kinds_of(doubts)[0] == first
    assert doubts[0].doubt > 0 > doubts[-1].doubt


def test_half_steps_and_the_end_of_a_match_count_by_their_time():
    (doubt,) = label_doubts.find_doubts([make_match([(5.5, 6.5)], duration_sec=19.5, scores=SCORES * 0 + 0.2)], POINT)
    assert doubt.doubt == pytest.approx(np.log(4))
    (doubt,) = label_doubts.find_doubts([make_match([(18, 19.5)], duration_sec=19.5, scores=SCORES * 0 + 0.2)], POINT)
    assert (doubt.score, doubt.doubt) == pytest.approx((0.2, np.log(4) * 1.5**0.5))


def test_matches_are_ranked_together():
    matches = [make_match([(2, 6), (12, 15), (8, 9)], "b"), make_match([(2, 6), (12, 15), (8, 11)], "a")]
    doubts = label_doubts.find_doubts(matches, POINT)
    assert [(doubt.match.title, doubt.start_sec, doubt.end_sec) for doubt in doubts[:2]] == [("a", 8, 11), ("b", 8, 9)]
    assert label_doubts.find_doubts([make_match([], scores=SCORES * 0)], POINT) == []


def test_the_table_holds_title_time_score_label_and_kind():
    doubts = label_doubts.find_doubts([make_match([(2, 6), (8, 11.25)], '결승, "1"')], POINT)
    rows = list(csv.DictReader(io.StringIO(label_doubts.write_csv(doubts).decode())))
    assert list(rows[0]) == list(label_doubts.HEADER)
    assert [row["kind"] for row in rows] == [NOT_FOUND, UNLABELLED, FOUND]
    assert [row["label"] for row in rows] == ["1", "0", "1"]
    assert rows[0] == {
        "title": '결승, "1"', "start_sec": "8.000", "end_sec": "11.250", "start_time": "00:00:08",
        "end_time": "00:00:11", "label": "1", "score": "0.1000", "doubt": f"{np.log(9) * 3.25 ** 0.5:.4f}",
        "kind": NOT_FOUND,
    }  # fmt: skip


def test_the_page_holds_the_doubts_and_what_is_around_them(monkeypatch):
    monkeypatch.setattr(label_doubts, "SHOWN_MARGIN_SEC", 2.5)
    doubts = label_doubts.find_doubts([make_match([(2, 6), (8, 11)], "</script><b>")], POINT)
    page = label_doubts.render_page(doubts, POINT).decode()
    data = json.loads(re.search('<script type="application/json" id="doubts">(.*)</script>', page)[1])
    assert "2 of 3 sections" in page
    assert data["threshold"] == 0.5
    assert [row["kind"] for row in data["rows"]] == [NOT_FOUND, UNLABELLED]  # none that the scores agree with
    assert data["rows"][0] == {
        "title": "</script><b>", "start": 8, "end": 11, "time": "00:00:08 - 00:00:11", "kind": NOT_FOUND, "score": 0.1,
        "from": 5, "to": 14, "scores": SCORES[5:14].tolist(), "labels": [[2, 6], [8, 11]],
    }  # fmt: skip
    assert page.count("</script>") == 2
