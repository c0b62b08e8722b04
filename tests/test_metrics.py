"""Sentiment metrics: hand-computed cases, the field's rounding and its rules for zeros."""

import warnings
from functools import partial

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.linear_model import Ridge
from sklearn.metrics import f1_score, mean_absolute_error
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_mdm import DependencyEstimator, MDMFusionRegressor, ModalityDict
from sklearn_mdm.metrics import (
    SENTIMENT_SCORERS,
    acc2_score,
    acc5_score,
    acc7_score,
    binary_f1_score,
    dependency_scorer,
    pearson_score,
)

TRUE = [-3.0, -2.6, -1.5, -0.5, 0.0, 0.0, 0.5, 1.5, 2.4, 3.0]
PRED = [-9.0, -2.4, -2.5, 0.5, -0.1, 0.2, -0.6, 2.5, 2.5, 0.0]


@pytest.fixture
def noisy():
    rng = np.random.default_rng(0)
    y = np.round(rng.uniform(-3, 3, size=200) * 5) / 5  # steps of 0.2, as annotators' means have, and zeros among them
    return y, y + rng.normal(size=200)


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        # -3/-3, -3/-2, -2/-2, 0/0, 0/0, 0/0, 0/-1, 2/2, 2/2, 3/0
        (lambda y, p: acc7_score(y, p), 7 / 10),
        # -2/-2, -2/-2, -2/-2, 0/0, 0/0, 0/0, 0/-1, 2/2, 2/2, 2/0
        (lambda y, p: acc5_score(y, p), 8 / 10),
        # -/-, -/-, -/-, -/+, +/-, +/+, +/-, +/+, +/+, +/+
        (lambda y, p: acc2_score(y, p, zeros="has0"), 7 / 10),
        # -/-, -/-, -/-, -/+, +/-, +/+, +/+, +/-
        (lambda y, p: acc2_score(y, p, zeros="non0"), 5 / 8),
        # negative: precision 3/5, recall 3/4; non-negative: 4/5, 4/6
        (lambda y, p: binary_f1_score(y, p, zeros="has0"), (4 * 6 / 9 + 6 * 8 / 11) / 10),
        # negative: precision 3/5, recall 3/4; positive: 2/3, 2/4
        (lambda y, p: binary_f1_score(y, p, zeros="non0"), (4 * 6 / 9 + 4 * 4 / 7) / 8),
    ],
)
def test_sentiment_score__ten_samples__is_what_one_counts_by_hand(score, expected):
    assert score(TRUE, PRED) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("value", "degree"), [(0.5, 0), (1.5, 2), (2.5, 2), (-0.5, 0), (-1.5, -2), (-2.5, -2), (3.7, 3)]
)
def test_acc7_score__halves__round_to_even(value, degree):
    assert acc7_score([degree], [value]) == acc7_score([value], [degree]) == 1.0


def test_accuracies__loop_over_samples__is_equal(noisy):
    y, p = noisy

    def degree(value, highest):
        return round(max(-highest, min(highest, value)))  # Python rounds halves to even

    pairs = [(float(a), float(b)) for a, b in zip(y, p, strict=True)]
    assert acc7_score(y, p) == pytest.approx(np.mean([degree(a, 3) == degree(b, 3) for a, b in pairs]))
    assert acc5_score(y, p) == pytest.approx(np.mean([degree(a, 2) == degree(b, 2) for a, b in pairs]))
    assert acc2_score(y, p, zeros="has0") == pytest.approx(np.mean([(a >= 0) == (b >= 0) for a, b in pairs]))
    nonzero = [(a, b) for a, b in pairs if a != 0]
    assert len(nonzero) < len(pairs)
    assert acc2_score(y, p, zeros="non0") == pytest.approx(np.mean([(a > 0) == (b > 0) for a, b in nonzero]))
    assert binary_f1_score(y, p, zeros="non0") == pytest.approx(
        f1_score([a > 0 for a, _ in nonzero], [b > 0 for _, b in nonzero], average="weighted")
    )
    assert pearson_score(y, p) == pytest.approx(np.corrcoef(y, p)[0, 1], abs=1e-12)


@pytest.mark.parametrize("name", sorted(set(SENTIMENT_SCORERS) - {"neg_mean_absolute_error"}))
def test_sentiment_scorer__integer_weights__are_repetitions(noisy, name):
    y, p = noisy
    weight = np.arange(len(y)) % 3
    scorer = SENTIMENT_SCORERS[name]
    score = lambda *args, **kwargs: scorer._score_func(*args, **scorer._kwargs, **kwargs)  # noqa: E731
    assert score(y, p, sample_weight=weight) == pytest.approx(score(np.repeat(y, weight), np.repeat(p, weight)))


@pytest.mark.parametrize("score", [acc2_score, binary_f1_score])
def test_two_class_score__rule_for_zeros__has_no_default(score):
    with pytest.raises(TypeError, match="zeros"):
        score(TRUE, PRED)
    with pytest.raises(ValueError, match="zeros must be 'has0' or 'non0', got 'drop'"):
        score(TRUE, PRED, zeros="drop")
    with pytest.warns(UndefinedMetricWarning, match="every true value is 0"):
        assert np.isnan(score([0.0, 0.0], [1.0, -1.0], zeros="non0"))


@pytest.mark.parametrize("score", [acc2_score, binary_f1_score])
def test_two_class_score__zero_weights__are_samples_left_out(score):
    with pytest.warns(UndefinedMetricWarning, match="every true value is 0 or has no weight"):
        assert np.isnan(score([1.0, 0.0, -1.0], [1.0, -1.0, 1.0], zeros="non0", sample_weight=[0.0, 2.0, 0.0]))
    assert score([1.0, 0.0, -1.0], [1.0, -1.0, 1.0], zeros="has0", sample_weight=[3.0, 0.0, 0.0]) == 1.0


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1.0, 1e160, 1e300])
def test_pearson_score__scale_of_values__makes_no_difference(noisy, scale):
    y, p = noisy
    weight = np.linspace(0, 1, len(y))
    assert pearson_score(y * scale, p) == pytest.approx(np.corrcoef(y, p)[0, 1], abs=1e-12)
    assert pearson_score(y * scale, p * scale) == pytest.approx(np.corrcoef(y, p)[0, 1], abs=1e-12)
    expected = np.cov(y, p, aweights=weight)
    expected = expected[0, 1] / np.sqrt(expected[0, 0] * expected[1, 1])
    assert pearson_score(y * scale, p * scale, sample_weight=weight) == pytest.approx(expected, abs=1e-12)
    assert pearson_score(y * scale, -y) >= -1.0 and pearson_score(y * scale, y) <= 1.0


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e9])
def test_pearson_score__constant_side__is_nan_with_a_warning(constant):
    for pair in [(TRUE, [constant] * 10), ([constant] * 10, PRED)]:
        with pytest.warns(UndefinedMetricWarning, match="one side is constant"):
            assert np.isnan(pearson_score(*pair))


@pytest.mark.parametrize("bad", [[np.nan, 1.0], [np.inf, 1.0], [[1.0, 2.0], [3.0, 4.0]], [1.0, 2.0, 3.0], []])
def test_sentiment_score__bad_prediction__is_an_error(bad):
    for score in (acc7_score, acc5_score, pearson_score):
        with pytest.raises(ValueError):
            score([1.0, 2.0], bad)


def test_sentiment_score__column__is_read_as_a_vector():
    assert acc7_score(np.reshape(TRUE, (-1, 1)), np.reshape(PRED, (-1, 1))) == acc7_score(TRUE, PRED)


def test_sentiment_scorers__grid_search__reports_all_of_them(noisy):
    y, p = noisy
    search = GridSearchCV(Ridge(), {"alpha": [0.1, 10.0]}, scoring=SENTIMENT_SCORERS, refit="acc7", cv=3)
    search.fit(p[:, None], y)
    for name in SENTIMENT_SCORERS:
        assert np.isfinite(search.cv_results_[f"mean_test_{name}"]).all()
    one = GridSearchCV(Ridge(), {"alpha": [0.1, 10.0]}, scoring=SENTIMENT_SCORERS["acc2_non0"], cv=3)
    one.fit(p[:, None], y)
    np.testing.assert_array_equal(one.cv_results_["mean_test_score"], search.cv_results_["mean_test_acc2_non0"])
    scores = cross_validate(DummyRegressor(), p[:, None], y, scoring=SENTIMENT_SCORERS["neg_mean_absolute_error"])
    assert np.mean(scores["test_score"]) == pytest.approx(-mean_absolute_error(y, np.full(len(y), y.mean())), rel=0.05)


@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.SeenSamplesWarning")
def test_dependency_scorer__fusion_estimator__is_its_score_or_nan(X, y, regressor, quick_reports):
    X = ModalityDict(X)
    model = regressor(lam=0.1).fit(X, y)
    assert dependency_scorer(model, X, y) == model.dependency_score(X)
    assert np.isnan(dependency_scorer(regressor(lam=0.0).fit(X, y), X))


@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.SeenSamplesWarning")
def test_dependency_scorer__grid_search__is_a_column(quick_reports):
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(120, 1))
    X = ModalityDict(a=shared + rng.normal(size=(120, 2)), b=shared + rng.normal(size=(120, 2)))
    model = MDMFusionRegressor(n_estimators=1, max_epochs=2, random_state=0, device="cpu")
    search = GridSearchCV(
        model, {"lam": [0.1, 0.3]}, scoring={"r2": "r2", "dependency": dependency_scorer}, refit="r2", cv=2
    )
    search.fit(X, shared[:, 0])
    assert np.isfinite(search.cv_results_["mean_test_dependency"]).all()
    assert dependency_scorer(search, X) == search.best_estimator_.dependency_score(X)


def test_dependency_scorer__dependency_estimator__is_its_score():
    rng = np.random.default_rng(0)
    X = ModalityDict(a=rng.normal(size=(80, 1)), b=rng.normal(size=(80, 1)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = DependencyEstimator(cv=None, max_updates=10, n_components=1, random_state=0).fit(X[:60])
    assert dependency_scorer(estimator, X[60:]) == estimator.score(X[60:])


def test_dependency_scorer__estimator_with_another_score__is_a_type_error(noisy):
    y, p = noisy
    X = np.column_stack([y, p])
    for estimator in (PCA(1), make_pipeline(StandardScaler(), PCA(1)), Ridge()):
        with pytest.raises(TypeError, match=r"needs a fusion estimator.*or a DependencyEstimator.*; got a (PCA|Ridge)"):
            dependency_scorer(estimator.fit(X, y), X, y)


@pytest.mark.parametrize("metric", [acc7_score, acc5_score, partial(acc2_score, zeros="has0"), pearson_score])
def test_arguments_that_do_not_fit__are_named(metric):
    y = np.linspace(-2, 2, 9)
    with pytest.raises(ValueError, match=r"y_pred has 8 samples, y_true has 9"):
        metric(y, y[:-1])
    with pytest.raises(ValueError, match=r"sample_weight has 8 samples, y_true has 9"):
        metric(y, y, sample_weight=y[:-1] ** 2)
    with pytest.raises((TypeError, ValueError), match="y_pred"):
        metric(y, iter(y))
