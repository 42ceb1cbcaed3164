"""Measure how many segments main.py trains on per second, reading included.

    python benchmarks/bench_training.py                                      on the matches of data/raw
    python benchmarks/bench_training.py --data_dir DATASET --batch_size 128  with another dataset and batch size
    KERAS_BACKEND=jax python benchmarks/bench_training.py

An epoch as main.py trains it (optimization.train_epoch) is compared with a plain loop over the same batches: Keras's
train_on_batch, whose loss is fetched after each step, and a moving average of the weights in the memory of the host.
Epochs of both alternate, and the median counts. On a CPU main.py may take at most as long as the plain loop; on an
accelerator it is to train on at least 4,000 segments per second.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import main as training  # noqa: E402
from benchmarks.bench_loader import convert_samples, median_seconds  # noqa: E402

MAX_RATIO, MIN_SEGMENTS_PER_SEC = 1.00, 4000
NUM_EPOCHS = 7
# 6 frames of 64 x 64 pixels and 3 seconds of audio per segment.
CONVERSION = ["3", "2", "64", "64", "22050", "0"]


def make_plain_loop(network, batches) -> Callable[[], None]:
    """Return a function that trains for an epoch with train_on_batch and an average on the host."""
    average = network.get_weights()

    def run() -> None:
        for inputs, targets, weights in batches.augmented():
            targets = {name: targets[name.rpartition("_")[2]] for name in network.output_names}
            network.reset_metrics()
            network.train_on_batch(inputs, targets, sample_weight=weights, return_dict=True)
            for value, weight in zip(average, network.get_weights(), strict=True):
                value += 0.01 * (weight - value)

    return run


def make_main_loop(network, loader) -> Callable[[], None]:
    """Return a function that trains for an epoch as main.py does."""
    from videosummarizer.training import optimization, training_run

    average = optimization.ExponentialMovingAverage(network)
    steps, batches = training_run.make_steps(network, average, loader, distribution=None)
    return lambda: optimization.train_epoch(steps, batches.augmented(), lambda: None)


def measure(dataset: Path, batch_size: int | None) -> bool:
    """Print the rates of both loops, and return whether main.py's is high enough."""
    from videosummarizer.training.keras_backend import has_accelerator, keras, reset_keras

    flags = [] if batch_size is None else ["--batch_size", str(batch_size)]
    args = training.parse_args(["--data_dir", str(dataset), *flags])
    loader = training.load_data(args)
    reset_keras(args.seed)
    networks = [training.make_network(args, loader) for _ in range(2)]
    seconds = median_seconds(
        {
            "plain loop": make_plain_loop(networks[0], loader.batches("train")),
            "main.py": make_main_loop(networks[1], loader),
        },
        NUM_EPOCHS,
    )
    num_segments, ratio = loader.num_segments["train"], seconds["main.py"] / seconds["plain loop"]
    devices = ", ".join(keras.distribution.list_devices())
    print(
        f"an epoch of {num_segments} segments in batches of {loader.batch_size}, {keras.backend.backend()}, {devices}"
    )
    for name, value in seconds.items():
        print(
            f"  {name:12} {value:7.2f} s  {num_segments / value:7.0f} segments/s  {value / seconds['plain loop']:6.3f}"
        )
    if has_accelerator():
        print(f"at least {MIN_SEGMENTS_PER_SEC} segments/s are expected")
        return num_segments / seconds["main.py"] >= MIN_SEGMENTS_PER_SEC
    print(f"at most {MAX_RATIO:.2f} is expected")
    return ratio <= MAX_RATIO


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, help="Dataset to train on (default: data/raw, converted).")
    parser.add_argument("--batch_size", type=int, help="Segments per batch (default: as main.py).")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        dataset = args.data_dir or convert_samples(CONVERSION, Path(scratch) / "dataset")
        return 0 if measure(dataset, args.batch_size) else 1


if __name__ == "__main__":
    sys.exit(main())
