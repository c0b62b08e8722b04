"""The contract of a fusion system: an object that holds its parameters, and the module that it builds."""

from __future__ import annotations

from typing import NamedTuple

from sklearn.base import BaseEstimator
from torch import Tensor, nn

from ..encoders._base import EncoderChoice, Inputs, Masks, Missing, Shapes
from ..encoders._modality_encoders import ModalityEncoders


class FusionOutput(NamedTuple):
    """Output of a fusion module for a batch of B samples.

    Parameters
    ----------
    prediction : Tensor of shape (B, n_outputs)
        Predicted targets (regression) or logits (classification).
    fused : Tensor of shape (B, k)
        The fused representation.
    representations : dict of str to Tensor of shape (B, k_m)
        The representation z_m of each modality, which the dependency term reads.
    penalty : Tensor of shape () or None, default=None
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


class FusionModule(nn.Module):
    """The network between the modalities and the prediction.

    The representation z_m of a modality must be a function of that modality only: the dependency term would otherwise
    measure how the network is wired. Estimators see to it, and to the rest of the contract, when they build a module.

    Parameters
    ----------
    encoders : ModalityEncoders, default=None
        What makes the representations. A system that makes them in another way passes none, sets ``code_dims`` and
        overrides ``represent``.

    Attributes
    ----------
    encoders : ModalityEncoders
        Those that were passed.
    code_dims : dict of str to int
        Width of the representation of each modality, in the order of the modalities.

    Notes
    -----
    A module that predicts from the representations alone may say so with a method ``from_representations(z)``: what
    ``forward`` returns for samples that have every modality, from their representations. Missing modalities are then
    completed many times faster by the critic, as nothing is encoded again.

    Examples
    --------
    A system that adds up linear functions of the representations:

    >>> from torch import nn
    >>> from sklearn_mdm.encoders import ModalityEncoders
    >>> from sklearn_mdm.fusion import FusionModule, FusionOutput
    >>> class SumModule(FusionModule):
    ...     def __init__(self, encoders, n_outputs):
    ...         super().__init__(encoders)
    ...         self.terms = nn.ModuleDict({name: nn.Linear(k, n_outputs) for name, k in self.code_dims.items()})
    ...
    ...     def forward(self, X, mask=None):
    ...         z = self.represent(X, mask)
    ...         filled = self.encoders.fill(z, mask)
    ...         total = sum(term(filled[name]) for name, term in self.terms.items())
    ...         return FusionOutput(total, total, z)
    >>> SumModule(ModalityEncoders({"m0": (3,), "m1": (5,)}), n_outputs=1).code_dims
    {'m0': 32, 'm1': 32}
    """

    encoders: ModalityEncoders
    code_dims: dict[str, int]

    def __init__(self, encoders: ModalityEncoders | None = None) -> None:
        super().__init__()
        if encoders is not None:
            self.encoders = encoders
            self.code_dims = encoders.code_dims

    def represent(self, X: Inputs, mask: Masks | None = None) -> dict[str, Tensor]:
        """Return the representations alone, those that ``forward`` returns.

        Parameters
        ----------
        X : mapping of str to Tensor of shape (B, d) or (B, T, d)
            Modalities, without NaN; sequences may have any number of steps.
        mask : mapping of str to Tensor of bool of shape (B,) or (B, T), default=None
            What was observed; None if everything was. What X holds elsewhere must change nothing.

        Returns
        -------
        representations : dict of str to Tensor of shape (B, k_m)
            In the order and of the widths of ``code_dims``.
        """
        return self.encoders.represent(X, mask)

    def forward(self, X: Inputs, mask: Masks | None = None) -> FusionOutput:
        """Return prediction, fused representation and representations.

        Parameters
        ----------
        X : mapping of str to Tensor
            As in :meth:`represent`.
        mask : mapping of str to Tensor, default=None
            As in :meth:`represent`.

        Returns
        -------
        FusionOutput
            The prediction is finite also for samples that lack modalities.
        """
        raise NotImplementedError


class Fusion(BaseEstimator):
    """Parameters of a fusion system, which build its module once the shapes of the modalities are known.

    Subclasses store their parameters, as every scikit-learn estimator does.

    Examples
    --------
    >>> from sklearn_mdm import MDMFusionRegressor
    >>> from sklearn_mdm.encoders import ModalityEncoders
    >>> from sklearn_mdm.fusion import ConcatFusion, Fusion
    >>> class NarrowFusion(Fusion):
    ...     def __init__(self, width=8):
    ...         self.width = width
    ...
    ...     def build(self, shapes, n_outputs, *, encoder="auto", missing="mean"):
    ...         return ConcatFusion((self.width,)).build(shapes, n_outputs, encoder=encoder, missing=missing)
    >>> MDMFusionRegressor(fusion=NarrowFusion(4)).get_params()["fusion__width"]
    4
    """

    def build(
        self, shapes: Shapes, n_outputs: int, *, encoder: EncoderChoice = "auto", missing: Missing = "mean"
    ) -> FusionModule:
        """Return the fusion module.

        Parameters
        ----------
        shapes : mapping of str to tuple
            Shape of one sample of each modality: (n_features,) or (n_steps, n_features).
        n_outputs : int
            Number of targets or classes.
        encoder : str, Encoder, or mapping of str to either, default="auto"
            What turns a modality into its representation; see :class:`sklearn_mdm.encoders.ModalityEncoders`.
        missing : {"mean", "token", "skip"}, default="mean"
            Replacement for a modality that was not observed; see :class:`sklearn_mdm.encoders.ModalityEncoders`.

        Returns
        -------
        module : FusionModule
            In training mode, with fresh parameters.

        Raises
        ------
        ValueError
            If a parameter is out of its range, or the system cannot read these modalities or use this encoder.
        """
        raise NotImplementedError
