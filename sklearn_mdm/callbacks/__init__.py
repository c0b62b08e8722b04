"""Checkpoints that a fit resumes from, and what fine-tuning asks for, as skorch callbacks."""

from ._resumable import ResumableCheckpoint
from ._training import GradientAccumulation, WarmupLinearDecay

__all__ = ["GradientAccumulation", "ResumableCheckpoint", "WarmupLinearDecay"]
