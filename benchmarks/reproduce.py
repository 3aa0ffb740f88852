"""Trains what the tables of accuracy show: `python -m benchmarks.reproduce --data cifar-10-batches-bin`.

Each training of `campaign.py` that has no result yet is a process `minisqx train` at the lowest priority, or `--resume` where an
earlier one was stopped. A result file is written when a run has ended, and only then: command, options, seed, versions, digest of
the data, hash of the weights, the history of every epoch, and the measurements of the last one. Ctrl-C and SIGTERM save the runs
and end; the same command goes on. Other benchmarks hold the campaign while they measure (`machine.alone`).

Where options are compared, results have the validation images alone: the test images are not looked at.
"""

import argparse
import csv
import fcntl
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from benchmarks.campaign import Training, trainings
from benchmarks.machine import CAMPAIGN, cpu_model
from minisqx.spec import zoo
from minisqx.training.options import LATER

RESULTS = Path(__file__).parent / "results" / "trainings"


class Campaign:
    """Runs trainings, each in a folder of its name in `runs`. data: name of the data -> its path; threads: of one training."""

    def __init__(self, runs: Path, results: Path, data: dict[str, str], threads: int = 1) -> None:
        self.runs, self.results, self.data, self.threads = runs, results, data, threads
        self._processes: set[subprocess.Popen] = set()
        self._stopped = False

    def missing(self, all_: list[Training]) -> list[Training]:
        """Those without a result for their options. Raises SystemExit if there is one for other options."""
        found = []
        for training in all_:
            file = self._file(training)
            if not file.exists():
                found.append(training)
            # A result from before an option existed lacks it.
            elif dict.fromkeys(LATER) | json.loads(file.read_text())["options"] != training.options.provenance():
                raise SystemExit(f"{file} is of other options than {training.name} in campaign.py: delete it to train again")
        return found

    def stop(self, *_) -> None:
        """Asks all running trainings to save and end."""
        self._stopped = True
        for process in list(self._processes):
            process.send_signal(signal.SIGTERM)

    def run(self, training: Training) -> None:
        """Trains to the end, or until `stop`, and writes the result."""
        if self._stopped:
            return
        teacher = training.options.distill
        if teacher is not None and teacher not in zoo.weights():
            print(f"{training.name}: waits for its teacher's weights, {teacher}: once they are trained, python -m benchmarks.zoo")
            return
        folder = self.runs / training.name
        options = replace(training.options, data=self.data[training.data])
        if (folder / "last.h5").exists():
            command = ["minisqx", "train", "--resume", str(folder)]
        else:
            command = [*options.words(), "--out", str(folder)]
        print(f"{training.name}: {'resumed' if '--resume' in command else 'begun'}", flush=True)
        with (self.runs / f"{training.name}.log").open("a") as log:
            variables = os.environ | {"MINISQX_NUM_THREADS": str(self.threads), "OMP_NUM_THREADS": "1"}
            process = subprocess.Popen([sys.executable, "-m", *command], stdout=log, stderr=log, env=variables)
            self._processes.add(process)
            code = process.wait()
            self._processes.discard(process)
        if code == 0:
            result = self.result(training, folder)
            self._file(training).write_text(json.dumps(result, indent=1) + "\n")
            print(f"{training.name}: {result['last']}", flush=True)
        elif not self._stopped:
            print(f"{training.name}: failed with exit code {code}; see {log.name}", flush=True)

    def _file(self, training: Training) -> Path:
        return self.results / f"{training.name}.json"

    def result(self, training: Training, folder: Path) -> dict:
        """The content of a result file."""
        from minisqx.checkpoint import load_checkpoint

        config = json.loads((folder / "config.json").read_text())
        last = load_checkpoint(folder / "last.h5")
        with (folder / "history.csv").open(newline="") as file:
            rows = [
                {name: float(text) for name, text in row.items() if text and not name.endswith("_recall")}
                for row in csv.DictReader(file)
            ]
        compared = training.table == "comparison"
        columns = [name for name in rows[0] if not (compared and name.startswith("test_"))]
        return {
            "name": training.name,
            "table": training.table,
            "command": training.options.command(),
            "options": training.options.provenance(),
            "network": config["network"]["name"],
            "teacher": config.get("teacher"),
            "data": {"name": config["data"]["name"], "sha256": config["data"]["sha256"], "images": config["data"]["images"]},
            "versions": config["versions"],
            "cpu": cpu_model(),
            "threads": self.threads,
            "weights_sha256": last.weights_sha256,
            "seconds": round(sum(row["seconds"] for row in rows)),
            "last": {name: rows[-1][name] for name in columns if name.endswith(("accuracy", "loss"))},
            "history": {name: [row[name] for row in rows] for name in columns},
        } | ({} if compared else self._measured(training, folder))

    def _measured(self, training: Training, folder: Path) -> dict:
        """The weights after the last epoch: their temperature, from validation images, and on the test images the accuracy, that
        of each class, and the calibration.
        """
        from minisqx.inference.model import load
        from minisqx.training.data import open_training_data
        from minisqx.training.evaluation import evaluate, logits_of
        from minisqx.training.temperature import fit_temperature

        data = open_training_data(replace(training.options, data=self.data[training.data]), lambda line: None)
        model, held = load(folder / "last.h5"), data.validation
        temperature = fit_temperature(logits_of(model, held.images), held.labels) if len(held) else 1.0
        found = evaluate(replace(model, temperature=temperature), data.test.images, data.test.labels)
        return {
            "temperature": temperature,
            "test_accuracy": found.accuracy,
            "class_accuracy": dict(zip(found.classes, found.class_accuracy)),
            "calibration_error": found.calibration_error,
        }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reproduce", description="Trains all networks of the tables.")
    parser.add_argument("--data", required=True, metavar="PATH", help="CIFAR-10, the official images")
    parser.add_argument("--signs", metavar="PATH", help="the traffic signs; without them their trainings are left out")
    parser.add_argument("--only", action="append", metavar="TEXT", help="only trainings whose name contains this, more than once")
    cpus = os.cpu_count() or 1
    parser.add_argument("--at-once", type=int, default=cpus, help="trainings at once, which share the CPUs (%(default)s)")
    parser.add_argument("--runs", type=Path, default=CAMPAIGN.parent, help="folder of the runs (%(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results (%(default)s)")
    parser.add_argument("--list", action="store_true", help="only list the trainings that are missing")
    given = parser.parse_args()
    if given.at_once < 1:
        parser.error(f"--at-once {given.at_once}: give a whole number of at least 1")
    given.runs.mkdir(parents=True, exist_ok=True)
    given.results.mkdir(parents=True, exist_ok=True)
    data = {"cifar10": given.data} | ({"signs": given.signs} if given.signs else {})
    campaign = Campaign(given.runs, given.results, data, threads=max(1, cpus // given.at_once))
    chosen = [each for each in trainings() if each.data in data and any(text in each.name for text in given.only or [""])]
    missing = campaign.missing(chosen)
    print(f"{len(missing)} of {len(chosen)} trainings are missing", flush=True)
    if given.list:
        print(*(each.name for each in missing), sep="\n")
        return
    os.nice(19)
    with suppress(OSError):  # between terminals this counts, not the priority of a process
        Path("/proc/self/autogroup").write_text("19")
    if os.getpgid(0) != os.getpid():  # the leader of a session may not
        os.setpgid(0, 0)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, campaign.stop)
    CAMPAIGN.parent.mkdir(parents=True, exist_ok=True)
    with CAMPAIGN.open("a+") as file, ThreadPoolExecutor(given.at_once) as pool:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        list(pool.map(campaign.run, missing))


if __name__ == "__main__":
    main()
