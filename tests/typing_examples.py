"""What users write, for the type checkers: ``make lint`` checks this file, nothing runs it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sklearn_mdm import (
    DependencyEstimator,
    MDMFusionClassifier,
    MDMFusionRegressor,
    ModalityDict,
    ModalityTransformer,
    load,
    pad_sequences,
    show_versions,
    zero_padding_to_nan,
)
from sklearn_mdm.callbacks import GradientAccumulation, ResumableCheckpoint, WarmupLinearDecay
from sklearn_mdm.datasets import make_correlated_gaussians, make_shared_latent
from sklearn_mdm.encoders import MLPEncoder
from sklearn_mdm.fusion import ConcatFusion, LowRankFusion
from sklearn_mdm.inspection import modality_drop, modality_importance, modality_shapley, rank_samples
from sklearn_mdm.measures import KL
from sklearn_mdm.metrics import acc7_score, dependency_scorer, pearson_score


def fitted(array: NDArray[np.float64], y: NDArray[np.float64]) -> MDMFusionRegressor:
    X = {"audio": array, "text": array}
    model = MDMFusionRegressor(
        fusion=LowRankFusion(rank=2),
        encoder={"audio": MLPEncoder(hidden_dims=(8,))},
        measure=KL(bound=3.0),
        callbacks=[WarmupLinearDecay(0.1), GradientAccumulation(2)],
        lam=0.1,
    )
    return model.fit(X, y, X_unlabeled=X)


def used(model: MDMFusionRegressor, X: ModalityDict, y: NDArray[np.float64]) -> dict[str, Any]:
    prediction = model.predict(X)
    score: float = model.score(X, y)
    fused = model.transform(X)
    value, std = model.dependency_score(X, return_std=True)
    coefficient = model.dependency_score(X, unit="coefficient")
    pointwise = model.pointwise_dependency(X)
    model.save("model.mdm")
    again = load("model.mdm")
    part = X[[0, 2]]
    audio = X["audio"]
    n = len(X)
    frame, modalities = X.to_frame()
    importance = modality_importance(model, X, y)
    drop = modality_drop(model, X, y)
    shapley = modality_shapley(model, X, y)
    ranked = rank_samples(model, X)
    show_versions()
    return {
        "mean": value + std + coefficient + score,
        "modalities": model.modalities_,
        "lam": model.lam_,
        "n_iter": model.n_iter_,
        "shapes": (prediction.shape, fused.shape, pointwise.mean()),
        "rest": (again, part, audio, n, frame, modalities, importance, drop, shapley, ranked),
        "acc7": acc7_score(y, prediction),
        "corr": pearson_score(y, prediction),
        "scorer": dependency_scorer(model, X),
    }


def classified(X: dict[str, NDArray[np.float64]], y: list[str], path: Path) -> NDArray[np.float64]:
    model = MDMFusionClassifier(n_estimators=1, fusion=ConcatFusion(), callbacks=[ResumableCheckpoint(path)]).fit(X, y)
    labels = model.predict(X)
    print(labels, model.classes_)
    return model.predict_proba(X)


def measured() -> float:
    X, truth = make_correlated_gaussians(1000, n_features=2, rho=0.5, random_state=0)
    latent = make_shared_latent(100)
    estimator = DependencyEstimator(random_state=0).fit(X)
    print(truth, latent, estimator.coefficient_, estimator.permutation_test(X).pvalue, estimator.score_samples(X))
    return estimator.dependency_


def prepared(sequences: list[NDArray[np.float64]]) -> Any:
    padded = zero_padding_to_nan(pad_sequences(sequences))
    return ModalityTransformer({"audio": "passthrough"}).fit_transform({"audio": padded})


if TYPE_CHECKING:
    from typing_extensions import assert_type

    array = np.zeros((3, 2))
    X = {"audio": array, "text": array}
    wrapped: ModalityDict = ModalityDict(X)
    wrapped.update({"visual": array})
    assert_type(wrapped | {"visual": array}, ModalityDict)

    model = MDMFusionRegressor(modalities={"audio": [0], "text": [1]}, encoder={"audio": "mlp"}).fit(X, array[:, 0])
    assert_type(model, MDMFusionRegressor)
    assert_type(model.dependency_score(X), float)
    assert_type(model.dependency_score(X, return_std=True), tuple[float, float])
    assert_type(model.dependency_score(X, unit="coefficient"), float)
    assert_type(model.dependency_score(X, return_std=True, unit="coefficient"), tuple[float, float])
    DependencyEstimator(modalities={"audio": slice(0, 1), "text": [1]})
    ModalityTransformer({"audio": "passthrough"}, modalities={"audio": [0]})
    modality_importance(model, X, array[:, 0])
