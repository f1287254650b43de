"""MaxRL: maximum likelihood by reinforcement learning."""

from trainers.method import Method, Paper, Style


class MaxRL(Method):
    """The share of correct completions as baseline and as divisor: A = (r - p) / p, with p the mean of r in the group.

    r is 1 for correct and 0 for incorrect, over the scorable completions of one prompt, G of them. A wrong completion
    of a mixed group has weight -1, a right one G / c - 1 with c right ones: the rarer, the more. All-wrong groups give
    0, all-right ones too, and the weights of a group add up to 0. In expectation the mean over a group ascends log J, J
    the probability of a correct answer, as far as its expansion to order G - 1: (1 - (1 - J)^(G-1)) / J * grad J. At
    G = 2 that is grad J.
    """

    name = "maxrl"
    label = "MaxRL"
    paper = Paper(
        "Maximum Likelihood Reinforcement Learning",
        "2602.02710",
        "Tajwar, Fahim and Zeng, Guanning and Zhou, Yueer and Song, Yuda and Arora, Daman and Jiang, Yiding and "
        "Schneider, Jeff and Salakhutdinov, Ruslan and Feng, Haiwen and Zanette, Andrea",
    )
    learns_from = "every completion of prompts with right and wrong ones, the more the rarer right ones are"
    style = Style("#661100", "h", (0, (4, 1.2, 1, 1.2, 1, 1.2)))
    finds = ("positive", "negative")
    remedies_without_signal = (
        "more generations (--num-generations), and questions that the model gets right now and then: prompts whose "
        "completions are all right or all wrong have no weight."
    )

    def weights(self, batch):
        r, p = batch.correct, batch.share
        return ((r - p) / p).where(batch.scorable & (p > 0), 0.0)

    def line(self, batch):
        mixed = batch.prompt[self.weights(batch) != 0].unique()
        return f"MAXRL: {len(mixed)}/{len(batch.prompt.unique())} prompts with right and wrong completions"

    def announcement(self):
        return "Training on prompts with right and wrong completions, weighted by (r - p) / p"
