"""Shared code of the commands about training runs: child processes, and counting trials."""

import os
import random
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from minisqx.machine.threads import use_threads

REPOSITORY = Path(__file__).parent.parent.parent


def start(*words: object) -> subprocess.Popen:
    """Starts `tests.stress.child` as a new process, with only its stderr piped."""
    command = [sys.executable, "-m", "tests.stress.child", *map(str, words)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(*words: object) -> subprocess.CompletedProcess:
    """Runs `tests.stress.child` to its end in a fork of this process, which has imported all modules but run no kernel."""
    use_threads(2)
    from tests.stress import child

    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        number = os.fork()
        if number == 0:
            code = 1
            try:
                os.dup2(out.fileno(), 1)
                os.dup2(errors.fileno(), 2)
                sys.stdout, sys.stderr = open(1, "w"), open(2, "w")  # noqa: SIM115
                code = child.main(list(map(str, words)))
            except SystemExit as ended:
                code = ended.code
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
        out.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(words, code, out.read(), errors.read())


def wait_for_another(file: Path, before: int, process: subprocess.Popen) -> bool:
    """Waits until `file` has another inode number than `before`. Returns False if the process ends first."""
    while number_of(file) in (0, before):
        if process.poll() is not None:
            return False
        time.sleep(0.001)
    return True


def number_of(file: Path) -> int:
    """The file's inode number, which changes with each replacement; 0 if there is no file."""
    try:
        return file.stat().st_ino
    except FileNotFoundError:
        return 0


def litter(folder: Path) -> list[Path]:
    """The files in a run folder that do not belong there."""
    files = {"config.json", "history.csv", "curves.png", "report.html", "last.h5", "previous.h5", "best.h5"}
    return sorted(path for path in folder.iterdir() if path.name not in files)


class Count:
    """Counts the trials that passed, and keeps the faults of the others."""

    def __init__(self, what: str) -> None:
        self.what, self.right, self.faults = what, 0, []

    def add(self, trial: str, faults: list[str]) -> None:
        self.right += not faults
        if faults:
            self.faults.append(f"{trial}: {'; '.join(faults)}")
            print("FAILED", self.faults[-1], flush=True)

    def end(self) -> int:
        """Prints the count; returns the exit code."""
        trials = self.right + len(self.faults)
        print(f"{self.what}: {self.right} of {trials}")
        return 0 if trials and not self.faults else 1


def generator(seed: int) -> random.Random:
    print(f"seed {seed}")
    return random.Random(seed)
