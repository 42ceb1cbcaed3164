"""Undecided time on the page of a match: hatched, gone through, and saved next to the labels."""

import json

import numpy as np
import pytest
from review_page_browser import DURATION_SEC, SECTIONS, TITLE
from selenium.webdriver.common.keys import Keys
from test_review_page_stretches import saved_files

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
    assert page("return undecidedRanges()") == [[0, 29], [70, 130], [190, 220]]
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


def test_long_undecided_time_is_divided_into_equal_stretches_of_a_minute_at_most(open_page, undecided):
    shown = "return stretches.map(({start, end}) => [start, end])"
    assert undecided(shown) == UNDECIDED.tolist()
    page = open_page(
        np.arange(9000) / 30, 300.0, undecided=np.array([[0, 1800], [3000, 6000], [7000, 8801]]), scores=None
    )
    expected = [[0, 1800], [3000, 4500], [4500, 6000], [7000, 7901], [7901, 8801]]
    assert page(shown) == expected


# ---- Labels that are opened


def open_files(page, tmp_path, labels, undecided=None, title=TITLE):
    """Open a label file and, if it is given, undecided time; both are in one selection of the dialogue."""
    path = tmp_path / f"{title.replace('<', '_').replace('>', '_')}.txt"
    path.write_text(labels)
    paths = [path]
    if undecided is not None:
        paths.insert(0, path.with_name(f"{path.stem}_undecided.json"))
        paths[0].write_text(undecided if isinstance(undecided, str) else content_of(undecided))
    page("element.notice.hidden = true; announce('')")
    page.find("#labelsFile").send_keys("\n".join(map(str, paths)))
    page.wait_until("return !notice.hidden || element.status.textContent !== ''")
    return path.name


def content_of(undecided):
    return json.dumps({"schema_version": 1, "undecided": undecided})


@pytest.mark.usefixtures("keeps_drafts")
def test_labels_are_opened_with_their_undecided_time(page, tmp_path):
    name = open_files(page, tmp_path, "10,20\n60,90\n", [[100, 150], [130, 300]])
    assert page.status == f"Opened 2 sections of {name} and its undecided time"
    assert page.notice is None
    assert page.sections == [[10, 20], [60, 90]]
    assert page("return undecidedRanges()") == [[100, 220]]
    assert page("return labelText() === savedText")
    assert page.find("#stretchText").text.startswith("Stretch 1 of 1, ")
    page.press("v")
    page.reload()
    assert page.sections == [[10, 20], [60, 90]]
    assert page("return [[...lookedAt], undecidedRanges(), openedUndecided]") == [[0], [], [[100, 220]]]
    page.press(Keys.CONTROL, "s")
    labels, path = saved_files(page)
    assert labels == "10,20,00:00:00,00:00:00\n60,90,00:00:02,00:00:05\n"
    assert read_undecided(path).tolist() == []
    path.unlink()


def test_undo_brings_back_the_undecided_time_of_the_page_and_what_was_looked_at(undecided, tmp_path):
    page = undecided
    page.press("v")
    before = page("return undecidedRanges()")
    open_files(page, tmp_path, "10,20\n", [[0, 5]])
    assert page("return undecidedRanges()") == [[0, 5]]
    page.press(Keys.CONTROL, "z")
    assert (page.sections, page("return undecidedRanges()")) == (SECTIONS, before)
    page.press(Keys.CONTROL, "y")
    assert (page.sections, page("return undecidedRanges()")) == ([[10, 20]], [[0, 5]])
    page.click("#discard")
    assert (page.sections, page("return undecidedRanges()")) == (SECTIONS, UNDECIDED.tolist())


def test_labels_that_are_opened_alone_keep_the_undecided_time_of_the_page_and_say_so(undecided, tmp_path):
    page = undecided
    page.press("v")
    name = open_files(page, tmp_path, "75,100\n")  # in undecided time
    assert page.notice == (
        f"{name} was opened without undecided time, so that of this page stays. If there is a {TITLE}_undecided.json "
        "next to it, open both files together"
    )
    assert page("return undecidedRanges()") == UNDECIDED.tolist()
    assert page("return textOf(labelSections())").startswith("75,100,")  # of what was opened, none is lost
    assert page("return labelText() !== savedText")
    page.click("#noticeActions button")  # all of the match was looked at
    assert page("return undecidedRanges()") == []
    page.press(Keys.CONTROL, "s")
    labels, path = saved_files(page)
    assert labels.startswith("75,100,")
    assert read_undecided(path).tolist() == []
    path.unlink()
    assert page.notice.startswith(f"Downloaded 1 section as {TITLE}.txt and {TITLE}_undecided.json. Both belong")


def test_without_any_undecided_time_labels_that_are_opened_are_said_to_count_for_all_of_the_match(page, tmp_path):
    name = open_files(page, tmp_path, "10,20\n")
    assert page.status == f"Opened 1 section of {name}: all of the match counts as looked at"
    assert (page.notice, page("return undecidedText()")) == (None, "")


def test_labels_that_are_opened_on_a_page_with_chosen_stretches_are_all_saved(open_page, page_clip, tmp_path):
    page = open_page(video_path=page_clip, labelled=None, stretches=[(100, 160, "it is new"), (0, 45, "it is new")])
    open_files(page, tmp_path, "50,90\n150,200\n", [[0, 45], [100, 140]])
    assert page("return undecidedRanges()") == [[0, 45], [100, 140]]
    page.press("v")
    assert page("return undecidedRanges()") == [[0, 45]]
    assert page("return labelSections().map(({start, end}) => [start, end])") == [[50, 90], [150, 200]]
    assert page.find("#stretchText").text.endswith("Chosen because it is new")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "received a text that is not JSON, expected undecided time"),
        ("[]", "received JSON of another kind, expected undecided time: "),
        ('{"schema_version": 2, "undecided": []}', "received JSON of another kind"),
        ('{"schema_version": 1, "undecided": [[3, 3]]}', "range 1: received [3,3], expected [start_frame, end_frame]"),
        ('{"schema_version": 1, "undecided": [[0, 3], [1.5, 3]]}', "range 2: received [1.5,3], expected"),
        ('{"schema_version": 1, "undecided": [[-1, 3]]}', "range 1: received [-1,3], expected"),
        (
            '{"schema_version": 1, "undecided": [[220, 230]]}',
            "undecided time begins at frame 220, after the match's end (220 frames): expected a file of this match",
        ),
    ],
)
def test_undecided_time_that_cannot_be_used_is_named_and_nothing_is_opened(page, tmp_path, content, message):
    name = open_files(page, tmp_path, "10,20\n", content)
    assert page.notice.startswith(f"{name.removesuffix('.txt')}_undecided.json: {message}")
    assert page.notice.endswith(". Nothing is opened.")
    assert (page.sections, page("return hasUndecided()")) == (SECTIONS, False)


def test_undecided_time_without_labels_and_files_of_two_matches_are_refused(page, tmp_path):
    for names in (["a_undecided.json"], ["a.txt", "b.txt"], ["a.txt", "a_undecided.json", "b_undecided.json"]):
        for name in names:
            (tmp_path / name).write_text("")
        page("element.notice.hidden = true")
        page.find("#labelsFile").send_keys("\n".join(str(tmp_path / name) for name in names))
        page.wait_until("return !notice.hidden")
        expected = "expected one label file and, if it has some, its undecided time. Nothing is opened."
        assert page.notice == f"Received {', '.join(names)}, {expected}"
    assert page.sections == SECTIONS


def test_undecided_time_of_another_match_is_asked_about(page, tmp_path):
    open_files(page, tmp_path, "10,20\n", [[0, 5]], title="other")
    assert "other_undecided.json does not have the name of the match" in page.notice
