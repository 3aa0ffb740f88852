"""Numba, imported when a kernel has to be compiled and not before: its import takes half a second and 70 MB."""

import os
import sys
import threading
from importlib import import_module

from minisqx.kernels.compiler.identity import has_usual_settings

# A fork waits while a thread imports: in the child nobody would be left to finish the import.
_importing = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_importing.acquire, after_in_parent=_importing.release, after_in_child=_importing.release)


def module(name: str):
    """A module of this package that imports Numba."""
    with _importing:
        # Numba would import it at a kernel's first call.
        import numpy.ma  # noqa: F401

        return import_module(f"minisqx.kernels.compiler.{name}")


def is_jit_disabled() -> bool:
    """Whether kernels run as plain Python (`NUMBA_DISABLE_JIT=1`). Only Numba knows, if it has other settings than the usual."""
    if "numba" not in sys.modules and has_usual_settings():
        return False
    with _importing:
        import numba

        return bool(numba.config.DISABLE_JIT)
