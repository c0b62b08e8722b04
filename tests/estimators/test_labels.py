"""Weights of classes, what comes out with row labels, and what searches do to validation samples."""

import datetime

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import EpochScoring

from sklearn_mdm import DependencyEstimator, ModalityDict, ModalityTransformer
from sklearn_mdm.inspection import modality_importance, pointwise_attribution, rank_samples

ROWS = pd.Index([f"s{i}" for i in range(60)])


@pytest.fixture
def halves(X, y):
    """Training and test part of a dict of labelled frames, with their targets."""
    frames = {name: pd.DataFrame(values, index=ROWS) for name, values in X.items()}
    return train_test_split(ModalityDict(frames), pd.Series(y, index=ROWS), random_state=0)


# --- weights of classes ----------------------------------------------------------------------------------------------


def test_balanced_weights__of_validation_samples__are_those_of_the_training_classes(classifier, X, y):
    rare = y[np.argsort(y)][:25]  # another share of classes than in training
    X_val = {name: values[np.argsort(y)][:25] for name, values in X.items()}
    counts = np.bincount(y)
    weights = dict(enumerate(len(y) / (3 * counts)))
    balanced = classifier(class_weight="balanced").fit(X, y, X_val=X_val, y_val=rare)
    given = classifier(class_weight=weights).fit(X, y, X_val=X_val, y_val=rare)
    assert_allclose(balanced.validation_loss_curve_, given.validation_loss_curve_)


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf, None, "a"])
def test_class_weights__that_are_no_weights__are_an_error(classifier, X, y, weight):
    with pytest.raises(ValueError, match="class_weight has negative or non-finite weights"):
        classifier(class_weight={0: weight, 1: 1.0}).fit(X, y)
    with pytest.raises(ValueError, match="weight zero"):
        classifier(class_weight=dict.fromkeys(range(3), 0)).fit(X, y)


def test_weights__that_are_huge__count_by_their_ratios(classifier, regressor, X, y):
    huge, moderate = (classifier(class_weight={0: w, 1: w, 2: 0.0}).fit(X, y) for w in (1e300, 1.0))
    assert_allclose(huge.predict_proba(X), moderate.predict_proba(X))
    fitted = regressor(max_epochs=1).fit(X, y, sample_weight=np.where(y == 1, 1e300, 1e-300))
    assert np.isfinite(fitted.predict(X)).all()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, "a"], "labels of type int, str. Pass strings"),
        ([datetime.date(2020, 1, 1), datetime.date(2020, 1, 2)], "labels of type date"),
        ([0j, 1j], r"Complex data not supported: y holds labels of type complex"),
        (pd.interval_range(0, 2), "labels of type Interval"),
        (pd.Categorical([0, "a"]), "labels of type int, str"),
    ],
    ids=["mixed", "dates", "complex", "intervals", "mixed categories"],
)
def test_classes__of_odd_types__are_named(classifier, X, y, labels, message):
    with pytest.raises(ValueError, match=message):
        classifier().fit(
            X, pd.Series(labels).take(y % 2).array if hasattr(labels, "dtype") else [labels[i % 2] for i in y]
        )


def test_sparse_targets__are_an_error(estimator, X, y):
    with pytest.raises(TypeError, match=r"y is sparse.*y.toarray\(\)"):
        estimator().fit(X, sparse.csr_array(y[:, None]))


# --- y ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "write",
    [
        lambda y: np.where(np.arange(60) < 5, None, y),
        lambda y: [None] * 5 + y[5:].tolist(),
        lambda y: np.ma.array(y, mask=np.arange(60) < 5),
        lambda y: pd.Series(np.where(np.arange(60) < 5, np.nan, y)),
        lambda y: pd.array([None] * 5 + y[5:].tolist(), dtype="Int64"),
        lambda y: pd.Categorical([None] * 5 + y[5:].tolist()),
    ],
    ids=["None", "list", "masked", "NaN", "pandas.NA", "categories"],
)
def test_missing_labels__are_counted_where_scorers_read_them(estimator, X, y, write):
    with pytest.raises(ValueError, match=r"y has 5 missing labels .*first: sample 0.*Leave those samples out"):
        modality_importance(estimator(max_epochs=1).fit(X, y), X, write(y))


def test_outputs__in_another_order__are_an_error(regressor, X, y):
    two = pd.DataFrame({"a": y, "b": -y})
    with pytest.raises(ValueError, match=r"outputs of y are \['b', 'a'\].*\['a', 'b'\]"):
        regressor().fit(X, two, X_val=X, y_val=two[["b", "a"]])
    fitted = regressor(max_epochs=1).fit(X, two)
    for use in (fitted.score, lambda X, y: modality_importance(fitted, X, y)):
        with pytest.raises(ValueError, match=r"outputs of y are \['b', 'a'\].*\['a', 'b'\]"):
            use(X, two[["b", "a"]])


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda y: pd.Series(pd.to_datetime(y, unit="D")), "y holds dates"),
        (lambda y: y.astype("timedelta64[s]"), "y holds durations"),
    ],
    ids=["dates", "durations"],
)
def test_targets__that_are_no_numbers__are_an_error_in_scores_and_inspection(regressor, X, y, write, message):
    fitted = regressor(max_epochs=1).fit(X, y)
    for use in (fitted.score, lambda X, y: modality_importance(make_pipeline("passthrough", fitted), X, y)):
        with pytest.raises(ValueError, match=message):
            use(X, write(y))


def test_masked_weights_and_groups__are_missing(estimator, X, y):
    mask = np.arange(60) < 5
    with pytest.raises(ValueError, match="NaN"):
        estimator().fit(X, y, sample_weight=np.ma.array(np.ones(60), mask=mask))
    with pytest.raises(ValueError, match="NaN"):
        estimator(max_epochs=1).fit(X, y).score(X, y, sample_weight=np.ma.array(np.ones(60), mask=mask))
    with pytest.raises(ValueError, match="5 missing labels"):
        estimator().fit(X, y, groups=np.ma.array(np.arange(60), mask=mask))
    with pytest.raises(ValueError, match="durations"):
        estimator().fit(X, y, sample_weight=np.ones(60).astype("timedelta64[s]"))


def test_rows_of_y_and_weights__in_different_orders__are_an_error_beside_an_x_without_labels(regressor, X, y):
    labelled = pd.Series(y, index=ROWS)
    for beside in ("sample_weight", "groups"):
        with pytest.raises(ValueError, match=f"row labels of {beside} and y disagree"):
            regressor().fit(X, labelled, **{beside: labelled.abs()[::-1]})
    with pytest.raises(ValueError, match="row labels of groups and sample_weight disagree"):
        regressor().fit(X, pd.Series(y), labelled.abs(), groups=labelled[::-1])


def test_rows_of_a_default_index__beside_labels_that_are_no_integers__say_nothing(regressor, X, y):
    frame = pd.concat({name: pd.DataFrame(values, index=ROWS) for name, values in X.items()}, axis=1)
    cross_val_score(regressor(max_epochs=1), frame, pd.Series(y), cv=2, error_score="raise")
    with pytest.raises(ValueError, match="row labels of y and X disagree"):  # rows of other samples
        regressor().fit(frame.iloc[:30].set_axis(range(30), axis=0), pd.Series(y).iloc[[5, *range(31, 60)]])


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda y: dict(zip(range(60), y, strict=True)), "dict, of which only the keys"),
        (lambda y: set(range(60)), "set, which has no order"),
        (iter, "iterator, which can be read once"),
        (lambda y: (each for each in y), "generator, which can be read once"),
        (lambda y: 1.0, "float. Pass a list"),
        (lambda y: "y" * 60, "str. Pass a list"),
    ],
    ids=["dict", "set", "iterator", "generator", "number", "string"],
)
def test_what_has_no_entry_per_sample__is_an_error(estimator, X, y, write, message):
    for beside in ("y", "sample_weight", "groups"):
        with pytest.raises(TypeError, match=f"expected one entry per sample, got .*{message}"):
            estimator().fit(X, **{"y": y, beside: write(y)})


def test_groups_and_weights__of_other_shapes_and_types__are_read_or_refused(estimator, X, y):
    for beside in ("sample_weight", "groups"):
        with pytest.raises(ValueError, match=rf"{beside} has shape \(60, 2\); expected one .* per sample"):
            estimator().fit(X, y, **{beside: np.ones((60, 2))})
    mixed = np.array([i // 2 if i % 4 < 2 else f"speaker {i // 2}" for i in range(60)], dtype=object)
    for groups in (mixed, mixed[:, None]):
        fitted = estimator(max_epochs=1, early_stopping=True).fit(X, y, groups=groups)
        same = estimator(max_epochs=1, early_stopping=True).fit(X, y, groups=np.arange(60) // 2)
        assert_allclose(fitted.validation_loss_curve_, same.validation_loss_curve_)


# --- row labels of results -------------------------------------------------------------------------------------------


def test_results__after_a_split_of_labelled_frames__carry_their_labels(estimator, halves, quick_reports):
    train, test, y_train, y_test = halves
    fitted = estimator(lam=0.1).set_output(transform="pandas").fit(train, y_train)
    assert fitted.transform(test).index.equals(y_test.index)
    assert list(fitted.transform(test).columns[:2]) == ["fused0", "fused1"]
    assert pointwise_attribution(fitted, test, random_state=0).index.equals(y_test.index)
    ranked = rank_samples(fitted, test, random_state=0)
    assert (y_test.index[ranked["sample"]] == ranked.index).all()
    pipeline = make_pipeline(ModalityTransformer(StandardScaler()), estimator()).set_output(transform="pandas")
    assert pipeline.fit(train, y_train).transform(test).index.equals(y_test.index)


def test_feature_names__of_named_modalities__are_listed(regressor, X, y):
    frames = {name: pd.DataFrame(values).add_prefix("f") for name, values in X.items()}
    expected = ["audio__f0", "audio__f1", "audio__f2", "text__f0", "text__f1"]
    for form in (frames, pd.concat(frames, axis=1)):
        assert regressor(max_epochs=1).fit(form, y).feature_names_in_.tolist() == expected


# --- searches and callbacks ------------------------------------------------------------------------------------------


def test_validation_samples__that_a_search_cuts__are_an_error(regressor, X, y):
    for X_val, message in [(ModalityDict(X), "X_val holds the very rows"), (X, "inconsistent numbers of samples")]:
        search = GridSearchCV(regressor(max_epochs=1), {"lam": [0.0]}, cv=2, error_score="raise")
        with pytest.raises(ValueError, match=f"{message}.*plain dict"):
            search.fit(ModalityDict(X), y, X_val=X_val, y_val=y)
    pipeline = make_pipeline(ModalityTransformer(StandardScaler()), regressor(max_epochs=1))
    last, whole = pipeline.steps[-1][0], ModalityDict(X)
    search = GridSearchCV(pipeline, {f"{last}__lam": [0.0]}, cv=2, error_score="raise")
    with pytest.raises(ValueError, match="X_val holds the very rows"):
        search.fit(whole, y, **{f"{last}__X_val": whole, f"{last}__y_val": y})
    frame, modalities = ModalityDict({k: pd.DataFrame(v, index=ROWS) for k, v in X.items()}).to_frame()
    search = GridSearchCV(regressor(max_epochs=1, modalities=modalities), {"lam": [0.0]}, cv=2, error_score="raise")
    with pytest.raises(ValueError, match="X_val holds the very rows"):
        search.fit(frame, y, X_val=frame.copy(), y_val=y)


def test_samples_without_labels__that_a_search_cuts__are_an_error(regressor, X, y):
    whole = ModalityDict(X)
    search = GridSearchCV(regressor(max_epochs=1), {"lam": [0.1]}, cv=2, error_score="raise")
    with pytest.raises(ValueError, match=r"X_unlabeled holds the very rows.*plain dicts"):
        search.fit(whole, y, X_unlabeled=ModalityDict(X))


def test_validation_samples__of_another_length__go_whole_and_groups_are_cut(regressor, X, y):
    part = {name: values[1:] for name, values in X.items()}
    search = GridSearchCV(regressor(max_epochs=1), {"lam": [0.0]}, cv=GroupKFold(2), error_score="raise")
    search.fit(ModalityDict(X), y, groups=np.arange(60) // 2, X_val=part, y_val=y[1:])


def test_validation_samples__that_are_those_of_training__are_allowed(regressor, X, y):
    some = ModalityDict(X)[np.arange(0, 60, 2)]
    regressor(max_epochs=1).fit(some, y[::2], X_val=some, y_val=y[::2])


def test_scores_by_name_in_callbacks__are_an_error_that_shows_a_function(classifier, X, y):
    with pytest.raises(ValueError, match=r"logits.*lambda"):
        classifier(callbacks=[("accuracy", EpochScoring("accuracy"))]).fit(X, y)


# --- tables ----------------------------------------------------------------------------------------------------------


def test_to_frame__is_what_the_dict_is(estimator, halves):
    train, _, y_train, _ = halves
    frame, modalities = train.to_frame()
    assert frame.index.equals(y_train.index)
    flat = estimator(modalities=modalities).fit(frame, y_train)
    assert_allclose(flat.predict(frame), estimator().fit(train, y_train).predict(train), rtol=1e-9)


def test_columns_that_no_selector_takes__may_hold_anything(estimator, X, y):
    frame, modalities = ModalityDict(X).to_frame()
    wide = frame.assign(id="x", when=pd.Timestamp("2020-01-01"), broken=np.inf)
    fitted = estimator(modalities=modalities).fit(wide, y)
    np.testing.assert_array_equal(fitted.predict(wide), estimator(modalities=modalities).fit(frame, y).predict(frame))
    DependencyEstimator(modalities=modalities, max_updates=5, random_state=0).fit(frame)


def test_columns_that_no_selector_takes__may_be_absent_later_or_elsewhere(regressor, X, y):
    frame, modalities = ModalityDict(X).to_frame()
    wide = pd.concat([pd.Series("x", index=frame.index, name="id"), frame], axis=1)
    fitted = regressor(modalities=modalities).fit(wide, y)
    expected = modality_importance(fitted, wide, y, random_state=0)
    for later in (frame, frame.assign(id="x", when=pd.NaT)):
        np.testing.assert_array_equal(fitted.predict(later), fitted.predict(wide))
        pd.testing.assert_frame_equal(modality_importance(fitted, later, y, random_state=0), expected)
        with pytest.raises(ValueError, match=r"order|feature names"):
            fitted.predict(later[later.columns[::-1]])
    pd.testing.assert_index_equal(
        ModalityTransformer(modalities=modalities).set_output(transform="pandas").fit(wide).transform(frame).index,
        frame.index,
    )


def test_names_that_are_numbers__are_compared_in_flat_frames(regressor, X, y):
    frame = pd.DataFrame(np.hstack(list(X.values())), columns=[10, 20, 30, 40, 50])
    fitted = regressor(max_epochs=1, modalities={"audio": [0, 1, 2], "text": [3, 4]}).fit(frame, y)
    with pytest.raises(ValueError, match=r"feature names of X.*found 20"):
        fitted.predict(frame[[20, 10, 30, 40, 50]])


def test_names_that_are_positions__in_another_order__are_an_error(regressor, X, y):
    frames = {name: pd.DataFrame(values) for name, values in X.items()}
    swapped = {name: frame[frame.columns[::-1]] for name, frame in frames.items()}
    for first, other in [(frames, swapped), (swapped, frames)]:
        with pytest.raises(ValueError, match="feature names of modality 'audio'"):
            regressor(max_epochs=1).fit(first, y).predict(other)
    regressor(max_epochs=1).fit(frames, y).predict(X)
