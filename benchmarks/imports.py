"""Seconds of processor time that `import sklearn_mdm` takes, beside those of what it is built on.

Processes of one kind and of the other take turns, since a busy machine slows down both; every file has its bytecode.

    python benchmarks/imports.py
"""

import argparse
import compileall
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

import sklearn_mdm

STATEMENTS = {
    "torch, skorch, scikit-learn": "import torch, skorch, sklearn.base, sklearn.model_selection, sklearn.utils",
    "sklearn_mdm": "import sklearn_mdm",
    "the regressor": "from sklearn_mdm import MDMFusionRegressor",
}
PER_PROCESS = {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}


def seconds(statement):
    """Return user and system time of a process that runs a statement."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", statement], check=True, env=os.environ | PER_PROCESS)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9, help="processes of each kind (default: %(default)s)")
    repeats = parser.parse_args().repeats
    compileall.compile_dir(Path(sklearn_mdm.__file__).parent, quiet=1)
    rounds = [[seconds(statement) for statement in STATEMENTS.values()] for _ in range(repeats + 1)][1:]
    medians = [statistics.median(column) for column in zip(*rounds, strict=True)]
    for name, median in zip(STATEMENTS, medians, strict=True):
        print(f"{name:28s} {median:5.2f} s  {median / medians[0]:.2f} x")


if __name__ == "__main__":
    main()
