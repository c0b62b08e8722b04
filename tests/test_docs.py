"""The code of README.md and of every page of the documentation runs as it is printed, a page after the other.

The blocks of a page share one namespace. What they need beside what is printed (data that the reader has) is in
``.. testsetup::`` directives, which are not shown. A comment ``.. not run: why`` before a block leaves it out. In a
block of text after Python, headed ``:class: output``, is what it prints; numbers may differ a little.
"""

import ast
import contextlib
import io
import re
import textwrap
from pathlib import Path

import matplotlib
import pytest

from sklearn_mdm import DependencyEstimator, MDMFusionClassifier, MDMFusionRegressor

matplotlib.use("Agg")
# What the few updates of ``make_quick`` are warned of.
pytestmark = pytest.mark.filterwarnings("ignore:the critic was still improving")
ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
GENERATED = {"auto_examples", "generated", "_build"}
# The first is written by a test of its own, which raises every error in it; that of quality by a benchmark.
LEFT_OUT = {"user_guide/refused.rst"}
SLOW = {"how_to/large_data.rst", "tutorial.rst", "user_guide/few_labels.rst"}
# Longest line of a block, so that it fits into its column.
COLUMNS = 84

PAGES = sorted(
    path.relative_to(DOCS).as_posix()
    for path in DOCS.rglob("*.rst")
    if path.relative_to(DOCS).parts[0] not in GENERATED | {"_templates", "sg_execution_times.rst"}
)


def rst_blocks(text):
    """Yield (line, kind, code) of literal blocks: "setup", "python", "output", "other" or "not run"."""
    lines = text.split("\n")
    for number, line in enumerate(lines):
        directive = re.match(r"( *)\.\. (testsetup|code-block|literalinclude)::(.*)$", line)
        literal = re.match(r"( *)(?!\.\. [\w-]+::)(.*)::$", line)
        if not directive and not literal:
            continue
        indent = len((directive or literal)[1])
        end = number + 1
        while end < len(lines) and (not lines[end].strip() or len(lines[end]) - len(lines[end].lstrip()) > indent):
            end += 1
        body = textwrap.dedent("\n".join(lines[number + 1 : end])).strip("\n").split("\n")
        options = []
        while directive and body and re.match(r":[\w-]+:", body[0]):
            options.append(body.pop(0))
        code = "\n".join(body).strip("\n") + "\n"
        if directive:
            language = directive[3].strip()
            kind = "setup" if directive[2] == "testsetup" else "python" if language == "python" else "other"
            kind = "output" if ":class: output" in options else kind
        else:
            kind = "python"
        before = "\n".join(lines[:number]).rstrip().rsplit("\n\n", 1)[-1]
        if kind == "python" and re.match(r" *\.\. not run: \S", before):
            kind = "not run"
        yield number + 1, kind, code


def markdown_blocks(text):
    """The same of README.md, of which all Python is run."""
    for found in re.finditer(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield text.count("\n", 0, found.start()) + 1, found[1] or "other", found[2]


def compare(printed, expected):
    """Equal but for numbers, which may differ by 15 % (other processors, other releases of torch)."""
    number = re.compile(r"-?\d*\.?\d+")
    assert number.sub("#", " ".join(printed.split())) == number.sub("#", " ".join(expected.split()))
    assert [float(x) for x in number.findall(printed)] == pytest.approx(
        [float(x) for x in number.findall(expected)], rel=0.15, abs=0.05
    )


def run(blocks, name):
    """Run the blocks in one namespace, and compare what they print where that is said."""
    namespace = {"__name__": "guide"}
    printed = ""
    for line, kind, code in blocks:
        if kind in ("python", "setup"):
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile("\n" * line + code, name, "exec"), namespace)
            printed = out.getvalue()
        elif kind == "output":
            compare(printed, code)


def make_quick(monkeypatch):
    """Where nothing is printed, what is learned is of no matter: other defaults do."""
    for estimator in (MDMFusionClassifier, MDMFusionRegressor):
        monkeypatch.setitem(estimator.__init__.__kwdefaults__, "max_epochs", 2)
        monkeypatch.setitem(estimator.__init__.__kwdefaults__, "n_estimators", 2)
    for name, value in {"max_updates": 50, "n_components": 1, "hidden_dims": (8, 8)}.items():
        monkeypatch.setitem(DependencyEstimator.__init__.__kwdefaults__, name, value)


def test_readme__python_blocks__run_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_quick(monkeypatch)
    blocks = list(markdown_blocks((ROOT / "README.md").read_text(encoding="utf-8")))
    assert sum(kind == "python" for _, kind, _ in blocks) > 2
    run(blocks, "README.md")


def test_readme__first_snippet__is_that_of_the_landing_page_with_its_output():
    landing = list(rst_blocks((DOCS / "index.rst").read_text(encoding="utf-8")))
    readme = list(markdown_blocks((ROOT / "README.md").read_text(encoding="utf-8")))
    for here, there in [("python", "python"), ("output", "text")]:
        shown = next(code for _, kind, code in landing if kind == here)
        copy = next(code for _, kind, code in readme if kind == there)
        if here == "python":  # but for the breaks of lines
            shown, copy = ast.dump(ast.parse(shown)), ast.dump(ast.parse(copy))
        assert shown == copy


@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=pytest.mark.slow) if page in SLOW else page for page in PAGES]
)
def test_page__python_blocks__run_one_after_the_other(page, tmp_path, monkeypatch):
    blocks = list(rst_blocks((DOCS / page).read_text(encoding="utf-8")))
    kinds = {kind for _, kind, _ in blocks}
    if page in LEFT_OUT or "python" not in kinds:
        return
    monkeypatch.chdir(tmp_path)
    if "output" not in kinds:
        make_quick(monkeypatch)
    run(blocks, page)


def test_pages__lines_of_code__fit_into_the_column():
    wide = [
        f"{page}:{start}: {line}"
        for page in PAGES
        if page not in LEFT_OUT
        for start, kind, code in rst_blocks((DOCS / page).read_text(encoding="utf-8"))
        if kind != "setup"
        for line in code.split("\n")
        if len(line) > COLUMNS
    ]
    assert not wide, "\n".join(wide)
