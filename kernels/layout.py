"""How a batch of activations lies in memory: chunks of channels x pixels.

A batch of N images is cut into chunks of a few images. A chunk is one matrix: a row a channel, and in a row the pixels
of all the chunk's images side by side (image, row, column). So a 1x1 convolution is a plain matrix product and a
batch-norm statistic is a sum along a row. A chunk is the unit of work, of cache residency and of summation order.

    data[chunk, channel, image_in_chunk * height * width + y * width + x]

Rows are contiguous and start on a cache line; their stride is an odd number of cache lines, so that rows never fall on
the same few cache sets (a stride of 4096 bytes would). Columns from `pixels(chunk)` on are padding: every kernel that
writes a matrix leaves them zero up to the next full vector (`padded(chunk)`), so sums over whole vectors are exact.

The cut depends on the batch alone, never on the number of threads: that is what makes results repeatable to the bit.
"""

import operator
from dataclasses import dataclass

import numpy as np

CACHE_LINE = 64
MAX_CHUNKS = 16
MAX_IMAGES_IN_CHUNK = 8


@dataclass(frozen=True)
class Layout:
    """The cut of one batch of `images` maps of `height` x `width` pixels, for elements of `itemsize` bytes."""

    images: int
    height: int
    width: int
    itemsize: int
    images_per_chunk: int

    @classmethod
    def of_batch(cls, images: int, height: int, width: int, dtype, larger: int = 1) -> "Layout":
        """The layout for training: up to 16 chunks to share among threads, of at most 8 images.

        larger: factor by which the images per chunk are increased, for networks whose maps are so small that 8 images don't fill
        vectors.
        """
        # NumPy's integers can overflow, and kernels would be compiled again for each of their types.
        images, height, width, larger = map(operator.index, (images, height, width, larger))
        per_chunk = min(-(-images * larger // MAX_CHUNKS), MAX_IMAGES_IN_CHUNK * larger)
        return cls(images, height, width, np.dtype(dtype).itemsize, per_chunk)

    def resized(self, height: int, width: int) -> "Layout":
        """The same images and chunks with maps of another size."""
        return Layout(self.images, height, width, self.itemsize, self.images_per_chunk)

    @property
    def chunks(self) -> int:
        return -(-self.images // self.images_per_chunk)

    @property
    def map_pixels(self) -> int:
        """Pixels of one image's map."""
        return self.height * self.width

    def images_in(self, chunk: int) -> int:
        """Images of one chunk; the last may have fewer than the others."""
        return min(self.images_per_chunk, self.images - chunk * self.images_per_chunk)

    def pixels(self, chunk: int) -> int:
        """Columns of one chunk that hold pixels."""
        return self.images_in(chunk) * self.map_pixels

    def padded(self, chunk: int) -> int:
        """Columns of one chunk rounded up to whole cache lines."""
        line = CACHE_LINE // self.itemsize
        return -(-self.pixels(chunk) // line) * line

    @property
    def stride(self) -> int:
        """Elements from one row to the next: an odd number of cache lines."""
        line = CACHE_LINE // self.itemsize
        return (self.padded(0) // line | 1) * line

    def empty(self, channels: int, dtype) -> np.ndarray:
        """An uninitialised activation (chunks, channels, stride), aligned to a cache line."""
        return aligned_empty((self.chunks, channels, self.stride), dtype)

    def pack(self, images: np.ndarray, out: np.ndarray) -> np.ndarray:
        """Copies `images` (N, C, H, W) into `out` (chunks, C, stride); padding becomes zero."""
        for chunk in range(self.chunks):
            first = chunk * self.images_per_chunk
            part = images[first : first + self.images_per_chunk]
            pixels = self.pixels(chunk)
            out[chunk, :, :pixels] = part.transpose(1, 0, 2, 3).reshape(part.shape[1], pixels)
            out[chunk, :, pixels:] = 0
        return out

    def unpack(self, data: np.ndarray) -> np.ndarray:
        """The inverse of `pack`: (chunks, C, stride) to a new array (N, C, H, W)."""
        channels = data.shape[1]
        images = np.empty((self.images, channels, self.height, self.width), data.dtype)
        for chunk in range(self.chunks):
            count = self.images_in(chunk)
            rows = data[chunk, :, : self.pixels(chunk)].reshape(channels, count, self.height, self.width)
            first = chunk * self.images_per_chunk
            images[first : first + count] = rows.transpose(1, 0, 2, 3)
        return images


def aligned_empty(shape, dtype) -> np.ndarray:
    """`np.empty` whose first element starts on a cache line, and after whose last two whole vectors may still be read."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.empty(size + 3 * CACHE_LINE, np.uint8)
    start = -raw.ctypes.data % CACHE_LINE
    return raw[start : start + size].view(dtype).reshape(shape)
