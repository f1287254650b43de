"""Run by test_two_processes.py, in one process or two: what each process trains on, as JSON, in a file per process."""

import json
import os
import sys
from pathlib import Path

import torch

from tests import one_layer
from tests.scored import NEEDED
from trainers import METHODS
from trainers.trainer import TRAINERS
from update.collate import loss_mask

# four groups of two; the second process has no right one, so under PSR it is sent one of the first process's prompts
COMPLETIONS = ["a b .", "b c d .", "a .", "h a .", "b b .", "c c d .", "a b c d e", "b a ."]
SHOWN = ("grpo", "psr", "nsr", "w-reinforce", "maxrl")


def main(folder: str) -> None:
    # which update it is asks for weights alone, so that some methods show it
    results = [train(mode, folder, update) for mode in SHOWN for update in ("plain", "shared")]
    # every method, with all of one group: two processes have half of it each
    results += [train(mode, folder, "shared", generations=len(COMPLETIONS)) for mode in TRAINERS]
    # not through standard output, where lines of two processes can run into each other
    Path(folder, f"results_{os.environ.get('RANK', '0')}.json").write_text(json.dumps(results))


def train(mode: str, folder: str, update: str, generations: int = 2) -> dict:
    processes, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    share = len(COMPLETIONS) // processes  # in two micro-batches
    settings = {"normaliser": "kept"} if "normaliser" in METHODS[mode].shared_flags else {}
    settings |= NEEDED.get(mode, {})
    trainer = one_layer.trainer(
        TRAINERS[mode],
        folder,
        batch=share // 2,
        generations=generations,
        gradient_accumulation_steps=2,
        mode_settings={**settings, "update": update},
        optim="sgd",
    )
    one_layer.fix_rollouts(trainer, COMPLETIONS[rank * share : (rank + 1) * share])
    trainer._sampled_logps = [-0.3 * row for row in range(rank * share, (rank + 1) * share)]  # as the engine tells
    rollouts, generate = [], trainer._generate_and_score_completions
    trainer._generate_and_score_completions = lambda inputs: rollouts.append(generate(inputs)) or rollouts[-1]
    computed, compute = [], trainer._compute_loss
    trainer._compute_loss = lambda model, inputs: computed.append(_rows_with_weight(inputs)) or compute(model, inputs)
    trainer.train()
    weights = torch.cat([p.detach().flatten() for p in trainer.model.parameters()])
    return {
        "mode": mode,
        "update": update,
        "generations": generations,
        "trained_on": rollouts[0]["advantages"].tolist(),
        "logged": list(trainer._logs["advantages"]),
        "weights": weights.tolist(),
        "computed": sum(computed),
        "gradient": trainer.state.log_history[0]["grad_norm"],
        "counts": [trainer.state.log_history[0][f"decomposed/{k}"] for k in ("positive", "negative", "unscorable")],
    }


def _rows_with_weight(inputs: dict) -> int:
    return int(((inputs["advantages"] != 0) & loss_mask(inputs).any(1)).sum())


if __name__ == "__main__":
    main(*sys.argv[1:])
