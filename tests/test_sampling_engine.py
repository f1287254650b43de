"""The engine against the model itself: same distribution, same tokens, whatever the grouping, family or adapter."""

import logging

import pytest
import torch
from peft import get_peft_model
from PIL import Image

from charts.record import ChartQuestion
from models.families import family_of
from models.inputs import prompt_inputs
from models.registry import lora_config, unsampleable_token_ids
from sampling import engine
from sampling.engine import Request, decode, sample, sample_each
from sampling.hf_generate import generate
from sampling.prefill import prefill
from sampling.settings import SamplingSettings
from sampling.token_sampling import weights
from tests.families import FAMILIES, make_family

EOS = [2, *range(20, 490, 12)]  # so many that rows end at every step and leave the batch
MARKERS = [3, 4, 5, 6, 7]


def question(image: Image.Image | None = None, text: str = "What is the value of red?") -> ChartQuestion:
    opener = None if image is None else (lambda: image)
    return ChartQuestion(id="q", question=text, answers=("1",), open_image=opener)


def inputs_for(processor, *, text: str = "What is the value of red?", side: int | None = 112) -> dict:
    noise = torch.randint(0, 255, (side, side, 3), generator=torch.Generator().manual_seed(3)) if side else None
    image = None if side is None else Image.fromarray(noise.to(torch.uint8).numpy())
    asked = question(image, text)
    return prompt_inputs(processor, asked, image, prompt="short", min_pixels=None, max_pixels=None)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return make_family(request.param)


@pytest.fixture(scope="module")
def qwen():
    return make_family("qwen2_5_vl")


def draw(model, inputs, settings=None, **changed):
    options = {"n": 24, "problem_id": "p", "eos_ids": EOS, "suppress": MARKERS} | changed
    return sample(model, inputs, settings=settings or SamplingSettings(top_p=0.95, max_new_tokens=20), **options)


def full_logprobs(model, inputs, ids, settings, suppress) -> torch.Tensor:
    """Log-probabilities of one completion by a forward pass over prompt and completion, no cache."""
    length = inputs["input_ids"].shape[1]
    tokens = torch.cat([inputs["input_ids"], torch.tensor([ids])], 1)
    full = inputs | {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    for name in {*family_of(model.config).token_fields} & {*inputs}:
        full[name] = torch.nn.functional.pad(inputs[name], (0, len(ids)))
    with torch.inference_mode():
        logits = model(**full).logits[0, length - 1 : -1]
    weight = weights(logits, settings, torch.tensor(suppress))
    return (weight / weight.sum(-1, keepdim=True)).log().gather(1, torch.tensor(ids)[:, None])[:, 0]


@pytest.mark.parametrize("side", [112, None], ids=["image", "text only"])
def test_logprobs_equal_a_forward_pass_over_the_whole_sequence(family, side):
    model, processor = family
    inputs = inputs_for(processor, side=side)
    settings = SamplingSettings(temperature=0.8, max_new_tokens=20)
    model(**inputs_for(processor, side=56))  # leaves another prompt's rope deltas behind
    drawn = draw(model, inputs, settings, n=9)
    for ids, logprobs in zip(drawn.token_ids, drawn.logprobs, strict=True):
        expected = full_logprobs(model, inputs, ids, settings, MARKERS)
        torch.testing.assert_close(torch.tensor(logprobs), expected, rtol=0, atol=2e-5)


def test_samples_are_the_same_for_any_grouping(family):
    model, processor = family
    inputs = inputs_for(processor)
    together = draw(model, inputs, n=64)
    assert len({tuple(ids) for ids in together.token_ids}) > 60
    assert len({len(ids) for ids in together.token_ids}) > 10  # rows did leave the batch, again and again
    assert draw(model, inputs, n=64, chunk=32) == together
    assert draw(model, inputs, n=64, chunk=7) == together
    alone = draw(model, inputs, n=3, first_sample=17)
    assert alone.token_ids == together.token_ids[17:20]
    assert alone.logprobs == together.logprobs[17:20]


@pytest.mark.parametrize("every", [3, 8, 100])
def test_looking_for_ended_rows_now_and_then_changes_no_sample(qwen, every):
    model, processor = qwen
    requests = [Request(prefill(model, inputs_for(processor)), name, range(20)) for name in "pq"]
    for limit in (1, 9, 20):
        options = {"settings": SamplingSettings(top_p=0.9, max_new_tokens=limit), "eos_ids": EOS, "entropies": True}
        assert decode(model, requests, look_every=every, **options) == decode(model, requests, **options)


def test_shared_and_copied_prompt_caches_give_the_same_tokens(family):
    model, processor = family
    request = [Request(prefill(model, inputs_for(processor)), "p", range(40))]
    options = {"settings": SamplingSettings(max_new_tokens=20), "eos_ids": EOS}
    shared, copied = (decode(model, 2 * request, copied=copied, **options) for copied in (False, True))
    assert [part.token_ids for part in shared] == [part.token_ids for part in copied]


def test_prompts_decoded_together_give_what_each_gives_alone(family):
    model, processor = family
    prompts = [inputs_for(processor, side=side, text=text) for side, text in ((112, "a"), (56, "bb b"), (None, "c c"))]
    settings = SamplingSettings(max_new_tokens=20)
    requests = [Request(prefill(model, p), f"p{i}", range(10 + i)) for i, p in enumerate(prompts)]
    together = decode(model, requests, settings=settings, eos_ids=EOS)
    for i, (inputs, joint) in enumerate(zip(prompts, together, strict=True)):
        alone = draw(model, inputs, settings, n=10 + i, problem_id=f"p{i}", suppress=())
        assert joint.token_ids == alone.token_ids
        for one, other in zip(joint.logprobs, alone.logprobs, strict=True):
            assert one == pytest.approx(other, abs=1e-5)


@pytest.mark.parametrize("chunk", [None, 16, 5])
def test_several_prompts_are_sampled_as_each_alone_whatever_the_chunk(family, chunk, monkeypatch):
    model, processor = family
    prompts = [(text, inputs_for(processor, side=side, text=text)) for side, text in ((112, "a"), (56, "b b"))]
    options = {"settings": SamplingSettings(max_new_tokens=20), "eos_ids": EOS, "n": 12, "first_sample": 3}
    batches = []

    def counted(*args, **more):
        batches.append([len(request.samples) for request in args[1]])
        return decode(*args, **more)

    monkeypatch.setattr(engine, "decode", counted)
    together = sample_each(model, prompts, chunk=chunk, **options)
    assert batches == {None: [[12, 12]], 16: [[12, 4], [8]], 5: [[5], [5], [2, 3], [5], [4]]}[chunk]
    for (name, inputs), joint in zip(prompts, together, strict=True):
        alone = sample(model, inputs, problem_id=name, **options)
        assert joint.token_ids == alone.token_ids and joint.truncated == alone.truncated
        for one, other in zip(joint.logprobs, alone.logprobs, strict=True):
            assert one == pytest.approx(other, abs=1e-5)


def test_a_lora_adapter_counts(qwen):
    model, processor = make_family("qwen2_5_vl")
    inputs = inputs_for(processor)
    before = draw(model, inputs)
    torch.manual_seed(0)
    adapted = get_peft_model(model, lora_config(model.config))
    assert draw(adapted, inputs).token_ids == before.token_ids  # B starts at zero
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.3)
    after = draw(adapted, inputs, settings := SamplingSettings(max_new_tokens=20), n=8)
    assert after.token_ids != before.token_ids[:8]
    expected = full_logprobs(adapted, inputs, after.token_ids[0], settings, MARKERS)
    torch.testing.assert_close(torch.tensor(after.logprobs[0]), expected, rtol=0, atol=2e-5)


def test_generates_logprobs_equal_a_forward_pass_over_the_whole_sequence(family):
    """Every one of the rows that are drawn together sees all of the image."""
    model, processor = family
    inputs, settings = inputs_for(processor), SamplingSettings(temperature=0.8, max_new_tokens=4)
    options = {"n": 3, "settings": settings, "problem_id": "p", "eos_ids": EOS, "suppress": MARKERS}
    drawn = generate(model, inputs, **options)
    for ids, logprobs in zip(drawn.token_ids, drawn.logprobs, strict=True):
        expected = full_logprobs(model, inputs, ids, settings, MARKERS)
        torch.testing.assert_close(torch.tensor(logprobs), expected, rtol=0, atol=2e-5)


@pytest.mark.slow
def test_first_tokens_are_distributed_as_generates(qwen):
    model, processor = qwen
    inputs = inputs_for(processor)
    settings = SamplingSettings(top_p=0.5, temperature=0.4, max_new_tokens=2)
    options = {"n": 4000, "settings": settings, "problem_id": "p", "eos_ids": EOS, "suppress": [3, 4]}
    ours, stock = (draw_with(model, inputs, **options) for draw_with in (sample, generate))
    for at in (0, 1):
        counts = torch.stack(
            [torch.bincount(torch.tensor([ids[min(at, len(ids) - 1)] for ids in s.token_ids]), minlength=500)
             for s in (ours, stock)]
        ).double()  # fmt: skip
        common = counts[:, counts.sum(0) >= 40]
        assert common.shape[1] > 5
        statistic = ((common[0] - common[1]) ** 2 / common.sum(0)).sum()  # chi-square, two equal sample sizes
        freedom = common.shape[1]
        assert statistic < freedom + 4 * (2 * freedom) ** 0.5
    known = dict(zip(map(tuple, ours.token_ids), ours.logprob_sums, strict=True))
    theirs = dict(zip(map(tuple, stock.token_ids), stock.logprob_sums, strict=True))
    shared = known.keys() & theirs.keys()
    assert len(shared) > 20
    for ids in shared:
        assert known[ids] == pytest.approx(theirs[ids], abs=1e-3)


def test_under_autocast_and_in_bfloat16_logprobs_stay_close_to_the_models_own(qwen):
    model, processor = qwen
    inputs, settings = inputs_for(processor), SamplingSettings(max_new_tokens=20)
    half = make_family("qwen2_5_vl", dtype=torch.bfloat16)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = draw(model, inputs, settings, n=8)
    for drawn in (mixed, draw(half, inputs, settings, n=8)):
        for ids, logprobs in zip(drawn.token_ids, drawn.logprobs, strict=True):
            exact = full_logprobs(model, inputs, ids, settings, MARKERS)
            torch.testing.assert_close(torch.tensor(logprobs), exact, rtol=0, atol=0.15)


def test_image_tokens_are_never_sampled(qwen):
    model, processor = qwen
    markers = unsampleable_token_ids(processor)
    inputs, wild = inputs_for(processor), SamplingSettings(temperature=50.0, max_new_tokens=20)
    free = draw(model, inputs, wild, n=128, suppress=())
    assert any(set(ids) & set(markers) for ids in free.token_ids)
    bound = draw(model, inputs, wild, n=128, suppress=markers)
    assert not any(set(ids) & set(markers) for ids in bound.token_ids)


def test_truncation_means_no_end_token_came_in_time(qwen):
    model, processor = qwen
    inputs = inputs_for(processor)
    drawn = draw(model, inputs, SamplingSettings(temperature=3.0, max_new_tokens=70), n=200, eos_ids=(ends := EOS[:5]))
    assert {True, False} == set(drawn.truncated)
    for ids, logprobs, truncated in zip(drawn.token_ids, drawn.logprobs, drawn.truncated, strict=True):
        assert truncated == (ids[-1] not in ends)
        assert len(ids) == 70 if truncated else not set(ends) & set(ids[:-1])
        assert len(ids) == len(logprobs)


def test_the_model_is_left_as_it_was(qwen):
    model, processor = qwen
    before = [module.config._attn_implementation for module in model.modules() if hasattr(module, "config")]
    model.model.rope_deltas = marker = torch.tensor([[7]])
    model.train()
    draw(model, inputs_for(processor), n=4)
    assert model.training and model.model.rope_deltas is marker
    assert before == [module.config._attn_implementation for module in model.modules() if hasattr(module, "config")]
    model.eval()


def test_a_model_with_sliding_windows_falls_back_and_says_so_once(caplog):
    model, processor = make_family("qwen2_5_vl")
    expected = draw(model, inputs_for(processor))
    model.config.text_config.layer_types = ["sliding_attention"] * 2  # windows that the engine has no kernel for
    engine._told.clear()
    with caplog.at_level(logging.WARNING):
        assert not engine.can_share(model)
        assert not engine.can_share(model)
    assert len(caplog.records) == 1 and "copies of the prompt's cache" in caplog.text
    model.config.text_config.layer_types = ["full_attention"] * 2
    assert draw(model, inputs_for(processor)).token_ids == expected.token_ids


def test_an_image_without_its_token_types_is_refused(qwen):
    model, processor = qwen
    inputs = inputs_for(processor)
    del inputs["mm_token_type_ids"]
    with pytest.raises(ValueError, match="mm_token_type_ids"):
        prefill(model, inputs)
