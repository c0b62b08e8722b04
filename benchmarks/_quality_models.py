"""Our estimators in the benchmarks of quality, and the figures of a model on a task."""

from __future__ import annotations

import argparse
import ast
import sys
import time
import warnings
from functools import partial

import numpy as np
from _quality_baselines import BASELINES, OPTIONAL, columns_of
from sklearn.metrics import mean_absolute_error

from sklearn_mdm import MDMFusionClassifier, MDMFusionRegressor
from sklearn_mdm.encoders._modality_encoders import ENCODERS
from sklearn_mdm.exceptions import TooFewSamplesError
from sklearn_mdm.fusion import FUSIONS
from sklearn_mdm.measures import MEASURES
from sklearn_mdm.metrics import acc2_score, acc7_score, pearson_score

# -- figures ---------------------------------------------------------------------------------------------------------


def binary(y, p):
    return float(((y > 3.5) == (p > 3.5)).mean())


def pearson(y, p):
    """0 where one side is constant, which says nothing."""
    return float(pearson_score(y, p)) if min(np.ptp(y), np.ptp(p)) > 0 else 0.0


VALUES = {"mae": mean_absolute_error, "pearson": pearson}
# Of predicted values, or of predicted labels.
METRICS = {
    "sentiment": {**VALUES, "acc7": acc7_score, "acc2": partial(acc2_score, zeros="non0")},
    "review": {**VALUES, "binary": binary},
    "traits": VALUES,
    "disease": VALUES,
    "classes": {"accuracy": lambda y, p: float((y == p).mean())},
}


def row_losses(kind, y, outputs, values):
    """What each sample costs: {"error": 0 or 1, or the absolute error; "log_loss": of classes}."""
    if kind != "classes":
        return {"error": np.abs(y - values)}
    known = np.where(y < outputs.shape[1], outputs[np.arange(len(y)), np.minimum(y, outputs.shape[1] - 1)], 0.0)
    return {"error": (y != values).astype(float), "log_loss": -np.log(np.maximum(known, 1e-7))}


def skill(kind, y, error):
    """Share of the error of the best constant that is gone: 1 is perfect, 0 no better than the constant."""
    if kind == "classes":
        return 1 - error / (1 - np.unique(y, return_counts=True)[1].max() / len(y))
    return 1 - error / mean_absolute_error(y, np.full(len(y), np.median(y)))


# -- our estimators --------------------------------------------------------------------------------------------------


def our_estimator(kind, params, seed):
    """The default estimator with some parameters changed, also those of its parts (such as ``encoder__dropout``)."""
    estimator = (MDMFusionClassifier if kind == "classes" else MDMFusionRegressor)(device="cpu", random_state=seed)
    for parent, registry in (("fusion", FUSIONS), ("encoder", ENCODERS), ("measure", MEASURES)):
        name = params.get(parent, getattr(estimator, parent))
        if isinstance(name, str) and any(key.startswith(parent + "__") for key in params):
            params = {**params, parent: registry[name]()}
    objects = {key: value for key, value in params.items() if "__" not in key}
    return estimator.set_params(**objects).set_params(**params)


class Ours:
    """A fusion estimator with given parameters."""

    seeded = True
    traits: tuple[str, ...] = ()  # what tells models with the same parameters apart

    def __init__(self, params):
        self.params = params

    def run(self, task, fit, judge, seed):
        """(what ``predict_proba`` or ``predict`` says of the judged part, its classes or values, details)."""
        estimator = our_estimator(task.kind, {**(task.params or {}), **self.params}, seed)
        start = time.perf_counter()
        estimator.fit(fit.X, fit.y, groups=fit.groups, **self.further(fit))
        seconds = time.perf_counter() - start
        start = time.perf_counter()
        values = estimator.predict(judge.X)
        details = {"seconds": seconds, "predict_seconds": time.perf_counter() - start, "epochs": estimator.n_iter_}
        outputs = columns_of(estimator, judge.X) if task.kind == "classes" else values
        return outputs, values, {**details, **self.more(estimator, fit, judge)}

    def further(self, fit):
        """What ``fit`` gets beside X, y and groups."""
        return {}

    def more(self, estimator, fit, judge):
        """Further details; under "rows" arrays with something for each judged row."""
        return dependency(estimator, fit, judge)


def dependency(estimator, fit, judge):
    """Nats on what is judged, with their standard error; nothing where there are too few samples to tell."""
    try:
        if not estimator.lam:
            estimator.fit_dependency(fit.X, groups=fit.groups)
        return {"dependency": estimator.dependency_score(judge.X, return_std=True)}
    except (TooFewSamplesError, ValueError):
        return {}


def parse_setting(assignments):
    """Parameters from ``name=value`` strings; a value that is no Python literal is taken as a string."""
    params = {}
    for assignment in assignments:
        name, separator, value = assignment.partition("=")
        if not separator:
            raise argparse.ArgumentTypeError(f"expected name=value, got {assignment!r}")
        try:
            params[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            params[name] = value
    return params


OURS = {
    "default": Ours({}),
    "lam=0": Ours({"lam": 0}),
    "f": Ours({"measure": "f"}),
    "wasserstein": Ours({"measure": "wasserstein"}),
}
MODELS = {**BASELINES, **OURS, **OPTIONAL}


# -- evaluation ------------------------------------------------------------------------------------------------------


def peak_memory():
    """The most memory that this process ever had, in MB; NaN where the system does not tell."""
    try:
        import resource
    except ImportError:
        return float("nan")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def evaluate(task, model, seed):
    """Figures of one model with one seed, over all folds of a task, and what each judged row cost.

    The memory is what the process grew by: a process that did something else before may show none.
    """
    before = peak_memory()
    found, details = [], []
    for fit, judge in task.folds(seed):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of convergence, and of modalities missing in some rows
            outputs, values, detail = model.run(task, fit, judge, seed)
        losses = row_losses(task.kind, judge.y, outputs, values)
        groups = judge.rows if judge.groups is None else judge.groups
        found.append(
            {"row": judge.rows, "group": groups, "y": judge.y, "prediction": values, **losses, **detail.get("rows", {})}
        )
        details.append(detail)
    rows = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
    figures = {name: float(metric(rows["y"], rows["prediction"])) for name, metric in METRICS[task.kind].items()}
    figures |= {name: float(rows[name].mean()) for name in losses}
    figures["skill"] = float(skill(task.kind, rows["y"], figures["error"]))
    figures |= {name: sum(detail[name] for detail in details) for name in ("seconds", "predict_seconds")}
    figures["slowest_fit"] = max(detail["seconds"] for detail in details)
    figures["memory"] = peak_memory() - before
    if "epochs" in details[0]:
        figures["epochs"] = float(np.mean([detail["epochs"] for detail in details]))
    scores = np.array([detail["dependency"] for detail in details if "dependency" in detail])
    if len(scores) == len(details):
        figures["dependency"] = float(scores[:, 0].mean())
        figures["dependency_std"] = float(np.sqrt((scores[:, 1] ** 2).sum()) / len(scores))
    return figures, rows
