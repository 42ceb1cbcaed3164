"""Check what label_finder.py finds in highlight videos that FFmpeg cuts from the sample matches."""

import json
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

import data_converter
import label_finder
from label_finder import Shot
from videosummarizer import media
from videosummarizer.labelling import dissolves

ROOT = Path(__file__).resolve().parent.parent
MATCH = ROOT / "data" / "raw" / "city_03.mp4"
OTHER = ROOT / "data" / "raw" / "base_01.mp4"
CUTS_SEC = [(10, 17), (31, 35), (44, 53)]  # of MATCH


def ffmpeg(*arguments):
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)], check=True)


def make_edit(path, cuts_sec=CUTS_SEC, source=MATCH, video_filter="null", audio_filter="anull", options=()):
    """Write a video of some (start, end) of a match, one after the other, with filters on video and audio."""
    inputs = [argument for start, end in cuts_sec for argument in ("-ss", start, "-t", end - start, "-i", source)]
    streams = "".join(f"[{index}:v][{index}:a]" for index in range(len(cuts_sec)))
    graph = f"{streams}concat=n={len(cuts_sec)}:v=1:a=1[v][a];[v]{video_filter}[video];[a]{audio_filter}[audio]"
    ffmpeg(*inputs, "-filter_complex", graph, "-map", "[video]", "-map", "[audio]", "-preset", "veryfast", *options,
           path)  # fmt: skip
    return path


def find(match, edit):
    return label_finder.find_shots(match, media.probe(match), edit, media.probe(edit))


def f1(shots, cuts_sec=CUTS_SEC):
    """Return the time-wise F1, in steps of 10 ms, of the confident shots."""
    times_sec = np.arange(0, 60, 0.01)

    def covered(sections):
        return np.any([(times_sec >= start) & (times_sec < end) for start, end in [(0, 0), *sections]], axis=0)

    reference = covered(cuts_sec)
    predicted = covered([(s.match_start_sec, s.match_end_sec) for s in shots if s.confidence >= 0.5])
    return 2 * (reference & predicted).sum() / (reference.sum() + predicted.sum())


@pytest.fixture(scope="module")
def plain_edit(tmp_path_factory):
    return make_edit(tmp_path_factory.mktemp("edit") / "city_03.mp4")


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


def test_a_linear_fade_is_measured_and_noise_is_not():
    times_sec = np.arange(-1.6, 1.6, 1 / 16)
    ramp = np.clip((0.5 - times_sec) / 0.8, 0, 1)  # all gone 0.5 s outside
    noise = np.random.default_rng(0).normal(size=len(times_sec))
    weights = np.ones(len(times_sec))
    assert dissolves.fit_dissolve_end(times_sec, 0.9 * ramp + 0.05 * noise, weights) == pytest.approx(0.5, abs=0.06)
    assert dissolves.fit_dissolve_end(times_sec, 0.3 * noise, weights) is None


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


@pytest.fixture
def folders(tmp_path, plain_edit):
    """Return folders of matches and of highlight videos with one pair."""
    matches, highlights = tmp_path / "matches", tmp_path / "highlights"
    for folder in (matches, highlights):
        folder.mkdir()
    (matches / "city_03.mp4").symlink_to(MATCH)
    (highlights / "city_03.mp4").symlink_to(plain_edit)
    return matches, highlights


def run(*arguments):
    return label_finder.main([*map(str, arguments), "--workers", "1"])


def test_the_command_writes_labels_that_the_converter_takes(folders, capsys):
    matches, highlights = folders
    assert run(matches, highlights) == 0
    lines = [line.split(",") for line in (matches / "city_03.txt").read_text().splitlines()]
    frames = np.array([[int(line[0]), int(line[1])] for line in lines])
    np.testing.assert_allclose(frames, np.array(CUTS_SEC) * 35, atol=3)
    assert [line[2:] for line in lines][1] in (["00:00:31", "00:00:35"], ["00:00:30", "00:00:35"])
    report = json.loads((matches / "city_03_label_report.json").read_text())
    assert report["match"] == report["highlight_video"] == "city_03.mp4"
    assert sum(shot["is_label"] for shot in report["shots"]) == 3
    assert report["found_share"] > 0.95
    assert (matches / "city_03_alignment.png").read_bytes().startswith(b"\x89PNG")
    assert "3 sections, 20 s, 100% of the highlight video found" in capsys.readouterr().out
    assert data_converter.main([str(matches), "5", "3", "64", "64", "11025", "0", "--check"]) == 0
    out = capsys.readouterr().out
    assert "1 of 1 matches can be converted" in out
    assert "warning" not in out
    assert "error" not in out


def test_a_video_of_another_match_gives_no_sections_and_a_warning(folders, caplog):
    matches, highlights = folders
    (matches / "base_01.mp4").symlink_to(OTHER)
    (highlights / "base_01.mp4").symlink_to(highlights / "city_03.mp4")
    (highlights / "city_03.mp4").rename(highlights / "unused.mp4")
    (highlights / "base_01.mp4").unlink()
    (highlights / "unused.mp4").rename(highlights / "base_01.mp4")
    assert run(matches, highlights) == 0
    assert (matches / "base_01.txt").read_text() == ""
    assert "only 0% of it was found" in caplog.text


def test_existing_labels_are_kept_unless_overwritten(folders, capsys):
    matches, highlights = folders
    (matches / "city_03.txt").write_text("1,2\n")
    assert run(matches, highlights) == 0
    assert (matches / "city_03.txt").read_text() == "1,2\n"
    assert "1 label files already exist and are kept" in capsys.readouterr().out
    assert run(matches, highlights, "--overwrite") == 0
    assert (matches / "city_03.txt").read_text().count("\n") == 3


def test_only_the_match_with_a_bad_video_fails(folders, tmp_path, caplog):
    matches, highlights = folders
    for folder in folders:
        (folder / "bad.mp4").write_bytes(b"no video")
    assert run(matches, highlights, tmp_path / "out") == 1
    assert sorted(path.name for path in (tmp_path / "out").glob("*.txt")) == ["city_03.txt"]
    assert "bad.mp4: cannot be read as a video" in caplog.text
    assert "1 of 2 matches have no labels: bad" in caplog.text


def test_pairs_of_other_names(folders, tmp_path):
    matches, highlights = folders
    (highlights / "city_03.mp4").rename(highlights / "best of.mp4")
    (tmp_path / "pairs.csv").write_text("city_03.mp4,best of.mp4\n")
    assert run(matches, highlights, tmp_path / "out", "--pairs", tmp_path / "pairs.csv") == 0
    assert len((tmp_path / "out" / "city_03.txt").read_text().splitlines()) == 3


WRONG_PAIRS = {
    "a,b,c": "line 1: received 3 fields, expected 2",
    "city_03.mp4,none.mp4": "none.mp4, expected the name of a video",
    "": "received no pair",
    "city_03.mp4,city_03.mp4\ncity_03.mp4,city_03.mp4": "line 2: received city_03.mp4 a second time",
}


@pytest.mark.parametrize(("text", "message"), WRONG_PAIRS.items())
def test_errors_in_pairs_are_named(folders, tmp_path, caplog, text, message):
    (tmp_path / "pairs.csv").write_text(text)
    assert run(*folders, "--pairs", tmp_path / "pairs.csv") == 1
    assert message in caplog.text


def test_folders_without_pairs_are_named(tmp_path, caplog):
    assert run(tmp_path / "none", tmp_path) == 1
    assert "none: no such folder" in caplog.text
    assert run(tmp_path, tmp_path) == 1
    assert "none of the same name" in caplog.text


@pytest.mark.parametrize("arguments", [["--workers", "0"], ["--min_confidence", "2"], []])
def test_wrong_usage_exits_with_2(arguments):
    with pytest.raises(SystemExit) as error:
        label_finder.main(["matches", *arguments] if not arguments else ["a", "b", *arguments])
    assert error.value.code == 2


def test_frames_are_counted_by_the_videos_own_times():
    times_sec = np.array([0.0, 0.1, 0.4, 0.5, 1.0])  # a variable rate
    lines = label_finder.label_lines(np.array([[0.11, 0.52], [0.9, 1.5]]), times_sec)
    assert lines == ["1,3,00:00:00,00:00:00", "4,5,00:00:01,00:00:01"]


def test_a_section_shorter_than_a_frame_is_left_out():
    assert label_finder.label_lines(np.array([[0.2, 0.201]]), np.arange(30) / 30) == []


def test_missing_parts_are_what_no_shot_covers():
    shots = [Shot(1, 4, 0, 3, 0.9, 0, 0), Shot(3, 6, 9, 12, 0.9, 0, 0), Shot(6.2, 9, 0, 1, 0.9, 0, 0)]
    assert label_finder.missing_parts(shots, 12.0) == [(0.0, 1.0), (9.0, 12.0)]
    assert label_finder.missing_parts([], 12.0) == [(0.0, 12.0)]


def test_a_boundary_near_a_cut_is_moved_to_the_cut():
    assert label_finder.snap(4.8, np.array([0.0, 5.0])) == 5.0
    assert label_finder.snap(4.5, np.array([0.0, 5.0])) == 4.5
