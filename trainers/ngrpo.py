"""NGRPO: negative-enhanced group relative policy optimisation."""

from trainers.method import Method, Paper, Style


class NGRPO(Method):
    """One right completion that no one has drawn joins every group: A = (r - m) / (s + 1e-6).

    r is 1 for correct and 0 for incorrect; m is the mean and s the deviation (n - 1) of the scorable completions of a
    prompt and one virtual 1. So a prompt without a right completion pushes all of its wrong ones down, the less the
    more there are; an all-right one has no weight, and the weights of a group add up to less than 0. Its clip range is
    0.16 below and 0.24 above, and its KL weight 0, as in the paper's code.
    """

    name = "ngrpo"
    label = "NGRPO"
    paper = Paper(
        "NGRPO: Negative-enhanced Group Relative Policy Optimization",
        "2509.18851",
        "Nan, Gongrui and Chen, Siye and Huang, Jing and Lu, Mengyu and Wang, Dexun and Xie, Chunmei and Xiong, Weiqi "
        "and Zeng, Xianzhou and Zhou, Qixuan and Li, Yadong and Xu, Xingzhong",
    )
    learns_from = "every completion of prompts with a wrong one, against its group and one virtual right completion"
    style = Style("#117733", "d", (0, (1.2, 1.1, 4, 1.1)))
    finds = ("negative",)
    defaults = {"clip": 0.16, "clip_high": 0.24}  # noqa: RUF012 (a constant, as the others)

    def weights(self, batch):
        size, right = batch.group_sum(batch.scorable), batch.group_sum(batch.correct)
        mean = (right + 1) / (size + 1)
        deviation = (mean * (1 - mean) * (size + 1) / size).sqrt()
        return ((batch.correct - mean) / (deviation + 1e-6)).where(batch.scorable, 0.0)

    def line(self, batch):
        wrong = batch.prompt[batch.scorable & (batch.group_sum(batch.correct) == 0)].unique()
        return f"NGRPO: {len(wrong)}/{len(batch.prompt.unique())} prompts without a right completion, with weight"

    def announcement(self):
        return "Training on all prompts with a wrong completion, against one virtual right one"
