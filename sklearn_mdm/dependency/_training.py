"""The training of a critic: updates, a moving average of its weights, and validation that stops it."""

from __future__ import annotations

import copy
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ..critic._negatives import offset_indices
from ..measures import Measure
from ..measures._base import log_mean_exp
from ..utils._rng import RandomStream, drawing_from, may_draw

# Looks at the validation rows during training, and how many of them may pass without progress.
CHECKS = 20
PATIENCE = 8
# Passes over the rows after which there is nothing left to learn from them.
MAX_PASSES = 200
# Decay of the moving average of the weights, which is what is evaluated and kept: single iterates are noisy.
AVERAGING = 0.995
# Negatives per row of the validation rows.
VALIDATION_SETS = 8


class Course(NamedTuple):
    """How a training went: updates until the best validation loss, and that loss at each check."""

    n_updates: int
    curve: list[float]


def train_critic(
    network: nn.Module,
    measure: Measure,
    train: list[Tensor],
    validation: list[Tensor],
    *,
    n_updates: int,
    batch_size: int,
    n_negatives: int,
    lr: float,
    weight_decay: float,
    seed: int,
    draws: RandomStream,
    n_checks: int = CHECKS,
    n_validation_sets: int = VALIDATION_SETS,
) -> Course:
    """Train a critic in place; it ends with the averaged weights of the smallest validation loss.

    ``draws`` is the stream of what the critic itself draws, such as noise.

    Raises
    ------
    FloatingPointError
        If the objective becomes non-finite.
    """
    n, m = len(train[0]), len(train)
    generator, intercept = torch.Generator().manual_seed(seed), may_draw(network, measure)
    size = min(batch_size, n)
    n_updates = min(n_updates, math.ceil(MAX_PASSES * n / size))
    optimizer, schedule = _optimizer(network, n_updates, lr, weight_decay)
    check_every = max(1, n_updates // n_checks)
    patience = PATIENCE * n_checks // CHECKS * check_every
    held_index = offset_indices(len(validation[0]), m, n_validation_sets, generator)
    average = copy.deepcopy(network).eval()
    best, best_update = copy.deepcopy(average.state_dict()), 0
    curve = [_validation_loss(average, measure, validation, held_index, draws)]
    order = torch.empty(0, dtype=torch.int64)
    network.train()
    for update in range(1, n_updates + 1):
        if len(order) < size:
            order = torch.randperm(n, generator=generator)
        rows, order = order[:size], order[size:]
        batch = [z.index_select(0, rows) for z in train]
        optimizer.zero_grad(set_to_none=True)
        index = offset_indices(size, m, n_negatives, generator)
        with drawing_from(draws, intercept=intercept):
            objective = measure.critic_objective(network, batch, index)
        (-objective).backward()
        optimizer.step()
        schedule.step()
        average_weights(average, network, min(AVERAGING, update / (update + 10)))
        if update % check_every == 0:
            if not math.isfinite(objective.item()):
                raise FloatingPointError(
                    f"non-finite objective ({objective.item()}) of {type(measure).__name__} at update {update}. "
                    "Try a smaller lr, or look for extreme values in X."
                )
            best_loss = min(curve)
            curve.append(_validation_loss(average, measure, validation, held_index, draws))
            if curve[-1] < best_loss:
                best, best_update = copy.deepcopy(average.state_dict()), update
            elif update - best_update >= patience:
                break
    network.load_state_dict(best)
    return Course(best_update, curve)


def _optimizer(
    network: nn.Module, n_updates: int, lr: float, weight_decay: float
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        # Orthogonal layers have no scale to decay.
        matrix = parameter.dim() > 1 and "parametrizations" not in name
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
