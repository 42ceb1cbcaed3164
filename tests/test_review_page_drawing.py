"""What is drawn on the page's timeline, and when."""

from itertools import pairwise

import numpy as np
import pytest

pytest_plugins = ["review_page_browser"]

WIDE_PX, NARROW_PX = 1360, 1000
LINE_PX = 1.25


def rectangles(page, canvas, tone):
    """(left, width) of the filled rectangles of a colour on a canvas, as the page draws it once."""
    context = "const context = document.createElement('canvas').getContext('2d');"
    colour = page(f"{context} context.fillStyle = colors.{tone}; return context.fillStyle")
    return [(x, width) for name, fill, x, _, width, _ in page.drawn("fillRect") if (name, fill) == (canvas, colour)]


def line_of(page, tone):
    """(left, highest score, width, pixels from the highest score to the lowest) of the rectangles of a line."""
    context = "const context = document.createElement('canvas').getContext('2d');"
    colour = page(f"{context} context.fillStyle = colors.{tone}; return context.fillStyle")
    drawn = page.drawn("fillRect")
    rectangles = [rectangle for name, fill, *rectangle in drawn if (name, fill) == ("curves", colour)]
    return [(x, (186 - y - LINE_PX / 2) / 114, breadth, height - LINE_PX) for x, y, breadth, height in rectangles]


def playhead(page, canvas):
    """(centre, width) of the playhead on a canvas, in pixels from its left."""
    page.wait_until("return !changed")
    return page(
        f"const box = {canvas}Playhead.getBoundingClientRect(); const {{left}} = {canvas}.getBoundingClientRect();"
        "return [box.left + box.width / 2 - left, box.width]"
    )


def test_sections_labels_and_the_playhead_are_drawn_where_they_are_in_the_view(page):
    width = page("return axis.clientWidth")
    page("select(sections[1].id)")
    page("setView(2.5, 7.5)")
    page.wait_until("return !video.seeking")
    scale = width / 5
    received = rectangles(page, "axis", "found")
    assert received == [pytest.approx(((5 - 2.5) * scale, 5 / 3 * scale), abs=0.01)]  # the others are out of view
    # Labelled were frames 40 to 80: 1.33 s to 4 s.
    assert rectangles(page, "axis", "labelled") == [pytest.approx(((4 / 3 - 2.5) * scale, 8 / 3 * scale), abs=0.01)]
    now_sec = page("return now()")
    assert now_sec == pytest.approx(5.01, abs=2e-3)
    assert playhead(page, "axis") == pytest.approx(((now_sec - 2.5) * scale, 1.5), abs=0.02)
    lines = [x for x, breadth in rectangles(page, "axis", "text") if breadth == 1]
    assert lines == pytest.approx([2.5 * scale - 0.5, 25 / 6 * scale - 0.5], abs=0.01)


def test_the_strip_below_shows_all_sections_the_playhead_and_the_view(page):
    width = page("return overview.clientWidth")
    page("setView(2, 7)")
    page("goTo(4)")
    page.wait_until("return !video.seeking")
    scale = width / 10
    expected = [(1, 1), (5, 5 / 3), (8, 2)]
    received = rectangles(page, "overview", "found")
    assert np.array(received) / scale == pytest.approx(np.array(expected), abs=1e-3)
    assert playhead(page, "overview") == pytest.approx((4 * scale, 1.5), abs=0.2)
    ((left, breadth),) = [(x, width) for name, _, x, _, width, _ in page.drawn("strokeRect") if name == "overview"]
    assert (left, left + breadth) == pytest.approx((2 * scale, 7 * scale), abs=1)


def test_the_ruler_names_times_as_close_as_there_is_room(page):
    def labels(start, end):
        page(f"setView({start}, {end})")
        return [(text, x) for canvas, _, text, x, _ in page.drawn("fillText") if canvas == "axis"]

    width = page("return axis.clientWidth")
    assert 1300 < width < 1360  # so that 1 s of 10 s, and 0.5 s of 2 s, have more than 84 px, but the step below less
    received = labels(0, 10)
    assert [text for text, _ in received] == [f"00:{second:02d}" for second in range(11)]
    assert [x for _, x in received] == pytest.approx([second * width / 10 + 4 for second in range(11)], abs=0.01)
    received = labels(3.2, 5.2)
    assert [text for text, _ in received] == ["00:03.5", "00:04.0", "00:04.5", "00:05.0"]
    assert [x for _, x in received] == pytest.approx([sec * width / 2 + 4 for sec in (0.3, 0.8, 1.3, 1.8)], abs=0.01)


def test_long_matches_show_hours_and_every_peak_of_the_scores(open_page):
    scores = np.random.default_rng(0).uniform(0, 0.1, 4000).round(4)
    scores[[1000, 1005, 2501]] = 0.95
    page = open_page(np.arange(8000.0), 8000.0, sections=[[2000, 2010]], labelled=None, scores=scores)
    width = page("return axis.clientWidth")
    texts = [text for canvas, _, text, *_ in page.drawn("fillText") if canvas == "axis"]
    assert texts == [f"{hour:02d}:{minute}0:00" for hour in range(3) for minute in range(6)][:14]
    # Three steps lie in each pixel: the line goes from the highest to the lowest of them, the area up to the highest.
    columns = (np.arange(4000) * 2 / 8000 * width).astype(int)
    highest = np.array([scores[columns == x].max() for x in range(width)])
    lowest = np.array([scores[columns == x].min() for x in range(width)])
    assert sum(highest > 0.9) == 3
    assert sum(highest - lowest > 0.8) == 3
    for tone in ("score", "found"):
        drawn = np.array(line_of(page, tone))
        band, line = drawn[:-width], drawn[-width:]
        is_drop = highest > lowest
        expected = [
            np.flatnonzero(is_drop),
            highest[is_drop],
            np.ones(is_drop.sum()),
            (highest - lowest)[is_drop] * 114,
        ]
        assert band + np.array([0, LINE_PX / 2 / 114, 0, LINE_PX]) == pytest.approx(np.stack(expected, 1), abs=1e-6)
        before = np.append(highest[0], highest[:-1])
        rise = [np.arange(width), np.maximum(highest, before), np.ones(width), np.abs(highest - before) * 114]
        assert line == pytest.approx(np.stack(rise, 1), abs=1e-6)
    area = [(x, y) for canvas, _, x, y in page.drawn("lineTo") if canvas == "curves"]
    assert area[0 : 2 * width : 2] == [pytest.approx((x, 186 - score * 114)) for x, score in enumerate(highest)]
    assert area[1 : 2 * width : 2] == [pytest.approx((x + 1, 186 - score * 114)) for x, score in enumerate(highest)]
    assert len(area) == 2 * width + 2  # down to the end of the area, and the threshold
    assert not page.find("#labelledLegend").is_displayed()
    # A section of 10 s is 1.6 px wide, but drawn 2 px wide.
    assert rectangles(page, "axis", "found")[0][1] == 2


def test_scores_are_drawn_as_steps_up_to_the_end_and_the_threshold_at_its_height(open_page):
    page = open_page(
        np.arange(70) / 10,
        7.0,
        sections=np.zeros((0, 2), int),
        labelled=None,
        scores=np.array([0.1, 0.9, 0.5, 0.2]),
        decoded_scores=np.array([0.3, 0.8, 0.6]),
    )
    width = page("return axis.clientWidth")
    points = [(x / width * 7, (186 - y) / 114) for canvas, _, x, y in page.drawn("lineTo") if canvas == "curves"]
    area = [(0, 0.3), (2, 0.3), (2, 0.8), (4, 0.8), (4, 0.6), (6, 0.6), (6, 0)]  # of the scores that decide
    assert np.array(points[:7]) == pytest.approx(np.array(area), abs=1e-6)
    assert points[7:] == [pytest.approx((7, 0.5))]  # the threshold
    # Level lines, and uprights between them; the scores in context end earlier.
    for tone, steps in (("score", [0.1, 0.9, 0.5, 0.2]), ("found", [0.3, 0.8, 0.6])):
        rectangles = line_of(page, tone)
        level = [(x / width * 7, y, breadth / width * 7, height) for x, y, breadth, height in rectangles if breadth > 2]
        expected = [(2 * index, score, min(2, 7 - 2 * index), 0) for index, score in enumerate(steps)]
        assert np.array(level) == pytest.approx(np.array(expected), abs=1e-6)
        upright = [(x + LINE_PX / 2, y, height) for x, y, breadth, height in rectangles if breadth == LINE_PX]
        expected = [
            (2 * index / 7 * width, max(pair), (max(pair) - min(pair)) * 114)
            for index, pair in enumerate(pairwise(steps), 1)
        ]
        assert np.array(upright) == pytest.approx(np.array(expected), abs=1e-6)
    page("setView(2.5, 5)")
    points = [
        (2.5 + x / width * 2.5, (186 - y) / 114) for canvas, _, x, y in page.drawn("lineTo") if canvas == "curves"
    ]
    assert np.array(points[:5]) == pytest.approx(np.array([(2, 0.8), (4, 0.8), (4, 0.6), (6, 0.6), (6, 0)]), abs=1e-6)
    assert len(line_of(page, "found")) == 3
    assert len(page.drawn("fill")) == 1  # the area: there is no section


def test_a_frame_that_is_played_draws_nothing_and_a_dragged_section_no_curve(open_page):
    page = open_page(np.arange(300) / 30, 10)
    page.wait_until("return !changed")
    page(
        "window.drawn = []; const original = prepareContext;"
        "prepareContext = (canvas, ...size) => { drawn.push(canvas.id); return original(canvas, ...size); };"
    )
    page("playhead = 4; changed = true")
    assert page.clock[0] == "00:04.00"
    assert playhead(page, "axis")[0] == pytest.approx(0.4 * page("return axis.clientWidth"), abs=0.1)
    assert page("return drawn") == []
    for script, expected in (
        ("select(sections[1].id)", ["axis"]),
        ("moveEdge('start', 70)", ["axis", "overview"]),
        ("setView(2, 7)", ["curves", "axis", "overview"]),
        ("setView(0, 4)", ["curves", "axis", "overview"]),
        ("readColors()", ["curves", "axis", "overview"]),
    ):
        page(f"drawn = []; {script}")
        page.wait_until("return !changed")
        assert page("return drawn") == expected, script
    for view, sec, is_hidden in (((0, 4), 3, False), ((5, 9), 0, True), ((0, 4), 9, True), ((5, 10), 9, False)):
        page(f"setView({view[0]}, {view[1]}); goTo({sec})")
        page.wait_until("return !changed")
        assert page("return axisPlayhead.hidden") is is_hidden
        assert page("return document.documentElement.scrollWidth === innerWidth")  # it does not widen the page


def test_the_page_is_drawn_again_in_another_size_and_in_dark(page):
    page.wait_until("return !changed")
    ground = page("return colors.ground")
    try:
        page.browser.set_window_size(NARROW_PX, 900)
        page.wait_until(f"return innerWidth === {NARROW_PX} && !changed && axis.width === axis.clientWidth")
        page.browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
        )
        page.wait_until("return colors.ground === 'rgb(20, 23, 28)'")
        assert ground == "rgb(244, 245, 247)"
    finally:
        page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
        page.browser.set_window_size(WIDE_PX, 900)
