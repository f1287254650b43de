"""Every image of a rollout batch goes through the image processor once, though each of its completions' rows names it.

TRL hands the processor the images of all rows, and does so twice: for the prompts, and for the update's inputs. The
pixels of eight images of 324 tokens are 50 MB, those of 64 rows 390 MB: they are put together only where tensors are
asked for, and then on the device that they are for.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import ProcessorMixin
from transformers.image_utils import make_flat_list_of_images

from models.families import family_of


@contextmanager
def images_once(processor: object, device: torch.device) -> Iterator[None]:
    """Inside, an image that comes again, as the same object, is not computed again.

    Where tensors are asked for, they are the same, and on `device` unless that is the CPU; elsewhere every field of the
    images is a list with a tensor for each of them (`joined` makes one of it).
    """
    if not isinstance(processor, ProcessorMixin):  # a tokenizer
        yield
        return
    compute = processor._process_images
    known: dict[tuple[int, str], tuple[object, dict[str, torch.Tensor], str]] = {}  # holds the image: ids stay its

    def process(images: object, **options: object) -> tuple[object, list[str]]:
        flat = make_flat_list_of_images(images)
        asked = repr(sorted((name, value) for name, value in options.items() if name != "return_tensors"))
        keys = [(id(image), asked) for image in flat]
        new = {key: image for key, image in zip(keys, flat, strict=True) if key not in known}
        if new:
            found, texts = compute(list(new.values()), **options)
            parts = family_of(processor).apart({name: _tensor(value) for name, value in found.items()})
            if not len(parts) == len(texts) == len(new):
                raise ValueError(f"{type(processor).__name__}: {len(new)} images, but its family parts {len(parts)}")
            known.update(zip(new, zip(new.values(), parts, texts, strict=True), strict=True))
        _, parts, texts = zip(*(known[key] for key in keys), strict=True)
        if not options.get("return_tensors"):
            return {name: [part[name] for part in parts] for name in parts[0]}, list(texts)
        if device.type != "cpu":
            fields = family_of(processor).image_fields  # what else there is, the processor reads
            there = {key: {name: known[key][1][name].to(device) for name in fields} for key in set(keys)}
            parts = [part | there[key] for key, part in zip(keys, parts, strict=True)]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}, list(texts)

    processor._process_images = process
    try:
        yield
    finally:
        del processor._process_images


def joined(fields: dict) -> dict:
    """The fields with one tensor for a list of them."""
    return {
        name: torch.cat(value) if isinstance(value, list) and value and torch.is_tensor(value[0]) else value
        for name, value in fields.items()
    }


def _tensor(value: torch.Tensor | list) -> torch.Tensor:
    if torch.is_tensor(value):
        return value
    return torch.stack(value) if torch.is_tensor(value[0]) else torch.tensor(value)
