"""A model of a family that is not known is refused in one line that names those that are, before it is loaded."""

from __future__ import annotations

import json
import shutil

import pytest
from transformers import (
    AutoTokenizer,
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlavaConfig,
    LlavaProcessor,
    MistralConfig,
    MllamaConfig,
    PaliGemmaConfig,
)

import generate_samples
import main
from models.families import FAMILIES, family_of
from models.registry import TINY_FOLDER, load_config, load_processor, lora_config, unsampleable_token_ids

UNKNOWN = {
    "llava": lambda: LlavaConfig(vision_config=CLIPVisionConfig()),
    "mllama": MllamaConfig,
    "paligemma": PaliGemmaConfig,
    "mistral": MistralConfig,  # a language model alone
}


@pytest.fixture(params=UNKNOWN)
def model(request, tmp_path):
    """tiny's folder with the configuration of another family."""
    folder = shutil.copytree(TINY_FOLDER, tmp_path / "model")
    config = UNKNOWN[request.param]()
    assert config.model_type == request.param
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    return folder


def assert_named(error: str, unknown: str) -> None:
    assert repr(unknown) in error and all(name in error for name in FAMILIES), error


def test_both_programs_refuse_it_with_exit_code_2(model, capsys):
    train = f"--mode nsr --dataset-name synthetic --subset-size 8 --report-to none --vlm-name {model}"
    sample = f"--dataset-name synthetic --subset-size 2 --num-samples 2 --checkpoint-path {model}"
    for program, line, output in (
        (main, train, f"--output-root {model.parent}/runs"),
        (main, train, f"--output-root {model.parent}/runs --estimate"),
        (generate_samples, sample, f"--output-path {model.parent}/samples.json"),
    ):
        assert program.main([*line.split(), *output.split()]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and str(model) in error
        assert_named(error, json.loads((model / "config.json").read_text())["model_type"])
    assert not (model.parent / "runs").exists() and not (model.parent / "samples.json").exists()


def test_from_python_it_is_a_value_error_too(model):
    config = UNKNOWN[json.loads((model / "config.json").read_text())["model_type"]]()
    for ask in (family_of, lora_config, unsampleable_token_ids):
        with pytest.raises(ValueError) as caught:
            ask(config)
        assert_named(str(caught.value), config.model_type)
    with pytest.raises(ValueError, match=f"model {model}: "):
        load_config(str(model))


def test_so_is_a_processor_whose_sizes_have_other_names(tmp_path):
    """CLIP's size has a shortest edge alone: no limit can be read of it, and one that is set means something else."""
    tokenizer = AutoTokenizer.from_pretrained(TINY_FOLDER)
    LlavaProcessor(CLIPImageProcessor(), tokenizer, patch_size=14).save_pretrained(tmp_path)
    shutil.copy(TINY_FOLDER / "config.json", tmp_path)
    for limits in ({}, {"max_pixels": 12544}):
        with pytest.raises(ValueError) as caught:
            load_processor(str(tmp_path), **limits)
        assert_named(str(caught.value), "LlavaProcessor")
