"""What passes between two layers: an `Activation` on the way forward, a `Gradient` on the way back."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from minisqx.kernels.activation import NO_ACTIVATION, check_activation, entry_of
from minisqx.kernels.im2col import Taps
from minisqx.kernels.layout import Layout
from minisqx.kernels.structures import Source, Tensor
from minisqx.layers.part import Part


@dataclass(frozen=True)
class Activation(Part):
    """A tensor between two layers: y = f(data * scale + shift), the activation f only where it is still to be done.

    The tensor is rows row : row + channels of data (chunks, channels or more, stride). activation: the number of f
    (`kernels/activation.py`). sums: (channels, 2) float64, written by the reader's backward: sum g and sum g * data, g =
    dL/d(data * scale + shift).
    """

    data: np.ndarray
    layout: Layout
    row: int
    scale: np.ndarray
    shift: np.ndarray
    activation: int
    sums: np.ndarray

    def __post_init__(self) -> None:
        check_activation(self.activation)

    @property
    def channels(self) -> int:
        return self.scale.size

    def part(self, start: int, stop: int, activation: int) -> "Activation":
        """Some of the channels."""
        scale, shift = self.scale[start:stop], self.shift[start:stop]
        return Activation(self.data, self.layout, self.row + start, scale, shift, activation, self.sums[start:stop])

    def tensor(self) -> Tensor:
        """The same as kernels take it."""
        return Tensor(self.data, self.row, self.scale, self.shift, self.activation, self.sums)

    def values(self) -> np.ndarray:
        """(N, C, H, W), with everything that was deferred."""
        stored = self.layout.unpack(self.data[:, self.row : self.row + self.channels])
        y = stored * self.scale[:, None, None] + self.shift[:, None, None]
        return activated(y, self.activation)


def activated(y: np.ndarray, activation: int) -> np.ndarray:
    """The activation of a whole array, for tests and for inspection."""
    return y if activation == NO_ACTIVATION else entry_of(activation).values(y)


@cache
def no_taps(dtype) -> Taps:
    """What stands for the taps of a gradient that is no product."""
    return Taps(np.ones(10, np.int64), np.empty((0, 0), dtype), np.empty((0, 0), np.int32))


@dataclass(frozen=True)
class Gradient(Part):
    """The gradient of a tensor, before it is materialised: a product for its first rows, stored for the others, and an addend.

    weight: (out_channels * taps, rows) and dz, rows dz_row : dz_row + out_channels of (chunks, out_channels or more, stride), of
    the layer that read the tensor; taps: of its transposed geometry. The other rows are those of `stored` from stored_row on.
    sampled_size: (height, width) of the tensor where stored and addend hold only its samples.
    """

    weight: np.ndarray | None = None
    dz: np.ndarray | None = None
    dz_row: int = 0
    taps: Taps | None = None
    stored: np.ndarray | None = None
    stored_row: int = 0
    addend: np.ndarray | None = None
    sampled_size: tuple[int, int] | None = None

    @property
    def depth(self) -> int:
        """Rows of scratch that the product takes."""
        return 0 if self.weight is None else max(self.weight.shape)

    def source(self, dtype) -> Source:
        """What the kernels take; parts that are absent become empty arrays."""
        none = np.empty((0, 0, 0), dtype)
        weight = np.empty((0, 0), dtype) if self.weight is None else self.weight
        return Source(
            weight.shape[1],
            weight,
            none if self.dz is None else self.dz,
            self.dz_row,
            *(self.taps or no_taps(dtype)),
            none if self.stored is None else self.stored,
            self.stored_row,
            self.addend is not None,
            none if self.addend is None else self.addend,
            self.sampled_size is not None,
            *(self.sampled_size or (0, 0)),
        )
