"""Critics that are trained together are what each would be alone."""

import numpy as np
import pytest
import torch

from sklearn_mdm.dependency._training import Rows, train_critics
from sklearn_mdm.measures import KL, JensenShannon
from sklearn_mdm.utils._rng import RandomStream, drawing_from

DIMS = [3, 2, 2]


class OwnKL(KL):
    """One's own measure, of which nobody knows whether it can be stacked."""


def make_rows(n, n_validation, seed, strength=1.0):
    """Double precision, so that another order of sums does not show."""
    rng = np.random.default_rng(seed)
    factor = strength * rng.normal(size=(n + n_validation, 1))
    z = [torch.from_numpy(factor + rng.normal(size=(len(factor), k))) for k in DIMS]
    return Rows([part[:n] for part in z], [part[n:] for part in z], 2, seed, RandomStream(seed))


def train(sizes, measure, kind, together, **parameters):
    """Train critics together or one by one: their networks and courses."""
    rows = [make_rows(n, 20 + n // 9, seed, strength=seed % 3) for seed, n in enumerate(sizes)]
    networks = []
    for part in rows:
        with drawing_from(part.draws):
            network = measure.build_critic(DIMS, (8, 8), kind=kind, raw=True)
        networks.append(network.double())
    options = {"n_updates": 60, "batch_size": 32, "n_negatives": 2, "lr": 0.02, "weight_decay": 0.1, **parameters}
    if together:
        return networks, train_critics(networks, measure, rows, **options)
    alone = [train_critics([one], measure, [part], **options) for one, part in zip(networks, rows, strict=True)]
    return networks, [course for (course,) in alone]


def assert_same(found, expected, rtol):
    for one, other in zip(found[0], expected[0], strict=True):
        for name, value in other.state_dict().items():
            torch.testing.assert_close(one.state_dict()[name], value, rtol=rtol, atol=rtol)
    for course, other in zip(found[1], expected[1], strict=True):
        assert course.n_updates == other.n_updates
        np.testing.assert_allclose(course.curve, other.curve, rtol=rtol, atol=rtol)


@pytest.mark.parametrize(
    ("measure", "kind"),
    [(KL(), "encoded"), (KL(moving_average=None), "concatenated"), (KL(), "separable"), (JensenShannon(), "encoded")],
)
def test_train_critics__together__are_what_each_is_alone(measure, kind):
    sizes = [100, 99, 100, 64]
    assert_same(train(sizes, measure, kind, True), train(sizes, measure, kind, False), 1e-9)


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param([100, 99, 150, 41], id="as many updates"),
        pytest.param([31, 30, 31, 30, 12], id="batches of the size of the data"),
        pytest.param([40, 41, 40, 300], id="updates limited by passes"),
    ],
)
def test_train_critics__of_any_sizes__are_what_each_is_alone(sizes, monkeypatch):
    monkeypatch.setattr("sklearn_mdm.dependency._training.MAX_PASSES", 30)
    assert_same(train(sizes, KL(), "encoded", True), train(sizes, KL(), "encoded", False), 1e-9)


def test_train_critics__stop_at_their_own_time():
    sizes, parameters = [60] * 6, {"n_updates": 200, "n_checks": 40}
    found = train(sizes, KL(), "encoded", True, **parameters)
    lengths = [len(course.curve) for course in found[1]]
    assert len(set(lengths)) > 2
    assert_same(found, train(sizes, KL(), "encoded", False, **parameters), 1e-8)


@pytest.mark.parametrize("measure", [OwnKL()], ids=lambda measure: type(measure).__name__)
def test_train_critics__that_do_not_stack__are_trained_one_by_one(measure):
    assert_same(train([50, 60], measure, None, True), train([50, 60], measure, None, False), 0)


def test_train_critics__afterwards__own_their_tensors():
    networks, _ = train([50, 50, 50], KL(), "encoded", True)
    for tensor in (value for network in networks for value in network.state_dict().values()):
        assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()


def test_train_critics__member_without_a_finite_objective__is_an_error():
    rows = [make_rows(50, 20, seed) for seed in range(2)]
    rows[1].train[0][:] = torch.inf
    with drawing_from(RandomStream(0)):
        networks = [KL().build_critic(DIMS, (8, 8), kind="encoded", raw=True).double() for _ in rows]
    options = {"n_updates": 20, "batch_size": 32, "n_negatives": 2, "lr": 0.02, "weight_decay": 0.1}
    with pytest.raises(FloatingPointError, match=r"non-finite objective .* of KL at update 1"):
        train_critics(networks, KL(), rows, **options)
