"""Pillow once more, for minisqx alone: a second copy of its Python modules, beside the one that the program has.

Pillow is steered by globals (`ImageFile.LOAD_TRUNCATED_IMAGES`, `Image.MAX_IMAGE_PIXELS`), and it warns through the program's
filters. All of these are the program's, and its threads read them at any time. This copy has switches of its own, so nothing
outside is touched. Compiled modules have no switches; they are in memory once.
"""

import logging
import sys
import zlib
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING

import PIL

# A module with a path is a package: `minisqx.images.pillow.Image` is Pillow's own file, and its relative imports end up here.
__path__ = PIL.__path__
globals().update((name, value) for name, value in vars(PIL).items() if not isinstance(value, ModuleType) and name[:2] != "__")
__version__ = PIL.__version__


def __getattr__(name: str) -> ModuleType:
    """A compiled module, such as `_imaging`, is the program's."""
    if name.startswith("_") and not name.startswith("__"):
        return import_module(f"PIL.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if TYPE_CHECKING:
    from PIL import AvifImagePlugin, PngImagePlugin
    from PIL import Image as Image
    from PIL import TiffImagePlugin as TiffImagePlugin
else:
    # Each reader enters itself in this copy's list of formats.
    _names = ("Image", *(f"{kind}ImagePlugin" for kind in ("Avif", "Bmp", "Gif", "Jpeg", "Mpo", "Png", "Ppm", "Tiff", "WebP")))
    globals().update((name, import_module(f"{__name__}.{name}")) for name in _names)

# Notes about a picture that are damaged or strange are no fault of the picture: nothing is said of them.
for _name, _module in list(sys.modules.items()):
    if _name.startswith(f"{__name__}.") and hasattr(_module, "warnings"):
        _module.warnings = SimpleNamespace(warn=lambda *_, **__: None)  # type: ignore[attr-defined]
logging.getLogger(__name__).setLevel(logging.CRITICAL + 1)

# A picture is decoded on the thread that asks for it.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

# Larger texts and profiles of a PNG are left out, where Pillow refuses the picture. Only EXIF data matters here, of some 64 KiB.
PngImagePlugin.MAX_TEXT_CHUNK = 1 << 18
PngImagePlugin.MAX_TEXT_MEMORY = 1 << 24
_unpack = PngImagePlugin._safe_zlib_decompress


def _unpack_note(packed: bytes) -> bytes:
    try:
        return _unpack(packed)
    except ValueError as error:
        # This one makes Pillow go on without the note.
        raise zlib.error(str(error)) from None


def _keep_few_texts(self, size: int) -> None:
    self.text_memory += size
    if self.text_memory > PngImagePlugin.MAX_TEXT_MEMORY:
        for name in self.im_text:
            self.im_info.pop(name, None)
        self.im_text.clear()
        self.text_memory = 0


PngImagePlugin._safe_zlib_decompress = _unpack_note  # type: ignore[assignment]
PngImagePlugin.PngStream.check_text_memory = _keep_few_texts  # type: ignore[assignment, method-assign]
