"""Check the shots found in highlight videos that FFmpeg cuts from the sample matches."""

import numpy as np
import pytest
from edits import CUTS_SEC, MATCH, OTHER, ffmpeg, make_edit

from videosummarizer import media
from videosummarizer.labelling.shots import find_shots, snap


def find(match, edit):
    return find_shots(match, media.probe(match), edit, media.probe(edit))


def f1(shots, cuts_sec=CUTS_SEC):
    """Return the time-wise F1, in steps of 10 ms, of the confident shots."""
    times_sec = np.arange(0, 60, 0.01)

    def covered(sections):
        return np.any([(times_sec >= start) & (times_sec < end) for start, end in [(0, 0), *sections]], axis=0)

    reference = covered(cuts_sec)
    predicted = covered([(s.match_start_sec, s.match_end_sec) for s in shots if s.confidence >= 0.5])
    return 2 * (reference & predicted).sum() / (reference.sum() + predicted.sum())


def test_plain_cuts_are_found_to_a_frame_or_two(plain_edit):
    shots = find(MATCH, plain_edit)
    predicted = [(shot.match_start_sec, shot.match_end_sec) for shot in shots if shot.confidence >= 0.5]
    np.testing.assert_allclose(predicted, CUTS_SEC, atol=0.08)
    assert [round(shot.edit_start_sec) for shot in shots if shot.confidence >= 0.5] == [0, 7, 11]


# What editing does, and the F1 that has to be reached nevertheless.
EDITS = {
    "reordered": ({"cuts_sec": CUTS_SEC[::-1]}, 0.97),
    "another frame rate, size and codec": (
        {"video_filter": "fps=25,scale=320:180", "options": ["-c:v", "mpeg4", "-q:v", "6"]},
        0.95,
    ),
    "zoom, letterbox, logo and colour": (
        {
            "video_filter": "crop=iw/1.05:ih/1.05,pad=iw:ih*4/3:0:(oh-ih)/2,drawbox=x=iw*0.8:y=ih*0.2:w=30:h=20:t=fill,"
            "eq=brightness=0.1:contrast=1.2:saturation=0.5"
        },
        0.95,
    ),
    "music over compressed, quiet audio": (
        {
            "audio_filter": "acompressor=threshold=0.05:ratio=6,volume=0.3[game];"
            "sine=f=330:d=20,tremolo=f=3,volume=0.3[tune];[game][tune]amix=inputs=2:duration=first:normalize=0"
        },
        0.95,
    ),
    "audio replaced": (
        {"audio_filter": "volume=0[none];anoisesrc=d=20:a=0.1[noise];[none][noise]amix=duration=first"},
        0.9,
    ),
    "black video": ({"video_filter": "drawbox=t=fill:c=black"}, 0.9),
}


@pytest.mark.parametrize(("changes", "least_f1"), EDITS.values(), ids=EDITS.keys())
def test_shots_are_found_in_spite_of_editing(tmp_path, changes, least_f1):
    assert f1(find(MATCH, make_edit(tmp_path / "edit.mp4", **changes))) >= least_f1


def test_the_boundaries_of_dissolving_shots_are_refined(tmp_path):
    # Shots of 8, 6 and 9 s, each second one gone a second after the next begins to show.
    cuts_sec = [(10, 18), (31, 37), (44, 53)]
    inputs = [argument for start, end in cuts_sec for argument in ("-ss", start, "-t", end - start, "-i", MATCH)]
    graph = (
        "[0:v][1:v]xfade=duration=1:offset=7[x];[0:a][1:a]acrossfade=d=1[y];"
        "[x][2:v]xfade=duration=1:offset=12[v];[y][2:a]acrossfade=d=1[a]"
    )
    edit = tmp_path / "edit.mp4"
    ffmpeg(*inputs, "-filter_complex", graph, "-map", "[v]", "-map", "[a]", "-preset", "veryfast", edit)
    predicted = [(shot.match_start_sec, shot.match_end_sec) for shot in find(MATCH, edit) if shot.confidence >= 0.5]
    np.testing.assert_allclose(predicted, cuts_sec, atol=0.2)


def test_video_without_audio_suffices(tmp_path, plain_edit):
    ffmpeg("-i", plain_edit, "-an", "-c:v", "copy", tmp_path / "silent.mp4")
    assert f1(find(MATCH, tmp_path / "silent.mp4")) >= 0.9


def test_shots_of_another_match_are_left_out(tmp_path):
    make_edit(tmp_path / "advert.mp4", [(5, 13)], OTHER)
    make_edit(tmp_path / "shots.mp4")
    edit = make_edit(tmp_path / "advert.mp4", [(20, 27)], source=OTHER)
    ffmpeg("-i", edit, "-i", tmp_path / "shots.mp4", "-filter_complex", "[0:v][0:a][1:v][1:a]concat=n=2:v=1:a=1",
           tmp_path / "edit.mp4")  # fmt: skip
    shots = find(MATCH, tmp_path / "edit.mp4")
    assert f1(shots) >= 0.97
    assert [shot for shot in shots if shot.confidence >= 0.5 and shot.edit_end_sec < 6.5] == []


def test_a_boundary_near_a_cut_is_moved_to_the_cut():
    assert snap(4.8, np.array([0.0, 5.0])) == 5.0
    assert snap(4.5, np.array([0.0, 5.0])) == 4.5


@pytest.mark.parametrize(
    ("time_sec", "snapped_sec"), [(4.71, 5.0), (4.69, 4.69), (5.29, 5.0), (5.31, 5.31), (6.9, 7.0)]
)
def test_three_tenths_of_a_second_are_near_a_cut(time_sec, snapped_sec):
    assert snap(time_sec, np.array([0.0, 5.0, 7.0])) == snapped_sec
