"""Names of modalities that torch accepts."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any


class ModalityKey(str):
    """What torch calls a modality, ``m0``, ``m1``, ..., as it rejects names such as "keys", "a.b" or 3.

    Its ``repr`` is that of the user's name, which is what error messages show.

    Parameters
    ----------
    key : str
        Name in torch.
    name : str or int
        The user's name.
    """

    name: Hashable

    def __new__(cls, key: str, name: Hashable) -> ModalityKey:
        self = super().__new__(cls, key)
        self.name = name
        return self

    def __getnewargs__(self) -> tuple[Any, ...]:
        return str(self), self.name

    def __repr__(self) -> str:
        return repr(self.name)


def modality_keys(names: Iterable[Hashable]) -> dict[Hashable, ModalityKey]:
    """Key of each modality, by its name."""
    return {name: ModalityKey(f"m{i}", name) for i, name in enumerate(names)}
