"""A sampling job: every question of this shard -> one line of the journal."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charts.record import ChartQuestion
from sampling.engine import Samples, sample
from sampling.journal import Journal
from sampling.problems import as_line, error_record, prompt_inputs, record, save_image
from sampling.progress import Progress
from sampling.settings import SamplingSettings
from sampling.stopping import StopSignals

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin


@dataclass
class Sampler:
    """Draws `n` completions of a question. `chunk` rows decode at a time; less after running out of memory."""

    model: PreTrainedModel
    processor: ProcessorMixin
    settings: SamplingSettings
    n: int
    prompt: str
    min_pixels: int | None
    max_pixels: int | None
    chunk: int | None = None
    backend: str = "engine"

    def __post_init__(self) -> None:
        from models.registry import unsampleable_token_ids

        markers = {*unsampleable_token_ids(self.processor), *unsampleable_token_ids(self.model.config)}
        self.suppress = sorted(markers)
        self.eos_ids = end_tokens(self.model, self.processor)
        self._draw: Callable[..., Samples] = sample
        if self.backend == "generate":
            from sampling.stock import generate

            self._draw = generate

    def __call__(self, question: ChartQuestion, image: Any) -> Samples:
        limits = {"prompt": self.prompt, "min_pixels": self.min_pixels, "max_pixels": self.max_pixels}
        inputs = prompt_inputs(self.processor, question, image, **limits)
        return self._draw(
            self.model,
            {name: tensor.to(self.model.device) for name, tensor in inputs.items()},
            n=self.n,
            settings=self.settings,
            problem_id=question.id,
            eos_ids=self.eos_ids,
            suppress=self.suppress,
            chunk=self.chunk,
            on_chunk=self._keep_chunk,
        )

    def _keep_chunk(self, chunk: int) -> None:
        self.chunk = chunk

    def texts(self, samples: Samples) -> list[str]:
        return self.processor.tokenizer.batch_decode(samples.token_ids, skip_special_tokens=True)


def end_tokens(model: PreTrainedModel, processor: ProcessorMixin) -> list[int]:
    """Every token that ends a completion: the generation settings' and the tokenizer's."""
    configured = model.generation_config.eos_token_id
    configured = configured if isinstance(configured, list | tuple) else [configured]
    return sorted({token for token in (*configured, processor.tokenizer.eos_token_id) if token is not None})


def run_job(
    sampler: Sampler,
    questions: Sequence[ChartQuestion],
    journal: Journal,
    progress: Progress,
    folder: Path,
    run: str,
    stop: StopSignals,
) -> None:
    """Sample every question and journal it; a stop signal takes effect after the line in work."""
    for question in questions:
        with stop.finishing():
            entry = _problem(sampler, question, folder, run)
            journal.add(as_line(entry))
            progress.add(entry)


def _problem(sampler: Sampler, question: ChartQuestion, folder: Path, run: str) -> dict[str, Any]:
    try:
        image = question.open_image() if question.open_image is not None else None
    except ValueError as error:
        return error_record(question, str(error), run)
    saved = None
    if image is not None:
        writer = f"{zlib.crc32(question.id.encode()):08x}"
        saved = save_image(image, question.image_id or writer, folder, writer)
    samples = sampler(question, image)
    return record(question, samples, sampler.texts(samples), prompt=sampler.prompt, image=saved, run=run)
