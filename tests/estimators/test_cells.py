"""Single cells that were not observed, in rows and steps that were: filled, flagged, and told of."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.impute import MissingIndicator
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_mdm import DependencyEstimator, MDMFusionClassifier, MDMFusionRegressor, ModalityDict, ModalityTransformer
from sklearn_mdm.encoders import MLPEncoder
from sklearn_mdm.estimators import _scaling
from sklearn_mdm.estimators._critic_imputer import complete
from sklearn_mdm.fusion import (
    ConcatFusion,
    EarlyFusionLSTM,
    LateFusion,
    LowRankFusion,
    MAGFusion,
    MemoryFusion,
    MISAFusion,
    MultiAttentionFusion,
    TensorFusion,
)
from sklearn_mdm.inputs import _cells
from sklearn_mdm.inputs._observed import Observed
from sklearn_mdm.inspection import (
    modality_drop,
    modality_importance,
    modality_shapley,
    pointwise_attribution,
    rank_samples,
)

nan = np.nan
filled_warnings = pytest.mark.filterwarnings("ignore:cells that were not observed are filled")


def outputs(fitted, X):
    """Everything that an estimator predicts from X, as columns."""
    parts = [fitted.predict(X), fitted.transform(X)]
    if hasattr(fitted, "predict_proba"):
        parts.append(fitted.predict_proba(X))
    return np.column_stack(parts)


def with_holes(X, share=0.2, seed=0, only=None):
    """Remove cells at random, in rows of their own shares, never all of a row or step that was observed."""
    rng, holes = np.random.default_rng(seed), {}
    for name, x in X.items():
        missing = rng.random(x.shape) < np.reshape(share, (-1, *[1] * (x.ndim - 1)))
        missing[..., -1] = False
        holes[name] = np.where(missing & (only in (None, name)), nan, x)
    return holes


def telling(y):
    """Shares of cells to remove, of which those that are missing say something of y."""
    return np.where(y > np.median(y), 0.6, 0.05)


@pytest.fixture
def holes(X, y):
    """Cells missing in columns 0 and 1 of audio and in column 0 of text, more for large y; 7 rows lack the audio."""
    holes = with_holes(X, telling(y))
    holes["audio"][::9] = nan
    return holes


# --- what a network reads --------------------------------------------------------------------------------------------


def suggested(x, train):
    """X (n, d) with the missing cells of each row replaced by their ridge regression on its other cells.

    What is regressed are the columns of train, in their standard deviations; what is added to their correlations is the
    ratio of columns to rows that have two of them.
    """
    d, mean, scale = x.shape[1], np.nanmean(train, axis=0), np.nanstd(train, axis=0)
    z, x = (train - mean) / scale, (x - mean) / scale
    both = np.array([[(~np.isnan(z[:, j] * z[:, k])).sum() for k in range(d)] for j in range(d)])
    ridge = np.array([[np.nansum(z[:, j] * z[:, k]) for k in range(d)] for j in range(d)]) / (both + 10)
    ridge[np.diag_indices(d)] = 1 + d / both.mean()
    for row in x:
        m = np.isnan(row)
        if not m.all():
            row[m] = ridge[np.ix_(m, ~m)] @ np.linalg.solve(ridge[np.ix_(~m, ~m)], row[~m])
    return x * scale + mean


def by_hand(X, train, scalers, indicators):
    """X scaled, filled by ridge regression on scaled training samples, with the indicators of scikit-learn."""
    made = {}
    for name, x in X.items():
        scaled, known = (scalers[name].transform(each) for each in (x, train[name]))
        made[name] = np.hstack([suggested(scaled, known), indicators[name].transform(x)])
        made[name][np.isnan(x).all(axis=1)] = nan
    return made


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_network__is_that_of_scaler_regression_and_indicator_by_hand(classifier, X, y, holes, dtype):
    holes = {name: x.astype(dtype) for name, x in holes.items()}
    seen = {name: x[~np.isnan(x).all(axis=1)] for name, x in holes.items()}
    scalers = {name: StandardScaler().fit(x) for name, x in seen.items()}
    indicators = {name: MissingIndicator(error_on_new=False).fit(x) for name, x in seen.items()}
    fitted = classifier().fit(holes, y)
    expected = classifier(scaling=None).fit(by_hand(holes, seen, scalers, indicators), y)
    assert {name: filling.indicated.tolist() for name, filling in fitted._fillings[0].items()} == {
        "audio": [0, 1],
        "text": [0],
    }
    later = with_holes({name: x.astype(dtype)[::-1] for name, x in X.items()}, seed=1)
    later["text"][2, 1] = later["audio"][4, 2] = nan  # of columns that were complete in fit
    for each in (holes, later):
        found = outputs(expected, by_hand(each, seen, scalers, indicators))
        assert_allclose(outputs(fitted, each), found, rtol=0, atol=1e-4 if dtype == np.float32 else 1e-9)


@pytest.mark.parametrize("scaling", ["standard", None])
def test_cell_of_a_fit_without_any__is_read_as_what_its_row_suggests(estimator, X, y, scaling):
    fitted = estimator(scaling=scaling).fit(X, y)
    cells = {name: x.copy() for name, x in X.items()}
    cells["audio"][3:8, 1] = cells["audio"][5, 2] = cells["text"][5, 0] = nan
    filled = {name: suggested(x, X[name]) for name, x in cells.items()}
    assert_allclose(outputs(fitted, cells), outputs(fitted, filled), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("scaling", ["standard", None])
def test_wide_modality__is_filled_with_means(estimator, X, y, scaling, monkeypatch):
    monkeypatch.setattr(_cells, "MAX_COLUMNS_LEARNED", 2)  # audio has three
    fitted = estimator(scaling=scaling).fit(X, y)
    cells, means = ({name: x.copy() for name, x in X.items()} for _ in range(2))
    cells["audio"][3:8, 1], means["audio"][3:8, 1] = nan, X["audio"][:, 1].mean()
    assert_allclose(outputs(fitted, cells), outputs(fitted, means), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("scaling", ["auto", "robust", "rank"])
def test_other_scalings__learn_from_what_they_scaled(regressor, holes, y, scaling):
    fitted = regressor(scaling=scaling, n_estimators=2).fit(holes, y)
    groups = fitted.scalers_ if scaling == "auto" else [fitted.scalers_]
    assert len(fitted._fillings) == len(groups)
    for scalers, fillings in zip(groups, fitted._fillings, strict=True):
        for name, x in holes.items():
            scaled = scalers[name].transform(x[~np.isnan(x).all(axis=1)])
            assert_allclose(fillings[name].center, np.nanmean(scaled, axis=0), rtol=1e-10, atol=1e-12)
            found = fillings[name](scaled, np.isnan(scaled))[:, : x.shape[1]]
            assert_allclose(found, suggested(scaled, scaled), rtol=1e-8, atol=1e-9)


def test_cells_missing_at_random__have_no_indicators(estimator, X, y):
    fitted = estimator().fit(with_holes(X), y)
    assert not any(len(filling.indicated) for filling in fitted._fillings[0].values())


@pytest.mark.parametrize("cls", [MDMFusionRegressor, MDMFusionClassifier])
def test_target_that_is_a_missing_cell__is_learned(cls):
    """Of two columns of noise, and 5 % of the labels wrong: at best a score of .95."""
    rng = np.random.default_rng(0)
    X = with_holes({"a": rng.normal(size=(600, 3)), "b": rng.normal(size=(600, 3))}, share=0.5)
    y = np.isnan(X["a"][:, 0]) ^ (rng.random(600) < 0.05)
    fitted = cls(lam=0, random_state=0).fit({name: x[:300] for name, x in X.items()}, y[:300].astype(int))
    assert fitted._fillings[0]["a"].indicated.tolist()[:1] == [0]
    predicted = fitted.predict({name: x[300:] for name, x in X.items()}) > 0.5
    assert (predicted == y[300:]).mean() > 0.9


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("scaling", ["standard", None])
def test_moments__are_those_of_observed_cells_by_their_weights(regressor, holes, y, scaling, weighted):
    weight = np.random.default_rng(0).integers(0, 3, size=len(y)).astype(float) if weighted else None
    fitted = regressor(scaling=scaling).fit(holes, y, sample_weight=weight)
    for name, x in holes.items():
        share = np.where(np.isnan(x), 0.0, 1.0 if weight is None else weight[:, None])
        mean = np.average(np.nan_to_num(x), axis=0, weights=share)
        if scaling is None:
            assert_allclose(fitted._fillings[0][name].center, mean, rtol=1e-12)
            continue
        var = np.average((np.nan_to_num(x) - mean) ** 2, axis=0, weights=share)
        assert_allclose(fitted.scalers_[name].mean_, mean, rtol=1e-12)
        assert_allclose(fitted.scalers_[name].var_, var, rtol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_moments__of_data_read_in_parts__are_those_of_the_whole(regressor, holes, y, monkeypatch, weighted):
    holes["audio"][:25, 0] = nan  # nothing in the first part
    weight = np.random.default_rng(0).uniform(0.5, 2.0, size=len(y)) if weighted else None
    whole = regressor(max_epochs=1).fit(holes, y, sample_weight=weight).scalers_
    monkeypatch.setattr(_scaling, "MAX_NUMBERS_AT_ONCE", 60)
    parts = regressor(max_epochs=1).fit(holes, y, sample_weight=weight).scalers_
    for name in holes:
        assert_allclose(parts[name].mean_, whole[name].mean_, rtol=1e-10)
        assert_allclose(parts[name].scale_, whole[name].scale_, rtol=1e-10)


def test_weight_zero__is_a_row_left_out(estimator, holes, y, same_parameters):
    holes["text"][:4, 1] = nan  # the only such cells of this column
    weight = np.where(np.arange(len(y)) < 4, 0.0, 1.0)
    kept = {name: x[4:] for name, x in holes.items()}
    expected = estimator().fit(kept, y[4:], sample_weight=weight[4:])
    assert same_parameters(estimator().fit(holes, y, sample_weight=weight), expected)


@pytest.mark.filterwarnings("default:modality 'audio'. nothing is observed of 1 columns")
@pytest.mark.parametrize("scaling", ["standard", None])
def test_column_without_a_value_in_fit__is_told_and_never_read(estimator, holes, X, y, scaling):
    holes["audio"][:, 1] = nan
    frame = pd.DataFrame(holes["audio"], columns=["pitch", "energy", "rate"])
    with pytest.warns(UserWarning, match=r"'audio': nothing is observed of 1 columns \('energy'\).*Leave them out"):
        fitted = estimator(scaling=scaling).fit({**holes, "audio": frame}, y)
    expected = outputs(fitted, holes)
    holes["audio"][~np.isnan(holes["audio"][:, 2]), 1] = 7.0
    assert_array_equal(outputs(fitted, holes), expected)
    assert np.isfinite(expected).all()


def test_cells_of_a_missing_row__change_nothing(estimator, holes, y):
    """Neither what an array holds under a mask nor what is said of its cells reaches the network."""
    fitted = estimator().fit(holes, y)
    observed = fitted._schema.read(fitted, holes)
    missing = ~observed.masks["audio"]
    arrays = {**observed.arrays, "audio": np.where(missing[:, None], 1e6, observed.arrays["audio"])}
    cells = {**observed.cells, "audio": observed.cells["audio"] | missing[:, None]}
    batch, other = (
        fitted._to_batch(each, fitted.net_.dtype) for each in (observed, Observed(arrays, observed.masks, cells))
    )
    for name in batch.X:
        assert_array_equal(batch.X[name].numpy(), other.X[name].numpy())
    audio = batch.X[fitted._keys["audio"]].numpy()
    assert audio.shape == (len(y), 5) and (audio[missing] == 0).all()
    assert_array_equal(audio[:, 3:] > 0, observed.cells["audio"][:, :2])


RAGGED = {
    "list of arrays": lambda row: row,
    "list of lists": lambda row: row.tolist(),
    "list of frames": pd.DataFrame,
    "list of masked arrays": lambda row: np.ma.array(np.nan_to_num(row, nan=1e4), mask=np.isnan(row)),
}


@pytest.mark.parametrize("form", RAGGED)
def test_sequences__steps_with_some_cells_are_observed(regressor, sequences, y, form):
    holes = with_holes(sequences, telling(y))
    fitted = regressor().fit(holes, y)
    assert fitted._fillings[0]["steps"].indicated.tolist() == [0]
    batch = fitted._to_batch(fitted._schema.read(fitted, holes), fitted.net_.dtype)
    key = fitted._keys["steps"]
    assert_array_equal(batch.mask[key].numpy(), ~np.isnan(sequences["steps"]).all(axis=2))
    assert_array_equal(batch.X[key][..., 2].numpy(), np.isnan(holes["steps"][..., 0]) & batch.mask[key].numpy())
    rows = [None if np.isnan(row).all() else row[~np.isnan(row).all(axis=1)] for row in holes["steps"]]
    ragged = {**holes, "steps": [None if row is None else RAGGED[form](row) for row in rows]}
    assert_allclose(outputs(fitted, ragged), outputs(fitted, holes), rtol=1e-10, atol=1e-12)
    assert_allclose(outputs(fitted, ModalityDict(ragged)), outputs(fitted, holes), rtol=1e-10, atol=1e-12)
    assert_allclose(outputs(regressor().fit(ragged, y), holes), outputs(fitted, holes), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    "fusion",
    [
        ConcatFusion((8,), dropout=0.0),
        LateFusion((8,), dropout=0.0),
        TensorFusion((8,)),
        LowRankFusion(2),
        MISAFusion(8, 2, 8, dropout=0.0),
        EarlyFusionLSTM(4, 6),
        MemoryFusion(4, 4, 4, 4, 4, 4, 4),
        MultiAttentionFusion(4, 4, 2, 4, 4, 6),
        MAGFusion(text="text"),
    ],
    ids=lambda fusion: type(fusion).__name__,
)
@pytest.mark.parametrize("steps", [False, True], ids=["vectors", "sequences"])
def test_every_fusion_system__reads_them(regressor, X, y, fusion, steps):
    if steps:
        X = {name: np.stack([x, -x, x**2], axis=1) for name, x in X.items()}
    holes = with_holes(X, telling(y))
    code = isinstance(fusion, (ConcatFusion, LateFusion, TensorFusion, LowRankFusion, MISAFusion))
    fitted = regressor(fusion=fusion, encoder=MLPEncoder((8,), 4, dropout=0.0) if code and not steps else "auto").fit(
        holes, y
    )
    assert np.isfinite(fitted.predict(holes)).all()
    filled = {}
    for name, x in holes.items():
        scaled = fitted.scalers_[name].transform(x.reshape(-1, x.shape[-1]))
        scaled = fitted._fillings[0][name](scaled, np.isnan(scaled))[:, : x.shape[-1]]
        filled[name] = fitted.scalers_[name].inverse_transform(scaled).reshape(x.shape)
    assert not np.allclose(fitted.predict(filled), fitted.predict(holes))  # the indicators are read


# --- the course of a fit ---------------------------------------------------------------------------------------------


def test_indicators__are_those_of_the_rows_that_are_trained_on(regressor, y):
    rng = np.random.default_rng(0)
    X, y = {"audio": rng.normal(size=(200, 3)), "text": rng.normal(size=(200, 2))}, rng.normal(size=200)
    valid = {name: x[:50].copy() for name, x in X.items()}
    valid["audio"][:9, 0] = nan
    fitted = regressor().fit(X, y, X_val=valid, y_val=y[:50])
    assert not len(fitted._fillings[0]["audio"].indicated)
    assert np.isfinite(fitted.validation_loss_curve_).all()
    fitted = regressor(early_stopping=True).fit(with_holes(X, telling(y)), y)
    assert fitted._fillings[0]["audio"].indicated.tolist() == [0, 1]


def test_partial_fit__keeps_the_indicators_of_the_first_call(estimator, X, y, holes):
    first = {name: x[:30] for name, x in holes.items()}
    rest = {name: x[30:].copy() for name, x in X.items()}
    rest["audio"][3, 2] = nan
    options = {"classes": np.unique(y)} if hasattr(estimator(), "predict_proba") else {}
    fitted = estimator().partial_fit(first, y[:30], **options)
    before = {name: filling.indicated.tolist() for name, filling in fitted._fillings[0].items()}
    fitted.partial_fit(rest, y[30:])
    assert {name: filling.indicated.tolist() for name, filling in fitted._fillings[0].items()} == before
    assert np.isfinite(outputs(fitted, rest)).all()


def test_warm_start__goes_on_with_cells_in_other_columns(estimator, X, holes, y):
    fitted = estimator(warm_start=True).fit(X, y)
    assert np.isfinite(outputs(fitted.fit(holes, y), holes)).all()


def test_pickle__keeps_what_cells_are_filled_with(estimator, holes, y):
    fitted = estimator().fit(holes, y)
    assert_array_equal(outputs(pickle.loads(pickle.dumps(fitted)), holes), outputs(fitted, holes))


def test_predictions__depend_on_their_own_row(estimator, holes, y):
    fitted, order = estimator().fit(holes, y), np.random.default_rng(0).permutation(len(y))
    expected = outputs(fitted, holes)
    assert_allclose(outputs(fitted, {name: x[order] for name, x in holes.items()}), expected[order], rtol=1e-10)
    alone = [outputs(fitted, {name: x[[i]] for name, x in holes.items()}) for i in range(12)]
    assert_allclose(np.concatenate(alone), expected[:12], rtol=1e-10)


def test_single_precision__is_close_to_double(estimator, holes, y):
    single = {name: x.astype(np.float32) for name, x in holes.items()}
    double, fitted = estimator().fit(holes, y), estimator().fit(single, y)
    assert fitted.transform(single).dtype == np.float32
    assert_allclose(fitted.transform(single), double.transform(holes), rtol=1e-2, atol=1e-3)


def test_x__stays_as_it_was(estimator, holes, y):
    before = {name: x.copy() for name, x in holes.items()}
    estimator(scaling=None).fit(holes, y).predict(holes)
    for name, x in holes.items():
        assert_array_equal(x, before[name])


@pytest.mark.parametrize("missing", ["mean", "token", "skip", "critic"])
def test_missing_modality__beside_cells(estimator, holes, y, missing):
    fitted = estimator(missing=missing).fit(holes, y)
    assert np.isfinite(outputs(fitted, holes)).all()
    assert np.isfinite(outputs(fitted, {"text": holes["text"]})).all()


def test_critic__completes_with_the_cells_of_its_candidates(sequences):
    candidates = Observed.of({name: x[[1, 2]] for name, x in with_holes(sequences, share=0.5).items()})
    short = {"vector": np.full((2, 3), nan), "steps": np.zeros((2, 2, 2))}
    short["steps"][1, 0, 0] = nan
    whole = complete(Observed.of(short), np.array([0, 1]), candidates, np.array([1, 0]))
    assert_array_equal(whole.cells["steps"][:, :2], np.isnan(short["steps"]))
    assert whole.cells["steps"].shape == whole.arrays["steps"].shape
    assert_array_equal(whole.cells["vector"], candidates.cells["vector"][[1, 0]])
    assert_array_equal(whole.cells["vector"], np.isnan(whole.arrays["vector"]))
    assert candidates.cells["vector"].any()


def test_searches_and_pipelines__take_them(regressor, holes, y):
    model = make_pipeline(ModalityTransformer(StandardScaler()), regressor(lam=0))
    search = GridSearchCV(model, {f"{type(model[-1]).__name__.lower()}__lr": [1e-3, 1e-2]}, cv=2, error_score="raise")
    assert np.isfinite(search.fit(ModalityDict(holes), y).predict(holes)).all()


def test_permutation_of_single_columns__makes_cells_that_are_filled(regressor, holes, y):
    flat = np.hstack(list(holes.values()))
    model = regressor(modalities={"audio": [0, 1, 2], "text": [3, 4]}).fit(flat, y)
    assert permutation_importance(model, flat, y, n_repeats=2, random_state=0).importances.shape == (5, 2)


# --- inspection ------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*samples are left out")
def test_inspection_of_scores__takes_them(regressor, holes, y):
    fitted = regressor().fit(holes, y)
    for function in (modality_importance, modality_drop, modality_shapley):
        table = function(fitted, holes, y)
        assert np.isfinite(table.select_dtypes("number").to_numpy()).all()


@filled_warnings
@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.SeenSamplesWarning")
@pytest.mark.filterwarnings("ignore:.*were trained on in fit")
@pytest.mark.parametrize("kind", ["estimator", "dependency"])
def test_inspection_of_samples__takes_them(regressor, holes, y, kind, quick_reports):
    fitted = regressor().fit(holes, y) if kind == "estimator" else quick_dependency().fit(holes)
    complete = ~np.isnan(holes["audio"]).all(axis=1)
    attribution = pointwise_attribution(fitted, holes, background=holes, n_draws=4, random_state=0)
    assert_array_equal(np.isfinite(attribution).all(axis=1), complete)
    assert np.isfinite(rank_samples(fitted, holes, random_state=0)["value"]).sum() == complete.sum()


# --- dependency ------------------------------------------------------------------------------------------------------


def quick_dependency(**parameters):
    settings = {"cv": None, "max_updates": 20, "hidden_dims": (16, 16), "n_components": 2, "random_state": 0}
    return DependencyEstimator(**settings | parameters)


def warned(call):
    """Return the messages about filled cells of a call, which must point at this file."""
    with pytest.warns(UserWarning) as caught:
        call()
    found = [each for each in caught if "filled" in str(each.message)]
    assert all(each.filename == __file__ for each in found)
    return [str(each.message) for each in found]


@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.SeenSamplesWarning")
@pytest.mark.filterwarnings("ignore:.*samples are left out")
def test_dependency_methods__say_once_how_many_cells_they_filled(regressor, X, y, holes, quick_reports):
    complete = ~np.isnan(holes["audio"]).all(axis=1)
    counts = {name: int(np.isnan(x[complete]).sum()) for name, x in holes.items()}
    n = int(complete.sum())
    expected, of_medians = (
        f"cells that were not observed are filled with {fill}: {counts['audio']} of {3 * n} of modality 'audio', "
        f"{counts['text']} of {2 * n} of modality 'text'. What is reported is the dependency of the filled data."
        for fill in ("what their row suggests", "the training median")
    )
    fitted = regressor().fit(holes, y)  # without a word
    for call in (
        lambda: fitted.dependency_score(holes),
        lambda: fitted.pointwise_dependency(holes),
        lambda: fitted.fit_dependency(holes),
        lambda: rank_samples(fitted, holes),
    ):
        assert warned(call) == [expected]
    assert warned(lambda: quick_dependency().fit(holes)) == [of_medians]
    estimator = quick_dependency(decomposition="line").fit(X)
    for method in (estimator.score, estimator.score_samples, estimator.decompose, estimator.permutation_test):
        assert warned(lambda method=method: method(holes)) == [of_medians]
    fitted.dependency_score(X)  # without a word, and without any cell
    only_missing = {**X, "audio": np.where(complete[:, None], X["audio"], nan)}
    fitted.pointwise_dependency(only_missing)


@filled_warnings
@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.DependencyWarning")
@pytest.mark.parametrize(
    ("scaling", "center"), [("standard", np.nanmean), ("rank", np.nanmedian), ("auto", np.nanmedian)]
)
def test_dependency_estimator__fills_with_the_centre_of_the_fit(X, holes, scaling, center):
    complete = ~np.isnan(holes["audio"]).all(axis=1)
    centers = {name: center(x[complete], axis=0) for name, x in holes.items()}
    filled = {name: np.where(np.isnan(x), centers[name], x) for name, x in holes.items()}
    filled["audio"][~complete] = nan
    found, expected = quick_dependency(scaling=scaling).fit(holes), quick_dependency(scaling=scaling).fit(filled)
    assert found.dependency_ == expected.dependency_
    assert_array_equal(found.pointwise_, expected.pointwise_)
    later = with_holes(X, seed=3)
    values = found.score_samples(later)
    assert_array_equal(
        values, expected.score_samples({k: np.where(np.isnan(x), centers[k], x) for k, x in later.items()})
    )
    assert_allclose(found.score_samples({name: x[5:9] for name, x in later.items()}), values[5:9], rtol=1e-8)
    assert_array_equal(pickle.loads(pickle.dumps(found)).score_samples(later), values)


@filled_warnings
@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.DependencyWarning")
def test_dependency_estimator__fills_a_later_x_after_a_fit_without_any(X, holes):
    fitted = quick_dependency().fit(X)
    filled = {name: np.where(np.isnan(x), np.median(X[name], axis=0), x) for name, x in holes.items()}
    filled["audio"][np.isnan(holes["audio"]).all(axis=1)] = nan
    assert_array_equal(fitted.score_samples(holes), fitted.score_samples(filled))


@filled_warnings
@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.DependencyWarning")
def test_dependency_estimator__of_sequences_fills_each_step_by_itself(X):
    steps = np.stack([X["text"], X["text"] + 5.0], axis=1)
    holes = steps.copy()
    holes[3, 1, 0] = nan
    filled = np.where(np.isnan(holes), np.nanmedian(holes, axis=0), holes)
    found = quick_dependency().fit({"audio": X["audio"], "text": holes})
    assert found.dependency_ == quick_dependency().fit({"audio": X["audio"], "text": filled}).dependency_


@filled_warnings
@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.DependencyWarning")
def test_dependency_estimator__column_without_a_value__is_told_and_never_read(X):
    X["audio"][:, 1] = nan
    estimator = quick_dependency()
    with pytest.warns(UserWarning, match=r"'audio': nothing is observed of 1 columns \(1\)"):
        estimator.fit(X)
    values = estimator.score_samples(X)
    X["audio"][:, 1] = 7.0
    assert_array_equal(estimator.score_samples(X), values)


@pytest.mark.parametrize("cls", [MDMFusionRegressor, MDMFusionClassifier])
def test_flat_array__with_cells_in_every_row__is_one_modality_like_any_other(cls):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 4)), np.arange(50) % 2
    X[np.arange(50), rng.integers(0, 4, size=50)] = nan
    fitted = cls(n_estimators=1, lam=0, max_epochs=2, random_state=0).fit(X, y)
    assert fitted.predict(X).shape == (50,) and fitted.n_features_in_ == 4
