"""A prepared run: its trainer is built, trains, and leaves its result in the run folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from checkpoints.fingerprints import file_fingerprints, weight_files
from checkpoints.model_card import model_card
from checkpoints.run_folder import discard_replaced, write_settings
from common.commands import say, say_error
from common.imports import rare_collection
from common.launcher import is_main_process
from models.registry import NoWeights
from trainers import METHODS
from training.building import build_trainer
from training.early_warning import keep_best
from training.interruption import Interruption
from training.measured import summary
from training.preparing import Prepared
from training.report import banner, end_without_backends


def train(args: argparse.Namespace, run: Prepared) -> int:
    """Trains and saves; the exit code. 2 for weights that cannot be had."""
    for line in banner(METHODS[args.mode].from_settings(args), args.reward_threshold).split("\n"):
        say(line)
    try:
        with rare_collection():
            trainer = build_trainer(args, run.config, run.train, run.held_out)
    except NoWeights as error:
        say_error(error)
        return 2
    if is_main_process():
        discard_replaced(run.folder)
        write_settings(run.folder, run.record)
    trainer.card = model_card(run.folder.name, run.record)
    # a run that goes on has measured its base already
    trainer.args.eval_on_start = args.eval_on_start == "yes" and len(run.held_out) > 0 and run.checkpoint is None
    code = train_and_save(trainer, run)
    end_without_backends(trainer, code)
    return code


def train_and_save(trainer, run: Prepared) -> int:
    """Trains from the run's checkpoint or from the beginning and saves the result in its folder; the exit code."""
    with Interruption(trainer) as interruption:
        trainer.train(resume_from_checkpoint=str(run.checkpoint) if run.checkpoint else None)
    if interruption.signal or trainer.unhealthy:
        return stopped_early(trainer, interruption, run.folder / f"checkpoint-{trainer.state.global_step}")
    last = not trainer.early_warning.collapsed  # then other weights are kept than those measured last
    options = {"last": last, "best_by": trainer.best_by}
    for line in summary(trainer.state.log_history, len(run.held_out), run.folder, **options):
        say(line)

    def finish() -> None:
        if trainer.early_warning.collapsed:
            kept = keep_best(run.folder, trainer.state.best_model_checkpoint)
            say(f"Stopped at update {trainer.state.global_step}: {trainer.early_warning.collapsed}; {kept}")
        ended = {"finished": True, "collapsed": trainer.early_warning.collapsed}
        write_settings(run.folder, {**run.record, **ended, "weights": file_fingerprints(weight_files(run.folder))})

    refused = trainer.save_result(finish)
    if refused:
        say_error(trainer.unsaved_line("the trained model", refused))
        return 1
    say(f"✓ Model saved to {run.folder}")
    return 0


def stopped_early(trainer, interruption: Interruption, checkpoint: Path) -> int:
    """Tells why a run has ended before its last step and what is saved of it; the exit code."""
    if trainer.unsaved:
        say_error(". ".join(filter(None, [trainer.unhealthy, trainer.unsaved])))
        return 1
    if trainer.unhealthy:
        say_error(f"{trainer.unhealthy}; {checkpoint} goes on with --resume")
        return 1
    say(interruption.line(checkpoint))
    return 128 + (interruption.signal or 0)
