"""Measure how smoothly the review page draws a match of three hours with 200 sections, in headless Chromium.

    python benchmarks/bench_page.py

For each of four things that an editor does it prints the frames drawn in a second, and the milliseconds of processor
time that the page's main thread takes for each of them. No video is played: decoding it is the browser's work.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from selenium import webdriver
from selenium.webdriver.support.wait import WebDriverWait

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from videosummarizer import media  # noqa: E402
from videosummarizer.extraction import review_page  # noqa: E402

NUM_FRAMES = 3 * 3600 * 60
RATE_FPS = 60
STEP_SEC = 0.5
SECTION_FRAMES = 22 * RATE_FPS
NUM_SECTIONS = 200
MEASURED_SEC = 5
# Most accepted processor time of a frame: a screen shows 60 of them in a second.
MAX_FRAME_MS = 16

# What happens before each frame is drawn; `n` counts the frames.
ACTIVITIES = {
    "play, whole match shown": ("setView(0, edges[numFrames])", "playhead = 3000 + n / 60; changed = true"),
    "play, a minute shown": ("setView(3000, 3060)", "playhead = 3000 + (n / 60) % 60; changed = true"),
    "scroll, an hour shown": ("setView(0, 3600)", "setView(n, n + 3600)"),
    "drag a boundary, whole match shown": (
        "setView(0, edges[numFrames]); select(sections[99].id)",
        "const s = selectedSection(); sections = withEdges(s.id, s.start, s.start + 1000 + n); showSections()",
    ),
}


def write_page(folder: Path) -> Path:
    """Write the review page of a match that does not exist, and return its path."""
    times_sec = np.arange(NUM_FRAMES) / RATE_FPS
    duration_sec = NUM_FRAMES / RATE_FPS
    no_points = np.zeros((0, 2), np.int64)
    info = media.VideoInfo(duration_sec, 0, RATE_FPS, 1920, 1080, "h264", None, times_sec, no_points)
    starts = np.arange(NUM_SECTIONS) * (NUM_FRAMES // NUM_SECTIONS) + 100
    scores = np.random.default_rng(0).uniform(0, 1, int(duration_sec / STEP_SEC))
    in_context = np.convolve(scores, np.ones(9) / 9, "same")
    page = review_page.render_page(
        folder / "gone.mp4",
        folder,
        info,
        np.stack([starts, starts + SECTION_FRAMES], 1),
        None,
        scores,
        in_context,
        STEP_SEC,
        0.5,
    )
    path = folder / "page.html"
    path.write_bytes(page)
    return path


def measure(browser: webdriver.Chrome, begin: str, before_frame: str) -> tuple[float, float]:
    """Return the frames drawn in a second, and the processor milliseconds of the main thread for each."""

    def busy_sec() -> float:
        metrics = browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
        return next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")

    browser.execute_script(begin)
    busy_before = busy_sec()
    num_frames, elapsed_sec = browser.execute_async_script(
        f"""const finished = arguments[0];
        let n = 0;
        const begin = performance.now();
        function next() {{
          const elapsed = performance.now() - begin;
          if (elapsed > {MEASURED_SEC * 1000}) return finished([n, elapsed / 1000]);
          n += 1;
          {before_frame};
          requestAnimationFrame(next);
        }}
        requestAnimationFrame(next);"""
    )
    return num_frames / elapsed_sec, (busy_sec() - busy_before) / num_frames * 1000


def main() -> int:
    """Run the command and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome")
    for switch in ("headless=new", "no-sandbox", "window-size=1360,900"):
        options.add_argument(f"--{switch}")
    frames_ms = []
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    with tempfile.TemporaryDirectory() as folder, webdriver.Chrome(options=options, service=service) as browser:
        browser.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
        browser.get(write_page(Path(folder)).as_uri())
        WebDriverWait(browser, 20).until(lambda _: browser.execute_script("return edges !== null && !missing.hidden"))
        for name, (begin, before_frame) in ACTIVITIES.items():
            rate_fps, busy_ms = measure(browser, begin, before_frame)
            frames_ms.append(busy_ms)
            print(f"{name:36} {rate_fps:5.1f} frames/s {busy_ms:7.1f} ms each", flush=True)
    if max(frames_ms) > MAX_FRAME_MS:
        print(f"FAILED: more than {MAX_FRAME_MS} ms for a frame")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
