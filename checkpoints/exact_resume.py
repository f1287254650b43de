"""A run that is resumed computes what it would have computed without the break.

transformers saves weights, optimiser, scheduler, counters and random states. Here is what it leaves out: the order of
the questions in every epoch (TRL's sampler cannot be put at an epoch), the rollout batch whose updates are not all
done, the sums not yet logged, and what each class of the trainer names in its `resumable`. They are saved for each
process as safetensors and JSON, and nothing is pickled.

All processes must see one file system. What is assumed of TRL and transformers is held by tests/test_trl_contract.py.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch.utils.data import Sampler
from transformers import PreTrainedModel
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl.trainer.utils import RepeatSampler, strip_images_from_messages

from checkpoints.disk_faults import DiskFaults
from checkpoints.disks import room
from checkpoints.manifest import STAGING, checkpoints, clear_staging, damage, keep_newest, publish, step_of
from checkpoints.model_card import after_updates

BEST_BY = "eval_decomposed/accuracy"  # says which checkpoint is the best where nothing else is chosen


class EpochOrder(Sampler):
    """TRL's sampler with an order that depends on (seed, epoch) alone; epoch 0 has TRL's own."""

    def __init__(self, sampler: RepeatSampler, epoch: Callable[[], int]):
        self.sampler, self.epoch = sampler, epoch

    def __iter__(self) -> Iterator[int]:
        if self.sampler.shuffle:
            seed, epoch = self.sampler.seed, self.epoch()
            if epoch:
                seed = int.from_bytes(hashlib.sha256(f"{seed} epoch {epoch}".encode()).digest()[:7])
            self.sampler.generator.manual_seed(seed)
        return iter(self.sampler)

    def __len__(self) -> int:
        return len(self.sampler)


class ExactResume(DiskFaults):
    """GRPOTrainer whose checkpoints hold all of its state and are written beside and renamed.

    `unsaved` is the line that says why the last one could not be written; None when it was. `card` is the README.md of
    whatever is saved, in place of the one that TRL and PEFT would write; None leaves theirs. `best_by` is the metric
    that says which checkpoint is the best.
    """

    unsaved: str | None = None
    card: str | None = None
    best_by: str = BEST_BY
    _epoch = 0
    _staging: Path | None = None

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        # transformers would delete all but the best checkpoint at the end of a run, the one just saved as well
        self.save_total_limit, self.args.save_total_limit = self.args.save_total_limit, None

    def _get_train_sampler(self, dataset=None):
        return EpochOrder(super()._get_train_sampler(dataset), lambda: self._epoch)

    def _run_epoch(self, *args, **kwargs):
        """One epoch in its own order; the first one after a resume starts with the memory of the checkpoint."""
        self._epoch, checkpoint = kwargs["epoch"], kwargs["resume_from_checkpoint"]
        if checkpoint is not None and self._epoch == kwargs["epochs_trained"]:
            self._restore(Path(checkpoint))
            if self.state.global_step >= self.state.max_steps:  # transformers would train one more step
                self.control.should_training_stop = True
                return None
        return super()._run_epoch(*args, **kwargs)

    def evaluate(self, *args, **kwargs):
        """A measurement draws from random numbers of its own: when it is made, and whether, changes no update, so that
        a run that goes on after its end computes what a longer one would have computed. With several completions a
        question they are the same numbers at every measurement, in transformers' generate too."""
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices), self._completions_of_training():
            if self.num_generations_eval > 1:
                torch.manual_seed(self.args.seed + self.accelerator.process_index)
            return super().evaluate(*args, **kwargs)

    @contextmanager
    def _completions_of_training(self) -> Iterator[None]:
        """TRL has one table of completions and one file of it a step, which those of a measurement would overwrite."""
        if not self.log_completions:
            yield
            return
        parts = [part for rows in self._logs.values() for part in (rows.values() if isinstance(rows, dict) else [rows])]
        kept = [list(part) for part in parts]
        self.log_completions = False
        try:
            yield
        finally:
            self.log_completions = True
            for part, rows in zip(parts, kept, strict=True):
                part.clear()
                part.extend(rows)

    # -- saving -------------------------------------------------------------------------------------------------------

    def _get_output_dir(self, trial):
        return str(self._staging) if self._staging else super()._get_output_dir(trial)

    def _save_checkpoint(self, model, trial):
        """Writes it beside and renames it. One that the disk refuses is removed, with a warning; the run goes on."""
        folder = Path(super()._get_output_dir(trial))
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        best = self._best()
        with self._noting_refusals():
            if self.args.should_save:
                self._write(clear_staging, folder)
            if self._refusal() is None:
                self._write_checkpoint(model, trial, folder / STAGING)
            if self._refusal() is None and self.args.should_save:
                self._write(self._publish, folder / STAGING / name, folder / name)
            refused = self._refusal()
        if refused and self.args.should_save:
            shutil.rmtree(folder / STAGING, ignore_errors=True)  # its room is free again
        self.unsaved = refused and self.unsaved_line(name, refused)
        if refused:
            self._set_best(best)
            self._print(f"Warning: {self.unsaved}")
        elif best and best != self._best() and step_of(best) % self.state.save_steps and self.args.should_save:
            shutil.rmtree(best, ignore_errors=True)  # it was saved for being the best, which another is now
        self.accelerator.wait_for_everyone()

    def create_model_card(self, *args, **kwargs) -> None:
        if self.card is None:
            super().create_model_card(*args, **kwargs)
        elif self.args.should_save:
            self._write_card(Path(self.args.output_dir), self.card)

    def _save(self, output_dir=None, state_dict=None) -> None:
        """Model and processor, with the card, and without TRL's copy of an adapter that is trained further ("ref"):
        it is that of the run folder which the training starts from, and is read from there again."""
        super()._save(output_dir, state_dict)
        folder = Path(output_dir or self.args.output_dir)
        if self.args.should_save:
            shutil.rmtree(folder / "ref", ignore_errors=True)
            if self.card is not None:
                self._write_card(folder, self.card)

    def _write_card(self, folder: Path, card: str) -> None:
        text = after_updates(card, [self.state.global_step, self.state.max_steps])
        self._write((folder / "README.md").write_text, text, encoding="utf-8")

    def _write_checkpoint(self, model, trial, staging: Path) -> None:
        self._staging = staging
        try:
            self._write(super()._save_checkpoint, model, trial)  # its exchanges are over before its own last write
        finally:
            self._staging = None
        if self._refusal() is None:  # and every process has a folder to write to
            self._write(self._save_memory, staging / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}")

    def _publish(self, written: Path, final: Path) -> None:
        best = self.state.best_model_checkpoint
        if best and Path(best) == written:
            self.state.best_model_checkpoint = best = str(final)
            self.state.save_to_json(str(written / "trainer_state.json"))
        publish(written, final)
        kept = {final, *([Path(best)] if best else [])}
        keep_newest(final.parent, self.save_total_limit, kept)

    def _best(self) -> Path | None:
        """The best checkpoint so far that is in the run folder and whole. Its stored path is of another working folder
        when a run is resumed from elsewhere, so only its name counts."""
        stored = self.state.best_model_checkpoint
        best = Path(self.args.output_dir, Path(stored).name) if stored else None
        return best if best and damage(best, hashes=False) is None else None

    def _set_best(self, best: Path | None) -> None:
        """Makes `best` the best checkpoint, with what was measured at its step; None: the next one will be."""
        step = step_of(best) if best else None
        measured = {entry["step"]: entry[self.best_by] for entry in self.state.log_history if self.best_by in entry}
        self.state.best_model_checkpoint = str(best) if best else None
        self.state.best_global_step, self.state.best_metric = step, measured.get(step)

    def unsaved_line(self, what: str, refused: str) -> str:
        """The line for a checkpoint or a final model that the disk has refused."""
        folder = Path(self.args.output_dir)
        newest = next((path for path in checkpoints(folder) if damage(path, hashes=False) is None), None)
        return (
            f"{what} could not be written to {folder}: {refused} ({room(folder)}). The newest whole checkpoint is "
            f"{newest.name if newest else 'none'}, from which --resume goes on. What helps: make room on the disk, and "
            "a --save-total-limit"
        )

    def _save_memory(self, checkpoint: Path) -> None:
        buffered: list[dict] = []
        tensors = {}
        for number, batch in enumerate(self._buffered_inputs or []):
            buffered.append({})
            for name, value in batch.items():
                if isinstance(value, torch.Tensor):
                    tensors[f"{number} {name}"] = value.detach().cpu().clone().contiguous()
                else:
                    buffered[-1][name] = value
        memory = {
            "num_processes": self.accelerator.num_processes,
            "counters": {name: getattr(self, name) for name in self._resumable_names()},
            "loss": self._tr_loss.item(),
            "metrics": {phase: dict(metrics) for phase, metrics in self._metrics.items()},
            "buffered": None if self._buffered_inputs is None else buffered,
            "completions": self._completions_table() if self.log_completions else None,
        }
        plain, packed = _memory_files(checkpoint, self.accelerator.process_index)
        plain.write_text(json.dumps(memory, indent=1, default=float), encoding="utf-8")
        save_file(tensors, packed)

    def _completions_table(self) -> dict:
        """The table that --log-completions shows at every update of a rollout batch, without images."""
        logs = self._logs
        table = {name: [strip_images_from_messages(row) for row in logs[name]] for name in ("prompt", "completion")}
        nested = {name: {key: list(rows) for key, rows in logs[name].items()} for name in ("rewards", "extra")}
        return {**table, **nested, "advantages": list(logs["advantages"])}

    # -- restoring ----------------------------------------------------------------------------------------------------

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        model = self.model if model is None else model
        if isinstance(model, PeftModel):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            load_weights(model, resume_from_checkpoint)

    def _restore(self, checkpoint: Path) -> None:
        """Puts the state of `checkpoint` back. ValueError when other processes hold the rest of its rollout batch."""
        self.state.compute_steps(self.args, self.state.max_steps)  # transformers keeps the old --save-steps
        state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        # transformers forgets one that is not found from here
        self.state.best_model_checkpoint = state["best_model_checkpoint"]
        self._set_best(self._best())
        plain, packed = _memory_files(checkpoint, self.accelerator.process_index)
        memory: dict[str, Any] = {"num_processes": None}
        if plain.is_file():
            memory = json.loads(plain.read_text(encoding="utf-8"))
        if memory["num_processes"] != self.accelerator.num_processes:
            self._step = self.state.global_step * self.args.gradient_accumulation_steps
            if self._step % (self.args.steps_per_generation * self.num_iterations):
                raise ValueError(
                    f"{checkpoint} lies between the updates of one rollout batch, which "
                    f"{self.accelerator.num_processes} processes cannot take over from {memory['num_processes']}"
                )
            return
        for name in self._resumable_names():
            if name in memory["counters"]:  # a checkpoint of an older version may lack one
                setattr(self, name, memory["counters"][name])
        self._tr_loss.fill_(memory["loss"])
        for phase, metrics in memory["metrics"].items():
            self._metrics[phase].update(metrics)
        if memory["buffered"] is not None:
            self._buffered_inputs = memory["buffered"]
            for key, value in load_file(packed).items():
                number, _, name = key.partition(" ")
                self._buffered_inputs[int(number)][name] = value.to(self.accelerator.device)
        if memory["completions"] is not None:
            for name, rows in memory["completions"].items():
                parts = rows.items() if isinstance(rows, dict) else [(None, rows)]
                for column, values in parts:
                    (self._logs[name] if column is None else self._logs[name][column]).extend(values)


def load_weights(model: PreTrainedModel, folder: str | Path) -> None:
    """Puts the weights that `save_pretrained` has written to `folder` into `model`; OSError when it holds none.

    Files have the names of the hub, which can differ from those of the modules (Qwen2.5-VL: "visual." is
    "model.visual."). from_pretrained translates; transformers' own resuming does not, and then trains the weights of
    the start on (Trainer._load_from_checkpoint, non-strict).
    """
    saved = type(model).from_pretrained(folder, dtype=model.dtype)
    model.load_state_dict(saved.state_dict())


def _memory_files(checkpoint: Path, process: int) -> tuple[Path, Path]:
    return checkpoint / f"trainer_memory_{process}.json", checkpoint / f"trainer_memory_{process}.safetensors"
