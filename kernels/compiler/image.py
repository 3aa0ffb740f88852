"""Machine code that runs without Numba: an image of it on disk, and how it gets into memory.

An image is what a linker makes: code and constants in one piece, the places in it that hold addresses, and the few functions of
the C library that it calls (`link.py`). Loading takes a page of memory and a millisecond, where Numba takes half a second and
70 MB to be imported. The entry of an image is an entry of the cache, trusted and checked as any other; its key has the kernel,
the types of its arguments and the CPU. It is made and used where Numba has its usual settings alone.
"""

import ctypes
import mmap
import os
import pickle
import struct
import sys
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from minisqx.kernels.compiler import cache as entries
from minisqx.kernels.compiler.identity import cpu, has_usual_settings

# What the compiler calls to clear and to copy.
LIBRARY_FUNCTIONS = ("memcpy", "memmove", "memset")
ADDRESS = struct.Struct("<q")


class Image(NamedTuple):
    """code: with its constants; addresses: places in it at which the image's own address is added to what is there; calls: names
    of the C library's functions, and a place that gets the address of each; start: where the function begins that is called.
    """

    code: bytes
    addresses: tuple[int, ...]
    calls: tuple[tuple[str, int], ...]
    start: int


@cache
def are_possible() -> bool:
    """Whether images are made and loaded here: on Linux on x86-64, for which alone `link.py` knows object files."""
    return sys.platform == "linux" and os.uname().machine == "x86_64" and sys.maxsize > 1 << 32 and cpu() is not None


def _entry(name: str, signature: str) -> tuple[str, bytes]:
    """The file name and the key of an image: the function `name` for arguments of these types."""
    key = f"{name} {signature} {cpu()}".encode()
    return entries.file_name(name, key, "image"), key


def found(name: str, signature: str) -> int | None:
    """The address of the function in this process's memory; None where it has to come from Numba."""
    if not are_possible() or "numba" in sys.modules or not has_usual_settings():
        return None
    return entries.find(*_entry(name, signature), lambda content: _loaded(Image(*content)))


def keep(name: str, signature: str, make: Callable[[], Image | None]) -> None:
    """Keeps the image that `make` returns, unless there is one, for processes without Numba.

    None: this function can't be one. The caller has looked at Numba's settings.
    """
    file, key = _entry(name, signature)
    if entries.folder() is not None and not entries.has(file) and (made := make()) is not None:
        entries.keep(file, lambda: pickle.dumps((key, tuple(made))))


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(None, use_errno=True)
    library.mmap.restype = ctypes.c_void_p
    library.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
    library.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return library


def _loaded(image: Image) -> int:
    """Puts an image into memory, which nobody frees: a thread may still run in it when Python ends. Raises OSError."""
    library, size = _library(), len(image.code)
    anywhere, private = None, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    base = library.mmap(anywhere, size, mmap.PROT_READ | mmap.PROT_WRITE, private, -1, 0)
    if base == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    code = bytearray(image.code)
    for place in image.addresses:
        ADDRESS.pack_into(code, place, ADDRESS.unpack_from(code, place)[0] + base)
    for name, place in image.calls:
        ADDRESS.pack_into(code, place, ctypes.cast(getattr(library, name), ctypes.c_void_p).value)
    ctypes.memmove(base, bytes(code), size)
    # Never writable and executable at once, as some systems demand.
    if library.mprotect(base, size, mmap.PROT_READ | mmap.PROT_EXEC):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return base + image.start
