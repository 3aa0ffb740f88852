"""A second copy of Pillow's Python modules, for minisqx alone.

Pillow is configured by globals (`ImageFile.LOAD_TRUNCATED_IMAGES`, `Image.MAX_IMAGE_PIXELS`), and its warnings go through the
program's filters. Both belong to the program, whose threads read them at any time. This copy has its own globals, so minisqx
changes nothing outside. Compiled modules have no settings, and are shared.
"""

import logging
import sys
import zlib
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING

import PIL

# A module with a path is a package: `minisqx.images.pillow.Image` runs Pillow's own file, whose relative imports resolve here.
__path__ = PIL.__path__
globals().update((name, value) for name, value in vars(PIL).items() if not isinstance(value, ModuleType) and name[:2] != "__")
__version__ = PIL.__version__


def __getattr__(name: str) -> ModuleType:
    """A compiled module, such as `_imaging`: the one that the program uses, too."""
    if name.startswith("_") and not name.startswith("__"):
        return import_module(f"PIL.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if TYPE_CHECKING:
    from PIL import AvifImagePlugin, PngImagePlugin
    from PIL import Image as Image
    from PIL import TiffImagePlugin as TiffImagePlugin
else:
    # Each reader registers itself in this copy's table of formats.
    _names = ("Image", *(f"{name}ImagePlugin" for name in ("Avif", "Bmp", "Gif", "Jpeg", "Mpo", "Png", "Ppm", "Tiff", "WebP")))
    globals().update((name, import_module(f"{__name__}.{name}")) for name in _names)

# Damaged metadata does not make a picture unusable: warnings about it are dropped.
for _name, _module in list(sys.modules.items()):
    if _name.startswith(f"{__name__}.") and hasattr(_module, "warnings"):
        _module.warnings = SimpleNamespace(warn=lambda *_, **__: None)  # type: ignore[attr-defined]
logging.getLogger(__name__).setLevel(logging.CRITICAL + 1)

# A picture is decoded on the calling thread.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

# Pillow refuses a PNG with larger texts and profiles; here they are skipped. Only EXIF data matters, of some 64 KiB.
PngImagePlugin.MAX_TEXT_CHUNK = 1 << 18
PngImagePlugin.MAX_TEXT_MEMORY = 1 << 24
_unpack = PngImagePlugin._safe_zlib_decompress


def _unpack_metadata(packed: bytes) -> bytes:
    try:
        return _unpack(packed)
    except ValueError as error:
        # At this exception Pillow skips the text or profile and goes on.
        raise zlib.error(str(error)) from None


def _limit_texts(self, size: int) -> None:
    self.text_memory += size
    if self.text_memory > PngImagePlugin.MAX_TEXT_MEMORY:
        for name in self.im_text:
            self.im_info.pop(name, None)
        self.im_text.clear()
        self.text_memory = 0


PngImagePlugin._safe_zlib_decompress = _unpack_metadata  # type: ignore[assignment]
PngImagePlugin.PngStream.check_text_memory = _limit_texts  # type: ignore[assignment, method-assign]
