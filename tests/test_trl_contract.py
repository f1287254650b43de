"""What the trainer assumes of TRL and transformers, for every method that one of its classes overrides.

A red test here means: read the new version before pinning it. A method that is overridden anew needs an entry in
tests/trl_overrides.py.
"""

import ast
import inspect
import textwrap

import pytest
import torch
from trl import GRPOTrainer
from trl.trainer.utils import RepeatSampler

from tests import one_layer
from tests.trl_overrides import NOT_RESUMED, OVERRIDES, SET_TOO, SET_WHILE_TRAINING
from trainers.trainer import TRAINERS, MethodTrainer


def ours() -> list[type]:
    mro = MethodTrainer.__mro__
    return list(mro[: mro.index(GRPOTrainer)])


def source(what: object) -> str:
    return " ".join(inspect.getsource(what).split())


def attributes_set(cls: type, *, running: bool = False) -> set[str]:
    """Names x of `self.x = ...`, `self.x[...] = ...` and `self.x.append(...)`, `.add(...)` in the methods of `cls`;
    `running` leaves out those of `__init__`."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    names = set()
    for method in (one for one in body.body if isinstance(one, ast.FunctionDef)):
        for node in ast.walk(method) if not (running and method.name == "__init__") else ():
            if isinstance(node, ast.Call) and getattr(node.func, "attr", None) in ("append", "add", "extend", "update"):
                node = node.func.value
            elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
                node = node.value
            elif not (isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)):
                continue
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
                names.add(node.attr)
    return names


def attributes_read(cls: type) -> set[str]:
    """Names x of every `self.x` in the code of `cls`."""
    read = [
        node for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(cls)))) if isinstance(node, ast.Attribute)
    ]
    return {node.attr for node in read if isinstance(node.value, ast.Name) and node.value.id == "self"}


def overridden() -> dict[str, set[type]]:
    """Every attribute of a class of ours that GRPOTrainer, or what it inherits from, has as well."""
    found = {}
    for cls in ours():
        for name in vars(cls):
            if hasattr(GRPOTrainer, name) and (name == "__init__" or not name.startswith("__")):
                found.setdefault(name, set()).add(cls)
    return found


def test_every_overridden_method_of_every_class_has_an_entry_here():
    assert overridden() == {name: set(entry.by) for name, entry in OVERRIDES.items()}
    for trainer in TRAINERS.values():
        own = {name for name in vars(trainer) if not name.startswith("__")}
        assert own == {"method_class"}, "a method is weights alone; the trainer is the same for all"
        assert trainer.__mro__[1:] == MethodTrainer.__mro__


@pytest.mark.parametrize("method", OVERRIDES)
def test_upstream_has_the_signature_and_the_lines_that_an_override_relies_on(method):
    entry = OVERRIDES[method]
    assert list(inspect.signature(getattr(GRPOTrainer, method)).parameters) == entry.parameters.split()
    for what, line in entry.assumes:
        assert line in source(what), what.__qualname__


@pytest.mark.parametrize("method", [name for name in OVERRIDES if name != "__init__"])
def test_an_override_can_be_called_as_upstream_calls_the_method(method):
    """By position and by name: whatever upstream's signature takes, ours takes too."""
    theirs = list(inspect.signature(getattr(GRPOTrainer, method)).parameters.values())
    needed = [one for one in theirs if one.default is one.empty]
    for cls in OVERRIDES[method].by:
        signature = inspect.signature(vars(cls)[method])
        signature.bind(*needed)
        signature.bind(*needed, **{one.name: None for one in theirs[len(needed) :]})


def test_attributes_of_ours_do_not_take_the_names_of_trls(tmp_path):
    plain = vars(one_layer.trainer(GRPOTrainer, tmp_path))
    assert set().union(*map(attributes_set, ours())) & set(plain) == SET_TOO


def test_a_class_uses_only_what_it_has_or_inherits(tmp_path):
    """None counts on a class that happens to stand before or behind it in the stack."""
    trls = {*dir(one_layer.trainer(GRPOTrainer, tmp_path)), *SET_WHILE_TRAINING}
    for cls in ours():
        inherited = [one for one in cls.__mro__ if one in ours()]
        own = set().union(trls, *(attributes_set(one) | set(vars(one)) for one in inherited))
        assert attributes_read(cls) <= own, cls


def test_what_changes_during_a_run_is_resumed_or_said_not_to_need_it():
    resumable = MethodTrainer._resumable_names()
    assert len(set(resumable)) == len(resumable)
    changing = set().union(*(attributes_set(cls, running=True) for cls in ours()))
    assert changing - set(resumable) == set(NOT_RESUMED) and not set(NOT_RESUMED) & set(resumable)


def test_deepspeed_writes_through_the_functions_that_are_guarded():
    from deepspeed.runtime.engine import DeepSpeedEngine

    engine = source(DeepSpeedEngine)
    assert "save_latest" in inspect.signature(DeepSpeedEngine.save_checkpoint).parameters
    assert "self.checkpoint_engine.makedirs(" in engine and "self.checkpoint_engine.save(" in engine
    assert "self._copy_recovery_script(save_path)" in engine


def test_trls_sampler_cannot_be_put_at_an_epoch():
    assert not hasattr(RepeatSampler, "set_epoch"), "TRL puts its sampler at an epoch now: is EpochOrder still needed?"


def test_the_memory_that_a_checkpoint_must_hold_has_these_names(tmp_path):
    """What TRL's trainer has between two updates; a new name here is something that exact_resume.py may miss."""
    plain = one_layer.trainer(GRPOTrainer, tmp_path)
    held = {name for name, value in vars(plain).items() if name.startswith("_") and not callable(value)}
    changing = {"_step", "_buffered_inputs", "_metrics", "_logs", "_pending_extra_logs", "_pending_metrics",
                "_current_train_step_time", "_entropy_window_stats", "_total_train_tokens"}  # fmt: skip
    assert changing <= held
    assert inspect.getsource(GRPOTrainer).count("self._buffered_inputs = ") == 2


def test_rewards_come_in_generation_order_and_the_advantages_with_the_rows(tmp_path):
    trainer = one_layer.trainer(GRPOTrainer, tmp_path)
    one_layer.fix_rollouts(trainer, ["a b .", "b .", "h .", "a ."])
    trainer.model.train()
    kept = []
    calculate = trainer._calculate_rewards
    trainer._calculate_rewards = lambda *args: kept.append(calculate(*args)) or kept[-1]
    output = trainer._generate_and_score_completions([{"prompt": "ask"}] * 4)
    assert kept[0].shape == (4, 2)
    assert kept[0][:, 0].tolist()[:2] == [1.0, 0.0] and kept[0][2, 0].isnan()
    assert output["advantages"].shape == (4,)
    assert output["completion_ids"][0, :2].tolist() == one_layer.say("a b")
    assert output["num_items_in_batch"] == output["completion_mask"].sum()
    assert len(trainer._logs["advantages"]) == 4


def test_tool_mask_takes_tokens_out_of_the_loss(tmp_path):
    trainer = one_layer.trainer(GRPOTrainer, tmp_path)
    one_layer.fix_rollouts(trainer, ["a b .", "b ."])
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    trainer.num_generations = 2
    output = trainer._generate_and_score_completions([{"prompt": "ask"}] * 2)
    output["advantages"] = torch.tensor([1.0, 1.0])
    output["tool_mask"] = torch.zeros_like(output["completion_mask"])
    loss = trainer._compute_loss(trainer.model, output)
    loss.backward()
    assert loss == 0 and all(p.grad is None or p.grad.abs().max() == 0 for p in trainer.model.parameters())
