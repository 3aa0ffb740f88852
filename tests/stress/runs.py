"""What the commands about training runs share: children to kill, and the end of a command."""

import random
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent.parent


def child(*words: object) -> list[str]:
    """The command line of `tests.stress.child`."""
    return [sys.executable, "-m", "tests.stress.child", *map(str, words)]


def start(*words: object) -> subprocess.Popen:
    """A child whose output nobody needs but for its errors."""
    return subprocess.Popen(
        child(*words), cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )


def finish(*words: object) -> subprocess.CompletedProcess:
    """A child that has ended, with what it said."""
    return subprocess.run(child(*words), cwd=REPOSITORY, capture_output=True, stdin=subprocess.DEVNULL, text=True, timeout=600)


def wait_for_another(file: Path, before: int, process: subprocess.Popen) -> bool:
    """Waits until `file` is a file of another number than `before`; whether it came to that while the process lived."""
    while number_of(file) in (0, before):
        if process.poll() is not None:
            return False
        time.sleep(0.001)
    return True


def number_of(file: Path) -> int:
    """The file's number on its disk, which is another one after each replacement; 0 without a file."""
    try:
        return file.stat().st_ino
    except FileNotFoundError:
        return 0


def litter(folder: Path) -> list[Path]:
    """What is in a run folder and has no business there."""
    files = {"config.json", "history.csv", "curves.png", "last.h5", "previous.h5", "best.h5"}
    return sorted(path for path in folder.iterdir() if path.name not in files)


class Count:
    """How many of the trials were right, and what was wrong with the others."""

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
