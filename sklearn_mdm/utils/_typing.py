"""Types that signatures of every layer name."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

#: What :func:`sklearn.utils.check_random_state` takes.
RandomState: TypeAlias = int | np.random.RandomState | None
