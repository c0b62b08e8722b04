"""The net of a fusion estimator, from its parameters and the shapes of its modalities."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.base import is_classifier
from skorch.callbacks import Callback

from ..callbacks import GradientAccumulation
from ..encoders._modality_encoders import per_modality
from ..fusion import FUSIONS
from ..fusion._check import Built
from ..fusion._committee import Committees
from ..inputs._observed import Observed
from ..measures import MEASURES
from ..measures._contract import build_checked_critic
from ..net._committee import CommitteeNet
from ..net._net import MDMNet
from ..net._step_graphs import CAPTURABLE, wants_batches
from ..utils._parameter_objects import resolve_component
from ..utils._rng import RandomStream, drawing_from
from ._device import pays_on_gpu, resolve_device
from ._lam_path import Candidate
from ._parameters import OPTIMIZERS


def build_net(estimator: Any, X: Observed, candidates: Sequence[Candidate]) -> MDMNet:
    """Build the net of a fusion estimator for modalities of these shapes, with as many members as it asks for.

    As many of each candidate, a member's next to one another, with one seed.
    """
    fusion = resolve_component("fusion", estimator.fusion, FUSIONS, "build")
    wanted = estimator.measure
    if isinstance(wanted, str) and wanted == "auto":
        wanted = "kl" if estimator._agreement is None else "pairwise_infonce"
    measure = resolve_component("measure", wanted, MEASURES, "value")
    if measure.needs_y and not is_classifier(estimator):
        others = sorted(name for name, other in MEASURES.items() if not other.needs_y)
        raise ValueError(
            f"measure={estimator.measure!r} reads class labels, which a {type(estimator).__name__} does not have. Use "
            f"one of {others}, or MDMFusionClassifier."
        )
    has_critic = len(X.names) > 1 and not measure.needs_y
    layout = _layout(estimator, X, fusion)
    optimizer: Any = OPTIMIZERS[estimator.optimizer] if isinstance(estimator.optimizer, str) else estimator.optimizer
    device = resolve_device(estimator.device)
    if device is None:
        fixed = _can_be_graphs(estimator, X, optimizer)
        device = _faster(estimator, X, candidates, fusion, layout, measure if has_critic else None, fixed)
    double = device == "cpu" and X.dtype == np.float64
    double = double and not getattr(fusion, "single_precision", False)
    accepted = _accepted(optimizer)
    options: dict[str, Any] = {}
    if "weight_decay" in accepted:
        options["optimizer__weight_decay"] = estimator.weight_decay
    if not isinstance(estimator.optimizer, str):
        _check_optimizer(optimizer, device, {"lr": 1e-3, **{name.partition("__")[2]: 0.0 for name in options}})
    if hasattr(fusion, "param_groups"):
        options["optimizer__param_groups"] = fusion.param_groups()
    if has_critic:
        options["critic__hidden_dims"] = tuple(estimator.critic_hidden_dims)
        options["optimizer_critic__lr"] = estimator.critic_lr
    if device.partition(":")[0] in ("cpu", "cuda"):
        # One kernel for all parameters instead of several for each.
        if has_critic:
            options["optimizer_critic__fused"] = True
        if "fused" in accepted:
            options["optimizer__fused"] = True
    # The net builds the module: an instance passed as a parameter would stay on the GPU in a pickle.
    net: Callable[..., MDMNet] = MDMNet
    if estimator._n_members > 1 or len(candidates) > 1:
        seeds = [estimator._seed]
        if estimator._n_members > 1:
            seeds = np.random.SeedSequence(estimator._seed).generate_state(estimator._n_members).tolist()
        net = functools.partial(
            CommitteeNet,
            seeds=[seed for seed in seeds for _ in candidates],
            combine=Committees(estimator._average_of_members()),
            settings=[candidate._asdict() for _ in seeds for candidate in candidates] if len(candidates) > 1 else None,
        )
    built = net(
        Built(fusion),
        estimator._criterion(),
        **{f"module__{name}": value for name, value in layout.items()},
        measure=measure,
        **candidates[0]._asdict(),
        unroll=estimator.unroll,
        n_negatives=estimator.n_negatives,
        modality_dropout=estimator.modality_dropout,
        optimizer=optimizer,
        lr=estimator.lr,
        batch_size=estimator.batch_size,
        random_state=estimator._seed,
        dtype=torch.float64 if double else torch.float32,
        device=device,
        **options,
    )
    with drawing_from(RandomStream.of(estimator._seed, 0)):  # initial weights
        return built.initialize()


def _layout(estimator: Any, X: Observed, fusion: Any) -> dict[str, Any]:
    """What the module is built for."""
    layout = {
        "shapes": {
            estimator._keys[name]: filling.shape(X.arrays[name].shape[1:])
            for name, filling in estimator._fillings[0].items()
        },
        "n_outputs": estimator._n_net_outputs(),
        "encoder": per_modality(estimator.encoder, X.names),
        "missing": "mean" if estimator.missing in ("auto", "critic") else estimator.missing,
    }
    if "names" in inspect.signature(fusion.build).parameters:
        layout["names"] = {key: name for name, key in estimator._keys.items()}
    return layout


def _can_be_graphs(estimator: Any, X: Observed, optimizer: Any) -> bool:
    """Whether steps can be graphs of a GPU, as far as data, optimizer and callbacks tell."""
    callbacks = [each[1] if isinstance(each, (list, tuple)) else each for each in estimator.callbacks or ()]
    listens = any(wants_batches(each) or isinstance(each, GradientAccumulation) for each in callbacks)
    return not listens and optimizer in CAPTURABLE and not X.on_disk and all(mask is None for mask in X.masks.values())


def _faster(
    estimator: Any,
    X: Observed,
    candidates: Sequence[Candidate],
    fusion: Any,
    layout: dict,
    measure: Any | None,
    fixed: bool,
) -> str:
    """Return the device on which training takes less time, from a module and a critic that are thrown away."""
    if getattr(fusion, "single_precision", False):
        return "cuda"  # large, and slow to build
    with drawing_from(RandomStream(0)):
        module, critic = Built(fusion)(**layout), None
        if measure is not None:
            critic = build_checked_critic(measure, list(module.code_dims.values()))
    size = len(X) if estimator.batch_size == -1 else min(estimator.batch_size, len(X))
    pays = pays_on_gpu(
        module,
        critic,
        n=len(X) * X.n_steps,
        size=size * X.n_steps,
        members=estimator._n_members * len(candidates),
        fixed=fixed,
        term=any(candidate.lam for candidate in candidates),
    )
    return "cuda" if pays else "cpu"


def _accepted(optimizer: Any) -> Mapping[str, Any]:
    try:
        return inspect.signature(optimizer).parameters
    except ValueError:  # of something written in C, which is no optimizer
        return {}


def check_callbacks(callbacks: list | None) -> None:
    """Reject what skorch could not call."""
    for given in callbacks or []:
        is_pair = isinstance(given, (list, tuple)) and len(given) == 2 and isinstance(given[0], str)
        callback = given[1] if is_pair else given
        if isinstance(callback, type) and issubclass(callback, Callback):
            try:
                callback = callback()
            except TypeError as error:
                raise TypeError(f"callbacks holds the class {callback.__name__}; pass an instance: {error}.") from error
        if callback is not None and not isinstance(callback, Callback):
            raise TypeError(
                f"callbacks holds {given!r}; expected callbacks of skorch, such as "
                "skorch.callbacks.GradientNormClipping(), or pairs of a name and one."
            )


def _check_optimizer(optimizer: Any, device: str, options: dict[str, Any]) -> None:
    """Let an optimizer of a user make an update, of a layer: no signature says whether it can."""
    name = getattr(optimizer, "__name__", repr(optimizer))
    try:
        parameters = [torch.nn.Parameter(torch.zeros(shape, device=device)) for shape in ((2, 2), (2,))]
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        with drawing_from(RandomStream(0)):
            made = optimizer(parameters, **options)
            made.step()
    except Exception as error:  # whatever the code of a user may raise
        what = "evaluates a loss several times per step, which mini-batches do not allow"
        if optimizer is not torch.optim.LBFGS:
            what = f"cannot train a layer: {': '.join(filter(None, [type(error).__name__, str(error).rstrip('.')]))}"
        raise ValueError(
            f"optimizer={name} {what}. Use one of {sorted(OPTIMIZERS)}, or a torch optimizer class such as "
            "torch.optim.RMSprop."
        ) from error
    if not isinstance(made, torch.optim.Optimizer):
        raise TypeError(f"optimizer={name} makes an object of type {type(made).__name__}, no torch.optim.Optimizer.")
