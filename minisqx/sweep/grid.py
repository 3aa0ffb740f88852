"""The trials of a sweep: every combination of the values of some options, each with several seeds.

Reads no files and imports no Numba, so that invalid values are reported at once.
"""

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from minisqx.checks import is_whole, require
from minisqx.errors import OptionError
from minisqx.spec import NetworkSpec
from minisqx.training.options import TrainingOptions

SWEPT = ("width", "blocks", "dropout")
MAX_VALUES, MAX_TRIALS = 1000, 10_000


@dataclass(frozen=True)
class Trial:
    """One training. values: of the swept options and the seed, by their names. folder: its run folder."""

    values: dict[str, Any]
    options: TrainingOptions
    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def combination(self) -> tuple:
        """The values of the swept options: the same for trials that differ in their seed alone."""
        return tuple(value for name, value in self.values.items() if name != "seed")

    @property
    def spec(self) -> NetworkSpec:
        """The network as it is for CIFAR-10; the data may have other classes and sizes."""
        return self.options.network()

    @property
    def cost(self) -> int:
        """The multiply-adds of an image. Everything else that takes time is the same for all trials."""
        return self.spec.macs


@dataclass(frozen=True)
class Grid:
    """values: each swept option's values. common: the other options of all trials. seeds: how many, from the common seed on.

    Raises OptionError for no trials, too many, or options that no trial can have.
    """

    out: Path
    values: dict[str, tuple]
    common: dict[str, Any]
    seeds: int = 1
    trials: tuple[Trial, ...] = field(init=False)

    def __post_init__(self) -> None:
        require(is_whole(self.seeds, 1, MAX_TRIALS), "seeds", self.seeds, f"a whole number from 1 to {MAX_TRIALS}")
        object.__setattr__(self, "trials", tuple(itertools.islice(self._trials(), MAX_TRIALS + 1)))
        if not 0 < len(self.trials) <= MAX_TRIALS:
            raise OptionError(f"more than {MAX_TRIALS} trials: expected fewer values or seeds")
        names = [trial.name for trial in self.trials]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise OptionError(f"the trial {twice} comes twice: give each value once")

    def _trials(self) -> Iterator[Trial]:
        first = self.common.get("seed", TrainingOptions.seed)
        for chosen in itertools.product(*self.values.values(), range(first, first + self.seeds)):
            values = dict(zip((*self.values, "seed"), chosen))
            folder = self.out / "trials" / "_".join(f"{name}-{_word(value)}" for name, value in values.items())
            yield Trial(values, TrainingOptions(**{**self.common, **values, "out": str(folder)}), folder)


def _word(value: Any) -> str:
    return "".join(map(str, value)) if isinstance(value, tuple) and max(value) < 10 else str(value).replace(", ", "-").strip("()")


def numbers(text: str) -> tuple[float, ...]:
    """The numbers of "0.1,0.2" or of "0.1:0.5:0.1" (from, to, step; both ends count), or of a list of both."""
    found: list[float] = []
    for part in text.split(","):
        try:
            ends = [Decimal(each.strip()) for each in part.split(":")]
        except InvalidOperation:
            ends = []
        if not all(each.is_finite() for each in ends) or len(ends) not in (1, 3) or (len(ends) == 3 and ends[2] <= 0):
            raise argparse.ArgumentTypeError(f"{text!r}: expected numbers such as 0.1,0.2 or from:to:step such as 0.1:0.5:0.1")
        start, stop, step = ends if len(ends) == 3 else (ends[0], ends[0], Decimal(1))
        # Decimals, since 0.1 + 0.2 is not 0.3 in binary numbers.
        count = int((stop - start) / step) + 1
        if not 1 <= count <= MAX_VALUES:
            raise argparse.ArgumentTypeError(f"{text!r}: expected 1 to {MAX_VALUES} numbers")
        found += [float(start + number * step) for number in range(count)]
    return tuple(found)


def rows_of_blocks(text: str) -> tuple[tuple[int, ...], ...]:
    """The blocks of "1111,1221", or of "1-10-1-1" where a number has two digits."""
    try:
        return tuple(tuple(map(int, part.split("-") if "-" in part else part)) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected the bottlenecks of the four stages, such as 1111,1221 or 1-10-1-1"
        ) from None
