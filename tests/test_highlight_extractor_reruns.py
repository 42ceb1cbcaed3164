"""The extractor when it is run again, fails, or is asked for something else: what is redone, and what is kept."""

import hashlib
import importlib.metadata
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from clips import tone, write_clip
from extractor import ENDINGS, LABELS, POINT, STEP_SCORES, all_files
from test_highlight_extractor import contents

import highlight_extractor
from videosummarizer import media
from videosummarizer.atomic_file import atomic_write
from videosummarizer.extraction import match_writers, reel, scoring


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("short")
    return write_clip(folder / "clip.mp4", num_frames=72, audio=tone(440, 2.4, 8000), sample_rate_hz=8000)


# ---- Finished or not


def test_a_file_that_is_gone_is_written_again_and_the_others_are_kept(extract, capsys):
    match = extract.match()
    assert extract(match) == 0
    assert extract.labels() == LABELS
    assert extract.names() == all_files("match")
    expected = contents(extract.out)
    for ending in ENDINGS[1:]:
        name = f"match{ending}"
        (extract.out / name).unlink()
        assert extract(match) == 0
        after = contents(extract.out)
        assert after.keys() == expected.keys()
        assert after[name][0] == expected[name][0]
        assert {n: after[n] for n in after if n != name} == {n: expected[n] for n in expected if n != name}
        expected = after
    assert extract.scored == ["match", "match"]  # again for the scores file alone
    assert "kept" not in capsys.readouterr().out
    assert extract(match) == 0
    assert capsys.readouterr().out == "match: finished already and kept\n"


@pytest.mark.parametrize(
    "spoil",
    [
        "",
        "{",
        "[]",
        '"text"',
        "{}",
        '{"settings": {}}',
        "[" * 100_000,
        '{"settings": {}, "scored_with": 5}',
        '{"settings": [], "scored_with": {}}',
        '{"settings": {"padding": [1]}, "scored_with": {}}',
        '{"settings": {"padding": ["much"]}, "scored_with": {}}',
        '{"settings": {"padding": 1' + "0" * 400 + '}, "scored_with": {}}',
    ],
)
def test_without_a_report_nothing_is_known_of_the_other_files(extract, caplog, spoil):
    match = extract.match()
    extract.out.mkdir()
    (extract.out / "match.txt").write_text("1,2\n")
    if spoil:
        (extract.out / "match.json").write_text(spoil)
    before = contents(extract.out)
    assert extract(match) == 1
    (message,) = caplog.messages
    assert (
        "exists, and it is unknown how it was made: --overwrite replaces it, another --output_dir keeps it" in message
    )
    assert contents(extract.out) == before
    assert extract(match, "--overwrite") == 0
    assert extract.labels() == LABELS
    assert extract.names() == all_files("match")


def test_overwriting_what_is_finished_writes_every_file_and_those_of_no_other_match(extract):
    match = extract.match()
    assert extract(match, extract.match("other")) == 0
    before = contents(extract.out)
    for ending in ENDINGS[2:]:
        (extract.out / f"match{ending}").write_bytes(b"corrected")
    assert extract(match, "--overwrite") == 0
    after = contents(extract.out)
    for ending in ENDINGS[1:]:
        assert after[f"match{ending}"][0] == before[f"match{ending}"][0]
        assert after[f"other{ending}"] == before[f"other{ending}"]
    assert extract.scored == ["match", "other"]


def test_another_match_or_checkpoint_of_the_same_name_is_noticed(extract, caplog):
    match = extract.match()
    assert extract(match) == 0
    before, time_ns = contents(extract.out), match.stat().st_mtime_ns
    with open(match, "ab") as file:
        file.write(b"\0\0\0\x08free")  # an empty box: the same frames in a larger file
    os.utime(match, ns=(time_ns, time_ns))
    assert extract(match) == 1
    extract.write_checkpoint("best.hdf5", epoch=9)
    assert extract(match, "--padding", "0.25") == 1
    first, second = caplog.messages
    words = (
        "match.json: was made with another version of the match: --overwrite replaces it and the match's other files"
    )
    assert words in first
    what = "was made with --padding 0, not --padding 0.25 and another checkpoint and another version of the match: "
    assert what in second
    assert contents(extract.out) == before
    assert extract(match, "--overwrite") == 0
    assert extract.scored == ["match", "match"]


def test_what_cannot_be_scored_replaces_nothing(extract, monkeypatch, caplog):
    match = extract.match()
    assert extract(match) == 0
    before = contents(extract.out)

    def fail(*arguments):
        raise media.MediaError("match.mp4: cannot be read")

    monkeypatch.setattr(scoring, "score_match", fail)
    other = extract.write_checkpoint("other.hdf5", epoch=2)
    assert extract(match, "--overwrite", ckpt=other) == 1
    assert caplog.messages == ["match.mp4: cannot be read: record or download it again, or move it elsewhere"]
    assert contents(extract.out) == before


@pytest.mark.parametrize(
    "spoil", ["gone", "cut", "short", "text", "large", "long", "nan", "infinite", "negative", "above"]
)
@pytest.mark.parametrize("overwrites", [True, False])
def test_scores_that_cannot_be_read_again_are_scored_and_written_again(extract, spoil, overwrites):
    match = extract.match()
    assert extract(match) == 0
    path, report_path = extract.out / "match_scores.csv", extract.out / "match.json"
    text = path.read_text()
    if spoil == "gone":
        path.unlink()
    elif spoil == "cut":
        path.write_text(text[: text.rindex(",0.700000")])
    elif spoil == "short":
        path.write_text("".join(text.splitlines(keepends=True)[:-1]))
    elif spoil == "text":
        path.write_text(text.replace("0.876543", "high"))
    elif spoil == "large":
        path.write_text(text.replace("0.876543", "1.876543"))
    elif spoil == "long":
        path.write_text(text.replace("0.876543", "9" * 200_000))
    else:
        number = {"nan": "NaN", "infinite": "Infinity", "negative": "-0.1", "above": "1.1"}[spoil]
        report_path.write_text(report_path.read_text().replace("[0.9, 0.876543]", f"[{number}, 0.876543]"))
    if not overwrites:  # the same command continues, as a file is missing
        (extract.out / "match.html").unlink()
        flags, labels = [], LABELS
    else:
        flags, labels = ["--overwrite", "--threshold", "0.8"], "15,30,00:00:00,00:00:01\n"
    assert extract(match, *flags) == 0
    assert extract.scored == ["match", "match"]
    assert path.read_text().splitlines()[2].startswith("1,0.500000,1.000000,00:00:00,00:00:01,15,30,0.876543")
    assert extract.report()["step_scores"][1] == [0.9, 0.876543]
    assert extract.labels() == labels


def test_scores_have_six_decimals_in_every_file_and_decide_the_same_when_they_are_read_again(extract):
    match = extract.match()
    assert extract(match) == 0
    assert extract.labels() == LABELS
    lines = (extract.out / "match_scores.csv").read_text().splitlines()
    assert [line.split(",")[-2:] for line in lines[1:]] == [
        ["0.123457", "0"],
        ["0.876543", "1"],
        ["0.500000", "1"],
        ["0.250000", "0"],
        ["0.700000", "1"],
    ]
    expected = [[0.123457, 0.2], [0.9, 0.876543], [0.5, 0.3], [0.2, 0.25], [0.7, 0.6]]
    assert extract.report()["step_scores"] == expected
    page = (extract.out / "match.html").read_text()
    shown = json.loads(page.split('"scores": ')[1].split("]")[0] + "]")
    assert shown == pytest.approx(np.array(STEP_SCORES).ravel(), abs=5.1e-5)
    assert '"step_sec": 0.25' in page
    assert extract(match, "--overwrite") == 0
    assert extract.labels() == LABELS
    assert extract.report()["step_scores"] == expected
    assert extract.scored == ["match"]


def test_the_report_says_what_the_files_were_made_with(extract):
    match = extract.match()
    before = datetime.now(UTC).replace(microsecond=0)
    assert extract(match, "--threshold", "0.8", "--padding", "0.125", "--reel_height", "32") == 0
    report, state = extract.report(), match.stat()
    assert before <= datetime.fromisoformat(report["created"]) <= datetime.now(UTC)
    given = {name: value for name, value in report["settings"].items() if value is not None}
    assert given == {"threshold": 0.8, "padding": 0.125, "reel_height": 32}
    assert report["scored_with"] == {
        "from": None,
        "to": None,
        "scored_track": None,
        "checkpoint_sha256": hashlib.sha256(extract.ckpt.read_bytes()).hexdigest(),
        "source": {"match.mp4": [state.st_size, state.st_mtime_ns]},
    }
    names = ("av", "keras", "numpy", "tensorflow")
    assert report["versions"] == {name: importlib.metadata.version(name) for name in names}
    assert (report["checkpoint"], report["threshold"], report["operating_point"]) == ("best.hdf5", 0.8, POINT)


# ---- Files that cannot be written


def test_the_report_comes_first_and_the_reel_last(extract, monkeypatch):
    written, write_whole, render_reel = [], atomic_write, reel.render_reel

    def record_whole(path, content):
        written.append(Path(path).name)
        write_whole(path, content)

    def record_reel(*arguments):
        written.append(Path(arguments[3]).name)
        render_reel(*arguments)

    for module in (highlight_extractor, match_writers):
        monkeypatch.setattr(module, "atomic_write", record_whole)
    monkeypatch.setattr(reel, "render_reel", record_reel)
    assert extract(extract.match()) == 0
    assert (written[0], written[-1]) == ("match.json", "match_highlights.mp4")
    assert len(written) == len(ENDINGS)
    assert set(written) == all_files("match")


@pytest.mark.parametrize("ending", [".json", "_scores.csv", ".html", ".edl"])
def test_a_file_that_cannot_be_written_leaves_no_part_and_costs_no_other_match(extract, monkeypatch, caplog, ending):
    matches, write_bytes = [extract.match("first"), extract.match("second")], Path.write_bytes

    def fill_disk(path, content):
        if path.name == f"first{ending}.part":
            write_bytes(path, content[:10])
            raise OSError(28, "No space left on device", str(path))
        return write_bytes(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fill_disk)
        assert extract(*matches) == 1
    first, second = caplog.messages
    assert "No space left on device" in first
    assert second == f"1 of 2 matches failed: {matches[0]}"
    assert f"first{ending}" not in extract.names()
    assert not [name for name in extract.names() if name.endswith(".part")]
    assert extract.names() >= all_files("second")
    assert extract(*matches) == 0
    assert extract.names() == all_files("first", "second")
    assert extract.scored == (["first", "second"] + ["first"] * (ending in (".json", "_scores.csv")))


def test_a_reel_that_fails_halfway_leaves_no_part_and_costs_no_other_file(extract, monkeypatch, caplog):
    match, write_frame, num_written = extract.match(), reel.ReelWriter.write_frame, []

    def fail_at_the_tenth(*arguments):
        num_written.append(1)
        if len(num_written) == 10:
            raise reel.ReelError("match_highlights.mp4: the reel cannot be written (Invalid argument)")
        write_frame(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(reel.ReelWriter, "write_frame", fail_at_the_tenth)
        assert extract(match) == 1
    assert caplog.messages == ["match_highlights.mp4: the reel cannot be written (Invalid argument)"]
    assert extract.names() == all_files("match") - {"match_highlights.mp4"}
    before = contents(extract.out)
    assert extract(match) == 0
    after = contents(extract.out)
    assert {name: after[name] for name in before} == before
    assert media.probe(extract.out / "match_highlights.mp4").duration_sec == pytest.approx((23 + 12) / 30, abs=1e-3)


def test_with_overwrite_a_reel_stays_until_the_new_one_replaces_it(extract, monkeypatch, caplog, capsys):
    match = extract.match()
    assert extract(match, "--clips") == 0
    before = (extract.out / "match_highlights.mp4").read_bytes()

    def fail(*arguments):
        raise reel.ReelError("match_highlights.mp4: the reel cannot be written (Invalid argument)")

    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(reel.ReelWriter, "write_frame", fail)
        assert extract(match, "--threshold", "0.8", "--overwrite") == 1
    assert (extract.out / "match_highlights.mp4").read_bytes() == before
    assert "match_highlights.mp4" not in capsys.readouterr().out
    assert extract.labels() == "15,30,00:00:00,00:00:01\n"
    assert "match_clips" not in extract.names()  # which were not asked for
    assert extract(match, "--threshold", "0.8") == 0  # continues
    assert len(media.probe(extract.out / "match_highlights.mp4").frame_times_sec) == 15
    assert extract(match, "--threshold", "0.8") == 0
    assert capsys.readouterr().out.endswith("match: finished already and kept\n")
    assert extract(match, "--threshold", "1", "--overwrite") == 0  # without sections there is none
    assert "match_highlights.mp4" not in extract.names()
