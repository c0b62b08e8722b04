"""
Quickstart: fit, read, compare
==============================

What to import, how to fit it, what to read afterwards, how good it is beside scikit-learn's own models, and when to
take one of these instead. All data come with scikit-learn.
"""

# %%
# Fit
# ---
# A *modality* is a block of features of its own. Here they are three horizontal bands of images of digits, in a dict
# of arrays with one row for each image. :class:`~sklearn_mdm.ModalityDict` is a dict that scikit-learn can index by
# sample, as ``train_test_split`` and ``GridSearchCV`` do; ``fit`` and ``predict`` take a plain one, too.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR

from sklearn_mdm import MDMFusionClassifier, MDMFusionRegressor, ModalityDict

pixels, digit = load_digits(return_X_y=True)
bands = ModalityDict(top=pixels[:, :24], middle=pixels[:, 24:40], bottom=pixels[:, 40:])
X, X_new, y, y_new = train_test_split(bands, digit, train_size=200, stratify=digit, random_state=0)

model = MDMFusionClassifier(random_state=0).fit(X, y)  # verbose=1 shows a progress bar
print(f"accuracy on {len(y_new)} new images: {model.score(X_new, y_new):.3f}")

# %%
# Read
# ----
# ``fit`` has trained eight networks, a linear and a kernel model, each without some of the samples, and averages them.
# ``oof_score_`` is the accuracy on the samples that were left out: an estimate, as a rule a cautious one, that needs no
# test part.

print(f"accuracy out of fold: {model.oof_score_:.3f}")

# %%
# ``blend_weights_`` says what predicts: two groups of networks, which read scaled features and their ranks, and the
# other models. **Look at them.** With few samples the kernel model often has most of the weight: then it is not the
# networks, nor their fusion, that make predictions good.

for name, weight in model.blend_weights_.items():
    print(f"  {name:<8}{weight:.2f}")

# %%
# Compare
# -------
# Four data sets, each split at random into two halves (of the digits, 200 are for training), three times. All models
# read the same features, the others standardised and side by side, and none is tuned but the penalty of the ridge
# regression. Four small sets and three splits prove little: :doc:`/user_guide/quality` has more data, and tunes the
# other models.


def views(load, **columns):
    """Features in modalities, and the target, of a data set of scikit-learn."""
    features, target = load(return_X_y=True)
    return ModalityDict({name: features[:, chosen] for name, chosen in columns.items()}), target


TASKS = {
    "digits": (bands, digit),
    "breast cancer": views(load_breast_cancer, mean=slice(10), error=slice(10, 20), worst=slice(20, 30)),
    "wine": views(load_wine, minerals=slice(5), phenols=slice(5, 9), colour=slice(9, 13)),
    "diabetes": views(load_diabetes, person=slice(2), body=slice(2, 4), blood=slice(4, 10)),
}
SPLITS = range(3)


def peers(classes, seed):
    """Scikit-learn's models: of classes, or of numbers."""
    if classes:
        models = {
            "linear": LogisticRegression(max_iter=1000),
            "boosting": HistGradientBoostingClassifier(random_state=seed),
            "forest": RandomForestClassifier(random_state=seed),
            "SVM": SVC(),
            "MLP": MLPClassifier(max_iter=1000, random_state=seed),
        }
        return {name: make_pipeline(StandardScaler(), model) for name, model in models.items()}
    models = {
        "linear": RidgeCV(np.logspace(-2, 4, 13)),
        "boosting": HistGradientBoostingRegressor(random_state=seed),
        "forest": RandomForestRegressor(random_state=seed),
        "SVM": SVR(),
        "MLP": MLPRegressor(max_iter=1000, random_state=seed),
    }
    return {
        name: TransformedTargetRegressor(make_pipeline(StandardScaler(), model), transformer=StandardScaler())
        for name, model in models.items()
    }


def error(model, X, y):
    """Share of wrong classes, or mean absolute error."""
    predicted = model.predict(X)
    return np.mean(predicted != y) if y.dtype.kind == "i" else np.mean(np.abs(predicted - y))


errors = {}
for task, (features, target) in TASKS.items():
    classes = target.dtype.kind == "i"
    for seed in SPLITS:
        size = 200 if task == "digits" else 0.5
        parts = train_test_split(
            features, target, train_size=size, stratify=target if classes else None, random_state=seed
        )
        train, test, y_train, y_test = parts
        ours = (MDMFusionClassifier if classes else MDMFusionRegressor)(random_state=seed)
        ours = model if (task, seed) == ("digits", 0) else ours.fit(train, y_train)  # that one is fitted already
        errors.setdefault(("sklearn-mdm", task), []).append(error(ours, test, y_test))
        flat, flat_test = (np.hstack(list(part.values())) for part in (train, test))
        for name, peer in peers(classes, seed).items():
            errors.setdefault((name, task), []).append(error(peer.fit(flat, y_train), flat_test, y_test))

names = list(dict.fromkeys(name for name, _ in errors))
print(f"{'mean error':<14}" + "".join(f"{task:>15}" for task in TASKS))
for name in names:
    print(f"{name:<14}" + "".join(f"{np.mean(errors[name, task]):>15.3g}" for task in TASKS))

figure, axes = plt.subplots(1, len(TASKS), figsize=(10, 2.8), sharey=True, layout="constrained")
for axis, task in zip(axes, TASKS, strict=True):
    for row, name in enumerate(names):
        axis.plot(errors[name, task], [row] * len(SPLITS), "o", color="black" if row == 0 else "0.6", alpha=0.6)
        axis.plot(np.mean(errors[name, task]), row, "|", color="black", markersize=16)
    axis.set(title=task, xlabel="mean absolute error" if task == "diabetes" else "error rate")
axes[0].set_yticks(range(len(names)), names)
axes[0].invert_yaxis()
figure.suptitle("Error on new samples: three splits, and their mean (line)")
plt.show()

# %%
# Predict without a modality
# --------------------------
# Leave its key out, set it to None, or its rows to NaN. By default (``missing="auto"``) the networks then average over
# training samples that fit to what is there, as far as the critic can tell that from so few. With ``missing="mean"``
# they read the average band in its place. Both work with the same fit. From 200 images there is little between the two;
# from a thousand digits the first wins by far: :doc:`/user_guide/missing`.

print(f"{'accuracy with':<20}{'auto':>10}{'mean':>10}")
for kept in (["top", "middle"], ["top", "bottom"], ["middle", "bottom"], ["top"], ["middle"], ["bottom"]):
    rest = {name: X_new[name] for name in kept}
    scores = [model.set_params(missing=missing).score(rest, y_new) for missing in ("auto", "mean")]
    print(f"{', '.join(kept):<20}" + "".join(f"{score:>10.3f}" for score in scores))
model.set_params(missing="auto")

# %%
# Ask how dependent the modalities are
# ------------------------------------
# ``dependency_score`` estimates their total correlation from below, in nats, with a standard error. It is about the
# representations of the networks, on samples that these have not seen. The coefficient says the same from 0
# (independent) to 1 (one band determines another): :doc:`/user_guide/dependency`.

score, std = model.dependency_score(X_new, return_std=True)
coefficient = model.dependency_score(X_new, unit="coefficient")
print(f"dependency of the three bands: {score:.2f} +- {std:.2f} nats, coefficient {coefficient:.3f}")

# %%
# ``pointwise_dependency`` says it of every sample. Images with low values, whose bands disagree, are worth a look.

pointwise = model.pointwise_dependency(X_new)
order = np.argsort(pointwise)
images = np.hstack([X_new[name] for name in bands]).reshape(-1, 8, 8)

figure, axes = plt.subplots(2, 8, figsize=(9, 2.9), layout="constrained")
for row, (label, chosen) in zip(axes, {"lowest": order[:8], "highest": order[::-1][:8]}.items(), strict=True):
    for axis, i in zip(row, chosen, strict=True):
        axis.imshow(images[i], cmap="gray_r")
        axis.set(xticks=[], yticks=[])
        axis.set_title(f"{pointwise[i]:.1f}", fontsize=9)
    row[0].set_ylabel(label)
figure.suptitle("Digits by the dependency of their bands (nats)")
plt.show()

# %%
# When to use something else
# --------------------------
# * **One block of features, nothing missing, no question about dependency.** Then there is nothing to fuse:
#   scikit-learn's models are as good a start, and a fit takes them a fraction of a second; those above took seconds.
# * **A model that can be read.** Take ridge or logistic regression where it is as good, as on the diabetes data.
# * **The kernel model has all the weight.** A support vector machine or kernel ridge regression is the simpler model.
# * **Dependency is of no interest.** ``lam=0`` trains without the term, in less than half of the time. With all rows
#   labelled and all modalities there, predictions are as a rule as good. (Missing modalities are then replaced by the
#   mean, unless ``fit_dependency`` is called.)
# * **Only the dependency is of interest.** :class:`~sklearn_mdm.DependencyEstimator` measures it without a target.
#
# Next: :doc:`/user_guide/inputs`, :doc:`/user_guide/missing` and :doc:`/user_guide/committee`.
