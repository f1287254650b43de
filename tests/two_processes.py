"""Run by test_two_processes.py, in one process or two: what each process trains on, as JSON, in a file per process."""

import json
import os
import sys
from pathlib import Path

from tests import one_layer
from trainers import TRAINERS

COMPLETIONS = ["a b .", "b c d .", "c .", "h a .", "b b .", "c c d .", "a b c d e", "b a ."]  # two groups of four


def main(folder: str) -> None:
    results = [train(mode, folder) for mode in TRAINERS]
    # not through standard output, where lines of two processes can run into each other
    Path(folder, f"results_{os.environ.get('RANK', '0')}.json").write_text(json.dumps(results))


def train(mode: str, folder: str) -> dict:
    processes, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    share = len(COMPLETIONS) // processes
    settings = {"lambda_psr": 0.1} if mode == "w-reinforce" else {}
    if mode != "grpo":
        settings["normaliser"] = "kept"
    trainer = one_layer.trainer(TRAINERS[mode], folder, batch=share, mode_settings=settings, optim="sgd")
    one_layer.fix_rollouts(trainer, COMPLETIONS[rank * share : (rank + 1) * share])
    rollouts, generate = [], trainer._generate_and_score_completions
    trainer._generate_and_score_completions = lambda inputs: rollouts.append(generate(inputs)) or rollouts[-1]
    trainer.train()
    change = sum(p.double().sum().item() for p in trainer.model.parameters())
    return {
        "mode": mode,
        "rank": rank,
        "trained_on": rollouts[0]["advantages"].tolist(),
        "logged": list(trainer._logs["advantages"]),
        "weights": change,
        "counts": [trainer.state.log_history[0][f"decomposed/{k}"] for k in ("positive", "negative", "unscorable")],
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
