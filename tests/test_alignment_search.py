"""What `Aligner` makes of evidence that is given by hand: rivals, places to read, runs and fine offsets."""

import numpy as np
import pytest

from videosummarizer.labelling import evidence
from videosummarizer.labelling.alignment import AlignedRun, Aligner
from videosummarizer.labelling.fingerprints import Descriptors

NO_CUTS = np.zeros(0)


def make_search(offsets, parts, num_steps=320, cuts_sec=NO_CUTS, match_sec=100.0):
    """A search with evidence (first, last, offset, sound, picture), a step's worth each, and -0.1 elsewhere."""
    search = Aligner(num_steps / 16, match_sec, cuts_sec, None)
    search.offsets = np.array(offsets)
    search.sound_evidence = np.full((num_steps, len(offsets)), -0.1, np.float32)
    search.picture_evidence = np.full((num_steps, len(offsets)), -0.1, np.float32)
    for first, last, offset, sound, picture in parts:
        column = offsets.index(offset)
        search.sound_evidence[first:last, column] = sound
        search.picture_evidence[first:last, column] = picture
    return search


def extents(runs):
    return [(run.first, run.last, run.offset) for run in runs]


def test_a_search_counts_steps_and_cuts_in_sixteenths_of_a_second():
    search = Aligner(10.03, 50.05, np.array([0.0, 3.37, 9.99]), None)
    assert search.num_steps == 160
    assert np.flatnonzero(search.is_cut).tolist() == [0, 54, 159]
    assert len(search.is_read) == 801
    assert not search.is_read.any()
    assert search.num_steps_left == 240  # one and a half times the edit
    assert Aligner(0.01, 1.0, NO_CUTS, None).num_steps == 1


def test_a_run_is_cheaper_at_a_cut():
    # 16 steps of 0.028 are worth 0.448: more than the 0.3 at a cut, less than the 0.6 elsewhere.
    parts = [(160, 176, 40, 0.014, 0.014)]
    assert make_search([40], parts).path_runs(1.0) == []
    assert extents(make_search([40], parts, cuts_sec=np.array([10.0])).path_runs(1.0)) == [(160, 176, 40)]
    assert make_search([40], parts, cuts_sec=np.array([10.0])).path_runs(1.6) == []
    assert extents(make_search([40], parts).path_runs(0.7)) == [(160, 176, 40)]
    for cuts_sec, factor, expected in (
        (NO_CUTS, 0.448 / 0.6 - 0.01, 1),
        (NO_CUTS, 0.448 / 0.6 + 0.01, 0),
        (np.array([10.0]), 0.448 / 0.3 - 0.01, 1),
        (np.array([10.0]), 0.448 / 0.3 + 0.01, 0),
    ):
        assert len(make_search([40], parts, cuts_sec=cuts_sec).path_runs(factor)) == expected


def test_the_rival_of_a_run_is_the_best_of_other_places():
    parts = [(100, 140, 40, 0.1, 0.2), (100, 140, 48, 0.1, 0.15), (90, 150, 49, 0.05, 0.02), (100, 140, 31, 0.06, -0.3)]
    search = make_search([20, 31, 40, 48, 49], parts)
    run = AlignedRun(100, 140, 40, 4.0, 8.0)
    assert search.rival_sec(run) == pytest.approx(40 * 0.07, rel=1e-4)  # both together at 49; 48 is the same place
    search.sound_evidence[100:140, 1] = 0.08  # sound alone at 31
    assert search.rival_sec(run) == pytest.approx(40 * 0.08, rel=1e-4)
    search.picture_evidence[100:140, 0], search.sound_evidence[100:140, 0] = 0.09, -0.4  # picture alone at 20
    assert search.rival_sec(run) == pytest.approx(40 * 0.09, rel=1e-4)
    assert make_search([40], parts[:1]).rival_sec(run) == 0
    (found,) = (run for run in search.path_runs(1.0) if run.offset == 40)
    assert (found.first, found.last, found.rival_sec) == (100, 140, pytest.approx(40 * 0.09, rel=1e-4))


def test_evidence_of_a_run_is_that_of_one_alone_where_the_other_contradicts():
    search = make_search([3, 40, 70], [(100, 140, 40, 0.1, 0.2)])
    for sound_sec, picture_sec, value in ((4, 8, 0.3), (4, -8, 0.1), (-4, 8, 0.2)):
        evidence = search.evidence_of(AlignedRun(100, 140, 40, sound_sec, picture_sec))
        assert evidence.shape == (320,)
        assert evidence[120] == pytest.approx(value)


# Of 320 steps, 2 % to 100 % found, by sound or not.
@pytest.mark.parametrize(
    ("parts", "is_needed"),
    [
        ([], True),
        ([(10, 100, 40, 0.0, 0.1)], True),
        ([(10, 100, 40, 0.1, 0.1)], False),  # heard
        ([(0, 302, 40, 0.0, 0.1)], True),
        ([(0, 304, 40, 0.0, 0.1)], False),  # all but 5 %
        ([(10, 100, 40, 0.005, 0.1)], False),  # a little is heard
        ([(10, 90, 40, 0.0, 0.1), (90, 110, 200, 0.1, 0.1)], False),  # just a fifth
        ([(10, 100, 40, 0.0030, 0.0031)], True),  # 0.55 s are no run away from cuts
        ([(10, 100, 40, 0.0050, 0.0050)], False),
        ([(10, 100, 40, 0.0, 0.1), (100, 121, 200, 0.1, 0.1)], True),  # a fifth is 22 of 111 steps
        ([(10, 100, 40, 0.0, 0.1), (100, 124, 200, 0.1, 0.1)], False),
        ([(10, 100, 40, 0.01, -0.1)], True),  # heard, but 0.9 s of sound alone are not likely to be right
        ([(10, 100, 40, 0.0279, -0.1)], False),  # 2.511 s are
    ],
)
def test_every_picture_is_needed_where_much_is_not_found_and_not_heard(parts, is_needed):
    assert make_search([40, 200], parts).needs_every_picture() == is_needed


def test_places_are_read_once_and_as_far_as_the_limit_goes():
    search = Aligner(20.0, 100.0, NO_CUTS, None)  # 480 steps may be read, 1600 are there
    assert search.unread([(-10, 32), (100, 260), (1590, 1700)]) == [(0.0, 2.0), (6.25, 16.25), (99.375, 100.0)]
    assert search.num_steps_left == 480 - 32 - 160 - 10
    assert search.unread([(100, 300)]) == []  # four fifths are read
    assert search.unread([(100, 301)]) == [(6.25, 18.8125)]
    assert search.num_steps_left == 278 - 201
    assert search.unread([(400, 478), (400, 400), (410, 405)]) == []  # 78 are more than is left; nothing
    assert search.unread([(400, 476)]) == [(25.0, 29.75)]
    assert search.unread([(500, 501)]) == [(31.25, 31.3125)]
    assert search.unread([(510, 511)]) == []
    assert np.flatnonzero(search.is_read).tolist() == [
        *range(32),
        *range(100, 301),
        *range(400, 476),
        500,
        *range(1590, 1600),
    ]


def ends_of(found_parts, end_evidence=0.1, first=100, last=200, cuts_sec=NO_CUTS, beyond=-0.1, num_steps=320):
    """The unclear ends, in steps of the edit, of a run at offset 1000 whose last 32 steps at each end have that."""
    search = make_search([1000], [(first, last, 1000, end_evidence, 0.0)], num_steps, cuts_sec)
    search.picture_evidence[:] = 0
    search.sound_evidence[:first], search.sound_evidence[last:] = beyond, beyond
    is_found = np.zeros(num_steps, bool)
    is_found[first:last] = True
    for start, end in found_parts:
        is_found[start:end] = True
    places = search.unclear_ends(AlignedRun(first, last, 1000, 5.0, 0.0), is_found)
    return [(start - 1000, end - 1000) for start, end in places]


@pytest.mark.parametrize(
    ("found_parts", "options", "expected"),
    [
        # Nothing is found beyond: four seconds are looked at.
        ([], {}, [(36, 100), (200, 264)]),
        ([], {"first": 30, "last": 300}, [(0, 30), (300, 320)]),
        ([], {"first": 0, "last": 320}, []),
        # As far as nothing is found beyond.
        ([(0, 60), (250, 320)], {}, [(60, 100), (200, 250)]),
        # Something else begins at once: a second, in case it is a dissolve; nothing where there is a cut.
        ([(0, 100), (200, 320)], {}, [(84, 100), (200, 216)]),
        ([(0, 100), (200, 320)], {"cuts_sec": np.array([100 / 16, 200 / 16])}, []),
        ([(0, 100), (200, 320)], {"cuts_sec": np.array([97 / 16, 203 / 16])}, []),
        ([(0, 100), (200, 320)], {"cuts_sec": np.array([95 / 16, 204 / 16])}, [(84, 100), (200, 216)]),
        ([(0, 100), (200, 320)], {"cuts_sec": np.array([103 / 16, 196 / 16])}, []),
        ([(0, 100), (200, 320)], {"cuts_sec": np.array([104 / 16, 195 / 16])}, [(84, 100), (200, 216)]),
        # A gap of up to four steps before a cut is none.
        ([(0, 96), (204, 320)], {"cuts_sec": np.array([100 / 16, 200 / 16])}, []),
        ([(0, 95), (205, 320)], {"cuts_sec": np.array([100 / 16, 200 / 16])}, [(95, 100), (200, 205)]),
        # The last two seconds inside, and beyond, speak neither for nor against: both are looked at.
        ([(0, 100), (200, 320)], {"end_evidence": 0.0046, "beyond": -0.009}, [(68, 132), (168, 232)]),
        ([(0, 100), (200, 320)], {"end_evidence": 0.0047, "beyond": -0.009}, [(84, 100), (200, 216)]),
        ([(0, 100), (200, 320)], {"end_evidence": 0.0046, "beyond": -0.0095}, [(84, 132), (168, 216)]),
        ([(0, 40), (260, 320)], {"end_evidence": 0.0046, "beyond": 0.0}, [(40, 132), (168, 260)]),
        ([], {"end_evidence": 0.0046, "first": 0, "last": 20, "beyond": -0.009}, [(0, 32), (0, 84)]),
        ([(0, 320)], {"end_evidence": 0.0046, "first": 10, "last": 310, "beyond": -0.009}, [(0, 42), (278, 320)]),
        ([(0, 320)], {"end_evidence": 0.2, "first": 0, "last": 2, "cuts_sec": np.array([2 / 16])}, [(0, 32)]),
    ],
)  # fmt: skip
def test_ends_that_may_lie_elsewhere_are_looked_at(found_parts, options, expected):
    assert ends_of(found_parts, **options) == expected


def test_places_in_doubt_are_read_in_order_of_what_they_settle():
    # A sure run between cuts, a likely one and one that is not.
    cuts_sec = np.array([0, 160, 200, 240, 280, 320]) / 16
    parts = [
        (0, 160, 400, 0.1, 0.1),
        (160, 200, 800, 0.012, 0.011),  # 0.92 s: a confidence of 0.72
        (240, 280, 1200, 0.005, 0.005),  # 0.4 s: of 0.43
    ]
    search = make_search([400, 800, 1200], parts, cuts_sec=cuts_sec)
    assert [round(run.rate(1.0).confidence, 2) for run in search.path_runs(1.0)] == [1.0, 0.72, 0.43]
    assert search.places_to_read_sec() == [
        ((200 + 800) / 16, (264 + 800) / 16),  # beyond the end of the second, where nothing likely is found
        ((164 + 800) / 16, (196 + 800) / 16),  # its middle
        ((244 + 1200) / 16, (276 + 1200) / 16),  # that of the third
    ]
    # The second in whole was read up to four fifths.


def test_what_is_hardly_worth_a_run_at_a_cut_is_looked_at_where_nothing_is_found():
    cuts_sec = np.array([0, 160, 200]) / 16
    parts = [(0, 160, 400, 0.1, 0.1), (200, 240, 800, 0.007, 0.00675)]  # 0.55 s: a confidence of 0.53
    search = make_search([400, 800], parts, cuts_sec=cuts_sec)
    places = search.places_to_read_sec()
    assert ((240 + 800) / 16, (304 + 800) / 16) in places
    assert ((160 + 800) / 16, (200 + 800) / 16) in places


def test_a_run_s_unclear_ends_do_not_count_as_found():
    # The middle run's two seconds at each end tell nothing: its neighbours might go on there.
    cuts_sec = np.array([0, 100, 200, 320]) / 16
    parts = [
        (0, 100, 400, 0.1, 0.1),
        (100, 200, 800, 0.002, 0.002),
        (132, 168, 800, 0.1, 0.1),
        (200, 320, 60, 0.1, 0.1),
    ]
    search = make_search([60, 400, 800], parts, cuts_sec=cuts_sec)
    places = search.places_to_read_sec()
    assert ((100 + 400) / 16, (132 + 400) / 16) in places
    assert ((168 + 60) / 16, (200 + 60) / 16) in places


def test_what_is_mostly_sure_is_not_read_for_a_rival():
    # Seeking finds steps 100 to 190 at 800 as well; two thirds of it are sure to be at 400.
    parts = [(0, 160, 400, 0.1, 0.1), (100, 160, 800, 0.1025, 0.1025), (160, 190, 800, 0.004, 0.003)]
    search = make_search([400, 800], parts)
    assert extents(search.path_runs(1.0)) == [(0, 160, 400)]
    assert extents(search.path_runs(0.3)) == [(0, 100, 400), (100, 190, 800)]
    assert not any(start > 50 for start, _ in search.places_to_read_sec())


def test_all_of_a_likely_run_is_read_where_its_middle_is_too_little():
    cuts_sec = np.array([0, 160, 260, 320]) / 16
    parts = [(0, 160, 400, 0.1, 0.1), (160, 260, 800, 0.005, 0.005), (260, 320, 200, 0.1, 0.1)]
    search = make_search([200, 400, 800], parts, cuts_sec=cuts_sec)
    places = search.places_to_read_sec()
    assert places == [((194 + 800) / 16, (226 + 800) / 16), ((160 + 800) / 16, (260 + 800) / 16)]


def test_runs_that_only_seeking_finds_have_their_middle_read():
    # 0.2 s of evidence away from cuts: less than the 0.6 that a run has to be worth, more than three tenths of it.
    cuts_sec = np.array([0.0, 10.0])
    weak = (230, 250, 800, 0.005, 0.005)
    search = make_search([400, 800], [(0, 160, 400, 0.1, 0.1), weak], cuts_sec=cuts_sec)
    assert extents(search.path_runs(1.0)) == [(0, 160, 400)]
    middle = ((230 + 800) / 16, (250 + 800) / 16)
    assert middle in search.places_to_read_sec()
    weak = (230, 250, 800, 0.0045, 0.0044)  # 0.178 s
    search = make_search([400, 800], [(0, 160, 400, 0.1, 0.1), weak], cuts_sec=cuts_sec)
    assert middle not in search.places_to_read_sec()


@pytest.mark.parametrize(("num_sure_steps", "factor"), [(31, 4.0), (32, 1.0)])
def test_more_is_required_of_an_edit_of_which_next_to_nothing_is_sure(num_sure_steps, factor):
    cuts_sec = np.array([3.75])
    parts = [(60, 60 + num_sure_steps, 40, 0.2, 0.2), (200, 240, 800, 0.01, 0.01), (280, 300, 40, 0.01, 0.01)]
    runs = make_search([40, 800], parts, cuts_sec=cuts_sec).runs()
    assert extents(runs) == [(60, 60 + num_sure_steps, 40), (200, 240, 800)]
    assert runs[1].confidence == pytest.approx(1 - 0.5 ** (0.8 / (0.5 * factor)), rel=1e-4)


@pytest.mark.parametrize(("evidence_sec", "is_doubtful"), [(2.51, True), (2.55, False)])
def test_sure_is_a_confidence_of_97_in_100(evidence_sec, is_doubtful):
    # 1 - 0.5 ** (x / 0.5) is 0.97 for x = 2.529.
    parts = [(60, 100, 40, evidence_sec / 80, evidence_sec / 80)]
    (run,) = make_search([40], parts).runs()
    assert run.confidence == pytest.approx(1 - 0.5 ** (evidence_sec / (2.0 if is_doubtful else 0.5)), rel=1e-4)


def test_runs_grow_by_what_pictures_tell_up_to_a_cut():
    # A quarter of a second of the next shot, in which the pictures of this one are still seen but not its sound.
    search = make_search([40, 800], [(60, 120, 40, 0.1, 0.1), (124, 180, 800, 0.1, 0.1)])
    search.sound_evidence[120:130, 0], search.picture_evidence[120:130, 0] = -0.3, 0.02
    search.sound_evidence[110:124, 1], search.picture_evidence[110:124, 1] = -0.3, 0.02
    plain = search.path_runs(1.0)
    assert extents(search.runs()) == [(60, 130, 40), (110, 180, 800)]
    assert [(run.first, run.last) for run in plain] != [(60, 130), (110, 180)]
    # Cuts lie within four steps of where they are measured.
    search.is_cut[[112, 128]] = True
    assert extents(search.runs()) == [(60, 124, 40), (117, 180, 800)]


def test_a_run_does_not_grow_where_pictures_speak_against_it():
    search = make_search([40], [(60, 120, 40, 0.1, 0.1), (120, 130, 40, 0.002, -0.05)])
    assert extents(search.runs()) == [(60, 120, 40)]


@pytest.mark.parametrize("has_sound", [False, True])
def test_offsets_are_limited_by_memory_half_of_them_to_pictures(monkeypatch, has_sound):
    monkeypatch.setattr("shot_matching.MAX_CELLS", 64 * 11 + 5)  # 11 offsets for 64 steps
    random = np.random.default_rng(2)
    sound, rows = random.normal(size=(300, 4)), random.normal(size=(300, 4))
    sound, rows = (np.float32(x / np.linalg.norm(x, axis=1, keepdims=True)) for x in (sound, rows))
    search = Aligner(4.0, 300 / 16, NO_CUTS, (sound[100:164], sound) if has_sound else None)
    edit, match = Descriptors(np.arange(64) / 16, rows[100:164]), Descriptors(np.arange(300) / 16, rows)
    search.set_pictures(edit, match)
    of_pictures = evidence.video_offset_candidates(edit, match, 5).tolist()
    assert len(search.offsets) <= 11
    assert 100 in search.offsets
    if has_sound:
        expected = {*of_pictures, *search.promising_sound_offsets(6).tolist()}
        assert set(search.offsets.tolist()) == expected
        assert len(expected) > 8
    else:
        assert search.offsets.tolist() == evidence.video_offset_candidates(edit, match, 11).tolist()
        assert len(search.offsets) == 11


def turning_rows(times_sec, speed):
    """Rows that turn steadily: the likeness of two is the cosine of their distance times the speed."""
    return np.stack([np.cos(speed * times_sec), np.sin(speed * times_sec)], axis=1).astype(np.float32)


@pytest.mark.parametrize(
    ("first", "last", "offset_sec", "tolerance_sec"),
    # At either end of the match one offset has a step less to compare than another: that costs 5 ms.
    [
        (0, 340, 3.37, 5e-4),
        (0, 340, 3.4, 5e-4),
        (48, 400, -0.52, 5e-4),
        (0, 400, 3.4, 6e-3),
        (0, 400, -0.52, 6e-3),
        (50, 60, 3.4, 5e-4),
    ],
)
def test_the_fine_offset_of_the_sound_lies_between_steps(first, last, offset_sec, tolerance_sec):
    steps_sec = np.arange(400) / 16
    edit, match = turning_rows(steps_sec + offset_sec, 3.0), turning_rows(steps_sec, 3.0)
    search = Aligner(25.0, 25.0, NO_CUTS, (edit, match))
    search.pictures = Descriptors(np.zeros(1), np.zeros((1, 2))), Descriptors(np.zeros(1), np.zeros((1, 2)))
    for near in (np.floor(offset_sec * 16), np.ceil(offset_sec * 16)):
        run = AlignedRun(first, last, int(near), 4.0, 4.0)
        assert search.fine_offset_sec(run) == pytest.approx(offset_sec, abs=tolerance_sec)


def test_the_fine_offset_of_sound_that_ends_before_the_picture():
    steps_sec = np.arange(400) / 16
    edit, match = turning_rows(steps_sec[:300] + 3.4, 3.0), turning_rows(steps_sec, 3.0)
    search = Aligner(20.0, 25.0, NO_CUTS, (edit, match))
    search.pictures = Descriptors(np.zeros(1), np.zeros((1, 2))), Descriptors(np.zeros(1), np.zeros((1, 2)))
    assert search.fine_offset_sec(AlignedRun(0, 320, 54, 5.0, 4.0)) == pytest.approx(3.4, abs=5e-4)


def test_a_fine_offset_is_within_a_step_and_none_where_nothing_is_alike():
    steps_sec = np.arange(400) / 16
    edit, match = turning_rows(steps_sec + 3.4, 3.0), turning_rows(steps_sec, 3.0)
    search = Aligner(25.0, 25.0, NO_CUTS, (edit, match))
    search.pictures = Descriptors(np.zeros(1), np.zeros((1, 2))), Descriptors(np.zeros(1), np.zeros((1, 2)))
    assert search.fine_offset_sec(AlignedRun(0, 300, 50, 5.0, 4.0)) == pytest.approx(51 / 16)
    assert search.fine_offset_sec(AlignedRun(0, 300, 58, 5.0, 4.0)) == pytest.approx(57 / 16)
    search.sound = np.zeros_like(edit), match
    assert search.fine_offset_sec(AlignedRun(0, 300, 50, 5.0, 5.0)) == 50 / 16


@pytest.mark.parametrize("sound", [None, (np.ones((400, 2), np.float32), np.ones((400, 2), np.float32))])
@pytest.mark.parametrize("offset_sec", [3.37, 3.4, 3.44, -1.03])
def test_the_fine_offset_of_pictures_is_the_middle_of_the_best_shifts(sound, offset_sec):
    # Pictures of the edit 40 ms apart, of the match at odd times: all shifts within 40 ms show the same pictures, and
    # times that are spread narrow that down.
    random = np.random.default_rng(3)
    edit = Descriptors(np.arange(500) / 25, np.eye(500, dtype=np.float32))
    shown = np.sort(random.choice(np.arange(50, 450), 60, replace=False))
    match = Descriptors(edit.times_sec[shown] + random.uniform(0.001, 0.039, 60) + offset_sec, edit.rows[shown])
    search = Aligner(20.0, 30.0, NO_CUTS, sound)
    search.pictures = edit, match
    for near in (np.floor(offset_sec * 16), np.ceil(offset_sec * 16)):
        run = AlignedRun(24, 300, int(near), 1.0, 2.0)
        assert search.fine_offset_sec(run) == pytest.approx(offset_sec, abs=0.0032)  # half of a shift


def test_the_fine_offset_of_pictures_is_that_of_the_run_s_own():
    # Two shots, at 3.36 s up to the edit's tenth second, and at 3.39 s.
    random = np.random.default_rng(4)
    edit = Descriptors(np.arange(500) / 25, np.eye(500, dtype=np.float32))
    shown = np.arange(30, 480, 4)
    offsets_sec = np.where(shown < 250, 3.36, 3.39)
    match = Descriptors(
        edit.times_sec[shown] + random.uniform(0.001, 0.039, len(shown)) + offsets_sec, edit.rows[shown]
    )
    search = Aligner(20.0, 30.0, NO_CUTS, None)
    search.pictures = edit, match
    for first, last, offset_sec in ((16, 159, 3.36), (161, 310, 3.39)):
        assert search.fine_offset_sec(AlignedRun(first, last, 54, 0.0, 2.0)) == pytest.approx(offset_sec, abs=0.0032)
