"""Check the text of label files, and which parts of a highlight video count as missing."""

import numpy as np

from videosummarizer.labelling import label_report
from videosummarizer.labelling.shots import Shot


def test_frames_are_counted_by_the_videos_own_times():
    edges_sec = np.array([0.0, 0.1, 0.4, 0.5, 1.0, 1.5])  # a variable rate
    text = label_report.label_text(np.array([[0.11, 0.52], [0.9, 1.5]]), edges_sec)
    assert text == "1,3,00:00:00,00:00:00\n4,5,00:00:01,00:00:01\n"


def test_a_section_shorter_than_a_frame_is_left_out():
    assert label_report.label_text(np.array([[0.2, 0.201]]), np.arange(31) / 30) == ""


def test_missing_parts_are_what_no_shot_covers():
    shots = [Shot(1, 4, 0, 3, 0.9, 0, 0), Shot(3, 6, 9, 12, 0.9, 0, 0), Shot(6.2, 9, 0, 1, 0.9, 0, 0)]
    assert label_report.missing_parts(shots, 12.0) == [(0.0, 1.0), (9.0, 12.0)]
    assert label_report.missing_parts([], 12.0) == [(0.0, 12.0)]
    assert label_report.missing_parts([Shot(1, 4, 0, 3, 0.9, 0, 0)], 3600.0, ((5.0, 3599.7),)) == [(0.0, 1), (4, 5.0)]


def test_one_part_less_than_half_a_second_is_not_missing():
    shots = [Shot(0.49, 4, 0, 3, 0.9, 0, 0), Shot(4.5, 9.6, 0, 1, 0.9, 0, 0)]
    assert label_report.missing_parts(shots, 10.0) == [(4.0, 4.5)]


def test_a_section_may_end_with_the_last_frame():
    edges_sec = np.array([0.0, 0.1, 0.35, 0.6])
    assert label_report.label_text(np.array([[0.0, 9.0]]), edges_sec) == "0,3,00:00:00,00:00:00\n"
    assert label_report.label_text(np.array([[0.45, 0.61]]), edges_sec) == "2,3,00:00:00,00:00:00\n"
    assert label_report.label_text(np.array([[0.34, 0.47]]), edges_sec) == ""
    edges_sec = np.array([0.0, 60.0, 3725.0, 7390.0])
    assert label_report.label_text(np.array([[59.9, 3725.2]]), edges_sec) == "1,2,00:01:00,01:02:05\n"
    assert label_report.label_text(np.array([[59.9, 7390.2]]), edges_sec) == "1,3,00:01:00,02:03:10\n"
