"""Passes that follow the memory that is free, as on a GPU: fewer or more of them, checkpointed or not, one gradient."""

from types import SimpleNamespace

import pytest
import torch

from sampling.engine import base_model
from tests import test_packed_update
from tests.test_memory import COUNTS, SHAPE, work_of
from tests.test_packed_update import LENGTHS, RIGHT, gap, train
from update import pass_room
from update.memory import checkpoints, pass_bytes, passes
from update.packing import Row, cost, pack, pack_fewest

OPTIONS = {"mode": "grpo", "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}


def layer_runs(monkeypatch):
    """How often the first language layer runs in trainers made from now on."""
    counted = {"layers": 0}
    make = test_packed_update.family_trainer

    def watched(*args, **options):
        trainer, processor = make(*args, **options)
        layer = base_model(trainer.model).model.language_model.layers[0].mlp
        layer.register_forward_pre_hook(lambda *args: counted.__setitem__("layers", counted["layers"] + 1))
        return trainer, processor

    monkeypatch.setattr(test_packed_update, "family_trainer", watched)
    return counted


@pytest.mark.parametrize(("free", "calls"), [(None, 2), (1e12, 1), (1, 2)], ids=["a CPU", "ample", "short"])
@pytest.mark.parametrize("checkpointing", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_gradient_is_the_same_in_however_many_passes(free, calls, checkpointing, tmp_path, monkeypatch):
    (plain,), _, _ = train(tmp_path / "plain", "plain", LENGTHS, RIGHT, **OPTIONS)
    counted = layer_runs(monkeypatch)
    monkeypatch.setattr(pass_room, "free_bytes", lambda trainer: free)
    more = OPTIONS | {"gradient_checkpointing": checkpointing, "per_device_train_batch_size": 4}
    (packed,), trainer, _ = train(tmp_path / "packed", "shared", LENGTHS, RIGHT, **more)
    assert plain.norm() > 0 and gap(packed, plain) < 1e-9
    micro = [batch for batch in trainer._buffered_inputs if len(batch["advantages"])]
    assert len(micro) == calls
    again = checkpointing and micro[0]["checkpointing"]
    assert counted["layers"] == calls * (1 + again)


@pytest.mark.parametrize(
    ("free", "known", "runs"),
    [(None, True, 1), (1e12, True, 1), (1, True, 2), (1e12, False, 2)],
    ids=["a CPU", "ample", "short", "DeepSpeed"],
)
def test_a_pass_that_takes_less_than_trls_is_not_computed_twice(free, known, runs, tmp_path, monkeypatch):
    """One completion with weight, where TRL's micro-batch holds four."""
    options = {**OPTIONS, "mode": "psr", "gradient_checkpointing": True}
    right = [1, *[0] * 7]
    (plain,), _, _ = train(tmp_path / "plain", "plain", LENGTHS, right, **options)
    counted = layer_runs(monkeypatch)
    monkeypatch.setattr(pass_room, "free_bytes", lambda trainer: free)
    monkeypatch.setattr(pass_room, "is_known", lambda trainer: known)
    (packed,), trainer, _ = train(tmp_path / "packed", "shared", LENGTHS, right, **options)
    assert plain.norm() > 0 and gap(packed, plain) < 1e-9
    assert counted["layers"] == runs
    layers = base_model(trainer.model).model.language_model.layers
    assert all(layer.gradient_checkpointing for layer in layers), "and is checkpointed again afterwards"


@pytest.mark.parametrize(("free", "held", "given_back"), [(1e12, 1e9, 0), (1, 1e12, 1), (1, 0, 0), (1, 1, 1)])
def test_what_decoding_keeps_is_given_back_where_an_update_needs_it(free, held, given_back, tmp_path, monkeypatch):
    forgotten = []
    monkeypatch.setattr(pass_room, "free_bytes", lambda trainer: free)
    monkeypatch.setattr(pass_room.static_step, "held_bytes", lambda model: (held, 0))
    monkeypatch.setattr(pass_room.static_step, "forget", forgotten.append)
    _, trainer, _ = train(tmp_path, "shared", LENGTHS, RIGHT, **OPTIONS)
    assert len(forgotten) == given_back and all(one is base_model(trainer.model) for one in forgotten)
    micro = [batch for batch in trainer._buffered_inputs if len(batch["advantages"])]
    assert len(micro) == (1 if max(free, held) == 1e12 else 2)


@pytest.mark.parametrize(
    ("device", "deepspeed", "fsdp", "known"),
    [
        ("cpu", False, False, True), ("cuda", False, False, True), ("mps", False, False, False),
        ("cuda", True, False, False), ("cpu", False, True, False),
    ],
)  # fmt: skip
def test_where_the_formulas_count_all_that_a_run_holds(device, deepspeed, fsdp, known):
    accelerator = SimpleNamespace(device=torch.device(device))
    trainer = SimpleNamespace(accelerator=accelerator, is_deepspeed_enabled=deepspeed, is_fsdp_enabled=fsdp)
    assert pass_room.is_known(trainer) == known


def rows_of(prompts, each, prompt=600, tokens=80):
    return [Row(i, i // each, prompt, tokens) for i in range(prompts * each)]


def test_as_few_passes_as_the_budget_allows_or_as_many_as_fit():
    rows = rows_of(8, 8)  # groups of 1,240 tokens
    assert len(pack(rows, 8, 5824)) == 4, "half of the budget first"
    assert [cost(part) for part in pack_fewest(rows, 8, 5824, lambda part: True)] == [4960, 4960]
    assert max(cost(part) for part in pack_fewest(rows, 8, 5824, lambda part: cost(part) <= 2500)) == 2480
    assert len(pack_fewest(rows, 8, 5824, lambda part: False)) == 8
    assert len(pack_fewest(rows, 3, 1000, lambda part: False)) == 3, "there are no more passes than that"
    assert pack_fewest([], 8, 1000, lambda part: False) == []
    for budget in range(700, 12_000, 611):
        packed = pack_fewest(rows, 8, budget, lambda part: cost(part) < 3000)
        assert sorted(row.index for part in packed for row in part) == list(range(64)) and len(packed) <= 8


def test_checkpoints_are_needed_where_trls_own_micro_batch_takes_less():
    work = work_of(batch=8, accumulation=8, generations=8, prompt=600, completion=80, checkpointing=True, on_gpu=True)
    few, many = rows_of(1, 2), rows_of(8, 8)
    without = pass_bytes(SHAPE, COUNTS, work_of(**{**vars(work), "checkpointing": False}), few)
    assert not checkpoints(SHAPE, COUNTS, work, [few])
    assert checkpoints(SHAPE, COUNTS, work, [many]), "TRL's own, eight rows, takes less"
    assert not checkpoints(SHAPE, COUNTS, work_of(**{**vars(work), "on_gpu": False}), [few])
    for sharded in ({"zero": 3}, {"fsdp": True}):
        assert checkpoints(SHAPE, COUNTS, work_of(**{**vars(work), **sharded}), [few])
    assert checkpoints(SHAPE, COUNTS, work, [few], room=0.9 * without) and not checkpoints(
        SHAPE, COUNTS, work, [few], room=1.1 * without
    )
    assert len(passes(work)) < len(passes(work_of(**{**vars(work), "on_gpu": False})))
    assert len(passes(work_of(**{**vars(work), "least": True}))) == 8
