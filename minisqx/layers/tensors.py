"""What layers pass to each other: an `Activation` in the forward pass, a `Gradient` in the backward pass."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from minisqx.kernels.activation import NO_ACTIVATION, check_activation, entry_of
from minisqx.kernels.geometry import Taps
from minisqx.kernels.layout import Layout
from minisqx.kernels.structures import Source, Tensor
from minisqx.layers.part import NetworkPart


@dataclass(frozen=True)
class Activation(NetworkPart):
    """A layer's output: y = f(x * scale + shift), x rows row : row + channels of data. The reader applies scale, shift and f.

    data: (chunks, channels or more, stride), float32 or float64. scale, shift: (channels,). activation: the number of f
    (`kernels/activation.py`), or NO_ACTIVATION. sums: (channels, 2) float64, sum g and sum g x with g = dL/d(x * scale + shift),
    written by the reader's backward for the batch norm's.
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
        """Channels start : stop, with this activation; views of the same arrays."""
        scale, shift = self.scale[start:stop], self.shift[start:stop]
        return Activation(self.data, self.layout, self.row + start, scale, shift, activation, self.sums[start:stop])

    def tensor(self) -> Tensor:
        """The structure that kernels take."""
        return Tensor(self.data, self.row, self.scale, self.shift, self.activation, self.sums)

    def values(self) -> np.ndarray:
        """y as an array (N, C, H, W)."""
        stored = self.layout.unpack(self.data[:, self.row : self.row + self.channels])
        y = stored * self.scale[:, None, None] + self.shift[:, None, None]
        return apply_activation(y, self.activation)


def apply_activation(y: np.ndarray, activation: int) -> np.ndarray:
    """f(y) in NumPy, for `values()` and for tests."""
    return y if activation == NO_ACTIVATION else entry_of(activation).values(y)


@cache
def no_taps(dtype) -> Taps:
    """Placeholder for the taps of a gradient that is not a product."""
    return Taps(np.ones(10, np.int64), np.empty((0, 0), dtype), np.empty((0, 0), np.int32))


@cache
def no_array(dimensions: int, dtype) -> np.ndarray:
    """Placeholder for an array that a gradient lacks."""
    return np.empty((0,) * dimensions, dtype)


@dataclass(frozen=True)
class Gradient(NetworkPart):
    """The gradient of a tensor, not yet materialised: its first rows are the product W^T dz, the others are stored.

    weight: (out_channels * taps, rows), of the convolution that read the tensor, with flipped taps. dz: (chunks, out_channels or
    more, stride), of which rows dz_row : dz_row + out_channels count. taps: those of the transposed geometry.
    stored: (chunks, rows or more, stride), the other rows, from stored_row on.
    addend: (chunks, rows, stride), added to all rows, or None.
    sampled_size: (height, width) of the tensor if stored and addend hold only its samples, else None.
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
        """Rows of scratch needed to compute the product."""
        return 0 if self.weight is None else max(self.weight.shape)

    def source(self, dtype) -> Source:
        """The structure that kernels take; absent arrays are empty there."""
        none = no_array(3, dtype)
        weight = no_array(2, dtype) if self.weight is None else self.weight
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
