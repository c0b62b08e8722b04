"""Tiny seeded data and tiny nets, shared by the tests of the estimators and the net."""

import hashlib
import json
import random
import warnings

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from sklearn_mdm import MDMFusionClassifier, MDMFusionRegressor
from sklearn_mdm.dependency._density_ratio import TrainedCritic
from sklearn_mdm.encoders import MLPEncoder
from sklearn_mdm.fusion import ConcatFusion

N = 60


def tiny_parameters():
    return {
        "n_estimators": 1,
        "linear_member": False,
        "kernel_member": False,
        "scaling": "standard",
        "encoder": MLPEncoder(hidden_dims=(8,), out_dim=4, dropout=0.0),
        "fusion": ConcatFusion(hidden_dims=(8,), dropout=0.0),
        "critic_hidden_dims": (8,),
        "lr": 1e-3,
        "batch_size": 16,
        "max_epochs": 3,
        "n_iter_no_change": 10,
        "device": "cpu",
        "random_state": 0,
    }


@pytest.fixture
def regressor():
    """Builds a regressor that fits in milliseconds."""
    return lambda **parameters: MDMFusionRegressor(**{**tiny_parameters(), **parameters})


@pytest.fixture
def classifier():
    """Builds a classifier that fits in milliseconds."""
    return lambda **parameters: MDMFusionClassifier(**{**tiny_parameters(), **parameters})


@pytest.fixture(params=["regressor", "classifier"])
def estimator(request):
    """Builds each of the two estimators in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture(params=[1, 3], ids=["one member", "three members"])
def members(request):
    """Number of members of an estimator, for what holds for a network and for a committee."""
    return request.param


@pytest.fixture(name="X")
def two_modalities():
    """Two vector modalities that share a latent factor."""
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(N, 1))
    return {"audio": latent + rng.normal(size=(N, 3)), "text": latent + rng.normal(size=(N, 2))}


@pytest.fixture
def y(X):
    """A target that both kinds of estimator take: three integer levels."""
    level = X["audio"].sum(1) + X["text"].sum(1)
    return np.digitize(level, np.quantile(level, [1 / 3, 2 / 3]))


@pytest.fixture
def sequences():
    """A vector modality beside ragged sequences, as NaN-padded array; some samples lack one of the two."""
    rng = np.random.default_rng(1)
    padded = rng.normal(size=(N, 6, 2))
    for row, length in zip(padded, rng.integers(1, 7, size=N), strict=True):
        row[length:] = np.nan
    vector = rng.normal(size=(N, 3))
    vector[::7] = np.nan
    padded[3::7] = np.nan
    return {"vector": vector, "steps": padded}


@pytest.fixture
def parameters_of():
    """Copies of all parameters of a fitted estimator, of its net, or of a torch module, by name."""

    def read(thing):
        net = getattr(thing, "net_", thing)
        if not hasattr(net, "module_"):
            return {name: value.detach().clone() for name, value in net.named_parameters()}
        modules = {"module": net.module_}
        if hasattr(net, "critic_"):
            modules["critic"] = net.critic_
        return {
            f"{prefix}.{name}": value.detach().clone()
            for prefix, module in modules.items()
            for name, value in module.named_parameters()
        }

    return read


@pytest.fixture
def same_parameters(parameters_of):
    """Whether two fits have bit-identical parameters; ``of="module"`` leaves the critic out."""

    def same(a, b, of=""):
        a, b = parameters_of(a), parameters_of(b)
        assert list(a) == list(b)
        return all(bool((value == b[name]).all()) for name, value in a.items() if name.startswith(of))

    return same


@pytest.fixture
def quick_reports(monkeypatch):
    """Reporting critics of a few updates, for tests in which their values need not be good."""
    prepare = TrainedCritic._prepare

    def prepare_quickly(self, *args):
        self.n_updates = min(self.n_updates, 60)
        return prepare(self, *args)

    monkeypatch.setattr(TrainedCritic, "_prepare", prepare_quickly)


@pytest.fixture
def global_state():
    """Return what a fit might change for everybody else, as it is now."""

    def read():
        numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002
        return {
            "torch": hashlib.sha256(torch.get_rng_state().numpy().tobytes()).hexdigest(),
            "numpy": json.dumps(numpy_state, default=lambda array: array.tolist()),
            "random": random.getstate(),
            "threads": [torch.get_num_threads(), *(library["num_threads"] for library in threadpool_info())],
            "dtype": torch.get_default_dtype(),
            "gradients": torch.is_grad_enabled(),
            "inference": torch.is_inference_mode_enabled(),
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "filters of warnings": list(warnings.filters),
        }

    return read


def pytest_make_parametrize_id(val, argname):
    """Bytes are no name for a test: files made for it hold the time, and differ between processes."""
    return argname if isinstance(val, bytes) else None
