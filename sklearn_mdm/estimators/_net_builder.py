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

from ..encoders._modality_encoders import per_modality
from ..fusion import FUSIONS
from ..fusion._check import Built
from ..fusion._committee import Committees
from ..inputs._observed import Observed
from ..measures import MEASURES
from ..net._committee import CommitteeNet
from ..net._net import MDMNet
from ..utils._parameter_objects import resolve_component
from ..utils._rng import RandomStream, drawing_from
from ._lam_path import Candidate
from ._parameters import OPTIMIZERS


def build_net(estimator: Any, X: Observed, candidates: Sequence[Candidate]) -> MDMNet:
    """Build the net of a fusion estimator for modalities of these shapes, with as many members as it asks for.

    As many of each candidate, a member's next to one another, with one seed.
    """
    device = _resolve_device(estimator.device)
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
    double = device == "cpu" and X.dtype == np.float64
    double = double and not getattr(fusion, "single_precision", False)
    optimizer: Any = OPTIMIZERS[estimator.optimizer] if isinstance(estimator.optimizer, str) else estimator.optimizer
    accepted = _accepted(optimizer)
    options: dict[str, Any] = {}
    if "weight_decay" in accepted:
        options["optimizer__weight_decay"] = estimator.weight_decay
    trial = {name.partition("__")[2]: 0.0 for name in options}
    _check_optimizer(optimizer, device, {"lr": 1e-3, **trial})
    if hasattr(fusion, "param_groups"):
        options["optimizer__param_groups"] = fusion.param_groups()
    if "names" in inspect.signature(fusion.build).parameters:
        options["module__names"] = {key: name for name, key in estimator._keys.items()}
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
        module__shapes={
            estimator._keys[name]: filling.shape(X.arrays[name].shape[1:])
            for name, filling in estimator._fillings[0].items()
        },
        module__n_outputs=estimator._n_net_outputs(),
        module__encoder=per_modality(estimator.encoder, X.names),
        module__missing="mean" if estimator.missing in ("auto", "critic") else estimator.missing,
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


def _resolve_device(wanted: str | torch.device) -> str:
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wanted)
        torch.zeros(1, device=device).cpu()  # some have a name alone, or no numbers
    except Exception as error:  # a type for every kind of device
        found = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        found += ["mps"] if torch.backends.mps.is_available() else []
        raise ValueError(
            f"device={str(wanted)!r} is not there, or holds no numbers: torch finds {', '.join(found)}. Use one of "
            'these, or "auto", which takes what there is.'
        ) from error
    return "cpu" if device.type == "cpu" else str(device)


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
    """Let the optimizer make an update, of a layer."""
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
