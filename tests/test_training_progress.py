import sys

from transformers import TrainerControl, TrainerState

from training.report import TrainingProgress


def test_a_log_file_shows_a_step_when_it_is_done(tmp_path, monkeypatch):
    log = tmp_path / "log"
    progress, state = TrainingProgress(), TrainerState(max_steps=2, is_world_process_zero=True)
    with log.open("w") as file:  # block-buffered, as standard output is in `main.py > log`
        monkeypatch.setattr(sys, "stdout", file)
        progress.on_train_begin(None, state, TrainerControl())
        state.global_step = 1
        progress.on_log(None, state, TrainerControl(), logs={"loss": 0.25})
        assert log.read_text() == "step 1: loss 0.25\n"
    progress.training_bar.close()
