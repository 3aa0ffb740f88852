"""A page with several runs side by side."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from minisqx.report import charts
from minisqx.report.document import WITHOUT_CHARTS, document, percent, table
from minisqx.spec import NetworkSpec


@dataclass(frozen=True, eq=False)
class Run:
    """A run, finished or not. name: its folder. history, best_epoch, config: as in the run folder, with at least one epoch."""

    name: str
    spec: NetworkSpec
    history: list[dict]
    best_epoch: int
    config: dict


def html(runs: Sequence[Run]) -> str:
    """The whole page."""
    return document(f"{len(runs)} runs", _body(runs))


def _body(runs: Sequence[Run]) -> Iterator[str]:
    yield f"<h1>{len(runs)} runs</h1>"
    yield from _warnings(runs)
    yield "<h2>Results</h2>"
    yield from _results(runs)
    yield "<h2>Curves</h2>"
    yield from _curves(runs)
    yield "<h2>Size and accuracy</h2>"
    yield from _sizes(runs)
    yield "<h2>Options that differ</h2>"
    yield from _options(runs)
    yield "<h2>How they were made</h2>"
    for number, run in enumerate(runs, start=1):
        versions = ", ".join(f"{name} {version}" for name, version in run.config["versions"].items())
        yield f"<p>{_named(number, run)}: {escape(versions)}; CPU {escape(str(run.config['cpu']))}</p>"
        yield f"<pre>{escape(str(run.config['command']))}</pre>"


def _named(number: int, run: Run) -> str:
    return f"{number} {escape(run.name)}"


def _warnings(runs: Sequence[Run]) -> Iterator[str]:
    """What makes a comparison unfair."""
    if len({run.config["data"]["sha256"] for run in runs}) > 1:
        names = "; ".join(f"{number}: {escape(run.config['data']['name'])}" for number, run in enumerate(runs, start=1))
        yield f"<p>The runs have different data, so accuracies do not compare. {names}</p>"
    going = [str(number) for number, run in enumerate(runs, start=1) if len(run.history) < run.config["options"]["epochs"]]
    if going:
        yield f"<p>Not finished: {', '.join(going)}.</p>"


def _results(runs: Sequence[Run]) -> Iterator[str]:
    head = ("run", "test accuracy", "validation accuracy", "test accuracy, best epoch", "epochs", "parameters", "state, KB")
    rows = [(*head, "multiply-adds, M", "an epoch, s", "images a second")]
    for number, run in enumerate(runs, start=1):
        last, best, count = run.history[-1], run.history[run.best_epoch - 1], len(run.history)
        validation = last["validation_accuracy"]
        rows.append(
            (
                _named(number, run),
                percent(last["test_accuracy"]),
                "none" if validation is None else percent(validation),
                f"{percent(best['test_accuracy'])} ({run.best_epoch})",
                f"{count}",
                f"{run.spec.parameters:,}",
                f"{run.spec.state_bytes / 1e3:,.1f}",
                f"{run.spec.macs / 1e6:.3g}",
                f"{sum(row['seconds'] for row in run.history) / count:.3g}",
                f"{sum(row['images_per_second'] for row in run.history) / count:,.0f}",
            )
        )
    yield table("the results", rows, "sortable")
    yield "<p>Accuracies are those after the last epoch; the best epoch is that of the validation images.</p>"


def _curves(runs: Sequence[Run]) -> Iterator[str]:
    def lines(column: str, factor: float) -> list[charts.Line]:
        found = [(number, run, [row[column] for row in run.history]) for number, run in enumerate(runs)]
        return [charts.Line(f"{number + 1} {run.name}", [factor * value for value in values], number)
                for number, run, values in found if values[0] is not None]  # fmt: skip

    wanted = (
        ("Test accuracy", "% of the images", "test_accuracy", 100),
        ("Validation accuracy", "% of the images", "validation_accuracy", 100),
        ("Training loss", "nats per image", "train_loss", 1),
        ("Test loss", "nats per image", "test_loss", 1),
        ("Learning rate", "at the end of the epoch", "lr", 1),
        ("Speed", "training images a second", "images_per_second", 1),
    )
    try:
        given = [(title, unit, lines(column, factor)) for title, unit, column, factor in wanted]
        drawn = [charts.curves(title, unit, found) for title, unit, found in given if found]
        yield f'<div class="charts">{"".join(drawn)}</div>'
    except ImportError:
        yield WITHOUT_CHARTS


def _sizes(runs: Sequence[Run]) -> Iterator[str]:
    def chart(title: str, label: str, sizes: list[float]) -> str:
        accuracies = [100 * run.history[-1]["test_accuracy"] for run in runs]
        dots = [
            charts.Dot(f"{number + 1} {run.name}: {size:,.4g} {label}, {accuracy:.2f} %", size, accuracy, number)
            for number, (run, size, accuracy) in enumerate(zip(runs, sizes, accuracies))
        ]

        def prepare(axes) -> None:
            axes.set_xscale("log")
            for formatted in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
                formatted(lambda value, at: f"{value:g}")
            for number, (size, accuracy) in enumerate(zip(sizes, accuracies), start=1):
                axes.annotate(str(number), (size, accuracy), (6, 4), textcoords="offset points")

        return charts.scatter(title, (label, "test accuracy, %"), dots, prepare)

    try:
        drawn = [
            chart("Size and accuracy", "KB of parameters and statistics", [run.spec.state_bytes / 1e3 for run in runs]),
            chart("Work and accuracy", "million multiply-adds an image", [run.spec.macs / 1e6 for run in runs]),
        ]
        yield f'<div class="charts">{"".join(drawn)}</div>'
        yield "<p>The numbers are those of the runs in the tables.</p>"
    except ImportError:
        yield WITHOUT_CHARTS


def _options(runs: Sequence[Run]) -> Iterator[str]:
    """The options in which the runs differ, but for the place of their folders."""
    every = [{**run.config["options"], "threads": None, "out": None} for run in runs]
    names = list(dict.fromkeys(name for options in every for name in options))
    rows = [("option", *(_named(number, run) for number, run in enumerate(runs, start=1)))]
    for name in names:
        values = [options.get(name) for options in every]
        if any(value != values[0] for value in values):
            rows.append((escape(name.replace("_", " ")), *(escape("usual" if value is None else str(value)) for value in values)))
    if len(rows) == 1:
        yield "<p>There are none.</p>"
        return
    yield table("the options that differ", rows, "text")
