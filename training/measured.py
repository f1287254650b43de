"""What a run says of its measurements on the held-out charts: each one, the last, and the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from checkpoints.exact_resume import BEST_BY
from checkpoints.manifest import checkpoints, damage, step_of


def best_metric(best_by: str | None, samples: int) -> str:
    """The logged metric behind --best-by, of measurements with `samples` completions of each question."""
    if samples == 1:
        return BEST_BY
    return f"eval_pass@{samples if best_by == 'pass@n' else 1}"


def measured_ks(logs: Mapping[str, float]) -> list[int]:
    """The k whose Pass@k these logs hold, in order; none where each question had one completion."""
    names = (key.removeprefix("eval_pass@") for key in logs if key.startswith("eval_pass@"))
    return sorted(int(name) for name in names if name.isdigit())


def pass_at_k_line(logs: Mapping[str, float]) -> str | None:
    """Pass@1 12.5 % [4.1, 23.2], Pass@2 ...: a measurement in words; None where the logs hold none."""
    return ", ".join(_in_words(logs, k) for k in measured_ks(logs)) or None


def _in_words(logs: Mapping[str, float], k: int) -> str:
    value, low, high = (100 * logs[f"eval_pass@{k}{end}"] for end in ("", "/low", "/high"))
    return f"Pass@{k} {value:.1f} % [{low:.1f}, {high:.1f}]"


def summary(history: Sequence[Mapping[str, float]], questions: int, folder: Path, *, last: bool) -> list[str]:
    """The lines at the end of a run: the last measurement (`last`: it is of the weights kept), and with several
    completions a question which step is the best by Pass@1 and by Pass@n, and the checkpoint that has it."""
    measured = [entry for entry in history if BEST_BY in entry]
    if not measured:
        return []
    ks = measured_ks(measured[-1])
    if not ks:
        accuracy = f"Held-out accuracy: {measured[-1][BEST_BY]:.1%} on {questions} questions, one completion each"
        return [accuracy] if last else []
    lines = [f"Held-out charts, {questions} questions, {ks[-1]} completions each: {pass_at_k_line(measured[-1])}"]
    whole = {step_of(path): path.name for path in checkpoints(folder) if damage(path, hashes=False) is None}
    for k in (1, ks[-1]):
        best = max(measured, key=lambda entry: entry.get(f"eval_pass@{k}", -1.0))  # the first of equals
        kept = whole.get(int(best["step"]), "no checkpoint of it is kept (--best-by keeps one)")
        lines.append(f"Best by Pass@{k}: update {best['step']}, {_in_words(best, k)}: {kept}")
    return lines if last else lines[1:]
