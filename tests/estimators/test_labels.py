"""Weights of classes, what comes out with row labels, and what searches do to validation samples."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.model_selection import GridSearchCV, GroupKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import EpochScoring

from sklearn_mdm import DependencyEstimator, ModalityDict, ModalityTransformer
from sklearn_mdm.inspection import pointwise_attribution, rank_samples

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


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf])
def test_class_weights__that_are_no_weights__are_an_error(classifier, X, y, weight):
    with pytest.raises(ValueError, match="class_weight has negative or non-finite weights"):
        classifier(class_weight={0: weight, 1: 1.0}).fit(X, y)
    with pytest.raises(ValueError, match="weight zero"):
        classifier(class_weight=dict.fromkeys(range(3), 0)).fit(X, y)


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
def test_missing_labels__are_counted(estimator, X, y, write):
    for use in (estimator().fit, estimator().fit(X, y).score):
        with pytest.raises(ValueError, match=r"y has 5 missing labels .*first: sample 0.*Leave those samples out"):
            use(X, write(y))


def test_outputs__in_another_order__are_an_error(regressor, X, y):
    two = pd.DataFrame({"a": y, "b": -y})
    with pytest.raises(ValueError, match=r"outputs of y are \['b', 'a'\].*\['a', 'b'\]"):
        regressor().fit(X, two, X_val=X, y_val=two[["b", "a"]])


def test_masked_weights_and_groups__are_missing(estimator, X, y):
    mask = np.arange(60) < 5
    with pytest.raises(ValueError, match="NaN"):
        estimator().fit(X, y, sample_weight=np.ma.array(np.ones(60), mask=mask))
    with pytest.raises(ValueError, match="5 missing labels"):
        estimator().fit(X, y, groups=np.ma.array(np.arange(60), mask=mask))
    with pytest.raises(ValueError, match="durations"):
        estimator().fit(X, y, sample_weight=np.ones(60).astype("timedelta64[s]"))


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


def test_names_that_are_numbers__are_compared_in_flat_frames(regressor, X, y):
    frame = pd.DataFrame(np.hstack(list(X.values())), columns=[10, 20, 30, 40, 50])
    fitted = regressor(max_epochs=1, modalities={"audio": [0, 1, 2], "text": [3, 4]}).fit(frame, y)
    with pytest.raises(ValueError, match=r"feature names of X.*found 20"):
        fitted.predict(frame[[20, 10, 30, 40, 50]])
