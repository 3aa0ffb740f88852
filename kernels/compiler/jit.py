"""What kernels are written with: `njit` compiles a kernel, `entry` makes one that runs without Numba, `bound` returns its code.

Nothing here imports Numba before a kernel must be compiled.
"""

import functools
from collections.abc import Callable

import numpy as np

from minisqx.kernels.compiler import late
from minisqx.kernels.compiler.entry import Entry


class Kernel:
    """A kernel that Numba compiles at its first call with given types, to run without the GIL, and caches on disk.

    The only parallel one is `team.work_together`, of which one call runs at a time.
    """

    def __init__(self, function: Callable, parallel: bool):
        self.py_func, self.is_parallel = function, parallel
        functools.update_wrapper(self, function)

    @property
    def compiled(self):
        """Numba's dispatcher, made at its first use."""
        if "_compiled" not in vars(self):
            made = late.module("choice").dispatcher(self.py_func, self.is_parallel)
            vars(self).setdefault("_compiled", made)  # two threads may each make one, and both get the same
        return vars(self)["_compiled"]

    @property
    def _numba_type_(self):
        """By this name Numba asks a global of another kernel for its type. So the other kernel calls the dispatcher."""
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
    """A decorator for a kernel, which Python and other kernels may call."""
    if function is None:
        return lambda f: njit(f, parallel=parallel)
    if late.is_jit_disabled():
        # As in compiled code, integers wrap, and division by zero gives infinity without a warning.
        return np.errstate(all="ignore")(function)
    return Kernel(function, parallel)


def entry(function=None, *, before: Callable | None = None):
    """A decorator for a kernel of inference that only Python calls (`Entry`).

    before: called with the arguments before the kernel is compiled. The kernel returns what its annotation says (nothing, a bool,
    an int or a float); it raises and allocates nothing, since without Numba its machine code can call neither Python nor Numba.
    """
    if function is None:
        return lambda f: entry(f, before=before)
    result = function.__annotations__.get("return")
    return Entry(function.__module__, function.__name__, kernel=njit(function), before=before, result=result)


def bound(kernel: Entry, arguments: tuple) -> Callable:
    """The machine code of an entry for the types of these arguments, to be called repeatedly with arguments of the same types."""
    return kernel.code(arguments).call
