"""What happens to folders that are there already: nothing is lost without a flag."""

import argparse
import json

import pytest

from training.run_folder import (
    SETTINGS_FILE,
    discard_replaced,
    newest_checkpoint,
    prepare_folder,
    run_folder,
    settings_record,
    write_settings,
)

DATA = {"name": "synthetic", "split": "train", "fingerprint": "f00d", "num_questions": 100}


def record(**changes):
    settings = {"vlm_name": "tiny", "prompt": "structured", "min_pixels": 1, "max_pixels": 2, "subset_size": 100}
    return settings_record(argparse.Namespace(**{**settings, **changes}), "models/tiny", DATA)


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
def test_the_folder_is_named_as_in_the_guides(mode, vlm, name):
    assert run_folder("root", vlm, mode, 2025).as_posix() == f"root/{name}"


def test_a_finished_run_with_other_settings_is_set_aside_and_kept(tmp_path):
    folder = tmp_path / "run"
    for size, aside in ((100, None), (1000, "run.1"), (10_000, "run.2")):
        lines = prepare_folder(folder, record(subset_size=size), resume=False, overwrite=False)
        assert bool(lines) == (aside is not None) and all(str(tmp_path / str(aside)) in line for line in lines)
        (folder / "adapter_model.safetensors").write_text(str(size))
        write_settings(folder, {**record(subset_size=size), "finished": True})
    assert (tmp_path / "run.1" / "adapter_model.safetensors").read_text() == "100"
    assert (tmp_path / "run.2" / "adapter_model.safetensors").read_text() == "1000"


def test_a_finished_run_with_the_same_settings_is_refused_and_left_alone(tmp_path):
    finish(tmp_path / "run", record())
    with pytest.raises(ValueError, match="a finished run with these settings; delete it"):
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


def test_the_newest_whole_checkpoint_is_resumed_from(tmp_path):
    for step, whole in ((5, True), (20, True), (100, False)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if whole:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text("{}")
    assert newest_checkpoint(tmp_path).name == "checkpoint-20"


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


def test_resume_needs_a_checkpoint_and_the_same_settings(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(ValueError, match="no run to continue"):
        prepare_folder(folder, record(), resume=True, overwrite=False)
    prepare_folder(folder, record(), resume=False, overwrite=False)
    (folder / "checkpoint-5").mkdir()  # torn: nothing in it
    with pytest.raises(ValueError, match="no whole checkpoint"):
        prepare_folder(folder, record(), resume=True, overwrite=False)
    (folder / "checkpoint-5" / "trainer_state.json").write_text("{}")
    with pytest.raises(ValueError, match="other settings: subset_size: 100 -> 7"):
        prepare_folder(folder, record(subset_size=7), resume=True, overwrite=False)
    prepare_folder(folder, record(output_root="elsewhere", save_steps=3), resume=True, overwrite=False)


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="--output-root: cannot write to"):
        prepare_folder(tmp_path / "file" / "run", record(), resume=False, overwrite=False)
