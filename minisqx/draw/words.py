"""A unit in a picture: its labels, its figures, its colours, and its card.

A card is a `<g class="card">` with the unit's exact figures in data attributes; its first `<rect>` is its outline.
"""

import math
from collections.abc import Sequence
from xml.etree.ElementTree import Element

from minisqx.draw import shapes
from minisqx.errors import OptionError
from minisqx.spec import ConvolutionSpec, NetworkSpec, Unit
from minisqx.spec.activations import TITLES

# Category of a unit -> its colour (after Okabe and Ito: distinguishable with any colour vision), its tint.
STYLES: dict[str, tuple[str, str]] = {
    "convolution": ("#0072B2", "#e3f0f8"),
    "bottleneck": ("#009E73", "#e2f4ee"),
    "fire module": ("#D55E00", "#fbebe0"),
    "pool": ("#7f7f7f", "#eeeeee"),
    "dropout": ("#c9a400", "#fbf6dc"),
    "fully connected": ("#CC79A7", "#f8ebf2"),
}


def parameters(unit: Unit) -> int:
    return sum(math.prod(shape) for layer in unit.layers for shape in layer.parameter_shapes.values())


def macs(unit: Unit) -> int:
    return sum(layer.macs for layer in unit.layers)


def shape(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))


def count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def percent(share: float) -> str:
    return "< 0.1 %" if 0 < share < 0.0005 else f"{100 * share:.1f} %"


def short(number: int) -> str:
    """Three digits and an SI prefix: 735 k, 8.54 M."""
    for unit, prefix in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        value = number / unit
        if value >= 0.9995:
            return (f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:,.0f}") + prefix
    return str(number)


def totals(spec: NetworkSpec) -> str:
    state = f"{spec.state_bytes:,} bytes of float32{' with the running statistics' if spec.buffer_shapes else ''}"
    return f"{spec.parameters:,} parameters, {state}, {spec.macs:,} MACs (multiply-adds) per image"


def style(unit: Unit) -> tuple[str, str, str]:
    """A unit's name in the legend, its colour and its tint. Raises OptionError for a unit without a style."""
    if not isinstance(unit, Unit) or unit.category not in STYLES:
        raise OptionError(f"{unit!r}: this layer can't be drawn; expected a unit of minisqx.spec")
    return unit.category, *STYLES[unit.category]


def after(layer: ConvolutionSpec) -> list[str]:
    """The operations after the convolution of a basic block, in order."""
    names = {"act": TITLES.get(layer.activation or ""), "bn": "batch norm"}
    return [name for step in layer.order.split("-")[1:] if (name := names[step])]


def sequence(layer: ConvolutionSpec) -> str:
    return ", ".join(["convolution", *after(layer)])


def card(root: Element, x: float, y: float, width: float, height: float, unit: Unit) -> Element:
    """The card of a unit: its outline, its exact figures as attributes, and a title for tooltips."""
    _, color, _ = style(unit)
    output, size, cost = shape(unit.output_shape), parameters(unit), macs(unit)
    group = shapes.sub(root, "g", class_="card", data_name=unit.name, data_output=output, data_parameters=size, data_macs=cost)
    shapes.sub(group, "title").text = f"{unit.name}: {unit.title}, output {output}, {size:,} parameters, {cost:,} MACs per image"
    shapes.rect(group, x, y, width, height, fill="#ffffff", stroke=color, rx=7)
    shapes.rect(group, x + 4, y + 5, 4, height - 10, fill=color, rx=2)
    return group
