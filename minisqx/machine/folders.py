"""The cache folders; `replace_file`, which writes a file atomically; `lock`, which keeps other processes away."""

import os
import secrets
import sys
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]  # Windows


def cache_root() -> Path:
    """The user's cache folder for minisqx: `MINISQX_CACHE`, else the usual place on this system.

    Raises OSError if the user has no home folder.
    """
    chosen = os.environ.get("MINISQX_CACHE")
    if chosen:
        return Path(chosen)
    try:
        if sys.platform == "win32":
            base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:
            base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:
        raise OSError("no home folder for the cache") from error
    return base / "minisqx"


def system_cache() -> Path | None:
    """The cache folder shared by all users, which only root writes; None on Windows."""
    if sys.platform == "win32":
        return None
    return Path("/Library/Caches/minisqx" if sys.platform == "darwin" else "/var/cache/minisqx")


def within_reach_of_others(path: Path) -> str | None:
    """Why users other than root and this one can change or replace a folder; None if they can't. path: without symbolic links."""
    for folder in (path, *path.parents):
        status = os.stat(folder)
        if status.st_uid not in (0, os.getuid()):
            return f"{str(folder)!r} belongs to another user"
        if status.st_mode & 0o022:
            return f"others may write to {str(folder)!r}"
    return None


def replace_file(path: Path, *data: bytes | memoryview, mode: int = 0o666) -> None:
    """Replaces the file `path` by the pieces of `data`, concatenated. mode: permissions, before the umask.

    The replacement is atomic: readers see the old file or the new one, even after a power failure. Raises OSError if that fails,
    and leaves no temporary file.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise OSError(f"a {'folder' if target.is_dir() else 'device'} has this name")
    temporary = target.with_name(f".minisqx-{secrets.token_hex(8)}.part")
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.writelines(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    # Flush the new directory entry; some systems can't, and the file is complete without it.
    with suppress(OSError):
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def lock(descriptor: int) -> None:
    """Locks an open file or folder for this process until the descriptor is closed.

    Raises BlockingIOError if another process has locked it, another OSError on Windows and where the file system has no locks.
    """
    if fcntl is None:
        raise OSError("this system has no flock")
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def folder_size(path: Path) -> str:
    """The path of a cache folder, its size and number of files, in words."""
    files = [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]
    size = sum(os.lstat(file).st_size for file in files if os.path.lexists(file))
    return f"{path}, {size / 1e6:.1f} MB in {len(files)} files; it may be deleted at any time"
