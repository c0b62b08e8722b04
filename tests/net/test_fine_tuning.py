"""Warm-up and decay of learning rates, gradients summed over batches, and clipping, through the estimators."""

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, GradientNormClipping

from sklearn_mdm import MDMNet
from sklearn_mdm.callbacks import GradientAccumulation, WarmupLinearDecay
from sklearn_mdm.encoders import MLPEncoder
from sklearn_mdm.fusion import ConcatFusion


class Recorder(Callback):
    """Notes learning rates, and the norm of every gradient that makes an update."""

    def on_train_begin(self, net, **kwargs):
        self.rates, self.norms = [], []

    def on_batch_end(self, net, training, **kwargs):
        if training:
            self.rates.append([group["lr"] for group in net.optimizer_.param_groups])

    def on_grad_computed(self, net, named_parameters, **kwargs):
        grads = [p.grad for _, p in named_parameters if p.grad is not None]
        self.norms.append(float(torch.cat([g.flatten() for g in grads]).norm()))


def recorded(model):
    return next(cb for cb in model.net_.callbacks if isinstance(cb, Recorder))


def test_warmup_and_decay__follow_two_straight_lines(regressor, X, y):
    model = regressor(lr=0.01, max_epochs=5, callbacks=[WarmupLinearDecay(0.25), Recorder()]).fit(X, y)
    rates = np.ravel(recorded(model).rates)  # 4 batches an epoch
    expected = [0.01 * (i + 1) / 5 if i < 5 else 0.01 * (20 - i) / 15 for i in range(20)]
    np.testing.assert_allclose(rates, expected, rtol=1e-12)
    assert model.net_.optimizer_.param_groups[0]["lr"] == 0.01


def test_decay_without_warmup__starts_at_the_full_rate(regressor, X, y):
    model = regressor(max_epochs=2, callbacks=[WarmupLinearDecay(0), Recorder()]).fit(X, y)
    rates = np.ravel(recorded(model).rates)
    np.testing.assert_allclose(rates, 1e-3 * np.arange(8, 0, -1) / 8, rtol=1e-12)


def test_groups_of_parameters__keep_their_proportions(X, y):
    module = ConcatFusion(dropout=0.0).build({"audio": (3,), "text": (2,)}, 1)
    groups = [("encoders.*", {"lr": 1e-5})]
    net = MDMNet(
        module,
        lr=1e-3,
        lam=0,
        max_epochs=2,
        batch_size=16,
        optimizer__param_groups=groups,
        callbacks=[WarmupLinearDecay(), Recorder()],
        verbose=0,
    ).fit({name: x.astype(np.float32) for name, x in X.items()}, y[:, None].astype(np.float32))
    rates = np.asarray(next(cb for cb in net.callbacks if isinstance(cb, Recorder)).rates)
    np.testing.assert_allclose(rates[:, 0] / rates[:, 1], 1e-2, rtol=1e-9)


@pytest.mark.parametrize("lam", [0.0, 0.1])
def test_one_batch_per_update__is_what_happens_without(regressor, X, y, same_parameters, lam):
    plain = regressor(lam=lam).fit(X, y)
    assert same_parameters(regressor(lam=lam, callbacks=[GradientAccumulation(1)]).fit(X, y), plain)


def test_accumulation__updates_on_the_mean_gradient(X, y):
    """Four batches of 15 make the update that one batch of 60 makes."""
    X, y = {name: x.astype(np.float64) for name, x in X.items()}, y[:, None].astype(np.float64)

    def fitted(batch_size, *callbacks):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module = ConcatFusion(dropout=0.0).build({"audio": (3,), "text": (2,)}, 1, encoder=MLPEncoder(dropout=0.0))
        net = MDMNet(
            module,
            optimizer=torch.optim.SGD,
            lr=0.1,
            lam=0,
            max_epochs=3,
            batch_size=batch_size,
            dtype=torch.float64,
            callbacks=list(callbacks),
            verbose=0,
        )
        return net.fit(X, y)

    whole, parts = fitted(60, Recorder()), fitted(15, GradientAccumulation(4), Recorder())
    for a, b in zip(whole.module_.parameters(), parts.module_.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    assert len(next(cb for cb in parts.callbacks if isinstance(cb, Recorder)).norms) == 3
    # Two are left over at the end of an epoch: 8 + 2 batches.
    uneven = fitted(6, GradientAccumulation(8), Recorder())
    assert len(next(cb for cb in uneven.callbacks if isinstance(cb, Recorder)).norms) == 6


def test_clipping__acts_once_per_update(regressor, X, y):
    callbacks = [GradientAccumulation(3), GradientNormClipping(1e-3), Recorder()]
    model = regressor(callbacks=callbacks, max_epochs=1).fit(X, y)
    assert len(recorded(model).norms) == 2  # of 4 batches
    assert np.allclose(recorded(model).norms, 1e-3, rtol=1e-3)


def test_accumulation__of_an_earlier_fit__is_forgotten(regressor, X, y):
    model = regressor(callbacks=[GradientAccumulation(4)], warm_start=True).fit(X, y)
    assert model.net_.accumulate == 4
    assert model.set_params(callbacks=None).fit(X, y).net_.accumulate == 1


@pytest.mark.parametrize("callback", [WarmupLinearDecay(1.0), WarmupLinearDecay(-0.1)])
def test_warmup__out_of_range__error(regressor, X, y, callback):
    with pytest.raises(ValueError, match="0 <= warmup < 1, got"):
        regressor(callbacks=[callback]).fit(X, y)


@pytest.mark.parametrize("n_batches", [0, 1.5, True])
def test_accumulation__out_of_range__error(regressor, X, y, n_batches):
    with pytest.raises(ValueError, match="positive integer n_batches, got"):
        regressor(callbacks=[GradientAccumulation(n_batches)]).fit(X, y)
