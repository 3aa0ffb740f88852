"""Draws the pictures of docs/gallery.md: `python docs/draw_gallery.py` writes them to `docs/gallery/`. Needs the extra `train`.

The network is `NETWORK`, which comes with minisqx. Its activations are those of the naive network
(`tests/naive_network.py`), which computes the same as the kernels and keeps every tensor.
"""

import json
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import minisqx
from minisqx.data import sheet
from minisqx.data.shapes import draw_shapes
from minisqx.images.load import load_image
from minisqx.paper import printed
from minisqx.spec import zoo

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.append(str(REPOSITORY))  # for the naive network

from tests.naive_network import NaiveNetwork  # noqa: E402

NETWORK = "shallow-06-0.2x"
GALLERY = REPOSITORY / "docs" / "gallery"
CAT = GALLERY / "cat.jpg"
BLUE, ORANGE, GREEN = "#0072B2", "#B85C00", "#00795A"
INK = {"color": "0.15", "fontsize": 9}
# Other networks on CIFAR-10: KB of float32 weights and running statistics, and accuracy in %. A public ResNet of 68,786
# parameters; SqueezeNext as trained by its port to PyTorch (luuuyi), at the sizes of this project's 23-1x-v5 and 23-2x-v5.
YARDSTICKS = {
    "a ResNet": (275.1, 82.29),
    "SqueezeNext 1x": (zoo.network("squeezenext-23-1x-v5").state_bytes / 1e3, 91.9),
    "SqueezeNext 2x": (zoo.network("squeezenext-23-2x-v5").state_bytes / 1e3, 93.1),
}
TARGET = 85  # %, of MLPerf Tiny for CIFAR-10
# Points with their name beside them: the name's place, in points from there, and its end that is there.
LABELLED = {
    "shallow-06-0.125x": (8, -3, "left"),
    "shallow-06-0.2x": (8, -3, "left"),
    "shallow-14-0.2x": (-8, -3, "right"),
    "shallow-14-0.5x": (0, 15, "center"),
    "shallow-14-2x": (-8, -3, "right"),
    "a ResNet": (0, -14, "center"),
    "SqueezeNext 1x": (-8, -3, "right"),
    "SqueezeNext 2x": (-8, -3, "right"),
}


def picture(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), dpi=130, layout="constrained", facecolor="white")


def show(axes: Axes, image: np.ndarray, title: str = "", **options) -> None:
    axes.imshow(image, interpolation="nearest", **options)
    axes.set_title(title, **INK)
    axes.set_axis_off()


def normalised(model: minisqx.Model, pixels: np.ndarray) -> np.ndarray:
    """The network's input (1, 3, H, W) for an image uint8 (H, W, 3)."""
    values = (pixels / 255 - np.array(model.mean)) / np.array(model.std)
    return values.transpose(2, 0, 1)[None]


def mosaic(maps: np.ndarray, columns: int) -> np.ndarray:
    """Maps (C, H, W) side by side, each scaled to 0..1, with white lines between them."""
    channels, height, width = maps.shape
    low, high = (f(maps, axis=(1, 2), keepdims=True) for f in (np.min, np.max))
    scaled = (maps - low) / np.maximum(high - low, 1e-12)
    count = -(-channels // columns)
    found = np.full((count * (height + 1) - 1, columns * (width + 1) - 1), np.nan)
    for number, each in enumerate(scaled):
        row, column = number // columns * (height + 1), number % columns * (width + 1)
        found[row : row + height, column : column + width] = each
    return found


def filters() -> Figure:
    """The kernels of the first layer, in the colours of the pixels that they answer to most."""
    weight = minisqx.load(NETWORK).state["stem.weight"]  # (12, 3, 3, 3)
    figure = picture(9, 1.9)
    for number, (axes, kernel) in enumerate(zip(figure.subplots(1, len(weight)), weight)):
        show(axes, 0.5 + 0.5 * kernel.transpose(1, 2, 0) / np.abs(kernel).max(), str(number))
    figure.suptitle(f"The {len(weight)} kernels of the stem, 3 x 3 pixels of three colours; grey is 0", **INK)
    return figure


def activations() -> Figure:
    """What every stage makes of one photograph."""
    model = minisqx.load(NETWORK)
    pixels = load_image(CAT, model.spec.input_size)
    naive = NaiveNetwork(model.spec, model.state)
    naive.forward(normalised(model, pixels), training=False)
    last = {unit.name.partition(".")[0]: unit.name for unit in model.spec.units}  # of each stage
    stages = [name for name in last.values() if name in naive.activations and naive.activations[name].ndim == 4][:6]
    figure = picture(9, 6.2)
    above, below = figure.subfigures(2, 1, height_ratios=(1, 1.15))
    axes = above.subplots(1, 4, width_ratios=(0.8, 1.3, 1, 1.2))
    show(axes[0], pixels, "image, 32 x 32")
    for place, name in zip([*axes[1:], *below.subplots(1, 3)], stages):
        maps = naive.activations[name][0]
        channels, height, width = maps.shape
        columns = {12: 4, 6: 3, 25: 5, 51: 9}.get(channels, 6)
        colours = {"cmap": "magma", "vmin": 0, "vmax": 1}
        show(place, mosaic(maps, columns), f"{name.partition('.')[0]}: {channels} maps, {height} x {width}", **colours)
    return figure


def occlusion() -> Figure:
    """Where the answer comes from: a class loses probability while a grey square covers what speaks for it."""
    model, side = minisqx.load(NETWORK), 9
    pixels = load_image(CAT, model.spec.input_size)
    height, width = model.spec.input_size
    covered = []
    for y in range(height):
        for x in range(width):
            image = pixels.copy()
            image[max(0, y - side // 2) : y + side // 2 + 1, max(0, x - side // 2) : x + side // 2 + 1] = 127
            covered.append(image)
    change = model.probabilities(np.array(covered)) - model.infer(pixels).probabilities
    figure = picture(9, 2.7)
    axes = figure.subplots(1, 4)
    show(axes[0], pixels, "image, 32 x 32")
    for place, (label, probability) in zip(axes[1:], model.infer(pixels).topk(3)):
        map_ = 100 * change[:, model.classes.index(label)].reshape(height, width)
        show(place, map_, f"{label}, {100 * probability:.0f} %", cmap="PuOr", vmin=-50, vmax=50)
    figure.colorbar(axes[-1].images[0], ax=axes[1:], label="change (points)", shrink=0.8)
    return figure


def size_and_accuracy() -> Figure:
    """The paper's networks, ours, and yardsticks: bytes of all weights against test accuracy on CIFAR-10."""
    figure = picture(9, 5.4)
    axes = figure.subplots()
    families = {"shallow": BLUE, "squeezenet": ORANGE, "squeezenext": GREEN}
    titles = {"shallow": "Shallow SqueezeNext", "squeezenet": "SqueezeNet", "squeezenext": "SqueezeNext"}
    papers = {name: float(accuracy) for name, accuracy in printed.accuracies().items()}
    measured = json.loads((files("minisqx.data") / "measured.json").read_text(encoding="utf-8"))
    ours = {name: each["accuracy"] for name, each in measured.items()}
    for family, colour in families.items():
        for found, filled, source in ((papers, "white", "the paper's figure"), (ours, colour, "trained with minisqx")):
            names = [name for name in found if name.split("-")[0] == family]
            places = [(zoo.network(name).state_bytes / 1e3, found[name]) for name in names]
            if places:
                axes.plot(*zip(*places), "o", color=colour, markerfacecolor=filled, label=f"{titles[family]}, {source}", zorder=3)
        for name in papers.keys() & ours.keys():
            if name.split("-")[0] == family:
                axes.plot([zoo.network(name).state_bytes / 1e3] * 2, [papers[name], ours[name]], color=colour, linewidth=1)
    axes.plot(*zip(*YARDSTICKS.values()), "x", color="0.35", label="yardsticks: networks of others")
    for name, (across, up, side) in LABELLED.items():
        place = YARDSTICKS.get(name) or (zoo.network(name).state_bytes / 1e3, papers[name])
        axes.annotate(name.removeprefix("shallow-"), place, (across, up), textcoords="offset points", ha=side, **INK)
    axes.axhline(TARGET, color="0.35", linewidth=0.8, linestyle="--")
    left = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    axes.annotate(f"MLPerf Tiny's target: {TARGET} %", (0, TARGET), (4, 4), **left, **INK)
    axes.set(xscale="log", xlabel="weights and running statistics (KB, float32)", ylabel="test accuracy on CIFAR-10 (%)")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    return figure


def shapes() -> Figure:
    """The embedded data set, one column for each class."""
    part, classes = (data := draw_shapes()).train, data.classes
    figure, side = picture(9, 3.2), 3
    for label, axes in enumerate(figure.subplots(1, len(classes))):
        chosen = part.images[part.labels == label][:side]
        show(axes, np.concatenate(np.pad(chosen, ((0, 0), (0, 1), (0, 0), (0, 0)), constant_values=255)), classes[label])
    return figure


def draw(folder: Path) -> list[Path]:
    """Writes all pictures to a folder; returns their paths."""
    found = []
    for function in (filters, activations, occlusion, size_and_accuracy, shapes):
        found.append(folder / f"{function.__name__}.png")
        function().savefig(found[-1], metadata={"Software": None})
    sheet.save(folder / "augmentations.png", draw_shapes(), "rotate=15,scale=0.2,brightness=0.3,erase=0.5", rows=5)
    return [*found, folder / "augmentations.png"]


if __name__ == "__main__":
    print(*draw(GALLERY), sep="\n")
