"""Rebuild the embedded `tiny` model from nothing: `python -m models.build_tiny`.

A tokenizer is trained, a Qwen2.5-VL of fewer than two million parameters is initialised from a fixed seed and taught the
project's answer format on synthetic charts by supervised training, and its Pass@1 and Pass@64 on test charts are
printed. The charts it learns from form a split of their own: none of them occurs in train, validation or test.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, ProcessorMixin

    from charts.record import ChartQuestion

HERE = Path(__file__).parent
MAX_NEW_TOKENS = 160


def encode(processor: ProcessorMixin, examples: list[tuple[ChartQuestion, str]]) -> dict[str, torch.Tensor]:
    """A training batch: prompt, picture and completion; the loss sees the completion and its end only."""
    from charts.prompt import messages

    texts = []
    for question, completion in examples:
        conversation = messages(question, "structured")
        prompt = processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
        texts.append(f"{prompt}{completion}{processor.tokenizer.eos_token}")
    images = [question.open_image() for question, _ in examples]
    batch = processor(text=texts, images=images, padding=True, padding_side="right", return_tensors="pt")
    start = processor.tokenizer.convert_tokens_to_ids("<|im_start|>")
    labels = batch["input_ids"].clone()
    for row in labels:
        answer = int((row == start).nonzero()[-1]) + 3  # <|im_start|>, assistant, line end
        row[:answer] = -100
    batch["labels"] = labels.masked_fill(batch["attention_mask"] == 0, -100)
    return dict(batch)


def new_model(seed: int) -> tuple[PreTrainedModel, ProcessorMixin]:
    """An untrained model and its processor."""
    import torch
    from transformers import GenerationConfig, Qwen2_5_VLForConditionalGeneration

    from charts.prompt import PROMPTS
    from charts.synthetic import worked_examples
    from models.tiny_parts import make_config, make_processor, train_tokenizer

    stream = worked_examples("warm-start", seed)
    corpus = [f"{question.question}\n{completion}" for question, completion in (next(stream) for _ in range(4000))]
    corpus += [*PROMPTS.values(), "user\n", "assistant\n", "system\n"] * 20
    processor = make_processor(train_tokenizer(corpus))
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(make_config(processor.tokenizer))
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        eos_token_id=processor.tokenizer.eos_token_id,
        pad_token_id=processor.tokenizer.pad_token_id,
    )
    return model, processor


def warm_start(
    model: PreTrainedModel, processor: ProcessorMixin, *, steps: int, batch_size: int, learning_rate: float, seed: int
) -> None:
    """Supervised training on charts drawn as they are needed; warm-up, then a cosine down to a tenth."""
    import torch
    from tqdm import tqdm

    from charts.synthetic import worked_examples

    stream = worked_examples("warm-start", seed)
    decayed = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    others = [parameter for parameter in model.parameters() if parameter.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98))
    warm_up = 100

    def scale(step: int) -> float:
        share = min(1.0, max(0, step - warm_up) / max(1, steps - warm_up))
        return min(1.0, (step + 1) / warm_up) * (0.1 + 0.45 * (1 + math.cos(math.pi * share)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, scale)
    model.train()
    bar = tqdm(range(steps), desc="warm start", unit="step", mininterval=5)
    for step in bar:
        batch = encode(processor, [next(stream) for _ in range(batch_size)])
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 50 == 0:
            bar.set_postfix(loss=f"{loss.item():.4f}")
    model.eval()


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m models.build_tiny", description=__doc__.split("\n")[0])
    parser.add_argument("--output-path", type=Path, default=HERE / "tiny", help="folder to write (default models/tiny)")
    parser.add_argument("--steps", type=int, default=2000, help="supervised steps")
    parser.add_argument("--batch-size", type=int, default=32, help="charts a step")
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=2025, help="of the initial weights and of the charts")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--problems", type=int, default=200, help="test questions for Pass@k; 0 skips it")
    parser.add_argument("--samples", type=int, default=128, help="samples a question")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    import torch

    torch.set_num_threads(args.threads)
    began = time.time()
    model, processor = new_model(args.seed)
    warm_start(
        model,
        processor,
        steps=args.steps,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        seed=args.seed,
    )
    model.to(torch.bfloat16).save_pretrained(args.output_path)
    processor.save_pretrained(args.output_path)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    size = sum(path.stat().st_size for path in args.output_path.iterdir()) / 1e6
    print(f"{parameters:,} parameters, {size:.1f} MB, {(time.time() - began) / 60:.1f} minutes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
