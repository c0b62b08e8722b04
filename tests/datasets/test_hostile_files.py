"""load_mmsa on files that are broken, of another kind, or made to take all time and memory: one clean error."""

import gzip
import io
import json
import os
import pickle
import struct
import sys
import zipfile

import numpy as np
import pytest

from sklearn_mdm.datasets import load_mmsa

Y = [0.0, 1.0]


def raises(read, data, message, **options):
    with pytest.raises(ValueError, match=message) as caught:
        read(data, **options)
    assert len(str(caught.value)) < 2000


# -- files of another kind ---------------------------------------------------------------------------------------------


def _npy():
    file = io.BytesIO()
    np.save(file, np.ones(3))
    return file.getvalue()


def _zip(members, **options):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


@pytest.mark.parametrize("name", ["data.npz", "data.pkl"])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"id,text,label\n1,good,2\n", "is text .*CSV"),
        (b"client;age\n1;2\n", "is text .*CSV"),
        (json.dumps({"train": {"text": [1.0]}}).encode(), "is text .*JSON"),
        (b'\xef\xbb\xbf[{"text": 1}]', "is text .*JSON"),
        (b"Dear reader, this is no data\n", "is text"),
        (b"not a pickle", "is text"),
        (b"label\n1\n2\n", "is damaged, or neither npz nor a pickle"),
        (b"<!DOCTYPE html><html>Not found</html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "pointer of Git LFS.*git lfs pull"),
        (_npy(), r"is a single array \(npy\)"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "is an HDF5 file.*h5py"),
        (b"PAR1" + bytes(100), "is a Parquet file"),
        (b"MATLAB 5.0 MAT-file", "is a MATLAB file"),
        (b"\x28\xb5\x2f\xfd" + bytes(50), "is compressed by zstd"),
        (bytes(257) + b"ustar" + bytes(100), "is a tar archive"),
        (b"%PDF-1.7", "is a PDF document"),
        (bytes(100), "is damaged, or neither npz nor a pickle"),
        (np.random.default_rng(0).bytes(500), "is damaged, or neither npz nor a pickle"),
        (_zip([("word/document.xml", "<a/>")]), "is an archive, but no npz: it holds 'word/document.xml'"),
        (_zip([("model/data.pkl", b"\x80\x02."), ("model/data/0", b"1")]), "saved by torch"),
        (_zip([]), "is an archive without arrays"),
        (gzip.compress(b"a,b\n1,2\n"), "compressed in .* is text"),
        (gzip.compress(b""), "is damaged"),
        (gzip.compress(gzip.compress(b"")), "is damaged"),
        (b"\x1f\x8b", "is damaged"),
        (b"PK\x03\x04", "is damaged: the end of the archive is missing"),
    ],
)
def test_load_mmsa__file_of_another_kind__is_named(read, data, message, name):
    raises(read, data, message, name=name)


def test_load_mmsa__path_that_is_no_regular_file__is_an_error_and_not_waited_for(tmp_path):
    with pytest.raises(ValueError, match="is a folder"):
        load_mmsa(tmp_path)
    with pytest.raises(FileNotFoundError):
        load_mmsa(tmp_path / "absent.pkl")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        for path in (tmp_path / "pipe", "/dev/zero"):
            with pytest.raises(ValueError, match="is not a regular file"):
                load_mmsa(path)


@pytest.mark.parametrize("max_bytes", [0, -1, 1.5, True, "4GB", np.nan])
def test_load_mmsa__max_bytes_that_is_no_number_of_bytes__is_an_error(read, max_bytes):
    raises(read, pickle.dumps({}), "max_bytes must be a positive integer, 'auto' or None", max_bytes=max_bytes)


# -- npz ---------------------------------------------------------------------------------------------------------------


def _member(shape="(2, 2)", descr="'<f4'", content=bytes(16), header=None, version=b"\x01\x00"):
    header = (header or f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n").encode("latin1")
    size = struct.pack("<H" if version == b"\x01\x00" else "<I", len(header))
    return b"\x93NUMPY" + version + size + header + content


def _npz(member, others=(), **options):
    return _zip([("train_text.npy", member), *others], **options)


def _encrypted(data):
    where = data.index(b"PK\x01\x02")
    return data[:6] + b"\x01" + data[7 : where + 8] + b"\x01" + data[where + 9 :]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (_npz(_member(shape="(0, 4611686018427387904)", content=b"")), "larger than max_bytes"),
        (_npz(_member(shape="(1099511627776, 0)", content=b"")), "larger than max_bytes"),
        (_npz(_member(shape="(1099511627776,)")), "larger than max_bytes"),
        (_npz(_member(shape="(2000, 2000)")), "has 16 bytes instead of 16,000,000"),
        (_npz(_member(shape="(2, 1)")), "has 16 bytes instead of 8"),
        (_npz(_member(shape="(-2, -2)")), "is damaged"),
        (_npz(_member(shape="(True, 4)")), "is damaged"),
        (_npz(_member(shape=str((1,) * 70))), "is damaged"),
        (_npz(_member(shape="(1099511627776,)", descr="'|S0'", content=b"")), "larger than max_bytes"),
        (_npz(_member(descr="('<f8', (1000,))")), "only plain ones"),
        (_npz(_member(descr="'|O'")), "holds Python objects"),
        (_npz(_member(descr="[('a', 'O')]")), "holds Python objects"),
        (_npz(_member(descr="'<f4', (")), "header of an array cannot be read"),
        (_npz(_member(descr="((" * 2000)), "header of an array cannot be read"),
        (_npz(_member(descr="1if 1else 0")), "header of an array cannot be read"),
        (_npz(_member(header="x" * 20_000)), "header of an array cannot be read"),
        (_npz(_member(version=b"\x03\x00")), "array of version"),
        (_npz(_member(version=b"\x02\x00")[:10] + b"\xff\xff\xff\x7f"), "header of an array cannot be read"),
        (_npz(_member(shape="(4,)", descr="'<U1'", content=b"\xff" * 16)), "no character"),
        (_npz(b""), "header of an array cannot be read"),
        (_npz(b"text"), "header of an array cannot be read"),
        (_npz(_member(), compression=zipfile.ZIP_BZIP2), "compressed by a method that NumPy does not write"),
        (_npz(_member(), compression=zipfile.ZIP_LZMA), "compressed by a method that NumPy does not write"),
        (_encrypted(_npz(_member())), "is encrypted"),
        (_npz(_member(), [("train_y.npy", bytes(2**28))], compression=zipfile.ZIP_DEFLATED), "'train_y.npy' and those"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_load_mmsa__npz_that_claims_or_holds_too_much__is_an_error_before_it_is_read(read, data, message):
    raises(read, data, message)


def test_load_mmsa__npz_with_two_arrays_of_one_name__is_an_error(read):
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = _npz(_member(), [("train_text.npy", _member())])
    raises(read, data, "two arrays of one name")


def test_load_mmsa__npz_whose_directory_claims_less_than_is_there__is_damaged(read):
    data = _npz(_member(content=bytes(2**24)), compression=zipfile.ZIP_DEFLATED)
    real, where = struct.pack("<I", len(_member(content=bytes(2**24)))), data.index(b"PK\x01\x02")
    raises(read, data[:where] + data[where:].replace(real, struct.pack("<I", len(_member()))), "is damaged: Bad CRC")


def test_load_mmsa__npz_of_another_split__is_not_unpacked(read):
    """What is not read costs nothing beside its header; a date or objects there are no error."""
    members = [("train_y.npy", _member("(2,)", content=bytes(8))), ("label_names.npy", _member(descr="'|O'"))]
    assert list(read(_npz(_member(), members)).train.X) == ["text"]


# -- pickles -----------------------------------------------------------------------------------------------------------


def _doubled(n_levels, of, made=list):
    for _ in range(n_levels):
        of = made([of, of])
    return of


def _nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def _with_text(value, protocol=4):
    return pickle.dumps({"train": {"text": value, "y": Y}}, protocol)


def _with_id(value, n=2):
    return pickle.dumps({"train": {"text": np.ones((n, 2)), "y": np.zeros(n), "id": value}})


def _array(shape, dtype="f8", content=b""):
    """Return a pickle of an array whose parts need not belong together."""
    made = pickle.dumps({"train": {"text": np.zeros(7, dtype), "y": Y}}, 2)
    shape = pickle.dumps(shape, 2)[2:-1]
    assert made.count(b"K\x07\x85") == 1
    return made.replace(b"K\x07\x85", shape)


COLLIDING = b"\x80\x02}(" + b"".join(pickle.dumps((2**61 - 1) * i, 2)[2:-1] + b"N" for i in range(10**5)) + b"u."
TUPLES = b"\x80\x02}K\x00" + b"q\x01h\x01\x86" * 40 + b"Ns."  # whose hash takes 2**40 steps


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        # references that multiply where they are written out
        (_with_text(_doubled(12, [0.0] * 100_000)), "with all that occurs several times"),
        (_with_text(_doubled(14, [1.0] * 10_000)), "with all that occurs several times|nested too deeply"),
        (_with_text(_doubled(40, [0.0])), "nested too deeply"),
        (_with_text(_doubled(40, (0.0,), tuple)), "nested too deeply"),
        (_with_text([np.zeros((1000, 100))] * 10_000), "with all that occurs several times"),
        (
            _with_text(np.array([np.zeros((1000, 100)), None] * 10_000, dtype=object)),
            "with all that occurs several times",
        ),
        (_with_text([[[0.0] * 1000] * 1000] * 1000), "with all that occurs several times"),
        (_with_text(["x" * 10_000] * 100_000), "with all that occurs several times"),
        # texts, of which the longest decides
        (_with_id([b"x" * 10**6] + [b"y"] * 9_999, 10_000), "'id', as an array, takes 9.31 GiB"),
        (_with_id(["x" * 10**6] + ["y"] * 9_999, 10_000), "'id', as an array, takes 37.25 GiB"),
        (pickle.dumps({"train": {"text": [["x" * 10**6] + ["y"] * 9_999] * 2, "y": Y}}), "takes 74.51 GiB"),
        # depth, keys and numbers
        (_with_text(_nested(50)), "nested too deeply"),
        (b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b".", "nested too deeply"),
        (b"\x80\x04]\x94h\x00a.", "nested too deeply"),
        (b"\x80\x04" + b")" + b"\x85" * 100_000 + b".", "nested too deeply"),
        (COLLIDING, "integer of more than 64 bits"),
        (pickle.dumps({(1, 2): 3}), "key is a tuple"),
        (TUPLES, "key is a tuple"),
        (pickle.dumps({complex(i, 1): 0 for i in range(3)}), "complex"),
        (pickle.dumps({"train": 10**1000}), "integer of more than 64 bits"),
        (b"L" + b"9" * 200_000 + b"L\n.", "is damaged|64 bits"),
        # sizes that are claimed
        (b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"a.", "is damaged"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"a.", "is damaged"),
        (b"\x80\x05\x96" + struct.pack("<Q", 2**62) + b"a.", "is damaged"),
        (b"\x80\x04\x8d" + struct.pack("<Q", 2**64 - 1) + b"a.", "is damaged"),
        (b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"a.", "is damaged"),
        (b"\x80\x02\x8b" + struct.pack("<i", -1) + b"a.", "is damaged"),
        (b"\x80\x04\x95" + struct.pack("<Q", 2**63) + b"N.", "holds a NoneType"),
        (b"\x80\x04]r" + struct.pack("<I", 2**31) + b".", "holds a list"),
        (b"\x80\x04p" + b"9" * 100 + b"\n.", "is damaged"),
        (_array((2**40, 0)), "larger than max_bytes"),
        (_array((0, 2**62)), "larger than max_bytes"),
        (_array((2**40,)), "larger than max_bytes"),
        (_array((-1,)), "array of shape"),
        (_array((True, 7)), "array of shape"),
        (_array((1,) * 40), "array of shape"),
        (_array([7]), "array of shape"),
        (b"\x80\x04]" + b"\x8f" * 1000 + b".", "holds a set"),
        # names and operations that are not known
        (b"\x80\x04N\x85\x91.", "is damaged|frozenset"),
        (b"\x80\x04\x82\x01.", "EXT1"),
        (b"\x80\x05\x97.", "NEXT_BUFFER"),
        (b"\x80\x04)\x81.", "NEWOBJ"),
        (b"\x80\x02U\x01\xe9.", "Python 2"),
        (_with_text(np.zeros(2, dtype=[("a", "f4")])), "only plain ones"),
        (_with_text(np.array(["2020"], "M8[Y]")), "only plain ones"),
        (_with_text(np.zeros(2, dtype="V4")), "only plain ones"),
        (pickle.dumps(np.zeros(2), 2).replace(b"X\x02\x00\x00\x00f8", b"X\x0d\x00\x00\x00(1000000000,)"), "only plain"),
        (_with_text(np.array(["ab"])).replace("b".encode("utf-32-le"), b"\xff" * 4), "no character"),
    ],
)
def test_load_mmsa__pickle_that_would_take_all_there_is__is_an_error_before_it_is_made(read, data, message, zipped):
    raises(read, gzip.compress(data, 1) if zipped else data, message)


@pytest.mark.parametrize(
    "call",
    [
        b"h\x00h\x01\x85R",  # bytes of a text, each time anew
        b"h\x02h\x03h\x01\x86R",  # a text of bytes
    ],
    ids=["encode", "scalar"],
)
def test_load_mmsa__content_that_is_copied_by_many__is_counted_each_time(read, call):
    text = b"X" + struct.pack("<I", 10**6) + b"x" * 10**6
    as_bytes = b"B" + struct.pack("<I", 10**6) + b"x" * 10**6
    dtype = b"cnumpy\ndtype\nX\x08\x00\x00\x00S1000000\x85R"
    start = b"c_codecs\nencode\n\x94" + (text if call.startswith(b"h\x00") else as_bytes) + b"\x94"
    start += b"cnumpy.core.multiarray\nscalar\n\x94" + dtype + b"\x94"
    raises(read, b"\x80\x04" + start + b"](" + call * 5000 + b"e.", "larger than max_bytes")


def test_load_mmsa__arrays_that_share_their_bytes__are_counted_each_time(read):
    array, content = np.zeros(1).__reduce__(), bytes(8 * 10**6)

    class Shared:
        def __reduce__(self):
            return array[0], array[1], (1, (10**6,), np.dtype("f8"), False, content)

    raises(read, _with_text([Shared() for _ in range(1000)], 2), "larger than max_bytes")


@pytest.mark.parametrize(
    "bomb",
    [
        lambda: _with_text(np.zeros((2, 2**24))),  # 256 MiB of zeros
        lambda: pickle.dumps({"train": [None]}) + bytes(2**28),  # after its end
        lambda: b"\x80\x04" + b"]" * 2**22,
        lambda: b"\x80\x04" + b"(" * 2**22,
        lambda: b"V" + b"a" * 2**28,
    ],
    ids=["array", "rest", "lists", "marks", "line"],
)
def test_load_mmsa__gzip_that_bursts__stops_at_the_limit(read, bomb):
    raises(read, gzip.compress(bomb(), 1), "larger than max_bytes=134,217,728 .* larger max_bytes=, or None")


def test_load_mmsa__max_bytes__is_what_the_file_unpacks_to(read):
    for data in (_with_text(np.zeros((2, 10**6))), gzip.compress(_with_text(np.zeros((2, 10**6))))):
        assert read(data, max_bytes=17_000_000).train.X["text"].shape == (2, 10**6)
        assert read(data, max_bytes=None).train.X["text"].shape == (2, 10**6)
        raises(read, data, "larger than max_bytes=15,000,000 .* 15.3 MiB", max_bytes=15_000_000)
    file = io.BytesIO()
    np.savez_compressed(file, train_text=np.zeros((2, 10**6)), train_y=Y)
    assert read(file.getvalue(), max_bytes=17_000_000).train.X["text"].shape == (2, 10**6)
    raises(read, file.getvalue(), "'train_text.npy' and those before takes 15.3 MiB", max_bytes=15_000_000)


def test_load_mmsa__large_file_of_features__is_below_the_limit(read):
    """A limit that grows with the file: 64 MB, padded with zeros to a twentieth, unpack to 1 GB at most."""
    text = np.zeros((2000, 50, 40))
    text[:, :3] = np.random.default_rng(0).normal(size=(2000, 3, 40))
    data = {"train": {"text": text, "y": np.zeros(2000)}}
    assert read(gzip.compress(pickle.dumps(data), 1)).train.X["text"].shape == text.shape


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory are those of Linux")
def test_bounded__what_takes_more__is_stopped(bounded):
    with pytest.raises(MemoryError), bounded():
        np.ones(2**27)
