"""Check how benchmarks/bench_quality.py keeps, continues and reports its rows, and its methods on a small dataset."""

import json
import threading
from dataclasses import replace

import pytest

from benchmarks import bench_quality
from benchmarks.bench_quality import Dataset, RowKey, append_row, format_tables, read_results
from videosummarizer.dataset.metadata import DatasetError
from videosummarizer.training.validation import TrainingError

KEY = RowKey("arena", "1234abcd", "main.py", 0, 32, "c0de")


def make_result(average_precision, training_sec=12.4):
    """Make the result of a row; its metrics are 0, 1, 2 and 3 tenths above the average precision."""
    events = {f"iou_{iou}": {"f1": average_precision + tenths / 10} for iou, tenths in ((0.3, 2), (0.5, 3))}
    segments = {"average_precision": average_precision, "f1": average_precision + 0.1}
    return {"per_segment": segments, "per_event": events, "training_sec": training_sec}


@pytest.fixture
def measured(monkeypatch):
    """Replace the measurement by a result that depends on the seed, and return the list of measured rows."""
    measured = []

    def measure(dataset, key):
        measured.append((dataset.name, key.method, key.seed))
        return make_result((key.seed or 0) / 10, None if key.seed is None else 5)

    monkeypatch.setattr(bench_quality, "measure", measure)
    return measured


def run(tmp_path, *arguments):
    return bench_quality.main(["--results", str(tmp_path / "results.jsonl"), *map(str, arguments)])


def test_a_row_is_one_line_and_is_read_again(tmp_path):
    path = tmp_path / "results.jsonl"
    assert read_results(path) == {}
    rows = {KEY: make_result(0.5), replace(KEY, method="loudness", seed=None, epochs=None): make_result(0.25, None)}
    for key, result in rows.items():
        append_row(path, key, result)
    assert read_results(path) == rows
    first, second = map(json.loads, path.read_text().splitlines())
    assert {name: first[name] for name in ("dataset", "dataset_digest", "method", "seed", "epochs", "code_digest")} == {
        "dataset": "arena",
        "dataset_digest": "1234abcd",
        "method": "main.py",
        "seed": 0,
        "epochs": 32,
        "code_digest": "c0de",
    }
    assert first["training_sec"] == 12.4
    assert (second["seed"], second["per_event"]["iou_0.5"]["f1"]) == (None, 0.55)


def test_rows_appended_at_the_same_time_do_not_mix(tmp_path):
    path = tmp_path / "results.jsonl"

    def append(dataset):
        for seed in range(50):
            append_row(path, replace(KEY, dataset=dataset, seed=seed), make_result(0.5))

    threads = [threading.Thread(target=append, args=(f"dataset {number}" * 200,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_results(path)) == 200


@pytest.mark.parametrize("line", ['{"dataset": "are', "[]", "{}", '{"method": "hope"}'])
def test_a_damaged_line_is_left_out_with_a_warning(line, tmp_path, capsys):
    path = tmp_path / "results.jsonl"
    append_row(path, KEY, make_result(0.5))
    with path.open("a") as file:
        file.write(line + "\n")
    append_row(path, replace(KEY, seed=1), make_result(0.5))
    append_row(path, replace(KEY, method="hope"), make_result(0.5))
    assert [key.seed for key in read_results(path)] == [0, 1]
    warnings = capsys.readouterr().err.splitlines()
    assert [warning.partition(": left out")[0] for warning in warnings] == [
        f"warning: {path}, line 2",
        f"warning: {path}, line 4",
    ]


def test_a_table_has_mean_lowest_and_highest_over_the_seeds():
    results = {replace(KEY, seed=seed): make_result(seed / 10, 10 + seed) for seed in (2, 0, 1)}
    results[replace(KEY, method="loudness", seed=None, epochs=None)] = make_result(0.25, None)
    results[replace(KEY, method="basic", epochs=5)] = make_result(0.125)
    results[replace(KEY, epochs=60)] = make_result(0.5, 99) | {"calibration_error": 0.0312}
    title, header, *rows = format_tables(results).splitlines()
    assert title == "arena, metadata 1234abcd, code c0de"
    columns = "AP by segment F1 by segment event F1, IoU 0.3 event F1, IoU 0.5 ECE by segment training, s seeds"
    assert " ".join(header.split()) == columns
    assert {len(line) for line in (header, *rows)} == {len(header)}
    assert [row.split("  ")[0] for row in rows] == [
        "main.py, 32 epochs",
        "main.py, 60 epochs",
        "2020 release, basic, 5 epochs",
        "loudness threshold",
    ]
    assert [" ".join(row[36:].split()) for row in rows] == [
        "0.100 [0.000, 0.200] 0.200 [0.100, 0.300] 0.300 [0.200, 0.400] 0.400 [0.300, 0.500] - 11 [10, 12] 3",
        "0.500 0.600 0.700 0.800 0.031 99 1",
        "0.125 0.225 0.325 0.425 - 12 1",
        "0.250 0.350 0.450 0.550 - - 1",
    ]


def test_each_dataset_and_each_state_of_the_code_has_its_own_table():
    keys = [replace(KEY, dataset="city"), KEY, replace(KEY, code_digest="beef"), replace(KEY, dataset_digest="9")]
    tables = format_tables({key: make_result(0.5) for key in keys}).split("\n\n")
    assert [table.splitlines()[0] for table in tables] == [
        "arena, metadata 1234abcd, code beef",
        "arena, metadata 1234abcd, code c0de",
        "arena, metadata 9, code c0de",
        "city, metadata 1234abcd, code c0de",
    ]
    assert {len(table.splitlines()) for table in tables} == {3}


def test_a_second_run_measures_only_what_is_missing(dataset_dir, tmp_path, measured, capsys):
    assert run(tmp_path, "--data_dir", dataset_dir, "--methods", "main.py", "everything", "--seeds", 0, 2) == 0
    assert measured == [("dataset", "everything", None), ("dataset", "main.py", 0), ("dataset", "main.py", 2)]
    measured.clear()
    assert run(tmp_path, "--data_dir", dataset_dir, "--seeds", 0) == 0
    seedless = [("dataset", "loudness", None), ("dataset", "activity", None)]
    assert measured == [*seedless, ("dataset", "basic", 0), ("dataset", "sequence", 0)]
    table = capsys.readouterr().out.strip().split("\n\n")[-1].splitlines()
    main_epochs = Dataset(str(dataset_dir), None).num_epochs["main.py"]
    assert [line.split("  ")[0] for line in table[-6:]] == [
        f"main.py, {main_epochs} epochs",
        "2020 release, basic, 32 epochs",
        "2020 release, sequence, 32 epochs",
        "loudness threshold",
        "activity, nothing learned",
        "everything is a highlight",
    ]
    assert [line.split()[-1] for line in table[-6:]] == ["2", "1", "1", "1", "1", "1"]  # all seeds in the file
    measured.clear()
    assert run(tmp_path, "--data_dir", dataset_dir, "--seeds", 0, "--epochs", 3, "--methods", "main.py", "basic") == 0
    assert measured == [("dataset", "main.py", 0), ("dataset", "basic", 0)]  # other epochs are other rows


def test_without_epochs_each_method_has_its_own_number(dataset_dir, monkeypatch):
    load_data, flags = bench_quality.training.load_data, []

    def choose_epochs(args):
        flags.append(args.epochs)
        loader = load_data(args)
        args.epochs = 7
        return loader

    assert Dataset(str(dataset_dir), 5).num_epochs == {"main.py": 5, "basic": 5, "sequence": 5}
    monkeypatch.setattr(bench_quality.training, "load_data", choose_epochs)
    dataset = Dataset(str(dataset_dir), None)
    assert dataset.num_epochs == {"main.py": 7, "basic": 32, "sequence": 32}
    assert flags == [bench_quality.training.parse_args([]).epochs]
    keys = dataset.row_keys(["main.py", "basic", "loudness"], [4], "c0de")
    assert [(key.method, key.seed, key.epochs) for key in keys] == [
        ("loudness", None, None),
        ("main.py", 4, 7),
        ("basic", 4, 32),
    ]


def test_an_interrupted_run_keeps_its_rows_and_continues(dataset_dir, tmp_path, measured, capsys, monkeypatch):
    measure = bench_quality.measure

    def interrupt(dataset, key):
        if key.seed == 1:
            raise KeyboardInterrupt
        return measure(dataset, key)

    arguments = ["--data_dir", dataset_dir, "--methods", "sequence"]
    monkeypatch.setattr(bench_quality, "measure", interrupt)
    assert run(tmp_path, *arguments) == 130
    assert "Finished rows are in" in capsys.readouterr().err
    monkeypatch.setattr(bench_quality, "measure", measure)
    assert run(tmp_path, *arguments) == 0
    assert [seed for _, _, seed in measured] == [0, 1, 2]


def test_other_code_and_another_dataset_are_measured_again(dataset_dir, tmp_path, measured, monkeypatch):
    arguments = ["--data_dir", dataset_dir, "--methods", "everything"]
    assert run(tmp_path, *arguments) == 0
    digest = bench_quality.digest_code()
    monkeypatch.setattr(bench_quality, "digest_code", lambda: "other")
    assert run(tmp_path, *arguments) == 0
    monkeypatch.setattr(bench_quality, "digest_code", lambda: digest)
    metadata = json.loads((dataset_dir / "metadata.json").read_text()) | {"created": "another day"}
    other = tmp_path / "dataset"
    other.mkdir()
    for folder in dataset_dir.iterdir():
        if folder.is_dir():
            (other / folder.name).symlink_to(folder)
    (other / "metadata.json").write_text(json.dumps(metadata))
    assert run(tmp_path, "--data_dir", dataset_dir, other, "--methods", "everything") == 0
    assert len(measured) == 3
    assert len({(key.dataset_digest, key.code_digest) for key in read_results(tmp_path / "results.jsonl")}) == 3


def test_the_digest_covers_the_code_that_decides_a_result(tmp_path, monkeypatch):
    paths = ["main.py", "videosummarizer/training/layers.py", "benchmarks/bench_quality.py", "benchmarks/other.py"]
    paths.append("videosummarizer/extraction/reel.py")
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("first")
    monkeypatch.setattr(bench_quality, "ROOT", tmp_path)
    before, changes = bench_quality.digest_code(), []
    for path in paths:
        (tmp_path / path).write_text("second")
        changes.append(bench_quality.digest_code() != before)
        (tmp_path / path).write_text("first")
    assert changes == [True, True, True, False, False]
    assert bench_quality.digest_code() == before


def test_a_report_measures_nothing(dataset_dir, tmp_path, measured, capsys):
    append_row(tmp_path / "results.jsonl", KEY, make_result(0.5))
    append_row(tmp_path / "results.jsonl", replace(KEY, dataset="city"), make_result(0.5))
    append_row(tmp_path / "results.jsonl", replace(KEY, method="basic"), make_result(0.5))
    assert run(tmp_path, "--report") == 0
    titles = [line for line in capsys.readouterr().out.splitlines() if "metadata" in line]
    assert [title.split(",")[0] for title in titles] == ["arena", "city"]
    assert run(tmp_path, "--report", "--data_dir", "somewhere/arena", "--methods", "basic") == 0
    out = capsys.readouterr().out
    assert "2020 release, basic" in out
    assert "main.py" not in out
    assert "city" not in out
    (tmp_path / "results.jsonl").unlink()
    assert run(tmp_path, "--report") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'results.jsonl'}: no results\n"
    assert measured == []


def test_a_dataset_that_cannot_be_used_stops_the_run_before_the_first_row(dataset_dir, tmp_path, measured, capsys):
    assert run(tmp_path, "--data_dir", dataset_dir, tmp_path / "none") == 1
    assert f"bench_quality.py: error: {tmp_path / 'none'}: received what does not exist" in capsys.readouterr().err
    assert run(tmp_path / "none", "--data_dir", dataset_dir) == 1
    assert "No such file or directory" in capsys.readouterr().err
    assert measured == []


@pytest.mark.parametrize("error", [DatasetError("damaged"), TrainingError("not numbers"), OSError("disk full")])
def test_an_error_of_a_method_is_one_line(error, dataset_dir, tmp_path, capsys, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr(bench_quality, "measure", fail)
    assert run(tmp_path, "--data_dir", dataset_dir) == 1
    assert capsys.readouterr().err.splitlines()[-1] == f"bench_quality.py: error: {error}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected --data_dir DATASET, or --report"),
        (["--report", "--epochs", "0"], "argument --epochs: received 0, expected a number above 0"),
        (["--report", "--seeds", "1", "-1"], "argument --seeds: received [1, -1], expected whole numbers from 0"),
        (["--report", "--methods", "hope"], "argument --methods: invalid choice: 'hope'"),
    ],
)
def test_wrong_arguments_are_named(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        bench_quality.parse_args(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_every_method_measures_a_small_dataset(dataset_dir, tmp_path, small_network):
    arguments = ["--data_dir", dataset_dir, "--seeds", 3, "--epochs", 1]
    assert run(tmp_path, *arguments) == 0
    results = read_results(tmp_path / "results.jsonl")
    assert [(key.method, key.seed, key.epochs) for key in results] == [
        ("loudness", None, None),
        ("activity", None, None),
        ("everything", None, None),
        ("main.py", 3, 1),
        ("basic", 3, 1),
        ("sequence", 3, 1),
    ]
    assert all(result["num_cores"] >= 1 for result in results.values())
    by_method = {key.method: result for key, result in results.items()}
    # Highlights are loud, and the only one in test is 1 of 20 segments.
    assert by_method["loudness"]["per_event"]["iou_0.3"]["f1"] == 1
    assert by_method["activity"]["per_segment"]["average_precision"] == 1
    assert by_method["activity"]["training_sec"] is None
    assert by_method["everything"]["per_segment"]["precision"] == 1 / 20
    assert by_method["everything"]["training_sec"] is None
    assert all(by_method[method]["training_sec"] > 0 for method in ("main.py", "basic", "sequence"))
    assert [method for method in by_method if "calibration_error" in by_method[method]] == ["main.py"]
    assert 0 <= by_method["main.py"]["calibration_error"] <= 1


def test_mfccs_have_no_loudness(trainable_matches_dir, tmp_path, measured, capsys):
    from data_converter import main

    dataset = tmp_path / "mfcc"
    assert main([str(trainable_matches_dir), "1", "2", "16", "16", "4000", "1", str(dataset), "--workers", "1"]) == 0
    assert run(tmp_path, "--data_dir", dataset, "--methods", "loudness", "activity", "everything") == 0
    assert measured == [("mfcc", "everything", None)]
    assert "mfcc: no loudness threshold" in capsys.readouterr().err
