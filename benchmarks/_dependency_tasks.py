"""Pairs of arrays whose mutual information is known: 40 tasks, in the spirit of published benchmark suites.

Each is a base distribution with a density in closed form, of whose arrays each then goes through an injective map of
its own, which leaves mutual information as it is. The truth never comes from a sample.

    python benchmarks/_dependency_tasks.py

prints the tasks, the truths, and the mean log density ratio of a large sample beside them: the ratio is that of
scipy's densities, so that it shares no formula with the truths.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from scipy import stats
from scipy.special import digamma, gammaln, ndtr, ndtri

N = 10_000
Map = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Base:
    """A joint distribution of two arrays.

    ``draw(n, random)`` gives x and y, ``log_ratio(x, y)`` the log of p(x, y) / (p(x) p(y)) of rows, in nats; ``truth``
    is its expectation.
    """

    draw: Callable[[int, np.random.Generator], tuple[np.ndarray, np.ndarray]]
    log_ratio: Callable[[np.ndarray, np.ndarray], np.ndarray]
    truth: float


@dataclass(frozen=True)
class Task:
    """A base whose arrays are mapped; ``maker(n, seed)`` gives {"x", "y"}, ``truth`` nats."""

    name: str
    base: Base
    map_x: Map | None = None
    map_y: Map | None = None

    @property
    def truth(self) -> float:
        return self.base.truth

    def maker(self, n: int = N, seed: int = 0) -> dict[str, np.ndarray]:
        x, y = self.base.draw(n, np.random.default_rng(seed))
        return {"x": self.map_x(x) if self.map_x else x, "y": self.map_y(y) if self.map_y else y}


# -- bases -------------------------------------------------------------------------------------------------------------


def gaussian(correlation: np.ndarray, d: int) -> Base:
    """Standard normals, of which the first d are x.

    Entropies of Gaussians are half the log determinants but for constants that cancel, so that
    I = (log det R_x + log det R_y - log det R) / 2.
    """
    root, (rx, ry) = np.linalg.cholesky(correlation), (correlation[:d, :d], correlation[d:, d:])

    def draw(n, random):
        z = random.normal(size=(n, len(correlation))) @ root.T
        return z[:, :d], z[:, d:]

    def log_ratio(x, y):
        joint = stats.multivariate_normal(cov=correlation).logpdf(np.hstack([x, y]))
        return joint - stats.multivariate_normal(cov=rx).logpdf(x) - stats.multivariate_normal(cov=ry).logpdf(y)

    log_x, log_y, log_xy = (np.linalg.slogdet(r)[1] for r in (rx, ry, correlation))
    return Base(draw, log_ratio, float(log_x + log_y - log_xy) / 2)


def pairs(dx: int, dy: int, rho: float, n_pairs: int) -> Base:
    """Independent features but for the first of x and y, which are correlated pair by pair."""
    correlation = np.eye(dx + dy)
    for i in range(n_pairs):
        correlation[i, dx + i] = correlation[dx + i, i] = rho
    return gaussian(correlation, dx)


def dense(dx: int, dy: int, rho: float = 0.5) -> Base:
    """All features correlated with all others, inside an array and across."""
    return gaussian(np.full((dx + dy, dx + dy), rho) + (1 - rho) * np.eye(dx + dy), dx)


def student(d: int, df: float) -> Base:
    """A t distribution of 2 d features with identity as dispersion: dependent by the scale that all share.

    With c(k) = log Gamma((df + k) / 2) - log Gamma(df / 2) - k / 2 log(df pi), the log density of k features at squared
    length s is c(k) - (df + k) / 2 log(1 + s / df), and E log(1 + s / df) = digamma((df + k) / 2) - digamma(df / 2),
    which gives the entropy. Marginals are t of the same degrees of freedom: I = 2 h(d) - h(2 d).
    """

    def entropy(k):
        constant = gammaln((df + k) / 2) - gammaln(df / 2) - k / 2 * math.log(df * math.pi)
        return (df + k) / 2 * (digamma((df + k) / 2) - digamma(df / 2)) - constant

    def draw(n, random):
        z = random.normal(size=(n, 2 * d)) / np.sqrt(random.chisquare(df, size=(n, 1)) / df)
        return z[:, :d], z[:, d:]

    def log_ratio(x, y):
        joint, one = (stats.multivariate_t(shape=np.eye(k), df=df) for k in (2 * d, d))
        return joint.logpdf(np.hstack([x, y])) - one.logpdf(x) - one.logpdf(y)

    return Base(draw, log_ratio, float(2 * entropy(d) - entropy(2 * d)))


def additive(half_width: float) -> Base:
    """X uniform on (0, 1), Y = X + noise uniform on (-e, e).

    I = h(Y) - log 2e. The density of Y is a trapezoid. For e <= 1/2 it is 1 on the plateau, of entropy 0, and each
    ramp, of length 2e, has -2e int t log t = e / 2: h(Y) = e. For e >= 1/2 the plateau of length 2e - 1 is at 1 / 2e,
    and the ramps are of length 1: h(Y) = log 2e + 1 / 4e.
    """
    e = half_width

    def draw(n, random):
        x = random.uniform(size=(n, 1))
        return x, x + random.uniform(-e, e, size=(n, 1))

    def log_ratio(x, y):
        # p(y): the length of (y - e, y + e) inside (0, 1), over 2e. p(y | x) is 1 / 2e.
        return -np.log(np.minimum(y + e, 1) - np.maximum(y - e, 0)).ravel()

    return Base(draw, log_ratio, e - math.log(2 * e) if e <= 0.5 else 1 / (4 * e))


def additive_of(nats: float) -> Base:
    """``additive`` of the given truth, by bisection where it has no closed inverse."""
    if nats <= 0.5:
        return additive(1 / (4 * nats))
    low, high = 1e-9, 0.5  # the truth falls with the width
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if middle - math.log(2 * middle) > nats else (low, middle)
    return additive(low)


def overlapping(m: int) -> Base:
    """X uniform on 0 to m - 1, Y uniform on (X, X + 2).

    h(Y | X) = log 2. Y has density 1 / 2m on the first and the last unit and 1 / m on the m - 1 between:
    h(Y) = log m + log 2 / m, so that I = log m - log 2 (m - 1) / m.
    """

    def draw(n, random):
        x = random.integers(m, size=(n, 1)).astype(float)
        return x, x + random.uniform(0, 2, size=(n, 1))

    def log_ratio(x, y):
        outer = (y < 1) | (y > m)
        return np.where(outer, math.log(m), math.log(m / 2)).ravel()

    return Base(draw, log_ratio, math.log(m) - math.log(2) * (m - 1) / m)


# -- injective maps ----------------------------------------------------------------------------------------------------


def half_cube(x):
    return np.sign(x) * np.abs(x) ** 1.5


def wiggly_slow(x):
    return x + 0.4 * np.sin(x) + 0.2 * np.sin(1.7 * x + 1) + 0.03 * np.sin(3.3 * x - 2.5)  # slope at least 0.16


def wiggly_fast(x):
    return x - 0.08 * np.sin(6 * x + 0.5) + 0.05 * np.sin(4.2 * x) + 0.1 * np.sin(1.5 * x - 1)  # slope at least 0.16


@cache
def _quantiles(weight, first, second):
    """Normal scores, and the quantiles of the mixture that belong to them."""
    lowest = min(mean - 12 * sd for mean, sd in (first, second))
    highest = max(mean + 12 * sd for mean, sd in (first, second))
    t = np.linspace(lowest, highest, 200_001)
    parts = [(share, (t - mean) / sd) for share, (mean, sd) in ((weight, first), (1 - weight, second))]
    below, above = (sum(share * ndtr(sign * z) for share, z in parts) for sign in (1, -1))
    scores = np.where(below < 0.5, ndtri(below), -ndtri(above))  # each tail where it is exact
    return scores, t


def bimodal(x, weight, first, second):
    """Give standard normals the margins of a mixture of two normals (mean, sd)."""
    return np.interp(x, *_quantiles(weight, first, second))


bimodal_x = partial(bimodal, weight=0.3, first=(-2.0, 0.5), second=(1.0, 0.4))
bimodal_y = partial(bimodal, weight=0.5, first=(-1.0, 0.3), second=(3.0, 1.0))


def spiral(x, first):
    """Rotate rows in the plane of two neighbouring features by an angle in proportion to their squared length.

    exp(v |x|^2 A) x with A skew-symmetric: lengths stay, so that the inverse turns back by the same angle. The
    speed v gives angles a standard deviation of one on standard normals.
    """
    angle = np.square(x).sum(axis=1) / math.sqrt(2 * x.shape[1])
    cos, sin, (a, b) = np.cos(angle), np.sin(angle), x[:, first : first + 2].T
    out = x.copy()
    out[:, first], out[:, first + 1] = cos * a - sin * b, sin * a + cos * b
    return out


def swiss_roll(x):
    """Roll standard normals of one column up in a plane, after their distribution function."""
    t = 1.5 * math.pi * (1 + 2 * ndtr(x))
    return np.hstack([t * np.cos(t), t * np.sin(t)]) / 14


def column_by_column(x):
    """Another margin for each column: cumulative, half cubed, bimodal, wiggly, and again."""
    maps = (ndtr, half_cube, bimodal_x, wiggly_fast)
    return np.column_stack([maps[i % len(maps)](column) for i, column in enumerate(x.T)])


# -- the table ---------------------------------------------------------------------------------------------------------


def tasks() -> list[Task]:
    """Return the 40 tasks."""
    one, turn_x, turn_y = pairs(1, 1, 0.75, 1), partial(spiral, first=0), partial(spiral, first=1)
    sparse = {d: pairs(d, d, 0.8, 2) for d in (2, 3, 5, 25)}
    ts = [(1, 1), (2, 1), (2, 2), (3, 2), (3, 3), (5, 2), (5, 3), (5, 5)]
    return [
        Task("additive 0.1", additive(0.1)),
        Task("additive 0.75", additive(0.75)),
        Task("overlapping 5", overlapping(5)),
        Task("normal 1x1", one),
        Task("normal cdf 1x1", one, ndtr, ndtr),
        Task("bimodal 1x1", one, bimodal_x, bimodal_y),
        Task("wiggly 1x1", one, wiggly_slow, wiggly_fast),
        Task("half cube 1x1", one, half_cube, half_cube),
        Task("cdf and half cube 1x1", one, ndtr, half_cube),
        Task("swiss roll 2x1", pairs(1, 1, 0.8, 1), swiss_roll, ndtr),
        *(Task(f"dense {d}x{d}", dense(d, d)) for d in (2, 3, 5, 25, 50)),
        Task("dense 5x1", dense(5, 1)),
        Task("cdf dense 3x3", dense(3, 3), ndtr, ndtr),
        Task("bimodal and wiggly dense 2x2", dense(2, 2), bimodal_x, wiggly_slow),
        *(Task(f"sparse {d}x{d}", base) for d, base in sparse.items()),
        Task("cdf sparse 5x5", sparse[5], ndtr, ndtr),
        Task("half cube sparse 25x25", sparse[25], half_cube, half_cube),
        Task("mixed margins sparse 3x3", sparse[3], column_by_column, wiggly_fast),
        *(Task(f"spiral sparse {d}x{d}", sparse[d], turn_x, turn_y) for d in (3, 5, 25)),
        *(Task(f"t {d}x{d} dof {df}", student(d, df)) for d, df in ts),
        *(Task(f"asinh t {d}x{d} dof {df}", student(d, df), np.arcsinh, np.arcsinh) for d, df in (ts[0], *ts[1:6:2])),
    ]


def main() -> None:
    from _common import table

    n, rows = 400_000, []
    for task in tasks():
        x, y = task.base.draw(n, np.random.default_rng(7))
        ratios = task.base.log_ratio(x, y)
        mean, error = ratios.mean(), ratios.std() / math.sqrt(n)
        shapes = "x".join(str(array.shape[1]) for array in task.maker(10).values())
        within = "yes" if abs(mean - task.truth) <= 4 * error + 1e-9 else "NO"
        rows.append([task.name, shapes, *(f"{value:.4f}" for value in (task.truth, mean, error)), within])
    table(["task", "features", "truth", "mean log ratio", "its error", "within 4"], rows)
    grid = np.linspace(-6, 6, 1_000_001)
    for map_ in (half_cube, wiggly_slow, wiggly_fast, bimodal_x, bimodal_y, ndtr):
        print(getattr(map_, "__name__", map_.__class__.__name__), "increasing:", bool((np.diff(map_(grid)) > 0).all()))


if __name__ == "__main__":
    main()
