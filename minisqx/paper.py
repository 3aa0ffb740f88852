"""The paper's Tables I to VI beside the same networks here, computed from their descriptions.

Source: Duggal and El-Sharkawy, "Shallow SqueezeNext: An Efficient & Shallow DNN". Which network a row is follows from the size of
its file, since names and rows contradict each other in places; each such row says so in a remark.

The paper's sizes are of files that PyTorch wrote (1 MB = 10^6 bytes), which hold more than the numbers:

- Shallow SqueezeNext: the whole module, pickled. That adds each layer's options, its Python attributes and the names and shapes
  of its tensors, so a share for every basic block; and the source text of every class, once. Least squares of the relative errors
  over the 15 distinct rows up to 1.9 MB that a network fits (Table IV, with files of its own, aside) give 2,673 bytes a block and
  23,166 bytes once, here rounded. A module of such blocks that PyTorch 2.13 writes in the old file format has 2,074 and 23,886.
- SqueezeNext: only about 1.6 KB a block, as for a `state_dict` with the names and shapes of its tensors and no source text.
- SqueezeNet: 50.6 KB. Both versions have 26 convolutions, so a share for each can't be told from a part that is there once.

Seconds an epoch are training plus test; the paper's are on an RTX 2080 Ti.
"""

import io
import json
import math
import textwrap
from collections.abc import Iterator, Sequence
from csv import writer
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import minisqx.data
from minisqx import zoo
from minisqx.errors import OptionError
from minisqx.report import WIDTH
from minisqx.report import table as aligned
from minisqx.spec import AveragePoolSpec, BottleneckSpec, ConvolutionSpec, DropoutSpec, LinearSpec, NetworkSpec, Unit
from minisqx.squeezenet import SqueezeNetSpec
from minisqx.squeezenext import BASELINE, SqueezeNextSpec

STYLES = ("text", "markdown", "csv")
NONE = "-"

# Bytes that the paper's files hold besides the state: (for each basic block, once).
SHALLOW_FILE = (2_670, 23_200)
SQUEEZENEXT_FILE = (1_630, 0)
SQUEEZENET_FILE = (0, 50_600)
# A row whose size is further from ours than this share, beyond the rounding of what is printed, gets a remark.
SIZE_TOLERANCE = 0.003


@dataclass(frozen=True)
class Table:
    """header: the columns, with units. rows: a cell a column. remarks: one a row, "" where there is nothing to say.

    notes: paragraphs for below the table. left: columns aligned to the left. second: text puts a row's cells from this one on
    into a second line, under the same headings; 0 for one line.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    remarks: tuple[str, ...]
    notes: tuple[str, ...] = ()
    left: int = 1
    second: int = 0


def run(table: str | None = None, style: str = "text") -> Iterator[str]:
    """The lines of one table ("I" to "VI"), or with None of all of them. style: of `STYLES`. Raises OptionError at once."""
    if style not in STYLES:
        raise OptionError(f"style {style!r}: expected one of {', '.join(STYLES)}")
    known = tables()
    if table is not None and table.upper() not in known:
        raise OptionError(f"table {table!r}: expected one of {', '.join(known)}; leave it out for all of them")
    chosen = list(known.values()) if table is None else [known[table.upper()]]
    return _lines(chosen, style)


def _lines(chosen: list[Table], style: str) -> Iterator[str]:
    """One table after the other; a note that several have stands below the first."""
    render = {"text": text, "markdown": markdown, "csv": csv}[style]
    said: set[str] = set()
    for at, table in enumerate(chosen):
        if at:
            yield ""
        if style == "csv" and len(chosen) > 1:
            yield _record((table.title,))
        yield from render(replace(table, notes=tuple(note for note in table.notes if note not in said)))
        said.update(table.notes)


def tables() -> dict[str, Table]:
    """Every table of the paper by its number, "I" to "VI"."""
    measured = _measured()
    found = {number: _comparison(number, measured) for number in _TITLES}
    return {**found, "VI": _table_6()}


def paper_bytes(spec: NetworkSpec) -> int:
    """Size of the network's file as the paper counts it, in bytes; see above."""
    if isinstance(spec, SqueezeNetSpec):
        block, once = SQUEEZENET_FILE
    elif isinstance(spec, SqueezeNextSpec) and spec.activation == BASELINE["activation"]:
        block, once = SQUEEZENEXT_FILE
    else:
        block, once = SHALLOW_FILE
    return spec.state_bytes + block * len(spec.convolutions) + once


def models() -> Iterator[str]:
    """The lines of a list of all networks that have a name."""
    printed: dict[str, str] = {}
    # Table IV's rows differ in dropout, Table II's copy others: the first mention elsewhere counts.
    for number in ("I", "III", "V"):
        for line in _PRINTED_ROWS[number].strip().splitlines():
            row = _Row(*map(str.strip, line.split("|")))
            if row.network:
                printed.setdefault(row.network, row.accuracy)
    measured, shipped = _measured(), zoo.weights()
    rows = [("model", "parameters", "MACs M", "state KB", "accuracy % in the paper", "here", "weights")]
    for name in zoo.names():
        spec, accuracy = zoo.network(name), measured.get(name, {}).get("accuracy")
        rows.append(
            (
                name,
                f"{spec.parameters:,}",
                f"{spec.macs / 1e6:#.3g}".rstrip("."),
                f"{spec.state_bytes / 1e3:,.1f}",
                printed.get(name, NONE),
                NONE if accuracy is None else f"{accuracy:.2f}",
                "come along" if name in shipped else NONE,
            )
        )
    yield from aligned(rows)
    yield ""
    yield from _paragraph(_MODELS_NOTE, WIDTH)


# How a table looks


def text(table: Table, width: int = WIDTH) -> Iterator[str]:
    """Aligned columns, remarks under their rows, notes below, for a terminal."""
    yield from _paragraph(table.title, width)
    yield ""
    heads = [heading.removeprefix("ours: ") for heading in table.header[table.second :]]
    grids = [_stacked(row, table.second, len(heads)) for row in table.rows]
    cells = [row for grid in grids for row in grid]
    head = _wrapped(heads, [max(map(len, column)) for column in zip(*cells)])
    lines = aligned([*head, *cells], table.left)
    for _ in head:
        yield next(lines)
    yield "-" * width
    for at, (grid, remark) in enumerate(zip(grids, table.remarks)):
        if at and table.second:
            yield ""
        for _ in grid:
            yield next(lines)
        yield from _paragraph(remark, width, "    ")
    for note in table.notes:
        yield ""
        yield from _paragraph(note, width)


def _paragraph(words: str, width: int, indent: str = "") -> list[str]:
    return textwrap.wrap(words, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _stacked(row: tuple[str, ...], second: int, columns: int) -> list[tuple[str, ...]]:
    """A row as one line, or as two: the first filled up to `columns` cells, the second indented."""
    if not second:
        return [row]
    first, (name, *rest) = row[:second], row[second:]
    return [(*first, *[""] * (columns - second)), (f"  {name}", *rest)]


def _wrapped(heads: list[str], widths: list[int]) -> list[list[str]]:
    """The headings, broken at spaces to the width of their column where that is possible."""
    parts = [
        textwrap.wrap(head, max(width, *map(len, head.split())), break_long_words=False, break_on_hyphens=False)
        for head, width in zip(heads, widths)
    ]
    height = max(map(len, parts))
    return [list(line) for line in zip(*([""] * (height - len(part)) + part for part in parts))]


def markdown(table: Table) -> Iterator[str]:
    """A heading, the table with the remarks as its last column, the notes below."""
    yield f"### {table.title}"
    yield ""
    yield _markdown_row((*table.header, "remark"))
    yield "|" + "---|" * table.left + "---:|" * (len(table.header) - table.left) + "---|"
    for row, remark in zip(table.rows, table.remarks):
        yield _markdown_row((*row, remark))
    for note in table.notes:
        yield ""
        yield note


def _markdown_row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def csv(table: Table) -> Iterator[str]:
    """The header and a record a row, with the remarks as the last column."""
    yield _record((*table.header, "remark"))
    for row, remark in zip(table.rows, table.remarks):
        yield _record((*row, remark))


def _record(cells: tuple[str, ...]) -> str:
    line = io.StringIO()
    writer(line, lineterminator="").writerow(cells)
    return line.getvalue()


# Tables I to V


@dataclass(frozen=True)
class _Row:
    """A line of `_PRINTED_ROWS`."""

    model: str
    option: str
    accuracy: str
    size: str
    seconds: str
    network: str
    remark: str
    named: str


_TITLES = {
    "I": "Table I: results comparison with SqueezeNet and SqueezeNext, CIFAR-10",
    "II": "Table II: Shallow SqueezeNext with different resolution multipliers",
    "III": "Table III: Shallow SqueezeNext with different width multipliers",
    "IV": "Table IV: Shallow SqueezeNext with different dropout probabilities",
    "V": "Table V: Shallow SqueezeNext, further results",
}
_OPTIONS = {"II": "resolution", "III": "width", "IV": "dropout p", "V": "width, resolution"}

# Model | option | accuracy | size | seconds, as printed | the zoo's network that fits | key of the remark | what the row's own
# words describe, if that is another network.
_PRINTED_ROWS = {
    "I": """
        SqueezeNet-v1.0        | | 79.59 | 3.013 | 4  | squeezenet-v1.0      | |
        SqueezeNet-v1.1        | | 77.55 | 2.961 | 4  | squeezenet-v1.1      | |
        SqueezeNext-23-1x-v1   | | 87.15 | 2.586 | 19 | squeezenext-23-1x-v1 | |
        SqueezeNext-23-1x-v5   | | 87.96 | 2.586 | 19 | squeezenext-23-1x-v5 | size copied |
        SqueezeNext-23-2x-v1   | | 90.48 | 9.525 | 22 | squeezenext-23-2x-v1 | same accuracy |
        SqueezeNext-23-2x-v5   | | 90.48 | 9.525 | 28 | squeezenext-23-2x-v5 | both copied |
        Shallow SqueezeNext-v1 | | 82.44 | 0.370 | 7  | shallow-06-0.5x      | no name |
        Shallow SqueezeNext-v1 | | 82.86 | 1.24  | 8  |                      | no name, no size |
    """,
    "II": """
        Shallow SqueezeNext-06-2x-v1 | 1111 | 89.35 | 4.21   | 21 | shallow-06-2x   | small file |
        Shallow SqueezeNext-06-2x-v1 | 1111 | 89.35 | 4.21   | 21 | shallow-06-2x   | printed twice |
        Shallow SqueezeNext-08-1x-v1 | 1221 | 77.48 | 2.96   | 4  |                 | copy of SqueezeNet | 1x 1,2,2,1
        Shallow SqueezeNext-10-1x-v1 | 1331 | 87.63 | 2.5863 | 23 |                 | copy of SqueezeNext | 1x 1,3,3,1
        Shallow SqueezeNext-12-1x-v1 | 1441 | 87.63 | 2.5863 | 23 |                 | copy of SqueezeNext | 1x 1,4,4,1
        Shallow SqueezeNext-14-1x-v1 | 1551 | 82.44 | 0.370  | 7  | shallow-06-0.5x | as the first | 1x 1,5,5,1
        Shallow SqueezeNext-16-1x-v1 | 1661 | 82.86 | 1.24   | 8  |                 | as the second | 1x 1,6,6,1
    """,
    "III": """
        Shallow SqueezeNext-06-0.125x-v1 | 0.125x | 66.40 | 0.115 | 7  | shallow-06-0.125x | |
        Shallow SqueezeNext-06-0.2x-v1   | 0.2x   | 72.16 | 0.141 | 8  | shallow-06-0.2x   | |
        Shallow SqueezeNext-06-0.2x-v1   | 0.2x   | 82.47 | 0.296 | 13 | shallow-14-0.2x   | second 0.2x | 0.2x 1,1,1,1
        Shallow SqueezeNext-06-0.3x-v1   | 0.3x   | 77.87 | 0.196 | 8  | shallow-06-0.3x   | |
        Shallow SqueezeNext-12-0.4x-v1   | 0.4x   | 87.27 | 0.485 | 13 | shallow-12-0.4x   | |
        Shallow SqueezeNext-14-0.5x-v1   | 0.5x   | 88.96 | 0.772 | 15 | shallow-14-0.5x   | |
        Shallow SqueezeNext-06-0.6x-v1   | 0.6x   | 84.63 | 0.48  | 10 | shallow-06-0.6x   | |
        Shallow SqueezeNext-07-0.7x-v1   | 0.7x   | 88.10 | 0.704 | 12 | shallow-07-0.7x   | |
        Shallow SqueezeNext-06-0.8x-v1   | 0.8x   | 87.71 | 0.774 | 12 | shallow-06-0.8x   | |
        Shallow SqueezeNext-06-0.9x-v1   | 0.9x   | 86.25 | 0.950 | 12 | shallow-06-0.9x   | |
        Shallow SqueezeNext-12-1.0x-v1   | 1.0x   | 88.28 | 0.557 | 19 |                   | no size |
        Shallow SqueezeNext-06-1.5x-v1   | 1.5x   | 82.44 | 2.44  | 17 | shallow-06-1.5x   | accuracy copied |
        Shallow SqueezeNext-06-2.0x-v1   | 2.0x   | 89.35 | 4.20  | 21 | shallow-06-2x     | 4.20 or 4.21 |
    """,
    "IV": """
        Shallow SqueezeNext-06-0.1x-v1 | 0.1 | 80.82 | 0.273 | 4 | shallow-06-0.4x | dropout |
        Shallow SqueezeNext-06-0.2x-v1 | 0.2 | 81.44 | 0.273 | 4 | shallow-06-0.4x | as above |
        Shallow SqueezeNext-06-0.3x-v1 | 0.3 | 81.87 | 0.273 | 4 | shallow-06-0.4x | as above |
        Shallow SqueezeNext-06-0.4x-v1 | 0.4 | 81.86 | 0.273 | 4 | shallow-06-0.4x | as above |
        Shallow SqueezeNext-06-0.5x-v1 | 0.5 | 81.70 | 0.273 | 4 | shallow-06-0.4x | as above |
    """,
    "V": """
        Shallow SqueezeNext-14-1 5x-v1   | 1 5x, 1281   | 91.41 | 8.72   | 22 | shallow-14-2x     | 1.5x | 1.5x 1,2,8,1
        Shallow SqueezeNext-21-0.2x-v1   | 0.2x, 22141  | 90.27 | 1.814  | 27 | shallow-21-0.7x   | 0.2x | 0.2x 2,2,14,1
        Shallow SqueezeNext-06-0.575x-v1 | 0 575x, 1111 | 81.80 | 0.449  | 6  | shallow-06-0.575x | |
        Shallow SqueezeNext-06-0.4x-v1   | 0.4x, 1111   | 81.97 | 0.2717 | 9  | shallow-06-0.4x   | |
        Shallow SqueezeNext-09-0 5x-v1   | 0.5x. 1141   | 87.73 | 0.531  | 11 | shallow-09-0.5x   | |
    """,
}
_REMARKS = {
    "": "",
    "size copied": "The size is a copy of v1's: v5, blocks [2,4,14,1], has more parameters.",
    "same accuracy": "v5 below has the same accuracy: one of the two is a copy.",
    "both copied": "Accuracy and size are copies of v1's: v5, blocks [2,4,14,1], has more parameters.",
    "no name": "The paper names neither width nor blocks; by its size this is probably 0.5x [1,1,1,1].",
    "no name, no size": "The paper names neither width nor blocks; no network of its widths and blocks has this size.",
    "small file": "The rule that fits the other rows gives a larger file.",
    "printed twice": "Printed twice. The rule that fits the other rows gives a larger file.",
    "copy of SqueezeNet": "Accuracy, size and seconds are nearly those of SqueezeNet-v1.1 in Table I: a copy of that row.",
    "copy of SqueezeNext": "Accuracy and size are nearly those of SqueezeNext-23-1x-v1 in Table I: a copy of that row.",
    "as the first": "The same figures as the first shallow row of Table I; by the size probably 0.5x [1,1,1,1].",
    "as the second": "The same figures as the second shallow row of Table I, which no network fits.",
    "second 0.2x": "The name of the row above, with other figures; by the size probably 0.2x [1,2,8,1].",
    "no size": "No network of the paper's widths and blocks has this size; any 10 blocks at 1.0x take over 1.2 MB.",
    "accuracy copied": "The accuracy is a copy of 82.44 % in Tables I and II: it is below that of 0.6x.",
    "4.20 or 4.21": "Table II prints 4.21 MB. The rule that fits the other rows gives a larger file.",
    "dropout": "The name has the dropout probability where all others have the width; by the size this is 0.4x [1,1,1,1]."
    " Table V prints 0.2717 MB and 9 seconds for the same network.",
    "as above": "Name and size as in the first row.",
    "1.5x": 'The name says 1.5x (its point is lost: "1 5x"); by the size this is 2x.',
    "0.2x": "The name says 0.2x; by the size this is 0.7x [2,2,14,1].",
}
_FURTHER_NOTES = {
    "III": "The paper's text names three sizes as its best: 0.370 MB (abstract), 0.115 MB (section V) and 196 KB (conclusion),"
    " here the rows 0.5x (Table I), 0.125x and 0.3x.",
}

_TWO_LINES = (
    "First line of a row: the paper's figures. Second line: the network here that fits them. Multiply-adds are of one image of"
    " 32 x 32 pixels; the state is all parameters and running statistics as float32 (1 KB = 1,000 bytes)."
)
_SIZES = (
    "Size MB of ours: what the paper's kind of file would take, the state and what PyTorch adds to it, by a rule fitted to the"
    " rows (1 MB = 1,000,000 bytes). A checkpoint of minisqx is the state and a small index."
)
_MODELS_NOTE = (
    "A model is trained by `minisqx train --model NAME`; shallow with --width and --blocks is any other Shallow SqueezeNext."
    " Multiply-adds (MACs) are of one image of 32 x 32 pixels, the state is all parameters and running statistics as float32."
    " `minisqx paper` says how the paper's rows and these networks belong together, and with which recipe we trained."
)
_SPEED = "Seconds an epoch are training plus test; the paper's on an RTX 2080 Ti."


def _comparison(number: str, measured: dict[str, dict]) -> Table:
    """One of the Tables I to V. measured: accuracy and seconds by network, as in `data/measured.json`."""
    option = _OPTIONS.get(number)
    both = ("accuracy %", "s an epoch", "size MB")
    paper = ("model", *([option] if option else []), *both)
    our_option = "dropout p" if number == "IV" else "width, blocks"
    ours = ("model", *([our_option] if option else []), *both, "parameters", "MACs M", "state KB")
    rows, remarks, used = [], [], {}
    for line in _PRINTED_ROWS[number].strip().splitlines():
        row = _Row(*map(str.strip, line.split("|")))
        dropout = row.option if number == "IV" else None
        key = f"{row.network} dropout {dropout}" if dropout else row.network
        figures = measured.get(key, {})
        if figures:
            used[key] = figures
        cells, spec = _our_cells(row, figures)
        options = [row.option, dropout or _option(spec)] if option else []
        rows.append((row.model, *options[:1], row.accuracy, row.seconds, row.size, cells[0], *options[1:], *cells[1:]))
        remarks.append(" ".join(filter(None, (_REMARKS[row.remark], _named(row), _off(row, spec)))))
    header = (*(f"paper: {name}" for name in paper), *(f"ours: {name}" for name in ours))
    further = filter(None, [_FURTHER_NOTES.get(number)])
    notes = (_TWO_LINES, _SIZES, _SPEED, *further, *(_recipe(key, figures) for key, figures in used.items()))
    return Table(_TITLES[number], header, tuple(rows), tuple(remarks), notes, second=len(paper))


def _our_cells(row: _Row, figures: dict) -> tuple[tuple[str, ...], NetworkSpec | None]:
    """Network, accuracy, seconds, size, parameters, multiply-adds, state; and the network's description, if one fits."""
    if not row.network:
        return ("none fits", *[NONE] * 6), None
    spec = zoo.network(row.network)
    accuracy, seconds = figures.get("accuracy"), figures.get("seconds_per_epoch")
    cells = (
        row.network,
        NONE if accuracy is None else f"{accuracy:.2f}",
        NONE if seconds is None else f"{seconds:.3g}",
        f"{paper_bytes(spec) / 1e6:#.4g}",
        f"{spec.parameters:,}",
        f"{spec.macs / 1e6:#.3g}".rstrip("."),
        f"{spec.state_bytes / 1e3:,.1f}",
    )
    return cells, spec


def _option(spec: NetworkSpec | None) -> str:
    return NONE if spec is None else f"{spec.width:g}x {''.join(map(str, spec.blocks))}"


def _named(row: _Row) -> str:
    """What the network would take that the row's own name describes."""
    if not row.named:
        return ""
    width, blocks = row.named.split("x ")
    spec = SqueezeNextSpec(width=float(width), blocks=tuple(map(int, blocks.split(","))))
    return f"{width}x [{blocks}], as the name says, would take {paper_bytes(spec) / 1e6:#.3g} MB."


def _off(row: _Row, spec: NetworkSpec | None) -> str:
    """By how much a size differs, where the rounding of the printed figure does not explain it."""
    if spec is None:
        return ""
    printed, rounding = float(row.size), 0.5 * 10.0 ** -len(row.size.partition(".")[2])
    off = paper_bytes(spec) / 1e6 - printed
    if abs(off) <= rounding + SIZE_TOLERANCE * printed:
        return ""
    return f"Our size is {100 * abs(off) / printed:.1f} % {'above' if off > 0 else 'below'} the printed one."


def _recipe(key: str, figures: dict) -> str:
    """How a network's figures were measured."""
    epochs, recipe, machine = figures.get("epochs"), figures.get("recipe"), figures.get("machine")
    parts = (f"{epochs} epochs" if epochs is not None else None, recipe, f"on {machine}" if machine else None)
    return f"{key} here: {', '.join(filter(None, parts))}."


def _measured() -> dict[str, dict]:
    """What was trained here: network -> accuracy in %, epochs, recipe, seconds_per_epoch, machine; None where not measured.

    Table IV looks for the network and its dropout: "shallow-06-0.4x dropout 0.3".
    """
    files = (Path(folder, "measured.json") for folder in minisqx.data.__path__)
    return next((json.loads(file.read_text(encoding="utf-8")) for file in files if file.is_file()), {})


# Table VI

_LAYER_COLUMNS = ("input", "padding", "stride", "filter", "output", "times", "parameters")
# Number or name; input, padding, stride, filter, output, repeat, parameters: as printed.
_PRINTED_LAYERS = """
1 32x32x3 0x0 1 3x3 30x30x64 1 1792
2 30x30x64 0x0 1 1x1 30x30x16 1 1040
3 30x30x16 0x0 1 1x1 30x30x8 1 136
4 30x30x8 0x1 1 1x3 30x30x16 1 400
5 30x30x16 1x0 1 3x1 30x30x16 1 784
6 30x30x16 0x0 1 1x1 30x30x32 1 544
32 30x30x32 0x0 2 1x1 30x30x32 1 1056
33 15x15x32 0x0 1 1x1 15x15x16 1 528
34 15x15x16 0x1 1 1x3 15x15x32 1 1568
35 15x15x32 1x0 1 3x1 15x15x32 1 3104
36 15x15x32 0x0 1 1x1 15x15x64 1 2112
37 15x15x64 0x0 1 1x1 15x15x32 1 2080
38 15x15x32 0x0 1 1x1 15x15x16 1 528
39 15x15x16 1x0 1 3x1 15x15x32 1 1568
40 15x15x32 0x1 1 1x3 15x15x32 1 3104
41 15x15x32 0x0 1 1x1 15x15x64 1 2112
62 15x15x64 0x0 2 1x1 15x15x64 1 4160
63 8x8x64 0x0 1 1x1 8x8x32 1 2080
64 8x8x32 1x0 1 3x1 8x8x64 1 6208
65 8x8x64 0x1 1 1x3 8x8x64 1 12352
66 8x8x64 0x0 1 1x1 8x8x128 1 8320
67 8x8x128 0x0 1 1x1 8x8x64 7 57792
68 8x8x64 0x0 1 1x1 8x8x32 7 14560
69 8x8x32 1x0 1 3x1 8x8x64 7 43456
70 8x8x64 0x1 1 1x3 8x8x64 7 86464
71 8x8x64 0x0 1 1x1 8x8x128 7 58240
102 8x8x128 0x0 2 1x1 8x8x128 1 16512
103 4x4x128 0x0 1 1x1 4x4x64 1 8256
104 4x4x64 0x1 1 1x3 4x4x128 1 24704
105 4x4x128 1x0 1 3x1 4x4x128 1 49280
106 4x4x256 0x0 1 1x1 4x4x256 1 65792
107 4x4x256 0x0 1 1x1 4x4x128 1 32896
dropout 4x4x256 - - - 4x4x256 1 -
pool 4x4x256 - - - 4x4x256 1 -
FC 1x1x128 0x0 1 1x1 1x1x10 1 1290
"""
LEFT_OUT = "left out"
_LATE_SIZE = "The stride of 2 acts in this layer, as the next row's input shows."
_SWAPPED = "This filter and the next are exchanged; in public code 1x3 stands before 3x1 in every block."
_WHY: dict[str, str] = {
    "32": _LATE_SIZE,
    "62": _LATE_SIZE,
    "102": _LATE_SIZE,
    **dict.fromkeys(("39", "64", "69"), _SWAPPED),
    "106": "Row 105 gives 128 channels, not 256.",
    "dropout": "The paper prints p = 0.5, finds 0.3 best in Table IV, and lists this after row 107 with row 107's input.",
    "pool": "Row 107 gives 128 channels and the classifier takes 1x1x128.",
}


def _table_6() -> Table:
    """The 1.0x [1,2,8,1] network, whose layers and parameters these are, against what is printed."""
    spec = zoo.network("shallow-14-1x")
    printed = {name: tuple(cells) for name, *cells in map(str.split, _PRINTED_LAYERS.strip().splitlines())}
    numbers = iter(name for name in printed if name.isdigit())
    rows, remarks = [], []
    for unit, name, times in _repeats(spec):
        for layer in unit.layers or (unit,):
            paper = _printed_name(unit, layer, numbers)
            cells = _layer_cells(layer, times)
            rows.append((layer.name.replace(unit.name, name, 1), paper, *cells))
            remarks.append(_differences(paper, cells, printed[paper]) if paper in printed else "")
    header = ("layer", "paper's row", *_LAYER_COLUMNS)
    return Table(
        "Table VI: the layers of Shallow SqueezeNext 1.0x [1,2,8,1] (shallow-14-1x)",
        header,
        tuple(rows),
        tuple(remarks),
        _notes_6(spec, printed),
        left=2,
    )


def _repeats(spec: NetworkSpec) -> Iterator[tuple[Unit, str, int]]:
    """Every unit, its name, and how often it stands there: bottlenecks of the same shapes are one (`stage3.block2-8`)."""
    for _, group in groupby(spec.units, _shapes):
        first, *others = group
        name = f"{first.name}-{others[-1].name.rpartition('block')[2]}" if others else first.name
        yield first, name, 1 + len(others)


def _shapes(unit: Unit) -> tuple:
    return type(unit), tuple(replace(layer, name="") for layer in unit.layers)


def _printed_name(unit: Unit, layer: Unit, numbers: Iterator[str]) -> str:
    """The paper's row of a layer; its convolutions stand in the order of the main path."""
    if isinstance(unit, BottleneckSpec) and layer is unit.shortcut:
        return LEFT_OUT
    if isinstance(layer, ConvolutionSpec):
        return next(numbers)
    return {DropoutSpec: "dropout", AveragePoolSpec: "pool", LinearSpec: "FC"}[type(layer)]


def _layer_cells(layer: Unit, times: int) -> tuple[str, ...]:
    """The cells of `_LAYER_COLUMNS`; a kernel's parameters are its weights and biases, without batch norm."""
    if isinstance(layer, ConvolutionSpec):
        data_in, data_out = _map(layer.input_size, layer.in_channels), _map(layer.output_size, layer.out_channels)
        padding, kernel, stride = _pair(layer.padding), _pair(layer.kernel), str(layer.stride[0])
        return data_in, padding, stride, kernel, data_out, str(times), f"{times * _weights_and_biases(layer):,}"
    if isinstance(layer, LinearSpec):
        data_in, data_out = _map((1, 1), layer.in_features), _map((1, 1), layer.out_features)
        return data_in, "0x0", "1", "1x1", data_out, str(times), f"{_weights_and_biases(layer):,}"
    channels, *size = layer.output_shape
    return _map(layer.input_size, layer.channels), NONE, NONE, NONE, _map(size or (1, 1), channels), str(times), NONE


def _pair(size: Sequence[int]) -> str:
    return "x".join(map(str, size))


def _map(size: Sequence[int], channels: int) -> str:
    return f"{_pair(size)}x{channels}"


def _weights_and_biases(layer: ConvolutionSpec | LinearSpec) -> int:
    return sum(math.prod(layer.parameter_shapes[kind]) for kind in ("weight", "bias"))


def _differences(paper: str, cells: tuple[str, ...], printed: tuple[str, ...]) -> str:
    """What is printed where ours differs, and why."""
    found = [
        f"{column} {theirs if theirs == NONE or column != 'parameters' else format(int(theirs), ',')}"
        for column, own, theirs in zip(_LAYER_COLUMNS, cells, printed)
        if own.replace(",", "") != theirs
    ]
    return " ".join(filter(None, (f"paper: {', '.join(found)}." if found else "", _WHY.get(paper, ""))))


def _notes_6(spec: NetworkSpec, printed: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    shortcuts = [unit.shortcut for unit in spec.units if isinstance(unit, BottleneckSpec) and unit.shortcut is not None]
    everything, extra = (sum(map(_weights_and_biases, layers)) for layers in (spec.layers, shortcuts))
    as_printed = sum(int(parameters) for *_, parameters in printed.values() if parameters != NONE)
    return (
        f"Parameters: {everything - extra:,} in the paper's rows (as printed they add up to {as_printed:,}, because of row 106),"
        f" {everything:,} with the shortcuts that it leaves out, {spec.parameters:,} with batch norm.",
        "Input and output are height x width x channels. Filter and padding are height x width here; the paper calls them width x"
        " height, but its 1x3 with padding 0x1 and 3x1 with padding 1x0 read the same either way. Parameters are weights and"
        " biases of all repeats.",
        f"paper's row: the number of its \"Convolution\"; {LEFT_OUT}: the paper's table does not have this layer, but its own"
        " file sizes need it. Its row 107 is called Convolution 107 Spatial Resolution, FC is Fully Connected Convolution.",
        "The paper's numbers jump (6 to 32, 41 to 62, 71 to 102): they are those of SqueezeNext-23, blocks [6,6,8,1].",
    )
