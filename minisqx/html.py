"""Pieces of HTML for notebooks: what an object's `_repr_html_` is made of. Names from outside are escaped here."""

from collections.abc import Iterable, Sequence
from html import escape


def heading(text: str, small: str = "") -> str:
    """A line in bold, and a small one below it."""
    below = f'<br><span style="opacity:.7">{escape(small)}</span>' if small else ""
    return f'<div style="margin:.3em 0"><b>{escape(text)}</b>{below}</div>'


def table(rows: Iterable[Sequence[str]]) -> str:
    """Rows of cells; the first cell of each is a name."""
    lines = [
        "<tr>"
        + f'<th style="text-align:left">{escape(name)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for name, *cells in rows
    ]
    return f"<table>{''.join(lines)}</table>"


def bars(shares: Iterable[tuple[str, float]]) -> str:
    """A bar for each (name, share from 0 to 1)."""
    lines = []
    for name, share in shares:
        bar = f'<div style="background:#5b9bd5;height:.8em;width:{max(1, round(160 * share))}px"></div>'
        percent = f"{100 * share:.1f} %"
        lines.append(f'<tr><td style="text-align:left">{escape(name)}</td><td>{bar}</td><td>{percent}</td></tr>')
    return f"<table>{''.join(lines)}</table>"


def wide(content: str) -> str:
    """A picture that may be wider than the page, with a bar to scroll it."""
    return f'<div style="overflow-x:auto">{content}</div>'
