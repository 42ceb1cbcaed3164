"""The functions of the audit: what is compared, from when on two matches are the same, and what is reported."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from test_data_loader import write_dataset

from data_loader import DataLoader
from videosummarizer.dataset import audit, storage
from videosummarizer.dataset.metadata import DataConfig, DatasetError

CONFIG = DataConfig(1, 1, 1, 1, 2, False)
ADVICE = "Scores on matches that were trained on are too good: convert each match once, under one title"


def test_every_damaged_segment_of_every_subset_is_counted_and_twenty_are_reported(tmp_path, caplog):
    labels_of = {"match_00": [0] * 10, "match_07": [1] * 9, "match_08": [0] * 8}  # train, valid, test
    dataset = write_dataset(tmp_path / "damaged", labels_of)
    names = [
        f"{title}/seg_{index:05d}_{label}.pkl" for title in labels_of for index, label in enumerate(labels_of[title])
    ]
    bad = names[:9] + names[10:18] + names[19:25]  # 9 of 10, 8 of 9, 6 of 8
    for name in bad:
        (dataset / name).write_bytes(b"junk")
    with pytest.raises(DatasetError, match=r"damaged: 23 of 27 segments cannot be used$"):
        audit.check_segments(DataLoader(dataset))
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 20
    assert [message.startswith(str(dataset / name)) for message, name in zip(caplog.messages, bad, strict=False)] == [
        True
    ] * 20


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_audio_that_is_not_finite_is_reported(tmp_path, caplog, value):
    dataset = write_dataset(tmp_path / "odd", {"match_00": [0, 1], "match_08": [0]})
    frames, audio = np.zeros((1, 1, 1, 3), np.uint8), np.array([0, value], np.float32)
    storage.write_segment(dataset / "match_08", 0, 0, frames, audio, CONFIG, 1.0)
    with pytest.raises(DatasetError, match=r"odd: 1 of 3 segments cannot be used"):
        audit.check_segments(DataLoader(dataset))
    path = dataset / "match_08" / "seg_00000_0.pkl"
    assert caplog.messages == [
        f"{path}: its audio contains values that are not finite numbers: convert its video again"
    ]


def test_a_dataset_without_damage_is_read_in_full_and_nothing_is_reported(tmp_path, caplog, capsys):
    audit.check_segments(DataLoader(write_dataset(tmp_path / "whole", {"match_00": [0, 1], "match_08": [0]})))
    assert caplog.messages == []
    assert "3/3 [" in capsys.readouterr().err


# ---- Which pairs are one


def rows_of(*columns, num_columns=42):
    """(12, 42) float32: rows of length 1 in the given columns; None for a row of zeros, which cannot be compared."""
    rows = np.zeros((12, num_columns), np.float32)
    for row, column in zip(rows, columns, strict=False):
        if column is not None:
            row[column] = 1
    return rows


@pytest.fixture
def pairs_of(monkeypatch):
    """A function that gives the pairs of matches with the given `audio` and `video` by title and subset."""

    def pairs_of(signatures, subset_of):
        monkeypatch.setattr(audit, "signature", lambda loader, files: signatures[files])
        matches = {title: title for title in subset_of}
        return audit.same_contents(None, matches, subset_of)

    return pairs_of


NOTHING = rows_of()


@pytest.mark.parametrize(
    ("num_similar", "num_compared", "is_same"),
    [
        (0, 0, False),
        (1, 1, False),
        (2, 2, True),
        (2, 3, False),
        (3, 4, True),
        (5, 7, False),
        (6, 8, True),
        (8, 11, False),
        (8, 12, False),
        (9, 12, True),
        (12, 12, True),
    ],
)
@pytest.mark.parametrize("modality", ["audio", "video"])
def test_matches_are_the_same_if_three_quarters_and_two_of_their_segments_are_similar(
    pairs_of, modality, num_similar, num_compared, is_same
):
    first = rows_of(*range(num_compared))
    second = rows_of(*range(num_similar), *range(20, 20 + num_compared - num_similar), *range(30, 42 - num_compared))
    other = {"audio": "video", "video": "audio"}[modality]
    signatures = {"b": {modality: first, other: NOTHING}, "a": {modality: second, other: NOTHING}}
    pairs = pairs_of(signatures, {"b": "train", "a": "test"})
    assert pairs == ({("a", "b"): f"have the same {modality}"} if is_same else {})


@pytest.mark.parametrize(("similarity", "is_same"), [(0.89, False), (0.91, True), (-0.95, False)])
def test_segments_are_similar_above_nine_tenths(pairs_of, similarity, is_same):
    first, second = rows_of(0, 1), rows_of()
    for row in (0, 1):
        second[row, [row, 20]] = similarity, np.sqrt(1 - similarity**2)
    signatures = {"a": {"audio": first, "video": NOTHING}, "b": {"audio": second, "video": NOTHING}}
    assert bool(pairs_of(signatures, {"a": "train", "b": "valid"})) == is_same


def test_segments_are_compared_at_the_same_indices_only(pairs_of):
    signatures = {
        "a": {"audio": rows_of(0, 1, 2), "video": NOTHING},
        "b": {"audio": rows_of(1, 2, 0), "video": NOTHING},
    }
    assert pairs_of(signatures, {"a": "train", "b": "valid"}) == {}


def test_pairs_within_a_subset_are_no_leak_and_video_is_named_before_audio(pairs_of):
    same, other = {"audio": rows_of(0, 1, 2), "video": rows_of(3, 4)}, {"audio": rows_of(5, 6), "video": NOTHING}
    signatures = {"a": same, "b": other, "c": same, "d": same, "e": other, "f": {"audio": NOTHING, "video": NOTHING}}
    subset_of = {"a": "train", "b": "test", "c": "train", "d": "valid", "e": "train", "f": "test"}
    assert pairs_of(signatures, subset_of) == {
        ("a", "d"): "have the same video",
        ("c", "d"): "have the same video",
        ("b", "e"): "have the same audio",
    }


def test_similar_segments_are_counted_for_each_pair():
    num_similar, num_compared = audit.count_similar([rows_of(0, 1, 2), rows_of(0, None, 3), rows_of(4, 1)])
    assert num_similar.tolist() == [[3, 1, 1], [1, 2, 0], [1, 0, 2]]
    assert num_compared.tolist() == [[3, 2, 2], [2, 2, 1], [2, 1, 2]]


def test_a_file_under_three_titles_is_a_pair_for_each_change_of_subset():
    titles = ["z_train", "a_train", "m_test", "unknown"]
    videos = [
        {"title": title, "source": "x.mp4", "source_files": {"x.mp4": [700, 1]}, "duration": 60.5} for title in titles
    ]
    subset_of = {"a_train": "train", "m_test": "test", "z_train": "train"}
    assert audit.same_files({"videos": videos}, subset_of) == {
        ("a_train", "m_test"): "were converted from files of the same size and length",
        ("m_test", "z_train"): "were converted from files of the same size and length",
    }
    assert audit.same_files({"videos": videos}, dict.fromkeys(titles, "valid")) == {}


@pytest.mark.parametrize(("size", "duration", "is_same"), [(700, 60.5, True), (700, 60.6, False), (701, 60.5, False)])
def test_files_are_the_same_if_both_size_and_length_are(size, duration, is_same):
    videos = [
        {"title": "a", "source": "a.mp4", "source_files": {"a.txt": [5, 1], "a.mp4": [700, 1]}, "duration": 60.5},
        {"title": "b", "source": "b.mp4", "source_files": {"b.txt": [6, 1], "b.mp4": [size, 2]}, "duration": duration},
    ]
    pairs = audit.same_files({"videos": videos}, {"a": "train", "b": "test"})
    assert list(pairs) == [("a", "b")] * is_same


# ---- What is compared: independent arithmetic with loops


def block_means(array, *sizes):
    """Means of an array's blocks computed with plain loops: block i of n starts at i * length // n of each axis."""
    sizes = [min(size, length) for size, length in zip(sizes, array.shape, strict=True)]
    means = np.zeros(sizes)
    for index in np.ndindex(*sizes):
        block = tuple(
            slice(i * length // size, (i + 1) * length // size)
            for i, size, length in zip(index, sizes, array.shape, strict=True)
        )
        means[index] = np.mean(array[block], dtype=np.float64)
    return means


def test_blocks_by_hand():
    np.testing.assert_allclose(audit.block_means(np.arange(10.0), 4), [0.5, 3, 5.5, 8])  # of 2, 3, 2, 3 values
    np.testing.assert_allclose(audit.block_means(np.array([1.0, 5.0, 9.0]), 64), [1, 5, 9])
    array = np.array([[0.0, 2, 10], [4, 6, 20], [100, 102, 30]])
    np.testing.assert_allclose(audit.block_means(array, 2, 2), [[0, 6], [52, 39.5]])
    np.testing.assert_allclose(audit.block_means(array, 1), [[104 / 3, 110 / 3, 20]])


def test_a_segment_is_reduced_to_grey_blocks_and_to_audio_levels(tmp_path):
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (7, 20, 33, 3), dtype=np.uint8)
    audio = rng.normal(0, 0.3, 1000).astype(np.float32)
    received = audit.describe_segment(video, audio)
    grey = block_means(video.astype(np.float64).mean(axis=3), 4, 9, 16)
    loudness = block_means(np.abs(audio), 64)
    assert received["video"].shape == (4 * 9 * 16,)
    assert received["audio"].shape == (64,)
    np.testing.assert_allclose(received["video"], (grey - grey.mean()).ravel(), atol=1e-3)
    np.testing.assert_allclose(received["audio"], loudness - loudness.mean(), atol=1e-5)
    assert {values.dtype.kind for values in received.values()} == {"f"}


def test_mfccs_are_reduced_to_ten_bands_each_without_its_mean():
    rng = np.random.default_rng(1)
    audio = (rng.normal(0, 1, (40, 130)) + np.arange(40)[:, np.newaxis]).astype(np.float16)
    received = audit.describe_segment(np.zeros((1, 2, 3, 3), np.uint8), audio)
    bands = block_means(audio, 10, 64)
    assert received["audio"].shape == (640,)
    np.testing.assert_allclose(received["audio"], (bands - bands.mean(axis=1, keepdims=True)).ravel(), atol=1e-4)
    assert received["video"].shape == (1 * 2 * 3,)


def test_rows_are_differences_to_the_mean_with_norm_one():
    values = [None, np.array([6.0, 8, 1]), None, np.array([0.0, 0, 1])]
    rows = audit.normalise_rows(values, 3, 1.0)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, [[0, 0, 0], [0.6, 0.8, 0], [0, 0, 0], [-0.6, -0.8, 0]], atol=1e-6)
    assert not audit.normalise_rows([None, None], 3, 1.0).any()


@pytest.mark.parametrize(("min_deviation", "is_informative"), [(2.4, True), (2.6, False)])
def test_rows_flatter_than_the_least_deviation_are_zeros(min_deviation, is_informative):
    values = [np.array([3.0, 4, 0, 0]), np.array([-3.0, -4, 0, 0])]  # root mean squares of 5 / 2
    rows = audit.normalise_rows(values, 4, min_deviation)
    np.testing.assert_allclose(rows, np.array([[0.6, 0.8, 0, 0], [-0.6, -0.8, 0, 0]]) * is_informative, atol=1e-6)


def loader_of(monkeypatch, arrays, data_shape):
    """A stand-in for a loader whose files are their indices; None is a damaged one."""
    read = []

    def read_arrays(file, shape):
        assert shape == data_shape
        read.append(file)
        if arrays[file] is None:
            raise DatasetError("damaged")
        return arrays[file]

    monkeypatch.setattr(audit, "read_arrays", read_arrays)
    return SimpleNamespace(data_shape=data_shape), read


def test_a_dozen_segments_at_growing_distances_are_compared(monkeypatch):
    rng = np.random.default_rng(2)
    shapes = {"video": (2, 9, 16, 3), "audio": (128,)}
    arrays = [(rng.integers(0, 256, shapes["video"], dtype=np.uint8), rng.normal(0, 1, 128)) for _ in range(150)]
    loader, read = loader_of(monkeypatch, arrays, shapes)
    received = audit.signature(loader, list(range(150)))
    assert read == [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144]
    values = np.array([block_means(np.abs(arrays[index][1]), 64) for index in read])
    values -= values.mean(axis=1, keepdims=True)
    values -= values.mean(axis=0)
    np.testing.assert_allclose(received["audio"], values / np.linalg.norm(values, axis=1, keepdims=True), atol=1e-4)
    pixels = np.array([arrays[index][0].mean(axis=3).ravel() for index in read])
    pixels -= pixels.mean(axis=1, keepdims=True)
    pixels -= pixels.mean(axis=0)
    np.testing.assert_allclose(received["video"], pixels / np.linalg.norm(pixels, axis=1, keepdims=True), atol=1e-4)


def test_short_matches_and_damaged_segments_leave_rows_of_zeros(monkeypatch):
    rng = np.random.default_rng(3)
    shapes = {"video": (1, 9, 16, 3), "audio": (64,)}
    arrays = [(rng.integers(0, 256, shapes["video"], dtype=np.uint8), rng.normal(0, 1, 64)) for _ in range(6)]
    arrays[1] = None
    loader, read = loader_of(monkeypatch, arrays, shapes)
    received = audit.signature(loader, list(range(6)))
    assert read == [0, 1, 2, 3, 5]
    for rows in received.values():
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), [1, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0], atol=1e-5)


@pytest.mark.parametrize(
    ("grey_levels", "loudness", "is_compared"),
    [
        (5, 4.8e-4, {"video": True, "audio": True}),
        (3, 4.8e-4, {"video": False, "audio": True}),
        (5, 3.6e-4, {"video": True, "audio": False}),
    ],
)
def test_flat_video_and_silence_are_not_compared(monkeypatch, grey_levels, loudness, is_compared):
    # Half of the second segment is higher by so much: by a quarter of it both deviate from the mean of the two.
    video, audio = np.full((1, 2, 2, 3), 100, np.uint8), np.zeros(64)
    marked, loud = video.copy(), audio.copy()
    marked[:, 0] += np.uint8(grey_levels)
    loud[::2] += loudness
    loader, _ = loader_of(monkeypatch, [(video, audio), (marked, loud)], {"video": (1, 2, 2, 3), "audio": (64,)})
    received = audit.signature(loader, [0, 1])
    assert {modality: bool(rows.any()) for modality, rows in received.items()} == is_compared


# ---- What is reported


@pytest.mark.parametrize(
    ("num_lines", "last"),
    [(0, None), (1, "line 0"), (5, "line 4"), (6, "... and 1 more pairs"), (9, "... and 4 more pairs")],
)
def test_five_lines_are_shown_and_the_rest_counted(num_lines, last):
    shown = audit.truncate_lines([f"line {number}" for number in range(num_lines)], "pairs")
    assert shown[:5] == [f"line {number}" for number in range(min(num_lines, 5))]
    assert len(shown) == min(num_lines, 6)
    assert (shown or [None])[-1] == last


@pytest.mark.parametrize(
    ("num_titles", "text"),
    [(1, "t0"), (4, "t0, t1, t2, t3"), (5, "t0, t1, t2, t3 and 1 more"), (9, "t0, t1, t2, t3 and 5 more")],
)
def test_four_titles_are_listed_and_the_rest_counted(num_titles, text):
    assert audit.truncate_list([f"t{number}" for number in range(num_titles)]) == text


def test_series_are_listed_by_name_with_their_subsets_in_order():
    subset_of = {
        "b_2": "test",
        "b_1": "train",
        "b_3": "valid",
        "a_9": "valid",
        "a_8": "test",
        "c_1": "train",
        "a_1": "test",
    }
    assert audit.split_series(re.compile("^(.)_"), subset_of) == [
        "series 'a' is in 2 subsets: valid: a_9; test: a_1, a_8",
        "series 'b' is in 3 subsets: train: b_1; valid: b_3; test: b_2",
    ]


def test_titles_for_which_the_patterns_group_is_empty_are_a_series_too():
    subset_of = {"x1": "train", "x2": "test", "1": "train", "2": "valid"}
    assert audit.split_series(re.compile(r"(x)?\d"), subset_of) == [
        "series 'x' is in 2 subsets: train: x1; test: x2",
        "series None is in 2 subsets: train: 1; valid: 2",
    ]


def test_all_leaks_of_a_dataset_are_reported_in_order(tmp_path, monkeypatch):
    dataset = write_dataset(tmp_path / "leaky", {f"match_{number:02d}": [0, 1] for number in (0, 1, 7, 8)})
    contents = {("match_01", "match_07"): "look alike", ("match_00", "match_08"): "have the same video"}
    monkeypatch.setattr(audit, "same_contents", lambda *_: contents)
    files = {("match_00", "match_08"): "are one file", ("match_00", "match_07"): "are one file"}
    monkeypatch.setattr(audit, "same_files", lambda *_: files)
    loader = DataLoader(dataset)
    pairs = [
        "match_00 (train) and match_07 (valid) are one file",
        "match_00 (train) and match_08 (test) have the same video",
        "match_01 (train) and match_07 (valid) look alike",
        ADVICE,
    ]
    assert audit.find_leaks(loader) == pairs
    warnings = audit.find_leaks(loader, re.compile("^match_0"))
    assert warnings[:5] == [
        *pairs,
        "series 'match_0' is in 3 subsets: train: match_00, match_01; valid: match_07; test: match_08",
    ]
    assert len(warnings) == 6
    assert warnings[5].startswith("Scores on games of a series that was trained on may be too good: rely on those")
    assert audit.find_leaks(loader, re.compile("nothing")) == pairs


def test_of_many_pairs_five_are_reported_and_the_rest_counted(tmp_path, monkeypatch):
    pairs = {(f"match_0{a}", f"match_{b}"): "look alike" for a in (0, 1) for b in ("07", "08", "09", "10")}
    monkeypatch.setattr(audit, "same_contents", lambda *_: pairs)
    titles = [f"match_{number:02d}" for number in (0, 1, 7, 8, 9, 10)]
    warnings = audit.find_leaks(DataLoader(write_dataset(tmp_path / "many", {title: [0] for title in titles})))
    assert [line.split(" look")[0] for line in warnings] == [
        "match_00 (train) and match_07 (valid)",
        "match_00 (train) and match_08 (test)",
        "match_00 (train) and match_09 (valid)",
        "match_00 (train) and match_10 (test)",
        "match_01 (train) and match_07 (valid)",
        "... and 3 more pairs",
        ADVICE,
    ]
