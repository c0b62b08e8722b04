"""The examples of README.md, and those of two pages of the guide, run as they are printed."""

import re
import textwrap
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"


def test_readme__python_blocks__run_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert blocks, "no Python block was read from README.md"
    namespace = {"__name__": "readme"}
    for number, block in enumerate(blocks, start=1):
        exec(compile(block, f"README.md, block {number}", "exec"), namespace)


@pytest.mark.parametrize("page", ["saving", "checkpoints"])
def test_guide__blocks__run_one_after_the_other(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (README.parent / "docs" / "user_guide" / f"{page}.rst").read_text(encoding="utf-8")
    blocks = re.findall(r"::\n\n((?: {4}.*\n|\n)+)", text)
    assert len(blocks) == 2
    namespace = {"__name__": "guide"}
    for number, block in enumerate(blocks, start=1):
        exec(compile(textwrap.dedent(block), f"{page}.rst, block {number}", "exec"), namespace)
