"""Check that benchmarks/fuzz.py notices each violation, and that a few mutated files of each kind cause none."""

import subprocess
import sys
from pathlib import Path
from random import Random

from benchmarks import mutations

ROOT = Path(__file__).resolve().parent.parent
# A script that tries a kind of file whose content decides how its reader fails.
TRY_FAILURES = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "benchmarks")!r}]
import os, signal, time
from pathlib import Path
import fuzz
from fuzz_files import Target, Violation

def read(folder):
    exec((folder / "file").read_text())

CASES = {{CASES!r}}
target = Target("failures", lambda folder: None, lambda rng: CASES[numbers.pop(0)], "file", read, (LookupError,))
fuzz.MAX_SEC, fuzz.MAX_BYTES = 1, 150_000_000
folder = Path(sys.argv[1])
(folder / "keep").mkdir()
rows = []
for number in range(len(CASES)):
    numbers = [number]
    fuzz.MAX_WAIT_SEC = 3 if b"sleep" in CASES[number] else 60
    (result,) = fuzz.run_target(target, 1, 0, folder, folder / "keep")
    rows.append(result["outcome"])
print(*rows, len(list((folder / "keep").glob("failures_*"))))
"""
FAILURES = {
    "pass": "read",
    "raise KeyError('expected')": "refused",
    "raise KeyError('x' * 2000)": "message",
    "raise IndexError('two' + chr(10) + 'lines')": "message",
    "raise RuntimeError('unforeseen')": "traceback",
    "raise MemoryError": "memory",
    "kept = b'x' * 200_000_000": "memory",
    "raise Violation('lost', 'a match')": "lost",
    "time.sleep(99)": "hang",
    "while True: pass": "hang",
    "os.kill(os.getpid(), signal.SIGSEGV)": "crash",
    "os.system('true')": "executed",
    "__import__('subprocess').run('true')": "executed",
}


def test_every_violation_is_noticed_and_its_file_is_kept(tmp_path):
    cases = [case.encode() for case in FAILURES]
    script = TRY_FAILURES.replace("{CASES!r}", repr(cases))
    run = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, timeout=100)
    *outcomes, num_kept = run.stdout.split()
    assert dict(zip(FAILURES, outcomes, strict=True)) == FAILURES
    assert int(num_kept) == len(set(outcomes) - {"read", "refused"})  # all have the number 0


def test_a_few_mutated_files_of_each_kind_cause_no_violation(tmp_path):
    numbers = ["--videos", "2", "--texts", "70", "--checkpoints", "0", "--pickles", "100", "--seed", "5"]
    command = [sys.executable, ROOT / "benchmarks" / "fuzz.py", *numbers, "--keep", tmp_path / "keep"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout
    rows = [line.split() for line in run.stdout.splitlines() if line]
    assert len(rows) == 1 + 8 + 1 + 1
    assert [path.name for path in (tmp_path / "keep").iterdir()] == []


def test_the_same_seed_gives_the_same_mutations_and_another_one_others():
    def mutated(seed):
        rng = Random(seed)
        text, video = mutations.mutate_text("1,2\n3,4\n" * 9, rng), mutations.mutate_video(bytes(range(99)), rng)
        return text, video, mutations.mutate_json({"a": [1, 2, {"b": "c"}]}, rng)

    samples = [mutated(seed) for seed in range(50)]
    assert samples == [mutated(seed) for seed in range(50)]
    assert all(len({sample[kind] for sample in samples}) > 25 for kind in range(3))
