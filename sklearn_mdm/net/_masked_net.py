"""MaskedNet: how a net of skorch reads masked batches, runs, stops, and is saved, whatever it learns by."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

import torch
from skorch import NeuralNet
from skorch.dataset import unpack_data
from torch import Tensor, nn

from ..callbacks._resumable import ResumableCheckpoint
from ..exceptions import CheckpointWarning
from ..utils._isolation import isolated
from ..utils._placing import placed
from ._data import Batch, BatchIterator, MaskedDataset, fewest_batches, rows_of
from ._member_history import history_of_member
from ._readings import Reading, read
from ._resident import resident
from ._step_graphs import DrawsOfStep


class MaskedNet(NeuralNet):
    """A net that reads batches of a :class:`MaskedDataset`, and knows how its training ended.

    What a step does is a matter of subclasses.
    """

    share_ = (0, 1)  # of every batch, which this process trains on: which, of how many
    unread_: list[Reading]
    draws_of_step_: DrawsOfStep | None = None  # while a graph of the step is made

    # -- data --------------------------------------------------------------------------------------------------------

    def get_dataset(self, X: Any, y: Any = None) -> Any:
        """Wrap X in a MaskedDataset of the net's dtype."""
        if self.dataset is not MaskedDataset:
            raise TypeError(f"MDMNet wraps X in a MaskedDataset, got dataset={self.dataset!r}. Leave it out.")
        if not isinstance(X, torch.utils.data.Dataset):
            return MaskedDataset(X, y, dtype=self.dtype)
        if not isinstance(rows_of(X)[0], MaskedDataset):
            raise TypeError(f"MDMNet reads a mapping of arrays, a MaskedDataset or a Subset of one, got {type(X)!r}.")
        return X

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:
        """Return the batches of a dataset, shuffled in training by the net's own generator."""
        name = "iterator_train" if training else "iterator_valid"
        cls, options = getattr(self, name), self.get_params_for(name)
        size = options.pop("batch_size", self.batch_size)
        batches = BatchIterator(
            dataset,
            len(dataset) if size == -1 else size,
            shuffle=options.pop("shuffle", training),
            generator=self.generators_["batches"] if training else None,
            fewest=fewest_batches(dataset) if training else 1,
            share=self.share_ if training else (0, 1),
        )
        if cls is BatchIterator:
            return batches
        # A DataLoader, for its workers: it asks for whole batches of rows, and has nothing to collate.
        return cls(dataset, batch_sampler=batches.rows, collate_fn=_as_it_is, **options)

    def get_split_datasets(self, X: Any, y: Any = None, **fit_params: Any) -> tuple[Any, Any]:
        """Split into training and validation data; on a GPU they are moved there as a whole, if they fit."""
        train, valid = super().get_split_datasets(X, y, **fit_params)
        kept: dict[int, Any] = {}  # what both have in common, once
        return resident(train, self, kept), resident(valid, self, kept)

    def _prepare(self, batch: Any) -> Any:
        """Read what is still on disk of a batch, unless members that are computed one by one do so themselves."""
        if getattr(self, "stacked_", False) and hasattr(batch[0], "prepare"):
            batch[0].prepare()
        return batch

    def _steps_per_batch(self, iterator: Any) -> int:
        """Rows of a batch, times the steps of its longest sequence."""
        dataset = getattr(iterator, "dataset", ())
        size = len(dataset) if self.batch_size == -1 else self.batch_size
        sequences = getattr(rows_of(dataset)[0], "X", {})
        return size * max((x.shape[1] for x in sequences.values() if x.dim() == 3), default=1)

    def _on_device(self, batch: Any) -> Any:
        return batch if str(self.device) == "cpu" else batch.to(self.device)

    # -- numbers that no step waits for on a GPU ---------------------------------------------------------------------

    def _note(self, record: Callable[..., None], *values: Tensor | None) -> None:
        """Record values of a step: on a GPU once the epoch is over, for to look at one is to wait for all before it."""
        if str(self.device) == "cpu":
            record(*(None if value is None else value.tolist() for value in values))
        else:
            self.unread_.append(Reading.of(record, values))

    def _read(self) -> None:
        """Record what was put off."""
        unread = list(self.unread_)
        self.unread_.clear()
        read(unread)

    def _constant(self, values: Sequence[float], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Return a tensor (n_values,) beside another, of its type or another one, that is not to be written to.

        It is made once a training, so that graphs of steps find it where it was.
        """
        dtype = like.dtype if dtype is None else dtype
        made: dict[Any, Tensor] = self.__dict__.setdefault("constants_", {})
        key = tuple(values), dtype, like.device
        if key not in made:
            made[key] = placed(torch.tensor(key[0], dtype=dtype), like.device)
        return made[key]

    def _drawn(self, draw: Callable[[], Tensor]) -> Tensor:
        """What is drawn for a step by the generators on the CPU. A graph of the step keeps a place for it."""
        return draw() if self.draws_of_step_ is None else self.draws_of_step_.take(draw)

    # -- the course of training --------------------------------------------------------------------------------------

    def initialize_callbacks(self) -> MaskedNet:
        """Put what stores the state of all callbacks behind them."""
        super().initialize_callbacks()
        self.callbacks_.sort(key=lambda named: isinstance(named[1], ResumableCheckpoint))
        return self

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        """Tell the callbacks; remember that one stopped training, which skorch does not tell from Ctrl-C."""
        if method_name == "on_train_begin":
            self.begun_at_, self.completed_, self.failure_told_ = len(self.history), False, False
        self.notifying_ = True
        try:
            super().notify(method_name, **cb_kwargs)
        except KeyboardInterrupt:
            self.stopped_ = not self.__dict__.pop("cut_short_", False)
            raise
        finally:
            self.notifying_ = False

    def fit_loop(self, X: Any, y: Any = None, epochs: int | None = None, **kwargs: Any) -> MaskedNet:
        """Train, whatever the settings of torch that the caller made; see :meth:`skorch.NeuralNet.fit_loop`.

        Epochs that a callback loaded when training began, such as skorch's ``LoadInitState``, count.
        """
        epochs = self.max_epochs if epochs is None else epochs
        with isolated():
            super().fit_loop(X, y, max(0, epochs - max(0, len(self.history) - self.begun_at_)), **kwargs)
        self.completed_ = True
        return self

    # -- saving and loading ------------------------------------------------------------------------------------------

    def _to_save(self) -> dict[str, Any]:
        """What a file of :mod:`..persistence` keeps of the net: no moments of optimizers, which are twice the weights.

        Callbacks belong to one fit; the next one brings its own.
        """
        left_out = ("callbacks_", "parts_", "virtual_params_", *(f"{name}_" for name in self._optimizers))
        kept = [name for name in vars(self) if name not in left_out and not name.startswith("callbacks__")]
        state = {name: getattr(self, name) for name in kept}
        return state if isinstance(self.callbacks, str) else {**state, "callbacks": []}

    def _loaded(self, place: Callable[[str], str]) -> None:
        """Move to the device that ``place`` says, once all attributes are there; optimizers are made when needed."""
        if not isinstance(self.device, (str, torch.device)):
            raise TypeError("a device that is none")
        self.device: Any = place(str(self.device))
        for name in (*self._modules, *self._criteria):
            module = vars(self).get(name + "_")
            if isinstance(module, nn.Module):
                if not all(isinstance(part, nn.Module) for part in module.modules()):
                    raise TypeError("a part of a module is none")
                for part in module.modules():  # each once, however many hold it
                    part._apply(lambda tensor: tensor.to(self.device), recurse=False)
        self.callbacks_: list[Any] = []
        self.virtual_params_: dict[str, Any] = {}

    def save_params(self, *args: Any, **kwargs: Any) -> None:
        """Save parts of the net; see :meth:`skorch.NeuralNet.save_params`.

        Where a callback cannot, such as skorch's ``Checkpoint``, which is silent, a warning says so, once a training.
        """
        try:
            super().save_params(*args, **kwargs)
        except Exception as error:
            if getattr(self, "notifying_", False) and not self.failure_told_:
                self.failure_told_ = True
                paths = [str(value) for value in (*args, *kwargs.values()) if isinstance(value, str | PathLike)]
                warnings.warn(
                    f"a checkpoint could not be written to {', '.join(paths)} ({error}); training goes on, and of "
                    "further failures nothing is said.",
                    CheckpointWarning,
                    stacklevel=2,
                )
            raise

    def load_params(self, *args: Any, **kwargs: Any) -> None:
        """Load parts of the net; see :meth:`skorch.NeuralNet.load_params`."""
        super().load_params(*args, **kwargs)
        for k, member in enumerate(getattr(self, "members_", ())):  # whose own are not saved
            member.history = history_of_member(self.history, member.history, k)

    # -- inference ---------------------------------------------------------------------------------------------------

    @property
    def fusion_module_(self) -> Any:
        """The fusion module itself, where something wraps it, such as torch's DistributedDataParallel."""
        module = self.module_ if hasattr(self.module_, "code_dims") else getattr(self.module_, "module", None)
        if not hasattr(module, "code_dims"):
            raise TypeError(
                "MDMNet trains a fusion module, with forward(X, mask), represent(X, mask) and code_dims, got "
                f"{type(self.module_).__name__}. Derive it from sklearn_mdm.fusion.FusionModule."
            )
        return module

    def infer(self, x: Batch, **fit_params: Any) -> Any:
        """Apply the module to a batch."""
        x = self._on_device(x)
        return self.module_(x.X, x.mask)

    def evaluation_step(self, batch: Any, training: bool = False) -> tuple[Tensor, Tensor]:
        """Return prediction and fused representation of a batch."""
        self.check_is_fitted()
        Xi, _ = unpack_data(batch)
        with torch.set_grad_enabled(training):
            self._set_training(training)
            output = self.infer(Xi)
        return output.prediction, output.fused


def _as_it_is(batch: Any) -> Any:
    return batch
