"""Two processes that train one net, against one that goes through their shares; this file is their script, too."""

import contextlib
import io
import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, Checkpoint, EarlyStopping, GradientNormClipping
from skorch.helper import predefined_split

from sklearn_mdm import MDMNet
from sklearn_mdm.callbacks import GradientAccumulation, ResumableCheckpoint
from sklearn_mdm.encoders import MLPEncoder
from sklearn_mdm.fusion import ConcatFusion, MAGFusion
from sklearn_mdm.net import AcceleratedMDMNet, BatchIterator, MaskedDataset
from sklearn_mdm.net._accelerated import own_seeds
from sklearn_mdm.net._data import Batch, share_of
from sklearn_mdm.utils._rng import RandomStream

pytest.importorskip("accelerate")

RANK = int(os.environ.get("RANK", 0))
N_PROCESSES, SECONDS = 2, 120
N, N_TRAIN, BATCH_SIZE, EPOCHS = 101, 83, 16, 2  # 5 batches an epoch, the last of 19 rows, of which one is left out
CASES = {
    "concat": ({"lam": 0.3, "unroll": 2}, {}),
    "concat, adam, accumulation, clipping, dropout": (
        {"lam": 0.3, "optimizer": torch.optim.Adam, "modality_dropout": 0.3},
        {"dropout": 0.2},
    ),
    "concat, wpc, full batches": ({"measure": "wpc", "lam": 0.1, "batch_size": -1}, {}),
    "mag": ({"lam": 0.3}, {"mag": True}),
}


def data(steps):
    rng = np.random.default_rng(0)
    shape = (N, 4) if steps else (N,)
    X = {"text": rng.normal(size=(*shape, 5)), "audio": rng.normal(size=(*shape, 3))}
    X["audio"][::9] = np.nan
    return X, rng.normal(size=(N, 1)), rng.uniform(0.5, 2, size=N)


def arguments(name):
    """Module, criterion, parameters and data of a case; each process begins with other weights and is given others."""
    parameters, how = CASES[name]
    X, y, weight = data("mag" in how)
    dropout = how.get("dropout", 0.0)
    encoder = MLPEncoder(hidden_dims=(8,), out_dim=4, dropout=dropout)
    if "mag" in how:
        fusion, shapes, encoder = MAGFusion(dropout=0.0), {"text": (4, 5), "audio": (4, 3)}, "lstm"
    else:
        fusion, shapes = ConcatFusion(hidden_dims=(8,), dropout=dropout), {"text": (5,), "audio": (3,)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANK)
        module = fusion.build(shapes, 1, encoder=encoder)
    parts = [slice(N_TRAIN), slice(N_TRAIN, N)]
    train, valid = (
        MaskedDataset({key: x[rows] for key, x in X.items()}, y[rows], weight[rows], dtype=torch.float64)
        for rows in parts
    )
    given = {
        "criterion__reduction": "none",
        "optimizer": torch.optim.SGD,
        "optimizer__lr": 0.05,
        "optimizer_critic__lr": 0.01,
        "critic__hidden_dims": (8,),
        "batch_size": BATCH_SIZE,
        "max_epochs": EPOCHS,
        "dtype": torch.float64,
        "train_split": predefined_split(valid),
        "callbacks": [GradientAccumulation(2), GradientNormClipping(1.0)] if dropout else None,
        "verbose": 0,
        **parameters,
    }
    return (module, torch.nn.MSELoss), given, train


# -- one process ---------------------------------------------------------------------------------------------------


class OnShares(MDMNet):
    """Goes through the shares of each batch one after the other, and takes the mean of gradients and buffers."""

    def on_epoch_begin(self, *args, **kwargs):
        super().on_epoch_begin(*args, **kwargs)
        if len(self.history) == 1:
            streams = [self.draws_["module"], RandomStream.of(self.seed_, 1, 1)]
            self.modules_draw = streams
        generators, draws = [self.generators_, dict(self.generators_)], [self.draws_, dict(self.draws_)]
        for name, seed in own_seeds(self.seed_, len(self.history), 1).items():
            if name in self.generators_:
                generators[1][name] = torch.Generator().manual_seed(seed)
            else:
                draws[1][name] = RandomStream(seed)
        draws[1]["module"] = self.modules_draw[1]
        self.streams = list(zip(generators, draws, strict=True))

    def on_each_share(self, module, n, step):
        buffers = [buffer for buffer in module.buffers() if buffer.is_floating_point()]
        before, after = [b.clone() for b in buffers], [torch.zeros_like(b) for b in buffers]
        steps = []
        for which in range(N_PROCESSES):
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
            self.generators_, self.draws_ = self.streams[which]
            steps.append(step(share_of(torch.arange(n), (which, N_PROCESSES))))
            for total, buffer in zip(after, buffers, strict=True):
                total += buffer / N_PROCESSES
        self.generators_, self.draws_ = self.streams[0]
        for buffer, value in zip(buffers, after, strict=True):
            buffer.copy_(value)
        return steps

    def mean_gradient(self, module):
        for parameter in module.parameters():
            if parameter.grad is not None:
                parameter.grad /= N_PROCESSES

    def _critic_gradient(self, batch):
        self.on_each_share(
            self.critic_, len(batch), lambda rows: super(OnShares, self)._critic_gradient(part(batch, rows))
        )
        self.mean_gradient(self.critic_)

    def train_step_single(self, batch, **fit_params):
        X, y = batch
        single = super().train_step_single
        steps = self.on_each_share(self.module_, len(X), lambda rows: single((part(X, rows), y[rows])))
        return {"loss": sum(step["loss"] for step in steps) / N_PROCESSES, "y_pred": None}

    def _update_module(self, batch):
        self.mean_gradient(self.module_)
        super()._update_module(batch)


def part(batch, rows):
    mask = None if batch.mask is None else {name: m[rows] for name, m in batch.mask.items()}
    complete = None if batch.complete is None else batch.complete[rows]
    X = {name: x[rows] for name, x in batch.X.items()}
    return Batch(X, mask, complete, None if batch.weight is None else batch.weight[rows])


# -- two processes -------------------------------------------------------------------------------------------------


class StopsOneProcess(Callback):
    def on_epoch_end(self, net, **kwargs):
        if net.share_[0] == 1 and len(net.history) == 2:
            raise KeyboardInterrupt


def fitted(cls, name, **more):
    """Fit the net of a case; critics are initialised from torch's global generator."""
    args, given, train = arguments(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANK)
        return cls(*args, **given, **more).fit(train)


def found_in(net):
    """Parameters, buffers and losses of a fitted net."""
    found = {f"history {name}": net.history[:, name] for name in net.history[-1] if name not in ("batches", "dur")}
    found["batches"] = net.history[:, "batches", :, "train_loss"]
    for name in ("module_", "critic_"):
        if hasattr(net, name):
            found |= {f"{name} {key}": value.numpy() for key, value in getattr(net, name).state_dict().items()}
    return found


def message(call):
    try:
        call()
    except ValueError as error:
        return str(error)
    return "no error"


def work(folder):
    """What each process does."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    rank, found = RANK, {}
    for name in CASES:
        found[name] = found_in(fitted(AcceleratedMDMNet, name, accelerator=accelerator, random_state=rank))

    args, given, train = arguments("concat")
    shown = io.StringIO()
    callbacks = [Checkpoint(dirname=folder, f_pickle=None), StopsOneProcess()]
    options = {**given, "max_epochs": 5, "verbose": 1, "callbacks": callbacks}
    options["train_split"] = predefined_split(train)
    net = AcceleratedMDMNet(*args, accelerator=accelerator, **options)
    with contextlib.redirect_stdout(shown):
        net.fit(train)
    net.save_params(f_params=f"{folder}/{rank}.pt")
    net.callbacks = None
    found |= {"printed": bool(shown.getvalue()), "epochs": len(net.history), "stopped": net.stopped_}
    again = pickle.loads(pickle.dumps(net))
    found["predictions"] = [model.predict(data(False)[0]) for model in (net, again)]

    own = AcceleratedMDMNet(*args, accelerator=accelerator, **given)
    few = torch.utils.data.Subset(train, range(rank, 50 + rank))
    tiny = torch.utils.data.Subset(train, range(7))
    resumable = AcceleratedMDMNet(*args, accelerator=accelerator, **{**given, "callbacks": [ResumableCheckpoint("x")]})
    small = AcceleratedMDMNet(*args, accelerator=accelerator, **{**given, "batch_size": 7})
    patient = AcceleratedMDMNet(*args, accelerator=accelerator, **{**given, "callbacks": [EarlyStopping(patience=1)]})
    patient.set_params(max_epochs=20, optimizer__lr=0.3).fit(train)
    found["patience"] = len(patient.history)
    found["messages"] = [message(lambda: own.fit(few)), message(lambda: own.fit(tiny))]
    found["messages"] += [message(lambda: resumable.fit(train)), message(lambda: small.fit(train))]
    Path(folder, f"{rank}.pickle").write_bytes(pickle.dumps(found))
    accelerator.end_training()


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """What two processes found, on CPUs."""
    folder = tmp_path_factory.mktemp("processes")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(N_PROCESSES):
        env = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": N_PROCESSES, "LOCAL_WORLD_SIZE": N_PROCESSES}
        env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
        env = os.environ | {name: str(value) for name, value in env.items()}
        command = [sys.executable, __file__, str(folder)]
        with (folder / f"{rank}.txt").open("w") as output:
            started.append(subprocess.Popen(command, env=env, stdout=output, stderr=subprocess.STDOUT))
    try:
        codes = [process.wait(SECONDS) for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert codes == [0, 0], "\n".join((folder / f"{rank}.txt").read_text() for rank in range(N_PROCESSES))
    return folder, [pickle.loads((folder / f"{rank}.pickle").read_bytes()) for rank in range(N_PROCESSES)]


@pytest.mark.parametrize("name", CASES)
def test_two_processes__train_as_one_that_goes_through_their_shares(processes, name):
    one = found_in(fitted(OnShares, name))
    two, other = (found[name] for found in processes[1])
    assert one.keys() == two.keys()
    del one["history train_loss"]  # weighs batches by their size, with the row that is left out; they are compared
    for key, value in one.items():
        np.testing.assert_allclose(two[key], value, rtol=1e-9, atol=1e-9, err_msg=key)
        assert np.array_equal(two[key], other[key]), key  # which of them is saved does not matter


def test_two_processes__end_together_and_one_of_them_speaks_and_writes(processes):
    folder, (main, other) = processes
    assert (main["epochs"], other["epochs"]) == (2, 2) and main["stopped"] and other["stopped"]
    assert (main["printed"], other["printed"]) == (True, False)
    assert main["patience"] == other["patience"] < 20
    assert (folder / "0.pt").exists() and (folder / "params.pt").exists() and not (folder / "1.pt").exists()
    for predicted in (*main["predictions"], *other["predictions"]):
        assert np.array_equal(predicted, main["predictions"][0])


def test_two_processes__say_what_cannot_be(processes):
    expected = ["different samples", "7 training samples are shared by 2", "ResumableCheckpoint holds", "must be 8"]
    for found in processes[1]:
        for text, wanted in zip(found["messages"], expected, strict=True):
            assert wanted in text


def test_one_process__is_the_net_itself():
    accelerate = pytest.importorskip("accelerate")
    plain = found_in(fitted(MDMNet, "concat"))
    accelerated = found_in(fitted(AcceleratedMDMNet, "concat", accelerator=accelerate.Accelerator(cpu=True)))
    for key, value in plain.items():
        assert np.array_equal(accelerated[key], value), key


def test_shares__of_a_batch__are_equally_large_and_have_no_row_in_common(X, y):
    data = MaskedDataset(X, np.arange(60))
    shares = [list(BatchIterator(data, batch_size=19, share=(which, 3))) for which in range(3)]
    for batches in zip(*shares, strict=True):
        rows = [targets.tolist() for _, targets in batches]
        assert len({len(each) for each in rows}) == 1 and len(set().union(*rows)) == sum(map(len, rows))
    assert [len(batch) for batch, _ in shares[0]] == [6, 6, 7]  # 3 rows are too few for three, and join


if __name__ == "__main__":
    work(sys.argv[1])
