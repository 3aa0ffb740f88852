"""Activations by their numbers, as kernels take them; what each computes is in `activation_table.py`."""

from minisqx.errors import OptionError
from minisqx.kernels.activation_table import ACTIVATIONS, NO_ACTIVATION

NUMBERS: dict[str | None, int] = {None: NO_ACTIVATION} | {each.name: number for number, each in enumerate(ACTIVATIONS, 1)}


def number_of(name: str | None) -> int:
    """The number by which kernels know an activation; raises OptionError for one that they don't have."""
    if name not in NUMBERS:
        raise OptionError(f"activation {name!r}: expected one of {', '.join(map(repr, NUMBERS))}")
    return check_activation(NUMBERS[name])


def check_activation(number: int) -> int:
    """The number itself; raises OptionError for one that the table doesn't have."""
    if number not in range(len(ACTIVATIONS) + 1):
        known = ", ".join(f"{place} ({each.title})" for place, each in enumerate(ACTIVATIONS, 1))
        raise OptionError(f"activation number {number!r}: expected {NO_ACTIVATION} (none), {known}")
    return number


def entry_of(number: int):
    """The table's entry of an activation that is not NO_ACTIVATION."""
    return ACTIVATIONS[number - 1]
