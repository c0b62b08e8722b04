"""Measures of multivariate dependency, as objectives of the statistical network T (the critic).

P is the joint distribution of the modalities and Q the product of their marginals; T reads one representation per
modality.
"""

from ._base import Measure
from ._contrastive import InfoNCE, WassersteinPredictiveCoding
from ._divergences import KL, SMILE, FDivergence, JensenShannon
from ._knife import KNIFE, MixtureCritic
from ._pairwise import PairwiseInfoNCE
from ._tcmax import TCMax
from ._wasserstein import Wasserstein

__all__ = [
    "KL",
    "KNIFE",
    "SMILE",
    "FDivergence",
    "InfoNCE",
    "JensenShannon",
    "Measure",
    "MixtureCritic",
    "PairwiseInfoNCE",
    "TCMax",
    "Wasserstein",
    "WassersteinPredictiveCoding",
]

MEASURES: dict[str, type[Measure]] = {
    "kl": KL,
    "f": FDivergence,
    "nwj": FDivergence,
    "jsd": JensenShannon,
    "smile": SMILE,
    "infonce": InfoNCE,
    "cpc": InfoNCE,
    "pairwise_infonce": PairwiseInfoNCE,
    "wasserstein": Wasserstein,
    "wpc": WassersteinPredictiveCoding,
    "knife": KNIFE,
    "tcmax": TCMax,
}
