"""What stands in for a modality that was not observed, in every fusion system."""

import gc
import pickle
import weakref

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from sklearn.base import clone, is_classifier

from sklearn_mdm import MDMFusionClassifier, MDMFusionRegressor, ModalityDict
from sklearn_mdm.encoders import MLPEncoder
from sklearn_mdm.estimators import _critic_imputer as imputation
from sklearn_mdm.estimators._critic_imputer import CriticImputer
from sklearn_mdm.fusion import (
    ConcatFusion,
    EarlyFusionLSTM,
    LateFusion,
    LowRankFusion,
    MemoryFusion,
    MISAFusion,
    MultiAttentionFusion,
    TensorFusion,
)
from sklearn_mdm.inputs._observed import Observed

# Of samples that were fitted, here and there: the numbers must repeat, not tell of new ones.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.SeenSamplesWarning")

nan = np.nan
N = 90
OPTIONS = ["auto", "mean", "token", "skip", "critic"]
STEPWISE = {
    "ef_lstm": EarlyFusionLSTM(embed_dim=4, hidden_dim=6),
    "memory": MemoryFusion(4, 4, 4, 4, 4, 4, 4),
    "multi_attention": MultiAttentionFusion(4, 4, 2, 4, 4, 6),
}
CODED = {
    "concat": ConcatFusion((8,), dropout=0.0),
    "late": LateFusion((8,), dropout=0.0),
    "tensor": TensorFusion((8,)),
    "low_rank": LowRankFusion(2),
    "misa": MISAFusion(8, 2, 8, dropout=0.0),
}
SYSTEMS = {**CODED, **STEPWISE}


def vectors(n=N, seed=0):
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(n, 1))
    X = {name: latent + 0.5 * rng.normal(size=(n, width)) for name, width in (("a", 3), ("b", 2), ("c", 4))}
    return X, np.digitize(latent[:, 0] + 0.1 * rng.normal(size=n), [-0.4, 0.4])


def sequences(n=N, n_steps=5, seed=0):
    X, y = vectors(n, seed)
    rng = np.random.default_rng(seed + 1)
    X = {name: x[:, None] + 0.1 * rng.normal(size=(n, n_steps, x.shape[1])) for name, x in X.items()}
    for i, length in enumerate(rng.integers(1, n_steps + 1, size=n)):
        for x in X.values():
            x[i, length:] = nan
    return X, y


def without(X, **rows):
    """Set modalities of some rows to NaN."""
    X = {name: x.copy() for name, x in X.items()}
    for name, missing in rows.items():
        X[name][missing] = nan
    return X


def model(system, missing, cls=MDMFusionRegressor, **parameters):
    encoder = "auto" if system in STEPWISE else MLPEncoder((8,), 4, dropout=0.0)
    defaults = {"max_epochs": 4, "batch_size": 16, "lr": 0.01, "lam": 0.1, "critic_hidden_dims": (8,), "device": "cpu"}
    defaults |= {
        "n_estimators": 1,
        "scaling": "standard",
        "fusion": SYSTEMS[system],
        "encoder": encoder,
        "missing": missing,
        "random_state": 0,
    }
    return cls(**{**defaults, **parameters})


def outcome(fitted, X):
    return fitted.predict_proba(X) if hasattr(fitted, "predict_proba") else fitted.predict(X)


# --- every system, every option --------------------------------------------------------------------------------------


def in_turns():
    """Every system with every option, for either estimator in turn; the other one, and sequences, are slow."""
    for i, system in enumerate(SYSTEMS):
        for j, missing in enumerate(OPTIONS):
            for k, cls in enumerate((MDMFusionRegressor, MDMFusionClassifier)):
                for make in (vectors, sequences):
                    marks = [pytest.mark.slow] if make is sequences or (i + j + k) % 2 else []
                    yield pytest.param(system, missing, cls, make, marks=marks)


@pytest.mark.parametrize(("system", "missing", "cls", "make"), list(in_turns()))
@pytest.mark.usefixtures("quick_reports")
def test_predictions__with_modalities_missing__are_finite_alike_in_all_forms_and_row_independent(
    system, missing, cls, make
):
    X, y = make()
    fitted = model(system, missing, cls, modality_dropout=0.3).fit(without(X, a=slice(0, 9), b=slice(5, 12)), y)
    new = without(make(20, seed=5)[0], a=slice(0, 6), b=slice(4, 10), c=[2])
    found = outcome(fitted, new)
    assert np.isfinite(found).all() and np.isfinite(fitted.transform(new)).all()
    assert len(np.unique(found.round(9), axis=0)) > 10
    for rows in (np.arange(5), np.arange(20)[::-1], [3]):
        assert_allclose(outcome(fitted, ModalityDict(new)[list(rows)]), found[rows], rtol=1e-9, atol=1e-9)
    absent = outcome(fitted, {"b": X["b"], "c": X["c"]})
    assert_array_equal(outcome(fitted, {**X, "a": None}), absent)
    assert_allclose(outcome(fitted, without(X, a=slice(None))), absent, rtol=1e-9, atol=1e-9)
    if cls is MDMFusionClassifier:
        assert_allclose(found.sum(1), 1, rtol=1e-12)


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.usefixtures("quick_reports")
def test_everything_observed__the_option_changes_no_bit(system):
    X, y = vectors()
    models = [model(system, missing).fit(X, y) for missing in OPTIONS]
    for method in ("predict", "transform", "pointwise_dependency"):
        first, *others = (getattr(fitted, method)(X) for fitted in models)
        for other in others:
            assert_array_equal(other, first)


@pytest.mark.parametrize("missing", ["mean", "token", "skip"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_gradients__reach_what_was_observed_only(system, missing):
    module = build(system, missing)
    X, mask = batch(), {"m0": torch.tensor([False, True]), "m1": torch.ones(2).bool(), "m2": torch.ones(2).bool()}
    for x in X.values():
        x.requires_grad_()
    module(X, mask).prediction.square().sum().backward()
    assert not X["m0"].grad[0].any()
    assert X["m1"].grad.any() and X["m2"].grad.any()


@pytest.mark.parametrize("system", [system for system in SYSTEMS if system != "late"])
@pytest.mark.usefixtures("quick_reports")
def test_token__with_modality_dropout__is_learned(system):
    X, y = vectors()
    trained, fresh = (
        model(system, "token", modality_dropout=0.3, lr=lr, weight_decay=0.0).fit(X, y) for lr in (0.01, 1e-12)
    )
    pairs = zip(trained.net_.module_.named_parameters(), fresh.net_.module_.parameters(), strict=True)
    moved = {name: bool((a != b).all()) for (name, a), b in pairs if "token" in name}
    assert len(moved) == 3 and all(moved.values()), moved


# --- skip ------------------------------------------------------------------------------------------------------------


def build(system, missing, n_outputs=2):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = "auto" if system in STEPWISE else MLPEncoder((8,), 4, dropout=0.0)
        module = SYSTEMS[system].build(
            {"m0": (3,), "m1": (2,), "m2": (4,)}, n_outputs, encoder=encoder, missing=missing
        )
        for parameter in module.parameters():
            parameter.data += 0.2 * torch.randn(parameter.shape)
    return module.double().eval()


def batch(n=2):
    generator = torch.Generator().manual_seed(1)
    widths = {"m0": 3, "m1": 2, "m2": 4}
    return {name: torch.randn(n, width, generator=generator).double() for name, width in widths.items()}


LACKS_M1 = {"m0": torch.ones(2).bool(), "m1": torch.zeros(2).bool(), "m2": torch.ones(2).bool()}


def equal(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("system", ["late", *STEPWISE])
def test_skip__of_systems_in_which_a_missing_modality_adds_nothing_anyway__is_mean(system):
    assert torch.equal(
        build(system, "skip")(batch(), LACKS_M1).prediction, build(system, "mean")(batch(), LACKS_M1).prediction
    )


@pytest.mark.parametrize("system", ["concat", "tensor", "low_rank", "misa"])
def test_skip__of_systems_that_read_codes__is_not_mean(system):
    skipped, filled = (build(system, missing)(batch(), LACKS_M1).prediction for missing in ("skip", "mean"))
    assert (skipped != filled).any(1).all()


def test_skip__concat__adds_nothing_to_the_first_layer():
    module, X = build("concat", "skip"), batch()
    z = module.represent(X)
    first, *rest = list(module.head)[1:]
    hidden = first.bias + sum(
        torch.relu(z[name]) @ first.weight[:, columns].T for name, columns in (("m0", slice(4)), ("m2", slice(8, 12)))
    )
    for layer in rest:
        hidden = layer(hidden)
    equal(module(X, LACKS_M1).prediction, hidden)


def test_skip__tensor__leaves_the_products_of_the_others():
    module, X = build("tensor", "skip"), batch()
    z = module.represent(X)
    one = torch.ones(2, 1).double()
    a, c = torch.cat([z["m0"], one], 1), torch.cat([z["m2"], one], 1)
    tensor = torch.zeros(2, 5, 5, 5).double()
    tensor[:, :, 4] = a[:, :, None] * c[:, None]
    equal(module(X, LACKS_M1).prediction, module.out(module.hidden(tensor.flatten(1))))


def test_skip__low_rank__has_a_constant_factor():
    module, X = build("low_rank", "skip"), batch()
    z = module.represent(X)
    products = module.factors["m0"](z["m0"]) * module.factors["m1"].bias * module.factors["m2"](z["m2"])
    equal(module(X, LACKS_M1).fused, products)


def test_skip__misa__no_weight_of_the_missing_modality_matters_but_those_that_read_zeros():
    module, X = build("misa", "skip"), batch()
    expected = module(X, LACKS_M1)
    for part in (module.project["m1"], module.private["m1"], module.encoders.encoders["m1"]):
        for parameter in part.parameters():
            parameter.data += 1
    found = module(X, LACKS_M1)
    equal(found.prediction, expected.prediction)
    assert not torch.equal(module(X).prediction, expected.prediction)


def test_skip__misa__without_gradients__is_the_same():
    module, X = build("misa", "skip"), batch()
    expected = module(X, LACKS_M1)
    with torch.no_grad():  # where torch has another way to compute attention
        found = module(X, LACKS_M1)
    equal(found.prediction, expected.prediction)
    nothing = {name: torch.zeros(2).bool() for name in X}
    assert torch.isfinite(module(X, nothing).prediction).all()


@pytest.mark.parametrize("system", SYSTEMS)
def test_module__of_unknown_option_or_of_critic__error(system):
    with pytest.raises(ValueError, match="missing must be one of 'mean', 'token', 'skip', got 'zero'"):
        build(system, "zero")
    with pytest.raises(ValueError, match="imputes with the critic of a fitted estimator"):
        build(system, "critic")


# --- critic: weights and draws ---------------------------------------------------------------------------------------


@pytest.fixture
def fitted():
    X, y = vectors()
    return model("concat", "critic", lam=1.0).fit(X, y), X, y


def completion_of(estimator, *seen):
    """What completes samples of which these modalities were observed, and the log weights of candidates in order."""
    return next(estimator.imputer_.patterns(np.array([seen], dtype=bool), range(estimator._n_members)))[1]


def test_critic__weights__are_those_of_a_loop(fitted):
    estimator, X, _ = fitted
    critic, (a, b, c) = estimator.imputer_.critics[0], estimator.imputer_.z
    z = estimator._represent(Observed.of({name: x[:7] for name, x in X.items()}))
    assert critic.weights_.any(), "a critic that found nothing would make this empty"

    def s(*rows):
        return critic.log_ratio([row[None] for row in rows])[0]

    lacks_b = completion_of(estimator, True, False, True)
    found = lacks_b.log_weights(z)
    for i in range(4):
        expected = np.array([s(z[0][i], b[k], z[2][i]) for k in range(len(b))])
        assert_allclose(found[i], expected[lacks_b.order], rtol=1e-9, atol=1e-9)
    # Of two missing ones, the ratio of both alone is the mean over values of the other.
    lacks_two = completion_of(estimator, False, True, False)
    joint = np.array([s(a[k], z[1][5], c[k]) for k in range(len(a))])
    alone = [logsumexp([s(a[k], b[j], c[k]) for j in range(len(b)) if j != k]) for k in range(len(a))]
    expected = joint - np.array(alone) + np.log(len(b) - 1)
    assert_allclose(lacks_two.log_weights(z)[5], expected[lacks_two.order], rtol=1e-9, atol=1e-9)


def test_critic__what_it_makes_of_candidates__is_kept_for_predictions(fitted):
    estimator, X, _ = fitted
    lacking = {name: x for name, x in X.items() if name != "b"}
    first = estimator.predict(lacking)
    kept = completion_of(estimator, True, False, True)
    assert kept is completion_of(estimator, True, False, True)
    assert_array_equal(estimator.predict(lacking), first)
    assert not any("ompletion" in name for name in vars(estimator.imputer_)), "pickles would grow"
    # Neither a new critic nor a copy reads what was kept of another, and what is kept goes with the imputer.
    assert completion_of(pickle.loads(pickle.dumps(estimator)), True, False, True) is not kept
    assert_array_equal(pickle.loads(pickle.dumps(estimator)).predict(lacking), first)
    known = weakref.ref(estimator.imputer_)
    estimator.fit_dependency({name: x[:100] for name, x in X.items()})
    assert completion_of(estimator, True, False, True) is not kept
    gc.collect()
    assert known() is None


def test_critic__draws__follow_the_weights(fitted, monkeypatch):
    completion = completion_of(fitted[0], True, False, False)
    weights = np.random.default_rng(0).dirichlet(np.full(len(completion.order), 0.1), size=20)
    monkeypatch.setattr(completion, "log_weights", lambda z: np.log(np.maximum(weights, 1e-300)))
    drawn = completion.choose([], 64)
    share = np.stack([np.bincount(row, minlength=len(weights[0])) for row in drawn]) / 64
    assert (np.abs(share[:, completion.order] - weights) < 1 / 64).all()


def test_critic__that_found_nothing__weighs_all_alike(fitted):
    estimator, _, _ = fitted
    critic = estimator.imputer_.critics[0]
    critic.weights_ = np.zeros_like(critic.weights_)
    first, second = completion_of(estimator, True, False, True).choose([z[:2] for z in estimator.imputer_.z], 32)
    assert_array_equal(first, second)
    assert len(np.unique(first)) == 32


@pytest.mark.parametrize("cls", [MDMFusionRegressor, MDMFusionClassifier])
@pytest.mark.parametrize("make", [vectors, sequences])
@pytest.mark.parametrize("system", ["concat", "misa"])  # which predicts from representations, and which does not
@pytest.mark.usefixtures("quick_reports")
def test_critic__prediction__is_the_average_over_completed_samples(cls, make, system):
    X, y = make()
    estimator = model(system, "critic", cls, scaling=None, lam=1.0).fit(X, y)
    new = without(make(8, seed=3)[0], b=slice(0, 6), c=slice(4, 6))
    found = outcome(estimator, new), estimator.transform(new)
    missing = np.array([[np.isnan(x[i]).all() for x in new.values()] for i in range(8)])
    z, of_training = estimator._represent(Observed.of(new)), np.hstack(estimator._represent(Observed.of(X)))
    rows = np.array([np.abs(of_training - z).sum(1).argmin() for z in np.hstack(estimator.imputer_.z)])
    assert len(np.unique(rows)) == len(rows) > 50
    n_draws = imputation.MOST  # of one member
    for i in range(6):
        expected = 0
        chosen = completion_of(estimator, *~missing[i]).choose([part[[i]] for part in z], n_draws)[0]
        for candidate in chosen:
            whole = {
                name: X[name][[rows[candidate]]] if missing[i, j] else x[[i]] for j, (name, x) in enumerate(new.items())
            }
            expected = expected + np.hstack([outcome(estimator, whole).ravel(), estimator.transform(whole)[0]])
        assert_allclose(np.hstack([found[0][i].ravel(), found[1][i]]), expected / n_draws, rtol=1e-8, atol=1e-10)
    estimator.set_params(missing="mean")
    assert_allclose(found[0][6:], outcome(estimator, new)[6:], rtol=1e-12)
    assert (found[0][:6] != outcome(estimator, new)[:6]).all()


def test_critic__sequences_of_other_lengths__are_brought_to_one():
    X, y = sequences()
    estimator = model("ef_lstm", "critic").fit(X, y)
    longer, _ = sequences(6, n_steps=9, seed=2)
    shorter, _ = sequences(6, n_steps=2, seed=2)
    for new in (longer, shorter):
        assert np.isfinite(estimator.predict({"a": new["a"]})).all()


# --- critic: quality -------------------------------------------------------------------------------------------------


def error_without_b(X, y, missing, seed):
    """Squared errors on new samples without b, of a net fitted on complete ones."""
    train, test = slice(0, 600), slice(600, None)
    estimator = MDMFusionRegressor(
        n_estimators=1, missing=missing, lam=0.1, max_epochs=40, random_state=seed, device="cpu"
    )
    estimator.fit({name: x[train] for name, x in X.items()}, y[train])
    return (estimator.predict({"a": X["a"][test]}) - y[test]) ** 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_critic__redundant_modalities__beats_the_mean(seed):
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(1400, 2))
    X = {name: np.tanh(latent @ rng.normal(size=(2, 6))) + 0.2 * rng.normal(size=(1400, 6)) for name in "ab"}
    y = np.sin(2 * latent[:, 0]) + latent[:, 1]
    assert error_without_b(X, y, "critic", seed).mean() < 0.8 * error_without_b(X, y, "mean", seed).mean()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_critic__independent_modalities__is_no_worse_than_the_mean(seed):
    rng = np.random.default_rng(seed)
    X = {name: rng.normal(size=(1400, 3)) for name in "ab"}
    y = X["a"][:, 0] + X["b"][:, 0]
    assert error_without_b(X, y, "critic", seed).mean() < 1.05 * error_without_b(X, y, "mean", seed).mean()


# --- critic: when it is there ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick_reports")
def test_critic__same_seed_and_pickle__predict_the_same(fitted):
    estimator, X, y = fitted
    lacking = {"a": X["a"]}
    expected = estimator.predict(lacking)
    assert_array_equal(estimator.predict(lacking), expected)
    assert_array_equal(pickle.loads(pickle.dumps(estimator)).predict(lacking), expected)
    first, second = (clone(estimator).fit(X, y).predict(lacking) for _ in range(2))
    assert_array_equal(first, second)


def test_critic__at_lam_0__needs_fit_dependency_and_says_so():
    X, y = vectors()
    estimator = model("concat", "critic", lam=0).fit(X, y)
    whole = estimator.predict(X)
    with pytest.raises(ValueError, match=r"30 of 90 samples lack a modality.*fit_dependency\(X\)"):
        estimator.predict(without(X, a=slice(0, 30)))
    estimator.fit_dependency(X)
    assert np.isfinite(estimator.predict({"a": X["a"]})).all()
    assert_array_equal(estimator.predict(X), whole)


@pytest.mark.usefixtures("quick_reports")
def test_critic__further_training__takes_critic_and_samples_away(fitted):
    estimator, X, y = fitted
    estimator.partial_fit(X, y)
    with pytest.raises(ValueError, match="partial_fit never does"):
        estimator.predict({"a": X["a"]})
    estimator.fit_dependency(X)
    assert np.isfinite(estimator.predict({"a": X["a"]})).all()
    estimator.set_params(lam=0).fit(X, y)
    assert not hasattr(estimator, "imputer_")


@pytest.mark.usefixtures("quick_reports")
def test_critic__switched_on_and_off_after_fit():
    X, y = vectors()
    lacking = {"a": X["a"], "c": X["c"]}
    both = model("concat", "critic").fit(X, y)
    mean = model("concat", "mean").fit(X, y)
    imputed = both.predict(lacking)
    assert_array_equal(both.set_params(missing="mean").predict(lacking), mean.predict(lacking))
    with pytest.raises(ValueError, match="lack a modality"):
        mean.set_params(missing="critic").predict(lacking)
    assert (imputed != both.predict(lacking)).all()
    assert not hasattr(mean, "imputer_") and isinstance(both.imputer_, CriticImputer)


@pytest.mark.usefixtures("quick_reports")
def test_critic__keeps_few_complete_training_samples():
    X, y = vectors(700)
    X = without(X, a=slice(0, 300))
    estimator = model("misa", "critic", scaling=None, max_epochs=1).fit(X, y)
    kept = estimator.imputer_.X
    assert {len(x) for x in kept.arrays.values()} == {imputation.MAX_CANDIDATES}
    assert all((x[:, None] == X["a"][300:]).all(2).any(1).all() for x in [kept.arrays["a"]])
    assert np.isnan(estimator.pointwise_dependency(X)[:300]).all()


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.usefixtures("quick_reports")
def test_critic__of_systems_that_predict_from_representations__keeps_no_samples(system):
    estimator = model(system, "critic", max_epochs=1).fit(*vectors())
    assert (estimator.imputer_.X is None) == (system in ("concat", "late", "tensor", "low_rank"))


@pytest.mark.parametrize("system", [name for name in SYSTEMS if name in ("concat", "late", "tensor", "low_rank")])
def test_from_representations__is_forward(system):
    module, X = build(system, "mean"), batch()
    expected, found = module(X), module.from_representations(module.represent(X))
    equal(found.prediction, expected.prediction)
    equal(found.fused, expected.fused)


# --- auto ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick_reports")
def test_auto__is_the_default__and_what_the_critic_says_where_there_is_one(estimator, X, y, members):
    lacking = {"audio": X["audio"]}
    auto, critic, mean = (
        estimator(n_estimators=members, lam=0.3, **choice).fit(X, y)
        for choice in ({}, {"missing": "critic"}, {"missing": "mean"})
    )
    assert auto.missing == "auto"
    assert_array_equal(outcome(auto, lacking), outcome(critic, lacking))
    assert (outcome(auto, lacking) != outcome(mean, lacking)).any()
    for method in ("predict", "transform", "pointwise_dependency"):
        assert_array_equal(getattr(auto, method)(X), getattr(mean, method)(X))
    assert auto.dependency_score(X) == mean.dependency_score(X)


@pytest.mark.usefixtures("quick_reports")
def test_auto__trains_like_the_mean(estimator, X, y, members, same_parameters):
    X = without(X, audio=slice(0, 9))
    auto, mean = (estimator(n_estimators=members, missing=missing).fit(X, y) for missing in ("auto", "mean"))
    assert same_parameters(auto, mean)
    assert auto.loss_curve_ == mean.loss_curve_


def test_auto__without_a_critic__is_the_mean(estimator, X, y, members):
    lacking = {"audio": X["audio"], "text": np.where(np.arange(60)[:, None] % 2, X["text"], nan)}
    few = {name: x[:8] for name, x in X.items()}

    def partly_fitted(model):
        return model.partial_fit(X, y, **({"classes": np.unique(y)} if is_classifier(model) else {}))

    for fit in (
        lambda missing: estimator(n_estimators=members, missing=missing, lam=0).fit(X, y),
        lambda missing: partly_fitted(estimator(n_estimators=members, missing=missing)),
        lambda missing: estimator(n_estimators=members, missing=missing).fit(few, y[:8]),
        lambda missing: estimator(n_estimators=members, missing=missing, lam=0).fit({"audio": X["audio"]}, y),
    ):
        auto, mean = fit("auto"), fit("mean")
        new = {name: lacking[name] for name in auto.modalities_}
        assert not hasattr(auto, "imputer_")
        assert_array_equal(outcome(auto, new), outcome(mean, new))


@pytest.mark.usefixtures("quick_reports")
def test_auto__after_fit_dependency__completes(estimator, X, y, members):
    auto = estimator(n_estimators=members, lam=0).fit(X, y)
    before = outcome(auto, {"audio": X["audio"]})
    assert (outcome(auto.fit_dependency(X), {"audio": X["audio"]}) != before).any()
