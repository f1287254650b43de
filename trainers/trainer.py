"""GRPOTrainer for every method: keep the rewards, put the method's weights in place of the advantages, report them.

The algorithm changes at one place, between TRL's scoring and its shuffle, on every process: the advantages that
`_generate_and_score_completions` returns are replaced by the weights that the method gives the scored batch. The loss,
the clip and the averaging stay TRL's. Shaping the rewards instead cannot express these methods: TRL subtracts the group
mean, so rewards {0, -1} or {lambda, -1} give GRPO's advantages again.

Everything else that is done differently from TRL 1.16 is in the classes that `MethodTrainer` inherits from, one subject
each; tests/trl_overrides.py lists every method that any of them overrides, with what it assumes of TRL.
"""

import time
from functools import cache
from typing import ClassVar

import torch

from checkpoints.disks import refusal
from checkpoints.exact_resume import ExactResume
from trainers import METHODS
from trainers.grpo import GRPO
from trainers.held_out import HeldOut
from trainers.method import Method, ScoredBatch, correctness
from update.guard import Guard
from update.packed_update import ROW_MEANS, PackedUpdate
from update.reward_errors import RewardErrors
from update.server_rollouts import ServerRollouts
from update.usage import Usage

ACCURACY = "accuracy"  # the reward that decides what is correct; further rewards never touch the sign
BARREN_UPDATES = 10  # rollout batches in a row without a row to learn from before the remedies are printed
MODEL_FIELDS = (  # of a rollout batch: what TRL gives the model beside ids and mask
    "pixel_values", "image_grid_thw", "num_images", "pixel_attention_mask", "spatial_shapes", "num_tiles",
    "image_sizes", "token_type_ids", "mm_token_type_ids", "image_position_ids",
)  # fmt: skip
MAX_PRINTED = 64  # numbers of one logged list


class MethodTrainer(HeldOut, Guard, RewardErrors, Usage, ServerRollouts, PackedUpdate, ExactResume):
    """GRPOTrainer that knows which completions are correct, and lets `method_class` weigh them.

    Args beyond GRPOTrainer's: the method's options by name; `reward_threshold` (correct is accuracy >= threshold),
    `truncated` ("wrong" or "unscorable": what a completion cut at the length limit counts as), `normaliser` ("all" or
    "kept": the rows that the loss is averaged over), `reward_scales` (reward name -> factor of the printed list only),
    `negative_ratio_cap` (update/ratios.py), `held_out_charts` (trainers/held_out.py), `server`
    (update/server_rollouts.py).
    Raises ValueError when no reward function is called "accuracy".
    """

    method_class: ClassVar[type[Method]] = GRPO
    resumable: ClassVar[tuple[str, ...]] = ("_barren_updates", "_seconds", "_tokens_at_last_log")

    def __init__(
        self, *args, reward_threshold=0.5, truncated="wrong", normaliser="all", reward_scales=None,
        negative_ratio_cap=None, **kwargs,
    ):  # fmt: skip
        options = {name: kwargs.pop(name) for name in self.method_class.options() if name in kwargs}
        super().__init__(*args, **kwargs)
        self.method = self.method_class(**options)
        if ACCURACY not in self.reward_func_names:
            raise ValueError(f"one reward function must be called '{ACCURACY}', got {self.reward_func_names}")
        self.reward_threshold, self.truncated, self.normaliser = reward_threshold, truncated, normaliser
        self.reward_scales, self.negative_ratio_cap = reward_scales or {}, negative_ratio_cap
        self._barren_updates = 0
        self._seconds = {"rollout": 0.0, "reward": 0.0, "update": 0.0}
        self._tokens_at_last_log = None

    # -- scoring ------------------------------------------------------------------------------------------------------

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        """Rewards of all processes (P*B, rewards); rows without a verdict are NaN throughout, so that GRPO drops them.

        A truncated completion is wrong (accuracy 0) or unscorable, as `truncated` says.
        """
        start = time.perf_counter()
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        ends = {*self.eos_token_ids, self._tokenizer.pad_token_id}
        cut = torch.tensor([ids[-1] not in ends for ids in completion_ids_list], device=rewards.device)
        cut = self.accelerator.gather(cut)
        column = self.reward_func_names.index(ACCURACY)
        accuracy = rewards[:, column]
        verdict = torch.zeros_like(accuracy) if self.truncated == "wrong" else torch.full_like(accuracy, torch.nan)
        rewards[:, column] = torch.where(cut & ~accuracy.isnan(), verdict, accuracy)
        rewards[rewards[:, column].isnan()] = torch.nan
        self._rewards = rewards
        if self.model.training:
            self._seconds["reward"] += time.perf_counter() - start
        return rewards

    def _generate_and_score_completions(self, inputs):
        """TRL's rollout batch with the method's weights as its advantages."""
        start, reward_seconds = time.perf_counter(), self._seconds["reward"]
        output = super()._generate_and_score_completions(inputs)
        batch = self._scored_batch(output)
        local = slice(self.accelerator.process_index * len(inputs), (self.accelerator.process_index + 1) * len(inputs))
        self._drop_unscorable(output, batch.correct[local].isnan())
        weights = batch.advantages  # a measurement moves nothing: its groups are no method's affair
        if self.model.training:
            weights = self.method.weights(batch).to(weights.dtype)
        self._replace_advantages(output, weights, local)
        self._report_batch(batch, weights, output)
        if self.model.training:
            self._seconds["rollout"] += time.perf_counter() - start - (self._seconds["reward"] - reward_seconds)
        return output

    def _scored_batch(self, output) -> ScoredBatch:
        """What a method is given: the verdicts on all processes' completions, and what is known about them."""
        accuracy = self._rewards[:, self.reward_func_names.index(ACCURACY)]
        correct = correctness(accuracy, self.reward_threshold)
        reward = (self._rewards * self.reward_weights.to(self._rewards.device)).nansum(1)
        generations = self.num_generations if self.model.training else self.num_generations_eval
        means = self._mean_logps(output)
        return ScoredBatch(
            correct=correct,
            accuracy=accuracy,
            reward=reward.where(~correct.isnan(), torch.nan),
            advantages=self.accelerator.gather(output["advantages"]),
            prompt=torch.arange(len(correct), device=correct.device) // generations,
            mean_logp=None if means is None else self.accelerator.gather(means),
            step=self.state.global_step,
            steps=self.state.max_steps,
        )

    def _mean_logps(self, output) -> torch.Tensor | None:
        """Mean log-probability of this process's completions (B,): the engine's, TRL's, or by a pass of its own."""
        if self._sampled_logps is not None:
            return torch.tensor(self._sampled_logps, device=self.accelerator.device)
        logps, mask = output.get("old_per_token_logps"), output["completion_mask"]
        if logps is None and self.method.needs_logp:
            parts = [torch.cat([output[f"prompt_{name}"], output[f"completion_{name}"]], 1) for name in ("ids", "mask")]
            fields = {name: output[name] for name in MODEL_FIELDS if name in output}
            with torch.no_grad():
                size = self.args.per_device_train_batch_size
                logps, *_ = self._get_per_token_logps_and_entropies(self.model, *parts, mask.shape[1], size, **fields)
        return None if logps is None else (logps * mask).sum(1) / mask.sum(1).clamp(min=1)

    def _drop_unscorable(self, output, unscorable):
        """Takes the tokens of unscorable rows out of the loss, so that no KL or entropy term moves them either."""
        if self.accelerator.gather(unscorable).any():
            mask = output["completion_mask"] * (~unscorable).unsqueeze(1).to(output["completion_mask"].dtype)  # (B, T)
            output["tool_mask"] = mask  # TRL's loss mask; attention stays as it is
            output["num_items_in_batch"] = self.accelerator.gather(mask.sum()).sum()

    def _replace_advantages(self, output, advantages, local):
        if self.normaliser == "kept":
            loss_mask = output.get("tool_mask", output["completion_mask"])
            rows = torch.ones_like(output["advantages"]) if self.loss_type in ROW_MEANS else loss_mask.sum(1)
            advantages = advantages * kept_scale(advantages, self.accelerator.gather(rows.to(advantages.dtype)))
        output["advantages"] = advantages[local]
        logged = self._logs["advantages"]  # the completions table must show what is trained on
        for _ in range(min(len(advantages), len(logged))):
            logged.pop()
        logged.extend(advantages.tolist())

    def _report_batch(self, batch: ScoredBatch, weights: torch.Tensor, output):
        metrics = self._metrics[self._phase]
        correct = batch.correct if self.model.training else self._count_once(batch.correct)
        metrics["decomposed/positive"].append((correct == 1).sum().item())
        metrics["decomposed/negative"].append((correct == 0).sum().item())
        metrics["decomposed/unscorable"].append(correct.isnan().sum().item())
        kept = self.accelerator.gather((output["advantages"] != 0).float())
        metrics["decomposed/kept_share"].append(kept.mean().item())
        if not self.model.training:
            return
        self._barren_updates = 0 if kept.any() else self._barren_updates + 1
        for name, scale in self.reward_scales.items():
            column = self._rewards[:, self.reward_func_names.index(name)]
            self._print(f"{name.replace('_', ' ').capitalize()} rewards: {_numbers((column * scale).tolist())}")
        self._print(f"Rewards Accuracy: {_numbers(self.method.printed_rewards(batch, weights).tolist())}")
        line = self.method.line(batch)
        if line:
            self._print(line)
        if self._barren_updates and self._barren_updates % BARREN_UPDATES == 0:
            self._print(
                f"{self._barren_updates} rollout batches in a row gave {self.method.name} nothing to learn from. What "
                f"helps: {self.method.remedies_without_signal}"
            )

    # -- the update ---------------------------------------------------------------------------------------------------

    def training_step(self, model, inputs, num_items_in_batch):
        start, before = time.perf_counter(), self._seconds["rollout"] + self._seconds["reward"]
        model.train()  # an evaluation leaves evaluation mode on, in which no rollout batch is made or used
        micro_batch = self._prepare_inputs(inputs)
        self._hold_still_without_signal()
        loss = super().training_step(model, micro_batch, num_items_in_batch)
        elsewhere = self._seconds["rollout"] + self._seconds["reward"] - before
        self._seconds["update"] += time.perf_counter() - start - elsewhere
        return loss

    def _prepare_inputs(self, generation_batch):
        if self._tokens_at_last_log is None:
            self._tokens_at_last_log = self.state.num_input_tokens_seen  # not 0 when a run is resumed
        return super()._prepare_inputs(generation_batch)

    def _hold_still_without_signal(self):
        """Learning rate 0 for an optimiser step in which no row on any process has an advantage.

        Its gradient is exactly zero, but Adam's momentum would still move the weights. Not when a KL or entropy term
        acts. The scheduler sets the learning rate anew after the step.
        """
        length = self.current_gradient_accumulation_steps
        if self.beta != 0.0 or self._entropy_bonus_enabled or self._step % length:
            return
        first = self._step % self.args.steps_per_generation
        window = self._buffered_inputs[first : first + length]
        signal = torch.stack([batch["advantages"].any() for batch in window]).any().float()
        if not self.accelerator.reduce(signal, reduction="sum"):
            for group in self.optimizer.param_groups:
                group["lr"] = 0.0
            self._metrics["train"]["decomposed/skipped_update"].append(1.0)

    def log(self, logs, start_time=None):
        """Adds the split of the time since the last training log, and tokens per second, before TRL's own averages."""
        if self.model.training and "loss" in logs:
            total = sum(self._seconds.values())
            for part, seconds in self._seconds.items():
                logs[f"time/{part}"] = seconds
                self._seconds[part] = 0.0
            tokens = self.state.num_input_tokens_seen
            logs["tokens_per_second"] = (tokens - (self._tokens_at_last_log or 0)) / max(total, 1e-9)
            self._tokens_at_last_log = tokens
        metrics = self._metrics[self._phase]
        positive, negative = (sum(metrics.get(f"decomposed/{sign}", ())) for sign in ("positive", "negative"))
        if positive + negative:  # over all rows since the last log, not a mean of batch means: batches differ in size
            metrics["decomposed/accuracy"] = [positive / (positive + negative)]
        try:
            super().log(logs, start_time)
        except Exception as error:  # the table of --log-completions, written last and by the main process alone
            reason = refusal(error)
            if reason is None:
                raise
            self._print(f"Warning: the completions of step {self.state.global_step} could not be written: {reason}")


@cache
def trainer_of(method: type[Method]) -> type[MethodTrainer]:
    """The trainer of one method."""
    members = {"method_class": method, "__doc__": f"GRPOTrainer with the weights of `{method.__name__}`."}
    return type(f"{method.__name__}Trainer", (MethodTrainer,), members)


TRAINERS = {name: trainer_of(method) for name, method in METHODS.items()}


def kept_scale(advantages: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Factor that turns an average over all rows into one over the kept rows, those whose advantage is not zero.

    `weights` (B,): what each row counts in the average: its completion tokens (token averaging) or 1 (sequence
    averaging). Returns a scalar, 1 when nothing is kept. Averaging over kept rows is what the paper's code does: under
    it the size of the gradient depends on the class balance, by (1 - J^n) / (1 - J) for NSR with n samples a prompt.
    """
    kept = weights[advantages != 0].sum()
    return torch.where(kept > 0, weights.sum() / kept.clamp(min=1), torch.ones_like(kept))


def _numbers(values: list[float]) -> str:
    """[1.0, 0.0, ...] with plain numbers between the brackets; a long list is cut and its length said behind it."""
    shown = ", ".join(str(round(value, 4)) if value == value else "0.0" for value in values[:MAX_PRINTED])
    rest = len(values) - MAX_PRINTED
    return f"[{shown}]" + (f" and {rest} more" if rest > 0 else "")
