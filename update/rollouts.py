"""Rollouts through the project's sampling engine: every prompt and image computed once for all of its completions.

What the engine does not know (vLLM, tools, min-p, a repetition penalty, a processor with further inputs, FSDP) goes to
TRL's own generation.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby, pairwise
from typing import ClassVar

import numpy as np
import torch
from peft.tuners import lora
from trl.models import unwrap_model_for_generation

from checkpoints.trainer_base import TrainerBase
from models.families import family_of
from sampling.engine import decode_in_parts, decodes_static
from sampling.settings import SamplingSettings
from update.images_once import images_once, joined


@contextmanager
def merged_adapter(model: torch.nn.Module) -> Iterator[None]:
    """Inside, LoRA layers of a float32 model compute with one matrix, W + BA; afterwards with the very W of before.

    Decoding token by token, a small model spends most of its time on the adapter's two extra products per layer. In
    half precision the sum would be rounded, so there nothing is merged; nor where decoding takes steps of fixed shape,
    which read weights where they are and adapters from a copy of their own (`sampling.decoder_layer`).
    """
    layers = [module for module in model.modules() if isinstance(module, lora.Linear)]
    if any(layer.get_base_layer().weight.dtype != torch.float32 for layer in layers) or decodes_static(model):
        layers = []
    originals = [layer.get_base_layer().weight.data for layer in layers]
    try:
        for layer, original in zip(layers, originals, strict=True):
            names = layer.active_adapters
            layer.get_base_layer().weight.data = original + sum(layer.get_delta_weight(name) for name in names)
            layer.merged_adapters.extend(names)
        yield
    finally:
        for layer, original in zip(layers, originals, strict=True):
            layer.get_base_layer().weight.data = original
            layer.merged_adapters.clear()


class EngineRollouts(TrainerBase):
    """GRPOTrainer that samples with `sampling.engine`; `rollouts="generate"` keeps transformers' generate."""

    resumable: ClassVar[tuple[str, ...]] = ("_rows_at_once",)

    def __init__(self, *args, rollouts: str = "engine", **kwargs):
        super().__init__(*args, **kwargs)
        self.rollouts = rollouts
        self._rows_at_once: int | None = None  # completions decoded together; None: all of the rollout batch
        # of every token of every row of the last rollout
        self._rollout_entropies: list[list[float]] | None = None
        self._rollout_logps: list[list[float]] | None = None
        self._sampled_logps: list[float] | None = None  # mean of every row of the last rollout, under its settings

    def _generate_and_score_completions(self, inputs):
        """TRL's rollout batch, with entropy and log-probability (B, T) of every token where the engine has drawn it."""
        with images_once(self.processing_class, self.accelerator.device):
            output = super()._generate_and_score_completions(inputs)
        for name, rows in (("rollout_entropy", self._rollout_entropies), ("rollout_logps", self._rollout_logps)):
            if rows is not None:
                padded = torch.zeros(output["completion_ids"].shape)
                for row, values in enumerate(rows):
                    padded[row, : len(values)] = torch.tensor(values)
                output[name] = padded.to(output["completion_ids"].device)
        return output

    def _engine_can(self, multimodal_fields: dict) -> bool:
        return (
            self.rollouts == "engine"
            and not (self.use_vllm or self.use_transformers_continuous_batching or self.tools)
            and not self.is_fsdp_enabled  # its weights are whole only inside the model's own forward
            and not self.min_p
            and self.repetition_penalty == 1.0
            and (not multimodal_fields or set(multimodal_fields) == family_of(self.processing_class).fields)
        )

    def _sampling_settings(self) -> SamplingSettings:
        numbers = (self.temperature, self.top_p, self.top_k, self.max_completion_length)
        return SamplingSettings(*numbers, self.args.seed)

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False):
        """Completion token ids of every row; rows of one prompt, which TRL puts side by side, share its computation.

        Each row's random stream depends on (seed, optimiser step, prompt, row of the whole rollout batch); in a
        measurement with several completions a question on (seed, prompt, completion), so that all of a run's are alike.
        """
        self._rollout_entropies = self._rollout_logps = self._sampled_logps = None
        if not self._engine_can(multimodal_fields):
            rest = (num_generations, has_tool_images)
            multimodal_fields.update(joined(multimodal_fields))  # TRL goes on with them where tools are called
            return super()._generate_single_turn(prompt_ids, images, multimodal_fields, *rest)
        settings, phase = self._sampling_settings(), self._phase
        with (
            unwrap_model_for_generation(
                self.model_wrapped,
                self.accelerator,
                gather_deepspeed3_params=self.args.ds3_gather_for_generation,
                gradient_checkpointing_kwargs=self.args.gradient_checkpointing_kwargs,
            ) as model,
            torch.no_grad(),
            self.accelerator.autocast(),
            merged_adapter(model),
        ):
            model.eval()
            wanted = []
            for rows, inputs, key in self._distinct_prompts(prompt_ids, images, multimodal_fields):
                name, samples = self._stream(phase, key, rows)
                wanted.append((name, inputs, samples))
            parts = self._decode(model, wanted, settings)
            model.train(phase == "train")
        self._rollout_entropies = [row for part in parts for row in part.entropies]
        logps = [row for part in parts for row in part.logprobs]
        self._sampled_logps = [sum(row) / max(1, len(row)) for row in logps]
        if settings.top_p == 1 and not settings.top_k:  # else the distribution is one that the update knows not
            self._rollout_logps = logps
        return [ids for part in parts for ids in part.token_ids], None

    def _stream(self, phase: str, key: str, rows: range) -> tuple[str, range]:
        """The name and the numbers of the random streams of the completions of one prompt."""
        if phase == "eval" and self.num_generations_eval > 1:
            first = rows.start % self.num_generations_eval
            return f"eval prompt {key}", range(first, first + len(rows))
        return f"{phase} step {self.state.global_step} prompt {key}", rows

    def _decode(self, model, wanted, settings):
        """All rows at once; out of memory halves their number, for this rollout and the following ones.

        Which rows share a batch does not change what is drawn (`sampling.random_streams`).
        """
        suppress = self.generation_config.suppress_tokens or ()
        options = {"settings": settings, "eos_ids": self.eos_token_ids, "suppress": suppress, "entropies": True}
        rows = sum(len(samples) for *_, samples in wanted)
        most = min(self._rows_at_once or rows, rows)
        parts, fitted = decode_in_parts(model, wanted, most, **options)
        if fitted < most:
            self._rows_at_once = fitted
        return parts

    def _distinct_prompts(self, prompt_ids, images, fields):
        """(rows of the whole rollout batch, model inputs on the CPU, hash) of every run of equal prompts."""
        first = self.accelerator.process_index * len(prompt_ids)
        known: dict[tuple, str] = {}  # by the images' objects: pixels are hashed once a prompt
        keys = []
        for ids, row in zip(prompt_ids, images or [None] * len(prompt_ids), strict=True):
            same = (tuple(ids), *map(id, row or []))
            if same not in known:
                content = b"".join(image.tobytes() for image in row or [])
                known[same] = hashlib.sha256(repr(ids).encode() + content).hexdigest()[:16]
            keys.append(known[same])
        of_images = self._images_of_rows(prompt_ids, images, fields)
        for key, run in groupby(range(len(keys)), key=keys.__getitem__):
            indices = list(run)
            row = indices[0]
            inputs = {"input_ids": torch.tensor([prompt_ids[row]]), **of_images[row]}
            yield range(first + row, first + indices[-1] + 1), inputs, key

    def _images_of_rows(self, prompt_ids, images, fields) -> list[dict[str, torch.Tensor]]:
        """The fields of every row's images, out of those in which all rows follow one another."""
        if not fields:
            return [{} for _ in prompt_ids]
        family, split = family_of(self.processing_class), {}
        ends = np.cumsum([0, *(len(row or ()) for row in images)])
        for name in family.image_fields:
            parts = fields[name]  # a tensor for each image, by `images_once`
            of_rows = [parts[start:end] for start, end in pairwise(ends)]
            split[name] = [row[0] if len(row) == 1 else torch.cat(row or [parts[0][:0]]) for row in of_rows]
        split |= {name: [torch.as_tensor([list(row)]) for row in fields[name]] for name in family.token_fields}
        return [{name: rows[row] for name, rows in split.items()} for row in range(len(prompt_ids))]
