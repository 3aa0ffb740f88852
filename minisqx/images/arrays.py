"""An array of any dtype with a known scale as `Pixels`, without a copy of it."""

from collections.abc import Callable

import numpy as np

from minisqx.errors import ImageError
from minisqx.images.colours import ROUNDING, on_white
from minisqx.images.files import check_size
from minisqx.images.pillow import Image
from minisqx.images.pixels import Pixels, Strip


def pixels_of_array(array: np.ndarray, is_bgr: bool) -> Pixels:
    """The array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) as `load_image` takes it. Raises ImageError for any other."""
    channels = array.shape[2] if array.ndim == 3 else 1
    scale = _scale_of(array.dtype)
    if scale is None or array.ndim not in (2, 3) or channels not in (1, 3, 4):
        raise ImageError(
            f"an array of {array.dtype} {array.shape}: expected an image, uint8 (H, W, 3); uint16, bool and floats from 0 to 1,"
            " (H, W) and (H, W, 4) are taken, too"
        )
    height, width = array.shape[:2]
    check_size(width, height, "the array")
    if array.dtype.kind == "f":
        _check_fractions(array)
    array = array.reshape(height, width, channels)
    is_bgr = is_bgr and channels > 1
    if channels == 3 and array.strides[2] < 0:
        # A view like image[:, :, ::-1]: the array behind it can be read in order, without a copy.
        array, is_bgr = array[:, :, ::-1], not is_bgr

    def read(left: int, top: int, right: int, bottom: int) -> Strip:
        rows = array[top:bottom]
        if rows.flags.c_contiguous and rows.dtype == np.uint8 and channels != 4:
            return Strip(rows, left)
        strip = scale(rows[:, left:right])
        if channels != 4:
            return Strip(strip)
        return Strip(np.asarray(on_white(Image.fromarray(strip))))

    return Pixels((height, width), min(channels, 3), read, (height, width), is_bgr=is_bgr)


def _scale_of(dtype: np.dtype) -> Callable[[np.ndarray], np.ndarray] | None:
    """What makes contiguous uint8 of an array of that dtype; None where its values have no known scale."""
    if dtype == np.uint8:
        return np.ascontiguousarray
    if dtype == np.bool_:
        return lambda array: array.astype(np.uint8, order="C") * np.uint8(255)
    if dtype.kind == "u" and dtype.itemsize == 2:
        return _from_sixteen
    return _from_fractions if dtype.kind == "f" else None


def _from_sixteen(values: np.ndarray) -> np.ndarray:
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8, order="C")


def _from_fractions(values: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(values.astype(np.float64), 0, 1) * 255).astype(np.uint8, order="C")


def _check_fractions(values: np.ndarray) -> None:
    """Raises ImageError unless all values are numbers from 0 to 1, or rounded to just outside."""
    low, high = values.min(), values.max()
    # The minimum and maximum of an array with NaN are NaN.
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError(f"an array of {values.dtype} with NaN or infinite values: expected numbers from 0 to 1")
    # A fraction that was computed in float32, or in its own shorter dtype, may be rounded to just outside.
    most = max(ROUNDING, 4 * float(np.finfo(values.dtype).eps))
    if low < -most or high > 1 + most:
        raise ImageError(
            f"an array of {values.dtype} with values from {_exact(low)} to {_exact(high)}: expected 0 to 1; scale them,"
            " or give uint8"
        )


def _exact(value: np.floating) -> str:
    """All digits: a rounded number could look like the bound that it exceeds."""
    return str(value).removesuffix(".0")
