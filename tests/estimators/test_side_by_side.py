"""Fits in threads, pools and under odd settings of torch: the bits of a serial run, and nothing changed for others."""

import multiprocessing

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed
from numpy.testing import assert_array_equal

from sklearn_mdm import DependencyEstimator, MDMFusionRegressor
from sklearn_mdm.encoders import GRUEncoder, LSTMEncoder, MLPEncoder, TransformerEncoder
from sklearn_mdm.fusion import ConcatFusion

pytestmark = pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.DependencyWarning")


@pytest.fixture(params=["float64", pytest.param("no_grad", marks=pytest.mark.slow), "inference_mode"])
def odd_settings(request):
    """Settings of torch that a caller may have made."""
    if request.param == "float64":
        torch.set_default_dtype(torch.float64)
        yield
        torch.set_default_dtype(torch.float32)
    else:
        with getattr(torch, request.param)():
            yield


SEQUENCES = {
    "text": LSTMEncoder(6, 4, n_layers=2, dropout=0.3),
    "audio": TransformerEncoder(6, 2, dropout=0.3),
    "video": GRUEncoder(6, 4),
}


def everything(X, y):
    """What fits and readouts of several kinds return."""
    found = []
    dropout = {"encoder": MLPEncoder((8,), 4, dropout=0.3), "fusion": ConcatFusion((8,), dropout=0.3)}
    kinds = [("kl", "token", 1), ("wasserstein", "skip", 1), ("knife", "critic", 1), ("kl", "critic", 3)]
    for measure, missing, members in kinds:
        parameters = {"measure": measure, "missing": missing, "n_estimators": members}
        model = MDMFusionRegressor(**dropout, **parameters, modality_dropout=0.3, lam=1.0, max_epochs=2, random_state=0)
        found += [model.fit(X, y).predict(X), model.pointwise_dependency(X), model.partial_fit(X, y).transform(X)]
    steps = {name: np.stack([x, -x], axis=1).astype(np.float32) for name, x in X.items()}
    for fusion, encoder in (("low_rank", SEQUENCES), ("ef_lstm", "auto"), ("memory", "auto"), ("misa", "auto")):
        model = MDMFusionRegressor(
            n_estimators=1, fusion=fusion, encoder=encoder, lam=0.1, max_epochs=1, random_state=0
        )
        found += [model.fit(steps, y).predict(steps), model.pointwise_dependency(steps)]
    dependency = DependencyEstimator(cv=3, max_updates=20, random_state=0).fit(X)
    return [*found, dependency.pointwise_, dependency.permutation_test(X, 9).null_distribution]


@pytest.fixture(scope="module")
def three_modalities():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(80, 1))
    return {name: z + rng.normal(size=(80, 3)) for name in ("text", "audio", "video")}, z[:, 0]


@pytest.fixture(scope="module")
def serial(three_modalities):
    return everything(*three_modalities)


def test_settings_of_the_caller__do_not_matter_and_stay(three_modalities, serial, odd_settings, global_state):
    before = global_state()
    for one, other in zip(serial, everything(*three_modalities), strict=True):
        assert one.dtype == other.dtype
        assert_array_equal(one, other)
    assert global_state() == before


@pytest.mark.parametrize("backend", ["threading", "loky", "fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_fits_side_by_side__are_those_of_a_serial_run(three_modalities, serial, backend, global_state):
    before = global_state()
    arguments = [three_modalities] * (3 if backend == "threading" else 2)
    if backend in ("fork", "spawn"):
        with multiprocessing.get_context(backend).Pool(2) as pool:
            results = pool.starmap_async(everything, arguments).get(200)
    else:
        results = Parallel(len(arguments), backend=backend)(delayed(everything)(*args) for args in arguments)
    after = global_state()
    if backend == "threading":  # scikit-learn's own catch_warnings race there
        after["filters of warnings"] = before["filters of warnings"]
    assert after == before
    for found in results:
        for one, other in zip(serial, found, strict=True):
            assert_array_equal(one, other)
