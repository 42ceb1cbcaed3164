"""Label files line by line, sections on a video's clock, and the labels of segments, at their limits."""

import numpy as np
import pytest
from label_cases import ACCEPTED, REFUSED

from videosummarizer.labels import LabelError, LabelRow, parse_label_line, read_label_file, resolve_sections
from videosummarizer.sections import label_segments, merge_sections

FRAME_TIMES_SEC = np.arange(300) / 30  # ten seconds at 30 fps


def read(tmp_path, text, errors=None):
    path = tmp_path / "match.txt"
    path.write_text(text)
    return read_label_file(path, errors)


def resolve(rows, errors=None, frame_times_sec=FRAME_TIMES_SEC, duration_sec=10.0):
    sections, warnings = resolve_sections("a/match.txt", rows, frame_times_sec, duration_sec, errors)
    return sections.tolist(), warnings


def frames(start, end, line=1, times_sec=None):
    return LabelRow(line, (start, end), times_sec)


def times(start, end, line=1):
    return LabelRow(line, None, (start, end))


def test_rows_hold_what_the_lines_say_under_the_numbers_that_an_editor_shows(tmp_path):
    text = "\n30,60,00:00:02,00:00:01\n\n 7 , 9\n1:05,70.5\n2.0,00:03\n"
    assert read(tmp_path, text) == [
        LabelRow(2, (30, 60), (2.0, 1.0)),  # the order of times is not looked at where frames are given
        LabelRow(4, (7, 9), None),
        LabelRow(5, None, (65.0, 70.5)),
        LabelRow(6, None, (2.0, 3.0)),
    ]


def test_all_errors_of_a_file_are_reported_and_the_other_lines_kept(tmp_path):
    errors = []
    rows = read(tmp_path, "1,2\nx,y\nstart,end\n5,4\n3,4,1\n6,8\n", errors)
    assert rows == [LabelRow(1, (1, 2), None), LabelRow(6, (6, 8), None)]
    path = tmp_path / "match.txt"
    assert [str(error)[: len(str(path)) + 8] for error in errors] == [f"{path}, line {line}" for line in (2, 3, 4, 5)]
    with pytest.raises(LabelError, match=r"match\.txt, line 2: received 'x' as start frame number"):
        read(tmp_path, "1,2\nx,y\nstart,end\n5,4\n")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("start,end", "received a header or text ('start,end')"),
        ("Anfang,Ende,von,bis", "received a header or text"),
        ("시작,종료", "received a header or text"),
        ("시작 시간,끝", "received a header or text ('시작 시간,끝')"),
        ("시,끝", "received a header or text"),
        ("시작;끝", "received a header or text"),
        (
            "00:00:16:10,00:00:19:05",
            "received the timecode '00:00:16:10', whose last number counts frames, expected HH:MM:SS[.fff]: leave the "
            "frames out, or write them as a fraction of a second (10 frames of 30 per second are .333)",
        ),
        ("589,694,00:00:16,00:00:19;05", "received the timecode '00:00:19;05', whose last number counts frames"),
        (
            '"589","694"',
            'received quotes (\'"589","694"\'), expected numbers or times without them: delete the quotes',
        ),
        ("589,'694'", "received quotes ("),
        (
            "589;694;00:00:16;00:00:19",
            "received columns separated by semicolons ('589;694;00:00:16;00:00:19'), expected commas, and points in "
            "numbers: replace them",
        ),
        ("16,5;19,5", "received columns separated by semicolons ('16,5;19,5'), expected commas, and points in numbers"),
        ("589\t694", "received columns separated by tabs ("),
        ("589 694", "received columns separated by spaces ('589 694')"),
        (
            "589,694,,",
            "received an empty column ('589,694,,'), expected two frame numbers, two times, or all four: fill it in, "
            "or leave two out",
        ),
        ("589,694,00:00:16,", "received an empty column"),
        (",,00:00:16,00:00:19", "received an empty column"),
        (
            "589,694,00:00:16,00:00:19,펜타킬",
            "received 5 columns ('589,694,00:00:16,00:00:19,펜타킬'), expected 4 or 2: delete the further ones, such "
            "as notes",
        ),
        ("0:16,0:19,펜타킬", "received 3 columns ('0:16,0:19,펜타킬'), expected 4 or 2: delete the further ones"),
        (
            "589.0,694.0,00:00:16,00:00:19",
            "received frame numbers with .0 ('589.0,694.0,00:00:16,00:00:19'), expected whole numbers: write 589, "
            "without .0",
        ),
        ("just text", "received a header or text"),
        ("s,e", "received 's' as start frame number"),  # one letter may be a slip of the finger
        ("start,60", "received 'start' as start frame number"),
        ("30,end", "received 'end' as end frame number"),
        ("1_2,x3", "received '1_2' as start frame number"),
        ("1.0,x.5", "received 'x.5' as end time, expected HH:MM:SS[.fff], MM:SS or seconds"),
        ("x.5,2.0", "received 'x.5' as start time"),
        ("1.0,x", "received 'x' as end time"),
        ("-3,1.0", "received '-3' as start time"),
        ("16,0:20", "received one time and one whole number ('16,0:20')"),
        ("16.0,20", "received one time and one whole number ('16.0,20')"),
        ("0:20,16", "received one time and one whole number"),
        ("30,60,1.0,x", "received 'x' as end time"),
        ("30,60,y,1.0", "received 'y' as start time"),
        ("30,x,1.0,2.0", "received 'x' as end frame number, expected a whole number of 0 or more"),
        ("60,30,1.0,2.0", "received a section from frame number 60 to 30, expected its end after its start"),
        ("2.0,2.0", "received a section from time 2.0 to 2.0, expected its end after its start"),
        ("1,2,3", "received 3 columns ('1,2,3'), expected 4"),
        ("1", "received 1 column ('1'), expected 4"),
    ],
)
def test_a_line_that_cannot_be_used_says_why(line, message):
    with pytest.raises(LabelError) as raised:
        parse_label_line("match.txt, line 3", 3, line)
    assert str(raised.value).startswith(f"match.txt, line 3: {message}")


@pytest.mark.parametrize(("texts", "is_used"), [(ACCEPTED, True), (REFUSED, False)])
def test_what_the_review_page_opens_can_be_used_and_nothing_else(tmp_path, texts, is_used):
    for text in texts:
        errors, path = [], tmp_path / "match.txt"
        path.write_bytes(text.encode())
        resolve(read_label_file(path, errors), errors)
        assert (not errors) == is_used, ascii(text[:80])


# ---- Sections


def test_a_section_may_begin_at_the_last_frame_and_end_at_the_end():
    assert resolve([frames(299, 300)]) == ([[299 / 30, 10.0]], [])
    assert resolve([times(9.999, 10.0)]) == ([[9.999, 10.0]], [])
    assert resolve([frames(0, 300)]) == ([[0.0, 10.0]], [])


@pytest.mark.parametrize("row", [frames(300, 301, 4), frames(400, 500, 4), times(10.0, 11.0, 4), times(12.5, 13.0, 4)])
def test_a_section_after_the_end_is_an_error_that_can_be_collected(row):
    errors = []
    assert resolve([frames(30, 60), row, times(4, 5)], errors)[0] == [[1, 2], [4, 5]]
    begin = f"frame {row.frames[0]}" if row.frames else f"{row.times_sec[0]:.2f} s"
    assert [str(error) for error in errors] == [
        f"a/match.txt, line 4: received a section that begins at {begin}, expected it to begin before the video's end "
        "(300 frames, 10.00 s): does the file belong to this video?"
    ]
    with pytest.raises(LabelError, match=f"line 4: received a section that begins at {begin}"):
        resolve([row])


def test_of_many_lines_with_problems_the_first_20_are_named():
    sections, warnings = resolve([frames(30, 90, line) for line in range(1, 1001)])
    assert sections == [[1.0, 3.0]]
    assert warnings[19] == "a/match.txt, line 21: the section overlaps one above it: merged"
    assert warnings[20:] == ["a/match.txt: and 979 more like these"]
    assert len(resolve([frames(30, 90, line) for line in range(1, 22)])[1]) == 20


def test_an_end_a_rounding_error_past_the_videos_is_clipped_without_a_word():
    assert resolve([times(9.0, 10.0000005)]) == ([[9.0, 10.0]], [])
    sections, (warning,) = resolve([times(9.0, 10.000002, 7)])
    assert sections == [[9.0, 10.0]]
    assert (
        warning
        == "a/match.txt, line 7: the section ends at 10.00 s, past the video's end (300 frames, 10.00 s): clipped"
    )
    sections, (warning,) = resolve([frames(270, 301, 8)])
    assert sections == [[9.0, 10.0]]
    assert warning.startswith("a/match.txt, line 8: the section ends at frame 301, past the video's end (300 frames")


@pytest.mark.parametrize(
    ("given_sec", "apart"),
    [
        ((1.0, 2.0), None),
        ((2.0, 3.0), None),  # a whole second is not more than one
        ((0.0, 1.0), None),
        ((2.001, 2.5), "1.0"),
        ((1.2, 3.25), "1.2"),
        ((0.5, 0.5), "1.5"),
        ((4.0, 2.0), "3.0"),
    ],
)
def test_times_that_disagree_with_the_frames_by_more_than_a_second_are_reported(given_sec, apart):
    sections, warnings = resolve([frames(30, 60, 2, given_sec)])
    assert sections == [[1.0, 2.0]]
    expected = (
        f"a/match.txt, line 2: frames 30,60 are shown at 1.00,2.00 s, {apart} s from the times given: the frames "
    )
    assert warnings == ([expected + "are used"] if apart else [])


def test_times_past_the_end_are_compared_with_the_end():
    assert resolve([frames(270, 300, 1, (9.0, 14.0))]) == ([[9.0, 10.0]], [])


def test_frames_are_taken_where_the_video_shows_them_at_a_variable_rate_that_does_not_begin_at_0():
    uneven_sec = np.array([0.5, 0.6, 1.4, 1.5, 4.0])
    rows = [frames(0, 1), frames(2, 4), frames(4, 5)]
    received, warnings = resolve(rows, frame_times_sec=uneven_sec, duration_sec=4.3)
    assert received == [[0.5, 0.6], [1.4, 4.3]]
    assert warnings == []


@pytest.mark.parametrize(
    ("sections", "warned"),
    [
        ([(1, 2), (2, 3)], []),  # they touch: nothing to say
        ([(1, 2), (2 - 5e-7, 3)], []),
        ([(1, 2), (1.99999, 3)], [(2, "overlaps")]),
        ([(1, 2), (1, 3)], [(2, "overlaps")]),
        ([(1, 2), (0.5, 0.7)], [(2, "begins before")]),
        ([(3, 4), (1, 2), (2.5, 2.7)], [(2, "begins before"), (3, "overlaps")]),
        ([(1, 8), (2, 3), (4, 5)], [(2, "overlaps"), (3, "overlaps")]),
        ([(0, 1), (5, 6), (4, 4.5), (4.2, 7)], [(3, "begins before"), (4, "overlaps")]),
    ],
)
def test_what_was_put_in_order_is_reported_line_by_line(sections, warned):
    _, warnings = resolve([times(start, end, line) for line, (start, end) in enumerate(sections, start=1)])
    told = {"begins before": "begins before the one above it: sorted", "overlaps": "overlaps one above it: merged"}
    assert warnings == [f"a/match.txt, line {line}: the section {told[what]}" for line, what in warned]


@pytest.mark.parametrize(
    ("sections", "merged"),
    [
        ([], []),
        ([(1, 2)], [(1, 2)]),
        ([(1, 2), (2, 3)], [(1, 3)]),
        ([(0.1, 0.1 + 0.2), (0.3, 0.4)], [(0.1, 0.4)]),
        ([(0, 0.3), (0.1 + 0.2, 0.4)], [(0, 0.4)]),  # the second begins 6e-17 s after the first ends
        ([(0, 0.7 * 3), (2.1, 3)], [(0, 3)]),
        ([(1, 2), (2.0000005, 3)], [(1, 3)]),
        ([(1, 2), (2.000002, 3)], [(1, 2), (2.000002, 3)]),
        ([(1, 2), (2.04, 3)], [(1, 2), (2.04, 3)]),  # a frame apart: two sections
        ([(2, 3), (1, 2)], [(1, 3)]),
        ([(5, 6), (1, 9), (2, 3)], [(1, 9)]),
        ([(1, 9), (2, 3), (8.5, 9.5)], [(1, 9.5)]),
        ([(7, 8), (1, 2), (4, 5), (1.5, 3)], [(1, 3), (4, 5), (7, 8)]),
        ([(1, 2), (1, 3), (1, 2.5)], [(1, 3)]),
        ([(1, 2), (2, 3), (3, 4), (4, 5)], [(1, 5)]),
    ],
)
def test_sections_that_overlap_or_touch_become_one(sections, merged):
    received = merge_sections(sections)
    assert received.shape == (len(merged), 2)
    assert received.dtype == np.float64
    np.testing.assert_allclose(received, np.array(merged).reshape(-1, 2), rtol=0, atol=1e-15)


def test_sections_of_a_label_file_that_only_touch_become_one(tmp_path):
    rows = read(tmp_path, "30,60,00:00:01,00:00:02\n60,90,00:00:02,00:00:03\n2:30,2:40\n\n2:40,2:45.5\n")
    sections, warnings = resolve(rows, frame_times_sec=np.arange(9000) / 30, duration_sec=300.0)
    assert sections == [[1, 3], [150, 165.5]]
    assert warnings == []


# ---- Labels


def test_labels_of_ragged_sections_equal_those_of_a_count_by_milliseconds():
    generator, length_ms = np.random.default_rng(4), 2300
    edges_ms = np.sort(generator.choice(120_000, 60, replace=False)).reshape(-1, 2)
    is_highlight = np.zeros(53 * length_ms, bool)
    for start_ms, end_ms in edges_ms:
        is_highlight[start_ms:end_ms] = True
    num_covered_ms = is_highlight.reshape(53, length_ms).sum(axis=1)
    labels = label_segments(edges_ms / 1000, 53, length_ms / 1000)
    assert labels.tolist() == (2 * num_covered_ms > length_ms).astype(int).tolist()
    assert 10 < labels.sum() < 43
    assert labels.dtype == np.int64


@pytest.mark.parametrize("length", [0.1, 0.3, 0.7, 1.1, 2.5, 5, 60])
def test_exactly_half_of_a_segment_is_no_highlight_wherever_it_is(length):
    for first in range(0, 400, 7):
        start = first * length
        halves = np.array([(start + length / 4, start + length * 3 / 4)])
        assert not label_segments(halves, first + 2, length).any()
        across = np.array([(start + length / 2, start + length * 3 / 2)])
        assert not label_segments(across, first + 3, length).any()
        more = halves + np.array([0, 5e-6])
        assert np.flatnonzero(label_segments(more, first + 2, length)).tolist() == [first]


# ---- Numbers that may be meant in the other unit


HOUR = {"frame_times_sec": np.arange(60 * 3600) / 60, "duration_sec": 3600.0}


def read_and_resolve(tmp_path, text, video=HOUR):
    return resolve(read(tmp_path, text), **video)


def test_whole_numbers_that_would_be_short_sections_are_asked_about_once(tmp_path):
    sections, warnings = read_and_resolve(tmp_path, "16,38\n100,122\n3570,3599\n")
    assert sections[0] == pytest.approx([16 / 60, 38 / 60])
    assert warnings == [
        "a/match.txt: whole numbers are frames, so that its sections last 0.367 s in the median: if seconds are meant, "
        "write them with a point (16.0,38.0)"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "16,38\n100,122\n3590,3601",  # no seconds of this match
        "16,136\n600,719\n3000,3120",  # two seconds each
        "16,38,00:00:00,00:00:01",
        "16,38\n0:16,0:38",
        "",
    ],
)
def test_whole_numbers_that_are_frames_are_not_asked_about(tmp_path, text):
    assert read_and_resolve(tmp_path, text)[1] == []


def test_numbers_as_pandas_writes_them_are_asked_about(tmp_path):
    assert read_and_resolve(tmp_path, "589.0,694.0\n1000.0,1400.0\n") == (
        [[589, 694], [1000, 1400]],
        [
            "a/match.txt: numbers with a point are seconds, so that its sections last 252 s in the median: if frames "
            "are meant, write 589,694"
        ],
    )
    errors = []
    rows = read(tmp_path, "589.0,694.0\n12000.0,12600.0\n300000.0,300001.0\n")
    resolve(rows, errors, **HOUR)
    ends = [str(error).partition("3600.00 s): ")[2] for error in errors]
    assert ends == ["if frame 12000 is meant, write it without .0", "does the file belong to this video?"]


@pytest.mark.parametrize("text", ["16.0,38.0\n100.0,122.0", "589.5,694.0\n1000.0,1400.0", "9:49,11:34\n16:40,23:20"])
def test_times_that_are_seconds_are_not_asked_about(tmp_path, text):
    assert read_and_resolve(tmp_path, text)[1] == []
