"""W-REINFORCE: lambda x positive + negative."""

from __future__ import annotations

from dataclasses import dataclass

from trainers.method import Method, Style, option
from trainers.psr import ZHU


@dataclass(frozen=True)
class WReinforce(Method):
    """Both parts, the positive one weighted (section 5 of the paper): L = lambda * L_PSR + L_NSR.

    Weight +lambda for correct, -1 for incorrect: no baseline, no group mean, no deviation. lambda = 0.1 in the paper, 1
    is plain REINFORCE, 0 is NSR.
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

    def weights(self, batch):
        right, wrong = ((batch.correct == verdict).to(batch.correct.dtype) for verdict in (1, 0))
        return self.lambda_psr * right - wrong

    def printed_rewards(self, batch, weights):
        return WReinforce(lambda_psr=1.0).weights(batch)  # before lambda

    def line(self, batch):
        right, wrong = (int((batch.correct == verdict).sum()) for verdict in (1, 0))
        return f"W-REINFORCE: {right} positive (λ={self.lambda_psr}), {wrong} negative (λ=1.0)"

    def announcement(self):
        return f"Weighted training: {self.lambda_psr}·PSR + NSR"
