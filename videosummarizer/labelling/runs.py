"""Runs: the parts of a highlight video (the query) that one offset each explains, on the best path through the scores.

Time runs in steps of fingerprints.HOP_SEC. An offset is the number of steps by which something is later in the match
than in the highlight video. Scores are those of evidence.py: seconds of perfect similarity, negative where query and
match differ.
"""

from dataclasses import dataclass, replace

import numpy as np

from videosummarizer.labelling.fingerprints import HOP_SEC

# Cost per second of an offset that is explained by only one modality.
SINGLE_MODALITY_COST = 0.04
# Consecutive runs whose offsets differ by at most this many steps are one run.
SAME_OFFSET_STEPS = 3
# Steps (1 s) by which a dissolve may extend a run.
MAX_EXTENSION_STEPS = 16
# Score that an extension has to be worth at least; less is chance.
MIN_EXTENSION_SCORE_SEC = 0.02
# Cost per second of an extension; a lower score per second is chance.
EXTENSION_COST = 0.03
# Steps (one minute) without any score that no run spans; there may be hours of them.
MAX_EMPTY_STEPS = 960
# Which modalities explain a run.
BOTH, AUDIO_ONLY, VIDEO_ONLY = range(3)
# Score for a confidence of one half, by the modalities that explain the run.
REQUIRED_SCORE_SEC = {BOTH: 0.5, AUDIO_ONLY: 2.5, VIDEO_ONLY: 0.8}


@dataclass
class AlignedRun:
    """A copied segment: query steps [first, last) and the one offset that explains them.

    Attributes:
        first: first step of the highlight video.
        last: step after the last one.
        offset: in steps.
        audio_score_sec: score of the audio over the run.
        video_score_sec: score of the frames over the run.
        runner_up_score_sec: score of the best other offset over the same steps.
        confidence: in [0, 1), set by `with_confidence`.
    """

    first: int
    last: int
    offset: int
    audio_score_sec: float
    video_score_sec: float
    runner_up_score_sec: float = 0.0
    confidence: float = 0.0

    def best_score(self) -> tuple[int, float]:
        """Return which modalities explain the run, and their score in seconds.

        A modality that clearly contradicts the offset (replaced audio, a black screen) is left out.
        """
        tolerance_sec = 0.1 * (self.last - self.first) * HOP_SEC
        if self.video_score_sec < -tolerance_sec:
            return AUDIO_ONLY, self.audio_score_sec
        if self.audio_score_sec < -tolerance_sec:
            return VIDEO_ONLY, self.video_score_sec
        return BOTH, self.audio_score_sec + self.video_score_sec

    def with_confidence(self, required_factor: float) -> "AlignedRun":
        """Return the run with its confidence.

        Half of the runner-up's score is subtracted from the run's. The confidence is 0.5 where the rest is exactly the
        required score, and approaches 1 as it grows.

        Args:
            required_factor: factor on the required score.
        """
        modalities, score_sec = self.best_score()
        surplus_sec = max(score_sec - 0.5 * max(self.runner_up_score_sec, 0), 0)
        return replace(self, confidence=1 - 0.5 ** (surplus_sec / (REQUIRED_SCORE_SEC[modalities] * required_factor)))


def viterbi_path(audio: np.ndarray, video: np.ndarray, switch_costs: np.ndarray) -> np.ndarray:
    """Return the sequence of offsets with the highest total score (Viterbi's algorithm).

    Each offset stands for three states: audio and video come from the match, or only the audio, or only the video. One
    more state stands for no offset.

    Args:
        audio: (num_steps, num_offsets) float32 scores.
        video: (num_steps, num_offsets) float32 scores.
        switch_costs: (num_steps,) float, the cost of entering an offset's state at each step; leaving costs nothing.

    Returns:
        (num_steps,) int64, the column of each step's offset, -1 for none.
    """
    num_steps, num_offsets = audio.shape
    single_cost = SINGLE_MODALITY_COST * HOP_SEC
    totals = np.full(3 * num_offsets + 1, -np.inf, np.float32)  # the last state is no offset
    totals[-1] = 0
    stays = np.zeros((num_steps, len(totals)), bool)
    best_before = np.zeros(num_steps, np.int64)
    for step in range(num_steps):
        best_before[step] = best = int(totals.argmax())
        costs = np.full(len(totals), switch_costs[step], np.float32)
        costs[-1] = 0
        stays[step] = totals >= totals[best] - costs
        totals = np.maximum(totals, totals[best] - costs)
        totals[:-1] += np.concatenate([audio[step] + video[step], audio[step] - single_cost, video[step] - single_cost])
    path = np.zeros(num_steps, np.int64)
    state = int(totals.argmax())
    for step in range(num_steps - 1, -1, -1):
        path[step] = state
        if not stays[step, state]:
            state = best_before[step]
    return np.where(path == 3 * num_offsets, -1, path % max(num_offsets, 1))


def parts_with_evidence(audio: np.ndarray, video: np.ndarray) -> list[tuple[int, int]]:
    """Return (first, last) steps of the parts between which no offset has a score for more than MAX_EMPTY_STEPS.

    Args:
        audio: (num_steps, num_offsets) float32 scores.
        video: (num_steps, num_offsets) float32 scores.
    """
    scored = np.flatnonzero(audio.any(axis=1) | video.any(axis=1))
    if not len(scored):
        return []
    if scored[0] <= MAX_EMPTY_STEPS:
        scored = np.append(0, scored)
    if len(audio) - scored[-1] <= MAX_EMPTY_STEPS:
        scored = np.append(scored, len(audio) - 1)
    breaks = np.flatnonzero(np.diff(scored) > MAX_EMPTY_STEPS)
    firsts, lasts = scored[np.append(0, breaks + 1)], scored[np.append(breaks, len(scored) - 1)] + 1
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))


def find_runs(audio: np.ndarray, video: np.ndarray, offsets: np.ndarray, switch_costs: np.ndarray) -> list[AlignedRun]:
    """Return the runs of one offset each that best explain a highlight video, in its order.

    Args:
        audio: (num_steps, num_offsets) float32 scores.
        video: (num_steps, num_offsets) float32 scores.
        offsets: (num_offsets,) int64, in steps.
        switch_costs: (num_steps,) float, the score that a run has to be worth at least if it begins at each step.

    Returns:
        Runs that do not overlap; steps that nothing explains lie between them.
    """
    columns = np.full(len(audio), -1)
    for first, last in parts_with_evidence(audio, video):
        columns[first:last] = viterbi_path(audio[first:last], video[first:last], switch_costs[first:last])
    edges = np.flatnonzero(np.diff(columns, prepend=-2, append=-2))
    runs: list[AlignedRun] = []
    for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        column = columns[first]
        if column < 0:
            continue
        run = AlignedRun(
            first, last, int(offsets[column]), *(float(s[first:last, column].sum()) for s in (audio, video))
        )
        previous = runs[-1] if runs else None
        if previous and previous.last == first and abs(previous.offset - run.offset) <= SAME_OFFSET_STEPS:
            longer = max(previous, run, key=lambda part: part.last - part.first)
            audio_score_sec = previous.audio_score_sec + run.audio_score_sec
            video_score_sec = previous.video_score_sec + run.video_score_sec
            runs[-1] = AlignedRun(previous.first, last, longer.offset, audio_score_sec, video_score_sec)
        else:
            runs.append(run)
    return runs


def extend_to_dissolve(run: AlignedRun, scores: np.ndarray, is_cut: np.ndarray) -> AlignedRun:
    """Return the run with each boundary moved outwards as far as the scores stay positive, as in a dissolve.

    Args:
        run: the run.
        scores: (num_steps,) float32, of the run's offset.
        is_cut: (num_steps,) bool, steps near a cut, which a boundary does not cross.
    """

    def num_more_steps(beyond: np.ndarray, cuts: np.ndarray) -> int:
        num_allowed = int(np.argmax(cuts)) if cuts.any() else len(cuts)
        totals = np.cumsum(beyond[:num_allowed] - EXTENSION_COST * HOP_SEC)
        return int(totals.argmax()) + 1 if len(totals) and totals.max() > MIN_EXTENSION_SCORE_SEC else 0

    before = slice(max(0, run.first - MAX_EXTENSION_STEPS), run.first)
    after = slice(run.last, run.last + MAX_EXTENSION_STEPS)
    num_before = num_more_steps(scores[before][::-1], is_cut[before][::-1])
    num_after = num_more_steps(scores[after], is_cut[after])
    return replace(run, first=run.first - num_before, last=run.last + num_after)
