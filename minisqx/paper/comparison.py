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

# Bytes that the paper's files hold besides the state: (for each basic block, once).
SHALLOW_FILE = (2_670, 23_200)
SQUEEZENEXT_FILE = (1_630, 0)
SQUEEZENET_FILE = (0, 50_600)
# A row whose size is further from ours than this share, beyond the rounding of what is printed, gets a remark.
SIZE_TOLERANCE = 0.003

_MODELS_NOTE = (
    "A model is trained by `minisqx train --model NAME`; shallow with --width and --blocks is any other Shallow SqueezeNext."
    " Multiply-adds (MACs) are of one image of 32 x 32 pixels, the state is all parameters and running statistics as float32."
    f" {paper_printed.EPOCHS}"
    " `minisqx paper` says how the paper's rows and these networks belong together, and with which recipe we trained."
)


def run(table: str | None = None, style: str = "text") -> Iterator[str]:
    """The lines of one table ("I" to "VI", or "1" to "6"), or with None of all of them. style: of `STYLES`.

    Raises OptionError at once.
    """
    if style not in STYLES:
        raise OptionError(f"style {style!r}: expected one of {', '.join(STYLES)}")
    known = tables()
    if table is None:
        return _lines(list(known.values()), style)
    by_number = dict(zip(map(str, range(1, 7)), known)) | {number: number for number in known}
    number = by_number.get(str(table).upper())
    if number is None:
        raise OptionError(f"table {table!r}: expected one of {', '.join(known)}, or 1 to 6; leave it out for all of them")
    return _lines([known[number]], style)


def _lines(chosen: list[Table], style: str) -> Iterator[str]:
    """One table after the other; a note that several have stands below the first."""
    render = {"text": text, "markdown": markdown, "csv": csv}[style]
    said: set[str] = set()
    for at, table in enumerate(chosen):
        if at:
            yield ""
        if style == "csv" and len(chosen) > 1:
            yield record((table.title,))
        yield from render(replace(table, notes=tuple(note for note in table.notes if note not in said)))
        said.update(table.notes)


def tables() -> dict[str, Table]:
    """Every table of the paper by its number, "I" to "VI"."""
    measured = _measured()
    found = {number: _comparison(number, measured) for number in paper_printed.TITLES}
    return {**found, "VI": paper_layers.table_6()}


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
        for row in paper_printed.rows(number):
            if row.network:
                printed.setdefault(row.network, row.accuracy)
    measured, shipped = _measured(), zoo.weights()
    rows = [("model", "parameters", "MACs M", "state KB", "accuracy %: paper", "here", "after epochs", "weights")]
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
                NONE if accuracy is None else f"{accuracy:.2f}",
                NONE if accuracy is None else str(figures.get("epochs", NONE)),
                "included" if name in shipped else NONE,
            )
        )
    yield from aligned(rows)
    yield ""
    yield from paragraph(_MODELS_NOTE, WIDTH)


def _comparison(number: str, measured: dict[str, dict]) -> Table:
    """One of the Tables I to V. measured: accuracy and seconds by network, as in `data/measured.json`."""
    option = paper_printed.OPTIONS.get(number)
    both = ("accuracy %", "s an epoch", "size MB")
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
        remarks.append(" ".join(filter(None, (paper_printed.REMARKS[row.remark], _named(row), _off(row, spec)))))
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
    """Network, accuracy, seconds, size, parameters, multiply-adds, state, epochs; and the description, if a network fits."""
    if not row.network:
        return ("none fits", *[NONE] * 7), None
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


def _named(row: paper_printed.Row) -> str:
    """What the network would take that the row's own name describes."""
    if not row.named:
        return ""
    width, blocks = row.named.split("x ")
    first, second, third, fourth = map(int, blocks.split(","))
    spec = SqueezeNextSpec(width=float(width), blocks=(first, second, third, fourth))
    return f"{width}x [{blocks}], as the name says, would take {paper_bytes(spec) / 1e6:#.3g} MB."


def _off(row: paper_printed.Row, spec: NetworkSpec | None) -> str:
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
    file = files("minisqx.data") / "measured.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
