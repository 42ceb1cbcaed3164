"""Label files on the page: opened in every form, saved under a name that the page knows or says, and the command."""

import json
import shlex
import subprocess
import sys

import numpy as np
import pytest
from label_cases import ACCEPTED, REFUSED
from review_page_browser import SECTIONS, TITLE, downloaded
from selenium.webdriver.common.keys import Keys

from videosummarizer import media
from videosummarizer.labels import LabelError, read_label_file, resolve_sections
from videosummarizer.sections import to_frames

pytest_plugins = ["review_page_browser"]

NAME = "a _b_ & 100% #1 (1).txt"  # as the browser may name a download of the page
ONE_COLUMN = "received 1 column, expected 4 (start_frame,end_frame,start_time,end_time) or 2 (start,end)"


def open_file(page, path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    page(
        "window.isOpened = false; new MutationObserver(() => isOpened = true).observe(document.body, "
        "{subtree: true, childList: true, characterData: true})"
    )
    page.find("#labelsFile").send_keys(str(path))
    page.wait_until("return isOpened")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("10,20,00:00:00,00:00:00\n60,90,00:00:02,00:00:05\n", [[10, 20], [60, 90]]),
        ("10,20\n60,90", [[10, 20], [60, 90]]),
        ("\ufeff 10 , 20 \r\n\r\n60,90\r\n", [[10, 20], [60, 90]]),
        ("00:00:01,00:00:02\n5.0,6.0\n00:07,00:07.5", [[30, 60], [90, 100], [130, 145]]),
        ("8.0,10.0", [[160, 220]]),
        ("30,60\n60,90\n", [[30, 60], [60, 90]]),  # two sections, as they were saved
        ("", []),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("keeps_drafts")
def test_a_label_file_is_opened_in_every_form(page, tmp_path, content, expected):
    open_file(page, tmp_path / NAME, content)
    page.wait_until("return element.status.textContent.startsWith('Opened')")
    assert page.sections == expected
    said = f"Opened {len(expected)} section{'s' * (len(expected) != 1)} of {NAME}: all of the match counts as looked at"
    assert page.status == said
    assert page.notice is None
    assert page("return labelText() === savedText")
    page.press(Keys.CONTROL, "z")
    assert page.sections == SECTIONS
    page.press(Keys.CONTROL, "y")
    page.reload()
    assert page.sections == expected


@pytest.mark.parametrize(
    ("content", "expected", "message"),
    [
        ("60,90\n10,20\n", [[10, 20], [60, 90]], None),
        ("10,20\n15,300\n", [[10, 220]], "#2: ends after the match: clipped; #2: overlaps "
         "another section: merged"),
        ("30,60,00:00:09,00:00:10", [[30, 60]], "#1: its frames and its times differ by 8.0 s: the frames "
         "are used"),
        ("9.0,11.5", [[190, 220]], "#1: ends after the match: clipped"),
    ],
)  # fmt: skip
def test_what_is_corrected_while_opening_is_named(page, tmp_path, content, expected, message):
    open_file(page, tmp_path / NAME, content)
    page.wait_until("return element.status.textContent.startsWith('Opened')")
    assert page.sections == expected
    assert page.notice == (message and message.replace("#", f"{NAME}, line "))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("start,end\n10,20\n", "#1: received a header or text (start,end), expected a section: delete the "
         "line."),
        ("10,20\n1,2,3\n", "#2: received 3 columns, expected 4 (start_frame,end_frame,start_time,end_time) "
         "or 2 (start,end)."),
        ("10,x2", "#1: received x2, expected a frame number such as 589."),
        ("10,20,00:00:70,00:01:80", "#1: received 00:00:70, expected a time such as 00:00:16."),
        ("10,", "#1: received nothing, expected a frame number such as 589."),
        ("00:01,20", "#1: received 00:01,20, expected two times (with a colon or a point) or two frame "
         "numbers."),
        ("20,20", "#1: received a section from 20 to 20, expected its end after its start."),
        ("220,230", "#1: the section begins at 220, after the match's end (220 frames, 00:10.00), expected a file of "
         "this match."),
        ("1\n2\n3\n4\n5\n", f"#1: {ONE_COLUMN}; #2: {ONE_COLUMN}; #3: {ONE_COLUMN}; and 2 more."),
        (b"10,20\n\xff",
         "FILE: received bytes that are not UTF-8 text, expected a label file: save it as UTF-8."),
        (b"1" * (2**20 + 1), "FILE: received 1048577 bytes, expected a label file."),
    ],
)  # fmt: skip
def test_a_file_with_errors_is_named_and_nothing_is_changed(page, tmp_path, content, message):
    open_file(page, tmp_path / NAME, content)
    page.wait_until("return !notice.hidden")
    assert page.notice == f"{message.replace('#', f'{NAME}, line ').replace('FILE', NAME)} Nothing is opened."
    assert page.sections == SECTIONS
    assert not page.find("#undo").is_enabled()


def test_a_file_with_the_name_of_another_match_is_asked_about(page, tmp_path):
    open_file(page, tmp_path / "another match.txt", "10,20\n")
    page.wait_until("return !notice.hidden")
    assert page.notice == f"another match.txt does not have the name of the match, {TITLE}: are these its labels?"
    assert page.sections == [[10, 20]]


@pytest.mark.parametrize(("texts", "is_opened"), [(ACCEPTED, True), (REFUSED, False)])
def test_the_page_opens_what_the_toolkit_can_use_and_nothing_else(page, texts, is_opened):
    lists = [list(text.encode()) for text in texts]
    answers = page(
        f"return {json.dumps(lists)}.map((bytes) => parseLabels("
        "new TextDecoder('utf-8', {fatal: true}).decode(new Uint8Array(bytes)), 'f').errors.length === 0)"
    )
    assert [ascii(text[:80]) for text, answer in zip(texts, answers, strict=True) if answer != is_opened] == []


def test_the_page_reads_label_files_as_the_toolkit_does(page, page_clip, tmp_path):
    info, path, random = media.probe(page_clip), tmp_path / "labels.txt", np.random.default_rng(5)
    frames, times = ["0", "7", "30", "61", "219", "220", "221"], ["00:01", "1.5", "3.549", "00:00:05.9", "9.99", "10.5"]
    kinds = [frames, frames, times, times, [*frames, *times, "x", ""]]
    files = []
    for _ in range(400):
        lines = [sorted(random.choice(kinds[random.integers(5)], 2)) for _ in range(random.integers(1, 4))]
        lines += [[*random.choice(frames, 2), *random.choice(times, 2)]] * random.integers(2)
        files.append(random.choice(["\n", "\r\n", "\x0b", "\u2028"]).join(map(",".join, lines)))
    answers = page(f"return {json.dumps(files)}.map((text) => parseLabels(text, 'f'))")
    num_opened = 0
    for text, answer in zip(files, answers, strict=True):
        path.write_bytes(text.encode())
        errors: list[LabelError] = []
        rows = read_label_file(path, errors)
        sections_sec, _ = resolve_sections(path, rows, info.frame_times_sec, info.duration_sec, errors)
        line_of = lambda message: str(message).split("line ")[1].split(":")[0]  # noqa: E731
        assert sorted(map(line_of, answer["errors"])) == sorted(map(line_of, errors)), text
        if not errors:
            num_opened += 1
            expected = joined(to_frames(sections_sec, info.frame_times_sec).tolist())
            assert joined([row["start"], row["end"]] for row in answer["rows"]) == expected, text
    assert num_opened > 30


def joined(sections):
    """The same frames in as few sections as possible."""
    result = []
    for start, end in sections:
        if result and start <= result[-1][1]:
            result[-1][1] = max(result[-1][1], end)
        else:
            result.append([start, end])
    return result


def test_an_opened_file_keeps_the_marks_of_sections_that_stay(page, tmp_path):
    page("select(sections[1].id)")
    page.press("b")
    open_file(page, tmp_path / NAME, "5,8\n90,120\n")
    page.wait_until("return sections.length === 2")
    assert page("return sections.map(({isStarred}) => !!isStarred)") == [False, True]


# ---- Saving


def stand_in_for_the_dialog(page, name, error=None):
    """Answer the dialog of showSaveFilePicker with a name, or with an error."""
    page(
        f"window.asked = []; window.written = []; window.showSaveFilePicker = async (options) => {{"
        f"  asked.push(options.suggestedName); const error = {json.dumps(error)};"
        "  if (error) throw new DOMException('no reason', error);"
        f"  return {{name: {json.dumps(name)}, createWritable: async () => ({{"
        "    write: async (text) => { written.push(text); }, close: async () => { written.push('closed'); }})}; };"
    )


def test_where_the_browser_has_a_dialog_its_name_is_the_one_that_is_said(page):
    stand_in_for_the_dialog(page, f"{TITLE}.txt")
    page("select(sections[0].id)")
    page.press("f")
    page.press(Keys.CONTROL, "s")
    page.wait_until("return !notice.hidden")
    assert page("return [asked, written]") == [[f"{TITLE}.txt"], [page("return labelText()"), "closed"]]
    assert page.status == f"Saved 3 sections as {TITLE}.txt"
    assert page.notice.startswith(f"Saved 3 sections as {TITLE}.txt. To cut from it, move it to ")
    assert page("return labelText() === savedText")
    stand_in_for_the_dialog(page, "other (1).txt")
    page.click("#save")
    page.wait_until("return noticeText.textContent.includes('other')")
    assert f"Saved 3 sections as other (1).txt. Training expects the name {TITLE}.txt. To cut" in page.notice
    assert "other (1).txt' --output_dir" in page.find("#command").text


def test_a_dialog_that_is_left_or_fails_saves_nothing_and_says_so(page):
    page("select(sections[0].id)")
    page.press("f")
    stand_in_for_the_dialog(page, "", "AbortError")
    page.click("#save")
    page.wait_until("return element.status.textContent === 'Not saved'")
    stand_in_for_the_dialog(page, "", "NotAllowedError")
    page.click("#save")
    page.wait_until("return !notice.hidden")
    assert page.notice == f"{TITLE}.txt could not be written (no reason): nothing is saved. Save it in another folder."
    assert page("return labelText() !== savedText")
    stand_in_for_the_dialog(page, "", "SecurityError")  # a page in a frame may not ask: it is downloaded
    page.click("#save")
    assert downloaded(page).decode() == page("return labelText()")


def test_the_names_that_a_browser_may_give_a_download_are_said(page):
    for expected in (
        f"If this name was taken, the browser calls it {TITLE} (1).txt: rename it to",
        f"As this name was taken by the download before, the browser probably calls it {TITLE} (1).txt: rename it",
        f"As this name was taken by the download before, the browser probably calls it {TITLE} (2).txt: rename it",
    ):
        page.click("#save")
        downloaded(page)
        assert page.notice.startswith(f"Downloaded 3 sections as {TITLE}.txt. {expected}")


def test_the_starred_sections_can_be_saved_alone(page):
    assert not page.find("#saveStarred").is_displayed()
    for index in (0, 2):
        page(f"select(sections[{index}].id)")
        page.press("b")
    assert page.find("#summary").text == "3 sections, 00:04.67 of 00:10.00, 2 starred"
    page.click("#saveStarred")
    downloaded(page, f"{TITLE}_starred.txt")
    assert page("return labelText() === savedText")  # nothing has changed in the labels
    page("moveEdge('end', 219)")
    page.click("#saveStarred")
    assert downloaded(page, f"{TITLE}_starred.txt") == b"30,60,00:00:01,00:00:02\n160,219,00:00:08,00:00:09\n"
    assert page.status == f"Downloaded 2 sections as {TITLE}_starred.txt"
    assert "This file is for a reel, not for training." in page.notice
    expected = f"{page('return match.command.page_dir')}{TITLE}_starred.txt"  # where stage 1 does not find it
    assert f"To cut from it, move it to {expected} and run this where highlight_extractor.py ran:" in page.notice
    output_dir = page("return match.command.output_dir")
    command = page.find("#command").text
    assert command.endswith(f" --sections '{expected}' --output_dir {output_dir}/starred --overwrite")
    assert page("return labelText() !== savedText")  # the labels themselves are not saved yet


# ---- The command


@pytest.mark.parametrize(
    "name",
    ["match", "a b", "it's", '"quoted"', "$HOME `id` \\ !x", "경기 #1; echo", "-rf", "a&b|c>d*?[1]", "new\tab", "~x=y"],
)
def test_the_command_means_the_same_to_a_shell(page, name):
    page("window.given = match.command")
    given = {
        "program": ["python3.11", f"{name}/highlight_extractor.py"],
        "video": f"{name}.mp4",
        "shell": "posix",
        "options": ["--intro", name],
    }
    page(f"match.command = {json.dumps(given)}")
    command = page(f"return cutCommand({json.dumps(f'{name}/{name}.txt')}, {json.dumps(f'{name} out')})")
    page("match.command = given")
    program = f"{shlex.quote(sys.executable)} -c 'import json, sys; print(json.dumps(sys.argv[1:]))'"
    line = command.replace("python3.11", program, 1)
    answer = json.loads(subprocess.run(line, shell=True, check=True, capture_output=True, text=True).stdout)
    prefix = "./" if name.startswith("-") else ""
    assert answer == [
        f"{name}/highlight_extractor.py", f"{prefix}{name}.mp4", "--sections", f"{prefix}{name}/{name}.txt",
        "--output_dir", f"{prefix}{name} out", "--intro", name, "--overwrite",
    ]  # fmt: skip


def test_a_folder_whose_name_is_not_utf8_and_windows_paths_are_quoted(page):
    quote = lambda text: page(f"return quoteForShell({json.dumps(text)})")  # noqa: E731
    assert quote("caf\udce9 it's/a.mp4") == r"$'caf\xe9 it\'s/a.mp4'"
    line = "printf %s " + quote("b\udcff\\x/😀.mp4")
    assert (
        subprocess.run(["bash", "-c", line], check=True, capture_output=True).stdout == b"b\xff\\x/" + "😀.mp4".encode()
    )
    page("match.command.shell = 'windows'")
    assert [quote(r"D:\my matches\a & b.mp4"), quote(r"D:\a.mp4")] == [r'"D:\my matches\a & b.mp4"', r'"D:\a.mp4"']
    page("match.command.shell = 'posix'")


def test_the_command_is_copied(page):
    page.click("#save")
    downloaded(page)
    page("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    button = page.find("#noticeActions button")
    button.click()
    page.wait_until("return noticeActions.firstChild.textContent === 'Copied'")
    command = page.find("#command").text
    assert page("return copied") == command
    program = page("return match.command.program.map(quoteForShell).join(' ')")
    assert command.startswith(f"{program} '/")
    page(
        "delete navigator.clipboard.writeText;"
        "navigator.clipboard.writeText = async () => { throw new Error('refused') }"
    )
    button.click()
    page.wait_until("return getSelection().toString() === element.command.textContent")
    page.find("#noticeActions button:last-child").click()
    assert page.notice is None
