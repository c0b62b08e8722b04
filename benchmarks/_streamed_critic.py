"""A critic that learns from a stream: every batch is read before it is learned from."""

from __future__ import annotations

import copy
import math

import numpy as np
import torch

from sklearn_mdm.critic import EncodedCritic, offset_indices
from sklearn_mdm.critic._base import gather
from sklearn_mdm.dependency._training import average_weights
from sklearn_mdm.measures import KL
from sklearn_mdm.utils._statistics import log_mean_exp

# Decay of the moving averages of the weights, which are what is evaluated, and of the normaliser: one batch has too few
# negatives for large dependencies.
OF_WEIGHTS, OF_NORMALIZER = 0.998, 0.98
EVALUATION_SETS = 32


class StreamedCritic:
    """Trains the default critic with KL on batches of standardised columns that are seen once."""

    def __init__(self, dims, *, hidden_dims=(128, 128, 128), n_negatives=32, lr=1e-3, seed=0):
        self.n_negatives, self.n_updates, self.log_normalizer = n_negatives, 0, 0.0
        torch.manual_seed(seed)
        self.measure = KL()
        self.network = self.measure.build_critic(dims, hidden_dims, kind="encoded", raw=True)
        assert isinstance(self.network, EncodedCritic)
        self.network.silence()
        self.network.noise = 0.0  # no sample comes twice: there is nothing to memorise
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=lr, fused=True)
        self.generator = torch.Generator().manual_seed(seed)

    def update(self, arrays):
        """Return the value of a batch, then learn from it."""
        z = [torch.as_tensor(array, dtype=torch.float32) for array in arrays]
        value = self._read(z)
        index = offset_indices(len(z[0]), len(z), self.n_negatives, self.generator)
        self.optimizer.zero_grad(set_to_none=True)
        (-self.measure.critic_objective(self.network, z, index)).backward()
        self.optimizer.step()
        self.n_updates += 1
        average_weights(self.average, self.network, self._decay(OF_WEIGHTS))
        return value

    def _decay(self, most):
        return min(most, self.n_updates / (self.n_updates + 10))

    def _read(self, z):
        index = offset_indices(len(z[0]), len(z), EVALUATION_SETS, self.generator)
        features = self.average.encode(z)
        t_joint = self.average.combine(features).double().numpy()
        normalizer = log_mean_exp(self.average.combine(gather(features, index)).double().numpy())
        if decay := self._decay(OF_NORMALIZER):
            kept = self.log_normalizer + math.log(decay), normalizer + math.log(1 - decay)
            normalizer = float(np.logaddexp(*kept))
        self.log_normalizer = normalizer
        return float(t_joint.mean() - normalizer)
