"""What the estimators do with every form of X: equal numbers from equal data, or an error that says what is wrong."""

import warnings
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.compose import make_column_selector
from skorch.helper import SliceDict

from sklearn_mdm import MDMFusionClassifier, ModalityDict, SingleModalityWarning

# Of samples that were fitted, here and there: the numbers must repeat, not tell of new ones.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.SeenSamplesWarning")

nan = np.nan


def outputs(fitted, X):
    """Everything an estimator says about X, as columns."""
    parts = [fitted.predict(X), fitted.transform(X), fitted.pointwise_dependency(X)]
    if isinstance(fitted, MDMFusionClassifier):
        parts.append(fitted.predict_proba(X))
    return np.column_stack(parts)


def frames(X):
    return {
        name: pd.DataFrame(value, columns=[f"{name}{i}" for i in range(value.shape[1])]) for name, value in X.items()
    }


def flat(X):
    return np.hstack([X["audio"], X["text"]])


def flat_frame(X):
    return pd.concat(frames(X).values(), axis=1)


def spaced(X):
    """Columns of both modalities interleaved, with unused ones between."""
    wide = np.zeros((len(X["audio"]), 7))
    wide[:, [0, 2, 5]], wide[:, [1, 6]] = X["audio"], X["text"]
    return wide


# Form -> (how X is written in it, the modalities= that goes with it)
FORMS = {
    "dict of frames": (frames, None),
    "dict of lists": (lambda X: {name: value.tolist() for name, value in X.items()}, None),
    "dict of lists of arrays": (lambda X: {name: list(value) for name, value in X.items()}, None),
    "dict in Fortran order": (lambda X: {name: np.asfortranarray(value) for name, value in X.items()}, None),
    "dict of object arrays": (lambda X: {name: value.astype(object) for name, value in X.items()}, None),
    "other order of keys": (lambda X: {"text": X["text"], "audio": X["audio"]}, None),
    "ModalityDict": (ModalityDict, None),
    "SliceDict": (lambda X: SliceDict(**X), None),
    "MultiIndex frame": (lambda X: pd.concat(frames(X), axis=1), None),
    "MultiIndex frame, other order of blocks": (lambda X: pd.concat(frames(X), axis=1)[["text", "audio"]], None),
    "array and slices": (flat, {"audio": slice(0, 3), "text": slice(3, 5)}),
    "array and other order of modalities": (flat, {"text": slice(3, 5), "audio": slice(0, 3)}),
    "array and lists": (flat, {"audio": [0, 1, 2], "text": [3, 4]}),
    "array and negative columns": (flat, {"audio": [0, 1, 2], "text": [-2, -1]}),
    "array and masks": (flat, {"audio": np.arange(5) < 3, "text": [False, False, False, True, True]}),
    "array and callables": (flat, {"audio": lambda X: [0, 1, 2], "text": lambda X: slice(3, None)}),
    "array with unused columns": (spaced, {"audio": [0, 2, 5], "text": [1, 6]}),
    "frame and names": (flat_frame, {"audio": ["audio0", "audio1", "audio2"], "text": ["text0", "text1"]}),
    "frame and name slices": (flat_frame, {"audio": slice("audio0", "audio2"), "text": slice("text0", "text1")}),
    "frame and column selectors": (
        flat_frame,
        {"audio": make_column_selector("audio"), "text": make_column_selector("^text")},
    ),
    "frame and positions": (flat_frame, {"audio": [0, 1, 2], "text": [3, 4]}),
    "nested list and slices": (lambda X: flat(X).tolist(), {"audio": slice(0, 3), "text": slice(3, 5)}),
}


@pytest.mark.parametrize("form", FORMS)
def test_equivalent_forms__at_fit_and_predict__give_the_same_numbers(estimator, X, y, form):
    write, modalities = FORMS[form]
    expected = outputs(estimator().fit(X, y), X)
    fitted = estimator(modalities=modalities).fit(write(X), y)
    assert fitted.modalities_ == ["audio", "text"]
    assert fitted.n_features_per_modality_ == {"audio": 3, "text": 2}
    assert fitted.n_features_in_ == (7 if form == "array with unused columns" else 5)
    # Not to the last bit: means are summed in the order in which an array lies in memory.
    assert_allclose(outputs(fitted, write(X)), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("form", [form for form, (_, modalities) in FORMS.items() if modalities is None])
def test_a_fit_on_a_dict__predicts_from_every_other_mapping(regressor, X, y, form):
    fitted = regressor().fit(X, y)
    assert_array_equal(outputs(fitted, FORMS[form][0](X)), outputs(fitted, X))


def ragged(array):
    """NaN-padded sequences as a list of (T_i, d) arrays, None where no step was observed."""
    return [None if np.isnan(row).all() else row[~np.isnan(row).any(1)] for row in array]


def test_ragged_sequences__equal_padded_ones(estimator, sequences, y):
    lists = {**sequences, "steps": ragged(sequences["steps"])}
    padded = estimator().fit(sequences, y)
    fitted = estimator().fit(lists, y)
    for form in (sequences, lists, ModalityDict(lists), ModalityDict(sequences)):
        assert_allclose(outputs(fitted, form), outputs(padded, sequences), rtol=1e-10, atol=1e-10)


def test_nan_steps_appended__change_nothing(estimator, sequences, y):
    fitted = estimator().fit(sequences, y)
    longer = {**sequences, "steps": np.pad(sequences["steps"], ((0, 0), (0, 30), (0, 0)), constant_values=nan)}
    assert_allclose(outputs(fitted, longer), outputs(fitted, sequences), rtol=1e-6, atol=1e-6)
    again = estimator().fit(longer, y)
    assert_allclose(outputs(again, sequences), outputs(fitted, sequences), rtol=1e-6, atol=1e-6)


def test_a_gap_inside_a_sequence__is_not_a_zero(regressor, sequences, y):
    fitted = regressor().fit(sequences, y)
    zeroed = {**sequences, "steps": np.nan_to_num(sequences["steps"])}
    assert not np.allclose(fitted.predict(zeroed), fitted.predict(sequences))


@pytest.mark.parametrize("missing", ["mean", "token", "skip", "critic"])
def test_missing_modality__whether_nan_none_or_absent__is_the_same_at_predict(estimator, X, y, missing):
    X["text"][:20] = nan
    fitted = estimator(missing=missing).fit(X, y)
    whole_nan = {"audio": X["audio"], "text": np.full_like(X["text"], nan)}
    expected = outputs(fitted, whole_nan)
    assert_array_equal(outputs(fitted, {"audio": X["audio"]}), expected)
    assert_array_equal(outputs(fitted, {"audio": X["audio"], "text": None}), expected)
    assert_array_equal(outputs(fitted, {"audio": X["audio"], "text": [None] * len(y)}), expected)
    assert_array_equal(outputs(fitted, ModalityDict(audio=X["audio"], text=None)), expected)
    assert np.isnan(fitted.pointwise_dependency(whole_nan)).all()
    # Half of the rows missing: those are as above, the others as ever.
    X["text"][20:] = 1.0
    mixed = outputs(fitted, X)
    assert_allclose(mixed[:20], expected[:20], rtol=1e-10)
    assert not np.allclose(fitted.transform(X)[20:], fitted.transform(whole_nan)[20:])


def test_missing_rows_in_training__as_nan_and_as_none__give_the_same_fit(estimator, X, y, same_parameters):
    X["text"][::3] = nan
    lists = {"audio": list(X["audio"]), "text": [None if np.isnan(row).any() else row for row in X["text"]]}
    with_nan, with_none = estimator().fit(X, y), estimator().fit(lists, y)
    assert same_parameters(with_nan, with_none)
    assert_array_equal(outputs(with_nan, X), outputs(with_none, lists))


def test_missing_rows_in_training__enter_no_statistics(regressor, X, y):
    X["text"][::3] = nan
    scaler = regressor().fit(X, y).scalers_["text"]
    assert_allclose(scaler.mean_, np.nanmean(X["text"], axis=0))
    assert_allclose(scaler.scale_, np.nanstd(X["text"], axis=0))


@pytest.mark.parametrize(
    "names", [("keys", "a.b"), (0, "0"), ("forward", "m0"), ("m1", "m0"), ("", "audio"), (7, -2), ("items", "codes")]
)
def test_odd_names__are_as_good_as_others(estimator, X, y, names):
    renamed = dict(zip(names, X.values(), strict=True))
    fitted = estimator(encoder={names[0]: "mlp"}).fit(renamed, y)
    assert set(fitted.modalities_) == set(names)
    assert fitted.predict(renamed).shape == y.shape
    assert_array_equal(
        fitted.predict({names[1]: renamed[names[1]]}), fitted.predict({names[0]: None, names[1]: renamed[names[1]]})
    )


def test_dtype__of_outputs_follows_x(estimator, X, y):
    single = {name: value.astype(np.float32) for name, value in X.items()}
    for data, dtype in [(X, np.float64), (single, np.float32), ({**X, "text": single["text"]}, np.float64)]:
        fitted = estimator().fit(data, y)
        assert fitted.transform(data).dtype == dtype
        assert (fitted.predict_proba if hasattr(fitted, "classes_") else fitted.predict)(data).dtype == dtype


def test_integers_and_booleans__are_read_as_floats(regressor, X, y):
    whole = {"audio": (10 * X["audio"]).astype(int), "text": X["text"] > 0}
    floats = {name: value.astype(float) for name, value in whole.items()}
    assert_array_equal(outputs(regressor().fit(whole, y), whole), outputs(regressor().fit(floats, y), floats))


def test_fit__leaves_x_y_and_parameters_as_they_were(estimator, X, y):
    before = {name: value.copy() for name, value in X.items()}, y.copy()
    model = estimator()
    parameters = {name: repr(value) for name, value in model.get_params().items()}
    model.fit(X, y).predict(X)
    assert {name: repr(value) for name, value in model.get_params().items()} == parameters
    assert_array_equal(y, before[1])
    for name in X:
        assert_array_equal(X[name], before[0][name])


# --- errors ----------------------------------------------------------------------------------------------------------


def change(name, value):
    return lambda X: {**X, name: value(X[name])}


def with_value(value, rows=slice(3, 5), column=0):
    def put(array):
        array = array.copy()
        array[rows, column] = value
        return array

    return put


BROKEN_ANYWHERE = {
    "infinite": (change("text", with_value(np.inf)), ValueError, r"(?s)'text'.*infinity"),
    "minus infinity": (change("text", with_value(-np.inf)), ValueError, r"(?s)'text'.*infinity"),
    "too large for floats": (
        change("text", lambda v: np.full(v.shape, 10**400, dtype=object)),
        (ValueError, OverflowError),
        "'text'",
    ),
    "objects": (change("text", lambda v: np.array([[object(), object()]] * len(v))), (ValueError, TypeError), "'text'"),
    "strings in a table": (change("text", lambda v: v.astype(str).astype(object) + "x"), ValueError, "'text'"),
    "texts": (change("text", lambda v: ["word"] * len(v)), ValueError, "'text' holds text"),
    "complex": (change("text", lambda v: v + 1j), ValueError, "(?s)'text'.*[Cc]omplex"),
    "one dimension": (change("text", lambda v: v[:, 0]), ValueError, r"'text' has shape \(60,\).*reshape"),
    "four dimensions": (change("text", lambda v: v[:, :, None, None]), ValueError, r"'text' has shape"),
    "a number": (change("text", lambda v: 3.0), (ValueError, TypeError), "."),
    "no feature": (change("text", lambda v: v[:, :0]), ValueError, "'text'"),
    "length": (change("text", lambda v: v[:-1]), ValueError, "'audio' has 60, 'text' has 59"),
    "csr": (change("text", sparse.csr_array), TypeError, "'text' is sparse.*TruncatedSVD"),
    "csc": (change("text", sparse.csc_matrix), TypeError, "'text' is sparse"),
    "dok": (change("text", sparse.dok_array), TypeError, "'text' is sparse"),
    "nothing observed in a row": (
        lambda X: {name: with_value(nan, rows=4, column=slice(None))(value) for name, value in X.items()},
        ValueError,
        "1 of 60 samples have no observed modality.*sample 4",
    ),
    "empty dict": (lambda X: {}, ValueError, "empty"),
    "all None": (lambda X: dict.fromkeys(X), ValueError, "None"),
    "empty arrays": (lambda X: {name: value[:0] for name, value in X.items()}, ValueError, "0 sample"),
    "a tuple as name": (
        lambda X: {("a", "b"): X["audio"], "text": X["text"]},
        (TypeError, ValueError),
        r"\('a', 'b'\)",
    ),
    "sparse as a whole": (lambda X: sparse.csr_array(flat(X)), TypeError, "Sparse data"),
    "dok as a whole": (lambda X: sparse.dok_array(flat(X)), TypeError, "Sparse data"),
    "three dimensions without names": (lambda X: flat(X)[:, None], ValueError, "."),
}


@pytest.mark.parametrize("case", BROKEN_ANYWHERE)
def test_broken_x__at_fit_and_at_predict__is_an_error_that_says_where(estimator, X, y, case):
    write, error, message = BROKEN_ANYWHERE[case]
    with pytest.raises(error, match=message):
        estimator().fit(write(X), y)
    fitted = estimator(max_epochs=1).fit(X, y)
    for method in (fitted.predict, fitted.transform, fitted.dependency_score):
        if case not in ("sparse as a whole", "dok as a whole", "three dimensions without names"):
            with pytest.raises(error, match=message):
                method(write(X))
        else:
            with pytest.raises((ValueError, TypeError), match=r"named modalities|Sparse"):
                method(write(X))


BROKEN_AT_PREDICT = {
    "unknown key": (lambda X: {**X, "video": X["text"]}, r"unknown modalities \['video'\].*\['audio', 'text'\]"),
    "misspelt key": (lambda X: {"audio": X["audio"], "txt": X["text"]}, r"unknown modalities \['txt'\]"),
    "wider": (change("text", lambda v: np.c_[v, v]), "'text' has 4 features.*2"),
    "narrower": (change("text", lambda v: v[:, :1]), "'text' has 1 features.*2"),
    "a sequence": (change("text", lambda v: v[:, None]), "'text' has shape.*vectors"),
    "flat": (flat, "named modalities"),
    "wider in a MultiIndex frame": (
        lambda X: pd.concat(frames({**X, "text": np.c_[X["text"], X["text"]]}), axis=1),
        "'text' has 4 features",
    ),
}


@pytest.mark.parametrize("case", BROKEN_AT_PREDICT)
def test_x_unlike_that_of_fit__is_an_error_that_names_the_modality(estimator, X, y, case):
    write, message = BROKEN_AT_PREDICT[case]
    fitted = estimator(max_epochs=1).fit(X, y)
    for method in (fitted.predict, fitted.transform, fitted.pointwise_dependency):
        with pytest.raises(ValueError, match=message):
            method(write(X))


def test_vectors_for_a_sequence__are_an_error(regressor, sequences, y):
    fitted = regressor(max_epochs=1).fit(sequences, y)
    with pytest.raises(ValueError, match=r"'steps' has shape.*sequences"):
        fitted.predict({**sequences, "steps": sequences["steps"][:, 0]})


def test_feature_names__must_agree_within_a_modality(regressor, X, y):
    tables = frames(X)
    fitted = regressor(max_epochs=1).fit(tables, y)
    with pytest.raises(ValueError, match=r"feature names of modality 'text'.*'text1'.*'text0'"):
        fitted.predict({**tables, "text": tables["text"][["text1", "text0"]]})
    assert_array_equal(fitted.predict(X), fitted.predict(tables))  # arrays have no names to compare


def test_flat_x__of_another_width__is_an_error(regressor, X, y):
    fitted = regressor(modalities={"audio": slice(0, 3), "text": slice(3, None)}).fit(flat(X), y)
    with pytest.raises(ValueError, match="5 features"):
        fitted.predict(spaced(X))
    with pytest.raises(ValueError, match="modalities="):
        fitted.fit(X, y)  # a dict has its own names


@pytest.mark.parametrize(
    ("modalities", "message"),
    [
        ({"audio": [0, 1], "text": [1, 2]}, "column 1.*'audio'.*'text'"),
        ({"audio": [0, 9]}, r"modalities\['audio'\].*5 columns"),
        ({"audio": []}, r"modalities\['audio'\].*no column"),
        ({"audio": "name"}, r"modalities\['audio'\]"),
        ({}, "modalities"),
        ([0, 1], "modalities"),
    ],
)
def test_modalities_that_select_nothing_sensible__are_an_error(regressor, X, y, modalities, message):
    with pytest.raises(ValueError, match=message):
        regressor(modalities=modalities).fit(flat(X), y)


def test_nothing_observed_of_a_modality_at_fit__is_an_error(estimator, X, y):
    for empty in (np.full_like(X["text"], nan), None, [None] * len(y)):
        with pytest.raises(ValueError, match=r"'text'.*observed"):
            estimator().fit({**X, "text": empty}, y)


def test_nothing_observed_after_the_stopping_split__names_the_modality(regressor, X, y):
    X["text"][1:] = nan
    model = regressor(early_stopping=True, validation_fraction=0.9, lam=0)
    failed = None
    for seed in range(20):  # some split must hold the only observed row out
        try:
            model.set_params(random_state=seed).fit(X, y)
        except ValueError as error:
            failed = str(error)
            break
    assert failed is not None and "'text'" in failed and "early_stopping=False" in failed


def test_y__of_another_length_or_unusable__is_an_error(estimator, X, y):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        estimator().fit(X, y[:-1])
    with pytest.raises(ValueError, match="requires y to be passed"):
        estimator().fit(X, None)
    for bad in (np.full(len(y), nan), np.where(np.arange(len(y)) == 2, np.inf, y)):  # no label at all, or no number
        with pytest.raises(ValueError, match=r"(?i)has labels in 0|infinity"):
            estimator().fit(X, bad)


# --- sizes -----------------------------------------------------------------------------------------------------------


def no_effect_of_lam(expected):
    """The warning that the dependency term was never used, and no other, if it is expected."""
    return pytest.warns(UserWarning, match="had no effect") if expected else nullcontext()


@pytest.mark.parametrize(
    ("measure", "n"),
    [  # every number in the usual run, of every measure apart
        pytest.param(measure, n, marks=() if (i + j) % 3 == 0 else pytest.mark.slow)
        for i, measure in enumerate(["kl", "f", "wasserstein"])
        for j, n in enumerate([2, 3, 5, 11, 12, 16, 17, 18, 19, 20, 33, 34])
    ],
)
def test_every_number_of_samples__fits_and_predicts(estimator, X, y, n, measure):
    few = {name: value[:n] for name, value in X.items()}
    with no_effect_of_lam(n < 4):
        fitted = estimator(measure=measure, lam=1.0).fit(few, np.arange(n) % 2)
    assert np.isfinite(fitted.loss_curve_).all()
    assert np.isfinite(fitted.transform(X)).all()


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 59, 60, 61, 1000])
def test_every_batch_size__fits(estimator, X, y, batch_size):
    with no_effect_of_lam(batch_size < 4):
        fitted = estimator(batch_size=batch_size).fit(X, y)
    assert np.isfinite(fitted.loss_curve_).all()
    assert np.isfinite(outputs(fitted, X)).all()


def test_one_sample__cannot_be_fitted_but_predicted(estimator, X, y):
    one = {name: value[:1] for name, value in X.items()}
    with pytest.raises(ValueError, match=r"1 sample\(s\)"):
        estimator().fit(one, y[:1])
    fitted = estimator().fit(X, y)
    assert_allclose(outputs(fitted, one), outputs(fitted, X)[:1], rtol=1e-6, atol=1e-6)


def test_constant_columns__change_nothing_but_the_weights(regressor, X, y):
    constant = {**X, "text": np.c_[X["text"], np.full((len(y), 2), 1e6)]}
    fitted = regressor().fit(constant, y)
    assert np.isfinite(outputs(fitted, constant)).all()
    assert_array_equal(fitted.scalers_["text"].scale_[2:], 1.0)
    # A constant carries nothing: any other constant gives the same fit.
    other = {**X, "text": np.c_[X["text"], np.zeros((len(y), 2))]}
    assert_array_equal(regressor().fit(other, y).predict(other), fitted.predict(constant))


@pytest.mark.parametrize("value", [0.0, 5.0, -1e6])
def test_zero_variance_in_y__is_predicted_within_the_error_of_the_net(regressor, X, y, value):
    fitted = regressor(max_epochs=200, lr=0.01, lam=0, n_iter_no_change=200).fit(X, np.full(len(y), value))
    assert_allclose(fitted.predict(X), value, atol=0.1)


def test_one_class__is_an_error(classifier, X, y):
    with pytest.raises(ValueError, match="only one class: 1"):
        classifier().fit(X, np.ones(len(y), dtype=int))


def test_single_modality__warns_and_learns_without_the_term(estimator, X, y):
    with pytest.warns(SingleModalityWarning, match="'X'.*modalities="):
        fitted = estimator().fit(X["audio"], y)
    assert np.isnan(fitted.dependency_curve_).all()
    with pytest.raises(ValueError, match="single modality 'X'"):
        fitted.dependency_score(X["audio"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        without = estimator(lam=0).fit(X["audio"], y)
        estimator(lam=0).fit({"audio": X["audio"]}, y)
    assert_array_equal(without.predict(X["audio"]), fitted.predict(X["audio"]))
