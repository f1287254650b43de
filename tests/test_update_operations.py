"""What one packed update of Qwen2.5-VL-3B's shape asks of a device, counted on the meta device."""

from contextlib import nullcontext

import pytest
import torch
from peft import get_peft_model
from transformers import AutoModelForImageTextToText

from benchmarks.workloads import full_size_config
from models import vision_attention
from models.registry import lora_config
from tests import test_packed_update
from tests.operations import Operations, packed_attention
from tests.test_packed_update import LENGTHS, RIGHT, train
from update import packed_update, pass_room, shared_prefix

PROMPTS, COMPLETIONS, PROMPT, LONGEST, SIDE = 8, 8, 600, 80, 36


@pytest.mark.parametrize(("varlen", "most"), [(False, 21_900), (True, 9_500)])
def test_operations_of_a_forward_and_backward_pass(varlen, most, monkeypatch):
    """64 completions of eight prompts, an image each, LoRA, no checkpointing, the head left out. With windows one by
    one it was 32,784. Attention by group is what CPUs and older cards get, one call a layer what others get."""
    config = full_size_config()
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
        shared_prefix.enable(model)
        vision_attention.enable(model)
        model = get_peft_model(model, lora_config(config)).train()
    model.enable_input_require_grads()
    inner = model.get_base_model().model
    inner.visual.forward = torch.no_grad()(inner.visual.forward)  # as the trainer does
    lengths = [[LONGEST - n % 3 for n in range(COMPLETIONS)]] * PROMPTS
    row = shared_prefix.lay_out([PROMPT - 1] * PROMPTS, lengths, torch.device("meta"))
    ids = torch.full((1, row.groups[-1].start + row.groups[-1].tokens), 100)
    for group in row.groups:
        ids[0, group.start + 10 : group.start + 10 + SIDE**2 // 4] = config.image_token_id
    operations = Operations()
    if varlen:
        for module in (shared_prefix, vision_attention):
            monkeypatch.setattr(module, "variable_length", lambda *kind: packed_attention(operations))
    with operations:
        scored = inner(
            input_ids=ids.to("meta"),
            position_ids=torch.zeros(3, 1, ids.shape[1], dtype=torch.long, device="meta"),
            packed_row=row,
            pixel_values=torch.empty(PROMPTS * SIDE**2, 1176, device="meta"),
            image_grid_thw=torch.tensor([[1, SIDE, SIDE]] * PROMPTS),
        ).last_hidden_state
        scored.sum().backward()
    assert scored.shape[1] == sum(map(sum, lengths)), "the row was packed: only its scored tokens come out"
    assert operations.total <= most
    assert operations.waits.total() == 1, "whether there are as many image features as places for them"


@pytest.mark.parametrize("checkpointing", [False, True])
def test_adapters_take_their_input_as_it_is_and_the_gradient_stays_bit_for_bit(checkpointing, tmp_path, monkeypatch):
    """PEFT widens it to the adapter's float32, which autocast undoes: an H200's update spends a seventh on both."""
    monkeypatch.setattr(pass_room, "is_known", lambda trainer: False)  # which would do without checkpointing
    seen, made = set(), test_packed_update.family_trainer

    def with_wide_adapters(*args, **options):
        trainer, processor = made(*args, **options)
        for parameter in trainer.model.parameters():
            parameter.data = parameter.data.float() if parameter.requires_grad else parameter.data
        return trainer, processor

    monkeypatch.setattr(test_packed_update, "family_trainer", with_wide_adapters)

    def is_adapter(module):
        return isinstance(module, torch.nn.Linear) and module.weight.dtype == torch.float32

    def trained(name):
        options = {"dtype": torch.bfloat16, "bf16": True, "plain": False, "gradient_checkpointing": checkpointing}
        watch = torch.nn.modules.module.register_module_forward_pre_hook(
            lambda module, inputs: seen.add(inputs[0].dtype) if is_adapter(module) else None
        )
        try:
            return train(tmp_path / name, "shared", LENGTHS, RIGHT, **options)[0][0]
        finally:
            watch.remove()

    lean, types = trained("lean"), set(seen)
    monkeypatch.setattr(packed_update, "inputs_as_they_are", lambda adapters: nullcontext())
    assert lean.norm() > 0 and torch.equal(lean, trained("wide"))
    assert types == {torch.bfloat16} and seen == {torch.bfloat16, torch.float32}
