"""Runs highlight_extractor.py with given scores instead of a network, for tests of everything around them."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np

import highlight_extractor
from videosummarizer.dataset.metadata import DataConfig
from videosummarizer.extraction import outputs, scoring
from videosummarizer.training import inference
from videosummarizer.training.checkpoint import write_checkpoint_attributes
from videosummarizer.training.hdf5 import h5py  # not directly: it would be imported with file locks

ENDINGS = [".json", "_scores.csv", ".txt", ".vtt", ".html", "_timeline.png", ".fcpxml", ".otio", ".edl"]
ENDINGS += [".xml", "_lossless.csv", "_chapters.txt", "_highlights.mp4"]
CONFIG = DataConfig(0.5, 2, 16, 16, 4000, False)
POINT = {"threshold": 0.5, "section_penalty": 0.0}
SCORES = [0.1234567, 0.8765434, 0.4999996, 0.25, 0.7]
# Steps of 0.25 s, 7.5 frames. To six decimals, 0.4999996 is 0.5, the threshold: 0.5 to 1.25 s and 2 to 2.4 s are found.
STEP_SCORES = [[0.1234567, 0.2], [0.9, 0.8765434], [0.4999996, 0.3], [0.2, 0.25], [0.7, 0.6]]
LABELS = "15,38,00:00:00,00:00:01\n60,72,00:00:02,00:00:02\n"


class Extractor:
    """Runs the command in a folder on copies of a clip of 2.4 s, with STEP_SCORES instead of a network.

    scored: titles of the matches that were scored. loaded: paths of the networks that were loaded.
    """

    def __init__(self, folder, clip, monkeypatch):
        self.folder, self.clip, self.scored, self.loaded = folder, clip, [], []
        self.out = folder / "out"
        self.ckpt = self.write_checkpoint("best.hdf5")
        monkeypatch.setattr(scoring, "score_match", self.score_match)
        monkeypatch.setattr(inference, "load_network", lambda checkpoint: self.loaded.append(checkpoint.path.name))
        monkeypatch.setattr(outputs, "draw_timeline", lambda findings: b"a picture")

    def score_match(self, video_path, info, config, network, on_progress, scratch_dir, part_sec):
        network()
        on_progress(2.0)
        on_progress(0.5)
        self.scored.append(video_path.stem)
        return np.array(SCORES), np.array(STEP_SCORES), None

    def write_checkpoint(self, name, point=POINT, **attributes):
        with h5py.File(self.folder / name, "w"):
            pass
        attributes = {"config": asdict(CONFIG), "operating_point": point, **attributes}
        write_checkpoint_attributes(self.folder / name, attributes)
        return self.folder / name

    def match(self, title="match"):
        return Path(shutil.copy(self.clip, self.folder / f"{title}.mp4"))

    def __call__(self, *arguments, ckpt=None):
        arguments = [*map(str, arguments), "--ckpt", str(ckpt or self.ckpt), "--output_dir", str(self.out)]
        return highlight_extractor.main(arguments)

    def cut(self, *arguments):
        """Run the command without a checkpoint."""
        return highlight_extractor.main([*map(str, arguments), "--output_dir", str(self.out)])

    def labels(self, title="match"):
        return (self.out / f"{title}.txt").read_text()

    def report(self):
        return json.loads((self.out / "match.json").read_text())

    def names(self):
        return {path.name for path in self.out.iterdir()}


def all_files(*titles):
    return {f"{title}{ending}" for title in titles for ending in ENDINGS}
