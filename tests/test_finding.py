"""What --checkpoint-path accepts: run folders bring their prompt and limits along, the rest is told apart clearly."""

import json
import shutil

import pytest
import torch
from peft import get_peft_model

import generate_samples
from charts.prompt import prompt_hash
from checkpoints.finding import check_adapter, find_checkpoint, load
from checkpoints.fingerprints import files_fingerprint
from models.registry import ORGANISM_FOLDER, TINY_FOLDER, load_model, lora_config
from tests.families import make_family

RUN = "tiny-prm-large-train-v2-2025"


def settings(**changed) -> dict:
    return {
        "settings": {"mode": "nsr", "vlm_name": "tiny", "seed": 2025, "max_completion_length": 17},
        "model": {"name": "tiny", "source": str(TINY_FOLDER)},
        "prompt": {"name": "short", "hash": prompt_hash("short")},
        "image": {"min_pixels": 784, "max_pixels": 12544},
        "finished": True,
    } | changed


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run folder as main.py leaves it, with an adapter that changes the model."""
    folder = tmp_path_factory.mktemp("runs") / RUN
    torch.manual_seed(0)
    base = load_model("tiny")
    model = get_peft_model(base, lora_config(base.config))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    model.save_pretrained(folder)
    (folder / "training_settings.json").write_text(json.dumps(settings()))
    return folder


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / RUN)


def sampled(checkpoint, output, *flags) -> int:
    base = ["--dataset-name", "synthetic", "--subset-size", "2", "--num-samples", "4"]
    return generate_samples.main(["--checkpoint-path", str(checkpoint), *base, "--output-path", str(output), *flags])


def test_a_run_folder_brings_method_prompt_limits_and_length_along(folder, tmp_path):
    assert sampled(folder, tmp_path / "s.json") == 0
    kept = json.loads((tmp_path / "s.settings.json").read_text())
    assert kept["method"] == "nsr"
    assert kept["prompt"]["name"] == "short"
    assert kept["image"] == {"min_pixels": 784, "max_pixels": 12544}
    assert kept["sampling"]["max_new_tokens"] == 17
    assert kept["model"]["name"] == "tiny" and len(kept["model"]["adapter"]) == 16


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--prompt", "structured"], "--prompt structured contradicts"),
        (["--max-pixels", "9999"], "--max-pixels 9999 contradicts"),
    ],
)
def test_a_flag_that_contradicts_the_run_folder_is_an_error(folder, tmp_path, capsys, flags, told):
    assert sampled(folder, tmp_path / "s.json", *flags) == 2
    assert told in capsys.readouterr().err
    assert sampled(folder, tmp_path / "s.json", "--prompt", "short", "--max-pixels", "12544") == 0


@pytest.mark.parametrize("has_record", [False, True])
def test_a_folder_called_like_a_short_name_is_the_folder(has_record, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(TINY_FOLDER, "organism")
    if has_record:  # as --no-lora leaves it
        (tmp_path / "organism" / "training_settings.json").write_text(json.dumps(settings()))
    found = find_checkpoint("./organism")
    assert found.source == str(tmp_path / "organism") and found.model_name == "./organism"
    embedded = find_checkpoint("organism")
    assert embedded.source == str(ORGANISM_FOLDER) and embedded.model_name == "organism"


def test_a_folder_name_with_grpo_finds_the_folder_without_it(folder):
    asked = folder.with_name("tiny-prm-large-train-v2-grpo-2025")
    assert find_checkpoint(str(asked)).adapter == folder
    with pytest.raises(ValueError, match="no such folder"):
        find_checkpoint(str(folder.with_name("tiny-prm-large-train-v2-psr-2025")))


def test_the_adapter_changes_the_samples_and_merging_it_does_not(folder, tmp_path):
    flags = ["--prompt", "short", "--min-pixels", "784", "--max-pixels", "12544", "--max-new-tokens", "17"]
    assert sampled("tiny", tmp_path / "base.json", *flags) == 0
    assert sampled(folder, tmp_path / "merged.json", "--merge-adapter", "yes") == 0
    assert sampled(folder, tmp_path / "beside.json", "--merge-adapter", "no") == 0
    base, merged, beside = (
        [problem["samples"] for problem in json.loads((tmp_path / f"{name}.json").read_text())]
        for name in ("base", "merged", "beside")
    )
    assert merged == beside != base


def test_an_intermediate_checkpoint_reads_the_settings_of_its_run(folder):
    inner = shutil.copytree(folder, folder / "checkpoint-50")
    (inner / "training_settings.json").unlink()
    assert find_checkpoint(str(inner)).prompt == "short"


def test_a_checkpoint_is_named_from_inside_too(folder, monkeypatch):
    inner = shutil.copytree(folder, folder / "checkpoint-50")
    (inner / "training_settings.json").unlink()
    monkeypatch.chdir(inner)
    assert find_checkpoint(".").prompt == "short" and find_checkpoint("../checkpoint-50/.").prompt == "short"


def test_merging_without_an_adapter_is_refused(tmp_path, capsys):
    assert sampled("tiny", tmp_path / "s.json", "--merge-adapter", "yes") == 2
    assert "--merge-adapter yes: tiny holds no adapter" in capsys.readouterr().err


def test_an_unfinished_run_names_its_last_checkpoint(folder):
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (folder / name).unlink()
    for step in (50, 100):
        (folder / f"checkpoint-{step}").mkdir()
    settings = json.loads((folder / "training_settings.json").read_text())
    (folder / "training_settings.json").write_text(json.dumps({**settings, "finished": False}))
    with pytest.raises(ValueError, match=r"has not finished, its last checkpoint is .*checkpoint-100"):
        find_checkpoint(str(folder))


def test_an_adapter_of_another_project_is_refused(folder):
    (folder / "training_settings.json").unlink()
    with pytest.raises(ValueError, match=r"no training_settings.json"):
        find_checkpoint(str(folder))
    (folder / "training_settings.json").write_text('{"settings": {}}')
    with pytest.raises(ValueError, match="was not made by this project"):
        find_checkpoint(str(folder))


def test_an_adapter_for_another_base_model_is_refused_before_loading(folder, tmp_path):
    other, processor = make_family("qwen2_5_vl")
    other.save_pretrained(tmp_path / "other")
    processor.save_pretrained(tmp_path / "other")
    model = {"name": str(tmp_path / "other"), "source": "gone"}
    (folder / "training_settings.json").write_text(json.dumps(settings(model=model)))
    with pytest.raises(ValueError, match=r"another base model: it has 4 layers of width 128, .* has 2 of 32"):
        check_adapter(find_checkpoint(str(folder)))


def test_a_prompt_that_reads_differently_now_is_refused(folder):
    saved = settings(prompt={"name": "short", "hash": "0" * 16})
    (folder / "training_settings.json").write_text(json.dumps(saved))
    with pytest.raises(ValueError, match="reads differently now"):
        find_checkpoint(str(folder))


def test_a_torn_adapter_file_is_refused(folder):
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5])
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        check_adapter(find_checkpoint(str(folder)))


def test_fully_trained_weights_of_ours_keep_their_prompt(tmp_path):
    model, processor = make_family("qwen3_vl")
    model.save_pretrained(tmp_path / "run")
    processor.save_pretrained(tmp_path / "run")
    (tmp_path / "run" / "training_settings.json").write_text(json.dumps(settings()))
    checkpoint = find_checkpoint(str(tmp_path / "run"))
    assert (checkpoint.adapter, checkpoint.prompt, checkpoint.method) == (None, "short", "nsr")
    assert sampled(tmp_path / "run", tmp_path / "s.json") == 0
    assert load(checkpoint, dtype="float32", device="cpu").config.model_type == "qwen3_vl"


def test_one_changed_weight_changes_the_fingerprint(folder):
    file = folder / "adapter_model.safetensors"
    before = files_fingerprint([file])
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert files_fingerprint([file]) != before
