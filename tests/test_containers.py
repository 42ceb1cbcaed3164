"""Frames, labels, audio and reels of the same clip in every container, with the codecs that it usually carries."""

import re

import av
import numpy as np
import pytest
from clips import ffmpeg, read_number, tone, write_clip

from videosummarizer import audio_track, media, problems, video_track
from videosummarizer.dataset import sampling
from videosummarizer.dataset.metadata import DataConfig
from videosummarizer.extraction import reel
from videosummarizer.labelling.label_report import label_text
from videosummarizer.labels import read_label_file, resolve_sections

NUM_FRAMES = 90
# The tone is heard from this frame on.
FIRST_LOUD_FRAME = 45
COPY = ("-c", "copy")
ANNEX_B = (*COPY, "-bsf:v", "h264_mp4toannexb")
HEVC = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none:bframes=3:keyint=30", "-c:a", "copy")
# How far audio and video may be apart in seconds: avi files lack the timestamps that hide the delays of encoders.
EXACT, COARSE = 0.004, 0.08
CONTAINERS = {
    "mp4": ("mp4", COPY, EXACT),
    "m4v": ("m4v", COPY, EXACT),
    "mov": ("mov", COPY, EXACT),
    "mkv": ("mkv", COPY, EXACT),
    "mkv of a live recording": ("mkv", (*COPY, "-live", "1"), EXACT),
    "mkv hevc": ("mkv", HEVC, EXACT),
    "webm vp9": ("webm", ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-crf", "10", "-c:a", "libopus"), EXACT),
    "ts": ("ts", COPY, EXACT),
    "ts hevc": ("ts", HEVC, EXACT),
    "ts mpeg2": ("ts", ("-c:v", "mpeg2video", "-bf", "2", "-q:v", "2", "-c:a", "mp2"), EXACT),
    "ts whose clock wraps": ("ts", (*COPY, "-output_ts_offset", "95442"), EXACT),
    "mts": ("mts", (*COPY, "-f", "mpegts"), EXACT),
    "flv": ("flv", COPY, EXACT),
    "avi h264": ("avi", ANNEX_B, COARSE),
    "avi mpeg4": ("avi", ("-c:v", "mpeg4", "-bf", "2", "-q:v", "2", "-c:a", "mp3"), COARSE),
    "avi mjpeg": ("avi", ("-c:v", "mjpeg", "-q:v", "2", "-c:a", "pcm_s16le"), COARSE),
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Write three seconds of numbered frames in H.264 with B-frames; in their second half a tone is heard."""
    audio = np.concatenate([np.zeros(66150, np.float32), tone(440, 1.5)])
    options = {"crf": "10", "x264-params": "keyint=30:bframes=3:b-adapt=0"}
    folder = tmp_path_factory.mktemp("clip")
    write_clip(folder / "first.mp4", NUM_FRAMES, audio=audio, options=options)
    ffmpeg("-i", folder / "first.mp4", *COPY, "-video_track_timescale", "30", folder / "clip.mp4")
    return folder / "clip.mp4"


def find_onset_sec(path, info):
    """Return when the tone begins."""
    audio = np.abs(np.concatenate(list(audio_track.read_audio(path, info, 8000))))
    return int(np.argmax(audio > 0.1)) / 8000


@pytest.mark.parametrize(("suffix", "options", "max_offset_sec"), CONTAINERS.values(), ids=CONTAINERS)
def test_frames_labels_audio_and_cuts_are_exact_in_every_container(tmp_path, clip, suffix, options, max_offset_sec):
    path = tmp_path / f"match.{suffix}"
    ffmpeg("-i", clip, *options, path)
    info = media.probe(path)
    first_sec = info.frame_times_sec[0]
    np.testing.assert_allclose(info.frame_edges_sec, first_sec + np.arange(NUM_FRAMES + 1) / 30, atol=0.0011)
    assert abs(first_sec) < 0.034
    config = DataConfig(1, 6, 40, 16, 8000, False)
    segments = [frames for frames, _ in sampling.read_segments(path, info, config)]
    numbers = [read_number(frame) for frame in np.concatenate(segments)[: 3 * 6]]
    assert numbers == [max(0, int((i / 6 - first_sec) * 30 + 0.05)) for i in range(18)]
    (tmp_path / "match.txt").write_text("20,30\n50,55\n")
    rows = read_label_file(tmp_path / "match.txt")
    sections_sec, warnings = resolve_sections(path, rows, info.frame_times_sec, info.duration_sec)
    assert warnings == []
    labels = [line.split(",")[:2] for line in label_text(sections_sec, info.frame_edges_sec).splitlines()]
    assert labels == [["20", "30"], ["50", "55"]]
    onset_sec = find_onset_sec(path, info) - info.frame_times_sec[FIRST_LOUD_FRAME]
    assert abs(onset_sec) < max_offset_sec
    reel.render_reel(path, info, np.array([[20, 30], [40, 55], [57, 58]]), tmp_path / "reel.mp4")
    made = media.probe(tmp_path / "reel.mp4")
    frames = video_track.read_frames(tmp_path / "reel.mp4", made, made.frame_times_sec + 0.001, 40, 16)
    assert [read_number(frame) for frame in frames] == [*range(20, 30), *range(40, 55), 57]
    reel_onset_sec = find_onset_sec(tmp_path / "reel.mp4", made) - made.frame_times_sec[10 + FIRST_LOUD_FRAME - 40]
    assert reel_onset_sec == pytest.approx(onset_sec, abs=0.004)


@pytest.mark.parametrize("audio", ["copy", "libmp3lame", "pcm_s16le"])
@pytest.mark.parametrize("num_b_frames", [0, 3])
def test_an_avi_with_b_frames_is_said_to_be_up_to_a_tenth_of_a_second_out_of_sync(tmp_path, clip, audio, num_b_frames):
    path = tmp_path / "match.avi"
    params = f"keyint=30:b-adapt=0:bframes={num_b_frames}"
    ffmpeg("-i", clip, "-c:v", "libx264", "-crf", "10", "-x264-params", params, "-c:a", audio, path)
    info = media.probe(path)
    assert read_all_numbers(path, info) == list(range(NUM_FRAMES))
    offset_sec = find_onset_sec(path, info) - info.frame_times_sec[FIRST_LOUD_FRAME]
    assert abs(offset_sec) < (0.1 if num_b_frames else 0.02)
    warnings = problems.describe_file(path, info)
    if num_b_frames:
        (warning,) = warnings
        assert warning.startswith(f"{path}: an avi file does not store when frames of h264 with B-frames are displayed")
    else:
        assert warnings == []


def read_all_numbers(path, info):
    return [read_number(frame) for frame in video_track.read_frames(path, info, info.frame_times_sec + 0.001, 40, 16)]


def test_frames_of_an_avi_are_in_order_again_from_the_first_idr_picture_after_damage_on(tmp_path, clip):
    path = tmp_path / "match.avi"
    ffmpeg("-i", clip, *ANNEX_B, path)
    with media.open_media(path) as container:
        packets = [packet for packet in container.demux(container.streams.video[0]) if packet.size]
        damaged = packets[33]
        idr_numbers = [index for index, packet in enumerate(packets) if packet.is_keyframe]
    content = bytearray(path.read_bytes())
    content[damaged.pos + 8 : damaged.pos + 8 + damaged.size] = bytes(damaged.size)
    path.write_bytes(content)
    info, (*_, last_idr) = media.probe(path), idr_numbers
    assert 33 < last_idr < NUM_FRAMES
    damaged_sec = set()
    frames = video_track.read_frames(path, info, info.frame_times_sec + 0.001, 40, 16, damaged_sec=damaged_sec)
    numbers = [read_number(frame) for frame in frames]
    assert damaged_sec == {1}
    assert numbers[last_idr:] == list(range(last_idr, NUM_FRAMES))
    assert numbers != list(range(NUM_FRAMES))


def test_the_index_of_an_avi_is_not_taken_for_bytes_that_are_not_read(tmp_path, clip):
    path = tmp_path / "clip.avi"
    ffmpeg("-i", clip, "-c:v", "mpeg4", "-q:v", "31", "-bf", "2", "-an", "-t", "4", path)
    data = path.read_bytes()
    index = data.rindex(b"idx1")
    entries = data[index + 8 :] * (200_000 // len(data[index + 8 :]))
    path.write_bytes(data[:index] + b"idx1" + len(entries).to_bytes(4, "little") + entries)
    info = media.probe(path)
    assert info.num_bytes - 200_000 < index + 8
    assert problems.describe_file(path, info) == []
    path.write_bytes(path.read_bytes() + data[:1] * 300_000)
    (problem,) = problems.describe_file(path, media.probe(path))
    assert "nothing is read from the last" in problem


def test_an_avi_without_an_index_whose_packets_all_pass_for_keyframes(tmp_path, clip):
    ffmpeg("-i", clip, "-c:v", "msmpeg4", "-q:v", "2", "-g", "30", "-an", tmp_path / "whole.avi")
    content = (tmp_path / "whole.avi").read_bytes()
    path = tmp_path / "match.avi"
    path.write_bytes(content[: content.rindex(b"idx1")])
    info = media.probe(path)
    assert read_all_numbers(path, info) == list(range(NUM_FRAMES))
    reel.render_reel(path, info, np.array([[20, 30], [50, 55]]), tmp_path / "reel.mp4")
    made = tmp_path / "reel.mp4"
    assert read_all_numbers(made, media.probe(made)) == [*range(20, 30), *range(50, 55)]


def write_packed(path, clip):
    """Write an avi as DivX and Xvid do: a packet holds a B-frame and the one before it in the stream, the next none."""
    ffmpeg(
        "-i",
        clip,
        *["-an", "-c:v", "mpeg4", "-bf", "1", "-b_strategy", "0", "-q:v", "2", "-g", "24"],
        path.with_name("plain.avi"),
    )
    with av.open(str(path.with_name("plain.avi"))) as source, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0], opaque=True)
        packets = [bytes(packet) for packet in source.demux(video=0) if packet.size]
        types = ["IPB"[packet[packet.index(b"\0\0\1\xb6") + 4] >> 6] for packet in packets]
        contents = []
        for number, (packet, kind) in enumerate(zip(packets, types, strict=True)):
            if types[number + 1 : number + 2] == ["B"]:
                contents += [packet + packets[number + 1], b"\0\0\1\xb6\x50\x57"]  # a P-frame that is not coded
            elif kind != "B":
                contents.append(packet)
        for number, content in enumerate(contents):
            packet = av.Packet(content)
            packet.stream, packet.time_base = stream, source.streams.video[0].time_base
            packet.pts = packet.dts = number
            output.mux(packet)
    content = path.read_bytes()
    name = re.search(rb"Lavc[\d.]{8}", content)[0]
    path.write_bytes(content.replace(name, b"DivX503b139p"))


def test_frames_of_a_packed_avi_are_in_the_order_of_display(tmp_path, clip):
    path = tmp_path / "match.avi"
    write_packed(path, clip)
    info = media.probe(path)
    assert read_all_numbers(path, info) == list(range(NUM_FRAMES))
    reel.render_reel(path, info, np.array([[20, 30], [50, 55]]), tmp_path / "reel.mp4")
    made = tmp_path / "reel.mp4"
    assert read_all_numbers(made, media.probe(made)) == [*range(20, 30), *range(50, 55)]
