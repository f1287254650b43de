"""AsymRE: asymmetric REINFORCE."""

from dataclasses import dataclass

from trainers.method import Method, Paper, Style, option


@dataclass(frozen=True)
class AsymRE(Method):
    """The share of correct completions and a shift as baseline: A = r - V with V = p + shift, p the group's mean of r.

    r is 1 for correct and 0 for incorrect, over the scorable completions of one prompt. A shift below 0 leans on
    correct completions, one above on incorrect ones. Every group has weight, all-right and all-wrong ones -shift a
    completion, which below 0 makes all of them likelier. shift = 0 is RLOO up to the factor (G - 1) / G.
    """

    name = "asymre"
    label = "AsymRE"
    paper = Paper(
        "Asymmetric REINFORCE for off-Policy Reinforcement Learning: Balancing positive and negative rewards",
        "2506.20520",
        'Arnal, Charles and Narozniak, Ga{\\"e}tan and Cabannes, Vivien and Tang, Yunhao and Kempe, Julia and '
        "Munos, Remi",
        "Advances in Neural Information Processing Systems",
    )
    learns_from = "every completion, against the share of correct ones of its prompt and a shift"
    style = Style("#6a3d9a", "+", (0, (1, 2.5)))
    finds = ("positive",)

    baseline_shift: float = option(
        -0.1, "added to the baseline; below 0 leans on correct ones, 0 is RLOO", "Baseline shift", least=-1, most=1
    )

    def weights(self, batch):
        return (batch.correct - batch.share - self.baseline_shift).where(batch.scorable, 0.0)

    def line(self, batch):
        return f"ASYMRE: baseline {(batch.correct - self.weights(batch))[batch.scorable].mean():.3f} on average"

    def announcement(self):
        return f"Training on every completion, weighted by r - p - ({self.baseline_shift:g})"
