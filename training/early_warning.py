"""Early warnings of what ends training on negative samples, and the stop that keeps the best checkpoint.

Pure NSR over hundreds of steps can lose the model: completions become random (entropy), endless (length, truncation) or
formless (format), and the ratio of a wrong token is not bounded above (update/ratios.py). Each of these is compared
with the start of the run, over windows of rollout batches, and said once when it crosses its bound.
"""

from __future__ import annotations

import shutil
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm
from transformers import TrainerCallback

from checkpoints.exact_resume import BEST_BY
from checkpoints.manifest import damage
from trainers import METHODS

NO_NEGATIVES = (
    "no completion of the last {window} rollout batches was wrong: only {rest} is left. What helps: more "
    "--num-generations, an earlier checkpoint, harder questions, or a higher --reward-threshold when accuracy is soft"
)


@dataclass(frozen=True)
class Sign:
    """One metric that is watched: `over(first, now, bound)` says whether it has gone too far."""

    name: str
    metric: str
    flag: str
    over: Callable[[float, float, float], bool]
    line: str  # of first, now, bound, window


SIGNS = (
    Sign("entropy", "entropy", "--warn-entropy", lambda first, now, bound: now > bound * first,
         "entropy is {now:.3g} nats per token, over {bound:g} times the {first:.3g} of the start"),
    Sign("length", "completions/mean_length", "--warn-length", lambda first, now, bound: now > bound * first,
         "completions have {now:.4g} tokens, over {bound:g} times the {first:.4g} of the start"),
    Sign("truncation", "completions/clipped_ratio", "--warn-truncation", lambda first, now, bound: now - first > bound,
         "{now:.0%} of the completions are truncated, over {bound:.0%} more than the {first:.0%} of the start"),
    Sign("format", "rewards/format/mean", "--warn-format", lambda first, now, bound: first - now > bound,
         "the format reward is {now:.2f}, over {bound:g} below the {first:.2f} of the start"),
)  # fmt: skip


@dataclass
class Series:
    """The first and the last `window` values of one metric, and for how many values in a row it has been over."""

    window: int
    first: list[float] = field(default_factory=list)
    last: deque = field(default_factory=deque)
    over_for: int = 0

    def add(self, value: float) -> bool:
        """Whether there are two whole windows, side by side, to compare."""
        self.last.append(value)
        if len(self.last) > self.window:
            self.last.popleft()
        if len(self.first) < self.window:
            self.first.append(value)
            self.last.clear()
        return len(self.last) == self.window


class Watch:
    """Reads what an update has logged, in order; pure, so that a kept log can be read again.

    `bounds`: sign -> bound, with "ratio" beside the names of SIGNS; `window`: rollout batches. A sign that stays over
    its bound for a whole window more is a collapse; the ratio alone is none.
    """

    def __init__(self, mode: str, window: int, bounds: dict[str, float]):
        self.method, self.window, self.bounds = METHODS[mode], window, bounds
        self.series = {sign.name: Series(window) for sign in SIGNS}
        self.negatives: deque = deque(maxlen=window)
        self.ratio_over = self.barren = False
        self.collapsed: str | None = None  # the line of the sign that has lasted

    def add(self, logs: dict) -> list[tuple[str, str]]:
        """(sign, line) of the warnings that begin with this update; none for logs of an evaluation."""
        lines = {}
        if logs.get("ratio/max") is not None:
            lines["ratio"] = self._of_ratio(logs["ratio/max"])
        if "decomposed/negative" in logs:  # the first update of a rollout batch
            lines |= {sign.name: self._of_sign(sign, logs.get(sign.metric)) for sign in SIGNS}
            lines["negatives"] = self._of_negatives(logs["decomposed/negative"])
        return [(name, line) for name, line in lines.items() if line]

    def _of_sign(self, sign: Sign, value: float | None) -> str | None:
        series = self.series[sign.name]
        if value is None or value != value or not series.add(value):  # NaN: no reward of this batch could be computed
            return None
        first, now = sum(series.first) / self.window, sum(series.last) / self.window
        bound = self.bounds[sign.name]
        series.over_for = series.over_for + 1 if sign.over(first, now, bound) else 0
        line = sign.line.format(first=first, now=now, bound=bound)
        if series.over_for > self.window and self.collapsed is None:
            self.collapsed = f"{line}, and has been for {self.window} rollout batches"
        what_helps = f"What helps: {self.method.remedies}"
        return f"{line} ({sign.flag} {bound:g}). {what_helps}" if series.over_for == 1 else None

    def _of_ratio(self, value: float) -> str | None:
        was_over, self.ratio_over = self.ratio_over, value > self.bounds["ratio"]
        if not self.ratio_over or was_over:
            return None
        return (
            f"a token is {value:.3g} times as probable as when it was drawn (--warn-ratio {self.bounds['ratio']:g}), "
            "and only --negative-ratio-cap bounds that for a wrong one. What helps: that, fewer --updates-per-rollout, "
            "a lower --learning-rate"
        )

    def _of_negatives(self, value: float) -> str | None:
        """For methods of which a part is left; the trainer itself speaks up when nothing is left to learn from."""
        if not self.method.left_without_wrong:
            return None
        self.negatives.append(value)
        was_barren, self.barren = self.barren, len(self.negatives) == self.window and not any(self.negatives)
        line = NO_NEGATIVES.format(window=self.window, rest=self.method.left_without_wrong)
        return line if self.barren and not was_barren else None


def bounds_of(args) -> dict[str, float]:
    """The bounds of a `Watch` from main.py's flags."""
    return {name: getattr(args, f"warn_{name}") for name in (*(sign.name for sign in SIGNS), "ratio")}


class EarlyWarning(TrainerCallback):
    """Prints the warnings of a run; with `stop` a collapse ends it. The best checkpoint by `best_by` is saved.

    `best_by` is a metric on the held-out charts of the training set, never of a test set. `collapsed` is the
    line that says why the run has ended, None otherwise. All processes see the same metrics, which TRL gathers before
    it logs them.
    """

    def __init__(self, watch: Watch, stop: bool = False, best_by: str = BEST_BY):
        self.watch, self.stop, self.best_by = watch, stop, best_by
        self.collapsed: str | None = None

    def on_train_begin(self, args, state, control, **kwargs):
        for logs in state.log_history:  # of a resumed run: what has been said before is not said again
            self.watch.add(logs)

    def on_log(self, args, state, control, logs=None, **kwargs):
        for _, line in self.watch.add(logs or {}):
            if state.is_world_process_zero:
                tqdm.write(f"Warning: update {state.global_step}: {line}", file=sys.stdout)
        if self.stop and self.watch.collapsed and state.global_step < state.max_steps:
            self.collapsed = self.watch.collapsed
            control.should_training_stop = True

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        """A checkpoint whenever what was measured is the best so far; before the first update there is none to keep."""
        value = (metrics or {}).get(self.best_by) if state.global_step else None
        if value is not None and (state.best_metric is None or value > state.best_metric):
            state.best_metric, state.best_global_step = value, state.global_step
            control.should_save = True


def keep_best(folder: Path, checkpoint: str | None) -> str:
    """Puts the weights of the best checkpoint, and its card, in place of those saved in `folder`; the line that says
    so."""
    if checkpoint is None or damage(Path(checkpoint), hashes=False):
        return "no best checkpoint is there (--eval-steps says when it is looked for), so the last weights are kept"
    for saved in (*folder.glob("*.safetensors"), *folder.glob("README.md")):
        shutil.copyfile(Path(checkpoint) / saved.name, saved)
    return f"the weights kept are those of {checkpoint}, the best on the held-out charts"
