"""Cut highlight videos from the sample matches with FFmpeg."""

from pathlib import Path

from clips import ffmpeg

ROOT = Path(__file__).resolve().parent.parent
MATCH = ROOT / "data" / "raw" / "city_03.mp4"
OTHER = ROOT / "data" / "raw" / "base_01.mp4"
CUTS_SEC = [(10, 17), (31, 35), (44, 53)]  # of MATCH


def make_edit(path, cuts_sec=CUTS_SEC, source=MATCH, video_filter="null", audio_filter="anull", options=()):
    """Write a video of some (start, end) of a match, one after the other, with filters on video and audio."""
    inputs = [argument for start, end in cuts_sec for argument in ("-ss", start, "-t", end - start, "-i", source)]
    streams = "".join(f"[{index}:v][{index}:a]" for index in range(len(cuts_sec)))
    graph = f"{streams}concat=n={len(cuts_sec)}:v=1:a=1[v][a];[v]{video_filter}[video];[a]{audio_filter}[audio]"
    ffmpeg(*inputs, "-filter_complex", graph, "-map", "[video]", "-map", "[audio]", "-preset", "veryfast", *options,
           path)  # fmt: skip
    return path
