"""Parallel kernels run one at a time, and not in a process that can't run them."""

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
    """What Numba's parallel kernels run on: tbb, omp or workqueue. Starts it unless it runs."""
    numba.get_num_threads()
    return numba.threading_layer()


# Numba's `workqueue` layer ends the process when two Python threads run parallel kernels at once, and GNU OpenMP ends a forked
# process whose parent had used it. Hence a lock, and a flag in the child. A fork waits for this lock and the compiler's: in the
# child no thread would be left to release them.
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
    with suppress(ValueError):  # no layer has been started
        _forked_after_openmp = _forked_after_openmp or (numba.threading_layer() == "omp" and sys.platform == "linux")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)


def run_alone(code, *arguments):
    """Runs a parallel kernel while no other one runs. Raises TrainingError where the system would end the process."""
    if _forked_after_openmp:
        raise TrainingError(
            "this process was forked from one that had trained, and GNU OpenMP can't go on in it: start it with"
            " multiprocessing's method 'spawn', or set NUMBA_THREADING_LAYER=workqueue before Python starts"
        )
    with _parallel:
        # Numba keeps a number for each Python thread. It is the caller's: ours holds for this kernel only.
        before = members.thread_count()
        count = threads(before)
        if count == before:
            return code(*arguments)
        members.set_thread_count(count)
        try:
            return code(*arguments)
        finally:
            members.set_thread_count(before)
