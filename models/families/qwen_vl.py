"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL.

An image is a grid of patches in its own shape, each a row of `pixel_values`; `merge_size` squared of them become one
token. `image_grid_thw` (images, 3) counts them in time, height and width, the three axes of the rope positions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from models.families.family import Family

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, ProcessorMixin


def image_step(processor: ProcessorMixin) -> int:
    """28 for Qwen2-VL and Qwen2.5-VL, 32 for Qwen3-VL."""
    return processor.image_processor.patch_size * processor.image_processor.merge_size


def limit_pixels(processor: ProcessorMixin, min_pixels: int | None, max_pixels: int | None) -> None:
    """On the image processor alone: as arguments of from_pretrained the limits reach calls, which warn."""
    size = dict(processor.image_processor.size)
    lowest = size["shortest_edge"] if min_pixels is None else min_pixels
    highest = size["longest_edge"] if max_pixels is None else max_pixels
    if not 0 < lowest <= highest:
        raise ValueError(f"the pixel limits of an image must satisfy 0 < min ({lowest}) <= max ({highest})")
    processor.image_processor.size = {"shortest_edge": lowest, "longest_edge": highest}


def box_range(processor: ProcessorMixin) -> int | None:
    """Qwen2-VL and Qwen3-VL write boxes from 0 to 1000, Qwen2.5-VL in pixels (QwenLM/Qwen3-VL, issues 676 and 866)."""
    return None if any("Qwen2_5" in kind.__name__ for kind in type(processor).__mro__) else 1000


def patches_per_token(processor: ProcessorMixin) -> int:
    return processor.image_processor.merge_size**2


def apart(fields: Mapping[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    """Images."""
    grids = fields["image_grid_thw"]
    parts = fields["pixel_values"].split(grids.prod(1).tolist())
    return [{"pixel_values": pixels, "image_grid_thw": grid[None]} for pixels, grid in zip(parts, grids, strict=True)]


def tower_shape(vision: PreTrainedConfig) -> tuple[int, int, int]:
    """Qwen2-VL calls the width embed_dim, and hidden_size what it hands to the language model."""
    width = getattr(vision, "embed_dim", None) or vision.hidden_size
    return vision.depth, width, getattr(vision, "intermediate_size", None) or int(width * vision.mlp_ratio)


def chosen(found: Any, which: Sequence[int]) -> None:
    found.pooler_output = [found.pooler_output[place] for place in which]
    if getattr(found, "deepstack_features", None) is not None:  # of Qwen3-VL
        found.deepstack_features = [[layer[place] for place in which] for layer in found.deepstack_features]


def positions(model: torch.nn.Module, prompt_ids: torch.Tensor, fields: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """(3, P)"""
    import torch

    if "image_grid_thw" not in fields:
        return torch.arange(prompt_ids.shape[1], device=prompt_ids.device).expand(3, -1)
    if "mm_token_type_ids" not in fields:
        raise ValueError("the prompt has an image but no mm_token_type_ids: its rope positions would be silently wrong")
    images = {name: fields[name] for name in ("image_grid_thw", "mm_token_type_ids")}
    return model.get_rope_index(prompt_ids, **images)[0][:, 0]


def tower_inputs(tower: torch.nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """Adds to the tower's arguments what it would compute from the images' sizes, computed on the CPU.

    A patch sees its own image, in most layers of Qwen2.5-VL its own window of the image.
    """
    from transformers.vision_utils import (
        get_vision_cu_seqlens,
        get_vision_interpolation_indices_and_weights,
        get_vision_position_ids,
        get_vision_window_index,
    )

    from models.windows import Windows

    grid = (kwargs["grid_thw"] if "grid_thw" in kwargs else args[1]).cpu()
    device = args[0].device if args else kwargs["hidden_states"].device
    merge = tower.config.spatial_merge_size
    whole = Windows.of(get_vision_cu_seqlens(grid).tolist(), device)
    windows = [whole]
    layout = {
        "position_ids": get_vision_position_ids(grid, merge).to(device),
        "cu_seqlens": whole.boundaries,
        "max_seqlen": whole.longest,
    }
    if hasattr(tower, "window_size"):
        index, boundaries = get_vision_window_index(grid, merge, tower.window_size, tower.patch_size)
        windows.append(Windows.of(boundaries.tolist(), device))
        layout |= {
            "window_index": index.to(device),
            "cu_window_seqlens": windows[1].boundaries,
            "max_window_seqlen": windows[1].longest,
        }
    if hasattr(tower, "num_grid_per_side"):
        indices, weights = get_vision_interpolation_indices_and_weights(
            grid, tower.num_grid_per_side, tower.interpolation_mode, tower.interpolation_align_corners, merge
        )
        layout |= {"interp_indices": indices.to(device), "interp_weights": weights.to(device)}
    # windows part images, so as many windows as images means the same boundaries
    return args, kwargs | layout | {"windows": {len(each.boundaries): each for each in windows}}


QWEN_VL = Family(
    model_types=("qwen2_vl", "qwen2_5_vl", "qwen3_vl"),
    processors=("Qwen2VLProcessor", "Qwen2_5_VLProcessor", "Qwen3VLProcessor"),
    image_step=image_step,
    limit_pixels=limit_pixels,
    box_range=box_range,
    image_fields=("pixel_values", "image_grid_thw"),
    token_fields=("mm_token_type_ids",),
    patches_per_token=patches_per_token,
    apart=apart,
    markers=("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"),
    marker_ids=("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id"),
    tower="visual",
    vision_modules=r"(.*\.)?visual(\..*)?",
    tower_layers=r"(.*\.)?visual\.blocks\.\d+\..*",
    tower_shape=tower_shape,
    decoder_layers=frozenset({"Qwen2VLDecoderLayer", "Qwen2_5_VLDecoderLayer", "Qwen3VLTextDecoderLayer"}),
    chosen=chosen,
    positions=positions,
    tower_inputs=tower_inputs,
)
