"""Names and places of matches in the extraction: links, composition, other encodings, protocols, long titles."""

import json
import os
import re
import unicodedata
from xml.etree import ElementTree

import opentimelineio
from extractor import LABELS, all_files

from videosummarizer import media

DECOMPOSED = unicodedata.normalize("NFD", "결승전 é")


def match_of_page(path):
    page = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="match">(.*?)</script>', page, re.DOTALL)[1])


def test_a_linked_match_keeps_the_name_and_the_path_that_were_given(extract, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "links").mkdir()
    extract.match("store/0815")
    link = tmp_path / "links" / "final.mp4"
    link.symlink_to(tmp_path / "store" / "0815.mp4")
    (tmp_path / "links" / "final.tXt").write_text("0,30\n")
    (tmp_path / "place").symlink_to(tmp_path / "links")
    assert extract(tmp_path / "place" / "final.mp4") == 0
    assert extract.names() == all_files("final")
    page = match_of_page(extract.out / "final.html")
    assert (page["title"], page["labels_name"], page["video_url"]) == ("final", "final.txt", "../place/final.mp4")
    assert page["labelled"] == [[0, 30]]
    url = "../place/final.mp4"
    xml = ElementTree.parse(extract.out / "final.fcpxml")
    assert [(asset.get("name"), asset.get("src")) for asset in xml.iter("asset")] == [("final", url)]
    otio = opentimelineio.adapters.read_from_file(str(extract.out / "final.otio"))
    assert {clip.media_reference.target_url for clip in otio.find_clips()} == {url}
    premiere = ElementTree.parse(extract.out / "final.xml")
    assert [path.text for path in premiere.iter("pathurl")] == [(tmp_path / "place" / "final.mp4").as_uri()]
    assert "FROM CLIP NAME:  final.mp4" in (extract.out / "final.edl").read_text()
    report = json.loads((extract.out / "final.json").read_text())
    assert (report["title"], list(report["scored_with"]["source"])) == ("final", ["final.mp4"])


def test_files_do_not_go_where_a_link_to_the_match_lies(extract, tmp_path, caplog):
    match = extract.match()
    for name in ("links", "out"):
        (tmp_path / name).mkdir()
    link = tmp_path / "links" / "final.mp4"
    link.symlink_to(match)
    for extract.out in (tmp_path / "links", tmp_path):  # that of the link, and that of its target
        assert extract(link) == 1
        assert caplog.messages[-1].startswith(f"--output_dir: received {extract.out}, the folder of final.mp4: final.t")
    assert [path.name for path in (tmp_path / "links").iterdir()] == ["final.mp4"]


def test_a_link_that_leads_nowhere_costs_no_other_match_and_a_match_may_be_given_twice(extract, tmp_path, caplog):
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "none.mp4")
    match = extract.match()
    (tmp_path / "sub").mkdir()
    assert extract(tmp_path / "loop.mp4", match, tmp_path / "gone.mp4", tmp_path / "sub" / ".." / "match.mp4") == 1
    assert extract.names() == all_files("match")
    assert extract.scored == ["match"]
    loop, gone, summary = caplog.messages
    assert (loop[: loop.index(":")], gone[: gone.index(":")]) == (
        str(tmp_path / "loop.mp4"),
        str(tmp_path / "gone.mp4"),
    )
    assert summary.startswith("2 of 3 matches failed: ")


def test_folders_whose_names_are_not_utf_8(extract, tmp_path):
    folder = tmp_path / os.fsdecode("결승".encode("euc-kr"))
    folder.mkdir()
    extract.match(f"{folder.name}/match")
    extract.out = folder / "out"
    assert extract(folder / "match.mp4") == 0
    assert extract.names() == all_files("match")
    assert match_of_page(extract.out / "match.html")["video_url"] == "../match.mp4"
    xml = ElementTree.parse(extract.out / "match.fcpxml")
    assert next(xml.iter("asset")).get("src") == "../match.mp4"
    premiere = ElementTree.parse(extract.out / "match.xml")
    assert next(premiere.iter("pathurl")).text.endswith("/%B0%E1%BD%C2/match.mp4")


def test_composed_and_decomposed_names_are_one_match(extract, capsys, caplog):
    match = extract.match(DECOMPOSED)
    match.with_name("결승전 é.txt").write_text("0,30\n")
    assert extract(match) == 0
    assert extract.names() == all_files("결승전 é")
    page = match_of_page(extract.out / "결승전 é.html")
    assert (page["title"], page["labelled"]) == ("결승전 é", [[0, 30]])
    composed = match.rename(match.with_name("결승전 é.mp4"))
    for path in list(extract.out.iterdir())[::2]:
        path.rename(path.with_name(unicodedata.normalize("NFD", path.name)))
    assert extract(composed) == 0
    assert "결승전 é: finished already and kept" in capsys.readouterr().out
    assert extract(composed, extract.match(DECOMPOSED)) == 1
    assert "received 2 matches with the title 결승전 é, also" in caplog.messages[-1]


def test_names_that_cannot_be_used_cost_no_other_match(extract, caplog):
    bad, long = extract.match(os.fsdecode("결승".encode("euc-kr"))), extract.match("가" * 80)
    lines, match = extract.match("two\nlines"), extract.match()
    assert extract(bad, long, match, lines) == 1
    shown = rf"{extract.folder}/\udcb0\udce1\udcbd\udcc2.mp4"
    assert caplog.messages == [
        f"{shown}: received a file name that is not UTF-8, expected one in plain characters: rename the file",
        rf"{extract.folder}/two\nlines.mp4: received a file name with control characters, expected one in plain "
        "characters: rename the file",
        f"{long}: received a title of 240 bytes, expected at most 235, as {extract.out} takes no file name "
        "<title>_highlights.mp4.part of more than 255 bytes: rename the file",
        rf"3 of 4 matches failed: {shown}, {extract.folder}/two\nlines.mp4, {long}",
    ]
    assert extract.names() == all_files("match")
    assert extract.scored == ["match"]


def test_a_match_with_the_name_of_the_undecided_time_of_another_is_refused(extract, caplog):
    match, ambiguous = extract.match("a"), extract.match("a_undecided")
    for given in ([ambiguous], [match, ambiguous]):
        assert extract(*given) == 1
        assert f"{ambiguous}: received a name that ends in _undecided and a match named a, but" in caplog.messages[0]
        caplog.clear()
    match.rename(extract.folder / "b.mp4")
    assert extract(ambiguous) == 0
    assert extract.scored == ["a", "a_undecided"]


def test_relative_paths_with_colons_and_percent_signs(extract, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in:%d").mkdir()
    extract.match("in:%d/a:b $x^$ %03d")
    extract.out = "out:%d"
    assert extract("in:%d/a:b $x^$ %03d.mp4") == 0
    extract.out = tmp_path / "out:%d"
    assert extract.names() == all_files("a:b $x^$ %03d")
    assert extract.labels("a:b $x^$ %03d") == LABELS
    reel = media.probe(extract.out / "a:b $x^$ %03d_highlights.mp4")
    assert len(reel.frame_times_sec) == 35
    assert match_of_page(extract.out / "a:b $x^$ %03d.html")["video_url"] == (
        "../in%3A%25d/a%3Ab%20%24x%5E%24%20%2503d.mp4"
    )
