"""Read mutated files with every reader of the toolkit, and check that none ends in a traceback, hangs, or fills memory
or the disk.

    python benchmarks/fuzz.py                                             the numbers of docs/benchmarks.md: some hours
    python benchmarks/fuzz.py --videos 20 --texts 300 --checkpoints 20 --pickles 1000
    python benchmarks/fuzz.py --videos 0 --texts 0 --checkpoints 0 --seed 7    pickles only, other ones

Videos (H.264, HEVC, AV1 and MPEG-4 in mp4, mkv and ts) go through --check and a conversion between two intact matches,
and one in 20 through the label finder and the extractor; see fuzz_videos.py. Label files, pairs CSV, metadata.json,
zips, <title>.json, scores and resume.npz, checkpoints and segment pickles are read in one process; see fuzz_files.py.
The seed decides all of them. Prints each violation and a table, and keeps the files of violations. Needs Linux.
"""

import argparse
import contextlib
import hashlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import fuzz_files  # noqa: E402
import fuzz_videos  # noqa: E402
from fuzz_files import Target, Violation  # noqa: E402
from tqdm import tqdm  # noqa: E402

# A file that takes more processor time is a hang.
MAX_SEC = 20
# So is one that takes longer in all, on a machine that is busy with other work.
MAX_WAIT_SEC = 100
# Signals of the two timers.
HANG_SIGNALS = (signal.SIGPROF, signal.SIGALRM)
# A process that takes more memory is a violation.
MAX_BYTES = 1_500_000_000
# Columns of the table: what may happen (an unexpected exception of one match is a line, too), and what must not.
OUTCOMES = ("read", "refused", "unexpected")
VIOLATIONS = ("traceback", "hang", "crash", "memory", "written", "message", "lost", "wrong", "check", "executed")
# Audit events of Python that no reader of a file causes.
FORBIDDEN_EVENTS = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "subprocess.Popen",
    "socket.connect",
    "shutil.chown",
)
# Exit status of a process that `forbid_execution` ends.
EXECUTED_STATUS = 77


def forbid_execution(event: str, _) -> None:
    """End the process at an event of FORBIDDEN_EVENTS. This is an audit hook."""
    if event in FORBIDDEN_EVENTS:
        os.write(2, f"executed: {event}\n".encode())
        os._exit(EXECUTED_STATUS)


def read_memory_bytes(name: str) -> int:
    """Return a value of /proc/self/status, such as VmHWM, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def random_of(target: Target, number: int, seed: int) -> Random:
    """Return the random generator of one mutated file. It does not depend on the other files."""
    return Random(hashlib.sha256(f"{seed} {target.name} {number}".encode()).digest())


def try_file(target: Target, folder: Path, content: bytes) -> tuple[str, str]:
    """Read a mutated file, and return the column of the table that it belongs to and a description."""
    path = folder / target.file_name
    path.unlink(missing_ok=True)  # a reader may have left a link
    path.write_bytes(content)
    try:
        target.read(folder)
        return "read", ""
    except target.refusals as error:
        try:
            fuzz_files.check_message(str(error))
        except Violation as violation:
            return violation.args
        return "refused", str(error)
    except Violation as violation:
        return violation.args
    except MemoryError as error:
        return "memory", repr(error)
    except Exception as error:
        trace, place = error.__traceback__, ""
        while trace:
            code = trace.tb_frame.f_code
            if str(ROOT) in code.co_filename and "benchmarks" not in code.co_filename:
                place = f"{Path(code.co_filename).name}:{trace.tb_lineno}"
            trace = trace.tb_next
        return "traceback", f"{type(error).__name__} in {place}: {str(error)[:200]}"


def work(target: Target, numbers: list[int], seed: int, folder: Path, keep: Path, results: int) -> None:
    """Try mutated files one after the other, and write a line of JSON for each into the pipe `results`."""
    folder.mkdir(parents=True)
    target.prepare(folder)
    if target.name not in fuzz_videos.TARGET_NAMES:
        sys.addaudithook(forbid_execution)
    for number in HANG_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    limit = read_memory_bytes("VmData") + 2 * MAX_BYTES  # protects the machine; the peak is measured below
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    for number in numbers:
        content = target.mutate(random_of(target, number, seed))
        (keep / "current").write_bytes(content)
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again
        before, start = read_memory_bytes("VmRSS"), time.process_time()
        signal.alarm(MAX_WAIT_SEC)
        signal.setitimer(signal.ITIMER_PROF, MAX_SEC)
        outcome, detail = try_file(target, folder, content)
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        peak = read_memory_bytes("VmHWM")
        if peak > MAX_BYTES:
            outcome, detail = "memory", f"{peak / 1e6:.0f} MB, {before / 1e6:.0f} MB before"
        if outcome not in ("read", "refused"):
            (keep / file_name(target, number, outcome)).write_bytes(content)
        line = {"number": number, "outcome": outcome, "detail": detail[:2000]}
        line |= {"sec": time.process_time() - start, "mb": peak / 1e6}
        os.write(results, (json.dumps(line) + "\n").encode())


def run_target(target: Target, num: int, seed: int, scratch: Path, keep: Path) -> Iterator[dict]:
    """Yield the result of each mutated file. A process that ends is replaced, and its file is a violation."""
    numbers = list(range(num))
    while numbers:
        reader, writer = os.pipe()
        folder = Path(tempfile.mkdtemp(dir=scratch)) / "work"
        process_id = os.fork()
        if process_id == 0:
            status = 1
            try:
                os.setsid()
                os.close(reader)
                work(target, numbers, seed, folder, keep, writer)
                status = 0
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(status)
        os.close(writer)
        try:
            with open(reader) as lines:
                for line in lines:
                    result = json.loads(line)
                    numbers.remove(result["number"])
                    yield result
            _, status = os.waitpid(process_id, 0)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process_id, signal.SIGKILL)
            shutil.rmtree(folder.parent, ignore_errors=True)
        if status:
            ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
            outcome = "hang" if ended_by in HANG_SIGNALS else "crash"
            if os.WIFEXITED(status) and os.WEXITSTATUS(status) == EXECUTED_STATUS:
                outcome = "executed"
            elif ended_by is None:
                raise RuntimeError(f"{target.name}: fuzz.py itself failed")
            number = numbers.pop(0)
            shutil.copy(keep / "current", keep / file_name(target, number, outcome))
            yield {"number": number, "outcome": outcome, "detail": f"signal {ended_by}", "sec": MAX_SEC, "mb": 0}


def file_name(target: Target, number: int, outcome: str) -> str:
    """Return the name under which the file of a violation is kept."""
    kind = "".join(character if character.isalnum() else "_" for character in target.name)
    return f"{kind}_{number}_{outcome}{Path(target.file_name).suffix}"


def report_target(target: Target, num: int, seed: int, scratch: Path, keep: Path, counts: Counter) -> None:
    """Try `num` files of a kind, print violations, and add to the counts by outcome, and to the maxima."""
    with tqdm(total=num, desc=target.name, unit="file", leave=False, disable=None) as bar:
        for result in run_target(target, num, seed, scratch, keep):
            bar.update()
            counts["files"] += 1
            counts[result["outcome"]] += 1
            counts["sec"] = max(counts["sec"], result["sec"])
            counts["mb"] = max(counts["mb"], result["mb"])
            if result["outcome"] not in ("read", "refused"):
                tqdm.write(
                    f"{target.name} {result['number']}: {result['outcome']}: {result['detail']}", file=sys.stdout
                )
                sys.stdout.flush()


def print_table(rows: dict[str, Counter]) -> None:
    columns = [*OUTCOMES, *VIOLATIONS]
    print(f"\n{'kind':20}{'files':>8}" + "".join(f"{name:>10}" for name in columns) + f"{'max s':>8}{'max MB':>8}")
    for name, counts in rows.items():
        numbers = "".join(f"{counts[column]:10d}" for column in columns)
        print(f"{name:20}{counts['files']:8d}{numbers}{counts['sec']:8.1f}{counts['mb']:8.0f}")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--videos", type=int, default=1400, help="Number of mutated videos (default: %(default)s).")
    add("--texts", type=int, default=3000, help="Number of label, CSV, JSON, npz and zip files (default: %(default)s).")
    add("--checkpoints", type=int, default=1000, help="Number of mutated checkpoints (default: %(default)s).")
    add("--pickles", type=int, default=20_000, help="Number of mutated segment pickles (default: %(default)s).")
    add("--seed", type=int, default=0, help="Seed of all mutations (default: %(default)s).")
    add(
        "--keep",
        type=Path,
        default=Path("fuzz_violations"),
        help="Folder for files of violations (default: %(default)s).",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Try all kinds, print the table, and return 1 if there was a violation, otherwise 0."""
    args = parse_args(argv)
    args.keep.mkdir(parents=True, exist_ok=True)
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        scratch, marker = Path(folder), Path(folder) / "executed"
        (scratch / "intact").mkdir()
        targets = fuzz_files.all_targets(scratch / "intact", marker)
        texts = [name for name in targets if name not in ("checkpoints", "segment pickles")]
        num_of = {name: (args.texts + place) // len(texts) for place, name in enumerate(texts)}
        num_of |= {"segment pickles": args.pickles, "checkpoints": args.checkpoints}
        if args.videos:
            targets |= fuzz_videos.all_targets(scratch / "intact")
            num_of |= fuzz_videos.numbers(args.videos)
        with contextlib.suppress(KeyboardInterrupt):  # the table then has the files tried so far
            for name, num in num_of.items():
                if num:
                    rows[name] = Counter()
                    report_target(targets[name], num, args.seed, scratch, args.keep.resolve(), rows[name])
        (args.keep / "current").unlink(missing_ok=True)
        if marker.exists():
            rows["segment pickles"]["executed"] += 1
    print_table(rows)
    return 1 if any(counts[name] for counts in rows.values() for name in VIOLATIONS) else 0


if __name__ == "__main__":
    sys.exit(main())
