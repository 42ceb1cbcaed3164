"""The split, the batches, and datasets of the first version."""

import json
import pickle

import numpy as np
import pytest
from conftest import LABELS, TITLES

import data_loader
import segments
from data_loader import SUBSETS, DataLoader, class_weights, read_arrays, roll_segments, subset_of

# The subsets of match_00 to match_99 by the formula of DESIGN.md: tRain, vAlid, tEst. Never change this table.
PINNED = "rrrrrrraeaeerrrreereaaearrarrrerrrrrarrearerarrarrrrrrrrrrarrrrrrererrrrrarrrearrrarrerrrrrrearerrre"


def test_the_split_of_a_hundred_titles_is_pinned():
    letters = {"train": "r", "valid": "a", "test": "e"}
    assert "".join(letters[subset_of(f"match_{number:02d}")] for number in range(100)) == PINNED


@pytest.mark.parametrize(
    ("title", "subset"),
    # The XORed bytes of these titles, over 255: 0.718, 0.173, 0.616, 0.820.
    [("a", "valid"), ("결승전 #3 (재경기)", "train"), ("arena_01", "valid"), ("pit_04", "test")],
)
def test_golden_split(title, subset):
    assert subset_of(title) == subset


def test_proportions_are_parameters():
    titles = [str(number) for number in range(2000)]
    shares = [sum(subset_of(t, 0.5, 0.25) == subset for t in titles) / len(titles) for subset in SUBSETS]
    np.testing.assert_allclose(shares, [0.5, 0.25, 0.25], atol=0.04)
    assert {subset_of(title, 1.0, 0.0) for title in titles} <= {"train", "test"}


def test_counts_of_each_subset(dataset_dir):
    loader = DataLoader(dataset_dir)
    assert loader.num_videos == {"train": 2, "valid": 2, "test": 2}
    assert loader.num_segments == {"train": 20, "valid": 11, "test": 20}
    assert loader.num_highlights == {"train": 5, "valid": 7, "test": 1}
    for subset, titles in TITLES.items():
        assert {file.title for file in loader.segment_files[subset]} == set(titles)


def test_batches_hold_stretches_of_the_segments_own_arrays(dataset_dir):
    loader = DataLoader(dataset_dir, batch_size=9)  # one stretch of 8 segments: a match, and its last ones again
    batches = loader.batches("valid")
    assert len(batches) == 2
    no, yes = 11 / 8, 11 / 14  # 4 of 11 segments are no highlights, 7 are
    steps = {  # two half seconds a segment
        "match_07": [[0, 0], [1, 1], [1, 1], [1, 1], [1, 1], [0, 0]],
        "match_09": [[0, 0], [1, 1], [1, 1], [1, 1], [1, 0]],
    }
    for (title, order, expected_weights), (inputs, targets, weights) in zip(
        [
            ("match_07", [0, 1, 2, 3, 4, 5, 5, 4], [no, yes, yes, yes, yes, no, 0, 0]),
            ("match_09", [0, 1, 2, 3, 4, 4, 3, 2], [no, yes, yes, yes, no, 0, 0, 0]),
        ],
        batches,
        strict=True,
    ):
        assert (inputs["video"].shape, inputs["video"].dtype) == ((1, 8, 2, 16, 16, 3), np.uint8)
        assert (inputs["audio"].shape, inputs["audio"].dtype) == ((1, 8, 4000), np.float32)
        np.testing.assert_allclose(weights, [expected_weights], rtol=1e-6)
        for place, index in enumerate(order):
            label = LABELS[title][index]
            segment = segments.read_segment(dataset_dir / title / f"seg_{index:05d}_{label}.pkl")
            np.testing.assert_array_equal(inputs["video"][0, place], segment["video"])
            np.testing.assert_array_equal(inputs["audio"][0, place], segment["audio"])
            assert targets["highlight"][0, place].tolist() == [label]
            assert targets["steps"][0, place].tolist() == steps[title][index]
    np.testing.assert_array_equal(loader.labels("valid"), [0, 1, 1, 1, 1, 0, 0, 1, 1, 1, 0])


def test_a_batch_holds_as_many_segments_as_asked_for(dataset_dir):
    for batch_size, shape, num_batches in [(2, (1, 2), 6), (16, (2, 8), 1), (24, (2, 8), 1), (1, (1, 1), 11)]:
        batches = DataLoader(dataset_dir, batch_size=batch_size).batches("valid")
        assert len(batches) == num_batches
        assert batches[0][2].shape == shape


def test_steps_follow_the_sections(tmp_path):
    loader = DataLoader(
        write_dataset(tmp_path / "steps", {"match_00": [0, 1]}, sections_of={"match_00": [[0.75, 1.5]]})
    )
    _, targets, _ = loader.batches("train")[0]
    assert {tuple(row) for row in targets["steps"][0].tolist()} == {(0, 0.5), (1, 0)}


def test_the_rare_class_is_weighted(tmp_path):
    np.testing.assert_allclose(class_weights(np.array([0] * 9 + [1])), [10 / 18, 5])
    loader = DataLoader(write_dataset(tmp_path / "rare", {"match_07": [0, 1, 0, 0]}), batch_size=4)
    _, _, weights = loader.batches("valid")[0]
    np.testing.assert_allclose(weights, [[4 / 6, 2, 4 / 6, 4 / 6]], rtol=1e-6)


def epoch_of(loader, epoch):
    """The segments that an epoch of training reads, by their sound, each with its stretch."""
    batches = loader.batches("train")
    batches.start_epoch(epoch)
    return [
        [audio.tobytes() for audio, weight in zip(sounds, weights, strict=True) if weight]
        for inputs, _, batch_weights in batches
        for sounds, weights in zip(inputs["audio"], batch_weights, strict=True)
    ]


def test_training_reads_each_segment_once_in_stretches_that_the_seed_and_the_epoch_choose(dataset_dir):
    loader = DataLoader(dataset_dir, batch_size=4, seed=1)
    in_order = [read_arrays(file, loader.data_shape)[1].tobytes() for file in loader.segment_files["train"]]
    epochs = [epoch_of(loader, epoch) for epoch in range(6)]
    for stretches in epochs:
        assert sorted(s for stretch in stretches for s in stretch) == sorted(in_order)
        for stretch in stretches:  # neighbours in the stretch are neighbours in the match
            places = [in_order.index(s) for s in stretch]
            assert places == list(range(places[0], places[0] + len(places)))
    assert len({len(stretches) for stretches in epochs}) == 1
    assert len({str(stretches) for stretches in epochs}) == 6
    assert epoch_of(DataLoader(dataset_dir, batch_size=4, seed=1), 3) == epochs[3]
    assert epoch_of(DataLoader(dataset_dir, batch_size=4, seed=2), 3) != epochs[3]


def test_training_cuts_segments_where_the_dataset_does_not(tmp_path):
    config = segments.DataConfig(2, 2, 1, 1, 4, False)  # 4 steps a segment, a frame and two samples each
    folder, rng = tmp_path / "steps", np.random.default_rng(0)
    (folder / "match_00").mkdir(parents=True)
    num_segments = 21
    sections_sec = np.array([[1.5, 5.5], [9.0, 10.0], [20.3, 31.0]])
    labels = segments.label_segments(sections_sec, num_segments, 2.0)
    for index, label in enumerate(labels):
        frames, audio = rng.integers(0, 256, (4, 1, 1, 3), np.uint8), rng.random(8).astype(np.float32)
        segments.write_segment(folder / "match_00", index, label, frames, audio, config, 42.0)
    record = {"title": "match_00", "segment_count": num_segments, "duration": 42.0, "sections": sections_sec.tolist()}
    segments.write_metadata(folder, config, [record], missing=[])
    loader = DataLoader(folder, batch_size=16)
    batches, seen = loader.batches("train"), set()
    for epoch in range(10):
        batches.start_epoch(epoch)
        for number, (rolled, num_steps) in enumerate(zip(batches.rolled(), batches.num_steps_moved, strict=True)):
            plain = batches[number]
            for row in range(len(plain[2])):
                for before, after, num_moved in (
                    (plain[0]["video"], rolled[0]["video"], 3 * num_steps),
                    (plain[0]["audio"], rolled[0]["audio"], 2 * num_steps),
                    (plain[1]["steps"], rolled[1]["steps"], num_steps),
                ):
                    assert (before.shape, before.dtype) == (after.shape, after.dtype)
                    np.testing.assert_array_equal(after[row].ravel(), np.roll(before[row].ravel(), num_moved))
                is_highlight = rolled[1]["highlight"][row, :, 0]
                np.testing.assert_array_equal(is_highlight, rolled[1]["steps"][row].sum(axis=1) > 2)
                counts = plain[2][row] > 0
                if num_steps:  # of parts of two segments, which have to follow each other in the match
                    counts = [False, *(counts[1:] & counts[:-1])]
                weights = batches.class_weights[is_highlight.astype(int)] * counts
                np.testing.assert_allclose(rolled[2][row], weights, rtol=1e-6)
            seen.add(int(num_steps))
    assert seen == {0, 1, 2, 3}


def moves_of(folder, num_epochs=30, **more):
    """By how many steps training moves its batches."""
    batches = DataLoader(folder, **more).batches("train")
    seen = set()
    for epoch in range(num_epochs):
        batches.start_epoch(epoch)
        seen |= set(batches.num_steps_moved.tolist())
    return seen


def test_segments_are_cut_between_frames_and_between_steps(tmp_path):
    labels_of = {"match_00": [0, 1, 1, 0] * 4}
    for number, (config, expected) in enumerate(
        [
            ((2, 2, 1, 1, 4, False), {0, 1, 2, 3}),
            ((5, 3, 1, 1, 4, False), {0, 2, 4, 6, 8}),  # 15 frames, 10 steps
            ((1, 1, 1, 1, 4, False), {0}),  # one frame
            ((4.9, 3, 1, 1, 4, False), {0}),  # 14 frames and seven tenths, 10 steps
        ]
    ):
        folder = write_dataset(tmp_path / str(number), labels_of, config=segments.DataConfig(*config))
        assert moves_of(folder) == expected


def test_nothing_is_moved_where_little_would_be_left(tmp_path):
    config = segments.DataConfig(2, 2, 1, 1, 4, False)
    short = write_dataset(tmp_path / "short", {"match_00": [0], "match_03": [1]}, config=config)
    assert moves_of(short) == moves_of(short, batch_size=1) == {0}
    pairs = write_dataset(tmp_path / "pairs", {"match_00": [0, 1]}, config=config)
    assert moves_of(pairs) == {0, 1, 2, 3}


def test_mfccs_move_along_time():
    mfccs = np.arange(8).reshape(1, 2, 2, 2)  # of two segments, two coefficients, two frames
    assert roll_segments(mfccs, 0.5, -1).tolist() == [[[[5, 0], [7, 2]], [[1, 4], [3, 6]]]]


def test_matches_of_every_length_are_cut_without_empty_stretches(tmp_path):
    for num_segments in (1, 3, 7, 8, 9, 17):
        loader = DataLoader(write_dataset(tmp_path / str(num_segments), {"match_00": [0] * num_segments}))
        batches = loader.batches("train")
        for epoch in range(12):
            batches.start_epoch(epoch)
            assert all(files for files, _ in batches.stretches)
            assert sum(len(files) for files, _ in batches.stretches) == num_segments


def test_valid_and_test_keep_their_order(dataset_dir):
    for subset in ("valid", "test"):
        batches = DataLoader(dataset_dir, batch_size=4).batches(subset)
        first = [inputs["audio"].tobytes() for inputs, _, _ in batches]
        batches.start_epoch(1)
        assert [inputs["audio"].tobytes() for inputs, _, _ in batches] == first


def test_a_match_is_read_in_order(dataset_dir):
    loader = DataLoader(dataset_dir)
    files = loader.files_by_match("test")[1]
    assert [file.title for file in files] == [TITLES["test"][1]] * 8
    arrays = list(loader.read_match(files))
    assert len(arrays) == 8
    for file, (video, audio) in zip(files, arrays, strict=True):
        segment = segments.read_segment(file.path)
        np.testing.assert_array_equal(video, segment["video"])
        np.testing.assert_array_equal(audio, segment["audio"])


def test_a_pickle_is_read_only_when_its_batch_is_asked_for(dataset_dir, monkeypatch):
    read = []
    original = data_loader.read_into
    monkeypatch.setattr(data_loader, "read_into", lambda file, *to: read.append(file.name) or original(file, *to))
    loader = DataLoader(dataset_dir, batch_size=4)
    batches = loader.batches("test")
    loader.labels("test")
    assert read == []
    batches[2]
    assert read == ["seg_00008_1.pkl", "seg_00009_0.pkl", "seg_00010_0.pkl", "seg_00011_0.pkl"]


def test_a_batch_keeps_its_arrays_as_long_as_a_part_of_them_is_held(dataset_dir):
    batches = DataLoader(dataset_dir, batch_size=2).batches("test")
    expected = [inputs["audio"][0, 1].copy() for inputs, _, _ in batches]
    held = []
    for _ in range(3):
        for number, (inputs, _, _) in enumerate(batches):
            if number % 2:
                held.append((number, inputs["audio"][0][1]))
            inputs["audio"][0, 0] = 9  # as who gets a batch may
            del inputs
    assert len({sound.ctypes.data for _, sound in held}) == len(held) == 15
    for number, sound in held:
        np.testing.assert_array_equal(sound, expected[number])


def test_the_memory_of_batches_is_used_again(dataset_dir):
    batches = DataLoader(dataset_dir, batch_size=2).batches("test")
    places = {batches[number][0]["video"].ctypes.data for number in [*range(10)] * 3}
    assert len(places) == 1


@pytest.mark.parametrize("change", ["longer", "shorter", "of another type", "of another layout", "gone"])
def test_what_is_unlike_the_segment_before_it_is_not_taken_for_one(tmp_path, change):
    loader = DataLoader(write_dataset(tmp_path / "damaged", {"match_07": [0, 1, 1]}), batch_size=1)
    batches = loader.batches("valid")
    for number in (0, 1):  # from the second on they are read straight into the batch
        assert batches[number][1]["highlight"].ravel().tolist() == [number]
    path = loader.segment_files["valid"][2].path
    written = path.read_bytes()
    assert b"u1" in written
    if change == "gone":
        path.unlink()
    else:
        path.write_bytes(
            {
                "longer": written + b"more",
                "shorter": written[:-1],
                "of another type": written.replace(b"u1", b"O8"),
                "of another layout": written.replace(b"video", b"vodei"),
            }[change]
        )
    with pytest.raises(segments.DatasetError, match=r"seg_00002_1\.pkl"):
        batches[2]


def test_memory_of_batches_that_were_held_is_given_back(tmp_path):
    folder = write_dataset(tmp_path / "many", {"match_00": [0] * 100})
    batches = DataLoader(folder, batch_size=1).batches("train")
    held = [batches[number] for number in range(50)]
    del held
    assert len(batches.unused_memory) < 10


def test_sound_of_another_number_type_is_converted(tmp_path):
    folder = write_dataset(tmp_path / "double", {"match_07": [0, 1]})
    path = folder / "match_07" / "seg_00001_1.pkl"
    segment = pickle.loads(path.read_bytes()) | {"audio": np.array([0.5, -0.5])}
    path.write_bytes(pickle.dumps(segment, protocol=pickle.HIGHEST_PROTOCOL))
    batches = DataLoader(folder, batch_size=1).batches("valid")
    assert [batches[number][0]["audio"].ravel().tolist() for number in (0, 1)] == [[0, 0], [0.5, -0.5]]


ONE_FRAME = segments.DataConfig(1, 1, 1, 1, 2, False)


def write_dataset(folder, labels_of, first_version=False, sections_of=None, config=ONE_FRAME):
    """A dataset of grey frames and silence with the labels given for each title."""
    frames = np.full(config.data_shape["video"], 51, np.uint8)
    audio = np.zeros(config.data_shape["audio"], np.float32)
    folder.mkdir()
    for title, labels in labels_of.items():
        (folder / title).mkdir()
        for index, label in enumerate(labels):
            if first_version:
                segment = {
                    "video": (frames / 255).astype(np.float16),
                    "audio": audio.astype(np.float16),
                    "label": label,
                }
                segment |= {"start_sec": np.float64(index), "end_sec": np.float64(index + 1), "total_duration": 9.5}
                (folder / title / f"seg_{index:05d}_{label}.pkl").write_bytes(pickle.dumps(segment, protocol=4))
            else:
                segments.write_segment(folder / title, index, label, frames, audio, config, float(len(labels)))
    metadata = {"created": "2020-08-25 16:36:56", "config": vars(config), "data_shape": config.data_shape}
    metadata["total_segment_count"] = sum(map(len, labels_of.values()))
    metadata["segment_counts"] = {title: len(labels) for title, labels in labels_of.items()}
    if first_version:
        (folder / "metadata.json").write_text(json.dumps(metadata))
    else:
        videos = [
            {"title": title, "segment_count": len(labels)} | ({"sections": sections_of[title]} if sections_of else {})
            for title, labels in labels_of.items()
        ]
        segments.write_metadata(folder, config, videos, missing=[], created="2026-11-24")
    return folder


def test_datasets_of_the_first_version_load(tmp_path):
    loader = DataLoader(write_dataset(tmp_path / "old", {"match_00": [0, 1], "match_07": [1]}, first_version=True))
    inputs, targets, weights = loader.batches("valid")[0]
    assert inputs["video"].dtype == np.uint8
    assert inputs["video"][0, 0].ravel().tolist() == [51, 51, 51]
    assert inputs["audio"].dtype == np.float32
    assert (targets["highlight"][0, 0].tolist(), targets["steps"][0, 0].tolist()) == ([1], [1, 1])
    assert weights.tolist()[0][1:] == [0] * 7
    assert loader.num_segments == {"train": 2, "valid": 1, "test": 0}


def test_matches_hold_what_the_dataset_says_of_them(dataset_dir):
    matches = DataLoader(dataset_dir).matches("test")
    assert [match.title for match in matches] == TITLES["test"]
    for match, duration_sec, sections_sec in zip(matches, (35 / 3, 8), ([[7.9, 9.2]], np.empty((0, 2))), strict=True):
        assert (match.segment_length, match.duration_sec) == (1, pytest.approx(duration_sec))
        assert match.labels.tolist() == LABELS[match.title]
        np.testing.assert_allclose(match.sections_sec, sections_sec)


def test_sections_that_a_dataset_does_not_say_are_runs_of_labels(tmp_path):
    labels_of = {"match_00": [1, 0, 1, 1], "match_01": [0, 0]}
    first, second = DataLoader(write_dataset(tmp_path / "old", labels_of, first_version=True)).matches("train")
    assert (first.duration_sec, first.sections_sec.tolist()) == (4, [[0, 1], [2, 4]])
    assert (second.duration_sec, second.sections_sec.shape) == (2, (0, 2))


@pytest.mark.parametrize(
    "record",
    [
        {"sections": [[0.5, 0.4]]},
        {"sections": [[0, 1], [0.5, 2]]},
        {"sections": [[1, 2.5]]},
        {"sections": [0, 1]},
        {"sections": "all"},
        {"sections": [[0, float("nan")]]},
        {"sections": []},
        {"duration": 9},
        {"duration": None},
        {"duration": float("inf")},
    ],
)
def test_damaged_sections_are_named(tmp_path, record):
    folder = write_dataset(tmp_path / "damaged", {"match_00": [0, 1]})
    metadata = json.loads((folder / "metadata.json").read_text())
    metadata["videos"][0] |= {"duration": 2.0, "sections": [[1, 2]]} | record
    (folder / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(segments.DatasetError, match=r"metadata\.json: received a duration or sections of match_00"):
        DataLoader(folder).matches("train")


def test_adding_videos_moves_none(tmp_path):
    titles = [f"match_{number:02d}" for number in range(12)]
    few = DataLoader(write_dataset(tmp_path / "few", {title: [0] for title in titles[:6]}))
    many = DataLoader(write_dataset(tmp_path / "many", {title: [0] for title in reversed(titles)}))
    for subset in SUBSETS:
        of_few = {file.title for file in few.segment_files[subset]}
        assert of_few == {file.title for file in many.segment_files[subset]} & set(titles[:6])


@pytest.mark.parametrize(
    ("labels_of", "message"),
    [
        (
            {"match_00": [0, 1], "match_07": [0, 1]},
            r"both classes in train and valid and test, but test lacks one \(train: 1 videos, 2 segments, "
            r"1 highlights; valid: 1 videos.*; test: 0 videos, 0 segments.*add videos .*\(--split",
        ),
        ({"match_00": [0, 0], "match_07": [1, 1], "match_08": [0, 1]}, r"but train and valid lack one"),
    ],
)
def test_a_subset_without_both_classes_is_named(tmp_path, labels_of, message):
    loader = DataLoader(write_dataset(tmp_path / "few", labels_of))
    with pytest.raises(segments.DatasetError, match=message):
        loader.require_both_classes(*SUBSETS)


def test_missing_segments_are_named(tmp_path):
    folder = write_dataset(tmp_path / "damaged", {"match_00": [0, 1, 0]})
    (folder / "match_00" / "seg_00001_1.pkl").unlink()
    with pytest.raises(
        segments.DatasetError, match=r"match_00: received 2 segment files, expected 3 as metadata\.json"
    ):
        DataLoader(folder)


def test_a_file_name_of_endless_digits_is_no_segment(tmp_path):
    folder = write_dataset(tmp_path / "damaged", {"match_00": [0, 1, 0]})
    (folder / "match_00" / f"seg_{'0' * 200}_1.pkl").write_bytes(b"")
    assert DataLoader(folder).num_segments["train"] == 3


def test_arrays_of_another_shape_are_named(tmp_path):
    folder = write_dataset(tmp_path / "damaged", {"match_00": [0]})
    config = segments.DataConfig(1, 1, 2, 2, 2, False)
    frames, audio = np.zeros((1, 2, 2, 3), np.uint8), np.zeros(2, np.float32)
    segments.write_segment(folder / "match_00", 0, 0, frames, audio, config, 1.0)
    with pytest.raises(segments.DatasetError, match=r"seg_00000_0\.pkl: received arrays of shapes .*\(1, 2, 2, 3\)"):
        DataLoader(folder).batches("train")[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size: received 0, expected 1 or more"),
        ({"train_ratio": 0.9, "valid_ratio": 0.2}, r"train_ratio, valid_ratio: received 0\.9, 0\.2, expected shares"),
        ({"train_ratio": -0.1}, "train_ratio, valid_ratio: received"),
    ],
)
def test_wrong_parameters_are_named(dataset_dir, arguments, message):
    with pytest.raises(ValueError, match=message):
        DataLoader(dataset_dir, **arguments)
