"""The ranks of an MPI program, through mpi4py: `with ranks_of_mpi() as ranks:`, in every process that `mpiexec` has started.

Nothing here decides what is computed. Values travel as pickles or bytes, so they arrive with the same bits.
"""

import ctypes
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np

from minisqx.errors import MinisqxError, MissingExtraError
from minisqx.kernels.compiler.tasks import Call
from minisqx.kernels.exchange import exchange
from minisqx.machine.ranks import Ranks, Value

STATUS_BYTES = 256  # more than MPI_Status has anywhere
OTHER_ERROR = 1
FORWARDING = 0.5  # seconds that a launcher gets to pass on the line, before everything is ended
ALONE_AFTER = 2.0  # seconds after which a rank knows that not all have failed
PATIENCE = 0.002  # seconds between two looks of a rank that waits for others


class MpiRanks(Ranks):
    """The ranks of a communicator of mpi4py; its errors end the program."""

    def __init__(self, mpi: Any):
        self._mpi, self._communicator = mpi, mpi.COMM_WORLD.Dup()
        self._communicator.Set_errhandler(mpi.ERRORS_ARE_FATAL)
        self.number, self.count = self._communicator.rank, self._communicator.size
        self._failed = self._communicator.Dup()
        self._host = self._communicator.Split_type(mpi.COMM_TYPE_SHARED)
        self.on_host = self._host.size
        library = ctypes.CDLL(mpi.__file__)
        functions = library.MPI_Start, library.MPI_Wait
        self._functions = tuple(ctypes.cast(function, ctypes.c_void_p).value for function in functions)
        self._status = np.zeros(STATUS_BYTES, np.uint8)
        # Each array's call, which keeps the array: an operation is made by all ranks together, so none may make it again alone.
        self._gatherings: dict[int, tuple[np.ndarray, Any, Call]] = {}

    def gathering(self, array: np.ndarray, rows: int) -> Call | None:
        if self.count == 1 or not array.size:
            return None
        if id(array) in self._gatherings:
            return self._gatherings[id(array)][2]
        pieces, row_bytes = -(-len(array) // rows), array.nbytes // len(array)
        ends = [min((number + 1) * pieces // self.count * rows, len(array)) * row_bytes for number in range(self.count)]
        starts = [0, *ends[:-1]]
        sizes = [end - start for start, end in zip(starts, ends)]
        buffer = [memoryview(array).cast("B"), sizes, starts, self._mpi.BYTE]
        request = self._communicator.Allgatherv_init(self._mpi.IN_PLACE, buffer)
        call = exchange.bind((*self._functions, self._mpi._addressof(request), self._status.ctypes.data))
        self._gatherings[id(array)] = array, request, call
        return call

    def everyones(self, value: Value) -> list[Value]:
        self.wait()
        return self._communicator.allgather(value)

    def from_first(self, make: Callable[[], Value]) -> Value:
        made = make() if self.is_first else None
        self.wait()
        return self._communicator.bcast(made)

    def one_by_host(self, make: Callable[[], Value]) -> Value:
        if self._host.rank:
            _wait(self._host)
            return make()
        made = make()
        _wait(self._host)
        return made

    def largest(self, number: int) -> int:
        return self._communicator.allreduce(number, self._mpi.MAX)

    def wait(self) -> None:
        _wait(self._communicator)

    def close(self) -> None:
        """Frees what MPI would otherwise list at the end of the program."""
        for _, request, _ in self._gatherings.values():
            request.Free()
        self._gatherings.clear()

    def abort(self, error: Exception) -> NoReturn:
        """Reports an error that this rank met and ends all ranks. If all have met it, only the first one speaks."""
        all_failed = self._failed.Ibarrier()
        if self.is_first:
            self._report(error)
        end = time.monotonic() + (FORWARDING if self.is_first else ALONE_AFTER)
        while time.monotonic() < end and (self.is_first or not all_failed.Test()):
            all_failed.Test()
            time.sleep(PATIENCE)
        if not self.is_first:
            if not all_failed.Test():
                self._report(error)
            time.sleep(ALONE_AFTER)
        self._mpi.COMM_WORLD.Abort(_code(error))
        os._exit(_code(error))  # Abort may return before this process is ended

    def _report(self, error: Exception) -> None:
        if _code(error) == OTHER_ERROR:
            traceback.print_exception(error)
        where = f"rank {self.number} of {self.count} on {socket.gethostname()}: " if self.count > 1 else ""
        sys.stdout.flush()
        print(f"minisqx: {where}{' '.join(str(error).split())}", file=sys.stderr, flush=True)


def _code(error: Exception) -> int:
    """The exit code for an error."""
    return error.exit_code if isinstance(error, MinisqxError) else OTHER_ERROR


def _wait(communicator: Any) -> None:
    """Returns when all its ranks have called this. Until then it leaves the CPU to others, and Ctrl-C is heard."""
    request = communicator.Ibarrier()
    while not request.Test():
        time.sleep(PATIENCE)


@contextmanager
def ranks_of_mpi() -> Iterator[MpiRanks]:
    """The ranks that `mpiexec` has started, or one; an error in the block ends them all.

    Raises MissingExtraError without mpi4py or an MPI library.
    """
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise MissingExtraError(
            f"several processes need MPI, which can't be loaded ({' '.join(str(error).split())}): pip install 'minisqx[mpi]',"
            " or on a cluster pip install mpi4py beside the MPI of the site"
        ) from None
    ranks = MpiRanks(MPI)
    try:
        yield ranks
    except Exception as error:
        ranks.abort(error)
    finally:
        ranks.close()
