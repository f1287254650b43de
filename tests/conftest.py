"""Tests run offline, on the CPU, on one thread a process, and away from what runs have left in the checkout.

Those marked `gpu` run by themselves: pytest -m gpu.
"""

import gc
import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from common.imports import OBJECTS

os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    WANDB_MODE="offline",
    OMP_NUM_THREADS="1",
    TOKENIZERS_PARALLELISM="false",
)

# Modules and what hypothesis keeps are a large heap, and every search for garbage goes through it.
gc.set_threshold(OBJECTS, *gc.get_threshold()[1:])

# The same examples every time: what is red here is red everywhere. --hypothesis-profile=explore draws new ones.
settings.register_profile("repeatable", derandomize=True)
settings.register_profile("explore", derandomize=False)
settings.load_profile("repeatable")

ROOT = Path(__file__).parent.parent
# What a user's own runs leave in a checkout.
OUTPUTS = ("grpo-start-ckpts", "wandb", "sample_images", "poc_", "samples_", "results_")


def left_here() -> set[tuple]:
    """What stands in the checkout; of the outputs of runs made there, their first level, sizes and times as well."""
    found = {(path.name,) for path in ROOT.iterdir() if not path.name.startswith((".", "__pycache__"))}
    for output in (path for path in ROOT.iterdir() if path.name.startswith(OUTPUTS)):
        for path in output.iterdir() if output.is_dir() else [output]:
            found.add((str(path.relative_to(ROOT)), path.stat().st_size, path.stat().st_mtime))
    return found


@pytest.fixture(scope="session", autouse=True)
def elsewhere(tmp_path_factory):
    """Tests run in an empty folder: a relative name finds none of the checkout's own runs, and leaves nothing there."""
    before = left_here()
    os.chdir(tmp_path_factory.mktemp("empty"))
    yield
    os.chdir(ROOT)
    changed = sorted({name for name, *_ in before ^ left_here()})
    assert not changed, f"a test (or a run of your own meanwhile) has changed {', '.join(changed)}"


@pytest.fixture(autouse=True)
def one_thread():
    """A program that a test runs in this process may have set more threads: sums then differ in their last bits."""
    yield
    if (torch := sys.modules.get("torch")) and hasattr(torch, "set_num_threads"):
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    from tests.after_run import finished_runs

    return finished_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder, with a cache of data sets of its own."""
    import datasets

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path


@pytest.fixture
def without_nohup():
    """SIGHUP as a terminal's programs have it, also where the tests themselves run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def pytest_configure(config):
    """No other test sees a GPU, nor does a process it starts: what they state holds on every machine.

    Libraries remember which device they have found, so the two kinds cannot share a process.
    """
    asked = config.getoption("markexpr")
    if "gpu" not in asked or "not gpu" in asked:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: not item.get_closest_marker("slow"))  # none of them alone at the end
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(
                pytest.mark.skip(reason="needs a CUDA device, and to be asked for by itself: pytest -m gpu")
            )
