"""DependencyEstimator: closed forms, invariances, forms of X, tests of independence, warnings, errors."""

import pickle
import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, KFold, RepeatedKFold, cross_val_score

from sklearn_mdm import DependencyEstimator, ModalityDict
from sklearn_mdm.datasets import (
    make_correlated_gaussians,
    make_shared_latent,
    make_spirals,
    make_warped_gaussians,
)
from sklearn_mdm.dependency._decomposition import parts_of
from sklearn_mdm.dependency._reliability import find_warnings
from sklearn_mdm.exceptions import (
    BatchLimitWarning,
    DependencyWarning,
    OverfittingWarning,
    RepeatedSamplesWarning,
    SampleLimitWarning,
    SeenSamplesWarning,
    StillRisingWarning,
)
from sklearn_mdm.measures import KL, Wasserstein


def quick(measure="kl", **parameters):
    """One small critic, and one part of the samples that it is read on."""
    defaults = {"max_updates": 150, "hidden_dims": (32, 32), "n_components": 2, "cv": None, "random_state": 0}
    return DependencyEstimator(measure, **{**defaults, **parameters})


@pytest.fixture(scope="module")
def gaussians():
    X, truth = make_correlated_gaussians(1500, rho=0.5, random_state=0)
    return X, truth


@pytest.fixture(scope="module")
def fitted(gaussians):
    return quick().fit(gaussians[0])


# --- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_value__of_gaussians_is_the_closed_form_within_its_error(rho):
    X, truth = make_correlated_gaussians(2000, rho=rho, random_state=1)
    estimator = quick().fit(X)
    assert abs(estimator.dependency_ - truth) < 3 * estimator.dependency_std_ + 0.02


@pytest.mark.parametrize(
    "measure",
    ["kl", "jsd", "knife", "infonce", *(pytest.param(each, marks=pytest.mark.slow) for each in ("f", "smile"))],
)
def test_critic_alone__of_every_measure_of_total_correlation_finds_most_of_it(gaussians, measure):
    X, truth = gaussians
    value = quick(measure, n_components=0, max_updates=400, batch_size=32).fit(X).dependency_
    assert 0.6 * truth < value < truth + 0.08


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "parameters", "options", "bar"),
    [
        (make_correlated_gaussians, {"rho": 0.5, "n_features": 4}, {}, 0.08),
        (make_warped_gaussians, {"rho": 0.5, "n_features": 4, "warp": "cube"}, {"scaling": "rank"}, 0.08),
        (make_shared_latent, {"total_correlation": 2.0, "n_classes": 10}, {}, 0.2),
        (make_spirals, {}, {}, 0.11),
    ],
)
def test_defaults__are_near_the_truth_where_the_shape_is_unknown(make, parameters, options, bar):
    X, truth = make(10_000, random_state=0, **parameters)
    estimator = DependencyEstimator(random_state=0, **options).fit(X)
    assert abs(estimator.dependency_ - truth) < bar
    assert estimator.warnings_ == []


def test_wasserstein__lies_between_its_closed_forms_and_is_one_lipschitz(gaussians):
    X, _ = gaussians
    estimator = quick("wasserstein", hidden_dims=(32, 32), max_updates=300).fit(X)
    assert 0.33 < estimator.dependency_ < 0.586  # method of moments below, the distance W2 above, for rho 0.5, d 1
    network = estimator.critics_[0].critics["audio; text; visual"].network_
    z = torch.randn(500, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (slope,) = torch.autograd.grad(network([z[:, :1], z[:, 1:2], z[:, 2:]]).sum(), z)
    assert slope.norm(dim=1).max() <= 1 + 1e-4
    assert estimator.dependency_ == quick("wasserstein", max_updates=300, scaling="standard").fit(X).dependency_
    with pytest.raises(ValueError, match="single samples"):
        estimator.score_samples(X)


def test_pointwise_values__follow_the_true_log_ratio():
    X, _, log_ratio = make_correlated_gaussians(3000, rho=0.8, random_state=0, return_log_ratio=True)
    estimator = quick().fit(X)
    held_out = estimator.held_out_
    assert np.corrcoef(estimator.pointwise_[held_out], log_ratio[held_out])[0, 1] > 0.95
    assert np.isnan(np.delete(estimator.pointwise_, held_out)).all()
    assert_allclose(estimator.pointwise_[held_out], estimator.score_samples(X)[held_out])
    assert estimator.pointwise_[held_out].mean() == pytest.approx(estimator.dependency_)


def test_cross_fitting__gives_every_sample_an_out_of_fold_value(gaussians):
    X, truth = gaussians
    estimator = quick(cv=3).fit(X)
    assert len(estimator.critics_) == 3
    assert np.isfinite(estimator.pointwise_).all()
    assert_array_equal(np.sort(estimator.held_out_), np.arange(1500))
    assert abs(estimator.dependency_ - truth) < 3 * estimator.dependency_std_ + 0.02
    single = quick().fit(X)
    assert estimator.dependency_std_ < single.dependency_std_
    assert np.isfinite(estimator.score(make_correlated_gaussians(50, random_state=9)[0]))


@pytest.mark.parametrize("decomposition", ["line", "tree"])
def test_decomposition__sums_to_the_total(gaussians, decomposition):
    X, truth = gaussians
    new, _ = make_correlated_gaussians(1500, rho=0.5, random_state=5)
    estimator = quick(decomposition=decomposition).fit(X)
    parts = estimator.decompose(new)
    first = -0.5 * np.log(1 - 0.25)  # the mutual information of two of the three
    assert list(parts.columns) == ["value", "std"] and parts.index[0] == "audio; text"
    assert parts["value"].iloc[0] == pytest.approx(first, abs=0.06)
    assert parts["value"].sum() == pytest.approx(estimator.score(new))
    assert parts["value"].sum() == pytest.approx(truth, abs=0.1)
    assert estimator.score_samples(new).mean() == pytest.approx(estimator.score(new))
    with pytest.raises(ValueError, match="decomposition="):
        quick().fit(X).decompose(new)


def test_parts__of_four_modalities():
    assert parts_of(4, None) == [((0,), (1,), (2,), (3,))]
    assert parts_of(4, "line") == [((0,), (1,)), ((0, 1), (2,)), ((0, 1, 2), (3,))]
    assert parts_of(4, "tree") == [((0,), (1,)), ((2,), (3,)), ((0, 1), (2, 3))]


# --- what must not matter --------------------------------------------------------------------------------------------


def test_value__does_not_depend_on_units_or_names(gaussians, fitted):
    X, _ = gaussians
    moved = {"c": X["audio"] * 1e3 + 5, "b": X["text"] * 1e-3, "a": X["visual"] - 7}
    other = quick().fit(moved)
    spread = np.hypot(fitted.dependency_std_, other.dependency_std_)
    assert abs(other.dependency_ - fitted.dependency_) < 2 * spread


@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.StillRisingWarning")
def test_ranks__make_increasing_maps_of_columns_immaterial(gaussians):
    X, _ = gaussians
    warped = {name: np.exp(3 * value) for name, value in X.items()}
    one, other = (quick(scaling="rank", max_updates=10).fit(each) for each in (X, warped))
    assert one.dependency_ == other.dependency_
    assert_array_equal(one.score_samples(X), other.score_samples(warped))


def test_random_state__repeats_bit_for_bit_and_leaves_the_global_generators_alone(gaussians, fitted):
    X, _ = gaussians
    before, legacy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    again = clone(fitted).fit(X)
    assert torch.equal(torch.get_rng_state(), before)
    assert_array_equal(np.random.get_state()[1], legacy)  # noqa: NPY002
    assert again.dependency_ == fitted.dependency_
    assert_array_equal(again.score_samples(X), fitted.score_samples(X))
    assert quick(random_state=1).fit(X).dependency_ != fitted.dependency_


def test_a_samples_value__does_not_depend_on_the_others(gaussians, fitted):
    X, _ = gaussians
    some = {name: value[::7] for name, value in X.items()}
    assert_allclose(fitted.score_samples(some), fitted.score_samples(X)[::7], rtol=0, atol=1e-12)


@pytest.mark.parametrize("parameters", [{}, {"scaling": "rank"}, {"decomposition": "line"}, {"cv": 2}], ids=str)
def test_score_samples__in_blocks__is_that_of_all_rows_at_once(gaussians, parameters, monkeypatch):
    X, _ = gaussians
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = quick(max_updates=20, **parameters).fit(X)
    monkeypatch.setattr("sklearn_mdm.utils._blocks.ROWS_AT_ONCE", len(X))
    whole = estimator.score_samples(X)
    monkeypatch.setattr("sklearn_mdm.utils._blocks.ROWS_AT_ONCE", 100)
    assert_allclose(estimator.score_samples(X), whole, rtol=0, atol=1e-12)


def test_score_samples__many_rows__takes_little_more_memory_than_their_columns(fitted):
    X = {name: np.zeros((50_000, width)) for name, width in fitted.n_features_per_modality_.items()}
    n_bytes = sum(array.nbytes for array in X.values())
    fitted.score_samples({name: array[:10] for name, array in X.items()})
    tracemalloc.start()
    try:
        fitted.score_samples(X)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Columns as they are read, their values, and a block of rows; torch's own memory is not seen here.
    assert most < 2.5 * n_bytes + 2**21


def test_pickle__reads_the_same(gaussians, fitted):
    again = pickle.loads(pickle.dumps(fitted))
    assert_array_equal(again.score_samples(gaussians[0]), fitted.score_samples(gaussians[0]))


# --- forms of X ------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.StillRisingWarning")
def test_accepted_forms__give_the_same_value(gaussians):
    X, _ = gaussians
    few = {"max_updates": 10}
    frame = pd.concat({name: pd.DataFrame(value) for name, value in X.items()}, axis=1)
    flat = np.hstack([X["audio"], X["text"], X["visual"]])
    as_lists = {name: list(value[:, None, :]) for name, value in X.items()}  # sequences of one step
    values = [
        quick(**few).fit(dict(X)).dependency_,
        quick(**few).fit(frame).dependency_,
        quick(**few, modalities={"audio": [0], "text": [1], "visual": [2]}).fit(flat).dependency_,
        quick(**few, modalities="columns").fit(flat).dependency_,
        quick(**few).fit(as_lists).dependency_,
    ]
    assert len(set(values)) == 1


def test_missing_modalities__are_left_out_and_nan_where_values_are_asked_for(gaussians):
    X, _ = gaussians
    holes = {name: value.copy() for name, value in X.items()}
    holes["text"][::5] = np.nan
    estimator = quick(max_updates=10).fit(holes)
    complete = np.isfinite(holes["text"][:, 0])
    assert not set(estimator.held_out_) & set(np.flatnonzero(~complete))
    whole = {name: value[complete] for name, value in X.items()}
    assert estimator.dependency_ == quick(max_updates=10).fit(whole).dependency_
    values = estimator.score_samples(holes)
    assert_array_equal(np.isfinite(values), complete)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SeenSamplesWarning)
        with pytest.warns(UserWarning, match="300 of 1500 samples are left out"):
            estimator.score(holes)


def test_model_selection__scores_by_held_out_nats(gaussians):
    X, _ = gaussians
    scores = cross_val_score(quick(), ModalityDict(X), cv=3)
    assert scores.shape == (3,) and (scores > 0.15).all()


@pytest.mark.parametrize(
    ("kind", "scaling"),
    [
        ("one value", "auto"),
        ("copies", "standard"),
        ("copies", "rank"),
        pytest.param("one value", "standard", marks=pytest.mark.slow),
        pytest.param("one value", "rank", marks=pytest.mark.slow),
        pytest.param("copies", "auto", marks=pytest.mark.slow),
    ],
)
def test_units_of_columns__change_nothing(kind, scaling):
    """Also of a column that differs from zero in one sample only, and of data with copies."""
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(120, 1))
    X = {name: latent + rng.normal(size=(120, 2)) for name in ("audio", "text")}
    if kind == "one value":
        X["audio"] = np.c_[X["audio"], np.arange(120) == 3]
    else:
        X = {name: np.r_[x, x[:20]] for name, x in X.items()}
    larger = {name: np.ldexp(x, 60) for name, x in X.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DependencyWarning)
        fitted, other = (quick(max_updates=20, cv=3, scaling=scaling).fit(each) for each in (X, larger))
    assert_allclose(other.pointwise_, fitted.pointwise_, rtol=1e-6, atol=1e-9)
    assert_allclose([other.dependency_, other.dependency_std_], [fitted.dependency_, fitted.dependency_std_], rtol=1e-6)


# --- groups ----------------------------------------------------------------------------------------------------------


def test_groups__are_never_cut(gaussians):
    rng = np.random.default_rng(0)
    copies = {name: np.repeat(rng.normal(size=(60, 2)), 10, axis=0) for name in ("a", "b")}
    groups = np.repeat(np.arange(60), 10)
    estimator = quick(max_updates=300).fit(copies, groups=groups)
    held_out = set(groups[estimator.held_out_])
    assert 0 < len(held_out) < 60 and len(estimator.held_out_) == 10 * len(held_out)
    assert abs(estimator.dependency_) < 0.1  # copies on both sides would look like dependency
    folds = quick(cv=GroupKFold(3)).fit(copies, groups=groups)
    assert np.isfinite(folds.pointwise_).all()
    with pytest.raises(ValueError, match="groups are too few"):
        quick().fit(copies, groups=np.zeros(600))


def test_standard_error__of_grouped_samples_is_that_of_groups():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(100, 1))
    one, other = base + rng.normal(size=base.shape), base + rng.normal(size=base.shape)
    X = {"a": np.repeat(one, 10, axis=0), "b": np.repeat(other, 10, axis=0)}
    groups = np.repeat(np.arange(100), 10)
    estimator = quick().fit(X, groups=groups)
    rows = {name: value[estimator.held_out_] for name, value in X.items()}
    (critic,) = estimator.critics_[0].critics.values()
    assert estimator.dependency_std_ > 2 * critic.score(list(rows.values()))[1]
    with pytest.warns(UserWarning, match="was given groups"), pytest.warns(RepeatedSamplesWarning, match="one of each"):
        estimator.permutation_test(X, n_permutations=19)


def test_cv__that_repeats_or_cuts_is_an_error(gaussians):
    X, _ = gaussians
    with pytest.raises(ValueError, match="more than once"):
        quick(cv=RepeatedKFold(n_splits=3, n_repeats=2)).fit(X)
    with warnings.catch_warnings(), pytest.raises(ValueError, match="cuts groups"):
        warnings.simplefilter("ignore")
        quick(cv=KFold(3)).fit(X, groups=np.repeat(np.arange(500), 3))
    with pytest.raises(ValueError, match="3 are held out"):
        quick(held_out_fraction=0.002).fit(X)


@pytest.mark.parametrize("cv", [[(np.arange(90), np.arange(45))], [], [(np.ones(90, bool), np.ones(90, bool))]])
def test_cv__that_trains_on_what_it_holds_out__error(cv):
    X = {name: np.random.default_rng(0).normal(size=(90, 2)) for name in "ab"}
    with pytest.raises(ValueError, match="cv must hold out samples that it does not train on"):
        DependencyEstimator(cv=cv).fit(X)


# --- permutation test ------------------------------------------------------------------------------------------------


def test_permutation_test__finds_dependency_and_uses_held_out_samples(gaussians, fitted):
    X, _ = gaussians
    test = fitted.permutation_test(X, n_permutations=99)
    assert test.pvalue == 1 / 100
    assert test.statistic > test.null_distribution.max()
    held_out = {name: value[fitted.held_out_] for name, value in X.items()}
    assert fitted.permutation_test(held_out, n_permutations=99).pvalue == 1 / 100


@pytest.mark.parametrize("decomposition", [None, pytest.param("line", marks=pytest.mark.slow)])
def test_permutation_test__holds_its_level(decomposition):
    # One critic, fresh independent samples: exact, so at most 5 of 60 at 0.05 but for one in 10,000 seeds at 10.
    estimator = quick(decomposition=decomposition).fit(make_correlated_gaussians(400, rho=0.5, random_state=0)[0])
    pvalues = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        X = {name: rng.normal(size=(80, 1)) for name in ("audio", "visual", "text")}
        pvalues.append(estimator.permutation_test(X, n_permutations=19).pvalue)
    assert np.mean(np.array(pvalues) <= 0.05) <= 10 / 60
    assert min(pvalues) >= 1 / 20
    assert 0.35 < np.mean(pvalues) < 0.65


def test_permutation_test__of_samples_that_were_all_trained_on_is_an_error(gaussians, fitted):
    X, _ = gaussians
    trained = np.setdiff1d(np.arange(1500), fitted.held_out_)
    with pytest.raises(ValueError, match="did not train on are too few"):
        fitted.permutation_test({name: value[trained] for name, value in X.items()})
    with pytest.warns(SeenSamplesWarning, match="750 of 1500"):
        fitted.score(X)


@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.OverfittingWarning")  # twelve rows weigh three parts
def test_permutation_test__of_repeated_rows_uses_the_held_out_positions():
    # Discrete rows repeat: which of them were trained on is told by their place, or cannot be told.
    rng = np.random.default_rng(0)
    pvalues = []
    for seed in range(12):
        X = {name: rng.integers(0, 3, size=(120, 2)).astype(float) for name in ("a", "b")}
        pvalues.append(quick(random_state=seed).fit(X).permutation_test(X, n_permutations=19).pvalue)
    assert np.mean(np.array(pvalues) <= 0.05) < 0.35


def test_permutation_test__loses_no_power_to_permutations_and_rejects_bad_numbers(gaussians, fitted):
    new, _ = make_correlated_gaussians(400, rho=0.3, random_state=3)
    assert fitted.permutation_test(new, n_permutations=499).pvalue == 1 / 500
    for bad in (0, -1, 19.5):
        with pytest.raises(ValueError, match="n_permutations"):
            fitted.permutation_test(new, n_permutations=bad)


def test_permutation_test__works_where_weights_are_zero(gaussians):
    X, _ = gaussians
    estimator = quick(decomposition="line").fit(X)
    for critic in estimator.critics_[0].critics.values():
        critic.weights_ = 0 * critic.weights_
    assert estimator.permutation_test(X, n_permutations=19).pvalue == 1 / 20


# --- warnings --------------------------------------------------------------------------------------------------------


def test_sample_limit__is_warned_of_where_dependency_is_beyond_it():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(600, 4))
    with pytest.warns(SampleLimitWarning, match=r"near log\(300\)"):
        estimator = quick().fit({"a": a, "b": a + 1e-3 * rng.normal(size=a.shape)})
    assert "SampleLimitWarning" in estimator.warnings_


def test_batch_limit__is_warned_of_where_a_contrast_is_saturated():
    X, _ = make_correlated_gaussians(1500, n_modalities=2, n_features=4, rho=0.95, random_state=0)
    with pytest.warns(BatchLimitWarning, match="2.77"):
        quick("infonce", batch_size=16, max_updates=400).fit(X)


def find(value=1.0, train_value=1.0, n=1000, curve=(1.4, 1.0, 1.0, 1.0), in_nats=True, limit=None):
    return set(find_warnings(value, train_value, n, list(curve), in_nats=in_nats, limit=limit))


def test_diagnostics__name_what_is_wrong():
    assert find() == set()
    assert find(value=6.5, train_value=6.5) == {SampleLimitWarning}
    assert find(value=6.5, train_value=6.5, in_nats=False) == set()
    assert find(value=0.0, train_value=0.0, n=4) == set()
    assert find(value=0.6, train_value=0.6, n=4) == {SampleLimitWarning}
    assert find(limit=1.1) == {BatchLimitWarning}
    assert find(train_value=1.5) == {OverfittingWarning}
    assert find(curve=(1.4, 1.3, 1.2, 1.0)) == {StillRisingWarning}
    assert all(issubclass(category, DependencyWarning) for category in find(limit=1.1, train_value=2))


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"measure": "tcmax"}, "cannot stand alone: it reads the predictions of a classifier"),
        ({"measure": "pairwise_infonce"}, "cannot stand alone: it compares representations that a network learns"),
        ({"measure": "magic"}, "is not known"),
        ({"measure": Wasserstein(), "critic": "encoded"}, "a critic of its own"),
        ({"measure": KL(bound=-1)}, "bound"),
        ({"held_out_fraction": 1.5}, "held_out_fraction"),
        ({"measure": "wasserstein", "decomposition": "line"}, "adds parts of the total correlation"),
        ({"hidden_dims": (8, 0)}, "hidden_dims"),
        ({"decomposition": "star"}, "decomposition"),
        ({"critic": "deep"}, "critic"),
    ],
)
def test_parameters__that_do_not_go_together_are_errors(gaussians, parameters, message):
    with pytest.raises((ValueError, TypeError), match=message):
        DependencyEstimator(**parameters).fit(gaussians[0])


def test_input__that_has_no_dependency_to_measure_is_an_error(gaussians):
    X, _ = gaussians
    with pytest.raises(ValueError, match="single modality 'X'"):
        quick().fit(X["audio"])
    with pytest.raises(ValueError, match="too few"):
        quick().fit({name: value[:11] for name, value in X.items()})
    ragged = {"a": [np.ones((t, 2)) for t in range(1, 31)], "b": np.ones((30, 2))}
    with pytest.raises(ValueError, match="modality 'a' has sequences with steps that were not observed"):
        quick().fit(ragged)
    with pytest.raises(ValueError, match="'speech'"):
        quick().fit(X).score({**X, "speech": X["audio"]})


def test_nested_parameters__need_a_measure_object():
    assert quick(KL()).set_params(measure__bound=5.0).measure.bound == 5.0
    with pytest.raises(ValueError, match=r"KL\(bound=\.\.\.\)"):
        quick().set_params(measure__bound=3)


@pytest.mark.parametrize("factor", [1e160, 1e-200])
def test_extreme_units__change_nothing(gaussians, fitted, factor):
    X, _ = gaussians
    scaled = quick().fit({name: value * factor for name, value in X.items()})
    assert scaled.dependency_ == pytest.approx(fitted.dependency_, abs=1e-3)


def test_shifted_units__change_next_to_nothing(gaussians, fitted):
    X, _ = gaussians
    shifted = quick().fit({name: value * 1e-3 + 1e6 for name, value in X.items()})
    assert shifted.dependency_ == pytest.approx(fitted.dependency_, abs=0.05)


def test_sequences__need_the_steps_they_had_in_fit(gaussians):
    X, _ = gaussians
    steps = {"a": np.stack([X["audio"], X["text"]], axis=1), "b": X["visual"]}
    estimator = quick().fit(steps)
    with pytest.raises(ValueError, match="modality 'a' has 1 values per sample"):
        estimator.score_samples({**steps, "a": steps["a"][:, :1]})


def test_a_fit_that_fails__leaves_nothing_behind(gaussians):
    X, _ = gaussians
    estimator = quick().fit(X)
    with pytest.raises(ValueError, match="infinity"):
        estimator.fit({**X, "audio": np.where(X["audio"] > 2, np.inf, X["audio"])})
    assert not any(
        name.endswith("_") and not name.startswith("_") for name in vars(estimator) if "features" not in name
    )


def test_constant_columns__are_no_dependency():
    X = {"a": np.ones((100, 2)), "b": np.zeros((100, 1))}
    estimator = quick().fit(X)
    assert estimator.dependency_ == 0
    assert estimator.permutation_test(X, n_permutations=19).pvalue == 1
