"""Temporal alignment of a highlight video (the query) with a full match (the reference), and what to read for it.

Runs, steps, offsets and scores are those of runs.py.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from scipy.ndimage import maximum_filter1d

from videosummarizer.labelling import evidence
from videosummarizer.labelling.evidence import OFFSETS_PER_BLOCK, STEPS_PER_BLOCK
from videosummarizer.labelling.fingerprints import HOP_SEC, Descriptors
from videosummarizer.labelling.runs import (
    AUDIO_ONLY,
    BOTH,
    MAX_EXTENSION_STEPS,
    VIDEO_ONLY,
    AlignedRun,
    extend_to_dissolve,
    find_runs,
)
from videosummarizer.labelling.thumbnails import shown_at

# Limit of steps times offsets; memory holds that many float32 values several times.
MAX_SCORE_VALUES = 16_000_000
# Score that a run has to be worth at least.
SWITCH_COST_SEC = 0.6
# Score that a run has to be worth at least if it begins at a cut.
CUT_COST_SEC = 0.3
# Offsets that differ by at most this many steps count as the same position, not as a runner-up.
RUNNER_UP_MARGIN_STEPS = 8
# Confidence from which a run needs no further frames.
CONFIDENT = 0.97
# Below this fraction of confident steps, the highlight video is probably of another match.
MIN_CONFIDENT_RATIO = 0.1
# Factor on the required score where the highlight video is probably of another match.
DOUBTFUL_QUERY_FACTOR = 4.0
# Confidence from which a run is more likely right than wrong.
PROBABLE = 0.5
# A lower switch cost, by this factor, finds more candidate runs that are worth refining.
CANDIDATE_COST_FACTOR = 0.3
# A full scan is needed only if the audio supports less than this fraction of the aligned steps.
MIN_AUDIBLE_RATIO = 0.2
# A full scan is needed only if less than this fraction of the highlight video is aligned.
MAX_ALIGNED_RATIO = 0.95
# Match frames are read for at most this multiple of the highlight video's length.
MAX_SCAN_RATIO = 1.5
# Steps (4 s) beyond a boundary that may be read.
BEYOND_STEPS = 64
# Steps (2 s) inside a boundary whose score has to be clear.
INSIDE_STEPS = 32
# Steps (1 s) on either side of a run's middle that are read.
MIDDLE_STEPS = 16
# Score around a boundary that makes clear on which side of it a step lies.
CLEAR_SCORE_SEC = 0.15
# Cuts are measured to within this many steps.
NEAR_CUT_STEPS = 4
# Fraction of a region above which it counts as read already.
MAX_SCANNED_RATIO = 0.8


def max_subarray_sum(scores: np.ndarray) -> np.ndarray:
    """Return the largest sum over consecutive steps, 0 if all are negative (Kadane's algorithm).

    Args:
        scores: (num_steps, num_columns) float.

    Returns:
        (num_columns,) float.
    """
    totals = np.cumsum(scores, axis=0)
    return (totals - np.minimum(np.minimum.accumulate(totals, axis=0), 0)).max(axis=0)


class Aligner:
    """Aligns a highlight video with a match, and names the regions of the match whose frames would help most.

    Args:
        query_duration_sec: length of the highlight video.
        reference_duration_sec: length of the match.
        cuts_sec: (num_cuts,) float64, times of the highlight video's hard cuts.
        audio: whitened audio of highlight video and match, None where one of them has none.

    Attributes:
        num_steps: length of the highlight video in steps.
        audio: as given.
        is_cut: (num_steps,) bool.
        offsets: (num_offsets,) int64, the candidate offsets in steps; None before `set_descriptors`.
        audio_scores: (num_steps, num_offsets) float32.
        video_scores: (num_steps, num_offsets) float32.
        descriptors: those of the frames of highlight video and match.
        is_scanned: (num_reference_steps,) bool, the steps of the match whose frames were asked for.
        scan_budget: steps of the match whose frames may still be asked for.
    """

    def __init__(
        self,
        query_duration_sec: float,
        reference_duration_sec: float,
        cuts_sec: np.ndarray,
        audio: tuple[np.ndarray, np.ndarray] | None,
    ):
        self.num_steps = max(1, round(query_duration_sec / HOP_SEC))
        self.audio = audio
        self.is_cut = np.zeros(self.num_steps, bool)
        self.is_cut[np.minimum(np.rint(cuts_sec / HOP_SEC).astype(int), self.num_steps - 1)] = True
        self.offsets: np.ndarray | None = None
        self.is_scanned = np.zeros(round(reference_duration_sec / HOP_SEC), bool)
        self.scan_budget = int(MAX_SCAN_RATIO * self.num_steps)

    def set_descriptors(self, query: Descriptors, reference: Descriptors, search_offsets: bool = False) -> None:
        """Score the candidate offsets by frames.

        Args:
            query: descriptors of the highlight video's frames.
            reference: descriptors of the match's frames that were read so far.
            search_offsets: whether candidate offsets are searched again; the first call always searches them.
        """
        self.descriptors = query, reference
        if self.offsets is None or search_offsets:
            max_offsets = MAX_SCORE_VALUES // self.num_steps
            self.offsets = evidence.video_offset_candidates(
                query, reference, max_offsets // 2 if self.audio else max_offsets
            )
            if self.audio:
                self.offsets = np.union1d(self.offsets, self.best_audio_offsets(max_offsets - len(self.offsets)))
                self.audio_scores = evidence.audio_scores(*self.audio, self.offsets, self.num_steps)
            else:
                self.audio_scores = np.zeros((self.num_steps, len(self.offsets)), np.float32)
        self.video_scores = evidence.video_scores(query, reference, self.offsets, self.num_steps)

    def best_audio_offsets(self, max_offsets: int) -> np.ndarray:
        """Return those of the audio's candidate offsets that have the highest score over consecutive steps."""
        offsets = evidence.audio_offset_candidates(*self.audio)
        parts = np.array_split(offsets, len(offsets) // OFFSETS_PER_BLOCK + 1)
        sums = [max_subarray_sum(evidence.audio_scores(*self.audio, part, self.num_steps)) for part in parts]
        return offsets[np.argsort(np.concatenate(sums))[::-1][:max_offsets]]

    def path_runs(self, cost_factor: float) -> list[AlignedRun]:
        """Return the runs on the best path, with their runners-up.

        Args:
            cost_factor: factor on the cost of a new run.
        """
        costs = np.where(self.is_cut, CUT_COST_SEC, SWITCH_COST_SEC) * cost_factor
        runs = find_runs(self.audio_scores, self.video_scores, self.offsets, costs)
        return [replace(run, runner_up_score_sec=self.runner_up_score(run)) for run in runs]

    def rated_runs(self) -> list[AlignedRun]:
        """Return the runs on the best path, with their confidence."""
        return [run.with_confidence(1.0) for run in self.path_runs(1.0)]

    def runner_up_score(self, run: AlignedRun) -> float:
        """Return the highest score, in seconds, that another offset has over the steps of a run."""
        audio = self.audio_scores[run.first : run.last].sum(axis=0)
        video = self.video_scores[run.first : run.last].sum(axis=0)
        scores = np.maximum(audio + video, np.maximum(audio, video))
        return float(scores[np.abs(self.offsets - run.offset) > RUNNER_UP_MARGIN_STEPS].max(initial=0))

    def regions_to_refine(self) -> list[tuple[float, float]]:
        """Return the regions of the match whose frames would settle most, within the scan budget.

        First come ambiguous boundaries of probable runs, then the middles of runs that are not confident, then all of
        the probable runs that are not confident, unless their middle was enough.

        Returns:
            (start, end) of each region in seconds of the match.
        """
        runs = self.rated_runs()
        regions = [*self.boundary_regions(runs), *self.middle_regions(runs)]
        regions += [
            (run.first + run.offset, run.last + run.offset) for run in runs if CONFIDENT > run.confidence >= PROBABLE
        ]
        return self.claim_unread(regions)

    def boundary_regions(self, runs: list[AlignedRun]) -> Iterator[tuple[int, int]]:
        """Yield (first, last) steps of the match around the ambiguous boundaries of the probable runs."""
        probable = [run for run in runs if run.confidence >= PROBABLE]
        is_aligned = np.zeros(self.num_steps, bool)
        for run in probable:
            scores = self.scores_of(run)
            is_aligned[run.first : run.last] = True
            at_start = slice(run.first, run.first + INSIDE_STEPS)
            at_end = slice(max(run.last - INSIDE_STEPS, 0), run.last)
            for steps in (at_start, at_end):
                is_aligned[steps] &= scores[steps].sum() >= CLEAR_SCORE_SEC
        for run in probable:
            yield from self.ambiguous_boundaries(run, is_aligned)

    def middle_regions(self, runs: list[AlignedRun]) -> Iterator[tuple[int, int]]:
        """Yield (first, last) steps of the match in the middle of every candidate run that is not confident."""
        is_confident = np.zeros(self.num_steps, bool)
        for run in runs:
            is_confident[run.first : run.last] |= run.confidence >= CONFIDENT
        candidates = self.path_runs(CANDIDATE_COST_FACTOR)
        candidates = [run for run in candidates if is_confident[run.first : run.last].mean() < 0.5]
        doubtful = [*(run for run in runs if run.confidence < CONFIDENT), *candidates]
        for run in sorted(doubtful, key=lambda run: -sum(run.best_score())):
            first, last = run.first + run.offset, run.last + run.offset
            middle = (run.first + run.last) // 2 + run.offset
            yield max(middle - MIDDLE_STEPS, first), min(middle + MIDDLE_STEPS, last)

    def needs_full_scan(self) -> bool:
        """Return whether frames from the whole match are needed.

        They are where the audio supports few of the aligned steps, and keyframes leave many steps without an offset.
        """
        runs = [run for run in self.rated_runs() if run.confidence >= PROBABLE]
        num_aligned = sum(run.last - run.first for run in runs)
        num_audible = sum(run.last - run.first for run in runs if run.audio_score_sec > 0)
        return (
            num_audible < MIN_AUDIBLE_RATIO * max(num_aligned, 1) and num_aligned < MAX_ALIGNED_RATIO * self.num_steps
        )

    def scores_of(self, run: AlignedRun) -> np.ndarray:
        """Return the scores of a run's offset, (num_steps,) float32, by the modalities that explain the run."""
        column = np.searchsorted(self.offsets, run.offset)
        audio, video = self.audio_scores[:, column], self.video_scores[:, column]
        return {BOTH: audio + video, AUDIO_ONLY: audio, VIDEO_ONLY: video}[run.best_score()[0]]

    def ambiguous_boundaries(self, run: AlignedRun, is_aligned: np.ndarray) -> list[tuple[int, int]]:
        """Return the regions of the match around the boundaries of a run that may lie elsewhere.

        Args:
            run: a run of the best path.
            is_aligned: (num_steps,) bool, the steps that belong to a run for certain.

        Returns:
            (first, last) steps of the match; none, one or two regions, the start's first.
        """
        scores, regions = self.scores_of(run), []
        # The start is the end in reversed time.
        reversed_end = self.num_steps - run.first
        region = ambiguous_end(reversed_end, scores[::-1], is_aligned[::-1], self.is_cut[::-1])
        if region:
            first, last = region
            regions.append((self.num_steps - last + run.offset, self.num_steps - first + run.offset))
        region = ambiguous_end(run.last, scores, is_aligned, self.is_cut)
        if region:
            first, last = region
            regions.append((first + run.offset, last + run.offset))
        return regions

    def claim_unread(self, regions: list[tuple[int, int]]) -> list[tuple[float, float]]:
        """Return those regions that were not read before, as far as the scan budget goes, and mark them as read.

        Args:
            regions: (first, last) steps of the match, the most important first.

        Returns:
            (start, end) in seconds of the match.
        """
        wanted = []
        for first, last in regions:
            first, last = max(first, 0), min(last, len(self.is_scanned))
            num_steps = last - first
            if num_steps <= 0 or num_steps > self.scan_budget:
                continue
            if self.is_scanned[first:last].mean() < MAX_SCANNED_RATIO:
                self.is_scanned[first:last] = True
                self.scan_budget -= num_steps
                wanted.append((first * HOP_SEC, last * HOP_SEC))
        return wanted

    def runs(self) -> list[AlignedRun]:
        """Return the runs that best explain the highlight video, extended and with their confidence.

        Where hardly any of it is aligned confidently, it is probably of another match, and more is required.
        """
        runs = self.rated_runs()
        num_confident = sum(run.last - run.first for run in runs if run.confidence >= CONFIDENT)
        factor = 1.0 if num_confident >= MIN_CONFIDENT_RATIO * self.num_steps else DOUBTFUL_QUERY_FACTOR
        near_cut = maximum_filter1d(self.is_cut, 2 * NEAR_CUT_STEPS + 1)
        scores = np.maximum(self.audio_scores + self.video_scores, self.video_scores)
        columns = np.searchsorted(self.offsets, [run.offset for run in runs])
        return [
            extend_to_dissolve(run.with_confidence(factor), scores[:, column], near_cut)
            for run, column in zip(runs, columns, strict=True)
        ]

    def refine_offset_sec(self, run: AlignedRun) -> float:
        """Return a run's offset in seconds, finer than a step.

        The modality with the higher score decides: audio by a parabola through the similarities at three offsets,
        video by the middle of the shifts with the highest similarity.
        """
        if self.audio and run.audio_score_sec >= run.video_score_sec:
            return self.refine_by_audio_sec(run)
        return self.refine_by_video_sec(run)

    def refine_by_audio_sec(self, run: AlignedRun) -> float:
        """Return a run's offset in seconds at the vertex of a parabola (parabolic peak interpolation)."""
        query, reference = self.audio
        similarity = []
        for offset in (run.offset - 1, run.offset, run.offset + 1):
            first, last = max(run.first, -offset), min(run.last, len(query), len(reference) - offset)
            similarity.append(float((query[first:last] * reference[first + offset : last + offset]).sum()))
        below, middle, above = similarity
        curvature = below - 2 * middle + above
        shift = 0.5 * (below - above) / curvature if curvature < 0 else 0.0
        return (run.offset + float(np.clip(shift, -1, 1))) * HOP_SEC

    def refine_by_video_sec(self, run: AlignedRun) -> float:
        """Return a run's offset in seconds at the middle of the shifts under which the frames are most similar."""
        query, reference = self.descriptors
        shown_sec = reference.times_sec - run.offset * HOP_SEC
        inside = np.flatnonzero((shown_sec >= run.first * HOP_SEC) & (shown_sec < run.last * HOP_SEC))
        shifts_sec = np.linspace(-1.5, 1.5, 31) * HOP_SEC
        similarity = [
            float((reference.rows[inside] * query.rows[shown_at(query.times_sec, shown_sec[inside] - shift)]).sum())
            for shift in shifts_sec
        ]
        best = np.array(similarity) >= max(similarity) - 1e-3 * abs(max(similarity))
        return run.offset * HOP_SEC + float(shifts_sec[best].mean())


def ambiguous_end(end: int, scores: np.ndarray, is_aligned: np.ndarray, is_cut: np.ndarray) -> tuple[int, int] | None:
    """Return the region of query steps in which the end of a run may lie.

    The region reaches as far as no other run is aligned beyond the end, or to where the scores no longer leave open
    whether the run continues.

    Args:
        end: the step after the run's last one.
        scores: (num_steps,) float32, of the run's offset.
        is_aligned: (num_steps,) bool, the steps that belong to a run for certain.
        is_cut: (num_steps,) bool.

    Returns:
        (first, last) steps, or None where the end is clear.
    """
    inside = scores[max(end - INSIDE_STEPS, 0) : end]
    beyond = scores[end : end + STEPS_PER_BLOCK]
    aligned_beyond = is_aligned[end : end + BEYOND_STEPS]
    is_clear_inside = inside.sum() >= CLEAR_SCORE_SEC
    reach = int(np.argmax(aligned_beyond)) if aligned_beyond.any() else len(aligned_beyond)
    if len(beyond) and not is_clear_inside and beyond.sum() > -CLEAR_SCORE_SEC:
        reach = max(reach, 2 * STEPS_PER_BLOCK)
    elif len(beyond) and not is_cut[max(end - NEAR_CUT_STEPS, 0) : end + NEAR_CUT_STEPS].any():
        reach = max(reach, MAX_EXTENSION_STEPS)  # a dissolve
    if reach <= NEAR_CUT_STEPS and is_clear_inside:
        return None
    return end - (0 if is_clear_inside else len(inside)), min(end + reach, len(scores))
