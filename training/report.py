"""What a run says: the configuration block, the progress bar, the run's name in Weights & Biases."""

from __future__ import annotations

import os
import secrets
import sys
import time
from argparse import Namespace
from functools import partial

from tqdm import tqdm
from transformers.integrations import get_reporting_integration_callbacks
from transformers.trainer_callback import ProgressCallback, TrainerCallback

from common.terminal import first_line
from settings.losses import LOSSES, said
from trainers import METHODS
from trainers.method import Method
from training.measured import pass_at_k_line

SHOWN_METRICS = {
    "loss": "loss",
    "grad_norm": "gradient norm",
    "decomposed/accuracy": "accuracy",
    "decomposed/kept_share": "kept share",
    "decomposed/skipped_work": "work skipped",
    "entropy": "entropy",
    "completions/mean_length": "mean length",
    "completions/clipped_ratio": "truncated",
    "tokens_per_second": "tokens/s",
    "time/rollout": "rollout s",
    "time/update": "update s",
    "eval_decomposed/accuracy": "held-out accuracy",
}


def banner(method: Method, threshold: float) -> str:
    """The block printed before training: of a method's options the first, and those that are not at their default."""
    name, arrow = method.name.upper(), method.announcement()
    lines = [f"✓ {name} TRAINING CONFIGURATION:", f"  Training mode: {method.name}"]
    for place, (option, one) in enumerate(method.options().items()):
        if place == 0 or getattr(method, option) != one.default:
            lines.append(f"  {one.metadata['shown']}: {getattr(method, option)}")
    if "reward_threshold" in method.shared_flags:
        lines.append(f"  Reward threshold: {threshold}")
    if arrow:
        lines += ["", f"✓ {name} reward filtering enabled", f"  → {arrow}"]
    return "\n".join(lines) + "\n"


def own_defaults(args: Namespace) -> str | None:
    """The line about settings that have another default under this method or loss; None where there are none."""
    of_loss = LOSSES[args.loss].defaults if args.loss else {}
    of_mode = METHODS[args.mode].defaults
    unused = {*said(args), *(LOSSES[args.loss].unused if args.loss else ())}
    parts = []
    for flag, own in ((f"--mode {args.mode}", of_mode.keys() - of_loss.keys()), (f"--loss {args.loss}", of_loss)):
        flags = [f"--{name.replace('_', '-')} {getattr(args, name):g}" for name in sorted({*own} - unused)]
        parts += [f"{flag} has defaults of its own: {' '.join(flags)}"] if flags else []
    return "; ".join(parts) or None


def few_generations_warning(mode: str, num_generations: int) -> str | None:
    if METHODS[mode].needs_wrong and num_generations < 4:
        return (
            f"Warning: --num-generations {num_generations} with --mode {mode}: few prompts will have a wrong "
            "completion to learn from; use 4 or more."
        )
    return None


def set_up_wandb(mode: str, name: str, online: bool) -> None:
    """Environment for the Trainer's W&B callback: offline unless asked, a unique run id that ends in the mode.

    What the user has set in the environment stays. Raises ValueError when a run is to go online without a login.
    """
    if online:
        import wandb

        if not (os.environ.get("WANDB_API_KEY") or wandb.api.api_key):
            raise ValueError("--wandb-online needs a login: run `wandb login` or set WANDB_API_KEY")
        os.environ["WANDB_MODE"] = "online"
    settings = {
        "WANDB_MODE": "offline",
        "WANDB_RUN_ID": f"{time.strftime('%H%M%S')}-{secrets.token_hex(4)}-{mode}",
        "WANDB_PROJECT": "decomposed-vlm-rl",
        "WANDB_NAME": name,
        "WANDB_RUN_GROUP": name,  # a run that is resumed is another one there, of the same group
        "WANDB_FINISH_TIMEOUT": "300",  # seconds to wait at the end for a host that does not answer
        "WANDB_SILENT": "true",
        "WANDB_DISABLE_GIT": "true",  # it would keep the user of https://user:password@host, which can be the token
    }
    for key, value in settings.items():
        os.environ.setdefault(key, value)


class TrainingProgress(ProgressCallback):
    """The Trainer's progress bar in the form Training progress: 100% 50/50 [30:00<00:00]."""

    def on_train_begin(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            self.training_bar = tqdm(
                total=state.max_steps,
                dynamic_ncols=True,
                desc="Training progress",
                bar_format="{desc}: {percentage:.0f}% {n_fmt}/{total_fmt} [{elapsed}<{remaining}]",
            )
        self.current_step = 0

    def on_log(self, args, state, control, logs=None, **kwargs):
        """One short line; every metric is in trainer_state.json and the logging backend."""
        if self.training_bar is None or not logs:
            return
        shown = {name: logs[key] for key, name in SHOWN_METRICS.items() if logs.get(key) is not None}
        measured = pass_at_k_line(logs)
        if measured:
            self.training_bar.write(f"step {state.global_step}: held out: {measured}", file=sys.stdout)
        if shown:
            parts = ", ".join(f"{name} {value:.3g}" for name, value in shown.items())
            self.training_bar.write(f"step {state.global_step}: {parts}", file=sys.stdout)
            sys.stdout.flush()  # a log file, too, shows a step when it is done

    def on_prediction_step(self, args, state, control, **kwargs):
        """How far a measurement on the held-out charts is."""
        super().on_prediction_step(args, state, control, **kwargs)
        if self.prediction_bar is not None:
            self.prediction_bar.set_description_str("Held-out charts", refresh=False)


class Bystander:
    """The Trainer's callback of a logging backend, which cannot end the run: after its first error it is left out.

    A service that crashed, a host out of reach, a folder that cannot be written: whatever a backend raises, the metrics
    are kept in trainer_state.json all the same.
    """

    def __init__(self, callback: TrainerCallback, trainer):
        self._callback, self._trainer, self.failed = callback, trainer, False

    def __getattr__(self, name: str):
        found = getattr(self._callback, name)
        return partial(self._call, found) if name.startswith("on_") else found

    def on_train_begin(self, *args, **kwargs) -> None:
        self._call(self._callback.on_train_begin, *args, **kwargs)
        if "wandb" in sys.modules and getattr(self._callback, "_wandb", None) is sys.modules["wandb"]:
            # TRL sends the seconds of its functions there itself, past the callbacks
            sys.modules["wandb"].log = partial(self._call, sys.modules["wandb"].log)

    def _call(self, function, *args, **kwargs):
        if self.failed:
            return None
        try:
            return function(*args, **kwargs)
        except Exception as error:
            self.failed = True
            self._trainer.args.report_to = []  # what TRL sends past the callbacks
            name = type(self._callback).__name__.removesuffix("Callback")
            line = f"Warning: {name} has failed ({first_line(error)}) and is left out"
            tqdm.write(f"{line}; all metrics are in trainer_state.json", file=sys.stdout)
            return None


def make_bystanders(trainer) -> None:
    """Puts every logging backend of `trainer` into a Bystander."""
    handler = trainer.callback_handler
    backends = tuple(get_reporting_integration_callbacks(trainer.args.report_to))
    handler.callbacks = [Bystander(one, trainer) if isinstance(one, backends) else one for one in handler.callbacks]


def end_without_backends(trainer, code: int) -> None:
    """Ends the process when a backend has failed, whose own end may wait for ever; returns otherwise."""
    if any(isinstance(one, Bystander) and one.failed for one in trainer.callback_handler.callbacks):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
