"""Masked time steps: brought together at the front, read by a recurrent network, averaged."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence


def observed_first(x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Move the observed steps of each sample to the front, in their order, and drop steps that no sample fills.

    A recurrent network that reads the result to the end of each sample goes through the same states as one that rests
    wherever a step was not observed. From x (B, T, d) it has the shape (B, T', d), with T' the largest number of
    observed steps of a sample, and at least 1; what lies beyond those of a sample is of no meaning. Beside it comes the
    number of observed steps, (B,), or None if all were.
    """
    if mask is None:
        return x, None
    lengths = mask.sum(1)
    order = order_of_steps(mask)[:, : max(int(lengths.max()), 1)]
    return x.gather(1, order.unsqueeze(-1).expand(-1, -1, x.shape[-1])), lengths


def order_of_steps(mask: Tensor) -> Tensor:
    """Steps (B, T) of each sample: the observed ones in their order, then the others."""
    return mask.to(torch.uint8).argsort(dim=1, descending=True, stable=True)


def last_state(network: nn.LSTM | nn.GRU, x: Tensor, mask: Tensor | None) -> Tensor:
    """Run a recurrent network over the observed steps of x (B, T, d) and return its last states (B, h).

    The states are those of the top layer. They rest where a step was not observed, and are zero for a sample without
    any observed step.
    """
    steps, lengths = observed_first(x, mask)
    if lengths is None:
        return network(steps)[0][:, -1]
    at_least_one = lengths.clamp(min=1)
    if 2 * int(lengths.sum()) < steps.shape[0] * steps.shape[1]:
        # Passing over the steps beyond the end of a sample pays where they are many.
        packed = pack_padded_sequence(steps, at_least_one.cpu(), batch_first=True, enforce_sorted=False)
        state = network(packed)[1]
        last = (state[0] if isinstance(state, tuple) else state)[-1]
    else:
        last = network(steps)[0].gather(1, (at_least_one - 1).view(-1, 1, 1).expand(-1, 1, network.hidden_size))
        last = last.squeeze(1)
    return torch.where((lengths > 0).unsqueeze(1), last, 0)


def mean_state(network: nn.LSTM | nn.GRU, x: Tensor, mask: Tensor | None) -> Tensor:
    """Run a recurrent network over the observed steps of x (B, T, d) and return the mean of its states (B, h).

    The states are those of the top layer; a sample without any observed step has zeros.
    """
    steps, lengths = observed_first(x, mask)
    states = network(steps)[0]
    if lengths is None:
        return states.mean(1)
    return mean_over_steps(states, torch.arange(states.shape[1], device=x.device) < lengths.unsqueeze(1))


def mean_over_steps(x: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of x (B, T, d) over the observed steps as (B, d), and zeros where there is none."""
    weight = step_weights(x, mask)
    return torch.bmm(weight.unsqueeze(1), x).squeeze(1)


def step_weights(x: Tensor, mask: Tensor | None) -> Tensor:
    """Weights (B, T) that are even over the observed steps of each sample and add up to one, or zero without any."""
    weight = x.new_ones(x.shape[:-1]) if mask is None else mask.to(x.dtype)
    return weight / weight.sum(-1, keepdim=True).clamp(min=1)


def observed(mask: Tensor, n_axes: int = 1) -> Tensor:
    """Samples with any observed step, from a mask (B,) or (B, T), or with ``n_axes=2`` from (K, B) or (K, B, T)."""
    return mask if mask.dim() == n_axes else mask.any(-1)
