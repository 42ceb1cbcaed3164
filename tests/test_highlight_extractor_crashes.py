"""A decoder that dies by a signal while a match is scored or its reel is cut costs only that match, or its reel."""

import contextlib
import re
import signal

import numpy as np
import pytest
from extractor import STEP_SCORES, all_files
from held_process import Crash

from videosummarizer.extraction import decoding_process, scoring
from videosummarizer.training import inference

SCORE_MATCH = scoring.score_match


@pytest.fixture
def crash(tmp_path, monkeypatch, extract, real_processes):
    """Return a function that makes the process of the decoder die; scores come from stand-ins of the network."""
    monkeypatch.setattr(scoring, "score_match", SCORE_MATCH)

    def score_segments(network, segment_arrays, window_length, names):
        for steps, _ in zip(STEP_SCORES, segment_arrays, strict=True):
            yield np.array([max(steps), *steps], np.float32)

    monkeypatch.setattr(inference, "score_segments", score_segments)

    def set_up(function, text, signal_number):
        environment = Crash(tmp_path / "crash", function, text, signal_number).environment
        for name in ("PYTHONPATH", "CRASH"):
            monkeypatch.setenv(name, environment[name])

    return set_up


@pytest.mark.parametrize(
    ("function", "signal_number"),
    [
        ("videosummarizer.media:probe", signal.SIGABRT),
        ("videosummarizer.video_track:read_frames", signal.SIGSEGV),
        ("videosummarizer.audio_track:read_audio", signal.SIGKILL),
    ],
)
def test_a_decoder_that_dies_costs_only_its_match(extract, crash, capsys, caplog, function, signal_number):
    crash(function, "/second.mp4'", signal_number)
    matches = [extract.match(title) for title in ("first", "second", "third")]
    for _ in range(2):  # the rerun says the same
        caplog.clear()
        assert extract(*matches) == 1
        message, summary = caplog.messages
        assert re.fullmatch(
            rf"{matches[1]}: cannot be decoded \(its process was ended by {signal_number.name}(, which the system "
            r"sends if memory runs out)?\): record or download it again, or move it elsewhere",
            message,
        )
        assert summary == f"1 of 3 matches failed: {matches[1]}"
        assert extract.names() == all_files("first", "third")
    assert extract.loaded == ["best.hdf5"] * (1 if function.endswith("probe") else 2)
    assert capsys.readouterr().out.count("finished already and kept") == 2


def test_a_decoder_that_dies_while_the_reel_is_cut_costs_the_reel_and_debug_shows_where(extract, crash, caplog):
    crash("videosummarizer.atomic_file:replace_durably", "_highlights.mp4", signal.SIGSEGV)  # once all is encoded
    matches = [extract.match(title) for title in ("first", "second")]
    assert extract(*matches, "--debug", "--hwaccel", "none") == 1
    reason = "cannot be decoded (its process was ended by SIGSEGV): record or download it again, or move it elsewhere"
    assert caplog.messages[:2] == [f"{path}: {reason}" for path in matches]
    assert "in render_reel" in caplog.text
    reels = {f"{title}_highlights.mp4" for title in ("first", "second")}
    assert extract.names() == all_files("first", "second") - reels  # and no .part


def test_scores_and_reel_are_those_of_decoding_in_the_same_process(extract, crash, monkeypatch):
    match = extract.match()
    crash("videosummarizer.media:probe", "no such text", signal.SIGABRT)
    assert extract(match) == 0
    of_process = {name: (extract.out / name).read_bytes() for name in ("match_scores.csv", "match_highlights.mp4")}
    monkeypatch.setattr(decoding_process, "running", contextlib.nullcontext)
    assert extract(match, "--overwrite") == 0
    assert {name: (extract.out / name).read_bytes() for name in of_process} == of_process
