"""What kernels are written with: `njit` compiles one, `entry` makes one that Python calls without Numba, `bound` gives its code.

None of it imports Numba before something has to be compiled.
"""

import functools
from collections.abc import Callable

import numpy as np

from minisqx.kernels.compiler import late
from minisqx.kernels.compiler.entry import Entry


class Kernel:
    """A kernel, which Numba compiles on its first call with given types; it runs without the interpreter's lock.

    A parallel kernel spreads its `prange` over several threads, one such kernel at a time.
    """

    def __init__(self, function: Callable, parallel: bool):
        self.py_func, self.is_parallel = function, parallel
        functools.update_wrapper(self, function)

    @property
    def compiled(self):
        """Numba's own, made at its first use."""
        if "_compiled" not in vars(self):
            made = late.module("choice").dispatcher(self.py_func, self.is_parallel)
            vars(self).setdefault("_compiled", made)  # of two threads that come at once both get the same
        return vars(self)["_compiled"]

    @property
    def _numba_type_(self):
        """Numba asks what it meets in another kernel for its type by this name: a kernel is what it stands for."""
        return self.compiled._numba_type_

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.compiled, name)

    def __call__(self, *arguments):
        if self.is_parallel:
            return late.module("alone").run_alone(self.compiled, *arguments)
        return self.compiled(*arguments)


def njit(function=None, *, parallel: bool = False):
    """A kernel: a function that Python and other kernels call, and Numba compiles."""
    if function is None:
        return lambda f: njit(f, parallel=parallel)
    if late.is_jit_disabled():
        # As compiled code: a counter wraps, a division by zero is infinite, and nobody is warned.
        return np.errstate(all="ignore")(function)
    return Kernel(function, parallel)


def entry(function=None, *, before: Callable | None = None):
    """A kernel that Python alone calls, often without Numba (`Entry`). before: called with its arguments before it is compiled.

    It returns what its annotation says (nothing, a bool, an int or a float), raises nothing and allocates nothing: its machine
    code can call neither Python nor Numba.
    """
    if function is None:
        return lambda f: entry(f, before=before)
    result = function.__annotations__.get("return")
    return Entry(function.__module__, function.__name__, kernel=njit(function), before=before, result=result)


def bound(kernel, arguments: tuple):
    """The machine code of a kernel for the types of these arguments, to be called again and again with others of the same types.

    Numba finds out the type of every argument at every call, which costs more than a small layer: 10 us for two dozen of them.
    """
    if isinstance(kernel, Entry):
        return kernel.code(arguments)
    if not isinstance(kernel, Kernel):
        return kernel
    code = late.module("choice").members.code_of(kernel.compiled, arguments)
    return functools.partial(late.module("alone").run_alone, code) if kernel.is_parallel else code
