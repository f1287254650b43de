"""The rows of TRL's micro-batches as tensors: put together, chosen from, sent to another process.

A row is one completion with its prompt; pixel values and grids are kept as one tensor a row.
"""

from collections.abc import Sequence

import torch
from accelerate.utils import gather_object
from trl.trainer.utils import split_pixel_values_by_grid, unsplit_pixel_values_by_grid

from update.packing import Row

LEFT_PADDED = ("prompt_ids", "prompt_mask")
RIGHT_PADDED = (
    "completion_ids", "completion_mask", "tool_mask", "old_per_token_logps", "ref_per_token_logps",
    "sampling_per_token_logps", "rollout_entropy", "rollout_logps",
)  # fmt: skip
BOTH_PADDED = ("token_type_ids", "mm_token_type_ids")
IMAGE_COUNTS = ("num_images", "num_tiles")  # a number a row


class Images:
    """Pixels and sizes of one row's images, out of tensors in which all rows follow one another."""

    def __init__(self, fields: dict):
        split = split_pixel_values_by_grid({name: value for name, value in fields.items() if value is not None})
        self.lists = {name: split[name] for name in _image_lists(split)}

    def of(self, row: int) -> dict[str, torch.Tensor]:
        """{} where it has none."""
        found = {name: rows[row] for name, rows in self.lists.items()}
        return found if found and len(found["pixel_values"]) else {}


def _image_lists(batch: dict) -> list[str]:
    """Names of what a batch that is split by rows has of images, a tensor a row."""
    return [n for n, rows in batch.items() if isinstance(rows, list) and any(map(torch.is_tensor, rows))]


def loss_mask(batch: dict) -> torch.Tensor:
    """(B, T): which completion tokens count in the loss."""
    mask = batch["completion_mask"]
    return mask * batch["tool_mask"] if "tool_mask" in batch else mask


def describe(batches: Sequence[dict]) -> list[Row]:
    """What `update.packing` needs to know of the rows of these micro-batches, numbered through."""
    columns = [
        torch.cat([values.sum(1) if values.dim() > 1 else values for values in (batch[name] for batch in batches)])
        for name in ("prompt_index", "prompt_mask", "completion_mask")
    ]
    return [Row(i, *numbers) for i, numbers in enumerate(torch.stack(columns, 1).tolist())]


def join(batches: Sequence[dict]) -> dict:
    """The rows of several micro-batches in one."""
    split = [split_pixel_values_by_grid(dict(batch)) for batch in batches]
    together = {}
    for name, value in split[0].items():
        values = [batch[name] for batch in split]
        if isinstance(value, torch.Tensor) and value.dim():
            together[name] = torch.cat(values)
        elif isinstance(value, list):
            together[name] = [one for part in values for one in part]
        else:
            together[name] = value  # a number of the whole rollout batch, such as its token count
    return together


def select(together: dict, chosen: list[int], fill: int, idle: bool = False, once: bool = False) -> dict:
    """The chosen rows without columns that only pad, and `fill` rows without a token.

    `idle`: the rows are computed, so that this process keeps step with the others, and count for nothing. `once`: of
    the rows of one prompt, only the first carries the image.
    """
    indices = chosen + chosen[:1] * fill
    out = {}
    for name, value in together.items():
        if isinstance(value, torch.Tensor) and value.dim():
            out[name] = value[indices]
        else:
            out[name] = [value[i] for i in indices] if isinstance(value, list) else value
    if not chosen:
        return out
    if once:
        _keep_first_images(out)
    if fill:
        for name in ("completion_mask", "advantages"):
            out[name] = out[name].clone()
            out[name][len(chosen) :] = 0
    if idle:
        out["tool_mask"] = torch.zeros_like(out["completion_mask"])
    left = out["prompt_ids"].shape[1] - int(out["prompt_mask"].sum(1).max())
    right = int(out["completion_mask"].sum(1).max())
    over = out["completion_ids"].shape[1] - right
    for name in out:
        if name in LEFT_PADDED:
            out[name] = out[name][:, left:]
        elif name in RIGHT_PADDED:
            out[name] = out[name][:, :right]
        elif name in BOTH_PADDED:
            out[name] = out[name][:, left : out[name].shape[1] - over]
    return unsplit_pixel_values_by_grid(out)


def _keep_first_images(batch: dict) -> None:
    """Empties the images of every row of `batch` but the first of each prompt."""
    seen, lists = set(), _image_lists(batch)
    for row, prompt in enumerate(batch["prompt_index"].tolist()):
        if prompt in seen and lists:
            for name in lists:
                batch[name][row] = batch[name][row][:0]
            for name in batch.keys() & set(IMAGE_COUNTS):
                batch[name][row] = 0
        seen.add(prompt)


def exchange(together: dict, rows: list[Row], moves: list[tuple[int, int, int]], rank: int) -> tuple[dict, list[Row]]:
    """`together` and the rows to compute, after the completions of whole prompts have changed process.

    `moves` are (from process, prompt, to process), the same list on every process; all of them must call this.
    """
    gone = {prompt: to for source, prompt, to in moves if source == rank}
    parcels = [
        (gone[prompt], _parcel(together, [row for row in rows if row.prompt == prompt])) for prompt in sorted(gone)
    ]
    arrived = [parcel for to, parcel in gather_object(parcels) if to == rank]
    rows = [row for row in rows if row.prompt not in gone]
    for parcel in arrived:
        start = len(together["advantages"])
        together = _append(together, parcel)
        rows += [Row(start + i, *numbers) for i, numbers in enumerate(parcel["rows"])]
    return together, rows


def _parcel(together: dict, rows: list[Row]) -> dict:
    indices, lists = [row.index for row in rows], _image_lists(together)
    part = select({name: value for name, value in together.items() if name not in lists}, indices, 0)
    cpu = {name: value.cpu() if isinstance(value, torch.Tensor) else value for name, value in part.items()}
    image = {name: together[name][indices[0]].cpu() for name in lists}
    return {"part": cpu, "image": image, "rows": [(row.prompt, row.prompt_tokens, row.tokens) for row in rows]}


def _append(together: dict, parcel: dict) -> dict:
    """The rows of a parcel behind those that are here, both widened to the wider prompt and completion."""
    part, count = parcel["part"], len(parcel["rows"])
    prompt, completion = (
        max(batch[name].shape[1] for batch in (together, part)) for name in ("prompt_ids", "completion_ids")
    )
    out = {}
    for name, value in together.items():
        if name in parcel["image"]:
            out[name] = value + [parcel["image"][name].to(value[0].device)] * count
        elif isinstance(value, list):
            out[name] = value + part[name]
        elif value.dim():
            both = (value, part[name].to(value.device))
            widths = [(prompt - batch["prompt_ids"].shape[1], completion - batch["completion_ids"].shape[1])
                      for batch in (together, part)]  # fmt: skip
            out[name] = torch.cat([_widen(name, one, *width) for one, width in zip(both, widths, strict=True)])
        else:
            out[name] = value
    return out


def _widen(name: str, value: torch.Tensor, left: int, right: int) -> torch.Tensor:
    """Zeros to the left of prompts and to the right of completions; masks say that they are padding."""
    left = left if name in LEFT_PADDED + BOTH_PADDED else 0
    right = right if name in RIGHT_PADDED + BOTH_PADDED else 0
    return torch.nn.functional.pad(value, (left, right)) if left or right else value
