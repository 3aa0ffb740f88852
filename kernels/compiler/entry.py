"""Kernels that Python calls as C functions: without Numba, if their machine code is in the cache.

An `Entry` stands for a kernel. The first call with arguments of new types loads the image of its machine code (`image.py`). If
there is none, or it can't be used, Numba is imported and compiles the kernel (`c_function.py`).
"""

import ctypes
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from minisqx.kernels.compiler import image, late
from minisqx.kernels.compiler.words import are_offsets_right, key_of, members_of, pack_of, types_of, word_of

_RESULTS = {None: None, bool: ctypes.c_bool, int: ctypes.c_int64, float: ctypes.c_double}


# Most small kernels take two or three arrays: a loop over the arguments would take longer than the call.
_CALLS: dict[int, Callable] = {
    2: lambda function, pack: lambda a, b: function(pack(id(a), id(b))),
    3: lambda function, pack: lambda a, b, c: function(pack(id(a), id(b), id(c))),
}


class Code(NamedTuple):
    """A kernel for arguments of given types, which it doesn't check.

    call(*arguments): calls it. prepare(*arguments): returns the call with these arguments, a function without parameters.
    """

    call: Callable
    prepare: Callable


def _machine_code(address: int, result: type | None, arguments: tuple, owner: object = None) -> Code:
    """The C function at an address. owner: keeps the code in memory."""
    function: Any = ctypes.CFUNCTYPE(_RESULTS[result], ctypes.c_char_p)(address)
    function.owner = owner
    pack, words = pack_of(arguments), lambda arguments: [word_of(argument) for argument in members_of(arguments)]
    call = lambda *arguments: function(pack(*words(arguments)))  # noqa: E731
    if all(isinstance(argument, np.ndarray) for argument in arguments):
        call = _CALLS[len(arguments)](function, pack) if len(arguments) in _CALLS else call

    def prepare(*arguments) -> Callable:
        prepared: Any = partial(function, pack(*words(arguments)))
        prepared.arguments = arguments  # the arrays live as long as their words are used
        return prepared

    return Code(call, prepare)


class Entry:
    """The kernel `name` of a module. A module that imports Numba is imported only if the kernel must be compiled.

    kernel: the kernel, if its module is the caller's. before: is called with the arguments before the kernel is compiled. result:
    the type of what it returns: None, bool, int or float.
    """

    def __init__(self, module: str, name: str, *, kernel=None, before: Callable | None = None, result: type | None = None):
        self.__module__, self.__name__ = module, name
        self._kernel, self._before, self._result = kernel, before, result
        self._codes: dict[object, Code] = {}

    def __call__(self, *arguments):
        return self.code(arguments).call(*arguments)

    def code(self, arguments: tuple) -> Code:
        """The code for arguments of the same types as these."""
        key = key_of(arguments)
        if key not in self._codes:
            self._codes[key] = self._load_or_compile(arguments)
        return self._codes[key]

    def _load_or_compile(self, arguments: tuple) -> Code:
        name, types = f"{self.__module__.removeprefix('minisqx.kernels.')}.{self.__name__}", types_of(arguments)
        is_compiled = are_offsets_right() and not late.is_jit_disabled()
        if is_compiled and (address := image.load(name, types)) is not None:
            return _machine_code(address, self._result, arguments)
        if self._kernel is None:
            return getattr(late.kernels(self.__module__), self.__name__).code(arguments)
        if not is_compiled:
            return Code(self._kernel, partial(partial, self._kernel))
        if self._before is not None:
            self._before(*arguments)
        function = late.module("c_function").compile_entry(self._kernel, name, arguments, self._result)
        return _machine_code(function.address, self._result, arguments, owner=function)
