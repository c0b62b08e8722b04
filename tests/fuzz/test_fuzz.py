"""Cases that nobody thought of: each ends in a clear error, or in finite numbers that nothing immaterial changes.

``make fuzz CASES=5000 SEED=0`` runs more. A failure prints the smallest case found; to run it again, put it into FOUND.
"""

import contextlib
import faulthandler
import os
import signal
import sys

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from ._cases import Case, cases
from ._oracle import check

pytestmark = pytest.mark.usefixtures("quick_reports")

# So many cases make one test, which is the share that a process takes at a time.
CHUNK = 20
FEW = 20
CASES, SEED = int(os.environ.get("FUZZ_CASES", FEW)), int(os.environ.get("FUZZ_SEED", 0))
# Of processor time a case may take; of the clock, for what waits for ever.
MAX_SECONDS, MAX_WAIT = 20, 300

PROFILE = settings(
    max_examples=CHUNK,
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=False,
    phases=[Phase.generate, Phase.shrink],
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)

FOUND = [
    Case(),
    Case(seed=5, n=24, widths=(2, 3), weight="apart", scaling="standard", again="units"),
    Case(scale="1e200", fusion="ef_lstm", scaling=None, encoder="auto"),
    Case(seed=2, scale="constant", weight="zeros among", again="units"),
    Case(scale="offset", weight="ones", again="units"),
    Case(seed=19, n=8, gaps="cells", scale="constant row", weight="tiny"),
    Case(n=21, scale="denormal", fusion="multi_attention", encoder="auto", lam=1.0, scaling=None, missing="critic"),
    Case(estimator="dependency", scale="duplicates", n=30, again="units", members=2),
    Case(steps=5, scale="1e200", members=2, others="auto", scaling=None, encoder="auto"),
]


@contextlib.contextmanager
def in_time(case):
    """End a case that takes too long by an error; one that hangs outside of Python, with its process."""

    def stop(*args):
        raise AssertionError(f"still running after {MAX_SECONDS} s of processor time")

    print(f"{case!r}", file=sys.__stderr__) if os.environ.get("FUZZ_VERBOSE") else None
    faulthandler.dump_traceback_later(MAX_WAIT, exit=True, file=sys.__stderr__)
    earlier = signal.signal(signal.SIGPROF, stop) if hasattr(signal, "SIGPROF") else None
    if earlier is not None:
        signal.setitimer(signal.ITIMER_PROF, MAX_SECONDS)
    try:
        yield
    finally:
        if earlier is not None:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, earlier)
        faulthandler.cancel_dump_traceback_later()


@pytest.mark.parametrize("chunk", range(-(-CASES // CHUNK)))
def test_any_case(chunk, global_state):
    @seed(SEED * 100_000 + chunk)
    @settings(PROFILE)
    @given(case=cases())
    def ends_well(case):
        with in_time(case):
            check(case, global_state)

    ends_well()


@pytest.mark.parametrize("case", FOUND, ids=repr)
def test_a_case_that_failed(case, global_state):
    with in_time(case):
        check(case, global_state)
