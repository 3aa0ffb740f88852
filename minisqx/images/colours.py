"""A decoded picture of any mode, upright and in plain colours: "RGB", or "L" where it is grey."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import PIL.Image

from minisqx.images.pillow import Image

# Pixels that are converted at a time, so that what is between two pictures takes no room.
STRIP_PIXELS = 1 << 18
# By how much a fraction may leave 0 to 1: what a few operations in float32 round, which is far less than a step of uint8.
ROUNDING = 4 * float(np.finfo(np.float32).eps)

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
BITS, PHOTOMETRIC = 258, 262


def strips(width: int, height: int) -> Iterator[tuple[int, int]]:
    """(top, bottom) of each."""
    rows = max(1, STRIP_PIXELS // width)
    return ((top, min(top + rows, height)) for top in range(0, height, rows))


def upright(picture: Image.Image, tags: Mapping) -> Image.Image:
    """The picture in plain colours, turned as its EXIF data says. tags: of a TIFF file, else none."""
    turn = TURNS.get(orientation(picture))
    picture = _colours(picture, tags)
    return picture if turn is None else picture.transpose(turn)


def orientation(picture: PIL.Image.Image) -> object:
    try:
        return picture.getexif().get(ORIENTATION)
    except Exception:
        # A damaged note about the picture is no damage to the picture.
        return None


def _colours(picture: Image.Image, tags: Mapping) -> Image.Image:
    mode = "RGB"
    if picture.mode.startswith("I") or picture.mode == "F":
        mode, convert = "L", _deep_grey(picture, tags)
    elif picture.has_transparency_data:
        convert = on_white
    elif picture.mode in ("RGB", "L"):
        return picture
    else:
        mode = "L" if picture.mode == "1" else "RGB"
        convert = _plain(mode)
    colours = Image.new(mode, picture.size)
    for top, bottom in strips(*picture.size):
        box = (0, top, picture.width, bottom)
        colours.paste(convert(picture.crop(box)), box)
    return colours


def _plain(mode: str) -> Callable[[Image.Image], Image.Image]:
    return lambda strip: strip.convert(mode)


def on_white(picture: Image.Image) -> Image.Image:
    """As RGB, what is transparent laid on white."""
    if picture.mode == "La":
        picture = picture.convert("LA")
    with_alpha = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), with_alpha).convert("RGB")


def _deep_grey(picture: Image.Image, tags: Mapping) -> Callable[[Image.Image], Image.Image]:
    """What makes "L" of a strip of this picture of deeper grey: 65535 is white, for fractions 1, or 255 where any is over 1."""
    white = 4095 if tags.get(BITS) == (12,) else 65535
    if picture.mode == "F":
        white = 1
        for top, bottom in strips(*picture.size):
            strip = np.asarray(picture.crop((0, top, picture.width, bottom)))
            if not np.isfinite(strip).all():
                raise ValueError("it has pixels that are no finite numbers")
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
