"""Pass@k: the estimator against the usual loop over problems, and a samples file read in one pass.

    python benchmarks/pass_at_k.py

Prints, for a million samples, the time of both estimators and their ratio (their results are asserted equal in an
untimed pass), and for files of 100,000 and 1,000,000 samples the time and memory of the whole scoring command beyond
starting the interpreter with its imports, beside those of loading the file at once.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from common.commands import Parser, check_least, program
from evaluation.estimators import pass_at_k, powers_of_two

ROOT = Path(__file__).resolve().parent.parent
N = 256
BODIES = 16  # different sets of samples in the file

CHILD = """
import sys, time
sys.path.insert(0, {root!r})
import evaluation.pass_at_k, evaluation.results, evaluation.samples, evaluation.intervals, evaluation.metrics, json
import numpy
def peak():
    return next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
before, start = peak(), time.perf_counter()
{work}
print("TOOK", time.perf_counter() - start, peak() - before)
"""
SCORE = "evaluation.pass_at_k.main(['--samples-path', {path!r}, '--output-path', {path!r} + '.results'])"
LOAD_AT_ONCE = """
rows = json.load(open({path!r}))
curve = {{}}
for k in [1, 2, 4, 8, 16, 32, 64, 128, 256]:
    values = []
    for row in rows:
        n, c = len(row["correct"]), sum(row["correct"])
        values.append(1.0 if n - c < k else 1.0 - numpy.prod(1.0 - k / numpy.arange(n - c + 1, n + 1)))
    curve[k] = numpy.mean(values)
"""


def usual_loop(n, c, ks):
    """What most scripts do: one product per problem and k."""
    table = np.empty((len(n), len(ks)))
    for row, (total, right) in enumerate(zip(n, c, strict=True)):
        for column, k in enumerate(ks):
            if total - right < k:
                table[row, column] = 1.0
            else:
                table[row, column] = 1.0 - np.prod(1.0 - k / np.arange(total - right + 1, total + 1))
    return table


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def estimators(samples: int, repeats: int) -> None:
    problems, ks = -(-samples // N), powers_of_two(N)
    n, c = np.full(problems, N), np.random.default_rng(0).integers(0, N + 1, problems)
    gap = float(np.abs(pass_at_k(n, c, ks) - usual_loop(n, c, ks)).max())
    assert gap < 1e-12, gap
    ours = median_seconds(lambda: pass_at_k(n, c, ks), max(5, repeats))
    usual = median_seconds(lambda: usual_loop(n, c, ks), repeats)
    print(f"estimator, {problems * N:,} samples ({problems:,} problems x {N}), {len(ks)} k, largest gap {gap:.0e}:")
    print(f"  usual loop {1e3 * usual:9.2f} ms\n  table      {1e3 * ours:9.2f} ms   {usual / ours:.0f} times faster")


def write_samples(path: Path, samples: int) -> None:
    """A samples file as the sampler writes it, completions of about 200 characters, one problem per line."""
    rng, bodies = random.Random(0), []
    for _ in range(BODIES):
        marks = [rng.random() < 0.5 for _ in range(N)]
        answers = [str(rng.randrange(100)) for _ in range(N)]
        table = '{"columns": ["color", "value"], "rows": [["red", "37"], ["blue", "52"], ["green", "81"]]}'
        texts = [
            f"<think>\n<type>bar</type>\n<table>{table}</table>\nStep 1: so red {answer}\n</think>\n"
            f"<answer>{answer}</answer>"
            for answer in answers
        ]
        body = {"samples": texts, "extracted": answers, "correct": marks, "correct_strict": marks}
        body |= {"reason": ["differs"] * N, "well_formed": [True] * N, "tokens": [90] * N, "truncated": [False] * N}
        body |= {"logprob": [round(-30 * rng.random(), 6) for _ in range(N)], "num_correct": sum(marks), "num_total": N}
        bodies.append(json.dumps(body)[1:])
    with path.open("w") as file:
        for i in range(-(-samples // N)):
            head = {"problem_id": f"p{i}", "question": "How tall is the red bar?", "answer": "37", "answers": ["37"]}
            head |= {"kind": "value", "image_id": f"chart{i // 3}", "image": None}
            head |= {"source": "benchmark", "run": "0" * 16}
            file.write(("[\n" if i == 0 else ",\n") + json.dumps(head)[:-1] + ", " + bodies[i % BODIES])
        file.write("\n]\n")


def in_child(work: str) -> tuple[float, float]:
    """Seconds and MB of peak memory that `work` takes beyond an interpreter with its imports."""
    code = CHILD.format(root=str(ROOT), work=work)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    _, seconds, megabytes = done.stdout.splitlines()[-1].split()
    return float(seconds), float(megabytes)


def reading(samples: int, repeats: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples.json"
        write_samples(path, samples)
        print(f"scoring a file of {samples:,} samples ({path.stat().st_size / 1e6:.0f} MB):")
        for name, work in (("this command", SCORE), ("load at once", LOAD_AT_ONCE)):
            runs = [in_child(work.format(path=str(path))) for _ in range(repeats)]
            seconds, megabytes = statistics.median(run[0] for run in runs), max(run[1] for run in runs)
            print(f"  {name}: {seconds:6.2f} s, {megabytes:5.0f} MB beyond the interpreter with its imports")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(description=__doc__.split("\n")[0])
    parser.add_argument("--samples", type=int, default=1_000_000, help="samples for the estimators")
    parser.add_argument("--files", type=int, nargs="*", default=[100_000, 1_000_000], help="samples in the files read")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each, the median is shown")
    return check_least(parser.parse_args(argv), samples=1, repeats=1)


def measure_all(args: argparse.Namespace) -> int:
    estimators(args.samples, args.repeats)
    for samples in args.files:
        reading(samples, args.repeats)
    return 0


main = program(parse_args, measure_all)

if __name__ == "__main__":
    sys.exit(main())
