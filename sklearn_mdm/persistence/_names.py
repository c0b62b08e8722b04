"""What a saved file may name: the classes of its objects, and the few functions and classes that objects refer to."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from enum import Enum
from types import FunctionType
from typing import Any

import numpy as np
from torch import nn
from torch.optim import Optimizer

from ..exceptions import SavedFileError

# Packages whose classes objects may have: they are made without a call of their constructor, and doing nothing but
# holding data is enough to be one. Those that read data sets are no part of an estimator.
_PACKAGES = (
    "sklearn_mdm.",
    "torch.nn.modules.",
    "sklearn.compose.",
    "sklearn.decomposition.",
    "sklearn.feature_extraction.",
    "sklearn.feature_selection.",
    "sklearn.impute.",
    "sklearn.linear_model.",
    "sklearn.model_selection._split",
    "sklearn.pipeline",
    "sklearn.preprocessing.",
    "sklearn.utils._metadata_requests",
)
_NOT = ("sklearn_mdm.callbacks.", "sklearn_mdm.datasets.", "sklearn_mdm.persistence.")
_CLASSES = {
    "torch.nn.utils.parametrize:ParametrizationList",
    "torch.nn.utils.parametrizations:_Orthogonal",
    "torch.nn.utils.parametrizations:_OrthMaps",
}
# Classes and functions themselves, not objects of them: what their names begin with, by the attribute that holds them.
# What is called later with what the file says is nowhere else.
_PLACES: dict[str, tuple[str, ...]] = {
    "activation": ("torch.nn.functional:relu",),
    "average": ("sklearn_mdm.fusion._committee:mean_prediction", "sklearn_mdm.fusion._committee:mean_probability"),
    "dataset": ("sklearn_mdm.net._data:MaskedDataset",),
    "dtype": ("numpy:", "builtins:float", "builtins:int", "builtins:bool", "builtins:str"),
    "iterator_train": ("sklearn_mdm.net._data:BatchIterator",),
    "iterator_valid": ("sklearn_mdm.net._data:BatchIterator",),
    "optimizer": ("torch.optim.",),
    "optimizer_critic": ("torch.optim.",),
    "pool": ("sklearn_mdm.encoders._steps:last_state", "sklearn_mdm.encoders._steps:mean_state"),
}


class Names:
    """Names of classes and functions, as "module:name", in both directions.

    Parameters
    ----------
    trusted : iterable of classes and functions
        What may be named beside what every file may name.
    """

    def __init__(self, trusted: Iterable[Any] = ()) -> None:
        self.trusted = {name_of(each): each for each in trusted}

    def of(self, obj: Any, attribute: str = "") -> str | None:
        """Name of a class or function; None if it is none that a file may name there.

        That is as the class of an object, or, itself, as the value of an attribute.
        """
        name = name_of(obj)
        return name if self.trusted.get(name) is obj or _is_named(name, obj, attribute) else None

    def find(self, name: str, attribute: str = "") -> Any:
        """Return the class or function of a name that comes from a file; the opposite of :meth:`of`."""
        if type(name) is not str:  # hashing anything else may take for ever
            raise SavedFileError("it names something by what is no text.")
        if name in self.trusted:
            return self.trusted[name]
        module, _, own = name.partition(":")
        if _may_be_named(name, attribute):
            try:
                found = vars(importlib.import_module(module)).get(own)
            except ImportError:
                found = None
            if _is_named(name, found, attribute):
                return found
            raise SavedFileError(f"it needs {name!r}, which this version of that package does not have.")
        raise SavedFileError(
            f"it names {name!r}, which is none of those that every file may name there. If you know what it is and "
            f"where the file comes from, pass it: load(path, trusted=[{own}])."
        )


def name_of(obj: Any) -> str:
    """Return "module:name" of a class or function, and of the class of anything else."""
    named = obj if isinstance(obj, type) or hasattr(obj, "__qualname__") else type(obj)
    return f"{getattr(named, '__module__', None)}:{named.__qualname__}"


def _may_be_named(name: str, attribute: str) -> bool:
    if name in _CLASSES and not attribute:
        return True
    module, _, own = name.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), own)):
        return False
    if attribute:
        return name.startswith(_PLACES.get(attribute, ()))
    return module.startswith(_PACKAGES) and not module.startswith(_NOT) and ".tests" not in module


def _is_named(name: str, obj: Any, attribute: str) -> bool:
    """Whether this is what the name means: defined there, not merely imported, and of a kind that may be named."""
    if not _may_be_named(name, attribute) or name_of(obj) != name:
        return False
    if not isinstance(obj, type):
        return isinstance(obj, FunctionType) and name in _PLACES.get(attribute, ())
    if name.startswith("numpy:"):
        return issubclass(obj, np.generic)
    if name.startswith("torch.optim."):
        return issubclass(obj, Optimizer)
    if name.startswith("torch."):
        return issubclass(obj, (nn.Module, Enum))
    return True
