"""Display objects for the notebooks: tables, frames, audio players, plots, and curves that are updated every epoch.

    loader = main.load_data(args)
    views.describe_subsets(loader)

Functions return objects that IPython displays. They contain their data, so that an executed notebook shows it anywhere.
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
from videosummarizer.match_files import find_file

# Height of a frame on the screen.
FRAME_HEIGHT_PX = 96
# Frames that are shown of a misclassified segment.
NUM_FRAMES_SHOWN = 3
JPEG_QUALITY = 85
# Display names of the labels, in the order of display.
CLASSES = {1: "highlight", 0: "other"}


def describe_subsets(loader) -> HTML:
    """Return a table of a dataset's subsets.

    Args:
        loader: DataLoader of the dataset.
    """
    rows = []
    for subset in SUBSETS:
        num_segments, num_highlights = loader.num_segments[subset], loader.num_highlights[subset]
        duration = format_time(sum(match.duration_sec for match in loader.matches(subset)))
        ratio = f"{num_highlights / loader.num_decided[subset]:.1%}" if loader.num_decided[subset] else "-"
        rows.append([subset, loader.num_videos[subset], duration, num_segments, num_highlights, ratio])
    return table(["subset", "matches", "length", "segments", "highlights", "highlight ratio"], rows)


def show_frames(loader, subset: str = "train", num_segments: int = 8) -> HTML:
    """Return the middle frames of some segments, one row per class.

    Args:
        loader: DataLoader of the dataset.
        subset: "train", "valid" or "test".
        num_segments: the most segments per class; they are evenly spread over the subset.
    """
    rows = []
    for label, name in CLASSES.items():
        files = zip(loader.segment_files[subset], loader.is_decided(subset), strict=True)
        files = [file for file, is_decided in files if is_decided and file.label == label]
        indices = np.unique(np.linspace(0, len(files) - 1, min(num_segments, len(files))).round().astype(int))
        rows.append(f"<p><b>{name}</b></p>")
        for file in (files[index] for index in indices):
            caption = html.escape(segment_caption(loader, file))
            rows.append(
                '<figure style="display: inline-block; margin: 0 6px 6px 0; text-align: center">'
                f"{frame_strip(loader, file, 1)}<figcaption>{caption}</figcaption></figure>"
            )
    return HTML("".join(rows))


def frame_strip(loader, file: SegmentFile, num_frames: int) -> str:
    """Return HTML that shows evenly spaced frames of a segment in a row.

    Args:
        loader: DataLoader of the dataset.
        file: the segment.
        num_frames: how many of its frames are shown.
    """
    video, _ = read_arrays(file, loader.data_shape)
    frames = video[((np.arange(num_frames) + 0.5) * len(video) / num_frames).astype(int)]
    url, caption = jpeg_url(np.concatenate(frames, axis=1)), html.escape(segment_caption(loader, file))
    return f'<img src="{url}" alt="frames of {caption}" style="height: {FRAME_HEIGHT_PX}px">'


def segment_caption(loader, file: SegmentFile) -> str:
    """Return the title of a segment's match and the time at which the segment starts."""
    return f"{file.title} {format_time(file.index * loader.config.segment_length)}"


def jpeg_url(image: np.ndarray) -> str:
    """Return an image as a JPEG in a data URL.

    Args:
        image: (H, W, 3) uint8 RGB.
    """
    content = io.BytesIO()
    PIL.Image.fromarray(image).save(content, "JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"


def play_audio(loader, file: SegmentFile) -> Audio | Markdown:
    """Return a player of a segment's audio, or a sentence if the dataset holds MFCCs, which cannot be played.

    Args:
        loader: DataLoader of the dataset.
        file: the segment.
    """
    if loader.config.apply_mfcc:
        return Markdown("The dataset holds MFCCs instead of audio: there is nothing to play.")
    _, audio = read_arrays(file, loader.data_shape)
    # Without normalisation, a quiet segment sounds quiet.
    return Audio(np.clip(audio, -1, 1), rate=loader.config.audio_sample_rate, normalize=False)


def summarise_model(network) -> HTML:
    """Return a table of the layers that have a kernel, with their output shapes and numbers of weights.

    Args:
        network: a keras.Model.
    """
    shown = [layer for layer in network.layers if hasattr(layer, "kernel")]
    rows = [[layer.name, layer.output.shape, f"{layer.count_params():,}"] for layer in shown]
    count = (
        f"<p>{network.count_params():,} weights in {len(network.layers)} layers, of which {len(shown)} are shown</p>"
    )
    return HTML(count + table(["layer", "output", "weights"], rows).data)


def live_curves() -> Callable[[list[dict]], None]:
    """Display the curves of training, and return the function with which `main.train` updates them after each epoch."""
    handle = display(Markdown("The curves appear when the first epoch ends."), display_id=True)
    return lambda history: handle.update(Image(plots.plot_history(history), alt="curves of training"))


def show_plots(folder: str | os.PathLike, names: Iterable[str], prefix: str) -> None:
    """Display the PNG files of a folder whose names start with a prefix.

    Args:
        folder: folder of the files.
        names: names of files in it.
        prefix: start of the names of the files that are displayed.
    """
    for name in names:
        if name.startswith(prefix):
            display(Image(filename=Path(folder) / name, alt=Path(name).stem.replace("_", " ")))


def misclassified_segments(loader, predictions_path: str | os.PathLike, num_rows: int = 20) -> HTML:
    """Return a table of the false positives and false negatives of a test, with frames.

    Args:
        loader: DataLoader of the dataset.
        predictions_path: predictions.csv of main.test_checkpoint.
        num_rows: the most rows; segments whose scores are furthest from their labels come first.
    """
    with open(predictions_path, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["label"]]  # those of undecided time have none
    misclassified = [row for row in rows if row["label"] != row["found"]]
    misclassified.sort(key=lambda row: -abs(float(row["label"]) - float(row["score"])))
    file_of = {(file.title, file.index): file for file in loader.segment_files["test"]}
    cells = []
    for row in misclassified[:num_rows]:
        frames = HTML(frame_strip(loader, file_of[row["title"], int(row["index"])], NUM_FRAMES_SHOWN))
        kind = "missed" if row["label"] == "1" else "predicted, but not labelled"
        cells.append([row["title"], row["start_time"], row["end_time"], kind, f"{float(row['score']):.3f}", frames])
    count = (
        f"<p>{len(misclassified)} of {len(rows)} test segments are misclassified; {len(cells)} are shown, the worst "
        "first.</p>"
    )
    return HTML(count + table(["match", "from", "to", "error", "score", "frames"], cells).data)


def table(names: Sequence[str], rows: Iterable[Sequence]) -> HTML:
    """Return an HTML table.

    Args:
        names: names of the columns.
        rows: cells of each row: HTML objects, or values whose text is shown.
    """

    def cell(value) -> str:
        return value.data if isinstance(value, HTML) else html.escape(str(value))

    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join("<tr>" + "".join(f"<td>{cell(value)}</td>" for value in row) + "</tr>" for row in rows)
    return HTML(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")


def find_video(loader, subset: str, video_dir: str | os.PathLike) -> Path:
    """Return the video of a subset's first match that has its video in a folder.

    Args:
        loader: DataLoader of the dataset.
        subset: "train", "valid" or "test".
        video_dir: folder of videos.

    Raises:
        FileNotFoundError: the folder has no video of the subset's matches.
    """
    titles = [match.title for match in loader.matches(subset)]
    names = [loader.video_records.get(title, {}).get("source", f"{title}.mp4") for title in titles]
    for name in names:
        if (path := find_file(Path(video_dir) / Path(name).name)).is_file():
            return path
    raise FileNotFoundError(
        f"video_dir: received {video_dir}, expected the folder of the matches that the dataset was made of, with at "
        f"least one of its {subset} matches: {', '.join(names[:5])}"
    )
