"""NSR: negative sample reinforcement."""

from __future__ import annotations

from trainers.advantages import nsr_advantages
from trainers.decomposed_trainer import DecomposedTrainer


class NSRTrainer(DecomposedTrainer):
    """Trains on incorrect completions alone (arXiv 2506.01347, section 3): L_NSR = +E_x[ sum_{y: r=-1} pi(y|x) ].

    Advantage -1 for incorrect, 0 for correct. For one softmax, pushing a wrong action down raises every other one in
    proportion to its own probability. A prompt whose completions are all wrong gives -1 to every one (GRPO gives 0);
    a batch without an incorrect completion teaches nothing.
    """

    mode = "nsr"

    def advantages_of(self, correct):
        return nsr_advantages(correct)

    def report(self, correct, accuracy):
        negative = int((correct == 0).sum())
        line = f"NSR: Filtered {negative}/{len(correct)} negative samples"
        return nsr_advantages(correct).tolist(), line
