"""FAMILIES, the families of models that are known, by the `model_type` of their configurations.

A family is one file beside this one with a `Family` in it. To add one, write that file and name its record here;
docs/models.md tells more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.families.family import Family
from models.families.internvl import INTERNVL
from models.families.qwen_vl import QWEN_VL

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, ProcessorMixin

FAMILIES: dict[str, Family] = {name: family for family in (QWEN_VL, INTERNVL) for name in family.model_types}


def family_of(source: PreTrainedConfig | ProcessorMixin) -> Family:
    """The family of a model's configuration or of its processor; ValueError, with those that are known, for others."""
    if hasattr(source, "model_type"):
        name, found = source.model_type, FAMILIES.get(source.model_type)
    else:
        kinds = [kind.__name__ for kind in type(source).__mro__]
        name, found = kinds[0], next((one for one in FAMILIES.values() if {*one.processors} & {*kinds}), None)
    if found is None:
        raise ValueError(
            f"{name!r} is of no known family of vision-language models: choose a model whose model_type is one of "
            f"{', '.join(FAMILIES)}, or add its family (docs/models.md)"
        )
    return found


def family_of_model(model: torch.nn.Module) -> Family | None:
    """The family of a model that reads images; None of a language model alone. ValueError as for `family_of`."""
    config = getattr(model, "config", None)
    return None if config is None or config.get_text_config() is config else family_of(config)
