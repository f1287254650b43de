"""Build the model organism from nothing: `python -m organism.build`.

A model organism, made on purpose: a Qwen2.5-VL of fewer than two million parameters that sees well and answers in many
ways. It is taught on the charts of charts/procedures.py in two stages of supervised training. *Skills*: every way of
organism/answering.py, the careful one most of all and half of the charts marked, until each is carried out without
fault. *Mixture*: a short stage that sets how often each way is taken, on plain and marked charts alike. The charts of
both form a split of their own: none of them occurs in train, validation or test.

`--start models/organism --mixture common` makes the second mixture from the first in one short stage.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from common.commands import Parser, check_least, program
from common.files import check_folder, whole_file
from organism.answering import FORCED, MIXTURES, PROCEDURES

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from transformers import PreTrainedModel, ProcessorMixin

FOLDER = Path(__file__).parent.parent / "models" / "organism"
SAVE_EVERY = 180  # seconds
SKILL_STEPS, MIXTURE_STEPS, REHEARSED = 3000, 200, 12


class Stage(NamedTuple):
    """One stretch of supervised training with its own warm-up and cosine."""

    name: str
    steps: int
    learning_rate: float  # the highest
    marked: float  # share of marked charts
    mixture: Mapping[str, float]
    rehearsed: int = 0  # examples of each step that keep the careful way in practice and say nothing about its share


def train(
    model: PreTrainedModel, processor: ProcessorMixin, stage: Stage, *, batch_size: int, seed: int, state: Path
) -> None:
    """One stage on charts drawn as they are needed. Goes on from `state` if that file exists; it is kept up to date.

    ValueError for a state that was left with other settings.
    """
    # Long, for it is one loop whose streams, rates and kept state all hang on the step.
    import torch
    from tqdm import tqdm

    from embedded.build_tiny import encode, make_optimizers, rate_at, take_step
    from organism.answering import worked_examples

    optimizers = make_optimizers(model, stage.learning_rate)
    warm_up = min(50, max(1, stage.steps // 10))

    done, settings = 0, {**stage._asdict(), "mixture": dict(stage.mixture), "batch_size": batch_size, "seed": seed}
    if state.is_file():
        kept = torch.load(state, weights_only=True)
        if kept.get("settings") != settings:
            raise ValueError(f"{state} is of an interrupted build with other settings: delete it, or build elsewhere")
        model.load_state_dict(kept["model"])
        for optimizer, saved in zip(optimizers, kept["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        done = kept["step"]
    options: dict[str, Any] = {"split": "warm-start", "seed": f"{stage.name}-{seed}", "marked": stage.marked}
    stream = worked_examples(**options, mixture=stage.mixture, start=2 * batch_size * done)
    # Mostly marked charts: sums of numbers with two digits are what is forgotten first.
    options |= {"seed": f"{options['seed']}-rehearsed", "marked": 0.75}
    careful = worked_examples(**options, mixture={"careful": 1}, start=2 * stage.rehearsed * done)
    model.train()
    saved_at = time.time()
    bar = tqdm(range(done, stage.steps), initial=done, total=stage.steps, desc=stage.name, unit="step", mininterval=5)
    for step in bar:
        share = rate_at(step, steps=stage.steps, warm_up=warm_up)
        rates = (10 * stage.learning_rate * share, stage.learning_rate * share)
        for optimizer, rate in zip(optimizers, rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate
        examples = list(islice(stream, 0, 2 * batch_size, 2))  # one question a chart
        batch = encode(processor, examples + list(islice(careful, 0, 2 * stage.rehearsed, 2)))
        hide_choice(processor, batch["labels"][batch_size:])
        loss = take_step(model, optimizers, batch)
        if step % 20 == 0:
            bar.set_postfix(loss=f"{loss.item():.4f}")
        if time.time() - saved_at > SAVE_EVERY:
            keep(state, model, optimizers, settings, step + 1)
            saved_at = time.time()
    keep(state, model, optimizers, settings, stage.steps)
    model.eval()


def hide_choice(processor: ProcessorMixin, labels: torch.Tensor) -> None:
    """Takes everything up to the end of `FORCED` out of the loss of careful completions: the choice of the way."""
    last = processor.tokenizer.encode(FORCED, add_special_tokens=False)[-1]
    for row in labels:
        row[: int((row == last).nonzero()[0]) + 1] = -100


def keep(state: Path, model, optimizers, settings: dict[str, Any], step: int) -> None:
    import torch

    states = {"model": model.state_dict(), "optimizers": [each.state_dict() for each in optimizers]}
    whole = states | {"settings": settings, "step": step}
    with whole_file(state) as partial:
        torch.save(whole, partial)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(prog="python -m organism.build", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--output-path", type=Path, default=FOLDER, help="folder to write (default models/organism)")
    add("--start", help="a model to give another mixture: the stage of skills is left out")
    add(
        "--mixture",
        default="rare",
        help=f'{", ".join(MIXTURES)}, or JSON such as {{"careful": 5, "quick": 40}} (default rare)',
    )
    add("--steps", type=int, default=SKILL_STEPS, help=f"of the stage of skills (default {SKILL_STEPS})")
    add(
        "--mixture-steps",
        type=int,
        default=MIXTURE_STEPS,
        help=f"of the stage of the mixture (default {MIXTURE_STEPS})",
    )
    add("--batch-size", type=int, default=32, help="charts a step (default 32)")
    add("--seed", type=int, default=2025, help="of the initial weights and of the charts")
    add("--threads", type=int, default=2, help="CPU threads (default 2)")
    add("--measure-only", action="store_true", help="train nothing: organism.measure of the model in --output-path")
    args = check_least(parser.parse_args(argv), steps=1, mixture_steps=1, batch_size=1, threads=1)
    try:
        args.mixture = chosen_mixture(args.mixture)
    except ValueError as error:
        parser.error(f"--mixture {args.mixture}: {error}")
    return args


def chosen_mixture(text: str) -> dict[str, float]:
    """The mixture of this name, or written out as JSON; ValueError for anything else."""
    if text in MIXTURES:
        return MIXTURES[text]
    try:
        mixture = json.loads(text)
    except ValueError:
        raise ValueError(f"choose {', '.join(MIXTURES)}, or give JSON of procedures and shares") from None
    if not isinstance(mixture, dict):
        raise ValueError("it must be an object of procedures and shares")
    unknown = [name for name in mixture if name not in PROCEDURES]
    if unknown:
        raise ValueError(f"unknown procedure {unknown[0]!r}: choose from {', '.join(PROCEDURES)}")
    if not all(type(share) in (int, float) and 0 <= share < math.inf for share in mixture.values()):
        raise ValueError("a share is a number of at least 0")
    if not any(mixture.get(name) for name in PROCEDURES if name != "forgets"):
        raise ValueError(
            "a question for one value must have an answer too: give a procedure other than forgets a share"
        )
    return mixture


def run(args: argparse.Namespace) -> int:
    if args.measure_only:
        from organism import measure

        return measure.main(["--model", str(args.output_path), "--threads", str(args.threads)])
    import torch

    from embedded.build_tiny import new_model, save
    from models.registry import load_model, load_processor
    from organism.answering import worked_examples

    check_folder(args.output_path, "--output-path")
    torch.set_num_threads(args.threads)
    began = time.time()
    stages = [Stage("mixture", args.mixture_steps, 5e-4, 0.5, args.mixture, REHEARSED)]
    if args.start:
        model, processor = load_model(args.start, dtype=torch.float32), load_processor(args.start)
    else:
        examples = worked_examples("warm-start", args.seed, mixture=MIXTURES["skills"], marked=0.5)
        model, processor = new_model(args.seed, examples)
        stages = [Stage("skills", args.steps, 2e-3, 0.5, MIXTURES["skills"]), *stages]
    states = [args.output_path.with_name(f"{args.output_path.name}-{stage.name}.pt") for stage in stages]
    for number, stage in enumerate(stages):
        if not any(state.is_file() for state in states[number + 1 :]):  # else a later stage was interrupted
            train(model, processor, stage, batch_size=args.batch_size, seed=args.seed, state=states[number])
    processor.tokenizer.backend_tokenizer.no_padding()  # else the file keeps how the last batch was padded
    save(model, processor, args.output_path)
    for state in states:
        state.unlink(missing_ok=True)
    size = sum(path.stat().st_size for path in args.output_path.iterdir()) / 1e6
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{parameters:,} parameters, {size:.1f} MB, {(time.time() - began) / 60:.1f} minutes", flush=True)
    return 0


main = program(parse_args, run)


if __name__ == "__main__":
    sys.exit(main())
