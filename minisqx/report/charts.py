"""The charts of a page, by Matplotlib, as SVG: legible without scripts, in the page's colours, and with a tip for each point."""

import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

# Matplotlib draws in these colours. In the SVG they become the page's, which are others in the dark (page.css: --ink, --c0 ...).
INK, SOFT = "#010203", "#040506"
COLORS = tuple(f"#0b0b{number:02x}" for number in range(8))
DASHES = ("-", "--", "-.", ":")  # with them, lines can be told apart without colours, too
MOST_TIPS = 150  # of a line; of a longer one every second point has a tip, and so on
TIP_SIZE = 9  # points


@dataclass(frozen=True)
class Line:
    """values: of each epoch from 1. place: which colour and dash; lines of one place are alike on all charts."""

    name: str
    values: Sequence[float]
    place: int = 0


@dataclass(frozen=True)
class Dot:
    """A point of a scatter plot. size: its area, in points squared."""

    name: str
    x: float
    y: float
    place: int = 0
    size: float = 60


def curves(title: str, unit: str, lines: Sequence[Line], from_zero: bool = False) -> str:
    """Lines over epochs, as a figure with a legend. Raises ImportError without Matplotlib."""
    tips: dict[str, list[str]] = {}

    def draw(axes) -> None:
        from matplotlib.ticker import MaxNLocator

        for number, line in enumerate(lines):
            epochs = np.arange(1, len(line.values) + 1)
            # With one epoch there is no line.
            marker = "o" if len(epochs) == 1 else None
            axes.plot(epochs, line.values, DASHES[dash_of(line.place)], color=color_of(line.place), marker=marker, lw=1.6)
            chosen = slice(None, None, -(-len(epochs) // MOST_TIPS))
            name = f"tip-{number}"
            tips[name] = [
                f"{line.name}, epoch {epoch}: {value:.4g}" for epoch, value in zip(epochs[chosen], np.array(line.values)[chosen])
            ]
            shown = {"color": color_of(line.place), "marker": "o", "markersize": TIP_SIZE, "alpha": 0.01, "linestyle": "none"}
            axes.plot(epochs[chosen], line.values[chosen], gid=name, **shown)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_ylabel(unit)
        if from_zero:
            axes.set_ylim(bottom=0)

    last = [(line.place, line.name, f"{line.values[-1]:.4g}") for line in lines]
    return figure(title, draw, tips, last)


def scatter(title: str, labels: tuple[str, str], dots: Sequence[Dot], draw_more: Callable[[Any], None]) -> str:
    """Points, as a figure. labels: of the two axes. draw_more: prepares the axes."""

    def draw(axes) -> None:
        draw_more(axes)
        for number, dot in enumerate(dots):
            axes.scatter([dot.x], [dot.y], s=dot.size, color=color_of(dot.place), alpha=0.8, linewidths=0, gid=f"tip-{number}")
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])

    return figure(title, draw, {f"tip-{number}": [dot.name] for number, dot in enumerate(dots)}, ())


def heat(title: str, labels: tuple[str, str], shares: np.ndarray) -> str:
    """A matrix of shares from 0 to 1 as a picture."""

    def draw(axes) -> None:
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.grid(False)
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])

    return figure(title, draw, {}, (), (7, 6.6))


def color_of(place: int) -> str:
    return COLORS[place % len(COLORS)]


def dash_of(place: int) -> int:
    return place // len(COLORS) % len(DASHES)


def figure(
    title: str,
    draw: Callable[[Any], None],
    tips: dict[str, list[str]],
    legend: Iterable[tuple[int, str, str]],
    size: tuple[float, float] = (4.6, 3.0),
) -> str:
    """What `draw` draws on axes, as an HTML figure.

    tips: of each group of marks, by its identifier, the text of each mark. legend: place, name and last value of each line. It is
    HTML, since Matplotlib has not the glyphs of every name.
    """
    entries = list(legend)
    items = "".join(
        f'<li><span class="swatch dash{dash_of(place)}" style="--c: var(--c{place % len(COLORS)})"></span>{escape(name)}'
        f" <b>{value}</b></li>"
        for place, name, value in entries
    )
    said = ", ".join(f"{name} {value}" for _, name, value in entries)
    label = escape(f"{title}: {said} at the end" if said else title, quote=True)
    svg = _with_tips(_svg(title, draw, size), title, tips)
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
    legend_list = f'<ul class="legend">{items}</ul>' if items else ""
    return f'<figure class="chart"><figcaption>{escape(title)}</figcaption>{svg}{legend_list}</figure>'


def _svg(title: str, draw: Callable[[Any], None], size: tuple[float, float]) -> str:
    import matplotlib
    from matplotlib.figure import Figure

    style: dict[Any, Any] = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK)
    style |= dict.fromkeys(("axes.edgecolor", "grid.color"), SOFT)
    style |= {"font.size": 9, "svg.hashsalt": title, "svg.fonttype": "none", "axes.spines.top": False, "axes.spines.right": False}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        axes.patch.set_alpha(0)
        figure.patch.set_alpha(0)
        axes.grid(alpha=0.25)
        draw(axes)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = file.getvalue()[file.getvalue().index("<svg") :]
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r"font-family: [^;]*; |\n *", lambda found: " " if found[0][0] == "\n" else "", text)
    # Identifiers are the same in each chart, and a page has several.
    text = re.sub(r'(id="|url\(#|href="#)', rf"\1{_name(title)}-", text)
    for number, color in enumerate(COLORS):
        text = text.replace(color, f"var(--c{number})")
    return text.replace(INK, "var(--ink)").replace(SOFT, "var(--soft)")


def _name(title: str) -> str:
    return re.sub(r"\W+", "-", title)


def _with_tips(svg: str, title: str, tips: dict[str, list[str]]) -> str:
    """The SVG with a <title> in each mark of the groups of `tips`, which browsers show when the pointer is on it."""
    for name, texts in tips.items():
        at = svg.index(f'<g id="{_name(title)}-{name}">')
        if svg.startswith("<defs>", svg.index(">", at) + 2):
            at = svg.index("</defs>", at)
        marks = list(re.finditer(r"<(use|path) ([^>]*)/>", svg[at:]))[: len(texts)]
        for mark, text in reversed(list(zip(marks, texts))):
            tipped = f'<{mark[1]} class="tip" {mark[2]}><title>{escape(text)}</title></{mark[1]}>'
            svg = svg[: at + mark.start()] + tipped + svg[at + mark.end() :]
    return svg
