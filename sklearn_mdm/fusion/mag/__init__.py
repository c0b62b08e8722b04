"""MAG: a gate that displaces the embeddings of words by what is heard and seen."""

from ._gate import AdaptationGate
from ._mag import MAGFusion

__all__ = ["AdaptationGate", "MAGFusion"]
