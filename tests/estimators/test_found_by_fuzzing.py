"""What random cases (tests/fuzz) once found wrong, each in its plainest form."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from sklearn_mdm import DependencyEstimator, ModalityTransformer
from sklearn_mdm.estimators._held_out import spread_of
from sklearn_mdm.inspection import FusionMapDisplay
from sklearn_mdm.net import MaskedDataset

nan = np.nan
pytestmark = pytest.mark.usefixtures("quick_reports")

NO_STEPS = {
    "lists": lambda n: [np.empty((0, 2)) for _ in range(n)],
    "an array": lambda n: np.empty((n, 0, 2)),
    "some lists of nothing": lambda n: [[] if i % 2 else np.empty((0, 2)) for i in range(n)],
}


@pytest.mark.parametrize("form", NO_STEPS)
@pytest.mark.parametrize("scaling", ["standard", "robust", "rank", None])
def test_sequences_without_a_step__are_not_observed(estimator, X, y, form, scaling):
    nothing = {**X, "steps": NO_STEPS[form](len(y))}
    with pytest.raises(ValueError, match="modality 'steps': nothing of it is observed"):
        estimator(scaling=scaling).fit(nothing, y)
    with pytest.raises(ValueError, match="modality 'steps': nothing of it is observed"):
        DependencyEstimator().fit(nothing)
    with pytest.raises(ValueError, match="modality 'steps': nothing of it is observed"):
        ModalityTransformer().fit(nothing)
    model = estimator(scaling=scaling).fit({**X, "steps": np.random.default_rng(0).normal(size=(len(y), 3, 2))}, y)
    assert_array_equal(model.predict(nothing), model.predict(X))


def test_a_transformer__that_could_not_be_fitted__does_not_count_as_fitted(X):
    model = ModalityTransformer()
    for fitted in (False, True):
        if fitted:
            model.fit(X)
        with pytest.raises(ValueError, match="nothing of it is observed"):
            model.fit({**X, "text": np.full((60, 2), nan)})
        with pytest.raises(NotFittedError):
            check_is_fitted(model)
    check_is_fitted(model.fit(X))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_target_too_large_for_the_net__is_refused(regressor, X, y, dtype):
    X, y = {name: x.astype(dtype) for name, x in X.items()}, y * 1e200
    model = regressor(scaling=None)
    with pytest.raises(
        (ValueError, FloatingPointError), match=r"y has values too large for float32.*scaling=|non-finite"
    ):
        model.fit(X, y)
    with pytest.raises(NotFittedError):
        model.predict(X)
    if dtype == np.float32:  # unlike this one, with the units of y taken off
        assert_array_equal(np.isfinite(regressor().fit(X, y / 1e190).predict(X)), True)


def test_predictions_too_large_for_the_type_of_samples__are_refused(regressor, X, y):
    for dtype, what in ((np.float32, "float32, the floating type of X"), (np.float64, None)):
        model = regressor().fit({name: x.astype(dtype) for name, x in X.items()}, y * 1e100)
        new = {name: x[:3].astype(dtype) for name, x in X.items()}
        if what is None:
            assert np.isfinite(model.predict(new)).all()
        else:
            with pytest.raises(ValueError, match=f"predictions are too large for {what}"):
                model.predict(new)


def test_values_too_large_for_the_network__name_their_modality(X):
    far = {**X, "text": X["text"] * 1e200}
    with pytest.raises(ValueError, match="modality 'text' has values too large for float32"):
        MaskedDataset(far)


def test_classes__that_are_huge_numbers__are_told_from_measurements(classifier, X, y):
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        classifier().fit(X, (y + 0.5) * 1e200)


@pytest.mark.parametrize("unit", [1e-200, 5e-324])
@pytest.mark.parametrize("gaps", [False, True])
def test_a_score_of_predictions_beyond_all_bounds__is_minus_infinity(regressor, X, y, unit, gaps):
    target = np.where((np.arange(60) == 0) & gaps, nan, y * unit)
    assert regressor(scaling=None).fit(X, np.where(np.isnan(target), nan, y)).score(X, target) == -np.inf


def test_a_map_of_fused_representations__is_colored_by_a_huge_target():
    pytest.importorskip("matplotlib")
    display = FusionMapDisplay(np.zeros((3, 2)), target=np.array([1.5, 2.5, 3.5]) * 1e200).plot()
    assert display.colorbar_ is not None
    display.figure_.clear()


@pytest.mark.parametrize(
    ("scaling", "unit"),
    [  # each scaling and each unit in the usual run, all pairs of them apart
        pytest.param(scaling, 2.0**power, id=f"{scaling}-2^{power}", marks=() if (i + j) % 3 == 0 else pytest.mark.slow)
        for i, scaling in enumerate(["standard", "robust", "rank", "auto"])
        for j, power in enumerate([60, 300, -300])
    ],
)
def test_a_constant_column__is_one_in_any_unit(estimator, X, y, scaling, unit, members):
    X["audio"][:, 0] = 3.3
    model, other = (estimator(scaling=scaling, n_estimators=members, linear_member="auto") for _ in range(2))
    expected = model.fit(X, y).transform(X)
    found = other.fit({name: x * unit for name, x in X.items()}, y).transform({name: x * unit for name, x in X.items()})
    assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("others", [False, True])
def test_far_values_beside_missing_cells__are_refused_or_predicted(estimator, X, y, others):
    X["text"][::5, 0] = nan
    model = estimator(linear_member=others, kernel_member=others, n_estimators=2, early_stopping=True).fit(X, y)
    try:
        assert np.isfinite(model.transform({name: x * 1e200 for name, x in X.items()})).all()
    except ValueError as error:
        assert "too far from those of the data passed to fit" in str(error)


def test_one_cell_of_1e300__leaves_a_linear_model_beside_networks(classifier, X, y):
    X["audio"][3, 0] = 1e300
    model = classifier(linear_member=True, scaling="rank", n_estimators=2).fit(X, y)
    assert np.isfinite(model.predict_proba(X)).all()
    assert_array_equal(spread_of(np.array([[1e300], [-1e300], [0.0]]), np.ones(3)), [[1e300 * np.sqrt(2 / 3)]][0])
