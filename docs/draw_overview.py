"""Draws the picture of the README: `python docs/draw_overview.py` writes it beside this file.

All of its figures are computed from the network's description.
"""

from collections.abc import Callable
from math import prod
from pathlib import Path
from xml.etree.ElementTree import Element

from minisqx.draw.shapes import INK, MARGIN, SOFT, arrow, document, rect, text
from minisqx.spec import zoo
from minisqx.spec.units import BottleneckSpec, ConvolutionSpec, LinearSpec

COLUMN, MIDDLE, WIDTH, HEIGHT = 124, 186, 8 * 124 + 2 * MARGIN, 378
SIDE, CHANNELS_PER_SHEET, STEP = 3.2, 3, 2.5  # pixels of the picture for one pixel of a map, and from sheet to sheet
IMAGE, MAPS, VECTOR = ("#fdf1dc", "#b7791f"), ("#e3f0f8", "#0072B2"), ("#f7e8f1", "#b04a86")


def stack(parent: Element, centre: float, channels: int, height: int, width: int, colours: tuple[str, str]) -> float:
    """A tensor as a pile of maps; returns half its width."""
    fill, stroke = colours
    width, height, count = width * SIDE, height * SIDE, max(1, round(channels / CHANNELS_PER_SHEET))
    for number in reversed(range(count)):  # from the back to the front
        shift = (number - (count - 1) / 2) * STEP
        rect(parent, centre - width / 2 + shift, MIDDLE - height / 2 - shift, width, height, fill=fill, stroke=stroke)
    return (width + (count - 1) * STEP) / 2


def words(parent: Element, centre: float, name: str, *lines: str) -> None:
    text(parent, centre, 268, name, 15, bold=True, anchor="middle")
    for number, each in enumerate(lines):
        text(parent, centre, 288 + 17 * number, each, 13, anchor="middle", fill=SOFT)


def overview() -> str:
    spec, content = zoo.network("shallow-06-0.2x"), Element("g")
    title = f"{spec.name}: {spec.parameters:,} parameters, {spec.state_bytes / 1e3:.0f} KB"
    text(content, MARGIN, 38, title, 19, bold=True)
    line = "tensors are drawn to scale, one sheet for three channels; sizes are channels x height x width"
    text(content, MARGIN, 60, line, 13, fill=SOFT)
    centre = MARGIN + COLUMN / 2
    first, *_ = spec.convolutions
    image = (first.in_channels, *first.input_size)
    right = centre + stack(content, centre, *image, IMAGE)
    words(content, centre, "image", " x ".join(map(str, image)))
    for unit in spec.units:
        if not isinstance(unit, ConvolutionSpec | BottleneckSpec | LinearSpec):
            continue
        centre += COLUMN
        parameters = sum(prod(shape) for layer in unit.layers for shape in layer.parameter_shapes.values())
        if isinstance(unit, LinearSpec):
            half = stack(content, centre, 1, unit.out_features, 3, VECTOR)
            lines = ("average, linear", f"{unit.out_features} logits")
        else:
            half = stack(content, centre, *unit.output_shape, MAPS)
            of_unit = "bottleneck" if isinstance(unit, BottleneckSpec) else "{}x{} convolution".format(*unit.kernel)
            lines = (of_unit, " x ".join(map(str, unit.output_shape)))
        arrow(content, [(right + 4, MIDDLE), (centre - half - 4, MIDDLE)])
        right = centre + half
        words(content, centre, unit.name.split(".")[0], *lines, f"{parameters:,} parameters")
    for y, start, end, line in (
        (96, MARGIN, WIDTH - MARGIN, f"forward: {spec.macs:,} multiply-adds for one image"),
        (362, WIDTH - MARGIN, MARGIN, "backward: every gradient is written by hand, without autograd"),
    ):
        arrow(content, [(start, y), (end, y)])
        text(content, WIDTH / 2, y - 7, line, 14, anchor="middle", fill=INK)
    return document(content, WIDTH, HEIGHT, title)


PICTURES: dict[str, Callable[[], str]] = {"overview.svg": overview}


if __name__ == "__main__":
    for name, draw in PICTURES.items():
        Path(__file__).with_name(name).write_text(draw(), encoding="utf-8")
