"""FAMILIES, the families of models that are known, by the `model_type` of their configurations.

A family is one file beside this one with a `Family` in it. To add one, write that file and name its record here;
docs/models.md tells more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.families.causal import CAUSAL
from models.families.family import Family
from models.families.internvl import INTERNVL
from models.families.qwen_vl import QWEN_VL

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase, ProcessorMixin

FAMILIES: dict[str, Family] = {name: family for family in (QWEN_VL, INTERNVL, CAUSAL) for name in family.model_types}


def family_of(source: PreTrainedConfig | ProcessorMixin) -> Family:
    """The family of a model's configuration or of its processor; ValueError, with those that are known, for others."""
    if hasattr(source, "model_type"):
        name, found = source.model_type, FAMILIES.get(source.model_type)
    else:
        kinds = [kind.__name__ for kind in type(source).__mro__]
        name, found = kinds[0], next((one for one in FAMILIES.values() if {*one.processors} & {*kinds}), None)
    if found is None:
        raise ValueError(
            f"{name!r} is of no known family of models: choose a model whose model_type is one of "
            f"{', '.join(FAMILIES)}, or add its family (docs/models.md)"
        )
    return found


def auto_class(config: PreTrainedConfig) -> Any:
    """The class of transformers that loads, or makes, the model of this configuration. ValueError as for `family_of`.

    Also for a language model without its language head, such as a reward model: transformers would draw one at random.
    """
    import transformers

    family, made_as = family_of(config), getattr(config, "architectures", None) or []
    if not family.sees and made_as and not any(name.endswith("ForCausalLM") for name in made_as):
        raise ValueError(f"it is a {made_as[0]}, which has no language head: choose a model that writes text")
    return getattr(transformers, family.auto_class)


def tokenizer_of(processor: Any) -> PreTrainedTokenizerBase:
    """The tokenizer inside a processor; a tokenizer is its own."""
    return getattr(processor, "tokenizer", processor)


def family_of_model(model: torch.nn.Module) -> Family | None:
    """The family of a model that reads images; None of a language model alone. ValueError as for `family_of`."""
    config = getattr(model, "config", None)
    return None if config is None or config.get_text_config() is config else family_of(config)
