"""Playing backwards and faster, the speed control, full screen, and the keys of the time slider."""

import pytest
from review_page_browser import DURATION_SEC, SECTIONS
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

pytest_plugins = ["review_page_browser"]


def test_l_plays_faster_each_time_and_k_pauses_at_the_chosen_speed(page):
    Select(page.find("#speed")).select_by_value("0.5")
    assert page("return video.playbackRate") == 0.5
    page("document.activeElement.blur(); goTo(0); video.loop = true")  # it does not end before the next key
    page.press("l")
    page.wait_until("return !video.paused")
    assert page("return video.playbackRate") == 0.5
    for speed in (1, 2, 4, 8, 8):
        page.press("l")
        assert page("return video.playbackRate") == speed
        assert page.status == f"Plays at {speed}×"
    page.press("k")
    page.wait_until("return video.paused")
    assert page("return [video.playbackRate, element.speed.value]") == [0.5, "0.5"]
    assert page.sections == SECTIONS


def let_time_pass(page, milliseconds):
    """Let time pass for playing backwards. From the first call on, it passes only here."""
    page(
        "if (!('passed' in window)) {"
        "  window.passed = 0; const original = playBackward; playBackward = () => original(passed); }"
        f"passed += {milliseconds}"
    )


def test_j_plays_backwards_faster_each_time_and_stops_on_a_frame(page):
    page("goTo(9)")
    page.wait_until_still()
    let_time_pass(page, 0)
    page.press("j")
    assert page.status == "Plays backwards at 1×"
    assert page.find("#play").text == "Pause"
    page.wait_until("return reverse.at === 0")  # the first picture only begins
    let_time_pass(page, 300)
    page.wait_until("return Math.abs(playhead - 8.7) < 1e-6")
    for speed, sec in ((2, 7.7), (4, 5.7)):
        page.press("j")
        assert page.status == f"Plays backwards at {speed}×"
        let_time_pass(page, 500)
        page.wait_until(f"return Math.abs(playhead - {sec}) < 1e-6")
    assert page("return video.paused")
    page.press("k")
    assert page.find("#play").text == "Play"
    stopped = page.frame
    assert stopped in (96, 97)  # frame 97 begins at 5.7 s
    assert page("return playhead") == pytest.approx(page(f"return edges[{stopped}]"), abs=0.011)
    page.wait_for_number(stopped)
    assert page.frame == stopped


def test_playing_backwards_shows_the_frames_and_ends_at_the_first(page):
    page("setView(0, 2); goTo(1.01)")
    page.wait_until_still()
    let_time_pass(page, 0)
    page.press("j")
    page.wait_until("return reverse.at === 0")
    for frame in (21, 12, 3):
        let_time_pass(page, 300)
        page.wait_for_number(frame)
    let_time_pass(page, 300)
    page.wait_until("return !reverse")
    assert page("return [playhead < edges[1], video.paused, frameAt(now())]") == [True, True, 0]
    page.wait_for_number(0)


def test_a_view_follows_backwards(page):
    page("setView(5, 7); goTo(5.1)")
    page.wait_until_still()
    let_time_pass(page, 0)
    page.press("j")
    page.wait_until("return reverse.at === 0")
    assert page.view == [5, 7]
    let_time_pass(page, 300)
    page.wait_until("return view.start < 5")
    page.press(Keys.SPACE)  # pauses, too
    page.wait_until("return !reverse && video.paused")
    assert page.view == pytest.approx([2.8, 4.8], abs=1e-6)


def test_l_after_j_plays_forwards_and_the_end_of_a_section_still_stops(page):
    page("goTo(4)")
    page.wait_until_still()
    page.press("j")
    page.wait_until("return playhead < 3.9")
    page.press("l")
    page.wait_until("return !video.paused && !reverse")
    assert page("return video.playbackRate") == 1
    page.press("j")
    page.wait_until("return video.paused && reverse")
    # One after the other, before the section can end.
    ActionChains(page.browser).click(page.find("#list li:nth-child(2) .play")).send_keys("l").perform()
    page.wait_until("return video.paused && !reverse && frameAt(now()) === 119")
    assert page("return video.playbackRate") == 1


def test_letters_are_keys_while_the_speed_is_focused_but_arrows_choose(page):
    page("select(sections[1].id)")
    page.find("#speed").send_keys(Keys.ARROW_DOWN)
    assert page("return video.playbackRate") == 1.5
    assert page.frame == 90
    page.find("#speed").send_keys("a")
    assert page.sections[1] == [89, 120]
    page.find("#order").send_keys(Keys.ARROW_DOWN)
    assert page("return element.order.value") == "score"


def test_the_match_fills_the_screen_and_leaves_it(page):
    page.click("#fullScreen")
    page.wait_until("return document.fullscreenElement === stage && fullScreen.textContent === 'Leave full screen'")
    page.press("`")
    page.wait_until("return document.fullscreenElement === null && fullScreen.textContent === 'Full screen'")
    page("window.asked = 0; stage.requestFullscreen = async () => { asked += 1; throw new Error('not here'); }")
    page(
        "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: '₩', code: 'Backquote', bubbles: true}))"
    )  # the same key in the Hangul layout
    page.wait_until("return asked === 1 && element.status.textContent === 'No full screen: not here'")


def test_home_end_and_pages_move_on_the_slider(page):
    axis = page.find("#axis")
    for key, sec in (
        (Keys.END, DURATION_SEC - 1 / 30),
        (Keys.PAGE_DOWN, DURATION_SEC - 1 / 30 - 1),
        (Keys.HOME, 0),
        (Keys.PAGE_UP, 1),
        (Keys.PAGE_UP, 2),
        (Keys.PAGE_DOWN, 1),
    ):
        axis.send_keys(key)
        page.wait_until_still()
        assert page("return now()") == pytest.approx(sec, abs=0.015)
    page("setView(0, 5)")
    axis.send_keys(Keys.PAGE_UP)
    assert page("return playhead") == pytest.approx(1.5, abs=0.015)  # a tenth of the view
    page("document.activeElement.blur()")
    page.press(Keys.END)
    assert page.frame == 219
    page.find("#list .play").send_keys(Keys.HOME)  # scrolls the list
    assert page.frame == 219
