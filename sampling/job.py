"""A sampling job: every question of this process -> one line of the journal, several decoded together."""

from __future__ import annotations

import threading
import zlib
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel, ProcessorMixin

from charts.record import ChartQuestion
from common.signals import StopSignals
from models.families import tokenizer_of
from models.inputs import blind, prompt_inputs
from models.registry import end_tokens, unsampleable_token_ids
from sampling.engine import Samples, on, sample_each
from sampling.journal import Journal
from sampling.problems import as_line, error_record, record, save_image
from sampling.progress import Progress
from sampling.settings import SamplingSettings

if TYPE_CHECKING:
    from sampling.served import ServerSampler

ROWS = 256  # completions decoded together, of several problems where fewer are wanted of one
_MOST_PROBLEMS = 32  # whose prompts' keys and values are in memory at a time
_LEAST_GROUPS = 32  # so that several processes share few problems evenly


def in_groups(questions: Sequence[ChartQuestion], samples: int) -> list[Sequence[ChartQuestion]]:
    """The questions, in order, in groups that are decoded together: up to ROWS completions.

    A group is sampled as a whole, by one process, and groups depend neither on the number of processes nor on what was
    finished before: so the last bits of a log-probability, which can depend on what shares a batch, do not either.
    """
    size = max(1, min(ROWS // samples, _MOST_PROBLEMS, len(questions) // _LEAST_GROUPS))
    return [questions[start : start + size] for start in range(0, len(questions), size)]


@dataclass
class Sampler:
    """Draws `n` completions of every question. `chunk` rows decode at a time; less after running out of memory."""

    model: PreTrainedModel
    processor: ProcessorMixin
    settings: SamplingSettings
    n: int
    prompt: str
    min_pixels: int | None
    max_pixels: int | None
    chunk: int | None = None
    backend: str = "engine"
    without_image: str | None = None  # one of WITHOUT_IMAGE

    def __post_init__(self) -> None:
        self.suppress = unsampleable_token_ids(self.processor, self.model.config)
        self.eos_ids = end_tokens(self.model.generation_config, self.processor)

    def inputs(self, question: ChartQuestion, image: Any) -> dict[str, torch.Tensor]:
        """What the model reads of a question, on the CPU."""
        question, image = blind(question, image, self.without_image)
        limits = {"min_pixels": self.min_pixels, "max_pixels": self.max_pixels}
        return prompt_inputs(self.processor, question, image, prompt=self.prompt, **limits)

    def __call__(self, prompts: Sequence[tuple[str, dict[str, torch.Tensor]]], first: int = 0) -> list[Samples]:
        """One `Samples` for every (problem id, inputs): samples `first` to n - 1."""
        options = {"n": self.n - first, "settings": self.settings, "eos_ids": self.eos_ids, "suppress": self.suppress}
        options["first_sample"] = first
        if self.backend == "generate":
            from sampling.hf_generate import generate

            return [
                generate(self.model, on(self.model.device, inputs), problem_id=name, chunk=self.chunk, **options)
                for name, inputs in prompts
            ]
        return sample_each(self.model, prompts, chunk=self.chunk, on_chunk=partial(setattr, self, "chunk"), **options)

    def texts(self, samples: Samples) -> list[str]:
        return tokenizer_of(self.processor).batch_decode(samples.token_ids, skip_special_tokens=True)


def run_job(
    sampler: Sampler,
    groups: Sequence[Sequence[ChartQuestion]],
    finished: Container[str],
    journal: Journal,
    progress: Progress,
    folder: Path,
    run: str,
    stop: StopSignals,
    earlier: Mapping[str, dict[str, Any]],
) -> None:
    """Sample the groups with a question that is not `finished`, journal these; a stop takes effect after a group.

    `earlier` has what a finished file, to which samples are added, says of its problems.
    """
    for group in groups:
        if all(question.id in finished for question in group):
            continue
        with stop.finishing():
            _keep(_group(sampler, group, folder, run, earlier), finished, journal, progress, earlier)


def run_concurrently(
    sampler: ServerSampler,
    groups: Sequence[Sequence[ChartQuestion]],
    finished: Container[str],
    journal: Journal,
    progress: Progress,
    folder: Path,
    run: str,
    stop: StopSignals,
    earlier: Mapping[str, dict[str, Any]],
    concurrency: int,
) -> None:
    """`run_job` with `concurrency` groups in work. A stop, and a failure, take effect when these are done."""
    outcomes: SimpleQueue[list[dict[str, Any]] | BaseException] = SimpleQueue()

    def work(group: Sequence[ChartQuestion]) -> None:
        try:
            with sampler.in_hand:
                outcomes.put(list(_group(sampler, group, folder, run, earlier)))
        except BaseException as error:
            outcomes.put(error)

    left = (group for group in groups if not all(question.id in finished for question in group))
    failed: BaseException | None = None
    in_work = 0
    with stop.finishing():
        while True:
            while in_work < concurrency and failed is None and stop.received is None and (group := next(left, None)):
                threading.Thread(target=work, args=(group,), daemon=True).start()  # a second signal does not wait
                in_work += 1
            if not in_work:
                break
            outcome = outcomes.get()
            in_work -= 1
            if isinstance(outcome, BaseException):
                failed = failed or outcome
            else:
                _keep(outcome, finished, journal, progress, earlier)
        if failed is not None:
            raise failed


def _keep(
    entries: Iterable[dict[str, Any]],
    finished: Container[str],
    journal: Journal,
    progress: Progress,
    earlier: Mapping[str, dict[str, Any]],
) -> None:
    """Writes the lines of the problems that are not `finished`."""
    for entry in entries:
        if entry["problem_id"] not in finished:
            journal.add(as_line(entry))
            progress.add(entry, _count(earlier, entry["problem_id"]))


def _count(earlier: Mapping[str, dict[str, Any]], problem_id: str) -> int:
    return len(earlier[problem_id]["samples"]) if problem_id in earlier else 0


def _group(
    sampler: Sampler | ServerSampler,
    group: Sequence[ChartQuestion],
    folder: Path,
    run: str,
    earlier: Mapping[str, dict[str, Any]],
) -> Iterator[dict[str, Any]]:
    prompts: dict[int, list[tuple[str, Any]]] = defaultdict(list)
    unreadable, saved = {}, {}
    for question in group:
        first = _count(earlier, question.id)
        if first == sampler.n:
            saved[question.id] = earlier[question.id]["image"]
            continue
        try:
            image = question.open_image() if question.open_image is not None else None
        except ValueError as error:
            if first:
                raise  # an entry without samples would take the place of those there are
            unreadable[question.id] = error_record(question, str(error), run)
            continue
        prompts[first].append((question.id, sampler.inputs(question, image)))
        if image is not None:
            name = question.image_id or f"{zlib.crc32(question.id.encode()):08x}"
            saved[question.id] = save_image(image, name, folder)
    drawn: dict[str, Any] = {}
    for first, asked in prompts.items():
        drawn.update(zip([name for name, _ in asked], sampler(asked, first), strict=True))
    for question in group:
        if question.id in unreadable:
            yield unreadable[question.id]
            continue
        samples = drawn.get(question.id, Samples([], [], []))
        texts = sampler.texts(samples) if question.id in drawn else []
        kept: dict[str, Any] = {"image": saved.get(question.id), "run": run, "earlier": earlier.get(question.id)}
        yield record(question, samples, texts, prompt=sampler.prompt, **kept)
