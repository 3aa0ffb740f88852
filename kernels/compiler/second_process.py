"""A second process that compiles some of the kernels that training needs, while this one compiles the others.

Numba and llvmlite each hold a lock while they compile, so threads can't share the work. What the second process has compiled
reaches this one through the folder of compiled kernels (`cache.py`). It only helps: if it can't be started, fails or takes too
long, this process compiles everything, to the same machine code.
"""

import atexit
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from minisqx.kernels.compiler import cache, late
from minisqx.kernels.compiler.tasks import compiles_only
from minisqx.machine.threads import threads

LIMIT = 120.0  # seconds
_CODE = """
import json, sys
sys.path[:], module, function, arguments = json.loads(sys.argv[1])
from importlib import import_module
getattr(import_module(module), function)(*arguments)
"""

_process: subprocess.Popen | None = None
_parent = 0  # the process that started it


def start(stage: str, module: str, function: str, *arguments: str) -> None:
    """Starts a process that calls a function with these arguments, unless `stage`, which it compiles, is in the cache already,
    or this process may use only one CPU.
    """
    global _process, _parent
    if _process is not None or compiles_only() or late.is_jit_disabled() or not _can_help() or cache.holds(stage):
        return
    path = [place for place in sys.path if isinstance(place, str)]
    call = json.dumps([path, module, function, [*arguments, str(cache.folder())]])
    with suppress(OSError):
        _process = subprocess.Popen(
            [sys.executable, "-c", _CODE, call],
            env=os.environ | {cache.QUIET: "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _parent = os.getpid()
        atexit.register(_stop)


def _can_help() -> bool:
    # A program that embeds Python, or a frozen one, may be its own executable.
    is_python = Path(sys.executable or "").name.lower().startswith("python") and not getattr(sys, "frozen", False)
    return is_python and cache.folder() is not None and threads() > 1


def wait() -> None:
    """Waits until the second process has ended, if there is one."""
    global _process
    process = _process
    if process is None or os.getpid() != _parent:
        return
    with suppress(subprocess.TimeoutExpired):
        process.wait(LIMIT)
    _stop()
    _process = None


def _stop() -> None:
    process = _process
    if process is not None and os.getpid() == _parent and process.poll() is None:
        process.kill()
        process.wait()
