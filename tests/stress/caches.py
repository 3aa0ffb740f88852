"""The folder of compiled kernels: filled by many processes at once, and damaged in every way; the answers stay right.

python -m tests.stress.caches --processes 8 --flips 2000
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

SECONDS = 600
NOBODY = 65534

# What every process says: a digest of its answers. Half of them are asked for float64, whose kernels have other signatures.
ANSWER = """
import dataclasses, hashlib, sys
import numpy as np
import minisqx
from minisqx.warmup import announce_compiling

announce_compiling()
model = minisqx.load("shallow-06-0.2x")
if sys.argv[1] == "float64":
    model = dataclasses.replace(model, state={name: array.astype(np.float64) for name, array in model.state.items()})
images = list(np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8))
found = np.stack([one.probabilities for one in model.infer(images)])
assert np.isfinite(found).all() and len(np.unique(found)) > 100
print(hashlib.sha256(found.tobytes()).hexdigest())
"""


def start(cache: Path | None, dtype: str = "float32", *, limit: int | None = None, user: int | None = None) -> subprocess.Popen:
    """A process that answers; without a cache it has no HOME either, and no name in the system's list of users."""
    environment = {name: value for name, value in os.environ.items() if name not in ("MINISQX_CACHE", "XDG_CACHE_HOME", "HOME")}
    if cache is not None:
        environment["MINISQX_CACHE"] = str(cache)
    code = ANSWER if limit is None else f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit},) * 2)\n{ANSWER}"
    settings = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    command, pipe = [sys.executable, "-c", code, dtype], subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True, **settings)


def can_be_others() -> bool:
    """Whether this process may start Python as another user, and that user may read it."""
    if not hasattr(os, "getuid") or os.getuid() != 0:
        return False
    try:
        command = [sys.executable, "-c", "import minisqx.cli"]
        return subprocess.run(command, user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True).returncode == 0
    except OSError:
        return False


def ended(process: subprocess.Popen) -> tuple[str, list[str]]:
    """A process's answer, and its lines on stderr."""
    try:
        out, err = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return "hung", []
    return out.strip(), err.splitlines()


def at_once(cache: Path, dtypes: list[str], expected: dict[str, str]) -> bool:
    """So many processes fill one empty folder; afterwards nothing is left to compile, or to say."""
    processes = [start(cache, dtype) for dtype in dtypes]
    found = [ended(process) for process in processes]
    right = sum(answer == expected[dtype] and len(lines) <= 1 for dtype, (answer, lines) in zip(dtypes, found))
    after = [ended(start(cache, dtype)) == (expected[dtype], []) for dtype in sorted(set(dtypes))]
    print(f"{right} of {len(dtypes)} processes on one empty folder right ({' and '.join(sorted(set(dtypes)))})", flush=True)
    return right == len(dtypes) and all(after)


def entries(cache: Path) -> list[Path]:
    return sorted(cache.glob("kernels/*/*.nbc"))


def change(make: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Does so to an entry that every process needs, of a kernel that is compiled in a second."""

    def changed(cache: Path) -> None:
        for path in cache.glob("kernels/*/im2col._im2col-*.nbc"):
            path.write_bytes(make(path.read_bytes()))

    return changed


def flip(data: bytes, seed: int) -> bytes:
    bit = random.Random(seed).randrange(8 * len(data))
    return data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]


def swap(cache: Path) -> None:
    """Each entry has the next one's content."""
    paths = entries(cache)
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, contents[1:] + contents[:1]):
        path.write_bytes(content)


def file_instead(cache: Path) -> None:
    shutil.rmtree(cache / "kernels")
    (cache / "kernels").write_text("a file")


def folders_instead(cache: Path) -> None:
    for path in entries(cache):
        path.unlink()
        path.mkdir()


def folder(do: Callable[[Path], object]) -> Callable[[Path], None]:
    def done(cache: Path) -> None:
        (path,) = (cache / "kernels").iterdir()
        do(path)

    return done


def emptied(path: Path) -> None:
    path.chmod(0o755)
    for entry in path.iterdir():
        entry.unlink()


# What is done to a full cache. Each heals by itself: the next process has one line to say, the one after it none.
HEALS: dict[str, Callable[[Path], object]] = {
    "missing folder": lambda cache: shutil.rmtree(cache),
    "empty folder": lambda cache: [path.unlink() for path in entries(cache)],
    "an empty entry": change(lambda data: b""),
    "a truncated entry": change(lambda data: data[: len(data) // 3]),
    "garbage": change(lambda data: random.Random(0).randbytes(len(data))),
    "a flipped bit": change(lambda data: flip(data, 1)),
    "entries that were exchanged": swap,
}
# Each is said in one line at every start, until somebody puts it right.
STAYS: dict[str, tuple[Callable[[Path], object], dict]] = {
    "a file instead of the folder": (file_instead, {}),
    "folders instead of entries": (folders_instead, {}),
    "a folder that others can write to": (folder(lambda path: path.chmod(0o777)), {}),
    "a full disk (RLIMIT_FSIZE)": (lambda cache: [path.unlink() for path in entries(cache)], {"limit": 4096}),
}
STAYS_FOR_ROOT: dict[str, Callable[[Path], object]] = {
    "a folder of another user": folder(lambda path: os.chown(path, 1234, 1234))
}
# As another user than root, who may write everywhere: what is done, the user, and how many lines are said.
FOR_OTHERS: dict[str, tuple[Callable[[Path], object] | None, int, int]] = {
    "not root: a full folder that is read-only": (folder(lambda path: path.chmod(0o755)), NOBODY, 0),
    "not root: an empty folder that is read-only": (folder(emptied), NOBODY, 1),
    "not root: a folder that may not be read": (lambda cache: None, NOBODY, 1),
    "not root: no folder, and none can be made": (lambda cache: shutil.rmtree(cache / "kernels"), NOBODY, 1),
    "not root: no HOME": (None, 54321, 1),
}


def fault(name: str, right: bool, after: str, lines: list[str]) -> bool:
    print(f"{name}: {'right answer, one line' if right else f'WRONG: {lines}'}{after if right else ''}", flush=True)
    return right


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--flips", type=int, default=2000, help="single bits, all over the entries")
    parser.add_argument("--only", nargs="+", help="faults whose names begin so")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        os.chmod(work, 0o755)
        return 0 if stress(Path(work), args.processes, args.flips, args.only) else 1


def stress(work: Path, processes: int, flips: int, only: list[str] | None) -> bool:
    from minisqx.kernels.jit import folder as usual_folder

    good, usual = work / "good", usual_folder()
    if usual is not None:
        # What is compiled already need not be compiled again, only to be damaged.
        shutil.copytree(usual, good / "kernels" / usual.name, ignore=shutil.ignore_patterns(".*", "probe*"))
    expected = {dtype: ended(start(good, dtype))[0] for dtype in ("float32", "float64")}
    right = [len(set(expected.values())) == 2, all(len(answer) == 64 for answer in expected.values())]
    if processes:
        right.append(at_once(work / "one", ["float32"] * processes, expected))
        right.append(at_once(work / "two", ["float32", "float64"] * (processes // 2), expected))

    def chosen(faults: dict) -> list[str]:
        return [name for name in faults if only is None or any(name.startswith(beginning) for beginning in only)]

    def spoilt(do: Callable[[Path], object]) -> Path:
        cache = work / "spoilt"
        shutil.rmtree(cache, ignore_errors=True)
        shutil.copytree(good, cache)
        do(cache)
        return cache

    for name in chosen(HEALS):
        cache = spoilt(HEALS[name])
        answer, lines = ended(start(cache))
        healed = ended(start(cache)) == (expected["float32"], [])
        right.append(fault(name, answer == expected["float32"] and len(lines) == 1 and healed, ", healed", lines))
    for name in chosen(STAYS):
        do, settings = STAYS[name]
        answer, lines = ended(start(spoilt(do), **settings))
        right.append(fault(name, answer == expected["float32"] and len(lines) == 1, " at each start", lines))
    if hasattr(os, "getuid") and os.getuid() == 0:
        for name in chosen(STAYS_FOR_ROOT):
            answer, lines = ended(start(spoilt(STAYS_FOR_ROOT[name])))
            right.append(fault(name, answer == expected["float32"] and len(lines) == 1, " at each start", lines))
    others = chosen(FOR_OTHERS)
    if others and not can_be_others():
        print(f"skipped, since no other user can run this Python: {', '.join(others)}")
        others = []
    for name in others:
        do, user, count = FOR_OTHERS[name]
        answer, lines = ended(start(spoilt(do) if do else None, user=user))
        right.append(answer == expected["float32"] and len(lines) == count)
        print(f"{name}: {f'right answer, {count} lines' if right[-1] else f'WRONG: {answer} {lines}'}", flush=True)
    if flips:
        refused = refused_flips(good, flips)
        right.append(refused == flips)
        print(f"{refused} of {flips} flipped bits refused before anything is unpickled", flush=True)
    return all(right)


def refused_flips(cache: Path, count: int) -> int:
    """How many entries with one flipped bit are refused, read as they are read in earnest."""
    from minisqx.kernels.jit import checked_content

    contents, refused = [path.read_bytes() for path in entries(cache)], 0
    for seed in range(count):
        try:
            checked_content(flip(contents[seed % len(contents)], seed))
        except ValueError:
            refused += 1
    return refused


if __name__ == "__main__":
    sys.exit(main())
