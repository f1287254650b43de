"""Rollouts by an inference server: the adapter of every step is published to it, and it draws the completions.

At a step the main process writes the adapter into a new folder and has the server load it under a new name; the one
before is unloaded and deleted. Never the same name or folder twice: a server that has cached prompts under them answers
with the weights of before. Prompts go as token ids with the image's features beside them, so that the server reads the
ids that the update reads.

A server that leaves the adapter out, or keeps an older one, says nothing. Its log-probabilities do: `rollout/logp_gap`
compares them with the update's. Where they are further apart than rounding explains, the update moves nothing and the
run ends. In half precision rounding makes single tokens differ by hundredths, either way; but what an older policy has
drawn is likelier to it than to the newer one, by their divergence, in which rounding is of second order.
"""

from __future__ import annotations

import math
import secrets
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from peft import get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import TrainerCallback
from trl.models import unwrap_model_for_generation

from checkpoints.run_folder import PUBLISHED
from common.network import ServerError
from common.processes import on_main_process
from models.families import family_of
from models.weights import ADAPTER
from sampling.batch import Samples
from sampling.chat import NEVER, messages_with_image
from sampling.server import Server, check_servable
from sampling.settings import SamplingSettings
from update.ratios import RatioMetric
from update.rollouts import EngineRollouts

REQUESTS = 32  # at a time, of each process
MOST_APART = 2e-4  # per token, where both sides compute in float32
MOST_APART_IN_HALF, MOST_ABOVE_IN_HALF = 0.1, 0.02  # else: either way; in favour of the server


class Policy:
    """What a server has of the model in training: the base under its own name, and the newest adapter."""

    def __init__(self, url: str, model: str | None, folder: Path):
        self.server, self.folder = Server(url), folder
        self.base = self.server.base_model(model)
        self.dtype = self.server.about()["dtype"]
        self.name: str | None = None  # of the newest adapter

    def publish(self, model: Any, step: int) -> str:
        """Has the server load the adapter, in place of the former one; its name. `model`: all weights are whole."""
        if self.name is None:
            for left in self.folder.glob("step-*"):  # by a run that was cut off
                self._forget(left.name)
            shutil.rmtree(self.folder, ignore_errors=True)
        name = f"step-{step}-{secrets.token_hex(4)}"
        folder = (self.folder / name).resolve()
        folder.mkdir(parents=True)
        state = get_peft_model_state_dict(model, adapter_name="default", save_embedding_layers=False)
        save_file({key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}, folder / ADAPTER)
        model.peft_config["default"].save_pretrained(folder)
        check_servable(folder, family_of(model.config).vision_modules)
        self.server.load_adapter(name, folder)
        self.withdraw()
        self.name = name
        return name

    def withdraw(self) -> None:
        """Has the server forget the adapter, whose folder goes."""
        if self.name is not None:
            self._forget(self.name)

    def _forget(self, name: str) -> None:
        with suppress(ServerError):  # it may have been started anew
            self.server.unload_adapter(name)
        shutil.rmtree(self.folder / name, ignore_errors=True)

    def complete(self, ids: list[int], image: Any, n: int, sampling: dict[str, Any]) -> Samples:
        """`n` completions of the prompt with exactly these ids."""
        body = {"model": self.name, "token_ids": ids, "sampling_params": {**sampling, "n": n}}
        if image is not None:
            body["features"] = self._features(ids, image)
        with self.server.reading():
            choices = self.server.post("/inference/v1/generate", body)["choices"]
            if len(choices) != n:
                raise ServerError(f"{self.server.url}: {len(choices)} completions for the {n} that were asked for")
            out = Samples([], [], [])
            for choice in choices:
                out.token_ids.append(choice["token_ids"])
                out.logprobs.append([float(token["logprob"]) for token in choice["logprobs"]["content"]])
                out.truncated.append(choice["finish_reason"] == "length")
        if out.lengths != [len(row) for row in out.logprobs]:
            raise ServerError(f"{self.server.url}: a completion without the log-probability of each of its tokens")
        return out

    def _features(self, ids: list[int], image: Any) -> dict[str, Any]:
        """What the server has made of the image, placed where the image's tokens stand in the prompt."""
        turns = messages_with_image([{"role": "user", "content": [{"type": "image"}]}], image)
        with self.server.reading():
            rendered = self.server.post("chat/completions/render", {"model": self.base, "messages": turns})
            features = rendered["features"]
            (place,) = features["mm_placeholders"]["image"]
            tokens = rendered["token_ids"][place["offset"] : place["offset"] + place["length"]]
        found = [at for at in range(len(ids) - len(tokens) + 1) if ids[at : at + len(tokens)] == tokens]
        if len(found) != 1:
            raise ServerError(
                f"{self.server.url} makes {len(tokens)} tokens of an image, which stand not so in the prompt here: it "
                "must serve the same model with the same image limits"
            )
        return {**features, "mm_placeholders": {"image": [{"offset": found[0], "length": len(tokens)}]}}


class Withdraw(TrainerCallback):
    """At the end of training the server forgets the last adapter."""

    def __init__(self, policy: Policy):
        self.policy = policy

    def on_train_end(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            self.policy.withdraw()
            self.policy.name = None
            with suppress(OSError):
                self.policy.folder.rmdir()


class ServerRollouts(RatioMetric, EngineRollouts):
    """GRPOTrainer whose rollouts come from a server: `server` is (its address, the base model's name or None)."""

    def __init__(self, *args, server: tuple[str, str | None] | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        self.policy: Policy | None = None
        self._published_step: int | None = None
        self._wrong: str | None = None  # what the update in hand has found of its server
        if self.rollouts == "server":
            if server is None or not hasattr(self.accelerator.unwrap_model(self.model), "peft_config"):
                raise ValueError("rollouts='server' needs the address of a server, and a LoRA adapter to publish there")
            self.policy = Policy(*server, Path(self.args.output_dir) / PUBLISHED)
            self.add_callback(Withdraw(self.policy))

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False):
        if self.policy is None:
            rest = (num_generations, has_tool_images)
            return super()._generate_single_turn(prompt_ids, images, multimodal_fields, *rest)
        self._hand_over(self.policy)
        settings = self._sampling_settings()
        wanted = self._wanted(prompt_ids, images)
        parts = self._drawn(self.policy, wanted, settings)
        logps = [row for part in parts for row in part.logprobs]
        self._rollout_entropies = None
        self._sampled_logps = [sum(row) / max(1, len(row)) for row in logps]
        self._rollout_logps = logps if settings.top_p == 1 and not settings.top_k else None
        return [ids for part in parts for ids in part.token_ids], None

    def _hand_over(self, policy: Policy) -> None:
        """One process publishes the adapter of this step, and all wait until the server has it."""
        step = self.state.global_step
        if self._published_step == step:
            return
        with unwrap_model_for_generation(
            self.model_wrapped, self.accelerator, gather_deepspeed3_params=self.args.ds3_gather_for_generation
        ) as model:

            def publish() -> str:
                try:
                    return policy.publish(model, step)
                except OSError as error:
                    raise ValueError(str(error)) from None

            try:
                policy.name = on_main_process(publish)
            except ValueError as error:
                raise ServerError(str(error)) from None
        self._published_step = step

    def _wanted(self, prompt_ids, images) -> list[tuple[list[int], Any, int]]:
        """(ids, image or None, rows) of every run of equal prompts on this process."""
        first = self.accelerator.process_index * len(prompt_ids)
        found = []
        for rows, _, _ in self._distinct_prompts(prompt_ids, images, {}):
            row = rows.start - first
            pictures = (images[row] or []) if images else []
            if len(pictures) > 1:
                raise ServerError("rollouts from a server take one image a question")
            found.append((list(prompt_ids[row]), pictures[0] if pictures else None, len(rows)))
        return found

    def _drawn(
        self, policy: Policy, wanted: Sequence[tuple[list[int], Any, int]], settings: SamplingSettings
    ) -> list[Samples]:
        """The completions; ServerError on every process where one of them got none."""
        sampling = {
            "temperature": settings.temperature, "top_p": settings.top_p, "top_k": settings.top_k or -1,
            "max_tokens": settings.max_new_tokens, "repetition_penalty": 1.0, "logprobs": 0,
            "output_kind": 2,  # all of a request's completions in the one answer
            "stop_token_ids": [*self.eos_token_ids],
            "logit_bias": {str(token): NEVER for token in self.generation_config.suppress_tokens or ()},
        }  # fmt: skip
        parts, failed = [], None
        try:
            with ThreadPoolExecutor(REQUESTS) as pool:
                parts = list(pool.map(lambda one: policy.complete(one[0], one[1], one[2], sampling), wanted))
        except ServerError as error:
            failed = str(error)
        failures = [line for line in gather_object([failed]) if line]
        if failures:
            raise ServerError(failures[0])
        return parts

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """TRL's loss. With the last pass of an update every process compares the log-probabilities of the rollout
        batch with the server's, and all find the same: before the backward pass, in which DeepSpeed takes the step."""
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if self.policy is None or not (self.model.training and self.accelerator.sync_gradients):
            return loss
        found = self._take_gap()
        self._wrong = self._what_is_wrong(*found) if found else None
        # DeepSpeed discards a step whose gradient is not finite, and that of the passes before it
        return loss * math.nan if self._wrong and self.is_deepspeed_enabled else loss

    def _clip_grad_norm(self, model):
        """The norm; where the comparison has failed the gradients are dropped, and this update is the last one."""
        norm = super()._clip_grad_norm(model)
        if self._wrong is None:
            return norm
        for weight in model.parameters():
            weight.grad = None
        self._end_unhealthy(f"update {self.state.global_step + 1}: {self._wrong}")
        return 0.0  # DeepSpeed's is infinite, and no fault of the numbers

    def _what_is_wrong(self, apart: float, above: float) -> str | None:
        """One line where the gaps are more than rounding."""
        assert self.policy is not None
        weights = {weight.dtype for weight in self.model.parameters()}
        exact = weights == {torch.float32} and not (self.args.bf16 or self.args.fp16) and self.policy.dtype == "float32"
        if apart <= MOST_APART if exact else apart <= MOST_APART_IN_HALF and above <= MOST_ABOVE_IN_HALF:
            return None
        if self.state.global_step == 0:
            reason = "it serves other weights, leaves the adapter out or lacks --logprobs-mode processed_logprobs"
        else:
            reason = "it leaves the adapter out or answers with an older one"
        return (
            f"the server's log-probabilities are {apart:.2g} a token from the trainer's, {above:.2g} above: {reason}. "
            "No weight was moved by what it drew"
        )
