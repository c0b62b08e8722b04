"""The measures against closed forms, the re-pairing of rows, and the critics that the measures train."""

import copy
import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone

from sklearn_mdm.critic import Critic, LipschitzCritic
from sklearn_mdm.measures import KL, MEASURES, FDivergence, Measure, Wasserstein
from sklearn_mdm.negatives import offset_indices


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=range(3))
def values(request):
    """Critic values on joint and re-paired rows, in double precision."""
    rng = np.random.default_rng(request.param)
    return rng.normal(1, 2, size=30), rng.normal(-1, 2, size=90)


def objective(measure, t_joint, t_product):
    return measure.objective(torch.as_tensor(t_joint), torch.as_tensor(t_product)).item()


# --- objectives ------------------------------------------------------------------------------------------------------


def test_kl__is_the_donsker_varadhan_objective(values):
    t_joint, t_product = values
    assert objective(KL(), *values) == pytest.approx(t_joint.mean() - np.log(np.exp(t_product).mean()))


def test_f__is_the_nwj_objective(values):
    t_joint, t_product = values
    assert objective(FDivergence(), *values) == pytest.approx(t_joint.mean() - np.exp(t_product - 1).mean())


def test_wasserstein__is_the_difference_of_means(values):
    t_joint, t_product = values
    assert objective(Wasserstein(), *values) == pytest.approx(t_joint.mean() - t_product.mean())


@pytest.mark.parametrize("bound", [None, 5.0])
def test_nwj__never_exceeds_donsker_varadhan(values, bound):
    assert objective(FDivergence(bound=bound), *values) <= objective(KL(bound=bound), *values)


def test_nwj__equals_donsker_varadhan_once_t_is_normalised(values):
    # Both are tight for T* with E_Q[exp(T* - 1)] = 1.
    t_joint, t_product = values
    shift = 1 - math.log(np.exp(t_product).mean())
    assert objective(FDivergence(bound=None), t_joint + shift, t_product + shift) == pytest.approx(
        objective(KL(bound=None), t_joint, t_product)
    )


@pytest.mark.parametrize("measure", [KL(bound=None), Wasserstein()])
@pytest.mark.parametrize("constant", [-100.0, 3.0, 1e4])
def test_kl_and_wasserstein__do_not_change_when_a_constant_is_added_to_t(values, measure, constant):
    shifted = [t + constant for t in values]
    assert objective(measure, *shifted) == pytest.approx(objective(measure, *values), abs=1e-9)


@pytest.mark.parametrize("measure", [KL(bound=None), KL(), Wasserstein()])
@pytest.mark.parametrize("constant", [-3.0, 0.0, 7.0])
def test_a_constant_t__measures_nothing(measure, constant):
    assert objective(measure, np.full(4, constant), np.full(9, constant)) == pytest.approx(0, abs=1e-12)


def test_nwj_of_a_constant__is_zero_at_one_and_negative_elsewhere():
    assert objective(FDivergence(bound=None), np.ones(4), np.ones(9)) == pytest.approx(0)
    for constant in (-1.0, 0.0, 2.0):
        assert objective(FDivergence(), np.full(4, constant), np.full(9, constant)) < 0


@pytest.mark.parametrize("measure", [KL(bound=None), FDivergence(bound=None)])
def test_at_the_true_log_ratio__the_objective_is_the_divergence(measure):
    # P = N(1, 1), Q = N(0, 1): log p/q = x - 1/2, KL = 1/2. NWJ is maximised by log p/q + 1.
    rng = np.random.default_rng(0)
    shift = 1.0 if isinstance(measure, FDivergence) else 0.0
    t_joint = rng.normal(1, 1, size=200_000) - 0.5 + shift
    t_product = rng.normal(0, 1, size=200_000) - 0.5 + shift
    assert objective(measure, t_joint, t_product) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("measure", [KL(), KL(bound=0.1), FDivergence(), FDivergence(bound=50.0), Wasserstein()])
@pytest.mark.parametrize("scale", [1e2, 1e6])
def test_a_critic_with_huge_outputs__gives_finite_values_and_gradients(measure, scale):
    critic = measure.build_critic([3, 2], (8, 8))
    if not isinstance(measure, Wasserstein):  # whose outputs cannot be huge
        with torch.no_grad():
            critic.layers[-1].weight.mul_(scale)
    codes = [torch.randn(12, width, generator=torch.Generator().manual_seed(0)).requires_grad_() for width in (3, 2)]
    value = measure.objective(*critic(codes, offset_indices(12, 2)))
    value.backward()
    assert torch.isfinite(value)
    assert all(torch.isfinite(code.grad).all() for code in codes)
    assert all(torch.isfinite(parameter.grad).all() for parameter in critic.parameters())


@pytest.mark.parametrize("signs", [(1, 1), (1, -1), (-1, 1), (-1, -1)])
@pytest.mark.parametrize("scale", [1e2, 1e4])
def test_kl_of_a_huge_unbounded_t__is_finite(signs, scale):
    t_joint = (signs[0] * scale * torch.linspace(0.5, 1, 5)).requires_grad_()
    t_product = (signs[1] * scale * torch.linspace(0.5, 1, 7)).requires_grad_()
    value = KL().objective(t_joint, t_product)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(t_joint.grad).all() and torch.isfinite(t_product.grad).all()


@pytest.mark.parametrize("cls", [KL, FDivergence])
def test_the_bound__holds_for_t_and_leaves_small_values_alone(cls):
    codes = [torch.randn(20, width, generator=torch.Generator().manual_seed(0)) for width in (3, 2)]
    free, bounded = (cls(bound=bound).build_critic([3, 2], (8,)) for bound in (None, 2.0))
    bounded.load_state_dict(free.state_dict())
    torch.testing.assert_close(bounded(codes), 2 * torch.tanh(free(codes) / 2))
    with torch.no_grad():
        bounded.layers[-1].weight.mul_(1e6)
    assert bounded(codes).abs().max().item() <= 2.0


@pytest.mark.parametrize("name", MEASURES)
def test_named_measures__are_parameter_objects_with_a_unit(name):
    measure = MEASURES[name]()
    assert isinstance(measure, Measure)
    assert repr(clone(measure)) == repr(measure)
    assert isinstance(measure.unit, str)
    critic = measure.build_critic([3, 2], hidden_dims=(4,))
    assert isinstance(critic, LipschitzCritic if name == "wasserstein" else Critic)
    assert (measure.unit == "nats") == (name != "wasserstein")


# --- re-paired rows --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_sets", [1, 2, 3])
@pytest.mark.parametrize("m", [2, 3, 5])
def test_no_re_paired_row__holds_two_modalities_of_one_sample(m, n_sets):
    for n in range(m, 51):
        indices = offset_indices(n, m, n_sets, generator(n))
        assert indices.shape == (m, n_sets * n)
        assert indices.dtype == torch.int64
        for a, b in itertools.combinations(indices, 2):
            assert not (a == b).any()


@pytest.mark.parametrize("n_sets", [1, 3])
def test_re_paired_rows__use_every_sample_equally_often(n_sets):
    for n, m in [(3, 3), (10, 2), (17, 4)]:
        for row in offset_indices(n, m, n_sets, generator()):
            assert torch.bincount(row, minlength=n).tolist() == [n_sets] * n
            for one_set in row.reshape(n_sets, n):
                assert sorted(one_set.tolist()) == list(range(n))


def test_every_pairing_of_different_samples__is_equally_likely():
    counts = torch.zeros(4, 4)
    stream = generator()
    for _ in range(3000):
        a, b = offset_indices(4, 2, 1, stream)
        counts.index_put_((a, b), torch.ones(4), accumulate=True)
    assert not counts.diagonal().any()
    expected = 3000 * 4 / 12
    assert ((counts - expected).abs() < 5 * expected**0.5)[~torch.eye(4, dtype=bool)].all()


@pytest.mark.parametrize(("n", "m"), [(1, 2), (0, 2), (2, 3), (4, 5)])
def test_fewer_rows_than_modalities__is_an_error(n, m):
    with pytest.raises(ValueError, match=f"{n} samples cannot re-pair {m} modalities"):
        offset_indices(n, m)


def test_re_pairing__follows_its_generator_alone():
    before = torch.get_rng_state()
    assert torch.equal(offset_indices(9, 3, 2, generator(5)), offset_indices(9, 3, 2, generator(5)))
    assert not torch.equal(offset_indices(9, 3, 2, generator(5)), offset_indices(9, 3, 2, generator(6)))
    assert torch.equal(torch.get_rng_state(), before)


# --- critics ---------------------------------------------------------------------------------------------------------

DIMS = (3, 1, 4)


@pytest.fixture(params=[Critic, LipschitzCritic])
def critic(request):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return request.param(DIMS, hidden_dims=(8, 6)).double()


def codes(n=20, scale=1.0, seed=0):
    stream = generator(seed)
    return [scale * torch.randn(n, dim, generator=stream, dtype=torch.float64) for dim in DIMS]


@pytest.mark.parametrize("n_sets", [1, 3])
def test_t_on_re_paired_rows__is_t_on_re_paired_codes(critic, n_sets):
    z = codes()
    index = offset_indices(20, 3, n_sets, generator())
    t_joint, t_product = critic(z, index)
    torch.testing.assert_close(t_joint, critic(z))
    torch.testing.assert_close(t_product, critic([code[rows] for code, rows in zip(z, index, strict=True)]))


def test_t_of_a_row__does_not_depend_on_the_others(critic):
    z = codes()
    torch.testing.assert_close(critic([code[3:5] for code in z]), critic(z)[3:5])


def test_t__tells_apart_samples_even_with_codes_of_one_dimension(critic):
    z = codes()
    moved = [z[0], z[1] + 1, z[2]]
    assert (critic(z) != critic(moved)).all()


def test_bounded_codes__lie_in_an_open_ball_and_stay_apart(critic):
    # Through the critic's own map; huge codes must not collapse onto each other.
    near, far = critic.codes(codes(scale=1e-3)), critic.codes(codes(scale=1e3))
    radii = [1.0 if isinstance(critic, LipschitzCritic) else math.sqrt(width) for width in DIMS]
    for joint in (near, far):
        for block, radius in zip(joint.split(DIMS, dim=1), radii, strict=True):
            assert (block.norm(dim=1) < radius).all()
    small = [radius * z for z, radius in zip(codes(scale=1e-3), radii, strict=True)]
    torch.testing.assert_close(near, torch.cat(small, dim=1), rtol=1e-4, atol=0)
    assert len(torch.unique(far, dim=0)) == 20


@pytest.mark.parametrize("dims", [(2, 2), (1, 1), (3, 1, 4), (40, 30)])
@pytest.mark.parametrize("hidden_dims", [(), (8,), (64, 64), (128, 4, 64)])
@pytest.mark.parametrize("trained", [False, True])
def test_lipschitz_critic__has_slope_at_most_one_on_bounded_codes(dims, hidden_dims, trained):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        critic = LipschitzCritic(dims, hidden_dims)
        x = torch.randn(300, sum(dims))
        y = x + torch.randn(300, 1) * torch.randn(300, sum(dims))
    if trained:  # and stays so under training
        optimizer = torch.optim.Adam(critic.parameters(), lr=0.05)
        for _ in range(30):
            optimizer.zero_grad()
            t = critic.layers(x).squeeze(1)
            (t[150:].mean() - t[:150].mean()).backward()
            optimizer.step()
    critic.double()
    x, y = x.double().requires_grad_(), y.double()
    t_x, t_y = critic.layers(x).squeeze(1), critic.layers(y).squeeze(1)
    (slope,) = torch.autograd.grad(t_x.sum(), x)
    assert slope.norm(dim=1).max() <= 1 + 1e-4
    assert ((t_x - t_y).abs() <= (x - y).norm(dim=1) + 1e-4).all()
    # The whole critic: Lipschitz with respect to the bounded codes.
    a, b = codes_of(x, dims), codes_of(y, dims)
    distance = (critic.codes(a) - critic.codes(b)).norm(dim=1)
    assert ((critic(a) - critic(b)).abs() <= distance + 1e-4).all()


def codes_of(x, dims):
    return list(x.detach().split(list(dims), dim=1))


def test_lipschitz_critic__with_odd_widths_is_an_error():
    with pytest.raises(ValueError, match="critic_hidden_dims must be even"):
        LipschitzCritic([3, 2], (8, 7))


@pytest.mark.parametrize("copy_of", [copy.deepcopy, lambda critic: pickle.loads(pickle.dumps(critic))])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_critics__can_be_copied_and_pickled(critic, copy_of, dtype):
    critic = critic.to(dtype).eval()
    z = [code.to(dtype) for code in codes()]
    before = torch.get_rng_state()
    again = copy_of(critic)
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(again(z), critic(z), rtol=1e-6, atol=1e-6)
    assert not again.training
    assert again(z).dtype == dtype
    with torch.no_grad():
        for parameter in again.parameters():
            parameter.add_(1.0)
    assert not torch.allclose(again(z), critic(z))  # nothing is shared


def test_initial_critic__reads_every_code(critic):
    z = [code.requires_grad_() for code in codes()]
    critic(z).sum().backward()
    for code in z:
        assert code.grad.abs().max() > 1e-4
