import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # as model.py does; JAX, imported by Keras, would set another first

import numpy as np
import pytest
from clips import tone, write_clip

from data_converter import main as convert


@pytest.fixture
def matches_dir(tmp_path):
    """A folder with two labelled 4-second matches, one of them without highlights."""
    folder = tmp_path / "matches"
    folder.mkdir()
    for title, labels in (("first", "30,90,00:00:01,00:00:03\n"), ("second", "")):
        write_clip(folder / f"{title}.mp4", num_frames=120, audio=tone(440, 4))
        (folder / f"{title}.txt").write_text(labels)
    return folder


# Titles whose subset is known: two train, two valid, two test (see test_data_loader.py for the pinned table).
TITLES = {"train": ["match_00", "match_01"], "valid": ["match_07", "match_09"], "test": ["match_08", "match_10"]}


@pytest.fixture(scope="session")
def trainable_matches_dir(tmp_path_factory):
    """6 matches of 6 s with both classes in each, two matches a subset, none like another."""
    folder = tmp_path_factory.mktemp("trainable")
    for number, title in enumerate(title for titles in TITLES.values() for title in titles):
        # Highlights are loud: the second half of each match.
        quiet, loud = (tone(440 + 37 * number, 3, amplitude=amplitude) for amplitude in (0.02, 0.9))
        write_clip(folder / f"{title}.mp4", num_frames=180, audio=np.append(quiet, loud), first_number=109 * number)
        (folder / f"{title}.txt").write_text("90,180,00:00:03,00:00:06\n")
    return folder


@pytest.fixture(scope="session")
def dataset_dir(trainable_matches_dir, tmp_path_factory):
    """A small dataset with both classes in every subset: 6 matches of 6 segments of 1 s, waveforms."""
    dataset = tmp_path_factory.mktemp("out") / "dataset"
    assert convert([str(trainable_matches_dir), "1", "2", "16", "16", "4000", "0", str(dataset), "--workers", "1"]) == 0
    return dataset
