"""Reels of the audio track that is asked for, of the sum of all, and with every track; the checkpoint's choice."""

import shutil
from dataclasses import asdict, replace

import av
import numpy as np
import pytest
from clips import tone, write_exact_audio
from extractor import CONFIG

from videosummarizer import audio_track, media
from videosummarizer.extraction import reel, reel_sections, scoring, styled_reel
from videosummarizer.extraction.reel_style import ReelStyle

# The section of a reel of the recording: frames 24 to 48, 0.8 s to 1.6 s. The third track begins at 1 s.
SECTION = np.array([[24, 48]])
# FFmpeg mixes equal channels to mono with 3 dB more.
STEREO_LEVEL = 0.3 * 2**0.5


def tracks_of(path, rate_hz=8000):
    """Return the samples of each audio track of a file."""
    num_tracks = len(media.probe(path).audio_tracks)
    infos = [media.probe(path, number) for number in range(1, num_tracks + 1)]
    return [np.concatenate(list(audio_track.read_audio(path, info, rate_hz)))[: 8 * rate_hz // 10] for info in infos]


def level_of(samples, hz, rate_hz=8000):
    """Return the amplitude of a tone."""
    times_sec = np.arange(len(samples)) / rate_hz
    return 2 * abs(np.mean(samples * np.exp(-2j * np.pi * hz * times_sec)))


def test_every_track_is_in_the_reel_with_its_name_at_its_time(recording, tmp_path):
    path = tmp_path / "reel.mp4"
    reel.render_reel(recording, media.probe(recording), SECTION, path, audio_tracks=((1,), (2,), (3,)))
    first, second, third = tracks_of(path)
    for samples, hz, level in ((first, 440, 0.1), (second, 1000, 0.2), (third[2000:], 2500, STEREO_LEVEL)):
        assert level_of(samples[400:4400], hz) == pytest.approx(level, rel=0.1)
        assert sum(level_of(samples[400:4400], other) for other in {440, 1000, 2500} - {hz}) < 0.01
    assert np.abs(third[:1500]).max() < 0.01  # 0.2 s until the track begins
    with av.open(str(path)) as container:
        streams = container.streams.audio
        assert [stream.layout.name for stream in streams] == ["mono", "mono", "stereo"]
        assert [bool(stream.disposition) for stream in streams] == [False, True, False]
        names = [stream.metadata.get("name") for stream in streams]
        assert (names, streams[2].metadata["language"]) == ([None, "Game", "마이크"], "kor")
        lengths_sec = [float(stream.duration * stream.time_base) for stream in streams]
        assert lengths_sec == pytest.approx([0.8] * 3, abs=0.03)


def test_a_reel_of_the_mix_has_the_sum_of_all_tracks(recording, tmp_path):
    path = tmp_path / "reel.mp4"
    reel.render_reel(recording, media.probe(recording, "mix"), SECTION, path)
    (samples,) = tracks_of(path)
    for part, levels in ((samples[200:1400], (0.1, 0.2, 0)), (samples[2000:6000], (0.1, 0.2, STEREO_LEVEL))):
        assert [level_of(part, hz) for hz in (440, 1000, 2500)] == pytest.approx(levels, abs=0.03)
    with av.open(str(path)) as container:
        assert container.streams.audio[0].layout.name == "stereo"


def test_a_mix_is_limited_to_full_scale(tmp_path):
    loud = write_exact_audio(tmp_path / "loud.mkv", [(0, tone(440, 1, 8000, 0.9))], 8000, range(30))
    info = media.probe(loud)
    info = replace(info, audio_indices=info.audio_indices * 2)
    reel.render_reel(loud, info, np.array([[0, 30]]), tmp_path / "reel.mp4")
    (samples,) = tracks_of(tmp_path / "reel.mp4")
    assert level_of(samples, 440) == pytest.approx(1.15, abs=0.05)  # of a clipped sine; 1.8 without the limit


def test_a_composed_reel_has_the_sum_of_all_tracks_too(recording, tmp_path):
    info = media.probe(recording, "mix")
    sections = reel_sections.list_sections(recording, info, SECTION, "match", None)
    styled_reel.render_styled_reel(sections, tmp_path / "reel.mp4", ReelStyle(aspect="1:1"))
    (samples,) = tracks_of(tmp_path / "reel.mp4")
    levels = [level_of(samples[2000:6000], hz) for hz in (440, 1000, 2500)]
    assert levels == pytest.approx((0.1, 0.2, STEREO_LEVEL), abs=0.03)


# ---- Stage 4


@pytest.fixture
def match(extract, recording, monkeypatch):
    """Copy the recording, and note the audio that is scored in `extract.heard`."""
    extract.heard, score_match = [], scoring.score_match

    def note(video_path, info, *more):
        extract.heard.append(info.audio_indices)
        return score_match(video_path, info, *more)

    monkeypatch.setattr(scoring, "score_match", note)
    return shutil.copy(recording, extract.folder / "match.mkv")


def pitches(extract):
    return [
        [hz for hz in (440, 1000, 2500) if level_of(samples, hz) > 0.03]
        for samples in tracks_of(extract.out / "match_highlights.mp4")
    ]


def test_the_track_of_the_checkpoint_is_scored_and_cut_unless_another_one_is_asked_for(extract, match):
    second = extract.write_checkpoint("third.hdf5", config={**asdict(CONFIG), "audio_track": 3})
    for ckpt, flags, heard, expected in (
        (None, [], (2,), [[1000]]),
        (second, [], (3,), [[2500]]),
        (second, ["--audio_track=1"], (1,), [[440]]),
        (None, ["--audio_track=mix"], (1, 2, 3), [[440, 1000, 2500]]),
        (second, ["--audio_track=all"], (3,), [[440], [1000], [2500]]),
    ):
        assert extract(match, *flags, "--overwrite", ckpt=ckpt) == 0
        assert extract.heard[-1] == heard
        assert pitches(extract) == expected


def test_runs_with_another_track_are_not_mixed_up(extract, match, caplog, capsys):
    assert extract(match) == 0
    assert extract(match, "--audio_track=3") == 1
    assert "was made with no --audio_track, not --audio_track 3: --overwrite replaces it" in caplog.text
    assert extract(match, "--audio_track=3", "--overwrite") == 0
    assert len(extract.heard) == 2
    assert extract(match, "--audio_track=3") == 0
    assert "match: finished already and kept" in capsys.readouterr().out
    assert extract(match) == 1
    assert "was made with --audio_track 3, not no --audio_track" in caplog.text
    assert extract(match, "--overwrite") == 0
    assert extract(match, "--audio_track=all", "--overwrite") == 0  # another reel of the same scores
    assert extract.heard == [(2,), (3,), (2,)]
    assert len(pitches(extract)) == 3


def test_a_match_without_the_track_costs_only_itself(extract, match, caplog):
    assert extract(extract.match("single"), match, "--audio_track=2") == 1
    message = "single.mp4: received --audio_track 2 for a file with one audio track, expected the number of "
    assert message in caplog.text
    assert (extract.out / "match_highlights.mp4").exists()


def test_all_tracks_are_refused_where_a_reel_has_one(extract, match, capsys):
    for flags in (["--aspect=1:1"], ["--transition=0.2"], ["--captions"], ["--intro=Finale"]):
        with pytest.raises(SystemExit) as raised:
            extract(match, "--audio_track=all", *flags)
        assert raised.value.code == 2
        assert "argument --audio_track: received all together with --aspect, --transition, " in capsys.readouterr().err
