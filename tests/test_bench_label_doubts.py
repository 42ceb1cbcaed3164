"""The benchmark of the list of doubtful labels: the labels that it makes wrong, and which of them count as found."""

import json

import numpy as np
import pytest
from test_data_loader import write_dataset

from benchmarks import bench_label_doubts
from data_loader import DataLoader
from videosummarizer.dataset.metadata import SUBSETS, DatasetError

DURATIONS_SEC = {"a": 100.0, "b": 50.0}
SECTIONS = {"a": np.array([[start, start + 4.0] for start in range(0, 96, 8)]), "b": np.array([[10.0, 13], [46, 50]])}


@pytest.mark.parametrize("seed", range(6))
def test_a_third_of_the_errors_each_is_shifted_removed_and_invented(seed):
    sections, errors = bench_label_doubts.make_errors(SECTIONS, DURATIONS_SEC, 0.42, seed)
    assert [error["kind"] for error in errors] == ["shifted", "removed", "invented"] * 2
    rows = {title: list(map(tuple, found.tolist())) for title, found in sections.items()}
    for error in errors:
        before, after = SECTIONS[error["title"]].tolist(), rows[error["title"]]
        first = error["spans"][0]
        if error["kind"] == "invented":
            assert tuple(first) in after
            assert all(first[1] < start or first[0] > end for start, end in before)
            continue
        assert first in before
        assert tuple(first) not in after
        if error["kind"] == "shifted":
            _, (start, end) = error["spans"]
            assert abs(start - first[0]) == pytest.approx(first[1] - first[0])
            assert any(other[0] <= start < end <= other[1] for other in after)  # it may touch its neighbour
    for title, found in sections.items():
        assert (np.diff(found.ravel()) >= 0).all()
        assert 0 <= found.min() < found.max() <= DURATIONS_SEC[title]


def test_the_errors_are_those_of_the_seed_and_at_least_one_of_each_kind():
    first, again, other = (bench_label_doubts.make_errors(SECTIONS, DURATIONS_SEC, 0.01, seed)[1] for seed in (1, 1, 2))
    assert first == again != other
    assert len(first) == 3


def test_the_copy_has_the_same_segments_under_wrong_labels(tmp_path):
    labels_of = {f"match_{number:02d}": [0, 1, 0, 0, 1, 0, 0, 0] for number in range(11)}
    sections_of = {title: [[1, 2], [4, 5]] for title in labels_of}
    folder = write_dataset(tmp_path / "data", labels_of, sections_of=sections_of, are_numbered=True)
    errors = bench_label_doubts.copy_with_errors(folder, tmp_path / "copy", 0.3, 4)
    assert len(errors) == 7
    before, after = DataLoader(folder), DataLoader(tmp_path / "copy")
    assert after.subset_of == before.subset_of
    wrong = {error["title"] for error in errors}
    for subset in SUBSETS:
        for old, new in zip(before.matches(subset), after.matches(subset), strict=True):
            assert (old.sections_sec.tolist() != new.sections_sec.tolist()) == (new.title in wrong)
        arrays = [list(loader.read_match(loader.segment_files[subset])) for loader in (before, after)]
        np.testing.assert_array_equal([v for v, _ in arrays[0]], [v for v, _ in arrays[1]])
    assert sum(after.num_highlights.values()) != 0
    old_version = write_dataset(tmp_path / "old", labels_of, first_version=True)
    with pytest.raises(DatasetError, match="old: received a dataset of the first version, expected one that names"):
        bench_label_doubts.copy_with_errors(old_version, tmp_path / "other", 0.3, 4)


def row(title, start, end):
    return {"title": title, "start_sec": str(start), "end_sec": str(end)}


def test_an_error_is_found_in_the_first_tenth_by_a_row_that_covers_more_than_half_of_it():
    errors = [
        {"title": "a", "kind": "removed", "spans": [[10, 14]]},
        {"title": "b", "kind": "removed", "spans": [[10, 14]]},
        {"title": "a", "kind": "invented", "spans": [[30, 34]]},
        {"title": "a", "kind": "shifted", "spans": [[50, 54], [54, 58]]},
    ]
    others = [row("c", 0, 1)] * 36
    rows = [row("a", 11, 20), row("a", 32, 40), row("a", 55, 58), row("b", 0, 1), row("b", 10, 14), *others]
    found = bench_label_doubts.count_found(errors, rows[:40])
    assert found == {"shifted": [True], "removed": [True, False], "invented": [False]}
    assert bench_label_doubts.count_found(errors, rows)["removed"] == [True, True]  # of 41 rows, the first five
    assert bench_label_doubts.format_found("data", 3, found) == (
        "data, seed 3: 2 of 4 wrong labels (50%) are in the first tenth of the list: shifted 1 of 1, removed 1 of 2, "
        "invented 0 of 1"
    )


def test_a_run_is_continued_with_its_own_errors(tmp_path, monkeypatch, capsys):
    labels_of = {f"match_{number:02d}": [0, 1, 0, 0] for number in range(6)}
    folder = write_dataset(tmp_path / "data", labels_of, sections_of={title: [[1, 2]] for title in labels_of})
    calls = []

    def run(arguments):
        calls.append(arguments)
        ckpt_dir = tmp_path / "work" / "data_0" / "checkpoints"
        ckpt_dir.mkdir(exist_ok=True)
        errors = json.loads((ckpt_dir.parent / "errors.json").read_text())
        lines = [f"{error['title']},{error['spans'][0][0]},{error['spans'][0][1]}" for error in errors]
        (ckpt_dir / "label_doubts.csv").write_text("\n".join(["title,start_sec,end_sec", *lines]) + "\n")
        return 0

    monkeypatch.setattr(bench_label_doubts.training, "main", run)
    command = ["--data_dir", str(folder), "--work_dir", str(tmp_path / "work"), "--epochs", "2"]
    outputs = []
    for _ in range(2):
        assert bench_label_doubts.main(command) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]
    assert "data, seed 0: 1 of 3 wrong labels (33%) are in the first tenth" in outputs[0]
    work_dir = tmp_path / "work" / "data_0"
    expected = ["--data_dir", str(work_dir / "dataset"), "--ckpt_dir", str(work_dir / "checkpoints"), "--folds", "5"]
    assert calls == [[*expected, "--epochs", "2"], [*expected, "--epochs", "2", "--resume"]]
    assert bench_label_doubts.main(["--data_dir", str(tmp_path / "none")]) == 1
    assert "error: " in capsys.readouterr().err
