"""Prompts computed together against each by itself: logits, keys and values, positions, and what is sampled of them."""

import pytest
import torch
from transformers import AutoModelForImageTextToText

from benchmarks.workloads import full_size_config
from models.families import family_of
from sampling import prefill as module
from sampling.engine import Request, decode
from sampling.prefill import prefill, prefill_all, prefill_each
from sampling.settings import SamplingSettings
from tests.families import FAMILIES, make_family
from tests.operations import Operations
from tests.test_sampling_engine import EOS, inputs_for


def tower_of(model):
    return getattr(model.model, family_of(model.config).tower)


SIZES = ((112, "a"), (56, "bb b"), (None, "c c"), (112, "rather a long question here"), (168, "b"))


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    model, processor = make_family(request.param)
    return model, [inputs_for(processor, side=side, text=text) for side, text in SIZES]


@torch.no_grad()
def test_prompts_together_are_what_each_is_alone(family):
    model, prompts = family
    alone = [prefill(model, inputs) for inputs in prompts]
    together = prefill_all(model, prompts, together=True)
    for one, other, inputs in zip(together, alone, prompts, strict=True):
        assert one.next_position == other.next_position and one.axes == other.axes
        torch.testing.assert_close(one.logits, other.logits, rtol=0, atol=1e-5)
        assert len(one.layers) == len(other.layers)
        for pair, expected in zip(one.layers, other.layers, strict=True):
            assert pair[0].shape[2] == inputs["input_ids"].shape[1]
            torch.testing.assert_close(pair, expected, rtol=0, atol=1e-5)
    options = {"settings": SamplingSettings(max_new_tokens=20), "eos_ids": EOS}
    drawn = [
        decode(model, [Request(one, f"p{i}", range(12)) for i, one in enumerate(found)], **options)
        for found in (together, alone)
    ]
    assert [part.token_ids for part in drawn[0]] == [part.token_ids for part in drawn[1]]


@torch.no_grad()
def test_on_a_cpu_a_prompt_keeps_the_bits_of_the_models_own_forward_pass(family):
    model, prompts = family
    for inputs, found in zip(prompts, prefill_all(model, prompts), strict=True):
        model.model.rope_deltas = None
        assert tower_of(model).config._attn_implementation == "sdpa"
        assert torch.equal(found.logits, model(**inputs, logits_to_keep=1).logits[:, -1])


@torch.no_grad()
def test_every_distinct_image_goes_through_the_tower_once(family):
    model, prompts = family
    seen = []

    def look(tower, args, kwargs):
        seen.append(len(args[0] if args else kwargs["pixel_values"]))

    handle = tower_of(model).register_forward_pre_hook(look, with_kwargs=True)
    same = prompts[0] | {name: prompts[3][name] for name in ("input_ids", *family_of(model.config).token_fields)}
    same.pop("attention_mask")
    twice = [prompts[0], same, prompts[1], {**prompts[0], "pixel_values": prompts[0]["pixel_values"].flip(1)}]
    found = prefill_all(model, twice, together=True)
    handle.remove()
    patches = [len(prompts[i]["pixel_values"]) for i in (0, 1)]
    assert seen == [2 * patches[0] + patches[1]]
    for one, inputs in zip(found, twice, strict=True):
        torch.testing.assert_close(one.logits, prefill(model, inputs).logits, rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_pass_holds_so_many_tokens_and_out_of_memory_halves_them(family, monkeypatch):
    model, prompts = family
    lengths = [inputs["input_ids"].shape[1] for inputs in prompts]
    passes, run = [], module._pass

    def small(model, part):
        passes.append([inputs["input_ids"].shape[1] for inputs in part])
        if len(part) > most:
            raise torch.OutOfMemoryError("pretend")
        return run(model, part)

    monkeypatch.setattr(module, "_pass", small)
    most = 5
    monkeypatch.setattr(module, "PASS_TOKENS", 3 * max(lengths))
    prefill_all(model, prompts, together=True)
    assert sorted(lengths) == [length for part in passes for length in part] and 1 < len(passes) < 5
    assert all(len(part) * max(part) <= module.PASS_TOKENS for part in passes)
    passes, most = [], 2
    monkeypatch.setattr(module, "PASS_TOKENS", 8192)
    found = prefill_all(model, prompts, together=True)
    sizes = [len(part) for part in passes]
    assert sizes[:2] == [5, 3] and sum(size for size in sizes if size <= most) == 5
    for one, inputs in zip(found, prompts, strict=True):
        torch.testing.assert_close(one.logits, prefill(model, inputs).logits, rtol=0, atol=1e-5)
    passes, most = [], 0
    with pytest.raises(torch.OutOfMemoryError):
        list(prefill_each(model, prompts, together=True))
    assert [len(part) for part in passes] == [5, 3, 1]


def test_what_is_done_for_eight_prompts_of_the_3b_model_is_what_one_took():
    """600 tokens with an image of 36 x 36 patches each. One by one, windows too, it was 8 x 4,227 operations and 8 x
    215 reads of a value from the device."""
    config = full_size_config()
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16).eval()
    ids, types = torch.full((1, 600), 100), torch.zeros(1, 600, dtype=torch.long)
    ids[0, 10:334], types[0, 10:334] = config.image_token_id, 1
    fixed = {"input_ids": ids, "mm_token_type_ids": types, "image_grid_thw": torch.tensor([[1, 36, 36]])}
    prompts = [fixed | {"pixel_values": torch.full((36 * 36, 1176), float(n))} for n in range(8)]
    with torch.no_grad(), Operations() as operations:
        found = prefill_all(model, prompts)
    assert [prompt.next_position for prompt in found] == [294] * 8
    assert operations.total <= 3_150
    assert operations.waits.total() == 1, "whether there are as many image features as places for them"


def test_models_whose_cache_would_be_cut_are_not_batched(family, monkeypatch):
    model, _ = family
    assert module._can_batch(model)
    monkeypatch.setattr(model.config.text_config, "layer_types", ["sliding_attention"] * 2, raising=False)
    assert not module._can_batch(model)
