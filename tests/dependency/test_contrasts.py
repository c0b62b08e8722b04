"""Normalisers of rows and weights of parts, where both can be computed by hand."""

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture

from sklearn_mdm.critic import CRITICS
from sklearn_mdm.dependency import _contrasts
from sklearn_mdm.dependency._calibration import MAX_SPREAD, bound_weights, log_normalizers
from sklearn_mdm.dependency._contrasts import Contrast, keep_each
from sklearn_mdm.dependency._gaussian_mixture import MixtureInputs, MixtureRatio
from sklearn_mdm.utils._statistics import standard_error

RHO = 0.8


def true_ratio(n_modalities=2):
    """Log density ratio of one normal column per modality, all correlated by RHO."""
    mixture = GaussianMixture(1)
    mixture.weights_, mixture.means_ = np.ones(1), np.zeros((1, n_modalities))
    mixture.covariances_ = (np.eye(n_modalities) * (1 - RHO) + RHO)[None]
    return MixtureRatio(mixture, MixtureInputs([slice(0, 1)] * n_modalities))


def normals(n, seed=0, n_modalities=2):
    rng = np.random.default_rng(seed)
    shared, own = rng.normal(size=(n, 1)), rng.normal(size=(n, n_modalities))
    z = np.sqrt(RHO) * shared + np.sqrt(1 - RHO) * own
    return [torch.from_numpy(column[:, None]) for column in z.T]


def value_and_influence(z, n_others, groups=None, cap=np.inf):
    """Mean normalised ratio of rows, and the influence of each on it."""
    ratio = true_ratio(len(z))
    found = log_normalizers(keep_each([ratio], z, n_others, groups, 0), np.ones(1), (-np.inf, cap))
    influence = np.minimum(ratio(z).numpy(), cap) - found
    return influence.mean(), influence


# --- rows and their negatives ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [_contrasts.BLOCK, 20])
@pytest.mark.parametrize("cap", [np.inf, 0.3])
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("n_modalities", [2, 3])
@pytest.mark.parametrize("kind", ["encoded", "concatenated"])  # which scores pairs, and which reads samples as a whole
def test_log_normalizers__is_that_of_a_double_loop(kind, n_modalities, grouped, cap, block, monkeypatch):
    monkeypatch.setattr(_contrasts, "BLOCK", block)
    torch.manual_seed(0)
    n, weights, z = 12, np.array([0.7, 0.4]), normals(12, n_modalities=n_modalities)
    networks = [CRITICS[kind]([1] * n_modalities, (8, 6), raw=True).double().eval(), true_ratio(n_modalities)]
    groups = np.arange(n) // 2 if grouped else None
    kept = keep_each(networks, z, 9, groups, 3)
    found = log_normalizers(kept, weights, (-np.inf, cap))

    def score(rows):
        sample = [part[[row]] for part, row in zip(z, rows, strict=True)]
        with torch.no_grad():
            parts = [network.combine(network.encode(sample)).item() for network in networks]
        return min(float(weights @ parts), cap)

    unit = np.arange(n) if groups is None else groups
    levels = []
    for j, each in enumerate(kept):
        assert each.others.shape == (n_modalities - 1, 9)
        for i in range(n):
            terms = [np.exp(score([i] * n_modalities))]
            for others in each.others.T:
                assert len(set(others)) == len(others)  # no two of a negative are of one row
                if unit[i] not in unit[others]:
                    terms.append(np.exp(score([*others[:j], i, *others[j:]])))
            levels.append(np.log(np.mean(terms)))
    assert found.mean() == pytest.approx(np.mean(levels), rel=1e-9)


def test_keep_each__of_a_network_that_reads_whole_samples__takes_few_negatives(monkeypatch):
    monkeypatch.setattr(_contrasts, "DEAR_NEGATIVES", 5)
    networks = [CRITICS["concatenated"]([1, 1], (4,), raw=True).double(), true_ratio()]
    assert [kept.others.shape[1] for kept in keep_each(networks, normals(20), 50, None, 0)] == [5, 5]
    assert [kept.others.shape[1] for kept in keep_each(networks[1:], normals(20), 50, None, 0)] == [20, 20]


def test_influence__is_what_leaving_a_row_out_changes():
    n, z = 80, normals(80)
    value, influence = value_and_influence(z, n)  # all other rows are negatives, so nothing is drawn
    without = np.array([value_and_influence([part[np.arange(n) != i] for part in z], n)[0] for i in range(n)])
    pseudo = n * value - (n - 1) * without  # Tukey's jackknife
    assert np.corrcoef(pseudo, influence)[0, 1] > 0.99
    assert pseudo.std() == pytest.approx(influence.std(), rel=0.05)


@pytest.mark.parametrize(("n_modalities", "group_size"), [(2, 1), (3, 1), (2, 3)])
def test_standard_error__of_influence_is_the_spread_of_values_of_new_rows(n_modalities, group_size):
    groups = np.repeat(np.arange(120 // group_size), group_size)
    found = []
    for seed in range(200):
        units = normals(120 // group_size, seed, n_modalities)
        z = [part.repeat_interleave(group_size, 0) for part in units]
        value, influence = value_and_influence(z, 40, groups if group_size > 1 else None)
        found.append((value, standard_error(influence, groups)))
    values, errors = np.transpose(found)
    assert values.std() == pytest.approx(errors.mean(), rel=0.2)  # known to 5 % from 200 values


# --- weights ---------------------------------------------------------------------------------------------------------


def contrasts_of(*parts):
    """Contrasts in both modalities of parts, functions of rows (n, 1) and others (n_others, 1)."""
    z = [part.numpy() for part in normals(400)]
    contrasts = []
    for j in range(2):
        rest = np.random.default_rng(j).permutation(400)[:64]
        own = np.stack([part(z[j], z[1 - j]) for part in parts])
        others = np.stack([part(z[j][:, None], z[1 - j][rest]) for part in parts])
        contrasts.append(Contrast(own[..., 0], others[..., 0], np.arange(400)[:, None] != rest))
    return contrasts


def truth(a, b):
    return -(RHO**2 * (a**2 + b**2) - 2 * RHO * a * b) / (2 * (1 - RHO**2)) - np.log1p(-(RHO**2)) / 2


def noise(seed):
    rng = np.random.default_rng(seed)
    return lambda a, b: rng.normal(size=np.broadcast_shapes(a.shape, b.shape))


def constant(a, b):
    return np.full(np.broadcast_shapes(a.shape, b.shape), 3.0)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e5])
def test_bound_weights__of_truth_and_noise_are_one_and_zero(seed, scale):
    (truth_weight, noise_weight, nothing), _ = bound_weights(
        contrasts_of(lambda a, b: scale * truth(a, b), noise(seed), constant)
    )
    assert truth_weight * scale == pytest.approx(1, abs=0.15)
    assert noise_weight < 0.15 and nothing == 0


def test_bound_weights__of_two_truths_share_one():
    assert bound_weights(contrasts_of(truth, lambda a, b: 2 * truth(a, b)))[0] @ [1, 2] == pytest.approx(1, abs=0.15)


def test_bound_weights__of_noise_alone__are_zero_but_for_chance():
    weights = np.array([bound_weights(contrasts_of(noise(seed), noise(seed + 100)))[0] for seed in range(20)])
    assert (weights == 0).all(1).mean() >= 0.9
    assert weights.max() < 0.1


def test_bound_weights__of_the_opposite_of_the_truth__are_zero():
    assert bound_weights(contrasts_of(lambda a, b: -truth(a, b)))[0] == [0]


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_bound_weights__where_rows_are_told_apart_for_sure__are_bounded(scale):
    a = np.random.default_rng(0).normal(size=300)
    rest = np.arange(100)
    others = -scale * np.abs(a[:, None] - a[rest])
    contrast = Contrast(np.zeros((1, 300)), others[None], np.arange(300)[:, None] != rest)
    (weight,), _ = bound_weights([contrast, contrast])
    assert 10 < weight * scale and weight * 1e-3 * others.std() <= MAX_SPREAD
