"""`rollout/logp_gap`: the rollout's log-probabilities against the update's at the same weights, mean per token."""

import pytest
import torch

from tests.families import FAMILIES
from tests.test_families_train import family_trainer
from update.ratios import GAP

CONFIG = {"num_generations": 4, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "max_steps": 1,
          "max_completion_length": 8, "logging_steps": 1, "seed": 1, "learning_rate": 1e-3}  # fmt: skip


def gaps(folder, family="qwen2_5_vl", dtype=torch.float32, before_update=None, update="shared", markers=True, **config):
    """What every update logs. With `markers` nothing is kept from being drawn, so that both sides sum over the same
    tokens; with this seed none is drawn."""
    trainer, _ = family_trainer(family, folder, "nsr", dtype=dtype, config={**CONFIG, **config}, update=update)
    if markers:
        trainer.generation_config.suppress_tokens = None
    generate = trainer._generate_and_score_completions

    def rollout(inputs):
        output = generate(inputs)
        if before_update:
            before_update(trainer)
        return output

    trainer._generate_and_score_completions = rollout
    trainer.train()
    return [entry.get(GAP) for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("family", FAMILIES)
def test_in_float32_the_gap_is_rounding(family, tmp_path):
    found = gaps(tmp_path, family)
    assert len(found) == 1 and all(0 < gap < 2e-6 for gap in found)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=["bf16 weights", "float32 weights"])
def test_in_bf16_the_gap_is_that_of_its_rounding(dtype, tmp_path):
    """8 bits of mantissa: logits of size 4 are off by about 0.01."""
    found = gaps(tmp_path, dtype=dtype, bf16=True)
    assert all(1e-4 < gap < 0.03 for gap in found)


def test_plain_rows_are_compared_as_well(tmp_path):
    assert all(0 < gap < 2e-6 for gap in gaps(tmp_path, update="plain"))


def test_weights_that_differ_show(tmp_path):
    def nudge(trainer):
        with torch.no_grad():
            for weight in trainer.model.parameters():
                weight.add_(0.02 * weight.norm() / weight.numel() ** 0.5 * torch.randn_like(weight))

    assert all(gap > 1e-3 for gap in gaps(tmp_path, before_update=nudge))


def test_only_the_first_update_of_a_rollout_batch_is_compared(tmp_path):
    """At the second one the weights have moved."""
    found = gaps(tmp_path, gradient_accumulation_steps=1, steps_per_generation=2, max_steps=4, markers=False)
    assert [gap is None for gap in found] == [False, True, False, True]


@pytest.mark.parametrize("cut", [{"top_p": 0.9}, {"top_k": 5}])
def test_a_cut_distribution_is_not_compared(cut, tmp_path):
    assert gaps(tmp_path, markers=False, **cut) == [None]
