"""Playing on the page, audio, keys and buttons, and what the page says without a video."""

import numpy as np
import pytest
from review_page_browser import DURATION_SEC, SECTIONS, find_chromium
from selenium.webdriver.common.keys import Keys

pytest_plugins = ["review_page_browser"]


def wait_until_playing(page):
    page.wait_until("return !video.paused && !video.seeking")


def test_sections_play_from_the_one_that_is_not_over(page):
    page("window.numPlays = 0; video.play = async () => { numPlays += 1; }")  # the playhead stays where it is sent to
    # Frame 60 is the first after the first section; after the last frame of the second, the third is next.
    for frame, index in ((0, 0), (59, 0), (60, 1), (100, 1), (119, 1), (120, 2), (219, 2)):
        page(f"goToFrame({frame})")
        page.wait_until_still()
        page.press("p")
        assert page.selected == index, frame
        assert page("return playhead") == pytest.approx([1.01, 5.01, 8.01][index], abs=1e-6)
        assert page("const played = numPlays; numPlays = 0; return played") == 1


def test_played_from_the_middle_the_sections_before_are_left_out(page):
    page("goTo(5.61)")  # within a frame: where two meet, the page may seek once more
    page.wait_until_shown()
    page.note_seeks()
    page.click("#playAll")
    page.wait_until("return video.paused && frameAt(now()) === 219")
    assert page("return sought")[:2] == [90, 160]
    assert page.selected == 2


def test_after_a_pause_playing_continues_past_the_sections_end(page):
    page("video.playbackRate = 0.1")  # so that no section ends before the next key, however slow the machine
    page.press("p")
    wait_until_playing(page)
    page.wait_until("return element.play.textContent === 'Pause'")
    page.press(Keys.SPACE)
    page.wait_until("return video.paused && element.play.textContent === 'Play'")
    page("goToFrame(57); video.playbackRate = 0.5")
    page.click("#play")
    page.wait_until("return frameAt(video.currentTime) > 62")
    assert not page("return video.paused")
    assert page.selected == 0
    page.click("#video")
    page.wait_until("return video.paused")
    page.click("#video")
    wait_until_playing(page)


def test_while_it_plays_the_view_follows_the_playhead(page):
    page("video.playbackRate = 0.25; setView(0, 2); goTo(1.9)")
    page.click("#play")
    page.wait_until("return view.start > 0")
    page("pause()")
    start, end = page.view
    assert end - start == pytest.approx(2)
    assert start == pytest.approx(2, abs=1)
    assert start <= page("return now()") <= end


def test_audio_is_switched_off_and_on(page):
    for press, is_muted, text in (
        (lambda: page.press("m"), True, "Unmute"),
        (lambda: page.click("#mute"), False, "Mute"),
        (lambda: page.click("#mute"), True, "Unmute"),
        (lambda: page.press("m"), False, "Mute"),
    ):
        press()
        assert page("return video.muted") is is_muted
        assert page.find("#mute").get_attribute("aria-pressed") is None  # it would contradict the text
        assert page.find("#mute").text == text


def test_time_is_stepped_and_jumped_through_within_the_match(page):
    page("goTo(7)")
    for keys, sec, frame in (
        ([Keys.SHIFT, Keys.ARROW_LEFT], 2, 60),
        ([Keys.SHIFT, Keys.ARROW_LEFT], 0, 0),
        ([Keys.ARROW_LEFT], 0.01, 0),
        ([Keys.SHIFT, Keys.ARROW_RIGHT], 5.01, 90),
        ([Keys.SHIFT, Keys.ARROW_RIGHT], 9.9999, 219),
        ([Keys.ARROW_RIGHT], 9.9767, 219),
        ([Keys.ARROW_LEFT], 9.9433, 218),
    ):
        page.press(*keys)
        page.wait_until_still()
        assert page("return video.currentTime") == pytest.approx(sec, abs=2e-4)
        assert page.clock[1] == frame
    page.click("#frameBack")
    assert page.clock[1] == 217
    page.click("#frameForward")
    page.click("#frameForward")
    assert page.clock[1] == 219
    axis = page.find("#axis")
    assert [axis.get_attribute(f"aria-value{name}") for name in ("min", "now", "max")] == ["0", "9.98", "10.00"]
    page("goTo(1); video.playbackRate = 0.1")  # so that it does not end by itself
    page.press(Keys.SPACE)
    wait_until_playing(page)
    page.press(Keys.ARROW_LEFT)
    assert page("return video.paused")


def test_without_a_selection_the_neighbor_of_the_playhead_is_selected(page):
    up, down = Keys.ARROW_UP, Keys.ARROW_DOWN
    cases = ((0, up, 0), (40, down, 1), (30, down, 1), (29, down, 0), (100, up, 1), (70, up, 0), (200, down, 2))
    for frame, key, index in (*cases, (219, up, 2)):
        page(f"select(null); goToFrame({frame})")
        page.wait_until_still()
        page.press(key)
        assert page.selected == index
        page.wait_until_still()
        assert page.frame == SECTIONS[index][0]


def test_stepping_through_sections_stops_at_the_first_and_the_last(page):
    page("select(sections[1].id)")
    up, down = Keys.ARROW_UP, Keys.ARROW_DOWN
    for key, index in ((down, 2), (down, 2), (up, 1), (up, 0), (up, 0)):
        page.press(key)
        assert page.selected == index
        assert page.frame == SECTIONS[index][0]


def test_a_click_in_the_list_selects_shows_and_pauses(page):
    page.press(Keys.SPACE)
    wait_until_playing(page)
    page.click("#list li:nth-child(2) .times")
    page.wait_until("return video.paused")
    assert page.selected == 1
    assert page.clock == ("00:05.01", 90)


def test_a_press_on_the_timeline_pauses_and_ends_playing_in_order(page):
    page("video.playbackRate = 0.1")
    page.press("p")
    wait_until_playing(page)
    sec = page.move_on_timeline(7.5, y=150)
    page.wait_until("return video.paused && !video.seeking")
    assert page("return [stopAt, queue]") == [None, []]
    assert page("return now()") == pytest.approx(sec, abs=2e-4)


def test_the_ends_are_set_to_the_frame_shown_by_keys_and_buttons(page):
    page("select(sections[1].id)")
    page("goToFrame(100)")
    page.press("o")
    assert page.sections[1] == [90, 101]
    page("goToFrame(95)")
    page.click("#startHere")
    assert page.sections[1] == [95, 101]
    for button, expected in (
        ("startEarlier", [94, 101]),
        ("startLater", [95, 101]),
        ("endEarlier", [95, 100]),
        ("endLater", [95, 101]),
    ):
        page.click(f"#{button}")
        assert page.sections[1] == expected
    page.press(Keys.SHIFT, "a")
    page.press(Keys.SHIFT, "f")
    assert page.sections[1] == [85, 111]


def test_keys_with_other_modifiers_in_fields_and_in_the_dialog_are_left_alone(page):
    page("select(sections[1].id)")
    page.press(Keys.ALT, "a")
    assert page.sections == SECTIONS
    page.find("#start").send_keys("d", "n", Keys.DELETE)
    assert page.sections == SECTIONS
    page.press(Keys.SHIFT, Keys.DELETE)
    page("document.activeElement.blur()")
    page.press(Keys.SHIFT, Keys.DELETE)
    assert page.sections == SECTIONS
    page.press("a")
    page.find("#start").send_keys(Keys.CONTROL, "z")  # undoes the change of the labels, not of the field
    assert page.sections == SECTIONS
    page("document.activeElement.blur()")
    page.press(Keys.META, Keys.SHIFT, "z")
    assert page.sections[1] == [89, 120]
    page.press(Keys.META, "z")
    page.click("#help")
    assert page("return keys.open")
    page.press("n")
    page.press("s")
    page.click("#keys button")
    assert not page("return keys.open")
    assert page.sections == SECTIONS


@pytest.mark.parametrize(
    ("key", "code", "shift"), [("ㅁ", "KeyA", False), ("Process", "KeyA", True), ("Ф", "KeyA", True)]
)
def test_letters_work_in_the_hangul_and_other_layouts(page, key, code, shift):
    page("select(sections[1].id)")
    press_key(page, key, code, shift)
    assert page.sections[1] == [80 if shift else 89, 120]
    press_key(page, "ㅋ", "KeyZ", ctrl=True)
    assert page.sections == SECTIONS
    press_key(page, "ㅁ", "KeyA", alt=True)
    press_key(page, "a", "KeyQ")  # a French keyboard: what is printed on the key counts
    press_key(page, "ArrowLeft", "KeyA")
    assert page.sections[1] == [89, 120]


def press_key(page, key, code, shift=False, ctrl=False, alt=False):
    modifiers = f"shiftKey: {str(shift).lower()}, ctrlKey: {str(ctrl).lower()}, altKey: {str(alt).lower()}"
    event = f"new KeyboardEvent('keydown', {{key: '{key}', code: '{code}', bubbles: true, {modifiers}}})"
    page(f"document.body.dispatchEvent({event})")


def test_a_clicked_button_does_not_take_the_space_bar(page):
    page.click("#zoomIn")
    assert page.view == [0, 5]
    page.press(Keys.SPACE)
    wait_until_playing(page)
    assert page.view == [0, 5]
    page("pause()")
    page.find("#zoomAll").send_keys(Keys.SPACE)  # reached by the tabulator, it does
    assert page.view == [0, DURATION_SEC]
    assert page("return video.paused")


def test_enter_plays_the_selected_section(page):
    page("select(sections[2].id)")
    page("video.playbackRate = 0.1; goTo(3)")
    page.press(Keys.ENTER)
    wait_until_playing(page)
    assert page("return video.currentTime") == pytest.approx(8.01, abs=0.5)
    assert page.selected == 2


def test_without_a_video_the_sections_can_still_be_edited(open_page):
    page = open_page(np.arange(300) / 30, 10)
    assert page.find("#missing").is_displayed()
    page.press(Keys.SPACE)
    assert page.status == "There is no video to play"
    page.click("#list li:nth-child(3) .play")
    assert page.status == "There is no video to play"
    assert page.selected == 2
    assert page.clock == ("00:05.34", 160)
    page.press("a")
    assert page.sections[2] == [159, 220]
    page("goToFrame(20)")
    page.press("i")
    assert page.sections[2] == [120, 220]
    sec = page.move_on_timeline(9.0, y=150)
    assert page("return now()") == pytest.approx(sec, abs=1e-4)
    page.press(Keys.SHIFT, Keys.ARROW_RIGHT)
    assert page("return now()") == pytest.approx(9.9999, abs=1e-9)  # within the last frame, not at its end
    assert page.clock[1] == 299


def test_a_section_stops_within_its_last_frame(page):
    # Frame 60, the first after the first section, begins at 2 s, and frame 59 at 1.967 s. The screen is drawn 60 times
    # a second: what is nearer to the end than 12 ms is the last that can be shown.
    page(
        "window.at = 1; const answers = {paused: () => false, seeking: () => false, currentTime: () => window.at};"
        "for (const [name, get] of Object.entries(answers))"
        "  Object.defineProperty(video, name, {get, set: () => 0, configurable: true});"
    )
    stops = "window.at = {}; stopAt = {}; stopAtEnd(); const stopped = stopAt === null; stopAt = null; return stopped"
    for sec, edge, expected in (
        (1.0, 60, False),
        (1.96, 60, False),
        (1.985, 60, False),
        (1.991, 60, True),
        (2.5, 60, True),
        (9.96, 220, False),
        (9.97, 220, True),  # the video may end before the time at which its last frame ends
    ):
        assert page(stops.format(sec, edge)) is expected, sec
    for name in ("paused", "seeking", "currentTime"):
        page(f"delete video.{name}")


def test_where_the_picture_of_an_earlier_seek_stays_the_frame_is_sought_once_more(page):
    page("goToFrame(100)")
    page.wait_until("return !video.seeking && frameAt(shownSec) === 100")
    page.note_seeks()
    page("shownSec = edges[90]; isShownAgain = false; video.dispatchEvent(new Event('seeked'))")
    page.wait_until("return sought.length > 0 && !video.seeking")
    assert page("return sought") == [100]
    assert page("return frameAt(video.currentTime)") == 100
    begin = "Object.defineProperty(video, 'paused', {{get: () => {}, configurable: true}}); isShownAgain = {}; "
    # A timer of the page may still look at the end of an earlier seek. No frame is named then: none is corrected.
    attempt = "shownSec = {}; showAgain(playhead - {}); delete video.paused; shownSec = null; return video.seeking"
    for is_paused, is_second, shown_sec, apart_sec, expected in (
        ("true", "true", "edges[90]", 0, False),  # once is enough
        ("false", "false", "edges[90]", 0, False),
        ("true", "false", "edges[100]", 0, False),
        ("true", "false", "null", 0, False),  # the browser does not tell
        ("true", "false", "edges[90]", 1, False),  # it was sent elsewhere since
        ("true", "false", "edges[99]", 0, True),
        ("true", "isShownAgain", "edges[99]", 0, False),
        ("true", "false", "edges[101]", 0, True),
    ):
        page.wait_until_still()
        assert page(begin.format(is_paused, is_second) + attempt.format(shown_sec, apart_sec)) is expected
    page.wait_until_still()
    assert page("isShownAgain = true; goToFrame(70); return isShownAgain") is False
    page.wait_until("return frameAt(shownSec) === 70")


def test_the_page_cannot_fetch_anything(page):
    page("window.outcome = null; fetch('data:text/plain,x').then(() => outcome = 'came', () => outcome = 'refused')")
    page.wait_until("return outcome")
    assert page("return outcome") == "refused"
    page.wait_for_message("Content Security Policy")


@pytest.mark.parametrize(("ci", "outcome"), [("1", pytest.fail.Exception), ("", pytest.skip.Exception)])
@pytest.mark.parametrize("missing", ["chromium", "chromedriver"])
def test_a_missing_browser_is_a_failure_where_ci_runs_and_a_skip_elsewhere(monkeypatch, ci, outcome, missing):
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr("shutil.which", lambda name: None if name in (missing, "google-chrome") else f"/usr/bin/{name}")
    with pytest.raises(outcome, match="Debian's packages chromium and chromium-driver"):
        find_chromium()
