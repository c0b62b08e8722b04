"""Training on a GPU by graphs of whole steps: what can be told without one, and, where there is one, equal numbers."""

import pickle
import warnings
from functools import partial
from typing import ClassVar

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, GradientNormClipping
from torch import nn

from sklearn_mdm import MDMFusionClassifier, MDMFusionRegressor
from sklearn_mdm.callbacks import WarmupLinearDecay
from sklearn_mdm.estimators._device import FEWEST_ROWS, LARGE, pays_on_gpu
from sklearn_mdm.fusion import FUSIONS, MAGFusion
from sklearn_mdm.measures import KL, MEASURES
from sklearn_mdm.net import MaskedDataset, _step_graphs
from sklearn_mdm.net._member_data import Joined, MemberBatch
from sklearn_mdm.net._readings import Reading, read
from sklearn_mdm.net._step_graphs import StepGraph, StepGraphs, has_fixed_work

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
N, STEPS = 400, 6
ONE = {"n_estimators": 1, "linear_member": False, "kernel_member": False, "scaling": "standard", "lam": 0.1}
ALIGNED = ("ef_lstm", "mfn", "marn")  # systems that read sequences


def data(steps=False, n=N):
    rng = np.random.default_rng(0)
    shape = (n, STEPS, 5) if steps else (n, 5)
    X = {name: rng.normal(size=shape).astype(np.float32) for name in ("audio", "visual", "text")}
    first = {name: x.reshape(n, -1)[:, 0] for name, x in X.items()}
    return X, first["audio"] + first["text"] * first["visual"]


# --- what can be told without a GPU ----------------------------------------------------------------------------------


def test_readings__are_recorded_in_order_and_in_their_shapes():
    found = []
    one = Reading.of(lambda *values: found.append(("one", values)), [torch.tensor(1.5), None])
    two = Reading.of(lambda *values: found.append(("two", values)), [torch.tensor([2.0, 3.0]), torch.tensor(4.0)])
    read([Reading.joined([one, two]), one])
    assert found == [("one", (1.5, None)), ("two", ([2.0, 3.0], 4.0)), ("one", (1.5, None))]
    read([])


def test_joined__takes_the_rows_that_each_dataset_takes():
    rng = np.random.default_rng(0)
    X = {"audio": rng.normal(size=(20, 2))}
    parts = [np.arange(12), np.arange(5, 20), np.array([3, 1])]
    members = [
        MaskedDataset(X, y=rng.normal(size=len(p)), sample_weight=rng.uniform(size=len(p)), rows=p) for p in parts
    ]
    rows = [torch.tensor([0, 1, 1]), torch.tensor([14, 0, 3]), torch.tensor([1, 0, 1])]
    batch, y = MemberBatch([0, 1, 2], members, rows).stacked()
    joined = Joined.of(members)
    places = joined.places(rows)
    assert torch.equal(joined.y[places], y) and torch.equal(joined.weight[places], batch.weight)
    assert joined.stored[places].tolist() == [[0, 1, 1], [19, 5, 8], [1, 3, 1]]
    assert Joined.of(members[:2]) is not joined and Joined.of(members) is joined  # which a graph may be reading


def systems():
    return sorted(name for name, fusion in FUSIONS.items() if fusion is not MAGFusion)


@pytest.mark.parametrize("name", systems())
def test_systems__have_fixed_work_unless_a_part_of_torch_has_not(name):
    shapes = dict.fromkeys(("audio", "text"), (STEPS, 5) if name in ALIGNED else (5,))
    module = FUSIONS[name]().build(shapes, 1)
    attends = any(isinstance(part, nn.MultiheadAttention) for part in module.modules())
    assert has_fixed_work(module) == (not attends)


def test_has_fixed_work__not_of_what_users_write_or_derive():
    class Users(nn.Module):
        pass

    class Derived(type(FUSIONS["concat"]().build({"a": (2,)}, 1))):
        pass

    derived = FUSIONS["concat"]().build({"a": (2,)}, 1)
    derived.__class__ = Derived
    assert not has_fixed_work(nn.Sequential(nn.Linear(1, 1), Users())) and not has_fixed_work(derived)
    assert has_fixed_work(nn.LSTM(2, 2)) and not has_fixed_work(nn.LSTM(2, 2, num_layers=2, dropout=0.1))


LAYER = nn.Linear(999, 10)  # of 10,000 parameters


@pytest.mark.parametrize(
    ("module", "critic", "options", "pays"),
    [
        (LAYER, None, {}, True),
        (LAYER, None, {"n": FEWEST_ROWS - 1}, False),  # over before a GPU is ahead
        (LAYER, None, {"n": FEWEST_ROWS - 1, "size": LARGE / 10_000}, True),
        (LAYER, None, {"fixed": False}, False),
        (LAYER, None, {"fixed": False, "size": LARGE / 10_000}, True),
        (LAYER, None, {"fixed": False, "size": LARGE / 80_000, "members": 8}, True),
        (LAYER, None, {"fixed": False, "size": LARGE / 80_000, "members": 8, "term": True}, False),
        (LAYER, None, {"fixed": False, "size": LARGE / 10_000, "members": 8, "term": True}, True),
        (LAYER, MEASURES["wasserstein"]().build_critic([2, 2]), {"term": True}, False),
        (LAYER, MEASURES["wasserstein"]().build_critic([2, 2]), {}, True),  # which does nothing then
        (LAYER, KL().build_critic([2, 2]), {"term": True}, True),
    ],
)
def test_pays_on_gpu(module, critic, options, pays):
    usual = {"n": 1000, "size": 64, "members": 1, "fixed": True, "term": False}
    assert pays_on_gpu(module, critic, **{**usual, **options}) is pays


class Pretended:
    """In the place of a graph: makes the step kernel by kernel, from what would be copied to the device."""

    made: ClassVar[list] = []

    def __init__(self, net, step, rows, draws):
        self.net, self.step, self.draws = net, step, draws
        self.reads = _step_graphs._places_of(net)
        Pretended.made.append(self)

    def launch(self, rows):
        self.step(rows)


def on_the_cpu(self, iterator, training, prefix, step_fn, **fit_params):
    calls = [partial(self.step, batch, prefix, step_fn, fit_params) for batch in iterator] if not training else None
    n_batches = 0
    for call in calls or self.launches(iterator, prefix, step_fn, fit_params):
        call()
        n_batches += 1
    self.net.history.record(prefix + "_batch_count", n_batches)


@pytest.fixture
def pretended(monkeypatch):
    """Train on the CPU as if it were a GPU."""
    monkeypatch.setattr(Pretended, "made", [])
    monkeypatch.setattr(_step_graphs, "StepGraph", Pretended)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: None)
    monkeypatch.setattr(StepGraphs, "of", classmethod(lambda cls, net: cls(net)))
    monkeypatch.setattr(StepGraphs, "run_epoch", on_the_cpu)


def test_graphs__of_which_one_cannot_be_made__are_made_again(pretended, monkeypatch):
    init, failed = Pretended.__init__, []

    def fail(self, net, step, rows, draws):
        if len(next(iter(rows.values()))) < 64:  # the last batch of an epoch
            failed.append(rows)
            raise RuntimeError("no graph can hold this")
        init(self, net, step, rows, draws)

    monkeypatch.setattr(Pretended, "__init__", fail)
    X, y = data()
    fitted(X, y, device="cpu", early_stopping=False, max_epochs=6, tol=0, n_iter_no_change=9)
    assert len(failed) == 1 and len(Pretended.made) == 2


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("change", [None, "lr", "weights"])
def test_graphs__are_made_once_and_again_where_something_changed(members, change, request):
    class Changes(Callback):
        def on_epoch_end(self, net, **kwargs):
            if change == "lr":
                net.optimizer_.param_groups[0]["lr"] *= 0.5
            elif change == "weights":
                for parameter in net.criterion_.parameters() if members > 1 else net.module_.parameters():
                    parameter.data = parameter.data.clone()

    X, y = data()
    settings = {"device": "cpu", "n_estimators": members, "early_stopping": False, "max_epochs": 4}
    settings |= {"callbacks": [Changes()], "tol": 0, "n_iter_no_change": 9}
    usual = fitted(X, y, **settings)
    request.getfixturevalue("pretended")
    assert_same_course(usual, fitted(X, y, **settings))
    # Of whole batches in every epoch that differs, and of the last one, which comes once an epoch.
    again = change == "lr" or (change == "weights" and members == 1)
    assert len(Pretended.made) == (4 if again else 2)


# --- where there is a GPU --------------------------------------------------------------------------------------------


@pytest.fixture
def graphs(monkeypatch):
    """Graphs that are made, in a list."""
    made = []
    init = StepGraph.__init__

    def counted(self, *args):
        init(self, *args)
        made.append(self)

    monkeypatch.setattr(StepGraph, "__init__", counted)
    return made


def fitted(X, y, cls=MDMFusionRegressor, **parameters):
    defaults = {"n_estimators": 3, "max_epochs": 3, "device": "cuda", "random_state": 0, "batch_size": 64, "lam": 0.1}
    return cls(**{**defaults, **parameters}).fit(X, y)


def course(model):
    return [{key: row[key] for key in row if "loss" in key or "depend" in key} for row in model.history_]


def assert_same_course(one, other):
    for a, b in zip(course(one), course(other), strict=True):
        for key in a:
            np.testing.assert_array_equal(a[key], b[key], err_msg=key)
    for a, b in zip(one.net_.module_.parameters(), other.net_.module_.parameters(), strict=True):
        assert torch.equal(a, b)


CASES = {
    **{f"fusion {name}": {"fusion": name} for name in systems()},
    **{f"measure {name}": {"measure": name} for name in sorted(MEASURES) if name != "tcmax"},
    "one": {**ONE},
    "one without term": {**ONE, "lam": 0.0},
    "modality dropout": {"modality_dropout": 0.3},
    "lam of several": {"lam": [0.0, 0.1]},
    "sgd": {"optimizer": "sgd"},
    "gru": {"encoder": "gru"},
    "unroll, negatives": {"unroll": 2, "n_negatives": 2},
}


@on_gpu
@pytest.mark.parametrize("name", CASES)
def test_graphs__give_the_numbers_of_steps_kernel_by_kernel(name, graphs, monkeypatch):
    parameters = CASES[name]
    X, y = data(steps=parameters.get("fusion") in ALIGNED or "encoder" in parameters)
    by_graphs = fitted(X, y, **parameters)
    n_graphs = len(graphs)
    assert_same_course(by_graphs, fitted(X, y, **parameters))
    monkeypatch.setattr(StepGraphs, "same_work", lambda *args: False)
    assert_same_course(by_graphs, fitted(X, y, **parameters))
    parts = [part for member in by_graphs._member_nets() for part in member.fusion_module_.modules()]
    eager = any(isinstance(part, nn.MultiheadAttention) for part in parts) or "wasserstein" in name or "wpc" in name
    assert (n_graphs == 0) == eager


@on_gpu
@pytest.mark.parametrize("labels", ["all", "half"])
def test_graphs__of_classifiers(labels, graphs, monkeypatch):
    X, y = data()
    y = (y > 0).astype(float)
    if labels == "half":
        y[::2] = np.nan
    for measure in ("kl", "tcmax"):
        del graphs[:]
        by_graphs = fitted(X, y, MDMFusionClassifier, measure=measure)
        assert graphs
        with monkeypatch.context() as patch:
            patch.setattr(StepGraphs, "same_work", lambda *args: False)
            assert_same_course(by_graphs, fitted(X, y, MDMFusionClassifier, measure=measure))


class Slower(Callback):
    def on_epoch_end(self, net, **kwargs):
        for group in net.optimizer_.param_groups:
            group["lr"] *= 0.1


class Ears(Callback):
    def on_batch_end(self, net, training=False, **kwargs):
        self.heard_ = getattr(self, "heard_", 0) + training


@on_gpu
@pytest.mark.parametrize(
    "callback", [Ears(), GradientNormClipping(1.0), WarmupLinearDecay()], ids=lambda c: type(c).__name__
)
def test_callbacks__that_want_every_batch_get_it(callback, graphs):
    X, y = data()
    model = fitted(X, y, **ONE, callbacks=[callback], early_stopping=False)
    assert not graphs
    assert all(len(row["batches"]) == 0 or "train_loss" in row["batches"][0] for row in model.net_.history)


@on_gpu
def test_learning_rates__that_change_between_epochs_are_followed(graphs, monkeypatch):
    X, y = data()
    schedule = {"callbacks": [Slower()], "early_stopping": False, **ONE}
    by_graphs = fitted(X, y, **schedule)
    assert len(graphs) == 3
    monkeypatch.setattr(StepGraphs, "same_work", lambda *args: False)
    assert_same_course(by_graphs, fitted(X, y, **schedule))


@on_gpu
def test_missing_modalities__train_without_graphs(graphs):
    X, y = data()
    X["text"][::5] = np.nan
    model = fitted(X, y)
    assert not graphs and np.isfinite(model.predict(X)).all()


@on_gpu
def test_steps__do_not_wait_for_the_gpu(monkeypatch):
    X, y = data()
    launch, step = StepGraph.launch, StepGraphs.step

    def strict(function):
        def call(*args):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that this is a prototype
                torch.cuda.set_sync_debug_mode("error")
            try:
                return function(*args)
            finally:
                torch.cuda.set_sync_debug_mode("default")

        return call

    monkeypatch.setattr(StepGraph, "launch", strict(launch))
    monkeypatch.setattr(StepGraphs, "step", strict(step))
    for parameters in ({}, ONE, {"lam": 0.0}, {"fusion": "tensor"}):
        fitted(X, y, **parameters)


@on_gpu
def test_non_finite_losses__end_training_with_the_error_of_the_cpu():
    X, y = data()
    for device in ("cpu", "cuda"):
        with pytest.raises(FloatingPointError, match="non-finite task loss"):
            fitted(X, y, **ONE, device=device, lr=1e30, n_iter_no_change=50, max_epochs=20)


@on_gpu
def test_graphs__that_cannot_be_made_are_done_without(monkeypatch):
    X, y = data()
    value, waits = KL.value, []

    def waiting(self, *args):
        result = value(self, *args)
        if waits:
            result.item()
        return result

    monkeypatch.setattr(KL, "value", waiting)
    usual = fitted(X, y, **ONE)
    waits.append(True)
    assert_same_course(usual, fitted(X, y, **ONE))


@on_gpu
def test_after_training__nothing_of_graphs_is_left():
    X, y = data()
    model = fitted(X, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    model.partial_fit(X, y)
    again.partial_fit(X, y)
    assert_same_course(model, again)
    assert not {"graphs_", "unread_", "draws_of_step_"} & vars(model.net_).keys()


@on_gpu
@pytest.mark.parametrize(("n", "device"), [(100, "cpu"), (2000, "cuda")])
def test_auto__takes_what_is_faster(n, device):
    X, y = data(n=n)
    model = fitted(X, y, device="auto", max_epochs=1)
    assert next(model.net_.module_.parameters()).device.type == device
