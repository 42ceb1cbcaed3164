"""What the scores of a match are made of, and the words for its stretches."""

import csv
import json
import logging
from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from clips import tone, write_clip
from matplotlib.figure import Figure
from scipy.special import expit
from small_network import build_fused_network, random_match
from test_outputs import FOUND

from videosummarizer import media
from videosummarizer.dataset.metadata import DataConfig
from videosummarizer.evaluation import plots
from videosummarizer.extraction import measures, outputs, reason_plots, reasons, scoring
from videosummarizer.extraction.reasons import Reasons, describe_steps, describe_stretches
from videosummarizer.training import contributions, inference

NUM_STEPS, STEP_SEC = 400, 0.5
DRAW_TIMELINE = outputs.draw_timeline
SELECTED_BY = {name: selected_by for selected_by, name in outputs.LEFT_OUT_NAMES.items()}


def measured_as(**values):
    """Reasons of a match of 400 steps in segments of 4, in which all but the given measures stay the same."""
    columns = [np.broadcast_to(values.get(name, 0.0), NUM_STEPS) for name in measures.MEASURES]
    parts = ("loudness",), np.zeros((100, 1)), np.zeros((100, 4, 1))
    return Reasons(*parts, measures.MEASURES, np.stack(columns, axis=1).reshape(100, 4, -1))


def contributed(**parts):
    """Reasons of a match of 400 steps, with constant measures and the given contributions."""
    columns = np.stack([np.broadcast_to(values, NUM_STEPS) for values in parts.values()], axis=1).astype(float)
    steps = columns.reshape(100, 4, -1)
    return replace(measured_as(), part_names=tuple(parts), segments=steps.mean(axis=1), steps=steps)


def words(given, first, end):
    (received,) = describe_stretches(given, NUM_STEPS, np.array([[first, end]]) * STEP_SEC, STEP_SEC)
    return received


# ---- Words


def test_a_stretch_is_loud_if_it_is_louder_than_four_fifths_of_the_match_however_loud_that_is():
    level = np.full(NUM_STEPS, 0.01)
    level[100:140], level[200:240], level[300:340] = 0.03, 0.02, 0.001
    for factor in (1, 30, 0.01):
        given = measured_as(level=level * factor)
        assert words(given, 100, 140) == words(given, 105, 110) == ["loud for this match"]
        assert words(given, 300, 340) == ["quiet for this match"]
        assert words(given, 0, 40) == []
    half_loud = np.where(np.arange(NUM_STEPS) % 80 < 40, 0.5, 0.01)
    assert words(measured_as(level=half_loud), 80, 100) == []  # it is so in half of the match


def test_each_word_comes_from_what_it_names():
    peak = np.where((np.arange(NUM_STEPS) >= 40) & (np.arange(NUM_STEPS) < 60), 1.0, 0.5)
    for given, high, low in (
        ({"onsets": peak}, ["sudden sounds"], []),
        ({"motion": 20 * peak}, ["much motion"], []),
        ({"shots": peak}, ["abrupt changes of picture"], []),
        ({"onsets": 1 - peak}, [], []),
        ({"shots": 1 - peak}, [], []),
        ({"motion": 20 - 10 * peak}, ["little motion"], []),
        ({"level": peak, "motion": 10 * peak}, ["loud for this match", "much motion"], []),
    ):
        assert words(measured_as(**given), 40, 60) == high, given
        assert words(measured_as(**given), 100, 120) == low, given


def test_the_rounding_of_an_encoder_has_no_words():
    noise = np.random.default_rng(0).uniform(0, 1, NUM_STEPS)
    given = measured_as(level=0.3 + 0.005 * noise, onsets=0.009 * noise, motion=0.9 * noise, shots=0.019 * noise)
    names, is_said = describe_steps(given, NUM_STEPS, STEP_SEC)
    assert len(names) == 6
    assert not is_said.any()
    assert describe_steps(measured_as(level=noise, motion=9 * noise), NUM_STEPS, STEP_SEC)[1].any()


def test_a_stretch_of_more_than_a_quarter_of_the_match_has_no_words():
    level = np.where(np.arange(NUM_STEPS) < 101, 0.5, 0.01)
    assert words(measured_as(level=level), 0, 100) == ["loud for this match"]
    assert words(measured_as(level=level), 0, 101) == []


def test_a_step_has_the_words_of_the_three_seconds_around_it():
    level = np.full(NUM_STEPS, 0.1)
    level[200] = 1.0
    names, is_said = describe_steps(measured_as(level=level), NUM_STEPS, STEP_SEC)
    loud = is_said[names.index("loud for this match")]
    assert np.flatnonzero(loud).tolist() == list(range(198, 204))
    assert words(measured_as(level=level), 195, 201) == ["loud for this match"]
    assert describe_steps(measured_as(level=level), 3, STEP_SEC)[1].shape == (6, 3)  # a match shorter than a stretch


def test_a_modality_is_named_that_raises_the_score_more_than_all_others_change_it():
    burst = np.where((np.arange(NUM_STEPS) >= 40) & (np.arange(NUM_STEPS) < 60), 1.0, 0.0)
    given = contributed(loudness=-3.0, audio=2 * burst, video=1 + 0.5 * burst, offset=-4.0)
    assert words(given, 40, 60) == ["mainly audio"]
    assert words(given, 100, 120) == []
    assert words(contributed(loudness=burst, audio=burst, video=0.0), 40, 60) == []
    assert words(contributed(loudness=-burst, audio=0.5 * burst, video=0.0), 40, 60) == []
    assert words(contributed(loudness=burst, onsets=0.0), 40, 60) == []  # parts of the activity are no sum


# ---- Contributions


def with_offset(network, offset):
    """Let the network's fusion have an offset, as that of a calibrated checkpoint has."""
    for name in ("highlight", "steps"):
        fusion = network.get_layer(f"fusion_{name}")
        if getattr(fusion, "offset", None) is not None:
            fusion.offset.assign(offset)


def test_the_contributions_add_up_to_the_log_odds_of_the_scores_which_stay_as_they_are():
    keras.utils.set_random_seed(1)
    network = build_fused_network({"video": (1, 2, 2, 3), "audio": (4,)})
    for name, weights in (("highlight", (1.0, 0.5, 0.25)), ("steps", (0.5, 2.0, 1.0))):
        network.get_layer(f"fusion_{name}").fusion_weights.assign(weights)
    with_offset(network, -0.75)
    segments = list(zip(*random_match(6), strict=True))
    explained = contributions.add_logits(network)
    assert contributions.add_logits(network) is explained  # of all matches it is the same
    names = (*inference.OUTPUTS, *contributions.LOGITS_OUTPUTS)
    rows = np.stack(list(inference.score_segments(explained, iter(segments), names=names))).astype(np.float64)
    before = np.stack(list(inference.score_segments(network, iter(segments))))
    num_scores = before.shape[1]
    np.testing.assert_array_equal(rows[:, :num_scores], before)
    part_names, of_segments, of_steps = contributions.split_contributions(explained, rows[:, num_scores:])
    assert part_names[:3] == ("loudness", "audio", "video")
    assert of_steps.shape == (6, num_scores - 1, len(part_names))
    np.testing.assert_allclose(expit(of_segments.sum(axis=-1)), before[:, 0], atol=1e-6)
    np.testing.assert_allclose(expit(of_steps.sum(axis=-1)), before[:, 1:], atol=1e-6)
    # Each is the modality's own score, weighted.
    alone = np.stack(list(inference.score_segments(network, iter(segments), names=("video_steps",))))
    np.testing.assert_allclose(expit(of_steps[..., 2]), alone, atol=1e-6)
    assert np.ptp(of_steps, axis=(0, 1))[:3].min() > 0.01


def test_logits_that_are_infinite_are_limited():
    network = contributions.add_logits(build_fused_network({"video": (1, 2, 2, 3), "audio": (4,)}))
    num_steps = network.output["steps"].shape[-1]
    _, of_segments, of_steps = contributions.split_contributions(network, np.full((2, 3 + 3 * num_steps), -np.inf))
    assert np.isfinite(of_segments).all()
    assert np.isfinite(of_steps).all()


def test_a_network_without_fusion_has_no_contributions():
    x = keras.Input((None, 4), name="audio")
    assert (
        contributions.add_logits(keras.Model(x, {"highlight": keras.layers.Dense(1, name="fusion_steps")(x)})) is None
    )


# ---- A match


@pytest.fixture(scope="module")
def match(tmp_path_factory):
    """A match of 20 s that is loud from 8 to 12 s."""
    audio = np.concatenate([tone(440, 8, amplitude=0.05), tone(440, 4, amplitude=0.8), tone(440, 8, amplitude=0.05)])
    return write_clip(tmp_path_factory.mktemp("match") / "match.mp4", num_frames=600, audio=audio)


@pytest.mark.parametrize("apply_mfcc", [False, True])
def test_a_match_is_measured_while_it_is_scored_and_decoded_once(match, monkeypatch, apply_mfcc):
    config, reads, read = DataConfig(1.0, 2, 16, 16, 4000, apply_mfcc), [], scoring.read_match
    monkeypatch.setattr(scoring, "read_match", lambda *given: reads.append(1) or (yield from read(*given)))
    network = SimpleNamespace(output={"steps": np.zeros((1, 1, 2))})
    monkeypatch.setattr(contributions, "add_logits", lambda network: network)
    parts = ("loudness", "audio", "video"), np.zeros((20, 3)), np.zeros((20, 2, 3))
    monkeypatch.setattr(contributions, "split_contributions", lambda *given: parts)

    def score_segments(network, segment_arrays, window_length, names):
        return (np.zeros(3 + 3 + 6, np.float32) for _ in segment_arrays)

    monkeypatch.setattr(inference, "score_segments", score_segments)
    scores, steps, why = scoring.score_match(match, media.probe(match), config, lambda: network)
    assert (scores.shape, steps.shape, why.measured.shape[:2], len(reads)) == ((20,), (20, 2), (20, 2), 1)
    if apply_mfcc:  # without a waveform, only the picture is measured
        assert why.measure_names == ("motion", "shots")
        return
    level = why.measured[..., 0].ravel()
    np.testing.assert_allclose(level[[20, 36]] / level[4], [16, 1], rtol=0.05)
    assert why.measured[..., 2].min() >= 0
    assert describe_stretches(why, 40, np.array([[8.0, 12.0]]), 0.5)[0][0] == "loud for this match"


def test_large_frames_are_measured_at_a_part_of_their_pixels():
    frames = np.full((4, 130, 200, 3), 40, np.uint8)
    frames[:, 1::2, :], frames[:, :, 1::2] = 255, 0  # these are left out
    frames[2:, ::2, ::2] = 90
    meter = measures.StepMeter(DataConfig(1.0, 4, 130, 200, 4000, False), 4)
    np.testing.assert_array_equal(meter.measure(frames, np.zeros(4000, np.float32))[:, 2], [0, 0, 50, 0])


def explained_match():
    """FOUND with contributions, of which the log-odds are the sum, and measures."""
    rng = np.random.default_rng(0)
    log_odds = np.log(np.clip(FOUND.scores.steps, 1e-6, 1 - 1e-6) / (1 - np.clip(FOUND.scores.steps, 1e-6, 1 - 1e-6)))
    parts = np.stack([log_odds - 0.5, np.full((4, 2), 0.25), np.full((4, 2), 0.25)], axis=-1)
    why = Reasons(reasons.PART_NAMES[:3], parts.mean(axis=1), parts, measures.MEASURES, rng.uniform(1, 9, (4, 2, 4)))
    return replace(FOUND, scores=replace(FOUND.scores, reasons=why.rounded()))


def test_the_files_hold_the_contributions_and_words_and_are_read_again(tmp_path):
    result = explained_match()
    path, why = tmp_path / "scores.csv", result.scores.reasons
    path.write_bytes(outputs.write_scores(result))
    rows = list(csv.DictReader(path.read_text().splitlines()))
    columns = ["loudness_log_odds", "audio_log_odds", "video_log_odds"]
    assert list(rows[0]) == [*outputs.SCORES_HEADER.split(","), *columns, "words"]
    np.testing.assert_allclose([[float(row[name]) for name in columns] for row in rows], why.segments)
    report = json.loads(outputs.write_report(result, {}))
    (first, _) = report["sections"]
    assert list(first)[-2:] == ["contributions", "words"]
    # The section lies in steps 2 to 4 of 0.35 s, from 0.7073 to 1.40803 s.
    expected = np.average(why.steps.reshape(-1, 3)[2:5], axis=0, weights=[1.05 - 0.707333, 0.35, 0.008033])
    np.testing.assert_allclose(list(first["contributions"].values()), expected, atol=1e-4)
    assert list(report["step_contributions"]) == ["loudness", "audio", "video"]
    again = outputs.read_reasons(report, path, (4, 2))
    for name in ("segments", "steps", "measured"):
        np.testing.assert_array_equal(getattr(again, name), getattr(why, name))
    assert (again.part_names, again.measure_names) == (why.part_names, why.measure_names)
    assert outputs.read_scores(path)[0].tolist() == FOUND.scores.segments.tolist()


@pytest.mark.parametrize(
    "damage",
    [
        {"step_contributions": None},
        {"step_contributions": [1, 2]},
        {"step_contributions": {"loudness": [[1.0]]}},
        {"step_contributions": {"taste": [[0.0] * 2] * 4}},
        {"step_contributions": {"audio": [[float("nan")] * 2] * 4}},
        {"step_contributions": {"offset": [[0.0] * 2] * 4}},
        {"step_measures": {}},
        {"step_measures": {"level": [["loud"] * 2] * 4}},
        {"step_measures": {"level": [[1e300] * 2] * 4}},
    ],
)
def test_damaged_reasons_are_none(tmp_path, damage):
    result, path = explained_match(), tmp_path / "scores.csv"
    path.write_bytes(outputs.write_scores(result))
    report = json.loads(outputs.write_report(result, {}))
    assert outputs.read_reasons(report, path, (4, 2)) is not None
    assert outputs.read_reasons(report | damage, path, (4, 2)) is None


def test_another_threshold_keeps_the_reasons_without_scoring_again(extract, monkeypatch, caplog):
    why = Reasons(("loudness", "audio", "video"), np.ones((5, 3)), np.ones((5, 2, 3)), ("motion",), np.ones((5, 2, 1)))
    scored = extract.score_match
    monkeypatch.setattr(scoring, "score_match", lambda *given: (*scored(*given)[:2], why))
    match = extract.match()
    with caplog.at_level(logging.ERROR):
        assert extract(match) == 0
        assert extract(match, "--threshold", "0.2", "--overwrite") == 0
    assert (caplog.messages, extract.scored) == ([], ["match"])
    assert extract.report()["step_contributions"] == {name: [[1.0, 1.0]] * 5 for name in why.part_names}
    assert extract.report()["sections"][0]["contributions"] == dict.fromkeys(why.part_names, 1.0)
    labels = extract.folder / "corrected.txt"
    labels.write_text("0,30\n")
    assert extract.cut(match, "--sections", labels, "--overwrite") == 0  # also without a checkpoint
    assert list(extract.report()["sections"][0]["contributions"]) == list(why.part_names)


# ---- The timeline


def test_the_timeline_shows_the_contributions_and_the_words_below_the_scores(monkeypatch):
    figures, to_png = [], plots.to_png
    monkeypatch.setattr(plots, "to_png", lambda figure: figures.append(figure) or to_png(figure))
    result = explained_match()
    outputs.draw_timeline(result)
    scores, parts, words = figures[0].axes
    steps = result.scores.reasons.steps.reshape(-1, 3)
    drawn = {patch.get_label(): patch.get_data() for patch in parts.patches}
    assert list(drawn) == ["loudness", "audio", "video"]
    for name, column in zip(drawn, steps.T, strict=True):
        np.testing.assert_array_equal(drawn[name].values, column)
        np.testing.assert_allclose(drawn[name].edges, np.arange(9) * 0.35)
    assert [text.get_text() for text in parts.get_legend().get_texts()] == list(drawn)
    assert parts.get_ylabel() == "log-odds"
    assert [label.get_text() for label in words.get_yticklabels()] == describe_steps(result.scores.reasons, 8, 0.35)[0]
    assert scores.get_xlim() == parts.get_xlim() == words.get_xlim() == (0, 2.8)


@pytest.mark.parametrize(
    ("arguments", "left_out", "added"),
    [
        (["--length", "0.5"], "left out by --length", "added by --padding"),
        (["--padding", "0.5"], "left out", "added by --padding"),
        (["--sections"], "not in the label file", "only in the label file"),
    ],
)
def test_the_timeline_names_what_else_selected_sections(extract, monkeypatch, arguments, left_out, added):
    names, draw = [], plots.plot_timeline
    monkeypatch.setattr(outputs, "draw_timeline", DRAW_TIMELINE)
    monkeypatch.setattr(plots, "plot_timeline", lambda *given: names.append(given[10:12]) or draw(*given))
    if arguments == ["--sections"]:
        (extract.folder / "corrected.txt").write_text("0,30\n")
        arguments = ["--sections", extract.folder / "corrected.txt"]
    assert extract(extract.match(), *arguments) == 0
    assert names == [(left_out, added)]
    assert f'"selected_by": "{SELECTED_BY[left_out]}"' in (extract.out / "match.html").read_text()


def test_contributions_are_drawn_over_time_and_words_as_rows():
    top, bottom = Figure().subplots(2)
    parts = np.array([[0.5, -1.0, 0.0], [1.5, 0.2, 0.0]])
    edges_sec = np.array([0.0, 0.5, 0.9])
    reason_plots.plot_parts(top, parts, ("loudness", "audio", "video"), edges_sec, "log-odds")
    drawn = {patch.get_label(): patch.get_data() for patch in top.patches}
    assert {name: data.values.tolist() for name, data in drawn.items()} == {
        "loudness": [0.5, 1.5],
        "audio": [-1.0, 0.2],
        "video": [0.0, 0.0],
    }
    assert all(data.edges.tolist() == [0.0, 0.5, 0.9] for data in drawn.values())
    assert len({patch.get_edgecolor() for patch in top.patches}) == 3
    assert top.get_ylim()[0] < -1 < 1.5 < top.get_ylim()[1]
    reason_plots.plot_words(bottom, ["loud", "quiet"], np.array([[False, True], [False, False]]), edges_sec)
    boxes = [[path.get_extents() for path in row.get_paths()] for row in bottom.collections]
    assert [[(box.x0, box.x1) for box in row] for row in boxes] == [[(0.5, 0.9)], []]
    assert [label.get_text() for label in bottom.get_yticklabels()] == ["loud", "quiet"]
    assert bottom.get_ylim() == (2, 0)
