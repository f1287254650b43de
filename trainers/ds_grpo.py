"""DS-GRPO: differential smoothing."""

from dataclasses import dataclass

from trainers.method import Method, Paper, Style, option


@dataclass(frozen=True)
class DSGRPO(Method):
    """GRPO with more weight for what was rare: A = GRPO - a_c l for correct completions, GRPO + a_w l for the others.

    l <= 0 is the mean log-probability of the completion's tokens under the sampling policy. A correct completion gains
    the more the rarer it was, an incorrect one loses the more the rarer it was (CW-NSR does the opposite). Prompts with
    all completions right or all wrong have weight too, of that size alone. a_c = a_w = 0 is GRPO, whose part is TRL's
    own, from the total reward.
    """

    name = "ds-grpo"
    label = "DS-GRPO"
    paper = Paper(
        "Differential Smoothing Mitigates Sharpening and Improves LLM Reasoning",
        "2511.19942",
        "Gai, Jingchu and Zeng, Guanning and Zhang, Huaqing and Raghunathan, Aditi",
    )
    learns_from = "every completion, by its reward within the group of its prompt and the more the rarer it was"
    style = Style("#8c564b", "8", (0, (9, 1.5)))
    finds = ("positive",)
    needs_logp = True
    remedies_without_signal = "higher --smooth-correct and --smooth-wrong: with both every completion has weight."

    smooth_correct: float = option(0.05, "a_c, the weight of the rarity of correct ones", "Smoothing correct", least=0)
    smooth_wrong: float = option(0.05, "a_w, the weight of the rarity of incorrect ones", "Smoothing wrong", least=0)

    @classmethod
    def needs_reward(cls, settings):
        return not (settings.smooth_correct or settings.smooth_wrong)

    def weights(self, batch):
        right, wrong = ((batch.correct == verdict).to(batch.correct.dtype) for verdict in (1, 0))
        smoothed = (self.smooth_wrong * wrong - self.smooth_correct * right) * batch.mean_logp
        return (batch.advantages + smoothed).where(batch.scorable, 0.0)

    def printed_rewards(self, batch, weights):
        return batch.correct.nan_to_num(0.0)

    def line(self, batch):
        return f"DS-GRPO: mean log-probability {batch.mean_logp[batch.scorable].mean():.3f} a token"

    def announcement(self):
        return "Training on every completion, the more the rarer it was"
