"""The page for those who see little, use no mouse, or listen: contrast, focus, fields and messages."""

import re

import numpy as np
import pytest
from review_page_browser import SECTIONS
from selenium.webdriver.common.keys import Keys

pytest_plugins = ["review_page_browser"]

MIN_TEXT_CONTRAST = 4.5  # WCAG 2.2, level AA
MIN_MARK_CONTRAST = 3
# Colours as the browser computes them, painted over one another, and the contrast of two by WCAG.
COLOURS = """
const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
function paint(colours) {
  context.clearRect(0, 0, 1, 1);
  for (const colour of colours) {
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
  }
  return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
}
function luminance(colour) {
  const [red, green, blue] = colour.map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
function contrast(one, other) {
  const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}
/** Returns the layers of colour below an element's text, from the page's ground up. */
function layersBelow(part) {
  const layers = [];
  for (let at = part; at; at = at.parentElement) {
    layers.unshift(getComputedStyle(at).backgroundColor);
    if (at.tagName === "DIALOG") break;
  }
  return layers;
}
"""


@pytest.fixture(params=["light", "dark"])
def scheme(request, browser):
    features = [{"name": "prefers-color-scheme", "value": request.param}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    yield request.param
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.fixture
def full_page(open_page):
    """A page without its video on which everything is shown that can be."""
    page = open_page(np.arange(300) / 30, 10)
    page("toggleMark('isStarred', sections[0].id); toggleMark('isReviewed', sections[1].id)")
    page(
        "select(sections[1].id); showNotice('A message', [['A button', () => {}]], 'a command'); announce('A message')"
    )
    return page


def test_all_text_has_enough_contrast(scheme, full_page):
    measure = (
        COLOURS
        + """
        const found = [];
        for (const part of document.querySelectorAll("body *")) {
          const isText = [...part.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
          if (!(isText || part.matches("input, select")) || !part.checkVisibility() || part.matches("option")) continue;
          const style = getComputedStyle(part);
          const grounds = [layersBelow(part)];
          const filled = /^linear-gradient\\(to right, (.*?\\)) /.exec(style.backgroundImage);
          if (filled) grounds.push([...grounds[0], filled[1]]);
          for (const ground of grounds) {
            const ratio = contrast(paint([...ground, style.color]), paint(ground));
            found.push([part.id || part.className, ratio, style.opacity]);
          }
        }
        return found;
        """
    )
    found = full_page(measure)
    full_page("keys.showModal()")
    in_dialog = full_page(measure)
    full_page("keys.close()")
    names = {name for name, _, _ in found}
    assert {
        "summary",
        "meter number",
        "missingText",
        "chooseVideo",
        "noticeText",
        "save",
        "undo",
        "redo",
        "start",
    } <= names
    assert len(found) > 60
    assert len(in_dialog) > len(found) + 40
    assert [part for part in [*found, *in_dialog] if part[1] < MIN_TEXT_CONTRAST or part[2] != "1"] == []
    # What is written and drawn on the timeline, which is as light as the panel.
    for tone, least in (
        *((tone, MIN_TEXT_CONTRAST) for tone in ("text", "muted")),
        *((tone, MIN_MARK_CONTRAST) for tone in ("score", "found", "labelled", "playhead")),
    ):
        panel = "getComputedStyle(timeline).backgroundColor"
        assert full_page(f"{COLOURS} return contrast(paint([colors.{tone}]), paint([{panel}]))") >= least, tone


def test_the_focus_is_seen_on_every_control(scheme, full_page):
    unseen = full_page(
        COLOURS
        + """
        const unseen = [];
        for (const part of document.querySelectorAll("button, input, select, canvas[tabindex], code[tabindex]")) {
          if (!part.checkVisibility() || part.disabled) continue;
          part.focus({ focusVisible: true });
          const { outlineStyle, outlineWidth, outlineColor } = getComputedStyle(part);
          const around = contrast(paint([outlineColor]), paint(layersBelow(part.parentElement)));
          if (document.activeElement !== part || outlineStyle !== "solid" || outlineWidth !== "2px" || around < 3)
            unseen.push([part.id || part.className, outlineStyle, outlineWidth, around]);
        }
        document.activeElement.blur();
        return unseen;
        """
    )
    assert unseen == []


def test_a_listener_hears_which_section_is_selected(page):
    assert page("return [selection.role, selection.textContent]") == ["status", ""]
    spoken = {
        0: "Section 1 of 3 selected: 00:01.00 to 00:02.00, score 0.12",
        1: "Section 2 of 3 selected: 00:05.00 to 00:06.67, score 0.37",
        2: "Section 3 of 3 selected: 00:08.00 to 00:10.00, score 0.86",
    }
    for key, index in ((Keys.ARROW_DOWN, 0), (Keys.ARROW_DOWN, 1), (Keys.ARROW_DOWN, 2), (Keys.ARROW_UP, 1)):
        page.press(key)
        assert page("return selection.textContent") == spoken[index]
    page.press("s")  # the change itself is announced
    assert page("return selection.textContent") == spoken[1]
    assert page.status == "Starts at 00:05.10"
    page.press(Keys.DELETE)
    assert page("return selection.textContent") == "Section 2 of 2 selected: 00:08.00 to 00:10.00, score 0.86"
    page("select(null)")
    assert page("return selection.textContent") == "No section selected"
    box = page("const {width, height} = selection.getBoundingClientRect(); return [width, height]")
    assert max(box) <= 1


def test_escape_leaves_a_field_and_drops_what_was_typed(page):
    page("select(sections[1].id)")
    for side, value in (("start", "90"), ("end", "120")):
        field = page.find(f"#{side}")
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys("95", Keys.ESCAPE)
        assert field.get_attribute("value") == value
        assert page("return document.activeElement === document.body")
    assert page.sections == SECTIONS
    page.press("s")  # the keys are the page's again
    assert page.sections[1] == [91, 120]
    page.find("#speed").send_keys(Keys.ESCAPE)
    assert page("return document.activeElement === document.body")


def test_the_tabulator_stops_only_at_the_buttons_of_the_selected_row(page):
    stops = "return [...list.querySelectorAll('button')].filter(({tabIndex}) => tabIndex >= 0).map((b) => b.ariaLabel)"
    assert page(stops) == []
    page("select(sections[2].id)")
    assert page(stops) == ["Play section 3", "Star section 3", "Section 3 reviewed", "Delete section 3"]


def test_while_it_plays_the_slider_is_not_read_out(page):
    page("video.playbackRate = 0.5; goToFrame(0)")
    page.wait_until_still()
    assert page.clock[1] == 0
    said = page.find("#axis").get_attribute("aria-valuetext")
    page.press(Keys.SPACE)
    page.wait_until("return Number(clock.textContent.split('frame ')[1]) > 8")
    assert page.find("#axis").get_attribute("aria-valuetext") == said == "00:00.01, frame 0"
    page.press(Keys.SPACE)
    page.wait_until("return video.paused && !axis.ariaValueText.endsWith('frame 0')")
    shown = "{}, frame {}".format(*page.clock)
    assert page.find("#axis").get_attribute("aria-valuetext") == shown


@pytest.mark.parametrize(("duration_sec", "form"), [(3599, r"\d\d:\d\d"), (3600, r"\d\d:\d\d:\d\d")])
def test_all_times_of_a_match_have_one_form(open_page, duration_sec, form):
    page = open_page(np.arange(duration_sec), duration_sec, sections=[[10, 40], [3000, 3500]])
    page("select(sections[0].id)")
    page.press("s")
    texts = ["#summary", "#clock", "#startTime", "#endTime", "#status", "#list .times"]
    times = [time for css in texts for line in page.texts(css) for time in re.findall(r"[\d:.]*:[\d:.]*", line)]
    assert len(times) == 11
    assert [time for time in times if not re.fullmatch(form + r"\.\d\d", time)] == []
    ruler = [text for canvas, _, text, *_ in page.drawn("fillText") if canvas == "axis"]
    assert len(ruler) > 5
    assert [text for text in ruler if not re.fullmatch(form, text)] == []


# Whether the whole row of the selected section is seen.
IS_IN_VIEW = (
    "const row = list.querySelector('[aria-current]').getBoundingClientRect(), box = list.getBoundingClientRect();"
    "return row.top >= box.top && row.bottom <= box.bottom"
)


def test_the_row_of_the_selected_section_is_in_full_view(open_page):
    starts = np.arange(200) * 30
    scores = np.random.default_rng(0).uniform(0, 1, 3000)
    page = open_page(np.arange(6000), 6000, sections=np.stack([starts, starts + 20], 1), scores=scores)
    for index in (0, 100, 199, 198, 90, 0):
        page(f"select(sections[{index}].id)")
        assert page(IS_IN_VIEW), index
    page("select(sections[60].id)")
    page.press(Keys.ARROW_DOWN * 12)
    assert page(IS_IN_VIEW)
    for order in ("score", "time"):
        page(f"order.value = '{order}'; order.dispatchEvent(new Event('change'))")
        assert page(IS_IN_VIEW), order
    page("list.scrollTop = 0")  # the editor looks elsewhere, and a change of the section leaves that alone
    page.press("d")
    assert page("return list.scrollTop") == 0
    page.press(Keys.ARROW_DOWN)
    assert page(IS_IN_VIEW)
    page("list.scrollTop += list.querySelector('[aria-current]').offsetTop - list.scrollTop - list.clientHeight + 30")
    page("select(selected)")
    page("showNotice('A message that takes room from the list', [], 'a command')")
    page.wait_until(IS_IN_VIEW)  # once the list is laid out again
    assert page("return scrollY") == 0
