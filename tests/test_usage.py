"""What is logged of the machine: peaks of memory on every process, MFU where the GPU's rate is known."""

import pytest
import torch

from tests import one_layer
from trainers.trainer import TRAINERS
from update import usage


def logged(folder, **settings):
    trainer = one_layer.trainer(TRAINERS["nsr"], folder, **settings)
    one_layer.fix_rollouts(trainer, ["a b .", "b c d .", "c .", "d a ."])
    trainer.train()
    return trainer, trainer.state.log_history[0]


def test_a_cpu_logs_the_peak_of_the_hosts_memory_and_nothing_of_a_gpu(tmp_path):
    trainer, entry = logged(tmp_path)
    assert 0.05 < entry["memory/host_gb"] < 64 and not {"memory/gpu_gb", "mfu"} & entry.keys()
    assert trainer._tokens_updated == 0, "counted anew for the next log"


@pytest.mark.parametrize("update", ["shared", "plain"])
def test_mfu_counts_the_tokens_of_the_passes(update, tmp_path, monkeypatch):
    """3 wrong completions behind one prompt of one token, packed; or rows of their own, padded to the longest."""
    monkeypatch.setattr(usage, "device_rate", lambda: 1e9)
    trainer = one_layer.trainer(TRAINERS["nsr"], tmp_path, mode_settings={"update": update})
    one_layer.fix_rollouts(trainer, ["a b .", "b c d .", "c .", "d a ."])
    found = []

    def log(logs, *rest):
        if "loss" in logs:
            trainer.args.bf16, tokens = True, trainer._tokens_updated
            found.append((tokens, trainer._mfu(2.0)))
            trainer.args.bf16 = False

    trainer.log = log
    trainer.train()
    ((tokens, mfu),) = found
    # no pass holds the prompt's last token twice: a copy of it stands before every completion
    assert tokens == (4 + 2 + 3 if update == "shared" else 4 * (1 + 4))
    layer = 16 * (2 * 16 + 2 * 8 + 3 * 32)
    assert mfu == pytest.approx(6 * (layer + len(one_layer.WORDS) * 16) * tokens / 2.0 / 1e9)
    assert trainer._mfu(2.0) == 0.0, "float32 has another rate"


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        ("NVIDIA A100-SXM4-80GB", 312e12), ("Tesla T4", 65e12), ("NVIDIA L40S", 362e12), ("NVIDIA L4", 121e12),
        ("NVIDIA L40", 181e12), ("NVIDIA RTX A1000", None), ("NVIDIA T400 4GB", None),
        ("NVIDIA A10G", 125e12), ("NVIDIA H100 80GB HBM3", 989e12), ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H200", 989e12), ("NVIDIA GeForce RTX 4090", 165e12), ("Some other card", None),
    ],
)  # fmt: skip
def test_the_rate_of_a_gpu_is_found_by_its_name(name, rate, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: name)
    assert usage.device_rate() == rate
