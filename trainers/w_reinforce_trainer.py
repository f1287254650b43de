"""W-REINFORCE: lambda x positive + negative."""

from __future__ import annotations

from trainers.advantages import w_reinforce_advantages
from trainers.decomposed_trainer import DecomposedTrainer


class WReinforceTrainer(DecomposedTrainer):
    """Both parts, the positive one weighted (arXiv 2506.01347, section 5): L = lambda * L_PSR + L_NSR.

    Advantage +lambda for correct, -1 for incorrect; lambda = 0.1 in the paper, 1 is plain REINFORCE, 0 is NSR.
    """

    mode = "w-reinforce"

    def __init__(self, *args, lambda_psr=0.1, **kwargs):
        super().__init__(*args, **kwargs)
        self.lambda_psr = lambda_psr

    def advantages_of(self, correct):
        return w_reinforce_advantages(correct, self.lambda_psr)

    def report(self, correct, accuracy):
        positive, negative = int((correct == 1).sum()), int((correct == 0).sum())
        line = f"W-REINFORCE: {positive} positive (λ={self.lambda_psr}), {negative} negative (λ=1.0)"
        return w_reinforce_advantages(correct, 1.0).tolist(), line
