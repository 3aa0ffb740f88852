"""Folders of PNG files, each with a random picture of known seed."""

from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, size=(8, 8)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def make_folder(root: Path, classes=("cat", "dog"), train=3, test=2, size=(8, 8)) -> Path:
    """Writes PNG files, all different: the seed of a picture is its part, class and number."""
    for part, count in (("train", train), ("test", test)):
        for label, name in enumerate(classes):
            for number in range(count):
                save(root / part / name / f"{number:03d}.png", picture(1000 * (part == "test") + 100 * label + number, size))
    return root
