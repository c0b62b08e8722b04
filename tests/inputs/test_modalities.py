"""X in all its forms: ModalityDict indexes it, ModalitySchema reads it, and every error says what to do."""

import copy
import pickle
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import make_column_selector
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score, train_test_split
from sklearn.utils import _safe_indexing, indexable, resample, shuffle
from skorch.helper import SliceDict

from sklearn_mdm.inputs._columns import resolve_columns, sorted_names
from sklearn_mdm.inputs._containers import as_samples, common_length, is_text, split_container
from sklearn_mdm.inputs._modality_dict import ModalityDict
from sklearn_mdm.inputs._observed import Observed
from sklearn_mdm.inputs._padding import on_one_axis
from sklearn_mdm.inputs._schema import ModalitySchema

nan = np.nan
N = 6


def make_dict():
    rng = np.random.default_rng(0)
    return {"audio": rng.normal(size=(N, 3)), "text": rng.normal(size=(N, 2))}


def make_frame(X):
    blocks = {name: pd.DataFrame(value, columns=[f"f{i}" for i in range(value.shape[1])]) for name, value in X.items()}
    return pd.concat(blocks, axis=1)


class Estimator(RegressorMixin, BaseEstimator):
    """A minimal user of ModalitySchema: predicts the mean of the first modality."""

    def __init__(self, shift=0.0, *, modalities=None):
        self.shift = shift
        self.modalities = modalities

    def fit(self, X, y=None):
        self.schema_ = ModalitySchema()
        self.arrays_ = self.schema_.fit_read(self, X, self.modalities).arrays
        return self

    def read(self, X):
        return self.schema_.read(self, X).arrays

    def predict(self, X):
        return next(iter(self.read(X).values())).mean(axis=1) + self.shift


def read(X, modalities=None):
    return Estimator(modalities=modalities).fit(X).arrays_


def assert_same_arrays(a, b):
    assert list(a) == list(b)
    for name in a:
        assert a[name].dtype == b[name].dtype
        assert_array_equal(a[name], b[name])


# --- ModalityDict: construction --------------------------------------------------------------------------------------


def test_modality_dict__nested_lists__become_an_array():
    X = ModalityDict(a=[[1.0, 2.0], [3.0, 4.0]])
    assert isinstance(X["a"], np.ndarray) and X["a"].shape == (2, 2)


def test_modality_dict__is_a_slice_dict_with_length_and_shape_of_samples():
    X = ModalityDict(make_dict())
    assert isinstance(X, SliceDict)
    assert len(X) == N and X.shape == (N,)
    assert list(X) == ["audio", "text"]


@pytest.mark.parametrize(
    "texts",
    [["a", "b", "c"], ["a", None, "c"], ["a", nan, "c"], np.array(["a", "b", "c"]), pd.Series(["a", None, "c"])],
)
def test_modality_dict__texts__stay_texts_and_missing_ones_missing(texts):
    X = ModalityDict(text=texts)
    assert len(X) == 3 and is_text(X["text"])
    assert_array_equal(pd.isna(X["text"]), pd.isna(pd.Series(list(texts))))
    assert list(X[[2]]["text"]) == ["c"]


def test_modality_dict__token_lists__stay_lists():
    X = ModalityDict(text=[["a", "b"], ["c", "d"]])
    assert X["text"].shape == (2,) and X["text"][1] == ["c", "d"] and is_text(X["text"])


@pytest.mark.parametrize("missing", [None, nan])
def test_modality_dict__ragged_sequences__are_one_entry_a_sample(missing):
    X = ModalityDict(video=[np.zeros((2, 3)), np.zeros((4, 3)), missing])
    assert X["video"].shape == (3,) and X["video"].dtype == object
    assert X[[1]]["video"][0].shape == (4, 3)


def test_modality_dict__ragged_lists_of_lists__are_one_entry_a_sample():
    assert ModalityDict(video=[[[1.0], [2.0]], [[3.0]]])["video"].shape == (2,)


def test_modality_dict__none__is_a_modality_that_nobody_has():
    X = ModalityDict(a=np.zeros((3, 1)), b=None)
    assert X["b"] is None and X[1:]["b"] is None and len(X[1:]) == 2


def test_modality_dict__frames_and_series__keep_their_type_and_rows():
    X = ModalityDict(a=pd.DataFrame({"x": [1.0, 2, 3]}, index=[7, 8, 9]), b=pd.Series(["u", "v", "w"], index=[7, 8, 9]))
    part = X[[2, 0]]
    assert part["a"].index.tolist() == [9, 7] and part["a"]["x"].tolist() == [3, 1]
    assert part["b"].tolist() == ["w", "u"]


def test_modality_dict__multiindex_frame__is_split_by_modality():
    X = make_dict()
    found = ModalityDict(make_frame(X))
    assert list(found) == ["audio", "text"] and list(found["text"].columns) == ["f0", "f1"]
    assert_array_equal(found["audio"], X["audio"])


@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.coo_matrix, sparse.dok_matrix, sparse.csr_array])
def test_modality_dict__sparse__can_be_indexed(make):
    X = ModalityDict(a=make(np.eye(3)))
    assert_array_equal(X[[2, 0]]["a"].toarray(), np.eye(3)[[2, 0]])
    assert X == ModalityDict(a=make(np.eye(3)))
    assert X != ModalityDict(a=make(2 * np.eye(3)))
    assert X != ModalityDict(a=np.eye(3))


def test_modality_dict__torch_tensor__becomes_an_array():
    torch = pytest.importorskip("torch")
    assert isinstance(ModalityDict(a=torch.zeros(3, 2))["a"], np.ndarray)


def test_modality_dict__keywords_and_mapping__are_merged():
    assert list(ModalityDict({"a": [[1.0]], 0: [[2.0]]}, b=[[3.0]])) == ["a", 0, "b"]


def test_modality_dict__name_data__is_a_modality():
    assert list(ModalityDict(data=[[1.0]], self=[[1.0]])) == ["data", "self"]


def test_modality_dict__lengths_differ__error_names_them():
    with pytest.raises(ValueError, match=r"same number of samples.*'a' has 3, 'b' has 2"):
        ModalityDict(a=np.zeros((3, 1)), b=np.zeros((2, 1)))


def test_modality_dict__tables_that_lack_other_samples__error_says_reindex():
    tables = {"a": pd.DataFrame({"x": [1.0, 2.0]}, index=["s1", "s2"]), "b": pd.DataFrame({"x": [1.0]}, index=["s2"])}
    with pytest.raises(ValueError, match=r"'a' has 2, 'b' has 1\. Bring all tables .* table\.reindex\(ids\)"):
        ModalityDict(tables)


def test_modality_dict__one_sample_without_its_axis__error_says_slice():
    with pytest.raises(ValueError, match=r"'a' has 3, 'b' has 2\. A sample on its own is .*array\[i : i \+ 1\]"):
        ModalityDict(a=np.zeros(3), b=np.zeros(2))


def test_modality_dict__all_none__error():
    with pytest.raises(ValueError, match=r"every modality \('a', 'b'\) is None: at least one must have values"):
        ModalityDict(a=None, b=None)


def test_modality_dict__number_as_value__error():
    with pytest.raises(ValueError, match="one entry per sample"):
        ModalityDict(a=np.float64(3.0))


# --- ModalityDict: indexing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        np.array([True, False, True, False, False, False]),
        [True, False, True, False, False, False],
        pd.Series([True, False, True, False, False, False]),
        [0, 2],
        (np.array([0, 2]), ...),
        np.array([0, 2]),
        np.array([0, 2], dtype=np.uint8),
        range(0, 3, 2),
        slice(0, 3, 2),
        [-6, -4],
    ],
    ids=str,
)
def test_modality_dict__samples__are_selected_in_every_modality(key):
    X = {**make_dict(), "words": ["a", "b", "c", "d", None, "f"]}
    found = ModalityDict(X)[key]
    assert isinstance(found, ModalityDict) and len(found) == 2
    assert_array_equal(found["audio"], X["audio"][[0, 2]])
    assert found["words"].tolist() == ["a", "c"]


@pytest.mark.parametrize("key", [2, np.int64(2), -4, np.int8(-4)])
def test_modality_dict__integer__is_a_sample(key):
    X = make_dict()
    found = ModalityDict(X)[key]
    assert len(found) == 1
    assert_array_equal(found["audio"], X["audio"][2:3])


@pytest.mark.parametrize("key", [6, -7, np.int64(6)])
def test_modality_dict__integer_out_of_range__error(key):
    with pytest.raises(IndexError, match=f"sample {int(key)} is out of range for a ModalityDict of 6 samples"):
        ModalityDict(make_dict())[key]


def test_modality_dict__mask_of_wrong_length__error():
    with pytest.raises(IndexError):
        ModalityDict(make_dict())[[True, False]]


@pytest.mark.parametrize(
    "key",
    [["audio"], ("audio",), np.array(["audio"]), pd.Index(["audio"]), pd.Series(["audio"], dtype="string")],
    ids=lambda key: type(key).__name__,
)
def test_modality_dict__list_of_names__error_says_how_to_select_modalities(key):
    with pytest.raises(TypeError, match=r"the names \['audio'\]. Select modalities with {name: X\[name\] for name in"):
        ModalityDict(make_dict())[key]
    with pytest.raises(TypeError, match=r"for name in \['audio', 'text'\]}"):
        ModalityDict(make_dict())["audio", "text"]


def test_modality_dict__unknown_name__key_error():
    with pytest.raises(KeyError, match="video"):
        ModalityDict(make_dict())["video"]


@pytest.mark.parametrize("key", [[], np.array([]), slice(0, 0), np.zeros(N, dtype=bool)], ids=str)
def test_modality_dict__no_sample__keeps_modalities(key):
    X = ModalityDict({**make_dict(), "words": list("abcdef")})[key]
    assert len(X) == 0 and X["audio"].shape == (0, 3) and X["words"].shape == (0,)
    assert list(X.copy()) == ["audio", "text", "words"]


def test_modality_dict__integer_names__win_over_samples():
    X = ModalityDict({0: np.zeros((3, 2)), 1: np.ones((3, 1))})
    assert X[1].shape == (3, 1) and X[np.int64(1)].shape == (3, 1)
    assert len(X[2]) == 1
    assert list(X[[1]]) == [0, 1] and len(X[[1]]) == 1


def test_modality_dict__iteration__is_over_samples_nowhere():
    X = ModalityDict(make_dict())
    assert [value.shape for value in X.values()] == [(N, 3), (N, 2)]


# --- ModalityDict: the rest of a mapping -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "again", [lambda X: pickle.loads(pickle.dumps(X)), copy.copy, copy.deepcopy, ModalityDict.copy]
)
def test_modality_dict__copies__are_equal_and_have_a_length(again):
    X = ModalityDict({**make_dict(), "words": ["a", None, "c", "d", "e", "f"], "none": None, 3: [np.zeros((2, 1))] * N})
    other = again(X)
    assert type(other) is ModalityDict and other == X and len(other) == N
    other["audio"] = np.zeros((N, 1))
    assert other != X


def test_modality_dict__deepcopy__shares_no_array():
    X = ModalityDict(make_dict())
    other = copy.deepcopy(X)
    other["audio"][0, 0] = 100.0
    assert X["audio"][0, 0] != 100.0


def test_modality_dict__equality():
    X = ModalityDict(make_dict())
    assert X == make_dict()
    assert X != ModalityDict(audio=make_dict()["audio"])
    assert X != ModalityDict({**make_dict(), "audio": None})
    assert X != [1, 2]
    with_nan = np.array([[nan, 1.0]])
    assert ModalityDict(a=with_nan) == ModalityDict(a=with_nan.copy())
    assert ModalityDict(a=with_nan) != ModalityDict(a=with_nan[:, :1])
    assert ModalityDict(a=pd.DataFrame({"x": [1.0]})) == ModalityDict(a=pd.DataFrame({"x": [1.0]}))
    ragged = [np.zeros((1, 2)), np.ones((2, 2))]
    assert ModalityDict(a=ragged) == ModalityDict(a=[r.copy() for r in ragged])
    assert ModalityDict(a=ragged) != ModalityDict(a=ragged[::-1])


def test_modality_dict__setitem__checks_the_length_and_leaves_the_rest():
    X = ModalityDict(make_dict())
    X["words"] = list("abcdef")
    X[7] = np.zeros((N, 1))
    assert is_text(X["words"]) and X[7].shape == (N, 1)
    with pytest.raises(ValueError, match="'bad' has 2"):
        X["bad"] = np.zeros((2, 1))
    assert "bad" not in X and len(X) == N


def test_modality_dict__update__takes_mappings_and_keywords():
    X = ModalityDict(make_dict())
    X.update({"audio": [[1.0]] * N}, words=list("abcdef"))
    assert X["audio"].shape == (N, 1) and list(X) == ["audio", "text", "words"]
    with pytest.raises(ValueError, match="same number of samples"):
        X.update(good=[[1.0]] * N, bad=[[1.0]])
    assert "good" not in X and "bad" not in X and len(X) == N
    X.update({name: value[:2] for name, value in X.items()})
    assert len(X) == 2
    X.update(make_frame({"audio": X["audio"]}))
    assert list(X["audio"].columns) == ["f0"]


def test_modality_dict__only_modality__can_be_replaced_by_another_length():
    X = ModalityDict(a=np.zeros((3, 1)))
    X["a"] = np.zeros((5, 1))
    assert len(X) == 5


def test_modality_dict__empty__has_no_samples():
    X = ModalityDict()
    assert len(X) == 0
    X["a"] = [[1.0], [2.0]]
    assert len(X) == 2


def test_modality_dict__setdefault__checks_the_length():
    X = ModalityDict(make_dict())
    assert X.setdefault("audio", np.zeros((2, 1))) is X["audio"] and X["audio"].shape == (N, 3)
    assert X.setdefault("words", list("abcdef")) is X["words"] and is_text(X["words"])
    assert X.setdefault("video") is None and X["video"] is None
    assert X.setdefault(0, np.zeros((N, 1))) is X[0]
    with pytest.raises(ValueError, match="'bad' has 2"):
        X.setdefault("bad", np.zeros((2, 1)))
    assert "bad" not in X and len(X) == N


@pytest.mark.parametrize("other", [dict, ModalityDict, make_frame], ids=["dict", "ModalityDict", "frame"])
def test_modality_dict__union__is_a_modality_dict_of_checked_length(other):
    X = make_dict()
    left, right = ModalityDict(audio=X["audio"]), {"audio": np.ones((N, 1)), "text": X["text"]}
    if other is make_frame:
        joined = left.copy()
        joined |= make_frame(right)
    else:
        joined = left | other(right)
    assert type(joined) is ModalityDict and len(joined) == N and list(joined) == ["audio", "text"]
    assert_array_equal(joined["audio"], np.ones((N, 1)))
    assert list(left) == ["audio"] and left["audio"].shape == (N, 3)


def test_modality_dict__union_from_the_left__keeps_its_own_values():
    X = make_dict()
    joined = {"words": list("abcdef"), "audio": np.zeros((N, 1))} | ModalityDict(X)
    assert type(joined) is ModalityDict and list(joined) == ["words", "audio", "text"]
    assert joined["audio"].shape == (N, 3) and is_text(joined["words"])


def test_modality_dict__union_in_place__is_the_same_dict():
    X = same = ModalityDict(make_dict())
    X |= {"words": list("abcdef")}
    assert X is same and is_text(same["words"])


def test_modality_dict__union_of_other_lengths_or_types__error():
    X = ModalityDict(make_dict())
    bad = {"bad": np.zeros((2, 1))}
    with pytest.raises(ValueError, match="'bad' has 2"):
        X | bad
    with pytest.raises(ValueError, match="'bad' has 2"):
        bad | X
    with pytest.raises(ValueError, match="'bad' has 2"):
        X |= bad
    assert "bad" not in X and len(X) == N
    with pytest.raises(TypeError, match="unsupported operand"):
        X | [1]
    with pytest.raises(TypeError, match="unsupported operand"):
        [1] | X


def test_modality_dict__repr__is_short():
    X = ModalityDict(
        {
            "audio": np.zeros((4, 2)),
            "video": np.zeros((4, 5, 2)),
            "text": ["fine", None, "bad", "good"],
            "steps": [np.zeros((i + 1, 2)) for i in range(4)],
            "frame": pd.DataFrame({"x": range(4)}),
            "series": pd.Series([1.0, 2, 3, 4]),
            "sparse": sparse.eye(4),
            "a.b": None,
            0: np.zeros((4, 1)),
            "0": np.zeros((4, 1)),
        }
    )
    assert repr(X) == (
        "ModalityDict(audio: array (4, 2), video: array (4, 5, 2), text: 4 texts, steps: 4 entries, "
        "frame: DataFrame (4, 1), series: Series (4,), sparse: sparse (4, 4), 'a.b': None, 0: array (4, 1), "
        "'0': array (4, 1))"
    )
    assert repr(X[:0]).startswith("ModalityDict(audio: array (0, 2), ")
    assert repr(ModalityDict()) == "ModalityDict()"


def test_modality_dict__html__says_kind_type_and_missing_rows_without_values(tmp_path):
    np.save(tmp_path / "disk.npy", np.full((4, 2), 0.123))
    rows = {
        "audio": (np.array([[0.123, nan], [nan, nan], [nan, nan], [1, 2]]), "array (4, 2)", "float64", "2"),
        "video": (np.full((4, 5, 2), nan, dtype=np.float32), "array (4, 5, 2)", "float32", "4"),
        "count": (np.zeros((4, 1), dtype=int), "array (4, 1)", "int64", "0"),
        "text": (["fine", None, "bad", pd.NA], "4 texts", "object", "2"),
        "steps": ([np.zeros((1, 2)), None, np.full((3, 2), nan), np.zeros((2, 2))], "4 entries", "object", "2"),
        "frame": (
            pd.DataFrame({"x": [nan, 0, 1, 2], "z": [None, "a", "b", "a"]}, dtype=object).astype({"x": float}),
            "DataFrame (4, 2)",
            "float64, object",
            "1",
        ),
        "series": (pd.Series([1.0, nan, 3, 4]), "Series (4,)", "float64", "1"),
        "sparse": (sparse.eye(4), "sparse (4, 4)", "float64", ""),
        "disk": (np.load(tmp_path / "disk.npy", mmap_mode="r"), "array (4, 2)", "float64", ""),
        "<b>": (None, "None", "", "all"),
    }
    X = ModalityDict({name: value for name, (value, *_) in rows.items()})
    page = X._repr_html_()
    found = re.findall("<tr><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td></tr>", page)
    shown = {"<b>": "&#x27;&lt;b&gt;&#x27;"}
    assert found == [(shown.get(name, name), *cells) for name, (_, *cells) in rows.items()]
    assert "4 samples" in page and "0.123" not in page
    assert "0 samples" in X[:0]._repr_html_() and "0 samples" in ModalityDict()._repr_html_()


def test_modality_dict__hash__error():
    with pytest.raises(TypeError, match="unhashable"):
        hash(ModalityDict())


# --- ModalityDict: in scikit-learn -----------------------------------------------------------------------------------


def make_indexed():
    """Every modality holds the number of its sample."""
    numbers = np.arange(20.0)
    return ModalityDict(
        {
            "array": numbers[:, None],
            "frame": pd.DataFrame({"x": numbers}),
            "ragged": [np.full((1 + i % 3, 1), i) for i in range(20)],
            "words": [f"{i:.0f}" for i in numbers],
            0: numbers[:, None, None],
        }
    ), numbers


def assert_aligned(X, y):
    assert len(X) == len(y)
    assert_array_equal(X["array"][:, 0], y)
    assert_array_equal(X["frame"]["x"], y)
    assert_array_equal([sample[0, 0] for sample in X["ragged"]], y)
    assert_array_equal([float(word) for word in X["words"]], y)
    assert_array_equal(X[0][:, 0, 0], y)


def test_modality_dict__train_test_split():
    X, y = make_indexed()
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.25, random_state=0)
    assert len(X_train) == 15
    assert_aligned(X_train, y_train)
    assert_aligned(X_test, y_test)


def test_modality_dict__k_fold_and_safe_indexing():
    X, y = make_indexed()
    seen = []
    for _, test in KFold(4, shuffle=True, random_state=0).split(X, y):
        assert_aligned(_safe_indexing(X, test), y[test])
        seen.extend(test)
    assert sorted(seen) == list(range(20))


@pytest.mark.parametrize("key", [[3, 1], np.array([3, 1]), slice(2, 5), np.arange(20) < 3])
def test_modality_dict__safe_indexing(key):
    X, y = make_indexed()
    assert_aligned(_safe_indexing(X, key), y[key])


def test_modality_dict__indexable_shuffle_and_resample():
    X, y = make_indexed()
    assert indexable(X, y)[0] is X
    assert_aligned(*shuffle(X, y, random_state=0))
    assert_aligned(*resample(X, y, n_samples=30, random_state=0))
    assert_aligned(*resample(X, y, n_samples=10, stratify=y > 9, random_state=0))


def test_modality_dict__cross_val_score_and_grid_search():
    rng = np.random.default_rng(0)
    X = ModalityDict({"a": rng.normal(size=(30, 1)), 0: rng.normal(size=(30, 2))})
    y = X[0].mean(axis=1)  # integer names sort first
    assert_array_equal(cross_val_score(Estimator(), X, y, cv=3, error_score="raise"), np.ones(3))
    search = GridSearchCV(Estimator(), {"shift": [1.0, 0.0]}, cv=3, error_score="raise").fit(X, y)
    assert search.best_params_ == {"shift": 0.0}


def test_plain_dict__has_the_wrong_length_for_scikit_learn():
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        cross_val_score(Estimator(), make_dict(), np.zeros(N))


# --- ModalitySchema: forms of X --------------------------------------------------------------------------------------

X_FORMS = {
    "dict": lambda X: dict(X),
    "reversed dict": lambda X: dict(reversed(X.items())),
    "lists": lambda X: {name: value.tolist() for name, value in X.items()},
    "frames": lambda X: {name: pd.DataFrame(value) for name, value in X.items()},
    "list of rows": lambda X: {name: list(value) for name, value in X.items()},
    "object array": lambda X: {name: value.astype(object) for name, value in X.items()},
    "SliceDict": lambda X: SliceDict(**X),
    "ModalityDict": ModalityDict,
    "frame": make_frame,
    "reversed frame": lambda X: make_frame(dict(reversed(X.items()))),
    "Fortran order": lambda X: {name: np.asfortranarray(value) for name, value in X.items()},
}


@pytest.mark.parametrize("form", X_FORMS)
@pytest.mark.parametrize("missing", [False, True])
def test_schema__every_container__gives_the_same_arrays(form, missing):
    X = make_dict()
    if missing:
        X["audio"][2] = nan
    estimator = Estimator().fit(X_FORMS[form](X))
    assert_same_arrays(estimator.arrays_, X)
    assert_same_arrays(estimator.read(X_FORMS[form](X)), X)
    assert_same_arrays(estimator.read(X), X)
    assert estimator.n_features_in_ == 5
    assert estimator.n_features_per_modality_ == {"audio": 3, "text": 2}
    assert hasattr(estimator, "feature_names_in_") == (form in ("frame", "reversed frame"))


def test_schema__named_features__are_listed_with_their_modality():
    estimator = Estimator().fit(make_frame(make_dict())[["text", "audio"]])
    assert estimator.feature_names_in_.tolist()[:3] == [f"audio__{each}" for each in make_frame(make_dict())["audio"]]


FLAT_COLUMNS = ["t0", "a0", "a1", "t1", "a2"]
SELECTORS = {
    "integers": {"audio": [1, 2, 4], "text": [0, 3]},
    "masks": {"audio": [False, True, True, False, True], "text": np.array([True, False, False, True, False])},
    "negative": {"audio": [1, 2, -1], "text": [0, -2]},
    "arrays": {"text": np.array([0, 3]), "audio": np.array([1, 2, 4])},
}
NAMED_SELECTORS = {
    "names": {"audio": ["a0", "a1", "a2"], "text": ["t0", "t1"]},
    "callables": {"audio": make_column_selector("^a"), "text": lambda X: ["t0", "t1"]},
    "mixed": {"audio": make_column_selector("^a"), "text": [0, 3]},
}


def make_flat():
    X = make_dict()
    (a0, a1, a2), (t0, t1) = X["audio"].T, X["text"].T
    return X, np.column_stack([t0, a0, a1, t1, a2])


@pytest.mark.parametrize("selectors", SELECTORS)
def test_schema__selectors__split_a_flat_array(selectors):
    X, flat = make_flat()
    for each in (flat, flat.tolist(), pd.DataFrame(flat), pd.DataFrame(flat, columns=FLAT_COLUMNS)):
        assert_same_arrays(read(each, SELECTORS[selectors]), X)


@pytest.mark.parametrize("selectors", NAMED_SELECTORS)
def test_schema__named_selectors__split_a_flat_frame(selectors):
    X, flat = make_flat()
    frame = pd.DataFrame(flat, columns=FLAT_COLUMNS)
    estimator = Estimator(modalities=NAMED_SELECTORS[selectors]).fit(frame)
    assert_same_arrays(estimator.arrays_, X)
    assert_same_arrays(estimator.read(frame), X)
    assert estimator.feature_names_in_.tolist() == FLAT_COLUMNS
    assert estimator.n_features_in_ == 5


def test_schema__slices_and_single_columns__select():
    _, flat = make_flat()
    frame = pd.DataFrame(flat, columns=FLAT_COLUMNS)
    arrays = read(flat, {"a": slice(0, 2), "b": 4})
    assert_array_equal(arrays["a"], flat[:, :2])
    assert_array_equal(arrays["b"], flat[:, 4:])
    arrays = read(frame, {"a": slice("t0", "a1"), "b": "a2"})
    assert_array_equal(arrays["a"], flat[:, :3])
    assert_array_equal(arrays["b"], flat[:, 4:])


def test_schema__flat_without_modalities__is_one():
    _, flat = make_flat()
    estimator = Estimator().fit(flat)
    assert list(estimator.arrays_) == ["X"] and estimator.n_features_per_modality_ == {"X": 5}
    assert_array_equal(estimator.arrays_["X"], flat)


def test_schema__fitted_flat__reads_named_modalities():
    X, flat = make_flat()
    assert_same_arrays(Estimator(modalities=SELECTORS["integers"]).fit(flat).read(X), X)


@pytest.mark.parametrize("name", ["keys", "a.b", "", "items", 0, -1, np.int64(2), np.str_("s")])
def test_schema__odd_names__are_names(name):
    X = {name: np.zeros((3, 1)), "other": np.ones((3, 2))}
    for each in (X, ModalityDict(X)):
        arrays = read(each)
        assert set(arrays) == {name, "other"}
        assert_array_equal(arrays[name], X[name])


def test_schema__integer_names__sort_before_strings():
    assert sorted_names(["b", 10, 2, "a"]) == [2, 10, "a", "b"]


@pytest.mark.parametrize("name", [True, None, 1.5, ("a", "b")])
def test_schema__other_names__error(name):
    with pytest.raises(TypeError, match="modality names must be strings or integers, got"):
        read({name: np.zeros((3, 1))})


# --- ModalitySchema: sequences ---------------------------------------------------------------------------------------


def test_schema__ragged_lists__are_padded_with_nan():
    arrays = read({"a": [np.ones((2, 1)), None, [[3.0]], nan, pd.DataFrame({"x": [1.0]})], "b": np.zeros((5, 1))})
    expected = [[[1], [1]], [[nan], [nan]], [[3], [nan]], [[nan], [nan]], [[1], [nan]]]
    assert_array_equal(arrays["a"], np.array(expected))
    assert_array_equal(Observed.of(arrays).masks["a"].any(1), [True, False, True, False, True])


def test_schema__series_of_arrays_with_an_index__is_read_by_position():
    series = pd.Series([np.ones((2, 1)), None, np.ones((1, 1))], index=[5, 3, 9])
    assert read({"a": series, "b": np.zeros((3, 1))})["a"].shape == (3, 2, 1)


def test_schema__list_of_rows_and_none__is_not_a_sequence():
    assert_array_equal(read({"a": [[1, 2], None], "b": [[0], [0]]})["a"], [[1, 2], [nan, nan]])


def test_schema__number_of_steps__may_change_after_fit():
    estimator = Estimator().fit({"a": np.zeros((3, 4, 2))})
    assert estimator.read({"a": np.zeros((2, 7, 2))})["a"].shape == (2, 7, 2)
    assert estimator.read({"a": [np.zeros((1, 2)), np.zeros((2, 2))]})["a"].shape == (2, 2, 2)


def test_schema__nan_steps__are_gaps():
    a = np.zeros((2, 3, 2))
    a[0, 1] = nan
    assert_array_equal(read({"a": a})["a"], a)


# --- ModalitySchema: dtype -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        (("f4", "f4"), "f4"),
        (("f8", "f8"), "f8"),
        (("f4", "f8"), "f8"),
        (("f2", "f4"), "f8"),
        (("i8", "f4"), "f8"),
        (("?", "?"), "f8"),
    ],
)
def test_schema__dtype__is_common_to_the_modalities(dtypes, expected):
    X = {name: value.astype(dtype) for (name, value), dtype in zip(make_dict().items(), dtypes, strict=True)}
    assert {array.dtype for array in read(X).values()} == {np.dtype(expected)}


@pytest.mark.parametrize("absent", [None, [None, None], [nan, None], [nan, nan]])
@pytest.mark.parametrize("shape", [(2, 3), (2, 4, 3)])
def test_schema__unobserved_modality__keeps_float32(absent, shape):
    X = {"a": np.zeros(shape, dtype="f4"), "b": np.zeros((2, 1), dtype="f4")}
    if absent == [nan, nan]:
        absent = np.full(shape, nan, dtype="f4")
    arrays = Estimator().fit(X).read({**X, "a": absent})
    assert arrays["a"].dtype == np.float32 and np.isnan(arrays["a"]).all() and arrays["a"].shape[-1] == 3


def test_schema__nullable_frame__is_numbers_and_nan():
    frame = pd.DataFrame({"x": pd.array([1.5, None], dtype="Float64"), "y": pd.array([2, None], dtype="Int64")})
    assert_array_equal(read({"a": frame, "b": [[0], [0]]})["a"], [[1.5, 2], [nan, nan]])


# --- ModalitySchema: what is not observed ----------------------------------------------------------------------------


def test_schema__absent_or_none_at_read__is_nan():
    X = make_dict()
    estimator = Estimator().fit(X)
    for each in ({"audio": X["audio"]}, {"audio": X["audio"], "text": None}, ModalityDict(audio=X["audio"], text=None)):
        arrays = estimator.read(each)
        assert_array_equal(arrays["audio"], X["audio"])
        assert arrays["text"].shape == (N, 2) and np.isnan(arrays["text"]).all()
    arrays = estimator.read(make_frame(X)[["text"]])
    assert np.isnan(arrays["audio"]).all() and arrays["audio"].shape == (N, 3)


@pytest.mark.parametrize("nothing", [np.full((N, 2), nan), [None] * N, None, np.full((N, 3, 2), nan)], ids=str)
def test_schema__nothing_observed_at_fit__error(nothing):
    with pytest.raises(ValueError, match=r"modality 'text'.* nothing of it is observed.*Leave it out"):
        read({**make_dict(), "text": nothing})


def test_schema__nan_beside_numbers__is_a_cell_of_an_observed_row():
    X = make_dict()
    X["audio"][[2, 4], 1] = X["audio"][3] = nan
    observed = ModalitySchema().fit_read(Estimator(), X, None)
    assert_array_equal(observed.masks["audio"], [True, True, True, False, True, True])
    assert list(observed.cells) == ["audio"]
    assert_array_equal(np.argwhere(observed.cells["audio"]), [[2, 1], [4, 1]])
    assert list(observed.take(slice(0, 2)).cells) == [] and observed.take([4]).cells["audio"].sum() == 1
    assert_array_equal(observed.complete, observed.masks["audio"])


def test_schema__nan_beside_numbers_in_a_step__is_a_cell_of_it():
    a, b = np.zeros((2, 3, 2)), np.zeros((2, 5, 1))
    a[1, 1, 0] = a[0, 2] = nan
    b[:, 3:] = nan
    observed = ModalitySchema().fit_read(Estimator(), {"a": a, "b": b}, None)
    assert observed.masks["a"].shape == (2, 3) and not observed.masks["a"][0, 2]
    assert_array_equal(np.argwhere(observed.cells["a"]), [[1, 1, 0]])
    # Sequences that end together are brought to one number of steps, with what is known of their cells.
    b[:, 3:] = 0.0
    a = np.pad(a, ((0, 0), (0, 2), (0, 0)))
    longer = Observed({"a": a[:, :3], "b": b}, {"a": np.zeros((2, 3), dtype=bool), "b": None})
    cells = np.zeros((2, 3, 2), dtype=bool)
    cells[0, 0, 0] = True
    padded = on_one_axis(replace(longer, cells={"a": cells}))
    assert padded.arrays["a"].shape == padded.cells["a"].shape == (2, 5, 2) and padded.cells["a"].sum() == 1


def test_schema__sample_with_nothing_observed__error():
    X = make_dict()
    X["audio"][3] = X["text"][3] = nan
    with pytest.raises(ValueError, match=r"1 of 6 samples have no observed modality .*first: sample 3\). Remove them"):
        read(X)


# --- ModalitySchema: errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.dok_matrix, sparse.coo_array])
def test_schema__sparse__error_names_the_modality_and_truncated_svd(make):
    with pytest.raises(TypeError, match=r"modality 'text' is sparse .*Estimator needs dense data.*TruncatedSVD"):
        read({"text": make(np.eye(3))})
    with pytest.raises(TypeError, match=r"Sparse data was passed .*Estimator needs dense data.*TruncatedSVD"):
        read(make(np.eye(3)))
    assert split_container(make(np.eye(3))) is None


@pytest.mark.parametrize(
    ("value", "error", "match"),
    [
        (np.array([[1.0], [np.inf]]), ValueError, "modality 'a' contains infinity"),
        (np.array([[1.0], [-np.inf]], dtype="f4"), ValueError, "modality 'a' contains infinity"),
        (np.array([[1.0], [1j]]), ValueError, "modality 'a': Complex data not supported"),
        (np.array([["x"], ["y"]], dtype=object), ValueError, "modality 'a', column 0 holds strings"),
        (np.array([[{}], [1]], dtype=object), TypeError, "modality 'a', column 0: "),
        (np.zeros(2), ValueError, r"modality 'a' has shape \(2,\); expected .*reshape\(-1, 1\)"),
        (pd.Series([1.0, 2.0]), ValueError, r"modality 'a' has shape \(2,\); expected"),
        (np.zeros((2, 1, 1, 1)), ValueError, r"modality 'a' has shape \(2, 1, 1, 1\); expected"),
        (np.zeros((2, 0)), ValueError, "modality 'a' has 0 features"),
        (["x", "y"], ValueError, "modality 'a' holds text, but Estimator needs numbers.*TfidfVectorizer"),
        (np.array(["x", "y"]), ValueError, "modality 'a' holds text"),
        (pd.Series(["x", None]), ValueError, "modality 'a' holds text"),
        ([["x"], ["y", "z"]], ValueError, "modality 'a' holds text"),
        ([np.zeros((2, 3)), np.zeros((1, 2))], ValueError, r"modality 'a': its samples differ .*features \(\[2, 3\]\)"),
        ([np.zeros((2, 3)), np.zeros(3)], ValueError, r"modality 'a': .*dimensions \(\[1, 2\]\)"),
        ([np.zeros((2, 1)), np.zeros((1, 1, 1))], ValueError, r"modality 'a', sample 1 has shape \(1, 1, 1\); each"),
        ([np.zeros((2, 1)), np.array([[np.inf]])], ValueError, "modality 'a', sample 1 contains infinity"),
        ([np.zeros((2, 1)), 3.0], ValueError, r"modality 'a', sample 1 has shape \(\); each sample"),
    ],
)
def test_schema__bad_values__error_names_the_modality(value, error, match):
    for each in ({"a": value, "b": np.zeros((2, 1))}, ModalityDict(a=value, b=np.zeros((2, 1)))):
        with pytest.raises(error, match=match):
            read(each)


@pytest.mark.parametrize("X", [{}, ModalityDict()])
def test_schema__no_modality__error(X):
    with pytest.raises(ValueError, match="X is an empty dict: it must hold at least one modality"):
        read(X)
    with pytest.raises(ValueError, match="X is an empty dict"):
        Estimator().fit(make_dict()).read(X)


def test_schema__lengths_differ__error_names_them():
    X = {"a": np.zeros((3, 1)), "b": np.zeros((2, 1))}
    with pytest.raises(ValueError, match="'a' has 3, 'b' has 2"):
        read(X)
    with pytest.raises(ValueError, match="'a' has 3, 'b' has 2"):
        Estimator().fit({"a": np.zeros((3, 1)), "b": np.zeros((3, 1))}).read(X)
    with pytest.raises(ValueError, match="is None: at least one must have values"):
        common_length({"a": None})


def test_schema__no_sample__error():
    empty = {"a": np.zeros((0, 2))}
    with pytest.raises(ValueError, match=r"Found 0 sample\(s\).*minimum of 1 is required by Estimator"):
        read(empty)
    with pytest.raises(ValueError, match=r"Found 0 sample\(s\)"):
        Estimator().fit({"a": np.zeros((1, 2))}).read(empty)
    with pytest.raises(ValueError, match=r"Found array with 0 sample\(s\)"):
        read(np.zeros((0, 2)))


def test_schema__too_few_samples__error():
    for X in ({"a": np.zeros((1, 2))}, np.zeros((1, 2))):
        with pytest.raises(ValueError, match=r"minimum of 2 is required"):
            ModalitySchema().fit_read(Estimator(), X, None, min_samples=2)


def test_schema__unknown_modality_at_read__error():
    X = make_dict()
    with pytest.raises(
        ValueError, match=r"unknown modalities \['video'\]; Estimator was fitted with .*Remove or rename"
    ):
        Estimator().fit(X).read({**X, "video": X["audio"]})


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (np.zeros((N, 4)), "modality 'audio' has 4 features, but Estimator was fitted with 3"),
        (np.zeros((N, 2, 3)), r"modality 'audio' has shape \(6, 2, 3\), but Estimator was fitted on vectors"),
    ],
)
def test_schema__another_shape_at_read__error(value, match):
    X = make_dict()
    with pytest.raises(ValueError, match=match):
        Estimator().fit(X).read({**X, "audio": value})


def test_schema__vectors_for_sequences__error():
    with pytest.raises(ValueError, match=r"modality 'a' has shape \(3, 2\), but Estimator was fitted on sequences"):
        Estimator().fit({"a": np.zeros((3, 4, 2))}).read({"a": np.zeros((3, 2))})


def test_schema__flat_x_for_named_modalities__error():
    with pytest.raises(
        ValueError, match=r"X is a ndarray, but Estimator was fitted on named modalities \('audio', 'te"
    ):
        Estimator().fit(make_dict()).read(np.zeros((N, 5)))


def test_schema__modalities_for_named_x__error():
    for X in (make_dict(), make_frame(make_dict())):
        with pytest.raises(ValueError, match=r"already names its modalities .*Leave modalities=None"):
            read(X, {"a": [0]})


def test_schema__three_levels__error():
    frame = pd.concat({"top": make_frame(make_dict())}, axis=1)
    with pytest.raises(ValueError, match=r"have 3 levels; expected two: \(modality, feature\)"):
        read(frame)


def test_schema__feature_names__must_agree_in_name_and_order():
    frame = make_frame(make_dict())
    estimator = Estimator().fit(frame)
    match = (
        r"feature names of modality 'audio' should match .*at position {} found '{}', Estimator was fitted with '{}'"
    )
    with pytest.raises(ValueError, match=match.format(0, "f1", "f0")):
        estimator.read(frame.iloc[:, [1, 0, 2, 3, 4]])
    with pytest.raises(ValueError, match=match.format(2, "z", "f2")):
        estimator.read({"audio": frame["audio"].rename(columns={"f2": "z"}), "text": frame["text"]})
    with pytest.raises(ValueError, match="modality 'audio' has 2 features"):
        estimator.read(frame.drop(columns=[("audio", "f0")]))
    assert_same_arrays(estimator.read(frame.iloc[:, [3, 0, 4, 1, 2]]), estimator.arrays_)  # interleaved modalities
    assert_same_arrays(estimator.read(make_dict()), estimator.arrays_)  # arrays have no names to compare


def test_schema__flat_feature_names__must_agree():
    _, flat = make_flat()
    frame = pd.DataFrame(flat, columns=FLAT_COLUMNS)
    estimator = Estimator(modalities=SELECTORS["integers"]).fit(frame)
    with pytest.raises(ValueError, match="feature names should match"):
        estimator.read(frame[FLAT_COLUMNS[::-1]])
    with pytest.raises(ValueError, match="X has 4 features"):
        Estimator(modalities=SELECTORS["integers"]).fit(flat).read(flat[:, :4])


@pytest.mark.parametrize("selectors", ["names", "callables", "mixed"])
def test_schema__flat_feature_names__are_remembered_for_named_modalities(selectors):
    _, flat = make_flat()
    frame = pd.DataFrame(flat, columns=FLAT_COLUMNS)
    estimator = Estimator(modalities=NAMED_SELECTORS[selectors]).fit(frame)
    assert estimator.schema_.feature_names == {"audio": ["a0", "a1", "a2"], "text": ["t0", "t1"]}
    blocks = {"audio": frame[["a0", "a1", "a2"]], "text": frame[["t0", "t1"]]}
    match = "names of modality 'audio' should match .* at position 0 found 'a2', Estimator was fitted with 'a0'"
    for form in (dict, ModalityDict, lambda X: pd.concat(X, axis=1)):
        assert_same_arrays(estimator.read(form(blocks)), estimator.arrays_)
        with pytest.raises(ValueError, match=match):
            estimator.read(form({**blocks, "audio": frame[["a2", "a1", "a0"]]}))


def test_schema__flat_feature_names__follow_the_order_of_the_selector():
    frame = pd.DataFrame(np.arange(9.0).reshape(3, 3), columns=list("pqr"))
    estimator = Estimator(modalities={"a": ["r", "p"], "b": "q"}).fit(frame)
    assert estimator.schema_.feature_names == {"a": ["r", "p"], "b": ["q"]}
    assert_same_arrays(estimator.read({"a": frame[["r", "p"]], "b": frame[["q"]]}), estimator.arrays_)
    with pytest.raises(ValueError, match="at position 0 found 'p', Estimator was fitted with 'r'"):
        estimator.read({"a": frame[["p", "r"]], "b": frame[["q"]]})
    estimator = Estimator().fit(frame)
    with pytest.raises(ValueError, match="feature names of modality 'X' should match"):
        estimator.read({"X": frame[["q", "p", "r"]]})


def test_schema__flat_x_without_names__has_none_to_compare():
    _, flat = make_flat()
    estimator = Estimator(modalities=SELECTORS["integers"])
    for each in (flat, pd.DataFrame(flat)):
        assert estimator.fit(each).schema_.feature_names == {}
        estimator.read({"audio": pd.DataFrame(flat[:, [1, 2, 4]], columns=list("xyz"))})


def test_schema__refit__forgets_the_names_of_the_first_x():
    _, flat = make_flat()
    estimator = Estimator().fit(pd.DataFrame(flat, columns=FLAT_COLUMNS))
    estimator.fit(make_dict())
    assert not hasattr(estimator, "feature_names_in_")
    assert estimator.schema_.feature_names == {}


@pytest.mark.parametrize("columns", [["p", "q", "p", "q"], [0, 1, 0, 1]])
def test_schema__duplicated_columns__error_names_them(columns):
    frame = pd.DataFrame(np.zeros((3, 4)), columns=columns)
    alone = frame.set_axis(list("wxyz"), axis=1)
    match = rf"{{}} has more than one column of the same name: {re.escape(repr(columns[:2]))}. Rename them, or drop"
    with pytest.raises(ValueError, match=match.format("^X")):
        read(frame)
    with pytest.raises(ValueError, match=match.format("^X")):
        read(frame, {"a": [0, 1], "b": [2, 3]})
    with pytest.raises(ValueError, match=match.format("^X")):
        Estimator().fit(alone).read(frame)
    for form in (dict, ModalityDict, lambda X: pd.concat(X, axis=1)):
        with pytest.raises(ValueError, match=match.format("^modality 'b'")):
            read(form({"a": alone, "b": frame}))
        with pytest.raises(ValueError, match=match.format("^modality 'b'")):
            Estimator().fit({"a": alone, "b": alone}).read(form({"a": alone, "b": frame}))
    # The same name in two modalities is no duplicate.
    read({"a": alone, "b": alone})


@pytest.mark.parametrize(
    ("selectors", "match"),
    [
        (
            {"a": [0, 1], "b": [1, 2]},
            "column 1 of X is in modality 'a' and again in modality 'b'.*Give each column to one",
        ),
        ({"a": [0, 0]}, "column 0 of X is in modality 'a' and again in modality 'a'"),
        ({"a": [0, 1], "b": [-5]}, "column 0 of X is in modality 'a' and again"),
        ({"a": []}, r"modalities\['a'\]=\[\] selects no column"),
        ({"a": slice(2, 2)}, r"modalities\['a'\]=slice\(2, 2, None\) selects no column"),
        ({"a": [False] * 5}, r"modalities\['a'\]=.* selects no column"),
        ({"a": [7]}, r"modalities\['a'\]=\[7\] does not select columns of X \(5 columns\)"),
        ({"a": "zz"}, r"modalities\['a'\]='zz' does not select columns of X"),
        ({"a": [1.5]}, r"modalities\['a'\]=\[1.5\] does not select columns of X"),
        ({"a": make_column_selector("^z")}, "selects no column"),
        ({}, "modalities must map names to column selectors, got {}"),
        (["a"], r"modalities must map names to column selectors, got \['a'\]"),
    ],
)
def test_schema__bad_selectors__error_names_the_modality(selectors, match):
    _, flat = make_flat()
    frame = pd.DataFrame(flat, columns=FLAT_COLUMNS)
    with pytest.raises(ValueError, match=match):
        read(frame, selectors)
    with pytest.raises(ValueError, match=match):
        resolve_columns(frame, selectors)


def test_schema__names_on_an_array__error():
    with pytest.raises(ValueError, match=r"modalities\['a'\]='x' does not select columns of X .*only supported for"):
        read(np.zeros((3, 2)), {"a": "x"})


# --- helpers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["a", None], True),
        ([["a"], None], True),
        (pd.Series(["a"]), True),
        (pd.Series(["a", None], dtype="string"), True),
        (pd.Series([None, None], dtype="string"), True),
        (np.array(["a"]), True),
        ([None, None], False),
        ([np.zeros((1, 1)), None], False),
        (np.zeros((2, 2)), False),
        (sparse.eye(3), False),
        (None, False),
    ],
)
def test_is_text(value, expected):
    assert is_text(as_samples(value)) is expected
