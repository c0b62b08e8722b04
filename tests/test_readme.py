"""The examples of README.md run as they are printed."""

import re
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def test_readme__python_blocks__run_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert blocks, "no Python block was read from README.md"
    namespace = {"__name__": "readme"}
    for number, block in enumerate(blocks, start=1):
        exec(compile(block, f"README.md, block {number}", "exec"), namespace)
