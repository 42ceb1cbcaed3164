"""Editing on the page: history, adding and deleting, typed frames, what is asked on leaving, and the saved bytes."""

from fractions import Fraction

import numpy as np
import pytest
from review_page_browser import SECTIONS, downloaded
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

pytest_plugins = ["review_page_browser"]

NO_SECTIONS = np.zeros((0, 2), int)
FEW_SCORES = np.array([0.3, 0.6, 0.4, 0.2, 0.9])


def asks_on_leaving(page):
    return page("const event = new Event('beforeunload', {cancelable: true}); return !window.dispatchEvent(event)")


def buttons(page, *names):
    return [page.find(f"#{name}").is_enabled() for name in names]


def test_leaving_asks_only_about_labels_that_are_not_saved(page):
    assert not asks_on_leaving(page)
    page("select(sections[1].id)")
    page("goTo(3)")
    page.press("z")
    assert not asks_on_leaving(page)
    page("select(sections[1].id)")
    page.press("a")
    assert asks_on_leaving(page)
    page.press(Keys.CONTROL, "z")
    assert not asks_on_leaving(page)
    page.press(Keys.CONTROL, "y")
    assert asks_on_leaving(page)
    page.click("#save")
    downloaded(page)
    assert not asks_on_leaving(page)
    page.press(Keys.CONTROL, "z")
    assert asks_on_leaving(page)


def test_history_goes_back_and_forth_and_a_change_ends_what_was_undone(page):
    assert buttons(page, "undo", "redo", "remove", "zoomSection", "startEarlier", "start", "endHere", "playAll") == [
        *[False] * 7,
        True,
    ]
    page.press(Keys.CONTROL, "z")
    assert page.status == "Nothing to undo"
    page("select(sections[0].id)")
    assert buttons(page, "undo", "redo", "remove", "zoomSection", "startEarlier", "start", "endHere") == [
        *[False] * 2,
        *[True] * 5,
    ]
    page.press("s")
    assert page.status == "Starts at 00:01.03"
    page("select(sections[2].id)")
    page.press("d")
    assert page.status == "Ends at 00:09.97"
    page.click("#undo")
    assert page.status == "Undone"
    assert page.sections == [[31, 60], *SECTIONS[1:]]
    assert page.selected == 2  # what was selected before the change
    page.press(Keys.CONTROL, "z")
    assert page.selected == 0
    assert buttons(page, "undo", "redo") == [False, True]
    page.press(Keys.CONTROL, Keys.SHIFT, "z")
    assert page.status == "Redone"
    assert page.sections == [[31, 60], *SECTIONS[1:]]
    assert buttons(page, "undo", "redo") == [True, True]
    page("select(sections[1].id)")
    page.press("f")
    assert buttons(page, "undo", "redo") == [True, False]
    page.press(Keys.CONTROL, "y")
    assert page.status == "Nothing to redo"
    assert page.sections == [[31, 60], [90, 121], [160, 220]]


def test_an_end_that_cannot_move_leaves_no_step_of_history(page):
    page("select(sections[0].id)")
    for typed, expected in (("5000", 90), ("5000", 90), ("12", 45), ("0", 45), ("61", 61)):
        type_frame(page, "end", typed)
        assert page.sections == [[30, expected], *SECTIONS[1:]]
        assert page.find("#end").get_attribute("value") == str(expected)
        assert page.clock[1] == expected - 1
    type_frame(page, "end", "")
    assert page.find("#end").get_attribute("value") == "61"
    type_frame(page, "start", "0")
    assert page.sections[0] == [0, 61]
    assert page.clock == ("00:00.01", 0)
    assert page.find("#startTime").text == "00:00.00"
    assert page.find("#endTime").text == "00:02.10"
    for _ in range(4):
        page.click("#undo")
    assert page.sections == SECTIONS
    assert buttons(page, "undo") == [False]


def test_a_time_can_be_typed_instead_of_a_frame(page):
    page("select(sections[1].id)")
    # From 2 to 6 s a frame lasts 0.1 s: frame 75 begins at 3.5 s. From 6 s on it lasts 1/30 s.
    for side, typed, expected in (
        ("start", "3.5", [75, 120]),
        ("start", "00:03.56", [76, 120]),  # nearest to 3.6 s
        ("end", "00:00:07.5", [76, 145]),
        ("end", "3600.0", [76, 160]),
        ("end", " 150 ", [76, 150]),
        ("start", "0:04", [80, 150]),
    ):
        type_frame(page, side, typed)
        assert page.sections[1] == expected, typed
    for typed in ("4:75", "five", "3,5", "-3", "1e2"):
        type_frame(page, "start", typed)
        assert page.sections[1] == [80, 150]
        assert page.status == f"Received {typed}, expected a frame such as 589 or a time such as 00:16.8"
        assert page.find("#start").get_attribute("value") == "80"
    page.find("#end").send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_UP)
    assert page.sections[1] == [80, 149]


def type_frame(page, side, text):
    field = page.find(f"#{side}")
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(Keys.DELETE, *text, Keys.TAB)


def test_without_a_selected_section_the_page_says_so(page):
    for keys in (["a"], ["d"], ["i"], ["o"], [Keys.DELETE], [Keys.ENTER]):
        page("announce('')")
        page.press(*keys)
        assert page.status == "Select a section first", keys
    assert page.sections == SECTIONS
    assert page("return video.paused")
    assert [page.find(f"#{name}").get_attribute("value") for name in ("start", "end")] == ["", ""]


def test_a_section_is_added_where_none_is_and_sorted_in(page):
    for frame, expected in (
        (60, [60, 90]),  # the frame after a section's last
        (15, [15, 30]),
        (0, [0, 15]),
        (145, [145, 160]),
        (120, [120, 145]),
    ):
        page(f"goToFrame({frame})")
        page.click("#add")
        assert page.sections[page.selected] == expected
        assert page.sections == sorted(page.sections)
    assert page.status == "Added at 00:06.67"
    for frame in (30, 59, 219):
        page(f"goToFrame({frame})")
        page.press("n")
        assert page.status == "There is a section here already"
        assert len(page.sections) == 8
    assert len(set(page("return sections.map(({id}) => id)"))) == 8


def test_an_added_section_lasts_5_seconds_or_to_the_end_of_the_match(open_page, page_clip):
    page = open_page(video_path=page_clip, sections=NO_SECTIONS)
    assert page.find("#empty").is_displayed()
    assert not page.find("#playAll").is_enabled()
    assert page.find("#summary").text == "0 sections, 00:00.00 of 00:10.00"
    page("goToFrame(20)")
    page.press("n")
    assert page.sections == [[20, 97]]  # 0.67 s to 5.67 s: frame 97 begins at 5.7 s
    assert not page.find("#empty").is_displayed()
    page("goToFrame(150)")
    page.press("n")
    assert page.sections == [[20, 97], [150, 220]]
    page.click("#remove")
    page("goToFrame(5)")
    page.press("n")
    assert page.sections == [[5, 20], [20, 97]]


def test_no_section_becomes_shorter_than_half_a_second(page):
    page("select(sections[1].id)")  # 5 to 6.67 s; up to 6 s a frame lasts 0.1 s, from then on 1/30 s
    page.press(Keys.SHIFT, "s")
    page.press(Keys.SHIFT, "s")
    assert page.sections[1] == [105, 120]
    assert page.status == "Starts at 00:06.17: a section lasts 0.5 s at least"
    page("announce('')")
    page.press("s")
    page.press("d")
    assert page.sections[1] == [105, 120]
    assert page.status == "Ends at 00:06.67: a section lasts 0.5 s at least"
    page.press(Keys.CONTROL, "z")
    page.press(Keys.CONTROL, "z")
    assert page.sections == SECTIONS
    assert not page.find("#undo").is_enabled()


def test_a_section_neither_starts_after_its_end_nor_ends_before_its_start(page):
    page("select(sections[1].id)")
    for frame, key, status in (
        (120, "i", "The frame shown is after the section: it cannot start here"),
        (150, "i", "The frame shown is after the section: it cannot start here"),
        (89, "o", "The frame shown is before the section: it cannot end here"),
    ):
        page(f"announce(''); goToFrame({frame})")
        page.press(key)
        assert page.status == status
        assert page.frame == frame
    assert page.sections == SECTIONS
    page("goToFrame(119)")
    page.press("i")
    assert page.sections[1] == [105, 120]
    page("goToFrame(105)")
    page.press("o")
    assert page.sections[1] == [105, 120]


def test_a_section_is_not_added_where_less_than_half_a_second_is_left(page):
    for frame, status in (
        (29, "There is no room here: the next section begins in less than 0.5 s"),
        (16, "There is no room here: the next section begins in less than 0.5 s"),
    ):
        page(f"goToFrame({frame})")
        page.press("n")
        assert page.status == status
    page("select(sections[2].id)")
    type_frame(page, "end", "210")
    page("document.activeElement.blur(); goToFrame(210)")
    page.press("n")
    assert page.status == "There is no room here: the match ends in less than 0.5 s"
    assert page.sections == [*SECTIONS[:2], [160, 210]]


def test_a_shorter_section_that_is_opened_stays_as_it_is(open_page, page_clip):
    page = open_page(video_path=page_clip, sections=[[30, 33], [90, 120]])
    page("select(sections[0].id)")
    page.press("s")
    assert page.sections[0] == [30, 33]
    page.press("f")
    page.press("d")
    page.press("d")
    assert page.sections[0] == [30, 34]


def test_an_added_section_is_a_frame_long_at_least(open_page):
    page = open_page([0, 20, 21], 22, sections=NO_SECTIONS)
    page.press("n")
    assert page.sections == [[0, 1]]


def test_deleting_selects_the_next_section_or_the_last_one(page):
    page("select(sections[1].id)")
    page.click("#list li:nth-child(1) .remove")  # not the selected one
    assert page.status == "Deleted section 1"
    assert page.sections == SECTIONS[1:]
    assert page.selected == 0
    assert [row.split()[1] for row in page.texts("#list li")] == ["1", "2"]
    assert [row.split()[2] for row in page.texts("#list li")] == ["00:05.00", "00:08.00"]
    page.press(Keys.BACKSPACE)
    assert page.sections == SECTIONS[2:]
    assert page.selected == 0
    page.press(Keys.CONTROL, "z")
    assert (page.sections, page.selected) == (SECTIONS[1:], 0)
    page.click("#list li:nth-child(2)")
    page.click("#remove")
    assert (page.sections, page.selected) == (SECTIONS[1:2], 0)
    page.press(Keys.DELETE)
    assert (page.sections, page.selected) == ([], None)
    assert page.find("#empty").is_displayed()
    page.press("p")
    page.press(Keys.ARROW_DOWN)
    assert page("return video.paused")


def test_deleting_another_section_keeps_the_selected_one_selected(page):
    page("select(sections[0].id)")
    page.click("#list li:nth-child(3) .remove")
    assert page.status == "Deleted section 3"
    assert (page.sections, page.selected) == (SECTIONS[:2], 0)


def test_the_last_sections_end_goes_up_to_the_matchs_end(page):
    page("select(sections[2].id)")
    type_frame(page, "end", "200")
    assert page.sections[2] == [160, 200]
    type_frame(page, "end", "5000")
    assert page.sections[2] == [160, 220]
    assert page.clock[1] == 219
    assert page.find("#endTime").text == "00:10.00"


def test_the_list_follows_what_changes(page):
    page("select(sections[0].id)")
    page.press(Keys.SHIFT, "d")
    page.press(Keys.SHIFT, "f")
    page.press(Keys.SHIFT, "f")
    assert page.texts("#list .times")[0] == "00:01.00 – 00:03.00"
    page.press(Keys.SHIFT, "a")
    assert page.sections[0] == [20, 70]
    # Frame 20 is shown at 0.67 s, 70 at 3 s: (1.33 * 0.12 + 1 * 0.93) / 2.33 = 0.467.
    assert page.texts("#list li")[0].split() == [
        "▶",
        "1",
        "00:00.67",
        "–",
        "00:03.00",
        "2.3",
        "s",
        "0.47",
        "☆",
        "☐",
        "✕",
    ]
    assert page.find("#summary").text == "3 sections, 00:06.00 of 00:10.00"
    assert [page.find(f"#{side}").get_attribute("value") for side in ("start", "end")] == ["20", "70"]
    assert [page.find(f"#{side}Time").text for side in ("start", "end")] == ["00:00.67", "00:03.00"]
    buttons = page.browser.find_elements(By.CSS_SELECTOR, "#list button")
    names = [button.get_attribute("aria-label") for button in buttons]
    expected = [
        [f"Play section {number}", f"Star section {number}", f"Section {number} reviewed", f"Delete section {number}"]
        for number in (1, 2, 3)
    ]
    assert names == [name for row in expected for name in row]


@pytest.mark.parametrize("rate", ["24000/1001", "30000/1001", "60000/1001"])
def test_saved_times_are_exact_at_odd_frame_rates(open_page, rate):
    rate_fps, num_frames = Fraction(rate), 240_000
    # 24000 frames of 23.976 fps last 1001 s to the microsecond, 30000 of 29.97 and 60000 of 59.94 do as well.
    firsts = [0, 24, 1439, 1440, 23999, 24000, 30000, 59999, 60000, 60001, 120000, 239998]
    sections = [[first, end] for first, end in zip(firsts, [*firsts[1:], num_frames], strict=True)]
    page = open_page(
        [float(frame / rate_fps) for frame in range(num_frames)], float(num_frames / rate_fps), sections=sections
    )

    def clock_time(frame):
        seconds = int(frame / rate_fps)
        return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"

    expected = [f"{first},{end},{clock_time(first)},{clock_time(end)}\n" for first, end in sections]
    assert page("return labelText()") == "".join(expected)


def test_a_match_that_does_not_start_at_0_and_whose_frame_rate_varies_is_saved_to_the_byte(open_page):
    times_sec = [0.4, 0.999999, 1.5, 59.996, 60, 3599.5, 3600, 3661.25, 35999]
    page = open_page(times_sec, 36000, sections=[[0, 1], [1, 3], [4, 6], [7, 9]])
    page(
        "const click = HTMLAnchorElement.prototype.click;"
        "HTMLAnchorElement.prototype.click = function () { window.savedAs = this.download; click.call(this); };"
    )
    page.click("#save")
    assert page.status == "Downloaded 4 sections as gone.txt"
    assert page("return window.savedAs") == "gone.txt"
    expected = (
        b"0,1,00:00:00,00:00:01\n"  # 0.999999 s is a microsecond's rounding below 1 s
        b"1,3,00:00:01,00:00:59\n"
        b"4,6,00:01:00,01:00:00\n"
        b"7,9,01:01:01,10:00:00\n"
    )
    assert downloaded(page, "gone.txt") == expected
    assert page.texts("#list .times")[1:] == [
        "00:00:01.00 – 00:01:00.00",
        "00:01:00.00 – 01:00:00.00",
        "01:01:01.25 – 10:00:00.00",
    ]


def test_a_section_that_is_not_scored_is_listed_without_a_score(open_page):
    page = open_page(np.arange(100) / 10, 10, sections=[[55, 65], [85, 95]], scores=FEW_SCORES[:4])
    # 5.5 to 6 s has the third score; 6 to 6.5 s the fourth; there is none from 8 s on.
    assert page.texts("#list .meter") == ["0.30", ""]
    page("select(sections[0].id)")
    page.press("s")
    # 5.6 to 6 s, 6 to 6.5 s: (0.4 * 0.4 + 0.5 * 0.2) / 0.9 = 0.289.
    assert page.texts("#list .meter") == ["0.29", ""]
