"""Every mode on one model and one data set, each at its best learning rate from one grid: a table in markdown.

    ./runs/compare_modes.sh
    MODEL=qwen2-5-3b DATASET=chartqa SEEDS="1 2 3" RATES="3e-6 1e-5 3e-5" ./runs/compare_modes.sh --batch-size 8 ...

A mode's rate is the one with the most right answers on the validation split, first seed; with one rate nothing is
validated. Then the base and every mode with every seed are sampled on the evaluation split, seeing and blind. Flags
that are not listed here go to main.py, the same for all modes. The same command goes on where it stopped.
"""

import argparse
import json
from pathlib import Path

from common.commands import Parser, check_least, program
from common.terminal import printable, unfailing_output
from evaluation.names import display_name
from settings import arguments
from study import data, plan, sweep
from study.stages import Run, Stage, Study, perform
from study.summary import Arm, difference, read_arm
from study.tables import kinds, markdown, points, signed
from trainers import METHODS

SHOWN = (1, 16, 256)
BLIND = ("--without-image", "mask")
BLIND_SAMPLES = 64  # at most: Pass@1 alone is read from them
OURS = ("--mode", "--seed", "--learning-rate", "--max-steps", "--output-root", "--report-to", "--eval-steps",
        "--save-steps", "--save-total-limit", "--estimate", "--resume", "--overwrite", "--config")  # fmt: skip
HUB_MODEL = ("--num-generations", "8", "--batch-size", "4", "--gradient-accumulation-steps", "16")  # LoRA, as main.py


def complete_modes() -> list[str]:
    """The modes that need no argument beside their name."""

    def is_complete(mode: str) -> bool:
        try:
            arguments.parse_args(["--mode", mode])
        except ValueError:
            return False
        return True

    return [mode for mode in METHODS if is_complete(mode)]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    add, modes = parser.add_argument, complete_modes()
    add("--vlm-name", "--model-name", default="tiny", help="model, as for main.py (default: %(default)s)")
    data.add_data_flags(add, "synthetic")
    add("--modes", nargs="+", default=modes, choices=modes, metavar="MODE", help=f"default: {' '.join(modes)}")
    add("--seeds", nargs="+", type=int, default=[1], metavar="S", help="default: 1")
    add("--rates", nargs="+", default=["1e-5", "3e-5", "1e-4"], metavar="R", help="default: 1e-5 3e-5 1e-4")
    add("--updates", type=int, default=300, help="optimiser steps of a run (default: %(default)s)")
    add("--small", action="store_true", help="train as tiny and organism are: all weights, every question once")
    add("--max-completion-length", type=int, help="tokens a completion may have, the base's too (default: the model's)")
    add("--split", help="split that is measured (default: the data set's evaluation split)")
    add("--problems", type=int, default=400, help="problems of it (default: %(default)s)")
    add("--samples", type=int, default=256, help="samples a problem (default: %(default)s)")
    add("--validation-split", default="validation", help="split that rates are chosen on (default: %(default)s)")
    add("--validation-problems", type=int, default=200, help="problems of it (default: %(default)s)")
    add("--validation-samples", type=int, default=32, help="samples a problem of it (default: %(default)s)")
    add("--folder", type=Path, default=Path("mode_results"), help="where everything is kept (default: %(default)s)")
    add("--jobs", type=int, default=2, help="models at a time (default: %(default)s)")
    args = sweep.with_main_flags(parser, argv, OURS)
    for name in ("modes", "rates", "seeds"):
        values = getattr(args, name)
        if len({value if name == "modes" else _number(name, value) for value in values}) < len(values):
            parser.error(f"--{name} {' '.join(map(str, values))}: one is there twice")
    if as_small(args) and args.updates < 4:
        parser.error(f"--updates {args.updates}: at least 4, which one rollout batch gives; or give main.py's flags")
    least = {} if args.max_completion_length is None else {"max_completion_length": 1}
    sizes = dict.fromkeys(("updates", "problems", "samples", "validation_problems", "validation_samples", "jobs"), 1)
    return check_least(args, **sizes, **least)


def _number(name: str, value: str | int) -> float:
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"--{name} {value}: must be numbers") from None


def as_small(args: argparse.Namespace) -> bool:
    """Whether the runs have the batches of the embedded study: 4 updates from a rollout batch."""
    return not args.main_flags and (args.small or args.vlm_name in ("tiny", "organism"))


def run(args: argparse.Namespace, mode: str, rate: str, seed: int) -> Run:
    """Of small models in the study's batches, every question once; of others as `args.main_flags` say."""
    if as_small(args):
        flags = plan.flags(args.updates, rate)
    else:
        flags = (*(args.main_flags or HUB_MODEL), "--max-steps", str(args.updates), "--learning-rate", rate)
    return Run(
        f"{mode}-lr{rate}-{args.updates}u-s{seed}", mode, seed, (*flags, *_length(args, "--max-completion-length"))
    )


def _length(args: argparse.Namespace, flag: str) -> tuple[str, ...]:
    return (flag, str(args.max_completion_length)) if args.max_completion_length else ()


def validation(args: argparse.Namespace, mode: str, rate: str) -> Stage:
    own, problems, samples = run(args, mode, rate, args.seeds[0]), args.validation_problems, args.validation_samples
    name, length = f"validation-{own.name}-{problems}x{samples}", _length(args, "--max-new-tokens")
    return Stage(name, own, args.validation_split, problems, samples, length)


def measured(args: argparse.Namespace, own: Run | None, *sampling: str) -> Stage:
    """The samples that the table is made of; `sampling`: BLIND or nothing."""
    samples = min(args.samples, BLIND_SAMPLES) if sampling else args.samples
    name = f"{'blind' if sampling else 'test'}-{own.name if own else 'base'}-{args.problems}x{samples}"
    return Stage(name, own, args.split, args.problems, samples, (*sampling, *_length(args, "--max-new-tokens")))


def final_runs(args: argparse.Namespace, rates: dict[str, str]) -> dict[str, list[Run | None]]:
    """'base' and every mode with a rate -> its runs, a seed each."""
    runs: dict[str, list[Run | None]] = {"base": [None]}
    return runs | {mode: [run(args, mode, rate, seed) for seed in args.seeds] for mode, rate in rates.items()}


def choose_rates(study: Study, args: argparse.Namespace) -> dict[str, str]:
    """Mode -> its rate with the most right answers on the kept validation samples, the smallest of equal ones."""

    def right(mode: str, rate: str) -> int:
        return sum(json.loads(study.counts_of(validation(args, mode, rate)).read_text(encoding="utf-8"))["c"])

    tried = sorted(args.rates, key=float)
    return {
        mode: tried[0] if len(tried) == 1 else max(tried, key=lambda rate: right(mode, rate)) for mode in args.modes
    }


def read_arms(counts: Path, args: argparse.Namespace, rates: dict[str, str], *sampling: str) -> dict[str, Arm]:
    """'base' and every mode -> what is kept of its measurements."""
    read = {
        mode: read_arm(counts, display_name(mode), [measured(args, own, *sampling).name for own in runs])
        for mode, runs in final_runs(args, rates).items()
    }
    return {mode: arm for mode, arm in read.items() if arm}


def table(counts: Path, args: argparse.Namespace, rates: dict[str, str], sees: bool = True) -> str:
    """A row a mode: Pass@k and the paired difference to the base, in points; the same of Pass@1 blind, if it `sees`."""
    arms, blind = read_arms(counts, args, rates), read_arms(counts, args, rates, *BLIND)
    ks = [k for k in SHOWN if k <= args.samples]
    tried, rows = sorted(args.rates, key=float), []
    for mode, arm in arms.items():
        rate = rates.get(mode, "–") + ("*" if len(tried) > 1 and rates.get(mode) in (tried[0], tried[-1]) else "")
        cells = [arm.label, rate, *_cells(arm, arms["base"], ks)]
        rows.append([*cells, *_cells(blind[mode], blind["base"], [1])] if sees else cells)
    head = ["", "rate", *(f"Pass@{k}" for k in ks), *["Pass@1 blind"] * sees]
    text = (
        f"{args.vlm_name} on {args.dataset_name}: {args.updates} updates, seeds {' '.join(map(str, args.seeds))}, "
        f"{args.problems} problems x {args.samples} samples. In parentheses: minus the base, paired 95 % interval over "
        "charts."
    )
    ends = any("*" in row[1] for row in rows)
    text += " *: the best rate is at an end of the grid; a wider one may have a better." if ends else ""
    return f"{text}\n\n{markdown(head, rows)}"


def table_of_kinds(counts: Path, args: argparse.Namespace, rates: dict[str, str]) -> str:
    """Pass@1 / Pass@64 in percent of every kind of question, a column a mode; empty where all are of one kind."""
    arms = read_arms(counts, args, rates)
    several = len(set(arms["base"].problems["kinds"])) > 1
    return f"Pass@1 / Pass@{min(64, args.samples)} by kind of question, in percent:\n\n{kinds(arms)}" if several else ""


def _cells(arm: Arm, base: Arm, ks: list[int]) -> list[str]:
    values = map(points, arm.curve(ks))
    if arm is base:
        return list(values)
    return [f"{value} ({signed(*apart)})" for value, *apart in zip(values, *difference(arm, base, ks), strict=True)]


def check_data(args: argparse.Namespace) -> bool:
    """Whether the problems have images. ValueError for data that are not there, or that serve two purposes."""
    own = data.check_data(args)
    if len(args.rates) > 1:
        way_out = "give another --validation-split, or one rate, which needs none"
        try:
            other = data.load(args, args.validation_split, "validation_problems")
        except ValueError as error:
            raise ValueError(f"--validation-split {args.validation_split}: {error}; {way_out}") from None
        asked = [{(one.question, one.answers, one.image_id) for one in part.questions} for part in (own, other)]
        # draws from the same rows, which a file of one split gives under both names, lie one in the other
        if other.split == own.split or asked[0] <= asked[1] or asked[1] <= asked[0]:
            raise ValueError(f"--validation-split {args.validation_split} is the split that is measured: {way_out}")
    return any(question.open_image is not None for question in own.questions)


def prepare(args: argparse.Namespace) -> tuple[Study, list[Stage], bool]:
    """The study, its grid of rates, and whether its problems have images. ValueError before anything is made."""
    folder = args.folder.absolute()  # the stages run in the root of the project
    sampled = data.told(args, split=False)
    study = Study(folder / "counts", folder / "models", args.vlm_name, data.told(args), args.jobs, sampled)
    grid = [validation(args, mode, rate) for rate in args.rates for mode in args.modes]
    sweep.check(study, args, grid)
    return study, grid, check_data(args)


def measure(args: argparse.Namespace, study: Study, grid: list[Stage], sees: bool) -> dict[str, str]:
    """Runs what is not kept yet; every mode's rate."""
    if len(args.rates) > 1:
        perform(study, grid)
    rates = choose_rates(study, args)
    runs = [own for each in final_runs(args, rates).values() for own in each]
    perform(study, [measured(args, own, *how) for own in runs for how in ((), BLIND)[: 1 + sees]])
    return rates


def _run(args: argparse.Namespace) -> int:
    study, grid, sees = prepare(args)
    rates = measure(args, study, grid, sees)
    for text in (table(study.counts, args, rates, sees), table_of_kinds(study.counts, args, rates)):
        if text:
            print("", *map(printable, text.splitlines()), sep="\n", flush=True)
    return 0


main = program(parse_args, _run)

if __name__ == "__main__":
    unfailing_output()
    raise SystemExit(main())
