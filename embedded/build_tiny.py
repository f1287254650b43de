"""Rebuild the embedded `tiny` model from nothing: `python -m embedded.build_tiny`.

A tokenizer is trained; a Qwen2.5-VL of fewer than two million parameters is initialised from a fixed seed and taught
the project's answer format on synthetic charts by supervised training. Those charts are a split of their own: none of
them occurs in train, validation or test. generate_samples.py and evaluation/pass_at_k.py measure the result.

Matrices are trained by Muon, everything else by AdamW. Together with the larger initial weights of embedded/parts.py
this needed 225 steps for a loss that AdamW with the usual initial weights reached after 1,200, on an earlier kind of
chart; the two changes were not measured separately.

`--task` teaches another drawn task in the same way: `tiny` itself knows no other questions than those of its charts.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
import time
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tqdm import tqdm

from charts.prompt import PROMPTS
from charts.record import ChartQuestion
from charts.synthetic import worked_examples
from common.commands import Parser, check_least, program
from common.files import check_folder
from embedded.parts import TAGS, make_config, make_processor, train_tokenizer
from models.inputs import image_rule, prompt_text
from models.registry import TINY_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import torch
    from transformers import PreTrainedModel, ProcessorMixin

STEPS = 800
TASKS = ("synthetic", "counting", "grounding")


def examples_of(task: str, seed: int) -> Iterator[tuple[ChartQuestion, str]]:
    """The task's worked examples for the warm start, without end, asked as the model is asked later."""
    from charts import counting, grounding, synthetic

    stream = {"synthetic": synthetic, "counting": counting, "grounding": grounding}[task].worked_examples
    if task != "grounding":
        return stream("warm-start", seed)
    from models.inputs import framed
    from models.registry import load_processor

    reader = load_processor("tiny")  # it reads images as the model to be made does
    return ((framed(question, reader), completion) for question, completion in stream("warm-start", seed))


def encode(processor: ProcessorMixin, examples: list[tuple[ChartQuestion, str]]) -> dict[str, torch.Tensor]:
    """A training batch: prompt, picture and completion; the loss sees the completion and its end only."""
    end = processor.tokenizer.eos_token
    texts = [f"{prompt_text(processor, question, 'structured')}{completion}{end}" for question, completion in examples]
    images = [image_rule(processor)(question.open_image()) for question, _ in examples if question.open_image]
    batch = processor(text=texts, images=images, padding=True, padding_side="right", return_tensors="pt")
    start = processor.tokenizer.convert_tokens_to_ids("<|im_start|>")
    labels = batch["input_ids"].clone()
    for row in labels:
        answer = int((row == start).nonzero()[-1]) + 3  # <|im_start|>, assistant, line end
        row[:answer] = -100
    batch["labels"] = labels.masked_fill(batch["attention_mask"] == 0, -100)
    return dict(batch)


def new_model(
    seed: int, examples: Iterable[tuple[ChartQuestion, str]] | None = None
) -> tuple[PreTrainedModel, ProcessorMixin]:
    """An untrained model and its processor, whose tokenizer is made for `examples` (default: the synthetic charts')."""
    import torch
    from transformers import GenerationConfig, Qwen2_5_VLForConditionalGeneration

    stream = worked_examples("warm-start", seed) if examples is None else examples
    tags = re.compile("|".join(TAGS))  # they become tokens of their own: nothing may merge with them
    corpus = []
    for question, completion in islice(stream, 4000):
        corpus += [f"{question.question} {question.instruction}".strip(), *tags.split(completion)]
    corpus += [PROMPTS["structured"], PROMPTS["short"], "user\n", "assistant\n", "system\n"] * 20
    processor = make_processor(train_tokenizer(corpus))
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(make_config(processor.tokenizer))
    ends = {name: getattr(processor.tokenizer, name) for name in ("eos_token_id", "pad_token_id")}
    model.generation_config = GenerationConfig(do_sample=True, temperature=1.0, top_p=1.0, top_k=0, **ends)
    return model, processor


def warm_start(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    stream: Iterator[tuple[ChartQuestion, str]],
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
) -> None:
    """Supervised training on examples drawn as they are needed; warm-up, then a cosine down to a twentieth."""
    import torch

    optimizers = make_optimizers(model, learning_rate)
    scale = partial(rate_at, steps=steps, warm_up=50)
    schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, scale) for optimizer in optimizers]
    model.train()
    bar = tqdm(range(steps), desc="warm start", unit="step", mininterval=5)
    for step in bar:
        batch = encode(processor, [next(stream) for _ in range(batch_size)])
        loss = take_step(model, optimizers, batch)
        for schedule in schedules:
            schedule.step()
        if step % 20 == 0:
            bar.set_postfix(loss=f"{loss.item():.4f}")
    model.eval()


def rate_at(step: int, *, steps: int, warm_up: int) -> float:
    """Share of the highest learning rate: a linear rise, then a cosine down to a twentieth."""
    share = min(1.0, max(0, step - warm_up) / max(1, steps - warm_up))
    return min(1.0, (step + 1) / warm_up) * (0.05 + 0.475 * (1 + math.cos(math.pi * share)))


def take_step(model: PreTrainedModel, optimizers: list[torch.optim.Optimizer], batch: dict) -> torch.Tensor:
    """One update on `batch`, with the gradient clipped to norm 1; the loss before it."""
    import torch

    loss = model(**batch).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return loss


def make_optimizers(model: PreTrainedModel, learning_rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, at ten times the learning rate of AdamW for all the rest."""
    import torch

    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    matrices = [parameter for name, parameter in named if parameter.dim() == 2 and "embed" not in name]
    inside = {id(parameter) for parameter in matrices}
    rest = [parameter for _, parameter in named if id(parameter) not in inside]
    return [
        torch.optim.Muon(matrices, lr=10 * learning_rate, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(rest, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01),
    ]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(prog="python -m embedded.build_tiny", description=__doc__.split("\n")[0])
    parser.add_argument("--output-path", type=Path, default=TINY_FOLDER, help="folder to write (default models/tiny)")
    parser.add_argument("--task", default=TASKS[0], choices=TASKS, help=f"what it is taught (default {TASKS[0]})")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"supervised steps (default {STEPS})")
    parser.add_argument("--batch-size", type=int, default=32, help="questions a step (default 32)")
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="highest learning rate (default 2e-3)")
    parser.add_argument("--seed", type=int, default=2025, help="of the initial weights and of the charts")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    args = check_least(parser.parse_args(argv), steps=1, batch_size=1, threads=1)
    if args.task != TASKS[0] and args.output_path == TINY_FOLDER:
        parser.error(f"--task {args.task}: give a folder by --output-path; the default one is tiny's own")
    return args


def save(model: PreTrainedModel, processor: ProcessorMixin, folder: Path) -> None:
    """bfloat16 safetensors and the processor's files, for all to read; what else is in the folder stays as it is."""
    import torch

    with TemporaryDirectory(dir=folder) as written:
        model.to(torch.bfloat16).save_pretrained(written)
        processor.save_pretrained(written)
        for file in Path(written).iterdir():
            file.chmod(0o644)
            file.replace(folder / file.name)


def run(args: argparse.Namespace) -> int:
    import torch

    check_folder(args.output_path, "--output-path")
    torch.set_num_threads(args.threads)
    began = time.time()
    model, processor = new_model(args.seed, examples_of(args.task, args.seed))
    plan = {"steps": args.steps, "batch_size": args.batch_size, "learning_rate": args.learning_rate}
    warm_start(model, processor, examples_of(args.task, args.seed), **plan)
    save(model, processor, args.output_path)
    size = sum(path.stat().st_size for path in args.output_path.iterdir()) / 1e6
    print(f"{model.num_parameters():,} parameters, {size:.1f} MB, {(time.time() - began) / 60:.1f} minutes")
    return 0


main = program(parse_args, run)

if __name__ == "__main__":
    sys.exit(main())
