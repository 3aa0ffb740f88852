"""From stored images to a batch that the network can take: crop, flip, normalise, and lay out, in one pass.

    out[chunk, c, image * H * W + y * W + x] = table[c, images[index, y + down, x' + right, c]]

with x' = x or, flipped, W - 1 - x, and black (0) outside the image. `table[c, pixel]` is (pixel / 255 - mean[c]) / std[c], so
a value does not depend on how a compiler rounds. Cost: one gather and one table look-up an element.

Crop and flip of a sample are a function of (seed, epoch, index): `kernels.counters` draws 64 bits for it.
"""

import numpy as np

from minisqx.kernels.counters import draw
from minisqx.kernels.jit import njit

PADDING = 4  # pixels of black on each side, before the crop


@njit
def crop_and_flip(key, index):
    """(down, right, flipped) of sample `index` in the stream `key`: offsets from -PADDING to PADDING, and a coin.

    Multiplied and shifted rather than divided: 2 * PADDING + 1 = 9 outcomes of 16 bits, even to one in 7,000.
    """
    bits = draw(key, index)
    choices = np.uint64(2 * PADDING + 1)
    low, sixteen = np.uint64(0xFFFF), np.uint64(16)
    down = np.int64(((bits & low) * choices) >> sixteen) - PADDING
    right = np.int64((((bits >> sixteen) & low) * choices) >> sixteen) - PADDING
    return down, right, (bits >> np.uint64(63)) == np.uint64(1)


@njit
def fill_batch(images, indices, table, augmented, key, images_per_chunk, out):
    """Writes the images `indices` into `out`.

    images: uint8 (N, H, W, 3). indices: int64 (batch,). table: (3, 256), the dtype of out. augmented: whether to crop and flip.
    key: uint64, the stream of the epoch's draws. out: (chunks, 3, stride) as in kernels.layout; its padding becomes zero.
    """
    height, width = images.shape[1], images.shape[2]
    pixels = height * width
    for position in range(len(indices)):
        index = indices[position]
        down, right, flipped = 0, 0, False
        if augmented:
            down, right, flipped = crop_and_flip(key, index)
        chunk = position // images_per_chunk
        start = (position % images_per_chunk) * pixels
        for y in range(height):
            source_y = y + down
            inside_y = 0 <= source_y < height
            for x in range(width):
                source_x = (width - 1 - x if flipped else x) + right
                at = start + y * width + x
                if inside_y and 0 <= source_x < width:
                    for channel in range(3):
                        out[chunk, channel, at] = table[channel, images[index, source_y, source_x, channel]]
                else:
                    for channel in range(3):
                        out[chunk, channel, at] = table[channel, 0]
    for chunk in range(out.shape[0]):
        count = min(images_per_chunk, len(indices) - chunk * images_per_chunk)
        for channel in range(3):
            out[chunk, channel, count * pixels :] = 0
