"""The audio track that is asked for: one by its number, or the sum of all, in the check, the dataset and its folder."""

import json
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from clips import ffmpeg, tone, write_clip, write_exact_audio

import data_converter
import main
from videosummarizer import audio_mix, audio_track, media
from videosummarizer.argument_types import audio_choice_or_all
from videosummarizer.dataset.metadata import SUBSETS, DataConfig, parse_config

RATE_HZ = 8000


def read(path, track, rate_hz=RATE_HZ):
    return np.concatenate(list(audio_track.read_audio(path, media.probe(path, track), rate_hz)))


def loudest_hz(samples, rate_hz=RATE_HZ):
    return float(np.argmax(np.abs(np.fft.rfft(samples)))) * rate_hz / len(samples)


@pytest.mark.parametrize(("track", "expected_hz"), [(None, 1000), (1, 440), (2, 1000), (3, 2500)])
def test_one_track_is_read_by_its_number_in_the_file(recording, track, expected_hz):
    assert loudest_hz(read(recording, track)) == pytest.approx(expected_hz, abs=1)
    assert media.probe(recording, track).track_problems == ()


@pytest.mark.parametrize("rate_hz", [RATE_HZ, 11_025])
def test_the_mix_is_the_sum_of_all_tracks_at_their_own_levels_and_times(recording, rate_hz):
    tracks = [read(recording, number, rate_hz) for number in (1, 2, 3)]
    received = read(recording, "mix", rate_hz)
    expected = np.zeros(max(map(len, tracks)), np.float32)
    for samples in tracks:
        expected[: len(samples)] += samples
    np.testing.assert_allclose(received, expected, atol=1e-6)
    np.testing.assert_array_equal(tracks[2][: rate_hz // 2], 0)  # its timestamps begin at 1 s
    power = np.abs(np.fft.rfft(received[:rate_hz]))
    assert power[440] / power[1000] == pytest.approx(0.5, rel=0.05)
    assert power[2500] < 0.02 * power[440]
    info = media.probe(recording, "mix")
    assert info.audio == "pcm_f32le mono 8000 Hz + pcm_f32le mono 8000 Hz + pcm_f32le stereo 8000 Hz"
    assert info.audio_gaps_sec == ()


def test_a_mix_that_begins_later_is_the_same_from_there_on(recording):
    info = media.probe(recording, "mix")
    later = np.concatenate(list(audio_track.read_audio(recording, info, RATE_HZ, from_sec=0.75)))
    np.testing.assert_allclose(later, read(recording, "mix")[RATE_HZ * 3 // 4 :], atol=1e-6)


def test_packets_of_a_longer_track_do_not_wait_for_one_that_has_ended(tmp_path, monkeypatch):
    inputs = []
    for hz, duration_sec, amplitude in ((440, 1, 0.4), (1000, 40, 0.1)):
        samples = tone(hz, duration_sec, RATE_HZ, amplitude)
        path = write_exact_audio(tmp_path / f"{hz}.mkv", [(0, samples)], frame_ticks=[0])
        inputs += ["-i", path]
    ffmpeg(*inputs, "-map", "0:v", "-map", "0:a", "-map", "1:a", "-c", "copy", tmp_path / "match.mkv")
    info, demux, packets = media.probe(tmp_path / "match.mkv", "mix"), media.demux, []

    def count(*arguments):
        for packet in demux(*arguments):
            packets.append(packet.stream.index)
            yield packet

    monkeypatch.setattr(media, "demux", count)
    blocks = audio_track.read_audio(tmp_path / "match.mkv", info, RATE_HZ)
    received = next(blocks)
    while len(received) < 2 * RATE_HZ:
        received = np.append(received, next(blocks))
    assert [loudest_hz(received[:4000]), loudest_hz(received[12000:16000])] == pytest.approx([440, 1000], abs=3)
    assert len(packets) < 500  # of 820, each of 0.05 s
    blocks.close()


def test_a_track_that_the_file_lacks_is_named_with_those_that_it_has(recording, tmp_path):
    with pytest.raises(media.TrackError) as raised:
        media.probe(recording, 4)
    assert str(raised.value) == (
        f"{recording}: received --audio_track 4 for a file with 3 audio tracks, expected the number of one of "
        "1 (pcm_f32le mono 8000 Hz), 2 (pcm_f32le mono 8000 Hz, 'Game'), "
        "3 (pcm_f32le stereo 8000 Hz, '마이크', 'kor')"
    )
    silent = write_clip(tmp_path / "silent.mp4", 30)
    with pytest.raises(media.TrackError, match="received --audio_track 1 for a file with no audio track, expected a "):
        media.probe(silent, 1)
    assert media.probe(silent, "mix").audio is None


def test_a_mix_leaves_out_tracks_that_cannot_be_read_and_names_them(recording, tmp_path):
    content = recording.read_bytes()
    path = tmp_path / "match.mkv"
    path.write_bytes(content.replace(b"A_PCM/FLOAT/IEEE", b"A_UNKNOWN/CODEC_", 1))
    info = media.probe(path, "mix")
    assert info.track_problems == ("audio track 1 (unknown) has no decoder in FFmpeg: it counts as absent",)
    np.testing.assert_array_equal(read(path, "mix"), sum_of(read(path, 2), read(path, 3)))
    assert media.probe(path).track_problems == ()  # the default one is another
    assert media.probe(path, 3).track_problems == ()
    with pytest.raises(media.TrackError, match=r"received --audio_track 1 \(unknown\), which has no decoder in "):
        media.probe(path, 1)


def sum_of(first, second):
    total = np.zeros(max(len(first), len(second)), np.float32)
    total[: len(first)] += first
    total[: len(second)] += second
    return total


def test_blocks_of_any_length_are_added_up_and_ended_tracks_are_silent():
    random = np.random.default_rng(0)
    samples = [random.normal(size=(2, length)).astype(np.float32) for length in (1000, 700, 0, 1)]
    cuts = [np.sort(random.integers(0, part.shape[1] + 1, 20)) for part in samples]
    tracks = [iter(np.split(part, cut, axis=1)) for part, cut in zip(samples, cuts, strict=True)]
    received = np.concatenate(list(audio_mix.add_up(tracks)), axis=1)
    expected = np.zeros((2, 1000), np.float32)
    for part in samples:
        expected[:, : part.shape[1]] += part
    np.testing.assert_allclose(received, expected, atol=1e-6)
    assert list(audio_mix.add_up([iter(())])) == []


# ---- Stage 1


@pytest.fixture
def folder(tmp_path, recording):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "match.mkv").symlink_to(recording)
    (tmp_path / "in" / "match.txt").write_text("0,15\n")
    return tmp_path / "in"


def convert(folder, *more):
    return data_converter.main([str(folder), "1", "2", "8", "8", "8000", "0", *map(str, more), "--workers", "1"])


@pytest.mark.parametrize("track", [None, 1, 3, "mix"])
def test_a_dataset_holds_the_track_and_states_it(tmp_path, folder, recording, track, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = [] if track is None else ["--audio_track", track]
    assert convert(folder, *flags) == 0
    name = "dataset_sl1_vsr2_vw8_vh8_asr8000" + ("" if track is None else f"_at{track}")
    config = json.loads((tmp_path / name / "metadata.json").read_text())["config"]
    assert list(config)[:6] == list(DataConfig.__dataclass_fields__)[:6]
    assert config.get("audio_track", "absent") == ("absent" if track is None else track)
    paths = sorted((tmp_path / name / "match").iterdir())
    audio = np.concatenate([pickle.loads(path.read_bytes())["audio"] for path in paths])
    expected = read(recording, track)
    np.testing.assert_allclose(audio[: len(expected)], expected / np.abs(expected).max(), atol=1e-6)


def test_choices_of_tracks_are_not_mixed_up_in_one_folder(tmp_path, folder, caplog):
    assert convert(folder, tmp_path / "out") == 0
    assert convert(folder, tmp_path / "out", "--audio_track", "2") == 1  # the same audio here, but not in every match
    assert "made with segment_length 1.0, " in caplog.text
    assert "apply_mfcc False, audio_track 2: give --overwrite to replace it" in caplog.text
    assert convert(folder, tmp_path / "out", "--audio_track", "2", "--overwrite") == 0
    assert convert(folder, tmp_path / "out", "--audio_track", "2") == 0
    assert convert(folder, tmp_path / "out") == 1


def test_the_check_lists_the_tracks_and_refuses_what_a_conversion_refuses(tmp_path, folder, capsys, caplog):
    write_clip(folder / "single.mp4", 30, audio=tone(440, 1))
    (folder / "single.txt").touch()
    assert convert(folder, tmp_path / "out", "--check") == 0
    tracks = ["1 (pcm_f32le mono 8000 Hz)", "2 (pcm_f32le mono 8000 Hz, 'Game', in use)"]
    tracks += ["3 (pcm_f32le stereo 8000 Hz, '마이크', 'kor')"]
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert notes == [f"note: {folder / 'match.mkv'}: the audio tracks are {', '.join(tracks)}"]
    assert convert(folder, tmp_path / "out", "--check", "--audio_track", "mix") == 0
    assert capsys.readouterr().out.count("in use") == 3
    assert convert(folder, tmp_path / "out", "--check", "--decode", "--audio_track", "2") == 1
    message = f"{folder / 'single.mp4'}: received --audio_track 2 for a file with one audio track, expected the number "
    message += "of one of 1 (aac mono 44100 Hz)"
    out = capsys.readouterr().out
    assert f"error: {message}\n" in out
    assert "1 of 2 matches can be converted" in out
    assert convert(folder, tmp_path / "out", "--audio_track", "2") == 1
    assert message in caplog.messages
    assert (tmp_path / "out" / "match").is_dir()


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "mixed", "all", "", "²", "9999999999"])
def test_wrong_tracks_are_refused_by_name(folder, capsys, value):
    with pytest.raises(SystemExit) as raised:
        convert(folder, f"--audio_track={value}")
    assert raised.value.code == 2
    expected = f"argument --audio_track: received {value!r}, expected the number of an audio track, from 1 on, or mix\n"
    assert expected in capsys.readouterr().err
    if value != "all":
        with pytest.raises(Exception, match="expected the number of an audio track, from 1 on, mix or all"):
            audio_choice_or_all(value)


def test_settings_of_datasets_and_checkpoints_with_a_track_are_checked():
    settings = vars(DataConfig(1, 2, 8, 8, 8000, False))
    for track in (None, 1, 7, "mix"):
        config = parse_config({**settings, "audio_track": track})
        assert (config.audio_track, parse_config(config.to_dict())) == (track, config)
    for track in (0, -1, 1.0, True, "all", "x" * 999, [1], {}):
        with pytest.raises(ValueError, match="config"):
            parse_config({**settings, "audio_track": track})


def test_a_run_and_its_checkpoint_state_the_track_of_the_dataset():
    args = SimpleNamespace(learning_rate=1e-3, epochs=1, seed=0, init_ckpt=None)
    for track in (None, 2, "mix"):
        config = DataConfig(1, 2, 8, 8, 8000, False, track)
        counts = dict.fromkeys(SUBSETS, 1)
        loader = SimpleNamespace(config=config, batch_size=1, fold=(0, 5), num_segments=counts, has_undecided=False)
        stored = main.run_settings(args, loader)["data config"]
        assert ("audio_track" in stored) == (track is not None)
        assert parse_config(json.loads(json.dumps(stored))) == config
