"""Runs parallel kernels one at a time, and refuses them in a process where Numba would crash."""

import os
import sys
import threading
from contextlib import suppress

import numba

from minisqx.errors import TrainingError
from minisqx.kernels.compiler import late
from minisqx.kernels.compiler.choice import members
from minisqx.machine.threads import threads

# Iterations for which a waiting thread of GNU OpenMP spins before it sleeps: about as long as Python takes between kernels.
# By default it spins for milliseconds, and on a busy machine keeps the CPU from the threads for which it waits: a step then takes
# several times as long (docs/performance.md).
SPINS = "2000"
_SPINS_VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
_started = False


def start_threads() -> None:
    """Starts Numba's threads, which Numba would do when it compiles or loads a parallel kernel.

    GNU OpenMP reads its variable when it is loaded. A variable set by the user takes precedence.
    """
    global _started
    if _started:
        return
    variable = _SPINS_VARIABLES[0]
    set_ours = not any(name in os.environ for name in _SPINS_VARIABLES)
    if set_ours:
        os.putenv(variable, SPINS)  # not os.environ, which the program may read
    try:
        numba.get_num_threads()
    finally:
        if set_ours:
            os.unsetenv(variable)
    _started = True


def threading_layer() -> str:
    """The layer that runs Numba's parallel kernels: tbb, omp or workqueue. Starts it if necessary."""
    start_threads()
    return numba.threading_layer()


# Numba's `workqueue` layer ends the process if two Python threads run parallel kernels at once, and GNU OpenMP ends a forked
# child whose parent has used it. Hence a lock, which a fork takes before the compiler's (`choice.py`), and a flag in the child.
_parallel = threading.RLock()
_forked_after_openmp = False


def _note_fork() -> None:
    global _forked_after_openmp
    with suppress(ValueError):  # no layer has been started
        _forked_after_openmp = _forked_after_openmp or (numba.threading_layer() == "omp" and sys.platform == "linux")


late.hold_during_forks(_parallel)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


def chosen_threads() -> int:
    """On how many threads a parallel kernel of this Python thread runs."""
    start_threads()
    return threads(members.thread_count())


def run_alone(code, *arguments):
    """Runs a parallel kernel while no other one runs. Raises TrainingError if GNU OpenMP would end the process."""
    if _forked_after_openmp:
        raise TrainingError(
            "this process was forked from one that has trained, and GNU OpenMP doesn't work in it: start it with"
            " multiprocessing's method 'spawn', or set NUMBA_THREADING_LAYER=workqueue before Python starts"
        )
    with _parallel:
        start_threads()
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
