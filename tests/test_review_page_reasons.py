"""Why there is a section, or none: in the list, under the pointer, and in what is drawn."""

import itertools

import numpy as np
import pytest
from selenium.webdriver.common.action_chains import ActionChains

from videosummarizer.evaluation.decoding import decoded_scores, find_sections
from videosummarizer.extraction.measures import MEASURES
from videosummarizer.extraction.reasons import Reasons, describe_rules, describe_steps, describe_stretches, mean_parts

pytest_plugins = ["review_page_browser"]

# A match of 160 s at 10 frames per second, in 80 steps of 2 s.
NUM_STEPS, STEP_SEC, RATE_FPS = 80, 2.0, 10
TIMES_SEC = np.arange(NUM_STEPS * STEP_SEC * RATE_FPS) / RATE_FPS
THRESHOLD, PENALTY = 0.5, 3.0


def random_reasons(part_names=("loudness", "audio", "video", "offset"), seed=0):
    rng = np.random.default_rng(seed)
    smooth = np.apply_along_axis(np.convolve, 0, rng.uniform(0, 20, (NUM_STEPS + 4, 4)), np.ones(5) / 5, "valid")
    steps = np.cumsum(rng.normal(0, 0.4, (NUM_STEPS, len(part_names))), axis=0)
    steps[:, 3:] = -0.5
    shape = (NUM_STEPS // 4, 4, -1)
    why = Reasons(part_names, np.zeros((20, len(part_names))), steps.reshape(shape), MEASURES, smooth.reshape(shape))
    return why.rounded()


def random_scores(seed=1):
    return np.random.default_rng(seed).beta(0.8, 0.9, NUM_STEPS).round(6)


def in_context(scores):
    return decoded_scores(scores, STEP_SEC, NUM_STEPS * STEP_SEC, THRESHOLD, PENALTY)


def found_in(scores):
    return (find_sections(scores, STEP_SEC, NUM_STEPS * STEP_SEC, THRESHOLD, PENALTY) * RATE_FPS).astype(int).tolist()


def open_match(open_page, scores, sections, **options):
    arguments = {"scores": scores, "decoded_scores": in_context(scores), "labelled": None, "penalty": PENALTY}
    return open_page(TIMES_SEC, NUM_STEPS * STEP_SEC, sections=sections, **arguments, **options)


# ---- Words and contributions


def test_the_page_has_the_words_of_the_files(open_page):
    why, scores = random_reasons(), random_scores()
    sections = [[10, 70], [100, 190], [333, 501], [620, 760], [1000, 1490]]
    page = open_match(open_page, scores, sections, reasons=describe_rules(why, NUM_STEPS))
    expected = describe_stretches(why, NUM_STEPS, np.array(sections) / RATE_FPS, STEP_SEC)
    assert page("return sections.map(wordsOfSection)") == expected
    assert len({word for words in expected for word in words}) >= 5
    assert expected[-1] == []  # longer than a quarter of the match
    names, holds = describe_steps(why, NUM_STEPS, STEP_SEC)
    of_steps = [list(itertools.compress(names, step)) for step in holds.T]
    assert page(f"return Array.from({{ length: {NUM_STEPS} }}, (_, step) => wordsAround(step))") == of_steps
    assert len({word for words in of_steps for word in words}) >= 8
    rows = page("return [...document.querySelectorAll('#list .why')].map((e) => e.textContent)")
    for row, words, parts in zip(rows, expected, mean_parts(why, np.array(sections) / RATE_FPS, STEP_SEC), strict=True):
        said, _, listed = row.rpartition(" · ")
        assert said == ", ".join(words)
        values = dict(part.split(" ") for part in listed.split(", "))
        assert list(values) == ["loudness", "audio", "video", "offset"]
        assert [float(value.replace("−", "-")) for value in values.values()] == pytest.approx(parts, abs=0.0051)
        assert values["offset"] == "−0.50"
    page("select(sections[0].id); moveEdge('end', 120)")  # the words are those of the corrected section
    assert (
        page("return wordsOfSection(sections[0])")
        == describe_stretches(why, NUM_STEPS, np.array([[1, 12]]), STEP_SEC)[0]
    )
    row = page("return document.querySelector('#list .why').textContent")
    assert row.startswith(page("return wordsOfSection(sections[0]).join(', ')"))


def test_without_reasons_nothing_is_said_in_the_list(open_page):
    scores = random_scores()
    page = open_match(open_page, scores, [[10, 70]])
    assert page("return document.querySelector('#list .why').checkVisibility()") is False
    hover(page, 4.0)
    assert page("return [...why.children].map((e) => e.textContent)")[0].endswith(f": {sentence(page, 4.05)}")
    assert page("return why.children.length") == 1


def test_activity_is_named_on_the_page_and_has_parts_instead_of_a_sum(open_page):
    why = random_reasons(("loudness", "onsets", "motion", "shots"))
    options = {"selected_by": "activity", "score_name": "activity", "reasons": describe_rules(why, NUM_STEPS)}
    page = open_match(open_page, random_scores(), [[10, 70], [100, 160]], **options)
    assert page.find("#scoreLegend").text == "activity"
    assert page.find("#foundLegend").text == "activity in context, sections"
    assert page.texts("#order option") == ["by time", "by activity"]
    page("select(sections[0].id)")
    assert page("return element.selection.textContent").endswith(f"activity {page('return scoreOf(sections[0])'):.2f}")
    row = page.texts("#list .why")[0].rpartition(" · ")[2]
    parts = mean_parts(why, np.array([[1.0, 7.0]]), STEP_SEC)[0]
    assert [name.split()[0] for name in row.split(", ")] == ["loudness", "onsets", "motion", "shots"]
    assert [abs(float(name.split()[1])) for name in row.split(", ")] == pytest.approx(np.abs(parts), abs=0.0051)
    assert "+" not in row
    hover(page, 5.0)
    lines = page("return [...why.children].map((e) => e.textContent)")
    assert lines[0].startswith("00:05.0")
    assert ": activity 0." in lines[0]
    assert lines[1].startswith("activity of loudness ")


# ---- What the pointer shows


def hover(page, seconds):
    """Move the mouse to a time on the timeline."""
    x = page(f"return Math.round(toX({seconds}, axis.clientWidth) - axis.clientWidth / 2)")
    ActionChains(page.browser).move_to_element_with_offset(page.find("#axis"), x, 20).perform()


def sentence(page, seconds):
    return page(f"return whyAt({seconds})")


def test_the_pointer_shows_why_with_what_the_score_adds_up_from(open_page):
    why, scores = random_reasons(), random_scores()
    page = open_match(open_page, scores, found_in(scores), reasons=describe_rules(why, NUM_STEPS))
    assert not page.find("#why").is_displayed()
    hover(page, 31.0)
    first, second, *words = page("return [...why.children].map((e) => e.textContent)")
    time, _, text = first.partition(": ")
    assert time.startswith("00:3")
    assert text == sentence(page, 31.0)
    total, _, parts = second.removeprefix("log-odds ").partition(" = ")
    numbers = [float(part.split()[1].replace("−", "-")) for part in parts.split(", ")]
    assert float(total.replace("−", "-")) == pytest.approx(sum(numbers), abs=0.021)
    assert numbers == pytest.approx(why.step_parts(NUM_STEPS)[15], abs=0.0051)
    names, holds = describe_steps(why, NUM_STEPS, STEP_SEC)
    assert words == [", ".join(itertools.compress(names, holds[:, 15]))] * any(holds[:, 15])
    box = page("const b = why.getBoundingClientRect(); return [b.left, b.right, b.bottom]")
    assert 0 <= box[0] <= box[1] <= page("return innerWidth")
    assert box[2] <= page("return axis.getBoundingClientRect().top")  # it does not hide the curve
    at_pointer = page("return toX(31, axis.clientWidth) + axis.getBoundingClientRect().left")
    assert at_pointer <= box[0] <= at_pointer + 20
    hover(page, 159.9)
    assert page("return why.getBoundingClientRect().right <= innerWidth")
    ActionChains(page.browser).move_to_element(page.find("#save")).perform()
    assert not page.find("#why").is_displayed()
    page("goTo(31)")
    page.press("w")  # for those who do not use a mouse
    assert page.status == sentence(page, 31.0)


def test_a_sentence_says_why_there_is_a_section_or_none(open_page):
    scores = np.full(NUM_STEPS, 0.1)
    scores[10:20], scores[15], scores[40] = 0.9, 0.45, 0.7
    ((start, end),) = found_in(scores)
    page = open_match(open_page, scores, [[start, end]])
    assert (start, end) == (200, 400)
    shown = in_context(scores)
    assert sentence(page, 22) == f"score 0.90, in context {shown[11]:.2f}, at least the threshold 0.50: in a section"
    assert sentence(page, 31) == (
        f"score 0.45, in context {shown[15]:.2f}, at least the threshold 0.50: a dip too short to divide the section"
    )
    # 2 s at the log-odds of 0.7, 0.847, are 1.69 of the 3 that a section costs.
    assert sentence(page, 81) == (
        f"score 0.70, in context {shown[40]:.2f}, below the threshold 0.50: too short for a section of its own, with "
        "56 % of the evidence that one needs"
    )
    assert sentence(page, 100) == f"score 0.10, in context {shown[50]:.2f}, below the threshold 0.50"
    page("removeSection(sections[0].id)")
    assert sentence(page, 22).endswith(": taken out on this page")
    page("goTo(100)")
    page("addSection()")
    assert sentence(page, 101).endswith(": added on this page")


@pytest.mark.parametrize(
    ("selected_by", "left_out", "added"),
    [
        ("length", "left out: other sections have higher scores, and --length is reached", "added by --padding"),
        ("activity", "left out: other sections have higher scores, and a tenth of the match", "added by --padding"),
        ("labels", "not a section of the label file", "a section of the label file"),
    ],
)
def test_a_sentence_says_what_else_decided(open_page, selected_by, left_out, added):
    scores = np.full(NUM_STEPS, 0.1)
    scores[10:20] = 0.9
    page = open_match(open_page, scores, [[600, 700]], selected_by=selected_by)
    assert left_out in sentence(page, 30)
    assert sentence(page, 65).endswith(f": {added}")
    page.wait_until("return !changed")  # the page is drawn
    assert page("return [shortLegend, leftOutLegend, undetectedLegend].map((e) => e.hidden)") == [True, False, False]


def test_scores_that_nearly_meet_the_threshold_are_said_to_more_decimals(open_page):
    page = open_match(open_page, random_scores(), [])
    assert page("return formatApart(0.4996, 0.5)") == ["0.4996", "0.5000"]
    assert page("return formatApart(0.5, 0.5)") == ["0.50", "0.50"]
    assert page("return formatApart(0.31, 0.37)") == ["0.31", "0.37"]


def test_what_is_not_scored_is_said(open_page):
    page = open_page(TIMES_SEC, 160.0, sections=[[10, 20]], scores=np.full(10, 0.1), start_sec=20.0)
    assert [sentence(page, sec) for sec in (19.9, 40.1)] == ["This part of the match is not scored"] * 2
    assert sentence(page, 30).startswith("score 0.10")
    assert page("match.scores = match.decoded_scores = []; return whyAt(5)") == ""


# ---- What is drawn


def covered(stretches, seconds):
    inside = [(start <= seconds) & (seconds < end) for start, end in stretches]
    return sum(inside, np.zeros(len(seconds), bool))


@pytest.mark.parametrize("selected_by", ["threshold", "length", "labels"])
def test_no_time_is_above_the_threshold_without_a_section_or_the_reverse_but_it_is_marked(open_page, selected_by):
    scores = random_scores(5)
    sections = found_in(scores)
    assert len(sections) >= 5
    if selected_by == "length":
        sections = sections[1::2]
    elif selected_by == "labels":
        sections = [[start + 60, end + 60] for start, end in sections[:3]]
    page = open_match(open_page, scores, sections, selected_by=selected_by)
    at_sec = np.arange(0, 160, 0.25) + 0.125
    step = (at_sec // STEP_SEC).astype(int)
    for change in ("", "removeSection(sections[1].id)", "goTo(158); addSection()"):
        page(change)
        page.wait_until("return !changed")
        drawn = {name: np.array(page(f"return match.{name}")) for name in ("scores", "decoded_scores")}
        above, alone = drawn["decoded_scores"][step] >= THRESHOLD, drawn["scores"][step] >= THRESHOLD
        is_section = covered(np.array(page.sections) / RATE_FPS, at_sec)
        marks = page("return differences()")
        left_out, undetected, short = (covered(marks[name], at_sec) for name in ("leftOut", "undetected", "short"))
        assert np.array_equal(left_out, above & ~is_section)
        assert np.array_equal(undetected, is_section & ~above)
        assert np.array_equal(short, alone & ~above & ~is_section)
        if not change and selected_by == "threshold":
            assert not left_out.any()
            assert not undetected.any()
            assert short.mean() > 0.05  # what nothing said before
        page.wait_until("return !changed")
        assert page("return [shortLegend, leftOutLegend, undetectedLegend].map((e) => !e.hidden)") == [
            *(bool(marks[name]) for name in ("short", "leftOut", "undetected")),
        ]
        strokes = [width for name, _, _, _, width, _ in page.drawn("strokeRect") if name == "axis"]
        assert len(strokes) == len(marks["leftOut"])
        for seconds in at_sec[left_out | undetected | short][::5]:
            assert ": " in sentence(page, seconds)


def test_scores_in_context_are_rounded_to_the_side_of_the_threshold_on_which_they_are(open_page):
    scores = np.full(NUM_STEPS, 0.4)
    above, below = 0.5, np.nextafter(0.5, 0)
    shown = np.where(np.arange(NUM_STEPS) < 40, above, below)
    page = open_page(TIMES_SEC, 160.0, sections=[[0, 800]], labelled=None, scores=scores, decoded_scores=shown)
    assert page("return stretchesOf((step) => match.decoded_scores[step] >= match.threshold)") == [[0, 80]]
