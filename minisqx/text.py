"""Tables of plain text, aligned for a terminal."""

from collections.abc import Iterator, Sequence
from unicodedata import category, east_asian_width

WIDTH = 100  # columns


def table(rows: Sequence[Sequence[str]], left: int = 1) -> Iterator[str]:
    """The lines of a table: its first `left` columns are left-aligned, the others, numbers, right-aligned."""
    widths = [max(map(columns, column)) for column in zip(*rows)]
    for row in rows:
        cells = []
        for at, (cell, width) in enumerate(zip(row, widths)):
            space = " " * (width - columns(cell))
            cells.append(cell + space if at < left else space + cell)
        yield "  ".join(cells).rstrip()


def columns(text: str) -> int:
    """The terminal columns that a text takes: a Chinese character in a class name takes two, a combining accent none."""
    if text.isascii():
        return len(text)
    return sum(0 if category(letter) in ("Mn", "Me", "Cf") else 1 + (east_asian_width(letter) in "WF") for letter in text)
