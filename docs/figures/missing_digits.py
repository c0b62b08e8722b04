"""Draw docs/_static/missing_digits.svg: digits in three bands, predicted with all, two or one of them.

``python docs/figures/missing_digits.py`` takes some minutes of one thread. A classifier is fitted to 1,000 complete
images, the other 797 are predicted, over five splits. Beside the default stand logistic regression, which reads means
where a band is missing, and gradient boosting, which reads NaN.
"""

from itertools import combinations
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_mdm import MDMFusionClassifier

BANDS = {"top": slice(0, 24), "middle": slice(24, 40), "bottom": slice(40, 64)}
SEEDS = 5


def models(seed):
    """What is compared: each reads one flat table, with NaN where a band is missing."""
    linear = LogisticRegression(C=0.1, max_iter=1000)
    return {
        "sklearn-mdm, defaults": MDMFusionClassifier(modalities=BANDS, random_state=seed),
        "logistic regression, mean-imputed": make_pipeline(StandardScaler(), SimpleImputer(), linear),
        "gradient boosting, NaN": HistGradientBoostingClassifier(random_state=seed),
    }


def accuracies(seed):
    """Per model: accuracy with three, two and one band left, in the mean over which."""
    pixels, digit = load_digits(return_X_y=True)
    X, X_new, y, y_new = train_test_split(pixels, digit, train_size=1000, stratify=digit, random_state=seed)
    found = {}
    for name, model in models(seed).items():
        model.fit(X, y)
        found[name] = []
        for n_left in (3, 2, 1):
            scores = []
            for left in combinations(BANDS, n_left):
                seen = X_new.copy()
                for band in set(BANDS) - set(left):
                    seen[:, BANDS[band]] = np.nan
                scores.append(np.mean(model.predict(seen) == y_new))
            found[name].append(np.mean(scores))
        print(seed, name, np.round(found[name], 3), flush=True)
    return found


def main():
    """Measure and draw."""
    runs = [accuracies(seed) for seed in range(SEEDS)]
    plt.rcParams.update(
        {"font.size": 11, "svg.fonttype": "none", "svg.hashsalt": "digits", "font.family": "sans-serif"}
    )
    figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
    colours, hatches = ["#0a7d91", "#e08a1e", "#9a9a9a"], ["", "//", ".."]
    for i, name in enumerate(runs[0]):
        values = 100 * np.array([run[name] for run in runs])
        place = np.arange(3) + 0.27 * (i - 1)
        ax.bar(place, values.mean(axis=0), 0.25, label=name, color=colours[i], hatch=hatches[i], edgecolor="white")
        ax.errorbar(place, values.mean(axis=0), values.std(axis=0, ddof=1), fmt="none", ecolor="#222222", capsize=3)
        for x, value in zip(place, values.mean(axis=0), strict=True):
            ax.text(x, 4, f"{value:.0f}", ha="center", color="black", bbox={"facecolor": "white", "lw": 0, "pad": 1.5})
    ax.set_xticks(range(3), ["all three bands", "two of three", "one of three"])
    ax.set_ylabel("accuracy on new images, %")
    ax.set_ylim(0, 125)
    ax.set_yticks(range(0, 101, 20))
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(loc="upper right", frameon=False, ncols=1, fontsize=9)
    path = Path(__file__).parents[1] / "_static" / "missing_digits.svg"
    figure.savefig(path, metadata={"Date": None}, facecolor="white")


if __name__ == "__main__":
    main()
