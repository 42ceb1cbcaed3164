"""Where in a match each part of an edit was cut from, by fingerprints of sound and picture.

The edit's time runs in steps of fingerprints.HOP_SEC. An offset is how many steps later in the match an instant of the
edit is shown. Evidence for an offset at a step is the likeness of the fingerprints there, less what chance gives, in
seconds of a perfect likeness: positive where they are alike, negative where they differ, 0 where there is nothing to
hear or see.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import maximum_filter1d

from videosummarizer.labelling import evidence
from videosummarizer.labelling.evidence import OFFSETS_PER_BLOCK, STEPS_PER_BLOCK
from videosummarizer.labelling.fingerprints import HOP_SEC, Descriptors, shown_at

MAX_CELLS = 16_000_000  # steps times offsets, which memory holds several times in float32
ALONE_COST = 0.04  # a second of an offset for which one of sound and picture has to be left out of account
SWITCH_COST_SEC, CUT_COST_SEC = 0.6, 0.3  # evidence that a run has to be worth, less if it begins at a cut
RIVAL_STEPS = 8  # offsets that differ by less are the same place
SURE = 0.97
MIN_SURE_SHARE = 0.1
DOUBTFUL_EDIT_FACTOR = 4.0
LIKELY = 0.5
SEEKING_COST_FACTOR = 0.3  # of the cost of a run, when places to look at are sought
MIN_HEARD_SHARE, MAX_FOUND_SHARE = 0.2, 0.95
MAX_READ_SHARE = 1.5  # of the edit's length, for which pictures of the match are read
END_STEPS, INSIDE_STEPS, MIDDLE_STEPS = 64, 32, 16
CLEAR_SEC = 0.15  # evidence in a second that makes clear on which side of an end it lies
NEAR_CUT_STEPS = 4
MAX_GROWTH_STEPS = 16
MIN_GROWTH_SEC, GROWTH_COST = 0.02, 0.03  # what is less, and less a second, is chance
SAME_OFFSET_STEPS = 3
BOTH, SOUND_ALONE, PICTURE_ALONE = range(3)
REQUIRED_SEC = {BOTH: 0.5, SOUND_ALONE: 2.5, PICTURE_ALONE: 0.8}  # evidence for a confidence of one half


@dataclass
class AlignedRun:
    """Steps [first, last) of the edit and the offset that explains them.

    sound_sec, picture_sec: evidence for the offset. rival_sec: the evidence for the best of the other offsets.
    confidence: set by `Search.runs`.
    """

    first: int
    last: int
    offset: int
    sound_sec: float
    picture_sec: float
    rival_sec: float = 0.0
    confidence: float = 0.0

    def evidence(self) -> tuple[int, float]:
        """Which evidence counts, that of both or of one where the other speaks against it, and how much it is."""
        tolerance_sec = 0.1 * (self.last - self.first) * HOP_SEC
        if self.picture_sec < -tolerance_sec:
            return SOUND_ALONE, self.sound_sec
        if self.sound_sec < -tolerance_sec:
            return PICTURE_ALONE, self.picture_sec
        return BOTH, self.sound_sec + self.picture_sec

    def rate(self, required_factor: float) -> "AlignedRun":
        """The run with its confidence, in [0, 1): one half where the evidence, less the half of what there is for
        another place, is just what is required, and nearer to 1 the more it is."""
        kind, evidence_sec = self.evidence()
        surplus_sec = max(evidence_sec - 0.5 * max(self.rival_sec, 0), 0)
        return replace(self, confidence=1 - 0.5 ** (surplus_sec / (REQUIRED_SEC[kind] * required_factor)))


def max_subarray_sum(evidence: np.ndarray) -> np.ndarray:
    """(num_columns,) the most evidence that one stretch of steps has in each column of (num_steps, num_columns)."""
    gained = np.cumsum(evidence, axis=0)
    return (gained - np.minimum(np.minimum.accumulate(gained, axis=0), 0)).max(axis=0)


def viterbi_path(sound: np.ndarray, picture: np.ndarray, switch_costs: np.ndarray) -> np.ndarray:
    """The offset's column at each step, -1 for none, that gain most evidence in all: (num_steps,) int64.

    Viterbi's algorithm. Each offset stands for three explanations: sound and picture are the match's, or the sound
    alone, or the picture alone. Beginning with another explanation at step i costs switch_costs[i]; ending costs none.
    """
    num_steps, num_offsets = sound.shape
    alone_cost = ALONE_COST * HOP_SEC
    scores = np.full(3 * num_offsets + 1, -np.inf, np.float32)  # the last is none
    scores[-1] = 0
    stays = np.zeros((num_steps, len(scores)), bool)
    best_before = np.zeros(num_steps, np.int64)
    for step in range(num_steps):
        best_before[step] = best = int(scores.argmax())
        costs = np.full(len(scores), switch_costs[step], np.float32)
        costs[-1] = 0
        stays[step] = scores >= scores[best] - costs
        scores = np.maximum(scores, scores[best] - costs)
        heard, seen = sound[step], picture[step]
        scores[:-1] += np.concatenate([heard + seen, heard - alone_cost, seen - alone_cost])
    path = np.zeros(num_steps, np.int64)
    state = int(scores.argmax())
    for step in range(num_steps - 1, -1, -1):
        path[step] = state
        if not stays[step, state]:
            state = best_before[step]
    return np.where(path == 3 * num_offsets, -1, path % max(num_offsets, 1))


def find_runs(
    sound: np.ndarray, picture: np.ndarray, offsets: np.ndarray, switch_costs: np.ndarray
) -> list[AlignedRun]:
    """The runs of one offset each that best explain an edit, in its order; parts that nothing explains lie between.

    Args:
        sound, picture: (num_steps, num_offsets) float32 evidence.
        switch_costs: (num_steps,) evidence that a new run has to be worth at least if it begins there.
    """
    columns = viterbi_path(sound, picture, switch_costs)
    edges = np.flatnonzero(np.diff(columns, prepend=-2, append=-2))
    runs: list[AlignedRun] = []
    for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        column = columns[first]
        if column < 0:
            continue
        run = AlignedRun(
            first, last, int(offsets[column]), *(float(e[first:last, column].sum()) for e in (sound, picture))
        )
        previous = runs[-1] if runs else None
        if previous and previous.last == first and abs(previous.offset - run.offset) <= SAME_OFFSET_STEPS:
            longer = max(previous, run, key=lambda part: part.last - part.first)
            runs[-1] = AlignedRun(previous.first, last, longer.offset, previous.sound_sec + run.sound_sec,
                           previous.picture_sec + run.picture_sec)  # fmt: skip
        else:
            runs.append(run)
    return runs


def extend_to_dissolve(run: AlignedRun, evidence: np.ndarray, is_cut: np.ndarray) -> AlignedRun:
    """The run with each end moved outwards while evidence for it goes on, as in a dissolve; not past a cut.

    Args:
        evidence: (num_steps,) float32, of the run's offset.
        is_cut: (num_steps,) bool, steps near a cut.
    """

    def steps_more(beyond: np.ndarray, cuts: np.ndarray) -> int:
        num_allowed = int(np.argmax(cuts)) if cuts.any() else len(cuts)
        gained = np.cumsum(beyond[:num_allowed] - GROWTH_COST * HOP_SEC)
        return int(gained.argmax()) + 1 if len(gained) and gained.max() > MIN_GROWTH_SEC else 0

    before, after = slice(max(0, run.first - MAX_GROWTH_STEPS), run.first), slice(run.last, run.last + MAX_GROWTH_STEPS)
    more_before = steps_more(evidence[before][::-1], is_cut[before][::-1])
    more_after = steps_more(evidence[after], is_cut[after])
    return replace(run, first=run.first - more_before, last=run.last + more_after)


class Aligner:
    """What is known of an edit: the offsets that come into question, and the evidence for each at each step.

    Args:
        duration_sec, match_duration_sec: of the edit and of the match. cuts_sec: where the edit has hard cuts.
        sound: whitened rows of the edit's and of the match's sound, None where one of them has none.
    """

    def __init__(
        self,
        duration_sec: float,
        match_duration_sec: float,
        cuts_sec: np.ndarray,
        sound: tuple[np.ndarray, np.ndarray] | None,
    ):
        self.num_steps = max(1, round(duration_sec / HOP_SEC))
        self.sound = sound
        self.is_cut = np.zeros(self.num_steps, bool)
        self.is_cut[np.minimum(np.rint(cuts_sec / HOP_SEC).astype(int), self.num_steps - 1)] = True
        self.offsets: np.ndarray | None = None
        self.is_read = np.zeros(round(match_duration_sec / HOP_SEC), bool)
        self.num_steps_left = int(MAX_READ_SHARE * self.num_steps)

    def set_pictures(self, edit: Descriptors, match: Descriptors, seek: bool = False) -> None:
        """Compare pictures; the first time, or where asked to, offsets are sought with them and with the sound."""
        self.pictures = edit, match
        if self.offsets is None or seek:
            max_offsets = MAX_CELLS // self.num_steps
            self.offsets = evidence.video_offset_candidates(
                edit, match, max_offsets // 2 if self.sound else max_offsets
            )
            if self.sound:
                self.offsets = np.union1d(self.offsets, self.promising_sound_offsets(max_offsets - len(self.offsets)))
                self.sound_evidence = evidence.audio_evidence(*self.sound, self.offsets, self.num_steps)
            else:
                self.sound_evidence = np.zeros((self.num_steps, len(self.offsets)), np.float32)
        self.picture_evidence = evidence.video_evidence(edit, match, self.offsets, self.num_steps)

    def promising_sound_offsets(self, max_offsets: int) -> np.ndarray:
        """Of the offsets that the sound suggests, those that some stretch of it speaks for most."""
        offsets = evidence.audio_offset_candidates(*self.sound)
        parts = np.array_split(offsets, len(offsets) // OFFSETS_PER_BLOCK + 1)
        stretches = [max_subarray_sum(evidence.audio_evidence(*self.sound, part, self.num_steps)) for part in parts]
        return offsets[np.argsort(np.concatenate(stretches))[::-1][:max_offsets]]

    def path_runs(self, cost_factor: float) -> list[AlignedRun]:
        """The runs on the best path, where beginning one costs that much more or less."""
        costs = np.where(self.is_cut, CUT_COST_SEC, SWITCH_COST_SEC) * cost_factor
        runs = find_runs(self.sound_evidence, self.picture_evidence, self.offsets, costs)
        return [replace(run, rival_sec=self.rival_sec(run)) for run in runs]

    def rival_sec(self, run: AlignedRun) -> float:
        """The most evidence that there is for another offset where a run is."""
        sound = self.sound_evidence[run.first : run.last].sum(axis=0)
        picture = self.picture_evidence[run.first : run.last].sum(axis=0)
        evidence = np.maximum(sound + picture, np.maximum(sound, picture))
        return float(evidence[np.abs(self.offsets - run.offset) > RIVAL_STEPS].max(initial=0))

    def places_to_read_sec(self) -> list[tuple[float, float]]:
        """(start, end) in seconds of the match, whose pictures would settle the most, within a limit in all.

        First around ends of what is found that might as well lie elsewhere; then the middles of what may be a shot
        but is not sure; then all of it, where the middle has not refuted it.
        """
        runs = [run.rate(1.0) for run in self.path_runs(1.0)]
        likely = [run for run in runs if run.confidence >= LIKELY]
        is_found = np.zeros(self.num_steps, bool)
        for run in likely:
            evidence = self.evidence_of(run)
            is_found[run.first : run.last] = True
            for end in (slice(run.first, run.first + INSIDE_STEPS), slice(max(run.last - INSIDE_STEPS, 0), run.last)):
                is_found[end] &= evidence[end].sum() >= CLEAR_SEC
        places = [place for run in likely for place in self.unclear_ends(run, is_found)]
        is_sure = np.zeros(self.num_steps, bool)
        for run in runs:
            is_sure[run.first : run.last] |= run.confidence >= SURE
        more = [run for run in self.path_runs(SEEKING_COST_FACTOR) if is_sure[run.first : run.last].mean() < 0.5]
        doubtful = sorted(
            [*(run for run in runs if run.confidence < SURE), *more], key=lambda run: -sum(run.evidence())
        )
        for run in doubtful:
            middle = (run.first + run.last) // 2 + run.offset
            places.append(
                (max(middle - MIDDLE_STEPS, run.first + run.offset), min(middle + MIDDLE_STEPS, run.last + run.offset))
            )
        for run in runs:
            if SURE > run.confidence >= LIKELY:
                places.append((run.first + run.offset, run.last + run.offset))
        return self.unread(places)

    def needs_every_picture(self) -> bool:
        """Whether sound is of no use and keyframes are too few: much of the edit is not found, the rest by pictures."""
        runs = [run for run in (run.rate(1.0) for run in self.path_runs(1.0)) if run.confidence >= LIKELY]
        num_found = sum(run.last - run.first for run in runs)
        num_heard = sum(run.last - run.first for run in runs if run.sound_sec > 0)
        return num_heard < MIN_HEARD_SHARE * max(num_found, 1) and num_found < MAX_FOUND_SHARE * self.num_steps

    def evidence_of(self, run: AlignedRun) -> np.ndarray:
        """(num_steps,) float32: the evidence for a run's offset, that of one alone where the other contradicts."""
        column = np.searchsorted(self.offsets, run.offset)
        sound, picture = self.sound_evidence[:, column], self.picture_evidence[:, column]
        return {BOTH: sound + picture, SOUND_ALONE: sound, PICTURE_ALONE: picture}[run.evidence()[0]]

    def unclear_ends(self, run: AlignedRun, is_found: np.ndarray) -> list[tuple[int, int]]:
        """(first, last) steps of the match around the ends of a run that may lie elsewhere: as far as nothing is found
        beyond, or where what is found does not clearly differ from the run's going on."""
        evidence = self.evidence_of(run)
        places = []
        for is_start in (True, False):
            turn = slice(None, None, -1 if is_start else 1)
            end = self.num_steps - run.first if is_start else run.last
            inside = evidence[turn][max(end - INSIDE_STEPS, 0) : end]
            beyond = evidence[turn][end : end + STEPS_PER_BLOCK]
            found_beyond = is_found[turn][end : end + END_STEPS]
            reach = int(np.argmax(found_beyond)) if found_beyond.any() else len(found_beyond)
            if len(beyond) and inside.sum() < CLEAR_SEC and beyond.sum() > -CLEAR_SEC:
                reach = max(reach, 2 * STEPS_PER_BLOCK)
            elif len(beyond) and not self.is_cut[turn][max(end - NEAR_CUT_STEPS, 0) : end + NEAR_CUT_STEPS].any():
                reach = max(reach, MAX_GROWTH_STEPS)  # a dissolve
            if reach > NEAR_CUT_STEPS or inside.sum() < CLEAR_SEC:
                first, last = end - (len(inside) if inside.sum() < CLEAR_SEC else 0), min(end + reach, self.num_steps)
                first, last = (self.num_steps - last, self.num_steps - first) if is_start else (first, last)
                places.append((first + run.offset, last + run.offset))
        return places

    def unread(self, places: list[tuple[int, int]]) -> list[tuple[float, float]]:
        """Those of some (first, last) steps of the match that were not asked for before, in seconds, as far as the
        limit goes."""
        wanted = []
        for first, last in places:
            first, last = max(first, 0), min(last, len(self.is_read))
            num_steps = last - first
            if num_steps > 0 and self.is_read[first:last].mean() < 0.8 and num_steps <= self.num_steps_left:
                self.is_read[first:last] = True
                self.num_steps_left -= num_steps
                wanted.append((first * HOP_SEC, last * HOP_SEC))
        return wanted

    def runs(self) -> list[AlignedRun]:
        """The runs that best explain the edit, grown and rated.

        Where next to nothing of the edit is found for sure, it is likely another match's, and more is required.
        """
        runs = [run.rate(1.0) for run in self.path_runs(1.0)]
        sure_steps = sum(run.last - run.first for run in runs if run.confidence >= SURE)
        factor = 1.0 if sure_steps >= MIN_SURE_SHARE * self.num_steps else DOUBTFUL_EDIT_FACTOR
        near_cut = maximum_filter1d(self.is_cut, 2 * NEAR_CUT_STEPS + 1)
        evidence = np.maximum(self.sound_evidence + self.picture_evidence, self.picture_evidence)
        columns = np.searchsorted(self.offsets, [run.offset for run in runs])
        return [
            extend_to_dissolve(run.rate(factor), evidence[:, column], near_cut)
            for run, column in zip(runs, columns, strict=True)
        ]

    def fine_offset_sec(self, run: AlignedRun) -> float:
        """The run's offset in seconds, finer than a step: where sound, or else the pictures, are most alike."""
        (edit, match), sound = self.pictures, self.sound
        if sound and run.sound_sec >= run.picture_sec:
            likeness = []
            for offset in (run.offset - 1, run.offset, run.offset + 1):
                first, last = max(run.first, -offset), min(run.last, len(sound[0]), len(sound[1]) - offset)
                likeness.append(float((sound[0][first:last] * sound[1][first + offset : last + offset]).sum()))
            below, middle, above = likeness
            curvature = below - 2 * middle + above
            shift = 0.5 * (below - above) / curvature if curvature < 0 else 0.0
            return (run.offset + float(np.clip(shift, -1, 1))) * HOP_SEC
        shown_sec = match.times_sec - run.offset * HOP_SEC
        there = np.flatnonzero((shown_sec >= run.first * HOP_SEC) & (shown_sec < run.last * HOP_SEC))
        shifts_sec = np.linspace(-1.5, 1.5, 31) * HOP_SEC
        likeness = [
            float((match.rows[there] * edit.rows[shown_at(edit.times_sec, shown_sec[there] - shift)]).sum())
            for shift in shifts_sec
        ]
        best = np.array(likeness) >= max(likeness) - 1e-3 * abs(max(likeness))
        return run.offset * HOP_SEC + float(shifts_sec[best].mean())
