"""Audio that does not decode, or decodes to samples that cannot be true: silent there, as loud as before elsewhere."""

import errno
import pickle
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
from clips import tone, write_clip, write_exact_audio

import data_converter
import label_finder
from videosummarizer import audio_track, media, problems
from videosummarizer.dataset import sampling
from videosummarizer.dataset.metadata import DataConfig
from videosummarizer.extraction import reel

CONFIG = DataConfig(1, 2, 16, 16, 8000, False)


def overwrite_packets(path, kind, first_sec, end_sec, seed):
    """Overwrite the packets of one stream between two times of the match with noise."""
    content, rng = bytearray(path.read_bytes()), np.random.default_rng(seed)
    with av.open(str(path)) as container:
        start_sec = container.start_time / av.time_base
        for packet in container.demux(container.streams.best(kind)):
            if packet.size and first_sec <= float(packet.pts * packet.time_base) - start_sec < end_sec:
                content[packet.pos : packet.pos + packet.size] = rng.bytes(packet.size)
    path.write_bytes(content)
    return path


def read_levels(path):
    """Return the largest absolute value of the audio of each second, as it is in a dataset, and what is damaged."""
    damaged_sec, damaged_audio_sec = set(), set()
    segments = sampling.read_segments(path, media.probe(path), CONFIG, damaged_sec, None, damaged_audio_sec)
    return np.array([np.abs(audio).max() for _, audio in segments]), damaged_sec, damaged_audio_sec


@pytest.mark.parametrize(("seed", "start_sec"), [(0, 0), (3, 3600)])
def test_packets_of_noise_are_silent_and_leave_the_level_of_the_others(tmp_path, seed, start_sec):
    loudness = np.repeat([0.1, 0.4, 0.2, 0.4, 0.3], 44_100).astype(np.float32)
    path = write_clip(tmp_path / "clip.mp4", num_frames=150, audio=tone(440, 5) * loudness * 2, start_sec=start_sec)
    intact, *damage = read_levels(path)
    assert damage == [set(), set()]
    overwrite_packets(path, "audio", 2, 3, seed)
    levels, *damage = read_levels(path)
    assert damage == [set(), {2}]
    np.testing.assert_allclose(levels[[0, 1, 3, 4]], intact[[0, 1, 3, 4]], rtol=0.1)
    assert audio_track.find_damage(path, media.probe(path)).seconds(5) == {2}
    audio = np.concatenate(list(audio_track.read_audio(path, media.probe(path), 8000)))
    assert np.abs(audio[8000 * 2 + 800 : 8000 * 3 - 800]).max() < 0.01


def test_audio_that_does_not_decode_at_all_is_silence_and_named(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", num_frames=60, audio=tone(440, 2))
    overwrite_packets(path, "audio", -1, 9, 0)
    levels, _, _ = read_levels(path)
    assert levels.max() == 0
    info = media.probe(path)
    assert info.audio is None
    assert problems.describe_problems(path, info, set()) == [
        f"{path}: audio track 1 (aac) cannot be decoded: it counts as absent",
        f"{path}: the video has no audio track: converted with silence",
    ]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -89.0, 4.5])
@pytest.mark.parametrize("num_channels", [1, 2])
def test_a_sample_that_cannot_be_true_is_silence_with_its_packet(tmp_path, value, num_channels):
    samples = np.resize(np.float32([0.5, -0.5]), (num_channels, 24_000))
    samples[-1, 12_100] = value
    path = write_exact_audio(tmp_path / "clip.mkv", [(0, samples)], frame_ticks=[0, 60, 89])
    expected = np.abs(samples[0])
    expected[12_000:12_400] = 0  # 400 samples per packet
    damage = audio_track.AudioDamage()
    audio = np.abs(np.concatenate(list(audio_track.read_audio(path, media.probe(path), 8000, damage))))
    np.testing.assert_allclose(audio, expected / 0.5 * audio.max(), atol=1e-6)
    assert damage.tenths == {15}
    levels, _, damaged_sec = read_levels(path)
    np.testing.assert_allclose(levels, 1)
    assert damaged_sec == {1}


def test_loud_audio_is_no_damage(tmp_path):
    samples = np.resize(np.float32([1.9, -3.9]), 8000)
    path = write_exact_audio(tmp_path / "clip.mkv", [(0, samples)])
    damage = audio_track.AudioDamage()
    np.testing.assert_array_equal(
        np.concatenate(list(audio_track.read_audio(path, media.probe(path), 8000, damage))), samples
    )
    assert damage.tenths == set()


def test_the_time_of_a_bad_sample_is_its_own_and_the_end_of_the_video_ends_the_report(tmp_path):
    samples = np.full(24_000, 0.5, np.float32)
    samples[[8000, 20_000]] = np.nan
    path = write_exact_audio(tmp_path / "clip.mkv", [(0, samples)], frame_ticks=[0, 59], block_samples=1600)
    damage = audio_track.find_damage(path, media.probe(path))
    assert damage.tenths == {10, 25}
    assert damage.seconds(media.probe(path).duration_sec) == {1}
    assert read_levels(path)[2] == {1}


def test_noise_near_damage_does_not_set_the_level(tmp_path):
    samples = np.full(24_000, 0.25, np.float32)
    samples[12_100] = np.nan
    samples[12_500] = 3.0  # in the next packet, where it may be true
    path = write_exact_audio(tmp_path / "clip.mkv", [(0, samples)], frame_ticks=[0, 60, 89])
    levels, *_ = read_levels(path)
    np.testing.assert_allclose(levels, 1)


def test_conversion_and_check_report_damage_in_the_same_words(tmp_path, caplog, capsys):
    (tmp_path / "in").mkdir()
    path = write_exact_audio(
        tmp_path / "in" / "match.mkv", [(0, np.float32([0.5, np.nan] * 8000))], frame_ticks=[0, 29]
    )
    path = path.rename(path.with_suffix(".mp4"))
    path.with_suffix(".txt").touch()
    settings = [str(tmp_path / "in"), "1", "2", "16", "16", "8000", "0", str(tmp_path / "out"), "--workers", "1"]
    assert data_converter.main(settings) == 0
    warning = f"{path}: the audio is damaged at 0 s: it is silent there"
    assert caplog.messages == [warning]
    assert data_converter.main([*settings, "--check", "--decode"]) == 0
    assert f"\nwarning: {warning}\n" in capsys.readouterr().out
    for file in (tmp_path / "out" / "match").iterdir():
        assert not pickle.loads(file.read_bytes())["audio"].any()


def test_a_reel_of_damaged_audio_is_silent_there(tmp_path):
    samples = tone(440, 3, 48_000)
    samples[72_000:73_000] = np.nan
    samples[80_000] = 1e6
    path = write_exact_audio(
        tmp_path / "clip.mkv", [(0, samples)], 48_000, frame_ticks=list(range(90)), block_samples=480
    )
    reel.render_reel(path, media.probe(path), np.array([[15, 75]]), tmp_path / "reel.mp4")
    audio = np.abs(
        np.concatenate(list(audio_track.read_audio(tmp_path / "reel.mp4", media.probe(tmp_path / "reel.mp4"), 8000)))
    )
    assert audio.max() < 0.8
    assert audio[8050:8100].max() < 0.1
    assert audio[1000:7000].max() > 0.4


# ---- Frames made by hand


def packet(pts, *frames, error=None):
    def decode():
        if error:
            raise error
        return list(frames)

    stream = SimpleNamespace(type="audio", codec_context=SimpleNamespace(delay=3840))
    return SimpleNamespace(pts=pts, time_base=Fraction(1, 8000), decode=decode, stream=stream, size=0)


@pytest.mark.parametrize("sample_format", ["s16", "s16p", "flt", "fltp", "dbl", "u8"])
def test_the_first_frame_after_a_packet_that_does_not_decode_is_silent(sample_format):
    def frame(pts):
        sample_type = {"s": np.int16, "f": np.float32, "d": np.float64, "u": np.uint8}[sample_format[0]]
        samples = np.ones((2, 400) if sample_format[-1] == "p" else (1, 800), sample_type)
        frame = av.AudioFrame.from_ndarray(samples, sample_format, "stereo")
        frame.sample_rate, frame.time_base, frame.pts = 8000, Fraction(1, 8000), pts
        return frame

    error = av.error.PermissionError(errno.EPERM, "Operation not permitted")
    packets = [packet(0, frame(0)), packet(8400, error=error), packet(8800, frame(8800)), packet(9200, frame(9200))]
    damage = audio_track.AudioDamage()
    decoded = [frame.to_ndarray() for frame in audio_track.decode_audio(iter(packets), 0.0, damage)]
    silence = 128 if sample_format == "u8" else 0
    assert [set(np.unique(samples)) for samples in decoded] == [{1}, {silence}, {1}]
    assert damage.tenths == {10}


def test_the_label_finder_says_in_one_line_that_nothing_decodes(tmp_path):
    (tmp_path / "bad").mkdir()
    bad = write_clip(tmp_path / "bad" / "match.mp4", num_frames=60, audio=tone(440, 2))
    good = write_clip(tmp_path / "match.mp4", num_frames=60, audio=tone(440, 2))
    for kind in ("video", "audio"):
        overwrite_packets(bad, kind, -1, 9, 0)
    for pair in ((bad, good), (good, bad)):
        result = label_finder.find_labels("match", *pair, tmp_path, 0.5)
        assert result.error == (
            f"{bad}: received a video stream of which no frame decodes, expected at least one: record or download it "
            "again, or move it elsewhere"
        )
    with pytest.raises(media.MediaError, match="of which no frame decodes"):
        problems.find_damage(bad, media.probe(bad))


def test_packets_that_are_missing_after_damage_are_damage_too():
    frame = av.AudioFrame.from_ndarray(np.ones((1, 800), np.int16), "s16", "mono")
    frame.sample_rate, frame.time_base, frame.pts = 8000, Fraction(1, 8000), 24_000
    error = av.error.PermissionError(errno.EPERM, "Operation not permitted")
    damage = audio_track.AudioDamage()
    packets = [packet(8400, error=error), packet(23_900, error=error), packet(24_000, frame)]
    assert len(list(audio_track.decode_audio(iter(packets), 0.0, damage))) == 1
    assert damage.seconds(5) == {1, 2}
