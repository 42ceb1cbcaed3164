"""The arrays of a match's segments: which frames and samples they hold, to the frame and to the sample."""

import threading
import time

import librosa
import numpy as np
import pytest
from clips import read_number, tone, write_clip, write_exact_audio

from videosummarizer import audio_track, media, video_track
from videosummarizer.dataset import sampling
from videosummarizer.dataset.metadata import DataConfig
from videosummarizer.dataset.spool_file import SpoolFile

RATE_HZ = 8000


def make_noise(num_samples, seed=0):
    """(num_samples,) float32 in [-0.5, 0.5]: noise, no two parts of which are alike."""
    return np.random.default_rng(seed).uniform(-0.5, 0.5, num_samples).astype(np.float32)


def arrays_of(path, config):
    return list(sampling.read_segments(path, media.probe(path), config))


@pytest.mark.parametrize("segment_length", [0.7, 1, 1.3])
def test_every_segment_holds_its_own_frames_and_samples_to_the_end_of_a_long_match(tmp_path, segment_length):
    # 75 s at a ragged frame rate: one frame every 0.1 to 1 s. The audio is longer than the video.
    ticks = np.cumsum([0] + [3, 30, 7, 14, 25] * 29)[:145].tolist()
    waveform = make_noise(80 * RATE_HZ)
    path = write_exact_audio(tmp_path / "long.mkv", [(0, waveform)], frame_ticks=ticks)
    info = media.probe(path)
    config = DataConfig(segment_length, 5, 40, 16, RATE_HZ, False)
    received = list(sampling.read_segments(path, info, config))
    num_samples = round(segment_length * RATE_HZ)
    assert len(received) == int(np.ceil(info.duration_sec / segment_length - 1e-9))
    assert len(received) * segment_length > 75
    heard = np.zeros(len(received) * num_samples, np.float32)
    num_heard = round(info.duration_sec * RATE_HZ)
    heard[:num_heard] = waveform[:num_heard] / np.abs(waveform[:num_heard]).max()
    shown_ms = np.round(np.array(ticks) * 1000 / 30)
    for index, (frames, audio) in enumerate(received):
        np.testing.assert_array_equal(audio, heard[index * num_samples :][:num_samples])
        assert (frames.shape, frames.dtype) == ((int(segment_length * 5 + 1e-9), 16, 40, 3), np.uint8)
        for position, frame in enumerate(frames):
            time_ms = round(index * segment_length * 1000) + position * 200
            if time_ms < round(info.duration_sec * 1000):
                assert read_number(frame) == max(n for n, ms in enumerate(shown_ms) if ms <= time_ms)
            else:
                assert not frame.any()


def test_the_first_frame_after_the_end_is_black(tmp_path):
    # 61 frames: the last is shown from 2 s on and ends at 2.0333 s.
    path = write_exact_audio(tmp_path / "clip.mkv", [(0, make_noise(100))], frame_ticks=list(range(61)))
    info = media.probe(path)
    assert info.duration_sec == pytest.approx(61 / 30, abs=1.1e-3)
    frames = np.concatenate([frames for frames, _ in arrays_of(path, DataConfig(1, 4, 40, 16, RATE_HZ, False))])
    assert [read_number(frame) for frame in frames] == [0, 7, 15, 22, 30, 37, 45, 52, 60, 0, 0, 0]
    assert not frames[9:].any()


@pytest.fixture
def given(monkeypatch):
    """Films whose frames and audio are given instead of read: frame i is filled with its time in hundredths of a
    second, modulo 251; the audio comes in the given blocks."""
    asked = {}

    def read_frames(path, info, times_sec, width_px, height_px, num_threads=0, damaged_sec=None):
        asked.update(times_sec=times_sec, size_px=(width_px, height_px), num_threads=num_threads)
        if damaged_sec is not None:
            damaged_sec.add(3)
        for time_sec in times_sec:
            yield np.full((height_px, width_px, 3), round(time_sec * 100) % 251, np.uint8)

    def film(duration_sec, *blocks, has_audio=True):
        def read_audio(path, video_info, sample_rate_hz, damage, from_sec):
            asked.update(sample_rate_hz=sample_rate_hz)
            assert has_audio
            return iter(blocks)

        monkeypatch.setattr(audio_track, "read_audio", read_audio)
        monkeypatch.setattr(video_track, "read_frames", read_frames)
        audio = "pcm" if has_audio else None
        return media.VideoInfo(
            duration_sec, duration_sec, 30.0, 8, 4, "h264", audio, np.zeros(1), np.zeros((0, 2), np.int64)
        )

    film.asked = asked
    return film


def test_frames_are_asked_for_at_the_times_that_the_segments_begin(given):
    info = given(4.5, make_noise(45))
    received = list(sampling.read_segments("film.mp4", info, DataConfig(2, 1.5, 6, 2, 10, False)))
    expected_sec = [0, 2 / 3, 4 / 3, 2, 8 / 3, 10 / 3, 4]
    np.testing.assert_allclose(given.asked["times_sec"], expected_sec, atol=1e-12)
    assert given.asked["size_px"] == (6, 2)
    assert given.asked["sample_rate_hz"] == 10
    assert [frames.shape for frames, _ in received] == [(3, 2, 6, 3)] * 3
    assert [frames[:, 0, 0, 0].tolist() for frames, _ in received] == [[0, 67, 133], [200, 16, 82], [149, 0, 0]]


def test_a_frame_at_the_very_end_is_none_whatever_rounding_says(given):
    for duration_sec in (2.0, 2.0000005, 1.9999995, 0.1 * 20):
        info = given(duration_sec, make_noise(20))
        list(sampling.read_segments("film.mp4", info, DataConfig(0.5, 2, 6, 2, 10, False)))
        np.testing.assert_allclose(given.asked["times_sec"], [0, 0.5, 1, 1.5])
    info = given(2.000002, make_noise(20))
    list(sampling.read_segments("film.mp4", info, DataConfig(0.5, 2, 6, 2, 10, False)))
    np.testing.assert_allclose(given.asked["times_sec"], [0, 0.5, 1, 1.5, 2])


@pytest.mark.parametrize("num_bytes_ahead", [0, 36, 72, 72 * 5, 72 * 1000])
@pytest.mark.parametrize("apply_mfcc", [False, True])
@pytest.mark.parametrize("indices", [range(21), range(8, 16), range(16, 21), range(20, 21), range(5, 5)])
def test_a_range_of_segments_is_that_of_the_whole_however_far_it_is_read_ahead(
    given, monkeypatch, indices, apply_mfcc, num_bytes_ahead
):
    config = DataConfig(0.5, 4, 6, 2, RATE_HZ, apply_mfcc)
    info = given(10.25, make_noise(82_000))
    whole = list(sampling.read_segments("film.mp4", info, config))
    assert len(whole) == 21
    monkeypatch.setattr(sampling, "MAX_BYTES_AHEAD", num_bytes_ahead)
    damaged_sec = set()
    with sampling.SegmentAudio("film.mp4", info, config) as segment_audio:
        part = list(sampling.read_segment_range("film.mp4", info, config, segment_audio, indices, 3, damaged_sec))
    assert len(part) == len(indices)
    for index, (frames, audio) in zip(indices, part, strict=True):
        np.testing.assert_array_equal(frames, whole[index][0])
        np.testing.assert_array_equal(audio, whole[index][1])
        assert frames[0, 0, 0, 0] == index * 50 % 251
    if indices:
        assert given.asked["num_threads"] == 3
        assert damaged_sec == {3}


def test_only_so_many_frames_wait_as_memory_is_set_aside_for_them(given, monkeypatch):
    # 24 frames of 1000 x 100 pixels are 7.2 MB: of the 12 MB that may wait one segment is taken at a time.
    num_decoded = 0
    info = given(100, make_noise(100))
    original = video_track.read_frames

    def count(*of_film):
        nonlocal num_decoded
        for frame in original(*of_film):
            num_decoded += 1
            yield frame

    monkeypatch.setattr(video_track, "read_frames", count)
    received = sampling.read_segments("film.mp4", info, DataConfig(2, 12, 1000, 100, 10, False))
    for index in range(3):
        next(received)
        deadline = time.monotonic() + 20
        while num_decoded < 24 * (index + 2) and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.02)
        assert num_decoded == 24 * (index + 2)
    received.close()


def test_a_reader_that_is_given_up_decodes_no_further(given, monkeypatch):
    num_decoded, given_up = 0, threading.Event()

    def read_frames(*of_film):
        nonlocal num_decoded
        for _ in range(20_000):  # 20 s at least
            num_decoded += 1
            if num_decoded > 10:
                given_up.wait(timeout=20)
                time.sleep(0.001)
            yield np.zeros((1, 1, 3), np.uint8)

    info = given(20_000, make_noise(100))
    monkeypatch.setattr(video_track, "read_frames", read_frames)
    received = sampling.read_segments("film.mp4", info, DataConfig(1, 1, 1, 1, 10, False))
    next(received)
    given_up.set()
    received.close()
    assert num_decoded < 20_000


@pytest.mark.parametrize("num_blocks", [1, 2, 7])
@pytest.mark.parametrize(("segment_length", "rate_hz"), [(1, 100), (0.7, 10), (0.3, 25), (0.25, 10), (1.1, 11_025)])
def test_samples_are_those_of_the_segments_own_time_whatever_the_blocks(given, segment_length, rate_hz, num_blocks):
    num_segments, num_samples = 9, int(round(segment_length * rate_hz, 6))
    waveform = make_noise(round(num_segments * segment_length * rate_hz))
    waveform[3] = 0.5
    info = given(num_segments * segment_length, *np.array_split(waveform, num_blocks))
    with sampling.SegmentAudio("f", info, DataConfig(segment_length, 10, 4, 4, rate_hz, False)) as audio:
        received = audio.read(range(num_segments))
        np.testing.assert_array_equal(audio.read(range(4, 6)), received[4:6])
    assert (received.shape, received.dtype) == ((num_segments, num_samples), np.float32)
    for index, samples in enumerate(received):
        first = round(index * segment_length * rate_hz)  # half a sample may be left out between two segments
        expected = 2 * waveform[first : first + num_samples]
        np.testing.assert_allclose(samples[: len(expected)], expected, rtol=1e-6)
        assert not samples[len(expected) :].any()
        assert len(samples) - len(expected) <= 1


@pytest.mark.parametrize("loudest", [0.8, -0.8])
def test_the_peak_is_that_of_the_whole_video_whatever_its_sign_and_of_nothing_after_it(given, loudest):
    waveform = np.full(60, 0.1, np.float32)
    waveform[37], waveform[52] = loudest, -1.0  # the video ends at 5 s
    info = given(5.0, waveform[:20], waveform[20:45], waveform[45:])
    with sampling.SegmentAudio("f", info, DataConfig(2, 10, 4, 4, 10, False)) as audio:
        assert audio.peak == pytest.approx(0.8)
        received = audio.read(range(3)).ravel()
    expected = np.zeros(60, np.float32)
    expected[:50] = 0.125
    expected[37] = np.sign(loudest)
    np.testing.assert_allclose(received, expected, rtol=1e-6)


def test_a_film_without_audio_or_with_silent_audio_has_zeros(given):
    for info in (given(2.0, has_audio=False), given(2.0, np.zeros(20, np.float32)), given(2.0)):
        arrays = list(sampling.read_segments("f", info, DataConfig(1, 2, 4, 4, 10, False)))
        assert [audio.tolist() for _, audio in arrays] == [[0.0] * 10] * 2


def test_silence_gives_the_mfccs_of_silence(given):
    # All decibels alike: the first coefficient of each moment is c, the other 39 are 0, and c is below 0. Their mean is
    # c / 40, their deviation |c| * sqrt(39) / 40.
    for info in (given(2.0, has_audio=False), given(2.0, np.zeros(16_000, np.float32))):
        for _, mfcc in sampling.read_segments("f", info, DataConfig(1, 2, 4, 4, RATE_HZ, True)):
            assert mfcc.shape == (40, 16)
            np.testing.assert_allclose(mfcc[0], -np.sqrt(39), rtol=1e-4)
            np.testing.assert_allclose(mfcc[1:], 1 / np.sqrt(39), rtol=1e-3)


@pytest.mark.parametrize("scale", [0.0, 0.001])
def test_mfccs_that_hardly_differ_are_divided_by_their_deviation_and_equal_ones_by_nothing(monkeypatch, scale):
    monkeypatch.setattr(librosa, "power_to_db", lambda power: scale * np.arange(power.size).reshape(power.shape))
    received = sampling.mfcc(make_noise(1000).reshape(1, -1), RATE_HZ)
    assert received.std() == pytest.approx(1 if scale else 0)
    assert received.mean() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("num_samples", "rate_hz"), [(300, 8000), (2047, 8000), (2048, 11_025), (2049, 8000), (9000, 22_050)]
)
@pytest.mark.filterwarnings("ignore:Empty filters detected")  # librosa, of a window of 300 samples
def test_mfccs_are_each_segments_own_whatever_its_length_and_its_neighbours(num_samples, rate_hz):
    audio = np.stack([level * make_noise(num_samples, seed) for seed, level in enumerate((2, 1e-6, 0.01, 0.5))])
    received = sampling.mfcc(audio, rate_hz)
    assert (received.shape, received.dtype) == ((4, 40, 1 + num_samples // 512), np.float32)
    for samples, mfcc in zip(audio, received, strict=True):
        expected = librosa.feature.mfcc(y=samples, sr=rate_hz, n_mfcc=40, hop_length=512, n_fft=min(2048, num_samples))
        np.testing.assert_allclose(mfcc, (expected - expected.mean()) / expected.std(), atol=2e-4)
        assert (mfcc.mean(), mfcc.std()) == (pytest.approx(0, abs=1e-5), pytest.approx(1, abs=1e-5))


def test_the_temporary_file_is_closed_in_the_end(given):
    info = given(1.0, make_noise(10))
    config = DataConfig(1, 1, 4, 4, 10, False)
    with sampling.SegmentAudio("f", info, config) as audio:
        assert not audio.spool.file.closed
    assert audio.spool.file.closed


def test_the_temporary_file_is_closed_if_the_audio_cannot_be_read(given, monkeypatch):
    def read_audio(*_):
        yield np.ones(5, np.float32)
        raise media.MediaError("damaged")

    spools = []
    monkeypatch.setattr(sampling, "SpoolFile", lambda folder: spools.append(SpoolFile(folder)) or spools[0])
    info = given(1.0, make_noise(10))
    monkeypatch.setattr(sampling.audio_track, "read_audio", read_audio)
    with pytest.raises(media.MediaError, match="damaged"):
        sampling.SegmentAudio("f", info, DataConfig(1, 1, 4, 4, 10, False))
    assert spools[0].file.closed


def test_several_threads_read_their_own_segments(given):
    waveform = make_noise(400)
    waveform[0] = 0.5
    config = DataConfig(1, 1, 4, 4, 10, False)
    with sampling.SegmentAudio("f", given(40.0, waveform), config) as audio:
        original = audio.spool

        class Slow:
            """A file whose position another thread may change between a seek and a read."""

            def seek(self, position):
                original.seek(position)
                time.sleep(0.001)

            def read(self, num_bytes):
                return original.read(num_bytes)

        audio.spool, received = Slow(), {}
        threads = [
            threading.Thread(target=lambda k=k: received.update({k: audio.read(range(k, 40, 4))})) for k in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        audio.spool = original
    for first, arrays in received.items():
        for index, samples in zip(range(first, 40, 4), arrays, strict=True):
            np.testing.assert_allclose(samples, 2 * waveform[10 * index : 10 * index + 10], rtol=1e-6)
    assert len(received) == 4


def test_segments_hold_the_frames_of_their_seconds_and_the_last_is_padded(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", num_frames=130, audio=tone(440, 130 / 30))
    received = arrays_of(path, DataConfig(2, 5, 40, 16, 8000, False))
    assert len(received) == 3
    numbers = [[read_number(frame) for frame in frames] for frames, _ in received]
    assert numbers[0] == [0, 6, 12, 18, 24, 30, 36, 42, 48, 54]
    assert numbers[1] == [60, 66, 72, 78, 84, 90, 96, 102, 108, 114]
    assert numbers[2] == [120, 126] + [0] * 8
    frames, audio = received[2]
    assert (frames.dtype, audio.dtype, audio.shape) == (np.uint8, np.float32, (16000,))
    assert not frames[2:].any()
    assert not audio[2700:].any()
    assert np.abs(audio[:2600]).max() > 0.9


def test_the_peak_of_the_whole_video_is_one(tmp_path):
    audio = np.append(tone(440, 2, amplitude=0.1), tone(440, 2, amplitude=0.4))
    path = write_clip(tmp_path / "clip.mp4", num_frames=120, audio=audio)
    quiet, loud = (np.abs(audio).max() for _, audio in arrays_of(path, DataConfig(2, 1, 8, 8, 8000, False)))
    assert loud == pytest.approx(1)
    assert quiet == pytest.approx(0.25, abs=0.05)


def test_no_audio_track_and_silence_give_zeros(tmp_path):
    config = DataConfig(1, 1, 8, 8, 8000, False)
    mute = write_clip(tmp_path / "mute.mp4", num_frames=30)
    silent = write_clip(tmp_path / "silent.mp4", num_frames=30, audio=np.zeros(44100, np.float32))
    for path in (mute, silent):
        ((_, audio),) = arrays_of(path, config)
        assert audio.shape == (8000,)
        assert not audio.any()
    ((_, mfcc),) = arrays_of(mute, DataConfig(1, 1, 8, 8, 8000, True))
    # Equal decibels: the first coefficient is below 0 and the others 0, before mean and deviation are taken out.
    np.testing.assert_allclose(mfcc, np.repeat([[-(39**0.5)], [39**-0.5]], [1, 39], axis=0) + np.zeros(16), rtol=1e-3)


def test_mfccs_equal_those_of_librosa(tmp_path):
    # Loud and quiet segments in one file: librosa's 80 dB floor must be each segment's own.
    noise = np.random.default_rng(0).standard_normal(44100 * 9).astype(np.float32)
    noise *= np.repeat([0.2, 1e-5, 0.001], 44100 * 3)
    path = write_clip(tmp_path / "clip.mp4", num_frames=270, audio=noise)
    waveforms = [audio for _, audio in arrays_of(path, DataConfig(3, 1, 8, 8, 22050, False))]
    received = [mfcc for _, mfcc in arrays_of(path, DataConfig(3, 1, 8, 8, 22050, True))]
    for waveform, mfcc in zip(waveforms, received, strict=True):
        expected = librosa.feature.mfcc(y=waveform, sr=22050, n_mfcc=40)
        assert (mfcc.shape, mfcc.dtype) == ((40, 130), np.float32)
        np.testing.assert_allclose(mfcc, (expected - expected.mean()) / expected.std(), atol=1e-4)
