"""The reported dependency where the truth is known: dependent and independent data, on samples not seen in the fit."""

import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from sklearn_mdm import MDMFusionRegressor
from sklearn_mdm.dependency import _density_ratio as ratio
from sklearn_mdm.estimators import _dependency_mixin
from sklearn_mdm.estimators._reporting_critic import train_reporting_critic
from sklearn_mdm.exceptions import RepeatedSamplesWarning


def views(n, noise, seed=0, m=2):
    """Modalities that see one latent factor through noise; infinite noise makes them independent."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(n, 1))
    weight = 0.0 if np.isinf(noise) else 1.0
    scale = 1.0 if np.isinf(noise) else noise
    return {f"view{j}": weight * latent + scale * rng.normal(size=(n, 2)) for j in range(m)}


def target(X):
    return sum(value[:, 0] for value in X.values())


@pytest.mark.parametrize("lam", [0, pytest.param(0.1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("m", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_dependent_and_independent_data__are_told_apart_on_new_samples(regressor, lam, m):
    for noise in (0.5, np.inf):
        X, new = views(800, noise, m=m), views(800, noise, seed=1, m=m)
        fitted = regressor(lam=lam, max_epochs=20, early_stopping=False, lr=0.01, batch_size=64).fit(X, target(X))
        fitted.fit_dependency(X)
        score, std = fitted.dependency_score(new, return_std=True)
        if np.isinf(noise):
            assert abs(score) < 0.06
        else:
            assert score > 0.25 and score > 4 * std


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("noise", [0.5, np.inf])
def test_the_report_of_fit_itself__tells_them_apart_too(regressor, early_stopping, noise):
    X, new = views(800, noise), views(800, noise, seed=1)
    fitted = regressor(max_epochs=30, early_stopping=early_stopping, lr=0.01, batch_size=32, n_iter_no_change=30)
    score = fitted.set_params(validation_fraction=0.25).fit(X, target(X)).dependency_score(new)
    assert abs(score) < 0.06 if np.isinf(noise) else score > 0.2


@pytest.mark.slow
def test_score__never_exceeds_what_the_inputs_share(regressor):
    # Codes are functions of the inputs: the total correlation of two Gaussian views bounds theirs.
    rho = 0.8
    truth = -0.5 * np.log(1 - rho**2)
    rng = np.random.default_rng(0)

    def draw(n):
        a, b = rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], size=n).T
        return {"a": a[:, None], "b": b[:, None]}

    X, new = draw(1500), draw(3000)
    fitted = regressor(lam=1.0, max_epochs=10, early_stopping=False, lr=0.01).fit(X, X["a"][:, 0]).fit_dependency(X)
    score, std = fitted.dependency_score(new, return_std=True)
    assert 0.6 * truth < score < truth + 3 * std


@pytest.mark.slow
def test_pointwise__is_low_where_modalities_are_at_odds(regressor):
    X, new = views(1000, 0.4), views(1000, 0.4, seed=1)
    fitted = regressor(max_epochs=20, early_stopping=False, lr=0.01).fit(X, target(X)).fit_dependency(X)
    mismatched = {"view0": new["view0"], "view1": np.roll(new["view1"], 1, axis=0)}
    agree, odds = fitted.pointwise_dependency(new), fitted.pointwise_dependency(mismatched)
    assert agree.mean() > 0.2 > 0 > odds.mean()
    assert (agree[:, None] > odds[None]).mean() > 0.75


@pytest.mark.slow
def test_groups_given_to_fit__hold_for_the_report_too(regressor):
    # Copies of a sample in training and calibration would make an overfitted critic look as if it held.
    X = {name: np.repeat(value, 10, axis=0) for name, value in views(40, np.inf).items()}
    groups = np.repeat(np.arange(40), 10)
    fitted = regressor(lam=0.1, max_epochs=40, lr=0.01, early_stopping=False, n_iter_no_change=40)
    fitted.fit(X, target(X), groups=groups)
    new = views(2000, np.inf, seed=1)
    score, std = fitted.dependency_score(new, return_std=True)
    assert abs(score) < max(0.1, 3 * std)
    assert abs(fitted.fit_dependency(X, groups=groups).dependency_score(new)) < 0.1


# --- the reporting critic alone --------------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_reporting_critic__of_noise_reports_about_nothing(m, dtype):
    rng = np.random.default_rng(0)
    codes, new = ([rng.normal(size=(600, 3)).astype(dtype) for _ in range(m)] for _ in range(2))
    score, std = train_reporting_critic(codes, n_updates=200, seed=0).score(new)
    assert abs(score) < 0.05
    assert std >= 0


def test_reporting_critic__of_constant_codes_reports_zero():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        critic = train_reporting_critic([np.ones((40, 2)), np.zeros((40, 1))], n_updates=20, seed=0)
        score, _ = critic.score([np.ones((10, 2)), np.zeros((10, 1))])
    assert score == pytest.approx(0, abs=1e-9)


def test_reporting_critic__does_not_depend_on_the_units_of_the_codes():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(300, 1))
    codes = [a + 0.3 * rng.normal(size=(300, 2)), a + 0.3 * rng.normal(size=(300, 2))]
    moved = [codes[0] * 1e4 + 7, codes[1] * 1e-4 - 7]
    one, other = (train_reporting_critic(z, n_updates=100, seed=0) for z in (codes, moved))
    assert_allclose(other.pointwise(moved), one.pointwise(codes), rtol=1e-2, atol=1e-2)
    assert one.score(codes)[0] > 0.1


def test_reporting_critic__leaves_the_global_generator_alone():
    rng = np.random.default_rng(0)
    before = torch.get_rng_state()
    train_reporting_critic([rng.normal(size=(40, 2)), rng.normal(size=(40, 2))], n_updates=10, seed=0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.0, 0.3, 0.6, 0.9])
def test_defaults__stay_near_and_below_the_truth_for_gaussian_views(rho):
    truth = -0.5 * np.log(1 - rho**2)
    rng = np.random.default_rng(1)

    def draw(n):
        a, b = rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], size=n).T
        return {"a": a[:, None], "b": b[:, None]}

    X, new = draw(4000), draw(4000)
    fitted = MDMFusionRegressor(n_estimators=1, random_state=0, max_epochs=30, device="cpu").fit(
        X, X["a"][:, 0] + X["b"][:, 0]
    )
    score, std = fitted.dependency_score(new, return_std=True)
    assert truth - 0.1 * (1 + truth) < score < truth + 3 * std + 0.02


@pytest.mark.parametrize("n", [1200, 3000])
def test_reporting_critic__of_sorted_rows_is_that_of_shuffled_ones(monkeypatch, n):
    # Of sorted rows the first ones are all of one cluster, and within a cluster nothing is shared.
    monkeypatch.setattr(ratio, "MAX_VALIDATION_ROWS", 200)
    rng = np.random.default_rng(0)
    cluster = np.repeat([-1.0, 1.0], n // 2)[:, None]
    codes = [cluster + 0.1 * rng.normal(size=(n, 2)) for _ in range(2)]
    order = rng.permutation(n)
    critic, shuffled = (train_reporting_critic(z, n_updates=200, seed=0) for z in (codes, [z[order] for z in codes]))
    (score, std), (other, _) = critic.score(codes), shuffled.score(codes)
    assert score == pytest.approx(np.log(2), abs=0.1)
    assert score == pytest.approx(other, abs=0.1)
    assert std < 0.1


def test_groups_given_to_fit_with_a_held_out_part__reach_the_calibration(regressor, monkeypatch):
    seen = []

    def spy(codes, *, groups=None, held_out=None, **parameters):
        seen.append((groups, held_out))
        return train_reporting_critic(codes, groups=groups, held_out=held_out, **parameters)

    monkeypatch.setattr(_dependency_mixin, "train_reporting_critic", spy)
    rng = np.random.default_rng(1)
    X = {name: np.repeat(value, 10, axis=0) for name, value in views(60, 0.3).items()}
    X = {name: value + 1e-3 * rng.normal(size=value.shape) for name, value in X.items()}
    X["view1"][::7] = np.nan
    y, groups = target({**X, "view1": np.nan_to_num(X["view1"])}), np.repeat(np.arange(60), 10)
    parameters = {"max_epochs": 5, "lr": 0.01, "early_stopping": True, "validation_fraction": 0.3}
    with_groups, without = (regressor(**parameters).fit(X, y, groups=g) for g in (groups, None))
    (labels, held_out), (no_labels, other_held_out) = seen
    assert no_labels is None and other_held_out.any()
    assert len(labels) == len(held_out) == (~np.isnan(X["view1"]).any(1)).sum()
    assert 0 < held_out.sum() < len(held_out)
    assert not set(labels[held_out]) & set(labels[~held_out])
    assert set(labels) <= set(groups)
    # Ten rows that are almost one say no more than one.
    critics = with_groups.reporting_critic_, without.reporting_critic_
    assert min(critic.weights_.max() for critic in critics) > 0.1
    assert critics[0].log_normalizer_std_ > 1.5 * critics[1].log_normalizer_std_


@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.SeenSamplesWarning")
@pytest.mark.parametrize("early_stopping", [True, False])
def test_dependency__of_repeated_samples__is_that_of_independent_ones(early_stopping):
    rng = np.random.default_rng(0)
    rows = rng.integers(60, size=600)
    X = {name: rng.normal(size=(60, 2))[rows] for name in ("audio", "text")}
    model = MDMFusionRegressor(n_estimators=1, lam=0.1, max_epochs=10, early_stopping=early_stopping, random_state=0)
    with pytest.warns(RepeatedSamplesWarning, match="540 of 600 samples repeat") as caught:
        model.fit(X, X["audio"][:, 0])
    assert caught[0].filename == __file__ and model.dependency_score(X) < 0.3
    with pytest.warns(RepeatedSamplesWarning) as caught:
        model.fit_dependency(X)
    assert caught[0].filename == __file__ and model.dependency_score(X) < 0.3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit_dependency(X, groups=rows)


@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.SeenSamplesWarning")
def test_dependency_score__of_repeated_samples__has_the_error_of_single_ones():
    X = views(200, 0.5)
    model = MDMFusionRegressor(n_estimators=1, lam=0.1, max_epochs=5, early_stopping=False, random_state=0).fit(
        X, target(X)
    )
    once = model.dependency_score(X, return_std=True)
    assert_allclose(model.dependency_score({k: v.repeat(9, axis=0) for k, v in X.items()}, return_std=True), once)
