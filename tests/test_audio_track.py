"""Where each sample of a film's sound lands: sound that is not compressed comes back sample for sample."""

from fractions import Fraction

import av
import numpy as np
import pytest
from clips import ffmpeg, tone, write_clip, write_exact_audio

from videosummarizer import audio_track, media

RATE_HZ = 8000
RAMP = np.arange(1, 8001, dtype=np.float32) / 8000  # one second in which no sample is like another, and none is 0


def read_audio(path, sample_rate_hz=RATE_HZ):
    return np.concatenate(list(audio_track.read_audio(path, media.probe(path), sample_rate_hz)))


def placed(*pieces, num_samples):
    """The expected sound: silence, and pieces (first sample, samples) laid over it in turn."""
    expected = np.zeros(num_samples, np.float32)
    for first, samples in pieces:
        expected[first : first + len(samples)] = samples
    return expected


@pytest.mark.parametrize("gap_ms", [60, 100, 150, 200, 300, 400, 1500])
def test_audio_after_a_gap_is_at_its_own_time_to_the_sample(tmp_path, gap_ms):
    gap_sec = gap_ms / 1000
    path = write_exact_audio(tmp_path / "clip.mkv", [(0, RAMP[:3200]), (0.4 + gap_sec, RAMP[3200:])])
    second = 3200 + 8 * gap_ms
    expected = placed((0, RAMP[:3200]), (second, RAMP[3200:]), num_samples=second + 4800)
    np.testing.assert_array_equal(read_audio(path), expected)


def test_several_gaps_do_not_add_up_and_none_is_closed(tmp_path):
    starts_sec = [0, 0.35, 0.65, 1.2]
    path = write_exact_audio(tmp_path / "clip.mkv", [(start_sec, RAMP[:1600]) for start_sec in starts_sec])
    expected = placed(*((first, RAMP[:1600]) for first in (0, 2800, 5200, 9600)), num_samples=11_200)
    np.testing.assert_array_equal(read_audio(path), expected)


@pytest.mark.parametrize("jitter_ms", [-40, -10, 10, 40])
def test_timestamps_that_jitter_leave_the_audio_in_one_piece(tmp_path, jitter_ms):
    # The second piece claims to begin up to 40 ms early or late, the third is where it should be.
    starts_sec = [0, 0.4 + jitter_ms / 1000, 0.8]
    thirds = np.split(RAMP[:7200], [3200, 6400])
    path = write_exact_audio(tmp_path / "clip.mkv", list(zip(starts_sec, thirds, strict=True)))
    np.testing.assert_array_equal(read_audio(path), RAMP[:7200])


def test_a_drift_that_grows_packet_by_packet_is_followed_once_it_is_a_gap(tmp_path):
    # Each packet of 50 ms is 20 ms late, so that every third begins 60 ms late, counted from the run's first.
    path = write_exact_audio(tmp_path / "clip.mkv", [(k * 0.07, RAMP[400 * k : 400 * k + 400]) for k in range(6)])
    expected = placed((0, RAMP[:1200]), (1680, RAMP[1200:2400]), num_samples=2880)
    np.testing.assert_array_equal(read_audio(path), expected)


@pytest.mark.parametrize(("audio_start_sec", "first"), [(0.02, 160), (0.5, 4000), (1.25, 10_000)])
def test_audio_that_begins_late_waits_for_its_time(tmp_path, audio_start_sec, first):
    path = write_exact_audio(tmp_path / "clip.mkv", [(audio_start_sec, RAMP)])
    np.testing.assert_array_equal(read_audio(path), placed((first, RAMP), num_samples=first + 8000))


def test_time_0_is_where_the_first_of_picture_and_audio_begins(tmp_path):
    late = write_exact_audio(tmp_path / "late.mkv", [(2.5, RAMP)], frame_ticks=[90, 120])
    np.testing.assert_array_equal(read_audio(late), RAMP)  # the picture begins at 3 s, half a second later
    np.testing.assert_allclose(media.probe(late).frame_times_sec, [0.5, 1.5], atol=1e-9)
    later = write_exact_audio(tmp_path / "later.mkv", [(3.25, RAMP)], frame_ticks=[90, 120])
    np.testing.assert_array_equal(read_audio(later), placed((2000, RAMP), num_samples=10_000))
    np.testing.assert_allclose(media.probe(later).frame_times_sec, [0, 1], atol=1e-9)


def test_audio_after_64_seconds_is_read_and_in_its_place(tmp_path):
    long = np.resize(RAMP, 70 * RATE_HZ + 123)
    long[::7919] *= -1  # a prime: no two seconds are alike
    path = write_exact_audio(tmp_path / "long.mkv", [(0, long[:520_000]), (65.2, long[520_000:])])
    expected = placed((0, long[:520_000]), (521_600, long[520_000:]), num_samples=len(long) + 1600)
    blocks = list(audio_track.read_audio(path, media.probe(path), RATE_HZ))
    np.testing.assert_array_equal(np.concatenate(blocks), expected)
    assert {block.dtype for block in blocks} == {np.dtype(np.float32)}
    assert max(map(len, blocks)) < 70_000  # memory stays in proportion to a block, not to the match


@pytest.mark.parametrize("num_samples", [1, 399, 65_535, 65_536, 65_537, 131_072])
def test_no_sample_is_lost_at_the_end_whatever_the_length(tmp_path, num_samples):
    sound = np.resize(RAMP, num_samples)
    path = write_exact_audio(tmp_path / "clip.mkv", [(0, sound)])
    np.testing.assert_array_equal(read_audio(path), sound)


def test_every_channel_is_heard_equally_in_the_mono_audio(tmp_path):
    silence = np.zeros(8000, np.float32)
    left, right, both = (
        read_audio(write_exact_audio(tmp_path / f"{name}.mkv", [(0, np.stack(channels))]))
        for name, channels in (("left", (RAMP, silence)), ("right", (silence, RAMP)), ("both", (RAMP, RAMP)))
    )
    np.testing.assert_array_equal(left, right)
    np.testing.assert_allclose(both, left + right, atol=1e-6)
    np.testing.assert_allclose(np.corrcoef(left, RAMP)[0, 1], 1)


def test_a_file_without_an_audio_track_is_named(tmp_path):
    path = write_clip(tmp_path / "mute.mp4", num_frames=3)
    with pytest.raises(media.MediaError, match=r"mute\.mp4: received a file without an audio stream, expected one"):
        list(audio_track.read_audio(path, media.probe(path), RATE_HZ))


# ---- Sound against FFmpeg and tones of known pitch and time


def sweep(duration_sec, sample_rate_hz=44100):
    """A tone that rises from 100 to 4000 Hz: no lag but 0 correlates."""
    time_sec = np.arange(int(duration_sec * sample_rate_hz)) / sample_rate_hz
    return (0.5 * np.sin(2 * np.pi * (100 + 3900 / 2 * time_sec / duration_sec) * time_sec)).astype(np.float32)


@pytest.mark.parametrize("sample_rate_hz", [8000, 11025, 22050, 48000])
@pytest.mark.parametrize("num_channels", [1, 2])
def test_audio_equals_that_of_ffmpeg_to_the_sample(tmp_path, sample_rate_hz, num_channels):
    audio = np.stack([sweep(4), 0.5 * tone(700, 4)])[:num_channels]
    path = write_clip(tmp_path / "clip.mp4", num_frames=120, audio=audio)
    raw = ffmpeg("-i", str(path), "-vn", "-ac", "1", "-ar", str(sample_rate_hz), "-f", "f32le", "-")
    expected, heard = np.frombuffer(raw, np.float32), read_audio(path, sample_rate_hz)
    num_samples = 4 * sample_rate_hz
    lags = range(-3, 4)
    middle = slice(100, num_samples - 100)
    correlations = [np.corrcoef(expected[middle], np.roll(heard[:num_samples], lag)[middle])[0, 1] for lag in lags]
    assert lags[int(np.argmax(correlations))] == 0
    assert max(correlations) > 0.999


def test_a_15_khz_tone_does_not_come_back_as_an_alias(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", audio=tone(15_000, 2))
    low = write_clip(tmp_path / "low.mp4", audio=tone(3_000, 2))
    assert np.abs(read_audio(path, 11025)[2000:18000]).max() < 0.01
    assert np.abs(read_audio(low, 11025)[2000:18000]).max() > 0.4


@pytest.mark.parametrize("audio_start_sec", [0.5, 1.25])
def test_late_audio_stays_in_sync_with_the_video(tmp_path, audio_start_sec):
    path = write_clip(tmp_path / "clip.mp4", num_frames=90, audio=tone(440, 1), audio_start_sec=audio_start_sec)
    heard = np.abs(read_audio(path, 8000))
    onset_sec = np.argmax(heard > 0.25) / 8000
    assert onset_sec == pytest.approx(audio_start_sec, abs=0.03)  # AAC's pre-echo is as long as a packet


def test_a_gap_in_the_audio_is_silence(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", num_frames=120, audio=tone(440, 2), audio_gap_sec=1.5)
    heard = np.abs(read_audio(path, 8000))
    assert heard[1000:7000].max() > 0.4
    assert heard[9000:19000].max() < 0.01
    assert (np.argmax(heard[9000:] > 0.25) + 9000) / 8000 == pytest.approx(2.5, abs=0.03)
    assert len(heard) / 8000 == pytest.approx(3.5, abs=0.05)


# ---- Sound of which the frames are made by hand: what no muxer writes, but files that were glued together hold


def sound_frames(*pieces):
    """Decoded frames (time in seconds, samples, sample rate in Hz, layout), a frame for every 400 samples."""
    for start_sec, samples, sample_rate_hz, layout in pieces:
        for first in range(0, len(samples), 400):
            block = np.atleast_2d(samples[first : first + 400])
            frame = av.AudioFrame.from_ndarray(
                np.repeat(block, {"mono": 1, "stereo": 2}[layout], axis=1).astype(np.float32), "flt", layout
            )
            frame.sample_rate, frame.time_base = sample_rate_hz, Fraction(1, sample_rate_hz)
            frame.pts = round(start_sec * sample_rate_hz) + first
            yield frame


@pytest.fixture
def hear(tmp_path, monkeypatch):
    """Reads a sound whose decoded frames are given."""
    path = write_exact_audio(tmp_path / "clip.mkv", [(0, RAMP)])
    info = media.probe(path)

    def read(*pieces, sample_rate_hz=RATE_HZ):
        monkeypatch.setattr(media, "decode", lambda packets, *more: sound_frames(*pieces))
        return np.concatenate(list(audio_track.read_audio(path, info, sample_rate_hz)))

    return read


@pytest.mark.parametrize("overlap", [480, 800, 2400])
def test_where_timestamps_overlap_the_earlier_audio_stays(hear, overlap):
    second = 4000 - overlap
    heard = hear((0, RAMP[:4000], 8000, "mono"), (second / 8000, -RAMP[:6000], 8000, "mono"))
    expected = placed((second, -RAMP[:6000]), (0, RAMP[:4000]), num_samples=second + 6000)
    np.testing.assert_array_equal(heard, expected)


def test_a_piece_that_lies_wholly_in_earlier_audio_is_left_out(hear):
    pieces = [(0, RAMP, 8000, "mono"), (0.25, -RAMP[:800], 8000, "mono"), (1.1, RAMP[:800], 8000, "mono")]
    expected = placed((0, RAMP), (8800, RAMP[:800]), num_samples=9600)
    np.testing.assert_array_equal(hear(*pieces), expected)


def test_audio_from_before_time_0_is_cut_off(hear):
    np.testing.assert_array_equal(hear((-0.3, RAMP, 8000, "mono")), RAMP[2400:])


@pytest.mark.parametrize(("start_sec", "first"), [(0.07, 772), (0.05, 551)])  # 771.75 and 551.25 samples
def test_audio_begins_at_the_nearest_sample(hear, start_sec, first):
    heard = hear((start_sec, np.full(4000, 0.25), 8000, "mono"), sample_rate_hz=11_025)
    assert np.flatnonzero(heard)[0] == first


@pytest.mark.parametrize("change", [(8000, "stereo"), (16_000, "mono"), (16_000, "stereo")])
def test_audio_whose_format_changes_continues_without_a_gap(hear, change):
    heard = hear((0, np.full(4000, 0.25), 8000, "mono"), (0.5, np.full(8000, 0.25), *change))
    level = 0.25 * (2**0.5 if change[1] == "stereo" else 1)  # two channels that are alike: 3 dB more
    expected = placed((0, np.full(4000, 0.25)), (4000, np.full(len(heard) - 4000, level)), num_samples=len(heard))
    assert len(heard) == 4000 + 8000 * 8000 // change[0]
    apart = np.abs(heard - expected)
    assert apart[:3900].max() == 0
    assert apart[4100:-100].max() < 1e-3


def runs_of(*pieces, start_sec=0.0):
    return [
        (run_start_sec, sum(frame.samples for frame in run))
        for run_start_sec, run in audio_track.audio_runs(sound_frames(*pieces), start_sec)
    ]


def test_runs_begin_where_timestamps_jump_or_the_format_changes():
    quiet = np.zeros(4000, np.float32)
    assert runs_of((0, quiet, 8000, "mono"), (0.5, quiet, 8000, "mono")) == [(0, 8000)]
    assert runs_of((0, quiet, 8000, "mono"), (0.5, quiet, 8000, "stereo")) == [(0, 4000), (0.5, 4000)]
    assert runs_of((0, quiet, 8000, "mono"), (0.5, quiet, 16_000, "mono")) == [(0, 4000), (0.5, 4000)]
    assert runs_of((0, quiet, 8000, "mono"), (0.5625, quiet, 8000, "mono")) == [(0, 4000), (0.5625, 4000)]
    assert runs_of((0, quiet, 8000, "mono"), (0.4375, quiet, 8000, "mono")) == [(0, 4000), (0.4375, 4000)]
    assert runs_of((0, quiet, 8000, "mono"), (0.5375, quiet, 8000, "mono")) == [(0, 8000)]
    assert runs_of((2.5, quiet, 8000, "mono"), (4, quiet, 8000, "mono"), start_sec=2.0) == [(0.5, 4000), (2, 4000)]
    assert runs_of((0, quiet[:400], 8000, "mono"), (0.1, quiet[:400], 8000, "mono")) == [(0, 800)]  # 50 ms to the bit
    assert runs_of() == []


def test_a_sample_format_of_its_own_is_a_run_of_its_own():
    def frames():
        for number, format_name in enumerate(["flt", "flt", "s16", "s16"]):
            dtype = np.float32 if format_name == "flt" else np.int16
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 400), dtype), format_name, "mono")
            frame.sample_rate, frame.time_base, frame.pts = 8000, Fraction(1, 8000), 400 * number
            yield frame

    assert [(start, len(list(run))) for start, run in audio_track.audio_runs(frames(), 0)] == [(0, 2), (0.1, 2)]


def test_resampled_audio_of_a_run_starts_and_ends_with_it(tmp_path):
    # 440 Hz at 44100 Hz, from 0.5 to 1.5 s: at any rate the phase is that of a sine that begins there.
    path = write_exact_audio(tmp_path / "clip.mkv", [(0.5, tone(440, 1))], sample_rate_hz=44_100, block_samples=441)
    for rate_hz in (8000, 22_050, 48_000):
        heard = read_audio(path, rate_hz)
        first, num_samples = round(0.5 * rate_hz), round(1.5 * rate_hz)
        assert not heard[:first].any()
        assert abs(len(heard) - num_samples) <= 1
        expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(num_samples - first) / rate_hz)
        middle = slice(200, num_samples - first - 200)
        np.testing.assert_allclose(heard[first:][middle], expected[middle], atol=2e-3)
