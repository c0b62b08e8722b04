"""The data of a case: X in its form, y, weights and groups; equal for equal cases."""

import numpy as np
import pandas as pd
import torch
from skorch.helper import SliceDict

from sklearn_mdm import ModalityDict

nan = np.nan
# In this order "text" is the first, which MAGFusion wants, and the sorted order is another.
NAMES = ("text", "audio", "visual")
FLOATS = {"f2", "f4", "f8", ">f4", ">f8", "object", "mixed"}
FACTORS = {"1e-200": 1e-200, "1e-163": 1e-163, "1e-40": 1e-40, "1e30": 1e30, "1e200": 1e200, "denormal": 5e-324}


def arrays_of(case, *, rows=None, seed=0, gaps=None, scale=None):
    """Modalities as arrays (n, d) or (n, T, d), before they take a form."""
    n, gaps, scale = case.n if rows is None else rows, gaps or case.gaps, scale or case.scale
    rng = np.random.default_rng([case.seed, seed])
    latent = rng.normal(size=(n, 1))
    found = {}
    for i, (name, width) in enumerate(zip(NAMES, case.widths, strict=False)):
        sequence = case.steps and (case.all_steps or not i)
        x = (
            latent[:, None] + rng.normal(size=(n, case.steps, width))
            if sequence
            else latent + rng.normal(size=(n, width))
        )
        with np.errstate(all="ignore"):
            x = scaled(x, scale, rng, first=not i)
            x = with_type(x, case.dtype, i)
        if case.dtype in FLOATS:
            x = with_gaps(x, gaps, rng, first=not i)
        found[name] = x
    return found


def scaled(x, scale, rng, *, first):
    x = x * FACTORS.get(scale, 1.0)
    columns = x.reshape(-1, x.shape[-1])
    if scale in ("far cell", "farthest cell", "infinite") and first:
        columns[rng.integers(len(columns)), 0] = {"far cell": 1e9, "farthest cell": 1e300, "infinite": np.inf}[scale]
    elif scale == "constant":
        columns[:, 0] = 3.3
    elif scale == "constant row":
        columns[:] = 3.3 if first else columns
    elif scale == "duplicates":
        x[len(x) // 2 :] = x[: len(x) - len(x) // 2]
    elif scale == "columns apart":
        columns *= 10.0 ** np.linspace(-150, 150, x.shape[-1])
    elif scale == "offset":
        columns += 1e8
    elif scale == "two values":
        columns[:] = columns > 0
    return x


def with_type(x, dtype, i):
    if dtype == "mixed":
        return x.astype(["f8", "f4", "i4"][i] if i < 2 or np.isfinite(x).all() else "f8")
    if dtype == "bool":
        return x > 0
    if dtype in ("i4", "u1"):
        return np.clip(np.nan_to_num(np.rint(x)), 0 if dtype == "u1" else -9, 9).astype(dtype)
    return x.astype(dtype)


def with_gaps(x, gaps, rng, *, first):
    if x.dtype.kind not in "fO":
        return x
    n, missing = len(x), nan
    if x.dtype == object and gaps != "none":
        missing = None if first else nan
    some = (rng.random(n) < 0.5) & (np.arange(n) % 2 == int(first))  # each row of one modality at least stays
    if gaps == "cells":
        x[rng.random(x.shape) < 0.1] = missing
    elif gaps == "rows":
        x[some] = missing
    elif gaps == "most rows":
        x[np.arange(n) % (n // 2 + 1) > 1 if first else np.arange(n) % (n // 2 + 1) == 0] = missing
    elif gaps == "modality" and first:
        x[:] = missing
    elif gaps == "column" and first:
        x[..., 0] = missing
    elif gaps == "all":
        x[:] = missing
    elif gaps in ("end", "start") and x.ndim == 3:
        for row, length in zip(x, rng.integers(1, x.shape[1] + 1, size=n), strict=True):
            row[slice(length, None) if gaps == "end" else slice(0, x.shape[1] - length)] = missing
    return x


def form_of(case):
    """The form of the case, or a dict where the data do not go into it."""
    if case.steps and case.form not in ("dict", "ModalityDict", "SliceDict", "lists", "tensors"):
        return "dict"
    if case.dtype in (">f4", ">f8") and case.form not in (
        "ModalityDict",
        "SliceDict",
        "lists",
        "flat array",
        "one array",
    ):
        return "dict"  # neither torch nor frames of pandas, once indexed, take these
    if case.form in ("tensors", "polars") and case.dtype == "object":
        return "dict"
    return case.form


def in_form(case, arrays):
    """X in the form of the case, and ``modalities=``."""
    form = form_of(case)
    if form == "ModalityDict":
        return ModalityDict(arrays), None
    if form == "SliceDict":
        return SliceDict(**arrays), None
    if form == "lists":
        return {name: ragged(x) for name, x in arrays.items()}, None
    if form == "tensors":
        return {name: torch.as_tensor(x) for name, x in arrays.items()}, None
    if form == "polars":
        import polars

        return {name: polars.DataFrame(dict(named_columns(name, x))) for name, x in arrays.items()}, None
    if form in ("frames", "MultiIndex frame", "flat frame"):
        frames = {name: pd.DataFrame(dict(named_columns(name, x))) for name, x in arrays.items()}
        if form == "frames":
            return frames, None
        if form == "MultiIndex frame":
            return pd.concat(frames, axis=1), None
        return pd.concat(frames.values(), axis=1), {name: list(frame.columns) for name, frame in frames.items()}
    if form in ("flat array", "one array"):
        ends = np.cumsum([x.shape[1] for x in arrays.values()])
        slices = {name: slice(end - x.shape[1], end) for end, (name, x) in zip(ends, arrays.items(), strict=True)}
        return np.hstack(list(arrays.values())), slices if form == "flat array" else None
    return arrays, None


def named_columns(name, x):
    return ((f"{name}{j}", np.ascontiguousarray(x[:, j])) for j in range(x.shape[1]))


def ragged(x):
    """A list of each sample's steps up to the last that is there; of vectors, a list of rows."""
    if x.ndim == 2:
        return list(x)
    there = ~pd.isna(x).all(axis=-1)
    n_steps = np.where(there.any(axis=1), x.shape[1] - there[:, ::-1].argmax(axis=1), 0)
    return [row[:n] for row, n in zip(x, n_steps, strict=True)]


def target_of(case, n=None, seed=0):
    n, rng = case.n if n is None else n, np.random.default_rng([case.seed, 77, seed])
    level = rng.normal(size=n)
    level += arrays_of(case, rows=n, seed=seed, gaps="none", scale="unit")[NAMES[0]].reshape(n, -1)[:, 0].astype(float)
    words = np.where(level > 0, "good", "bad").astype(object)
    some = rng.random(n) < 0.3
    made = {
        "two outputs": lambda: np.c_[level, -level],
        "column": lambda: level[:, None],
        "gaps": lambda: np.where(some, nan, level),
        "gaps in outputs": lambda: np.where(rng.random((n, 2)) < 0.3, nan, np.c_[level, -level]),
        "one gap": lambda: np.where(np.arange(n) == 0, nan, level),
        "constant": lambda: np.full(n, 0.1),
        "huge": lambda: level * 1e200,
        "large": lambda: level * 1e100,
        "tiny": lambda: level * 1e-200,
        "denormal": lambda: level * 1e-320,
        "infinite": lambda: np.where(np.arange(n) == 1, np.inf, level),
        "classes": lambda: (level > 0).astype(int),
        "words": lambda: words,
        "bools": lambda: level > 0,
        "three classes": lambda: np.digitize(level, [-0.5, 0.5]),
        "one class": lambda: np.ones(n, dtype=int),
        "imbalanced": lambda: (np.arange(n) == n - 1).astype(int),
        "words with gaps": lambda: np.where(some, None, words),
        "one label": lambda: np.where(np.arange(n) == 0, level, nan),
        "list": lambda: level.tolist(),
    }
    y = made.get(case.target, lambda: level)()
    if (
        case.estimator == "classifier"
        and getattr(y, "dtype", None) == float
        and case.target in ("one", "gaps", "one gap")
    ):
        return np.where(np.isnan(y), nan, (y > 0).astype(float))
    return y


def weight_of(case):
    n, rng = case.n, np.random.default_rng([case.seed, 78])
    weight = rng.random(n) + 0.1
    return {
        "none": None,
        "ones": np.ones(n),
        "zeros among": np.where(rng.random(n) < 0.4, 0, weight),
        "tiny": weight * 1e-300,
        "huge": weight * 2.0**900,
        "apart": 10.0 ** rng.integers(-200, 200, size=n),
        "negative": weight - 0.3,
        "one positive": (np.arange(n) == 0).astype(float),
    }[case.weight]


def groups_of(case):
    each = np.arange(case.n)
    made = {"none": None, "pairs": each // 2, "one": each * 0, "words": (each % 3).astype(str), "each": each}
    return made[case.groups]


def texts_of(case, n=None):
    n = case.n if n is None else n
    odd = [
        "",
        " ",
        "\x00",
        "\ud83d\ude00 good",
        "a\u0301\u200d",
        "\n\t",
        "[MASK] [PAD]",
        "</s>",
        "film" * 50,
        "日本語",
        "\ufeff",
    ]
    some = {
        "plain": ["a good film", "the plot is boring", "bad"],
        "odd": odd,
        "long": ["a good film " * 40, "bad"],
        "missing": ["a good film", None, nan],
        "empty": [""],
        "words": [["a", "good", "film"], ["bad"], []],
    }[case.texts]
    return [some[i % len(some)] for i in range(n)]
