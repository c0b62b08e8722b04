"""Quality of the default estimators on real data, beside linear models, gradient boosting and a plain network.

Without ``--validate`` every model is fitted on the training part of each data set (a validation part stops our
training, and joins the training data of the scikit-learn models) and judged on the test part. The scikit-learn models
read the standardised concatenation, sequences as mean and standard deviation over the observed steps. Each such look
at a test part is appended to ``test_evaluations.jsonl`` beside ``--out``.

With ``--validate`` no test part is read: validation parts and cross-validation inside train, for choosing settings.

    python benchmarks/quality.py --data DIR
    python benchmarks/quality.py --data DIR --only rosmap --seeds 1
    python benchmarks/quality.py --data DIR --validate --set lam=0.1 --set lam=0.3 unroll=5 --set encoder__dropout=0.2

Figures: mae, pearson; acc7: agreement after clipping to [-3, 3] and rounding; acc2: agreement in sign, samples with
y = 0 left out; binary: agreement on y > 3.5; accuracy and log_loss; skill: share of the error (mae, 1 - accuracy) of
the best constant that is gone; dependency: nats on the part that is judged, with its standard error (from
``fit_dependency`` on the training part where ``lam=0``); seconds of the fit. Predictions of all folds are pooled first.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import ast
import json
import time
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import commit, environment, now, table, write_json
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegressionCV, RidgeCV
from sklearn.metrics import mean_absolute_error
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_mdm import MDMFusionClassifier, MDMFusionRegressor
from sklearn_mdm.encoders._modality_encoders import ENCODERS
from sklearn_mdm.fusion import FUSIONS
from sklearn_mdm.measures import MEASURES
from sklearn_mdm.metrics import acc2_score, acc7_score, pearson_score

# -- metrics ---------------------------------------------------------------------------------------------------------


def binary(y, p):
    return float(((y > 3.5) == (p > 3.5)).mean())


def accuracy(y, p):
    return float((y == p.argmax(axis=1)).mean())


def log_loss(y, p):
    return float(-np.log(np.maximum(p[np.arange(len(y)), y], 1e-7)).mean())


METRICS = {
    "sentiment": {
        "mae": mean_absolute_error,
        "pearson": pearson_score,
        "acc7": acc7_score,
        "acc2": partial(acc2_score, zeros="non0"),
    },
    "review": {"mae": mean_absolute_error, "pearson": pearson_score, "binary": binary},
    "classes": {"accuracy": accuracy, "log_loss": log_loss},  # of probabilities; classes are 0, 1, ...
}


def skill(kind, y, figures):
    """Share of the error of the best constant that is gone: 1 is perfect, 0 no better than the constant."""
    if kind == "classes":
        return 1 - (1 - figures["accuracy"]) / (1 - np.unique(y, return_counts=True)[1].max() / len(y))
    return 1 - figures["mae"] / mean_absolute_error(y, np.full(len(y), np.median(y)))


# -- data ------------------------------------------------------------------------------------------------------------


@dataclass
class Part:
    """Some samples: modalities with NaN for what was not observed."""

    X: dict[str, np.ndarray]
    y: np.ndarray
    groups: np.ndarray | None = None

    def take(self, rows):
        groups = None if self.groups is None else self.groups[rows]
        return Part({name: x[rows] for name, x in self.X.items()}, self.y[rows], groups)


@dataclass
class Task:
    """A data set, and how it is split.

    ``folds(seed)`` yields (fit, stop, judge): the parts to train on, to stop on (or None), and to predict.
    """

    kind: str
    folds: Any
    splits_vary: bool = False  # with the seed
    params: dict[str, Any] | None = None  # of our estimators, where the defaults would be wrong


def _part(data, split, views, target_type=np.float64):
    X = {view: data[f"{split}_{view}"].astype(np.float32) for view in views}
    groups = data[f"{split}_group"] if f"{split}_group" in data.files else None
    return Part(X, data[f"{split}_y"].astype(target_type), groups)


def _join(*parts):
    groups = None if parts[0].groups is None else np.concatenate([part.groups for part in parts])
    X = {name: np.concatenate([part.X[name] for part in parts]) for name in parts[0].X}
    return Part(X, np.concatenate([part.y for part in parts]), groups)


def _cross_validation(part, splitter, stop=None):
    """Folds of a part; ``splitter(seed)`` makes a scikit-learn splitter."""

    def folds(seed):
        for fit, judge in splitter(seed).split(part.y, part.y, part.groups):
            yield part.take(fit), stop, part.take(judge)

    return folds


def _once(fit, stop, judge):
    return lambda seed: iter([(fit, stop, judge)])


def mosi_bclstm(data, validate):
    """Train to test. The visual and text features of train have seen its labels: no stopping, and no validation."""
    if validate:
        return None
    views = ("audio", "visual", "text")
    fit, judge = _part(data, "train", views), _part(data, "test", views)
    return Task("sentiment", _once(fit, None, judge), params={"early_stopping": False})


def mosi_bclstm_cv(data, validate):
    """The 752 test utterances, whose features have not seen labels, in ten folds by video."""
    if validate:
        return None
    part = _part(data, "test", ("audio", "visual", "text"))
    return Task("sentiment", _cross_validation(part, lambda seed: GroupKFold(10)))


def mosi_text_audio(data, validate):
    parts = []
    for split in ("train", "valid") if validate else ("train", "valid", "test"):
        part = _part(data, split, ("text", "audio"))
        text = part.X["text"]
        text[np.arange(text.shape[1]) >= data[f"{split}_text_length"][:, None]] = np.nan
        parts.append(part)
    # Stopping on the part that is judged would flatter: in validation the estimator holds out videos of train.
    folds = _once(parts[0], None, parts[1]) if validate else _once(*parts)
    return Task("sentiment", folds)


def _review_part(data, split, views):
    part = _part(data, split, views)
    for x in part.X.values():
        x[(x == 0).all(axis=-1)] = np.nan
    return part


def mmmo(data, validate):
    views = ("audio", "visual")
    fit, stop = (_review_part(data, split, views) for split in ("train", "valid"))
    if validate:
        splitter = lambda seed: KFold(5, shuffle=True, random_state=seed)  # noqa: E731
        return Task("review", _cross_validation(fit, splitter, stop), splits_vary=True)
    return Task("review", _once(fit, stop, _review_part(data, "test", views)))


def mmmo_trimodal(data, validate):
    """Valid and test, where text is there, in ten folds."""
    if validate:
        return None
    part = _join(*(_review_part(data, split, ("audio", "visual", "text")) for split in ("valid", "test")))
    return Task("review", _cross_validation(part, lambda seed: KFold(10, shuffle=True, random_state=0)))


def rosmap(data, validate):
    views = ("mrna", "methylation", "mirna")
    fit = _part(data, "train", views, int)
    if validate:
        # Ten folds leave more samples than early_stopping="auto" asks for, as all of train does.
        splitter = lambda seed: StratifiedKFold(10, shuffle=True, random_state=seed)  # noqa: E731
        return Task("classes", _cross_validation(fit, splitter), splits_vary=True)
    return Task("classes", _once(fit, None, _part(data, "test", views, int)))


def mfeat(data, validate):
    views = ("fou", "fac", "kar", "pix", "zer", "mor")
    fit, valid = (_part(data, split, views, int) for split in ("train", "valid"))
    if validate:
        return Task("classes", _once(fit, None, valid))
    return Task("classes", _once(fit, valid, _part(data, "test", views, int)))


# Name -> (file, maker).
TASKS = {
    "mosi_bclstm": ("mosi_bclstm", mosi_bclstm),
    "mosi_bclstm_cv": ("mosi_bclstm", mosi_bclstm_cv),
    "mosi_text_audio": ("mosi_text_audio", mosi_text_audio),
    "mmmo": ("mmmo", mmmo),
    "mmmo_trimodal": ("mmmo", mmmo_trimodal),
    "rosmap": ("rosmap", rosmap),
    "mfeat": ("mfeat", mfeat),
}


# -- models ----------------------------------------------------------------------------------------------------------


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

    def __init__(self, params):
        self.params = params

    def run(self, task, fit, stop, judge, seed):
        estimator = our_estimator(task.kind, {**(task.params or {}), **self.params}, seed)
        start = time.perf_counter()
        stopping = {} if stop is None else {"X_val": stop.X, "y_val": stop.y}
        estimator.fit(fit.X, fit.y, groups=fit.groups, **stopping)
        seconds = time.perf_counter() - start
        if estimator.lam == 0:
            estimator.fit_dependency(fit.X, groups=fit.groups)
        dependency = estimator.dependency_score(judge.X, return_std=True)
        details = {"seconds": seconds, "epochs": estimator.n_iter_, "dependency": dependency}
        return predict(task.kind, estimator, judge.X), details


class ScikitLearn:
    """A scikit-learn model on the standardised concatenation."""

    def __init__(self, regressor, classifier, *, seeded):
        self.regressor, self.classifier, self.seeded = regressor, classifier, seeded
        self.params = {}

    def run(self, task, fit, stop, judge, seed):
        fit = fit if stop is None else _join(fit, stop)
        make = self.classifier if task.kind == "classes" else self.regressor
        # A plain network must not stop on leaking features either.
        model = make(seed, (task.params or {}).get("early_stopping", True))
        pipeline = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), model)
        start = time.perf_counter()
        pipeline.fit(flatten(fit.X), fit.y)
        seconds = time.perf_counter() - start
        return predict(task.kind, pipeline, flatten(judge.X)), {"seconds": seconds}


def predict(kind, model, X):
    return model.predict_proba(X) if kind == "classes" else model.predict(X)


def flatten(X):
    """All features side by side; sequences as mean and standard deviation over the observed steps."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NaN, where no step was observed, is what is wanted
        blocks = [x if x.ndim == 2 else np.hstack([np.nanmean(x, axis=1), np.nanstd(x, axis=1)]) for x in X.values()]
    return np.hstack(blocks).astype(np.float64)


BASELINES = {
    "linear": ScikitLearn(
        lambda seed, stopping: RidgeCV(np.logspace(-2, 5, 15)),
        lambda seed, stopping: LogisticRegressionCV(
            Cs=np.logspace(-4, 0, 5), cv=3, max_iter=300, l1_ratios=(0,), use_legacy_attributes=False
        ),
        seeded=False,
    ),
    "boosting": ScikitLearn(
        lambda seed, stopping: HistGradientBoostingRegressor(random_state=0, max_leaf_nodes=15, learning_rate=0.1),
        lambda seed, stopping: HistGradientBoostingClassifier(random_state=0, max_leaf_nodes=7, max_iter=60),
        seeded=False,
    ),
    "MLP": ScikitLearn(
        lambda seed, stopping: MLPRegressor(random_state=seed, early_stopping=stopping, max_iter=300),
        lambda seed, stopping: MLPClassifier(random_state=seed, early_stopping=stopping, max_iter=300),
        seeded=True,
    ),
}
OURS = {
    "mdm lam=0": Ours({"lam": 0}),
    "mdm kl": Ours({"measure": "kl"}),
    "mdm f": Ours({"measure": "f"}),
    "mdm wasserstein": Ours({"measure": "wasserstein"}),
}


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


# -- evaluation ------------------------------------------------------------------------------------------------------


def evaluate(task, model, seed):
    """Figures of one model with one seed, over all folds of a task."""
    y, predictions, details = [], [], []
    for fit, stop, judge in task.folds(seed):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of convergence, and of modalities missing in some rows
            prediction, detail = model.run(task, fit, stop, judge, seed)
        y.append(judge.y)
        predictions.append(prediction)
        details.append(detail)
    y, predictions = np.concatenate(y), np.concatenate(predictions)
    figures = {name: metric(y, predictions) for name, metric in METRICS[task.kind].items()}
    figures["skill"] = float(skill(task.kind, y, figures))
    figures["seconds"] = sum(detail["seconds"] for detail in details)
    if "epochs" in details[0]:
        figures["epochs"] = float(np.mean([detail["epochs"] for detail in details]))
        scores = np.array([detail["dependency"] for detail in details])
        figures["dependency"] = float(scores[:, 0].mean())
        figures["dependency_std"] = float(np.sqrt((scores[:, 1] ** 2).sum()) / len(scores))
    return figures


def append_line(path, record):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")


def seeds_of(task, model, n_seeds):
    """Seeds that make a difference."""
    if isinstance(model, ScikitLearn) and not model.seeded and not task.splits_vary:
        return range(1)
    return range(n_seeds)


def run_task(name, task, models, n_seeds, log):
    """All models on one task; returns the figures of each seed by model."""
    results = {}
    for label, model in models.items():
        runs = []
        for seed in seeds_of(task, model, n_seeds):
            figures = evaluate(task, model, seed)
            runs.append(figures)
            if log is not None:
                record = {"time": now(), "commit": commit(), "data": name, "model": label, "params": model.params}
                append_line(log, {**record, "task_params": task.params, "seed": seed, "figures": figures})
        results[label] = runs
        seconds = sum(run["seconds"] for run in runs)
        shown = ", ".join(f"{key} {np.mean([run[key] for run in runs]):.3f}" for key in METRICS[task.kind])
        print(f"{name}: {label}: {shown} ({len(runs)} seeds, {seconds:.1f} s)", flush=True)
    return results


def print_task(name, kind, results):
    columns = [*METRICS[kind], "skill", "dependency", "dependency_std", "epochs", "seconds"]
    rows = []
    for label, runs in results.items():
        row = [label]
        for column in columns:
            values = [run[column] for run in runs if column in run]
            digits = 1 if column in ("epochs", "seconds") else 3
            spread = f" ±{np.std(values, ddof=1):.{digits}f}" if len(values) > 1 and column in METRICS[kind] else ""
            row.append(f"{np.mean(values):.{digits}f}{spread}" if values else "-")
        rows.append(row)
    print(f"\n{name}: mean ± standard deviation over seeds")
    table(["model", *columns], rows)


def print_overview(results, kinds):
    """One column per data set with its main figure; mean skill, and mean rank by skill."""
    labels = list(next(iter(results.values())))

    def mean_skill(name, label):
        return np.mean([run["skill"] for run in results[name][label]])

    skills = np.array([[mean_skill(name, label) for name in results] for label in labels])
    # Rank 1 is best; equals share.
    ranks = (skills[None] > skills[:, None]).sum(1) + ((skills[None] == skills[:, None]).sum(1) + 1) / 2
    mains = {name: next(iter(METRICS[kinds[name]])) for name in results}
    rows = []
    for i, label in enumerate(labels):
        row = [label]
        for name, main in mains.items():
            values = [run[main] for run in results[name][label]]
            row.append(f"{np.mean(values):.4f}" + (f" ±{np.std(values, ddof=1):.3f}" if len(values) > 1 else ""))
        seconds = sum(run["seconds"] for name in results for run in results[name][label])
        rows.append([*row, f"{skills[i].mean():.4f}", f"{ranks[i].mean():.2f}", f"{seconds:.0f}"])
    print()
    table(["model", *(f"{name} {main}" for name, main in mains.items()), "mean skill", "mean rank", "seconds"], rows)
    print("skill: share of the error (mae, or 1 - accuracy) of the best constant that is gone")


def choose_models(args):
    if not args.validate:
        return {**BASELINES, **OURS}
    settings = {" ".join(assignments) or "defaults": Ours(parse_setting(assignments)) for assignments in args.set}
    return {**(BASELINES if args.baselines else {}), **(settings or OURS)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the .npz files")
    parser.add_argument("--seeds", type=int, default=5, help="seeds of each model (%(default)s)")
    parser.add_argument("--only", nargs="+", choices=TASKS, default=list(TASKS), metavar="NAME", help=", ".join(TASKS))
    parser.add_argument("--out", "--output", type=Path, help="JSON file (results/quality.json or validation.json)")
    parser.add_argument("--validate", action="store_true", help="use no test part")
    parser.add_argument(
        "--set",
        nargs="*",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="with --validate, a setting to try (one table row); repeat it to compare, leave it empty for the defaults",
    )
    parser.add_argument("--baselines", action="store_true", help="with --validate, run the scikit-learn models too")
    args = parser.parse_args()
    if (args.set or args.baselines) and not args.validate:
        parser.error("--set and --baselines need --validate: settings are not chosen on test parts")
    out = args.out or Path("results", "validation.json" if args.validate else "quality.json")
    log = None if args.validate else out.parent / "test_evaluations.jsonl"

    torch.set_num_threads(1)
    start = time.perf_counter()
    models = choose_models(args)
    results, kinds = {}, {}
    for name in args.only:
        file, make_task = TASKS[name]
        with np.load(args.data / f"{file}.npz") as data:
            task = make_task(data, args.validate)
        if task is None:
            print(f"{name}: left out, it has nothing to validate on")
            continue
        results[name], kinds[name] = run_task(name, task, models, args.seeds, log), task.kind
    if not results:
        parser.error("nothing to run")
    for name, by_model in results.items():
        print_task(name, kinds[name], by_model)
    print_overview(results, kinds)
    print(f"{time.perf_counter() - start:.0f} s in all")
    content = {"environment": environment(), "validate": args.validate, "results": results}
    params = {label: model.params for label, model in models.items()}
    write_json(out, {**content, "params": params})


if __name__ == "__main__":
    main()
