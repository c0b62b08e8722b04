"""What the benchmarks share: where they ran, and how results are written."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import version
from pathlib import Path

# A single network on standardised inputs, in place of the committee that the estimators are by default.
ONE_NETWORK = {"n_estimators": 1, "linear_member": False, "kernel_member": False, "scaling": "standard"}


@cache
def commit():
    """Return the checked-out git commit, with "-dirty" where files differ from it.

    Outside a repository what the environment variable BENCHMARK_COMMIT says, or None.
    """

    def git(*arguments):
        root = Path(__file__).parent
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("BENCHMARK_COMMIT")


def processor():
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def now():
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def environment():
    """Return what figures depend on, apart from the code that was measured."""
    packages = ("torch", "skorch", "scikit-learn", "numpy")
    return {
        "time": now(),
        "commit": commit(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "system": platform.system(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
    }


def write_json(path, content):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(f"written to {path}")


def append_line(path, record):
    """Append a record to a file of JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")


def table(header, rows):
    """Print rows under a header, numbers to the right."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    is_text = [all(not row[i][:1].isdigit() and row[i][:1] != "-" for row in rows) for i in range(len(header))]
    for row in [header, ["-" * width for width in widths], *rows]:
        cells = [cell.ljust(w) if text else cell.rjust(w) for cell, w, text in zip(row, widths, is_text, strict=True)]
        print("  ".join(cells).rstrip())
