"""Parameters and arguments that cannot be: an error that names them, and an estimator that is not half fitted."""

import re

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, EpochScoring
from skorch.helper import SliceDict

from sklearn_mdm import DependencyEstimator, MDMFusionClassifier, MDMFusionRegressor, ModalityDict, ModalityTransformer
from sklearn_mdm.encoders import Encoder, GRUEncoder, LSTMEncoder, MLPEncoder, TransformerEncoder
from sklearn_mdm.fusion import (
    ConcatFusion,
    EarlyFusionLSTM,
    LateFusion,
    LowRankFusion,
    MemoryFusion,
    MISAFusion,
    MultiAttentionFusion,
    TensorFusion,
)
from sklearn_mdm.measures import KL, KNIFE, SMILE, FDivergence, InfoNCE, JensenShannon, PairwiseInfoNCE, TCMax

nan = np.nan
pytestmark = pytest.mark.usefixtures("quick_reports")


def refused(model, call, message):
    """The call is refused with these words, and leaves nothing that is fitted."""
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        call(model)
    assert isinstance(caught.value, (ValueError, TypeError)) and str(caught.value)
    assert not [name for name in vars(model) if name.startswith(("net_", "history_", "critics_", "dependency_"))]


def dependency(**parameters):
    return DependencyEstimator(**{"max_updates": 5, "hidden_dims": (8, 8), "cv": None, "random_state": 0} | parameters)


# --- parameters of the estimators -------------------------------------------------------------------------------------

NO_WIDTHS = [(-1,), (0,), 0, 8, 1.5, (1.5,), "ab", ["8"], (True,), (nan,), None, [[8]], {8}, {8: 1}, (10**9,)]


@pytest.mark.parametrize("widths", NO_WIDTHS, ids=str)
def test_widths__that_are_none__are_refused(estimator, X, y, widths):
    refused(estimator(critic_hidden_dims=widths), lambda m: m.fit(X, y), "'critic_hidden_dims' parameter of MDMFusion")
    refused(dependency(hidden_dims=widths), lambda m: m.fit(X), "'hidden_dims' parameter of DependencyEstimator")


@pytest.mark.parametrize("measure", ["kl", "nwj", "jsd", "smile", "wasserstein", "wpc", "knife", "infonce"])
def test_a_critic_without_hidden_layers__works_or_is_refused(regressor, X, y, measure):
    model = regressor(measure=measure, critic_hidden_dims=())
    if measure == "infonce":
        refused(model, lambda m: m.fit(X, y), r"needs one or more hidden_dims")
    else:
        assert np.isfinite(model.fit(X, y).predict(X)).all()


def test_a_critic_without_hidden_layers__that_cannot_be__is_refused(regressor, X, y):
    refused(regressor(measure="pairwise_infonce", critic_hidden_dims=()), lambda m: m.fit(X, y), "one or more hidden")
    for critic in ("encoded", "separable", "multilinear"):
        refused(dependency(hidden_dims=(), critic=critic), lambda m: m.fit(X), "needs (one|two) or more hidden_dims")


class TooLarge(Encoder):
    """Fails as torch or Python do; where memory is overcommitted, layers of terabytes would fill the machine."""

    def __init__(self, error):
        self.error = error

    def build(self, shape):
        raise self.error


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")], ids=str)
def test_layers_too_large_for_memory__are_refused(regressor, X, y, error):
    refused(regressor(encoder=TooLarge(error)), lambda m: m.fit(X, y), "does not fit into memory.*narrower")


DEVICES = ["meta", "nonsense", "", "cuda:99", "cuda:-1", "xpu:99", "hpu", "vulkan", "xla", torch.device("meta")]


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_a_device_that_is_not_there__is_refused(estimator, X, y, device):
    refused(estimator(device=device), lambda m: m.fit(X, y), "device='.*' is not there.*torch finds cpu")


class NoOptimizer:
    pass


class Unfinished:
    def __init__(self, params, lr):
        pass


OPTIMIZERS = {
    "a function": lambda *args, **kwargs: None,
    "no optimizer": NoOptimizer,
    "without a step": Unfinished,
    "a layer": torch.nn.Linear,
    "of Python": print,
    "abstract": torch.optim.Optimizer,
    "of sparse gradients": torch.optim.SparseAdam,
    "of matrices": torch.optim.Muon if hasattr(torch.optim, "Muon") else NoOptimizer,
    "of whole data": torch.optim.LBFGS,
    "a schedule": torch.optim.lr_scheduler.StepLR,
    "a name": "nope",
    "None": None,
    "an instance": torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1),
}


@pytest.mark.parametrize("which", OPTIMIZERS)
def test_what_is_no_optimizer__is_refused(estimator, X, y, which):
    refused(estimator(optimizer=OPTIMIZERS[which]), lambda m: m.fit(X, y), "optimizer")


CALLBACKS = [
    *(["x"], [3], [lambda: 1], [object()], [("a",)], [("a", Callback(), 3)], [(1, Callback())], [()], [EpochScoring]),
    *([("a", 3)], Callback(), Callback, (Callback(),), "x", {"a": Callback()}, [("a", Callback()), ("a", Callback())]),
]


@pytest.mark.parametrize("callbacks", CALLBACKS, ids=lambda value: re.sub(" at 0x[0-9a-f]+", "", str(value))[:50])
def test_what_is_no_callback__is_refused(estimator, X, y, callbacks):
    refused(estimator(callbacks=callbacks), lambda m: m.fit(X, y), "callback")


def test_callbacks__as_skorch_takes_them__are_called(regressor, X, y):
    for callbacks in ([Callback], [("mine", Callback())], [("mine", None)], [Callback(), Callback()]):
        regressor(callbacks=callbacks).fit(X, y)


@pytest.mark.parametrize("cv", [[1], np.array([1, 2]), iter([3]), []], ids=["list", "array", "iterator", "empty"])
def test_what_is_no_splitter__is_refused(regressor, X, y, cv):
    refused(regressor(cv=cv), lambda m: m.fit(X, y), r"\bcv\b")


# --- parameters of the objects that estimators are made of ------------------------------------------------------------

SIZE = [0, -1, 4.5, 2.0, nan, np.inf, "x", True, [], [1], {}, None, 10**9, np.float32(2), object(), float]
SIZES = [0, -1, 4.5, nan, "x", True, (4, 0), (4.5,), ("4",), (True,), {}, {4}, None, 10**9, [[4]], object()]
DROPOUT = [-0.1, 1, 4.5, nan, np.inf, "x", True, [], None, np.array([0.1, 0.2]), object()]
BOUND = [0, -1, nan, np.inf, "x", [], [1.0], np.array([1, 2]), object()]
WORD = [0, None, "x", [], {}, np.array(["last"]), object()]

SEQUENTIAL = (EarlyFusionLSTM, MemoryFusion, MultiAttentionFusion, GRUEncoder, LSTMEncoder, TransformerEncoder)
OBJECTS = {
    MLPEncoder: {"hidden_dims": SIZES, "out_dim": SIZE, "dropout": DROPOUT},
    GRUEncoder: {"hidden_dim": SIZE, "n_layers": SIZE, "dropout": DROPOUT, "pooling": WORD},
    LSTMEncoder: {"out_dim": [bad for bad in SIZE if bad is not None], "pooling": WORD},
    TransformerEncoder: {"d_model": SIZE, "n_heads": SIZE, "n_layers": SIZE, "out_dim": SIZE, "dropout": DROPOUT},
    ConcatFusion: {"hidden_dims": SIZES, "dropout": DROPOUT},
    LateFusion: {"hidden_dims": SIZES, "weights": WORD, "dropout": DROPOUT},
    LowRankFusion: {"rank": SIZE},
    TensorFusion: {"hidden_dims": SIZES, "dropout": DROPOUT},
    EarlyFusionLSTM: {"embed_dim": SIZE, "hidden_dim": SIZE, "n_layers": SIZE, "dropout": DROPOUT},
    MemoryFusion: {"hidden_dims": SIZES, "memory_dim": SIZE, "attention_dim": SIZE, "head_dim": SIZE},
    MultiAttentionFusion: {"embed_dim": SIZE, "hidden_dims": SIZES, "n_attentions": SIZE, "cross_dim": SIZE},
    MISAFusion: {"hidden_dim": SIZE, "n_heads": SIZE, "feedforward_dim": SIZE, "sim_weight": [-1, nan, "x", None, []]},
    KL: {"bound": BOUND, "moving_average": [-1, 1, nan, "x", [], object()]},
    FDivergence: {"bound": BOUND, "divergence": WORD},
    JensenShannon: {"bound": BOUND},
    SMILE: {"bound": BOUND, "clip": [0, -1, nan, "x", None, []]},
    InfoNCE: {"bound": BOUND},
    PairwiseInfoNCE: {"temperature": [*BOUND, None]},
    TCMax: {"bound": BOUND},
    KNIFE: {"n_kernels": SIZE},
}


@pytest.mark.parametrize(
    ("cls", "parameter"), [(cls, parameter) for cls, parameters in OBJECTS.items() for parameter in parameters]
)
def test_parameters_of_objects__that_cannot_be__are_refused(classifier, X, y, cls, parameter):
    slot = next(slot for slot in ("encoder", "fusion", "measure") if f".{slot}" in cls.__module__)
    data = {name: np.stack([value] * 3, axis=1) for name, value in X.items()} if cls in SEQUENTIAL else X
    for bad in OBJECTS[cls][parameter]:
        model = classifier(**{"encoder": "auto"} | {slot: cls(**{parameter: bad})})
        refused(model, lambda m: m.fit(data, y), f"'{parameter}' parameter of {cls.__name__} must be .*Got ")


@pytest.mark.parametrize("encoder", [MLPEncoder, GRUEncoder, LSTMEncoder, TransformerEncoder])
def test_sizes__of_numpy__are_sizes(regressor, X, y, encoder):
    data = {name: np.stack([value] * 3, axis=1) for name, value in X.items()}
    size = "d_model" if encoder is TransformerEncoder else "hidden_dims" if encoder is MLPEncoder else "hidden_dim"
    made = encoder(**{size: np.int64(8), "out_dim": np.int32(4), "dropout": np.float32(0.1)})
    assert np.isfinite(regressor(encoder=made).fit(data, y).predict(data)).all()


# --- arguments ------------------------------------------------------------------------------------------------------

NOTHING = {
    "a generator": lambda: (i for i in range(60)),
    "an iterator": lambda: iter([1.0] * 60),
    "a number": lambda: 3,
    "a single array": lambda: np.array(1.0),
    "a text": lambda: "abc",
    "bytes": lambda: b"abc",
    "a set": lambda: set(range(60)),
    "an empty dict": dict,
    "a dict": lambda: {"z": 1},
    "an object": object,
    "a class": lambda: float,
    "Ellipsis": lambda: ...,
    "an empty list": list,
    "without values": lambda: torch.ones(60, device="meta"),
    "dicts": lambda: [{}] * 60,
    "too few": lambda: np.ones(59),
    "too many": lambda: np.ones(61),
    "cubes": lambda: np.ones((60, 2, 2)),
}
CALLS = {
    "X": lambda m, X, y, bad: m.fit(bad, y),
    "y": lambda m, X, y, bad: m.fit(X, bad),
    "sample_weight": lambda m, X, y, bad: m.fit(X, y, sample_weight=bad),
    "groups": lambda m, X, y, bad: m.fit(X, y, groups=bad),
    "X_val": lambda m, X, y, bad: m.fit(X, y, X_val=bad, y_val=y),
    "y_val": lambda m, X, y, bad: m.fit(X, y, X_val=X, y_val=bad),
    "X_unlabeled": lambda m, X, y, bad: m.fit(X, y, X_unlabeled=bad),
    "modality 'text'": lambda m, X, y, bad: m.fit({**X, "text": bad}, y),
}


@pytest.mark.parametrize("what", NOTHING)
@pytest.mark.parametrize("argument", CALLS)
def test_arguments__that_cannot_be_read__are_named(regressor, X, y, argument, what):
    if argument == "modality 'text'" and what == "cubes":
        pytest.skip("these are sequences")
    name = r"modalit.*'text'" if argument.startswith("modality") else rf"\b{argument}\b"
    name = r"\bX\b|0 sample|modalit" if argument == "X" else name
    model = regressor()
    refused(model, lambda m: CALLS[argument](m, X, y, NOTHING[what]()), f"(?s){name}")


@pytest.mark.parametrize("n", [59, 61])
def test_numbers_of_samples__that_differ__are_told(estimator, X, y, n):
    other = np.resize(y, n)
    counts = rf"has {n} samples, X has 60"
    for argument, message in [("y", f"y {counts}"), ("sample_weight", f"sample_weight {counts}")]:
        refused(estimator(), lambda m, a=argument: CALLS[a](m, X, y, other), message)
    refused(estimator(), lambda m: m.fit(X, y, groups=other), f"groups {counts}")
    refused(estimator(), lambda m: m.fit(X, y, X_val=X, y_val=other), rf"y_val has {n} samples, X_val has 60")
    short = {**X, "text": np.resize(X["text"], (n, 2))}
    for argument in ("X_val", "X_unlabeled"):
        refused(estimator(), lambda m, a=argument: CALLS[a](m, X, y, short), rf"{argument}: .*'audio' has 60.*has {n}")
    refused(dependency(), lambda m: m.fit(X, groups=other), f"groups {counts}")
    refused(ModalityTransformer({}), lambda m: m.fit(X, other), f"y {counts}")
    fitted = estimator(lam=1.0).fit(X, y)
    for call, message in [
        (lambda: fitted.partial_fit(X, other), f"y {counts}"),
        (lambda: fitted.partial_fit(X, y, sample_weight=other), f"sample_weight {counts}"),
        (lambda: fitted.score(X, other), f"y {counts}"),
        (lambda: fitted.score(X, y, sample_weight=other), rf"sample_weight has {n} samples, y has 60"),
        (lambda: fitted.fit_dependency(X, groups=other), f"groups {counts}"),
        (lambda: fitted.predict(short), rf"'audio' has 60, 'text' has {n}"),
        (lambda: fitted.dependency_score(short), rf"'audio' has 60, 'text' has {n}"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("weight", [2.0**900, 1e308, 1e-300, 1e-320], ids=str)
@pytest.mark.parametrize("members", [1, 3])
def test_weights_of_any_size__count_by_their_ratios(estimator, X, y, weight, members):
    options = {"n_estimators": members, "early_stopping": True}
    plain, scaled = (estimator(**options).fit(X, y, sample_weight=np.full(60, w)) for w in (1.0, weight))
    np.testing.assert_array_equal(plain.transform(X), scaled.transform(X))
    assert plain.score(X, y) == pytest.approx(scaled.score(X, y, sample_weight=np.full(60, weight)))
    mixed = estimator(**options).fit(X, y, sample_weight=np.r_[np.full(30, weight), np.full(30, weight / 3)])
    assert np.isfinite(mixed.transform(X)).all()


@pytest.mark.parametrize(("weight", "message"), [(-1, "negative"), (nan, "NaN"), (np.inf, "infinity"), (0, "zero")])
def test_weights__that_are_none__are_refused(estimator, X, y, weight, message):
    weights = np.full(60, weight) if weight == 0 else np.r_[weight, np.ones(59)]
    refused(estimator(), lambda m: m.fit(X, y, sample_weight=weights), f"sample_weight.*{message}")


def test_weights_of_a_later_call__out_of_range_of_the_first__are_refused(regressor, X, y):
    model = regressor().partial_fit(X, y, sample_weight=np.full(60, 1e-320))
    with pytest.raises(ValueError, match="sample_weight cannot be compared"):
        model.partial_fit(X, y, sample_weight=np.full(60, 1e300))


def test_lists_of_sequences__of_plain_lists__train_as_the_padded_array(regressor, X, y):
    lengths = 1 + np.arange(60) % 4
    nested = [[[float(i), float(t)] for t in range(n)] for i, n in enumerate(lengths)]
    nested[3], nested[5] = [], [[5.0, 0.0], None]  # no steps, and a step that is missing
    padded = np.full((60, 4, 2), nan)
    for row, steps in zip(padded, nested, strict=True):
        for t, step in enumerate(steps):
            row[t] = nan if step is None else step
    for kind in (list, tuple, lambda rows: np.array(rows, dtype=object)):
        fits = [
            regressor(encoder="auto").fit({"audio": X["audio"], "text": text}, y) for text in (padded, kind(nested))
        ]
        expected, found = (fit.predict({"audio": X["audio"], "text": padded}) for fit in fits)
        np.testing.assert_array_equal(found, expected)


# --- names ----------------------------------------------------------------------------------------------------------

NAMES = ["self", "forward", "X", "", 3, -1, 0, "a.b", "train", "training", "keys", "items", "pop", "type", "modules"]
NAMES += ["kwargs", "y", "mask", "__class__", "é", "a b", "m0", "m1", "index", "shape", "data", "dtype", "encoders"]


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_modalities__may_have_any_name(regressor, X, y, name):
    named = {name: X["audio"], "text": X["text"]}
    sliced = SliceDict()
    dict.__init__(sliced, named)  # its constructor takes keywords
    sliced._len = 60
    expected = regressor(missing="token", modality_dropout=0.2).fit(named, y).predict(named)
    for container in (sliced, ModalityDict(named)):
        model = regressor(missing="token", modality_dropout=0.2, encoder={name: "mlp"}).fit(container, y)
        assert np.isfinite(model.predict(container)).all()
        model = regressor(missing="token", modality_dropout=0.2).fit(container, y)
        np.testing.assert_array_equal(model.predict(container), expected)


@pytest.mark.parametrize("name", [None, 1.5, ("a", "b"), True, b"a", frozenset("a"), nan], ids=repr)
def test_names__that_are_none__are_refused(regressor, X, y, name):
    named = {name: X["audio"], "text": X["text"]}
    refused(regressor(), lambda m: m.fit(named, y), "modality names must be strings or integers")
    with pytest.raises(TypeError, match="modality names must be strings or integers"):
        ModalityDict(named)


def test_estimators_of_this_file__fit_what_is_right(estimator, X, y):
    assert isinstance(estimator().fit(X, y), (MDMFusionRegressor, MDMFusionClassifier))
