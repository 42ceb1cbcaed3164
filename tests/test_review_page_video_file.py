"""A page without its video: one is chosen or dropped, and one that does not fit is pointed out."""

import base64
import json

import pytest
from clips import write_clip
from review_page_browser import SECTIONS, downloaded
from selenium.webdriver.common.keys import Keys

from videosummarizer import media

pytest_plugins = ["review_page_browser"]


@pytest.fixture
def lost_page(open_page, page_clip):
    """The page of `page_clip`, which was sent without it."""
    info = media.probe(page_clip)
    return open_page(info.frame_times_sec, info.duration_sec)


def drop(page, *files):
    """Drop files on the page, (name, content) each."""
    packed = [[name, base64.b64encode(content).decode()] for name, content in files]
    page(
        f"const transfer = new DataTransfer(); for (const [name, packed] of {json.dumps(packed)})"
        "  transfer.items.add(new File([Uint8Array.from(atob(packed), (character) => character.charCodeAt(0))], name));"
        "for (const type of ['dragover', 'drop']) { window.wasMarked = document.body.classList.contains('dropping');"
        "  const options = {dataTransfer: transfer, bubbles: true, cancelable: true};"
        "  window.wasTaken = !element.screen.dispatchEvent(new DragEvent(type, options)); }"
    )
    assert page("return [wasMarked, wasTaken, document.body.classList.contains('dropping')]") == [True, True, False]


def test_a_chosen_video_is_played(lost_page, page_clip):
    page = lost_page
    assert page.find("#missingText").text.startswith("The video cannot be played: ../gone.mp4. ")
    page("goToFrame(100)")
    page(
        "window.isAsked = false;"
        "videoFile.addEventListener('click', (event) => { isAsked = true; event.preventDefault(); })"
    )
    page.click("#chooseVideo")
    assert page("return isAsked")
    page.find("#videoFile").send_keys(str(page_clip))
    page.wait_until("return hasVideo && video.readyState >= 2")
    assert not page.find("#missing").is_displayed()
    assert not page.find("#notice").is_displayed()
    assert page.status == f"Plays {page_clip.name}"
    page.wait_for_number(100)
    page.press(Keys.ARROW_RIGHT)
    page.wait_for_number(101)
    assert page("return video.src.startsWith('blob:')")
    assert page.sections == SECTIONS


def test_a_dropped_video_is_played_also_in_place_of_another(page, page_clip):
    page("goToFrame(130)")
    drop(page, ("copy.mp4", page_clip.read_bytes()))
    page.wait_until("return hasVideo && video.readyState >= 2 && video.src.startsWith('blob:')")
    page.wait_for_number(130)
    assert page.status == "Plays copy.mp4"


def test_a_video_of_another_length_is_pointed_out(lost_page, tmp_path):
    page = lost_page
    path = write_clip(tmp_path / "short.mp4", num_frames=90, options={"crf": "10"})
    drop(page, (path.name, path.read_bytes()))
    page.wait_until("return hasVideo && !notice.hidden")
    assert page.find("#noticeText").text == (
        "short.mp4 lasts 00:03.00, but the match 00:10.00: the sections do not fit it, unless it is the same match. "
        "Choose the file from which this page was made."
    )
    page("goToFrame(40)")
    page.wait_for_number(40)  # it is shown nevertheless


def test_a_file_that_is_no_video_is_named_and_another_can_be_chosen(lost_page, page_clip):
    page = lost_page
    drop(page, ("notes.doc", b"no video"))
    page.wait_until("return !missing.hidden && missingText.textContent.includes('notes.doc')")
    assert page.find("#missingText").text == (
        "This browser does not play notes.doc. The sections can be edited without it."
    )
    assert not page("return hasVideo")
    page.find("#videoFile").send_keys(str(page_clip))
    page.wait_until("return hasVideo && missing.hidden")


def test_a_dropped_label_file_is_opened_with_its_undecided_time(lost_page):
    undecided = b'{"schema_version": 1, "undecided": [[50, 60]]}'
    drop(lost_page, ("labels_undecided.JSON", undecided), ("labels.TXT", b"10,20\n"))
    lost_page.wait_until("return sections.length === 1")
    assert lost_page.sections == [[10, 20]]
    assert lost_page("return undecidedRanges()") == [[50, 60]]
    drop(lost_page, ("labels.TXT", b"10,20\n90,100\n"))
    lost_page.wait_until("return sections.length === 2")


def test_dropped_text_that_is_no_file_is_left_to_the_browser(page):
    page(
        "const transfer = new DataTransfer(); transfer.setData('text/plain', 'x');"
        "const event = new DragEvent('dragover', {dataTransfer: transfer, bubbles: true, cancelable: true});"
        "window.wasTaken = !document.body.dispatchEvent(event)"
    )
    assert not page("return wasTaken || document.body.classList.contains('dropping')")


@pytest.mark.usefixtures("keeps_drafts")
def test_a_page_without_its_video_keeps_and_saves_corrections(lost_page):
    page = lost_page
    page("select(sections[0].id)")
    page.press("f")
    page.reload()
    assert page.sections[0] == [30, 61]
    page.click("#save")
    assert downloaded(page, "gone.txt").startswith(b"30,61,00:00:01,00:00:02\n")
