"""Stops a training in random batches, resumes it, and compares the end with a run that was never stopped.

    python -m tests.stress.resume --count 20

A trial is stopped in random batches, by SIGTERM, Ctrl-C, a closed terminal or `kill -9`, with checkpoints after every batch or
only after epochs. Expected: the same bytes of weights, velocity and dropout's counter in last.h5, of history.csv without its
times, and of the weights in best.h5, and no other files in the folder.
"""

import argparse
import math
import sys
import tempfile
from pathlib import Path

from minisqx.checkpoint import load_checkpoint
from minisqx.training.run_folder import RunFolder
from tests.stress.runs import Count, finish, generator, litter
from tests.training_runs import bits, write_data

EPOCHS, IMAGES, BATCH_SIZE, VALIDATION = 6, 90, 13, 12
BATCHES = EPOCHS * math.ceil((IMAGES - VALIDATION) / BATCH_SIZE)
CODES = {"SIGTERM": 143, "SIGINT": 130, "SIGHUP": 129, "SIGKILL": -9}


def all_bits(path: Path) -> tuple:
    """Everything that must be identical."""
    folder = RunFolder(path)
    best = load_checkpoint(folder.best).state
    return *bits(folder), {name: array.tobytes() for name, array in best.items()}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.stress.resume", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20, metavar="N", help="number of runs")
    parser.add_argument("--stops", type=int, default=2, metavar="N", help="stops per run")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the batches")
    chosen = parser.parse_args(arguments)
    random, count = generator(chosen.seed), Count("stopped, resumed and byte-identical at the end")
    with tempfile.TemporaryDirectory(prefix="minisqx-resume-") as name:
        data = write_data(Path(name) / "colours.h5", images=IMAGES)
        new = ["--data", data, "--width", 0.125, "--epochs", EPOCHS, "--batch-size", BATCH_SIZE, "--validation", VALIDATION]

        def train(path: Path, *fault: object):
            run = ["--resume", path] if (path / "last.h5").exists() else [*new, "--out", path]
            return finish(*fault, "--", "train", *run, "--threads", 1)

        done = train(Path(name) / "never-stopped")
        if done.returncode:
            raise SystemExit(f"the run that is not stopped ended with {done.returncode}: {done.stderr}")
        wanted = all_bits(Path(name) / "never-stopped")
        for trial in range(1, chosen.count + 1):
            path, faults, stops, left = Path(name) / f"run-{trial}", [], [], BATCHES
            for _ in range(chosen.stops):
                number, ending, every = random.randint(1, left), random.choice(list(CODES)), random.choice((0, 60))
                done = train(path, "--batch", number, "--signal", ending, "--save-every", every)
                stops.append(f"{ending} in batch {number}")
                if done.returncode != CODES[ending] or "Traceback" in done.stderr:
                    faults.append(f"exit code {done.returncode} after {stops[-1]}: {done.stderr}")
                    break
                state = load_checkpoint(path / "last.h5").training["state"]
                left = BATCHES - state["epoch"] * BATCHES // EPOCHS - state["batch"]
                if not left:
                    break
            done = train(path)
            if done.returncode:
                faults.append(f"exit code {done.returncode} of the last part: {done.stderr}")
            elif all_bits(path) != wanted:
                faults.append("other bits")
            if litter(path):
                faults.append(f"litter: {litter(path)}")
            count.add(f"run {trial}", faults)
            print(f"run {trial} of {BATCHES} batches: {', then '.join(stops)}", flush=True)
    return count.end()


if __name__ == "__main__":
    sys.exit(main())
