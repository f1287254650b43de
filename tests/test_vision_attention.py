"""The vision tower with its windows in batches against transformers' own, window after window."""

from types import SimpleNamespace

import pytest
import torch
from torch.utils.checkpoint import checkpoint
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLMLP

from models import vision_attention
from models.families import FAMILIES as KNOWN
from models.vision_attention import windows_together
from tests import varlen
from tests.families import FAMILIES, make_family

GRIDS = [[1, 8, 12], [1, 4, 6], [1, 18, 10], [1, 8, 12], [1, 2, 2]]  # equal images, ragged windows, a single window


WITH_WINDOWS = [name for name in FAMILIES if KNOWN[name].tower_inputs]


@pytest.fixture(params=WITH_WINDOWS)
def tower(request):
    return make_family(request.param)[0]


def features(model, grids, dtype=torch.float32):
    """What the language model gets of images of these sizes, and the gradient of its sum for the patches."""
    grid, config = torch.tensor(grids), model.model.visual.config
    width = config.in_channels * config.temporal_patch_size * config.patch_size**2
    pixels = torch.randn(int(grid.prod(1).sum()), width, generator=torch.Generator().manual_seed(1)).to(dtype)
    pixels.requires_grad_()
    found = model.model.visual(pixels, grid_thw=grid)
    parts = [found.pooler_output, *(getattr(found, "deepstack_features", None) or [])]
    return [*parts, *torch.autograd.grad(sum(part.sum() for part in parts), pixels)]


def compare(model, grids, tolerance):
    before = features(model, grids)
    with windows_together(model):
        after = features(model, grids)
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(other, one, rtol=tolerance, atol=tolerance)
    return before, after


@pytest.mark.parametrize("grids", [GRIDS, GRIDS[:1], GRIDS[3:]], ids=["ragged", "one", "two"])
def test_windows_in_batches_are_windows_one_by_one(tower, grids):
    before, after = compare(tower, grids, 1e-6)
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True)), "on a CPU bit for bit"


def test_one_call_of_variable_length_attention_is_the_same(tower, monkeypatch):
    calls = []

    def kernel(*args, **options):
        calls.append(1)
        return varlen.reference(*args, **options)

    monkeypatch.setattr(vision_attention, "variable_length", lambda *kind: kernel)
    compare(tower, GRIDS, 1e-5)
    assert len(calls) == len(tower.model.visual.blocks)


def test_the_model_is_left_as_it_was_also_after_an_error(tower):
    tower.model.visual.blocks[1].register_forward_hook(lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError), windows_together(tower):
        features(tower, GRIDS[:1])
    assert tower.model.visual.config._attn_implementation == "sdpa"
    assert not tower.model.visual._forward_pre_hooks


def test_a_model_without_a_tower_or_with_another_attention_is_left_alone(tower):
    tower.model.visual.config._attn_implementation = "eager"
    before = features(tower, GRIDS[:2])
    with windows_together(tower), windows_together(torch.nn.Linear(1, 1)):
        assert all(map(torch.equal, before, features(tower, GRIDS[:2])))


def test_columns_of_zeros_change_nothing_of_an_mlp():
    mlp = Qwen2_5_VLMLP(SimpleNamespace(hidden_size=12, intermediate_size=20, hidden_act="silu"), bias=True).double()
    hidden = torch.randn(5, 12, dtype=torch.float64, requires_grad=True)
    wider = vision_attention.widened(mlp, hidden)
    torch.testing.assert_close(wider, mlp(hidden), rtol=1e-12, atol=1e-12)
    parts = [hidden, *mlp.parameters()]
    gradients = [torch.autograd.grad(out.square().sum(), parts) for out in (wider, mlp(hidden))]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_an_uneven_mlp_is_widened_on_a_gpu_alone_and_left_as_it_was():
    model = make_family("qwen2_5_vl")[0]
    block = model.model.visual.blocks[0]
    assert not vision_attention._is_uneven(block.mlp) and not vision_attention._is_uneven(block)
    block.mlp = Qwen2_5_VLMLP(SimpleNamespace(hidden_size=32, intermediate_size=20, hidden_act="silu"), bias=True)
    hidden = torch.randn(3, 32)
    expected = block.mlp(hidden)
    with windows_together(model):
        assert block.mlp.forward.func is vision_attention._widened
        assert torch.equal(block.mlp(hidden), expected)
    assert "forward" not in vars(block.mlp)
    assert vision_attention._is_whole(block.mlp)
    block.mlp.up_proj.weight.ds_id = 7  # of ZeRO-3
    assert not vision_attention._is_whole(block.mlp)


def test_the_kernels_trial_is_not_counted_among_a_checkpointed_layers_tensors():
    tried = []

    def layer(part):
        if not tried:  # known when the layer is computed again
            tried.append(vision_attention._agrees(varlen.reference, torch.device("cpu"), torch.bfloat16, 64))
        return (part * part.sin()).cos()

    part = torch.ones(3, requires_grad=True)
    checkpoint(layer, part, use_reentrant=False).sum().backward()
    assert tried == [True] and part.grad is not None


def test_a_cpu_has_no_variable_length_attention():
    assert vision_attention.variable_length(torch.device("cpu"), torch.bfloat16, 64) is None
    assert vision_attention._agrees(varlen.reference, torch.device("cpu"), torch.bfloat16, 64)
    wrong = lambda *args, **options: varlen.reference(*args, **(options | {"window_size": (-1, -1)}))  # noqa: E731
    assert not vision_attention._agrees(wrong, torch.device("cpu"), torch.bfloat16, 64)
