"""Kernels that Python calls as C functions: without Numba, if their machine code is in the cache.

An `Entry` stands for a kernel. The first call with arguments of new types loads the image of its machine code (`image.py`). If
there is none, or it can't be used, Numba is imported and compiles the kernel (`c_function.py`).
"""

import ctypes
from collections.abc import Callable
from functools import partial
from importlib import import_module

from minisqx.kernels.compiler import image, late
from minisqx.kernels.compiler.words import are_offsets_right, key_of, packer, types_of

_RESULTS = {None: None, bool: ctypes.c_bool, int: ctypes.c_int64, float: ctypes.c_double}


class Code:
    """The machine code of an entry for arguments of given types, which it doesn't check. owner: keeps the code in memory."""

    def __init__(self, address: int, result: type | None, arguments: tuple, owner: object = None):
        self.function = ctypes.CFUNCTYPE(_RESULTS[result], ctypes.c_char_p)(address)
        self.pack = packer(arguments)
        self._owner = owner

    def __call__(self, *arguments):
        return self.function(self.pack(arguments))


class Prepared:
    """A call with fixed arguments, whose words are computed once."""

    def __init__(self, code: Code, arguments: tuple):
        self._function, self._words, self._arguments = code.function, code.pack(arguments), arguments

    def __call__(self):
        return self._function(self._words)


class Entry:
    """The kernel `name` of a module. A module that imports Numba is imported only if the kernel must be compiled.

    kernel: the kernel, if its module is the caller's. before: is called with the arguments before the kernel is compiled. result:
    the type of what it returns: None, bool, int or float.
    """

    def __init__(self, module: str, name: str, *, kernel=None, before: Callable | None = None, result: type | None = None):
        self.__module__, self.__name__ = module, name
        self._kernel, self._before, self._result = kernel, before, result
        self._codes: dict[object, Callable] = {}

    def __call__(self, *arguments):
        return self.code(arguments)(*arguments)

    def prepared(self, arguments: tuple) -> Callable:
        """The call with these arguments, to be made repeatedly: arrays may change their numbers, not their place."""
        code = self.code(arguments)
        return Prepared(code, arguments) if isinstance(code, Code) else partial(code, *arguments)

    def code(self, arguments: tuple) -> Callable:
        """The kernel for arguments of the same types as these, which it doesn't check."""
        key = key_of(arguments)
        if key not in self._codes:
            self._codes[key] = self._load_or_compile(arguments)
        return self._codes[key]

    def _load_or_compile(self, arguments: tuple) -> Callable:
        name, types = f"{self.__module__.removeprefix('minisqx.kernels.')}.{self.__name__}", types_of(arguments)
        is_compiled = are_offsets_right() and not late.is_jit_disabled()
        if is_compiled and (address := image.load(name, types)) is not None:
            return Code(address, self._result, arguments)
        if self._kernel is None:
            return getattr(import_module(self.__module__), self.__name__).code(arguments)
        if not is_compiled:
            return self._kernel
        if self._before is not None:
            self._before(*arguments)
        function = late.module("c_function").compile_entry(self._kernel, name, arguments, self._result)
        return Code(function.address, self._result, arguments, owner=function)
