"""Images: machine code in the cache that runs without Numba.

An image is what a linker makes: code and constants in one piece, the places in it that hold addresses, and the functions of the
C library that it calls (`link.py`). To load it takes a millisecond and few pages of memory. It is an entry of the cache,
trusted and checked as the others are (`cache.py`); its key has the kernel, the types of its arguments and the CPU. Images are
saved and loaded only if Numba's settings have their default values.
"""

import ctypes
import mmap
import os
import struct
import sys
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from minisqx.kernels.compiler import cache as entries
from minisqx.kernels.compiler.identity import cpu

# The compiler makes calls of these to clear and to copy memory.
LIBRARY_FUNCTIONS = ("memcpy", "memmove", "memset")
ADDRESS = struct.Struct("<q")


class Image(NamedTuple):
    """code: machine code and constants. addresses: offsets in it of addresses within the image, as offsets from its beginning.

    calls: (name, offset) of each address of a function of the C library. start: the offset of the function itself.
    """

    code: bytes
    addresses: tuple[int, ...]
    calls: tuple[tuple[str, int], ...]
    start: int


@cache
def are_supported() -> bool:
    """Whether this system can have images: Linux on x86-64, whose object files `link.py` reads."""
    return sys.platform == "linux" and os.uname().machine == "x86_64" and sys.maxsize > 1 << 32 and cpu() is not None


def _entry(name: str, types: str) -> tuple[str, bytes]:
    """The file name and the key of an image: of the kernel `name` for arguments of these types."""
    key = f"{name} {types} {cpu()}".encode()
    return entries.file_name(name, key, "image"), key


def load(name: str, types: str) -> int | None:
    """The address of the kernel's C function in memory; None if there is no image that can be used, or Numba is imported.

    With other settings than the default ones it is: `late.is_jit_disabled` has asked it for them.
    """
    if not are_supported() or "numba" in sys.modules:
        return None
    return entries.load(*_entry(name, types), lambda content: _loaded(Image._make(content)))


def save(name: str, types: str, make: Callable[[], Image | None]) -> None:
    """Saves an image, unless there is one that could be used. make: returns it, or None for code that can't be an image.

    The caller has checked that Numba has its default settings.
    """
    file, key = _entry(name, types)
    if are_supported() and entries.load(file, key, Image._make) is None and (image := make()) is not None:
        entries.save(file, lambda: entries.packed(key, tuple(image)))


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(None, use_errno=True)
    library.mmap.restype = ctypes.c_void_p
    library.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
    library.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return library


def _loaded(image: Image) -> int:
    """Copies an image to memory that is never freed: a daemon thread may still run in it while Python exits. Raises OSError."""
    library, size = _library(), len(image.code)
    base = library.mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    if base == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    code = bytearray(image.code)
    for offset in image.addresses:
        ADDRESS.pack_into(code, offset, ADDRESS.unpack_from(code, offset)[0] + base)
    for name, offset in image.calls:
        ADDRESS.pack_into(code, offset, ctypes.cast(getattr(library, name), ctypes.c_void_p).value)
    ctypes.memmove(base, bytes(code), size)
    # Some systems allow no memory that is writable and executable at the same time.
    if library.mprotect(base, size, mmap.PROT_READ | mmap.PROT_EXEC):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return base + image.start
