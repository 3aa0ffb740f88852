"""Pictures for the benchmarks that start from an array or a file."""

from pathlib import Path

import numpy as np
from PIL import Image


def photograph(width: int, height: int) -> np.ndarray:
    """A picture with detail at every scale, as JPEG finds it in photographs: uint8 (height, width, 3)."""
    generator, picture = np.random.default_rng(0), np.zeros((height, width, 3), np.float32)
    for side in (4, 16, 64, 256, 1024):
        noise = generator.integers(0, 256, (max(1, side * height // width) + 1, side, 3), np.uint8)
        picture += np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC), np.float32) - 127.5
    return np.clip(127.5 + 0.4 * picture + generator.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)


def write(folder: Path, kind: str, width: int, height: int) -> Path:
    """The path of a picture as a file. kind: "array" (a .npy file), "png", "jpg" or "progressive.jpg"."""
    path, picture = folder / f"{width}.{kind}", photograph(width, height)
    if kind == "array":
        path = path.with_suffix(".npy")
        np.save(path, picture)
    elif kind == "png":
        Image.fromarray(picture).save(path)
    else:
        Image.fromarray(picture).save(path, quality=90, progressive=kind.startswith("progressive"))
    return path
