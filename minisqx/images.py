"""Any image file, PIL image or array, to uint8 (H, W, 3); and an image of any size, to the size that a network wants."""

import os
import stat
import threading
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

from minisqx.errors import ImageError

# Told from a file's content, never from its name.
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "PPM", "TIFF")
MOST_PIXELS = 100_000_000
EXPECTED = "expected an image: " + ", ".join(FORMATS)

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


def load_image(source: str | os.PathLike | Image.Image | np.ndarray) -> np.ndarray:
    """The image as uint8 (H, W, 3): red, green, blue.

    source: a file, a PIL image, or an array, uint8 (H, W, 3); grey (H, W) or (H, W, 1) and with alpha (H, W, 4) are taken, too.
    A photograph is turned upright as its EXIF data says, what is transparent is laid on white, 16 bits become 8, and of an
    animation the first frame counts. Raises ImageError for anything else, and for 0 or more than 100 million pixels.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return _from_picture(source, "the PIL image")
    if isinstance(source, (str, os.PathLike)):
        return _from_file(source)
    raise ImageError(f"an image given as {type(source).__name__}: expected a path, a PIL image or an array, uint8 (H, W, 3)")


def fit(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The image uint8 (H, W, 3) brought to `size` (height, width): its shorter side is resized and the centre cut out.

    An image of that size is returned as it is. Otherwise by Pillow's bicubic filter, which widens as it shrinks, so that nothing
    flickers or aliases; Lanczos is a little sharper, but draws bright and dark lines along the edges of such small pictures.
    """
    (height, width), (target_height, target_width) = image.shape[:2], size
    if (height, width) == (target_height, target_width):
        return image
    scale = min(height / target_height, width / target_width)
    top, left = (height - target_height * scale) / 2, (width - target_width * scale) / 2
    box = (left, top, min(left + target_width * scale, width), min(top + target_height * scale, height))
    return np.asarray(Image.fromarray(image).resize((target_width, target_height), Image.Resampling.BICUBIC, box))


def _from_array(array: np.ndarray) -> np.ndarray:
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or channels not in (1, 3, 4):
        raise ImageError(f"an array of {array.dtype} {array.shape}: expected an image, uint8 (H, W, 3)")
    _check_size(array.shape[1], array.shape[0], "the array")
    if channels == 3:
        return np.ascontiguousarray(array)
    return _from_picture(Image.fromarray(array[:, :, 0] if array.ndim == 3 and channels == 1 else array), "the array")


def _from_file(path: str | os.PathLike) -> np.ndarray:
    shown = repr(os.fspath(path))
    try:
        # Opening a pipe would wait for its other end, so this is asked first.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ImageError(f"{shown} is not a file; {EXPECTED}")
        with open(path, "rb") as file:
            if not file.read(1):
                raise ImageError(f"{shown} is an empty file; {EXPECTED}")
            file.seek(0)
            return _from_picture(_open(file, shown), shown)
    except FileNotFoundError:
        raise ImageError(f"there is no file {shown}; {EXPECTED}") from None
    except (OSError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"{shown} can't be read ({_reason(error)}); check its name and its permissions") from error


_opening = threading.Lock()


def _open(file, shown: str) -> Image.Image:
    # Pillow warns of large images before anyone can ask their size; here there is a limit of our own. The filter belongs to
    # the whole process, so one thread at a time sets it back as it was.
    try:
        with _opening, warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        raise ImageError(f"{shown} is not an image, or a damaged one; {EXPECTED}") from None
    except Image.DecompressionBombError:
        raise ImageError(f"{shown} is far too large; expected at most {MOST_PIXELS} pixels: make it smaller first") from None
    except Exception as error:
        raise _damaged(shown, error) from error


def _from_picture(picture: Image.Image, shown: str) -> np.ndarray:
    """`shown` is for messages."""
    _check_size(*picture.size, shown)
    try:
        colours = _colours(picture)
        # Only asked now: some formats have it behind the pixels, and some turn the picture themselves while they are read.
        turn = TURNS.get(_orientation(picture))
        return np.asarray(colours if turn is None else colours.transpose(turn))
    except Exception as error:
        # Pillow's decoders answer damage with any of OSError, SyntaxError, ValueError, struct.error, EOFError and more.
        raise _damaged(shown, error) from error


def _check_size(width: int, height: int, shown: str) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"{shown} has no pixels ({width} x {height}); expected at least one")
    if width * height > MOST_PIXELS:
        raise ImageError(f"{shown} has {width} x {height} pixels; expected at most {MOST_PIXELS} pixels: make it smaller first")


def _orientation(picture: Image.Image) -> object:
    try:
        return picture.getexif().get(ORIENTATION)
    except Exception:
        # A damaged note about the picture is no damage to the picture.
        return None


def _colours(picture: Image.Image) -> Image.Image:
    """The picture in the mode RGB, from any other mode."""
    if picture.mode.startswith("I") or picture.mode == "F":
        return Image.fromarray(_eight_bits(picture)).convert("RGB")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    if picture.mode == "La":
        picture = picture.convert("LA")
    with_alpha = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), with_alpha).convert("RGB")


def _eight_bits(picture: Image.Image) -> np.ndarray:
    """Grey uint8 (H, W) from deeper grey: 65535 is white, for fractions 1, or 255 where any is over 1."""
    grey = np.asarray(picture)
    if picture.mode == "F":
        if not np.isfinite(grey).all():
            raise ValueError("it has pixels that are no finite numbers")
        white = 1 if grey.max() <= 1 else 255
        return np.rint(np.clip(grey, 0, white) * (255 / white)).astype(np.uint8)
    return ((np.clip(grey, 0, 65535).astype(np.uint32) + 128) // 257).astype(np.uint8)


def _damaged(shown: str, error: Exception) -> ImageError:
    return ImageError(f"{shown} is damaged or incomplete ({_reason(error)}); copy it again from where it came")


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
