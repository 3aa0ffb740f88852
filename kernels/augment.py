"""From stored images to a batch that the network can take: crop, flip, distort, normalise, and lay out.

    out[chunk, c, image * H * W + y * W + x] = table[c, images[index, y + down, x' + right, c]]

with x' = x or, flipped, W - 1 - x, and black (0) outside the image. `table[c, pixel]` is (pixel / 255 - mean[c]) / std[c], so
a value does not depend on how a compiler rounds. Cost: one table look-up an element, in runs: what of an image's row lies
inside is one loop over a colour, forwards or backwards. An image that is also distorted (`distort`) is first made in memory of
its own.

Crop and flip of a sample are a function of (seed, epoch, index): `kernels.counters` draws 64 bits for it.
"""

from typing import NamedTuple

import numpy as np

from minisqx.kernels.compiler.jit import njit
from minisqx.kernels.counters import draw
from minisqx.kernels.distort import Distortion, distort


class Changes(NamedTuple):
    """What is done to a sample. crop: the largest shift in pixels. flip: whether half of the samples are mirrored. distorted:
    whether the `Distortion` applies, whose draws are of the stream `distortion_key`, uint64. key: uint64, the stream of crops and
    flips.
    """

    crop: int
    flip: bool
    key: np.uint64
    distorted: bool
    distortion: Distortion
    distortion_key: np.uint64


@njit
def crop_and_flip(changes, index):
    """(down, right, flipped) of sample `index`: offsets from -crop to crop, and a coin.

    Multiplied and shifted rather than divided: 2 * 4 + 1 = 9 outcomes of 16 bits are even to one in 7,000.
    """
    bits = draw(changes.key, index)
    choices = np.uint64(2 * changes.crop + 1)
    low, sixteen = np.uint64(0xFFFF), np.uint64(16)
    down = np.int64(((bits & low) * choices) >> sixteen) - changes.crop
    right = np.int64((((bits >> sixteen) & low) * choices) >> sixteen) - changes.crop
    return down, right, changes.flip and (bits >> np.uint64(63)) == np.uint64(1)


@njit
def fill_batch(images, indices, table, changes, images_per_chunk, out):
    """Writes the images `indices` into `out`.

    images: uint8 (N, H, W, 3). indices: int64 (batch,). table: (3, 256), the dtype of out. changes: `Changes`. out: (chunks, 3,
    stride) as in kernels.layout; its padding becomes zero.
    """
    height, width = images.shape[1], images.shape[2]
    pixels = height * width
    made, packed = np.empty((1, height, width, 3), np.uint8), np.empty((2, pixels), np.uint64)
    for position in range(len(indices)):
        index = indices[position]
        down, right, flipped = crop_and_flip(changes, index)
        pixels_of_all = images.reshape(images.size)
        if changes.distorted:
            shift = down, right
            distort(made[0], images[index], shift, flipped, changes.distortion, changes.distortion_key, index, packed)
            pixels_of_all, index, down, right, flipped = made.reshape(made.size), 0, 0, 0, False
        chunk = position // images_per_chunk
        start = (position % images_per_chunk) * pixels
        # Of a row, columns `left` to `left + inside` show the image, from its column `source_x` on, backwards if flipped.
        left = max(0, right if flipped else -right)
        inside = max(0, width - abs(right))
        source_x = (width - 1 - left if flipped else left) + right
        for channel in range(3):
            normalised = table[channel]
            for y in range(height):
                row = out[chunk, channel, start + y * width : start + (y + 1) * width]
                source_y = y + down
                if not 0 <= source_y < height:
                    row[:] = normalised[0]
                    continue
                row[:left] = normalised[0]
                row[left + inside :] = normalised[0]
                at = ((index * height + source_y) * width + source_x) * 3 + channel
                shown = row[left : left + inside]
                if flipped:
                    for x in range(inside):
                        shown[x] = normalised[pixels_of_all[at - 3 * x]]
                else:
                    for x in range(inside):
                        shown[x] = normalised[pixels_of_all[at + 3 * x]]
    for chunk in range(out.shape[0]):
        count = min(images_per_chunk, len(indices) - chunk * images_per_chunk)
        for channel in range(3):
            out[chunk, channel, count * pixels :] = 0
