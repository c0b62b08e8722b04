"""The terms that benchmarks compare with are measures like any other, and train a committee."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from sklearn_mdm import MDMFusionClassifier

FILE = Path(__file__).parents[2] / "benchmarks" / "_few_labels_terms.py"


@pytest.fixture(scope="module")
def terms():
    spec = importlib.util.spec_from_file_location("few_labels_terms", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["VICReg", "Agreement"])
def test_a_term__trains_and_is_largest_where_modalities_agree(terms, name, X, y):
    model = MDMFusionClassifier(
        measure=getattr(terms, name)(), lam=0.1, n_estimators=2, linear_member=False, max_epochs=2, random_state=0
    )
    model.fit(X, (y > np.median(y)).astype(int))
    assert model.net_.stacked_ and np.isfinite(model.dependency_curve_).all()
    f = torch.randn(3, 50, 4, generator=torch.Generator().manual_seed(0))
    of = getattr(terms, name)().of_projections
    assert of(f[:1].expand(3, -1, -1)) > of(f)


def test_distances__are_means_over_pairs(terms):
    f = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    expected = torch.stack([(f[a] - f[b]).square().mean(-1) for a, b in ((0, 1), (0, 2), (1, 2))]).mean(0)
    torch.testing.assert_close(terms._distances(f), expected)
