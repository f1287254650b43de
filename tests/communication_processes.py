"""Run by test_communication.py under a launcher: bytes that each process really sends in an update, as JSON."""

import json
import sys
from pathlib import Path

import torch
from peft import LoraConfig
from transformers import Qwen2Config, Qwen2ForCausalLM, TrainerCallback

from tests import one_layer
from trainers.trainer import TRAINERS

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
COMPLETIONS = ["a b .", "b c d .", "c .", "d a ."]


def model(*_) -> Qwen2ForCausalLM:
    """Large enough that an update's gradients outweigh everything else that is said."""
    torch.manual_seed(0)
    shape = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4}
    special = {"pad_token_id": one_layer.PAD, "eos_token_id": one_layer.EOS, "bos_token_id": None}
    return Qwen2ForCausalLM(Qwen2Config(vocab_size=len(one_layer.WORDS), **shape, **heads, **special))


def sent() -> int:
    """Bytes that this process has handed to write(2) and its like, sockets included."""
    return int(Path("/proc/self/io").read_text().split("wchar: ")[1].split()[0])


class Meter(TrainerCallback):
    def __init__(self):
        self.before, self.updates = 0, []

    def on_step_begin(self, *args, **kwargs):
        self.before = sent()

    def on_step_end(self, *args, **kwargs):
        self.updates.append(sent() - self.before)


def main(folder: str) -> None:
    one_layer.model, results = model, {}
    for name, peft in (("full", None), ("lora", LoraConfig(target_modules=ALL, r=64))):
        trainer = one_layer.trainer(
            TRAINERS["nsr"], folder, batch=1, peft=peft, max_steps=3, rows=12, gradient_accumulation_steps=4,
            ddp_find_unused_parameters=False,
        )  # fmt: skip
        one_layer.fix_rollouts(trainer, COMPLETIONS)
        meter = Meter()
        trainer.add_callback(meter)
        trainer.train()
        trained = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
        results[name] = {"trained": trained, "sent": meter.updates[1:]}  # connections are made in the first
    Path(folder, f"sent_{trainer.accelerator.process_index}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
