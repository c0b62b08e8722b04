"""What the estimator is made of, where the truth is known."""

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture

from sklearn_mdm.critic import EncodedCritic
from sklearn_mdm.dependency._gaussian_mixture import COMPONENTS, MIN_GAIN, MixtureInputs, MixtureRatio, choose_mixture
from sklearn_mdm.dependency._normal_scores import NormalScores
from sklearn_mdm.utils._blocks import in_blocks


def of_widths(widths):
    return MixtureInputs([slice(0, width) for width in widths])


def test_mixture_ratio__of_one_component__mean_is_the_total_correlation_of_gaussians():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 1))
    z = np.hstack([x, x + rng.normal(size=(2000, 1))])
    ratio = MixtureRatio(GaussianMixture(1).fit(z), of_widths([1, 1]))
    values = ratio([torch.tensor(z[:, :1]), torch.tensor(z[:, 1:])])
    assert values.mean().item() == pytest.approx(0.5 * np.log(2), abs=0.05)


@pytest.mark.parametrize(
    ("losses", "n_components", "n_tried"),
    [
        ([0, -1.5, -3, -4.5, -6, -7.5], 32, 6),
        ([0, -0.6, -1.2, -1.8, -2.4, -3.0], 16, 6),  # by more than the smallest gain below the best, every second time
        ([0, -0.6, -0.9, -99], 1, 3),  # in all by less: two without a gain end the search
        ([0, 4, 2, -99], 1, 3),  # better than the one before is not better than the best
        ([0, -9, -2, -3, -99], 2, 4),
        ([0, -9, -8, -10.5, -10, -10, -99], 8, 6),
    ],
)
def test_choose_mixture__compares_with_the_best_so_far(losses, n_components, n_tried):
    rows, tried = np.random.default_rng(0).normal(size=(400, 2)), []

    def loss(ratio):
        tried.append(len(ratio.constant))
        return losses[len(tried) - 1] * MIN_GAIN

    assert choose_mixture(rows, of_widths([1, 1]), loss, seed=0, most=32).n_components == n_components
    assert tried == [1, *COMPONENTS][:n_tried]


@pytest.mark.parametrize(
    ("most", "most_work", "n_rows", "expected"),
    [(32, np.inf, 400, 32), (4, np.inf, 400, 4), (32, 400 * 2 * 2**2, 400, 2), (32, np.inf, 79, 4), (1, np.inf, 9, 1)],
)
def test_choose_mixture__has_no_more_components_than_rows_and_limits_allow(most, most_work, n_rows, expected):
    rows, falling = np.random.default_rng(0).normal(size=(n_rows, 2)), iter(range(0, -100, -1))
    found = choose_mixture(rows, of_widths([1, 1]), lambda _: next(falling), seed=0, most=most, most_work=most_work)
    assert found.n_components == expected


def test_choose_mixture__of_few_rows_in_many_columns__is_shrunk():
    rows = np.random.default_rng(0).normal(size=(30, 40))  # an empirical covariance has no inverse
    mixture = choose_mixture(rows, of_widths([20, 20]), lambda _: 0.0, seed=0, most=32)
    assert np.linalg.cond(mixture.covariances_[0]) < 10
    assert choose_mixture(np.zeros((30, 501)), of_widths([500, 1]), lambda _: 0.0, seed=0, most=32) is None


def test_normal_scores__of_three_rows__are_quantiles_of_their_ranks():
    x = np.array([[1.0], [10.0], [100.0]])
    scores = NormalScores().fit([x]).transform([x])[0]
    np.testing.assert_allclose(scores.ravel(), [-0.6745, 0, 0.6745], atol=1e-4)


@pytest.mark.parametrize("kept", [[0], [2], [0, 1], [1, 2]])
@pytest.mark.parametrize("kind", ["critic", "mixture of one", "mixture of three"])
def test_combine_each__is_combine__of_every_pair(kind, kept):
    torch.manual_seed(0)
    dims, rng = [2, 3, 1], np.random.default_rng(0)
    if kind == "critic":
        network = EncodedCritic(dims, (8, 6), raw=True).double().eval()
        network.output.bias.data.fill_(0.3)
    else:
        mixture = GaussianMixture(3 if "three" in kind else 1, random_state=0)
        network = MixtureRatio(mixture.fit(rng.normal(size=(200, 6))), of_widths(dims))
    own, others = ([torch.tensor(rng.normal(size=(n, d))) for d in dims] for n in (5, 4))
    rest = [j for j in range(3) if j not in kept]
    with torch.no_grad():
        found = network.combine_each(network.encode(own, kept), network.encode(others, rest))
        a, b = network.encode(own), network.encode(others)
        for i in range(5):
            for k in range(4):
                whole = [(a[j][[i]] if j in kept else b[j][[k]]) for j in range(3)]
                torch.testing.assert_close(found[i, [k]], network.combine(whole), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_combine_each__in_single_precision__is_combine_of_every_pair(offset):
    torch.manual_seed(0)
    critic, exact = EncodedCritic([2, 3], (8, 6)).eval(), EncodedCritic([2, 3], (8, 6)).double().eval()
    exact.load_state_dict(critic.state_dict())
    a, b = torch.randn(5, 6) + offset, torch.randn(4, 6) - offset  # which cancel in every sum
    with torch.no_grad():
        found = critic.combine_each([a], [b])
        whole = [(a[:, None] + b).double().flatten(0, 1)]
        torch.testing.assert_close(found.flatten().double(), exact.combine(whole), rtol=0, atol=1e-4)


@pytest.mark.parametrize("n", [1, 4, 5, 12, 13])
def test_in_blocks__values_of_rows__are_in_their_order(n, monkeypatch):
    monkeypatch.setattr("sklearn_mdm.utils._blocks.ROWS_AT_ONCE", 4)
    seen, x = [], np.arange(3.0 * n).reshape(n, 3)

    def total(arrays):
        seen.append(len(arrays[0]))
        return arrays[0].sum(1) + arrays[1][:, 0]

    np.testing.assert_array_equal(in_blocks(total, [x, -x[:, :1]]), x[:, 1:].sum(1))
    assert max(seen) <= 4 and sum(seen) == n
