"""The list of sections: marks, and the order by time or by score."""

import pytest
from review_page_browser import SECTIONS
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

pytest_plugins = ["review_page_browser"]


def marks(page):
    return page("return sections.map(({isReviewed, isStarred}) => [!!isReviewed, !!isStarred])")


def buttons(page, name):
    return [
        (button.text, button.get_attribute("aria-pressed"))
        for button in page.browser.find_elements("css selector", f"#list .{name}")
    ]


def test_sections_are_marked_by_keys_and_buttons_and_it_can_be_undone(page):
    page.click("#list li:nth-child(3) .star")
    assert page.status == "Section 3 is starred"
    assert page.selected is None
    assert buttons(page, "star") == [("☆", "false"), ("☆", "false"), ("★", "true")]
    page.click("#list li:nth-child(1) .review")
    assert buttons(page, "review") == [("☑", "true"), ("☐", "false"), ("☐", "false")]
    assert page.find("#summary").text.endswith(", 1 reviewed, 1 starred")
    page("select(sections[1].id)")
    page.press("b")
    page.press("r")
    assert marks(page) == [[True, False], [True, True], [False, True]]
    page.press("r")
    assert page.status == "Section 2 is no longer reviewed"
    page.press("f")  # a corrected section stays marked
    assert page.sections[1] == [90, 121]
    assert marks(page) == [[True, False], [False, True], [False, True]]
    for _ in range(6):
        page.press(Keys.CONTROL, "z")
    assert marks(page) == [[False, False]] * 3
    assert page.sections == SECTIONS
    assert not page.find("#saveStarred").is_displayed()


@pytest.mark.parametrize("key", ["b", "r"])
def test_a_mark_needs_a_selected_section(page, key):
    page.press(key)
    assert page.status == "Select a section first"


def test_marks_are_no_change_of_the_labels(page):
    page("select(sections[1].id)")
    page.press("b")
    assert page("return labelText() === savedText")


def test_the_list_is_sorted_by_score_and_keys_follow_it(page):
    page("select(sections[0].id)")
    Select(page.find("#order")).select_by_value("score")
    page("document.activeElement.blur()")
    assert page.texts("#list .meter") == ["0.86", "0.37", "0.12"]
    assert [row.split()[1] for row in page.texts("#list li")] == ["3", "2", "1"]  # numbers count in time
    assert page.sections == SECTIONS
    assert page.selected == 2
    for key, frame in ((Keys.ARROW_UP, 90), (Keys.ARROW_UP, 160), (Keys.ARROW_UP, 160), (Keys.ARROW_DOWN, 90)):
        page.press(key)
        assert page.frame == frame
        page.wait_until_still()
    page.click("#list li:nth-child(1) .remove")
    assert page.sections == SECTIONS[:2]
    page.press(Keys.CONTROL, "z")
    Select(page.find("#order")).select_by_value("time")
    assert page.texts("#list .meter") == ["0.12", "0.37", "0.86"]
