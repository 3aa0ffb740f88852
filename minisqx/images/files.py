"""Image files: the checks before Pillow decodes one, the decoding, and the one line that refuses a file.

docs/reliability.md has the limits. A file here is anything with `seek` and `read`: an open file, or bytes in memory.
"""

import io
import re
from collections.abc import Mapping, Sequence
from typing import BinaryIO

import numpy as np
import PIL.Image

from minisqx.errors import ImageError
from minisqx.images import avif, jpeg
from minisqx.images.colours import BITS, PHOTOMETRIC, pixels_of, turn_of
from minisqx.images.pillow import Image, TiffImagePlugin
from minisqx.images.pixels import Size, fitted, scale_to, whole

# A format is recognised by a file's content, never by its name.
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "PPM", "TIFF", "AVIF")
EXPECTED = "expected an image: " + ", ".join(FORMATS)
# At up to 17 bytes per pixel (docs/reliability.md), no image takes more than 1.2 GB. A small file can't claim a large picture:
# above 8 million pixels, each 1000 pixels need a byte of the file. Every photograph has more, and nearly every scanned page.
MAX_PIXELS = 70_000_000
FREE_PIXELS = 8_000_000
PIXELS_PER_BYTE = 1000
# A fax is smaller: an empty row takes one bit. Decoded it takes 5 bytes per pixel. This is a page of A4 at 600 dpi.
FREE_FAX_PIXELS = 36_000_000
# The AVIF decoder holds several copies of a picture: 19 bytes per pixel with 12 bits and alpha, more with film grain.
MAX_AVIF_PIXELS = 40_000_000
FREE_AVIF_PIXELS = 5_000_000
# Four channels of 16 bits each, not compressed. Parts of a file are kept in memory while it is read.
MAX_BYTES = 8 * MAX_PIXELS
# Each scan of a progressive JPEG costs a pass over the picture and only a few bytes of the file.
MAX_SCANS = 50
# A JPEG is decoded at 1/2, 1/4 or 1/8 of its size if it still has this many pixels for each pixel of the result, along both axes.
PIXELS_LEFT = 6
# Pillow refuses images with twice this many pixels, wherever it reads a size.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2

# TIFF tags.
WIDTH, LENGTH, COMPRESSION, TILE_WIDTH, TILE_LENGTH, SAMPLE_FORMAT = 256, 257, 259, 322, 323, 339
FAX = (2, 3, 4)
# The tags that describe how a TIFF stores pixels, with the values in the specification and its supplements; others are damage.
TIFF_VARIANTS = {
    BITS: ("bits", {1, 2, 4, 6, 8, 10, 12, 14, 16, 24, 32, 64}),
    SAMPLE_FORMAT: ("sample format", range(1, 7)),
    PHOTOMETRIC: ("photometric", {*range(11), 32803, 32844, 32845, 34892}),
    COMPRESSION: ("compression", range(1, 1 << 16)),
}

# How the files of other formats begin that users often try.
OTHERS = {
    "HEIF": rb"....ftyp(hei|hev|mif1|msf1)",
    "JPEG 2000": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "JPEG XL": rb"\0\0\0\x0cJXL |\xff\x0a",
    "PAM": rb"P7\s",
    "PSD": rb"8BPS",
    "ICO": rb"\0\0[\1\2]\0",
    "PDF": rb"%PDF",
    "EPS": rb"%!PS",
    "SVG": rb"\s*(<\?xml|<!--|<svg)",
}
# Pillow's errors for intact files that it can't read: bit depths, layers and compressions that the formats have.
UNREAD = re.compile(
    r"cannot handle (12|16)-bit layers|cannot handle [25]-layer images|Unsupported BMP bitfields layout"
    r"|Unsupported BMP compression \(([4-6]|1[1-3])\)|Unsupported BMP pixel depth \((2|64)\)"
    r"|Windows Media Photo|AVIF support not installed|WEBP support not installed"
)
# Pillow's errors where a program or a decoder that its reader needs is missing.
LACKING = re.compile(r"Unable to locate Ghostscript|cannot find loader for|decoder \w+ not available")


def decoded(file: BinaryIO, bytes_of_file: int, shown: str, formats: Sequence[str], size: Size | None) -> np.ndarray:
    """The image in a file, upright, uint8 (H, W, 3): whole, or at `size`.

    shown: the file's name in messages. formats: further formats that the program's Pillow may read. Raises ImageError.
    """
    check_bytes(bytes_of_file, shown)
    return finished(opened(file, bytes_of_file, shown, formats), shown, size, file)


def check_bytes(bytes_of_file: int, shown: str) -> None:
    if not bytes_of_file:
        raise ImageError(f"{shown} is an empty file; {EXPECTED}")
    if bytes_of_file > MAX_BYTES:
        raise ImageError(f"{shown} has {bytes_of_file} bytes; expected at most {MAX_BYTES} bytes: make it smaller first")


def opened(file: BinaryIO, bytes_of_file: int, shown: str, formats: Sequence[str] = ()) -> Image.Image:
    """The picture with its size checked, before anything is decoded. Raises ImageError."""
    start = _from(file, 0, 1024)
    name = _format(start)
    if not name:
        if formats:
            return _taught(file, shown, formats)
        raise _unknown(start, shown)
    try:
        # Pillow's WebP reader allocates the pixels when it opens the file.
        check_size(*_webp_size(start), shown, bytes_of_file)
        file.seek(0)
        picture = Image.OPEN[name][0](file, "")
        tags = getattr(picture, "tag_v2", {})
        is_fax = picture.mode == "1" and tags.get(COMPRESSION) in FAX
        free = FREE_FAX_PIXELS if is_fax else FREE_AVIF_PIXELS if name == "AVIF" else FREE_PIXELS
        check_size(*picture.size, shown, bytes_of_file, free, MAX_AVIF_PIXELS if name == "AVIF" else MAX_PIXELS)
        if tags:
            check_size(*_tiled_size(tags), f"{shown} in tiles", bytes_of_file, free)
        if name == "JPEG":
            _check_scans(file, shown)
        if name == "AVIF":
            _check_parts(picture, _from(file, 0), shown)
    except ImageError:
        raise
    except Exception as error:
        raise failed(shown, error, name, file) from error
    return picture


def _format(start: bytes) -> str:
    """Which of `FORMATS` begins like this; "" if none does."""
    # Pillow's AVIF reader accepts any file with this container.
    if start[4:8] == b"ftyp":
        return "AVIF" if avif.is_avif(start) else ""
    accepts = {name: Image.OPEN[name][1] for name in FORMATS}
    return next((name for name, accept in accepts.items() if accept is not None and accept(start[:16])), "")


def _unknown(start: bytes, shown: str) -> ImageError:
    name = next((name for name, begin in OTHERS.items() if re.match(begin, start, re.DOTALL)), None)
    if name is None:
        return ImageError(f"{shown} is not an image, or a damaged one; {EXPECTED}")
    hint = "; with pillow_heif: register_heif_opener(), then formats=['HEIF']" if name == "HEIF" else ""
    return ImageError(f"{shown} is not an image in a format that is read: it is {name}; {EXPECTED}{hint}")


def _taught(file: BinaryIO, shown: str, formats: Sequence[str]) -> Image.Image:
    """The picture, decoded by the program's own Pillow, which has the readers that the program registered."""
    try:
        file.seek(0)
        picture = PIL.Image.open(file, formats=list(formats))
        check_size(*picture.size, shown)
        return own(picture)
    except ImageError:
        raise
    except PIL.UnidentifiedImageError:
        raise ImageError(f"{shown} is not an image, or a damaged one; {EXPECTED}, {', '.join(formats)}") from None
    except Exception as error:
        raise failed(shown, error) from error


def own(picture: PIL.Image.Image) -> Image.Image:
    """A picture of the program's Pillow, loaded by its own reader, as a picture of our copy of Pillow; they share the pixels."""
    picture.load()
    ours = Image.Image._new(picture, picture.im)
    ours._exif = picture._exif
    if hasattr(picture, "tag_v2"):
        ours.tag_v2 = picture.tag_v2  # type: ignore[attr-defined]
    return ours


def finished(picture: Image.Image, shown: str, size: Size | None, file: BinaryIO | None = None) -> np.ndarray:
    """The image upright, uint8 (H, W, 3): whole, or at `size`. Raises ImageError.

    picture: from `opened`, with its `file`; or a picture in memory.
    """
    name = "JPEG" if picture.format == "MPO" else picture.format or ""
    try:
        extent = _at_a_fraction(picture, size)
        try:
            picture.load()
        except OSError:
            if file is None or name != "JPEG":
                raise
            picture._im = None  # frees its memory, which the next pictures need
            complete = jpeg.with_end(_from(file, 0))
            if complete is None:
                raise
            picture = Image.OPEN["JPEG"][0](io.BytesIO(complete), "")
            extent = _at_a_fraction(picture, size)
            picture.load()
        pixels = pixels_of(picture, extent, getattr(picture, "tag_v2", {}))
        return whole(pixels) if size is None else fitted(pixels, size)
    except ImageError:
        raise
    except Exception as error:
        raise failed(shown, error, name, file) from error


def _at_a_fraction(picture: Image.Image, size: Size | None) -> tuple[float, float]:
    """Has a JPEG decoded at the smallest fraction of its size that leaves `PIXELS_LEFT`; returns its `extent` in `Pixels`.

    libjpeg computes a block of 4 x 4, 2 x 2 or 1 x 1 pixels instead of 8 x 8 from the same codes, which it reads and checks in
    full. Colours with black ink are left out: their mean is not the mean of their red, green and blue.
    """
    extent = (picture.height, picture.width)
    # Another reader might have to decode the picture to find its EXIF data.
    if size is None or picture.format not in ("JPEG", "MPO") or picture.mode not in ("RGB", "L"):
        return extent
    scale = scale_to(extent, size[::-1] if turn_of(picture).swapped else size)
    part = next((part for part in (8, 4, 2) if scale >= PIXELS_LEFT * part), 1)
    scaled = picture.draft(None, (picture.width // part, picture.height // part)) if part > 1 else None
    if scaled is None:
        return extent
    _, (_, _, width, height) = scaled
    return height, width


def _from(file: BinaryIO, place: int, size: int = -1) -> bytes:
    file.seek(place)
    return file.read(size)


def _webp_size(start: bytes) -> tuple[int, int]:
    """(width, height) from the first bytes of a WebP file; (1, 1) for other files."""
    if start[:4] != b"RIFF" or start[8:12] != b"WEBP" or len(start) < 30:
        return 1, 1
    chunk, number = start[12:16], int.from_bytes
    if chunk == b"VP8X":
        return number(start[24:27], "little") + 1, number(start[27:30], "little") + 1
    if chunk == b"VP8L":
        sizes = number(start[21:25], "little")
        return (sizes & 0x3FFF) + 1, (sizes >> 14 & 0x3FFF) + 1
    return max(1, number(start[26:28], "little") & 0x3FFF), max(1, number(start[28:30], "little") & 0x3FFF)


def _tiled_size(tags: Mapping) -> tuple[int, int]:
    """(width, height) that the tiles of a TIFF file cover: a tile is decoded in full, even if little of it is in the picture."""
    sides = ((tags[WIDTH], tags.get(TILE_WIDTH, 1)), (tags[LENGTH], tags.get(TILE_LENGTH, 1)))
    width, height = (-(-side // max(tile, 1)) * tile for side, tile in sides)
    return width, height


def _check_scans(file: BinaryIO, shown: str) -> None:
    """Raises ImageError for a JPEG with more scans than programs write; `file` is at the first scan."""
    place = file.tell()
    is_sequential = jpeg.has_one_scan(_from(file, 0, place))
    content = b"" if is_sequential else file.read()
    file.seek(place)
    scans = 1
    for marker, *_ in jpeg.segments(content, 0):
        scans += marker == jpeg.SCAN
        if scans > MAX_SCANS:
            raise ImageError(f"{shown} is a JPEG with more than {MAX_SCANS} scans; expected about ten: save it again")


def _check_parts(picture: Image.Image, content: bytes, shown: str) -> None:
    """Raises ImageError for an AVIF whose parts are much larger than the picture; with alpha they are twice as large."""
    try:
        found = avif.pixels(content)
    except avif.TooMuchError as error:
        raise ImageError(f"{shown} {error}; expected only a few: save it again") from None
    expected = max(3 * picture.width * picture.height, 1 << 20)
    if found > expected:
        raise ImageError(f"{shown} has {found} pixels in its parts; expected at most {expected} pixels: save it again")


def check_size(
    width: int, height: int, shown: str, bytes_of_file: int | None = None, free: int = FREE_PIXELS, limit: int = MAX_PIXELS
) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"{shown} has no pixels ({width} x {height}); expected at least one")
    if width * height > limit:
        raise ImageError(f"{shown} has {width} x {height} pixels; expected at most {limit} pixels: make it smaller first")
    if bytes_of_file is not None and width * height > max(free, PIXELS_PER_BYTE * bytes_of_file):
        raise ImageError(
            f"{shown} claims {width} x {height} pixels in {bytes_of_file} bytes; expected a byte for {PIXELS_PER_BYTE} pixels,"
            f" or at most {free} pixels: save it again"
        )


def failed(shown: str, error: Exception, name: str = "", file: BinaryIO | None = None) -> ImageError:
    """The ImageError for Pillow's error about a file of the format `name`."""
    if isinstance(error, MemoryError):
        return ImageError(f"there is not enough memory for {shown}: make it smaller first")
    if isinstance(error, (Image.DecompressionBombError, PIL.Image.DecompressionBombError)):
        return ImageError(f"{shown} is far too large; expected at most {MAX_PIXELS} pixels: make it smaller first")
    # For damaged files Pillow raises OSError, SyntaxError, ValueError, struct.error, EOFError and others.
    reason = reason_of(error)
    if LACKING.search(reason):
        return ImageError(f"{shown} can't be read: its reader lacks something ({reason}); install that, or save it as PNG")
    unread = _unread(error, reason, name, file) if name and file is not None else None
    if unread is not None:
        return ImageError(f"{shown} is a {name} variant that isn't read ({unread}); save it as PNG with 8 bits")
    return ImageError(f"{shown} is damaged or incomplete ({reason}); copy it again from where it came")


def _unread(error: Exception, reason: str, name: str, file: BinaryIO) -> str | None:
    """The feature of the file that Pillow can't read; None if there is none, so the file is damaged."""
    if name == "TIFF" and isinstance(error.__cause__, KeyError):
        # Pillow has no decoder for this combination, or for this compression.
        return _tiff_variant(file)
    if name == "JPEG" and any(marker in jpeg.UNREAD for marker, *_ in jpeg.segments(_from(file, 0))):
        return "lossless or hierarchical"
    if name == "PNG" and _from(file, 12, 4) == b"CgBI":
        return "Apple's own, CgBI"
    return reason if UNREAD.search(reason) else None


def _tiff_variant(file: BinaryIO) -> str | None:
    try:
        start = _from(file, 0, 16)
        tags = TiffImagePlugin.ImageFileDirectory_v2(start if 43 in start[2:4] else start[:8])
        file.seek(tags.next)
        tags.load(file)
        found = {}
        for tag, (what, known) in TIFF_VARIANTS.items():
            values = tags.get(tag, 1)
            values = values if isinstance(values, tuple) else (values,)
            found[what] = ", ".join(map(str, sorted(set(values))))
            if not set(values) <= set(known):
                return None
        return "; ".join(f"{what} {values}" for what, values in found.items())
    except Exception:
        return None


def reason_of(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
