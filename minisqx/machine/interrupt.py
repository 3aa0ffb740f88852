"""Turns Ctrl-C, SIGTERM and a closed terminal into a request to stop, so that a run is saved before it ends."""

import signal
import threading

# Windows has no SIGHUP.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Stopped(BaseException):
    """Raised to stop a run. cause: the signal, or the OSError of an output that can't be written any more.

    It derives from BaseException, so that no `except Exception` catches it.
    """

    def __init__(self, cause: signal.Signals | OSError) -> None:
        super().__init__(cause)
        self.cause = cause


def exception_of(number: signal.Signals) -> BaseException:
    """The exception for a signal: uncaught, it ends the process with the exit code that a shell reports for that signal."""
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)


class StopRequest:
    """A context manager that stores the first of `SIGNALS` in `cause`; `check` then raises Stopped.

    A second signal raises `exception_of` at once, with nothing saved; a calling program or notebook can catch it and go on.
    immediate: the first signal, too, raises Stopped wherever the program is; for phases with nothing to save.
    Python delivers signals to the main thread only: in other threads this does nothing.
    """

    def __init__(self, immediate: bool = False) -> None:
        self.cause: signal.Signals | OSError | None = None
        self._immediate = immediate
        self._previous: dict = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                previous = signal.getsignal(number)
                # nohup ignores SIGHUP: keep that.
                if previous != signal.SIG_IGN or number in (signal.SIGINT, signal.SIGTERM):
                    self._previous[number] = previous
                    signal.signal(number, self._handle)
        return self

    def __exit__(self, *error) -> None:
        for number, handler in self._previous.items():
            # None: a handler that was not installed from Python, which can't restore it.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._previous = {}

    def check(self) -> None:
        """Raises Stopped if a stop was requested."""
        if self.cause is not None:
            raise Stopped(self.cause)

    def _handle(self, number: int, frame) -> None:
        earlier, self.cause = self.cause, signal.Signals(number)
        if isinstance(earlier, signal.Signals):
            raise exception_of(self.cause)
        if self._immediate:
            raise Stopped(self.cause)
