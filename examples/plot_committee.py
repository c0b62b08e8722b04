"""
A committee: errors, probabilities and intervals
================================================

The estimators train several networks side by side (``n_estimators``). Each of these members holds out its own fold
of the samples, to stop on, and predictions are averages. What does that buy on data that scikit-learn ships? And what
are the out-of-fold predictions good for that come with it? The guide has the rest: :doc:`/user_guide/committee`.
"""

# %%
# Error against the number of members
# -----------------------------------
# Handwritten digits in three bands, of which 200 are for training, and the progress of diabetes from two groups of
# measurements. Every line is one split of the data and one seed. The dependency term is off (``lam=0``), and so are
# dropout, linear members and the second kind of inputs, so that nothing but the number of members differs.

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.calibration import calibration_curve
from sklearn.datasets import load_diabetes, load_digits
from sklearn.metrics import log_loss, mean_absolute_error
from sklearn.model_selection import KFold, train_test_split

from sklearn_mdm import MDMFusionClassifier, MDMFusionRegressor, ModalityDict
from sklearn_mdm.encoders import MLPEncoder
from sklearn_mdm.fusion import ConcatFusion

SIZES, SEEDS = (1, 4, 8, 16), range(4)

pixels, digit = load_digits(return_X_y=True)
bands = ModalityDict(top=pixels[:, :24] / 16, middle=pixels[:, 24:40] / 16, bottom=pixels[:, 40:] / 16)
columns, progress = load_diabetes(return_X_y=True)
measured = ModalityDict(body=columns[:, :4], blood=columns[:, 4:])


def digits_of(seed):
    """Training and test part of the digits."""
    return train_test_split(bands, digit, train_size=200, stratify=digit, random_state=seed)


def diabetes_of(seed):
    """Training and test part of the diabetes data."""
    return train_test_split(measured, progress, train_size=300, random_state=seed)


def fitted(cls, X, y, n_estimators, seed, **parameters):
    """Committee of so many members."""
    model = cls(
        n_estimators=n_estimators,
        linear_member=False,
        kernel_member=False,
        scaling="standard",
        encoder=MLPEncoder(dropout=0.0),
        fusion=ConcatFusion(dropout=0.0),
        lam=0,
        lr=3e-3,
        max_epochs=60,
        n_iter_no_change=10,
        random_state=seed,
        **parameters,
    )
    return model.fit(X, y)


errors = {"digits, error rate": [], "diabetes, mean absolute error": []}
own_folds = []  # committees of eight, for later
for seed in SEEDS:
    X, X_new, y, y_new = digits_of(seed)
    models = [fitted(MDMFusionClassifier, X, y, size, seed) for size in SIZES]
    errors["digits, error rate"].append([1 - model.score(X_new, y_new) for model in models])
    own_folds.append(models[SIZES.index(8)])
    X, X_new, y, y_new = diabetes_of(seed)
    models = [fitted(MDMFusionRegressor, X, y, size, seed) for size in SIZES]
    errors["diabetes, mean absolute error"].append([mean_absolute_error(y_new, m.predict(X_new)) for m in models])

print(f"{'members':<30}" + "".join(f"{size:>8}" for size in SIZES))
for name, found in errors.items():
    print(f"{name:<30}" + "".join(f"{value:>8.3g}" for value in np.mean(found, axis=0)))

# %%
# Most of the gain is there with four members, and little is left after eight. One network holds out 15 % of the samples
# for good; in a committee all samples train somebody, which is most of the point where they are few.

figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
places = np.arange(len(SIZES))
for axis, (name, found) in zip(axes, errors.items(), strict=True):
    axis.plot(places, np.transpose(found), color="0.8", marker="o", markersize=3)
    axis.plot(places, np.mean(found, axis=0), color="black", marker="o", label="mean over seeds")
    axis.set(xlabel="members", title=name, xticks=places, xticklabels=SIZES)
    axis.legend(frameon=False)
figure.suptitle("Error against the number of members, four splits and their mean")
plt.show()

# %%
# Are the probabilities right?
# ----------------------------
# ``oof_decision_function_`` has, for every training sample, the probabilities given by members that held it out. A
# sample is held out once per round through the folds: with as many folds as members, as here, by a single member. But
# new samples are predicted by all of them, and an average of networks is less sure of itself than each is. A
# temperature that is fitted on single members then corrects a fault that the committee does not have. With 16 members
# on four folds (``cv=4``) four members speak for every sample, and it is nearer to what the committee needs.


def tempered(probabilities, temperature):
    """Probabilities that are less sure at a temperature above one."""
    return softmax(np.log(probabilities) / temperature, axis=1)


def best_temperature(probabilities, y):
    """Temperature with the least logarithmic loss."""
    return minimize_scalar(lambda t: log_loss(y, tempered(probabilities, t)), bounds=(0.2, 5), method="bounded").x


def by_confidence(pairs):
    """How often the most likely class is right, by how likely it is said to be, and the standard error of how often."""
    right = np.concatenate([y == probabilities.argmax(axis=1) for probabilities, y in pairs])
    said = np.concatenate([probabilities.max(axis=1) for probabilities, _ in pairs])
    often, likely = calibration_curve(right, said, n_bins=8, strategy="quantile")
    of_one_split = len(right) / 8 / len(pairs)  # splits share samples, so that four do not say four times as much
    return likely, often, np.sqrt(often * (1 - often) / of_one_split)


shared_folds = [fitted(MDMFusionClassifier, *digits_of(seed)[::2], 16, seed, cv=4) for seed in SEEDS]
reliability = {}
for name, models in {"8 members, 8 folds": own_folds, "16 members, 4 folds": shared_folds}.items():
    pairs = {"out-of-fold": [], "new samples": [], "new samples, temperature": []}
    temperatures = []
    for seed, model in zip(SEEDS, models, strict=True):
        _, X_new, y, y_new = digits_of(seed)
        new = model.predict_proba(X_new)
        temperatures.append(best_temperature(model.oof_decision_function_, y))
        pairs["out-of-fold"].append((model.oof_decision_function_, y))
        pairs["new samples"].append((new, y_new))
        pairs["new samples, temperature"].append((tempered(new, temperatures[-1]), y_new))
    reliability[name] = {what: by_confidence(found) for what, found in pairs.items()}
    print(f"{name}: temperature {np.mean(temperatures):.2f}")
    for what, found in pairs.items():
        print(f"  log loss, {what:<26}{np.mean([log_loss(y, p) for p, y in found]):.3f}")

# %%
# Above the diagonal a model is right more often than it says. Both committees are too modest on new samples; only the
# second one's out-of-fold predictions show it.

figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharey=True, layout="constrained")
for axis, (name, curves) in zip(axes, reliability.items(), strict=True):
    axis.plot([0.3, 1], [0.3, 1], color="0.8")
    for (what, curve), style in zip(curves.items(), ("s--", "o-", "^:"), strict=True):
        axis.errorbar(*curve, fmt=style, capsize=2, label=what)
    axis.set(xlabel="probability of the most likely class", title=name)
    axis.legend(frameon=False)
axes[0].set_ylabel("share of samples where it is right")
figure.suptitle("How often a committee is right, by the probability that it says (standard errors: one split)")
plt.show()

# %%
# Prediction intervals
# --------------------
# How far off will a prediction be? Residuals on training samples are too small. Out-of-fold residuals are not, and a
# quantile of them to both sides of ``predict`` is an interval. CV+ (Barber et al., 2021) centres each residual on the
# prediction of the member that it is of, so that it also tells where members disagree. For that, members are asked
# one by one, and ``cv`` says which fold each of them held out: member k the k-th. Ninety percent of new samples should
# be inside.

N_FOLDS, LEVEL = 8, 0.9


def of_members(model, X):
    """Prediction of each member, (n_members, n_samples)."""
    scaled = [torch.as_tensor(model.scalers_[name].transform(X[name])) for name in model.modalities_]
    inputs = {f"m{j}": array for j, array in enumerate(scaled)}
    with torch.no_grad():
        outputs = [member(inputs).prediction.numpy() for member in model.net_.module_.members]
    return np.stack([model.target_scaler_.inverse_transform(output).ravel() for output in outputs])


def smallest(values, share):
    """The k-th smallest of n values, k the share of n + 1 rounded up."""
    return np.sort(values, axis=0)[int(np.ceil(share * (len(values) + 1))) - 1]


intervals = {"training residuals": [], "out-of-fold residuals": [], "CV+": []}
for seed in SEEDS:
    X, X_new, y, y_new = diabetes_of(seed)
    folds = KFold(N_FOLDS, shuffle=True, random_state=seed)
    model = fitted(MDMFusionRegressor, X, y, N_FOLDS, seed, cv=folds)
    predicted, each = model.predict(X_new), of_members(model, X_new)
    assert np.allclose(each.mean(axis=0), predicted)

    residuals = np.abs(y - model.oof_prediction_)
    for name, found in {"training residuals": np.abs(y - model.predict(X)), "out-of-fold residuals": residuals}.items():
        half = smallest(found, LEVEL)
        intervals[name].append((predicted - half, predicted + half, y_new))

    fold = np.empty(len(y), dtype=int)
    for k, (_, held_out) in enumerate(folds.split(y)):
        fold[held_out] = k
    low = -smallest(residuals[:, None] - each[fold], LEVEL)
    high = smallest(residuals[:, None] + each[fold], LEVEL)
    intervals["CV+"].append((low, high, y_new))

for name, found in intervals.items():
    inside = [np.mean((low <= y_new) & (y_new <= high)) for low, high, y_new in found]
    width = np.mean([np.mean(high - low) for low, high, _ in found])
    print(f"{name:<24}coverage {np.mean(inside):.3f} ({min(inside):.2f} to {max(inside):.2f}), width {width:.0f}")

# %%
# The intervals of the last split. Samples are in order of their predictions.

figure, axis = plt.subplots(figsize=(9, 3.6), layout="constrained")
low, high, y_new = intervals["CV+"][-1]
order = np.argsort(predicted)
axis.fill_between(np.arange(len(order)), low[order], high[order], color="0.88", label="CV+, 90 %")
axis.plot(predicted[order], color="black", label="prediction")
axis.plot(y_new[order], ".", color="#0072B2", label="new samples")
axis.set(xlabel="sample, by its prediction", ylabel="progress of diabetes")
axis.set_title("Prediction intervals of 90 % on new samples of the diabetes data")
axis.legend(frameon=False, ncols=3)
plt.show()
