"""Describe an unexpected error in one line, as part of a message that names the match; counts in messages."""

import errno

# Longer descriptions are cut: a library may quote a whole file.
MAX_DESCRIPTION_LENGTH = 300


def describe_exception(error: BaseException) -> str:
    """Return what an exception of any type says, in one line: its type too, unless it is an OSError."""
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    elif isinstance(error, MemoryError):
        text = "memory ran out"
    else:
        text = f"{type(error).__name__}: {error}"
    text = " ".join(text.split()).rstrip(": ")
    return text if len(text) <= MAX_DESCRIPTION_LENGTH else f"{text[:MAX_DESCRIPTION_LENGTH]}…"


def count_of(number: int, noun: str) -> str:
    """Return a number with its noun: "1 match", "2 matches", "2 epochs"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}{'es' if noun.endswith('tch') else 's'}"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, for libraries whose errors have several paragraphs."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def advice_on(error: BaseException) -> str:
    """Return what to do about an unexpected error, as the end of a message."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some space and run the same command again"
    if isinstance(error, MemoryError):
        return "close other programs or use fewer --workers, and run the same command again"
    return "--debug shows where it comes from"


def describe_match_error(match: object, action: str, error: BaseException, output_dir: object = None) -> str:
    """Return the message about an unexpected error with one match.

    Args:
        match: its path or title.
        action: what failed, such as "cannot be converted".
        error: the error.
        output_dir: the folder that is written to, if any, which an OSError without the name of a file is about.
    """
    place = f" into {output_dir}" if output_dir and isinstance(error, OSError) and not error.filename else ""
    return f"{match}: {action}{place} ({describe_exception(error)}): {advice_on(error)}"


def describe_os_error(error: OSError, folder: object) -> str:
    """Return the message about an error of the system that stops a command.

    Args:
        error: the error. One without a number has a message that says what to do.
        folder: the folder that is written to, which an error without the name of a file is about.
    """
    if not error.errno:
        return str(error)
    return f"{'' if error.filename else f'{folder}: '}{describe_exception(error)}: {advice_on(error)}"
