"""The wheel as it is published, away from the checkout: it has the addresses of a repository, and README.md runs."""

import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from email import message_from_bytes
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
    checkout = tmp_path / "checkout"
    left_out = shutil.ignore_patterns(".*", "__pycache__", "_build", "auto_examples", "generated", "build", "results")
    shutil.copytree(ROOT, checkout, ignore=left_out)
    run(sys.executable, checkout / "tools" / "published_links.py", "https://forge.test/a/b", "v1", cwd=checkout)
    run(*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, checkout)
    (wheel,) = tmp_path.glob("*.whl")
    metadata = message_from_bytes(
        zipfile.ZipFile(wheel).read(f"{'-'.join(wheel.name.split('-')[:2])}.dist-info/METADATA")
    )
    urls = dict(url.split(", ") for url in metadata.get_all("Project-URL"))
    assert urls["Source"] == "https://forge.test/a/b" and {"Changelog", "Documentation", "Issues"} < set(urls)
    assert not re.findall(r"\]\((?!https://)", metadata.get_payload())
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
