"""One trial in a process of its own: `python -m minisqx.sweep.trial`, with its options as a line of JSON on stdin.

Stdin stays open. If the process that started this one ends, however it does, the trial saves its run and stops.
"""

import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from minisqx.errors import MinisqxError, TrainingError
from minisqx.training.options import TrainingOptions
from minisqx.training.run import resume, train
from minisqx.training.run_folder import RunFolder, was_begun

# For how long a trial waits for one in the same folder that is about to stop.
WAIT = 60.0  # seconds


def main() -> int:
    """Trains the trial, or goes on with it. Returns the exit code of `minisqx train`."""
    options = TrainingOptions.from_dict(json.loads(sys.stdin.readline()))
    threading.Thread(target=_stop_after_parent, daemon=True).start()
    folder = Path(str(options.out))
    try:
        if was_begun(folder):
            _wait_for(folder)
            resume(folder, threads=options.threads)
        else:
            _clear(folder)
            train(options)
    except MinisqxError as error:
        print("minisqx:", " ".join(str(error).split()), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


def _stop_after_parent() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


def _clear(folder: Path) -> None:
    """Removes what a start that was killed has left: only in an empty folder the run gets no new one."""
    for file in (folder / "config.json", *folder.glob(".minisqx-*.part")):
        with suppress(OSError):
            file.unlink()


def _wait_for(folder: Path) -> None:
    """Returns when no process trains in the folder, or after `WAIT`."""
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        try:
            with RunFolder.open(folder):
                return
        except TrainingError:
            time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
