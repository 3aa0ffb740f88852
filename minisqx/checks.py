"""Validation of options and arguments.

NumPy scalars are accepted wherever Python numbers are, and converted to them, so that they can be written as JSON and no kernel
is compiled again for their type. This module does not import NumPy.
"""

import numbers
import sys

from minisqx.errors import OptionError


def plain(value):
    """`value` with NumPy scalars converted to Python's int, float, bool and str, also in tuples and lists; an array as a list."""
    if isinstance(value, (tuple, list)):
        return (tuple if isinstance(value, tuple) else list)(map(plain, value))
    if hasattr(value, "tolist"):
        made = value.tolist()
        if isinstance(made, list):
            return plain(made)
        # `tolist` of a long double returns a long double.
        return float(made) if isinstance(made, numbers.Real) and hasattr(made, "tolist") else made
    return value


def make_fields_plain(options) -> None:
    """Applies `plain` to every field of a frozen dataclass."""
    for name in options.__dataclass_fields__:
        object.__setattr__(options, name, plain(getattr(options, name)))


def require(ok: bool, what: str, given: object, expected: str) -> None:
    """Raises OptionError("{what} {given}: expected {expected}") unless `ok`."""
    if not ok:
        raise OptionError(f"{what} {given!r}: expected {expected}")


def is_whole(value: object, low: int, high: int) -> bool:
    """Whether a plain value is an integer, low <= value <= high."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def is_name(value: object) -> bool:
    """Whether `value` is printable text on one line. Zero-width joiners are allowed: Persian, Indic scripts, emoji."""
    return isinstance(value, str) and (text := value.translate({0x200C: None, 0x200D: None})) != "" and text.isprintable()


def is_number(value: object) -> bool:
    """Whether a plain value is a finite number in the range of a float."""
    # An int may be too large for a float.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
