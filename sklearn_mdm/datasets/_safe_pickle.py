"""Reading arrays and plain containers from a pickle without running anything that it asks for."""

from __future__ import annotations

import io
import pickle
import pickletools
from typing import Any, BinaryIO

import numpy as np

from ._limit import FileTooLargeError, Limit
from ._made import COST, ITEM, Made, Named
from ._pickled_arrays import CALLABLE, NDARRAY, Array, DType

# What is read at once.
CHUNK = 2**24
# How errors about what no pickler writes begin.
DAMAGED = "it is damaged: "
# What can be the key of a dict: its hash takes no time to compute, and few of them are the same.
KEY_TYPES = (str, bytes, bool, int, float, type(None), np.str_, np.bytes_)

LITERALS = {
    *("BININT", "BININT1", "BININT2", "FLOAT", "BINFLOAT"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}


def load_plain_pickle(file: BinaryIO | io.BufferedReader, limit: Limit | None = None) -> Any:
    """Load a pickle that holds nothing but NumPy arrays and scalars, dicts, lists, tuples, numbers and strings.

    A pickle is a program. It is run here by a machine that has the instructions for plain containers only, never
    imports, and calls nothing but six functions of this package that stand for NumPy's. Each instruction is counted
    against the limit before it is carried out; then what was made, with all that occurs several times counted as often,
    since it is written out when it becomes an array. A pickle that names anything else, or is damaged, is a
    ``pickle.UnpicklingError``.
    """
    limit = Limit("the pickle", None) if limit is None else limit
    try:
        return Made(limit.again()).of(_Machine(limit).run(file), 0)[0]
    except (pickle.UnpicklingError, FileTooLargeError, MemoryError):
        raise
    except Exception as error:  # a damaged or crafted pickle may raise almost anything
        raise pickle.UnpicklingError(f"{DAMAGED}{type(error).__name__}: {str(error)[:200]}.") from error


class _Reader:
    """A file that is read no further than the limit."""

    def __init__(self, file: BinaryIO | io.BufferedReader, limit: Limit) -> None:
        self.file, self.limit = file, limit

    def read(self, n: int) -> bytes:
        limit = self.limit
        limit.spent += COST + min(n, CHUNK)
        if limit.spent > limit.max_bytes:
            limit.check(limit.spent, "what it holds")
        if n <= CHUNK:
            return self.file.read(n)
        parts: list[bytes] = []
        while n and (part := self.file.read(min(n, CHUNK))):  # n may be more than there is
            limit.spend(len(part) if parts else 0)
            parts.append(part)
            n -= len(part)
        return b"".join(parts)

    def readline(self) -> bytes:
        parts = []
        while part := self.file.readline(CHUNK):
            self.limit.spend(len(part) + COST)
            parts.append(part)
            if part.endswith(b"\n"):
                break
        return b"".join(parts)


class _Machine:
    """Runs the instructions of a pickle on a stack, as far as plain containers need them."""

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.stack: list = []
        self.below: list[list] = []  # what the stack was at each mark
        self.memo: dict[int, Any] = {}

    def run(self, file: BinaryIO | io.BufferedReader) -> Any:
        argument: Any
        for opcode, argument, _ in pickletools.genops(_Reader(file, self.limit)):  # type: ignore[arg-type]
            name = opcode.name
            if name in LITERALS:
                self.stack.append(argument)
            elif name in ("MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT"):
                self.memo[len(self.memo) if name == "MEMOIZE" else argument] = self.stack[-1]
            elif name in ("BINGET", "LONG_BINGET", "GET"):
                self.stack.append(self.memo[argument])
            elif name == "STOP":
                break
            else:
                if name not in OPERATIONS:
                    raise pickle.UnpicklingError(f"it asks for the operation {name}, which is not carried out.")
                OPERATIONS[name](self, argument)
        return self.stack.pop()

    def since_mark(self) -> list:
        items, self.stack = self.stack, self.below.pop()
        return items

    def do_proto(self, _: Any) -> None:
        pass

    do_frame = do_proto

    def do_mark(self, _: Any) -> None:
        self.limit.spend(ITEM)
        self.below.append(self.stack)
        self.stack = []

    def do_pop(self, _: Any) -> None:
        self.stack.pop() if self.stack else self.since_mark()

    def do_pop_mark(self, _: Any) -> None:
        self.since_mark()

    # -- values

    def do_long1(self, value: int) -> None:
        if not -(2**63) <= value < 2**64:
            raise pickle.UnpicklingError("it has an integer of more than 64 bits.")
        self.stack.append(value)

    do_long = do_long4 = do_int = do_long1

    def do_string(self, text: str) -> None:
        if not text.isascii():
            raise pickle.UnpicklingError("it holds bytes as Python 2 did. Write it again with Python 3.")
        self.stack.append(text)

    do_binstring = do_short_binstring = do_string

    def do_none(self, _: Any) -> None:
        self.stack.append(None)

    def do_newtrue(self, _: Any) -> None:
        self.stack.append(True)

    def do_newfalse(self, _: Any) -> None:
        self.stack.append(False)

    # -- containers

    def do_empty_list(self, _: Any) -> None:
        self.limit.spend(ITEM)
        self.stack.append([])

    def do_empty_dict(self, _: Any) -> None:
        self.limit.spend(ITEM)
        self.stack.append({})

    def do_empty_tuple(self, _: Any) -> None:
        self.stack.append(())

    def do_tuple(self, _: Any) -> None:
        items = self.since_mark()
        self.stack.append(tuple(items))

    def take(self, n: int) -> list:
        if len(self.stack) < n:
            raise pickle.UnpicklingError(f"{DAMAGED}it takes more than it has.")
        items = self.stack[-n:]
        del self.stack[-n:]
        return items

    def do_tuple1(self, _: Any) -> None:
        self.stack.append(tuple(self.take(1)))

    def do_tuple2(self, _: Any) -> None:
        self.stack.append(tuple(self.take(2)))

    def do_tuple3(self, _: Any) -> None:
        self.stack.append(tuple(self.take(3)))

    def do_list(self, _: Any) -> None:
        items = self.since_mark()
        self.stack.append(items)

    def do_dict(self, _: Any) -> None:
        items = self.since_mark()
        self.stack.append({})
        self.set_items(items)

    def do_append(self, _: Any) -> None:
        self.extend(self.take(1))

    def do_appends(self, _: Any) -> None:
        self.extend(self.since_mark())

    def do_setitem(self, _: Any) -> None:
        self.set_items(self.take(2))

    def do_setitems(self, _: Any) -> None:
        self.set_items(self.since_mark())

    def extend(self, items: list) -> None:
        if type(self.stack[-1]) is not list:
            raise pickle.UnpicklingError(f"{DAMAGED}it adds an item to what is no list.")
        self.stack[-1].extend(items)

    def set_items(self, items: list) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise pickle.UnpicklingError(f"{DAMAGED}it sets a key of what is no dict.")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in KEY_TYPES and not isinstance(key, np.integer):
                raise pickle.UnpicklingError(f"it has a dict whose key is a {type(key).__name__}; use strings.")
            if isinstance(key, (str, bytes)):
                self.limit.spend(len(key))  # it is compared with others
            target[key] = value

    # -- what it names and calls

    def do_global(self, name: str) -> None:
        module, _, attribute = name.partition(" ")
        self.push_named(module, attribute)

    do_inst = do_global

    def do_stack_global(self, _: Any) -> None:
        self.push_named(*self.take(2))

    def push_named(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise pickle.UnpicklingError(f"{DAMAGED}it names something by what is no text.")
        if (module, name) not in CALLABLE and (module, name) != NDARRAY:
            raise pickle.UnpicklingError(f"it asks for {module[:200]}.{name[:200]}, which is not looked up.")
        self.stack.append(Named((module, name)))

    def do_reduce(self, _: Any) -> None:
        named, arguments = self.take(2)
        if not isinstance(named, Named) or named.path not in CALLABLE or type(arguments) is not tuple:
            raise pickle.UnpicklingError(f"{DAMAGED}it calls what cannot be called.")
        arguments = [each.path if isinstance(each, Named) else each for each in arguments]
        self.stack.append(CALLABLE[named.path](self.limit, *arguments))

    def do_build(self, _: Any) -> None:
        (state,) = self.take(1)
        if not isinstance(self.stack[-1], (Array, DType)) or type(state) is not tuple:
            raise pickle.UnpicklingError("it gives a state to what has none.")
        self.stack[-1].set_state(state)

    # -- what has an instruction of its own, and is not read

    def do_empty_set(self, _: Any) -> None:
        raise pickle.UnpicklingError("it holds a set, which is not read.")

    def do_frozenset(self, _: Any) -> None:
        raise pickle.UnpicklingError("it holds a frozenset, which is not read.")


OPERATIONS = {name[3:].upper(): do for name, do in vars(_Machine).items() if name.startswith("do_")}
