"""Every system with every task, form of X, dependency term and one or three members: fits, predicts, repeats itself,
clones and pickles.

A selection in which any two choices meet at least once runs always, the full product under ``slow``.
"""

import pickle
from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone

from sklearn_mdm import MDMFusionClassifier, MDMFusionRegressor, ModalityDict
from sklearn_mdm.encoders import MLPEncoder
from sklearn_mdm.measures import MEASURES

from .test_fusion import ONE_LENGTH, SMALL, SYSTEMS

N, N_STEPS = 48, 4
MEASURE_NAMES = sorted({cls: name for name, cls in reversed(MEASURES.items())}.values())
FACTORS = {
    "system": sorted(SYSTEMS),
    "task": ["one target", "two targets", "classes"],
    "form": ["vectors", "missing rows", "frame", "columns", "sequences", "ragged", "own lengths", "mixed", "one array"],
    "term": ["lam=0", *MEASURE_NAMES],
    "members": ["one member", "three members"],
}


def possible(case):
    if case.get("system") in ONE_LENGTH and case.get("form") in ("own lengths", "mixed"):
        return False  # an error, see test_fusion.py
    if case.get("system") == "MAGFusion" and case.get("form") == "one array":
        return False  # there is no text
    return not (case.get("term") == "tcmax" and case.get("task") in ("one target", "two targets"))


def in_pairs():
    """Cases in which any two values of two factors meet, where they can; greedily, so nearly as few as can be."""
    names = list(FACTORS)
    cases = [
        case
        for case in (dict(zip(names, values, strict=True)) for values in product(*FACTORS.values()))
        if possible(case)
    ]
    pairs_of = [{(a, case[a], b, case[b]) for a, b in combinations(names, 2)} for case in cases]
    missing, chosen = set().union(*pairs_of), []
    while missing:
        best = max(range(len(cases)), key=lambda i: len(pairs_of[i] & missing))
        missing -= pairs_of[best]
        chosen.append(cases[best])
    return cases, chosen


CASES, PAIRWISE = in_pairs()


def data(form, rng):
    """X in this form, ``modalities=``, and a latent factor of its samples."""
    latent = rng.normal(size=(N, 1))
    X = {"audio": latent + rng.normal(size=(N, 3)), "text": latent + rng.normal(size=(N, 2))}
    steps = {name: x[:, None] + 0.1 * rng.normal(size=(N, N_STEPS, x.shape[1])) for name, x in X.items()}
    lengths = rng.integers(1, N_STEPS + 1, size=N)
    modalities = None
    if form == "missing rows":
        X["audio"][::5] = np.nan
        X["text"][1::5] = np.nan
        X = ModalityDict(X)
    elif form == "frame":
        X = pd.concat({name: pd.DataFrame(x, columns=list("abc")[: x.shape[1]]) for name, x in X.items()}, axis=1)
    elif form == "columns":
        X, modalities = np.hstack(list(X.values())), {"audio": slice(0, 3), "text": [3, 4]}
    elif form == "sequences":
        for x in steps.values():
            x[np.arange(N_STEPS) >= lengths[:, None]] = np.nan
        steps["audio"][::7] = np.nan
        X = steps
    elif form == "ragged":
        X = {name: [row[:n] for row, n in zip(x, lengths, strict=True)] for name, x in steps.items()}
    elif form == "own lengths":
        X = {"audio": steps["audio"][:, : N_STEPS - 1], "text": steps["text"]}
    elif form == "mixed":
        X = {"audio": steps["audio"], "text": X["text"]}
    elif form == "one array":
        X = X["audio"]
    return X, modalities, latent


def fit_twice(case):
    rng = np.random.default_rng(0)
    X, modalities, latent = data(case["form"], rng)
    y = {
        "one target": latent[:, 0],
        "two targets": np.hstack([latent, -latent]) + 0.1 * rng.normal(size=(N, 2)),
        "classes": np.digitize(latent[:, 0], [-0.5, 0.5]).astype(str),
    }[case["task"]]
    system = case["system"]
    model = (MDMFusionClassifier if case["task"] == "classes" else MDMFusionRegressor)(
        fusion=SYSTEMS[system](**SMALL[system]),
        encoder="auto" if system in ONE_LENGTH else MLPEncoder((8,), 4, dropout=0.0),
        n_estimators=1 if case["members"] == "one member" else 3,
        early_stopping=case["members"] != "one member",
        modalities=modalities,
        critic_hidden_dims=(8,),
        batch_size=16,
        max_epochs=1,
        device="cpu",
        random_state=0,
    )
    model.set_params(**({"lam": 0.0} if case["term"] == "lam=0" else {"lam": 0.1, "measure": case["term"]}))
    return X, y, model.fit(X, y), clone(model).fit(X, y)


@pytest.mark.usefixtures("quick_reports")
@pytest.mark.filterwarnings("ignore::sklearn_mdm.SingleModalityWarning")
@pytest.mark.filterwarnings("ignore:.* samples are left out of the dependency score")
@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.DependencyWarning")
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case, id="-".join(case.values()).replace(" ", "_"), marks=[] if case in PAIRWISE else pytest.mark.slow
        )
        for case in CASES
    ],
)
def test_estimator__of_every_kind__fits_predicts_repeats_and_pickles(case):
    X, y, model, again = fit_twice(case)
    assert np.isfinite(model.loss_curve_).all()
    assert np.isfinite(model.dependency_curve_).all() == (case["term"] != "lam=0" and case["form"] != "one array")
    predictions = model.predict(X)
    assert predictions.shape == y.shape
    if case["task"] == "classes":
        np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1, rtol=1e-6)
    else:
        assert np.isfinite(predictions).all()
        assert (predictions.std(axis=0) > 0).all()
    assert np.isfinite(model.score(X, y))
    if case["members"] == "three members":
        assert np.isfinite(model.oof_score_)
    assert_array_equal(again.predict(X), predictions)
    loaded = pickle.loads(pickle.dumps(model))
    assert_array_equal(loaded.predict(X), predictions)
    assert_array_equal(loaded.transform(X), model.transform(X))
    if hasattr(model, "reporting_critic_"):
        assert loaded.dependency_score(X) == model.dependency_score(X) == again.dependency_score(X)
    else:
        assert case["term"] == "lam=0" or case["form"] == "one array"
