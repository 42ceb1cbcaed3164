"""Many segments read by one reader: what it learns of one, when that holds for others, reading into arrays."""

import os
import pickle

import numpy as np
import pytest
from test_safe_pickle import ARRAYS, text

from videosummarizer.dataset import array_reader
from videosummarizer.dataset.array_reader import ArrayReader
from videosummarizer.dataset.safe_pickle import DamagedError, ForbiddenError


def test_arrays_are_the_same_whether_a_like_segment_was_read_before_or_not():
    reader, rng = ArrayReader(), np.random.default_rng(0)
    shapes = [((2, 2, 2, 3), (6,)), ((2, 2, 2, 3), (2, 3)), ((1, 4, 2, 3), (6,)), ((2, 2, 2, 3), (6,))]
    for index, (video_shape, audio_shape) in enumerate(shapes * 2):
        segment = {
            "title": "a",
            "index": index,
            "start_sec": index * 0.7,
            "video": rng.integers(0, 256, video_shape, np.uint8),
            "audio": rng.standard_normal(audio_shape).astype(np.float32),
        }
        for protocol in (4, 5):
            for read, name in zip(reader.load(pickle.dumps(segment, protocol), "a"), ("video", "audio"), strict=True):
                np.testing.assert_array_equal(read, segment[name])
    good = pickle.dumps(segment, 5)
    with pytest.raises(ForbiddenError, match=r"it names numpy\._core\.numeric\._Frombuffer"):
        reader.load(good.replace(b"_frombuffer", b"_Frombuffer"), "a")
    with pytest.raises(ForbiddenError, match="no dict with the arrays"):
        reader.load(good.replace(b"audio", b"Audio"), "a")


def dtype_of(code):
    return text("numpy") + text("dtype") + b"\x93" + text(code) + b"\x89\x88\x87R"


def array_of(code, buffer, shape):
    content = text("numpy._core.numeric") + text("_frombuffer") + b"\x93(C" + bytes([len(buffer)]) + buffer
    return content + dtype_of(code) + shape + text("C") + b"tR"


def number(length):
    return b"K" + bytes([length])


def numpy_number(length):
    content = text("numpy._core.multiarray") + text("scalar") + b"\x93(" + dtype_of("i8")
    return content + b"C\x08" + length.to_bytes(8, "little") + b"tR"


# An item of the dict, and an array's shape that refers to it.
SHAPES_ELSEWHERE = {
    "tuple since a mark": (lambda a, b: b"(" + number(a) + number(b) + b"t\x94", lambda a, b: b"h\x00"),
    "tuple of two": (lambda a, b: number(a) + number(b) + b"\x86\x94", lambda a, b: b"h\x00"),
    "number kept": (lambda a, b: number(a) + b"\x94", lambda a, b: b"h\x00" + b"K" + bytes([b]) + b"\x86"),
    "number put": (lambda a, b: number(a) + b"q\x00", lambda a, b: b"h\x00" + b"K" + bytes([b]) + b"\x86"),
    "number of NumPy": (
        lambda a, b: numpy_number(a) + b"q\x00" + text("b") + numpy_number(b) + b"q\x01",
        lambda a, b: b"h\x00h\x01\x86",
    ),
    "both numbers kept": (
        lambda a, b: number(a) + b"\x94" + text("b") + number(b) + b"\x94",
        lambda a, b: b"h\x00h\x01\x86",
    ),
    "both numbers put": (
        lambda a, b: number(a) + b"q\x00" + text("b") + number(b) + b"r\1\0\0\0",
        lambda a, b: b"h\x00h\x01\x86",
    ),
}


@pytest.mark.parametrize("item_by_item", [True, False])
@pytest.mark.parametrize("name", SHAPES_ELSEWHERE)
def test_a_shape_that_is_kept_elsewhere_in_the_dict_is_each_segments_own(name, item_by_item):
    item, shape = SHAPES_ELSEWHERE[name]

    def segment(a, b):
        items = [text("shape") + item(a, b), text("video") + array_of("u1", bytes(a * b), shape(a, b))]
        items.append(text("audio") + array_of("f4", bytes(16), number(4) + b"\x85"))
        is_one = item_by_item and b"h\x01" not in shape(a, b)
        items = b"s".join(items) + b"s" if is_one else b"(" + b"".join(items) + b"u"
        return b"\x80\x05}" + items + b"."

    reader = ArrayReader()
    for a, b in ((4, 6), (6, 4), (3, 8), (4, 0), (6, 0), (0, 6), (0, 4)):  # the last four differ in one length alone
        assert reader.load(segment(a, b), "a")[0].shape == (a, b)


def test_what_is_known_of_many_matches_is_bounded(monkeypatch):
    monkeypatch.setattr(array_reader, "MAX_LAYOUTS", 5)
    reader = ArrayReader()
    for number in range(20):
        reader.load(pickle.dumps(ARRAYS), f"match_{number}")
        assert len(reader.layouts) <= 5
        assert len(reader.last_layouts) <= 5
    reader.load(pickle.dumps({**ARRAYS, "title": "a" * 5000}), "long")
    assert "long" not in reader.last_layouts


@pytest.fixture
def num_looked_at(monkeypatch):
    """How many segments have been read in full."""
    looked_at = []
    original = array_reader.find_layout
    monkeypatch.setattr(array_reader, "find_layout", lambda content: looked_at.append(1) or original(content))
    return lambda: len(looked_at)


@pytest.mark.parametrize(
    ("values", "num_full"),
    [
        ([1, 2, 255], 1),
        ([1, 256], 2),  # takes more bytes
        ([256, 65535], 1),
        ([70000, -5], 1),
        ([0.1, -0.7], 1),
        ([2**40, 2**41], 2),  # of any length, which the pickle states
        ([b"8 bytes.", b"8.bytes."], 2),  # may be a number of NumPy
        ([b"9  bytes.", b"9..bytes."], 1),
        (["text a", "text b"], 2),
        ([True, False], 2),
        ([None, True], 2),
        ([[1], [2]], 2),
        ([np.zeros(3), np.ones(3)], 1),
        ([np.zeros((2, 3)), np.zeros((3, 2))], 2),
    ],
)
def test_like_segments_need_no_second_look(num_looked_at, values, num_full):
    reader, rng = ArrayReader(), np.random.default_rng(0)
    for value in values:
        segment = {"before": value, "video": rng.integers(0, 256, (2, 3, 4, 3), np.uint8)}
        segment |= {"audio": rng.random(5).astype(np.float32), "after": value}
        video, audio = reader.load(pickle.dumps(segment), "title")
        np.testing.assert_array_equal(video, segment["video"])
        np.testing.assert_array_equal(audio, segment["audio"])
        assert not video.flags.writeable
        assert not audio.flags.writeable
    assert num_looked_at() == num_full
    reader.load(pickle.dumps(segment), "another title")
    assert num_looked_at() == num_full + 1


def outcome(reader, content):
    """The arrays that a reader makes of a segment, or the error that it raises."""
    try:
        return [(array.shape, array.dtype, array.tobytes()) for array in reader.load(content, "title")]
    except (ForbiddenError, DamagedError) as error:
        return type(error)


@pytest.mark.parametrize("change", [0x01, 0x08, 0x40, 0xFF])
def test_a_reader_makes_the_same_of_a_segment_whatever_it_read_before(change):
    segment = {"a": 1, "b": 300, "c": -70_000, "d": 0.5, "e": 2**40, "f": b"8 bytes.", "g": b"9  bytes.", "h": True}
    segment |= {"video": np.arange(72, dtype=np.uint8).reshape(2, 3, 4, 3), "i": 2, "j": np.float64(0.25)}
    segment |= {"audio": np.arange(1, 6, dtype=np.float32), "k": 3, "l": "text", "m": 4}
    content = pickle.dumps(segment, 5)
    assert len(content) < 1000
    num_same = 0
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= change
        reader = ArrayReader()
        reader.load(content, "title")
        expected = outcome(ArrayReader(), bytes(changed))
        assert outcome(reader, bytes(changed)) == expected, place
        num_same += isinstance(expected, list)
    assert num_same > 100  # values may change, as in another segment of the match


def test_a_longer_or_shorter_segment_is_looked_at_again():
    content, reader = pickle.dumps(ARRAYS), ArrayReader()
    reader.load(content, "title")
    for other in (content + b"x", content + content, content[:-1], content + bytes(8)):
        assert outcome(reader, other) == outcome(ArrayReader(), other)
        assert outcome(reader, other) in (ForbiddenError, DamagedError)


def test_what_is_known_of_a_thousand_segments_is_kept(num_looked_at):
    reader, content = ArrayReader(), pickle.dumps(ARRAYS)
    for number in range(1000):
        reader.load(content, str(number))
    for number in (0, 999):
        reader.load(content, str(number))
    assert (num_looked_at(), len(reader.layouts), len(reader.last_layouts)) == (1000, 1000, 1000)
    reader.load(content, "1000")
    assert (list(reader.layouts), list(reader.last_layouts)) == ([("1000", len(content))], ["1000"])


def test_what_is_known_of_a_segment_takes_4096_bytes_at_most():
    def content(num_bytes):
        return pickle.dumps(ARRAYS | {"title": "a" * num_bytes})

    num_others = len(array_reader.find_layout(content(300)).structure_bytes) - 300
    reader = ArrayReader()
    for num_bytes, is_kept in ((4097, False), (4096, True)):
        reader.load(content(num_bytes - num_others), "title")
        assert ("title" in reader.last_layouts) == is_kept
        assert len(reader.layouts) == is_kept


def test_empty_arrays_are_read():
    reader, segment = ArrayReader(), {"video": np.zeros((0, 4, 4, 3), np.uint8), "audio": np.zeros(0, np.float32)}
    for _ in range(2):
        video, audio = reader.load(pickle.dumps(segment), "title")
        assert (video.shape, video.dtype, audio.shape, audio.dtype) == ((0, 4, 4, 3), np.uint8, (0,), np.float32)


def numbered(number, /, **changes):
    """A segment with a number of one byte, a float and a text before, between and after the arrays."""
    rng = np.random.default_rng(number)
    segment = {"first": number, "start": number / 7, "video": rng.integers(0, 256, (2, 3, 4, 3), np.uint8), "second": 3}
    segment |= {"audio": rng.random(5).astype(np.float32), "third": number, "fourth": number / 3}
    return {changes.get(name, name): value for name, value in segment.items()}


def read_straight(reader, path, content, title="title", video_shape=(2, 3, 4, 3), audio_shape=(5,)):
    """Whether a file with that content is read straight into arrays, and these."""
    path.write_bytes(content)
    video, audio = np.zeros(video_shape, np.uint8), np.zeros(audio_shape, np.float32)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return reader.read_into(descriptor, title, video, audio), video, audio
    finally:
        os.close(descriptor)


def test_a_segment_like_the_last_is_read_straight_into_arrays(tmp_path):
    reader, path = ArrayReader(), tmp_path / "segment.pkl"
    assert not read_straight(reader, path, pickle.dumps(numbered(1)))[0]
    reader.load(pickle.dumps(numbered(1)), "title")
    for number in (1, 2, 250):
        segment = numbered(number)
        was_read, video, audio = read_straight(reader, path, pickle.dumps(segment))
        assert was_read is True
        np.testing.assert_array_equal(video, segment["video"])
        np.testing.assert_array_equal(audio, segment["audio"])


@pytest.mark.parametrize(
    "changes",
    [
        {"first": "firsd"},
        {"start": "stard"},
        {"video": "vidio"},
        {"second": "sekond"},
        {"audio": "audia"},
        {"third": "thirt"},
        {"fourth": "fourty"},
    ],
)
def test_a_segment_with_another_name_in_it_is_not_read_straight(tmp_path, changes):
    reader = ArrayReader()
    reader.load(pickle.dumps(numbered(1)), "title")
    assert not read_straight(reader, tmp_path / "segment.pkl", pickle.dumps(numbered(2, **changes)))[0]


def test_what_is_unlike_the_last_is_not_read_straight(tmp_path):
    reader, path, content = ArrayReader(), tmp_path / "segment.pkl", pickle.dumps(numbered(1))
    reader.load(content, "title")
    assert read_straight(reader, path, content)[0]
    assert not read_straight(reader, path, content, title="another title")[0]
    assert not read_straight(reader, path, content + b"x")[0]
    assert not read_straight(reader, path, content + content)[0]
    assert not read_straight(reader, path, content[:-1])[0]
    assert not read_straight(reader, path, b"")[0]
    assert not read_straight(reader, path, content, video_shape=(2, 4, 3, 3))[0]
    assert not read_straight(reader, path, content, audio_shape=(5, 1))[0]
    assert read_straight(reader, path, content)[0]
    reader.load(pickle.dumps(ARRAYS), "title")
    assert not read_straight(reader, path, content)[0]
    assert read_straight(reader, path, pickle.dumps(ARRAYS), video_shape=(2, 2, 2, 3), audio_shape=(4,))[0]


VIDEO, AUDIO = np.arange(72, dtype=np.uint8).reshape(2, 3, 4, 3), np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.mark.parametrize(
    "segment",
    [
        {"audio": AUDIO, "video": VIDEO},  # in another order
        {"video": VIDEO.astype(np.float16), "audio": AUDIO},
        {"video": VIDEO.astype(np.int8), "audio": AUDIO},
        {"video": VIDEO, "audio": AUDIO.astype(np.float64)},
        {"video": VIDEO, "audio": AUDIO.astype(">f4")},
        {"video": VIDEO, "audio": AUDIO.astype(np.int32)},
        {"video": np.asfortranarray(VIDEO), "audio": AUDIO},
        {"video": VIDEO, "audio": np.asfortranarray(AUDIO)},
    ],
)
def test_arrays_that_lie_otherwise_are_read_in_full_alone(tmp_path, segment):
    reader, content = ArrayReader(), pickle.dumps(segment)
    for found, name in zip(reader.load(content, "title"), ("video", "audio"), strict=True):
        np.testing.assert_array_equal(found, segment[name])
    assert not read_straight(reader, tmp_path / "segment.pkl", content, audio_shape=(2, 3))[0]
    assert array_reader.find_layout(content).without_arrays is None
