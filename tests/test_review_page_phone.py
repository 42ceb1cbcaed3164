"""The page on a phone of 390 x 844 pixels: what is in view, what fingers reach, and what they do on the timeline."""

import numpy as np
import pytest
from review_page_browser import SECTIONS
from selenium.webdriver.common.keys import Keys

pytest_plugins = ["review_page_browser"]

WIDTH, HEIGHT = 390, 844
MIN_TARGET_PX = 40
BOX = "const box = {}.getBoundingClientRect(); return [box.left, box.top, box.right, box.bottom]"


@pytest.fixture(autouse=True)
def phone(browser):
    screen = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True, "maxTouchPoints": 2})
    yield
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.fixture
def long_page(open_page):
    """A match of three hours with 200 sections."""
    starts = np.arange(200) * 540 + 100
    scores = np.random.default_rng(0).uniform(0, 1, 21600)
    return open_page(np.arange(108_000) / 10, 10_800, sections=np.stack([starts, starts + 220], 1), scores=scores)


def touch(page, *paths):
    """Put fingers down, move each along its path of points (x, y) in the window, and lift them."""
    send = lambda kind, points: page.browser.execute_cdp_cmd(  # noqa: E731
        "Input.dispatchTouchEvent",
        {"type": kind, "touchPoints": [{"x": x, "y": y, "id": finger} for finger, (x, y) in enumerate(points)]},
    )
    steps = list(zip(*paths, strict=True))
    send("touchStart", steps[0])
    for points in steps[1:]:
        send("touchMove", points)
    send("touchEnd", [])
    page.wait_until("return !changed && !video.seeking")


def straight(start, end, num_steps=6):
    """Points from one to another."""
    return [tuple(point) for point in np.linspace(start, end, num_steps + 1)]


def on_curve(page, sec, y=100, view=(0, 10)):
    return page.point(sec, y, view=view)[:2]


@pytest.mark.parametrize("content", ["page", "long_page"])
def test_every_control_is_large_enough_and_can_be_reached(content, request):
    page = request.getfixturevalue(content)
    page("select(sections[1].id)")
    page("toggleMark('isStarred', sections[0].id)")
    problems = page(
        "const problems = [];"
        "for (const control of document.querySelectorAll('button, select, input')) {"
        "  if (!control.checkVisibility() || control.closest('#list li:nth-child(n + 4)')) continue;"
        "  control.scrollIntoView({block: 'nearest'});"
        "  const {left, top, right, bottom, width, height} = control.getBoundingClientRect();"
        "  const there = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);"
        f"  const isLarge = Math.min(width, height) >= {MIN_TARGET_PX};"
        f"  if (!isLarge || left < 0 || right > {WIDTH} || !control.contains(there))"
        "    problems.push([control.id || control.className, width, height, left, right, there && there.id]);"
        "} return problems"
    )
    assert problems == []


@pytest.mark.parametrize("content", ["page", "long_page"])
def test_the_match_and_its_curve_stay_in_view_and_nothing_is_wider_than_the_screen(content, request):
    page = request.getfixturevalue(content)
    assert page("return [document.documentElement.scrollWidth, innerWidth]") == [WIDTH, WIDTH]
    for position in ("0", "document.documentElement.scrollHeight"):
        page(f"window.scrollTo(0, {position})")
        page.wait_until("return !changed")
        screen, curve = page(BOX.format("element.screen")), page(BOX.format("curve"))
        assert screen[1] >= 0
        assert screen[3] - screen[1] == pytest.approx(WIDTH * 9 / 16, abs=1)
        assert curve[1] == pytest.approx(screen[3], abs=1)
        assert curve[3] < HEIGHT / 2 + 90
        assert page("return document.elementFromPoint(195, 300).id") in ("axis", "overview", "video", "missing")
    assert page("return scrollY") > 100


@pytest.mark.parametrize("size", [(320, 640), (WIDTH, HEIGHT), (844, 390), (1024, 768), (1360, 760), (1920, 1080)])
def test_nothing_is_cut_off(long_page, size):
    screen = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] < 1100}
    long_page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    long_page("toggleMark('isStarred', sections[0].id); select(sections[120].id)")
    long_page.wait_until(f"return innerWidth === {size[0]} && !changed")
    assert long_page("return document.documentElement.scrollWidth") == size[0]
    cut_off = long_page(
        "const parts = document.querySelectorAll("
        "  'button, select, .bar, #clock, #summary, #editor > *, #list li:nth-child(n + 119):nth-child(-n + 123) > *');"
        "const rightOf = (part) => part.getBoundingClientRect().right || innerWidth;"
        "const isCutOff = (part) => part.clientWidth && part.scrollWidth > part.clientWidth + 1 ||"
        "  rightOf(part) > rightOf(part.closest('.panel, header')) + 1;"
        "return [...parts].filter((part) => part.checkVisibility() && part.closest('.panel, header') && isCutOff(part))"
        ".map(({outerHTML}) => outerHTML)"
    )
    assert cut_off == []


def test_a_swipe_over_the_curve_scrolls_the_page_and_changes_nothing(page):
    page("goTo(3)")
    page.wait_until_still()
    x, y = on_curve(page, 5)
    touch(page, straight((x, y), (x + 4, y - 250), 12))
    page.wait_until("return scrollY > 100")
    assert page("return now()") == 3
    assert page.selected is None
    assert page.sections == SECTIONS
    assert page.view == [0, 10]


def test_a_sideways_swipe_scrolls_the_curve(page):
    page("setView(2, 6); goTo(3)")
    page.wait_until_still()
    x, y = on_curve(page, 5, view=(2, 6))
    touch(page, straight((x, y), (x - 100, y)))
    shift_sec = 100 / page("return axis.clientWidth") * 4
    assert page.view == pytest.approx([2 + shift_sec, 6 + shift_sec], abs=1e-6)
    assert page("return [scrollY, now()]") == [0, 3]
    assert page.sections == SECTIONS


def test_two_fingers_zoom_the_curve_and_keep_the_times_below_them(page):
    left, y = on_curve(page, 4)
    right, _ = on_curve(page, 6)
    width, offset = page("return [axis.clientWidth, axis.getBoundingClientRect().left]")
    times = [(x - offset) / width * 10 for x in (left, right)]
    touch(page, straight((left, y), (left - 60, y)), straight((right, y), (right + 30, y)))
    start, end = page.view
    for x, sec in ((left - 60, times[0]), (right + 30, times[1])):
        assert start + (x - offset) / width * (end - start) == pytest.approx(sec, abs=1e-3)
    assert end - start == pytest.approx(10 * (right - left) / (right - left + 90), abs=1e-3)
    assert page("return [scrollY, visualViewport.scale, now()]") == [0, 1, 0]


def test_two_fingers_elsewhere_zoom_the_page(page):
    touch(page, straight((180, 700), (100, 700), 12), straight((220, 700), (300, 700), 12))
    page.wait_until("return visualViewport.scale > 1.5")
    assert page.view == [0, 10]


def test_a_tap_jumps_and_selects(page):
    x, y = on_curve(page, 7.5)
    touch(page, [(x, y)])
    assert page.frame == page(f"return frameAt({page.point(7.5, 100)[2]})")
    assert page.selected is None
    assert page.status == page("return whyAt(7.5)")
    assert page.status.startswith("score 0.21, in context 0.21, below the threshold 0.50")
    x, y = on_curve(page, 5.5, y=38)
    touch(page, [(x, y)])
    assert page.selected == 1
    assert page("return now()") == pytest.approx(page.point(5.5, 38)[2], abs=2e-4)
    assert page.sections == SECTIONS


def test_a_finger_drags_a_boundary_of_the_selected_section_from_outside_its_handle(page):
    page("select(sections[1].id)")
    (x, y), (target, _) = on_curve(page, 5, y=38), on_curve(page, 3.5, y=38)
    touch(page, straight((x - 18, y), (target - 18, y)))
    assert page.sections == [SECTIONS[0], [75, 120], SECTIONS[2]]
    page.press(Keys.CONTROL, "z")
    assert page.sections == SECTIONS
    # Below the sections, and at another section, the finger scrolls: here the whole match is in view already.
    for sec, y in ((5, 120), (8, 38)):
        x, y = on_curve(page, sec, y=y)
        touch(page, straight((x - 4, y), (x - 80, y)))
        assert page.sections == SECTIONS


def test_a_finger_drags_the_playhead_along_the_ruler_and_the_view_along_the_strip(page):
    (x, y), (target, _) = on_curve(page, 3, y=10), on_curve(page, 6, y=10)
    touch(page, straight((x, y), (target, y)))
    assert page("return now()") == pytest.approx(page.point(6, 10)[2], abs=2e-4)
    page("setView(0, 2)")
    x, y, sec = page.point(6, 14, canvas="overview")
    touch(page, [(x, y)])
    assert page.view == pytest.approx([sec - 1, sec + 1], abs=1e-3)
