"""The critics: what T reads, how negatives are made and evaluated, and T silent, bounded or 1-Lipschitz."""

import copy
import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture

from sklearn_mdm.critic import (
    CRITICS,
    Critic,
    EncodedCritic,
    LipschitzCritic,
    MultilinearCritic,
    PairedCritic,
    SeparableCritic,
)
from sklearn_mdm.critic._negatives import offset_indices
from sklearn_mdm.measures import KNIFE, MixtureCritic

DIMS = (3, 1, 4)
BUILDERS = {
    "concatenated": lambda **kw: Critic(DIMS, (8, 6), **kw),
    "shared first layer": lambda **kw: Critic(DIMS, (2, 6), **kw),
    "encoded": lambda **kw: EncodedCritic(DIMS, (8, 6), **kw),
    "separable": lambda **kw: SeparableCritic(DIMS, (8, 6), **kw),
    "multilinear": lambda **kw: MultilinearCritic(DIMS, (8, 6), **kw),
    "orthogonal": lambda **kw: LipschitzCritic(DIMS, (8, 6), **kw),
    "mixture": lambda **kw: MixtureCritic(DIMS, 3, **kw),
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def seeded(build, **parameters):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        critic = build(**parameters).double()
        if isinstance(critic, MixtureCritic):  # whose T is all but zero to begin with
            for parameter in critic.parameters():
                parameter.data.add_(0.3 * torch.randn_like(parameter))
        return critic


# Two units of a first layer are not enough to tell all rows apart.
@pytest.fixture(params=[name for name in BUILDERS if name != "shared first layer"])
def critic(request):
    return seeded(BUILDERS[request.param]).eval()


def draw(n=20, scale=1.0, seed=0):
    stream = generator(seed)
    return [scale * torch.randn(n, dim, generator=stream, dtype=torch.float64) for dim in DIMS]


# --- negatives -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_sets", [1, 2, 3])
@pytest.mark.parametrize("m", [2, 3, 5])
def test_no_negative__holds_two_modalities_of_one_sample(m, n_sets):
    for n in range(m, 51):
        indices = offset_indices(n, m, n_sets, generator(n))
        assert indices.shape == (m, n_sets * n)
        assert indices.dtype == torch.int64
        for a, b in itertools.combinations(indices, 2):
            assert not (a == b).any()


@pytest.mark.parametrize("n_sets", [1, 3])
def test_negatives__use_every_sample_equally_often(n_sets):
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
    with pytest.raises(ValueError, match=f"{n} samples make no negatives of {m} modalities"):
        offset_indices(n, m)


def test_negatives__follow_its_generator_alone():
    before = torch.get_rng_state()
    assert torch.equal(offset_indices(9, 3, 2, generator(5)), offset_indices(9, 3, 2, generator(5)))
    assert not torch.equal(offset_indices(9, 3, 2, generator(5)), offset_indices(9, 3, 2, generator(6)))
    assert torch.equal(torch.get_rng_state(), before)


# --- T of all critics ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("n_sets", [1, 3])
@pytest.mark.parametrize("build", BUILDERS)
def test_t_on_negatives__is_t_of_their_representations(build, n_sets, raw):
    critic = seeded(BUILDERS[build], raw=raw).eval()
    z = draw()
    index = offset_indices(20, 3, n_sets, generator())
    t_joint, t_product = critic(z, index)
    torch.testing.assert_close(t_joint, critic(z))
    torch.testing.assert_close(t_product, critic([z_j[rows] for z_j, rows in zip(z, index, strict=True)]))


@pytest.mark.parametrize("build", [name for name in BUILDERS if not isinstance(BUILDERS[name](), LipschitzCritic)])
def test_t__is_what_its_encoded_modalities_combine_to(build):
    critic = seeded(BUILDERS[build]).eval()
    z = draw()
    features = critic.encode(z)
    torch.testing.assert_close(critic.combine(features), critic(z))
    # A modality is encoded without a look at the others.
    other = critic.encode([z[0], 100 + z[1], 100 + z[2]])
    assert torch.equal(features[0], other[0]) and not torch.equal(features[1], other[1])


def test_t_of_a_row__does_not_depend_on_the_others(critic):
    z = draw()
    torch.testing.assert_close(critic([z_j[3:5] for z_j in z]), critic(z)[3:5])


def test_t__tells_apart_samples_even_with_representations_of_one_dimension(critic):
    z = draw()
    moved = [z[0], z[1] + 1, z[2]]
    assert (critic(z) != critic(moved)).all()


def test_initial_critic__reads_every_representation(critic):
    z = [z_j.requires_grad_() for z_j in draw()]
    critic(z).sum().backward()
    for z_j in z:
        assert z_j.grad.abs().max() > 1e-4


def test_bounded_representations__lie_in_an_open_ball_and_stay_apart(critic):
    # Through the critic's own map; huge ones must not collapse onto each other.
    near, far = (critic.inputs(draw(scale=scale)) for scale in (1e-3, 1e3))
    radii = [1.0 if isinstance(critic, LipschitzCritic) else math.sqrt(width) for width in DIMS]
    for joint in (near, far):
        for block, radius in zip(joint.split(DIMS, dim=1), radii, strict=True):
            assert (block.norm(dim=1) < radius).all()
    small = [radius * z for z, radius in zip(draw(scale=1e-3), radii, strict=True)]
    torch.testing.assert_close(near, torch.cat(small, dim=1), rtol=1e-4, atol=0)
    assert len(torch.unique(far, dim=0)) == 20


def test_raw_columns__reach_t_as_they_are():
    z = draw(scale=1e3)
    for build in BUILDERS.values():
        assert torch.equal(seeded(build, raw=True).inputs(z), torch.cat(z, dim=1))


@pytest.mark.parametrize("copy_of", [copy.deepcopy, lambda critic: pickle.loads(pickle.dumps(critic))])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_critics__can_be_copied_and_pickled(critic, copy_of, dtype):
    critic = critic.to(dtype)
    z = [z_j.to(dtype) for z_j in draw()]
    before = torch.get_rng_state()
    again = copy_of(critic)
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(again(z), critic(z), rtol=1e-6, atol=1e-6)
    assert not again.training
    assert again(z).dtype == dtype
    with torch.no_grad():
        for parameter in again.parameters():
            parameter.add_(torch.linspace(0, 1, parameter.numel(), dtype=dtype).view(parameter.shape))
    assert not torch.allclose(again(z), critic(z))  # nothing is shared


@pytest.mark.parametrize("kind", CRITICS)
def test_a_bounded_t__stays_within_its_bound(kind):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        free, bounded = (CRITICS[kind](DIMS, (8, 6), bound=bound).double().eval() for bound in (None, 2.0))
    bounded.load_state_dict(free.state_dict())
    torch.testing.assert_close(bounded(draw()), 2 * torch.tanh(free(draw()) / 2))
    with torch.no_grad():
        for parameter in bounded.parameters():
            parameter.mul_(1e3)
    assert bounded(draw()).abs().max().item() <= 2.0
    for wrong in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match=f"bound must be positive or None, got {wrong}"):
            CRITICS[kind](DIMS, bound=wrong)


@pytest.mark.parametrize("kind", CRITICS)
def test_a_silenced_critic__is_zero_and_learns_from_there(kind):
    critic = seeded(lambda: CRITICS[kind](DIMS, (8, 6)))
    critic.silence()
    z = draw(200)
    z[1] = z[0][:, :1] + 0.1 * z[1]
    t_joint, t_product = critic(z, offset_indices(200, 3, 1, generator()))
    assert not t_joint.any() and not t_product.any()
    (t_joint.mean() - t_product.mean()).backward()
    gradients = torch.cat([p.grad.flatten() for p in critic.parameters() if p.grad is not None])
    assert gradients.abs().max() > 1e-3


# --- single forms ----------------------------------------------------------------------------------------------------


def test_multilinear_critic__all_tuples_of_parts_are_those_of_each():
    critic = seeded(BUILDERS["multilinear"], bound=1.0)
    z = draw(15)
    together = critic.all_tuples([z_j.unflatten(0, (3, 5)) for z_j in z])
    for start, scores in zip((0, 5, 10), together, strict=True):
        torch.testing.assert_close(scores, critic.all_tuples([z_j[start : start + 5] for z_j in z]), rtol=0, atol=1e-12)


def test_multilinear_critic__all_tuples_is_t_of_each_combination():
    critic = seeded(BUILDERS["multilinear"], bound=1.0)
    z = draw(5)
    scores = critic.all_tuples(z)
    assert scores.shape == (5, 5, 5)
    for i, j, k in itertools.product(range(5), repeat=3):
        expected = critic([z[0][i : i + 1], z[1][j : j + 1], z[2][k : k + 1]]).item()
        assert scores[i, j, k].item() == pytest.approx(expected, abs=1e-12)


def test_separable_critic__is_a_sum_over_pairs_of_modalities():
    # Mixed differences over three modalities vanish for it, and not for the multilinear one.
    def mixed(critic):
        a, b = draw(4, seed=1), draw(4, seed=2)
        total = 0.0
        for picks in itertools.product((0, 1), repeat=3):
            z = [(a, b)[pick][j] for j, pick in enumerate(picks)]
            total = total + (-1) ** sum(picks) * critic(z)
        return total.abs().max().item()

    assert mixed(seeded(BUILDERS["separable"])) < 1e-12
    assert mixed(seeded(BUILDERS["multilinear"])) > 1e-4


def test_encoded_critic__has_dropout_in_training_only():
    critic = seeded(BUILDERS["encoded"])
    z = draw()
    with torch.random.fork_rng(devices=[]):
        assert not torch.equal(critic.train()(z), critic(z))
    assert torch.equal(critic.eval()(z), critic(z))


def test_mixture_critic__is_the_log_ratio_of_gaussian_mixtures():
    critic = seeded(BUILDERS["mixture"], raw=True)
    z = draw(50)

    def log_density(mixture, x):
        root = (mixture.lower.tril(-1) + torch.diag_embed(mixture.log_scales().exp())).detach().numpy()
        reference = GaussianMixture(len(root))
        reference.means_ = mixture.modes.detach().numpy()
        reference.weights_ = torch.softmax(mixture.weights, 0).detach().numpy()
        reference.precisions_cholesky_ = np.swapaxes(root, 1, 2)  # upper-triangular there
        return reference.score_samples(x.numpy())

    joint = log_density(critic.joint, torch.cat(z, dim=1))
    margins = sum(log_density(mixture, x) for mixture, x in zip(critic.margins, z, strict=True))
    np.testing.assert_allclose(critic(z).detach().numpy(), joint - margins, rtol=1e-9)
    likelihood = KNIFE().critic_objective(critic, z).item() - math.log(2 * math.pi) * sum(DIMS)
    assert likelihood == pytest.approx((joint + margins).mean())


def test_mixture_critic__begins_near_independence_for_any_width():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        critic = MixtureCritic((32, 32, 32))
        t = critic([torch.randn(100, 32) for _ in range(3)])
    assert t.abs().mean() < 0.5


# --- 1-Lipschitz critics ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [(2, 2), (1, 1), (3, 1, 4), (40, 30)])
@pytest.mark.parametrize("hidden_dims", [(), (8,), (64, 64), (128, 4, 64)])
def test_lipschitz_critic__has_slope_at_most_one_and_keeps_it_in_training(dims, hidden_dims, tolerance=1e-4):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        critic = LipschitzCritic(dims, hidden_dims)
        x = torch.randn(300, sum(dims))
        y = x + torch.randn(300, 1) * torch.randn(300, sum(dims))

    def check(critic, x, y):
        x, y = x.double().requires_grad_(), y.double()
        t_x, t_y = critic.layers(x).squeeze(1), critic.layers(y).squeeze(1)
        (slope,) = torch.autograd.grad(t_x.sum(), x)
        assert slope.norm(dim=1).max() <= 1 + tolerance
        assert ((t_x - t_y).abs() <= (1 + tolerance) * (x - y).norm(dim=1) + tolerance).all()
        # By the layers alone, whatever the data.
        norms = [torch.linalg.matrix_norm(layer.weight, 2) for layer in critic.layers if hasattr(layer, "weight")]
        assert math.prod(norms) <= 1 + tolerance
        # The whole critic: Lipschitz with respect to bounded representations.
        a, b = (list(rows.detach().split(list(dims), dim=1)) for rows in (x, y))
        distance = (critic.inputs(a) - critic.inputs(b)).norm(dim=1)
        assert ((critic(a) - critic(b)).abs() <= (1 + tolerance) * distance + tolerance).all()

    check(copy.deepcopy(critic).double(), x, y)
    optimizer = torch.optim.Adam(critic.parameters(), lr=0.05)
    for _ in range(30):
        optimizer.zero_grad()
        t = critic.layers(x).squeeze(1)
        (t[150:].mean() - t[:150].mean()).backward()
        optimizer.step()
    check(critic.double().eval(), x, y)


def test_lipschitz_critic__names_what_it_cannot_be():
    with pytest.raises(ValueError, match="critic_hidden_dims must be even"):
        LipschitzCritic([3, 2], (8, 7))


def test_critics_of_the_registry__are_paired():
    assert set(CRITICS) == {"concatenated", "encoded", "separable", "multilinear"}
    assert all(issubclass(cls, PairedCritic) for cls in CRITICS.values())
