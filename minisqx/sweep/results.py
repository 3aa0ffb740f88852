"""The results of a sweep: a row for each trial, a table of means over the seeds, and a picture of size and accuracy.

results.csv   a row for each trial, with its status
results.md    mean and standard deviation of each combination of values
accuracy.png  test accuracy by size, the combinations that no smaller one beats, and the paper's networks, if Matplotlib is there
"""

import io
import statistics
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from minisqx.errors import MinisqxError
from minisqx.machine.folders import replace_file
from minisqx.paper import printed
from minisqx.paper.tables import NONE, Cell, Table, markdown, record
from minisqx.report.content import is_over
from minisqx.sweep.grid import Trial
from minisqx.training.run_folder import RunFolder, was_begun
from minisqx.training.run_state import load_run

FINISHED, FAILED, LEFT_OUT = "finished", "failed", "left out"
BYTES = 4  # of a parameter in float32
# The columns of results.csv after the values of the swept options.
COLUMNS = ("parameters", "macs", "status", "epochs", "validation_accuracy", "test_accuracy", "seconds", "error")
PAPER = ("I", "III", "V")  # its tables of networks that differ in size


@dataclass(frozen=True)
class Result:
    """What became of a trial. status: `FINISHED`, `FAILED`, `LEFT_OUT`, or "" before its end. history: as in history.csv."""

    trial: Trial
    status: str = ""
    history: tuple[dict, ...] = ()
    error: str = ""

    @property
    def accuracy(self) -> float | None:
        """On the test images after the last epoch, 0 to 1."""
        return self.history[-1]["test_accuracy"] if self.status == FINISHED else None

    def line(self) -> str:
        """In words."""
        if self.accuracy is None:
            return f"{self.trial.name} {self.status}: {self.error}"
        return f"{self.trial.name}: test accuracy {100 * self.accuracy:.2f} %"

    def cells(self) -> tuple[Cell, ...]:
        """The row of results.csv."""
        spec, last = self.trial.spec, self.history[-1] if self.history else {}
        values = ("".join(map(str, v)) if isinstance(v, tuple) else v for v in self.trial.values.values())
        seconds = round(sum(row["seconds"] for row in self.history), 3)
        measured = (last.get("validation_accuracy"), last.get("test_accuracy"))
        found = (*values, spec.parameters, spec.macs, self.status, len(self.history), *measured, seconds, self.error)
        return tuple("" if cell is None else cell for cell in found)


def result_of(trial: Trial) -> Result:
    """The result that a trial's run folder has: finished, or none yet."""
    if was_begun(trial.folder):
        with suppress(MinisqxError):
            folder = RunFolder(trial.folder)
            _, state = load_run(folder, lambda line: None)
            if is_over(folder.read_config()["options"], state.history):
                return Result(trial, FINISHED, tuple(state.history))
    return Result(trial)


def write_results(out: Path, results: list[Result]) -> None:
    """Writes the three files."""
    names = tuple(results[0].trial.values)
    lines = [record((*names, *COLUMNS)), *(record(result.cells()) for result in results)]
    replace_file(out / "results.csv", ("\n".join(lines) + "\n").encode())
    replace_file(out / "results.md", ("\n".join(markdown(summary(results))) + "\n").encode())
    with suppress(ImportError):
        replace_file(out / "accuracy.png", picture(results))


@dataclass(frozen=True)
class Mean:
    """The finished trials of one combination. mean, deviation: of the test accuracy, 0 to 1; the deviation is 0 for one trial."""

    label: str
    parameters: int
    mean: float
    deviation: float
    trials: int


def means(results: list[Result]) -> list[Mean]:
    """One for each combination with a finished trial, the smallest first."""
    groups: dict[tuple, list[Result]] = defaultdict(list)
    for result in results:
        if result.accuracy is not None:
            groups[result.trial.combination].append(result)
    found = []
    for group in groups.values():
        accuracies = [result.accuracy for result in group if result.accuracy is not None]
        deviation = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
        trial = group[0].trial
        label = trial.name.rpartition("_seed-")[0] or trial.spec.name
        found.append(Mean(label, trial.spec.parameters, statistics.fmean(accuracies), deviation, len(group)))
    return sorted(found, key=lambda mean: (mean.parameters, -mean.mean))


def front(found: list[Mean]) -> list[Mean]:
    """Those that are more accurate than all smaller ones, from the smallest on."""
    best: list[Mean] = []
    for mean in found:
        if not best or mean.mean > best[-1].mean:
            best.append(mean)
    return best


def summary(results: list[Result]) -> Table:
    """The table of means; failed trials are in its notes."""
    found = means(results)
    best = front(found)
    rows = tuple(
        (
            mean.label,
            mean.parameters,
            mean.trials,
            f"{100 * mean.mean:.2f}",
            f"{100 * mean.deviation:.2f}" if mean.trials > 1 else NONE,
        )
        for mean in found
    )
    header = ("trial", "parameters", "seeds", "test accuracy (%)", "standard deviation")
    remarks = tuple("no smaller one is as accurate" if mean in best else "" for mean in found)
    notes = tuple(result.line() for result in results if result.status in (FAILED, LEFT_OUT))
    return Table("Sweep", header, rows, remarks, notes)


def picture(results: list[Result]) -> bytes:
    """Size and accuracy as a PNG image. Raises ImportError without Matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), dpi=120, layout="constrained")
    axes = figure.subplots()
    found = means(results)
    sizes = [mean.parameters * BYTES / 1e3 for mean in found]
    if found:
        errors = [100 * mean.deviation for mean in found]
        accuracies = [100 * mean.mean for mean in found]
        axes.errorbar(sizes, accuracies, yerr=errors, fmt="o", capsize=3, color="#0072B2", label="this sweep, mean and deviation")
        best = front(found)
        line = [mean.parameters * BYTES / 1e3 for mean in best], [100 * mean.mean for mean in best]
        axes.plot(*line, color="#0072B2", linewidth=1.2, label="more accurate than all smaller ones")
    rows = {(row.model, row.size): row for number in PAPER for row in printed.rows(number) if row.size and row.accuracy}
    of_paper = [(1e3 * float(row.size), float(row.accuracy)) for row in rows.values()]
    axes.scatter(*zip(*of_paper), marker="x", color="0.5", label="the paper, as printed (CIFAR-10, size of its files)")
    axes.set_xscale("log")
    axes.set_xlabel("size of the parameters (KB)")
    axes.set_ylabel("test accuracy (%)")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    image = io.BytesIO()
    figure.savefig(image)
    return image.getvalue()
