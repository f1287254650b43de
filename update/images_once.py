"""Every image of a rollout batch goes through the image processor once, though each of its completions' rows names it.

TRL hands the processor the images of all rows, and does so twice: for the prompts, and for the update's inputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import ProcessorMixin
from transformers.image_utils import make_flat_list_of_images

FIELDS = {"pixel_values", "image_grid_thw"}  # what the Qwen processors return of images, with one grid an image


@contextmanager
def images_once(processor: object) -> Iterator[None]:
    """Inside, an image that comes again, as the same object, is not computed again; what is returned stays the same.

    A processor that returns something else than Qwen's is left alone.
    """
    compute = getattr(processor, "_process_images", None)
    if not isinstance(processor, ProcessorMixin) or compute is None:
        yield
        return
    known: dict[tuple[int, str], tuple[object, torch.Tensor, torch.Tensor, str]] = {}  # holds the image: ids stay its

    def process(images: object, **options: object) -> tuple[object, list[str]]:
        flat = make_flat_list_of_images(images)
        asked = repr(sorted((name, value) for name, value in options.items() if name != "return_tensors"))
        keys = [(id(image), asked) for image in flat]
        new = {key: image for key, image in zip(keys, flat, strict=True) if key not in known}
        if new:
            found, texts = compute(list(new.values()), **options)
            pixels, grid = found.get("pixel_values"), found.get("image_grid_thw")
            plain = isinstance(pixels, torch.Tensor) and isinstance(grid, torch.Tensor)
            if set(found) != FIELDS or not plain or len(grid) != len(new) or len(texts) != len(new):
                return compute(images, **options)
            parts = pixels.split(grid.prod(1).tolist())
            known.update(zip(new, zip(new.values(), parts, grid, texts, strict=True), strict=True))
        _, parts, grids, texts = zip(*(known[key] for key in keys), strict=True)
        fields = {"pixel_values": torch.cat(parts), "image_grid_thw": torch.stack(grids)}
        return fields, list(texts)

    processor._process_images = process
    try:
        yield
    finally:
        del processor._process_images
