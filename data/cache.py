"""Decoded data sets, kept in the cache folder so that a second start is quick.

A source has one cache file, named by its path: a line with a checksum of all that follows (CRC-32), a line of JSON, and the
arrays as they are. In the JSON stands a fingerprint of the source, its files' content included: where that or the checksum
differs, the source is decoded again. The cache is never needed: any fault of it costs one line.

Names, sizes and times say too little: archives and container images are made with times that are always the same, and two
folders that change places keep all of them. So each start reads all files; to decode them takes many times as long.
"""

import hashlib
import json
import math
import os
import time
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np

from minisqx.data.dataset import Part, Say
from minisqx.data.parts import Parts
from minisqx.errors import DataError
from minisqx.machine.folders import cache_root, replace_file
from minisqx.machine.threads import thread_count

_FORMAT = 5  # raised whenever the same source is to be decoded in another way, or kept in another
_CHECKSUM_BYTES = 9  # eight hexadecimal digits and the end of the line
_MOST_JSON_BYTES = 16 << 20
_PIECE = 1 << 20
_GROUP = 100
_OLD = 3600  # seconds after which a file that is still not finished never will be


def content_digests(files: Sequence[Path], most_bytes: int | None = None) -> list[str]:
    """SHA-256 of the content of each file, read by several threads. Of one with more than `most_bytes` only the size counts.

    Raises OSError, with the file's name, for one that can't be read.
    """

    def digest(file: Path) -> str:
        try:
            # Small files are read in one piece: a buffer of hashlib's or of the file would cost more than the hash.
            with open(file, "rb", buffering=0) as opened:
                size = os.fstat(opened.fileno()).st_size
                if most_bytes is not None and size > most_bytes:
                    return f"{size} bytes"
                found = hashlib.sha256()
                while piece := opened.read(_PIECE):
                    found.update(piece)
                return found.hexdigest()
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(file)) from error

    # Many at a time, since to hand one over takes longer than to read it.
    groups = [files[first : first + _GROUP] for first in range(0, len(files), _GROUP)]
    with ThreadPoolExecutor(thread_count()[0], "minisqx-digests") as pool:
        return [found for group in pool.map(lambda group: [digest(file) for file in group], groups) for found in group]


def cached(source: Path, state: Callable[[], list], decode: Callable[[], Parts], say: Say) -> Parts:
    """The parts that `decode` makes from `source`: from the cache while `state()` is the same, else made and kept.

    state: makes what JSON can hold and what changes whenever the decoded parts would.
    """

    def fingerprint() -> str:
        return hashlib.sha256(json.dumps([_FORMAT, place, state()]).encode()).hexdigest()

    place = str(source.resolve())
    try:
        file = cache_root() / "data" / f"{hashlib.sha256(place.encode(errors='surrogateescape')).hexdigest()[:24]}.images"
    except OSError as error:
        _not_kept(error, say)
        return decode()
    before = fingerprint()
    found = _read(file, before, say)
    if found is None:
        say(f"decoding {str(source)!r}, once")
        found = decode()
        # A file that was written meanwhile may have been decoded in either state.
        after = None
        with suppress(OSError):
            after = fingerprint()
        if after == before:
            _write(file, before, found, say)
        else:
            say(f"{str(source)!r} has changed while it was decoded: it will be decoded again at the next start")
    return found


def _not_kept(reason: Exception, say: Say) -> None:
    line = " ".join(str(reason).split())
    say(f"decoded data is not kept ({line}); set MINISQX_CACHE to a folder that can be written to start faster")


def _read(file: Path, fingerprint: str, say: Say) -> Parts | None:
    try:
        with open(file, "rb") as opened:
            expected = int(opened.read(_CHECKSUM_BYTES), 16)
            header = opened.readline(_MOST_JSON_BYTES)
            entries = json.loads(header)
            if entries["fingerprint"] != fingerprint:
                return None
            shapes = entries["parts"].values()
            needed = sum(math.prod(shape) + 8 * shape[0] for shape in shapes)
            if opened.tell() + needed != os.fstat(opened.fileno()).st_size:
                raise DataError("its size is wrong")
            contents = [Part(np.empty(shape, np.uint8), np.empty(shape[0], "<i8")) for shape in shapes]
            arrays = _arrays(contents)
            for array in arrays:
                opened.readinto(memoryview(array).cast("B"))
        if _checksum(header, arrays) != expected:
            raise DataError("its checksum is wrong")
        parts = dict(zip(entries["parts"], contents))
        return Parts(entries["name"], tuple(entries["classes"]), parts, skipped=tuple(entries["skipped"]))
    except FileNotFoundError:
        return None
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200]
        say(f"the cache file {str(file)!r} can't be used ({reason}): decoding again")
        return None


def _write(file: Path, fingerprint: str, found: Parts, say: Say) -> None:
    arrays = _arrays(list(found.parts.values()))
    shapes = {name: part.images.shape for name, part in found.parts.items()}
    entries = {
        "fingerprint": fingerprint,
        "name": found.name,
        "classes": found.classes,
        "skipped": found.skipped,
        "parts": shapes,
    }
    header = json.dumps(entries).encode() + b"\n"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        _sweep(file.parent)
        replace_file(file, b"%08x\n" % _checksum(header, arrays), header, *(memoryview(array) for array in arrays))
    except OSError as error:
        _not_kept(error, say)


def _arrays(parts: list[Part]) -> list[np.ndarray]:
    """All that is kept of the parts, as it lies in the file."""
    return [array for part in parts for array in (np.ascontiguousarray(part.images), np.ascontiguousarray(part.labels, "<i8"))]


def _checksum(header: bytes, arrays: list[np.ndarray]) -> int:
    checksum = zlib.crc32(header)
    for array in arrays:
        checksum = zlib.crc32(array, checksum)
    return checksum


def _sweep(folder: Path) -> None:
    """Removes what a process left behind that was ended while it wrote here, and what earlier versions kept."""
    for pattern in (".minisqx-*.part", "unfinished-*.h5", "[0-9a-f]" * 24 + ".h5"):
        for file in folder.glob(pattern):
            with suppress(OSError):
                if time.time() - file.stat().st_mtime > _OLD:
                    file.unlink()
