"""Invocations that cannot work, generated from a fixed seed: each must end in one line, exit code 2, nothing changed.

python -m tests.bad_invocations           the table by kind
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import os
import random
import shlex
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests import bad_files, bad_flags, bad_results

ROOT = Path(__file__).parent.parent
SEED = 2025
KINDS = {
    "flags of main.py": bad_flags.train_flags,
    "flags of the others": bad_flags.other_flags,
    "configs": bad_flags.configs,
    "data": bad_files.data,
    "checkpoints": bad_files.checkpoints,
    "models": bad_files.models,
    "samples and results": bad_results.samples,
}


@dataclass(frozen=True)
class Case:
    """One invocation, in a folder of its own that is also its working folder."""

    kind: str
    program: str
    argv: list[str]
    names: str  # what the error must name
    folder: Path


def cases(folder: Path) -> list[Case]:
    """All invocations, their inputs written below `folder`."""
    made = []
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        for kind, build in KINDS.items():
            for program, line, names, fill in build(random.Random(f"{SEED} {kind}")):
                place = folder / f"{len(made):03}"
                place.mkdir()
                if fill:
                    fill(place)
                made.append(Case(kind, program, shlex.split(line), names, place))
    return made


def content(folder: Path) -> str:
    """A hash over the names, sizes and contents of everything below `folder`."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        data = path.read_bytes() if path.is_file() else b""
        digest.update(f"{path.relative_to(folder)} {path.is_dir()} {len(data)}\n".encode(errors="replace") + data)
    return digest.hexdigest()


def here(case: Case) -> tuple[int, str]:
    """(exit code, stderr) of the program's main function in this process, lines and warnings of libraries included."""
    main = importlib.import_module(case.program.removesuffix(".py").replace("/", ".")).main
    before, environment = Path.cwd(), dict(os.environ)
    os.chdir(case.folder)
    with everything_on_stderr() as errors:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                code = main(case.argv)
        except SystemExit as end:
            code = end.code
        except BaseException as error:
            code = 1
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        finally:
            os.chdir(before)
            os.environ.clear()
            os.environ.update(environment)
    return code, errors[0]


@contextlib.contextmanager
def everything_on_stderr() -> Iterator[list[str]]:
    """Gathers what is written to the descriptor, whoever holds it; every warning is shown as in a fresh process."""
    gathered: list[str] = []
    kept, errors = os.dup(2), tempfile.TemporaryFile()  # noqa: SIM115 (closed below)
    sys.stderr.flush()
    os.dup2(errors.fileno(), 2)
    try:
        with warnings.catch_warnings():
            for category in (UserWarning, FutureWarning):
                warnings.filterwarnings("always", category=category)
            yield gathered
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        errors.seek(0)
        gathered.append(errors.read().decode(errors="replace"))
        errors.close()


def as_process(case: Case) -> tuple[int, str]:
    """(exit code, stderr) of the program as a user starts it."""
    program = ["-m", "study.sweep"] if case.program == "study/sweep.py" else [str(ROOT / case.program)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, *program, *case.argv], cwd=case.folder, env=environment, capture_output=True, text=True
    )
    return done.returncode, done.stderr


def complaint(case: Case, run=here) -> str | None:
    """What is wrong with how this invocation ends; None when all is as it must be."""
    before = content(case.folder)
    code, errors = run(case)
    if code != 2:
        return f"exit code {code}: {errors[-400:]}"
    if not errors.startswith("error: ") or errors.count("\n") != 1 or not errors.endswith("\n"):
        return f"not one line: {errors[-400:]!r}"
    if "Traceback" in errors or not errors[:-1].isprintable() or len(errors) > 1000:
        return f"not for a reader: {errors[:400]!r}"
    if case.names not in errors:
        return f"does not name {case.names!r}: {errors}"
    return None if content(case.folder) == before else "files have changed"


def table(made: list[Case], failed: list[Case]) -> str:
    """Invocations and refusals by kind."""
    every, wrong = Counter(case.kind for case in made), Counter(case.kind for case in failed)
    rows = [f"{kind:<22}{every[kind] - wrong[kind]:>4} of {every[kind]:>3}" for kind in every]
    return "\n".join([*rows, f"{'all':<22}{len(made) - len(failed):>4} of {len(made):>3}"])


if __name__ == "__main__":
    if os.environ.get("HF_HUB_OFFLINE") != "1":  # the libraries have read it already: start again
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, "HF_HUB_OFFLINE": "1"})
    with tempfile.TemporaryDirectory() as folder:
        made = cases(Path(folder))
        found = [(case, problem) for case in made if (problem := complaint(case))]
        print(table(made, [case for case, _ in found]), flush=True)
        dozen = random.Random(SEED).sample(made, 12)
        apart = [(case, problem) for case in dozen if (problem := complaint(case, as_process))]
        print(f"{'as own processes':<22}{len(dozen) - len(apart):>4} of {len(dozen):>3}")
        for case, problem in found + apart:
            print(f"{case.program} {shlex.join(case.argv)}\n    {problem}", file=sys.stderr)
        sys.exit(bool(found + apart))
