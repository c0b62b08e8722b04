"""The wheel, away from the checkout: README.md runs with it."""

import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
REPORT = "import sklearn_mdm, sys; print(sklearn_mdm.__file__); sklearn_mdm.show_versions()\n"


def run(*command, **options):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_wheel__in_an_empty_environment__runs_the_readme(tmp_path):
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    run(*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, ROOT)
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=False)
    places = {"base": str(tmp_path / "venv"), "platbase": str(tmp_path / "venv")}
    scheme = "venv" if "venv" in sysconfig.get_scheme_names() else sysconfig.get_default_scheme()
    site = sysconfig.get_path("purelib", scheme, places)
    # The dependencies of this environment, without its .pth files, of which one leads to the checkout.
    Path(site, "dependencies.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    run(*pip, "install", "--quiet", "--no-deps", "--target", site, wheel)
    blocks = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    script = tmp_path / "readme.py"
    script.write_text(REPORT + "\n".join(blocks), encoding="utf-8")
    python = Path(sysconfig.get_path("scripts", scheme, places)) / (
        "python.exe" if sys.platform == "win32" else "python"
    )
    told = run(python, "-I", script, cwd=tmp_path)
    assert told.startswith(site), told
