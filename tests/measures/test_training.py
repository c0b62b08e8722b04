"""The measures in training: what critics learn by them, and networks of which they are a part."""

import copy
import itertools
import math
import pickle

import numpy as np
import pytest
import sklearn
import torch
from numpy.testing import assert_array_equal
from sklearn.utils.fixes import parse_version
from skorch.callbacks import EpochScoring, GradientNormClipping

from sklearn_mdm import MDMNet
from sklearn_mdm.critic import CRITICS
from sklearn_mdm.critic._negatives import offset_indices
from sklearn_mdm.datasets import make_correlated_gaussians
from sklearn_mdm.encoders import MLPEncoder
from sklearn_mdm.fusion import ConcatFusion
from sklearn_mdm.measures import KL, KNIFE, MEASURES, InfoNCE, TCMax, Wasserstein
from sklearn_mdm.net._data import MaskedDataset
from sklearn_mdm.net._dependency_term import dependency_of, logits_of_mixed

MEASURE_OBJECTS = {name: cls() for name, cls in MEASURES.items() if name not in ("nwj", "cpc")}  # which are aliases


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# --- the moving average of KL ----------------------------------------------------------------------------------------


def steep_critic(measure):
    """A critic with values far apart, so that the mean of exp(T) over few rows varies."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        critic = measure.build_critic([1, 1], (8,)).double()
        with torch.no_grad():
            critic.layers[-1].weight.mul_(12.0)
    return critic


def gradient(critic, loss):
    critic.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in critic.parameters()])


def test_kl__moving_average_gradient_is_less_biased_than_that_of_batches():
    measure, plain = KL(moving_average=0.95), KL(moving_average=None)
    critic = steep_critic(measure)
    x = torch.randn(200, 1, generator=generator(), dtype=torch.float64)
    z = [x, x + torch.randn(200, 1, generator=generator(1), dtype=torch.float64)]
    pairs = torch.tensor([(i, j) for i in range(200) for j in range(200) if i != j]).T
    full = gradient(critic, plain.value(critic, z, pairs))
    stream, batches = generator(2), {"plain": [], "moving": []}
    for step in range(1000):
        rows = torch.randperm(200, generator=stream)[:8]
        batch, index = [z_j[rows] for z_j in z], offset_indices(8, 2, 1, stream)
        moving = gradient(critic, measure.critic_objective(critic, batch, index))
        if step >= 100:  # the average has forgotten its start
            batches["moving"].append(moving)
            batches["plain"].append(gradient(critic, plain.critic_objective(critic, batch, index)))
    bias = {name: (torch.stack(found).mean(0) - full).norm().item() for name, found in batches.items()}
    assert bias["moving"] < 0.4 * bias["plain"]


def test_kl__moving_average_follows_critic_updates_alone():
    measure = KL(moving_average=0.75)
    critic = steep_critic(measure).train()
    z = [torch.randn(12, 1, generator=generator(seed), dtype=torch.float64) for seed in (0, 1)]
    index = offset_indices(12, 2, 1, generator())
    expected = measure.value(critic, z, index)
    assert critic.log_normalizer == 0
    first = measure.critic_objective(critic, z, index)
    torch.testing.assert_close(first, expected)  # the value is the plain one
    t_product = critic(z, index)[1]
    moved = math.log(0.75 + 0.25 * t_product.exp().mean().item())
    assert critic.log_normalizer.item() == pytest.approx(moved)
    measure.value(critic, z, index)
    with torch.no_grad():
        measure.critic_objective(critic, z, index)
    measure.critic_objective(critic.eval(), z, index)
    assert critic.log_normalizer.item() == pytest.approx(moved)
    assert "log_normalizer" in critic.state_dict()
    for wrong in (-0.1, 1.0, 2.0):
        with pytest.raises(ValueError, match=rf"'moving_average' parameter of KL must be .*Got {wrong}"):
            KL(moving_average=wrong).build_critic([1, 1])


@pytest.mark.parametrize("top", [1e3, 1e8, math.inf, math.nan])
def test_kl__moving_average_of_a_diverging_t_raises_no_arithmetic_error(top):
    critic = steep_critic(KL())
    critic.forward = lambda z, index: (torch.zeros(3), torch.tensor([0.0, top]))
    result = KL().critic_objective(critic.train(), [], None)
    assert math.isfinite(result) == math.isfinite(top)


# --- what critics learn ----------------------------------------------------------------------------------------------


def trained_slopes(measure, steps=100):
    """Slopes of a trained T on samples and between them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        critic = measure.build_critic([1, 1], (16, 16), raw=True)
    x = torch.randn(400, 1, generator=generator())
    z = [x, x + 0.3 * torch.randn(400, 1, generator=generator(1))]
    optimizer = torch.optim.Adam(critic.parameters(), lr=0.01)
    for step in range(steps):
        optimizer.zero_grad()
        (-measure.critic_objective(critic, z, offset_indices(400, 2, 1, generator(step)))).backward()
        optimizer.step()
    joint, product = critic.inputs(z, offset_indices(400, 2, 1, generator())).split(400)
    between = torch.lerp(joint, product, torch.linspace(0, 1, 400)[:, None])
    x = torch.cat([joint, product, between]).requires_grad_()
    (slope,) = torch.autograd.grad(critic.layers(x).sum(), x)
    return slope.norm(dim=1)


def test_wasserstein__slopes_after_training_reach_one_and_no_more():
    slopes = trained_slopes(Wasserstein())
    assert 0.99 < slopes.mean() and slopes.max() <= 1 + 1e-4


@pytest.mark.parametrize(("rho", "n_features"), [(0.0, 2), (0.8, 1), (0.6, 2)])
def test_knife__recovers_the_total_correlation_of_gaussians(rho, n_features):
    X, truth = make_correlated_gaussians(6000, rho=rho, n_features=n_features, random_state=0)
    z = [torch.from_numpy(x).float() for x in X.values()]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        critic = KNIFE(n_kernels=2).build_critic([n_features] * 3, raw=True)
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-2)
    for step in range(300):
        rows = torch.randint(3000, (128,), generator=generator(step))
        optimizer.zero_grad()
        (-KNIFE().critic_objective(critic, [x[rows] for x in z])).backward()
        optimizer.step()
    with torch.no_grad():  # on rows that it was not trained on
        assert KNIFE().value(critic, [x[3000:] for x in z]).item() == pytest.approx(truth, abs=max(0.05, 0.1 * truth))


# --- as a term of the loss -------------------------------------------------------------------------------------------


def module(n_outputs, names):
    shapes = {name: (width,) for name, width in zip(names, (3, 2, 4), strict=False)}
    return ConcatFusion((6,), dropout=0.0).build(shapes, n_outputs, encoder=MLPEncoder((6,), 4, dropout=0.0))


def make(n_outputs=1, criterion=torch.nn.MSELoss, names=("audio", "text"), **parameters):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parameters = {"lam": 1.0, "max_epochs": 1, "verbose": 0, **parameters}
        return MDMNet(module(n_outputs, names), criterion, **parameters).initialize()


def classifying_net(**parameters):
    return make(3, torch.nn.CrossEntropyLoss, **parameters)


def as_single(X):
    return {name: value.astype("f") for name, value in X.items()}


@pytest.mark.parametrize("name", MEASURE_OBJECTS)
def test_every_measure__trains_a_classifier_reproducibly(classifier, X, y, name, same_parameters):
    model = classifier(measure=MEASURE_OBJECTS[name], lam=0.5, max_epochs=2, n_negatives=2)
    fitted = model.fit(X, y)
    assert np.isfinite(fitted.dependency_curve_).all() and len(fitted.dependency_curve_) == 2
    assert np.isfinite(fitted.loss_curve_).all()
    assert same_parameters(fitted, classifier(**model.get_params(deep=False)).fit(X, y))
    twin = pickle.loads(pickle.dumps(fitted))
    assert same_parameters(fitted, twin)
    assert_array_equal(twin.predict_proba(X), fitted.predict_proba(X))
    # The copy trains on like the original.
    fitted, twin = (each.partial_fit(X, y) for each in (fitted, twin))
    assert same_parameters(fitted, twin)
    assert len(twin.dependency_curve_) == 3


@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.SeenSamplesWarning")
@pytest.mark.parametrize("name", MEASURE_OBJECTS)
def test_the_training_measure__can_be_read_where_no_labels_are_needed(classifier, X, y, name, quick_reports):
    fitted = classifier(measure=MEASURE_OBJECTS[name], lam=0.5).fit(X, y)
    if name == "tcmax":
        with pytest.raises(ValueError, match="TCMax reads class labels"):
            fitted.dependency_score(X, measure="training")
    else:
        assert math.isfinite(fitted.dependency_score(X, measure="training"))
    assert math.isfinite(fitted.dependency_score(X))


@pytest.mark.parametrize("name", [name for name in MEASURE_OBJECTS if name != "tcmax"])
def test_every_other_measure__trains_a_regressor_with_gaps(regressor, sequences, name):
    y = np.linspace(-1, 1, 60)
    fitted = regressor(measure=MEASURE_OBJECTS[name], lam=10.0, max_epochs=4, modality_dropout=0.3).fit(sequences, y)
    assert np.isfinite(fitted.dependency_curve_).all() and np.isfinite(fitted.predict(sequences)).all()


@pytest.mark.parametrize("lam", [0, 1e-30])
def test_the_task__sees_the_same_batches_and_dropout_with_every_measure(classifier, X, y, lam, same_parameters):
    # So little of the term changes no bit of the network; what it draws must not either.
    parameters = {"encoder": MLPEncoder((8,), 4, dropout=0.3), "max_epochs": 2, "modality_dropout": 0.2, "unroll": 2}
    reference = classifier(lam=0, **parameters).fit(X, y)
    for name, measure in MEASURE_OBJECTS.items():
        fitted = classifier(lam=lam, measure=measure, **parameters).fit(X, y)
        assert fitted.loss_curve_ == reference.loss_curve_, name
        a, b = fitted.net_.module_.state_dict(), reference.net_.module_.state_dict()
        assert all(torch.equal(a[key], b[key]) for key in b), name


@pytest.mark.parametrize("kind", ["concatenated", "encoded"])
def test_dropout_of_the_critic__leaves_that_of_the_network_alone(X, y, kind):
    def dropped(lam):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            net = make(lam=lam, critic__kind=kind).partial_fit(as_single(X), y[:, None].astype("f"))
            return torch.rand(()).item(), net.history[-1]["train_loss"]

    assert dropped(0.0)[0] == dropped(1.0)[0]
    assert dropped(1.0) == dropped(1.0)


def test_building_a_critic__draws_nothing_from_the_global_generator():
    def next_number(measure):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            MDMNet(module(1, ("audio", "text")), measure=measure).initialize()
            return torch.rand(()).item()

    assert len({next_number(measure) for measure in MEASURE_OBJECTS.values()}) == 1


@pytest.mark.parametrize("measure", ["kl", "infonce", "pairwise_infonce", "wasserstein", "knife"])
def test_updates_of_the_critic__raise_the_value(X, y, measure):
    # With a network that all but stands still.
    net = make(measure=measure, lr=1e-30, optimizer_critic__lr=0.01, max_epochs=60, batch_size=60)
    dependency = net.partial_fit(as_single(X), y[:, None].astype("f")).history[:, "train_dependency"]
    assert np.mean(dependency[-5:]) > np.mean(dependency[:5]) + 0.03


def test_the_average_of_kl__is_moved_by_critic_steps_alone(X, y, monkeypatch):
    net = make()
    seen = []
    for name in ("_critic_step", "train_step_single"):
        original = getattr(MDMNet, name)

        def spy(self, batch, name=name, original=original):
            before = self.critic_.log_normalizer.clone()
            result = original(self, batch)
            seen.append((name, bool(before != self.critic_.log_normalizer)))
            return result

        monkeypatch.setattr(MDMNet, name, spy)
    net.partial_fit(as_single(X), y[:, None].astype("f"))
    assert set(seen) == {("_critic_step", True), ("train_step_single", False)}


@pytest.mark.parametrize("kind", ["encoded", "separable", "multilinear"])
@pytest.mark.parametrize("measure", [KL(), InfoNCE()], ids=repr)
def test_the_net__takes_other_kinds_of_critic(X, y, measure, kind):
    net = make(measure=measure, critic__kind=kind, n_negatives=3)
    assert type(net.critic_) is CRITICS[kind]
    net.partial_fit(as_single(X), y[:, None].astype("f"))
    assert np.isfinite(net.history[-1, "train_dependency"])
    with pytest.raises(ValueError, match="Wasserstein has a critic of its own"):
        make(measure=Wasserstein(), critic__kind=kind)


# --- TCMax -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bound", [None, 2.0])
@pytest.mark.parametrize("m", [2, 3])
def test_tcmax__over_all_combinations_equals_a_loop(m, bound, monkeypatch):
    names, n, n_classes = ("audio", "text", "visual")[:m], 5, 3
    net = classifying_net(names=names, measure=TCMax(bound=bound))
    with torch.no_grad():
        net.module_.head[-1].weight.mul_(10)
    rng = np.random.default_rng(0)
    X = {name: rng.normal(size=(n + 2, width)) for name, width in zip(names, (3, 2, 4), strict=False)}
    X["text"][[1, 4]] = np.nan  # rows that are left out
    y = np.array([0, 1, 0, 0, 2, 1, 1])
    batch, labels = MaskedDataset(X, y)[np.arange(n + 2)]
    net.on_train_begin(net)
    net.on_epoch_begin(net, dataset_train=MaskedDataset(X, y))
    tuples = torch.tensor(list(itertools.product(range(n), repeat=m))).T
    monkeypatch.setattr(MDMNet, "_negatives", lambda self, n: tuples)
    result = dependency_of(net, batch, labels, net.module_(batch.X, batch.mask)).item()

    complete = [0, 2, 3, 5, 6]

    def logits(rows):
        x = {name: torch.tensor(X[name][[row]], dtype=torch.float32) for name, row in zip(names, rows, strict=True)}
        f = net.module_(x).prediction[0].double().detach().numpy()
        return f if bound is None else bound * np.tanh(f / bound)

    frequency = {c: np.mean(y[complete] == c) for c in y[complete]}
    joint = [logits([i] * m)[y[i]] - np.log(frequency[y[i]]) for i in complete]
    product = [
        np.exp(logits(rows)[c] - np.log(frequency[c])) * frequency[c] if c in frequency else np.exp(logits(rows)[c])
        for rows in itertools.product(complete, repeat=m)
        for c in range(n_classes)
    ]
    assert result == pytest.approx(np.mean(joint) - np.log(np.sum(product) / n**m), rel=1e-4)


def test_tcmax__at_the_best_logits_is_the_total_correlation_with_the_label():
    # Two bits and a rare label, which is more likely where the bits differ.
    p_bits, p_label = np.array([[0.4, 0.1], [0.15, 0.35]]), np.array([[0.05, 0.6], [0.3, 0.1]])
    joint = np.stack([p_bits * (1 - p_label), p_bits * p_label], axis=2)
    a, b, c = (joint.sum(axis=axes) for axes in ((1, 2), (0, 2), (0, 1)))
    truth = (joint * np.log(joint / (a[:, None, None] * b[:, None] * c))).sum()
    best = np.log(joint / (a[:, None] * b)[:, :, None])  # log p(y | x) + log p(x) / (p(x_1) p(x_2))
    draws = np.random.default_rng(0).choice(8, size=200_000, p=joint.ravel())
    i, j, y = (torch.from_numpy(index) for index in np.unravel_index(draws, joint.shape))
    other = offset_indices(len(i), 2, 1, generator())
    table = torch.from_numpy(best)

    def value(logits):
        return TCMax(bound=None).logit_value(logits[i, j], y, logits[i[other[0]], j[other[1]]]).item()

    assert truth > 0.2
    assert value(table) == pytest.approx(truth, abs=0.01)
    assert value(table + 7.0) == pytest.approx(value(table))  # a level for all says nothing
    for distorted in (0.5 * table, table + torch.tensor([1.0, 0.0]), table - table.logsumexp(2, keepdim=True)):
        assert value(distorted) < truth - 0.005


def test_tcmax__needs_class_labels(regressor, classifier, X, y):
    with pytest.raises(ValueError, match=r"measure='tcmax' reads class labels, which a MDMFusionRegressor does not"):
        regressor(measure="tcmax").fit(X, y)
    with pytest.raises(ValueError, match=r"Use one of \['cpc', 'f', .*'wpc'\], or MDMFusionClassifier"):
        regressor(measure=TCMax()).fit(X, y)
    with pytest.raises(ValueError, match=r"one logit per class, got targets of shape \(60, 1\) and torch.float32"):
        make(measure="tcmax").fit(as_single(X), y[:, None].astype("f"))
    with pytest.raises(ValueError, match=r"one logit per class.*predictions of shape \(60, 1\)"):
        make(measure="tcmax").fit(as_single(X), y)
    with pytest.raises(ValueError, match=r"'bound' parameter of TCMax must be .*Got 0.0"):
        classifier(measure=TCMax(bound=0.0)).fit(X, y)


def test_tcmax__has_no_critic_and_makes_no_critic_step(classifier, X, y, monkeypatch):
    monkeypatch.setattr(MDMNet, "_critic_step", None)
    fitted = classifier(measure="tcmax", lam=0.5, unroll=5).fit(X, y)
    assert not hasattr(fitted.net_, "critic_") and not hasattr(fitted.net_, "optimizer_critic_")
    for row in fitted.history_:
        assert row["train_loss"] == pytest.approx(row["train_task_loss"] - 0.5 * row["train_dependency"], rel=1e-9)
        assert row["terms_skipped"] == 0


def test_tcmax__gradient_reaches_every_parameter(X, y, monkeypatch):
    found = {}
    logit_value = TCMax.logit_value

    def spy(self, logits, labels, product):
        value = logit_value(self, logits, labels, product)
        names, parameters = zip(*net.module_.named_parameters(), strict=True)
        found.update(zip(names, torch.autograd.grad(value, parameters, retain_graph=True), strict=True))
        return value

    monkeypatch.setattr(TCMax, "logit_value", spy)
    net = classifying_net(measure="tcmax")
    net.partial_fit(as_single(X), y)
    assert set(found) == {name for name, _ in net.module_.named_parameters()}
    assert all(gradient.abs().max() > 1e-8 for gradient in found.values())


def test_tcmax__negatives_keep_the_masks_of_their_modalities(sequences, monkeypatch):
    shapes = {"vector": (3,), "steps": (6, 2)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = ConcatFusion((6,), dropout=0.0).build(shapes, 2, encoder=MLPEncoder((6,), 4, dropout=0.0))
    net = MDMNet(built, torch.nn.CrossEntropyLoss, measure="tcmax").initialize()
    batch, _ = MaskedDataset(sequences)[np.arange(60)]
    index = torch.stack([torch.arange(60).roll(7), torch.arange(60)])
    X = {"vector": batch.X["vector"].roll(7, 0), "steps": batch.X["steps"]}
    mask = {"vector": batch.mask["vector"].roll(7, 0), "steps": batch.mask["steps"]}
    assert torch.equal(logits_of_mixed(net.module_, batch, index), net.module_(X, mask).prediction)


@pytest.mark.parametrize("modality_dropout", [0.0, 0.9])
def test_tcmax__reads_complete_rows_before_modality_dropout(classifier, X, y, monkeypatch, modality_dropout):
    X["text"][::3] = np.nan
    shapes, inputs = [], []
    logit_value = TCMax.logit_value

    def spy(self, joint, labels, product):
        shapes.append((joint.shape, labels.shape, product.shape))
        return logit_value(self, joint, labels, product)

    def watch(module, batch, index):
        inputs.append(bool(batch.mask["m1"][index[1]].all()) and bool(batch.mask["m0"][index[0]].all()))
        return logits_of_mixed(module, batch, index)

    monkeypatch.setattr(TCMax, "logit_value", spy)
    monkeypatch.setattr("sklearn_mdm.net._dependency_term.logits_of_mixed", watch)
    parameters = {"batch_size": 60, "max_epochs": 2, "n_negatives": 3, "modality_dropout": modality_dropout}
    classifier(measure="tcmax", lam=1.0, **parameters).fit({"m0": X["audio"], "m1": X["text"]}, y)
    assert shapes == [((40, 3), (40,), (120, 3))] * 2
    assert inputs == [True] * (4 if modality_dropout else 2)


def test_tcmax__skips_batches_with_few_complete_rows(classifier, X, y):
    X["text"][12:] = np.nan
    fitted = classifier(measure="tcmax", lam=1.0).fit(X, y)
    assert np.isfinite(fitted.dependency_curve_).any()
    skipped = fitted.history_[:, "terms_skipped"]
    assert all(0 < s <= 4 for s in skipped)
    X["text"][3:] = np.nan
    with pytest.warns(UserWarning, match="lam=1.0 had no effect"):
        fitted = classifier(measure="tcmax", lam=1.0).fit(X, y)
    assert np.isnan(fitted.dependency_curve_).all()


@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.SeenSamplesWarning")
@pytest.mark.skipif(
    parse_version(sklearn.__version__) < parse_version("1.7"), reason="older scorers take a bare net for a regressor"
)
def test_tcmax__with_callbacks_stopping_warm_start_and_copies(classifier, X, y, same_parameters):
    callbacks = [GradientNormClipping(1e-2), EpochScoring("roc_auc_ovr", lower_is_better=False, name="auc")]
    model = classifier(
        measure="tcmax", lam=0.3, callbacks=callbacks, early_stopping=True, warm_start=True, max_epochs=2
    )
    model.fit(X, y)
    assert len(model.history_[:, "auc"]) == 2 and np.isfinite(model.validation_loss_curve_).all()
    twin = copy.deepcopy(model)
    model, twin = (each.fit(X, y) for each in (model, twin))
    assert same_parameters(model, twin) and model.n_iter_ == 4
    for _ in range(2):
        model, twin = model.partial_fit(X, y), pickle.loads(pickle.dumps(twin)).partial_fit(X, y)
    assert same_parameters(model, twin) and np.isfinite(model.dependency_curve_).all()
    assert math.isfinite(model.fit_dependency(X).dependency_score(X))  # of the representations, by another critic


def test_tcmax__finds_dependency_with_the_label(classifier):
    # The label is the parity of two bits: no modality says anything about another, all three determine each other.
    bits = np.random.default_rng(0).integers(2, size=(2, 600))
    X, y = {"a": 2.0 * bits[0][:, None] - 1, "b": 2.0 * bits[1][:, None] - 1}, bits[0] ^ bits[1]
    parameters = {
        "lr": 0.01,
        "max_epochs": 40,
        "lam": 0.3,
        "early_stopping": False,
        "encoder": MLPEncoder((16,), 8, dropout=0.0),
    }
    fitted = classifier(measure="tcmax", **parameters).fit(X, y)
    assert fitted.score(X, y) == 1.0
    assert fitted.dependency_curve_[-1] == pytest.approx(math.log(2), abs=0.15)


def test_a_net_with_another_measure__gets_and_loses_its_critic(X, y):
    net, X = classifying_net(), as_single(X)
    for measure in ("tcmax", "kl", "tcmax", "wasserstein"):
        net.set_params(measure=measure).fit(X, y)
        has_critic = measure != "tcmax"
        assert hasattr(net, "critic_") == hasattr(net, "optimizer_critic_") == has_critic
        assert ("critic" in net._modules) == ("optimizer_critic" in net._optimizers) == has_critic
        assert np.isfinite(net.history[-1, "train_dependency"])
        pickle.loads(pickle.dumps(net)).partial_fit(X, y)


def test_tcmax__on_a_single_modality_is_no_term(X, y):
    single = classifying_net(names=("audio",), measure="tcmax").fit({"audio": as_single(X)["audio"]}, y)
    assert "train_dependency" not in single.history[-1]
