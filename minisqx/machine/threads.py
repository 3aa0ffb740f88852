"""The number of threads. It is decided here alone, and affects speed, never results.

Numba's own setting is changed only while a parallel kernel runs (`kernels/compiler/alone.py`) and restored afterwards. Inference
starts no Numba threads.
"""

import functools
import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from minisqx.errors import OptionError
from minisqx.machine.limits import group_folders

OPTION = "--threads"
VARIABLE = "MINISQX_NUM_THREADS"
NUMBA_VARIABLE = "NUMBA_NUM_THREADS"
NUMBA_FILE = ".numba_config.yaml"  # in the working directory, where Numba looks for it when it is imported
MAX_THREADS = 1024


def thread_count(requested: int | None = None, processes: int = 1) -> tuple[int, str]:
    """The number of threads, and its source in words.

    requested: of the option --threads; it takes precedence over MINISQX_NUM_THREADS. Without either, the number is the smallest
    of the CPUs available to this process, the CPU quota of its control groups, OMP_NUM_THREADS and NUMBA_NUM_THREADS, divided by
    `processes`, which share these CPUs. Raises OptionError unless it is from 1 to 1024.
    """
    if requested is not None:
        return _checked("threads", requested), OPTION
    if os.environ.get(VARIABLE):
        return _checked(VARIABLE, os.environ[VARIABLE]), VARIABLE
    limits = [(_usable_cpus(), "CPUs available to this process")]
    quota = _control_group_quota()
    if quota is not None:
        # Rounded down: a thread with a fraction of a CPU would delay all others at the end of every layer.
        limits.append((max(1, int(quota)), "CPU quota of the control group"))
    openmp = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if openmp.isdecimal() and int(openmp) > 0:
        limits.append((int(openmp), "OMP_NUM_THREADS"))
    numba_limit = _numba_limit()
    if numba_limit is not None:
        limits.append((numba_limit, NUMBA_VARIABLE))
    count, source = min(limits, key=lambda limit: limit[0])
    if processes > 1:
        count, source = max(1, count // processes), f"{source}, shared by {processes} processes"
    return min(count, MAX_THREADS), source


def _numba_limit() -> int | None:
    """Numba's limit. Numba reads it from its variable, or its file in the working directory, when it is imported."""
    if "numba" in sys.modules or Path(NUMBA_FILE).exists():
        return max_threads()
    text = os.environ.get(NUMBA_VARIABLE, "").strip()
    return int(text) if text.isdecimal() and int(text) > 0 else None


_chosen: int | None = None
_wanted = 0  # the most threads that were asked for before Numba was imported
_numba_start_limit: int | None = None  # Numba's limit at its import, if it is more than Numba's own
_is_default = True


def use_threads(count: int | None = None, source: str = OPTION) -> int:
    """Sets the number of threads for all calls from any Python thread, even if there are fewer CPUs. Returns the number.

    count: None: that of an earlier call, else `thread_count()`. source: as returned by `thread_count`. Raises OptionError if
    count exceeds Numba's limit, which is fixed when Numba is imported; it isn't imported here.
    """
    global _chosen, _is_default
    if count is None:
        if _chosen is not None:
            return _chosen
        count, source = thread_count()
    if not _is_numba_raised_to(count) and count > (limit := max_threads()):
        raise OptionError(
            f"threads {count}: Numba was started with at most {limit}; use fewer, or set {NUMBA_VARIABLE}={count}"
            " before Python starts"
        )
    _chosen, _is_default = count, source not in (OPTION, VARIABLE)
    return count


def _is_numba_raised_to(count: int) -> bool:
    """Whether Numba, not imported yet, will start with a limit of at least `count` threads, wherever it is imported."""
    global _wanted
    if "numba" in sys.modules or Path(NUMBA_FILE).exists():
        return False
    given = os.environ.get(NUMBA_VARIABLE, "").strip()
    if given:
        # The import of Numba would fail with 0 or less; for text it prints a warning.
        if re.fullmatch(r"[+-]?\d+", given) and int(given) < 1:
            raise OptionError(f"{NUMBA_VARIABLE} {given!r}: expected a whole number from 1")
        return given.isdecimal() and count <= int(given)
    _wanted = max(_wanted, count)
    if _wanted > _usable_cpus() and _NumbaImport not in sys.meta_path:
        sys.meta_path.insert(0, _NumbaImport)
    return True


class _NumbaImport:
    """Finds Numba as the other finders do, and has it start with the limit that is wanted here."""

    @classmethod
    def find_spec(cls, name: str, path=None, target=None):
        if name != "numba":
            return None
        specs = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not cls)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            vars(spec.loader)["exec_module"] = functools.partial(cls._execute, spec.loader)
        return spec

    @classmethod
    def _execute(cls, loader: Any, module: ModuleType) -> None:
        """Executes Numba with its variable set."""
        global _numba_start_limit
        del vars(loader)["exec_module"]
        sys.meta_path.remove(cls)
        if NUMBA_VARIABLE in os.environ:
            loader.exec_module(module)
            return
        os.environ[NUMBA_VARIABLE] = str(_wanted)
        try:
            loader.exec_module(module)
        finally:
            del os.environ[NUMBA_VARIABLE]
        _numba_start_limit = module.config.NUMBA_NUM_THREADS
        # Otherwise Numba would raise an error at the next compilation, because the variable has changed.
        module.config.reload_config()


def max_threads() -> int:
    """The largest number of threads of Numba's parallel kernels."""
    import numba

    return _numba_start_limit or numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]


def threads(numba_threads: int | None = None) -> int:
    """The number set by `use_threads`; a default is also limited by `numba.set_num_threads` of this Python thread.

    numba_threads: `numba.get_num_threads()`, if the caller knows it.
    """
    count = use_threads() if _chosen is None else _chosen
    if not _is_default:
        return count
    return min(count, numba_threads or _numba_threads() or count)


def _numba_threads() -> int | None:
    """`numba.get_num_threads()` of this Python thread; None if Numba has not started its threads."""
    if "numba" not in sys.modules:
        return None
    import numba

    try:
        numba.threading_layer()
    except ValueError:
        return None
    return numba.get_num_threads()


def _checked(name: str, value: int | str) -> int:
    text = str(value).strip()
    if isinstance(value, bool) or not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= MAX_THREADS:
        raise OptionError(f"{name} {value!r}: expected a whole number from 1 to {MAX_THREADS}")
    return int(text)


def _usable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _control_group_quota(**places: Path) -> float | None:
    """The CPU quota of this process's control groups (Linux, version 1 or 2), in CPUs; None without a limit."""
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
    """CPUs from [quota, period] in microseconds; None for a quota of "max" or -1."""
    if len(words) != 2 or not all(word.isdecimal() for word in words) or 0 in map(int, words):
        return None
    return int(words[0]) / int(words[1])
