"""Undecided time on the page of a match: hatched, gone through, and saved next to the labels."""

import json

import numpy as np
import pytest
from review_page_browser import DURATION_SEC, SECTIONS, TITLE, write_page
from selenium.webdriver.common.keys import Keys
from test_review_page_stretches import saved_files

from videosummarizer import media
from videosummarizer.extraction import review_page
from videosummarizer.undecided import read_undecided

pytest_plugins = ["review_page_browser"]

# 0 to 1.5 s, 3 to 7 s and 9 to 10 s: the first half of the first section, the second one, and a half of the third.
UNDECIDED = np.array([[0, 45], [70, 130], [190, 220]])


@pytest.fixture
def undecided(open_page, page_clip):
    return open_page(video_path=page_clip, undecided=UNDECIDED)


def test_undecided_time_is_hatched_on_both_strips_until_it_is_looked_at(undecided):
    page = undecided
    page.press("0")  # the whole match
    width = page("return axis.clientWidth")

    def hatched(canvas):
        rects = [(left, left + length) for name, _, left, _, length, _ in page.drawn("rect") if name == canvas]
        return [round(x / width * DURATION_SEC, 2) for edges in rects for x in edges]

    for canvas in ("axis", "overview"):
        expected = [0, 1.5, 3, 7, 9, 10]
        if canvas == "axis":
            expected[0], expected[-1] = pytest.approx(0, abs=0.2), pytest.approx(10, abs=0.2)
        assert hatched(canvas) == expected
    page.press("v")
    assert page.status.startswith("Stretch 1 is looked at")
    assert hatched("overview") == [3, 7, 9, 10]
    assert page.find("#undecidedLegend").is_displayed()


def test_the_page_goes_through_undecided_time_in_order(undecided):
    page = undecided
    assert page.find("#stretchText").text == "Stretch 1 of 3, 00:00.00 – 00:01.50; 0 looked at"
    assert page.find("#nextStretch").text == "Next undecided"
    page.press("x")
    page.wait_until_still()
    assert page.frame == 70


def test_labels_and_undecided_time_are_saved_together(undecided):
    page = undecided
    assert page("return labelText() === savedText")
    assert page.sections == SECTIONS
    page.press("x")
    page.press("v")  # 70 to 130
    page.press(Keys.CONTROL, "s")
    labels, path = saved_files(page)
    assert labels == page("return textOf(sections)")  # each has decided time
    assert read_undecided(path).tolist() == [[0, 45], [190, 220]]
    assert json.loads(path.read_text())["schema_version"] == 1
    path.unlink()
    assert page("return labelText() === savedText")
    words = page.find("#command").text
    assert words.startswith("python highlight_extractor.py ")
    assert f"{TITLE}.txt" in words


def test_what_was_found_in_undecided_time_is_no_label_and_of_a_label_file_none_is_lost(open_page, page_clip):
    for selected_by, expected in (("threshold", [SECTIONS[0], SECTIONS[2]]), ("labels", SECTIONS)):
        page = open_page(video_path=page_clip, undecided=UNDECIDED, selected_by=selected_by)
        assert page("return labelSections().map(({start, end}) => [start, end])") == expected


def test_a_reviewed_section_is_decided(undecided):
    page = undecided
    page("change(sections, sections[0].id, '')")
    page.press("r")
    assert page("return undecidedRanges()") == [[0, 30], [70, 130], [190, 220]]
    page.press("r")
    assert page("return undecidedRanges()") == UNDECIDED.tolist()


def test_labels_are_saved_alone_and_all_is_decided_without_undecided_time(page):
    assert not page.find("#stretchBar").is_displayed()
    assert page("return [undecidedText(), undecidedRanges(), textOf(labelSections()) === textOf(sections)]") == [
        "",
        [],
        True,
    ]
    page.press("v")
    assert page.status == "All of this match is decided"


def test_all_of_a_match_that_was_looked_at_is_saved_as_no_undecided_time(undecided):
    page = undecided
    for _ in UNDECIDED:
        page.press("v")
        page.press("x")
    page.press(Keys.CONTROL, "s")
    labels, path = saved_files(page)
    assert labels == page("return textOf(sections)")
    assert read_undecided(path).tolist() == []
    path.unlink()


def test_long_undecided_time_is_divided_into_equal_stretches_of_a_minute_at_most(page_clip, tmp_path):
    info = media.probe(page_clip)
    assert [stretch[:2] for stretch in review_page.divide_undecided(UNDECIDED.tolist(), info)] == [
        (0, 45),
        (70, 130),
        (190, 220),
    ]
    times_sec = np.arange(9000) / 30  # five minutes
    info = media.VideoInfo(300.0, 0, 30.0, 64, 48, "h264", None, times_sec, np.zeros((0, 2), np.int64))
    stretches = review_page.divide_undecided([[0, 1800], [3000, 6000]], info)
    assert [stretch[:2] for stretch in stretches] == [(0, 1800), (3000, 4500), (4500, 6000)]
    path = write_page(page_clip, tmp_path / "out", undecided=None)
    assert b'"stretches": [], "undecided": []' in path.read_bytes()
