"""Every file that people have: codecs, layouts and damage, made from a sample match by FFmpeg, or by clips.py."""

import os
import pickle
import subprocess
import tempfile
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from clips import read_number, tone, write_clip

import data_converter
from videosummarizer import audio_track, media, nal_units, video_track
from videosummarizer.dataset import sampling
from videosummarizer.dataset.metadata import DataConfig

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "data" / "raw" / "base_01.mp4"
TIMES_SEC = np.arange(24) / 3


def encode(path, *options, seconds=8, source=SAMPLE):
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-t", str(seconds), "-i", str(source), *options]
    subprocess.run([*command, str(path)], check=True, capture_output=True)
    return path


def sample(path, times_sec=TIMES_SEC, **more):
    return np.stack(list(video_track.read_frames(path, media.probe(path), times_sec, 64, 48, **more)))


def num_left_out(path):
    """How many packets the rule leaves out when nothing is sampled."""
    with media.open_media(path) as container:
        stream = container.streams.video[0]
        rule = nal_units.disposable_test(stream)
        return sum(rule(packet) for packet in container.demux(stream) if packet.size)


X264 = {
    "no B-frames": "bframes=0",
    "no pyramid": "bframes=3:b-pyramid=none",
    "strict pyramid": "bframes=3:b-pyramid=strict",
    "pyramid": "bframes=5:b-pyramid=normal:b-adapt=0",
    "several slices": "bframes=3:slices=4",
    "open GOPs": "bframes=3:open-gop=1:keyint=40:min-keyint=20",
    "closed GOPs": "bframes=3:open-gop=0:keyint=40:min-keyint=20",
    "intra refresh": "bframes=2:intra-refresh=1:keyint=40",
    "interlaced": "bframes=3:interlaced=1",
    "weighted prediction": "bframes=3:weightb=1:weightp=2:ref=5",
}


@pytest.mark.parametrize("parameters", X264.values(), ids=X264.keys())
def test_leaving_out_h264_pictures_changes_no_sampled_pixel(tmp_path, monkeypatch, parameters):
    path = encode(tmp_path / "clip.mp4", "-c:v", "libx264", "-preset", "veryfast", "-x264-params", parameters, "-an")
    assert (num_left_out(path) > 20) == (parameters != "bframes=0")
    start_codes = encode(tmp_path / "clip.ts", "-c", "copy", source=path)
    assert (num_left_out(start_codes) > 20) == (parameters not in ("bframes=0", X264["interlaced"]))
    assert len(media.probe(start_codes).frame_times_sec) == len(media.probe(path).frame_times_sec) == 280
    received = sample(path), sample(start_codes)
    monkeypatch.setattr(video_track, "disposable_test", lambda stream: lambda packet: False)
    expected = sample(path)
    np.testing.assert_array_equal(received, [expected, expected])


X265 = {
    "plain": ("bframes=4", True),
    "no pyramid": ("bframes=3:b-pyramid=0", True),
    "open GOPs": ("bframes=4:open-gop=1:keyint=40:min-keyint=20", True),
    "temporal layers": ("bframes=4:temporal-layers=3", False),
}


@pytest.mark.parametrize(("parameters", "leaves_out"), X265.values(), ids=X265.keys())
def test_leaving_out_hevc_pictures_changes_no_sampled_pixel(tmp_path, monkeypatch, parameters, leaves_out):
    path = encode(tmp_path / "clip.mp4", "-c:v", "libx265", "-preset", "ultrafast", "-an",
                  "-x265-params", f"log-level=none:{parameters}")  # fmt: skip
    start_codes = encode(tmp_path / "clip.ts", "-c", "copy", source=path)
    assert (num_left_out(path) > 20) == (num_left_out(start_codes) > 20) == leaves_out
    assert len(media.probe(start_codes).frame_times_sec) == len(media.probe(path).frame_times_sec) == 280
    received = sample(path), sample(start_codes)
    monkeypatch.setattr(video_track, "disposable_test", lambda stream: lambda packet: False)
    expected = sample(path)
    np.testing.assert_array_equal(received, [expected, expected])


OTHER_CODECS = {
    "vp9": ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"],
    "av1": ["-c:v", "libsvtav1", "-preset", "13"],
    "mpeg4": ["-c:v", "mpeg4", "-bf", "2", "-q:v", "3"],
}


@pytest.mark.parametrize("options", OTHER_CODECS.values(), ids=OTHER_CODECS.keys())
def test_codecs_without_a_known_rule_are_decoded_in_full(tmp_path, options):
    path = encode(tmp_path / "clip.mp4", *options, "-an", seconds=4)
    assert num_left_out(path) == 0
    expected = sample(SAMPLE, TIMES_SEC[:12]).astype(int)
    assert np.abs(sample(path, TIMES_SEC[:12]) - expected).mean() < 8


@pytest.mark.parametrize("first", [0, 5, 11, 23])
@pytest.mark.parametrize("parameters", ["keyint=40:min-keyint=20", "open-gop=1:keyint=40:min-keyint=20", "keyint=9999"])
def test_frames_read_from_the_middle_equal_those_read_from_the_start(tmp_path, parameters, first):
    path = encode(tmp_path / "clip.mp4", "-c:v", "libx264", "-preset", "veryfast", "-x264-params", parameters, "-an")
    np.testing.assert_array_equal(sample(path, TIMES_SEC[first:]), sample(path)[first:])


def test_reading_from_the_middle_skips_what_lies_before(tmp_path, monkeypatch):
    path = encode(tmp_path / "clip.mp4", "-c:v", "libx264", "-x264-params", "keyint=35:min-keyint=35", "-an")
    seen = []
    original = media.decode
    monkeypatch.setattr(media, "decode", lambda packets, *more: original((seen.append(p) or p for p in packets), *more))
    sample(path, TIMES_SEC[18:])
    assert len(seen) < 120


VARIANTS = {
    "10 bit": ["-c:v", "libx264", "-pix_fmt", "yuv420p10le"],
    "4:4:4": ["-c:v", "libx264", "-pix_fmt", "yuv444p"],
    "odd size": ["-c:v", "libx264", "-vf", "scale=255:143", "-pix_fmt", "yuv444p"],
    "not square pixels": ["-c:v", "libx264", "-vf", "scale=128:144,setsar=2"],
    "interlaced": ["-c:v", "libx264", "-flags", "+ilme+ildct", "-x264-params", "tff=1"],
    "hevc 10 bit": ["-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-x265-params", "log-level=none"],
}


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS.keys())
def test_pictures_of_every_layout(tmp_path, options):
    path = encode(tmp_path / "clip.mp4", *options, "-preset", "ultrafast", "-an", seconds=3)
    expected = sample(SAMPLE, TIMES_SEC[:9]).astype(int)
    assert np.abs(sample(path, TIMES_SEC[:9]) - expected).mean() < 8


def test_edit_lists_hide_what_they_hide(tmp_path):
    # Stream copy from the middle of a GOP: the frames before the cut are in the file, but not shown.
    whole = write_clip(tmp_path / "whole.mp4", num_frames=150, options={"g": "150", "crf": "10"})
    cut = tmp_path / "cut.mp4"
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-ss", "2", "-i", whole, "-c", "copy", cut], check=True
    )
    info = media.probe(cut)
    assert info.duration_sec == pytest.approx(3, abs=1e-6)
    np.testing.assert_allclose(info.frame_times_sec, np.arange(90) / 30, atol=1e-6)
    numbers = [read_number(frame) for frame in video_track.read_frames(cut, info, np.arange(0, 90, 7) / 30, 40, 16)]
    assert numbers == list(range(60, 150, 7))


SOUNDS = {
    "mono": ["-ac", "1"],
    "5.1": ["-ac", "6"],
    "mp3": ["-c:a", "libmp3lame"],
    "opus": ["-c:a", "libopus"],
}


@pytest.mark.parametrize("options", SOUNDS.values(), ids=SOUNDS.keys())
def test_audio_of_every_layout(tmp_path, options):
    path = encode(tmp_path / "clip.mp4", "-c:v", "copy", *options, seconds=6)
    expected = np.concatenate(list(audio_track.read_audio(SAMPLE, media.probe(SAMPLE), 8000)))[8000:40000]
    heard = np.concatenate(list(audio_track.read_audio(path, media.probe(path), 8000)))[8000:40000]
    assert np.corrcoef(heard, expected)[0, 1] > 0.98


def test_of_several_audio_tracks_the_default_one_is_taken(tmp_path):
    low, high = (write_clip(tmp_path / f"{hz}.mp4", audio=tone(hz, 2)) for hz in (300, 2000))
    path = tmp_path / "both.mp4"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", low, "-i", high, "-map", "0:v", "-map", "0:a"]
    command += ["-map", "1:a", "-c", "copy", "-disposition:a:0", "0", "-disposition:a:1", "default", path]
    subprocess.run(command, check=True)
    heard = np.concatenate(list(audio_track.read_audio(path, media.probe(path), 8000)))[:16000]
    assert np.argmax(np.abs(np.fft.rfft(heard))) / 2 == pytest.approx(2000, abs=2)


SMALL = DataConfig(1, 2, 40, 16, 8000, False)


@pytest.mark.parametrize("audio_sec", [0.7, 2.2, 9.0])
def test_audio_that_stops_early_or_outlasts_the_video(tmp_path, audio_sec):
    path = write_clip(tmp_path / "clip.mp4", num_frames=105, audio=tone(440, audio_sec))
    received = list(sampling.read_segments(path, media.probe(path), SMALL))
    assert len(received) == 4
    audio = np.concatenate([audio for _, audio in received])
    end = round(min(audio_sec, 3.5) * 8000)
    assert np.abs(audio[end - 800 : end - 200]).max() > 0.5
    assert np.abs(audio[end + 400 :]).max(initial=0) < 0.01


def convert(folder, out, *more):
    arguments = [str(folder), "1", "2", "40", "16", "8000", "0", str(out), "--workers", "1", *more]
    return data_converter.main(arguments)


def test_a_video_shorter_than_one_segment(tmp_path):
    (tmp_path / "in").mkdir()
    write_clip(tmp_path / "in" / "short.mp4", num_frames=1, audio=tone(440, 0.1))
    (tmp_path / "in" / "short.txt").touch()
    assert convert(tmp_path / "in", tmp_path / "out") == 0
    segment = pickle.loads((tmp_path / "out" / "short" / "seg_00000_0.pkl").read_bytes())
    assert segment["video"].shape == (2, 16, 40, 3)
    assert not segment["video"][1].any()


def damage(path, first_fraction, last_fraction):
    content = bytearray(path.read_bytes())
    first, last = int(len(content) * first_fraction), int(len(content) * last_fraction)
    content[first:last] = np.random.default_rng(0).bytes(last - first)
    path.write_bytes(content)


def test_damaged_packets_are_decoded_around_and_reported(tmp_path, caplog):
    (tmp_path / "in").mkdir()
    path = encode(tmp_path / "in" / "match.mp4", "-c:v", "libx264", "-g", "35", "-an", "-movflags", "+faststart")
    (tmp_path / "in" / "match.txt").touch()
    expected = list(sampling.read_segments(path, media.probe(path), SMALL))
    damage(path, 0.49, 0.51)
    assert convert(tmp_path / "in", tmp_path / "out") == 0
    assert "match.mp4: damaged at " in caplog.text
    assert "the last undamaged frame is repeated there" in caplog.text
    for index in (0, 1, 6, 7):
        segment = pickle.loads((tmp_path / "out" / "match" / f"seg_{index:05d}_0.pkl").read_bytes())
        np.testing.assert_array_equal(segment["video"], expected[index][0])


def test_a_file_cut_short_is_converted_up_to_there_and_reported(tmp_path, caplog):
    (tmp_path / "in").mkdir()
    path = encode(tmp_path / "in" / "match.mp4", "-c:v", "libx264", "-an", "-movflags", "+faststart")
    (tmp_path / "in" / "match.txt").touch()
    os.truncate(path, int(path.stat().st_size * 0.6))
    assert convert(tmp_path / "in", tmp_path / "out") == 0
    assert "match.mp4: the video ends at " in caplog.text
    assert "s that the header states" in caplog.text


BAD_FILES = {
    "no index": lambda path: os.truncate(path, int(path.stat().st_size * 0.6)),
    "zero bytes": lambda path: os.truncate(path, 0),
    "text": lambda path: path.write_text("a text file named mp4\n" * 99),
    "folder": lambda path: (path.unlink(), path.mkdir()),
    "pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "list of another match": lambda path: path.write_text("ffconcat version 1.0\nfile good.mp4\n"),
}


@pytest.mark.parametrize("spoil", BAD_FILES.values(), ids=BAD_FILES.keys())
def test_files_that_cannot_be_read_cost_only_themselves(tmp_path, caplog, spoil):
    (tmp_path / "in").mkdir()
    for title in ("bad", "good"):
        write_clip(tmp_path / "in" / f"{title}.mp4", num_frames=30, audio=tone(440, 1))
        (tmp_path / "in" / f"{title}.txt").touch()
    spoil(tmp_path / "in" / "bad.mp4")
    assert convert(tmp_path / "in", tmp_path / "out") == 1
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "bad.mp4: cannot be read as a video (" in errors[0]
    assert "\n" not in errors[0]
    assert (tmp_path / "out" / "good").is_dir()
    assert not (tmp_path / "out" / "bad").exists()


@pytest.fixture
def unprivileged(monkeypatch):
    """The tests may run as root, whom permissions do not bind: be somebody else for a while."""
    monkeypatch.setattr(data_converter.importlib.metadata, "version", lambda name: "0")  # may lie in root's home
    if os.geteuid() == 0:
        os.seteuid(65534)
    yield
    os.seteuid(os.getuid())


@pytest.fixture
def open_tmp_path():
    """A temporary folder that every user may enter and write to."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o777)
        yield Path(name)


def test_a_video_without_read_permission(open_tmp_path, caplog, request):
    (open_tmp_path / "in").mkdir()
    path = write_clip(open_tmp_path / "in" / "secret.mp4", num_frames=30)
    (open_tmp_path / "in" / "secret.txt").touch()
    path.chmod(0)
    request.getfixturevalue("unprivileged")
    assert convert(open_tmp_path / "in", open_tmp_path / "out") == 1
    assert "secret.mp4: cannot be read as a video (Permission denied)" in caplog.text


def test_an_output_folder_that_cannot_be_written(open_tmp_path, caplog, request):
    (open_tmp_path / "in").mkdir()
    write_clip(open_tmp_path / "in" / "match.mp4", num_frames=30)
    (open_tmp_path / "in" / "match.txt").touch()
    (open_tmp_path / "locked").mkdir()
    (open_tmp_path / "locked").chmod(0o555)
    request.getfixturevalue("unprivileged")
    assert convert(open_tmp_path / "in", open_tmp_path / "locked" / "out") == 1
    message = f"{open_tmp_path / 'locked'}: no files can be written into this folder (Permission denied): correct its"
    assert message in caplog.text


TITLES = ["결승전 1세트", "a b", "it's", 'say "x"', "#1", "100%", "🏆", "-dash", "x" * 200, "v1.0", "[1]", "a\\b"]


def test_titles_of_every_kind(tmp_path):
    (tmp_path / "in").mkdir()
    clip = write_clip(tmp_path / "clip.mp4", num_frames=30, audio=tone(440, 1))
    for title in TITLES:
        (tmp_path / "in" / f"{title}.mp4").write_bytes(clip.read_bytes())
        (tmp_path / "in" / f"{title}.txt").write_text("0,30\n")
    assert convert(tmp_path / "in", tmp_path / "out") == 0
    for title in TITLES:
        segment = pickle.loads((tmp_path / "out" / title / "seg_00000_1.pkl").read_bytes())
        assert segment["title"] == title
        assert [read_number(frame) for frame in segment["video"]] == [0, 15]
    assert convert(tmp_path / "in", tmp_path / "out") == 0
