"""Decoding on a GPU: captured steps against uncaptured ones and against the model's own layers."""

import copy

import pytest
import torch

from sampling import engine, static_step
from sampling.engine import decode, sample_each
from sampling.settings import SamplingSettings
from sampling.step_kernels import Kernels
from tests.families import FAMILIES, make_family
from tests.test_sampling_engine import EOS, MARKERS, inputs_for
from tests.test_static_step import PROMPTS, adapted, assert_same, half_precision_gap, move, requests_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU, and none is visible"),
]
OPTIONS = {"settings": SamplingSettings(max_new_tokens=80), "eos_ids": EOS[:6], "suppress": MARKERS, "entropies": True}


@pytest.fixture(autouse=True)
def exact_products():
    """Products of float32 in float32, on any card."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


def graphs(model) -> list[object]:
    decoder = static_step.decoder_of(engine.base_model(model))
    return [graph for graph in decoder.graphs.values() if graph is not None]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("adapter", [False, True], ids=["plain", "lora"])
def test_replayed_graphs_draw_what_the_uncaptured_step_and_the_models_own_layers_draw(family, adapter):
    """Twice, so that the second rollout replays the first one's graphs, with other weights in the adapter."""
    model, processor = make_family(family)
    captured = (adapted(model) if adapter else model).to("cuda")
    uncaptured = copy.deepcopy(captured)
    assert engine.decodes_static(captured)
    assert static_step.decoder_of(engine.base_model(captured)).layers.small is Kernels
    for seed in (1, 2, 3):
        for one in (captured, uncaptured):
            move(one, seed)
        requests = requests_of(captured, processor, 40, 13, 11)
        static_step.decoder_of(engine.base_model(uncaptured)).captures = False
        expected = decode(uncaptured, requests, static=True, **OPTIONS)
        assert_same(expected, decode(captured, requests, static=True, **OPTIONS), 1e-4)
        assert_same(expected, decode(captured, requests, static=False, **OPTIONS), 1e-4)
    assert len(graphs(captured)) > 2 and not graphs(uncaptured)
    assert len({key[1] for key in static_step.decoder_of(engine.base_model(captured)).graphs}) > 2  # rows that left


def test_what_the_graphs_hold_is_known(caplog):
    """The allocator calls their pool free, which it is not; forgotten, it is."""
    model, processor = make_family("qwen2_5_vl")
    model = model.to("cuda")
    requests = requests_of(model, processor, 200)
    for _ in range(2):
        decode(model, requests, **OPTIONS)
    kept, pool = static_step.held_bytes(model)
    assert graphs(model) and 0 < pool < kept and "more slowly" not in caplog.text
    engine.free_memory()
    before = torch.cuda.memory_reserved()
    static_step.forget(model)
    engine.free_memory()
    assert torch.cuda.memory_reserved() < before


@pytest.mark.parametrize("settings", [{"top_p": 0.9}, {"top_k": 30, "temperature": 0.7}], ids=str)
def test_cut_distributions_are_captured_too(settings):
    model, processor = make_family("qwen2_5_vl")
    model = model.to("cuda")
    options = OPTIONS | {"settings": SamplingSettings(max_new_tokens=20, **settings)}
    requests = requests_of(model, processor, 20, 20)
    expected = decode(model, requests, static=False, **options)
    for _ in range(2):
        assert_same(expected, decode(model, requests, **options), 1e-4)
    assert graphs(model)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_stays_close_to_float32_on_a_gpu(dtype):
    if dtype == torch.bfloat16 and not torch.cuda.is_bf16_supported(including_emulation=False):
        pytest.skip("this GPU has no bfloat16")
    processor = make_family("qwen2_5_vl")[1]
    assert half_precision_gap(processor, dtype, "cuda") < {torch.bfloat16: 0.02, torch.float16: 0.003}[dtype]


def test_out_of_memory_halves_the_rows_and_draws_the_same():
    model, processor = make_family("qwen2_5_vl")
    model = model.to("cuda")
    prompts = [(text, inputs_for(processor, side=side, text=text)) for side, text in PROMPTS[:2]]
    options = {"n": 4096, "settings": SamplingSettings(max_new_tokens=10), "eos_ids": EOS}
    expected, worked = sample_each(model, prompts, **options), []
    static_step.forget(model)
    engine.free_memory()
    room = torch.cuda.memory_reserved() + 128 * 2**20  # 8,192 rows take 128 MiB for their keys and values alone
    torch.cuda.set_per_process_memory_fraction(room / torch.cuda.get_device_properties(0).total_memory)
    try:
        found = sample_each(model, prompts, on_chunk=worked.append, **options)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert worked and worked[0] < 8192
    same = [a == b for one, other in zip(expected, found, strict=True)
            for a, b in zip(one.token_ids, other.token_ids, strict=True)]  # fmt: skip
    assert sum(same) >= len(same) - 8  # other numbers of rows, other last bits: near ties may part


def test_no_step_waits_for_the_gpu():
    """PyTorch's own watch on synchronisations: an error inside, but for the news of every eighth step."""
    model, processor = make_family("qwen2_5_vl")
    model = model.to("cuda")
    requests = requests_of(model, processor, 30)
    for _ in range(3):  # until every shape is captured, which waits
        expected = decode(model, requests, **OPTIONS)
    step = static_step.StaticDecoder.step

    def watched(decoder, run):
        torch.cuda.set_sync_debug_mode("error")
        try:
            step(decoder, run)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(static_step.StaticDecoder, "step", watched)
        assert_same(expected, decode(model, requests, **OPTIONS), 1e-4)
    assert graphs(model)
