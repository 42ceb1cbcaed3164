"""Check the layout, imports, requirements and READMEs of the repository."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted(path.stem for path in ROOT.glob("*.py"))
PACKAGE = sorted((ROOT / "videosummarizer").rglob("*.py"))
MODULES = [*SCRIPTS, *(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in PACKAGE)]


@pytest.mark.parametrize("module", MODULES)
def test_importing_does_nothing(module, tmp_path):
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv = ['x', '--nonsense']; import {module}"
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_the_top_level_holds_the_stage_scripts_and_the_network():
    expected = ["data_converter", "data_loader", "highlight_extractor", "label_finder", "label_next", "main", "model"]
    assert expected == SCRIPTS


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_module_of_the_package_imports_a_script(path):
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(node.module.split(".")[0])
    assert imported & set(SCRIPTS) == set()


# From the outermost to the innermost; a module may import those of its own sub-package and of the later ones.
LAYERS = ["notebooks", "extraction", "training", "evaluation", "dataset"]


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_of_the_package_run_one_way(path):
    own = path.relative_to(ROOT / "videosummarizer").parts[0]
    allowed = {"labelling"} if own == "labelling" else set(LAYERS[LAYERS.index(own) :]) if own in LAYERS else set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("videosummarizer."):
            sub_package = node.module.split(".")[1]
            assert sub_package in allowed or not (ROOT / "videosummarizer" / sub_package).is_dir(), node.module


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
