"""InternVL3.

An image is cut into square tiles, as many as suit its shape, and where there are several a small copy of the whole is
one more. A tile is a row of `pixel_values`, and `image_seq_length` tokens. Rope positions are those of text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isqrt
from typing import TYPE_CHECKING, Any

from models.families.family import Family

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, ProcessorMixin


def image_step(processor: ProcessorMixin) -> int:
    """The side of what becomes one token: 28, in tiles of 448."""
    return processor.image_processor.size["height"] // isqrt(processor.image_seq_length)


def limit_pixels(processor: ProcessorMixin, min_pixels: int | None, max_pixels: int | None) -> None:
    """As numbers of tiles, at least one; the small copy of the whole comes on top."""
    images = processor.image_processor
    tile = images.size["height"] * images.size["width"]
    lowest = images.min_patches * tile if min_pixels is None else min_pixels
    highest = images.max_patches * tile if max_pixels is None else max_pixels
    if not 0 < lowest <= highest:
        raise ValueError(f"the pixel limits of an image must satisfy 0 < min ({lowest}) <= max ({highest})")
    images.max_patches = max(1, highest // tile)
    images.min_patches = min(-(-lowest // tile), images.max_patches)


def apart(fields: Mapping[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    """Images where the image processor has counted their tiles, else tiles."""
    pixels, parts, start = fields["pixel_values"], [], 0
    counts = fields.get("num_patches")
    for place, count in enumerate([1] * len(pixels) if counts is None else counts):
        part = {"pixel_values": pixels[start : start + int(count)]}
        parts.append(part if counts is None else part | {"num_patches": counts[place : place + 1]})
        start += int(count)
    return parts


def tower_shape(vision: PreTrainedConfig) -> tuple[int, int, int]:
    return vision.num_hidden_layers, vision.hidden_size, vision.intermediate_size


def chosen(found: Any, which: Sequence[int]) -> None:
    found.pooler_output = found.pooler_output[list(which)]


INTERNVL = Family(
    model_types=("internvl",),
    processors=("InternVLProcessor",),
    image_step=image_step,
    limit_pixels=limit_pixels,
    box_range=lambda processor: 1000,
    image_fields=("pixel_values",),
    patches_per_token=lambda processor: 4,  # a downsample_ratio of 1/2 along both sides, in every published model
    apart=apart,
    markers=("<IMG_CONTEXT>", "<img>", "</img>", "<video>"),
    marker_ids=("image_token_id",),
    tower="vision_tower",
    vision_modules=r"(.*\.)?(vision_tower|multi_modal_projector)(\..*)?",
    tower_layers=r"(.*\.)?vision_tower\.encoder\.layer\.\d+\..*",
    tower_shape=tower_shape,
    decoder_layers=frozenset({"Qwen2DecoderLayer"}),
    chosen=chosen,
)
