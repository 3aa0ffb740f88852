"""Progress output: a bar during an epoch or another pass over images; a line after an epoch."""

import sys
from contextlib import suppress
from importlib.util import find_spec
from typing import Any


class ImageBar:
    """A progress bar over images, on stderr; nothing if stderr is not a terminal or tqdm is missing.

    images: the number of all. done: how many of them are done already. shown: False: nothing.
    """

    def __init__(self, title: str, images: int, done: int, shown: bool = True) -> None:
        self._bar = None
        if not (shown and _on_terminal()):
            return
        try:
            from tqdm import tqdm
        except ImportError:
            return
        self._bar = tqdm(total=images, initial=done, desc=title, unit=" images", leave=False, dynamic_ncols=True)

    def advance(self, images: int, note: str = "") -> None:
        """images: how many more are done. note: shown behind the bar."""
        if self._bar is None:
            return
        try:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(images)
        except OSError:
            # The terminal was closed.
            self._bar = None

    def close(self) -> None:
        if self._bar is not None:
            with suppress(OSError):
                self._bar.close()


class EpochBar(ImageBar):
    """The bar of one epoch. images: training images. done: images already trained, in a resumed epoch."""

    def update(self, images: int, loss: float, accuracy: float) -> None:
        """images: the number of images in the last batch. loss, accuracy: averages of the epoch so far."""
        self.advance(images, f"loss {loss:.3f}, accuracy {100 * accuracy:.1f} %")


class Terminal:
    """Where a person sees a run: a bar in each epoch, and a line after it. shown: False: no bar, on a rank after the first."""

    def __init__(self, shown: bool = True) -> None:
        self._shown = shown

    def bar(self, title: str, images: int, done: int) -> Any:
        """The bar of an epoch, with `update` and `close`."""
        return EpochBar(title, images, done, self._shown)

    def epoch(self, history: list[dict], epochs: int, title: str, last: bool) -> str | None:
        """What is to be said after an epoch; None: nothing, since it is shown. title: of the run's picture. last: of the run."""
        return epoch_line(history, epochs)


def _on_terminal() -> bool:
    """Whether stderr is a terminal; a process may have no stderr (`2>&-`)."""
    return sys.stderr is not None and sys.stderr.isatty()


def missing_packages() -> list[str]:
    """A line that names features unavailable without optional packages; an empty list if none is missing."""
    wanted = {"matplotlib": "curves.png"} | ({"tqdm": "progress bar"} if _on_terminal() else {})
    missing = [f"no {what} without {package}" for package, what in wanted.items() if find_spec(package) is None]
    return [f"{', '.join(missing)}: pip install 'minisqx[train]'"] if missing else []


def epoch_line(history: list[dict], epochs: int) -> str:
    """The last row of `history` in words, with an estimate of the remaining time."""
    row = history[-1]
    parts = [f"epoch {row['epoch']}/{epochs}: lr {row['lr']:.3g}"]
    for split, name in (("train", "training"), ("validation", "validation"), ("test", "test")):
        if row[f"{split}_loss"] is not None:
            parts.append(f"{name} loss {row[f'{split}_loss']:.3f}, accuracy {100 * row[f'{split}_accuracy']:.1f} %")
    parts.append(f"{row['images_per_second']:.0f} images/s, {duration(row['seconds'])}")
    if row["epoch"] < epochs:
        parts.append(f"{duration((epochs - row['epoch']) * row['seconds'])} left")
    return "; ".join(parts)


def rgb_text(values: tuple[float, float, float]) -> str:
    """One number each for red, green and blue."""
    return ", ".join(f"{value:.4f}" for value in values)


def duration(seconds: float) -> str:
    """A time in words: 0.4 s, 50 s, 12 min, 3 h 20 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
