"""Every flag of main.py with its default and its help, group by group; settings/arguments.py parses and checks them.

Each function takes an argparse group and `add(group, flag, default, help, **kwargs)`, which adds one flag to it.
"""

from __future__ import annotations

from trainers import METHODS, method_options

MODES = tuple(METHODS)


def method_flags(group, add):
    papers = {name: f" (arXiv {m.paper.arxiv})" if m.paper else "" for name, m in METHODS.items()}
    learn = "; ".join(f"{name}: {m.learns_from}{papers[name]}" for name, m in METHODS.items())
    add(group, "--mode", choices=MODES, help=f"the method, by what it learns from. {learn}")
    add(group, "--reward-threshold", 0.5, "a completion is correct when its accuracy is at least this", type=float)
    for name, methods in method_options().items():
        option = methods[0].options()[name]
        help = f"{', '.join(method.name for method in methods)}: {option.metadata['help']}"
        facts = {"type": option.metadata["kind"], "choices": option.metadata["choices"]}
        add(group, "--" + name.replace("_", "-"), option.default, help, **facts)
    add(
        group,
        "--truncated",
        "wrong",
        "a completion cut at the length limit counts as this. wrong: as in the paper, NSR also punishes right answers "
        "that were only too long; unscorable: nothing is learned from them, and nothing holds the length back",
        choices=("wrong", "unscorable"),
    )
    add(
        group,
        "--normaliser",
        "all",
        "the loss is averaged over all completions of the rollout batch, or over the kept ones only (the paper's "
        "code), which ties the size of the step to the class balance",
        choices=("all", "kept"),
    )
    add(
        group,
        "--averaging",
        "token",
        "token: every token counts alike; sequence: every completion counts alike (the paper's equation 6)",
        choices=("token", "sequence"),
    )
    own = "; ".join(f"{m.defaults['clip']:g} for {m.name}" for m in METHODS.values() if "clip" in m.defaults)
    help = "clip range of the probability ratio; binds only with several updates"
    add(group, "--clip", 0.2, f"{help}; {own}", type=float)
    add(group, "--clip-high", None, "upper end of that range alone (default: that of --clip)", type=float)
    add(
        group,
        "--negative-ratio-cap",
        None,
        "a token with negative weight counts at most this times as much when it has become likelier than when it was "
        "drawn; 1: TOPR's (default: no bound); acts with several updates only",
        type=float,
    )
    add(group, "--kl-beta", 0.0, "weight of the KL term to the untrained model (the paper's GRPO: 0.001)", type=float)
    add(group, "--entropy-bonus", 0.0, "weight of an entropy bonus (the paper: 0.0001)", type=float)
    add(group, "--rewards", "accuracy", "reward preset: accuracy (+ format) or chart-rvr (all of the published ones)")
    add(group, "--soft-accuracy", False, "partial credit for numbers that are nearly right", action="store_true")


def model_flags(group, add):
    add(
        group,
        "--vlm-name",
        "tiny",
        "a name of models/registry.py, a hub id (org/name), a local folder, or a run folder, whose adapter is trained "
        "further",
    )
    add(group, "--base-model", None, "where the model that an adapter was trained on is now, if it has moved")
    add(group, "--no-lora", False, "train every weight instead of a LoRA adapter", action="store_true")
    add(group, "--lora-rank", 8, "LoRA rank", type=int)
    add(group, "--lora-alpha", 16.0, "LoRA alpha", type=float)
    add(
        group,
        "--lora-targets",
        None,
        "module names for LoRA (default: all linear layers of the language model)",
        nargs="+",
    )
    add(
        group,
        "--precision",
        "auto",
        "auto: bf16 where the GPU supports it, fp16 on older ones, fp32 on CPU",
        choices=("auto", "bf16", "fp16", "fp32"),
    )
    add(
        group,
        "--disable-gradient-checkpointing",
        False,
        "faster, needs more memory; a GPU does without by itself where that takes less than TRL would",
        action="store_true",
    )


def data_flags(group, add):
    add(group, "--dataset-name", "synthetic", "a data set of charts/README.md")
    add(group, "--dataset-path", None, "local copy of the data set (folder or file) instead of the hub")
    add(
        group,
        "--subset-size",
        None,
        "train on this many questions (default: all; synthetic, procedures: 1000)",
        type=int,
    )
    add(
        group,
        "--subset-order",
        "stratified",
        "how the subset is taken: a seeded draw over distinct rows, stratified by source, or the first rows",
        choices=("stratified", "sequential"),
    )
    add(group, "--deduplicate", False, "keep one of several equal rows", action="store_true")
    add(group, "--held-out", 0.05, "share of the charts kept out of training to measure accuracy on", type=float)
    add(group, "--prompt", "structured", "prompt of charts/prompt.py")
    add(group, "--min-pixels", 3136, "smaller images are enlarged to this many pixels", type=int)
    add(group, "--max-pixels", 401408, "larger images are shrunk to this many pixels", type=int)


def optimisation_flags(group, add):
    needy = " and ".join(method.name for method in METHODS.values() if method.needs_wrong)
    add(group, "--num-generations", 4, f"completions per question; 4 or more for {needy}", type=int)
    add(group, "--batch-size", 2, "completions per device and forward pass", type=int)
    add(
        group,
        "--gradient-accumulation-steps",
        None,
        "forward passes per update (default: the smallest of at least 2 in which whole groups fit)",
        type=int,
    )
    add(group, "--updates-per-rollout", 1, "optimiser steps per rollout batch (the paper: 4)", type=int)
    add(group, "--num-epochs", 1.0, "passes over the data", type=float)
    add(group, "--max-steps", None, "stop after this many optimiser steps", type=int)
    add(
        group,
        "--learning-rate",
        None,
        "constant (default: 1e-5 with LoRA, 1e-6 without; tiny and organism have their own)",
        type=float,
    )
    add(
        group,
        "--optimiser",
        "adam",
        "adam: AdamW without weight decay; sgd: plain gradient descent, whose learning rate is of another size",
        choices=("adam", "sgd"),
    )
    add(group, "--temperature", 1.0, "sampling temperature of the rollouts", type=float)
    add(
        group,
        "--rollouts",
        "engine",
        "engine: every prompt is computed once for all of its completions; generate: transformers' generate",
        choices=("engine", "generate"),
    )
    add(
        group,
        "--plain-update",
        False,
        "TRL's own update: every completion in a row of its own with its own copy of the prompt, rows without weight "
        "too; the same gradient, for doubters and comparisons",
        action="store_true",
    )
    add(
        group,
        "--max-completion-length",
        None,
        "tokens a completion may have (default: 768; tiny and organism have their own)",
        type=int,
    )
    add(group, "--seed", 2025, "decides data, weights and samples; the number in the folder name", type=int)


def run_flags(group, add):
    add(group, "--config", None, "YAML file of settings (recipes/); flags given on the command line win")
    add(
        group,
        "--estimate",
        False,
        "print the peak memory, tokens per update, hours and the flags to change for smaller cards, and do not train",
        action="store_true",
    )
    add(group, "--output-root", "grpo-start-ckpts", "folder of the run folders")
    add(
        group,
        "--resume",
        None,
        "continue an unfinished run, or a finished one that is to be longer, from its newest whole checkpoint, or from "
        "the one named",
        nargs="?",
        const=True,
        metavar="CHECKPOINT",
    )
    add(
        group,
        "--max-bad-updates",
        5,
        "an update whose loss or gradient is not finite moves nothing; this many in a row end the run (exit code 1)",
        type=int,
    )
    add(group, "--overwrite", False, "delete the run folder that is in the way", action="store_true")
    add(group, "--save-steps", 500, "optimiser steps between checkpoints", type=int)
    add(
        group,
        "--save-total-limit",
        None,
        "keep only this many checkpoints; the disk must hold one more, as old ones go when the new one is whole",
        type=int,
    )
    add(group, "--eval-steps", 500, "optimiser steps between measurements on the held-out charts", type=int)
    add(
        group,
        "--report-to",
        "wandb",
        "where the metrics go besides the log and trainer_state.json",
        choices=("wandb", "tensorboard", "none"),
    )
    add(group, "--wandb-online", False, "send the run to Weights & Biases (needs a login)", action="store_true")
    add(group, "--log-completions", False, "print completions and write them as parquet", action="store_true")
    add(
        group,
        "--collective-timeout",
        30.0,
        "minutes that one process may wait for the others, for a slow one or for a checkpoint to be written; a run in "
        "which a process is stuck or gone ends after that",
        type=float,
    )


def warning_flags(group, add):
    add(
        group,
        "--warn-window",
        20,
        "rollout batches that are averaged, at the start and now, for the warnings",
        type=int,
    )
    add(group, "--warn-entropy", 2.0, "warn when the entropy is more than this times that of the start", type=float)
    add(group, "--warn-length", 1.5, "warn when completions are more than this times as long", type=float)
    add(group, "--warn-truncation", 0.2, "warn when this much more of the completions is truncated", type=float)
    add(group, "--warn-format", 0.2, "warn when the format reward (0 to 1) has fallen by more than this", type=float)
    add(group, "--warn-ratio", 10.0, "warn when a token is more than this times as probable as when drawn", type=float)
    add(
        group,
        "--stop-on-collapse",
        False,
        "end the run when entropy, length, truncation or format has been over its bound for a further window, and keep "
        "the weights of the best checkpoint by accuracy on the held-out charts, which is saved whenever it improves",
        action="store_true",
    )
