"""The folder of compiled kernels is filled by many processes at once, and damaged in every way; results must stay right.

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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

SECONDS = 600
AT_ONCE = 6  # faults that are tried in parallel
NOBODY = 65534

# Every process prints a digest of its results. Half of them run in float64, whose kernels have other signatures.
ANSWER = """
import dataclasses, hashlib, sys
import numpy as np
import minisqx

model = minisqx.load("shallow-06-0.2x")
if sys.argv[1] == "float64":
    model = dataclasses.replace(model, state={name: array.astype(np.float64) for name, array in model.state.items()})
images = list(np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8))
found = np.stack([one.probabilities for one in model.infer(images)])
assert np.isfinite(found).all() and len(np.unique(found)) > 100
print(hashlib.sha256(found.tobytes()).hexdigest())
"""


# Moves the system cache, since this machine may have one.
SYSTEM = """
from pathlib import Path
from minisqx.machine import folders
folders.system_cache = lambda: Path({system!r})
"""


def start(
    cache: Path | None, dtype: str = "float32", *, limit: int | None = None, user: int | None = None, system: str = "/nowhere"
) -> subprocess.Popen:
    """Starts a process that prints the digest; cache None: without MINISQX_CACHE and HOME."""
    without = ("MINISQX_CACHE", "XDG_CACHE_HOME", "HOME", "MINISQX_QUIET")
    environment = {name: value for name, value in os.environ.items() if name not in without}
    if cache is not None:
        environment["MINISQX_CACHE"] = str(cache)
    code = ANSWER if limit is None else f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit},) * 2)\n{ANSWER}"
    code = SYSTEM.format(system=system) + code
    settings = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    command, pipe = [sys.executable, "-c", code, dtype], subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True, **settings)


def can_be_others() -> bool:
    """Whether this process may start Python as another user, who may read minisqx."""
    if not hasattr(os, "getuid") or os.getuid() != 0:
        return False
    try:
        command = [sys.executable, "-c", "import minisqx.cli"]
        return subprocess.run(command, user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True).returncode == 0
    except OSError:
        return False


def ended(process: subprocess.Popen) -> tuple[str, list[str]]:
    """A process's output, and its lines on stderr."""
    try:
        out, err = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return "hung", []
    return out.strip(), err.splitlines()


def at_once(cache: Path, dtypes: list[str], expected: dict[str, str]) -> bool:
    """A process per dtype fills one empty folder; afterwards nothing is left to compile or to report."""
    processes = [start(cache, dtype) for dtype in dtypes]
    found = [ended(process) for process in processes]
    right = sum(answer == expected[dtype] and len(lines) <= 1 for dtype, (answer, lines) in zip(dtypes, found))
    after = [ended(start(cache, dtype)) == (expected[dtype], []) for dtype in sorted(set(dtypes))]
    print(f"{right} of {len(dtypes)} processes on one empty folder right ({' and '.join(sorted(set(dtypes)))})", flush=True)
    return right == len(dtypes) and all(after)


def entries(cache: Path) -> list[Path]:
    return sorted(path for suffix in ("nbc", "image") for path in cache.glob(f"kernels/*/*.{suffix}"))


def change(make: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Changes the machine code that every process loads, if it needs no Numba."""

    def changed(cache: Path) -> None:
        for path in cache.glob("kernels/*/inference.run-*.image"):
            path.write_bytes(make(path.read_bytes()))

    return changed


def change_numbas(make: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Changes an entry that every process with Numba needs, of a kernel that is compiled in a second; no process is without."""

    def changed(cache: Path) -> None:
        without_images(cache)
        for path in cache.glob("kernels/*/im2col._im2col-*.nbc"):
            path.write_bytes(make(path.read_bytes()))

    return changed


def without_images(cache: Path) -> None:
    for path in cache.glob("kernels/*/*.image"):
        path.unlink()


def flip(data: bytes, seed: int) -> bytes:
    bit = random.Random(seed).randrange(8 * len(data))
    return data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]


def swap(cache: Path) -> None:
    """Gives each entry the next one's content."""
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


@dataclass(frozen=True)
class Fault:
    """do: damages a full cache; None for no cache. lines: how many lines the next process prints about it.

    heals: whether the process after that prints none. settings: arguments of `start`.
    """

    do: Callable[[Path], object] | None
    lines: int = 1
    heals: bool = False
    settings: dict = field(default_factory=dict)


AS_NOBODY = {"user": NOBODY}
FAULTS = {
    "missing folder": Fault(shutil.rmtree, heals=True),
    "empty folder": Fault(folder(emptied), heals=True),
    "an empty entry": Fault(change(lambda data: b""), heals=True),
    "a truncated entry": Fault(change(lambda data: data[: len(data) // 3]), heals=True),
    "garbage": Fault(change(lambda data: random.Random(0).randbytes(len(data))), heals=True),
    "a flipped bit": Fault(change(lambda data: flip(data, 1)), heals=True),
    "no machine code without Numba": Fault(without_images, lines=0, heals=True),
    "Numba's entry is truncated": Fault(change_numbas(lambda data: data[: len(data) // 3]), heals=True),
    "a flipped bit in Numba's entry": Fault(change_numbas(lambda data: flip(data, 1)), heals=True),
    "entries that were exchanged": Fault(swap, heals=True),
    # These are reported at every start, until a person repairs them.
    "a file instead of the folder": Fault(file_instead),
    "folders instead of entries": Fault(folders_instead),
    "a folder that others can write to": Fault(folder(lambda path: path.chmod(0o777))),
    "a full disk (RLIMIT_FSIZE)": Fault(folder(emptied), settings={"limit": 4096}),
    # As root, who may change a folder's owner; and as another user, since root may write everywhere.
    "as root: a folder of another user": Fault(folder(lambda path: os.chown(path, 1234, 1234))),
    "not root: a full folder that is read-only": Fault(folder(lambda path: path.chmod(0o755)), lines=0, settings=AS_NOBODY),
    "not root: an empty folder that is read-only": Fault(folder(emptied), settings=AS_NOBODY),
    "not root: a folder that may not be read": Fault(lambda cache: None, settings=AS_NOBODY),
    "not root: no folder, and none can be made": Fault(lambda cache: shutil.rmtree(cache / "kernels"), settings=AS_NOBODY),
    "not root: no HOME": Fault(None, settings={"user": 54321}),
}


def injected(name: str, good: Path, cache: Path, expected: str) -> bool:
    """Whether a process with the fault gives the right result and the expected number of lines."""
    fault = FAULTS[name]
    if fault.do is not None:
        shutil.copytree(good, cache)
        fault.do(cache)
    answer, lines = ended(start(cache if fault.do else None, **fault.settings))
    right = answer == expected and len(lines) == fault.lines
    if fault.heals:
        right &= ended(start(cache)) == (expected, [])
    after = ", healed" if fault.heals else " at each start" if fault.lines else ""
    print(f"{name}: {f'right answer, lines: {fault.lines}{after}' if right else f'WRONG: {answer} {lines}'}", flush=True)
    return right


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--flips", type=int, default=2000, help="single-bit flips all over the entries")
    parser.add_argument("--only", nargs="+", help="only faults whose names begin with this")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        os.chmod(work, 0o755)
        return 0 if stress(Path(work), args.processes, args.flips, args.only) else 1


def stress(work: Path, processes: int, flips: int, only: list[str] | None) -> bool:
    from minisqx.kernels.compiler.cache import folder as usual_folder

    good, usual = work / "good", usual_folder()
    if usual is not None:
        # Copy kernels that are compiled already: they are only to be damaged.
        shutil.copytree(usual, good / "kernels" / usual.name, ignore=shutil.ignore_patterns(".*", "probe*"))
    expected = {dtype: ended(start(good, dtype))[0] for dtype in (("float32", "float64") if processes else ("float32",))}
    right = [len(set(expected.values())) == len(expected), all(len(answer) == 64 for answer in expected.values())]
    if processes:
        right.append(at_once(work / "one", ["float32"] * processes, expected))
        right.append(at_once(work / "two", ["float32", "float64"] * (processes // 2), expected))
    names = [name for name in FAULTS if only is None or any(name.startswith(beginning) for beginning in only)]
    for mark, possible in (("as root", os.getuid() == 0), ("not root", can_be_others())):
        if not possible and any(name.startswith(mark) for name in names):
            print(f"skipped, since no other user can run this Python, or this is not root: faults {mark!r}")
            names = [name for name in names if not name.startswith(mark)]
    with ThreadPoolExecutor(AT_ONCE) as several:
        found = list(several.map(lambda name: injected(name, good, work / name.replace(" ", "-"), expected["float32"]), names))
    print(f"{sum(found)} of {len(found)} kinds of fault: the right answer and the expected lines", flush=True)
    right += found
    if can_be_others():
        right += two_users(expected["float32"])
    if flips:
        refused = refused_flips(good, flips)
        right.append(refused == flips)
        print(f"{refused} of {flips} flipped bits refused before anything is unpickled", flush=True)
    return all(right)


def two_users(expected: str) -> list[bool]:
    """Root fills the system cache by the command; another user, without a cache, uses it, or refuses it if it is not safe."""
    found = []

    def answers(name: str, lines: int) -> None:
        answer, said = ended(start(None, user=54321, system=system))
        found.append(answer == expected and len(said) == lines)
        print(f"another user, {name}: {f'right answer, lines: {lines}' if found[-1] else f'WRONG: {answer} {said}'}", flush=True)

    # Not in /tmp: everybody may write there, so nothing below it is trusted.
    with tempfile.TemporaryDirectory(prefix="minisqx-", dir="/var/cache") as place:
        system = os.path.join(place, "minisqx")
        os.chmod(place, 0o755)
        code = f"{SYSTEM.format(system=system)}from minisqx.cli import main\nraise SystemExit(main(['warmup', '--system']))"
        filled = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, preexec_fn=lambda: os.umask(0o077))
        found.append(filled.returncode == 0 and system in filled.stdout and not filled.stderr)
        answers("a folder that root filled", 0)
        os.chmod(place, 0o777)
        answers("the folder above may be written by all", 1)
        os.chmod(place, 0o755)
        os.chown(system, 1234, -1)
        answers("a part of its path belongs to a third one", 1)
        os.chown(system, 0, -1)
        for entry in entries(Path(system)):
            entry.chmod(0o666)
        answers("entries that all may write", 1)
    return found


def refused_flips(cache: Path, count: int) -> int:
    """How many entries with one flipped bit the cache's own reader refuses."""
    from minisqx.kernels.compiler.cache import checked_content

    contents, refused = [path.read_bytes() for path in entries(cache)], 0
    for seed in range(count):
        try:
            checked_content(flip(contents[seed % len(contents)], seed))
        except ValueError:
            refused += 1
    return refused


if __name__ == "__main__":
    sys.exit(main())
