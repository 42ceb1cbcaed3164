"""Compare the quality of `python main.py --data_dir DATASET` with the 2020 release and with baselines.

    python benchmarks/bench_quality.py --data_dir DATASET                       seeds 0, 1 and 2, main.py's defaults
    python benchmarks/bench_quality.py --data_dir DATASET --seeds 0 --epochs 5

Each network is trained on train; its epoch (lowest log loss) and its operating point are chosen on valid; test is read
once, at the end. Metrics are means over the seeds, with the lowest and the highest. The training time includes
validation and saving, and for main.py reading; the networks of the 2020 release get their arrays from memory.

The networks of the 2020 release are defined here, because only this comparison needs them. There are two: basic, which
takes one segment, and sequence, which also takes two segments before and after (at the ends of a match the outermost
one is repeated). Both take MFCCs, which are computed here if the dataset holds waveforms.
"""

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import main as training  # noqa: E402
from data_loader import DataLoader  # noqa: E402
from videosummarizer.dataset import sampling  # noqa: E402
from videosummarizer.dataset.metadata import SUBSETS, DatasetError  # noqa: E402
from videosummarizer.evaluation import metrics, quality_report  # noqa: E402
from videosummarizer.evaluation.operating_point import OperatingPoint, choose_operating_point  # noqa: E402
from videosummarizer.training import inference, validation  # noqa: E402
from videosummarizer.training.checkpoint import read_checkpoint  # noqa: E402
from videosummarizer.training.validation import TrainingError  # noqa: E402

# Factor of the L2 penalty on weights.
WEIGHT_PENALTY = 0.005
# Segments before and after that the sequence network takes.
NUM_NEIGHBOURS = 2
# Segments that the sequence network takes.
SEQUENCE_LENGTH = 2 * NUM_NEIGHBOURS + 1
# Features of a segment.
NUM_FEATURES = 16
BATCH_SIZE = 16
LEARNING_RATE = 0.001
# Columns of the table, as functions of a run's metrics.
METRICS = {
    "average precision": lambda f: f["per_segment"]["average_precision"],
    "F1 by segment": lambda f: f["per_segment"]["f1"],
    "event F1, IoU 0.3": lambda f: f["per_event"]["iou_0.3"]["f1"],
    "event F1, IoU 0.5": lambda f: f["per_event"]["iou_0.5"]["f1"],
    "training, s": lambda f: f["training_sec"],
}


@dataclass(frozen=True)
class Subset:
    """A subset in memory.

    Attributes:
        video: (n, T, H, W, 3) uint8.
        mfcc: (n, 40, num_frames, 1) float32.
        labels: (n,) int64, 0 or 1.
        neighbours: (n, 5) int64, the indices of the segments that the sequence network takes for each segment.
    """

    video: np.ndarray
    mfcc: np.ndarray
    labels: np.ndarray
    neighbours: np.ndarray

    def inputs(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Return a network's inputs for some of the segments."""
        return {"video": self.video[indices], "mfcc": self.mfcc[indices]}


def read_subset(loader: DataLoader, subset: str) -> Subset:
    video, mfcc, neighbours, num_segments = [], [], [], 0
    for files in loader.files_by_match(subset):
        frames, audio = map(np.stack, zip(*loader.read_match(files), strict=True))
        video.append(frames)
        mfcc.append(audio if loader.config.apply_mfcc else sampling.mfcc(audio, loader.config.audio_sample_rate))
        around = np.arange(len(files))[:, np.newaxis] + np.arange(-NUM_NEIGHBOURS, NUM_NEIGHBOURS + 1)
        neighbours.append(num_segments + np.clip(around, 0, len(files) - 1))
        num_segments += len(files)
    mfcc = np.concatenate(mfcc)[..., np.newaxis].astype(np.float32)
    return Subset(np.concatenate(video), mfcc, loader.labels(subset), np.concatenate(neighbours))


def build_baseline(data: Subset, is_sequence: bool):
    """Return a compiled network of the 2020 release, its encoder and its head.

    The encoder has a 3-D convolution for the video and a 2-D convolution for the MFCCs, each pooled and flattened, and
    a dense layer for both. The head scores the features of one segment or, in the sequence network, of five by an LSTM.

    Args:
        data: a subset, for the shapes of its arrays.
        is_sequence: whether the network takes the segments before and after.
    """
    from videosummarizer.training.keras_backend import keras

    layers, ops, penalty = keras.layers, keras.ops, keras.regularizers.L2(WEIGHT_PENALTY)
    options = {"activation": "relu", "padding": "same", "kernel_regularizer": penalty}
    video = keras.Input(data.video.shape[1:], dtype="uint8", name="video")
    mfcc = keras.Input(data.mfcc.shape[1:], name="mfcc")
    video_features = layers.MaxPooling3D(2, padding="same")(
        layers.Conv3D(8, 3, **options)(layers.Rescaling(1 / 255)(video))
    )
    audio_features = layers.MaxPooling2D(2, padding="same")(layers.Conv2D(4, 3, **options)(mfcc))
    both = layers.Concatenate()([layers.Flatten()(video_features), layers.Flatten()(audio_features)])
    encoded = layers.Dense(NUM_FEATURES, activation="relu", kernel_regularizer=penalty)(both)
    inputs = {"video": video, "mfcc": mfcc}
    encoder = keras.Model(inputs, encoded)
    features = keras.Input((SEQUENCE_LENGTH, NUM_FEATURES) if is_sequence else (NUM_FEATURES,))
    x = layers.LSTM(16, kernel_regularizer=penalty)(features) if is_sequence else features
    head = keras.Model(features, layers.Dense(1, activation="sigmoid")(x))
    of_batch = ops.reshape(encoded, (-1, SEQUENCE_LENGTH, NUM_FEATURES)) if is_sequence else encoded
    network = keras.Model(inputs, head(of_batch))
    network.compile(keras.optimizers.Adam(LEARNING_RATE), "binary_crossentropy")
    return network, encoder, head


def run_baseline(loader: DataLoader, data: dict[str, Subset], is_sequence: bool, seed: int, num_epochs: int) -> dict:
    """Train and test a network of the 2020 release, and return metrics as `evaluate` does."""
    from videosummarizer.training.keras_backend import keras

    def score(subset: Subset) -> np.ndarray:
        parts = np.array_split(np.arange(len(subset.labels)), 1 + len(subset.labels) // 64)
        features = np.concatenate([encoder.predict_on_batch(subset.inputs(part)) for part in parts])
        return head.predict_on_batch(features[subset.neighbours] if is_sequence else features)

    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    train, num_batches = data["train"], 1 + (len(data["train"].labels) - 1) // BATCH_SIZE
    network, encoder, head = build_baseline(train, is_sequence)
    best_loss, best_weights = float("inf"), network.get_weights()
    begin = time.perf_counter()
    for _ in range(num_epochs):
        for part in np.array_split(rng.permutation(len(train.labels)), num_batches):
            inputs = train.inputs(train.neighbours[part].ravel() if is_sequence else part)
            network.train_on_batch(inputs, train.labels[part, np.newaxis].astype(np.float32))
        loss = metrics.log_loss(data["valid"].labels, score(data["valid"])[:, 0])
        if loss < best_loss:
            best_loss, best_weights = loss, network.get_weights()
    training_sec = time.perf_counter() - begin
    network.set_weights(best_weights)
    return evaluate(loader, lambda subset: one_step_scores(score(data[subset]))) | {"training_sec": training_sec}


def one_step_scores(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return segment scores, (num_segments, 1) float, as `validation.predict` does, with one step per segment."""
    return scores[:, 0], scores


def run_main(data_dir: str, seed: int, num_epochs: int) -> dict:
    """Run `python main.py --data_dir DATASET`, and return metrics as `evaluate` does."""
    with tempfile.TemporaryDirectory() as ckpt_dir:
        arguments = ["--data_dir", data_dir, "--seed", str(seed), "--epochs", str(num_epochs), "--ckpt_dir", ckpt_dir]
        args = training.parse_args(arguments)
        loader = training.load_data(args)
        begin = time.perf_counter()
        ckpt_path = training.train(args, loader)
        training_sec = time.perf_counter() - begin
        checkpoint = read_checkpoint(Path(ckpt_path))
        network = inference.load_network(checkpoint)
    return evaluate(loader, lambda subset: validation.predict(network, loader, subset), checkpoint.point) | {
        "training_sec": training_sec
    }


def evaluate(
    loader: DataLoader, score: Callable[[str], tuple[np.ndarray, np.ndarray]], point: OperatingPoint | None = None
) -> dict[str, dict]:
    """Return the test metrics of `quality_report.evaluate_once`; a missing operating point is chosen on valid."""
    if point is None:
        point = choose_operating_point(quality_report.score_matches(loader.matches("valid"), *score("valid")))
    matches = quality_report.score_matches(loader.matches("test"), *score("test"))
    return quality_report.evaluate_once(matches, point)


def format_row(name: str, runs: list[dict]) -> str:
    """Return a line of the table: the mean of each metric and, of several runs, the lowest and the highest."""
    cells = []
    for title, metric in METRICS.items():
        values = [metric(run) for run in runs if "training_sec" in run or title != "training, s"]
        digits = 0 if title == "training, s" else 3
        cell = f"{np.mean(values):.{digits}f}" if values else "-"
        cells.append(f"{cell} [{min(values):.{digits}f}, {max(values):.{digits}f}]" if len(values) > 1 else cell)
    return f"{name:30}" + "".join(f"{cell:>23}" for cell in cells)


def run(args: argparse.Namespace) -> None:
    loader = training.load_data(training.parse_args(["--data_dir", args.data_dir]))
    counts = ", ".join(f"{s} {loader.num_videos[s]} matches, {loader.num_segments[s]} segments" for s in SUBSETS)
    print(f"{args.data_dir}: {counts}\nseeds {args.seeds}, {args.epochs} epochs\n")
    print(f"{'':30}" + "".join(f"{title:>23}" for title in METRICS), flush=True)
    data = {subset: read_subset(loader, subset) for subset in SUBSETS}
    methods = {
        "main.py": lambda seed: run_main(args.data_dir, seed, args.epochs),
        "2020 release, basic": lambda seed: run_baseline(loader, data, False, seed, args.epochs),
        "2020 release, sequence": lambda seed: run_baseline(loader, data, True, seed, args.epochs),
    }
    for name, method in methods.items():
        with contextlib.redirect_stdout(sys.stderr):  # keeps main.py's epoch lines out of the table
            runs = [method(seed) for seed in args.seeds]
        print(format_row(name, runs), flush=True)
    if loader.config.apply_mfcc:
        print("loudness: not available for MFCC datasets, whose level is normalised away")
    else:
        loudness = evaluate(loader, lambda subset: validation.rms_levels(loader, subset))
        print(format_row("loudness threshold", [loudness]))
    everything = evaluate(
        loader,
        lambda subset: one_step_scores(np.ones((loader.num_segments[subset], 1))),
        quality_report.ALWAYS_HIGHLIGHT,
    )
    print(format_row("everything is a highlight", [everything]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True, metavar="DATASET", help="Dataset of data_converter.py.")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], help="Seeds of every network (default: 0 1 2)."
    )
    parser.add_argument(
        "--epochs",
        type=int,
        default=training.parse_args([]).epochs,
        help="Epochs of every network (default: %(default)s).",
    )
    args = parser.parse_args()
    try:
        run(args)
    except (DatasetError, TrainingError) as error:
        sys.exit(f"bench_quality.py: error: {error}")


if __name__ == "__main__":
    main()
