"""What the estimator is made of, where the truth is known."""

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture

from sklearn_mdm.critic import EncodedCritic
from sklearn_mdm.dependency._gaussian_mixture import MixtureRatio
from sklearn_mdm.dependency._normal_scores import NormalScores


def test_mixture_ratio__of_one_component__mean_is_the_total_correlation_of_gaussians():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 1))
    z = np.hstack([x, x + rng.normal(size=(2000, 1))])
    ratio = MixtureRatio(GaussianMixture(1).fit(z), [1, 1])
    values = ratio([torch.tensor(z[:, :1]), torch.tensor(z[:, 1:])])
    assert values.mean().item() == pytest.approx(0.5 * np.log(2), abs=0.05)


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
        network = MixtureRatio(mixture.fit(rng.normal(size=(200, 6))), dims)
    own, others = ([torch.tensor(rng.normal(size=(n, d))) for d in dims] for n in (5, 4))
    rest = [j for j in range(3) if j not in kept]
    with torch.no_grad():
        found = network.combine_each(network.encode(own, kept), network.encode(others, rest))
        a, b = network.encode(own), network.encode(others)
        for i in range(5):
            for k in range(4):
                whole = [(a[j][[i]] if j in kept else b[j][[k]]) for j in range(3)]
                torch.testing.assert_close(found[i, [k]], network.combine(whole), rtol=1e-10, atol=1e-10)
