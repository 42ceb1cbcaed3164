"""Copies of matches for browsers that do not play them: the same frames and audio at the same times, in an mp4."""

import dataclasses
import itertools
import json
import os
import re
import shutil

import av
import numpy as np
import pytest
from clips import ffmpeg, tone, write_clip

from videosummarizer import audio_track, media, video_track
from videosummarizer.extraction import preview
from videosummarizer.extraction.exports.timeline import ExportError


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Write two seconds of numbered frames with B-frames; in their second half a tone is heard."""
    audio = np.concatenate([np.zeros(44100, np.float32), tone(440, 1)])
    options = {"crf": "10", "x264-params": "keyint=30:bframes=3:b-adapt=0"}
    return write_clip(tmp_path_factory.mktemp("source") / "source.mp4", 60, audio=audio, options=options)


def onset_sec(path, info):
    audio = np.abs(np.concatenate(list(audio_track.read_audio(path, info, 8000))))
    return int(np.argmax(audio > 0.1)) / 8000


COPY = ("-c", "copy")
HEVC = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none:bframes=3", "-c:a", "copy")
SOURCES = {
    "ts": ("ts", COPY, "aac"),
    "ts with mp2": ("ts", ("-c:v", "copy", "-c:a", "mp2"), "aac"),
    "ts hevc": ("ts", HEVC, "aac"),
    "ts whose clock wraps": ("ts", (*COPY, "-output_ts_offset", "95442.7"), "aac"),
    "flv": ("flv", COPY, "aac"),
    "mkv": ("mkv", COPY, "aac"),
    "mkv with pcm": ("mkv", ("-c:v", "copy", "-c:a", "pcm_s16le"), "aac"),
    "mkv av1 with opus": ("mkv", ("-c:v", "libsvtav1", "-preset", "12", "-c:a", "libopus"), "opus"),
    "no audio": ("ts", (*COPY, "-an"), None),
}


@pytest.mark.parametrize(("suffix", "options", "audio_codec"), SOURCES.values(), ids=SOURCES)
def test_a_copy_has_the_same_pictures_and_sounds_at_the_same_times(tmp_path, source, suffix, options, audio_codec):
    path, copy = tmp_path / f"match.{suffix}", tmp_path / "match_preview.mp4"
    ffmpeg("-i", source, *options, path)
    info, seconds = media.probe(path), []
    preview.write_preview(path, info, copy, seconds.append)
    made = media.probe(copy)
    np.testing.assert_allclose(made.frame_times_sec, info.frame_times_sec, atol=1e-4)
    times_sec = info.frame_times_sec[::7] + 0.01
    sizes = (info.width_px, info.height_px)
    for received, expected in zip(
        video_track.read_frames(copy, made, times_sec, *sizes),
        video_track.read_frames(path, info, times_sec, *sizes),
        strict=True,
    ):
        np.testing.assert_array_equal(received, expected)  # it was not encoded again
    assert (made.audio and made.audio.split()[0]) == audio_codec
    if audio_codec:
        assert onset_sec(copy, made) == pytest.approx(onset_sec(path, info), abs=0.004)
    assert sum(seconds) == pytest.approx(2, abs=0.2)
    assert [part.name for part in tmp_path.iterdir() if part.name.startswith("match_")] == [copy.name]
    with av.open(str(copy)) as container:
        tag = container.streams.video[0].codec_context.codec_tag
    assert tag == {"h264": "avc1", "hevc": "hvc1", "libdav1d": "av01"}[info.codec]


def test_encoded_audio_may_fill_all_packets(tmp_path, source):
    ffmpeg("-i", source, "-c:v", "copy", "-c:a", "pcm_s16le", "-ar", "48000", tmp_path / "match.mkv")
    info = dataclasses.replace(media.probe(tmp_path / "match.mkv"), duration_sec=75 * 1024 / 48_000)
    preview.write_preview(tmp_path / "match.mkv", info, tmp_path / "preview.mp4")
    with media.open_media(tmp_path / "preview.mp4") as container:
        audio = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    assert len(audio) == 75 * 1024
    assert np.abs(audio[-2048:]).max() > 0.1


def test_a_sum_of_tracks_is_encoded(tmp_path, recording):
    preview.write_preview(recording, media.probe(recording, "mix"), tmp_path / "preview.mp4")
    made = media.probe(tmp_path / "preview.mp4")
    audio = np.concatenate(list(audio_track.read_audio(tmp_path / "preview.mp4", made, 8000)))[8800:15200]
    spectrum = np.abs(np.fft.rfft(audio)) * 2 / len(audio)
    assert spectrum[[440 * 4 // 5, 1000 * 4 // 5, 2500 * 4 // 5]] == pytest.approx([0.1, 0.2, 0.42], abs=0.03)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("-c:v", "mpeg4", "-c:a", "copy"),
            "browsers do not play mpeg4, which a copy would keep: encode it with ffmpeg",
        ),
        (
            (*COPY, "-bsf:v", "h264_mp4toannexb"),
            "an avi file does not store when its frames are displayed, which an mp4",
        ),
    ],
)
def test_what_no_copy_can_play_is_named_with_what_to_do(tmp_path, source, options, message):
    path = tmp_path / "match.avi"
    ffmpeg("-i", source, *options, path)
    with pytest.raises(ExportError) as raised:
        preview.write_preview(path, media.probe(path), tmp_path / "preview.mp4")
    assert str(raised.value).startswith(message)
    assert f"ffmpeg -i {path} -c:v libx264 {tmp_path / 'preview.mp4'}, and choose that file on the" in str(raised.value)
    assert not (tmp_path / "preview.mp4").exists()


def test_a_copy_that_cannot_be_written_leaves_nothing(tmp_path, source):
    with pytest.raises(
        preview.PreviewError, match=r"preview\.mp4 cannot be written \(No such file or directory\): make room"
    ):
        preview.write_preview(source, media.probe(source), tmp_path / "missing" / "preview.mp4")

    def fail(seconds):
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match=r"^stop$"):
        preview.write_preview(source, media.probe(source), tmp_path / "preview.mp4", fail)
    assert list(tmp_path.iterdir()) == []


# ---- Stage 4


def played(extract):
    page = (extract.out / "match.html").read_text(encoding="utf-8")
    return json.loads(re.search(r'<script[^>]*type="application/json"[^>]*>(.*?)</script>', page, re.S)[1])["video_url"]


def match_of(extract, suffix, *options):
    ffmpeg("-i", extract.clip, *(options or COPY), extract.folder / f"match.{suffix}")
    return extract.folder / f"match.{suffix}"


def test_the_page_plays_a_preview_if_one_is_asked_for(extract, caplog, capsys):
    match = match_of(extract, "ts")
    assert extract(match) == 0
    assert f"{match}: not all browsers play ts files: --preview --overwrite copies it into an mp4" in caplog.text
    assert played(extract) == "../match.ts"
    assert extract(match, "--preview") == 1
    assert "was made with no --preview, not --preview: --overwrite replaces it" in caplog.text
    caplog.clear()
    assert extract(match, "--preview", "--overwrite") == 0
    assert (caplog.text, played(extract)) == ("", "match_preview.mp4")
    assert len(media.probe(extract.out / "match_preview.mp4").frame_times_sec) == 72
    assert extract.scored == ["match"]
    capsys.readouterr()
    assert extract(match, "--preview") == 0
    assert "finished already and kept" in capsys.readouterr().out
    (extract.out / "match_preview.mp4").unlink()
    assert extract(match, "--preview") == 0
    assert (extract.out / "match_preview.mp4").exists()


def test_a_copy_is_made_again_only_if_the_match_or_its_audio_track_has_changed(extract, recording):
    match, copy = shutil.copy(recording, extract.folder / "match.mkv"), extract.out / "match_preview.mp4"

    def run(*arguments):
        assert extract(match, "--preview", "--overwrite", *arguments) == 0
        return copy.stat().st_mtime_ns

    first = run()
    assert run("--threshold", "0.8") == first
    assert played(extract) == "match_preview.mp4"
    second = run("--audio_track", "1")
    assert second != first
    os.utime(match, ns=(1, 1))
    assert run("--audio_track", "1") != second
    assert extract(match, "--overwrite") == 0
    assert not copy.exists()


def test_a_copy_that_cannot_be_written_is_an_error(extract, monkeypatch, caplog):
    def fail(part_path, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(preview, "replace_durably", fail)
    assert extract(match_of(extract, "ts"), "--preview") == 1
    assert f"{extract.out / 'match_preview.mp4'} cannot be written (No space left on device): make room" in caplog.text
    assert "match_highlights.mp4" in extract.names()  # the other files are written
    assert not {"match_preview.mp4", "match_preview.mp4.part"} & set(extract.names())


def test_a_match_that_cannot_be_read_to_its_end_is_not_said_to_be_a_copy_that_cannot_be_written(extract, monkeypatch):
    match, demux = match_of(extract, "ts"), media.demux
    info = media.probe(match)

    def fail(*arguments):
        yield from itertools.islice(demux(*arguments), 20)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(media, "demux", fail)
    with pytest.raises(media.MediaError, match=r"match\.ts: cannot be read as a video \(Input/output error\)"):
        preview.write_preview(match, info, extract.folder / "match_preview.mp4")
    assert not list(extract.folder.glob("*preview*"))


def test_a_full_disk_is_not_said_to_be_a_match_that_cannot_be_read(extract):
    match = match_of(extract, "ts")
    (extract.folder / "match_preview.mp4.part").symlink_to("/dev/full")
    with pytest.raises(preview.PreviewError, match=r"preview\.mp4 cannot be written \(No space left on device\): make"):
        preview.write_preview(match, media.probe(match), extract.folder / "match_preview.mp4")


def test_matches_that_browsers_play_get_no_preview(extract, caplog):
    assert extract(extract.match(), "--preview") == 0
    assert (caplog.text, played(extract)) == ("", "../match.mp4")
    assert "match_preview.mp4" not in extract.names()


def test_where_no_copy_is_possible_the_page_refers_to_the_match(extract, caplog, capsys):
    match = match_of(extract, "avi", "-c:v", "mpeg4", "-c:a", "mp3")
    assert extract(match, "--preview") == 0
    assert f"{extract.out / 'match_preview.mp4'} is not written: browsers do not play mpeg4, which a" in caplog.text
    assert played(extract) == "../match.avi"
    capsys.readouterr()
    assert extract(match, "--preview") == 0
    assert capsys.readouterr().out == "match: finished already and kept\n"
    shutil.rmtree(extract.out)
