"""GRPO: what TRL does by itself, the baseline of the others."""

from trainers.method import Method, Paper, Style


class GRPO(Method):
    """The total reward against its group: A = (R - mean R) / (std R + 1e-4) over the completions of one prompt.

    R is the weighted sum of all rewards. A prompt whose completions all have the same reward teaches nothing. The
    advantages are TRL's own, so that its options act.
    """

    name = "grpo"
    label = "GRPO"
    paper = Paper(
        "DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language Models",
        "2402.03300",
        "Shao, Zhihong and Wang, Peiyi and Zhu, Qihao and Xu, Runxin and Song, Junxiao and Bi, Xiao and Zhang, Haowei "
        "and Zhang, Mingchuan and Li, Y. K. and Wu, Y. and Guo, Daya",
    )
    learns_from = "every completion, by its reward within the group of its prompt"
    style = Style("#0072b2", "o", "-")
    finds = ("positive",)
    remedies_without_signal = (
        "more generations (--num-generations), or questions that the model answers right sometimes, neither always nor "
        "never."
    )
    shared_flags = ()
    named_in_folder = False  # the baseline's folder has the plain name

    @classmethod
    def needs_reward(cls, settings):
        return True

    def weights(self, batch):
        return batch.advantages

    def printed_rewards(self, batch, weights):
        return batch.accuracy.nan_to_num(0.0)
