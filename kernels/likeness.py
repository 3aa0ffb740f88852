"""Which images look alike: a small grey picture and a hash of each image, and the search for the nearest one.

    grey[i, j]     mean grey of a cell; 8 rows of 9 cells cover the image
    bit 8 i + j    grey[i, j] < grey[i, j + 1]

The bits stay the same if an image becomes brighter, larger or blurred; the grey picture tells different images with the same bits
apart. Cost: 3 bytes a pixel to describe an image, one count of bits a pair to compare.

Source of the hash: N. Krawetz, "Kind of Like That" (2013), called dHash there.
"""

import numpy as np

from minisqx.kernels.compiler.jit import njit

ROWS, COLUMNS = 8, 9
CELLS = ROWS * COLUMNS
# Frames of one traffic sign are within both limits for one in seven, frames of different signs for one in a thousand.
MOST_BITS = 6  # of 64 that may differ
MOST_GREY = 6  # mean difference of the cells, of 255


@njit
def describe(grey, bits, images):
    """Writes grey, uint8 (N, CELLS), and bits, uint64 (N,), of images, uint8 (N, H, W, 3)."""
    count, height, width, _ = images.shape
    for n in range(count):
        for i in range(ROWS):
            top, bottom = i * height // ROWS, max((i + 1) * height // ROWS, i * height // ROWS + 1)
            for j in range(COLUMNS):
                left, right = j * width // COLUMNS, max((j + 1) * width // COLUMNS, j * width // COLUMNS + 1)
                total = 0
                for y in range(top, min(bottom, height)):
                    for x in range(left, min(right, width)):
                        red, green, blue = images[n, y, x]
                        total += 2 * np.int64(red) + 5 * np.int64(green) + np.int64(blue)
                cell = 8 * (min(bottom, height) - top) * (min(right, width) - left)
                grey[n, i * COLUMNS + j] = np.uint8((total + cell // 2) // cell)
        found = np.uint64(0)
        for i in range(ROWS):
            for j in range(COLUMNS - 1):
                at = i * COLUMNS + j
                found = (found << np.uint64(1)) | np.uint64(grey[n, at] < grey[n, at + 1])
        bits[n] = found


@njit
def ones_in(word):
    """The number of ones in a uint64. (LLVM makes one instruction of it.)"""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@njit
def nearest(found, grey, bits, other_grey, other_bits):
    """Writes found, int64 (N,): for each image the most similar of the others, or -1 if none is within the limits.

    grey, bits: as `describe` writes them; of a tie, the first.
    """
    for n in range(bits.size):
        best = MOST_GREY * CELLS + 1
        found[n] = -1
        for m in range(other_bits.size):
            if ones_in(bits[n] ^ other_bits[m]) <= MOST_BITS:
                difference = 0
                for cell in range(CELLS):
                    difference += abs(np.int64(grey[n, cell]) - np.int64(other_grey[m, cell]))
                if difference < best:
                    best, found[n] = difference, m
