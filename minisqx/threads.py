"""How many threads minisqx runs on: the one place that decides it. Numba is told when the first parallel kernel runs
(`kernels/jit.py`): what only infers starts no threads of Numba's.

Results never depend on the number, only the time does.
"""

import os
import sys
from pathlib import Path

from minisqx.errors import OptionError
from minisqx.limits import group_folders

VARIABLE = "MINISQX_NUM_THREADS"
MOST_THREADS = 1024


def thread_count(requested: int | None = None) -> tuple[int, str]:
    """The number of threads, and in a few words where it comes from.

    `requested` (the option `--threads`) goes before MINISQX_NUM_THREADS. Without either it is the smallest of the CPUs that this
    process may use, the CPU quota of its control groups, and OMP_NUM_THREADS. Raises OptionError unless it is from 1 to 1024.
    """
    if requested is not None:
        return _checked("threads", requested), "--threads"
    if os.environ.get(VARIABLE):
        return _checked(VARIABLE, os.environ[VARIABLE]), VARIABLE
    limits = [(_usable_cpus(), "CPUs this process may use")]
    quota = _control_group_quota()
    if quota is not None:
        # Part of a CPU is no thread of its own: the others would wait for it at the end of every layer.
        limits.append((max(1, int(quota)), "CPU quota of the control group"))
    openmp = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if openmp.isdecimal() and int(openmp) > 0:
        limits.append((int(openmp), "OMP_NUM_THREADS"))
    count, source = min(limits, key=lambda limit: limit[0])
    return min(count, MOST_THREADS), source


_chosen: int | None = None


def use_threads(count: int | None = None) -> int:
    """From now on minisqx runs on `count` threads, whichever Python thread calls it, also where there are fewer CPUs.

    None takes what was chosen by an earlier call, else `thread_count()`. Returns the number.
    Raises OptionError where Numba was imported before with room for fewer: its limit is fixed by then.
    """
    global _chosen
    if count is None:
        count = thread_count()[0] if _chosen is None else _chosen
    if "numba" not in sys.modules:
        os.environ["NUMBA_NUM_THREADS"] = str(max(count, _usable_cpus()))
    import numba

    most: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    if count > most:
        raise OptionError(
            f"threads {count}: Numba has started with at most {most}; take fewer, or set {VARIABLE}={count} before Python starts"
        )
    _chosen = count
    return count


def threads() -> int:
    """The number that `use_threads` chose last."""
    return use_threads() if _chosen is None else _chosen


def _checked(what: str, value: int | str) -> int:
    text = str(value).strip()
    if isinstance(value, bool) or not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= MOST_THREADS:
        raise OptionError(f"{what} {value!r}: expected a whole number from 1 to {MOST_THREADS}")
    return int(text)


def _usable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _control_group_quota(**places: Path) -> float | None:
    """CPUs that the process's control groups (Linux, version 1 or 2) allow it, or None where nothing limits it."""
    read = {1: _quota_version_1, 2: _quota_version_2}
    quotas = (read[version](folder) for version, folder in group_folders("cpu", **places))
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota_version_2(folder: Path) -> float | None:
    return _quota(_words(folder / "cpu.max"))


def _quota_version_1(folder: Path) -> float | None:
    return _quota(_words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us"))


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _quota(words: list[str]) -> float | None:
    """From quota and period in microseconds; "max" and -1 mean no limit."""
    if len(words) != 2 or not all(word.isdecimal() for word in words) or 0 in map(int, words):
        return None
    return int(words[0]) / int(words[1])
