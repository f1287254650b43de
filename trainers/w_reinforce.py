"""W-REINFORCE: lambda x positive + negative, and the schedules of A-NSR for both."""

import math
from dataclasses import dataclass

from trainers.method import Method, Paper, Style, option
from trainers.psr import ZHU

INGLE = Paper(
    "Adaptive Negative Reinforcement for LLM Reasoning: Dynamically Balancing Correction and Diversity in RLVR",
    "2605.07137",
    "Ingle, Yash and Chauhan, Jaival and Yadav, Ankit and Mishra, Sudhakar",
)
SCHEDULED = ("negative_weight_start", "negative_weight_end", "negative_weight_decay")


@dataclass(frozen=True)
class WReinforce(Method):
    """Both parts, the positive one weighted (section 5 of the paper): L = lambda * L_PSR + beta * L_NSR, beta = 1.

    Weight +lambda for correct, -1 for incorrect: no baseline, no group mean, no deviation. lambda = 0.1 in the paper, 1
    is plain REINFORCE, 0 is NSR.

    A-NSR (arXiv 2605.07137) lets both change, over the optimiser steps t of T: lambda(t) = l0 + (l1 - l0) t / T, and
    beta(t) = b1 + (b0 - b1) f with f = exp(-kappa t) (exponential), (1 + cos(pi t / T)) / 2 (cosine) or the share of
    wrong completions among the scorable ones of the rollout batch (accuracy). Its values: b0 1.5, b1 0.5, kappa 0.03,
    l0 0.05, l1 0.2.
    """

    name = "w-reinforce"
    label = "W-REINFORCE"
    paper = ZHU
    learns_from = "incorrect completions, and correct ones with weight lambda"
    style = Style("#aa4499", "D", (0, (1.2, 1.1)))
    finds = ("positive", "negative")
    needs_wrong = True
    remedies = "a lower --learning-rate, a higher --lambda-psr, fewer --updates-per-rollout"
    left_without_wrong = "lambda x positive"

    lambda_psr: float = option(
        0.1, "weight of correct completions; 1 is REINFORCE, 0 is NSR", shown="Lambda PSR", least=0
    )
    lambda_psr_end: float | None = option(
        None, "that weight at the end of the run, on a line (A-NSR: 0.05 to 0.2)", "Lambda PSR end", least=0, kind=float
    )
    negative_weight: str = option(
        "constant",
        "weight of incorrect completions. constant: 1; exponential, cosine: falls from start to end over the run; "
        "accuracy: falls with the share of incorrect ones in the rollout batch (A-NSR, arXiv 2605.07137)",
        shown="Negative weight",
        choices=("constant", "exponential", "cosine", "accuracy"),
    )
    negative_weight_start: float = option(1.5, "its value at the start, or with all wrong", "Negative start", least=0)
    negative_weight_end: float = option(0.5, "its value at the end, or with none wrong", "Negative end", least=0)
    negative_weight_decay: float = option(
        0.03, "how fast the exponential one falls, by optimiser step", "Negative decay", least=0
    )

    @classmethod
    def check(cls, settings):
        used = {"constant": (), "exponential": SCHEDULED}.get(settings.negative_weight, SCHEDULED[:2])
        for name in SCHEDULED:
            if name in settings.explicit and name not in used:
                flag = "--" + name.replace("_", "-")
                raise ValueError(f"{flag} is not used by --negative-weight {settings.negative_weight}; leave it out")
        positive = settings.lambda_psr or settings.lambda_psr_end
        negative = settings.negative_weight_start or settings.negative_weight_end
        if not positive and settings.negative_weight != "constant" and not negative:
            raise ValueError("--lambda-psr 0 with --negative-weight-start and -end 0: no completion would have weight")

    @classmethod
    def spans_run(cls, settings):
        return settings.get("negative_weight") == "cosine" or settings.get("lambda_psr_end") is not None

    def of_correct(self, batch) -> float:
        """lambda(t)."""
        end = self.lambda_psr if self.lambda_psr_end is None else self.lambda_psr_end
        return self.lambda_psr + (end - self.lambda_psr) * batch.step / max(1, batch.steps)

    def of_incorrect(self, batch) -> float:
        """beta(t)."""
        if self.negative_weight == "constant":
            return 1.0
        if self.negative_weight == "exponential":
            left = math.exp(-self.negative_weight_decay * batch.step)
        elif self.negative_weight == "cosine":
            left = (1 + math.cos(math.pi * batch.step / max(1, batch.steps))) / 2
        else:
            left = int((batch.correct == 0).sum()) / max(1, int(batch.scorable.sum()))
        return self.negative_weight_end + (self.negative_weight_start - self.negative_weight_end) * left

    def weights(self, batch):
        right, wrong = ((batch.correct == verdict).to(batch.correct.dtype) for verdict in (1, 0))
        return self.of_correct(batch) * right - self.of_incorrect(batch) * wrong

    def printed_rewards(self, batch, weights):
        return WReinforce(lambda_psr=1.0).weights(batch)  # before lambda and beta

    def line(self, batch):
        right, wrong = (int((batch.correct == verdict).sum()) for verdict in (1, 0))
        positive, negative = (round(weight, 4) for weight in (self.of_correct(batch), self.of_incorrect(batch)))
        return f"W-REINFORCE: {right} positive (λ={positive}), {wrong} negative (λ={negative})"

    def announcement(self):
        end = "" if self.lambda_psr_end is None else f" to {self.lambda_psr_end}"
        bounds = f"{self.negative_weight_start} to {self.negative_weight_end}, {self.negative_weight}"
        return f"Weighted training: {self.lambda_psr}{end}·PSR + " + (
            "NSR" if self.negative_weight == "constant" else f"({bounds})·NSR"
        )
