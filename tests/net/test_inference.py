"""Applying a net: what it leaves as it was, and what its copy in double precision follows."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal


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
