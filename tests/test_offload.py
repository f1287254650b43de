"""Full weights with the optimiser on the host: the launch, and what is said where it cannot be DeepSpeed's own."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml
from accelerate.utils.deepspeed import HfDeepSpeedConfig
from safetensors.torch import load_file

from models.registry import TINY_FOLDER
from tests import after_run
from tests.commands import ROOT
from training import hardware

FILE = ROOT / "recipes" / "launch" / "zero2_offload.yaml"


def config_of(device: str | None):
    """What a GRPOConfig has of a launch with DeepSpeed; None: without."""
    known = {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": device}}}
    return SimpleNamespace(deepspeed_plugin=device and SimpleNamespace(hf_ds_config=HfDeepSpeedConfig(known)))


def test_the_launch_file_says_what_it_is_for():
    from accelerate.commands.config.config_args import load_config_from_file

    settings = yaml.safe_load(FILE.read_text())["deepspeed_config"]
    assert (settings["zero_stage"], settings["offload_optimizer_device"]) == (2, "cpu")
    assert load_config_from_file(str(FILE)).deepspeed_config == settings, "accelerate reads it"


@pytest.mark.parametrize(("device", "optimiser", "told"), [
    (None, "adam", None), ("none", "adam", None), ("cpu", "adam", "without a GPU"), ("cpu", "sgd", "has no sgd there"),
])  # fmt: skip
def test_without_deepspeeds_adam_pytorchs_optimiser_is_taken_and_said(device, optimiser, told):
    config = config_of(device)
    line = hardware.host_optimiser(config, optimiser)
    assert (line is None) if told is None else (told in line)
    if device:
        forced = config.deepspeed_plugin.hf_ds_config.config.get("zero_force_ds_cpu_optimizer", True)
        assert forced == (told is None)


@pytest.mark.slow
@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_the_offload_launch_ends_with_the_weights_of_the_plain_one(optimiser, tmp_path):
    rate = {"adam": "1e-4", "sgd": "1e-1"}[optimiser]
    run = [str(ROOT / "main.py"), *after_run.SHORT.split(), "--mode", "w-reinforce", "--vlm-name", "tiny", "--no-lora"]
    run += ["--optimiser", optimiser, "--learning-rate", rate]
    launch = ["-m", "accelerate.commands.launch", f"--config_file={FILE}"]
    weights, logs = [], []
    for name, words in (("plain", run), ("offload", [*launch, *run])):
        command = [sys.executable, *words, "--output-root", str(tmp_path / name)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1200)
        assert done.returncode == 0, done.stderr[-3000:]
        logs.append(done.stdout)
        weights.append(load_file(next((tmp_path / name).glob("*/model.safetensors"))))
    assert "The optimiser on the host is PyTorch's" in logs[1] and "on the host" not in logs[0]
    before = load_file(TINY_FOLDER / "model.safetensors")
    moved = max((weights[0][name] - value).abs().max() for name, value in before.items())
    apart = max((weights[1][name] - value).abs().max() for name, value in weights[0].items())
    assert weights[1].keys() - weights[0].keys() <= {"lm_head.weight"}, "the embedding, which DeepSpeed writes twice"
    assert moved > 1e-4 and apart < 1e-5, (moved, apart)
