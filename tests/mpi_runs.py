"""Several processes under `mpiexec`, which the extra `mpi` installs beside Python."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
LAUNCHER = shutil.which("mpiexec", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))))


def missing() -> str:
    """Why ranks can't be started here, or nothing."""
    if importlib.util.find_spec("mpi4py") is None:
        return "mpi4py is not installed: pip install 'minisqx[mpi]'"
    return "" if LAUNCHER else "there is no mpiexec"


def command(*groups: tuple[int, tuple]) -> list[str]:
    """The command line for groups of ranks: their number, and the words after `python -m`."""
    words = [str(LAUNCHER)]
    for count, module in groups:
        words += [*([":"] if len(words) > 1 else []), "-n", str(count), sys.executable, "-m", *map(str, module)]
    return words


def start(*groups: tuple[int, tuple]) -> subprocess.Popen:
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": REPOSITORY}
    return subprocess.Popen(command(*groups), **settings)


def finish(*groups: tuple[int, tuple], timeout: float = 120) -> subprocess.CompletedProcess:
    process = start(*groups)
    try:
        out, errors = process.communicate(timeout=timeout)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out, errors)
