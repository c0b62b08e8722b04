"""The data on which ``trust.py`` looks at estimates of dependency: each cell gives views, and the truth if it is known.

Truths are nats, infinite where one view determines a continuous one; None where nobody knows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from _dependency_tasks import Task, additive_of, bimodal_x, half_cube, pairs, tasks
from scipy import stats
from sklearn.datasets import load_breast_cancer, load_iris


@dataclass(frozen=True)
class Cell:
    """``maker(n, seed)`` gives the views; without ``sizes`` the data decide how many rows there are."""

    name: str
    maker: Callable[[int, int], dict[str, np.ndarray]]
    truth: float | None = None
    sizes: tuple[int, ...] = ()


def task_cells():
    return [Cell(task.name, task.maker, task.truth) for task in tasks()]


# -- coverage and independence -----------------------------------------------------------------------------------------

LEVELS = (0.1, 0.5, 1.5)


def level_cells():
    """Gaussians of two features a view, the same with other margins, and a uniform variable with uniform noise.

    The last is hard: where its noise ends, the density ratio falls to nothing at once.
    """
    # Two pairs of features, each of -log(1 - rho^2) / 2.
    gaussians = {nats: pairs(2, 2, math.sqrt(-math.expm1(-nats)), 2) for nats in LEVELS}
    return [
        *(Cell(f"gaussian {nats}", Task("", base).maker, base.truth) for nats, base in gaussians.items()),
        *(Cell(f"warped {nats}", Task("", base, bimodal_x, half_cube).maker, nats) for nats, base in gaussians.items()),
        *(Cell(f"additive {nats}", Task("", additive_of(nats)).maker, nats) for nats in LEVELS),
    ]


def independent_normals(n, seed, d=2):
    random = np.random.default_rng(seed)
    return {name: random.normal(size=(n, d)) for name in "xy"}


def independent_cauchys(n, seed):
    random = np.random.default_rng(seed)
    return {name: random.standard_cauchy(size=(n, 2)) for name in "xy"}


INDEPENDENT = [
    Cell("independent normals", independent_normals, 0.0, (300, 1000, 10_000)),
    Cell("independent cauchys", independent_cauchys, 0.0, (300, 1000, 10_000)),
]
WEAK = Cell("rho 0.2", Task("", pairs(1, 1, 0.2, 1)).maker, -0.5 * math.log1p(-(0.2**2)), (1000,))


# -- copies and odd columns --------------------------------------------------------------------------------------------


def near_copies(n, seed, rho, d):
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, d))
    return {"x": x, "y": rho * x + math.sqrt(1 - rho**2) * random.normal(size=(n, d))}


def degrees(n, seed):
    celsius = np.random.default_rng(seed).normal(15, 8, size=(n, 1))
    return {"celsius": np.round(celsius, 1), "fahrenheit": np.round(1.8 * celsius + 32, 1)}


def determined(n, seed, function):
    x = 2 * np.random.default_rng(seed).normal(size=(n, 1))
    return {"x": x, "y": function(x)}


def breast_cancer(n, seed):
    """Ten means, ten errors and ten extremes of the same ten properties of cell nuclei."""
    data = load_breast_cancer().data
    rows = np.random.default_rng(seed).permutation(len(data))[:n]
    return dict(zip(("mean", "error", "worst"), np.split(data[rows], 3, axis=1), strict=True))


def iris(n, seed):
    data = load_iris().data
    rows = np.random.default_rng(seed).permutation(len(data))
    return {"sepal": data[rows, :2], "petal": data[rows, 2:]}


CUTS = (-1.0, -0.3, 0.4, 1.2)


def ratings(n, seed, rho=0.8):
    """Five grades each, of correlated normals."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, 1))
    y = rho * x + math.sqrt(1 - rho**2) * random.normal(size=(n, 1))
    return {"x": np.digitize(x, CUTS).astype(float), "y": np.digitize(y, CUTS).astype(float)}


@cache
def ratings_truth(rho=0.8):
    """Mutual information of the table of probabilities that a bivariate normal gives to pairs of grades."""
    normal, edges = stats.multivariate_normal(cov=[[1, rho], [rho, 1]]), (-9, *CUTS, 9)
    below = normal.cdf(np.stack(np.meshgrid(edges, edges, indexing="ij"), axis=-1))
    joint = np.diff(np.diff(below, axis=0), axis=1)
    return float((joint * np.log(joint / joint.sum(1, keepdims=True) / joint.sum(0))).sum())


def constant_columns(n, seed):
    """Correlated normals, rho 0.8, with a column beside each that never changes."""
    views = near_copies(n, seed, rho=0.8, d=1)
    return {name: np.hstack([x, np.full((n, 1), 3.0)]) for name, x in views.items()}


def constant_view(n, seed):
    return {"x": np.random.default_rng(seed).normal(size=(n, 2)), "y": np.ones((n, 2))}


def dates(n, seed):
    """Seconds since 1970 over two years, some of them missing and written as zero, beside a value that grew."""
    random = np.random.default_rng(seed)
    share = random.uniform(size=(n, 1))
    seconds = np.round(1.6725e9 + share * 2 * 365 * 86_400)
    grown = math.sqrt(12) * (share - 0.5) + 0.5 * random.normal(size=(n, 1))
    return {"date": np.where(random.uniform(size=(n, 1)) < 0.03, 0.0, seconds), "value": grown}


def gaussian_truth(rho, d):
    return -0.5 * d * math.log1p(-(rho**2)) if rho < 1 else math.inf


def copy_cells():
    return [
        *(
            Cell(f"rho {rho} {d}x{d}", partial(near_copies, rho=rho, d=d), gaussian_truth(rho, d), (300,))
            for d in (1, 3)
            for rho in (0.9, 0.95, 0.99, 0.999, 0.9999, 1)
        ),
        Cell("degrees", degrees, None, (300,)),
        Cell("square", partial(determined, function=np.square), math.inf, (300,)),
        Cell("sine", partial(determined, function=np.sin), math.inf, (300,)),
        Cell("breast cancer", breast_cancer, None, (100, 200, 300, 569)),
        Cell("iris", iris, None, (150,)),
        Cell("ratings", ratings, ratings_truth(), (300,)),
        Cell("constant columns", constant_columns, gaussian_truth(0.8, 1), (300,)),
        Cell("constant view", constant_view, 0.0, (300,)),
        Cell("dates", dates, None, (300,)),
    ]
