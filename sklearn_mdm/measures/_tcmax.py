"""Total correlation of the modalities and the label, with the classifier's logits as critic (TCMax)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..critic._base import Widths
from ._base import CriticKind, Measure, donsker_varadhan


class TCMax(Measure):
    r"""Total correlation of the modalities *and the label*, with the logits of the classifier as critic.

    With logits :math:`f_c` of the classes c and the frequency :math:`\pi_c` of each, the Donsker-Varadhan bound of
    :math:`T(x, y) = f_y(x) - \log \pi_y` is

    .. math:: E_P[f_y(x_1, \dots, x_m) - \log \pi_y] - \log E_Q \sum_c e^{f_c(x_1, \dots, x_m)}

    where the sum is over all labels that a negative could have. The network is its own critic: no other is trained,
    and ``unroll`` and the parameters of the critic are not used. Negatives are made of the *inputs* and pass the
    network once more. For classifiers only; in nats.

    Parameters
    ----------
    bound : float or None, default=10.0
        Logits are bounded by ``bound * tanh(f / bound)`` in the term, not in predictions: adding one number to all
        logits of a row changes no prediction, so a network could raise the term on its training rows without end. None
        leaves them unbounded.

    Notes
    -----
    The best T is :math:`\log p(x, y) / (p(y) \prod_j p(x_j))`, that is
    :math:`f_y = \log p(y \mid x) + \log p(x) / \prod_j p(x_j)`: the logits of cross-entropy, whatever the class
    frequencies, and a level that says how well the modalities go together. Minus the value is the loss of [1]_ up to a
    constant (there the frequencies are left out, and the negatives are all combinations of a batch instead of
    ``n_negatives`` per row).

    Frequencies are those of the batch. ``dependency_score`` and ``pointwise_dependency`` describe the representations
    alone, as after any other training.

    References
    ----------
    .. [1] "Multimodal classification via total correlation maximization" (TCMax), ICLR 2026, arXiv:2602.13015.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mdm.measures import TCMax
    >>> logits, y = torch.zeros(4, 2), torch.tensor([0, 0, 1, 1])
    >>> TCMax().logit_value(logits, y, torch.zeros(8, 2)).abs()  # logits that say nothing
    tensor(0.)
    """

    needs_y = True
    stands_alone = False

    def __init__(self, bound: float | None = 10.0) -> None:
        self.bound = bound

    def _build_critic(self, code_dims: Widths, hidden_dims: Widths, kind: CriticKind | None, raw: bool) -> nn.Module:
        raise ValueError("TCMax has no critic: it reads the logits of a classifier. Use MDMFusionClassifier.")

    def objective(self, t_joint: Tensor, t_product: Tensor) -> Tensor:
        """Donsker-Varadhan objective; see :meth:`Measure.objective`."""
        return donsker_varadhan(t_joint, t_product)

    def logit_value(self, logits: Tensor, y: Tensor, logits_product: Tensor) -> Tensor:
        """What enters the training loss as ``-lam * value``, and is logged.

        Parameters
        ----------
        logits : Tensor of shape (n_samples, n_classes)
            Logits on rows of the data.
        y : Tensor of shape (n_samples,), dtype int64
            Class indices.
        logits_product : Tensor of shape (n_product, n_classes)
            Logits on negatives.

        Returns
        -------
        value : Tensor of shape ()

        Raises
        ------
        ValueError
            If y does not hold class indices, or there are no logits of two or more classes.
        """
        if y.is_floating_point() or y.dim() != 1 or logits.dim() != 2 or logits.shape[1] < 2:
            raise ValueError(
                "TCMax needs class labels as integers and one logit per class, got targets of shape "
                f"{tuple(y.shape)} and {y.dtype}, and predictions of shape {tuple(logits.shape)}. Use another measure."
            )
        if self.bound is not None:
            if not self.bound > 0:
                raise ValueError(f"bound must be positive or None, got {self.bound}.")
            logits, logits_product = (self.bound * torch.tanh(f / self.bound) for f in (logits, logits_product))
        # Counts without a look at the largest class, which would wait for a GPU.
        frequency = (y[:, None] == torch.arange(logits.shape[1], device=y.device)).sum(0).to(logits.dtype) / len(y)
        own = logits.gather(1, y[:, None])[:, 0]
        # The label frequencies of Q cancel those in T.
        return self.objective(own - frequency[y].log(), torch.logsumexp(logits_product, 1))
