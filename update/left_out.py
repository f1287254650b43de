"""What the rows that an update leaves out count for in its metrics: TRL measures the rows of each pass alone."""

from collections.abc import Sequence

import torch
from accelerate import Accelerator

from update.collate import loss_mask
from update.packing import Row, padded_cost

CLIPPED = ("clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/region_mean", "cispo_clip_ratio")


def note(
    accelerator: Accelerator, rows: Sequence[Row], left_out: int, computed: int, own: dict, micro: Sequence[dict]
) -> None:
    """Puts the numbers of an optimiser step, over its rows on all processes, into each of its micro-batches.

    `rows` and `own` are the rows of this process and their tensors, as TRL had them; `left_out` of them count for
    nothing. `computed` tokens is what the passes, `micro`, take. Every process must call this.
    """
    mask, known = loss_mask(own), "rollout_entropy" in own
    entropy = (own["rollout_entropy"] * mask).sum() if known else 0.0
    tokens = [loss_mask(batch).sum() for batch in micro]
    heights = [float(len(batch["advantages"])) for batch in micro]  # rows that only fill a pass are never clipped
    sums = [computed, padded_cost(rows), left_out, entropy, mask.sum(), len(rows), *tokens, *heights]
    sums = torch.tensor([float(value) for value in sums], device=accelerator.device)
    computed, plain, left_out, entropy, total, count, *each = accelerator.reduce(sums, reduction="sum").tolist()
    for batch, tokens_here, rows_here in zip(micro, each[: len(micro)], each[len(micro) :], strict=True):
        batch["window"] = {  # with these names in the checkpoints of earlier versions too
            "skipped_work": 1 - computed / plain,
            "rows_left": left_out > 0,
            "entropy": entropy / max(total, 1.0) if known else None,
            "token_share": tokens_here * len(micro) / max(total, 1.0),
            "row_share": rows_here * len(micro) / count,
        }


def count(metrics: dict[str, list[float]], window: dict, by_rows: bool) -> None:
    """Corrects what TRL has just noted of one pass: the rows that were left out were not clipped, but they count.

    `by_rows`: a completion has one ratio, and a share of the clipped ones is one of rows, not of tokens.
    """
    metrics["decomposed/skipped_work"].append(window["skipped_work"])
    for name in (*CLIPPED, "kl"):
        if metrics.get(name):
            metrics[name][-1] *= window["row_share" if by_rows and name in CLIPPED else "token_share"]
    if window["rows_left"] and metrics.get("clip_ratio/low_min"):
        metrics["clip_ratio/low_min"][-1] = min(metrics["clip_ratio/low_min"][-1], 0.0)
        metrics["clip_ratio/high_max"][-1] = max(metrics["clip_ratio/high_max"][-1], 0.0)
    if window["entropy"] is not None:
        metrics["entropy"][-1] = window["entropy"]
