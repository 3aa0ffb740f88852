"""The page of one run."""

from collections.abc import Iterator
from html import escape

import numpy as np

from minisqx.draw import network as draw
from minisqx.report import charts
from minisqx.report.content import Content, Measured
from minisqx.report.document import WITHOUT_CHARTS, document, folded, percent, picture, scrolled, table, tiles

MISTAKES, SAMPLES, PAIRS = 48, 12, 12
RELOAD = 10  # seconds, while the run goes on
# A matrix of more classes than the first has no numbers in its cells, of more than the second no cells: it is a picture.
NUMBERED, CELLS = 30, 120
# The parts have the same colours on all charts; the validation's lines are dashed, too.
PARTS = {"train": ("training", 0), "validation": ("validation", 9), "test": ("test", 2)}


def html(content: Content) -> str:
    """The whole page."""
    title = f"{content.spec.name} on {content.config['data']['name']}"
    return document(title, _body(content, escape(title)), 0 if content.is_finished else RELOAD)


def _body(content: Content, title: str) -> Iterator[str]:
    measured = content.measured
    yield f"<h1>{title}</h1>"
    yield _state(content)
    yield from _tiles(content)
    yield "<h2>Curves</h2>"
    yield from _curves(content)
    yield "<h2>Classes</h2>"
    yield from _classes(content)
    yield "<h2>Confusion</h2>"
    yield from _confusion(content)
    yield "<h2>The surest mistakes</h2>"
    yield from _mistakes(content)
    yield "<h2>Calibration</h2>"
    yield from _calibration(measured)
    yield "<h2>Some answers</h2>"
    chosen = np.linspace(0, len(measured.labels) - 1, min(SAMPLES, len(measured.labels))).astype(np.int64).tolist()
    yield f'<div class="gallery">{"".join(_answer(content, at) for at in chosen)}</div>'
    yield "<h2>Data</h2>"
    yield from _data(content)
    yield "<h2>Network</h2>"
    yield scrolled("the network's units", f'<div class="network">{draw.svg(content.spec)}</div>')
    yield "<h2>How it was made</h2>"
    yield from _making(content.config)


def _state(content: Content) -> str:
    state = "finished" if content.is_finished else "running"
    line = f"epoch {len(content.history)} of {content.epochs}, {state}; measured on the {content.measured.part} images"
    # `page.js` writes the time of the last epoch, and a switch.
    switch = f'<label class="script" hidden><input type="checkbox" id="reload" checked> load again every {RELOAD} seconds</label>'
    return f'<p class="soft">{line}<span id="written"></span> {"" if content.is_finished else switch}</p>'


def _tiles(content: Content) -> Iterator[str]:
    last, spec = content.history[-1], content.spec
    rows = [(f"{part} accuracy", percent(last[f"{part}_accuracy"])) for part in ("test", "validation", "train")
             if last[f"{part}_accuracy"] is not None]  # fmt: skip
    rows += [
        ("balanced accuracy", percent(content.measured.balanced_accuracy)),
        ("parameters", f"{spec.parameters:,}"),
        ("state", f"{spec.state_bytes / 1e3:,.1f} KB"),
        ("multiply-adds", f"{spec.macs / 1e6:.3g} M"),
        ("an epoch", f"{np.median([row['seconds'] for row in content.history]):.3g} s"),
    ]
    yield tiles(rows)


def _curves(content: Content) -> Iterator[str]:
    history = content.history

    def lines(figure: str, factor: float) -> list[charts.Line]:
        found = [(name, place, [row[f"{part}_{figure}"] for row in history]) for part, (name, place) in PARTS.items()]
        return [charts.Line(name, [factor * value for value in values], place) for name, place, values in found
                if values[0] is not None]  # fmt: skip

    def line(name: str, column: str) -> list[charts.Line]:
        return [charts.Line(name, [row[column] for row in history])]

    try:
        drawn = [
            charts.curves("Loss", "nats per image", lines("loss", 1)),
            charts.curves("Accuracy", "% of the images", lines("accuracy", 100)),
            charts.curves("Learning rate", "at the end of the epoch", line("rate", "lr"), True),
            charts.curves("Speed", "training images a second", line("images a second", "images_per_second"), True),
        ]
        yield f'<div class="charts">{"".join(drawn)}</div>'
    except ImportError:
        yield WITHOUT_CHARTS
    columns = [name for name, value in history[0].items() if not isinstance(value, list)]  # the recalls have a table of their own
    rows = [[escape(name.replace("_", " ")) for name in columns]]
    rows += [["" if row[name] is None else f"{row[name]:.5g}" for name in columns] for row in history]
    yield folded("The figures of each epoch", table("the figures of each epoch", rows))


def _classes(content: Content) -> Iterator[str]:
    confusion = content.measured.confusion
    rows = [("class", "images", "of these right (recall)", "of its predictions right")]
    for number, name in enumerate(content.classes):
        images, predictions, right = confusion[number].sum(), confusion[:, number].sum(), confusion[number, number]
        share = right / images if images else 0
        bar = f'<span class="track"><span class="bar" style="width:{100 * share:.0f}%"></span></span>'
        precision = percent(right / predictions) if predictions else "never predicted"
        rows.append((escape(name), f"{images}", f"{bar}{percent(share)}" if images else "none here", precision))
    yield table("the classes", rows, "sortable")


def _confusion(content: Content) -> Iterator[str]:
    confusion, names = content.measured.confusion, [escape(name, quote=True) for name in content.classes]
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    worst = [np.unravel_index(at, wrong.shape) for at in order if wrong.flat[at]]
    if worst:
        rows = [("true class", "predicted", "images", "share of the class")]
        for row, column in worst:
            share = wrong[row, column] / confusion[row].sum()
            rows.append((names[row], names[column], f"{wrong[row, column]}", percent(share)))
        yield "<p>The most frequent confusions:</p>"
        yield table("the most frequent confusions", rows, "pairs")
    if len(names) <= CELLS:
        yield "<p>A row for each true class, a column for each predicted one; the stronger the colour, the larger the share.</p>"
        yield _matrix(confusion, names)
        return
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    try:
        yield charts.heat("Confusion", ("predicted class (number)", "true class (number)"), shares)
    except ImportError:
        yield WITHOUT_CHARTS


def _matrix(confusion: np.ndarray, names: list[str]) -> str:
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    is_dense = len(names) > NUMBERED
    heads = "".join(f'<th scope="col"><span>{name}</span></th>' for name in names)
    lines = []
    for row, name in enumerate(names):
        cells = []
        for column, count in enumerate(confusion[row]):
            if not count:
                cells.append("<td></td>")
                continue
            kind = "right" if row == column else "wrong"
            tip = f"{name} taken for {names[column]}: {count} images, {percent(shares[row, column])}"
            cells.append(
                f'<td class="{kind}" title="{tip}" style="--s:{shares[row, column] ** 0.5:.3f}">{"" if is_dense else count}</td>'
            )
        lines.append(f'<tr><th scope="row">{name}</th>{"".join(cells)}</tr>')
    kind = "matrix dense" if is_dense else "matrix"
    head = f'<thead><tr><th scope="col">true / predicted</th>{heads}</tr></thead>'
    return scrolled("the confusion matrix", f'<table class="{kind}">{head}<tbody>{"".join(lines)}</tbody></table>')


def _figure(measured: Measured, at: int, caption: str, names: tuple[str, ...]) -> str:
    true, predicted = (escape(names[label], quote=True) for label in (measured.labels[at], measured.predicted[at]))
    file = escape(measured.names[at], quote=True)
    return (
        f'<figure data-true="{true}" data-predicted="{predicted}"><img src="{picture(measured.pixels[at])}" alt="{file}">'
        f"<figcaption>{caption}<br>{file}</figcaption></figure>"
    )


def _mistakes(content: Content) -> Iterator[str]:
    measured, names = content.measured, content.classes
    mistakes = measured.mistakes()
    if not len(mistakes):
        yield "<p>There are none.</p>"
        return
    shown = "" if len(mistakes) <= MISTAKES else f"; these are the {MISTAKES} of which the network was surest"
    yield f"<p>{len(mistakes):,} of {len(measured.labels):,} images are named wrongly{shown}.</p>"
    chosen = mistakes[:MISTAKES]
    labels = np.unique(np.concatenate([measured.labels[chosen], measured.predicted[chosen]]))
    options = "".join(f'<option value="{escape(names[label], quote=True)}">{escape(names[label])}</option>' for label in labels)
    select = f'<select id="class"><option value="">all classes</option>{options}</select>'
    yield f'<p class="script" hidden><label>Show {select}</label> <span id="count" role="status"></span></p>'
    figures = []
    for at in chosen:
        true, predicted = (escape(names[label]) for label in (measured.labels[at], measured.predicted[at]))
        caption = f"<b>{true}</b> taken for <b>{predicted}</b>, {percent(measured.probability[at])}"
        figures.append(_figure(measured, at, caption, names))
    yield f'<div class="gallery" id="mistakes">{"".join(figures)}</div>'


def _calibration(measured: Measured) -> Iterator[str]:
    error = 100 * measured.calibration_error
    yield f"<p>The expected calibration error is {error:.2f} %: how far probability and accuracy are apart, on average.</p>"
    intervals = measured.intervals()
    most = max(count for _, _, count in intervals)
    place, dots = PARTS[measured.part][1], []
    for sure, right, count in intervals:
        name = f"{count} images: probability {percent(sure)}, accuracy {percent(right)}"
        dots.append(charts.Dot(name, 100 * sure, 100 * right, place, size=8 + 140 * count / most))

    def diagonal(axes) -> None:
        axes.plot([0, 100], [0, 100], color=charts.SOFT, linewidth=1, linestyle="--")
        axes.set_xlim(0, 102)
        axes.set_ylim(0, 102)

    try:
        drawn = charts.scatter("Calibration", ("probability of the prediction, %", "accuracy, %"), dots, diagonal)
        yield f'<div class="charts">{drawn}</div>'
        yield "<p>A dot for each interval of the probability, the larger the more images; on the dashed line both are equal.</p>"
    except ImportError:
        yield WITHOUT_CHARTS


def _answer(content: Content, at: int) -> str:
    measured, names = content.measured, content.classes
    best = np.argsort(-measured.probabilities[at], kind="stable")[:3]
    answers = "<br>".join(f"{escape(names[label])} {percent(measured.probabilities[at, label])}" for label in best)
    return _figure(measured, at, f"<b>{escape(names[measured.labels[at]])}</b><br>{answers}", names)


def _data(content: Content) -> Iterator[str]:
    parts = list(content.images)
    rows = [("class", *parts)]
    rows += [
        (escape(name), *(str(content.images[part][number]) for part in parts)) for number, name in enumerate(content.classes)
    ]
    rows.append(("all", *(str(sum(content.images[part])) for part in parts)))
    height, width = content.spec.input_size
    yield f"<p>{escape(content.config['data']['name'])}: images of {height} x {width} pixels.</p>"
    yield "".join(f"<p>{escape(note)}</p>" for note in content.notes)
    yield table("the images of each class", rows)


def _making(config: dict) -> Iterator[str]:
    yield f"<pre>{escape(str(config['command']))}</pre>"
    rows = [("option", "value")]
    rows += [
        (escape(name.replace("_", " ")), escape("usual" if value is None else str(value)))
        for name, value in config["options"].items()
    ]
    yield table("the options", rows, "text")
    versions = ", ".join(f"{name} {version}" for name, version in config["versions"].items())
    yield f"<p>{escape(versions)}; CPU {escape(str(config['cpu']))}; data {escape(config['data']['sha256'])} (SHA-256)</p>"
