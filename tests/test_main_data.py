"""Which matches main.py trains and tests on: the split of a checkpoint, and subsets that lack a class."""

import csv
import json
import math
import shutil

import numpy as np
import pytest
from conftest import TITLES
from test_data_loader import write_dataset
from test_main import train_in_process

import main as trainer
from data_loader import DataLoader, assign_subset
from videosummarizer.dataset import storage
from videosummarizer.dataset.metadata import DataConfig, DatasetError, write_metadata
from videosummarizer.evaluation import plots
from videosummarizer.training import inference, optimization, validation
from videosummarizer.training.checkpoint import read_checkpoint_attributes, write_checkpoint_attributes
from videosummarizer.training.keras_backend import keras
from videosummarizer.training.trained_split import is_split
from videosummarizer.training.validation import TrainingError

# ---- The split of a checkpoint

# The XORed bytes of SHA-512 of these titles over 255: their places in the split.
PLACES_OF_SPLIT = {
    **{"match_01": 0.004, "match_75": 0.173, "match_35": 0.259, "match_28": 0.396},
    **{"match_70": 0.510, "match_06": 0.557, "match_36": 0.608, "match_08": 0.867},
}


def write_loud_dataset(folder, labels_of):
    """A dataset of grey frames and noise that is loud in highlights."""
    config, rng = DataConfig(1, 1, 1, 1, 400, False), np.random.default_rng(0)
    videos = []
    for title, labels in labels_of.items():
        (folder / title).mkdir(parents=True)
        for index, label in enumerate(labels):
            audio = rng.normal(0, 0.3 if label else 0.02, 400).astype(np.float32)
            video = rng.integers(0, 256, config.data_shape["video"], np.uint8)
            storage.write_segment(folder / title, index, label, video, audio, config, float(len(labels)))
        videos.append({"title": title, "segment_count": len(labels)})
    write_metadata(folder, config, videos, missing=[], created="2026-11-24")
    return folder


def test_a_checkpoint_is_tested_by_the_split_that_it_was_trained_with(small_network, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(plots, "plot_test", lambda scored, point, levels: {})
    labels_of = {title: [0, 1, 0, 0] for title in PLACES_OF_SPLIT}
    dataset = write_loud_dataset(tmp_path / "dataset", labels_of)
    arguments = ["--data_dir", str(dataset), "--epochs", "1", "--split", "0.2", "0.25"]
    assert trainer.main([*arguments, "--ckpt_dir", str(tmp_path / "ckpt")]) == 0
    assert "train: 2 videos, 8 segments, 2 highlights" in capsys.readouterr().out
    (path,) = (tmp_path / "ckpt").glob("*.hdf5")
    expected = [title for title, place in PLACES_OF_SPLIT.items() if place >= 0.45]
    assert any(PLACES_OF_SPLIT[title] < 0.6 for title in expected)  # of the default split's train
    assert read_checkpoint_attributes(path)["split"] == [0.2, 0.25]
    arguments = ["--mode", "test", "--ckpt", str(path), "--data_dir", str(dataset)]
    assert trainer.main([*arguments, "--ckpt_dir", str(tmp_path / "tested")]) == 0
    for folder in ("ckpt", "tested"):
        report = json.loads((tmp_path / folder / "test_report.json").read_text())
        assert (sorted(report["videos"]), report["split"]) == (sorted(expected), [0.2, 0.25])
        with open(tmp_path / folder / "predictions.csv", newline="") as file:
            assert {row["title"] for row in csv.DictReader(file)} == set(expected)
    loader = trainer.load_data(trainer.parse_args([*arguments, "--split", "0.2", "0.25"]))
    assert sorted(match.title for match in loader.matches("test")) == sorted(expected)
    for split in (["0.6", "0.2"], ["0.25", "0.2"]):
        with pytest.raises(TrainingError, match="another split would test it on videos that it has seen"):
            trainer.load_data(trainer.parse_args([*arguments, "--split", *split]))


def test_only_the_subset_that_is_tested_needs_both_classes(tmp_path):
    labels_of = {"match_00": [0, 0], "match_07": [1, 1], "match_08": [0, 1]}
    dataset = write_dataset(tmp_path / "few", labels_of)
    config = DataLoader(dataset).config.to_dict()
    path = tmp_path / "x.hdf5"
    keras.Sequential([keras.layers.Input((1,))]).save(path)
    write_checkpoint_attributes(path, {"config": config, "split": [0.6, 0.2]})
    args = trainer.parse_args(["--mode", "test", "--ckpt", str(path), "--data_dir", str(dataset), "--batch_size", "5"])
    loader = trainer.load_data(args)
    assert (loader.num_videos, loader.batch_size) == ({"train": 1, "valid": 1, "test": 1}, 5)
    write_checkpoint_attributes(path, {"config": config, "split": [0.7, 0.28]})  # its test is empty
    with pytest.raises(DatasetError, match="both classes in test, but test lacks one"):
        trainer.load_data(args)


def test_a_loader_for_training_needs_both_classes_in_every_subset(tmp_path):
    for number, lacking in enumerate(("match_00", "match_07", "match_08")):
        labels_of = {title: [0, 1] for title in ("match_00", "match_07", "match_08")} | {lacking: [0, 0]}
        dataset = write_dataset(tmp_path / str(number), labels_of)
        with pytest.raises(DatasetError, match=f"but {('train', 'valid', 'test')[number]} lacks one"):
            trainer.load_data(trainer.parse_args(["--data_dir", str(dataset)]))


@pytest.mark.parametrize("title", ["match_00", "match_07", "match_08"])
def test_damaged_sections_are_named_before_training(tmp_path, title):
    sections_of = {"match_00": [[0, 1]], "match_07": [[0, 1]], "match_08": [[0, 1]], title: [[5, 4]]}
    dataset = write_dataset(tmp_path / "damaged", {name: [1, 0] for name in sections_of}, sections_of=sections_of)
    with pytest.raises(DatasetError, match=f"sections of {title}"):
        trainer.load_data(trainer.parse_args(["--data_dir", str(dataset)]))


@pytest.mark.parametrize(
    ("ratios", "is_one"),
    [
        ([0.6, 0.2], True),
        ([0.5, 0.5], False),
        ([0.5, 0.4999], True),
        ([0.0, 0.5], False),
        ([0.5, 0.0], False),
        ([-0.1, 0.5], False),
        ([0.5, 1], False),
        ([0.2, 0.2, 0.2], False),
        ([0.2], False),
        ((0.6, 0.2), False),
        ("ab", False),
        (None, False),
        ([0.2, None], False),
    ],
)
def test_a_split_leaves_something_to_each_subset(ratios, is_one):
    assert is_split(ratios) is is_one


# ---- The number of epochs


def parse(dataset, *flags):
    return trainer.parse_args(["--data_dir", str(dataset), *flags])


@pytest.fixture(scope="module")
def long_match_dir(tmp_path_factory):
    """Make a dataset whose training match has 350 segments; its highlights of 1 s give sequences of up to 8."""
    labels_of = {"match_00": [0, 1] * 175, "match_07": [0, 1], "match_08": [0, 1]}
    return write_dataset(tmp_path_factory.mktemp("long") / "dataset", labels_of)


@pytest.mark.parametrize(
    ("batch_size", "num_batches", "num_epochs"),
    # An epoch of n training steps is repeated until there are about 3,500 of them.
    [
        (1, 350, 12),  # 10 would do
        (2, 176, 20),  # 19.9
        (3, 117, 30),  # 29.9
        (4, 88, 40),  # 39.8
        (5, 71, 48),  # 49.3 would be needed
        (None, 23, 48),  # 45 sequences of 8, two in a batch
    ],
)
def test_the_number_of_epochs_follows_from_the_number_of_batches(long_match_dir, batch_size, num_batches, num_epochs):
    args = parse(long_match_dir, *(["--batch_size", str(batch_size)] if batch_size else []))
    loader = trainer.load_data(args)
    assert len(loader.batches("train")) == num_batches
    assert args.epochs == num_epochs


@pytest.mark.parametrize(
    ("num_batches", "num_epochs"),
    [(1, 48), (72, 48), (73, 48), (74, 47), (100, 35), (269, 13), (280, 12), (281, 12), (100_000, 12)],
)
def test_the_number_of_epochs_is_rounded_and_has_limits(long_match_dir, monkeypatch, num_batches, num_epochs):
    monkeypatch.setattr(DataLoader, "batches", lambda loader, subset: {"train": range(num_batches)}[subset])
    args = parse(long_match_dir, "--learning_rate", "0.001")
    trainer.load_data(args)
    assert args.epochs == num_epochs


def test_a_number_of_epochs_that_is_given_has_no_limits_and_a_test_needs_none(long_match_dir, tmp_path):
    for num_epochs in (1, 11, 49, 100_000):
        args = parse(long_match_dir, "--epochs", str(num_epochs))
        trainer.load_data(args)
        assert args.epochs == num_epochs
    path = tmp_path / "x.hdf5"
    keras.Sequential([keras.layers.Input((1,))]).save(path)
    write_checkpoint_attributes(path, {"config": DataLoader(long_match_dir).config.to_dict(), "split": [0.6, 0.2]})
    args = parse(long_match_dir, "--mode", "test", "--ckpt", str(path))
    assert trainer.load_data(args).batch_size == 16
    assert args.epochs is None


@pytest.mark.parametrize(
    ("flags", "learning_rate"),
    [
        ([], 0.0015),
        (["--batch_size", "16"], 0.0015),  # the default of this dataset
        (["--batch_size", "64"], 0.003),
        (["--batch_size", "4"], 0.00075),
        (["--batch_size", "30"], 0.00184),  # 0.001837: three whole sequences of 8
        (["--batch_size", "1000"], 0.00712),  # 0.007115: there are 45 sequences
        (["--batch_size", "64", "--learning_rate", "0.0015"], 0.0015),
    ],
)
def test_the_learning_rate_grows_with_the_root_of_the_batch_size_unless_it_is_given(
    long_match_dir, flags, learning_rate
):
    args = parse(long_match_dir, *flags)
    trainer.load_data(args)
    assert args.learning_rate == learning_rate


# ---- Few highlights


def test_rare_highlights_count_as_much_as_all_the_rest(small_network, tmp_path, monkeypatch):
    # Silence and grey frames, of which nothing can be learned but how often highlights are: 1 of 20 segments.
    rare = [int(index == 7) for index in range(20)]
    labels_of = {"match_00": rare, "match_01": rare, "match_07": rare, "match_08": rare}
    dataset, seen = write_dataset(tmp_path / "rare", labels_of), []
    plain = optimization.train_epoch

    def train_epoch(steps, batches, on_batch):
        batches = list(batches)
        labels = np.concatenate([targets["highlight"].ravel() for _, targets, _ in batches])
        weights = np.concatenate([weights.ravel() for _, _, weights in batches])
        seen.append((weights[labels == 1].sum(), weights[labels == 0].sum(), (weights > 0).sum()))
        return plain(steps, batches, on_batch)

    monkeypatch.setattr(optimization, "train_epoch", train_epoch)
    point = {"threshold": 0.5, "section_penalty": 0.0}
    monkeypatch.setattr(validation, "fit_operating_point", lambda *arguments: point)  # takes long
    arguments = ["--data_dir", str(dataset), "--ckpt_dir", str(tmp_path / "ckpt"), "--learning_rate", "0.1"]
    args = trainer.parse_args([*arguments, "--epochs", "12", "--batch_size", "40"])
    path = trainer.train(args, trainer.load_data(args))
    for highlights, others, num_counted in seen:
        assert (highlights, others, num_counted) == (pytest.approx(20), pytest.approx(20), 40)
    scores, _ = validation.predict(inference.load_checkpoint(path), DataLoader(dataset), "test")
    assert scores == pytest.approx(np.full(20, 1 / 20), abs=0.005)  # calibrated
    # As if half of the segments were highlights; 19 of 20 would be at a loss of less than 0.4 each otherwise.
    val_loss = read_checkpoint_attributes(path)["val_loss"]
    assert val_loss == pytest.approx(math.log(2), abs=0.01)


def test_a_subset_without_both_classes_ends_before_training(tmp_path, caplog):
    dataset = write_dataset(tmp_path / "few", {"match_00": [0, 1]})
    assert trainer.main(["--data_dir", str(dataset), "--ckpt_dir", str(tmp_path / "ckpt")]) == 1
    assert "but valid and test lack one (train: 1 videos, 2 segments, 1 highlights; valid: 0 videos" in caplog.text
    assert not (tmp_path / "ckpt").exists()


def test_a_split_can_be_chosen_for_a_small_collection(tmp_path):
    titles = [f"match_{number:02d}" for number in range(7)]
    dataset = write_dataset(tmp_path / "few", {title: [0, 1] for title in titles})
    assert {assign_subset(title) for title in titles} == {"train"}
    with pytest.raises(DatasetError, match="valid and test lack one"):
        trainer.load_data(trainer.parse_args(["--data_dir", str(dataset)]))
    loader = trainer.load_data(trainer.parse_args(["--data_dir", str(dataset), "--split", "0.3", "0.15"]))
    assert min(loader.num_videos.values()) > 0


def test_a_damaged_segment_is_named(tmp_path, caplog):
    labels_of = {title: [0, 1] for titles in TITLES.values() for title in titles}
    dataset = write_dataset(tmp_path / "damaged", labels_of)
    (dataset / "match_01" / "seg_00001_1.pkl").write_bytes(b"junk")
    assert trainer.main(["--data_dir", str(dataset), "--ckpt_dir", str(tmp_path / "ckpt"), "--epochs", "1"]) == 1
    assert "seg_00001_1.pkl: " in caplog.text


def test_a_segment_that_would_run_something_is_named_and_runs_nothing(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    labels_of = {title: [0, 1] for titles in TITLES.values() for title in titles}
    dataset = write_dataset(tmp_path / "hostile", labels_of)
    (dataset / "match_01" / "seg_00001_1.pkl").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    assert trainer.main(["--data_dir", str(dataset), "--ckpt_dir", str(tmp_path / "ckpt"), "--epochs", "1"]) == 1
    assert "match_01/seg_00001_1.pkl: not a segment pickle (it names os.system" in caplog.text
    assert not (tmp_path / "ran").exists()


def test_a_zip_is_trained_on_in_place(small_network, dataset_dir, tmp_path):
    zip_path = shutil.make_archive(tmp_path / "shared", "zip", dataset_dir.parent, dataset_dir.name)
    status, history = train_in_process(zip_path, tmp_path / "zipped", epochs=2)
    assert status == 0
    assert history == train_in_process(dataset_dir, tmp_path / "plain", epochs=2)[1]
    assert {path.name for path in tmp_path.iterdir()} == {"shared.zip", "zipped", "plain"}


def test_a_missing_dataset_is_named(tmp_path, caplog):
    assert trainer.main(["--data_dir", str(tmp_path / "nothing")]) == 1
    assert "expected a dataset that data_converter.py has finished" in caplog.text
