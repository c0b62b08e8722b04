"""load_mmsa: the layout, padding, and pickles that want more than to be read."""

import bz2
import gzip
import io
import lzma
import os
import pickle
import subprocess
import sys
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GroupKFold

from sklearn_mdm import MDMFusionRegressor
from sklearn_mdm.datasets import load_mmsa
from sklearn_mdm.datasets._safe_pickle import load_plain_pickle


def make_split(n, seed, start=False):
    rng = np.random.default_rng(seed)
    lengths = {"audio": rng.integers(1, 7, size=n), "vision": rng.integers(1, 5, size=n)}
    arrays = {"audio": np.zeros((n, 6, 3), dtype=np.float32), "vision": np.zeros((n, 4, 2))}
    for name, array in arrays.items():
        for row, length in zip(array, lengths[name], strict=True):
            row[len(row) - length if start else 0 :][:length] = rng.normal(size=(length, array.shape[2]))
    return {
        "raw_text": [f"sentence {i}" for i in range(n)],
        "text": rng.normal(size=(n, 5, 4)).astype(np.float32),
        "text_bert": rng.integers(100, size=(n, 3, 5)),
        **arrays,
        "audio_lengths": lengths["audio"].tolist(),
        "vision_lengths": lengths["vision"],
        "id": [f"video{i // 3}$_${i}" for i in range(n)],
        "annotations": ["Neutral"] * n,
        "classification_labels": rng.integers(3, size=n),
        "regression_labels": rng.uniform(-3, 3, size=n).astype(np.float32),
    }


@pytest.fixture
def content():
    return {"train": make_split(30, 0), "valid": make_split(9, 1), "test": make_split(12, 2)}


@pytest.fixture
def write(tmp_path):
    """Write a pickle, and return its path."""

    def write_bytes(what, protocol=4):
        path = tmp_path / "data.pkl"
        path.write_bytes(what if isinstance(what, bytes) else pickle.dumps(what, protocol=protocol))
        return path

    return write_bytes


# -- layout ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_load_mmsa__pickle__is_what_was_written(content, write, protocol):
    data = load_mmsa(write(content, protocol))
    assert list(data) == ["train", "valid", "test"]
    for split, written in content.items():
        read = data[split]
        assert list(read.X) == ["text", "audio", "vision"]
        np.testing.assert_array_equal(read.X["text"], written["text"])
        np.testing.assert_array_equal(read.y, written["regression_labels"])
        assert read.y.dtype == np.float32 and read.X["audio"].dtype == np.float32
        assert read.ids.tolist() == written["id"]
        assert read.raw_text.tolist() == written["raw_text"]
        assert read.groups.tolist() == [name.split("$_$")[0] for name in written["id"]]


@pytest.mark.parametrize("start", [False, True], ids=["end", "start"])
def test_load_mmsa__lengths__say_which_steps_are_nan(write, start):
    written = make_split(20, 0, start=start)
    X = load_mmsa(write({"train": written})).train.X
    for name in ("audio", "vision"):
        array, n_steps = X[name], written[name].shape[1]
        for i, length in enumerate(written[f"{name}_lengths"]):
            kept = slice(n_steps - length, None) if start else slice(length)
            expected = np.full_like(array[i], np.nan)
            expected[kept] = written[name][i][kept]
            np.testing.assert_array_equal(array[i], expected)
    assert not np.isnan(X["text"]).any()  # it has no lengths


def test_load_mmsa__lengths_of_before_a_cut__keep_all_steps(write):
    written = make_split(5, 0)
    written["audio"][:] = 1.0
    written["audio_lengths"] = [500] * 5
    assert not np.isnan(load_mmsa(write({"train": written})).train.X["audio"]).any()


def test_load_mmsa__lengths_that_do_not_fit__are_an_error(write):
    written = make_split(5, 0)
    written["audio"][:] = 1.0
    written["audio_lengths"] = [2] * 5
    with pytest.raises(ValueError, match="train, 'audio' has more steps that are not zero than its lengths say"):
        load_mmsa(write({"train": written}))
    written["audio_lengths"] = [2] * 4
    with pytest.raises(ValueError, match="train, 'audio' has 5 samples, but"):
        load_mmsa(write({"train": written}))


def test_load_mmsa__zero_padding_without_lengths__is_left_alone_unless_asked_for(content, write):
    del content["train"]["audio_lengths"]
    path = write(content)
    assert not np.isnan(load_mmsa(path).train.X["audio"]).any()
    padded = np.isnan(load_mmsa(path, zero_padding="end").train.X["audio"]).all(axis=2)
    assert padded.tolist() == (content["train"]["audio"] == 0).all(axis=2).tolist()


def test_load_mmsa__infinite_values__are_an_error_or_replaced(content, write):
    content["valid"]["audio"][0, 0, 0] = -np.inf
    path = write(content)
    with pytest.raises(ValueError, match=r"valid, 'audio': 1 of 162 values are infinite\. Pass infinite=0"):
        load_mmsa(path)
    assert load_mmsa(path, infinite=0).valid.X["audio"][0, 0, 0] == 0


def test_load_mmsa__modalities_and_target__are_chosen_by_key(content, write):
    data = load_mmsa(write(content), modalities=["raw_text", "audio"], target="classification_labels")
    assert list(data.test.X) == ["raw_text", "audio"]
    assert data.test.X["raw_text"].tolist() == content["test"]["raw_text"]
    np.testing.assert_array_equal(data.test.y, content["test"]["classification_labels"])
    for options, message in [
        ({"modalities": ["smell"]}, r"train has no modalities \['smell'\]; found \['annotations'"),
        ({"target": "mood"}, "train has no target 'mood'"),
        ({"zero_padding": "start"}, "zero_padding must be"),
    ]:
        with pytest.raises(ValueError, match=message):
            load_mmsa(write(content), **options)


def test_load_mmsa__no_target_named__takes_the_first_known_one(content, write):
    written = content["train"]
    written["mood"], written["labels"] = written.pop("regression_labels"), written.pop("classification_labels")
    np.testing.assert_array_equal(load_mmsa(write({"train": written})).train.y, written["labels"])
    del written["labels"]
    with pytest.raises(ValueError, match=r"train has none of the targets \['regression_labels', .* 'y'\]; found"):
        load_mmsa(write({"train": written}))


@pytest.mark.parametrize("key", ["id", "groups", "raw_text"])
@pytest.mark.parametrize("n", [1, 29, 31])
def test_load_mmsa__names_of_more_or_fewer_samples__are_an_error(content, write, key, n):
    content["train"][key] = [f"a$_${i}" for i in range(n)]
    with pytest.raises(ValueError, match=f"train has 30 samples and {n} values of {key!r}"):
        load_mmsa(write(content))


@pytest.mark.parametrize("made", [np.array, list, lambda items: np.array(items, dtype=object)], ids=["S", "list", "O"])
def test_load_mmsa__bytes__are_read_as_text(content, write, made):
    expected = load_mmsa(write(content)).train
    written = content["train"]
    for key in ("id", "raw_text"):
        written[key] = made([text.encode() for text in written[key]])
    read = load_mmsa(write(content)).train
    for key in ("ids", "groups", "raw_text"):
        assert read[key].tolist() == expected[key].tolist()
    written["groups"] = made(["été".encode()] * 30)
    assert load_mmsa(write(content)).train.groups.tolist() == ["été"] * 30
    written["groups"] = made(["été".encode("latin1")] * 30)
    with pytest.raises(ValueError, match="train: 'groups' holds bytes that are not UTF-8"):
        load_mmsa(write(content))


@pytest.mark.parametrize("video", [str, str.encode])
def test_load_mmsa__ids_of_parts__are_joined(content, write, video):
    content["train"]["id"] = [[video(f"video{i // 3}"), i, 0.5] for i in range(30)]
    train = load_mmsa(write(content)).train
    assert train.ids[4] == "video1$_$4$_$0.5" and train.groups[4] == "video1"


def test_load_mmsa__npz__is_the_same(content, write, tmp_path):
    flat = {}
    for split, written in content.items():
        for name in ("text", "audio", "vision"):
            flat[f"{split}_{name}"] = written[name]
        for name in ("audio", "vision"):
            flat[f"{split}_{name}_length"] = written[f"{name}_lengths"]
        flat[f"{split}_y"], flat[f"{split}_id"] = written["regression_labels"], written["id"]
        flat[f"{split}_group"] = [name.split("$_$")[0] for name in written["id"]]
        flat[f"{split}_transcript"] = written["raw_text"]
    np.savez(tmp_path / "data.npz", label_names=["a"], **flat)
    expected, read = load_mmsa(write(content)), load_mmsa(tmp_path / "data.npz")
    for split in content:
        assert read[split].X == expected[split].X
        for key in ("y", "ids", "groups", "raw_text"):
            np.testing.assert_array_equal(read[split][key], expected[split][key])


def test_load_mmsa__npz_of_other_views__takes_all_that_have_features(tmp_path):
    arrays = {
        "train_mrna": np.ones((4, 2)),
        "train_mirna": np.ones((4, 3)),
        "train_y": np.arange(4),
        "train_id": list("abcd"),
    }
    np.savez(tmp_path / "data.npz", **arrays)
    train = load_mmsa(tmp_path / "data.npz").train
    assert list(train.X) == ["mrna", "mirna"] and train.groups is None and train.raw_text is None


def test_load_mmsa__npz_with_labels_of_two_columns__takes_none_of_them_as_a_modality(tmp_path):
    others = ("y", "labels", "classification_labels_T", "mood", "annotations", "text_bert", "lengths")
    arrays = {f"train_{name}": np.ones((5, 2)) for name in ("text", "yaw", "idle", *others)}
    np.savez(tmp_path / "data.npz", **arrays)
    assert list(load_mmsa(tmp_path / "data.npz", target="mood").train.X) == ["text", "yaw", "idle"]


def test_load_mmsa__fit__groups_and_padding_go_in_as_they_are(content, write):
    train = load_mmsa(write(content)).train
    model = MDMFusionRegressor(n_estimators=1, max_epochs=1, lam=0.0, device="cpu", random_state=0)
    for fit, test in GroupKFold(3).split(train.y, groups=train.groups):
        assert np.isfinite(model.fit(train.X[fit], train.y[fit]).predict(train.X[test])).all()


@pytest.mark.parametrize("what", [[1, 2], {"training": {}}, {"train": [1]}, {"train": {"text": np.ones((2, 2))}}])
def test_load_mmsa__other_layouts__are_an_error(write, what):
    with pytest.raises(ValueError, match=r"expected a dict of splits|none of the splits|none of the targets"):
        load_mmsa(write(what))


def _as_objects(items):
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


def _of_one_shape():
    array = np.empty(2, dtype=object)
    array[0], array[1] = np.zeros((2, 3)), np.ones((2, 3))
    return array


# -- pickles -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "value",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)),
        np.arange(24, dtype=np.float16).reshape(2, 3, 4).transpose(2, 0, 1),
        np.array(["a", "déjà"]),
        np.array([b"ab", b"c"]),
        np.array([True, False]),
        np.array([1 + 2j]),
        np.array([["x", 1], [None, 2.5]], dtype=object),
        np.array([np.arange(3), np.arange(2.0)], dtype=object),
        _of_one_shape(),
        np.empty((0, 4), dtype=np.float32),
        np.array(3.0),
        np.float32(1.5),
        np.str_("text"),
        np.bool_(True),
        {"a": [1, (2.0, "b", b"c"), None, True], 3: {"x": np.ones(2)}},
    ],
    ids=repr,
)
def test_load_plain_pickle__arrays_and_containers__are_what_was_pickled(value, protocol):
    read = load_plain_pickle(io.BytesIO(pickle.dumps(value, protocol=protocol)))
    assert type(read) is type(value)
    if isinstance(value, dict):
        assert read["a"] == value["a"] and (read[3]["x"] == 1).all()
    elif getattr(value, "dtype", None) == object:
        assert read.shape == value.shape
        assert all(np.array_equal(a, b) for a, b in zip(read.ravel(), value.ravel(), strict=True))
    else:
        assert read.dtype == value.dtype
        np.testing.assert_array_equal(read, value)


def test_load_plain_pickle__names_of_both_versions_of_numpy__are_known():
    for core in ("core", "_core"):
        data = pickle.dumps(np.arange(3.0), protocol=2)
        data = data.replace(b"numpy._core.multiarray", b"numpy.%b.multiarray" % core.encode())
        data = data.replace(b"numpy.core.multiarray", b"numpy.%b.multiarray" % core.encode())
        assert load_plain_pickle(io.BytesIO(data)).tolist() == [0, 1, 2]


class Calls:
    def __init__(self, function, *args):
        self.what = function, args

    def __reduce__(self):
        return self.what


class WithState:
    """Pickles as something with a state given to it, as objects are rebuilt."""

    def __init__(self, function, args, state):
        self.what = function, args, state

    def __reduce__(self):
        return self.what


def as_object(value):
    array = np.empty(1, dtype=object)
    array[0] = value
    return array


@pytest.mark.parametrize(
    ("what", "named"),
    [
        (lambda mark: Calls(os.system, f"touch {mark}"), "system"),
        (lambda mark: Calls(eval, f"open({str(mark)!r}, 'w')"), r"builtin.*\.eval"),
        (lambda mark: Calls(exec, f"open({str(mark)!r}, 'w')"), r"builtin.*\.exec"),
        (lambda mark: Calls(subprocess.check_call, ["touch", str(mark)]), "check_call"),
        (lambda mark: Calls(open, str(mark), "w"), "open"),
        (lambda mark: Calls(getattr, "text", "upper"), r"builtin.*\.getattr"),
        (lambda mark: Calls(np.load, str(mark)), "numpy"),
        (lambda mark: Calls(np.fromfile, str(mark)), "numpy"),
        (lambda mark: pd.DataFrame({"a": [1]}), "pandas|copy_?reg"),
        (lambda mark: np.zeros(1).view(np.ma.MaskedArray), "numpy.ma"),
        (lambda mark: np.random.default_rng(0), "numpy.random"),
        (lambda mark: np.zeros(2, dtype=[("a", "f4"), ("b", "O")]), "only plain ones"),
        (lambda mark: np.array(["2020-01-01"], dtype="M8[D]"), "only plain ones"),
        (lambda mark: np.ndarray, "class or a function"),
        (lambda mark: os.system, "system"),
        (lambda mark: {1, 2}, r"builtin.*\.set"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2])
@pytest.mark.parametrize("inside", [lambda x: x, lambda x: {"train": {"text": [x]}}, as_object])
def test_load_mmsa__pickle_that_wants_more__is_rejected_and_runs_nothing(
    write, tmp_path, what, named, protocol, inside
):
    mark = tmp_path / "ran"
    path = write(inside(what(mark)), protocol)
    with pytest.raises(ValueError, match=named) as caught:
        load_mmsa(path)
    assert not mark.exists()
    assert "numpy.savez" in str(caught.value)


def opcodes(*parts):
    return b"\x80\x02" + b"".join(parts) + b"."


NDARRAY, DTYPE = b"cnumpy\nndarray\n", b"cnumpy\ndtype\n"
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"


@pytest.mark.parametrize(
    "data",
    [
        opcodes(b"cposix\nsystem\n(X\x01\x00\x00\x00:tR"),
        opcodes(b"(X\x01\x00\x00\x00:iposix\nsystem\n"),  # INST
        opcodes(b"X\x01\x00\x00\x00aQ"),  # a persistent id
        opcodes(b"\x82\x01"),  # the extension registry
        opcodes(NDARRAY, b"}X\x01\x00\x00\x00aK\x01sb"),  # a state for a class
        opcodes(NDARRAY, b"N}X\x0b\x00\x00\x00materializeK\x01s\x86b"),
        opcodes(RECONSTRUCT, b"N}X\x08\x00\x00\x00__call__K\x01s\x86b"),  # and for a function
        opcodes(RECONSTRUCT, b"(", DTYPE, b"(K\x00tc_codecs\nencode\nX\x01\x00\x00\x00btR"),
        opcodes(b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x03\x00\x00\x00hextR"),
        opcodes(b"]\x71\x00h\x00a"),  # a list that holds itself
        opcodes(DTYPE, b"(X\x0b\x00\x00\x00(1000000,)f4tR"),
        pickle.dumps(np.zeros(3))[:-20],
        pickle.dumps(np.zeros(1000))[:500],
        b"",
        b"not a pickle",
    ],
)
def test_load_plain_pickle__crafted_or_damaged__is_an_unpickling_error(data):
    with pytest.raises(pickle.UnpicklingError):
        load_plain_pickle(io.BytesIO(data))
    assert load_plain_pickle(io.BytesIO(pickle.dumps(np.ones(2)))).tolist() == [1, 1]  # nothing was left behind


@pytest.mark.parametrize(
    "put",
    [b"r\xff\xff\xff\x7f", b"r\x10\x00\x00\x00", b"p2147483647\n", b"q\xff"],
    ids=["long", "near", "text", "short"],
)
def test_load_plain_pickle__place_in_the_memo_far_ahead__makes_no_room_for_those_before(put):
    tracemalloc.start()
    try:
        assert load_plain_pickle(io.BytesIO(opcodes(b"]", put))) == []
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()


def test_load_plain_pickle__memo_that_starts_at_one__is_read():
    assert load_plain_pickle(io.BytesIO(b"]q\x01K\x01a.")) == [1]  # as Python 2 wrote them


@pytest.mark.parametrize("protocol", [4, 5])
@pytest.mark.parametrize("value", [{1, 2}, frozenset([1]), {np.dtype}, frozenset([np.ndarray])], ids=repr)
@pytest.mark.parametrize("inside", [lambda x: x, lambda x: {"a": [(x,)]}, as_object])
def test_load_plain_pickle__sets__are_rejected_whatever_they_hold(value, protocol, inside):
    with pytest.raises(pickle.UnpicklingError, match=r"it holds a (frozen)?set, which is not read"):
        load_plain_pickle(io.BytesIO(pickle.dumps(inside(value), protocol=protocol)))


def array_with(shape, dtype, content):
    """A pickle of an array whose parts need not belong together."""
    reconstruct, args, _ = np.zeros(1).__reduce__()
    return pickle.dumps(WithState(reconstruct, args, (1, shape, dtype, False, content)), protocol=2)


def crafted_dtype(name, state):
    """A pickle of an array whose dtype is given a state of someone's making."""
    dtype = WithState(np.dtype, (name, False, True), state)
    return array_with((1,), dtype, b"\x41" * 8)


@pytest.mark.parametrize(
    "data",
    [
        array_with((1,), np.dtype("O"), b"\x41" * 8),  # bytes as a pointer to an object
        array_with((10**9,), np.dtype("f8"), b"\x00" * 8),
        array_with((-5,), np.dtype("f8"), b"\x00" * 8),
        array_with((2,), np.dtype("f8"), "text"),
        array_with((2,), "f8", b"\x00" * 16),
        crafted_dtype("V8", (3, "|", None, None, None, 8, 1, 0)),
        crafted_dtype("f8", (3, "<", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0)),  # a hidden object field
        crafted_dtype("f8", (3, "<", (np.dtype("O"), (1,)), None, None, 8, 1, 0)),
    ],
)
def test_load_plain_pickle__array_whose_parts_do_not_fit__is_an_unpickling_error(data):
    with pytest.raises(pickle.UnpicklingError):
        load_plain_pickle(io.BytesIO(data))


def test_load_plain_pickle__size_and_flags_of_a_dtype__are_not_taken_from_the_pickle():
    data = crafted_dtype("f8", (3, "<", None, None, None, 10**6, 1, 63))
    read = load_plain_pickle(io.BytesIO(data))
    assert read.dtype == np.float64 and read.shape == (1,)


def test_load_mmsa__module_that_a_pickle_names__is_not_imported(write, tmp_path, monkeypatch):
    (tmp_path / "imported_by_a_pickle.py").write_text("raise SystemExit('ran')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"imported_by_a_pickle\.thing"):
        load_mmsa(write(b"\x80\x02cimported_by_a_pickle\nthing\n."))
    assert "imported_by_a_pickle" not in sys.modules


# --- what a file may be called and hold ------------------------------------------------------------------------------


@pytest.fixture
def some():
    """A split with two modalities."""
    return {"text": np.ones((4, 3, 2), np.float32), "audio": np.ones((4, 2, 1)), "labels": np.arange(4.0)}


@pytest.mark.parametrize("name", ["data.pkl", "data.npz", "data.PKL.GZ", "data"])
def test_load_mmsa__format__is_read_off_the_first_bytes(tmp_path, some, name):
    (tmp_path / name).write_bytes(gzip.compress(pickle.dumps({"train": some})))
    np.testing.assert_array_equal(load_mmsa(tmp_path / name).train.y, some["labels"])
    np.savez(tmp_path / "file.npz", train_text=some["text"], train_y=some["labels"])
    (tmp_path / "file.npz").rename(tmp_path / "FILE.NPZ")
    np.testing.assert_array_equal(load_mmsa(tmp_path / "FILE.NPZ").train.y, some["labels"])


def test_load_mmsa__what_is_not_read__is_named(tmp_path, some):
    path = tmp_path / "data.pkl"
    path.write_bytes(pickle.dumps({"train": some | {"video": some["audio"]}, "dev": some}))
    with pytest.warns(UserWarning, match=r"split 'dev', 'video' of train is not read.*modalities="):
        load_mmsa(path)
    np.savez(tmp_path / "data.npz", train_text=some["text"], train_y=some["labels"], dev_text=some["text"])
    with pytest.warns(UserWarning, match="split 'dev' is not read"):
        load_mmsa(tmp_path / "data.npz")
    np.savez(tmp_path / "data.npz", train_text=some["text"], train_y=some["labels"], dev_video=some["text"])
    with pytest.warns(UserWarning, match="split 'dev' is not read"):
        load_mmsa(tmp_path / "data.npz")


@pytest.mark.parametrize("made", [list, np.array, _as_objects, lambda x: np.array(x) > 0])
def test_load_mmsa__modality_in_another_container__is_named_if_not_read(tmp_path, some, made):
    (tmp_path / "data.pkl").write_bytes(
        pickle.dumps(
            {
                "train": some | {"video": made([[1.0, 2.0]] * 4), "audio_lengths": np.full((4, 1), 2)},
                "val": {"text": [[1]]},
            }
        )
    )
    with pytest.warns(UserWarning, match=r"split 'val', 'video' of train is not read"):
        load_mmsa(tmp_path / "data.pkl")


def test_load_mmsa__infinite_values_of_ragged_lists__are_replaced(tmp_path, some):
    some["audio"] = [np.ones((2, 1)), np.full((1, 1), np.inf), [[1.0]], np.ones((3, 1))]
    (tmp_path / "data.pkl").write_bytes(pickle.dumps({"train": some}))
    with pytest.raises(ValueError, match="train, 'audio': 1 of 1 values are infinite"):
        load_mmsa(tmp_path / "data.pkl")
    assert load_mmsa(tmp_path / "data.pkl", infinite=0).train.X["audio"][1] == 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"audio": None}, "train, 'audio' is None"),
        ({"audio_lengths": ["a", "b", "c", "d"]}, "lengths of train, 'audio' must be whole numbers"),
        ({"audio_lengths": [np.nan, 1, 1, 1]}, "lengths of train, 'audio' must be whole numbers"),
        ({"labels": [[1.0], [1.0, 2.0], [1.0], [1.0]]}, "train: values of 'labels' have different lengths"),
        (None, "holds a NoneType as train"),
    ],
)
def test_load_mmsa__odd_content__is_an_error_that_names_it(tmp_path, some, changed, message):
    content = {"train": None if changed is None else some | changed}
    (tmp_path / "data.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=message):
        load_mmsa(tmp_path / "data.pkl")


def test_load_mmsa__damaged_or_compressed_otherwise__is_an_error_that_says_so(tmp_path, some):
    path, data = tmp_path / "data", pickle.dumps({"train": some})
    np.savez(tmp_path / "data.npz", train_text=some["text"], train_y=some["labels"])
    npz, zipped = (tmp_path / "data.npz").read_bytes(), gzip.compress(data)
    wrong_sum = zipped[:-8] + bytes(4) + zipped[-4:]
    for content, message in [
        (npz[:100], "is damaged"),
        (npz.replace(some["labels"].tobytes(), bytes(32)), "is damaged: Bad CRC"),
        (zipped[:-20], "is damaged"),
        (wrong_sum, "is damaged: CRC"),
        (gzip.compress(npz), "npz file that gzip compressed"),
        (bz2.compress(data), "compressed by bz2"),
        (lzma.compress(data), "compressed by xz"),
        (pickle.dumps({"Train": some}), "in lower case"),
    ]:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            load_mmsa(path)


def test_load_mmsa__several_outputs__keep_their_shape(tmp_path, some):
    path, labels = tmp_path / "data.pkl", np.arange(32).reshape(4, 4, 2)
    path.write_bytes(pickle.dumps({"train": some | {"labels": labels}}))
    np.testing.assert_array_equal(load_mmsa(path).train.y, labels)
    path.write_bytes(pickle.dumps({"train": some | {"labels": labels[:3]}}))
    with pytest.raises(ValueError, match=r"4 samples, and values of 'labels' of shape \(3, 4, 2\)"):
        load_mmsa(path)
