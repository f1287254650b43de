"""The packed update against the plain one: the same gradients, whatever leaves and however rows are packed."""

import re

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import TrainerCallback

from models.families import family_of
from models.families.family import plain_positions
from sampling.engine import base_model
from tests import plain_head, varlen
from tests.families import FAMILIES
from tests.test_families_train import family_trainer
from update import collate, pass_room, shared_prefix
from update.packed_update import PackedUpdate

# two questions x four completions in four micro-batches of two rows, one optimiser step
STEP = {"num_generations": 4, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 4, "max_steps": 1,
        "max_grad_norm": 0.0, "logging_steps": 1}  # fmt: skip


class Gradients(TrainerCallback):
    def __init__(self):
        self.steps = []

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        named = sorted((name, p) for name, p in model.named_parameters() if p.requires_grad)
        self.steps.append(torch.cat([torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten().clone()
                                     for _, p in named]))  # fmt: skip


def ids_of(lengths, seed=0):
    """Completions of text tokens; the last is the end token unless the length is odd (then it is cut)."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(20, 400, (length,), generator=generator).tolist() for length in lengths]


def train(
    folder, update, lengths, right, *, family="qwen2_5_vl", plain=True, mode="w-reinforce", sampled=False, **options
):
    """Gradients of every optimiser step, the trainer afterwards, and the tokens its forward passes computed.

    `sampled`: the engine draws the completions; otherwise they are random tokens of the given lengths.
    """

    def accuracy(completions, completion_ids, **columns):
        return [None if right[i] is None else float(right[i]) for i in order]

    order = range(len(lengths))
    own = {name: options.pop(name) for name in ("normaliser", "dtype") if name in options}
    trainer, _ = family_trainer(
        family, folder, mode, rewards=[accuracy], update=update, config={**STEP, **options}, **own
    )
    completions = [[*ids, trainer.eos_token_ids[0]] for ids in ids_of([length - 1 for length in lengths])]
    if not sampled:
        trainer._generate_single_turn = lambda prompt_ids, *rest: (completions, None)
    model, tokens = base_model(trainer.model), []
    if plain:
        plain_head.use(model)
    forward = model.forward

    def watched(*args, **inputs):
        tokens.append(inputs["input_ids"].numel())
        if family_of(model.config).positions is plain_positions and "position_ids" not in inputs:
            # where positions are counted from the padding on, the float32 sines of rotary positions differ by rounding
            inputs["position_ids"] = (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
        return forward(*args, **inputs)

    model.forward = watched
    gradients = Gradients()
    trainer.add_callback(gradients)
    trainer.train()
    return gradients.steps, trainer, sum(tokens)


def gap(one, other):
    return (one - other).norm() / max(other.norm(), 1e-300)


LENGTHS = [6, 2, 4, 1, 5, 5, 3, 6]
RIGHT = [1, 0, 0, 0, 0, 1, 1, None]


@pytest.mark.parametrize(
    ("mode", "normaliser"),
    [("grpo", "all"), *((mode, rows) for mode in ("psr", "nsr", "w-reinforce") for rows in ("all", "kept"))],
)
@pytest.mark.parametrize("averaging", ["dapo", pytest.param("grpo", marks=pytest.mark.slow)])
def test_gradients_equal_the_plain_path_in_every_mode(mode, averaging, normaliser, tmp_path):
    options = {"mode": mode, "loss_type": averaging, "normaliser": normaliser}
    if mode == "grpo":
        del options["normaliser"]
    (plain,), _, computed = train(tmp_path / "plain", "plain", LENGTHS, RIGHT, **options)
    (packed,), _, less = train(tmp_path / "packed", "shared", LENGTHS, RIGHT, **options)
    assert plain.norm() > 0 and gap(packed, plain) < 1e-9
    assert less < computed / 2


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("checkpointing", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_every_family_with_and_without_gradient_checkpointing(family, checkpointing, tmp_path, monkeypatch):
    monkeypatch.setattr(pass_room, "is_known", lambda trainer: False)  # which would do without
    options = {"family": family, "gradient_checkpointing": checkpointing}
    (plain,), _, computed = train(tmp_path / "plain", "plain", LENGTHS, RIGHT, **options)
    (packed,), trainer, less = train(tmp_path / "packed", "shared", LENGTHS, RIGHT, **options)
    assert trainer.shares_prompts and plain.norm() > 0 and gap(packed, plain) < 1e-9
    assert less < computed / 2


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(1, 6), min_size=8, max_size=8),
    right=st.lists(st.sampled_from([0, 1, None]), min_size=8, max_size=8),
    averaging=st.sampled_from(["dapo", "grpo"]),
    size=st.sampled_from([1, 2, 4, 8]),
)
def test_ragged_batches_of_any_shape(lengths, right, averaging, size, tmp_path):
    options = {"loss_type": averaging, "per_device_train_batch_size": size, "gradient_accumulation_steps": 8 // size}
    (plain,), _, _ = train(tmp_path / "plain", "plain", lengths, right, **options)
    (packed,), _, _ = train(tmp_path / "packed", "shared", lengths, right, **options)
    assert gap(packed, plain) < 1e-9 if plain.norm() else not packed.norm()


def test_several_updates_on_one_rollout_batch_with_clipping(tmp_path):
    """Old log-probabilities, ratios and the clip go through the packed passes too; so does the state in between."""
    options = {"gradient_accumulation_steps": 2, "steps_per_generation": 4, "max_steps": 2, "learning_rate": 0.03}
    plain, one, _ = train(tmp_path / "plain", "plain", LENGTHS, RIGHT, **options)
    packed, _, _ = train(tmp_path / "packed", "shared", LENGTHS, RIGHT, **options)
    assert len(plain) == len(packed) == 2
    assert gap(packed[0], plain[0]) < 1e-9
    assert gap(packed[1], plain[1]) < 1e-3, "Adam's first step divides gradients near zero by themselves"
    assert one.state.log_history[1]["clip_ratio/region_mean"] > 0


def test_the_kl_term_keeps_every_row_and_its_gradient(tmp_path):
    options = {"beta": 0.1, "mode": "nsr"}
    (plain,), _, computed = train(tmp_path / "plain", "plain", LENGTHS, RIGHT, **options)
    (packed,), _, less = train(tmp_path / "packed", "shared", LENGTHS, RIGHT, **options)
    (alone,), _, _ = train(tmp_path / "alone", "shared", LENGTHS, RIGHT, mode="nsr")
    assert gap(packed, plain) < 1e-9 and less < computed / 2
    assert gap(packed, alone) > 1e-3, "the term does act"


def test_a_model_that_cannot_share_prompts_still_drops_rows_and_padding(tmp_path, monkeypatch):
    (plain,), _, computed = train(tmp_path / "plain", "plain", LENGTHS, RIGHT)
    monkeypatch.setattr("update.shared_prefix.supports", lambda model: False)
    (packed,), trainer, less = train(tmp_path / "packed", "shared", LENGTHS, RIGHT)
    assert not trainer.shares_prompts and gap(packed, plain) < 1e-9
    assert less < computed


def test_trls_own_head_and_one_adam_step(tmp_path):
    """The fused head computes in float32: gradients to 1e-6, Adam where the gradient is not near zero."""
    (plain,), one, _ = train(tmp_path / "plain", "plain", LENGTHS, RIGHT, plain=False)
    (packed,), other, _ = train(tmp_path / "packed", "shared", LENGTHS, RIGHT, plain=False)
    assert 0 < gap(packed, plain) < 1e-6
    weights = [
        torch.cat([p.flatten() for _, p in sorted(t.model.named_parameters()) if p.requires_grad]) for t in (one, other)
    ]
    clear = plain.abs() > 1e-4 * plain.abs().max()
    assert clear.any() and torch.allclose(weights[0][clear], weights[1][clear], rtol=0, atol=1e-6)


SAME = ("loss", "grad_norm", "entropy", "reward", "completions/mean_length", "decomposed/kept_share", "num_tokens",
        "clip_ratio/region_mean", "clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/low_min",
        "clip_ratio/high_max", "kl")  # fmt: skip


def test_logged_metrics_are_those_of_the_plain_path(tmp_path):
    """One micro-batch an update, so that TRL's means of means are plain means; two updates, so that the clip binds."""
    options = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "steps_per_generation": 2,
               "max_steps": 2, "learning_rate": 0.03, "plain": False, "mode": "nsr"}  # fmt: skip
    _, one, _ = train(tmp_path / "plain", "plain", LENGTHS, RIGHT, **options)
    _, other, _ = train(tmp_path / "packed", "shared", LENGTHS, RIGHT, **options)
    for step in (0, 1):
        plain, packed = one.state.log_history[step], other.state.log_history[step]
        for name in SAME:
            if name != "entropy" and name in plain:
                assert packed[name] == pytest.approx(plain[name], rel=1e-4, abs=1e-6), (step, name)
        assert 0.5 < packed["decomposed/skipped_work"] < 1
    assert plain["clip_ratio/region_mean"] > 0


@pytest.mark.slow
def test_the_entropy_is_that_of_all_rows_though_few_are_computed(tmp_path):
    options = {"sampled": True, "plain": False, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1}
    right = [0, None, 0, 0, 1, 0, 0, None]
    for mode in ("nsr", "psr"):  # a random model never ends: every completion is cut, so wrong, so PSR keeps none
        _, one, _ = train(tmp_path / "plain", "plain", LENGTHS, right, mode=mode, **options)
        _, other, _ = train(tmp_path / "packed", "shared", LENGTHS, right, mode=mode, **options)
        plain, packed = one.state.log_history[0], other.state.log_history[0]
        assert packed["entropy"] == pytest.approx(plain["entropy"], rel=1e-5)
        assert plain["decomposed/unscorable"] == 2


def test_a_batch_without_weight_costs_one_short_row_and_moves_nothing(tmp_path):
    (packed,), trainer, tokens = train(tmp_path, "shared", LENGTHS, [1] * 8, mode="nsr")
    batch = trainer._buffered_inputs[-1]
    assert not packed.any() and batch["completion_mask"].sum() <= 3
    assert tokens == batch["prompt_mask"].sum() - 1 + batch["completion_mask"].sum()


def test_rows_that_have_changed_process_are_the_same_rows(tmp_path, monkeypatch):
    """One process sends its first prompt, images and all, to itself: through parcels, and widened on arrival."""

    def to_itself(self, together, keep, room):
        moved = min(row.prompt for row in keep)
        together, rows = collate.exchange(together, keep, [(0, moved, 0)], 0)
        assert len(rows) == len(keep) and max(row.index for row in rows) >= 8
        return together, rows

    (plain,), _, _ = train(tmp_path / "plain", "plain", LENGTHS, RIGHT)
    monkeypatch.setattr(PackedUpdate, "_balance", to_itself)
    (packed,), _, _ = train(tmp_path / "packed", "shared", LENGTHS, RIGHT)
    assert gap(packed, plain) < 1e-9


@pytest.mark.slow
def test_bf16_autocast_stays_within_its_rounding(tmp_path):
    (exact,), _, _ = train(tmp_path / "exact", "plain", LENGTHS, RIGHT, plain=False)
    gaps = []
    for update in ("plain", "shared"):
        (rounded,), _, _ = train(tmp_path / update, update, LENGTHS, RIGHT, plain=False, bf16=True, dtype=torch.float32)
        gaps.append(gap(rounded, exact))
    assert 0 < gaps[1] < 1.5 * gaps[0] < 0.1


def test_the_kl_is_a_mean_over_all_tokens_however_rows_are_packed(tmp_path):
    """TRL's mean over micro-batches of unequal length is none; one micro-batch a step is the reference."""
    whole = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1}
    _, one, _ = train(tmp_path / "plain", "plain", LENGTHS, RIGHT, beta=0.1, **whole)
    _, other, _ = train(tmp_path / "packed", "shared", LENGTHS, RIGHT, beta=0.1)
    assert other.state.log_history[0]["kl"] == pytest.approx(one.state.log_history[0]["kl"], rel=1e-6)
    assert other._buffered_inputs[0]["advantages"].numel() == 0 < other.state.log_history[0]["kl"], "several passes"


def test_unscorable_rows_leave_even_under_a_kl_term(tmp_path):
    (packed,), trainer, _ = train(tmp_path, "shared", LENGTHS, [None] * 8, beta=0.1)
    assert not packed.any() and trainer.state.log_history[0]["decomposed/skipped_work"] == 1


@pytest.mark.slow
def test_a_loss_that_looks_across_rows_keeps_its_micro_batches(tmp_path):
    for number, options in enumerate(({"entropy_coef": 0.01}, {"top_entropy_quantile": 0.5}, {"loss_type": "bnpo"})):
        (plain,), _, computed = train(tmp_path / f"plain{number}", "plain", LENGTHS, RIGHT, **options)
        (packed,), trainer, less = train(tmp_path / f"packed{number}", "shared", LENGTHS, RIGHT, **options)
        assert not trainer.repacks_rows and gap(packed, plain) < 1e-9 and less < computed


@pytest.mark.parametrize("family", FAMILIES)
def test_a_frozen_vision_tower_runs_once_and_is_not_differentiated(family, tmp_path, monkeypatch):
    """Gradient checkpointing would compute it again; eight completions of two images are one pass."""
    monkeypatch.setattr(pass_room, "is_known", lambda trainer: False)  # which would do without
    config = {**STEP, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1}
    trainer, _ = family_trainer(family, tmp_path, config=config, gradient_checkpointing=True)
    completions = [[*ids, trainer.eos_token_ids[0]] for ids in ids_of([3] * 8)]
    trainer._generate_single_turn = lambda prompt_ids, *rest: (completions, None)
    model, calls, backward = base_model(trainer.model), [], []
    layer = next(
        m for name, m in model.named_modules() if re.fullmatch(family_of(model.config).tower_layers, f"{name}.")
    )
    layer.register_forward_hook(lambda *args: calls.append(1))
    layer.register_full_backward_hook(lambda *args: backward.append(1))
    trainer.train()
    assert len(calls) == trainer.state.global_step == 1 and not backward


@pytest.mark.parametrize("family", FAMILIES)
def test_one_call_of_variable_length_attention_has_the_same_gradient(family, tmp_path, monkeypatch):
    """What a GPU computes in half precision, by a reference kernel; prompts of one token have no keys of their own."""
    (before,), _, _ = train(tmp_path / "groups", "shared", LENGTHS, RIGHT, family=family)
    calls = []

    def kernel(*args, **options):
        calls.append(len(args[3]) - 1)
        return varlen.reference(*args, **options)

    monkeypatch.setattr(shared_prefix, "variable_length", lambda *kind: kernel)
    (after,), trainer, _ = train(tmp_path / "one", "shared", LENGTHS, RIGHT, family=family)
    layers = base_model(trainer.model).config.get_text_config().num_hidden_layers
    assert before.norm() > 0 and gap(after, before) < 1e-9
    assert len(calls) % layers == 0 and sum(calls) == layers * (7 + len(calls) // layers), "7 rows, a prompt a pass"


def test_a_prompt_of_one_token_leaves_no_empty_sequence():
    segments = shared_prefix.lay_out([0, 2], [[2, 1], [1]], torch.device("cpu")).segments
    assert segments.ends_of_queries.tolist() == [0, 2, 3, 5, 6] and segments.ends_of_keys.tolist() == [0, 2, 3, 5, 8]
    assert segments.keys.tolist() == [0, 1, 2, 3, 4, 3, 4, 5] and (segments.longest_query, segments.longest_key) == (
        2,
        3,
    )
