"""What a family of models is to the rest of the project: one small record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, ProcessorMixin

    Fields = Mapping[str, torch.Tensor]


def no_limits(processor: ProcessorMixin, min_pixels: int | None, max_pixels: int | None) -> None:
    """There is nothing to limit."""


def plain_positions(model: torch.nn.Module | None, prompt_ids: torch.Tensor, fields: Fields) -> torch.Tensor:
    """Rope positions (1, P) of a prompt (1, P) whose image tokens count like words."""
    import torch

    return torch.arange(prompt_ids.shape[1], device=prompt_ids.device)[None]


@dataclass(frozen=True)
class Family:
    """What is true of one family alone. An image becomes pixel rows, and takes tokens in the prompt.

    A family that reads text alone has a tokenizer for a processor, no `tower`, and leaves out all that is said of
    images.
    """

    model_types: tuple[str, ...]  # of its configurations
    processors: tuple[str, ...]  # classes
    decoder_layers: frozenset[str]  # classes of its text layers that `sampling.decoder_layer` computes
    auto_class: str = "AutoModelForImageTextToText"  # of transformers, which loads its models

    # Images before they are pixels
    image_step: Callable[[ProcessorMixin], int] = lambda processor: 1  # pixels; an image's sides become multiples of it
    # None leaves the processor's own limit
    limit_pixels: Callable[[ProcessorMixin, int | None, int | None], None] = no_limits
    # Boxes that it writes lie between 0 and this, along both sides; None: in pixels of the image after resizing
    box_range: Callable[[ProcessorMixin], int | None] = lambda processor: None

    # What the processor returns of a prompt
    image_fields: tuple[str, ...] = ()  # one entry an image, but for the rows of `pixel_values`
    token_fields: tuple[str, ...] = ()  # beside ids and mask, where the prompt has an image; one entry a token
    patches_per_token: Callable[[ProcessorMixin], int] = lambda processor: 1  # tokens of the vision tower
    # image fields, by what the tower computes by itself
    apart: Callable[[Fields], list[dict[str, torch.Tensor]]] = lambda fields: []
    markers: tuple[str, ...] = ()  # tokens that promise image features: never sampled
    marker_ids: tuple[str, ...] = ()  # where the configuration has their ids

    # The model
    tower: str | None = None  # name of the vision tower inside the model without head; None: it reads text alone
    vision_modules: str | None = None  # pattern of the names of all that LoRA leaves alone
    tower_layers: str = ""  # pattern of the parameters' names in the tower's layers
    tower_shape: Callable[[PreTrainedConfig], tuple[int, int, int]] = lambda vision: (0, 0, 0)  # layers, width, inner
    # in place: of the tower's output for `apart` images, those named
    chosen: Callable[[Any, Sequence[int]], None] = lambda found, which: None
    # (model without head, ids (1, P), fields) -> rope positions (axes, P)
    positions: Callable[[torch.nn.Module, torch.Tensor, Fields], torch.Tensor] = plain_positions
    # forward pre-hook of the tower, with keyword arguments, that lets `models.vision_attention` batch its sequences
    tower_inputs: Callable[[torch.nn.Module, tuple, dict], tuple[tuple, dict]] | None = None

    @property
    def sees(self) -> bool:
        """Whether its models read images."""
        return self.tower is not None

    @property
    def fields(self) -> set[str]:
        return {*self.image_fields, *self.token_fields}
