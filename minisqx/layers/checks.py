"""What a layer refuses to be given, in one line."""

from typing import Any

import numpy as np

from minisqx.errors import OptionError
from minisqx.layers.part import Part
from minisqx.layers.tensors import Activation, Gradient


def check_input(layer: Part, x: object, channels: int, dtype: np.dtype) -> None:
    """Raises OptionError unless x is what the layer before may hand on."""
    if not isinstance(x, Activation):
        raise OptionError(
            f"{layer!r}.forward of {_described(x)}: expected the Activation that the layer before returns; give arrays to"
            " the network's own forward"
        )
    if x.channels != channels or x.data.dtype != dtype:
        given = f"{x.channels} channels of {x.data.dtype}"
        raise OptionError(f"{layer!r}.forward of an Activation of {given}: expected {channels} channels of {dtype}")


def check_gradient(layer: Part, gradient: object) -> None:
    """Raises OptionError unless gradient is what the layer after may hand back."""
    if not isinstance(gradient, Gradient):
        raise OptionError(
            f"{layer!r}.backward of {_described(gradient)}: expected the Gradient that the layer after returns; give arrays to"
            " the network's own backward"
        )


def check_array(layer: Part, call: str, array: Any, shape: tuple, dtype: np.dtype) -> None:
    """Raises OptionError unless array is contiguous, of that dtype and shape (None: any length)."""
    fits = isinstance(array, np.ndarray) and array.dtype == dtype and array.flags.c_contiguous and array.ndim == len(shape)
    if not fits or any(length not in (None, given) for length, given in zip(shape, array.shape)):
        expected = ", ".join("N" if length is None else str(length) for length in shape)
        raise OptionError(f"{layer!r}.{call} of {_described(array)}: expected a contiguous array {dtype} of shape ({expected})")


def _described(given: object) -> str:
    if isinstance(given, np.ndarray):
        return f"an array {given.dtype} of shape {given.shape}"
    return f"a {type(given).__name__}"
