"""Training steps as CUDA graphs: a step of a small network is some hundred kernels, which are launched as one.

To launch a kernel takes longer than a small layer. A graph holds the kernels of a whole step, with the memory that they
read and write: updates of the critic, forward and backward pass, and the update of the module. What changes from one
step to the next, rows and what the generators on the CPU draw, is copied into places of its own before every launch;
generators on the GPU go on by themselves.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _Orthogonal

from ..utils._rng import RandomStream
from ._readings import Reading

# Steps of a kind that are made kernel by kernel, before its graph is made: libraries choose their kernels in these.
WARM_UP = 3
# Kinds of steps that have a graph: whole batches, and the last one of an epoch.
MOST_GRAPHS = 4
# Steps after which values are read, so that memory for what was put off is bounded.
READ_AFTER = 1024
# Steps whose numbers from the CPU are kept at a time: the GPU may be that far behind.
STEPS_AHEAD = 64
# Optimizers whose updates, if fused, are kernels that need nothing from the CPU.
CAPTURABLE = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)
# Modules whose dropout takes no generator, and such as look at results of their own.
_OWN_GENERATORS = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.AlphaDropout, _Orthogonal)
_STATE = ("unread_", "n_updates_", "pending_", "batches_of_")
_PER_BATCH = ("on_batch_begin", "on_batch_end", "on_grad_computed")


class StepGraphs:
    """Goes through the epochs of a net on a GPU, by graphs where the work of a step is the same each time.

    Parameters
    ----------
    net : MDMNet
        A net that is about to be trained.
    """

    def __init__(self, net: Any) -> None:
        self.net = net
        self.stream = torch.cuda.Stream(net.device)
        self.graphs: dict[Hashable, StepGraph] = {}
        self.made: dict[Hashable, int] = {}  # steps of a kind so far
        self.draws: dict[Hashable, DrawsOfStep] = {}
        self.without: set[Hashable] = set()  # kinds that no graph can hold
        self.setting: Hashable = None

    @classmethod
    def of(cls, net: Any) -> StepGraphs | None:
        """Return the graphs of a net; None on a CPU, and where callbacks want to know of every batch."""
        if torch.device(net.device).type != "cuda":
            return None
        listens = any(wants_batches(callback) for _, callback in getattr(net, "callbacks_", []))
        own = any(getattr(type(net), hook) is not getattr(NeuralNet, hook) for hook in _PER_BATCH)
        return None if listens or own else cls(net)

    def run_epoch(
        self, iterator: Any, training: bool, prefix: str, step_fn: Callable[..., Any], **fit_params: Any
    ) -> None:
        """Do what skorch's ``run_single_epoch`` does, without a look at values before the end."""
        net, n_batches = self.net, 0
        before = torch.cuda.current_stream(net.device)
        self.stream.wait_stream(before)
        try:
            with torch.cuda.stream(self.stream):
                if training and self.same_work(iterator):
                    calls = self.launches(iterator, prefix, step_fn, fit_params)
                else:
                    calls = (partial(self.step, batch, prefix, step_fn, fit_params) for batch in iterator)
                for call in calls:
                    call()
                    n_batches += 1
                    if len(net.unread_) >= READ_AFTER:
                        net._read()
        finally:  # after Ctrl-C, too: steps that were launched still write parameters
            before.wait_stream(self.stream)
        net._read()
        net.history.record(prefix + "_batch_count", n_batches)

    def step(self, batch: Any, prefix: str, step_fn: Callable[..., Any], fit_params: dict[str, Any]) -> None:
        """Make a step kernel by kernel."""
        step = step_fn(batch, **fit_params)
        self.net._note(partial(_record_batch, self.net, prefix, len(batch[0])), step["loss"])

    def launches(
        self, iterator: Any, prefix: str, step_fn: Callable[..., Any], fit_params: dict[str, Any]
    ) -> Iterator[Callable[[], None]]:
        """Return what makes all steps of an epoch, by graphs where they are of a kind that came often enough."""
        setting, places = _setting_of(self.net, iterator.dataset), _places_of(self.net)
        if setting != self.setting or any(graph.reads != places for graph in self.graphs.values()):
            self.setting, self.graphs, self.made, self.draws, self.without = setting, {}, {}, {}, set()

        def step(rows: Any) -> None:
            self.step(iterator.take(rows), prefix, step_fn, fit_params)

        for rows in iterator.rows:
            kind = tuple((k, len(r)) for k, r in rows.items()) if isinstance(rows, dict) else len(rows)
            made = self.made[kind] = self.made.get(kind, 0) + 1
            if kind in self.draws and len(self.graphs) < MOST_GRAPHS:
                try:
                    self.graphs[kind] = StepGraph(self.net, step, rows, self.draws[kind])
                    del self.draws[kind]
                except RuntimeError:  # of an operation that no graph can hold, or for want of memory
                    # Generators are others now than those of earlier graphs, which are made again.
                    self.graphs, self.made, self.draws = {}, {}, {}
                    self.without.add(kind)
            if kind in self.graphs:
                yield partial(self.graphs[kind].launch, rows)
            elif made == WARM_UP and kind not in self.without:
                self.draws[kind] = DrawsOfStep()
                yield partial(self.draws[kind].drawn_by, self.net, partial(step, rows))
            else:
                yield partial(step, rows)

    def same_work(self, iterator: Any) -> bool:
        """Whether steps with as many rows are the same work: then nothing is missing, and all parts are known ones."""
        if not hasattr(iterator, "take"):  # a DataLoader, or a thread that reads from disk
            return False
        net, datasets = self.net, getattr(iterator.dataset, "datasets", [iterator.dataset])
        members = getattr(net, "members_", [net])
        parts = [*(member.fusion_module_ for member in members), net.criterion_]
        if net.term_active_ and hasattr(net, "critic_"):
            parts.append(net.critic_)
        return (
            type(net).__module__.startswith("sklearn_mdm.")
            and net.accumulate == 1
            and all(getattr(data, "mask", data) is None and data.y.is_cuda for data in datasets)
            and all(member.pool_ is None or member.pool_.mask is None for member in members)
            and all(has_fixed_work(part) for part in parts)
            and type(net.measure_).__module__.startswith("sklearn_mdm.")
            and all(
                type(optimizer) in CAPTURABLE and all(group.get("fused") for group in optimizer.param_groups)
                for optimizer in (getattr(net, name + "_", None) for name in net._optimizers)
                if optimizer is not None
            )
        )


class StepGraph:
    """A step with these numbers of rows, as one graph.

    Parameters
    ----------
    net : MDMNet
        The net that makes the step.
    step : callable
        Makes the step of some rows, which may be on the device.
    rows : Tensor, or dict of Tensor
        Rows of a batch, one tensor for each member.
    draws : DrawsOfStep
        What the step draws.
    """

    def __init__(self, net: Any, step: Callable[[Any], None], rows: Any, draws: DrawsOfStep) -> None:
        self.net, self.draws = net, draws
        of_rows = list(rows.values()) if isinstance(rows, dict) else [rows]
        self.places = Places([(r.shape, r.dtype) for r in of_rows] + draws.kinds, net.device)
        on_device = self.places.tensors[: len(of_rows)]
        draws.places = iter(self.places.tensors[len(of_rows) :])
        self.graph = torch.cuda.CUDAGraph()
        states = [(stream, key, each.get_state()) for stream, key, each in _generators_of(net)]
        for _, _, generator in _generators_of(net):
            self.graph.register_generator_state(generator)
        parts = (net, *getattr(net, "members_", ()))
        skipped = [getattr(part, "terms_skipped_", 0) for part in parts]
        # What a step changes beside tensors. Nothing is computed while a graph is made.
        before = {name: copy.copy(vars(net)[name]) for name in _STATE if name in vars(net)}
        net.unread_.clear()
        with draws.used_by(net), _capturable(net):
            torch.cuda.synchronize(net.device)
            self.graph.capture_begin(capture_error_mode="thread_local")
            try:
                step(dict(zip(rows, on_device, strict=True)) if isinstance(rows, dict) else on_device[0])
                self.reading = Reading.joined(net.unread_)
                self.graph.capture_end()
            except BaseException:
                with suppress(RuntimeError):  # what failed is told already
                    self.graph.capture_end()
                for stream, key, state in states:  # those that were registered are of no use any more
                    stream.renew(key, state)
                raise
            finally:
                net.unread_[:] = before.pop("unread_")  # which members share
                vars(net).update(before)
                self.skipping = [
                    part for part, n in zip(parts, skipped, strict=True) if getattr(part, "terms_skipped_", 0) > n
                ]
                for part in self.skipping:
                    part.terms_skipped_ -= 1
        self.reads = _places_of(net)

    def launch(self, rows: Any) -> None:
        """Make the step of these rows."""
        of_rows = list(rows.values()) if isinstance(rows, dict) else [rows]
        self.places.fill([*of_rows, *(draw() for draw in self.draws.draws)])
        self.graph.replay()
        self.net.unread_.append(self.reading._replace(values=self.reading.values.clone()))
        self.net.n_updates_ += 1
        for part in self.skipping:
            part.terms_skipped_ += 1


class DrawsOfStep:
    """What the generators on the CPU draw for a step, in order.

    Attributes
    ----------
    kinds : list
        Shape and type of each draw.
    draws : list of callable
        Make each.
    places : iterator of Tensor, or None
        Where they are on the device, while a graph is made.
    """

    def __init__(self) -> None:
        self.kinds: list[tuple[torch.Size, torch.dtype]] = []
        self.draws: list[Callable[[], Tensor]] = []
        self.places: Iterator[Tensor] | None = None

    def drawn_by(self, net: Any, step: Callable[[], None]) -> None:
        """Make a step, and note what it draws."""
        with self.used_by(net):
            step()

    @contextmanager
    def used_by(self, net: Any) -> Iterator[None]:
        """Let what a net and its members draw come from here."""
        parts = (net, *getattr(net, "members_", ()))
        for part in parts:
            part.draws_of_step_ = self
        try:
            yield
        finally:
            for part in parts:
                del part.draws_of_step_

    def take(self, draw: Callable[[], Tensor]) -> Tensor:
        """Return what is drawn, or its place."""
        if self.places is not None:
            self.draws.append(draw)
            return next(self.places)
        drawn = draw()
        self.kinds.append((drawn.shape, drawn.dtype))
        return drawn


class Places:
    """Tensors on a device that are filled from the CPU at once.

    Parameters
    ----------
    kinds : sequence
        Shape and type of each.
    device : torch.device
    """

    def __init__(self, kinds: Sequence[tuple[torch.Size, torch.dtype]], device: Any) -> None:
        self.kinds = kinds
        self.flat = {
            dtype: torch.empty(
                sum(shape.numel() for shape, other in kinds if other == dtype), dtype=dtype, device=device
            )
            for dtype in {dtype for _, dtype in kinds}
        }
        starts = dict.fromkeys(self.flat, 0)
        self.tensors = []
        for shape, dtype in kinds:
            start, starts[dtype] = starts[dtype], starts[dtype] + shape.numel()
            self.tensors.append(self.flat[dtype][start : starts[dtype]].view(shape))
        self.ahead: dict[torch.dtype, list[Tensor]] = {dtype: [] for dtype in self.flat}

    def fill(self, values: Sequence[Tensor]) -> None:
        """Copy values of these kinds, from memory that is not written to before they have arrived."""
        for dtype, flat in self.flat.items():
            if not self.ahead[dtype]:
                # A new one each time: torch gives memory out again only when copies from it are done.
                self.ahead[dtype] = list(torch.empty((STEPS_AHEAD, len(flat)), dtype=dtype, pin_memory=True).unbind())
            row = self.ahead[dtype].pop()
            torch.cat(
                [v.reshape(-1) for v, (_, other) in zip(values, self.kinds, strict=True) if other == dtype], out=row
            )
            flat.copy_(row, non_blocking=True)


def has_fixed_work(module: nn.Module) -> bool:
    """Whether what a module does depends on shapes alone, in evaluation and in training, and never waits for a GPU."""
    return all(
        _is_torchs_own(part) or vars(type(part)).get("member_axis", vars(type(part)).get("fixed_work", False))
        for part in module.modules()
    )


def _is_torchs_own(part: nn.Module) -> bool:
    draws_apart = isinstance(part, _OWN_GENERATORS) or (isinstance(part, nn.RNNBase) and part.dropout > 0)
    return type(part).__module__.startswith("torch.nn.") and not draws_apart


def wants_batches(callback: Any) -> bool:
    """Whether a callback has something to do with every batch."""
    return any(getattr(type(callback), hook, None) is not getattr(Callback, hook) for hook in _PER_BATCH)


def _record_batch(net: Any, prefix: str, n: int, loss: float) -> None:
    net.history.new_batch()
    net.history.record_batch(prefix + "_loss", loss)
    net.history.record_batch(prefix + "_batch_size", n)


def _setting_of(net: Any, dataset: Any) -> Hashable:
    """What a graph depends on, apart from numbers of rows: all that a callback may change between two epochs."""
    members = [getattr(net, "members_", [net])[k] for k in getattr(net, "active_", [0])]
    optimizers = [getattr(net, name + "_") for name in net._optimizers if hasattr(net, name + "_")]
    return (
        id(dataset),
        *(getattr(net, name) for name in ("unroll", "n_negatives", "modality_dropout")),
        *((vars(part).get("p"), vars(part).get("momentum")) for part in net.module_.modules()),
        *getattr(net, "active_", ()),
        *map(id, getattr(net, "twins_", {}).values()),
        *(
            (m.lam, m.unroll, m.n_negatives, m.modality_dropout, m.agreement, m.term_active_, id(m.pool_))
            for m in members
        ),
        *(
            (name, value if isinstance(value, Hashable) else repr(value))
            for optimizer in optimizers
            for group in optimizer.param_groups
            for name, value in group.items()
            if name != "params"
        ),
        *(p.requires_grad for p in net.module_.parameters()),
    )


def _places_of(net: Any) -> list[int]:
    """Where all is that a step reads and writes: whoever puts other tensors there has to be followed."""
    parts = [getattr(net, name + "_") for name in (*net._modules, *net._criteria) if hasattr(net, name + "_")]
    tensors = [tensor for part in parts for tensor in (*part.parameters(), *part.buffers())]
    for optimizer in (getattr(net, name + "_") for name in net._optimizers if hasattr(net, name + "_")):
        for state in optimizer.state.values():
            tensors += [value for value in state.values() if isinstance(value, Tensor)]
    return [tensor.data_ptr() for tensor in tensors]


def _generators_of(net: Any) -> list[tuple[RandomStream, str, torch.Generator]]:
    """Generators on the GPU that a step of the net may draw from, with their streams and devices."""
    streams = [
        stream for part in (net, *getattr(net, "members_", ())) for stream in getattr(part, "draws_", {}).values()
    ]
    return [(stream, key, each) for stream in streams for key, each in stream.generators.items() if key != "cpu"]


@contextmanager
def _capturable(net: Any) -> Iterator[None]:
    """Let the optimizers be captured; what is fused can be, though they ask for a word."""
    groups = [
        group for name in net._optimizers if hasattr(net, name + "_") for group in getattr(net, name + "_").param_groups
    ]
    before = [group.get("capturable") for group in groups]
    for group in groups:
        if "capturable" in group:
            group["capturable"] = True
    try:
        yield
    finally:
        for group, value in zip(groups, before, strict=True):
            if "capturable" in group:
                group["capturable"] = value
