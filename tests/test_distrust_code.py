"""Models, adapters and checkpoints from elsewhere: no code of theirs runs, no pickle of theirs is read."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch

import generate_samples
import main
from checkpoints.manifest import publish
from models.registry import TINY_FOLDER, load_config, load_model, load_processor


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return Path.write_text, (self.target, "code of a pickle has run")


@pytest.fixture
def mark(tmp_path):
    """The file that foreign code would write."""
    return tmp_path / "code-has-run"


@pytest.fixture
def model(tmp_path):
    return Path(shutil.copytree(TINY_FOLDER, tmp_path / "model"))


def change(file: Path, **values) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def trains(model: Path, *flags: str) -> list[str]:
    line = f"--mode nsr --dataset-name synthetic --subset-size 8 --max-steps 1 --report-to none --vlm-name {model}"
    return [*line.split(), "--output-root", str(model.parent / "runs"), *flags]


def samples(checkpoint: Path, *flags: str) -> list[str]:
    line = f"--dataset-name synthetic --subset-size 2 --num-samples 2 --checkpoint-path {checkpoint}"
    return [*line.split(), "--output-path", str(checkpoint.parent / "samples.json"), *flags]


def refused(program, argv: list[str], capsys) -> str:
    """The one line with which `program` refuses `argv`."""
    assert program.main(argv) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1, error
    return error


@pytest.mark.parametrize("known", [True, False], ids=["known model type", "unknown model type"])
def test_code_in_a_model_folder_never_runs(known, model, mark, monkeypatch, capsys):
    monkeypatch.setattr("builtins.input", lambda *a: "y")  # transformers would ask whether to run it
    (model / "evil.py").write_text(f"open({str(mark)!r}, 'w').write('ran')\nclass Any: pass\n")
    change(
        model / "config.json",
        auto_map={"AutoConfig": "evil.Any", "AutoModelForImageTextToText": "evil.Any"},
        **({} if known else {"model_type": "evil"}),
    )
    for name in ("tokenizer_config.json", "processor_config.json"):
        change(model / name, auto_map={"AutoProcessor": "evil.Any", "AutoTokenizer": ["evil.Any", None]})
    if known:
        assert load_config(str(model)).model_type == load_model(str(model)).config.model_type == "qwen2_5_vl"
        load_processor(str(model))
    else:
        assert "custom code" in refused(main, trains(model), capsys)
        assert "custom code" in refused(generate_samples, samples(model), capsys)
    assert not mark.exists()


def test_a_configuration_cannot_fetch_a_kernel_from_the_hub(model, capsys):
    change(model / "config.json", attn_implementation="evil/kernel")
    assert "asks for code of 'evil/kernel'" in refused(main, trains(model), capsys)
    assert "asks for code of 'evil/kernel'" in refused(generate_samples, samples(model), capsys)


def test_pickled_weights_of_a_model_are_refused_unread(model, mark, capsys):
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(mark)))
    for program, argv in ((main, trains(model)), (generate_samples, samples(model))):
        error = refused(program, argv, capsys)
        assert "pytorch_model.bin" in error and "save it again as safetensors" in error
    assert not mark.exists() and not (model.parent / "runs").exists()


def test_an_index_cannot_name_weights_elsewhere(model, capsys):
    (model / "model.safetensors").rename(model.parent / "other.safetensors")
    index = {"weight_map": {"lm_head.weight": "../other.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "'../other.safetensors', which is no file of its folder" in refused(main, trains(model), capsys)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of one step: checkpoint-1 and the final adapter."""
    root = tmp_path_factory.mktemp("made")
    line = "--mode nsr --dataset-name synthetic --subset-size 8 --vlm-name tiny --report-to none --max-steps 1"
    short = "--max-completion-length 4 --num-generations 2 --disable-gradient-checkpointing --held-out 0"
    assert main.main([*line.split(), *short.split(), "--output-root", str(root)]) == 0
    return root / "tiny-prm-large-train-v2-nsr-2025"


@pytest.fixture
def run(made, tmp_path):
    """A copy of it that has not finished."""
    folder = Path(shutil.copytree(made, tmp_path / "runs" / made.name))
    change(folder / "training_settings.json", finished=False)
    return folder


@pytest.fixture
def finished(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "runs" / made.name))


def resumed(run: Path, *flags: str) -> list[str]:
    settings = json.loads((run / "training_settings.json").read_text())["settings"]
    line = "--mode nsr --dataset-name synthetic --subset-size 8 --vlm-name tiny --report-to none --max-steps 1"
    short = "--max-completion-length 4 --num-generations 2 --disable-gradient-checkpointing --held-out 0"
    assert settings["mode"] == "nsr"
    return [*line.split(), *short.split(), "--output-root", str(run.parent), "--resume", *flags]


def test_a_pickled_adapter_is_refused_unread(finished, mark, capsys):
    (finished / "adapter_model.safetensors").unlink()
    (finished / "adapter_model.bin").write_bytes(pickle.dumps(Bomb(mark)))
    error = refused(generate_samples, samples(finished), capsys)
    assert "adapter_model.bin" in error and "save it again as safetensors" in error
    assert not mark.exists()


@pytest.mark.parametrize(
    "change_to",
    [
        {"megatron_config": {"a": 1}, "megatron_core": "evil"},
        {"peft_type": "PROMPT_TUNING"},
        {"auto_mapping": {"parent_library": "evil", "base_model_class": "Any"}},
    ],
)
def test_an_adapter_cannot_name_modules_to_import(finished, change_to, capsys):
    change(finished / "training_settings.json", weights=None)
    change(finished / "adapter_config.json", **change_to)
    assert "describes no LoRA adapter" in refused(generate_samples, samples(finished), capsys)
    assert "describes no LoRA adapter" in refused(main, trains(finished), capsys)


def test_a_changed_adapter_is_told_from_the_one_that_was_saved(finished, capsys):
    file = finished / "adapter_model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert f"{file.name} differs from what main.py has saved" in refused(generate_samples, samples(finished), capsys)


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
@pytest.mark.parametrize("kind", ["saved by torch", "plain pickle"])
def test_a_pickle_in_a_checkpoint_with_a_right_manifest_does_not_run(name, kind, run, mark, capsys):
    checkpoint = run / "checkpoint-1"
    if kind == "saved by torch":
        torch.save({"state": Bomb(mark)}, checkpoint / name)
    else:
        (checkpoint / name).write_bytes(pickle.dumps(Bomb(mark)))
    shutil.copytree(checkpoint, run / ".new" / "checkpoint-1")
    publish(run / ".new" / "checkpoint-1", checkpoint)
    for flags in ([], [str(checkpoint)]):
        assert f"checkpoint-1 is not used: {name}" in refused(main, resumed(run, *flags), capsys)
    assert not mark.exists()


def test_without_that_look_the_libraries_themselves_would_not_run_it_either(mark, tmp_path):
    """What transformers passes to torch.load; held here because checkpoints/pickles.py is only the kinder message."""
    import inspect

    from transformers import Trainer

    calls = inspect.getsource(Trainer._load_optimizer_and_scheduler) + inspect.getsource(Trainer._load_rng_state)
    assert calls.count("torch.load(") == calls.count("weights_only=True") > 3
    torch.save({"state": Bomb(mark)}, tmp_path / "optimizer.pt")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "optimizer.pt", weights_only=True)
    assert not mark.exists()


def test_pickled_weights_in_a_checkpoint_are_not_resumed_from(run, mark, capsys):
    checkpoint = run / "checkpoint-1"
    (checkpoint / "adapter_model.safetensors").unlink()
    torch.save(Bomb(mark), checkpoint / "adapter_model.bin")
    shutil.copytree(checkpoint, run / ".new" / "checkpoint-1")
    publish(run / ".new" / "checkpoint-1", checkpoint)
    assert "no safetensors weights, and pickled ones are never read" in refused(main, resumed(run), capsys)
    assert not mark.exists()
