"""Compiled kernels on disk: a folder of this user's, and one of the system's that root fills for all.

Numba's own `cache=True` checks only the file a function stands in, so a change in another file serves stale code; it trusts
every bit of its files, raises where they are damaged, and mixes signatures up where two processes fill them at once. Here an
entry is a file of its own, written at once, with a SHA-256 in front. The folder's name is a hash of all kernels, whether they
are there as source or as byte code, and of the versions (`identity.py`); an entry's name is one of the kernel, the types of its
arguments, the CPU and Numba's settings. Whatever is wrong with it costs compile time and one line, never an error.

There are two forms of entries: what Numba keeps of a kernel (`KernelCache`), and machine code that is loaded without Numba
(`image.py`).
"""

import hashlib
import os
import pickle
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from minisqx.errors import OptionError
from minisqx.kernels.compiler.identity import name_of_all, settings
from minisqx.machine.folders import cache_root, replace_file, system_cache, within_reach_of_others

T = TypeVar("T")

DIGEST_BYTES = 32
PROBE_BYTES = 1 << 20  # as much as the largest few kernels
ENTRY_MODE = 0o644
PAUSE = 10.0  # seconds without a compilation, after which the next one is told of again
QUIET = "MINISQX_QUIET"


def _open_folder() -> tuple[Path | None, Exception | None]:
    """This user's folder, or why there is none. An entry is unpickled and run, so others must not reach the folder."""
    try:
        path = (cache_root() / "kernels" / name_of_all()).absolute()
        path.mkdir(0o700, parents=True, exist_ok=True)
        _refuse_others_writing(path.stat(), path)
        return path, None
    except Exception as error:
        return None, error


def _open_system_folder() -> tuple[Path | None, Exception | None]:
    """The system's folder, or why there is none that can be trusted; None and None where there is none at all."""
    try:
        root = system_cache()
        path = root and root / "kernels" / name_of_all()
        if path is None or not path.is_dir():
            return None, None
        path = path.resolve()
        if reason := within_reach_of_others(path):
            raise PermissionError(reason)
        return path, None
    except Exception as error:
        return None, error


def _refuse_others_writing(status: os.stat_result, path: Path) -> None:
    if hasattr(os, "getuid") and (status.st_uid not in (0, os.getuid()) or status.st_mode & 0o022):
        raise PermissionError(f"{str(path)!r} belongs to another user, or others may write to it")


_folder, _refusal = _open_folder()
_system, _system_refusal = _open_system_folder()


def folder() -> Path | None:
    """Where compiled kernels are kept; None if they can't be."""
    return _folder


def system_refusal() -> Exception | None:
    """Why the system's folder is there and not trusted."""
    return _system_refusal


def fill_system_folder() -> None:
    """From now on compiled kernels are kept in the system's folder, and looked for there alone; root may do so."""
    global _folder, _refusal, _system
    root = system_cache()
    if root is None:
        raise OptionError("--system: this system has no folder for it; expected Linux or macOS")
    if os.geteuid() != 0:
        raise OptionError("--system: expected root, since all users trust that folder; run it with sudo, or without --system")
    os.umask(0o022)  # others are to read the entries, too
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        for path in (root, root / "kernels", root / "kernels" / name_of_all()):
            path.mkdir(exist_ok=True)
            path.chmod(0o755)
    except OSError as error:
        raise OptionError(
            f"--system: {error.filename!r} can't be made ({error.strerror}); expected a disk that takes it"
        ) from error
    path = path.resolve()
    if reason := within_reach_of_others(path):
        raise OptionError(f"--system: nobody would trust {str(path)!r}: {reason}")
    _folder, _refusal, _system = path, None, None


def checked_content(entry: bytes) -> bytes:
    """What an entry holds behind its SHA-256; raises ValueError where the two don't fit: machine code with a flipped bit runs."""
    data = entry[DIGEST_BYTES:]
    if hashlib.sha256(data).digest() != entry[:DIGEST_BYTES]:
        raise ValueError("it is damaged")
    return data


def file_name(kernel: str, key: bytes, ending: str) -> str:
    """The name of the entry whose key, its first content, is this. The folder's name stands for all kernels and versions."""
    return f"{kernel.replace('<', '').replace('>', '')}-{hashlib.sha256(key).hexdigest()[:20]}.{ending}"


def find(name: str, key: bytes, use: Callable[[Any], T]) -> T | None:
    """What `use` makes of what is kept under this name; None where neither folder has anything that can be used."""
    for place in (_folder, _system):
        if place is None:
            continue
        try:
            with open(place / name, "rb") as file:
                _refuse_others_writing(os.fstat(file.fileno()), place / name)
                found, content = pickle.loads(checked_content(file.read()))
            if found != key:
                raise ValueError("it is another kernel's")
            return use(content)
        except FileNotFoundError:
            pass
        except Exception as error:
            _fault(f"a compiled kernel can't be used and is compiled again: {place / name}: {error}")
    return None


def keep(name: str, pickled: Callable[[], bytes]) -> None:
    """Keeps what `pickled` returns, a pickle of a key and a content. Nothing happens where there is no folder."""
    if _folder is None:
        return
    try:
        data = pickled()
        replace_file(_folder / name, hashlib.sha256(data).digest() + data, mode=ENTRY_MODE)
    except Exception as error:
        _not_kept(error)


def has(name: str) -> bool:
    """Whether either folder has an entry of this name, damaged or not."""
    return any(place is not None and (place / name).exists() for place in (_folder, _system))


def kernel_name(function) -> str:
    """A kernel's name in the names of its entries."""
    return f"{function.__module__.removeprefix('minisqx.kernels.')}.{function.__qualname__}"


class KernelCache:
    """A kernel as Numba keeps it, an entry for each signature. Any fault there means "compile again"."""

    def __init__(self, function):
        self._name = kernel_name(function)

    def _entry(self, signature: str) -> tuple[str, bytes]:
        """The entry's file name and its key. signature: of the types, and of the CPU that code is made for."""
        import numba

        facts = " ".join(f"{name}={value}" for name, value in settings(numba.config).items())
        key = f"{self._name} {signature} {facts}".encode()
        return file_name(self._name, key, "nbc"), key

    def load(self, signature: str, rebuilt: Callable[[tuple], object], is_part: bool) -> object | None:
        """What `rebuilt` makes of what was kept; None: it must be compiled. is_part: only as a part of another kernel."""
        found = find(*self._entry(signature), rebuilt)
        if found is None:
            if not is_part:
                _before_compiling()
            _compiling()
        return found

    def save(self, signature: str, pickled: Callable[[bytes], bytes]) -> None:
        """Keeps what `pickled` returns for the entry's key: a pickle of both."""
        name, key = self._entry(signature)
        if _folder is not None:
            keep(name, lambda: pickled(key))
            _compiling()


def _on_stderr(line: str) -> None:
    # None where it was closed before Python started: print would then take stdout.
    with suppress(OSError, ValueError):
        if sys.stderr is not None and os.environ.get(QUIET, "0") in ("", "0"):
            print("minisqx:", line, file=sys.stderr, flush=True)


def _announce() -> None:
    _on_stderr("compiling kernels for this CPU: up to a minute; later starts find them ready ...")


_tell: Callable[[], object] | None = _announce
_say: Callable[[str], object] | None = _on_stderr
_last_compiled = float("-inf")


def before_compiling(tell: Callable[[], object] | None) -> None:
    """Has `tell` called before kernels that are not in a folder are compiled, once for all that follow each other closely;
    None: nothing is told. Without this call a line goes to stderr.
    """
    global _tell, _last_compiled
    _tell, _last_compiled = tell, float("-inf")


def _fault(line: str) -> None:
    """Says so, unless a fault has been told: one line a process is enough, also in the place of that before compiling."""
    global _say, _tell
    if _say is not None:
        say, _say, _tell = _say, None, None
        say(line)


def keep_nothing(line: str) -> None:
    """From now on no compiled kernel is kept or looked for; says why."""
    global _folder, _system
    _folder = _system = None
    _fault(line)


def _not_kept(error: Exception | None) -> None:
    untrusted = f", nor is the system's folder used: {_system_refusal}" if _system_refusal else ""
    _fault(
        f"compiled kernels are not kept, so each start compiles them: {error}{untrusted}; set MINISQX_CACHE to a folder of your"
        " own, or have root run `minisqx warmup --system`"
    )


def _compiling() -> None:
    global _last_compiled
    _last_compiled = time.monotonic()


def _before_compiling() -> None:
    if _folder is None:
        _not_kept(_refusal)
    if _tell is None or time.monotonic() - _last_compiled < PAUSE:
        return
    try:
        # It says that this happens once: so there must be room for what is compiled.
        if _folder is not None:
            probe = _folder / f"probe-{os.getpid()}"
            replace_file(probe, bytes(PROBE_BYTES))
            probe.unlink()
    except OSError as error:
        _not_kept(error)
    if _tell is not None:
        _tell()
