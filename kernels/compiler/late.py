"""Imports Numba when a kernel must be compiled, and not before: the import takes half a second and 70 MB."""

import os
import sys
import threading
from importlib import import_module
from typing import Any

from minisqx.kernels.compiler.identity import has_default_settings


def hold_during_forks(lock) -> None:
    """Every fork from now on acquires the lock first: in the child no thread would be left to release it.

    Forks acquire the lock that was given last first. Where two are held at once, the other threads must keep to that order, too.
    """
    held: list[bool] = []  # a fork that has begun while the lock was given here doesn't hold it

    def acquire() -> None:
        lock.acquire()
        held.append(True)

    def release() -> None:
        if held:
            held.pop()
            lock.release()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=acquire, after_in_parent=release, after_in_child=release)


class _LockOfLlvmlite:
    """The lock that llvmlite holds while a thread is inside LLVM, if it is imported by then.

    A thread may be there without Numba's lock, such as where it frees what was compiled.
    """

    def __init__(self) -> None:
        self._held: list[Any] = []

    def acquire(self) -> None:
        library = getattr(sys.modules.get("llvmlite.binding.ffi"), "lib", None)
        if (lock := getattr(library, "_lock", None)) is not None:
            lock.__enter__()
            self._held.append(lock)

    def release(self) -> None:
        if self._held:
            self._held.pop().__exit__(None, None, None)


# The last lock that a fork acquires: other threads hold Numba's, or import Numba, while they are inside LLVM.
hold_during_forks(_LockOfLlvmlite())
_importing = threading.RLock()
hold_during_forks(_importing)


def module(name: str):
    """A module of this package that imports Numba."""
    with _importing:
        import numpy.ma  # noqa: F401  # else Numba imports it in a kernel's first call, outside of this lock

        return import_module(f"minisqx.kernels.compiler.{name}")


def kernels(name: str):
    """A module of kernels that imports Numba."""
    with _importing:
        return import_module(name)


def is_jit_disabled() -> bool:
    """Whether kernels run as plain Python (`NUMBA_DISABLE_JIT=1`)."""
    if "numba" not in sys.modules and has_default_settings():
        return False
    with _importing:
        import numba

        return bool(numba.config.DISABLE_JIT)
