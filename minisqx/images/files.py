"""What Pillow may see of a file, and the one line that refuses a file: it is damaged, or of a kind that isn't read.

docs/reliability.md has the limits. A file is anything that can be read from any place on: an open file, or bytes in memory.
"""

import io
import re
from collections.abc import Mapping, Sequence
from typing import BinaryIO

import PIL.Image

from minisqx.errors import ImageError
from minisqx.images import avif, jpeg
from minisqx.images.colours import BITS, PHOTOMETRIC, upright
from minisqx.images.pillow import Image, TiffImagePlugin

# Told from a file's content, never from its name.
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "PPM", "TIFF", "AVIF")
EXPECTED = "expected an image: " + ", ".join(FORMATS)
# At up to 17 bytes a pixel (docs/reliability.md), no image takes more than 1.2 GB. A small file can't claim a large picture:
# beyond the first 8 million, each 1000 pixels need a byte of the file. No photograph is smaller, and hardly a scanned page.
MOST_PIXELS = 70_000_000
FREE_PIXELS = 8_000_000
PIXELS_A_BYTE = 1000
# A fax is smaller: an empty row is one bit. It takes 5 bytes a pixel. A page of A4 has so many at 600 dpi.
FREE_FAX_PIXELS = 36_000_000
# AVIF's reader holds a picture several times: 19 bytes a pixel with 12 bits and alpha, more where film grain is put on it.
MOST_AVIF_PIXELS = 40_000_000
FREE_AVIF_PIXELS = 5_000_000
# Four colours of 16 bits each, not compressed. Some of a file is kept in memory while it is read.
MOST_BYTES = 8 * MOST_PIXELS
# Each scan of a progressive JPEG costs a pass over the picture and only a few bytes of the file.
MOST_SCANS = 50
# Pillow refuses what has twice as many, wherever it comes upon a size.
Image.MAX_IMAGE_PIXELS = MOST_PIXELS // 2

# Tags of a TIFF file.
WIDTH, LENGTH, COMPRESSION, TILE_WIDTH, TILE_LENGTH, SAMPLE_FORMAT = 256, 257, 259, 322, 323, 339
FAX = (2, 3, 4)
# What says of which kind a TIFF is, and the values that the specification and its supplements have; other ones are damage.
TIFF_KINDS = {
    BITS: ("bits", {1, 2, 4, 6, 8, 10, 12, 14, 16, 24, 32, 64}),
    SAMPLE_FORMAT: ("sample format", range(1, 7)),
    PHOTOMETRIC: ("photometric", {*range(11), 32803, 32844, 32845, 34892}),
    COMPRESSION: ("compression", range(1, 1 << 16)),
}

# How files begin that are often taken for images that can be read.
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
# What Pillow says of intact files that it can't read: bits, layers and compressions that there are.
UNREAD = re.compile(
    r"cannot handle (12|16)-bit layers|cannot handle [25]-layer images|Unsupported BMP bitfields layout"
    r"|Unsupported BMP compression \(([4-6]|1[1-3])\)|Unsupported BMP pixel depth \((2|64)\)"
    r"|Windows Media Photo|AVIF support not installed|WEBP support not installed"
)
# What Pillow says where a program, or a decoder, that its reader needs is not there.
LACKING = re.compile(r"Unable to locate Ghostscript|cannot find loader for|decoder \w+ not available")


def decoded(file: BinaryIO, bytes_of_file: int, shown: str, formats: Sequence[str] = ()) -> Image.Image:
    """The picture upright, "RGB" or "L". shown: the file, for messages. formats: further readers that it may be given to."""
    check_bytes(bytes_of_file, shown)
    return finished(opened(file, bytes_of_file, shown, formats), shown, file)


def check_bytes(bytes_of_file: int, shown: str) -> None:
    if not bytes_of_file:
        raise ImageError(f"{shown} is an empty file; {EXPECTED}")
    if bytes_of_file > MOST_BYTES:
        raise ImageError(f"{shown} has {bytes_of_file} bytes; expected at most {MOST_BYTES} bytes: make it smaller first")


def opened(file: BinaryIO, bytes_of_file: int, shown: str, formats: Sequence[str] = ()) -> Image.Image:
    """The picture with its size checked, nothing decoded yet."""
    start = _from(file, 0, 1024)
    name = _format(start)
    if not name:
        if formats:
            return _taught(file, shown, formats)
        raise _unknown(start, shown)
    try:
        # WebP's reader takes memory for the pixels while it opens the file.
        check_size(*_webp_size(start), shown, bytes_of_file)
        file.seek(0)
        picture = Image.OPEN[name][0](file, "")
        tags = getattr(picture, "tag_v2", {})
        is_fax = picture.mode == "1" and tags.get(COMPRESSION) in FAX
        free = FREE_FAX_PIXELS if is_fax else FREE_AVIF_PIXELS if name == "AVIF" else FREE_PIXELS
        check_size(*picture.size, shown, bytes_of_file, free, MOST_AVIF_PIXELS if name == "AVIF" else MOST_PIXELS)
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
    """Which of `FORMATS` begins so; "" for none."""
    # Pillow's reader of AVIF takes whatever has the same kind of container.
    if start[4:8] == b"ftyp":
        return "AVIF" if avif.is_avif(start) else ""
    accepts = {name: Image.OPEN[name][1] for name in FORMATS}
    return next((name for name, accept in accepts.items() if accept is not None and accept(start[:16])), "")


def _unknown(start: bytes, shown: str) -> ImageError:
    kind = next((kind for kind, begin in OTHERS.items() if re.match(begin, start, re.DOTALL)), None)
    if kind is None:
        return ImageError(f"{shown} is not an image, or a damaged one; {EXPECTED}")
    hint = "; with pillow_heif: register_heif_opener(), then formats=['HEIF']" if kind == "HEIF" else ""
    return ImageError(f"{shown} is not an image of a kind that is read: it is {kind}; {EXPECTED}{hint}")


def _taught(file: BinaryIO, shown: str, formats: Sequence[str]) -> Image.Image:
    """By the program's own Pillow, which has the readers that were registered with it."""
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
    """A picture of the program's, loaded by its own reader, as one of our copy of Pillow; their pixels are the same memory."""
    picture.load()
    ours = Image.Image._new(picture, picture.im)
    ours._exif = picture._exif
    if hasattr(picture, "tag_v2"):
        ours.tag_v2 = picture.tag_v2  # type: ignore[attr-defined]
    return ours


def finished(picture: Image.Image, shown: str, file: BinaryIO | None = None) -> Image.Image:
    """What `opened` gave, decoded from its `file`, or a picture that is in memory: upright, "RGB" or "L"."""
    name = "JPEG" if picture.format == "MPO" else picture.format or ""
    try:
        try:
            picture.load()
        except OSError:
            if file is None or name != "JPEG":
                raise
            picture._im = None  # its memory is needed for the next ones
            whole = jpeg.with_end(_from(file, 0))
            if whole is None:
                raise
            picture = Image.OPEN["JPEG"][0](io.BytesIO(whole), "")
            picture.load()
        return upright(picture, getattr(picture, "tag_v2", {}))
    except ImageError:
        raise
    except Exception as error:
        raise failed(shown, error, name, file) from error


def _from(file: BinaryIO, place: int, size: int = -1) -> bytes:
    file.seek(place)
    return file.read(size)


def _webp_size(start: bytes) -> tuple[int, int]:
    """(width, height) by the start of a WebP file; (1, 1) for others."""
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
    scans = 1
    for marker, *_ in jpeg.segments(content, 0):
        scans += marker == jpeg.SCAN
        if scans > MOST_SCANS:
            raise ImageError(f"{shown} is a JPEG of more than {MOST_SCANS} scans; expected about ten: save it again")


def _check_parts(picture: Image.Image, content: bytes, shown: str) -> None:
    """Raises ImageError for an AVIF whose parts are much larger than the picture: with alpha they are twice as large."""
    try:
        found = avif.pixels(content)
    except avif.TooMuchError as error:
        raise ImageError(f"{shown} {error}; expected an image of few: save it again") from None
    expected = max(3 * picture.width * picture.height, 1 << 20)
    if found > expected:
        raise ImageError(f"{shown} has {found} pixels in its parts; expected at most {expected} pixels: save it again")


def check_size(
    width: int, height: int, shown: str, bytes_of_file: int | None = None, free: int = FREE_PIXELS, most: int = MOST_PIXELS
) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"{shown} has no pixels ({width} x {height}); expected at least one")
    if width * height > most:
        raise ImageError(f"{shown} has {width} x {height} pixels; expected at most {most} pixels: make it smaller first")
    if bytes_of_file is not None and width * height > max(free, PIXELS_A_BYTE * bytes_of_file):
        raise ImageError(
            f"{shown} claims {width} x {height} pixels in {bytes_of_file} bytes; expected a byte for {PIXELS_A_BYTE} pixels,"
            f" or at most {free} pixels: save it again"
        )


def failed(shown: str, error: Exception, name: str = "", file: BinaryIO | None = None) -> ImageError:
    """What to raise for Pillow's error about a file of the format `name`."""
    if isinstance(error, MemoryError):
        return ImageError(f"there is not enough memory for {shown}: make it smaller first")
    if isinstance(error, (Image.DecompressionBombError, PIL.Image.DecompressionBombError)):
        return ImageError(f"{shown} is far too large; expected at most {MOST_PIXELS} pixels: make it smaller first")
    # Pillow's decoders answer damage with any of OSError, SyntaxError, ValueError, struct.error, EOFError and more.
    reason = reason_of(error)
    if LACKING.search(reason):
        return ImageError(f"{shown} can't be read: its reader lacks something ({reason}); install that, or save it as PNG")
    unread = _unread(error, reason, name, file) if name and file is not None else None
    if unread is not None:
        return ImageError(f"{shown} is of a kind of {name} that isn't read ({unread}); save it as PNG with 8 bits")
    return ImageError(f"{shown} is damaged or incomplete ({reason}); copy it again from where it came")


def _unread(error: Exception, reason: str, name: str, file: BinaryIO) -> str | None:
    """What about the file is unusual; None where nothing is, so that it is damaged."""
    if name == "TIFF" and isinstance(error.__cause__, KeyError):
        # There is no reader for this combination, or for this compression.
        return _tiff_kind(file)
    if name == "JPEG" and any(marker in jpeg.UNREAD for marker, *_ in jpeg.segments(_from(file, 0))):
        return "lossless or hierarchical"
    if name == "PNG" and _from(file, 12, 4) == b"CgBI":
        return "Apple's own, CgBI"
    return reason if UNREAD.search(reason) else None


def _tiff_kind(file: BinaryIO) -> str | None:
    try:
        start = _from(file, 0, 16)
        tags = TiffImagePlugin.ImageFileDirectory_v2(start if 43 in start[2:4] else start[:8])
        file.seek(tags.next)
        tags.load(file)
        found = {}
        for tag, (what, known) in TIFF_KINDS.items():
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
