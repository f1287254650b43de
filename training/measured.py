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


def summary(
    history: Sequence[Mapping[str, float]], questions: int, folder: Path, *, last: bool, best_by: str = BEST_BY
) -> list[str]:
    """The lines at the end of a run: the measurement before training, the last one (`last`: it is of the weights kept),
    with several completions a question which update is the best by Pass@1 and by Pass@n, and the best checkpoint, which
    is chosen by the metric `best_by`."""
    measured = [entry for entry in history if BEST_BY in entry]
    trained = [entry for entry in measured if entry["step"]]
    if not trained:
        return []
    ks, base = measured_ks(trained[-1]), measured[0] if not measured[0]["step"] else None
    whole = {step_of(path): path.name for path in checkpoints(folder) if damage(path, hashes=False) is None}
    best = [_best_checkpoint(trained, base, whole, best_by)] if any(best_by in entry for entry in trained) else []
    if not ks:
        before = f", {base[BEST_BY]:.1%} before training" if base else ""
        accuracy = (
            f"Held-out accuracy: {trained[-1][BEST_BY]:.1%} on {questions} questions, one completion each{before}"
        )
        return [accuracy, *best] if last else best
    lines = [f"Before training: {pass_at_k_line(base)}"] if base else []
    if last:
        lines.append(
            f"Held-out charts, {questions} questions, {ks[-1]} completions each: {pass_at_k_line(trained[-1])}"
        )
    for k in (1, ks[-1]):
        top = max(trained, key=lambda entry: entry.get(f"eval_pass@{k}", -1.0))  # the first of equals
        kept = whole.get(
            int(top["step"]), f"none of it is kept (--best-by {'pass@1' if k == 1 else 'pass@n'} keeps one)"
        )
        lines.append(f"Best by Pass@{k}: update {top['step']}, {_in_words(top, k)}: {kept}")
    return lines + best


def _best_checkpoint(
    trained: Sequence[Mapping[str, float]], base: Mapping[str, float] | None, whole: Mapping[int, str], best_by: str
) -> str:
    """Which checkpoint is the best, and what that means, in one line."""
    top = max(trained, key=lambda entry: entry.get(best_by, -1.0))
    name = whole.get(int(top["step"]), f"that of update {top['step']}, which is not there")
    by = "accuracy" if best_by == BEST_BY else f"P{best_by.removeprefix('eval_p')}"
    line = f"Best checkpoint: {name}: the highest {by} on the held-out charts, the first of equals: {top[best_by]:.1%}"
    if base is None or best_by not in base:
        return line
    return line + f", {base[best_by]:.1%} before training" + (": no better" if base[best_by] >= top[best_by] else "")
