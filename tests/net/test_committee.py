"""CommitteeNet: members are what networks trained one by one are, however they are computed."""

import copy
import itertools
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from skorch.helper import predefined_split

from sklearn_mdm.callbacks import GradientAccumulation
from sklearn_mdm.callbacks._training import EarlyStopping, MemberStopping
from sklearn_mdm.encoders import GRUEncoder, MLPEncoder
from sklearn_mdm.fusion import FUSIONS, ConcatFusion, LateFusion, LowRankFusion
from sklearn_mdm.fusion._committee import Committee, mean_prediction
from sklearn_mdm.measures import InfoNCE
from sklearn_mdm.net import MaskedDataset
from sklearn_mdm.net import _committee as committee_net
from sklearn_mdm.net._committee import CommitteeNet
from sklearn_mdm.net._member_data import MemberDatasets
from sklearn_mdm.net._net import MDMNet
from sklearn_mdm.utils._rng import RandomStream, drawing_from

N, SEEDS = 90, (3, 1, 4)
SHAPES = {"m0": (3,), "m1": (4,), "m2": (2,)}


def make_data(missing=False, seed=0):
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(N, 1))
    X = {name: shared + rng.normal(size=(N, *shape)) for name, shape in SHAPES.items()}
    if missing:
        X["m1"][rng.random(N) < 0.3] = np.nan
    return X, shared + 0.1 * rng.normal(size=(N, 1))


def folds(kind):
    """Rows to train on and to stop on, for each member."""
    rows = np.arange(N)
    ends = {"even": (0, 30, 60, 90), "off by one": (0, 30, 59, 90), "uneven": (0, 10, 50, 90)}[kind]
    return [(np.r_[rows[:a], rows[b:]], rows[a:b]) for a, b in itertools.pairwise(ends)]


def options(fusion=None, **kwargs):
    fusion = ConcatFusion(hidden_dims=(8,), dropout=0.0) if fusion is None else fusion
    encoder = kwargs.pop("encoder", MLPEncoder(hidden_dims=(8,), out_dim=4, dropout=0.0))
    missing = kwargs.pop("missing", "mean")
    return {
        "module": partial(fusion.build, SHAPES, 1, encoder=encoder, missing=missing),
        "criterion__reduction": "none",
        "dtype": torch.float64,
        "lr": 0.01,
        "batch_size": 16,
        "max_epochs": 4,
        "verbose": 0,
        "critic__hidden_dims": (8, 8),
        **kwargs,
    }


def datasets(X, y, kind, weight=None):
    def dataset(rows):
        return MaskedDataset(
            {name: x for name, x in X.items()},
            y[rows],
            None if weight is None else weight[rows],
            dtype=torch.float64,
            rows=rows,
        )

    parts = folds(kind)
    return [dataset(train) for train, _ in parts], [dataset(held_out) for _, held_out in parts]


STOP = {"monitor": "valid_loss", "patience": 2, "threshold": 1e-4, "load_best": True}


def fit_committee(train, valid, callbacks=(), **kwargs):
    net = CommitteeNet(
        **kwargs,
        seeds=SEEDS,
        combine=partial(Committee, average=mean_prediction),
        callbacks=[MemberStopping(**STOP), *callbacks],
    )
    net.initialize()
    net.train_split = predefined_split(MemberDatasets(valid))
    return net.partial_fit(MemberDatasets(train))


def fit_one_by_one(train, valid, callbacks=(), **kwargs):
    nets = []
    for seed, own, held_out in zip(SEEDS, train, valid, strict=True):
        with drawing_from(RandomStream.of(seed, 0)):
            net = MDMNet(
                **kwargs, random_state=seed, callbacks=[EarlyStopping(**STOP), *copy.deepcopy(list(callbacks))]
            )
            net.initialize()
        net.train_split = predefined_split(held_out)
        nets.append(net.partial_fit(own))
    return nets


CASES = {
    "without the term": dict(lam=0.0),
    "kl": dict(lam=0.3),
    "unroll": dict(lam=0.3, unroll=3, n_negatives=2),
    "jsd": dict(lam=0.3, measure="jsd"),
    "nwj": dict(lam=0.3, measure="nwj"),
    "smile": dict(lam=0.3, measure="smile"),
    "infonce": dict(lam=0.3, measure="infonce"),
    "infonce, paired": dict(lam=0.3, measure=InfoNCE(), critic__kind="separable", n_negatives=3),
    "pairwise infonce": dict(lam=0.3, measure="pairwise_infonce"),
    "wasserstein": dict(lam=0.3, measure="wasserstein"),
    "knife": dict(lam=0.3, measure="knife"),
    "dropout": dict(lam=0.3, fusion=ConcatFusion(hidden_dims=(8,), dropout=0.3)),
    "modality dropout": dict(lam=0.3, modality_dropout=0.3),
    "late": dict(lam=0.3, fusion=LateFusion(hidden_dims=(8,), dropout=0.0)),
    "late, even": dict(lam=0.3, fusion=LateFusion(hidden_dims=(8,), weights="even", dropout=0.0)),
    "low rank": dict(lam=0.3, fusion=LowRankFusion(rank=2)),
    "token": dict(lam=0.3, missing="token", modality_dropout=0.3),
    "skip": dict(lam=0.3, missing="skip"),
    "sgd": dict(lam=0.3, optimizer=torch.optim.SGD, optimizer__momentum=0.9),
    "weight decay": dict(lam=0.3, optimizer=torch.optim.AdamW, optimizer__weight_decay=0.1),
    "one batch": dict(lam=0.3, batch_size=-1),
    "tensor": dict(lam=0.3, fusion=FUSIONS["tensor"](hidden_dims=(4,))),
    "misa": dict(lam=0.3, fusion=FUSIONS["misa"]()),
}


def same(committee, nets, tolerance=1e-9):
    for k, net in enumerate(nets):
        member = committee.module_.members[k]
        for (name, one), (_, other) in zip(net.module_.state_dict().items(), member.state_dict().items(), strict=True):
            torch.testing.assert_close(other, one, rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")
        if hasattr(net, "critic_"):
            for one, other in zip(
                net.critic_.state_dict().values(), committee.critic_[k].state_dict().values(), strict=True
            ):
                torch.testing.assert_close(other, one, rtol=tolerance, atol=tolerance)
        history = committee.members_[k].history
        for key in ("train_task_loss", "valid_task_loss", "train_dependency"):
            if key in net.history[-1]:
                np.testing.assert_allclose(history[:, key], net.history[:, key], rtol=1e-7, atol=1e-9)


KINDS = ["even", "off by one", "uneven"]
OF_MISSING = {"modality dropout", "token", "skip"}
# Every case in the usual run, and every kind of folds with and without missing modalities; all of them apart.
COMBINATIONS = [
    pytest.param(
        case,
        missing,
        kind,
        marks=() if (i + j) % 3 == 0 and (missing == i % 2 or case in OF_MISSING) else pytest.mark.slow,
    )
    for i, case in enumerate(CASES)
    for missing in (False, True)
    for j, kind in enumerate(KINDS)
]


@pytest.mark.parametrize(("case", "missing", "kind"), COMBINATIONS)
def test_members__are_networks_trained_one_by_one(case, missing, kind):
    X, y = make_data(missing)
    train, valid = datasets(X, y, kind)
    settings = options(**CASES[case])
    committee = fit_committee(train, valid, **settings)
    same(committee, fit_one_by_one(train, valid, **settings))
    looped = case in ("knife", "tensor", "misa")
    assert committee.stacked_ != looped


def test_last_batch_of_fewer_rows_than_modalities__has_no_term(monkeypatch):
    for name in ("m3", "m4"):
        monkeypatch.setitem(SHAPES, name, (2,))
    X, y = make_data()
    train, valid = datasets(X, y, "even")
    settings = options(lam=0.3, batch_size=14)  # 60 rows: four are left
    committee = fit_committee(train, valid, **settings)
    same(committee, fit_one_by_one(train, valid, **settings))
    assert committee.history[:, "terms_skipped"] == [len(SEEDS)] * 4


@pytest.mark.parametrize("lam", [0.0, 0.3])
@pytest.mark.parametrize("missing", [False, True], ids=["complete", "missing"])
def test_one_after_the_other__gives_the_same_numbers(lam, missing, monkeypatch):
    X, y = make_data(missing)
    data = datasets(X, y, "uneven", weight=np.linspace(0.5, 2, N))
    settings = options(lam=lam, fusion=ConcatFusion(hidden_dims=(8,), dropout=0.2))
    stacked = fit_committee(*data, **settings)
    monkeypatch.setattr(committee_net, "can_stack", lambda module: False)
    looped = fit_committee(*data, **settings)
    assert stacked.stacked_ and not looped.stacked_
    for one, other in zip(stacked.module_.parameters(), looped.module_.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    for key in ("train_loss", "valid_loss", "train_task_loss", "valid_task_loss_of_members"):
        np.testing.assert_allclose(stacked.history[:, key], looped.history[:, key], rtol=1e-9)
    same(stacked, fit_one_by_one(*data, **settings))


@pytest.mark.parametrize("kind", ["even", "uneven"])
def test_accumulated_gradients__are_those_of_each_member(kind):
    X, y = make_data()
    data = datasets(X, y, kind)
    settings = options(lam=0.1)
    callbacks = [GradientAccumulation(3)]
    same(fit_committee(*data, callbacks, **settings), fit_one_by_one(*data, callbacks, **settings))


def test_members_stop_for_themselves__and_return_to_their_best_epoch():
    X, y = make_data()
    data = datasets(X, y, "off by one")
    settings = options(lam=0.1, max_epochs=60, lr=0.03)
    committee, nets = fit_committee(*data, **settings), fit_one_by_one(*data, **settings)
    lengths = [len(net.history) for net in nets]
    assert len(set(lengths)) > 1 and max(lengths) < 60
    assert [len(member.history) for member in committee.members_] == lengths
    assert len(committee.history) == max(lengths)
    same(committee, nets)
    of_members = np.array(committee.history[:, "valid_task_loss_of_members"])
    assert of_members.shape == (max(lengths), 3)
    np.testing.assert_array_equal(np.isfinite(of_members).sum(0), lengths)
    np.testing.assert_allclose(committee.history[:, "valid_task_loss"], np.nanmean(of_members, axis=1))


def test_training_goes_on__from_a_pickle_and_from_the_net():
    X, y = make_data()
    train, valid = datasets(X, y, "off by one")
    settings = options(lam=0.1, max_epochs=2)
    once, nets = fit_committee(train, valid, **settings), fit_one_by_one(train, valid, **settings)
    loaded = pickle.loads(pickle.dumps(once))
    copied = copy.deepcopy(once)
    for net, own in zip(nets, train, strict=True):
        net.train_split = None
        net.callbacks = []
        net.initialize_callbacks()
        net.partial_fit(own)
    for committee in (once, loaded, copied):
        committee.train_split = None
        committee.callbacks = []
        committee.initialize_callbacks()
        same(committee.partial_fit(MemberDatasets(train)), nets)


def test_a_pickle__is_no_larger_than_its_members():
    X, y = make_data()
    data, settings = datasets(X, y, "even"), options(lam=0.1)
    one = len(pickle.dumps(fit_one_by_one(*data, **settings)[0]))
    assert len(pickle.dumps(fit_committee(*data, **settings))) < 1.2 * len(SEEDS) * one


def test_parameters_own_their_memory__after_training():
    X, y = make_data()
    net = fit_committee(*datasets(X, y, "even"), **options(lam=0.1))
    parameters = [*net.module_.parameters(), *net.critic_.parameters()]
    assert all(p.untyped_storage().nbytes() == p.numel() * p.element_size() for p in parameters)
    assert all(p.grad is None for p in parameters)


def test_an_optimizer_that_mixes_parameters__is_not_given_a_row():
    class Mixing(torch.optim.SGD):
        pass

    X, y = make_data()
    data, settings = datasets(X, y, "even"), options(lam=0.1, optimizer=Mixing)
    committee = fit_committee(*data, **settings)
    assert not committee.stacked_
    same(committee, fit_one_by_one(*data, **settings))


def test_prediction__averages_members_and_puts_representations_side_by_side():
    X, y = make_data()
    net = fit_committee(*datasets(X, y, "even"), **options(lam=0.0))
    batch, _ = MaskedDataset(X, y, dtype=torch.float64)[:]
    with torch.no_grad():
        output = net.module_.eval()(batch.X)
        members = [member(batch.X) for member in net.module_.members]
    torch.testing.assert_close(output.prediction, torch.stack([m.prediction for m in members]).mean(0))
    torch.testing.assert_close(output.fused, torch.cat([m.fused for m in members], 1))
    for name, z in output.representations.items():
        torch.testing.assert_close(z, torch.cat([m.representations[name] for m in members], 1))
        assert z.shape[1] == net.module_.code_dims[name]
    np.testing.assert_allclose(net.predict(X), output.prediction.numpy(), rtol=1e-12)


def test_sequences__of_recurrent_members_are_looped_over():
    rng = np.random.default_rng(0)
    X = {"m0": rng.normal(size=(N, 5, 3)), "m1": rng.normal(size=(N, 4))}
    y = X["m1"][:, :1]
    train = [MaskedDataset(X, y[rows], dtype=torch.float64, rows=rows) for rows, _ in folds("off by one")]
    valid = [MaskedDataset(X, y[rows], dtype=torch.float64, rows=rows) for _, rows in folds("off by one")]
    for encoder, stacked in ((GRUEncoder(hidden_dim=4), False), (MLPEncoder((4,), 4, dropout=0.0), True)):
        build = partial(ConcatFusion((4,), dropout=0.0).build, {"m0": (5, 3), "m1": (4,)}, 1, encoder={"m0": encoder})
        settings = options(lam=0.2) | {"module": build}
        committee = fit_committee(train, valid, **settings)
        assert committee.stacked_ == stacked
        same(committee, fit_one_by_one(train, valid, **settings))
