"""Where in a match each part of an edit was cut from, by fingerprints of sound and picture.

The edit's time runs in steps of fingerprints.STEP_SEC. An offset is how many steps later in the match an instant of the
edit is shown. Evidence for an offset at a step is the likeness of the fingerprints there, less what chance gives, in
seconds of a perfect likeness: positive where they are alike, negative where they differ, 0 where there is nothing to
hear or see.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import maximum_filter1d

from fingerprints import STEP_SEC, Rows, shown_at

STEPS_PER_BLOCK = 16  # offsets are sought block by block
BLOCKS_PER_WINDOW = (1, 4)
NUM_OFFSETS_PER_WINDOW = 6
MAX_CELLS = 16_000_000  # steps times offsets, which memory holds several times in float32
PICTURES_PER_BLOCK, OFFSETS_PER_BLOCK = 64, 256
MIN_PICTURE_LIKENESS = 0.12
CHANCE_SOUND, CHANCE_PICTURE = 0.30, 0.20  # cosine that counts as none
GAIN = 2.5  # rows are shorter than 1: a perfect likeness is about 0.4
MAX_PICTURE_SEC = 0.5  # for how long at most one picture of the match speaks
PICTURE_REACH = 2  # pictures of the edit before and after, because a step is longer than a picture
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
class Run:
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
        tolerance_sec = 0.1 * (self.last - self.first) * STEP_SEC
        if self.picture_sec < -tolerance_sec:
            return SOUND_ALONE, self.sound_sec
        if self.sound_sec < -tolerance_sec:
            return PICTURE_ALONE, self.picture_sec
        return BOTH, self.sound_sec + self.picture_sec

    def rate(self, required_factor: float) -> "Run":
        """The run with its confidence, in [0, 1): one half where the evidence, less the half of what there is for
        another place, is just what is required, and nearer to 1 the more it is."""
        kind, evidence_sec = self.evidence()
        surplus_sec = max(evidence_sec - 0.5 * max(self.rival_sec, 0), 0)
        return replace(self, confidence=1 - 0.5 ** (surplus_sec / (REQUIRED_SEC[kind] * required_factor)))


def sound_offsets(edit: np.ndarray, match: np.ndarray) -> np.ndarray:
    """Offsets at which a second or some seconds of the edit's sound are most like the match's: (n,) int64.

    Every offset is tried. edit, match: (num_steps, num_dimensions) float32, whitened.
    """
    silence = np.zeros((len(edit), match.shape[1]), np.float32)
    padded = np.concatenate([silence, match, silence])
    num_offsets = len(edit) + len(match)  # number o among them is the offset o - len(edit)
    recent: list[np.ndarray] = []
    found = [np.zeros(0, np.int64)]
    for first in range(0, len(edit) - STEPS_PER_BLOCK + 1, STEPS_PER_BLOCK):
        likeness = padded[first : first + num_offsets + STEPS_PER_BLOCK] @ edit[first : first + STEPS_PER_BLOCK].T
        block = np.zeros(num_offsets, np.float32)
        for step in range(STEPS_PER_BLOCK):
            block += likeness[step : step + num_offsets, step]
        recent = [*recent[1 - max(BLOCKS_PER_WINDOW) :], block]
        for num_blocks in BLOCKS_PER_WINDOW:
            window = np.sum(recent[-num_blocks:], axis=0)
            peaks = np.argpartition(window, -4 * NUM_OFFSETS_PER_WINDOW)[-4 * NUM_OFFSETS_PER_WINDOW :]
            peaks = peaks[(window[peaks] == maximum_filter1d(window, 5)[peaks]) & (window[peaks] > 0)]
            found.append(peaks[np.argsort(window[peaks])[::-1]][:NUM_OFFSETS_PER_WINDOW] - len(edit))
    return np.unique(np.concatenate(found))


def picture_offsets(edit: Rows, match: Rows, max_offsets: int) -> np.ndarray:
    """The offsets, at most so many, at which single pictures of the match are most like one of the edit, those before
    the others that several pictures agree on: (n,) int64."""
    found, weights = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    for first in range(0, len(match.rows), PICTURES_PER_BLOCK):
        block = slice(first, first + PICTURES_PER_BLOCK)
        all_likeness = match.rows[block] @ edit.rows.T
        is_peak = (all_likeness == maximum_filter1d(all_likeness, 15, axis=1)) & (all_likeness > MIN_PICTURE_LIKENESS)
        for time_sec, likeness, peaks in zip(match.times_sec[block], all_likeness, is_peak, strict=True):
            best = np.flatnonzero(peaks)
            best = best[np.argsort(likeness[best])[::-1]][:NUM_OFFSETS_PER_WINDOW]
            found.append(np.rint((time_sec - edit.times_sec[best]) / STEP_SEC).astype(np.int64))
            weights.append(likeness[best])
    offsets = np.concatenate(found)
    if not len(offsets):
        return offsets
    lowest = offsets.min() - 1
    support = np.convolve(np.bincount(offsets - lowest, np.concatenate(weights)), np.ones(3), mode="same")
    unique = np.unique(offsets)
    return np.sort(unique[np.argsort(support[unique - lowest])[::-1][:max_offsets]])


def best_stretch(evidence: np.ndarray) -> np.ndarray:
    """(num_columns,) the most evidence that one stretch of steps has in each column of (num_steps, num_columns)."""
    gained = np.cumsum(evidence, axis=0)
    return (gained - np.minimum(np.minimum.accumulate(gained, axis=0), 0)).max(axis=0)


def sound_evidence(edit: np.ndarray, match: np.ndarray, offsets: np.ndarray, num_steps: int) -> np.ndarray:
    """(num_steps, num_offsets) float32: what the sound tells for each offset at each step of the edit."""
    evidence = np.zeros((num_steps, len(offsets)), np.float32)
    edit = edit[:num_steps]
    edit_lengths, match_lengths = np.linalg.norm(edit, axis=1), np.linalg.norm(match, axis=1)
    for column, offset in enumerate(offsets):
        first, last = max(0, -offset), min(len(edit), len(match) - offset)
        if first < last:
            there = slice(first + offset, last + offset)
            likeness = np.einsum("ij,ij->i", edit[first:last], match[there])
            evidence[first:last, column] = likeness - CHANCE_SOUND * edit_lengths[first:last] * match_lengths[there]
    return evidence * (STEP_SEC * GAIN)


def picture_evidence(edit: Rows, match: Rows, offsets: np.ndarray, num_steps: int) -> np.ndarray:
    """(num_steps, num_offsets) float32: what the pictures tell. A picture of the match speaks at the step at which the
    edit would show it, for as long as until half way to its neighbours."""
    evidence = np.zeros((num_steps, len(offsets)), np.float32)
    edit_lengths, match_lengths = np.linalg.norm(edit.rows, axis=1), np.linalg.norm(match.rows, axis=1)
    gaps_sec = np.diff(match.times_sec, prepend=-np.inf, append=np.inf)
    weights = np.clip((gaps_sec[1:] + gaps_sec[:-1]) / 2, 0, MAX_PICTURE_SEC) * GAIN
    for first in range(0, len(match.rows), PICTURES_PER_BLOCK):
        block = slice(first, first + PICTURES_PER_BLOCK)
        likeness = maximum_filter1d(match.rows[block] @ edit.rows.T, 2 * PICTURE_REACH + 1, axis=1)
        likeness -= CHANCE_PICTURE * match_lengths[block, None] * edit_lengths
        for time_sec, values, weight in zip(match.times_sec[block], likeness, weights[block], strict=True):
            steps = np.floor(time_sec / STEP_SEC - offsets + 0.5).astype(int)
            inside = np.flatnonzero((steps >= 0) & (steps < num_steps))
            shown = shown_at(edit.times_sec, time_sec - offsets[inside] * STEP_SEC)
            evidence[steps[inside], inside] += weight * values[shown]
    return evidence


def best_path(sound: np.ndarray, picture: np.ndarray, switch_costs: np.ndarray) -> np.ndarray:
    """The offset's column at each step, -1 for none, that gain most evidence in all: (num_steps,) int64.

    Viterbi's algorithm. Each offset stands for three explanations: sound and picture are the match's, or the sound
    alone, or the picture alone. Beginning with another explanation at step i costs switch_costs[i]; ending costs none.
    """
    num_steps, num_offsets = sound.shape
    alone_cost = ALONE_COST * STEP_SEC
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


def find_runs(sound: np.ndarray, picture: np.ndarray, offsets: np.ndarray, switch_costs: np.ndarray) -> list[Run]:
    """The runs of one offset each that best explain an edit, in its order; parts that nothing explains lie between.

    Args:
        sound, picture: (num_steps, num_offsets) float32 evidence.
        switch_costs: (num_steps,) evidence that a new run has to be worth at least if it begins there.
    """
    columns = best_path(sound, picture, switch_costs)
    edges = np.flatnonzero(np.diff(columns, prepend=-2, append=-2))
    runs: list[Run] = []
    for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        column = columns[first]
        if column < 0:
            continue
        run = Run(first, last, int(offsets[column]), *(float(e[first:last, column].sum()) for e in (sound, picture)))
        previous = runs[-1] if runs else None
        if previous and previous.last == first and abs(previous.offset - run.offset) <= SAME_OFFSET_STEPS:
            longer = max(previous, run, key=lambda part: part.last - part.first)
            runs[-1] = Run(previous.first, last, longer.offset, previous.sound_sec + run.sound_sec,
                           previous.picture_sec + run.picture_sec)  # fmt: skip
        else:
            runs.append(run)
    return runs


def grow(run: Run, evidence: np.ndarray, is_cut: np.ndarray) -> Run:
    """The run with each end moved outwards while evidence for it goes on, as in a dissolve; not past a cut.

    Args:
        evidence: (num_steps,) float32, of the run's offset.
        is_cut: (num_steps,) bool, steps near a cut.
    """

    def steps_more(beyond: np.ndarray, cuts: np.ndarray) -> int:
        num_allowed = int(np.argmax(cuts)) if cuts.any() else len(cuts)
        gained = np.cumsum(beyond[:num_allowed] - GROWTH_COST * STEP_SEC)
        return int(gained.argmax()) + 1 if len(gained) and gained.max() > MIN_GROWTH_SEC else 0

    before, after = slice(max(0, run.first - MAX_GROWTH_STEPS), run.first), slice(run.last, run.last + MAX_GROWTH_STEPS)
    more_before = steps_more(evidence[before][::-1], is_cut[before][::-1])
    more_after = steps_more(evidence[after], is_cut[after])
    return replace(run, first=run.first - more_before, last=run.last + more_after)


class Search:
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
        self.num_steps = max(1, round(duration_sec / STEP_SEC))
        self.sound = sound
        self.is_cut = np.zeros(self.num_steps, bool)
        self.is_cut[np.minimum(np.rint(cuts_sec / STEP_SEC).astype(int), self.num_steps - 1)] = True
        self.offsets: np.ndarray | None = None
        self.is_read = np.zeros(round(match_duration_sec / STEP_SEC), bool)
        self.num_steps_left = int(MAX_READ_SHARE * self.num_steps)

    def set_pictures(self, edit: Rows, match: Rows, seek: bool = False) -> None:
        """Compare pictures; the first time, or where asked to, offsets are sought with them and with the sound."""
        self.pictures = edit, match
        if self.offsets is None or seek:
            max_offsets = MAX_CELLS // self.num_steps
            self.offsets = picture_offsets(edit, match, max_offsets // 2 if self.sound else max_offsets)
            if self.sound:
                self.offsets = np.union1d(self.offsets, self.promising_sound_offsets(max_offsets - len(self.offsets)))
                self.sound_evidence = sound_evidence(*self.sound, self.offsets, self.num_steps)
            else:
                self.sound_evidence = np.zeros((self.num_steps, len(self.offsets)), np.float32)
        self.picture_evidence = picture_evidence(edit, match, self.offsets, self.num_steps)

    def promising_sound_offsets(self, max_offsets: int) -> np.ndarray:
        """Of the offsets that the sound suggests, those that some stretch of it speaks for most."""
        offsets = sound_offsets(*self.sound)
        parts = np.array_split(offsets, len(offsets) // OFFSETS_PER_BLOCK + 1)
        stretches = [best_stretch(sound_evidence(*self.sound, part, self.num_steps)) for part in parts]
        return offsets[np.argsort(np.concatenate(stretches))[::-1][:max_offsets]]

    def path_runs(self, cost_factor: float) -> list[Run]:
        """The runs on the best path, where beginning one costs that much more or less."""
        costs = np.where(self.is_cut, CUT_COST_SEC, SWITCH_COST_SEC) * cost_factor
        runs = find_runs(self.sound_evidence, self.picture_evidence, self.offsets, costs)
        return [replace(run, rival_sec=self.rival_sec(run)) for run in runs]

    def rival_sec(self, run: Run) -> float:
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

    def evidence_of(self, run: Run) -> np.ndarray:
        """(num_steps,) float32: the evidence for a run's offset, that of one alone where the other contradicts."""
        column = np.searchsorted(self.offsets, run.offset)
        sound, picture = self.sound_evidence[:, column], self.picture_evidence[:, column]
        return {BOTH: sound + picture, SOUND_ALONE: sound, PICTURE_ALONE: picture}[run.evidence()[0]]

    def unclear_ends(self, run: Run, is_found: np.ndarray) -> list[tuple[int, int]]:
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
                wanted.append((first * STEP_SEC, last * STEP_SEC))
        return wanted

    def runs(self) -> list[Run]:
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
            grow(run.rate(factor), evidence[:, column], near_cut) for run, column in zip(runs, columns, strict=True)
        ]

    def fine_offset_sec(self, run: Run) -> float:
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
            return (run.offset + float(np.clip(shift, -1, 1))) * STEP_SEC
        shown_sec = match.times_sec - run.offset * STEP_SEC
        there = np.flatnonzero((shown_sec >= run.first * STEP_SEC) & (shown_sec < run.last * STEP_SEC))
        shifts_sec = np.linspace(-1.5, 1.5, 31) * STEP_SEC
        likeness = [
            float((match.rows[there] * edit.rows[shown_at(edit.times_sec, shown_sec[there] - shift)]).sum())
            for shift in shifts_sec
        ]
        best = np.array(likeness) >= max(likeness) - 1e-3 * abs(max(likeness))
        return run.offset * STEP_SEC + float(shifts_sec[best].mean())
