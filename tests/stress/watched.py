"""Reads thousands of hostile files in child processes, so that it can count a crash or a hang and continue."""

import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from minisqx.errors import MinisqxError

MAX_SECONDS = 2.0  # of CPU time, since the machine may be busy
MAX_BYTES = 256 << 20
_PATIENCE = 60.0  # seconds without an answer until a child counts as hanging

# Audit events that no file may cause; opening files is checked separately.
_FORBIDDEN = ("subprocess.", "os.system", "os.exec", "os.posix_spawn", "socket.", "pickle.", "marshal.", "ctypes.", "import")


def read_all(count: int, make: Callable[[int], tuple[str, bytes, bool]], read: Callable[[Path], object], suffix: str) -> int:
    """Reads files 0 to `count` - 1, prints the outcomes, and returns the number of broken promises.

    make: number -> (category, content, whether it must be refused).
    read: returns for a valid file, and raises a `MinisqxError` for another.
    """
    with TemporaryDirectory() as folder:
        return _read_all(count, make, read, Path(folder, f"file{suffix}"))


def _read_all(count: int, make: Callable, read: Callable, path: Path) -> int:
    outcomes: dict[str, Counter] = {}
    slowest, peak, broken, following = 0.0, 0, [], 0
    while following < count:
        ours, theirs = multiprocessing.get_context("fork").Pipe(duplex=False)
        child = multiprocessing.get_context("fork").Process(
            target=_child, args=(theirs, range(following, count), make, read, path), daemon=True
        )
        child.start()
        theirs.close()
        try:
            while following < count:
                if not ours.poll(_PATIENCE):
                    broken.append(f"{following}: no answer after {_PATIENCE:.0f} s")
                    break
                category, outcome, wrong, seconds, memory = ours.recv()
                outcomes.setdefault(category, Counter())[outcome] += 1
                slowest, peak = max(slowest, seconds), max(peak, memory)
                broken += [f"{following} ({category}): {line}" for line in wrong]
                following += 1
                if following % 10_000 == 0:
                    print(f"{following} files, {len(broken)} broken promises", file=sys.stderr)
        except EOFError:
            child.join()
            broken.append(f"{following}: the process ended with {child.exitcode}")
        if following < count:
            following += 1
        child.kill()
        child.join()
    print(f"{'category':<44} {'refused':>8} {'read':>8} {'failed':>8}")
    for category, counts in sorted(outcomes.items()):
        print(f"{category:<44} {counts['refused']:>8} {counts['read']:>8} {counts['failed']:>8}")
    total: Counter = sum(outcomes.values(), Counter())
    print(f"{'all':<44} {total['refused']:>8} {total['read']:>8} {total['failed']:>8}")
    print(f"slowest {slowest:.2f} s, memory of the process {peak / 2**20:.0f} MiB, promise broken {len(broken)} times")
    for line in broken[:20]:
        print("BROKEN", line)
    return len(broken)


def _child(pipe, numbers: range, make: Callable, read: Callable, path: Path) -> None:
    reading, events = False, []

    def hook(event: str, arguments: tuple) -> None:
        # Available memory is read from /proc and /sys before a data set is read.
        harmless = event == "open" and str(arguments[0]).startswith((str(path), "/proc/", "/sys/"))
        if reading and not harmless and event.startswith(("open", *_FORBIDDEN)):
            events.append(f"{event} {arguments[:1]}"[:200])

    sys.addaudithook(hook)
    # A child starts with the memory of its parent, which may be a whole test run.
    max_bytes = max(MAX_BYTES, _peak_bytes() + MAX_BYTES // 2)
    for number in numbers:
        category, content, must_be_refused = make(number)
        path.write_bytes(content)
        descriptors = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
        events.clear()
        start, reading = time.process_time(), number > numbers[0]  # the first may import
        try:
            read(path)
            outcome = "read"
            if must_be_refused:
                events.append("damage was not noticed")
        except MinisqxError as error:
            outcome = "refused"
            if "\n" in str(error) or len(str(error)) > 2000:
                events.append(f"not one short line: {str(error)[:200]!r}")
        except BaseException as error:
            outcome = "failed"
            events.append(f"untyped {type(error).__name__}: {error}"[:300])
        reading, seconds = False, time.process_time() - start
        memory = _peak_bytes()
        if seconds > MAX_SECONDS:
            events.append(f"{seconds:.1f} s")
        if memory > max_bytes:
            events.append(f"{memory >> 20} MiB")
        if descriptors and len(os.listdir("/proc/self/fd")) != len(descriptors):
            events.append("a file was left open")
        pipe.send((category, outcome, list(events), seconds, memory))
    pipe.close()


def _peak_bytes() -> int:
    import resource  # not on Windows, which has no fork, either

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
