"""Reads the pickled files of CIFAR-10's python version without unpickling them.

A pickle is a program, and `pickle.load` runs it. Here the standard library only splits the file into instructions
(`pickletools.genops` runs nothing), and the few that these files need are interpreted on plain values: dicts, lists, strings
and integers. Names of functions in a file are compared with a short list and never imported; those that build an array are
replaced by a description of it, which is checked before its bytes are read. Anything else is refused.

The official files are pickles of Python 2, protocol 2; files of Python 3 with protocols 2 to 4 are read, too.
"""

import math
import pickletools
from dataclasses import dataclass
from typing import Any

import numpy as np

from minisqx.errors import DataError

# Limits per file: official batches have 31 MB in 60,000 instructions; repickled by Python 3, up to 46 MB.
MAX_PICKLE_BYTES = 48 << 20
_MAX_INSTRUCTIONS = 1_000_000


@dataclass(frozen=True)
class _Name:
    """A placeholder for a function or class that a file names."""

    name: str


_MARK = _Name("mark")
_NONE = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = {
    *("BININT", "BININT1", "BININT2", "LONG1"),
    *("BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINUNICODE", "SHORT_BINUNICODE"),
}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
# The (module, name) pairs that a file may use -> our placeholder.
_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"): "array of",
    ("numpy._core.multiarray", "_reconstruct"): "array of",
    ("numpy", "ndarray"): "array",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
}


class _Array:
    """A placeholder for an array; `value` is set once, from the state in the file."""

    value: np.ndarray | None = None


class _Uint8:
    """A placeholder for the dtype uint8, the only one in these files."""


def read_pickle(data: bytes, name: str) -> dict:
    """The dictionary in an official file: text keys; text, integers, lists and uint8 arrays as values.

    Byte strings are returned as text (latin-1). Raises DataError, which calls the file `name`, for damage and for anything
    that the official files don't need.
    """
    if len(data) > MAX_PICKLE_BYTES:
        raise DataError(f"{name} has {len(data)} bytes; expected at most {MAX_PICKLE_BYTES}: get the official file")
    try:
        result = _run(data)
    except _Refused as reason:
        raise DataError(f"{name} is not a CIFAR-10 batch: it {reason}; nothing of it was run: get the official file") from reason
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{name} is damaged or cut off ({why}): get the official file") from error
    if not isinstance(result, dict):
        raise DataError(f"{name} holds a {type(result).__name__}, expected the dictionary of a CIFAR-10 batch")
    return {key: item.value if isinstance(item, _Array) else item for key, item in result.items()}


class _Refused(Exception):
    """The file has something that the official files don't have."""


def _run(data: bytes):
    stack: list = []
    memo: dict = {}
    argument: Any  # its type depends on the instruction; genops has checked it

    def from_mark() -> list:
        at = len(stack) - 1
        while stack[at] is not _MARK:
            at -= 1
        items = stack[at + 1 :]
        del stack[at:]
        return items

    for number, (instruction, argument, _) in enumerate(pickletools.genops(data)):
        code = instruction.name
        if number > _MAX_INSTRUCTIONS:
            raise _Refused(f"has more than {_MAX_INSTRUCTIONS} instructions")
        if code in ("PROTO", "FRAME"):
            continue
        if code in _VALUES:
            stack.append(argument.decode("latin-1") if isinstance(argument, bytes) else argument)
        elif code in _NONE:
            stack.append(_NONE[code])
        elif code in _EMPTY:
            stack.append(_EMPTY[code]())
        elif code == "MARK":
            stack.append(_MARK)
        elif code in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif code == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif code in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif code == "TUPLE":
            stack.append(tuple(from_mark()))
        elif code in _TUPLES:
            count = _TUPLES[code]
            stack[-count:] = [tuple(stack[-count:])]
        elif code == "APPEND":
            _check(stack[-2], list).append(stack.pop())
        elif code == "APPENDS":
            items = from_mark()
            _check(stack[-1], list).extend(items)
        elif code == "SETITEM":
            value, key = stack.pop(), stack.pop()
            _check(stack[-1], dict)[_check(key, str)] = value
        elif code == "SETITEMS":
            items = from_mark()
            for key, value in zip(items[::2], items[1::2], strict=True):
                _check(stack[-1], dict)[_check(key, str)] = value
        elif code == "GLOBAL":
            stack.append(_named(*argument.split(" ", 1)))
        elif code == "STACK_GLOBAL":
            name, module = stack.pop(), stack.pop()
            stack.append(_named(module, name))
        elif code == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            stack.append(_call(function, arguments))
        elif code == "BUILD":
            state = stack.pop()
            _build(stack[-1], state)
        elif code == "STOP":
            return stack.pop()
        else:
            raise _Refused(f"has the pickle instruction {code}")


def _check(value, expected: type):
    if type(value) is not expected:
        raise _Refused(f"has a {type(value).__name__} where a {expected.__name__} belongs")
    return value


def _named(module, name) -> _Name:
    if (_check(module, str), _check(name, str)) not in _NAMES:
        raise _Refused(f"uses {f'{module}.{name}'[:60]!r}")
    return _Name(_NAMES[module, name])


def _call(function, arguments: tuple):
    """The calls in official files: an empty array, filled later from its state; its dtype; and bytes as Python 3 writes them."""
    if function == _Name("array of") and arguments[0] == _Name("array"):
        return _Array()
    if function == _Name("dtype") and arguments[0] in ("u1", "uint8"):
        return _Uint8()
    if function == _Name("encode") and arguments[1:] == ("latin1",):
        return _check(arguments[0], str)
    # The arguments are not shown: nested values may be short in the file and endless in print.
    raise _Refused("makes a call that is not in the official files")


def _build(item, state: tuple) -> None:
    if isinstance(item, _Uint8):
        return  # byte order and alignment, which don't matter for single bytes
    if not isinstance(item, _Array) or item.value is not None:
        raise _Refused("sets the state of an object that is not a new array")
    _, shape, dtype, column_order, raw = state
    if not isinstance(dtype, _Uint8):
        raise _Refused("holds an array that is not uint8")
    if len(shape) > 2 or not all(type(side) is int and side >= 0 for side in shape) or math.prod(shape) != len(raw):
        raise _Refused(f"holds an array whose shape does not fit its {len(raw)} bytes")
    item.value = np.frombuffer(raw.encode("latin-1"), np.uint8).reshape(shape, order="F" if column_order else "C")
