"""
What each modality is worth
===========================

Handwritten digits in three horizontal bands. How much does a classifier lose when bands are missing, how much does it
owe to each of them, and what do training with missing bands and the dependency term change?
"""

# %%
# Three views of an image, three models
# -------------------------------------
# The first two differ in whether bands went missing during training (``modality_dropout``). The third is scikit-learn's
# gradient boosting on all pixels side by side, which takes NaN as it is.

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import GridSearchCV, train_test_split

from sklearn_mdm import MDMFusionClassifier
from sklearn_mdm.inspection import (
    FusionMapDisplay,
    LamPathDisplay,
    ModalityDropDisplay,
    TrainingDisplay,
    modality_drop,
    modality_importance,
    modality_shapley,
)
from sklearn_mdm.metrics import dependency_scorer

digits = load_digits()
bands = {"top": slice(0, 24), "middle": slice(24, 40), "bottom": slice(40, 64)}
X_train, X_test, y_train, y_test = train_test_split(
    digits.data / 16, digits.target, stratify=digits.target, random_state=0
)
settings = {"modalities": bands, "scaling": None, "max_epochs": 30, "random_state": 0}  # pixels share one scale
models = {
    "always complete": MDMFusionClassifier(**settings),
    "modality dropout": MDMFusionClassifier(modality_dropout=0.3, **settings),
    "gradient boosting": HistGradientBoostingClassifier(max_iter=25, max_leaf_nodes=8, random_state=0),
}
for model in models.values():
    model.fit(X_train, y_train)

# %%
# Without each subset
# -------------------
# :func:`~sklearn_mdm.inspection.modality_drop` works for every estimator that predicts with missing values. The error
# bars are bootstrap standard errors over the test images.

tables = {
    name: modality_drop(model, X_test, y_test, modalities=bands, random_state=0) for name, model in models.items()
}
print(tables["modality dropout"].round(3).to_string(), "\n")

figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained", sharex=True, sharey=True)
for ax, (name, table) in zip(axes, tables.items(), strict=True):
    ModalityDropDisplay(table, score_name="accuracy").plot(ax)
    ax.set_title(name)
    ax.label_outer()
plt.show()

# %%
# How the score is shared out
# ---------------------------
# Importance is what is lost when one band is taken from another image. Shapley values share out all that the bands
# achieve together, also what they have in common: they add up to the score from all bands minus the score from none.

fitted = models["modality dropout"]
importance = modality_importance(fitted, X_test, y_test, random_state=0)
shapley = modality_shapley(fitted, X_test, y_test, random_state=0)
print(importance.round(3).to_string(), "\n")
print(shapley.round(3).to_string())
total = shapley.attrs["full"] - shapley.attrs["empty"]
print(f"sum of the values {shapley['value'].sum():.3f}, all minus none {total:.3f}\n")

# %%
# Over the weight of the dependency term
# --------------------------------------
# A search with two metrics, the second of which is the dependency of the bands' representations on held-out images. A
# single network shows the course in less time than a committee.

search = GridSearchCV(
    MDMFusionClassifier(n_estimators=1, **settings | {"max_epochs": 12}),
    {"lam": [0.01, 0.1, 0.3, 1.0]},
    scoring={"accuracy": "accuracy", "dependency": dependency_scorer},
    refit="accuracy",
    cv=2,
).fit(X_train, y_train)
LamPathDisplay.from_cv_results(search.cv_results_, score="accuracy", dependency="dependency")
plt.show()

# %%
# One training run, and what it learned
# -------------------------------------
# Both terms of the loss, and the fused representation of test images in two dimensions.

figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
TrainingDisplay.from_estimator(fitted, ax=axes[0])
FusionMapDisplay.from_estimator(fitted, X_test, y_test, ax=axes[1])
plt.show()
