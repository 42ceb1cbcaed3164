"""Stage 4 warns of a match that is unlike those that its checkpoint was trained with."""

import json

import numpy as np
import pytest
from extractor import CONFIG

from videosummarizer.extraction import scoring

# The clip is 2.4 s long, at 30 frames per second.
STATISTICS = {
    "schema_version": 1,
    "matches": 7,
    "shortest_sec": 4.0,
    "statistics": {
        "frame_rate": {"mean": 4.9069, "limit": 0.2, "matches": 7},
        "audio_level": {"mean": -12.0, "limit": 8.0, "matches": 7},
        "black_rows": {"mean": 0.0, "limit": 0.05, "matches": 7},
    },
}
BARS = "black bars over 50% of its height (there 0%)"


@pytest.fixture
def see(extract, monkeypatch):
    """A function that sets what the segments of a match show and play; an extraction with a checkpoint follows."""

    def set_arrays(frames, audio):
        def score_match(*arguments, on_arrays):
            for _ in range(5):
                on_arrays(frames, audio)
            return extract.score_match(*arguments)

        monkeypatch.setattr(scoring, "score_match", score_match)

    set_arrays(np.full(CONFIG.data_shape["video"], 100, np.uint8), np.sin(np.arange(2000, dtype=np.float32)) * 0.3)
    extract.write_checkpoint("best.hdf5", training_statistics=STATISTICS)
    return set_arrays


@pytest.fixture
def boxed():
    frames = np.zeros(CONFIG.data_shape["video"], np.uint8)
    frames[:, 4:-4] = 100
    return frames


def test_a_match_like_those_of_training_causes_no_warning(extract, see, caplog):
    assert extract(extract.match()) == 0
    assert not [text for text in caplog.messages if "unlike" in text]
    assert "unlike_training" not in extract.report()


def test_a_difference_is_named_in_a_warning_and_in_the_report(extract, see, boxed, caplog):
    see(boxed, np.zeros(2000, np.float32))
    match = extract.match()
    assert extract(match) == 0
    differences = ["no audio, or constant audio", BARS]
    assert extract.report()["unlike_training"] == differences
    expected = (
        f"{match}: unlike the 7 matches that the checkpoint was trained with: {'; '.join(differences)}. Its scores"
    )
    assert [text for text in caplog.messages if text.startswith(expected)]


def test_scores_of_an_earlier_run_keep_the_warning(extract, see, boxed, caplog):
    see(boxed, np.zeros(2000, np.float32))
    match = extract.match()
    extract(match)
    caplog.clear()
    assert extract(match, "--threshold", "0.6", "--overwrite") == 0
    assert extract.scored == ["match"]  # once
    assert len([text for text in caplog.messages if "; " + BARS in text]) == 1
    assert extract.report()["unlike_training"][1] == BARS
    (extract.folder / "cut.txt").write_text("0,30\n")
    assert extract.cut(match, "--sections", extract.folder / "cut.txt", "--overwrite") == 0
    assert extract.report()["unlike_training"][1] == BARS
    path = extract.out / "match.json"
    path.write_text(json.dumps({**extract.report(), "unlike_training": [3]}))
    assert extract(match, "--threshold", "0.7", "--overwrite") == 0
    assert "unlike_training" not in extract.report()


def test_a_short_part_is_asked_only_for_what_never_changes(extract, see, boxed):
    see(boxed, np.zeros(2000, np.float32))
    assert extract(extract.match(), "--to", "1.5") == 0
    assert extract.report()["unlike_training"] == [BARS]


@pytest.mark.parametrize("stored", [{}, {"training_statistics": {**STATISTICS, "schema_version": 2}}])
def test_a_checkpoint_without_statistics_of_this_version_causes_no_warning(extract, stored, caplog):
    extract.write_checkpoint("best.hdf5", **stored)
    assert extract(extract.match()) == 0
    assert "unlike_training" not in extract.report()
    assert not [text for text in caplog.messages if "unlike" in text]
