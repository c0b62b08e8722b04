"""
A fusion system of one's own
============================

The dependency term works on any network that says what its representation of each modality is. Here is one in fifteen
lines: gates that let the modalities scale each other. It is used through an estimator, and through the net alone.
"""

# %%
# The module
# ----------
# A :class:`~sklearn_mdm.fusion.FusionModule` is given the :class:`~sklearn_mdm.encoders.ModalityEncoders`, which make
# the representations and replace those of missing modalities. ``forward`` returns a
# :class:`~sklearn_mdm.fusion.FusionOutput`. Each representation has to be a function of its own modality: the term
# would otherwise measure how the network is wired. So gates act on what comes after the representations, which are
# returned as they are. The :class:`~sklearn_mdm.fusion.Fusion` holds parameters, here none, and builds the module once
# the shapes of the modalities are known.

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

from sklearn_mdm import MDMFusionRegressor, MDMNet
from sklearn_mdm.encoders import ModalityEncoders
from sklearn_mdm.fusion import Fusion, FusionModule, FusionOutput


class GatedModule(FusionModule):
    """Scales each representation by a gate that reads all of them."""

    def __init__(self, encoders, n_outputs):
        super().__init__(encoders)
        width = sum(self.code_dims.values())
        self.gate, self.head = nn.Linear(width, width), nn.Linear(width, n_outputs)

    def forward(self, X, mask=None):
        """Return prediction, fused representation and representations."""
        z = self.represent(X, mask)
        joint = torch.cat(list(self.encoders.fill(z, mask).values()), dim=1)
        fused = joint * torch.sigmoid(self.gate(joint))
        return FusionOutput(self.head(fused), fused, z)


class GatedFusion(Fusion):
    """Builds the module."""

    def build(self, shapes, n_outputs, *, encoder="auto", missing="mean"):
        """Return the module."""
        return GatedModule(ModalityEncoders(shapes, encoder, missing), n_outputs)


# %%
# Through an estimator
# --------------------
# The target is a product across two modalities that see a common factor. Late fusion adds up what each modality says by
# itself, which goes a part of the way; gates go the rest. One network of each shows it.


def draw(n, seed):
    """Two views of one factor, and a target that is a product across them."""
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(n, 1))
    X = {"sound": factor + rng.normal(size=(n, 3)), "image": factor + rng.normal(size=(n, 4))}
    return X, X["sound"][:, 0] * X["image"][:, 0] + 0.1 * rng.normal(size=n)


X, y = draw(1000, seed=0)
X_test, y_test = draw(1000, seed=1)
for fusion in ("late", GatedFusion()):
    model = MDMFusionRegressor(n_estimators=1, fusion=fusion, lam=0.1, max_epochs=60, lr=3e-3, random_state=0).fit(X, y)
    value, std = model.dependency_score(X_test, return_std=True)
    print(f"{fusion!s:<15} R2 {model.score(X_test, y_test):5.2f}   dependency {value:.2f} +- {std:.2f} nats")

# %%
# All that the estimators offer is there: grids over ``lam``, missing modalities, and both tasks.

without_image = model.predict({"sound": X_test["sound"]})
print("without the image:", without_image[:3].round(2))

# %%
# Through the net
# ---------------
# :class:`~sklearn_mdm.MDMNet` takes the module itself. It is a skorch net, with skorch's callbacks and history.

module = GatedFusion().build({"sound": (3,), "image": (4,)}, n_outputs=1)
net = MDMNet(module, lam=0.1, max_epochs=30, batch_size=64, lr=3e-3, verbose=0).fit(X, y[:, None])

figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
axes[0].plot(net.history[:, "train_task_loss"], color="black")
axes[0].set(xlabel="epoch", ylabel="task loss (squared error)")
axes[1].plot(net.history[:, "train_dependency"], color="black", linestyle="--")
axes[1].set(xlabel="epoch", ylabel="dependency term: KL (nats)")
figure.suptitle("Training of a net with a module of one's own")
plt.show()
