"""An MDMNet whose training was interrupted, resumed from our file and from skorch's."""

import json

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal, assert_equal
from skorch.callbacks import Callback, Checkpoint, LoadInitState, LRScheduler
from skorch.callbacks import EarlyStopping as SkorchEarlyStopping
from skorch.dataset import ValidSplit

from sklearn_mdm import MDMNet
from sklearn_mdm.callbacks import GradientAccumulation, ResumableCheckpoint
from sklearn_mdm.encoders import MLPEncoder
from sklearn_mdm.exceptions import CheckpointWarning
from sklearn_mdm.fusion import ConcatFusion

EPOCHS = 6


class Killed(BaseException):
    """What ends a training in the tests."""


class Kill(Callback):
    """Ends the training at the second batch of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_batch_begin(self, net, **kwargs):
        if len(net.history) == self.epoch and len(net.history[-1]["batches"]) == 2:
            raise Killed


class Own(Callback):
    """Remembers something of each kind, and records it."""

    def initialize(self):
        self.sums_, self.last_, self.opened_ = {"train": [0.0], "n": (0, None)}, np.zeros(2), lambda: None
        self.tensor_ = torch.zeros(1)
        return self

    def on_epoch_end(self, net, **kwargs):
        self.sums_ = {"train": [self.sums_["train"][0] + net.history[-1, "train_loss"]], "n": (len(net.history), None)}
        self.last_ = self.last_ + np.float64(net.history[-1, "train_loss"])
        self.tensor_ += 1
        net.history.record("sum", np.float32(self.last_[1] + self.tensor_.item()))
        net.history.record("own", self.sums_["train"][0] + self.sums_["n"][0])
        assert callable(self.opened_)


@pytest.fixture(autouse=True)
def generator_of_torch():
    """Initial weights of a net follow it."""
    with torch.random.fork_rng(devices=[]):
        yield


def net_of(callbacks, dropout=0.0, seed=0, **parameters):
    """A net whose initial weights are those of a seed, if it is fitted next."""
    torch.manual_seed(seed)
    encoder = MLPEncoder(hidden_dims=(8,), out_dim=4, dropout=dropout)
    module = ConcatFusion((8,), dropout=dropout).build({"audio": (3,), "text": (2,)}, 1, encoder=encoder)
    settings = {"lam": 0.3, "max_epochs": EPOCHS, "batch_size": 16, "lr": 0.01, "verbose": 0}
    return MDMNet(module, **{**settings, **parameters}, callbacks=callbacks)


LOADER = {"iterator_train": torch.utils.data.DataLoader, "iterator_train__num_workers": 0}
STEPS = {"policy": torch.optim.lr_scheduler.ExponentialLR, "gamma": 0.7}
CASES = {
    "plain": ({}, []),
    "dropout": ({"dropout": 0.4}, []),
    "modality dropout": ({"modality_dropout": 0.4, "unroll": 2}, []),
    "validation": ({"train_split": ValidSplit(4)}, [SkorchEarlyStopping(patience=2, load_best=True)]),
    "loader": ({**LOADER, "dropout": 0.2}, []),
    "accumulation": ({"dropout": 0.2}, [GradientAccumulation(3)]),
    "rates": ({}, [LRScheduler(**STEPS)]),
    "state of a callback": ({}, [("mine", Own())]),
    "seed from nowhere": ({"random_state": None, "dropout": 0.3}, []),
    "in doubles": ({"dtype": torch.float64, "optimizer": torch.optim.NAdam}, []),
}


@pytest.fixture(name="y")
def target(X):
    return X["audio"][:, :1].astype(np.float32)


def assert_same(net, other, X):
    rows = [
        [{key: value for key, value in row.items() if key != "dur"} for row in each.history] for each in (net, other)
    ]
    assert_equal(*rows)
    assert_array_equal(net.predict(X), other.predict(X))
    for name in ("module_", "critic_"):
        for one, two in zip(getattr(net, name).parameters(), getattr(other, name).parameters(), strict=True):
            assert torch.equal(one, two)


@pytest.mark.parametrize("epoch", [5, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", CASES)
def test_resumed_net__equals_an_uninterrupted_one(case, epoch, X, y, tmp_path, monkeypatch):
    parameters, callbacks = CASES[case]
    if case == "seed from nowhere":  # which the file keeps
        sequence = np.random.SeedSequence
        monkeypatch.setattr(np.random, "SeedSequence", lambda entropy: sequence(5 if entropy is None else entropy))
    whole = net_of(callbacks, **parameters).fit(X, y)
    path = tmp_path / "file"
    with pytest.raises(Killed):
        net_of([ResumableCheckpoint(path), *callbacks, Kill(epoch)], **parameters).fit(X, y)
    if case == "seed from nowhere":
        monkeypatch.setattr(np.random, "SeedSequence", lambda entropy: sequence(6 if entropy is None else entropy))
        # Seeds of epochs follow from that of the net.
    net = net_of([ResumableCheckpoint(path), *callbacks], seed=1, **parameters).fit(X, y)
    assert_same(net, whole, X)


def test_partial_fit_of_a_net__goes_on_once(X, y, tmp_path):
    net = net_of([ResumableCheckpoint(tmp_path / "file")]).partial_fit(X, y)
    with pytest.raises(ValueError, match="partial_fit and warm_start"):
        net.partial_fit(X, y)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"lr": 0.02}, r"lr \(0.01 there, 0.02 here\)"),
        ({"dropout": 0.1}, "module"),
        ({"dtype": torch.float64}, "dtype"),
    ],
)
def test_another_net__error(changed, told, X, y, tmp_path):
    callbacks = [ResumableCheckpoint(tmp_path / "file")]
    net_of(callbacks).fit(X, y)
    with pytest.raises(ValueError, match=f"differs in: .*{told}"):
        net_of(callbacks, **changed).fit(X, y)


# --- skorch's way -----------------------------------------------------------------------------------------------------

CRITIC = {"f_critic": "critic.pt", "f_optimizer_critic": "optimizer_critic.pt"}


def test_skorchs_pair__trains_the_rest(X, y, tmp_path):
    checkpoint = Checkpoint(dirname=tmp_path, monitor=None, **CRITIC)
    with pytest.raises(Killed):
        net_of([checkpoint, LoadInitState(checkpoint), Kill(4)]).fit(X, y)
    assert len(json.loads((tmp_path / "history.json").read_text())) == 3
    net = net_of([checkpoint, LoadInitState(checkpoint)]).fit(X, y)
    assert len(net.history) == EPOCHS and net.completed_ and not net.stopped_
    whole = net_of([]).fit(X, y)
    # Without dropout or stopping there is nothing else to restore.
    assert_array_equal(net.predict(X), whole.predict(X))
    again = net_of([checkpoint, LoadInitState(checkpoint)]).fit(X, y)
    assert len(again.history) == EPOCHS
    assert_array_equal(again.predict(X), whole.predict(X))
    longer = net_of([checkpoint, LoadInitState(checkpoint)], max_epochs=8).fit(X, y)
    assert len(longer.history) == 8


def test_partial_fit_of_a_net__makes_max_epochs_each(X, y):
    net = net_of([]).partial_fit(X, y).partial_fit(X, y)
    assert len(net.history) == 2 * EPOCHS


def test_checkpoint_that_cannot_write__says_so_once(X, y, tmp_path):
    class Gone(Checkpoint):
        def initialize(self):
            return self

    net = net_of([Gone(dirname=str(tmp_path / "gone"), monitor=None, **CRITIC)])
    with pytest.warns(CheckpointWarning, match=r"gone.*training goes on") as told:
        net.fit(X, y)
    assert len(told) == 1 and len(net.history) == EPOCHS
    with pytest.warns(CheckpointWarning):  # of another training
        net.fit(X, y)


def test_checkpoint_of_what_is_not_there__says_so(X, y, tmp_path):
    with pytest.warns(CheckpointWarning, match="typo"):
        net_of([Checkpoint(dirname=tmp_path, monitor=None, f_critics="critic.pt")]).fit(X, y)


def test_save_params__that_fails_outside_of_training__is_an_error(X, y, tmp_path):
    net = net_of([]).fit(X, y)
    with pytest.raises(Exception, match="gone"):
        net.save_params(f_params=str(tmp_path / "gone" / "params.pt"))
