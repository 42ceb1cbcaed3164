"""Names in Korean on consoles and in locales that know no Korean: they are shown escaped, and nothing fails."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from clips import write_clip

ROOT = Path(__file__).resolve().parent.parent
TITLE = "결승 😀"  # the last character is missing in cp949, the others in ASCII
SETTINGS = ["1", "2", "8", "8", "4000", "0"]
PLACES = {
    "ascii": ({"PYTHONIOENCODING": "ascii"}, TITLE.encode("ascii", "backslashreplace")),
    "cp949": ({"PYTHONIOENCODING": "cp949"}, TITLE.encode("cp949", "backslashreplace")),
    "C locale": ({"LC_ALL": "C", "PYTHONUTF8": "0"}, TITLE.encode("ascii", "backslashreplace")),
}


def run(environment, *arguments, cwd):
    others = {name: value for name, value in os.environ.items() if name not in ("PYTHONUTF8", "PYTHONIOENCODING")}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=others | environment, capture_output=True)


@pytest.mark.parametrize("place", PLACES)
def test_the_converter_shows_and_writes_a_title(tmp_path, place):
    environment, shown = PLACES[place]
    (tmp_path / "in").mkdir()
    write_clip(tmp_path / "in" / f"{TITLE}.mp4", num_frames=30)
    (tmp_path / "in" / f"{TITLE}.txt").touch()
    result = run(environment, ROOT / "data_converter.py", "in", *SETTINGS, "out", "--workers", "1", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert shown + b": 1 segments, 0 highlights" in result.stdout
    assert b"Traceback" not in result.stderr
    assert (tmp_path / "out" / TITLE / "seg_00000_0.pkl").exists()
    assert f'"title": "{TITLE}"' in (tmp_path / "out" / "metadata.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("script", ["label_finder", "label_next", "main", "highlight_extractor"])
def test_the_other_scripts_show_paths_and_wrong_arguments(tmp_path, script):
    arguments = {
        "label_finder": [TITLE, TITLE],
        "label_next": [TITLE, "--ckpt", TITLE],
        "main": ["--data_dir", TITLE],
        "highlight_extractor": [f"{TITLE}.mp4", "--ckpt", TITLE],
    }[script]
    for environment, shown in (PLACES["ascii"], PLACES["C locale"]):
        result = run(environment, ROOT / f"{script}.py", *arguments, cwd=tmp_path)
        (line,) = result.stderr.splitlines()
        assert (result.returncode, line.startswith(b"ERROR: " + shown)) == (1, True), line
    result = run(PLACES["ascii"][0], ROOT / f"{script}.py", *arguments, "--결승", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].endswith(b"--\\uacb0\\uc2b9")


def test_standard_output_takes_any_text_and_names_that_are_not_utf_8():
    code = "from videosummarizer import console; console.prepare(); print('\\ud55c \\udcb0')"
    for name, environment in (("UTF-8", {"PYTHONIOENCODING": "utf-8"}), ("C locale", PLACES["C locale"][0])):
        result = run(environment, "-c", code, cwd=ROOT)
        shown = {"UTF-8": "한 \\udcb0\n", "C locale": "\\ud55c \\udcb0\n"}[name]
        assert (result.returncode, result.stdout, result.stderr) == (0, shown.encode(), b"")


def test_python_starts_again_once_at_most():
    code = "from videosummarizer import console; print('start', flush=True); console.prepare()"
    result = run({"LC_ALL": "C"}, "-X", "utf8=0", "-c", code, cwd=ROOT)  # this option prevails over the variable
    assert (result.returncode, result.stdout) == (0, b"start\nstart\n")
