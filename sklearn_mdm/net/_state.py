"""What training changes in a net, kept to return to."""

from __future__ import annotations

from typing import Any

import torch

__all__: list[str] = []


class NetState:
    """Copies of the parameters and of the states of the optimizers, and the number of epochs."""

    def __init__(self, net: Any) -> None:
        self.net = net
        self.n_epochs = len(net.history)
        names = [name + "_" for name in net._modules + net._optimizers]
        self.parts = {name: _cloned(getattr(net, name).state_dict()) for name in names}

    def restore(self) -> None:
        """Return to it."""
        del self.net.history[self.n_epochs :]
        for name, state in self.parts.items():
            getattr(self.net, name).load_state_dict(state)


def _cloned(state: Any) -> Any:
    """Copy the tensors of a state; ``copy.deepcopy`` takes ten times as long."""
    if isinstance(state, torch.Tensor):
        return state.detach().clone()
    if isinstance(state, dict):
        return {key: _cloned(value) for key, value in state.items()}
    if isinstance(state, list):
        return [_cloned(value) for value in state]
    return state
