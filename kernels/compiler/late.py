"""Imports Numba when a kernel must be compiled, and not before: the import takes half a second and 70 MB."""

import os
import sys
import threading
from importlib import import_module

from minisqx.kernels.compiler.identity import has_default_settings

# A fork waits for an import: in the child no thread would be left to finish it, or to release its lock.
_importing = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_importing.acquire, after_in_parent=_importing.release, after_in_child=_importing.release)


def module(name: str):
    """A module of this package that imports Numba."""
    with _importing:
        import numpy.ma  # noqa: F401  # else Numba imports it in a kernel's first call, outside of this lock

        return import_module(f"minisqx.kernels.compiler.{name}")


def is_jit_disabled() -> bool:
    """Whether kernels run as plain Python (`NUMBA_DISABLE_JIT=1`)."""
    if "numba" not in sys.modules and has_default_settings():
        return False
    with _importing:
        import numba

        return bool(numba.config.DISABLE_JIT)
