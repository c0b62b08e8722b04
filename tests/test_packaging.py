"""What is promised and what is tested agree."""

import re
import textwrap
from importlib.metadata import requires
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import sklearn_mdm

yaml = pytest.importorskip("yaml")
jinja2 = pytest.importorskip("jinja2")

ROOT = Path(__file__).parent.parent
FLOORS = ROOT / "constraints-floors.txt"
# What conda-forge calls by another name.
OF_CONDA = {"torch": "pytorch"}


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


def dependencies():
    """Return the requirements that every installation has: floors by name."""
    found = map(Requirement, requires("sklearn-mdm"))
    return {each.name: each.specifier for each in found if "extra" not in str(each.marker)}


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


def test_conda_recipe__is_in_step():
    recipe = yaml.safe_load(jinja2.Template(read("conda/meta.yaml")).render(PYTHON="python"))
    assert recipe["package"] == {"name": "sklearn-mdm", "version": sklearn_mdm.__version__}
    run = [line.split(maxsplit=1) for line in recipe["requirements"]["run"]]
    needs = re.search('requires-python = "(.+)"', read("pyproject.toml"))[1]
    expected = {OF_CONDA.get(name, name): specifier for name, specifier in dependencies().items()}
    assert {name: SpecifierSet(floor) for name, floor in run} == {"python": SpecifierSet(needs), **expected}
    builds = re.search(r'requires = \["hatchling(.+?)"', read("pyproject.toml"))[1]
    assert f"hatchling {builds}" in recipe["requirements"]["host"]
    assert recipe["about"]["license"] == "BSD-3-Clause" and (ROOT / recipe["about"]["license_file"]).is_file()


def test_pre_commit__has_the_ruff_that_lint_has():
    hooks = {repo["repo"].split("/")[-1]: repo for repo in yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]}
    assert {hook["id"] for hook in hooks["ruff-pre-commit"]["hooks"]} == {"ruff-check", "ruff-format"}
    lint = re.search(r'"ruff(>=.+?)"', read("pyproject.toml"))[1]
    assert Version(hooks["ruff-pre-commit"]["rev"]) in SpecifierSet(lint)


def test_release__publishes_what_was_built_without_a_token():
    text = read(".github/workflows/release.yml")
    jobs = yaml.safe_load(text)["jobs"]
    assert {name: job.get("needs") for name, job in jobs.items()} == {
        "build": None,
        "site": None,
        "try": "build",
        "publish": "try",
    }
    runs = " ".join(step.get("run", "") for step in jobs["build"]["steps"])
    assert "python -m build" in runs and "twine check --strict" in runs and "_version.py" in runs
    links = 'tools/published_links.py "$GITHUB_SERVER_URL/$GITHUB_REPOSITORY" "$GITHUB_REF_NAME"'
    assert runs.index(links) < runs.index("python -m build")
    runs = " ".join(step.get("run", "") for step in jobs["site"]["steps"])
    assert runs.index(links) < runs.index("make docs")
    publish = jobs["publish"]
    assert publish["environment"] == "pypi" and publish["permissions"] == {"id-token": "write"}
    assert publish["steps"][-1] == {"uses": "pypa/gh-action-pypi-publish@release/v1"}  # and no password
    assert "secrets." not in text


@pytest.mark.parametrize("path", sorted(path.name for path in (ROOT / ".github" / "workflows").glob("*.yml")))
def test_workflows__ask_for_no_more_than_reading(path):
    workflow = yaml.safe_load(read(f".github/workflows/{path}"))
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            made = re.match(r"make (\S+)", step.get("run", ""))
            assert made is None or re.search(rf"^{made[1]}:", read("Makefile"), re.MULTILINE)


def test_sdist__has_what_the_tests_read():
    included = re.search(r"targets.sdist\]\ninclude = \[(.*?)\]", read("pyproject.toml"), re.DOTALL)[1]
    paths = re.findall(r'"/(.+?)"', included)
    assert not [path for path in paths if not list(ROOT.glob(path))]
    for needed in ("tests", "docs", "conda", ".github", "CONTRIBUTING.md", "SECURITY.md", "Makefile", "CHANGELOG.md"):
        assert needed in paths


def test_contributing__names_files_that_exist_and_code_that_runs():
    text = read("CONTRIBUTING.md")
    named = set(re.findall(r"`((?:\.github|conda|docs|sklearn_mdm|tests)/[\w./-]+)`", text)) - {
        "sklearn_mdm/measures/_mine.py",
        "sklearn_mdm/fusion/_mine.py",
    }
    assert len(named) > 8 and not [path for path in named if not (ROOT / path).exists()]
    for target in re.findall(r"make ([a-z-]+)", text):
        assert re.search(rf"^{target}:", read("Makefile"), re.MULTILINE), target
    blocks = re.findall(r"^ +```python\n(.*?)^ +```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    namespace = {"__name__": "contributing"}
    for block in blocks:
        exec(textwrap.dedent(block), namespace)
    rng = np.random.default_rng(0)
    X = {"audio": rng.normal(size=(60, 3)), "text": rng.normal(size=(60, 2))}
    own = {"measure": namespace["MeanGap"](), "fusion": namespace["SumFusion"](), "lam": 0.1}
    model = sklearn_mdm.MDMFusionRegressor(**own, n_estimators=2, max_epochs=2, random_state=0)
    assert np.isfinite(model.fit(X, X["audio"][:, 0]).predict(X)).all()
