"""PSR: positive sample reinforcement."""

from trainers.method import Method, Paper, Style

ZHU = Paper(
    "The Surprising Effectiveness of Negative Reinforcement in LLM Reasoning",
    "2506.01347",
    "Zhu, Xinyu and Xia, Mengzhou and Wei, Zhepei and Chen, Wei-Lin and Chen, Danqi and Meng, Yu",
    "Advances in Neural Information Processing Systems",
)


class PSR(Method):
    """Learns from correct completions alone (section 3 of the paper): L_PSR = -E_x[ sum_{y: r=+1} pi(y|x) ].

    Weight +1 for correct, 0 for incorrect: no baseline, no group mean, no deviation. It sharpens the distribution on
    answers already found; a batch without a correct completion teaches nothing.
    """

    name = "psr"
    label = "PSR"
    paper = ZHU
    learns_from = "correct completions alone"
    style = Style("#d55e00", "s", (0, (7, 1.5, 1.2, 1.5)))
    never = ("negative",)
    remedies_without_signal = (
        "more generations (--num-generations), a model that has learned more, easier questions, or a lower "
        "--reward-threshold when accuracy is soft."
    )

    def weights(self, batch):
        return (batch.correct == 1).to(batch.correct.dtype)

    def line(self, batch):
        return f"PSR: Filtered {int((batch.correct == 1).sum())}/{len(batch.correct)} positive samples"

    def announcement(self):
        return "Training only on POSITIVE samples (correct responses)"
