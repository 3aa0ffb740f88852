"""One bottleneck or fire module in detail, as an SVG picture: a card for each basic block, from left to right."""

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from minisqx.draw import shapes, words
from minisqx.draw.shapes import INK, MARGIN, SOFT, Point
from minisqx.errors import OptionError
from minisqx.spec import BottleneckSpec, ConvolutionSpec, FireSpec, NetworkSpec
from minisqx.spec.units import pair

# All lengths are in pixels.
DETAIL_WIDTH, DETAIL_GAP = 122, 20
ENDS_WIDTH = 96  # of the input and the output


def block_svg(spec: NetworkSpec, name: str | None = None) -> str:
    """One bottleneck or fire module (default: the first) with every operation of its basic blocks, from left to right."""
    blocks = {unit.name: unit for unit in spec.units if isinstance(unit, (BottleneckSpec, FireSpec))}
    block = blocks.get(next(iter(blocks)) if name is None else name)
    if block is None:
        raise OptionError(f"block {name!r}: {spec.name} has no block of this name; choose one of {', '.join(blocks)}")
    root = Element("g")
    first = block.layers[0]
    sizes = f"{words.shape((first.in_channels, *first.input_size))} → {words.shape(block.output_shape)}"
    title = f"{block.name} of {spec.name}"
    figures = f"{words.parameters(block):,} parameters, {words.short(words.macs(block))} MACs (multiply-adds) per image"
    shapes.text(root, MARGIN, MARGIN + 18, title, 20, bold=True)
    shapes.text(root, MARGIN, MARGIN + 40, f"{block.title}: {sizes}; {figures}", 12)
    note = "shapes are channels x height x width; kernels and padding height x width"
    shapes.text(root, MARGIN, MARGIN + 58, note, 11, fill=SOFT)
    if isinstance(block, FireSpec):
        width, height = _fire_in_detail(root, MARGIN + 84, block)
    else:
        width, height = _bottleneck_in_detail(root, MARGIN + 84, block)
    return shapes.document(root, width, height, f"{title}: {block.title}, {sizes}, {figures}")


def _detail_height(block: BottleneckSpec | FireSpec) -> float:
    return 154 + 34 * max(len(words.after(layer)) for layer in block.layers)


def _bottleneck_in_detail(root: Element, y: float, block: BottleneckSpec) -> Point:
    """Returns the picture's width and height."""
    first, high = block.main[0], _detail_height(block)
    middle = y + high / 2
    branch, x = MARGIN + ENDS_WIDTH + 12, MARGIN + ENDS_WIDTH + 34
    lane = y + high + (30 if block.shortcut is None else 24 + high / 2)
    _tensor(root, MARGIN, middle, "input", (first.in_channels, *first.input_size))
    before = MARGIN + ENDS_WIDTH
    for layer in block.main:
        shapes.arrow(root, [(before, middle), (x, middle)])
        _detail(root, x, y, high, layer)
        before, x = x + DETAIL_WIDTH, x + DETAIL_WIDTH + DETAIL_GAP
    plus = before + DETAIL_GAP + 11
    shapes.arrow(root, [(before, middle), (plus - 9, middle)])
    center = (branch + plus) / 2
    if block.shortcut is None:
        shapes.arrow(root, [(branch, middle), (branch, lane), (plus, lane), (plus, middle + 9)], dashed=True)
        shapes.rect(root, center - 110, lane - 10, 220, 20, fill="#ffffff")
        shapes.text(root, center, lane + 4, "identity shortcut: the input itself", 11, anchor="middle", room=212)
        height = lane + 14
    else:
        left = center - DETAIL_WIDTH / 2
        shapes.arrow(root, [(branch, middle), (branch, lane), (left, lane)])
        _detail(root, left, lane - high / 2, high, block.shortcut)
        shapes.arrow(root, [(left + DETAIL_WIDTH, lane), (plus, lane), (plus, middle + 9)])
        height = lane + high / 2
    shapes.plus(root, plus, middle)
    shapes.text(root, plus, middle - 16, "sum", 10.5, anchor="middle", fill=SOFT)
    shapes.arrow(root, [(plus + 9, middle), (plus + 27, middle)])
    end = shapes.pill(root, plus + 27, middle, words.TITLES[block.activation], 46)
    shapes.arrow(root, [(end, middle), (end + 18, middle)])
    _tensor(root, end + 18, middle, "output", block.output_shape)
    return end + 18 + ENDS_WIDTH + MARGIN, height + MARGIN


def _fire_in_detail(root: Element, y: float, block: FireSpec) -> Point:
    """Returns the picture's width and height."""
    high = _detail_height(block)
    middle = y + high + 12
    x = MARGIN + ENDS_WIDTH + 24
    _tensor(root, MARGIN, middle, "input", (block.squeeze.in_channels, *block.squeeze.input_size))
    shapes.arrow(root, [(x - 24, middle), (x, middle)])
    _detail(root, x, middle - high / 2, high, block.squeeze)
    end, expand = float(x + DETAIL_WIDTH), x + DETAIL_WIDTH + 56
    concat = expand + DETAIL_WIDTH + 56
    for layer, top in ((block.expand1, y), (block.expand3, y + high + 24)):
        at = top + high / 2
        shapes.arrow(root, [(end, middle), (end + 24, middle), (end + 24, at), (expand, at)])
        _detail(root, expand, top, high, layer)
        shapes.arrow(root, [(expand + DETAIL_WIDTH, at), (concat - 28, at), (concat - 28, middle), (concat, middle)])
    end = shapes.pill(root, concat, middle, "concatenation", 96)
    shapes.arrow(root, [(end, middle), (end + 24, middle)])
    _tensor(root, end + 24, middle, "output", block.output_shape)
    return end + 24 + ENDS_WIDTH + MARGIN, y + 2 * high + 24 + MARGIN


def _detail(root: Element, x: float, y: float, high: float, layer: ConvolutionSpec) -> None:
    """One basic block: its operations in order, then its output shape and figures."""
    card, room, center = words.card(root, x, y, DETAIL_WIDTH, high, layer), DETAIL_WIDTH - 22, x + DETAIL_WIDTH / 2 + 4
    color, tint = words.STYLES["convolution"]
    shapes.text(card, center, y + 19, layer.name.rpartition(".")[2], 12.5, bold=True, anchor="middle", room=room)
    shapes.rect(card, x + 13, y + 28, DETAIL_WIDTH - 18, 66, fill=tint, stroke=color, rx=4)
    lines = [
        f"{layer.in_channels} → {layer.out_channels} channels",
        f"stride {layer.stride[0]}" if layer.stride[0] == layer.stride[1] else f"stride {pair(layer.stride)}",
        f"padding {pair(layer.padding)}" if any(layer.padding) else "no padding",
    ]
    shapes.text(card, center, y + 43, f"convolution {pair(layer.kernel)}", 10.5, bold=True, anchor="middle", room=room)
    for number, line in enumerate(lines, start=1):
        shapes.text(card, center, y + 43 + 14.5 * number, line, 10, anchor="middle", room=room)
    end = y + 94
    for step in words.after(layer):
        shapes.arrow(card, [(center, end), (center, end + 12)])
        shapes.pill(card, center - 42, end + 23, step, 84)
        end += 34
    lines = [words.shape(layer.output_shape), f"{words.parameters(layer):,} parameters", f"{words.short(layer.macs)} MACs"]
    for number, line in enumerate(lines):
        shapes.text(card, center, y + high - 43 + 15 * number, line, 10.5, bold=number == 0, anchor="middle", room=room)


def _tensor(root: Element, x: float, middle: float, label: str, shape: Sequence[int]) -> None:
    center, white = x + ENDS_WIDTH / 2, "#ffffff"
    shapes.rect(root, x, middle - 21, ENDS_WIDTH, 42, fill=INK, rx=10)
    shapes.text(root, center, middle - 4, label, 11, anchor="middle", fill=white)
    shapes.text(root, center, middle + 12, words.shape(shape), 11, bold=True, anchor="middle", fill=white, room=ENDS_WIDTH - 10)
