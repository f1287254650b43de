"""--estimate: what this run would need, printed. No run folder, no weights from the network."""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from common.commands import say
from common.launcher import num_processes
from common.network import stay_local
from estimate.report import report
from models.registry import load_config, load_processor
from models.shapes import SHAPES, TEXT_ONLY, stand_in
from settings.grpo_config import build_config, plan_steps
from training.hardware import host_optimiser, skip_deepspeed_compilation
from training.preparing import examine, load_data
from training.starting import begin


def estimate(args: argparse.Namespace) -> None:
    """Raises ValueError for what cannot be estimated."""
    with tempfile.TemporaryDirectory() as folder:
        args.stand_in = stands_in(args, Path(folder))
        _estimate(args)


def stands_in(args: argparse.Namespace, folder: Path) -> bool:
    """Puts the kept shape of a named model, in `folder`, in the place of one that neither hub nor cache gives."""
    start = begin(args)
    if start.model_name not in {*SHAPES, *TEXT_ONLY}:
        return False
    stay_local(start.source, data_is_here=False)
    try:
        load_config(start.source)
        load_processor(start.source)
    except ValueError:
        stand_in(start.model_name, folder)
        args.start = replace(start, source=str(folder))
        return True
    return False


def _estimate(args: argparse.Namespace) -> None:
    examine(args)
    train, held_out = load_data(args)
    updates, _ = plan_steps(args, len(train), num_processes())
    skip_deepspeed_compilation()

    def trainer(settings: argparse.Namespace, folder: str, precision: str, load):
        from training.building import build_trainer

        config = build_config(settings, Path(folder), precision, has_held_out=False)
        host_optimiser(config, settings.optimiser)
        return build_trainer(settings, config, train, replace(held_out, questions=[]), load)

    for line in report(args, train.questions, len(held_out), updates, trainer):
        say(line)
