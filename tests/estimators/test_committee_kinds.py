"""Committees of every kind of data and target: members equal networks of their own, and predict what they held out."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax
from sklearn.base import clone

from sklearn_mdm import ModalityDict
from sklearn_mdm.encoders import GRUEncoder, MLPEncoder
from sklearn_mdm.net._inference import evaluate

pytestmark = pytest.mark.usefixtures("quick_reports")

N, K = 60, 3


def ragged(sequences):
    steps = [row[~np.isnan(row).any(1)] for row in sequences["steps"]]
    return ModalityDict({"vector": sequences["vector"], "steps": [row if len(row) else None for row in steps]})


# What changes about the data, as a function of (X, sequences, y), and the parameters.
CASES = {
    "missing modalities": (
        lambda X, s, y: ({**X, "text": np.where(np.arange(N)[:, None] % 4 == 1, np.nan, X["text"])}, y, None),
        {"missing": "token", "modality_dropout": 0.3},
    ),
    "sequences": (lambda X, s, y: (s, y, None), {"modality_dropout": 0.3}),
    "ragged lists": (lambda X, s, y: (ragged(s), y, None), {}),
    "recurrent": (
        lambda X, s, y: (s, y, None),
        {"encoder": {"steps": GRUEncoder(4, 4), "vector": MLPEncoder((8,), 4, dropout=0.0)}},
    ),
    "weights": (lambda X, s, y: (X, y, np.linspace(0, 3, N)), {}),
    "float32": (lambda X, s, y: ({name: x.astype(np.float32) for name, x in X.items()}, y, None), {}),
    "a penalty": (lambda X, s, y: (X, y, None), {"fusion": "misa", "encoder": "auto"}),
}
OF_NUMBERS = {
    "several outputs": (lambda X, s, y: (X, np.c_[y, X["text"]], None), {}),
    "several outputs, weights": (lambda X, s, y: (s, np.c_[y, X["text"]], np.linspace(0, 3, N)), {"loss": "huber"}),
}
OF_CLASSES = {
    "strings": (lambda X, s, y: (X, np.array(["low", "medium", "high"])[y], None), {}),
    "two classes": (lambda X, s, y: (X, y > 0, None), {"class_weight": {True: 1.0, False: 5.0}}),
    "balanced classes": (lambda X, s, y: (X, np.minimum(y, 1), np.linspace(0, 3, N)), {"class_weight": "balanced"}),
    "tcmax": (lambda X, s, y: (X, y, None), {"measure": "tcmax"}),
}


def check(estimator, X, y, weight, parameters):
    parameters = {
        "n_estimators": K,
        "early_stopping": True,
        "lam": 0.3,
        "max_epochs": 2,
        "missing": "mean",
        **parameters,
    }
    fitted = estimator(**parameters).fit(X, y, sample_weight=weight)
    observed = fitted._read_later(X)
    outputs = np.stack([evaluate(net, observed, fitted._to_batch, "prediction") for net in fitted.net_.members_])
    used = np.ones(N, dtype=bool) if weight is None else weight > 0
    if hasattr(fitted, "classes_"):
        assert_allclose(fitted.predict_proba(X), softmax(outputs, axis=2).mean(0), rtol=1e-5)
        assert set(fitted.predict(X)) <= set(y) and set(fitted.classes_) == set(y)
        assert_allclose(fitted.oof_decision_function_[used].reshape(used.sum(), -1).sum(1), 1, rtol=1e-5)
    else:
        assert_allclose(fitted.predict(X), fitted._in_units_of_y(outputs.mean(0)).reshape(y.shape), rtol=1e-5)
        assert_array_equal(np.isfinite(fitted.oof_prediction_).reshape(N, -1).all(1), used)
    assert np.isfinite(fitted.oof_score_)
    name = "audio" if "audio" in X else "steps"
    lacking = {name: ModalityDict(X)[np.flatnonzero(observed.complete)][name]}
    again = clone(fitted).fit(X, y, sample_weight=weight)
    for other in (again, pickle.loads(pickle.dumps(fitted))):
        for samples in (X, lacking):
            assert_array_equal(other.transform(samples), fitted.transform(samples))


@pytest.mark.parametrize("case", CASES)
def test_committee__of_every_kind_of_data(estimator, X, sequences, y, case):
    change, parameters = CASES[case]
    check(estimator, *change(X, sequences, y), parameters)


@pytest.mark.parametrize("case", OF_NUMBERS)
def test_committee__of_every_kind_of_target(regressor, X, sequences, y, case):
    change, parameters = OF_NUMBERS[case]
    check(regressor, *change(X, sequences, y), parameters)


@pytest.mark.parametrize("case", OF_CLASSES)
def test_committee__of_every_kind_of_class(classifier, X, sequences, y, case):
    change, parameters = OF_CLASSES[case]
    check(classifier, *change(X, sequences, y), parameters)
