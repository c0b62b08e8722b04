"""What the makers share: checks, names of modalities, and what they return."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from ..inputs._modality_dict import ModalityDict

ReturnLogRatio: TypeAlias = bool | Literal["callable"]
NAMES = ("audio", "visual", "text")


def modality_names(n_modalities: int) -> list[str]:
    """Return "audio", "visual", "text", "m3", "m4" and so on."""
    return [NAMES[j] if j < len(NAMES) else f"m{j}" for j in range(n_modalities)]


def check_counts(**counts: tuple[Any, int]) -> None:
    """Raise unless each value, given with the least it may be, is an integer."""
    for name, (value, least) in counts.items():
        if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}.")


def check_between(
    name: str, value: Any, low: float, high: float, *, closed: Literal["left", "right", "both", "neither"] = "neither"
) -> float:
    """Return value as float if it lies between low and high; ``closed`` says at which of them it may lie."""
    above = "[" if closed in ("left", "both") else "("
    below = "]" if closed in ("right", "both") else ")"
    inside = _is_real(value) and (low <= value if above == "[" else low < value)
    if not (inside and (value <= high if below == "]" else value < high)):
        raise ValueError(f"{name} must be a number in {above}{low:.6g}, {high:.6g}{below}, got {value!r}.")
    return float(value)


def check_total_correlation(value: Any, highest: float) -> float:
    """Return the wanted total correlation if it is one that can be had, up to rounding."""
    if not _is_real(value) or not 0 <= value <= highest * (1 + 1e-12):
        raise ValueError(f"total_correlation must be between 0 and {highest:.6g} nats, got {value!r}.")
    return min(float(value), highest)


def _is_real(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def as_result(
    xs: Sequence[np.ndarray],
    truth: float,
    log_ratio: Callable[[list[np.ndarray]], np.ndarray],
    return_log_ratio: ReturnLogRatio,
) -> tuple[Any, ...]:
    """Return (X, truth), or (X, truth, log ratio) where it is asked for."""
    if not (isinstance(return_log_ratio, (bool, np.bool_)) or return_log_ratio == "callable"):
        raise ValueError(f"return_log_ratio must be True, False or 'callable', got {return_log_ratio!r}.")
    names = modality_names(len(xs))
    X = ModalityDict(dict(zip(names, xs, strict=True)))
    if not return_log_ratio:
        return X, float(truth)

    def log_ratio_of(X: Mapping[str, Any]) -> np.ndarray:
        return log_ratio([np.asarray(X[name], dtype=np.float64) for name in names])

    return X, float(truth), log_ratio_of if return_log_ratio == "callable" else log_ratio_of(X)
