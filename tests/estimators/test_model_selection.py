"""The estimators inside scikit-learn's tools: searches, splits, pipelines, meta-estimators, copies and routing."""

import io
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import StackingRegressor, VotingClassifier, VotingRegressor
from sklearn.feature_selection import VarianceThreshold
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    RandomizedSearchCV,
    cross_val_predict,
    cross_val_score,
    learning_curve,
    train_test_split,
    validation_curve,
)
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from sklearn_mdm import ModalityDict
from sklearn_mdm.encoders import MLPEncoder
from sklearn_mdm.estimators import _splitting as splitting
from sklearn_mdm.fusion import ConcatFusion
from sklearn_mdm.inputs._transformer import ModalityTransformer
from sklearn_mdm.measures import KL, FDivergence
from sklearn_mdm.utils._splits import validation_split

MODALITIES = {"audio": slice(0, 3), "text": slice(3, 5)}


def flat(X):
    return np.hstack([X["audio"], X["text"]])


def frame(X):
    return pd.concat({name: pd.DataFrame(value) for name, value in X.items()}, axis=1)


@pytest.fixture(params=["ModalityDict", "MultiIndex frame", "array"])
def form(request):
    """A form of X that scikit-learn can index, and the parameters that go with it."""
    return {
        "ModalityDict": (ModalityDict, {}),
        "MultiIndex frame": (frame, {}),
        "array": (flat, {"modalities": MODALITIES}),
    }[request.param]


# --- searches --------------------------------------------------------------------------------------------------------


def test_grid_search__reaches_into_objects(estimator, X, y, form):
    write, parameters = form
    grid = {
        "measure__bound": [1.0, 10.0],
        "fusion__hidden_dims": [(4,), (4, 4)],
        "encoder__out_dim": [2, 3],
        "lam": [0.5],
    }
    model = estimator(measure=KL(), max_epochs=1, **parameters)
    search = GridSearchCV(model, grid, cv=2, error_score="raise").fit(write(X), y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert len(search.cv_results_["params"]) == 8
    best = search.best_estimator_
    assert best.measure.bound == best.net_.measure_.bound == search.best_params_["measure__bound"]
    assert set(best.net_.module_.code_dims.values()) == {search.best_params_["encoder__out_dim"]}
    assert search.predict(write(X)).shape == y.shape
    assert model.measure.bound == 10.0 and model.encoder.out_dim == 4  # what was passed is as it was


def test_grid_search__over_names_and_objects(regressor, X, y):
    grid = [
        {"measure": ["kl", FDivergence(bound=5.0), "wasserstein"], "lam": [0, 0.1]},
        {"fusion": [ConcatFusion((3,), dropout=0.0)]},
    ]
    search = GridSearchCV(regressor(max_epochs=1), grid, cv=2, error_score="raise").fit(ModalityDict(X), y)
    assert len(search.cv_results_["params"]) == 7


@pytest.mark.parametrize(
    ("key", "value", "remedy"),
    [
        ("measure__bound", 5.0, r"measure='kl' is not .*measure=KL\(bound=\.\.\.\)"),
        ("fusion__hidden_dims", (4,), r"fusion='concat' is not .*fusion=ConcatFusion\(hidden_dims=\.\.\.\)"),
        ("encoder__out_dim", 4, r"encoder='auto' is not .*encoder=MLPEncoder\(out_dim=\.\.\.\)"),
    ],
)
def test_nested_keys_of_a_name__say_which_object_to_pass(estimator, X, y, key, value, remedy):
    model = estimator(measure="kl", fusion="concat", encoder="auto")
    with pytest.raises(ValueError, match=remedy):
        model.set_params(**{key: value})
    with pytest.raises(ValueError, match=remedy):
        GridSearchCV(model, {key: [value]}, cv=2).fit(ModalityDict(X), y)
    # In one call, name and key together or object and key together.
    with pytest.raises(ValueError, match="measure='f' is not "):
        model.set_params(**{"measure": "f", "measure__bound": 1.0})
    model.set_params(**{"measure": FDivergence(), "measure__bound": 1.0})
    assert model.measure.bound == 1.0


def test_unknown_keys__are_an_error(estimator):
    with pytest.raises(ValueError, match="Invalid parameter 'rank'"):
        estimator().set_params(fusion__rank=3)
    with pytest.raises(ValueError, match="Invalid parameter 'alpha'"):
        estimator().set_params(alpha=3)


@pytest.mark.filterwarnings("default")  # the workers import anew, and warn about nothing of ours
def test_one_and_two_jobs__agree(estimator, X, y):
    grid = {"lam": [0, 1.0], "measure": ["kl", "wasserstein"]}
    one, two = (
        GridSearchCV(estimator(max_epochs=2), grid, cv=2, n_jobs=n_jobs, error_score="raise").fit(ModalityDict(X), y)
        for n_jobs in (1, 2)
    )
    assert_allclose(one.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"], atol=1e-6)
    assert_allclose(one.transform(ModalityDict(X)), two.transform(ModalityDict(X)), atol=1e-6)


def test_randomized_search(estimator, X, y, form):
    write, parameters = form
    search = RandomizedSearchCV(
        estimator(max_epochs=1, **parameters), {"lam": [0, 0.1], "unroll": [1, 2]}, n_iter=3, cv=2, random_state=0
    ).fit(write(X), y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


# --- cross-validation ------------------------------------------------------------------------------------------------


def test_cross_validation__is_the_same_for_every_form(estimator, X, y, form):
    write, parameters = form
    cv = KFold(3, shuffle=True, random_state=0)
    by_hand = np.empty(len(y))
    for train, test in cv.split(y):
        model = estimator().fit({name: value[train] for name, value in X.items()}, y[train])
        by_hand[test] = model.predict({name: value[test] for name, value in X.items()})
    assert_allclose(cross_val_predict(estimator(**parameters), write(X), y, cv=cv), by_hand, rtol=1e-7)
    scores = cross_val_score(estimator(**parameters), write(X), y, cv=cv, error_score="raise")
    assert np.isfinite(scores).all()


def test_cross_val_predict__of_probabilities(classifier, X, y):
    X = ModalityDict(X)
    probabilities = cross_val_predict(classifier(), X, y, cv=2, method="predict_proba")
    assert_allclose(probabilities.sum(1), 1)


def test_curves(estimator, X, y):
    X, model = ModalityDict(X), estimator(max_epochs=1)
    sizes, train_scores, _ = learning_curve(model, X, y, cv=2, train_sizes=[0.5, 1.0], error_score="raise")
    assert sizes.tolist() == [15, 30] and np.isfinite(train_scores).all()
    _, scores = validation_curve(model, X, y, param_name="lam", param_range=[0, 1], cv=2, error_score="raise")
    assert np.isfinite(scores).all()


def test_train_test_split(estimator, X, y, form):
    write, parameters = form
    X_train, X_test, y_train, y_test = train_test_split(write(X), y, test_size=0.25, random_state=0)
    fitted = estimator(**parameters).fit(X_train, y_train)
    assert fitted.predict(X_test).shape == y_test.shape == (15,)
    indices = train_test_split(np.arange(60), test_size=0.25, random_state=0)
    again = estimator().fit({name: value[indices[0]] for name, value in X.items()}, y_train)
    assert_allclose(fitted.transform(X_test), again.transform({n: v[indices[1]] for n, v in X.items()}), rtol=1e-7)


def test_missing_modalities_and_sequences__survive_cross_validation(regressor, classifier, sequences, y):
    lists = [None if np.isnan(row).all() else row[~np.isnan(row).any(1)] for row in sequences["steps"]]
    for model, method in [(regressor(), "predict"), (classifier(), "predict_proba")]:
        a = cross_val_predict(model, ModalityDict(sequences), y, cv=3, method=method)
        b = cross_val_predict(model, ModalityDict({**sequences, "steps": lists}), y, cv=3, method=method)
        assert_allclose(a, b, rtol=1e-8, atol=1e-10)


def test_a_plain_dict_in_cross_validation__is_refused_by_scikit_learn(regressor, X, y):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        cross_val_score(regressor(), X, y)


# --- pipelines and meta-estimators -----------------------------------------------------------------------------------


def test_pipeline__before_and_after(estimator, X, y):
    pipe = make_pipeline(StandardScaler(), estimator(modalities=MODALITIES)).fit(flat(X), y)
    assert_allclose(pipe.predict(flat(X)), estimator(modalities=MODALITIES).fit(flat(X), y).predict(flat(X)), rtol=1e-6)
    head = make_pipeline(estimator(), VarianceThreshold(), LogisticRegression()).fit(X, y)
    assert head.predict(X).shape == y.shape
    search = GridSearchCV(head, {head.steps[0][0] + "__lam": [0, 1.0]}, cv=2, error_score="raise").fit(
        ModalityDict(X), y
    )
    assert search.score(ModalityDict(X), y) > 0.3


def test_pipeline__with_modality_transformer(estimator, X, y):
    preprocessing = pytest.importorskip("sklearn_mdm.inputs._transformer")
    transformer = preprocessing.ModalityTransformer({"audio": StandardScaler()})
    pipe = make_pipeline(transformer, estimator()).fit(X, y)
    assert_allclose(pipe.predict(X), estimator().fit(X, y).predict(X), rtol=1e-6)
    assert np.isfinite(cross_val_score(pipe, ModalityDict(X), y, cv=2, error_score="raise")).all()
    assert np.isfinite(cross_val_score(pipe, frame(X), y, cv=2, error_score="raise")).all()


@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.SeenSamplesWarning")
def test_pipeline__dependency_is_read_off_its_last_step(estimator, X, y):
    pipe = make_pipeline(ModalityTransformer({"audio": StandardScaler()}), estimator(lam=1.0)).fit(X, y)
    with pytest.raises(AttributeError, match="dependency_score"):
        pipe.dependency_score(X)
    value = pipe[-1].dependency_score(pipe[:-1].transform(X))
    assert value == pytest.approx(pipe[-1].pointwise_dependency(pipe[:-1].transform(X)).mean())
    for method in ("dependency_score", "pointwise_dependency"):
        assert f"pipe[-1].{method}(pipe[:-1].transform(X))" in getattr(type(pipe[-1]), method).__doc__
    search = GridSearchCV(pipe, {}, cv=2, error_score="raise").fit(ModalityDict(X), y)
    pipe = search.best_estimator_
    assert np.isfinite(pipe[-1].dependency_score(pipe[:-1].transform(X)))


def test_feature_union(estimator, X, y):
    union = FeatureUnion([("a", estimator()), ("b", estimator(random_state=1))]).fit(X, y)
    assert union.transform(X).shape == (60, 16)
    assert len(union.get_feature_names_out()) == 16


def test_transformed_target(regressor, X, y, form):
    write, parameters = form
    target = np.exp(y / 2.0)
    model = TransformedTargetRegressor(regressor(**parameters), func=np.log, inverse_func=np.exp).fit(write(X), target)
    direct = regressor(**parameters).fit(write(X), np.log(target))
    assert_allclose(model.predict(write(X)), np.exp(direct.predict(write(X))), rtol=1e-6)


@pytest.mark.parametrize("voting", ["hard", "soft"])
def test_voting(classifier, regressor, X, y, voting):
    labels = np.array(["low", "mid", "top"])[y]
    members = [("a", classifier()), ("b", classifier(lam=0, random_state=1))]
    model = VotingClassifier(members, voting=voting).fit(ModalityDict(X), labels)
    assert set(model.predict(ModalityDict(X))) <= set(labels)
    mean = VotingRegressor([("a", regressor()), ("b", regressor(lam=0))]).fit(ModalityDict(X), y)
    assert mean.predict(ModalityDict(X)).shape == y.shape


def test_stacking(regressor, X, y, form):
    write, parameters = form
    model = StackingRegressor([("net", regressor(**parameters))], LinearRegression(), cv=3).fit(write(X), y)
    assert model.predict(write(X)).shape == y.shape


def test_calibration(classifier, X, y, form):
    write, parameters = form
    model = CalibratedClassifierCV(classifier(**parameters), cv=2).fit(write(X), y)
    assert_allclose(model.predict_proba(write(X)).sum(1), 1)


# --- copies ----------------------------------------------------------------------------------------------------------


def test_clone__copies_parameters_and_nothing_fitted(estimator, X, y, same_parameters):
    model = estimator(encoder={"audio": MLPEncoder(out_dim=3, dropout=0.0)}, measure=FDivergence(bound=3.0)).fit(X, y)
    twin = clone(model)
    assert not hasattr(twin, "net_")
    assert twin.encoder["audio"] is not model.encoder["audio"] and twin.fusion is not model.fusion
    assert twin.measure.bound == 3.0
    assert same_parameters(twin.fit(X, y), model)


def through_joblib(model):
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return joblib.load(file)


@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.SeenSamplesWarning")
@pytest.mark.parametrize(
    "copy_of", [lambda model: pickle.loads(pickle.dumps(model)), through_joblib], ids=["pickle", "joblib"]
)
@pytest.mark.parametrize("measure", ["kl", "wasserstein"])
def test_a_stored_estimator__is_as_good_as_the_original(estimator, X, y, copy_of, measure, same_parameters):
    model = estimator(measure=measure, early_stopping=True).fit(X, y)
    twin = copy_of(model)
    assert same_parameters(model, twin)
    assert_array_equal(twin.predict(X), model.predict(X))
    assert_array_equal(twin.pointwise_dependency(X), model.pointwise_dependency(X))
    assert twin.dependency_score(X, measure="training") == model.dependency_score(X, measure="training")
    assert twin.loss_curve_ == model.loss_curve_
    model.partial_fit(X, y), twin.partial_fit(X, y)
    assert same_parameters(model, twin)


@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.RepeatedSamplesWarning")  # the data are repeated
def test_a_stored_estimator__does_not_grow_with_the_data(estimator, X, y):
    def size(repeats):
        data = {name: np.tile(value, (repeats, 1)) for name, value in X.items()}
        model = estimator(max_epochs=1, early_stopping=True, batch_size=16 * repeats)
        return len(pickle.dumps(model.fit(data, np.tile(y, repeats))))

    assert size(200) < size(100) + 5_000


@pytest.mark.parametrize("as_frame", [False, True])
def test_set_output__gives_a_frame_with_the_index_of_x(estimator, X, y, as_frame):
    data = X
    if as_frame:
        data = frame(X).set_axis([f"sample{i}" for i in range(60)])
    model = estimator().fit(data, y)
    array = model.transform(data)
    out = model.set_output(transform="pandas").transform(data)
    assert isinstance(out, pd.DataFrame)
    assert_array_equal(out.to_numpy(), array)
    assert list(out.columns) == list(model.get_feature_names_out())
    assert out.columns[0] == "fused0" and out.shape[1] == 8
    if as_frame:
        assert out.index[0] == "sample0"
    assert model.fit_transform(data, y).shape == (60, 8)


# --- groups ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def groups():
    return np.random.default_rng(2).integers(0, 12, size=60)


@pytest.fixture
def splits(monkeypatch):
    """Each stopping split as it is made: (arguments, rows to train on, rows held out)."""
    seen = []

    def spy(n_samples, fraction, seed, *, groups=None, stratify=None):
        train, held_out = validation_split(n_samples, fraction, seed, groups=groups, stratify=stratify)
        assert sorted([*train, *held_out]) == list(range(n_samples))
        seen.append(({"groups": groups, "stratify": stratify}, train, held_out))
        return train, held_out

    monkeypatch.setattr(splitting, "validation_split", spy)
    return seen


def groups_of(splits):
    """The groups that each split trained on and held out."""
    return [(set(given["groups"][train]), set(given["groups"][held_out])) for given, train, held_out in splits]


def test_groups__are_never_cut_by_the_validation_split(estimator, X, y, groups, splits):
    for seed in range(10):
        estimator(early_stopping=True, max_epochs=1, random_state=seed).fit(X, y, groups=groups)
    seen = groups_of(splits)
    assert len(seen) == 10
    for train, held_out in seen:
        assert train and held_out and not train & held_out
    assert len({frozenset(held_out) for _, held_out in seen}) > 1


def test_groups__with_metadata_routing_reach_fit_through_a_search(estimator, X, y, groups, splits):
    with config_context(enable_metadata_routing=True):
        search = GridSearchCV(
            estimator(early_stopping=True, max_epochs=1), {"lam": [0, 0.1]}, cv=GroupKFold(3), error_score="raise"
        )
        search.fit(ModalityDict(X), y, groups=groups)
    seen = groups_of(splits)
    assert len(seen) == 2 * 3 + 1
    for train, held_out in seen:
        assert train and held_out and not train & held_out
    assert len(seen[0][0] | seen[0][1]) < len(set(groups)) == len(seen[-1][0] | seen[-1][1])


def test_sample_weight__with_metadata_routing_reaches_fit(estimator, X, y, monkeypatch):
    cls = type(estimator())
    weights = []
    original = cls.fit
    weight = np.linspace(1, 2, 60)

    def spy(self, X, y, sample_weight=None, **kwargs):
        weights.append(sample_weight)
        return original(self, X, y, sample_weight, **kwargs)

    with config_context(enable_metadata_routing=True):
        model = estimator(max_epochs=1).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        monkeypatch.setattr(cls, "fit", spy)
        scores = cross_val_score(model, ModalityDict(X), y, cv=2, params={"sample_weight": weight}, error_score="raise")
    assert np.isfinite(scores).all()
    assert all(len(w) == 30 for w in weights) and len(weights) == 2


def test_one_group__cannot_be_split(estimator, X, y):
    with pytest.raises(ValueError, match=r"all samples are in one group.*early_stopping=False"):
        estimator(early_stopping=True).fit(X, y, groups=np.zeros(60))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        estimator().fit(X, y, groups=np.zeros(59))
    estimator(early_stopping=False).fit(X, y, groups=np.zeros(60))


def test_validation_split__is_stratified_for_classes_and_left_out_of_training(classifier, X, splits):
    y = np.r_[np.zeros(40), np.ones(20)].astype(int)
    for seed in range(5):
        classifier(early_stopping=True, validation_fraction=0.2, max_epochs=1, random_state=seed).fit(X, y)
    shares = [(y[train].mean(), y[held_out].mean(), len(held_out)) for _, train, held_out in splits]
    assert_allclose(shares, [[1 / 3, 1 / 3, 12]] * 5)


@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.RepeatedSamplesWarning")  # the data are repeated
def test_auto_early_stopping__keeps_small_data_whole(X, y, regressor, splits):
    regressor().fit(X, y)
    assert not splits
    big = {name: np.tile(value, (4, 1)) for name, value in X.items()}
    regressor(max_epochs=1).fit(big, np.tile(y, 4))
    assert len(splits) == 1
    regressor(max_epochs=1, early_stopping=False).fit(big, np.tile(y, 4))
    assert len(splits) == 1


# --- global configuration --------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.SeenSamplesWarning")
@pytest.mark.parametrize("fitted_inside", [True, False])
def test_transform_output_of_pandas__changes_the_form_of_transform_only(estimator, X, y, fitted_inside):
    expected = estimator(early_stopping=True).fit(X, y)
    with config_context(transform_output="pandas" if fitted_inside else "default"):
        model = estimator(early_stopping=True).fit(X, y)
    with config_context(transform_output="pandas"):
        predicted, out = model.predict(X), model.transform(X)
        probabilities = model.predict_proba(X) if hasattr(model, "predict_proba") else None
        values = model.pointwise_dependency(X)
        again = model.fit_transform(X, y)
    assert type(predicted) is np.ndarray
    assert_array_equal(predicted, expected.predict(X))
    assert_array_equal(values, expected.pointwise_dependency(X))
    if probabilities is not None:
        assert type(probabilities) is np.ndarray
        assert_array_equal(probabilities, expected.predict_proba(X))
    for frame_out in (out, again):
        assert isinstance(frame_out, pd.DataFrame)
        assert list(frame_out.columns) == list(model.get_feature_names_out())
        assert_array_equal(frame_out.to_numpy(), expected.transform(X))
    assert isinstance(model.transform(X), np.ndarray)


def test_transform_output_of_pandas__in_a_pipeline(estimator, X, y):
    def pipe():
        return make_pipeline(ModalityTransformer({"audio": StandardScaler()}), estimator())

    expected = pipe().fit(X, y)
    with config_context(transform_output="pandas"):
        inside = pipe().fit(X, y)
        assert_array_equal(inside.predict(X), expected.predict(X))
        assert_array_equal(expected.predict(X), inside.predict(X))
        assert isinstance(inside.transform(X), pd.DataFrame)
    assert_array_equal(inside.predict(X), expected.predict(X))


def test_tags__say_what_x_may_be(estimator):
    tags = get_tags(estimator())
    assert tags.input_tags.dict and tags.input_tags.three_d_array and tags.input_tags.two_d_array
    assert not tags.input_tags.sparse
