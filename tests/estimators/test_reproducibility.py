"""One random_state, one result: in a process, across processes, and with the dependency term switched on or off."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

import sklearn_mdm
from sklearn_mdm import MDMNet
from sklearn_mdm.encoders import MLPEncoder
from sklearn_mdm.fusion import ConcatFusion
from sklearn_mdm.measures import Measure
from sklearn_mdm.net._committee import CommitteeNet

# Of samples that were fitted, here and there: the numbers must repeat, not tell of new ones.
pytestmark = [
    pytest.mark.usefixtures("quick_reports"),
    pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.SeenSamplesWarning"),
]

DROPOUT = {"encoder": MLPEncoder((8,), 4, dropout=0.3), "fusion": ConcatFusion((8,), dropout=0.3)}
EVERYTHING = {**DROPOUT, "modality_dropout": 0.3, "lam": 1.0, "unroll": 2, "missing": "token", "n_negatives": 2}


SETTINGS = [{}, EVERYTHING, {"measure": "wasserstein"}, {"early_stopping": True}]


class NoGradient(Measure):
    """A measure that moves nothing, though critic and term are computed."""

    member_axis = True

    def objective(self, t_joint, t_product):
        return 0 * (t_joint.sum(-1) + t_product.sum(-1))


def outputs(fitted, X):
    return np.column_stack([fitted.predict(X), fitted.transform(X), fitted.pointwise_dependency(X)])


@pytest.mark.parametrize(
    ("parameters", "members"),
    [
        *[(parameters, 1) for parameters in SETTINGS],
        ({**EVERYTHING, "early_stopping": True}, 3),
        *[pytest.param(parameters, 3, marks=pytest.mark.slow) for parameters in SETTINGS],
    ],
)
def test_the_same_seed__gives_the_same_bits(estimator, X, y, parameters, members, same_parameters):
    X["text"][::9] = np.nan
    one, two = (estimator(**parameters, n_estimators=members).fit(X, y) for _ in range(2))
    assert same_parameters(one, two)
    assert_array_equal(outputs(one, X), outputs(two, X))
    assert one.loss_curve_ == two.loss_curve_
    assert one.fit_dependency(X).dependency_score({**X, "text": np.nan_to_num(X["text"])}) == two.fit_dependency(
        X
    ).dependency_score({**X, "text": np.nan_to_num(X["text"])})


def test_a_refit__is_a_fresh_fit(estimator, X, y, members, same_parameters):
    parameters = {**EVERYTHING, "n_estimators": members, "early_stopping": True}
    model = estimator(**parameters).fit({"other": X["text"], "names": X["audio"]}, y[::-1])
    assert same_parameters(model.fit(X, y), estimator(**parameters).fit(X, y))


def test_other_seeds__give_other_fits(estimator, X, y, same_parameters):
    assert not same_parameters(estimator().fit(X, y), estimator(random_state=1).fit(X, y))
    assert not same_parameters(estimator(random_state=None).fit(X, y), estimator(random_state=None).fit(X, y))


def test_a_random_state_instance__is_drawn_from_once_a_fit(estimator, X, y, members, same_parameters):
    state = np.random.RandomState(5)
    model = estimator(random_state=state, n_estimators=members)
    one, again = pickle.loads(pickle.dumps(model.fit(X, y))), model.fit(X, y)
    assert not same_parameters(one, again)
    other = estimator(random_state=np.random.RandomState(5), n_estimators=members)
    assert same_parameters(one, other.fit(X, y))


SCRIPT = """
import hashlib
import numpy as np
from sklearn_mdm import MDMFusionClassifier, MDMFusionRegressor
rng = np.random.default_rng(0)
X = {name: rng.normal(size=(60, 3)) for name in ("audio", "text", "video")}
X["video"][::5] = np.nan
y = rng.integers(0, 3, size=60)
digest = hashlib.sha256()
for cls, members in ((MDMFusionRegressor, 1), (MDMFusionClassifier, 1), (MDMFusionRegressor, 3)):
    fitted = cls(
        n_estimators=members,
        early_stopping=members > 1,
        random_state=0,
        max_epochs=2,
        modality_dropout=0.2,
        device="cpu",
    ).fit(X, y)
    for value in fitted.net_.module_.state_dict().values():
        digest.update(value.numpy().tobytes())
    digest.update(np.ascontiguousarray(fitted.transform(X)).tobytes())
    digest.update(fitted.pointwise_dependency(X).tobytes())
print(digest.hexdigest())
"""


def test_the_same_seed_in_another_process__gives_the_same_bits(capsys):
    exec(SCRIPT, {})
    here = capsys.readouterr().out
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(sklearn_mdm.__file__).parents[1]),
        "PYTHONHASHSEED": "1",
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
    }
    command = [sys.executable, "-c", SCRIPT]
    there = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert here == there and len(here.strip()) == 64


@pytest.mark.parametrize(
    ("measure", "random_state", "members"),
    [("kl", 0, 1), ("kl", "instance", 1), ("wasserstein", 0, 1), ("wasserstein", "instance", 1), ("kl", "instance", 3)],
)
def test_global_generators_and_settings__are_left_alone(estimator, X, y, random_state, measure, members, global_state):
    state = np.random.RandomState(0) if random_state == "instance" else random_state
    parameters = {**EVERYTHING, "measure": measure, "early_stopping": True, "n_estimators": members}
    model = estimator(**{**parameters, "random_state": state})
    before = global_state()
    model.fit(X, y)
    assert global_state() == before
    model.predict(X), model.transform(X), model.score(X, y), model.pointwise_dependency(X)
    model.dependency_score(X), model.dependency_score(X, measure="training")
    assert global_state() == before
    model.fit_dependency(X)
    assert global_state() == before
    pickle.loads(pickle.dumps(model)).predict(X)
    assert global_state() == before
    model.partial_fit(X, y)
    assert global_state() == before


def test_a_failed_fit__leaves_the_global_generators_alone(estimator, X, y, members, global_state):
    before = global_state()
    with pytest.raises(FloatingPointError):
        estimator(**{**EVERYTHING, "lr": 1e30, "max_epochs": 9, "n_estimators": members}).fit(X, y)
    assert global_state() == before


def test_global_seeds__do_not_matter(estimator, X, y, members, same_parameters):
    parameters = {**EVERYTHING, "n_estimators": members, "early_stopping": True}
    one = estimator(**parameters).fit(X, y)
    state = torch.get_rng_state()
    try:
        torch.manual_seed(12345)
        two = estimator(**parameters).fit(X, y)
    finally:
        torch.set_rng_state(state)
    assert same_parameters(one, two)


@pytest.mark.parametrize(("unroll", "members"), [(1, 1), (3, 1), (3, 3)])
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        DROPOUT,
        {"modality_dropout": 0.4},
        {**DROPOUT, "modality_dropout": 0.4, "missing": "token"},
        {**DROPOUT, "early_stopping": True},
    ],
    ids=["plain", "dropout", "modality dropout", "both", "stopping"],
)
def test_a_term_without_gradient__leaves_the_fit_of_lam_0_bit_for_bit(
    estimator, X, y, unroll, parameters, members, same_parameters
):
    X["text"][::9] = np.nan
    parameters = {**parameters, "n_estimators": members, "missing": "mean"}
    without = estimator(lam=0, **parameters).fit(X, y)
    with_term = estimator(lam=1.0, measure=NoGradient(), unroll=unroll, **parameters).fit(X, y)
    assert "train_dependency" in with_term.history_[-1]
    assert same_parameters(without, with_term, of="module")
    assert without.loss_curve_ == with_term.loss_curve_
    assert_array_equal(without.predict(X), with_term.predict(X))


@pytest.mark.parametrize("members", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_order_of_model_batches__is_the_same_for_every_lam_unroll_and_measure(estimator, X, y, members, monkeypatch):
    order = []
    net = MDMNet if members == 1 else CommitteeNet
    train_step = net.train_step

    def spy(self, batch):
        rows = batch[0]
        order.append(rows.X["m0"][:, 0].tolist() if members == 1 else [part.tolist() for part in rows.rows])
        return train_step(self, batch)

    monkeypatch.setattr(net, "train_step", spy)

    def batches(**parameters):
        order.clear()
        estimator(**parameters, n_estimators=members, early_stopping=False).fit(X, y)
        return list(order)

    expected = batches(lam=0)
    assert len(expected) == 12 and expected[:4] != expected[4:8]  # shuffled anew in every epoch
    for lam in (0.1, 5.0):
        for unroll in (1, 3):
            for measure in ("kl", "f", "wasserstein"):
                assert batches(lam=lam, unroll=unroll, measure=measure) == expected
    assert batches(modality_dropout=0.5, n_negatives=3, critic_hidden_dims=(4, 4)) == expected
    assert batches(random_state=1) != expected
