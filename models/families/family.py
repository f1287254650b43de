"""What a family of vision-language models is to the rest of the project: one small record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, ProcessorMixin

    Fields = Mapping[str, torch.Tensor]


def plain_positions(model: torch.nn.Module | None, prompt_ids: torch.Tensor, fields: Fields) -> torch.Tensor:
    """Rope positions (1, P) of a prompt (1, P) whose image tokens count like words."""
    import torch

    return torch.arange(prompt_ids.shape[1], device=prompt_ids.device)[None]


@dataclass(frozen=True)
class Family:
    """What is true of one family alone. An image becomes pixel rows, and takes tokens in the prompt."""

    model_types: tuple[str, ...]  # of its configurations
    processors: tuple[str, ...]  # classes

    # Images before they are pixels
    image_step: Callable[[ProcessorMixin], int]  # pixels; the sides of an image become multiples of it
    limit_pixels: Callable[[ProcessorMixin, int | None, int | None], None]  # None leaves the processor's own limit
    # Boxes that it writes lie between 0 and this, along both sides; None: in pixels of the image after resizing
    box_range: Callable[[ProcessorMixin], int | None]

    # What the processor returns of a prompt
    image_fields: tuple[str, ...]  # one entry an image, but for the rows of `pixel_values`
    token_fields: tuple[str, ...]  # beside ids and mask, where the prompt has an image; one entry a token
    pixel_rows_per_token: Callable[[ProcessorMixin], Fraction]  # rows of `pixel_values`
    patches_per_token: Callable[[ProcessorMixin], int]  # tokens of the vision tower
    apart: Callable[[Fields], list[dict[str, torch.Tensor]]]  # image fields, by what the tower computes by itself
    markers: tuple[str, ...]  # tokens that promise image features: never sampled
    marker_ids: tuple[str, ...]  # where the configuration has their ids

    # The model
    tower: str  # name of the vision tower inside the model without head
    vision_modules: str  # pattern of the names of all that LoRA leaves alone
    tower_layers: str  # pattern of the parameters' names in the tower's layers
    tower_shape: Callable[[PreTrainedConfig], tuple[int, int, int]]  # layers, width, inner width
    decoder_layers: frozenset[str]  # classes of its text layers that `sampling.decoder_layer` computes
    chosen: Callable[[Any, Sequence[int]], None]  # in place: of the tower's output for `apart` images, those named
    # (model without head, ids (1, P), fields) -> rope positions (axes, P)
    positions: Callable[[torch.nn.Module, torch.Tensor, Fields], torch.Tensor] = plain_positions
    # forward pre-hook of the tower, with keyword arguments, that lets `models.vision_attention` batch its sequences
    tower_inputs: Callable[[torch.nn.Module, tuple, dict], tuple[tuple, dict]] | None = None

    @property
    def fields(self) -> set[str]:
        return {*self.image_fields, *self.token_fields}
