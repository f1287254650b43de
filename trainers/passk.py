"""Pass@k training: a completion has the reward of the K drawn together, worked out over all such draws."""

from dataclasses import dataclass

from trainers.method import Method, Paper, Style, option


@dataclass(frozen=True)
class PassK(Method):
    """The analytic advantage of Pass@K, averaged over every K of the G completions of a prompt, c right and W wrong.

    rho = 1 - C(W, K) / C(G, K) is the share of the draws with a right one, s = sqrt(rho (1 - rho)) its deviation:
    A = (1 - rho) / s for right completions, A = (1 - rho - C(W-1, K-1) / C(G-1, K-1)) / s for wrong ones, over the
    scorable completions. The weights of a group add up to 0. It has none where fewer than K are wrong (every draw has a
    right one), none where no one is right. K = 1 is GRPO of correctness with the deviation of a population.
    """

    name = "passk"
    label = "Pass@k training"
    paper = Paper(
        "Pass@k Training for Adaptively Balancing Exploration and Exploitation of Large Reasoning Models",
        "2508.10751",
        "Chen, Zhipeng and Qin, Xiaobo and Wu, Youbin and Ling, Yue and Ye, Qinghao and Zhao, Wayne Xin and Shi, Guang",
    )
    learns_from = "every completion of prompts with a right one and at least K wrong ones, by the share of draws of K"
    style = Style("#cc6677", "*", (0, (4, 1.2)))
    finds = ("positive", "negative")
    remedies_without_signal = (
        "more generations (--num-generations), a lower --passk-k, and questions that the model gets right now and "
        "then: prompts without a right completion, or with fewer than K wrong ones, have no weight."
    )

    passk_k: int = option(2, "K of Pass@K; below --num-generations", shown="Pass@k K", least=1)

    @classmethod
    def check(cls, settings):
        if settings.passk_k >= settings.num_generations:
            raise ValueError(
                f"--passk-k {settings.passk_k}: must be below --num-generations {settings.num_generations}, or no "
                "prompt has weight: it needs a right completion and K wrong ones"
            )

    def weights(self, batch):
        size, right = batch.group_sum(batch.scorable), batch.group_sum(batch.correct)
        wrong, none, without = size - right, size.new_ones(()), size.new_ones(())
        for drawn in range(self.passk_k):
            none = none * (wrong - drawn).clamp(min=0) / (size - drawn).clamp(min=1)  # C(W, K) / C(G, K)
        for drawn in range(1, self.passk_k):
            without = without * (wrong - drawn).clamp(min=0) / (size - drawn).clamp(min=1)  # the same of W-1, K-1
        gained = none - without * (batch.correct == 0).double()  # 1 - rho is none
        return (gained / (none * (1 - none)).sqrt()).where(batch.scorable & (none > 0) & (none < 1), 0.0)

    def line(self, batch):
        weighted = batch.prompt[self.weights(batch) != 0].unique()
        return f"PASSK: {len(weighted)}/{len(batch.prompt.unique())} prompts with a right and {self.passk_k} wrong ones"

    def announcement(self):
        return f"Training on prompts with right and wrong completions for Pass@{self.passk_k}"
