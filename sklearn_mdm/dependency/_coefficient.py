r"""Total correlation on a scale from 0 to 1, on which two Gaussian variables have their correlation.

Two jointly Gaussian variables of correlation :math:`\rho` share :math:`I = -\log(1 - \rho^2) / 2` nats, which Linfoot
[1]_ solves for :math:`|\rho|`, whatever the distribution. Joe [2]_ does the same with the relative entropy between a
joint distribution of several variables and the product of its margins, which is the total correlation.

References
----------
.. [1] Linfoot, "An informational measure of correlation", Information and Control 1 (1), 1957.
.. [2] Joe, "Relative entropy measures of multivariate dependence", Journal of the American Statistical Association 84
   (405), 1989.
"""

from __future__ import annotations

import math


def coefficient(nats: float) -> float:
    """0 for independent modalities, towards 1 where they determine each other; of an estimate below zero it is 0."""
    return math.sqrt(abs(math.expm1(-2 * max(nats, 0.0))))


def coefficient_with_std(nats: float, std: float) -> tuple[float, float]:
    """Coefficient and its standard error: half of what lies between those of a standard error above and below.

    At zero the coefficient has no derivative, by which errors are passed on elsewhere.
    """
    return coefficient(nats), (coefficient(nats + std) - coefficient(nats - std)) / 2
