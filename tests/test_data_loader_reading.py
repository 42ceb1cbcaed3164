"""How segments are read: on request, prefetched in threads, and into buffers that are reused."""

import contextlib
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import TITLES
from test_data_loader import write_dataset

from data_loader import DataLoader
from videosummarizer import prefetching
from videosummarizer.dataset import storage
from videosummarizer.dataset.metadata import DataConfig, DatasetError
from videosummarizer.dataset.storage import read_arrays
from videosummarizer.prefetching import prefetch

DEADLINE_SEC = 60
FEW_PIXELS = DataConfig(1, 1, 2, 2, 4, False)  # enough for segments to be read straight into a batch


def test_a_match_is_read_in_order(dataset_dir):
    loader = DataLoader(dataset_dir)
    files = loader.files_by_match("test")[1]
    assert [file.title for file in files] == [TITLES["test"][1]] * 8
    arrays = list(loader.read_match(files))
    assert len(arrays) == 8
    for file, (video, audio) in zip(files, arrays, strict=True):
        segment = pickle.loads(file.path.read_bytes())
        np.testing.assert_array_equal(video, segment["video"])
        np.testing.assert_array_equal(audio, segment["audio"])


def test_a_pickle_is_read_only_when_its_batch_is_asked_for(dataset_dir, monkeypatch):
    read = []
    original = storage.read_into
    monkeypatch.setattr(storage, "read_into", lambda file, *to: read.append(file.name) or original(file, *to))
    loader = DataLoader(dataset_dir, batch_size=4)
    batches = loader.batches("test")
    loader.labels("test")
    assert read == []
    batches[2]
    assert read == ["seg_00008_1.pkl", "seg_00009_0.pkl", "seg_00010_0.pkl", "seg_00011_0.pkl"]


@pytest.mark.parametrize("change", ["longer", "shorter", "of another type", "of another layout", "gone"])
def test_what_is_unlike_the_segment_before_it_is_not_taken_for_one(tmp_path, change):
    folder = write_dataset(tmp_path / "damaged", {"match_07": [0, 1, 1]}, config=FEW_PIXELS)
    loader = DataLoader(folder, batch_size=1)
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
    with pytest.raises(DatasetError, match=r"seg_00002_1\.pkl"):
        batches[2]


def test_sound_of_another_number_type_is_converted(tmp_path):
    folder = write_dataset(tmp_path / "double", {"match_07": [0, 1]})
    path = folder / "match_07" / "seg_00001_1.pkl"
    segment = pickle.loads(path.read_bytes()) | {"audio": np.array([0.5, -0.5])}
    path.write_bytes(pickle.dumps(segment, protocol=pickle.HIGHEST_PROTOCOL))
    batches = DataLoader(folder, batch_size=1).batches("valid")
    assert [batches[number][0]["audio"].ravel().tolist() for number in (0, 1)] == [[0, 0], [0.5, -0.5]]


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


def test_the_memory_of_batches_is_reused(dataset_dir):
    batches = DataLoader(dataset_dir, batch_size=2).batches("test")
    places = {batches[number][0]["video"].ctypes.data for number in [*range(10)] * 3}
    assert len(places) == 1


def test_memory_of_batches_returns_to_the_pool(tmp_path):
    folder = write_dataset(tmp_path / "many", {"match_00": [0] * 100})
    batches = DataLoader(folder, batch_size=1).batches("train")
    held = [batches[number] for number in range(50)]
    del held
    assert len(batches.buffer_pool) == 4  # two batches ahead, and one in each of two threads


def test_a_short_batch_leaves_memory_that_a_whole_one_fits_into(tmp_path):
    labels_of = {"match_07": [0] * 5, "match_09": [1] * 8, "match_20": [0]}
    folder = write_dataset(tmp_path / "numbered", labels_of, are_numbered=True)
    batches = DataLoader(folder, batch_size=16).batches("valid")
    assert [batches[number][2].shape for number in (1, 0, 1, 0)] == [(1, 8), (2, 8), (1, 8), (2, 8)]
    assert len(batches.buffer_pool) == 1
    inputs = batches[0][0]
    expected = [[0, 1, 2, 3, 4, 4, 3, 2], [0, 1, 2, 3, 4, 5, 6, 7]]
    assert inputs["audio"][:, :, 1].tolist() == inputs["video"][:, :, 0, 0, 0, 1].tolist() == expected
    assert inputs["audio"][:, :, 0].tolist() == inputs["video"][:, :, 0, 0, 0, 0].tolist() == [[0] * 8, [1] * 8]


def test_prefetched_items_come_in_order_though_a_later_one_is_read_first():
    was_second_read = threading.Event()

    def read(item):
        if item == 0:
            assert was_second_read.wait(DEADLINE_SEC)
        if item == 1:
            was_second_read.set()
        return 10 * item

    assert list(prefetch(read, range(7), 3)) == [0, 10, 20, 30, 40, 50, 60]


def test_no_more_items_are_prefetched_than_asked_for():
    taken = []
    items = (taken.append(item) or item for item in range(9))
    ahead = prefetch(str, items, 3)
    assert taken == []
    num_taken = [(next(ahead), len(taken)) for _ in range(9)]
    assert num_taken == list(zip("012345678", [4, 5, 6, 7, 8, 9, 9, 9, 9], strict=True))


def test_fewer_items_than_are_prefetched():
    assert list(prefetch(str, [], 3)) == []
    assert list(prefetch(str, [1, 2], 3)) == ["1", "2"]
    assert list(prefetch(str, [1, 2, 3], 0)) == ["1", "2", "3"]


def test_two_threads_read_at_once():
    both, threads = threading.Barrier(2), set()

    def read(item):
        threads.add(threading.get_ident())
        both.wait(DEADLINE_SEC)

    list(prefetch(read, range(8), 8))
    assert len(threads) == 2
    assert threading.get_ident() not in threads


def test_an_error_of_a_thread_is_raised_where_its_item_comes():
    def read(item):
        if item == 2:
            raise DatasetError("the third is damaged")
        return item

    ahead = prefetch(read, range(9), 4)
    assert [next(ahead), next(ahead)] == [0, 1]
    with pytest.raises(DatasetError, match="the third is damaged"):
        next(ahead)
    assert list(ahead) == []


@pytest.mark.parametrize("ends_by", ["closing", "an error"])
def test_items_that_nobody_waits_for_are_not_read(monkeypatch, ends_by):
    ends, read_items = threading.Event(), []

    class Pool(ThreadPoolExecutor):
        """Lets the threads continue once the pool is shut down."""

        def shutdown(self, wait=True, **arguments):
            super().shutdown(wait=False, **arguments)
            ends.set()
            super().shutdown(wait=wait)

    def read(item):
        read_items.append(item)
        if item == 0:
            if ends_by == "an error":
                raise DatasetError("damaged")
            return item
        assert ends.wait(DEADLINE_SEC)

    monkeypatch.setattr(prefetching, "ThreadPoolExecutor", Pool)
    ahead = prefetch(read, range(20), 10)
    with contextlib.suppress(DatasetError):
        next(ahead)
    ahead.close()
    assert set(read_items) <= {0, 1, 2}  # the first, and those that two threads had begun


def test_sixteen_segments_of_a_match_and_two_batches_are_prefetched(dataset_dir, monkeypatch):
    num_ahead = []
    original = prefetching.prefetch
    monkeypatch.setattr(prefetching, "prefetch", lambda *args: num_ahead.append(args[2]) or original(*args))
    loader = DataLoader(dataset_dir, batch_size=4)
    files = loader.files_by_match("test")[0]
    assert len(list(loader.read_match(files))) == len(files) == 12
    batches = loader.batches("train")
    assert [len(list(batches)), len(list(batches.augmented()))] == [len(batches)] * 2
    assert num_ahead == [16, 2, 2]


def test_batches_of_all_ways_of_reading_are_the_same(dataset_dir):
    batches = DataLoader(dataset_dir, batch_size=4).batches("train")
    batches.start_epoch(3)
    shift_steps = batches.shift_steps
    assert shift_steps.any()
    for number, (batch, shifted) in enumerate(zip(batches, batches.augmented(), strict=True)):
        for whole, alone in ((batch, batches[number]), (shifted, batches.shift(number))):
            np.testing.assert_array_equal(whole[0]["audio"], alone[0]["audio"])
            np.testing.assert_array_equal(whole[1]["steps"], alone[1]["steps"])
            np.testing.assert_array_equal(whole[2], alone[2])
        assert np.array_equal(batch[0]["audio"], shifted[0]["audio"]) == (shift_steps[number] == 0)


@pytest.mark.parametrize("number", [-1, -11, 10, 11])
def test_there_is_no_batch_before_the_first_or_after_the_last(dataset_dir, number):
    batches = DataLoader(dataset_dir, batch_size=2).batches("test")
    assert len(batches) == 10
    with pytest.raises(IndexError, match=rf"batch {number}: expected 0 to 9"):
        batches[number]


def test_pixels_of_the_first_version_are_rounded(tmp_path):
    config = DataConfig(1, 1, 16, 16, 4, False)
    folder = write_dataset(tmp_path / "old", {"match_07": [0]}, first_version=True, config=config)
    path = folder / "match_07" / "seg_00000_0.pkl"
    pixels = np.arange(3 * 256, dtype=np.uint16).reshape(1, 16, 16, 3) % 256
    audio = np.array([-1, 0.25, 0, 1], np.float16)
    path.write_bytes(pickle.dumps({"video": (pixels / 255).astype(np.float16), "audio": audio}, protocol=4))
    loader = DataLoader(folder)
    inputs, _, _ = loader.batches("valid")[0]
    np.testing.assert_array_equal(inputs["video"][0, 0], pixels)
    np.testing.assert_array_equal(inputs["audio"][0, 0], [-1, 0.25, 0, 1])
    (video, _), *_ = loader.read_match(loader.segment_files["valid"])
    np.testing.assert_array_equal(video, pixels)
    assert video.dtype == np.uint8


@pytest.mark.parametrize("change", ["video", "audio"])
def test_a_segment_of_another_shape_is_named_however_many_were_read_before(tmp_path, change):
    loader = DataLoader(write_dataset(tmp_path / "other", {"match_07": [0, 0, 0]}, config=FEW_PIXELS), batch_size=1)
    batches = loader.batches("valid")
    assert [batches[number][2].shape for number in (0, 1)] == [(1, 1)] * 2
    arrays = {"video": np.zeros((1, 2, 2, 3), np.uint8), "audio": np.zeros(4, np.float32)}
    arrays[change] = np.zeros((2, 2, 1, 3) if change == "video" else (2, 2), arrays[change].dtype)
    segment = pickle.dumps(arrays, protocol=pickle.HIGHEST_PROTOCOL)
    loader.segment_files["valid"][2].path.write_bytes(segment)
    message = (
        r"other.match_07.seg_00002_0\.pkl: received arrays of shapes .* expected .*'audio': \(4,\).*convert its video"
    )
    with pytest.raises(DatasetError, match=message):
        batches[2]
    with pytest.raises(DatasetError, match=message):
        read_arrays(loader.segment_files["valid"][2], loader.data_shape)


def test_arrays_of_a_segment_cannot_be_written_to(dataset_dir):
    loader = DataLoader(dataset_dir)
    for array in read_arrays(loader.segment_files["valid"][0], loader.data_shape):
        assert not array.flags.writeable


def test_segments_after_the_first_of_a_match_are_read_straight_into_their_batch(dataset_dir, monkeypatch):
    read_in_full = []
    original = storage.read_arrays
    monkeypatch.setattr(storage, "read_arrays", lambda file, shape: read_in_full.append(file) or original(file, shape))
    batches = DataLoader(dataset_dir, batch_size=4).batches("test")
    for number in range(len(batches)):
        batches[number]
    assert [(file.title, file.index) for file in read_in_full] == [(title, 0) for title in TITLES["test"]]
