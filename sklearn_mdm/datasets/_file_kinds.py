"""What a file is, by its first bytes: npz, a pickle, or something else that has a name."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Literal

ZIP, GZIP = b"PK\x03\x04", b"\x1f\x8b"
# Of an archive without entries.
EMPTY_ZIP = b"PK\x05\x06"

SAVE_AS_NPZ = "Save its arrays by numpy.savez('data.npz', train_text=..., train_y=...); load_mmsa reads that."
READ_AND_SAVE = "Read it with {}, and save its arrays by numpy.savez('data.npz', train_text=..., train_y=...)."
DECOMPRESS = "Decompress it first."
DOWNLOAD = "Download the file itself."
# First bytes, what has them, and what to do.
OTHERS = [
    (b"\x93NUMPY", "a single array (npy)", "Load it by numpy.load, and save all that belongs together by numpy.savez."),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", READ_AND_SAVE.format("h5py")),
    (b"PAR1", "a Parquet file", READ_AND_SAVE.format("pandas.read_parquet")),
    (b"ARROW1", "an Arrow file", READ_AND_SAVE.format("pandas.read_feather")),
    (b"MATLAB 5.0", "a MATLAB file", READ_AND_SAVE.format("scipy.io.loadmat")),
    (b"BZh", "compressed by bz2", DECOMPRESS),
    (b"\xfd7zXZ", "compressed by xz", DECOMPRESS),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", DECOMPRESS),
    (b"\x04\x22\x4d\x18", "compressed by lz4", DECOMPRESS),
    (b"7z\xbc\xaf", "a 7z archive", DECOMPRESS),
    (b"Rar!", "a RAR archive", DECOMPRESS),
    (b"%PDF", "a PDF document", SAVE_AS_NPZ),
    (b"\x89PNG", "a picture", SAVE_AS_NPZ),
    (b"\xff\xd8\xff", "a picture", SAVE_AS_NPZ),
    (b"\xd0\xcf\x11\xe0", "a document of an office program", SAVE_AS_NPZ),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file", "Fetch it by git lfs pull."),
    (EMPTY_ZIP, "an archive without arrays", SAVE_AS_NPZ),
]
# In the first line of a text, and of no pickle that is written as text and holds a dict.
IN_TEXTS = re.compile(rb"[,;:\t {\[<\"=#|]")


def check_regular(path: Path) -> int:
    """Return the size of a file, and reject what is none: a pipe would be waited for."""
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise ValueError(f"{path.name} is a folder. Pass the path of a file in it.")
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path.name} is not a regular file, but a pipe, socket or device. Copy it to a file first.")
    if status.st_size == 0:
        raise ValueError(f"{path.name} is empty. Download or write it again.")
    return status.st_size


def kind_of(name: str, start: bytes) -> Literal["npz", "gzip", "pickle"]:
    """Return how a file of these first bytes is to be read, or name what else it is."""
    if start.startswith(ZIP):
        return "npz"
    if start.startswith(GZIP):
        return "gzip"
    for magic, what, remedy in OTHERS:
        if start.startswith(magic):
            raise ValueError(f"{name} is {what}. {remedy}")
    if start[257:262] == b"ustar":
        raise ValueError(f"{name} is a tar archive. Extract it first.")
    _check_text(name, start)
    return "pickle"


def _check_text(name: str, start: bytes) -> None:
    text = start.removeprefix(b"\xef\xbb\xbf")
    first = text.lstrip().split(b"\n", 1)[0]
    if re.search(rb"[\x00-\x08\x0e-\x1f]", text) or text.startswith(b"\x80") or not IN_TEXTS.search(first):
        return
    if re.match(rb"(?i)<(!doctype|html|\?xml)", first):
        raise ValueError(f"{name} is a web page or XML, not data. {DOWNLOAD}")
    what = "JSON" if first[:1] in b"{[" else "CSV" if re.search(rb"[,;\t]", first) else "no data"
    raise ValueError(f"{name} is text (it looks like {what}), not npz or a pickle. {SAVE_AS_NPZ}")
