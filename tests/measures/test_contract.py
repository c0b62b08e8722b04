"""A measure of one's own: what breaks the contract is told once, in its words, and the trial leaves no trace."""

import re

import pytest
import torch
from torch import nn

from sklearn_mdm import DependencyEstimator, MDMFusionRegressor
from sklearn_mdm.measures import MEASURES, Measure
from sklearn_mdm.measures._contract import build_checked_critic


class Own(Measure):
    """A measure that keeps the contract, from which each of those below departs in one thing."""

    def objective(self, t_joint, t_product):
        return t_joint.mean() - t_product.mean()


class NoObjective(Measure):
    pass


class NoModule(Own):
    def build_critic(self, code_dims, hidden_dims=(64, 64), *, kind=None, raw=False):
        return lambda representations, index=None: 0.0


class NarrowBuild(Own):
    def build_critic(self, code_dims):
        return nn.Linear(sum(code_dims), 1)


class NumberAsValue(Own):
    def value(self, critic, representations, index):
        return 1.5


class VectorAsValue(Own):
    def value(self, critic, representations, index):
        return critic(representations)


class VectorAsObjective(Own):
    def objective(self, t_joint, t_product):
        return t_joint


class NarrowObjective(Own):
    def objective(self, t_joint):
        return t_joint.mean()


class NarrowValue(Own):
    def value(self, critic, representations):
        return critic(representations).mean()


class OtherShapes(Own):
    def objective(self, t_joint, t_product):
        return (t_joint @ torch.ones(3, 1)).mean()


BROKEN = [
    (NoObjective, "NoObjective must implement objective(t_joint, t_product)."),
    (NoModule, "NoModule.build_critic must return a torch module, got <function"),
    (NarrowBuild, "NarrowBuild.build_critic takes (code_dims, hidden_dims, kind, raw): "),
    (NumberAsValue, "NumberAsValue.value must return a scalar tensor, of shape (), got 1.5."),
    (VectorAsValue, "VectorAsValue.value must return a scalar tensor, of shape (), got one of shape (4,)."),
    (VectorAsObjective, "VectorAsObjective.critic_objective must return a scalar tensor, of shape (), got one of"),
    (NarrowObjective, "NarrowObjective.critic_objective breaks the contract of sklearn_mdm.measures.Measure: "),
    (NarrowValue, "NarrowValue.value takes (critic, representations, index): too many positional arguments."),
    (OtherShapes, "OtherShapes.critic_objective breaks the contract of sklearn_mdm.measures.Measure: "),
]


@pytest.mark.parametrize(("measure", "message"), BROKEN, ids=[measure.__name__ for measure, _ in BROKEN])
def test_a_measure_that_breaks_the_contract__is_told_so(X, y, measure, message):
    for estimator in (
        MDMFusionRegressor(
            n_estimators=1, measure=measure(), lam=0.1, max_epochs=1, critic_hidden_dims=(8,), device="cpu"
        ),
        DependencyEstimator(measure(), max_updates=1),
    ):
        with pytest.raises((TypeError, NotImplementedError), match=re.escape(message)):
            estimator.fit(*((X, y) if isinstance(estimator, MDMFusionRegressor) else (X,)))


def test_a_measure_that_keeps_the_contract__is_built(X):
    assert isinstance(build_checked_critic(Own(), [2, 3], hidden_dims=(4,)), nn.Module)


@pytest.mark.parametrize("name", [name for name, measure in MEASURES.items() if not measure.needs_y])
def test_the_trial__draws_nothing_and_is_not_remembered(name):
    def built(build):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            critic = build(MEASURES[name](), [2, 3, 1])
            return critic.training, critic.state_dict(), torch.rand(())

    (training, state, number), (_, expected, plain) = (
        built(build_checked_critic),
        built(lambda measure, dims: measure.build_critic(dims)),
    )
    assert training and number == plain
    assert all(torch.equal(state[key], expected[key]) for key in expected)
