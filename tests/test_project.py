"""What holds for the repository as a whole."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(path.stem for path in ROOT.glob("*.py"))


@pytest.mark.parametrize("module", MODULES)
def test_importing_does_nothing(module, tmp_path):
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv = ['x', '--nonsense']; import {module}"
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_requirements_are_plain_names_and_versions():
    lines = (ROOT / "requirements.txt").read_text().split("\n")[:-1]
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+((==|>=)[0-9.]+)?", line)] == []
    assert {"moviepy==1.0.3", "keras>=3.15.1", "numpy", "librosa", "tensorflow", "scikit-learn", "tqdm"} <= set(lines)


def test_every_requirement_is_pinned_in_the_constraints():
    pinned = {line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    for name in ("requirements.txt", "requirements-dev.txt"):
        for line in (ROOT / name).read_text().split():
            assert re.split("[=><]", line)[0] in pinned


@pytest.mark.parametrize("readme", ["README.md", "README.ko.md"])
def test_the_readme_names_every_file_and_example(readme):
    text = (ROOT / readme).read_text(encoding="utf-8")
    for path in [
        *ROOT.glob("*.py"),
        *ROOT.glob("*.ipynb"),
        *ROOT.glob("*.txt"),
        *ROOT.glob("*.md"),
        ROOT / "Makefile",
        ROOT / "LICENSE",
    ]:
        assert path.name in text
    for example in (
        "python data_converter.py data/raw 5 3 64 64 11025 0",
        "python data_converter.py data/raw 3 6 128 128 22050 1 data/dataset1",
        "make demo",
        "make test",
        "moviepy==1.0.3",
    ):
        assert example in text


def test_links_of_the_readmes_lead_somewhere():
    for readme in ("README.md", "README.ko.md"):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / readme).read_text(encoding="utf-8")):
            assert target.startswith("https://") or (ROOT / target).exists(), target
