"""Every public name is on the API page, and its docstring follows numpydoc. Each test lists all offenders at once."""

import functools
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

from numpydoc.docscrape import ClassDoc
from numpydoc.validate import validate

import sklearn_mdm

API_PAGE = Path(__file__).parent.parent / "docs" / "api.rst"
NUMPYDOC_CHECKS = {
    "GL07",  # sections in another order
    "GL08",  # no docstring
    "PR01",  # parameters not documented
    "PR02",  # parameters documented that the signature lacks
    "PR03",  # parameters in another order
    "PR04",  # parameter without a type
    "PR07",  # parameter without a description
    "PR10",  # no space before the colon
}


@functools.cache
def public_modules():
    """Return the package and its modules, private ones left out."""
    names = [module.name for module in pkgutil.walk_packages(sklearn_mdm.__path__, "sklearn_mdm.")]
    public = [name for name in names if not any(part.startswith("_") for part in name.split("."))]
    return [sklearn_mdm, *map(importlib.import_module, public)]


@functools.cache
def public_objects():
    """Return public classes and functions by full name, each object under the first name found for it."""
    found = {}
    for module in public_modules():
        for name in module.__all__:
            obj = getattr(module, name)
            if (inspect.isclass(obj) or inspect.isfunction(obj)) and obj not in found.values():
                found[f"{module.__name__}.{name}"] = obj
    return found


def public_callables():
    """Return the full names of public objects and of the methods that this package gives their classes."""
    names = []
    for full_name, obj in public_objects().items():
        names.append(full_name)
        for name, member in inspect.getmembers(obj) if inspect.isclass(obj) else ():
            function = member.fget if isinstance(member, property) else member
            own = (getattr(function, "__module__", None) or "").startswith("sklearn_mdm")
            if own and not name.startswith("_") and (inspect.isroutine(function) or isinstance(member, property)):
                names.append(f"{full_name}.{name}")
    return names


def listed_objects():
    """Return what the autosummary directives of the API page list: (module, name, object or None)."""
    entries, module, in_summary = [], "", False
    for line in API_PAGE.read_text(encoding="utf-8").splitlines():
        if match := re.fullmatch(r"\.\. (?:current)?module:: (\S+)", line):
            module = match[1]
        if line and not line.startswith(" "):
            in_summary = line.startswith(".. autosummary::")
        elif in_summary and (match := re.fullmatch(r" +(\w+)", line)):
            entries.append((module, match[1], getattr(importlib.import_module(module), match[1], None)))
    return entries


def test_public_modules__names__are_on_the_api_page():
    # By identity: a class is listed under one of the modules that offer it.
    listed = [obj for *_, obj in listed_objects()]
    absent = [
        f"{module.__name__}.{name}"
        for module in public_modules()
        for name in module.__all__
        if not any(getattr(module, name) is obj for obj in listed)
    ]
    assert not absent


def test_api_page__entries__are_public_and_listed_once():
    entries = listed_objects()
    assert entries, "no autosummary entry was read from docs/api.rst"
    wrong = []
    for module, name, obj in entries:
        if obj is None:
            wrong.append(f"{module}.{name} does not exist")
        elif name not in importlib.import_module(module).__all__:
            wrong.append(f"{module}.{name} is not in __all__")
        elif sum(obj is other for *_, other in entries) > 1:
            wrong.append(f"{module}.{name} is listed twice")
    assert not wrong


def test_docstrings__parameters__are_those_of_the_signatures():
    wrong = []
    for full_name in public_callables():
        result = validate(full_name)
        # One line may say all about a small method; a class or a function documents its parameters.
        brief = full_name not in public_objects() and "\nParameters\n" not in inspect.cleandoc(result["docstring"])
        checks = NUMPYDOC_CHECKS - {"PR01"} if brief else NUMPYDOC_CHECKS
        if result["docstring"]:  # inherited: what a method has to do is written once, where it is first declared
            checks = checks - {"GL08"}
        wrong += [f"{full_name}: {check}: {text}" for check, text in result["errors"] if check in checks]
    assert not wrong, "\n".join(wrong)


def test_docstrings__shared_parts__are_filled_in():
    assert not [name for name, obj in public_objects().items() if "<shared" in (obj.__doc__ or "")]


def test_docstrings__classes__have_an_example():
    # A warning or an error is raised by the package, not used by hand: an example would show only that it exists.
    without = [
        name
        for name, obj in public_objects().items()
        if inspect.isclass(obj) and not issubclass(obj, BaseException) and not ClassDoc(obj)["Examples"]
    ]
    assert not without
