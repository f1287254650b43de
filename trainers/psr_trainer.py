"""PSR: positive sample reinforcement."""

from __future__ import annotations

from trainers.advantages import psr_advantages
from trainers.decomposed_trainer import DecomposedTrainer


class PSRTrainer(DecomposedTrainer):
    """Trains on correct completions alone (arXiv 2506.01347, section 3): L_PSR = -E_x[ sum_{y: r=+1} pi(y|x) ].

    Advantage +1 for correct, 0 for incorrect. It sharpens the distribution on answers already found; a batch without
    a correct completion teaches nothing.
    """

    mode = "psr"

    def advantages_of(self, correct):
        return psr_advantages(correct)

    def report(self, correct, accuracy):
        positive = int((correct == 1).sum())
        line = f"PSR: Filtered {positive}/{len(correct)} positive samples"
        return psr_advantages(correct).tolist(), line
