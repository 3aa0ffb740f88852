"""A decoded picture of any of Pillow's modes as `Pixels`: in plain colours, with the turn that its EXIF data asks for."""

from collections.abc import Callable, Mapping

import numpy as np
import PIL.Image

from minisqx.images.pillow import Image
from minisqx.images.pixels import Pixels, Strip, Turn, strips

# How far float32 rounding may carry a fraction outside 0 to 1: a few operations, far less than a step of uint8.
ROUNDING = 4 * float(np.finfo(np.float32).eps)

# What turns an image upright for each value of the EXIF tag "orientation" (EXIF 2.32, 4.6.4 A); 1 is upright.
ORIENTATION = 0x0112
TURNS: dict[object, Turn] = {
    2: Turn(columns_reversed=True),
    3: Turn(rows_reversed=True, columns_reversed=True),
    4: Turn(rows_reversed=True),
    5: Turn(swapped=True),
    6: Turn(rows_reversed=True, swapped=True),
    7: Turn(rows_reversed=True, columns_reversed=True, swapped=True),
    8: Turn(columns_reversed=True, swapped=True),
}
# TIFF tags.
BITS, PHOTOMETRIC = 258, 262


def turn_of(picture: PIL.Image.Image) -> Turn:
    """How the picture is turned upright."""
    return TURNS.get(orientation(picture), Turn())


def orientation(picture: PIL.Image.Image) -> object:
    """The value of the EXIF tag; None where there is none."""
    try:
        return picture.getexif().get(ORIENTATION)
    except Exception:
        # Damaged metadata does not make the pixels unusable.
        return None


def pixels_of(picture: Image.Image, extent: tuple[float, float], tags: Mapping) -> Pixels:
    """The decoded picture in plain colours. extent: as in `Pixels`. tags: of a TIFF file, else empty.

    Raises ValueError for floats that are not finite.
    """
    channels, convert = _plain_colours(picture, tags)

    def read(left: int, top: int, right: int, bottom: int) -> Strip:
        strip = convert(picture.crop((left, top, right, bottom)))
        return Strip(np.asarray(strip).reshape(bottom - top, right - left, channels))

    return Pixels((picture.height, picture.width), channels, read, extent, turn_of(picture))


def _plain_colours(picture: Image.Image, tags: Mapping) -> tuple[int, Callable[[Image.Image], Image.Image]]:
    """The channels, 1 or 3, and what converts a strip of the picture to "L" or "RGB"."""
    if picture.mode.startswith("I") or picture.mode == "F":
        return 1, _deep_grey(picture, tags)
    if picture.has_transparency_data:
        return 3, on_white
    mode = "L" if picture.mode in ("1", "L") else "RGB"
    # `convert` copies a strip even if it is in that mode.
    return len(mode), lambda strip: strip if strip.mode == mode else strip.convert(mode)


def on_white(picture: Image.Image) -> Image.Image:
    """The picture as RGB, composited on white."""
    if picture.mode == "La":
        picture = picture.convert("LA")
    with_alpha = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), with_alpha).convert("RGB")


def _deep_grey(picture: Image.Image, tags: Mapping) -> Callable[[Image.Image], Image.Image]:
    """What converts a strip of a grey picture with more than 8 bits to "L".

    White is 65535 (4095 with 12 bits); in a picture of floats it is 1, or 255 if any value is above 1.
    """
    white = 4095 if tags.get(BITS) == (12,) else 65535
    if picture.mode == "F":
        white = 1
        for top, bottom in strips(picture.width, 0, picture.height):
            strip = np.asarray(picture.crop((0, top, picture.width, bottom)))
            if not np.isfinite(strip).all():
                raise ValueError("it has pixels that are not finite numbers")
            white = 255 if strip.max() > 1 + ROUNDING else white
    clear = picture.info.get("transparency")

    def convert(strip: Image.Image) -> Image.Image:
        values = np.asarray(strip)
        grey = np.rint(np.clip(values.astype(np.float64), 0, white) * (255 / white)).astype(np.uint8)
        if tags.get(PHOTOMETRIC) == 0:
            grey = 255 - grey
        if isinstance(clear, int):
            grey[values == clear] = 255
        return Image.fromarray(grey)

    return convert
