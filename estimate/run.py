"""--estimate: what this run would need, printed. No run folder, no weights from the network."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from common.commands import say
from common.launcher import num_processes
from estimate.report import report
from settings.grpo_config import build_config, plan_steps
from training.hardware import skip_deepspeed_compilation
from training.preparing import examine, load_data


def estimate(args: argparse.Namespace) -> None:
    """Raises ValueError for what cannot be estimated."""
    examine(args)
    train, held_out = load_data(args)
    updates, _ = plan_steps(args, len(train), num_processes())
    skip_deepspeed_compilation()

    def trainer(settings: argparse.Namespace, folder: str, precision: str, load):
        from training.building import build_trainer

        config = build_config(settings, Path(folder), precision, has_held_out=False)
        return build_trainer(settings, config, train, replace(held_out, questions=[]), load)

    for line in report(args, train.questions, len(held_out), updates, trainer):
        say(line)
