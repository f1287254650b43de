"""One token through the text layers of a known family, in as few operations as plain PyTorch allows.

The same numbers as transformers' layers, but for rounding: q, k, v and the adapters' first matrices are one product;
attention is two kernels that return their log-sum-exp, one over the prompt and one over the completion; residuals are
added by the products themselves. What lies between these is `Plain`, or on a GPU `step_kernels.Kernels`. Every tensor
has a fixed place, so that a CUDA graph can be captured.

Weights are read where they are, but for those of q, k and v, which are copied side by side, in full even where they are
in 4 bits; adapters are copied in the model's own precision, scaled. `TextLayers.refresh` copies anew, in place: once a
rollout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from models.four_bit import factor, full_weight
from sampling.known_layers import acting_adapters, base_layer, projections, text_of
from sampling.step_kernels import usable

if TYPE_CHECKING:
    from models.four_bit import Factor

BEHIND = -30000.0  # added to scores of keys that are not there: no chance in any precision, and no NaN if all are such
_ALIGNED = 8  # columns; half-precision products are fast on multiples of 16 bytes


class _Low:
    """The adapters of modules that share their input, as two matrices: (in, R) and, block by block, (R, all outputs).

    `rank` R is a multiple of 8, the rest zeros.
    """

    def __init__(self, modules: list[nn.Module], like: torch.Tensor, rank: int):
        self.modules = modules
        self.rank = rank
        outputs = sum(base_layer(module).out_features for module in modules)
        self.first = like.new_zeros(rank, base_layer(modules[0]).in_features)
        self.second = like.new_zeros(rank, outputs)
        self.first_t = self.first.t()

    def refresh(self) -> None:
        rank, start = 0, 0
        for module in self.modules:
            stop = start + base_layer(module).out_features
            for a, b, scaling in acting_adapters(module):
                self.first[rank : rank + len(a)].copy_(a)
                self.second[rank : rank + len(a), start:stop].copy_(b.t() * scaling)
                rank += len(a)
            start = stop


def _rank(modules: list[nn.Module]) -> int:
    rank = sum(len(a) for module in modules for a, _, _ in acting_adapters(module))
    return -(-rank // _ALIGNED) * _ALIGNED


def _low(modules: list[nn.Module], like: torch.Tensor) -> _Low | None:
    rank = _rank(modules)
    return _Low(modules, like, rank) if rank else None


class _Layer:
    """The weights of one layer, ready for `TextLayers.forward`."""

    def __init__(self, layer: nn.Module, rank: int):
        attention, mlp = layer.self_attn, layer.mlp
        self.norms = [(n.weight, n.variance_epsilon) for n in (layer.input_layernorm, layer.post_attention_layernorm)]
        like = self.norms[0][0]
        self.inputs = [attention.q_proj, attention.k_proj, attention.v_proj]
        outputs = sum(base_layer(module).out_features for module in self.inputs)
        width = base_layer(self.inputs[0]).in_features
        self.fused = like.new_zeros(outputs + rank, width)  # q, k, v, then the adapters' A
        self.fused_t = self.fused.t()
        self.bias = like.new_zeros(outputs + rank) if any(base_layer(m).bias is not None for m in self.inputs) else None
        self.low = _Low(self.inputs, like, rank) if rank else None
        self.head_norms = None
        if hasattr(attention, "q_norm"):
            norms = (attention.q_norm, attention.k_norm)
            heads = [base_layer(module).out_features // attention.head_dim for module in self.inputs[:2]]
            self.head_norms, self.head_sources = like.new_zeros(sum(heads), attention.head_dim), (norms, heads)
            self.head_epsilon = norms[0].variance_epsilon
        self.weights = {n: factor(base_layer(m)) for n, m in projections(layer) if n[0] not in "qkv"}
        self.out_bias = base_layer(attention.o_proj).bias
        self.out_low = _low([attention.o_proj], like)
        self.gate_up_low = _low([mlp.gate_proj, mlp.up_proj], like)
        self.down_low = _low([mlp.down_proj], like)

    def refresh(self) -> None:
        for low in (self.low, self.out_low, self.gate_up_low, self.down_low):
            if low is not None:
                low.refresh()
        start = 0
        for module in self.inputs:
            base = base_layer(module)
            stop = start + base.out_features
            self.fused[start:stop].copy_(full_weight(base))
            if self.bias is not None and base.bias is not None:
                self.bias[start:stop].copy_(base.bias)
            start = stop
        if self.low is not None:
            self.fused[start:].copy_(self.low.first)
        if self.head_norms is not None:
            norms, (queries, _) = self.head_sources
            self.head_norms[:queries], self.head_norms[queries:] = norms[0].weight, norms[1].weight


@dataclass
class Places:
    """Where a step of so many rows (N), of B prompts with at most M / g rows each, reads and writes. g = H / K."""

    fused: torch.Tensor  # (N, (H + 2K) D + R) q, k, v and the adapters' middle
    turned: torch.Tensor  # (N, H + 2K, D) q with its positions; of `Plain` also k, and v as it is
    mixed: torch.Tensor  # (N, K, g, D) what attention found
    share: torch.Tensor  # (N, K, g, 1) how much of it lay in the completion; of `Plain`
    wide: torch.Tensor  # (N, 2I) gate and up
    cosine: torch.Tensor  # (N, H + 2K, D); 1 for the values
    sine: torch.Tensor  # (N, 1, D / 2)
    own: torch.Tensor  # (N, layers, 2K, S, D) keys, then values, of the rows' completions
    own_bias: torch.Tensor  # (N, K, g, S) -inf for steps to come
    prompt: torch.Tensor  # (B, layers, 2, K, P, D)
    prompt_bias: torch.Tensor  # (B, K * splits, M, P / splits) BEHIND a prompt's end
    by_prompt: torch.Tensor | None  # (B, K * splits, M, D) the queries once more, where `step_kernels` are used
    of_row: tuple[torch.Tensor, ...]  # which (prompt, head, query) belongs to each row: indices into (B, K, M)
    of_slot: tuple[torch.Tensor, ...]  # which (row, head, query) stands at each (B, K, M)

    def __post_init__(self) -> None:
        """Views are made once: each of them is an operation like any other to Python."""
        heads, width = self.turned.shape[1:]
        kv, share = self.mixed.shape[1:3]
        columns, turned, half = heads * width, heads - kv, width // 2
        self.qkv, self.middle = self.fused[:, :columns], self.fused[:, columns:]
        self.heads = self.qkv.unflatten(1, (heads, width))
        self.to_turn = self.heads[:, :turned]
        self.lower, self.upper = self.to_turn[..., :half], self.to_turn[..., half:]
        self.turned_lower, self.turned_upper = self.turned[:, :turned, :half], self.turned[:, :turned, half:]
        self.query = self.turned[:, : kv * share].unflatten(1, (kv, share))
        self.key_value = self.turned[:, kv * share :, None]
        self.mixed_flat = self.mixed.flatten(1)
        self.mass_of_row = tuple(index[..., None] for index in self.of_row)
        self.gate, self.up = self.wide.chunk(2, -1)
        self.own_layers = [
            (both, both[:, :kv], both[:, kv:]) for both in (self.own[:, at] for at in range(self.own.shape[1]))
        ]
        parts = (self.prompt_bias.shape[1] // kv, self.prompt_bias.shape[-1])
        self.prompt_layers = [
            [each.unflatten(2, parts).flatten(1, 2) for each in self.prompt[:, at].unbind(1)]
            for at in range(self.prompt.shape[1])
        ]


class Plain:
    """What lies between a layer's products and its attention; `step_kernels.Kernels` does the same."""

    splits = 1  # parts of a prompt's room that attention takes apart

    @staticmethod
    def turn(at: Places, own: torch.Tensor, slot: torch.Tensor) -> torch.Tensor:
        """Rotary positions; keys and values to step `slot` (1,) of `own` (N, 2K, S, D). -> Queries (B, K, M, D)."""
        torch.mul(at.heads, at.cosine, out=at.turned)
        at.turned_lower.addcmul_(at.upper, at.sine, value=-1)
        at.turned_upper.addcmul_(at.lower, at.sine)
        own.index_copy_(2, slot, at.key_value)
        return at.query[at.of_slot]

    @staticmethod
    def join(
        at: Places, prompt: tuple[torch.Tensor, torch.Tensor], completion: tuple[torch.Tensor, torch.Tensor]
    ) -> None:
        """What attention found in prompts and in completions, each with its log-sum-exp, joined in `mixed`."""
        mass = completion[1]
        mass = mass.as_strided((*at.query.shape[:3], 1), (*mass.stride(), 1))  # a kernel may pad the queries
        torch.sigmoid(mass - prompt[1][at.mass_of_row], out=at.share)
        torch.lerp(prompt[0][at.of_row], completion[0], at.share, out=at.mixed)

    @staticmethod
    def gate(at: Places) -> None:
        """silu(gate) * up, where the gate stood."""
        nn.functional.silu(at.gate, inplace=True).mul_(at.up)


class TextLayers:
    """The decoder layers and the last norm of a model that `refusal` has nothing against."""

    def __init__(self, model: nn.Module):
        text = text_of(model)
        first = text.layers[0]
        inputs = [[getattr(layer.self_attn, f"{name}_proj") for name in "qkv"] for layer in text.layers]
        self.rank = max(_rank(modules) for modules in inputs)
        self.layers = [_Layer(layer, self.rank) for layer in text.layers]
        self.norm = (text.norm.weight, text.norm.variance_epsilon)
        self.dtype, self.device = text.norm.weight.dtype, text.norm.weight.device
        self.width, self.scale = first.self_attn.head_dim, first.self_attn.scaling
        self.queries, self.kv, _ = (base_layer(module).out_features // self.width for module in inputs[0])
        self.inner = base_layer(first.mlp.gate_proj).out_features
        self.frequencies, self.rope_scale = text.rotary_emb.inv_freq, text.rotary_emb.attention_scaling
        self.small = usable(self.device, self.dtype) or Plain

    def refresh(self) -> None:
        """Copy what is kept as a copy: q, k, v and the adapters, whose values may have changed."""
        for layer in self.layers:
            layer.refresh()

    @property
    def copied_bytes(self) -> int:
        return sum(layer.fused.nbytes for layer in self.layers)

    def turn(self, positions: torch.Tensor, places: Places) -> None:
        """The cosines and sines of this step's positions (N,), which are equal on all axes for tokens of text."""
        angles = positions[:, None] * self.frequencies.float()
        turned, half = self.queries + self.kv, self.width // 2
        cosine = (angles.cos() * self.rope_scale)[:, None]
        places.cosine[:, :turned, :half], places.cosine[:, :turned, half:] = cosine, cosine
        places.sine.copy_((angles.sin() * self.rope_scale)[:, None])

    def forward(self, hidden: torch.Tensor, slot: torch.Tensor, at: Places) -> torch.Tensor:
        """(N, C) embeddings, which are overwritten -> (N, C) normed outputs; keys and values go to step `slot` (1,)."""
        for number, layer in enumerate(self.layers):
            self._attention(layer, number, hidden, slot, at)
            self._feed_forward(layer, hidden, at)
        return _norm(hidden, *self.norm)

    def _attention(self, layer: _Layer, number: int, hidden: torch.Tensor, slot: torch.Tensor, at: Places) -> None:
        normed = _norm(hidden, *layer.norms[0])
        if layer.bias is None:
            torch.mm(normed, layer.fused_t, out=at.fused)
        else:
            torch.addmm(layer.bias, normed, layer.fused_t, out=at.fused)
        if layer.low is not None:
            at.qkv.addmm_(at.middle, layer.low.second)
        if layer.head_norms is not None:
            torch.mul(_norm(at.to_turn, None, layer.head_epsilon), layer.head_norms, out=at.to_turn)
        own, own_keys, own_values = at.own_layers[number]
        by_prompt = self.small.turn(at, own, slot)
        keys, values = at.prompt_layers[number]
        prompt = attend(by_prompt, keys, values, at.prompt_bias, self.scale)
        completion = attend(at.query, own_keys, own_values, at.own_bias, self.scale)
        self.small.join(at, prompt, completion)

        _add_product(hidden, at.mixed_flat, layer.weights["o_proj"])
        if layer.out_bias is not None:
            hidden.add_(layer.out_bias)
        if layer.out_low is not None:
            hidden.addmm_(torch.mm(at.mixed_flat, layer.out_low.first_t), layer.out_low.second)

    def _feed_forward(self, layer: _Layer, hidden: torch.Tensor, at: Places) -> None:
        normed = _norm(hidden, *layer.norms[1])
        _product(normed, layer.weights["gate_proj"], at.gate)
        _product(normed, layer.weights["up_proj"], at.up)
        if layer.gate_up_low is not None:
            at.wide.addmm_(torch.mm(normed, layer.gate_up_low.first_t), layer.gate_up_low.second)
        self.small.gate(at)
        _add_product(hidden, at.gate, layer.weights["down_proj"])
        if layer.down_low is not None:
            hidden.addmm_(torch.mm(at.gate, layer.down_low.first_t), layer.down_low.second)


def _product(inputs: torch.Tensor, weight: Factor, out: torch.Tensor) -> None:
    if isinstance(weight, torch.Tensor):
        torch.mm(inputs, weight, out=out)
    else:
        out.copy_(weight(inputs))


def _add_product(hidden: torch.Tensor, inputs: torch.Tensor, weight: Factor) -> None:
    if isinstance(weight, torch.Tensor):
        hidden.addmm_(inputs, weight)
    else:
        hidden.add_(weight(inputs))


def _norm(hidden: torch.Tensor, weight: torch.Tensor | None, epsilon: float) -> torch.Tensor:
    return nn.functional.rms_norm(hidden, hidden.shape[-1:], weight, epsilon)


def attend(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, bias: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, K, M, D) of softmax(query keys^T scale + bias) values, and the log-sum-exp (B, K, >= M) in float32."""
    if query.is_cuda:  # a kernel for every precision and card, which takes a bias: keys may end anywhere
        kernel = torch.ops.aten._scaled_dot_product_efficient_attention
        return kernel(query, keys, values, bias, True, scale=scale)[:2]
    wide = (lambda part: part.float()) if query.dtype in (torch.float16, torch.bfloat16) else (lambda part: part)
    scores = (wide(query) @ wide(keys).transpose(-1, -2)).mul_(scale).add_(bias)
    mass = scores.logsumexp(-1)
    return scores.sub_(mass[..., None]).exp_().to(values.dtype) @ values, mass
