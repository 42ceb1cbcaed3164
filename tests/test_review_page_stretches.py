"""The stretches that label_next.py chose, on the page: going through them, marking them, and what is saved."""

import json
import re

import numpy as np
import pytest
from review_page_browser import DEADLINE_SEC, SECTIONS, TITLE, downloaded, write_page
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from videosummarizer.undecided import read_undecided

pytest_plugins = ["review_page_browser"]

# 6 to 8 s, 0 to 1.5 s and 1.5 to 3 s. SECTIONS are at 1 to 2 s, 5 to 6.67 s and 8 to 10 s.
STRETCHES = [(100, 160, "it is new"), (0, 45, "audio and video disagree"), (45, 70, "it is close to the threshold")]


@pytest.fixture
def stretches(open_page, page_clip):
    return open_page(video_path=page_clip, labelled=None, stretches=STRETCHES)


def saved_files(page):
    """Return the text of the label file that the page saves, and the path of the undecided time."""
    find = lambda: [*page.browser.download_dir.glob("*_undecided.json")]  # noqa: E731
    WebDriverWait(page.browser, DEADLINE_SEC, 0.05).until(lambda _: find())
    assert page("return labelText() !== savedText")
    page.click("#noticeActions button")
    return downloaded(page).decode(), find()[0]


def shown_range(page):
    return [round(seconds, 3) for seconds in page.view]


def test_the_page_opens_at_the_first_stretch_and_x_goes_through_them(stretches):
    page = stretches
    page.wait_until_still()
    assert (page.frame, shown_range(page)) == (100, [5.5, 8.5])  # a quarter of the stretch is shown on either side
    text = "Stretch 1 of 3, 00:06.00 – 00:08.00; 0 looked at. Chosen because it is new"
    assert page.find("#stretchText").text == text
    for keys, number, frame in ((["x"], 2, 0), (["x"], 3, 45), (["x"], 1, 100), ([Keys.SHIFT, "x"], 3, 45)):
        page.press(*keys)
        page.wait_until_still()
        assert page.find("#stretchText").text.startswith(f"Stretch {number} of 3, ")
        assert page.frame == frame
        assert page.status == f"Stretch {number} of 3"
    page.click("#nextStretch")
    assert page.frame == 100


def test_what_is_saved_is_what_lies_in_stretches_that_were_looked_at(stretches):
    page = stretches
    page.press("v")  # 100 to 160
    page.press("x")
    page.press("v")  # 0 to 45
    assert page.find("#stretchText").text.split("; ")[1].startswith("2 looked at")
    assert page("return labelText() !== savedText")
    page.press(Keys.CONTROL, "s")
    labels, path = saved_files(page)
    assert labels == "30,45,00:00:01,00:00:01\n100,120,00:00:06,00:00:06\n"  # of two sections, what was looked at
    assert read_undecided(path).tolist() == [[45, 100], [160, 220]]
    assert json.loads(path.read_text())["schema_version"] == 1
    path.unlink()
    notice = page.find("#noticeText").text
    assert f"the labels of 2 of 3 stretches (2 sections) as {TITLE}.txt and {TITLE}_undecided.json" in notice
    assert page("return labelText() === savedText")
    page.press("v")
    assert page.status == "Stretch 2 is undecided again"
    assert page("return undecidedRanges()") == [[0, 100], [160, 220]]


def test_a_section_across_two_stretches_stays_one(stretches):
    page = stretches
    for keys in ("x", "v", "x", "v"):
        page.press(keys)
    assert page("return textOf(labelSections())") == "30,60,00:00:01,00:00:02\n"
    assert page("return undecidedRanges()") == [[70, 220]]


def test_a_corrected_section_that_reaches_out_of_its_stretch_is_saved_whole(stretches):
    page = stretches
    page("select(sections[1].id); moveEdge('start', 80)")  # the stretch begins at 100
    assert page("return undecidedRanges()") == [[0, 220]]
    page.press("v")
    assert page("return textOf(labelSections())").startswith("80,120,")
    # With the frame before it: time that touches the section would say that it may begin earlier.
    assert page("return undecidedRanges()") == [[0, 79], [160, 220]]


def test_an_edge_outside_a_stretch_that_was_not_moved_decides_nothing_there(stretches):
    page = stretches
    page("select(sections[1].id); moveEdge('end', 130)")  # its start, 90, is as it was found
    page.press("v")
    assert page("return textOf(labelSections())").startswith("100,130,")
    assert page("return undecidedRanges()") == [[0, 100], [160, 220]]


def test_a_stretch_without_sections_is_saved_as_looked_at(stretches):
    page = stretches
    page("change([], null, '')")
    page.press("v")
    page.press(Keys.CONTROL, "s")
    labels, path = saved_files(page)
    assert (labels, read_undecided(path).tolist()) == ("", [[0, 100], [160, 220]])
    path.unlink()


def test_nothing_is_saved_before_a_stretch_was_looked_at(stretches):
    stretches("window.downloads = []; download = (text, name) => downloads.push(name)")
    stretches.press(Keys.CONTROL, "s")
    assert "No stretch is marked as looked at: nothing is saved" in stretches.find("#noticeText").text
    assert stretches("return downloads") == []
    stretches.press("v")
    stretches.press(Keys.CONTROL, "s")
    assert stretches("return downloads") == [f"{TITLE}_undecided.json"]  # the labels follow at a second click


def test_a_folder_gets_the_undecided_time_before_the_labels(stretches):
    page = stretches
    page(
        "window.written = [];"
        "const writer = (name) => ({ write: async (text) => written.push([name, text]), close: async () => {} });"
        "const getFileHandle = async (name) => ({ createWritable: async () => writer(name) });"
        "window.showDirectoryPicker = async () => ({ getFileHandle });"
    )
    page.press("v")
    page.press(Keys.CONTROL, "s")
    page.wait_until("return element.status.textContent.startsWith('Saved')")
    assert page("return written.map(([name]) => name)") == [f"{TITLE}_undecided.json", f"{TITLE}.txt"]
    assert page("return written[1][1]") == "100,120,00:00:06,00:00:06\n"
    page("window.showDirectoryPicker = async () => { throw new DOMException('no', 'AbortError'); }")
    page.press(Keys.CONTROL, "s")
    page.wait_until("return element.status.textContent === 'Not saved'")


@pytest.mark.usefixtures("keeps_drafts")
def test_the_marks_are_kept_and_the_page_opens_at_what_is_left(stretches):
    page = stretches
    page.press("v")
    page.reload()
    page.wait_until_still()
    assert page.frame == 0
    assert page("return [...lookedAt]") == [0]
    assert page("return undecidedRanges()") == [[0, 100], [160, 220]]


def test_stretches_are_outlined_until_they_were_looked_at(stretches):
    page = stretches
    page.press("v")
    page("setView(0, 10)")
    (lane_top, _) = page("return LANES.labelled")
    width = page("return axis.clientWidth")
    outlined = [call[2:] for call in page.drawn("strokeRect") if call[0] == "axis" and call[3] == lane_top + 0.75]
    assert [round(left / width * 10, 1) for left, *_ in outlined] == [0.0, 1.5]
    filled = [call[2:] for call in page.drawn("fillRect") if call[0] == "axis" and call[3] == lane_top]
    assert [[round(x / width * 10, 1) for x in (left, length)] for left, _, length, _ in filled] == [[6.0, 2.0]]


def test_pages_without_stretches_save_all_sections_as_before(page):
    assert not page.find("#stretchBar").is_displayed()
    assert not page.find("#stretchLegend").is_displayed()
    page.press("x")
    assert page.status == "All of this match is decided"
    page.press("v")
    assert page("return [labelSections() === sections, undecidedText()]") == [True, ""]
    assert page.sections == SECTIONS


def test_corrections_belong_to_the_sections_and_the_stretches(page_clip, tmp_path):
    reworded = [(start, end, "another reason") for start, end, _ in STRETCHES]
    given = [
        {},
        {"stretches": STRETCHES},
        {"stretches": [(0, 30, "why")]},
        {"undecided": np.array([[0, 30], [40, 50]])},
    ]
    ids = []
    for more in [*given, {"stretches": reworded}]:
        (found,) = re.findall(r'"sections_id": "(.*?)"', write_page(page_clip, tmp_path / "out", **more).read_text())
        ids.append(found)
    assert len(set(ids[:4])) == 4
    assert ids[4] == ids[1]
