"""Samples that are there twice count once, and data that repeat by nature are left alone."""

import warnings

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold, KFold

from sklearn_mdm import DependencyEstimator
from sklearn_mdm.dependency._copies import find_copies, keep_together
from sklearn_mdm.exceptions import RepeatedSamplesWarning, TooFewSamplesError

RNG = np.random.default_rng(0)
WHICH = RNG.integers(60, size=600)
SHARED = RNG.normal(size=(60, 2))
CODES = WHICH[:, None].astype(float)


def quick(**parameters):
    return DependencyEstimator(**{"max_updates": 100, "cv": None, "random_state": 0, **parameters})


# Of sixty samples, some of which are held out, a critic may well say more than of others.
FEW = pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.OverfittingWarning")


@pytest.fixture
def resampled():
    """Sixty samples of independent modalities, drawn six hundred times."""
    rng = np.random.default_rng(1)
    return {"audio": rng.normal(size=(60, 2))[WHICH], "text": rng.normal(size=(60, 2))[WHICH]}


@FEW
@pytest.mark.parametrize("cv", [None, 3])
def test_copies_of_independent_samples__show_no_dependency(resampled, cv):
    with pytest.warns(RepeatedSamplesWarning, match=r"540 of 600 samples repeat.*groups="):
        fitted = quick(cv=cv).fit(resampled)
    assert fitted.dependency_ < 0.3 and "RepeatedSamplesWarning" in fitted.warnings_


@FEW
def test_copies__are_on_one_side(resampled):
    with pytest.warns(RepeatedSamplesWarning):
        fitted = quick().fit(resampled)
    held_out = np.isin(np.arange(600), fitted.held_out_)
    assert not np.isin(WHICH[held_out], WHICH[~held_out]).any()
    with pytest.warns(RepeatedSamplesWarning, match="one of each"):
        assert fitted.permutation_test(resampled).pvalue > 0.05


def test_copies__of_a_splitter_that_cuts_them__are_not_trained_on(resampled):
    X = {name: np.r_[value, RNG.normal(size=(300, 2))] for name, value in resampled.items()}
    with pytest.warns(RepeatedSamplesWarning):
        assert quick(cv=KFold(3, shuffle=True, random_state=0)).fit(X).dependency_ < 0.3
    with pytest.raises(TooFewSamplesError, match=r"2 samples are there to train .* copies of others not counted"):
        quick(cv=KFold(3)).fit(resampled)


@FEW
def test_copies__inside_groups__need_no_warning(resampled):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", RepeatedSamplesWarning)
        for cv in (None, 3, GroupKFold(3)):
            quick(cv=cv).fit(resampled, groups=WHICH // 2)
    with pytest.warns(RepeatedSamplesWarning):
        quick().fit(resampled, groups=np.arange(600))


def test_one_repeated_row__hides_no_row_that_was_trained_on():
    rng = np.random.default_rng(2)
    shared = rng.normal(size=(200, 2))
    X = {name: shared + rng.normal(size=(200, 2)) for name in ("audio", "text")}
    X = {name: np.r_[value, value[:1]] for name, value in X.items()}
    with pytest.warns(RepeatedSamplesWarning, match="1 of 201"):
        fitted = quick().fit(X)
    trained = np.setdiff1d(np.arange(201), fitted.held_out_)
    with pytest.raises(ValueError, match=r"0 samples .* that fit did not train on"):
        fitted.permutation_test({name: value[trained] for name, value in X.items()})


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ([SHARED[WHICH], SHARED[WHICH]], True),
        ([SHARED[WHICH], CODES % 3], True),
        ([RNG.integers(256, size=(60, 16))[WHICH].astype(float), CODES], True),
        ([CODES, CODES], False),
        ([CODES / 10, CODES / 10], False),
        ([np.eye(60)[WHICH], CODES], False),
        ([np.round(RNG.normal(size=(600, 1)), 1)] * 2, False),
        ([RNG.poisson(3, size=(600, 2)).astype(float)] * 2, False),
        ([np.full((60, 1), 0.3), np.full((60, 1), 0.7)], False),
        ([RNG.normal(size=(60, 1)), CODES[:60]], False),
        ([np.round(SHARED, 1)[WHICH]] * 2, True),
        ([SHARED[WHICH % 10], SHARED[WHICH % 10]], True),
        ([SHARED[WHICH] + 1e-9 * RNG.normal(size=(600, 2))] * 2, True),
        ([CODES + 1e-9 * RNG.normal(size=(600, 1)), CODES], False),
        ([np.c_[CODES, 59 - CODES], CODES], False),
        ([RNG.normal(size=(20_000, 1)).repeat(2, axis=1), CODES[:1].repeat(20_000, axis=0)], False),
        ([np.r_[SHARED[:, :1] * 1e-9, [[1e9]], [[1e9]]], np.zeros((62, 1))], True),
    ],
    ids=[
        "all",
        "beside classes",
        "images",
        "codes",
        "tenths",
        "one-hot",
        "rounded",
        "counts",
        "constant",
        "no copy",
        "rounded resampled",
        "ten rows",
        "near",
        "near codes",
        "determined",
        "dense",
        "outlier",
    ],
)
def test_find_copies__data_that_repeat_by_nature__have_none(arrays, expected):
    assert (find_copies(arrays) is not None) == expected


@pytest.mark.parametrize("near", [0.0, 1e-9])
def test_find_copies__numbers_depend_on_no_unit_and_no_order_of_rows(near):
    """Groups are split by their numbers, so a change of either would change the value."""
    rng = np.random.default_rng(3)
    arrays = [rng.normal(size=(60, 2))[WHICH] * (1 + near * rng.normal(size=(600, 1))) for _ in range(2)]
    order, units = rng.permutation(600), np.array([2.0**300, 0.125])
    found = find_copies(arrays)
    np.testing.assert_array_equal(find_copies([a[order] * units for a in arrays]), found[order])
    assert len(np.unique(found)) == 60
    assert abs(np.corrcoef(found, arrays[0][:, 0])[0, 1]) < 0.4, "groups in the order of their values"


def test_keep_together__copies_join_groups():
    together = keep_together(np.array([0, 0, 1, 2, 3]), np.array(["a", "b", "b", "c", "d"]))
    assert len(set(together[:3])) == 1 and len(set(together)) == 3
    with pytest.raises(TooFewSamplesError, match="repeat others in every value connect all 3 groups"):
        keep_together(np.array([0, 0, 1, 1, 2]), np.array(["a", "b", "b", "c", "a"]))
