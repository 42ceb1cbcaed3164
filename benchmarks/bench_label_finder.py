"""How well label_finder.py finds what an edit was cut from, by each thing that edits do, and how fast it is.

    python benchmarks/bench_label_finder.py                                     matches of data/raw
    python benchmarks/bench_label_finder.py --data_dir ../shared/data/freedoom  longer ones
    python benchmarks/bench_label_finder.py --speed                             the time against a full decode, too

Matches of a folder are joined into one long match; edits are cut from it, seeded. F1 is time-wise against the known cuts.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from highlight_edits import (
    BLACK,
    PAUSE_CUTS_SEC,
    PICTURE_FILTERS,
    SOUND_FILTERS,
    STUDIO,
    Edit,
    Shot,
    draw_shots,
    join,
    reference_sections,
    render,
    replace_shots,
    write_music,
    write_talk,
)

ROOT = Path(__file__).resolve().parent.parent
CACHE_DIR = ROOT / "benchmarks" / "cache"
HEVC = ("-c:v", "libx265", "-preset", "ultrafast", "-crf", "32", "-x265-params", "log-level=error")
PROPERTIES = (
    "plain", "reordered", "twice", "codec and size", "frame rate", "crop", "zoom", "letterbox", "logo", "colour",
    "fades", "dissolves", "louder", "quieter", "compressed", "music", "sound replaced", "intro and ads",
    "no sound", "other sound", "black picture", "pause cut out", "mixed", "mixed, no sound", "another match",
)  # fmt: skip
BARS = {"plain": 0.97, "mixed": 0.90}
STEP_SEC = 0.01


def make_edit(name: str, rng: np.random.Generator, match: Path, other: Path, match_sec: float, scratch: Path) -> Edit:
    """An edit of a match that has one property, or all."""
    total_sec = match_sec / 5
    shots = draw_shots(rng, other if name == "another match" else match, match_sec, total_sec)
    if name == "another match":
        return Edit(shots)
    music = write_music(scratch / "music.wav", 3 * total_sec, 1)
    talk = write_talk(scratch / "talk.wav", match_sec, 2)
    is_mixed = name.startswith("mixed")
    some = [int(i) for i in rng.choice(len(shots), max(1, len(shots) // 4), replace=False)]
    edit = Edit(shots, has_sound="no sound" not in name)
    if name == "sound replaced" or is_mixed:
        edit.shots = replace_shots(edit.shots, some, sound=str(talk))
    if name == "other sound":
        edit.shots = replace_shots(edit.shots, list(range(len(shots))), sound=str(talk))
    if name == "black picture":
        edit.shots = [Shot(BLACK, s.start_sec, s.length_sec, sound=s.source) for s in shots]
    if name == "reordered" or is_mixed:
        edit.shots = [edit.shots[i] for i in rng.permutation(len(shots))]
    if name == "twice" or is_mixed:
        again = [Shot(str(match), s.start_sec + s.length_sec / 3, min(s.length_sec / 2, 4), speed=0.5) for s in shots]
        for place in sorted(some, reverse=True):
            edit.shots.insert(place + 1, again[place])
    if name == "intro and ads" or is_mixed:
        advert = Shot(str(other), 20, 12)
        studio = Shot(STUDIO, 0, 8, sound=str(talk))
        middle = len(edit.shots) // 2
        edit.shots = [studio, *edit.shots[:middle], advert, studio, *edit.shots[middle:], advert]
    if name == "codec and size" or is_mixed:
        edit.encoder, edit.size_px = HEVC, (320, 180)
    if name == "frame rate" or is_mixed:
        edit.frame_rate_fps = 25
    edit.picture += [f for n, f in PICTURE_FILTERS.items() if n == name or (is_mixed and n != "crop")]
    edit.sound += [f for n, f in SOUND_FILTERS.items() if n == name or (is_mixed and n == "compressed")]
    edit.fade = name == "fades"
    edit.dissolve = name == "dissolves" or is_mixed
    edit.music = str(music) if name == "music" or is_mixed else None
    return edit
