"""The bar that a person at a terminal sees during an epoch."""

import sys


class EpochBar:
    """One epoch's bar on stderr with images/s, loss and accuracy; nothing where stderr is no terminal or tqdm is missing."""

    def __init__(self, title: str, images: int, done: int) -> None:
        self._bar = None
        if not sys.stderr.isatty():
            return
        try:
            from tqdm import tqdm
        except ImportError:
            return
        self._bar = tqdm(total=images, initial=done, desc=title, unit=" images", leave=False, dynamic_ncols=True)

    def update(self, images: int, loss: float, accuracy: float) -> None:
        """Adds a batch of `images`; `loss` and `accuracy` are the averages of the epoch so far."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {loss:.3f}, accuracy {100 * accuracy:.1f} %", refresh=False)
            self._bar.update(images)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
