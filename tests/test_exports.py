"""What all exports have in common: titles with special characters."""

import re
from xml.etree import ElementTree

import opentimelineio
import pytest
from timelines import FOLDER, SHORT_CUTS, TITLES, element, recording, timeline_of

from videosummarizer.extraction.exports.edl import write_edl
from videosummarizer.extraction.exports.fcpxml import write_fcpxml
from videosummarizer.extraction.exports.otio import write_otio


@pytest.mark.parametrize("title", TITLES)
def test_any_title_arrives_in_every_format(title):
    match = recording(title)
    names = [f"{title} {number:03d}" for number in (1, 2, 3)]
    url = "../" + match.path.as_uri().removeprefix("file:///matches/")
    otio = opentimelineio.adapters.read_from_string(
        write_otio(timeline_of(match, SHORT_CUTS), FOLDER).decode(), "otio_json"
    )
    assert otio.name == f"{title} highlights"
    assert [clip.name for clip in otio.tracks[0]] == names
    assert {clip.media_reference.target_url for clip in otio.find_clips()} == {url}
    content = write_fcpxml(timeline_of(match, SHORT_CUTS), FOLDER)
    assert [clip.get("name") for clip in ElementTree.fromstring(content).iter("asset-clip")] == names
    assert element(content, "resources/asset").get("src") == url
    assert element(content, "event/project").get("name") == f"{title} highlights"
    text = write_edl(timeline_of(match, SHORT_CUTS)).decode()
    assert text.splitlines()[0] == f"TITLE: {title} highlights"
    edl = opentimelineio.adapters.read_from_string(text, "cmx_3600", rate=50)
    assert [track.name for track in edl.tracks] == ["V", "A1", "A2"]
    assert [clip.source_range.start_time.value for clip in edl.tracks[0].find_clips()] == [175, 1150, 10200]
    assert re.findall(r"FROM CLIP NAME: +(.*)", text) == [f"{title}.mp4"] * 3
