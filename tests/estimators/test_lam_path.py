"""Several weights of the dependency term in one fit: each is what it would be alone, and the choice is the rule's."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from torch.optim import AdamW

from sklearn_mdm import ModalityDict
from sklearn_mdm.encoders import MLPEncoder
from sklearn_mdm.estimators import _lam_path
from sklearn_mdm.estimators._lam_path import AUTO_LAMS, DEFAULT_LAM, can_choose, candidates_of, compare, default_of
from sklearn_mdm.exceptions import SingleModalityWarning
from sklearn_mdm.fusion import ConcatFusion
from sklearn_mdm.net._committee import CommitteeNet
from sklearn_mdm.net._net import MDMNet

LAMS = (0.0, 0.1, 2.0)


class WithoutNames(AdamW):
    """What a committee does not take for one that works element by element: its members are computed one by one."""


@pytest.fixture(autouse=True)
def _twenty_are_enough(monkeypatch):
    monkeypatch.setattr(_lam_path, "MIN_SAMPLES", 20)


@pytest.fixture
def path(estimator):
    """Builds each estimator with some epochs, half of the samples held out where there is one member."""
    return lambda **parameters: estimator(
        **{
            "lam": LAMS,
            "early_stopping": True,
            "validation_fraction": 0.5,
            "max_epochs": 6,
            "n_iter_no_change": 2,
            "lr": 1e-2,
            **parameters,
        }
    )


def outputs(fitted, X):
    return fitted.predict_proba(X) if hasattr(fitted, "classes_") else fitted.predict(X)


def always(k):
    """Compare as usual, and choose this candidate."""

    def compared(*args):
        found = compare(*args)
        return None if found is None else _lam_path.Comparison(found.loss, found.error, k)

    return compared


# -- the rule --------------------------------------------------------------------------------------------------------


def test_candidates__are_ascending_and_once():
    assert [c.lam for c in candidates_of("auto")] == list(AUTO_LAMS) == sorted(AUTO_LAMS)
    assert [c.lam for c in candidates_of(np.array([1, 0.1, 1, 0]))] == [0, 0.1, 1]
    assert [c.lam for c in candidates_of(0.3)] == [0.3]


@pytest.mark.parametrize(
    ("lam", "default"), [("auto", DEFAULT_LAM), ([0, 0.01, 1], 0.01), ([1, 3], 1.0), ([DEFAULT_LAM, 0], DEFAULT_LAM)]
)
def test_default__of_own_candidates__is_one_of_them(lam, default):
    assert default_of(lam).lam == default


@pytest.mark.parametrize(
    ("y", "n_classes", "enough"),
    [([0] * 5 + [1] * 5, 2, True), ([0] * 50 + [1] * 4, 2, False), ([0] * 9, 2, False), (np.zeros(19), None, False)],
)
def test_choice__few_samples__is_not_made(y, n_classes, enough):
    assert can_choose(np.array(y), n_classes) is enough


# Losses of three candidates on four samples, weights and units, and what is chosen.
RULES = {
    "the best": ([[2, 2, 2, 2.1], [1, 1, 1, 1], [3, 3, 3, 3]], None, None, 1),
    "smaller within one error": ([[1, 1, 1, 2], [1, 1, 1, 1], [1, 1, 1, 1.5]], None, None, 0),
    "same losses": ([[1, 2, 3, 4]] * 3, None, None, 0),
    "not finite": ([[0, 0, 0, np.nan], [np.inf, 0, 0, 0], [1, 1, 1, 1]], None, None, 2),
    "weight says otherwise": ([[1, 1, 1, 9], [2, 2, 2.1, 2], [3, 3, 3, 3]], [1, 1, 1, 0], None, 0),
    "one alone speaks": ([[2, 2, 2, 2.1], [1, 1, 1, 1], [3, 3, 3, 3]], [1, 0, 0, 0], None, 1),
    "units differ": ([[1, 1, 2, 2], [1, 1, 1.2, 1.2], [9, 9, 9, 9]], None, [0, 0, 1, 1], 0),
}


@pytest.mark.parametrize("name", RULES)
def test_rule__takes_the_smallest_that_is_not_worse_by_one_paired_error(name):
    losses, weight, units, chosen = RULES[name]
    found = compare(*(None if part is None else np.array(part, dtype=float) for part in (losses, weight, units)))
    assert found.chosen == chosen


def test_rule__error__is_that_of_the_paired_difference():
    losses = np.random.default_rng(0).normal(size=(3, 50)) + np.arange(3)[:, None]
    found = compare(losses)
    difference = losses - losses[0]
    assert_allclose(found.loss, losses.mean(1))
    assert_allclose(found.error, difference.std(1, ddof=1) / np.sqrt(50), rtol=1e-12)
    assert_allclose(compare(losses, np.full(50, 3.0)).error, found.error, rtol=1e-12)
    # Every sample twice, as one of a group: nothing more is known.
    twice = compare(np.tile(losses, 2), None, np.tile(np.arange(50), 2))
    assert_allclose(twice.error, found.error, rtol=1e-12)
    # What no candidate has a loss for is left out.
    assert_allclose(compare(np.c_[losses, np.full(3, np.nan)]).error, found.error, rtol=1e-12)
    assert compare(np.full((3, 4), np.nan)) is None


# -- side by side and alone ------------------------------------------------------------------------------------------

KINDS = {
    "members": {"n_estimators": 3},
    "one": {"n_estimators": 1},
    "halves": {"n_estimators": 4, "scaling": "auto", "linear_member": True},
    "one by one": {"n_estimators": 2, "optimizer": WithoutNames},
    "dropout": {
        "n_estimators": 2,
        "fusion": ConcatFusion(hidden_dims=(8,), dropout=0.2),
        "encoder": MLPEncoder(hidden_dims=(8,), out_dim=4, dropout=0.2),
        "modality_dropout": 0.2,
    },
    "misa": {"n_estimators": 2, "fusion": "misa", "encoder": "auto"},
    "wasserstein": {"n_estimators": 2, "measure": "wasserstein", "unroll": 2},
}


@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.SeenSamplesWarning")
@pytest.mark.parametrize(
    ("kind", "k"),
    [  # each kind and each candidate in the usual run, all pairs of them apart
        pytest.param(kind, k, marks=() if (i + k) % len(LAMS) == 0 else pytest.mark.slow)
        for i, kind in enumerate(KINDS)
        for k in range(len(LAMS))
    ],
)
def test_candidate__is_what_it_is_alone(path, monkeypatch, X, y, kind, k):
    monkeypatch.setattr("sklearn_mdm.estimators._committee_mixin.compare", always(k))
    several = path(**KINDS[kind]).fit(X, y)
    alone = path(**KINDS[kind], lam=LAMS[k]).fit(X, y)
    assert several.lam_ == alone.lam_ == LAMS[k]
    assert_allclose(outputs(several, X), outputs(alone, X), rtol=0, atol=1e-9)
    assert_allclose(several.transform(X), alone.transform(X), rtol=0, atol=1e-9)
    for name in ("loss_curve_", "validation_loss_curve_", "dependency_curve_"):
        assert_allclose(getattr(several, name), getattr(alone, name), rtol=0, atol=1e-9)
    skipped = {"batches", "dur", "epoch", "valid_batch_count"}  # a committee validates more samples at a time
    for one, other in zip(several.history_, alone.history_, strict=True):
        assert one.keys() - other.keys() <= {key for key in one if key.endswith("_of_members")}
        for key in other.keys() - skipped:
            assert_allclose(one[key], other[key], rtol=0, atol=1e-9, err_msg=key)
    if LAMS[k]:
        assert several.dependency_score(X) == pytest.approx(alone.dependency_score(X), abs=1e-9)
    if hasattr(alone, "oof_score_"):
        assert several.oof_score_ == pytest.approx(alone.oof_score_, abs=1e-9)
    assert several.lam_path_["chosen"].tolist() == [c == k for c in range(len(LAMS))]


@pytest.mark.parametrize("n", [1, 3])
def test_missing_modalities__candidates_are_what_they_are_alone(path, monkeypatch, X, y, n):
    monkeypatch.setattr("sklearn_mdm.estimators._committee_mixin.compare", always(1))
    X["audio"][::4] = np.nan
    weight = np.random.default_rng(0).uniform(0.5, 2, size=len(y))
    several, alone = (path(n_estimators=n, lam=lam).fit(X, y, weight) for lam in (LAMS, LAMS[1]))
    assert_allclose(outputs(several, X), outputs(alone, X), rtol=0, atol=1e-9)


def test_no_candidates_left__after_fit(path, X, y):
    several, alone = (path(n_estimators=3, lam=lam).fit(X, y) for lam in (LAMS, 0.1))
    net = several.net_
    assert len(net.members_) == len(net.module_.members) == len(net.critic_) == len(net.seeds) == 3
    assert net.settings is None and net.lam == several.lam_
    assert sum(len(group["params"]) for group in net.optimizer_.param_groups) == len(net.optimizer_.state) == 3
    assert len(pickle.dumps(several)) < 1.1 * len(pickle.dumps(alone)) + 5000
    assert type(alone.net_) is CommitteeNet and type(path(lam=0.1).fit(X, y).net_) is MDMNet


# -- what is chosen, and recorded ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 3])
def test_path__is_the_losses_of_predictions_held_out(regressor, X, y, n):
    fitted = regressor(lam=LAMS, n_estimators=n, early_stopping=True, validation_fraction=0.5, max_epochs=1)
    path = fitted.fit(X, y).lam_path_
    assert path.columns.tolist() == ["lam", "loss", "loss_se", "dependency", "dependency_std", "chosen"]
    assert path["lam"].tolist() == list(LAMS) and path["chosen"].sum() == 1
    assert fitted.lam_ == path["lam"][path["chosen"]].item()
    assert path["loss_se"][path["loss"].idxmin()] == 0
    assert np.isnan(path["dependency"][0]) and np.isfinite(path["dependency"][1:]).all()
    alone = [regressor(**{**fitted.get_params(deep=False), "lam": lam}).fit(X, y) for lam in LAMS]
    assert_allclose(path["dependency"], [one.dependency_curve_[-1] for one in alone], atol=1e-9)
    last = [one.history_[-1].get("train_dependency_of_members", [np.nan]) for one in alone]
    assert_allclose(path["dependency_std"], [np.std(each) if n > 1 else np.nan for each in last], atol=1e-9)
    if n > 1:
        expected = [np.mean((one.oof_prediction_ - y) ** 2) / one.target_scaler_.var_[0] for one in alone]
    else:
        expected = [one.validation_loss_curve_[-1] / one.target_scaler_.var_[0] for one in alone]
    assert_allclose(path["loss"], expected, rtol=1e-9)


@pytest.mark.parametrize("n", [1, 3])
def test_x_val__compares(path, X, y, n):
    fitted = path(n_estimators=n, max_epochs=1).fit(X, y, X_val=X, y_val=y)
    alone = path(n_estimators=n, max_epochs=1, lam=fitted.lam_).fit(X, y, X_val=X, y_val=y)
    assert_allclose(outputs(fitted, X), outputs(alone, X), atol=1e-9)
    chosen = fitted.lam_path_.query("chosen")["loss"].item()
    if hasattr(fitted, "classes_"):
        assert chosen == pytest.approx(-np.log(outputs(alone, X)[np.arange(len(y)), y]).mean(), abs=1e-9)
    else:
        assert chosen == pytest.approx(np.mean((outputs(alone, X) - y) ** 2) / alone.target_scaler_.var_[0], abs=1e-9)


def test_groups__members_hold_them_out_and_errors_count_them(path, X, y):
    fitted = path(n_estimators=3).fit(X, y, groups=np.arange(len(y)) // 2)
    assert fitted.lam_ in LAMS and np.isfinite(fitted.lam_path_["loss_se"]).all()


@pytest.mark.parametrize("case", ["no fold", "few", "partial_fit"])
@pytest.mark.parametrize(("lam", "default"), [("auto", DEFAULT_LAM), ([0, 1], 0.0)])
def test_default__where_nothing_chooses__is_trained_alone(path, X, y, case, lam, default):
    model = path(lam=lam, n_estimators=2, early_stopping=case != "no fold", max_epochs=2)
    if case == "partial_fit":
        arguments = {"classes": [0, 1, 2]} if hasattr(model, "class_weight") else {}
        model.partial_fit(X, y, **arguments).partial_fit(X, y)
    elif case == "few":
        rows = np.concatenate([np.flatnonzero(y == c)[:4] for c in range(3)])
        model.fit({name: x[rows] for name, x in X.items()}, y[rows])
    else:
        model.fit(X, y)
    assert model.lam_ == model.net_.lam == default and not hasattr(model, "lam_path_")
    assert len(model.net_.members_) == 2


def test_single_modality__has_nothing_to_choose(estimator, X, y):
    with pytest.warns(SingleModalityWarning, match="lam='auto' has no effect"):
        fitted = estimator(lam="auto", n_estimators=2).fit(X["audio"], y)
    assert fitted.lam_ == 0 and not hasattr(fitted, "lam_path_")


def test_number__is_lam_(path, X, y):
    fitted = path().fit(X, y)
    fitted.set_params(lam=1).fit(X, y)
    assert fitted.lam_ == 1.0 and isinstance(fitted.lam_, float) and not hasattr(fitted, "lam_path_")


# -- beside the rest -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2])
def test_warm_start__goes_on_with_what_was_chosen(path, monkeypatch, X, y, n):
    monkeypatch.setattr("sklearn_mdm.estimators._committee_mixin.compare", always(1))
    several, alone = (path(n_estimators=n, warm_start=True, lam=lam).fit(X, y) for lam in (LAMS, LAMS[1]))
    several = pickle.loads(pickle.dumps(several))
    assert_allclose(outputs(several, X), outputs(alone, X), atol=1e-9)
    for model in (several, alone):
        model.fit(X, y).partial_fit(X, y)
    assert several.lam_ == LAMS[1] and several.lam_path_["chosen"].tolist() == [False, True, False]
    # Adam's moments came along.
    assert_allclose(outputs(several, X), outputs(alone, X), atol=1e-8)
    assert several.set_params(lam=0.7).fit(X, y).lam_ == 0.7 and not hasattr(several, "lam_path_")


def test_fit__again__is_the_same_and_parameters_stay(path, X, y):
    lam = [1, 0.1, 0]
    model = path(n_estimators=2, lam=lam).fit(X, y)
    assert model.get_params()["lam"] is lam and lam == [1, 0.1, 0]
    assert clone(model).lam == lam and not hasattr(clone(model), "lam_")
    assert_array_equal(outputs(clone(model).fit(X, y), X), outputs(model, X))


def test_search__takes_numbers_and_paths(path, X, y):
    grid = {"lam": [0.0, 0.1, [0.0, 1.0], "auto"]}
    search = GridSearchCV(path(n_estimators=2, max_epochs=1), grid, cv=2).fit(ModalityDict(X), y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize(
    ("lam", "message"),
    [
        ([], "empty sequence"),
        ([0.1, -1], r"finite numbers >= 0 .*\[-1\]"),
        ([0.1, np.inf], r"finite numbers >= 0 .*\[inf\]"),
        ([np.nan], r"finite numbers >= 0 .*\[nan\]"),
        (["auto"], r"finite numbers >= 0 .*\['auto'\]"),
        ("best", "'lam' parameter"),
        (-0.1, "'lam' parameter"),
        (None, "'lam' parameter"),
    ],
)
def test_bad_lam__is_refused(estimator, X, y, lam, message):
    with pytest.raises(ValueError, match=message):
        estimator(lam=lam).fit(X, y)


def test_divergence__names_the_candidate(path, monkeypatch, X, y):
    record = MDMNet._record

    def failing(self, n, loss, *rest):
        record(self, n, np.nan if self.lam == 2 else loss, *rest)

    monkeypatch.setattr(MDMNet, "_record", failing)
    model = path(n_estimators=2)
    with pytest.raises(FloatingPointError, match="lam=2: non-finite"):
        model.fit(X, y)
    assert not hasattr(model, "net_")


def test_interrupted__keeps_the_best_candidate_so_far(path, monkeypatch, X, y):
    step = CommitteeNet.train_step

    def interrupted(self, batch, **params):
        if len(self.history) == 3:
            raise KeyboardInterrupt
        return step(self, batch, **params)

    monkeypatch.setattr(CommitteeNet, "train_step", interrupted)
    model = path(n_estimators=2)
    with pytest.warns(UserWarning, match="interrupted in epoch 3"):
        model.fit(X, y)
    assert model.lam_ in LAMS and len(model.net_.members_) == 2 and np.isfinite(outputs(model, X)).all()
