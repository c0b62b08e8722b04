"""What an encoder is: parameters that build a module from one modality to its representation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from sklearn.base import BaseEstimator
from torch import Tensor, nn

# Shape of one sample of each modality: (n_features,) or (n_steps, n_features).
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
# What a batch holds of each modality, (B, d) or (B, T, d) without NaN, and its boolean masks, (B,) or (B, T).
Inputs: TypeAlias = Mapping[str, Tensor]
Masks: TypeAlias = Mapping[str, Tensor]
# What a fusion module can put in place of a modality that was not observed.
Missing: TypeAlias = Literal["mean", "token", "skip"]


class Encoder(BaseEstimator):
    """Parameters of an encoder, which maps one modality to its representation.

    Subclasses store their parameters, as every scikit-learn estimator does, and build a module from them.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from sklearn_mdm.encoders import Encoder, ModalityEncoders
    >>> class Linear(nn.Linear):
    ...     def forward(self, x, mask=None):
    ...         return super().forward(x)
    ...
    ...     @property
    ...     def out_dim(self):
    ...         return self.out_features
    >>> class LinearEncoder(Encoder):
    ...     def __init__(self, out_dim=8):
    ...         self.out_dim = out_dim
    ...
    ...     def build(self, shape):
    ...         return Linear(shape[-1], self.out_dim)
    >>> ModalityEncoders({"m0": (3,), "m1": (5,)}, LinearEncoder(4)).code_dims
    {'m0': 4, 'm1': 4}
    """

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        r"""Return the module that encodes a modality.

        Parameters
        ----------
        shape : tuple of int
            Shape of one sample: (n_features,) or (n_steps, n_features).

        Returns
        -------
        module : nn.Module
            Its ``forward(x, mask=None)`` maps x of shape (B, \*shape), with any number of steps, and a boolean mask of
            the observed samples (B,) or steps (B, n_steps), None if all were, to representations (B, out_dim). Its
            ``out_dim`` is that width. x is zero where nothing was observed.

        Raises
        ------
        ValueError
            If a parameter is out of its range, or the encoder does not read modalities of this shape.
        """
        raise NotImplementedError


# One for all modalities, or one per modality.
EncoderChoice: TypeAlias = str | Encoder | Mapping[str, str | Encoder]
