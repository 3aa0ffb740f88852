"""Augmentation beyond crop and flip: an image turned, resized, recoloured and partly erased, in integers of 8 bits.

    place        out[y, x] = image at centre + shift + R(angle) (position - centre) / scale: bilinear, and black (0) outside
    brightness   p -> b p
    contrast     p -> m + c (p - m), with m the mean grey of the image
    saturation   p -> g + s (p - g), with g the grey of the pixel
    erase        a rectangle gets the fill colour

Each step is rounded and clipped to 0 .. 255, as if the image were stored between two of them. Grey is that of ITU-R BT.601. What
happens to a sample is a function of (seed, epoch, index), as for crop and flip.

The three colours of a pixel are interpolated at once, as three numbers of 16 bits in one of 64: 255 * 256 still fits.
"""

import math
from typing import NamedTuple

import numpy as np

from minisqx.kernels.compiler.jit import njit
from minisqx.kernels.counters import draw

DRAWS = 16  # for each sample; number 0 to 9 are used
ONE = 1 << 16  # of coordinates and factors
LANES = np.uint64(0x00FF00FF00FF)
HALVES = np.uint64(0x008000800080)
GREY = (19595, 38470, 7471)  # sum: 1 << 16
# Of an erased rectangle: its share of the image, and its height over its width.
LEAST_AREA, MOST_AREA = 0.02, 0.33
MOST_RATIO = 10 / 3


class Distortion(NamedTuple):
    """The largest change of each sort, as in `data.augmentation`; angle in radians. fill: uint8 (3,)."""

    angle: float
    scale: float
    brightness: float
    contrast: float
    saturation: float
    erase: float
    fill: np.ndarray


@njit
def share(key, sample, number):
    """Draw `number` for a sample, from 0 to below 1."""
    return np.float64(draw(key, sample * DRAWS + number) >> np.uint64(11)) * 2.0**-53


@njit
def either_way(key, sample, number, limit):
    """Draw `number` for a sample, from -limit to below limit."""
    return (2.0 * share(key, sample, number) - 1.0) * limit


@njit
def pack(packed, image):
    """The pixels of image, uint8 (H, W, 3), as uint64 (H * W,): red, green and blue in 16 bits each."""
    bytes_ = image.reshape(image.size)
    for p in range(packed.size):
        red, green, blue = np.uint64(bytes_[3 * p]), np.uint64(bytes_[3 * p + 1]), np.uint64(bytes_[3 * p + 2])
        packed[p] = red | (green << np.uint64(16)) | (blue << np.uint64(32))


@njit
def pixel_at(packed, height, width, y, x):
    """A pixel, or black outside the image."""
    return packed[y * width + x] if 0 <= y < height and 0 <= x < width else np.uint64(0)


@njit
def between(first, second, weight):
    """The rounded mean of two pixels, the second with a weight of 0 to 255 of 256."""
    mixed = first * (np.uint64(256) - weight) + second * weight + HALVES
    return (mixed >> np.uint64(8)) & LANES


@njit
def place(out, packed, size, shift, flipped, turn):
    """Writes out (H * W,), the packed image in its new place.

    size: (H, W). shift: (down, right) in pixels, added to the position that is read. turn: (cos, sin) of the angle, over the
    scale.
    """
    height, width = size
    down, right = shift
    along, across = np.int64(round(turn[0] * ONE)), np.int64(round(turn[1] * ONE))
    step = -along if flipped else along
    step_across = -across if flipped else across
    for y in range(height):
        # Twice the distance from the centre is a whole number.
        from_left, from_top = (width - 1 if flipped else 1 - width), 2 * y - (height - 1)
        read_x = ((width - 1 + 2 * right) * ONE + along * from_left - across * from_top) >> 1
        read_y = ((height - 1 + 2 * down) * ONE + across * from_left + along * from_top) >> 1
        for x in range(width):
            at_x, at_y = read_x >> 16, read_y >> 16
            if 0 <= at_x < width - 1 and 0 <= at_y < height - 1:
                at = at_y * width + at_x
                corners = packed[at], packed[at + 1], packed[at + width], packed[at + width + 1]
            else:
                corners = (
                    pixel_at(packed, height, width, at_y, at_x),
                    pixel_at(packed, height, width, at_y, at_x + 1),
                    pixel_at(packed, height, width, at_y + 1, at_x),
                    pixel_at(packed, height, width, at_y + 1, at_x + 1),
                )
            weight_x, weight_y = np.uint64(read_x >> 8 & 255), np.uint64(read_y >> 8 & 255)
            upper, lower = between(corners[0], corners[1], weight_x), between(corners[2], corners[3], weight_x)
            out[y * width + x] = between(upper, lower, weight_y)
            read_x += step
            read_y += step_across


@njit
def unpack(out, packed):
    """The inverse of `pack`."""
    bytes_ = out.reshape(out.size)
    for p in range(packed.size):
        for channel in range(3):
            bytes_[3 * p + channel] = np.uint8(packed[p] >> np.uint64(16 * channel) & np.uint64(255))


@njit
def scaled(value, centre, factor):
    """centre + factor (value - centre), rounded and clipped; factor: in units of 1 / ONE."""
    found = centre + ((factor * (value - centre) + ONE // 2) >> 16)
    return min(max(found, 0), 255)


@njit
def grey_of(bytes_, p):
    """The grey of a pixel."""
    total = ONE // 2
    for channel in range(3):
        total += GREY[channel] * np.int64(bytes_[3 * p + channel])
    return total >> 16


@njit
def recolour(image, brightness, contrast, saturation):
    """Changes brightness, then contrast, then saturation of image, uint8 (H, W, 3), by these factors."""
    b, c, s = np.int64(round(brightness * ONE)), np.int64(round(contrast * ONE)), np.int64(round(saturation * ONE))
    bytes_ = image.reshape(image.size)
    pixels = image.size // 3
    for i in range(image.size):
        bytes_[i] = scaled(np.int64(bytes_[i]), 0, b)
    total = 0
    for p in range(pixels):
        total += grey_of(bytes_, p)
    mean = (total + pixels // 2) // pixels
    for p in range(pixels):
        for channel in range(3):
            bytes_[3 * p + channel] = scaled(np.int64(bytes_[3 * p + channel]), mean, c)
        grey = grey_of(bytes_, p)
        for channel in range(3):
            bytes_[3 * p + channel] = scaled(np.int64(bytes_[3 * p + channel]), grey, s)


@njit
def erase(image, fill, area, ratio, top, left):
    """Fills a rectangle with a share `area` of the image and height over width `ratio`, cut to the image.

    top, left: where it lies, as shares of the room that is left, from 0 to below 1.
    """
    height, width = image.shape[0], image.shape[1]
    side = math.sqrt(area * height * width)
    rows, columns = (
        min(height, max(1, int(round(side * math.sqrt(ratio))))),
        min(width, max(1, int(round(side / math.sqrt(ratio))))),
    )
    first_row, first_column = int(top * (height - rows + 1)), int(left * (width - columns + 1))
    for y in range(first_row, first_row + rows):
        for x in range(first_column, first_column + columns):
            for channel in range(3):
                image[y, x, channel] = fill[channel]


@njit
def distort(out, image, shift, flipped, options, key, sample, packed):
    """Writes out, uint8 (H, W, 3): an image as a training sample.

    image: uint8 (H, W, 3). shift, flipped: crop and flip, as in `augment`. options: `Distortion`. key: uint64, the stream of the
    epoch's draws. sample: its index. packed: uint64 (2, H * W), scratch.
    """
    angle = either_way(key, sample, 0, options.angle)
    size = 1.0 + either_way(key, sample, 1, options.scale)
    pack(packed[0], image)
    place(packed[1], packed[0], image.shape[:2], shift, flipped, (math.cos(angle) / size, math.sin(angle) / size))
    unpack(out, packed[1])
    if options.brightness + options.contrast + options.saturation > 0:
        brightness = 1.0 + either_way(key, sample, 2, options.brightness)
        contrast = 1.0 + either_way(key, sample, 3, options.contrast)
        recolour(out, brightness, contrast, 1.0 + either_way(key, sample, 4, options.saturation))
    if share(key, sample, 5) < options.erase:
        area = LEAST_AREA + share(key, sample, 6) * (MOST_AREA - LEAST_AREA)
        ratio = math.exp(either_way(key, sample, 7, math.log(MOST_RATIO)))
        erase(out, options.fill, area, ratio, share(key, sample, 8), share(key, sample, 9))
