"""What trainers/trainer.py assumes of TRL. A red test here means: read the new version before pinning it."""

import inspect

import pytest
import torch
from transformers import Trainer
from trl import GRPOTrainer
from trl.trainer.utils import RepeatSampler

from checkpoints.exact_resume import ExactResume
from tests import one_layer
from trainers.trainer import TRAINERS, MethodTrainer

SIGNATURES = {
    "_calculate_rewards": ["self", "inputs", "prompts", "completions", "completion_ids_list"],
    "_generate_and_score_completions": ["self", "inputs"],
    "_prepare_inputs": ["self", "generation_batch"],
    "training_step": ["self", "model", "inputs", "num_items_in_batch"],
    "log": ["self", "logs", "start_time"],
}
RESUME_SIGNATURES = {
    "_get_train_sampler": ["self", "dataset"],
    "_save_checkpoint": ["self", "model", "trial"],
    "_get_output_dir": ["self", "trial"],
}


@pytest.mark.parametrize("method", SIGNATURES)
def test_the_hooked_methods_keep_their_signature(method):
    assert list(inspect.signature(getattr(GRPOTrainer, method)).parameters) == SIGNATURES[method]
    assert method in vars(MethodTrainer), "a hook that is not used any more should leave the table"


def test_no_other_method_of_the_parent_is_overridden():
    ours = {name for name in vars(MethodTrainer) if hasattr(GRPOTrainer, name) and not name.startswith("__")}
    assert ours - {"_tag_names", "_name", "_paper"} <= set(SIGNATURES)
    for trainer in TRAINERS.values():
        own = {name for name in vars(trainer) if not name.startswith("__")}
        assert own == {"method_class"}, "a method is weights alone; the trainer is the same for all"


def test_rows_of_one_prompt_stand_side_by_side_in_the_batch_of_all_processes():
    """What `ScoredBatch.prompt` is numbered by, and where its log-probabilities are."""
    source = inspect.getsource(GRPOTrainer._generate_and_score_completions)
    assert "rewards.view(-1, num_generations)" in source
    assert 'num_generations = self.num_generations if mode == "train" else self.num_generations_eval' in source
    assert 'output["old_per_token_logps"] = old_per_token_logps' in source


@pytest.mark.parametrize("method", RESUME_SIGNATURES)
def test_the_methods_that_resuming_hooks_into_keep_their_signature(method):
    assert list(inspect.signature(getattr(GRPOTrainer, method)).parameters) == RESUME_SIGNATURES[method]
    assert method in vars(ExactResume)


def test_resuming_can_rely_on_how_an_epoch_is_run_and_a_checkpoint_is_placed():
    names = {"epoch", "epochs_trained", "resume_from_checkpoint"}
    assert names <= set(inspect.signature(Trainer._run_epoch).parameters)
    loop = inspect.getsource(Trainer._inner_training_loop)
    assert all(f"{name}={name}" in loop.partition("self._run_epoch(")[2] for name in names), "given by name"
    saving = inspect.getsource(Trainer._save_checkpoint)
    assert "run_dir = self._get_output_dir(trial=trial)" in saving
    assert 'f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"' in saving
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
