"""Ctrl-C and SIGTERM as a wish: the running batch is finished and saved first."""

import os
import signal
import threading


class StopRequest:
    """While it is entered, the first SIGINT or SIGTERM is only noted in `signal`; a second one quits the process at once.

    Python delivers signals to the main thread alone: entered in another thread, this does nothing.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame) -> None:
        if self.signal is not None:
            os._exit(128 + number)
        self.signal = signal.Signals(number)
