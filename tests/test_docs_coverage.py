"""The API page lists every public name once, and nothing else."""

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import sklearn_mdm

API_PAGE = Path(__file__).parent.parent / "docs" / "api.rst"


def public_modules():
    """Return the package and its modules, private ones left out."""
    names = [module.name for module in pkgutil.walk_packages(sklearn_mdm.__path__, "sklearn_mdm.")]
    public = [name for name in names if not any(part.startswith("_") for part in name.split("."))]
    return ["sklearn_mdm", *public]


def listed_names():
    """Return the full names under the autosummary directives of the API page."""
    names, module, in_summary = [], "", False
    for line in API_PAGE.read_text(encoding="utf-8").splitlines():
        if match := re.fullmatch(r"\.\. (?:current)?module:: (\S+)", line):
            module = match[1]
        if line and not line.startswith(" "):
            in_summary = line.startswith(".. autosummary::")
        elif in_summary and (match := re.fullmatch(r" +(\w+)", line)):
            names.append(f"{module}.{match[1]}")
    return names


def resolve(full_name):
    """Return the object behind ``package.module.name``, or None."""
    module, _, name = full_name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError:
        return None


@pytest.mark.parametrize("module_name", public_modules())
def test_public_module__names__are_on_the_api_page(module_name):
    module = importlib.import_module(module_name)
    assert hasattr(module, "__all__"), f"{module_name} does not say what is public: it has no __all__"
    # By identity: a class is listed under one of the modules that offer it.
    listed = [resolve(name) for name in listed_names()]
    absent = [name for name in module.__all__ if not any(getattr(module, name) is obj for obj in listed)]
    assert not absent, f"docs/api.rst lacks {absent} of {module_name}"


@pytest.mark.parametrize("full_name", listed_names())
def test_api_page__entry__is_public(full_name):
    module_name, _, name = full_name.rpartition(".")
    module = importlib.import_module(module_name)
    assert hasattr(module, name), f"docs/api.rst lists {full_name}, which does not exist"
    assert name in module.__all__, f"docs/api.rst lists {full_name}, which is not in __all__"


def test_api_page__no_object__is_listed_twice():
    names = listed_names()
    assert names, "no autosummary entry was read from docs/api.rst"
    objects = [resolve(name) for name in names]
    twice = [name for name, obj in zip(names, objects, strict=True) if obj is not None and objects.count(obj) > 1]
    assert not twice
