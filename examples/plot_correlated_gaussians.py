"""
Toy experiment: three correlated Gaussians
==========================================

Before a measure of dependency is trusted on data, it should find the answer where that is known. Three modalities are
Gaussian and correlated feature by feature, so their total correlation is a closed form. Every measure that needs no
network is held against it, over the correlation and over the number of features.

Samples and updates are few, so that this page builds in a minute: the question is how measures differ, and where
each one saturates, not how close they get with more of both.
"""

# %%
# One estimate
# ------------
# :class:`~sklearn_mdm.DependencyEstimator` reads every sample by a critic that was trained on others, in five folds.
# The value is a lower bound: two standard errors around it hold what such samples show on average, and not always the
# truth.

import functools
import warnings

import matplotlib.pyplot as plt
import numpy as np

from sklearn_mdm import DependencyEstimator
from sklearn_mdm.datasets import make_correlated_gaussians

N_SAMPLES, UPDATES = 2000, 120
X, truth = make_correlated_gaussians(N_SAMPLES, n_features=4, rho=0.5, random_state=0)
estimator = DependencyEstimator(max_updates=60, random_state=0).fit(X)
print(f"truth {truth:.2f} nats, estimate {estimator.dependency_:.2f} +- {estimator.dependency_std_:.2f} nats")

# %%
# All measures
# ------------
# By default a Gaussian mixture stands beside the critic, and with one component it is all that Gaussians need. It is
# left out here (``n_components=0``), to see what critics learn, on one half of the samples (``cv=None``); the value is
# that of the other half. InfoNCE contrasts all combinations of a batch, b cubed of them, so its batches are small.

NATS = {"kl": "KL", "f": "f (NWJ)", "jsd": "Jensen-Shannon", "smile": "SMILE", "infonce": "InfoNCE", "knife": "KNIFE"}
DISTANCES = {"wasserstein": "Wasserstein", "wpc": "Wasserstein predictive coding"}
RHOS = (0.0, 0.7, 0.9)
DIMS = (1, 4, 8)
RHO = 0.7  # while the number of features grows


@functools.cache
def estimate(measure, rho, n_features):
    """Value of a measure, its standard error, and the names of the warnings it came with."""
    X, _ = make_correlated_gaussians(N_SAMPLES, n_features=n_features, rho=rho, random_state=0)
    estimator = DependencyEstimator(
        measure,
        hidden_dims=(64, 64),
        n_negatives=8,
        n_components=0,
        cv=None,
        max_updates=UPDATES,
        batch_size=32 if measure == "infonce" else 128,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are kept in warnings_
        estimator.fit(X)
    return estimator.dependency_, estimator.dependency_std_, estimator.warnings_


over_rho = {measure: [estimate(measure, rho, 1) for rho in RHOS] for measure in [*NATS, *DISTANCES]}
over_dims = {measure: [estimate(measure, RHO, d) for d in DIMS] for measure in [*NATS, *DISTANCES]}

# %%
# A star marks values that came with a warning.


def total_correlation(rho, n_features):
    """Closed form for three modalities, in nats."""
    return 0.5 * n_features * (-2 * np.log1p(-rho) - np.log1p(2 * rho))


def show(title, settings, estimates):
    """Print a table with one row per measure."""
    print(title)
    print("  " + " " * 30 + "".join(f"{name:>9}" for name, _ in settings))
    print(f"  {'closed form (nats)':<30}" + "".join(f"{truth:>8.2f} " for _, truth in settings))
    for measure, label in {**NATS, **DISTANCES}.items():
        cells = (f"{value:>8.2f}" + ("*" if fired else " ") for value, _, fired in estimates[measure])
        print(f"  {label:<30}" + "".join(cells))
    print()


show("one feature each", [(f"rho {rho}", total_correlation(rho, 1)) for rho in RHOS], over_rho)
show(f"rho {RHO}", [(f"d {d}", total_correlation(RHO, d)) for d in DIMS], over_dims)
for measure, label in {**NATS, **DISTANCES}.items():
    fired = sorted({name for *_, names in [*over_rho[measure], *over_dims[measure]] for name in names})
    print(f"{label}: {', '.join(fired) or 'no warning'}")

# %%
# In nats, all but one agree with the closed form while it is small, and fall behind as it grows. What stops them:
#
# * **Samples.** A critic learns the log ratio of 24 columns from half of 2,000 samples, in few updates here, and fits
#   what only these show. Besides, no lower bound of n held-out samples can be certain far above log n, 6.9 nats here
#   (McAllester and Stratos, 2020), and this one is never above it.
# * **Batches.** InfoNCE cannot say more than the logarithm of what it contrasts, 2 log 32 = 6.9 nats here.
# * **Densities.** KNIFE subtracts entropies, and needs mixtures that fit the joint density of all columns. Strong
#   correlations and many columns are hard to fit; what is missing there is missing in the value.
#
# Not every shortfall comes with a warning. KL, f and Jensen-Shannon are lower bounds, up to their standard errors: read
# them as "at least". Wasserstein alone has no such ceiling: it compares places, not probabilities, and even a noiseless
# relation has a finite distance.
#
# With the mixture, which takes Gaussians for what they are, and the total as a sum of two smaller parts, the hardest
# setting comes near the truth. In one piece it would end at log 400, 6.0 nats, as 400 samples are held out together.

X, truth = make_correlated_gaussians(N_SAMPLES, n_features=8, rho=RHO, random_state=0)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    estimator = DependencyEstimator(decomposition="line", max_updates=60, random_state=0).fit(X)
print(f"truth {truth:.2f} nats, estimate {estimator.dependency_:.2f} +- {estimator.dependency_std_:.2f} nats")
print(f"warnings: {', '.join(estimator.warnings_) or 'none'}")

# %%
# The figure
# ----------
# Above, measures in nats against the closed form. Below, those in units of distance, which have no closed form: the
# Wasserstein distance lies within the shaded band, between the distance along the best single direction and the
# Wasserstein-2 distance. Wasserstein predictive coding is a lower bound of it.

STYLES = {
    "kl": ("#0072B2", "o", "-"),
    "f": ("#E69F00", "s", "--"),
    "jsd": ("#009E73", "^", "-."),
    "smile": ("#CC79A7", "D", ":"),
    "infonce": ("#D55E00", "v", "--"),
    "knife": ("#56B4E9", "X", "-"),
    "wasserstein": ("#0072B2", "o", "-"),
    "wpc": ("#E69F00", "s", "--"),
}


def wasserstein_bounds(rho, n_features):
    """Closed-form bounds of the Wasserstein-1 distance from the independent copies."""
    change = np.sqrt([1 + 2 * rho, 1 - rho, 1 - rho]) - 1
    return np.sqrt(2 / np.pi) * np.abs(change).max(), np.sqrt(n_features * (change**2).sum())


def draw(axis, labels, positions, estimates):
    """Lines of some measures; hollow markers of falling size keep those visible that lie on each other."""
    for size, (measure, label) in zip((12, 10, 8, 6.5, 5, 5), labels.items(), strict=False):
        color, marker, line = STYLES[measure]
        values, errors, _ = zip(*estimates[measure], strict=True)
        style = {"color": color, "marker": marker, "ms": size, "mfc": "none", "mew": 1.5, "capsize": 2}
        axis.errorbar(positions, values, errors, linestyle=line, label=label, **style)


fine = np.linspace(0, 0.92, 200)
steps = np.arange(len(DIMS))
figure, axes = plt.subplots(2, 2, figsize=(9.5, 7.5), sharex="col", layout="constrained")
for axis, positions, truths in (
    (axes[0, 0], fine, [total_correlation(rho, 1) for rho in fine]),
    (axes[0, 1], steps, [total_correlation(RHO, d) for d in DIMS]),
):
    axis.plot(positions, truths, color="black", linewidth=2, label="closed form")
for axis, positions, bounds in (
    (axes[1, 0], fine, [wasserstein_bounds(rho, 1) for rho in fine]),
    (axes[1, 1], steps, [wasserstein_bounds(RHO, d) for d in DIMS]),
):
    axis.fill_between(positions, *np.transpose(bounds), color="0.88", label="closed-form bounds of Wasserstein")
for row, labels in enumerate((NATS, DISTANCES)):
    draw(axes[row, 0], labels, RHOS, over_rho)
    draw(axes[row, 1], labels, steps, over_dims)
    axes[row, 0].legend(frameon=False, fontsize=9, loc="upper left")

axes[0, 0].set(title="One feature each", ylabel="total correlation (nats)")
axes[0, 1].set(title=f"Correlation {RHO}")
figure.suptitle("Measures of dependency against the closed form, with standard errors")
axes[1, 0].set(xlabel="correlation", ylabel="distance between standardised columns")
axes[1, 1].set(xlabel="features of each modality", xticks=steps, xticklabels=DIMS)
for axis in axes.flat:
    axis.grid(color="0.93")
    axis.set_axisbelow(True)
plt.show()
