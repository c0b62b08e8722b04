"""All that a cell of the benchmark of quality imports, also what torch imports with its first optimizer."""

import _quality_cells  # noqa: F401
import torch

torch.optim.Adam([torch.zeros(1, requires_grad=True)])
