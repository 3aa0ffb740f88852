"""Limits of this process: control groups and available memory; and sizes in words."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

NO_LIMIT = 1 << 60  # bytes; control groups of version 1 report a larger number if there is no limit


def group_folders(
    controller: str, membership: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> Iterator[tuple[int, Path]]:
    """(version, folder) of all control groups (Linux) whose limits may apply to this process. controller: "cpu" or "memory".

    In a container, the root of the tree may be the group of the container, so the root and every folder below it are included.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            version, bases = 2, [root, root / "unified"]
        elif controller in controllers.split(","):
            version, bases = 1, [*{root / controllers, root / controller}]
        else:
            continue
        parts = [part for part in group.split("/") if part not in ("", "..")]
        for base in bases:
            for depth in range(len(parts) + 1):
                yield version, base.joinpath(*parts[:depth])


def available() -> tuple[int, str] | None:
    """Bytes of memory available to this process, and what limits them, in words; None if unknown."""
    limits = [*_machine(), *_groups(), *_address_space()]
    return min(limits, default=None)


def _machine(file: Path = Path("/proc/meminfo")) -> Iterator[tuple[int, str]]:
    with suppress(OSError, ValueError, KeyError):
        lines = dict(line.split(":", 1) for line in file.read_text().splitlines())
        yield int(lines["MemAvailable"].split()[0]) << 10, "free on this machine"


def _groups(**places: Path) -> Iterator[tuple[int, str]]:
    """What the control groups leave; the page cache counts as free."""
    for version, folder in group_folders("memory", **places):
        names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
        with suppress(OSError, ValueError):
            limit, used = (int((folder / name).read_text()) for name in names)
            cached = 0
            with suppress(OSError, ValueError, KeyError):
                counts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                cached = int(counts["inactive_file" if version == 2 else "total_inactive_file"])
            if limit < NO_LIMIT:
                yield max(limit - used + cached, 0), "left of the memory limit of the control group"


def _address_space() -> Iterator[tuple[int, str]]:
    with suppress(ImportError, OSError, ValueError):
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            yield max(limit - used, 0), "left of the address space limit (ulimit -v)"


def megabytes(count: int, up: bool = False) -> str:
    """A size in MB, rounded down; up: rounded up. With needs rounded up, a need beyond what is available always looks larger."""
    return f"{-(-count // 10**6) if up else count // 10**6:,} MB"


def size_text(height: int, width: int) -> str:
    """A size in words, width first; that is stated unless both are equal, since options have the height first."""
    return f"{width} x {height} pixels" + ("" if height == width else " (width x height)")
