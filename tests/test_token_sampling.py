"""Random streams and the choice of a token: exact identities and transformers' own warpers as the judge."""

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers.generation.logits_process import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from sampling.random_streams import stream_key, uniforms
from sampling.settings import LEAST_TEMPERATURE, SamplingSettings
from sampling.sizes import BLOCK_STEPS
from sampling.token_sampling import choose, entropy, quick_weights, weights


def stock_probabilities(logits: torch.Tensor, settings: SamplingSettings) -> torch.Tensor:
    scores = TemperatureLogitsWarper(settings.temperature)(None, logits)
    if settings.top_k:
        scores = TopKLogitsWarper(settings.top_k)(None, scores)
    if settings.top_p < 1:
        scores = TopPLogitsWarper(settings.top_p)(None, scores)
    return scores.softmax(-1)


def test_a_samples_numbers_do_not_depend_on_which_samples_are_drawn_beside_it():
    key = stream_key(2025, "problem")
    together = uniforms(key, 3, 0, 64)
    assert np.array_equal(together, np.concatenate([uniforms(key, 3, 0, 32), uniforms(key, 3, 32, 32)]))
    assert np.array_equal(together[17:20], uniforms(key, 3, 17, 3))


def test_streams_of_other_seeds_problems_samples_and_steps_share_no_number():
    blocks = [
        uniforms(stream_key(seed, problem), block, first, 8)
        for seed in (1, 2)
        for problem in ("a", "b")
        for block in (0, 1)
        for first in (0, 8)
    ]
    numbers = np.concatenate([block.ravel() for block in blocks])
    assert numbers.size == 16 * 8 * BLOCK_STEPS == len(np.unique(numbers))
    assert numbers.min() >= 0 and numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 4 * (1 / 12 / numbers.size) ** 0.5


@pytest.mark.parametrize("sharpness", [0.3, 3.0, 12.0])
@pytest.mark.parametrize(
    "settings",
    [
        SamplingSettings(),
        SamplingSettings(temperature=0.6),
        SamplingSettings(top_p=0.95),
        SamplingSettings(top_k=20),
        SamplingSettings(temperature=1.3, top_k=50, top_p=0.8),
        SamplingSettings(top_p=0.01),
    ],
    ids=str,
)
def test_the_distribution_is_that_of_transformers_warpers(settings, sharpness):
    # sharpness 0.3 needs the whole vocabulary sorted, 3 the first 1,024 tokens, 12 the first 64
    logits = sharpness * torch.randn(5, 3000, generator=torch.Generator().manual_seed(1))
    ours = weights(logits, settings)
    torch.testing.assert_close(
        ours / ours.sum(-1, keepdim=True), stock_probabilities(logits, settings), rtol=1e-5, atol=0
    )


def nucleus_of_a_full_sort(logits: torch.Tensor, top_p: float) -> torch.Tensor:
    """The docstring's definition in float64: which tokens stay."""
    weight = (logits - logits.amax(-1, keepdim=True)).exp()
    mass = weight.double().sort(-1, descending=True).values.cumsum(-1)
    needed = top_p * mass[:, -1:]
    ordered = weight.sort(-1, descending=True).values
    last = ((mass - ordered.double()) < needed).sum(-1, keepdim=True) - 1
    return weight >= ordered.gather(-1, last)


def logits_like(kind: str, rows: int, vocabulary: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(5)
    if kind == "trained":  # a few likely tokens over a long tail, as a language model has them
        ranks = torch.arange(1.0, vocabulary + 1).log()
        order = torch.stack([torch.randperm(vocabulary, generator=random) for _ in range(rows)])
        steepness = torch.linspace(1.6, 4.0, rows)[:, None]
        return torch.empty(rows, vocabulary).scatter_(1, order, -steepness * ranks)
    if kind == "tied":
        return torch.randint(0, 4, (rows, vocabulary), generator=random).float()
    return 0.05 * torch.randn(rows, vocabulary, generator=random)


@pytest.mark.parametrize("kind", ["trained", "tied", "uniform"])
@pytest.mark.parametrize("top_p", [0.01, 0.5, 0.95, 0.999])
def test_the_nucleus_is_that_of_a_full_sort(kind, top_p):
    logits, none = logits_like(kind, 12, 20_000), torch.tensor([], dtype=torch.long)
    settings, expected = SamplingSettings(top_p=top_p), nucleus_of_a_full_sort(logits, top_p)
    assert torch.equal(weights(logits, settings) > 0, expected)
    quick, short = quick_weights(logits, settings, none)
    right = (quick > 0).eq(expected).all(-1)
    assert short.shape == (1,) and (short or right.all())
    assert kind == "tied" or bool(short) == bool((expected.sum(-1) > 1024).any())
    assert right[expected.sum(-1) <= 1024].all()  # where it says that it is short, other rows are right all the same
    if kind == "trained" and top_p <= 0.95:
        assert not short and torch.equal(quick, weights(logits, settings))


def test_on_a_gpu_no_token_is_waited_for_while_it_is_chosen():
    """Fake CUDA tensors: they take a GPU's code, and refuse to give a value to the host."""
    with FakeTensorMode():
        logits = torch.randn(8, 20_000, device="cuda")
        suppress, uniform = torch.tensor([3, 5], device="cuda"), torch.rand(8, dtype=torch.float64, device="cuda")
        for settings in (SamplingSettings(top_p=0.9, top_k=50, temperature=0.7), SamplingSettings(top_p=0.9)):
            for chances in (weights(logits, settings, suppress), quick_weights(logits, settings, suppress)[0]):
                tokens, logprobs = choose(chances, uniform)
                assert tokens.shape == logprobs.shape == entropy(logits, 0.7).shape == (8,)


def test_the_inverse_cdf_by_hand():
    weight = torch.tensor([[0.0, 2.0, 0.0, 1.0, 1.0, 0.0]])
    for uniform, token in [(0.0, 1), (0.49, 1), (0.5, 3), (0.74, 3), (0.75, 4), (1 - 2**-53, 4)]:
        chosen, logprob = choose(weight, torch.tensor([uniform], dtype=torch.float64))
        assert chosen.item() == token
        assert logprob.item() == pytest.approx(np.log(weight[0, token].item() / 4))


def test_tokens_fall_as_often_as_their_probabilities_say():
    weight = torch.rand(1, 500, generator=torch.Generator().manual_seed(0)) ** 4
    grid = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000  # an even grid of uniforms: no chance involved
    counts = torch.zeros(500)
    for part in grid.split(20_000):
        counts += torch.bincount(choose(weight.expand(len(part), -1), part)[0], minlength=500)
    assert (counts / 200_000 - weight[0] / weight.sum()).abs().max() < 1.1e-5


def test_suppressed_and_cut_tokens_are_never_chosen_even_at_the_ends_of_the_unit_interval():
    logits = torch.randn(1, 300, generator=torch.Generator().manual_seed(2))
    suppress = torch.tensor([0, 5, 298, 299])
    weight = weights(logits, SamplingSettings(top_p=0.5), suppress)
    ends = torch.tensor([0.0, 2.0**-53, 0.5, 1 - 2.0**-53], dtype=torch.float64)
    chosen, logprobs = choose(weight.expand(4, -1), ends)
    assert not torch.isin(chosen, suppress).any()
    assert (weight[0, chosen] > 0).all() and torch.isfinite(logprobs).all()


def test_the_least_temperature_gives_a_distribution():
    settings = SamplingSettings(temperature=LEAST_TEMPERATURE)
    weight = weights(torch.tensor([[1e4, -1e4, 1e4, 0.0]]), settings)
    assert weight.tolist() == [[1, 0, 1, 0]]


@pytest.mark.parametrize(
    ("name", "value"), [("temperature", 0.0), ("temperature", float("nan")), ("temperature", 1e-39), ("top_p", 0.0),
                        ("top_p", 1.01), ("top_k", -1), ("max_new_tokens", 0)]
)  # fmt: skip
def test_settings_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name.replace("_", "-")):
        SamplingSettings(**{name: value})
