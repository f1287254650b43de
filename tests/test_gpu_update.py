"""Prefill, vision and update on a GPU: pytest -m gpu, on a machine that has one. No other test sees a GPU."""

import gc
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from tests.families import FAMILIES, make_family

ROOT = Path(__file__).parent.parent
TINY = ["--mode", "nsr", "--vlm-name", "tiny", "--dataset-name", "synthetic", "--subset-size", "8", "--max-steps", "3",
        "--max-completion-length", "24", "--report-to", "none"]  # fmt: skip

pytestmark = pytest.mark.gpu


def test_the_other_tests_see_no_gpu():
    code = "import torch; assert not torch.cuda.is_available()"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}, check=True)


# The update


@pytest.mark.parametrize("kept", [1.0, 0.25])
def test_packed_rows_have_the_gradient_of_stock_trls_separate_rows(kept, monkeypatch):
    """In float32; in bfloat16 both round, each about as far from float32 with the same weights as the other."""
    from trl import GRPOTrainer

    from benchmarks import updates

    args = SimpleNamespace(random_weights=False, model="tiny", image_tokens=64, longest=64, mean_length=24)
    work, make_model = updates.Work(8, kept, 4, 64), updates.make_model
    monkeypatch.setattr(updates, "make_model", lambda args, dtype: make_model(args, torch.bfloat16).to(dtype))

    def gradient(base, dtype):
        trainer, flat, *_ = updates.run(base, args, work, steps=1, dtype=dtype)
        assert base is GRPOTrainer or trainer.fused.rotary, "its layers are fused"
        return flat

    stock, ours = (gradient(base, torch.float32) for base in (GRPOTrainer, updates.Packed))
    assert stock.norm() > 0 and (stock - ours).norm() < 1e-5 * stock.norm()
    rounded = [gradient(base, torch.bfloat16) for base in (GRPOTrainer, updates.Packed)]
    of_stock, of_ours = ((flat - stock).norm() / stock.norm() for flat in rounded)
    print(f"gradients in bfloat16 from those in float32: stock {of_stock:.4f}, ours {of_ours:.4f}")
    assert of_ours < 1.1 * of_stock < 0.1
    assert (rounded[0] - rounded[1]).norm() < 0.03 * stock.norm()  # 1.6 and 1.9 % on an H200


@pytest.mark.parametrize("family", FAMILIES)
def test_fused_layers_have_the_gradients_of_plain_ones(family):
    """The kernels themselves; tests/test_fused_layers.py has them in an interpreter."""
    from sampling.engine import base_model
    from tests.test_fused_layers import adapted, gradients
    from update.fused_layers import FusedLayers

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        for dtype, limit in ((torch.float32, 1e-5), (torch.bfloat16, 0.03)):
            model = adapted(make_family(family, dtype=dtype)[0]).to("cuda")
            fused = FusedLayers(base_model(model))
            assert fused.rotary and fused.adapted, "Triton works here"
            low = None if dtype == torch.float32 else dtype
            plain, found = gradients(model, None, low), gradients(model, fused, low)
            assert plain.norm() > 0 and (plain - found).norm() < limit * plain.norm()
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("older", [False, True], ids=["as it is", "without flash kernels"])
def test_fp16_trains_also_as_on_a_t4(older, tmp_path, monkeypatch):
    """A T4 has compute capability 7.5: neither bf16 nor flash or variable-length attention."""
    import main
    from models import vision_attention

    if older:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (7, 5))
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: False)
        vision_attention.variable_length.cache_clear()
        torch.backends.cuda.enable_flash_sdp(False)
    monkeypatch.chdir(tmp_path)
    try:
        assert main.main([*TINY, "--precision", "auto" if older else "fp16"]) == 0
    finally:
        torch.backends.cuda.enable_flash_sdp(True)
        vision_attention.variable_length.cache_clear()
    weights = [load_file(path) for path in tmp_path.rglob("adapter_model.safetensors")]
    assert weights and all(bool(part.isfinite().all()) for found in weights for part in found.values())


@pytest.mark.parametrize(("precision", "most"), [("fp32", 1e-4), ("bf16", 0.05), ("fp16", 0.01)])
def test_a_rollouts_log_probabilities_are_those_of_the_update(precision, most, tmp_path, monkeypatch, caplog):
    """Captured steps and their kernels against the packed pass and its own, at the same weights."""
    import main

    if precision == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        pytest.skip("this GPU has no bfloat16")
    monkeypatch.chdir(tmp_path)
    assert main.main([*TINY, "--max-completion-length", "96", "--precision", precision]) == 0
    (state,) = tmp_path.glob("grpo-start-ckpts/*/trainer_state.json")
    gaps = [entry.get("rollout/logp_gap", 0.0) for entry in json.loads(state.read_text())["log_history"]]
    assert 0 < max(gaps) < most and "more slowly" not in caplog.text


def test_zero_3_on_one_gpu_trains_and_saves(tmp_path):
    if find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed")
    command = [sys.executable, "-m", "accelerate.commands.launch", f"--config_file={ROOT / 'deepspeed_zero3.yaml'}",
               "--num_processes=1", str(ROOT / "main.py"), *TINY]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert list(tmp_path.rglob("adapter_model.safetensors"))


# Prompts and images


def test_the_variable_length_kernel_is_used_where_the_card_has_one():
    from models.vision_attention import variable_length

    varlen = pytest.importorskip("torch.nn.attention.varlen")
    if "window_size" not in signature(varlen.varlen_attn).parameters:
        pytest.skip("this release's variable-length attention has no window")
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("the card is older than Ampere")
    assert variable_length(torch.device("cuda", 0), torch.bfloat16, 80) is not None


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_prompts_together_on_the_gpu_are_what_each_is_on_the_cpu(family):
    from sampling.prefill import prefill, prefill_all
    from tests.test_sampling_engine import inputs_for

    model, processor = make_family(family)
    sizes = ((112, "a"), (56, "bb b"), (None, "c c"), (112, "a"), (168, "rather a long question here"))
    prompts = [inputs_for(processor, side=side, text=text) for side, text in sizes]
    expected = [prefill(model, inputs) for inputs in prompts]
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.bfloat16, 0.1)):
        with torch.backends.cudnn.flags(allow_tf32=False):  # PyTorch allows it for the convolution of the patches
            found = prefill_all(model.to("cuda", dtype), prompts)
        for one, other in zip(found, expected, strict=True):
            assert one.next_position == other.next_position
            torch.testing.assert_close(one.logits.cpu().float(), other.logits, rtol=0, atol=tolerance)


# --estimate


def model_folder(folder):
    """Qwen2.5-VL-3B's configuration with tiny's processor: `--estimate` draws the weights on the GPU."""
    from benchmarks.workloads import full_size_config
    from models.registry import TINY_FOLDER, load_processor

    model, tokenizer = folder / "model", load_processor("tiny").tokenizer
    shutil.copytree(TINY_FOLDER, model, ignore=shutil.ignore_patterns("*.safetensors", "generation_config.json"))
    config = full_size_config()
    for name, marker in (("image", "image_pad"), ("video", "video_pad"), ("vision_start", "vision_start"),
                         ("vision_end", "vision_end")):  # fmt: skip
        setattr(config, f"{name}_token_id", tokenizer.convert_tokens_to_ids(f"<|{marker}|>"))
    config.save_pretrained(model)
    return model


@pytest.mark.parametrize(
    "flags",
    [
        "--batch-size 8 --gradient-accumulation-steps 8",
        "--batch-size 32 --gradient-accumulation-steps 2",
        "--batch-size 8 --gradient-accumulation-steps 2 --disable-gradient-checkpointing",
    ],
)
def test_the_estimated_memory_of_the_3b_model_is_the_cards_within_15_percent(flags, tmp_path, monkeypatch, capsys):
    import main

    if torch.cuda.get_device_properties(0).total_memory < 40e9:
        pytest.skip("the settings need up to 40 GB")
    monkeypatch.chdir(tmp_path)
    gc.collect()  # a model of the test before, freed while this one measures, would count against it
    torch.cuda.empty_cache()
    held = torch.empty(2 * 10**9, dtype=torch.uint8, device="cuda")  # of another user of the process: not this run's
    line = f"--mode nsr --vlm-name {model_folder(tmp_path)} --dataset-name synthetic --subset-size 64 --report-to none"
    more = "--num-generations 8 --max-completion-length 128 --min-pixels 250000 --max-pixels 260000 --estimate"
    assert main.main([*line.split(), *more.split(), *flags.split()]) == 0
    del held
    found = re.search(
        r"measured peak of the timed step: ([\d.]+) GB \(estimated ([\d.]+) GB\)", capsys.readouterr().out
    )
    measured, estimated = map(float, found.groups())
    assert estimated == pytest.approx(measured, rel=0.15)
