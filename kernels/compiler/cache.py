"""The cache of compiled kernels on disk: a folder of this user, and one of the system, which root fills for all users.

Numba's own `cache=True` checks only the file that defines a function, so after a change in another file it runs stale code; it
trusts its files, raises errors if they are damaged, and mixes up signatures if two processes write at once. Here each entry is a
file of its own, written atomically, that starts with its SHA-256. The name of the folder is a hash of all kernels (source or byte
code) and of versions (`identity.py`); the name of an entry is a hash of the kernel, the types of its arguments, the CPU and
Numba's settings. Any problem with the cache costs compile time and one line, but is never an error.

An entry is a kernel as Numba saves it (`KernelCache`), or machine code that runs without Numba (`image.py`).
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
PROBE_BYTES = 1 << 20  # the size of the largest few kernels
ENTRY_MODE = 0o644
PAUSE = 10.0  # seconds without a compilation, after which the next one is announced again
QUIET = "MINISQX_QUIET"


def _open_folder() -> tuple[Path | None, Exception | None]:
    """This user's folder, or why there is none. Entries are unpickled and run, so other users must not be able to write there."""
    try:
        path = (cache_root() / "kernels" / name_of_all()).absolute()
        path.mkdir(0o700, parents=True, exist_ok=True)
        _refuse_others_writing(path.stat(), path)
        return path, None
    except Exception as error:
        return None, error


def _open_system_folder() -> tuple[Path | None, Exception | None]:
    """The system's folder, or why it can't be trusted; (None, None) if there is none."""
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
    """The folder in which compiled kernels are saved; None if they can't be."""
    return _folder


def holds(stage: str) -> bool:
    """Whether there is an entry of a task's stage, such as `convolution.convolve`, for any types."""
    return any(next(place.glob(f"{stage}_*"), None) is not None for place in (_folder, _system) if place is not None)


def system_refusal() -> Exception | None:
    """Why the system's folder exists but is not trusted; else None."""
    return _system_refusal


def fill_system_folder() -> None:
    """Makes this process load and save compiled kernels in the system's folder alone. Raises OptionError unless run by root."""
    global _folder, _refusal, _system
    root = system_cache()
    if root is None:
        raise OptionError("--system: not supported on this system; expected Linux or macOS")
    if os.geteuid() != 0:
        raise OptionError("--system: expected root, since all users trust that folder; use sudo, or leave out --system")
    os.umask(0o022)  # other users must be able to read the entries
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        for path in (root, root / "kernels", root / "kernels" / name_of_all()):
            path.mkdir(exist_ok=True)
            path.chmod(0o755)
    except OSError as error:
        raise OptionError(
            f"--system: {error.filename!r} can't be created ({error.strerror}); expected a writable disk"
        ) from error
    path = path.resolve()
    if reason := within_reach_of_others(path):
        raise OptionError(f"--system: {str(path)!r} would not be trusted: {reason}")
    _folder, _refusal, _system = path, None, None


def checked_content(entry: bytes) -> bytes:
    """The content of an entry after its SHA-256. Raises ValueError if the hash is wrong: damaged machine code would run."""
    data = entry[DIGEST_BYTES:]
    if hashlib.sha256(data).digest() != entry[:DIGEST_BYTES]:
        raise ValueError("it is damaged")
    return data


def file_name(kernel: str, key: bytes, suffix: str) -> str:
    """The file name of an entry with this key. Kernels and versions are part of the folder's name."""
    return f"{kernel.replace('<', '').replace('>', '')}-{hashlib.sha256(key).hexdigest()[:20]}.{suffix}"


def load(name: str, key: bytes, use: Callable[[Any], T]) -> T | None:
    """What `use` returns for the content of the entry `name`; None if there is no such entry that can be used."""
    for place in (_folder, _system):
        if place is None:
            continue
        try:
            with open(place / name, "rb") as file:
                _refuse_others_writing(os.fstat(file.fileno()), place / name)
                found, content = pickle.loads(checked_content(file.read()))
            if found != key:
                raise ValueError("it belongs to another kernel")
            return use(content)
        except FileNotFoundError:
            pass
        except Exception as error:
            _warn_once(f"a compiled kernel can't be used and is compiled again: {place / name}: {error}")
    return None


def packed(key: bytes, content: tuple) -> bytes:
    """An entry's bytes, without their checksum."""
    return pickle.dumps((key, content))


def save(name: str, pickled: Callable[[], bytes]) -> None:
    """Saves an entry, if there is a folder. pickled: returns a pickle of its key and its content."""
    if _folder is None:
        return
    try:
        data = pickled()
        replace_file(_folder / name, hashlib.sha256(data).digest() + data, mode=ENTRY_MODE)
    except Exception as error:
        _warn_not_saved(error)


def cache_name(function) -> str:
    """A kernel's name in the cache, such as `convolution.forward`."""
    return f"{function.__module__.removeprefix('minisqx.kernels.')}.{function.__qualname__}"


class KernelCache:
    """The machine code of a kernel as Numba saves it, one entry per signature. On any problem the kernel is compiled again."""

    def __init__(self, function):
        self._name = cache_name(function)

    def _entry(self, signature: str) -> tuple[str, bytes]:
        """The file name and the key of an entry. signature: the types, and the CPU that the kernel is compiled for."""
        import numba

        values = " ".join(f"{name}={value}" for name, value in settings(numba.config).items())
        key = f"{self._name} {signature} {values}".encode()
        return file_name(self._name, key, "nbc"), key

    def load(self, signature: str, rebuilt: Callable[[tuple], object], is_part: bool) -> object | None:
        """The kernel that `rebuilt` makes of an entry; None: it must be compiled. is_part: as a callee of another kernel."""
        found = load(*self._entry(signature), rebuilt)
        if found is None:
            if not is_part:
                _before_compiling()
            _compiling()
        return found

    def save(self, signature: str, pickled: Callable[[bytes], bytes]) -> None:
        """Saves an entry. pickled: returns a pickle of the key it is given and of the machine code."""
        name, key = self._entry(signature)
        save(name, lambda: pickled(key))
        _compiling()


def _on_stderr(line: str) -> None:
    # stderr is None if it was closed before Python started; print would then use stdout.
    with suppress(OSError, ValueError):
        if sys.stderr is not None and os.environ.get(QUIET, "0") in ("", "0"):
            print("minisqx:", line, file=sys.stderr, flush=True)


def _announce() -> None:
    _on_stderr("compiling kernels for this CPU, which takes up to a minute; later starts reuse them ...")


_tell: Callable[[], object] | None = _announce
_say: Callable[[str], object] | None = _on_stderr
_last_compiled = float("-inf")


def before_compiling(tell: Callable[[], object] | None) -> None:
    """Sets the function called before kernels are compiled, once for all that are compiled in close succession.

    tell: None: no call. By default a line is printed to stderr.
    """
    global _tell, _last_compiled
    _tell, _last_compiled = tell, float("-inf")


def _warn_once(line: str) -> None:
    """Prints the first problem in this process; it also replaces the announcement of compilations."""
    global _say, _tell
    if _say is not None:
        say, _say, _tell = _say, None, None
        say(line)


def keep_nothing(line: str) -> None:
    """Makes this process neither load nor save compiled kernels. line: the reason, which is printed."""
    global _folder, _system
    _folder = _system = None
    _warn_once(line)


def _warn_not_saved(error: Exception | None) -> None:
    untrusted = f", and the system's folder is not used: {_system_refusal}" if _system_refusal else ""
    _warn_once(
        f"compiled kernels can't be saved, so each start compiles them: {error}{untrusted}; set MINISQX_CACHE to a folder of your"
        " own, or have root run `minisqx warmup --system`"
    )


def _compiling() -> None:
    global _last_compiled
    _last_compiled = time.monotonic()


def _before_compiling() -> None:
    if _folder is None:
        _warn_not_saved(_refusal)
    if _tell is None or time.monotonic() - _last_compiled < PAUSE:
        return
    try:
        # The line announces that this happens once, so check that there is space for the entries.
        if _folder is not None:
            probe = _folder / f"probe-{os.getpid()}"
            replace_file(probe, bytes(PROBE_BYTES))
            probe.unlink()
    except OSError as error:
        _warn_not_saved(error)
    if _tell is not None:
        _tell()
