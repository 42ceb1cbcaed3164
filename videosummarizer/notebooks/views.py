"""What the notebooks show: tables, frames, sounds, pictures, and curves that are drawn anew as epochs end.

    loader = main.load_data(args)
    views.describe_subsets(loader)

Everything is given as what IPython displays, with its data in it, so that an executed notebook shows it anywhere.
"""

import base64
import csv
import html
import io
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import PIL.Image
from IPython.display import HTML, Audio, Image, Markdown, display

from videosummarizer.dataset.metadata import SUBSETS
from videosummarizer.dataset.storage import SegmentFile, read_arrays
from videosummarizer.evaluation import plots
from videosummarizer.labels import format_time

FRAME_HEIGHT_PX = 96  # on the screen
NUM_FRAMES_SHOWN = 3  # of a wrong segment
JPEG_QUALITY = 85
CLASSES = {1: "highlight", 0: "other"}


def describe_subsets(loader) -> HTML:
    """A table of what is in a dataset, by subset."""
    rows = []
    for subset in SUBSETS:
        num_segments, num_highlights = loader.num_segments[subset], loader.num_highlights[subset]
        duration = format_time(sum(match.duration_sec for match in loader.matches(subset)))
        share = f"{num_highlights / num_segments:.1%}" if num_segments else "-"
        rows.append([subset, loader.num_videos[subset], duration, num_segments, num_highlights, share])
    return table(["subset", "matches", "length", "segments", "highlights", "share"], rows)


def show_frames(loader, subset: str = "train", num_segments: int = 8) -> HTML:
    """A sheet of frames: a row of segments that are highlights and a row of others, of each the frame in its middle.

    Args:
        num_segments: of each class, at equal distances through the subset; all where there are fewer.
    """
    rows = []
    for label, name in CLASSES.items():
        files = [file for file in loader.segment_files[subset] if file.label == label]
        places = np.unique(np.linspace(0, len(files) - 1, min(num_segments, len(files))).round().astype(int))
        rows.append(f"<p><b>{name}</b></p>")
        for file in (files[place] for place in places):
            caption = html.escape(segment_caption(loader, file))
            rows.append(
                '<figure style="display: inline-block; margin: 0 6px 6px 0; text-align: center">'
                f"{frame_strip(loader, file, 1)}<figcaption>{caption}</figcaption></figure>"
            )
    return HTML("".join(rows))


def frame_strip(loader, file: SegmentFile, num_frames: int) -> str:
    """HTML of a segment: frames at equal distances through it, side by side."""
    video, _ = read_arrays(file, loader.data_shape)
    frames = video[((np.arange(num_frames) + 0.5) * len(video) / num_frames).astype(int)]
    url, what = jpeg_url(np.concatenate(frames, axis=1)), html.escape(segment_caption(loader, file))
    return f'<img src="{url}" alt="frames of {what}" style="height: {FRAME_HEIGHT_PX}px">'


def segment_caption(loader, file: SegmentFile) -> str:
    """What to call a segment: its match and where in it."""
    return f"{file.title} {format_time(file.index * loader.config.segment_length)}"


def jpeg_url(picture: np.ndarray) -> str:
    """A picture, (H, W, 3) uint8 RGB, as a JPEG in a data URL."""
    content = io.BytesIO()
    PIL.Image.fromarray(picture).save(content, "JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"


def play_sound(loader, file: SegmentFile) -> Audio | Markdown:
    """A player for a segment's sound; a sentence for a dataset of MFCCs, from which no sound can be made."""
    if loader.config.apply_mfcc:
        return Markdown("The dataset holds MFCCs in place of sound: there is nothing to play.")
    _, audio = read_arrays(file, loader.data_shape)
    # Not normalised: a quiet segment is to be heard as one.
    return Audio(np.clip(audio, -1, 1), rate=loader.config.audio_sample_rate, normalize=False)


def summarise_model(network) -> HTML:
    """A table of a keras.Model's layers that have a kernel: what comes out of each, and how many weights it has."""
    shown = [layer for layer in network.layers if hasattr(layer, "kernel")]
    rows = [[layer.name, layer.output.shape, f"{layer.count_params():,}"] for layer in shown]
    count = (
        f"<p>{network.count_params():,} weights in {len(network.layers)} layers, of which {len(shown)} are shown</p>"
    )
    return HTML(count + table(["layer", "output", "weights"], rows).data)


def live_curves() -> Callable[[list[dict]], None]:
    """Display curves of training, empty as yet; what is returned draws them anew, for `main.train` to call."""
    handle = display(Markdown("The curves are drawn when the first epoch ends."), display_id=True)
    return lambda history: handle.update(Image(plots.plot_history(history), alt="curves of training"))


def show_pictures(folder: str | os.PathLike, names: Iterable[str], beginning: str) -> None:
    """Display those PNG files in a folder, of the names given, that begin so."""
    for name in names:
        if name.startswith(beginning):
            display(Image(filename=Path(folder) / name, alt=Path(name).stem.replace("_", " ")))


def misclassified_segments(loader, predictions_path: str | os.PathLike, num_rows: int = 20) -> HTML:
    """A table of test segments that were found and are none, or missed: match, times, label, score, frames.

    Args:
        predictions_path: predictions.csv of main.test_checkpoint.
        num_rows: at most; those whose scores are furthest from their labels come first.
    """
    with open(predictions_path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    wrong = [row for row in rows if row["label"] != row["found"]]
    wrong.sort(key=lambda row: -abs(float(row["label"]) - float(row["score"])))
    file_of = {(file.title, file.index): file for file in loader.segment_files["test"]}
    cells = []
    for row in wrong[:num_rows]:
        frames = HTML(frame_strip(loader, file_of[row["title"], int(row["index"])], NUM_FRAMES_SHOWN))
        kind = "missed" if row["label"] == "1" else "found, but not labelled"
        cells.append([row["title"], row["start_time"], row["end_time"], kind, f"{float(row['score']):.3f}", frames])
    count = f"<p>{len(wrong)} of {len(rows)} test segments are wrong; {len(cells)} are shown, the worst first.</p>"
    return HTML(count + table(["match", "from", "to", "what is wrong", "score", "frames"], cells).data)


def table(names: Sequence[str], rows: Iterable[Sequence]) -> HTML:
    """A table of these columns; cells are HTML, or anything else, which is shown as its text."""

    def cell(value) -> str:
        return value.data if isinstance(value, HTML) else html.escape(str(value))

    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join("<tr>" + "".join(f"<td>{cell(value)}</td>" for value in row) + "</tr>" for row in rows)
    return HTML(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")


def find_video(loader, subset: str, video_dir: str | os.PathLike) -> Path:
    """The video of the first match of a subset whose video lies in a folder.

    Raises:
        FileNotFoundError: there is none.
    """
    titles = [match.title for match in loader.matches(subset)]
    names = [loader.video_records.get(title, {}).get("source", f"{title}.mp4") for title in titles]
    for name in names:
        if (path := Path(video_dir) / Path(name).name).is_file():
            return path
    raise FileNotFoundError(
        f"video_dir: received {video_dir}, expected the folder of the matches that the dataset was made of, with at "
        f"least one of its {subset} matches: {', '.join(names[:5])}"
    )
