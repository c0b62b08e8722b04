"""ResumableCheckpoint: what a fit that was killed goes on from, as if nothing had happened."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from numbers import Integral
from typing import Any

from sklearn.utils import check_random_state
from skorch import NeuralNet
from skorch.callbacks import Callback, LoadInitState

from ..exceptions import CheckpointWarning
from ._checked_file import DamagedFileError, read_checked, write_checked
from ._fit_state import restore, state_of
from ._plain import plain
from ._same_fit import differences, settings_of

REMEDY = "Remove the file to begin anew, or pass another path."


class ResumableCheckpoint(Callback):
    """Write the whole state of training to one file, and go on from it when the same fit is begun again.

    A fit that was killed, and is run again with the same data and parameters, does what was left to do, and its result
    is that of one that was never interrupted, bit for bit, as far as ``random_state`` repeats itself: predictions,
    losses, dependency, out-of-fold predictions. What depends on data and parameters alone (folds, scaling, the models
    beside the networks, the critic that reports) is computed again. The file stays when the fit has ended: fitting once
    more then takes no epoch, or one where training stopped early.

    Parameters
    ----------
    path : str or path
        Where the file is, in a folder that is there. One fit, one path: what runs several (a search, a Pipeline in a
        cross-validation) would find the file of another.
    every : int, default=1
        Epochs between two writes; the last one is written always. At most so many are lost.

    Raises
    ------
    ValueError
        When training begins: if the path is none, or a folder; if the file is damaged, or is that of another fit, with
        what differs; or in ``partial_fit`` and for a ``warm_start``, which go on from the estimator: pickle that.
    FileNotFoundError
        If the folder is not there.

    Warns
    -----
    CheckpointWarning
        If the file cannot be written: at the first time, and at the end if it holds an earlier epoch than the last. The
        training goes on.

    See Also
    --------
    skorch.callbacks.Checkpoint, skorch.callbacks.LoadInitState : skorch's pair, which restores less.

    Notes
    -----
    The file is replaced as a whole once all of it is on the disk, so that at any time it is that of some epoch. It has
    a checksum, and reading it runs no code. It is about four times as large as the weights where training stops early.

    With a ``random_state`` that is None or a generator, the seed that was drawn from it is taken from the file.

    Other callbacks take back what they hold in attributes whose names end with an underscore and whose values are
    numbers, strings, arrays, tensors, containers of these, or have ``state_dict`` and ``load_state_dict`` (learning
    rate schedulers do). Callbacks of your own are not compared; use the same.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from pathlib import Path
    >>> from sklearn_mdm import MDMFusionRegressor
    >>> from sklearn_mdm.callbacks import ResumableCheckpoint
    >>> rng = np.random.default_rng(0)
    >>> X = {"audio": rng.normal(size=(60, 3)), "text": rng.normal(size=(60, 4))}
    >>> path = Path(tempfile.mkdtemp()) / "fit.checkpoint"
    >>> model = MDMFusionRegressor(max_epochs=3, random_state=0, callbacks=[ResumableCheckpoint(path)])
    >>> first = model.fit(X, X["audio"][:, 0]).predict(X)
    >>> bool((model.fit(X, X["audio"][:, 0]).predict(X) == first).all())  # from the file
    True
    """

    path_: str
    written_: int
    failed_: bool
    late_: bool
    others_: list[tuple[str, Callback]]
    settings_: dict[str, str]

    def __init__(self, path: str | os.PathLike[str], every: int = 1) -> None:
        self.path = path
        self.every = every

    def on_train_begin(self, net: NeuralNet, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Go on from the file, if it is there; this callback comes after all others."""
        if isinstance(self.every, bool) or not isinstance(self.every, Integral) or self.every < 1:
            raise ValueError(f"ResumableCheckpoint needs a positive integer every, got {self.every!r}.")
        path = _path_of(self)
        if not os.path.isdir(os.path.dirname(path)):
            raise FileNotFoundError(f"ResumableCheckpoint writes to {path}, but there is no such folder. Create it.")
        check_resumes([self], new=not net.history)
        self.path_, self.written_, self.failed_, self.late_ = path, 0, False, False
        self.others_ = [pair for pair in net.callbacks_ if not isinstance(pair[1], ResumableCheckpoint)]
        self.settings_ = settings_of(net, self.others_, *net.get_split_datasets(X, y))
        if not os.path.exists(path):
            return
        content = _read(path)
        found = differences(content["settings"], self.settings_)
        if found:
            raise ValueError(f"{path} is the checkpoint of another fit, which differs in: {found}. {REMEDY}")
        restore(net, self.others_, content["state"])
        self.written_ = len(net.history)

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Write the file."""
        epoch = len(net.history)
        if epoch % self.every and epoch != net.max_epochs:
            return
        # Not what the seed of an estimator was drawn from, but that seed itself.
        content = {"seed": plain(net.random_state), "settings": self.settings_, "state": state_of(net, self.others_)}
        try:
            write_checked(self.path_, content)
        except KeyboardInterrupt:
            net.cut_short_ = True  # by Ctrl-C: this callback does not stop training
            raise
        except Exception as error:
            self.late_, told, self.failed_ = True, self.failed_, True
            if not told:
                self._warn(f"could not be written in epoch {epoch} ({error}); training goes on.")
        else:
            self.written_, self.late_ = epoch, False

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Say so if the file is an old one."""
        if self.late_:
            kept = f"is of epoch {self.written_}" if self.written_ else "was never written"
            self._warn(f"{kept}, of {len(net.history)} that were trained.")
        for name in ("path_", "written_", "failed_", "late_", "others_", "settings_"):
            del self.__dict__[name]

    def _warn(self, what: str) -> None:
        warnings.warn(CheckpointWarning(f"the checkpoint {self.path_} {what}"), stacklevel=2)


def _path_of(callback: ResumableCheckpoint) -> str:
    path = callback.path
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path) or os.path.isdir(path):
        found = f"the folder {os.fspath(path)!r}" if path and isinstance(path, (str, os.PathLike)) else repr(path)
        raise ValueError(f"ResumableCheckpoint needs the path of a file, such as 'fit.checkpoint', got {found}.")
    return os.path.abspath(path)


def _read(path: str) -> dict[str, Any]:
    try:
        return read_checked(path)
    except DamagedFileError as error:
        raise ValueError(f"{error} {REMEDY}") from None


def check_resumes(callbacks: Iterable[Any], *, new: bool) -> None:
    """Raise an error if a callback would go on from a file where training goes on from a net."""
    for callback in callbacks:
        callback = callback[1] if isinstance(callback, tuple) else callback
        if isinstance(callback, (ResumableCheckpoint, LoadInitState)) and not new:
            raise ValueError(
                f"{type(callback).__name__} goes on from a file, but partial_fit and warm_start go on from what was "
                "fitted before. Leave one of the two out; to keep what was fitted, pickle the estimator."
            )


def seed_of(random_state: Any, callbacks: Iterable[Any] | None) -> int:
    """Draw the seed of a fit; or take that of the fit that is gone on with, where another one would be drawn."""
    seed = int(check_random_state(random_state).randint(2**31 - 1))
    if isinstance(random_state, Integral):
        return seed
    for callback in callbacks or ():
        callback = callback[1] if isinstance(callback, tuple) else callback
        if isinstance(callback, ResumableCheckpoint) and os.path.exists(path := _path_of(callback)):
            return _read(path)["seed"]
    return seed
