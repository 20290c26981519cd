"""Torch's ``.pt`` files, read without making anything that they name.

Such a file is a zip archive with a pickle and the bytes of its tensors. The pickle is interpreted here, by a list of
operations that build plain values alone: a class of the file becomes an ``Inert`` with its name, arguments and state,
a tensor a ``Stored``, whose bytes are read when it is asked for. Nothing is imported, called or written for the file.
"""

from __future__ import annotations

import io
import itertools
import math
import pickletools
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

MOST_BYTES = 4 * 2**20
"""Of the pickle, and of the archive's list of entries; those of a training with its optimizer have a quarter."""
MOST_OPERATIONS = 400_000
"""Of the pickle, each of which makes one value at most; those of the largest known models have 60,000."""
LARGEST_KEY, LONGEST_KEY = 2**20, 256
"""Of a mapping: others could be chosen to make it slow or large."""
MOST_AXES = 8
_BLOCK = 2**20

_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_CONTAINERS: dict[str, type[list[Any]] | type[dict[Any, Any]]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict}
_LITERALS = frozenset({"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"})
_LITERALS |= frozenset({"BINBYTES", "SHORT_BINBYTES"})
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()


@dataclass(slots=True, eq=False)
class Inert:
    """An object of the file that is not made.

    Attributes:
        name: of its class or function, ``module.name``; a class or function by itself has no arguments.
        arguments: that it would have been called with.
        state: that it would have been given.
    """

    name: str
    arguments: Any = None
    state: Any = None


class Stored(NamedTuple):
    """A tensor of the file: where its bytes are, and its form."""

    dtype: torch.dtype | None
    key: str
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class TorchArchive:
    """A ``.pt`` file that is open.

    Attributes:
        content: what was saved: plain values, ``Inert`` and ``Stored``.
    """

    def __init__(self, archive: zipfile.ZipFile, size: int) -> None:
        entries = archive.infolist()
        if any(
            entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size for entry in entries
        ):
            raise ValueError("its entries are compressed, which torch never does")
        (pickled,) = (entry for entry in entries if entry.filename.count("/") == 1 and _named(entry, "data.pkl"))
        if any(_named(entry, "byteorder") and archive.read(entry) != b"little" for entry in entries):
            raise ValueError("it was written on a machine of another byte order")
        if pickled.file_size > MOST_BYTES:
            raise ValueError(f"its pickle has {pickled.file_size} bytes; expected at most {MOST_BYTES}")
        self._archive, self._root = archive, pickled.filename.partition("/")[0]
        self._left = size
        self.content = interpreted(archive.read(pickled))

    def read(self, tensor: Stored) -> Tensor:
        """A tensor's values; floating-point ones as float32.

        Raises:
            ValueError: of another type or form, or all tensors read so far are larger than the file.
        """
        if tensor.dtype is None:
            raise ValueError("a tensor of an unknown type")
        entry = self._archive.getinfo(f"{self._root}/data/{tensor.key}")
        reach = (
            tensor.offset + sum((side - 1) * step for side, step in zip(tensor.size, tensor.stride, strict=True)) + 1
        )
        bytes_each, count = tensor.dtype.itemsize, math.prod(tensor.size)
        self._left -= max(entry.file_size, count * bytes_each)
        if self._left < 0 or (count and reach * bytes_each > entry.file_size):
            raise ValueError("its tensors are larger than the file")
        if not count:
            return torch.empty(tensor.size)
        whole = bytearray()
        with self._archive.open(entry) as file:
            while block := file.read(_BLOCK):
                whole += block
        flat = torch.frombuffer(whole, dtype=tensor.dtype, count=len(whole) // bytes_each)
        values = flat.as_strided(tensor.size, tensor.stride, tensor.offset)
        return values.float() if values.is_floating_point() else values.clone()


@contextmanager
def open_torch(path: Path) -> Iterator[TorchArchive]:
    """Open a ``.pt`` file.

    Raises:
        ValueError, LookupError, TypeError, OSError: and more, where it is damaged; see ``DAMAGES``.
    """
    with _Bounded(path) as file, zipfile.ZipFile(file) as archive:
        yield TorchArchive(archive, path.stat().st_size)


DAMAGES: tuple[type[Exception], ...] = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)
DAMAGES += (OSError, EOFError, RuntimeError, zipfile.BadZipFile)
"""What reading a damaged file raises."""


class _Bounded(io.FileIO):
    """A file of which no more is read at once than ``MOST_BYTES``: so long may the archive's list of entries be."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > MOST_BYTES:
            raise ValueError(f"its list of entries has {size} bytes; expected at most {MOST_BYTES}")
        return super().read(MOST_BYTES if size is None or size < 0 else size)


def _named(entry: zipfile.ZipInfo, name: str) -> bool:
    return entry.filename.rpartition("/")[2] == name


def interpreted(pickled: bytes) -> Any:
    """The value of a pickle in plain containers, ``Inert`` and ``Stored``.

    Raises:
        ValueError, LookupError, TypeError: it is damaged, does something else, or has too many operations.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    argument: Any
    for operation, argument, _ in itertools.islice(pickletools.genops(pickled), MOST_OPERATIONS):
        match operation.name:
            case name if name in _LITERALS:
                stack.append(argument)
            case name if name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            case name if name in _CONTAINERS:
                stack.append(_CONTAINERS[name]())
            case name if name in _TUPLES:
                stack[-_TUPLES[name] :] = [tuple(_top(stack, _TUPLES[name]))]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "MARK":
                stack.append(_MARK)
            case "TUPLE":
                stack.append(tuple(_since_mark(stack)))
            case "APPEND":
                _extend(stack, [stack.pop()])
            case "APPENDS":
                _extend(stack, _since_mark(stack))
            case "SETITEM":
                _update(stack, [stack.pop(-2), stack.pop()])
            case "SETITEMS":
                _update(stack, _since_mark(stack))
            case "EMPTY_SET":
                stack.append(Inert("builtins.set"))
            case "ADDITEMS":
                _since_mark(stack)
            case "GLOBAL":
                stack.append(Inert(argument.replace(" ", ".")))
            case "STACK_GLOBAL":
                stack.append(Inert(".".join([stack.pop(-2), stack.pop()])))
            case "NEWOBJ" | "REDUCE":
                arguments = stack.pop()
                stack.append(_called(stack.pop(), arguments))
            case "BUILD":
                state = stack.pop()
                if isinstance(stack[-1], Inert):
                    stack[-1].state = state
            case "BINPERSID":
                stack.append(_storage(*stack.pop()))
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                return stack.pop()
            case name:
                raise ValueError(f"its pickle does {name}, which no checkpoint needs")
    raise ValueError(f"its pickle has more than {MOST_OPERATIONS} operations")


def _top(stack: list[Any], count: int) -> list[Any]:
    if len(stack) < count:
        raise IndexError("its pickle takes from an empty stack")
    return stack[-count:]


def _since_mark(stack: list[Any]) -> list[Any]:
    """Take everything above the last mark, and the mark, from the stack."""
    items = []
    while (item := stack.pop()) is not _MARK:
        items.append(item)
    return items[::-1]


def _extend(stack: list[Any], items: list[Any]) -> None:
    if isinstance(stack[-1], list):
        stack[-1].extend(items)


def _update(stack: list[Any], items: list[Any]) -> None:
    """Keys and values of a mapping; those of other keys than texts and small whole numbers are not kept."""
    if isinstance(stack[-1], dict):
        pairs = zip(items[::2], items[1::2], strict=True)
        stack[-1].update({key: value for key, value in pairs if _is_key(key)})


def _is_key(key: Any) -> bool:
    if isinstance(key, str):
        return len(key) <= LONGEST_KEY
    return type(key) is int and 0 <= key <= LARGEST_KEY


def _called(function: Inert, arguments: Any) -> Any:
    """What a class or a function of the file gives."""
    match function.name:
        case "collections.OrderedDict":
            return {}
        case "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state":
            return arguments[0]
        case "torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor":
            (dtype, key), offset, size, stride = arguments[:4]
            numbers = (offset, *size, *stride)
            if len(size) > MOST_AXES or not all(type(n) is int and 0 <= n < 2**40 for n in numbers):
                raise ValueError("a tensor has an impossible form")
            return Stored(dtype, key, offset, tuple(size), tuple(stride))
        case name:
            return Inert(name, arguments)


def _storage(kind: str, storage: Inert, key: str, *_: Any) -> tuple[torch.dtype | None, str]:
    """Type and key of a tensor's bytes."""
    if kind != "storage" or not isinstance(key, str):
        raise ValueError("its pickle refers to something other than a tensor's bytes")
    return _DTYPES.get(storage.name.removeprefix("torch.")), key
