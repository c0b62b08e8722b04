"""What every fusion module returns."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

__all__ = ["FusionOutput"]


class FusionOutput(NamedTuple):
    """Output of the ``forward(X, mask)`` of a fusion module, for a batch of B samples.

    ``X`` maps modality names to tensors (B, d) or (B, T, d) without NaN; ``mask`` maps them to boolean tensors of what
    was observed, (B,) or (B, T), or is None when everything was. A fusion module also has ``code_dims``, the width of
    each representation, and ``represent(X, mask)``, which returns the representations alone.

    Parameters
    ----------
    prediction : Tensor of shape (B, n_outputs)
        Predicted targets (regression) or logits (classification).
    fused : Tensor of shape (B, k)
        The fused representation.
    representations : dict of str to Tensor of shape (B, k_m)
        The code z_m of each modality, a function of that modality only: it is what the dependency term reads.
    penalty : Tensor of shape () or None
        Losses of the system itself, added to the task loss.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mdm.fusion import ConcatFusion
    >>> module = ConcatFusion().build({"m0": (3,), "m1": (5,)}, n_outputs=1)
    >>> output = module({"m0": torch.randn(2, 3), "m1": torch.randn(2, 5)})
    >>> output.prediction.shape, sorted(output.representations), output.penalty
    (torch.Size([2, 1]), ['m0', 'm1'], None)
    """

    prediction: Tensor
    fused: Tensor
    representations: dict[str, Tensor]
    penalty: Tensor | None = None
