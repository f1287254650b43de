"""NSR: negative sample reinforcement."""

from trainers.method import Method, Style
from trainers.psr import ZHU


class NSR(Method):
    """Learns from incorrect completions alone (section 3 of the paper): L_NSR = +E_x[ sum_{y: r=-1} pi(y|x) ].

    Weight -1 for incorrect, 0 for correct: no baseline, no group mean, no deviation. For one softmax, pushing a wrong
    action down raises every other one in proportion to its own probability. A prompt whose completions are all wrong
    gives -1 to every one (GRPO gives 0); a batch without an incorrect completion teaches nothing.
    """

    name = "nsr"
    label = "NSR"
    paper = ZHU
    learns_from = "incorrect completions alone"
    style = Style("#009e73", "^", (0, (6.5, 1.5)))
    never = ("positive",)
    needs_wrong = True
    remedies = "a lower --learning-rate, --mode w-reinforce, fewer --updates-per-rollout"

    def weights(self, batch):
        return 0 - (batch.correct == 0).to(batch.correct.dtype)  # 0 - x: no negative zeros in the log

    def line(self, batch):
        return f"NSR: Filtered {int((batch.correct == 0).sum())}/{len(batch.correct)} negative samples"

    def announcement(self):
        return "Training only on NEGATIVE samples (incorrect responses)"
