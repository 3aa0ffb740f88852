"""A contact sheet of augmentation: some training images, and beside each one what training would see of it, as a PNG."""

import io
import os
from pathlib import Path

import numpy as np

from minisqx.data.augmentation import Augmentation
from minisqx.data.dataset import Dataset
from minisqx.data.loader import Loader
from minisqx.errors import OptionError
from minisqx.images.pillow import Image, ImageDraw, ImageFont
from minisqx.machine.folders import replace_file

SAMPLES = 9  # beside each image
CELL = 96  # pixels of a cell's side, at least
GAP, TEXT = 6, 16
PAPER, INK = (255, 255, 255), (34, 34, 34)


def save(path: str | os.PathLike, dataset: Dataset, augment: str, rows: int = 8, seed: int = 0) -> list[str]:
    """Writes the sheet of `rows` training images, of as many classes as possible; returns a line for each row.

    augment: as in `Augmentation`. seed: chooses the images, and is that of the training run whose first epochs are shown. Raises
    OptionError if the file can't be written.
    """
    part = dataset.parts["train"]
    chosen = _choice(part.labels, rows, seed)
    names = [dataset.classes[label] for label in part.labels[chosen]]
    red, green, blue = (part.images[..., channel].mean() / 255 for channel in range(3))
    epochs = [_samples(part.images[chosen], augment, (red, green, blue), seed, epoch) for epoch in range(SAMPLES)]
    sheet = _sheet(f"--augment {Augmentation.parse(augment)}", names, part.images[chosen], epochs)
    file = io.BytesIO()
    sheet.save(file, "PNG")
    try:
        replace_file(Path(os.fsdecode(path)), file.getvalue())
    except OSError as error:
        raise OptionError(f"can't write {str(path)!r} ({error.strerror or error}): choose a file in a writable folder") from None
    return [f"row {number}: training image {at}, {name!r}" for number, (at, name) in enumerate(zip(chosen, names), start=1)]


def _choice(labels: np.ndarray, rows: int, seed: int) -> np.ndarray:
    """Indices of images, one of each class before a second of any."""
    order = np.random.default_rng(seed).permutation(len(labels))
    turn = np.empty(len(labels), np.int64)
    seen: dict[int, int] = {}
    for at in order:
        label = int(labels[at])
        turn[at] = seen[label] = seen.get(label, -1) + 1
    return np.sort(order[np.argsort(turn[order], kind="stable")[:rows]])


def _samples(images: np.ndarray, augment: str, mean: tuple[float, float, float], seed: int, epoch: int) -> np.ndarray:
    """The images as an epoch of training sees them, uint8 (N, H, W, 3): the loader's batch, without its normalisation."""
    labels = np.zeros(len(images), np.int64)
    loader = Loader(images, labels, len(images), mean=mean, std=(1,) * 3, augment=augment, seed=seed, shuffle=False)
    (pixels,) = (batch.layout.unpack(batch.data) for batch in loader.epoch(epoch))
    return np.rint((pixels.transpose(0, 2, 3, 1) + mean) * 255).astype(np.uint8)


def _sheet(title: str, names: list[str], images: np.ndarray, epochs: list[np.ndarray]) -> Image.Image:
    _, height, width, _ = images.shape
    scale = max(1, -(-CELL // max(height, width)))
    column, row = width * scale + GAP, height * scale + GAP + TEXT
    sheet = Image.new("RGB", (GAP + column * (1 + len(epochs)) + GAP, GAP + 3 * TEXT + row * len(names)), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT - 4)
    draw.text((GAP, GAP), title, INK, font)
    for number, name in enumerate(names):
        top = GAP + 3 * TEXT + number * row
        draw.text((GAP, top - TEXT + 1), f"{number + 1}. {name}", INK, font)
        for place, each in enumerate([images, *epochs]):
            cell = Image.fromarray(each[number]).resize((width * scale, height * scale), Image.Resampling.NEAREST)
            sheet.paste(cell, (GAP + place * column + (GAP if place else 0), top))
    return sheet
