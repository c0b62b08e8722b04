"""Synthetic modalities of known total correlation, and a reader of multimodal sentiment data."""

from ._discrete import make_partial_information, make_shared_latent
from ._gaussian import make_correlated_gaussians, make_paired_gaussians, make_spirals, make_warped_gaussians
from ._mixtures import make_gaussian_mixture, make_multivariate_t
from ._mmsa import load_mmsa

__all__ = [
    "load_mmsa",
    "make_correlated_gaussians",
    "make_gaussian_mixture",
    "make_multivariate_t",
    "make_paired_gaussians",
    "make_partial_information",
    "make_shared_latent",
    "make_spirals",
    "make_warped_gaussians",
]
