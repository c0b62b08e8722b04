"""Hashes tell rows apart whatever their units, and know them again in either floating type."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sklearn_mdm.utils._hashes import row_hashes


@pytest.mark.parametrize("exponent", [-1000, -140, 0, 140, 1000])
def test_row_hashes__differ_in_units_beyond_those_of_float32(exponent):
    rows = np.ldexp(np.random.default_rng(0).normal(size=(500, 3)), exponent)
    hashes = row_hashes([rows])
    assert len(np.unique(hashes)) == 500
    assert_array_equal(row_hashes([rows[::-1]])[::-1], hashes)


def test_row_hashes__are_those_of_either_floating_type():
    rows = np.array([[1.0, -2.5], [0.0, np.nan], [3e38, 1e-42], [-0.0, 7.0]], dtype=np.float32)
    assert_array_equal(row_hashes([rows]), row_hashes([rows.astype(np.float64)]))
    assert row_hashes([rows])[3] == row_hashes([np.abs(rows)])[3]
