"""Fitted estimators in files from which nothing is executed."""

from ._savable import load

__all__ = ["load"]
