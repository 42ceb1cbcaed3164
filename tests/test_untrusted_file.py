"""Files that may be hostile: how much of them is read, and how much of them messages show."""

import json
import os

import pytest

from videosummarizer import untrusted_file
from videosummarizer.untrusted_file import excerpt, parse_json, read_limited


def test_a_file_is_read_up_to_its_limit(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    assert read_limited(path, 10) == b"0123456789"
    with pytest.raises(ValueError, match=r"^received 10 bytes, expected at most 9$"):
        read_limited(path, 9)


def test_a_file_is_complete_also_if_the_system_returns_it_in_parts(tmp_path, monkeypatch):
    path, read = tmp_path / "file", os.read
    path.write_bytes(b"0123456789" * 20_000)
    monkeypatch.setattr(os, "read", lambda descriptor, size: read(descriptor, min(size, 70_000)))
    assert read_limited(path, 200_000) == path.read_bytes()


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, "/dev/zero"):
        with pytest.raises(ValueError, match=r"^received something other than a regular file$"):
            read_limited(path, 10)
    with pytest.raises(FileNotFoundError):
        read_limited(tmp_path / "none", 10)


@pytest.mark.parametrize("value", [None, 5, "x", [], {}, [1, [2.5, {"a": "결승", "b": None}]]])
def test_json_is_read_in_every_encoding_that_it_may_have(value):
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        assert parse_json(json.dumps(value, ensure_ascii=False).encode(encoding)) == value


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\xff", b"[1 2]", b"[" * 100_000, b'{"a":' * 100_000])
def test_whatever_is_no_json_is_a_value_error(content):
    with pytest.raises(ValueError, match=r"."):
        parse_json(content)


@pytest.mark.parametrize("text", ["[[],[],[]]", "[1,2,3,4]", '{"a":{"b":1},"c":{}}', '[{"a":[]}, 5]'])
def test_values_are_counted_before_they_are_read(monkeypatch, text):
    monkeypatch.setattr(untrusted_file, "MAX_JSON_VALUES", sum(text.count(sign) for sign in ",[{"))
    assert parse_json(text.encode()) == json.loads(text)
    monkeypatch.setattr(untrusted_file, "MAX_JSON_VALUES", untrusted_file.MAX_JSON_VALUES - 1)
    monkeypatch.setattr(json, "loads", lambda content: pytest.fail("too many values are read"))
    with pytest.raises(ValueError, match=r"^it has about \d values, expected at most \d$"):
        parse_json(text.encode())


def test_as_many_values_are_read_as_take_a_few_hundred_megabytes():
    assert untrusted_file.MAX_JSON_VALUES == 4_000_000


def test_a_message_shows_the_beginning_of_a_text():
    assert excerpt("") == ""
    assert excerpt("x" * 80) == "x" * 80
    assert excerpt("x" * 81) == "x" * 80 + "..."
