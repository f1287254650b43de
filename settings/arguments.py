"""The command line of main.py, parsed and checked: every check that needs neither torch nor a model."""

import argparse
import math
from typing import Any

from common.commands import Parser
from common.own_code import forget
from settings.losses import check_loss, said, take_defaults
from settings.setting import Setting
from settings.table import MODES, all_settings, groups
from settings.yaml_file import read_config
from trainers import METHODS


def build_parser() -> argparse.ArgumentParser:
    """The parser. It returns only what was given: defaults come from the table."""
    labels = [method.label for method in METHODS.values()]
    parser = Parser(
        prog="main.py",
        description=f"Train a vision-language model on chart questions with {', '.join(labels[:-1])} or {labels[-1]}.",
        epilog="Example: accelerate launch --config_file=deepspeed_zero3.yaml main.py --mode nsr --vlm-name tiny "
        "--dataset-name synthetic --subset-size 100",
        formatter_class=argparse.HelpFormatter,
    )
    for title, settings in groups().items():
        group = parser.add_argument_group(title)
        for setting in settings:
            group.add_argument(*filter(None, (setting.flag, setting.alias)), **_action(setting))
    return parser


def _action(setting: Setting) -> dict:
    """What argparse is told of a setting."""
    is_switch = setting.kind is bool
    shown = "" if setting.default is None or is_switch else f" (default: {setting.default})"
    action: dict[str, Any] = {"help": (setting.help + shown).replace("%", "%%"), "default": argparse.SUPPRESS}
    if is_switch:
        return {**action, "action": "store_true"}
    if setting.bare:
        action |= {"nargs": "?", "const": setting.choices[0] if setting.choices else True, "metavar": setting.bare}
    return {**action, "type": setting.kind, "choices": setting.choices, **({"nargs": "+"} if setting.several else {})}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Flags over --config over defaults, checked. Raises ValueError with one line for a value that cannot be used.

    The namespace gains `explicit`: the names that the user set, by flag or file.
    """
    given = vars(build_parser().parse_args(argv))
    from_file = read_config(given["config"]) if given.get("config") else {}
    settings = {name: setting.default for name, setting in all_settings().items()}
    args = argparse.Namespace(**{**settings, **from_file, **given}, explicit=sorted({*from_file, *given}))
    for name, value in METHODS[args.mode].defaults.items() if args.mode else ():
        if name not in said(args):
            setattr(args, name, value)
    take_defaults(args)
    forget()
    check(args)
    check_rollouts(args)
    return args


_TWICE = {
    "reward": "--reward names the rewards and --rewards a preset of them",
    "prompt": "--prompt names a prompt and --prompt-file another",
}


def check(args: argparse.Namespace) -> None:
    """Raises ValueError for a value out of range and for a flag that this mode or model does not use."""
    if args.mode is None:
        raise ValueError(f"--mode is missing; choose one of {', '.join(MODES)}")
    settings = all_settings()
    for name, setting in settings.items():
        if not setting.takes(getattr(args, name)):
            value, allowed = getattr(args, name), setting.allowed
            if not math.isfinite(value) and allowed != "finite":
                allowed = f"finite and {allowed}"
            raise ValueError(f"{setting.flag} {value}: must be {allowed}")
    for setting in (settings[name] for name in settings if name in args.explicit):
        if setting.methods and args.mode not in setting.methods:
            modes = ", ".join(setting.methods)
            raise ValueError(f"{setting.flag} is not used by --mode {args.mode}, only by {modes}; leave it out")
        if setting.lora and args.no_lora:
            raise ValueError(f"{setting.flag} is not used with --no-lora; leave one of them out")
    if args.min_pixels > args.max_pixels:
        raise ValueError(f"--min-pixels {args.min_pixels} is more than --max-pixels {args.max_pixels}")
    if args.resume == "":
        raise ValueError("--resume got an empty name; give a checkpoint folder or leave the name out")
    if args.resume and args.overwrite:
        raise ValueError("--resume continues the old run, --overwrite deletes it; leave one of them out")
    check_loss(args)
    for one, other in (("reward", "rewards"), ("prompt", "prompt_file")):
        if {one, other} <= set(args.explicit):
            raise ValueError(f"{_TWICE[one]}; leave one of them out")
    if args.wandb_online and args.report_to != "wandb":
        raise ValueError(f"--wandb-online needs --report-to wandb, got {args.report_to}")
    _check_measurements(args)
    if args.negative_ratio_cap is not None and "negative" in METHODS[args.mode].never:
        raise ValueError(f"--negative-ratio-cap is not used by --mode {args.mode}, which gives no negative weight")
    METHODS[args.mode].check(args)


def _check_measurements(args: argparse.Namespace) -> None:
    """Raises ValueError for what is to be measured on held-out charts where there are none."""
    for given, does in (
        (args.stop_on_collapse, "--stop-on-collapse keeps the best checkpoint on"),
        (args.best_by, f"--best-by {args.best_by} keeps the best checkpoint on"),
        (
            args.eval_on_start == "yes" and "eval_on_start" in args.explicit,
            "--eval-on-start measures the base on",
        ),
        (args.eval_samples > 1, f"--eval-samples {args.eval_samples} measures Pass@k on"),
    ):
        if given and not args.held_out:
            raise ValueError(f"{does} the held-out charts; --held-out 0 has none")
    if args.best_by == "pass@n" and args.eval_samples == 1:
        raise ValueError("--best-by pass@n needs --eval-samples of 2 or more; with one completion it is pass@1")


def check_rollouts(args: argparse.Namespace) -> None:
    """Raises ValueError for a server without an address, for one that is not asked, and for what none takes."""
    if args.rollouts != "server":
        for name in {"server_url", "server_model"} & set(args.explicit):
            flag = all_settings()[name].flag
            raise ValueError(f"{flag} {getattr(args, name)} is for --rollouts server alone; leave it out")
        return
    if args.server_url is None:
        raise ValueError("--rollouts server needs --server-url, the address of the server")
    if args.no_lora:
        raise ValueError("--rollouts server hands an adapter over at every step, and --no-lora has none; leave one out")
    if args.base_4bit:
        raise ValueError("--rollouts server compares log-probabilities with a base in full: leave --base-4bit out")


def resolve_accumulation(args: argparse.Namespace, num_processes: int) -> int:
    """Forward passes per update: the one given, or the smallest of at least 2 in which whole groups fit.

    A rollout batch holds batch_size x processes x accumulation x updates_per_rollout completions and must be a whole
    number of groups of `num_generations`. Raises ValueError naming the nearest values that fit.
    """

    def fits(steps: int) -> bool:
        return args.batch_size * num_processes * steps * args.updates_per_rollout % args.num_generations == 0

    given = args.gradient_accumulation_steps
    if given is None:
        return next(steps for steps in range(2, args.num_generations + 3) if fits(steps))
    if not fits(given):
        below = [steps for steps in range(given - 1, 0, -1) if fits(steps)][:1]
        above = [steps for steps in range(given + 1, given + args.num_generations + 1) if fits(steps)][:1]
        nearest = " and ".join(str(steps) for steps in below + above)
        raise ValueError(
            f"--gradient-accumulation-steps {given}: {args.batch_size} completions x {num_processes} processes x "
            f"{given} steps x {args.updates_per_rollout} updates is not a whole number of groups of "
            f"{args.num_generations}; the nearest that fit: {nearest}"
        )
    return given
