"""Calls whose errors and warnings must be clear, what is compared, and rows of X."""

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
from sklearn.exceptions import DataConversionWarning, NotFittedError, UndefinedMetricWarning

import sklearn_mdm
from sklearn_mdm import ModalityTransformer, exceptions

from ._data import NAMES

OURS = Path(sklearn_mdm.__file__).parent
VALIDATION = Path(sklearn.__file__).parent
# What scikit-learn raises and warns in their exact classes: LinAlgError is a ValueError, too.
ERRORS = {ValueError, TypeError, FloatingPointError, NotFittedError, exceptions.TooFewSamplesError}
WARNINGS = {UserWarning, DataConversionWarning, UndefinedMetricWarning}
ARGUMENTS = (
    r"X|y|sample_weight|weights?|groups?|X_unlabeled|X_val|y_val|modality|modalities|samples|n_samples|class(es)?"
    r"|folds?|labels?|scoring|background"
)


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


def tried(function, *args):
    """Go on after a clear error."""
    try:
        function(*args)
    except Refused:
        pass


def n_rows(X):
    return len(next(iter(X.values()))) if isinstance(X, dict) else len(X)


def labels_of(y, rows):
    """Some of the targets."""
    return [y[row] for row in rows] if isinstance(y, list) else y[rows]


def rows_of(X, rows):
    rows = [int(row) for row in rows]
    if isinstance(X, dict):
        return {name: rows_of(value, rows) for name, value in X.items()}
    if isinstance(X, list):
        return [X[row] for row in rows]
    return X.iloc[rows].reset_index(drop=True) if isinstance(X, (pd.DataFrame, pd.Series)) else X[rows]
