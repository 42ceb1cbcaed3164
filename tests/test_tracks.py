"""Which tracks are read: by tags in any encoding, flags, decoders and emptiness; the same in every stage."""

from types import SimpleNamespace

import av
import numpy as np
import pytest
from clips import HEIGHT_PX, WIDTH_PX, draw_number, ffmpeg, read_number, tone, write_clip

import label_finder
from videosummarizer import audio_track, media, problems, tracks, video_track
from videosummarizer.dataset import input_check, sampling
from videosummarizer.dataset.metadata import DataConfig
from videosummarizer.extraction import reel
from videosummarizer.extraction.exports.fcpxml import write_fcpxml
from videosummarizer.extraction.exports.timeline import Timeline, describe_match

CONFIG = DataConfig(1, 2, 8, 8, 8000, False)


def pitch_hz(samples, sample_rate_hz=8000):
    """The strongest frequency, 0 in silence."""
    spectrum = np.abs(np.fft.rfft(samples))
    return float(np.argmax(spectrum)) * sample_rate_hz / len(samples) if spectrum.max() > 1 else 0.0


def pitches_everywhere(path, tmp_path):
    """Return the pitches that a dataset, the label finder and a reel read, 0 without audio."""
    info = media.probe(path)
    (segment, *_) = (audio for _, audio in sampling.read_segments(path, info, CONFIG))
    pitches = [pitch_hz(segment)]
    if info.audio:
        pitches.append(pitch_hz(np.concatenate(list(audio_track.read_audio(path, info, 8000)))))
    reel.render_reel(path, info, np.array([[15, 45]]), tmp_path / "reel.mp4")
    made = media.probe(tmp_path / "reel.mp4")
    assert bool(made.audio) == bool(info.audio)
    if made.audio:
        pitches.append(pitch_hz(np.concatenate(list(audio_track.read_audio(tmp_path / "reel.mp4", made, 8000)))))
    return pitches


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Two seconds of numbered frames with a tone of 440 Hz."""
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", audio=tone(440, 2))


@pytest.fixture(scope="module")
def two_tones(clip):
    """The clip with two audio tracks: 440 Hz in mono, and 1500 Hz in stereo with a higher bit rate."""
    path = clip.with_name("two.mkv")
    second = ("-f", "lavfi", "-t", "2", "-i", "sine=1500:sample_rate=44100", "-map", "0", "-map", "1:a")
    ffmpeg("-i", str(clip), *second, "-c:v", "copy", "-c:a:0", "copy", "-c:a:1", "pcm_f32le", "-ac:a:1", "2", str(path))
    return path


@pytest.mark.parametrize(
    ("flags", "expected_hz", "num_channels"),
    [(("default", "default"), 440, 1), (("0", "default"), 1500, 2), (("0", "0"), 440, 1), (("default", "0"), 440, 1)],
)
def test_the_first_default_audio_track_is_read_in_every_stage(tmp_path, two_tones, flags, expected_hz, num_channels):
    path = tmp_path / "match.mkv"
    dispositions = [part for index, flag in enumerate(flags) for part in (f"-disposition:a:{index}", flag)]
    ffmpeg("-i", str(two_tones), "-map", "0", "-c", "copy", *dispositions, str(path))
    info = media.probe(path)
    pitches = pitches_everywhere(path, tmp_path)
    assert len(pitches) == 3
    assert pitches == pytest.approx([expected_hz] * 3, rel=0.1)
    reference, _ = describe_match(path, info, np.array([[0, 30]]), np.array([0.5]))
    assert reference.num_channels == num_channels
    assert info.track_problems == ()


def overwrite_track(path, number, is_noise):
    """Overwrite the packets of an audio track with noise where is_noise(index of the packet) says so."""
    content, rng = bytearray(path.read_bytes()), np.random.default_rng(0)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(container.streams.audio[number]) if packet.size]
        for index, packet in enumerate(packets):
            if is_noise(index):
                content[packet.pos : packet.pos + packet.size] = rng.bytes(packet.size)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("noisy_tracks", "intact_packets", "expected_hz", "absent"),
    [
        ([0], range(3), 1500, ["audio track 1 (aac) is damaged nearly everywhere: it counts as absent"]),
        ([0], range(30, 60), 440, []),  # of 87
        ([0, 1], range(40, 50), 440, []),  # no track is better
    ],
)
def test_a_track_of_which_hardly_any_packet_decodes_counts_as_absent(
    tmp_path, two_tones, noisy_tracks, intact_packets, expected_hz, absent
):
    path = tmp_path / "match.mp4"
    ffmpeg("-i", str(two_tones), "-map", "0", "-c:v", "copy", "-c:a", "aac", "-disposition:a", "default", str(path))
    for number in noisy_tracks:
        overwrite_track(path, number, lambda index: index not in intact_packets)
    info = media.probe(path)
    assert list(info.track_problems) == absent
    audio = np.concatenate(list(audio_track.read_audio(path, info, 8000)))
    first = round(intact_packets[0] * 0.02322 * 8000) + 400 if not absent else 0
    assert pitch_hz(audio[first : first + 1200]) == pytest.approx(expected_hz, rel=0.1)


def test_a_track_that_is_damaged_only_at_its_beginning_is_read(tmp_path, two_tones):
    path = tmp_path / "match.mp4"
    loop = ("-stream_loop", "9", "-i", str(two_tones), "-map", "0:a:0", "-map", "0:a:1", "-map", "0:v")
    ffmpeg(*loop, "-c:v", "copy", "-c:a", "aac", str(path))
    overwrite_track(path, 0, lambda index: index < 300)  # of 860
    assert media.probe(path).track_problems == ()


@pytest.mark.parametrize(("code", "name"), [(b"mhm1", "mpegh_3d_audio"), (b"ac-4", "ac4"), (b"apac", "apac")])
def test_audio_without_a_decoder_counts_as_absent_and_is_named(tmp_path, clip, code, name):
    content = clip.read_bytes()
    entry = content.index(b"mp4a", content.index(b"stsd", content.index(b"smhd")))
    header = content.index(b"esds", entry)
    path = tmp_path / "match.mp4"
    path.write_bytes(content[:entry] + code + content[entry + 4 : header] + b"free" + content[header + 4 :])
    info = media.probe(path)
    assert problems.describe_problems(path, info, set()) == [
        f"{path}: audio track 1 ({name}) has no decoder in FFmpeg: it counts as absent",
        f"{path}: the video has no audio track: converted with silence",
    ]
    assert pitches_everywhere(path, tmp_path) == [0]
    if code == b"mhm1":  # FFmpeg does not copy the others into mp4
        both, tags = tmp_path / "both.mp4", ("-tag:a:0", code.decode(), "-tag:a:1", "mp4a")
        ffmpeg("-i", str(path), "-i", str(clip), "-map", "0", "-map", "1:a", "-c", "copy", "-strict", "-2", *tags, both)
        assert media.probe(both).track_problems == tuple(media.probe(path).track_problems)
        assert pitches_everywhere(both, tmp_path) == pytest.approx([440] * 3, rel=0.1)


def test_a_video_without_a_decoder_is_an_error_that_names_its_codec(tmp_path, clip):
    content = clip.read_bytes()
    path = tmp_path / "match.mp4"
    for code, name in ((b"zzzz", "zzzz"), (b"vvc9", "vvc9")):
        path.write_bytes(content.replace(b"avc1", code).replace(b"avcC", b"free"))
        with pytest.raises(media.MediaError) as raised:
            media.probe(path)
        assert str(raised.value) == (
            f"{path}: received a video whose codec ({name}) FFmpeg cannot decode, expected one that it can"
        )


def write_with_empty_audio(path, then=None):
    """Write ten frames, an audio track without packets, and another one with the audio that is given."""
    fragments = {"movflags": "+empty_moov+frag_keyframe"}  # otherwise an mp4 does not declare an empty track
    with av.open(str(path), "w", options=fragments if path.suffix == ".mp4" else {}) as container:
        video = container.add_stream("libx264", rate=30)
        video.width, video.height, video.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        audio = [container.add_stream("aac", rate=8000, layout="mono") for _ in range(1 if then is None else 2)]
        for number in range(60):
            container.mux(video.encode(av.VideoFrame.from_ndarray(draw_number(number), format="rgb24")))
        container.mux(video.encode(None))
        if then is not None:
            block = av.AudioFrame.from_ndarray(then[np.newaxis], "fltp", "mono")
            block.sample_rate = 8000
            container.mux(audio[1].encode(block))
            container.mux(audio[1].encode(None))
    return path


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_an_audio_track_without_packets_is_no_audio(tmp_path, suffix):
    path = write_with_empty_audio(tmp_path / f"match.{suffix}")
    info = media.probe(path)
    assert info.audio is None
    messages = problems.describe_problems(path, info, set())
    assert messages[-1] == f"{path}: the video has no audio track: converted with silence"
    assert messages[:-1] in ([], [f"{path}: audio track 1 (aac) is empty: it counts as absent"])  # .ts declares none
    assert pitches_everywhere(path, tmp_path) == [0]


def test_the_next_track_is_read_where_the_first_is_empty(tmp_path):
    path = write_with_empty_audio(tmp_path / "match.mp4", tone(440, 2, 8000))
    assert media.probe(path).track_problems == ("audio track 1 (aac) is empty: it counts as absent",)
    assert pitches_everywhere(path, tmp_path) == pytest.approx([440] * 3, rel=0.1)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "mov"])
@pytest.mark.parametrize("encoding", ["euc-kr", "cp1251"])
def test_tags_in_any_encoding_do_not_matter(tmp_path, clip, suffix, encoding):
    title = {"euc-kr": "결승전", "cp1251": "Финал"}[encoding].encode(encoding)
    (tmp_path / "tags.txt").write_bytes(
        b";FFMETADATA1\ntitle=%b\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=900\ntitle=%b\n" % (title, title)
    )
    path = tmp_path / f"match.{suffix}"
    tags = [
        part
        for name in (b"handler_name=", b"title=")
        for kind in "va"
        for part in (f"-metadata:s:{kind}", name + title)
    ]
    ffmpeg("-i", str(clip), "-i", str(tmp_path / "tags.txt"), "-map_metadata", "1", "-map_chapters", "1", "-map", "0",
           *tags, "-metadata", b"service_name=" + title, "-c", "copy", str(path))  # fmt: skip
    assert title in path.read_bytes()
    assert media.probe_duration_sec(path) == pytest.approx(2, abs=0.1)
    assert pitches_everywhere(path, tmp_path) == pytest.approx([440] * 3, rel=0.1)
    info = media.probe(path)
    describe_match(path, info, np.array([[0, 30]]), np.array([0.5]))


@pytest.mark.parametrize("place", ["mp4", "unmarked", "mkv"])
def test_a_cover_is_not_the_video(tmp_path, clip, place):
    ffmpeg("-f", "lavfi", "-i", "color=red:s=1280x720", "-frames:v", "1", str(tmp_path / "cover.jpg"))
    cover, path = str(tmp_path / "cover.jpg"), str(tmp_path / f"match.{'mkv' if place == 'mkv' else 'mp4'}")
    if place == "mkv":
        ffmpeg("-i", str(clip), "-attach", cover, "-metadata:s:t", "mimetype=image/jpeg", "-c", "copy", path)
    else:
        flags = ("-disposition:v:0", "attached_pic" if place == "mp4" else "default", "-disposition:v:1", "0")
        ffmpeg("-i", cover, "-i", str(clip), "-map", "0", "-map", "1", "-c", "copy", *flags, path)
    info = media.probe(path)
    assert (info.width_px, info.height_px) == (WIDTH_PX, HEIGHT_PX)
    frames = video_track.read_frames(path, info, np.array([0.0, 1.0]), 40, 16)
    assert [read_number(frame) for frame in frames] == [0, 30]
    reel.render_reel(path, info, np.array([[15, 45]]), tmp_path / "reel.mp4")
    frames = video_track.read_frames(tmp_path / "reel.mp4", media.probe(tmp_path / "reel.mp4"), np.array([0.0]), 40, 16)
    assert read_number(next(frames)) == 15
    only = tmp_path / "only.mp4"
    ffmpeg("-i", str(tmp_path / "cover.jpg"), "-i", str(clip), "-map", "0", "-map", "1:a", "-c", "copy",
           "-disposition:v:0", "attached_pic", str(only))  # fmt: skip
    with pytest.raises(media.MediaError, match="received a file without a video stream, expected one"):
        media.probe(only)


@pytest.fixture(scope="module")
def uneven_clip(clip):
    """The clip with a red box in one corner, so that mirrored and turned frames all differ."""
    path = clip.with_name("uneven.mp4")
    ffmpeg("-i", str(clip), "-vf", "drawbox=w=70:h=20:color=red:t=fill", "-c:a", "copy", "-crf", "10", str(path))
    return path


@pytest.mark.parametrize("degrees", ["90", "180", "270"])
@pytest.mark.parametrize("flips", [(), ("-display_hflip",), ("-display_vflip",)])
def test_the_size_and_the_pixels_are_as_displayed_everywhere(tmp_path, uneven_clip, degrees, flips):
    path = tmp_path / "match.mp4"
    ffmpeg("-display_rotation", degrees, *flips, "-i", str(uneven_clip), "-c", "copy", str(path))
    info = media.probe(path)
    size_px = (WIDTH_PX, HEIGHT_PX) if degrees == "180" else (HEIGHT_PX, WIDTH_PX)
    assert (info.width_px, info.height_px) == size_px
    ffmpeg("-ss", "0.5", "-i", str(path), "-frames:v", "1", str(tmp_path / "shown.png"))  # FFmpeg turns by itself
    with av.open(str(tmp_path / "shown.png")) as picture:
        shown = next(picture.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    (frame,) = video_track.read_frames(path, info, np.array([0.5]), *size_px)
    assert np.abs(frame - shown).mean() < 1
    reel.render_reel(path, info, np.array([[15, 16]]), tmp_path / "reel.mp4")
    made = media.probe(tmp_path / "reel.mp4")
    assert (made.width_px, made.height_px) == size_px
    (frame,) = video_track.read_frames(tmp_path / "reel.mp4", made, np.array([0.0]), *size_px)
    assert np.abs(frame - shown).mean() < 3
    reference, clips = describe_match(path, info, np.array([[0, 30]]), np.array([0.5]))
    text = write_fcpxml(Timeline("a", reference, clips), tmp_path).decode()
    assert f'width="{size_px[0]}" height="{size_px[1]}"' in text
    assert f"{size_px[0]}x{size_px[1]}" in input_check.check_match("match", path, None, False).cells


def test_streams_that_appear_on_the_way_do_not_end_a_file_with_an_error():
    class Container:
        """Ends as PyAV's does: with IndexError after the last packet."""

        def demux(self, *streams):
            yield from streams
            raise IndexError("list index out of range")

    tracks = [SimpleNamespace(type="audio") for _ in range(2)]
    assert list(media.demux(Container(), *tracks)) == tracks


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("  Stream #0:1[0x2](und): Audio: ac4 (ac-4 / 0x342D6361), 44100 Hz", "ac4"),
        ("  Stream #0:1[0x2](und): Audio: none (apac / 0x63617061), 44100 Hz", "apac"),
        ("  Stream #0:1[0x101]: Audio: none ([6][0][0][0] / 0x0006), 44100 Hz", "[6][0][0][0]"),
        ("  Stream #0:1: Audio: none (default)", "unknown"),
        ("  Stream #0:11: Audio: ac4 (ac-4 / 0x342D6361), 44100 Hz", "unknown"),
    ],
)
def test_a_codec_without_a_decoder_is_named_by_ffmpegs_description(line, name):
    class Stream:
        index, codec_context = 1, None

        class container:
            dumps_format = staticmethod(lambda: f"Input #0\n  Stream #0:0: Video: h264\n{line}\n")

    assert tracks.codec_name(Stream) == name


def test_the_label_finder_names_tracks_that_it_cannot_hear(tmp_path, clip, monkeypatch):
    heard = []
    monkeypatch.setattr(label_finder, "find_shots", lambda *videos: heard.append(videos[1].audio_indices) or [])
    silent = write_with_empty_audio(tmp_path / "match.mp4")
    result = label_finder.find_labels("match", silent, clip, tmp_path, 0.5)
    assert f"{silent}: audio track 1 (aac) is empty: it counts as absent" in result.warnings
    assert label_finder.find_labels("match", clip, clip, tmp_path, 0.5).warnings == []
    both = tmp_path / "both.mkv"
    ffmpeg("-i", str(clip), "-i", str(clip), "-map", "0", "-map", "1:a", "-c", "copy", str(both))
    for track in (2, "mix", None):
        assert label_finder.find_labels("match", both, clip, tmp_path, 0.5, track).warnings == []
    assert heard[2:] == [(2,), (1, 2), (1,)]
