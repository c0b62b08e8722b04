"""The training of critics: updates, a moving average of their weights, and validation that stops each."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ..critic._negatives import offset_indices, stacked_indices
from ..measures import Measure
from ..measures._base import log_mean_exp
from ..measures._contract import stacks
from ..utils._rng import MemberStreams, RandomStream, drawing_from, may_draw
from ..utils._stacking import can_stack, stack

# Looks at the validation rows during training, and how many of them may pass without progress.
CHECKS = 20
PATIENCE = 8
# Passes over the rows after which there is nothing left to learn from them.
MAX_PASSES = 60
# Decay of the moving average of the weights, which is what is evaluated and kept: single iterates are noisy.
AVERAGING = 0.995
# Negatives per row of the validation rows.
VALIDATION_SETS = 8


class Course(NamedTuple):
    """How a training went: updates until the best validation loss, and that loss at each check."""

    n_updates: int
    curve: list[float]


class Rows(NamedTuple):
    """What one critic is trained and validated on, and its own random numbers.

    ``draws`` is the stream of what the critic itself draws, such as noise.
    """

    train: list[Tensor]
    validation: list[Tensor]
    n_validation_sets: int
    seed: int
    draws: RandomStream


def train_critics(
    networks: Sequence[nn.Module],
    measure: Measure,
    rows: Sequence[Rows],
    *,
    n_updates: int,
    batch_size: int,
    n_negatives: int,
    lr: float,
    weight_decay: float,
    n_checks: int = CHECKS,
) -> list[Course]:
    """Train critics in place; each ends with the averaged weights of its smallest validation loss.

    Those of one architecture that can be stacked make their updates together, and each is what it would be alone, up to
    rounding: it has its own rows, order, negatives and draws, and stops where it would. Where rows are so few that
    their number decides the size of a batch or the number of updates, those with the same go together.

    Raises
    ------
    FloatingPointError
        If the objective becomes non-finite.
    """
    joined = stacks(measure) and all(map(can_stack, networks))
    plans: dict[tuple[int, int, int], list[int]] = {}
    for i, part in enumerate(rows):
        n = len(part.train[0])
        size = min(batch_size, n)
        plan = size, min(n_updates, math.ceil(MAX_PASSES * n / size)), 0 if joined else i
        plans.setdefault(plan, []).append(i)
    courses: dict[int, Course] = {}
    for (size, most, _), members in plans.items():
        found = _train_together(
            [networks[i] for i in members],
            measure,
            [rows[i] for i in members],
            n_updates=most,
            batch_size=size,
            n_negatives=n_negatives,
            lr=lr,
            weight_decay=weight_decay,
            n_checks=n_checks,
        )
        courses.update(zip(members, found, strict=True))
    return [courses[i] for i in range(len(networks))]


def _train_together(
    networks: Sequence[nn.Module],
    measure: Measure,
    rows: Sequence[Rows],
    *,
    n_updates: int,
    batch_size: int,
    n_negatives: int,
    lr: float,
    weight_decay: float,
    n_checks: int,
) -> list[Course]:
    m = len(rows[0].train)
    check_every = max(1, n_updates // n_checks)
    patience = PATIENCE * n_checks // CHECKS * check_every
    members = [_Member(*pair, measure) for pair in zip(networks, rows, strict=True)]
    generators = [member.generator for member in members]
    for one in networks:
        one.train()
    network, average, train = networks[0], members[0].average, rows[0].train
    draws: RandomStream | MemberStreams = rows[0].draws
    axis: tuple[int, ...] = ()
    intercept = may_draw(network, measure)
    if len(members) > 1:
        network, average = stack(networks, _copied), stack([member.average for member in members], _shared)
        train = [torch.cat(parts) for parts in zip(*(part.train for part in rows), strict=True)]
        draws = MemberStreams([part.draws for part in rows])
        axis, intercept = (len(members),), False
    starts = [0, *itertools.accumulate(len(part.train[0]) for part in rows)]
    optimizer, schedule = _optimizer(network, networks[0], n_updates, lr, weight_decay)
    for update in range(1, n_updates + 1):
        each = [start + member.next_rows(batch_size) for start, member in zip(starts, members, strict=False)]
        chosen = torch.cat(each)
        batch = [z.index_select(0, chosen).view(*axis, batch_size, z.shape[1]) for z in train]
        optimizer.zero_grad(set_to_none=True)
        index = stacked_indices(batch_size, m, n_negatives, generators).view(*axis, m, -1)
        with drawing_from(draws, intercept=intercept):
            objective = measure.critic_objective(network, batch, index)
        (-objective.sum()).backward()
        optimizer.step()
        schedule.step()
        average_weights(average, network, min(AVERAGING, update / (update + 10)))
        if update % check_every == 0:
            for member, value in zip(members, objective.detach().reshape(-1).tolist(), strict=True):
                member.check(update, value, patience)
            if all(member.stopped for member in members):
                break
    for member in members:
        member.network.load_state_dict(member.best)
    return [Course(member.best_update, member.curve) for member in members]


class _Member:
    """One of the critics: the order of its rows, the average of its weights, and the best of these so far."""

    def __init__(self, network: nn.Module, rows: Rows, measure: Measure) -> None:
        self.network, self.rows, self.measure = network, rows, measure
        self.generator = torch.Generator().manual_seed(rows.seed)
        n, m = len(rows.validation[0]), len(rows.validation)
        self.index = offset_indices(n, m, rows.n_validation_sets, self.generator)
        self.average = copy.deepcopy(network).eval()
        self.best, self.best_update = _state(self.average), 0
        self.curve = [self._loss()]
        self.order = torch.empty(0, dtype=torch.int64)
        self.stopped = False

    def next_rows(self, size: int) -> Tensor:
        if len(self.order) < size:
            self.order = torch.randperm(len(self.rows.train[0]), generator=self.generator)
        rows, self.order = self.order[:size], self.order[size:]
        return rows

    def check(self, update: int, objective: float, patience: int) -> None:
        """Look at the validation rows, and stop after so many updates without a smaller loss."""
        if self.stopped:
            return
        if not math.isfinite(objective):
            raise FloatingPointError(
                f"non-finite objective ({objective}) of {type(self.measure).__name__} at update {update}. "
                "Try a smaller lr, or look for extreme values in X."
            )
        best_loss = min(self.curve)
        self.curve.append(self._loss())
        if self.curve[-1] < best_loss:
            self.best, self.best_update = _state(self.average), update
        else:
            self.stopped = update - self.best_update >= patience

    def _loss(self) -> float:
        return _validation_loss(self.average, self.measure, self.rows.validation, self.index, self.rows.draws)


def _state(network: nn.Module) -> dict[str, Any]:
    # A deep copy of a tensor that shares memory would copy all of it.
    return {
        name: value.clone() if isinstance(value, Tensor) else copy.deepcopy(value)
        for name, value in network.state_dict().items()
    }


def _copied(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack([t.detach() for t in tensors]).requires_grad_(tensors[0].requires_grad)


def _shared(tensors: Sequence[Tensor]) -> Tensor:
    joined = _copied(tensors)
    for tensor, part in zip(tensors, joined.detach(), strict=True):
        tensor.data = part
    return joined


def _optimizer(
    network: nn.Module, like: nn.Module, n_updates: int, lr: float, weight_decay: float
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for (name, alone), parameter in zip(like.named_parameters(), network.parameters(), strict=True):
        # Orthogonal layers have no scale to decay.
        matrix = alone.dim() > 1 and "parametrizations" not in name
        (decayed if matrix else free).append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=lr, fused=True)

    def rate(update: int) -> float:
        return min(1.0, (update + 1) / 100) * 0.5 * (1 + math.cos(math.pi * min(1.0, update / n_updates)))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, rate)


def average_weights(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the parameters of one network towards those of another, and copy its buffers."""
    get_ema_multi_avg_fn(decay)(list(average.parameters()), list(network.parameters()), None)
    for kept, new in zip(average.buffers(), network.buffers(), strict=True):
        kept.copy_(new)


def _validation_loss(
    network: nn.Module, measure: Measure, validation: list[Tensor], index: Tensor, draws: RandomStream
) -> float:
    with torch.no_grad(), drawing_from(draws):
        if measure.density_ratio:
            return logistic_loss(*network(validation, index))
        return -measure.value(network, validation, index).item()


def logistic_loss(t_joint: Tensor, t_product: Tensor) -> float:
    """Logistic loss of telling rows from negatives, with T made a log ratio."""
    shift = log_mean_exp(t_product.double())
    softplus = nn.functional.softplus
    return (softplus(shift - t_joint).mean() + softplus(t_product - shift).mean()).item()
