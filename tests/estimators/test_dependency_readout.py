"""The dependency that is reported: what can be asked for, what comes back, and what reading it leaves alone."""

import copy
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError

from sklearn_mdm.dependency import _density_ratio as ratio
from sklearn_mdm.exceptions import SeenSamplesWarning
from sklearn_mdm.measures import Wasserstein

# Of samples that were fitted, here and there: the numbers must repeat, not tell of new ones.
pytestmark = [
    pytest.mark.usefixtures("quick_reports"),
    pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.SeenSamplesWarning"),
]


@pytest.fixture
def fitted(estimator, X, y):
    return estimator(lam=1.0).fit(X, y)


@pytest.mark.parametrize("measure", ["kl", "f", "nwj", "wasserstein", Wasserstein()])
def test_score__is_the_mean_of_the_pointwise_values_whatever_measure_trained(estimator, X, y, measure):
    fitted = estimator(measure=measure).fit(X, y).fit_dependency(X)
    values = fitted.pointwise_dependency(X)
    assert values.shape == (60,) and values.dtype == np.float64
    score, std = fitted.dependency_score(X, return_std=True)
    assert isinstance(score, float) and isinstance(std, float)
    assert score == pytest.approx(values.mean())
    assert score == fitted.dependency_score(X)
    assert std >= values.std(ddof=1) / np.sqrt(60)


def test_training_measure__is_in_its_own_unit_and_repeats(estimator, X, y):
    for measure in ("kl", "f", "wasserstein"):
        fitted = estimator(measure=measure, lam=1.0).fit(X, y)
        value = fitted.dependency_score(X, measure="training")
        assert isinstance(value, float) and np.isfinite(value)
        assert value == fitted.dependency_score(X, measure="training")
        assert abs(value) <= 2 * 2**0.5 or measure != "wasserstein"  # distance of two points with blocks in unit balls
    with pytest.raises(ValueError, match="return_std"):
        fitted.dependency_score(X, measure="training", return_std=True)
    with pytest.raises(ValueError, match='None or "training"'):
        fitted.dependency_score(X, measure="kl")


def test_training_measure__agrees_with_the_log_of_training(regressor, X, y):
    fitted = regressor(lam=1.0, batch_size=60, lr=1e-12, critic_lr=1e-12, max_epochs=40, n_iter_no_change=40).fit(X, y)
    assert fitted.dependency_score(X, measure="training") == pytest.approx(np.mean(fitted.dependency_curve_), abs=0.02)


def test_lam_0__has_nothing_to_report_until_asked(estimator, X, y, same_parameters):
    fitted = estimator(lam=0).fit(X, y)
    for call in (fitted.dependency_score, fitted.pointwise_dependency):
        with pytest.raises(ValueError, match=r"fit_dependency\(X\)"):
            call(X)
    before = copy.deepcopy(fitted)
    assert fitted.fit_dependency(X) is fitted
    assert np.isfinite(fitted.dependency_score(X))
    assert same_parameters(fitted, before)
    assert_array_equal(fitted.predict(X), before.predict(X))
    with pytest.raises(ValueError, match=r'measure="training" needs a fit with lam > 0'):
        fitted.dependency_score(X, measure="training")


def test_before_fit__is_an_error(estimator, X):
    for name in ("dependency_score", "pointwise_dependency", "fit_dependency", "predict", "transform"):
        with pytest.raises(NotFittedError):
            getattr(estimator(), name)(X)


def test_single_modality__is_an_error_that_names_it(estimator, X, y):
    fitted = estimator(lam=0).fit({"audio": X["audio"]}, y)
    for name in ("dependency_score", "pointwise_dependency", "fit_dependency"):
        with pytest.raises(ValueError, match="undefined for the single modality 'audio'"):
            getattr(fitted, name)({"audio": X["audio"]})


def test_incomplete_rows__are_nan_and_counted(fitted, X):
    complete = fitted.pointwise_dependency(X)
    expected = fitted.dependency_score({name: value[7:] for name, value in X.items()})
    X["text"][:5] = np.nan
    X["audio"][5:7] = np.nan
    values = fitted.pointwise_dependency(X)
    assert np.isnan(values[:7]).all()
    assert_allclose(values[7:], complete[7:], rtol=1e-10, atol=1e-12)
    with pytest.warns(UserWarning, match="7 of 60 samples are left out") as record:
        score = fitted.dependency_score(X)
    assert [warning.category for warning in record] == [UserWarning, SeenSamplesWarning]
    assert {warning.filename for warning in record} == {__file__}
    assert score == pytest.approx(expected)
    with pytest.warns(UserWarning, match="7 of 60"):
        fitted.dependency_score(X, measure="training")


def test_no_complete_row__is_nan_or_an_error(fitted, X):
    for data in (
        {"audio": X["audio"]},
        {**X, "text": np.full_like(X["text"], np.nan)},
        {"text": X["text"], "audio": None},
    ):
        assert np.isnan(fitted.pointwise_dependency(data)).all()
        for measure in (None, "training"):
            with pytest.raises(ValueError, match="every sample has a missing modality"):
                fitted.dependency_score(data, measure=measure)
        with pytest.raises(ValueError, match="0 samples have every modality observed"):
            fitted.fit_dependency(data)


def test_a_single_row__has_a_value_but_no_spread(fitted, X):
    one = {name: value[:1] for name, value in X.items()}
    score, std = fitted.dependency_score(one, return_std=True)
    assert score == pytest.approx(fitted.pointwise_dependency(X)[0], abs=1e-6)
    assert np.isnan(std)
    with pytest.raises(ValueError, match="1 complete samples make no negatives of 2 modalities"):
        fitted.dependency_score(one, measure="training")


def test_reading__never_trains(fitted, X, same_parameters):
    before = copy.deepcopy(fitted)
    values = fitted.pointwise_dependency(X)
    for _ in range(2):
        fitted.dependency_score(X, return_std=True)
        fitted.dependency_score(X, measure="training")
        assert_array_equal(fitted.pointwise_dependency(X), values)
    fitted.predict(X), fitted.transform(X)
    assert same_parameters(before, fitted)
    assert before.history_ == fitted.history_
    assert set(vars(before)) == set(vars(fitted))
    for part in ("optimizer_", "optimizer_critic_"):
        old, new = (getattr(model.net_, part).state_dict() for model in (before, fitted))
        torch.testing.assert_close(old, new, rtol=0, atol=0)
    old, new = vars(before.reporting_critic_), vars(fitted.reporting_critic_)
    assert (old["weights_"] == new["weights_"]).all() and old["log_normalizer_"] == new["log_normalizer_"]
    torch.testing.assert_close(old["network_"].state_dict(), new["network_"].state_dict(), rtol=0, atol=0)


def test_fit_dependency__changes_the_report_only_and_repeats(fitted, X, same_parameters):
    before = copy.deepcopy(fitted)
    fitted.fit_dependency(X)
    assert same_parameters(before, fitted)
    assert_array_equal(before.predict(X), fitted.predict(X))
    assert_array_equal(before.fit_dependency(X).pointwise_dependency(X), fitted.pointwise_dependency(X))
    few = {name: value[:11] for name, value in X.items()}
    with pytest.raises(ValueError, match=r"11 samples.*at least 12"):
        fitted.fit_dependency(few)


def test_fit_dependency__never_cuts_a_group(fitted, X, monkeypatch):
    groups = np.random.default_rng(0).integers(0, 9, size=60)
    X["text"][::4] = np.nan
    complete = ~np.isnan(X["text"]).any(1)
    seen = []
    train = ratio.train_critics

    def spy(networks, measure, rows, **parameters):
        seen.append([z[0].numpy() for z in (rows[0].train, rows[0].validation)])
        return train(networks, measure, rows, **parameters)

    monkeypatch.setattr(ratio, "train_critics", spy)
    fitted.fit_dependency(X, groups=groups)
    # Rows are told by their representation of the first modality.
    z = fitted._represent(fitted._read_modalities(X), np.flatnonzero(complete))
    codes = fitted.reporting_critic_._standardized(z)[0].numpy()
    of_row = {row.tobytes(): group for row, group in zip(codes, groups[complete], strict=True)}
    parts = [{of_row[row.tobytes()] for row in part} for part in seen[0]]
    assert parts[0] and parts[1] and not parts[0] & parts[1]
    assert sum(map(len, seen[0])) == complete.sum()
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        fitted.fit_dependency(X, groups=groups[:-1])


def test_partial_fit__leaves_no_report_of_an_earlier_net(estimator, X, y):
    fitted = estimator().fit(X, y)
    fitted.partial_fit({name: value[:5] for name, value in X.items()}, y[:5])
    with pytest.raises(ValueError, match="fit_dependency"):
        fitted.dependency_score(X)
    assert np.isfinite(fitted.fit_dependency(X).dependency_score(X))


def test_two_groups__can_be_split_and_one_cannot(fitted, X):
    fitted.fit_dependency(X, groups=np.arange(60) % 2)
    with pytest.raises(ValueError, match="group"):
        fitted.fit_dependency(X, groups=np.zeros(60))


def test_groups_so_uneven_that_too_few_rows_remain__are_reported_clearly(fitted, X):
    with pytest.raises(ValueError, match=r"group|sample"):
        fitted.fit_dependency(X, groups=np.r_[0, np.ones(59)])


def test_a_pickled_report__is_the_same(fitted, X):
    again = pickle.loads(pickle.dumps(fitted))
    assert_array_equal(again.pointwise_dependency(X), fitted.pointwise_dependency(X))
    assert again.dependency_score(X, return_std=True) == fitted.dependency_score(X, return_std=True)


def test_training_measure__after_a_fit_at_lam_0_whatever_lam_is_now(estimator, X, y):
    fitted = estimator(lam=0).fit(X, y).set_params(lam=0.1)
    with pytest.raises(ValueError, match=r'measure="training" needs a fit with lam > 0'):
        fitted.dependency_score(X, measure="training")


@pytest.mark.parametrize("bad", [None, np.nan])
def test_missing_group_labels__are_an_error_that_names_groups(estimator, X, y, bad):
    groups = np.array([bad, *range(59)], dtype=object)
    fitted = estimator().fit(X, y)
    for call in (fitted.fit, lambda X, y, groups: fitted.fit_dependency(X, groups=groups)):
        with pytest.raises(ValueError, match="groups has 1 missing labels"):
            call(X, y, groups=groups)
        fitted.fit(X, y)
