"""Tables of plain text, aligned for a terminal."""

from collections.abc import Iterator, Sequence
from unicodedata import category, east_asian_width

WIDTH = 100  # columns of a page


def table(rows: Sequence[Sequence[str]], left: int = 1) -> Iterator[str]:
    """The lines of a table: the first `left` columns stand to the left, the others, numbers, to the right."""
    widths = [max(map(columns, column)) for column in zip(*rows)]
    for row in rows:
        cells = []
        for at, (cell, width) in enumerate(zip(row, widths)):
            space = " " * (width - columns(cell))
            cells.append(cell + space if at < left else space + cell)
        yield "  ".join(cells).rstrip()


def columns(text: str) -> int:
    """How many columns of a terminal a text takes: a class may have a name in Chinese letters, which take two each."""
    if text.isascii():
        return len(text)
    return sum(0 if category(letter) in ("Mn", "Me", "Cf") else 1 + (east_asian_width(letter) in "WF") for letter in text)
