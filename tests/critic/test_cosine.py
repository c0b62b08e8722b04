"""The cosine critic and InfoNCE over pairs of modalities, against loops and closed forms."""

import itertools
import math

import numpy as np
import pytest
import torch

from sklearn_mdm.critic import CosineCritic, PairedCritic
from sklearn_mdm.critic._negatives import offset_indices
from sklearn_mdm.measures import PairwiseInfoNCE

DIMS = (3, 5, 4)


def built(dims=DIMS, k=6, **parameters):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CosineCritic(dims, k, **parameters).double()


def draw(n=12, dims=DIMS, seed=0):
    stream = torch.Generator().manual_seed(seed)
    return [torch.randn(n, width, generator=stream, dtype=torch.float64) for width in dims]


def same_projection(m, width, temperature):
    """A critic that compares raw rows themselves."""
    critic = CosineCritic([width] * m, width, temperature=temperature, raw=True).double()
    with torch.no_grad():
        for project in critic.projections:
            project.weight.copy_(torch.eye(width))
            project.bias.zero_()
    return critic


@pytest.mark.parametrize("raw", [False, True])
def test_all_pairs__are_cosines_of_projections(raw):
    # Rounding, and the 1e-6 beside squared lengths of order one.
    critic, z = built(temperature=0.5, raw=raw), draw()
    f = [project(z_j if raw else z_j.clamp(min=0)) for project, z_j in zip(critic.projections, z, strict=True)]
    found = critic.all_pairs(z)
    assert found.shape == (3, 12, 12)
    for scores, (a, b) in zip(found, itertools.combinations(f, 2), strict=True):
        expected = torch.cosine_similarity(a[:, None], b[None], dim=-1) / 0.5
        torch.testing.assert_close(scores, expected, rtol=0, atol=1e-4)
    assert found.abs().max() <= 1 / 0.5


def test_t_of_rows__is_the_mean_over_pairs():
    critic, z = built(), draw()
    assert isinstance(critic, PairedCritic)
    expected = critic.all_pairs(z).diagonal(dim1=1, dim2=2).mean(0)
    torch.testing.assert_close(critic(z), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(critic.combine(critic.encode(z)), expected, rtol=0, atol=1e-12)
    index = offset_indices(12, 3, 2, torch.Generator().manual_seed(0))
    negatives = [z_j[rows] for z_j, rows in zip(z, index, strict=True)]
    torch.testing.assert_close(critic(z, index)[1], critic(negatives), rtol=0, atol=1e-12)


def test_t__does_not_grow_with_the_scale_of_representations():
    critic, z = built(), draw()
    for scale in (1e-3, 1e3, 1e6):
        assert critic.all_pairs([scale * z_j for z_j in z]).abs().max() <= 1 / 0.2
    # Nor depend on the other rows.
    torch.testing.assert_close(critic(z)[:4], critic([z_j[:4] for z_j in z]), rtol=0, atol=1e-12)


def test_a_silenced_critic__is_zero_and_learns_from_there():
    critic = built()
    critic.silence()
    index = offset_indices(12, 3, 1, torch.Generator().manual_seed(0))
    t_joint, t_product = critic(draw(), index)
    assert not t_joint.any() and not t_product.any()
    (t_joint.mean() - t_product.mean()).backward()
    gradients = torch.cat([p.grad.flatten() for p in critic.parameters()])
    assert torch.isfinite(gradients).all() and gradients.abs().max() > 1e-3


@pytest.mark.parametrize("m", [2, 3, 4])
def test_value__is_a_slow_loop(m):
    dims = (3, 5, 4, 2)[:m]
    critic, z = built(dims), draw(7, dims)
    parts = []
    for t in critic.all_pairs(z).detach().numpy():
        for scores in (t, t.T):
            parts.append(np.mean([scores[i, i] - np.log(np.mean(np.exp(scores[i]))) for i in range(7)]))
    found = PairwiseInfoNCE().value(critic, z, None)
    assert found.item() == pytest.approx(np.mean(parts), abs=1e-12)
    assert PairwiseInfoNCE().critic_objective(critic, z, None).item() == found.item()


@pytest.mark.parametrize("m", [2, 3, 6])
def test_identical_views__reach_the_logarithm_of_the_batch(m):
    # Rows along different axes: cosines of one and zero.
    n = 16
    z = [torch.eye(n, dtype=torch.float64)] * m
    for temperature in (0.02, 0.2, 1.0):
        measure = PairwiseInfoNCE(temperature)
        value = measure.value(same_projection(m, n, temperature), z, None).item()
        assert value == pytest.approx(math.log(n) - math.log1p((n - 1) * math.exp(-1 / temperature)), abs=1e-4)
        assert value <= measure.limit(n) <= math.log(n)
    assert PairwiseInfoNCE(0.02).value(same_projection(m, n, 0.02), z, None).item() == pytest.approx(math.log(n))


@pytest.mark.parametrize("n", [2, 9])
def test_limit__is_reached_by_one_row_that_lies_opposite_to_all_others(n):
    z = -torch.ones(n, 1, dtype=torch.float64)
    z[0] = 1
    t = same_projection(2, 1, 0.5).all_pairs([z, z])[0]
    of_first = t[0, 0] - torch.logsumexp(t[0], 0) + math.log(n)
    assert of_first.item() == pytest.approx(PairwiseInfoNCE(0.5).limit(n), abs=1e-4)


def test_independent_views__have_a_value_near_zero_and_below():
    # The critic was not trained on them: its value is a lower bound of zero, with an error near 1 / sqrt(n).
    # A cold one that is wrong is far below.
    values = [PairwiseInfoNCE().value(built(), draw(400, seed=seed), None).item() for seed in range(5)]
    assert -1.0 < np.mean(values) < 0.02
    cool = [PairwiseInfoNCE(2.0).value(built(temperature=2.0), draw(400, seed=s), None).item() for s in range(5)]
    assert np.mean(cool) == pytest.approx(0, abs=0.02)


def test_constant_representations__measure_nothing():
    z = [torch.ones(8, width, dtype=torch.float64) for width in DIMS]
    assert PairwiseInfoNCE().value(built(), z, None).item() == pytest.approx(0, abs=1e-12)


def test_a_trained_critic__stays_below_the_mutual_information():
    # Two Gaussian columns with correlation .9: -log(1 - .81) / 2 = .83 nats. Standard error about .02.
    rng = np.random.default_rng(0)
    a = rng.normal(size=(4000, 1))
    b = 0.9 * a + math.sqrt(1 - 0.81) * rng.normal(size=(4000, 1))
    z = [torch.tensor(np.c_[x, -x]) for x in (a, b)]  # ReLU keeps either sign
    measure, critic = PairwiseInfoNCE(), built((2, 2), 16)
    optimizer = torch.optim.Adam(critic.parameters(), lr=0.01)
    stream = torch.Generator().manual_seed(0)
    for _ in range(300):
        rows = torch.randint(2000, (128,), generator=stream)
        optimizer.zero_grad()
        (-measure.critic_objective(critic, [x[rows] for x in z])).backward()
        optimizer.step()
    with torch.no_grad():
        fresh = [measure.value(critic, [x[s : s + 100] for x in z]).item() for s in range(2000, 4000, 100)]
    assert 0.5 < np.mean(fresh) < -0.5 * math.log(1 - 0.81) + 0.05


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_temperature__is_positive(temperature):
    with pytest.raises(ValueError, match="temperature must be positive"):
        CosineCritic([2, 2], temperature=temperature)
