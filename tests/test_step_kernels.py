"""The kernels of a decode step in Triton's interpreter, which needs no GPU, against PyTorch's operations."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sampling import step_kernels

SCRIPT = """
import sys

import torch

from sampling import decoder_layer, engine, static_step, step_kernels
from sampling.settings import SamplingSettings
from tests.families import make_family
from sampling.batch import Request
from sampling.prefill import prefill
from tests.test_sampling_engine import EOS, MARKERS, inputs_for
from tests.test_static_step import adapted, assert_same, requests_of

model, processor = make_family(sys.argv[1])
model = adapted(model)
options = dict(settings=SamplingSettings(max_new_tokens=4), eos_ids=EOS, suppress=MARKERS, entropies=True, static=True)
step_kernels._try(torch.float32, torch.device("cpu"))
long = inputs_for(processor, side=None, text="b " * 65)
assert 128 < long["input_ids"].shape[1] < 192  # of four parts of 64 places the third is half full, the last one empty
drawn = []
for small in (None, step_kernels.Kernels):
    decoder_layer.usable = lambda device, dtype: small
    static_step.forget(engine.base_model(model))
    requests = [*requests_of(model, processor, 4, 2), Request(prefill(model, long), "long", range(2))]
    drawn.append(engine.decode(model, requests, **options))
    assert static_step.decoder_of(engine.base_model(model)).layers.small is (small or decoder_layer.Plain)
assert_same(*drawn)
"""


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_the_kernels_draw_what_pytorchs_operations_draw(family):
    """Prompts of unequal length and numbers of rows, with an adapter; two of them leave most of their room empty."""
    pytest.importorskip("triton")
    root = Path(__file__).parent.parent
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", SCRIPT, family], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def test_without_a_compiler_the_operations_do_and_it_is_said(monkeypatch, caplog):
    pytest.importorskip("triton")
    step_kernels.usable.cache_clear()
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)

    def broken(*args, **options):
        raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(step_kernels, "_try", broken)
    assert step_kernels.usable(torch.device("cuda", 0), torch.bfloat16) is None
    assert "more slowly: Failed to find C compiler" in caplog.text
    assert step_kernels.usable(torch.device("cpu"), torch.float32) is None
    step_kernels.usable.cache_clear()


def test_double_precision_and_another_gpu_keep_to_the_operations(monkeypatch, caplog):
    pytest.importorskip("triton")
    step_kernels.usable.cache_clear()
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    assert step_kernels.usable(torch.device("cuda", 0), torch.float64) is None and not caplog.text
    assert step_kernels.usable(torch.device("cuda", 1), torch.float32) is None
    assert "not the process's own GPU" in caplog.text
    step_kernels.usable.cache_clear()
