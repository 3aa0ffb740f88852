"""Reads thousands of hostile files in child processes, so that a crash or a hang is counted and the rest goes on."""

import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from minisqx.errors import MinisqxError

MOST_SECONDS = 2.0  # of processor time: others may use the machine, too
MOST_BYTES = 256 << 20
_PATIENCE = 60.0  # seconds without an answer, then a child counts as hanging

# What no file may make its reader do; opening files is watched apart.
_FORBIDDEN = ("subprocess.", "os.system", "os.exec", "os.posix_spawn", "socket.", "pickle.", "marshal.", "ctypes.", "import")


def read_all(count: int, make: Callable[[int], tuple[str, bytes, bool]], read: Callable[[Path], object], suffix: str) -> int:
    """Reads the files 0 to `count` - 1, prints what became of them, and returns how many broke the promise.

    make: number -> (kind, content, whether it must be refused).
    read: gives anything for a file that is right, and raises a `MinisqxError` for another.
    """
    with TemporaryDirectory() as folder:
        return _read_all(count, make, read, Path(folder, f"file{suffix}"))


def _read_all(count: int, make: Callable, read: Callable, path: Path) -> int:
    outcomes: dict[str, Counter] = {}
    slowest, most_bytes, broken, following = 0.0, 0, [], 0
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
                kind, outcome, wrong, seconds, memory = ours.recv()
                outcomes.setdefault(kind, Counter())[outcome] += 1
                slowest, most_bytes = max(slowest, seconds), max(most_bytes, memory)
                broken += [f"{following} ({kind}): {line}" for line in wrong]
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
    print(f"{'kind':<44} {'refused':>8} {'read':>8} {'failed':>8}")
    for kind, counts in sorted(outcomes.items()):
        print(f"{kind:<44} {counts['refused']:>8} {counts['read']:>8} {counts['failed']:>8}")
    total: Counter = sum(outcomes.values(), Counter())
    print(f"{'all':<44} {total['refused']:>8} {total['read']:>8} {total['failed']:>8}")
    print(f"slowest {slowest:.2f} s, memory of the process {most_bytes / 2**20:.0f} MiB, promise broken {len(broken)} times")
    for line in broken[:20]:
        print("BROKEN", line)
    return len(broken)


def _child(pipe, numbers: range, make: Callable, read: Callable, path: Path) -> None:
    reading, events = False, []

    def hook(event: str, arguments: tuple) -> None:
        # What the system says of its memory is asked before a data set is read.
        harmless = event == "open" and str(arguments[0]).startswith((str(path), "/proc/", "/sys/"))
        if reading and not harmless and event.startswith(("open", *_FORBIDDEN)):
            events.append(f"{event} {arguments[:1]}"[:200])

    sys.addaudithook(hook)
    # A child begins with the memory of its parent, which may be a whole run of the tests.
    most_bytes = max(MOST_BYTES, _peak_bytes() + MOST_BYTES // 2)
    for number in numbers:
        kind, content, must_be_refused = make(number)
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
        if seconds > MOST_SECONDS:
            events.append(f"{seconds:.1f} s")
        if memory > most_bytes:
            events.append(f"{memory >> 20} MiB")
        if descriptors and len(os.listdir("/proc/self/fd")) != len(descriptors):
            events.append("a file was left open")
        pipe.send((kind, outcome, list(events), seconds, memory))
    pipe.close()


def _peak_bytes() -> int:
    import resource  # not there on Windows, where nothing can fork, either

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
