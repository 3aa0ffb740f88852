"""A unit in a picture: its labels, its figures, its colours, and its card.

A card is a `<g class="card">` with the unit's exact figures in data attributes; its first `<rect>` is its outline.
"""

import math
from collections.abc import Sequence
from xml.etree.ElementTree import Element

from minisqx.draw import shapes
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
from minisqx.spec.activations import TITLES

# Type of unit -> its name in the legend, its colour (after Okabe and Ito: distinguishable with any colour vision), its tint.
STYLES: dict[type, tuple[str, str, str]] = {
    ConvolutionSpec: ("convolution", "#0072B2", "#e3f0f8"),
    BottleneckSpec: ("bottleneck", "#009E73", "#e2f4ee"),
    FireSpec: ("fire module", "#D55E00", "#fbebe0"),
    MaxPoolSpec: ("pool", "#7f7f7f", "#eeeeee"),
    AveragePoolSpec: ("pool", "#7f7f7f", "#eeeeee"),
    DropoutSpec: ("dropout", "#c9a400", "#fbf6dc"),
    LinearSpec: ("fully connected", "#CC79A7", "#f8ebf2"),
}


def parameters(unit: Unit) -> int:
    return sum(math.prod(shape) for layer in unit.layers for shape in layer.parameter_shapes.values())


def macs(unit: Unit) -> int:
    return sum(layer.macs for layer in unit.layers)


def shape(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))


def pair(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def stride(step: Size) -> str:
    """A stride as written after a kernel, such as " / 2"; empty for 1."""
    return "" if step == (1, 1) else f" / {step[0]}" if step[0] == step[1] else f" / {pair(step)}"


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


def what(unit: Unit) -> str:
    match unit:
        case ConvolutionSpec():
            return f"{pair(unit.kernel)} convolution{stride(unit.stride)}"
        case BottleneckSpec():
            across = unit.main[0].stride
            return "bottleneck" if across == (1, 1) else f"bottleneck, stride {across[0]}"
        case FireSpec():
            return "fire module"
        case MaxPoolSpec():
            return f"max pool {unit.kernel}x{unit.kernel} / {unit.stride}"
        case AveragePoolSpec():
            return f"average pool {pair(unit.input_size)}"
        case DropoutSpec():
            return f"dropout {unit.probability:g}"
        case LinearSpec():
            return "fully connected"
    raise _unknown(unit)


def style(unit: Unit) -> tuple[str, str, str]:
    """A unit's name in the legend, its colour and its tint. Raises OptionError for a unit of another type."""
    if type(unit) not in STYLES:
        raise _unknown(unit)
    return STYLES[type(unit)]


def _unknown(unit: object) -> OptionError:
    return OptionError(f"{unit!r}: this layer can't be drawn; expected a unit of minisqx.spec")


def explanation(unit: Unit) -> str:
    """What a unit without parameters does."""
    match unit:
        case MaxPoolSpec():
            return f"the maximum of each {unit.kernel}x{unit.kernel} window, every {unit.stride} pixels"
        case AveragePoolSpec():
            return f"the mean of each channel over {shape(unit.input_size)} pixels"
        case DropoutSpec():
            return f"in training, zeroes each element with probability {unit.probability:g}"
    raise AssertionError(f"{unit.name} has parameters")


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
    shapes.sub(group, "title").text = f"{unit.name}: {what(unit)}, output {output}, {size:,} parameters, {cost:,} MACs per image"
    shapes.rect(group, x, y, width, height, fill="#ffffff", stroke=color, rx=7)
    shapes.rect(group, x + 4, y + 5, 4, height - 10, fill=color, rx=2)
    return group
