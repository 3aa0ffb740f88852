"""Options and arguments as a user gives them: NumPy's numbers become Python's, and what is impossible is refused in one line.

Numbers that NumPy made are taken wherever Python's are, and kept as Python's own: so they can be written as JSON, and no kernel
is compiled once more for their type. NumPy itself isn't needed here.
"""

import numbers
import sys

from minisqx.errors import OptionError


def plain(value):
    """`value` with Python's own numbers, truth values and text in place of NumPy's; an array becomes a list."""
    if isinstance(value, (tuple, list)):
        return (tuple if isinstance(value, tuple) else list)(map(plain, value))
    if hasattr(value, "tolist"):
        made = value.tolist()
        if isinstance(made, list):
            return plain(made)
        # Of a long double it is a long double.
        return float(made) if isinstance(made, numbers.Real) and hasattr(made, "tolist") else made
    return value


def settle(options) -> None:
    """Makes every field of a frozen dataclass plain."""
    for name in options.__dataclass_fields__:
        object.__setattr__(options, name, plain(getattr(options, name)))


def require(ok: bool, what: str, given: object, expected: str) -> None:
    """Raises OptionError unless `ok`."""
    if not ok:
        raise OptionError(f"{what} {given!r}: expected {expected}")


def is_whole(value: object, least: int, most: int) -> bool:
    """Whether a plain value is a whole number from `least` to `most`."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def is_name(value: object) -> bool:
    """Whether it is printable text on one line. The two joiners are part of words in Persian and Indic scripts and of emoji."""
    return isinstance(value, str) and (text := value.translate({0x200C: None, 0x200D: None})) != "" and text.isprintable()


def is_number(value: object) -> bool:
    """Whether a plain value is a finite number."""
    # A whole number may be beyond every float.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
