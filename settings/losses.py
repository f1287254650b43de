"""TRL's losses by the names that --loss gives them: what each averages, which ratio it weighs, which settings it uses.

Every one is a sum over completions of -A g(ratio, sign of A), so that any method's one weight a completion fits; where
the ratio is 1, at one update per rollout batch, they differ in what they average over alone. What does not fit is
refused in `check_loss`.
"""

from argparse import Namespace
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Loss:
    averaging: str  # that of --averaging
    ratio: str = "token"  # TRL's importance_sampling_level: a ratio a token, or one a completion ("sequence")
    loss_type: str | None = None  # TRL's; None: of the same name
    arxiv: str | None = None
    unused: tuple[str, ...] = ()  # settings that it does not look at
    defaults: dict[str, float] = field(default_factory=dict)  # settings, by name, that it has another default for


CLIPS = ("clip", "clip_high")
LOSSES = {
    "dapo": Loss("token", arxiv="2503.14476"),
    "grpo": Loss("sequence", arxiv="2402.03300"),
    "dr_grpo": Loss("token", arxiv="2503.20783"),
    "bnpo": Loss("token"),
    "cispo": Loss("token", arxiv="2506.13585", unused=("clip",), defaults={"clip_high": 5.0}),
    "sapo": Loss("sequence", arxiv="2511.20347", unused=CLIPS),
    "gspo": Loss("sequence", "sequence", "grpo", "2507.18071", defaults={"clip": 3e-4, "clip_high": 4e-4}),
    "luspo": Loss("token", "sequence", arxiv="2602.05261", defaults={"clip": 2e-3, "clip_high": 2.5e-3}),
    "vespo": Loss("token", arxiv="2602.10693", unused=CLIPS),
}
ONE_RATIO = ("gspo", "luspo", "vespo")  # a completion has one ratio, that of all its tokens


def take_defaults(args: Namespace) -> None:
    """Puts in what the loss has another value for, over the method's own, where the user has said nothing."""
    if args.loss is None:
        return
    loss = LOSSES[args.loss]
    for name, value in {"averaging": loss.averaging, **loss.defaults}.items():
        if name not in said(args):
            setattr(args, name, value)


def said(args: Namespace) -> set[str]:
    """The settings that the user has given; a clip range of the user's is one at both ends."""
    return {*args.explicit, *(["clip_high"] if "clip" in args.explicit else [])}


def check_loss(args: Namespace) -> None:
    """Raises ValueError for settings that the loss contradicts or does not look at."""
    if args.loss is None:
        return
    loss, said = LOSSES[args.loss], f"--loss {args.loss}"
    if args.averaging != loss.averaging:
        raise ValueError(f"--averaging {args.averaging}: {said} averages by {loss.averaging}; leave one of them out")
    for name in loss.unused:
        if name in args.explicit:
            raise ValueError(f"--{name.replace('_', '-')} is not used by {said}; leave it out")
    if args.loss == "cispo" and args.clip_high < 1:
        raise ValueError(f"--clip-high {args.clip_high}: with {said} it is the largest ratio itself: at least 1")
    if args.negative_ratio_cap is not None and args.loss in ONE_RATIO:
        raise ValueError(f"--negative-ratio-cap bounds the ratio of a token, and {said} has one a completion")
    if args.loss == "bnpo" and args.normaliser == "kept":
        raise ValueError(f"--normaliser kept: {said} divides by the tokens of each pass alone; take --loss dapo")


def trl_fields(name: str) -> dict[str, str]:
    """The fields of GRPOConfig that make TRL compute this loss."""
    return {"loss_type": LOSSES[name].loss_type or name, "importance_sampling_level": LOSSES[name].ratio}
