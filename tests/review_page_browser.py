"""The review page in headless Chromium, for the tests of the page: fixtures, and the editor's hands.

Test modules name it in `pytest_plugins`, and import from it before pytest does (hence: PYTEST_DONT_REWRITE).
"""

import io
import json
import os
import re
import shutil
import time
import uuid

import matplotlib.image
import numpy as np
import pytest
from clips import read_number, tone, write_clip
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions.wheel_input import ScrollOrigin
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from videosummarizer import media
from videosummarizer.extraction import review_page

TITLE = "a <b> & 100% #1"  # what a path, a URL and HTML could each misread
TICKS = [*range(0, 60), *range(60, 180, 3), *range(180, 300)]  # 220 frames in 10 s, at 30, 10 and 30 fps
SECTIONS = [[30, 60], [90, 120], [160, 220]]  # 1 to 2 s, 5 to 6.67 s, 8 to 10 s
LABELLED = [[40, 80]]
SCORES = np.array([0.12, 0.93, 0.47, 0.21, 0.86])
SEGMENT_LENGTH_SEC = 2.0
DURATION_SEC = 10
DEADLINE_SEC = 20


def find_chromium():
    """(chromium, chromedriver); where one is missing the test is skipped, or fails where CI runs it."""
    paths = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not all(paths):
        reason = "needs Debian's packages chromium and chromium-driver"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    return paths


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A browser that saves downloads in the folder `browser.download_dir`."""
    chromium, driver = find_chromium()
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for switch in ("headless=new", "no-sandbox", "window-size=1360,900", "autoplay-policy=no-user-gesture-required"):
        options.add_argument(f"--{switch}")
    download_dir = tmp_path_factory.mktemp("downloads")
    options.add_experimental_option("prefs", {"download.default_directory": str(download_dir)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(driver)) as browser:
        browser.download_dir = download_dir
        yield browser


@pytest.fixture(scope="session")
def page_clip(tmp_path_factory):
    """The match of the page, at a variable frame rate."""
    folder = tmp_path_factory.mktemp("matches")
    return write_clip(folder / f"{TITLE}.mp4", ticks=TICKS, audio=tone(440, 10), options={"crf": "10", "g": "30"})


class Page:
    """The open page: what it shows, and the editor's hands.

    Places on the timeline are worked out here, from the size of the canvas and the times at its left and right end.
    Corrections are not kept for the next test, unless `keeps_drafts`.
    """

    keeps_drafts = False

    def __init__(self, browser, path):
        self.browser = browser
        browser.get_log("browser")
        self.load(lambda: browser.get(path.as_uri()))

    def reload(self):
        """Load the page once more, as after a crash: it is not asked whether it may be left."""
        self.load(self.browser.refresh)

    def load(self, navigate):
        """Load a page that finds all that the page before it kept; after a blank page, it finds nothing.

        Chromium passes on what a page keeps some time later, in the order of writing, and nothing tells when. So the
        page before writes a marker last, and this page is loaded again until it finds the marker. What the last test
        cleared may still be there, because a page that is left at once may not pass it on: it is cleared again.
        """
        marker = None
        if self.browser.current_url.startswith("file:"):
            marker = str(uuid.uuid4())
            self(f"localStorage.marker = '{marker}'")  # also where setItem is replaced
        deadline = time.monotonic() + DEADLINE_SEC
        while True:
            navigate()
            self.wait_until_open()
            kept = self("return {...localStorage}")
            if kept.get("marker") == marker and (marker or not kept):
                return
            assert time.monotonic() < deadline, "what the page before kept does not arrive"
            if not marker:
                self("localStorage.clear()")

    def wait_until_open(self):
        if not self.keeps_drafts:
            self("Storage.prototype.setItem = () => {}")
        # Their dialogs cannot be worked from here: labels are downloaded.
        self("window.showSaveFilePicker = window.showDirectoryPicker = undefined")
        is_shown = "hasVideo && video.readyState >= 2 && !video.seeking"
        self.wait_until(f"return edges !== null && ({is_shown} || !missing.hidden)")

    def __call__(self, script):
        return self.browser.execute_script(script)

    def wait_until(self, script):
        WebDriverWait(self.browser, DEADLINE_SEC, 0.05).until(lambda browser: browser.execute_script(script))

    def wait_for_message(self, text):
        """Wait until the browser's console holds a message with a text, and take out all that it holds."""
        is_message = lambda entry: text in entry["message"]  # noqa: E731
        WebDriverWait(self.browser, DEADLINE_SEC, 0.05).until(
            lambda browser: any(map(is_message, browser.get_log("browser")))
        )

    def find(self, css):
        return self.browser.find_element(By.CSS_SELECTOR, css)

    def texts(self, css):
        return [element.text for element in self.browser.find_elements(By.CSS_SELECTOR, css)]

    def click(self, css):
        self.find(css).click()

    def press(self, *keys):
        """Press keys together (the last may be several, one after another), wherever the focus is not on a control."""
        actions = ActionChains(self.browser)
        for key in keys[:-1]:
            actions.key_down(key)
        actions.send_keys(keys[-1])
        for key in reversed(keys[:-1]):
            actions.key_up(key)
        actions.perform()

    def keep(self, key, draft):
        """Put corrections into the browser as the page keeps them."""
        self.browser.execute_script("localStorage.setItem(...arguments)", key, json.dumps(draft))

    def note_seeks(self):
        """From now on, `sought` holds the frames that the video was sent to, and it plays twice as fast."""
        self(
            "window.sought = []; video.playbackRate = 2;"
            "video.addEventListener('seeking', () => window.sought.push(frameAt(video.currentTime)))"
        )

    @property
    def sections(self):
        return self("return sections.map(({start, end}) => [start, end])")

    @property
    def selected(self):
        """Index in the list of the selected section, None without one."""
        marked = self("return [...list.children].flatMap((row, index) => row.ariaCurrent === 'true' ? [index] : [])")
        assert len(marked) < 2
        return marked[0] if marked else None

    @property
    def view(self):
        return self("return [view.start, view.end]")

    @property
    def status(self):
        return self.find("#status").text

    @property
    def notice(self):
        """The message below the title, None where none is shown."""
        return self.find("#noticeText").text if self.find("#notice").is_displayed() else None

    @property
    def clock(self):
        """(time, frame) that the clock shows, once the page is drawn."""
        self.wait_until("return !changed && !video.seeking")
        clock = re.fullmatch(r"(\S+) of \S+, frame (\d+)", self.find("#clock").text)
        return clock[1], int(clock[2])

    @property
    def frame(self):
        return self("return frameAt(now())")

    def wait_until_still(self):
        """Wait until the video is where it was sent to."""
        self.wait_until("return !video.seeking")

    def wait_until_shown(self):
        """Wait until the video shows the frame that it was sent to: the page has no reason to seek once more."""
        self.wait_until("return !video.seeking && shownSec !== null && frameAt(shownSec) === frameAt(playhead)")

    def shown_number(self):
        """The number that the video shows now, 0 while the frame is not painted yet."""
        image = matplotlib.image.imread(io.BytesIO(self.find("#video").screenshot_as_png))[:, :, :3]
        rows = np.flatnonzero(image.max(axis=(1, 2)) > 0.5)  # without the black above and below
        if len(rows) <= 10:  # nothing but an edge is painted
            return 0
        return read_number(image[rows.min() + 5 : rows.max() - 5] * 255)

    def wait_for_number(self, number):
        """The video may settle late on a slow machine, but on this number: it is seen twice, one after the other."""
        deadline, shown = time.monotonic() + DEADLINE_SEC, []
        while shown[-2:] != [number, number]:
            assert time.monotonic() < deadline, f"shows {shown[-5:]}, not {number}"
            self.wait_until("return !video.seeking && video.readyState >= 2")
            shown.append(self.shown_number())

    def point(self, sec, y, canvas="axis", view=(0, DURATION_SEC), shift_px=0):
        """(x, y, seconds) of the whole pixel nearest to a time on a canvas, y pixels below its top, in the window."""
        left, top, width = self(f"const box = {canvas}.getBoundingClientRect(); return [box.left, box.top, box.width]")
        start, end = view
        x = round(left + (sec - start) / (end - start) * width) + shift_px
        return x, round(top + y), start + (x - left) / width * (end - start)

    def move_on_timeline(self, from_sec, to_sec=None, y=38, **options):
        """Press the mouse at a time on a canvas and let it go at another; returns the seconds of the last pixel."""
        x, y, sec = self.point(from_sec, y, **options)
        actions = ActionChains(self.browser, duration=20)
        pointer = actions.w3c_actions.pointer_action
        pointer.move_to_location(x, y).pointer_down()
        if to_sec is not None:
            options["shift_px"] = 0
            x, _, sec = self.point(to_sec, 0, **options)
            pointer.move_to_location(x, y)
        pointer.pointer_up()
        actions.perform()
        return sec

    def hover(self, sec, y, **options):
        """Move the mouse to a time on a canvas."""
        x, y, sec = self.point(sec, y, **options)
        actions = ActionChains(self.browser, duration=20)
        actions.w3c_actions.pointer_action.move_to_location(x, y)
        actions.perform()
        return sec

    def turn_wheel(self, sec, delta_x, delta_y, keys=(), **options):
        """Turn the mouse wheel at a time on the timeline; returns the seconds of that pixel."""
        x, y, sec = self.point(sec, 100, **options)
        self("changed = true; window.numWheels = 0; axis.addEventListener('wheel', () => numWheels++, {once: true})")
        actions = ActionChains(self.browser, duration=20)
        for key in keys:
            actions.key_down(key)
        actions.scroll_from_origin(ScrollOrigin.from_viewport(x, y), delta_x, delta_y)
        for key in keys:
            actions.key_up(key)
        actions.perform()
        self.wait_until("return numWheels > 0")
        return sec

    def drawn(self, method):
        """Calls of a drawing method while the page is drawn once: [canvas, fill colour, ...arguments] each."""
        self(
            f"const prototype = CanvasRenderingContext2D.prototype; const original = prototype.{method};"
            f"window.calls = []; prototype.{method} = function (...given) {{"
            "  window.calls.push([this.canvas.id, this.fillStyle, ...given]); original.apply(this, given); };"
            f"drawnWith.clear(); drawTimeline(); prototype.{method} = original;"
        )
        return self("return window.calls")


def write_page(
    video_path,
    page_dir,
    sections=SECTIONS,
    labelled=LABELLED,
    scores=SCORES,
    info=None,
    decoded_scores=None,
    start_sec=0.0,
    **options,
):
    info = info or media.probe(video_path)
    page_dir.mkdir(exist_ok=True)
    path = page_dir / f"{video_path.stem}.html"
    decoded_scores = scores if decoded_scores is None else decoded_scores
    step_sec, threshold = (None, None) if scores is None else (SEGMENT_LENGTH_SEC, 0.5)
    curve = (scores, decoded_scores, step_sec, threshold, start_sec)
    page = review_page.render_page(video_path, page_dir, info, np.array(sections), labelled, *curve, **options)
    path.write_bytes(page)
    return path


def info_of(frame_times_sec, duration_sec):
    """What media.probe would say of a video with frames at these times."""
    rate_fps = len(frame_times_sec) / (duration_sec - frame_times_sec[0])
    random_access_points = np.zeros((0, 2), np.int64)
    return media.VideoInfo(duration_sec, 0, rate_fps, 1280, 720, "h264", None, frame_times_sec, random_access_points)


@pytest.fixture(scope="session")
def page_path(page_clip, tmp_path_factory):
    """The file of the page of `page_clip`."""
    return write_page(page_clip, tmp_path_factory.mktemp("page") / "out")


@pytest.fixture
def keeps_drafts(monkeypatch):
    """Let pages keep corrections during a test."""
    monkeypatch.setattr(Page, "keeps_drafts", True)


@pytest.fixture
def page(browser, page_path):
    """The page of `page_clip`. At the end of a test the browser's console holds no error."""
    yield (opened := Page(browser, page_path))
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    leave(opened)
    browser.get("about:blank")  # a page that is shown is drawn, also during the tests of other modules


@pytest.fixture
def open_page(browser, tmp_path):
    """A function that opens a page with the arguments of `write_page`, by default without a video."""
    opened = []

    def open_page(frame_times_sec=None, duration_sec=None, video_path=None, **content):
        info = None if frame_times_sec is None else info_of(np.asarray(frame_times_sec, np.float64), duration_sec)
        opened.append(
            Page(browser, write_page(video_path or tmp_path / "gone.mp4", tmp_path / "out", info=info, **content))
        )
        return opened[-1]

    yield open_page
    for page in opened:
        leave(page)
    browser.get("about:blank")


def downloaded(page, name=f"{TITLE}.txt"):
    """Bytes of the label file that the page saves; takes it out of the folder of downloads."""
    find = lambda: [*page.browser.download_dir.glob("*.txt")]  # noqa: E731
    WebDriverWait(page.browser, DEADLINE_SEC, 0.05).until(lambda _: find())
    (path,) = find()
    assert path.name == name.replace("<", "_").replace(">", "_")  # as Chromium names what it saves
    content = path.read_bytes()
    path.unlink()
    return content


def leave(page):
    """Leave without being asked about labels that are not saved."""
    page("savedText = labelText(); localStorage.clear()")
