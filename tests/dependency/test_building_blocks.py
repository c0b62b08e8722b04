"""What the estimator is made of, where the truth is known."""

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture

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
