"""Docstrings follow numpydoc, and document the parameters that the signatures have."""

import functools
import importlib
import inspect
import pkgutil

import pytest
from numpydoc.docscrape import ClassDoc
from numpydoc.validate import validate

import sklearn_mdm

CODES = {
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
def public_objects():
    """Return public classes and functions by full name, each object under the first name found for it."""
    modules = [sklearn_mdm]
    for info in pkgutil.walk_packages(sklearn_mdm.__path__, "sklearn_mdm."):
        if not any(part.startswith("_") for part in info.name.split(".")):
            modules.append(importlib.import_module(info.name))
    found = {}
    for module in modules:
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


@pytest.mark.parametrize("full_name", public_callables())
def test_docstring__parameters__are_those_of_the_signature(full_name):
    result = validate(full_name)
    # One line may say all about a small method; a class or a function documents its parameters.
    brief = full_name not in public_objects() and "\nParameters\n" not in inspect.cleandoc(result["docstring"])
    codes = CODES - {"PR01"} if brief else CODES
    if result["docstring"]:  # inherited: what a method has to do is written once, where it is first declared
        codes = codes - {"GL08"}
    found = [f"{code}: {text}" for code, text in result["errors"] if code in codes]
    assert not found, f"{full_name}\n" + "\n".join(found)


# A warning or an error is raised by the package, not used by hand: an example would show only that it exists.
@pytest.mark.parametrize(
    "full_name",
    [name for name, obj in public_objects().items() if inspect.isclass(obj) and not issubclass(obj, BaseException)],
)
def test_docstring__class__has_an_example(full_name):
    assert ClassDoc(public_objects()[full_name])["Examples"], f"{full_name} has no Examples section"
