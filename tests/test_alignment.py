"""Check what `Aligner` makes of scores given by hand: runners-up, regions to read, runs and refined offsets."""

import numpy as np
import pytest

from videosummarizer.labelling import alignment, evidence
from videosummarizer.labelling.alignment import Aligner
from videosummarizer.labelling.fingerprints import Descriptors
from videosummarizer.labelling.runs import AlignedRun

NO_CUTS = np.zeros(0)


def make_aligner(offsets, parts, num_steps=320, cuts_sec=NO_CUTS, reference_sec=100.0):
    """Return an aligner with scores per step (first, last, offset, audio, video), and -0.1 elsewhere."""
    aligner = Aligner(num_steps / 16, reference_sec, cuts_sec, None)
    aligner.offsets = np.array(offsets)
    aligner.audio_scores = np.full((num_steps, len(offsets)), -0.1, np.float32)
    aligner.video_scores = np.full((num_steps, len(offsets)), -0.1, np.float32)
    for first, last, offset, audio, video in parts:
        column = offsets.index(offset)
        aligner.audio_scores[first:last, column] = audio
        aligner.video_scores[first:last, column] = video
    return aligner


def extents(runs):
    return [(run.first, run.last, run.offset) for run in runs]


def test_the_maximum_subarray_has_the_largest_of_all_sums():
    scores = np.random.default_rng(6).normal(size=(9, 12))
    scores[:, 3] = -1
    expected = [
        max(0, *(column[i:j].sum() for i in range(9) for j in range(i + 1, 10))) if column.max() > 0 else 0
        for column in scores.T
    ]
    np.testing.assert_allclose(alignment.max_subarray_sum(scores), expected)


def test_an_aligner_counts_steps_and_cuts_in_sixteenths_of_a_second():
    aligner = Aligner(10.03, 50.05, np.array([0.0, 3.37, 9.99]), None)
    assert aligner.num_steps == 160
    assert np.flatnonzero(aligner.is_cut).tolist() == [0, 54, 159]
    assert len(aligner.is_scanned) == 801
    assert not aligner.is_scanned.any()
    assert aligner.scan_budget == 240  # one and a half times the query
    assert Aligner(0.01, 1.0, NO_CUTS, None).num_steps == 1


def test_a_run_is_cheaper_at_a_cut():
    # 16 steps of 0.028 are worth 0.448: more than the 0.3 at a cut, less than the 0.6 elsewhere.
    parts = [(160, 176, 40, 0.014, 0.014)]
    assert make_aligner([40], parts).path_runs(1.0) == []
    assert extents(make_aligner([40], parts, cuts_sec=np.array([10.0])).path_runs(1.0)) == [(160, 176, 40)]
    assert make_aligner([40], parts, cuts_sec=np.array([10.0])).path_runs(1.6) == []
    assert extents(make_aligner([40], parts).path_runs(0.7)) == [(160, 176, 40)]
    for cuts_sec, factor, expected in (
        (NO_CUTS, 0.448 / 0.6 - 0.01, 1),
        (NO_CUTS, 0.448 / 0.6 + 0.01, 0),
        (np.array([10.0]), 0.448 / 0.3 - 0.01, 1),
        (np.array([10.0]), 0.448 / 0.3 + 0.01, 0),
    ):
        assert len(make_aligner([40], parts, cuts_sec=cuts_sec).path_runs(factor)) == expected


def test_the_runner_up_is_the_best_of_the_other_offsets():
    parts = [(100, 140, 40, 0.1, 0.2), (100, 140, 48, 0.1, 0.15), (90, 150, 49, 0.05, 0.02), (100, 140, 31, 0.06, -0.3)]
    aligner = make_aligner([20, 31, 40, 48, 49], parts)
    run = AlignedRun(100, 140, 40, 4.0, 8.0)
    assert aligner.runner_up_score(run) == pytest.approx(40 * 0.07, rel=1e-4)  # both at 49; 48 is the same position
    aligner.audio_scores[100:140, 1] = 0.08  # audio only at 31
    assert aligner.runner_up_score(run) == pytest.approx(40 * 0.08, rel=1e-4)
    aligner.video_scores[100:140, 0], aligner.audio_scores[100:140, 0] = 0.09, -0.4  # video only at 20
    assert aligner.runner_up_score(run) == pytest.approx(40 * 0.09, rel=1e-4)
    assert make_aligner([40], parts[:1]).runner_up_score(run) == 0
    (actual,) = (run for run in aligner.path_runs(1.0) if run.offset == 40)
    assert (actual.first, actual.last, actual.runner_up_score_sec) == (100, 140, pytest.approx(40 * 0.09, rel=1e-4))


def test_scores_of_a_run_are_of_one_modality_where_the_other_contradicts():
    aligner = make_aligner([3, 40, 70], [(100, 140, 40, 0.1, 0.2)])
    for audio_score_sec, video_score_sec, value in ((4, 8, 0.3), (4, -8, 0.1), (-4, 8, 0.2)):
        scores = aligner.scores_of(AlignedRun(100, 140, 40, audio_score_sec, video_score_sec))
        assert scores.shape == (320,)
        assert scores[120] == pytest.approx(value)


# Of 320 steps, 2 % to 100 % are aligned, with or without audio.
@pytest.mark.parametrize(
    ("parts", "is_needed"),
    [
        ([], True),
        ([(10, 100, 40, 0.0, 0.1)], True),
        ([(10, 100, 40, 0.1, 0.1)], False),  # audible
        ([(0, 302, 40, 0.0, 0.1)], True),
        ([(0, 304, 40, 0.0, 0.1)], False),  # all but 5 %
        ([(10, 100, 40, 0.005, 0.1)], False),  # a little is audible
        ([(10, 90, 40, 0.0, 0.1), (90, 110, 200, 0.1, 0.1)], False),  # just a fifth
        ([(10, 100, 40, 0.0030, 0.0031)], True),  # 0.55 s are no run away from cuts
        ([(10, 100, 40, 0.0050, 0.0050)], False),
        ([(10, 100, 40, 0.0, 0.1), (100, 121, 200, 0.1, 0.1)], True),  # a fifth is 22 of 111 steps
        ([(10, 100, 40, 0.0, 0.1), (100, 124, 200, 0.1, 0.1)], False),
        ([(10, 100, 40, 0.01, -0.1)], True),  # audible, but 0.9 s of audio only are not probable
        ([(10, 100, 40, 0.0279, -0.1)], False),  # 2.511 s are probable
    ],
)
def test_a_full_scan_is_needed_where_much_is_neither_aligned_nor_audible(parts, is_needed):
    assert make_aligner([40, 200], parts).needs_full_scan() == is_needed


def test_regions_are_read_once_and_within_the_scan_budget():
    aligner = Aligner(20.0, 100.0, NO_CUTS, None)  # 480 of 1600 steps may be read
    assert aligner.claim_unread([(-10, 32), (100, 260), (1590, 1700)]) == [(0.0, 2.0), (6.25, 16.25), (99.375, 100.0)]
    assert aligner.scan_budget == 480 - 32 - 160 - 10
    assert aligner.claim_unread([(100, 300)]) == []  # four fifths are read
    assert aligner.claim_unread([(100, 301)]) == [(6.25, 18.8125)]
    assert aligner.scan_budget == 278 - 201
    assert aligner.claim_unread([(400, 478), (400, 400), (410, 405)]) == []  # 78 exceed the budget
    assert aligner.claim_unread([(400, 476)]) == [(25.0, 29.75)]
    assert aligner.claim_unread([(500, 501)]) == [(31.25, 31.3125)]
    assert aligner.claim_unread([(510, 511)]) == []
    assert np.flatnonzero(aligner.is_scanned).tolist() == [
        *range(32),
        *range(100, 301),
        *range(400, 476),
        500,
        *range(1590, 1600),
    ]


def boundaries_of(aligned_parts, inside=0.1, first=100, last=200, cuts_sec=NO_CUTS, beyond=-0.1, num_steps=320):
    """Return the ambiguous boundaries, in query steps, of a run at offset 1000 that has these scores near its ends."""
    aligner = make_aligner([1000], [(first, last, 1000, inside, 0.0)], num_steps, cuts_sec)
    aligner.video_scores[:] = 0
    aligner.audio_scores[:first], aligner.audio_scores[last:] = beyond, beyond
    is_aligned = np.zeros(num_steps, bool)
    is_aligned[first:last] = True
    for start, end in aligned_parts:
        is_aligned[start:end] = True
    regions = aligner.ambiguous_boundaries(AlignedRun(first, last, 1000, 5.0, 0.0), is_aligned)
    return [(start - 1000, end - 1000) for start, end in regions]


@pytest.mark.parametrize(
    ("aligned_parts", "options", "expected"),
    [
        # Nothing is aligned beyond: four seconds are read.
        ([], {}, [(36, 100), (200, 264)]),
        ([], {"first": 30, "last": 300}, [(0, 30), (300, 320)]),
        ([], {"first": 0, "last": 320}, []),
        # Up to the next aligned steps.
        ([(0, 60), (250, 320)], {}, [(60, 100), (200, 250)]),
        # Something else begins at once: a second, in case of a dissolve; nothing at a cut.
        ([(0, 100), (200, 320)], {}, [(84, 100), (200, 216)]),
        ([(0, 100), (200, 320)], {"cuts_sec": np.array([100 / 16, 200 / 16])}, []),
        ([(0, 100), (200, 320)], {"cuts_sec": np.array([97 / 16, 203 / 16])}, []),
        ([(0, 100), (200, 320)], {"cuts_sec": np.array([95 / 16, 204 / 16])}, [(84, 100), (200, 216)]),
        ([(0, 100), (200, 320)], {"cuts_sec": np.array([103 / 16, 196 / 16])}, []),
        ([(0, 100), (200, 320)], {"cuts_sec": np.array([104 / 16, 195 / 16])}, [(84, 100), (200, 216)]),
        # A gap of up to four steps before a cut does not count.
        ([(0, 96), (204, 320)], {"cuts_sec": np.array([100 / 16, 200 / 16])}, []),
        ([(0, 95), (205, 320)], {"cuts_sec": np.array([100 / 16, 200 / 16])}, [(95, 100), (200, 205)]),
        # The scores of two seconds inside and beyond are not clear: both are read.
        ([(0, 100), (200, 320)], {"inside": 0.0046, "beyond": -0.009}, [(68, 132), (168, 232)]),
        ([(0, 100), (200, 320)], {"inside": 0.0047, "beyond": -0.009}, [(84, 100), (200, 216)]),
        ([(0, 100), (200, 320)], {"inside": 0.0046, "beyond": -0.0095}, [(84, 132), (168, 216)]),
        ([(0, 40), (260, 320)], {"inside": 0.0046, "beyond": 0.0}, [(40, 132), (168, 260)]),
        ([], {"inside": 0.0046, "first": 0, "last": 20, "beyond": -0.009}, [(0, 32), (0, 84)]),
        ([(0, 320)], {"inside": 0.0046, "first": 10, "last": 310, "beyond": -0.009}, [(0, 42), (278, 320)]),
        ([(0, 320)], {"inside": 0.2, "first": 0, "last": 2, "cuts_sec": np.array([2 / 16])}, [(0, 32)]),
    ],
)  # fmt: skip
def test_ambiguous_boundaries_are_read(aligned_parts, options, expected):
    assert boundaries_of(aligned_parts, **options) == expected


def test_ambiguous_regions_are_read_in_order_of_what_they_settle():
    # A confident run between cuts, a probable one and an improbable one.
    cuts_sec = np.array([0, 160, 200, 240, 280, 320]) / 16
    parts = [
        (0, 160, 400, 0.1, 0.1),
        (160, 200, 800, 0.012, 0.011),  # 0.92 s: a confidence of 0.72
        (240, 280, 1200, 0.005, 0.005),  # 0.4 s: of 0.43
    ]
    aligner = make_aligner([400, 800, 1200], parts, cuts_sec=cuts_sec)
    assert [round(run.with_confidence(1.0).confidence, 2) for run in aligner.path_runs(1.0)] == [1.0, 0.72, 0.43]
    assert aligner.regions_to_refine() == [
        ((200 + 800) / 16, (264 + 800) / 16),  # beyond the end of the second, where nothing probable is aligned
        ((164 + 800) / 16, (196 + 800) / 16),  # its middle
        ((244 + 1200) / 16, (276 + 1200) / 16),  # that of the third
    ]
    # Four fifths of the second run were read already.


def test_a_barely_sufficient_run_at_a_cut_is_read_where_nothing_is_aligned():
    cuts_sec = np.array([0, 160, 200]) / 16
    parts = [(0, 160, 400, 0.1, 0.1), (200, 240, 800, 0.007, 0.00675)]  # 0.55 s: a confidence of 0.53
    aligner = make_aligner([400, 800], parts, cuts_sec=cuts_sec)
    regions = aligner.regions_to_refine()
    assert ((240 + 800) / 16, (304 + 800) / 16) in regions
    assert ((160 + 800) / 16, (200 + 800) / 16) in regions


def test_ambiguous_boundaries_of_a_run_do_not_count_as_aligned():
    # The middle run's two seconds at each end are ambiguous: its neighbours might continue there.
    cuts_sec = np.array([0, 100, 200, 320]) / 16
    parts = [
        (0, 100, 400, 0.1, 0.1),
        (100, 200, 800, 0.002, 0.002),
        (132, 168, 800, 0.1, 0.1),
        (200, 320, 60, 0.1, 0.1),
    ]
    aligner = make_aligner([60, 400, 800], parts, cuts_sec=cuts_sec)
    regions = aligner.regions_to_refine()
    assert ((100 + 400) / 16, (132 + 400) / 16) in regions
    assert ((168 + 60) / 16, (200 + 60) / 16) in regions


def test_mostly_confident_steps_are_not_read_for_a_runner_up():
    # The candidate search finds steps 100 to 190 at 800 as well; two thirds of them are confident at 400.
    parts = [(0, 160, 400, 0.1, 0.1), (100, 160, 800, 0.1025, 0.1025), (160, 190, 800, 0.004, 0.003)]
    aligner = make_aligner([400, 800], parts)
    assert extents(aligner.path_runs(1.0)) == [(0, 160, 400)]
    assert extents(aligner.path_runs(0.3)) == [(0, 100, 400), (100, 190, 800)]
    assert not any(start > 50 for start, _ in aligner.regions_to_refine())


def test_all_of_a_probable_run_is_read_where_its_middle_is_not_enough():
    cuts_sec = np.array([0, 160, 260, 320]) / 16
    parts = [(0, 160, 400, 0.1, 0.1), (160, 260, 800, 0.005, 0.005), (260, 320, 200, 0.1, 0.1)]
    aligner = make_aligner([200, 400, 800], parts, cuts_sec=cuts_sec)
    regions = aligner.regions_to_refine()
    assert regions == [((194 + 800) / 16, (226 + 800) / 16), ((160 + 800) / 16, (260 + 800) / 16)]


def test_runs_that_only_the_candidate_search_finds_have_their_middle_read():
    # A score of 0.2 s away from cuts: less than the 0.6 that a run has to be worth, more than three tenths of it.
    cuts_sec = np.array([0.0, 10.0])
    weak = (230, 250, 800, 0.005, 0.005)
    aligner = make_aligner([400, 800], [(0, 160, 400, 0.1, 0.1), weak], cuts_sec=cuts_sec)
    assert extents(aligner.path_runs(1.0)) == [(0, 160, 400)]
    middle = ((230 + 800) / 16, (250 + 800) / 16)
    assert middle in aligner.regions_to_refine()
    weak = (230, 250, 800, 0.0045, 0.0044)  # 0.178 s
    aligner = make_aligner([400, 800], [(0, 160, 400, 0.1, 0.1), weak], cuts_sec=cuts_sec)
    assert middle not in aligner.regions_to_refine()


@pytest.mark.parametrize(("num_confident_steps", "factor"), [(31, 4.0), (32, 1.0)])
def test_more_is_required_of_a_query_of_which_hardly_anything_is_confident(num_confident_steps, factor):
    cuts_sec = np.array([3.75])
    parts = [(60, 60 + num_confident_steps, 40, 0.2, 0.2), (200, 240, 800, 0.01, 0.01), (280, 300, 40, 0.01, 0.01)]
    runs = make_aligner([40, 800], parts, cuts_sec=cuts_sec).runs()
    assert extents(runs) == [(60, 60 + num_confident_steps, 40), (200, 240, 800)]
    assert runs[1].confidence == pytest.approx(1 - 0.5 ** (0.8 / (0.5 * factor)), rel=1e-4)


@pytest.mark.parametrize(("score_sec", "is_doubtful"), [(2.51, True), (2.55, False)])
def test_confident_is_a_confidence_of_97_percent(score_sec, is_doubtful):
    # 1 - 0.5 ** (x / 0.5) is 0.97 for x = 2.529.
    parts = [(60, 100, 40, score_sec / 80, score_sec / 80)]
    (run,) = make_aligner([40], parts).runs()
    assert run.confidence == pytest.approx(1 - 0.5 ** (score_sec / (2.0 if is_doubtful else 0.5)), rel=1e-4)


def test_runs_are_extended_by_frames_up_to_a_cut():
    # A quarter of a second of the next shot, in which this one's frames are still visible but its audio is gone.
    aligner = make_aligner([40, 800], [(60, 120, 40, 0.1, 0.1), (124, 180, 800, 0.1, 0.1)])
    aligner.audio_scores[120:130, 0], aligner.video_scores[120:130, 0] = -0.3, 0.02
    aligner.audio_scores[110:124, 1], aligner.video_scores[110:124, 1] = -0.3, 0.02
    plain = aligner.path_runs(1.0)
    assert extents(aligner.runs()) == [(60, 130, 40), (110, 180, 800)]
    assert [(run.first, run.last) for run in plain] != [(60, 130), (110, 180)]
    # Cuts lie within four steps of where they are measured.
    aligner.is_cut[[112, 128]] = True
    assert extents(aligner.runs()) == [(60, 124, 40), (117, 180, 800)]


def test_a_run_is_not_extended_where_frames_contradict():
    aligner = make_aligner([40], [(60, 120, 40, 0.1, 0.1), (120, 130, 40, 0.002, -0.05)])
    assert extents(aligner.runs()) == [(60, 120, 40)]


@pytest.mark.parametrize("has_audio", [False, True])
def test_offsets_are_limited_by_memory_and_half_of_them_to_frames(monkeypatch, has_audio):
    monkeypatch.setattr("videosummarizer.labelling.alignment.MAX_SCORE_VALUES", 64 * 11 + 5)  # 11 offsets for 64 steps
    random = np.random.default_rng(2)
    audio, rows = random.normal(size=(300, 4)), random.normal(size=(300, 4))
    audio, rows = (np.float32(x / np.linalg.norm(x, axis=1, keepdims=True)) for x in (audio, rows))
    aligner = Aligner(4.0, 300 / 16, NO_CUTS, (audio[100:164], audio) if has_audio else None)
    query, reference = Descriptors(np.arange(64) / 16, rows[100:164]), Descriptors(np.arange(300) / 16, rows)
    aligner.set_descriptors(query, reference)
    of_frames = evidence.video_offset_candidates(query, reference, 5).tolist()
    assert len(aligner.offsets) <= 11
    assert 100 in aligner.offsets
    if has_audio:
        expected = {*of_frames, *aligner.best_audio_offsets(6).tolist()}
        assert set(aligner.offsets.tolist()) == expected
        assert len(expected) > 8
    else:
        assert aligner.offsets.tolist() == evidence.video_offset_candidates(query, reference, 11).tolist()
        assert len(aligner.offsets) == 11


def turning_rows(times_sec, speed):
    """Return rows that turn steadily: the similarity of two is the cosine of their distance times the speed."""
    return np.stack([np.cos(speed * times_sec), np.sin(speed * times_sec)], axis=1).astype(np.float32)


@pytest.mark.parametrize(
    ("first", "last", "offset_sec", "tolerance_sec"),
    # At the ends of the match one offset has one step less to compare than another, which costs 5 ms.
    [
        (0, 340, 3.37, 5e-4),
        (0, 340, 3.4, 5e-4),
        (48, 400, -0.52, 5e-4),
        (0, 400, 3.4, 6e-3),
        (0, 400, -0.52, 6e-3),
        (50, 60, 3.4, 5e-4),
    ],
)
def test_the_refined_offset_of_audio_lies_between_steps(first, last, offset_sec, tolerance_sec):
    steps_sec = np.arange(400) / 16
    query, reference = turning_rows(steps_sec + offset_sec, 3.0), turning_rows(steps_sec, 3.0)
    aligner = Aligner(25.0, 25.0, NO_CUTS, (query, reference))
    aligner.descriptors = Descriptors(np.zeros(1), np.zeros((1, 2))), Descriptors(np.zeros(1), np.zeros((1, 2)))
    for near in (np.floor(offset_sec * 16), np.ceil(offset_sec * 16)):
        run = AlignedRun(first, last, int(near), 4.0, 4.0)
        assert aligner.refine_offset_sec(run) == pytest.approx(offset_sec, abs=tolerance_sec)


def test_the_offset_of_audio_that_ends_before_the_video_is_refined():
    steps_sec = np.arange(400) / 16
    query, reference = turning_rows(steps_sec[:300] + 3.4, 3.0), turning_rows(steps_sec, 3.0)
    aligner = Aligner(20.0, 25.0, NO_CUTS, (query, reference))
    aligner.descriptors = Descriptors(np.zeros(1), np.zeros((1, 2))), Descriptors(np.zeros(1), np.zeros((1, 2)))
    assert aligner.refine_offset_sec(AlignedRun(0, 320, 54, 5.0, 4.0)) == pytest.approx(3.4, abs=5e-4)


def test_a_refined_offset_is_within_a_step_and_unchanged_where_nothing_is_similar():
    steps_sec = np.arange(400) / 16
    query, reference = turning_rows(steps_sec + 3.4, 3.0), turning_rows(steps_sec, 3.0)
    aligner = Aligner(25.0, 25.0, NO_CUTS, (query, reference))
    aligner.descriptors = Descriptors(np.zeros(1), np.zeros((1, 2))), Descriptors(np.zeros(1), np.zeros((1, 2)))
    assert aligner.refine_offset_sec(AlignedRun(0, 300, 50, 5.0, 4.0)) == pytest.approx(51 / 16)
    assert aligner.refine_offset_sec(AlignedRun(0, 300, 58, 5.0, 4.0)) == pytest.approx(57 / 16)
    aligner.audio = np.zeros_like(query), reference
    assert aligner.refine_offset_sec(AlignedRun(0, 300, 50, 5.0, 5.0)) == 50 / 16


@pytest.mark.parametrize("audio", [None, (np.ones((400, 2), np.float32), np.ones((400, 2), np.float32))])
@pytest.mark.parametrize("offset_sec", [3.37, 3.4, 3.44, -1.03])
def test_the_refined_offset_of_frames_is_the_middle_of_the_best_shifts(audio, offset_sec):
    # Query frames are 40 ms apart, reference frames at odd times. Shifts within 40 ms show the same frames; the
    # spread of the reference's times narrows that down.
    random = np.random.default_rng(3)
    query = Descriptors(np.arange(500) / 25, np.eye(500, dtype=np.float32))
    shown = np.sort(random.choice(np.arange(50, 450), 60, replace=False))
    reference = Descriptors(query.times_sec[shown] + random.uniform(0.001, 0.039, 60) + offset_sec, query.rows[shown])
    aligner = Aligner(20.0, 30.0, NO_CUTS, audio)
    aligner.descriptors = query, reference
    for near in (np.floor(offset_sec * 16), np.ceil(offset_sec * 16)):
        run = AlignedRun(24, 300, int(near), 1.0, 2.0)
        assert aligner.refine_offset_sec(run) == pytest.approx(offset_sec, abs=0.0032)  # half of a shift


def test_the_refined_offset_of_frames_uses_the_run_s_own_frames():
    # Two shots, at 3.36 s up to the query's tenth second, and at 3.39 s.
    random = np.random.default_rng(4)
    query = Descriptors(np.arange(500) / 25, np.eye(500, dtype=np.float32))
    shown = np.arange(30, 480, 4)
    offsets_sec = np.where(shown < 250, 3.36, 3.39)
    reference = Descriptors(
        query.times_sec[shown] + random.uniform(0.001, 0.039, len(shown)) + offsets_sec, query.rows[shown]
    )
    aligner = Aligner(20.0, 30.0, NO_CUTS, None)
    aligner.descriptors = query, reference
    for first, last, offset_sec in ((16, 159, 3.36), (161, 310, 3.39)):
        assert aligner.refine_offset_sec(AlignedRun(first, last, 54, 0.0, 2.0)) == pytest.approx(offset_sec, abs=0.0032)
