"""One optimiser step of stock TRL and of this project, on the same weights and the same rollouts.

    OMP_NUM_THREADS=2 python benchmarks/training.py                 # embedded model: sweep, memory, whole step
    OMP_NUM_THREADS=1 torchrun --nproc_per_node 2 benchmarks/training.py --parts sweep
    python benchmarks/training.py --random-weights --dtype bfloat16 --longest 768 --mean-length 200 \\
        --image-tokens 324 --parts whole memory project

Stock is `trl.GRPOTrainer` as it comes; both get the same advantages (-1 for the kept rows, as in NSR) and, in the
sweep, the same completions. Before anything is timed, the gradients of both are compared in float64 (1e-6 normwise:
TRL's head computes in float32). The bound is the quotient of tokens: what stock computes, G (P + longest C) a prompt,
over P + sum of kept C; "tokens left" is the latter, summed over prompts. Times are medians of the repeats, of the
update phase alone unless said otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.sampling import hold_lengths
from charts.record import ChartQuestion
from models.families import family_of
from models.registry import load_model, load_processor, lora_config, unsampleable_token_ids
from training.rows import training_rows
from update.packed_update import PackedUpdate
from update.rollouts import EngineRollouts

PARTS = ("sweep", "memory", "whole", "project")
FULL_RUN = 10_000 * 2  # completions: the README's 10,000 questions, 2 each
TOLERANCE = 1e-6
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


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--random-weights", action="store_true", help="qwen2-5-3b's shape with random weights")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--longest", type=int, default=64, help="tokens of the longest completion")
    parser.add_argument("--mean-length", type=float, default=24, help="mean tokens of a sampled completion")
    parser.add_argument("--image-tokens", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--parts", nargs="+", default=PARTS[:3], choices=PARTS, help=", ".join(PARTS))
    parser.add_argument("--plot", type=Path, help="draw the sweep's ratios and bounds into this file")
    return parser.parse_args(argv)


def full_size_config():
    """Qwen2.5-VL-3B-Instruct's configuration (its public config.json), for a model without a checkpoint."""
    from transformers import Qwen2_5_VLConfig

    rope = {"rope_type": "default", "rope_theta": 1000000.0, "mrope_section": [16, 24, 24]}
    text = {"vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36,
            "num_attention_heads": 16, "num_key_value_heads": 2, "rope_parameters": rope,
            "tie_word_embeddings": True}  # fmt: skip
    vision = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 2048,
              "fullatt_block_indexes": [7, 15, 23, 31], "window_size": 112}  # fmt: skip
    return Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True)


def make_model(args: argparse.Namespace, dtype: torch.dtype):
    if not args.random_weights:
        return load_model(args.model, dtype=dtype)
    from transformers import AutoModelForImageTextToText

    config, known = full_size_config(), load_processor("tiny").tokenizer
    for name in ("image", "video", "vision_start", "vision_end"):
        marker = {"image": "image_pad", "video": "video_pad"}.get(name, name)
        setattr(config, f"{name}_token_id", known.convert_tokens_to_ids(f"<|{marker}|>"))
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        return AutoModelForImageTextToText.from_config(config, dtype=dtype)


def make_rows(work: Work, processor, image_tokens: int):
    """Training rows whose prompts have `ratio * longest` tokens, one image each; the image shrinks if it must."""
    step, want = family_of(processor).image_step(processor), round(work.ratio * work.longest)
    side = round(min(image_tokens, want / 2) ** 0.5) * step
    noise = np.random.default_rng(0).integers(0, 255, (work.rows, side, side, 3), dtype=np.uint8)
    text = processor.tokenizer("1 " * want, add_special_tokens=False)["input_ids"]

    options = {"prompt": "short", "min_pixels": 1, "max_pixels": 10**8}

    def question(n: int, words: int) -> ChartQuestion:
        image = Image.fromarray(noise[n])
        return ChartQuestion(f"q{n}", f"{n}" + " 1" * words, ("1",), open_image=lambda: image)

    def length(words: int) -> int:
        row = training_rows(["q0"], {"q0": question(0, words)}, processor, **options)
        prompt = processor.apply_chat_template(
            row[0]["prompt"], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        return prompt["input_ids"].shape[1]

    words = next(words for words in range(len(text)) if length(words) >= want or words == len(text) - 1)
    questions = {f"q{n}": question(n, words) for n in range(work.rows // work.generations)}
    return training_rows(list(questions), questions, processor, **options), length(words)


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


class Lean(EngineRollouts, PackedUpdate):
    """Both parts of this project that concern speed, without any of its methods."""


def say(line: str) -> None:
    if RANK == 0:
        print(line, flush=True)


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


class Gradients(TrainerCallback):
    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        named = sorted((name, p.grad) for name, p in model.named_parameters() if p.requires_grad)
        self.flat = torch.cat([grad.flatten().double() for _, grad in named])


def run(base: type, args, work: Work, *, steps: int, dtype: torch.dtype, sampled: bool = False):
    """A trainer after `steps` optimiser steps on fixed completions (or, `sampled`, on its own), and its gradient."""
    processor = load_processor("tiny" if args.random_weights else args.model)
    rows, prompt = make_rows(work, processor, args.image_tokens)
    model = make_model(args, dtype)
    eos = processor.tokenizer.eos_token_id
    if sampled:
        hold_lengths(model, eos, 1 / args.mean_length)
    random = np.random.default_rng(1)
    lengths = random.integers(work.longest // 2, work.longest + 1, work.rows)
    kept = np.zeros(work.rows, dtype=bool)
    kept[random.permutation(work.rows)[: max(1, round(work.kept * work.rows))]] = True
    mine = slice(RANK * work.rows // PROCESSES, (RANK + 1) * work.rows // PROCESSES)
    advantages = -torch.tensor(kept, dtype=torch.float32)[mine]
    config = GRPOConfig(
        output_dir=tempfile.mkdtemp(), per_device_train_batch_size=work.batch,
        gradient_accumulation_steps=work.accumulation,
        num_generations=work.generations, max_completion_length=work.longest, loss_type="dapo", max_steps=steps,
        learning_rate=1e-5, num_train_epochs=steps, use_cpu=not torch.cuda.is_available(), report_to="none",
        bf16=dtype == torch.bfloat16, save_strategy="no", disable_tqdm=True, logging_steps=10**6, max_grad_norm=0.0,
        generation_kwargs={"suppress_tokens": unsampleable_token_ids(model.config, processor)},
    )  # fmt: skip
    adapter = lora_config(model.config)
    adapter.init_lora_weights = False
    torch.manual_seed(0)
    trainer = timed(base)(
        model=model, reward_funcs=[lambda completions, **columns: [0.0] * len(completions)], args=config,
        train_dataset=rows, processing_class=processor, peft_config=adapter, advantages=advantages,
    )  # fmt: skip
    if dtype == torch.float64:
        trainer.model.double()
    if not sampled:
        completions = [[*random.integers(20, 400, length - 1).tolist(), eos] for length in lengths][mine]
        trainer._generate_single_turn = lambda prompt_ids, *rest: (completions, None)
    gradients = Gradients()
    trainer.add_callback(gradients)
    with contextlib.redirect_stdout(io.StringIO()):
        trainer.train()
    groups, kept = (part.reshape(PROCESSES, -1, work.generations) for part in (lengths, kept))
    stock_tokens = int(work.generations * (prompt + groups.max()) * groups.shape[1])
    lean_tokens = prompt * kept.any(2).sum(1) + (groups * kept).sum((1, 2))  # of every process; the slowest decides
    return trainer, gradients.flat, stock_tokens, int(lean_tokens.max())


def compare(args, work: Work) -> None:
    """Raises AssertionError unless both gradients agree."""
    dtype = torch.float32 if args.random_weights else torch.float64
    flats = []
    for base in (GRPOTrainer, Lean):
        flats.append(run(base, args, work, steps=1, dtype=dtype)[1])
        gc.collect()
    gap = ((flats[0] - flats[1]).norm() / flats[0].norm()).item()
    limit = TOLERANCE if dtype == torch.float64 else 1e-2
    assert flats[0].norm() > 0 and gap < limit, f"gradients differ by {gap:.1e}"
    say(f"gradients agree to {gap:.1e}")


def sweep(args, dtype: torch.dtype) -> None:
    works = [Work(g, kept, 4, args.longest) for g in (2, 4, 8, 16) for kept in (1.0, 0.25)]
    works += [Work(8, kept, 4, args.longest) for kept in (0.5, 0.1)]
    works += [Work(8, kept, ratio, args.longest) for ratio in (1, 2, 8) for kept in (1.0, 0.25)]
    compare(args, works[4])
    compare(args, works[5])
    say(
        f"\nUpdate phase, {PROCESSES} processes, each {works[0].batch * works[0].accumulation} completions in "
        f"micro-batches of {works[0].batch}, "
        f"medians of {args.repeat}:"
    )
    say("  G   kept  prompt/completion   stock      ours     ratio   bound   of bound   tokens left")
    points = []
    for work in works:
        took, tokens = [], None
        for base in (GRPOTrainer, Lean):
            trainer, _, *tokens = run(base, args, work, steps=args.repeat + 1, dtype=dtype)
            took.append(statistics.median(trainer.updates_took[1:]))
            del trainer
            gc.collect()
        ratio, bound = took[0] / took[1], tokens[0] / tokens[1]
        points.append((tokens[1], took[1], ratio, bound))
        say(
            f"{work.generations:3d} {work.kept:6.0%} {work.ratio:12.0f} {took[0]:15.3f} s {took[1]:7.3f} s "
            f"{ratio:7.2f} {bound:7.2f} {ratio / bound:9.0%} {tokens[1]:10,d}"
        )
    x, y, ratios, bounds = np.array(points, dtype=float).T
    slope, start = np.polyfit(x, y, 1)
    error = 1 - ((y - slope * x - start) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    say(f"\nour update = {start:.3f} s + {slope * 1e6:.1f} us x (prompts + kept completion tokens), R2 = {error:.3f}")
    if args.plot and RANK == 0:
        draw(works, ratios, bounds, args.plot)


def draw(works: list[Work], ratios: np.ndarray, bounds: np.ndarray, path: Path) -> None:
    """A bar a piece of work, with its bound as a tick."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    order = sorted(range(len(works)), key=lambda i: bounds[i])
    names = [f"G = {works[i].generations}, {works[i].kept:.0%} kept, prompt {works[i].ratio:g} x" for i in order]
    figure, axes = plt.subplots(figsize=(7, 0.32 * len(works) + 1.1), layout="constrained")
    axes.barh(range(len(order)), [ratios[i] for i in order], color="#4477aa", label="measured", height=0.7)
    axes.plot([bounds[i] for i in order], range(len(order)), "|", color="black", markersize=13, label="token bound")
    axes.set_yticks(range(len(order)), names, fontsize=8)
    axes.set_xlabel("update of stock TRL / ours, time")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=150)


def memory(args, dtype: torch.dtype) -> None:
    """Peak tensor bytes of an update above the loaded model."""
    say("\nPeak tensor bytes of the update above the loaded model:")
    for work in (Work(g, kept, 4, args.longest) for g in (2, 8) for kept in (1.0, 0.25)):
        peaks = []
        for base in (GRPOTrainer, Lean):
            peaks.append(peak_bytes(base, args, work, dtype))
            gc.collect()
        shown = f"{peaks[0] / 2**20:9.1f} MiB {peaks[1] / 2**20:9.1f} MiB {peaks[1] / peaks[0]:6.0%}"
        say(f"  G = {work.generations:2d}, kept {work.kept:4.0%}: stock, ours, share {shown}")


def peak_bytes(base: type, args, work: Work, dtype: torch.dtype) -> int:
    """Highest sum of live allocations inside `training_step` of the second update, over that at its start."""
    peaks = []

    class Watched(base):
        def training_step(self, *inputs, **more):
            if self._step < work.accumulation or self._step % work.accumulation == 0:  # the first one samples
                return super().training_step(*inputs, **more)
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
                loss = super().training_step(*inputs, **more)
                peaks.append(torch.cuda.max_memory_allocated() - before)
                return loss
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as seen:
                loss = super().training_step(*inputs, **more)
            events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
            changes = [e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())]
            peaks.append(int(np.cumsum(changes).max(initial=0)))
            return loss

    run(Watched, args, work, steps=2, dtype=dtype)
    return max(peaks)


def whole(args, dtype: torch.dtype) -> None:
    """Rollout and update, each side with its own sampling; every token is the last with chance 1 / --mean-length."""
    say("\nWhole step, rollout included (temperature 1, geometric lengths, at most the longest):")
    for kept in (1.0, 0.25):
        work, took = Work(8, kept, 4, args.longest), []
        for base in (GRPOTrainer, Lean):
            trainer, *_ = run(base, args, work, steps=args.repeat + 1, dtype=dtype, sampled=True)
            rollout, update = (statistics.median(part[1:]) for part in (trainer.rollouts_took, trainer.updates_took))
            took.append(rollout + update)
            name = "ours " if base is Lean else "stock"
            say(f"  G = 8, kept {kept:4.0%}, {name}: rollout {rollout:.3f} s, update {update:.3f} s")
            del trainer
            gc.collect()
        say(f"  ratio {took[0] / took[1]:.2f}")


def project(args, dtype: torch.dtype) -> None:
    """A run of 10,000 questions x 2, from steps of 64 completions and of 4 (main.py's default), and what limits it.

    Decoding cannot be faster than reading the weights once a token; the update does 6 operations a weight and token
    at least (2 forward, 2 for the gradient of the activations, 2 to recompute them under checkpointing).
    """
    say(f"\nA run of {FULL_RUN:,} completions, rollout included, mean length {args.mean_length:g}:")
    for batch, accumulation in ((16, 4), (2, 2)):
        work = Work(2, 1.0, 4, args.longest, batch, accumulation)
        trainer, _, _, tokens = run(Lean, args, work, steps=args.repeat + 1, dtype=dtype, sampled=True)
        rollout, update = (statistics.median(part[1:]) for part in (trainer.rollouts_took, trainer.updates_took))
        hours = (rollout + update) * FULL_RUN / work.rows / 3600
        weights = sum(weight.numel() for weight in trainer.model.parameters())
        say(
            f"  {work.rows} completions an update: {rollout:.3f} s + {update:.3f} s a step, {hours:.2f} h; "
            f"the update's {tokens:,} tokens at {6 * weights * tokens / update / 1e12:.3f} TFLOP/s, "
            f"a decoding step reads {weights * dtype.itemsize / 1e9:.2f} GB"
        )
        peak = f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if torch.cuda.is_available() else "not measured"
        say(f"    peak memory {peak}")
        del trainer
        gc.collect()


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    dtype = getattr(torch, args.dtype)
    import transformers.utils.logging as quiet

    quiet.set_verbosity_error()
    for part in args.parts:
        {"sweep": sweep, "memory": memory, "whole": whole, "project": project}[part](args, dtype)
    return 0


if __name__ == "__main__":
    sys.exit(main())
