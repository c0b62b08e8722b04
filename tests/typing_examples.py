"""What users write, for the type checker: ``make lint`` checks this file, nothing runs it."""

from typing import TYPE_CHECKING

import numpy as np

from sklearn_mdm import DependencyEstimator, MDMFusionRegressor, ModalityDict, ModalityTransformer
from sklearn_mdm.inspection import modality_importance

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
