"""The user's own advantage: a function that is given the scored batch and returns one weight a completion."""

from dataclasses import dataclass, replace

from common.own_code import FORMS, load, told
from trainers.method import Method, ScoredBatch, Style, option

FLAG = "--advantage"


class AdvantageError(ValueError):
    """The weights of --advantage cannot be trained on: one line that says why."""


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
        cls(settings.advantage).weights(trial(settings.num_generations))

    @classmethod
    def recorded(cls, settings):
        function, fingerprint = load(FLAG, settings["advantage"])
        return {"advantage_code": f"{getattr(function, '__name__', 'object')}, sha256 {fingerprint}"}

    def weights(self, batch):
        function, _ = load(FLAG, self.advantage)
        copies = {name: value.clone() for name, value in vars(batch).items() if hasattr(value, "clone")}
        try:
            weights = function(replace(batch, **copies))
        except (Exception, SystemExit) as error:  # one that ends the program would end it without a word
            raise AdvantageError(f"{FLAG} {self.advantage} raised {told(error)}") from error
        wrong = fault(weights, batch)
        if wrong:
            raise AdvantageError(f"{FLAG} {self.advantage} must return {wrong}")
        return weights.detach()

    def printed_rewards(self, batch, weights):
        return weights

    def line(self, batch):
        right, wrong = (int((batch.correct == verdict).sum()) for verdict in (1, 0))
        return f"OWN-ADVANTAGE: {right} correct, {wrong} incorrect"  # not its weights: it is asked once a batch

    def announcement(self):
        return f"Training on the weights of {self.advantage}"


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
    advantages = (centred / (centred.nan_to_num().std(1, keepdim=True) + 1e-4)).nan_to_num().flatten()
    flat, size = correct.flatten(), correct.numel()
    prompt, mean_logp = torch.arange(size) // generations, torch.linspace(-3.0, -0.1, size)
    return ScoredBatch(flat, flat, flat, advantages, prompt, mean_logp, step=0, steps=10)
