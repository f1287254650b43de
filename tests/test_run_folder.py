"""What happens to folders that are there already: nothing is lost without a flag."""

import argparse
import fcntl
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from checkpoints.manifest import publish
from checkpoints.run_folder import (
    PUBLISHED,
    SETTINGS_FILE,
    claim,
    differences,
    discard_replaced,
    prepare_folder,
    run_folder,
    settings_record,
    write_settings,
)
from trainers import METHODS
from trainers.method import Method, option

DATA = {"name": "synthetic", "split": "train", "fingerprint": "f00d", "num_questions": 100}


def record(**changes):
    settings = {"vlm_name": "tiny", "prompt": "structured", "min_pixels": 1, "max_pixels": 2, "subset_size": 100}
    return settings_record(
        argparse.Namespace(**{**settings, **changes}), {"name": "tiny", "source": "models/tiny"}, DATA
    )


def finish(folder, settings):
    prepare_folder(folder, settings, resume=False, overwrite=False)
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    write_settings(folder, {**settings, "finished": True})


@pytest.mark.parametrize(
    ("mode", "vlm", "name"),
    [
        ("grpo", "qwen2-5-3b", "qwen2-5-3b-prm-large-train-v2-2025"),
        ("nsr", "qwen2-5-3b", "qwen2-5-3b-prm-large-train-v2-nsr-2025"),
        ("w-reinforce", "Org/Model-3B", "Org--Model-3B-prm-large-train-v2-w-reinforce-2025"),
    ],
)
def test_the_folder_is_named_after_model_mode_and_seed(mode, vlm, name):
    assert run_folder("root", vlm, mode, 2025).as_posix() == f"root/{name}"


def test_an_option_of_another_method_is_no_other_setting_and_a_run_may_be_older_than_it(monkeypatch):
    @dataclass(frozen=True)
    class Later(Method):
        name = "later"
        shift: float = option(0.5, "moves it", shown="Shift")

    monkeypatch.setitem(METHODS, "later", Later)
    old = record(mode="nsr", lambda_psr=0.1)
    assert differences(old, record(mode="nsr", lambda_psr=0.1, shift=0.5)) == []
    assert differences(old, record(mode="psr", lambda_psr=0.1, shift=0.5)) == ["mode: nsr -> psr"]
    weighted = record(mode="w-reinforce", lambda_psr=0.1)
    assert differences(weighted, record(mode="w-reinforce", lambda_psr=0.2, shift=0.5)) == ["lambda_psr: 0.1 -> 0.2"]
    scheduled = {"mode": "w-reinforce", "lambda_psr": 0.1, "negative_weight_start": 1.5, "lambda_psr_end": None}
    assert differences(weighted, record(**scheduled, negative_weight="constant")) == [], "older than the schedules"
    cosine = differences(weighted, record(**scheduled, negative_weight="cosine"))
    assert cosine == ["negative_weight: constant -> cosine"]
    later = record(mode="later", lambda_psr=0.1, shift=0.5)
    assert differences(later, record(mode="later", lambda_psr=0.1, shift=0.4)) == ["shift: 0.5 -> 0.4"]


def test_a_finished_run_with_other_settings_is_set_aside_and_kept(tmp_path):
    folder = tmp_path / "run"
    for size, aside in ((100, None), (1000, "run.1"), (10_000, "run.2")):
        lines, _ = prepare_folder(folder, record(subset_size=size), resume=False, overwrite=False)
        assert bool(lines) == (aside is not None) and all(str(tmp_path / str(aside)) in line for line in lines)
        (folder / "adapter_model.safetensors").write_text(str(size))
        write_settings(folder, {**record(subset_size=size), "finished": True})
    assert (tmp_path / "run.1" / "adapter_model.safetensors").read_text() == "100"
    assert (tmp_path / "run.2" / "adapter_model.safetensors").read_text() == "1000"


@pytest.mark.parametrize(("change", "told"), [({"num_epochs": 2}, True), ({"num_epochs": 2, "subset_size": 7}, False)])
def test_a_run_set_aside_for_its_length_alone_is_told_apart(change, told, tmp_path):
    finish(tmp_path / "run", record(num_epochs=1))
    lines, _ = prepare_folder(tmp_path / "run", record(**change), resume=False, overwrite=False)
    assert ("trained further by --resume" in " ".join(lines)) == told


def test_a_finished_run_with_the_same_settings_is_refused_and_left_alone(tmp_path):
    finish(tmp_path / "run", record())
    with pytest.raises(
        ValueError, match=r"a finished run with these settings; --resume with more .* --overwrite deletes it"
    ):
        prepare_folder(tmp_path / "run", record(), resume=False, overwrite=False)
    assert (tmp_path / "run" / "adapter_model.safetensors").read_bytes() == b"weights"


def test_an_unfinished_run_is_refused_even_with_other_settings(tmp_path):
    prepare_folder(tmp_path / "run", record(), resume=False, overwrite=False)
    (tmp_path / "run" / "checkpoint-5").mkdir()
    with pytest.raises(ValueError, match="an unfinished run; continue it with --resume"):
        prepare_folder(tmp_path / "run", record(subset_size=5), resume=False, overwrite=False)


def test_a_run_that_died_before_it_left_anything_blocks_nobody(tmp_path):
    for size in (100, 5):
        prepare_folder(tmp_path / "run", record(subset_size=size), resume=False, overwrite=False)
        assert [path.name for path in (tmp_path / "run").iterdir()] == [SETTINGS_FILE]
        (tmp_path / "run" / PUBLISHED / "step-0-1234").mkdir(parents=True)  # on its way to a server


def test_a_folder_that_is_no_run_of_ours_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="no run of this program"):
            prepare_folder(tmp_path, record(), resume=False, overwrite=overwrite)
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_overwrite_starts_empty(tmp_path):
    finish(tmp_path / "run", record())
    prepare_folder(tmp_path / "run", record(), resume=False, overwrite=True)
    assert [path.name for path in (tmp_path / "run").iterdir()] == [SETTINGS_FILE]
    assert (tmp_path / "run.replaced" / "adapter_model.safetensors").exists(), "kept until the new model is loaded"
    discard_replaced(tmp_path / "run")
    assert not (tmp_path / "run.replaced").exists()
    assert json.loads((tmp_path / "run" / SETTINGS_FILE).read_text())["finished"] is False


def checkpoint(folder, step, processes=1, deepspeed=False):
    """A checkpoint as the trainer leaves it, in small."""
    written = folder / ".saving" / f"checkpoint-{step}"
    written.mkdir(parents=True)
    names = ["trainer_state.json", "adapter_model.safetensors", *["latest"] * deepspeed]
    for name in names + [f"trainer_memory_{process}.json" for process in range(processes)]:
        (written / name).write_text(f"{name} of step {step}")
    (written / "trainer_state.json").write_text(json.dumps({"global_step": step, "epoch": step / 100}))
    publish(written, folder / f"checkpoint-{step}")
    return folder / f"checkpoint-{step}"


def resume(folder, settings, which=True, **options):
    return prepare_folder(folder, settings, resume=which, overwrite=False, **options)


@pytest.fixture
def run(tmp_path):
    prepare_folder(tmp_path / "run", record(), resume=False, overwrite=False)
    for step in (5, 20, 100):
        checkpoint(tmp_path / "run", step)
    return tmp_path / "run"


def test_the_newest_whole_checkpoint_is_resumed_from_and_damaged_ones_are_named(run):
    assert resume(run, record()) == ([f"Resuming from {run / 'checkpoint-100'}"], run / "checkpoint-100")
    (run / "checkpoint-100" / "adapter_model.safetensors").write_text("cut")
    (run / "checkpoint-20" / "trainer_state.json").unlink()
    lines, found = resume(run, record())
    assert found == run / "checkpoint-5"
    assert "checkpoint-100 is damaged: adapter_model.safetensors has 3 bytes instead of" in lines[0]
    assert "checkpoint-20 is damaged: trainer_state.json is missing; skipped" in lines[1]
    (run / "checkpoint-5" / "manifest.json").unlink()
    with pytest.raises(ValueError, match=r"no whole checkpoint .*checkpoint-5 is damaged: manifest.json is missing"):
        resume(run, record())


def test_a_checkpoint_named_by_hand_is_taken_or_refused_never_replaced(run):
    assert resume(run, record(), str(run / "checkpoint-5"))[1] == run / "checkpoint-5"
    state = run / "checkpoint-5" / "trainer_state.json"
    state.write_text(state.read_text().replace("5", "6"))
    with pytest.raises(
        ValueError, match=r"trainer_state.json has other content than when it was saved; --resume alone"
    ):
        resume(run, record(), str(run / "checkpoint-5"))
    for other in (run / "checkpoint-7", run, run.parent):
        with pytest.raises(
            ValueError, match=r"no checkpoint of the run .* checkpoint-100, checkpoint-20, checkpoint-5"
        ):
            resume(run, record(), str(other))


def test_resume_needs_a_run_and_the_same_settings(run, tmp_path):
    with pytest.raises(ValueError, match="no run to continue"):
        resume(tmp_path / "none", record())
    with pytest.raises(ValueError, match="other settings: subset_size: 100 -> 7"):
        resume(run, record(subset_size=7))
    assert resume(run, record(output_root="elsewhere", save_steps=3))[1] == run / "checkpoint-100"
    write_settings(run, {**record(), "finished": True})
    with pytest.raises(ValueError, match="is finished"):
        resume(run, record())


def test_a_run_killed_before_its_first_checkpoint_starts_from_the_beginning(tmp_path):
    prepare_folder(tmp_path / "run", record(), resume=False, overwrite=False)
    (tmp_path / "run" / ".saving" / "checkpoint-5").mkdir(parents=True)
    lines, found = resume(tmp_path / "run", record())
    assert found is None and "yet: starting from the beginning" in lines[0]
    prepare_folder(tmp_path / "run", record(), resume=False, overwrite=False)  # and blocks nobody


def batch(size, accumulation, processes, monkeypatch, **more):
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    return record(batch_size=size, gradient_accumulation_steps=accumulation, updates_per_rollout=4, **more)


def test_other_processes_may_go_on_when_an_update_stays_as_large(run, tmp_path, monkeypatch):
    two = batch(2, 2, 2, monkeypatch)
    write_settings(run, two)
    for step in (100, 102):
        shutil.rmtree(run / f"checkpoint-{step}", ignore_errors=True)
        checkpoint(run, step, processes=2)
    assert resume(run, two)[1] == run / "checkpoint-102"
    with pytest.raises(ValueError, match="updates of 8 completions on 2 processes; these settings make 4 on 1"):
        resume(run, batch(2, 2, 1, monkeypatch))
    with pytest.raises(ValueError, match=r"other settings: subset_size: 100 -> 7$"):
        resume(run, batch(2, 4, 1, monkeypatch, subset_size=7))
    with pytest.raises(ValueError, match=r"102 lies between the updates .* that 2 .*; go on with 2 processes$"):
        resume(run, batch(2, 4, 1, monkeypatch), str(run / "checkpoint-102"))
    lines, found = resume(run, batch(2, 4, 1, monkeypatch))
    assert found == run / "checkpoint-100" and "checkpoint-102 lies between" in lines[0]
    assert "Processes: 1 instead of 2" in lines[1] and "not be bit for bit" in lines[1]
    assert resume(run, batch(2, 4, 1, monkeypatch))[1] == run / "checkpoint-100", "and again, after another break"


def test_deepspeed_goes_on_with_as_many_processes_and_with_its_own_checkpoints_only(run, monkeypatch):
    two = batch(2, 2, 2, monkeypatch)
    write_settings(run, two)
    with pytest.raises(ValueError, match="was made without DeepSpeed"):
        resume(run, two, deepspeed=True)
    checkpoint(run, 104, processes=2, deepspeed=True)
    assert resume(run, two, deepspeed=True)[1] == run / "checkpoint-104"
    with pytest.raises(ValueError, match="was made with DeepSpeed; launch with the same file"):
        resume(run, two)
    with pytest.raises(ValueError, match=r"with 2 processes, not 1, .* launch with --num_processes 2"):
        resume(run, batch(2, 4, 1, monkeypatch), deepspeed=True)


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="--output-root: cannot write to"):
        prepare_folder(tmp_path / "file" / "run", record(), resume=False, overwrite=False)


HOLD = """
import sys
from pathlib import Path
from checkpoints.run_folder import claim
claim(Path(sys.argv[1]))
print(1, flush=True)
input()
"""


@pytest.mark.parametrize("flags", [{}, {"resume": True}, {"overwrite": True}], ids=str)
def test_two_processes_never_train_in_one_folder(flags, tmp_path):
    folder, flags = tmp_path / "run", {"resume": None, "overwrite": False, **flags}
    finish(folder, record(subset_size=7))
    write_settings(folder, record(subset_size=7))  # unfinished, as while it is being trained in
    claim(tmp_path)  # this process has moved on
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        cwd=Path(__file__).parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout.readline() == "1\n"
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ValueError, match="is being trained in by another process"):
        prepare_folder(folder, record(subset_size=7), **flags)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before and not (tmp_path / "run.replaced").exists()
    other.communicate("\n")
    if not any(flags.values()):
        with pytest.raises(ValueError, match="holds an unfinished run"):
            prepare_folder(folder, record(subset_size=7), **flags)
    else:
        prepare_folder(folder, record(subset_size=7), **flags)


def test_a_folder_that_is_refused_is_not_held(tmp_path):
    """What cannot be resumed here may be trained in by another process at once."""
    folder, new = tmp_path / "run", record()
    prepare_folder(folder, new, resume=False, overwrite=False)
    checkpoint(folder, 1)
    with pytest.raises(ValueError, match="unfinished"):
        prepare_folder(folder, new, resume=False, overwrite=False)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)
