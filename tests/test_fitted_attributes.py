"""What the docstrings of estimators and displays call attributes is what a fit, or a picture, leaves."""

import inspect

import numpy as np
import pandas as pd
import pytest
from numpydoc.docscrape import ClassDoc
from sklearn.base import BaseEstimator

from sklearn_mdm import (
    DependencyEstimator,
    MDMFusionClassifier,
    MDMFusionRegressor,
    MDMNet,
    ModalityTransformer,
    inspection,
)
from sklearn_mdm.fusion import ConcatFusion
from sklearn_mdm.inspection import (
    DependencyDisplay,
    FusionMapDisplay,
    LamPathDisplay,
    ModalityDropDisplay,
    TrainingDisplay,
)

RNG = np.random.default_rng(0)
SHARED = RNG.normal(size=(120, 1))
FRAMES = {name: pd.DataFrame(SHARED + RNG.normal(size=(120, 2))).add_prefix("c") for name in ("audio", "text")}
X, Y = {name: frame.to_numpy() for name, frame in FRAMES.items()}, SHARED[:, 0]
LABELS = np.where(Y > 0, "up", "down")
FEW = {"max_epochs": 2, "device": "cpu", "random_state": 0}

# What makes, of each class, every attribute that it documents.
FULL = {
    MDMFusionRegressor: lambda: MDMFusionRegressor(lam=[0.1, 0.3], n_estimators=2, **FEW).fit(FRAMES, Y),
    MDMFusionClassifier: lambda: MDMFusionClassifier(lam=[0.1, 0.3], n_estimators=2, **FEW).fit(FRAMES, LABELS),
    DependencyEstimator: lambda: DependencyEstimator(max_updates=5, random_state=0).fit(FRAMES),
    ModalityTransformer: lambda: ModalityTransformer().fit(FRAMES),
    MDMNet: lambda: MDMNet(
        ConcatFusion().build({"audio": (2,), "text": (2,)}, n_outputs=1), lam=0.1, max_epochs=1, verbose=0
    ).fit(X, Y[:, None]),
}
# And what makes as few of them as it can.
BARE = {
    MDMFusionRegressor: lambda: MDMFusionRegressor(lam=0, n_estimators=1, **FEW).fit({"audio": X["audio"]}, Y),
    MDMFusionClassifier: lambda: MDMFusionClassifier(lam=0, n_estimators=1, **FEW).fit({"audio": X["audio"]}, LABELS),
    DependencyEstimator: lambda: DependencyEstimator(cv=None, max_updates=5, random_state=0).fit(X),
    ModalityTransformer: lambda: ModalityTransformer().fit(X),
}
PICTURES = {
    DependencyDisplay: lambda: DependencyDisplay(Y, Y[:60], samples=[0]).plot(),
    FusionMapDisplay: lambda: FusionMapDisplay(X["audio"], Y).plot(),
    LamPathDisplay: lambda: LamPathDisplay([0, 1], [0.5, 0.6], [0.1, 0.1], [np.nan, 1.0]).plot(),
    ModalityDropDisplay: lambda: ModalityDropDisplay(
        pd.DataFrame({"kept": [("a",)], "dropped": [()], "score": [1.0], "score_std": [0.1]})
    ).plot(),
    TrainingDisplay: lambda: TrainingDisplay([0.5, 0.4], [0.6, 0.5], [1.0, 1.1]).plot(),
}


def documented(cls):
    names = ClassDoc(cls, config={"show_class_members": False})["Attributes"]
    return {name.strip() for each in names for name in each.name.split(",")}


def made(thing):
    return {name for name in vars(thing) if name.endswith("_") and not name.startswith("_")}


def test_tables__have_every_public_estimator_and_display():
    import sklearn_mdm

    public = [getattr(module, name) for module in (sklearn_mdm, inspection) for name in module.__all__]
    classes = {each for each in public if inspect.isclass(each)}
    assert {each for each in classes if issubclass(each, (BaseEstimator, MDMNet))} == FULL.keys()
    assert {each for each in classes if each.__name__.endswith("Display")} == PICTURES.keys()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("cls", FULL, ids=lambda cls: cls.__name__)
def test_fitted_attributes__are_those_of_the_docstring(cls):
    fitted = FULL[cls]()
    assert not [name for name in documented(cls) if not hasattr(fitted, name)]
    if cls is not MDMNet:  # skorch documents those of its own
        assert made(fitted) == documented(cls)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("cls", BARE, ids=lambda cls: cls.__name__)
def test_fitted_attributes__that_not_every_fit_makes__say_why(cls):
    fitted = BARE[cls]()
    absent = documented(cls) - made(fitted)
    assert made(fitted) <= documented(cls) and absent == set(cls._why_absent) & documented(cls)
    for name in absent:
        with pytest.raises(AttributeError, match=f"no attribute '{name}': .{{20,}}"):
            getattr(fitted, name)


@pytest.mark.parametrize("cls", PICTURES, ids=lambda cls: cls.__name__)
def test_pictures__have_the_attributes_of_the_docstring(cls):
    pytest.importorskip("matplotlib").use("agg")
    plt = pytest.importorskip("matplotlib.pyplot")
    assert made(PICTURES[cls]()) == documented(cls)
    plt.close("all")
