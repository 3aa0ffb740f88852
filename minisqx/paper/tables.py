"""A table and its renderings: text for a terminal, Markdown and CSV."""

import io
import textwrap
from collections.abc import Iterator
from csv import writer
from dataclasses import dataclass

from minisqx.text import WIDTH
from minisqx.text import table as aligned

NONE = "-"  # a cell without a value

Cell = str | int | float


@dataclass(frozen=True)
class Table:
    """header: column names, with units. rows: one cell per column, text or a number, which CSV writes without commas.

    remarks: one per row, "" for none. notes: paragraphs below the table. left: how many columns are left-aligned.
    second: in text, a row's cells from this index on form a second line under the same headings; 0 for one line.
    noted: how many of the last columns text omits, because the notes have their content.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    remarks: tuple[str, ...]
    notes: tuple[str, ...] = ()
    left: int = 1
    second: int = 0
    noted: int = 0


def text(table: Table, width: int = WIDTH) -> Iterator[str]:
    """Aligned columns, remarks under their rows, notes below, for a terminal."""
    yield from paragraph(table.title, width)
    yield ""
    end = len(table.header) - table.noted
    heads = [heading.removeprefix("ours: ") for heading in table.header[table.second : end]]
    grids = [_stacked(_written(row[:end]), table.second, len(heads)) for row in table.rows]
    cells = [row for grid in grids for row in grid]
    # A table may have no rows.
    head = _wrapped(heads, [max((len(row[at]) for row in cells), default=0) for at in range(len(heads))])
    lines = aligned([*head, *cells], table.left)
    for _ in head:
        yield next(lines)
    yield "-" * width
    for at, (grid, remark) in enumerate(zip(grids, table.remarks)):
        if at and table.second:
            yield ""
        for _ in grid:
            yield next(lines)
        yield from paragraph(remark, width, "    ")
    for note in table.notes:
        yield ""
        yield from paragraph(note, width)


def paragraph(words: str, width: int, indent: str = "") -> list[str]:
    """The lines of `words`, indented by `indent`, each at most `width` long."""
    return textwrap.wrap(words, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _written(row: tuple[Cell, ...]) -> tuple[str, ...]:
    """A row as text, with thousands separators."""
    return tuple(cell if isinstance(cell, str) else f"{cell:,}" for cell in row)


def _stacked(row: tuple[str, ...], second: int, columns: int) -> list[tuple[str, ...]]:
    """A row as one line, or as two: the first padded to `columns` cells, the second indented."""
    if not second:
        return [row]
    first, (name, *rest) = row[:second], row[second:]
    return [(*first, *[""] * (columns - second)), (f"  {name}", *rest)]


def _wrapped(heads: list[str], widths: list[int]) -> list[list[str]]:
    """The headings, wrapped at spaces to the width of their column where possible."""
    parts = [
        textwrap.wrap(head, max(width, *map(len, head.split())), break_long_words=False, break_on_hyphens=False)
        for head, width in zip(heads, widths)
    ]
    height = max(map(len, parts))
    return [list(line) for line in zip(*([""] * (height - len(part)) + part for part in parts))]


def markdown(table: Table) -> Iterator[str]:
    """A heading, the table with remarks in its last column, and the notes below."""
    yield f"### {table.title}"
    yield ""
    yield _markdown_row((*table.header, "remark"))
    yield "|" + "---|" * table.left + "---:|" * (len(table.header) - table.left) + "---|"
    for row, remark in zip(table.rows, table.remarks):
        yield _markdown_row((*_written(row), remark))
    for note in table.notes:
        yield ""
        yield note


def _markdown_row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def csv(table: Table) -> Iterator[str]:
    """The header and one record per row, with remarks in the last column; a missing value is empty."""
    yield record((*table.header, "remark"))
    for row, remark in zip(table.rows, table.remarks):
        yield record((*("" if cell == NONE else cell for cell in row), remark))


def record(cells: tuple[Cell, ...]) -> str:
    """One line of CSV."""
    line = io.StringIO()
    writer(line, lineterminator="").writerow(cells)
    return line.getvalue()
