"""Completions that agree so far are computed once: the same samples to the bit, from fewer rows."""

import pytest
import torch

from sampling import own_layers
from sampling.engine import Request, decode
from sampling.prefill import prefill
from sampling.settings import SamplingSettings
from sampling.sizes import MIN_ROWS
from tests.families import FAMILIES, make_family
from tests.test_sampling_engine import EOS, MARKERS, inputs_for

OPTIONS = {"eos_ids": EOS, "suppress": MARKERS, "entropies": True}


def requests_of(model, processor, counts):
    texts = ("What is the value of red?", "What is the largest value of all that are shown here?")
    prompts = [prefill(model, inputs_for(processor, text=texts[which])) for which in range(len(counts))]
    return [Request(prompt, f"p{which}", range(counts[which])) for which, prompt in enumerate(prompts)]


def widths(monkeypatch) -> list[int]:
    """The number of the model's rows at every step of what is decoded next."""
    found, forward = [], own_layers.forward
    monkeypatch.setattr(
        own_layers, "forward", lambda model, tokens, *rest: found.append(len(tokens)) or forward(model, tokens, *rest)
    )
    return found


@pytest.mark.parametrize("temperature", [0.3, 1.0], ids=["much in common", "little in common"])
@pytest.mark.parametrize("counts", [(40,), (17, 23), (3,), (1, 1)])
@pytest.mark.parametrize("name", FAMILIES)
def test_branches_give_what_a_row_for_every_completion_gives_to_the_bit(name, counts, temperature, monkeypatch):
    model, processor = make_family(name)
    requests = requests_of(model, processor, counts)
    settings = SamplingSettings(temperature=temperature, max_new_tokens=24)
    steps = widths(monkeypatch)
    branches = decode(model, requests, settings=settings, **OPTIONS)
    of_branches = list(steps)
    steps.clear()
    rows = decode(model, requests, settings=settings, look_every=2, **OPTIONS)  # looks that come late need rows
    assert branches == rows
    assert sum(of_branches) <= 1.1 * sum(steps)  # both keep a few rows that nobody needs any more


def test_what_is_certain_is_computed_once(monkeypatch):
    """A temperature near 0 leaves nothing to chance: 200 completions are one, padded to the least number of rows."""
    model, processor = make_family("qwen2_5_vl")
    steps = widths(monkeypatch)
    settings = SamplingSettings(temperature=1e-5, max_new_tokens=16)
    (samples,) = decode(model, requests_of(model, processor, (200,)), settings=settings, eos_ids=[2], suppress=MARKERS)
    assert len({tuple(row) for row in samples.token_ids}) == 1
    assert set(steps) == {MIN_ROWS}


@pytest.mark.parametrize("copied", [False, True])
def test_copies_of_the_prompts_cache_branch_as_well(copied):
    model, processor = make_family("qwen2_vl")
    requests = requests_of(model, processor, (30,))
    settings = SamplingSettings(temperature=0.5, max_new_tokens=20)
    drawn = decode(model, requests, settings=settings, copied=copied, **OPTIONS)[0]
    apart = decode(model, requests, settings=settings, copied=copied, look_every=2, **OPTIONS)[0]
    assert drawn.token_ids == apart.token_ids
    for name in ("logprobs", "entropies"):
        for found, expected in zip(getattr(drawn, name), getattr(apart, name), strict=True):
            torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), rtol=0, atol=1e-5)
