"""What a report of a fault needs to say of the machine."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from threadpoolctl import threadpool_info

from .._version import __version__

# Those that are always there, then those that some calls need.
DEPENDENCIES = ["torch", "skorch", "scikit-learn", "numpy", "scipy", "pandas", "joblib", "threadpoolctl", "safetensors"]
DEPENDENCIES += ["tqdm", "pip", "matplotlib", "transformers", "polars", "pyarrow", "h5py", "xarray"]


def show_versions() -> None:
    """Print the versions, devices and thread pools that a report of a fault should have.

    As :func:`sklearn.show_versions`, with the devices that torch finds. Packages are not imported for it.

    Examples
    --------
    >>> import sklearn_mdm
    >>> sklearn_mdm.show_versions()
    <BLANKLINE>
    System:
    ...
    Python dependencies:
      sklearn-mdm: ...
    """
    print(versions_text())


def versions_text() -> str:
    """Return what :func:`show_versions` prints."""
    system = {
        "python": sys.version.replace("\n", " "),
        "executable": sys.executable,
        "machine": platform.platform(),
    }
    versions = {"sklearn-mdm": __version__, **{name: _version_of(name) for name in DEPENDENCIES}}
    parts = [_section("System", system), _section("Python dependencies", versions), _section("Devices", _devices())]
    pools = ["\n".join(f"{key:>15}: {value}" for key, value in pool.items()) for pool in threadpool_info()]
    return "\n".join([*parts, "\nthreadpoolctl info:", "\n\n".join(pools)])


def _section(title: str, entries: Mapping[str, Any]) -> str:
    width = max(map(len, entries)) + 2
    return "\n".join([f"\n{title}:", *(f"{name:>{width}}: {value}" for name, value in entries.items())])


def _version_of(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _devices() -> dict[str, Any]:
    """What torch computes on."""
    found: dict[str, Any] = {
        "torch threads": torch.get_num_threads(),
        "CUDA of torch": torch.version.cuda,
        "MPS": torch.backends.mps.is_available(),
    }
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        found[f"cuda:{index}"] = f"{card.name}, {card.total_memory / 2**30:.0f} GiB, {card.major}.{card.minor}"
    return found
