"""Write a list of segments for LosslessCut, which cuts a match without encoding it again."""

import csv
import io

import numpy as np


def write_losslesscut(sections_sec: np.ndarray, names: list[str]) -> bytes:
    """Return a CSV file that LosslessCut imports: start, end and name of each segment, without a header.

    Source: LosslessCut, "Import / Export", "CSV files": times are seconds.

    Args:
        sections_sec: (num_sections, 2) float64, seconds of the match.
        names: The names of the sections.
    """
    text = io.StringIO()
    rows = zip(sections_sec, names, strict=True)
    csv.writer(text, lineterminator="\n").writerows(
        [f"{start_sec:.6f}", f"{end_sec:.6f}", name] for (start_sec, end_sec), name in rows
    )
    return text.getvalue().encode()
