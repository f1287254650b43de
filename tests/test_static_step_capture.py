"""The captured decode step: what is kept and given up, and what happens where capture or memory fails."""

import contextlib
import copy
import logging
from types import SimpleNamespace

import pytest
import torch

from sampling import engine, static_run, static_step
from sampling.decoder_layer import TextLayers
from sampling.engine import decode, sample_each
from sampling.known_layers import refusal
from sampling.settings import SamplingSettings
from tests.families import FAMILIES, make_family
from tests.test_sampling_engine import EOS, MARKERS, inputs_for
from tests.test_static_step import (
    PLAIN,
    PROMPTS,
    adapted,
    assert_same,
    both,
    move,
    requests_of,
)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return make_family(request.param)


@pytest.fixture(scope="module")
def qwen():
    return make_family("qwen2_5_vl")


class Frozen:
    """What a CUDA graph does, on the CPU: the step as it was captured, over the same memory."""

    def __init__(self, step):
        self.run = copy.copy(step.__self__)
        self.replays = 0

    def replay(self):
        self.replays += 1
        self.run.step()


def test_what_was_captured_serves_later_rollouts_with_other_weights_prompts_and_numbers(qwen, monkeypatch):
    model = adapted(copy.deepcopy(qwen[0]))
    decoder = static_step.decoder_of(model.get_base_model())
    decoder.captures, frozen = True, []
    monkeypatch.setattr(decoder, "_captured", lambda step: (frozen.append(Frozen(step)), frozen[-1])[1])
    settings = SamplingSettings(top_p=0.98, max_new_tokens=70)
    captured = []
    for seed in range(3):
        move(model, seed)
        requests = requests_of(model, qwen[1], 13, 13, 13, first=seed)
        rotated = requests[seed % 3 :] + requests[: seed % 3]  # other prompts at the same places
        assert_same(*both(model, rotated, settings, eos_ids=EOS[seed : seed + 5], suppress=[3 + seed, 4, 400]))
        captured.append(len(frozen))
    assert static_step.decoder_of(model.get_base_model()) is decoder
    assert captured[0] > 1 and captured[-1] - captured[-2] <= 1  # a shape is captured the second time it is needed
    assert sum(graph.replays for graph in frozen) > 3 * 50


def test_graphs_of_buffers_that_have_moved_are_given_up(qwen, monkeypatch):
    model = copy.deepcopy(qwen[0])
    decoder = static_step.decoder_of(model)
    decoder.captures = True
    monkeypatch.setattr(decoder, "_captured", Frozen)
    for rows, limit in ((9, 20), (40, 20), (9, 70), (40, 20)):
        settings = SamplingSettings(max_new_tokens=limit)
        assert_same(*both(model, requests_of(model, qwen[1], rows, 9), settings, eos_ids=EOS[:9]))
    assert len({key[0] for key, graph in decoder.graphs.items() if graph is not None}) == 1


def test_only_so_many_graphs_are_kept(qwen, monkeypatch):
    model = copy.deepcopy(qwen[0])
    decoder = static_step.decoder_of(model)
    decoder.captures = True
    monkeypatch.setattr(decoder, "_captured", Frozen)
    monkeypatch.setattr(static_step, "_MOST_GRAPHS", 2)
    settings = SamplingSettings(max_new_tokens=20)
    for rows in (40, 33, 25, 17, 40):
        assert_same(*both(model, requests_of(model, qwen[1], rows), settings, eos_ids=EOS[:3]))
        assert sum(graph is not None for graph in decoder.graphs.values()) <= 2


def test_where_capture_fails_the_step_goes_on_uncaptured_and_says_so_once(qwen, caplog):
    model = copy.deepcopy(qwen[0])
    static_step.decoder_of(model).captures = True  # without a GPU it fails
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert_same(*both(model, requests_of(model, qwen[1], 20)))
    assert caplog.text.count("without CUDA graphs") == 1 or torch.cuda.is_available()


def test_a_capture_that_fails_leaves_neither_its_stream_nor_its_pool_behind(qwen, monkeypatch):
    """Not every release of PyTorch cleans up by itself."""
    decoder = static_step.StaticDecoder(copy.deepcopy(qwen[0]))
    decoder.captures, undone = True, []
    stream = SimpleNamespace(device_index=0)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    for name in ("synchronize", "empty_cache"):
        monkeypatch.setattr(torch.cuda, name, lambda *rest: None)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 0)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: None)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 7))
    monkeypatch.setattr(torch.cuda, "graph", lambda *rest, **more: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "set_stream", undone.append)
    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", lambda *pool: undone.append(pool), raising=False)

    def waits():
        raise RuntimeError("operation not permitted when stream is capturing")

    assert decoder._captured(waits) is None and not decoder.captures
    assert undone == [stream, (0, (0, 7))]


# When it cannot


def test_out_of_memory_halves_the_rows_and_gives_the_buffers_back(qwen, monkeypatch):
    model, processor = copy.deepcopy(qwen[0]), qwen[1]
    prompts = [(text, inputs_for(processor, side=side, text=text)) for side, text in PROMPTS]
    options = {"n": 12, "settings": PLAIN, "eos_ids": EOS, "suppress": MARKERS}
    expected = sample_each(model, prompts, **options)
    step, worked = static_run.Run.step, []

    def small(run):
        if run.rows > 16:
            raise torch.OutOfMemoryError("pretend")
        step(run)

    monkeypatch.setattr(engine, "decodes_static", lambda model: True)
    monkeypatch.setattr(static_run.Run, "step", small)
    found = sample_each(model, prompts, on_chunk=worked.append, **options)
    assert worked == [9] and [part.token_ids for part in found] == [part.token_ids for part in expected]
    with pytest.raises(torch.OutOfMemoryError):
        decode(model, requests_of(model, processor, 20), settings=PLAIN, eos_ids=EOS)
    assert model not in static_step._decoders


def test_a_step_that_fails_leaves_the_work_to_the_models_own_layers_and_says_so_once(qwen, monkeypatch, caplog):
    model, processor = copy.deepcopy(qwen[0]), qwen[1]
    requests = requests_of(model, processor, 9)
    expected = decode(model, requests, settings=PLAIN, eos_ids=EOS)
    tried = []

    def broken(*rest):
        tried.append(rest)
        raise RuntimeError("no kernel image is available")

    monkeypatch.setattr(TextLayers, "forward", broken)
    monkeypatch.setattr(engine, "decodes_static", lambda model: model not in engine._failed)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert decode(model, requests, settings=PLAIN, eos_ids=EOS) == expected
    assert len(tried) == 1 and caplog.text.count("no kernel image") == 1


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("adapter", [False, True], ids=["plain", "lora"])
def test_a_decoder_that_is_not_what_the_models_layers_are_is_not_used(family, adapter, monkeypatch, caplog):
    """Compared once; here a weight is wrong on the way into the fixed step, as from a kernel that is."""
    model, processor = make_family(family)
    model = adapted(model) if adapter else model
    base = engine.base_model(model)
    requests = requests_of(model, processor, 9)
    expected = decode(model, requests, settings=PLAIN, eos_ids=EOS)
    monkeypatch.setattr(engine, "decodes_static", lambda model: model not in engine._failed)
    trial, tried = static_step.StaticDecoder.trial, []
    monkeypatch.setattr(static_step.StaticDecoder, "trial", lambda *rest: (tried.append(1), trial(*rest))[1])
    for _ in range(2):
        assert_same(expected, decode(model, requests, settings=PLAIN, eos_ids=EOS))
    assert len(tried) == 1 and static_step.decoder_of(base).checked
    static_step.forget(base)
    refresh = TextLayers.refresh

    def wrong(layers):
        refresh(layers)
        layers.layers[1].fused[:8].mul_(-3)

    monkeypatch.setattr(TextLayers, "refresh", wrong)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert decode(model, requests, settings=PLAIN, eos_ids=EOS) == expected
    assert len(tried) == 2 and caplog.text.count("own layers from now on") == 1 and base in engine._failed


def test_weights_gathered_for_one_rollout_are_not_kept_after_it(qwen):
    """As ZeRO-3 marks its parameters: an empty tensor, or, while gathered, one of the whole shape."""
    model = copy.deepcopy(qwen[0])
    for number, parameter in enumerate(model.parameters()):
        parameter.ds_id, parameter.ds_shape = number, parameter.shape
    assert refusal(model) is None
    assert_same(*both(model, requests_of(model, qwen[1], 9)))
    assert model not in static_step._decoders
    shared_out = model.model.language_model.layers[1].mlp.up_proj.weight
    shared_out.data = torch.empty(0)
    assert "shared out" in refusal(model)


def test_what_the_layers_do_not_know_is_refused(qwen):
    def fresh():
        return copy.deepcopy(qwen[0])

    assert refusal(fresh()) is None and refusal(adapted(fresh()).get_base_model()) is None
    unknown = {
        "not a family": fresh().model,
        "other kind": adapted(fresh(), target_modules=["q_proj"], use_dora=True).get_base_model(),
        "several types": adapted(fresh(), target_modules=["q_proj"], modules_to_save=["lm_head"]).get_base_model(),
    }
    unknown["several types"].get_output_embeddings().to(torch.bfloat16)
    hooked = fresh()
    hooked.model.language_model.layers[1].mlp.register_forward_hook(lambda *rest: None)
    patched = fresh()
    patched.model.language_model.layers[0].input_layernorm.forward = lambda hidden: hidden
    unusual = fresh()
    unusual.config.text_config.rope_parameters["rope_type"] = "dynamic"
    mixed = fresh()
    mixed.model.language_model.layers[0].mlp.up_proj.to(torch.bfloat16)
    windows = fresh()
    windows.config.text_config.layer_types = ["sliding_attention"] * 2
    for words, stranger in [
        *unknown.items(), ("hooked", hooked), ("hooked", patched), ("unusual", unusual), ("several types", mixed),
        ("not a family", windows),
    ]:  # fmt: skip
        assert words in refusal(stranger), words
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert "arithmetic" in refusal(fresh())
        assert refusal(make_family("qwen2_5_vl", dtype=torch.bfloat16)[0]) is None
