"""The process in which math-verify decides: a line of JSON in, {"golds": [...], "answer": "..."}, and one out.

An answer may make SymPy compute without end, inside one operation that no exception reaches, or ask for any memory. So
the operating system ends this process when an answer has had its seconds of computing time; `charts.math_answers`
notices and starts another. It is run as a file and imports nothing of the project.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

MOST_MEMORY = 4 << 30  # bytes


def decide(golds: Sequence[str], answer: str, read: Callable[[str], Any], equal: Callable) -> tuple[bool | None, str]:
    """(Whether the answer is one of the golds, why); None where math-verify fails, or can read no gold."""
    verdict: tuple[bool | None, str] = (False, "differs for math-verify")
    for gold in golds:
        try:
            known = read(gold)
            if not known:
                verdict = (None, "math-verify cannot read the gold answer")
            elif equal(known, read(answer), timeout_seconds=None, raise_on_error=True):
                return True, "equal for math-verify"
        except Exception as error:  # of many kinds, from math-verify, SymPy and the parser of LaTeX
            verdict = (None, f"math-verify failed: {type(error).__name__}: {str(error)[:200]}")
    return verdict


def serve(seconds: float) -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no verdict
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program, which ends this process in the end

    def say(what: object) -> None:
        print(json.dumps(what), file=answers, flush=True)

    try:
        import math_verify
    except Exception as error:
        say(f"math-verify cannot be loaded ({error}): pip install math-verify")
        return

    @lru_cache(maxsize=256)  # the answers to one question come together
    def read(text: str) -> Any:
        return math_verify.parse(f"\\boxed{{{text}}}", parsing_timeout=None, raise_on_error=True)

    read(r"\frac{1}{2}")  # its parser is built with the first expression
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, hard))
    say(None)
    for line in sys.stdin:
        case = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, seconds)  # SIGPROF, which nobody handles, ends the process
        verdict = decide(case["golds"], case["answer"], read, math_verify.verify)
        signal.setitimer(signal.ITIMER_PROF, 0)
        say(verdict)


if __name__ == "__main__":
    import logging

    logging.disable(logging.CRITICAL)  # it warns that no time limit is set: the limit is the process's
    serve(float(sys.argv[1]))
