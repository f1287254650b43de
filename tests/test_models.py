"""Names, processors, families and the embedded model."""

from __future__ import annotations

import re

import pytest
import torch

import generate_samples
import main
from charts.prompt import PROMPTS
from charts.synthetic import synthetic_questions, worked_examples
from checkpoints import finding
from embedded import build_tiny
from embedded.build_tiny import encode
from embedded.parts import SPECIAL_TOKENS, TAGS, prompt_lines
from models import registry
from models.families import family_of
from models.families.qwen_vl import QWEN_VL
from models.inputs import check_limits, prompt_inputs
from models.registry import (
    MODELS,
    TINY_FOLDER,
    load_model,
    load_processor,
    resolve_model,
    unsampleable_token_ids,
)
from organism import build
from tests.families import FAMILIES, family_processor, internvl_processor, make_family


@pytest.fixture(scope="module")
def tiny():
    return load_model("tiny").eval(), load_processor("tiny")


def encoded(processor, question):
    return prompt_inputs(processor, question, question.open_image(), prompt="structured")


# Names


def test_short_names_mean_the_hub_models():
    assert {name: entry.source for name, entry in MODELS.items() if name not in ("tiny", "organism")} == {
        "qwen2-5-3b": "Qwen/Qwen2.5-VL-3B-Instruct",
        "qwen2-5-7b": "Qwen/Qwen2.5-VL-7B-Instruct",
        "qwen2-2b": "Qwen/Qwen2-VL-2B-Instruct",
        "qwen2-7b": "Qwen/Qwen2-VL-7B-Instruct",
        "qwen3-vl-2b": "Qwen/Qwen3-VL-2B-Instruct",
        "qwen3-vl-4b": "Qwen/Qwen3-VL-4B-Instruct",
        "qwen3-vl-8b": "Qwen/Qwen3-VL-8B-Instruct",
        "qwen2-5-math-1-5b": "Qwen/Qwen2.5-Math-1.5B",
        "qwen2-5-math-7b": "Qwen/Qwen2.5-Math-7B",
        "qwen3-0-6b": "Qwen/Qwen3-0.6B",
        "qwen3-4b": "Qwen/Qwen3-4B",
        "qwen3-8b": "Qwen/Qwen3-8B",
        "llama3-1-8b": "meta-llama/Llama-3.1-8B-Instruct",
        "internvl3-1b": "OpenGVLab/InternVL3-1B-hf",
        "internvl3-2b": "OpenGVLab/InternVL3-2B-hf",
        "internvl3-8b": "OpenGVLab/InternVL3-8B-hf",
    }


def test_a_hub_id_and_a_local_folder_are_names_too(tmp_path):
    assert resolve_model("someone/some-model").source == "someone/some-model"
    (tmp_path / "config.json").write_text("{}")
    entry = resolve_model(str(tmp_path))
    assert (entry.name, entry.source, entry.learning_rate) == (tmp_path.name, str(tmp_path), None)


@pytest.mark.parametrize("name", ["qwen2-5-3B", "gpt", "", "/no/such/folder", "./nothing", "a/b/c", "a/"])
def test_an_unknown_name_is_refused_with_what_is_allowed(name):
    with pytest.raises(ValueError, match=re.escape(f"unknown model {name!r}")) as caught:
        resolve_model(name)
    assert all(known in str(caught.value) for known in MODELS)


def test_a_close_name_is_suggested():
    with pytest.raises(ValueError, match="did you mean qwen2-5-3b"):
        resolve_model("qwen-2-5-3b")


def test_an_adapter_folder_is_not_a_model(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match="holds a LoRA adapter"):
        resolve_model(str(tmp_path))


# Processors


def test_prompts_are_padded_on_the_left(tiny):
    _, processor = tiny
    assert processor.tokenizer.padding_side == "left"
    ids = processor.tokenizer(["red", "What is the value of red?"], padding=True)["input_ids"]
    pad = processor.tokenizer.pad_token_id
    assert ids[0][0] == pad and ids[0][-1] != pad and pad not in ids[1]


def test_pixel_limits_reach_the_image_grid(tiny):
    question = synthetic_questions("train", 1)[0]
    assert encoded(tiny[1], question)["image_grid_thw"].tolist() == [[1, 8, 8]]
    small = load_processor("tiny", max_pixels=56 * 56)
    assert encoded(small, question)["image_grid_thw"].tolist() == [[1, 4, 4]]
    large = load_processor("tiny", min_pixels=224 * 224)
    assert encoded(large, question)["image_grid_thw"].tolist() == [[1, 16, 16]]


@pytest.mark.parametrize(("low", "high"), [(0, 100), (-5, None), (200, 100), (None, 100)])
def test_impossible_pixel_limits_are_refused(low, high):
    with pytest.raises(ValueError, match="0 < min"):
        load_processor("tiny", min_pixels=low, max_pixels=high)


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl", "internvl"])
def test_limits_that_no_image_can_keep_are_refused_at_once(family):
    processor = internvl_processor() if family == "internvl" else family_processor(family)
    with pytest.raises(ValueError, match=r"max_pixels 100 is below min_pixels [34],[0-9]{3} .*: raise --max-pixels"):
        check_limits(processor, 10, 100)
    check_limits(processor, 10, 4096)
    check_limits(processor)


def test_limits_that_no_image_can_keep_end_both_programs_before_a_model_is_loaded(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for place in (registry, finding):
        monkeypatch.setattr(place, "load_model", lambda *a, **k: pytest.fail("a model was loaded"))
    limits = "--dataset-name synthetic --subset-size 8 --min-pixels 10 --max-pixels 100"
    assert main.main(f"--mode nsr --vlm-name tiny {limits} --max-steps 1 --held-out 0 --report-to none".split()) == 2
    assert generate_samples.main(f"--checkpoint-path tiny --output-path s.json {limits}".split()) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2 and all("max_pixels 100 is below min_pixels 3,136" in line for line in errors)
    assert not list(tmp_path.iterdir())


# Families and the embedded model


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tiny_model_of_every_family_reads_a_chart_and_sees_the_picture(family):
    model, processor = make_family(family)
    first, second = synthetic_questions("train", 3)[::2]
    inputs = encoded(processor, first)
    other = encoded(processor, second)["pixel_values"]
    with torch.no_grad():
        logits = model(**inputs).logits[0, -1]
        changed = model(**{**inputs, "pixel_values": other}).logits[0, -1]
    assert torch.isfinite(logits).all() and (logits - changed).abs().max() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_marker_ids_are_the_same_from_the_configuration_and_the_processor(family):
    model, processor = make_family(family)
    ids = unsampleable_token_ids(processor)
    named = unsampleable_token_ids(model.config)
    assert named and {*named} <= {*ids} and ids == unsampleable_token_ids(model.config, processor)
    words = {*family_of(processor).markers} & {*processor.tokenizer.get_vocab()}
    if family in QWEN_VL.model_types:
        assert named == ids
        assert words == {"<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"}
    assert {processor.tokenizer.decode([token]) for token in ids} == words and processor.image_token in words


def test_tiny_is_a_real_qwen2_5_vl_of_at_most_two_million_parameters_and_five_megabytes(tiny):
    model, processor = tiny
    assert type(model).__name__ == "Qwen2_5_VLForConditionalGeneration"
    assert type(processor).__name__ == "Qwen2_5_VLProcessor"
    assert sum(parameter.numel() for parameter in model.parameters()) <= 2_000_000
    assert sum(path.stat().st_size for path in TINY_FOLDER.iterdir()) <= 5_000_000
    assert next(model.parameters()).dtype == torch.float32
    settings = model.generation_config
    assert (settings.do_sample, settings.temperature, settings.top_p, settings.top_k) == (True, 1.0, 1.0, 0)
    assert (
        settings.eos_token_id
        == processor.tokenizer.eos_token_id
        == processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
    )
    assert settings.pad_token_id == processor.tokenizer.pad_token_id != settings.eos_token_id


def test_tags_survive_decoding_without_special_tokens(tiny):
    tokenizer = tiny[1].tokenizer
    assert all(len(tokenizer(tag)["input_ids"]) == 1 for tag in TAGS)
    text = "".join(TAGS)
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text
    marked = "".join(SPECIAL_TOKENS)
    assert tokenizer.decode(tokenizer(marked)["input_ids"], skip_special_tokens=True) == ""


def test_the_tokenizer_writes_any_string_and_takes_digits_one_by_one(tiny):
    tokenizer = tiny[1].tokenizer
    for text in ("Wie hoch ist der Umsatz 2019 (Mio. €)?\n\n  λ = 0.1 ✓", *PROMPTS.values()):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer("4711")["input_ids"]) == 4


def test_the_prompt_that_tiny_learned_is_the_prompt_of_the_project(tiny):
    """A changed prompt leaves tiny's tokenizer without its lines: run `python -m embedded.build_tiny`."""
    tokenizer = tiny[1].tokenizer
    assert all(len(tokenizer(line)["input_ids"]) == 1 for line in prompt_lines())


def test_supervised_labels_are_the_completion_and_its_end_only(tiny):
    _, processor = tiny
    stream = worked_examples("warm-start", 5)
    examples = [next(stream) for _ in range(4)]
    batch = encode(processor, examples)
    for row, (_, completion) in zip(batch["labels"], examples, strict=True):
        assert processor.tokenizer.decode(row[row >= 0]) == completion + "<|im_end|>"


def test_tiny_answers_in_the_format(tiny):
    model, processor = tiny
    torch.manual_seed(0)
    inputs = encoded(processor, next(q for q in synthetic_questions("test", 30) if q.kind == "sum"))
    markers = unsampleable_token_ids(processor)
    drawn = model.generate(**inputs, num_return_sequences=64, max_new_tokens=160, suppress_tokens=markers)
    drawn = drawn[:, inputs["input_ids"].shape[1] :]
    texts = processor.tokenizer.batch_decode(drawn, skip_special_tokens=True)
    pattern = r"<think>\n<type>bar</type>\n<table>\{.*\}</table>\n(Step \d: .+\n)+</think>\n<answer>.+</answer>"
    assert sum(bool(re.fullmatch(pattern, text)) for text in texts) >= 60
    assert len(set(texts)) > 8


@pytest.mark.slow
def test_tiny_has_room_to_learn_and_diversity_to_lose(tmp_path):
    """Pass@1 between 30 and 60 %, Pass@64 between 80 and 96 %, on charts of the validation split."""
    import generate_samples
    from evaluation.estimators import pass_at_k
    from evaluation.samples import read_samples

    path = tmp_path / "samples.json"
    line = (
        "--checkpoint-path tiny --dataset-name synthetic --split validation --subset-size 100 --num-samples 64 --seed 7"
    )
    assert generate_samples.main([*line.split(), "--output-path", str(path)]) == 0
    samples = read_samples(path)
    one, many = pass_at_k(samples.n, samples.c, [1, 64]).mean(axis=0)
    assert 0.30 <= one <= 0.60 and 0.80 <= many <= 0.96


@pytest.mark.parametrize(
    ("task", "size"),
    [
        ("synthetic", "1,823,872 parameters, 3.7 MB"),
        pytest.param("counting", "parameters, 3.", marks=pytest.mark.slow),
        pytest.param("grounding", "parameters, 3.", marks=pytest.mark.slow),
    ],
)
def test_a_model_like_tiny_is_built_and_read(task, size, tmp_path, capsys):
    line = f"--task {task} --output-path {tmp_path / 'model'} --steps 1 --batch-size 2"
    assert build_tiny.main(line.split()) == 0
    assert size in capsys.readouterr().out
    assert resolve_model(str(tmp_path / "model")).name == "model"
    assert load_model(str(tmp_path / "model")).config.text_config.hidden_size == 128
    assert build_tiny.parse_args([]).output_path == TINY_FOLDER


def test_what_else_is_in_the_folder_of_a_built_model_stays_as_it_is(tmp_path):
    for place in (tmp_path / "notes.txt", tmp_path / "run.sh"):
        place.write_text("mine")
        place.chmod(0o700)
    (tmp_path / "runs").mkdir(mode=0o750)
    assert build_tiny.main(f"--output-path {tmp_path} --steps 1 --batch-size 2".split()) == 0
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert {name: modes.pop(name) for name in ("notes.txt", "run.sh", "runs")} == {
        "notes.txt": 0o700, "run.sh": 0o700, "runs": 0o750,
    }  # fmt: skip
    assert "model.safetensors" in modes and set(modes.values()) == {0o644}


@pytest.mark.parametrize("program", [build_tiny, build])
@pytest.mark.parametrize("place", ["taken", "taken/model"])
def test_a_folder_that_cannot_be_written_to_is_told_before_training(program, place, tmp_path, monkeypatch, capsys):
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setattr(build_tiny, "new_model", lambda *a, **k: pytest.fail("a model was made"))
    assert program.main(["--output-path", str(tmp_path / place)]) == 2
    told = capsys.readouterr().err
    assert f"--output-path {tmp_path / place}: " in told and "name a folder that can be written to" in told
