"""Samples without a target: what learns from them, and that members do so as networks trained one by one."""

import copy
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from scipy.special import softmax
from skorch.dataset import ValidSplit
from skorch.helper import predefined_split
from torch.utils.data import DataLoader, Subset

from sklearn_mdm.callbacks._training import MemberStopping
from sklearn_mdm.encoders import GRUEncoder, MLPEncoder
from sklearn_mdm.fusion import FUSIONS, ConcatFusion, FusionOutput, LateFusion
from sklearn_mdm.fusion._committee import Committee, mean_prediction
from sklearn_mdm.measures import TCMax
from sklearn_mdm.net import BatchIterator, MaskedDataset, MDMNet
from sklearn_mdm.net import _data as data_module
from sklearn_mdm.net import _net as net_module
from sklearn_mdm.net._agreement import CORRUPTED, SURE, agreement_losses, aligned, corrupted, without_some
from sklearn_mdm.net._committee import CommitteeNet
from sklearn_mdm.net._data import Batch
from sklearn_mdm.net._member_data import MemberDatasets

from .test_committee import SEEDS, SHAPES, STOP, N, datasets, fit_committee, fit_one_by_one, make_data, options, same

N_POOL = 70
QUICK = dict(max_epochs=2, agreement=0.7)


@pytest.fixture(autouse=True)
def fewest_batches(monkeypatch):
    """Few enough of them to be quick, and more than one pass."""
    monkeypatch.setattr(data_module, "FEWEST_BATCHES", 5)


def pool_of(missing=False, n=N_POOL, seed=5):
    X, _ = make_data(missing, seed)
    return MaskedDataset({name: x[:n] for name, x in X.items()}, dtype=torch.float64)


def with_pool(parts, pool):
    """The same datasets with these samples without a target."""
    for part in parts:
        part.unlabelled = pool
    return parts


def classes_of(y):
    return np.digitize(y.ravel(), [-0.5, 0.5]).astype(np.int64)


def settings_of(case, n_outputs=1):
    settings = options(**{**QUICK, **case})
    fusion = case.get("fusion", ConcatFusion(hidden_dims=(8,), dropout=0.0))
    encoder = MLPEncoder(hidden_dims=(8,), out_dim=4, dropout=0.0)
    missing = case.get("missing", "mean")
    settings["module"] = partial(fusion.build, SHAPES, n_outputs, encoder=encoder, missing=missing)
    if n_outputs > 1:
        settings["criterion"] = torch.nn.CrossEntropyLoss
    if "tcmax" in str(case.get("measure", "")).lower():
        del settings["critic__hidden_dims"]  # it has no critic
    return settings


DROPOUT = ConcatFusion(hidden_dims=(8,), dropout=0.3)
CASES = {
    "term and agreement": dict(lam=0.3),
    "no term": dict(lam=0.0),
    "no agreement": dict(lam=0.3, agreement=0.0),
    "neither": dict(lam=0.0, agreement=0.0),
    "pairwise": dict(lam=0.3, measure="pairwise_infonce"),
    "unroll": dict(lam=0.3, unroll=2),
    "dropout": dict(lam=0.3, fusion=DROPOUT),
    "dropout, no term": dict(lam=0.0, fusion=DROPOUT),
    "modality dropout": dict(lam=0.3, modality_dropout=0.3),
    "token": dict(lam=0.3, missing="token"),
    "skip": dict(lam=0.3, missing="skip"),
    "late": dict(lam=0.3, fusion=LateFusion(hidden_dims=(8,), dropout=0.0)),
    "looped": dict(lam=0.3, fusion=FUSIONS["tensor"](hidden_dims=(4,))),
    "looped, dropout": dict(lam=0.3, measure="knife", fusion=DROPOUT),
    "penalty": dict(lam=0.3, fusion=FUSIONS["misa"]()),
    "one batch": dict(lam=0.3, batch_size=-1),
}
# Every case in the usual run, and every kind of folds with and without missing modalities; all of them apart.
OF_MISSING = {"modality dropout", "token", "skip"}
COMBINATIONS = [
    pytest.param(
        case,
        missing,
        kind,
        marks=() if (i + j) % 3 == 0 and (missing == i % 2 or case in OF_MISSING) else pytest.mark.slow,
    )
    for i, case in enumerate(CASES)
    for missing in (False, True)
    for j, kind in enumerate(["even", "off by one", "uneven"])
]


@pytest.mark.parametrize(("case", "missing", "kind"), COMBINATIONS)
def test_members__are_networks_trained_one_by_one(case, missing, kind):
    X, y = make_data(missing)
    classes = len(case) % 2 == 0  # half of the cases are classifiers
    train, valid = datasets(X, classes_of(y) if classes else y, kind)
    with_pool(train, pool_of(missing))
    settings = settings_of(CASES[case], 3 if classes else 1)
    committee = fit_committee(train, valid, **settings)
    same(committee, fit_one_by_one(train, valid, **settings))
    assert committee.stacked_ != (case.startswith("looped") or case == "penalty")


@pytest.mark.parametrize("n_pool", [4, 20])
@pytest.mark.parametrize("fusion", [None, DROPOUT], ids=["no dropout", "dropout"])
@pytest.mark.parametrize("kind", ["even", "off by one", "uneven"])
def test_pools_smaller_than_a_batch__are_whole_and_uneven(n_pool, fusion, kind):
    X, y = make_data()
    train, valid = datasets(X, y, kind, weight=np.linspace(0.5, 2, N))
    with_pool(train, pool_of(n=n_pool))
    settings = settings_of(dict(lam=0.3, batch_size=64, **({"fusion": fusion} if fusion else {})))
    same(fit_committee(train, valid, **settings), fit_one_by_one(train, valid, **settings))


@pytest.mark.parametrize("measure", ["tcmax", TCMax()], ids=["name", "object"])
def test_a_measure_that_reads_labels__stays_with_those_that_have_one(measure, monkeypatch):
    X, y = make_data()
    train, valid = datasets(X, classes_of(y), "off by one")
    settings = settings_of(dict(lam=0.1, measure=measure), 3)
    monkeypatch.setattr(data_module, "FEWEST_BATCHES", 1)
    no_agreement = {**settings, "agreement": 0.0}
    without = fit_one_by_one(train, valid, **no_agreement)
    with_pool(train, pool_of())
    same(fit_committee(train, valid, **settings), fit_one_by_one(train, valid, **settings))
    for one, other in zip(without, fit_one_by_one(train, valid, **no_agreement), strict=True):
        assert torch.equal(weights_of(one), weights_of(other))


def test_too_few_complete_samples_with_labels__leave_such_a_measure_idle():
    X, y = make_data()
    X["m1"][1:] = np.nan
    data = MaskedDataset(X, classes_of(y), dtype=torch.float64, unlabelled=pool_of())
    net = MDMNet(**settings_of(dict(lam=0.1, measure="tcmax"), 3)).fit(data)
    assert "train_dependency" not in net.history[-1]


def test_several_outputs__of_a_regressor():
    X, y = make_data()
    train, valid = datasets(X, np.c_[y, -y], "uneven")
    settings = settings_of(dict(lam=0.3)) | {"module": settings_of({}, 2)["module"]}
    with_pool(train, pool_of())
    same(fit_committee(train, valid, **settings), fit_one_by_one(train, valid, **settings))


def test_sequences__with_steps_and_rows_that_were_not_observed():
    rng = np.random.default_rng(0)
    X = {"m0": rng.normal(size=(N, 5, 3)), "m1": rng.normal(size=(N, 4))}
    y = np.nan_to_num(X["m1"][:, :1])
    X["m0"][rng.random((N, 5)) < 0.3] = np.nan
    X["m1"][3:9] = np.nan
    pool = MaskedDataset(copy.deepcopy(X), dtype=torch.float64)
    train, valid = (
        [MaskedDataset(X, y[part::4], dtype=torch.float64, rows=np.arange(N)[part::4]) for _ in SEEDS]
        for part in (0, 1)
    )
    for encoder, stacked in ((GRUEncoder(hidden_dim=4), False), (MLPEncoder((4,), 4, dropout=0.0), True)):
        build = partial(ConcatFusion((4,), dropout=0.0).build, {"m0": (5, 3), "m1": (4,)}, 1, encoder={"m0": encoder})
        settings = settings_of(dict(lam=0.2)) | {"module": build}
        committee = fit_committee(with_pool(train, pool), valid, **settings)
        assert committee.stacked_ == stacked
        same(committee, fit_one_by_one(train, valid, **settings))


@pytest.mark.parametrize(
    "path",
    [
        [dict(lam=0.0), dict(lam=0.1), dict(lam=1.0)],
        [dict(lam=0.3, agreement=0.0), dict(lam=0.3, agreement=1.0), dict(lam=0.3, agreement=3.0)],
        [dict(lam=0.0, agreement=1.0), dict(lam=0.0, agreement=0.0), dict(lam=0.0, agreement=2.0)],
        [dict(lam=0.0, agreement=0.0), dict(lam=0.5, agreement=0.0), dict(lam=0.0, agreement=2.0)],
    ],
    ids=["lam", "agreement", "agreement alone", "both"],
)
@pytest.mark.parametrize("fusion", [None, DROPOUT], ids=["no dropout", "dropout"])
def test_candidates_side_by_side__are_fits_alone(path, fusion):
    X, y = make_data()
    train, valid = datasets(X, y, "uneven")
    with_pool(train, pool_of())
    settings = settings_of({} if fusion is None else {"fusion": fusion})
    committee = fit_committee(train, valid, settings=path, **settings)
    assert committee.stacked_
    for k, own in enumerate(path):
        net = fit_one_by_one(train, valid, **{**settings, **own})[k]
        for one, other in zip(net.module_.parameters(), committee.module_.members[k].parameters(), strict=True):
            torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("agreement", [0.5, 3.0])
def test_without_such_samples__agreement_changes_nothing(agreement):
    X, y = make_data(missing=True)
    train, valid = datasets(X, y, "uneven")
    settings = settings_of(dict(lam=0.3, modality_dropout=0.2, fusion=DROPOUT))
    first = fit_committee(train, valid, **{**settings, "agreement": 0.0})
    other = fit_committee(train, valid, **{**settings, "agreement": agreement})
    for one, two in zip(first.module_.parameters(), other.module_.parameters(), strict=True):
        assert torch.equal(one, two)


def alone(X, y, pool=None, *, classes=False, rows=None, **kwargs):
    data = MaskedDataset(X, classes_of(y) if classes else y, dtype=torch.float64, rows=rows, unlabelled=pool)
    return MDMNet(**settings_of(kwargs, 3 if classes else 1)), data


# -- what one step is ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [False, True], ids=["numbers", "classes"])
def test_objective__is_that_of_numpy(classes, monkeypatch):
    """Linear networks, one batch of all: encoders and sum written out, with the masks that the net drew."""
    drawn = []

    def recording(batch, noise, rate):
        drawn.append(without_some(batch, noise, rate))
        assert rate == 0.5
        return drawn[-1]

    spoiled = []
    monkeypatch.setattr(net_module, "without_some", recording)
    monkeypatch.setattr(net_module, "corrupted", lambda batch: spoiled.append(corrupted(batch)) or spoiled[-1])
    X, y = make_data(missing=True)
    pool, taught_y = pool_of(missing=True), classes_of(y) if classes else y
    n_outputs = 3 if classes else 1
    data = MaskedDataset(X, taught_y, np.linspace(0.5, 1.5, N), torch.float64, unlabelled=pool)

    class Linear(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.code_dims = dict.fromkeys(SHAPES, 2)
            self.maps = torch.nn.ModuleDict({name: torch.nn.Linear(*d, 2) for name, d in SHAPES.items()})
            self.out = torch.nn.Linear(6, n_outputs)

        def represent(self, X, mask=None):
            z = {name: self.maps[name](x) for name, x in X.items()}
            return z if mask is None else {name: part * mask[name][:, None] for name, part in z.items()}

        def forward(self, X, mask=None):
            z = self.represent(X, mask)
            fused = torch.cat(list(z.values()), 1)
            return FusionOutput(self.out(fused), fused, z, None)

    torch.manual_seed(0)
    module = Linear()
    with torch.no_grad():
        module.out.weight *= 8  # some of the classes are sure
    weights = {name: p.detach().numpy().copy() for name, p in module.double().named_parameters()}
    criterion = torch.nn.CrossEntropyLoss if classes else torch.nn.MSELoss
    net = MDMNet(
        module, criterion, criterion__reduction="none", lam=0.0, agreement=0.7, batch_size=-1, max_epochs=1,
        dtype=torch.float64, verbose=0, optimizer=torch.optim.SGD, lr=0.0,
    )  # fmt: skip
    monkeypatch.setattr(data_module, "FEWEST_BATCHES", 1)
    orders = []
    batch_of = MaskedDataset.batch
    monkeypatch.setattr(MaskedDataset, "batch", lambda self, rows: orders.append(rows) or batch_of(self, rows))
    net.fit(data)

    def predict(X, mask):
        z = [
            (x @ weights[f"maps.{name}.weight"].T + weights[f"maps.{name}.bias"]) * mask[name][:, None]
            for name, x in X.items()
        ]
        return np.concatenate(z, 1) @ weights["out.weight"].T + weights["out.bias"]

    labelled, everyone = (order.numpy() for order in orders)
    assert sorted(labelled) == list(range(N)) and sorted(everyone) == list(range(N + N_POOL))
    joined = {name: np.concatenate([np.nan_to_num(X[name]), pool.X[name].numpy()]) for name in X}
    seen = {
        name: np.concatenate([~np.isnan(X[name][:, 0]), (pool.mask or {name: torch.ones(N_POOL)})[name].numpy() > 0])
        for name in X
    }
    some, taught = ({name: mask.numpy() for name, mask in masks.items()} for masks in drawn)
    for rows, masks in ((labelled, some), (everyone, taught)):
        assert np.stack(list(masks.values())).any(0).all()
        assert all((masks[name] <= seen[name][rows]).all() for name in masks)
        assert 0.4 < masks["m0"].mean() < 0.75  # half, and what is left of a sample that would lose all

    def loss(outputs, targets):
        if not classes:
            return ((outputs - targets) ** 2).mean(1)
        shifted = outputs - outputs.max(1, keepdims=True)
        return np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(outputs)), targets]

    def taken(values, rows):
        return {name: value[rows] for name, value in values.items()}

    W = np.linspace(0.5, 1.5, N)[labelled]
    inputs, of_all = taken(joined, labelled), taken(joined, everyone)
    tasks = [(W * loss(predict(inputs, mask), taught_y[labelled])).mean() for mask in (taken(seen, labelled), some)]
    mixed = {name: x.numpy() for name, x in spoiled[0].X.items()}
    for j, (name, x) in enumerate(of_all.items(), start=1):
        other = mixed[name] != x
        np.testing.assert_array_equal(mixed[name][other], np.roll(x, j, 0)[other])
        assert 0.15 < other.mean() < 0.4
    teacher, student = predict(of_all, taken(seen, everyone)), predict(mixed, taught)
    if classes:
        shares = (np.bincount(taught_y, minlength=3) + 1) / (N + 3)
        teacher = teacher + np.log(shares / softmax(teacher, 1).mean(0))
        sure = softmax(teacher, 1).max(1) > SURE
        assert 0.1 < sure.mean() < 0.9
        agreement = (loss(student, teacher.argmax(1)) * sure).mean()
    else:
        agreement = loss(student, teacher).mean()
    expected = sum(tasks) / 2 + 0.7 * agreement
    np.testing.assert_allclose(net.history[-1, "train_loss"], expected, rtol=1e-10)
    np.testing.assert_allclose(net.history[-1, "train_scaled_task_loss"], tasks[0], rtol=1e-10)


def test_agreement_losses__teach_where_the_teacher_is_sure():
    teacher = torch.tensor([[3.0, 0.0], [0.1, 0.0], [0.0, 5.0]])
    taught = torch.zeros(3, 2, requires_grad=True)
    y = torch.tensor([0, 1])
    losses = agreement_losses(torch.nn.CrossEntropyLoss(reduction="none"), taught, teacher, y)
    torch.testing.assert_close(losses, torch.tensor([1.0, 0.0, 1.0]) * np.log(2))
    numbers = agreement_losses(torch.nn.MSELoss(reduction="none"), taught, teacher, y.double())
    torch.testing.assert_close(numbers, teacher.square().mean(1))
    with pytest.raises(ValueError, match="criterion__reduction"):
        agreement_losses(torch.nn.CrossEntropyLoss(), taught, teacher, y)


def test_aligned__makes_classes_as_frequent_as_labels():
    logits = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)) + torch.tensor([2.0, 0.0, -1.0])
    shares = torch.tensor([0.2, 0.3, 0.5])
    tilted, means = aligned(logits, None, shares)
    torch.testing.assert_close(means, logits.softmax(1).mean(0))
    before, after = (abs(part.softmax(1).mean(0) - shares).max() for part in (logits, tilted))
    assert after < before / 3
    _, moved = aligned(-logits, means, shares)
    assert 0 < abs(moved - means).max() < 0.05
    # A class that no sample has any probability of leaves finite numbers.
    never = torch.tensor([[0.0, 0.0, -1e4]])
    assert torch.isfinite(aligned(never, None, shares)[0]).all()


def test_corrupted__takes_cells_of_others_in_the_same_column():
    x = torch.arange(4000.0).reshape(1000, 4)
    batch = corrupted(Batch({"a": x, "b": x}, None))
    for j, part in enumerate(batch.X.values(), start=1):
        other = part != x
        assert abs(other.float().mean() - CORRUPTED) < 0.05
        assert torch.equal(part[other], x.roll(j, 0)[other])


def test_without_some__never_takes_all():
    X, _ = make_data(missing=True)
    batch, _ = MaskedDataset(X, dtype=torch.float64)[:]
    noise = torch.rand(3, N, generator=torch.Generator().manual_seed(0))
    for rate in (0.0, 0.5, 1.0):
        masks = torch.stack(list(without_some(batch, noise, rate).values()))
        seen = torch.stack(list(batch.mask.values()))
        assert masks.any(0).all() and not (masks & ~seen).any()
    assert (masks.sum(0) == 1).all()
    torch.testing.assert_close(torch.where(masks, noise, 0).amax(0), torch.where(seen, noise, 0).amax(0))
    stacked = Batch({n: torch.stack([x, x]) for n, x in batch.X.items()}, None)
    both = without_some(stacked, torch.stack([noise, noise.flip(0)], 1), 0.5)
    for k, own in enumerate((noise, noise.flip(0))):
        alone_mask = without_some(Batch(batch.X, None), own, 0.5)
        assert all(torch.equal(both[name][k], alone_mask[name]) for name in both)


# -- which rows are read ---------------------------------------------------------------------------------------------


def recorded(net, data, monkeypatch):
    """First values of all rows that a module read in training."""
    read = set()
    for name in ("represent", "forward"):
        original = getattr(net.module_.__class__, name)

        def spy(self, X, mask=None, original=original):
            rows = X["m0"][:, 0] if mask is None else X["m0"][:, 0][mask["m0"]]
            read.update(rows.tolist())
            return original(self, X, mask)

        monkeypatch.setattr(net.module_.__class__, name, spy)
    net.partial_fit(data)
    return read


def test_held_out_samples__train_nothing(monkeypatch):
    X, y = make_data()
    rows, pool = np.arange(60), pool_of()
    net, data = alone(X, y, pool, lam=0.3)
    net.initialize()
    net.train_split = None
    read = recorded(net, Subset(data, rows.tolist()), monkeypatch)
    assert read == {*X["m0"][rows, 0], *pool.X["m0"][:, 0].tolist()}


def test_term__reads_all_complete_rows_and_no_other(monkeypatch):
    X, y = make_data(missing=True)
    pool, seen = pool_of(missing=True), []
    net, data = alone(X, y[:60], pool, rows=np.arange(60), lam=0.3, agreement=0.0, max_epochs=4)
    value, objective = MDMNet._value, MDMNet._critic_objective
    monkeypatch.setattr(MDMNet, "_value", lambda self, z: seen.append(("model", len(z[0]))) or value(self, z))
    monkeypatch.setattr(
        MDMNet, "_critic_objective", lambda self, z: seen.append(("critic", len(z[0]))) or objective(self, z)
    )
    streams = []
    shuffled = MDMNet._shuffled
    monkeypatch.setattr(
        MDMNet, "_shuffled", lambda self, rows, stream: streams.append((stream, rows)) or shuffled(self, rows, stream)
    )
    net.fit(data)
    complete = ~np.isnan(np.r_[X["m1"][:60, 0], np.where(pool.mask["m1"].numpy(), 0, np.nan)])
    rows = dict(streams)
    np.testing.assert_array_equal(rows["critic_batches"], np.flatnonzero(complete))
    np.testing.assert_array_equal(rows["unlabelled"], np.arange(60 + N_POOL))
    assert {n for kind, n in seen if kind == "critic"} == {16}
    assert all(n <= 16 for _, n in seen) and len(seen) == 2 * 4 * 8  # two passes of four batches


# -- data ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [(False, False), (True, False), (False, True), (True, True)])
def test_with_unlabelled__is_both_below_one_another(missing):
    X, y = make_data(missing[0])
    pool = pool_of(missing[1])
    rows = torch.tensor([5, 3, 8])
    data = MaskedDataset(X, y[10:40], dtype=torch.float64, rows=np.arange(10, 40), unlabelled=pool)
    batch, targets = data.with_unlabelled(rows)[:]
    assert len(batch) == 3 + N_POOL and not len(targets)
    for name, x in X.items():
        np.testing.assert_array_equal(batch.X[name][:3], np.nan_to_num(x[10:40][rows]))
        np.testing.assert_array_equal(batch.X[name][3:], pool.X[name])
    observed = ~np.isnan(X["m1"][10:40][rows, 0]), (torch.ones(N_POOL) if pool.mask is None else pool.mask["m1"])
    expected = np.concatenate(observed).astype(bool)
    assert expected.all() if batch.mask is None else (batch.mask["m1"].numpy() == expected).all()
    assert expected.all() if batch.complete is None else (batch.complete.numpy() == expected).all()


def test_same_tensors__are_not_copied_and_give_the_same_fit():
    X, y = make_data(missing=True)
    stored = MaskedDataset(X, dtype=torch.float64)
    batch = Batch(stored.X, stored.mask)
    pool = MaskedDataset(batch, rows=np.arange(60, N))
    shared = MaskedDataset(batch, y[:60], dtype=torch.float64, rows=np.arange(60), unlabelled=pool)
    assert shared.with_unlabelled(torch.arange(60)).X is stored.X
    apart = MaskedDataset(
        {name: x[:60] for name, x in X.items()},
        y[:60],
        dtype=torch.float64,
        unlabelled=MaskedDataset({name: x[60:] for name, x in X.items()}, dtype=torch.float64),
    )
    fits = []
    for data in (shared, apart):
        torch.manual_seed(0)
        fits.append(weights_of(MDMNet(**settings_of(dict(lam=0.3))).fit(data)))
    assert torch.equal(*fits)


@pytest.mark.parametrize(
    "change",
    [
        lambda X: {name: x for name, x in X.items() if name != "m1"},
        lambda X: {**X, "m3": X["m0"]},
        lambda X: {**X, "m0": X["m0"][:, :2]},
    ],
    ids=["lacks one", "one more", "other features"],
)
def test_other_modalities__are_refused(change):
    X, y = make_data()
    pool = MaskedDataset(change(X), dtype=torch.float64)
    with pytest.raises(ValueError, match="unlabelled samples have other modalities or features"):
        MaskedDataset(X, y, dtype=torch.float64, unlabelled=pool)
    with pytest.raises(ValueError, match="dtype"):
        MaskedDataset(X, y, unlabelled=pool_of())


def test_few_labelled_samples__are_gone_through_again(monkeypatch):
    monkeypatch.setattr(data_module, "FEWEST_BATCHES", 16)
    X, y = make_data()
    for pool, n_batches in ((None, 2), (pool_of(), 16)):
        net, data = alone({name: x[:20] for name, x in X.items()}, y[:20], pool, lam=0.0, batch_size=12)
        assert net.fit(data).history[:, "train_batch_count"] == [n_batches] * 2
    sizes = [len(batch) for batch, _ in BatchIterator(data, 12, fewest=3)]
    assert sizes == [12, 8, 12, 8]


# -- ways to train ---------------------------------------------------------------------------------------------------


def weights_of(net):
    return torch.cat([p.detach().flatten() for p in net.module_.parameters()])


@pytest.mark.parametrize("classes", [False, True], ids=["numbers", "classes"])
def test_ways_to_train__are_the_same(classes):
    X, y = make_data(missing=True)
    case = dict(lam=0.3, fusion=DROPOUT, classes=classes, max_epochs=4)

    def fresh(**kwargs):
        torch.manual_seed(0)
        return alone(X, y, pool_of(), **case, **kwargs)

    net, data = fresh()
    expected = weights_of(net.fit(data))
    torch.manual_seed(0)
    assert torch.equal(weights_of(net.fit(data)), expected), "random_state"
    net, data = fresh(iterator_train=DataLoader)
    assert torch.equal(weights_of(net.fit(data)), expected), "DataLoader"
    net, data = fresh()
    net.set_params(max_epochs=2)
    net.fit(data)
    loaded = pickle.loads(pickle.dumps(net))
    for resumed in (net, loaded):
        assert not {"pool_", "pool_of_", "pool_rows_"} & vars(resumed).keys()
    # Dropout of a second training is another by design, so it is compared with itself.
    assert torch.equal(weights_of(net.partial_fit(data)), weights_of(loaded.partial_fit(data))), "pickle"


@pytest.mark.parametrize("classes", [False, True], ids=["numbers", "classes"])
def test_resumed_training__is_an_uninterrupted_one(classes):
    X, y = make_data()
    net, data = alone(X, y, pool_of(), lam=0.3, max_epochs=4, classes=classes)
    torch.manual_seed(0)
    expected = weights_of(net.fit(data))
    net.set_params(max_epochs=2)
    torch.manual_seed(0)
    net.fit(data).partial_fit(data)
    torch.testing.assert_close(weights_of(net), expected, rtol=0, atol=0)


@pytest.mark.parametrize("split", ["fraction", "predefined", "subset"])
def test_validation__by_skorch(split):
    X, y = make_data()
    net, data = alone(X, y, pool_of(), lam=0.3)
    if split == "fraction":
        net.set_params(train_split=ValidSplit(3))
    elif split == "predefined":
        net.set_params(train_split=predefined_split(Subset(data, range(60, N))))
    net.fit(Subset(data, range(60)) if split != "fraction" else data, None)
    assert ("valid_loss" in net.history[-1]) == (split != "subset")
    assert np.isfinite(net.history[:, "train_loss"]).all() and "train_dependency" in net.history[-1]


def test_pool__is_gathered_once_a_training(monkeypatch):
    gathered = []
    original = MaskedDataset.with_unlabelled
    monkeypatch.setattr(
        MaskedDataset, "with_unlabelled", lambda self, rows: gathered.append(len(rows)) or original(self, rows)
    )
    X, y = make_data()
    net, data = alone(X, y, pool_of(), lam=0.3)
    net.fit(data).partial_fit(Subset(data, range(50)))
    assert gathered == [N, 50]


def test_accumulated_gradients__and_members_that_stop():
    X, y = make_data()
    train, valid = datasets(X, y, "off by one")
    with_pool(train, pool_of())
    settings = settings_of(dict(lam=0.1, max_epochs=40, lr=0.05, accumulate=3, agreement=0.3))
    committee, nets = fit_committee(train, valid, **settings), fit_one_by_one(train, valid, **settings)
    assert [len(member.history) for member in committee.members_] == [len(net.history) for net in nets]
    same(committee, nets, tolerance=1e-7)


def test_a_committee__pickles_without_the_samples():
    X, y = make_data()
    train, valid = datasets(X, y, "even")
    bare = len(pickle.dumps(fit_committee(train, valid, **settings_of(dict(lam=0.1)))))
    with_pool(train, pool_of())
    assert len(pickle.dumps(fit_committee(train, valid, **settings_of(dict(lam=0.1))))) < 1.1 * bare


def test_global_state_of_torch__stays():
    X, y = make_data()
    train, valid = datasets(X, y, "uneven")
    with_pool(train, pool_of())
    before = torch.get_rng_state(), torch.get_num_threads()
    net = CommitteeNet(
        **settings_of(dict(lam=0.3, fusion=DROPOUT)),
        seeds=SEEDS,
        combine=partial(Committee, average=mean_prediction),
        callbacks=[MemberStopping(**STOP)],
    ).initialize()
    net.train_split = predefined_split(MemberDatasets(valid))
    net.partial_fit(MemberDatasets(train))
    assert torch.equal(torch.get_rng_state(), before[0]) and torch.get_num_threads() == before[1]
    assert torch.is_grad_enabled() and torch.get_default_dtype() == torch.float32
