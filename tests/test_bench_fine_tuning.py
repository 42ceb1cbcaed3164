"""The benchmark of fine-tuning: which matches are trained, validated and tested, and what it prints."""

import json
import re
from pathlib import Path

import pytest

from benchmarks import bench_fine_tuning
from benchmarks.bench_fine_tuning import divide, retitle, write_dataset
from data_loader import DataLoader
from videosummarizer.dataset.metadata import DatasetError
from videosummarizer.dataset.split import assign_subset

TITLES = [f"{game}_{number:02d}" for game in ("arena", "city", "pit") for number in range(20)]


def test_matches_of_test_are_left_out_and_each_kind_is_divided():
    old_kind, other_kind = divide(TITLES, re.compile("^(city|pit)"))
    used = {title for title in TITLES if assign_subset(title) != "test"}
    assert old_kind.keys() | other_kind.keys() == used
    assert set(old_kind) == {title for title in used if title.startswith("arena")}
    assert {title for title, subset in old_kind.items() if subset == "train"} == {
        title for title in old_kind if assign_subset(title) == "train"
    }
    subsets = list(other_kind.values())
    assert subsets == ["train"] * 4 + ["valid"] + ["test"] * (len(subsets) - 5)
    assert [title[:3] for title in list(other_kind)[:5]] == ["cit", "pit", "cit", "pit", "cit"]  # of all maps in turn


@pytest.mark.parametrize("other", ["^nothing", "", "^arena_0[0-4]"])
def test_too_few_matches_of_a_kind_are_refused(other):
    with pytest.raises(DatasetError, match=r"^--other: received an expression that [0-9]+ of the [0-9]+ matches"):
        divide(TITLES, re.compile(other))


def test_the_datasets_have_the_matches_in_the_subsets_asked_for(dataset_dir, tmp_path):
    wanted = {"match_00": "test", "match_07": "train", "match_08": "valid"}
    write_dataset(dataset_dir, tmp_path / "copy", wanted)
    loader, original = DataLoader(tmp_path / "copy"), DataLoader(dataset_dir)
    for title, subset in wanted.items():
        (match,) = loader.matches(subset)
        assert match.title == retitle(title, subset)
        (expected,) = (m for name in ("train", "valid", "test") for m in original.matches(name) if m.title == title)
        assert match.labels.tolist() == expected.labels.tolist()
        assert match.sections_sec.tolist() == expected.sections_sec.tolist()
    loader.batches("train")[0]  # the links lead somewhere


def test_each_network_is_tested_on_both_kinds_and_kept(monkeypatch, tmp_path, capsys):
    calls = []

    def main(arguments):
        flags = dict(zip(arguments[::2], arguments[1::2], strict=True))
        calls.append(flags)
        folder = Path(flags["--ckpt_dir"])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run-0003-0.5.hdf5").touch()
        f1 = {f"iou_{iou}": {"f1": len(calls) / 10 + iou / 1000} for iou in (0.3, 0.5)}
        report = {"model": {"per_segment": {"average_precision": len(calls) / 10}, "per_event": f1}}
        (folder / "test_report.json").write_text(json.dumps(report))
        return 0

    monkeypatch.setattr(bench_fine_tuning.training, "main", main)
    monkeypatch.setattr(bench_fine_tuning, "write_dataset", lambda *arguments: None)
    data_dir, work_dir = tmp_path / "dataset", tmp_path / "work"
    data_dir.mkdir()
    (data_dir / "metadata.json").write_text(json.dumps({"videos": [{"title": title} for title in TITLES]}))
    arguments = ["--data_dir", str(data_dir), "--other", "^pit", "--work_dir", str(work_dir)]
    for _ in range(2):  # the second time, all is there
        assert bench_fine_tuning.main(arguments) == 0
        rows = capsys.readouterr().out.splitlines()
        assert [row.split()[0] for row in rows[1:]] == ["before", "fine-tuned", "trained"]
        assert [cell for row in rows[1:] for cell in re.findall(r"[0-9.]+; [0-9.]+ / [0-9.]+", row)] == [
            f"{call / 10:.3f}; {call / 10 + 0.0003:.3f} / {call / 10 + 0.0005:.3f}" for call in range(4, 10)
        ]
    assert len(calls) == 9
    assert [Path(flags["--data_dir"]).name for flags in calls[:3]] == ["old", "other", "other"]
    assert calls[1]["--init_ckpt"] == str(work_dir / "ckpt_old" / "run-0003-0.5.hdf5")
    assert "--init_ckpt" not in calls[2]
    tested = [(Path(flags["--ckpt"]).parent.name, Path(flags["--data_dir"]).name) for flags in calls[3:]]
    assert tested == [(f"ckpt_{name}", kind) for name in ("old", "fine_tuned", "alone") for kind in ("other", "old")]
