"""Checks of a layer's arguments."""

from typing import Any

import numpy as np

from minisqx.errors import OptionError
from minisqx.layers.part import NetworkPart
from minisqx.layers.tensors import Activation, Gradient


def check_input(layer: NetworkPart, x: object, channels: int, dtype: np.dtype) -> None:
    """Raises OptionError unless x is an Activation with this number of channels and dtype."""
    if not isinstance(x, Activation):
        raise OptionError(
            f"{layer!r}.forward of {_describe(x)}: expected the Activation that the previous layer returns; for arrays call the"
            " network's forward"
        )
    if x.channels != channels or x.data.dtype != dtype:
        given = f"{x.channels} channels of {x.data.dtype}"
        raise OptionError(f"{layer!r}.forward of an Activation of {given}: expected {channels} channels of {dtype}")


def check_gradient(layer: NetworkPart, gradient: object) -> None:
    """Raises OptionError unless gradient is a Gradient."""
    if not isinstance(gradient, Gradient):
        raise OptionError(
            f"{layer!r}.backward of {_describe(gradient)}: expected the Gradient that the next layer returns; for arrays call the"
            " network's backward"
        )


def check_array(layer: NetworkPart, method: str, array: Any, shape: tuple, dtype: np.dtype) -> None:
    """Raises OptionError unless array is contiguous and has this dtype and shape (None: any length)."""
    fits = isinstance(array, np.ndarray) and array.dtype == dtype and array.flags.c_contiguous and array.ndim == len(shape)
    if not fits or any(length not in (None, given) for length, given in zip(shape, array.shape)):
        expected = ", ".join("N" if length is None else str(length) for length in shape)
        raise OptionError(f"{layer!r}.{method} of {_describe(array)}: expected a contiguous {dtype} array of shape ({expected})")


def _describe(given: object) -> str:
    if isinstance(given, np.ndarray):
        return f"a {given.dtype} array of shape {given.shape}"
    return f"a {type(given).__name__}"
