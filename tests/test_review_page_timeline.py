"""The page's timeline under the mouse: zoom, scroll, the strip below, and what can be taken hold of."""

import numpy as np
import pytest
from review_page_browser import SECTIONS
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

pytest_plugins = ["review_page_browser"]


def close(seconds):
    """Within a quarter of a pixel of the timeline, about."""
    return pytest.approx(seconds, abs=2e-3)


def test_the_wheel_zooms_around_the_pointer(page):
    sec = page.turn_wheel(7, 0, -150)
    assert page.view == close([sec - sec * np.exp(-0.5), sec + (10 - sec) * np.exp(-0.5)])
    view = page.view
    sec = page.turn_wheel(6, 0, 60, view=view)
    assert page.view == close([sec - (sec - view[0]) * np.exp(0.2), sec + (view[1] - sec) * np.exp(0.2)])
    page.turn_wheel(6, 0, 3000, view=page.view)  # a whole match is all there is to see
    assert page.view == [0, 10]
    assert page("return scrollY") == 0


def test_one_turn_of_the_wheel_zooms_by_e_at_most_and_down_to_2_seconds(page):
    page.turn_wheel(5, 0, -1000)
    start, end = page.view
    assert end - start == close(10 / np.e)
    sec = page.turn_wheel(4, 0, -1000, view=(start, end))
    assert page.view[1] - page.view[0] == close(2)
    assert page.view[0] == close(sec - (sec - start) / np.e)
    page("setView(4, 6.5)")
    page.turn_wheel(5, 0, 1000, view=(4, 6.5))
    start, end = page.view
    assert end - start == close(2.5 * np.e)


def test_a_sideways_wheel_and_a_wheel_with_shift_scroll(page):
    page("setView(3, 6)")
    width = page("return axis.clientWidth")
    page.turn_wheel(4, 200, 10, view=(3, 6))
    shift_sec = 200 / width * 3
    assert page.view == close([3 + shift_sec, 6 + shift_sec])
    page.turn_wheel(4, 0, -100, keys=[Keys.SHIFT], view=page.view)
    assert page.view == close([3 + shift_sec / 2, 6 + shift_sec / 2])
    page.turn_wheel(4, -3000, 0, view=page.view)
    assert page.view == close([0, 3])
    page.turn_wheel(1, 9000, 0, view=page.view)
    assert page.view == close([7, 10])


def test_the_strip_below_scrolls_by_a_click_and_by_dragging(page):
    page("setView(0, 3)")
    sec = page.move_on_timeline(7, y=11, canvas="overview")
    assert page.view == close([sec - 1.5, sec + 1.5])
    sec = page.move_on_timeline(6, 4, y=11, canvas="overview")
    assert page.view == close([sec - 1.5, sec + 1.5])
    page.hover(8, 11, canvas="overview")  # no button is pressed
    assert page.view == close([sec - 1.5, sec + 1.5])
    page.move_on_timeline(0.3, y=11, canvas="overview")
    assert page.view == close([0, 3])
    page.move_on_timeline(4, 10.1, y=11, canvas="overview")  # on outside the strip
    assert page.view == close([7, 10])
    assert page.sections == SECTIONS
    assert page.frame == 0


def test_zooming_by_keys_and_buttons_keeps_the_playhead_where_it_is(page):
    page("goTo(4)")
    for key, view in (
        ("+", [2, 7]),
        ("=", [3, 5.5]),
        ("+", [3.5, 5.5]),  # 2 s is the least
        ("-", [3, 7]),
        ("-", [2, 10]),
        ("0", [0, 10]),
    ):
        page.press(key)
        assert page.view == close(view)
    page("goTo(9.5)")
    for button, view in (
        ("zoomIn", [4.75, 9.75]),
        ("zoomOut", [0, 10]),
        ("zoomIn", [4.75, 9.75]),
        ("zoomAll", [0, 10]),
    ):
        page.click(f"#{button}")
        assert page.view == close(view)
    page("setView(0, 4)")
    page.press("+")  # the playhead is out of sight: the middle stays
    assert page.view == close([1, 3])
    page("setView(2, 5)")
    page("goTo(0.5)")
    page.press("-")
    assert page.view == close([0.5, 6.5])


def test_the_section_is_zoomed_to_with_half_its_length_at_either_side(page):
    assert not page.find("#zoomSection").is_enabled()
    page.press("z")
    assert page.view == [0, 10]
    page("select(sections[1].id)")
    page.click("#zoomSection")
    assert page.view == close([5 - 5 / 6, 20 / 3 + 5 / 6])
    page("select(sections[2].id)")
    page.press("z")  # 2 s, at the end of the match
    assert page.view == close([6, 10])


def test_a_selected_section_comes_into_view_only_where_it_is_not(page):
    for view, index, expected in (
        ([0, 3], 2, [7, 10]),  # [7.5, 10.5], moved back into the match
        ([0, 3], 1, [5.833 - 1.5, 5.833 + 1.5]),
        ([5.5, 8.5], 1, [5.833 - 1.5, 5.833 + 1.5]),  # its start is out of view
        ([3.5, 6.5], 1, [5.833 - 1.5, 5.833 + 1.5]),  # its end is
        ([4.5, 7.5], 1, [4.5, 7.5]),
        ([2, 4], 1, [5.833 - 1.25, 5.833 + 1.25]),  # one and a half times its length
        ([5, 20 / 3], 1, [5, 7]),
    ):
        page(f"setView({view[0]}, {view[1]})")
        page(f"select(sections[{index}].id)")
        assert page.view == close(expected)


def test_the_cursor_tells_what_can_be_taken_hold_of(page):
    page("select(sections[1].id)")
    for sec, shift_px, y, cursor in (
        (5, -10, 38, "ew-resize"),  # the grip outside a selected section is 9 px wide, and 2 px more can be taken
        (5, -13, 38, "crosshair"),
        (5, 3, 38, "ew-resize"),
        (5, 7, 38, "pointer"),
        (20 / 3, 10, 38, "ew-resize"),
        (20 / 3, 13, 38, "crosshair"),
        (20 / 3, -3, 38, "ew-resize"),
        (20 / 3, -7, 38, "pointer"),
        (5, -2, 120, "ew-resize"),  # the line below a selected section's end
        (5, -5, 120, "crosshair"),
        (20 / 3, 2, 120, "ew-resize"),
        (5.5, 0, 120, "crosshair"),
        (5.5, 0, 23, "pointer"),
        (5.5, 0, 53, "pointer"),
        (5.5, 0, 19, "crosshair"),  # the ruler
        (1, -2, 38, "ew-resize"),  # another section's ends
        (1, -5, 38, "crosshair"),
        (1, 4, 38, "ew-resize"),
        (1, 7, 38, "pointer"),
        (2, 2, 38, "ew-resize"),
        (2, 5, 38, "crosshair"),
        (2, -4, 38, "ew-resize"),
        (1, 0, 120, "crosshair"),
    ):
        page.hover(sec, y, shift_px=shift_px)
        assert page("return axis.style.cursor") == cursor, (sec, shift_px, y)


def test_an_end_of_a_section_that_is_not_selected_can_be_dragged_at_once(page):
    page.move_on_timeline(2, 3.0, shift_px=-1)
    assert page.sections == [[30, 70], *SECTIONS[1:]]
    assert page.selected == 0
    assert page.clock[1] == 69


def test_a_press_on_a_section_selects_it_and_goes_to_that_time(page):
    page("goTo(9)")
    page("setView(4, 8)")
    sec = page.move_on_timeline(6, view=(4, 8))
    assert page.selected == 1
    assert page("return now()") == pytest.approx(sec, abs=2e-4)
    assert page.view == [4, 8]
    page.move_on_timeline(20 / 3, shift_px=2, view=(4, 8))  # on its end, without moving: the last frame is shown
    assert page.clock[1] == 119
    assert page.sections == SECTIONS
    assert not page.find("#undo").is_enabled()
    page.move_on_timeline(7.5, view=(4, 8))
    assert page.selected == 1
    page("select(null); setView(5.5, 8.5)")
    page.move_on_timeline(6, view=(5.5, 8.5))  # what lies under the mouse stays there
    assert page.selected == 1
    assert page.view == [5.5, 8.5]


def test_the_playhead_is_dragged_up_to_the_ends_of_the_view_only(page):
    page("setView(2, 5)")
    page.move_on_timeline(4, 1.95, y=150, view=(2, 5))
    assert page("return now()") == pytest.approx(2, abs=2e-4)
    page.move_on_timeline(4, 5.03, y=150, view=(2, 5))
    assert page("return now()") == pytest.approx(5, abs=2e-4)
    assert not page.find("#undo").is_enabled()


def test_a_drag_that_moves_nothing_or_is_of_the_right_button_changes_nothing(page):
    page("select(sections[1].id)")
    x, y, _ = page.point(5 - 0.02, 38)
    away, _, _ = page.point(4, 38)
    actions = ActionChains(page.browser, duration=20)
    actions.w3c_actions.pointer_action.move_to_location(x, y).pointer_down().move_to_location(away, y)
    actions.w3c_actions.pointer_action.move_to_location(x, y).pointer_up()
    actions.perform()
    assert page.sections == SECTIONS
    actions = ActionChains(page.browser, duration=20)
    actions.w3c_actions.pointer_action.move_to_location(x, y).pointer_down(2).move_to_location(away, y).pointer_up(2)
    actions.perform()
    assert page.sections == SECTIONS
    page.hover(3, 38)
    assert page.sections == SECTIONS
    assert page.clock[1] == 90


def test_a_click_on_a_boundary_that_trembles_changes_nothing(open_page):
    page = open_page(np.arange(10_000), 10_000, sections=[[5000, 6000]])  # seven frames lie in each pixel
    page("select(sections[0].id)")
    for pixels, is_moved in ((3, False), (-3, False), (6, True)):
        x, y, _ = page.point(5000, 38, view=(0, 10_000), shift_px=-4)
        actions = ActionChains(page.browser, duration=20)
        pointer = actions.w3c_actions.pointer_action
        pointer.move_to_location(x, y).pointer_down().move_to_location(x + pixels, y).pointer_up()
        actions.perform()
        assert (page.sections != [[5000, 6000]]) is is_moved, pixels
        assert page.find("#undo").is_enabled() is is_moved
    assert page.sections[0][0] == pytest.approx(5000 + 6 / page("return axis.clientWidth") * 10_000, abs=1)


def test_a_drag_that_the_system_cancels_ends_where_it_is(page):
    page("select(sections[1].id)")
    x, y, _ = page.point(5 - 0.02, 38)
    target, _, _ = page.point(3.5 - 0.02, 38)
    further, _, _ = page.point(2.5, 38)
    actions = ActionChains(page.browser, duration=20)
    actions.w3c_actions.pointer_action.move_to_location(x, y).pointer_down().move_to_location(target, y)
    actions.perform()
    assert page.sections[1] == [75, 120]
    page("axis.dispatchEvent(new PointerEvent('pointercancel', {pointerId: 1}))")
    assert page.find("#undo").is_enabled()
    actions = ActionChains(page.browser, duration=20)
    actions.w3c_actions.pointer_action.move_to_location(further, y).pointer_up()
    actions.perform()
    assert page.sections[1] == [75, 120]
    page.click("#undo")
    assert page.sections == SECTIONS


def test_the_wheel_on_the_timeline_does_not_scroll_the_page(page):
    event = "new WheelEvent('wheel', {deltaY: 10, clientX: 300, cancelable: true, bubbles: true})"
    assert not page(f"return axis.dispatchEvent({event})")  # its default is prevented
    assert page(f"return list.dispatchEvent({event})")


def test_a_drag_shows_the_frame_at_the_end_while_it_lasts_and_is_one_step_of_history(page):
    page("select(sections[1].id)")
    x, y, _ = page.point(20 / 3, 38, shift_px=3)
    for target_sec, frame in ((7, 129), (7.5, 144), (6, 99)):
        target, _, _ = page.point(target_sec, 38, shift_px=3)
        actions = ActionChains(page.browser, duration=20)
        if frame == 129:
            actions.w3c_actions.pointer_action.move_to_location(x, y).pointer_down()
        actions.w3c_actions.pointer_action.move_to_location(target, y)
        actions.perform()
        assert page.clock[1] == frame
        assert page.find("#end").get_attribute("value") == str(frame + 1)
    actions = ActionChains(page.browser, duration=20)
    actions.w3c_actions.pointer_action.pointer_up()
    actions.perform()
    assert page.sections[1] == [90, 100]
    page.press(Keys.CONTROL, "z")
    assert page.sections == SECTIONS
    assert page.selected == 1
