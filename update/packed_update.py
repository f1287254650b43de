"""The update without waste: prompts computed once, no completion that teaches nothing, no padding.

What is done around TRL's own loss, which stays as it is:

* `_generate_and_score_completions`: every row gets the number of its prompt;
* `_prepare_inputs`: the rows of an optimiser step are repacked into its micro-batches, without those of weight zero;
* `training_step`: micro-batches that are empty on every process are skipped;
* `_get_per_token_logps_and_entropies`: rows of one prompt share its computation (`update.shared_prefix`);
* `compute_loss`: metrics and averages count the rows that were left out.

The gradient is that of the plain path: the loss's normaliser is a constant of the rollout batch, and every process runs
the same number of forward passes. `update="plain"` turns all of it off but for the adapters' inputs.
"""

import logging
import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from functools import cached_property

import torch
from accelerate.utils import gather_object
from peft.tuners.tuners_utils import BaseTunerLayer

from checkpoints.trainer_base import TrainerBase
from models import vision_attention
from models.families import family_of_model
from sampling.engine import base_model
from sampling.prefill import positions_of
from update import collate, left_out, packing, pass_room, shared_prefix
from update.fused_layers import FusedLayers, inputs_as_they_are
from update.packing import Row

logger = logging.getLogger(__name__)

# TRL's losses that are a sum over rows with a constant in front: rows can move between micro-batches
TOKEN_SUMS = ("dapo", "cispo", "vespo")  # over a number of the whole rollout batch, its tokens
ROW_MEANS = ("grpo", "sapo", "dr_grpo", "luspo")  # over the rows that TRL is given


class PackedUpdate(TrainerBase):
    """GRPOTrainer whose update computes prompts once and leaves out rows without weight."""

    def __init__(self, *args, update: str = "shared", **kwargs):
        super().__init__(*args, **kwargs)
        if update not in ("shared", "plain"):
            raise ValueError(f"update must be 'shared' or 'plain', got {update!r}")
        sums = self.loss_type in TOKEN_SUMS + ROW_MEANS
        mixes = self._entropy_bonus_enabled or self.aux_loss_enabled or self.top_entropy_quantile < 1.0
        self.family = family_of_model(self.model)
        self.repacks_rows = update == "shared" and sums and not mixes and not self.use_vllm
        self.shares_prompts = update == "shared" and self._enable_sharing()
        if update == "shared":
            self._spare_frozen_tower()
            if not sums:
                self._print(f"{self.loss_type} divides by the tokens of each pass: rows without weight stay")
        self._adapters = [module for module in self.model.modules() if isinstance(module, BaseTunerLayer)]
        self._prompt_index: torch.Tensor | None = None  # (B,) of the rows in hand; equal numbers, equal prompts

    @cached_property
    def bare_model(self) -> torch.nn.Module:
        """Without wrapper and adapter. Accelerate's unwrapping walks through all modules, at every call."""
        return base_model(self.accelerator.unwrap_model(self.model))

    @cached_property
    def bare_size(self) -> int:
        """Its parameters, counted once as well."""
        return sum(weight.numel() for weight in self.bare_model.parameters())

    def _spare_frozen_tower(self) -> None:
        """A vision tower without a trained weight needs no backward pass, and keeps no tensor for one.

        Gradient checkpointing makes the input of every embedding require a gradient, that of the tower's patches too,
        so that the tower would be computed again and differentiated for nothing.
        """
        model, family = self.bare_model, self.family
        tower = getattr(model.model, family.tower) if family and family.tower else None
        if tower is not None and not any(weight.requires_grad for weight in tower.parameters()):
            tower.forward = torch.no_grad()(tower.forward)

    @property
    def _models(self) -> list[torch.nn.Module]:
        """The bare model, and the one that a KL term of full fine-tuning compares it with."""
        return [self.bare_model, *(self.accelerator.unwrap_model(one) for one in [self.ref_model] if one is not None)]

    def _enable_sharing(self) -> bool:
        for model in self._models:
            vision_attention.enable(model)
        able = all(map(shared_prefix.enable, self._models))
        if not able and self.accelerator.is_main_process:
            name = type(self.bare_model).__name__
            logger.warning("%s: completions of a prompt cannot share its computation here; plain rows are used", name)
        return able

    # -- rollouts ----------------------------------------------------------------------------------------------------

    def _generate_and_score_completions(self, inputs):
        """TRL's rollout batch, with the number of each row's prompt."""
        _ = self.fused  # made while the trained adapter acts, before TRL asks for a reference's log-probabilities
        generations = self.num_generations if self.model.training else self.num_generations_eval
        first = self.accelerator.process_index * len(inputs)
        self._prompt_index = torch.arange(first, first + len(inputs), device=self.accelerator.device) // generations
        output = super()._generate_and_score_completions(inputs)
        output["prompt_index"] = self._prompt_index
        return output

    # -- repacking rows into micro-batches ---------------------------------------------------------------------------

    def _prepare_inputs(self, generation_batch):
        """One micro-batch; after a rollout, those of all its optimiser steps are repacked."""
        if isinstance(generation_batch, dict) or not self.model.training:  # a micro-batch already, or evaluation
            return generation_batch if isinstance(generation_batch, dict) else super()._prepare_inputs(generation_batch)
        every = self.args.steps_per_generation * self.num_iterations
        rollout = self._buffered_inputs is None or self._step % every == 0
        inputs = super()._prepare_inputs(generation_batch)
        if rollout and self.repacks_rows:
            window = self.args.gradient_accumulation_steps
            repacked = []
            for start in range(0, self.args.steps_per_generation, window):
                repacked += self._repack(self._buffered_inputs[start : start + window])
            self._buffered_inputs = repacked
            inputs = repacked[self._step % self.args.steps_per_generation]
        return inputs

    def _repack(self, batches: Sequence[dict]) -> list[dict]:
        """The micro-batches of one optimiser step with only the rows that act, the empty ones first.

        The last one is never empty on any process: it is the one that synchronises gradients.
        """
        rows, own = collate.describe(batches), collate.join(batches)
        acts = collate.loss_mask(own).any(1)
        if self.beta == 0.0:
            acts &= own["advantages"] != 0
        keep = [row for row, does in zip(rows, acts.tolist(), strict=True) if does]
        most, per_batch = len(batches), self.args.per_device_train_batch_size
        together, keep = self._balance(own, keep, most * per_batch)
        checkpointing = self.args.gradient_checkpointing
        if self.shares_prompts:
            budget = packing.padded_cost(rows) // len(rows) * per_batch
            packed, checkpointing = self._pack_rows(together, keep, most, budget)
        else:
            packed = packing.pack_padded(keep, per_batch)
        count = max(1, self._largest([len(packed)])[0])
        if self.shares_prompts and len(packed) < count:
            packed = packing.spread(keep, count)
        heights = self._largest([len(part) for part in packed] + [1] * (count - len(packed)))
        shortest = min(rows, key=lambda row: row.prompt_tokens + row.tokens)
        micro = []
        for height, part in zip(heights, packed + [[]] * (count - len(packed)), strict=True):
            fill = height - len(part) if part else height - 1
            chosen = [row.index for row in part or [shortest]]
            micro.append(collate.select(together, chosen, fill, idle=not part, once=self.shares_prompts))
            micro[-1]["checkpointing"] = checkpointing
        computed = sum(map(packing.cost if self.shares_prompts else packing.padded_cost, packed))
        left_out.note(self.accelerator, rows, len(rows) - int(acts.sum()), computed, own, micro)
        return [collate.select(together, [], 0)] * (most - count) + micro

    def _pack_rows(self, together: dict, keep: list[Row], most: int, budget: int) -> tuple[list[list[Row]], bool]:
        """The rows in passes of at most `budget` tokens, and whether the layers of these are checkpointed."""
        if not pass_room.is_known(self):
            return packing.pack(keep, most, budget), self.args.gradient_checkpointing
        patches, processor = 0, self.processing_class
        if self.family:
            tokens = int((together["prompt_ids"] == processor.image_token_id).sum(1).max())
            patches = tokens * self.family.patches_per_token(processor)
        return pass_room.plan(self, keep, most, budget, patches)

    def _balance(self, together: dict, keep: list[Row], room: int) -> tuple[dict, list[Row]]:
        """Sends completions to processes with fewer tokens to compute: any process may compute a row."""
        if self.accelerator.num_processes == 1:
            return together, keep
        everyone = gather_object([(self.accelerator.process_index, row) for row in keep])
        moves = packing.balance(everyone, self.accelerator.num_processes, room)
        if not moves:
            return together, keep
        return collate.exchange(together, keep, moves, self.accelerator.process_index)

    def _largest(self, numbers: list[int]) -> list[int]:
        """Elementwise maximum over processes."""
        if self.accelerator.num_processes == 1:
            return numbers
        mine = torch.tensor(numbers, device=self.accelerator.device)
        return self.accelerator.gather(mine).view(-1, len(numbers)).amax(0).tolist()

    # -- the update --------------------------------------------------------------------------------------------------

    def training_step(self, model, inputs, num_items_in_batch):
        start = time.perf_counter()
        micro_batch = self._prepare_inputs(inputs)
        self._current_train_step_time += time.perf_counter() - start
        if len(micro_batch["advantages"]) == 0:
            self._step += 1
            return torch.zeros((), device=self.accelerator.device)
        keeps_all = self.args.gradient_checkpointing and not micro_batch.get("checkpointing", True)
        without = pass_room.without_checkpointing(self.model) if keeps_all else nullcontext()
        with without, self.fused(), inputs_as_they_are(self._adapters if self.accelerator.native_amp else ()):
            return super().training_step(model, micro_batch, num_items_in_batch)

    @cached_property
    def fused(self) -> FusedLayers:
        """What makes the layers of a pass compute in fewer operations; made when the models are where they will be."""
        return FusedLayers(*(self._models if self.shares_prompts and pass_room.is_known(self) else ()))

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        self._prompt_index = inputs.get("prompt_index")
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if not self.repacks_rows or not self.model.training:
            return loss
        if self.loss_type in ROW_MEANS:
            # TRL averages over the rows it is given; the mean is over all rows of the plain micro-batch
            loss = loss * (len(inputs["advantages"]) / self.args.per_device_train_batch_size)
        left_out.count(self._metrics["train"], inputs["window"], self.importance_sampling_level == "sequence")
        return loss

    def _get_per_token_logps_and_entropies(
        self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, compute_entropy=False, **fields
    ):
        """TRL's log-probabilities and entropies (B, C), with every prompt computed once for all of its rows."""
        given = {name for name, value in fields.items() if value is not None and value is not False}
        known = {*collate.IMAGE_COUNTS, *(self.family.fields if self.family else ())}
        if not self.shares_prompts or self._prompt_index is None or not given <= known:
            return super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, batch_size, compute_entropy, **fields
            )
        prompt_mask, completion_mask = attention_mask[:, :-logits_to_keep], attention_mask[:, -logits_to_keep:]
        lengths = torch.stack([prompt_mask.sum(1), completion_mask.sum(1), self._prompt_index], 1).tolist()
        rows = [Row(i, prompt, p, c) for i, (p, c, prompt) in enumerate(lengths) if c]
        shape = completion_mask.shape
        logps = torch.zeros(shape, device=input_ids.device)
        entropies = torch.zeros(shape, device=input_ids.device) if compute_entropy else None
        # sizes and positions are worked out on the CPU: a GPU would be waited for at every prompt
        ids = input_ids.cpu()
        fields = {n: v.cpu() if torch.is_tensor(v) and n != "pixel_values" else v for n, v in fields.items()}
        images = collate.Images(fields)
        for part in self._passes(rows, batch_size):
            packed, cells = self._pack(part, ids, logits_to_keep, images, fields, input_ids.device)
            with self.accelerator.autocast(), self.fused():
                out = model(**packed, fused_lm_head=True)
            logps = logps.to(out.log_probs.dtype).index_put(cells, out.log_probs[0])
            if entropies is not None:
                entropies = entropies.to(out.entropy.dtype).index_put(cells, out.entropy[0])
        return logps, entropies, None

    def _passes(self, rows: list[Row], batch_size: int | None) -> list[list[Row]]:
        """All rows in one pass, or, when TRL asks for `batch_size` rows at a time, in passes of as many tokens."""
        if batch_size is None or batch_size >= len(rows):
            return [rows]
        budget = packing.padded_cost(rows) // len(rows) * batch_size
        packed = packing.pack(rows, len(rows), budget)
        count = self._largest([len(packed)])[0]
        packed = packing.spread(rows, count) if len(packed) < count else packed
        return packed + [packed[-1]] * (count - len(packed))  # computed again, so that processes stay in step

    def _pack(self, rows, input_ids, logits_to_keep, images, fields, device):
        """Model inputs of one packed pass, and the (row, column) of every scored token in its order.

        All but the pixels comes from the CPU; what the model reads goes to `device`, but for the images' sizes.
        """
        by_prompt: dict[int, list[Row]] = {}
        for row in rows:
            by_prompt.setdefault(row.prompt, []).append(row)
        end = input_ids.shape[1] - logits_to_keep
        ids, labels, positions, shown = [], [], [], []
        for group in by_prompt.values():
            first = group[0]
            prompt = input_ids[first.index, end - first.prompt_tokens : end]
            of_images = images.of(first.index)
            shown += [of_images] if of_images else []
            names = self.family.token_fields if self.family and of_images else ()
            of_tokens = {name: fields[name][first.index, end - first.prompt_tokens : end][None] for name in names}
            of_prompt = positions_of(self.bare_model, prompt[None], of_images | of_tokens)  # (axes, P)
            ids.append(prompt[:-1])
            positions.append(of_prompt[:, :-1])
            for row in group:
                completion = input_ids[row.index, end : end + row.tokens]
                ids += [prompt[-1:], completion[:-1]]
                labels.append(completion)
                positions.append(of_prompt[:, -1:] + torch.arange(row.tokens))
        axes, positions = len(positions[0]), torch.cat(positions, 1)
        prompts = [group[0].prompt_tokens - 1 for group in by_prompt.values()]
        completions = [[row.tokens for row in group] for group in by_prompt.values()]
        packed = {
            "input_ids": torch.cat(ids)[None].to(device),
            "shift_labels": torch.cat(labels)[None].to(device),
            "position_ids": (positions[:, None] if axes > 1 else positions).to(device),
            "packed_row": shared_prefix.lay_out(prompts, completions, device),
        }
        if axes == 1:  # or transformers takes the positions for those of packed rows, and builds a mask of (T, T)
            packed["attention_mask"] = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=device)
        if shown:
            packed |= {name: torch.cat([one[name] for one in shown]) for name in shown[0]}
        return packed, _cells(by_prompt.values(), device)


def _cells(groups: Iterable[list[Row]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """(row, column), among the padded completions, of every token of these rows in their order."""
    rows = [row for group in groups for row in group]
    row_of = torch.cat([torch.full((row.tokens,), row.index) for row in rows])
    column_of = torch.cat([torch.arange(row.tokens) for row in rows])
    return row_of.to(device), column_of.to(device)
