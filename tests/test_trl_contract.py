"""What the trainer assumes of TRL and transformers, for every method that one of its classes overrides.

A red test here means: read the new version before pinning it. A method that is overridden anew needs an entry.
"""

import ast
import inspect
import textwrap
from dataclasses import dataclass

import pytest
import torch
from transformers import Trainer
from trl import GRPOTrainer
from trl.trainer.base_trainer import _BaseTrainer
from trl.trainer.utils import RepeatSampler

from checkpoints.disk_faults import DiskFaults
from checkpoints.exact_resume import ExactResume
from tests import one_layer
from trainers import TRAINERS
from trainers.trainer import MethodTrainer
from update.guard import Guard
from update.packed_update import PackedUpdate
from update.ratios import RatioMetric
from update.reward_errors import RewardErrors
from update.rollouts import EngineRollouts


@dataclass(frozen=True)
class Override:
    """A method of TRL's or transformers' trainer that classes of ours override."""

    by: tuple[type, ...]
    parameters: str  # upstream's, in order
    assumes: tuple[tuple[object, str], ...]  # (what, a line that its source has)


CONSTRUCTOR = (
    "self model reward_funcs args train_dataset eval_dataset processing_class reward_processing_classes callbacks "
)
FIELDS = "pixel_values image_grid_thw num_images pixel_attention_mask spatial_shapes num_tiles image_sizes "

OVERRIDES = {
    "__init__": Override(
        (MethodTrainer, Guard, RewardErrors, EngineRollouts, PackedUpdate, ExactResume),
        CONSTRUCTOR + "optimizers quantization_config peft_config tools rollout_func environment_factory",
        (
            (GRPOTrainer.__init__, 'self._metrics = {"train": defaultdict(list), "eval": defaultdict(list)}'),
            (GRPOTrainer.__init__, "self._step = 0"),
            (GRPOTrainer.__init__, "self._buffered_inputs = None"),
        ),
    ),
    "_calculate_rewards": Override(
        (MethodTrainer, RewardErrors),
        "self inputs prompts completions completion_ids_list",
        (
            (GRPOTrainer._calculate_rewards, "completions=completions, completion_ids=completion_ids_list,"),
            (GRPOTrainer._calculate_rewards, "reward if reward is not None else torch.nan"),
            (GRPOTrainer._calculate_rewards, "rewards_per_func = gather(rewards_per_func) return rewards_per_func"),
            (GRPOTrainer._generate_and_score_completions, "unscorable_mask = torch.isnan(rewards_per_func).all(dim=1)"),
        ),
    ),
    "_generate_and_score_completions": Override(
        (MethodTrainer, EngineRollouts, PackedUpdate),
        "self inputs",
        (
            # rows of one prompt stand side by side in the batch of all processes
            (GRPOTrainer._generate_and_score_completions, "rewards.view(-1, num_generations)"),
            (
                GRPOTrainer._generate_and_score_completions,
                'num_generations = self.num_generations if mode == "train" else self.num_generations_eval',
            ),
            (GRPOTrainer._generate_and_score_completions, "self.accelerator.process_index * len(prompts),"),
            (GRPOTrainer._generate_and_score_completions, 'output["old_per_token_logps"] = old_per_token_logps'),
            (GRPOTrainer._generate_and_score_completions, 'self._logs["advantages"].extend('),
            (
                GRPOTrainer._generate_and_score_completions,
                "num_items_in_batch = self.accelerator.gather(loss_mask.sum()).sum()",
            ),
        ),
    ),
    "_generate_single_turn": Override(
        (EngineRollouts,),
        "self prompt_ids images multimodal_fields num_generations has_tool_images",
        (
            (GRPOTrainer._generate, "completion_ids, logprobs = self._generate_single_turn("),
            (GRPOTrainer._generate_single_turn, "return completion_ids, logprobs"),
            (GRPOTrainer._generate_single_turn, "unwrap_model_for_generation( self.model_wrapped, self.accelerator,"),
        ),
    ),
    "_prepare_inputs": Override(
        (MethodTrainer, PackedUpdate),
        "self generation_batch",
        (
            (GRPOTrainer._prepare_inputs, "generate_every = self.args.steps_per_generation * self.num_iterations"),
            (GRPOTrainer._prepare_inputs, "if self._step % generate_every == 0 or self._buffered_inputs is None:"),
            (GRPOTrainer._prepare_inputs, "self._buffered_inputs[self._step % self.args.steps_per_generation]"),
            # a micro-batch that is ready comes here again, and must come back as it is
            (Trainer.training_step, "inputs = self._prepare_inputs(inputs)"),
        ),
    ),
    "training_step": Override(
        (MethodTrainer, PackedUpdate),
        "self model inputs num_items_in_batch",
        (
            (GRPOTrainer.training_step, "self._step += 1"),
            (GRPOTrainer.training_step, "self._current_train_step_time += time_after - time_before"),
            (GRPOTrainer.training_step, "if self._step % self.current_gradient_accumulation_steps == 0:"),
            (Trainer._run_epoch, "tr_loss_step = self.training_step(model, inputs, num_items_in_batch)"),
            (Trainer._run_epoch, "self.current_gradient_accumulation_steps = len(batch_samples)"),
        ),
    ),
    "compute_loss": Override(
        (Guard, RatioMetric, PackedUpdate),
        "self model inputs return_outputs num_items_in_batch",
        (
            (GRPOTrainer.compute_loss, "return self._compute_loss(model, inputs)"),
            # dapo and grpo: a sum over rows with a constant in front
            (
                GRPOTrainer._compute_loss,
                'normalizer = inputs["num_items_in_batch"].clamp(min=1.0) / self.accelerator.num_processes',
            ),
            (GRPOTrainer._compute_loss, "((per_token_loss * mask).sum(-1) / mask.sum(-1).clamp(min=1.0)).mean()"),
            (GRPOTrainer._compute_loss, 'completion_mask if "tool_mask" not in inputs else completion_mask * inputs'),
            (GRPOTrainer._compute_loss, 'self._metrics[mode]["entropy"].append(global_masked_mean(entropies))'),
            (GRPOTrainer._compute_loss, 'self._metrics[mode]["clip_ratio/low_min"].append('),
        ),
    ),
    "_get_per_token_logps_and_entropies": Override(
        (RatioMetric, PackedUpdate),
        "self model input_ids attention_mask logits_to_keep batch_size compute_entropy compute_aux_loss "
        + FIELDS
        + "token_type_ids mm_token_type_ids image_position_ids",
        (
            (
                GRPOTrainer._get_per_token_logps_and_entropies,
                "with self.accelerator.autocast(): outputs = model(**model_inputs, labels=labels, fused_lm_head=True)",
            ),
            (GRPOTrainer._get_per_token_logps_and_entropies, "return logps, entropies, aux_loss"),
            (GRPOTrainer._compute_loss, "model, input_ids, attention_mask, logits_to_keep, compute_entropy=True,"),
        ),
    ),
    "_clip_grad_norm": Override(
        (Guard,),
        "self model",
        ((Trainer._run_epoch, "if self.args.max_grad_norm > 0: grad_norm = self._clip_grad_norm(model)"),),
    ),
    "log": Override(
        (MethodTrainer, RatioMetric),
        "self logs start_time",
        (
            (GRPOTrainer.log, "metrics[key] = sum(valid) / len(valid) if valid else None"),
            (GRPOTrainer.log, "super().log(logs, start_time) self._metrics[mode].clear()"),
            (GRPOTrainer.log, "df_base.to_parquet("),
        ),
    ),
    "_get_train_sampler": Override(
        (ExactResume,),
        "self dataset",
        (
            (GRPOTrainer._get_train_sampler, "return RepeatSampler("),
            (RepeatSampler.__init__, "self.generator.manual_seed(seed)"),
        ),
    ),
    "_run_epoch": Override(
        (ExactResume,),
        "self model epoch train_dataloader steps_in_epoch num_update_steps_per_epoch trial ignore_keys_for_eval "
        "start_time resume_from_checkpoint epochs_trained steps_trained_in_current_epoch",
        tuple(  # given by name
            (Trainer._inner_training_loop, f"{name}={name},")
            for name in ("epoch", "epochs_trained", "resume_from_checkpoint")
        ),
    ),
    "evaluate": Override(
        (ExactResume,),
        "self eval_dataset ignore_keys metric_key_prefix",
        ((Trainer._evaluate, "metrics = self.evaluate(ignore_keys=ignore_keys_for_eval)"),),
    ),
    "_get_output_dir": Override(
        (ExactResume,),
        "self trial",
        ((Trainer._save_checkpoint, "run_dir = self._get_output_dir(trial=trial)"),),
    ),
    "_save_checkpoint": Override(
        (ExactResume,),
        "self model trial",
        (
            (Trainer._save_checkpoint, 'checkpoint_folder = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"'),
            (Trainer._save_checkpoint, "self.save_model(output_dir, _internal_call=True)"),
            (Trainer._save_checkpoint, "self.state.best_model_checkpoint = best_checkpoint_dir"),
            (Trainer._save_checkpoint, "save_total_limit=self.args.save_total_limit"),
        ),
    ),
    "create_model_card": Override(
        (ExactResume, DiskFaults),
        "self model_name dataset_name tags",
        (
            (_BaseTrainer.create_model_card, "if not self.is_world_process_zero(): return"),
            (GRPOTrainer._save_checkpoint, "self.create_model_card(model_name=model_name)"),
        ),
    ),
    "_save": Override(
        (ExactResume, DiskFaults),
        "self output_dir state_dict",
        (
            (Trainer.save_model, "self._save(output_dir, state_dict=state_dict)"),
            (Trainer.save_model, "else: self._save(output_dir)"),
        ),
    ),
    "_save_rng_state": Override(
        (DiskFaults,), "self output_dir", ((Trainer._save_checkpoint, "self._save_rng_state(output_dir)"),)
    ),
    "_save_scaler": Override(
        (DiskFaults,), "self output_dir", ((Trainer._save_checkpoint, "self._save_scaler(output_dir)"),)
    ),
    "_save_optimizer_and_scheduler": Override(
        (DiskFaults,),
        "self output_dir",
        (
            (Trainer._save_checkpoint, "self._save_optimizer_and_scheduler(output_dir)"),
            (Trainer._save_optimizer_and_scheduler, "self.model_wrapped.save_checkpoint(output_dir"),
        ),
    ),
    "_load_from_checkpoint": Override(
        (ExactResume,),
        "self resume_from_checkpoint model",
        (
            (Trainer._load_from_checkpoint, "model.load_adapter(resume_from_checkpoint, active_adapter"),
            (Trainer._load_from_checkpoint, "load_result = model.load_state_dict(state_dict, False)"),
        ),
    ),
}

# Attributes of TRL's trainer that classes of ours set too, on purpose.
SET_TOO = {"_step", "_buffered_inputs", "_current_train_step_time"}

# Attributes that transformers' trainer has from its first update on.
SET_WHILE_TRAINING = {"current_gradient_accumulation_steps", "_tr_loss"}

# What changes during a run and needs no place in a checkpoint: attribute -> why.
NOT_RESUMED = {
    "_buffered_inputs": "has a file of its own",
    "_current_train_step_time": "what a clock has measured",
    "_rewards": "of the rollout batch that is being scored",
    "_losses": "of the update in hand",
    "_logps": "of the pass in hand",
    "_gap": "is saved as _gap_so_far",
    "_prompt_index": "of the rows in hand",
    "_rollout_entropies": "put into the rollout batch at once",
    "_rollout_logps": "put into the rollout batch at once",
    "_sampled_logps": "used while the rollout batch is scored",
    "_warned_of": "what has been printed may be printed again",
    "_epoch": "given by transformers",
    "_staging": "while a checkpoint is written",
    "_noting": "while a checkpoint is written",
    "_refused": "while a checkpoint is written",
    "unsaved": "of the last checkpoint",
    "unhealthy": "the run ends",
}


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
