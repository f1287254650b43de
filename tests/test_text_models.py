"""Models that read text alone: one prompt path, the engine, the packed update and the identities, as for images."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from charts.record import ChartQuestion
from charts.synthetic import synthetic_questions
from models.families import family_of
from models.inputs import check_seen, prompt_inputs
from models.registry import (
    PLAIN_TEMPLATE,
    end_tokens,
    load_config,
    load_model,
    load_processor,
    unsampleable_token_ids,
)
from sampling.batch import Request
from sampling.engine import decode, sample
from sampling.known_layers import refusal
from sampling.prefill import prefill_all
from sampling.settings import SamplingSettings
from tests import test_families_train
from tests.families import TEXT_FAMILIES, make_text_family
from tests.test_packed_update import LENGTHS, RIGHT, gap, train
from training.rows import training_rows

ASKED = [ChartQuestion(f"q{n}", f"What is {n} + {n * 7}?", (str(8 * n),)) for n in (1, 12)]
PIXELS = {"min_pixels": 3136, "max_pixels": 12544}
families = pytest.mark.parametrize("family", TEXT_FAMILIES)


@pytest.fixture
def text_alone(monkeypatch):
    """The trainers of tests/test_families_train.py, on questions without images and models that read none."""
    monkeypatch.setattr(test_families_train, "QUESTIONS", {one.id: one for one in ASKED})
    monkeypatch.setattr(test_families_train, "make_family", make_text_family)


@pytest.fixture(scope="module", params=TEXT_FAMILIES)
def folder(request, tmp_path_factory):
    """A model of the family as a user has it."""
    model, tokenizer = make_text_family(request.param)
    place = tmp_path_factory.mktemp("models") / request.param
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def prompts(tokenizer):
    return [prompt_inputs(tokenizer, one, None, prompt="short") for one in ASKED]


def test_a_folder_is_loaded_as_a_causal_model_with_its_tokenizer(folder):
    model, tokenizer = load_model(str(folder)), load_processor(str(folder))
    assert type(model).__name__.endswith("ForCausalLM") and not family_of(tokenizer).sees
    assert tokenizer.padding_side == "left" and tokenizer.pad_token is not None
    assert unsampleable_token_ids(model.config, tokenizer) == []
    assert family_of(model.config) is family_of(tokenizer)


def test_a_tokenizer_without_a_template_asks_in_plain_lines_and_begins_once(tmp_path):
    model, tokenizer = make_text_family("llama")
    tokenizer.chat_template = None
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    found = load_processor(str(tmp_path))
    text = found.decode(prompt_inputs(found, ASKED[0], None, prompt="short")["input_ids"][0])
    assert text.startswith("<|begin_of_text|>What is 1 + 7?\nAnswer with") and text.count("<|begin_of_text|>") == 1


def test_the_end_of_a_turn_ends_a_completion_also_where_only_the_template_knows_it():
    model, tokenizer = make_text_family("qwen2")
    turn, text = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    tokenizer.eos_token, model.generation_config.eos_token_id = "<|endoftext|>", text  # as Qwen2.5-Math has it
    assert end_tokens(model.generation_config, tokenizer) == sorted([turn, text])
    tokenizer.chat_template = PLAIN_TEMPLATE
    assert end_tokens(model.generation_config, tokenizer) == [text]


def test_what_is_no_model_that_writes_text_and_images_for_one_that_sees_none_are_refused(tmp_path):
    make_text_family("qwen2")[0].save_pretrained(tmp_path)
    charts = synthetic_questions("test", 2)
    with pytest.raises(ValueError, match=r"reads text alone, and 2 of 2 questions have an image"):
        check_seen(str(tmp_path), charts)
    check_seen(str(tmp_path), [replace(one, open_image=None) for one in charts])
    check_seen("tiny", charts)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "architectures": ["Qwen2ForSequenceClassification"]}))
    with pytest.raises(ValueError, match="Qwen2ForSequenceClassification, which has no language head"):
        load_config(str(tmp_path))


@families
def test_trl_and_the_sampler_ask_with_the_same_tokens(family, text_alone, tmp_path):
    trainer, tokenizer = test_families_train.family_trainer(family, tmp_path, dtype=torch.float32)
    batch = test_families_train.rollout(trainer)
    for row, inputs in zip((0, 2), prompts(tokenizer), strict=True):
        kept = batch["prompt_ids"][row][batch["prompt_mask"][row].bool()]
        assert kept.tolist() == inputs["input_ids"][0].tolist()


@families
def test_the_engine_draws_from_the_distribution_of_transformers_own_forward(family):
    """Every token's log-probability is that of a plain pass over prompt and completion, for several prompts at once."""
    model, tokenizer = make_text_family(family)
    settings = SamplingSettings(temperature=0.8, top_p=1.0, max_new_tokens=12, seed=3)
    for name, inputs in zip("ab", prompts(tokenizer), strict=True):
        drawn = sample(model, inputs, problem_id=name, n=6, settings=settings, eos_ids=[tokenizer.eos_token_id])
        for ids, logprobs in zip(drawn.token_ids, drawn.logprobs, strict=True):
            whole = torch.cat([inputs["input_ids"], torch.tensor([ids])], 1)
            with torch.no_grad():
                logps = (model(input_ids=whole).logits[0, -len(ids) - 1 : -1] / 0.8).log_softmax(-1)
            expected = logps.gather(-1, torch.tensor(ids)[:, None])[:, 0].tolist()
            assert logprobs == pytest.approx(expected, abs=1e-5)


@families
def test_greedy_the_engine_says_what_generate_says(family):
    model, tokenizer = make_text_family(family)
    settings = SamplingSettings(top_k=1, max_new_tokens=16)
    for name, inputs in zip("ab", prompts(tokenizer), strict=True):
        drawn = sample(model, inputs, problem_id=name, n=2, settings=settings, eos_ids=[tokenizer.eos_token_id])
        made = model.generate(**inputs, do_sample=False, max_new_tokens=16, eos_token_id=tokenizer.eos_token_id)
        expected = made[0, inputs["input_ids"].shape[1] :].tolist()
        assert drawn.token_ids == [expected, expected]


@families
def test_steps_of_fixed_shape_draw_the_same_tokens(family):
    model, tokenizer = make_text_family(family, hidden=64)
    assert refusal(model) is None
    found = prefill_all(model, prompts(tokenizer))
    requests = [Request(prompt, name, range(5)) for name, prompt in zip("ab", found, strict=True)]
    options = {"settings": SamplingSettings(max_new_tokens=14, seed=5), "eos_ids": [tokenizer.eos_token_id]}
    fixed, own = (decode(model, requests, static=static, **options) for static in (True, False))
    assert [one.token_ids for one in fixed] == [one.token_ids for one in own]
    for one, other in zip(fixed, own, strict=True):
        for drawn, expected in zip(one.logprobs, other.logprobs, strict=True):
            assert drawn == pytest.approx(expected, abs=1e-4)
    assert len({tuple(ids) for one in own for ids in one.token_ids}) > 5


def test_a_feed_forward_with_biases_is_not_computed_without_them():
    model, _ = make_text_family("llama")
    assert refusal(model) is None
    linear = model.model.layers[1].mlp.up_proj
    linear.bias = torch.nn.Parameter(torch.ones(linear.out_features))
    assert refusal(model) == "up_proj has a bias"


@families
def test_several_prompts_in_one_pass_are_those_of_passes_of_their_own(family):
    model, tokenizer = make_text_family(family)
    together, alone = (prefill_all(model, prompts(tokenizer), together=both) for both in (True, False))
    for one, other in zip(together, alone, strict=True):
        assert (one.next_position, one.axes) == (other.next_position, other.axes) and one.axes == 1
        assert torch.allclose(one.logits, other.logits, atol=1e-5)


@families
def test_the_adapter_gradient_is_the_formula(family, text_alone, tmp_path):
    trainer, tokenizer = test_families_train.family_trainer(family, tmp_path)
    batch = test_families_train.rollout(trainer)
    assert set(batch["advantages"].tolist()) == {0.125, -1.0}
    parameters, got = test_families_train.adapter_gradients(trainer, trainer._compute_loss(trainer.model, batch))
    assert {name.split(".")[-4] for name in parameters} == {f"{part}_proj" for part in "qkvo"} | {
        "gate_proj", "up_proj", "down_proj"}  # fmt: skip
    expected = test_families_train.independent_loss(trainer, tokenizer, batch)
    _, expected = test_families_train.adapter_gradients(trainer, expected)
    assert expected.norm() > 0 and (got - expected).norm() <= 1e-6 * expected.norm()


@families
def test_the_packed_update_has_the_gradient_of_plain_rows_with_less_work(family, text_alone, tmp_path):
    options = {"family": family, "mode": "nsr"}
    (plain,), _, computed = train(tmp_path / "plain", "plain", LENGTHS, RIGHT, **options)
    (packed,), trainer, less = train(tmp_path / "packed", "shared", LENGTHS, RIGHT, **options)
    assert trainer.shares_prompts and plain.norm() > 0 and gap(packed, plain) < 1e-9 and less < computed / 2


@pytest.mark.parametrize(
    "family", ["qwen2", *(pytest.param(one, marks=pytest.mark.slow) for one in ("qwen3", "llama"))]
)
def test_w_reinforce_is_lambda_psr_plus_nsr(family, text_alone, tmp_path):
    found = {}
    for mode in ("psr", "nsr", "w-reinforce"):
        (found[mode],), *_ = train(tmp_path / mode, "shared", LENGTHS, RIGHT, family=family, mode=mode)
    assert found["psr"].norm() > 0 and found["nsr"].norm() > 0
    assert gap(found["w-reinforce"], 0.125 * found["psr"] + found["nsr"]) < 1e-9


def test_rows_of_text_alone_have_words_and_no_image(tmp_path):
    _, tokenizer = make_text_family("qwen2")
    rows = training_rows([one.id for one in ASKED], {one.id: one for one in ASKED}, tokenizer, prompt="short", **PIXELS)
    assert set(rows[0]) == {"prompt", "problem_id"} and rows[0]["prompt"][0]["content"].startswith("What is 1 + 7?")
