"""A network, or one of its blocks, as an SVG picture: computed from the description alone, written with the standard library.

Every card is a `<g class="card">` that has its unit's exact figures as data attributes; its first `<rect>` is its outline.
"""

import math
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from minisqx.errors import OptionError
from minisqx.spec import (
    AveragePoolSpec,
    BottleneckSpec,
    ConvolutionSpec,
    DropoutSpec,
    FireSpec,
    LinearSpec,
    MaxPoolSpec,
    NetworkSpec,
    Size,
    Unit,
)

# All lengths are in pixels.
MARGIN = 24
CARD_WIDTH = 900
CARD_HEIGHT, BLOCK_HEIGHT, REPEAT_HEIGHT = 62, 88, 106
REPEATS_IN_A_ROW = 4
INDENT, GAP, TURN = 44, 28, 18  # of a row of repeats: before it, between its cards, and behind it
REPEAT_WIDTH = (CARD_WIDTH - INDENT - TURN - GAP * (REPEATS_IN_A_ROW - 1)) / REPEATS_IN_A_ROW
SPINE = 16  # from a card's left edge to the arrows that lead down
LABEL_WIDTH = 92
DOWN, DOWN_TO_REPEATS, TURN_BELOW = 20, 28, 8  # between rows; to a row above which shortcuts pass; to the arrow behind it
PADDING = 11
CHAIN, FIGURES, FIGURES_WIDTH = 186, 736, 152  # where a wide card's convolutions and figures begin
CHIP_WIDTH, CHIP_HEIGHT, CHIP_GAP = 72, 32, 14
DETAIL_WIDTH, DETAIL_GAP = 122, 20
ENDS_WIDTH = 96  # of the input and the output of a block in detail

INK, SOFT, LINE, PANEL, TRACK = "#1f2937", "#4b5563", "#6b7280", "#f3f4f6", "#e5e7eb"
PARAMETERS, MACS = "#374151", "#b45309"
# Kind of unit -> what the legend calls it, its colour (after Okabe and Ito: any colour vision tells them apart), its tint.
KINDS: dict[type, tuple[str, str, str]] = {
    ConvolutionSpec: ("convolution", "#0072B2", "#e3f0f8"),
    BottleneckSpec: ("bottleneck", "#009E73", "#e2f4ee"),
    FireSpec: ("fire module", "#D55E00", "#fbebe0"),
    MaxPoolSpec: ("pool", "#7f7f7f", "#eeeeee"),
    AveragePoolSpec: ("pool", "#7f7f7f", "#eeeeee"),
    DropoutSpec: ("dropout", "#c9a400", "#fbf6dc"),
    LinearSpec: ("fully connected", "#CC79A7", "#f8ebf2"),
}
ACTIVATION_NAMES = {"elu": "ELU", "relu": "ReLU"}

Point = tuple[float, float]


def svg(spec: NetworkSpec) -> str:
    """The network from the image down to the logits: a card for each unit, a panel for each stage."""
    root = Element("g")
    groups = [(stage, list(units)) for stage, units in groupby(spec.units, key=lambda unit: unit.name.rpartition(".")[0])]
    left = MARGIN + (LABEL_WIDTH if any(stage for stage, _ in groups) else 0)
    width = left + CARD_WIDTH + PADDING + MARGIN
    y = _header(root, spec, width)

    most = _Most(spec)
    channels = spec.convolutions[0].in_channels
    y, exits = _end(root, left, y, f"image {_shape((channels, *spec.input_size))}")
    for stage, units in groups:
        y += PADDING if stage else 0
        top, panel = y + DOWN - PADDING, _rect(root, 0, 0, 0, 0, fill=PANEL, rx=10) if stage else None
        for row, twin in _rows(units):
            y += DOWN_TO_REPEATS if twin else DOWN
            y, exits = _row(root, left, y, row, twin, exits, most)
        if panel is not None:
            _set(panel, x=MARGIN, y=top, width=width - 2 * MARGIN, height=y + PADDING - top)
            count = _count(len(units), "bottleneck", "bottlenecks")
            _text(root, MARGIN + 10, top + 26, stage, 14, bold=True, room=LABEL_WIDTH - 18)
            _text(root, MARGIN + 10, top + 42, count, 10, fill=SOFT, room=LABEL_WIDTH - 18)
            y += PADDING
    y += DOWN
    _arrow(root, [*exits, (left + SPINE, y)])
    y, _ = _end(root, left, y, _count(spec.num_classes, "logit", "logits"))
    return _document(root, width, y + MARGIN, f"{spec.name}: {_totals(spec)}")


def block_svg(spec: NetworkSpec, name: str | None = None) -> str:
    """One bottleneck or fire module (without a name: the first) with all that its basic blocks do, from left to right."""
    blocks = {unit.name: unit for unit in spec.units if isinstance(unit, (BottleneckSpec, FireSpec))}
    block = blocks.get(next(iter(blocks)) if name is None else name)
    if block is None:
        raise OptionError(f"block {name!r}: {spec.name} has no block of this name; choose one of {', '.join(blocks)}")
    root = Element("g")
    first = block.layers[0]
    shapes = f"{_shape((first.in_channels, *first.input_size))} → {_shape(block.output_shape)}"
    title = f"{block.name} of {spec.name}"
    figures = f"{_parameters(block):,} parameters, {_short(_macs(block))} MACs (multiply-adds) per image"
    _text(root, MARGIN, MARGIN + 18, title, 20, bold=True)
    _text(root, MARGIN, MARGIN + 40, f"{_what(block)}: {shapes}; {figures}", 12)
    note = "shapes are channels x height x width; kernels and padding height x width"
    _text(root, MARGIN, MARGIN + 58, note, 11, fill=SOFT)
    draw = _fire_in_detail if isinstance(block, FireSpec) else _bottleneck_in_detail
    width, height = draw(root, MARGIN + 84, block)
    return _document(root, width, height, f"{title}: {_what(block)}, {shapes}, {figures}")


def save(path: str | os.PathLike, text: str) -> None:
    """Writes a picture at `path`, whole or not at all. Raises OptionError where that can't be."""
    target = Path(path)
    if target.suffix.lower() != ".svg":
        raise OptionError(f"picture {str(path)!r}: expected a file name that ends in .svg, the only format there is")
    if target.is_dir():
        raise OptionError(f"picture {str(path)!r}: expected a file name, and that is a folder; name a file in it")
    if not target.parent.is_dir():
        raise OptionError(f"picture {str(path)!r}: there is no folder {str(target.parent)!r}; make it first, or choose another")
    temporary = target.with_name(f".minisqx-{secrets.token_hex(8)}.part")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, target)
    except OSError as error:
        raise OptionError(f"picture {str(path)!r}: can't be written ({error.strerror or error}); choose another place") from None
    finally:
        with suppress(OSError):
            temporary.unlink()


# ---- what the cards say


def _parameters(unit: Unit) -> int:
    return sum(math.prod(shape) for layer in unit.layers for shape in layer.parameter_shapes.values())


def _macs(unit: Unit) -> int:
    return sum(layer.macs for layer in unit.layers)


class _Most:
    """The network's totals, and the largest unit's share of each, which fills a bar."""

    def __init__(self, spec: NetworkSpec):
        self.parameters, self.macs = spec.parameters, spec.macs
        self.parameter_share = max(map(_parameters, spec.units)) / self.parameters
        self.mac_share = max(map(_macs, spec.units)) / self.macs


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _pair(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def _stride(stride: Size) -> str:
    """As the field writes a stride behind a kernel: nothing for 1."""
    return "" if stride == (1, 1) else f" / {stride[0]}" if stride[0] == stride[1] else f" / {_pair(stride)}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _percent(share: float) -> str:
    return "< 0.1 %" if 0 < share < 0.0005 else f"{100 * share:.1f} %"


def _short(count: int) -> str:
    """Three digits and a prefix: 735 k, 8.54 M."""
    for unit, prefix in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        value = count / unit
        if value >= 0.9995:
            return (f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:,.0f}") + prefix
    return str(count)


def _totals(spec: NetworkSpec) -> str:
    state = f"{spec.state_bytes:,} bytes of float32{' with the running statistics' if spec.buffer_shapes else ''}"
    return f"{spec.parameters:,} parameters, {state}, {spec.macs:,} MACs (multiply-adds) per image"


def _what(unit: Unit) -> str:
    match unit:
        case ConvolutionSpec():
            return f"{_pair(unit.kernel)} convolution{_stride(unit.stride)}"
        case BottleneckSpec():
            stride = unit.main[0].stride
            return "bottleneck" if stride == (1, 1) else f"bottleneck, stride {stride[0]}"
        case FireSpec():
            return "fire module"
        case MaxPoolSpec():
            return f"max pool {unit.kernel}x{unit.kernel} / {unit.stride}"
        case AveragePoolSpec():
            return f"average pool {_pair(unit.input_size)}"
        case DropoutSpec():
            return f"dropout {unit.probability:g}"
    return "fully connected"


def _explanation(unit: Unit) -> str:
    """What a unit without parameters does."""
    match unit:
        case MaxPoolSpec():
            return f"the largest of each {unit.kernel}x{unit.kernel} window, a window every {unit.stride} pixels"
        case AveragePoolSpec():
            return f"the mean of each channel over {_shape(unit.input_size)} pixels"
    return f"in training, zeroes each element with probability {unit.probability:g}"


def _after(layer: ConvolutionSpec) -> list[str]:
    """What follows the convolution of a basic block, in order."""
    names = {"act": ACTIVATION_NAMES.get(layer.activation or ""), "bn": "batch norm"}
    return [name for step in layer.order.split("-")[1:] if (name := names[step])]


def _sequence(layer: ConvolutionSpec) -> str:
    return ", ".join(["convolution", *_after(layer)])


def _rows(units: Sequence[Unit]) -> Iterator[tuple[list[Unit], Unit | None]]:
    """Units that stand side by side, and whom they repeat: a bottleneck like the one before it, else each unit stands alone."""
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


# ---- the network


def _header(root: Element, spec: NetworkSpec, width: float) -> float:
    """The name, the totals and the legend; returns where they end."""
    x, y, room = MARGIN, MARGIN, width - 2 * MARGIN
    channels = spec.convolutions[0].in_channels
    _text(root, x, y + 20, spec.name, 22, bold=True, room=room)
    _text(root, x, y + 44, _totals(spec), 13, room=room)
    classes = _count(spec.num_classes, "class", "classes")
    facts = [f"input {_shape((channels, *spec.input_size))} (channels x height x width), {classes}"]
    kinds = list(dict.fromkeys(_sequence(layer) for layer in spec.convolutions))
    facts.append("a basic block is: " + "; a shortcut's: ".join(kinds))
    _text(root, x, y + 64, "; ".join(facts), 12, fill=SOFT, room=room)

    y += 84
    for label, color, tint in dict.fromkeys(KINDS[type(unit)] for unit in spec.units):
        _rect(root, x, y - 9, 14, 11, fill=tint, stroke=color, rx=2)
        x = _legend_text(root, x + 20, y, label)
    if any(isinstance(unit, BottleneckSpec) for unit in spec.units):
        _line(root, [(x, y - 4), (x + 24, y - 4)], dashed=True)
        x = _legend_text(root, x + 30, y, "identity shortcut")
        _line(root, [(x, y - 4), (x + 32, y - 4)])
        _rect(root, x + 8, y - 9, 16, 11, fill="#ffffff", stroke=LINE, rx=3)
        x = _legend_text(root, x + 38, y, "projection shortcut")
    x, y = MARGIN, y + 19
    for color, label in ((PARAMETERS, "share of the parameters"), (MACS, "share of the MACs")):
        _rect(root, x, y - 7, 24, 6, fill=color)
        x = _legend_text(root, x + 30, y, label)
    _text(root, x, y, "a full bar is the largest unit's share; kernels are height x width, / 2 is a stride of 2", 11, fill=SOFT)
    return y + 22


def _legend_text(root: Element, x: float, y: float, label: str) -> float:
    _text(root, x, y, label, 11, fill=SOFT)
    return x + 6.4 * len(label) + 22


def _end(root: Element, left: float, y: float, label: str) -> tuple[float, list[Point]]:
    """What goes in or comes out; returns where it ends and where the arrow away from it begins."""
    width = 7 * len(label) + 24
    _rect(root, left, y, width, 26, fill=INK, rx=13)
    _text(root, left + width / 2, y + 17, label, 11, bold=True, anchor="middle", fill="#ffffff", room=width - 16)
    return y + 26, [(left + SPINE, y + 26)]


def _row(
    root: Element, left: float, y: float, row: list[Unit], twin: Unit | None, exits: list[Point], most: _Most
) -> tuple[float, list[Point]]:
    """Draws the cards of one row at `y`, and the arrow from the last row's `exits`; returns what the next row needs."""
    spine = left + SPINE
    if twin is None:
        (unit,) = row
        _arrow(root, [*exits, (spine, y)])
        height = BLOCK_HEIGHT if isinstance(unit, (BottleneckSpec, FireSpec)) else CARD_HEIGHT
        _wide_card(root, left, y, height, unit, most)
        return y + height, [(spine, y + height)]
    x, middle, below = left + INDENT, y + REPEAT_HEIGHT / 2, y + REPEAT_HEIGHT + TURN_BELOW
    _arrow(root, [*exits, (spine, middle), (x, middle)])
    for unit in row:
        end = x + REPEAT_WIDTH
        if unit is not row[-1]:
            _arrow(root, [(end, middle), (end + GAP, middle)])
        _line(root, [(x - 9, middle), (x - 9, y - 9), (end + 9, y - 9), (end + 9, middle)], dashed=True)
        _repeat_card(root, x, y, unit, twin, most)
        x = end + GAP
    return below, [(end, middle), (end + TURN, middle), (end + TURN, below), (spine, below)]


def _card(root: Element, x: float, y: float, width: float, height: float, unit: Unit) -> Element:
    """A card's outline, its exact figures, and its name."""
    _, color, _ = KINDS[type(unit)]
    shape, parameters, macs = _shape(unit.output_shape), _parameters(unit), _macs(unit)
    card = _sub(root, "g", class_="card", data_name=unit.name, data_output=shape, data_parameters=parameters, data_macs=macs)
    _sub(card, "title").text = f"{unit.name}: {_what(unit)}, output {shape}, {parameters:,} parameters, {macs:,} MACs per image"
    _rect(card, x, y, width, height, fill="#ffffff", stroke=color, rx=7)
    _rect(card, x + 4, y + 5, 4, height - 10, fill=color, rx=2)
    return card


def _repeat_card(root: Element, x: float, y: float, unit: Unit, twin: Unit, most: _Most) -> None:
    card, room = _card(root, x, y, REPEAT_WIDTH, REPEAT_HEIGHT, unit), REPEAT_WIDTH - 28
    _text(card, x + 16, y + 18, unit.name, 12, bold=True, room=room)
    _text(card, x + 16, y + 33, f"{_what(unit)}, like {twin.name.rpartition('.')[2]}", 10.5, fill=SOFT, room=room)
    _text(card, x + 16, y + 47, f"output {_shape(unit.output_shape)}", 10.5, room=room)
    _figures(card, x + 16, y + 64, room, unit, most)


def _wide_card(root: Element, x: float, y: float, height: float, unit: Unit, most: _Most) -> None:
    card, room, top = _card(root, x, y, CARD_WIDTH, height, unit), CHAIN - 26, y + height / 2 - 13
    _text(card, x + 18, top, unit.name, 13, bold=True, room=room)
    _text(card, x + 18, top + 17, _what(unit), 11, fill=SOFT, room=room)
    _text(card, x + 18, top + 33, f"output {_shape(unit.output_shape)}", 11, room=room)
    at, middle = x + CHAIN, y + height / 2
    match unit:
        case BottleneckSpec():
            _bottleneck_chain(card, at, y, unit)
        case FireSpec():
            _fire_chain(card, at, y, unit)
        case ConvolutionSpec():
            _line(card, [(at, middle), (at + 24, middle)])
            end = _chip(card, at + 24, middle - CHIP_HEIGHT / 2, unit)
            for step in _after(unit):
                _arrow(card, [(end, middle), (end + CHIP_GAP, middle)])
                end = _pill(card, end + CHIP_GAP, middle, step, 42 if len(step) < 5 else 76)
        case LinearSpec():
            _line(card, [(at, middle), (at + 24, middle)])
            _chip(card, at + 24, middle - CHIP_HEIGHT / 2, unit)
        case _:
            _text(card, at, middle + 4, _explanation(unit), 11, fill=SOFT, room=FIGURES - CHAIN - 20)
    if unit.layers:
        _figures(card, x + FIGURES, middle - 12, FIGURES_WIDTH, unit, most)
    else:
        _text(card, x + FIGURES, middle + 4, "no parameters, no MACs", 10.5, fill=SOFT)


def _figures(card: Element, x: float, y: float, width: float, unit: Unit, most: _Most) -> None:
    """Parameters and multiply-adds, each with its share of the network's as a bar."""
    parameters, macs = _parameters(unit), _macs(unit)
    track = width - 48
    for label, share, largest, color in (
        (f"{parameters:,} parameters", parameters / most.parameters, most.parameter_share, PARAMETERS),
        (f"{_short(macs)} MACs", macs / most.macs, most.mac_share, MACS),
    ):
        _text(card, x, y, label, 10.5, room=width)
        _rect(card, x, y + 5, track, 5, fill=TRACK)
        _rect(card, x, y + 5, track * share / largest, 5, fill=color)
        _text(card, x + width, y + 11, _percent(share), 9.5, anchor="end", fill=SOFT)
        y += 24


def _bottleneck_chain(card: Element, x: float, y: float, unit: BottleneckSpec) -> None:
    middle, lane, branch = y + 60, y + 20, x + 9
    _line(card, [(x, middle), (x + 24, middle)])
    end = x + 24 - CHIP_GAP
    for layer in unit.main:
        _arrow(card, [(end, middle), (end + CHIP_GAP, middle)])
        end = _chip(card, end + CHIP_GAP, middle - CHIP_HEIGHT / 2, layer)
    plus = end + CHIP_GAP + 9
    _arrow(card, [(end, middle), (plus - 9, middle)])
    _arrow(card, [(branch, middle), (branch, lane), (plus, lane), (plus, middle - 9)], dashed=unit.shortcut is None)
    if unit.shortcut is None:
        label = "identity"
    else:
        layer = unit.shortcut
        label = f"projection {_pair(layer.kernel)}{_stride(layer.stride)}, {layer.in_channels} → {layer.out_channels}"
    width = 6.6 * len(label) + 16
    color = "#ffffff" if unit.shortcut is None else KINDS[ConvolutionSpec][2]
    at = (branch + plus - width) / 2
    _rect(card, at, lane - 10, width, 20, fill=color, stroke=None if unit.shortcut is None else LINE, rx=4)
    _text(card, at + width / 2, lane + 3.5, label, 10, anchor="middle", room=width - 8)
    _plus(card, plus, middle)
    _arrow(card, [(plus + 9, middle), (plus + 9 + CHIP_GAP, middle)])
    _pill(card, plus + 9 + CHIP_GAP, middle, ACTIVATION_NAMES[unit.activation], 42)


def _fire_chain(card: Element, x: float, y: float, unit: FireSpec) -> None:
    middle = y + BLOCK_HEIGHT / 2
    _line(card, [(x, middle), (x + 24, middle)])
    end = _chip(card, x + 24, middle - CHIP_HEIGHT / 2, unit.squeeze)
    expand, concat = end + 44, end + 44 + CHIP_WIDTH + 44
    for layer, at in ((unit.expand1, middle - 20), (unit.expand3, middle + 20)):
        _arrow(card, [(end, middle), (end + 18, middle), (end + 18, at), (expand, at)])
        _chip(card, expand, at - CHIP_HEIGHT / 2, layer)
        _arrow(card, [(concat - 44, at), (concat - 24, at), (concat - 24, middle), (concat, middle)])
    _pill(card, concat, middle, "concatenation", 92)


def _chip(card: Element, x: float, y: float, layer: ConvolutionSpec | LinearSpec) -> float:
    """One convolution (or the classifier) in small; returns its right edge."""
    _, color, tint = KINDS[type(layer)]
    _rect(card, x, y, CHIP_WIDTH, CHIP_HEIGHT, fill=tint, stroke=color, rx=4)
    if isinstance(layer, LinearSpec):
        kernel, channels = "linear", (layer.in_features, layer.out_features)
    else:
        kernel, channels = f"{_pair(layer.kernel)}{_stride(layer.stride)}", (layer.in_channels, layer.out_channels)
    center, room = x + CHIP_WIDTH / 2, CHIP_WIDTH - 6
    _text(card, center, y + 13.5, kernel, 10.5, bold=True, anchor="middle", room=room)
    _text(card, center, y + 26, f"{channels[0]} → {channels[1]}", 9.5, anchor="middle", room=room)
    return x + CHIP_WIDTH


# ---- one block in detail


def _detail_height(block: BottleneckSpec | FireSpec) -> float:
    return 154 + 34 * max(len(_after(layer)) for layer in block.layers)


def _bottleneck_in_detail(root: Element, y: float, block: BottleneckSpec) -> Point:
    """Returns the picture's width and height."""
    first, high = block.main[0], _detail_height(block)
    middle = y + high / 2
    branch, x = MARGIN + ENDS_WIDTH + 12, MARGIN + ENDS_WIDTH + 34
    lane = y + high + (30 if block.shortcut is None else 24 + high / 2)
    _tensor(root, MARGIN, middle, "input", (first.in_channels, *first.input_size))
    before = MARGIN + ENDS_WIDTH
    for layer in block.main:
        _arrow(root, [(before, middle), (x, middle)])
        _detail(root, x, y, high, layer)
        before, x = x + DETAIL_WIDTH, x + DETAIL_WIDTH + DETAIL_GAP
    plus = before + DETAIL_GAP + 11
    _arrow(root, [(before, middle), (plus - 9, middle)])
    center = (branch + plus) / 2
    if block.shortcut is None:
        _arrow(root, [(branch, middle), (branch, lane), (plus, lane), (plus, middle + 9)], dashed=True)
        _rect(root, center - 110, lane - 10, 220, 20, fill="#ffffff")
        _text(root, center, lane + 4, "identity shortcut: the input itself", 11, anchor="middle", room=212)
        height = lane + 14
    else:
        left = center - DETAIL_WIDTH / 2
        _arrow(root, [(branch, middle), (branch, lane), (left, lane)])
        _detail(root, left, lane - high / 2, high, block.shortcut)
        _arrow(root, [(left + DETAIL_WIDTH, lane), (plus, lane), (plus, middle + 9)])
        height = lane + high / 2
    _plus(root, plus, middle)
    _text(root, plus, middle - 16, "sum", 10.5, anchor="middle", fill=SOFT)
    _arrow(root, [(plus + 9, middle), (plus + 27, middle)])
    end = _pill(root, plus + 27, middle, ACTIVATION_NAMES[block.activation], 46)
    _arrow(root, [(end, middle), (end + 18, middle)])
    _tensor(root, end + 18, middle, "output", block.output_shape)
    return end + 18 + ENDS_WIDTH + MARGIN, height + MARGIN


def _fire_in_detail(root: Element, y: float, block: FireSpec) -> Point:
    """Returns the picture's width and height."""
    high = _detail_height(block)
    middle = y + high + 12
    x = MARGIN + ENDS_WIDTH + 24
    _tensor(root, MARGIN, middle, "input", (block.squeeze.in_channels, *block.squeeze.input_size))
    _arrow(root, [(x - 24, middle), (x, middle)])
    _detail(root, x, middle - high / 2, high, block.squeeze)
    end, expand = x + DETAIL_WIDTH, x + DETAIL_WIDTH + 56
    concat = expand + DETAIL_WIDTH + 56
    for layer, top in ((block.expand1, y), (block.expand3, y + high + 24)):
        at = top + high / 2
        _arrow(root, [(end, middle), (end + 24, middle), (end + 24, at), (expand, at)])
        _detail(root, expand, top, high, layer)
        _arrow(root, [(expand + DETAIL_WIDTH, at), (concat - 28, at), (concat - 28, middle), (concat, middle)])
    end = _pill(root, concat, middle, "concatenation", 96)
    _arrow(root, [(end, middle), (end + 24, middle)])
    _tensor(root, end + 24, middle, "output", block.output_shape)
    return end + 24 + ENDS_WIDTH + MARGIN, y + 2 * high + 24 + MARGIN


def _detail(root: Element, x: float, y: float, high: float, layer: ConvolutionSpec) -> None:
    """One basic block: its convolution and what follows, in order, then its output and its figures."""
    card, room, center = _card(root, x, y, DETAIL_WIDTH, high, layer), DETAIL_WIDTH - 22, x + DETAIL_WIDTH / 2 + 4
    _, color, tint = KINDS[ConvolutionSpec]
    _text(card, center, y + 19, layer.name.rpartition(".")[2], 12.5, bold=True, anchor="middle", room=room)
    _rect(card, x + 13, y + 28, DETAIL_WIDTH - 18, 66, fill=tint, stroke=color, rx=4)
    lines = [
        f"{layer.in_channels} → {layer.out_channels} channels",
        f"stride {layer.stride[0]}" if layer.stride[0] == layer.stride[1] else f"stride {_pair(layer.stride)}",
        f"padding {_pair(layer.padding)}" if any(layer.padding) else "no padding",
    ]
    _text(card, center, y + 43, f"convolution {_pair(layer.kernel)}", 10.5, bold=True, anchor="middle", room=room)
    for number, line in enumerate(lines, start=1):
        _text(card, center, y + 43 + 14.5 * number, line, 10, anchor="middle", room=room)
    end = y + 94
    for step in _after(layer):
        _arrow(card, [(center, end), (center, end + 12)])
        _pill(card, center - 42, end + 23, step, 84)
        end += 34
    lines = [_shape(layer.output_shape), f"{_parameters(layer):,} parameters", f"{_short(layer.macs)} MACs"]
    for number, line in enumerate(lines):
        _text(card, center, y + high - 43 + 15 * number, line, 10.5, bold=number == 0, anchor="middle", room=room)


def _tensor(root: Element, x: float, middle: float, label: str, shape: Sequence[int]) -> None:
    center, white = x + ENDS_WIDTH / 2, "#ffffff"
    _rect(root, x, middle - 21, ENDS_WIDTH, 42, fill=INK, rx=10)
    _text(root, center, middle - 4, label, 11, anchor="middle", fill=white)
    _text(root, center, middle + 12, _shape(shape), 11, bold=True, anchor="middle", fill=white, room=ENDS_WIDTH - 10)


# ---- shapes


def _pill(parent: Element, x: float, middle: float, label: str, width: float) -> float:
    """An operation without a convolution; returns its right edge."""
    _rect(parent, x, middle - 11, width, 22, fill="#ffffff", stroke=LINE, rx=11)
    _text(parent, x + width / 2, middle + 3.5, label, 10, anchor="middle", room=width - 10)
    return x + width


def _plus(parent: Element, x: float, y: float) -> None:
    _sub(parent, "circle", cx=x, cy=y, r=9, fill="#ffffff", stroke=LINE, stroke_width=1.2)
    _line(parent, [(x - 4.5, y), (x + 4.5, y)])
    _line(parent, [(x, y - 4.5), (x, y + 4.5)])


def _rect(
    parent: Element, x: float, y: float, width: float, height: float, fill: str, stroke: str | None = None, rx: float = 0
) -> Element:
    outline = {"stroke": stroke, "stroke_width": 1.2} if stroke else {}
    return _sub(parent, "rect", x=x, y=y, width=width, height=height, rx=rx, fill=fill, **outline)


def _text(
    parent: Element,
    x: float,
    y: float,
    content: str,
    size: float,
    bold: bool = False,
    anchor: str = "start",
    fill: str = INK,
    room: float | None = None,
) -> None:
    """`content` with its baseline at `y`, smaller if it would be wider than `room`: a letter takes up to 0.64 of the size."""
    if room is not None:
        size = min(size, room / ((0.7 if bold else 0.64) * len(content)))
    weight = "bold" if bold else "normal"
    _sub(parent, "text", x=x, y=y, font_size=size, font_weight=weight, text_anchor=anchor, fill=fill).text = content


def _line(parent: Element, points: Sequence[Point], dashed: bool = False, **attributes: str) -> None:
    if dashed:
        attributes["stroke_dasharray"] = "4 3"
    path = " ".join(f"{x:g},{y:g}" for x, y in points)
    _sub(parent, "polyline", points=path, fill="none", stroke=LINE, stroke_width=1.3, stroke_linejoin="round", **attributes)


def _arrow(parent: Element, points: Sequence[Point], dashed: bool = False) -> None:
    _line(parent, points, dashed, marker_end="url(#arrow)")


def _sub(parent: Element, tag: str, **attributes: object) -> Element:
    return _set(SubElement(parent, tag), **attributes)


def _set(element: Element, **attributes: object) -> Element:
    """Attributes as SVG spells them: `stroke_width` is stroke-width, `class_` is class; lengths to a hundredth of a pixel."""
    for key, value in attributes.items():
        element.set(key.strip("_").replace("_", "-"), f"{round(value, 2):g}" if isinstance(value, float) else str(value))
    return element


def _document(content: Element, width: float, height: float, description: str) -> str:
    """The file: a white page of its own, so that dark viewers show it too, the arrow's head, and the content."""
    root = _set(Element("svg"), xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width:g} {height:g}")
    _set(root, width=width, height=height, role="img")
    _set(root, font_family="system-ui, 'Segoe UI', Roboto, Helvetica, Arial, 'DejaVu Sans', sans-serif")
    _sub(root, "title").text = description
    marker = _sub(_sub(root, "defs"), "marker", id="arrow", viewBox="0 0 8 8", refX=7.5, refY=4, markerWidth=6, markerHeight=6)
    _sub(_set(marker, orient="auto"), "path", d="M0,0.5 L8,4 L0,7.5 z", fill=LINE)
    _rect(root, 0, 0, width, height, fill="#ffffff")
    root.extend(content)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"
