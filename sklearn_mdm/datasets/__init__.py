"""Synthetic multimodal samples whose total correlation is known."""

from ._discrete import make_partial_information, make_shared_latent
from ._gaussian import make_correlated_gaussians, make_paired_gaussians, make_spirals, make_warped_gaussians
from ._mixtures import make_gaussian_mixture, make_multivariate_t

__all__ = [
    "make_correlated_gaussians",
    "make_gaussian_mixture",
    "make_multivariate_t",
    "make_paired_gaussians",
    "make_partial_information",
    "make_shared_latent",
    "make_spirals",
    "make_warped_gaussians",
]
