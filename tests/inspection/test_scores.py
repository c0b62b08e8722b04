"""modality_drop, modality_importance and modality_shapley against closed forms, and on every form of X."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.metrics import check_scoring, r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from skorch.helper import SliceDict

from sklearn_mdm import MDMFusionRegressor, ModalityDict, ModalityTransformer
from sklearn_mdm.encoders import MLPEncoder
from sklearn_mdm.fusion import ConcatFusion
from sklearn_mdm.inspection import modality_drop, modality_importance, modality_shapley
from sklearn_mdm.inspection._importance import exact_shapley, sampled_shapley
from sklearn_mdm.inspection._views import ModalityViews, partners

N = 4000


class Sum(RegressorMixin, BaseEstimator):
    """Knows the answer: the factor that "left" and "right" share, plus "unique"; what is missing counts as its mean."""

    def fit(self, X, y):
        self.fitted_ = True
        return self

    def predict(self, X):
        pair = np.stack([X["left"][:, 0], X["right"][:, 0]])
        seen = ~np.isnan(pair)
        shared = np.where(seen, pair, 0).sum(0) / np.maximum(seen.sum(0), 1)
        return shared + np.nan_to_num(X["unique"][:, 0])


def draw(n, seed, noise=0.0):
    """A redundant pair, a unique modality, and a target of variance 2, half from each."""
    rng = np.random.default_rng(seed)
    shared, unique = rng.normal(size=(2, n, 1))
    X = {"left": shared + noise * rng.normal(size=(n, 1)), "right": shared + noise * rng.normal(size=(n, 1))}
    return {**X, "unique": unique}, (shared + unique)[:, 0]


@pytest.fixture(scope="module")
def known():
    X, y = draw(N, 0)
    return Sum().fit(X, y), X, y


@pytest.fixture(scope="module")
def trained():
    """A fusion estimator on the construction, that has been shown missing modalities."""
    X, y = draw(1500, 1, noise=0.1)
    model = MDMFusionRegressor(
        n_estimators=1,
        scaling="standard",
        encoder=MLPEncoder(hidden_dims=(16,), out_dim=8, dropout=0.0),
        fusion=ConcatFusion(hidden_dims=(32,), dropout=0.0),
        lam=0.0,
        modality_dropout=0.3,
        max_epochs=30,
        lr=5e-3,
        n_iter_no_change=10,
        device="cpu",
        random_state=0,
    ).fit(X, y)
    return model, *draw(1000, 2, noise=0.1)


def by_kept(table, column="score"):
    return {frozenset(kept): value for kept, value in zip(table["kept"], table[column], strict=True)}


# -- closed forms ------------------------------------------------------------------------------------------------------


def test_modality_drop__redundant_pair_and_unique__recovers_the_construction(known):
    scores = by_kept(modality_drop(*known, random_state=0))
    expected = {
        ("left", "right", "unique"): 1.0,
        ("right", "unique"): 1.0,  # its twin says the same
        ("left", "unique"): 1.0,
        ("left", "right"): 0.5,
        ("left",): 0.5,
        ("right",): 0.5,
        ("unique",): 0.5,
    }
    assert scores.keys() == {frozenset(kept) for kept in expected}
    for kept, score in expected.items():
        assert scores[frozenset(kept)] == pytest.approx(score, abs=0.03)


def test_modality_drop__table__is_ordered_and_pairs_the_bootstrap(known):
    table = modality_drop(*known, random_state=0)
    assert table.columns.tolist() == ["kept", "dropped", "score", "score_std", "change", "change_std"]
    assert [len(dropped) for dropped in table["dropped"]] == [0, 1, 1, 1, 2, 2, 2]
    assert all(set(kept) | set(dropped) == {"left", "right", "unique"} for kept, dropped in table.iloc[:, :2].values)
    np.testing.assert_allclose(table["change"], table["score"] - table["score"][0])
    assert table["change"][0] == table["change_std"][0] == 0
    exact = np.array([set(dropped) < {"left", "right"} for dropped in table["dropped"]])
    assert (table["change_std"][exact] < 1e-12).all()
    # R2 is 1 - A / B with means A of e^2 and B of y^2, where e is half of y: sd(A/B) = sd(e^2 - y^2 / 2) / (2 sqrt(n)).
    expected = math.sqrt(2 + 8 / 4 - 2) / (2 * math.sqrt(N))
    assert table["score_std"][~exact].to_numpy() == pytest.approx(expected, rel=0.5)


def test_modality_importance__redundant_pair_and_unique__recovers_the_construction(known):
    table = modality_importance(*known, random_state=0)
    # Half of a redundant one is replaced: the squared error is var((s' - s) / 2) = 1/2 of a variance of 2.
    assert table.loc["left", "importance"] == pytest.approx(0.25, abs=0.03)
    assert table.loc["right", "importance"] == pytest.approx(0.25, abs=0.03)
    assert table.loc["unique", "importance"] == pytest.approx(1.0, abs=0.06)
    assert (table["std"] > 0).all()


def test_modality_shapley__redundant_pair_and_unique__recovers_the_construction(known):
    # With v() = -1 and v(S) as above, over the six orders: (3/2 + 0 + 0 + 3/2 + 1/2 + 0) / 6 and so on.
    table = modality_shapley(*known, removal="missing", random_state=0)
    assert table.loc["left", "value"] == pytest.approx(7 / 12, abs=0.05)
    assert table.loc["right", "value"] == pytest.approx(7 / 12, abs=0.05)
    assert table.loc["unique", "value"] == pytest.approx(10 / 12, abs=0.05)
    assert table.attrs["full"] == pytest.approx(1.0)
    assert table.attrs["empty"] == pytest.approx(-1.0, abs=0.1)  # predictions of other samples
    assert table["value"].sum() == pytest.approx(table.attrs["full"] - table.attrs["empty"], abs=1e-12)


@pytest.mark.parametrize("removal", ["redraw", "missing"])
def test_modality_shapley__definition__is_met(known, removal):
    """Averages over all orders of the modalities, of scores computed here."""
    model, X, y = known
    table = modality_shapley(model, X, y, removal=removal, n_repeats=3, random_state=0)
    random = np.random.RandomState(0)
    rows = [next(partners(N, 1, random)) for _ in range(3)]
    nothing = np.full((N, 1), np.nan)

    def v(kept):
        if removal == "missing" and kept:
            return r2_score(y, model.predict({name: X[name] if name in kept else nothing for name in X}))
        redrawn = [{name: X[name] if name in kept else X[name][partner] for name in X} for partner in rows]
        return np.mean([r2_score(y, model.predict(each)) for each in redrawn])

    for name in X:
        added = []
        for order in itertools.permutations(X):
            before = set(order[: order.index(name)])
            added.append(v(before | {name}) - v(before))
        assert table.loc[name, "value"] == pytest.approx(np.mean(added), abs=1e-10)


def test_trained_estimator__redundant_pair_and_unique__importances_recover_the_construction(trained):
    scores = by_kept(modality_drop(*trained, random_state=0))
    for twin in ("left", "right"):
        assert scores[frozenset({twin, "unique"})] > 0.9
        assert scores[frozenset({"left", "right"})] == pytest.approx(0.5, abs=0.1)
    importance = modality_importance(*trained, random_state=0)["importance"]
    assert importance["unique"] > 2 * max(importance["left"], importance["right"])
    # The network need not lean on both twins alike, but what either can do alone is the same.
    redrawn = modality_shapley(*trained, random_state=0)["value"]
    assert redrawn["left"] + redrawn["right"] == pytest.approx(redrawn["unique"], abs=0.1)
    missing = modality_shapley(*trained, removal="missing", random_state=0)["value"]
    assert missing["left"] == pytest.approx(missing["right"], abs=0.05)
    assert missing["unique"] > missing["left"] + 0.1


# -- properties --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [2, 3, 4])
def test_exact_shapley__random_game__is_efficient_symmetric_and_null(m):
    rng = np.random.default_rng(m)
    names = tuple("abcd"[:m])
    worth = {frozenset(s): rng.normal() for k in range(m + 1) for s in itertools.combinations(names, k)}
    v = lambda subset: worth[frozenset(subset)]  # noqa: E731
    assert sum(exact_shapley(v, names)) == pytest.approx(v(names) - v(()))
    # "a" and "b" interchangeable
    swap = {"a": "b", "b": "a"}
    symmetric = lambda s: v(s) + v(tuple(swap.get(name, name) for name in s))  # noqa: E731
    values = exact_shapley(symmetric, names)
    assert values[0] == pytest.approx(values[1])
    # "a" adds nothing to anything
    without = lambda s: v(tuple(name for name in s if name != "a"))  # noqa: E731
    assert exact_shapley(without, names)[0] == pytest.approx(0, abs=1e-12)


def test_sampled_shapley__many_orders__is_efficient_and_near_the_exact_values():
    rng = np.random.default_rng(0)
    names = tuple("abcdef")
    single, pairs = rng.normal(size=6), rng.normal(size=(6, 6))

    def v(subset):
        at = [names.index(name) for name in subset]
        return single[at].sum() + pairs[np.ix_(at, at)].sum() + len(at) ** 3 / 20

    exact = exact_shapley(v, names)
    sampled = sampled_shapley(v, names, 400, np.random.RandomState(0))
    assert sum(sampled) == pytest.approx(v(names) - v(()))
    np.testing.assert_allclose(sampled, exact, atol=0.25)


def test_modality_shapley__twin_modalities__have_the_same_value(known):
    model, X, y = known
    value = modality_shapley(model, X, y, random_state=0)["value"]
    assert value["left"] == pytest.approx(value["right"], abs=1e-12)


def test_modality_drop__many_modalities__draws_subsets_of_each_size():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 9))
    model = HistGradientBoostingRegressor(max_iter=2).fit(X, X.sum(1))
    modalities = {f"m{j}": [j] for j in range(9)}
    table = modality_drop(model, X, X.sum(1), modalities=modalities, max_subsets=10, n_repeats=2, random_state=0)
    sizes = table["dropped"].map(len).value_counts().sort_index()
    assert sizes.to_dict() == {0: 1, 1: 9, **dict.fromkeys(range(2, 8), 10), 8: 9}
    assert not table["dropped"].duplicated().any()
    values = modality_shapley(model, X, X.sum(1), modalities=modalities, max_subsets=64, n_repeats=2, random_state=0)
    assert values["value"].sum() == pytest.approx(values.attrs["full"] - values.attrs["empty"])


@pytest.mark.parametrize("function", [modality_drop, modality_importance, modality_shapley])
def test_subset_scores__random_state__repeats_and_leaves_everything_else_alone(trained, function):
    model, X, y = trained
    before = {name: values.copy() for name, values in X.items()}
    state = np.random.mtrand._rand.get_state()[1].copy()
    first = function(model, X, y, random_state=0)
    pd.testing.assert_frame_equal(first, function(model, X, y, random_state=0))
    assert not first.equals(function(model, X, y, random_state=1))
    assert (np.random.mtrand._rand.get_state()[1] == state).all()
    assert all((X[name] == before[name]).all() for name in X)


@pytest.mark.parametrize("n", [2, 3, 10])
def test_partners__all_draws__re_pair_every_sample_with_every_other(n):
    draws = np.stack(list(partners(n, n - 1, np.random.RandomState(0))))
    assert all(sorted(draw) == list(range(n)) for draw in draws)
    assert all(sorted(column) == [i for i in range(n) if i != row] for row, column in enumerate(draws.T))


# -- forms of X and of estimators --------------------------------------------------------------------------------------


def as_frame(X):
    return pd.concat({name: pd.DataFrame(values, columns=["f"]) for name, values in X.items()}, axis=1)


def flat(X):
    return np.hstack([X[name] for name in sorted(X)])


COLUMNS = {"left": [0], "right": [1], "unique": [2]}


@pytest.mark.parametrize("function", [modality_drop, modality_importance, modality_shapley])
@pytest.mark.parametrize(
    "form",
    [
        lambda X: X,
        lambda X: dict(reversed(X.items())),
        ModalityDict,
        lambda X: SliceDict(**X),
        as_frame,
        lambda X: {name: list(values) for name, values in X.items()},
        lambda X: {name: pd.DataFrame(values) for name, values in X.items()},
    ],
    ids=["dict", "reversed", "ModalityDict", "SliceDict", "frame", "lists", "frames"],
)
def test_subset_scores__form_of_x__does_not_matter(trained, function, form):
    model, X, y = trained
    X, y = {name: values[:60] for name, values in X.items()}, y[:60]
    expected = function(model, X, y, n_repeats=2, random_state=0)
    pd.testing.assert_frame_equal(function(model, form(X), y, n_repeats=2, random_state=0), expected)


@pytest.mark.parametrize("function", [modality_drop, modality_importance, modality_shapley])
def test_subset_scores__flat_x__reads_the_modalities_of_the_estimator(function):
    X, y = draw(80, 0)
    model = MDMFusionRegressor(
        n_estimators=1, modalities=COLUMNS, lam=0.0, max_epochs=1, device="cpu", random_state=0
    ).fit(flat(X), y)
    expected = function(model, flat(X), y, n_repeats=2, random_state=0)
    for same in (
        function(model, flat(X), y, n_repeats=2, random_state=0, modalities=COLUMNS),
        function(model, pd.DataFrame(flat(X)), y, n_repeats=2, random_state=0),
    ):
        pd.testing.assert_frame_equal(same, expected)


def test_modality_importance__pipeline_on_flat_x__reads_the_modalities_of_its_first_step():
    X, y = draw(80, 0)
    pipeline = make_pipeline(ModalityTransformer(StandardScaler(), modalities=COLUMNS), LinearRegression())
    table = modality_importance(pipeline.fit(flat(X), y), flat(X), y, random_state=0)
    assert table.index.tolist() == list(COLUMNS)


def test_subset_scores__search_and_pipeline__are_those_of_what_is_inside(trained):
    _, X, y = trained
    X = ModalityDict({name: values[:120] for name, values in X.items()})
    y = y[:120]
    model = MDMFusionRegressor(n_estimators=1, lam=0.0, max_epochs=2, device="cpu", random_state=0)
    search = GridSearchCV(
        make_pipeline(ModalityTransformer(StandardScaler()), model), {"mdmfusionregressor__lr": [1e-3]}, cv=2
    )
    search.fit(X, y)
    expected = modality_drop(search.best_estimator_, X, y, scoring="r2", n_repeats=3, random_state=0)
    pd.testing.assert_frame_equal(modality_drop(search, X, y, n_repeats=3, random_state=0), expected)
    scorer = GridSearchCV(search.estimator, search.param_grid, cv=2, scoring="neg_mean_absolute_error").fit(X, y)
    expected = modality_drop(search, X, y, scoring="neg_mean_absolute_error", n_repeats=3, random_state=0)
    pd.testing.assert_frame_equal(modality_drop(scorer, X, y, n_repeats=3, random_state=0), expected)


@pytest.mark.parametrize("scoring", ["accuracy", "roc_auc_ovr", "neg_log_loss", "f1_macro", None])
def test_modality_drop__scorers__read_the_predictions_without_the_modality(scoring):
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(300, 3)), np.array(["a", "b", "c"])
    y = labels[X[:, :2].argmax(axis=1) + (X[:, 2] > 1)]
    model = HistGradientBoostingClassifier(max_iter=5).fit(X, y)
    table = modality_drop(model, X, y, scoring=scoring, modalities=COLUMNS, n_repeats=3, random_state=0)
    without = X.copy()
    without[:, 0] = np.nan
    score = check_scoring(model, scoring=scoring)
    assert table["score"][0] == pytest.approx(score(model, X, y))
    assert table["score"][1] == pytest.approx(score(model, without, y))
    assert table["dropped"][1] == ("left",)
    # From "unique" alone one class is predicted throughout, whose accuracy is known once the sizes of classes are.
    constant = (table["kept"] == ("unique",)) & (scoring in ("accuracy", "f1_macro", None))
    assert (table["score_std"][~constant] > 0).all()


@pytest.mark.parametrize("scoring", ["neg_log_loss", "roc_auc_ovr"])
def test_modality_drop__rare_class__is_in_every_bootstrap_sample(scoring):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(100, 3)), np.repeat(["a", "b", "rare"], [50, 48, 2])
    model = HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=1).fit(X, y)
    table = modality_drop(model, X, y, scoring=scoring, modalities=COLUMNS, n_repeats=30, random_state=0)
    assert np.isfinite(table[["score_std", "change_std"]]).all(axis=None) and (table["score_std"][1:] > 0).all()


def test_modality_drop__scorer_of_ones_own__is_passed_estimator_and_samples(known):
    model, X, y = known
    seen = []

    def scoring(estimator, X, y):
        seen.append(X)
        return -np.mean(np.abs(estimator.predict(X) - y))

    expected = modality_drop(model, X, y, scoring="neg_mean_absolute_error", n_repeats=2, random_state=0)
    pd.testing.assert_frame_equal(modality_drop(model, X, y, scoring=scoring, n_repeats=2, random_state=0), expected)
    assert all(isinstance(each, ModalityDict) for each in seen)


def test_modality_drop__search_without_refit__is_an_error():
    X, y = draw(50, 0)
    search = GridSearchCV(LinearRegression(), {"fit_intercept": [True]}, cv=2, refit=False).fit(flat(X), y)
    with pytest.raises(ValueError, match=r"holds no fitted estimator. Fit it with refit=True"):
        modality_drop(search, flat(X), y, modalities=COLUMNS)


def test_modality_drop__baseline_that_imputes__works():
    X, y = draw(500, 0)
    X = ModalityDict(X)
    model = make_pipeline(FunctionTransformer(flat), SimpleImputer(), LinearRegression()).fit(X, y)
    scores = by_kept(modality_drop(model, X, y, random_state=0))
    assert scores[frozenset({"left", "right"})] == pytest.approx(0.5, abs=0.1)
    boosted = HistGradientBoostingRegressor().fit(flat(X), y)
    assert len(modality_drop(boosted, flat(X), y, modalities=COLUMNS, random_state=0)) == 7


def test_modality_drop__estimator_without_missing_values__says_what_to_do():
    X, y = draw(50, 0)
    model = LinearRegression().fit(flat(X), y)
    with pytest.raises(
        ValueError, match=r"LinearRegression does not predict without the modalities \['left'\].*modality_importance"
    ):
        modality_drop(model, flat(X), y, modalities=COLUMNS)
    assert len(modality_importance(model, flat(X), y, modalities=COLUMNS)) == 3


def test_modality_drop__integers_texts_and_ragged_lists__become_missing():
    views = ModalityViews(
        {
            "count": np.arange(6).reshape(3, 2),
            "text": ["a", "b", None],
            "steps": [np.ones((2, 1)), np.ones((1, 1)), None],
            "frame": pd.DataFrame({"x": [1, 2, 3]}),
        }
    )
    assert views.complete().tolist() == [True, True, False]
    gone = views.without(views.names)
    assert np.isnan(gone["count"]).all() and gone["count"].shape == (3, 2)
    assert gone["text"].tolist() == gone["steps"].tolist() == [None] * 3
    assert gone["frame"].isna().all(axis=None)
    drawn = views.redrawn(["text", "frame"], np.array([1, 2, 0]))
    assert drawn["text"].tolist() == ["b", None, "a"]
    assert drawn["frame"]["x"].tolist() == [2, 3, 1]
    assert drawn["count"].tolist() == [[0, 1], [2, 3], [4, 5]]


def test_modality_views__flat_frame_of_mixed_types__keeps_them_and_the_order_of_columns():
    frame = pd.DataFrame(
        {"a1": [1, 2, 3], "b1": ["x", "y", "z"], "a2": [0.1, 0.2, 0.3], "c": [True, False, True]}, index=[7, 8, 9]
    )
    views = ModalityViews(frame, {"a": ["a1", "a2"], "b": ["b1"]})
    drawn = views.redrawn(["a"], np.array([2, 0, 1]))
    assert drawn.columns.tolist() == frame.columns.tolist() and drawn.index.tolist() == [7, 8, 9]
    assert drawn["a1"].tolist() == [3, 1, 2] and drawn["a2"].tolist() == [0.3, 0.1, 0.2]
    assert drawn["b1"].tolist() == ["x", "y", "z"] and drawn["c"].dtype == bool
    assert views.without(["a"])[["a1", "a2"]].isna().all(axis=None)


def test_modality_views__categories_and_strings__are_missing_and_no_text():
    frame = pd.DataFrame(
        {"kind": pd.Categorical(["u", "v", "u"]), "count": [1, 2, 3], "flag": [True, False, True], "x": [0.1, 0.2, 0.3]}
    )
    gone = ModalityViews(frame, {"a": ["kind", "count", "flag"], "b": ["x"]}).without(["a"])
    assert gone[["kind", "count", "flag"]].isna().all(axis=None) and gone["x"].tolist() == [0.1, 0.2, 0.3]
    assert gone["kind"].dtype == frame["kind"].dtype
    assert gone["count"].dtype == gone["flag"].dtype == float
    strings = np.array([["u", "1"], ["v", "2"], ["u", "3"]])
    for X in (strings, strings.astype(object)):
        gone = ModalityViews(X, {"a": [0], "b": [1]}).without(["a"])
        assert pd.isna(gone[:, 0]).all() and gone[:, 1].tolist() == ["1", "2", "3"]


def test_modality_drop__categorical_columns__go_through_an_estimator_that_reads_them():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"kind": pd.Categorical(rng.choice(["u", "v"], 200)), "x": rng.normal(size=200)})
    y = (X["kind"] == "u").to_numpy().astype(int)
    model = HistGradientBoostingClassifier(max_iter=10, categorical_features="from_dtype").fit(X, y)
    table = modality_drop(model, X, y, modalities={"a": ["kind"], "b": ["x"]}, n_repeats=5, random_state=0)
    scores = by_kept(table)
    assert scores[frozenset({"a"})] == 1 and scores[frozenset({"b"})] < 0.8


def test_subset_scores__samples_with_a_missing_modality__are_left_out_with_a_warning(known):
    model, X, y = known
    X = {name: values[:100].copy() for name, values in X.items()}
    X["left"][:10] = np.nan
    with pytest.warns(UserWarning, match="10 of 100 samples are left out: a modality is missing") as caught:
        table = modality_drop(model, X, y[:100], random_state=0)
    assert [warning.filename for warning in caught] == [__file__]
    complete = {name: values[10:] for name, values in X.items()}
    pd.testing.assert_frame_equal(table, modality_drop(model, complete, y[10:100], random_state=0))


def test_subset_scores__bad_input__is_an_error(known):
    model, X, y = known
    with pytest.raises(ValueError, match="X holds the single modality"):
        modality_drop(model, {"left": X["left"]}, y)
    with pytest.raises(ValueError, match="Pass modalities="):
        modality_importance(LinearRegression().fit(flat(X), y), flat(X), y)
    with pytest.raises(ValueError, match="Leave modalities=None"):
        modality_importance(model, X, y, modalities=COLUMNS)
    with pytest.raises(ValueError, match="scoring must be one metric"):
        modality_drop(model, X, y, scoring=["r2", "neg_mean_absolute_error"])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        modality_drop(model, X, y[:-1])
    for function in (modality_drop, modality_importance, modality_shapley):
        for scoring in (None, "r2", lambda estimator, X, y: 0.0):
            with pytest.raises(ValueError, match="y is required by this scoring"):
                function(model, X, None, scoring=scoring)
    assert (modality_drop(model, X, None, scoring=lambda estimator, X, y=None: 0.5)["score"] == 0.5).all()
    with pytest.raises(ValueError, match="removal"):
        modality_shapley(model, X, y, removal="zero")
    with pytest.raises(ValueError, match="not fitted"):
        modality_drop(Sum(), X, y)


@pytest.mark.parametrize("explain", [modality_importance, modality_shapley, modality_drop])
@pytest.mark.parametrize(
    ("X", "y", "words"),
    [
        (None, slice(-1), f"y has {N - 1} samples, X has {N}"),
        (None, 3, "y: "),
        (None, iter([1.0]), "y: "),
        (3, None, "X"),
    ],
)
def test_arguments_that_do_not_fit__are_named(known, explain, X, y, words):
    model, X_known, y_known = known
    y = y_known if y is None else y_known[y] if isinstance(y, slice) else y
    with pytest.raises((TypeError, ValueError), match=words):
        explain(model, X_known if X is None else X, y)
