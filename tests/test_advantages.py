"""Hand-worked advantages, and the identities of the objectives by exact enumeration in float64."""

import itertools

import numpy as np
import pytest
import torch

from tests.scored import NAN, scored
from trainers.method import correctness
from trainers.nsr import NSR
from trainers.psr import PSR
from trainers.trainer import kept_scale
from trainers.w_reinforce import WReinforce

pytestmark = pytest.mark.methods
CORRECT = torch.tensor([1.0, 0.0, 0.0, NAN, 1.0])


def psr_advantages(correct):
    return PSR().weights(scored(correct))


def nsr_advantages(correct):
    return NSR().weights(scored(correct))


def w_reinforce_advantages(correct, lambda_psr):
    return WReinforce(lambda_psr=lambda_psr).weights(scored(correct))


def test_advantages_of_every_mode_by_hand():
    assert psr_advantages(CORRECT).tolist() == [1, 0, 0, 0, 1]
    assert nsr_advantages(CORRECT).tolist() == [0, -1, -1, 0, 0]
    weighted = w_reinforce_advantages(CORRECT.double(), 0.1)
    assert weighted.tolist() == [0.1, -1, -1, 0, 0.1]


def test_a_threshold_is_inclusive_and_keeps_unscorable_rows():
    got = correctness(torch.tensor([0.5, 0.499, 1.0, NAN, 0.0]), 0.5)
    assert got[:3].tolist() == [1, 0, 1] and got[3].isnan() and got[4] == 0


def test_no_group_decides_anything_for_another():
    all_wrong, all_right = torch.zeros(4), torch.ones(4)
    assert nsr_advantages(all_wrong).tolist() == [-1] * 4
    assert psr_advantages(all_wrong).tolist() == [0] * 4
    assert nsr_advantages(all_right).tolist() == [0] * 4
    assert w_reinforce_advantages(all_right.double(), 0.1).tolist() == [0.1] * 4


def test_lambda_one_is_reinforce_and_lambda_zero_is_nsr():
    assert torch.equal(w_reinforce_advantages(CORRECT, 0.0), nsr_advantages(CORRECT))
    assert w_reinforce_advantages(CORRECT, 1.0).tolist() == [1, -1, -1, 0, 1]


def test_kept_scale_turns_an_average_over_all_tokens_into_one_over_kept_tokens():
    advantages, tokens = torch.tensor([-1.0, 0.0, -1.0, 0.0]), torch.tensor([3.0, 10.0, 5.0, 2.0])
    assert kept_scale(advantages, tokens).item() == 20 / 8
    assert kept_scale(torch.zeros(4), tokens).item() == 1


# -- A small world: sequences over three symbols, 0 ends them, at most three long; each is enumerated. ---------

SYMBOLS, LONGEST = 3, 3


def sequences():
    found, open_ones = [], [()]
    while open_ones:
        prefix = open_ones.pop()
        for symbol in range(SYMBOLS):
            grown = (*prefix, symbol)
            (found if symbol == 0 or len(grown) == LONGEST else open_ones).append(grown)
    return sorted(found)


@pytest.fixture
def world():
    """(probability, gradient of log-probability, length, correct) of every sequence under a random policy."""
    generator = torch.Generator().manual_seed(3)
    prefixes = [p for n in range(LONGEST) for p in itertools.product(range(1, SYMBOLS), repeat=n)]
    logits = torch.randn(len(prefixes), SYMBOLS, dtype=torch.float64, generator=generator, requires_grad=True)
    rows = []
    for sequence in sequences():
        log_p = sum(logits[prefixes.index(sequence[:t])].log_softmax(0)[s] for t, s in enumerate(sequence))
        (gradient,) = torch.autograd.grad(log_p, logits, retain_graph=True)
        correct = float(sequence[0] == 1 or len(sequence) == 1)  # short ones are right more often than long ones
        rows.append((log_p.exp().item(), gradient.flatten().numpy(), len(sequence), correct))
    probability, gradient, length, correct = (np.array(column) for column in zip(*rows, strict=True))
    assert abs(probability.sum() - 1) < 1e-12 and 0.1 < probability @ correct < 0.9
    return probability, gradient, length, torch.tensor(correct)


def expected_gradient(world, advantages, weight):
    """E over one sampled row of weight(row) * advantage * grad log pi; ascent direction."""
    probability, gradient, _, _ = world
    return (probability * weight * advantages.numpy()) @ gradient


def gap(one, other):
    return np.linalg.norm(one - other) / np.linalg.norm(other)


def token_normalised(world, advantages, n):
    """E[sum_i A_i grad log pi_i / sum_i T_i] over n rows: the row's own length, and the rest's by convolution."""
    probability, gradient, length, _ = world
    one = np.bincount(length, weights=probability, minlength=LONGEST + 1)
    rest = np.array([1.0])
    for _ in range(n - 1):
        rest = np.convolve(rest, one)
    totals = np.arange(len(rest))
    weight = np.array([n * (rest / (totals + own)).sum() for own in length])
    return (probability * weight * advantages.numpy()) @ gradient


def test_under_a_constant_normaliser_psr_and_nsr_have_the_gradient_of_accuracy(world):
    probability, gradient, _, correct = world
    grad_j = (probability * correct.numpy()) @ gradient
    psr = expected_gradient(world, psr_advantages(correct), 1.0)
    nsr = expected_gradient(world, nsr_advantages(correct), 1.0)
    weighted = expected_gradient(world, w_reinforce_advantages(correct, 0.1), 1.0)
    assert gap(psr, grad_j) < 1e-13 and gap(nsr, grad_j) < 1e-13 and gap(weighted, 1.1 * grad_j) < 1e-13


def test_under_the_token_normaliser_they_agree_only_as_samples_grow(world):
    probability, gradient, length, correct = world
    gaps = {
        n: gap(token_normalised(world, psr_advantages(correct), n), token_normalised(world, nsr_advantages(correct), n))
        for n in (2, 16, 256)
    }
    assert gaps[2] > 0.1 > gaps[16] > gaps[256] and gaps[256] < 0.01
    limit = (probability * correct.numpy()) @ gradient / (probability @ length)
    assert gap(token_normalised(world, psr_advantages(correct), 256), limit) < 0.01


def test_under_sequence_averaging_they_differ_however_many_samples_there_are(world):
    _, _, length, correct = world
    psr = expected_gradient(world, psr_advantages(correct), 1 / length)
    nsr = expected_gradient(world, nsr_advantages(correct), 1 / length)
    assert gap(psr, nsr) > 0.1


def test_the_kept_normaliser_scales_nsr_by_the_class_balance(world):
    """Row-averaged over kept rows, n samples: E = grad J * (1 - J^n) / (1 - J); a batch with no wrong row gives 0."""
    probability, gradient, _, correct = world
    j = probability @ correct.numpy()
    grad_j = (probability * correct.numpy()) @ gradient
    for n in (2, 3):
        total = np.zeros(gradient.shape[1])
        for draw in itertools.product(range(len(probability)), repeat=n):
            advantages = nsr_advantages(correct[list(draw)])
            scale = kept_scale(advantages, torch.ones(n, dtype=torch.float64))
            row_mean = ((scale * advantages).numpy() / n) @ gradient[list(draw)]
            total += probability[list(draw)].prod() * row_mean
        assert gap(total, grad_j * (1 - j**n) / (1 - j)) < 1e-12


def test_nsr_raises_every_other_logit_in_proportion_to_its_own_probability():
    logits = torch.tensor([0.3, -1.2, 2.0, 0.7], dtype=torch.float64, requires_grad=True)
    wrong = 2
    objective = nsr_advantages(torch.tensor([0.0])).double() * logits.log_softmax(0)[wrong]
    (ascent,) = torch.autograd.grad(objective.sum(), logits)
    p = logits.softmax(0).detach()
    expected = p.clone()
    expected[wrong] = -(1 - p[wrong])
    assert torch.allclose(ascent, expected, rtol=0, atol=1e-15)
