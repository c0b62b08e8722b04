"""
In which samples do modalities disagree?
========================================

The critic that measures dependency gives every sample a value: how much more probable its modalities are together than
apart. Low values point at samples that were put together wrongly, or that are unusual. Shown on handwritten digits in
three bands, some of which got a band of another image; and, if you have such a file, on sentences about films.
"""

# %%
# Digits, a few of them with a wrong band
# ---------------------------------------
# The model is trained on clean images, and sees the wrong ones for the first time.

import os

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from sklearn_mdm import MDMFusionClassifier, MDMFusionRegressor, ModalityDict
from sklearn_mdm.datasets import load_mmsa
from sklearn_mdm.inspection import DependencyDisplay, mismatch_test, pointwise_attribution, rank_samples

digits = load_digits()
pixels = digits.data / 16
views = ModalityDict(top=pixels[:, :24], middle=pixels[:, 24:40], bottom=pixels[:, 40:])
X_train, X_test, y_train, y_test = train_test_split(views, digits.target, stratify=digits.target, random_state=0)
model = MDMFusionClassifier(random_state=0).fit(X_train, y_train)

print("How well are mismatched images told from true ones, with every band or a single one re-drawn?")
print(mismatch_test(model, X_test, random_state=0).round(3).to_string(), "\n")

rng = np.random.default_rng(0)
wrong = rng.choice(len(y_test), size=30, replace=False)
donors = np.array([rng.choice(np.flatnonzero(y_test != y_test[i])) for i in wrong])
mixed = X_test.copy()
mixed["bottom"] = mixed["bottom"].copy()
mixed["bottom"][wrong] = X_test["bottom"][donors]

# %%
# Ranked by dependency
# --------------------
# The percentile says how a sample compares with negatives, whose bands are from different images: true ones are far up.

ranked = rank_samples(model, mixed, random_state=0)
is_wrong = np.isin(np.arange(len(y_test)), wrong)
print(ranked.head(8).round(2).to_string(index=False))
print(f"wrong among the first 30: {is_wrong[ranked['sample'].head(30)].sum()} of 30")
print(f"AUROC: {roc_auc_score(~is_wrong[ranked['sample']], ranked['value']):.3f}\n")

lowest, highest = ranked["sample"].iloc[0], ranked["sample"].iloc[-1]
display = DependencyDisplay.from_estimator(
    model, mixed, samples={lowest: "lowest", wrong[0]: "wrong band", highest: "highest"}, random_state=0
)
display.ax_.set_title("Dependency of the bands of single images, and of negatives")
plt.show()

# %%
# Which band is it?
# -----------------
# The attribution of a band is how much the value falls when the band is re-drawn. A band that does not belong has a low
# one: here it should be the bottom.

attribution = pointwise_attribution(model, mixed, background=X_train, random_state=0)
print(f"bottom is the lowest in {(attribution.iloc[wrong].idxmin(axis=1) == 'bottom').mean():.0%} of the wrong images")

images = np.hstack([mixed[name] for name in views]).reshape(-1, 8, 8)
figure, axes = plt.subplots(2, 6, figsize=(10, 4.4), layout="constrained")
for row, (title, chosen) in zip(
    axes, {"lowest": ranked["sample"].iloc[:6], "highest": ranked["sample"].iloc[::-1].iloc[:6]}.items(), strict=True
):
    for ax, i in zip(row, chosen, strict=True):
        ax.imshow(images[i], cmap="gray_r", extent=(0, 8, 8, 0))
        for edge in (3, 5):
            ax.axhline(edge, color="black", linewidth=0.8)
        ax.set(xticks=[], yticks=[1.5, 4, 6.5])
        ax.set_yticklabels([f"{attribution[name].iloc[i]:.1f}" for name in views], fontsize=8)
        ax.set_xlabel("wrong band" if is_wrong[i] else f"a {y_test[i]}", fontsize=9)
    row[0].set_ylabel(title)
figure.suptitle("Attribution of each band (nats), in images with the lowest and the highest dependency")
plt.show()

# %%
# Sentences
# ---------
# With a file of one's own in the layout of MMSA, or the same as npz, named by the environment variable MDM_MMSA_FILE:
# what people say while their voice and face agree with it, and while they do not. Without a file, this is left out.

path = os.environ.get("MDM_MMSA_FILE")
if path:
    data = load_mmsa(path, infinite=0)
    train, test = data.train, data.test
    speech = MDMFusionRegressor(max_epochs=15, random_state=0).fit(train.X, train.y, groups=train.groups)
    print(mismatch_test(speech, test.X, random_state=0).round(3).to_string())
    ranked = rank_samples(speech, test.X, random_state=0)
    for title, rows in {"least": ranked.head(4), "most": ranked.dropna().tail(4)}.items():
        print(f"\n{title} congruent")
        for sample, value, percentile in rows.itertuples(index=False):
            words = "" if test.raw_text is None else test.raw_text[int(sample)][:90]
            print(f"  {value:6.2f} nats, percentile {percentile:3.0f}, sentiment {test.y[int(sample)]:4.1f}: {words}")
