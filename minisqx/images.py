"""Any image file, PIL image or array, to uint8 (H, W, 3); and an image of any size, to the size that a network wants.

docs/reliability.md says what is read as what, and what is refused. Pillow decodes; here stands what it is allowed to do.
"""

import logging
import os
import re
import stat
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from minisqx.errors import ImageError

# Told from a file's content, never from its name.
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "PPM", "TIFF")
EXPECTED = "expected an image: " + ", ".join(FORMATS)
# At up to 17 bytes a pixel (docs/reliability.md), no image takes more than 1.2 GB. A small file can't claim a large picture:
# beyond the first 8 million, each 1000 pixels need a byte of the file. No photograph is smaller, and hardly a scanned page.
MOST_PIXELS = 70_000_000
FREE_PIXELS = 8_000_000
PIXELS_A_BYTE = 1000
# Four colours of 16 bits each, not compressed. Some of a file is kept in memory while it is read.
MOST_BYTES = 8 * MOST_PIXELS
# Each scan of a progressive JPEG costs a pass over the picture and only a few bytes of the file.
MOST_SCANS = 50
SCAN, END = 0xDA, 0xD9
JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
# Pixels that are converted at a time, so that what is between two pictures takes no room.
STRIP_PIXELS = 1 << 18

# What undoes each value of the EXIF tag "orientation" but 1, which is upright.
ORIENTATION = 0x0112
TURNS: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Tags of a TIFF file.
WIDTH, LENGTH, BITS, PHOTOMETRIC, TILE_WIDTH, TILE_LENGTH = 256, 257, 258, 262, 322, 323


def load_image(source: str | os.PathLike | Image.Image | np.ndarray, size: tuple[int, int] | None = None) -> np.ndarray:
    """The image as uint8 (H, W, 3): red, green, blue.

    source: a file, a PIL image, or an array: (H, W, 3); grey (H, W) or (H, W, 1) and with alpha (H, W, 4) are taken, too. It
        is uint8, uint16 (65535 is white), bool (True is white), or of floats from 0 to 1.
    size: (height, width) to which it is brought as by `fit`, in less memory.
    A photograph is turned upright as its EXIF data says, what is transparent is laid on white, 16 bits become 8, and of an
    animation the first frame counts. Raises ImageError for anything else, and for 0 or more than 70 million pixels.
    """
    if isinstance(source, np.ndarray):
        image = _from_array(source)
        return image if size is None else fit(image, size)
    if isinstance(source, Image.Image):
        with _strictly():
            _check_size(*source.size, "the PIL image")
            return _finish(_upright(source, "the PIL image"), size)
    if isinstance(source, (str, os.PathLike)):
        return _finish(_from_file(source), size)
    raise ImageError(f"an image given as {type(source).__name__}: expected a path, a PIL image or an array, uint8 (H, W, 3)")


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
    """The RGB picture, at `size` if it is not None, as an array."""
    if size is not None:
        picture = _fitted(picture, size)
    image = np.empty((picture.height, picture.width, 3), np.uint8)
    for top, bottom in _strips(picture.width, picture.height):
        image[top:bottom] = np.asarray(picture.crop((0, top, picture.width, bottom)))
    return image


def _strips(width: int, height: int) -> Iterator[tuple[int, int]]:
    rows = max(1, STRIP_PIXELS // width)
    return ((top, min(top + rows, height)) for top in range(0, height, rows))


def _from_array(array: np.ndarray) -> np.ndarray:
    channels = array.shape[2] if array.ndim == 3 else 1
    scale = _array_scale(array.dtype)
    if scale is None or array.ndim not in (2, 3) or channels not in (1, 3, 4):
        raise ImageError(
            f"an array of {array.dtype} {array.shape}: expected an image, uint8 (H, W, 3); uint16, bool and floats from 0 to 1,"
            " (H, W) and (H, W, 4) are taken, too"
        )
    height, width = array.shape[:2]
    _check_size(width, height, "the array")
    if channels == 3 and array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    image = np.empty((height, width, 3), np.uint8)
    for top, bottom in _strips(width, height):
        strip = scale(array[top:bottom])
        if channels == 4:
            image[top:bottom] = np.asarray(_on_white(Image.fromarray(strip)))
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
    if low < 0 or high > 1:
        raise ImageError(
            f"an array of {values.dtype} with values from {low:g} to {high:g}: expected 0 to 1; scale them, or give uint8"
        )
    return np.rint(values.astype(np.float64) * 255).astype(np.uint8)


def _from_file(path: str | os.PathLike) -> Image.Image:
    shown = repr(os.fspath(path))
    try:
        # Opening a pipe would wait for its other end, so this is asked first.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ImageError(f"{shown} is not a file; {EXPECTED}")
        with open(path, "rb") as file, _strictly():
            bytes_of_file = os.fstat(file.fileno()).st_size
            if not bytes_of_file:
                raise ImageError(f"{shown} is an empty file; {EXPECTED}")
            if bytes_of_file > MOST_BYTES:
                raise ImageError(f"{shown} has {bytes_of_file} bytes; expected at most {MOST_BYTES} bytes: make it smaller first")
            return _upright(_open(file, bytes_of_file, shown), shown)
    except FileNotFoundError:
        raise ImageError(f"there is no file {shown}; {EXPECTED}") from None
    except (OSError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"{shown} can't be read ({_reason(error)}); check its name and its permissions") from error


class _Reading(threading.local):
    """Pillow's switches belong to the whole process; this stands in their place and differs for a thread that reads an image.

    As `ImageFile.LOAD_TRUNCATED_IMAGES` it is true elsewhere and false here; as the module of a warnings filter it matches here.
    So nothing is switched to and fro under the other threads, and no lock is left behind in a fork.
    """

    here = False

    def __bool__(self) -> bool:
        return not self.here

    def match(self, module: str) -> bool:
        return self.here


_reading = _Reading()
# What Pillow has to say of damaged notes and large sizes; what matters of it is refused below, in one line.
_QUIET = ("ignore", None, Warning, _reading, 0)
logging.getLogger("PIL.TiffImagePlugin").addFilter(lambda record: not _reading.here)


@contextmanager
def _strictly() -> Iterator[None]:
    """Pillow refuses truncated files and is silent, whatever the program around us has set; for this thread alone."""
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        ImageFile.LOAD_TRUNCATED_IMAGES = _reading  # type: ignore[assignment]
    # A filter is lost whenever somebody leaves `warnings.catch_warnings`.
    if _QUIET not in warnings.filters:  # type: ignore[comparison-overlap]
        warnings.filters.insert(0, _QUIET)  # type: ignore[attr-defined]
    _reading.here = True
    try:
        yield
    finally:
        _reading.here = False


def _open(file: BinaryIO, bytes_of_file: int, shown: str) -> Image.Image:
    """The picture with its size checked, nothing decoded yet."""
    try:
        _check_size(*_webp_size(file.read(30)), shown, bytes_of_file)
        file.seek(0)
        picture = Image.open(file, formats=FORMATS)
        _check_size(*picture.size, shown, bytes_of_file)
        if picture.format == "TIFF":
            tiled = _tiled_size(picture.tag_v2)  # type: ignore[attr-defined]
            _check_size(*tiled, f"{shown} in tiles", bytes_of_file)
        if picture.format in ("JPEG", "MPO"):
            _check_scans(file, shown)
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(f"{shown} is not an image, or a damaged one; {EXPECTED}") from None
    except Exception as error:
        raise _failed(shown, error) from error
    return picture


def _webp_size(start: bytes) -> tuple[int, int]:
    """(width, height) by the start of a WebP file; (1, 1) for others. Pillow takes memory for them while it opens the file."""
    if start[:4] != b"RIFF" or start[8:12] != b"WEBP" or len(start) < 30:
        return 1, 1
    kind, number = start[12:16], int.from_bytes
    if kind == b"VP8X":
        return number(start[24:27], "little") + 1, number(start[27:30], "little") + 1
    if kind == b"VP8L":
        sizes = number(start[21:25], "little")
        return (sizes & 0x3FFF) + 1, (sizes >> 14 & 0x3FFF) + 1
    return max(1, number(start[26:28], "little") & 0x3FFF), max(1, number(start[28:30], "little") & 0x3FFF)


def _tiled_size(tags: Mapping) -> tuple[int, int]:
    """(width, height) of all tiles of a TIFF file: each is decoded as a whole, however little of it is in the picture."""
    sides = ((tags[WIDTH], tags.get(TILE_WIDTH, 1)), (tags[LENGTH], tags.get(TILE_LENGTH, 1)))
    width, height = (-(-side // max(tile, 1)) * tile for side, tile in sides)
    return width, height


def _check_scans(file: BinaryIO, shown: str) -> None:
    """Raises ImageError for a JPEG of more scans than pictures have; `file` stands in the first one."""
    place = file.tell()
    content = file.read()
    file.seek(place)
    scans, at = 1, 0
    while (marker := JPEG_MARKER.search(content, at)) and marker[0][1] != END:
        # What follows a marker starts with its length.
        at = marker.end() + int.from_bytes(content[marker.end() : marker.end() + 2], "big")
        scans += marker[0][1] == SCAN
        if scans > MOST_SCANS:
            raise ImageError(f"{shown} is a JPEG of more than {MOST_SCANS} scans; expected about ten: save it again")


def _check_size(width: int, height: int, shown: str, bytes_of_file: int | None = None) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"{shown} has no pixels ({width} x {height}); expected at least one")
    if width * height > MOST_PIXELS:
        raise ImageError(f"{shown} has {width} x {height} pixels; expected at most {MOST_PIXELS} pixels: make it smaller first")
    if bytes_of_file is not None and width * height > max(FREE_PIXELS, PIXELS_A_BYTE * bytes_of_file):
        raise ImageError(
            f"{shown} claims {width} x {height} pixels in {bytes_of_file} bytes; expected a byte for {PIXELS_A_BYTE} pixels,"
            f" or at most {FREE_PIXELS} pixels: save it again"
        )


def _upright(picture: Image.Image, shown: str) -> Image.Image:
    """The picture as RGB, turned as its EXIF data says. `shown` is for messages."""
    try:
        picture.load()
        # Only asked now: some formats have it behind the pixels, and some turn the picture themselves while they are read.
        turn = TURNS.get(_orientation(picture))
        picture = _colours(picture)
        return picture if turn is None else picture.transpose(turn)
    except ImageError:
        raise
    except Exception as error:
        raise _failed(shown, error) from error


def _orientation(picture: Image.Image) -> object:
    try:
        return picture.getexif().get(ORIENTATION)
    except Exception:
        # A damaged note about the picture is no damage to the picture.
        return None


def _colours(picture: Image.Image) -> Image.Image:
    """The picture in the mode RGB, from any other mode."""
    if picture.mode.startswith("I") or picture.mode == "F":
        convert = _deep_grey(picture)
    elif picture.has_transparency_data:
        convert = _on_white
    elif picture.mode == "RGB":
        return picture
    else:
        convert = _plain
    colours = Image.new("RGB", picture.size)
    for top, bottom in _strips(*picture.size):
        box = (0, top, picture.width, bottom)
        colours.paste(convert(picture.crop(box)), box)
    return colours


def _plain(picture: Image.Image) -> Image.Image:
    return picture.convert("RGB")


def _on_white(picture: Image.Image) -> Image.Image:
    if picture.mode == "La":
        picture = picture.convert("LA")
    with_alpha = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), with_alpha).convert("RGB")


def _deep_grey(picture: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """What makes RGB of a strip of this picture of deeper grey: 65535 is white, for fractions 1, or 255 where any is over 1."""
    tags = getattr(picture, "tag_v2", {})
    white = 4095 if tags.get(BITS) == (12,) else 65535
    if picture.mode == "F":
        white = 1
        for top, bottom in _strips(*picture.size):
            strip = np.asarray(picture.crop((0, top, picture.width, bottom)))
            if not np.isfinite(strip).all():
                raise ValueError("it has pixels that are no finite numbers")
            white = 255 if strip.max() > 1 else white
    clear = picture.info.get("transparency")

    def convert(strip: Image.Image) -> Image.Image:
        values = np.asarray(strip)
        grey = np.rint(np.clip(values.astype(np.float64), 0, white) * (255 / white)).astype(np.uint8)
        if tags.get(PHOTOMETRIC) == 0:
            grey = 255 - grey
        if isinstance(clear, int):
            grey[values == clear] = 255
        return Image.fromarray(grey).convert("RGB")

    return convert


def _failed(shown: str, error: Exception) -> ImageError:
    if isinstance(error, MemoryError):
        return ImageError(f"there is not enough memory for {shown}: make it smaller first")
    if isinstance(error, Image.DecompressionBombError):
        return ImageError(f"{shown} is far too large; expected at most {MOST_PIXELS} pixels: make it smaller first")
    # Pillow's decoders answer damage with any of OSError, SyntaxError, ValueError, struct.error, EOFError and more.
    return ImageError(f"{shown} is damaged or incomplete ({_reason(error)}); copy it again from where it came")


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
