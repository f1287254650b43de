"""Tests run offline, on the CPU, on one thread a process. Those marked `gpu` run by themselves: pytest -m gpu."""

import os

import pytest
from hypothesis import settings

os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    WANDB_MODE="offline",
    OMP_NUM_THREADS="1",
    TOKENIZERS_PARALLELISM="false",
)

# The same examples every time: what is red here is red everywhere. --hypothesis-profile=explore draws new ones.
settings.register_profile("repeatable", derandomize=True)
settings.register_profile("explore", derandomize=False)
settings.load_profile("repeatable")


def pytest_configure(config):
    """No other test sees a GPU, nor does a process it starts: what they state holds on every machine.

    Libraries remember which device they have found, so the two kinds cannot share a process.
    """
    asked = config.getoption("markexpr")
    if "gpu" not in asked or "not gpu" in asked:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_modifyitems(items):
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(
                pytest.mark.skip(reason="needs a CUDA device, and to be asked for by itself: pytest -m gpu")
            )
