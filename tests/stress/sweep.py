"""Kills a sweep of 12 trials, of which two must fail, again and again: `python -m tests.stress.sweep --kills 3`.

Expected: at the end every trial is there once, the two failed ones say why, and the others have the bits that they have without
kills. `--ranks N` runs the trials on N ranks of MPI.
"""

import argparse
import csv
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from minisqx.training.run_folder import RunFolder
from tests import mpi_runs
from tests.stress.runs import REPOSITORY, Count, generator
from tests.training_runs import bits, write_data

WIDTHS, SEEDS = ("0.125", "0.2"), 3
TRIALS, FAILING = 12, ("width-0.125_dropout-0.0_seed-1", "width-0.2_dropout-0.3_seed-2")
START_SECONDS = 3.0


def command(data: Path, out: Path, ranks: int) -> list[str]:
    words = ("sweep", "--width", ",".join(WIDTHS), "--dropout", "0:0.3:0.3", "--seeds", SEEDS, "--data", data, "--epochs", 3)
    words = ("minisqx", *words, "--batch-size", 13, "--validation", 7, "--out", out, "--jobs", 2)
    if ranks:
        return mpi_runs.command((ranks, (*words, "--distributed")))
    return [sys.executable, "-m", *map(str, words)]


def make_fail(out: Path) -> None:
    """Puts files in the places of two run folders."""
    for name in FAILING:
        (out / "trials").mkdir(parents=True, exist_ok=True)
        (out / "trials" / name).write_text("in the way")


def rows(out: Path) -> dict[str, dict]:
    with (out / "results.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    named = {f"width-{row['width']}_dropout-{row['dropout']}_seed-{row['seed']}": row for row in found}
    assert len(named) == len(found) == TRIALS, f"{len(found)} rows of {len(named)} trials"
    return named


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.stress.sweep", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=3, metavar="N")
    parser.add_argument("--ranks", type=int, default=0, metavar="N", help="of MPI; 0: processes of this machine")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the moments")
    chosen = parser.parse_args(arguments)
    random, count = generator(chosen.seed), Count("trials that are there once, with the result of a sweep without kills")
    with tempfile.TemporaryDirectory(prefix="minisqx-sweep-") as name:
        data, straight, killed = write_data(Path(name) / "data.h5"), Path(name) / "straight", Path(name) / "killed"
        began = time.monotonic()
        for out in (straight, killed):
            make_fail(out)
        done = subprocess.run(command(data, straight, 0), cwd=REPOSITORY, capture_output=True, text=True)
        took = time.monotonic() - began
        print(f"without kills: exit code {done.returncode} after {took:.0f} s\n{done.stdout}")
        for _ in range(chosen.kills):
            process = subprocess.Popen(
                command(data, killed, chosen.ranks), cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            time.sleep(START_SECONDS + random.uniform(0, took / (chosen.kills + 2)))
            process.send_signal(signal.SIGKILL)
            process.wait()
            print(f"killed; {len(list(killed.glob('trials/*/best.h5')))} trials had begun", flush=True)
        done = subprocess.run(command(data, killed, chosen.ranks), cwd=REPOSITORY, capture_output=True, text=True)
        print(f"with kills: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        wanted, found = rows(straight), rows(killed)
        for trial, row in wanted.items():
            faults, other = [], found.get(trial, {})
            for column in ("status", "epochs", "validation_accuracy", "test_accuracy"):
                if row[column] != other.get(column):
                    faults.append(f"{column} {other.get(column)} instead of {row[column]}")
            if trial in FAILING:
                if row["status"] != "failed" or "can't be used" not in row["error"]:
                    faults.append(f"it should fail: {row}")
            elif bits(RunFolder(straight / "trials" / trial)) != bits(RunFolder(killed / "trials" / trial)):
                faults.append("other bits")
            count.add(trial, faults)
    return count.end()


if __name__ == "__main__":
    sys.exit(main())
