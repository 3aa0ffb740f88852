"""Where files lie that may be thrown away at any time; and how any file is written, so that none is ever half there."""

import os
import secrets
import sys
from contextlib import suppress
from pathlib import Path


def cache_root() -> Path:
    """The user's cache folder for minisqx: `MINISQX_CACHE`, else the system's usual place.

    Raises OSError where there is none, since the user has no home folder.
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
        raise OSError("there is no home folder for a cache") from error
    return base / "minisqx"


def system_cache() -> Path | None:
    """The cache folder of all users, which root alone fills; None where the system has no place for it."""
    if sys.platform == "win32":
        return None
    return Path("/Library/Caches/minisqx" if sys.platform == "darwin" else "/var/cache/minisqx")


def within_reach_of_others(path: Path) -> str | None:
    """Why not only root and this user can change what lies in a folder, given without links, or exchange it: None if it is so."""
    for folder in (path, *path.parents):
        status = os.stat(folder)
        if status.st_uid not in (0, os.getuid()):
            return f"{str(folder)!r} belongs to another user"
        if status.st_mode & 0o022:
            return f"others may write to {str(folder)!r}"
    return None


def replace_file(path: Path, *data: bytes | memoryview, mode: int = 0o666) -> None:
    """Puts `data`, one piece after the other, in the place of `path` at once; less the umask, `mode` says who may read and write.

    Whoever opens it finds the old file or the new one, also after a power cut.
    Raises OSError, and leaves no other file behind, where that can't be done.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise OSError(f"there is a {'folder' if target.is_dir() else 'device'} of this name")
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
    # Some systems and disks can't flush a folder; the file is complete without it.
    with suppress(OSError):
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def folder_size(path: Path) -> str:
    """A folder of the cache in words: its path, size and files."""
    files = [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]
    size = sum(os.lstat(file).st_size for file in files if os.path.lexists(file))
    return f"{path}, {size / 1e6:.1f} MB in {len(files)} files; it may be deleted at any time"
