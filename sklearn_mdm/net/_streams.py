"""Random streams: each source of randomness has its own, so that switching one off leaves the others as they are."""

from __future__ import annotations

import numpy as np
import torch

from ..utils._rng import RandomStream

STREAMS = ("batches", "critic_batches", "negatives", "modality_dropout")
# Those of samples without a target, which are seeded after all others.
UNLABELLED_STREAMS = ("unlabelled", "agreement")
# What is drawn for one purpose alone, dropout too: that in predictions is then the same with and without it.
OWN_DRAWS = ("critic", "taught", "corruption")


def new_generators() -> dict[str, torch.Generator]:
    """Return a generator for each stream, which :func:`reseed` seeds."""
    return {stream: torch.Generator() for stream in (*STREAMS, *UNLABELLED_STREAMS)}


def reseed(generators: dict[str, torch.Generator], draws: dict[str, RandomStream], seed: int, epoch: int) -> None:
    """Seed all streams from the number of the epoch, so that a resumed training repeats an uninterrupted one."""
    streams = (*STREAMS, "critic", *UNLABELLED_STREAMS, "taught", "corruption")
    seeds = np.random.SeedSequence([seed, epoch]).generate_state(len(streams))
    for stream, own in zip(streams, seeds.tolist(), strict=True):
        if stream in OWN_DRAWS:
            draws.setdefault(stream, RandomStream(own)).reseed(own)
        else:
            generators[stream].manual_seed(own)
