"""The charts of a report, by Matplotlib, as SVG that takes the page's colours."""

import io
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from minisqx.report.content import Content

# Replaced in the SVG, so that a chart is legible on a dark page, too. The rest are colours that colour-blind readers can
# distinguish (Okabe and Ito), on light and dark.
INK, SOFT = "#010203", "#040506"
PARTS = {"train": ("training", "#5b9bd5"), "validation": ("validation", "#E69F00"), "test": ("test", "#009E73")}
LARGEST_MATRIX = 30  # classes that a matrix of cells shows


def charts(content: Content) -> dict[str, str]:
    """Title -> SVG of each chart. Raises ImportError without Matplotlib."""
    drawn: dict[str, Callable] = {
        "loss": lambda axes: _parts(axes, content.history, "loss", "nats per image", 1),
        "accuracy": lambda axes: _parts(axes, content.history, "accuracy", "% of the images", 100),
        "learning rate": lambda axes: _line(axes, content.history, "lr", "at the end of the epoch"),
        "speed": lambda axes: _line(axes, content.history, "images_per_second", "images a second, training"),
        "calibration": lambda axes: _calibration(axes, content),
    }
    found = {title: _svg(draw, title) for title, draw in drawn.items()}
    if len(content.classes) > LARGEST_MATRIX:
        found["confusion"] = _svg(lambda axes: _matrix(axes, content.measured.confusion), "confusion", (7, 6.6))
    return found


def _svg(draw: Callable, title: str, size: tuple[float, float] = (4.6, 3.1)) -> str:
    import matplotlib
    from matplotlib.figure import Figure

    style: dict[Any, Any] = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK)
    style |= dict.fromkeys(("axes.edgecolor", "grid.color"), SOFT)
    style |= {"font.size": 9, "svg.hashsalt": title, "svg.fonttype": "none", "legend.frameon": False}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        axes.patch.set_alpha(0)
        figure.patch.set_alpha(0)
        axes.grid(alpha=0.25)
        axes.set_title(title)
        draw(axes)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    text = file.getvalue()[file.getvalue().index("<svg") :]
    # Identifiers are the same in each chart, and a page has several.
    text = re.sub(r'(id="|url\(#|href="#)', rf"\1{title.replace(' ', '-')}-", text)
    text = text.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)
    return text.replace(INK, "currentColor").replace(SOFT, "#888888")


def _epochs(axes, history: list[dict]) -> list[int]:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return [row["epoch"] for row in history]


def _parts(axes, history: list[dict], figure: str, label: str, factor: float) -> None:
    epochs = _epochs(axes, history)
    for part, (name, color) in PARTS.items():
        if history[0][f"{part}_{figure}"] is not None:
            values = [factor * row[f"{part}_{figure}"] for row in history]
            axes.plot(epochs, values, color=color, label=f"{name} {values[-1]:.4g}", marker=_marker(history), markersize=3)
    axes.set_ylabel(label)
    axes.legend()


def _line(axes, history: list[dict], column: str, label: str) -> None:
    epochs = _epochs(axes, history)
    axes.plot(epochs, [row[column] for row in history], color=PARTS["train"][1], marker=_marker(history), markersize=3)
    axes.set_ylabel(label)
    axes.set_ylim(bottom=0)


def _marker(history: list[dict]) -> str | None:
    """Markers for short runs: with one epoch there is no line."""
    return "o" if len(history) <= 30 else None


def _calibration(axes, content: Content) -> None:
    sure, right, counts = np.array(content.measured.intervals()).T
    axes.plot([0, 100], [0, 100], color=SOFT, linewidth=1, linestyle="--", label="perfect")
    axes.scatter(100 * sure, 100 * right, s=8 + 140 * counts / counts.max(), color=PARTS[content.measured.part][1], alpha=0.8)
    axes.set_xlabel("probability of the prediction, %")
    axes.set_ylabel("accuracy, %")
    axes.set_xlim(0, 102)
    axes.set_ylim(0, 102)


def _matrix(axes, confusion: np.ndarray) -> None:
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.grid(False)
    axes.set_xlabel("predicted class (number)")
    axes.set_ylabel("true class (number)")
    axes.figure.colorbar(image, shrink=0.8, label="share of the class")
