"""Agreement between subsets of the modalities, on samples without a label, as both estimators offer it."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils._param_validation import InvalidParameterError

from sklearn_mdm import MDMFusionClassifier, MDMFusionRegressor, ModalityDict
from sklearn_mdm.estimators import _lam_path
from sklearn_mdm.estimators._partly_labelled import PartlyLabelledLoss
from sklearn_mdm.exceptions import SingleModalityWarning, UnusedSamplesWarning
from sklearn_mdm.net._agreement import agreement_losses

N, N_POOL = 40, 50
QUICK = dict(max_epochs=2, n_estimators=2, linear_member=False, kernel_member=False, early_stopping=False, lam=0.1)


def make_data(seed=0):
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(N + N_POOL, 1))
    X = {name: shared + rng.normal(size=(N + N_POOL, d)) for name, d in (("a", 3), ("b", 2), ("c", 4))}
    return part(X, slice(N)), shared[:N, 0], part(X, slice(N, None))


def part(X, rows):
    return {name: x[rows] for name, x in X.items()}


def weights_of(estimator):
    return torch.cat([p.detach().flatten() for p in estimator.net_.module_.parameters()])


@pytest.mark.parametrize("value", [-1, "much", None])
def test_agreement__is_a_number_from_zero_on(value):
    X, y, pool = make_data()
    with pytest.raises(InvalidParameterError, match="agreement"):
        MDMFusionRegressor(agreement=value).fit(X, y, X_unlabeled=pool)


def test_agreement__is_searched_and_cloned():
    X, y, pool = make_data()
    search = GridSearchCV(MDMFusionClassifier(**QUICK), {"agreement": [0.0, 2.0]}, cv=2)
    search.fit(ModalityDict(X), (y > 0).astype(int), X_unlabeled=pool)
    assert clone(search.best_estimator_).agreement == search.best_params_["agreement"]
    assert MDMFusionRegressor().get_params()["agreement"] == "auto"


@pytest.mark.parametrize("cls", [MDMFusionClassifier, MDMFusionRegressor])
def test_agreement__does_nothing_without_such_samples_and_something_with_them(cls):
    X, y, pool = make_data()
    y = y if cls is MDMFusionRegressor else (y > 0).astype(int)
    fits = {
        (agreement, with_pool): weights_of(
            cls(agreement=agreement, random_state=0, **QUICK).fit(X, y, X_unlabeled=pool if with_pool else None)
        )
        for agreement in (0.0, 3.0)
        for with_pool in (False, True)
    }
    assert torch.equal(fits[0.0, False], fits[3.0, False])
    assert not torch.equal(fits[0.0, True], fits[3.0, True])


def test_random_state__reproduces_and_pickles_go_on():
    X, y, pool = make_data()
    first, second = (
        MDMFusionRegressor(random_state=3, warm_start=True, **QUICK).fit(X, y, X_unlabeled=pool) for _ in range(2)
    )
    assert torch.equal(weights_of(first), weights_of(second))
    loaded = pickle.loads(pickle.dumps(first))
    goes_on = [estimator.fit(X, y, X_unlabeled=pool) for estimator in (first, loaded)]
    assert torch.equal(*map(weights_of, goes_on))


def test_warm_start__takes_another_agreement():
    X, y, pool = make_data()
    went_on = {}
    for agreement in (0.0, 1.0, 4.0):
        estimator = MDMFusionRegressor(random_state=0, warm_start=True, **QUICK).fit(X, y, X_unlabeled=pool)
        estimator.set_params(agreement=agreement).fit(X, y, X_unlabeled=pool)
        assert {member.agreement for member in estimator.net_.members_} == {agreement}
        went_on[agreement] = weights_of(estimator)
    assert not torch.equal(went_on[1.0], went_on[4.0]) and not torch.equal(went_on[0.0], went_on[1.0])


@pytest.mark.parametrize("n_estimators", [1, 2])
def test_partial_fit__learns_from_such_samples(n_estimators):
    X, y, pool = make_data()
    kwargs = {**QUICK, "n_estimators": n_estimators, "random_state": 0}
    fits = [
        weights_of(MDMFusionRegressor(agreement=agreement, **kwargs).partial_fit(X, y, X_unlabeled=pool))
        for agreement in (0.0, 1.0, 1.0)
    ]
    assert torch.equal(fits[1], fits[2]) and not torch.equal(fits[0], fits[1])


def test_candidates_of_lam__are_the_fits_alone():
    X, y, pool = make_data()
    kwargs = {**QUICK, "early_stopping": True, "random_state": 0, "agreement": 1.0}
    path = MDMFusionRegressor(**{**kwargs, "lam": [0.0, 0.3]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_lam_path, "MIN_SAMPLES", 10)
        path.fit(X, y, X_unlabeled=pool)
    assert len(path.lam_path_) == 2
    alone = MDMFusionRegressor(**{**kwargs, "lam": path.lam_}).fit(X, y, X_unlabeled=pool)
    torch.testing.assert_close(weights_of(path), weights_of(alone), rtol=1e-9, atol=1e-9)


WARNINGS = {
    "neither": (dict(lam=0.0, agreement=0.0), "lam=0 and agreement=0"),
    "labels": (dict(measure="tcmax", agreement=0.0), "TCMax reads labels and agreement=0"),
    "agreement": (dict(lam=0.0), None),
    "term": (dict(agreement=0.0), None),
    "labels, agreement": (dict(measure="tcmax"), None),
}


@pytest.mark.parametrize("case", WARNINGS)
def test_idle_samples__are_told(case):
    X, y, pool = make_data()
    params, message = WARNINGS[case]
    estimator = MDMFusionClassifier(**{**QUICK, **params})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator.fit(X, (y > 0).astype(int), X_unlabeled=pool)
    idle = [str(w.message) for w in caught if issubclass(w.category, UnusedSamplesWarning)]
    assert len(idle) == (message is not None)
    assert message is None or message in idle[0]


def test_single_modality__has_nothing_to_agree():
    X, y, pool = make_data()
    estimator = MDMFusionRegressor(**{**QUICK, "lam": 0.0})
    with pytest.warns(UnusedSamplesWarning, match="single modality"):
        estimator.fit({"a": X["a"]}, y, X_unlabeled={"a": pool["a"]})
    with pytest.warns(UnusedSamplesWarning), pytest.warns(SingleModalityWarning):
        MDMFusionRegressor(**QUICK).fit({"a": X["a"]}, y, X_unlabeled={"a": pool["a"]})


def test_outputs_with_few_labels__agree_like_others():
    loss = PartlyLabelledLoss(torch.nn.MSELoss(reduction="none"), np.array([1.0, 10.0]))
    taught, teacher = torch.zeros(4, 2), torch.ones(4, 2)
    torch.testing.assert_close(agreement_losses(loss, taught, teacher, teacher), torch.ones(4))
    X, y, pool = make_data()
    Y = np.c_[y, -y]
    Y[:25, 1] = np.nan
    assert np.isfinite(MDMFusionRegressor(**QUICK).fit(X, Y, X_unlabeled=pool).predict(pool)).all()


def test_partial_fit__that_fails__leaves_how_frequent_classes_are(monkeypatch):
    X, y, pool = make_data()
    y = (y > 0).astype(int)
    model = MDMFusionClassifier(**{**QUICK, "early_stopping": "auto"}, random_state=0)
    model.partial_fit(X, y, classes=[0, 1], X_unlabeled=pool)
    before = [member.mean_probability_.clone() for member in model.net_.members_]

    def fail(*args, **kwargs):
        raise FloatingPointError("non-finite")

    monkeypatch.setattr(model, "_summarize", fail)
    with pytest.raises(FloatingPointError):
        model.partial_fit(X, y, X_unlabeled=pool)
    for member, mean in zip(model.net_.members_, before, strict=True):
        assert torch.equal(member.mean_probability_, mean)
