"""Batches for training and evaluation: shuffled, augmented, normalised, in the memory layout of the kernels.

The order of an epoch is a function of (seed, epoch), the crop and flip of a sample of (seed, epoch, index). So any epoch, or any
part of one, can be generated again.
"""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from minisqx.checks import is_whole, plain, require
from minisqx.data.augmentation import Augmentation
from minisqx.data.dataset import check_part
from minisqx.errors import OptionError
from minisqx.kernels.augment import Changes, fill_batch
from minisqx.kernels.counters import AUGMENTATION, DISTORTION, SHUFFLE, permutation, stream
from minisqx.kernels.distort import Distortion
from minisqx.kernels.layout import Layout, aligned_empty
from minisqx.machine.limits import size_text
from minisqx.machine.ranks import ALONE, Ranks


@dataclass(frozen=True, repr=False)
class Batch:
    """One batch: `data` (chunks, 3, stride) in `layout`, `labels` int64 (n,), and the samples' `indices` int64 (n,).

    The memory of `data` is reused: copy the batch to keep it beyond the next one.
    """

    data: np.ndarray
    layout: Layout
    labels: np.ndarray
    indices: np.ndarray

    def __setstate__(self, state: dict) -> None:
        # A plain copy lacks the padding behind the array that kernels may read; see `aligned_empty`.
        data = aligned_empty(state["data"].shape, state["data"].dtype)
        data[...] = state["data"]
        vars(self).update(state, data=data)

    def __repr__(self) -> str:
        return f"Batch({self.layout.images} images of {size_text(self.layout.height, self.layout.width)}, {self.data.dtype})"


class Loader:
    """Makes batches of `images` uint8 (N, H, W, 3) with `labels` int64 (N,).

    mean, std: per colour channel, for pixels from 0 to 1: a value is (pixel / 255 - mean) / std.
    augment: the text of an `Augmentation`, such as "crop,flip", or "none".
    shuffle: whether each epoch has its own order; otherwise it is that of `images`.
    larger_chunks: as in the `NetworkSpec` of the network that gets the batches; it determines their memory layout.
    The last batch may be smaller, and counts in `len(loader)`.
    Raises OptionError for invalid options, DataError for arrays of another shape or dtype.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        batch_size: int,
        *,
        mean,
        std,
        augment: str,
        seed: int,
        dtype="float32",
        shuffle: bool = True,
        larger_chunks: int = 1,
    ):
        batch_size, seed, shuffle = plain((batch_size, seed, shuffle))
        require(is_whole(batch_size, 1, 2**63 - 1), "batch_size", batch_size, "a whole number from 1")
        require(is_whole(seed, 0, 2**63 - 1), "seed", seed, "a whole number from 0 to 9223372036854775807")
        require(isinstance(shuffle, bool), "shuffle", shuffle, "True or False")
        for name, given in (("images", images), ("labels", labels)):
            require(isinstance(given, np.ndarray), name, type(given), "an array: images uint8 (N, H, W, 3), labels int64 (N,)")
        check_part("the loader", images, labels, int(labels.max(initial=0)) + 1)
        mean, std = np.asarray(mean, np.float64), np.asarray(std, np.float64)
        if mean.shape != (3,) or std.shape != (3,) or not np.isfinite([mean, std]).all() or not (std > 0).all():
            raise OptionError(f"mean is {mean} and std {std}; expected three numbers each, for red, green and blue, std above 0")
        self.images = np.ascontiguousarray(images)
        self.labels = labels
        self.batch_size, self.seed, self.shuffle = batch_size, seed, shuffle
        self.augment = Augmentation.parse(augment)
        self.larger_chunks = larger_chunks
        self._fill = np.clip(np.rint(mean * 255), 0, 255).astype(np.uint8)
        self._table = ((np.arange(256) / 255 - mean[:, None]) / std[:, None]).astype(dtype)

    def __repr__(self) -> str:
        images, height, width, _ = self.images.shape
        options = ", ".join(f"{name}={getattr(self, name)}" for name in ("batch_size", "augment", "shuffle", "seed"))
        return f"Loader({images} images of {size_text(height, width)}, {options})"

    def __len__(self) -> int:
        """The number of batches per epoch."""
        return -(-len(self.images) // self.batch_size)

    def order(self, epoch: int) -> np.ndarray:
        """The samples' indices in the order of epoch number `epoch`, int64 (N,)."""
        epoch = _checked_number("epoch", epoch)
        if not self.shuffle:
            return np.arange(len(self.images))
        return permutation(stream(self.seed, SHUFFLE, epoch), len(self.images))

    def epoch(self, epoch: int, start: int = 0, ranks: Ranks = ALONE) -> Iterator[Batch]:
        """The batches of epoch number `epoch`, from batch number `start` on.

        ranks: the processes that train together; of a batch's `data`, only this one's chunks are written.

        A thread prepares the next batch while the caller works with this one; it ends with the iterator.
        Raises OptionError unless both are whole numbers from 0.
        """
        return self._batches(_checked_number("epoch", epoch), _checked_number("start", start), ranks)

    def _changes(self, epoch: int) -> Changes:
        """What the kernel does to the samples of an epoch."""
        chosen = self.augment
        distortion = Distortion(
            angle=math.radians(chosen.rotate),
            scale=float(chosen.scale),
            brightness=float(chosen.brightness),
            contrast=float(chosen.contrast),
            saturation=float(chosen.saturation),
            erase=float(chosen.erase),
            fill=self._fill,
        )
        key, distortion_key = stream(self.seed, AUGMENTATION, epoch), stream(self.seed, DISTORTION, epoch)
        return Changes(chosen.crop, chosen.flip, key, chosen.distorts, distortion, distortion_key)

    def _batches(self, epoch: int, start: int, ranks: Ranks) -> Iterator[Batch]:
        if start >= len(self):
            return
        order = self.order(epoch)
        changes = self._changes(epoch)
        _, height, width, _ = self.images.shape
        full = Layout.of_batch(min(self.batch_size, len(order)), height, width, self._table.dtype, self.larger_chunks)
        buffers = [full.empty(3, self._table.dtype) for _ in range(2)]

        def make(number: int) -> Batch:
            indices = order[number * self.batch_size : (number + 1) * self.batch_size]
            layout, data = full, buffers[number % 2]
            if len(indices) != full.images:
                layout = Layout.of_batch(len(indices), height, width, self._table.dtype, self.larger_chunks)
                data = layout.empty(3, self._table.dtype)
            chunks = ranks.share(layout.chunks)
            mine = indices[chunks.start * layout.images_per_chunk : chunks.stop * layout.images_per_chunk]
            fill_batch(self.images, mine, self._table, changes, layout.images_per_chunk, data[chunks.start : chunks.stop])
            return Batch(data, layout, self.labels[indices], indices)

        with ThreadPoolExecutor(1, "minisqx-loader") as worker:
            pending = worker.submit(make, start)
            for following in range(start + 1, len(self)):
                batch = pending.result()
                pending = worker.submit(make, following)
                yield batch
            yield pending.result()


def _checked_number(name: str, value: int) -> int:
    """`value` as a Python int; raises OptionError unless it can be the number of an epoch or a batch."""
    value = plain(value)
    require(is_whole(value, 0, 2**63 - 1), name, value, "a whole number from 0")
    return value
