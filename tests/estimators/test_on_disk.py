"""Data on disk: results are those of the same arrays in memory, and nothing is ever read whole."""

import functools
import itertools
import threading
import warnings

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_mdm import MDMFusionClassifier, MDMFusionRegressor
from sklearn_mdm.estimators import _blend_fit, _rows_on_disk, _scaling
from sklearn_mdm.inputs import _cells, _observed, _on_disk
from sklearn_mdm.utils import _hashes

N = 150


def data(*, sequences=False, missing=False, dtype=np.float32):
    """Modalities with a common factor; of two sequences one is longer, as lists make them."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(N, 1))
    X = {name: (shared + rng.normal(size=(N, width))).astype(dtype) for name, width in (("a", 3), ("t", 4))}
    X["v"] = (shared + rng.normal(size=(N, 2))).astype(dtype)
    if sequences:
        steps = rng.integers(1, 5, size=N)
        X["t"] = (shared[:, None] + rng.normal(size=(N, 5, 4))).astype(dtype)
        X["v"] = (shared[:, None] + rng.normal(size=(N, 4, 2))).astype(dtype)
        for name in "tv":
            X[name][np.arange(X[name].shape[1]) >= steps[:, None]] = np.nan
    if missing:
        X["a"][rng.random(N) < 0.2] = np.nan
        X["v"][rng.random(X["v"].shape) < 0.1] = np.nan
        X["t"][:, 0] = np.nan if not sequences else X["t"][:, 0]
        X["t"][: N // 2, 0] = 0.0 if not sequences else X["t"][: N // 2, 0]
        nothing = np.logical_and.reduce([np.isnan(x).reshape(N, -1).all(axis=1) for x in X.values()])
        X["a"][nothing] = 0.0
    return X, shared.ravel()


def in_map(X, folder):
    for name, x in X.items():
        np.save(folder / f"{name}.npy", x)
    return {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in X}


def in_views(X, folder):
    """Views of a map that are no memmap themselves, of an array with more columns."""
    wider = {name: np.concatenate([x, x], axis=-1) for name, x in X.items()}
    return {name: np.asarray(x)[..., : X[name].shape[-1]] for name, x in in_map(wider, folder).items()}


def in_hdf5(X, folder):
    file = h5py.File("X.h5", "w", driver="core", backing_store=False)
    return {
        name: file.create_dataset(name, data=x, chunks=(16, *x.shape[1:]) if name == "a" else None)
        for name, x in X.items()
    }


def in_zarr(X, folder):
    zarr = pytest.importorskip("zarr")
    arrays = {}
    for name, x in X.items():
        arrays[name] = zarr.open_array(
            str(folder / f"{name}.zarr"), mode="w", shape=x.shape, chunks=(16, *x.shape[1:]), dtype=x.dtype
        )
        arrays[name][...] = x
    return arrays


CONTAINERS = {"memmap": in_map, "view": in_views, "hdf5": in_hdf5, "zarr": in_zarr}


class Refusing:
    """A dataset in a file that gives no more than so many rows at a time, and says nothing of itself otherwise."""

    chunks = None

    def __init__(self, values, most):
        self.values, self.most = values, most
        self.shape, self.dtype = values.shape, values.dtype
        self.read = 0

    def __getitem__(self, rows):
        found = self.values[rows]
        assert len(found) <= self.most, f"{len(found)} rows at once"
        self.read += len(found)
        return found

    def __array__(self, *args, **kwargs):
        raise AssertionError("the whole array was asked for")


class RefusingMap(np.memmap):
    """A memory map that gives no more than so many rows at a time, and is no operand as a whole."""

    most = 0

    def __getitem__(self, rows):
        found = np.asarray(super().__getitem__(rows))
        assert not self.most or len(found) <= self.most, f"{len(found)} rows at once"
        return found

    def __array_ufunc__(self, *args, **kwargs):
        raise AssertionError("the whole array was computed with")


def quiet(call):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call()


def read_off(model, X, y):
    """Everything that is read off an estimator."""
    value, std = model.dependency_score(X, return_std=True)
    classes = {"proba": model.predict_proba(X)} if hasattr(model, "predict_proba") else {}
    return {
        "curve": np.array(model.loss_curve_),
        "oof": getattr(model, "oof_score_", 0.0),
        "weights": list(getattr(model, "blend_weights_", {}).values()),
        "predict": model.predict(X),
        "score": model.score(X, y),
        "transform": model.transform(X),
        "dependency": value,
        "std": std,
        "training": model.dependency_score(X, measure="training"),
        "pointwise": model.pointwise_dependency(X),
        **classes,
    }


def compare(found, expected, rtol):
    for name, value in expected.items():
        if rtol:
            assert_allclose(found[name], value, rtol=rtol, atol=rtol, err_msg=name)
        else:
            assert_array_equal(found[name], value, err_msg=name)


SETTINGS = {"max_epochs": 2, "n_estimators": 2, "random_state": 0, "lam": 0.1}
SYSTEMS = {
    "vectors": {},
    "sequences": {"sequences": True},
    "missing": {"missing": True},
    "missing steps": {"sequences": True, "missing": True},
    "whole numbers": {"dtype": np.int16},
}


def fitted_to(X, y, make):
    """What is read off an estimator that is fitted with weights."""
    weight = np.random.default_rng(1).random(N)
    return quiet(lambda: read_off(make(**SETTINGS).fit(X, y, weight), X, y))


@functools.cache
def of_arrays(kind, make):
    """Data of a kind, and what an estimator reads off them in memory."""
    X, y = data(**SYSTEMS[kind])
    y = y if make is MDMFusionRegressor else np.digitize(y, [-0.5, 0.5])
    return X, y, fitted_to(X, y, make)


# Of the formats of files, each kind once in the fast tests: steps that are missing are sequences and missing.
FAST = {
    *itertools.product(["memmap", "view"], SYSTEMS),
    *itertools.product(CONTAINERS, ["missing steps", "whole numbers"]),
}


@pytest.mark.parametrize(
    ("container", "kind"),
    [
        pytest.param(*pair, marks=[] if pair in FAST else pytest.mark.slow)
        for pair in itertools.product(CONTAINERS, SYSTEMS)
    ],
)
def test_fit__data_on_disk__results_are_those_of_arrays(container, kind, tmp_path):
    make = MDMFusionRegressor if container != "view" else MDMFusionClassifier
    X, y, expected = of_arrays(kind, make)
    stored = CONTAINERS[container](X, tmp_path)
    assert all(map(_on_disk.is_on_disk, stored.values()))
    # Cells are filled by matrix products, whose last digits may depend on how many rows are filled at a time.
    compare(fitted_to(stored, y, make), expected, 1e-5 if "missing" in kind else 0)


@pytest.mark.parametrize(
    "settings",
    [
        {"n_estimators": 1, "linear_member": False, "scaling": "standard", "missing": "mean"},
        {"n_estimators": 1, "modality_dropout": 0.2, "scaling": "rank"},
        {"n_estimators": 2, "measure": "knife"},  # with which members are computed one by one
        {"n_estimators": 2, "missing": "critic"},
        {"n_estimators": 2, "early_stopping": False, "scaling": None},
        {"n_estimators": 2, "lam": [0.0, 0.1]},
        {"n_estimators": 2, "measure": "infonce", "unroll": 2},
    ],
    ids=lambda settings: " ".join(map(str, settings.values())),
)
def test_fit__settings_on_disk__results_are_those_of_arrays(settings, tmp_path):
    X, y = data(sequences=True)
    X["a"][:20] = np.nan
    stored = in_map(X, tmp_path)

    def predicted(X):
        model = MDMFusionRegressor(**{"max_epochs": 2, "random_state": 0, **settings}).fit(X, y)
        return {"curve": np.array(model.loss_curve_), "predict": model.predict(X), "transform": model.transform(X)}

    compare(quiet(lambda: predicted(stored)), quiet(lambda: predicted(X)), 0)


def test_fit__samples_without_labels_on_disk__results_are_those_of_arrays(tmp_path):
    X, y = data(sequences=True, missing=True)
    y[::3] = np.nan
    more = {name: x[:40] for name, x in X.items()}
    (tmp_path / "more").mkdir()
    stored = in_map(X, tmp_path)
    others = {"memory": more, "half": more, "disk": in_map(more, tmp_path / "more")}
    settings = {**SETTINGS, "max_epochs": 1, "scaling": "standard"}
    found = {}
    for name, unlabelled in others.items():
        labelled = X if name == "memory" else stored
        model = MDMFusionRegressor(**settings)
        found[name] = quiet(functools.partial(model.fit, labelled, y, X_unlabeled=unlabelled)).predict(X)
    assert_allclose(found["half"], found["memory"], rtol=1e-5, atol=1e-5)  # as above
    assert_array_equal(found["half"], found["disk"])


def test_fit__validation_samples_on_disk__results_are_those_of_arrays(tmp_path):
    X, y = data()
    parts = [{name: x[rows] for name, x in X.items()} for rows in (slice(100), slice(100, None))]
    stored = [{name: x[rows] for name, x in in_map(X, tmp_path).items()} for rows in (slice(100), slice(100, None))]
    models = [
        quiet(functools.partial(MDMFusionRegressor(**SETTINGS).fit, train, y[:100], X_val=valid, y_val=y[100:]))
        for train, valid in (parts, stored)
    ]
    expected, found = (
        {"curve": np.array(model.validation_loss_curve_), "predict": model.predict(x[1])}
        for model, x in zip(models, (parts, stored), strict=True)
    )
    compare(found, expected, 0)


def test_partial_fit__chunks_on_disk__results_are_those_of_arrays(tmp_path):
    X, y = data(missing=True)

    def streamed(X):
        model = MDMFusionRegressor(n_estimators=2, random_state=0)
        for rows in (slice(0, 70), slice(70, 150)):
            model.partial_fit({name: x[rows] for name, x in X.items()}, y[rows])
        return model.fit_dependency(X)

    found, expected = (quiet(functools.partial(streamed, each)) for each in (in_map(X, tmp_path), X))
    assert_allclose(found.predict(X), expected.predict(X), rtol=1e-5)  # as above
    assert_allclose(quiet(lambda: found.dependency_score(X)), quiet(lambda: expected.dependency_score(X)), rtol=1e-5)


def test_predict__absent_modality_beside_one_on_disk__is_missing(tmp_path):
    X, y = data()
    model = quiet(lambda: MDMFusionRegressor(**SETTINGS).fit(X, y))
    stored = in_map({"a": X["a"]}, tmp_path)
    assert_array_equal(model.predict(stored), model.predict({"a": X["a"]}))


@pytest.fixture
def small_parts(monkeypatch):
    """Let everything that reads some rows at a time read few."""
    for module, name, value in [
        (_on_disk, "NUMBERS_READ", 200),
        (_on_disk, "NUMBERS_OF_STRETCH", 50),
        (_observed, "NUMBERS_READ", 200),
        (_scaling, "MAX_NUMBERS_AT_ONCE", 200),
        (_scaling, "MAX_QUANTILE_ROWS", 30),
        (_hashes, "NUMBERS_AT_ONCE", 200),
        (_cells, "MAX_NUMBERS_AVERAGED", 200),
        (_cells, "MAX_NUMBERS_LEARNED_FROM", 150),
        (_cells, "MAX_NUMBERS_ASKED", 200),
        (_blend_fit, "BATCH_ROWS", 32),
        (_blend_fit, "MAX_NUMBERS", 600),
        (_blend_fit, "MAX_KERNEL_ROWS", 40),
        (_rows_on_disk, "ROWS_REPRESENTED", 32),
        (_rows_on_disk, "MAX_ROWS_REPORTED", 60),
    ]:
        monkeypatch.setattr(module, name, value)


@pytest.mark.parametrize("sequences", [False, True], ids=["vectors", "sequences"])
@pytest.mark.parametrize("kind", [Refusing, RefusingMap])
def test_fit__large_array__is_never_read_whole(kind, sequences, small_parts, monkeypatch, tmp_path):
    monkeypatch.setattr("sklearn_mdm.net._inference.ROWS_PER_BATCH", 32)
    monkeypatch.setattr("sklearn_mdm.net._committee.VALIDATION_ROWS", 16)
    for name, value in {"MAX_REPORT_TRAINING": 40, "MAX_REPORT_CALIBRATION": 20}.items():
        monkeypatch.setattr(f"sklearn_mdm.estimators._reporting.{name}", value)
    X, y = data(sequences=sequences, missing=True)
    stored = {name: Refusing(x, 100) for name, x in X.items()}
    if kind is RefusingMap:
        stored = {name: x.view(RefusingMap) for name, x in in_map(X, tmp_path).items()}
        for x in stored.values():
            x.most = 100
    settings = {**SETTINGS, "batch_size": 16, "linear_member": True, "kernel_member": True}
    model = quiet(lambda: MDMFusionRegressor(**settings).fit(stored, y))
    assert np.isfinite(model.oof_prediction_).all()
    found = quiet(lambda: read_off(model, stored, y))
    monkeypatch.setattr(_rows_on_disk, "MAX_ROWS_REPORTED", 24_000)
    # Runs of rows end elsewhere, which changes last digits; the training measure is read off a part of the rows.
    expected = {name: value for name, value in quiet(lambda: read_off(model, X, y)).items() if name != "training"}
    compare(found, expected, 1e-6)
    quiet(lambda: model.fit_dependency(stored))
    quiet(lambda: model.partial_fit(stored, y))


def test_fit__models_beside_the_networks_of_a_part__predict_the_other_rows(small_parts, tmp_path):
    X, y = data()
    model = quiet(lambda: MDMFusionRegressor(**SETTINGS, linear_member=True).fit(in_map(X, tmp_path), y))
    oof = model._blend.models["linear"].oof
    assert oof.shape == (N, 1)
    assert np.isfinite(oof).all()
    assert np.corrcoef(oof.ravel(), y)[0, 1] > 0.7


def test_fit__label_spreading_over_many_rows_on_disk__is_refused(small_parts, tmp_path):
    X, y = data()
    labels = np.digitize(y, [0.0]).astype(float)
    labels[::2] = np.nan
    model = MDMFusionClassifier(**SETTINGS, spreading_member=True)
    with pytest.raises(ValueError, match=r"spreading_member=True compares all samples with all, and X holds 150"):
        quiet(lambda: model.fit(in_map(X, tmp_path), labels))


def test_fit__infinite_value_on_disk__is_the_error_of_arrays(tmp_path):
    X, y = data()
    X["t"][7, 2] = np.inf
    messages = []
    for each in (X, in_map(X, tmp_path)):
        with pytest.raises(ValueError, match="infinity") as error:
            MDMFusionRegressor().fit(each, y)
        messages.append(str(error.value))
    assert messages[0] == messages[1]


def reading_threads():
    return [thread for thread in threading.enumerate() if thread.name == "sklearn-mdm-read-ahead"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_fit__file_that_fails_in_training__error_is_raised_and_no_thread_stays(error, monkeypatch):
    X, y = data()
    stored = {name: Refusing(x, N) for name, x in X.items()}
    model = MDMFusionRegressor(n_estimators=1, random_state=0, batch_size=8)
    inner = Refusing.__getitem__

    def failing(self, rows):
        if reading_threads():
            raise error("gone")
        return inner(self, rows)

    monkeypatch.setattr(Refusing, "__getitem__", failing)
    with pytest.raises(error):
        model.fit(stored, y)
    assert not reading_threads()
    assert not hasattr(model, "net_")
