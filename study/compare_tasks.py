"""Does the order of the methods hold across tasks? The same modes on charts, counting and grounding: tables, a picture.

    ./runs/compare_tasks.sh
    RATES="1e-4 3e-4" UPDATES=100 PROBLEMS=300 NUM_SAMPLES=64 ./runs/compare_tasks.sh

A task has an embedded model of its own, of one architecture: `organism` for charts, whose data set is `procedures`, and
what `embedded.build_tiny --task` builds in STEPS steps for the others, once. Then each task is `study.compare_modes`,
with the same flags; those that are not listed here go to main.py. What is done is not done again; the same command goes
on where it stopped.
"""

from __future__ import annotations

import argparse
from itertools import combinations, pairwise
from pathlib import Path

from common.commands import Parser, check_least, program
from common.files import write_whole
from common.terminal import printable, unfailing_output
from models.registry import MODELS
from study import compare_modes, plan, sweep
from study.figures import as_svg, panels_figure
from study.stages import call
from study.summary import Arm, difference
from study.tables import points

TASKS = {"charts": "procedures", "counting": "counting", "grounding": "grounding"}  # task -> data set
RATES = ("3e-5", "1e-4", "3e-4")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("--tasks", nargs="+", default=list(TASKS), choices=TASKS, metavar="TASK", help=f"default: {' '.join(TASKS)}")
    add("--modes", nargs="+", default=list(plan.METHODS), metavar="MODE", help=f"default: {' '.join(plan.METHODS)}")
    add("--seeds", nargs="+", default=["1"], metavar="S", help="default: 1")
    add("--rates", nargs="+", default=list(RATES), metavar="R", help=f"default: {' '.join(RATES)}")
    add("--updates", type=int, default=300, help="optimiser steps of a run (default: %(default)s)")
    add("--problems", type=int, default=400, help="problems that are measured (default: %(default)s)")
    add("--samples", type=int, default=256, help="samples a problem (default: %(default)s)")
    add("--validation-problems", type=int, default=200, help="problems that rates are chosen on (default: %(default)s)")
    add("--validation-samples", type=int, default=32, help="samples a problem of them (default: %(default)s)")
    add("--steps", type=int, default=200, help="steps that counting and grounding are taught in (default: %(default)s)")
    add("--folder", type=Path, default=Path("task_results"), help="where everything is kept (default: %(default)s)")
    add("--jobs", type=int, default=2, help="models at a time (default: %(default)s)")
    return check_least(sweep.with_main_flags(parser, argv, compare_modes.OURS), steps=1)


def arguments_of(args: argparse.Namespace, task: str) -> argparse.Namespace:
    """What study.compare_modes is told of a task: everything but model and data is the same for all."""
    sizes = ("updates", "problems", "samples", "validation_problems", "validation_samples", "jobs")
    words = [f"--{name.replace('_', '-')}={getattr(args, name)}" for name in sizes]
    words += ["--modes", *args.modes, "--seeds", *args.seeds, "--rates", *args.rates]
    words += ["--vlm-name", model_of(args, task), "--dataset-name", TASKS[task], "--folder", str(args.folder / task)]
    words += ["--max-completion-length", str(MODELS["organism" if task == "charts" else "tiny"].max_completion_length)]
    return compare_modes.parse_args([*words, "--small", *args.main_flags])


def model_of(args: argparse.Namespace, task: str) -> str:
    """`organism`, which was taught charts, or the folder of the task's own model."""
    return "organism" if task == "charts" else str((args.folder / f"tiny-{task}").absolute())


def build(args: argparse.Namespace, task: str) -> None:
    """The task's own model, if it is not there: built beside its place, and moved there whole."""
    folder = Path(model_of(args, task))
    if task == "charts":
        return
    if folder.is_dir():
        print(printable(f"{task}: {folder} is there already and is used as it is"), flush=True)
        return
    args.folder.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f"{folder.name}.partial")
    print(printable(f"{task}: building {folder} in {args.steps} steps"), flush=True)
    command = ["python", "-m", "embedded.build_tiny", "--task", task, "--steps", str(args.steps)]
    call([*command, "--output-path", str(partial)], folder.with_name(f"{folder.name}.log"))
    partial.rename(folder)


def relation(a: Arm, b: Arm, k: int) -> str:
    """Where the paired interval of Pass@k, `a` minus `b`, lies: ">" above 0, "<" below, "~" neither."""
    low, high = difference(a, b, [k])[1][0]
    return ">" if low > 0 else "<" if high < 0 else "~"


def order(found: dict[str, Arm], k: int) -> str:
    """The arms from the best Pass@k down, with the relation between neighbours."""
    ranked = sorted(found.values(), key=lambda arm: -arm.curve([k])[0])
    return ranked[0].label + "".join(f" {relation(*pair, k)} {pair[1].label}" for pair in pairwise(ranked))


def agreement(panels: dict[str, dict[str, Arm]], ks: dict[str, int]) -> str:
    """Whether every two arms are in the same relation on all tasks, at each task's k; which are not, and how."""
    first, differ, told_apart = next(iter(panels.values())), [], False
    for a, b in combinations(first, 2):
        found = {task: relation(arms[a], arms[b], ks[task]) for task, arms in panels.items()}
        told_apart |= set(found.values()) != {"~"}
        if len(set(found.values())) > 1:
            signs = ", ".join(f"{sign} on {task}" for task, sign in found.items())
            differ.append(f"{first[a].label} and {first[b].label} ({signs})")
    told = f"differs in {'; '.join(differ)}" if differ else "is the same on all"
    if not told_apart:
        told = "is not known on any: A ~ B for every two"
    return f"* {', '.join(panels)}, Pass@{'/'.join(map(str, dict.fromkeys(ks.values())))}: the order {told}"


def summary(panels: dict[str, dict[str, Arm]]) -> str:
    """For the first and the last k, each task's order, and whether it is the same on all."""
    lines = ["A > B: the paired 95 % interval over charts is above 0; A < B: below; A ~ B: neither.", ""]
    for last in (False, True):
        ks = {task: min(arm.n for arm in found.values()) if last else 1 for task, found in panels.items()}
        for task, found in panels.items():
            values = ", ".join(f"{arm.label} {points(arm.curve([ks[task]])[0])}" for arm in found.values())
            lines.append(f"* {task}, Pass@{ks[task]}: {order(found, ks[task])} ({values})")
        lines += [agreement(panels, ks)] if len(panels) > 1 else []
    return "\n".join(lines)


def _run(args: argparse.Namespace) -> int:
    panels = {}
    for task, own in {
        task: arguments_of(args, task) for task in args.tasks
    }.items():  # a mistake ends it before a build
        build(args, task)
        study, grid, sees = compare_modes.prepare(own)
        rates = compare_modes.measure(own, study, grid, sees)
        panels[task] = compare_modes.read_arms(study.counts, own, rates)
        print(
            "", *map(printable, compare_modes.table(study.counts, own, rates, sees).splitlines()), sep="\n", flush=True
        )
    print(f"\n{summary(panels)}\n")
    write_whole(args.folder / "tasks.svg", as_svg(panels_figure(panels)))
    print(printable(f"✓ {args.folder / 'tasks.svg'}"))
    return 0


main = program(parse_args, _run)


if __name__ == "__main__":
    unfailing_output()
    raise SystemExit(main())
