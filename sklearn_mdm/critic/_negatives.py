"""Negatives: samples of the product of the marginals, made of the modalities of different rows of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def offset_indices(
    n_samples: int, n_modalities: int, n_sets: int = 1, generator: torch.Generator | None = None
) -> torch.Tensor:
    r"""Row indices of negatives, in which no two modalities belong together.

    The rows are put into one random order and every modality is read from it at its own cyclic offset. Offsets of one
    set are distinct, so two modalities of a negative never come from the same sample. Independent permutations, as in
    Algorithm 1 of the paper, keep a pair together in about :math:`\binom{m}{2} / B` of the rows and bias the estimate
    downwards.

    Parameters
    ----------
    n_samples : int
        Number of rows B, at least ``n_modalities``.
    n_modalities : int
        Number of modalities m.
    n_sets : int, default=1
        Number of negatives per row.
    generator : torch.Generator, default=None
        Source of randomness, on the CPU. The global one if None.

    Returns
    -------
    indices : torch.Tensor of shape (n_modalities, n_sets * n_samples), dtype int64
        ``representations[j][indices[j]]`` is modality j of the negatives.

    Raises
    ------
    ValueError
        If there are fewer rows than modalities, so that there are no negatives.

    References
    ----------
    .. [1] Letizia, Novello, Tonello, "Mutual Information Estimation via f-Divergence and Data Derangements",
       NeurIPS 2024, for the bias of pairs that stay together.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mdm.critic import offset_indices
    >>> indices = offset_indices(5, 3, generator=torch.Generator().manual_seed(0))
    >>> indices.shape, bool((indices[0] == indices[1]).any())
    (torch.Size([3, 5]), False)
    """
    return stacked_indices(n_samples, n_modalities, n_sets, [generator])[0]


def stacked_indices(
    n_samples: int, n_modalities: int, n_sets: int, generators: Sequence[torch.Generator | None]
) -> torch.Tensor:
    """Return what :func:`offset_indices` does with each generator, (n_generators, n_modalities, n_sets * n_samples)."""
    if n_samples < n_modalities:
        raise ValueError(
            f"{n_samples} samples make no negatives of {n_modalities} modalities: at least as many samples are needed."
        )
    # Of each generator an order, then an order per set whose beginning has the offsets of the modalities.
    drawn = [[torch.randperm(n_samples, generator=g) for _ in range(1 + n_sets)] for g in generators]
    order = torch.stack([orders[0] for orders in drawn])
    offsets = torch.stack([torch.stack([o[:n_modalities] for o in orders[1:]], dim=1) for orders in drawn])
    positions = (torch.arange(n_samples) + offsets[..., None]) % n_samples  # (n_generators, m, n_sets, n_samples)
    return order.gather(1, positions.flatten(1)).view(len(order), n_modalities, -1)
