"""Data sets in HDF5: `images` uint8 (N, H, W, 3), `labels` (N,), optionally `groups` (N,); the same with `val_` and `test_`; and
optionally `classes`.

A file is untrusted input. So only plain arrays in the file itself are read: no links, no external or virtual storage, no objects,
no filters but HDF5's own, nothing that is declared but not stored, and no more bytes than a data set may have. The structures
around the arrays are parsed by HDF5's library, whose checks are not ours: see docs/reliability.md.
"""

import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np
from h5py._objects import phil

from minisqx.checkpoint.container import SIGNATURE
from minisqx.data.classes import listed
from minisqx.data.dataset import MAX_BYTES, MAX_CLASSES, Part, Say, check_memory
from minisqx.data.parts import Parts
from minisqx.errors import DataError

__all__ = ["SIGNATURE", "read_hdf5"]

# Other filters are plug-ins, that is, foreign code; and the library's own fletcher32 crashes on a chunk that is too short.
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE}
_MAX_NAME_BYTES = 1024
_MAX_OBJECTS = 2 * MAX_CLASSES  # in heaps of names
_MAX_COMPRESSION = 1032  # deflate's largest ratio
_SMALL_CHUNK_BYTES = 16 << 20
_CHUNK_CACHE = 64 << 20  # bytes of an array that are kept while its images are read one by one
_MAX_UNREAD = 100  # names of objects that are not read
# Prefixes of the names `images` and `labels` -> part.
_PREFIXES = {"": "train", "val_": "validation", "valid_": "validation", "validation_": "validation", "test_": "test"}


def read_hdf5(path: Path, say: Say) -> Parts:
    """The parts of the data set in the file `path`. A message lists other objects in the file.

    Raises DataError if the file is damaged or is not as described above.
    """
    shown = str(path)
    try:
        with _without_plugins(), h5py.File(path, "r") as file:
            prefixes = _prefixes(file, shown)
            parts = {part: _part(file, prefix, shown) for prefix, part in prefixes.items()}
            labelled = [parts["train"]] if "train" in parts else parts.values()
            classes = _classes(file, path, np.concatenate([part.labels for part in labelled]))
            known = {"classes", *(prefix + name for prefix in prefixes for name in ("images", "labels", "groups"))}
            unread = [str(name) for name in islice(file, _MAX_UNREAD) if name not in known]
            if unread:
                say(f"{shown!r}: not read: {listed(unread)}; expected images, labels, val_images and so on, and classes")
            return Parts(f"HDF5 file {path.name!r}", classes, parts)
    except DataError:
        raise
    except Exception as error:
        # For damaged files h5py raises OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError and more.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise DataError(f"{shown!r} is damaged or cut off ({reason}): create or get the file again") from error


def stored_images(path: Path) -> dict[str, h5py.Dataset]:
    """Name -> array of images, uint8 (N, H, W, 3), of each part in the file `path`, checked but not read; the file stays open.

    Raises DataError as `read_hdf5` does. Reading an image of a damaged file may raise OSError or RuntimeError.
    """
    shown = str(path)
    try:
        with _without_plugins():
            file = h5py.File(path, "r", rdcc_nbytes=_CHUNK_CACHE)
            return {f"{prefix}images": _images(file, prefix, shown) for prefix in _prefixes(file, shown)}
    except DataError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise DataError(f"{shown!r} is damaged or cut off ({reason}): create or get the file again") from error


@contextmanager
def _without_plugins() -> Iterator[None]:
    """Empties the plug-in search path of HDF5's library, which would load code for a file's filters before we can check them."""
    # h5py's own lock keeps other threads from opening files in the meantime.
    with phil:
        folders = [h5py.h5pl.get(number) for number in range(h5py.h5pl.size())]
        for _ in folders:
            h5py.h5pl.remove(0)
        try:
            yield
        finally:
            for folder in folders:
                h5py.h5pl.append(folder)


def _prefixes(file: h5py.File, shown: str) -> dict[str, str]:
    """Prefix -> part, for each part with images or labels in the file; if there are none, the training part's prefix."""
    found = {prefix: part for prefix, part in _PREFIXES.items() if f"{prefix}images" in file or f"{prefix}labels" in file}
    validation = [f"{prefix}images" for prefix, part in found.items() if part == "validation"]
    if len(validation) > 1:
        raise DataError(
            f"{shown!r}: {listed(validation)} are all validation images; expected one of them: remove or rename the others"
        )
    return found or {"": "train"}


def _plain(file: h5py.File, name: str, shown: str) -> h5py.Dataset:
    """The data set `name`, after checking that its bytes are in this file and that reading it runs no plug-in."""
    if name not in file:
        raise DataError(f"{shown!r} has no data set {name!r}; expected 'images' (uint8, N x H x W x 3) and 'labels' (N)")
    if not isinstance(file.get(name, getlink=True), h5py.HardLink) or not isinstance(file[name], h5py.Dataset):
        raise DataError(f"{shown!r}: {name!r} is a link or a group; expected a data set in the file itself")
    data = file[name]
    if data.external or data.is_virtual:
        raise DataError(f"{shown!r}: {name!r} is stored in another file; expected it in the file itself")
    plan = data.id.get_create_plist()
    filters = {plan.get_filter(number)[0] for number in range(plan.get_nfilters())}
    if filters - _FILTERS:
        raise DataError(f"{shown!r}: {name!r} has the filters {sorted(filters)}; expected gzip with or without shuffle, or none")
    return data


def _part(file: h5py.File, prefix: str, shown: str) -> Part:
    """The images and labels of one part, after checking that they match and that their bytes are in the file."""
    images = _images(file, prefix, shown)
    labels = _array(file, f"{prefix}labels", shown, "iu", 1, "integers (N,)")
    if len(labels) != len(images):
        raise DataError(f"{shown!r}: {len(labels)} labels for {len(images)} images; expected one per image")
    if images.size + 16 * labels.size > MAX_BYTES:
        raise DataError(f"{shown!r}: {images.name!r} has {images.size} elements; expected at most {MAX_BYTES >> 30} GiB")
    check_memory(shown, images.size)
    groups = None
    if f"{prefix}groups" in file:
        groups = _array(file, f"{prefix}groups", shown, "iu", 1, "integers (N,)")
        if len(groups) != len(images):
            raise DataError(f"{shown!r}: {len(groups)} groups for {len(images)} images; expected one number per image")
        groups = groups[...].astype(np.int64)
    names = tuple(f"{prefix}images[{at}]" for at in range(len(images)))
    return Part(images[...], labels[...].astype(np.int64), names, groups)


def _images(file: h5py.File, prefix: str, shown: str) -> h5py.Dataset:
    images = _array(file, f"{prefix}images", shown, "u", 4, "uint8 (N, height, width, 3)")
    if images.dtype != np.uint8:
        raise DataError(f"{shown!r}: {images.name!r} is {images.dtype}; expected uint8 (N, height, width, 3)")
    return images


def _array(file: h5py.File, name: str, shown: str, dtype_kinds: str, dimensions: int, expected: str) -> h5py.Dataset:
    """A numeric array, checked but not read. dtype_kinds: the allowed values of NumPy's `dtype.kind`."""
    data = _plain(file, name, shown)
    if data.dtype.kind not in dtype_kinds or data.shape is None or len(data.shape) != dimensions:
        raise DataError(f"{shown!r}: {name!r} is {data.dtype} {data.shape}; expected {expected}")
    stored = data.id.get_storage_size()
    needed = data.size * data.dtype.itemsize
    if data.chunks is None:
        complete = stored == needed
    else:
        # HDF5 would fill in chunks that were never written, and a single chunk may claim gigabytes.
        chunks = math.prod(-(-side // step) for side, step in zip(data.shape, data.chunks))
        chunk_bytes = math.prod(data.chunks) * data.dtype.itemsize
        complete = data.id.get_num_chunks() == chunks and chunk_bytes <= max(needed, _SMALL_CHUNK_BYTES)
    if not complete or needed > stored * _MAX_COMPRESSION:
        raise DataError(
            f"{shown!r}: {name!r} should have {needed} bytes, but {stored} are in the file: create or get the file again"
        )
    return data


def _classes(file: h5py.File, path: Path, labels: np.ndarray) -> tuple[str, ...]:
    """The names of the classes; without names in the file, their numbers."""
    shown = str(path)
    if "classes" not in file:
        largest = max(labels.max(initial=0), 0)
        if largest >= MAX_CLASSES:
            raise DataError(f"{shown!r}: the label {largest} is too large; expected at most {MAX_CLASSES} classes")
        return tuple(str(number) for number in range(largest + 1))
    data = _plain(file, "classes", shown)
    text = h5py.check_string_dtype(data.dtype)
    if (
        text is None
        or data.shape is None
        or len(data.shape) != 1
        or data.size > MAX_CLASSES
        or (text.length or 0) > _MAX_NAME_BYTES
    ):
        raise DataError(f"{shown!r}: 'classes' is {data.dtype} {data.shape}; expected a list of names")
    if text.length is not None:
        return tuple(data.asstr("utf-8")[...])
    return _variable_length_names(path, data)


def _variable_length_names(path: Path, data: h5py.Dataset) -> tuple[str, ...]:
    """A list of variable-length strings, read without HDF5's library, which never returns from some damaged heaps.

    For each name the data set holds its length, the address of a heap, and the name's number in that heap.
    """
    offset, count, shown = data.id.get_offset(), data.size, str(path)
    if offset is None or data.id.get_storage_size() != 16 * count:
        raise DataError(f"{shown!r}: 'classes' is not stored contiguously; expected one contiguous list of names")
    heaps: dict[int, dict[int, tuple[int, int]]] = {}
    names = []
    with open(path, "rb") as file:
        file.seek(offset)
        for length, address, number in struct.iter_unpack("<IQI", file.read(16 * count)):
            if address not in heaps:
                heaps[address] = _heap(file, address, _MAX_OBJECTS - sum(map(len, heaps.values())))
            at, size = heaps[address].get(number, (0, 0))
            if length > _MAX_NAME_BYTES:
                raise DataError(f"{shown!r}: a class name has {length} bytes; expected at most {_MAX_NAME_BYTES}")
            if length > size:
                raise ValueError("a class name is not in its heap")
            file.seek(at)
            names.append(file.read(length).decode())
    if len(names) < count:
        raise ValueError("the class names are cut off")
    return tuple(names)


def _heap(file: BinaryIO, address: int, max_objects: int) -> dict[int, tuple[int, int]]:
    """The objects of a "global heap collection": number -> (offset, bytes). Raises ValueError for a damaged one."""
    file.seek(address if address < 2**63 else 0)
    signature, size = struct.unpack("<8sQ", file.read(16).ljust(16, b"\0"))
    if signature != b"GCOL\1\0\0\0":
        raise ValueError("there is no heap at the address of the class names")
    found: dict[int, tuple[int, int]] = {}
    at, end = address + 16, address + size
    while at + 16 <= end:
        file.seek(at)
        number, length = struct.unpack("<H6xQ", file.read(16).ljust(16, b"\0"))
        if number == 0:
            break  # the rest of the heap is free
        if at + 16 + length > end or len(found) >= max_objects:
            raise ValueError("the heap of the class names is damaged")
        found[number] = (at + 16, length)
        at += 16 + -(-length // 8) * 8
    return found
