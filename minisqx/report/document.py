"""What our pages are made of: one HTML file without scripts, styles, fonts or pictures from elsewhere."""

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

import numpy as np

from minisqx.images.pillow import Image

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
WITHOUT_CHARTS = "<p>For charts, install Matplotlib: <code>pip install 'minisqx[train]'</code></p>"


def document(title: str, body: Iterable[str], reload: int = 0) -> str:
    """A whole page. title: plain text. body: HTML. reload: after how many seconds the page loads itself again; 0: never.

    With scripts a person can stop that; without, the page's head does it.
    """
    style, script = ((files(__package__) / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    refresh = f'<noscript><meta http-equiv="refresh" content="{reload}"></noscript>\n' if reload else ""
    return (
        f'<!doctype html>\n<html lang="en" data-reload="{reload}">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(title)}</title>\n{refresh}"
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>\n{style}</style>\n'
        "</head>\n<body>\n<main>\n" + "\n".join(body) + f"\n</main>\n<script>\n{script}</script>\n</body>\n</html>\n"
    )


def percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def tiles(rows: Iterable[tuple[str, str]]) -> str:
    """Large figures: (name, value)."""
    return f'<dl class="tiles">{"".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in rows)}</dl>'


def table(caption: str, rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """A table of HTML cells: the first row has the names of the columns, the first cell of every other row its name.

    kind: classes of the style: "text" is aligned to the left; a "sortable" one is sorted by the column whose head is chosen.
    """
    head, *others = rows
    first = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(f'<tr><th scope="row">{row[0]}</th>{each("td", row[1:])}</tr>' for row in others)
    return scrolled(caption, f'<table class="{kind}"><thead><tr>{first}</tr></thead><tbody>{body}</tbody></table>')


def scrolled(name: str, content: str) -> str:
    """Content that may be wider than the page; the keyboard reaches it, too."""
    return f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(name, quote=True)}">{content}</div>'


def each(tag: str, texts: Iterable[str]) -> str:
    return "".join(f"<{tag}>{text}</{tag}>" for text in texts)


def picture(image: np.ndarray) -> str:
    """An image uint8 (H, W, 3) as the address of its PNG."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def folded(summary: str, content: str) -> str:
    return f"<details><summary>{summary}</summary>{content}</details>"
