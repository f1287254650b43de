"""Every method that a class of the trainer overrides, and what each assumes of TRL and transformers.

tests/test_trl_contract.py compares this table with the classes and with the installed versions.
"""

from dataclasses import dataclass

from accelerate.utils import DeepSpeedEngineWrapper
from transformers import Trainer
from trl import GRPOTrainer
from trl.trainer.base_trainer import _BaseTrainer
from trl.trainer.utils import RepeatSampler

from checkpoints.disk_faults import DiskFaults
from checkpoints.exact_resume import ExactResume
from trainers.held_out import HeldOut
from trainers.trainer import MethodTrainer
from update.guard import Guard
from update.packed_update import PackedUpdate
from update.ratios import RatioMetric
from update.reward_errors import RewardErrors
from update.rollouts import EngineRollouts
from update.server_rollouts import ServerRollouts
from update.usage import Usage


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
        (MethodTrainer, HeldOut, Guard, RewardErrors, Usage, ServerRollouts, EngineRollouts, PackedUpdate, ExactResume),
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
        (ServerRollouts, EngineRollouts),
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
        (Guard, RatioMetric, ServerRollouts, PackedUpdate),
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
            # the last pass of an update is known while it is computed, and DeepSpeed steps in its backward pass
            (Trainer._run_epoch, "self.accelerator.gradient_state._set_sync_gradients(do_sync_step)"),
            (DeepSpeedEngineWrapper.backward, "if sync_gradients:"),
            (DeepSpeedEngineWrapper.backward, "self.engine.step()"),
        ),
    ),
    "_get_per_token_logps_and_entropies": Override(
        (HeldOut, RatioMetric, PackedUpdate),
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
        (Guard, ServerRollouts),
        "self model",
        ((Trainer._run_epoch, "if self.args.max_grad_norm > 0: grad_norm = self._clip_grad_norm(model)"),),
    ),
    "log": Override(
        (MethodTrainer, HeldOut, RatioMetric, Usage),
        "self logs start_time",
        (
            (Trainer.evaluate, "self.log(output.metrics)"),
            (GRPOTrainer.log, 'metrics = {f"eval_{key}": val for key, val in metrics.items()}'),
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
        (HeldOut, ExactResume),
        "self eval_dataset ignore_keys metric_key_prefix",
        (
            (Trainer._evaluate, "metrics = self.evaluate(ignore_keys=ignore_keys_for_eval)"),
            # the order of the questions, the same at every measurement
            (GRPOTrainer._get_eval_sampler, "mini_repeat_count=self.num_generations_eval, seed=self.args.seed,"),
            (GRPOTrainer.get_eval_dataloader, "sampler_fn=self._get_eval_sampler,"),
        ),
    ),
    "prediction_step": Override(
        (HeldOut,),
        "self model inputs prediction_loss_only ignore_keys",
        (
            (GRPOTrainer.prediction_step, "inputs = self._prepare_inputs(inputs)"),
            (Trainer.evaluation_loop, "if losses is not None:"),
        ),
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
SET_TOO = {"_step", "_buffered_inputs", "_current_train_step_time", "log_completions"}

# Attributes that transformers' trainer has from its first update on.
SET_WHILE_TRAINING = {"current_gradient_accumulation_steps", "_tr_loss"}

# What changes during a run and needs no place in a checkpoint: attribute -> why.
NOT_RESUMED = {
    "log_completions": "off while a measurement lasts",
    "_buffered_inputs": "has a file of its own",
    "_current_train_step_time": "what a clock has measured",
    "_rewards": "of the rollout batch that is being scored",
    "_losses": "of the update in hand",
    "_logps": "of the pass in hand",
    "_capped": "of the pass in hand",
    "_charts": "of the measurement in hand",
    "_to_count": "of the measurement in hand",
    "_verdicts": "of the measurement in hand",
    "_gap": "is saved as _gap_so_far",
    "_gap_of_update": "of the update in hand",
    "_wrong": "of the update in hand",
    "_published_step": "a resumed run publishes its adapter anew",
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
