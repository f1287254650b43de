"""LoRA: what it trains, of the published 3B model and of every family, and which settings of it are refused."""

from __future__ import annotations

import pytest
import torch
from peft import get_peft_model
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from models.families import family_of
from models.registry import LORA_TARGETS, lora_config
from tests.families import FAMILIES, make_family
from tests.test_models import tiny  # noqa: F401 (a fixture: the embedded model and its processor)


def qwen2_5_vl_3b() -> Qwen2_5_VLConfig:
    """The published configuration of Qwen2.5-VL-3B-Instruct, written out."""
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": 151936,
            "hidden_size": 2048,
            "intermediate_size": 11008,
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": 32,
            "hidden_size": 1280,
            "intermediate_size": 3420,
            "num_heads": 16,
            "out_hidden_size": 2048,
        },
        tie_word_embeddings=True,
    )


def trainable(model) -> dict[str, int]:
    return {name: parameter.numel() for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_lora_on_the_3b_model_trains_exactly_14966784_parameters_of_its_language_model():
    with torch.device("meta"):
        model = Qwen2_5_VLForConditionalGeneration(qwen2_5_vl_3b())
        found = trainable(get_peft_model(model, lora_config(model.config)))
    by_hand = 36 * 8 * (2 * (2048 + 2048) + 2 * (2048 + 256) + 3 * (2048 + 11008))  # q and o, k and v, the MLP
    assert sum(found.values()) == by_hand == 14_966_784
    assert len(found) == 36 * 7 * 2 and not any("visual" in name for name in found)


@pytest.mark.parametrize("family", FAMILIES)
def test_lora_leaves_the_vision_tower_of_every_family_alone(family):
    model, _ = make_family(family)
    names = trainable(get_peft_model(model, lora_config(model.config, r=4)))
    assert len(names) == 2 * 7 * 2  # layers, projections, A and B
    tower = family_of(model.config).tower
    assert all("language_model.layers" in name and tower not in name for name in names)


def test_lora_settings_reach_the_configuration_and_impossible_ones_are_refused(tiny):  # noqa: F811
    config = tiny[0].config
    chosen = lora_config(config, r=3, alpha=5, targets=["q_proj"])
    assert (chosen.r, chosen.lora_alpha, chosen.lora_dropout, chosen.target_modules) == (3, 5, 0.0, {"q_proj"})
    assert lora_config(config).target_modules == set(LORA_TARGETS)
    for wrong, said in [
        ({"r": 0}, "rank must be at least 1, not 0"),
        ({"alpha": 0}, "alpha must be above 0"),
        ({"targets": ["q_proj", "qkv"]}, "unknown LoRA targets \\['qkv'\\]"),
        ({"targets": []}, "LoRA targets"),
    ]:
        with pytest.raises(ValueError, match=said):
            lora_config(config, **wrong)
