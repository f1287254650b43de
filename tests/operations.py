"""Counts what PyTorch is asked to do: operations that reach a device, and reads that make the CPU wait for it."""

from __future__ import annotations

from collections import Counter

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# `item`, `tolist` and `bool` of a tensor; boolean indexing; sizes that depend on values
WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_consecutive", "unique_dim")
# views, and memory without a kernel
FREE = {
    "view", "_unsafe_view", "transpose", "permute", "t", "unbind", "split", "split_with_sizes", "slice", "select",
    "expand", "unsqueeze", "squeeze", "as_strided", "alias", "detach", "_reshape_alias", "empty", "new_empty",
    "empty_like", "lift_fresh", "empty_strided",
}  # fmt: skip


class Operations(TorchDispatchMode):
    """Inside, operations on the meta device are counted by name (`counts`), those that wait for it also in `waits`.

    Views launch nothing and are left out. Attention is one operation, and one more in the backward pass, as on a GPU:
    the meta device would take it apart (so no gradient checkpointing here, which computes it again out of sight). A
    check that reads a value passes.
    """

    def __init__(self):
        super().__init__()
        self.counts, self.waits = Counter(), Counter()

    def __enter__(self):
        self._attention = _Attention(self.counts)
        self._attention.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self._attention.__exit__(*error)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if name in WAITS and _on_meta(args, kwargs):
            self.waits[name] += 1
            if name == "_local_scalar_dense":
                return True
        found = function(*args, **(kwargs or {}))
        if name not in FREE and _on_meta(args, kwargs, found):
            self.counts[name] += 1
        return found

    @property
    def total(self) -> int:
        return self.counts.total()


def _on_meta(*values: object) -> bool:
    return any(isinstance(one, torch.Tensor) and one.device.type == "meta" for one in tree_leaves(values))


class _Attention(TorchFunctionMode):
    def __init__(self, counts: Counter):
        super().__init__()
        self.counts = counts

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.nn.functional.scaled_dot_product_attention and args[0].device.type == "meta":
            return _OneKernel.apply(self.counts, *args[:3])
        return function(*args, **(kwargs or {}))


def packed_attention(operations: Operations):
    """A stand-in for variable-length attention: one operation, and one more in the backward pass."""

    def kernel(*args: object, **options: object) -> torch.Tensor:
        query, key, value = (part.transpose(0, 1) for part in args[:3])
        return _OneKernel.apply(operations.counts, query, key, value).transpose(0, 1)

    return kernel


class _OneKernel(torch.autograd.Function):
    @staticmethod
    def forward(ctx, counts, query, key, value):
        counts["attention"] += 1
        ctx.counts = counts
        ctx.save_for_backward(query, key, value)
        return query.new_empty(query.shape[:-1] + value.shape[-1:])

    @staticmethod
    def backward(ctx, gradient):
        ctx.counts["attention_backward"] += 1
        return None, *(part.new_empty(part.shape) for part in ctx.saved_tensors)
