"""Kills a training that saves after every batch, at random moments, and resumes it each time: `python -m tests.stress.kill`.

A trial is one `kill -9` after a process's first save, and the next process, which resumes the run. Expected: last.h5 (or
previous.h5) loads and is no older than at the trial before, and the next process saves again and leaves no stray files.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from minisqx.errors import MinisqxError
from minisqx.training.run_folder import RunFolder
from minisqx.training.run_state import load_run
from tests.stress.runs import Count, generator, litter, number_of, start, wait_for_another
from tests.training_runs import write_data

# After its first save a process loads kernels for a second or two; then batches and saves alternate. `LOOP` is the fraction of
# kills in the latter phase.
LOOP, LOOP_SECONDS, START_SECONDS = 0.85, 0.5, 2.0


def loaded(folder: RunFolder, said: list[str]) -> tuple[int, int]:
    """The (epoch, batch) at which the run would be resumed."""
    state = load_run(folder, said.append)[1]
    return state.epoch, state.batch


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.stress.kill", description=__doc__)
    parser.add_argument("--count", type=int, default=200, metavar="N", help="number of kills")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the moments")
    chosen = parser.parse_args(arguments)
    random, count = generator(chosen.seed), Count("killed, loaded and resumed")
    during, parts, both, stood_in, batches = 0, 0, 0, 0, 0
    with tempfile.TemporaryDirectory(prefix="minisqx-kill-") as name:
        data, flag, path = write_data(Path(name) / "colours.h5"), Path(name) / "flag", Path(name) / "run"
        folder = RunFolder(path)
        watched = ("--watch", flag, "--save-every", 0, "--", "train")
        new = ("--data", data, "--width", 0.125, "--epochs", 10_000, "--batch-size", 13, "--threads", 1, "--out", path)
        reached = (0, 0)
        flag.write_bytes(b"\0")
        process = start(*watched, *new)
        try:
            for trial in range(1, chosen.count + 1):
                faults, said = [], []
                if not wait_for_another(folder.last, 0, process):
                    raise SystemExit(f"the run ended by itself: {process.stderr.read()}")
                if random.random() < LOOP:
                    wait_for_another(folder.last, number_of(folder.last), process)
                    time.sleep(random.uniform(0, LOOP_SECONDS))
                else:
                    time.sleep(random.uniform(0, START_SECONDS))
                process.kill()
                process.communicate()
                left = litter(path)
                during += flag.read_bytes() == b"\1"
                parts += bool(left)
                both += number_of(folder.last) == number_of(folder.previous)
                try:
                    now = loaded(folder, said)
                    if now < reached:
                        faults.append(f"epoch and batch {now} after {reached}")
                    batches += now > reached
                    reached = now
                except MinisqxError as error:
                    faults.append(str(error))
                stood_in += bool(said)
                before = number_of(folder.last)
                flag.write_bytes(b"\0")
                process = start(*watched, "--resume", path)
                resumed = wait_for_another(folder.last, before, process)
                if not resumed:
                    faults.append(f"not resumed: {process.communicate()[1]}")
                elif set(left) & set(litter(path)):
                    faults.append("litter after the resume")
                count.add(f"kill {trial}", faults)
                if not resumed:
                    break
                if trial % 10 == 0:
                    print(f"{trial} kills, {during} during a save, epoch and batch {reached}", flush=True)
            # Wait until it trains: before, a signal raises an exception anywhere, even while coverage holds its lock.
            wait_for_another(folder.last, number_of(folder.last), process)
            process.terminate()
            errors = process.communicate(timeout=60)[1]
            if process.returncode != 143 or litter(path):
                count.add("the last process, by SIGTERM", [f"exit code {process.returncode}, {errors}, {litter(path)}"])
        finally:
            process.kill()
    print(f"during a save: {during}; an unfinished file was left: {parts}; between the two renames: {both}")
    print(f"previous.h5 stood in for last.h5: {stood_in}; the run had moved on: {batches}")
    return count.end()


if __name__ == "__main__":
    sys.exit(main())
