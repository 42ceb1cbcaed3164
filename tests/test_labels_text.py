"""Label files as people write them: times, frame numbers, errors and warnings."""

import re

import numpy as np
import pytest

from videosummarizer.labels import (
    LabelError,
    format_time,
    is_time,
    parse_frame,
    parse_time,
    read_label_file,
    resolve_sections,
)

FRAME_TIMES_SEC = np.arange(300) / 30  # ten seconds at 30 fps
DURATION_SEC = 10.0


def resolve(tmp_path, text, frame_times_sec=FRAME_TIMES_SEC, duration_sec=DURATION_SEC):
    path = tmp_path / "match.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    rows = read_label_file(path)
    return resolve_sections(path, rows, frame_times_sec, duration_sec)


@pytest.mark.parametrize(
    ("text", "sections"),
    [
        ("", []),
        ("\n \n\n", []),
        ("30,60,00:00:01,00:00:02", [(1, 2)]),
        ("30,60,00:00:01,00:00:02\n90,120,00:00:03,00:00:04\n", [(1, 2), (3, 4)]),
        (b"\xef\xbb\xbf30,60,00:00:01,00:00:02\r\n\r\n 90 , 120 ,00:00:03 , 00:00:04 \r\n", [(1, 2), (3, 4)]),
        ("30,60", [(1, 2)]),
        ("00:00:01,00:00:02.500", [(1, 2.5)]),
        ("00:01,0:02", [(1, 2)]),
        ("1.0,2.25", [(1, 2.25)]),
        ("1.5,00:02", [(1.5, 2)]),
        ("0,300,00:00:00,00:00:10", [(0, 10)]),
        ("30,60,1,2", [(1, 2)]),
    ],
)
def test_label_files_as_people_have_them(tmp_path, text, sections):
    found, warnings = resolve(tmp_path, text)
    np.testing.assert_allclose(found, np.array(sections).reshape(-1, 2))
    assert warnings == []


def test_frame_numbers_turn_to_seconds_through_the_frames_own_times(tmp_path):
    uneven = np.array([0.0, 0.1, 0.5, 0.6, 3.0, 3.1])
    found, _ = resolve(tmp_path, "1,3\n4,6", uneven, 3.2)
    np.testing.assert_allclose(found, [(0.1, 0.6), (3.0, 3.2)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "30,60\nx1,60",
            r"match\.txt, line 2: received 'x1' as start frame number, expected a whole number of 0 or more",
        ),
        ("-3,60", r"line 1: received '-3' as start frame number, expected a whole number"),
        ("30,60.5x,00:00:01,00:00:02", r"line 1: received '60\.5x' as end frame number"),
        ("30,60,00:00:01,00:61:02", r"received '00:61:02' as end time, expected HH:MM:SS\[\.fff\], MM:SS or seconds"),
        ("00:00:01,00:00:75", r"received '00:00:75' as end time"),
        ("30,60,,00:00:02", r"received an empty column \('30,60,,00:00:02'\), expected two frame numbers, two times"),
        ("60,60", r"line 1: received a section from frame number 60 to 60, expected its end after its start"),
        ("\n60,30,00:00:02,00:00:01", r"line 2: received a section from frame number 60 to 30"),
        ("00:00:05,00:00:04", r"received a section from time 00:00:05 to 00:00:04, expected its end after its start"),
        (
            "300,310",
            r"line 1: received a section that begins at frame 300, expected it to begin before the video's end \(300",
        ),
        ("11.0,12.0", r"begins at 11\.00 s, expected it to begin before the video's end \(300 frames, 10\.00 s\)"),
        ("30", r"line 1: received 1 column \('30'\), expected 4 \(start_frame,end_frame,start_time,end_time\) or 2"),
        ("30;60", r"received columns separated by semicolons \('30;60'\), expected commas"),
        ("30,60,00:00:01", r"received 3 columns .* expected 4 .* or 2"),
        ("30,60,00:00:01,00:00:02,5", r"received 5 columns"),
        (
            "start_frame,end_frame,start_time,end_time\n30,60",
            r"line 1: received a header .* no header, delete the line",
        ),
        ("start,end\n30,60", r"line 1: received a header"),
        ("30,2.5", r"received one time and one whole number \('30,2\.5'\), expected two times .* or two frame numbers"),
        (b"\xff\xfe3\x000\x00", r"match\.txt: received bytes that are not UTF-8 text"),
    ],
)
def test_label_errors_name_file_line_received_and_expected(tmp_path, text, message):
    with pytest.raises(LabelError, match=message):
        resolve(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "sections", "warning"),
    [
        ("90,120\n30,60", [(1, 2), (3, 4)], r"match\.txt, line 2: the section begins before the one above it: sorted"),
        ("30,90\n60,120", [(1, 4)], r"match\.txt, line 2: the section overlaps one above it: merged"),
        ("30,120\n60,90", [(1, 4)], r"line 2: the section overlaps one above it: merged"),
        ("270,330", [(9, 10)], r"line 1: the section ends at frame 330, past the video's end \(300 frames.*clipped"),
        ("9.0,12.5", [(9, 10)], r"line 1: the section ends at 12\.50 s, past the video's end .*clipped"),
        (
            "30,60,00:00:01,00:00:05",
            [(1, 2)],
            r"line 1: frames 30,60 are shown at 1\.00,2\.00 s, 3\.0 s from the times",
        ),
        ("90,120,00:00:01,00:00:04", [(3, 4)], r"line 1: .*2\.0 s from the times given: the frames are used"),
    ],
)
def test_label_warnings_name_file_and_line_and_go_on(tmp_path, text, sections, warning):
    found, warnings = resolve(tmp_path, text)
    np.testing.assert_allclose(found, sections)
    assert len(warnings) == 1
    assert re.search(warning, warnings[0])


def test_times_less_than_a_second_off_are_no_warning(tmp_path):
    assert resolve(tmp_path, "50,119,00:00:01,00:00:03")[1] == []


@pytest.mark.parametrize(("seconds", "text"), [(0, "00:00:00"), (59.999, "00:00:59"), (3661.5, "01:01:01")])
def test_format_time(seconds, text):
    assert format_time(seconds) == text
    assert parse_time(text) == int(seconds)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (59.9999995, "00:01:00"),  # a rounding error before the full second
        (59.999998, "00:00:59"),
        (60, "00:01:00"),
        (3599, "00:59:59"),
        (3600, "01:00:00"),
        (7325, "02:02:05"),
        (36_000, "10:00:00"),
        (360_000 + 60 * 34 + 56, "100:34:56"),
    ],
)
def test_times_of_every_length_are_written_as_people_write_them(seconds, text):
    assert format_time(seconds) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("01:02:03", 3723),
        ("10:20:30.25", 37_230.25),
        ("02:03", 123),
        ("59:59", 3599),
        ("00:59:59.999", 3599.999),
        ("90:00", 5400),  # without hours, minutes may be as many as they like
        ("75", 75),
        ("3600.5", 3600.5),
        (".5", 0.5),
        ("7.", 7),
        ("1:2:3", 3723),
        ("100:00:00", 360_000),
    ],
)
def test_times_as_people_write_them(text, seconds):
    assert parse_time(text) == pytest.approx(seconds, abs=1e-9)
    assert is_time(text)


@pytest.mark.parametrize(
    "text",
    ["00:60", "00:00:60", "00:60:00", "1:99:00", "1:2:3:4", "", ".", ":30", "1:", "-5", "1,5", "1e3", "５", "٣", " 5"],
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        parse_time(text)
    assert not is_time(text)


@pytest.mark.parametrize("text", ["", "-1", "1.5", "1e3", "５", "٣", " 5", "5\n", "x"])
def test_what_is_no_frame_number_is_refused(text):
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        parse_frame(text)
    assert [parse_frame(number) for number in ("0", "007", "123456")] == [0, 7, 123456]


@pytest.mark.parametrize(
    "text",
    [
        "x" * 200_000,
        "start," + "y" * 200_000,
        "1," + "9" * 5000,
        "9" * 5000 + "," + "9" * 5001,
        "9" * 4000 + "," + "9" * 4001,
        "9" * 4001 + "," + "9" * 4000,
        "1:" + "9" * 5000,
        "9" * 400 + ":00:00,1.5",
        "1," * 100_000,
        "5,6,00:00:00," + "z" * 200_000,
    ],
)
def test_messages_show_the_beginning_of_a_long_field(tmp_path, text):
    with pytest.raises(LabelError) as raised:
        resolve(tmp_path, text)
    message = str(raised.value)
    assert message.startswith(f"{tmp_path / 'match.txt'}, line 1: received ")
    assert "..." in message
    assert len(message) < len(str(tmp_path)) + 400


def test_a_warning_shows_the_beginning_of_a_long_frame_number(tmp_path):
    sections_sec, (warning,) = resolve(tmp_path, "30," + "9" * 4000)
    assert sections_sec.tolist() == [[1, 10]]
    assert f"the section ends at frame {'9' * 80}..., past the video's end (300 frames, 10.00 s): clipped" in warning


def test_a_time_is_one_that_a_float_can_hold():
    assert parse_time("9" * 300) == pytest.approx(1e300)
    with pytest.raises(ValueError, match="999"):
        parse_time("9" * 400)


def test_a_file_larger_than_any_label_file_is_not_read(tmp_path):
    path = tmp_path / "match.txt"
    path.write_bytes(b"1,2\n" * 2**18)
    assert len(read_label_file(path)) == 2**18
    path.write_bytes(b"1,2\n" * 2**18 + b"\n")
    with pytest.raises(LabelError) as raised:
        read_label_file(path)
    assert str(raised.value) == (f"{path}: received 1048577 bytes, expected at most 1048576: is it a label file?")
