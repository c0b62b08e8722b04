"""load_mmsa on files in whose bytes or values something is odd: clean errors, or what the layout promises."""

import gzip
import io
import pickle
import pickletools
import zipfile

import numpy as np
import pytest

pytestmark = pytest.mark.filterwarnings("ignore:data.pkl. .*is not read:UserWarning")


def mutated(data, rng, others):
    """Return bytes of which some are flipped, cut off, put in, left out, or those of another file."""
    data, start = bytearray(data), int(rng.integers(len(data)))
    length = int(rng.integers(1, 9)) if rng.random() < 0.5 else 1
    match rng.integers(6):
        case 0:
            for place in rng.integers(len(data), size=length):
                data[place] ^= 1 << int(rng.integers(8))
        case 1:
            del data[start:]
        case 2:
            data[start:start] = rng.bytes(length)
        case 3:
            del data[start : start + length * 4]
        case 4:
            data[start : start + length] = rng.choice([b"\xff", b"\x00", b"\x7f"]) * length
        case 5:
            other = others[rng.integers(len(others))]
            begin = int(rng.integers(len(other)))
            data[start : start + 4 * length] = other[begin : begin + int(rng.integers(1, 200))]
    return bytes(data)


def mutated_inside(data, rng, others):
    """Return an npz file one of whose arrays is mutated, with a checksum that fits."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    names = list(members)
    name = names[rng.integers(len(names))]
    members[name] = mutated(members[name], rng, others)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return file.getvalue()


def as_objects(items):
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


def _plain(n, rng):
    return {
        "text": rng.normal(size=(n, 3, 2)).astype(np.float32),
        "audio": np.asfortranarray(rng.normal(size=(n, 4, 2))).astype(">f8"),
        "vision": rng.integers(5, size=(n, 2)).astype(np.int16),
        "audio_lengths": [4] * n,
        "regression_labels": rng.normal(size=n),
        "id": [f"video{i // 2}$_${i}" for i in range(n)],
        "raw_text": [f"sentence {i} é" for i in range(n)],
    }


def _objects(n, rng):
    return _plain(n, rng) | {
        "text": as_objects([rng.normal(size=(i + 1, 2)) for i in range(n)]),
        "audio_lengths": np.full(n, 4),
        "id": as_objects([f"v{i}".encode() for i in range(n)]),
        "annotations": np.array(["Neutral"] * n),
        "classification_labels": np.arange(n) % 2 == 0,
    }


def _ragged(n, rng):
    return _plain(n, rng) | {
        "text": [rng.normal(size=(i % 3 + 1, 2)).astype(np.float32) for i in range(n)],
        "vision": [[[float(j), 1.0]] * (i + 1) for i, j in enumerate(range(n))],
        "regression_labels": [np.float32(i) for i in range(n)],
        "id": [[f"v{i // 2}", i] for i in range(n)],
    }


def _bytes(n, rng):
    return _plain(n, rng) | {
        "text": rng.normal(size=(n, 3, 2)).tolist(),
        "id": np.array([f"video{i // 2}$_${i}".encode() for i in range(n)]),
        "groups": np.array([f"g{i}" for i in range(n)]),
        "regression_labels": rng.normal(size=(n, 1)).astype(np.float16),
        "meta": {"rate": 16, 3: (None, True, 2.5, 10**12), "empty": {}},
    }


def contents():
    """Return what the files hold: forms of MMSA's layout."""
    rng = np.random.default_rng(0)
    return [{"train": form(5, rng), "valid": form(3, rng)} for form in (_plain, _objects, _ragged, _bytes)]


def pickles():
    """Return the files, of every protocol."""
    return [pickle.dumps(content, protocol) for content in contents() for protocol in range(6)]


def npz_files():
    """Return the same as npz, of arrays of numbers and texts, compressed and not."""
    files = []
    for content in (contents()[0], contents()[3]):
        for save in (np.savez, np.savez_compressed):
            file = io.BytesIO()
            flat = {
                f"{split}_{key}": value
                for split, found in content.items()
                for key, value in found.items()
                if key != "meta"
            }
            save(file, **flat)
            files.append(file.getvalue())
    return files


def compressed(data):
    return gzip.compress(data, mtime=0)


def assert_sane(data):
    """What is read of a damaged file has the layout of any other."""
    for split in data.values():
        n = len(split.X)
        assert len(split.y) == n
        for value in split.X.values():
            assert len(value) == n
            if value.dtype.kind == "f":
                assert not np.isinf(value).any()
        for each in (split.ids, split.groups, split.raw_text):
            assert each is None or len(each) == n


# -- odd values


ODD = {
    "None": None,
    "number": 3.5,
    "text": "text",
    "dict": {"a": 1},
    "empty list": [],
    "list of None": [None] * 5,
    "list of dicts": [{"a": 1}] * 5,
    "list of lists of dicts": [[{"a": 1}]] * 5,
    "mixed": [1.0, "a", None, [2.0], np.ones(2)],
    "deep": [[[[1.0] * 2] * 2] * 2] * 5,
    "ragged": [[1.0], [[2.0]], [3.0, 4.0], [], [[]]],
    "of one": [[1.0]],
    "complex": [1j] * 5,
    "uint64": [2**64 - 1] * 5,
    "mixed signs": [2**64 - 1, -1, 0, 0, 0],
    "bytes": [b"\xff"] * 5,
    "0-d": np.array(1.0),
    "0-d object": np.array(None, dtype=object),
    "no axes": np.empty((5, 0)),
    "no steps": np.empty((5, 0, 2)),
    "no samples": np.empty((0, 3)),
    "4-d": np.ones((5, 1, 1, 2)),
    "objects": as_objects([None, 1, "a", np.ones(2), {"a": 1}]),
    "2-d objects": np.array([[None, "a"]] * 5, dtype=object),
    "NaN": np.full((5, 3, 2), np.nan),
    "texts": np.array(["a"] * 5),
    "minus": [-1] * 5,
    "largest": np.full(5, np.iinfo(np.int64).max),
    "float16": np.full((5, 2), 60000, np.float16),
}


@pytest.mark.parametrize("odd", ODD)
def test_load_mmsa__odd_value_under_any_key__is_a_clean_error_or_read(read, odd):
    for content in contents():
        for key in (*content["train"], "groups", "lengths", "labels"):
            train = content["train"] | {key: ODD[odd]}
            for options in ({}, {"zero_padding": "end", "modalities": ["text", "audio"]}, {"target": key}):
                try:
                    assert_sane(read(pickle.dumps({"train": train}), **options))
                except ValueError as error:
                    assert any(word in str(error) for word in ("train", "data.pkl")), error


# -- mutated files -----------------------------------------------------------------------------------------------------


def assert_clean(read, data, marks):
    """Read a mutated file: what comes out has the usual layout, or a ValueError names the file or the split."""
    try:
        assert_sane(read(data))
    except ValueError as error:
        assert any(word in str(error) for word in ("data.pkl", "train", "valid")), error
        marks.append(error)


# 3,000 in all, of which every run sees a half.
@pytest.mark.parametrize("form", [0, 1, *(pytest.param(form, marks=pytest.mark.slow) for form in (2, 3))])
def test_load_mmsa__mutated_pickles__are_clean_errors_or_read(read, form, tmp_path):
    files, rng, errors = pickles(), np.random.default_rng(form), []
    seeds = files[form * 6 : form * 6 + 6]
    for i in range(750):
        data = mutated(seeds[i % 6], rng, files)
        if i % 5 == 0:
            data = compressed(data)
        elif i % 5 == 1:
            data = mutated(compressed(seeds[i % 6]), rng, files)
        assert_clean(read, data, errors)
    assert 400 < len(errors) < 750
    assert [path.name for path in tmp_path.iterdir()] == ["data.pkl"]


@pytest.mark.parametrize("place", ["anywhere", "inside"])
def test_load_mmsa__mutated_npz__are_clean_errors_or_read(read, place, tmp_path):
    files, rng, errors = npz_files(), np.random.default_rng(7), []
    change = mutated if place == "anywhere" else mutated_inside
    for i in range(500):
        assert_clean(read, change(files[i % len(files)], rng, files), errors)
    assert 300 < len(errors) < 500
    assert [path.name for path in tmp_path.iterdir()] == ["data.pkl"]


def test_load_mmsa__npz_with_a_flipped_bit__is_as_written_or_an_error(read):
    """Its checksums cover every value."""
    written, rng = npz_files()[0], np.random.default_rng(8)
    expected = read(written).train
    for _ in range(200):
        data = bytearray(written)
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        try:
            found = read(bytes(data)).get("train")
        except ValueError:
            continue
        for name, value in ({} if found is None else found.X).items():
            np.testing.assert_array_equal(value, expected.X[name])


@pytest.mark.parametrize("protocol", range(6))
def test_load_mmsa__call_put_into_a_pickle__never_runs(read, tmp_path, protocol):
    """Of a working file, at every place where an instruction begins."""
    mark = tmp_path / "ran"
    calls = f"cos\nsystem\n(Vtouch {mark}\ntR0".encode(), f"(Vtouch {mark}\nios\nsystem\n0".encode()
    data = pickles()[protocol]
    for i, (_, _, place) in enumerate(pickletools.genops(data)):
        with pytest.raises(ValueError, match=r"data\.pkl"):
            read(data[:place] + calls[i % 2] + data[place:])
    assert not mark.exists()
