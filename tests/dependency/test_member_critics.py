"""The critics of several members: trained together, and read as one."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_mdm.dependency import _density_ratio as ratio
from sklearn_mdm.dependency._copies import copies_of
from sklearn_mdm.dependency._density_ratio import TrainedCritic, fit_together
from sklearn_mdm.dependency._member_critics import MemberCritics, readers
from sklearn_mdm.estimators import _reporting_critic as reporting
from sklearn_mdm.estimators._reporting_critic import train_reporting_critic, train_reporting_critics
from sklearn_mdm.exceptions import TooFewSamplesError
from sklearn_mdm.measures import KL
from sklearn_mdm.utils._statistics import standard_error

K = 3
RHO = 0.7
TRUTH = -0.5 * np.log(1 - RHO**2)  # of a pair of columns with this correlation


def make_pairs(n, rho, seed=0):
    """Two modalities of two columns, whose first ones are correlated."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(n, 2)), rng.normal(size=(n, 2))
    b[:, 0] = rho * a[:, 0] + np.sqrt(1 - rho**2) * b[:, 0]
    return [a, b]


def seen_by_members(z, seed=0):
    """What members make of the same rows: rotations of each modality, and the same side by side."""
    rng = np.random.default_rng(seed)
    rotations = [[np.linalg.qr(rng.normal(size=(2, 2)))[0] for _ in z] for _ in range(K)]
    by_member = [[part @ rotation for part, rotation in zip(z, own, strict=True)] for own in rotations]
    return by_member, [np.concatenate(parts, axis=1) for parts in zip(*by_member, strict=True)]


def folds(n):
    return [np.arange(n) % K == k for k in range(K)]


def train(z, n_updates=200, **parameters):
    by_member, beside = seen_by_members(z)
    parameters = {"held_out_by_member": folds(len(z[0])), "seeds": range(K), "thrifty": True, **parameters}
    return train_reporting_critics(by_member, n_updates=n_updates, **parameters), beside


@pytest.fixture(scope="module")
def correlated():
    """Critics of members that hold out a fold each, and what these read: 600 rows."""
    return train(make_pairs(600, RHO))


def parts_of(beside, k):
    return [part[:, 2 * k : 2 * k + 2] for part in beside]


def test_fit_together__each_is_what_it_is_alone():
    by_member, _ = seen_by_members(make_pairs(400, RHO))
    held_out = [np.arange(400) % 7 == k for k in range(K)]  # 58, 57 and 57 rows

    def new_critics():
        options = {"kind": "encoded", "hidden_dims": (16, 16), "n_updates": 80, "n_components": 2, "refit": False}
        return [TrainedCritic(KL(), seed=seed, **options) for seed in range(K)]

    together, alone = new_critics(), new_critics()
    fit_together(together, by_member, held_out)
    for critic, other, z, held in zip(together, alone, by_member, held_out, strict=True):
        other.fit(z, held).normalize(z)
        assert critic.n_updates_ == other.n_updates_
        # Training is in single precision.
        assert_allclose(critic.curve_, other.curve_, rtol=1e-3)
        critic.normalize(z)
        assert_allclose(critic.pointwise(z), other.pointwise(z), atol=0.01)
        assert_allclose(critic.score(z), other.score(z), atol=1e-3)


def test_fit_together__thrifty__share_what_one_may_spend_on_mixtures(monkeypatch):
    rng = np.random.default_rng(0)
    cluster = rng.choice([-3.0, 3.0], size=(300, 1))
    z, held_out = [cluster + rng.normal(size=(300, 1)) for _ in range(2)], np.arange(300) % 3 == 0
    monkeypatch.setattr(ratio, "THRIFTY_MIXTURE", 200 * 2 * 2**2)  # rows, components and squared width

    def n_components(n_critics):
        options = {"kind": "encoded", "hidden_dims": (8, 8), "n_updates": 5, "thrifty": True}
        critics = [TrainedCritic(KL(), seed=seed, **options) for seed in range(n_critics)]
        fit_together(critics, [z] * n_critics, [held_out] * n_critics)
        return [len(mixture.constant) for critic in critics for mixture in critic.mixtures_]

    assert n_components(1) == [2]
    assert n_components(2) == [1, 1]


def test_fit_together__thrifty__share_negatives(monkeypatch):
    monkeypatch.setattr(ratio, "THRIFTY_NEGATIVES", 100)
    z, held_out, seen = make_pairs(300, RHO), np.arange(300) % 3 == 0, []
    weigh = ratio.bound_weights

    def spy(contrasts):
        seen.append(contrasts[0].others.shape[2])
        return weigh(contrasts)

    monkeypatch.setattr(ratio, "bound_weights", spy)
    for n_critics in (1, 4):
        options = {"kind": "encoded", "hidden_dims": (8, 8), "n_updates": 5, "thrifty": True}
        critics = [TrainedCritic(KL(), seed=seed, **options) for seed in range(n_critics)]
        fit_together(critics, [z] * n_critics, [held_out] * n_critics)
    assert seen == [64] + 4 * [16]  # of each of 100 rows


def test_train_reporting_critics__each_is_the_reporting_critic_of_its_member(monkeypatch):
    monkeypatch.setattr(reporting, "ALONE", reporting.OF_MEMBERS)
    z = make_pairs(300, RHO)
    by_member, _ = seen_by_members(z)
    groups = np.arange(300) // 4
    found, _ = train(z, 60, groups_by_member=[groups] * K, held_out_by_member=None)
    for seed, (critic, own) in enumerate(zip(found.critics, by_member, strict=True)):
        alone = train_reporting_critic(own, groups=groups, n_updates=60, thrifty=True, seed=seed)
        assert_allclose(critic.score(own, groups), alone.score(own, groups), atol=1e-3)


def test_train_reporting_critics__keep_copies_together(monkeypatch):
    monkeypatch.setattr(reporting, "ALONE", reporting.OF_MEMBERS)
    z = [np.repeat(part, 2, axis=0) for part in make_pairs(60, RHO)]
    copies = copies_of(z, np.arange(120), None)
    found, _ = train(z, 20, copies_by_member=[copies] * K)
    own = seen_by_members(z)[0][1]
    alone = train_reporting_critic(own, copies=copies, held_out=folds(120)[1], n_updates=20, thrifty=True, seed=1)
    assert_allclose(found.critics[1].score(own), alone.score(own), atol=1e-3)


@pytest.mark.parametrize("n", [11, 14])  # in all, and to calibrate a member on
def test_train_reporting_critics__too_few_rows__is_an_error(n):
    with pytest.raises(TooFewSamplesError, match="at least"):
        train(make_pairs(n, RHO), held_out_by_member=[np.arange(n) < 3] * K)


def test_score__of_correlated_gaussians__is_near_the_truth(correlated):
    critics, _ = correlated
    value, std = critics.score(seen_by_members(make_pairs(2000, RHO, seed=1))[1])
    assert 0 < std < 0.05
    assert value == pytest.approx(TRUTH, abs=0.08)


def test_score__on_training_rows_by_members_that_held_them_out__is_near_the_truth(correlated):
    critics, beside = correlated
    value, std = critics.score(beside, held_out_by=np.array(folds(600)).T)
    assert abs(value - TRUTH) < 3 * std + 0.05


def test_score__of_independent_gaussians__is_about_zero():
    critics, _ = train(make_pairs(600, 0.0), 60)
    value, std = critics.score(seen_by_members(make_pairs(2000, 0.0, seed=1))[1])
    assert abs(value) < 0.02
    assert std > 0  # however little was found


def test_pointwise__is_the_mean_of_members_on_their_own_columns(correlated):
    critics, beside = correlated
    each = [critic.pointwise(parts_of(beside, k)) for k, critic in enumerate(critics.critics)]
    assert_allclose(critics.pointwise(beside), np.mean(each, axis=0), rtol=1e-12)
    groups = np.arange(600) // 3
    value, std = critics.score(beside, groups)
    assert value == pytest.approx(np.mean(each), rel=1e-12)
    normalizer_std = np.mean([critic.log_normalizer_std_ for critic in critics.critics])
    assert std == pytest.approx(np.hypot(standard_error(np.mean(each, axis=0), groups), normalizer_std), rel=1e-9)


@pytest.mark.parametrize("most", [None, 1, 4, 8])
def test_readers__are_those_that_held_a_row_out_or_all_at_even_distances(most):
    held_out_by = np.random.default_rng(0).random((50, 8)) < 0.4
    held_out_by[:2] = [[False], [True]]
    found = readers(held_out_by, most)
    for row, held_out in zip(found, held_out_by, strict=True):
        members = np.flatnonzero(held_out) if held_out.any() else np.arange(8)
        few = len(members) if most is None else min(most, len(members))
        assert np.flatnonzero(row).tolist() == [members[len(members) * i // few] for i in range(few)]


def test_pointwise__held_out_by_some__is_the_mean_of_these(correlated):
    critics, beside = correlated
    each = np.array([critic.pointwise(parts_of(beside, k)) for k, critic in enumerate(critics.critics)])
    held_out_by = np.random.default_rng(0).random((600, K)) < 0.4
    assert {0, 1, 2, 3} <= set(held_out_by.sum(1))
    given = zip(each.T, held_out_by, strict=True)
    by_hand = [values[rows].mean() if rows.any() else values.mean() for values, rows in given]
    assert_allclose(critics.pointwise(beside, held_out_by), by_hand, rtol=1e-9, atol=1e-12)
    assert critics.score(beside, held_out_by=held_out_by)[0] == pytest.approx(np.mean(by_hand), rel=1e-9)


def test_pointwise__of_a_row__does_not_depend_on_the_others(correlated):
    critics, beside = correlated
    some = critics.pointwise([part[5:8] for part in beside])
    assert_allclose(some, critics.pointwise(beside)[5:8], rtol=1e-9, atol=1e-12)


def test_log_ratio__of_an_index__is_that_of_the_rows_put_together(correlated):
    critics, beside = correlated
    index = np.stack([np.arange(50), np.arange(50)[::-1]])
    expected = critics.pointwise([part[rows] for part, rows in zip(beside, index, strict=True)])
    assert_allclose(critics.log_ratio(beside, index), expected, rtol=1e-9, atol=1e-12)


def test_member_critics__pickled__are_the_same(correlated):
    critics, beside = correlated
    again = pickle.loads(pickle.dumps(critics))
    assert_array_equal(again.pointwise(beside), critics.pointwise(beside))
    assert again.score(beside) == critics.score(beside)
    alone = len(pickle.dumps(MemberCritics(critics.critics[:1])))
    assert len(pickle.dumps(critics)) < 1.1 * K * alone


def test_train_reporting_critics__repeat_and_leave_no_trace(global_state):
    z = make_pairs(150, RHO)
    before = global_state()
    (critics, beside), (again, _) = train(z, 20), train(z, 20)
    assert global_state() == before
    assert_array_equal(critics.pointwise(beside), again.pointwise(beside))
