"""
Quickstart: two data sets, three modalities each
================================================

Real data that scikit-learn ships: breast cancer (mean, error and worst value of ten measurements) and handwritten
digits (three horizontal bands of the image). A model is fitted with and without the dependency term, compared with
scikit-learn's own classifiers on all features side by side, asked how dependent the modalities are, and tried without
one of them.
"""

# %%
# Breast cancer as a frame with (modality, feature) columns
# ---------------------------------------------------------
# Such a frame can be passed as it is, here and to every tool of scikit-learn.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_mdm import MDMFusionClassifier, ModalityDict

cancer = load_breast_cancer(as_frame=True)
X = cancer.data.copy()
X.columns = pd.MultiIndex.from_tuples(
    [
        (kind, name.replace(kind, "").strip())
        for name in X.columns
        for kind in ("mean", "error", "worst")
        if kind in name
    ],
    names=["modality", "feature"],
)
X_train, X_test, y_train, y_test = train_test_split(X, cancer.target, stratify=cancer.target, random_state=0)
print(X_train.iloc[:3, [0, 1, 10, 20]].round(2), "\n")

# %%
# ``verbose=1`` shows a progress bar.

model = MDMFusionClassifier(lam=0.03, random_state=0, verbose=1).fit(X_train, y_train)
model.set_params(verbose=0)

# %%
# The peers see the same features, standardised and side by side.


def compare(model, X_train, X_test, y_train, y_test, columns):
    """Test accuracy of the model, with and without its dependency term, and of scikit-learn's classifiers."""
    flat_train, flat_test = columns(X_train), columns(X_test)
    without = clone(model).set_params(lam=0).fit(X_train, y_train)
    return {
        f"MDM fusion, lam={model.lam:g}": model.score(X_test, y_test),
        "MDM fusion, lam=0": without.score(X_test, y_test),
        "LogisticRegression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        .fit(flat_train, y_train)
        .score(flat_test, y_test),
        "MLPClassifier": make_pipeline(StandardScaler(), MLPClassifier(max_iter=500, random_state=0))
        .fit(flat_train, y_train)
        .score(flat_test, y_test),
    }


def show(title, accuracies):
    """Print a table of accuracies."""
    print(title)
    for name, accuracy in accuracies.items():
        print(f"  {name:<22}{accuracy:.3f}")


cancer_accuracy = compare(model, X_train, X_test, y_train, y_test, columns=np.asarray)
show("breast cancer, test accuracy", cancer_accuracy)

# %%
# How dependent are the modalities? In nats, on samples that the model has not seen, with a standard error.

score, std = model.dependency_score(X_test, return_std=True)
print(f"breast cancer, dependency of the three modalities: {score:.2f} +- {std:.2f} nats")

# %%
# Digits as three views
# ---------------------
# A dict of arrays is enough for ``fit`` and ``predict``. :class:`~sklearn_mdm.ModalityDict` is a dict that scikit-learn
# can index by sample, as ``train_test_split`` and ``GridSearchCV`` do. By default an estimator is a committee of
# networks and linear models; a search saves time with a single network.

digits = load_digits()
pixels = digits.data / 16
views = ModalityDict(top=pixels[:, :24], middle=pixels[:, 24:40], bottom=pixels[:, 40:])
V_train, V_test, d_train, d_test = train_test_split(views, digits.target, stratify=digits.target, random_state=0)

single = MDMFusionClassifier(n_estimators=1, modality_dropout=0.2, max_epochs=40, random_state=0)
search = GridSearchCV(single, {"lam": [0.0, 0.03, 0.1]}, cv=3, n_jobs=2)
search.fit(V_train, d_train)
for lam, accuracy in zip(search.cv_results_["param_lam"], search.cv_results_["mean_test_score"], strict=True):
    print(f"  lam={lam:<6}cross-validated accuracy {accuracy:.3f}")

digits_model = MDMFusionClassifier(modality_dropout=0.2, missing="critic", max_epochs=40, random_state=0)
digits_model.fit(V_train, d_train)
digits_accuracy = compare(
    digits_model, V_train, V_test, d_train, d_test, columns=lambda X: np.hstack([X[name] for name in views])
)
show("digits, test accuracy", digits_accuracy)
score, std = digits_model.dependency_score(V_test, return_std=True)
print(f"digits, dependency of the three views: {score:.2f} +- {std:.2f} nats")

# %%
# Predicting without a modality
# -----------------------------
# Leave its key out, set it to None, or its rows to NaN. ``missing="mean"`` lets the network read the mean band;
# ``missing="critic"`` averages the prediction over bands of training images that the critic finds likely here.

without = {}
for missing in ("mean", "critic"):
    digits_model.set_params(missing=missing)
    without[missing] = {"nothing": digits_model.score(V_test, d_test)}
    for view in views:
        rest = {name: V_test[name] for name in views if name != view}
        without[missing][view] = digits_model.score(rest, d_test)
    show(f'digits, test accuracy without a view, missing="{missing}"', without[missing])

# %%
# In which images do the bands agree, and in which do they disagree? Low values are worth a look.

pointwise = digits_model.pointwise_dependency(V_test)
images = np.hstack([V_test[name] for name in views]).reshape(-1, 8, 8)

figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
for offset, color, (missing, accuracies) in zip((-0.2, 0.2), ("0.75", "0.35"), without.items(), strict=True):
    axes[0].barh(np.arange(4) + offset, accuracies.values(), height=0.4, color=color, label=f'missing="{missing}"')
axes[0].set_yticks(np.arange(4), without["mean"])
axes[0].invert_yaxis()
axes[0].legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2, frameon=False)
axes[0].set(xlabel="test accuracy", ylabel="left out", title="Digits without one view", xlim=(0, 1))
axes[1].hist(pointwise, bins=40, color="0.45")
axes[1].axvline(score, color="black", linestyle="--", label=f"mean: {score:.2f} nats")
axes[1].set(xlabel="pointwise dependency (nats)", ylabel="test images", title="How much the views agree")
axes[1].legend(frameon=False)
plt.show()

# %%
figure, axes = plt.subplots(2, 8, figsize=(9, 2.9), layout="constrained")
order = np.argsort(pointwise)
for row, (label, chosen) in zip(axes, {"lowest": order[:8], "highest": order[::-1][:8]}.items(), strict=True):
    for axis, i in zip(row, chosen, strict=True):
        axis.imshow(images[i], cmap="gray_r")
        axis.set(xticks=[], yticks=[])
        axis.set_title(f"{pointwise[i]:.1f}", fontsize=9)
    row[0].set_ylabel(label)
figure.suptitle("Digits by the dependency of their views (nats)")
plt.show()
