"""The data sets of the benchmarks of quality: read, cut into views, and split.

A task's name may carry variants behind colons: a number keeps so many labelled rows a class (of regression: in all) of
what is fitted and drops the others, and with a ``+`` behind it keeps the same rows and has the others without labels; a
number such as ``.9`` is a share of the rows of each class. ``pooled`` replaces sequences by mean and standard deviation
over their observed steps, and ``30%`` removes that share of all cells at random, other ones for every seed. Development
rows are the training and validation parts of a file, and what is not the test part of the scikit-learn sets, whose
stratified 3:1 split depends on the seed. Nothing is ever chosen on a test part: to validate, a quarter of the
development rows is judged (each of the four quarters in turn where there are at most 500), classes and groups
respected; of the scikit-learn sets those of seed 0, so that the test rows of that seed are never read.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold, train_test_split

SMALL = 500  # development rows up to which all four quarters are judged in validation
FEW = re.compile(r"(\d+|\.\d+)(\+?)")  # how many labels, and whether the other rows stay


@dataclass
class Part:
    """Some samples: modalities with NaN for what was not observed; ``rows`` tell samples of one data set apart.

    ``unlabelled`` are the modalities of further rows, to be fitted without labels; None where there are none.
    """

    X: dict[str, np.ndarray]
    y: np.ndarray
    groups: np.ndarray | None = None
    rows: np.ndarray | None = None
    unlabelled: dict[str, np.ndarray] | None = None

    def __post_init__(self):
        if self.rows is None:
            self.rows = np.arange(len(self.y))

    def take(self, rows):
        groups = None if self.groups is None else self.groups[rows]
        return Part({name: x[rows] for name, x in self.X.items()}, self.y[rows], groups, self.rows[rows])


@dataclass
class Task:
    """A data set, and how it is split.

    ``folds(seed)`` yields (fit, judge): the parts to train on and to predict. ``kind`` is that of the figures.
    """

    kind: str
    folds: Callable[[int], Iterator[tuple[Part, Part]]]
    splits_vary: bool = False  # with the seed
    params: dict | None = None  # of our estimators, where the defaults would be wrong


def fingerprint(task, seed):
    """A digest of all that is fitted and judged with a seed."""
    digest = hashlib.sha256(repr((task.kind, task.params)).encode())
    for parts in task.folds(seed):
        for part in parts:
            for name, x in (*part.X.items(), *(part.unlabelled or {}).items()):
                digest.update(name.encode() + repr(x.shape).encode() + np.ascontiguousarray(x).tobytes())
            digest.update(part.y.tobytes())
            digest.update(b"" if part.groups is None else part.groups.tobytes())
    return digest.hexdigest()


# -- parts -----------------------------------------------------------------------------------------------------------


def _read(data, split, views, target_type):
    X = {view: data[f"{split}_{view}"].astype(np.float32) for view in views}
    groups = data[f"{split}_group"] if f"{split}_group" in data.files else None
    return Part(X, data[f"{split}_y"].astype(target_type), groups)


def _join(*parts):
    groups = None if parts[0].groups is None else np.concatenate([part.groups for part in parts])
    X = {name: np.concatenate([part.X[name] for part in parts]) for name in parts[0].X}
    return Part(X, np.concatenate([part.y for part in parts]), groups)


def pool(x):
    """Mean and standard deviation over the observed steps of sequences (n, steps, d); vectors as they are."""
    if x.ndim == 2:
        return x
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NaN, where no step was observed, is what is wanted
        return np.hstack([np.nanmean(x, axis=1), np.nanstd(x, axis=1)])


def _pooled(part):
    return Part({name: pool(x) for name, x in part.X.items()}, part.y, part.groups, part.rows)


def _few(fit, variant, *, classes, seed):
    """K rows of each class, or of all, drawn at random; the others without labels, or left out."""
    number, rest = FEW.fullmatch(variant).groups()
    k = float(number) if number.startswith(".") else int(number)
    rng = np.random.default_rng([seed, round(1e6 * k) if k < 1 else k])
    rows = rng.permutation(len(fit.y))
    units = [rows[fit.y[rows] == label] for label in np.unique(fit.y)] if classes else [rows]
    chosen = np.sort(np.concatenate([unit[: max(1, round(k * len(unit))) if k < 1 else k] for unit in units]))
    few, others = fit.take(chosen), np.setdiff1d(rows, chosen)
    if rest and len(others):
        few.unlabelled = fit.take(others).X
    return few


def _with_holes(part, share, *, seed):
    """Each cell that is there is removed with this probability."""
    rng = np.random.default_rng([seed, round(1e6 * share)])
    X = {name: np.where(rng.random(x.shape) < share, np.float32(np.nan), x) for name, x in part.X.items()}
    return Part(X, part.y, part.groups, part.rows)


def keep(X, views):
    """X with all other views missing."""
    return {name: x if name in views else np.full_like(x, np.nan) for name, x in X.items()}


# -- splits ----------------------------------------------------------------------------------------------------------


def splitter(part, n_folds, *, classes, seed):
    """Scikit-learn's splitter for these samples, with as many folds as classes and groups allow; None below two."""
    if classes:
        labels, units = part.y, np.arange(len(part.y)) if part.groups is None else part.groups
        n_folds = min(n_folds, *(len(np.unique(units[labels == label])) for label in np.unique(labels)))
        kind = StratifiedKFold if part.groups is None else StratifiedGroupKFold
    else:
        n_folds = min(n_folds, len(part.y) if part.groups is None else len(np.unique(part.groups)))
        kind = KFold if part.groups is None else GroupKFold
    return kind(n_folds, shuffle=True, random_state=seed) if n_folds > 1 else None


def quarters(part, classes, seed):
    """Parts to choose settings with, all inside ``part``."""
    folds = splitter(part, 4, classes=classes, seed=seed).split(part.y, part.y, part.groups)
    for fit, judge in folds:
        yield part.take(fit), part.take(judge)
        if len(part.y) > SMALL:
            return


def _cross_validation(part, n_folds):
    def folds(seed):
        for fit, judge in splitter(part, n_folds, classes=False, seed=seed).split(part.y, part.y, part.groups):
            yield part.take(fit), part.take(judge)

    return folds


# -- data sets: (kind, development part, test part, parameters), or a Task ---------------------------------------------


def _file(data, kind, views, prepare=None, dev=("train",)):
    """The parts of a file; ``prepare(data, split, part)`` marks what was not observed."""

    def part(split):
        found = _read(data, split, views, int if kind == "classes" else np.float64)
        return found if prepare is None else prepare(data, split, found)

    return kind, _join(*map(part, dev)), part("test")


def _mask_padding(data, split, part):
    text = part.X["text"]
    text[np.arange(text.shape[1]) >= data[f"{split}_text_length"][:, None]] = np.nan
    return part


def _mask_zero_steps(data, split, part):
    for x in part.X.values():
        x[(x == 0).all(axis=-1)] = np.nan
    return part


def mosi_bclstm(data, validate):
    """Train to test. The visual and text features of train have seen its labels: no stopping, and no validation."""
    if validate:
        return None
    kind, fit, judge = _file(data, "sentiment", ("audio", "visual", "text"))
    return Task(kind, lambda seed: iter([(fit, judge)]), params={"early_stopping": False})


def mosi_bclstm_cv(data, validate):
    """The 752 test utterances, whose features have not seen labels, in five folds by video."""
    if validate:
        return None
    part = _file(data, "sentiment", ("audio", "visual", "text"))[2]
    return Task("sentiment", _cross_validation(part, 5), splits_vary=True)


def mmmo_trimodal(data, validate):
    """Valid and test, where text is there, in ten folds."""
    if validate:
        return None
    part = _join(*_file(data, "review", ("audio", "visual", "text"), _mask_zero_steps, dev=("valid",))[1:])
    return Task("review", _cross_validation(part, 10), splits_vary=True)


def pom(data, validate):
    """The trait "sentiment" of 17."""
    kind, dev, test = _file(data, "traits", ("audio", "visual"), _mask_zero_steps, dev=("train", "valid"))
    column = data["label_names"].tolist().index("sentiment")
    dev.y, test.y = dev.y[:, column], test.y[:, column]
    return kind, dev, test


def _digits():
    images, y = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8).astype(np.float32)
    bands = {"top": images[:, :3], "middle": images[:, 3:5], "bottom": images[:, 5:]}
    return "classes", Part({name: band.reshape(len(y), -1) for name, band in bands.items()}, y)


def _columns(load, kind, **views):
    X, y = load(return_X_y=True)
    X = X.astype(np.float32)
    return kind, Part({name: X[:, columns] for name, columns in views.items()}, y)


DIGITS = ("fou", "fac", "kar", "pix", "zer", "mor")
OMICS = ("mrna", "methylation", "mirna")
IMAGES = ("gist", "lbp", "phog")
BOTH = ("train", "valid")

# Name -> (file, what makes a Task of it, or its parts).
FILES = {
    "mfeat": ("mfeat", lambda d, v: _file(d, "classes", DIGITS, dev=BOTH)),
    "leaves100": ("leaves100", lambda d, v: _file(d, "classes", ("margin", "shape", "texture"), dev=BOTH)),
    "rosmap": ("rosmap", lambda d, v: _file(d, "classes", OMICS)),
    "scene15": ("scene15", lambda d, v: _file(d, "classes", IMAGES, dev=BOTH)),
    "landuse": ("landuse", lambda d, v: _file(d, "classes", IMAGES, dev=BOTH)),
    "breast_tcga": ("breast_tcga", lambda d, v: _file(d, "classes", ("mirna", "mrna"))),
    "mosi_bclstm": ("mosi_bclstm", mosi_bclstm),
    "mosi_bclstm_cv": ("mosi_bclstm", mosi_bclstm_cv),
    "mosi_text_audio": (
        "mosi_text_audio",
        lambda d, v: _file(d, "sentiment", ("text", "audio"), _mask_padding, dev=BOTH),
    ),
    "mmmo": ("mmmo", lambda d, v: _file(d, "review", ("audio", "visual"), _mask_zero_steps, dev=BOTH)),
    "mmmo_trimodal": ("mmmo", mmmo_trimodal),
    "pom": ("pom_audio_visual", pom),
}
# Sets that come with scikit-learn; views are blocks of columns that belong together.
BUNDLED = {
    "digits": _digits,
    "breast_cancer": partial(
        _columns, load_breast_cancer, "classes", mean=slice(10), error=slice(10, 20), worst=slice(20, 30)
    ),
    "wine": partial(
        _columns, load_wine, "classes", minerals=[0, 1, 2, 3, 4], phenols=[5, 6, 7, 8], colour=[9, 10, 11, 12]
    ),
    "diabetes": partial(_columns, load_diabetes, "disease", person=[0, 1], body=[2, 3], blood=[4, 5, 6, 7, 8, 9]),
}
SUITES = {
    "main": [
        *("mfeat", "mfeat:5", "digits", "digits:5", "leaves100", "leaves100:3", "rosmap", "scene15", "landuse"),
        *("breast_tcga", "mosi_bclstm", "mosi_bclstm_cv", "mosi_text_audio:pooled", "mmmo:pooled"),
        *("breast_cancer", "wine", "diabetes"),
    ],
    "few": [
        *("mfeat:2", "mfeat:20", "digits:2", "digits:20", "leaves100:1", "leaves100:5", "scene15:3", "scene15:20"),
        *("landuse:3", "landuse:20", "rosmap:25", "breast_tcga:10", "breast_cancer:10", "wine:5"),
        *("mosi_text_audio:pooled:100", "diabetes:50"),
    ],
    "sequences": ["mosi_text_audio", "mmmo", "mmmo_trimodal", "pom"],
}


def is_task(name):
    base, *variants = name.split(":")
    shares = [v.removesuffix("%") for v in variants if v.endswith("%")]
    numbers = [v for v in variants if v != "pooled" and not v.endswith("%")]
    known = base in {**FILES, **BUNDLED} and all(v.isdigit() and 0 < int(v) < 100 for v in shares)
    # Cells are removed from labelled rows only.
    known = known and not (shares and any(v.endswith("+") for v in numbers))
    return known and all(FEW.fullmatch(v) and float(v.rstrip("+")) > 0 for v in numbers)


def _made(base, data, validate):
    """The Task of a name without variants; None where there is nothing to validate on."""
    if base in FILES:
        file, make = FILES[base]
        with np.load(data / f"{file}.npz") as arrays:
            made = make(arrays, validate)
        if made is None or isinstance(made, Task):
            return made
        kind, dev, test = made
        if not validate:
            return Task(kind, lambda seed: iter([(dev, test)]))
    else:
        kind, whole = BUNDLED[base]()

        def split(seed):
            stratify = whole.y if kind == "classes" else None
            both = train_test_split(np.arange(len(whole.y)), test_size=0.25, stratify=stratify, random_state=seed)
            return tuple(whole.take(np.sort(rows)) for rows in both)

        if not validate:
            return Task(kind, lambda seed: iter([split(seed)]), splits_vary=True)
        dev = split(0)[0]
    return Task(kind, partial(quarters, dev, kind == "classes"), splits_vary=True)


def load_task(name, data, validate=False):
    """The Task of a name, read from the folder ``data``; None where there is nothing to validate on."""
    base, *variants = name.split(":")
    task = _made(base, data, validate)
    if task is None:
        return None
    folds, few = task.folds, [v for v in variants if FEW.fullmatch(v)]
    shares = [int(v.removesuffix("%")) / 100 for v in variants if v.endswith("%")]

    def varied(seed):
        for fit, judge in folds(seed):
            if "pooled" in variants:
                fit, judge = _pooled(fit), _pooled(judge)
            for variant in few:
                fit = _few(fit, variant, classes=task.kind == "classes", seed=seed)
            for share in shares:
                # Other cells of the rows that are judged than of those that are fitted.
                fit, judge = _with_holes(fit, share, seed=2 * seed), _with_holes(judge, share, seed=2 * seed + 1)
            yield fit, judge

    return Task(task.kind, varied, task.splits_vary or bool(few or shares), task.params) if variants else task
