"""How files for editing software refer to matches: by relative paths, with the names that the user gave."""

from pathlib import Path
from urllib.parse import unquote

import pytest

from videosummarizer.extraction.exports.media_url import export_url


@pytest.mark.parametrize(
    ("folder", "url"),
    [
        ("/videos", "week%201/%ED%95%9C%20%231.mp4"),
        ("/videos/week 1", "%ED%95%9C%20%231.mp4"),
        ("/videos/reels/day", "../../week%201/%ED%95%9C%20%231.mp4"),
        ("/elsewhere", "../videos/week%201/%ED%95%9C%20%231.mp4"),
    ],
)
def test_the_url_is_relative_to_the_folder(folder, url):
    assert export_url(Path("/videos/week 1/한 #1.mp4"), folder) == url


def test_a_relative_folder_counts_from_the_current_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert export_url(tmp_path / "a.mp4", "out") == "../a.mp4"


def test_both_can_be_moved_together(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "a b.mp4").write_bytes(b"a match")
    url = export_url(tmp_path / "old" / "a b.mp4", tmp_path / "old" / "out")
    (tmp_path / "old").rename(tmp_path / "new")
    (tmp_path / "new" / "out").mkdir()
    assert (tmp_path / "new" / "out" / unquote(url)).read_bytes() == b"a match"


def test_a_link_to_a_match_keeps_its_name(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "0001.mp4").write_bytes(b"")
    (tmp_path / "final.mp4").symlink_to(tmp_path / "store" / "0001.mp4")
    assert export_url(tmp_path / "final.mp4", tmp_path / "out") == "../final.mp4"


def test_a_link_to_a_folder_of_matches_keeps_its_name(tmp_path):
    (tmp_path / "store" / "2026").mkdir(parents=True)
    (tmp_path / "season").symlink_to(tmp_path / "store" / "2026")
    assert export_url(tmp_path / "season" / "a.mp4", tmp_path / "out") == "../season/a.mp4"


def test_where_a_link_leads_to_the_folder_the_url_is_absolute(tmp_path):
    (tmp_path / "disk" / "deep" / "out").mkdir(parents=True)
    (tmp_path / "out").symlink_to(tmp_path / "disk" / "deep" / "out")
    match = tmp_path / "a.mp4"
    assert export_url(match, tmp_path / "out") == match.as_uri()
