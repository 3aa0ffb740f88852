"""SVG elements: rectangles, texts, lines, arrows, and the document around them. Lengths are in pixels."""

from collections.abc import Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

MARGIN = 24  # between a picture's edge and its content
INK, SOFT, LINE = "#1f2937", "#4b5563", "#6b7280"

Point = tuple[float, float]


def pill(parent: Element, x: float, middle: float, label: str, width: float) -> float:
    """An operation without a convolution; returns its right edge."""
    rect(parent, x, middle - 11, width, 22, fill="#ffffff", stroke=LINE, rx=11)
    text(parent, x + width / 2, middle + 3.5, label, 10, anchor="middle", room=width - 10)
    return x + width


def plus(parent: Element, x: float, y: float) -> None:
    """A sum, with its centre at x, y."""
    sub(parent, "circle", cx=x, cy=y, r=9, fill="#ffffff", stroke=LINE, stroke_width=1.2)
    line(parent, [(x - 4.5, y), (x + 4.5, y)])
    line(parent, [(x, y - 4.5), (x, y + 4.5)])


def rect(
    parent: Element, x: float, y: float, width: float, height: float, fill: str, stroke: str | None = None, rx: float = 0
) -> Element:
    outline = {"stroke": stroke, "stroke_width": 1.2} if stroke else {}
    return sub(parent, "rect", x=x, y=y, width=width, height=height, rx=rx, fill=fill, **outline)


def text(
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
    """`content` with its baseline at `y`, shrunk to fit into `room`: a letter is up to 0.64 of the font size wide."""
    if room is not None:
        size = min(size, room / ((0.7 if bold else 0.64) * len(content)))
    weight = "bold" if bold else "normal"
    sub(parent, "text", x=x, y=y, font_size=size, font_weight=weight, text_anchor=anchor, fill=fill).text = content


def line(parent: Element, points: Sequence[Point], dashed: bool = False, **attributes: str) -> None:
    if dashed:
        attributes["stroke_dasharray"] = "4 3"
    path = " ".join(f"{x:g},{y:g}" for x, y in points)
    sub(parent, "polyline", points=path, fill="none", stroke=LINE, stroke_width=1.3, stroke_linejoin="round", **attributes)


def arrow(parent: Element, points: Sequence[Point], dashed: bool = False) -> None:
    """A line with a head at its last point."""
    line(parent, points, dashed, marker_end="url(#arrow)")


def sub(parent: Element, tag: str, **attributes: object) -> Element:
    return set_attributes(SubElement(parent, tag), **attributes)


def set_attributes(element: Element, **attributes: object) -> Element:
    """Sets attributes: `stroke_width` is SVG's stroke-width, `class_` is class; lengths are rounded to 0.01 pixels."""
    for key, value in attributes.items():
        element.set(key.strip("_").replace("_", "-"), f"{round(value, 2):g}" if isinstance(value, float) else str(value))
    return element


def document(content: Element, width: float, height: float, description: str) -> str:
    """The SVG file: a white background, for viewers with a dark one, the arrowhead, and the content."""
    root = set_attributes(Element("svg"), xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width:g} {height:g}")
    set_attributes(root, width=width, height=height, role="img")
    set_attributes(root, font_family="system-ui, 'Segoe UI', Roboto, Helvetica, Arial, 'DejaVu Sans', sans-serif")
    sub(root, "title").text = description
    marker = sub(sub(root, "defs"), "marker", id="arrow", viewBox="0 0 8 8", refX=7.5, refY=4, markerWidth=6, markerHeight=6)
    sub(set_attributes(marker, orient="auto"), "path", d="M0,0.5 L8,4 L0,7.5 z", fill=LINE)
    rect(root, 0, 0, width, height, fill="#ffffff")
    root.extend(content)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"
