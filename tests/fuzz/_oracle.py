"""What must hold for a case: an error that says what is wrong, or finite numbers that nothing immaterial changes."""

import pickle
import re
import traceback
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import sklearn
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning, NotFittedError, UndefinedMetricWarning
from sklearn.utils.validation import check_is_fitted

import sklearn_mdm
from sklearn_mdm import ModalityTransformer, exceptions

from ._cases import EXACT
from ._data import NAMES, arrays_of, groups_of, in_form, target_of, texts_of, weight_of
from ._models import model_of

OURS = Path(sklearn_mdm.__file__).parent
VALIDATION = Path(sklearn.__file__).parent
# What scikit-learn raises and warns in their exact classes: LinAlgError is a ValueError, too.
ERRORS = {ValueError, TypeError, FloatingPointError, NotFittedError, exceptions.TooFewSamplesError}
WARNINGS = {UserWarning, DataConversionWarning, UndefinedMetricWarning}
ARGUMENTS = (
    r"X|y|sample_weight|weights?|groups?|X_unlabeled|modality|modalities|samples|n_samples|class(es)?|folds?|labels?"
)
FITTED = ("net_", "history_", "critics_", "dependency_", "transformers_", "reporting_critic_", "oof_score_")


def quietly(function, *args):
    """What a call returns whose warnings were judged before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args)


class Refused(Exception):  # noqa: N818
    """A clear error, after which nothing further can be asked."""


def called(model, function, *args, **kwargs):
    """What a call returns; an error of it must be a clear one, and so must its warnings."""
    names = ARGUMENTS + "|" + "|".join(model.get_params(deep=False))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found, error = function(*args, **kwargs), None
        except Exception as raised:
            found, error = None, raised
    for warning in caught:
        of_library = Path(warning.filename).is_relative_to(VALIDATION) or "numpy" in warning.filename
        if isinstance(model, ModalityTransformer) and of_library:
            continue  # of the transformer that it was given
        known = warning.category in WARNINGS or warning.category.__module__ == exceptions.__name__
        assert known, f"{warning.category.__name__}: {warning.message} ({warning.filename}:{warning.lineno})"
        assert re.search(rf"\b({names}|critic|dependency)\b", str(warning.message)), (
            f"a warning of what? {warning.message}"
        )
    if error is None:
        return found
    check_error(error, names)
    raise Refused(str(error)) from error


def check_error(error, names):
    raised = f"{type(error).__name__}: {error}"
    last = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    known = type(error) in ERRORS or type(error).__name__ == "InvalidParameterError"
    if not known or not (last.is_relative_to(OURS) or last.is_relative_to(VALIDATION)):
        raise AssertionError(f"raw error, {raised}") from error
    if not re.search(rf"\b({names}|{'|'.join(NAMES)})\b", str(error)):
        raise AssertionError(f"an error of what? {raised}") from error


def copied(model):
    return pickle.loads(pickle.dumps(model))


def fingerprint(*values):
    """Bytes that change if the values do."""
    return [pickle.dumps(torch.as_tensor(v).numpy() if isinstance(v, torch.Tensor) else v) for v in values]


def check(case, global_state):
    """Fit, apply, and compare."""
    X, modalities = in_form(case, arrays_of(case))
    if case.estimator == "mag":
        X = {**arrays_of(case), "text": texts_of(case)}
        modalities = None
    y, weight, groups = target_of(case), weight_of(case), groups_of(case)
    model = model_of(case, modalities)
    before = fingerprint(X, y, weight, groups), global_state()
    try:
        {"dependency": check_dependency, "transformer": check_transformer}.get(case.estimator, check_fusion)(
            case, model, X, y, weight, groups
        )
    except Refused:
        pass
    assert fingerprint(X, y, weight, groups) == before[0], "X, y, weights or groups were changed"
    after = global_state()
    assert [name for name, value in before[1].items() if after[name] != value] == [], "global state was changed"


def fitted(model, function, *args, **kwargs):
    """Fit, or see that a fit that was refused left nothing behind."""
    try:
        called(model, function, *args, **kwargs)
    except Refused as refused:
        left = [name for name in FITTED if name in vars(model)]
        assert not left, f"a fit that failed left {left}: {refused}"
        try:
            check_is_fitted(model)
        except NotFittedError:
            raise refused from None
        raise AssertionError(f"a fit that failed counts as fitted: {refused}") from refused


def tolerance(case, values, least=0.0):
    """Of rounding, in the values' own scale."""
    single = case.estimator == "mag" or np.asarray(values).dtype == np.float32
    finite = np.abs(values[np.isfinite(values)]) if values.dtype.kind == "f" else np.zeros(0)
    digits = max(1e-4 if single else 1e-7, least)
    return {"rtol": digits, "atol": digits * float(finite.max(initial=0))}


def assert_close(case, found, expected, what, least=0.0):
    """Equal but for rounding; labels and texts equal."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape, what
    if expected.dtype.kind == "f":
        assert_allclose(found, expected, err_msg=what, **tolerance(case, expected, least))
    else:
        assert_array_equal(found, expected, err_msg=what)


def check_fusion(case, model, X, y, weight, groups):
    unlabelled = x_of(case, rows=7, seed=5) if case.unlabelled else None
    parameters = {"sample_weight": weight, "groups": groups, "X_unlabeled": unlabelled}
    fitted(model, model.fit, X, y, **parameters)
    output = "predict_proba" if case.estimator == "classifier" else "predict"
    new = at_predict(case, X)
    n = n_rows(new)
    first = called(model, getattr(model, output), new)
    assert first.dtype in (np.float32, np.float64), first.dtype
    assert np.isfinite(first).all()
    if case.estimator == "classifier":
        assert first.shape == (n, len(model.classes_))
        assert_allclose(first.sum(axis=1), 1, rtol=1e-5)
        labels = called(model, model.predict, new)
        assert labels.shape == (n,) and np.isin(labels, model.classes_).all()
    else:
        assert first.shape == (n, *np.shape(y)[1:])
    fused = called(model, model.transform, new)
    assert len(fused) == n and np.isfinite(fused).all()
    assert_array_equal(quietly(getattr(copied(model), output), new), first, err_msg="a copy by pickle")
    check_rows(case, model, output, new, first)
    tried(check_dependency_of_fusion, case, model, new)
    tried(check_score, model, X, y)
    tried(check_absent, case, model, output, X)
    if case.again == "refit":
        other = called(model, clone(model).fit, X, y, **parameters)
        assert_array_equal(quietly(getattr(other, output), new), first, err_msg="refit")
    elif case.again == "form" and case.form != "one array" and case.estimator != "mag":
        more = None if unlabelled is None else plain_arrays(case, rows=7, seed=5)
        plain, parameters["X_unlabeled"] = plain_arrays(case), more
        other = called(model, clone(model).set_params(modalities=None).fit, plain, y, **parameters)
        if case.at_predict in ("same", "other order of keys"):
            assert_close(case, quietly(getattr(other, output), plain), first, "another form of X")
    elif case.again == "units" and case.scaling is not None and can_be_rescaled(case, X):
        larger = {name: np.ldexp(x, 300) for name, x in X.items()}
        parameters["X_unlabeled"] = None if unlabelled is None else {k: np.ldexp(x, 300) for k, x in unlabelled.items()}
        parameters["sample_weight"] = None if weight is None or case.weight == "huge" else np.ldexp(weight, 40)
        if weight is None or parameters["sample_weight"] is not None:
            other = called(model, clone(model).fit, larger, y, **parameters)
            expected = called(model, getattr(model, output), X)
            assert_close(case, quietly(getattr(other, output), larger), expected, "other units of X and weights", 1e-5)
    elif case.again == "partial_fit":
        check_stream(case, model, X, y, weight, output)


def plain_arrays(case, **options):
    """X as floats in a dict: what every other form stands for."""
    as_float = case.dtype in ("i4", "u1", "bool", "object")
    return {name: x.astype(float) if as_float else x for name, x in arrays_of(case, **options).items()}


def can_be_rescaled(case, X):
    """Whether a power of two changes no digit of X."""
    return (
        isinstance(X, dict)
        and case.dtype == "f8"
        and case.form == "dict"
        and case.scale in EXACT
        and case.n >= 12  # columns that are constant where they are learned from have no unit
        and case.estimator != "mag"
    )


def check_absent(case, model, output, X):
    """A modality that is not passed is one of NaN."""
    if case.form != "dict" or case.dtype not in ("f4", "f8") or len(X) < 2 or case.estimator == "mag":
        return
    last = list(X)[-1]
    without = {name: x for name, x in X.items() if name != last}
    expected = called(model, getattr(model, output), {**X, last: np.full_like(X[last], np.nan)})
    assert_close(case, called(model, getattr(model, output), without), expected, "an absent modality")


def tried(function, *args):
    """Go on after a clear error."""
    try:
        function(*args)
    except Refused:
        pass


def check_score(model, X, y):
    score = called(model, model.score, X, y)
    # Beyond the range of numbers where predictions have nothing to do with y.
    assert isinstance(score, float) and (np.isfinite(score) or score == -np.inf), score


def check_dependency_of_fusion(case, model, X):
    pointwise = called(model, model.pointwise_dependency, X)
    assert pointwise.shape == (n_rows(X),) and not np.isinf(pointwise).any()
    value, std = called(model, model.dependency_score, X, return_std=True)
    assert np.isfinite(value) and (std >= 0 or np.isnan(std)), (value, std)


def check_rows(case, model, output, X, expected):
    """The order of the rows, and which others there are, change nothing."""
    n = n_rows(X)
    order = np.random.default_rng(3).permutation(n)
    method = getattr(model, output)
    assert_close(case, called(model, method, rows_of(X, order)), expected[order], "another order of rows")
    for i in order[:3]:
        assert_close(case, called(model, method, rows_of(X, [i])), expected[[i]], f"row {i} alone")


def check_stream(case, model, X, y, weight, output):
    """One call after another."""
    stream = clone(model)
    if not hasattr(stream, "partial_fit"):
        return
    more = (
        {"classes": np.unique([label for label in np.ravel(y) if not pd.isna(label)])}
        if output == "predict_proba"
        else {}
    )
    fitted(stream, stream.partial_fit, X, y, sample_weight=weight, **more)
    called(stream, stream.partial_fit, X, y, sample_weight=weight)
    assert np.isfinite(called(stream, getattr(stream, output), X)).all()


def check_dependency(case, model, X, y, weight, groups):
    fitted(model, model.fit, X, groups=groups)
    assert np.isfinite(model.dependency_), model.dependency_
    assert np.isfinite(model.dependency_std_) or model.warnings_, (model.dependency_std_, model.warnings_)
    assert model.pointwise_.shape == (case.n,) and not np.isinf(model.pointwise_).any()
    tried(check_values, case, model, at_predict(case, X))
    if case.again == "refit":
        other = called(model, clone(model).fit, X, groups=groups)
        assert_array_equal([other.dependency_, other.dependency_std_], [model.dependency_, model.dependency_std_])
        assert_array_equal(other.pointwise_, model.pointwise_)
    elif case.again == "form" and case.form != "one array":
        other = called(model, clone(model).set_params(modalities=None).fit, plain_arrays(case), groups=groups)
        assert_close(case, [other.dependency_], np.array([model.dependency_]), "another form of X")
    elif case.again == "units" and can_be_rescaled(case, X):
        other = called(model, clone(model).fit, {name: np.ldexp(x, 300) for name, x in X.items()}, groups=groups)
        assert_close(case, [other.dependency_], np.array([model.dependency_]), "other units of X", 1e-5)
    else:
        tried(check_permutation, model, X)


def check_values(case, model, X):
    values = called(model, model.score_samples, X)
    assert values.shape == (n_rows(X),) and not np.isinf(values).any()
    assert_array_equal(quietly(copied(model).score_samples, X), values, err_msg="a copy by pickle")
    check_rows(case, model, "score_samples", X, values)
    assert np.isfinite(called(model, model.score, X))


def check_permutation(model, X):
    test = called(model, model.permutation_test, X, n_permutations=9)
    assert np.isfinite(test.statistic) and 0 < test.pvalue <= 1, test


def check_transformer(case, model, X, y, weight, groups):
    fitted(model, model.fit, X, y)
    found = parts_of(called(model, model.transform, X))
    for name, value in found.items():
        assert len(value) == case.n, name
        assert not (value.dtype.kind == "f" and np.isinf(value).any()), name
    for name, value in parts_of(quietly(copied(model).transform, X)).items():
        assert_array_equal(value, found[name])
    order = np.random.default_rng(3).permutation(case.n)
    for name, value in parts_of(called(model, model.transform, rows_of(X, order))).items():
        assert_close(case, value, found[name][order], f"another order of rows, {name}")
    called(model, model.transform, at_predict(case, X))


def parts_of(value):
    if isinstance(value, dict):
        return {name: np.asarray(part) for name, part in value.items()}
    return {"X": np.asarray(value)}


# --- X, and rows of it ------------------------------------------------------------------------------------------------


def x_of(case, *, rows, seed, gaps=None, scale=None):
    arrays = arrays_of(case, rows=rows, seed=seed, gaps=gaps, scale=scale)
    if case.estimator == "mag":
        return {**arrays, "text": texts_of(case, rows)}
    return in_form(case, arrays)[0]


def at_predict(case, X):
    kind = case.at_predict
    if kind == "one row":
        return x_of(case, rows=1, seed=1)
    if kind == "new":
        return x_of(case, rows=9, seed=1)
    if kind == "gaps":
        return x_of(case, rows=9, seed=1, gaps="rows")
    if kind == "far":
        return x_of(case, rows=9, seed=1, scale="1e200")
    if isinstance(X, dict) and kind == "other order of keys":
        return {name: X[name] for name in reversed(list(X))}
    if isinstance(X, dict) and kind == "absent modality" and len(list(X)) > 1:
        return {name: X[name] for name in list(X)[1:]}
    return X


def n_rows(X):
    return len(next(iter(X.values()))) if isinstance(X, dict) else len(X)


def rows_of(X, rows):
    rows = [int(row) for row in rows]
    if isinstance(X, dict):
        return {name: rows_of(value, rows) for name, value in X.items()}
    if isinstance(X, list):
        return [X[row] for row in rows]
    return X.iloc[rows].reset_index(drop=True) if isinstance(X, (pd.DataFrame, pd.Series)) else X[rows]
