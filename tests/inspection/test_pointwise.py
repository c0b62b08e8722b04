"""pointwise_attribution, rank_samples and mismatch_test: against loops, the true log ratio, and injected mismatches."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp
from sklearn.linear_model import LinearRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_mdm import DependencyEstimator, MDMFusionRegressor, ModalityDict, ModalityTransformer
from sklearn_mdm.datasets import make_correlated_gaussians
from sklearn_mdm.exceptions import SeenSamplesWarning
from sklearn_mdm.inspection import _pointwise_ratio as pointwise_ratio
from sklearn_mdm.inspection import mismatch_test, pointwise_attribution, rank_samples
from sklearn_mdm.inspection._pointwise import auroc
from sklearn_mdm.inspection._pointwise_ratio import PointwiseRatio
from sklearn_mdm.inspection._views import partners

FIT, TEST = 2000, 3000


@pytest.fixture(scope="module", params=[1.0, 2.0, 4.0], ids="{} nats".format)
def gaussians(request):
    """An estimator fitted on clean samples, others that it has not seen, the true log ratio, and the truth in nats."""
    X, truth, log_ratio = make_correlated_gaussians(
        FIT + TEST, n_features=2, total_correlation=request.param, return_log_ratio="callable", random_state=0
    )
    return DependencyEstimator(cv=None, max_updates=300, random_state=0).fit(X[:FIT]), X[FIT:], log_ratio, truth


@pytest.fixture(scope="module")
def pair_and_unique():
    """Two modalities of 0.83 nats, and one that has nothing to do with them; none of them for "independent"."""
    rng = np.random.default_rng(0)
    fitted = {}
    for kind, rho in (("dependent", 0.9), ("independent", 0.0)):
        z = rng.normal(size=(3, 3000, 1))
        X = ModalityDict(left=z[0], right=rho * z[0] + np.sqrt(1 - rho**2) * z[1], unique=z[2])
        fitted[kind] = DependencyEstimator(cv=None, max_updates=200, random_state=0).fit(X[:1500]), X[1500:]
    return fitted


@pytest.fixture(scope="module")
def small():
    """A fusion estimator and estimators of dependency of all forms, each fitted in a blink, and 40 more samples."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(160, 1))
    X = ModalityDict({name: shared + rng.normal(size=(160, d)) for name, d in (("a", 1), ("b", 2), ("c", 3))})
    fit, test = X[:120], X[120:]
    options = {"max_updates": 20, "n_components": 2, "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = {
            "fusion": MDMFusionRegressor(n_estimators=1, lam=0.1, max_epochs=2, device="cpu", random_state=0).fit(
                fit, shared[:120, 0]
            ),
            "committee": MDMFusionRegressor(
                n_estimators=5, lam=0.1, max_epochs=2, scaling="standard", device="cpu", random_state=0
            ).fit(fit, shared[:120, 0]),
            "plain": DependencyEstimator(cv=None, **options).fit(fit),
            "folds": DependencyEstimator(cv=2, **options).fit(fit),
            "line": DependencyEstimator(cv=None, decomposition="line", **options).fit(fit),
            "rank": DependencyEstimator(cv=None, scaling="rank", **options).fit(fit),
            "knife": DependencyEstimator("knife", cv=None, **options).fit(fit),
        }
    return fitted, test


FORMS = ["fusion", "plain", "folds", "line", "rank", "knife"]


def values_of(estimator, X):
    return getattr(estimator, "pointwise_dependency", getattr(estimator, "score_samples", None))(X)


def contaminated(X, redrawn, seed=1):
    """X with half of its samples mismatched, in all modalities or one of them, and which samples these are."""
    n, random = len(X), np.random.RandomState(seed)
    bad = np.arange(n) < n // 2
    rows = dict.fromkeys(X, np.arange(n))
    if redrawn == "all":
        rows.update(zip(list(X)[1:], partners(n, len(X.keys()) - 1, random), strict=True))
    else:
        rows[redrawn] = next(partners(n, 1, random))
    return ModalityDict({name: np.where(bad[:, None], X[name][rows[name]], X[name]) for name in X}), bad


# -- mismatches --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("redrawn", ["all", "visual"])
def test_rank_samples__injected_mismatches__are_found_as_well_as_by_the_true_log_ratio(gaussians, redrawn):
    """The critic has not seen the contaminated samples."""
    estimator, X, log_ratio, truth = gaussians
    X, bad = contaminated(X, redrawn)
    table = rank_samples(estimator, X, n_negatives=2, random_state=0).sort_values("sample")
    found, best = roc_auc_score(~bad, table["value"]), roc_auc_score(~bad, log_ratio(X))
    assert found > best - 0.02
    if truth < 1.5:
        assert best == pytest.approx({"all": 0.84, "visual": 0.74}[redrawn], abs=0.02)


def test_rank_samples__fit_on_contaminated_samples__out_of_fold_values_find_them():
    X, _, log_ratio = make_correlated_gaussians(
        1500, n_features=2, total_correlation=4.0, return_log_ratio="callable", random_state=0
    )
    X, bad = contaminated(X, "all")
    estimator = DependencyEstimator(cv=3, max_updates=200, random_state=0).fit(X)
    assert roc_auc_score(~bad, estimator.pointwise_) > roc_auc_score(~bad, log_ratio(X)) - 0.03


def test_mismatch_test__gaussians__is_that_of_the_true_log_ratio(gaussians):
    estimator, X, log_ratio, _ = gaussians
    table = mismatch_test(estimator, X, n_negatives=2, random_state=0)
    assert table.index.tolist() == ["all", "audio", "text", "visual"]
    for redrawn in table.index:
        n = len(X)
        rows = dict.fromkeys(X, np.arange(n))
        if redrawn == "all":
            rows.update(zip(["text", "visual"], partners(n, 2, np.random.RandomState(0)), strict=True))
        else:
            rows[redrawn] = next(partners(n, 1, np.random.RandomState(0)))
        mismatched = log_ratio({name: X[name][rows[name]] for name in X})
        best = roc_auc_score(np.repeat([1, 0], n), np.r_[log_ratio(X), mismatched])
        assert table.loc[redrawn, "auroc"] == pytest.approx(best, abs=0.02)


def test_mismatch_test__independent_modalities__is_chance(pair_and_unique):
    table = mismatch_test(*pair_and_unique["independent"], random_state=0)
    assert (np.abs(table["auroc"] - 0.5) < 4 * table["std"] + 1e-12).all()


def test_auroc__draws__are_those_of_scikit_learn_with_a_standard_error_that_holds():
    rng = np.random.default_rng(0)
    found, stds = [], []
    for _ in range(300):
        values, null = rng.normal(1, 1, size=60), rng.normal(size=(1, 60)).round(1)
        value, std = auroc(values.round(1), null, np.arange(60)[None, None])
        found.append(value)
        stds.append(std)
        labels = np.repeat([1, 0], 60)
        assert value == pytest.approx(roc_auc_score(labels, np.r_[values.round(1), null.ravel()]))
    assert np.mean(stds) == pytest.approx(np.std(found), rel=0.15)


def test_mismatch_test__many_test_sets__standard_error_is_that_of_re_paired_samples(gaussians):
    estimator, _, _, truth = gaussians
    X, _ = make_correlated_gaussians(60 * 200, n_features=2, total_correlation=truth, random_state=1)
    tables = [mismatch_test(estimator, X[200 * k : 200 * (k + 1)], random_state=k) for k in range(60)]
    reported = np.sqrt(np.mean([table["std"] ** 2 for table in tables], axis=0))
    ratio = reported / np.std([table["auroc"] for table in tables], axis=0, ddof=1)
    assert (ratio > 0.9).all() and (ratio < 1.5).all(), ratio


# -- attribution -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_pointwise_attribution__all_of_a_background__is_the_mean_over_a_loop(small, form):
    estimator, X = small[0][form], small[1]
    background, few = X[:15], X[15:25]
    attribution = pointwise_attribution(estimator, few, background=background, n_draws=100, random_state=0)
    for name in X:
        for i in range(len(few)):
            same = {other: np.repeat(few[other][[i]], 15, axis=0) for other in X}
            redrawn = values_of(estimator, {**same, name: background[name]})
            expected = values_of(estimator, few[[i]])[0] - (logsumexp(redrawn) - np.log(15))
            assert attribution.loc[i, name] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("form", ["plain", "folds", "line", "rank"])
def test_pointwise_attribution__without_background__draws_from_samples_that_fit_held_out(small, form):
    estimator, X = small[0][form], small[1][:5]
    kept = dict(zip(X, (part[:20] for part in estimator._reference), strict=True))
    attribution = pointwise_attribution(estimator, X, n_draws=20)
    for i in range(5):
        same = {name: np.repeat(X[name][[i]], 20, axis=0) for name in X}
        redrawn = values_of(estimator, {**same, "b": kept["b"]})
        expected = values_of(estimator, X)[i] - (logsumexp(redrawn) - np.log(20))
        assert attribution.loc[i, "b"] == pytest.approx(expected, abs=1e-6)


def test_pointwise_attribution__fusion_without_background__draws_from_representations_that_it_keeps(small):
    estimator, X = small[0]["fusion"], small[1][:5]
    z, critic = estimator._represent(estimator._read_modalities(X)), estimator.reporting_critic_
    attribution = pointwise_attribution(estimator, X, n_draws=20)
    for i in range(5):
        same = [np.repeat(part[[i]], 20, axis=0) for part in z]
        same[1] = estimator._reference[1][:20]
        expected = critic.pointwise(z)[i] - (logsumexp(critic.pointwise(same)) - np.log(20))
        assert attribution.loc[i, "b"] == pytest.approx(expected, abs=1e-6)


def test_pointwise_attribution__gaussians__is_the_true_pointwise_mutual_information(gaussians):
    estimator, X, log_ratio, truth = gaussians
    attribution = pointwise_attribution(estimator, X[:100], background=X[100:], n_draws=500, random_state=0)
    _, _, of_pair = make_correlated_gaussians(
        10, n_modalities=2, n_features=2, rho=_rho(truth), return_log_ratio="callable", random_state=0
    )
    # log p(x) / (p(x_j) p(x_rest)) is the log ratio of all three less that of the other two.
    expected = log_ratio(X[:100]) - of_pair({"audio": X["audio"][:100], "visual": X["text"][:100]})
    found = attribution["visual"].to_numpy()
    assert np.corrcoef(found, expected)[0, 1] > 0.95
    assert found.mean() == pytest.approx(expected.mean(), abs=0.15)


def _rho(truth):
    for rho in np.linspace(0, 0.999, 100_000):
        if -0.5 * 2 * (2 * np.log1p(-rho) + np.log1p(2 * rho)) >= truth:
            return rho
    raise AssertionError(truth)


def test_pointwise_attribution__redundant_pair_and_unique__recovers_the_construction(pair_and_unique):
    mutual = -0.5 * np.log(1 - 0.9**2)
    attribution = pointwise_attribution(*pair_and_unique["dependent"], random_state=0)
    assert attribution["left"].mean() == pytest.approx(mutual, abs=0.1)
    assert attribution["right"].mean() == pytest.approx(mutual, abs=0.1)
    assert attribution["unique"].abs().mean() < 0.1
    assert np.corrcoef(attribution["left"], attribution["right"])[0, 1] > 0.8


def test_pointwise_attribution__independent_modalities__is_flat(pair_and_unique):
    attribution = pointwise_attribution(*pair_and_unique["independent"], n_draws=16, random_state=0)
    assert attribution.abs().to_numpy().max() < 0.05


@pytest.mark.parametrize("form", [*FORMS, "committee"])
@pytest.mark.parametrize("with_background", [False, True])
def test_pointwise_attribution__sample__does_not_depend_on_the_others(small, form, with_background):
    estimator, X = small[0][form], small[1]
    options = {"background": X[10:], "random_state": 0} if with_background else {}
    together = pointwise_attribution(estimator, X[:10], **options)
    for i in (3, 9):
        alone = pointwise_attribution(estimator, X[i], **options)
        np.testing.assert_allclose(alone.loc[0], together.loc[i], atol=1e-9)
    few = pointwise_attribution(estimator, X[[9, 3]], **options)
    np.testing.assert_allclose(few, together.loc[[9, 3]], atol=1e-9)


def test_pointwise_attribution__committee__is_the_mean_over_four_members(small):
    estimator, X = small[0]["committee"], small[1]
    z, critics = estimator._represent(estimator._read_modalities(X)), estimator.reporting_critic_
    assert len(critics.critics) == 5
    members = [0, 1, 2, 3]  # at even distances: 5 * i // 4
    of_members = [critics._columns(z)[k] for k in members]
    reference = [critics._columns([part[:16] for part in estimator._reference])[k] for k in members]
    joint = np.mean([critics.critics[k].pointwise(own) for k, own in zip(members, of_members, strict=True)], axis=0)
    for i in range(3):
        redrawn = []
        for k, own, other in zip(members, of_members, reference, strict=True):
            same = [np.repeat(part[[i]], 16, axis=0) for part in own]
            redrawn.append(critics.critics[k].pointwise([same[0], same[1], other[2]]))
        expected = joint[i] - (logsumexp(np.mean(redrawn, axis=0)) - np.log(16))
        found = pointwise_attribution(estimator, X, n_draws=16)
        assert found.loc[i, "c"] == pytest.approx(expected, abs=1e-9)


@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.SeenSamplesWarning")
def test_reference__later_calls__belongs_to_the_critic_that_is_there(small):
    X = small[1]
    y = X["a"][:, 0]
    options = {"n_estimators": 1, "max_epochs": 1, "device": "cpu", "random_state": 0}
    for missing in ("auto", "mean"):
        model = MDMFusionRegressor(**options, lam=0.1, missing=missing).fit(X, y)
        assert hasattr(model, "imputer_") == (missing == "auto")
        first = model._reference
        model.fit_dependency(X[:30])
        assert [part.shape for part in model._reference] == [(30, part.shape[1]) for part in first]
        pointwise_attribution(model, X[:2])
        again = pickle.loads(pickle.dumps(model))
        pd.testing.assert_frame_equal(pointwise_attribution(again, X), pointwise_attribution(model, X))
        if missing == "auto":  # kept once
            assert again.imputer_.z[0] is again._reference[0]
        model.partial_fit(X, y)
        assert not hasattr(model, "_reference")
    assert not hasattr(model.set_params(lam=0.0).fit(X, y), "_reference")
    old = pickle.loads(pickle.dumps(small[0]["plain"]))
    del old._reference  # as of an earlier version
    with pytest.raises(ValueError, match="keeps no samples to draw from"):
        pointwise_attribution(old, X)


def test_dependency_estimator__wide_columns__keeps_fewer_of_them():
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wide = DependencyEstimator(cv=None, max_updates=2, n_components=0, random_state=0).fit(
            {"a": rng.normal(size=(400, 3000)), "b": rng.normal(size=(400, 1))}
        )
        narrow = DependencyEstimator(cv=None, max_updates=2, random_state=0).fit(
            {"a": rng.normal(size=(2400, 1)), "b": rng.normal(size=(2400, 1))}
        )
    assert [len(part) for part in (*wide._reference, *narrow._reference)] == [87, 87, 1000, 1000]


# -- ranking -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_rank_samples__table__holds_values_and_percentiles_of_the_null(small, form):
    estimator, X = small[0][form], small[1]
    table = rank_samples(estimator, X, n_negatives=3, random_state=0)
    assert table["value"].is_monotonic_increasing and table["null_percentile"].is_monotonic_increasing
    np.testing.assert_allclose(table["value"], values_of(estimator, X)[table["sample"]], atol=1e-6)
    random = np.random.RandomState(0)
    null = []
    for _ in range(3):
        rows = [np.arange(40), *partners(40, 2, random)]
        null += values_of(estimator, {name: X[name][r] for name, r in zip(X, rows, strict=True)}).tolist()
    for value, percentile in zip(table["value"], table["null_percentile"], strict=True):
        below = np.mean(np.array(null) < value - 1e-9) + 0.5 * np.mean(np.abs(np.array(null) - value) <= 1e-9)
        assert percentile == pytest.approx(100 * below, abs=1e-6)


def test_rank_samples__mismatched_samples__have_uniform_percentiles(gaussians):
    estimator, X, _, _ = gaussians
    X = ModalityDict(
        {name: X[name][rows] for name, rows in zip(X, partners(TEST, 3, np.random.RandomState(3)), strict=True)}
    )
    percentiles = np.sort(rank_samples(estimator, X, random_state=0)["null_percentile"])
    assert np.abs(percentiles / 100 - (np.arange(TEST) + 0.5) / TEST).max() < 1.63 / np.sqrt(TEST)  # Kolmogorov, 1 %


@pytest.mark.parametrize("form", ["fusion", "plain"])
def test_inspection__missing_modalities__are_nan_and_last(small, form):
    estimator, X = small[0][form], small[1].copy()
    X["b"] = np.where(np.arange(40)[:, None] % 4 == 0, np.nan, X["b"])
    table = rank_samples(estimator, X, random_state=0)
    assert (table["sample"].tail(10) % 4 == 0).all() and table["value"].tail(10).isna().all()
    assert table["null_percentile"].head(30).notna().all()
    attribution = pointwise_attribution(estimator, X, random_state=0)
    assert attribution.isna().all(axis=1).tolist() == (np.arange(40) % 4 == 0).tolist()
    complete = X[np.arange(40) % 4 != 0]
    pd.testing.assert_frame_equal(
        mismatch_test(estimator, X, random_state=0), mismatch_test(estimator, complete, random_state=0)
    )


@pytest.mark.parametrize("function", [pointwise_attribution, rank_samples, mismatch_test])
def test_inspection__random_state__repeats_and_changes_no_estimator(small, function, parameters_of):
    estimator, X = small[0]["fusion"], small[1]
    before = parameters_of(estimator)
    first = function(estimator, X, random_state=0)
    pd.testing.assert_frame_equal(first, function(estimator, X, random_state=0))
    after = parameters_of(estimator)
    assert all((after[name] == before[name]).all() for name in before)


@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.SeenSamplesWarning")
@pytest.mark.parametrize("function", [pointwise_attribution, rank_samples, mismatch_test])
def test_inspection__pipeline_and_search__are_those_of_what_is_inside(small, function):
    X = small[1]
    y = X["a"][:, 0]
    model = MDMFusionRegressor(n_estimators=1, lam=0.1, max_epochs=1, device="cpu", random_state=0)
    pipeline = make_pipeline(ModalityTransformer(StandardScaler()), model)
    search = GridSearchCV(pipeline, {"mdmfusionregressor__lr": [1e-3]}, cv=2).fit(X, y)
    expected = function(search.best_estimator_[-1], search.best_estimator_[0].transform(X), random_state=0)
    pd.testing.assert_frame_equal(function(search, X, random_state=0), expected)
    pd.testing.assert_frame_equal(function(search.best_estimator_, X, random_state=0), expected)


def test_inspection__flat_frame__keeps_its_index():
    rng = np.random.default_rng(0)
    data = pd.DataFrame(rng.normal(size=(60, 3)) + rng.normal(size=(60, 1)), columns=list("xyz"))
    model = DependencyEstimator(cv=None, max_updates=20, n_components=1, modalities="columns", random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(data[:40])
    test = data[40:].set_axis(range(19, -1, -1))  # labels that are other positions
    attribution = pointwise_attribution(model, test, random_state=0)
    assert attribution.index.tolist() == test.index.tolist() and attribution.columns.tolist() == ["x", "y", "z"]
    ranked = rank_samples(model, test, random_state=0)
    assert ranked["sample"].tolist() == (19 - ranked.index).tolist()
    values = pd.Series(model.score_samples(test), index=test.index)
    np.testing.assert_allclose(ranked["value"], values.loc[ranked.index], atol=1e-6)
    np.testing.assert_array_equal(attribution.loc[ranked.index], attribution.iloc[ranked["sample"]])


def test_mismatch_test__modality_named_all__is_an_error(small):
    _, X = small
    named = ModalityDict({"all": X["a"], "b": X["b"]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = DependencyEstimator(cv=None, max_updates=5, n_components=1, random_state=0).fit(named[:30])
    with pytest.raises(ValueError, match="a modality is named 'all'"):
        mismatch_test(model, named[30:], random_state=0)


def test_inspection__samples_that_fit_trained_on__are_warned_of(small):
    fitted, X = small
    estimator = fitted["plain"]
    seen = ModalityDict({name: np.r_[X[name][:10], X[name][:10]] for name in X})
    assert len(rank_samples(estimator, seen, random_state=0)) == 20  # new to it
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(160, 1))
    same = ModalityDict({name: shared + rng.normal(size=(160, d)) for name, d in (("a", 1), ("b", 2), ("c", 3))})[:120]
    with pytest.warns(SeenSamplesWarning, match="60 of 120 samples were trained on in fit") as caught:
        rank_samples(estimator, same, random_state=0)
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize("function", [pointwise_attribution, rank_samples, mismatch_test])
def test_inspection__what_has_no_pointwise_values__is_an_error_that_says_what_to_do(small, function):
    X = small[1]
    y = X["a"][:, 0]
    without = MDMFusionRegressor(n_estimators=1, lam=0.0, max_epochs=1, device="cpu", random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="Call fit_dependency"):
        function(without, X)
    with pytest.raises(TypeError, match="LinearRegression says nothing about the dependency of samples"):
        function(LinearRegression().fit(X["a"], y), X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wasserstein = DependencyEstimator("wasserstein", max_updates=5, random_state=0).fit(X)
    with pytest.raises(ValueError, match="says nothing about single samples"):
        function(wasserstein, X)
    if function is not pointwise_attribution:
        with pytest.raises(ValueError, match="at least 3 are needed"):
            function(small[0]["fusion"], X[:1])
    with pytest.raises(ValueError, match="not fitted"):
        function(DependencyEstimator(), X)


# -- many samples ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [*FORMS, "committee"])
@pytest.mark.parametrize("function", [pointwise_attribution, rank_samples, mismatch_test])
def test_inspection__blocks_of_any_size__give_the_same(small, form, function, monkeypatch):
    estimator, X = small[0][form], small[1]
    whole = function(estimator, X, random_state=0)
    monkeypatch.setattr(pointwise_ratio, "ROWS_READ", 7)
    monkeypatch.setattr("sklearn_mdm.dependency._encoded_rows.ROWS_AT_ONCE", 3)
    pd.testing.assert_frame_equal(function(estimator, X, random_state=0), whole, rtol=0, atol=1e-9)


@pytest.mark.parametrize("form", [*FORMS, "committee"])
def test_inspection__single_precision__is_enough(small, form, monkeypatch):
    estimator, X = small[0][form], small[1]
    double = PointwiseRatio(estimator, X)
    monkeypatch.setattr(pointwise_ratio, "MAX_TOGETHER", 39)
    single = PointwiseRatio(estimator, X)
    others = single.background(None, 64, np.random.RandomState(0))
    for found, expected in (
        (single.joint(), double.joint()),
        (single.attribution(others), double.attribution(others)),
        (single.null(2, np.random.RandomState(0)).shape, (2, 39)),
    ):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_inspection__many_samples__represents_few_at_a_time(small, monkeypatch):
    estimator, X = small[0]["committee"], small[1]
    monkeypatch.setattr(pointwise_ratio, "ROWS_READ", 8)
    monkeypatch.setattr(pointwise_ratio, "MAX_TOGETHER", 12)
    read, represent = [], type(estimator)._represent

    def spy(self, observed, rows):
        read.append(len(rows))
        return represent(self, observed, rows)

    monkeypatch.setattr(type(estimator), "_represent", spy)
    for function, expected in (
        (pointwise_attribution, [8] * 5),
        (rank_samples, [8] * 5 + [12]),
        (mismatch_test, [12]),
    ):
        read.clear()
        function(estimator, X, random_state=0)
        assert read == expected


def test_rank_samples__many_samples__have_the_percentiles_of_a_part_of_them(gaussians, monkeypatch):
    estimator, X, _, _ = gaussians
    whole = rank_samples(estimator, X, random_state=0).sort_values("sample")["null_percentile"]
    monkeypatch.setattr(pointwise_ratio, "MAX_TOGETHER", 1000)
    monkeypatch.setattr(pointwise_ratio, "MAX_NULL", 4000)
    part = rank_samples(estimator, X, random_state=0).sort_values("sample")["null_percentile"]
    # Half a point for 10,000: 1.6 for 1,000, of which three times as much is almost never seen.
    assert np.abs(part - whole).max() < 5


def test_rank_samples__equal_values__count_by_half_in_single_precision(monkeypatch):
    rng = np.random.default_rng(0)
    classes = rng.integers(2, size=600)
    X = {"a": classes[:, None].astype(float), "b": np.where(rng.random(600) < 0.8, classes, 1 - classes)[:, None] * 1.0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = DependencyEstimator(cv=None, max_updates=50, n_components=0, random_state=0).fit(X)
        new = {name: values[:200] for name, values in X.items()}
        expected = rank_samples(estimator, new, random_state=0).sort_values("sample")["null_percentile"]
        monkeypatch.setattr(pointwise_ratio, "MAX_TOGETHER", 199)
        found = rank_samples(estimator, new, random_state=0).sort_values("sample")["null_percentile"]
    assert found.nunique() == expected.nunique() <= 4
    np.testing.assert_allclose(found, expected, atol=3)  # one sample is not in the null, and others are its partners


def test_mismatch_test__many_samples__standard_error_is_that_of_those_looked_at(gaussians, monkeypatch):
    estimator, X, _, _ = gaussians
    whole = mismatch_test(estimator, X, random_state=0)
    monkeypatch.setattr(pointwise_ratio, "MAX_TOGETHER", 500)
    part = mismatch_test(estimator, X, random_state=0)
    np.testing.assert_allclose(part["std"], whole["std"] * np.sqrt(TEST / 500), rtol=0.25)
    assert (np.abs(part["auroc"] - whole["auroc"]) < 4 * part["std"]).all()
