"""An update's layers in fewer operations: against transformers' and PEFT's, on a CPU; the kernels in an interpreter."""

import copy
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from peft import get_peft_model
from peft.tuners import lora
from torch.utils._python_dispatch import TorchDispatchMode

from models.registry import lora_config
from sampling.engine import base_model
from sampling.known_layers import refusal
from tests.after_run import train
from tests.families import FAMILIES, TEXT_FAMILIES, make_family, make_text_family
from update import fused_layers, layer_kernels, packed_update
from update.fused_layers import FusedLayers

SCRIPT = """
import sys
import torch
from update import layer_kernels
from tests.test_fused_layers import adapted, gradients, make_family, FusedLayers, base_model
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as qwen

double = {"dtype": torch.float64}
torch.manual_seed(0)
gate, up, slope = (torch.randn(3, 700, **double) for _ in range(3))
pair = [part.clone().requires_grad_() for part in (gate, up)]
plain = [part.clone().requires_grad_() for part in (gate, up)]
(layer_kernels.Gated.apply(*pair) * slope).sum().backward()
(torch.nn.functional.silu(plain[0]) * plain[1] * slope).sum().backward()
for one, other in zip(pair, plain):
    torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=1e-6)

angles = torch.rand(1, 5, 12, **double)
cosine, sine = angles.cos(), angles.sin()  # of both halves, and not alike: the transposed rotation is exact for any
parts = [torch.randn(1, 5, heads, 12, **double).transpose(1, 2) for heads in (3, 1)]
for way in (layer_kernels.rotary, qwen.apply_rotary_pos_emb):
    leaves = [part.clone().requires_grad_() for part in parts]
    turned = way(*leaves, cosine, sine)
    sum(((part * part).sum() for part in turned), torch.zeros(())).backward()
    found = [*turned, *(leaf.grad for leaf in leaves)]
    if way is layer_kernels.rotary:
        expected = found
for one, other in zip(expected, found):
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)

for family in sys.argv[1:]:
    model, _ = make_family(family)
    model = adapted(model)
    plain, fused = (gradients(model, FusedLayers(base_model(model), kernels=True) if light else None)
                    for light in (False, True))
    assert (plain - fused).norm() < 1e-5 * plain.norm(), family
"""


def adapted(model, targets: list[str] | None = None):
    torch.manual_seed(3)
    adapter = lora_config(model.config, targets=targets)
    adapter.init_lora_weights = False
    return get_peft_model(model, adapter)


def gradients(model, fused: FusedLayers | None, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Of a mean of squared logits over random tokens, through checkpointed layers as in training."""
    model.train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    ids = torch.randint(5, 300, (2, 17), generator=torch.Generator().manual_seed(1)).to(model.device)
    for _ in range(2 if fused else 1):  # modules are left as they were: the second pass is like the first
        model.zero_grad()
        with fused() if fused else torch.enable_grad():
            with torch.autocast(model.device.type, dtype=dtype, enabled=dtype is not None):
                logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
            logits.double().square().mean().backward()
    return torch.cat([p.grad.double().flatten().cpu() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("family", [*FAMILIES, *TEXT_FAMILIES])
@pytest.mark.parametrize("trained", ["all seven", "q_proj down_proj", "all weights"])
def test_gradients_are_those_of_the_plain_layers(family, trained):
    """Norms and projections, which need no GPU, in float64; transformers' norms compute in float32 even then."""
    model = (make_text_family if family in TEXT_FAMILIES else make_family)(family)[0]
    targets = None if trained == "all seven" else trained.split()
    model = (model if trained == "all weights" else adapted(model, targets)).double()
    fused = FusedLayers(base_model(model), kernels=False)
    adapters = 2 * {"all seven": 7, "q_proj down_proj": 2, "all weights": 0}[trained]
    assert len(fused.adapted) == adapters and len(fused.forwards) >= adapters + 5 and not fused.rotary
    plain, found = gradients(model, None), gradients(model, fused)
    assert plain.norm() > 0 and 0 < (plain - found).norm() < 2e-6 * plain.norm()
    fused.forwards = [pair for pair in fused.forwards if isinstance(pair[0], lora.Linear)]
    assert (plain - gradients(model, fused)).norm() < 1e-12 * plain.norm()
    assert not any("forward" in vars(module) for module in base_model(model).model.modules())
    assert refusal(base_model(model.eval())) is None


def test_gradients_in_bfloat16_are_about_as_far_from_float32_as_those_of_the_plain_layers():
    model = adapted(make_family("qwen2_5_vl", layers=12, hidden=64, dtype=torch.bfloat16)[0])
    exact = gradients(copy.deepcopy(model).float(), None)
    both = (None, FusedLayers(base_model(model), kernels=False))
    plain, fused = ((gradients(model, one, torch.bfloat16) - exact).norm() / exact.norm() for one in both)
    assert 0 < fused < 1.05 * plain < 0.1


@pytest.mark.parametrize("change", ["dropout", "disabled", "merged", "trained weights", "two adapters", "another one"])
def test_adapters_of_other_kinds_are_left_to_peft(change):
    model = make_family("qwen2_5_vl")[0].double()
    config = lora_config(model.config)
    config.init_lora_weights, config.lora_dropout = False, 0.5 if change == "dropout" else 0.0
    model = get_peft_model(model, config)
    if change == "two adapters":
        model.add_adapter("other", config)
        model.base_model.set_adapter(["default", "other"])
    elif change == "trained weights":
        for parameter in model.parameters():
            parameter.requires_grad_(True)
    fused = FusedLayers(base_model(model), kernels=False)
    fused.forwards = [pair for pair in fused.forwards if isinstance(pair[0], lora.Linear)]
    assert bool(fused.adapted) == (change in ("disabled", "merged", "another one"))
    if change == "disabled":
        model.base_model.disable_adapter_layers()
    elif change == "merged":
        model.merge_adapter()
    elif change == "another one":
        model.add_adapter("other", config)
        model.set_adapter("other")
    ids = torch.arange(5, 20)[None]
    found = []
    for context in (torch.no_grad, fused):
        torch.manual_seed(0)  # of the dropout
        with torch.no_grad(), context():
            found.append(model(input_ids=ids).logits)
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("line", ["second stage", "--no-lora"])
def test_what_a_kl_term_compares_with_has_its_own_weights(line, runs, tmp_path, monkeypatch):
    """A second stage's reference is another adapter of the same model, full fine-tuning's another model.

    A learning rate so high that the two differ at once.
    """
    logs = []
    for fused in (False, True):
        if fused:
            monkeypatch.setattr(packed_update, "FusedLayers", partial(FusedLayers, kernels=False))
        start = (
            f"--vlm-name {runs['lora']} --learning-rate 0.1" if line == "second stage" else "--vlm-name tiny --no-lora"
        )
        flags = f"--mode nsr {start} --kl-beta 0.1 --updates-per-rollout 1"
        assert train(tmp_path / str(fused), flags) == 0
        (state,) = tmp_path.glob(f"{fused}/*/trainer_state.json")
        logs.append(
            [(one["kl"], one["grad_norm"]) for one in json.loads(state.read_text())["log_history"] if "kl" in one]
        )
    plain, found = logs
    assert abs(found[0][0]) < 1e-6 and found[1][0] > 1e-3 and found[1][1] > 0
    for one, other in zip(plain, found, strict=True):
        assert other == pytest.approx(one, rel=1e-2, abs=1e-7)


class Count(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.operations += 1
        return function(*args, **(kwargs or {}))


def test_a_pass_takes_fewer_operations():
    model = adapted(make_family("qwen2_5_vl", dtype=torch.bfloat16)[0])
    counts = []
    for fused in (None, FusedLayers(base_model(model), kernels=False)):
        with Count() as count:
            gradients(model, fused, torch.bfloat16)
        counts.append(count.operations / (2 if fused else 1))
    print("operations of a pass: plain, fused", counts)
    assert counts[1] < 0.75 * counts[0]


def test_unknown_models_are_left_alone(monkeypatch):
    monkeypatch.setattr(fused_layers, "knows", lambda model: False)
    assert FusedLayers(make_family("qwen2_5_vl")[0]).forwards == []


@pytest.mark.slow
def test_the_kernels_in_the_interpreter():
    """No GPU is needed for it: gates, rotary positions, and a model with both."""
    pytest.importorskip("triton")
    root = Path(__file__).parent.parent
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", SCRIPT, "qwen2_5_vl"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def test_without_a_compiler_the_operations_do_and_it_is_said(monkeypatch, caplog):
    pytest.importorskip("triton")
    layer_kernels.usable.cache_clear()
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert not layer_kernels.usable(torch.device("cuda", 0), torch.bfloat16)
    assert "more slowly" in caplog.text and "not the process's own GPU" in caplog.text
    assert not layer_kernels.usable(torch.device("cpu"), torch.float32)
    layer_kernels.usable.cache_clear()
