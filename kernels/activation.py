"""The numbers by which kernels identify activations; `activation_table.py` has what each computes."""

from minisqx.errors import OptionError
from minisqx.kernels.activation_table import ACTIVATIONS, NO_ACTIVATION

NUMBERS: dict[str | None, int] = {None: NO_ACTIVATION} | {each.name: number for number, each in enumerate(ACTIVATIONS, 1)}


def number_of(name: str | None) -> int:
    """The number of an activation. Raises OptionError for an unknown name."""
    if name not in NUMBERS:
        raise OptionError(f"activation {name!r}: expected one of {', '.join(map(repr, NUMBERS))}")
    return check_activation(NUMBERS[name])


def check_activation(number: int) -> int:
    """Returns the number. Raises OptionError if no activation has it."""
    if number not in range(len(ACTIVATIONS) + 1):
        known = ", ".join(f"{place} ({each.title})" for place, each in enumerate(ACTIVATIONS, 1))
        raise OptionError(f"activation number {number!r}: expected {NO_ACTIVATION} (none), {known}")
    return number


def entry_of(number: int):
    """The entry of an activation in the table. number: not NO_ACTIVATION."""
    return ACTIVATIONS[number - 1]
