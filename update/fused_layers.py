"""The text layers of an update in fewer operations, on a GPU: the same numbers as transformers' and PEFT's, but for
rounding.

* A projection with its adapter is one autograd function: what the adapter adds, forward and backward, is added by the
  matrix product that computes it, where PEFT scales and adds full-sized tensors.
* RMSNorm is PyTorch's own kernel, which rounds once and keeps its input as it is, not in float32.
* Rotary positions and gated activations are a kernel each way (`update.layer_kernels`).

Forwards are put on the modules for the length of a pass and taken off after it: decoding and saving see plain modules.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from types import ModuleType

import torch
from peft.tuners import lora
from peft.tuners.tuners_utils import BaseTunerLayer
from torch.nn.functional import linear, rms_norm

from models.vision_attention import in_autocast
from sampling.known_layers import base_layer, is_plain, knows, projections, text_of
from update import layer_kernels

ROTARY = "apply_rotary_pos_emb"  # transformers' function, in the module of every known attention


class FusedLayers:
    """Which modules of models compute in fewer operations: of those on a GPU whose families are known."""

    def __init__(self, *models: torch.nn.Module, kernels: bool | None = None):
        """`kernels`: whether Triton's are used, and then on a CPU too; by default where they run."""
        self.forwards: list[tuple[torch.nn.Module, Callable]] = []
        self.rotary: set[ModuleType] = set()  # their function is exchanged
        self.adapted: list[_Adapted] = []
        self.active = False
        for model in models:
            if knows(model) and model.config.get_text_config().hidden_act == "silu":
                self._add(text_of(model), kernels)

    def _add(self, text: torch.nn.Module, kernels: bool | None) -> None:
        weight = text.norm.weight
        if kernels is None and weight.device.type != "cuda":
            return
        kernels = layer_kernels.usable(weight.device, weight.dtype) if kernels is None else kernels
        norms = [module for name, module in text.named_modules() if name.rpartition(".")[2].endswith("norm")]
        found: list[tuple[torch.nn.Module, Callable]] = [(one, partial(_norm, one)) for one in norms if _is_norm(one)]
        for layer in text.layers:
            adapted = [_Adapted(module) for _, module in projections(layer) if _is_adapted(module)]
            self.adapted += adapted
            found += [(one.module, one.forward) for one in adapted]
            if kernels:
                found.append((layer.mlp, partial(_gated, layer.mlp)))
        self.forwards += [pair for pair in found if "forward" not in vars(pair[0])]
        if kernels:
            self.rotary |= {sys.modules[type(layer.self_attn).__module__] for layer in text.layers}

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Inside, the layers compute so; within itself it changes nothing."""
        if self.active:
            yield
            return
        plain = [getattr(module, ROTARY) for module in self.rotary]
        try:
            self.active = True
            self._copy_adapters()
            for module, forward in self.forwards:
                module.__dict__["forward"] = forward
            for module in self.rotary:
                setattr(module, ROTARY, layer_kernels.rotary)
            yield
        finally:
            self.active = False
            for module, _ in self.forwards:
                module.__dict__.pop("forward", None)
            for module, function in zip(self.rotary, plain, strict=True):
                setattr(module, ROTARY, function)

    @torch.no_grad()
    def _copy_adapters(self) -> None:
        """All of them in a few kernels, once a pass."""
        if not self.adapted:
            return
        weights = [weight for one in self.adapted for weight in one.weights]
        scaled = [copy for one in self.adapted for copy in one.scaled]
        for copies in ([copy for one in self.adapted for copy in one.copies], scaled):
            torch._foreach_copy_(copies, weights)
        torch._foreach_mul_(scaled, [scaling for one in self.adapted for scaling in (one.scaling, one.scaling)])


class _Adapted:
    """A projection with its adapter's A (r, in) and B (out, r), as they are and scaled, in the type of its weight.

    The adapter is the one that acts when this is made, the trained one. Where another one acts, or none, as for the
    reference of a KL term, PEFT computes.
    """

    def __init__(self, module: lora.Linear):
        self.module = module
        (name,) = self.acting = list(module.active_adapters)
        self.weights = module.lora_A[name].weight, module.lora_B[name].weight
        self.scaling = module.scaling[name]
        like = module.get_base_layer().weight
        self.copies, self.scaled = ([torch.empty_like(w, dtype=like.dtype) for w in self.weights] for _ in range(2))

    def forward(self, inputs: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        module, base = self.module, self.module.get_base_layer()
        (low,) = in_autocast(inputs)
        ours = list(module.active_adapters) == self.acting and not (module.disable_adapters or module.merged)
        if not ours or args or kwargs or low.dtype != base.weight.dtype:
            return type(module).forward(module, inputs, *args, **kwargs)
        return _Projection.apply(low, base.weight, base.bias, *self.weights, *self.copies, *self.scaled)


@contextmanager
def inputs_as_they_are(adapters: Iterable[BaseTunerLayer]) -> Iterator[None]:
    """Adapters do not widen their inputs to their own float32, which autocast would undo at once.

    What `peft.helpers.disable_input_dtype_casting` does, without a walk through all modules at every pass.
    """
    widening = [one for one in adapters if one.cast_input_dtype_enabled]
    try:
        for adapter in widening:
            adapter.cast_input_dtype_enabled = False
        yield
    finally:
        for adapter in widening:
            adapter.cast_input_dtype_enabled = True


def _is_norm(module: torch.nn.Module) -> bool:
    return type(module).__name__.endswith("RMSNorm")


def _norm(module: torch.nn.Module, hidden: torch.Tensor) -> torch.Tensor:
    if module.weight.dtype != hidden.dtype:  # the result has the wider type
        return type(module).forward(module, hidden)
    kind = hidden.device.type
    widens = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)  # of the newer releases
    with torch.autocast(kind, enabled=False) if widens else nullcontext():
        return rms_norm(hidden, hidden.shape[-1:], module.weight, module.variance_epsilon)


def _gated(mlp: torch.nn.Module, hidden: torch.Tensor) -> torch.Tensor:
    return mlp.down_proj(layer_kernels.Gated.apply(mlp.gate_proj(hidden), mlp.up_proj(hidden)))


def _is_adapted(module: torch.nn.Module) -> bool:
    """A frozen plain layer with one trained LoRA adapter without dropout."""
    base = base_layer(module)
    if type(module) is not lora.Linear or type(base) is not torch.nn.Linear or not is_plain(module):
        return False
    if len(module.active_adapters) != 1 or any(weight.requires_grad for weight in base.parameters()):
        return False
    name = module.active_adapters[0]
    return name in module.lora_A and not getattr(module.lora_dropout[name], "p", 0)


class _Projection(torch.autograd.Function):
    """inputs (..., in) -> inputs W^T + bias + inputs (s A)^T B^T (..., out), in the type of W; s is the scaling.

    Gradients of the inputs, of A and of B; W and its bias are frozen. A, B, s A and s B come in the type of W as well.
    """

    @staticmethod
    def forward(ctx, inputs, weight, bias, wide_a, wide_b, a, b, scaled_a, scaled_b):
        rows = inputs.flatten(0, -2)
        middle = rows.mm(scaled_a.t())
        out = linear(rows, weight, bias).addmm_(middle, b.t())
        ctx.save_for_backward(inputs, weight, middle, a, scaled_b)
        ctx.kinds = wide_a.dtype, wide_b.dtype
        return out.view(*inputs.shape[:-1], -1)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        inputs, weight, middle, a, scaled_b = ctx.saved_tensors
        of_rows, rows = gradient.flatten(0, -2), inputs.flatten(0, -2)
        of_middle = of_rows.mm(scaled_b)
        of_a, of_b = of_middle.t().mm(rows).to(ctx.kinds[0]), of_rows.t().mm(middle).to(ctx.kinds[1])
        of_inputs = of_rows.mm(weight).addmm_(of_middle, a).view_as(inputs) if ctx.needs_input_grad[0] else None
        return of_inputs, None, None, of_a, of_b, *[None] * 4
