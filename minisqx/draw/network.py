"""A network as an SVG picture, drawn from its description alone with the standard library."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from xml.etree.ElementTree import Element

from minisqx.draw import shapes, words
from minisqx.draw.shapes import INK, LINE, MARGIN, SOFT, Point
from minisqx.errors import OptionError
from minisqx.machine.folders import replace_file
from minisqx.spec import BottleneckSpec, ConvolutionSpec, FireSpec, LinearSpec, NetworkSpec, Unit
from minisqx.spec.units import pair, stride_text

# All lengths are in pixels.
CARD_WIDTH = 900
CARD_HEIGHT, BLOCK_HEIGHT, REPEAT_HEIGHT = 62, 88, 106
REPEATS_IN_A_ROW = 4
INDENT, GAP, TURN = 44, 28, 18  # in a row of repeats: before it, between its cards, after it
REPEAT_WIDTH = (CARD_WIDTH - INDENT - TURN - GAP * (REPEATS_IN_A_ROW - 1)) / REPEATS_IN_A_ROW
SPINE = 16  # from a card's left edge to the arrows that lead down
LABEL_WIDTH = 92
DOWN, DOWN_TO_REPEATS, TURN_BELOW = (
    20,
    28,
    8,
)  # above a row; above a row with shortcuts over it; below a row of repeats, to the arrow that leaves it
PADDING = 11
CHAIN, FIGURES, FIGURES_WIDTH = 186, 736, 152  # where a wide card's convolutions and figures begin
CHIP_WIDTH, CHIP_HEIGHT, CHIP_GAP = 72, 32, 14

PANEL, TRACK = "#f3f4f6", "#e5e7eb"
PARAMETERS, MACS = "#374151", "#b45309"


def svg(spec: NetworkSpec) -> str:
    """The network from the image down to the logits: a card for each unit, a panel for each stage."""
    root = Element("g")
    groups = [(stage, list(units)) for stage, units in groupby(spec.units, key=lambda unit: unit.name.rpartition(".")[0])]
    left = MARGIN + (LABEL_WIDTH if any(stage for stage, _ in groups) else 0)
    width = left + CARD_WIDTH + PADDING + MARGIN
    y = _header(root, spec, width)

    scale = _Scale(spec)
    channels = spec.convolutions[0].in_channels
    y, exits = _end(root, left, y, f"image {words.shape((channels, *spec.input_size))}")
    for stage, units in groups:
        y += PADDING if stage else 0
        top, panel = y + DOWN - PADDING, shapes.rect(root, 0, 0, 0, 0, fill=PANEL, rx=10) if stage else None
        for row, twin in _rows(units):
            y += DOWN_TO_REPEATS if twin else DOWN
            y, exits = _row(root, left, y, row, twin, exits, scale)
        if panel is not None:
            shapes.set_attributes(panel, x=MARGIN, y=top, width=width - 2 * MARGIN, height=y + PADDING - top)
            count = words.count(len(units), "bottleneck", "bottlenecks")
            shapes.text(root, MARGIN + 10, top + 26, stage, 14, bold=True, room=LABEL_WIDTH - 18)
            shapes.text(root, MARGIN + 10, top + 42, count, 10, fill=SOFT, room=LABEL_WIDTH - 18)
            y += PADDING
    y += DOWN
    shapes.arrow(root, [*exits, (left + SPINE, y)])
    y, _ = _end(root, left, y, words.count(spec.num_classes, "logit", "logits"))
    return shapes.document(root, width, y + MARGIN, f"{spec.name}: {words.totals(spec)}")


def save(path: str | os.PathLike, text: str) -> None:
    """Writes a picture to `path`, whole or not at all. Raises OptionError if that fails."""
    target = Path(path)
    if target.suffix.lower() != ".svg":
        raise OptionError(f"picture {str(path)!r}: expected a file name that ends in .svg, the only format")
    if target.is_dir():
        raise OptionError(f"picture {str(path)!r}: expected a file name, but this is a folder; name a file in it")
    if not target.parent.is_dir():
        raise OptionError(f"picture {str(path)!r}: there is no folder {str(target.parent)!r}; create it first, or choose another")
    try:
        replace_file(target, text.encode())
    except OSError as error:
        raise OptionError(f"picture {str(path)!r}: can't be written ({error.strerror or error}); choose another place") from None


class _Scale:
    """The network's totals, and the largest unit's share of each, which is a full bar."""

    def __init__(self, spec: NetworkSpec):
        self.parameters, self.macs = spec.parameters, spec.macs
        self.parameter_share = max(map(words.parameters, spec.units)) / self.parameters
        self.mac_share = max(map(words.macs, spec.units)) / self.macs


def _rows(units: Sequence[Unit]) -> Iterator[tuple[list[Unit], Unit | None]]:
    """Rows of units, each with the unit that it repeats: bottlenecks like the one before share rows, other units do not."""
    row: list[Unit] = []
    twin: Unit | None = None
    for before, unit in zip((None, *units), units):
        if not (isinstance(unit, BottleneckSpec) and isinstance(before, BottleneckSpec) and _nameless(unit) == _nameless(before)):
            if row:
                yield row, twin
            yield [unit], None
            row, twin = [], unit
            continue
        if len(row) == REPEATS_IN_A_ROW:
            yield row, twin
            row = []
        row.append(unit)
    if row:
        yield row, twin


def _nameless(block: BottleneckSpec) -> list[ConvolutionSpec]:
    return [replace(layer, name="") for layer in block.layers]


def _header(root: Element, spec: NetworkSpec, width: float) -> float:
    """Draws the name, the totals and the legend; returns the y below them."""
    x, y, room = float(MARGIN), MARGIN, width - 2 * MARGIN
    channels = spec.convolutions[0].in_channels
    shapes.text(root, x, y + 20, spec.name, 22, bold=True, room=room)
    shapes.text(root, x, y + 44, words.totals(spec), 13, room=room)
    classes = words.count(spec.num_classes, "class", "classes")
    facts = [f"input {words.shape((channels, *spec.input_size))} (channels x height x width), {classes}"]
    sequences = list(dict.fromkeys(words.sequence(layer) for layer in spec.convolutions))
    facts.append("basic block: " + "; of a shortcut: ".join(sequences))
    shapes.text(root, x, y + 64, "; ".join(facts), 12, fill=SOFT, room=room)

    y += 84
    for label, color, tint in dict.fromkeys(words.style(unit) for unit in spec.units):
        shapes.rect(root, x, y - 9, 14, 11, fill=tint, stroke=color, rx=2)
        x = _legend_text(root, x + 20, y, label)
    if any(isinstance(unit, BottleneckSpec) for unit in spec.units):
        shapes.line(root, [(x, y - 4), (x + 24, y - 4)], dashed=True)
        x = _legend_text(root, x + 30, y, "identity shortcut")
        shapes.line(root, [(x, y - 4), (x + 32, y - 4)])
        shapes.rect(root, x + 8, y - 9, 16, 11, fill="#ffffff", stroke=LINE, rx=3)
        x = _legend_text(root, x + 38, y, "projection shortcut")
    x, y = MARGIN, y + 19
    for color, label in ((PARAMETERS, "share of the parameters"), (MACS, "share of the MACs")):
        shapes.rect(root, x, y - 7, 24, 6, fill=color)
        x = _legend_text(root, x + 30, y, label)
    shapes.text(root, x, y, "full bar: the largest unit's share; kernels are height x width, / 2 is a stride of 2", 11, fill=SOFT)
    return y + 22


def _legend_text(root: Element, x: float, y: float, label: str) -> float:
    shapes.text(root, x, y, label, 11, fill=SOFT)
    return x + 6.4 * len(label) + 22


def _end(root: Element, left: float, y: float, label: str) -> tuple[float, list[Point]]:
    """Draws the image or the logits; returns the lower edge and the start of the arrow that leaves."""
    width = 7 * len(label) + 24
    shapes.rect(root, left, y, width, 26, fill=INK, rx=13)
    shapes.text(root, left + width / 2, y + 17, label, 11, bold=True, anchor="middle", fill="#ffffff", room=width - 16)
    return y + 26, [(left + SPINE, y + 26)]


def _row(
    root: Element, left: float, y: float, row: list[Unit], twin: Unit | None, exits: list[Point], scale: _Scale
) -> tuple[float, list[Point]]:
    """Draws the cards of one row at `y` and the arrow to it from `exits`; returns its lower edge and its own exits."""
    spine = left + SPINE
    if twin is None:
        (unit,) = row
        shapes.arrow(root, [*exits, (spine, y)])
        height = BLOCK_HEIGHT if isinstance(unit, (BottleneckSpec, FireSpec)) else CARD_HEIGHT
        _wide_card(root, left, y, height, unit, scale)
        return y + height, [(spine, y + height)]
    x, middle, below = left + INDENT, y + REPEAT_HEIGHT / 2, y + REPEAT_HEIGHT + TURN_BELOW
    shapes.arrow(root, [*exits, (spine, middle), (x, middle)])
    for unit in row:
        end = x + REPEAT_WIDTH
        if unit is not row[-1]:
            shapes.arrow(root, [(end, middle), (end + GAP, middle)])
        shapes.line(root, [(x - 9, middle), (x - 9, y - 9), (end + 9, y - 9), (end + 9, middle)], dashed=True)
        _repeat_card(root, x, y, unit, twin, scale)
        x = end + GAP
    return below, [(end, middle), (end + TURN, middle), (end + TURN, below), (spine, below)]


def _repeat_card(root: Element, x: float, y: float, unit: Unit, twin: Unit, scale: _Scale) -> None:
    card, room = words.card(root, x, y, REPEAT_WIDTH, REPEAT_HEIGHT, unit), REPEAT_WIDTH - 28
    shapes.text(card, x + 16, y + 18, unit.name, 12, bold=True, room=room)
    shapes.text(card, x + 16, y + 33, f"{unit.title}, like {twin.name.rpartition('.')[2]}", 10.5, fill=SOFT, room=room)
    shapes.text(card, x + 16, y + 47, f"output {words.shape(unit.output_shape)}", 10.5, room=room)
    _figures(card, x + 16, y + 64, room, unit, scale)


def _wide_card(root: Element, x: float, y: float, height: float, unit: Unit, scale: _Scale) -> None:
    card, room, top = words.card(root, x, y, CARD_WIDTH, height, unit), CHAIN - 26, y + height / 2 - 13
    shapes.text(card, x + 18, top, unit.name, 13, bold=True, room=room)
    shapes.text(card, x + 18, top + 17, unit.title, 11, fill=SOFT, room=room)
    shapes.text(card, x + 18, top + 33, f"output {words.shape(unit.output_shape)}", 11, room=room)
    at, middle = x + CHAIN, y + height / 2
    match unit:
        case BottleneckSpec():
            _bottleneck_chain(card, at, y, unit)
        case FireSpec():
            _fire_chain(card, at, y, unit)
        case ConvolutionSpec():
            shapes.line(card, [(at, middle), (at + 24, middle)])
            end = _chip(card, at + 24, middle - CHIP_HEIGHT / 2, unit)
            for step in words.after(unit):
                shapes.arrow(card, [(end, middle), (end + CHIP_GAP, middle)])
                end = shapes.pill(card, end + CHIP_GAP, middle, step, 42 if len(step) < 5 else 76)
        case LinearSpec():
            shapes.line(card, [(at, middle), (at + 24, middle)])
            _chip(card, at + 24, middle - CHIP_HEIGHT / 2, unit)
        case _:
            shapes.text(card, at, middle + 4, unit.explanation, 11, fill=SOFT, room=FIGURES - CHAIN - 20)
    if unit.layers:
        _figures(card, x + FIGURES, middle - 12, FIGURES_WIDTH, unit, scale)
    else:
        shapes.text(card, x + FIGURES, middle + 4, "no parameters, no MACs", 10.5, fill=SOFT)


def _figures(card: Element, x: float, y: float, width: float, unit: Unit, scale: _Scale) -> None:
    """Parameters and multiply-adds, each with a bar for its share of the network's total."""
    parameters, macs = words.parameters(unit), words.macs(unit)
    track = width - 48
    for label, share, largest, color in (
        (f"{parameters:,} parameters", parameters / scale.parameters, scale.parameter_share, PARAMETERS),
        (f"{words.short(macs)} MACs", macs / scale.macs, scale.mac_share, MACS),
    ):
        shapes.text(card, x, y, label, 10.5, room=width)
        shapes.rect(card, x, y + 5, track, 5, fill=TRACK)
        shapes.rect(card, x, y + 5, track * share / largest, 5, fill=color)
        shapes.text(card, x + width, y + 11, words.percent(share), 9.5, anchor="end", fill=SOFT)
        y += 24


def _bottleneck_chain(card: Element, x: float, y: float, unit: BottleneckSpec) -> None:
    middle, lane, branch = y + 60, y + 20, x + 9
    shapes.line(card, [(x, middle), (x + 24, middle)])
    end = x + 24 - CHIP_GAP
    for layer in unit.main:
        shapes.arrow(card, [(end, middle), (end + CHIP_GAP, middle)])
        end = _chip(card, end + CHIP_GAP, middle - CHIP_HEIGHT / 2, layer)
    plus = end + CHIP_GAP + 9
    shapes.arrow(card, [(end, middle), (plus - 9, middle)])
    shapes.arrow(card, [(branch, middle), (branch, lane), (plus, lane), (plus, middle - 9)], dashed=unit.shortcut is None)
    if unit.shortcut is None:
        label = "identity"
    else:
        layer = unit.shortcut
        label = f"projection {pair(layer.kernel)}{stride_text(layer.stride)}, {layer.in_channels} → {layer.out_channels}"
    width = 6.6 * len(label) + 16
    color = "#ffffff" if unit.shortcut is None else words.STYLES["convolution"][1]
    at = (branch + plus - width) / 2
    shapes.rect(card, at, lane - 10, width, 20, fill=color, stroke=None if unit.shortcut is None else LINE, rx=4)
    shapes.text(card, at + width / 2, lane + 3.5, label, 10, anchor="middle", room=width - 8)
    shapes.plus(card, plus, middle)
    shapes.arrow(card, [(plus + 9, middle), (plus + 9 + CHIP_GAP, middle)])
    shapes.pill(card, plus + 9 + CHIP_GAP, middle, words.TITLES[unit.activation], 42)


def _fire_chain(card: Element, x: float, y: float, unit: FireSpec) -> None:
    middle = y + BLOCK_HEIGHT / 2
    shapes.line(card, [(x, middle), (x + 24, middle)])
    end = _chip(card, x + 24, middle - CHIP_HEIGHT / 2, unit.squeeze)
    expand, concat = end + 44, end + 44 + CHIP_WIDTH + 44
    for layer, at in ((unit.expand1, middle - 20), (unit.expand3, middle + 20)):
        shapes.arrow(card, [(end, middle), (end + 18, middle), (end + 18, at), (expand, at)])
        _chip(card, expand, at - CHIP_HEIGHT / 2, layer)
        shapes.arrow(card, [(concat - 44, at), (concat - 24, at), (concat - 24, middle), (concat, middle)])
    shapes.pill(card, concat, middle, "concatenation", 92)


def _chip(card: Element, x: float, y: float, layer: ConvolutionSpec | LinearSpec) -> float:
    """A small box for one convolution or the classifier; returns its right edge."""
    _, color, tint = words.style(layer)
    shapes.rect(card, x, y, CHIP_WIDTH, CHIP_HEIGHT, fill=tint, stroke=color, rx=4)
    if isinstance(layer, LinearSpec):
        kernel, channels = "linear", (layer.in_features, layer.out_features)
    else:
        kernel, channels = f"{pair(layer.kernel)}{stride_text(layer.stride)}", (layer.in_channels, layer.out_channels)
    center, room = x + CHIP_WIDTH / 2, CHIP_WIDTH - 6
    shapes.text(card, center, y + 13.5, kernel, 10.5, bold=True, anchor="middle", room=room)
    shapes.text(card, center, y + 26, f"{channels[0]} → {channels[1]}", 9.5, anchor="middle", room=room)
    return x + CHIP_WIDTH
