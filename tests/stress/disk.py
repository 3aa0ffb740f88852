"""Simulates disk failures during a training: `python -m tests.stress.disk`.

full       a limit on the file size interrupts the writing of one file: every file of a run, more than once
tmpfs      a file system of a few pages, in many sizes (as root)
rights     the folder is read-only from the start, from the resume or from some batch on (as root: by another user)
read-only  the file system becomes read-only (as root)
removed    the folder is removed during the run

Expected: the documented exit code; one line on stderr; the last checkpoint loads; no leftover files; and without the fault, the
run is resumed and ends with the bits of one that never failed.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from minisqx.checkpoint import load_checkpoint
from minisqx.errors import MinisqxError, TrainingError
from minisqx.training.run_folder import RunFolder
from tests.stress.runs import Count, finish, generator, litter
from tests.training_runs import bits, write_data

FAILURES = ("full", "tmpfs", "rights", "read-only", "removed")
NOBODY = 65534
REFUSED = TrainingError.exit_code
# Writes of a run of two epochs: the file, and the number of the write. previous.h5 is written only on a disk without links.
NEW = ("config.json:1", "last.h5:1")
LATER = ("history.csv:1", "last.h5:2", "last.h5:3", "last.h5:5", "best.h5:1", "history.csv:2", "history.csv:3", "last.h5:12")
UNLINKED = ("previous.h5:1", "previous.h5:3", "last.h5:2")


class Trials:
    """Trains in new folders below `base` and checks the results."""

    def __init__(self, base: Path) -> None:
        base.chmod(0o755)  # for the other user
        self.base, self.data, self.number = base, write_data(base / "colours.h5"), 0
        self.counts = {failure: Count(f"{failure}: refused in one line, nothing lost") for failure in FAILURES}
        self.recipe = ["--data", self.data, "--width", 0.125, "--epochs", 2, "--batch-size", 13, "--validation", 7]
        done = self.train(base / "good")
        if done.returncode:
            raise SystemExit(f"a run on a good disk ended with {done.returncode}: {done.stderr}")
        self.wanted = bits(RunFolder(base / "good"))

    def train(self, path: Path, *fault: object) -> subprocess.CompletedProcess:
        """Starts a run in `path`, or resumes the one in it."""
        run = ["--resume", path] if (path / "config.json").exists() else [*self.recipe, "--out", path]
        return finish("--save-every", 0, *fault, "--", "train", *run, "--threads", 1)

    def folder(self) -> Path:
        self.number += 1
        return self.base / f"run-{self.number}"

    def stopped(self, batch: int) -> Path:
        """The folder of a run that was stopped in a batch."""
        path = self.folder()
        done = self.train(path, "--batch", batch, "--signal", "SIGTERM")
        assert done.returncode == 143, done.stderr
        return path

    def judge(self, failure: str, what: str, path: Path, done: subprocess.CompletedProcess, repair=None, code=REFUSED) -> None:
        """Counts a trial: `done` is the failed run in `path`, `repair` removes the fault."""
        faults = []
        if done.returncode != code:
            faults.append(f"exit code {done.returncode} instead of {code}")
        lines = done.stderr.splitlines()
        if len(lines) != (code != 0) or "Traceback" in done.stderr or not all(line.startswith("minisqx: ") for line in lines):
            faults.append(f"said {done.stderr!r}")
        if repair is not None:
            repair()
        if path.exists():
            faults += self.faults_left(path)
        self.counts[failure].add(what, faults)

    def faults_left(self, path: Path) -> list[str]:
        """The faults of the folder's content, and of resuming the run."""
        faults = [f"litter: {litter(path)}"] if litter(path) else []
        try:
            load_checkpoint(path / "last.h5")
        except MinisqxError as error:
            return [*faults, str(error)]
        done = self.train(path)
        if done.returncode:
            faults.append(f"not resumed: {done.returncode} {done.stderr}")
        elif bits(RunFolder(path)) != self.wanted:
            faults.append("other bits after the resume")
        return faults

    def full(self) -> None:
        for at in (*NEW, *LATER):
            path = self.folder()
            self.judge("full", at, path, self.train(path, "--full", at))
            if at in NEW and path.exists():
                self.counts["full"].add(f"{at}, the folder", ["a run that did not begin left its folder"])
        for at in UNLINKED:
            path = self.folder()
            self.judge("full", f"{at}, no links", path, self.train(path, "--no-links", "--full", at))
        for at in ("last.h5:1", "history.csv:1", "last.h5:3"):
            path = self.stopped(batch=3)
            self.judge("full", f"{at} when resumed", path, self.train(path, "--full", at))
        path = self.folder()
        # A run does not fail because of its picture.
        self.judge("full", "curves.png", path, self.train(path, "--full", "curves.png:1"), code=0)

    def tmpfs(self, sizes: list[int]) -> None:
        refused = 0
        for size in sizes:
            with self.mounted(f"size={size * 4096}") as (mount, remount):
                done = self.train(mount / "run")
                code = REFUSED if done.returncode else 0
                refused += bool(code)
                self.judge("tmpfs", f"{size} pages", mount / "run", done, lambda again=remount: again("size=16M"), code)

        print(f"tmpfs: too small in {refused} of {len(sizes)} sizes from {sizes[0]} to {sizes[-1]} pages")

    def read_only(self) -> None:
        with self.mounted("size=16M") as (mount, remount):
            path = mount / "run"
            shutil.copytree(self.stopped(batch=4), path)
            remount("ro")
            self.judge("read-only", "a new run", mount / "new", self.train(mount / "new"))
            self.judge("read-only", "a resumed run", path, self.train(path), lambda: remount("rw"))

    @contextmanager
    def mounted(self, options: str) -> Iterator[tuple[Path, Callable[[str], object]]]:
        """A tmpfs with these mount options: its folder, and a function that remounts it with others."""
        mount = self.folder()
        mount.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", mount], check=True)
        try:
            yield mount, lambda options: subprocess.run(["mount", "-o", f"remount,{options}", mount], check=True)
        finally:
            subprocess.run(["umount", mount], check=True)

    def rights(self) -> None:
        user = ["--uid", NOBODY] if os.getuid() == 0 else []
        closed = self.folder()
        closed.mkdir(mode=0o555)
        self.judge("rights", "a new run", closed / "run", self.train(closed / "run", *user))
        path = self.stopped(batch=4)
        path.chmod(0o555)
        self.judge("rights", "a resumed run", path, self.train(path, *user), lambda: path.chmod(0o755))
        for batch in (1, 5, 7):
            path = self.folder()
            done = self.train(path, "--closed", "--batch", batch, *user)
            self.judge("rights", f"from batch {batch} on", path, done, lambda path=path: path.chmod(0o755))

    def removed(self) -> None:
        for batch, fault in ((1, []), (5, []), (7, []), (7, ["--no-links"])):
            path = self.folder()
            done = self.train(path, "--remove", "--batch", batch, *fault)
            self.judge("removed", f"in batch {batch}", path, done)
            if path.exists():
                self.counts["removed"].add(f"in batch {batch}, the folder", ["is there again"])


def can_mount() -> bool:
    """Whether this process can mount a tmpfs."""
    with tempfile.TemporaryDirectory() as name:
        if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", name], capture_output=True).returncode:
            return False
        return subprocess.run(["umount", name], capture_output=True).returncode == 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.stress.disk", description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=FAILURES, help="only this failure; may be given several times")
    parser.add_argument("--count", type=int, default=24, metavar="N", help="number of tmpfs sizes")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the sizes")
    chosen = parser.parse_args(arguments)
    failures = chosen.only or FAILURES
    random = generator(chosen.seed)
    mounts = can_mount() if {"tmpfs", "read-only"} & set(failures) else False
    with tempfile.TemporaryDirectory(prefix="minisqx-disk-") as name:
        trials = Trials(Path(name))
        # From one page, for the first file, to enough for all files.
        trials_of = {
            "full": trials.full,
            "tmpfs": lambda: trials.tmpfs(sorted(random.sample(range(1, 97), chosen.count))),
            "rights": trials.rights,
            "read-only": trials.read_only,
            "removed": trials.removed,
        }
        codes = []
        for failure in failures:
            if failure in ("tmpfs", "read-only") and not mounts:
                print(f"{failure}: skipped, no file system can be mounted here")
                continue
            trials_of[failure]()
            codes.append(trials.counts[failure].end())
    return max(codes, default=0)


if __name__ == "__main__":
    sys.exit(main())
