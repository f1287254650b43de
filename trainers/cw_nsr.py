"""CW-NSR: confidence-weighted negative sample reinforcement."""

from dataclasses import dataclass

from trainers.method import Method, Style, option
from trainers.w_reinforce import INGLE


@dataclass(frozen=True)
class CWNSR(Method):
    """NSR that punishes what the model was sure of more: A = -clip(exp(l) / mean exp(l), least, most) for incorrect.

    l is the mean log-probability of the completion's tokens under the sampling policy, so exp(l) its likelihood
    normalised by its length; the mean is over the scorable completions of the rollout batch, of all prompts. Correct
    ones have weight 0; equally likely ones give NSR. The paper weighs incorrect completions by their length-normalised
    likelihood but does not publish its function and bounds: those here are this project's own.
    """

    name = "cw-nsr"
    label = "CW-NSR"
    paper = INGLE
    learns_from = "incorrect completions alone, the more the likelier they were"
    style = Style("#44aa99", "H", (0, (2, 1, 6, 1)))
    never = ("positive",)
    needs_wrong = True
    needs_logp = True
    remedies = "a lower --learning-rate or --weight-most, --mode w-reinforce, fewer --updates-per-rollout"

    weight_least: float = option(0.25, "the weight of an unlikely wrong completion at least", "Weight least", least=0)
    weight_most: float = option(4.0, "the weight of a likely wrong completion at most", "Weight most", above=0)

    @classmethod
    def check(cls, settings):
        if settings.weight_least > settings.weight_most:
            raise ValueError(
                f"--weight-least {settings.weight_least} is more than --weight-most {settings.weight_most}"
            )

    def weights(self, batch):
        likelihood = batch.mean_logp.exp()
        confidence = likelihood / likelihood[batch.scorable].mean()
        return 0 - confidence.clamp(self.weight_least, self.weight_most).where(batch.correct == 0, 0.0)

    def line(self, batch):
        wrong = batch.correct == 0
        mean = -self.weights(batch)[wrong].mean() if wrong.any() else 0.0
        return f"CW-NSR: {int(wrong.sum())}/{len(batch.correct)} negative samples, mean weight {mean:.2f}"

    def announcement(self):
        return "Training only on NEGATIVE samples (incorrect responses), weighted by their likelihood"
