"""A one-layer text model and a trainer on it, for tests of the update itself: no image, no generation luck."""

from __future__ import annotations

import datasets
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from trl import GRPOConfig

WORDS = ["<pad>", "<eos>", "ask", *"abcdefgh"]
PAD, EOS = 0, 1


def tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {word: index for index, word in enumerate(WORDS)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>", padding_side="left")


def model(dtype: torch.dtype = torch.float32, seed: int = 0) -> Qwen2ForCausalLM:
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        pad_token_id=PAD,
        eos_token_id=EOS,
        bos_token_id=None,
    )
    return Qwen2ForCausalLM(config).to(dtype)


def accuracy(completions, completion_ids, **columns):
    """1 for a completion that starts with 'a', None for one that starts with 'h', else 0."""
    verdict = {WORDS.index("a"): 1.0, WORDS.index("h"): None}
    return [verdict.get(ids[0], 0.0) for ids in completion_ids]


def brevity(completions, completion_ids, **columns):
    """A second reward that must never touch the sign."""
    return [1.0 / len(ids) for ids in completion_ids]


def trainer(
    cls, folder, *, generations=4, batch=4, rows=8, mode_settings=None, rewards=(accuracy, brevity), peft=None, **config
):
    """A real trainer of class `cls` on the one-layer model; `mode_settings` are the class's own arguments."""
    settings = {
        "output_dir": str(folder),
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": 1,
        "num_generations": generations,
        "max_completion_length": 5,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
        "loss_type": "dapo",
        "gradient_checkpointing": False,
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "logging_steps": 1,
        "save_strategy": "no",
        "disable_tqdm": True,
        "max_steps": 1,
        **config,
    }
    return cls(
        model=model(),
        reward_funcs=list(rewards),
        args=GRPOConfig(**settings),
        train_dataset=datasets.Dataset.from_dict({"prompt": ["ask"] * rows}),
        processing_class=tokenizer(),
        peft_config=peft,
        **(mode_settings or {}),
    )


def say(words: str) -> list[int]:
    """Token ids of space-separated words, `.` for the end of the sequence."""
    return [EOS if word == "." else WORDS.index(word) for word in words.split()]


def fix_rollouts(trainer, completions: list[str]) -> None:
    """Makes every rollout of `trainer` return these completions (this process's share, in order)."""
    ids = [say(words) for words in completions]
    trainer._generate_single_turn = lambda prompt_ids, images, fields, num_generations: (ids, None)
