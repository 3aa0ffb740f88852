"""How many threads minisqx runs on: the one place that decides it. Numba is told for the time of a parallel kernel alone
(`kernels/compiler/alone.py`): what only infers starts no threads of Numba's, and Numba's own number is as it was afterwards.

Results never depend on the number, only the time does.
"""

import os
import re
import sys
from pathlib import Path

from minisqx.errors import OptionError
from minisqx.machine.limits import group_folders

OPTION = "--threads"
VARIABLE = "MINISQX_NUM_THREADS"
NUMBAS_VARIABLE = "NUMBA_NUM_THREADS"
MOST_THREADS = 1024


def thread_count(requested: int | None = None) -> tuple[int, str]:
    """The number of threads, and in a few words where it comes from.

    `requested` (the option `--threads`) goes before MINISQX_NUM_THREADS. Without either it is the smallest of the CPUs that this
    process may use, the CPU quota of its control groups, OMP_NUM_THREADS and NUMBA_NUM_THREADS. Raises OptionError unless it is
    from 1 to 1024.
    """
    if requested is not None:
        return _checked("threads", requested), OPTION
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
    numbas = _numbas_limit()
    if numbas is not None:
        limits.append((numbas, NUMBAS_VARIABLE))
    count, source = min(limits, key=lambda limit: limit[0])
    return min(count, MOST_THREADS), source


def _numbas_limit() -> int | None:
    """The most threads that Numba can have: it reads its variable, or its file in the working folder, when it is imported."""
    if "numba" in sys.modules or Path(".numba_config.yaml").exists():
        return most_threads()
    text = os.environ.get(NUMBAS_VARIABLE, "").strip()
    return int(text) if text.isdecimal() and int(text) > 0 else None


_chosen: int | None = None
_room: int | None = None  # the threads that Numba has started with, where it was imported here
_is_default = True


def use_threads(count: int | None = None, source: str = OPTION) -> int:
    """From now on minisqx runs on `count` threads, whichever Python thread calls it, also where there are fewer CPUs.

    None takes what was chosen by an earlier call, else `thread_count()`. source: as `thread_count` names it. Returns the number.
    Raises OptionError where that is more than Numba has room for, which is fixed when Numba is imported.
    """
    global _chosen, _is_default
    if count is None:
        if _chosen is not None:
            return _chosen
        count, source = thread_count()
    _import_numba(count)
    most = most_threads()
    if count > most:
        raise OptionError(
            f"threads {count}: Numba has started with at most {most}; take fewer, or set {NUMBAS_VARIABLE}={count}"
            " before Python starts"
        )
    _chosen, _is_default = count, source not in (OPTION, VARIABLE)
    return count


def _import_numba(count: int) -> None:
    """Imports Numba with room for `count` threads. It takes the room from its variable, which is as before afterwards."""
    global _room
    if "numba" in sys.modules:
        return
    given = os.environ.get(NUMBAS_VARIABLE, "").strip()
    # Numba can't be imported with it. Of what is no number at all, it warns itself.
    if re.fullmatch(r"[+-]?\d+", given) and int(given) < 1:
        raise OptionError(f"{NUMBAS_VARIABLE} {given!r}: expected a whole number from 1")
    if count <= _usable_cpus() or NUMBAS_VARIABLE in os.environ:
        return
    os.environ[NUMBAS_VARIABLE] = str(count)
    try:
        import numba
    finally:
        del os.environ[NUMBAS_VARIABLE]
    _room = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    # Otherwise Numba would find the variable changed at its next compilation, and refuse that.
    numba.config.reload_config()


def most_threads() -> int:
    """The threads that Numba's parallel kernels can have at most."""
    import numba

    return _room or numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]


def threads(numbas: int | None = None) -> int:
    """The number to run on now, as `use_threads` chose it; a default is also held to this thread's `numba.set_num_threads`.

    numbas: what that is; None: looked up, if Numba's threads run.
    """
    count = use_threads() if _chosen is None else _chosen
    if not _is_default:
        return count
    return min(count, _numbas_threads() or count) if numbas is None else min(count, numbas)


def _numbas_threads() -> int | None:
    """This Python thread's `numba.get_num_threads()`, if Numba's threads have been started."""
    if "numba" not in sys.modules:
        return None
    import numba

    try:
        numba.threading_layer()
    except ValueError:
        return None
    return numba.get_num_threads()


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
