"""From the page of an extracted match to the corrected reel, in Chromium and in a shell, as an editor does it."""

import os
import subprocess
import sys
from pathlib import Path

import opentimelineio
import pytest
from clips import frames_in
from review_page_browser import Page, downloaded, leave

from videosummarizer import media
from videosummarizer.labels import read_label_file

pytest_plugins = ["review_page_browser"]

ROOT = Path(__file__).parent.parent
TITLE = "결승전 1세트 (it's #1)"


def run_in_shell(command):
    """Run a command in the toolkit's folder, as it was copied."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    answer = subprocess.run(
        command,
        shell=True,
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert answer.returncode == 0, answer.stderr
    assert all(word not in answer.stderr for word in ("WARNING", "ERROR")), answer.stderr
    return answer.stdout


@pytest.mark.usefixtures("keeps_drafts")
def test_the_command_that_the_page_shows_cuts_reel_and_edl_as_the_saved_labels_say(extract, browser):
    match = extract.match(TITLE)
    assert extract(match, "--reel_height", 32, "--clips") == 0  # finds 15 to 38 and 60 to 72
    page = Page(browser, extract.out / f"{TITLE}.html")
    page("select(sections[0].id)")
    duration_sec = media.probe(match).duration_sec
    page.move_on_timeline(38 / 30 + 0.004, 45 / 30 + 0.004, view=(0, duration_sec))
    page("select(sections[1].id)")
    page.press("a")
    corrected = [[15, 45], [59, 72]]
    assert page.sections == corrected
    page.reload()
    assert page.sections == corrected
    page.click("#save")
    text = downloaded(page, f"{TITLE}.txt")
    labels = match.with_suffix(".txt")
    assert f"move it to {labels} and run" in page.find("#noticeText").text
    labels.write_bytes(text)
    assert [row.frames for row in read_label_file(labels)] == [(15, 45), (59, 72)]

    printed = run_in_shell(page.find("#command").text)
    assert printed.startswith(f"{TITLE}: 2 sections, 00:00:01 of 00:00:02\n")
    assert frames_in(extract.out / f"{TITLE}_highlights.mp4") == [*range(15, 45), *range(59, 72)]
    assert media.probe(extract.out / f"{TITLE}_highlights.mp4").height_px == 32  # as it was asked for
    assert len([*(extract.out / f"{TITLE}_clips").glob("*.mp4")]) == 2
    timeline = opentimelineio.adapters.read_from_file(str(extract.out / f"{TITLE}.edl"), rate=30)
    video = timeline.video_tracks()[0]
    cuts = [clip.source_range for clip in video.find_clips()]
    assert [[cut.start_time.value, cut.end_time_exclusive().value] for cut in cuts] == corrected
    assert (extract.out / f"{TITLE}.txt").read_bytes() == text

    page.reload()  # the page was written once more, with the corrected sections
    assert page("return match.sections") == page.sections == corrected
    assert not page.find("#notice").is_displayed()
    assert page("return match.scores.length") == 10  # those of the extraction
    leave(page)
