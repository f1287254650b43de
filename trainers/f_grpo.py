"""F-GRPO: GRPO with less weight for prompts that are solved already."""

from dataclasses import dataclass

from trainers.grpo import GRPO
from trainers.method import Method, Paper, Style, option


@dataclass(frozen=True)
class FGRPO(Method):
    """GRPO's advantages scaled as in a focal loss: A = (1 - p)^gamma GRPO, p the share of correct ones of the prompt.

    p is over the scorable completions; GRPO's part is TRL's own, from the total reward. A prompt that is nearly always
    answered right has little weight, an all-right one none. gamma = 0 is GRPO.
    """

    name = "f-grpo"
    label = "F-GRPO"
    paper = Paper(
        "F-GRPO: Don't Let Your Policy Learn the Obvious and Forget the Rare",
        "2602.06717",
        "Plyusov, Daniil and Gorbatovski, Alexey and Shaposhnikov, Boris and Sinii, Viacheslav and Malakhov, Alexey "
        "and Korotyshova, Daria and Gavrilov, Daniil",
    )
    learns_from = "every completion, by its reward within the group of its prompt, the less the oftener that is solved"
    style = Style("#000000", "x", (0, (3, 1, 1, 1)))
    finds = ("positive",)
    remedies_without_signal = GRPO.remedies_without_signal

    focal_gamma: float = option(1.0, "power of the share of wrong completions; 0 is GRPO", shown="Gamma", least=0)

    @classmethod
    def needs_reward(cls, settings):
        return True

    def weights(self, batch):
        return ((1 - batch.share) ** self.focal_gamma * batch.advantages).where(batch.scorable, 0.0)

    def printed_rewards(self, batch, weights):
        return batch.correct.nan_to_num(0.0)

    def line(self, batch):
        return f"F-GRPO: mean factor {((1 - batch.share) ** self.focal_gamma)[batch.scorable].mean():.3f}"

    def announcement(self):
        return f"Training on every completion, weighted by (1 - p)^{self.focal_gamma:g}"
