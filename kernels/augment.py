"""From stored images to a batch that the network can take: crop, flip, normalise, and lay out, in one pass.

    out[chunk, c, image * H * W + y * W + x] = table[c, images[index, y + down, x' + right, c]]

with x' = x or, flipped, W - 1 - x, and black (0) outside the image. `table[c, pixel]` is (pixel / 255 - mean[c]) / std[c], so
a value does not depend on how a compiler rounds. Cost: one table look-up an element, in runs: what of an image's row lies
inside is one loop over a colour, forwards or backwards.

Crop and flip of a sample are a function of (seed, epoch, index): `kernels.counters` draws 64 bits for it.
"""

import numpy as np

from minisqx.kernels.compiler.jit import njit
from minisqx.kernels.counters import draw

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
    pixels_of_all = images.reshape(images.size)
    for position in range(len(indices)):
        index = indices[position]
        down, right, flipped = 0, 0, False
        if augmented:
            down, right, flipped = crop_and_flip(key, index)
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
