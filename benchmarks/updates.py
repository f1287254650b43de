"""One update, run on the same weights and the same rollouts by any trainer: what `training.py` and `gpu.py` time."""

import contextlib
import io
import os
import tempfile
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from transformers import TrainerCallback
from trl import GRPOConfig

from benchmarks.measuring import now
from benchmarks.workloads import hold_lengths, make_model
from charts.record import ChartQuestion
from models.families import family_of, tokenizer_of
from models.registry import load_processor, lora_config, unsampleable_token_ids
from training.rows import training_rows
from update.packed_update import PackedUpdate
from update.rollouts import EngineRollouts

PROCESSES, RANK = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))


@dataclass(frozen=True)
class Work:
    """One update: `batch * accumulation` completions a process, of at most `longest` tokens, `generations` a prompt."""

    generations: int
    kept: float  # share of completions with weight
    ratio: float  # prompt tokens over the longest completion
    longest: int
    batch: int = 16  # completions a micro-batch
    accumulation: int = 4  # micro-batches an update

    @property
    def rows(self) -> int:
        return self.batch * self.accumulation * PROCESSES


class Packed(EngineRollouts, PackedUpdate):
    """Both parts of this project that concern speed, without any of its methods."""


def timed(base: type) -> type:
    """`base` with given advantages, and with the seconds of every rollout and every update in lists."""

    class Timed(base):
        def __init__(self, *args, advantages: torch.Tensor, **kwargs):
            super().__init__(*args, **kwargs)
            self.given, self.rollouts_took, self.updates_took, self._update = advantages, [], [], 0.0

        def _generate_and_score_completions(self, inputs):
            start = now()
            output = super()._generate_and_score_completions(inputs)
            output["advantages"] = self.given.to(output["advantages"].device)
            self.rollouts_took.append(now() - start)
            return output

        def training_step(self, *args, **kwargs):
            start, before = now(), sum(self.rollouts_took)
            loss = super().training_step(*args, **kwargs)
            self._update += now() - start - (sum(self.rollouts_took) - before)
            if self._step % self.args.gradient_accumulation_steps == 0:
                self.updates_took.append(self._update)
                self._update = 0.0
            return loss

    return Timed


def make_rows(work: Work, processor, image_tokens: int):
    """Training rows whose prompts have `ratio * longest` tokens; one image each, if the model sees, small enough."""
    family, want = family_of(processor), round(work.ratio * work.longest)
    side = round(min(image_tokens, want / 2) ** 0.5) * family.image_step(processor) if family.sees else 0
    noise = np.random.default_rng(0).integers(0, 255, (work.rows, side, side, 3), dtype=np.uint8)
    text = tokenizer_of(processor)("1 " * want, add_special_tokens=False)["input_ids"]

    options = {"prompt": "short", "min_pixels": 1, "max_pixels": 10**8}

    def question(n: int, words: int) -> ChartQuestion:
        image = Image.fromarray(noise[n]) if side else None
        return ChartQuestion(f"q{n}", f"{n}" + " 1" * words, ("1",), open_image=(lambda: image) if image else None)

    def length(words: int) -> int:
        row = training_rows(["q0"], {"q0": question(0, words)}, processor, **options)
        prompt = processor.apply_chat_template(
            row[0]["prompt"], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        return prompt["input_ids"].shape[1]

    words = next(words for words in range(len(text)) if length(words) >= want or words == len(text) - 1)
    questions = {f"q{n}": question(n, words) for n in range(work.rows // work.generations)}
    return training_rows(list(questions), questions, processor, **options), length(words)


def accuracy(completions: list, **columns: object) -> list[float]:
    """Every other completion is right; named as the methods' trainers want it."""
    return [float(place % 2) for place in range(len(completions))]


class Gradients(TrainerCallback):
    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        named = sorted((name, p.grad) for name, p in model.named_parameters() if p.requires_grad)
        self.flat = torch.cat([grad.flatten().double() for _, grad in named])


def grpo_config(work: Work, steps: int, dtype: torch.dtype, suppress: list[int]) -> GRPOConfig:
    return GRPOConfig(
        output_dir=tempfile.mkdtemp(), per_device_train_batch_size=work.batch,
        gradient_accumulation_steps=work.accumulation,
        num_generations=work.generations, max_completion_length=work.longest, loss_type="dapo", max_steps=steps,
        learning_rate=1e-5, num_train_epochs=steps, use_cpu=not torch.cuda.is_available(), report_to="none",
        bf16=dtype == torch.bfloat16, save_strategy="no", disable_tqdm=True, logging_steps=10**6, max_grad_norm=0.0,
        generation_kwargs={"suppress_tokens": suppress},
    )  # fmt: skip


def run(base: type, args, work: Work, *, steps: int, dtype: torch.dtype, sampled: bool = False, callbacks=()):
    """A trainer after `steps` optimiser steps on fixed completions (or, `sampled`, on its own), and its gradient."""
    processor = load_processor("tiny" if args.random_weights else args.model)
    rows, prompt = make_rows(work, processor, args.image_tokens)
    model = make_model(args, dtype)
    eos = tokenizer_of(processor).eos_token_id
    if sampled:
        hold_lengths(model, eos, 1 / args.mean_length)
    random = np.random.default_rng(1)
    lengths = random.integers(work.longest // 2, work.longest + 1, work.rows)
    kept = np.zeros(work.rows, dtype=bool)
    kept[random.permutation(work.rows)[: max(1, round(work.kept * work.rows))]] = True
    mine = slice(RANK * work.rows // PROCESSES, (RANK + 1) * work.rows // PROCESSES)
    advantages = -torch.tensor(kept, dtype=torch.float32)[mine]
    adapter = lora_config(model.config)
    adapter.init_lora_weights = False
    torch.manual_seed(0)
    trainer = timed(base)(
        model=model, reward_funcs=[accuracy],
        args=grpo_config(work, steps, dtype, unsampleable_token_ids(model.config, processor)),
        train_dataset=rows, processing_class=processor, peft_config=adapter, advantages=advantages,
    )  # fmt: skip
    if dtype == torch.float64:
        trainer.model.double()
    if not sampled:
        completions = [[*random.integers(20, 400, length - 1).tolist(), eos] for length in lengths][mine]
        trainer._generate_single_turn = lambda prompt_ids, *rest: (completions, None)
    gradients = Gradients()
    for callback in (gradients, *callbacks):
        trainer.add_callback(callback)
    with contextlib.redirect_stdout(io.StringIO()):
        trainer.train()
    groups, kept = (part.reshape(PROCESSES, -1, work.generations) for part in (lengths, kept))
    stock_tokens = int(work.generations * (prompt + groups.max()) * groups.shape[1])
    packed_tokens = prompt * kept.any(2).sum(1) + (groups * kept).sum((1, 2))  # of every process; the slowest decides
    return trainer, gradients.flat, stock_tokens, int(packed_tokens.max())
