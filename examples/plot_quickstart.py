"""
Quickstart: fit, compare, predict, ask, save
============================================

Handwritten digits, and what can be done with them once their features are in several blocks: fit and cross-validate,
predict where a block is missing, learn from samples without a label, find samples that were put together wrongly, and
save the model. The data come with scikit-learn. What is compared is from three splits, with the standard deviation.
"""

# %%
# Fit
# ---
# A *modality* is a block of features of its own. Here they are three horizontal bands of images of 8 x 8 pixels, in a
# dict of arrays with one row for each image. :class:`~sklearn_mdm.ModalityDict` is a dict that scikit-learn can index
# by sample, as ``train_test_split`` and ``GridSearchCV`` do; ``fit`` and ``predict`` take a plain one, too.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit, cross_validate, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading

from sklearn_mdm import MDMFusionClassifier, ModalityDict, load
from sklearn_mdm.inspection import rank_samples

pixels, digit = load_digits(return_X_y=True)
bands = ModalityDict(top=pixels[:, :24], middle=pixels[:, 24:40], bottom=pixels[:, 40:])
X, X_new, y, y_new = train_test_split(bands, digit, train_size=400, stratify=digit, random_state=0)

model = MDMFusionClassifier(random_state=0).fit(X, y)
print(f"accuracy on {len(y_new)} new images: {model.score(X_new, y_new):.3f}")
print(f"accuracy out of fold: {model.oof_score_:.3f}")

# %%
# ``fit`` has trained eight networks, a linear and a kernel model, and averages them. Each was fitted without some of
# the samples; ``oof_score_`` is the accuracy on samples that were left out, an estimate that needs no test part.
# ``blend_weights_`` says what predicts: networks, by the scaling of what they read, and the other models.

print({name: round(float(weight), 2) for name, weight in model.blend_weights_.items()})

# %%
# Compare with a baseline
# -----------------------
# ``cross_validate`` works as for any estimator. The others read the same pixels side by side. Before the logistic
# regression, values that are missing, none so far, are replaced by their mean; gradient boosting takes NaN as it is.

cv = StratifiedShuffleSplit(3, train_size=400, random_state=0)
baselines = {
    "logistic regression": make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression(max_iter=1000)),
    "gradient boosting": HistGradientBoostingClassifier(max_iter=50, random_state=0),
}
keep = {"cv": cv, "return_estimator": True, "return_indices": True}
found = {"sklearn-mdm": cross_validate(MDMFusionClassifier(random_state=0), bands, digit, **keep)}
found |= {name: cross_validate(baseline, pixels, digit, **keep) for name, baseline in baselines.items()}
tests = found["sklearn-mdm"]["indices"]["test"]  # the same for all

for name, results in found.items():
    scores = results["test_score"]
    print(f"{name:<20} accuracy {scores.mean():.3f} +- {scores.std(ddof=1):.3f}")

# %%
# Predict with a modality missing
# -------------------------------
# Leave its key out, set it to None, or its rows to NaN. No model is fitted again, and all were fitted to complete
# images. By default ours averages over bands of training images that fit to what is there.

pixels_of = {"top": slice(24), "middle": slice(24, 40), "bottom": slice(40, 64)}
accuracy = {}
for left in (None, *bands):
    kept = {name: band for name, band in bands.items() if name != left}
    blanked = pixels.copy()
    if left is not None:
        blanked[:, pixels_of[left]] = np.nan
    for name, results in found.items():
        for fitted, test in zip(results["estimator"], tests, strict=True):
            seen = {m: band[test] for m, band in kept.items()} if name == "sklearn-mdm" else blanked[test]
            accuracy.setdefault((name, left), []).append(fitted.score(seen, digit[test]))

print(f"{'accuracy without':<20}" + "".join(f"{left or 'nothing':>16}" for left in (None, *bands)))
for name in found:
    cells = (accuracy[name, left] for left in (None, *bands))
    print(f"{name:<20}" + "".join(f"{np.mean(cell):>9.3f} +-{np.std(cell, ddof=1):.3f}" for cell in cells))

# sphinx_gallery_thumbnail_number = 1
figure, axis = plt.subplots(figsize=(7, 3.8), layout="constrained")
styles = {"sklearn-mdm": ("o", "black"), "logistic regression": ("s", "#0072B2"), "gradient boosting": ("^", "#D55E00")}
for shift, (name, (marker, color)) in zip((-0.12, 0, 0.12), styles.items(), strict=True):
    values = np.array([accuracy[name, left] for left in (None, *bands)])
    places = np.arange(len(values)) + shift
    bars = {"yerr": values.std(axis=1, ddof=1), "fmt": marker, "color": color, "capsize": 4, "markersize": 7}
    axis.errorbar(places, values.mean(axis=1), **bars, label=name)
axis.set(ylabel="accuracy", ylim=(None, 1), xticks=range(4))
axis.set_xticklabels(["nothing missing", *(f"no {left} band" for left in bands)])
axis.set_title("Accuracy when a band is missing at prediction (mean of three splits, standard deviation)", fontsize=10)
axis.grid(axis="y", color="0.9")
axis.legend(frameon=False, loc="lower left")
plt.show()

# %%
# Learn from few labels
# ---------------------
# Now 30 of 400 images have a label, three of each digit. The others have NaN in y (or come as ``X_unlabeled``), and
# train what needs no label: what the bands of an image have in common. ``lam=1`` gives that more weight than the
# default. To be quick, ours has two networks instead of eight, and 10 epochs.

few = {}
for seed in range(3):
    X, X_new, y, y_new = train_test_split(bands, digit, train_size=400, stratify=digit, random_state=seed)
    labelled, rest = train_test_split(np.arange(400), train_size=30, stratify=y, random_state=seed)
    y_few = y.astype(float)
    y_few[rest] = np.nan
    flat, flat_new = np.hstack(list(X.values())), np.hstack(list(X_new.values()))
    ours = MDMFusionClassifier(lam=1, n_estimators=2, max_epochs=10, random_state=seed)
    scores = {
        "30 rows: logistic regression": baselines["logistic regression"].fit(flat[labelled], y[labelled]),
        "400 rows: label spreading": LabelSpreading(kernel="knn").fit(flat, np.where(np.isnan(y_few), -1, y)),
    }
    scores = {name: fitted.score(flat_new, y_new) for name, fitted in scores.items()}
    scores["30 rows: sklearn-mdm"] = ours.fit(X[labelled], y[labelled]).score(X_new, y_new)
    scores["400 rows: sklearn-mdm"] = ours.fit(X, y_few).score(X_new, y_new)
    for name, score in scores.items():
        few.setdefault(name, []).append(score)

for name, scores in sorted(few.items()):
    print(f"{name:<30} accuracy {np.mean(scores):.3f} +- {np.std(scores, ddof=1):.3f}")

# %%
# The rows without labels make ours better. Label spreading alone, which reads all rows, too, is no worse on these
# images, where neighbours mostly show the same digit. (Ours holds such a model beside the networks.) The guide has more
# data sets, on which it is another matter: :doc:`/user_guide/few_labels`.
#
# Find what was put together wrongly
# ----------------------------------
# In 5 % of the new images, the bottom band is replaced by that of an image of another digit. The model, which was
# fitted on clean images, knows how much more probable the bands are together than apart: ``rank_samples`` orders by
# that, the least probable first. Recall is the share of the planted ones among as many that come first; at random it
# would be 0.05.

rng = np.random.default_rng(0)
recall = []
for fitted, test in zip(found["sklearn-mdm"]["estimator"], tests, strict=True):
    mixed = ModalityDict({name: band[test] for name, band in bands.items()})
    wrong = rng.choice(len(test), size=len(test) // 20, replace=False)
    donors = [rng.choice(test[digit[test] != digit[test[i]]]) for i in wrong]
    mixed["bottom"][wrong] = bands["bottom"][donors]
    ranked = rank_samples(fitted, mixed, random_state=0)
    recall.append(np.isin(ranked["sample"].head(len(wrong)), wrong).mean())
print(f"recall of {len(wrong)} planted images: {np.mean(recall):.2f} +- {np.std(recall, ddof=1):.2f}")
print(f"of the first 16 of the last split, {np.isin(ranked['sample'].head(16), wrong).sum()} are planted")

images = np.hstack([mixed[name] for name in bands]).reshape(-1, 8, 8)
figure, axes = plt.subplots(2, 8, figsize=(9, 3), layout="constrained")
for axis, (_, row) in zip(axes.flat, ranked.head(16).iterrows(), strict=True):
    i = int(row["sample"])
    axis.imshow(images[i], cmap="gray_r", extent=(0, 8, 8, 0))
    axis.axhline(5, color="#D55E00", linewidth=1)
    axis.set(xticks=[], yticks=[])
    axis.set_xlabel("planted" if i in wrong else f"a true {digit[test[i]]}", fontsize=9)
figure.suptitle("Images whose bands fit together least, the bottom band of some planted", fontsize=10)
plt.show()

# %%
# How dependent the modalities are
# --------------------------------
# ``dependency_score`` estimates their total correlation from below, in nats, on samples that the networks did not see.
# The coefficient says the same from 0 (independent) to 1 (one band determines another). Three fits on different images:

values = {"nats": [], "coefficient": []}
for fitted, test in zip(found["sklearn-mdm"]["estimator"], tests, strict=True):
    for unit, scores in values.items():
        scores.append(fitted.dependency_score({name: band[test] for name, band in bands.items()}, unit=unit))
for unit, scores in values.items():
    print(f"{unit:<12}{np.mean(scores):.4f} +- {np.std(scores, ddof=1):.4f}")

# %%
# It is about the representations that the networks have learned; of the data themselves, without a target,
# :class:`~sklearn_mdm.DependencyEstimator` measures it. See :doc:`/user_guide/dependency`.
#
# Save and reload
# ---------------
# The file holds numbers, and nothing that is executed when it is read.

path = Path(tempfile.mkdtemp()) / "digits.safetensors"
model.save(path)
print("the same predictions:", np.array_equal(load(path).predict(X_new), model.predict(X_new)))

# %%
# When to take something else
# ---------------------------
# * **One block of features, nothing missing, no question about dependency.** Then there is nothing to fuse, and
#   scikit-learn's models take a fraction of the time.
# * **The kernel model has most of the weight**, and complete samples are all that you predict for. A support vector
#   machine or kernel ridge regression is the simpler model.
# * **A model that can be read.** Take ridge or logistic regression.
#
# Beyond digits, :doc:`/user_guide/quality` has more data and tuned baselines. Next: :doc:`/user_guide/inputs`,
# :doc:`/user_guide/missing` and :doc:`/user_guide/committee`.
