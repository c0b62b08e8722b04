"""ModalityTransformer: one transformer a modality, fitted on what was observed, in whatever container X comes."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin, clone
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.ensemble import RandomTreesEmbedding
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.feature_selection import SelectFromModel, SelectKBest, VarianceThreshold
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.utils import estimator_html_repr, get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks
from skorch.helper import SliceDict

from sklearn_mdm.inputs._modality_dict import ModalityDict
from sklearn_mdm.inputs._padding import zero_padding_to_nan
from sklearn_mdm.inputs._schema import ModalitySchema
from sklearn_mdm.inputs._transformer import ModalityTransformer

nan = np.nan
N = 12
TEXTS = ["a good film", None, "a bad film", "a bad film indeed", nan, "good"]
SPEAKING = [True, False, True, True, False, True]


@parametrize_with_checks([ModalityTransformer(), ModalityTransformer(StandardScaler())])
def test_common_checks(estimator, check):
    check(estimator)


def make_dict(dtype="f8"):
    rng = np.random.default_rng(0)
    X = {"audio": rng.normal(2, 3, size=(N, 3)).astype(dtype), "text": rng.normal(size=(N, 4)).astype(dtype)}
    X["audio"][[1, 5]] = nan
    X["text"][7] = nan
    return X


def make_frame(X):
    blocks = {name: pd.DataFrame(value).add_prefix(name[0]) for name, value in X.items()}
    return pd.concat(blocks, axis=1, names=["modality", "feature"]).set_axis(np.arange(N) + 100)


def scaled(values):
    return (values - np.nanmean(values, axis=0)) / np.nanstd(values, axis=0)


class Recorder(TransformerMixin, BaseEstimator):
    """Keeps what fit was given, and lacks fit_transform and get_feature_names_out of its own."""

    def fit(self, X, y=None):
        self.X_, self.y_ = X, y
        return self

    def transform(self, X):
        return np.asarray(X, dtype=float).reshape(len(X), -1) * 2


class SumRegressor(RegressorMixin, BaseEstimator):
    """Ordinary least squares on all modalities of a dict, NaN as 0."""

    def fit(self, X, y):
        self.schema_ = ModalitySchema()
        self.model_ = LinearRegression().fit(self._join(self.schema_.fit_read(self, X, None).arrays), y)
        return self

    def predict(self, X):
        return self.model_.predict(self._join(self.schema_.read(self, X).arrays))

    @staticmethod
    def _join(arrays):
        return np.nan_to_num(np.hstack(list(arrays.values())))


# --- what a transformer sees, and what comes back --------------------------------------------------------------------


@pytest.mark.parametrize("container", [dict, ModalityDict, lambda X: SliceDict(**X)])
def test_transform__dict__gives_a_modality_dict_scaled_on_observed_rows(container):
    X = make_dict()
    transformer = ModalityTransformer({"audio": StandardScaler()})
    Xt = transformer.fit_transform(container(X))
    assert type(Xt) is ModalityDict and list(Xt) == ["audio", "text"]
    assert_allclose(Xt["audio"], scaled(X["audio"]))
    assert_array_equal(Xt["text"], X["text"])
    assert transformer.transform(container(X)) == Xt
    assert transformer.n_features_in_ == 7 and transformer.n_features_per_modality_ == {"audio": 3, "text": 4}
    assert transformer.modalities_ == ["audio", "text"]
    assert transformer.transformers_["text"] == "passthrough"


def test_fit__single_transformer__is_cloned_for_every_modality():
    X, scaler = make_dict(), StandardScaler()
    transformer = ModalityTransformer(scaler).fit(X)
    assert not hasattr(scaler, "mean_")
    assert_allclose(transformer.transformers_["audio"].mean_, np.nanmean(X["audio"], axis=0))
    assert_allclose(transformer.transformers_["text"].mean_, np.nanmean(X["text"], axis=0))


def test_fit__transformers_of_the_dict__stay_unfitted():
    scaler = StandardScaler()
    transformer = ModalityTransformer({"audio": scaler}).fit(make_dict())
    assert not hasattr(scaler, "mean_") and transformer.transformers == {"audio": scaler}


def test_fit__rows_and_targets__are_the_observed_ones():
    X, y = make_dict(), np.arange(N)
    observed = ~np.isnan(X["audio"][:, 0])
    for target in (y, y.tolist(), pd.Series(y, index=y + 50), np.column_stack([y, y])):
        fitted = ModalityTransformer({"audio": Recorder()}).fit(X, target).transformers_["audio"]
        assert_array_equal(fitted.X_, X["audio"][observed])
        assert_array_equal(fitted.y_, np.asarray(target)[observed])
    assert ModalityTransformer({"audio": Recorder()}).fit(X).transformers_["audio"].y_ is None


@pytest.mark.parametrize(
    "selector", [SelectKBest(k=1), SelectFromModel(LinearRegression(), max_features=1, threshold=-np.inf)]
)
def test_fit__supervised_transformer__selects_what_predicts_y(selector):
    X = make_dict()
    y = np.nan_to_num(X["audio"][:, 2], nan=1e6) > 2
    if isinstance(selector, SelectFromModel):
        y = np.nan_to_num(X["audio"][:, 2], nan=1e6)
    Xt = ModalityTransformer({"audio": selector}).fit_transform(X, y)
    assert_array_equal(Xt["audio"], X["audio"][:, [2]])


def test_fit__that_fails__leaves_it_unfitted():
    transformer = ModalityTransformer(SelectKBest(k=1)).fit(make_dict(), np.arange(N) % 2)
    for X, y in [({}, None), (make_dict(), np.full(N, nan))]:
        with pytest.raises(ValueError, match=r"empty|NaN"):
            transformer.fit(X, y)
        with pytest.raises(NotFittedError):
            transformer.transform(make_dict())


def test_fit__targets_without_an_order__error():
    with pytest.raises(TypeError, match="dict, of which only the keys"):
        ModalityTransformer(SelectKBest(k=1)).fit(make_dict(), dict.fromkeys(range(N), 0.0))


def test_fit__masked_targets__reach_no_transformer():
    y = np.ma.array(np.arange(20.0), mask=np.arange(20) < 3)
    with pytest.raises(ValueError, match="contains NaN"):
        ModalityTransformer(SelectKBest(k=1)).fit({"a": np.random.default_rng(0).normal(size=(20, 2))}, y)


def test_fit__y_of_another_length__error():
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        ModalityTransformer(StandardScaler()).fit(make_dict(), np.zeros(N - 1))


def test_fit_transform__is_used_where_a_transformer_has_it():
    class Doubled(StandardScaler):
        def fit_transform(self, X, y=None):
            return super().fit_transform(X) * 2

    X = make_dict()
    assert_allclose(ModalityTransformer({"audio": Doubled()}).fit_transform(X)["audio"], 2 * scaled(X["audio"]))


def test_fit__transformer_without_fit_transform__is_enough():
    class Bare(BaseEstimator):
        fit, transform = Recorder.fit, Recorder.transform

    X = make_dict()
    assert_array_equal(ModalityTransformer({"audio": Bare()}).fit_transform(X)["audio"], 2 * X["audio"])


def test_transform__partly_nan_rows__reach_the_imputer():
    X = {"audio": np.array([[1.0, nan], [3.0, 4.0], [nan, nan]]), "text": np.ones((3, 1))}
    Xt = ModalityTransformer({"audio": SimpleImputer()}).fit_transform(X)
    assert_array_equal(Xt["audio"], [[1, 4], [3, 4], [nan, nan]])
    assert_array_equal(ModalityTransformer().fit_transform(X)["audio"], X["audio"])


def test_transform__partly_nan_rows__are_left_to_the_estimator_by_those_that_take_nan():
    X = {"audio": np.array([[1.0, nan], [3.0, 4.0], [nan, nan], [2.0, 8.0]])}
    Xt = ModalityTransformer(StandardScaler()).fit_transform(X)
    assert_array_equal(np.isnan(Xt["audio"]), np.isnan(X["audio"]))
    assert_array_equal(Xt["audio"][1:, 1], [-1, nan, 1])


def test_transform__partly_nan_rows__error_of_others_names_the_imputer():
    X = {"audio": np.array([[1.0, nan], [3.0, 4.0], [2.0, 8.0]])}
    match = r"(?s)modality 'audio', PCA: Input X contains NaN.*make_pipeline\(SimpleImputer\(\), PCA"
    with pytest.raises(ValueError, match=match):
        ModalityTransformer({"audio": PCA(1)}).fit(X)


def test_transform__sample_with_nothing_observed__stays():
    Xt = ModalityTransformer(StandardScaler()).fit_transform({"a": [[1.0], [nan], [3.0]]})
    assert_array_equal(Xt["a"], [[-1], [nan], [1]])


def test_transform__leaves_x_alone():
    X = make_dict()
    ModalityTransformer(StandardScaler(copy=False)).fit_transform(X)
    for name, value in make_dict().items():
        assert_array_equal(X[name], value)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("form", [dict, make_frame, lambda X: np.hstack(list(X.values()))])
def test_transform__dtype__is_kept(dtype, form):
    Xt = ModalityTransformer(StandardScaler()).fit_transform(form(make_dict(dtype)))
    found = set(Xt.dtypes) if hasattr(Xt, "dtypes") else {v.dtype for v in getattr(Xt, "values", lambda: [Xt])()}
    assert found == {np.dtype(dtype)}


def test_transform__integer_output__becomes_float():
    Xt = ModalityTransformer({"a": FunctionTransformer(lambda X: X.astype(int))}).fit_transform({"a": [[1.5], [nan]]})
    assert_array_equal(Xt["a"], [[1.0], [nan]])


# --- what is absent at transform -------------------------------------------------------------------------------------


def test_transform__absent_stays_absent_and_none_stays_none():
    X = make_dict()
    transformer = ModalityTransformer({"audio": PCA(2), "text": StandardScaler()}).fit(X)
    Xt = transformer.transform({"text": X["text"], "audio": None})
    assert list(Xt) == ["text", "audio"] and Xt["audio"] is None and len(Xt) == N
    assert list(transformer.transform({"text": X["text"]})) == ["text"]


@pytest.mark.parametrize("nothing", [np.full((N, 3), nan), [None] * N])
def test_transform__nothing_observed__is_nan_of_the_width_of_fit(nothing):
    X = make_dict("f4")
    Xt = ModalityTransformer({"audio": PCA(2)}).fit(X).transform({**X, "audio": nothing})
    assert Xt["audio"].shape == (N, 2) and Xt["audio"].dtype == np.float32 and np.isnan(Xt["audio"]).all()


def test_transform__fewer_texts_than_at_fit__pass_through():
    X = ModalityDict(text=["good", "bad", None], other=np.ones((3, 1)))
    assert ModalityTransformer().fit(X).transform(X[:2])["text"].tolist() == ["good", "bad"]


def test_transform__nothing_observed_of_a_sequence_or_text__is_nan():
    X = {"video": np.arange(12.0).reshape(2, 3, 2), "text": ["good", "bad"], "other": np.ones((2, 1))}
    transformer = ModalityTransformer({"video": PCA(1), "text": make_pipeline(CountVectorizer(), TruncatedSVD(1))})
    Xt = transformer.fit(X).transform({"video": [None, None], "text": [None, None], "other": X["other"]})
    assert Xt["video"].shape == (2, 1, 1) and Xt["text"].shape == (2, 1)
    assert np.isnan(Xt["video"]).all() and np.isnan(Xt["text"]).all()


def test_transform__frame_without_a_modality__has_its_columns_as_nan():
    frame = make_frame(make_dict())
    transformer = ModalityTransformer({"audio": PCA(2)}).fit(frame)
    Xt = transformer.transform(frame[["text"]])
    assert Xt.columns.equals(transformer.transform(frame).columns)
    assert Xt["audio"].isna().all(axis=None) and Xt["text"].equals(frame["text"])


def test_fit__nothing_observed__error():
    for nothing in (np.full((N, 2), nan), [None] * N, None):
        with pytest.raises(ValueError, match=r"modality 'video'.* nothing of it is observed.*Leave it out"):
            ModalityTransformer().fit({**make_dict(), "video": nothing})


# --- frames ----------------------------------------------------------------------------------------------------------


def test_transform__multiindex_frame__stays_one():
    frame = make_frame(make_dict())
    transformer = ModalityTransformer({"audio": StandardScaler(), "text": PCA(2)})
    Xt = transformer.fit_transform(frame)
    assert Xt.columns.tolist() == [
        ("audio", "a0"),
        ("audio", "a1"),
        ("audio", "a2"),
        ("text", "pca0"),
        ("text", "pca1"),
    ]
    assert Xt.columns.names == ["modality", "feature"] and Xt.index.equals(frame.index)
    assert_allclose(Xt["audio"], scaled(frame["audio"].to_numpy()))
    assert Xt["text"].isna().all(axis=1).tolist() == frame["text"].isna().all(axis=1).tolist()
    pd.testing.assert_frame_equal(transformer.transform(frame[["text", "audio"]]), Xt)
    assert transformer.transformers_["audio"].feature_names_in_.tolist() == ["a0", "a1", "a2"]


def test_transform__multiindex_frame_of_integers__keeps_them_and_numbers_the_rest():
    X = make_dict()
    frame = pd.concat({0: pd.DataFrame(X["audio"]), "text": pd.DataFrame(X["text"])}, axis=1)
    Xt = ModalityTransformer({0: VarianceThreshold(), "text": Recorder()}).fit_transform(frame)
    assert Xt.columns.tolist() == frame.columns.tolist()
    Xt = ModalityTransformer({"text": make_pipeline(FunctionTransformer(lambda X: X.iloc[:, :2]))}).fit_transform(frame)
    assert Xt.columns.tolist() == [(0, 0), (0, 1), (0, 2), ("text", 0), ("text", 1)]


def test_transform__fitted_on_frame__takes_a_dict_of_its_blocks():
    frame = make_frame(make_dict())
    transformer = ModalityTransformer({"audio": StandardScaler()}).fit(frame)
    Xt = transformer.transform({"audio": frame["audio"]})
    assert_array_equal(Xt["audio"], transformer.transform(frame)["audio"])
    with pytest.raises(ValueError, match="feature names of modality 'audio' should match"):
        transformer.transform({"audio": frame["audio"].iloc[:, ::-1]})


def test_fit__categories_in_a_frame__reach_the_transformer():
    clinical = pd.DataFrame({"sex": ["f", "m", None, "f"], "age": [30.0, 50.0, nan, 40.0]})
    X = {"clinical": clinical, "audio": np.ones((4, 1))}
    encoder = make_column_transformer((OneHotEncoder(sparse_output=False), ["sex"]), (StandardScaler(), ["age"]))
    transformer = ModalityTransformer({"clinical": encoder})
    Xt = transformer.fit_transform(X)
    assert_allclose(Xt["clinical"][:, :2], [[1, 0], [0, 1], [nan, nan], [1, 0]])
    assert transformer.get_feature_names_out()[0] == "clinical__onehotencoder__sex_f"
    with pytest.raises(ValueError, match="modality 'clinical', column 'sex' holds strings"):
        ModalityTransformer().fit(X)


@pytest.mark.parametrize("dtype", [pl.Categorical, pl.Enum(["v", "u", "w"])])
def test_fit__categories_of_polars__reach_the_transformer(dtype):
    table = pl.DataFrame({"c": pl.Series(["u", "v", None], dtype=dtype)})
    Xt = ModalityTransformer(OneHotEncoder(sparse_output=False)).fit_transform({"b": table})
    assert_array_equal(Xt["b"], [[1.0, 0.0], [0.0, 1.0], [nan, nan]])


def test_fit__a_single_column_of_strings__is_text_unless_categorical():
    words = pd.DataFrame({"word": ["u", "v", None, "u"]})
    assert ModalityTransformer(TextRecorder()).fit({"text": words}).transformers_["text"].X_ == ["u", "v", "u"]
    encoder = ModalityTransformer({"text": OneHotEncoder(sparse_output=False)})
    Xt = encoder.fit_transform({"text": words.astype("category")})
    assert_array_equal(Xt["text"], [[1, 0], [0, 1], [nan, nan], [1, 0]])


class TextRecorder(Recorder):
    def transform(self, X):
        return np.array([[len(text)] for text in X])


def make_flat_frame():
    X = make_dict()
    frame = pd.DataFrame(np.hstack(list(X.values())), columns=["a0", "a1", "a2", "t0", "t1", "t2", "t3"])
    return X, frame.set_axis(np.arange(N) + 100)


MODALITIES = {"text": make_column_selector("^t"), "audio": ["a0", "a1", "a2"]}


def test_transform__flat_frame__gives_blocks_in_the_order_of_modalities():
    X, frame = make_flat_frame()
    transformer = ModalityTransformer({"audio": StandardScaler(), "text": PCA(2)}, modalities=MODALITIES)
    Xt = transformer.fit_transform(frame)
    assert isinstance(Xt, np.ndarray) and Xt.shape == (N, 5)
    assert transformer.modalities_ == ["text", "audio"]
    assert_allclose(Xt[:, 2:], scaled(X["audio"]))
    names = ["text__pca0", "text__pca1", "audio__a0", "audio__a1", "audio__a2"]
    assert transformer.get_feature_names_out().tolist() == names
    assert transformer.feature_names_in_.tolist() == frame.columns.tolist() and transformer.n_features_in_ == 7
    framed = transformer.set_output(transform="pandas").fit_transform(frame)
    assert framed.columns.tolist() == names and framed.index.equals(frame.index)
    assert_array_equal(framed, Xt)
    assert_allclose(transformer.transform(frame), Xt)


def test_transform__flat_array__is_split_and_joined():
    X, frame = make_flat_frame()
    transformer = ModalityTransformer({"b": StandardScaler()}, modalities={"b": slice(0, 3), "a": [3]})
    Xt = transformer.fit_transform(frame.to_numpy())
    assert_allclose(Xt, np.column_stack([scaled(X["audio"]), X["text"][:, 0]]))
    assert transformer.get_feature_names_out().tolist() == ["b__x0", "b__x1", "b__x2", "a__x3"]
    assert transformer.get_feature_names_out(list("tuvwxyz")).tolist() == ["b__t", "b__u", "b__v", "a__w"]


def test_transform__flat_x_without_modalities__is_one_modality():
    _, frame = make_flat_frame()
    transformer = ModalityTransformer({"X": StandardScaler()}).set_output(transform="pandas")
    assert transformer.fit_transform(frame).columns.tolist() == frame.columns.tolist()
    assert transformer.modalities_ == ["X"]
    assert transformer.get_feature_names_out().tolist() == frame.columns.tolist()


def test_transform__names_of_a_nameless_transformer__are_strings():
    transformer = ModalityTransformer(Recorder()).set_output(transform="pandas")
    assert transformer.fit_transform(np.ones((3, 2))).columns.tolist() == ["0", "1"]
    transformer.set_params(transformers=make_pipeline(FunctionTransformer(lambda X: X[:, :1])))
    assert transformer.fit_transform(np.ones((3, 2))).columns.tolist() == ["0"]


def test_transform__text_column_of_a_flat_frame():
    frame = pd.DataFrame({"comment": TEXTS, "x": np.arange(6.0)})
    transformer = ModalityTransformer(
        {"text": make_pipeline(TfidfVectorizer(), TruncatedSVD(2))}, modalities={"text": "comment", "number": ["x"]}
    )
    Xt = transformer.fit_transform(frame)
    assert_array_equal(np.isnan(Xt[:, 0]), ~np.array(SPEAKING))
    assert_array_equal(Xt[:, 2], frame["x"])
    with pytest.raises(ValueError, match=r"modality 'text' is text and passes through unchanged.*TruncatedSVD"):
        transformer.set_params(text="passthrough").fit(frame)


def test_set_output__of_a_dict__makes_frames_of_its_modalities():
    X = make_dict()
    transformer = ModalityTransformer({"audio": StandardScaler(), "text": make_pipeline(PCA(3), StandardScaler())})
    with sklearn.config_context(transform_output="pandas"):
        Xt = transformer.fit_transform(X)
        framed = transformer.fit_transform(make_frame(X))
    assert type(Xt) is ModalityDict and list(Xt["audio"].columns) == ["x0", "x1", "x2"]
    assert framed.columns.nlevels == 2
    assert_allclose(Xt["audio"], scaled(X["audio"]))


def test_set_output__of_a_dict_of_frames__keeps_their_index():
    rows = pd.Index([f"s{i}" for i in range(12)])
    X = {name: pd.DataFrame(value, index=rows) for name, value in make_dict().items()}
    train, test = train_test_split(ModalityDict(X), random_state=0)
    transformer = ModalityTransformer(StandardScaler()).set_output(transform="pandas").fit(train)
    assert transformer.transform(test)["text"].index.equals(test["audio"].index)


# --- sequences -------------------------------------------------------------------------------------------------------


def test_transform__sequences__step_by_step_with_the_target_of_the_sample():
    video = np.random.default_rng(0).normal(size=(4, 5, 2))
    video[0, 3:] = video[2] = nan
    observed = ~np.isnan(video[..., 0])
    transformer = ModalityTransformer({"video": StandardScaler()})
    Xt = transformer.fit_transform({"video": video})
    steps = video[observed]
    assert_allclose(Xt["video"][observed], (steps - steps.mean(0)) / steps.std(0))
    assert np.isnan(Xt["video"][~observed]).all() and Xt["video"].shape == (4, 5, 2)
    fitted = transformer.set_params(video=Recorder()).fit({"video": video}, np.array([10, 20, 30, 40])).transformers_
    assert fitted["video"].y_.tolist() == [10] * 3 + [20] * 5 + [40] * 5


def test_transform__ragged_sequences__come_back_padded():
    sequences = [np.ones((2, 2)), None, np.full((3, 2), 4.0)]
    Xt = ModalityTransformer({"video": PCA(1)}).fit_transform(ModalityDict(video=sequences, other=np.ones((3, 1))))
    assert Xt["video"].shape == (3, 3, 1)
    assert_array_equal(np.isnan(Xt["video"][..., 0]), [[0, 0, 1], [1, 1, 1], [0, 0, 0]])


def test_transform__number_of_steps__may_change():
    transformer = ModalityTransformer(StandardScaler()).fit({"video": np.arange(12.0).reshape(2, 3, 2)})
    assert transformer.transform({"video": np.zeros((5, 7, 2))})["video"].shape == (5, 7, 2)


def test_transform__sequence_absent_from_a_frame__is_left_out():
    frame = make_frame(make_dict())
    transformer = ModalityTransformer().fit({"audio": frame["audio"], "video": np.ones((N, 2, 1))})
    assert transformer.transform(frame[["audio"]]).columns.tolist() == frame[["audio"]].columns.tolist()


# --- text and sparse -------------------------------------------------------------------------------------------------

TEXT_FORMS = [
    list,
    lambda texts: np.array(texts, dtype=object),
    pd.Series,
    lambda texts: pd.Series(texts, dtype="string", index=range(10, 16)),
]


@pytest.mark.parametrize("form", TEXT_FORMS)
def test_transform__text__is_a_list_of_the_observed_strings(form):
    X = {"text": form(TEXTS), "audio": np.ones((6, 1))}
    fitted = ModalityTransformer({"text": TextRecorder()}).fit(X).transformers_["text"]
    assert fitted.X_ == [text for text in TEXTS if isinstance(text, str)]
    pipeline = make_pipeline(TfidfVectorizer(), TruncatedSVD(2, random_state=0))
    for each in (X, ModalityDict(X)):
        Xt = ModalityTransformer({"text": pipeline}).fit_transform(each)
        assert_array_equal(~np.isnan(Xt["text"]), np.column_stack([SPEAKING, SPEAKING]))
    expected = clone(pipeline).fit_transform(fitted.X_)
    assert_allclose(Xt["text"][SPEAKING], expected)


def test_transform__token_lists__reach_the_vectorizer():
    tokens = [["a", "b"], None, ["b"], []]
    vectorizer = make_pipeline(
        CountVectorizer(analyzer=lambda tokens: tokens), FunctionTransformer(lambda X: X.toarray())
    )
    Xt = ModalityTransformer({"text": vectorizer}).fit_transform({"text": tokens})
    assert_array_equal(Xt["text"], [[1, 1], [nan, nan], [0, 1], [0, 0]])


def test_transform__text_without_transformer__passes_through():
    transformer = ModalityTransformer()
    Xt = transformer.fit_transform({"text": TEXTS, "audio": np.ones((6, 1))})
    assert Xt["text"].tolist() == TEXTS
    assert transformer.transform({"text": [None] * 2, "audio": np.ones((2, 1))})["text"].tolist() == [None] * 2
    assert transformer.get_feature_names_out().tolist() == ["text__x0", "audio__x0"]
    frame = pd.concat({"text": pd.DataFrame({"t": TEXTS}), "audio": pd.DataFrame({"a": np.ones(6)})}, axis=1)
    assert ModalityTransformer().fit_transform(frame)["text"]["t"].dropna().tolist() == [
        text for text in TEXTS if isinstance(text, str)
    ]


def test_transform__text_for_numbers_and_numbers_for_text__error():
    transformer = ModalityTransformer({"text": TextRecorder()}).fit({"text": TEXTS, "audio": np.ones((6, 1))})
    with pytest.raises(ValueError, match="modality 'text' holds numbers, but ModalityTransformer was fitted on text"):
        transformer.transform({"text": np.ones((6, 3))})
    with pytest.raises(ValueError, match="modality 'audio' holds text, but ModalityTransformer was fitted on numbers"):
        transformer.transform({"audio": TEXTS})


def test_fit__sparse_output__error_names_the_modality_and_truncated_svd():
    match = r"modality 'text': TfidfVectorizer\(\) returned a sparse matrix.*make_pipeline\(TfidfVectorizer\(\), Trunca"
    with pytest.raises(TypeError, match=match):
        ModalityTransformer({"text": TfidfVectorizer()}).fit({"text": TEXTS})


@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.coo_matrix, sparse.dok_matrix])
def test_fit__sparse_modality__can_be_reduced_but_not_passed_through(make):
    X = {"text": make(np.eye(5)), "audio": np.ones((5, 1))}
    Xt = ModalityTransformer({"text": TruncatedSVD(2)}).fit_transform(X)
    assert Xt["text"].shape == (5, 2) and not np.isnan(Xt["text"]).any()
    with pytest.raises(TypeError, match=r"modality 'text' is sparse .*TruncatedSVD"):
        ModalityTransformer().fit(X)
    with pytest.raises(TypeError, match="Sparse data was passed"):
        ModalityTransformer().fit(X["text"])


# --- errors ----------------------------------------------------------------------------------------------------------


def test_fit__unknown_modality__error_names_it():
    with pytest.raises(ValueError, match=r"entry for modality 'vido', which X does not have: .*\['audio', 'text'\]"):
        ModalityTransformer({"vido": StandardScaler()}).fit(make_dict())


@pytest.mark.parametrize("transformers", [{"audio": StandardScaler}, {"audio": 3}, {"audio": None}, "drop", 3, None])
def test_fit__not_a_transformer__error(transformers):
    with pytest.raises(
        TypeError, match=r"the transformer of modality 'audio' is .*expected an object with fit and trans"
    ):
        ModalityTransformer(transformers).fit(make_dict())


@pytest.mark.parametrize("name", ["transformers", "modalities", "a__b"])
def test_fit__name_that_parameters_cannot_have__error_or_no_matter(name):
    X, scaler = {name: make_dict()["audio"]}, StandardScaler()
    transformer = ModalityTransformer({name: scaler})
    assert transformer.get_params()["transformers"] == {name: scaler}
    assert transformer.get_params()["modalities"] is None
    clone(transformer)
    with pytest.raises(
        ValueError, match=f"modality {name!r} cannot be told from other parameters.*Rename the modality"
    ):
        transformer.fit(X)
    # Without a name of its own in transformers, there is nothing to confuse.
    assert_allclose(ModalityTransformer(scaler).fit_transform(X)[name], scaled(X[name]))
    assert list(ModalityTransformer({}).fit_transform(X)) == [name]


def test_fit__names_equal_as_strings__error():
    X = {0: np.ones((3, 1)), "0": np.ones((3, 1))}
    with pytest.raises(ValueError, match="are the same once written as strings"):
        ModalityTransformer({0: StandardScaler(), "0": PCA()}).fit(X)


@pytest.mark.parametrize("function", [lambda X: X[1:], lambda X: X[:, 0], lambda X: X[:, :, None]])
def test_fit__rows_dropped_or_another_shape__error(function):
    with pytest.raises(
        ValueError, match=r"modality 'audio': .* returned shape .* for 10 observed rows; expected \(10, "
    ):
        ModalityTransformer({"audio": FunctionTransformer(function)}).fit(make_dict())


def test_fit__no_feature_left__error():
    with pytest.raises(ValueError, match=r"modality 'audio': .*leaves no feature. Keep at least one"):
        ModalityTransformer({"audio": FunctionTransformer(lambda X: X[:, :0])}).fit(make_dict())


def test_fit__output_that_is_no_number__error():
    with pytest.raises(ValueError, match=r"modality 'a' after its transformer.*infinity"):
        ModalityTransformer({"a": FunctionTransformer(lambda X: X / 0)}).fit({"a": pd.DataFrame({"x": [1.0]})})
    with pytest.raises(ValueError, match="modality 'a' after its transformer holds strings"):
        ModalityTransformer({"a": FunctionTransformer(lambda X: np.char.add(X.astype(str), "z"))}).fit({"a": [[1]]})


def test_fit__error_of_a_transformer__names_the_modality():
    with pytest.raises(ValueError, match="modality 'text', PCA: n_components=50 must be between"):
        ModalityTransformer({"text": PCA(50)}).fit(make_dict())
    transformer = ModalityTransformer({"a": OneHotEncoder(sparse_output=False)})
    transformer.fit({"a": [[1], [2]]})
    with pytest.raises(ValueError, match="modality 'a', OneHotEncoder: Found unknown categories"):
        transformer.transform({"a": [[3]]})


@pytest.mark.parametrize("form", [list, pd.Series, lambda texts: pd.DataFrame({"t": texts})])
def test_fit__texts_for_a_transformer_of_tables__error_names_categories(form):
    encoder = OneHotEncoder(sparse_output=False)
    transformer = ModalityTransformer({"a": encoder})
    colours = ["red", None, "blue", "red"]
    X = {"a": form(colours), "b": np.ones((4, 1))}
    with pytest.raises(ValueError, match=r"(?s)modality 'a', OneHotEncoder: .*frame.astype\(\"category\"\)"):
        transformer.fit(X)
    X["a"] = pd.DataFrame({"t": colours}).astype("category")
    assert_array_equal(transformer.fit_transform(X)["a"], [[0, 1], [nan, nan], [1, 0], [0, 1]])
    with pytest.raises(ValueError) as caught:  # not about text
        ModalityTransformer({"b": FunctionTransformer(lambda X: PCA().fit(X[0]))}).fit({"b": X["b"]})
    assert "Expected 2D" in str(caught.value) and "category" not in str(caught.value)


@pytest.mark.parametrize("transformers", ["passthrough", StandardScaler()])
def test_fit__duplicated_columns__error_names_them(transformers):
    transformer = ModalityTransformer(transformers)
    frame = pd.DataFrame(np.ones((3, 3)), columns=["p", "q", "p"])
    match = r"{} has more than one column of the same name: \['p'\]. Rename them"
    with pytest.raises(ValueError, match=match.format("^X")):
        transformer.fit(frame)
    for each in ({"a": frame}, pd.concat({"a": frame}, axis=1)):
        with pytest.raises(ValueError, match=match.format("^modality 'a'")):
            transformer.fit(each)


def test_transform__fitted_on_a_flat_frame__remembers_names_by_modality():
    frame = pd.DataFrame(np.arange(12.0).reshape(4, 3), columns=list("pqr"))
    transformer = ModalityTransformer(StandardScaler(), modalities={"a": ["p", "q"], "b": ["r"]}).fit(frame)
    assert transformer.transform({"a": frame[["p", "q"]], "b": frame[["r"]]})["a"].shape == (4, 2)
    with pytest.raises(ValueError, match="feature names of modality 'a' should match"):
        transformer.transform({"a": frame[["q", "p"]], "b": frame[["r"]]})


def test_transform__another_layout__error():
    X = make_dict()
    transformer = ModalityTransformer(StandardScaler()).fit(X)
    with pytest.raises(ValueError, match="modality 'audio' has 2 features, but ModalityTransformer was fitted with 3"):
        transformer.transform({**X, "audio": X["audio"][:, :2]})
    with pytest.raises(ValueError, match=r"unknown modalities \['video'\]"):
        transformer.transform({**X, "video": X["audio"]})
    with pytest.raises(ValueError, match="was fitted on named modalities"):
        transformer.transform(np.ones((3, 7)))
    with pytest.raises(ValueError, match="Leave modalities=None"):
        ModalityTransformer(modalities={"audio": [0]}).fit(X)


def test_get_feature_names_out__wrong_input_features__error():
    _, frame = make_flat_frame()
    with pytest.raises(ValueError, match="input_features is not equal to feature_names_in_"):
        ModalityTransformer().fit(frame).get_feature_names_out(list("abcdefg"))


# --- parameters ------------------------------------------------------------------------------------------------------


def test_get_params__transformers__are_reached_by_modality():
    scaler, pca = StandardScaler(), PCA(2)
    transformer = ModalityTransformer({"audio": scaler, "text": pca, 0: "passthrough"})
    params = transformer.get_params()
    assert params["audio"] is scaler and params["text"] is pca and params["0"] == "passthrough"
    assert params["text__n_components"] == 2 and params["audio__with_mean"] is True
    assert set(transformer.get_params(deep=False)) == {"transformers", "modalities"}
    assert ModalityTransformer(scaler).get_params()["transformers__with_mean"] is True


def test_set_params__by_modality__leaves_the_dict_of_the_caller_alone():
    given = {"audio": StandardScaler(), 0: PCA(2)}
    transformer = ModalityTransformer(given)
    new = PCA(1)
    assert transformer.set_params(audio=new, **{"audio__n_components": 3, "0__n_components": 1}) is transformer
    assert transformer.transformers["audio"] is new and new.n_components == 3
    assert transformer.transformers[0].n_components == 1 and list(transformer.transformers) == ["audio", 0]
    assert isinstance(given["audio"], StandardScaler)
    transformer.set_params(**{"0": "passthrough"})
    assert transformer.transformers[0] == "passthrough"
    transformer.set_params(transformers={"text": PCA()}, text__n_components=2, modalities={"text": [0]})
    assert transformer.transformers["text"].n_components == 2 and transformer.modalities == {"text": [0]}


def test_set_params__single_transformer__is_an_ordinary_path():
    transformer = ModalityTransformer(StandardScaler()).set_params(transformers__with_mean=False)
    assert transformer.transformers.with_mean is False


@pytest.mark.parametrize("name", ["video", "video__n_components", "audio__nothing"])
def test_set_params__unknown__error(name):
    with pytest.raises(ValueError, match="Invalid parameter"):
        ModalityTransformer({"audio": PCA()}).set_params(**{name: 1})


def test_clone__copies_the_transformers():
    transformer = ModalityTransformer({"audio": PCA(2), "text": make_pipeline(PCA(2), StandardScaler())})
    other = clone(transformer.fit(make_dict()))
    assert other.transformers["audio"] is not transformer.transformers["audio"]
    other.set_params(text__pca__n_components=1)
    assert transformer.get_params()["text__pca__n_components"] == 2 and not hasattr(other, "transformers_")


def test_pickle__fitted__transforms_the_same():
    X = make_dict()
    transformer = ModalityTransformer({"audio": PCA(2)}).fit(X)
    assert pickle.loads(pickle.dumps(transformer)).transform(X) == transformer.transform(X)


@pytest.mark.parametrize(
    "transformers", [{"audio": PCA(2), 0: "passthrough"}, {}, "passthrough", RandomTreesEmbedding(), 3, None]
)
def test_repr__text_and_html(transformers):
    transformer = ModalityTransformer(transformers)
    assert repr(transformer).startswith("ModalityTransformer(")
    html = estimator_html_repr(make_pipeline(transformer, LinearRegression()))
    assert "ModalityTransformer" in html
    if isinstance(transformers, dict) and transformers:
        assert "audio" in html and "PCA" in html


def test_tags__follow_the_transformers():
    assert get_tags(ModalityTransformer()).transformer_tags.preserves_dtype == ["float64", "float32"]
    tags = get_tags(ModalityTransformer({"a": StandardScaler(), "b": make_pipeline(Recorder())}))
    assert tags.transformer_tags.preserves_dtype == ["float64"]
    assert tags.input_tags.allow_nan and tags.input_tags.dict and not tags.input_tags.sparse


# --- in scikit-learn -------------------------------------------------------------------------------------------------


def test_grid_search__reaches_transformers_by_modality():
    rng = np.random.default_rng(0)
    X = ModalityDict(audio=rng.normal(size=(40, 2)), text=rng.normal(size=(40, 6)) * [1, 1, 1, 1, 1, 9])
    X["audio"][::7] = nan
    y = X["text"][:, :5].sum(axis=1)
    model = make_pipeline(ModalityTransformer({"audio": StandardScaler(), "text": PCA(1)}), SumRegressor())
    grid = {
        "modalitytransformer__text__n_components": [1, 6],
        "modalitytransformer__audio": [StandardScaler(), "passthrough"],
    }
    search = GridSearchCV(model, grid, cv=3, error_score="raise").fit(X, y)
    assert search.best_params_["modalitytransformer__text__n_components"] == 6
    assert search.best_score_ > 0.99 and search.cv_results_["mean_test_score"].min() < 0.5


def test_cross_val_score__frame__gives_what_a_dict_gives():
    X = make_dict()
    y = np.arange(float(N))
    model = make_pipeline(ModalityTransformer({"text": PCA(2)}), SumRegressor())
    scores = [cross_val_score(model, form(X), y, cv=3, error_score="raise") for form in (ModalityDict, make_frame)]
    assert_allclose(*scores)


def test_refit__on_another_container__forgets_the_first():
    X, frame = make_flat_frame()
    transformer = ModalityTransformer(modalities=MODALITIES).fit(frame)
    transformer.set_params(modalities=None).fit(X)
    assert transformer.modalities_ == ["audio", "text"] and not hasattr(transformer, "feature_names_in_")
    assert transformer.get_feature_names_out()[0] == "audio__x0"


# --- zero padding ----------------------------------------------------------------------------------------------------


def make_padded():
    """Return sequences of lengths 3, 1, 4 and 0, the first with a gap, and their lengths."""
    sequences = np.random.default_rng(0).uniform(1, 2, size=(4, 4, 2))
    lengths = np.array([3, 1, 4, 0])
    sequences[np.arange(4) >= lengths[:, None]] = 0
    sequences[0, 1] = 0
    return sequences, lengths


@pytest.mark.parametrize(
    "options", [{}, {"where": "end"}, {"lengths": np.array([3, 1, 4, 0])}, {"lengths": [3, 1, 4, 0]}]
)
def test_zero_padding__at_the_end__becomes_nan_and_gaps_stay(options):
    sequences, lengths = make_padded()
    given = sequences.copy()
    found = zero_padding_to_nan(sequences, **options)
    is_padding = np.arange(4) >= lengths[:, None]
    assert np.isnan(found[is_padding]).all()
    assert_array_equal(found[~is_padding], sequences[~is_padding])
    assert_array_equal(sequences, given)
    assert not np.shares_memory(found, sequences)


def test_zero_padding__anywhere__becomes_nan():
    sequences, _ = make_padded()
    for each in (sequences, sequences[:, ::-1]):
        found = zero_padding_to_nan(each, where="anywhere")
        assert_array_equal(np.isnan(found), each == 0)
    assert_array_equal(np.isnan(zero_padding_to_nan(sequences[:1, ::-1]))[0, :, 0], [0, 0, 0, 0])


def test_zero_padding__lengths__decide_whatever_the_values():
    found = zero_padding_to_nan([[[5.0], [6.0], [7.0]], [[0.0], [0.0], [0.0]]], lengths=np.array([1, 2], dtype="u1"))
    assert_array_equal(found[..., 0], [[5, nan, nan], [0, 0, nan]])


def test_zero_padding__step_that_is_zero_in_part__is_observed():
    assert_array_equal(zero_padding_to_nan([[[0, 1], [0, 2], [-0.0, 0]]]), [[[0, 1], [0, 2], [nan, nan]]])


def test_zero_padding__nan__stays_and_does_not_end_the_padding():
    found = zero_padding_to_nan([[[1.0], [nan], [2.0], [0.0], [nan]]])
    assert_array_equal(found[0, :, 0], [1, nan, 2, nan, nan])


@pytest.mark.parametrize(("dtype", "expected"), [("f4", "f4"), ("f8", "f8"), ("f2", "f8"), ("i8", "f8"), ("u1", "f8")])
def test_zero_padding__dtype__is_floating(dtype, expected):
    sequences = np.array([[[1], [0]], [[2], [3]]], dtype=dtype)
    found = zero_padding_to_nan(sequences)
    assert found.dtype == expected
    assert_array_equal(found[..., 0], [[1, nan], [2, 3]])


@pytest.mark.parametrize("shape", [(0, 3, 2), (3, 0, 2)])
def test_zero_padding__no_sample_or_no_step__is_empty(shape):
    n_samples = shape[0]
    for options in ({}, {"where": "anywhere"}, {"lengths": [0] * n_samples}):
        assert zero_padding_to_nan(np.zeros(shape), **options).shape == shape


def test_zero_padding__read_only_and_torch__are_copied():
    torch = pytest.importorskip("torch")
    sequences, _ = make_padded()
    expected = zero_padding_to_nan(sequences)
    sequences.setflags(write=False)
    assert_array_equal(zero_padding_to_nan(sequences), expected)
    assert_array_equal(zero_padding_to_nan(torch.tensor(sequences)), expected)


def test_zero_padding__samples_of_nothing__are_missing_and_transformed_as_such():
    sequences, _ = make_padded()
    Xt = ModalityTransformer(StandardScaler()).fit_transform({"a": zero_padding_to_nan(sequences)})
    assert np.isnan(Xt["a"][3]).all()
    assert_allclose(np.nanmean(Xt["a"], axis=(0, 1)), 0, atol=1e-12)


@pytest.mark.parametrize(
    ("sequences", "options", "match"),
    [
        (np.zeros((2, 3)), {}, r"sequences have shape \(2, 3\); expected \(n_samples, n_steps, n_features\)"),
        ([np.zeros((2, 3)), np.zeros((1, 3))], {}, r"sequences have shape \(2,\).*needs no padding: pass it"),
        (np.full((1, 2, 1), np.inf), {}, "sequences contains infinity"),
        (np.full((1, 2, 1), "x"), {}, "sequences holds strings"),
        (np.zeros((2, 3, 1)), {"where": "start"}, "where must be 'end' or 'anywhere', got 'start'"),
        (np.zeros((2, 3, 1)), {"where": "anywhere", "lengths": [1, 2]}, "Pass only one of them"),
        (np.zeros((2, 3, 1)), {"lengths": [1, 2, 3]}, r"lengths has shape \(3,\); expected \(2,\)"),
        (np.zeros((2, 3, 1)), {"lengths": 2}, r"lengths has shape \(\); expected \(2,\)"),
        (np.zeros((2, 3, 1)), {"lengths": [1.0, 2.0]}, r"lengths must be integers, got float64.*astype\(int\)"),
        (np.zeros((2, 3, 1)), {"lengths": [True, False]}, "lengths must be integers, got bool"),
        (np.zeros((2, 3, 1)), {"lengths": [3, 4]}, r"between 0 and the 3 steps .*got 4 for sample 1 \(1 of 2"),
        (np.zeros((2, 3, 1)), {"lengths": [-1, 4]}, r"between 0 and the 3 steps .*got -1 for sample 0 \(2 of 2"),
    ],
)
def test_zero_padding__bad_input__error(sequences, options, match):
    with pytest.raises(ValueError, match=match):
        zero_padding_to_nan(sequences, **options)


def test_zero_padding__sparse__error():
    with pytest.raises(TypeError, match=r"sequences are sparse \(csr_matrix\); expected a dense array"):
        zero_padding_to_nan(sparse.csr_matrix(np.eye(3)))
