"""Packets that a recording lost, or that an unfinished download left as zeros: named by their seconds, silent there."""

import types
from pathlib import Path

import av
import numpy as np
import pytest
from clips import ffmpeg, tone, write_av1_clip, write_clip

import label_finder
from videosummarizer import audio_track, media, problems, timestamps
from videosummarizer.dataset import conversion, input_check
from videosummarizer.dataset.metadata import DataConfig

CONFIG = DataConfig(1, 2, 8, 8, 8000, False)
MISSING = "the audio is missing at {} s: it is silent there"
DAMAGED = "the audio is damaged at {} s: it is silent there"
RAW = Path(__file__).resolve().parent.parent / "data" / "raw"
# Suffix and encoder of intact files of different codecs and containers.
FORMATS = {
    ".aac.mp4": "copy",
    ".aac.mkv": "copy",
    ".aac.ts": "copy",
    ".mp3.mkv": "libmp3lame",
    ".opus.mp4": "libopus",
    ".vorbis.mkv": "libvorbis",
    ".flac.mkv": "flac",
    ".wma.mkv": "wmav2",
    ".pcm.mkv": "pcm_s16le",
    ".adpcm.mkv": "adpcm_ima_wav",
    ".flac.flv": "flac",
}


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    """Return intact matches of 5 s by suffix."""
    folder = tmp_path_factory.mktemp("intact")
    clip = write_clip(folder / "clip.mp4", num_frames=150, audio=tone(440, 5))
    for suffix, encoder in FORMATS.items():
        ffmpeg("-i", clip, "-c:v", "copy", "-c:a", encoder, folder / f"match{suffix}")
    return {suffix: folder / f"match{suffix}" for suffix in FORMATS}


def zero_packets(path, kind, first_sec, end_sec):
    """Overwrite the packets of one stream between two times with zeros."""
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        for packet in container.demux(container.streams.best(kind)):
            if packet.size and first_sec <= float(packet.pts * packet.time_base) < end_sec:
                position = content.index(bytes(packet), packet.pos)
                content[position : position + packet.size] = bytes(packet.size)
    return content


def lose_packets(path, lost, is_lost):
    """Copy a file without some of its audio packets."""
    with av.open(str(path)) as source, av.open(str(lost), "w") as copy:
        streams = {stream.index: copy.add_stream_from_template(stream) for stream in source.streams}
        start_sec = source.start_time / av.time_base
        for packet in source.demux():
            time_sec = float((packet.pts or 0) * packet.time_base) - start_sec
            if packet.dts is None or (packet.stream.type == "audio" and is_lost(time_sec)):
                continue
            packet.stream = streams[packet.stream.index]
            copy.mux(packet)
    return lost


def warnings_of(path, tmp_path):
    """Return the warnings of the check with decoding, after comparing them with those of the conversion."""
    match = path.rename(tmp_path / "match.mp4")
    match.with_suffix(".txt").touch()
    warnings = input_check.check_match("match", match, match.with_suffix(".txt"), True).warnings
    (tmp_path / "dataset").mkdir()
    result = conversion.convert_match(match, CONFIG, tmp_path / "dataset", 1)
    assert (result.error, result.warnings) == (None, warnings)
    return [warning.removeprefix(f"{match}: ") for warning in warnings]


def levels(path):
    """Return the largest absolute value of the middle of each second."""
    audio = np.abs(np.concatenate(list(audio_track.read_audio(path, media.probe(path), 8000))))
    return [audio[8000 * second + 1500 : 8000 * second + 6500].max() for second in range(5)]


@pytest.mark.parametrize("suffix", FORMATS)
def test_intact_audio_is_not_missing(intact, suffix):
    path = intact[suffix]
    info = media.probe(path)
    assert problems.describe_problems(path, info, set(), audio_track.find_damage(path, info).seconds(5)) == []


def test_the_audio_of_the_sample_matches_is_not_missing():
    matches = sorted(RAW.glob("*.mp4"))
    assert len(matches) == 14
    assert [path.stem for path in matches if media.probe(path).missing_audio_sec] == []


@pytest.mark.parametrize("suffix", [".aac.mp4", ".mp3.mkv", ".opus.mp4", ".vorbis.mkv", ".flac.mkv", ".wma.mkv"])
def test_packets_of_zeros_are_damage_or_missing_in_every_codec(intact, tmp_path, suffix):
    path = tmp_path / f"zeroed{suffix}"
    path.write_bytes(zero_packets(intact[suffix], "audio", 2, 3))
    is_silent = np.array(levels(path)) < 0.01
    assert is_silent.tolist() == [False, False, True, False, False]
    (warning,) = warnings_of(path, tmp_path)
    assert warning in (DAMAGED.format(2), MISSING.format(2))


@pytest.mark.parametrize("suffix", [".pcm.mkv", ".adpcm.mkv"])
def test_zeros_of_uncompressed_audio_are_silence(intact, tmp_path, suffix):
    path = tmp_path / f"silent{suffix}"
    path.write_bytes(zero_packets(intact[suffix], "audio", 2, 3))
    assert warnings_of(path, tmp_path) == []


def test_a_short_packet_of_zeros_is_silence_in_vorbis(tmp_path):
    clip, path = write_clip(tmp_path / "clip.mp4", num_frames=30), tmp_path / "silent.mkv"
    silence = ("-f", "lavfi", "-i", "anullsrc=r=44100:cl=stereo")
    ffmpeg("-i", clip, *silence, "-c:v", "copy", "-c:a", "libvorbis", "-t", "1", path)
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(container.streams.audio[0]) if packet.size]
    assert b"\0" in packets
    assert warnings_of(path, tmp_path) == []


@pytest.mark.parametrize("write", [write_clip, write_av1_clip])
def test_packets_of_zeros_are_damage_in_the_video_too(tmp_path, write):
    path = write(tmp_path / "clip.mkv", num_frames=90, options={"g": "30"})
    assert problems.find_damage(path, media.probe(path)) == set()
    path.write_bytes(zero_packets(path, "video", 1, 2))
    assert problems.find_damage(path, media.probe(path)) == {1}


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_lost_packets_are_named_also_if_each_loss_is_short(intact, tmp_path, suffix):
    def is_lost(time_sec):  # every fourth packet for a second, then 0.6 s
        return (1 <= time_sec < 2 and int(time_sec / 0.02322) % 4 == 0) or 3.2 < time_sec < 3.8

    path = lose_packets(intact[f".aac{suffix}"], tmp_path / f"lost{suffix}", is_lost)
    assert np.array(levels(path))[[0, 2, 4]].min() > 0.4
    assert warnings_of(path, tmp_path) == [MISSING.format("1, 3")]


def test_the_label_finder_names_missing_audio_too(intact, tmp_path, monkeypatch):
    monkeypatch.setattr(label_finder, "find_shots", lambda *_: [])
    path = lose_packets(intact[".aac.mp4"], tmp_path / "lost.mp4", lambda time_sec: 3.2 < time_sec < 3.8)
    result = label_finder.find_labels("match", path, intact[".aac.mp4"], tmp_path, 0.5)
    assert result.warnings == [f"{path}: {MISSING.format(3)}"]


@pytest.mark.parametrize(
    ("starts_sec", "durations_sec", "codec", "expected"),
    [
        (np.arange(0, 5, 0.02), 0.02, "aac", ()),
        (np.arange(0, 5, 0.02) + 0.012 * (np.arange(250) % 2), 0.02, "aac", ()),  # timestamps that jitter
        (np.arange(-0.04, 5, 0.02), 0.02, "aac", ()),  # priming
        (np.arange(0.9, 4.1, 0.02), 0.02, "aac", ()),  # the recorder starts audio late and ends it early
        (np.arange(1.2, 3.8, 0.02), 0.02, "aac", (0, 1, 3, 4)),
        (np.arange(0, 5, 0.02)[np.arange(250) % 3 > 0], 0.02, "aac", (0, 1, 2, 3, 4)),
        (np.delete(np.arange(0, 5, 0.02), [60, 61, 62, 63, 64, 65, 66]), 0.02, "aac", ()),  # 0.14 s
        (np.delete(np.arange(0, 5, 0.02), [60, 61, 62, 63, 64, 65, 66, 67]), 0.02, "aac", (1,)),
        (np.array([0, 1, 1.5]), np.array([1, 0.5, 3.5]), "pcm_s16le", ()),  # packets of different lengths
        (np.arange(0, 5, 0.5), np.where(np.arange(10) % 2, 0.5, 0.1), "vorbis", (0, 1, 2, 3, 4)),
        (np.add.outer(np.arange(5), [0, 0.1, 0.2]).ravel(), np.tile([0.1, 0.1, 0.8], 5), "vorbis", ()),
        (np.add.outer(np.arange(5), [0, 0.1, 0.2]).ravel(), np.tile([0.1, 0.1, 0.8], 5), "aac", (0, 1, 2, 3)),
        (np.add.outer(np.arange(5), [0, 0.1, 0.3, 0.6]).ravel(), np.tile([0.1, 0.2, 0.3, 0.4], 5), "opus", ()),
        (np.delete(np.arange(0, 5, 0.02), range(100, 130)), None, "aac", (2,)),  # as in an mp4
        (np.array([0, 0.5, 70, 70.5]), 0.5, "aac", ()),  # a gap of more than a minute, see find_audio_gaps
        (np.arange(0, 5, 0.02), 0, "flac", ()),  # durations are not stated
        (np.delete(np.arange(0, 5, 0.02), range(100, 130)), 0, "flac", (2,)),
        (np.array([0]), 0, "flac", (0, 1, 2, 3, 4)),
        (np.zeros(0), 0.02, "aac", ()),
    ],
)
def test_seconds_with_gaps_are_missing(starts_sec, durations_sec, codec, expected):
    if durations_sec is None:
        durations_sec = np.diff(starts_sec, append=5)
    end_sec = max(5, starts_sec.max(initial=0))
    times = timestamps.PacketTimes(0.001, 0.0)
    for start_sec, duration_sec in zip(starts_sec, np.broadcast_to(durations_sec, starts_sec.shape), strict=True):
        ticks = {"pts": round(start_sec * 1000), "duration": round(duration_sec * 1000)}
        packet = types.SimpleNamespace(**ticks, dts=None, is_discard=False, pos=0, size=1)
        packet.has_sidedata = lambda kind: False
        times.add(packet)
    assert timestamps.find_missing_audio_of_track(end_sec, times, codec) == expected
    assert timestamps.find_missing_audio(end_sec, [times], [codec]) == expected
    assert timestamps.find_missing_audio(end_sec, [], []) == ()
