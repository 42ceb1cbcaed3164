"""The reel's audio to the sample: against the samples that the source was written with, cut and faded by hand."""

import subprocess

import av
import imageio_ffmpeg
import numpy as np
import pytest
from clips import tone, write_clip, write_exact_audio

from videosummarizer import audio_track, media
from videosummarizer.extraction import reel, reel_audio

RATE_HZ = 8000
MATCH_SEC = 4
TICKS = list(range(30 * MATCH_SEC))
FADE_SAMPLES = 80  # 10 ms


def noise(num_samples, num_channels=1, seed=5):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (num_channels, num_samples)).astype(np.float32)


def faded(samples, num_faded=FADE_SAMPLES):
    """Samples with a straight line over 10 ms at both ends, half a step from the edge on."""
    line = np.ones(samples.shape[1])
    for position in range(min(num_faded, samples.shape[1])):
        line[position] = min(line[position], (position + 0.5) / num_faded)
        line[-1 - position] = min(line[-1 - position], (position + 0.5) / num_faded)
    return samples * line


def read(path, first_sec, num_samples, rate_hz=RATE_HZ, layout="mono"):
    """(num_channels, num_samples) that the reel would encode from first_sec on."""
    with media.open_media(path) as container, av.open("/dev/null", "w", format="mp4") as output:
        stream = output.add_stream("aac", rate=rate_hz, layout=layout)
        return np.concatenate(
            list(reel_audio.read_section_audio(container, container.streams.audio[0], first_sec, num_samples, stream)),
            axis=1,
        )


@pytest.mark.parametrize(
    ("first", "num_samples"),
    [(0, 8000), (12_345, 6789), (12_345, 1), (4000, 100), (4000, 161), (31_000, 1000), (400, 400), (401, 399)],
)
def test_audio_is_cut_to_the_sample_and_faded(tmp_path, first, num_samples):
    samples = noise(MATCH_SEC * RATE_HZ)
    path = write_exact_audio(tmp_path / "a.mkv", [(0, samples)], RATE_HZ, TICKS)
    received = read(path, first / RATE_HZ, num_samples)
    assert received.shape == (1, num_samples)
    assert received == pytest.approx(faded(samples[:, first : first + num_samples]), abs=1e-6)


def test_where_there_is_no_audio_there_is_silence(tmp_path):
    before, after = noise(8000), noise(12_000, seed=6)
    path = write_exact_audio(tmp_path / "a.mkv", [(0.5, before), (2.0, after)], RATE_HZ, TICKS)
    whole = np.zeros((1, 5 * RATE_HZ), np.float32)
    whole[:, 4000:12_000], whole[:, 16_000:28_000] = before, after
    for first, num_samples in (
        (0, 20_000),
        (2000, 1000),
        (11_000, 6000),
        (13_000, 2000),
        (27_000, 8000),
        (30_000, 900),
    ):
        expected = faded(whole[:, first : first + num_samples])
        assert read(path, first / RATE_HZ, num_samples) == pytest.approx(expected, abs=1e-6), first


def test_where_audio_overlaps_the_earlier_audio_stays(tmp_path, monkeypatch):
    before, after = noise(8000), noise(8000, seed=6)
    path = write_exact_audio(tmp_path / "a.mkv", [(0, before)], RATE_HZ, TICKS)

    def overlapping_runs(frames, origin_sec):
        for start_sec, samples in ((0.0, before), (0.9, after)):
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate = RATE_HZ
            yield start_sec, iter([frame])

    monkeypatch.setattr(audio_track, "audio_runs", overlapping_runs)
    whole = np.concatenate([before, after[:, 800:]], axis=1)
    assert read(path, 0.25, 10_000) == pytest.approx(faded(whole[:, 2000:12_000]), abs=1e-6)


def test_both_channels_arrive_and_keep_their_places(tmp_path):
    samples = noise(MATCH_SEC * RATE_HZ, num_channels=2)
    path = write_exact_audio(tmp_path / "a.mkv", [(0, samples)], RATE_HZ, TICKS)
    assert read(path, 1.5, 5000, layout="stereo") == pytest.approx(faded(samples[:, 12_000:17_000]), abs=1e-6)


def test_audio_of_another_rate_keeps_its_pitch_and_its_position(tmp_path):
    path = write_exact_audio(tmp_path / "a.mkv", [(0, tone(1000, MATCH_SEC, RATE_HZ))], RATE_HZ, TICKS)
    received = read(path, 1.2, 24_000, rate_hz=48_000)[0]
    expected = faded(tone(1000, MATCH_SEC, 48_000)[np.newaxis, 57_600:81_600], num_faded=480)[0]
    assert np.abs(received - expected).max() < 0.02


def test_the_last_samples_of_audio_of_another_rate_are_not_lost(tmp_path):
    path = write_exact_audio(tmp_path / "a.mkv", [(0, tone(1000, MATCH_SEC, RATE_HZ))], RATE_HZ, TICKS)
    received = read(path, 3.5, 48_000, rate_hz=48_000)[0]
    expected = tone(1000, 0.5, 48_000)
    # What the filter makes of the end itself is within 2 of the source's samples, 12 of the output's, of it.
    assert np.abs(received[480 : 24_000 - 12] - expected[480:-12]).max() < 0.1 * np.abs(expected).max()
    assert np.abs(received[24_000 + 100 :]).max() == 0


def test_a_codec_that_refers_to_earlier_audio_is_decoded_from_before_the_section_on(tmp_path):
    path = write_clip(tmp_path / "a.mp4", num_frames=90, audio=tone(440, 3, 48_000), sample_rate_hz=48_000)
    whole = np.concatenate(list(audio_track.read_audio(path, media.probe(path), 48_000)))
    for first in (0, 31_234, 100_000):
        expected = whole[np.newaxis, first : first + 9600] * np.float32(1)
        line = np.clip(np.minimum(np.arange(9600) + 0.5, 9600 - np.arange(9600) - 0.5) / 480, 0, 1)
        assert read(path, first / 48_000, 9600, 48_000) == pytest.approx(expected * line, abs=1e-4)


def test_audio_is_decoded_from_half_a_second_before_the_section_on(tmp_path):
    audio = tone(440, 4, RATE_HZ)
    path = write_clip(tmp_path / "a.mp4", num_frames=120, audio=audio, sample_rate_hz=RATE_HZ, start_sec=30)
    seeks = []

    class Watched:
        """The container, whose seeks are noted."""

        def __getattr__(self, name):
            return getattr(container, name)

        def seek(self, position, **options):
            assert options["backward"]
            seeks.append(float(position * options["stream"].time_base))
            container.seek(position, **options)

    with media.open_media(path) as container, av.open("/dev/null", "w", format="mp4") as output:
        stream = output.add_stream("aac", rate=RATE_HZ, layout="mono")
        list(reel_audio.read_section_audio(Watched(), container.streams.audio[0], 2.0, 100, stream))
        # AAC begins with 1024 samples of its own, so that the file begins 128 ms before 30 s.
        assert seeks == pytest.approx([30 - 0.128 + 2 - 0.5], abs=2e-3)


def test_rounding_to_samples_does_not_add_up_over_many_sections(tmp_path):
    # A frame at 30 fps has 1470 samples at 44100 Hz, but 367.5 at 11025 Hz.
    path = write_clip(tmp_path / "a.mp4", num_frames=9, audio=tone(440, 0.3, 11_025), sample_rate_hz=11_025)
    with media.open_media(path) as video_container, media.open_media(path) as audio_container:
        writer = reel.ReelWriter(tmp_path / "reel.mp4", video_container, [audio_container.streams.audio[0]], None)
        num_pts = round(1 / 30 / float(video_container.streams.video[0].time_base))
        numbers = [writer.start_section(num_pts) for _ in range(8)]
        assert np.cumsum(numbers).tolist() == [368, 735, 1102, 1470, 1838, 2205, 2572, 2940]  # halves to the even one
        with pytest.raises(RuntimeError, match=r"^enough$"), writer:
            raise RuntimeError("enough")


def test_audio_is_encoded_together_with_the_video(tmp_path, monkeypatch):
    path = write_exact_audio(tmp_path / "a.mkv", [(0, noise(MATCH_SEC * RATE_HZ))], RATE_HZ, TICKS)
    ahead_sec = []
    write_frame = reel.ReelWriter.write_frame

    def note(self, frame, pts):
        ahead_sec.append(self.fifo.samples_written / self.audio.rate - float(pts * self.video.codec_context.time_base))
        write_frame(self, frame, pts)

    monkeypatch.setattr(reel.ReelWriter, "write_frame", note)
    reel.render_reel(path, media.probe(path), np.array([[30, 90]]), tmp_path / "reel.mp4")
    assert len(ahead_sec) == 60
    assert min(ahead_sec) > -1e-3  # as far as the frame
    assert max(ahead_sec) < 0.11  # and less than two packets further


def test_the_whole_reels_audio_is_in_its_place_to_the_sample(tmp_path):
    rng = np.random.default_rng(3)
    # Noise below 3 kHz, so that AAC keeps it.
    samples = np.fft.irfft(np.fft.rfft(rng.standard_normal(48_000 * 3)) * (np.arange(72_001) < 9000)).astype(np.float32)
    samples *= 0.5 / np.abs(samples).max()
    path = write_clip(tmp_path / "a.mp4", num_frames=90, audio=samples, sample_rate_hz=48_000)
    reel.render_reel(path, media.probe(path), np.array([[7, 22], [40, 75]]), tmp_path / "reel.mp4")
    received = np.concatenate(
        list(audio_track.read_audio(tmp_path / "reel.mp4", media.probe(tmp_path / "reel.mp4"), 48_000))
    )
    source = np.concatenate(list(audio_track.read_audio(path, media.probe(path), 48_000)))
    position = 0
    for first, end in ((7, 22), (40, 75)):
        num_samples = (end - first) * 1600
        kept = slice(600, num_samples - 600)  # without the fades
        expected, part = (
            source[first * 1600 : end * 1600][kept],
            received[position : position + num_samples][kept],
        )
        errors = {lag: np.abs(np.roll(part, lag) - expected).mean() for lag in (-1, 0, 1)}
        assert errors[0] < 0.2 * min(errors[-1], errors[1]), errors
        position += num_samples


@pytest.mark.parametrize("num_frames", [95, 96, 97])  # 96 frames have the samples of exactly 25 packets
def test_reels_of_any_length_end_with_their_last_samples(tmp_path, num_frames):
    path = write_exact_audio(tmp_path / "a.mkv", [(0, tone(440, MATCH_SEC, RATE_HZ))], RATE_HZ, TICKS)
    reel.render_reel(path, media.probe(path), np.array([[0, num_frames]]), tmp_path / "reel.mp4")
    with media.open_media(tmp_path / "reel.mp4") as container:
        audio = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    end = round(num_frames / 30 * RATE_HZ)
    assert end <= len(audio) < end + 1024
    assert np.abs(audio[end - 400 : end - 100]).max() > 0.1


@pytest.mark.parametrize(("num_channels", "bit_rate"), [(1, 96_000), (2, 192_000)])
def test_the_bit_rate_is_that_of_the_channels(tmp_path, num_channels, bit_rate):
    path = write_exact_audio(tmp_path / "a.mkv", [(0, noise(2 * 48_000, num_channels))], 48_000, list(range(60)), 4800)
    reel.render_reel(path, media.probe(path), np.array([[0, 60]]), tmp_path / "reel.mp4")
    with av.open(str(tmp_path / "reel.mp4")) as container:
        assert container.streams.audio[0].bit_rate == pytest.approx(bit_rate, rel=0.15)


def test_avi_files_can_be_cut_from_their_beginning_on(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", num_frames=60, audio=tone(440, 2, 48_000), sample_rate_hz=48_000)
    avi = tmp_path / "a.avi"
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-v",
        "error",
        "-i",
        str(clip),
        "-c:v",
        "mpeg4",
        "-c:a",
        "copy",
        str(avi),
    ]
    subprocess.run(list(map(str, command)), check=True)
    reel.render_reel(avi, media.probe(avi), np.array([[3, 20], [30, 40]]), tmp_path / "reel.mp4")
    info = media.probe(tmp_path / "reel.mp4")
    assert len(info.frame_times_sec) == 27
    samples = np.concatenate(list(audio_track.read_audio(tmp_path / "reel.mp4", info, 48_000)))
    assert np.abs(samples[2000:25_000]).max() > 0.4
