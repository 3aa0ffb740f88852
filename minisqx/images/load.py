"""Any image file, PIL image or array, to uint8 (H, W, 3); and an image of any size, to the size that a network wants.

docs/reliability.md says what is read as what, and what is refused. Pillow decodes; `image_files.py` says what it may do.
"""

import inspect
import io
import os
import stat
from collections.abc import Callable, Sequence
from typing import IO, Any

import numpy as np
import PIL.Image
import PIL.ImageFile

from minisqx.checks import require
from minisqx.errors import ImageError, OptionError
from minisqx.images.colours import ROUNDING, on_white, orientation, strips
from minisqx.images.files import (
    EXPECTED,
    FORMATS,
    MOST_BYTES,
    check_bytes,
    check_size,
    decoded,
    failed,
    finished,
    opened,
    own,
    reason_of,
)
from minisqx.images.pillow import Image

ImageSource = str | os.PathLike | bytes | bytearray | memoryview | IO[bytes] | PIL.Image.Image | np.ndarray


def load_image(
    source: ImageSource, size: tuple[int, int] | None = None, *, bgr: bool = False, formats: Sequence[str] = ()
) -> np.ndarray:
    """The image as uint8 (H, W, 3): red, green, blue.

    source: a file by its path, its bytes, or as an object with `read`, which is read from its start; a PIL image; or an array:
        (H, W, 3); grey (H, W) or (H, W, 1) and with alpha (H, W, 4) are taken, too. An array is uint8, uint16 (65535 is white),
        bool (True is white), or of floats from 0 to 1.
    size: (height, width) to which it is brought as by `fit`, in less memory.
    bgr: an array's colours are blue, green, red, as OpenCV has them. Files and PIL images know their colours.
    formats: further formats that the program's Pillow reads, such as "HEIF" after `pillow_heif.register_heif_opener()`. A file of
        another kind is given to these readers; their safety is theirs.
    A photograph is turned upright as its EXIF data says, what is transparent is laid on white, 16 bits become 8, and of an
    animation the first frame counts. Raises ImageError for anything else, and for 0 or more than 70 million pixels.
    """
    require(isinstance(bgr, (bool, np.bool_)), "bgr", bgr, "True or False")
    if isinstance(source, np.ndarray):
        image = _from_array(np.asarray(source), bgr)  # a matrix can't be reshaped to three dimensions
        return image if size is None else fit(image, size)
    readers = _readers(formats)
    if isinstance(source, PIL.Image.Image):
        return _finish(_from_picture(source), size)
    if isinstance(source, (str, os.PathLike)):
        return _finish(_from_path(source, readers), size)
    if isinstance(source, (bytes, bytearray, memoryview)):
        check_bytes(memoryview(source).nbytes, "an image given as bytes")
        return _finish(_from_bytes(bytes(source), "an image given as bytes", readers), size)
    if callable(getattr(source, "read", None)):
        return _finish(_from_object(source, readers), size)
    raise ImageError(
        f"an image given as {type(source).__name__}: expected a path, a file or its bytes, a PIL image, or an array,"
        " uint8 (H, W, 3)"
    )


def fit(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The image uint8 (H, W, 3) brought to `size` (height, width): its shorter side is resized and the centre cut out.

    An image of that size is returned as it is. Otherwise by Pillow's bicubic filter, which widens as it shrinks, so that nothing
    flickers or aliases; Lanczos is a little sharper, but draws bright and dark lines along the edges of such small pictures.
    """
    return image if image.shape[:2] == tuple(size) else np.asarray(_fitted(Image.fromarray(image), size))


def _fitted(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    (width, height), (target_height, target_width) = picture.size, size
    if (height, width) == (target_height, target_width):
        return picture
    scale = min(height / target_height, width / target_width)
    top, left = (height - target_height * scale) / 2, (width - target_width * scale) / 2
    box = (left, top, min(left + target_width * scale, width), min(top + target_height * scale, height))
    return picture.resize((target_width, target_height), Image.Resampling.BICUBIC, box)


def _finish(picture: Image.Image, size: tuple[int, int] | None) -> np.ndarray:
    """The picture, "RGB" or "L", at `size` if it is not None, as an array."""
    if size is not None:
        picture = _fitted(picture, size)
    image = np.empty((picture.height, picture.width, 3), np.uint8)
    for top, bottom in strips(picture.width, picture.height):
        strip = np.asarray(picture.crop((0, top, picture.width, bottom)))
        image[top:bottom] = strip.reshape(*strip.shape[:2], -1)
    return image


def _from_array(array: np.ndarray, bgr: bool) -> np.ndarray:
    channels = array.shape[2] if array.ndim == 3 else 1
    scale = _array_scale(array.dtype)
    if scale is None or array.ndim not in (2, 3) or channels not in (1, 3, 4):
        raise ImageError(
            f"an array of {array.dtype} {array.shape}: expected an image, uint8 (H, W, 3); uint16, bool and floats from 0 to 1,"
            " (H, W) and (H, W, 4) are taken, too"
        )
    height, width = array.shape[:2]
    check_size(width, height, "the array")
    if bgr and channels > 1:
        array = array[:, :, [2, 1, 0, 3][:channels]]
    if channels == 3 and array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    image = np.empty((height, width, 3), np.uint8)
    for top, bottom in strips(width, height):
        strip = scale(array[top:bottom])
        if channels == 4:
            image[top:bottom] = np.asarray(on_white(Image.fromarray(strip)))
        else:
            image[top:bottom] = strip.reshape(bottom - top, width, channels)
    return image


def _array_scale(dtype: np.dtype) -> Callable[[np.ndarray], np.ndarray] | None:
    """What makes uint8 of an array of that type; None where its values have no known scale."""
    if dtype == np.uint8:
        return np.ascontiguousarray
    if dtype == np.bool_:
        return lambda array: array.astype(np.uint8) * np.uint8(255)
    if dtype.kind == "u" and dtype.itemsize == 2:
        return _from_sixteen
    return _from_fractions if dtype.kind == "f" else None


def _from_sixteen(values: np.ndarray) -> np.ndarray:
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _from_fractions(values: np.ndarray) -> np.ndarray:
    low, high = values.min(), values.max()
    # A NaN among them is the least and the largest.
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError(f"an array of {values.dtype} with NaN or infinite values: expected numbers from 0 to 1")
    # A fraction that was computed in float32, or in its own shorter type, may be rounded to just outside.
    most = max(ROUNDING, 4 * float(np.finfo(values.dtype).eps))
    if low < -most or high > 1 + most:
        raise ImageError(
            f"an array of {values.dtype} with values from {_exact(low)} to {_exact(high)}: expected 0 to 1; scale them,"
            " or give uint8"
        )
    return np.rint(np.clip(values.astype(np.float64), 0, 1) * 255).astype(np.uint8)


def _exact(value: np.floating) -> str:
    """With as many digits as it takes: a rounded number could look like the bound that it is beyond."""
    return str(value).removesuffix(".0")


def _readers(formats: Sequence[str]) -> tuple[str, ...]:
    if isinstance(formats, str) or not all(isinstance(name, str) for name in formats):
        raise OptionError(f"formats {formats!r}: expected a list of names, such as ['HEIF']")
    names = tuple(name.upper() for name in formats)
    if not set(names) <= set(PIL.Image.OPEN):
        PIL.Image.init()  # it enters the rest of its own
    for name in names:
        if name not in PIL.Image.OPEN:
            known = "register one first, such as by pillow_heif.register_heif_opener()"
            raise OptionError(f"formats {formats!r}: this program's Pillow has no reader for {name}; {known}")
    return names


def _from_path(path: str | os.PathLike, readers: tuple[str, ...]) -> Image.Image:
    shown = repr(os.fspath(path))
    try:
        # Opening a pipe would wait for its other end, so this is asked first.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ImageError(f"{shown} is not a file; {EXPECTED}")
        with open(path, "rb") as file:
            return decoded(file, os.fstat(file.fileno()).st_size, shown, readers)
    except FileNotFoundError:
        raise ImageError(f"there is no file {shown}; {EXPECTED}") from None
    except (OSError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"{shown} can't be read ({reason_of(error)}); check its name and its permissions") from error


def _from_bytes(content: bytes, shown: str, readers: tuple[str, ...]) -> Image.Image:
    return decoded(io.BytesIO(content), len(content), shown, readers)


def _from_object(source: Any, readers: tuple[str, ...]) -> Image.Image:
    """From an object with `read`: a file, an upload, an answer over the network."""
    name = getattr(source, "filename", None) or getattr(source, "name", None)
    shown = repr(name) if isinstance(name, str) else f"an image given as {type(source).__name__}"
    if inspect.iscoroutinefunction(source.read):
        raise ImageError(f"{shown} must be awaited: give `await file.read()`, or the file object inside it (`.file`)")
    if isinstance(source, io.TextIOBase):
        raise ImageError(f"{shown} is open as text: expected bytes; open it with mode 'rb'")
    return _from_bytes(_content(source, shown), shown, readers)


def _content(file: Any, shown: str) -> bytes:
    try:
        content = _read_all(file, shown)
    except ImageError:
        raise
    except TypeError as error:
        raise ImageError(
            f"{shown} can't be read ({reason_of(error)}); its read(size) must take a size: give its bytes"
        ) from error
    except Exception as error:
        raise ImageError(f"{shown} can't be read ({reason_of(error)}); give a file that is open, or its bytes") from error
    if not isinstance(content, bytes):
        raise ImageError(f"{shown} gives {type(content).__name__}: expected bytes")
    return content


def _read_all(source: Any, shown: str) -> Any:
    """All bytes of the object, which is set back to where it stood; the rest of one that can't be set. One too many is enough."""
    try:
        place = source.tell()
        source.seek(0)
        start = source.tell()
    except (AttributeError, OSError):
        place = start = None
    # A socket gives less than it is asked for.
    parts, size = [], 0
    while size <= MOST_BYTES and (part := source.read(MOST_BYTES + 1 - size)):
        if not isinstance(part, bytes):
            return part
        parts.append(part)
        size += len(part)
    if place is not None:
        is_moved = source.tell() > start + size
        source.seek(place)
        if is_moved:
            raise ImageError(f"{shown} was read by others at the same time: give each thread a file of its own, or its bytes")
    return b"".join(parts)


def _from_picture(source: PIL.Image.Image) -> Image.Image:
    shown = "the PIL image"
    check_size(*source.size, shown)
    # Other readers may have closed the file and kept what they need.
    from_pillow = type(source).__module__.startswith("PIL.")
    file = getattr(source, "fp", None)
    is_closed = from_pillow and getattr(file, "closed", True)
    is_decoded = not getattr(source, "tile", None) and source._im is not None
    if from_pillow and not is_closed and not is_decoded and source.format in (*FORMATS, "MPO"):
        content = _content(file, shown)
        again = io.BytesIO(content)
        picture = opened(again, len(content), shown)
        if _is_same(picture, source, shown):
            return finished(picture, shown, again)
    try:
        picture = own(source)
    except Exception as error:
        if is_closed:
            raise ImageError(
                f"{shown} was closed before its pixels were read; call its load() before, or give the file"
            ) from error
        raise failed(shown, error) from error
    return finished(picture, shown)


def _is_same(picture: Image.Image, source: PIL.Image.Image, shown: str) -> bool:
    """Whether `picture`, opened from the same file, stands for the same pixels as `source`, at whose frame it is set."""
    try:
        picture.seek(source.tell())
        alike = ("mode", "size", "tile", "info")
        # The program may have changed its EXIF data, of which the file knows nothing.
        is_turned = source._exif is not None and source._exif._loaded and orientation(picture) != orientation(source)
        return not is_turned and all(getattr(picture, name) == getattr(source, name) for name in alike)
    except Exception as error:
        raise failed(shown, error) from error
