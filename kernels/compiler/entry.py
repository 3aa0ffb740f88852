"""Kernels that Python calls as C functions, and so without Numba where their machine code is kept.

An `Entry` stands for a kernel. The first call with arguments of new types takes its image (`image.py`) or, where there is none
that can be used, has Numba compile it (`c_function.py`).
"""

import ctypes
from collections.abc import Callable
from functools import partial
from importlib import import_module

from minisqx.kernels.compiler import image, late
from minisqx.kernels.compiler.words import are_arrays_known, pack, types_of

_RESULTS = {None: None, bool: ctypes.c_bool, int: ctypes.c_int64, float: ctypes.c_double}


class Code:
    """The machine code of an entry for arguments of some types, which it doesn't look at. kept: what must live as long."""

    def __init__(self, address: int, result: type | None, kept: object = None):
        self.function = ctypes.CFUNCTYPE(_RESULTS[result], ctypes.c_char_p)(address)
        self._kept = kept

    def __call__(self, *arguments):
        return self.function(pack(arguments))


class Prepared:
    """A call whose arguments are fixed: arrays may change, and stay where they are."""

    def __init__(self, code: Code, arguments: tuple):
        self._function, self._words, self._arguments = code.function, pack(arguments), arguments

    def __call__(self):
        return self._function(self._words)


class Entry:
    """The kernel `name` of a module, which may be imported only when the kernel has to be compiled.

    kernel: the kernel itself, if it is there already; before: called with the arguments before it is compiled. result: what it
    returns: None, bool, int or float.
    """

    def __init__(self, module: str, name: str, *, kernel=None, before: Callable | None = None, result: type | None = None):
        self.__module__, self.__name__ = module, name
        self._kernel, self._before, self._result = kernel, before, result
        self._codes: dict[str, Callable] = {}

    def __call__(self, *arguments):
        return self.code(arguments)(*arguments)

    def prepared(self, arguments: tuple) -> Callable:
        """The call with these arguments, to be made again and again."""
        code = self.code(arguments)
        return Prepared(code, arguments) if isinstance(code, Code) else partial(code, *arguments)

    def code(self, arguments: tuple) -> Callable:
        """What runs the kernel for arguments of the types that these have."""
        types = types_of(arguments)
        if types not in self._codes:
            self._codes[types] = self._made(types, arguments)
        return self._codes[types]

    def _made(self, types: str, arguments: tuple) -> Callable:
        name = f"{self.__module__.removeprefix('minisqx.kernels.')}.{self.__name__}"
        is_compiled = not late.is_jit_disabled() and are_arrays_known()
        if is_compiled and (address := image.found(name, types)) is not None:
            return Code(address, self._result)
        if self._kernel is None:
            return getattr(import_module(self.__module__), self.__name__).code(arguments)
        if not is_compiled:
            return self._kernel
        if self._before is not None:
            self._before(*arguments)
        made = late.module("c_function").compiled(self._kernel, name, types, arguments, self._result)
        return Code(made.address, self._result, made)
