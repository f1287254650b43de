"""Mathematical answers, decided by math-verify (LaTeX through SymPy) in a process of its own.

What math-verify cannot decide is unscorable and never wrong: an exception, a gold that it cannot read, an answer that
takes it more than `SECONDS`. Those are of the process's own computing time, so that a busy machine changes no verdict.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

SECONDS = 5.0
_WORKER = Path(__file__).with_name("math_worker.py")


class Checker:
    """A process that decides; it is started with the first answer, and anew when an answer has ended it."""

    def __init__(self, seconds: float = SECONDS):
        self.seconds = seconds
        self._process: subprocess.Popen[str] | None = None
        self._owner = 0  # a forked process must not read the answers to its parent's questions
        self._one_at_a_time = Lock()

    def decide(self, golds: Sequence[str], answer: str) -> tuple[bool | None, str]:
        """(Right, wrong or, None, unscorable; why). OSError where math-verify cannot be run at all."""
        with self._one_at_a_time:
            process = self._running()
            assert process.stdin is not None and process.stdout is not None
            try:
                print(json.dumps({"golds": list(golds), "answer": answer}), file=process.stdin, flush=True)
                line = process.stdout.readline()
            except BrokenPipeError:
                line = ""
            if line:
                correct, reason = json.loads(line)
                return correct, reason
            process.communicate()
            self._process = None
        return None, f"math-verify did not decide within {self.seconds:g} seconds of computing"

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
            # one order of every set: SymPy's steps, and so what it manages in the time, do not vary from run to run
            environment = {**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(_WORKER), str(self.seconds)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                encoding="utf-8",
            )
            self._owner = os.getpid()
            assert self._process.stdout is not None
            said = self._process.stdout.readline()
            if said.strip() != "null":
                self._process = None
                raise OSError(json.loads(said) if said else "math-verify could not be started")
        return self._process


decide = Checker().decide
