"""What must hold for a case: an error that says what is wrong, or finite numbers that nothing immaterial changes."""

import numpy as np
import pandas as pd
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from ._calls import (
    Refused,
    assert_close,
    called,
    copied,
    fingerprint,
    labels_of,
    n_rows,
    quietly,
    rows_of,
    tried,
)
from ._cases import EXACT
from ._data import arrays_of, groups_of, in_form, target_of, texts_of, weight_of
from ._inspected import check_samples, check_scores
from ._models import model_of

FITTED = ("net_", "history_", "critics_", "dependency_", "transformers_", "reporting_critic_", "oof_score_")


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


def check_fusion(case, model, X, y, weight, groups):
    parameters = {"sample_weight": weight, "groups": groups, **beside(case, x_of)}
    passed = fingerprint(parameters)
    fitted(model, model.fit, X, y, **parameters)
    assert fingerprint(parameters) == passed, "X_unlabeled, X_val or y_val were changed"
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
        plain, parameters = plain_arrays(case), parameters | beside(case, plain_arrays)
        other = called(model, clone(model).set_params(modalities=None).fit, plain, y, **parameters)
        if case.at_predict in ("same", "other order of keys"):
            assert_close(case, quietly(getattr(other, output), plain), first, "another form of X")
    elif case.again == "units" and case.scaling is not None and can_be_rescaled(case, X):
        parameters |= beside(case, lambda *args, **options: larger(x_of(*args, **options)))
        parameters["sample_weight"] = None if weight is None or case.weight == "huge" else np.ldexp(weight, 40)
        if weight is None or parameters["sample_weight"] is not None:
            other = called(model, clone(model).fit, larger(X), y, **parameters)
            expected, found = called(model, getattr(model, output), X), quietly(getattr(other, output), larger(X))
            assert_close(case, found, expected, "other units of X and weights", 1e-5)
    elif case.again == "warm_start":
        check_warm_start(case, model, X, y, parameters, output)
    elif case.again == "fit_dependency":
        check_fit_dependency(case, model, X, groups, output)
    elif case.again == "inspection":
        tried(check_scores, case, model, X, y)
        if not hasattr(model, "reporting_critic_"):
            called(model, model.fit_dependency, X, groups=groups)
        check_samples(case, model, new, n)
    elif case.again == "partial_fit":
        check_stream(case, model, X, y, weight, output)


def beside(case, make):
    """What is passed to fit beside X, made by a function of a case, rows and a seed."""
    found = {"X_unlabeled": make(case, rows=7, seed=5)} if case.unlabelled else {}
    if case.validation == "same":
        found |= {"X_val": make(case, rows=case.n, seed=0), "y_val": target_of(case)}
    elif case.validation != "none":
        n = {"one row": 1, "few": 3}.get(case.validation, 12)
        gaps = "rows" if case.validation == "gaps" else None
        found |= {"X_val": make(case, rows=n, seed=6, gaps=gaps), "y_val": target_of(case, n, seed=6)}
        if case.validation == "X only":
            del found["y_val"]
    return found


def larger(X):
    """X in another unit."""
    return {name: np.ldexp(x, 300) for name, x in X.items()}


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


def check_score(model, X, y):
    score = called(model, model.score, X, y)
    # Beyond the range of numbers where predictions have nothing to do with y.
    assert isinstance(score, float) and (np.isfinite(score) or score == -np.inf), score


def check_dependency_of_fusion(case, model, X):
    pointwise = called(model, model.pointwise_dependency, X)
    assert pointwise.shape == (n_rows(X),) and not np.isinf(pointwise).any()
    value, std = called(model, model.dependency_score, X, return_std=True)
    assert np.isfinite(value) and (std >= 0 or np.isnan(std)), (value, std)


def check_rows(case, model, output, X, expected, least=0.0):
    """The order of the rows, and which others there are, change nothing."""
    n = n_rows(X)
    order = np.random.default_rng(3).permutation(n)
    method = getattr(model, output)
    assert_close(case, called(model, method, rows_of(X, order)), expected[order], "another order of rows", least)
    for i in order[:3]:
        assert_close(case, called(model, method, rows_of(X, [i])), expected[[i]], f"row {i} alone", least)


def check_warm_start(case, model, X, y, parameters, output):
    """A second fit goes on where the first ended, and one that is refused changes nothing."""
    warm = clone(model).set_params(warm_start=True)
    fitted(warm, warm.fit, X, y, **parameters)
    before, other = quietly(getattr(warm, output), X), copied(warm)
    if case.seed % 2:  # rows of which some may be of other classes
        rows = np.arange(0, case.n, 2)
        X_again, y, parameters = rows_of(X, rows), labels_of(y, rows), {}
    else:
        X_again = X
    try:
        called(warm, warm.fit, X_again, y, **parameters)
    except Refused:
        assert_array_equal(quietly(getattr(warm, output), X), before, err_msg="after a second fit that was refused")
        return
    found = called(warm, getattr(warm, output), X)
    assert np.isfinite(found).all()
    if not case.seed % 2:
        called(other, other.fit, X, y, **parameters)
        assert_array_equal(quietly(getattr(other, output), X), found, err_msg="a second fit of a copy by pickle")


def check_fit_dependency(case, model, X, groups, output):
    """Another critic, which is the same if it is trained once more."""
    first, other = copied(model), copied(model)
    called(first, first.fit_dependency, X, groups=groups)
    values = called(first, first.pointwise_dependency, X)
    if case.seed % 2:
        called(other, other.fit_dependency, X, groups=groups)
        assert_array_equal(quietly(other.pointwise_dependency, X), values, err_msg="the same critic once more")
    check_dependency_of_fusion(case, first, X)
    assert np.isfinite(called(first, getattr(first, output), at_predict(case, X))).all()
    check_rows(case, first, "pointwise_dependency", X, values, 1e-5)


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
    tried(check_parts, case, model, X)
    if case.again == "refit":
        other = called(model, clone(model).fit, X, groups=groups)
        assert_array_equal([other.dependency_, other.dependency_std_], [model.dependency_, model.dependency_std_])
        assert_array_equal(other.pointwise_, model.pointwise_)
    elif case.again == "form" and case.form != "one array":
        other = called(model, clone(model).set_params(modalities=None).fit, plain_arrays(case), groups=groups)
        assert_close(case, [other.dependency_], np.array([model.dependency_]), "another form of X")
    elif case.again == "units" and can_be_rescaled(case, X):
        other = called(model, clone(model).fit, larger(X), groups=groups)
        assert_close(case, [other.dependency_], np.array([model.dependency_]), "other units of X", 1e-5)
    elif case.again == "inspection":
        check_samples(case, model, at_predict(case, X), n_rows(at_predict(case, X)))
    else:
        tried(check_permutation, model, X)


def check_values(case, model, X):
    values = called(model, model.score_samples, X)
    assert values.shape == (n_rows(X),) and not np.isinf(values).any()
    assert_array_equal(quietly(copied(model).score_samples, X), values, err_msg="a copy by pickle")
    check_rows(case, model, "score_samples", X, values)
    assert np.isfinite(called(model, model.score, X))


def check_parts(case, model, X):
    """The parts of a decomposition add up to the total."""
    parts = called(model, model.decompose, X)
    assert np.isfinite(parts["value"]).all() and not (parts["std"] < 0).any(), parts
    assert_close(case, [parts["value"].sum()], np.array([called(model, model.score, X)]), "sum of parts", 1e-6)


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
