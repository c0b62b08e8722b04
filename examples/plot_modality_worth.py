"""
What each modality is worth
===========================

Handwritten digits in three horizontal bands. How much does a classifier owe to each of them, what does the weight of
the dependency term change, and what has it learned?
"""

# %%
# How the score is shared out
# ---------------------------
# Importance is what is lost when one band is taken from another image; its standard deviation is over such draws.
# Shapley values share out all that the bands achieve together, also what they have in common: they add up to the score
# from all bands minus the score from none.

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split

from sklearn_mdm import MDMFusionClassifier
from sklearn_mdm.inspection import (
    FusionMapDisplay,
    LamPathDisplay,
    ModalityDropDisplay,
    TrainingDisplay,
    modality_importance,
    modality_shapley,
)
from sklearn_mdm.metrics import dependency_scorer

pixels, digit = load_digits(return_X_y=True)
bands = {"top": slice(0, 24), "middle": slice(24, 40), "bottom": slice(40, 64)}
X_train, X_test, y_train, y_test = train_test_split(pixels, digit, train_size=600, stratify=digit, random_state=0)
settings = {"modalities": bands, "random_state": 0}
model = MDMFusionClassifier(n_estimators=4, max_epochs=30, **settings).fit(X_train, y_train)

importance = modality_importance(model, X_test, y_test, random_state=0)
shapley = modality_shapley(model, X_test, y_test, random_state=0)
print(importance.round(3).to_string(), "\n")
print(shapley.round(3).to_string())
total = shapley.attrs["full"] - shapley.attrs["empty"]
print(f"sum of the values {shapley['value'].sum():.3f}, all minus none {total:.3f}\n")

display = ModalityDropDisplay.from_estimator(model, X_test, y_test, scoring="accuracy", random_state=0)
display.ax_.set_title("Accuracy from each subset of the bands")
plt.show()

# %%
# Over the weight of the dependency term
# --------------------------------------
# A search with two metrics, the second of which is the dependency of the bands' representations on held-out images. A
# single network shows the course in less time than a committee. Bars are standard deviations over three folds.

search = GridSearchCV(
    MDMFusionClassifier(n_estimators=1, max_epochs=15, **settings),
    {"lam": [0.01, 0.1, 0.3, 1.0]},
    scoring={"accuracy": "accuracy", "dependency": dependency_scorer},
    refit=False,
    cv=3,
).fit(X_train, y_train)
display = LamPathDisplay.from_cv_results(search.cv_results_, score="accuracy", dependency="dependency")
display.ax_.set_title("Accuracy and dependency over the weight of the term")
plt.show()

# %%
# One training run, and what it learned
# -------------------------------------
# Both terms of the loss, as means over the members and their standard deviations, and the fused representation of test
# images in two dimensions.

figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
TrainingDisplay.from_estimator(model, ax=axes[0])
FusionMapDisplay.from_estimator(model, X_test, y_test, ax=axes[1])
figure.suptitle("Training of a committee, and its fused representation of digits")
plt.show()
