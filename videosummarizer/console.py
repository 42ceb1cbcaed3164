"""Prepare a stage script for names in any language, whatever the locale and the console."""

import io
import os
import sys


def prepare() -> None:
    """Read file names as UTF-8, and escape characters that the console cannot show instead of failing.

    Outside UTF-8 locales, Python may read file names in another encoding, such as ASCII in the C locale. The script
    then starts again in Python's UTF-8 mode. The encoding of the console stays the same.
    """
    is_utf8 = sys.getfilesystemencoding().lower() == "utf-8"
    if not is_utf8 and os.environ.get("PYTHONUTF8") != "1" and sys.executable:
        os.environ["PYTHONUTF8"] = "1"
        os.environ.setdefault("PYTHONIOENCODING", getattr(sys.stdout, "encoding", None) or "utf-8")
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
