"""What is saved comes back bit for bit, and nothing else comes back."""

import errno
import json
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, QuantileTransformer, StandardScaler
from skorch.callbacks import EpochTimer
from torch import nn

import sklearn_mdm
from sklearn_mdm import DependencyEstimator, MDMFusionClassifier, MDMFusionRegressor, ModalityTransformer
from sklearn_mdm.callbacks import WarmupLinearDecay
from sklearn_mdm.exceptions import OtherVersionWarning, SavedFileError
from sklearn_mdm.fusion import FUSIONS, Fusion, FusionModule, FusionOutput, LowRankFusion
from sklearn_mdm.measures import MEASURES
from sklearn_mdm.persistence import _file, _savable

N = 60
METHODS = ("predict", "predict_proba", "transform", "dependency_score", "pointwise_dependency")
ALIGNED = {"ef_lstm", "ef-lstm", "memory", "mfn", "multi_attention", "marn", "mag"}


class Summed(Fusion):
    """A user's own fusion."""

    def build(self, shapes, n_outputs, *, encoder="auto", missing="mean"):
        return SummedModule(shapes, n_outputs)


class SummedModule(FusionModule):
    """Its module."""

    def __init__(self, shapes, n_outputs):
        super().__init__()
        self.code_dims = dict.fromkeys(shapes, 2)
        self.parts = nn.ModuleDict({name: nn.Linear(shape[0], 2) for name, shape in shapes.items()})
        self.head = nn.Linear(2, n_outputs)

    def represent(self, X, mask=None):
        return {name: part(X[name]) for name, part in self.parts.items()}

    def forward(self, X, mask=None):
        z = self.represent(X, mask)
        fused = sum(z.values())
        return FusionOutput(self.head(fused), fused, z)


def vectors(names=("audio", "text", "visual")):
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(N, 1))
    return {name: latent + rng.normal(size=(N, width)) for name, width in zip(names, (3, 2, 4), strict=True)}


def steps():
    rng = np.random.default_rng(1)
    return {name: rng.normal(size=(N, 4, width)) for name, width in (("text", 3), ("audio", 2))}


def holes():
    X = vectors()
    X["audio"][::7] = np.nan
    X["text"][3::9, 1] = np.nan
    return X


def frames():
    return {name: pd.DataFrame(x, columns=[f"{name}{i}" for i in range(x.shape[1])]) for name, x in vectors().items()}


LATENT = sum(x.mean(1) for x in vectors().values())
RANDOM = np.random.RandomState(0)
STRINGS = np.where(LATENT > 0, "high", "low")
FEW = np.where(np.arange(N) < 20, STRINGS.astype(object), None)


def regressor(**parameters):
    return MDMFusionRegressor(**{"n_estimators": 2, "max_epochs": 2, "random_state": 0, "device": "cpu", **parameters})


def classifier(**parameters):
    return MDMFusionClassifier(**{"n_estimators": 2, "max_epochs": 2, "random_state": 0, "device": "cpu", **parameters})


ALL_MEMBERS = {"linear_member": True, "kernel_member": True, "n_estimators": 3}
CASES = {
    **{f"fusion {f}": (regressor(fusion=f), steps() if f in ALIGNED else vectors(), LATENT) for f in sorted(FUSIONS)},
    **{f"measure {m}": (classifier(measure=m), vectors(), STRINGS) for m in sorted(MEASURES)},
    **{f"encoder {e}": (regressor(encoder=e), steps(), LATENT) for e in ("lstm", "gru", "transformer")},
    **{f"scaling {s}": (regressor(scaling=s), vectors(), LATENT) for s in ("auto", "standard", "robust", "rank", None)},
    **{f"{n} members": (regressor(n_estimators=n), vectors(), LATENT) for n in (1, 3)},
    **{
        f"missing {m}": (regressor(missing=m, modality_dropout=0.2), holes(), LATENT)
        for m in ("auto", "critic", "mean", "token", "skip")
    },
    "numbers as classes": (classifier(**ALL_MEMBERS), vectors(), np.digitize(LATENT, [-1, 1])),
    "bool classes": (classifier(n_estimators=1), vectors(), LATENT > 0),
    "classes in a series": (classifier(), frames(), pd.Series(STRINGS)),
    "few labels": (classifier(**ALL_MEMBERS, spreading_member=True), vectors(), FEW),
    "all members": (regressor(**ALL_MEMBERS), vectors(), LATENT),
    "several outputs": (regressor(), vectors(), np.column_stack([LATENT, np.where(LATENT > 1, np.nan, LATENT)])),
    "choice of lam": (regressor(lam=[0.0, 0.1]), vectors(), LATENT),
    "names of several types": (regressor(), vectors(("audio", 1, 0)), LATENT),
    "columns with names": (regressor(), frames(), pd.Series(LATENT)),
    "single precision": (regressor(), {name: x.astype(np.float32) for name, x in vectors().items()}, LATENT),
    "parameter objects": (
        regressor(fusion=LowRankFusion(rank=2), cv=KFold(3), optimizer=torch.optim.SGD, random_state=RANDOM),
        vectors(),
        LATENT,
    ),
    "callbacks": (
        regressor(callbacks=[WarmupLinearDecay(0.5), EpochTimer()]),
        vectors(),
        LATENT,
    ),
    "dependency": (DependencyEstimator(max_updates=20, random_state=0), vectors(), None),
}


@pytest.fixture
def quick(monkeypatch, quick_reports):
    """Warnings of tiny data are not what is tested here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def assert_same(a, b):
    a, b = np.asarray(a), np.asarray(b)
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(a, b, strict=True)  # NaN equals NaN here


def results(model, X):
    found = {}
    for method in METHODS:
        if hasattr(model, method):
            try:
                found[method] = getattr(model, method)(X)
            except ValueError as error:  # no critic reports at lam=0
                found[method] = str(error)
    return found


@pytest.fixture(scope="module")
def fitted():
    """A fitted estimator, as a pickle: each test has one of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pickle.dumps(regressor(lam=0.1).fit(vectors(), LATENT))


@pytest.fixture
def saved(tmp_path, quick, fitted):
    """A fitted estimator and its file."""
    model = pickle.loads(fitted)
    path = tmp_path / "model.safetensors"
    model.save(path)
    return model, path


# -- what comes back -----------------------------------------------------------------------------------------------


# Those that hold what others do not; the slow tests go through all.
FAST = [case for case in CASES if not case.startswith(("measure", "scaling", "missing", "encoder"))]
FAST += ["measure knife", "measure wasserstein", "scaling auto", "missing auto", "encoder lstm"]


@pytest.mark.parametrize("case", [c if c in FAST else pytest.param(c, marks=pytest.mark.slow) for c in CASES])
def test_load__results__are_bit_equal(case, quick, tmp_path):
    model, X, y = CASES[case]
    model = clone(model)
    model.fit(X) if y is None else model.fit(X, y)
    path = tmp_path / "model"
    model.save(path)
    loaded = sklearn_mdm.load(path)
    assert type(loaded) is type(model)
    assert vars(loaded).keys() == vars(model).keys()
    assert loaded.get_params().keys() == model.get_params().keys()
    expected, found = results(model, X), results(loaded, X)
    assert expected.keys() == found.keys()
    for method, value in expected.items():
        assert_same(value, found[method])
    if isinstance(model, MDMFusionRegressor | MDMFusionClassifier):
        assert loaded.history_ is loaded.net_.history  # what is shared stays shared
        assert path.stat().st_size < len(pickle.dumps(model))


@pytest.mark.parametrize(
    ("transformers", "X"),
    [
        ({"audio": PCA(2), "text": make_pipeline(SimpleImputer(), StandardScaler())}, vectors()),
        (QuantileTransformer(n_quantiles=10), vectors()),
        ({"text": make_pipeline(TfidfVectorizer(), TruncatedSVD(2))}, {"text": ["good film", "bad film", "dull"] * 4}),
        ("passthrough", frames()),
    ],
)
def test_load__modality_transformer__is_bit_equal(transformers, X, tmp_path):
    model = ModalityTransformer(transformers).fit(X)
    model.save(tmp_path / "model")
    found = sklearn_mdm.load(tmp_path / "model").transform(X)
    for name, values in model.transform(X).items():
        assert_same(values, found[name])


def test_load__in_another_process__predicts_the_same(saved, tmp_path):
    model, path = saved
    script = (
        "import sys, numpy as np, torch, sklearn_mdm\n"
        "torch.set_num_threads(1)\n"
        "model, X = sklearn_mdm.load(sys.argv[1]), dict(np.load(sys.argv[2]))\n"
        "np.savez(sys.argv[3], predict=model.predict(X), score=model.dependency_score(X), z=model.transform(X))\n"
    )
    np.savez(tmp_path / "X.npz", **vectors())
    files = [str(path), str(tmp_path / "X.npz"), str(tmp_path / "out.npz")]
    environment = {**os.environ, "PYTHONPATH": str(Path(sklearn_mdm.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        subprocess.run([sys.executable, "-c", script, *files], check=True, env=environment)
        found = np.load(files[-1])
        assert_same(model.predict(vectors()), found["predict"])
        assert_same(model.dependency_score(vectors()), found["score"])
        assert_same(model.transform(vectors()), found["z"])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("n_estimators", [1, 3])
@pytest.mark.parametrize("further", ["fit", "partial_fit"])
def test_load__training_that_goes_on__has_new_moments_alone(further, n_estimators, quick, tmp_path):
    networks = {"linear_member": False, "kernel_member": False, "warm_start": True}
    model = regressor(n_estimators=n_estimators, **networks).fit(vectors(), LATENT)
    model.save(tmp_path / "model")
    loaded = sklearn_mdm.load(tmp_path / "model")
    pickled = pickle.loads(pickle.dumps(model))
    model.net_.initialize_optimizer()
    for each in (model, loaded, pickled):
        getattr(each, further)(vectors(), LATENT)
    assert_same(loaded.predict(vectors()), model.predict(vectors()))
    assert (loaded.predict(vectors()) != pickled.predict(vectors())).any()  # which kept the moments


def test_load__and_save_again__is_the_same(saved, tmp_path):
    _, path = saved
    sklearn_mdm.load(path).save(tmp_path / "again")
    first, second = load_file(path), load_file(tmp_path / "again")
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name], equal_nan=first[name].dtype.kind == "f") for name in first)


def test_load__own_classes__are_found_among_the_trusted(quick, tmp_path):
    model = regressor(fusion=Summed()).fit(vectors(), LATENT)
    with pytest.raises(TypeError, match=r"fusion \(.*:Summed\), net_.*:SummedModule\).*trusted="):
        model.save(tmp_path / "model")
    model.save(tmp_path / "model", trusted=[Summed, SummedModule])
    with pytest.raises(SavedFileError, match=r"Summed.*trusted=\[Summed\]"):
        sklearn_mdm.load(tmp_path / "model")
    loaded = sklearn_mdm.load(tmp_path / "model", trusted=[Summed, SummedModule])
    assert_same(loaded.predict(vectors()), model.predict(vectors()))


class OwnTransformer(ModalityTransformer):
    """A user's own estimator."""

    @property
    def missing_part(self):
        raise AttributeError("there is no such part")


def test_load__own_estimator__is_found_among_the_trusted(tmp_path):
    model = OwnTransformer().fit(vectors())
    with pytest.raises(TypeError, match=r"cannot be saved with itself \(.*:OwnTransformer\)"):
        model.save(tmp_path / "model")
    model.save(tmp_path / "model", trusted=[OwnTransformer])
    loaded = sklearn_mdm.load(tmp_path / "model", trusted=[OwnTransformer])
    assert type(loaded) is OwnTransformer
    with pytest.raises(AttributeError, match=r"^there is no such part$"):
        loaded.missing_part  # noqa: B018


def half(x):
    return x / 2


def test_save__function_of_ones_own__is_saved_by_name_if_trusted(tmp_path):
    model = ModalityTransformer(FunctionTransformer(half)).fit(vectors())
    with pytest.raises(TypeError, match=r"transformers\.func \(.*:half\)"):
        model.save(tmp_path / "model")
    model.save(tmp_path / "model", trusted=[half])
    loaded = sklearn_mdm.load(tmp_path / "model", trusted=[half])
    assert_same(loaded.transform(vectors())["text"], vectors()["text"] / 2)


# -- devices -------------------------------------------------------------------------------------------------------


def test_load__device_that_is_not_there__is_the_cpu(saved, forged):
    model, _ = saved

    def on_gpu(nodes):
        for node in nodes:
            if node[0] == "tensor":
                node[3] = "cuda:99"
            if node[0] == "object" and "device" in node[2] and node[1].startswith("sklearn_mdm.net"):
                node[2]["device"] = "cuda:99"

    loaded = sklearn_mdm.load(forged(on_gpu))
    assert loaded.net_.device == "cpu"
    assert_same(loaded.predict(vectors()), model.predict(vectors()))


def test_load__device_that_is_asked_for__has_the_networks(saved):
    _, path = saved
    loaded = sklearn_mdm.load(path, device="meta")  # the one that is everywhere
    assert {p.device.type for p in loaded.net_.module_.parameters()} == {"meta"}
    assert all(member.device == "meta" for member in loaded.net_.members_)
    with pytest.raises((RuntimeError, AssertionError)):
        sklearn_mdm.load(path, device="cuda:99")


# -- damaged files -------------------------------------------------------------------------------------------------


def test_load__flipped_bits__are_errors(saved, tmp_path):
    _, path = saved
    content, rng = path.read_bytes(), np.random.default_rng(0)
    header = 8 + int.from_bytes(content[:8], "little")
    places = [*range(64), *rng.integers(header, size=120), *(header * 8 + rng.integers(8, size=4))]
    bits = [int(b) for b in (*places, *rng.integers(8 * len(content), size=300))]
    digest = content.index(b'"sha256":"') * 8
    for bit in (*bits, *range(digest, digest + 76 * 8, 5)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        (tmp_path / "damaged").write_bytes(damaged)
        with pytest.raises(SavedFileError):
            sklearn_mdm.load(tmp_path / "damaged")


@pytest.mark.parametrize(
    "damage",
    {
        "empty": lambda content: b"",
        "a few bytes": lambda content: content[:7],
        "cut": lambda content: content[: len(content) // 2],
        "last byte": lambda content: content[:-1],
        "longer": lambda content: content + b"\0",
        "swapped": lambda content: content[:-2000] + content[-1000:] + content[-2000:-1000],
        "pickle": lambda content: pickle.dumps({"a": 1}),
        "text": lambda content: b"x" * 5000,
    }.items(),
    ids=lambda item: item[0],
)
def test_load__other_content__is_an_error(damage, saved, tmp_path):
    (tmp_path / "damaged").write_bytes(damage[1](saved[1].read_bytes()))
    with pytest.raises(SavedFileError, match="cannot be loaded: it"):
        sklearn_mdm.load(tmp_path / "damaged")


def test_load__no_file__says_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        sklearn_mdm.load(tmp_path / "nothing")


# -- forged files, whose checksum is right -------------------------------------------------------------------------


@pytest.fixture
def forged(saved, tmp_path):
    """Write the file anew with other nodes or metadata."""

    def forge(change, **metadata):
        with safe_open(saved[1], "numpy") as file:
            texts = file.metadata()
        arrays = load_file(saved[1])
        nodes = json.loads(arrays["nodes"].tobytes())
        nodes = change(nodes) or nodes
        nodes = nodes if isinstance(nodes, str) else json.dumps(nodes)
        arrays["nodes"] = np.frombuffer(nodes.encode(), dtype=np.uint8)
        _file.write(tmp_path / "forged", {**texts, **metadata}, arrays)
        return tmp_path / "forged"

    return forge


# A tuple of two tuples, and so on: what hashes it, compares it or writes it out never ends.
SHARED = [["tuple"], *(["tuple", [i], [i]] for i in range(45))]


@pytest.mark.parametrize(
    "node",
    [
        ["name", [45]],
        ["device", [45]],
        ["enum", "torch.nn.modules.sparse:Embedding", [45]],
        ["new", "builtins:str", [45]],
        ["range", 0, 4 * 10**8, 1],
        ["range index", 0, 4 * 10**8, 1, None],
        ["name", "sklearn.preprocessing.tests.test_data:x"],
    ],
    ids=str,
)
def test_load__what_would_take_for_ever_or_fill_memory__is_an_error(node, forged):
    with pytest.raises(SavedFileError):
        sklearn_mdm.load(forged(lambda nodes: [*SHARED, node]))


def change(nodes, attribute, *more):
    """Add nodes, and an attribute of the estimator that is the last of them."""
    nodes.extend(more)
    nodes[0][2][attribute] = [len(nodes) - 1]


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "posix:system",
        "builtins:eval",
        "builtins:object",
        "subprocess:Popen",
        "sklearn_mdm.datasets._safe_pickle:pickle",
        "sklearn_mdm.datasets._safe_pickle:SafeUnpickler",
        "sklearn_mdm.persistence._file:os",
        "sklearn_mdm.persistence._file:Path",
        "sklearn_mdm.persistence._savable:load",
        "sklearn_mdm.net._net:NeuralNet",
        "sklearn_mdm.net._net:MDMNet.fit",
        "sklearn_mdm.net._net:__builtins__",
        "sklearn_mdm.nothing:Nothing",
        "sklearn_mdm..os:system",
        "sklearn_mdm_evil:Evil",
        "torch.nn.modules.module:torch",
        "torch.hub:load",
        "torch.optim.adam:Tensor",
        "numpy:load",
        "numpy:memmap",
        "sklearn.pipeline:clone",
        "",
    ],
)
@pytest.mark.parametrize("kind", ["object", "name", "new", "enum"])
def test_load__forged_name__is_an_error(name, kind, forged):
    parts = {"object": [{}], "name": [], "new": ["a"], "enum": ["a"]}[kind]
    for attribute in ("optimizer", "dtype", "further"):
        with pytest.raises(SavedFileError):
            sklearn_mdm.load(forged(lambda nodes, at=attribute: change(nodes, at, [kind, name, *parts])))


def attributes(**added):
    return lambda nodes: nodes[0][2].update(added)


def later(*more):
    return lambda nodes: [*nodes, *more]


def last(nodes):
    return [len(nodes) - 1]


TALL = [["tuple"]] + [["tuple", [i], [i]] for i in range(100)]


@pytest.mark.parametrize(
    "change",
    {
        "dunder": attributes(__class__=1),
        "another dunder": attributes(__dict__=1),
        "method": attributes(predict=1),
        "property": lambda nodes: next(n for n in nodes if n[0] == "object" and n[1].endswith("Net"))[2].update(
            fusion_module_=1
        ),
        "state that is no mapping": later(["object", "sklearn_mdm.fusion._concat:ConcatFusion", []]),
        "no state": later(["object", "sklearn_mdm.fusion._concat:ConcatFusion"]),
        "later node in a tuple": later(["tuple", [10**6]]),
        "node behind": later(["list", [-1]]),
        "unknown kind": later(["function", "os:system"]),
        "node that is a text": later("os"),
        "node that is nested": later(["list", [["list"]]]),
        "mapping in a node": later(["list", {"a": 1}]),
        "depth": lambda nodes: "[" * 100_000,
        "depth in a node": lambda nodes: json.dumps(nodes)[:-1] + ',["list",' + "[" * 100_000 + "]" * 100_000 + "]]",
        "nothing": lambda nodes: "[]",
        "not JSON": lambda nodes: "{",
        "root that is no estimator": lambda nodes: [["list"]],
        "tall key": lambda nodes: [["dict", [[101], 1]], *[[k, *([i[0] + 1] for i in v)] for k, *v in TALL]],
        "array of objects": later(["array", "array0", "|O", [1], [0]]),
        "array of records": later(["array", "array0", "f8,O", [1], [0]]),
        "array of another shape": later(["array", "array0", "<f8", [10**9, 10**9], [0, 1]]),
        "array of other axes": later(["array", "array0", "<f8", [1], [5]]),
        "array that is not there": later(["array", "nothing", "<f8", [1], [0]]),
        "objects of another shape": later(["tuple", 10**12], ["objects", [0], 1]),
        "huge number": lambda nodes: "[" + "9" * 10_000 + "]",
        "call": later(["partial", "os.system", [0], [0]]),
        "attribute of torch": later(["torch dtype", "load"]),
        "generator": later(["random state", "os", 1]),
    }.items(),
    ids=lambda item: item[0],
)
def test_load__forged_nodes__are_an_error(change, forged):
    with pytest.raises(SavedFileError, match="cannot be loaded"):
        sklearn_mdm.load(forged(change[1]))


def test_load__file_of_another_program__is_an_error(tmp_path):
    _file.write(tmp_path / "other", {"format": "pt"}, {"weight": np.zeros(3)})
    with pytest.raises(SavedFileError, match="not a file that save wrote"):
        sklearn_mdm.load(tmp_path / "other")


# -- versions ------------------------------------------------------------------------------------------------------


def same(nodes):
    return None


def test_load__patch_version__says_nothing(forged, saved):
    major, minor, *_ = sklearn_mdm.__version__.split(".")
    loaded = sklearn_mdm.load(forged(same, version=f"{major}.{minor}.99"))
    assert_same(loaded.predict(vectors()), saved[0].predict(vectors()))


def test_load__minor_version__warns(forged, saved):
    with pytest.warns(OtherVersionWarning, match=r"written by sklearn-mdm 0\.99\.0") as caught:
        loaded = sklearn_mdm.load(forged(same, version="0.99.0"))
    assert caught[0].filename == __file__
    assert_same(loaded.predict(vectors()), saved[0].predict(vectors()))


def test_load__format_of_later__names_the_version(forged):
    with pytest.raises(SavedFileError, match=r"sklearn-mdm 9\.9 wrote it, in a format"):
        sklearn_mdm.load(forged(same, format_version="2", version="9.9"))


def test_load__class_of_another_version__is_an_error(forged):
    def rename(nodes):
        for node in nodes:
            if node[0] == "object" and node[1].startswith("sklearn_mdm.inputs"):
                node[1] += "Gone"

    with pytest.raises(SavedFileError, match=r"Gone.*which this version of that package does not have.*9\.9"):
        sklearn_mdm.load(forged(rename, version="9.9"))


def test_pickle__minor_version__warns_and_says_what_is_missing(monkeypatch):
    model = ModalityTransformer().fit(vectors())
    monkeypatch.setattr(_savable, "__version__", "0.99.0")
    content = pickle.dumps(model)
    monkeypatch.undo()
    with pytest.warns(OtherVersionWarning, match=r"written by sklearn-mdm 0\.99\.0"):
        loaded = pickle.loads(content)
    assert_same(loaded.transform(vectors())["text"], vectors()["text"])
    del loaded._schema
    with pytest.raises(AttributeError, match=r"'_schema'\. It was written by sklearn-mdm 0\.99\.0.*fit it again"):
        loaded.transform(vectors())


def test_pickle__same_version__says_nothing():
    model = pickle.loads(pickle.dumps(ModalityTransformer().fit(vectors())))
    assert "_written_by" not in vars(model)
    with pytest.raises(AttributeError, match=r"no attribute 'nothing'$"):
        model.nothing  # noqa: B018


# -- saving --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [regressor(), DependencyEstimator(), ModalityTransformer()])
def test_save__not_fitted__is_an_error(model, tmp_path):
    with pytest.raises(NotFittedError):
        model.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_save__full_disk__leaves_the_earlier_file(saved, monkeypatch):
    model, path = saved
    before = path.read_bytes()

    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device: nothing was saved") as caught:
        model.save(path)
    assert caught.value.errno == errno.ENOSPC
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before


def test_save__file__is_read_by_safetensors(saved):
    _, path = saved
    with safe_open(path, "numpy") as file:
        assert file.metadata()["class"] == "MDMFusionRegressor"
        assert file.metadata()["version"] == sklearn_mdm.__version__
        assert len(file.keys()) > 10


@pytest.mark.parametrize("value", [lambda x: x, object(), BaseEstimator, np.zeros(2, dtype="f8,f8"), {(1, (2,)): 3}])
def test_save__what_has_no_place__is_named(value, tmp_path):
    model = ModalityTransformer().fit(vectors())
    model.modalities_extra = [value]
    with pytest.raises(TypeError, match=r"ModalityTransformer cannot be saved with modalities_extra\[0\] \("):
        model.save(tmp_path / "model")


@pytest.mark.parametrize(
    "value",
    [
        (1, "a", None, True, 2.5, -0.0, float("inf"), 10**30, 1 + 2j, b"\0\xff", "\ud800"),
        {1: "a", False: "b", "x": {2.5, "s"}, (1, "a"): frozenset([None]), None: 1, np.int64(7): 2},
        [slice(1, None), range(3), np.dtype("<U3"), np.float32(1.5), np.datetime64("2020-01-01"), np.str_("a")],
        [np.arange(6.0).reshape(2, 3).T, np.array("a"), np.array([["a", None]], dtype=object), np.zeros((0, 3), ">i2")],
        [np.asfortranarray(np.ones((2, 3, 4)))[::-1], np.array(["2020"], "M8[ns]"), np.array(1 + 1j), np.uint64(2**63)],
        [pd.RangeIndex(3, name="n"), pd.Index(["a", None]), pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})],
        [torch.zeros(2, 3, dtype=torch.bfloat16).T, torch.tensor(1 + 1j), torch.int64, torch.Size([2]), nn.Tanh()],
        [torch.device("cpu")],
    ],
)
def test_codec__values__come_back(value, tmp_path):
    model = ModalityTransformer().fit(vectors())
    model.extra = value
    model.cycle = [model, value]
    model.save(tmp_path / "model")
    loaded = sklearn_mdm.load(tmp_path / "model")
    assert loaded.cycle[0] is loaded
    assert loaded.cycle[1] is loaded.extra
    assert type(loaded.extra) is type(value)
    if "{" not in repr(value):  # sets have no order
        assert repr(loaded.extra) == repr(value)
    for a, b in zip(loaded.extra, value, strict=True) if isinstance(value, list) else ():
        assert getattr(a, "dtype", None) == getattr(b, "dtype", None)
        if isinstance(b, np.ndarray):
            assert a.flags.f_contiguous == np.array(b, order="K").flags.f_contiguous
        if isinstance(b, torch.Tensor):
            assert a.stride() == b.stride()
