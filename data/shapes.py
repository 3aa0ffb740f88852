"""The embedded data set: colour shapes of 32 x 32 pixels that are drawn here, for machines without CIFAR-10.

Every image shows one of ten shapes, of any place, size, proportion, rotation and colour, on a textured background among
small discs, one of which may lie over the shape, with noise on top. Colours and places say nothing about the class, so a
network must see the outline: a linear classifier reached 15 % of the test images (chance is 10 %), three plain convolutions
of 16, 32 and 32 channels 84 % after 12 epochs.

The images are the same on every machine: all randomness is the raw output of NumPy's Philox generator, whose stream is
fixed, and everything else is integers or single operations (+, -, *, /) on float32, which IEEE 754 fixes, and no function
of a C library.
"""

import numpy as np

from minisqx.data.dataset import Dataset

SIDE = 32
TRAIN, TEST = 6000, 1000
SEED = 2020

_GRID = 2  # samples of a pixel, along each side
_DISCS = 4
_NOISE = 24  # grey levels, up and down
_BLOCK = 100  # images drawn at once, so that all arrays stay in cache

# Words of 64 random bits for an image: geometry and colours, then noise of a byte an element.
_WORDS = 16
_NOISE_WORDS = SIDE * SIDE * 3 // 8

# The directions of the five sides of a regular pentagon: cosine and sine of 90 degrees and 72 more each.
_PENTAGON = ((0.0, 1.0), (-0.9510565, 0.309017), (-0.5877853, -0.809017), (0.5877853, -0.809017), (0.9510565, 0.309017))
_THIRDS = ((0.0, 1.0), (-0.8660254, -0.5), (0.8660254, -0.5))


def _square(u, v, half):
    return (abs(u) <= half) & (abs(v) <= half)


def _disc(u, v, radius):
    return u * u + v * v <= radius * radius


def _star(u, v):
    # A point of the pentagram lies outside at most one of the pentagon's sides.
    return sum((a * u + b * v > 0.36).astype(np.int8) for a, b in _PENTAGON) <= 1


def _triangle(u, v):
    return (sum((a * u + b * v > 0.5).astype(np.int8) for a, b in _THIRDS)) == 0


# Each is a function of coordinates in the shape's own frame, where it spans about -1 to 1.
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
    """The embedded data set: 6,000 training and 1,000 test images, as many of every class. Takes about two seconds."""
    classes = tuple(SHAPES)
    labels = np.arange(TRAIN + TEST) % len(classes)
    images = np.empty((TRAIN + TEST, SIDE, SIDE, 3), np.uint8)
    random = np.random.Philox(key=SEED)
    for label, inside in enumerate(SHAPES.values()):
        members = np.flatnonzero(labels == label)
        for first in range(0, len(members), _BLOCK):
            block = members[first : first + _BLOCK]
            images[block] = _draw(inside, len(block), random)
    return Dataset("embedded shapes", classes, images[:TRAIN], labels[:TRAIN], images[TRAIN:], labels[TRAIN:])


class _Fields:
    """Random integers of 16 bits for each of `count` images, handed out one field after the other."""

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
    """Two colours near `base` in waves of any direction and width, int16 (count, 32, 32, 3)."""
    y, x = np.mgrid[:SIDE, :SIDE]
    across, down, phase = (fields.below(bound).reshape(-1, 1, 1) for bound in (17, 17, 64))
    wave = abs(((across - 8) * x + (down - 8) * y + phase) % 64 - 32).astype(np.int16)[..., None]
    other = np.clip(base + fields.colour() * 3 // 8 - 48, 0, 255)
    return (base.astype(np.int16) * (32 - wave) + other.astype(np.int16) * wave) >> 5


def _coverage(fields: _Fields, inside) -> np.ndarray:
    """How many of each pixel's four samples lie inside the shape, int16 (count, 32, 32, 1)."""
    grid = ((np.arange(SIDE * _GRID) + 0.5) / _GRID - SIDE / 2).astype(np.float32)
    x = grid - fields.between(-5, 5)
    y = grid[:, None] - fields.between(-5, 5)
    # A rotation without sine and cosine: from the tangent of half its angle, -45 to 45 degrees, and quarter turns.
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
    """A disc of 1 to 3 pixels' radius somewhere."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    u, v, radius = x - fields.between(0, 32), y - fields.between(0, 32), fields.between(1, 3)
    return np.where(_disc(u, v, radius)[..., None], fields.colour().astype(np.int16), image)
