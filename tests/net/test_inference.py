"""Applying a net: what it leaves as it was, and what its copies follow: in double precision, or all members as one."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_mdm.fusion import ConcatFusion, LateFusion, LowRankFusion
from sklearn_mdm.fusion import _committee as committee
from sklearn_mdm.fusion._committee import Committee, mean_prediction


def test_a_module_that_raises__leaves_gradients_on(regressor, X, y, monkeypatch):
    fitted = regressor().fit(X, y)
    with monkeypatch.context() as patch:
        patch.setattr(type(fitted.net_.module_), "forward", None)
        with pytest.raises(TypeError) as error:
            fitted.predict(X)
    assert torch.is_grad_enabled()
    fitted.fit(X, y)  # while the traceback, with its frames, is still there
    assert error.value is not None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_a_user_changes_after_the_fit__is_predicted_with(regressor, X, y, dtype):
    X = {name: value.astype(dtype) for name, value in X.items()}
    fitted = regressor(missing="mean").fit(X, y)
    before = fitted.predict(X)
    head = fitted.net_.module_.head
    with torch.no_grad():
        head[-1].bias += 1
    shifted = fitted.predict(X)
    assert (shifted != before).all()
    head[-1].bias.data -= 1  # unseen by torch's version counters
    assert np.allclose(fitted.predict(X), before, rtol=1e-6)
    head[-1].weight = torch.nn.Parameter(torch.zeros_like(head[-1].weight))
    assert len(np.unique(fitted.predict(X))) == 1
    head[-1] = torch.nn.Linear(head[-1].in_features, 1, dtype=head[-1].weight.dtype)
    assert len(np.unique(fitted.predict(X))) > 1
    fitted.net_.module_.encoders.missing = "skip"
    lacking = {"audio": X["audio"]}
    skipped = fitted.transform(lacking)
    fitted.net_.module_.encoders.missing = "mean"
    assert (skipped != fitted.transform(lacking)).any()
    assert_array_equal(fitted.transform(lacking), fitted.transform(lacking))


def committee_of(fusion, missing="mean", n_members=3):
    torch.manual_seed(0)
    members = [fusion.build({"m0": (3,), "m1": (5, 4)}, 2, encoder="mlp", missing=missing) for _ in range(n_members)]
    return Committee(members, mean_prediction).eval().double()


@pytest.mark.parametrize("fusion", [ConcatFusion(), LateFusion(), LowRankFusion()])
@pytest.mark.parametrize("missing", ["mean", "token", "skip"])
def test_members_as_one__do_what_they_do_one_after_the_other(fusion, missing):
    if missing == "token" and isinstance(fusion, LateFusion):
        missing = "skip"
    together = committee_of(fusion, missing)
    as_one = together.stacked().eval()
    X = {"m0": torch.randn(6, 3).double(), "m1": torch.randn(6, 5, 4).double()}
    mask = {"m0": torch.rand(6) < 0.5, "m1": torch.rand(6, 5) < 0.5}
    for seen in (None, mask):
        expected, found = together(X, seen), as_one(X, seen)
        z, of_one = together.represent(X, seen), as_one.represent(X, seen)
        again, from_z = together.from_representations(z), as_one.from_representations(z)
        pairs = [(expected, found), (again, from_z)]
        for one, other in pairs:
            assert_allclose(other.prediction.detach(), one.prediction.detach(), rtol=1e-12, atol=1e-12)
            assert_allclose(other.fused.detach(), one.fused.detach(), rtol=1e-12, atol=1e-12)
        assert list(z) == list(of_one)
        for name, part in z.items():
            assert_allclose(of_one[name].detach(), part.detach(), rtol=1e-12, atol=1e-12)


def test_members_as_one__where_that_pays(monkeypatch):
    assert committee_of(ConcatFusion()).stacked() is not None
    monkeypatch.setattr(committee, "MAX_STACKED", 10)
    assert committee_of(ConcatFusion()).stacked() is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_a_user_changes_in_a_member__is_predicted_with(regressor, X, y, dtype):
    X = {name: value.astype(dtype) for name, value in X.items()}
    fitted = regressor(n_estimators=3, missing="mean").fit(X, y)
    before = fitted.predict(X)
    head = fitted.net_.module_.members[1].head
    shift = fitted._in_units_of_y(np.ones((1, 1))) - fitted._in_units_of_y(np.zeros((1, 1)))
    with torch.no_grad():
        head[-1].bias += 3
    assert_allclose(fitted.predict(X), before + shift.item(), rtol=1e-5)
    loaded = pickle.loads(pickle.dumps(fitted))
    assert_array_equal(loaded.predict(X), fitted.predict(X))
    head[-1].bias.data -= 3  # unseen by torch's version counters
    assert_allclose(fitted.predict(X), before, rtol=1e-5)
    head[-1] = torch.nn.Linear(head[-1].in_features, 1, dtype=head[-1].weight.dtype)
    assert (fitted.predict(X) != before).any()
    assert (loaded.predict(X) != before).any()  # of its own
    for member in fitted.net_.module_.members:
        member.encoders.missing = "skip"
    lacking = {"audio": X["audio"]}
    skipped = fitted.transform(lacking)
    for member in fitted.net_.module_.members:
        member.encoders.missing = "mean"
    assert (skipped != fitted.transform(lacking)).any()
