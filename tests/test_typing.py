"""A typed file of a user passes the strict checks of pyright; those of mypy are in ``make lint``."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# npm's; the package of PyPI downloads node when it first runs.
PYRIGHT = os.environ.get("PYRIGHT", "pyright")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which(PYRIGHT) is None, reason="pyright is not installed, nor named by PYRIGHT")
def test_pyright__strict(tmp_path):
    shutil.copy(ROOT / "tests" / "typing_examples.py", tmp_path / "users_file.py")
    settings = {"include": ["users_file.py"], "typeCheckingMode": "strict", "extraPaths": [str(ROOT)]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    command = [PYRIGHT, "--project", str(tmp_path), "--pythonpath", sys.executable]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
