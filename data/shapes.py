"""The embedded data set: drawn images of colour shapes, 32 x 32 pixels, for machines without CIFAR-10.

Every image shows one of ten shapes at a random place, size, proportion, rotation and colour, on a textured background with
small discs, one of which may cover part of the shape, and with noise. Colour and place are independent of the class, so a network
must learn the outline: a linear classifier reached 15 % test accuracy (random guessing: 10 %), three plain convolutions of 16, 32
and 32 channels reached 84 % after 12 epochs.

The images are the same on every machine: all randomness is the raw output of NumPy's Philox generator, whose stream is
fixed; all else is integer arithmetic or single float32 operations (+, -, *, /), which IEEE 754 fixes, with no function of a C
library.
"""

import numpy as np

from minisqx.data.dataset import Dataset, Part

SIDE = 32
TRAIN, TEST = 6000, 1000
SEED = 2020

_GRID = 2  # samples per pixel along each axis
_DISCS = 4
_NOISE = 24  # largest deviation, in grey levels
_BLOCK = 100  # images drawn at once, so that all arrays stay in cache

# 64-bit random words per image: for geometry and colours, and for the noise, one byte per element.
_WORDS = 16
_NOISE_WORDS = SIDE * SIDE * 3 // 8

# The normals of a regular pentagon's five sides: cosine and sine of 90, 162, ... degrees.
_PENTAGON = ((0.0, 1.0), (-0.9510565, 0.309017), (-0.5877853, -0.809017), (0.5877853, -0.809017), (0.9510565, 0.309017))
_THIRDS = ((0.0, 1.0), (-0.8660254, -0.5), (0.8660254, -0.5))


def _square(u, v, half):
    return (abs(u) <= half) & (abs(v) <= half)


def _disc(u, v, radius):
    return u * u + v * v <= radius * radius


def _star(u, v):
    # A point of the pentagram is outside at most one side of the pentagon.
    return sum((a * u + b * v > 0.36).astype(np.int8) for a, b in _PENTAGON) <= 1


def _triangle(u, v):
    return (sum((a * u + b * v > 0.5).astype(np.int8) for a, b in _THIRDS)) == 0


# Name -> whether points (u, v) are inside; in these coordinates the shape spans about -1 to 1.
SHAPES = {
    "circle": lambda u, v: _disc(u, v, 0.9),
    "ring": lambda u, v: _disc(u, v, 1.0) & ~_disc(u, v, 0.6),
    "square": lambda u, v: _square(u, v, 0.8),
    "frame": lambda u, v: _square(u, v, 0.9) & ~_square(u, v, 0.5),
    "triangle": _triangle,
    "cross": lambda u, v: ((abs(u) <= 0.3) | (abs(v) <= 0.3)) & _square(u, v, 0.95),
    "star": _star,
    "bars": lambda u, v: _square(u, v, 0.9) & ((abs(u) <= 0.22) | (abs(u) >= 0.55)),
    "crescent": lambda u, v: _disc(u, v, 1.0) & ~_disc(u - 0.5, v, 0.8),
    "bow tie": lambda u, v: (abs(u) <= 0.95) & (abs(v) <= abs(u)),
}


def draw_shapes() -> Dataset:
    """The embedded data set: 6,000 training and 1,000 test images, balanced. Takes about two seconds."""
    classes = tuple(SHAPES)
    labels = np.arange(TRAIN + TEST) % len(classes)
    images = np.empty((TRAIN + TEST, SIDE, SIDE, 3), np.uint8)
    random = np.random.Philox(key=SEED)
    for label, inside in enumerate(SHAPES.values()):
        members = np.flatnonzero(labels == label)
        for first in range(0, len(members), _BLOCK):
            block = members[first : first + _BLOCK]
            images[block] = _draw(inside, len(block), random)
    return Dataset("embedded shapes", classes, Part(images[:TRAIN], labels[:TRAIN]), Part(images[TRAIN:], labels[TRAIN:]))


class _Fields:
    """16-bit random integers for each of `count` images, used up one field after the other."""

    def __init__(self, random: np.random.Philox, count: int):
        raw = random.random_raw(count * _WORDS).astype("<u8")
        self._columns = iter(raw.view("<u2").reshape(count, -1).T.astype(np.int64))

    def below(self, bound: int) -> np.ndarray:
        """int64 (count,), from 0 to bound - 1."""
        return next(self._columns) * bound >> 16

    def between(self, low: float, high: float) -> np.ndarray:
        """float32 (count, 1, 1), from low to high."""
        steps = (next(self._columns) / np.float32(65536)).astype(np.float32)
        return (np.float32(low) + steps * np.float32(high - low)).reshape(-1, 1, 1)

    def colour(self) -> np.ndarray:
        """int64 (count, 1, 1, 3), from 0 to 255."""
        return np.stack([self.below(256) for _ in range(3)], axis=-1).reshape(-1, 1, 1, 3)


def _draw(inside, count: int, random: np.random.Philox) -> np.ndarray:
    """`count` images of the shape that `inside` describes, uint8 (count, 32, 32, 3)."""
    fields = _Fields(random, count)
    base = fields.colour()
    image = _background(fields, base, count)
    for _ in range(_DISCS - 1):
        image = _paint_disc(fields, image)
    image = _paint(image, _coverage(fields, inside), (base + 56 + fields.colour() * 144 // 256) % 256)
    image = _paint_disc(fields, image)
    noise = random.random_raw(count * _NOISE_WORDS).astype("<u8").view(np.uint8).reshape(image.shape).astype(np.int16)
    return np.clip(image + (noise * (2 * _NOISE + 1) >> 8) - _NOISE, 0, 255).astype(np.uint8)


def _background(fields: _Fields, base: np.ndarray, count: int) -> np.ndarray:
    """Waves between two colours near `base`, of random direction and width, int16 (count, 32, 32, 3)."""
    y, x = np.mgrid[:SIDE, :SIDE]
    across, down, phase = (fields.below(bound).reshape(-1, 1, 1) for bound in (17, 17, 64))
    wave = abs(((across - 8) * x + (down - 8) * y + phase) % 64 - 32).astype(np.int16)[..., None]
    other = np.clip(base + fields.colour() * 3 // 8 - 48, 0, 255)
    return (base.astype(np.int16) * (32 - wave) + other.astype(np.int16) * wave) >> 5


def _coverage(fields: _Fields, inside) -> np.ndarray:
    """How many of each pixel's four samples are inside the shape, int16 (count, 32, 32, 1)."""
    grid = ((np.arange(SIDE * _GRID) + 0.5) / _GRID - SIDE / 2).astype(np.float32)
    x = grid - fields.between(-5, 5)
    y = grid[:, None] - fields.between(-5, 5)
    # A rotation by -45 to 45 degrees, from the tangent of half the angle, without the C library's sin and cos; and quarter turns.
    tangent = fields.between(-0.4142136, 0.4142136)
    cosine, sine = (1 - tangent * tangent) / (1 + tangent * tangent), 2 * tangent / (1 + tangent * tangent)
    quarter = fields.below(4).reshape(-1, 1, 1)
    cosine, sine = (
        np.choose(quarter, [cosine, -sine, -cosine, sine]),
        np.choose(quarter, [sine, cosine, -sine, -cosine]),
    )
    width, height = fields.between(7.5, 13), fields.between(0.8, 1.25)
    u = (cosine * x + sine * y) / width
    v = (cosine * y - sine * x) / (width * height)
    samples = inside(u, v).reshape(-1, SIDE, _GRID, SIDE, _GRID)
    return samples.sum(axis=(2, 4), dtype=np.int16)[..., None]


def _paint(image: np.ndarray, coverage: np.ndarray, colour: np.ndarray) -> np.ndarray:
    whole = _GRID * _GRID
    return (image * (whole - coverage) + colour.astype(np.int16) * coverage + whole // 2) // whole


def _paint_disc(fields: _Fields, image: np.ndarray) -> np.ndarray:
    """A disc at a random place, with a radius of 1 to 3 pixels."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    u, v, radius = x - fields.between(0, 32), y - fields.between(0, 32), fields.between(1, 3)
    return np.where(_disc(u, v, radius)[..., None], fields.colour().astype(np.int16), image)
