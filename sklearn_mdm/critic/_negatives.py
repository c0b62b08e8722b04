"""Negatives: samples of the product of the marginals, made of the modalities of different rows of a batch."""

from __future__ import annotations

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
    if n_samples < n_modalities:
        raise ValueError(
            f"{n_samples} samples make no negatives of {n_modalities} modalities: at least as many samples are needed."
        )
    order = torch.randperm(n_samples, generator=generator)
    offsets = torch.stack([torch.randperm(n_samples, generator=generator)[:n_modalities] for _ in range(n_sets)], dim=1)
    positions = (torch.arange(n_samples) + offsets[..., None]) % n_samples  # (m, n_sets, n_samples)
    return order[positions].reshape(n_modalities, -1)
