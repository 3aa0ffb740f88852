"""Puts faults into a copy of the code, one at a time, and checks that the tests catch each: `python -m tests.seeded_faults`.

    --only TEXT    only faults whose name contains this; may be given several times
    --list         only list the faults
    --again        also repeat those that have a result for exactly this code

Results for the current code and tests are stored in minisqx's cache folder, so that a stopped run can continue. First the tests
must pass on the unchanged code. A changed kernel is compiled again, so all faults take about half an hour on one core. Exits with
1 if a fault survives.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from minisqx.machine.folders import cache_root
from tests.faults import FAULTS, Fault

REPOSITORY = Path(__file__).parent.parent
CAUGHT, SURVIVED, BROKEN = "caught", "NOT CAUGHT", "BROKEN"
# Folder of the repository -> its place in a copy that can be imported without installation.
PLACES = {"minisqx": "minisqx", "kernels": "minisqx/kernels", "data": "minisqx/data", "tests": "tests", "docs": "docs"}


def make_copy(folder: Path) -> Path:
    """Copies the current code and tests to `folder`, in a layout from which Python can import all of it."""
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name, place in PLACES.items():
        shutil.copytree(REPOSITORY / name, folder / place, ignore=ignored)
    shutil.copy(REPOSITORY / "pyproject.toml", folder)
    return folder


def digest_of(folder: Path) -> str:
    """A hash of the code, since results hold only for this code."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.*")):
        if path.is_file() and path.suffix != ".md":
            digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def sow(fault: Fault, folder: Path) -> Path:
    """Puts the fault into the copy in `folder`; returns the changed file."""
    top, _, rest = fault.file.partition("/")
    path = folder / PLACES[top] / rest
    text = path.read_text()
    if text.count(fault.old) != 1:
        raise SystemExit(f"{fault.name}: {fault.old!r} occurs {text.count(fault.old)} times in {fault.file}, expected once")
    path.write_text(text.replace(fault.old, fault.new))
    return path


def run_tests(folder: Path, tests: tuple[str, ...], cache: Path | None) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    if cache is not None:
        environment["MINISQX_CACHE"] = str(cache)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "--tb=line",
        *(f"tests/{test}" for test in tests),
    ]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def check_origin(folder: Path, changed: Path) -> None:
    """Makes sure that the tests import the changed file, or the package that holds it, and not an installed one."""
    if changed.suffix != ".py":
        changed = changed.with_name("__init__.py")
    module = ".".join(changed.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
    code = f"import importlib.util as u; print(u.find_spec({module!r}).origin)"
    environment = os.environ | {"PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    if Path(done.stdout.strip()) != changed:
        raise SystemExit(f"{module} would be imported from {done.stdout.strip() or done.stderr}, expected {changed}")


def try_fault(fault: Fault, original: Path) -> tuple[str, str]:
    """(outcome, the first test that failed)."""
    with tempfile.TemporaryDirectory(prefix="minisqx-fault-") as name:
        folder = Path(name).resolve() / "copy"
        shutil.copytree(original, folder)
        check_origin(folder, sow(fault, folder))
        # Changed kernels need another cache, which is not needed again.
        done = run_tests(folder, fault.tests, Path(name) / "cache" if fault.file.startswith("kernels/") else None)
    failed = re.search(r"^FAILED (?:tests/)?(\S.*?)(?: - .*)?$", done.stdout, re.MULTILINE)
    # Any test would catch code that doesn't compile.
    crashed = re.search(r"\w*(Typing|Lowering|Syntax|Indentation|Name|Import)Error.*", done.stdout)
    if done.returncode == 1 and failed and not crashed:
        return CAUGHT, failed[1]
    if done.returncode == 0:
        return SURVIVED, ""
    return BROKEN, crashed[0] if crashed else (done.stdout + done.stderr).strip().splitlines()[-1]


def check_baseline(faults: list[Fault], original: Path) -> None:
    tests = tuple(sorted({test for fault in faults for test in fault.tests}))
    done = run_tests(original, tests, None)
    if done.returncode != 0:
        raise SystemExit(f"the tests must pass on the unchanged code:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.seeded_faults", description="Puts faults into the code; the tests must catch each."
    )
    parser.add_argument("--only", action="append", metavar="TEXT", help="only faults whose name contains this")
    parser.add_argument("--list", action="store_true", help="only list the faults")
    parser.add_argument("--again", action="store_true", help="also repeat faults that have a result for this code")
    arguments = parser.parse_args()
    chosen = [fault for fault in FAULTS if not arguments.only or any(text in fault.name for text in arguments.only)]
    if arguments.list:
        print(*(f"{fault.file:26} {fault.name}" for fault in chosen), sep="\n")
        return 0
    with tempfile.TemporaryDirectory(prefix="minisqx-faults-") as name:
        original = make_copy(Path(name).resolve() / "original")
        kept = cache_root() / "seeded_faults" / f"{digest_of(original)}.json"
        results = json.loads(kept.read_text()) if kept.exists() and not arguments.again else {}
        waiting = [fault for fault in chosen if fault.name not in results]
        if waiting:
            check_baseline(waiting, original)
        for number, fault in enumerate(chosen, start=1):
            began = time.perf_counter()
            if fault in waiting:
                results[fault.name] = try_fault(fault, original)
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(json.dumps(results, indent=1))
            outcome, detail = results[fault.name]
            seconds = f"{time.perf_counter() - began:4.0f} s" if fault in waiting else "  kept"
            print(f"{number:3}/{len(chosen)} {outcome:10} {seconds}  {fault.file:26} {fault.name:52} {detail}", flush=True)
    survivors = [fault.name for fault in chosen if results[fault.name][0] != CAUGHT]
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} faults caught" + "".join(f"\n  {name}" for name in survivors))
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
