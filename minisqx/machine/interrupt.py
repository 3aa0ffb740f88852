"""Ctrl-C, SIGTERM and a closed terminal as a wish: what is running comes to an orderly end, and is saved, first."""

import signal
import threading

# A system without one of them (Windows has no SIGHUP) never sends it.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Stopped(BaseException):
    """What is running was asked to end. wish: the signal, or the error of an output that nobody reads any more.

    It is no Exception, so that nothing it passes on its way out takes it for a fault of its own.
    """

    def __init__(self, wish: signal.Signals | OSError) -> None:
        super().__init__(wish)
        self.wish = wish


def ended_by(number: signal.Signals) -> BaseException:
    """What a signal is in Python; a command that it passes through ends with the code that the signal would have given it."""
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)


class StopRequest:
    """While it is entered, the first of `SIGNALS` is only noted in `wish`; a second one ends at once what is running, unsaved.

    It does so by `ended_by`'s exception: a program or a notebook that has called us goes on, with all that it has.
    at_once: the first one raises `Stopped`, wherever the program is: for what has nothing to save.
    Python delivers signals to the main thread alone: entered in another thread, this does nothing.
    """

    def __init__(self, at_once: bool = False) -> None:
        self.wish: signal.Signals | OSError | None = None
        self._at_once = at_once
        self._before: dict = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                before = signal.getsignal(number)
                # nohup has the end of the terminal ignored: so it stays.
                if before != signal.SIG_IGN or number in (signal.SIGINT, signal.SIGTERM):
                    self._before[number] = before
                    signal.signal(number, self._note)
        return self

    def __exit__(self, *error) -> None:
        for number, handler in self._before.items():
            # None: not Python's own, and not to be put back by it.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}

    def check(self) -> None:
        """Raises `Stopped` if something asked for the end."""
        if self.wish is not None:
            raise Stopped(self.wish)

    def _note(self, number: int, frame) -> None:
        asked, self.wish = self.wish, signal.Signals(number)
        if isinstance(asked, signal.Signals):
            raise ended_by(self.wish)
        if self._at_once:
            raise Stopped(self.wish)
