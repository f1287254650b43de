"""The settings of main.py, each said once: a record in the group that --help shows it in.

Derived from it: the parser, the YAML reader and the checks (settings/arguments.py, settings/yaml_file.py), what a run
saves and what --resume compares (checkpoints/), the map to GRPOConfig (settings/grpo_config.py). The file of a method
under trainers/ adds its options.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from operator import not_

from settings.losses import LOSSES
from settings.setting import Setting
from trainers import METHODS, method_options
from trainers.method import Method

MODES = tuple(METHODS)
# defaults where the model, or the data set, has none of its own
FULL_LEARNING_RATE, LORA_LEARNING_RATE = 1e-6, 1e-5
COMPLETION_LENGTH = 768
DRAWN_SIZE = 1000
LEAST_TEMPERATURE = 1e-6  # a logit divided by less may be no float32

_PAPERS = {name: f" (arXiv {method.paper.arxiv})" if method.paper else "" for name, method in METHODS.items()}
_LEARN = "; ".join(f"{name}: {method.learns_from}{_PAPERS[name]}" for name, method in METHODS.items())
_CLIPPING = {name: one.defaults["clip"] for name, one in (METHODS | LOSSES).items() if "clip" in one.defaults}
_CLIPS = "; ".join(f"{clip:g} for {name}" for name, clip in _CLIPPING.items())
_SOURCES = ", ".join(f"{name} (arXiv {loss.arxiv})" if loss.arxiv else name for name, loss in LOSSES.items())
_NEEDY = " and ".join(method.name for method in METHODS.values() if method.needs_wrong)

kept = partial(Setting, resume="free")  # where and how a run is kept and watched, not what it computes

# fmt: off
METHOD = (
    Setting("mode", None, f"the method, by what it learns from. {_LEARN}", choices=MODES),
    Setting("reward_threshold", 0.5, "a completion is correct when its accuracy is at least this", least=0, most=1.0),
)
LOSS = (  # in the group of the method, after its own options
    Setting("truncated", "wrong",
            "a completion cut at the length limit counts as this. wrong: as in the paper, NSR also punishes right "
            "answers that were only too long; unscorable: nothing is learned from them, and nothing holds the length "
            "back", choices=("wrong", "unscorable")),
    Setting("normaliser", "all",
            "the loss is averaged over all completions of the rollout batch, or over the kept ones only (the paper's "
            "code), which ties the size of the step to the class balance", choices=("all", "kept")),
    Setting("averaging", "token", "token: every token counts alike; sequence: every completion counts alike (the "
            "paper's equation 6)", choices=("token", "sequence"),
            feeds="loss_type", convert={"token": "dapo", "sequence": "grpo"}.__getitem__),
    Setting("loss", None,
            f"TRL's loss (default: that of --averaging, token: dapo, sequence: grpo); {_SOURCES}. All weigh every "
            "completion by the method's advantage; at one update per rollout batch cispo and vespo are dapo, gspo and "
            "sapo are grpo", choices=tuple(LOSSES)),
    Setting("clip", 0.2, f"clip range of the probability ratio; binds only with several updates; {_CLIPS}",
            above=0, feeds="epsilon"),
    Setting("clip_high", None,
            "upper end of that range alone (default: that of --clip); with --loss cispo the largest ratio (5)", float,
            above=0, feeds="epsilon_high"),
    Setting("negative_ratio_cap", None,
            "a token with negative weight counts at most this times as much when it has become likelier than when it "
            "was drawn; 1: TOPR's (default: no bound); acts with several updates only", float, least=1),
    Setting("kl_beta", 0.0, "weight of the KL term to the untrained model (the paper's GRPO: 0.001)",
            least=0, feeds="beta"),
    Setting("entropy_bonus", 0.0, "weight of an entropy bonus (the paper: 0.0001)", least=0, feeds="entropy_coef"),
    Setting("rewards", "accuracy", "reward preset: accuracy (+ format) or chart-rvr (all of the published ones)"),
    Setting("reward", None, "instead of a preset, the rewards: name[=weight] ... of charts/README.md, and functions "
            "of your own with TRL's signature, path/to/file.py:function[=weight] or package.module:function[=weight] "
            "(their file is run). A weight is 1 if left out. One of them must be called accuracy: it decides what is "
            "correct", several=True, resume="free"),  # --resume compares names, weights and code, not where that is
    Setting("soft_accuracy", False, "partial credit for numbers that are nearly right"),
)
MODEL = (
    Setting("vlm_name", "tiny", "a name of models/registry.py, a hub id (org/name), a local folder, or a run folder, "
            "whose adapter is trained further", alias="--model-name"),
    kept("base_model", None, "where the model that an adapter was trained on is now, if it has moved"),
    Setting("no_lora", False, "train every weight instead of a LoRA adapter"),
    Setting("base_4bit", False,
            "the language model's layers in 4 bits under the adapter (NF4): a 7B model trains on 16 GB. Needs "
            "bitsandbytes", lora=True),
    Setting("lora_rank", 8, "LoRA rank", least=1, lora=True),
    Setting("lora_alpha", 16.0, "LoRA alpha", above=0, lora=True),
    Setting("lora_targets", None, "module names for LoRA (default: all linear layers of the language model)",
            several=True, lora=True),
    Setting("precision", "auto", "auto: bf16 where the GPU supports it, fp16 on older ones, fp32 on CPU",
            choices=("auto", "bf16", "fp16", "fp32")),
    Setting("disable_gradient_checkpointing", False,
            "faster, needs more memory; passes that take less without it than TRL's with it do without by themselves",
            feeds="gradient_checkpointing", convert=not_),
)
DATA = (
    Setting("dataset_name", "synthetic", "a data set of charts/README.md, or any other: a set of the hub, "
            "org/set[:config][@split], or a file or folder, place[@split]"),
    kept("dataset_path", None, "local copy of the data set (folder or file) instead of the hub"),
    Setting("image_column", None, "of a set without an adapter: the column of its pictures (default: image or images)"),
    Setting("question_column", None, "that of its questions (default: question, query, problem, prompt or messages)"),
    Setting("answer_column", None, "that of its answers (default: answer, answers, label, solution, ...)"),
    Setting("choices_column", None, "that of its options, for multiple choice, or several, A,B,C; the answer is then a "
            "letter, a text or a place among them, the first being 0"),
    Setting("answer_kind", None, "what its answers are: number, year, count, list, ordered list, yes/no, text, math "
            "(a whole solution with a box is read too) or box (default: seen from each answer)"),
    Setting("rule", None, "when an answer to it is right: a rule of charts/README.md (default: strict)"),
    Setting("subset_size", None, f"train on this many questions (default: all; synthetic, procedures: {DRAWN_SIZE})",
            int, least=1),
    Setting("subset_order", "stratified",
            "how the subset is taken: a seeded draw over distinct rows, stratified by source, or the first rows",
            choices=("stratified", "sequential")),
    Setting("deduplicate", False, "keep one of several equal rows"),
    Setting("held_out", 0.05, "share of the charts kept out of training to measure accuracy on; 0 without "
            "--subset-size: all rows are trained on", least=0, most=0.5),
    Setting("prompt", "structured", "prompt of charts/prompt.py; math, gsm8k, amc and aime have boxed by default"),
    kept("prompt_file", None, "a template of your own instead, with {question} in it and, if you like, {choices} and "
         "{instruction}; a checkpoint keeps its text"),
    Setting("min_pixels", 3136, "smaller images are enlarged to this many pixels", least=1),
    Setting("max_pixels", 401408, "larger images are shrunk to this many pixels", least=1),
)
OPTIMISATION = (
    Setting("num_generations", 4, f"completions per question; 4 or more for {_NEEDY}",
            least=2, feeds="num_generations"),
    Setting("batch_size", 2, "completions per device and forward pass",
            least=1, resume="product", feeds="per_device_train_batch_size"),
    Setting("gradient_accumulation_steps", None,
            "forward passes per update (default: the smallest of at least 2 in which whole groups fit)",
            int, least=1, resume="product", feeds="gradient_accumulation_steps"),
    Setting("updates_per_rollout", 1, "optimiser steps per rollout batch (the paper: 4)", least=1),
    # the learning rate is constant, so how far a run goes changes none of its updates
    Setting("num_epochs", 1.0, "passes over the data", above=0, resume="length", feeds="num_train_epochs"),
    Setting("max_steps", None, "stop after this many optimiser steps",
            int, least=1, resume="length", feeds="max_steps", convert=lambda steps: steps or -1),
    Setting("learning_rate", None, f"constant (default: {LORA_LEARNING_RATE:g} with LoRA, {FULL_LEARNING_RATE:g} "
            "without; tiny and organism have their own)", float, above=0, feeds="learning_rate"),
    Setting("optimiser", "adam",
            "adam: AdamW without weight decay; sgd: plain gradient descent, whose learning rate is of another size",
            choices=("adam", "sgd"), feeds="optim", convert={"adam": "adamw_torch_fused", "sgd": "sgd"}.__getitem__),
    Setting("temperature", 1.0, "sampling temperature of the rollouts", least=LEAST_TEMPERATURE, feeds="temperature"),
    Setting("rollouts", "engine",
            "engine: every prompt is computed once for all of its completions; generate: transformers' generate; "
            "server: an inference server, which loads the adapter of every step (docs/servers.md)",
            choices=("engine", "generate", "server")),
    kept("server_url", None, "of --rollouts server: its address, such as http://127.0.0.1:8000/v1; a key is read from "
         "the environment variable SERVER_API_KEY"),
    kept("server_model", None, "of --rollouts server: the name of the base model there (default: its only one)"),
    Setting("plain_update", False,
            "TRL's own update: every completion in a row of its own with its own copy of the prompt, rows without "
            "weight too; the same gradient, for doubters and comparisons"),
    Setting("max_completion_length", None,
            f"tokens a completion may have (default: {COMPLETION_LENGTH}; tiny and organism have their own)",
            int, least=1, feeds="max_completion_length"),
    Setting("seed", 2025, "decides data, weights and samples; the number in the folder name",
            least=0, most=2**31 - 1, feeds="seed"),  # TRL adds the number of the process, and NumPy ends at 2**32
)
RUN = (
    kept("config", None, "YAML file of settings (recipes/); flags given on the command line win"),
    kept("estimate", False,
         "print the peak memory, tokens per update, hours and the flags to change for smaller cards, and do not train"),
    kept("show_data", None, "print ten rows as they were read and are asked, write them as a page with their pictures, "
         "and do not train", bare="PAGE"),
    kept("output_root", "grpo-start-ckpts", "folder of the run folders"),
    kept("resume", None,
         "continue an unfinished run, or a finished one that is to be longer, from its newest whole checkpoint, or "
         "from the one named", bare="CHECKPOINT"),
    kept("max_bad_updates", 5, "an update whose loss or gradient is not finite moves nothing; this many in a row end "
         "the run (exit code 1)", least=1),
    kept("overwrite", False, "delete the run folder that is in the way"),
    kept("save_steps", 500, "optimiser steps between checkpoints", least=1, feeds="save_steps"),
    kept("save_total_limit", None,
         "keep only this many checkpoints; the disk must hold one more, as old ones go when the new one is whole",
         int, least=1, feeds="save_total_limit"),
    Setting("eval_steps", 500, "optimiser steps between measurements on the held-out charts", least=1,
            feeds="eval_steps"),
    kept("eval_on_start", "yes", "measure the held-out charts before the first update too: what the base can do",
         choices=("yes", "no"), bare="{yes,no}"),
    kept("eval_samples", 1,
         "completions of each held-out question at every measurement; with n of them Pass@1 to Pass@n, with intervals, "
         "are logged", least=1, feeds="num_generations_eval"),
    kept("best_by", None,
         "what the best checkpoint is chosen by on the held-out charts; a new one is saved at once, and kept "
         "beside the newest; pass@n: that of --eval-samples n (default: pass@1)",
         choices=("pass@1", "pass@n")),
    kept("report_to", "wandb", "where the metrics go besides the log and trainer_state.json",
         choices=("wandb", "tensorboard", "none"), feeds="report_to"),
    kept("wandb_online", False, "send the run to Weights & Biases (needs a login)"),
    kept("log_completions", False, "print completions and write them as parquet", feeds="log_completions"),
    kept("collective_timeout", 30.0,
         "minutes that one process may wait for the others, for a slow one or for a checkpoint to be written; a run in "
         "which a process is stuck or gone ends after that", above=0, most=10_080),
)
WARNINGS = (
    kept("warn_window", 20, "rollout batches that are averaged, at the start and now, for the warnings", least=1),
    kept("warn_entropy", 2.0, "warn when the entropy is more than this times that of the start", least=1),
    kept("warn_length", 1.5, "warn when completions are more than this times as long", least=1),
    kept("warn_truncation", 0.2, "warn when this much more of the completions is truncated", least=0, most=1.0),
    kept("warn_format", 0.2, "warn when the format reward (0 to 1) has fallen by more than this", least=0, most=1.0),
    kept("warn_ratio", 10.0, "warn when a token is more than this times as probable as when drawn", least=1),
    kept("stop_on_collapse", False,
         "end the run when entropy, length, truncation or format has been over its bound for a further window, and "
         "keep the weights of the best checkpoint on the held-out charts (--best-by)"),
)
# fmt: on


def groups() -> dict[str, tuple[Setting, ...]]:
    """Group of --help -> its settings in order, each with the methods that it is for."""
    settings = {
        "method": (*METHOD, *map(_option, method_options().items()), *LOSS),
        "model": MODEL,
        "data": DATA,
        "rollouts and optimisation": OPTIMISATION,
        "the run": RUN,
        "early warnings": WARNINGS,
    }
    return {title: tuple(map(_with_users, group)) for title, group in settings.items()}


def _with_users(setting: Setting) -> Setting:
    users = tuple(mode for mode, method in METHODS.items() if setting.name in method.shared_flags)
    return replace(setting, methods=users) if users else setting


def _option(named: tuple[str, list[type[Method]]]) -> Setting:
    """The setting of a method's option: its metadata (trainers.method.option) are named as the fields of a setting."""
    name, methods = named
    option, modes = methods[0].options()[name], tuple(method.name for method in methods)
    facts = {key: value for key, value in option.metadata.items() if key not in ("help", "shown")}
    return Setting(name, option.default, f"{', '.join(modes)}: {option.metadata['help']}", methods=modes, **facts)


def all_settings() -> dict[str, Setting]:
    """Name -> setting, in the order of --help."""
    return {setting.name: setting for group in groups().values() for setting in group}
