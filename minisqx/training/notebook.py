"""A run in a Jupyter notebook: curves that grow with each epoch, and a bar above them, in place of a terminal's bar and lines."""

import sys
import time
from html import escape
from typing import Any

from minisqx.training.progress import Terminal, duration, epoch_line

BAR_SECONDS = 0.5  # between two updates of the bar
PICTURE_SHARE = 0.05  # of a run's time that drawing may take


def screen() -> Terminal:
    """Where a person sees a run: the notebook if this is the process of one, else the terminal."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return Terminal() if getattr(shell, "kernel", None) is None else Notebook()


class Notebook(Terminal):
    """One picture and one line of progress in the output of a cell, both replaced as the run goes on."""

    def __init__(self) -> None:
        self._status: Any = None
        self._picture: Any = None
        self._next = 0.0

    def bar(self, title: str, images: int, done: int) -> "NotebookBar":
        return NotebookBar(self, title, images, done)

    def show_status(self, text: str) -> None:
        from IPython.display import HTML, display

        if self._status is None:
            self._status = display(HTML(text), display_id=True)
        else:
            self._status.update(HTML(text))

    def epoch(self, history: list[dict], epochs: int, title: str, last: bool) -> str | None:
        """Shows the row in words, and draws the curves unless that would take more than `PICTURE_SHARE` of the time."""
        self.show_status(escape(epoch_line(history, epochs)))
        began = time.monotonic()
        if began < self._next and not last:
            return None
        try:
            from IPython.display import Image, display

            from minisqx.training.curves import draw_curves

            image = Image(draw_curves(history, title))
        except ImportError:
            return None  # a line at the start of the run says that Matplotlib is missing
        if self._picture is None:
            self._picture = display(image, display_id=True)
        else:
            self._picture.update(image)
        now = time.monotonic()
        self._next = now + (now - began) / PICTURE_SHARE
        return None


class NotebookBar:
    """The progress of one epoch, as an `EpochBar`."""

    def __init__(self, notebook: Notebook, title: str, images: int, done: int) -> None:
        self._notebook, self._title, self._images, self._done = notebook, title, images, done
        self._began, self._first = time.monotonic(), done
        self._next = self._began + BAR_SECONDS

    def update(self, images: int, loss: float, accuracy: float) -> None:
        self._done += images
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + BAR_SECONDS
        left = (now - self._began) / (self._done - self._first) * (self._images - self._done)
        words = f"loss {loss:.3f}, accuracy {100 * accuracy:.1f} %, {duration(left)} left in this epoch"
        bar = f'<progress max="{self._images}" value="{self._done}"></progress>'
        self._notebook.show_status(f"{escape(self._title)} {bar} {self._done:,} of {self._images:,} images; {escape(words)}")

    def close(self) -> None:
        pass
