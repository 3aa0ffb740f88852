"""Draws the two pictures of backprop.md: `python docs/draw_deferrals.py` writes them beside this file."""

from collections.abc import Callable
from pathlib import Path
from xml.etree.ElementTree import Element

from minisqx.draw.shapes import INK, LINE, MARGIN, SOFT, arrow, document, rect, text

STORED, STORED_LINE = "#e3f0f8", "#0072B2"
SMALL, SMALL_LINE = "#fdf1dc", "#b7791f"
HEIGHT = 44


class Picture:
    """Boxes on a canvas. A box takes its left edge and its vertical middle, and returns its right edge."""

    def __init__(self, title: str):
        self.title, self.content = title, Element("g")
        text(self.content, MARGIN, 38, title, 17, bold=True)

    def stored(self, x: float, y: float, name: str, remark: str, width: float = 96) -> float:
        """A tensor in memory."""
        return self._box(x, y, name, remark, width, STORED, STORED_LINE, 3)

    def small(self, x: float, y: float, name: str, remark: str, width: float) -> float:
        """A few numbers for each channel or weight."""
        return self._box(x, y, name, remark, width, SMALL, SMALL_LINE, 3)

    def operation(self, x: float, y: float, name: str, remark: str, width: float) -> float:
        return self._box(x, y, name, remark, width, "#ffffff", LINE, 20)

    def _box(self, x, y, name, remark, width, fill, stroke, rx) -> float:
        rect(self.content, x, y - HEIGHT / 2, width, HEIGHT, fill=fill, stroke=stroke, rx=rx)
        text(self.content, x + width / 2, y - 3, name, 12, bold=True, anchor="middle", room=width - 10)
        text(self.content, x + width / 2, y + 13, remark, 10, anchor="middle", fill=SOFT, room=width - 8)
        return x + width

    def heading(self, y: float, words: str, remark: str) -> None:
        text(self.content, MARGIN, y, words, 13, bold=True)
        text(self.content, MARGIN, y + 16, remark, 11, fill=SOFT)

    def arrow(self, *points: tuple[float, float]) -> None:
        arrow(self.content, list(points))

    def frame(self, x: float, y: float, width: float, height: float, words: str) -> None:
        rect(self.content, x, y, width, height, fill="#f6f6f6", stroke=LINE, rx=10)
        text(self.content, x + 20, y + height - 10, words, 11, fill=INK)

    def key(self, y: float) -> None:
        for x, fill, stroke, words in (
            (MARGIN, STORED, STORED_LINE, "a tensor in memory: channels x pixels"),
            (MARGIN + 260, SMALL, SMALL_LINE, "a few numbers for each channel or weight"),
        ):
            rect(self.content, x, y - 10, 22, 13, fill=fill, stroke=stroke, rx=2)
            text(self.content, x + 30, y, words, 11, fill=SOFT)

    def svg(self, width: float, height: float) -> str:
        return document(self.content, width, height, self.title)


def deferred_batch_norm() -> str:
    """Forward, from one convolution to the next."""
    p = Picture("Forward: batch norm becomes a scale s and a shift t that the next layer applies")
    y = 130
    p.heading(78, "As in the textbook", "e is read twice more, and y is written and read")
    x = p.operation(MARGIN, y, "convolution, ELU", "e = f(W0 x + b0)", 138)
    p.arrow((x, y), (x + 24, y))
    x = p.stored(x + 24, y, "e", "written")
    p.arrow((x, y), (x + 24, y))
    x = p.operation(x + 24, y, "mean, variance", "a pass over e", 128)
    p.arrow((x, y), (x + 24, y))
    x = p.operation(x + 24, y, "batch norm", "a pass over e", 112)
    p.arrow((x, y), (x + 24, y))
    x = p.stored(x + 24, y, "y", "written")
    p.arrow((x, y), (x + 24, y))
    x = p.operation(x + 24, y, "next convolution", "W y + b", 138)
    p.arrow((x, y), (x + 24, y))
    width = p.stored(x + 24, y, "next e", "written")

    y = 252
    p.heading(200, "In minisqx", "e is written once and read once; y never exists in memory")
    first = MARGIN + 138
    p.operation(MARGIN, y, "convolution, ELU", "and sums of e and e^2", 138)
    p.arrow((first, y), (first + 24, y))
    x = p.stored(first + 24, y, "e", "written")
    last = width - 96 - 24 - 210
    p.arrow((x, y), (last, y))
    p.operation(last, y, "next convolution", "(W s) e + (b + W t)", 210)
    p.arrow((last + 210, y), (width - 96, y))
    p.stored(width - 96, y, "next e", "written")
    low = 326
    p.arrow((MARGIN + 69, y + 22), (MARGIN + 69, low), (first + 24, low))
    x = p.small(first + 24, low, "mean, variance", "of each channel", 128)
    p.arrow((x, low), (x + 30, low))
    x = p.small(x + 30, low, "s = gamma r,  t = beta - mean s", "r = 1 / sqrt(variance + eps)", 236)
    p.arrow((x, low), (last + 105, low), (last + 105, y + 22))
    p.key(382)
    return p.svg(width + MARGIN, 402)


def deferred_gradient() -> str:
    """Backward, from the next block's dz to this block's."""
    p = Picture("Backward: from the next block's dz' to this block's dz")
    y = 130
    p.heading(78, "As in the textbook", "g and de are written and read, and the sums need a pass of their own")
    x = p.stored(MARGIN, y, "dz'", "next block's")
    p.arrow((x, y), (x + 22, y))
    x = p.operation(x + 22, y, "g = W'^T dz'", "input's gradient", 128)
    p.arrow((x, y), (x + 22, y))
    x = p.stored(x + 22, y, "g", "written", 72)
    p.arrow((x, y), (x + 22, y))
    x = p.operation(x + 22, y, "S = sum g,  sum g e", "a pass over g and e", 158)
    p.arrow((x, y), (x + 22, y))
    x = p.operation(x + 22, y, "de = a g + b e + c", "a pass over g and e", 152)
    p.arrow((x, y), (x + 22, y))
    x = p.stored(x + 22, y, "de", "written", 72)
    p.arrow((x, y), (x + 22, y))
    x = p.operation(x + 22, y, "dz = de f'(e)", "a pass over de and e", 134)
    p.arrow((x, y), (x + 22, y))
    width = p.stored(x + 22, y, "dz", "written", 72)

    y, low = 262, 366
    p.heading(200, "In minisqx", "g exists only a tile at a time; the sums come from the next block's weight gradient")
    left = p.stored(MARGIN, y, "dz'", "next block's")
    frame = width - 132 - 30 - 424
    p.frame(frame, y - 40, 424, 90, "a tile at a time, in registers")
    p.arrow((left, y), (frame + 14, y))
    x = p.operation(frame + 14, y, "g = W'^T dz'", "input's gradient", 140)
    p.arrow((x, y), (x + 24, y))
    middle = x + 24 + 116
    p.operation(x + 24, y, "dz = (a g + b e + c) f'(e)", "batch norm's and ELU's backward", 232)
    p.arrow((x + 256, y), (width - 132, y))
    p.stored(width - 132, y, "dz", "in the place of e", 132)
    p.arrow((MARGIN + 48, y + 22), (MARGIN + 48, low - 22))
    x = p.operation(MARGIN, low, "G = dz' e^T,  B = dz' inside^T", "for dW' = s G + t B, computed anyway", 238)
    p.arrow((x, low), (x + 26, low))
    x = p.small(x + 26, low, "S = sum W' B,  sum g e = sum W' G", "over the weights, not the pixels", 240)
    p.arrow((x, low), (x + 26, low))
    x = p.small(x + 26, low, "a, b, c", "of each channel", 104)
    p.arrow((x, low), (max(middle, x + 20), low), (max(middle, x + 20), y + 22))
    p.key(424)
    return p.svg(width + MARGIN, 444)


PICTURES: dict[str, Callable[[], str]] = {
    "deferred-batch-norm.svg": deferred_batch_norm,
    "deferred-gradient.svg": deferred_gradient,
}


if __name__ == "__main__":
    for name, draw in PICTURES.items():
        Path(__file__).with_name(name).write_text(draw(), encoding="utf-8")
