"""A tenth of ``make soak``."""

import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parent.parent / "tools" / "soak.py"


@pytest.mark.slow
def test_soak__a_tenth_of_it__stays_flat_and_equal():
    sizes = {"--fits": 50, "--predictions": 500, "--partial-fits": 60, "--predictions-per-thread": 1000}
    arguments = [str(each) for pair in sizes.items() for each in pair]
    done = subprocess.run([sys.executable, str(SOAK), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "flat, and equal to the bit" in done.stdout
