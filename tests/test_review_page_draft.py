"""Corrections survive a reload of the page, a crash of the browser and another extraction of the match."""

import json

import numpy as np
import pytest
from review_page_browser import SECTIONS, downloaded
from selenium.webdriver.common.keys import Keys

pytest_plugins = ["review_page_browser"]
pytestmark = pytest.mark.usefixtures("keeps_drafts")

OTHER_SECTIONS = [[10, 20], [150, 220]]


def drafts(page):
    return page("return Object.keys(localStorage).filter((key) => key !== 'marker')")


def press_notice(page, name):
    (button,) = [
        button for button in page.browser.find_elements("css selector", "#noticeActions button") if button.text == name
    ]
    button.click()


def test_corrections_and_marks_are_restored_after_a_reload(page):
    page("select(sections[1].id)")
    page.press(Keys.SHIFT, "a")
    page.press("b")
    page.press("r")
    page.click("#list li:nth-child(1) .remove")
    moved = [[80, 120], [160, 220]]
    page.reload()
    assert page.sections == moved
    assert page("return sections.map(({isReviewed, isStarred}) => [isReviewed, isStarred])") == [
        [True, True],
        [False, False],
    ]
    assert page.notice.startswith("Your corrections of ")
    assert page.notice.endswith(" are restored.")
    assert page("return labelText() !== savedText")  # they are not in a file yet
    page.press("s")  # no section is selected, and nothing can be undone
    assert page.sections == moved
    press_notice(page, "Discard corrections")
    assert page.sections == SECTIONS
    assert page.notice is None
    assert drafts(page) == []
    assert not page.find("#discard").is_enabled()
    page.press(Keys.CONTROL, "z")
    assert page.sections == moved
    page.reload()
    assert page.sections == moved
    page.click("#discard")
    page.reload()
    assert page.sections == SECTIONS
    assert page.notice is None


def test_what_is_undone_leaves_nothing_behind(page):
    page("select(sections[0].id)")
    page.press("f")
    assert len(drafts(page)) == 1
    assert page.find("#discard").is_enabled()
    page.press(Keys.CONTROL, "z")
    assert drafts(page) == []
    assert not page.find("#discard").is_enabled()
    page("goTo(4); setView(2, 5); select(sections[1].id)")
    assert drafts(page) == []


def test_saved_corrections_are_restored_as_saved(page):
    page("select(sections[0].id)")
    page.press("f")
    assert page.sections[0] == [30, 61]
    page.click("#save")
    assert downloaded(page).startswith(b"30,61,")
    page.reload()
    assert page.sections[0] == [30, 61]
    assert page("return labelText() === savedText")
    page("select(sections[0].id)")
    page.press("d")  # as found, but not as saved
    page.reload()
    assert page.sections == SECTIONS
    assert page("return labelText() !== savedText")
    assert page.notice is None


def test_corrections_of_another_extraction_are_offered_and_not_mixed_in(open_page, page_clip):
    page = open_page(video_path=page_clip)
    page("select(sections[0].id)")
    page.press("f")
    corrected = page.sections
    page = open_page(video_path=page_clip, sections=OTHER_SECTIONS)
    assert page.sections == OTHER_SECTIONS
    assert "made on another page of this match, where other sections were found" in page.notice
    press_notice(page, "Use them")
    assert page.sections == corrected
    assert page.notice is None
    page.press(Keys.CONTROL, "z")
    assert page.sections == OTHER_SECTIONS
    page.reload()
    press_notice(page, "Delete them")
    assert drafts(page) == []
    page.reload()
    assert (page.sections, page.notice) == (OTHER_SECTIONS, None)


def test_the_newest_of_several_extractions_is_offered_and_other_matches_are_left_alone(open_page, page_clip):
    page = open_page(video_path=page_clip)
    match_key = page("return MATCH_KEY")
    for name, changed, sections in (("a", 1000, [[1, 2]]), ("b", 3000, [[3, 4]]), ("c", 2000, [[5, 6]])):
        page.keep(
            match_key + name, {"changed": changed, "savedText": "", "sections": [[*rows, 0, 0] for rows in sections]}
        )
    page.keep("videosummarizer/another/d", {"changed": 9000, "savedText": "", "sections": [[7, 8, 0, 0]]})
    page.reload()
    press_notice(page, "Use them")
    assert page.sections == [[3, 4]]


def test_the_undecided_time_of_kept_corrections_is_taken_over_with_them(open_page, page_clip):
    page = open_page(video_path=page_clip)
    kept = {"changed": 1, "savedText": "", "sections": [[3, 4, 0, 0]], "undecided": [[100, 220]]}
    page.keep(page("return MATCH_KEY") + "a", kept)
    page.reload()
    press_notice(page, "Use them")
    assert page("return [hasUndecided(), undecidedRanges()]") == [True, [[100, 220]]]
    page.press(Keys.CONTROL, "z")
    assert page("return hasUndecided()") is False
    page.keep(page("return DRAFT_KEY"), kept)
    page("dispatchEvent(new StorageEvent('storage', {key: DRAFT_KEY, newValue: localStorage.getItem(DRAFT_KEY)}))")
    press_notice(page, "Show them")
    assert page("return [hasUndecided(), undecidedRanges()]") == [True, [[100, 220]]]


def test_the_page_that_was_cut_from_corrections_has_their_marks(open_page, page_clip):
    page = open_page(video_path=page_clip)
    page("select(sections[0].id)")
    page.press("f")
    page.press("b")
    page = open_page(video_path=page_clip, sections=page.sections)
    assert page("return sections.map(({isStarred}) => !!isStarred)") == [True, False, False]
    assert page.notice is None


@pytest.mark.parametrize(
    "kept",
    [
        "", "{", "null", "[]", '{"sections": [[1]]}', '{"sections": [[5, 5, 0, 0]]}', '{"sections": [[5, 9], [8, 12]]}',
        '{"sections": [[0, 221, 0, 0]]}', '{"sections": [["0", 5]]}', '{"sections": [[0.5, 5]]}',
    ],
)  # fmt: skip
def test_what_is_kept_but_does_not_fit_the_match_is_not_restored(page, kept):
    page(f"localStorage.setItem(DRAFT_KEY, {json.dumps(kept)})")
    page.reload()
    assert page.sections == SECTIONS
    assert page.notice is None


def test_where_the_browser_keeps_nothing_the_page_says_so_and_works(page):
    page("Storage.prototype.setItem = () => { throw new DOMException('The quota has been exceeded.'); }")
    page("select(sections[0].id)")
    page.press("f")
    assert page.sections[0] == [30, 61]
    assert page.notice == (
        "This browser does not keep your corrections (The quota has been exceeded.): save the labels before you leave "
        "the page."
    )


def test_changes_in_another_window_of_the_page_are_offered(page, page_path):
    first = page.browser.current_window_handle
    page.browser.switch_to.new_window("tab")
    page.browser.get(page_path.as_uri())
    page.wait_until("return edges !== null && sections.length === 3")
    page("select(sections[0].id); toggleMark('isStarred'); moveEdge('end', 70)")
    second = page.browser.current_window_handle
    page.browser.switch_to.window(first)
    page.wait_until("return !notice.hidden")  # a window that is closed at once may not pass on what it kept
    page.browser.switch_to.window(second)
    page.browser.close()
    page.browser.switch_to.window(first)
    assert page.notice == "The sections were changed in another window of this page."
    assert page.sections == SECTIONS
    press_notice(page, "Show them")
    assert page.sections == [[30, 70], *SECTIONS[1:]]


def test_a_page_of_200_sections_keeps_them_in_few_bytes(open_page):
    starts = np.arange(200) * 3200 + 17
    times_sec = np.arange(3 * 3600 * 60) / 60
    page = open_page(times_sec, 10800, sections=np.stack([starts, starts + 601], 1))
    page("select(sections[0].id); moveEdge('end', 700)")
    assert page("return localStorage.getItem(DRAFT_KEY).length") < 20_000
