"""Rows that were trained on are no new ones: who saw them, and what is said of them."""

import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp

from sklearn_mdm import MDMFusionRegressor
from sklearn_mdm.dependency._coefficient import coefficient_with_std
from sklearn_mdm.estimators import _base
from sklearn_mdm.estimators._training_rows import TrainingRows
from sklearn_mdm.exceptions import RepeatedSamplesWarning, SeenSamplesWarning
from sklearn_mdm.inspection import mismatch_test, pointwise_attribution, rank_samples
from sklearn_mdm.inspection._pointwise_ratio import PointwiseRatio

pytestmark = pytest.mark.usefixtures("quick_reports")
N = 60


def independent(seed, n=N):
    random = np.random.default_rng(seed)
    return {name: random.normal(size=(n, 3)) for name in ("audio", "text")}


SAMPLES, NEW = independent(0), independent(1)
TARGET = SAMPLES["audio"][:, 0] + SAMPLES["text"][:, 0]
READERS = {
    "dependency_score": lambda model, X: model.dependency_score(X),
    "pointwise_dependency": lambda model, X: model.pointwise_dependency(X),
}


def n_seen(model, X, read=READERS["dependency_score"]):
    """How many samples a warning says were seen; the warning is of this call."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read(model, X)
    assert all(warning.category is SeenSamplesWarning and warning.filename == __file__ for warning in caught)
    return int(str(caught[0].message).split()[0]) if caught else 0


def some(X, rows):
    return {name: value[rows] for name, value in X.items()}


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("parameters", "seen"),
    [
        ({}, N),
        ({"early_stopping": True, "validation_fraction": 0.5}, 30),  # whose other half calibrates
        ({"n_estimators": 3}, 0),
        ({"n_estimators": 3, "early_stopping": False}, N),
    ],
)
def test_rows_of_the_fit__are_counted_unless_a_member_held_them_out(regressor, parameters, seen, read):
    model = regressor(lam=0.1, **parameters).fit(SAMPLES, TARGET)
    read = READERS[read]
    assert n_seen(model, SAMPLES, read) == seen
    assert n_seen(model, NEW, read) == 0
    both = {name: np.concatenate([NEW[name], value]) for name, value in SAMPLES.items()}
    assert n_seen(model, both, read) == seen
    assert n_seen(pickle.loads(pickle.dumps(model)), some(SAMPLES, [2, 1]), read) <= min(seen, 2)


def test_the_warning__says_of_how_many_and_what_to_do(regressor):
    model = regressor(lam=0.1).fit(SAMPLES, TARGET)
    with pytest.warns(
        SeenSamplesWarning, match=r"^2 of 3 samples were .* more dependent than new ones. Pass new samples"
    ):
        model.dependency_score({name: np.r_[value[:2], NEW[name][:1]] for name, value in SAMPLES.items()})


def test_samples_without_a_label__that_trained_all_members_are_counted(regressor):
    model = regressor(lam=0.1, n_estimators=3).fit(SAMPLES, TARGET, X_unlabeled=NEW)
    assert n_seen(model, SAMPLES) == 0
    assert n_seen(model, NEW) == N
    idle = regressor(lam=0.0, agreement=0.0, n_estimators=3)
    with pytest.warns(UserWarning, match="train no network"):
        idle.fit(SAMPLES, TARGET, X_unlabeled=NEW)
    assert not idle._net_rows.trained(idle._read_later(NEW).hashes).any()


def test_validation_samples__are_not_trained_on(regressor):
    model = regressor(lam=0.1).fit(SAMPLES, TARGET, X_val=NEW, y_val=TARGET)
    assert n_seen(model, SAMPLES) == N
    assert n_seen(model, NEW) == 0


@pytest.mark.parametrize(("n_estimators", "of_new", "of_fit"), [(1, 40, N), (8, 1, 0)])
def test_fit_dependency__its_rows_are_seen_by_its_critics(regressor, n_estimators, of_new, of_fit):
    model = regressor(lam=0.0, n_estimators=n_estimators).fit(SAMPLES, TARGET)
    assert n_seen(model.fit_dependency(NEW), NEW) == pytest.approx(of_new, abs=6 if n_estimators > 1 else 0)
    assert n_seen(model.fit_dependency(SAMPLES), SAMPLES) == of_fit  # of members, calibrated on what each held out
    assert n_seen(model, NEW) == 0


@pytest.mark.parametrize("n_estimators", [1, 3])
def test_partial_fit__remembers_all_chunks(regressor, n_estimators):
    model = regressor(lam=0.1, n_estimators=n_estimators)
    for _ in range(2):
        for rows in np.array_split(np.arange(N), 7):
            model.partial_fit(some(SAMPLES, rows), TARGET[rows])
    model.fit_dependency(NEW)
    assert n_seen(model, SAMPLES) == N
    assert len(model._net_rows._sort()[0]) == N  # once each
    assert n_seen(model, independent(2)) == 0


def test_partial_fit__of_a_long_stream_remembers_a_part(regressor, monkeypatch):
    monkeypatch.setattr(_base, "MAX_STREAMED_ROWS", 20)
    model = regressor(lam=0.0)
    for rows in np.array_split(np.arange(N), 6):
        model.partial_fit(some(SAMPLES, rows), TARGET[rows])
    trained = model._net_rows.trained(model._read_later(SAMPLES).hashes)
    assert 20 <= trained.sum() <= 40
    assert 0 < trained[:10].sum() and 0 < trained[-10:].sum()


@pytest.mark.parametrize("n_estimators", [1, 3])
def test_warm_start__adds_to_what_was_seen_and_another_fit_forgets_it(regressor, n_estimators):
    model = regressor(lam=0.1, n_estimators=n_estimators, warm_start=True, early_stopping=False).fit(SAMPLES, TARGET)
    model.fit(NEW, TARGET)
    assert n_seen(model, SAMPLES) == n_seen(model, NEW) == N
    model.set_params(warm_start=False).fit(NEW, TARGET)
    assert n_seen(model, SAMPLES) == 0


def test_folds_after_a_stream__hold_out_nothing_that_it_had(regressor):
    model = regressor(lam=0.1, n_estimators=3, warm_start=True).partial_fit(SAMPLES, TARGET).fit(SAMPLES, TARGET)
    assert n_seen(model, SAMPLES) == N


def test_memory_maps_and_other_floating_types__are_recognised(regressor, tmp_path):
    maps = {}
    for name, value in SAMPLES.items():
        np.save(tmp_path / f"{name}.npy", value.astype(np.float32))
        maps[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    model = regressor(lam=0.1).fit(maps, TARGET)
    assert n_seen(model, maps) == n_seen(model, SAMPLES) == N


def test_data_that_repeat_by_nature__are_no_training_rows_for_being_equal(regressor):
    random = np.random.default_rng(0)

    def draw(n):
        return {name: random.integers(3, size=(n, 3)).astype(float) for name in ("audio", "text")}

    X = draw(300)
    model = regressor(lam=0.1, early_stopping=False).fit(X, X["audio"][:, 0])
    equal = model._net_rows.trained(model._read_later(new := draw(300)).hashes)
    assert equal.any() and n_seen(model, new) == 0
    assert n_seen(model, X) == 300  # by far more than chance


def test_copies__are_recognised(regressor):
    X = {name: value.repeat(2, axis=0) for name, value in SAMPLES.items()}
    for parameters, seen in (({"early_stopping": False}, N), ({"n_estimators": 3}, 0)):
        with pytest.warns(RepeatedSamplesWarning):
            model = regressor(lam=0.1, **parameters).fit(X, TARGET.repeat(2))
        assert n_seen(model, X) == 2 * seen
        assert n_seen(model, SAMPLES) == seen


def test_committee__answers_out_of_fold_for_small_folds():
    # Of twenty rows no critic can be calibrated: others are added, which the member had seen.
    model = MDMFusionRegressor(n_estimators=3, lam=3.0, max_epochs=60, lr=0.01, random_state=0, device="cpu")
    noise = np.random.default_rng(3).normal(size=N)
    model.fit(SAMPLES, noise)
    value, std = model.dependency_score(SAMPLES, return_std=True)
    assert abs(value) < 3 * std + 0.05


INSPECTIONS = {function.__name__: function for function in (rank_samples, mismatch_test, pointwise_attribution)}


@pytest.mark.parametrize("inspect", INSPECTIONS)
@pytest.mark.parametrize(("n_estimators", "seen"), [(1, N), (3, 0)])
def test_inspection__rows_of_the_fit_are_warned_of_unless_a_member_held_them_out(
    regressor, n_estimators, seen, inspect
):
    model, inspect = regressor(lam=0.1, n_estimators=n_estimators).fit(SAMPLES, TARGET), INSPECTIONS[inspect]
    assert n_seen(model, SAMPLES, lambda m, X: inspect(m, X, random_state=0)) == seen
    assert n_seen(model, NEW, lambda m, X: inspect(m, X, random_state=0)) == 0
    assert n_seen(model, NEW, lambda m, X: pointwise_attribution(m, X, background=SAMPLES, random_state=0)) == 0


@pytest.fixture(scope="module")
def committee():
    """Five members of dependent samples, and these."""
    shared = np.random.default_rng(4).normal(size=(150, 3))
    X = {name: shared + 0.3 * value for name, value in independent(5, 150).items()}
    options = {"n_estimators": 5, "scaling": "standard", "max_epochs": 5, "device": "cpu", "random_state": 0}
    return MDMFusionRegressor(lam=0.1, lr=0.01, **options).fit(X, shared[:, 0]), X


def test_inspection__of_rows_of_the_fit_reads_members_that_held_them_out(committee):
    model, X = committee
    observed = model._read_later(X)
    held_out_by = model._held_out_by(observed, np.arange(150))["held_out_by"]
    members, z = model.reporting_critic_, model._represent(observed)
    assert (held_out_by.sum(axis=1) == 1).all()
    assert_allclose(
        rank_samples(model, X, random_state=0).sort_values("sample")["value"], model.pointwise_dependency(X)
    )
    order = np.random.default_rng(0).permutation(150)
    found = PointwiseRatio(model, X).together(np.arange(150), [np.stack([np.arange(150), order])])[0]
    assert_allclose(found, members.pointwise([z[0], z[1][order]], held_out_by), atol=1e-9)
    table = pointwise_attribution(model, X, n_draws=10)
    for i in (0, 70, 149):
        k = int(np.flatnonzero(held_out_by[i])[0])
        own, drawn = (members._columns(part)[k] for part in ([part[[i]] for part in z], model._reference))
        values = members.critics[k].pointwise([own[0].repeat(10, axis=0), drawn[1][:10]])
        expected = members.critics[k].pointwise(own)[0] - logsumexp(values) + np.log(10)
        assert table.loc[i, "text"] == pytest.approx(expected, abs=1e-9)


def test_inspection__new_rows_and_rows_of_the_fit_have_the_same_values_together_as_apart(committee):
    model, X = committee
    new = {name: value + 0.01 for name, value in X.items()}
    both = {name: np.concatenate([X[name], new[name]]) for name in X}
    apart = [pointwise_attribution(model, part).to_numpy() for part in (X, new)]
    assert_allclose(pointwise_attribution(model, both), np.concatenate(apart), atol=1e-9)


def test_training_rows__merge_what_is_added():
    rows, hashes = TrainingRows(9), np.array([5, 3, 3, 8], dtype=np.uint64)
    assert not rows.trained(hashes).any()
    first, second = np.zeros((2, 4, 9), dtype=bool)
    first[0, 8], first[1, 0], first[2, 4], second[0, 1] = True, True, True, True
    rows.add(hashes, first)
    rows.add(hashes, second)
    expected = first | second
    expected[1:3] = first[1] | first[2]
    assert_array_equal(rows.trained(hashes), expected)
    assert rows.share_equal == 0.5


@pytest.mark.parametrize(("n_estimators", "return_std"), [(1, False), (1, True), (3, True)])
def test_unit__coefficient_is_that_of_the_nats(regressor, n_estimators, return_std):
    shared = np.random.default_rng(2).normal(size=(N, 1))
    X = {name: value + 3 * shared for name, value in SAMPLES.items()}
    model = regressor(lam=0.1, n_estimators=n_estimators, lr=0.01).fit(X, shared[:, 0])
    new = {name: value + 3 * shared[::-1] for name, value in NEW.items()}
    expected = coefficient_with_std(*model.dependency_score(new, return_std=True))
    found = model.dependency_score(new, return_std=return_std, unit="coefficient")
    assert found == (expected if return_std else expected[0])
    assert 0 <= expected[0] <= 1


@pytest.mark.parametrize(("measure", "works"), [("kl", True), ("wasserstein", False)])
def test_unit__of_the_training_measure_needs_nats(regressor, measure, works):
    model = regressor(lam=0.1, measure=measure).fit(SAMPLES, TARGET)
    if works:
        assert 0 <= model.dependency_score(NEW, measure="training", unit="coefficient") <= 1
    else:
        with pytest.raises(ValueError, match="Wasserstein is not total correlation in nats"):
            model.dependency_score(NEW, measure="training", unit="coefficient")
    with pytest.raises(ValueError, match='unit must be "nats" or "coefficient", got \'bits\''):
        model.dependency_score(NEW, unit="bits")
