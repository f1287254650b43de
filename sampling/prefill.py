"""One forward pass over prompts and their images: all that completions need to know of them.

On a GPU several prompts are one pass, padded to the longest on the right, where a causal model needs no mask, and every
distinct image goes through the vision tower once. On a CPU each prompt is a pass of its own, as larger ones are no
faster there, and so its bits do not depend on the prompts beside it.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature

import torch
from transformers import DynamicCache

from models.families import family_of, family_of_model
from models.families.family import plain_positions
from models.vision_attention import windows_together
from sampling.shared_prefix import supports
from sampling.sizes import PASS_TOKENS

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prompt:
    layers: list[tuple[torch.Tensor, torch.Tensor]]  # keys and values, each (1, H, P, D)
    logits: torch.Tensor  # (1, V), at the prompt's last token
    next_position: int  # rope position of the first completion token, equal on all axes
    axes: int  # axes of the rope positions: 3 (time, height, width) or 1


def prefill(model: torch.nn.Module, inputs: Mapping[str, torch.Tensor]) -> Prompt:
    """`inputs` is the processor's output for one prompt: a batch of one without padding."""
    return prefill_all(model, [inputs])[0]


def prefill_all(
    model: torch.nn.Module, prompts: Sequence[Mapping[str, torch.Tensor]], together: bool | None = None
) -> list[Prompt]:
    """The prompts in the order given; each as for `prefill`, on the model's device or not. `together`: see there."""
    return [prompt for _, prompt in sorted(prefill_each(model, prompts, together), key=lambda found: found[0])]


def prefill_each(
    model: torch.nn.Module, prompts: Sequence[Mapping[str, torch.Tensor]], together: bool | None = None
) -> Iterator[tuple[int, Prompt]]:
    """(Place, prompt) of all prompts, those of a pass as soon as it is done, short ones first.

    `together`: several in one pass; None: on accelerators. Out of GPU memory halves the passes that are left.
    """
    model = model.get_base_model() if hasattr(model, "get_base_model") else model
    together = (model.device.type != "cpu" and _can_batch(model)) if together is None else together
    left = [(place, _checked(inputs)) for place, inputs in enumerate(prompts)]
    if together:
        left.sort(key=lambda one: one[1]["input_ids"].shape[1])
    room = PASS_TOKENS if together else 1
    while left:
        lengths = [inputs["input_ids"].shape[1] for _, inputs in left]  # rising where several are computed at once
        count = max([1, *(count for count, longest in enumerate(lengths, 1) if count * longest <= room)])
        part = [inputs for _, inputs in left[:count]]
        try:
            with windows_together(model):
                found = _pass(model, part) if together else _alone(model, part[0])
        except torch.OutOfMemoryError:
            if count == 1:
                raise
            room = count * part[-1]["input_ids"].shape[1] // 2
            logger.warning("out of memory with %d prompts at once; going on with at most %d tokens", count, room)
            found = None
        if found is None:  # outside the handler, whose traceback holds the pass's tensors
            torch.cuda.empty_cache()
            continue
        yield from zip((place for place, _ in left[:count]), found, strict=True)
        left = left[count:]


def _checked(inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    inputs = dict(inputs)
    mask = inputs.pop("attention_mask", None)
    assert inputs["input_ids"].shape[0] == 1, "one prompt at a time"
    assert mask is None or bool(mask.all()), "a single prompt needs no padding"
    return inputs


def _can_batch(model: torch.nn.Module) -> bool:
    """Attention without a sliding window, whose cache would be cut, and a model that takes its tower's output."""
    takes = signature(model.model.forward).parameters
    return supports(model) and (family_of_model(model) is None or "mm_encoder_outputs" in takes)


def _alone(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> list[Prompt]:
    """One prompt, by the model's own forward pass."""
    inputs = {name: value.to(model.device) for name, value in inputs.items()}
    positions = positions_of(model, inputs["input_ids"], inputs)
    options = {} if len(positions) == 1 else {"position_ids": positions[:, None]}  # else a model might keep some
    cache = DynamicCache(config=model.config.get_text_config())
    out = model(**inputs, **options, cache=cache, use_cache=True, logits_to_keep=1)
    layers = [(layer.keys, layer.values) for layer in cache.layers]
    return [Prompt(layers, out.logits[:, -1], int(positions.max()) + 1, len(positions))]


def _pass(model: torch.nn.Module, prompts: Sequence[dict[str, torch.Tensor]]) -> list[Prompt]:
    """Several prompts in one pass. Sizes and positions are computed on the CPU: nothing waits for the device."""
    device, longest = model.device, max(inputs["input_ids"].shape[1] for inputs in prompts)
    prompts = [{name: v if name == "pixel_values" else v.cpu() for name, v in inputs.items()} for inputs in prompts]
    lengths = [inputs["input_ids"].shape[1] for inputs in prompts]
    ids = torch.cat([_padded(inputs["input_ids"], longest) for inputs in prompts])
    options: dict[str, object] = {}
    positions = [positions_of(model, inputs["input_ids"], inputs) for inputs in prompts]
    axes = len(positions[0])
    if axes > 1:
        options["position_ids"] = torch.stack([_padded(one, longest) for one in positions], 1).to(device)  # (3, B, P)
    if any("pixel_values" in inputs for inputs in prompts):
        options["mm_encoder_outputs"] = {"image": _image_features(model, prompts)}
    ends = torch.tensor(lengths).to(device) - 1
    cache = DynamicCache(config=model.config.get_text_config())
    hidden = model.model(input_ids=ids.to(device), cache=cache, use_cache=True, **options).last_hidden_state
    rows = torch.arange(len(prompts), device=device)
    logits = model.lm_head(hidden[rows, ends])  # (B, V)
    found = []
    for row, length in enumerate(lengths):
        parts = [(layer.keys, layer.values) for layer in cache.layers]
        layers = [tuple(part[row : row + 1, :, :length] for part in pair) for pair in parts]
        next_position = int(positions[row].max()) + 1
        found.append(Prompt(layers, logits[row : row + 1], next_position, axes))
    return found


def _padded(tensor: torch.Tensor, longest: int) -> torch.Tensor:
    return torch.nn.functional.pad(tensor, (0, longest - tensor.shape[-1]))


def positions_of(model: torch.nn.Module, prompt_ids: torch.Tensor, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Rope positions (axes, P) of one prompt (1, P); of text alone, one axis."""
    family = family_of_model(model)
    return (family.positions if family else plain_positions)(model.model, prompt_ids, inputs)


def _image_features(model: torch.nn.Module, prompts: Sequence[dict[str, torch.Tensor]]) -> object:
    """The tower's output for the images of all prompts in order, each distinct one computed once."""
    family = family_of(model.config)
    images = [image for inputs in prompts if "pixel_values" in inputs for image in family.apart(inputs)]
    distinct: list[dict[str, torch.Tensor]] = []
    which: list[int] = []
    for image in images:
        same = (n for n, one in enumerate(distinct) if _same(image, one))
        place = next(same, len(distinct))
        if place == len(distinct):
            distinct.append(image)
        which.append(place)
    # pixels are put together on the device: on a CPU that takes eight times as long as the way there
    to = {"pixel_values": model.device}
    fields = {
        name: torch.cat([image[name].to(to.get(name, image[name].device)) for image in distinct])
        for name in family.image_fields
    }
    found = model.model.get_image_features(**fields, return_dict=True)
    family.chosen(found, which)
    return found


def _same(image: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Sizes are compared before pixels, which may be on a device, and a few of these before all."""
    if not all(image[name].equal(other[name]) for name in sorted(image) if name != "pixel_values"):
        return False
    pixels, others = image["pixel_values"], other["pixel_values"]
    return pixels.shape == others.shape and pixels[::61, ::61].equal(others[::61, ::61]) and pixels.equal(others)
