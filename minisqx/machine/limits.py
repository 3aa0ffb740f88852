"""What the system lets this process take: the limits of its control groups, and how much memory is left. Sizes in words."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

WITHOUT_LIMIT = 1 << 60  # bytes; what version 1 of the control groups says where there is none is larger


def group_folders(
    controller: str, membership: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> Iterator[tuple[int, Path]]:
    """(version, folder) wherever the limits of a controller ("cpu", "memory") on this process may stand; none elsewhere.

    A container may see its own group at the root of the tree, so the root and every folder on the way down are named.
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
    """Bytes that this process may still take, and in a few words what says so; None where the system doesn't tell."""
    limits = [*_machine(), *_groups(), *_address_space()]
    return min(limits, default=None)


def _machine(file: Path = Path("/proc/meminfo")) -> Iterator[tuple[int, str]]:
    with suppress(OSError, ValueError, KeyError):
        lines = dict(line.split(":", 1) for line in file.read_text().splitlines())
        yield int(lines["MemAvailable"].split()[0]) << 10, "free on this machine"


def _groups(**places: Path) -> Iterator[tuple[int, str]]:
    """What control groups (Linux, version 1 or 2) leave; memory that only caches files is free."""
    for version, folder in group_folders("memory", **places):
        names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
        with suppress(OSError, ValueError):
            limit, used = (int((folder / name).read_text()) for name in names)
            cached = 0
            with suppress(OSError, ValueError, KeyError):
                counts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                cached = int(counts["inactive_file" if version == 2 else "total_inactive_file"])
            if limit < WITHOUT_LIMIT:
                yield max(limit - used + cached, 0), "left by the memory limit of the control group"


def _address_space() -> Iterator[tuple[int, str]]:
    with suppress(ImportError, OSError, ValueError):
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            yield max(limit - used, 0), "left by the limit of the address space (ulimit -v)"


def megabytes(count: int, up: bool = False) -> str:
    """What is needed is rounded up, what is there down: so what is too much looks it."""
    return f"{-(-count // 10**6) if up else count // 10**6:,} MB"


def size_text(height: int, width: int) -> str:
    """Pixels as people say them, width first; where the order matters, it is said too, since options have height first."""
    return f"{width} x {height} pixels" + ("" if height == width else " (width x height)")
