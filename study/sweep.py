"""How much weight for positive samples? W-REINFORCE at several values of lambda: a table and a picture.

    ./runs/lambda_sweep.sh
    ./runs/lambda_sweep.sh --vlm-name qwen2-5-3b --dataset-name evochart --split test --problems 500 --samples 256 \\
        --num-generations 8 --batch-size 8 --learning-rate 1e-5 --subset-size 2000

Flags that are not listed here go to main.py. Lambda 0 is NSR, lambda 1 is REINFORCE. The same command goes on where it
stopped; models and samples are in FOLDER/models, what the table is made of in FOLDER/counts.
"""

import argparse
import re
from collections.abc import Collection
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from common.commands import Parser, check_least, program
from common.files import write_whole
from common.terminal import printable, unfailing_output
from evaluation.estimators import powers_of_two
from evaluation.styles import GRID, OTHERS, RC
from models.registry import resolve_model
from settings import arguments
from study import data, plan
from study.figures import as_svg, pass_at_k_figure
from study.stages import Run, Stage, Study, perform
from study.summary import Arm, band, read_arm
from study.tables import curve_table, difference_table

LAMBDAS = ("0", "0.05", "0.1", "0.15", "0.2", "0.5", "1")
OURS = (  # flags that the sweep sets itself
    "--mode", "--lambda-psr", "--seed", "--output-root", "--report-to", "--eval-steps", "--save-steps", "--estimate",
)  # fmt: skip


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("--vlm-name", "--model-name", default="organism", help="model, as for main.py (default: %(default)s)")
    data.add_data_flags(add, "procedures")
    add("--split", help="split that is sampled (default: the data set's evaluation split)")
    add("--problems", type=int, default=400, help="problems of it (default: %(default)s)")
    add("--samples", type=int, default=64, help="samples a problem (default: %(default)s)")
    add("--lambdas", nargs="+", default=LAMBDAS, metavar="L", help=f"default: {' '.join(LAMBDAS)}")
    add("--seeds", nargs="+", type=int, default=(1,), metavar="S", help="default: 1")
    add("--folder", type=Path, default=Path("lambda_sweep"), help="where everything is kept (default: %(default)s)")
    add("--jobs", type=int, default=1, help="models at a time (default: %(default)s)")
    args = with_main_flags(parser, argv, OURS)
    for value in args.lambdas:
        if not re.fullmatch(r"[0-9]+(\.[0-9]*)?|\.[0-9]+", value):
            parser.error(f"--lambdas {value}: must be numbers of at least 0")
    for name in ("lambdas", "seeds"):
        values = getattr(args, name)
        if len(set(map(float, values))) < len(values):
            parser.error(f"--{name} {' '.join(map(str, values))}: one is there twice")
    if args.vlm_name == "organism" and not args.main_flags:
        args.main_flags = list(plan.flags(plan.FULL.updates, plan.COMMON))
    return check_least(args, problems=1, samples=1, jobs=1)


def with_main_flags(parser: Parser, argv: list[str] | None, ours: Collection[str]) -> argparse.Namespace:
    """The arguments, in `main_flags` those that the parser does not know, for main.py; ValueError for one of `ours`."""
    args, main_flags = parser.parse_known_args(argv)
    args.main_flags = main_flags
    for word in main_flags:
        if word.partition("=")[0] in ours:
            parser.error(f"{word.partition('=')[0]} is set by this program; leave it out")
    return args


def stages(args: argparse.Namespace) -> dict[str, list[Stage]]:
    """Lambda -> its measurement for every seed; 'base' -> the untrained model's."""
    measured = (args.split, args.problems, args.samples)
    own: dict[str, list[Stage]] = {"base": [Stage(f"base-{args.samples}", None, *measured)]}
    for value in args.lambdas:
        flags = ("--lambda-psr", value, *args.main_flags)
        runs = [Run(f"lambda-{value}-s{seed}", "w-reinforce", seed, flags) for seed in args.seeds]
        own[value] = [Stage(f"{run.name}-{args.samples}", run, *measured) for run in runs]
    return own


def arms(counts: Path, own: dict[str, list[Stage]]) -> dict[str, Arm]:
    label = {"base": "Base", "0": "λ = 0 (NSR)", "1": "λ = 1 (REINFORCE)"}
    read = {
        value: read_arm(counts, label.get(value, f"λ = {value}"), [s.name for s in kept]) for value, kept in own.items()
    }
    return {value: arm for value, arm in read.items() if arm}


def table(found: dict[str, Arm]) -> str:
    """Pass@k of every lambda and, below, paired differences to the smallest one."""
    trained = [value for value in found if value != "base"]
    first = found[trained[0]]
    others = [(f"{found[value].label} − {first.label}", found[value], first) for value in trained[1:]]
    return "\n\n".join(filter(None, (curve_table(found), difference_table(others))))


def picture(found: dict[str, Arm]) -> Figure:
    """Pass@k against lambda for the first and the last k and one between, each with its band; dashed: the base."""
    trained = [value for value in found if value != "base"]
    ks = powers_of_two(found[trained[0]].n)
    ks = sorted({ks[0], ks[len(ks) // 2], ks[-1]})
    places = np.arange(len(trained))
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(9.4, 3.2), layout="constrained")
        for axes, k, style in zip(figure.subplots(1, len(ks)), ks, OTHERS, strict=False):
            values = np.array([found[value].curve([k])[0] for value in trained])
            bounds = np.array([band(found[value], [k])[0] for value in trained])
            axes.errorbar(places, 100 * values, yerr=100 * np.abs(bounds.T - values), capsize=3, **style)
            if "base" in found:
                axes.axhline(100 * found["base"].curve([k])[0], color="#7f7f7f", linestyle="--", linewidth=1.0)
            axes.set(title=f"Pass@{k} (%)", xlabel="lambda", xticks=places, xticklabels=trained)
            axes.grid(True, color=GRID, linewidth=0.7)
    return figure


def check(study: Study, args: argparse.Namespace, planned: list[Stage]) -> None:
    """ValueError for what main.py or generate_samples.py would refuse, before a folder is made or a model trained."""
    resolve_model(args.vlm_name)
    data.check_prompt(args)
    for stage in planned:
        if stage.run:
            arguments.parse_args(study.train_command(stage.run)[2:])
    place = next(path for path in (args.folder, *args.folder.absolute().parents) if path.exists())
    if not place.is_dir():
        raise ValueError(f"--folder {args.folder}: {place} is a file")


def _run(args: argparse.Namespace) -> int:
    folder = args.folder.absolute()  # the stages run in the root of the project
    sampled = data.told(args, split=False)
    study = Study(folder / "counts", folder / "models", args.vlm_name, data.told(args), args.jobs, sampled)
    own = stages(args)
    check(study, args, [stage for kept in own.values() for stage in kept])
    data.check_data(args)
    perform(study, [stage for kept in own.values() for stage in kept])
    found = arms(study.counts, own)
    print(f"\n{table(found)}\n")
    for name, figure in {"lambda.svg": picture(found), "pass_at_k.svg": pass_at_k_figure(found)}.items():
        write_whole(args.folder / name, as_svg(figure))
        print(printable(f"✓ {args.folder / name}"))
    return 0


main = program(parse_args, _run)

if __name__ == "__main__":
    unfailing_output()
    raise SystemExit(main())
