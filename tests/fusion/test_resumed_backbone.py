"""The fit of a backbone, interrupted and resumed."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from skorch.callbacks import Callback, GradientNormClipping

from sklearn_mdm import MDMFusionRegressor, ModalityDict
from sklearn_mdm.callbacks import GradientAccumulation, ResumableCheckpoint, WarmupLinearDecay
from sklearn_mdm.fusion import MAGFusion

pytest.importorskip("transformers")

from . import transformer_models as tiny

pytestmark = pytest.mark.usefixtures("quick_reports")

TEXTS = ["a good film", "the plot is unbelievably boring", "a new, good film", "bad", None, "the film is good"]


class Killed(BaseException):
    """What ends a fit in the test."""


class Kill(Callback):
    """Ends the training in the third epoch."""

    def on_batch_begin(self, net, **kwargs):
        if len(net.history) == 3 and net.history[-1]["batches"]:
            raise Killed


@pytest.mark.parametrize(
    "options",
    [{}, {"frozen_layers": "all"}, {"n_estimators": 2}],
    ids=["trained", "frozen", "committee"],
)
def test_resumed_fit__equals_an_uninterrupted_one(options, tmp_path):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        directory = tiny.save(tmp_path / "model", "bert")
    rng = np.random.default_rng(0)
    texts = [TEXTS[i % 6] for i in range(24)]
    audio = [rng.normal(size=(3 if text is None else len(text.split()), 3)) for text in texts]
    X, y = ModalityDict(text=texts, audio=audio), np.arange(24) % 3

    def fit(*callbacks):
        own = {key: value for key, value in options.items() if key != "n_estimators"}
        return MDMFusionRegressor(
            fusion=MAGFusion(**{"backbone": directory, "backbone_lr": 1e-3, "dropout": 0.2, **own}),
            n_estimators=options.get("n_estimators", "auto"),
            lam=0.1,
            max_epochs=4,
            batch_size=4,
            callbacks=[WarmupLinearDecay(0.3), GradientAccumulation(2), GradientNormClipping(1.0), *callbacks],
            device="cpu",
            random_state=0,
        ).fit(X, y)

    whole = fit()
    path = tmp_path / "file"
    with pytest.raises(Killed):
        fit(ResumableCheckpoint(path), Kill())
    model = fit(ResumableCheckpoint(path))
    assert_array_equal(model.predict(X), whole.predict(X))
    assert model.loss_curve_ == whole.loss_curve_
    assert_array_equal(model.dependency_curve_, whole.dependency_curve_)
