"""Fits that are interrupted, and those that they are compared with; as a program, one fit that can be killed.

``python interrupted_fits.py CASE PATH MOMENT``: MOMENT is the stage of a write, and its number, at which the process
kills itself; or "never".
"""

import os
import signal
import stat
import sys

import numpy as np
import torch
from skorch.callbacks import Callback, LRScheduler

from sklearn_mdm import MDMFusionClassifier, MDMFusionRegressor
from sklearn_mdm.callbacks import GradientAccumulation, ResumableCheckpoint, WarmupLinearDecay
from sklearn_mdm.callbacks import _checked_file as checked_file
from sklearn_mdm.encoders import GRUEncoder, MLPEncoder
from sklearn_mdm.fusion import ConcatFusion, MISAFusion
from sklearn_mdm.utils import _whole_files as whole_files

N = 70
EPOCHS = 6


class OwnAdam(torch.optim.Adam):
    """One that the package does not know to work element by element: members are then computed one by one."""


def vectors(n=N):
    """Two modalities that share a factor, and a target with three levels."""
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(n, 1))
    X = {"audio": latent + rng.normal(size=(n, 3)), "text": latent + rng.normal(size=(n, 2))}
    level = X["audio"].sum(1) + X["text"].sum(1)
    return X, np.digitize(level, np.quantile(level, [1 / 3, 2 / 3]))


def lacking():
    """The same, with samples that lack a modality."""
    X, y = vectors()
    X["audio"][::5] = np.nan
    X["text"][1::5] = np.nan
    return X, y


def steps():
    """Sequences of different lengths beside vectors."""
    X, y = vectors()
    X["steps"] = np.random.default_rng(1).normal(size=(N, 5, 2))
    for row, length in zip(X["steps"], np.random.default_rng(2).integers(1, 6, size=N), strict=True):
        row[length:] = np.nan
    return X, y


def partly_labelled():
    """The same, a third of it without labels."""
    X, y = vectors()
    y = y.astype(float)
    y[::3] = np.nan
    return X, y


def parameters(**given):
    """Make the fit a matter of milliseconds, unless something else is given."""
    return {
        "n_estimators": 1,
        "linear_member": False,
        "kernel_member": False,
        "spreading_member": False,
        "encoder": MLPEncoder(hidden_dims=(8,), out_dim=4, dropout=0.0),
        "fusion": ConcatFusion(hidden_dims=(8,), dropout=0.0),
        "critic_hidden_dims": (8,),
        "batch_size": 16,
        "max_epochs": EPOCHS,
        "n_iter_no_change": 2,
        "lam": 0.3,
        "device": "cpu",
        "random_state": 0,
        **given,
    }


WET = {"encoder": MLPEncoder(hidden_dims=(8,), out_dim=4, dropout=0.3), "fusion": ConcatFusion((8,), dropout=0.3)}
GRU = GRUEncoder(hidden_dim=4, n_layers=2, dropout=0.2)
PLATEAU = {"policy": torch.optim.lr_scheduler.ReduceLROnPlateau, "monitor": "train_loss", "patience": 0}
BY_BATCH = {"policy": torch.optim.lr_scheduler.StepLR, "step_size": 3, "gamma": 0.8, "step_every": "batch"}
REGRESSOR, CLASSIFIER = MDMFusionRegressor, MDMFusionClassifier

# Name: estimator, data, parameters, further callbacks.
CASES = {
    "one member": (REGRESSOR, vectors, {}, []),
    "one member that holds out": (REGRESSOR, vectors, {"early_stopping": True, "lr": 0.3, "n_iter_no_change": 1}, []),
    "without a critic": (CLASSIFIER, vectors, {"lam": 0.0, "n_estimators": 2}, []),
    "critic of labels": (CLASSIFIER, vectors, {"measure": "tcmax"}, []),
    "Lipschitz critic": (REGRESSOR, vectors, {"measure": "wasserstein", "unroll": 2}, []),
    "committee": (CLASSIFIER, vectors, {"n_estimators": 3, "linear_member": True}, []),
    "committee whose members stop": (REGRESSOR, vectors, {"n_estimators": 4, "lr": 0.05, "n_iter_no_change": 1}, []),
    "committee with dropout": (REGRESSOR, vectors, {"n_estimators": 3, **WET}, []),
    "members one by one": (REGRESSOR, vectors, {"n_estimators": 3, "optimizer": OwnAdam, **WET}, []),
    "several lam": (REGRESSOR, vectors, {"n_estimators": 3, "lam": [0.0, 0.3, 1.0]}, []),
    "lam by itself": (CLASSIFIER, vectors, {"lam": "auto", "early_stopping": True}, []),
    "unlabelled": (CLASSIFIER, partly_labelled, {"n_estimators": 3, "early_stopping": True}, []),
    "unlabelled, one member": (CLASSIFIER, partly_labelled, {**WET}, []),
    "unlabelled, chosen": (REGRESSOR, partly_labelled, {"n_estimators": 2, "lam": "auto"}, []),
    "dropout": (REGRESSOR, vectors, WET, []),
    "missing modalities": (CLASSIFIER, lacking, {"n_estimators": 2, "missing": "token", "modality_dropout": 0.3}, []),
    "sequences": (
        REGRESSOR,
        steps,
        {"encoder": {"steps": GRU}, "n_estimators": 2},
        [],
    ),
    "penalty": (REGRESSOR, vectors, {"fusion": MISAFusion(), "n_estimators": 2}, []),
    "momentum": (REGRESSOR, vectors, {"optimizer": torch.optim.SGD, "n_estimators": 2}, []),
    "warm-up": (REGRESSOR, vectors, {"n_estimators": 2, "early_stopping": False}, [WarmupLinearDecay(0.4)]),
    "accumulation": (REGRESSOR, vectors, {"n_estimators": 2, **WET}, [GradientAccumulation(3)]),
    "rates by batch": (REGRESSOR, vectors, {"n_estimators": 2}, [LRScheduler(**BY_BATCH)]),
    "rates by loss": (REGRESSOR, vectors, {}, [LRScheduler(**PLATEAU)]),
}


class Killed(BaseException):
    """What ends a fit in the tests; nothing catches it."""


class Kill(Callback):
    """Ends a fit at a moment of an epoch."""

    def __init__(self, moment, epoch):
        self.moment, self.epoch = moment, epoch

    def _at(self, moment, net):
        if moment == self.moment and len(net.history) == self.epoch:
            raise Killed

    def on_epoch_begin(self, net, **kwargs):
        self._at("begin", net)

    def on_batch_begin(self, net, training=False, **kwargs):
        if len(net.history[-1]["batches"]) > 1:
            self._at("batch" if training else "validation", net)

    def on_epoch_end(self, net, **kwargs):
        self._at("end", net)


def model_of(case, path=None, *callbacks, every=1, **changed):
    """Build the estimator of a case, which writes to a path and has further callbacks."""
    kind, _, given, own = CASES[case]
    own = [*own, *callbacks]
    if path is not None:
        own.insert(0, ResumableCheckpoint(path, every=every))
    return kind(**parameters(**{**given, **changed}), callbacks=own)


def data_of(case):
    """Make X and y of a case."""
    return CASES[case][1]()


def fail_in_write(stage, number, fail):
    """Let ``fail`` be called at a stage of the write of this number; returns what is to be patched.

    Stages: "half" of the content is written, all is "written", "synced" to the disk, and "moved" to its place.
    """
    done = []

    def at(wanted, original, *args, **kwargs):
        if stage == wanted:
            done.append(1)
            if len(done) == number:
                fail()
        return original(*args, **kwargs)

    class File:
        def __init__(self, file):
            self.file = file
            self.parts = 0

        def write(self, data):
            self.parts += 1
            return at("half", self.file.write, data) if self.parts == 9 else self.file.write(data)

    class Hashing(checked_file._Hashing):
        def __init__(self, file):
            super().__init__(File(file))

    class System:
        O_RDONLY, remove, close = os.O_RDONLY, os.remove, os.close

        @staticmethod
        def fsync(handle):
            return os.fsync(handle) if stat.S_ISDIR(os.fstat(handle).st_mode) else at("written", os.fsync, handle)

        @staticmethod
        def replace(*paths):
            return at("synced", os.replace, *paths)

        @staticmethod
        def open(*args):
            return at("moved", os.open, *args)

    return [(checked_file, "_Hashing", Hashing), (whole_files, "os", System)]


if __name__ == "__main__":
    torch.set_num_threads(1)
    name, where, moment = sys.argv[1:]
    if moment != "never":
        stage, number = moment.split(":")
        for module, key, value in fail_in_write(stage, int(number), lambda: os.kill(os.getpid(), signal.SIGKILL)):
            setattr(module, key, value)
    X, y = data_of(name)
    model = model_of(name, where, max_epochs=60, n_iter_no_change=60)
    print("begun", flush=True)
    model.fit(X, y)
    print("done", flush=True)
