"""The engine where memory is short: it takes fewer completions at a time, and loses, swaps and changes none of them."""

import pytest
import torch

from sampling import engine, own_layers
from sampling.engine import decode, sample_each
from sampling.prefill import prefill_each
from sampling.settings import SamplingSettings
from sampling.sizes import MIN_ROWS
from tests.test_sampling_engine import EOS, MARKERS, draw, inputs_for, qwen  # noqa: F401 (qwen: a fixture)


def test_out_of_memory_halves_the_chunk_and_changes_no_sample(qwen, monkeypatch):  # noqa: F811
    model, processor = qwen
    inputs, worked = inputs_for(processor), []
    expected = {name: draw(model, inputs, problem_id=name) for name in "pqr"}
    forward, prefilled = own_layers.forward, []

    def small(model, tokens, *rest):
        if len(tokens) > MIN_ROWS:
            raise torch.OutOfMemoryError("pretend")
        return forward(model, tokens, *rest)

    def counted(*args):
        prefilled.extend(args[1])
        return prefill_each(*args)

    monkeypatch.setattr(own_layers, "forward", small)
    monkeypatch.setattr(engine, "prefill_each", counted)
    assert draw(model, inputs, on_chunk=worked.append) == expected["p"]
    assert worked == [6] and len(prefilled) == 3
    options = {"settings": SamplingSettings(top_p=0.95, max_new_tokens=20), "eos_ids": EOS, "suppress": MARKERS}
    together = sample_each(model, [(name, inputs) for name in "pqr"], n=24, on_chunk=worked.append, **options)
    assert worked == [6, 5]  # 72, 36, 18, 9, 5
    for name, samples in zip("pqr", together, strict=True):
        assert samples.token_ids == expected[name].token_ids


def test_out_of_memory_in_the_middle_loses_and_swaps_no_sample(qwen, monkeypatch):  # noqa: F811
    model, processor = qwen
    prompts = [(name, inputs_for(processor, text=name)) for name in "pqr"]
    options = {"settings": SamplingSettings(max_new_tokens=20), "eos_ids": EOS, "n": 10}
    expected = [part.token_ids for part in sample_each(model, prompts, **options)]
    for broken in range(2, 5):
        calls = []

        def sometimes(*args, calls=calls, broken=broken, **more):
            calls.append([len(request.samples) for request in args[1]])
            if len(calls) == broken:
                raise torch.OutOfMemoryError("pretend")
            return decode(*args, **more)

        monkeypatch.setattr(engine, "decode", sometimes)
        drawn = sample_each(model, prompts, chunk=8, **options)
        assert [part.token_ids for part in drawn] == expected
        assert calls[: broken - 1] == [[8], [2, 6], [4, 4]][: broken - 1] and len(calls) > broken


def test_a_prompt_that_does_not_fit_alone_is_not_tried_again_and_again(qwen, monkeypatch):  # noqa: F811
    model, processor = qwen
    tried = []

    def too_large(*args):
        tried.append(args)
        raise torch.OutOfMemoryError("pretend")

    monkeypatch.setattr(engine, "prefill_each", too_large)
    with pytest.raises(torch.OutOfMemoryError):
        draw(model, inputs_for(processor), n=256)
    assert len(tried) == 1


def test_other_runtime_errors_are_not_taken_for_lack_of_memory(qwen, monkeypatch):  # noqa: F811
    model, processor = qwen

    def broken(*rest):
        raise RuntimeError("size mismatch")

    monkeypatch.setattr(own_layers, "forward", broken)
    with pytest.raises(RuntimeError, match="size mismatch"):
        draw(model, inputs_for(processor))
