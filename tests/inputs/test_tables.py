"""Every container with every fault that a table may have: the right number, or the right sentence."""

import itertools
import warnings
from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
import xarray as xr
from numpy.testing import assert_allclose

from sklearn_mdm import DependencyEstimator, ModalityDict
from sklearn_mdm.exceptions import RepeatedSamplesWarning

N = 60
RNG = np.random.default_rng(0)
SHARED = RNG.normal(size=(N, 1))
ROWS = pd.Index([f"s{i}" for i in range(N)])
FRAMES = {
    "audio": pd.DataFrame(SHARED + RNG.normal(size=(N, 3)), index=ROWS, columns=["pitch", "energy", "rate"]),
    "text": pd.DataFrame(SHARED + RNG.normal(size=(N, 2)), index=ROWS, columns=["joy", "fear"]),
}
Y = pd.Series(SHARED.ravel(), index=ROWS)


COUNTER = itertools.count()


def numbers(frame):
    return frame.astype(object).where(frame.notna(), np.nan).to_numpy(dtype=float)


def in_hdf5(frame):
    file = h5py.File(f"{next(COUNTER)}.h5", "w", driver="core", backing_store=False)
    return file.create_dataset("values", data=numbers(frame))


def labelled_array(frame):
    return xr.DataArray(
        frame.to_numpy(), dims=("sample", "feature"), coords={"sample": frame.index, "feature": list(frame.columns)}
    )


def mudata(frames):
    """What MuData looks like from outside."""
    mod = {
        name: SimpleNamespace(X=frame.to_numpy(), obs_names=frame.index, var_names=frame.columns)
        for name, frame in frames.items()
    }
    return SimpleNamespace(mod=mod, obs_names=ROWS[: max(map(len, frames.values()))], shape=(N, 5))


def lists_of(frame):
    """Columns as lists of what other libraries know."""
    known = {
        name: [
            getattr(item, "to_pydatetime", getattr(item, "to_pytimedelta", lambda item=item: item)) for item in column
        ]
        for name, column in frame.items()
    }
    return {
        name: [None if pd.isna(item) else make() for item, make in zip(frame[name], made, strict=True)]
        for name, made in known.items()
    }


def each(write):
    return lambda frames: {name: write(frame) for name, frame in frames.items()}


class ArrayOnly:
    """An array that says nothing of itself, but turns into one."""

    def __init__(self, frame):
        self._values = numbers(frame)

    def __array__(self, dtype=None, copy=None):
        return self._values.astype(dtype or float)


def masked(frame):
    return np.ma.array(np.where(frame.isna(), 1e4, numbers(frame)), mask=frame.isna())


# How X is written, and what such a container can hold beside numbers.
CONTAINERS = {
    "numpy": (each(lambda frame: frame.to_numpy()), {"types", "lengths"}),
    "pandas": (dict, {"labels", "y labels", "names", "types", "lengths"}),
    "polars": (each(lambda frame: pl.DataFrame(lists_of(frame), strict=False)), {"names", "types", "lengths"}),
    "pyarrow": (each(lambda frame: pa.Table.from_pydict(lists_of(frame))), {"names", "types", "lengths"}),
    "torch": (each(lambda frame: torch.tensor(numbers(frame), requires_grad=True)), {"lengths"}),
    "masked": (each(masked), {"lengths"}),
    "xarray": (each(labelled_array), {"labels", "y labels", "names", "types", "lengths"}),
    "xarray Dataset": (
        lambda frames: xr.Dataset({k: (("sample", f"{k}_feature"), v.to_numpy()) for k, v in frames.items()}),
        {"types"},
    ),
    "__array__": (each(ArrayOnly), {"lengths"}),
    "h5py": (each(in_hdf5), {"lengths"}),
    "named fields": (each(lambda frame: frame.to_records(index=False)), {"names", "types", "lengths"}),
    "lists": (each(lambda frame: frame.to_numpy().tolist()), {"types", "lengths"}),
    "ModalityDict": (ModalityDict, {"labels", "y labels", "names", "types"}),
    "ModalityDict of polars": (
        lambda frames: ModalityDict({k: pl.DataFrame(lists_of(v), strict=False) for k, v in frames.items()}),
        {"names", "types"},
    ),
    "two levels": (lambda frames: pd.concat(frames, axis=1), {"y labels", "names", "types"}),
    "flat frame": (lambda frames: pd.concat(frames, axis=1).droplevel(0, axis=1), {"y labels", "names", "types"}),
    "flat polars": (
        lambda frames: pl.DataFrame(lists_of(pd.concat(frames, axis=1).droplevel(0, axis=1)), strict=False),
        {"names", "types"},
    ),
    "MuData": (mudata, {"y labels", "names", "types"}),
}


def change(**changes):
    """Change columns of the text modality."""

    def spoil(frames):
        text = frames["text"].astype(object)
        for column, change in changes.items():
            text[column] = change(text[column])
        return {**frames, "text": text.infer_objects()}

    return spoil


def with_rows(value, columns=("joy", "fear")):
    """Put a value in some rows of the text modality, in all columns or some."""

    def spoil(frames):
        text = frames["text"]
        values = {
            name: [*text[name][:3], *[value] * 3, *text[name][6:]] if name in columns else text[name] for name in text
        }
        return {**frames, "text": pd.DataFrame(values, index=text.index, dtype=object)}

    return spoil


def text_as(write):
    return lambda frames: {**frames, "text": write(frames["text"])}


def date(column):
    return pd.Series(pd.to_datetime(["2020-01-01"] * (len(column) - 1) + [None]), index=column.index)


# Fault -> (how X of predict is spoilt, what a container must hold for it to be seen, the sentence).
REFUSED = {
    "rows in another order": (
        text_as(lambda text: text.sample(frac=1, random_state=0)),
        "labels",
        r"row labels of modality 'text' and modality 'audio' disagree.*position 0, 's\d+' .*'s0'.*reindex.*concat",
    ),
    "other rows": (
        text_as(lambda text: text.set_axis(text.index + "x", axis=0)),
        "labels",
        r"disagree, in 60 of 60 rows: first at position 0, 's0x' in modality 'text'",
    ),
    "columns in another order": (
        text_as(lambda text: text[["fear", "joy"]]),
        "names",
        r"(?s)feature names.*(order|match).*",
    ),
    "other columns": (
        text_as(lambda text: text.set_axis(["joy", "anger"], axis=1)),
        "names",
        r"(?s)feature names.*anger",
    ),
    "dates": (change(joy=date), "types", "'text', column ('joy'|0) holds dates .*leave the column out"),
    "durations": (
        change(joy=lambda column: date(column) - pd.Timestamp("2019-01-01")),
        "types",
        "'text', column ('joy'|0) holds durations .*Divide them by one",
    ),
    "strings": (
        change(joy=lambda column: column.astype(str)),
        "types",
        "'text', column ('joy'|0) holds strings.*to_numeric|'text' holds text",
    ),
    "infinity": (
        change(joy=lambda column: column.where(column.index != "s3", np.inf)),
        "",
        "'text' contains infinity.*1 of",
    ),
    "too wide": (text_as(lambda text: text.assign(anger=1.0)), "", "'text' has 3 features.*2|6 features.*5|unseen"),
    "too narrow": (text_as(lambda text: text[["joy"]]), "", "'text' has 1 features.*2|4 features.*5|missing"),
    "too short": (text_as(lambda text: text[:-1]), "lengths", "'audio' has 60, 'text' has 59"),
    "nothing observed": (
        lambda frames: {
            name: frame.mask(frame.index.isin(["s3"])[:, None] | frame.isna()) for name, frame in frames.items()
        },
        "",
        "1 of 60 samples have no observed modality",
    ),
}
MISSING = {"NaN": np.nan, "None": None, "pandas.NA": pd.NA, "NaT": pd.NaT}


@pytest.fixture
def fit(regressor):
    """Fits a regressor on what a container was made of."""

    def fit(X, y=Y):
        flat = isinstance(getattr(X, "columns", None), (list, pd.Index)) and getattr(X.columns, "nlevels", 1) == 1
        columns = {name: list(frame.columns) for name, frame in FRAMES.items()} if flat else None
        return regressor(modalities=columns, lam=0, max_epochs=1).fit(X, y)

    return fit


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container__gives_the_numbers_of_arrays(fit, container):
    arrays = {name: frame.to_numpy() for name, frame in FRAMES.items()}
    X = CONTAINERS[container][0](FRAMES)
    fitted = fit(X)
    assert_allclose(fitted.predict(X), fit(arrays).predict(arrays), rtol=1e-9)
    assert_allclose(
        DependencyEstimator(cv=None, max_updates=30, random_state=0, modalities=fitted.modalities).fit(X).dependency_,
        DependencyEstimator(cv=None, max_updates=30, random_state=0).fit(arrays).dependency_,
        rtol=1e-6,
    )


@pytest.mark.parametrize("columns", [("joy", "fear"), ("joy",)], ids=["rows", "cells"])
@pytest.mark.parametrize("marker", MISSING)
@pytest.mark.parametrize("container", CONTAINERS)
def test_every_mark_of_missing_values__in_every_container__is_nan(fit, container, marker, columns):
    write, _ = CONTAINERS[container]
    arrays = {name: numbers(frame) for name, frame in with_rows(np.nan, columns)(FRAMES).items()}
    X = write(with_rows(MISSING[marker], columns)(FRAMES))
    expected = fit(arrays)
    assert_allclose(fit(X).predict(X), expected.predict(arrays), rtol=1e-9)


SHOWN = [
    (container, fault)
    for container, (_, holds) in CONTAINERS.items()
    for fault, (_, evidence, _) in REFUSED.items()
    if not evidence or evidence in holds
]


@pytest.mark.parametrize(("container", "fault"), SHOWN)
def test_every_fault__in_every_container_that_shows_it__is_refused(fit, container, fault):
    write, (spoil, _, sentence) = CONTAINERS[container][0], REFUSED[fault]
    fitted, X = fit(write(FRAMES)), None
    with pytest.raises((ValueError, TypeError), match=sentence):
        X = write(spoil(FRAMES))
        fitted.predict(X)
    if fault not in ("columns in another order", "other columns", "too wide", "too narrow"):  # seen at fit too
        with pytest.raises((ValueError, TypeError), match=sentence):
            fit(write(spoil(FRAMES)))


@pytest.mark.parametrize("container", [name for name, (_, holds) in CONTAINERS.items() if "y labels" in holds])
def test_rows_of_y_weights_and_groups__in_another_order__are_refused(fit, container):
    X, shuffled = CONTAINERS[container][0](FRAMES), Y.sample(frac=1, random_state=0)
    with pytest.raises(ValueError, match="row labels of y and X disagree"):
        fit(X, shuffled)
    fitted = fit(X)
    with pytest.raises(ValueError, match="row labels of y and X disagree"):
        fitted.score(X, shuffled)
    for name in ("sample_weight", "groups"):
        with pytest.raises(ValueError, match=f"row labels of {name} and X disagree"):
            fitted.fit(X, Y, **{name: shuffled.abs()})
    with pytest.raises(ValueError, match="row labels of y_val and X_val disagree"):
        fitted.fit(X, Y, X_val=X, y_val=shuffled)
    with pytest.raises(ValueError, match="row labels of groups and X disagree"):
        DependencyEstimator(modalities=fitted.modalities).fit(X, groups=shuffled)


@pytest.mark.parametrize("container", sorted(CONTAINERS.keys() - {"MuData"}))  # whose samples differ in name
def test_copies_of_samples__in_every_container__are_told(container):
    twice = {name: pd.concat([frame, frame[:30].set_axis(ROWS[:30] + "x", axis=0)]) for name, frame in FRAMES.items()}
    modalities = {name: list(frame) for name, frame in FRAMES.items()} if container.startswith("flat") else None
    estimator = DependencyEstimator(cv=None, max_updates=10, random_state=0, modalities=modalities)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.warns(RepeatedSamplesWarning, match="30 of 90"):
            estimator.fit(CONTAINERS[container][0](twice))


ODD = {
    "steps of different widths": ([[[1.0, 2.0], [1.0]]] * N, "sample 0 has time steps of different widths"),
    "a mapping": ({"joy": np.ones(N), "fear": np.ones(N)}, "dict, of which only the keys.*data frame"),
    "an xarray Dataset": (xr.Dataset({"joy": ("sample", np.ones(N))}), "Dataset, of which only the keys"),
    "a tensor without values": (
        torch.ones(N, 2, device="meta"),
        "cannot be read: a tensor of torch on the device meta",
    ),
    "structs": (pa.table({"joy": [{"a": 1.0}] * N}), "column 'joy': .*columns of numbers"),
    "intervals": (pd.DataFrame({"joy": pd.interval_range(0, N)}), "column 'joy': .*columns of numbers"),
    "a Series": (pd.Series(np.ones(N)), r"series.to_frame\(\) if it is a single feature"),
}


@pytest.mark.parametrize("what", ODD)
def test_what_is_no_modality__is_refused_by_its_name(fit, what):
    value, message = ODD[what]
    with pytest.raises((ValueError, TypeError), match=f"modality 'text'.*{message}"):
        fit({"audio": FRAMES["audio"], "text": value})


LISTS = {
    "polars": lambda row: pl.DataFrame(row.to_frame().T.to_dict("list")),
    "pyarrow": lambda row: pa.Table.from_pydict(row.to_frame().T.to_dict("list")),
    "xarray": lambda row: xr.DataArray(row.to_numpy()[None], dims=("step", "f"), coords={"f": list(row.index)}),
    "Series": lambda row: row,
}


@pytest.mark.parametrize("kind", LISTS)
def test_lists_of_tables__whose_columns_differ__are_refused(fit, kind):
    rows = [row for _, row in FRAMES["text"].iterrows()]
    fitted = fit({**FRAMES, "text": [LISTS[kind](row) for row in rows]})
    for swapped in (rows[:5] + [row[::-1] for row in rows[5:]], [row[::-1] for row in rows]):
        with pytest.raises(ValueError, match=r"columns of its table 5|feature names of modality 'text'"):
            fitted.predict({**FRAMES, "text": [LISTS[kind](row) for row in swapped]})


NAMED = [name for name, (_, holds) in CONTAINERS.items() if "names" in holds and not name.startswith("flat")]


@pytest.mark.parametrize("other", NAMED)
@pytest.mark.parametrize("container", NAMED)
def test_names__are_compared_across_kinds_of_tables(fit, container, other):
    fitted = fit(CONTAINERS[container][0](FRAMES))
    X = CONTAINERS[other][0](FRAMES)
    assert np.isfinite(fitted.predict(X)).all()
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(CONTAINERS[other][0]({**FRAMES, "text": FRAMES["text"][["fear", "joy"]]}))
