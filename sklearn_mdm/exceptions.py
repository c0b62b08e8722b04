"""Every warning and error of the package."""

from __future__ import annotations

__all__ = [
    "BatchLimitWarning",
    "CheckpointWarning",
    "DependencyWarning",
    "OtherVersionWarning",
    "OverfittingWarning",
    "RepeatedSamplesWarning",
    "SampleLimitWarning",
    "SavedFileError",
    "SeenSamplesWarning",
    "SingleModalityWarning",
    "StillRisingWarning",
    "TooFewSamplesError",
    "UnusedSamplesWarning",
]


class SingleModalityWarning(UserWarning):
    """The dependency term is off because X holds a single modality."""


class UnusedSamplesWarning(UserWarning):
    """Samples without a label train no network: there is neither a dependency term nor agreement to learn from them."""


class CheckpointWarning(UserWarning):
    """A checkpoint could not be written; training goes on."""


class DependencyWarning(UserWarning):
    """An estimate of dependency that should not be taken at face value."""


class SampleLimitWarning(DependencyWarning):
    """Dependency is at least the value: it is near the logarithm of the number of samples, the end of any lower bound.

    References
    ----------
    .. [1] McAllester, Stratos, "Formal limitations on the measurement of mutual information", AISTATS 2020.
    """


class BatchLimitWarning(DependencyWarning):
    """The value is near the largest one that the measure can take with such batches."""


class StillRisingWarning(DependencyWarning):
    """The critic was still improving when its updates were used up."""


class OverfittingWarning(DependencyWarning):
    """The critic says far more about the samples it was trained on than about held-out ones."""


class RepeatedSamplesWarning(DependencyWarning):
    """Samples are there more than once, so that there are fewer independent ones than it seems."""


class SeenSamplesWarning(DependencyWarning):
    """Samples that a critic was trained on were passed where new ones are needed."""


class TooFewSamplesError(ValueError):
    """There are too few samples or groups to train and calibrate a critic."""


class SavedFileError(ValueError):
    """A file of ``save`` is damaged, or no such file, or names something that it must not."""


class OtherVersionWarning(UserWarning):
    """An estimator was saved or pickled by another minor version of the package."""
