"""The segments for LosslessCut, read as it reads them: seconds, without a header."""

import csv
import io

import numpy as np
import pytest

from videosummarizer.extraction.exports.losslesscut import write_losslesscut


def test_segments_are_start_end_and_name_in_seconds():
    sections_sec = np.array([[0, 1.5], [59.966667, 3600.123456]])
    content = write_losslesscut(sections_sec, ["Highlight 1 (score 0.50)", "Highlight 2 (score 0.75)"])
    assert content == (b"0.000000,1.500000,Highlight 1 (score 0.50)\n59.966667,3600.123456,Highlight 2 (score 0.75)\n")


@pytest.mark.parametrize("rate_fps", [24000 / 1001, 25, 30000 / 1001, 30, 50, 60000 / 1001, 60])
def test_every_time_is_that_of_its_frame(rate_fps):
    frames = np.array([[0, 7], [1797, 1805], [107_891, 215_788]])
    content = write_losslesscut(frames / rate_fps, ["a", "b", "c"]).decode()
    rows = list(csv.reader(io.StringIO(content)))
    assert np.rint(np.array([row[:2] for row in rows], float) * rate_fps).astype(int).tolist() == frames.tolist()


def test_names_with_commas_and_quotes_arrive():
    content = write_losslesscut(np.array([[0, 1]]), ['골, "1" 경기']).decode()
    assert next(csv.reader(io.StringIO(content)))[2] == '골, "1" 경기'
