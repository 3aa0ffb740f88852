"""The paper's Tables I to VI beside our networks, computed from their descriptions.

Source: Duggal and El-Sharkawy, "Shallow SqueezeNext: An Efficient & Shallow DNN". A row's network is identified by its file size,
since names and figures contradict each other in places; a remark on the row says where.

The paper's sizes are those of PyTorch's files (1 MB = 10^6 bytes), which hold more than the state:

- Shallow SqueezeNext: the whole module, pickled. Each basic block adds its layers' options, their Python attributes, and the
  names and shapes of tensors; each file adds the source code of every class. A least-squares fit of the relative errors over
  the 15 distinct rows up to 1.9 MB that match a network (without Table IV, whose files differ) gives 2,673 bytes per block and
  23,166 bytes per file, rounded below. PyTorch 2.13 adds 2,074 and 23,886 bytes to such a module in its old file format.
- SqueezeNext: only about 1.6 KB per block, as in a `state_dict`: the names and shapes of tensors, and no source code.
- SqueezeNet: 50.6 KB. Both versions have 26 convolutions, so the rows can't separate bytes per block from bytes per file.

Seconds per epoch cover training and test; the paper's are from an RTX 2080 Ti.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files

from minisqx.errors import OptionError
from minisqx.paper import layers as paper_layers
from minisqx.paper import printed as paper_printed
from minisqx.paper.tables import NONE, Cell, Table, csv, markdown, paragraph, record, text
from minisqx.spec import NetworkSpec, zoo
from minisqx.spec.squeezenet import SqueezeNetSpec
from minisqx.spec.squeezenext import BASELINE, SqueezeNextSpec
from minisqx.text import WIDTH
from minisqx.text import table as aligned

STYLES = ("text", "markdown", "csv")

# Bytes of the paper's files beyond the state: (per basic block, per file).
SHALLOW_FILE = (2_670, 23_200)
SQUEEZENEXT_FILE = (1_630, 0)
SQUEEZENET_FILE = (0, 50_600)
# A row gets a remark if its size differs from ours by more than this fraction, beyond the rounding of the printed figure.
SIZE_TOLERANCE = 0.003
# The remark on a row without our accuracy.
NOT_TRAINED = "Ours is not trained."

_MODELS_NOTE = (
    "`minisqx train --model NAME` trains a model; `--model shallow` with --width and --blocks is any other Shallow SqueezeNext."
    " MACs (multiply-adds) are for one image of 32 x 32 pixels; the state is all parameters and running statistics in float32."
    f" {paper_printed.EPOCHS}"
    " `minisqx paper` shows which of the paper's rows match these networks, and how we trained them."
)


def run(table: str | None = None, style: str = "text") -> Iterator[str]:
    """The lines of one table ("I" to "VI", or "1" to "6"), or of all tables with None. style: one of `STYLES`.

    Raises OptionError when called, not at the first line.
    """
    if style not in STYLES:
        raise OptionError(f"style {style!r}: expected one of {', '.join(STYLES)}")
    known = tables()
    if table is None:
        return _lines(list(known.values()), style)
    by_number = dict(zip(map(str, range(1, 7)), known)) | {number: number for number in known}
    number = by_number.get(str(table).upper())
    if number is None:
        raise OptionError(f"table {table!r}: expected one of {', '.join(known)}, or 1 to 6; omit it for all tables")
    return _lines([known[number]], style)


def _lines(chosen: list[Table], style: str) -> Iterator[str]:
    """One table after the other; a note of several tables is printed once, below the first."""
    render = {"text": text, "markdown": markdown, "csv": csv}[style]
    printed: set[str] = set()
    for at, table in enumerate(chosen):
        if at:
            yield ""
        if style == "csv" and len(chosen) > 1:
            yield record((table.title,))
        yield from render(replace(table, notes=tuple(note for note in table.notes if note not in printed)))
        printed.update(table.notes)


def tables() -> dict[str, Table]:
    """Every table of the paper by its number, "I" to "VI"."""
    measured = _measured()
    found = {number: _comparison(number, measured) for number in paper_printed.TITLES}
    return {**found, "VI": paper_layers.table_6()}


def paper_bytes(spec: NetworkSpec) -> int:
    """The estimated size of the paper's file of a network, in bytes; the rule is in the module's docstring."""
    if isinstance(spec, SqueezeNetSpec):
        per_block, per_file = SQUEEZENET_FILE
    elif isinstance(spec, SqueezeNextSpec) and spec.activation == BASELINE["activation"]:
        per_block, per_file = SQUEEZENEXT_FILE
    else:
        per_block, per_file = SHALLOW_FILE
    return spec.state_bytes + per_block * len(spec.convolutions) + per_file


def models() -> Iterator[str]:
    """The lines of a list of all named networks."""
    printed, measured, shipped = paper_printed.accuracies(), _measured(), zoo.weights()
    rows = [("model", "parameters", "MACs M", "state KB", "accuracy %: paper", "ours", "epochs", "weights")]
    for name in zoo.names():
        spec, figures = zoo.network(name), measured.get(name, {})
        accuracy = figures.get("accuracy")
        rows.append(
            (
                name,
                f"{spec.parameters:,}",
                f"{spec.macs / 1e6:#.3g}".rstrip("."),
                f"{spec.state_bytes / 1e3:,.1f}",
                printed.get(name, NONE),
                "not trained" if accuracy is None else f"{accuracy:.2f}",
                NONE if accuracy is None else str(figures.get("epochs", NONE)),
                "included" if name in shipped else NONE,
            )
        )
    yield from aligned(rows)
    others = sorted(set(shipped) - set(zoo.names()))
    if others:
        yield ""
        yield from paragraph(f"Weights for other images that are included: {', '.join(others)}.", WIDTH)
    yield ""
    yield from paragraph(_MODELS_NOTE, WIDTH)


def _comparison(number: str, measured: dict[str, dict]) -> Table:
    """One of Tables I to V. measured: the figures of each network, as in `data/measured.json`."""
    option = paper_printed.OPTIONS.get(number)
    both = ("accuracy %", "s/epoch", "size MB")
    paper = ("model", *([option] if option else []), *both)
    our_option = "dropout p" if number == "IV" else "width, blocks"
    ours = ("model", *([our_option] if option else []), *both, "parameters", "MACs M", "state KB", "epochs")
    rows, remarks, used = [], [], {}
    for row in paper_printed.rows(number):
        dropout = row.option if number == "IV" else None
        key = f"{row.network} dropout {dropout}" if dropout else row.network
        figures = measured.get(key, {})
        if figures:
            used[key] = figures
        cells, spec = _our_cells(row, figures)
        options = [row.option, dropout or _option(spec)] if option else []
        rows.append((row.model, *options[:1], row.accuracy, row.seconds, row.size, cells[0], *options[1:], *cells[1:]))
        missing = "" if spec is None or figures else NOT_TRAINED
        parts = (paper_printed.REMARKS[row.remark], _named_size(row), _size_difference(row, spec), missing)
        remarks.append(" ".join(filter(None, parts)))
    header = (*(f"paper: {name}" for name in paper), *(f"ours: {name}" for name in ours))
    further = filter(None, [paper_printed.FURTHER_NOTES.get(number)])
    notes = (
        paper_printed.TWO_LINES,
        paper_printed.SIZES,
        paper_printed.SPEED,
        paper_printed.EPOCHS,
        *further,
        *(_recipe(key, figures) for key, figures in used.items()),
    )
    return Table(paper_printed.TITLES[number], header, tuple(rows), tuple(remarks), notes, second=len(paper), noted=1)


def _our_cells(row: paper_printed.Row, figures: dict) -> tuple[tuple[Cell, ...], NetworkSpec | None]:
    """Network, accuracy, seconds, size, parameters, multiply-adds, state, epochs; and the description, if a network matches."""
    if not row.network:
        return ("no match", *[NONE] * 7), None
    spec = zoo.network(row.network)
    accuracy, seconds = figures.get("accuracy"), figures.get("seconds_per_epoch")
    cells: tuple[Cell, ...] = (
        row.network,
        NONE if accuracy is None else f"{accuracy:.2f}",
        NONE if seconds is None else f"{seconds:.3g}",
        f"{paper_bytes(spec) / 1e6:#.4g}",
        spec.parameters,
        f"{spec.macs / 1e6:#.3g}".rstrip("."),
        round(spec.state_bytes / 1e3, 1),
        NONE if accuracy is None else figures.get("epochs", NONE),
    )
    return cells, spec


def _option(spec: NetworkSpec | None) -> str:
    return f"{spec.width:g}x {''.join(map(str, spec.blocks))}" if isinstance(spec, SqueezeNextSpec) else NONE


def _named_size(row: paper_printed.Row) -> str:
    """The size of the network that the row's name describes, if that is another network."""
    if not row.named:
        return ""
    width, blocks = row.named.split("x ")
    first, second, third, fourth = map(int, blocks.split(","))
    spec = SqueezeNextSpec(width=float(width), blocks=(first, second, third, fourth))
    return f"{width}x [{blocks}], as in the name, would take {paper_bytes(spec) / 1e6:#.3g} MB."


def _size_difference(row: paper_printed.Row, spec: NetworkSpec | None) -> str:
    """How far our size is from the printed one, if rounding does not explain it."""
    if spec is None:
        return ""
    printed, rounding = float(row.size), 0.5 * 10.0 ** -len(row.size.partition(".")[2])
    difference = paper_bytes(spec) / 1e6 - printed
    if abs(difference) <= rounding + SIZE_TOLERANCE * printed:
        return ""
    return f"Our size is {100 * abs(difference) / printed:.1f} % {'above' if difference > 0 else 'below'} the printed one."


def _recipe(key: str, figures: dict) -> str:
    """How a network's figures were measured."""
    epochs, recipe, machine = figures.get("epochs"), figures.get("recipe"), figures.get("machine")
    parts = (f"{epochs} epochs" if epochs is not None else None, recipe, f"on {machine}" if machine else None)
    return f"Our {key}: {', '.join(filter(None, parts))}."


def _measured() -> dict[str, dict]:
    """Our results: network -> accuracy in %, epochs, recipe, seconds_per_epoch, machine; None if not measured.

    For Table IV a network has its dropout in its key: "shallow-06-0.4x dropout 0.3".
    """
    file = files("minisqx.data") / "measured.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
