"""The user's own advantage: a function that is given the scored batch and returns one weight a completion."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import ModuleType

from trainers.method import Method, ScoredBatch, Style, option

FORMS = "path/to/file.py:function or package.module:function"


class AdvantageError(ValueError):
    """The function of --advantage cannot be used: one line that says why."""


@dataclass(frozen=True)
class OwnAdvantage(Method):
    """Weights by a function of the user's: A = function(batch), of the `ScoredBatch` of trainers/method.py.

    It returns a finite tensor (B,) on the batch's device, 0 for unscorable completions. It is tried on a small batch
    before a model is loaded. --resume compares its name and the hash of its file, so the weights should depend on the
    batch alone.
    """

    name = "own-advantage"
    label = "Own advantage"
    paper = None
    learns_from = "what a function of the user's gives weight (--advantage)"
    style = Style("#ddaa33", "1", (0, (8, 1, 1, 1, 1, 1)))
    needs_logp = True
    remedies_without_signal = "a function (--advantage) that gives some of these completions weight."

    # --resume compares its code, not where that is
    advantage: str = option("", f"the function, as {FORMS}; its file is run", shown="Advantage", resume="free")

    @classmethod
    def check(cls, settings):
        load.cache_clear()
        cls(settings.advantage).weights(trial(settings.num_generations))

    @classmethod
    def recorded(cls, settings):
        function, fingerprint = load(settings["advantage"])
        return {"advantage_code": f"{getattr(function, '__name__', 'object')}, sha256 {fingerprint}"}

    def weights(self, batch):
        function, _ = load(self.advantage)
        copies = {name: value.clone() for name, value in vars(batch).items() if hasattr(value, "clone")}
        try:
            weights = function(replace(batch, **copies))
        except Exception as error:
            raise AdvantageError(f"--advantage {self.advantage} raised {_told(error)}") from error
        wrong = fault(weights, batch)
        if wrong:
            raise AdvantageError(f"--advantage {self.advantage} must return {wrong}")
        return weights.detach()

    def line(self, batch):
        right, wrong = (int((batch.correct == verdict).sum()) for verdict in (1, 0))
        return f"OWN-ADVANTAGE: {right} correct, {wrong} incorrect"  # not its weights: it is asked once a batch

    def announcement(self):
        return f"Training on the weights of {self.advantage}"


@cache
def load(place: str) -> tuple[Callable, str]:
    """The function that `place` names, and the hash of the files that it is in. AdvantageError when there is none."""
    where, _, name = place.rpartition(":")
    if not where or not name:
        raise AdvantageError(f"--advantage {place or 'is missing'}: name a function, as {FORMS}")
    path = Path(where).expanduser()
    is_file = path.suffix == ".py" or "/" in where
    if is_file and not path.is_file():
        raise AdvantageError(f"--advantage {place}: there is no file {where}")
    try:
        module = _run(path) if is_file else importlib.import_module(where)
    except (Exception, SystemExit) as error:
        way_out = (
            "" if is_file else "; a module is looked for where Python looks (PYTHONPATH), a file is named with .py"
        )
        raise AdvantageError(f"--advantage {place}: importing {where} raised {_told(error)}{way_out}") from error
    function = getattr(module, name, None)
    if not callable(function):
        there = sorted(key for key, value in vars(module).items() if callable(value) and not key.startswith("_"))
        what = (
            f"has no function '{name}'" if function is None else f"'{name}' is a {type(function).__name__}, no function"
        )
        raise AdvantageError(f"--advantage {place}: {where} {what}; it has {', '.join(there[:8]) or 'none'}")
    code = getattr(function, "__code__", None)
    files = {file for file in (getattr(module, "__file__", None), code and code.co_filename) if file}
    contents = b"".join(Path(file).read_bytes() for file in sorted(files) if Path(file).is_file())
    if not contents:
        raise AdvantageError(f"--advantage {place}: is in no file whose content could be told from another's")
    return function, hashlib.sha256(contents).hexdigest()


def _run(path: Path) -> ModuleType:
    name = f"advantage_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise ImportError("the name of a file with Python code ends in .py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def _told(error: BaseException) -> str:
    """The error and its line, in one line."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300] + place


def fault(weights, batch: ScoredBatch) -> str | None:
    """What the weights of `batch` must be and are not; None when they can be trained on."""
    import torch

    count = len(batch.correct)
    if not isinstance(weights, torch.Tensor):
        return f"a tensor with one weight a completion, returned {type(weights).__name__}"
    if weights.shape != batch.correct.shape:
        return f"one weight a completion, shape ({count},), returned shape {tuple(weights.shape)}"
    if weights.device != batch.correct.device:
        return f"a tensor on {batch.correct.device}, where the batch is, returned one on {weights.device}"
    if weights.is_complex() or not weights.isfinite().all():
        row = 0 if weights.is_complex() else int((~weights.isfinite()).nonzero()[0])
        group = batch.correct[batch.prompt == batch.prompt[row]].tolist()
        return f"finite weights, returned {weights[row].item()} for a completion of a prompt with correct = {group}"
    if weights[~batch.scorable].any():
        return "0 for unscorable completions (correct is nan): weights.where(batch.scorable, 0.0)"
    return None


def trial(generations: int) -> ScoredBatch:
    """A batch of prompts of every kind: mixed, with an unscorable completion, all right, all wrong, all unscorable."""
    import torch

    nan, rest = float("nan"), generations - 2
    groups = [[1, 0, *[0] * rest], [1, *[0] * rest, nan], [1] * generations, [0] * generations, [nan] * generations]
    correct = torch.tensor(groups, dtype=torch.float32)
    centred = correct - correct.nanmean(1, keepdim=True)
    return ScoredBatch(
        correct=correct.flatten(),
        accuracy=correct.flatten(),
        reward=correct.flatten(),
        advantages=(centred / (centred.nan_to_num().std(1, keepdim=True) + 1e-4)).nan_to_num().flatten(),
        prompt=torch.arange(correct.numel()) // generations,
        mean_logp=torch.linspace(-3.0, -0.1, correct.numel()),
        step=0,
        steps=10,
    )
