"""MDMNet: the two-stage step of Algorithm 1, its logs and streams, and its use as an ordinary skorch net."""

import copy
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Checkpoint, EpochScoring, GradientNormClipping
from skorch.callbacks import EarlyStopping as SkorchEarlyStopping
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import SliceDict, predefined_split
from skorch.history import History
from torch.utils.data import DataLoader

from sklearn_mdm import MDMNet
from sklearn_mdm.callbacks._training import EarlyStopping
from sklearn_mdm.encoders import MLPEncoder
from sklearn_mdm.fusion import ConcatFusion
from sklearn_mdm.measures import KL, Wasserstein
from sklearn_mdm.net._data import BatchIterator, MaskedDataset

MEASURES = {"kl": "kl", "f": "f", "wasserstein": Wasserstein()}


@pytest.fixture(name="X")
def two_modalities():
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(50, 1))
    return {
        "audio": (latent + rng.normal(size=(50, 3))).astype("f"),
        "text": (latent + rng.normal(size=(50, 2))).astype("f"),
    }


@pytest.fixture
def y(X):
    return X["audio"][:, :1] + X["text"][:, 1:]


def module(n_outputs=1, dropout=0.0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fusion = ConcatFusion((6,), dropout=dropout)
        return fusion.build({"audio": (3,), "text": (2,)}, n_outputs, encoder=MLPEncoder((6,), 4, dropout=0.0))


def make(**parameters):
    defaults = {"batch_size": 16, "max_epochs": 2, "verbose": 0, "critic__hidden_dims": (8,)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MDMNet(module(), **{**defaults, **parameters}).initialize()


def fit(net, X, y, **parameters):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return net.partial_fit(X, y, **parameters)


# --- Algorithm 1 -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unroll", [1, 2, 5])
@pytest.mark.parametrize("lam", [0, 0.1])
def test_updates_per_epoch(X, y, monkeypatch, unroll, lam):
    steps = []
    for name in ("_critic_step", "train_step_single"):
        original = getattr(MDMNet, name)
        spy = lambda self, batch, name=name, original=original, **_: (steps.append(name), original(self, batch))[1]  # noqa: E731
        monkeypatch.setattr(MDMNet, name, spy)
    fit(make(unroll=unroll, lam=lam, max_epochs=3), X, y)
    n_batches = 3  # 16 + 16 + 18: the two rows left over join the last batch
    critic = ["_critic_step"] * (unroll if lam else 0)
    assert steps == [*critic, "train_step_single"] * n_batches * 3


@pytest.mark.parametrize("measure", MEASURES)
def test_each_optimizer__steps_its_own_parameters_only(X, y, measure, monkeypatch, parameters_of):
    net = make(measure=MEASURES[measure], lam=1.0)
    owned = [
        {id(p) for group in o.param_groups for p in group["params"]} for o in (net.optimizer_, net.optimizer_critic_)
    ]
    assert owned[0] == {id(p) for p in net.module_.parameters()}
    assert owned[1] == {id(p) for p in net.critic_.parameters()}
    moved = []

    def watch(name):
        original = getattr(MDMNet, name)

        def spy(self, batch):
            before = parameters_of(self)
            result = original(self, batch)
            moved.append(
                (name, {key.split(".")[0] for key, v in parameters_of(self).items() if not torch.equal(v, before[key])})
            )
            return result

        monkeypatch.setattr(MDMNet, name, spy)

    watch("_critic_step")
    watch("_update_module")
    fit(net, X, y)
    assert {name for name, _ in moved} == {"_critic_step", "_update_module"}
    for name, what in moved:
        assert what == ({"critic"} if name == "_critic_step" else {"module"})


def test_gradients__go_where_they_belong(X, y, monkeypatch):
    net = make(lam=1.0)
    critic_step = MDMNet._critic_step

    def spy(self, batch):
        self.module_.zero_grad(set_to_none=True)
        critic_step(self, batch)
        assert all(p.grad is None for p in self.module_.parameters())
        assert all(p.grad is not None for p in self.critic_.parameters())
        self.critic_.zero_grad(set_to_none=True)

    monkeypatch.setattr(MDMNet, "_critic_step", spy)
    fit(net, X, y)
    assert all(p.grad is None for p in net.critic_.parameters())


def test_the_critic__maximises_the_objective(X, y):
    # With the model all but standing still, more critic steps measure more dependency.
    fitted = fit(make(lam=1.0, lr=1e-12, optimizer_critic__lr=0.01, max_epochs=80, unroll=2, batch_size=50), X, y)
    dependency = fitted.history[:, "train_dependency"]
    assert np.mean(dependency[-10:]) > np.mean(dependency[:10]) + 0.1


def test_critic_batches__are_whole_and_cover_the_data_evenly(X, y, monkeypatch):
    rows = []
    critic_step = MDMNet._critic_step

    def spy(self, batch):
        rows.append(batch.X["audio"][:, 0].tolist())
        critic_step(self, batch)

    monkeypatch.setattr(MDMNet, "_critic_step", spy)
    fit(make(unroll=3, max_epochs=1), X, y)
    assert {len(batch) for batch in rows} == {16}
    for start in range(0, 9, 3):  # three whole batches a pass
        assert len({row for batch in rows[start : start + 3] for row in batch}) == 48


# --- logs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", MEASURES)
def test_history__records_both_terms(X, y, measure):
    net = fit(make(measure=MEASURES[measure], lam=0.5, train_split=ValidSplit(0.2)), X, y)
    for row in net.history:
        assert row["train_loss"] == pytest.approx(row["train_task_loss"] - 0.5 * row["train_dependency"], abs=1e-6)
        assert row["valid_loss"] == pytest.approx(row["valid_task_loss"])  # stopping follows the task alone
        assert row["terms_skipped"] == 0


def test_history__at_lam_0_and_without_validation_has_the_task_only(X, y):
    net = fit(make(lam=0), X, y)
    assert set(net.history[-1]) >= {"train_loss", "train_task_loss"}
    assert not {"train_dependency", "terms_skipped", "valid_loss", "valid_task_loss"} & set(net.history[-1])
    assert net.history[:, "train_loss"] == pytest.approx(net.history[:, "train_task_loss"])


def test_task_loss_in_the_history__is_the_mean_over_samples(X, y):
    net = fit(make(lam=0, lr=1e-12, max_epochs=1), X, y)
    assert net.history[0]["train_task_loss"] == pytest.approx(float(((net.predict(X) - y) ** 2).mean()), rel=1e-5)


def test_steps_with_too_few_complete_rows__are_counted(X, y):
    X["text"][6:] = np.nan
    net = fit(make(lam=1.0, max_epochs=3), X, y)
    for row in net.history:
        assert 0 < row["terms_skipped"] <= 3
        assert np.isnan(row["train_dependency"]) == (row["terms_skipped"] == 3)


# --- random streams --------------------------------------------------------------------------------------------------


def test_an_epoch__draws_the_same_numbers_whether_resumed_or_not(X, y, same_parameters):
    together = fit(make(max_epochs=4, unroll=2, modality_dropout=0.3), X, y)
    resumed = make(max_epochs=1, unroll=2, modality_dropout=0.3)
    for _ in range(4):
        fit(resumed, X, y)
    assert same_parameters(together, resumed)


def test_random_state__decides_the_order(X, y, same_parameters):
    assert same_parameters(fit(make(random_state=3), X, y), fit(make(random_state=3), X, y))
    assert not same_parameters(fit(make(random_state=3), X, y), fit(make(random_state=4), X, y), of="module")


def test_without_dropout__nothing_is_drawn_from_the_global_generator(X, y):
    net = make(lam=1.0, unroll=2, modality_dropout=0.3)
    before = torch.get_rng_state()
    net.partial_fit(X, y)
    net.predict(X)
    assert torch.equal(torch.get_rng_state(), before)


# --- modality dropout ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.99])
def test_modality_dropout__drops_observed_ones_and_never_all(X, y, rate):
    X["text"][:10] = np.nan
    net = make(modality_dropout=rate)
    net.on_train_begin(net)
    data = MaskedDataset({name: np.tile(value, (20, 1)) for name, value in X.items()})
    batch = data.batch(torch.arange(len(data)))
    kept = net._without_some(batch, net.modality_dropout, "modality_dropout")
    seen = batch.mask
    both = seen["audio"] & seen["text"]
    assert not (kept["audio"] & ~seen["audio"]).any() and not (kept["text"] & ~seen["text"]).any()
    assert (kept["audio"] | kept["text"]).all()
    # Of two, one goes with probability 2 p (1 - p), and where both would go one of them stays.
    dropped = (~kept["audio"] | ~kept["text"])[both].double().mean().item()
    assert dropped == pytest.approx(2 * rate * (1 - rate) + rate**2, abs=0.06)
    assert kept["audio"][~both].all()
    assert kept["audio"][both].double().mean().item() == pytest.approx(
        kept["text"][both].double().mean().item(), abs=0.1
    )


def test_modality_dropout__keeps_the_steps_of_the_sequences_that_stay():
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(40, 5, 2))
    steps[:, 3:] = np.nan
    net = make(modality_dropout=0.5)
    net.on_train_begin(net)
    batch = MaskedDataset({"audio": rng.normal(size=(40, 3)), "text": steps}).batch(torch.arange(40))
    kept = net._without_some(batch, net.modality_dropout, "modality_dropout")["text"]
    whole = kept.any(1)
    assert 0 < whole.sum() < 40
    assert torch.equal(kept[whole], batch.mask["text"][whole])


def test_modality_dropout__is_off_in_validation_and_prediction(X, y, monkeypatch):
    net = make(modality_dropout=0.9)
    net.on_train_begin(net)
    expected = net.predict(X)
    monkeypatch.setattr(MDMNet, "_without_some", None)
    assert_allclose(net.predict(X), expected)


# --- targets ---------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error")
def test_targets_of_one_dimension__are_a_column_and_never_broadcast(X, y, same_parameters):
    assert same_parameters(fit(make(), X, y.ravel()), fit(make(), X, y))
    with pytest.raises(ValueError, match=r"targets have shape \(16, 2\) and predictions \(16, 1\)"):
        fit(make(), X, np.c_[y, y])
    two = MDMNet(module(2), batch_size=16, verbose=0)
    with pytest.raises(ValueError, match=r"targets have shape \(16,\) and predictions \(16, 2\)"):
        two.fit(X, y.ravel())


def test_sample_weights__act_on_the_task_loss_only(X, y):
    weight = np.linspace(0, 2, 50)
    data = MaskedDataset(X, y, sample_weight=weight)
    net = make(lam=1.0, max_epochs=1, batch_size=50, lr=1e-12, criterion__reduction="none")
    fit(net, data, None)
    error = (net.predict(X) - y)[:, 0] ** 2
    assert net.history[0]["train_task_loss"] == pytest.approx(float((error * weight).mean()), rel=1e-5)
    plain = fit(make(lam=1.0, max_epochs=1, batch_size=50, lr=1e-12), X, y)
    assert net.history[0]["train_dependency"] == plain.history[0]["train_dependency"]


# --- batches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "batch_size", "expected"),
    [
        (16, 8, [8, 8]),
        (17, 8, [8, 9]),
        (19, 8, [8, 11]),
        (20, 8, [8, 8, 4]),
        (7, 8, [7]),
        (3, 8, [3]),
        (9, 2, [2, 2, 2, 3]),
        (5, 1, [1] * 5),
        (10, 10, [10]),
        (11, 10, [11]),
    ],
)
def test_a_small_last_batch__joins_the_one_before(n, batch_size, expected):
    data = MaskedDataset({"a": np.arange(n, dtype=float)[:, None]}, np.arange(n))
    for shuffle in (False, True):
        iterator = BatchIterator(data, batch_size, shuffle=shuffle, generator=torch.Generator().manual_seed(0))
        batches = list(iterator)
        assert [len(batch) for batch, _ in batches] == expected
        assert len(iterator) == len(expected)
        assert sorted(torch.cat([y for _, y in batches]).tolist()) == list(range(n))
        for batch, target in batches:
            assert torch.equal(batch.X["a"][:, 0].long(), target)


def test_masked_dataset__is_free_of_nan_and_of_the_users_arrays(X, y):
    X["text"][:5] = np.nan
    data = MaskedDataset(X, y)
    X["audio"][:] = 0
    y[:] = 0
    batch, target = data[np.arange(10)]
    assert torch.isfinite(batch.X["text"]).all() and batch.X["audio"].any() and target.any()
    assert batch.mask["text"].tolist() == [False] * 5 + [True] * 5
    assert batch.complete.tolist() == [False] * 5 + [True] * 5
    assert data.complete.tolist() == [False] * 5 + [True] * 45


# --- early stopping --------------------------------------------------------------------------------------------------


class FakeNet:
    """Just enough of a net to be stopped."""

    def __init__(self, losses):
        self.history = History()
        self.losses = losses
        self.module_, self.critic_ = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
        self._modules = ["module", "critic"]
        self.verbose = 0

    def run(self, stopping):
        stopping.initialize()
        stopping.on_train_begin(self)
        for epoch, loss in enumerate(self.losses, 1):
            self.history.new_epoch()
            self.history.record("epoch", epoch)
            self.history.record("loss", loss)
            for part in (self.module_, self.critic_):
                torch.nn.init.constant_(part.weight, epoch)
            try:
                stopping.on_epoch_end(self)
            except KeyboardInterrupt:
                break
        stopping.on_train_end(self)
        return len(self.history)


@pytest.mark.parametrize(
    ("losses", "epochs", "best"),
    [
        ([-1.0] * 40, 4, 1),
        ([1.0] * 40, 4, 1),
        ([0.0] * 40, 4, 1),
        (list(-np.arange(20.0)), 20, 20),
        ([3.0, 2.0, -5.0, -4.0, -4.9, -4.99, -8.0], 6, 3),
        ([1.0, 1 - 1e-6, 1 - 2e-6, 1 - 3e-6, 0.0], 4, 1),
        ([2.0, 1.0, 1.5], 3, 2),
    ],
)
@pytest.mark.parametrize("load_best", [False, True])
def test_early_stopping__counts_epochs_without_improvement_whatever_the_sign(losses, epochs, best, load_best):
    net = FakeNet(losses)
    assert net.run(EarlyStopping("loss", patience=3, threshold=1e-4, load_best=load_best)) == epochs
    expected = best if load_best else epochs
    assert net.module_.weight.item() == expected
    assert net.critic_.weight.item() == expected  # module and critic stay in step


@pytest.mark.parametrize("measure", MEASURES)
def test_early_stopping__restores_module_and_critic_of_the_best_epoch(X, y, measure, parameters_of, monkeypatch):
    states = []
    on_epoch_end = EarlyStopping.on_epoch_end

    def spy(self, net, **kwargs):
        states.append(parameters_of(net))
        on_epoch_end(self, net, **kwargs)

    monkeypatch.setattr(EarlyStopping, "on_epoch_end", spy)
    half = {name: value[25:] for name, value in X.items()}
    train = {name: value[:25] for name, value in X.items()}
    stopping = EarlyStopping("valid_task_loss", patience=3, threshold=0, load_best=True)
    net = make(
        measure=MEASURES[measure],
        lam=1.0,
        lr=0.05,
        max_epochs=60,
        callbacks=[stopping],
        train_split=predefined_split(MaskedDataset(half, y[25:])),
    )
    fit(net, train, y[:25])
    losses = net.history[:, "valid_task_loss"]
    best = int(np.argmin(losses))
    assert len(losses) == best + 4
    for name, value in parameters_of(net).items():
        assert torch.equal(value, states[best][name])
    for part in ("module", "critic"):
        assert any(not torch.equal(states[-1][n], states[best][n]) for n in states[best] if n.startswith(part))
    assert float(((net.predict(half) - y[25:]) ** 2).mean()) == pytest.approx(min(losses), rel=1e-5)


# --- saving and copying ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(
    "copy_of", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["deepcopy", "pickle"]
)
def test_a_copy__predicts_the_same_and_trains_on_alike(X, y, measure, copy_of, same_parameters):
    net = fit(make(measure=MEASURES[measure], lam=1.0), X, y)
    twin = copy_of(net)
    assert same_parameters(net, twin)
    assert_allclose(twin.predict(X), net.predict(X), rtol=0)
    # The optimizers hold the copy's parameters, and remember their moments.
    before = pickle.loads(pickle.dumps(twin))
    fit(net, X, y), fit(twin, X, y)
    assert same_parameters(net, twin)
    assert not same_parameters(before, twin, of="module")
    assert not same_parameters(before, twin, of="critic")


@pytest.mark.parametrize("measure", MEASURES)
def test_save_params_and_load_params__carry_critic_and_both_optimizers(X, y, measure, tmp_path, same_parameters):
    files = {
        "f_params": tmp_path / "module.pt",
        "f_critic": tmp_path / "critic.pt",
        "f_optimizer": tmp_path / "optimizer.pt",
        "f_optimizer_critic": tmp_path / "optimizer_critic.pt",
        "f_history": tmp_path / "history.json",
    }
    net = fit(make(measure=MEASURES[measure], lam=1.0), X, y)
    net.save_params(**files)
    other = make(measure=MEASURES[measure], lam=1.0)
    assert not same_parameters(other, net)
    other.load_params(**files)
    assert same_parameters(other, net)
    assert other.history == net.history
    fit(net, X, y), fit(other, X, y)
    assert same_parameters(other, net)


def test_set_params__changes_the_critics_learning_rate_live(X, y, same_parameters):
    net = fit(make(), X, y)
    optimizer = net.optimizer_critic_
    net.set_params(optimizer_critic__lr=0.5, lr=0.25)
    assert net.optimizer_critic_ is optimizer
    assert [group["lr"] for group in optimizer.param_groups] == [0.5]
    assert [group["lr"] for group in net.optimizer_.param_groups] == [0.25]


def test_set_params__of_the_critic_builds_another(X, y):
    net = make()
    net.set_params(critic__hidden_dims=(12, 4))
    widths = [layer.out_features for layer in net.critic_.layers if isinstance(layer, torch.nn.Linear)]
    assert widths == [12, 4, 1]
    assert {id(p) for g in net.optimizer_critic_.param_groups for p in g["params"]} == {
        id(p) for p in net.critic_.parameters()
    }
    fit(net, X, y)


# --- as a skorch net -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", [dict, lambda X: SliceDict(**X)], ids=["dict", "SliceDict"])
def test_fit_and_predict__on_mappings(X, y, container, same_parameters):
    net = fit(make(), container(X), y)
    assert same_parameters(net, fit(make(), X, y))
    assert net.predict(container(X)).shape == (50, 1)
    prediction, fused = net.forward(container(X))
    assert prediction.shape == (50, 1) and fused.shape == (50, 8)


def test_fit__with_a_split_and_callbacks(X, y, tmp_path):
    norms = []

    class Watch(GradientNormClipping):
        def on_grad_computed(self, net, named_parameters, **kwargs):
            named_parameters = list(named_parameters)
            super().on_grad_computed(net, named_parameters=named_parameters, **kwargs)
            norms.append(torch.stack([p.grad.norm() for _, p in named_parameters]).norm().item())

    net = make(
        max_epochs=4,
        train_split=ValidSplit(4),
        callbacks=[
            EpochScoring("neg_mean_absolute_error", lower_is_better=False, name="score"),
            Watch(gradient_clip_value=1e-3),
            Checkpoint(dirname=tmp_path, monitor="valid_task_loss_best", load_best=False, f_critic="critic.pt"),
            SkorchEarlyStopping(monitor="train_task_loss", patience=50),
        ],
    )
    net.callbacks[2].monitor = None  # save after every epoch
    fit(net, X, y)
    assert len(net.history[:, "score"]) == 4
    assert np.isfinite(net.history[:, "valid_task_loss"]).all()
    assert norms and max(norms) <= 1e-3 * 1.001
    assert (tmp_path / "critic.pt").exists() and (tmp_path / "params.pt").exists()


def test_grid_search__over_lam_and_the_critic(X, y):
    net = MDMNet(module(), batch_size=16, max_epochs=1, verbose=0)
    grid = {"lam": [0, 1.0], "measure": [KL(bound=2.0), "wasserstein"], "critic__hidden_dims": [(4,)]}
    search = GridSearchCV(net, grid, cv=2, scoring="neg_mean_squared_error", error_score="raise").fit(SliceDict(**X), y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_classification__with_cross_entropy_and_indices(X, y):
    labels = (y[:, 0] > 0).astype(np.int64)
    net = MDMNet(module(2), torch.nn.CrossEntropyLoss, batch_size=16, max_epochs=30, lr=0.02, verbose=0)
    net.fit(X, labels)
    assert (net.predict_proba(X).argmax(1) == labels).mean() > 0.8


def test_an_unknown_measure__is_an_error():
    with pytest.raises(ValueError, match=r"measure='mine' is not known.*wasserstein"):
        make(measure="mine")
    with pytest.raises(TypeError, match="value"):
        make(measure=KL)


def test_a_single_modality__has_no_critic(X, y):
    with torch.random.fork_rng(devices=[]):
        single = ConcatFusion((4,), dropout=0.0).build({"audio": (3,)}, 1)
    net = MDMNet(single, batch_size=16, max_epochs=1, verbose=0).fit({"audio": X["audio"]}, y)
    assert not hasattr(net, "critic_")
    assert "train_dependency" not in net.history[-1]


def test_on_train_end__lets_go_of_the_training_data(X, y):
    net = fit(make(), X, y)
    big = {name: np.tile(value, (200, 1)) for name, value in X.items()}
    other = fit(make(max_epochs=2, batch_size=16 * 200), big, np.tile(y, (200, 1)))
    assert len(pickle.dumps(other)) < len(pickle.dumps(net)) + 1000


def test_integer_targets_of_one_output__are_numbers(X, y, same_parameters):
    whole = (10 * y).astype(np.int64)
    expected = fit(make(), X, whole.astype("f"))
    for target in (whole, whole.ravel(), whole.astype(np.int32), whole.ravel().astype("f")):
        assert same_parameters(fit(make(), X, target), expected)


def test_random_state_none__draws_one(X, y, same_parameters):
    nets = [fit(make(random_state=None), X, y) for _ in range(2)]
    assert not same_parameters(*nets, of="module")
    assert nets[0].predict(X).shape == (50, 1)
    assert pickle.loads(pickle.dumps(nets[0])).random_state is None


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_data_loader__gives_the_batches_of_the_iterator(X, y, same_parameters, workers):
    loader = {"iterator_train": DataLoader, "iterator_train__num_workers": workers, "iterator_valid": DataLoader}
    nets = [fit(make(lam=0.1, **options), X, y) for options in ({}, loader)]
    assert same_parameters(*nets)
    assert np.array_equal(*(net.predict(X) for net in nets))
    assert clone(nets[1]).iterator_train is DataLoader


def test_datasets_that_are_not_masked__error(X, y):
    with pytest.raises(TypeError, match=r"dataset=<class 'skorch\.dataset\.Dataset'>\. Leave it out"):
        make(dataset=Dataset).fit(X, y)
    with pytest.raises(TypeError, match="a mapping of arrays, a MaskedDataset or a Subset of one, got"):
        make().fit(Dataset(X["audio"], y), None)


@pytest.mark.parametrize("kind", ["initialize", "fit"])
def test_module__that_is_none_of_fusion__is_refused_before_training(X, y, kind):
    net = MDMNet(torch.nn.Linear, module__in_features=3, module__out_features=1, max_epochs=1)
    with pytest.raises(TypeError, match=r"forward\(X, mask\), represent.* got Linear\. Derive it from"):
        net.initialize() if kind == "initialize" else net.fit(X, y)


def test_a_subset_of_rows__trains_through_a_data_loader(X, y):
    data = torch.utils.data.Subset(MaskedDataset(X, y), list(range(40)))
    for iterator in (BatchIterator, DataLoader):
        assert len(make(iterator_train=iterator).fit(data, None).history) == 2


def test_masked_dataset__reads_what_arrays_are(X, y):
    labels = np.arange(50)[::-1].astype(np.int32)
    data = MaskedDataset(X, labels, labels / 50.0)
    assert data.y.dtype == torch.int64 and data[-1][1].tolist() == [0] and data[0:2][1].tolist() == [49, 48]
    for wrong in ({}, {"audio": np.zeros(3)}, {"audio": np.array([["a"]])}):
        with pytest.raises(ValueError, match="X must map modality names to numbers"):
            MaskedDataset(wrong)


class Wrapper(torch.nn.Module):
    """Wraps a module as DistributedDataParallel does: only forward goes through it."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, *args):
        return self.module(*args)


def test_a_wrapped_module__trains_and_predicts_as_the_module(X, y):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        wrapped = MDMNet(
            Wrapper(module()), batch_size=16, max_epochs=2, verbose=0, critic__hidden_dims=(8,)
        ).initialize()
    plain = make()
    assert np.array_equal(fit(plain, X, y).predict(X), fit(wrapped, X, y).predict(X))
    assert plain.history[:, "train_dependency"] == wrapped.history[:, "train_dependency"]


def test_masked_dataset__takes_mappings_without_nan_beside_numbers(X):
    for wrong in (X["audio"], [X["audio"]], None):
        with pytest.raises(TypeError, match="X must map modality names to arrays"):
            MaskedDataset(wrong)
    X["text"][3, 0] = np.nan
    with pytest.raises(ValueError, match="'text': 1 of 50 rows contain NaN beside numbers"):
        MaskedDataset(X)
    steps = np.zeros((4, 5, 2))
    steps[1, 2] = np.nan
    assert MaskedDataset({"steps": steps}).mask["steps"].sum() == 19
    steps[1, 3, 0] = np.nan
    with pytest.raises(ValueError, match="'steps': 1 of 20 time steps contain NaN"):
        MaskedDataset({"steps": steps})
