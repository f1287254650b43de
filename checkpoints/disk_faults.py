"""A checkpoint that the disk refuses ends in one line of warning, on all processes alike, and training goes on.

transformers and DeepSpeed write a checkpoint in several places, with exchanges between the processes in between. A
process that left at its first failed write would leave the others waiting in the next exchange. So the failed write is
noted, the process writes nothing more but takes part in everything else, and at the end every process learns of it.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from accelerate.utils import gather_object

from checkpoints.disks import refusal
from checkpoints.trainer_base import TrainerBase


class DiskFaults(TrainerBase):
    """GRPOTrainer whose saving no full or unwritable disk interrupts; `_refusal` says whether there was one."""

    _noting = False  # outside of `_noting_refusals` a failed write raises
    _refused: str | None = None  # why the first write that failed on this process did

    @contextmanager
    def _noting_refusals(self) -> Iterator[None]:
        self._noting, self._refused = True, None
        try:
            yield
        finally:
            self._noting, self._refused = False, None

    def _write(self, function: Callable[..., object], *args, **kwargs) -> None:
        """Calls `function`, which writes and exchanges nothing with other processes, unless a write has failed."""
        if self._refused:
            return
        try:
            function(*args, **kwargs)
        except Exception as error:
            self._refused = refusal(error) if self._noting else None
            if self._refused is None:
                raise

    def _refusal(self) -> str | None:
        """Why the disk refused a write of any process, the first that has a reason; every process must call this."""
        return next(filter(None, gather_object([self._refused])), None)

    def create_model_card(self, *args, **kwargs) -> None:
        self._write(super().create_model_card, *args, **kwargs)

    def _save(self, *args, **kwargs) -> None:
        self._write(super()._save, *args, **kwargs)

    def _save_rng_state(self, output_dir: str) -> None:
        self._write(super()._save_rng_state, output_dir)

    def _save_scaler(self, output_dir: str) -> None:
        self._write(super()._save_scaler, output_dir)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not self.is_deepspeed_enabled:
            self._write(super()._save_optimizer_and_scheduler, output_dir)
            return
        with self._deepspeed_writes() as engine:
            super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save:
            self._write((Path(output_dir) / "latest").write_text, f"global_step{engine.global_steps}")

    @contextmanager
    def _deepspeed_writes(self) -> Iterator:
        """DeepSpeed's engine, whose `save_checkpoint` gathers weights and waits for all even after a failed write.

        What it writes are the files of its checkpoint engine, two scripts, and `latest`, which is left to the caller.
        """
        engine = self.model_wrapped
        files = engine.checkpoint_engine
        writers = ((files, "makedirs"), (files, "save"), (engine, "_copy_recovery_script"))
        for owner, name in writers:
            setattr(owner, name, functools.partial(self._write, getattr(owner, name)))
        engine.save_checkpoint = functools.partial(engine.save_checkpoint, save_latest=False)
        try:
            yield engine
        finally:
            for owner, name in (*writers, (engine, "save_checkpoint")):
                delattr(owner, name)

    def save_result(self, also: Callable[[], None]) -> str | None:
        """Saves the final model and the log, and calls `also` on the main process -> why the disk refused, or None."""
        with self._noting_refusals():
            self.save_model()
            error = None
            if self.args.should_save:
                try:
                    self._write(self.save_state)
                    self._write(also)
                except Exception as raised:  # the other processes must not wait for this one
                    error = raised
            refused = self._refusal()
        if error is not None:
            raise error
        return refused
