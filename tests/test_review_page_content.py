"""What review_page.py puts into the page: the match's data, its frame times, and where its video lies."""

import base64
import json
import os
import re
import subprocess
import sys
import zlib

import numpy as np
import pytest
from review_page_browser import info_of

from videosummarizer.extraction import review_page
from videosummarizer.extraction.exports.media_url import relative_url

SCORES = np.array([0.12344, 0.12346, 0.98765432, 1.0, 0.0])
DECODED_SCORES = np.array([0.22222, 0.33337, 0.987, 0.99996])


def content_of(page):
    """The JSON that a page holds."""
    return json.loads(re.search(rb'<script type="application/json" id="match">(.*?)</script>', page, re.DOTALL)[1])


def times_of(packed):
    """Frame times as the page unpacks them: differences in microseconds."""
    return np.cumsum(np.frombuffer(zlib.decompress(base64.b64decode(packed["deltas"])), "<f8")) / 1e6


def render(tmp_path, title="a match", sections=((1, 3), (5, 8)), labelled=None, scores=SCORES):
    info = info_of(np.arange(8) / 8 + 0.5, 1.625)
    labelled = None if labelled is None else np.array(labelled, np.int64).reshape(-1, 2)
    sections = np.array(sections, np.int64).reshape(-1, 2)
    return review_page.render_page(
        tmp_path / "matches" / f"{title}.mp4",
        tmp_path / "out",
        info,
        sections,
        labelled,
        scores,
        DECODED_SCORES,
        0.4,
        0.37,
    )


def test_the_page_holds_what_it_was_given(tmp_path):
    content = content_of(render(tmp_path, labelled=[[2, 6]]))
    assert content["command"].pop("program")[1].endswith("highlight_extractor.py")
    times = content.pop("frame_times")
    assert times_of(times) == pytest.approx(np.arange(8) / 8 + 0.5, abs=1e-12)
    assert times["end_sec"] == 1.625
    ids = content.pop("match_id"), content.pop("sections_id")
    assert [len(identifier) for identifier in ids] == [16, 16]
    assert content == {
        "title": "a match",
        "labels_name": "a match.txt",
        "command": {
            "video": f"{tmp_path}/matches/a match.mp4",
            "labels_dir": f"{tmp_path}/matches/",
            "page_dir": f"{tmp_path}/out/",
            "output_dir": f"{tmp_path}/out",
            "starred_output_dir": f"{tmp_path}/out/starred",
            "shell": "posix",
            "options": [],
        },
        "video_url": "../matches/a%20match.mp4",
        "step_sec": 0.4,
        "start_sec": 0.0,
        "scores": [0.12344, 0.12346, 0.987654, 1.0, 0.0],
        "decoded_scores": DECODED_SCORES.tolist(),
        "threshold": 0.37,
        "too_short": [],
        "selected_by": "threshold",
        "reasons": None,
        "sections": [[1, 3], [5, 8]],
        "labelled": [[2, 6]],
        "stretches": [],
        "undecided": [],
        "score_name": "score",
    }


def test_corrections_are_kept_for_the_match_and_for_the_sections_that_were_found(tmp_path):
    def ids(*given, **options):
        content = content_of(render(tmp_path, *given, **options))
        return content["match_id"], content["sections_id"]

    first = ids()
    assert ids() == first
    assert ids(scores=SCORES / 2) == first
    other = ids(sections=((1, 3), (5, 7)))
    assert (other[0] == first[0], other[1] == first[1]) == (True, False)
    assert ids("another match")[0] != first[0]
    (tmp_path / "matches").mkdir()
    (tmp_path / "matches" / "a match.mp4").write_bytes(b"of another size")
    assert ids()[0] != first[0]


@pytest.mark.parametrize(
    ("video", "output_dir", "labels_dir", "page_dir", "starred_output_dir"),
    [
        ("match.mp4", "highlights", "", "highlights/", "highlights/starred"),
        ("a/b c/match.mp4", ".", "a/b c/", "", "starred"),
        ("../match.mp4", "highlights/starred", "../", "highlights/starred/", "highlights/starred"),
    ],
)
def test_the_command_has_paths_as_the_user_gave_them(video, output_dir, labels_dir, page_dir, starred_output_dir):
    expected = {"video": video, "labels_dir": labels_dir, "page_dir": page_dir, "output_dir": output_dir}
    expected |= {"starred_output_dir": starred_output_dir, "shell": "posix"}
    expected["program"] = review_page.program_words()
    assert review_page.command_paths(video, output_dir) == expected


def test_a_folder_whose_name_is_not_utf8_arrives_in_the_command(tmp_path):
    content = content_of(render(tmp_path / os.fsdecode(b"caf\xe9")))
    assert content["command"]["labels_dir"] == f"{tmp_path}/caf\udce9/matches/"


def test_the_page_plays_a_preview_where_there_is_one(tmp_path):
    info = info_of(np.arange(8) / 8 + 0.5, 1.625)
    given = (tmp_path / "out", info, np.array([[1, 3]]), None, SCORES, DECODED_SCORES, 0.4, 0.37)
    content = content_of(
        review_page.render_page(tmp_path / "a b.ts", *given, preview_path=tmp_path / "out" / "a b_preview.mp4")
    )
    assert content["video_url"] == "a%20b_preview.mp4"
    assert content["command"]["video"] == f"{tmp_path}/a b.ts"
    assert content["title"] == "a b"


def test_a_match_without_labels_differs_from_one_labelled_as_without_highlights(tmp_path):
    assert content_of(render(tmp_path))["labelled"] is None
    assert content_of(render(tmp_path, labelled=[]))["labelled"] == []
    assert content_of(render(tmp_path, sections=()))["sections"] == []


@pytest.mark.parametrize(
    "title", ["</script><!-- a", "PAGE_STYLE MATCH_TITLE", "MATCH_DATA", 'a "b" & c', "경기 #1 100%?", "\\u003c"]
)
def test_any_title_arrives_as_it_is(tmp_path, title):
    title = title.replace("/", "∕")
    page = render(tmp_path, title)
    assert content_of(page)["title"] == title
    assert content_of(page)["labels_name"] == f"{title}.txt"
    head, _, _ = page.decode().partition("<style>")
    escaped = title.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    assert f"<title>{escaped}</title>" in head
    assert page.decode().count("</script>") == 2


def test_the_page_is_made_of_all_its_parts_in_their_order(tmp_path):
    page = render(tmp_path).decode()
    folder = review_page.PAGE_DIR
    parts = [(folder / name).read_text(encoding="utf-8") for name in ("page.css", *review_page.SCRIPTS)]
    positions = [page.index(part) for part in parts]
    assert positions == sorted(positions)
    for name in ("PAGE_STYLE", "PAGE_SCRIPT", "MATCH_DATA", "MATCH_TITLE"):
        assert name not in page


@pytest.mark.parametrize(
    ("times_sec", "end_sec"),
    [
        (np.arange(100_000) * 1001 / 60000, 100_000 * 1001 / 60000),
        (0.4 + np.arange(3000) / 24, 125.4),
        (np.sort(np.random.default_rng(3).uniform(0, 9000, 5000)), 9001.5),
        (np.array([0.0]), 0.04),
    ],
)
def test_packed_frame_times_are_right_to_half_a_microsecond(times_sec, end_sec):
    packed = review_page.pack_frame_times(times_sec, end_sec)
    assert len(times_of(packed)) == len(times_sec)
    assert np.abs(times_of(packed) - times_sec).max() < 0.51e-6
    assert packed["end_sec"] == end_sec


def test_a_constant_rate_takes_few_bytes_even_over_three_hours():
    packed = review_page.pack_frame_times(np.arange(3 * 3600 * 60) / 60, 10800.0)
    assert len(packed["deltas"]) < 20_000


def test_the_video_is_named_relative_to_the_page(tmp_path):
    video_path = tmp_path / "matches" / "a b#1?.mp4"
    assert relative_url(video_path, tmp_path / "matches") == "a%20b%231%3F.mp4"
    assert relative_url(video_path, tmp_path / "x" / "y") == "../../matches/a%20b%231%3F.mp4"
    assert relative_url(video_path, tmp_path) == "matches/a%20b%231%3F.mp4"


def test_links_keep_their_names_and_paths_may_be_relative(tmp_path, monkeypatch):
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "away")
    (tmp_path / "far" / "real.mp4").touch()
    (tmp_path / "match.mp4").symlink_to(tmp_path / "far" / "real.mp4")
    assert relative_url(tmp_path / "match.mp4", tmp_path / "out") == "../match.mp4"
    assert relative_url(tmp_path / "a.mp4", tmp_path / "link") == "../a.mp4"
    assert relative_url(tmp_path / "link" / "a.mp4", tmp_path) == "link/a.mp4"
    assert relative_url(tmp_path / "link" / ".." / "a.mp4", tmp_path) == "far/a.mp4"
    monkeypatch.chdir(tmp_path / "far")
    assert relative_url("b.mp4", ".") == "b.mp4"
    assert relative_url("b.mp4", "away") == "../b.mp4"
    assert relative_url("a:b %d.mp4", ".") == "a%3Ab%20%25d.mp4"
    assert relative_url(os.fsdecode(b"\xb0/b.mp4"), ".") == "%B0/b.mp4"  # a folder that is not UTF-8


def test_a_video_on_another_drive_is_named_by_a_file_url(tmp_path, monkeypatch):
    def refuse(path, start):
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", refuse)
    video_path = tmp_path / "a b.mp4"
    assert relative_url(video_path, tmp_path) == f"file://{tmp_path.as_posix()}/a%20b.mp4"


@pytest.mark.parametrize("called", ["relative", "absolute", "link", "in its folder", "imported", "imported elsewhere"])
def test_the_command_calls_the_script_as_it_was_called(tmp_path, monkeypatch, called):
    root = review_page.SCRIPT_PATH.parent
    folder = root if called in ("in its folder", "imported") else tmp_path
    script = {
        "relative": os.path.relpath(review_page.SCRIPT_PATH, tmp_path),
        "absolute": str(review_page.SCRIPT_PATH),
        "link": "cut.py",
        "in its folder": "highlight_extractor.py",
    }.get(called, sys.argv[0])
    (tmp_path / "cut.py").symlink_to(review_page.SCRIPT_PATH)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", [script, "match.mp4"])
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, script, "match.mp4"])
    words = review_page.program_words()
    if called.startswith("imported"):
        assert words == ["python", "highlight_extractor.py" if folder == root else str(review_page.SCRIPT_PATH)]
        words[0] = sys.executable
    else:
        assert words == [sys.executable, script]
    answer = subprocess.run([*words, "--help"], cwd=folder, capture_output=True, text=True, check=True)
    assert "--sections" in answer.stdout
