"""Logits and one uniform number per row -> one token per row.

The order is transformers' own: temperature, top-k, top-p. Two things differ, without changing the distribution:
the nucleus is found in the 64 (then 1,024) largest probabilities wherever their mass reaches top_p, so the vocabulary
is sorted only for the rows where it does not; and the token is read off the inverse cumulative distribution in
vocabulary order, so that one uniform number decides and near ties between candidates cannot swap places.
Tokens that tie exactly with the last kept one are kept too (transformers cuts between them arbitrarily).

Only the CPU looks whether the mass was reached. On an accelerator that would stop the queue at every token, so there
`weights` sorts at once, and `quick_weights` searches the 1,024 largest and leaves a note for the rows it was wrong for.
"""

import torch

from sampling.settings import SamplingSettings

_TRIES = (64, 1024)
_WIDTH = 128  # the cumulative distribution is searched in two levels: blocks of this many tokens, then one block


def weights(logits: torch.Tensor, settings: SamplingSettings, suppress: torch.Tensor | None = None) -> torch.Tensor:
    """Unnormalised float32 probabilities of the sampling distribution; the largest is 1, excluded tokens are 0."""
    out = _before_top_p(logits, settings, suppress)
    if settings.top_p < 1:
        on_cpu = out.device.type == "cpu"
        floor = _nucleus_floor(out, settings.top_p) if on_cpu else _floor_among(out, settings.top_p, out.shape[-1])[0]
        out = out.masked_fill_(out < floor, 0.0)
    return out


def quick_weights(
    logits: torch.Tensor, settings: SamplingSettings, suppress: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """`weights` without a full sort, and whether they are wrong for a row (1,): its nucleus has over 1,024 tokens."""
    out = _before_top_p(logits, settings, suppress)
    if settings.top_p == 1:
        return out, torch.zeros(1, dtype=torch.bool, device=out.device)
    floor, enough = _floor_among(out, settings.top_p, _TRIES[-1])
    return out.masked_fill_(out < floor, 0.0), ~enough.all(0, keepdim=True)


def _before_top_p(logits: torch.Tensor, settings: SamplingSettings, suppress: torch.Tensor | None) -> torch.Tensor:
    scores = logits.float()  # (N, V)
    if settings.temperature != 1.0:
        scores = scores / settings.temperature
    if suppress is not None and len(suppress):
        scores = scores.index_fill(-1, suppress, -torch.inf)
    out = (scores - scores.amax(-1, keepdim=True)).exp_()
    if settings.top_k:
        floor = out.topk(min(settings.top_k, out.shape[-1]), dim=-1).values[:, -1:]
        out = out.masked_fill_(out < floor, 0.0)
    return out


def entropy(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """Entropy (N,) in nats of softmax(logits / temperature) over the whole vocabulary, nothing excluded."""
    scores = logits.float() if temperature == 1.0 else logits.float() / temperature
    logp = scores.log_softmax(-1)
    return -(logp.exp() * logp).sum(-1)


def _nucleus_floor(weight: torch.Tensor, top_p: float) -> torch.Tensor:
    """The smallest weight inside each row's nucleus: the shortest run of largest weights whose mass reaches top_p."""
    floor = weight.new_empty(len(weight), 1)
    rows = torch.arange(len(weight), device=weight.device)
    for tried in (*_TRIES, weight.shape[-1]):
        found, enough = _floor_among(weight if len(rows) == len(weight) else weight[rows], top_p, tried)
        if enough.all():
            floor[rows] = found
            return floor
        floor[rows[enough]] = found[enough]
        rows = rows[~enough]
    return floor


def _floor_among(weight: torch.Tensor, top_p: float, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, 1) smallest weights of the nuclei as far as they lie among the `count` largest, and whether they do (N,)."""
    needed = top_p * weight.sum(-1, keepdim=True, dtype=torch.float64)
    whole = count >= weight.shape[-1]
    top = weight.sort(-1, descending=True).values if whole else weight.topk(count, dim=-1).values
    mass = top.cumsum(-1, dtype=torch.float64)
    before = mass - top  # a token stays while the mass in front of it is short of top_p
    kept = (before < needed).sum(-1, keepdim=True).clamp_(min=1)
    enough = torch.ones_like(kept, dtype=torch.bool) if whole else mass[:, -1:] >= needed
    return top.gather(-1, kept - 1), enough[:, 0]


def choose(weight: torch.Tensor, uniform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Inverse CDF: (N, V) weights and (N,) uniforms -> token ids (N,) and their log-probabilities (N,)."""
    rows, size = weight.shape
    if size % _WIDTH:
        weight = torch.nn.functional.pad(weight, (0, _WIDTH - size % _WIDTH))
    blocks = weight.view(rows, -1, _WIDTH)
    ends = blocks.sum(-1).cumsum(-1, dtype=torch.float64)  # (N, V / 128)
    total = ends[:, -1:]
    target = uniform[:, None].to(torch.float64) * total
    block = _first_above(ends, target)
    target = target - torch.where(block > 0, ends.gather(-1, (block - 1).clamp(min=0)), 0.0)
    inside = blocks.gather(1, block[:, :, None].expand(-1, -1, _WIDTH)).squeeze(1)  # (N, 128)
    offset = _first_above(inside.cumsum(-1, dtype=torch.float64), target)
    tokens = block * _WIDTH + offset
    chance = inside.gather(-1, offset).double() / total
    return tokens[:, 0], chance.log()[:, 0].float()


def _first_above(ends: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """First index whose cumulative sum exceeds the target; never one of zero weight, whatever the rounding."""
    last = (ends < ends[:, -1:]).sum(-1, keepdim=True)
    return torch.minimum((ends <= target).sum(-1, keepdim=True), last)  # (N, 1)
