"""The facts of a result file about the machine and the date of its numbers."""

import fcntl
import json
import os
import platform
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

# Locked by a running campaign (`reproduce`), whose process group it holds.
CAMPAIGN = Path("runs") / "reproduce" / "process-group"


@contextmanager
def alone() -> Iterator[None]:
    """Stops the campaign while a block measures."""
    _signal_campaign(signal.SIGSTOP)
    try:
        yield
    finally:
        _signal_campaign(signal.SIGCONT)


def _signal_campaign(number: int) -> None:
    if not CAMPAIGN.exists():
        return
    with CAMPAIGN.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.killpg(int(file.read()), number)


def cpu_model() -> str:
    """The CPU's name according to the system."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor() or "unknown"
    )


def describe(packages: Iterable[str]) -> dict[str, object]:
    """CPU, system, versions of `packages` (None for one that isn't installed) and date, as plain JSON types."""
    return {
        "cpu": cpu_model(),
        "logical_cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in packages},
        "date": datetime.now(UTC).date().isoformat(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def keep_row(path: Path, facts: dict[str, object], row: dict[str, object]) -> None:
    """Puts a measured row into a result file, in the place of an earlier one of the same network and batch size.

    A run that is stopped keeps what it has measured, and a run of some networks leaves the others. Each row has its own facts.
    """
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    row = facts | row
    keys = [(each["network"], each.get("batch_size")) for each in rows]
    try:
        rows[keys.index((row["network"], row.get("batch_size")))] = row
    except ValueError:
        rows.append(row)
    path.write_text(json.dumps({"rows": rows}, indent=1) + "\n")
