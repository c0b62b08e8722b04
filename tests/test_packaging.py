"""What is promised and what is tested agree."""

from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

FLOORS = Path(__file__).parent.parent / "constraints-floors.txt"


def test_floors__constraints__are_those_of_pyproject():
    """``make test-floors`` installs the oldest versions that pyproject.toml allows for running and testing."""
    promised = {}
    for requirement in map(Requirement, requires("sklearn-mdm")):
        marker = str(requirement.marker)
        floors = [Version(specifier.version) for specifier in requirement.specifier if specifier.operator == ">="]
        if floors and "docs" not in marker and "lint" not in marker:
            promised[requirement.name] = floors[0]
    lines = FLOORS.read_text(encoding="utf-8").splitlines()
    pinned = [line.split("==") for line in lines if "==" in line]
    assert {name: Version(version) for name, version in pinned} == promised
