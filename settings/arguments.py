"""The command line of main.py, parsed and checked: every check that needs neither torch nor a model."""

from __future__ import annotations

import argparse
from pathlib import Path

from settings.flags import MODES, data_flags, method_flags, model_flags, optimisation_flags, run_flags, warning_flags
from trainers import METHODS, method_options

OPTIONS = {name: methods[0].options()[name].metadata for name, methods in method_options().items()}
ONLY_FOR = {name: tuple(method.name for method in methods) for name, methods in method_options().items()} | {
    name: tuple(method.name for method in METHODS.values() if name in method.shared_flags)
    for name in ("reward_threshold", "normaliser")
}
LORA_ONLY = ("lora_rank", "lora_alpha", "lora_targets")
MINIMUM = {
    "subset_size": 1,
    "num_epochs": 0,
    "num_generations": 2,
    "batch_size": 1,
    "gradient_accumulation_steps": 1,
    "updates_per_rollout": 1,
    "max_completion_length": 1,
    "temperature": 0,
    "min_pixels": 1,
    "max_pixels": 1,
    "lora_rank": 1,
    "lora_alpha": 0,
    "learning_rate": 0,
    "clip": 0,
    "clip_high": 0,
    "negative_ratio_cap": 1,
    "kl_beta": 0,
    "entropy_bonus": 0,
    **{name: option["least"] for name, option in OPTIONS.items() if option["least"] is not None},
    "reward_threshold": 0,
    "seed": 0,
    "save_steps": 1,
    "save_total_limit": 1,
    "eval_steps": 1,
    "held_out": 0,
    "max_steps": 1,
    "max_bad_updates": 1,
    "warn_window": 1,
    "warn_entropy": 1,
    "warn_length": 1,
    "warn_truncation": 0,
    "warn_format": 0,
    "warn_ratio": 1,
    "collective_timeout": 0,
}
# zero itself is refused
ABOVE_MINIMUM = ("num_epochs", "temperature", "learning_rate", "clip", "clip_high", "lora_alpha", "collective_timeout")
MAXIMUM = {
    **{name: option["most"] for name, option in OPTIONS.items() if option["most"] is not None},
    "reward_threshold": 1.0,
    "held_out": 0.5,
    "seed": 2**32 - 1,
    "warn_truncation": 1.0,
    "warn_format": 1.0,
    "collective_timeout": 10_080,
}


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise ValueError(f"{message}; see {self.prog} --help")


def build_parser(defaults: bool = True) -> argparse.ArgumentParser:
    """The parser; without `defaults` it returns only what was given, which tells a given flag from a default."""
    labels = [method.label for method in METHODS.values()]
    parser = _Parser(
        prog="main.py",
        description=f"Train a vision-language model on chart questions with {', '.join(labels[:-1])} or {labels[-1]}.",
        epilog="Example: accelerate launch --config_file=deepspeed_zero3.yaml main.py --mode nsr --vlm-name tiny "
        "--dataset-name synthetic --subset-size 100",
        argument_default=None if defaults else argparse.SUPPRESS,
        allow_abbrev=False,
    )

    def add(group, flag, default=None, help="", **kwargs):
        shown = "" if default is None or kwargs.get("action") else f" (default: {default})"
        value = default if defaults else argparse.SUPPRESS
        group.add_argument(flag, default=value, help=(help + shown).replace("%", "%%"), **kwargs)

    method_flags(parser.add_argument_group("method"), add)
    model_flags(parser.add_argument_group("model"), add)
    data_flags(parser.add_argument_group("data"), add)
    optimisation_flags(parser.add_argument_group("rollouts and optimisation"), add)
    run_flags(parser.add_argument_group("the run"), add)
    warning_flags(parser.add_argument_group("early warnings"), add)
    return parser


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Flags over --config over defaults, checked. Raises ValueError with one line for a value that cannot be used.

    The namespace gains `explicit`: the names that the user set, by flag or file.
    """
    given = vars(build_parser(defaults=False).parse_args(argv))
    settings = vars(build_parser().parse_args([]))
    from_file = _read_config(given["config"]) if given.get("config") else {}
    settings.update(from_file)
    settings.update(given)
    args = argparse.Namespace(**settings, explicit=sorted({*from_file, *given}))
    for name, value in METHODS[args.mode].defaults.items() if args.mode else ():
        if name not in args.explicit:
            setattr(args, name, value)
    check(args)
    return args


def _read_config(path: str) -> dict:
    import yaml

    if not Path(path).is_file():
        raise ValueError(f"--config {path}: there is no such file; recipes/ holds some to start from")
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8"), _as_written(yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: bytes that are no text, a key twice
        raise ValueError(f"--config {path} is not YAML: {' '.join(str(error).split())[:300]}") from None
    if not isinstance(content, dict):
        raise ValueError(f"--config {path} must hold 'setting: value' lines")
    known = {action.dest: action for action in build_parser()._actions if action.dest not in ("help", "config")}
    settings = {}
    for key, value in content.items():
        name = str(key).replace("-", "_")
        if name not in known:
            raise ValueError(f"--config {path}: unknown setting '{key}'; allowed are {', '.join(sorted(known))}")
        if name in settings:
            raise ValueError(f"--config {path}: {name} is there twice")
        settings[name] = _typed(known[name], value, path)
    return settings


class _Written(str):
    """A YAML value as it stands in the file, and on which line."""

    line = 0


def _as_written(loader: type) -> type:
    """The YAML loader, with every single value but null as the text that stands there: YAML 1.1 would make 83 of 0123,
    90 of 1:30, False of off and a date of 2026-01-02. ValueError for a key that stands twice: it would take the last.
    """

    class AsWritten(loader):
        def construct_mapping(self, node, deep=False):
            keys = [str(self.construct_object(key, deep=True)) for key, _ in node.value]
            twice = [key for key in keys if keys.count(key) > 1]
            if twice:
                raise ValueError(f"{twice[0]} is there twice")
            return super().construct_mapping(node, deep)

        def written(self, node):
            text = _Written(self.construct_scalar(node))
            text.line = node.start_mark.line + 1
            return text

    for kind in ("str", "int", "float", "bool", "timestamp"):
        AsWritten.add_constructor(f"tag:yaml.org,2002:{kind}", AsWritten.written)
    return AsWritten


_TRUE_FALSE = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def _typed(action: argparse.Action, value, path: str):
    """A YAML value as the flag would have read it."""
    switch = _TRUE_FALSE.get(value.lower()) if isinstance(value, str) else None
    if action.nargs == 0 and switch is None:
        raise ValueError(f"--config {path}{_line([value])}: {action.dest} must be true or false, got {_shown(value)}")
    if action.nargs == 0 or (action.nargs == "?" and switch is not None):  # --resume with and without a value
        return switch
    items = value if isinstance(value, list) else [value]
    place = f"--config {path}{_line(items)}: {action.dest}"
    if any(isinstance(item, (list, dict, set, bytes)) for item in items):
        raise ValueError(f"{place} must be {'a list of single values' if action.nargs else 'one value'}")
    if value is not None and isinstance(value, list) != (action.nargs == "+"):
        raise ValueError(f"{place} must be {'a list' if action.nargs else 'one value'}")
    if value is None or value == []:
        raise ValueError(f"{place} has no value; leave the line out for the default")
    try:
        typed = [{int: _whole, float: float}.get(action.type, str)(item) for item in items]
    except (TypeError, ValueError, OverflowError):
        wanted = {int: "a whole number in digits", float: "a number in digits"}.get(action.type, "text")
        raise ValueError(f"{place} must be {wanted}, got {_shown(value)}") from None
    if action.choices and typed[0] not in action.choices:
        raise ValueError(f"{place} must be one of {', '.join(action.choices)}, got {_shown(value)}")
    return typed if isinstance(value, list) else typed[0]


def _whole(text: str) -> int:
    """0123 is 123, 1_000 is 1000, 2.0 and 1e4 are whole; 0x1F, 0b1 and 1:30 are refused."""
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if number != int(number):
            raise
        return int(number)


def _line(items: list) -> str:
    return f", line {items[0].line}" if items and isinstance(items[0], _Written) else ""


def _shown(value) -> str:
    text = repr(value if isinstance(value, list) else str(value))
    return text if len(text) <= 100 else f"{text[:100]}..."


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def check(args: argparse.Namespace) -> None:
    """Raises ValueError for a value out of range and for a flag that this mode or model does not use."""
    if args.mode is None:
        raise ValueError(f"--mode is missing; choose one of {', '.join(MODES)}")
    for name, least in MINIMUM.items():
        value = getattr(args, name)
        if value is None:
            continue
        strict = name in ABOVE_MINIMUM
        most = MAXIMUM.get(name, float("inf"))
        if not (least < value if strict else least <= value) or value > most or value == float("inf"):
            allowed = f"above {least}" if strict else f"at least {least}"
            raise ValueError(
                f"{flag(name)} {value}: must be {allowed}" + (f" and at most {most}" if name in MAXIMUM else "")
            )
    for name, modes in ONLY_FOR.items():
        if name in args.explicit and args.mode not in modes:
            raise ValueError(
                f"{flag(name)} is not used by --mode {args.mode}, only by {', '.join(modes)}; leave it out"
            )
    for name in LORA_ONLY:
        if args.no_lora and name in args.explicit:
            raise ValueError(f"{flag(name)} is not used with --no-lora; leave one of them out")
    if args.min_pixels > args.max_pixels:
        raise ValueError(f"--min-pixels {args.min_pixels} is more than --max-pixels {args.max_pixels}")
    if args.resume == "":
        raise ValueError("--resume got an empty name; give a checkpoint folder or leave the name out")
    if args.resume and args.overwrite:
        raise ValueError("--resume continues the old run, --overwrite deletes it; leave one of them out")
    if args.wandb_online and args.report_to != "wandb":
        raise ValueError(f"--wandb-online needs --report-to wandb, got {args.report_to}")
    if args.stop_on_collapse and not args.held_out:
        raise ValueError("--stop-on-collapse keeps the best checkpoint on the held-out charts; --held-out 0 has none")
    if args.save_total_limit is not None and args.save_total_limit < 1:
        raise ValueError(f"--save-total-limit {args.save_total_limit}: must be at least 1")
    METHODS[args.mode].check(args)


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
            f"{args.num_generations}; "
            f"the nearest that fit: {nearest}"
        )
    return given
