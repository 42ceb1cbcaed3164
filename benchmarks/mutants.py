"""Measure what the tests notice: put single errors into each module and run the module's own test files.

    python benchmarks/mutants.py                                  a sample of every module (make mutants)
    python benchmarks/mutants.py --modules metrics reel --num 40  more of two modules

cosmic-ray makes the errors (mutants): a number changed by one, an operator or a comparison exchanged, a condition
negated, a loop that is never entered, an exception that is not caught. A mutant is killed when a test fails, or when
the tests take far longer than without it. The seed decides the sample; of a module it does not depend on the others.
Copies of the working tree are mutated, never the tree itself. Prints each survivor as a diff, and a table.
"""

import argparse
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast_from_path
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.plugins import get_operator, operator_names
from cosmic_ray.testing import run_tests
from cosmic_ray.work_item import MutationSpec, TestOutcome
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
# Test files of a module in addition to tests/test_<module>*.py.
FURTHER_TEST_FILES = {
    "alignment": ["test_shots.py"],
    "argument_types": [
        "test_data_converter_flags.py",
        "test_highlight_extractor_errors.py",
        "test_highlight_extractor_options.py",
        "test_label_finder_command.py",
        "test_label_finder_folders.py",
        "test_main_flags.py",
    ],
    "array_reader": ["test_hostile_segments.py", "test_data_loader_reading.py"],
    "atomic_file": ["test_metadata.py", "test_output_folder.py"],
    "audio_mix": ["test_audio_choice.py"],
    "audio_track": ["test_formats.py", "test_sampling.py"],
    "checkpoint": ["test_highlight_extractor_clips.py", "test_scoring.py", "test_hostile_checkpoints.py"],
    "clip_files": ["test_highlight_extractor_clips.py"],
    "colab": ["test_colab_notebook.py"],
    "color_matrix": ["test_reel_video.py", "test_joined_reel.py"],
    "contributions": ["test_reasons.py"],
    "conversion": ["test_data_converter_matches.py", "test_data_converter.py"],
    "data_converter": ["test_interruption.py"],
    "data_loader": ["test_temporal_context.py", "test_time_shift.py", "test_quality_report.py"],
    "decoding": ["test_operating_point.py", "test_operating_point_limits.py"],
    "dissolves": ["test_shots.py"],
    "error_messages": ["test_data_converter_matches.py", "test_model_scoring.py"],
    "evidence": ["test_alignment.py"],
    "extraction.arguments": [
        "test_highlight_extractor_options.py",
        "test_highlight_extractor_part.py",
        "test_together.py",
    ],
    "fingerprints": ["test_shots.py"],
    "frame_scaling": ["test_media_frames.py"],
    "frame_transform": ["test_fingerprints_placement.py", "test_shots.py"],
    "fusion": ["test_model_training.py", "test_model.py"],
    "hard_cuts": ["test_crop_path.py", "test_thumbnails.py"],
    "hardware_decoding": ["test_cluster.py", "test_hardware_decoding_crashes.py"],
    "hdf5": ["test_checkpoint.py"],
    "hdf5_strings": ["test_checkpoint.py", "test_hostile_checkpoints.py"],
    "inference": ["test_model_scoring.py", "test_run_folder.py", "test_scoring.py", "test_hostile_checkpoints.py"],
    "input_check": ["test_data_converter.py"],
    "input_folder": ["test_data_converter.py"],
    "job": ["test_highlight_extractor_reruns.py", "test_highlight_extractor.py"],
    "joined_reel": ["test_joined_reel.py", "test_together.py"],
    "keras_backend": ["test_model.py"],
    "label_choice": ["test_label_next.py"],
    "label_report": ["test_label_finder_command.py"],
    "label_sections": ["test_highlight_extractor_sections.py"],
    "layers": ["test_model_layers.py", "test_model.py"],
    "main": [
        "test_testing.py",
        "test_training_run.py",
        "test_training_run_devices.py",
        "test_training_run_files.py",
        "test_training_run_resuming.py",
    ],
    "match_result": ["test_highlight_extractor_part.py", "test_highlight_extractor_sections.py"],
    "match_signals": ["test_network_features.py", "test_label_next.py"],
    "match_writers": ["test_highlight_extractor_clips.py", "test_highlight_extractor_reruns.py"],
    "measures": ["test_reasons.py", "test_activity.py"],
    "media": ["test_formats.py"],
    "metadata": ["test_data_loader_matches.py", "test_hostile_segments.py", "test_hostile_checkpoints.py"],
    "moviepy_fixes": ["test_styled_reel.py"],
    "nal_units": ["test_nal_units.py", "test_media_frames.py", "test_formats.py"],
    "optimization": ["test_model_training.py", "test_model.py"],
    "orientation": ["test_reel_video.py", "test_joined_reel.py"],
    "output_folder": ["test_data_converter.py", "test_interruption.py"],
    "outputs": ["test_highlight_extractor.py"],
    "packet_decoding": ["test_media_faults.py", "test_media_damage.py"],
    "pairs": ["test_label_finder_folders.py", "test_label_finder_command.py"],
    "plots": ["test_quality_report.py", "test_outputs.py"],
    "prefetching": ["test_data_loader_reading.py", "test_scoring.py"],
    "problems": ["test_media_damage.py", "test_missing_audio.py", "test_input_check.py"],
    "progress_bar": ["test_highlight_extractor_options.py"],
    "reason_plots": ["test_reasons.py"],
    "reasons": ["test_review_page_reasons.py"],
    "reel": ["test_chapters.py"],
    "reel_style": ["test_styled_reel.py", "test_picture_fit.py"],
    "resume_point": ["test_main.py"],
    "run_folder": [
        "test_model.py",
        "test_training_run.py",
        "test_training_run_devices.py",
        "test_training_run_files.py",
    ],
    "runs": ["test_alignment.py"],
    "safe_hdf5": ["test_checkpoint.py", "test_hostile_checkpoints.py"],
    "safe_pickle": ["test_hostile_segments.py", "test_array_reader.py"],
    "sampling": ["test_formats.py"],
    "scoring": ["test_highlight_extractor.py"],
    "section_clips": ["test_styled_reel.py"],
    "section_frames": ["test_reel_video.py"],
    "sections": ["test_labels.py", "test_selection.py"],
    "sequences": ["test_data_loader_batches.py", "test_data_loader.py"],
    "storage": ["test_zip_archive.py", "test_unpacking.py", "test_hostile_segments.py", "test_data_loader_reading.py"],
    "stretch_page": ["test_label_next.py"],
    "thumbnails": ["test_shots.py"],
    "timestamps": ["test_missing_audio.py"],
    "trained_split": ["test_main_data.py", "test_main.py"],
    "training.arguments": ["test_main_flags.py"],
    "training_run": ["test_main.py", "test_main_network.py"],
    "unlabelled_matches": ["test_label_next.py"],
    "unlike_training": ["test_highlight_extractor_unlike.py", "test_network_features.py"],
    "untrusted_file": ["test_media.py"],
    "validation": ["test_training_run.py"],
    "video_track": ["test_media_frames.py", "test_formats.py", "test_sampling.py"],
    "views": ["test_notebooks.py"],
    "zip_archive": ["test_storage.py", "test_unpacking.py"],
}
# One plausible replacement for each operator. Others mostly end in a TypeError, which any test notices, and an
# exchange of == and `is` mostly changes nothing.
BINARY_REPLACEMENTS = {
    "Add": "Sub",
    "Sub": "Add",
    "Mul": "Div",
    "Div": "Mul",
    "FloorDiv": "Div",
    "Mod": "FloorDiv",
    "Pow": "Mul",
    "RShift": "LShift",
    "LShift": "RShift",
    "BitOr": "BitAnd",
    "BitAnd": "BitOr",
    "BitXor": "BitAnd",
}
COMPARISON_REPLACEMENTS = {
    "Eq": ("NotEq", "Gt", "Lt"),
    "NotEq": ("Eq", "Gt", "Lt"),
    "Lt": ("LtE", "Gt", "GtE"),
    "LtE": ("Lt", "Gt", "GtE"),
    "Gt": ("GtE", "Lt", "LtE"),
    "GtE": ("Gt", "Lt", "LtE"),
    "Is": ("IsNot",),
    "IsNot": ("Is",),
}
# The tests of a mutant may take this many times as long as without it, and at least so long.
TIMEOUT_FACTOR = 4
MIN_TIMEOUT_SEC = 120


def is_plausible(operator_name: str) -> bool:
    """Return whether an operator of cosmic-ray makes errors that a person could make."""
    kind, *exchanged = operator_name.removeprefix("core/").split("_")
    if kind == "ReplaceBinaryOperator":
        return BINARY_REPLACEMENTS[exchanged[0]] == exchanged[1]
    if kind == "ReplaceComparisonOperator":
        return exchanged[1] in COMPARISON_REPLACEMENTS[exchanged[0]]
    if kind == "ReplaceUnaryOperator":
        return exchanged[0] == "Delete" or exchanged == ["USub", "UAdd"]
    return not get_operator(operator_name).arguments()


def is_in_annotation(node) -> bool:
    """Return whether a node of the syntax tree is in a type hint, where an error changes nothing or ends the import."""
    while node.parent is not None:
        parent = node.parent
        if parent.type in ("annassign", "tfpdef") and parent.children[0] is not node:
            return True
        if parent.type == "funcdef" and parent.annotation is node:
            return True
        node = parent
    return False


def list_mutations(module_path: Path) -> Iterator[MutationSpec]:
    """Yield every plausible mutation of a module, as cosmic-ray's `init` command does."""
    nodes = list(ast_nodes(get_ast_from_path(module_path)))
    for operator_name in filter(is_plausible, operator_names()):
        operator = get_operator(operator_name)()
        positions = ((node, *position) for node in nodes for position in operator.mutation_positions(node))
        for occurrence, (node, start, end) in enumerate(positions):
            if not is_in_annotation(node):
                yield MutationSpec(module_path, operator_name, occurrence, start, end)


def find_modules() -> dict[str, Path]:
    """Return the path of each module of the project by its name, with that of its package where two have the name."""
    paths = sorted([*ROOT.glob("*.py"), *(ROOT / "videosummarizer").rglob("*.py")])
    counts = Counter(path.stem for path in paths)
    return {
        path.stem if counts[path.stem] == 1 else f"{path.parent.name}.{path.stem}": path
        for path in paths
        if path.stem != "__init__"
    }


def sample_mutations(module: str, num_mutants: int, seed: int) -> list[MutationSpec]:
    """Draw mutations of a module, no two at the same position of its source."""
    mutations_at: dict[tuple, list[MutationSpec]] = {}
    for mutation in list_mutations(find_modules()[module]):
        mutations_at.setdefault(mutation.start_pos, []).append(mutation)
    rng = random.Random(f"{seed} {module}")
    positions = rng.sample(sorted(mutations_at), min(num_mutants, len(mutations_at)))
    return [rng.choice(mutations_at[position]) for position in sorted(positions)]


def find_test_files(module: str) -> list[str]:
    """Return the test files of a module, those named after it first, as paths from the root."""
    named = sorted(path.name for path in (ROOT / "tests").glob(f"test_{module.replace('.', '_')}*.py"))
    names = dict.fromkeys([*named, *FURTHER_TEST_FILES.get(module, ())])
    if not names:
        raise SystemExit(f"{module}.py has no test file, expected tests/test_{module}.py")
    return [f"tests/{name}" for name in names]


def copy_tree(folder: Path) -> Path:
    """Copy the files that git tracks or could track, as they are now, to a new folder; return it."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def make_test_command(copy_dir: Path, module: str) -> str:
    """Return the command that runs a module's tests in a copy of the tree up to the first failure."""
    pytest = f"{sys.executable} -m pytest -x -q -p no:cacheprovider {' '.join(find_test_files(module))}"
    return f"env -C {copy_dir} {pytest}"


def describe(mutation: MutationSpec, diff: str) -> str:
    """Return a mutation's position with its removed and added lines."""
    lines = [line for line in diff.splitlines() if line[:1] in "+-" and not line.startswith(("+++", "---"))]
    where = f"{mutation.module_path.name}:{mutation.start_pos[0]} {mutation.operator_name.removeprefix('core/')}"
    return "\n".join([where, *lines])


def run_module(module: str, mutations: list[MutationSpec], copies: queue.Queue, pool, on_mutant) -> list[str]:
    """Run a module's tests once per mutation.

    Args:
        module: its name.
        mutations: as `sample_mutations` gives them.
        copies: copies of the tree that no thread uses.
        pool: the threads.
        on_mutant: called after each mutant.

    Returns:
        For each mutation "killed", "timeout" (which counts as killed), or the description of the survivor.

    Raises:
        SystemExit: the tests fail without a mutant.
    """

    def run(mutation: MutationSpec) -> str:
        copy_dir = copies.get()
        try:
            there = MutationSpec(
                copy_dir / mutation.module_path.relative_to(ROOT),
                mutation.operator_name,
                mutation.occurrence,
                mutation.start_pos,
                mutation.end_pos,
            )
            result = mutate_and_test([there], make_test_command(copy_dir, module), timeout_sec)
        finally:
            copies.put(copy_dir)
        if result.test_outcome is None or result.test_outcome == TestOutcome.INCOMPETENT:
            raise SystemExit(f"{module}: cosmic-ray could not run a mutant: {result.output}")
        on_mutant()
        if result.test_outcome == TestOutcome.SURVIVED:
            return describe(mutation, result.diff)
        return "timeout" if result.output == "timeout" else "killed"

    copy_dir = copies.get()
    start_sec = time.monotonic()
    outcome, output = run_tests(make_test_command(copy_dir, module), None)
    copies.put(copy_dir)
    if outcome != TestOutcome.SURVIVED:
        raise SystemExit(f"{module}: its tests fail without a mutant:\n{output[-3000:]}")
    timeout_sec = max(MIN_TIMEOUT_SEC, TIMEOUT_FACTOR * (time.monotonic() - start_sec))
    return list(pool.map(run, mutations))


def format_row(module: str, num_mutants: int, num_killed: int, num_timeouts: int, num_survived: int) -> str:
    """Return a row of the table."""
    percentage = num_killed / max(num_mutants, 1)
    return f"{module:20}{num_mutants:9}{num_killed:9}{num_timeouts:9}{num_survived:9}  {percentage:4.0%}"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    modules = sorted(find_modules())
    parser = argparse.ArgumentParser(description="Measure how many single errors in the code turn a test red.")
    parser.add_argument("--modules", nargs="+", choices=modules, default=modules, metavar="MODULE",
                        help="Modules to mutate. All by default.")  # fmt: skip
    parser.add_argument("--num", type=int, default=8, help="Mutants per module. The default is %(default)s.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the sample. The default is %(default)s.")
    parser.add_argument("--jobs", type=int, default=2, help="Test runs side by side. The default is %(default)s.")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    samples = {module: sample_mutations(module, args.num, args.seed) for module in args.modules}
    os.environ["CI"] = "true"  # a skipped test would let its mutants live
    rows = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(args.jobs) as pool:
        copies: queue.Queue = queue.Queue()
        for number in range(args.jobs):
            copies.put(copy_tree(Path(folder) / str(number)))
        with tqdm(total=sum(map(len, samples.values())), unit="mutant") as bar:
            for module, mutations in samples.items():
                bar.set_description(module)
                outcomes = run_module(module, mutations, copies, pool, bar.update)
                survivors = [outcome for outcome in outcomes if outcome not in ("killed", "timeout")]
                num_killed = len(outcomes) - len(survivors)
                rows.append((module, len(outcomes), num_killed, outcomes.count("timeout"), len(survivors)))
                for survivor in survivors:
                    tqdm.write(f"survived: {survivor}", file=sys.stdout)
                tqdm.write(format_row(*rows[-1]), file=sys.stdout)
                sys.stdout.flush()
    totals = [sum(column) for column in list(zip(*rows, strict=True))[1:]]
    print(f"\n{'module':20}{'mutants':>9}{'killed':>9}{'by time':>9}{'survived':>9}")
    print(*(format_row(*row) for row in [*rows, ("all", *totals)]), sep="\n")


if __name__ == "__main__":
    main()
