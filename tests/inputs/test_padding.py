"""Sequences brought to one length."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

from sklearn_mdm.inputs._padding import pad_sequences

nan = np.nan


def test_pad_sequences__list__ends_in_nan_and_none_is_missing():
    found = pad_sequences([[[1.0, 2.0]], None, [[3.0, 4.0], [5.0, 6.0]]])
    expected = [[[1, 2], [nan, nan]], [[nan, nan], [nan, nan]], [[3, 4], [5, 6]]]
    assert_array_equal(found, expected)


@pytest.mark.parametrize("n_steps", [3, 5])
def test_pad_sequences__n_steps__is_the_length_of_the_result(n_steps):
    for sequences in ([np.ones((3, 2)), np.ones((1, 2))], np.ones((2, 3, 2))):
        found = pad_sequences(sequences, n_steps=n_steps)
        assert found.shape == (2, n_steps, 2)
        assert np.isnan(found[:, 3:]).all() and (found[0, :3] == 1).all()


def test_pad_sequences__steps_of_nan_at_the_end__may_be_cut():
    sequences = np.full((2, 5, 1), nan)
    sequences[0, 1] = 1.0
    assert_array_equal(pad_sequences(sequences, n_steps=2)[:, :, 0], [[nan, 1], [nan, nan]])


@pytest.mark.parametrize(("dtype", "expected"), [("f4", "f4"), ("f8", "f8"), (int, "f8")])
def test_pad_sequences__dtype__is_floating(dtype, expected):
    for sequences in (np.ones((2, 3, 1), dtype), [np.ones((3, 1), dtype), np.ones((2, 1), dtype)]):
        assert pad_sequences(sequences, n_steps=4).dtype == expected


def test_pad_sequences__result__is_a_copy():
    sequences = np.ones((2, 3, 1))
    for n_steps in (None, 3):
        pad_sequences(sequences, n_steps=n_steps)[:] = 0
    assert (sequences == 1).all()


@pytest.mark.parametrize(
    ("sequences", "n_steps", "match"),
    [
        (
            [np.ones((2, 1)), np.ones((4, 1)), np.ones((3, 1))],
            2,
            r"n_steps=2, but 2 of 3 .* longer \(first: sample 1\)",
        ),
        (np.ones((2, 3)), None, r"sequences have shape \(2, 3\); expected a list of \(n_steps_i, n_features\)"),
        ([np.ones(3), np.ones(2)], None, "differ in their number of features"),
        ([np.ones((2, 1)), np.ones((2, 2))], None, r"differ in their number of features \(\[1, 2\]\)"),
        ([None, None], None, "no sample is observed"),
        ([], None, "no sample is observed"),
        (["good", "bad"], None, "sample 0"),
        (np.full((2, 3, 1), np.inf), None, "infinity"),
        (np.ones((2, 3, 1)), 0, "n_steps must be a positive integer or None, got 0"),
        (np.ones((2, 3, 1)), 4.0, "n_steps must be a positive integer or None, got 4.0"),
    ],
)
def test_pad_sequences__bad_input__error(sequences, n_steps, match):
    with pytest.raises(ValueError, match=match):
        pad_sequences(sequences, n_steps=n_steps)


def test_pad_sequences__sparse__error():
    with pytest.raises(TypeError, match=r"sequences are sparse .*; expected dense arrays"):
        pad_sequences(sparse.csr_matrix(np.eye(3)))
