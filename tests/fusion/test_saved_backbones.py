"""Estimators with a pretrained transformer come back from a file, without the directory that it was in."""

import shutil

import numpy as np
import pytest

import sklearn_mdm
from sklearn_mdm import MDMFusionRegressor
from sklearn_mdm.fusion import MAGFusion

pytest.importorskip("transformers")

from . import transformer_models as tiny

AUDIO = np.random.default_rng(0).normal(size=(20, 3))


@pytest.mark.parametrize(
    "parameters",
    [{}, {"layer": 2, "frozen_layers": 2, "pooling": "cls"}, {"layer": -1, "frozen_layers": "all"}],
    ids=["trained", "partly frozen", "frozen"],
)
def test_load__pretrained_transformer__needs_no_directory(parameters, quick_reports, tmp_path):
    directory = tmp_path / "backbone"
    tiny.save(directory)
    X = {"text": ["a good film", "unbelievably bad", "the plot is boring", None] * 5, "audio": AUDIO}
    memory = str(tmp_path / "states") if parameters else None  # of what is computed once
    fusion = MAGFusion(backbone=str(directory), memory=memory, **parameters)
    model = MDMFusionRegressor(random_state=0, fusion=fusion, max_epochs=1).fit(X, AUDIO[:, 0])
    model.save(tmp_path / "model")
    shutil.rmtree(directory)
    loaded = sklearn_mdm.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    assert loaded.net_.module_.memory is None
    trained = [p.requires_grad for p in model.net_.module_.parameters()]
    assert [p.requires_grad for p in loaded.net_.module_.parameters()] == trained
    loaded.save(tmp_path / "again")
    np.testing.assert_array_equal(sklearn_mdm.load(tmp_path / "again").predict(X), model.predict(X))


def test_save__configuration_of_transformers__is_named(quick_reports, tmp_path):
    config = tiny.make_config("bert")
    X = {"text": np.arange(60).reshape(20, 3) % 19, "audio": AUDIO}
    model = MDMFusionRegressor(random_state=0, fusion=MAGFusion(backbone=config), max_epochs=1).fit(X, AUDIO[:, 0])
    with pytest.raises(TypeError, match=r"fusion\.backbone \(transformers\..*:BertConfig\), which"):
        model.save(tmp_path / "model")
