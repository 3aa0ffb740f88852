"""Runs parallel kernels one at a time, and refuses them in a process where Numba would crash."""

import os
import sys
import threading
from contextlib import suppress

import numba
from numba.core.compiler_lock import global_compiler_lock

from minisqx.errors import TrainingError
from minisqx.kernels.compiler.choice import members
from minisqx.machine.threads import threads


def threading_layer() -> str:
    """The layer that runs Numba's parallel kernels: tbb, omp or workqueue. Starts it if necessary."""
    numba.get_num_threads()
    return numba.threading_layer()


# Numba's `workqueue` layer ends the process if two Python threads run parallel kernels at once, and GNU OpenMP ends a forked
# child whose parent has used it. Hence a lock, and a flag in the child. A fork first acquires this lock and the compiler's,
# because in the child no thread would be left to release them.
_parallel = threading.RLock()
_forked_after_openmp = False


def _before_fork() -> None:
    _parallel.acquire()
    global_compiler_lock.acquire()


def _after_fork() -> None:
    global_compiler_lock.release()
    _parallel.release()


def _after_fork_in_child() -> None:
    global _forked_after_openmp
    _after_fork()
    with suppress(ValueError):  # no layer was started
        _forked_after_openmp = _forked_after_openmp or (numba.threading_layer() == "omp" and sys.platform == "linux")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)


def run_alone(code, *arguments):
    """Runs a parallel kernel while no other one runs. Raises TrainingError if GNU OpenMP would end the process."""
    if _forked_after_openmp:
        raise TrainingError(
            "this process was forked from one that has trained, and GNU OpenMP doesn't work in it: start it with"
            " multiprocessing's method 'spawn', or set NUMBA_THREADING_LAYER=workqueue before Python starts"
        )
    with _parallel:
        # Numba's number of threads, one for each Python thread, is the caller's: change it only for this kernel.
        previous = members.thread_count()
        count = threads(previous)
        if count == previous:
            return code(*arguments)
        members.set_thread_count(count)
        try:
            return code(*arguments)
        finally:
            members.set_thread_count(previous)
