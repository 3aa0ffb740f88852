"""An image in any form to uint8 (H, W, 3), at its own size or at the one that a network needs: `load_image`.

docs/reliability.md lists how each format and dtype is read, and what is refused. This module finds the bytes, the picture or the
array in what it is given; `files.py` decodes files, `arrays.py` reads arrays, `pixels.py` resizes both.
"""

import inspect
import io
import os
import stat
from collections.abc import Sequence
from typing import IO, Any

import numpy as np
import PIL.Image
import PIL.ImageFile

from minisqx.checks import require
from minisqx.errors import ImageError, OptionError
from minisqx.images.arrays import pixels_of_array
from minisqx.images.colours import orientation
from minisqx.images.files import (
    EXPECTED,
    FORMATS,
    MAX_BYTES,
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
from minisqx.images.pixels import Size, fitted, whole

ImageSource = str | os.PathLike | bytes | bytearray | memoryview | IO[bytes] | PIL.Image.Image | np.ndarray


def load_image(source: ImageSource, size: Size | None = None, *, bgr: bool = False, formats: Sequence[str] = ()) -> np.ndarray:
    """The image as uint8 (H, W, 3), RGB.

    source: a file as its path, its bytes, or an object with `read`, which is read from its start; a PIL image; or an array:
        (H, W, 3), grey (H, W) or (H, W, 1), or with alpha (H, W, 4), of uint8, uint16 (65535 is white), bool (True is white) or
        floats from 0 to 1.
    size: (height, width) to which the image is fitted as by `fit`, in less memory. A JPEG file is decoded at a fraction of its
        size where that is enough, so its result may differ a little from that of its decoded pixels (docs/reliability.md).
    bgr: an array's channels are blue, green, red, as in OpenCV. Files and PIL images know their own order.
    formats: further formats that the program's Pillow reads, such as "HEIF" after `pillow_heif.register_heif_opener()`. A file
        in no other format is given to these readers; their safety is their own.
    A photograph is turned upright as its EXIF data says, transparency is composited on white, 16 bits become 8, and an animation
    gives its first frame. Raises ImageError for anything else, and for 0 or more than 70 million pixels.
    """
    require(isinstance(bgr, (bool, np.bool_)), "bgr", bgr, "True or False")
    if isinstance(source, np.ndarray):
        # asarray: a matrix has two dimensions whatever its shape should be.
        return _from_array(np.asarray(source), size, bool(bgr))
    readers = _readers(formats)
    if isinstance(source, PIL.Image.Image):
        return _from_picture(source, size)
    if isinstance(source, (str, os.PathLike)):
        return _from_path(source, readers, size)
    if isinstance(source, (bytes, bytearray, memoryview)):
        check_bytes(memoryview(source).nbytes, "an image given as bytes")
        return _from_bytes(bytes(source), "an image given as bytes", readers, size)
    if callable(getattr(source, "read", None)):
        return _from_object(source, readers, size)
    raise ImageError(
        f"an image given as {type(source).__name__}: expected a path, a file or its bytes, a PIL image, or an array,"
        " uint8 (H, W, 3)"
    )


def fit(image: np.ndarray, size: Size) -> np.ndarray:
    """The image uint8 (H, W, 3) at `size` (height, width): the largest centred part of that aspect ratio, resized.

    An image of that size is returned as it is. Otherwise a bicubic filter that widens as the image shrinks, so that nothing
    flickers or aliases (`kernels/resize.py`); Lanczos is a little sharper, but rings along the edges of such small images.
    """
    return image if image.shape[:2] == tuple(size) else fitted(pixels_of_array(image, False), size)


def _from_array(array: np.ndarray, size: Size | None, bgr: bool) -> np.ndarray:
    if size is not None and array.dtype == np.uint8 and array.shape == (*size, 3) and not bgr:
        return np.ascontiguousarray(array)  # an image like this takes less time than the checks of others
    pixels = pixels_of_array(array, bgr)
    if size is not None and array.shape[:2] != tuple(size):
        return fitted(pixels, size)
    # The caller's own array where nothing is to be converted.
    as_it_is = array.dtype == np.uint8 and array.shape[2:] == (3,) and not bgr
    return np.ascontiguousarray(array) if as_it_is else whole(pixels)


def _readers(formats: Sequence[str]) -> tuple[str, ...]:
    if isinstance(formats, str) or not all(isinstance(name, str) for name in formats):
        raise OptionError(f"formats {formats!r}: expected a list of names, such as ['HEIF']")
    names = tuple(name.upper() for name in formats)
    if not set(names) <= set(PIL.Image.OPEN):
        PIL.Image.init()  # registers the rest of Pillow's own readers
    for name in names:
        if name not in PIL.Image.OPEN:
            known = "register one first, such as by pillow_heif.register_heif_opener()"
            raise OptionError(f"formats {formats!r}: this program's Pillow has no reader for {name}; {known}")
    return names


def _from_path(path: str | os.PathLike, readers: tuple[str, ...], size: Size | None) -> np.ndarray:
    shown = repr(os.fspath(path))
    try:
        # Opening a pipe would wait for its other end, so check before.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ImageError(f"{shown} is not a file; {EXPECTED}")
        with open(path, "rb") as file:
            return decoded(file, os.fstat(file.fileno()).st_size, shown, readers, size)
    except FileNotFoundError:
        raise ImageError(f"there is no file {shown}; {EXPECTED}") from None
    except (OSError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"{shown} can't be read ({reason_of(error)}); check its name and its permissions") from error


def _from_bytes(content: bytes, shown: str, readers: tuple[str, ...], size: Size | None) -> np.ndarray:
    return decoded(io.BytesIO(content), len(content), shown, readers, size)


def _from_object(source: Any, readers: tuple[str, ...], size: Size | None) -> np.ndarray:
    """From an object with `read`: a file, an upload, an HTTP response."""
    name = getattr(source, "filename", None) or getattr(source, "name", None)
    shown = repr(name) if isinstance(name, str) else f"an image given as {type(source).__name__}"
    if inspect.iscoroutinefunction(source.read):
        raise ImageError(f"{shown} must be awaited: give `await file.read()`, or the file object inside it (`.file`)")
    if isinstance(source, io.TextIOBase):
        raise ImageError(f"{shown} is open as text: expected bytes; open it with mode 'rb'")
    return _from_bytes(_content(source, shown), shown, readers, size)


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
    """All bytes of the object, up to one more than the limit. Restores its position; of an object that can't seek, the rest."""
    try:
        place = source.tell()
        source.seek(0)
        start = source.tell()
    except (AttributeError, OSError):
        place = start = None
    # A socket may return fewer bytes than requested.
    parts, size = [], 0
    while size <= MAX_BYTES and (part := source.read(MAX_BYTES + 1 - size)):
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


def _from_picture(source: PIL.Image.Image, size: Size | None) -> np.ndarray:
    shown = "the PIL image"
    check_size(*source.size, shown)
    # Readers that other packages registered may have closed the file and kept what they need.
    from_pillow = type(source).__module__.startswith("PIL.")
    file = getattr(source, "fp", None)
    is_closed = from_pillow and getattr(file, "closed", True)
    is_decoded = not getattr(source, "tile", None) and source._im is not None
    if from_pillow and not is_closed and not is_decoded and source.format in (*FORMATS, "MPO"):
        content = _content(file, shown)
        again = io.BytesIO(content)
        picture = opened(again, len(content), shown)
        if _is_same(picture, source, shown):
            return finished(picture, shown, size, again)
    try:
        picture = own(source)
    except Exception as error:
        if is_closed:
            raise ImageError(
                f"{shown} was closed before its pixels were read; call its load() before, or give the file"
            ) from error
        raise failed(shown, error) from error
    return finished(picture, shown, size)


def _is_same(picture: Image.Image, source: PIL.Image.Image, shown: str) -> bool:
    """Whether `picture`, opened from the same file and set to the frame of `source`, has the same pixels as `source`."""
    try:
        picture.seek(source.tell())
        alike = ("mode", "size", "tile", "info")
        # The program may have changed the EXIF data in memory.
        is_turned = source._exif is not None and source._exif._loaded and orientation(picture) != orientation(source)
        return not is_turned and all(getattr(picture, name) == getattr(source, name) for name in alike)
    except Exception as error:
        raise failed(shown, error) from error
