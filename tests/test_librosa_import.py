"""librosa on a machine on which numba cannot store what it compiled."""

import subprocess
import sys
from pathlib import Path

import librosa

from videosummarizer.librosa_import import import_librosa

ROOT = Path(__file__).resolve().parent.parent
# Refuses to be imported as numba does, until it is given a folder for its cache that exists.
FAKE_LIBROSA = """
import os, sys
if "numba" not in sys.modules or not os.path.isdir(sys.modules["numba"].config.CACHE_DIR):
    raise {error}
class feature:
    mfcc = melspectrogram = power_to_db = None
power_to_db = os.path.basename(sys.modules["numba"].config.CACHE_DIR)
"""
FAKE_NUMBA = "class config:\n    CACHE_DIR = ''\n"
CODE = "from videosummarizer.librosa_import import import_librosa\nprint(import_librosa().power_to_db)"


def run(tmp_path, error, code=CODE, **environment):
    (tmp_path / "librosa.py").write_text(FAKE_LIBROSA.format(error=error))
    (tmp_path / "numba.py").write_text(FAKE_NUMBA)
    (tmp_path / "temporary").mkdir()
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "TMPDIR": str(tmp_path / "temporary"), **environment}
    return subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)


def test_librosa_is_imported_as_it_is_where_it_can_be():
    assert import_librosa() is librosa


def test_where_numba_cannot_store_its_cache_a_temporary_folder_is_used(tmp_path):
    result = run(tmp_path, "RuntimeError('cannot cache function: no locator available')")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("numba-")
    assert list((tmp_path / "temporary").iterdir()) == []


def test_where_nothing_can_be_stored_the_message_says_how_to_name_a_folder(tmp_path):
    code = f"import tempfile\ntempfile.TemporaryDirectory = lambda **_: open('/dev/null/x')\n{CODE}"
    result = run(tmp_path, "OSError(28, 'No space left\\non device')", code)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == (
        "OSError: librosa cannot be imported ([Errno 28] No space left on device): let the environment variable "
        "NUMBA_CACHE_DIR name a folder with room, into which files can be written"
    )
