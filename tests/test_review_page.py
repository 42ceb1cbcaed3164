"""The page in headless Chromium, worked as an editor works it: by mouse, by keyboard, and down to the saved file."""

import re

import numpy as np
import pytest
from clips import write_clip
from review_page_browser import (
    SECTIONS,
    SEGMENT_LENGTH_SEC,
    TITLE,
    Page,
    downloaded,
    info_of,
    leave,
    write_page,
)
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from videosummarizer import media
from videosummarizer.labels import read_label_file, resolve_sections

pytest_plugins = ["review_page_browser"]


def test_the_page_is_one_file_that_asks_the_network_for_nothing(page, page_path, page_clip):
    text = page_path.read_text(encoding="utf-8")
    assert page_path.name == f"{TITLE}.html"
    assert re.findall(r"https?://", text) == []
    assert page.browser.title == TITLE
    assert page.find("#title").text == TITLE
    requested = page("return performance.getEntriesByType('resource').map(({name}) => name)")
    assert set(requested) <= {page_clip.as_uri()}


def test_frame_times_are_exact_where_the_frame_rate_varies(page, page_clip):
    info = media.probe(page_clip)
    assert page("return Array.from(edges)") == pytest.approx([*info.frame_times_sec, info.duration_sec], abs=1e-6)
    times_sec = [0, 0.03, 0.034, 1.99, 2.05, 2.099, 2.1, 5.95, 9.99]
    expected = [int(np.searchsorted(info.frame_times_sec, sec + 1e-6, side="right")) - 1 for sec in times_sec]
    assert page(f"return {times_sec}.map(frameAt)") == expected
    # Before the first frame, a float's error before a frame, after the last frame.
    assert page("return [-1, 1.999999, 2 / 3 - 1e-6, 0.999, 10, 11].map(frameAt)") == [0, 60, 20, 29, 219, 219]
    # Frame 60 begins at 2 s and lasts 0.1 s, the one before it 1/30 s; the last edge is the match's end.
    places_sec = [-1, 0.016, 0.017, 1.98, 1.99, 2.04, 2.06, 9.98, 9.99, 10, 11]
    assert page(f"return {places_sec}.map(edgeNear)") == [0, 0, 1, 59, 60, 60, 61, 219, 220, 220, 220]


@pytest.mark.parametrize("frame", [1, 59, 60, 61, 99, 100, 219])
def test_the_frame_named_is_the_frame_shown(page, frame):
    page(f"goToFrame({frame})")
    page.wait_for_number(frame)
    assert page.clock[1] == frame


def test_sections_are_listed_with_time_length_and_score(page):
    rows = [row.split() for row in page.texts("#list li")]
    # Frame 30 is shown at 1 s, frame 60 at 2 s, 90 at 5 s, 120 at 6.67 s, 160 at 8 s; segments last 2 s.
    assert rows[0] == ["▶", "1", "00:01.00", "–", "00:02.00", "1.0", "s", "0.12", "☆", "☐", "✕"]
    # A second of the third segment, two thirds of one of the fourth: (0.47 + 0.21 * 2 / 3) / (5 / 3) = 0.366.
    assert rows[1] == ["▶", "2", "00:05.00", "–", "00:06.67", "1.7", "s", "0.37", "☆", "☐", "✕"]
    assert rows[2] == ["▶", "3", "00:08.00", "–", "00:10.00", "2.0", "s", "0.86", "☆", "☐", "✕"]
    fills = page("return [...list.querySelectorAll('.meter')].map((meter) => meter.style.getPropertyValue('--fill'))")
    assert fills == ["12%", "37%", "86%"]
    assert page.find("#summary").text == "3 sections, 00:04.67 of 00:10.00"
    assert page.find("#threshold").text == "threshold 0.50"
    assert page.find("#labelledLegend").is_displayed()
    assert not page.find("#empty").is_displayed()
    assert not page.find("#missing").is_displayed()


def test_a_click_on_the_timeline_jumps(page):
    clicked_sec = page.move_on_timeline(7.0, y=150)
    assert page("return now()") == pytest.approx(clicked_sec, abs=2e-4)
    left_sec = page.move_on_timeline(2.5, 3.5, y=150)
    assert page("return now()") == pytest.approx(left_sec, abs=2e-4)
    assert page.sections == SECTIONS
    assert page.selected is None


def test_a_section_plays_on_its_own(page):
    page.note_seeks()
    page.click("#list li:nth-child(2) .play")
    page.wait_until("return video.paused && frameAt(now()) === 119")
    assert page("return sought[0]") == 90
    page.wait_for_number(119)
    page("select(sections[0].id); sought = []")
    page.wait_until_still()
    page.press(Keys.ENTER)
    page.wait_until("return video.paused && frameAt(now()) === 59")
    assert page("return sought[0]") == 30
    page.wait_for_number(59)


def test_the_sections_play_one_after_another(page):
    page.note_seeks()
    page.press("p")
    page.wait_until("return video.paused && frameAt(now()) === 219")
    assert page("return sought")[:3] == [30, 90, 160]
    assert page.selected == 2


def test_an_end_is_dragged_and_the_drag_undone_and_redone(page):
    # From 2 to 6 s a frame lasts 0.1 s: frame 75 begins at 3.5 s. From 6 s on it lasts 1/30 s.
    page("select(sections[1].id)")
    page.move_on_timeline(5 - 0.02, 3.5 - 0.02)
    moved = [SECTIONS[0], [75, 120], SECTIONS[2]]
    assert page.sections == moved
    assert page.status == "Starts at 00:03.50"
    assert page.clock == ("00:03.51", 75)
    page.press(Keys.CONTROL, "z")
    assert page.sections == SECTIONS
    page.click("#redo")
    assert page.sections == moved
    page.move_on_timeline(20 / 3 + 0.02, 7.5 + 0.02 - 0.01)  # nearest to 7.5 s, where frame 145 begins
    assert page.sections == [SECTIONS[0], [75, 145], SECTIONS[2]]
    assert page.status == "Ends at 00:07.50"
    assert page.clock[1] == 144
    page.click("#undo")
    assert page.sections == moved
    page.click("#undo")
    assert page.sections == SECTIONS
    assert not page.find("#undo").is_enabled()


def test_an_end_keeps_its_distance_from_the_pointer_and_takes_the_nearest_frame_edge(page):
    page("select(sections[1].id)")
    page.move_on_timeline(5 - 0.06, 3.52)  # 60 ms left of the start, which thus comes to 3.58 s: nearest to 3.6 s
    assert page.sections[1] == [76, 120]
    page.move_on_timeline(20 / 3 + 0.06, 4.48)  # the end to 4.42 s: nearest to 4.4 s
    assert page.sections[1] == [76, 84]


def test_a_dragged_end_stops_at_the_next_section_and_at_its_own_other_end(page):
    for index, from_sec, to_sec, section in (
        (1, 5 - 0.02, 0.5, [60, 120]),  # a start into the section before it
        (1, 5 - 0.02, 1.5, [60, 120]),
        (1, 20 / 3 + 0.02, 8.5, [90, 160]),  # an end into the section after it
        (1, 20 / 3 + 0.02, 3.0, [90, 95]),  # an end before its start: half a second is left
        (1, 5 - 0.02, 9.0, [105, 120]),  # a start after its end
        (0, 1 - 0.02, -0.02, [0, 60]),  # to the match's first frame
        (0, 2 + 0.02, 5.5, [30, 90]),
        (2, 8 - 0.02, 6.0, [120, 220]),
    ):
        page(f"select(sections[{index}].id)")
        page.move_on_timeline(from_sec, to_sec)
        expected = [*SECTIONS]
        expected[index] = section
        assert page.sections == expected
        page.press(Keys.CONTROL, "z")
        assert page.sections == SECTIONS


def test_sections_stay_apart_and_half_a_second_long(page):
    page("select(sections[1].id)")
    page.move_on_timeline(20 / 3 + 0.02, 9.5)
    assert page.sections == [[30, 60], [90, 160], [160, 220]]
    page.move_on_timeline(5 - 0.02, 9.0)
    assert page.sections == [[30, 60], [145, 160], [160, 220]]


def test_ends_are_nudged_by_keys_and_buttons(page):
    page("select(sections[1].id)")
    expected = [90, 120]
    for keys, side, frames in (
        (["a"], 0, -1),
        (["s"], 0, 1),
        ([Keys.SHIFT, "s"], 0, 10),
        (["d"], 1, -1),
        (["f"], 1, 1),
        ([Keys.SHIFT, "d"], 1, -5),  # no further: 15 frames last half a second here
    ):
        page.press(*keys)
        expected[side] += frames
        assert page.sections[1] == expected
        assert page.frame == (expected[0] if side == 0 else expected[1] - 1)
    page.click("#startEarlier")
    page.click("#endLater")
    assert page.sections[1] == [99, 116]
    field = page.find("#start")
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys("95", Keys.ENTER)
    assert page.sections[1] == [95, 116]
    field.send_keys(Keys.ARROW_UP, Keys.TAB)
    assert page.sections[1] == [96, 116]


def test_sections_are_set_to_the_frame_shown_added_and_deleted(page):
    page("select(sections[0].id)")
    page("goToFrame(20)")
    page.press("i")
    page("goToFrame(50)")
    page.click("#endHere")
    assert page.sections[0] == [20, 51]  # the frame shown is in it
    page("goToFrame(70)")
    page.press("n")
    assert page.sections == [[20, 51], [70, 90], [90, 120], [160, 220]]  # 5 s, up to the one after it
    page.press(Keys.DELETE)
    assert page.sections == [[20, 51], [90, 120], [160, 220]]
    page.click("#list li:nth-child(3) .remove")
    assert page.sections == [[20, 51], [90, 120]]
    for _ in range(5):
        page.press(Keys.CONTROL, "z")
    assert page.sections == SECTIONS
    for _ in range(5):
        page.press(Keys.CONTROL, Keys.SHIFT, "z")
    assert page.sections == [[20, 51], [90, 120]]
    page("goToFrame(100)")
    page.press("n")
    assert page.sections == [[20, 51], [90, 120]]
    assert page.find("#status").text == "There is a section here already"


def test_sections_and_frames_are_stepped_through_by_keys(page):
    for key, frame in ((Keys.ARROW_DOWN, 30), (Keys.ARROW_DOWN, 90), (Keys.ARROW_DOWN, 160), (Keys.ARROW_UP, 90)):
        page.press(key)
        assert page.frame == frame
        page.wait_until_still()
    page.press(Keys.ARROW_RIGHT)
    page.wait_for_number(91)
    page.press(Keys.ARROW_LEFT)
    page.wait_until_still()
    page.press(Keys.ARROW_LEFT)
    page.wait_for_number(89)
    page.press(Keys.SPACE)
    page.wait_until("return !video.paused && frameAt(video.currentTime) > 92")
    page.press(Keys.SPACE)
    page.wait_until("return video.paused")


def test_saved_labels_are_a_label_file_with_the_right_frames(page, page_clip):
    page("select(sections[1].id)")
    page.press("a")
    page("goToFrame(0)")
    page.press("n")
    page.press(Keys.CONTROL, "s")
    text = downloaded(page).decode()
    assert (
        text == "0,30,00:00:00,00:00:01\n30,60,00:00:01,00:00:02\n89,120,00:00:04,00:00:06\n160,220,00:00:08,00:00:10\n"
    )
    assert page.status == f"Downloaded 4 sections as {TITLE}.txt"
    info = media.probe(page_clip)
    labels = page_clip.with_suffix(".txt")
    labels.write_text(text)
    rows = read_label_file(labels)
    sections_sec, warnings = resolve_sections(labels, rows, info.frame_times_sec, info.duration_sec)
    assert warnings == []
    assert sections_sec == pytest.approx(np.array([[0, 2], [4.9, 20 / 3], [8, 10]]), abs=1e-3)


def test_score_labels_and_sections_are_drawn_on_one_time_axis(page):
    page("select(null)")
    page("goTo(0)")
    page.wait_until("return !changed")
    pixel = "const c = axis.getContext('2d'); const r = devicePixelRatio; const at = (sec, y) => Array.from("
    pixel += "c.getImageData(Math.round(toX(sec, axis.clientWidth) * r), Math.round(y * r), 1, 1).data);"

    def is_drawn(sec, y, tone_name):
        return page(f"{pixel} return `rgb(${{at({sec}, {y}).slice(0, 3).join(', ')}})` === colors.{tone_name}")

    # Frames 40 and 80 are shown at 1.33 s and 4 s.
    assert [is_drawn(sec, 59, "labelled") for sec in (1.2, 1.5, 3.9, 4.1)] == [False, True, True, False]
    assert [page(f"{pixel} return at({sec}, 38)[3] > 0") for sec in (0.9, 1.1, 1.9, 2.1)] == [False, True, True, False]
    # The plot is filled up to the score: 0.93 in the second segment, 0.47 in the third.
    assert [page(f"{pixel} return at({sec}, {186 - 0.7 * 114})[3] > 0") for sec in (3.1, 4.9)] == [True, False]


def test_every_control_has_a_name(page):
    unnamed = page(
        "return [...document.querySelectorAll('button, input, canvas[tabindex]')].filter((e) => "
        "!(e.getAttribute('aria-label') || e.textContent.trim() || (e.labels && e.labels.length))).map((e) => e.id)"
    )
    assert unnamed == []
    page("goToFrame(30)")
    page.wait_until("return !changed && !video.seeking")
    assert page.find("#axis").get_attribute("aria-valuetext") == "00:01.01, frame 30"
    page.press("?")
    assert page("return keys.open")
    page.press(Keys.ESCAPE)
    assert not page("return keys.open")


def test_two_hundred_sections_in_three_hours(browser, tmp_path):
    num_frames = 3 * 3600 * 60
    times_sec = np.arange(num_frames) * 1001 / 60000
    info = info_of(times_sec, num_frames * 1001 / 60000)
    starts = np.arange(200) * 3200 + 17
    scores = np.tile([0.1, 0.9, 0.4], 2000)[: int(info.duration_sec // SEGMENT_LENGTH_SEC) + 1]
    path = write_page(tmp_path / "gone.mp4", tmp_path / "out", np.stack([starts, starts + 601], 1), None, scores, info)
    assert path.stat().st_size < 300_000
    page = Page(browser, path)
    assert "cannot be played: ../gone.mp4" in page.find("#missing").text
    assert page("return edges[647999]") == pytest.approx(times_sec[-1], abs=1e-6)
    assert len(browser.find_elements(By.CSS_SELECTOR, "#list li")) == 200
    page.press("0")
    page.click("#list li:nth-child(180) .times")
    page.press(Keys.ARROW_DOWN * 20)
    page.press(Keys.SHIFT, "a")
    assert page.sections[199] == [199 * 3200 + 7, 199 * 3200 + 618]
    assert page("return list.children[199].getAttribute('aria-current')") == "true"
    assert page("return labelText()").splitlines()[199] == "636807,637418,02:57:04,02:57:14"
    leave(page)
    page.wait_until("return !changed")


def test_a_title_or_a_score_cannot_break_the_page(tmp_path):
    clip = write_clip(tmp_path / "<script>MATCH_DATA PAGE_SCRIPT.mp4", num_frames=3)
    text = write_page(clip, tmp_path / "out", [[0, 3]], None, np.array([0.5])).read_text()
    assert "<title>&lt;script&gt;MATCH_DATA PAGE_SCRIPT</title>" in text
    assert text.count("<script") == 2
    assert "\\u003cscript>MATCH_DATA PAGE_SCRIPT.txt" in text
