"""`Ranks`: the processes that do one job together, as MPI numbers them. `ALONE`, the usual case, is one process.

All ranks run the same program on the same options. Each computes its share of the work, and all know every result, so each takes
the same decisions. `minisqx.mpi` has the ranks of several processes; code that divides work takes a `Ranks` and knows no more.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy as np

Value = TypeVar("Value")


class Ranks:
    """One process, which does all of the work. number: its own, from 0. count: of all. on_host: how many share its host."""

    number, count, on_host = 0, 1, 1

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that reports and writes files."""
        return self.number == 0

    def share(self, pieces: int) -> range:
        """The pieces of `pieces` that this rank computes: neighbours, of which every rank has as many as another, or one more."""
        return range(self.number * pieces // self.count, (self.number + 1) * pieces // self.count)

    def gathering(self, array: "np.ndarray", rows: int) -> Any:
        """The call (`kernels.compiler.tasks.Call`) that fills `array` with the rows of all ranks; None if none are missing.

        rows: of each piece; a rank has those of its `share` of the pieces.
        """
        return None

    def everyones(self, value: Value) -> list[Value]:
        """The values of all ranks, which must all call this, in their order."""
        return [value]

    def from_first(self, make: Callable[[], Value]) -> Value:
        """make(), which only the first rank calls."""
        return make()

    def one_by_host(self, make: Callable[[], Value]) -> Value:
        """make(), which the first rank of each host calls before its others: these find what it left in a cache."""
        return make()

    def largest(self, number: int) -> int:
        """The largest of all ranks' numbers."""
        return number

    def wait(self) -> None:
        """Returns when all ranks have called this."""


ALONE = Ranks()
