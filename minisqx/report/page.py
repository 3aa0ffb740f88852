"""The report's HTML: one file without scripts, styles, fonts or pictures from elsewhere."""

import base64
import io
from collections.abc import Iterable, Iterator
from html import escape
from importlib.resources import files

import numpy as np

from minisqx.draw import network as draw
from minisqx.images.pillow import Image
from minisqx.report.charts import LARGEST_MATRIX, charts
from minisqx.report.content import Content, Measured

MISTAKES, SAMPLES, PAIRS = 48, 12, 12
REFRESH = 10  # seconds, while the run goes on
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def html(content: Content) -> str:
    """The whole page."""
    title = escape(f"{content.spec.name} on {content.config['data']['name']}")
    refresh = "" if content.is_finished else f'<meta http-equiv="refresh" content="{REFRESH}">'
    style, script = ((files(__package__) / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    head = (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n{refresh}'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>\n{style}</style>\n</head>\n<body>\n'
    )
    return head + "\n".join(_body(content, title)) + f"\n<script>\n{script}</script>\n</body>\n</html>\n"


def _body(content: Content, title: str) -> Iterator[str]:
    measured, done = content.measured, len(content.history)
    yield f"<h1>{title}</h1>"
    state = "finished" if content.is_finished else f"running; this page reloads itself every {REFRESH} seconds"
    yield f'<p class="soft">epoch {done} of {content.epochs}, {state}; measured on the {measured.part} images</p>'
    yield from _tiles(content)
    try:
        drawn = charts(content)
    except ImportError:
        drawn = {}
    yield "<h2>Curves</h2>"
    curves = [drawn[name] for name in ("loss", "accuracy", "learning rate", "speed") if name in drawn]
    without = "<p>For charts, install Matplotlib: <code>pip install 'minisqx[train]'</code></p>"
    yield f'<div class="charts">{_each("div", curves)}</div>' if curves else without
    yield "<h2>Classes</h2>"
    yield from _classes(content)
    yield "<h2>Confusion</h2>"
    yield from _confusion(content, drawn.get("confusion"))
    yield "<h2>The surest mistakes</h2>"
    yield from _mistakes(content)
    yield "<h2>Calibration</h2>"
    error = 100 * measured.calibration_error
    yield f"<p>The expected calibration error is {error:.2f} %: how far probability and accuracy are apart, on average.</p>"
    yield f'<div class="charts">{_each("div", [drawn[name] for name in ("calibration",) if name in drawn])}</div>'
    yield "<h2>Some answers</h2>"
    chosen = np.linspace(0, len(measured.labels) - 1, min(SAMPLES, len(measured.labels))).astype(np.int64)
    yield f'<div class="gallery">{"".join(_answer(content, at) for at in chosen)}</div>'
    yield "<h2>Data</h2>"
    yield from _data(content)
    yield "<h2>Network</h2>"
    yield f'<div class="network">{draw.svg(content.spec)}</div>'
    yield "<h2>How it was made</h2>"
    yield from _making(content.config)


def _each(tag: str, texts: Iterable[str]) -> str:
    return "".join(f"<{tag}>{text}</{tag}>" for text in texts)


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _tiles(content: Content) -> Iterator[str]:
    last, spec = content.history[-1], content.spec
    tiles = [(f"{part} accuracy", _percent(last[f"{part}_accuracy"])) for part in ("test", "validation", "train")
             if last[f"{part}_accuracy"] is not None]  # fmt: skip
    tiles += [("balanced accuracy", _percent(content.measured.balanced_accuracy))]
    tiles += [
        ("parameters", f"{spec.parameters:,}"),
        ("state", f"{spec.state_bytes / 1e3:,.1f} KB"),
        ("multiply-adds", f"{spec.macs / 1e6:.3g} M"),
        ("an epoch", f"{np.median([row['seconds'] for row in content.history]):.3g} s"),
    ]
    yield f'<div class="tiles">{"".join(f"<div class=tile>{name}<b>{value}</b></div>" for name, value in tiles)}</div>'


def _table(rows: Iterable[Iterable[str]], kind: str = "") -> str:
    head, *others = rows
    body = "".join(f"<tr>{_each('td', row)}</tr>" for row in others)
    inside = f"<thead><tr>{_each('th', head)}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="scroll"><table class="{kind}">{inside}</table></div>'


def _classes(content: Content) -> Iterator[str]:
    confusion = content.measured.confusion
    rows = [("class", "images", "of these right (recall)", "", "of its predictions right")]
    for number, name in enumerate(content.classes):
        images, predictions, right = confusion[number].sum(), confusion[:, number].sum(), confusion[number, number]
        share = right / images if images else 0
        bar = f'<span class="bar" style="width:{round(120 * share)}px"></span>'
        precision = _percent(right / predictions) if predictions else "never predicted"
        rows.append((escape(name), f"{images}", _percent(share) if images else "none here", bar, precision))
    yield _table(rows)


def _confusion(content: Content, picture: str | None) -> Iterator[str]:
    confusion, names = content.measured.confusion, [escape(name) for name in content.classes]
    if len(names) <= LARGEST_MATRIX:
        yield "<p>A row for each true class, a column for each predicted one; the darker, the larger the share of the class.</p>"
        yield _matrix(confusion, names)
    elif picture:
        yield f'<div class="charts"><div>{picture}</div></div>'
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    worst = [np.unravel_index(at, wrong.shape) for at in order if wrong.flat[at]]
    if worst:
        rows = [("true class", "predicted", "images", "share of the class")]
        for row, column in worst:
            share = wrong[row, column] / confusion[row].sum()
            rows.append((names[row], names[column], f"{wrong[row, column]}", _percent(share)))
        yield "<p>The most frequent confusions:</p>"
        yield _table(rows)


def _matrix(confusion: np.ndarray, names: list[str]) -> str:
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    lines = [f"<tr><td></td>{_each('th', names)}</tr>"]
    for row, name in enumerate(names):
        cells = []
        for column, count in enumerate(confusion[row]):
            tip = f"{name} taken for {names[column]}: {count} images, {_percent(shares[row, column])}"
            colour = f"background:rgba(var(--hot),{0.75 * shares[row, column] ** 0.5:.3f})"
            cells.append(f'<td title="{tip}" style="{colour}">{count or ""}</td>')
        lines.append(f'<tr><th class="row">{name}</th>{"".join(cells)}</tr>')
    return f'<div class="scroll"><table class="matrix">{"".join(lines)}</table></div>'


def _picture(image: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _figure(measured: Measured, at: int, caption: str, names: tuple[str, ...]) -> str:
    true, predicted = (escape(names[label], quote=True) for label in (measured.labels[at], measured.predicted[at]))
    file = escape(measured.names[at], quote=True)
    return (
        f'<figure data-true="{true}" data-predicted="{predicted}"><img src="{_picture(measured.pixels[at])}" alt="{file}">'
        f"<figcaption>{caption}<br>{file}</figcaption></figure>"
    )


def _mistakes(content: Content) -> Iterator[str]:
    measured, names = content.measured, content.classes
    chosen = measured.mistakes()[:MISTAKES]
    if not len(chosen):
        yield "<p>There are none.</p>"
        return
    options = "".join(f'<option value="{escape(name, quote=True)}">{escape(name)}</option>' for name in names)
    yield f'<p class="script" hidden>Show <select id="class"><option value="">all classes</option>{options}</select></p>'
    figures = []
    for at in chosen:
        true, predicted = (escape(names[label]) for label in (measured.labels[at], measured.predicted[at]))
        caption = f"<b>{true}</b> taken for <b>{predicted}</b>, {_percent(measured.probability[at])}"
        figures.append(_figure(measured, at, caption, names))
    yield f'<div class="gallery">{"".join(figures)}</div>'


def _answer(content: Content, at: int) -> str:
    measured, names = content.measured, content.classes
    best = np.argsort(-measured.probabilities[at], kind="stable")[:3]
    answers = "<br>".join(f"{escape(names[label])} {_percent(measured.probabilities[at, label])}" for label in best)
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
    yield _table(rows)


def _making(config: dict) -> Iterator[str]:
    yield f"<pre>{escape(str(config['command']))}</pre>"
    rows = [("option", "value")]
    rows += [
        (escape(name.replace("_", " ")), escape("usual" if value is None else str(value)))
        for name, value in config["options"].items()
    ]
    yield _table(rows, "text")
    versions = ", ".join(f"{name} {version}" for name, version in config["versions"].items())
    yield f"<p>{escape(versions)}; CPU {escape(str(config['cpu']))}; data {escape(config['data']['sha256'])} (SHA-256)</p>"
